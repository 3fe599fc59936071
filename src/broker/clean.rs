//! When compacted partitions are cleaned: one at a time, a step at a time, at a bounded rate.
//!
//! Invariants: at most one clean is under way in the whole broker. A step asks the run files of the view as they were
//! when its group began, which hold durable records only; so what a clean removes was replaced by something that no
//! loss of power takes back.

use krappy_wire::compress;

use super::Broker;
use super::partition::Partition;
use crate::api::PartitionKey;
use crate::config::TopicSettings;
use crate::segment::{Clean, CleanSettings, CleanStep, Cleaned, Swapped};
use crate::time::{Now, Time};
use crate::view::Survivors;
use crate::worker::{CLEAN_STEP, CleanJob, Job};

/// The one clean that is under way, or the next look for something to clean.
#[derive(Default)]
pub struct Cleaner {
    /// When to go on, or to look again.
    next: Time,
    /// A step that waits for its time.
    waiting: Option<(PartitionKey, Box<CleanJob>)>,
    /// A worker is at it.
    busy: bool,
    /// Partition to look at first, so that each has its turn.
    first: usize,
}

impl Cleaner {
    /// When there is something to do next.
    pub fn next(&self) -> Option<Time> {
        (!self.busy).then_some(self.next)
    }
}

impl Broker {
    /// Time has passed: goes on with the clean under way, or looks for a partition that wants one.
    pub(super) fn clean_on(&mut self, now: Now) {
        if self.cleaner.busy || now.time < self.cleaner.next {
            return;
        }
        // A clean that is dropped leaves a file that the next start removes.
        let waiting =
            self.cleaner.waiting.take().filter(|(key, _)| !self.draining && !self.is_deleting(*key));
        if let Some((key, job)) = waiting {
            return self.hand_out_clean(key, job);
        }
        self.cleaner.next = now.time.plus_ms(self.config.cleaner_backoff_ms);
        if self.draining || self.disk_low {
            return;
        }
        for n in 0..self.partitions.len() {
            let n = (n + self.cleaner.first) % self.partitions.len();
            let key = PartitionKey(n as u32);
            if let Some(job) = self.begin_clean(key, now) {
                self.cleaner.first = n;
                return self.hand_out_clean(key, Box::new(job));
            }
        }
    }

    fn hand_out_clean(&mut self, key: PartitionKey, job: Box<CleanJob>) {
        let partition = self.partitions[key.0 as usize].as_mut().expect("it has not been deleted");
        partition.chores += 1;
        self.cleaner.busy = true;
        self.jobs.push(Job::Clean(key, job));
    }

    fn begin_clean(&mut self, key: PartitionKey, now: Now) -> Option<CleanJob> {
        if self.is_deleting(key) {
            return None;
        }
        let partition = self.partitions[key.0 as usize].as_mut()?;
        let topic = self.catalog.get(partition.topic)?;
        let Partition { view: Some(view), log, producers, .. } = &mut **partition else { return None };
        let version = view.live().ok()?.version();
        let settings = clean_settings(&topic.settings, now.wall, producers.headers().into());
        let clean: Clean = log.begin_clean(&settings, version.covered())?;
        Some(CleanJob { clean, newest: Survivors(version) })
    }

    /// A worker has done a step.
    pub(super) fn clean_stepped(&mut self, key: PartitionKey, step: CleanStep, newest: Survivors, now: Now) {
        self.cleaner.busy = false;
        self.cleaner.next = now.time.plus_ms(CLEAN_STEP as u64 * 1_000 / self.config.cleaner_rate);
        match step {
            CleanStep::More(clean) => {
                self.cleaner.waiting = Some((key, Box::new(CleanJob { clean, newest })));
                if self.partition(key).is_some_and(|p| p.view.is_none()) {
                    self.give_up_clean(key);
                }
            }
            CleanStep::Done(done) => self.group_cleaned(key, done),
        }
        self.chore_done(key);
    }

    /// The topic of a partition is not compacted any more: a clean of it that waits for its time is dropped. The next
    /// one writes over what it has written.
    pub(super) fn give_up_clean(&mut self, key: PartitionKey) {
        if self.cleaner.waiting.take_if(|(of, _)| *of == key).is_some() {
            let partition = self.partitions[key.0 as usize].as_mut().expect("it has not been deleted");
            partition.log.give_up_clean();
        }
    }

    fn group_cleaned(&mut self, key: PartitionKey, done: Cleaned) {
        let partition = self.partitions[key.0 as usize].as_mut().expect("it stays while jobs are under way");
        let tally = done.tally();
        self.metrics.cleaned_bytes += tally.bytes;
        self.metrics.cleaned_records += tally.records - tally.kept;
        match partition.log.cleaned(done) {
            Ok(Some(swap)) => {
                partition.chores += 1;
                self.cleaner.busy = true;
                self.jobs.push(Job::Swap(key, swap));
            }
            Ok(None) => {}
            Err(error) => log::error!("{}: cleaning failed: {error}", partition.dir.display()),
        }
    }

    /// A worker has put a cleaned segment in its place.
    pub(super) fn clean_swapped(&mut self, key: PartitionKey, done: Swapped) {
        self.cleaner.busy = false;
        let partition = self.partitions[key.0 as usize].as_mut().expect("it stays while jobs are under way");
        if let Err(error) = partition.log.swapped(done) {
            self.sync_failed(key, &error);
        }
        self.chore_done(key);
    }
}

fn clean_settings(topic: &TopicSettings, now_ms: i64, keep_headers: std::sync::Arc<[i64]>) -> CleanSettings {
    CleanSettings {
        now_ms,
        delete_retention_ms: topic.delete_retention_ms,
        min_lag_ms: topic.min_compaction_lag_ms,
        max_lag_ms: topic.max_compaction_lag_ms,
        min_dirty_ratio: topic.min_dirty_millionths as f64 / crate::config::value::WHOLE as f64,
        segment_bytes: topic.segment_bytes,
        index_interval_bytes: topic.index_interval_bytes,
        inflate_cap: compress::MOST,
        keep_headers,
    }
}
