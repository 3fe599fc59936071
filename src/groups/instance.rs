//! Static members (KIP-345): whoever names an instance id is that instance, and may restart without a rebalance.
//!
//! Invariant: an instance is one member. When it comes back without its member id it gets a new one, and whoever still
//! uses the old one is fenced.

use std::fmt::Debug;

use krappy_wire::error::ErrorCode;

use super::Turn;
use super::group::{ClassicGroup, State};
use super::member::Waits;
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
    fn welcome_back(&self, number: Number, leader_before: std::sync::Arc<str>, ask: &Join<'_>) -> Joined {
        let told = self.told(number);
        if !ask.skips_assignment {
            return Joined { leader: leader_before, ..told };
        }
        let leads = self.leader == Some(number);
        let introduce = |(_, member): (_, &super::member::Member<W>)| member.introduce(&self.protocol);
        let members = if leads { self.roster.members().map(introduce).collect() } else { Vec::new() };
        Joined { members, skip_assignment: leads, ..told }
    }
}
