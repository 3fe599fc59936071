//! Many sorted sources read as one: memtables, the runs of level 0, and each further level.
//!
//! Invariant: a call that ends in `Cold` may be made again and then does what the first one was to do; until it has, the
//! position is not to be looked at.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use super::{Access, Entry, ReadError, Run, RunIter, memtable, tree_order};

/// Every version of every key of some sources, in one direction.
///
/// There are few sources, and mostly one of them, the lowest level, holds nearly everything. So the source in front is
/// compared with the runner-up only, and all are looked at only when the lead changes.
pub(super) struct Sources<'a> {
    sources: Vec<Source<'a>>,
    reverse: bool,
    started: usize,
    /// The source in front is being advanced; `Cold` may have come in between.
    moving: bool,
    front: Option<usize>,
    second: Option<usize>,
}

impl<'a> Sources<'a> {
    pub(super) fn new(sources: Vec<Source<'a>>, reverse: bool) -> Sources<'a> {
        Sources { sources, reverse, started: 0, moving: false, front: None, second: None }
    }

    /// To the first entry, seen in its direction, that is within `bound`. Memtables have their bounds already.
    pub(super) fn start(&mut self, bound: Bound<&[u8]>) -> Result<(), ReadError> {
        while let Some(source) = self.sources.get_mut(self.started) {
            source.start(bound, self.reverse)?;
            self.started += 1;
        }
        self.choose();
        Ok(())
    }

    /// Where it is; `None` at the end, and before the start.
    pub(super) fn entry(&self) -> Option<Entry<'_>> {
        self.sources[self.front?].entry()
    }

    /// One entry on.
    pub(super) fn advance(&mut self) -> Result<(), ReadError> {
        self.moving = true;
        self.settle()
    }

    /// Ends an advance that was interrupted by `Cold`.
    pub(super) fn settle(&mut self) -> Result<(), ReadError> {
        let Some(front) = self.front.filter(|_| self.moving) else { return Ok(()) };
        self.sources[front].advance(self.reverse)?;
        self.moving = false;
        let leads = self.second.is_none_or(|second| self.is_before(front, second));
        if !leads || self.sources[front].entry().is_none() {
            self.choose();
        }
        Ok(())
    }

    /// Finds the source in front and the runner-up.
    fn choose(&mut self) {
        (self.front, self.second) = (None, None);
        for at in (0..self.sources.len()).filter(|at| self.sources[*at].entry().is_some()) {
            if self.front.is_none_or(|front| self.is_before(at, front)) {
                self.second = self.front.replace(at);
            } else if self.second.is_none_or(|second| self.is_before(at, second)) {
                self.second = Some(at);
            }
        }
    }

    fn is_before(&self, a: usize, b: usize) -> bool {
        let (Some(a), Some(b)) = (self.sources[a].entry(), self.sources[b].entry()) else { return false };
        let order = tree_order(a.place(), b.place());
        order == if self.reverse { Ordering::Greater } else { Ordering::Less }
    }
}

/// Something sorted.
pub(super) enum Source<'a> {
    /// A memtable; of each key only the version that is visible.
    Table {
        /// What is left of it.
        entries: memtable::Range<'a>,
        /// Where it is.
        at: Option<Entry<'a>>,
    },
    /// One run of level 0, or all of a further level.
    Runs(Box<Chain<'a>>),
}

impl<'a> Source<'a> {
    pub(super) fn table(entries: memtable::Range<'a>) -> Source<'a> {
        Source::Table { entries, at: None }
    }

    pub(super) fn runs(runs: impl Into<Cow<'a, [Arc<Run>]>>, access: Access) -> Source<'a> {
        Source::Runs(Box::new(Chain::new(runs, access)))
    }

    fn start(&mut self, bound: Bound<&[u8]>, reverse: bool) -> Result<(), ReadError> {
        match self {
            Source::Table { .. } => self.advance(reverse),
            Source::Runs(chain) if reverse => chain.seek_back(bound),
            Source::Runs(chain) => chain.seek(bound),
        }
    }

    fn advance(&mut self, reverse: bool) -> Result<(), ReadError> {
        match self {
            Source::Table { entries, at } => {
                *at = if reverse { entries.next_back() } else { entries.next() };
                Ok(())
            }
            Source::Runs(chain) if reverse => chain.prev(),
            Source::Runs(chain) => chain.next(),
        }
    }

    fn entry(&self) -> Option<Entry<'_>> {
        match self {
            Source::Table { at, .. } => *at,
            Source::Runs(chain) => chain.entry(),
        }
    }
}

/// Disjoint runs, one after the other in key order. Only the one that it stands in has an iterator.
pub(super) struct Chain<'a> {
    runs: Cow<'a, [Arc<Run>]>,
    access: Access,
    at: usize,
    iter: Option<RunIter>,
}

impl<'a> Chain<'a> {
    /// Nowhere yet: seek it.
    pub(super) fn new(runs: impl Into<Cow<'a, [Arc<Run>]>>, access: Access) -> Chain<'a> {
        Chain { runs: runs.into(), access, at: 0, iter: None }
    }

    pub(super) fn entry(&self) -> Option<Entry<'_>> {
        self.iter.as_ref()?.entry()
    }

    /// To the first entry within a bound from below.
    pub(super) fn seek(&mut self, from: Bound<&[u8]>) -> Result<(), ReadError> {
        // No seq is negative, so behind (key, -1) comes the next key.
        let (key, seq) = match from {
            Bound::Unbounded => (&[][..], i64::MAX),
            Bound::Included(key) => (key, i64::MAX),
            Bound::Excluded(key) => (key, -1),
        };
        let at = self.runs.partition_point(|run| run.meta().largest.as_slice() < key);
        if let Some(iter) = self.enter(at) {
            iter.seek(key, seq)?;
        }
        self.skip_forward()
    }

