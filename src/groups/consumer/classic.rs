//! Members of the classic protocol in a group of this kind, while a group changes over from one protocol to the other.
//!
//! Such a member joins, asks for its share and sends heartbeats as ever, and is answered at once: it follows the
//! broker's plan, and no leader's. What it says that it reads when it joins is what it owns; a member that gives back
//! everything before it joins says nothing. Its generation is its epoch. When there is something new for it, it hears
//! that a rebalance has begun, joins again and asks for its share:
//!
//! ```text
//!   JoinGroup --> generation 7 --> SyncGroup --> its share --> Heartbeat ... REBALANCE_IN_PROGRESS --> JoinGroup
//!                 as a follower                                              the plan has changed, it is to give
//!                                                                            back, or what it waits for is free
//! ```
//!
//! Invariant: whatever it is told to do next has an alarm that ends the wait for it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use krappy_wire::error::ErrorCode;

use super::group::{ConsumerGroup, Due};
use super::member::{Classic, Liveness, Member, Progress};
use super::roster::Number;
use super::subscription::Subscription;
use super::topics::Topics;
use crate::groups::Turn;
use crate::groups::assign::{Partitions, TopicPartition};
use crate::groups::member::weight_of;
use crate::groups::messages::{Answer, Join, Joined, Sync, Synced, Who};
use crate::groups::protocols::announced;
use crate::groups::subscription::{Metadata, PROTOCOL_TYPE, metadata, write_share};
use crate::ordered;
use crate::time::Time;

impl<W: Copy + Ord + Debug> ConsumerGroup<W> {
    /// JoinGroup.
    pub fn join_classic(&mut self, to: W, ask: &Join<'_>, topics: &dyn Topics, turn: &mut Turn<'_, W>) {
        let wants_id = ask.member.is_empty() && ask.instance.is_none() && ask.takes_id_first;
        let answer = match self.check_join(ask, turn) {
            Err(code) => Answer::NotJoined { code, member: ask.member.into() },
            Ok(_) if wants_id => {
                // Whatever id it comes back with is let in, so nobody has to remember this one.
                let member = turn.ids.make(ask.client_id);
                Answer::NotJoined { code: ErrorCode::MemberIdRequired, member }
            }
            Ok((found, said)) => {
                let number = self.name(found, ask, turn);
                self.take_in(number, ask, &said, topics, turn);
                Answer::Joined(self.told(number))
            }
        };
        turn.answer(to, answer);
    }

