//! A tree and a model of it side by side, driven by operations that are made of numbers: for the model test, the crash
//! sweep and the fuzz target.
//!
//! The driver is the tree's owner: it keeps the log, says how far that is durable, runs the jobs stage by stage, and
//! replays the log after a crash. The model is the log by key. What differs is a panic.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use krappy::disk::Disk;
use krappy::disk::sim::{Crash, Fault, SimDisk};
use krappy::lsm::{
    Access, Entry, Floors, Flush, Flushed, Found, KeyRange, Kind, Memtable, Merge, Merged, Options, Pressure,
    ReadError, Stats, Step, Tree,
};

pub const DIR: &str = "/partition/view";

/// One thing that happens. The numbers are scaled to what is possible at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Put {
        key: u16,
        len: u16,
    },
    Delete {
        key: u16,
        len: u16,
    },
    /// The log is durable up to its end.
    Sync,
    Freeze,
    /// The flush goes one stage on: begun, run, taken.
    Flush,
    /// The merge goes one stage on: begun, each step, taken.
    Merge,
    /// Flushes and merges until there is nothing to do.
    Settle,
    Pin {
        seq: u16,
    },
    Unpin {
        which: u16,
    },
    Get {
        key: u16,
        as_of: u16,
    },
    Scan {
        from: u16,
        to: u16,
    },
    /// The log start offset moves up.
    Expire {
        by: u16,
    },
    /// Tombstones below may be dropped.
    Forget {
        by: u16,
    },
    /// A memtable that was filled elsewhere.
    Adopt {
        keys: u16,
        newer: u16,
    },
    /// Some reads from now on are not in memory.
    Cold {
        share: u16,
    },
    /// A call from now on fails once.
    Fail {
        after: u16,
        space: bool,
    },
    /// The process dies at a call from now on.
    CrashIn {
        after: u16,
        how: u16,
    },
    /// It dies now.
    Crash {
        how: u16,
    },
    /// It stops without flushing.
    Reopen,
    /// It stops cleanly.
    Close,
    /// Everything is compared.
    Check,
}

impl Op {
    /// The first number chooses with these weights; writes are the most frequent, and the simplest to shrink to.
    pub fn of(code: u8, a: u16, b: u16) -> Op {
        match code {
            0..=107 => Op::Put { key: a, len: b },
            108..=137 => Op::Delete { key: a, len: b },
            138..=149 => Op::Freeze,
            150..=169 => Op::Flush,
            170..=197 => Op::Merge,
            198..=206 => Op::Sync,
            207..=213 => Op::Pin { seq: a },
            214..=218 => Op::Unpin { which: a },
            219..=228 => Op::Get { key: a, as_of: b },
            229..=239 => Op::Scan { from: a, to: b },
            240 => Op::Expire { by: a },
            241..=242 => Op::Forget { by: a },
            243..=244 => Op::Adopt { keys: a, newer: b },
            245 => Op::Cold { share: a },
            246 => Op::Fail { after: a, space: b.is_multiple_of(2) },
            247 => Op::CrashIn { after: a, how: b },
            248 => Op::Crash { how: a },
            249 => Op::Reopen,
            250 => Op::Close,
            251..=253 => Op::Settle,
            254..=255 => Op::Check,
        }
    }
}

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    seq: i64,
    kind: Kind,
    value: Vec<u8>,
}

/// The log, and what was promised about the view.
#[derive(Debug, Clone, Default)]
pub struct Model {
    log: BTreeMap<Vec<u8>, Vec<Record>>,
    /// The next seq.
    end: i64,
    /// The log is durable below.
    durable: i64,
    /// The log holds nothing below.
    start: i64,
    /// Tombstones below may be gone.
    forgotten: i64,
    /// The tree said that it covers everything below.
    covered: i64,
    /// The tree said that reads are exact from here on.
    horizon: i64,
    pins: Vec<i64>,
}

impl Model {
    /// The newest version as of a seq.
    fn version(&self, key: &[u8], as_of: i64) -> Option<&Record> {
        let versions = self.log.get(key)?;
        versions[..versions.partition_point(|version| version.seq <= as_of)].last()
    }

