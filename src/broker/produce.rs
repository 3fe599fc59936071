//! Publishing: find the partition, check, give offsets, and let the publisher wait for as much as it asked for.
//!
//! Invariant: a publish is either taken whole or left whole: when its topic is still being made, or too much is waiting
//! for the disk, nothing of it has happened and the connection offers it again.

use krappy_wire::partition::partition_for;

use super::acks::AckTo;
use super::catalog::State;
use super::keyed::Stop;
use super::{Broker, Taken};
use crate::api::{
    Body, ErrorCode, PartitionKey, PlainRecords, Publish, PublishIf, Refusal, Reply, ReplyTo, TopicKey,
    TopicRef,
};
use crate::time::Now;
use crate::worker::Job;

/// Why a publish is not taken to its partition.
enum Hold {
    /// Nothing has happened: it is offered again.
    Later,
    Refused(Refusal),
}

impl From<Refusal> for Hold {
    fn from(refusal: Refusal) -> Self {
        Hold::Refused(refusal)
    }
}

impl Broker {
    /// Takes a publish, or leaves it for later.
    pub(super) fn publish(&mut self, to: ReplyTo, publish: &Publish<'_>, now: Now) -> Taken {
        let result = self.open_for_publish(publish.topic).and_then(|topic| match publish.partition {
            Some(n) => self.publish_to(to, publish, topic, n, now),
            None => self.publish_anywhere(to, publish, topic, now),
        });
        self.unless_held(to, result)
    }

    fn unless_held(&mut self, to: ReplyTo, result: Result<(), Hold>) -> Taken {
        match result {
            Ok(()) => Taken::Yes,
            Err(Hold::Refused(refusal)) => self.refuse(to, refusal),
            Err(Hold::Later) => {
                self.metrics.backpressure_pauses += 1;
                Taken::Later
            }
        }
    }

    /// The topic, if records may be published to it now.
    fn open_for_publish(&self, topic: TopicRef<'_>) -> Result<TopicKey, Hold> {
        let (key, found) = self.catalog.resolve(topic)?;
        match found.state {
            State::Creating(_) => return Err(Hold::Later),
            State::Deleting(_) => return Err(self.catalog.unknown_ref(topic).into()),
            State::Live => {}
        }
        self.refuse_while_draining()?;
        if self.disk_low {
            let message = "the disk is nearly full, nothing is published";
            return Err(Refusal::new(ErrorCode::StorageError, message)
                .hint("free some room on the broker's disk, or lower disk.min.free.bytes")
                .into());
        }
        if found.settings.flush_messages == 1 && self.unflushed >= self.config.limits.unflushed_budget {
            return Err(Hold::Later);
        }
        Ok(key)
    }

    fn publish_to(
        &mut self,
        to: ReplyTo,
        publish: &Publish<'_>,
        topic: TopicKey,
        number: i32,
        now: Now,
    ) -> Result<(), Hold> {
        let key = self.partition_of(topic, number)?;
        self.wait_for_view(key, publish.body.size())?;
        self.append(key, AckTo::Client(to), publish, &publish.body, now);
        Ok(())
    }

    fn publish_anywhere(
        &mut self,
        to: ReplyTo,
        publish: &Publish<'_>,
        topic: TopicKey,
        now: Now,
    ) -> Result<(), Hold> {
        let partitions = self.catalog.get(topic).expect("looked up a moment ago").partitions.clone();
        let Body::Plain(records) = &publish.body else {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "a prepared batch needs a partition").into());
        };
        for &key in &partitions {
            self.wait_for_view(key, publish.body.size() / partitions.len())?;
        }
        match partitions[..] {
            [one] => self.append(one, AckTo::Client(to), publish, &publish.body, now),
            _ => self.publish_by_key(to, publish, records, &partitions, now),
        }
        Ok(())
    }

    /// Lets a publish wait while the view of its partition has too much to merge.
    fn wait_for_view(&mut self, key: PartitionKey, bytes: usize) -> Result<(), Hold> {
        let partition =
            self.partitions[key.0 as usize].as_mut().expect("a live topic's partitions are there");
        if partition.view.as_mut().is_none_or(|view| view.admits(bytes)) { Ok(()) } else { Err(Hold::Later) }
    }

    /// Takes a publish that has a condition, or leaves it for later. The condition is about everything that was
    /// appended, durable or not, or two publishers could both meet it.
    pub(super) fn publish_if(&mut self, to: ReplyTo, publish: &PublishIf<'_>, now: Now) -> Taken {
        let result = self.open_for_publish(publish.topic).and_then(|topic| {
            let topic = self.compacted(TopicRef::Key(topic))?;
            self.compare_and_publish(to, publish, topic, now)
        });
        self.unless_held(to, result)
    }

    fn compare_and_publish(
        &mut self,
        to: ReplyTo,
        publish: &PublishIf<'_>,
        topic: TopicKey,
        now: Now,
    ) -> Result<(), Hold> {
        let record = publish.record.iter().next().expect("it holds one record");
        let record_key = record.key.expect("a conditional publish has a key");
        let homes = self.chosen(topic, publish.partition)?;
        let (key, number) = match publish.partition {
            Some(_) => homes[0],
            None => homes[partition_for(record_key, homes.len() as u32) as usize],
        };
        self.wait_for_view(key, publish.record.size())?;
        let partition =
            self.partitions[key.0 as usize].as_mut().expect("a live topic's partitions are there");
        partition.write_tail(now, &mut self.acks, &mut self.metrics);
        let newest = match self.newest_of(key, record_key) {
            Ok(newest) => newest,
            Err(Stop::Cold(warm)) => {
                self.jobs.push(Job::WarmView(None, warm));
                return Err(Hold::Later);
            }
            Err(Stop::Refused(refusal) | Stop::NotYet(refusal)) => return Err(refusal.into()),
            Err(Stop::Failed(key, error)) => {
                self.break_view(key, &error, now.time);
                let refusal = self.view_of(key).err();
                return Err(refusal.expect("a view that was broken a moment ago answers nobody").into());
            }
        };
        let as_expected = match (publish.expected, newest) {
            (Some(expected), Some((offset, _))) => expected == offset,
            (Some(_), None) => false,
            (None, newest) => newest.is_none_or(|(_, deleted)| deleted),
        };
        if !as_expected {
            let (offset, deleted) = (newest.map(|n| n.0), newest.is_some_and(|n| n.1));
            self.acks.reply(to, Reply::Conflict { partition: number, offset, deleted });
            return Ok(());
        }
        let body = Body::Plain(publish.record.clone());
        let plain =
            Publish { topic: TopicRef::Key(topic), partition: Some(number), acks: publish.acks, body };
        self.append(key, AckTo::Client(to), &plain, &plain.body, now);
        Ok(())
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

    pub(super) fn refuse(&mut self, to: ReplyTo, refusal: Refusal) -> Taken {
        self.metrics.refusals += 1;
        self.acks.reply(to, Reply::Refused(refusal));
        Taken::Yes
    }
}
