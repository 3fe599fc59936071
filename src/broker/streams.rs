//! Members of groups that are streams of krappy's own language: what they are to read is told to them in the slot in
//! which they have joined, as long as the stream is open.
//!
//! Invariant: what a stream is told names for each partition where the group has committed at that moment; a stream
//! that is a member no more is told so once.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::Broker;
use super::consumers::Topics;
use super::internal::Hold;
use crate::api::group::{GroupReply, Partitions, Share, TopicPartition};
use crate::api::{ErrorCode, PartitionKey, Position, Refusal, Reply, ReplyTo, TopicRef};
use crate::groups::consumer::Push;
use crate::time::Time;

/// The streams that are members, by the slot in which they are told things.
pub(super) type Streams = BTreeMap<ReplyTo, Stream>;

/// One of them.
#[derive(Debug)]
pub(super) struct Stream {
    group: String,
    topic: [u8; 16],
    /// Where nothing was committed it begins at the end.
    from_end: bool,
}

impl Broker {
    /// A stream joins a group to read one topic.
    pub(super) fn join_stream(
        &mut self,
        to: ReplyTo,
        group: &str,
        client_id: &str,
        (topic, from_end): (&str, bool),
        now: Time,
    ) -> Result<(), Hold> {
        let key = match self.live_topic_or_why(TopicRef::Name(topic)) {
            Ok(key) => key,
            Err(refusal) => {
                self.acks.reply(to, Reply::Refused(refusal));
                return Ok(());
            }
        };
        let id = self.catalog.get(key).expect("a live topic is in the catalog").id;
        let topics = Topics(&self.catalog);
        match self.coordinator.groups.join_stream(to, group, (client_id, topic), &topics, now) {
            Ok(()) => {
                self.coordinator.streams.insert(to, Stream { group: group.to_owned(), topic: id, from_end });
            }
            Err(refused) => self.acks.reply(to, Reply::Refused(Refusal::new(refused.code, refused.why))),
        }
        Ok(())
    }

    /// A stream says which partitions it reads.
    pub(super) fn stream_owns(&mut self, to: ReplyTo, numbers: &[i32], now: Time) -> Result<(), ErrorCode> {
        let stream = self.coordinator.streams.get(&to).ok_or(ErrorCode::UnknownMemberId)?;
        let topic = stream.topic;
        let owned: Partitions = numbers.iter().map(|&number| TopicPartition { topic, number }).collect();
        self.coordinator.groups.owned(to, &owned, now);
        Ok(())
    }

    /// The group of a stream, as long as it is a member.
    pub(super) fn group_of_stream(&self, to: ReplyTo) -> Option<String> {
        self.coordinator.streams.get(&to).map(|stream| stream.group.clone())
    }

    /// Streams are gone, and whoever else waits in these slots.
    pub(super) fn forget_streams(&mut self, slots: RangeInclusive<ReplyTo>, now: Time) {
        let gone: Vec<ReplyTo> = self.coordinator.streams.range(slots.clone()).map(|(to, _)| *to).collect();
        gone.iter().for_each(|to| drop(self.coordinator.streams.remove(to)));
        self.coordinator.groups.gone(slots, now);
    }

    /// Tells streams what is new for them.
    pub(super) fn tell_streams(&mut self) {
        for (to, push) in self.coordinator.groups.take_pushes() {
            match push {
                Push::Assigned { member, partitions } => {
                    // One that has hung up in the same turn is not told.
                    let Some(stream) = self.coordinator.streams.get(&to) else { continue };
                    let positions = self.positions_for(stream, &partitions);
                    let share = Share { member: member.to_string(), positions };
                    self.acks.reply(to, Reply::Group(GroupReply::Share(share)));
                }
                Push::Fenced => {
                    if self.coordinator.streams.remove(&to).is_some() {
                        self.acks.reply(to, Reply::Refused(fenced()));
                    }
                }
            }
        }
    }

    /// Where a stream begins.
    fn positions_for(&self, stream: &Stream, partitions: &Partitions) -> Vec<Position> {
        let Ok((_, topic)) = self.catalog.resolve(TopicRef::Id(stream.topic)) else { return Vec::new() };
        let position = |at: &TopicPartition| -> Option<Position> {
            let key: PartitionKey = *topic.partitions.get(at.number as usize)?;
            let partition = self.partition(key)?;
            let committed = self.coordinator.offsets.get(&stream.group, &topic.name, at.number);
            let committed = committed.filter(|position| position.topic_id == stream.topic);
            let end = if stream.from_end { partition.high_watermark() } else { partition.log.start_offset() };
            let offset = committed.map_or(end, |position| position.offset);
            Some(Position { partition: key, number: at.number, offset, timestamp: -1, leader_epoch: -1 })
        };
        partitions.iter().filter_map(position).collect()
    }
}

fn fenced() -> Refusal {
    let message =
        "this stream is in its group no more: it has not given back partitions in time, or the broker stops";
    Refusal::new(ErrorCode::FencedMemberEpoch, message).hint("register again")
}
