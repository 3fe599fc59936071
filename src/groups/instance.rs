//! Static members (KIP-345): whoever names an instance id is that instance, and may restart without a rebalance.
//!
//! Invariant: an instance is one member. When it comes back without its member id it gets a new one, and whoever still
//! uses the old one is fenced.

use std::fmt::Debug;
use std::sync::Arc;

use krappy_wire::error::ErrorCode;

use super::Turn;
use super::group::{ClassicGroup, State};
use super::member::{Member, Waits};
use super::messages::{Answer, Join, Joined};
use super::roster::Number;

impl<W: Copy + Ord + Debug> ClassicGroup<W> {
    /// A static member has restarted: it is known, and has forgotten its id.
    pub fn come_back(&mut self, number: Number, to: W, ask: &Join<'_>, turn: &mut Turn<'_, W>) {
        let before = self.roster.set_waits(number, Waits::Nothing);
        self.refuse(number, before, ErrorCode::FencedInstanceId, turn);
        let leader = self.told_leader();
        let id = turn.ids.make(ask.instance.unwrap_or_default());
        log::info!("group {:?}: {:?} is back as {id:?}", self.name, self.roster.member(number).id);
        self.roster.rename(number, id);
        self.roster.update(number, ask);
        if self.roster.len() == 1 {
            self.protocol_type = ask.protocol_type.into();
        }

        let unchanged =
            self.state == State::Stable && self.roster.choose_protocol().as_ref() == Some(&self.protocol);
        if unchanged {
            self.restart_session(number, turn.now);
            let told = self.welcome_back(number, leader, ask);
            turn.answer(to, Answer::Joined(told));
            return;
        }
        // While a generation is being shared out, the leader may know the old id only, so there must be another.
        self.wait_to_join(number, to, turn);
        self.rebalance("a static member is back", turn);
    }

    /// What it is told instead of a rebalance. A leader must not share out again, and there are two ways to keep it
    /// from that: saying so, or naming its former id as that of the leader.
    fn welcome_back(&self, number: Number, leader_before: Arc<str>, ask: &Join<'_>) -> Joined {
        let told = self.told(number);
        if !ask.skips_assignment {
            return Joined { leader: leader_before, ..told };
        }
        let leads = self.leader == Some(number);
        let introduce = |(_, member): (_, &Member<W>)| member.introduce(&self.protocol);
        let members = if leads { self.roster.members().map(introduce).collect() } else { Vec::new() };
        Joined { members, skip_assignment: leads, ..told }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Room, join, who};
    use super::super::{Join, Leaver, Who};
    use super::*;

    fn static_join<'a>(member: &'a str, instance: &'a str) -> Join<'a> {
        Join { instance: Some(instance), ..join("g", member) }
    }

    /// The group `g` of two static members, `one` that leads and `two`.
    fn stable(room: &mut Room) -> [String; 2] {
        let clients = ["one", "two"].map(|instance| room.join(static_join("", instance)));
        room.pass(0);
        let ids = clients.map(|client| room.joined(client).member.to_string());
        let follower = room.sync(who(&ids[1], 1), &[]);
        let leader = room.sync(who(&ids[0], 1), &[(&ids[0], b"first"), (&ids[1], b"second")]);
        assert_eq!((room.share(leader), room.share(follower)), (b"first".to_vec(), b"second".to_vec()));
        ids
    }

    #[test]
    fn a_static_member_joins_at_once_under_the_name_of_its_instance() {
        let mut room = Room::new();
        let client = room.join(static_join("", "one"));
        room.pass(0);
        let told = room.joined(client);
        assert!(told.member.starts_with("one-"), "{}", told.member);
        assert_eq!(told.members[0].instance.as_deref(), Some("one"));
    }

    #[test]
    fn a_follower_that_restarts_gets_its_share_again_without_a_rebalance() {
        let mut room = Room::new();
        let ids = stable(&mut room);
        let client = room.join(static_join("", "two"));
        let told = room.joined(client);
        assert_ne!(&*told.member, ids[1]);
        assert_eq!((told.generation, &*told.leader, told.skip_assignment), (1, &*ids[0], false));
        assert!(told.members.is_empty() && room.state() == State::Stable);
        let client = room.sync(Who { instance: Some("two"), ..who(&told.member, 1) }, &[]);
        assert_eq!(room.share(client), b"second");
    }

    #[test]
    fn a_leader_that_restarts_is_told_not_to_share_out_again() {
        let mut room = Room::new();
        stable(&mut room);
        let client = room.join(static_join("", "one"));
        let told = room.joined(client);
        assert!(told.skip_assignment && told.leader == told.member);
        assert_eq!((told.generation, told.members.len()), (1, 2));
    }

    #[test]
    fn a_leader_that_cannot_be_told_so_is_told_that_another_leads() {
        let mut room = Room::new();
        let ids = stable(&mut room);
        let client = room.join(Join { skips_assignment: false, ..static_join("", "one") });
        let told = room.joined(client);
        assert_eq!((&*told.leader, told.skip_assignment), (&*ids[0], false));
        assert!(told.leader != told.member && told.members.is_empty());
    }

