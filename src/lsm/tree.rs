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
use super::sieve::Floors;
use super::snapshot::Pins;
use super::sources::Source;
use super::stats::{LevelStats, Stats};
use super::store::{Change, Store};
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
    counts: Stats,
    run_looks: Cell<u64>,
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
    /// An empty tree in a new folder. Waits for the device.
    pub fn create(disk: Arc<dyn Disk>, dir: Arc<Path>, options: Options) -> io::Result<Tree> {
        let manifest = Manifest::create(disk.clone(), dir.clone())?;
        let version = Version::new(0, vec![Vec::new(); LEVELS]);
        Ok(Tree::new(disk, Store::new(dir, manifest, 1, 0), version, 0, options))
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
            counts: Stats::default(),
            run_looks: Cell::new(0),
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
        Some(Flush { store: self.store.clone(), table, upto, pins: self.pins.list() })
    }

    /// Takes the result of a flush. After an error nothing has changed, and it may be tried again; but an error of the
    /// manifest comes back each time.
    pub fn flushed(&mut self, done: Flushed) -> io::Result<()> {
        self.flushing.take().expect("a flush is under way");
        let (change, tally) = done.result?;
        let flushed = self.frozen.pop_front().expect("what is being flushed stays");
        assert_eq!(change.covered, Some(flushed.upto));
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
        let (store, pins) = (self.store.clone(), self.pins.list());
        let merge = Merge::new(store, &self.version, plan, pins, floors, self.options.run_bytes);
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

    fn change(&mut self, change: &Change) {
        self.version = Arc::new(self.version.after(change));
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
        let (mut looks, mut hits, mut misses, mut is_found) = (0, 0, 0, false);
        for (level, run) in self.version.candidates(key) {
            let part = || format!("level {level}, run {:06}", run.meta().number);
            if !run.may_hold(key) {
                note(&|| format!("{}: its filter says no", part()));
                hits += 1;
                continue;
            }
            is_found = found.look(run, key, as_of, access)?;
            looks += 1;
            note(&|| format!("{}: {}", part(), answer(is_found.then_some(found.seq))));
            if is_found {
                break;
            }
            misses += 1;
        }
        self.run_looks.set(self.run_looks.get() + looks);
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
            run_looks: self.run_looks.get(),
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
