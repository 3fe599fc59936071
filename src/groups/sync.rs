//! SyncGroup: the leader shares out, everybody else waits for that, and whoever never asks for its share is removed.

use std::collections::BTreeMap;
use std::fmt::Debug;

use krappy_wire::error::ErrorCode;

use super::Turn;
use super::group::{ClassicGroup, Due, State};
use super::member::Waits;
use super::messages::{Answer, Sync, Synced};
use super::roster::Number;
use crate::ordered;

impl<W: Copy + Ord + Debug> ClassicGroup<W> {
    /// Answers at once, or lets the client wait for the leader.
    pub fn sync(&mut self, to: W, ask: &Sync<'_>, turn: &mut Turn<'_, W>) {
        if let Err(code) = self.try_sync(to, ask, turn) {
            turn.answer(to, Answer::NotSynced(code));
        }
    }

    fn try_sync(&mut self, to: W, ask: &Sync<'_>, turn: &mut Turn<'_, W>) -> Result<(), ErrorCode> {
        let number = self.identify_now(ask.who)?;
        let differs = |said: Option<&str>, is: &str| said.is_some_and(|said| said != is);
        if differs(ask.protocol_type, &self.protocol_type) || differs(ask.protocol, &self.protocol) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        match self.state {
            State::Preparing => Err(ErrorCode::RebalanceInProgress),
            State::Stable => {
                self.has_synced(number);
                self.restart_session(number, turn.now);
                turn.answer(to, Answer::Synced(self.share(number)));
                Ok(())
            }
            State::Completing => {
                let leads = self.leader == Some(number);
                if leads && ask.assignments.iter().map(|(_, share)| share.len()).sum::<usize>() > turn.room {
                    return Err(ErrorCode::PolicyViolation);
                }
                self.has_synced(number);
                self.wait_for_share(number, to, turn);
                if leads {
                    self.share_out(ask, turn);
                }
                Ok(())
            }
            State::Empty | State::Dead => Err(ErrorCode::UnknownMemberId),
        }
    }

    fn has_synced(&mut self, number: Number) {
        self.roster.get_mut(number).expect("it was identified").synced = true;
        if self.roster.members().all(|(_, member)| member.synced) {
            self.syncing.clear(Due::Syncing, &mut self.timers);
        }
    }

    /// Gives every member its share, as the leader wrote it; shares for strangers go nowhere.
    fn share_out(&mut self, ask: &Sync<'_>, turn: &mut Turn<'_, W>) {
        let shares: BTreeMap<&str, &[u8]> = ordered::map(ask.assignments.iter().copied());
        self.state = State::Stable;
        for number in self.numbers() {
            let share = shares.get(&*self.roster.member(number).id).copied().unwrap_or_default();
            self.roster.assign(number, share.into());
            if let Waits::Sync(to) = self.roster.member(number).waits {
                self.stop_waiting(number, turn);
                turn.answer(to, Answer::Synced(self.share(number)));
            }
        }
        log::debug!("group {:?}: generation {} is shared out", self.name, self.generation);
    }