    /// What a reader should be told.
    fn visible(&self, key: &[u8], as_of: i64) -> Option<&Record> {
        self.version(key, as_of).filter(|version| version.kind == Kind::Put && version.seq >= self.start)
    }

    /// Holds what the tree has said of a key against the log.
    fn check(&self, key: &[u8], as_of: i64, told: Option<&Record>, of: &str) {
        // The owner hides what the log does not hold any more.
        let told = told.filter(|record| record.seq >= self.start);
        let newest = self.version(key, as_of).filter(|version| version.seq >= self.start);
        let may_be_gone = newest.is_none_or(|v| v.kind == Kind::Tombstone && v.seq < self.forgotten);
        let right = told == newest || (told.is_none() && may_be_gone);
        assert!(right, "{of} of {key:?} as of {as_of}: {told:?} instead of {newest:?}; {self:?}");
    }

    /// What a scan should give.
    fn scan(&self, range: &KeyRange, as_of: i64, reverse: bool) -> Vec<(Vec<u8>, Record)> {
        let keys = self.log.keys().filter(|key| contains(range, key));
        let mut found: Vec<_> =
            keys.filter_map(|key| Some((key.clone(), self.visible(key, as_of)?.clone()))).collect();
        if reverse {
            found.reverse();
        }
        found
    }
}

fn contains(range: &KeyRange, key: &[u8]) -> bool {
    let above = match &range.from {
        Bound::Unbounded => true,
        Bound::Included(from) => key >= from.as_slice(),
        Bound::Excluded(from) => key > from.as_slice(),
    };
    above
        && match &range.to {
            Bound::Unbounded => true,
            Bound::Included(to) => key <= to.as_slice(),
            Bound::Excluded(to) => key < to.as_slice(),
        }
}

enum FlushStage {
    Begun(Flush),
    Run(Flushed),
}

enum MergeStage {
    Begun(Merge),
    Run(Merged),
}

/// The tree beside its model.
pub struct Driver {
    pub disk: SimDisk,
    pub model: Model,
    tree: Option<Tree>,
    flush: Option<FlushStage>,
    merge: Option<MergeStage>,
    keys: u16,
    longest: u16,
    options: Options,
    /// Versions in the runs when the tree was opened, and inserted since.
    entered: u64,
    /// A call may fail, or has failed, so files may lie about.
    marred: bool,
    failures: u64,
    crash: u16,
    found: Found,
    /// A crash ends the run instead of being followed by a start.
    pub falls: bool,
    /// Figures of the trees that were stopped.
    pub past: Vec<Stats>,
}

impl Driver {
    /// An empty tree; `shape` chooses how many keys there are and how large values get.
    pub fn new(shape: u16) -> Driver {
        let disk = SimDisk::new(u64::from(shape));
        disk.create_dir(Path::new("/partition")).expect("a new disk");
        disk.sync_dir(Path::new("/")).expect("a new disk");
        let large = shape % 4 == 3;
        let scale = if large { 20 } else { 1 };
        let options = Options {
            memtable_bytes: 2_500 * scale as usize,
            l0_merge: 2,
            l0_slow: 3,
            l0_stop: 5,
            frozen_most: 2,
            level_base: 2_000 * scale,
            factor: 2,
            run_bytes: 1_000 * scale,
        };
        let keys = [5, 40, 400, 60][usize::from(shape % 4)];
        let longest = if large { 6_000 } else { 100 };
        let mut driver = Driver {
            disk,
            model: Model::default(),
            tree: None,
            flush: None,
            merge: None,
            keys,
            longest,
            options,
            entered: 0,
            marred: false,
            failures: 0,
            crash: 0,
            found: Found::default(),
            falls: false,
            past: Vec::new(),
        };
        let tree = Tree::create(driver.shared_disk(), Arc::from(Path::new(DIR)), options, 0);
        driver.tree = Some(tree.expect("a new disk"));
        driver
    }

