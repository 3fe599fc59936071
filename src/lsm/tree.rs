//! The tree itself: memtables over runs. The poll loop owns it, and workers get values that own what they need.
//!
//! ```text
//! insert -> active memtable -> frozen memtables -> [flush] -> level 0 -> [merge] -> level 1 -> [merge] -> ...
//! ```
//!
//! Invariant: of a key, every version in a part to the left is newer than all in a part to the right, so the first part
//! that has a visible version has the newest one. Nothing here waits for the device, except opening, creating and
//! closing, and reads that ask to.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::scan::TreeIter;
use super::sieve::{Floors, Sieve};
use super::snapshot::Pins;
use super::sources::Source;
use super::stats::{LevelStats, Stats};
use super::store::{Change, Store};
use super::sweep::Sweep;
use super::{
    Access, Entry, Flush, Flushed, KeyRange, Kind, LEVELS, MOST_KEY, Manifest, Memtable, Merge, Merged,
    OpenError, Options, ReadError, Run, RunMeta, Version, levels,
};
use crate::disk::Disk;

/// A sorted view of the newest records.
pub struct Tree {
    disk: Arc<dyn Disk>,
    store: Store,
    options: Options,
    active: Memtable,
    /// Oldest first.
    frozen: VecDeque<Frozen>,
    version: Arc<Version>,
    horizon: i64,
    pins: Pins,
    /// A flush is under way; no version that it may drop was superseded by a larger seq.
    flushing: Option<i64>,
    /// A merge is under way, likewise.
    merging: Option<i64>,
    /// The shape has not changed since no merge was wanted.
    at_rest: bool,
    sweep: Sweep,
    counts: Stats,
    filter_hits: Cell<u64>,
    filter_misses: Cell<u64>,
}

/// A memtable that takes nothing more.
struct Frozen {
    table: Arc<Memtable>,
    /// It holds every record below that is not in an older part of the tree.
    upto: i64,
}

/// How far the writers of a tree are ahead of its flushes and merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Not far.
    Free,
    /// Take less: [`Options::l0_slow`] runs on level 0, or [`Options::frozen_most`] memtables wait to be flushed.
    Slow,
    /// Take nothing: [`Options::l0_stop`] runs on level 0, or the active memtable is full and cannot be frozen.
    Stop,
}

/// What a [`Tree::get`] has found; reused by the caller.
#[derive(Debug)]
pub struct Found {
    /// The version's seq.
    pub seq: i64,
    /// Whether it sets the key or deletes it.
    pub kind: Kind,
    /// What it carries.
    pub value: Vec<u8>,
    /// Where blocks are read to.
    scratch: Vec<u8>,
}

impl Default for Found {
    fn default() -> Found {
        Found { seq: -1, kind: Kind::Tombstone, value: Vec::new(), scratch: Vec::new() }
    }
}

impl Tree {
    /// An empty tree in a new folder. Reads as of `horizon` or later will be exact: the log from which it is to be
    /// filled may have been cleaned of what was before. Waits for the device.
    pub fn create(disk: Arc<dyn Disk>, dir: Arc<Path>, options: Options, horizon: i64) -> io::Result<Tree> {
        let manifest = Manifest::create(disk.clone(), dir.clone(), horizon)?;
        let version = Version::new(0, vec![Vec::new(); LEVELS]);
        Ok(Tree::new(disk, Store::new(dir, manifest, 1, horizon), version, horizon, options))
    }

    /// Opens the tree in `dir` with all its runs, as far as their footers, indexes and filters go. Waits for the
    /// device.
    pub fn open(disk: Arc<dyn Disk>, dir: Arc<Path>, options: Options) -> Result<Tree, OpenError> {
        let (manifest, tip) = Manifest::open(disk.clone(), dir.clone())?;
        let store = Store::new(dir, manifest, tip.next_number, tip.horizon);
        let open = |meta: RunMeta| store.open(&*disk, meta).map_err(damaged);
        let open_level = |runs: Vec<RunMeta>| runs.into_iter().map(open).collect::<Result<Vec<_>, _>>();
        let levels = tip.levels.into_iter().map(open_level).collect::<Result<_, _>>()?;
        let version = Version::new(tip.covered, levels);
        Ok(Tree::new(disk, store, version, tip.horizon, options))
    }

