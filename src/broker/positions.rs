//! Offsets of partitions: looked up, by name, time or leader epoch, and the log start offset moved up; and whose
//! records they hold.
//!
//! Invariant: a new log start offset is durable before it is answered; no position that is given out lies outside what
//! readers may see, except where the client has named it itself.

use super::deferred::Question;
use super::parked::ParkId;
use super::{Broker, Taken};
use crate::api::{At, ErrorCode, PartitionKey, Position, Refusal, Reply, ReplyTo, TopicKey, TopicRef};
use crate::broker::partition::Partition;
use crate::ordered::Numbered;
use crate::segment::Lookup;
use crate::worker::Job;

/// Questions about timestamps that workers are answering.
#[derive(Debug, Default)]
pub struct Lookups {
    next: ParkId,
    open: Numbered<OpenLookup>,
}

#[derive(Debug)]
struct OpenLookup {
    to: ReplyTo,
    at: At,
    missing: usize,
    /// The answers; until there is one, the high watermark when it was asked for.
    parts: Vec<Position>,
    failed: Option<Refusal>,
}

/// The topic was deleted while a question about it waited.
fn gone() -> Refusal {
    Refusal::new(ErrorCode::UnknownTopicOrPartition, "the topic has just been deleted")
}

impl Broker {
    /// Moves the log start offset; the answer waits until that is durable.
    pub(super) fn delete_records(&mut self, to: ReplyTo, name: &str, number: i32, offset: i64) -> Taken {
        let key = match self.live_topic(TopicRef::Name(name)).and_then(|key| self.partition_of(key, number)) {
            Ok(key) => key,
            Err(refusal) => return self.refuse(to, refusal),
        };
        let topic = self.partition(key).expect("found a moment ago").topic;
        let topic = self.catalog.get(topic).expect("a live topic is in the catalog");
        if !topic.settings.cleanup.deletes() {
            let message = format!("topic {name:?} is compacted, so its records are not deleted by offset");
            return self.refuse(
                to,
                Refusal::new(ErrorCode::PolicyViolation, message)
                    .hint("delete keys instead, or make the topic with cleanup.policy=compact,delete"),
            );
        }
        if !self.defer(to, key, Question::Trim(offset)) {
            self.trim(to, key, offset);
        }
        Taken::Yes
    }

