//! Consumer streams that are members of a group: what they are given, and how they give it back.
//!
//! The broker tells a member what it is to read in a slot of its own, as long as the stream lives. Here that becomes
//! the positions of the stream, from which polls and subscriptions read as those of any other consumer.
//!
//! Invariant: from the moment that a member is told what it reads, no record of anything else is sent to it; a
//! partition that it keeps goes on where it was.

use krappy_wire::native::{self, Assigned, Head, Start};

use super::answer::refuse;
use super::stream::{Consumer, Membership, Stream};
use super::{FETCH, Session, unknown_stream};
use crate::api::group::{CommitPosition, GroupReply, GroupRequest, Share, Who};
use crate::api::queue::QueueRequest;
use crate::api::{ErrorCode, Refusal, Reply, Request};
use crate::config::Limits;

/// Marks the slots in which members are told things.
pub(super) const MEMBER: u64 = FETCH | 1 << 62;

impl Session {
    /// The stream joins a group. Offered again, it is the same member in the same slot.
    pub(super) fn register_member<'a>(
        &'a mut self,
        head: Head,
        (topic, group): (&'a str, &'a str),
        partition: i32,
        start: Start,
        limits: &Limits,
    ) -> Result<(u64, Request<'a>), Refusal> {
        if partition != -1 {
            let message = "a group shares out the partitions of a topic itself";
            return Err(Refusal::new(ErrorCode::InvalidRequest, message).hint("ask for partition -1"));
        }
        let from_end = match start {
            Start::Earliest | Start::Committed => false,
            Start::Latest => true,
            Start::Offset(_) | Start::Timestamp(_) => {
                let message = "a group begins where it has committed, or at an end of the partition";
                return Err(Refusal::new(ErrorCode::InvalidRequest, message)
                    .hint("move the group first, by a commit from outside"));
            }
        };
        let slot = match self.untaken_member(head) {
            Some(slot) => slot,
            None => {
                self.next_fetch += 1;
                let slot = MEMBER | self.next_fetch;
                let mut consumer = Consumer::opening(head.correlation);
                consumer.membership = Some(Membership::new(slot, group, head.correlation));
                self.register(head.stream, Stream::Consumer(Box::new(consumer)), limits)?;
                self.members.insert(slot, head.stream);
                slot
            }
        };
        Ok((
            slot,
            Request::Group(GroupRequest::JoinStream { group, client_id: &self.client, topic, from_end }),
        ))
    }

    /// The slot of a registration that the broker has left for later.
    fn untaken_member(&self, head: Head) -> Option<u64> {
        let Some(Stream::Consumer(consumer)) = self.streams.get(&head.stream) else { return None };
        let membership = consumer.membership.as_ref()?;
        (membership.registration == head.correlation && !membership.taken).then_some(membership.slot)
    }

    /// The broker has taken the registration with this slot.
    pub(super) fn member_taken(&mut self, slot: u64) {
        if let Some(membership) = self.members.get(&slot).copied().and_then(|number| self.membership(number))
        {
            membership.taken = true;
        }
    }

    fn membership(&mut self, number: u32) -> Option<&mut Membership> {
        match self.streams.get_mut(&number) {
            Some(Stream::Consumer(consumer)) => consumer.membership.as_mut(),
            _ => None,
        }
    }

    /// The member of a stream, or somebody outside of all groups, commits.
    pub(super) fn commit<'a>(
        &'a mut self,
        head: Head,
        commit: native::Commit<'a>,
    ) -> Result<Request<'a>, Refusal> {
        let position = |at: &native::CommitAt<'a>| CommitPosition {
            topic: at.topic,
            partition: at.partition,
            offset: at.offset,
            leader_epoch: -1,
            metadata: at.metadata,
        };
        let positions = commit.positions.iter().map(position).collect();
        let Some(membership) = self.membership(head.stream) else {
            // Only a member leaves out the name of its group: this one is a member no more.
            if commit.group.is_empty() {
                return Err(unknown_stream(head.stream));
            }
            let who = Who { member: "", instance: None, generation: -1, knows_epochs: true };
            return Ok(Request::Group(GroupRequest::Commit { group: commit.group, who, positions }));
        };
        if !commit.group.is_empty() && *commit.group != *membership.group {
            let message = format!("stream {} is in group {:?}", head.stream, membership.group);
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        Ok(Request::Group(GroupRequest::CommitStream { slot: membership.slot, positions }))
    }

    /// The member has stopped reading what was taken from it.
    pub(super) fn released(
        &mut self,
        head: Head,
        number: u32,
        out: &mut Vec<u8>,
    ) -> Result<Option<Request<'static>>, Refusal> {
        let consumer = self.consumer(head.stream)?;
        let Some(membership) = &consumer.membership else {
            let message = format!("stream {} is in no group", head.stream);
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        };
        if membership.told != number {
            native::Reply::Ack.encode(head, out);
            return Ok(None);
        }
        let slot = membership.slot;
        let partitions = consumer.partitions().collect();
        Ok(Some(Request::Group(GroupRequest::Owned { slot, partitions })))
    }

    /// The broker tells a member something.
    pub(super) fn member_reply(&mut self, slot: u64, reply: Reply, out: &mut Vec<u8>) {
        let Some(&number) = self.members.get(&slot) else { return };
        match reply {
            Reply::Group(GroupReply::Share(share)) => self.assigned(number, share, out),
            Reply::Refused(refusal) => self.member_lost(number, slot, &refusal, out),
            other => unreachable!("a member is not told {other:?}"),
        }
    }

    fn assigned(&mut self, number: u32, share: Share, out: &mut Vec<u8>) {
        let Some(Stream::Consumer(consumer)) = self.streams.get_mut(&number) else { return };
        let release = consumer.assigned(&share.positions);
        let positions = consumer.positions().collect();
        // What it has asked for was asked of other partitions: it asks again, and that answer comes to nobody.
        let orphan = consumer.fetching.take();
        let again = consumer.wants_fetch();
        let membership = consumer.membership.as_mut().expect("it is a member");
        let head = Head { stream: number, correlation: membership.registration };
        if membership.told == 0 {
            native::Reply::ConsumerRegistered { member: &share.member, positions: Vec::new() }
                .encode(head, out);
        }
        membership.told += 1;
        let told = Assigned { number: membership.told, release, positions };
        native::Reply::Assigned(told).encode(head, out);
        if let Some(fetch) = orphan {
            self.fetches.insert(fetch, None);
        }
        if again && !self.draining {
            self.ready.push_back(number);
        }
    }

    /// The member is none any more, or never became one.
    fn member_lost(&mut self, number: u32, slot: u64, refusal: &Refusal, out: &mut Vec<u8>) {
        self.members.remove(&slot);
        let Some(Stream::Consumer(consumer)) = self.streams.remove(&number) else { return };
        let membership = consumer.membership.expect("it was a member");
        let head = Head { stream: number, correlation: membership.registration };
        refuse(head, refusal, out);
        if let Some(correlation) = consumer.asked.correlation() {
            refuse(Head { correlation, ..head }, refusal, out);
        }
        if let Some(fetch) = consumer.fetching {
            self.fetches.insert(fetch, None);
        }
    }

    /// The client ends a stream. A group that it was in is told, or a queue, and the client when that has heard it.
    pub(super) fn end_stream(&mut self, number: u32) -> Result<Option<Request<'static>>, Refusal> {
        let Some(stream) = self.streams.remove(&number) else { return Err(unknown_stream(number)) };
        let (under_way, tell) = match stream {
            Stream::Producer { .. } => (None, None),
            Stream::Consumer(consumer) => {
                let leave = consumer.membership.map(|membership| {
                    self.members.remove(&membership.slot);
                    Request::Group(GroupRequest::EndStream { slot: membership.slot })
                });
                (consumer.fetching, leave)
            }
            Stream::Watcher(watcher) => (watcher.asking, None),
            Stream::Taker(taker) => {
                (taker.asking, Some(Request::Queue(QueueRequest::Leave { stream: number })))
            }
        };
        if let Some(fetch) = under_way {
            self.fetches.insert(fetch, None);
        }
        Ok(tell)
    }
}
