//! SyncGroup: the leader shares out, everybody else waits for that, and whoever never asks for its share is removed.

use std::collections::BTreeMap;
use std::fmt::Debug;

use krappy_wire::error::ErrorCode;

use super::Turn;
use super::group::{ClassicGroup, Due, State};
use super::member::Waits;
use super::messages::{Answer, Sync, Synced};
use super::roster::Number;

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
        let shares: BTreeMap<&str, &[u8]> = ask.assignments.iter().copied().collect();
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
