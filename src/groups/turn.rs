//! One event that one group handles, and what is counted and listed over all groups.
//!
//! Invariant: after each event the bytes, the timers and the list of those who wait are what the groups say, and a
//! group that nothing speaks for is gone.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use super::alarm::Alarm;
use super::consumer::{ConsumerGroup, Push};
use super::group::ClassicGroup;
use super::kind::Kind;
use super::member_id::MemberIds;
use super::messages::Answer;
use super::{Groups, Key, Limits};
use crate::time::Time;

/// A group and when to look at it.
#[derive(Debug)]
pub(super) struct Entry<W> {
    pub kind: Kind<W>,
    pub next: Alarm,
}

/// What a group needs to know, and may use, while it handles one event.
#[derive(Debug)]
pub(super) struct Turn<'a, W> {
    pub now: Time,
    pub limits: &'a Limits,
    pub ids: &'a mut MemberIds,
    /// Bytes that groups may still take.
    pub room: usize,
    answers: &'a mut Vec<(W, Answer)>,
    pushes: &'a mut Vec<(W, Push)>,
    parked: Option<(W, u64)>,
}

impl<W> Turn<'_, W> {
    /// Ends somebody's wait.
    pub fn answer(&mut self, to: W, answer: Answer) {
        self.answers.push((to, answer));
    }

    /// Tells a stream something.
    pub fn push(&mut self, to: W, push: Push) {
        self.pushes.push((to, push));
    }

    /// Lets somebody wait as this member.
    pub fn parked(&mut self, to: W, number: u64) {
        let before = self.parked.replace((to, number));
        assert!(before.is_none(), "one call lets one client wait");
    }
}

impl<W: Copy + Ord + Debug> Groups<W> {
    /// Lets a group handle one event, and keeps everything that is counted over all groups.
    pub(super) fn with<R>(
        &mut self,
        key: Key,
        now: Time,
        handle: impl FnOnce(&mut Kind<W>, &mut Turn<'_, W>) -> R,
    ) -> R {
        let kind = &mut self.groups.get_mut(key).expect("the group was found a moment ago").kind;
        let (bytes, answered, pushed) = (kind.bytes(), self.answers.len(), self.pushes.len());
        let room = self.limits.bytes.saturating_sub(self.bytes);
        let (limits, ids) = (&self.limits, &mut self.ids);
        let (answers, pushes) = (&mut self.answers, &mut self.pushes);
        let mut turn = Turn { now, limits, ids, room, answers, pushes, parked: None };
        let result = handle(kind, &mut turn);
        kind.downgrade(&mut turn);
        if let Kind::Consumer(group) = kind {
            group.tell_streams(&mut turn);
        }
        if let Some((to, number)) = turn.parked {
            self.waiting.insert(to, (key, number));
        }
        self.bytes = self.bytes - bytes + kind.bytes();
        for (to, _) in &self.answers[answered..] {
            self.waiting.remove(to);
        }
        for (to, _) in self.pushes[pushed..].iter().filter(|(_, push)| *push == Push::Fenced) {
            self.waiting.remove(to);
        }
        self.settle(key);
        result
    }

    /// Looks at a group again when it needs it, or forgets it.
    pub(super) fn settle(&mut self, key: Key) {
        let entry = self.groups.get_mut(key).expect("it was handled a moment ago");
        match entry.kind.next_deadline() {
            _ if entry.kind.is_over() => self.end(key),
            Some(at) => entry.next.set(at, key, &mut self.timers),
            None => entry.next.clear(key, &mut self.timers),
        }
    }

    /// Begins a classic group of a name that is not known.
    pub(super) fn begin(&mut self, name: &str) -> Key {
        self.insert(Kind::Classic(ClassicGroup::new(name.into())))
    }

    /// The same for a group of the newer kind.
    pub(super) fn begin_consumer(&mut self, name: &str) -> Key {
        self.insert(Kind::Consumer(ConsumerGroup::new(name.into(), self.limits.assignors[0], false)))
    }

    fn insert(&mut self, kind: Kind<W>) -> Key {
        self.last += 1;
        self.bytes += kind.bytes();
        self.by_name.insert(kind.name().clone(), self.last);
        self.groups.insert(self.last, Entry { kind, next: Alarm::default() });
        self.last
    }

    /// An empty group goes on as one of the other kind. What was committed under its name stays.
    pub(super) fn convert(&mut self, key: Key) {
        let entry = self.groups.get_mut(key).expect("the group was found a moment ago");
        assert!(entry.kind.is_empty(), "only an empty group becomes one of another kind");
        self.bytes -= entry.kind.bytes();
        entry.next.clear(key, &mut self.timers);
        let (name, has_offsets): (Arc<str>, bool) = (entry.kind.name().clone(), *entry.kind.has_offsets());
        log::info!("group {name:?} is of the other kind from now on");
        entry.kind = match &entry.kind {
            Kind::Classic(_) => {
                Kind::Consumer(ConsumerGroup::new(name, self.limits.assignors[0], has_offsets))
            }
            Kind::Consumer(_) => {
                let mut group = ClassicGroup::new(name);
                group.has_offsets = has_offsets;
                Kind::Classic(group)
            }
        };
        self.bytes += entry.kind.bytes();
    }

    /// Forgets a group.
    pub(super) fn end(&mut self, key: Key) {
        let mut entry = self.groups.remove(key).expect("it was found a moment ago");
        entry.next.clear(key, &mut self.timers);
        self.bytes -= entry.kind.bytes();
        self.by_name.remove(entry.kind.name());
    }

    /// Checks what is counted and listed twice; for tests and the simulator.
    pub fn invariants(&self) {
        let mut waiting = BTreeMap::new();
        for (key, Entry { kind, .. }) in self.groups.iter() {
            kind.invariants();
            assert!(!kind.is_over(), "{:?} should be gone", kind.name());
            assert_eq!(self.by_name.get(kind.name()), Some(&key), "a group is found by its name");
            for (to, number) in kind.waiting() {
                assert!(waiting.insert(to, (key, number)).is_none(), "{to:?} waits once");
            }
            if let Some(at) = kind.next_deadline() {
                assert!(
                    self.timers.next().is_some_and(|next| next <= at),
                    "{:?} is looked at in time",
                    kind.name()
                );
            }
        }
        assert_eq!(waiting, self.waiting, "whoever waits is listed");
        assert_eq!(self.by_name.len(), self.groups.len(), "every name is that of a group");
        let bytes = self.groups.values().map(|entry| entry.kind.bytes()).sum::<usize>();
        assert_eq!(bytes, self.bytes, "bytes are counted");
        assert!(self.timers.len() <= self.groups.len(), "a group has one timer");
    }
}
