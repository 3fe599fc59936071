//! The tip: which run files make up the tree right now, and how an edit changes that.

use super::RunMeta;

/// Levels of a tree. Level 0 overlaps; each further one is ten times as large as the one before, so the last of these
/// holds more than any disk.
pub const LEVELS: usize = 7;

/// The tree's files at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// Every record below this offset is in the runs, or was superseded there.
    pub covered: i64,
    /// The largest sequence number that has superseded a version which was dropped: reads as of this or later are
    /// exact.
    pub horizon: i64,
    /// No run file has had this number yet, nor a larger one.
    pub next_number: u64,
    /// Always [`LEVELS`] of them. Level 0: newest first; others: by key, disjoint.
    pub levels: Vec<Vec<RunMeta>>,
}

/// A change of the tip.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    /// The new [`Tip::covered`], if it moves.
    pub covered: Option<i64>,
    /// The new [`Tip::horizon`], if it moves.
    pub horizon: Option<i64>,
    /// Runs that are part of the tree from now on, each with its level.
    pub added: Vec<(u8, RunMeta)>,
    /// Numbers of runs that are not part of it any more.
    pub removed: Vec<u64>,
}
