//! The views of compacted topics: fed with every append, flushed and merged by workers, made again from the log when
//! they cannot be believed.
//!
//! Invariants: the tree of a live view holds every record from its covered offset to the log end; a flush is handed out
//! only when the log is durable up to its end, so no loss of power leaves a view that knows more than the log; a view
//! that is not live answers nobody. While one is made again, new records go into its memtable, which is newer than
//! everything that is still to come from the log. How views come and go is in `views/lifetime.rs`.

mod lifetime;

use std::io;

use krappy_wire::batch::{HEADER, Header};

use super::Broker;
use super::partition::Partition;
use crate::api::{ErrorCode, PartitionKey, Refusal};
use crate::lsm::{Floors, Flushed, Merge, Options, Pressure, Stats, Step, Tree};
use crate::segment::Log;
use crate::time::{Now, Time};
use crate::view::{Entries, Rebuild, Rebuilt};
use crate::worker::{Done, Job};

/// While level 0 is long, a partition takes this many bytes between two steps of background work.
const SLOW_ADMITS: usize = 1 << 20;
/// A view whose files could not be written is opened again after so many milliseconds.
const RETRY_MS: u64 = 30_000;

/// The view of one partition.
pub struct View {
    tree: Option<Tree>,
    state: State,
    flushing: bool,
    merging: bool,
    /// A worker reads a part of the log for it.
    reading: bool,
    /// Bytes taken since background work last came forward.
    admitted: usize,
    /// Bytes of its active memtable that the broker's total already has.
    counted: usize,
    entries: Entries,
}

enum State {
    /// It says what the log says.
    Live,
    /// Workers read the log from `from` to `until` and have come to `at`.
    Rebuilding { from: i64, at: i64, until: i64, rest: Option<Rebuild> },
    /// Its files could not be written or read. It is opened again at that time; if it is damaged, it is made anew.
    Broken { why: String, again: Time, damaged: bool },
    /// A worker is opening it.
    Opening,
}

impl View {
    /// The view of a partition that holds what its tree covers.
    pub fn new(tree: Tree) -> Self {
        Self { tree: Some(tree), ..Self::empty() }
    }

    /// The view of a partition whose topic is compacted from now on: a worker is opening it.
    pub fn opening() -> Self {
        Self { state: State::Opening, ..Self::empty() }
    }

    fn empty() -> Self {
        Self {
            tree: None,
            state: State::Live,
            flushing: false,
            merging: false,
            reading: false,
            admitted: 0,
            counted: 0,
            entries: Entries::default(),
        }
    }

    /// What is left when the view is given up.
    pub fn into_tree(self) -> Option<Box<Tree>> {
        self.tree.map(Box::new)
    }

    /// Puts a view around its tree; reads what the tree does not cover from the log, here if that is at most `at_once`
    /// bytes.
    pub fn start(tree: Tree, log: &Log, options: &Options, at_once: u64) -> io::Result<Self> {
        let mut view = Self::new(tree);
        let tree = view.tree.as_mut().expect("given a moment ago");
        let (from, until) = (tree.covered().max(log.start_offset()), log.end_offset());
        let mut replay = log.replay(from, until);
        if log.bytes_between(from, until, u64::MAX) <= at_once {
            let entries = &mut view.entries;
            while !replay.is_done() {
                replay.step(u64::MAX, &mut |header, batch| {
                    entries.of_stored(header, &batch[HEADER..], &mut |entry| {
                        if entry.seq >= from {
                            tree.insert(entry);
                        }
                    });
                    Ok(true)
                })?;
            }
        } else if from < until {
            let rest = Some(Rebuild::new(replay, options.memtable_bytes));
            view.state = State::Rebuilding { from, at: from, until, rest };
        }
        Ok(view)
    }

    /// The tree, if the view says what the log says.
    pub fn live(&self) -> Result<&Tree, Refusal> {
        match (&self.state, &self.tree) {
            (State::Live, Some(tree)) => Ok(tree),
            (State::Rebuilding { from, at, until, .. }, _) => {
                let share = (at - from) * 100 / (until - from).max(1);
                let message = format!("the view is being made again from the log, {share} % are read");
                Err(Refusal::new(ErrorCode::ViewNotReady, message).hint("try again in a moment"))
            }
            (State::Broken { why, .. }, _) => {
                let message = format!("the view cannot be used: {why}");
                Err(Refusal::new(ErrorCode::ViewNotReady, message)
                    .hint("it is opened again every 30 seconds; the broker's log says more"))
            }
            _ => Err(Refusal::new(ErrorCode::ViewNotReady, "the view is being opened")
                .hint("try again in a moment")),
        }
    }

