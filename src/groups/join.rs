//! JoinGroup: who is let in, who is told an id first, and for whom a new generation must begin.

use std::fmt::Debug;
use std::sync::Arc;

use krappy_wire::error::ErrorCode;

use super::Turn;
use super::group::{ClassicGroup, Due, State};
use super::member::{Member, Pending, weight_of};
use super::messages::{Answer, Join};
use super::roster::Number;

impl<W: Copy + Ord + Debug> ClassicGroup<W> {
    /// Answers at once, or lets the client wait for the next generation.
    pub fn join(&mut self, to: W, ask: &Join<'_>, turn: &mut Turn<'_, W>) {
        if let Err(code) = self.try_join(to, ask, turn) {
            turn.answer(to, Answer::NotJoined { code, member: ask.member.into() });
        }
    }

    fn try_join(&mut self, to: W, ask: &Join<'_>, turn: &mut Turn<'_, W>) -> Result<(), ErrorCode> {
        let instance = ask.instance.and_then(|instance| self.roster.instance(instance));
        if ask.member.is_empty() {
            self.check(ask, instance, turn)?;
            return match instance {
                Some(number) => {
                    self.come_back(number, to, ask, turn);
                    Ok(())
                }
                None => self.join_unknown(to, ask, turn),
            };
        }
        let found = self.roster.find(ask.member);
        self.check(ask, found, turn)?;
        match found.filter(|number| self.roster.get_pending_mut(*number).is_some()) {
            // A static member is never told an id first, so this is a stranger.
            Some(_) if ask.instance.is_some() => Err(ErrorCode::UnknownMemberId),
            Some(number) => {
                self.check_room(turn)?;
                self.remove_pending(number);
                self.add(ask.member.into(), to, ask, turn);
                Ok(())
            }
            None => {
                let number = self.identify(ask.member, ask.instance)?;
                self.join_again(number, to, ask, turn);
                Ok(())
            }
        }
    }

    /// Whether a join fits this group and the limits; `own` is the member that it comes from, if it is one already.
    fn check(&self, ask: &Join<'_>, own: Option<Number>, turn: &Turn<'_, W>) -> Result<(), ErrorCode> {
        let own = own.and_then(|number| self.roster.get(number));
        if ask.protocols.len() > turn.limits.protocols || !self.fits(ask, own) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        // What a member has already is not asked for again.
        let needs = weight_of(ask).saturating_sub(own.map_or(0, Member::weight));
        if weight_of(ask) > turn.limits.member_bytes || needs > turn.room {
            return Err(ErrorCode::PolicyViolation);
        }
        Ok(())
    }

    /// Whether all others know one of the protocols. An empty group takes what comes.
    fn fits(&self, ask: &Join<'_>, own: Option<&Member<W>>) -> bool {
        let others = self.roster.len() - usize::from(own.is_some());
        if others == 0 {
            return !ask.protocol_type.is_empty() && !ask.protocols.is_empty();
        }
        let mine = |name: &str| own.is_some_and(|member| member.protocols.iter().any(|p| &*p.name == name));
        let known_to_others = |name: &str| self.roster.supporters(name) - usize::from(mine(name)) == others;
        ask.protocol_type == &*self.protocol_type
            && ask.protocols.iter().any(|(name, _)| known_to_others(name))
    }

    fn check_room(&self, turn: &Turn<'_, W>) -> Result<(), ErrorCode> {
        let full = self.roster.len() >= turn.limits.group_max_size;
        if full { Err(ErrorCode::GroupMaxSizeReached) } else { Ok(()) }
    }

    /// Somebody whom the group has not seen before.
    fn join_unknown(&mut self, to: W, ask: &Join<'_>, turn: &mut Turn<'_, W>) -> Result<(), ErrorCode> {
        self.check_room(turn)?;
        let id = turn.ids.make(ask.instance.unwrap_or(ask.client_id));
        if ask.takes_id_first && ask.instance.is_none() {
            // Otherwise a client that gives up waiting and tries again would leave a member behind each time.
            self.add_pending(id.clone(), ask, turn);
            turn.answer(to, Answer::NotJoined { code: ErrorCode::MemberIdRequired, member: id });
        } else {
            self.add(id, to, ask, turn);
        }
        Ok(())
    }

    fn add_pending(&mut self, id: Arc<str>, ask: &Join<'_>, turn: &mut Turn<'_, W>) {
        while self.roster.pending_len() >= turn.limits.pending_members.max(1) {
            let oldest = self.roster.oldest_pending().expect("there are some");
            self.remove_pending(oldest);
        }
        let number = self.roster.add_pending(Pending { id, session: Default::default() });
        let pending = self.roster.get_pending_mut(number).expect("it was added a moment ago");
        let at = turn.now.plus_ms(ask.session_timeout_ms.max(0) as u64);
        pending.session.set(at, Due::Session(number), &mut self.timers);
    }

