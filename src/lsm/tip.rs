//! The tip: which run files make up the tree right now, and how an edit changes that.
//!
//! Invariant: no edit leads to a tip in which a run is there twice, runs of a level above 0 overlap, or what is covered
//! has become less.

use std::cmp::Reverse;

use super::RunMeta;
use super::block::Flaw;

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
    /// Always [`LEVELS`] of them. Level 0: newest first, by largest sequence number; others: by key, disjoint.
    pub levels: Vec<Vec<RunMeta>>,
}

/// A change of the tip. A run that moves to another level is removed and added.
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

/// Whether a run has its place before another one of the same level: on level 0 the newest first, on others by key.
pub(super) fn stands_before(level: usize, one: &RunMeta, other: &RunMeta) -> bool {
    match level {
        0 => (Reverse(one.max_seq), one.number) < (Reverse(other.max_seq), other.number),
        _ => one.smallest < other.smallest,
    }
}

impl Tip {
    /// The tip of a tree without a file.
    pub fn empty() -> Tip {
        Tip { covered: 0, horizon: 0, next_number: 1, levels: vec![Vec::new(); LEVELS] }
    }

    /// All runs, level 0 first.
    pub fn runs(&self) -> impl Iterator<Item = &RunMeta> {
        self.levels.iter().flatten()
    }

    /// The tip after an edit, or why it cannot be made.
    pub fn with(mut self, edit: Edit) -> Result<Tip, Flaw> {
        let (covered, horizon) = (edit.covered.unwrap_or(self.covered), edit.horizon.unwrap_or(self.horizon));
        if covered < self.covered || horizon < self.horizon {
            return Err("an edit moves back what is covered, or the horizon");
        }
        (self.covered, self.horizon) = (covered, horizon);
        self.remove(edit.removed)?;
        for (level, run) in edit.added {
            run.check()?;
            self.next_number =
                self.next_number.max(run.number.checked_add(1).ok_or("a number is too large")?);
            let runs = self.levels.get_mut(usize::from(level)).ok_or("there is no such level")?;
            runs.insert(runs.partition_point(|other| stands_before(usize::from(level), other, &run)), run);
        }
        self.check()?;
        Ok(self)
    }

    fn remove(&mut self, mut numbers: Vec<u64>) -> Result<(), Flaw> {
        numbers.sort_unstable();
        let before = self.runs().count();
        for level in &mut self.levels {
            level.retain(|run| numbers.binary_search(&run.number).is_err());
        }
        let removed = before - self.runs().count();
        if removed == numbers.len() { Ok(()) } else { Err("an edit removes a run that is not there") }
    }

    fn check(&self) -> Result<(), Flaw> {
        let mut numbers: Vec<u64> = self.runs().map(|run| run.number).collect();
        numbers.sort_unstable();
        if numbers.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("a run is there twice");
        }
        let overlap = |pair: &[RunMeta]| pair[0].largest >= pair[1].smallest;
        if self.levels[1..].iter().any(|level| level.windows(2).any(overlap)) {
            return Err("runs of a level overlap");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u64, smallest: &str, largest: &str) -> RunMeta {
        let (smallest, largest) = (smallest.into(), largest.into());
        let max_seq = number as i64 * 10;
        RunMeta {
            number,
            bytes: 100,
            entries: 3,
            tombstones: 1,
            smallest,
            largest,
            min_seq: max_seq - 5,
            max_seq,
        }
    }

    fn added(runs: &[(u8, RunMeta)]) -> Edit {
        Edit { added: runs.to_vec(), ..Edit::default() }
    }

    #[test]
    fn edits_keep_every_level_in_its_order() {
        let tip = Tip::empty().with(added(&[(0, run(1, "a", "z")), (0, run(3, "a", "z"))])).unwrap();
        let tip =
            tip.with(added(&[(0, run(2, "a", "z")), (1, run(5, "n", "o")), (1, run(4, "a", "b"))])).unwrap();
        let numbers = |tip: &Tip| tip.runs().map(|run| run.number).collect::<Vec<_>>();
        assert_eq!((numbers(&tip), tip.next_number), (vec![3, 2, 1, 4, 5], 6));
        let edit = Edit {
            covered: Some(40),
            horizon: Some(7),
            added: vec![(1, run(2, "c", "m")), (1, run(9, "p", "q"))],
            removed: vec![2, 5],
        };
        let tip = tip.with(edit).unwrap();
        assert_eq!((numbers(&tip), tip.next_number), (vec![3, 1, 4, 2, 9], 10));
        assert_eq!((tip.covered, tip.horizon), (40, 7));
        let tip = tip.with(Edit { removed: vec![9], ..Edit::default() }).unwrap();
        assert_eq!(tip.next_number, 10, "a number is never given twice");
    }

    #[test]
    fn edits_that_make_no_sense_are_refused() {
        let tip = Tip::empty().with(added(&[(0, run(1, "a", "z")), (1, run(2, "f", "k"))])).unwrap();
        let tip = tip.with(Edit { covered: Some(9), horizon: Some(9), ..Edit::default() }).unwrap();
        for edit in [
            Edit { covered: Some(8), ..Edit::default() },
            Edit { horizon: Some(8), ..Edit::default() },
            Edit { removed: vec![3], ..Edit::default() },
            Edit { removed: vec![1, 1], ..Edit::default() },
            added(&[(0, run(2, "a", "b"))]),
            added(&[(1, run(3, "k", "l"))]),
            added(&[(LEVELS as u8, run(3, "l", "m"))]),
            added(&[(0, run(3, "z", "a"))]),
            added(&[(0, RunMeta { entries: 0, tombstones: 0, ..run(3, "a", "b") })]),
            added(&[(0, RunMeta { min_seq: -1, ..run(3, "a", "b") })]),
            added(&[(0, RunMeta { max_seq: 1, ..run(3, "a", "b") })]),
            added(&[(0, RunMeta { number: u64::MAX, ..run(3, "a", "b") })]),
            added(&[(0, RunMeta { largest: vec![b'x'; super::super::MOST_KEY + 1], ..run(3, "a", "b") })]),
        ] {
            assert!(tip.clone().with(edit.clone()).is_err(), "{edit:?}");
        }
    }
}
