//! The runs of a tree at one moment, open.
//!
//! Invariant: a version never changes, and the runs that it holds stay readable as long as it lives, even when a merge
//! has removed their files meanwhile. Of a key, every version in an upper level is newer than all in a lower one, and
//! on level 0 than all in an older run.

use std::ops::Bound;
use std::slice;
use std::sync::Arc;

use super::levels::RunShape;
use super::sources::{Chain, Source};
use super::store::Change;
use super::tip::stands_before;
use super::{Access, KeyRange, Kind, LEVELS, ReadError, Run};

/// The run files of a tree, for reading on any thread. Memtables are not in it.
pub struct Version {
    covered: i64,
    levels: Vec<Vec<Arc<Run>>>,
}

impl Version {
    pub(super) fn new(covered: i64, levels: Vec<Vec<Arc<Run>>>) -> Version {
        assert_eq!(levels.len(), LEVELS);
        Version { covered, levels }
    }

    /// Every record below this seq is in here, or was superseded or expired.
    pub fn covered(&self) -> i64 {
        self.covered
    }

    /// The runs of each level: level 0 newest first, others by key.
    pub fn levels(&self) -> &[Vec<Arc<Run>>] {
        &self.levels
    }

    /// Seq and kind of the newest version of `key`.
    pub fn get(&self, key: &[u8], access: Access) -> Result<Option<(i64, Kind)>, ReadError> {
        let mut scratch = Vec::new();
        for (_, run) in self.candidates(key).filter(|(_, run)| run.may_hold(key)) {
            if let Some((seq, kind, _)) = run.get(key, i64::MAX, access, &mut scratch)? {
                return Ok(Some((seq, kind)));
            }
        }
        Ok(None)
    }

    /// As [`Version::get`] for many keys in ascending order, each of which is handed to `each` with its answer. Every
    /// block is read at most once for each run of keys that it answers. Waits for the device.
    pub fn newest<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k [u8]>,
        mut each: impl FnMut(&'k [u8], Option<(i64, Kind)>),
    ) -> Result<(), ReadError> {
        let mut chains: Vec<_> =
            self.parts().map(|runs| (runs, Chain::new(runs, Access::Blocking))).collect();
        for key in keys {
            let mut found = None;
            for (runs, chain) in &mut chains {
                if !run_of(runs, key).is_some_and(|run| run.may_hold(key)) {
                    continue;
                }
                chain.seek(Bound::Included(key))?;
                found = chain.entry().filter(|entry| entry.key == key).map(|entry| (entry.seq, entry.kind));
                if found.is_some() {
                    break;
                }
            }
            each(key, found);
        }
        Ok(())
    }

    /// The runs that could hold `key` by their range, each with its level; those with newer versions first.
    pub(super) fn candidates<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = (usize, &'a Arc<Run>)> {
        let upper = self.levels[0].iter().filter(|run| covers(run, key)).map(|run| (0, run));
        let lower = self.levels.iter().enumerate().skip(1);
        upper.chain(lower.filter_map(move |(level, runs)| Some((level, run_of(runs, key)?))))
    }