    fn new(disk: Arc<dyn Disk>, store: Store, version: Version, horizon: i64, options: Options) -> Tree {
        Tree {
            disk,
            store,
            options,
            active: Memtable::new(),
            frozen: VecDeque::new(),
            version: Arc::new(version),
            horizon,
            pins: Pins::default(),
            flushing: None,
            merging: None,
            at_rest: false,
            sweep: Sweep::default(),
            counts: Stats::default(),
            filter_hits: Cell::new(0),
            filter_misses: Cell::new(0),
        }
    }

    /// Every seq below is in run files, or was superseded there; the log is to be replayed from here.
    pub fn covered(&self) -> i64 {
        self.version.covered()
    }

    /// Adds a record, whose seq is above all before it; its key has at most [`MOST_KEY`] bytes.
    pub fn insert(&mut self, entry: Entry<'_>) {
        assert!(entry.seq >= self.frozen_upto(), "seq {} is covered already", entry.seq);
        assert!(entry.key.len() <= MOST_KEY, "a key of {} bytes", entry.key.len());
        self.active.insert(entry);
    }

    /// Whether the active memtable should be frozen.
    pub fn is_full(&self) -> bool {
        self.active.weight() >= self.options.memtable_bytes
    }

    /// Says that the active memtable holds all records below `upto` that older parts do not hold, and begins a new one.
    /// An empty one is frozen, too, so that [`Tree::covered`] comes to include what left no trace.
    pub fn freeze(&mut self, upto: i64) {
        let table = std::mem::take(&mut self.active);
        assert!(upto >= self.frozen_upto(), "{upto} is covered already");
        assert!(table.seqs().is_none_or(|(_, newest)| newest < upto), "the memtable goes beyond {upto}");
        if upto > self.frozen_upto() {
            self.frozen.push_back(Frozen { table: Arc::new(table), upto });
        }
    }

    /// Takes a memtable that was filled elsewhere, with all records below `upto` that older parts do not hold. The
    /// active memtable begins at `upto` or later.
    pub fn adopt(&mut self, memtable: Memtable, upto: i64) {
        let newer = std::mem::replace(&mut self.active, memtable);
        assert!(
            self.active.seqs().is_none_or(|(oldest, _)| oldest >= self.frozen_upto()),
            "it is covered already"
        );
        assert!(newer.seqs().is_none_or(|(oldest, _)| oldest >= upto), "the active memtable is older");
        self.freeze(upto);
        self.active = newer;
    }

    /// Whether a frozen memtable cannot be flushed before the log is durable further than `durable`.
    pub fn waits_for_durable(&self, durable: i64) -> bool {
        self.flushing.is_none() && self.frozen.front().is_some_and(|oldest| oldest.upto > durable)
    }

    /// The oldest frozen memtable as a job, if the log is durable up to its end and no flush is under way.
    pub fn begin_flush(&mut self, durable: i64) -> Option<Flush> {
        let oldest =
            self.frozen.front().filter(|oldest| oldest.upto <= durable && self.flushing.is_none())?;
        self.flushing = Some(oldest.upto - 1);
        let (table, upto) = (oldest.table.clone(), oldest.upto);
        let (pins, sweep) = (self.pins.list(), std::mem::take(&mut self.sweep));
        Some(Flush { store: self.store.clone(), table, upto, pins, sweep })
    }

    /// Takes the result of a flush. After an error nothing has changed, and it may be tried again; but an error of the
    /// manifest comes back each time.
    pub fn flushed(&mut self, done: Flushed) -> io::Result<()> {
        self.flushing.take().expect("a flush is under way");
        let (change, tally) = done.result?;
        let flushed = self.frozen.pop_front().expect("what is being flushed stays");
        assert_eq!(change.covered, Some(flushed.upto));
        self.sweep.tables.push(flushed.table);
        self.counts.count_flush(change.added.iter().map(|(_, run)| run.meta().bytes).sum(), tally);
        self.change(&change);
        Ok(())
    }

