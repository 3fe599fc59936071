//! What can be asked of groups of this kind, by name.

use std::fmt::Debug;

use krappy_wire::error::ErrorCode;

use super::describe::ConsumerDescription;
use super::group::ConsumerGroup;
use super::heartbeat;
use super::messages::{GOES_AWAY, Heard, Heartbeat, JOINS, LEAVES, Refused};
use super::topics::Topics;
use crate::groups::assign::Partitions;
use crate::groups::kind::Kind;
use crate::groups::messages::Leaver;
use crate::groups::{Groups, Key, MOST_NAME, Turn};
use crate::time::Time;

impl<W: Copy + Ord + Debug> Groups<W> {
    /// ConsumerGroupHeartbeat: a member joins, stays or leaves.
    pub fn consume(&mut self, ask: &Heartbeat<'_>, topics: &dyn Topics, now: Time) -> Result<Heard, Refused> {
        heartbeat::check(ask, &self.limits.assignors)?;
        let key = if ask.epoch == JOINS { self.consumer_for(ask.group)? } else { self.consumer_of(ask)? };
        self.with(key, now, |kind, turn| match ask.epoch {
            JOINS => kind.upgraded(topics, turn, |group, turn| group.heartbeat(ask, topics, turn)),
            LEAVES | GOES_AWAY => kind.consumer().leave(ask, turn),
            _ => kind.consumer().heartbeat(ask, topics, turn),
        })
    }

    /// A stream joins as a member that reads one topic. What it is to read comes out of [`Self::take_pushes`], at once
    /// and whenever it changes; the stream then says what it reads with [`Self::owned`], and ends with [`Self::gone`].
    pub fn join_stream(
        &mut self,
        to: W,
        group: &str,
        (client_id, topic): (&str, &str),
        topics: &dyn Topics,
        now: Time,
    ) -> Result<(), Refused> {
        if group.is_empty() || group.len() > MOST_NAME {
            return Err(Refused::new(ErrorCode::InvalidGroupId, "the name of a group has 1 to 255 bytes"));
        }
        assert!(!self.waiting.contains_key(&to), "{to:?} waits already");
        let key = self.consumer_for(group)?;
        self.with(key, now, |kind, turn| {
            kind.upgraded(topics, turn, |group, turn| group.join_stream(to, client_id, topic, topics, turn))
        })
    }

    /// A stream says what it reads now. One that is no member any more says nothing new.
    pub fn owned(&mut self, to: W, partitions: &Partitions, now: Time) {
        if let Some(&(key, number)) = self.waiting.get(&to) {
            self.with(key, now, |kind, turn| kind.consumer().owned(number, partitions, turn));
        }
    }

    /// OffsetFetch: whether it is allowed to somebody who says who it is.
    pub fn may_fetch(&self, group: &str, member: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        match self.by_name.get(group).map(|key| &self.groups[*key].kind) {
            Some(Kind::Consumer(group)) => group.may_fetch(member, epoch),
            Some(Kind::Classic(_)) | None => Ok(()),
        }
    }

    /// ConsumerGroupDescribe.
    pub fn describe_consumer(
        &self,
        group: &str,
        topics: &dyn Topics,
    ) -> Result<ConsumerDescription, Refused> {
        match self.by_name.get(group).map(|key| &self.groups[*key].kind) {
            Some(Kind::Consumer(group)) => Ok(group.describe(topics)),
            Some(Kind::Classic(_)) => Err(is_classic(group)),
            None if group.is_empty() => Err(Refused::new(ErrorCode::InvalidGroupId, "a group has a name")),
            None => Err(Refused::new(ErrorCode::GroupIdNotFound, format!("Group {group} not found."))),
        }
    }

    /// A topic has come, has gone or has grown: groups that read it share out anew.
    pub fn topic_changed(&mut self, name: &str, topics: &dyn Topics, now: Time) {
        let consumers = self.groups.iter().filter(|(_, entry)| matches!(entry.kind, Kind::Consumer(_)));
        for key in consumers.map(|(key, _)| key).collect::<Vec<_>>() {
            self.with(key, now, |kind, turn| kind.consumer().topic_changed(name, topics, turn));
        }
    }