    fn shared_disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    /// The tree, as it is between two operations.
    pub fn tree(&mut self) -> &mut Tree {
        self.tree.as_mut().expect("there is always a tree between operations")
    }

    /// Does one thing, and what follows if the disk fails at it.
    pub fn step(&mut self, op: Op) {
        match op {
            Op::Put { key, len } => self.write(Kind::Put, key, len),
            Op::Delete { key, len } => self.write(Kind::Tombstone, key, len % 4),
            Op::Sync => self.model.durable = self.model.end,
            Op::Freeze => self.freeze(),
            Op::Flush => self.flush(),
            Op::Merge => self.merge(),
            Op::Settle => self.settle(),
            Op::Pin { seq } => self.pin(seq),
            Op::Unpin { which } => self.unpin(which),
            Op::Get { key, as_of } => self.get(key, as_of),
            Op::Scan { from, to } => self.scan(from, to),
            Op::Expire { by } => self.model.start += i64::from(by) % (self.model.end - self.model.start + 1),
            Op::Forget { by } => {
                self.model.forgotten += i64::from(by) % (self.model.end - self.model.forgotten + 1);
            }
            Op::Adopt { keys, newer } => self.adopt(keys % 8, newer % 3),
            Op::Cold { share } => self.disk.cold(f64::from(share % 3) / 4.0),
            Op::Fail { after, space } => {
                self.marred = true;
                let fault = if space { Fault::NoSpace } else { Fault::Io };
                self.disk.fail_after(1 + u64::from(after % 16), fault);
            }
            Op::CrashIn { after, how } => {
                self.crash = how;
                self.disk.crash_at(1 + u64::from(after % 32));
            }
            Op::Crash { how } => self.crash(how),
            Op::Reopen => self.reopen(),
            Op::Close => self.close(),
            Op::Check => self.check(),
        }
        if self.disk.has_crashed() && !self.falls {
            self.crash(self.crash);
        }
    }

    fn key(&self, n: u16) -> Vec<u8> {
        match n % self.keys {
            0 => Vec::new(),
            n if n % 7 == 0 => format!("a long common beginning of several keys {n:03}").into_bytes(),
            n if n % 5 == 0 => vec![0xff; usize::from(n)],
            n => format!("k{n:03}").into_bytes(),
        }
    }

    fn record(&mut self, kind: Kind, len: u16) -> Record {
        let seq = self.model.end;
        self.model.end += 1 + i64::from(len % 2);
        let value = (0..len % self.longest).map(|i| (seq as u16 ^ (i / 3)) as u8).collect();
        Record { seq, kind, value }
    }

    fn write(&mut self, kind: Kind, key: u16, len: u16) {
        let (key, record) = (self.key(key), self.record(kind, len));
        self.entered += 1;
        let Record { seq, kind, ref value } = record;
        self.tree().insert(Entry { key: &key, seq, kind, value });
        self.model.log.entry(key).or_default().push(record);
        if self.tree().is_full() && self.tree().pressure() < Pressure::Stop {
            self.freeze();
        }
    }

    fn freeze(&mut self) {
        let end = self.model.end;
        self.tree().freeze(end);
    }

    /// Some records that come in a memtable, and then some that are newer and already in the active one.
    fn adopt(&mut self, keys: u16, newer: u16) {
        self.freeze();
        let mut table = Memtable::new();
        for n in 0..keys {
            let (key, record) = (self.key(n * 3), self.record(Kind::Put, n));
            self.entered += 1;
            table.insert(Entry { key: &key, seq: record.seq, kind: record.kind, value: &record.value });
            self.model.log.entry(key).or_default().push(record);
        }
        let upto = self.model.end;
        for n in 0..newer {
            self.write(Kind::Put, n, n);
        }
        // A full memtable was frozen above, and then the order would not be the one of an owner.
        self.tree().adopt(table, upto);
    }