    /// The tree, live or not.
    pub fn tree_mut(&mut self) -> Option<&mut Tree> {
        self.tree.as_mut()
    }

    /// The tree, live or not.
    pub fn tree(&self) -> Option<&Tree> {
        self.tree.as_ref()
    }

    /// Takes the records of a batch that was appended; `body` is what follows its header.
    pub fn apply(&mut self, header: &Header, body: &[u8]) {
        let Some(tree) = self.tree.as_mut() else { return };
        let applied = self.entries.of(header, body, &mut |entry| tree.insert(entry));
        applied.expect("the batch was checked before it was appended");
    }

    /// A buffer for unpacking; what is in it is worth nothing.
    pub fn scratch(&mut self) -> &mut Vec<u8> {
        self.entries.scratch()
    }

    /// Whether `bytes` more may be appended now. Otherwise something is under way whose completion is a reason to ask
    /// again.
    pub fn admits(&mut self, bytes: usize) -> bool {
        let Some(tree) = &self.tree else { return true };
        let admits = match tree.pressure() {
            // What is newer than a rebuild can only be flushed after it.
            _ if tree.is_full() && matches!(self.state, State::Rebuilding { .. }) => false,
            Pressure::Free => true,
            Pressure::Slow => self.admitted < SLOW_ADMITS,
            Pressure::Stop => false,
        };
        self.admitted += if admits { bytes } else { 0 };
        admits || !(self.flushing || self.merging || self.reading)
    }

    /// The last step of a clean stop: everything goes into a run file. Blocks.
    pub fn close(&mut self, end: i64) -> io::Result<()> {
        match (&self.state, &mut self.tree) {
            (State::Live, Some(tree)) => tree.close(end),
            _ => Ok(()),
        }
    }

    fn breaks(&mut self, why: &io::Error, now: Time) {
        let damaged = why.kind() == io::ErrorKind::InvalidData;
        // Damage is mended by making the view anew, for which there is no reason to wait.
        let again = if damaged { now } else { now.plus_ms(RETRY_MS) };
        self.tree = None;
        self.state = State::Broken { why: why.to_string(), again, damaged };
    }
}

impl Broker {
    /// How trees are shaped.
    pub(super) fn view_options(&self) -> Options {
        Options { memtable_bytes: self.config.limits.view_memtable, ..Options::default() }
    }

    /// Hands out what the view of a partition needs done, if it has one. When the memtables of all views together are
    /// too large, the largest goes to disk, whoever has filled it.
    pub(super) fn advance_view(&mut self, key: PartitionKey) {
        self.advance_one(key);
        if self.view_memory <= self.config.limits.view_memory {
            return;
        }
        let counted = |p: &Partition| p.view.as_ref().map_or(0, |view| view.counted);
        let largest =
            (0..self.partitions.len()).max_by_key(|&n| self.partitions[n].as_deref().map_or(0, counted));
        let Some(n) = largest else { return };
        let Some(Partition { view: Some(view), log, .. }) = self.partitions[n].as_deref_mut() else { return };
        if let (State::Live, Some(tree)) = (&view.state, &mut view.tree) {
            tree.freeze(log.end_offset());
            self.advance_one(PartitionKey(n as u32));
        }
    }

    /// Hands out what the views need done after a start: one that has to be made again, or was not merged to the end.
    pub(super) fn start_views(&mut self) {
        for n in 0..self.partitions.len() {
            self.advance_view(PartitionKey(n as u32));
        }
    }

    /// The broker's total of memtables has a view's share as it is now.
    fn count_memtable(&mut self, key: PartitionKey) {
        let Some(Partition { view: Some(view), .. }) =
            self.partitions.get_mut(key.0 as usize).and_then(Option::as_deref_mut)
        else {
            return;
        };
        let now = view.tree.as_ref().map_or(0, Tree::weight);
        self.view_memory = self.view_memory - view.counted + now;
        view.counted = now;
    }