    /// The merge that the tree needs most, if it needs one and none is under way.
    pub fn begin_merge(&mut self, floors: Floors) -> Option<Merge> {
        if self.merging.is_some() || self.at_rest {
            return None;
        }
        let Some(plan) = levels::next(&self.version.shape(), &self.options) else {
            self.at_rest = true;
            return None;
        };
        let sieve = Sieve::new(self.pins.list(), floors);
        let sweep = std::mem::take(&mut self.sweep);
        let merge = Merge::new(self.store.clone(), &self.version, plan, sieve, self.options.run_bytes, sweep);
        self.merging = Some(merge.max_seq());
        Some(merge)
    }

    /// Takes the result of a merge. After an error nothing has changed, and it may be tried again; but an error of the
    /// manifest comes back each time.
    pub fn merged(&mut self, done: Merged) -> io::Result<()> {
        self.merging.take().expect("a merge is under way");
        let (change, outcome) = done.result?;
        self.counts.count_merge(outcome);
        self.change(&change);
        Ok(())
    }

    /// What flushes and merges have left to be thrown away, if anything. It goes along with the next flush or merge, so
    /// this is for a tree that has come to rest.
    pub fn begin_sweep(&mut self) -> Option<Sweep> {
        let sweep = std::mem::take(&mut self.sweep);
        (!sweep.is_empty()).then_some(sweep)
    }

    fn change(&mut self, change: &Change) {
        let next = Arc::new(self.version.after(change));
        self.sweep.versions.push(std::mem::replace(&mut self.version, next));
        self.horizon = self.horizon.max(change.horizon);
        self.at_rest = false;
    }

    /// How far writers are ahead.
    pub fn pressure(&self) -> Pressure {
        let runs = self.version.levels()[0].len();
        let waiting = self.frozen.iter().filter(|frozen| !frozen.table.is_empty()).count();
        let crowded = waiting >= self.options.frozen_most;
        if runs >= self.options.l0_stop || (crowded && self.is_full()) {
            Pressure::Stop
        } else if runs >= self.options.l0_slow || crowded {
            Pressure::Slow
        } else {
            Pressure::Free
        }
    }

    /// Finds the newest version of `key` with a seq of at most `as_of`, a tombstone included; whether there is one.
    /// `as_of` must be readable, see [`Tree::readable_at`]. `trace` gets a line for each part that was looked at.
    pub fn get(
        &self,
        key: &[u8],
        as_of: i64,
        access: Access,
        found: &mut Found,
        mut trace: Option<&mut Vec<String>>,
    ) -> Result<bool, ReadError> {
        let mut note = |part: &dyn Fn() -> String| {
            if let Some(lines) = &mut trace {
                lines.push(part());
            }
        };
        for (name, table) in self.memtables() {
            let entry = table.get(key, as_of);
            note(&|| format!("{name}: {}", answer(entry.map(|entry| entry.seq))));
            if let Some(entry) = entry {
                found.copy(entry);
                return Ok(true);
            }
        }
        let (mut hits, mut misses, mut is_found) = (0, 0, false);
        for (level, run) in self.version.candidates(key) {
            let part = || format!("level {level}, run {:06}", run.meta().number);
            if !run.may_hold(key) {
                note(&|| format!("{}: its filter says no", part()));
                hits += 1;
                continue;
            }
            is_found = found.look(run, key, as_of, access)?;
            note(&|| format!("{}: {}", part(), answer(is_found.then_some(found.seq))));
            if is_found {
                break;
            }
            misses += 1;
        }
        self.filter_hits.set(self.filter_hits.get() + hits);
        self.filter_misses.set(self.filter_misses.get() + misses);
        Ok(is_found)
    }