    fn flush(&mut self) {
        let (disk, durable) = (self.disk.clone(), self.model.durable);
        match self.flush.take() {
            None => self.flush = self.tree().begin_flush(durable).map(FlushStage::Begun),
            Some(FlushStage::Begun(flush)) => self.flush = Some(FlushStage::Run(flush.run(&disk))),
            Some(FlushStage::Run(done)) => match self.tree().flushed(done) {
                Ok(()) => self.promise(),
                Err(_) => self.failures += 1,
            },
        }
    }

    fn merge(&mut self) {
        let disk = self.disk.clone();
        let floors = Floors { expired_below: self.model.start, tombstones_below: self.model.forgotten };
        match self.merge.take() {
            None => self.merge = self.tree().begin_merge(floors).map(MergeStage::Begun),
            Some(MergeStage::Begun(merge)) => {
                self.merge = Some(match merge.step(&disk) {
                    Step::More(merge) => MergeStage::Begun(merge),
                    Step::Done(done) => MergeStage::Run(done),
                });
            }
            Some(MergeStage::Run(done)) => match self.tree().merged(done) {
                Ok(()) => self.promise(),
                Err(_) => self.failures += 1,
            },
        }
    }

    /// Until there is nothing to do. After an error there always is, so it ends then.
    fn settle(&mut self) {
        self.model.durable = self.model.end;
        self.freeze();
        let failures = self.failures;
        loop {
            self.flush();
            self.merge();
            if self.disk.has_crashed()
                || self.failures > failures
                || (self.flush.is_none() && self.merge.is_none())
            {
                break;
            }
        }
    }

    /// Remembers what the tree has said, and checks that it adds up.
    fn promise(&mut self) {
        let entered = self.entered;
        let stats = self.tree().stats();
        assert_eq!(entered, stats.entries + stats.superseded + stats.expired, "{stats:?}");
        let (covered, horizon) = (self.tree().covered(), self.tree().horizon());
        assert!(covered >= self.model.covered && horizon >= self.model.horizon);
        assert!(covered <= self.model.durable, "it covers what a crash could take");
        assert!(horizon < self.model.end.max(1));
        (self.model.covered, self.model.horizon) = (covered, horizon);
    }

    fn pin(&mut self, seq: u16) {
        let seq = self.as_of(seq);
        let exact = self.tree().readable_at(seq);
        if self.tree().pin(seq) {
            assert!(exact, "a pin was taken at {seq}, where nothing is certain");
            self.model.pins.push(seq);
        } else {
            assert!(seq < self.model.end - 1, "the newest state can always be pinned");
        }
    }

    fn unpin(&mut self, which: u16) {
        if !self.model.pins.is_empty() {
            let at = usize::from(which) % self.model.pins.len();
            let seq = self.model.pins.swap_remove(at);
            self.tree().unpin(seq);
        }
    }

    /// The newest seq, a pinned one, or any.
    fn as_of(&self, n: u16) -> i64 {
        let any = i64::from(n / 4) % (self.model.end + 1);
        match n % 4 {
            0 => (self.model.end - 1).max(0),
            1 if !self.model.pins.is_empty() => self.model.pins[usize::from(n) % self.model.pins.len()],
            2 => any.max(self.model.horizon),
            _ => any,
        }
    }

    fn get(&mut self, key: u16, as_of: u16) {
        let (key, as_of) = (self.key(key), self.as_of(as_of));
        if self.tree().readable_at(as_of) {
            self.compare(&key, as_of);
        }
    }

    fn compare(&mut self, key: &[u8], as_of: i64) {
        let mut found = std::mem::take(&mut self.found);
        let tree = self.tree();
        let is_found = patiently(|| tree.get(key, as_of, Access::Cached, &mut found, None));
        let told = is_found.then(|| Record { seq: found.seq, kind: found.kind, value: found.value.clone() });
        self.model.check(key, as_of, told.as_ref(), "a get");
        self.found = found;
    }

