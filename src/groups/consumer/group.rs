//! One group of this kind: its epoch, its plan, and what makes it plan anew.
//!
//! Invariants: the epoch only grows, and grows with each new plan; every partition that somebody wants is the target of
//! exactly one member; whoever has to give something back has an alarm that ends the wait for it.

use std::fmt::Debug;
use std::sync::Arc;

use krappy_wire::error::ErrorCode;

use super::member::{Liveness, Member, Progress};
use super::messages::{Push, Refused};
use super::roster::{Number, Roster};
use super::topics::Topics;
use crate::groups::Turn;
use crate::groups::assign::{Assignor, Partitions, Subscriber};
use crate::groups::messages::Who;
use crate::time::Time;
use crate::timers::Timers;

/// Bytes that a group costs beside its members and its name, about.
const FIXED: usize = 512;

/// Where a group is. The names are Kafka's, and tools show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has no members.
    Empty,
    /// Members have something to give back, or wait for it.
    Reconciling,
    /// Everybody has what it is to have.
    Stable,
}

impl State {
    /// The name by which clients know it.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Reconciling => "Reconciling",
            State::Stable => "Stable",
        }
    }
}

/// What an alarm of a group is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::groups) enum Due {
    /// A member must have given back what it is to give back.
    Revocation(Number),
    /// The session of a member.
    Session(Number),
}

/// A group of this kind.
#[derive(Debug)]
pub(in crate::groups) struct ConsumerGroup<W> {
    pub name: Arc<str>,
    /// Counts the plans.
    pub epoch: i32,
    /// How the partitions are shared out.
    pub assignor: Assignor,
    pub(super) roster: Roster<W>,
    /// Offsets are kept under its name, so it stays when it is empty.
    pub has_offsets: bool,
    pub timers: Timers<Due>,
}

impl<W: Copy + Ord + Debug> ConsumerGroup<W> {
    /// An empty group.
    pub fn new(name: Arc<str>, assignor: Assignor, has_offsets: bool) -> Self {
        let (roster, timers) = (Roster::default(), Timers::default());
        Self { name, epoch: 0, assignor, roster, has_offsets, timers }
    }

    /// How many members.
    pub fn len(&self) -> usize {
        self.roster.len()
    }

    /// Whether nothing speaks for keeping it.
    pub fn is_over(&self) -> bool {
        self.len() == 0 && !self.has_offsets
    }

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> usize {
        FIXED + self.name.len() + self.roster.bytes()
    }

    /// Where it is. It has planned whenever somebody looks, so the state that Kafka calls Assigning is never seen.
    pub fn state(&self) -> State {
        let is_there = |member: &Member<W>| member.progress == Progress::Stable && member.epoch == self.epoch;
        match self.len() {
            0 => State::Empty,
            _ if self.roster.members().all(|(_, member)| is_there(member)) => State::Stable,
            _ => State::Reconciling,
        }
    }

    /// Shares out anew, on paper: members learn of it when they are looked at next.
    pub fn plan(&mut self, turn: &Turn<'_, W>) {
        self.epoch += 1;
        self.assignor = self.choose_assignor(turn.limits.assignors[0]);
        let numbers = self.roster.numbers();
        let targets = {
            let members = self.roster.members();
            let members: Vec<Subscriber<'_>> =
                members.map(|(_, m)| Subscriber { topics: &m.topics, before: &m.target }).collect();
            self.assignor.assign(&members)
        };
        for (number, target) in numbers.into_iter().zip(targets) {
            if self.roster.member(number).target != target {
                self.roster.change(number, |member| member.target = target);
            }
        }
        log::debug!("group {:?}: epoch {}, {} members", self.name, self.epoch, self.len());
    }

    /// The assignor that most of the members ask for that ask for any; of two with as many the first in the list.
    fn choose_assignor(&self, otherwise: Assignor) -> Assignor {
        let votes = |assignor| self.roster.members().filter(|(_, m)| m.assignor == Some(assignor)).count();
        let most = Assignor::ALL.map(votes).into_iter().max().unwrap_or(0);
        let first = Assignor::ALL.into_iter().find(|assignor| votes(*assignor) == most);
        first.filter(|_| most > 0).unwrap_or(otherwise)
    }

    /// A topic has come, has gone or has grown.
    pub fn topic_changed(&mut self, name: &str, topics: &dyn Topics, turn: &Turn<'_, W>) {
        let mut changed = false;
        for number in self.roster.numbers() {
            let member = self.roster.member(number);
            if !member.subscription.includes(name) {
                continue;
            }
            let found = member.subscription.find(topics);
            if found != member.topics {
                self.roster.change(number, |member| member.topics = found);
                changed = true;
            }
        }
        if changed {
            log::info!("group {:?}: topic {name:?} has changed", self.name);
            self.plan(turn);
        }
    }

    /// Removes a member for good, and shares out what it had.
    pub fn remove(&mut self, number: Number, why: &str, turn: &mut Turn<'_, W>) {
        let Some(mut member) = self.roster.remove(number) else { return };
        member.session.clear(Due::Session(number), &mut self.timers);
        member.revocation.clear(Due::Revocation(number), &mut self.timers);
        log::info!("group {:?}: member {:?} is removed: {why}", self.name, member.id);
        if let Liveness::Stream(to) = member.liveness {
            turn.push(to, Push::Fenced);
        }
        if !self.changes_back(turn) {
            self.plan(turn);
        }
    }

