//! Figures about a tree.
//!
//! Invariant: counts only grow while the process lives and begin at zero when a tree is opened; sizes are of now.

use super::merge::Outcome;
use super::sieve::Tally;

/// One level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LevelStats {
    /// Run files.
    pub runs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Versions in them, tombstones included.
    pub entries: u64,
    /// How many of the versions are tombstones.
    pub tombstones: u64,
}

/// What a tree consists of and what has become of its records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// From level 0 down.
    pub levels: Vec<LevelStats>,
    /// Weight of all memtables, in bytes.
    pub memtable_bytes: u64,
    /// Frozen memtables that are not flushed yet.
    pub frozen: u64,
    /// Versions in memtables and runs.
    pub entries: u64,
    /// Flushes that wrote a run.
    pub flushes: u64,
    /// Bytes of these runs.
    pub flushed_bytes: u64,
    /// Merges that rewrote runs.
    pub merges: u64,
    /// Merges that only moved runs to another level.
    pub moves: u64,
    /// Bytes that merges have read.
    pub merged_in_bytes: u64,
    /// Bytes that merges have written.
    pub merged_out_bytes: u64,
    /// Versions that a flush or merge dropped because a newer one hides them.
    pub superseded: u64,
    /// Versions that a merge dropped because they were below a floor.
    pub expired: u64,
    /// Looks into a run for one key; each reads one block.
    pub run_looks: u64,
    /// Looks into a run that a filter has spared.
    pub filter_hits: u64,
    /// Looks into a run that did not hold the key, though its filter said that it may.
    pub filter_misses: u64,
}

impl Stats {
    /// Run files, all levels.
    pub fn runs(&self) -> u64 {
        self.levels.iter().map(|level| level.runs).sum()
    }

    /// Bytes of the run files, all levels.
    pub fn run_bytes(&self) -> u64 {
        self.levels.iter().map(|level| level.bytes).sum()
    }

    pub(super) fn count_flush(&mut self, bytes: u64, tally: Tally) {
        self.flushes += u64::from(bytes > 0);
        self.flushed_bytes += bytes;
        self.superseded += tally.superseded;
    }

    pub(super) fn count_merge(&mut self, outcome: Outcome) {
        self.merges += u64::from(outcome.bytes_in > 0);
        self.moves += u64::from(outcome.bytes_in == 0);
        self.merged_in_bytes += outcome.bytes_in;
        self.merged_out_bytes += outcome.bytes_out;
        self.superseded += outcome.tally.superseded;
        self.expired += outcome.tally.expired;
    }
}