    /// A partition is about to go, and its memtable with it.
    pub(super) fn forget_view(&mut self, key: PartitionKey) {
        if let Some(Partition { view: Some(view), .. }) = self.partitions[key.0 as usize].as_deref_mut() {
            self.view_memory -= std::mem::take(&mut view.counted);
        }
        self.forget_pins(key);
    }

    fn advance_one(&mut self, key: PartitionKey) {
        // A stop waits for no merges, and writes what is in memory itself.
        if self.draining || self.is_deleting(key) {
            return;
        }
        let partition = self.partitions[key.0 as usize].as_mut().expect("it is not being deleted");
        let Partition { view: Some(view), log, chores, .. } = &mut **partition else { return };
        let Some(tree) = view.tree.as_mut() else { return };
        if matches!(view.state, State::Live) && tree.is_full() {
            tree.freeze(log.end_offset());
        }
        let mut wants_sync = false;
        if !view.flushing {
            match tree.begin_flush(log.durable_offset()) {
                Some(flush) => {
                    view.flushing = true;
                    *chores += 1;
                    self.jobs.push(Job::Flush(key, Box::new(flush)));
                }
                None => wants_sync = tree.waits_for_durable(log.durable_offset()),
            }
        }
        if !view.merging {
            let floors =
                Floors { expired_below: log.start_offset(), tombstones_below: log.tombstones_below() };
            if let Some(merge) = tree.begin_merge(floors) {
                view.merging = true;
                *chores += 1;
                self.jobs.push(Job::Merge(key, Box::new(merge)));
            }
        }
        if !view.flushing
            && !view.merging
            && let Some(sweep) = tree.begin_sweep()
        {
            self.jobs.push(Job::Sweep(sweep));
        }
        if let State::Rebuilding { rest, .. } = &mut view.state
            && tree.pressure() != Pressure::Stop
            && let Some(rest) = rest.take()
        {
            view.reading = true;
            *chores += 1;
            self.jobs.push(Job::Rebuild(key, Box::new(rest)));
        }
        if wants_sync {
            self.begin_sync(key);
        }
        self.count_memtable(key);
    }

    /// Brings the gauges about views up to date.
    pub(super) fn measure_views(&mut self) {
        let views = || self.partitions.iter().flatten().filter_map(|p| p.view.as_deref());
        let stats: Vec<Stats> = views().filter_map(|view| Some(view.tree()?.stats())).collect();
        let sum = |of: fn(&Stats) -> u64| stats.iter().map(of).sum();
        let busy = |view: &View| u64::from(view.flushing) + u64::from(view.merging);
        let metrics = &mut self.metrics;
        metrics.view_bytes = sum(Stats::run_bytes);
        metrics.view_runs = sum(Stats::runs);
        metrics.view_memtable_bytes = sum(|s| s.memtable_bytes);
        metrics.view_flushed_bytes = sum(|s| s.flushed_bytes);
        metrics.view_merged_in_bytes = sum(|s| s.merged_in_bytes);
        metrics.view_merged_out_bytes = sum(|s| s.merged_out_bytes);
        metrics.view_run_looks = sum(|s| s.run_looks);
        metrics.view_filter_hits = sum(|s| s.filter_hits);
        metrics.view_filter_misses = sum(|s| s.filter_misses);
        metrics.views_busy = views().map(busy).sum();
    }

    /// A worker has flushed a memtable.
    pub(super) fn view_flushed(&mut self, key: PartitionKey, done: Flushed, now: Now) {
        self.metrics.view_flushes += 1;
        self.with_view(key, now, |view| {
            view.flushing = false;
            view.tree.as_mut().map_or(Ok(()), |tree| tree.flushed(done))
        });
    }

    /// A worker has done a step of a merge.
    pub(super) fn view_merged(&mut self, key: PartitionKey, step: Step, now: Now) {
        match step {
            Step::More(merge) => {
                if let Some(merge) = self.goes_on(key, merge) {
                    self.jobs.push(Job::Merge(key, Box::new(merge)));
                }
            }
            Step::Done(done) => {
                self.metrics.view_merges += 1;
                self.with_view(key, now, |view| {
                    view.merging = false;
                    view.tree.as_mut().map_or(Ok(()), |tree| tree.merged(done))
                });
            }
        }
    }