    /// Lets a member in.
    fn add(&mut self, id: Arc<str>, to: W, ask: &Join<'_>, turn: &mut Turn<'_, W>) {
        log::debug!("group {:?}: {id:?} joins: {:?}", self.name, ask.reason.unwrap_or("no reason given"));
        if self.roster.len() == 0 {
            self.protocol_type = ask.protocol_type.into();
        }
        let number = self.roster.add(Member::new(id, ask));
        self.leader.get_or_insert(number);
        if let Some(first) = &mut self.first {
            first.newcomer = true;
        }
        self.wait_to_join(number, to, turn);
        self.rebalance("a member has joined", turn);
    }

    /// A member that the group knows joins again.
    fn join_again(&mut self, number: Number, to: W, ask: &Join<'_>, turn: &mut Turn<'_, W>) {
        let same = self.roster.member(number).says_the_same(ask);
        let leads = self.leader == Some(number);
        let begun = match self.state {
            State::Completing => same,
            // A leader that joins again wants to share out anew, for reasons that only it knows.
            State::Stable => same && !leads,
            State::Empty | State::Preparing | State::Dead => false,
        };
        if begun {
            // It has not got the answer, or has forgotten it.
            self.restart_session(number, turn.now);
            turn.answer(to, Answer::Joined(self.told(number)));
            return;
        }
        log::debug!(
            "group {:?}: {:?} joins again: {:?}",
            self.name,
            ask.member,
            ask.reason.unwrap_or("no reason given")
        );
        self.roster.update(number, ask);
        if self.roster.len() == 1 {
            self.protocol_type = ask.protocol_type.into();
        }
        self.wait_to_join(number, to, turn);
        self.rebalance(
            if leads { "its leader joins again" } else { "a member announces something else" },
            turn,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Room, join, who};
    use super::super::{Join, Limits, Sync, Who};
    use super::*;

    #[test]
    fn a_newcomer_is_told_an_id_first_and_joins_with_it() {
        let mut room = Room::new();
        let client = room.join(join("g", ""));
        let (code, id) = room.not_joined(client);
        assert_eq!(code, ErrorCode::MemberIdRequired);
        assert!(id.starts_with("app-"), "{id}");
        assert_eq!(room.state(), State::Empty);
        let client = room.join(join("g", &id));
        room.pass(0);
        let joined = room.joined(client);
        assert_eq!((&*joined.member, &*joined.leader, joined.generation), (&*id, &*id, 1));
    }

    #[test]
    fn a_client_that_cannot_be_told_an_id_first_joins_at_once() {
        let mut room = Room::new();
        let client = room.join(Join { takes_id_first: false, ..join("g", "") });
        room.pass(0);
        assert!(room.joined(client).member.starts_with("app-"));
    }

    #[test]
    fn an_id_that_was_not_given_out_is_unknown_and_begins_no_group() {
        let mut room = Room::new();
        let client = room.join(join("g", "mine"));
        assert_eq!(room.not_joined(client), (ErrorCode::UnknownMemberId, "mine".into()));
        assert_eq!(room.groups.totals(), Default::default());
        room.stable(1);
        let client = room.join(join("g", "mine"));
        assert_eq!(room.not_joined(client).0, ErrorCode::UnknownMemberId);
    }

    #[test]
    fn an_id_that_is_not_used_is_forgotten_when_its_session_ends() {
        let mut room = Room::new();
        let id = room.id();
        room.pass(9_999);
        assert_eq!(room.groups.totals().pending, 1);
        room.pass(1);
        assert_eq!(room.groups.totals(), Default::default());
        let client = room.join(join("g", &id));
        assert_eq!(room.not_joined(client).0, ErrorCode::UnknownMemberId);
    }

    #[test]
    fn a_static_client_is_a_stranger_to_an_id_that_was_given_to_a_dynamic_one() {
        let mut room = Room::new();
        let id = room.id();
        let client = room.join(Join { instance: Some("one"), ..join("g", &id) });
        assert_eq!(room.not_joined(client).0, ErrorCode::UnknownMemberId);
        assert_eq!(room.groups.totals().pending, 1);
    }

    #[test]
    fn at_the_limit_of_ids_given_out_the_oldest_is_forgotten() {
        let mut room = Room::with(Limits { pending_members: 2, ..Limits::default() });
        let ids = [room.id(), room.id(), room.id()];
        assert_eq!(room.groups.totals().pending, 2);
        let client = room.join(join("g", &ids[0]));
        assert_eq!(room.not_joined(client).0, ErrorCode::UnknownMemberId);
        let client = room.join(join("g", &ids[1]));
        assert!(room.waits(client));
    }

    #[test]
    fn a_group_needs_a_protocol_type_and_a_protocol() {
        let mut room = Room::new();
        for ask in
            [Join { protocol_type: "", ..join("g", "") }, Join { protocols: Vec::new(), ..join("g", "") }]
        {
            let client = room.join(ask);
            assert_eq!(room.not_joined(client), (ErrorCode::InconsistentGroupProtocol, String::new()));
        }
        assert_eq!(room.groups.totals(), Default::default());
    }

    #[test]
    fn a_newcomer_must_know_a_protocol_that_all_others_know() {
        let mut room = Room::new();
        room.stable(2);
        for ask in [
            Join { protocols: vec![("sticky", b"")], ..join("g", "") },
            Join { protocol_type: "connect", ..join("g", "") },
        ] {
            let client = room.join(ask);
            assert_eq!(room.not_joined(client).0, ErrorCode::InconsistentGroupProtocol);
        }
        let client = room.join(Join { protocols: vec![("sticky", b""), ("range", b"")], ..join("g", "") });
        assert_eq!(room.not_joined(client).0, ErrorCode::MemberIdRequired);
    }

    #[test]
    fn a_member_that_is_alone_may_change_to_any_protocol() {
        let mut room = Room::new();
        let ids = room.stable(1);
        let client = room.join(Join { protocols: vec![("sticky", b"")], ..join("g", &ids[0]) });
        assert_eq!(&*room.joined(client).protocol, "sticky");
    }

    #[test]
    fn a_member_cannot_drop_the_protocol_that_the_others_need() {
        let mut room = Room::new();
        let ids = room.stable(2);
        let client = room.join(Join { protocols: vec![("sticky", b"")], ..join("g", &ids[1]) });
        assert_eq!(room.not_joined(client), (ErrorCode::InconsistentGroupProtocol, ids[1].clone()));
        assert_eq!(room.state(), State::Stable);
    }

    #[test]
    fn a_full_group_takes_no_newcomer_and_keeps_its_members() {
        let limits = Limits { group_max_size: 2, initial_rebalance_delay_ms: 0, ..Limits::default() };
        let mut room = Room::with(limits);
        let late = room.id();
        let ids: Vec<String> = (0..2).map(|_| room.id()).collect();
        let clients: Vec<u32> = ids.iter().map(|id| room.join(join("g", id))).collect();
        let client = room.join(join("g", &late));
        assert_eq!(room.not_joined(client).0, ErrorCode::GroupMaxSizeReached);
        let client = room.join(join("g", ""));
        assert_eq!(room.not_joined(client).0, ErrorCode::GroupMaxSizeReached);
        let again = room.join(join("g", &ids[0]));
        assert_eq!(room.not_joined(clients[0]).0, ErrorCode::RebalanceInProgress);
        assert!(room.waits(again) && room.waits(clients[1]));
    }

    #[test]
    fn too_many_protocols_and_too_much_metadata_are_refused() {
        let mut room = Room::with(Limits { protocols: 2, member_bytes: 2_000, ..Limits::default() });
        let client = room.join(Join { protocols: vec![("a", b""), ("b", b""), ("c", b"")], ..join("g", "") });
        assert_eq!(room.not_joined(client).0, ErrorCode::InconsistentGroupProtocol);
        let client = room.join(Join { protocols: vec![("a", &[7; 2_000])], ..join("g", "") });
        assert_eq!(room.not_joined(client).0, ErrorCode::PolicyViolation);
        assert_eq!(room.groups.totals(), Default::default());
    }

    #[test]
    fn at_the_limit_of_bytes_members_stay_and_newcomers_are_refused() {
        let limits = Limits { bytes: 5_000, initial_rebalance_delay_ms: 0, ..Limits::default() };
        let mut room = Room::with(limits);
        let ids = room.stable(2);
        let large = || vec![("range", &[7; 3_000][..])];
        let client = room.join(Join { protocols: large(), ..join("g", "") });
        assert_eq!(room.not_joined(client).0, ErrorCode::PolicyViolation);
        let client = room.join(Join { protocols: large(), ..join("another", "") });
        assert_eq!(room.not_joined(client).0, ErrorCode::PolicyViolation);
        // A member that says more is judged by how much more.
        let client = room.join(Join { protocols: vec![("range", &[7; 1_000])], ..join("g", &ids[1]) });
        assert!(room.waits(client));
        assert!(room.groups.totals().bytes < 5_000);
    }

    #[test]
    fn a_follower_of_a_stable_group_that_says_the_same_gets_the_same_generation() {
        let mut room = Room::new();
        let ids = room.stable(2);
        let client = room.join(join("g", &ids[1]));
        let joined = room.joined(client);
        assert_eq!((joined.generation, &*joined.leader), (1, &*ids[0]));
        assert!(joined.members.is_empty() && room.state() == State::Stable);
    }

    #[test]
    fn a_leader_of_a_stable_group_that_joins_again_begins_a_rebalance() {
        let mut room = Room::new();
        let ids = room.stable(2);
        let leader = room.join(join("g", &ids[0]));
        assert!(room.waits(leader) && room.state() == State::Preparing);
        let follower = room.join(join("g", &ids[1]));
        assert_eq!((room.joined(leader).generation, room.joined(follower).generation), (2, 2));
    }

    #[test]
    fn a_member_that_says_something_else_begins_a_rebalance() {
        let mut room = Room::new();
        let ids = room.stable(2);
        let client = room.join(Join { protocols: vec![("range", b"new topics")], ..join("g", &ids[1]) });
        assert!(room.waits(client) && room.state() == State::Preparing);
    }

    #[test]
    fn while_the_leader_shares_out_a_member_that_says_the_same_gets_the_same_answer_again() {
        let mut room = Room::new();
        let ids = room.completing(2);
        let leader = room.join(join("g", &ids[0]));
        let joined = room.joined(leader);
        let told: Vec<&str> = joined.members.iter().map(|member| &*member.id).collect();
        assert_eq!((joined.generation, told), (1, vec![&*ids[0], &*ids[1]]));
        let follower = room.join(join("g", &ids[1]));
        assert!(room.joined(follower).members.is_empty());
        assert_eq!(room.state(), State::Completing);
    }

    #[test]
    fn while_the_leader_shares_out_a_member_that_says_something_else_sends_all_back() {
        let mut room = Room::new();
        let ids = room.completing(3);
        let syncs = room.sync(who(&ids[1], 1), &[]);
        let client = room.join(Join { protocols: vec![("range", b"new")], ..join("g", &ids[2]) });
        assert_eq!(room.not_synced(syncs), ErrorCode::RebalanceInProgress);
        assert!(room.waits(client) && room.state() == State::Preparing);
    }

    #[test]
    fn of_two_clients_that_wait_as_one_member_the_first_is_sent_back() {
        let mut room = Room::new();
        let ids = room.stable(2);
        let first = room.join(join("g", &ids[0]));
        let second = room.join(join("g", &ids[0]));
        assert_eq!(room.not_joined(first), (ErrorCode::RebalanceInProgress, ids[0].clone()));
        assert!(room.waits(second));
        // The same when a sync is overtaken by a join.
        let mut room = Room::new();
        let ids = room.completing(2);
        let syncs = room.sync(who(&ids[1], 1), &[]);
        room.join(Join { protocols: vec![("range", b"new")], ..join("g", &ids[1]) });
        assert_eq!(room.not_synced(syncs), ErrorCode::RebalanceInProgress);
    }

    #[test]
    fn an_empty_group_may_do_something_else_next_time() {
        let mut room = Room::new();
        let ids = room.stable(1);
        room.groups.known("g", "");
        room.leave(&ids[0]).unwrap();
        assert_eq!(room.groups.describe("g").protocol_type, "consumer");
        let ask = Join { protocol_type: "connect", takes_id_first: false, ..join("g", "") };
        let client = room.join(ask);
        room.pass(0);
        assert_eq!(&*room.joined(client).protocol_type, "connect");
    }

    #[test]
    fn without_a_rebalance_timeout_it_is_the_session_timeout() {
        let mut room = Room::new();
        let ask = |member| Join { rebalance_timeout_ms: -1, session_timeout_ms: 20_000, ..join("g", member) };
        let (a, b) = (room.id(), room.id());
        let clients = [room.join(ask(&a)), room.join(ask(&b))];
        room.pass(0);
        clients.iter().for_each(|client| drop(room.joined(*client)));
        let client = room.join(ask(&a));
        assert!(!room.waits(client), "it gets the same answer again");
        room.pass(0);
        let who = Who { member: &a, instance: None, generation: 1, knows_epochs: true };
        room.sync_as(Sync { group: "g", who, protocol_type: None, protocol: None, assignments: vec![] });
        // It joins again, and the other one does not until its time is up.
        let client = room.join(ask(&a));
        room.pass(15_000);
        room.groups
            .heartbeat("g", Who { member: &b, instance: None, generation: 1, knows_epochs: true }, room.now)
            .unwrap_err();
        room.pass(4_999);
        assert!(room.waits(client));
        room.pass(1);
        assert_eq!(room.joined(client).members.len(), 1);
    }
}