    /// Walks the newest visible version of each key of a range; tombstones included, so the caller skips them.
    /// `as_of` must be readable, see [`Tree::readable_at`].
    pub fn iter(&self, range: &KeyRange, as_of: i64, reverse: bool, access: Access) -> TreeIter<'_> {
        let tables = self.memtables().map(|(_, table)| table.range(range.from(), range.to(), as_of));
        let tables = tables.map(Source::table);
        let sources = tables.chain(self.version.sources(access)).collect();
        TreeIter::new(sources, range.clone(), as_of, reverse)
    }

    /// Memtables by name, the newest first.
    fn memtables(&self) -> impl Iterator<Item = (&'static str, &Memtable)> {
        let frozen = self.frozen.iter().rev().map(|frozen| ("frozen memtable", &*frozen.table));
        std::iter::once(("memtable", &self.active)).chain(frozen)
    }

    /// Keeps what a read as of `seq` sees from being dropped, until it is let go as often. Refused where something may
    /// be gone already, or be about to go.
    pub fn pin(&mut self, seq: i64) -> bool {
        let about_to_go = self.flushing.max(self.merging).unwrap_or(0);
        self.pins.pin(seq, self.horizon.max(about_to_go))
    }

    /// Lets go of a pin.
    pub fn unpin(&mut self, seq: i64) {
        self.pins.unpin(seq);
    }

    /// Whether a read as of `seq` sees what was there then.
    pub fn readable_at(&self, seq: i64) -> bool {
        seq >= self.horizon || self.pins.holds(seq)
    }

    /// Reads as of this or later are exact: the largest seq that has ever superseded a version that was dropped.
    pub fn horizon(&self) -> i64 {
        self.horizon
    }

    /// The run files alone, for workers.
    pub fn version(&self) -> Arc<Version> {
        self.version.clone()
    }

    /// Figures about it.
    pub fn stats(&self) -> Stats {
        let levels: Vec<_> = self.version.levels().iter().map(|runs| level_stats(runs)).collect();
        let tables = || self.memtables().map(|(_, table)| table);
        let in_tables: u64 = tables().map(Memtable::entries).sum();
        Stats {
            memtable_bytes: tables().map(|table| table.weight() as u64).sum(),
            frozen: self.frozen.len() as u64,
            entries: in_tables + levels.iter().map(|level| level.entries).sum::<u64>(),
            levels,
            filter_hits: self.filter_hits.get(),
            filter_misses: self.filter_misses.get(),
            ..self.counts.clone()
        }
    }

    /// A clean stop: flushes everything, which is all below `end` of a durable log, so that nothing is replayed at the
    /// next start. No flush may be under way. Waits for the device.
    pub fn close(&mut self, end: i64) -> io::Result<()> {
        self.freeze(end);
        while !self.frozen.is_empty() {
            let flush = self.begin_flush(i64::MAX).expect("no flush is under way");
            let done = flush.run(&*self.disk);
            self.flushed(done)?;
        }
        Ok(())
    }

    /// The end of what is frozen or in runs.
    fn frozen_upto(&self) -> i64 {
        self.frozen.back().map_or(self.covered(), |frozen| frozen.upto)
    }
}

impl Found {
    fn copy(&mut self, entry: Entry<'_>) {
        (self.seq, self.kind) = (entry.seq, entry.kind);
        self.value.clear();
        self.value.extend_from_slice(entry.value);
    }

    fn look(&mut self, run: &Run, key: &[u8], as_of: i64, access: Access) -> Result<bool, ReadError> {
        let Some((seq, kind, value)) = run.get(key, as_of, access, &mut self.scratch)? else {
            return Ok(false);
        };
        (self.seq, self.kind) = (seq, kind);
        self.value.clear();
        self.value.extend_from_slice(&self.scratch[value]);
        Ok(true)
    }
}

fn answer(seq: Option<i64>) -> String {
    seq.map_or("no".to_owned(), |seq| format!("offset {seq}"))
}

