//! Signs of life and the end of it: heartbeats, commits, members that leave, sessions that end, clients that hang up.

use std::fmt::Debug;

use krappy_wire::error::ErrorCode;

use super::Turn;
use super::group::{ClassicGroup, Due, State};
use super::member::Waits;
use super::messages::{Leaver, Who};
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