    fn share(&self, number: Number) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.roster.member(number).assignment.clone(),
        }
    }

    /// The wait for members to ask for their share is over.
    pub fn syncing_is_due(&mut self, turn: &mut Turn<'_, W>) {
        let late = |number: &Number| !self.roster.member(*number).synced;
        for number in self.numbers().into_iter().filter(late).collect::<Vec<_>>() {
            self.remove(number, "it has not asked for its share in time", turn);
        }
        self.rebalance("members have not asked for their share", turn);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Room, join, who};
    use super::super::{Join, Limits, Who};
    use super::*;

    #[test]
    fn shares_go_out_as_the_leader_wrote_them_and_nobody_else_writes_any() {
        let mut room = Room::new();
        let ids = room.completing(3);
        let meddler = room.sync(who(&ids[1], 1), &[(&ids[1], b"all of it")]);
        assert!(room.waits(meddler));
        let shares: [(&str, &[u8]); 3] = [(&ids[1], b"one"), ("stranger", b"two"), (&ids[0], b"zero")];
        let leader = room.sync(who(&ids[0], 1), &shares);
        assert_eq!((room.share(leader), room.share(meddler)), (b"zero".to_vec(), b"one".to_vec()));
        // Whoever asks later is told at once; whom the leader has left out has nothing.
        let last = room.sync(who(&ids[2], 1), &[]);
        assert_eq!(room.share(last), b"");
        assert_eq!(room.state(), State::Stable);
    }

    #[test]
    fn whoever_asks_twice_gets_the_same_share_twice() {
        let mut room = Room::new();
        let ids = room.stable(2);
        for _ in 0..2 {
            let client = room.sync(who(&ids[1], 1), &[]);
            assert_eq!(room.share(client), b"share of 1");
        }
        // The leader, too: its shares of the second time come too late.
        let client = room.sync(who(&ids[0], 1), &[(&ids[0], b"another")]);
        assert_eq!(room.share(client), b"share of 0");
    }

    #[test]
    fn of_two_clients_that_wait_for_one_share_the_first_is_sent_back() {
        let mut room = Room::new();
        let ids = room.completing(2);
        let (first, second) = (room.sync(who(&ids[1], 1), &[]), room.sync(who(&ids[1], 1), &[]));
        assert_eq!(room.not_synced(first), ErrorCode::RebalanceInProgress);
        assert!(room.waits(second));
    }

    #[test]
    fn a_sync_of_another_generation_or_member_or_group_is_refused() {
        let mut room = Room::new();
        let ids = room.completing(1);
        for (member, generation, code) in [
            (ids[0].as_str(), 0, ErrorCode::IllegalGeneration),
            (ids[0].as_str(), 2, ErrorCode::IllegalGeneration),
            ("", 1, ErrorCode::UnknownMemberId),
            ("stranger", 1, ErrorCode::UnknownMemberId),
        ] {
            let client = room.sync(who(member, generation), &[]);
            assert_eq!(room.not_synced(client), code);
        }
        let pending = room.id();
        let client = room.sync(who(&pending, 1), &[]);
        assert_eq!(room.not_synced(client), ErrorCode::UnknownMemberId);
        for (group, code) in [("", ErrorCode::InvalidGroupId), ("other", ErrorCode::UnknownMemberId)] {
            let who = who(&ids[0], 1);
            let ask = Sync { group, who, protocol_type: None, protocol: None, assignments: Vec::new() };
            let client = room.sync_as(ask);
            assert_eq!(room.not_synced(client), code);
        }
    }

    #[test]
    fn a_sync_that_names_another_protocol_is_refused() {
        let mut room = Room::new();
        let ids = room.completing(1);
        let who = Who { member: &ids[0], instance: None, generation: 1, knows_epochs: true };
        for (protocol_type, protocol) in [(Some("connect"), None), (None, Some("sticky"))] {
            let ask = Sync { group: "g", who, protocol_type, protocol, assignments: Vec::new() };
            let client = room.sync_as(ask);
            assert_eq!(room.not_synced(client), ErrorCode::InconsistentGroupProtocol);
        }
        let (protocol_type, protocol) = (Some("consumer"), Some("range"));
        let ask = Sync { group: "g", who, protocol_type, protocol, assignments: Vec::new() };
        let client = room.sync_as(ask);
        assert_eq!(room.share(client), b"");
    }

    #[test]
    fn while_the_next_generation_is_beginning_a_sync_is_sent_back() {
        let mut room = Room::new();
        let ids = room.stable(2);
        room.join(join("g", &ids[0]));
        let client = room.sync(who(&ids[1], 1), &[]);
        assert_eq!(room.not_synced(client), ErrorCode::RebalanceInProgress);
    }

    #[test]
    fn a_leader_that_never_shares_out_is_removed_and_those_that_waited_join_again() {
        let mut room = Room::new();
        let ids = room.completing(2);
        let client = room.sync(who(&ids[1], 1), &[]);
        // It lives, but does not do its work.
        for _ in 0..59 {
            room.pass(1_000);
            room.heartbeat(&ids[0], 1).unwrap();
        }
        assert!(room.waits(client));
        room.pass(1_000);
        assert_eq!(room.not_synced(client), ErrorCode::RebalanceInProgress);
        assert_eq!(room.heartbeat(&ids[0], 1), Err(ErrorCode::UnknownMemberId));
        let client = room.join(join("g", &ids[1]));
        assert_eq!(&*room.joined(client).leader, ids[1]);
    }

    #[test]
    fn a_follower_that_never_asks_for_its_share_is_removed_from_a_stable_group() {
        let mut room = Room::new();
        let ids = room.completing(2);
        let client = room.sync(who(&ids[0], 1), &[]);
        room.share(client);
        for _ in 0..60 {
            assert_eq!(room.state(), State::Stable);
            assert_eq!((room.heartbeat(&ids[0], 1), room.heartbeat(&ids[1], 1)), (Ok(()), Ok(())));
            room.pass(1_000);
        }
        assert_eq!(room.heartbeat(&ids[1], 1), Err(ErrorCode::UnknownMemberId));
        assert_eq!(room.heartbeat(&ids[0], 1), Err(ErrorCode::RebalanceInProgress));
    }

    #[test]
    fn shares_beyond_the_limit_of_bytes_are_refused_and_the_others_go_on_waiting() {
        let limits = Limits { bytes: 10_000, initial_rebalance_delay_ms: 0, ..Limits::default() };
        let mut room = Room::with(limits);
        let ids = room.completing(2);
        let follower = room.sync(who(&ids[1], 1), &[]);
        let leader = room.sync(who(&ids[0], 1), &[(&ids[0], &[7; 5_000]), (&ids[1], &[7; 5_000])]);
        assert_eq!(room.not_synced(leader), ErrorCode::PolicyViolation);
        assert!(room.waits(follower));
        let leader = room.sync(who(&ids[0], 1), &[(&ids[1], &[7; 5_000])]);
        assert_eq!((room.share(leader).len(), room.share(follower).len()), (0, 5_000));
    }

    #[test]
    fn shares_of_a_generation_that_is_over_are_not_kept() {
        let mut room = Room::new();
        let ids = room.stable(2);
        let before = room.groups.totals().bytes;
        let clients =
            [0, 1].map(|n: usize| room.join(Join { reason: Some("new topics"), ..join("g", &ids[n]) }));
        assert!(clients.iter().all(|client| !room.waits(*client)));
        assert_eq!(room.groups.totals().bytes, before - 2 * "share of 0".len());
    }
}
