//! Members that have a stream instead of heartbeats: they live as long as their stream is open, are told of what is new
//! without asking, and say what they still read when that changes.
//!
//! Such a member reads one topic. It is one among the others: it may share a group with members that have heartbeats.
//! Invariant: it is told whenever what it may read has changed, and last that it is no member any more, unless its
//! stream has ended.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use krappy_wire::error::ErrorCode;

use super::group::ConsumerGroup;
use super::member::{Liveness, Member};
use super::messages::{Push, Refused};
use super::roster::Number;
use super::subscription::Subscription;
use super::topics::Topics;
use crate::groups::Turn;
use crate::groups::assign::Partitions;

impl<W: Copy + Ord + Debug> ConsumerGroup<W> {
    /// A stream of this client joins, under the group's name with the lowest number that is free. What it is to read is
    /// pushed to it.
    pub fn join_stream(
        &mut self,
        to: W,
        client_id: &str,
        topic: &str,
        topics: &dyn Topics,
        turn: &mut Turn<'_, W>,
    ) -> Result<(), Refused> {
        if self.len() >= turn.limits.consumer_group_max_size {
            let why = format!("the group has {} members, which is all that it may have", self.len());
            return Err(Refused::new(ErrorCode::GroupMaxSizeReached, why));
        }
        let mut member = Member::new(self.free_id(), client_id, "", Liveness::Stream(to));
        member.subscription = Subscription { names: BTreeSet::from([topic.into()]), pattern: None };
        member.topics = member.subscription.find(topics);
        // It is told at once, also if that is nothing.
        member.untold = true;
        let number = self.roster.add(member);
        turn.parked(to, number);
        self.plan(turn);
        Ok(())
    }

    fn free_id(&self) -> Arc<str> {
        let mut ids = (0..).map(|number| format!("{}_{number}", self.name));
        ids.find(|id| self.roster.find(id).is_none()).expect("there are more numbers than members").into()
    }

    /// The stream says what it reads, after it was told to read less.
    pub fn owned(&mut self, number: Number, partitions: &Partitions, turn: &Turn<'_, W>) {
        self.reconcile(number, Some(partitions), turn.now);
    }

    /// The stream has ended, and with it the member.
    pub fn gone(&mut self, number: Number, turn: &mut Turn<'_, W>) {
        self.roster.change(number, |member| member.liveness = Liveness::Heartbeats);
        self.remove(number, "its stream has ended", turn);
    }

    /// The streams, and as which members they listen.
    pub fn streams(&self) -> Vec<(W, Number)> {
        let stream = |number| match self.roster.member(number).liveness {
            Liveness::Stream(to) => (to, number),
            Liveness::Heartbeats => unreachable!("those that have streams are listed"),
        };
        self.roster.streams().into_iter().map(stream).collect()
    }

    /// Tells all streams what is new for them; done after each event.
    pub fn tell_streams(&mut self, turn: &mut Turn<'_, W>) {
        for number in self.roster.streams() {
            self.reconcile(number, None, turn.now);
            let Some(partitions) = self.news(number) else { continue };
            let member = self.roster.member(number);
            if let Liveness::Stream(to) = member.liveness {
                let member = member.id.clone();
                turn.push(to, Push::Assigned { member, partitions });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Room, beat, join, of_one};
    use super::super::{Heartbeat, LEAVES};
    use super::*;

    /// What was pushed since the last time, by stream.
    fn pushes(room: &mut Room) -> Vec<(u32, Option<Partitions>)> {
        room.groups.invariants();
        let told = |push| match push {
            Push::Assigned { partitions, .. } => Some(partitions),
            Push::Fenced => None,
        };
        room.groups.take_pushes().into_iter().map(|(to, push)| (to, told(push))).collect()
    }

    fn open(room: &mut Room, to: u32) {
        room.groups.join_stream(to, "g", ("worker", "one"), &room.topics, room.now).unwrap();
    }

    #[test]
    fn streams_are_told_at_once_and_whenever_something_changes() {
        let mut room = Room::new();
        open(&mut room, 1);
        assert_eq!(pushes(&mut room), [(1, Some(of_one(&[0, 1, 2, 3, 4, 5])))]);
        open(&mut room, 2);
        assert_eq!(pushes(&mut room), [(1, Some(of_one(&[0, 1, 2]))), (2, Some(of_one(&[])))]);
        // It has not stopped yet.
        room.groups.owned(1, &of_one(&[0, 1, 2, 3]), room.now);
        assert_eq!(pushes(&mut room), []);
        room.groups.owned(1, &of_one(&[0, 1, 2]), room.now);
        assert_eq!(pushes(&mut room), [(2, Some(of_one(&[3, 4, 5])))]);
        assert_eq!(room.state(), "Stable");
    }

    #[test]
    fn a_stream_that_ends_is_gone_at_once_and_the_others_take_over() {
        let mut room = Room::new();
        open(&mut room, 1);
        open(&mut room, 2);
        pushes(&mut room);
        room.groups.gone(1..=1, room.now);
        assert_eq!(pushes(&mut room), [(2, Some(of_one(&[0, 1, 2, 3, 4, 5])))]);
        room.groups.gone(2..=2, room.now);
        assert_eq!((pushes(&mut room), room.groups.totals()), (vec![], Default::default()));
        room.groups.owned(2, &of_one(&[]), room.now);
    }

    #[test]
    fn streams_do_not_die_of_silence_but_of_not_giving_back() {
        let mut room = Room::new();
        open(&mut room, 1);
        room.pass(10_000_000);
        open(&mut room, 2);
        pushes(&mut room);
        room.pass(299_999);
        assert_eq!(pushes(&mut room), []);
        room.pass(1);
        assert_eq!(pushes(&mut room), [(1, None), (2, Some(of_one(&[0, 1, 2, 3, 4, 5])))]);
    }

    #[test]
    fn streams_and_members_that_have_heartbeats_share_a_group() {
        let mut room = Room::new();
        room.hear(&join("a"));
        open(&mut room, 1);
        assert_eq!(pushes(&mut room), [(1, Some(of_one(&[])))]);
        let owns = |numbers: &[i32]| Heartbeat { owned: Some(of_one(numbers)), ..beat("a", 1) };
        room.hear(&owns(&[0, 1, 2, 3, 4, 5]));
        room.hear(&owns(&[0, 1, 2]));
        assert_eq!(pushes(&mut room), [(1, Some(of_one(&[3, 4, 5])))]);
        room.hear(&beat("a", LEAVES));
        assert_eq!(pushes(&mut room), [(1, Some(of_one(&[0, 1, 2, 3, 4, 5])))]);
    }

    #[test]
    fn streams_may_be_refused_and_are_told_when_the_broker_stops() {
        let mut room = Room::new();
        let no_name = room.groups.join_stream(1, "", ("worker", "one"), &room.topics, room.now);
        assert_eq!(no_name.unwrap_err().code, ErrorCode::InvalidGroupId);
        open(&mut room, 1);
        room.groups.send_away(ErrorCode::CoordinatorNotAvailable, room.now);
        assert_eq!(pushes(&mut room).last(), Some(&(1, None)));
        assert_eq!(room.groups.totals(), Default::default());
    }

    #[test]
    fn a_stream_waits_for_a_topic_that_is_not_there() {
        let mut room = Room::new();
        room.topic("one", None);
        open(&mut room, 1);
        assert_eq!(pushes(&mut room), [(1, Some(of_one(&[])))]);
        room.topic("one", Some(([1; 16], 2)));
        assert_eq!(pushes(&mut room), [(1, Some(of_one(&[0, 1])))]);
    }
}