    #[test]
    fn whoever_uses_the_old_id_of_an_instance_is_fenced() {
        let mut room = Room::new();
        let ids = stable(&mut room);
        let client = room.join(static_join("", "two"));
        room.joined(client);
        let old = Who { instance: Some("two"), ..who(&ids[1], 1) };
        assert_eq!(room.groups.heartbeat("g", old, room.now), Err(ErrorCode::FencedInstanceId));
        assert_eq!(room.groups.may_commit("g", old, room.now), Err(ErrorCode::FencedInstanceId));
        let client = room.sync(old, &[]);
        assert_eq!(room.not_synced(client), ErrorCode::FencedInstanceId);
        let client = room.join(static_join(&ids[1], "two"));
        assert_eq!(room.not_joined(client).0, ErrorCode::FencedInstanceId);
        let leaver = Leaver { member: &ids[1], instance: Some("two"), reason: None };
        assert_eq!(room.groups.leave("g", &[leaver], room.now).unwrap(), [Err(ErrorCode::FencedInstanceId)]);
        // Without its instance it is just unknown.
        assert_eq!(room.heartbeat(&ids[1], 1), Err(ErrorCode::UnknownMemberId));
        // An instance that nobody is, is unknown, too.
        let stranger = Who { instance: Some("three"), ..old };
        assert_eq!(room.groups.heartbeat("g", stranger, room.now), Err(ErrorCode::UnknownMemberId));
    }

    #[test]
    fn a_client_that_waits_as_the_same_instance_is_fenced() {
        let mut room = Room::new();
        let ids = stable(&mut room);
        let waits = room.join(static_join(&ids[0], "one"));
        assert!(room.waits(waits));
        let client = room.join(static_join("", "one"));
        assert_eq!(room.not_joined(waits), (ErrorCode::FencedInstanceId, ids[0].clone()));
        assert!(room.waits(client) && room.state() == State::Preparing);
    }

    #[test]
    fn a_restart_while_the_leader_shares_out_begins_a_rebalance() {
        let mut room = Room::new();
        let clients = ["one", "two"].map(|instance| room.join(static_join("", instance)));
        room.pass(0);
        let ids = clients.map(|client| room.joined(client).member.to_string());
        let syncs = room.sync(who(&ids[1], 1), &[]);
        let client = room.join(static_join("", "two"));
        assert_eq!(room.not_synced(syncs), ErrorCode::FencedInstanceId);
        assert!(room.waits(client) && room.state() == State::Preparing);
        let leader = room.join(static_join(&ids[0], "one"));
        assert_eq!((room.joined(leader).generation, room.joined(client).generation), (2, 2));
    }

    #[test]
    fn a_restart_that_changes_the_choice_of_the_protocol_begins_a_rebalance() {
        let mut room = Room::new();
        let client = room.join(Join { protocols: vec![("a", b""), ("b", b"")], ..static_join("", "one") });
        room.pass(0);
        let told = room.joined(client);
        let client = room.sync(who(&told.member, 1), &[]);
        room.share(client);
        let client = room.join(Join { protocols: vec![("b", b""), ("a", b"")], ..static_join("", "one") });
        let told = room.joined(client);
        assert_eq!((told.generation, &*told.protocol), (2, "b"));
    }

    #[test]
    fn a_static_member_that_has_not_joined_in_time_stays_until_its_session_ends() {
        let mut room = Room::new();
        let clients = ["one", "two"].map(|instance| {
            room.join(Join {
                session_timeout_ms: 100_000,
                rebalance_timeout_ms: 20_000,
                ..static_join("", instance)
            })
        });
        room.pass(0);
        let ids = clients.map(|client| room.joined(client).member.to_string());
        let (first, second) = (room.sync(who(&ids[1], 1), &[]), room.sync(who(&ids[0], 1), &[]));
        [first, second].iter().for_each(|client| drop(room.share(*client)));
        // The leader joins again, and the other one is away for a moment.
        let ask = static_join(&ids[0], "one");
        let leader = room.join(Join { session_timeout_ms: 100_000, rebalance_timeout_ms: 20_000, ..ask });
        room.pass(20_000);
        assert_eq!(room.joined(leader).members.len(), 2);
        assert_eq!(room.heartbeat(&ids[1], 2), Ok(()));
    }

    #[test]
    fn an_administrator_removes_a_static_member_by_its_instance() {
        let mut room = Room::new();
        let ids = stable(&mut room);
        let by = |instance| Leaver { member: "", instance, reason: None };
        let left = room.groups.leave("g", &[by(Some("two")), by(Some("three")), by(None)], room.now).unwrap();
        assert_eq!(left, [Ok(()), Err(ErrorCode::UnknownMemberId), Err(ErrorCode::UnknownMemberId)]);
        assert_eq!(room.heartbeat(&ids[1], 1), Err(ErrorCode::UnknownMemberId));
        assert_eq!(room.heartbeat(&ids[0], 1), Err(ErrorCode::RebalanceInProgress));
    }

    #[test]
    fn a_full_group_takes_a_static_member_back() {
        let limits =
            super::super::Limits { group_max_size: 2, initial_rebalance_delay_ms: 0, ..Default::default() };
        let mut room = Room::with(limits);
        stable(&mut room);
        let client = room.join(static_join("", "three"));
        assert_eq!(room.not_joined(client).0, ErrorCode::GroupMaxSizeReached);
        let client = room.join(static_join("", "two"));
        assert_eq!(room.joined(client).generation, 1);
    }
}
