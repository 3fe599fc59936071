//! Topics and positions: create, open, list, describe, delete, trim, look up.
//!
//! Invariant: what is answered about a topic is durable first: a created topic's folder, a deleted topic's absence, a
//! new log start offset.

use std::collections::BTreeMap;

use krappy_wire::native::PartitionInfo;

use super::catalog::{State, Then, Topic, check_name};
use super::parked::ParkId;
use super::partition::{Partition, log_settings};
use super::views::View;
use super::{Broker, Taken};
use crate::api::{
    At, ErrorCode, PartitionKey, Refusal, Reply, ReplyTo, TopicDescription, TopicKey, TopicLine,
};
use crate::config::TopicOverrides;
use crate::lsm::Tree;
use crate::segment::Log;
use crate::time::Now;
use crate::worker::{CreateTopic, Job};

/// Questions about timestamps that workers are answering.
#[derive(Debug, Default)]
pub struct Lookups {
    next: ParkId,
    open: BTreeMap<ParkId, OpenLookup>,
}

#[derive(Debug)]
struct OpenLookup {
    to: ReplyTo,
    missing: usize,
    /// Partition, its number, and the answer; until there is one, the high watermark when it was asked for.
    parts: Vec<(PartitionKey, i32, i64)>,
    failed: Option<Refusal>,
}

impl Broker {
    pub(super) fn create_topic(
        &mut self,
        to: ReplyTo,
        name: &str,
        partitions: Option<i32>,
        settings: &[(&str, &str)],
    ) -> Taken {
        let waiting = (to, Then::Describe);
        match self.begin_topic(name, partitions, settings, waiting) {
            Ok(()) => Taken::Yes,
            Err(refusal) => self.refuse(to, refusal),
        }
    }

    /// Checks everything, enters the topic in the catalog and lets a worker make its folder.
    fn begin_topic(
        &mut self,
        name: &str,
        partitions: Option<i32>,
        settings: &[(&str, &str)],
        waiting: (ReplyTo, Then),
    ) -> Result<(), Refusal> {
        check_name(name)?;
        self.refuse_while_draining()?;
        if self.catalog.find(name).is_some() {
            return Err(Refusal::new(
                ErrorCode::TopicAlreadyExists,
                format!("topic {name:?} exists already"),
            ));
        }
        let count = partitions.unwrap_or(self.config.num_partitions as i32);
        self.check_counts(count)?;
        let mut own = TopicOverrides::default();
        for (key, value) in settings {
            own.set(key, value).map_err(|e| Refusal::new(ErrorCode::InvalidConfig, e))?;
        }
        let topic = Topic {
            name: name.to_owned(),
            id: self.new_id(),
            settings: own.over(&self.config.topic),
            own,
            partitions: Vec::new(),
            state: State::Creating(vec![waiting]),
        };
        let properties = topic.properties(count as u32);
        let settings = log_settings(&topic.settings);
        let view = topic.settings.cleanup.compacts().then(|| self.view_options());
        let key = self.catalog.add(topic);
        self.creating += count as usize;
        self.jobs.push(Job::CreateTopic(CreateTopic {
            topic: key,
            topics: self.topics_dir(),
            name: name.to_owned(),
            partitions: count as u32,
            properties,
            settings,
            view,
        }));
        Ok(())
    }

    pub(super) fn refuse_while_draining(&self) -> Result<(), Refusal> {
        if !self.draining {
            return Ok(());
        }
        Err(Refusal::new(ErrorCode::Draining, "the broker is stopping").hint("connect again later"))
    }