    /// What a scan of a range has to read; runs that lie beside it are not touched.
    pub(super) fn sources(&self, range: &KeyRange, access: Access) -> impl Iterator<Item = Source<'_>> {
        let within = self.parts().map(|runs| clip(runs, range)).filter(|runs| !runs.is_empty());
        within.map(move |runs| Source::runs(runs, access))
    }

    /// Disjoint runs that can be read as one: each of level 0, and all of each further level.
    fn parts(&self) -> impl Iterator<Item = &[Arc<Run>]> {
        let lower = self.levels[1..].iter().filter(|runs| !runs.is_empty()).map(Vec::as_slice);
        self.levels[0].iter().map(slice::from_ref).chain(lower)
    }

    pub(super) fn shape(&self) -> Vec<Vec<RunShape<'_>>> {
        self.levels.iter().map(|runs| runs.iter().map(|run| shape_of(run)).collect()).collect()
    }

    /// The runs with these numbers, in the order of the level.
    pub(super) fn pick(&self, level: usize, numbers: &[u64]) -> Vec<Arc<Run>> {
        let wanted = |run: &&Arc<Run>| numbers.contains(&run.meta().number);
        let picked: Vec<_> = self.levels[level].iter().filter(wanted).cloned().collect();
        assert_eq!(picked.len(), numbers.len(), "the runs {numbers:?} are on level {level}");
        picked
    }

    /// The next version.
    pub(super) fn after(&self, change: &Change) -> Version {
        let mut levels = self.levels.clone();
        for runs in &mut levels {
            runs.retain(|run| !change.removed.contains(&run.meta().number));
        }
        for (level, run) in &change.added {
            let at = levels[*level].partition_point(|other| stands_before(*level, other.meta(), run.meta()));
            levels[*level].insert(at, run.clone());
        }
        for runs in &levels[1..] {
            let disjoint = runs.is_sorted_by(|a, b| a.meta().largest < b.meta().smallest);
            assert!(disjoint, "the runs of a level do not overlap");
        }
        Version { covered: change.covered.unwrap_or(self.covered), levels }
    }
}

/// Those of some disjoint runs that may hold keys of the range.
fn clip<'a>(runs: &'a [Arc<Run>], range: &KeyRange) -> &'a [Arc<Run>] {
    let from = match range.from() {
        Bound::Unbounded => 0,
        Bound::Included(key) | Bound::Excluded(key) => {
            runs.partition_point(|run| run.meta().largest.as_slice() < key)
        }
    };
    let to = match range.to() {
        Bound::Unbounded => runs.len(),
        Bound::Included(key) | Bound::Excluded(key) => {
            runs.partition_point(|run| run.meta().smallest.as_slice() <= key)
        }
    };
    // A range whose bounds contradict each other holds nothing.
    runs.get(from..to).unwrap_or_default()
}

fn covers(run: &Run, key: &[u8]) -> bool {
    run.meta().smallest.as_slice() <= key && key <= run.meta().largest.as_slice()
}

/// The one of some disjoint runs whose range has the key.
pub(super) fn run_of<'a>(runs: &'a [Arc<Run>], key: &[u8]) -> Option<&'a Arc<Run>> {
    let at = runs.partition_point(|run| run.meta().largest.as_slice() < key);
    runs.get(at).filter(|run| covers(run, key))
}

fn shape_of(run: &Run) -> RunShape<'_> {
    let meta = run.meta();
    RunShape { number: meta.number, bytes: meta.bytes, smallest: &meta.smallest, largest: &meta.largest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsm::testing::{Owned, disk, open_run, write_run};

    #[test]
    fn a_scan_touches_only_runs_that_may_hold_keys_of_its_range() {
        let (_sim, disk) = disk(1);
        let run = |number, keys: [&str; 2]| {
            open_run(&*disk, &write_run(&*disk, number, &keys.map(|key| Owned::put(key, 1, "value"))))
        };
        let runs = [run(1, ["b", "d"]), run(2, ["f", "h"]), run(3, ["k", "m"])];
        let touched = |from: &str, to: &str| {
            let bound =
                |key: &str| if key.is_empty() { Bound::Unbounded } else { Bound::Included(key.into()) };
            let range = KeyRange { from: bound(from), to: bound(to) };
            clip(&runs, &range).iter().map(|run| run.meta().number).collect::<Vec<_>>()
        };
        assert_eq!(touched("", ""), [1, 2, 3]);
        assert_eq!(touched("d", "f"), [1, 2]);
        assert_eq!(touched("g", "g"), [2]);
        assert_eq!(touched("i", ""), [3]);
        assert_eq!(touched("", "a"), []);
        assert_eq!(touched("i", "j"), []);
        assert_eq!(touched("m", "b"), []);
    }
}