    fn scan(&mut self, from: u16, to: u16) {
        let bound = |n: u16, key: Vec<u8>| match n % 5 {
            0 => Bound::Unbounded,
            1 | 2 => Bound::Included(key),
            _ => Bound::Excluded(key),
        };
        let range = match from % 11 {
            0 => KeyRange::prefix(&self.key(to)[..1.min(self.key(to).len())]),
            _ => KeyRange { from: bound(from, self.key(from / 5)), to: bound(to, self.key(to / 5)) },
        };
        let as_of = self.as_of(from ^ to.rotate_left(3));
        if self.tree().readable_at(as_of) {
            self.compare_scan(&range, as_of, (from ^ to) & 0x40 == 0);
        }
    }

    fn compare_scan(&mut self, range: &KeyRange, as_of: i64, reverse: bool) {
        let start = self.model.start;
        let mut iter = self.tree().iter(range, as_of, reverse, Access::Cached);
        let mut told = Vec::new();
        let mut keys = BTreeSet::new();
        while let Some((key, record)) = patiently(|| {
            let entry = iter.next()?;
            Ok(entry.map(|e| (e.key.to_vec(), Record { seq: e.seq, kind: e.kind, value: e.value.to_vec() })))
        }) {
            assert!(keys.insert(key.clone()), "{key:?} comes twice");
            if record.kind == Kind::Put && record.seq >= start {
                told.push((key, record));
            }
        }
        assert!(patiently(|| Ok(iter.next()?.is_none())), "the end stays the end");
        drop(iter);
        let expected = self.model.scan(range, as_of, reverse);
        assert_eq!(told, expected, "{range:?} as of {as_of}, reverse {reverse}");
    }

    /// Compares all that can be read.
    pub fn check(&mut self) {
        let newest = (self.model.end - 1).max(0);
        let mut moments = vec![newest, self.tree().horizon(), (newest + self.tree().horizon()) / 2];
        moments.extend(&self.model.pins);
        for as_of in moments {
            assert!(self.tree().readable_at(as_of));
            self.compare_scan(&KeyRange::all(), as_of, false);
            self.compare_scan(&KeyRange::all(), as_of, true);
        }
        for n in 0..self.keys.min(60) {
            self.compare(&self.key(n), newest);
        }
        self.compare(b"never written", newest);
        self.check_runs();
    }

    /// The runs alone hold the newest version of each key below what they cover.
    fn check_runs(&mut self) {
        let version = self.tree().version();
        let keys: Vec<Vec<u8>> = self.model.log.keys().cloned().collect();
        let before = version.covered() - 1;
        let mut answered = 0;
        let check = |key: &[u8], told: Option<(i64, Kind)>| {
            let told = told.filter(|(seq, _)| *seq >= self.model.start);
            let newest = self.model.version(key, before).filter(|v| v.seq >= self.model.start);
            let may_be_gone =
                newest.is_none_or(|v| v.kind == Kind::Tombstone && v.seq < self.model.forgotten);
            let right = told == newest.map(|v| (v.seq, v.kind)) || (told.is_none() && may_be_gone);
            assert!(right, "{key:?} below {before}: {told:?}, not {newest:?}");
            answered += 1;
        };
        version.newest(keys.iter().map(Vec::as_slice), check).expect("the disk is in order");
        assert_eq!(answered, keys.len());
        for key in keys.iter().step_by(7) {
            let mut one = None;
            version.newest([key.as_slice()], |_, found| one = found).expect("the disk is in order");
            assert_eq!(version.get(key, Access::Blocking).expect("the disk is in order"), one);
        }
        let files = self.disk.files().iter().filter(|path| path.starts_with(DIR)).count();
        if !self.marred && self.flush.is_none() && self.merge.is_none() {
            let runs: usize = version.levels().iter().map(Vec::len).sum();
            assert_eq!(files, runs + 1, "the runs and one manifest: {:?}", self.disk.files());
        }
    }

    /// The process dies, the log keeps at least what was durable, and everything comes up again.
    fn crash(&mut self, how: u16) {
        let gone = match how % 3 {
            0 => Crash::KeepAll,
            1 => Crash::LoseAll,
            _ => Crash::Random(u64::from(how)),
        };
        self.stop();
        self.disk.crash(gone);
        self.marred = false;
        let unsure = self.model.end - self.model.durable;
        let kept = if how.is_multiple_of(3) { unsure } else { i64::from(how) % (unsure + 1) };
        self.lose(self.model.durable + kept);
        self.start();
    }