    /// Who it is that joins, if it is there already, and what it says. Changes nothing.
    fn check_join<'a>(
        &self,
        ask: &Join<'a>,
        turn: &Turn<'_, W>,
    ) -> Result<(Option<Number>, Metadata<'a>), ErrorCode> {
        let found = self.find_joining(ask)?;
        if found.is_none() && self.len() >= turn.limits.consumer_group_max_size {
            return Err(ErrorCode::GroupMaxSizeReached);
        }
        let too_many = ask.protocols.len() > turn.limits.protocols;
        let (Some((_, said)), false) = (ask.protocols.first(), too_many || !self.fits(ask, found)) else {
            return Err(ErrorCode::InconsistentGroupProtocol);
        };
        let before = found.map_or(0, |number| self.roster.member(number).weight());
        if weight_of(ask) > turn.limits.member_bytes || weight_of(ask) > turn.room + before {
            return Err(ErrorCode::PolicyViolation);
        }
        Ok((found, metadata(said).map_err(|_| ErrorCode::InconsistentGroupProtocol)?))
    }

    fn find_joining(&self, ask: &Join<'_>) -> Result<Option<Number>, ErrorCode> {
        let found = match ask.instance {
            None => self.roster.find(ask.member),
            Some(instance) => match self.roster.instance(instance) {
                Some(owner) if !ask.member.is_empty() && *self.roster.member(owner).id != *ask.member => {
                    return Err(ErrorCode::FencedInstanceId);
                }
                None if !ask.member.is_empty() => return Err(ErrorCode::UnknownMemberId),
                owner => owner,
            },
        };
        let is_stream = |number| matches!(self.roster.member(number).liveness, Liveness::Stream(_));
        if found.is_some_and(is_stream) { Err(ErrorCode::UnknownMemberId) } else { Ok(found) }
    }

    /// Whether it does what consumers do, and shares a protocol with all others that have any.
    fn fits(&self, ask: &Join<'_>, own: Option<Number>) -> bool {
        let knows = |classic: &Classic, name: &str| classic.protocols.iter().any(|p| &*p.name == name);
        let known_to_others = |name: &str| {
            let others = self.roster.members().filter(|(number, _)| Some(*number) != own);
            others.filter_map(|(_, member)| member.classic.as_ref()).all(|other| knows(other, name))
        };
        ask.protocol_type == PROTOCOL_TYPE && ask.protocols.iter().any(|(name, _)| known_to_others(name))
    }

    /// The member that joins, under the id that it has from now on.
    fn name(&mut self, found: Option<Number>, ask: &Join<'_>, turn: &mut Turn<'_, W>) -> Number {
        let id = match ask.member {
            "" => turn.ids.make(ask.instance.unwrap_or(ask.client_id)),
            member => member.into(),
        };
        let Some(number) = found else {
            log::info!("group {:?}: member {id:?} joins by the classic protocol", self.name);
            return self.roster.add(Member::new(id, ask.client_id, ask.client_host, Liveness::Heartbeats));
        };
        if self.roster.member(number).id != id {
            self.replace(number, id);
        }
        number
    }

    /// Notes what a member says that joins, and brings it one step nearer to its target.
    fn take_in(
        &mut self,
        number: Number,
        ask: &Join<'_>,
        said: &Metadata<'_>,
        topics: &dyn Topics,
        turn: &mut Turn<'_, W>,
    ) {
        let before = self.roster.member(number);
        let names = ordered::set(said.topics.iter().map(|name| Arc::from(*name)));
        let subscription = Subscription { names, pattern: None };
        let changed = before.subscription != subscription;
        let found = if changed { subscription.find(topics) } else { before.topics.clone() };
        let session_timeout_ms = ask.session_timeout_ms.max(0) as u64;
        let classic = Classic { session_timeout_ms, protocols: announced(&ask.protocols) };
        self.roster.change(number, |member| {
            member.instance = ask.instance.map(Arc::from).or(member.instance.take());
            member.rack = said.rack.filter(|rack| !rack.is_empty()).map(Arc::from);
            member.client_id = ask.client_id.into();
            member.client_host = ask.client_host.into();
            member.rebalance_timeout_ms =
                u64::try_from(ask.rebalance_timeout_ms).unwrap_or(session_timeout_ms);
            member.assignor = None;
            member.subscription = subscription;
            member.topics = found;
            member.classic = Some(classic);
        });
        if changed || self.epoch == 0 {
            self.plan(turn);
        }
        self.reconcile(number, Some(&there(&said.owned, topics)), turn.now);
        self.restart_session(number, turn);
        self.await_next_step(number, turn.now);
    }

    /// What a member is told that has joined: it follows, and nobody leads.
    fn told(&self, number: Number) -> Joined {
        let member = self.roster.member(number);
        Joined {
            member: member.id.clone(),
            generation: member.epoch,
            protocol_type: PROTOCOL_TYPE.into(),
            protocol: protocol_of(member),
            leader: Arc::default(),
            members: Vec::new(),
            skip_assignment: false,
        }
    }

    /// It must join again, or ask for its share, in its rebalance timeout.
    fn await_next_step(&mut self, number: Number, now: Time) {
        let member = self.roster.get_mut(number);
        if !member.revocation.is_set() {
            let at = now.plus_ms(member.rebalance_timeout_ms);
            member.revocation.set(at, Due::Revocation(number), &mut self.timers);
        }
    }

    /// SyncGroup.
    pub fn sync_classic(&mut self, to: W, ask: &Sync<'_>, topics: &dyn Topics, turn: &mut Turn<'_, W>) {
        let answer = match self.share(ask, topics, turn) {
            Ok(synced) => Answer::Synced(synced),
            Err(code) => Answer::NotSynced(code),
        };
        turn.answer(to, answer);
    }

    fn share(
        &mut self,
        ask: &Sync<'_>,
        topics: &dyn Topics,
        turn: &Turn<'_, W>,
    ) -> Result<Synced, ErrorCode> {
        let number = self.identify_classic(ask.who)?;
        let member = self.roster.member(number);
        let (protocol, progress) = (protocol_of(member), member.progress);
        let differs = |said: Option<&str>, is: &str| said.is_some_and(|said| said != is);
        if differs(ask.protocol_type, PROTOCOL_TYPE) || differs(ask.protocol, &protocol) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        if member.epoch < self.epoch && progress != Progress::Unrevoked {
            self.await_next_step(number, turn.now);
            return Err(ErrorCode::RebalanceInProgress);
        }
        let assignment = assignment_of(member, topics);
        if progress != Progress::Unrevoked {
            self.roster.get_mut(number).revocation.clear(Due::Revocation(number), &mut self.timers);
        }
        self.restart_session(number, turn);
        Ok(Synced { protocol_type: PROTOCOL_TYPE.into(), protocol, assignment })
    }

    /// Heartbeat: whether it is to join again.
    pub fn heartbeat_classic(&mut self, who: Who<'_>, turn: &Turn<'_, W>) -> Result<(), ErrorCode> {
        let number = self.identify_classic(who)?;
        self.restart_session(number, turn);
        let member = self.roster.member(number);
        let has_news = match member.progress {
            _ if member.epoch < self.epoch => true,
            Progress::Stable => false,
            Progress::Unrevoked => true,
            Progress::Unreleased => !self.waits(number),
        };
        if has_news {
            self.await_next_step(number, turn.now);
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    fn identify_classic(&self, who: Who<'_>) -> Result<Number, ErrorCode> {
        let number = self.identify(who.member, who.instance).map_err(|refused| refused.code)?;
        let member = self.roster.member(number);
        match &member.classic {
            None => Err(ErrorCode::UnknownMemberId),
            Some(_) if member.epoch != who.generation => Err(ErrorCode::IllegalGeneration),
            Some(_) => Ok(number),
        }
    }
}

/// Those of the partitions that are there.
pub(super) fn there(partitions: &[(&str, i32)], topics: &dyn Topics) -> Partitions {
    let find = |&(name, number): &(&str, i32)| {
        let (topic, count) = topics.find(name)?;
        (0..count).contains(&number).then_some(TopicPartition { topic, number })
    };
    partitions.iter().filter_map(find).collect()
}

/// The way of sharing out that it would rather have. Nobody shares out by it, but it must be one that it knows.
fn protocol_of<W>(member: &Member<W>) -> Arc<str> {
    member.classic.as_ref().map(|classic| classic.protocols[0].name.clone()).unwrap_or_default()
}

/// What it may read, in the words of its protocol.
fn assignment_of<W>(member: &Member<W>, topics: &dyn Topics) -> Arc<[u8]> {
    let said = member.classic.as_ref().map(|classic| &*classic.protocols[0].metadata).unwrap_or_default();
    let version = metadata(said).map_or(0, |said| said.version);
    let mut shares: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in &member.assigned {
        if let Some(name) = topics.name(&partition.topic) {
            shares.entry(name).or_default().push(partition.number);
        }
    }
    write_share(version, &shares)
}