    fn check_counts(&self, count: i32) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        if !(1..=1000).contains(&count) {
            return Err(Refusal::new(
                ErrorCode::InvalidPartitions,
                format!("{count} partitions: 1 to 1000 are allowed"),
            ));
        }
        if self.catalog.len() >= limits.max_topics {
            let message = format!("there are {} topics, as many as max.topics allows", self.catalog.len());
            return Err(Refusal::new(ErrorCode::PolicyViolation, message));
        }
        if self.live_partitions + self.creating + count as usize > limits.max_partitions {
            let message =
                format!("{count} more partitions would be above max.partitions={}", limits.max_partitions);
            return Err(Refusal::new(ErrorCode::PolicyViolation, message));
        }
        Ok(())
    }

    /// The folder is there, or could not be made: tell everyone who waited.
    pub(super) fn topic_created(&mut self, key: TopicKey, result: std::io::Result<Vec<(Log, Option<Tree>)>>) {
        let topic = self.catalog.get_mut(key).expect("a topic that is being created stays in the catalog");
        let State::Creating(waiting) = std::mem::replace(&mut topic.state, State::Live) else {
            unreachable!("a topic is created once");
        };
        match result {
            Ok(opened) => {
                self.creating -= opened.len();
                let logs = opened.into_iter().map(|(log, tree)| (log, tree.map(View::new)));
                self.add_partitions(key, logs.collect());
                for (to, then) in waiting {
                    self.finish_open(to, key, then);
                }
            }
            Err(error) => {
                let topic = self.catalog.remove(key).expect("it was there a moment ago");
                log::error!("topic {:?} could not be created: {error}", topic.name);
                self.recount_creating();
                for (to, _) in waiting {
                    let message = format!("the folder of topic {:?} could not be made: {error}", topic.name);
                    self.refuse(to, Refusal::new(ErrorCode::StorageError, message));
                }
            }
        }
    }

    /// After a failed creation the count of partitions under way is not known from the logs; a failure is rare enough
    /// to let the limit be approximate until nothing is under way.
    fn recount_creating(&mut self) {
        if !self.catalog.iter().any(|(_, t)| matches!(t.state, State::Creating(_))) {
            self.creating = 0;
        }
    }

    pub(super) fn add_partitions(&mut self, key: TopicKey, logs: Vec<(Log, Option<View>)>) {
        let topic = self.catalog.get_mut(key).expect("the topic is in the catalog");
        let dir = self.config.data_dir.join("topics").join(&topic.name);
        for (number, (log, view)) in logs.into_iter().enumerate() {
            let number = number as u32;
            let dir = dir.join(number.to_string());
            let mut partition = Partition::new(key, number, dir, log, &topic.settings, self.leader_epoch);
            partition.view = view.map(Box::new);
            topic.partitions.push(PartitionKey(self.partitions.len() as u32));
            self.partitions.push(Some(Box::new(partition)));
            self.live_partitions += 1;
        }
    }

    fn finish_open(&mut self, to: ReplyTo, key: TopicKey, then: Then) {
        let reply = match then {
            Then::Describe => Reply::Topic(Box::new(self.description(key))),
            Then::OpenProducer { idempotent } => self.producer_open(key, idempotent),
        };
        self.acks.reply(to, reply);
    }

    fn producer_open(&mut self, key: TopicKey, idempotent: bool) -> Reply {
        let producer = idempotent.then(|| (self.new_producer_id(), 0));
        let topic = self.catalog.get(key).expect("an open topic is in the catalog");
        Reply::ProducerOpen {
            topic: key,
            partitions: topic.partitions.len() as u32,
            producer,
            max_message_bytes: topic.settings.max_message_bytes,
        }
    }

    pub(super) fn open_producer(&mut self, to: ReplyTo, name: &str, idempotent: bool) -> Taken {
        let then = Then::OpenProducer { idempotent };
        if let Some(key) = self.catalog.find(name) {
            match &mut self.catalog.get_mut(key).expect("a name maps to a topic").state {
                State::Creating(waiting) => waiting.push((to, then)),
                State::Live => self.finish_open(to, key, then),
                State::Deleting(_) => {
                    let refusal = self.catalog.unknown(name);
                    return self.refuse(to, refusal);
                }
            }
            return Taken::Yes;
        }
        if !self.config.auto_create {
            let refusal = self.catalog.unknown(name);
            return self.refuse(to, refusal);
        }
        match self.begin_topic(name, None, &[], (to, then)) {
            Ok(()) => Taken::Yes,
            Err(refusal) => self.refuse(to, refusal),
        }
    }

    pub(super) fn list_topics(&mut self, to: ReplyTo) -> Taken {
        let lines = self.catalog.iter().filter(|(_, t)| matches!(t.state, State::Live)).map(|(_, topic)| {
            let mut line = TopicLine {
                name: topic.name.clone(),
                partitions: topic.partitions.len() as u32,
                records: 0,
                bytes: 0,
            };
            for p in topic.partitions.iter().filter_map(|&key| self.partition(key)) {
                line.records += (p.high_watermark() - p.log.start_offset()).max(0) as u64;
                line.bytes += p.log.size();
            }
            line
        });
        let reply = Reply::Topics(lines.collect());
        self.acks.reply(to, reply);
        Taken::Yes
    }

    pub(super) fn describe_topic(&mut self, to: ReplyTo, name: &str) -> Taken {
        match self.live_topic(name) {
            Ok(key) => self.finish_open(to, key, Then::Describe),
            Err(refusal) => return self.refuse(to, refusal),
        }
        Taken::Yes
    }

    fn live_topic(&self, name: &str) -> Result<TopicKey, Refusal> {
        let key = self.catalog.find(name).ok_or_else(|| self.catalog.unknown(name))?;
        match self.catalog.get(key).expect("a name maps to a topic").state {
            State::Live => Ok(key),
            State::Creating(_) => {
                let message = format!("topic {name:?} is being created");
                Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, message).hint("try again in a moment"))
            }
            State::Deleting(_) => Err(self.catalog.unknown(name)),
        }
    }

    fn description(&self, key: TopicKey) -> TopicDescription {
        let topic = self.catalog.get(key).expect("the topic is in the catalog");
        let partitions =
            topic.partitions.iter().filter_map(|&key| self.partition(key)).map(|p| PartitionInfo {
                log_start: p.log.start_offset(),
                high_watermark: p.high_watermark(),
                log_end: p.log.end_offset(),
                bytes: p.log.size(),
                segments: p.log.segment_count() as u32,
                fenced: p.log.fenced(),
            });
        let settings = topic.own.describe(&self.config.topic).into_iter();
        TopicDescription {
            name: topic.name.clone(),
            id: topic.id,
            partitions: partitions.collect(),
            settings: settings.map(|d| (d.name, d.value.clone(), d.source())).collect(),
        }
    }

    pub(super) fn delete_topic(&mut self, to: ReplyTo, name: &str, now: Now) -> Taken {
        let key = match self.live_topic(name) {
            Ok(key) => key,
            Err(refusal) => return self.refuse(to, refusal),
        };
        self.write_tails(now);
        let topic = self.catalog.get_mut(key).expect("a live topic is in the catalog");
        topic.state = State::Deleting(vec![to]);
        let partitions = topic.partitions.clone();
        for &partition in &partitions {
            let p =
                self.partitions[partition.0 as usize].as_mut().expect("a live topic's partitions are there");
            p.log.fence();
            p.fail_waiting(&mut self.acks);
        }
        self.continue_deletion(key);
        for partition in partitions {
            self.wake_fetches(partition, now.time);
        }
        Taken::Yes
    }

    /// Removes the topic's partitions as soon as no job of theirs is under way, then its folder. A job names its files
    /// by path: one that came later would write into the folder of a new topic of the same name.
    pub(super) fn continue_deletion(&mut self, key: TopicKey) {
        let Some(topic) = self.catalog.get_mut(key) else { return };
        if !matches!(topic.state, State::Deleting(_)) {
            return;
        }
        let busy = |p: &PartitionKey| {
            self.partitions[p.0 as usize].as_ref().is_some_and(|p| p.syncing || p.chores > 0)
        };
        if topic.partitions.iter().any(busy) || topic.partitions.is_empty() {
            return;
        }
        let name = topic.name.clone();
        for partition in std::mem::take(&mut topic.partitions) {
            self.forget_view(partition);
            if let Some(mut gone) = self.partitions[partition.0 as usize].take() {
                self.unflushed -= gone.counted_unsynced(0);
            }
            self.live_partitions -= 1;
        }
        self.jobs.push(Job::DeleteTopic { topic: key, topics: self.topics_dir(), name });
    }

    pub(super) fn topic_deleted(&mut self, key: TopicKey, result: std::io::Result<()>) {
        let topic = self.catalog.remove(key).expect("a topic that is being deleted stays in the catalog");
        let State::Deleting(waiting) = topic.state else {
            unreachable!("only a topic being deleted is removed")
        };
        if let Err(error) = &result {
            log::error!("the folder of deleted topic {:?} could not be removed: {error}", topic.name);
        }
        for to in waiting {
            match &result {
                Ok(()) => self.acks.reply(to, Reply::Deleted),
                Err(error) => {
                    let message =
                        format!("the folder of topic {:?} could not be removed: {error}", topic.name);
                    self.refuse(to, Refusal::new(ErrorCode::StorageError, message));
                }
            }
        }
    }

    /// Moves the log start offset; the answer waits until that is durable.
    pub(super) fn delete_records(&mut self, to: ReplyTo, name: &str, number: i32, offset: i64) -> Taken {
        let key = match self.live_topic(name).and_then(|key| self.partition_of(key, number)) {
            Ok(key) => key,
            Err(refusal) => return self.refuse(to, refusal),
        };
        let partition = self.partitions[key.0 as usize].as_mut().expect("found a moment ago");
        let topic = self.catalog.get(partition.topic).expect("a live topic is in the catalog");
        if !topic.settings.cleanup.deletes() {
            let message = format!("topic {name:?} is compacted, so its records are not deleted by offset");
            return self.refuse(
                to,
                Refusal::new(ErrorCode::PolicyViolation, message)
                    .hint("delete keys instead, or make the topic with cleanup.policy=compact,delete"),
            );
        }
        let (start, end) = (partition.log.start_offset(), partition.high_watermark());
        let target = if offset == -1 { end } else { offset };
        if target > end || target < 0 {
            let message = format!("offset {target} is outside {start} to {end}, the high watermark");
            return self.refuse(to, Refusal::new(ErrorCode::OffsetOutOfRange, message));
        }
        partition.log.trim(target.max(start));
        let start = partition.log.start_offset();
        let mark = partition.log.begin_mark();
        partition.chores += 1;
        self.jobs.push(Job::Mark(key, mark, Some((to, start))));
        Taken::Yes
    }

    pub(super) fn marked(
        &mut self,
        key: PartitionKey,
        result: std::io::Result<()>,
        to: Option<(ReplyTo, i64)>,
    ) {
        if let Err(error) = &result {
            let dir = self.partition(key).map(|p| p.dir.display().to_string()).unwrap_or_default();
            log::error!("{dir}: the mark could not be written: {error}");
        }
        let Some((to, start)) = to else { return };
        match result {
            Ok(()) => self.acks.reply(to, Reply::Trimmed(start)),
            Err(error) => {
                let message = format!("the new log start offset could not be made durable: {error}");
                self.refuse(to, Refusal::new(ErrorCode::StorageError, message));
            }
        }
        self.expire(key, 0, true);
    }

    pub(super) fn partition_of(&self, key: TopicKey, number: i32) -> Result<PartitionKey, Refusal> {
        let topic = self.catalog.get(key).expect("the topic is in the catalog");
        usize::try_from(number).ok().and_then(|n| topic.partitions.get(n)).copied().ok_or_else(|| {
            let last = topic.partitions.len() - 1;
            let message = format!("topic {:?} has no partition {number}, it has 0 to {last}", topic.name);
            Refusal::new(ErrorCode::UnknownTopicOrPartition, message)
        })
    }

    /// Positions in one partition or all.
    pub(super) fn list_offsets(&mut self, to: ReplyTo, name: &str, only: Option<u32>, at: At) -> Taken {
        let keys = match self.live_topic(name).and_then(|key| self.chosen(key, only.map(|n| n as i32))) {
            Ok(keys) => keys,
            Err(refusal) => return self.refuse(to, refusal),
        };
        if let At::Timestamp(timestamp) = at {
            return self.begin_lookup(to, keys, timestamp);
        }
        let mut parts = Vec::with_capacity(keys.len());
        for (key, number) in keys {
            let p = self.partition(key).expect("a live topic's partitions are there");
            let (start, end) = (p.log.start_offset(), p.high_watermark());
            let offset = match at {
                At::Earliest => start,
                At::Latest => end,
                At::Offset(offset) if (start..=p.log.end_offset()).contains(&offset) => offset,
                At::Offset(offset) => {
                    let message = format!(
                        "offset {offset} of {name}/{number} is out of range: {start} to {end} are there"
                    );
                    let refusal = Refusal::new(ErrorCode::OffsetOutOfRange, message)
                        .hint("start at earliest or latest instead");
                    return self.refuse(to, refusal);
                }
                At::Timestamp(_) => unreachable!("answered by a worker"),
            };
            parts.push((key, number, offset));
        }
        self.acks.reply(to, Reply::Offsets { parts });
        Taken::Yes
    }

    /// One partition or all, each with its number.
    pub(super) fn chosen(
        &self,
        key: TopicKey,
        only: Option<i32>,
    ) -> Result<Vec<(PartitionKey, i32)>, Refusal> {
        match only {
            Some(number) => Ok(vec![(self.partition_of(key, number)?, number)]),
            None => {
                let topic = self.catalog.get(key).expect("the topic is in the catalog");
                Ok(topic.partitions.iter().enumerate().map(|(n, &key)| (key, n as i32)).collect())
            }
        }
    }

    fn begin_lookup(&mut self, to: ReplyTo, keys: Vec<(PartitionKey, i32)>, timestamp: i64) -> Taken {
        self.lookups.next += 1;
        let id = self.lookups.next;
        for (index, (key, _)) in keys.iter().enumerate() {
            let partition = self.partition(*key).expect("a live topic's partitions are there");
            self.jobs.push(Job::Lookup(id, index, partition.log.lookup_timestamp(timestamp)));
        }
        let end = |key| self.partition(key).expect("a live topic's partitions are there").high_watermark();
        let parts: Vec<_> = keys.into_iter().map(|(key, number)| (key, number, end(key))).collect();
        self.lookups.open.insert(id, OpenLookup { to, missing: parts.len(), parts, failed: None });
        Taken::Yes
    }

    pub(super) fn found(&mut self, id: ParkId, index: usize, result: std::io::Result<Option<(i64, i64)>>) {
        let open = self.lookups.open.get_mut(&id).expect("a lookup stays open until its last answer");
        let key = open.parts[index].0;
        let partition = self.partitions[key.0 as usize].as_deref();
        match (result, partition) {
            (Ok(found), Some(p)) => {
                let end = p.high_watermark();
                // Records that became visible while the worker was looking may be young enough, so where it found
                // nothing the answer is where the end was when it began.
                let offset = found.map_or(open.parts[index].2, |(offset, _)| offset);
                open.parts[index].2 = offset.clamp(p.log.start_offset().min(end), end);
            }
            (Ok(_), None) => {
                let gone = Refusal::new(ErrorCode::UnknownTopicOrPartition, "the topic was deleted");
                open.failed.get_or_insert(gone);
            }
            (Err(error), _) => {
                let failed = Refusal::new(ErrorCode::StorageError, format!("the lookup failed: {error}"));
                open.failed.get_or_insert(failed);
            }
        }
        open.missing -= 1;
        if open.missing == 0 {
            let open = self.lookups.open.remove(&id).expect("it was there a moment ago");
            match open.failed {
                Some(refusal) => {
                    self.refuse(open.to, refusal);
                }
                None => self.acks.reply(open.to, Reply::Offsets { parts: open.parts }),
            }
        }
    }
}
