//! Who belongs to a group, and who holds which partition.
//!
//! Invariants: the lists by id and by instance, the holders, the streams, those of the classic protocol and the bytes
//! are what the members say. A partition has at most one holder: whoever may read it, or may read it no more and has
//! not given it back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::member::{Liveness, Member};
use crate::groups::assign::{Partitions, TopicPartition};
use crate::ordered::Numbered;

/// Names a member within its group; the older one has the smaller.
pub(in crate::groups) type Number = u64;

/// Members.
#[derive(Debug)]
pub(super) struct Roster<W> {
    last: Number,
    members: Numbered<Member<W>>,
    by_id: BTreeMap<Arc<str>, Number>,
    by_instance: BTreeMap<Arc<str>, Number>,
    holders: BTreeMap<TopicPartition, Number>,
    streams: BTreeSet<Number>,
    classic: usize,
    bytes: usize,
}

impl<W> Default for Roster<W> {
    fn default() -> Self {
        Self {
            last: 0,
            members: Numbered::default(),
            by_id: BTreeMap::new(),
            by_instance: BTreeMap::new(),
            holders: BTreeMap::new(),
            streams: BTreeSet::new(),
            classic: 0,
            bytes: 0,
        }
    }
}

impl<W: Copy> Roster<W> {
    /// How many members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Bytes of all, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there are members, and all of them speak the classic protocol.
    pub fn is_all_classic(&self) -> bool {
        self.classic > 0 && self.classic == self.len()
    }

    /// Who has this id.
    pub fn find(&self, id: &str) -> Option<Number> {
        self.by_id.get(id).copied()
    }

    /// The member that is this instance.
    pub fn instance(&self, id: &str) -> Option<Number> {
        self.by_instance.get(id).copied()
    }

    /// A member that is there.
    pub fn member(&self, number: Number) -> &Member<W> {
        &self.members[number]
    }

    /// All members, the oldest first.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (Number, &Member<W>)> {
        self.members.iter()
    }

    /// The members of this moment, to go through them while they change.
    pub fn numbers(&self) -> Vec<Number> {
        self.members.iter().map(|(number, _)| number).collect()
    }

    /// The same of those that have streams.
    pub fn streams(&self) -> Vec<Number> {
        self.streams.iter().copied().collect()
    }

    /// Who holds a partition.
    pub fn holder(&self, partition: &TopicPartition) -> Option<Number> {
        self.holders.get(partition).copied()
    }

    /// Adds a member that holds nothing, and whose id and instance are not known yet.
    pub fn add(&mut self, member: Member<W>) -> Number {
        self.last += 1;
        let number = self.last;
        self.list(number, &member);
        self.members.insert(number, member);
        number
    }

    /// Removes a member; what it holds is free.
    pub fn remove(&mut self, number: Number) -> Option<Member<W>> {
        let member = self.members.remove(number)?;
        self.unlist(number, &member);
        for partition in member.assigned.iter().chain(&member.revoking) {
            self.holders.remove(partition);
        }
        Some(member)
    }

    /// Changes a member in any way but in what it holds.
    pub fn change<R>(&mut self, number: Number, change: impl FnOnce(&mut Member<W>) -> R) -> R {
        let mut member = self.members.remove(number).expect("it is changed because it is there");
        self.unlist(number, &member);
        let result = change(&mut member);
        self.list(number, &member);
        self.members.insert(number, member);
        result
    }

    /// A member that is there, to change its alarms and how near it is to its target, which nothing here depends on.
    pub fn get_mut(&mut self, number: Number) -> &mut Member<W> {
        self.members.get_mut(number).expect("it lives because it is there")
    }

    /// Says what a member may read from now on, and what it has to give back.
    pub fn hold(&mut self, number: Number, assigned: Partitions, revoking: Partitions) {
        let member = self.members.get_mut(number).expect("it holds something because it is there");
        self.bytes -= member.weight();
        for partition in member.assigned.iter().chain(&member.revoking) {
            self.holders.remove(partition);
        }
        for partition in assigned.iter().chain(&revoking) {
            let before = self.holders.insert(*partition, number);
            assert!(before.is_none(), "a partition has one holder");
        }
        member.untold |= member.assigned != assigned;
        member.assigned = assigned;
        member.revoking = revoking;
        self.bytes += member.weight();
    }

    fn list(&mut self, number: Number, member: &Member<W>) {
        self.bytes += member.weight();
        let before = self.by_id.insert(member.id.clone(), number);
        assert!(before.is_none(), "an id is one member");
        if let Some(instance) = &member.instance {
            let before = self.by_instance.insert(instance.clone(), number);
            assert!(before.is_none(), "an instance is one member");
        }
        if matches!(member.liveness, Liveness::Stream(_)) {
            self.streams.insert(number);
        }
        self.classic += usize::from(member.classic.is_some());
    }

    fn unlist(&mut self, number: Number, member: &Member<W>) {
        self.bytes -= member.weight();
        self.by_id.remove(&member.id);
        if let Some(instance) = &member.instance {
            self.by_instance.remove(instance);
        }
        self.streams.remove(&number);
        self.classic -= usize::from(member.classic.is_some());
    }

    /// Checks the invariant; for tests and the simulator.
    pub fn invariants(&self) {
        let members = || self.members.iter();
        assert_eq!(members().map(|(_, m)| m.weight()).sum::<usize>(), self.bytes, "bytes are what all weigh");
        let ids: BTreeMap<_, _> = members().map(|(n, m)| (m.id.clone(), n)).collect();
        assert_eq!(ids, self.by_id, "everybody is found by id");
        let instances = members().filter_map(|(n, m)| Some((m.instance.clone()?, n)));
        assert_eq!(instances.collect::<BTreeMap<_, _>>(), self.by_instance, "and by instance");
        let streams = members().filter(|(_, m)| matches!(m.liveness, Liveness::Stream(_))).map(|(n, _)| n);
        assert_eq!(streams.collect::<BTreeSet<_>>(), self.streams, "and by stream");
        assert_eq!(members().filter(|(_, m)| m.classic.is_some()).count(), self.classic);
        let held = || members().flat_map(|(n, m)| m.assigned.iter().chain(&m.revoking).map(move |p| (*p, n)));
        assert_eq!(held().count(), self.holders.len(), "nothing is held twice");
        assert_eq!(held().collect::<BTreeMap<_, _>>(), self.holders, "holders are what the members hold");
    }
}
