//! How views come and go: opened again after a failure, made when a topic becomes compacted, and removed when it ceases
//! to be.
//!
//! Invariant: no job of an earlier view is under way when a partition gets a new one, and none writes into the folder
//! of one that is being removed. Until a view is open, it answers nobody and takes nothing.

use std::io;

use super::super::Broker;
use super::super::partition::{Partition, Retired};
use super::{RETRY_MS, State, View};
use crate::api::PartitionKey;
use crate::lsm::Tree;
use crate::time::Now;
use crate::view;
use crate::worker::Job;

impl Broker {
    /// Time has passed: opens broken views again.
    pub(in crate::broker) fn retry_views(&mut self, now: Now) {
        self.next_view_retry = now.time.plus_ms(RETRY_MS);
        for n in 0..self.partitions.len() {
            let key = PartitionKey(n as u32);
            if self.is_deleting(key) {
                continue;
            }
            let options = self.view_options();
            let Some(Partition { view: Some(view), dir, log, chores, .. }) =
                self.partitions[n].as_deref_mut()
            else {
                continue;
            };
            let State::Broken { again, damaged, .. } = view.state else { continue };
            // What is under way belongs to the tree that was given up. And no clean begins for a view that is not live,
            // but one may be under way: the log is read when it is done, or one half of it would be as it was before.
            let busy = view.flushing || view.merging || view.reading || log.is_cleaning();
            if busy || again > now.time {
                self.next_view_retry = self.next_view_retry.min(again.max(now.time.plus_ms(1_000)));
                continue;
            }
            view.state = State::Opening;
            *chores += 1;
            let (dir, end, durable) = (dir.clone(), log.end_offset(), log.durable_offset());
            self.jobs.push(Job::OpenView { partition: key, dir, end, durable, options, damaged });
        }
    }

    /// The topic of a partition is compacted from now on: a worker makes it a view, which is then filled from the log.
    pub(in crate::broker) fn make_view(&mut self, key: PartitionKey) {
        let options = self.view_options();
        let partition =
            self.partitions[key.0 as usize].as_mut().expect("a live topic's partitions are there");
        assert!(partition.retired.is_none(), "no job of an earlier view is under way");
        partition.view = Some(Box::new(View::opening()));
        partition.chores += 1;
        let (end, durable) = (partition.log.end_offset(), partition.log.durable_offset());
        let dir = partition.dir.clone();
        // Whatever its folder holds says nothing of what was appended while there was no view.
        self.jobs.push(Job::OpenView { partition: key, dir, end, durable, options, damaged: true });
    }

    /// The topic of a partition is not compacted any more: its view answers nobody from now on, and its files go.
    pub(in crate::broker) fn give_up_view(&mut self, key: PartitionKey) {
        self.forget_view(key);
        let partition =
            self.partitions[key.0 as usize].as_mut().expect("a live topic's partitions are there");
        let Some(view) = partition.view.take() else { return };
        partition.retired = Some(Retired::Waiting(view.into_tree()));
        self.give_up_clean(key);
        self.remove_retired(key);
    }

    /// Removes the files of a view that was given up, once no job that writes them is under way.
    pub(in crate::broker) fn remove_retired(&mut self, key: PartitionKey) {
        let partition = self.partitions[key.0 as usize].as_mut().expect("it stays while jobs are under way");
        if partition.chores == 0
            && let Some(Retired::Waiting(tree)) = &mut partition.retired
        {
            let job = Job::RemoveView(key, partition.dir.join(view::DIR), tree.take());
            partition.retired = Some(Retired::Removing);
            partition.chores += 1;
            self.jobs.push(job);
        }
    }

    pub(super) fn view_removed(&mut self, key: PartitionKey, result: io::Result<()>) {
        let partition = self.partitions[key.0 as usize].as_mut().expect("it stays while jobs are under way");
        partition.retired = None;
        if let Err(error) = result {
            let dir = partition.dir.display();
            log::warn!("{dir}: the view could not be removed, the next start tries again: {error}");
        }
        self.chore_done(key);
    }

    /// A worker has opened a view that was broken.
    pub(in crate::broker) fn view_opened(
        &mut self,
        key: PartitionKey,
        result: io::Result<(Tree, Option<String>)>,
        now: Now,
    ) {
        let options = self.view_options();
        let partition = self.partitions[key.0 as usize].as_mut().expect("it stays while jobs are under way");
        let name = partition.dir.display();
        let opened = result.and_then(|(tree, why)| {
            if let Some(why) = why {
                log::warn!("{name}: the view is made again from the log: {why}");
            }
            View::start(tree, &partition.log, &options, 0)
        });
        match opened {
            // Unless it was given up while it was opened.
            Ok(opened) => {
                if let Some(view) = partition.view.as_deref_mut() {
                    *view = opened;
                }
            }
            Err(error) if partition.view.is_some() => self.break_view(key, &error, now.time),
            Err(_) => {}
        }
        self.chore_done(key);
        if self.partition(key).is_some() {
            self.advance_view(key);
            self.wake_keyed(key, now.time);
        }
    }
}