    /// A sign of life.
    pub fn restart_session(&mut self, number: Number, turn: &Turn<'_, W>) {
        let member = self.roster.member(number);
        if member.liveness == Liveness::Heartbeats {
            let usual = u64::from(turn.limits.consumer_session_timeout_ms);
            let at = turn.now.plus_ms(member.classic.as_ref().map_or(usual, |own| own.session_timeout_ms));
            self.roster.get_mut(number).session.set(at, Due::Session(number), &mut self.timers);
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, turn: &mut Turn<'_, W>) {
        while let Some(due) = self.timers.take_due(turn.now) {
            match due {
                Due::Session(number) if self.rings(due, number, turn.now) => {
                    self.remove(number, "its session has ended", turn);
                }
                Due::Revocation(number) if self.rings(due, number, turn.now) => {
                    self.remove(number, "it has not followed the plan in time", turn);
                }
                Due::Session(_) | Due::Revocation(_) => {}
            }
        }
    }

    fn rings(&mut self, due: Due, number: Number, now: Time) -> bool {
        let member = self.roster.get_mut(number);
        let alarm = match due {
            Due::Session(_) => &mut member.session,
            Due::Revocation(_) => &mut member.revocation,
        };
        alarm.rings(now, due, &mut self.timers)
    }

    /// Whether somebody may commit offsets: members in their epoch; others, and administrators, while nobody is there.
    pub fn may_commit(&self, who: Who<'_>) -> Result<(), ErrorCode> {
        if who.generation < 0 && self.len() == 0 {
            return Ok(());
        }
        let number = self.roster.find(who.member).ok_or(ErrorCode::UnknownMemberId)?;
        if !who.knows_epochs && self.roster.member(number).classic.is_none() {
            return Err(ErrorCode::UnsupportedVersion);
        }
        self.is_in_epoch(number, who.generation)
    }

    /// Whether somebody may learn how far the group has come: whoever does not say who it is, and members in their
    /// epoch.
    pub fn may_fetch(&self, member: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        match member {
            None if epoch < 0 => Ok(()),
            member => {
                let number =
                    self.roster.find(member.unwrap_or_default()).ok_or(ErrorCode::UnknownMemberId)?;
                self.is_in_epoch(number, epoch)
            }
        }
    }

    fn is_in_epoch(&self, number: Number, epoch: i32) -> Result<(), ErrorCode> {
        let member = self.roster.member(number);
        match &member.classic {
            _ if member.epoch == epoch => Ok(()),
            Some(_) => Err(ErrorCode::IllegalGeneration),
            None => Err(ErrorCode::StaleMemberEpoch),
        }
    }

    /// Finds a member by what it says of itself. An instance that is somebody else by now is fenced.
    pub fn identify(&self, member: &str, instance: Option<&str>) -> Result<Number, Refused> {
        let Some(instance) = instance else {
            let why = || Refused::new(ErrorCode::UnknownMemberId, format!("no member has the id {member}"));
            return self.roster.find(member).ok_or_else(why);
        };
        let number = self.roster.instance(instance).ok_or_else(|| {
            Refused::new(ErrorCode::UnknownMemberId, format!("no member is the instance {instance}"))
        })?;
        let owner = &self.roster.member(number).id;
        if **owner != *member {
            let why = format!("the instance {instance} is the member {owner} by now");
            return Err(Refused::new(ErrorCode::FencedInstanceId, why));
        }
        Ok(number)
    }

    /// Checks what the head of this file promises; for tests and the simulator.
    pub fn invariants(&self) {
        self.roster.invariants();
        let mut targets = Partitions::new();
        for (number, member) in self.roster.members() {
            assert!(member.target.iter().all(|p| targets.insert(*p)), "a partition is the target of one");
            assert!(member.target.iter().all(|p| member.topics.contains_key(&p.topic)), "that wants it");
            assert!(member.epoch <= self.epoch, "nobody is ahead of the group");
            let unrevoked = member.progress == Progress::Unrevoked && !member.is_away();
            let in_time = member.revocation.is_set();
            assert!(unrevoked == in_time || member.classic.is_some(), "{number}: a revocation ends");
            assert!(!unrevoked || in_time, "{number}: by the classic protocol, too");
            assert!(member.classic.is_none() || member.liveness == Liveness::Heartbeats);
            assert!(!unrevoked || !member.revoking.is_empty(), "{number}: there is something to give back");
            assert!(member.progress == Progress::Unrevoked || member.revoking.is_empty());
            let beats = member.liveness == Liveness::Heartbeats;
            assert_eq!(beats, member.session.is_set(), "{number}: a session ends");
            let there = member.epoch == self.epoch && member.progress == Progress::Stable;
            assert!(!there || member.assigned == member.target, "{number}: who is there has its target");
        }
        let wanted = self.roster.members().flat_map(|(_, m)| &m.topics).map(|(t, n)| (*t, *n));
        let wanted: std::collections::BTreeMap<_, _> = wanted.collect();
        let count = wanted.values().map(|count| *count as usize).sum::<usize>();
        assert_eq!(targets.len(), count, "everything that is wanted is somebody's target");
    }
}
