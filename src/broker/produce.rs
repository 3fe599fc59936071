//! Publishing: find the partition, check, give offsets, and let the publisher wait for as much as it asked for.
//!
//! Invariant: a publish is either taken whole or left whole: when its topic is still being made, or too much is waiting
//! for the disk, nothing of it has happened and the connection offers it again.

use krappy_wire::partition::partition_for;

use super::acks::AckTo;
use super::{Broker, Taken};
use crate::api::{Body, ErrorCode, PartitionKey, PlainRecords, Publish, Refusal, Reply, ReplyTo, TopicRef};
use crate::broker::catalog::State;
use crate::time::Now;

impl Broker {
    /// Takes a publish, or leaves it for later.
    pub(super) fn publish(&mut self, to: ReplyTo, publish: &Publish<'_>, now: Now) -> Taken {
        let key = match publish.topic {
            TopicRef::Key(key) => Some(key),
            TopicRef::Name(name) => self.catalog.find(name),
        };
        let topic = key.and_then(|key| self.catalog.get(key));
        let Some(topic) = topic else {
            let name = if let TopicRef::Name(name) = publish.topic { name } else { "(deleted)" };
            let refusal = self.catalog.unknown(name);
            return self.refuse(to, refusal);
        };
        match topic.state {
            State::Creating(_) => return self.later(),
            State::Deleting(_) => {
                let refusal = self.catalog.unknown(&topic.name);
                return self.refuse(to, refusal);
            }
            State::Live => {}
        }
        if self.draining {
            let refusal =
                Refusal::new(ErrorCode::Draining, "the broker is stopping").hint("connect again later");
            return self.refuse(to, refusal);
        }
        if self.disk_low {
            let refusal =
                Refusal::new(ErrorCode::StorageError, "the disk is nearly full, nothing is published")
                    .hint("free some room on the broker's disk, or lower disk.min.free.bytes");
            return self.refuse(to, refusal);
        }
        if topic.settings.flush_messages == 1 && self.unflushed >= self.config.limits.unflushed_budget {
            return self.later();
        }
        let count = topic.partitions.len() as u32;
        match (publish.partition, &publish.body) {
            (Some(n), _) if n < 0 || n as u32 >= count => {
                let message =
                    format!("topic {:?} has no partition {n}, it has 0 to {}", topic.name, count - 1);
                self.refuse(to, Refusal::new(ErrorCode::UnknownTopicOrPartition, message))
            }
            (Some(n), body) => {
                let partition = topic.partitions[n as usize];
                self.append(partition, AckTo::Client(to), publish, body, now);
                Taken::Yes
            }
            (None, Body::Plain(records)) if count == 1 => {
                let partition = topic.partitions[0];
                self.append(partition, AckTo::Client(to), publish, &Body::Plain(records.clone()), now);
                Taken::Yes
            }
            (None, Body::Plain(records)) => {
                let partitions = topic.partitions.clone();
                self.publish_by_key(to, publish, records, &partitions, now);
                Taken::Yes
            }
            (None, Body::Batch(_)) => {
                self.refuse(to, Refusal::new(ErrorCode::InvalidRequest, "a prepared batch needs a partition"))
            }
        }
    }

    fn append(&mut self, key: PartitionKey, to: AckTo, publish: &Publish<'_>, body: &Body<'_>, now: Now) {
        self.mark_dirty(key);
        let Some(partition) = self.partitions[key.0 as usize].as_mut() else {
            unreachable!("a live topic's partitions are there");
        };
        match body {
            Body::Batch(bytes) => {
                partition.append_batch(to, publish.acks, bytes, now, &mut self.acks, &mut self.metrics);
            }
            Body::Plain(records) => {
                partition.append_plain(to, publish.acks, records, |_| true, now, &mut self.acks);
            }
        }
        partition.bound_tail(now, &mut self.acks, &mut self.metrics);
    }

    /// Sends each record where its key belongs; records without a key go together to the next partition in turn.
    fn publish_by_key(
        &mut self,
        to: ReplyTo,
        publish: &Publish<'_>,
        records: &PlainRecords<'_>,
        partitions: &[PartitionKey],
        now: Now,
    ) {
        let count = partitions.len() as u32;
        let mut keyless = None;
        let homes: Vec<u32> = records
            .iter()
            .map(|record| match record.key {
                Some(key) => partition_for(key, count),
                None => *keyless.get_or_insert_with(|| {
                    self.next_keyless = self.next_keyless.wrapping_add(1);
                    self.next_keyless % count
                }),
            })
            .collect();
        let mut used: Vec<u32> = Vec::new();
        for &home in &homes {
            if !used.contains(&home) {
                used.push(home);
            }
        }
        let group = (used.len() > 1).then(|| self.acks.group(to, used.len()));
        for (part, &home) in used.iter().enumerate() {
            let to = group.map_or(AckTo::Client(to), |group| AckTo::Group { group, part });
            let key = partitions[home as usize];
            self.mark_dirty(key);
            let Some(partition) = self.partitions[key.0 as usize].as_mut() else {
                unreachable!("a live topic's partitions are there");
            };
            partition.append_plain(to, publish.acks, records, |i| homes[i] == home, now, &mut self.acks);
            partition.bound_tail(now, &mut self.acks, &mut self.metrics);
        }
    }

    fn later(&mut self) -> Taken {
        self.metrics.backpressure_pauses += 1;
        Taken::Later
    }

    pub(super) fn refuse(&mut self, to: ReplyTo, refusal: Refusal) -> Taken {
        self.metrics.refusals += 1;
        self.acks.reply(to, Reply::Refused(refusal));
        Taken::Yes
    }
}