    /// To the last entry within a bound from above.
    pub(super) fn seek_back(&mut self, to: Bound<&[u8]>) -> Result<(), ReadError> {
        let (key, inclusive) = match to {
            Bound::Unbounded => (None, true),
            Bound::Included(key) => (Some(key), true),
            Bound::Excluded(key) => (Some(key), false),
        };
        let begun = |run: &Arc<Run>| key.is_none_or(|key| run.meta().smallest.as_slice() <= key);
        match self.runs.partition_point(begun).checked_sub(1).and_then(|at| self.enter(at)) {
            Some(iter) => iter.seek_back(key, inclusive)?,
            None => self.iter = None,
        }
        self.skip_backward()
    }

    pub(super) fn next(&mut self) -> Result<(), ReadError> {
        // Past the end of a run: the last call has been `Cold` on the way to the next one.
        if let Some(iter) = self.iter.as_mut().filter(|iter| iter.entry().is_some()) {
            iter.next()?;
        }
        self.skip_forward()
    }

    pub(super) fn prev(&mut self) -> Result<(), ReadError> {
        if let Some(iter) = self.iter.as_mut().filter(|iter| iter.entry().is_some()) {
            iter.prev()?;
        }
        self.skip_backward()
    }

    fn skip_forward(&mut self) -> Result<(), ReadError> {
        while self.entry().is_none() && self.at + 1 < self.runs.len() {
            let mut iter = self.runs[self.at + 1].iter(self.access);
            iter.first()?;
            (self.iter, self.at) = (Some(iter), self.at + 1);
        }
        Ok(())
    }

    fn skip_backward(&mut self) -> Result<(), ReadError> {
        while self.iter.is_some() && self.entry().is_none() && self.at > 0 {
            let mut iter = self.runs[self.at - 1].iter(self.access);
            iter.seek_back(None, true)?;
            (self.iter, self.at) = (Some(iter), self.at - 1);
        }
        Ok(())
    }

    /// The iterator of a run, the one at hand if it is that run's already; `None` behind the last run.
    fn enter(&mut self, at: usize) -> Option<&mut RunIter> {
        if self.at != at || self.iter.is_none() {
            self.iter = self.runs.get(at).map(|run| run.iter(self.access));
            self.at = at;
        }
        self.iter.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::{Rng, SimDisk};
    use crate::lsm::testing::{Owned, disk, open_run, random_entries, warmed, write_run};

    /// Two overlapping runs and a chain of disjoint ones, all their entries in order, and the disk.
    fn sample(seed: u64) -> (SimDisk, Vec<Vec<Arc<Run>>>, Vec<Owned>) {
        let (sim, disk) = disk(seed);
        let all = random_entries(&mut Rng::new(seed), 400);
        let part = |n: i64| all.iter().filter(|e| e.seq % 3 == n).cloned().collect::<Vec<_>>();
        let run = |number: u64, entries: &[Owned]| open_run(&*disk, &write_run(&*disk, number, entries));
        let mut parts = vec![vec![run(1, &part(0))], vec![run(2, &part(1))], Vec::new()];
        for (number, entries) in (3..).zip(part(2).chunk_by(|a, b| a.key == b.key || a.seq % 7 > 0)) {
            parts[2].push(run(number, entries));
        }
        assert!(parts[2].len() > 5);
        sim.cold(0.3);
        (sim, parts, all)
    }

    fn read(parts: &[Vec<Arc<Run>>], bound: Bound<&[u8]>, reverse: bool) -> Vec<Owned> {
        let sources = parts.iter().map(|runs| Source::runs(&runs[..], Access::Cached)).collect();
        let mut sources = Sources::new(sources, reverse);
        warmed(|| sources.start(bound)).unwrap();
        let mut found = Vec::new();
        while let Some(entry) = sources.entry() {
            found.push(Owned::of(entry));
            sources.moving = true;
            warmed(|| sources.settle()).unwrap();
        }
        found
    }

    #[test]
    fn all_entries_come_in_order_from_both_ends() {
        for seed in 0..10 {
            let (_sim, parts, mut all) = sample(seed);
            assert_eq!(read(&parts, Bound::Unbounded, false), all);
            all.reverse();
            assert_eq!(read(&parts, Bound::Unbounded, true), all);
        }
    }

    #[test]
    fn a_walk_begins_at_its_bound() {
        for seed in 0..4 {
            let (_sim, parts, all) = sample(seed);
            let mut keys: Vec<_> = all.iter().step_by(9).map(|e| e.key.clone()).collect();
            keys.extend([b"between".to_vec(), b"\xff\xff\xff\xff\xff\xff".to_vec()]);
            for key in &keys {
                let from = all.partition_point(|e| e.key < *key);
                let to = all.partition_point(|e| e.key <= *key);
                let back = |entries: &[Owned]| entries.iter().rev().cloned().collect::<Vec<_>>();
                assert_eq!(read(&parts, Bound::Included(key), false), all[from..]);
                assert_eq!(read(&parts, Bound::Excluded(key), false), all[to..]);
                assert_eq!(read(&parts, Bound::Included(key), true), back(&all[..to]));
                assert_eq!(read(&parts, Bound::Excluded(key), true), back(&all[..from]));
            }
        }
    }

    #[test]
    fn without_sources_there_is_nothing() {
        assert_eq!(read(&[], Bound::Unbounded, false), []);
        assert_eq!(read(&[Vec::new()], Bound::Unbounded, true), []);
        assert_eq!(read(&[Vec::new()], Bound::Included(b"a"), false), []);
    }
}
