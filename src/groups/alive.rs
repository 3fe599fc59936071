//! Signs of life and the end of it: heartbeats, commits, members that leave, sessions that end, clients that hang up.

use std::fmt::Debug;

use krappy_wire::error::ErrorCode;

use super::Turn;
use super::group::{ClassicGroup, Due, State};
use super::member::Waits;
use super::messages::{Answer, Leaver, Who};
use super::roster::Number;
use crate::time::Time;

impl<W: Copy + Ord + Debug> ClassicGroup<W> {
    /// A member says that it lives, and is told if it has to join again.
    pub fn heartbeat(&mut self, who: Who<'_>, now: Time) -> Result<(), ErrorCode> {
        let number = self.identify_now(who)?;
        self.restart_session(number, now);
        if self.state == State::Preparing { Err(ErrorCode::RebalanceInProgress) } else { Ok(()) }
    }

    /// Whether somebody may commit offsets. Members may while the generation that they are in is the newest one and
    /// has been shared out; clients that are no members, and administrators, while the group is empty.
    pub fn may_commit(&mut self, who: Who<'_>, now: Time) -> Result<(), ErrorCode> {
        if who.generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if who.generation < 0 && who.member.is_empty() && who.instance.is_none() {
            return Err(ErrorCode::UnknownMemberId);
        }
        let number = self.identify_now(who)?;
        if self.state == State::Completing {
            return Err(ErrorCode::RebalanceInProgress);
        }
        self.restart_session(number, now);
        Ok(())
    }