    /// The log ends here.
    fn lose(&mut self, end: i64) {
        (self.model.end, self.model.durable) = (end, end);
        self.model.start = self.model.start.min(end);
        self.model.forgotten = self.model.forgotten.min(end);
        for versions in self.model.log.values_mut() {
            versions.retain(|version| version.seq < end);
        }
        self.model.log.retain(|_, versions| !versions.is_empty());
    }

    fn stop(&mut self) {
        self.past.extend(self.tree.as_ref().map(Tree::stats));
        (self.flush, self.merge, self.tree) = (None, None, None);
        self.model.pins.clear();
    }

    fn reopen(&mut self) {
        self.stop();
        self.start();
    }

    fn close(&mut self) {
        self.model.durable = self.model.end;
        while self.flush.is_some() {
            self.flush();
        }
        let end = self.model.end;
        if self.tree().close(end).is_err() {
            return;
        }
        self.promise();
        assert_eq!(self.tree().covered(), end);
        self.reopen();
        assert!(self.tree.as_ref().is_none_or(|tree| tree.covered() == end));
    }

    /// Opens the tree and replays the log from where the runs end. If the disk fails meanwhile, it is tried again.
    fn start(&mut self) {
        while self.tree.is_none() {
            match Tree::open(self.shared_disk(), Arc::from(Path::new(DIR)), self.options) {
                Ok(tree) => self.tree = Some(tree),
                Err(e) if self.disk.has_crashed() => {
                    assert!(matches!(e, krappy::lsm::OpenError::Io(_)), "{e}");
                    if self.falls {
                        return;
                    }
                    self.disk.crash(Crash::Random(u64::from(self.crash)));
                    self.marred = false;
                }
                // A fault that was planned earlier; it comes once.
                Err(e) => assert!(matches!(e, krappy::lsm::OpenError::Io(_)), "{e}"),
            }
        }
        self.replay();
        self.check();
    }

    fn replay(&mut self) {
        let covered = self.tree().covered();
        assert!(covered >= self.model.covered, "a flush that was done is gone");
        assert!(self.tree().horizon() >= self.model.horizon, "the horizon has moved back");
        (self.model.covered, self.model.horizon) = (covered, self.tree().horizon());
        self.entered = self.tree().stats().entries;
        let mut tail: Vec<(Vec<u8>, Record)> = Vec::new();
        for (key, versions) in &self.model.log {
            tail.extend(versions.iter().filter(|v| v.seq >= covered).map(|v| (key.clone(), v.clone())));
        }
        tail.sort_by_key(|(_, record)| record.seq);
        self.entered += tail.len() as u64;
        for (key, Record { seq, kind, value }) in tail {
            self.tree().insert(Entry { key: &key, seq, kind, value: &value });
        }
    }

    /// Stops the process where it is, and hands over what outlives it.
    pub fn fall(mut self) -> (SimDisk, Model) {
        self.stop();
        (self.disk, self.model)
    }

    /// Comes up again on a disk after a crash, with the log cut to what was durable. It dies again at the `again`th
    /// call of that, if `again` is not 0.
    pub fn rise(shape: u16, disk: SimDisk, model: Model, how: u16, again: u64) -> Driver {
        let mut driver = Driver::new(shape);
        driver.stop();
        (driver.disk, driver.model, driver.crash) = (disk, model, how);
        driver.lose(driver.model.durable);
        if again > 0 {
            driver.disk.crash_at(again);
        }
        driver.start();
        driver
    }
}

/// Repeats a read for as long as something of it is not in memory.
fn patiently<T>(mut read: impl FnMut() -> Result<T, ReadError>) -> T {
    loop {
        match read() {
            Ok(value) => return value,
            Err(ReadError::Cold(warm)) => warm.run().expect("reads do not fail"),
            Err(e) => panic!("{e}"),
        }
    }
}