    /// Whether a merge that has come one step further goes on: not if its topic is being deleted or its tree is gone,
    /// nor if the broker is stopping; what it has written is removed by the next start.
    fn goes_on(&mut self, key: PartitionKey, merge: Merge) -> Option<Merge> {
        let ending = self.draining || self.is_deleting(key);
        let partition = self.partitions[key.0 as usize].as_mut().expect("it stays while jobs are under way");
        if let Some(view) = &mut partition.view {
            view.admitted = 0;
            if !ending && view.tree.is_some() {
                return Some(merge);
            }
            view.merging = false;
        }
        self.chore_done(key);
        None
    }

    /// Takes the outcome of background work into a view, and hands out what comes next. An error breaks the view: the
    /// log is as good as before, so it is made again from that.
    fn with_view(&mut self, key: PartitionKey, now: Now, take: impl FnOnce(&mut View) -> io::Result<()>) {
        let partition = self.partitions[key.0 as usize].as_mut().expect("it stays while jobs are under way");
        // Without a view it was for one that was given up.
        if let Some(view) = &mut partition.view {
            view.admitted = 0;
            if let Err(error) = take(view) {
                self.break_view(key, &error, now.time);
            }
        }
        self.chore_done(key);
        if self.partition(key).is_some() {
            self.advance_view(key);
        }
    }

    /// The files of a view cannot be written or read: it answers nobody until it was opened again.
    pub(super) fn break_view(&mut self, key: PartitionKey, error: &io::Error, now: Time) {
        let partition = self.partitions[key.0 as usize].as_mut().expect("it has just been used");
        log::error!("{}: the view cannot be used: {error}", partition.dir.display());
        partition.view.as_mut().expect("it has just been used").breaks(error, now);
        self.metrics.view_failures += 1;
        self.count_memtable(key);
        self.forget_pins(key);
        self.next_view_retry = self.next_view_retry.min(now);
    }

    /// A worker has read a part of the log for a view that is made again.
    pub(super) fn view_rebuilt(&mut self, key: PartitionKey, result: io::Result<Rebuilt>, now: Now) {
        let dir = self.partition(key).expect("it stays while jobs are under way").dir.display().to_string();
        let mut live = false;
        self.with_view(key, now, |view| {
            view.reading = false;
            let rebuilt = result?;
            let (Some(tree), State::Rebuilding { from, at, until, rest }) = (&mut view.tree, &mut view.state)
            else {
                return Ok(());
            };
            let tenths = |offset: i64| (offset - *from) * 10 / (*until - *from).max(1);
            if tenths(rebuilt.offset) > tenths(*at) {
                let share = tenths(rebuilt.offset) * 10;
                log::info!("{dir}: the view is made again from the log, {share} %");
            }
            *at = rebuilt.offset;
            *rest = rebuilt.rest;
            if let Some((memtable, upto)) = rebuilt.memtable {
                tree.adopt(memtable, upto);
            }
            if rest.is_none() {
                view.state = State::Live;
                live = true;
            }
            Ok(())
        });
        if live {
            self.wake_keyed(key, now.time);
        }
    }

    /// What workers answer about compacted topics.
    pub(super) fn complete_view(&mut self, done: Done, now: Now) {
        match done {
            Done::Flushed(key, done) => self.view_flushed(key, *done, now),
            Done::MergeStep(key, step) => self.view_merged(key, *step, now),
            Done::Rebuilt(key, result) => self.view_rebuilt(key, *result, now),
            Done::ViewOpened(key, result) => self.view_opened(key, *result, now),
            Done::ViewWarmed(park, result) => {
                if let Err(error) = result {
                    log::warn!("a cold block of a view could not be read: {error}");
                }
                if let Some(park) = park {
                    self.retry_keyed(park, now.time);
                }
            }
            Done::ViewRemoved(key, result) => self.view_removed(key, result),
            Done::Cleaned(key, done) => self.clean_stepped(key, done.0, done.1, now),
            Done::Swapped(key, done) => self.clean_swapped(key, done),
            Done::Swept => {}
            _ => unreachable!("only what concerns views is handed here"),
        }
    }
}