    /// Members leave, each with its own result; then the others may have to share out anew.
    pub fn leave(&mut self, leavers: &[Leaver<'_>], turn: &mut Turn<'_, W>) -> Vec<Result<(), ErrorCode>> {
        let before = self.roster.len();
        let results: Vec<_> = leavers.iter().map(|leaver| self.leave_one(leaver, turn)).collect();
        // One that was only pending has no share: only a generation that waits for it takes notice.
        let awaited = self.state == State::Preparing && results.iter().any(Result::is_ok);
        if awaited || self.roster.len() < before {
            self.rebalance("members have left", turn);
        }
        results
    }

    fn leave_one(&mut self, leaver: &Leaver<'_>, turn: &mut Turn<'_, W>) -> Result<(), ErrorCode> {
        let why = format!("it leaves: {:?}", leaver.reason.unwrap_or("no reason given"));
        if leaver.member.is_empty() {
            let instance = leaver.instance.and_then(|id| self.roster.instance(id));
            self.remove(instance.ok_or(ErrorCode::UnknownMemberId)?, &why, turn);
            return Ok(());
        }
        if let Some(number) = self.roster.find(leaver.member)
            && self.roster.get_pending_mut(number).is_some()
        {
            self.remove_pending(number);
            return Ok(());
        }
        let number = self.identify(leaver.member, leaver.instance)?;
        self.remove(number, &why, turn);
        Ok(())
    }

    /// The client of a waiting member has hung up. The member has joined, and stays until its session ends.
    pub fn gone(&mut self, number: Number, turn: &Turn<'_, W>) {
        let member = self.roster.get(number).expect("whoever waits is a member");
        let left = if member.waits.has_joined() { Waits::Join(None) } else { Waits::Nothing };
        self.roster.set_waits(number, left);
        self.restart_session(number, turn.now);
    }

    /// What a member that waits is told when the broker stops.
    pub fn told_away(&self, number: Number, code: ErrorCode) -> Answer {
        let member = self.roster.get(number).expect("whoever waits is a member");
        match member.waits.has_joined() {
            true => Answer::NotJoined { code, member: member.id.clone() },
            false => Answer::NotSynced(code),
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, turn: &mut Turn<'_, W>) {
        while let Some(due) = self.timers.take_due(turn.now) {
            match due {
                Due::Joining if self.joining.rings(turn.now, due, &mut self.timers) => {
                    self.joining_is_due(turn)
                }
                Due::Syncing if self.syncing.rings(turn.now, due, &mut self.timers) => {
                    self.syncing_is_due(turn)
                }
                Due::Session(number) => self.session_may_end(number, turn),
                Due::Joining | Due::Syncing => {}
            }
        }
    }

    fn session_may_end(&mut self, number: Number, turn: &mut Turn<'_, W>) {
        let due = Due::Session(number);
        if let Some(pending) = self.roster.get_pending_mut(number) {
            if pending.session.rings(turn.now, due, &mut self.timers) {
                self.remove_pending(number);
                if self.state == State::Preparing {
                    self.rebalance("a pending id was forgotten", turn);
                }
            }
        } else if let Some(member) = self.roster.get_mut(number)
            && member.session.rings(turn.now, due, &mut self.timers)
        {
            self.remove(number, "its session has ended", turn);
            self.rebalance("a session has ended", turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Room, join, who};
    use super::super::{Join, Limits};
    use super::*;

    #[test]
    fn a_heartbeat_keeps_a_member_alive_and_silence_removes_it() {
        let mut room = Room::new();
        let ids = room.stable(2);
        for _ in 0..5 {
            room.pass(9_999);
            assert_eq!(room.heartbeat(&ids[0], 1).is_ok(), room.heartbeat(&ids[1], 1).is_ok());
        }
        room.pass(5_000);
        room.heartbeat(&ids[0], 1).unwrap();
        room.pass(4_999);
        assert_eq!(room.state(), State::Stable);
        room.pass(1);
        assert_eq!(room.heartbeat(&ids[0], 1), Err(ErrorCode::RebalanceInProgress));
        assert_eq!(room.heartbeat(&ids[1], 1), Err(ErrorCode::UnknownMemberId));
    }

    #[test]
    fn a_heartbeat_is_judged_by_member_and_generation_and_state() {
        let mut room = Room::new();
        let ids = room.completing(1);
        assert_eq!(room.heartbeat(&ids[0], 1), Ok(()));
        assert_eq!(room.heartbeat(&ids[0], 0), Err(ErrorCode::IllegalGeneration));
        assert_eq!(room.heartbeat("", 1), Err(ErrorCode::UnknownMemberId));
        let pending = room.id();
        assert_eq!(room.heartbeat(&pending, 1), Err(ErrorCode::UnknownMemberId));
        let at = room.now;
        assert_eq!(room.groups.heartbeat("other", who(&ids[0], 1), at), Err(ErrorCode::UnknownMemberId));
        assert_eq!(room.groups.heartbeat("", who(&ids[0], 1), at), Err(ErrorCode::InvalidGroupId));
    }

    #[test]
    fn members_of_the_newest_generation_may_commit_once_it_is_shared_out_and_until_the_next_begins() {
        let mut room = Room::new();
        let ids = room.completing(2);
        let commit = |room: &mut Room, n: usize, generation| {
            room.groups.may_commit("g", who(&ids[n], generation), room.now)
        };
        assert_eq!(commit(&mut room, 0, 1), Err(ErrorCode::RebalanceInProgress));
        room.sync(who(&ids[0], 1), &[]);
        assert_eq!(commit(&mut room, 0, 1), Ok(()));
        assert_eq!(commit(&mut room, 0, 0), Err(ErrorCode::IllegalGeneration));
        assert_eq!(commit(&mut room, 0, -1), Err(ErrorCode::IllegalGeneration));
        assert_eq!(
            room.groups.may_commit("g", who("stranger", 1), room.now),
            Err(ErrorCode::UnknownMemberId)
        );
        // While members are meeting, they may still commit what they have done.
        room.join(join("g", &ids[0]));
        assert_eq!(commit(&mut room, 1, 1), Ok(()));
        room.join(join("g", &ids[1]));
        assert_eq!(commit(&mut room, 1, 1), Err(ErrorCode::IllegalGeneration));
    }

    #[test]
    fn a_new_member_that_guesses_the_generation_is_not_of_it() {
        let mut room = Room::new();
        room.stable(1);
        let id = room.id();
        let client = room.join(join("g", &id));
        assert!(room.waits(client) && room.state() == State::Preparing);
        assert_eq!(room.heartbeat(&id, 1), Err(ErrorCode::IllegalGeneration));
        assert_eq!(room.groups.may_commit("g", who(&id, 1), room.now), Err(ErrorCode::IllegalGeneration));
    }

    #[test]
    fn whoever_is_no_member_may_commit_to_an_empty_group_only() {
        let mut room = Room::new();
        let simple = who("", -1);
        assert_eq!(room.groups.may_commit("g", simple, room.now), Ok(()));
        assert_eq!(room.groups.may_commit("", simple, room.now), Ok(()));
        assert_eq!(room.groups.may_commit("g", who("m", 3), room.now), Err(ErrorCode::GroupIdNotFound));
        room.groups.known("g", "");
        assert_eq!(room.groups.may_commit("g", simple, room.now), Ok(()));
        assert_eq!(room.groups.may_commit("g", who("m", -1), room.now), Ok(()));
        assert_eq!(room.groups.may_commit("g", who("m", 0), room.now), Err(ErrorCode::UnknownMemberId));
        room.stable(1);
        assert_eq!(room.groups.may_commit("g", simple, room.now), Err(ErrorCode::UnknownMemberId));
    }

    #[test]
    fn a_commit_and_a_sync_and_a_join_are_signs_of_life() {
        let mut room = Room::new();
        let ids = room.stable(2);
        for n in 0..6 {
            room.pass(6_000);
            room.heartbeat(&ids[0], 1).unwrap();
            match n % 3 {
                0 => room.groups.may_commit("g", who(&ids[1], 1), room.now).unwrap(),
                1 => drop(room.sync(who(&ids[1], 1), &[])),
                _ => drop(room.join(join("g", &ids[1]))),
            }
            assert_eq!(room.groups.totals().members, 2, "{n}");
        }
    }

    #[test]
    fn a_member_that_waits_does_not_die_of_it() {
        let mut room = Room::new();
        let ids = room.stable(2);
        let client = room.join(Join { session_timeout_ms: 6_000, ..join("g", &ids[0]) });
        for _ in 0..6 {
            room.pass(9_000);
            assert_eq!(room.heartbeat(&ids[1], 1), Err(ErrorCode::RebalanceInProgress));
        }
        assert!(room.waits(client));
        // When it waits no more, its session begins anew.
        room.join(join("g", &ids[1]));
        assert_eq!(room.joined(client).generation, 2);
        room.pass(5_999);
        assert_eq!(room.heartbeat(&ids[0], 2), Ok(()));
        let syncs = room.sync(who(&ids[1], 2), &[]);
        for _ in 0..5 {
            room.pass(5_000);
            room.heartbeat(&ids[0], 2).unwrap();
        }
        assert!(room.waits(syncs), "neither of waiting for a share");
    }

    #[test]
    fn a_new_member_that_waits_for_minutes_is_told_to_come_again() {
        let mut room = Room::new();
        let ids = room.id();
        let long = |member| Join {
            session_timeout_ms: 1_800_000,
            rebalance_timeout_ms: 3_600_000,
            ..join("g", member)
        };
        let first = room.join(long(&ids));
        room.pass(0);
        room.joined(first);
        let id = room.id();
        let client = room.join(join("g", &id));
        room.pass(299_999);
        assert!(room.waits(client));
        room.pass(1);
        assert_eq!(room.not_joined(client), (ErrorCode::UnknownMemberId, String::new()));
    }

    #[test]
    fn members_that_leave_are_gone_at_once_and_the_others_meet_again() {
        let mut room = Room::new();
        let ids = room.stable(3);
        let leaver = |member| Leaver { member, instance: None, reason: Some("shutting down") };
        let leavers = [leaver(ids[2].as_str()), leaver("stranger"), leaver(&ids[1]), leaver(&ids[1])];
        let left = room.groups.leave("g", &leavers, room.now).unwrap();
        assert_eq!(left, [Ok(()), Err(ErrorCode::UnknownMemberId), Ok(()), Err(ErrorCode::UnknownMemberId)]);
        assert_eq!(room.heartbeat(&ids[0], 1), Err(ErrorCode::RebalanceInProgress));
        let client = room.join(join("g", &ids[0]));
        assert_eq!(room.joined(client).members.len(), 1);
    }

    #[test]
    fn leaving_a_group_that_is_not_there_is_told_for_each_member() {
        let mut room = Room::new();
        let leaver = Leaver { member: "m", instance: None, reason: None };
        let unknown = Err(ErrorCode::UnknownMemberId);
        assert_eq!(room.groups.leave("g", &[leaver, leaver], room.now), Ok(vec![unknown, unknown]));
        assert_eq!(room.groups.leave("", &[leaver], room.now), Err(ErrorCode::InvalidGroupId));
    }

    #[test]
    fn an_id_that_leaves_unused_disturbs_nobody_but_those_that_wait_for_it() {
        let mut room = Room::new();
        let ids = room.stable(1);
        let id = room.id();
        assert_eq!((room.leave(&id), room.state()), (Ok(()), State::Stable));
        let id = room.id();
        let client = room.join(join("g", &ids[0]));
        assert!(room.waits(client));
        room.leave(&id).unwrap();
        assert_eq!(room.joined(client).generation, 2);
    }

    #[test]
    fn the_last_to_leave_turns_off_the_light() {
        let mut room = Room::new();
        let ids = room.stable(2);
        room.leave(&ids[0]).unwrap();
        room.leave(&ids[1]).unwrap();
        assert_eq!((room.state(), room.groups.totals()), (State::Dead, Default::default()));
        assert_eq!(room.groups.next_deadline(), None);
    }

    #[test]
    fn a_client_that_hangs_up_is_not_answered_and_its_member_counts_until_its_session_ends() {
        let mut room = Room::new();
        let ids = room.stable(3);
        let clients = [0, 1].map(|n: usize| room.join(join("g", &ids[n])));
        let gone = clients[1];
        room.groups.gone(gone..=gone, room.now);
        assert_eq!(room.groups.totals().waiting, 1);
        room.pass(6_000);
        let last = room.join(join("g", &ids[2]));
        assert_eq!((room.joined(clients[0]).members.len(), room.joined(last).generation), (3, 2));
        assert!(room.waits(gone), "nobody is there to be told");
        room.pass(9_000);
        assert_eq!((room.heartbeat(&ids[0], 2), room.heartbeat(&ids[2], 2)), (Ok(()), Ok(())));
        room.pass(1_000);
        assert_eq!(room.heartbeat(&ids[0], 2), Err(ErrorCode::RebalanceInProgress));
        assert_eq!(room.groups.totals().members, 2);
    }

    #[test]
    fn a_member_whose_client_has_hung_up_dies_while_the_others_meet() {
        let mut room = Room::new();
        let ids = room.stable(3);
        let clients = [0, 1].map(|n: usize| room.join(join("g", &ids[n])));
        room.groups.gone(clients[1]..=clients[1], room.now);
        room.pass(9_000);
        assert_eq!(room.heartbeat(&ids[2], 1), Err(ErrorCode::RebalanceInProgress));
        room.pass(1_000);
        assert_eq!(room.groups.totals().members, 2);
        room.join(join("g", &ids[2]));
        assert_eq!(room.joined(clients[0]).members.len(), 2);
    }

    #[test]
    fn a_client_that_hangs_up_while_it_waits_for_its_share_may_ask_again() {
        let mut room = Room::new();
        let ids = room.completing(2);
        let gone = room.sync(who(&ids[1], 1), &[]);
        room.groups.gone(gone..=gone, room.now);
        room.sync(who(&ids[0], 1), &[(&ids[1], b"kept")]);
        let client = room.sync(who(&ids[1], 1), &[]);
        assert_eq!(room.share(client), b"kept");
        assert!(room.waits(gone));
    }

    #[test]
    fn all_clients_in_a_range_hang_up_at_once() {
        let mut room = Room::with(Limits::default());
        let ids: Vec<String> = (0..4).map(|_| room.id()).collect();
        let clients: Vec<u32> = ids.iter().map(|id| room.join(join("g", id))).collect();
        room.groups.gone(clients[1]..=clients[2], room.now);
        room.collect();
        assert_eq!(room.groups.totals().waiting, 2);
        room.pass(6_000);
        assert_eq!((room.waits(clients[0]), room.waits(clients[1])), (false, true));
    }
}