fn level_stats(runs: &[Arc<Run>]) -> LevelStats {
    let sum = |of: fn(&RunMeta) -> u64| runs.iter().map(|run| of(run.meta())).sum();
    LevelStats {
        runs: runs.len() as u64,
        bytes: sum(|meta| meta.bytes),
        entries: sum(|meta| meta.entries),
        tombstones: sum(|meta| meta.tombstones),
    }
}

/// A run that is missing or not what the manifest says is damage of the view; anything else is the device's.
fn damaged(e: io::Error) -> OpenError {
    match e.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::NotFound => OpenError::Damaged(e.to_string()),
        _ => OpenError::Io(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::{Fault, SimDisk};
    use crate::lsm::{Step, testing};

    /// Small enough to be filled by hand.
    fn options() -> Options {
        Options {
            memtable_bytes: 600,
            l0_merge: 2,
            l0_slow: 3,
            l0_stop: 4,
            frozen_most: 2,
            ..Options::default()
        }
    }

    fn tree() -> (SimDisk, Tree) {
        let (sim, disk) = testing::disk(1);
        let tree = Tree::create(disk, Arc::from(Path::new("/view/tree")), options(), 0).unwrap();
        (sim, tree)
    }

    fn reopen(tree: Tree, sim: &SimDisk) -> Tree {
        drop(tree);
        Tree::open(Arc::new(sim.clone()), Arc::from(Path::new("/view/tree")), options()).unwrap()
    }

    fn put(tree: &mut Tree, key: &str, seq: i64) {
        let value = format!("{key}{seq}");
        tree.insert(Entry { key: key.as_bytes(), seq, kind: Kind::Put, value: value.as_bytes() });
    }

    fn flush(tree: &mut Tree, upto: i64) {
        tree.freeze(upto);
        while let Some(flush) = tree.begin_flush(i64::MAX) {
            let done = flush.run(&*tree.disk);
            tree.flushed(done).unwrap();
        }
    }

    fn merge(tree: &mut Tree) -> bool {
        let Some(mut merge) = tree.begin_merge(Floors::NONE) else { return false };
        loop {
            match merge.step(&*tree.disk) {
                Step::More(more) => merge = more,
                Step::Done(done) => break tree.merged(done).unwrap(),
            }
        }
        true
    }

    fn seq(tree: &Tree, key: &str, as_of: i64) -> Option<i64> {
        let mut found = Found::default();
        let is_found = tree.get(key.as_bytes(), as_of, Access::Blocking, &mut found, None).unwrap();
        assert!(!is_found || found.value == format!("{key}{}", found.seq).as_bytes());
        is_found.then_some(found.seq)
    }

    /// Level 0 has two runs, then there is a frozen memtable and the active one.
    fn four_parts() -> (SimDisk, Tree) {
        let (sim, mut tree) = tree();
        for (n, key) in ["first", "second", "third", "fourth"].iter().enumerate() {
            let seq = n as i64 * 10;
            put(&mut tree, key, seq);
            put(&mut tree, "all", seq + 1);
            match n {
                0 | 1 => flush(&mut tree, seq + 10),
                2 => tree.freeze(seq + 10),
                _ => {}
            }
        }
        (sim, tree)
    }

    #[test]
    fn a_get_goes_from_the_newest_part_to_the_oldest() {
        let (_sim, tree) = four_parts();
        for (n, key) in ["first", "second", "third", "fourth"].iter().enumerate() {
            let at = n as i64 * 10;
            assert_eq!(seq(&tree, key, i64::MAX), Some(at));
            assert_eq!(seq(&tree, "all", at + 1), Some(at + 1));
            assert_eq!(seq(&tree, "all", at), (n > 0).then_some(at - 9));
        }
        assert_eq!(seq(&tree, "none", i64::MAX), None);
    }

    #[test]
    fn a_trace_names_the_parts_that_were_looked_at() {
        let (_sim, tree) = four_parts();
        let trace = |key: &[u8]| {
            let mut lines = Vec::new();
            tree.get(key, i64::MAX, Access::Blocking, &mut Found::default(), Some(&mut lines)).unwrap();
            lines.join("; ")
        };
        assert_eq!(trace(b"fourth"), "memtable: offset 30");
        assert_eq!(trace(b"third"), "memtable: no; frozen memtable: offset 20");
        assert_eq!(trace(b"second"), "memtable: no; frozen memtable: no; level 0, run 000002: offset 10");
        assert_eq!(
            trace(b"b"),
            "memtable: no; frozen memtable: no; level 0, run 000002: its filter says no; level 0, run 000001: its filter says no"
        );
        assert_eq!((tree.stats().filter_hits, tree.stats().filter_misses), (2, 0));
    }

    #[test]
    fn a_flush_waits_until_the_log_is_durable() {
        let (sim, mut tree) = tree();
        put(&mut tree, "key", 4);
        tree.freeze(5);
        assert!(tree.begin_flush(4).is_none() && tree.covered() == 0);
        let job = tree.begin_flush(5).unwrap();
        assert!(tree.begin_flush(5).is_none(), "one at a time");
        tree.flushed(job.run(&sim)).unwrap();
        assert_eq!((tree.covered(), seq(&tree, "key", 9)), (5, Some(4)));
    }

    #[test]
    fn what_left_no_trace_is_covered_too() {
        let (sim, mut tree) = tree();
        flush(&mut tree, 1_000);
        assert_eq!((tree.covered(), tree.stats().flushes), (1_000, 0));
        assert_eq!(reopen(tree, &sim).covered(), 1_000);
    }

    #[test]
    fn a_flush_that_failed_can_be_tried_again() {
        let (sim, mut tree) = tree();
        put(&mut tree, "key", 4);
        tree.freeze(5);
        sim.fail_after(2, Fault::NoSpace);
        let job = tree.begin_flush(5).unwrap();
        assert!(tree.flushed(job.run(&sim)).is_err());
        assert_eq!(seq(&tree, "key", 9), Some(4));
        assert!(sim.files().iter().all(|path| path.extension().is_none()), "{:?}", sim.files());
        flush(&mut tree, 5);
        assert_eq!(seq(&reopen(tree, &sim), "key", 9), Some(4));
    }

    #[test]
    fn a_merge_that_failed_leaves_the_tree_as_it_was_and_no_file() {
        let (sim, mut tree) = four_parts();
        let before = sim.files();
        sim.fail_after(3, Fault::NoSpace);
        let Step::Done(done) = tree.begin_merge(Floors::NONE).unwrap().step(&sim) else {
            panic!("it went on")
        };
        assert!(tree.merged(done).is_err());
        assert_eq!((sim.files(), seq(&tree, "first", 99)), (before, Some(0)));
        assert!(merge(&mut tree));
        assert_eq!(tree.stats().superseded, 1);
    }

    #[test]
    fn a_pin_is_refused_where_versions_may_be_going() {
        let (sim, mut tree) = tree();
        put(&mut tree, "key", 1);
        put(&mut tree, "key", 5);
        assert!(tree.pin(3) && tree.readable_at(0));
        tree.freeze(6);
        let job = tree.begin_flush(6).unwrap();
        assert!(!tree.pin(4), "the flush does not know of it");
        assert!(tree.pin(3) && tree.pin(5), "it knows of the one, and the other needs nothing old");
        tree.flushed(job.run(&sim)).unwrap();
        assert_eq!((tree.horizon(), seq(&tree, "key", 3)), (0, Some(1)));
        put(&mut tree, "key", 7);
        flush(&mut tree, 8);
        tree.unpin(3);
        assert!(tree.readable_at(3), "until it is let go as often");
        tree.unpin(3);
        assert!(merge(&mut tree));
        assert_eq!((tree.horizon(), seq(&tree, "key", 5), seq(&tree, "key", 6)), (5, Some(5), Some(5)));
        assert!(!tree.readable_at(3) && tree.readable_at(5));
    }

    #[test]
    fn a_version_is_readable_after_its_files_are_gone() {
        let (sim, mut tree) = four_parts();
        let before = tree.version();
        assert!(merge(&mut tree));
        assert_eq!(sim.files().iter().filter(|path| path.extension().is_some()).count(), 1);
        assert_eq!(before.get(b"first", Access::Blocking).unwrap(), Some((0, Kind::Put)));
        let mut told = Vec::new();
        let keys = [&b"all"[..], b"fifth", b"first", b"second", b"third"];
        before.newest(keys, |key, newest| told.push((key, newest.map(|(seq, _)| seq)))).unwrap();
        let expected = [Some(11), None, Some(0), Some(10), None];
        assert_eq!(told, keys.into_iter().zip(expected).collect::<Vec<_>>());
        tree.begin_sweep().unwrap().run();
        assert!(tree.begin_sweep().is_none());
    }

    #[test]
    fn runs_that_overlap_nothing_are_moved_without_being_rewritten() {
        let (sim, mut tree) = tree();
        for (n, key) in ["a", "b"].iter().enumerate() {
            put(&mut tree, key, n as i64);
            flush(&mut tree, n as i64 + 1);
        }
        assert!(merge(&mut tree) && !merge(&mut tree));
        let stats = tree.stats();
        assert_eq!((stats.moves, stats.merges, stats.levels[1].runs), (1, 0, 2));
        let tree = reopen(tree, &sim);
        assert_eq!((seq(&tree, "a", 9), seq(&tree, "b", 9)), (Some(0), Some(1)));
    }

    #[test]
    fn pressure_rises_with_runs_on_level_0_and_with_memtables_that_wait() {
        let (_sim, mut tree) = tree();
        let mut pressures = Vec::new();
        for n in 0..4 {
            put(&mut tree, "key", n);
            flush(&mut tree, n + 1);
            pressures.push(tree.pressure());
        }
        assert_eq!(pressures, [Pressure::Free, Pressure::Free, Pressure::Slow, Pressure::Stop]);
        assert!(merge(&mut tree));
        assert_eq!(tree.pressure(), Pressure::Free);
        for n in 4..6 {
            put(&mut tree, "key", n);
            tree.freeze(n + 1);
        }
        assert_eq!(tree.pressure(), Pressure::Slow);
        for n in 6..30 {
            put(&mut tree, "key", n);
        }
        assert!(tree.is_full());
        assert_eq!(tree.pressure(), Pressure::Stop);
    }

    #[test]
    fn an_adopted_memtable_is_older_than_the_active_one() {
        let (_sim, mut tree) = tree();
        put(&mut tree, "key", 7);
        let mut table = Memtable::new();
        table.insert(Entry { key: b"key", seq: 3, kind: Kind::Put, value: b"key3" });
        tree.adopt(table, 5);
        assert_eq!((seq(&tree, "key", 9), seq(&tree, "key", 6)), (Some(7), Some(3)));
        tree.close(8).unwrap();
        assert_eq!((tree.covered(), seq(&tree, "key", 9)), (8, Some(7)));
    }

    #[test]
    #[should_panic(expected = "seq 4 is covered already")]
    fn a_record_that_is_covered_is_not_taken_again() {
        let (_sim, mut tree) = tree();
        flush(&mut tree, 5);
        put(&mut tree, "key", 4);
    }

    #[test]
    fn a_missing_or_damaged_run_is_a_damaged_tree() {
        let (sim, mut tree) = tree();
        put(&mut tree, "key", 4);
        tree.close(5).unwrap();
        drop(tree);
        let open =
            |sim: &SimDisk| Tree::open(Arc::new(sim.clone()), Arc::from(Path::new("/view/tree")), options());
        let run = Path::new("/view/tree/000001.run");
        let damaged = sim.fork();
        damaged.flip_bit(run, 8 * (sim.raw(run).unwrap().len() as u64 - 9)).unwrap();
        assert!(matches!(open(&damaged), Err(OpenError::Damaged(_))));
        let missing = sim.fork();
        missing.remove_file(run).unwrap();
        assert!(matches!(open(&missing), Err(OpenError::Damaged(_))));
        assert!(open(&sim).is_ok());
    }
}