    /// The group that somebody may join, begun or turned into one of this kind if need be. A classic group with members
    /// is turned into one when he is let in.
    fn consumer_for(&mut self, group: &str) -> Result<Key, Refused> {
        let Some(&key) = self.by_name.get(group) else {
            if self.is_full() {
                return Err(Refused::new(ErrorCode::PolicyViolation, "there is no room for another group"));
            }
            return Ok(self.begin_consumer(group));
        };
        if let kind @ Kind::Classic(_) = &self.groups[key].kind
            && kind.is_empty()
        {
            self.convert(key);
        }
        Ok(key)
    }

    /// The group that a member says it is in. One that is not there, or is a classic one by now, may have been lost
    /// with a start of the broker: its members are told to join again, which is what they do when they are not known.
    fn consumer_of(&self, ask: &Heartbeat<'_>) -> Result<Key, Refused> {
        match self.by_name.get(ask.group).map(|key| (*key, &self.groups[*key].kind)) {
            Some((key, Kind::Consumer(_))) => Ok(key),
            _ if ask.epoch > JOINS => {
                let why = format!("group {} has no such member", ask.group);
                Err(Refused::new(ErrorCode::UnknownMemberId, why))
            }
            _ => Err(Refused::new(ErrorCode::GroupIdNotFound, format!("group {} is not there", ask.group))),
        }
    }
}

impl<W: Copy + Ord + Debug> ConsumerGroup<W> {
    /// LeaveGroup: an administrator sends members away. Members of this kind leave by a heartbeat.
    pub fn dismiss(&mut self, leavers: &[Leaver<'_>], turn: &mut Turn<'_, W>) -> Vec<Result<(), ErrorCode>> {
        let mut dismiss = |leaver: &Leaver<'_>| {
            let by_instance = leaver.instance.filter(|_| leaver.member.is_empty());
            let number = match by_instance.map(|instance| self.roster.instance(instance)) {
                Some(number) => number.ok_or(ErrorCode::UnknownMemberId)?,
                None => self.identify(leaver.member, leaver.instance).map_err(|refused| refused.code)?,
            };
            self.remove(number, "it was sent away", turn);
            Ok(())
        };
        leavers.iter().map(&mut dismiss).collect()
    }
}