    /// Moves the log start offset to what can be seen; -1 is the end of that.
    pub(super) fn trim(&mut self, to: ReplyTo, key: PartitionKey, offset: i64) {
        let Some(partition) = self.partitions[key.0 as usize].as_mut() else {
            return self.acks.reply(to, Reply::Refused(gone()));
        };
        let (start, end) = (partition.log.start_offset(), partition.high_watermark());
        let target = if offset == -1 { end } else { offset };
        if target > end || target < 0 {
            let message = format!("offset {target} is outside {start} to {end}, the high watermark");
            self.refuse(to, Refusal::new(ErrorCode::OffsetOutOfRange, message));
            return;
        }
        partition.log.trim(target.max(start));
        let moved = partition.log.start_offset();
        let mark = partition.log.begin_mark();
        partition.chores += 1;
        self.jobs.push(Job::Mark(key, mark, Some((to, moved))));
        self.count_lost(key, start);
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
    pub(super) fn list_offsets(
        &mut self,
        to: ReplyTo,
        topic: TopicRef<'_>,
        only: Option<u32>,
        leader_epoch: i32,
        at: At,
    ) -> Taken {
        let chosen = self.live_topic(topic).and_then(|key| self.chosen(key, only.map(|n| n as i32)));
        let checked = chosen.and_then(|keys| self.check_epochs(&keys, leader_epoch).map(|()| keys));
        let keys = match checked {
            Ok(keys) => keys,
            Err(refusal) => return self.refuse(to, refusal),
        };
        if let ([(key, _)], At::Latest | At::Timestamp(_) | At::MaxTimestamp) = (&keys[..], at)
            && self.defer(to, *key, Question::Position(at))
        {
            return Taken::Yes;
        }
        self.tell_positions(to, keys, at)
    }

    /// A position in one partition, which may be gone by now.
    pub(super) fn tell_position(&mut self, to: ReplyTo, key: PartitionKey, at: At) {
        match self.partition(key).map(|p| p.number as i32) {
            Some(number) => {
                self.tell_positions(to, vec![(key, number)], at);
            }
            None => self.acks.reply(to, Reply::Refused(gone())),
        }
    }

    fn tell_positions(&mut self, to: ReplyTo, keys: Vec<(PartitionKey, i32)>, at: At) -> Taken {
        if matches!(at, At::Timestamp(_) | At::MaxTimestamp) {
            return self.begin_lookup(to, keys, at);
        }
        let parts = keys.iter().map(|&(key, number)| self.position(key, number, at)).collect();
        match parts {
            Ok(parts) => self.acks.reply(to, Reply::Offsets { parts }),
            Err(refusal) => return self.refuse(to, refusal),
        }
        Taken::Yes
    }

    /// Where a leader epoch ends in a partition.
    pub(super) fn epoch_end(
        &mut self,
        to: ReplyTo,
        topic: &str,
        number: i32,
        current: i32,
        epoch: i32,
    ) -> Taken {
        let found = self.live_topic(TopicRef::Name(topic)).and_then(|key| self.partition_of(key, number));
        let checked = found.and_then(|key| self.check_epochs(&[(key, number)], current).map(|()| key));
        let key = match checked {
            Ok(key) => key,
            Err(refusal) => return self.refuse(to, refusal),
        };
        let partition = self.partition(key).expect("found a moment ago");
        let (epoch, end_offset) = partition.epoch_end(epoch).unwrap_or((-1, -1));
        self.acks.reply(to, Reply::EpochEnd { epoch, end_offset });
        Taken::Yes
    }

    /// The producers that a partition remembers.
    pub(super) fn describe_producers(&mut self, to: ReplyTo, topic: &str, number: i32) -> Taken {
        let found = self.live_topic_or_why(TopicRef::Name(topic));
        let key = match found.and_then(|key| self.partition_of(key, number)) {
            Ok(key) => key,
            Err(refusal) => return self.refuse(to, refusal),
        };
        let partition = self.partition(key).expect("found a moment ago");
        let reply = Reply::Producers(partition.producers.states().collect());
        self.acks.reply(to, reply);
        Taken::Yes
    }

    fn check_epochs(&self, keys: &[(PartitionKey, i32)], requested: i32) -> Result<(), Refusal> {
        for &(key, number) in keys {
            let partition = self.partition(key).expect("a live topic's partitions are there");
            partition.check_epoch(requested).map_err(|code| {
                let current = partition.current_epoch();
                Refusal::new(
                    code,
                    format!("partition {number} has the leader epoch {current}, not {requested}"),
                )
                .hint("ask for the metadata again")
            })?;
        }
        Ok(())
    }

    /// A position that takes no look into the log.
    fn position(&self, key: PartitionKey, number: i32, at: At) -> Result<Position, Refusal> {
        let p = self.partition(key).expect("a live topic's partitions are there");
        let (start, end) = (p.log.start_offset(), p.high_watermark());
        let offset = match at {
            At::Earliest => start,
            At::Latest => end,
            At::Offset(offset) if (start..=p.log.end_offset()).contains(&offset) => offset,
            At::Offset(offset) => {
                let topic = self.catalog.get(p.topic).expect("a partition belongs to a topic");
                let message = format!(
                    "offset {offset} of {}/{number} is out of range: {start} to {end} are there",
                    topic.name
                );
                return Err(Refusal::new(ErrorCode::OffsetOutOfRange, message)
                    .hint("start at earliest or latest instead"));
            }
            At::Timestamp(_) | At::MaxTimestamp => unreachable!("answered by a worker"),
        };
        Ok(Position { partition: key, number, offset, timestamp: -1, leader_epoch: p.epoch_at(offset) })
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

    fn begin_lookup(&mut self, to: ReplyTo, keys: Vec<(PartitionKey, i32)>, at: At) -> Taken {
        self.lookups.next += 1;
        let id = self.lookups.next;
        let mut parts = Vec::with_capacity(keys.len());
        for (index, &(key, number)) in keys.iter().enumerate() {
            let partition = self.partition(key).expect("a live topic's partitions are there");
            self.jobs.push(Job::Lookup(id, index, lookup(partition, at)));
            parts.push(self.position(key, number, At::Latest).expect("there is always a high watermark"));
        }
        self.lookups.open.insert(id, OpenLookup { to, at, missing: parts.len(), parts, failed: None });
        Taken::Yes
    }

    pub(super) fn found(&mut self, id: ParkId, index: usize, result: std::io::Result<Option<(i64, i64)>>) {
        let open = self.lookups.open.get_mut(id).expect("a lookup stays open until its last answer");
        let position = &mut open.parts[index];
        let partition = self.partitions[position.partition.0 as usize].as_deref();
        match (result, partition) {
            // What was found has been deleted meanwhile, and what is left may be older: it is looked for again.
            (Ok(Some((offset, _))), Some(p)) if offset < p.log.start_offset() => {
                self.jobs.push(Job::Lookup(id, index, lookup(p, open.at)));
                return;
            }
            (Ok(found), Some(p)) => {
                let end = p.high_watermark();
                // Records that became visible while the worker was looking may be young enough, so where it found
                // nothing the answer is where the end was when it began.
                let (offset, timestamp) =
                    found.filter(|f| f.0 < end).unwrap_or((position.offset.min(end), -1));
                position.offset = offset.max(p.log.start_offset().min(end));
                position.timestamp = timestamp;
                position.leader_epoch = p.epoch_at(position.offset);
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
            let open = self.lookups.open.remove(id).expect("it was there a moment ago");
            match open.failed {
                Some(refusal) => {
                    self.refuse(open.to, refusal);
                }
                None => self.acks.reply(open.to, Reply::Offsets { parts: open.parts }),
            }
        }
    }
}

/// The question about a timestamp for a worker.
fn lookup(partition: &Partition, at: At) -> Lookup {
    match at {
        At::Timestamp(timestamp) => partition.log.lookup_timestamp(timestamp),
        _ => partition.log.lookup_max_timestamp(partition.high_watermark()),
    }
}