pub(super) fn is_classic(group: &str) -> Refused {
    let why = format!("Group {group} is not a consumer group.");
    Refused::new(ErrorCode::GroupIdNotFound, why)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Room, beat, join, of_one};
    use super::*;
    use crate::groups::testing;
    use crate::groups::{Answer, Join, Limits, Sync, Who};

    fn commits(room: &mut Room, member: &str, epoch: i32) -> Result<(), ErrorCode> {
        room.groups.may_commit("g", testing::who(member, epoch), room.now)
    }

    #[test]
    fn members_commit_in_their_epoch_and_others_while_nobody_is_there() {
        let mut room = Room::new();
        room.hear(&join("a"));
        room.hear(&join("b"));
        assert_eq!((commits(&mut room, "a", 1), commits(&mut room, "b", 2)), (Ok(()), Ok(())));
        assert_eq!(commits(&mut room, "a", 2), Err(ErrorCode::StaleMemberEpoch));
        assert_eq!(commits(&mut room, "b", 1), Err(ErrorCode::StaleMemberEpoch));
        assert_eq!(commits(&mut room, "a", -1), Err(ErrorCode::StaleMemberEpoch));
        assert_eq!(commits(&mut room, "c", 1), Err(ErrorCode::UnknownMemberId));
        assert_eq!(commits(&mut room, "", -1), Err(ErrorCode::UnknownMemberId));
        room.groups.known("g", "");
        room.hear(&beat("a", LEAVES));
        room.hear(&beat("b", LEAVES));
        assert_eq!((commits(&mut room, "", -1), room.state()), (Ok(()), "Empty"));
        assert_eq!(commits(&mut room, "a", 1), Err(ErrorCode::UnknownMemberId));
    }

    #[test]
    fn a_member_whose_commit_cannot_name_an_epoch_is_told_so() {
        let mut room = Room::new();
        room.hear(&join("a"));
        let older = |member, epoch| Who { knows_epochs: false, ..testing::who(member, epoch) };
        let mut may = |who| room.groups.may_commit("g", who, room.now);
        assert_eq!(may(older("a", 1)), Err(ErrorCode::UnsupportedVersion));
        assert_eq!(may(older("a", 7)), Err(ErrorCode::UnsupportedVersion), "whatever the number is");
        assert_eq!(may(older("b", 1)), Err(ErrorCode::UnknownMemberId));
        assert_eq!(may(older("", -1)), Err(ErrorCode::UnknownMemberId));
        room.groups.known("g", "");
        room.hear(&beat("a", LEAVES));
        assert_eq!(room.groups.may_commit("g", older("", -1), room.now), Ok(()));
    }

    #[test]
    fn whoever_says_who_it_is_when_it_asks_for_offsets_must_be_in_its_epoch() {
        let mut room = Room::new();
        let may = |room: &Room, member, epoch| room.groups.may_fetch("g", member, epoch);
        assert_eq!(may(&room, Some("a"), 5), Ok(()), "nobody has offsets in a group that is not there");
        room.hear(&join("a"));
        assert_eq!((may(&room, None, -1), may(&room, Some("a"), 1)), (Ok(()), Ok(())));
        assert_eq!(may(&room, Some("a"), 2), Err(ErrorCode::StaleMemberEpoch));
        assert_eq!(may(&room, Some("b"), 1), Err(ErrorCode::UnknownMemberId));
        assert_eq!(may(&room, None, 1), Err(ErrorCode::UnknownMemberId));
    }

    #[test]
    fn a_classic_group_whose_members_are_no_consumers_refuses_members_of_the_newer_kind() {
        let mut classic = testing::Room::new();
        let ids = classic.stable(1);
        let topics = Room::new().topics;
        let mut ask =
            |ask: &Heartbeat<'_>| classic.groups.consume(ask, &topics, classic.now).map_err(|r| r.code);
        assert_eq!(ask(&beat("a", 1)), Err(ErrorCode::UnknownMemberId));
        assert_eq!(ask(&beat("a", LEAVES)), Err(ErrorCode::GroupIdNotFound));
        assert_eq!(ask(&join("a")), Err(ErrorCode::GroupIdNotFound));
        assert_eq!(classic.heartbeat(&ids[0], 1), Ok(()));
        let described = classic.groups.describe_consumer("g", &topics);
        assert_eq!(described.unwrap_err().code, ErrorCode::GroupIdNotFound);
    }

    #[test]
    fn a_group_with_members_of_the_newer_kind_refuses_classic_ones_that_are_no_consumers() {
        let mut room = Room::new();
        room.hear(&join("a"));
        for member in ["", "a"] {
            room.groups.join(1, &testing::join("g", member), &room.topics, room.now);
            let code = ErrorCode::InconsistentGroupProtocol;
            let refused = Answer::NotJoined { code, member: member.into() };
            assert_eq!(room.groups.take_answers(), [(1, refused)]);
        }
        let who = testing::who("a", 1);
        let ask = Sync { group: "g", who, protocol_type: None, protocol: None, assignments: Vec::new() };
        room.groups.sync(1, &ask, &room.topics, room.now);
        assert_eq!(room.groups.take_answers(), [(1, Answer::NotSynced(ErrorCode::UnknownMemberId))]);
        assert_eq!(room.groups.heartbeat("g", who, room.now), Err(ErrorCode::UnknownMemberId));
        assert_eq!(room.groups.describe("g").state.name(), "Dead");
        assert_eq!(room.groups.delete("g"), Err(ErrorCode::NonEmptyGroup));
    }

    #[test]
    fn an_empty_group_goes_on_as_one_of_the_kind_of_whoever_comes() {
        let mut room = Room::new();
        room.groups.known("g", "");
        let kind = |room: &Room| room.groups.list(&[], &[])[0].kind;
        assert_eq!(kind(&room), "classic");
        room.hear(&join("a"));
        assert_eq!((kind(&room), room.groups.list(&["stable"], &["Consumer"]).len()), ("consumer", 1));
        room.hear(&beat("a", LEAVES));
        assert_eq!((kind(&room), room.state()), ("consumer", "Empty"));
        room.groups.join(1, &testing::join("g", "somebody"), &room.topics, room.now);
        assert_eq!(kind(&room), "consumer", "only whoever may join turns it");
        let ask = Join { takes_id_first: false, ..testing::join("g", "") };
        room.groups.join(2, &ask, &room.topics, room.now);
        assert_eq!(kind(&room), "classic");
        room.groups.invariants();
    }

    #[test]
    fn a_member_that_the_broker_has_forgotten_is_told_to_join_again() {
        let mut room = Room::new();
        assert_eq!(room.ask(&beat("a", 7)), Err(ErrorCode::UnknownMemberId));
        // Its offsets are all that was left of the group.
        room.groups.known("g", "");
        assert_eq!(room.ask(&beat("a", 7)), Err(ErrorCode::UnknownMemberId));
        assert_eq!(commits(&mut room, "a", 7), Err(ErrorCode::UnknownMemberId));
        assert_eq!(room.hear(&join("a")).0, 1);
    }

    #[test]
    fn an_administrator_sends_members_away_by_id_and_by_instance() {
        let mut room = Room::new();
        for (member, instance) in [("a", "one"), ("b", "two")] {
            room.hear(&Heartbeat { instance: Some(instance), ..join(member) });
        }
        room.hear(&join("c"));
        let leaver = |member, instance| Leaver { member, instance, reason: None };
        let leavers = [
            leaver("d", None),
            leaver("", Some("one")),
            leaver("", Some("one")),
            leaver("a", Some("two")),
            leaver("b", Some("two")),
        ];
        let unknown = Err(ErrorCode::UnknownMemberId);
        let fenced = Err(ErrorCode::FencedInstanceId);
        let left = room.groups.leave("g", &leavers, room.now).unwrap();
        assert_eq!(left, [unknown, Ok(()), unknown, fenced, Ok(())]);
        assert_eq!(room.follow(&["c"]), [of_one(&[0, 1, 2, 3, 4, 5])]);
        assert_eq!(room.groups.leave("g", &[leaver("c", None)], room.now).unwrap(), [Ok(())]);
        assert_eq!(room.groups.totals(), Default::default());
    }

    #[test]
    fn topics_that_members_read_are_known_by_name_and_by_pattern() {
        let mut room = Room::new();
        room.hear(&join("a"));
        room.hear(&Heartbeat { pattern: Some("t.o"), ..join("b") });
        let subscribed = room.groups.subscribed_topics("g").unwrap();
        assert!(subscribed.contains("one") && subscribed.contains("two") && !subscribed.contains("three"));
    }

    #[test]
    fn a_group_is_described_with_what_its_members_have_and_are_to_have() {
        let mut room = Room::new();
        let ask = Heartbeat { instance: Some("one"), rack: Some("r1"), pattern: Some("t.o"), ..join("a") };
        room.hear(&Heartbeat { assignor: Some("range"), ..ask });
        room.hear(&join("b"));
        room.hear(&Heartbeat { instance: Some("one"), ..beat("a", GOES_AWAY) });
        let described = room.groups.describe_consumer("g", &room.topics).unwrap();
        assert_eq!((described.state, described.epoch, described.assignor), ("Reconciling", 2, "range"));
        let [a, b] = &described.members[..] else { panic!("two members") };
        assert_eq!((a.instance.as_deref(), a.rack.as_deref(), a.epoch), (Some("one"), Some("r1"), -2));
        assert_eq!((&a.topics[..], a.pattern.as_deref()), (&["one".to_owned()][..], Some("t.o")));
        assert_eq!((a.assigned.len(), a.assigned[0].name.as_str()), (2, "one"));
        assert_eq!((b.assigned.len(), &b.target[0].partitions[..]), (0, &[3, 4, 5][..]));
        let missing = room.groups.describe_consumer("other", &room.topics).unwrap_err();
        assert_eq!(missing.code, ErrorCode::GroupIdNotFound);
        let unnamed = room.groups.describe_consumer("", &room.topics).unwrap_err();
        assert_eq!(unnamed.code, ErrorCode::InvalidGroupId);
    }

    #[test]
    fn at_the_limit_of_groups_none_is_begun() {
        let mut room = Room::with(Limits { max_groups: 1, ..Limits::default() });
        room.groups.known("other", "");
        assert_eq!(room.ask(&join("a")), Err(ErrorCode::PolicyViolation));
        room.groups.forgotten("other");
        room.hear(&join("a"));
    }

    #[test]
    fn an_instance_does_not_matter_when_offsets_are_committed() {
        let mut room = Room::new();
        room.hear(&Heartbeat { instance: Some("one"), ..join("a") });
        let who = Who { instance: Some("two"), ..testing::who("a", 1) };
        assert_eq!(room.groups.may_commit("g", who, room.now), Ok(()));
    }
}
