//! Who belongs to a group: its members in the order in which they came, and the ids that were given out and have not
//! joined yet.
//!
//! Invariant: the lists by id and by instance, the counted protocols, the number that has joined and the bytes are what
//! the members say. A number names one member or pending id, is never used again, and stays when a static member comes
//! back under a new id.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::member::{Member, Pending, Waits};
use super::messages::Join;
use super::protocols::Supporters;
use crate::ordered::Numbered;

/// Names a member or a pending id within its group; the older one has the smaller.
pub(super) type Number = u64;

/// Members and pending ids.
#[derive(Debug)]
pub(super) struct Roster<W> {
    last: Number,
    members: Numbered<Member<W>>,
    pending: BTreeMap<Number, Pending>,
    by_id: BTreeMap<Arc<str>, Number>,
    by_instance: BTreeMap<Arc<str>, Number>,
    supporters: Supporters,
    joined: usize,
    bytes: usize,
}

impl<W> Default for Roster<W> {
    fn default() -> Self {
        Self {
            last: 0,
            members: Numbered::default(),
            pending: BTreeMap::new(),
            by_id: BTreeMap::new(),
            by_instance: BTreeMap::new(),
            supporters: Supporters::default(),
            joined: 0,
            bytes: 0,
        }
    }
}

impl<W: Copy> Roster<W> {
    /// How many members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// How many ids are pending.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Bytes of all, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether all members have joined the next generation, and everybody who was told an id has come.
    pub fn all_joined(&self) -> bool {
        self.joined == self.members.len() && self.pending.is_empty()
    }

    /// How many members know a protocol.
    pub fn supporters(&self, protocol: &str) -> usize {
        self.supporters.count(protocol)
    }

    /// The protocol that the members choose.
    pub fn choose_protocol(&self) -> Option<Arc<str>> {
        self.supporters.choose(self.members.values().map(|member| member.protocols.as_slice()))
    }

    /// Who has this id: a member or a pending id.
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

    /// A member, if this is one.
    pub fn get(&self, number: Number) -> Option<&Member<W>> {
        self.members.get(number)
    }

    /// The same, to change what does not weigh and what it does not wait for.
    pub fn get_mut(&mut self, number: Number) -> Option<&mut Member<W>> {
        self.members.get_mut(number)
    }

    /// A pending id, if this is one.
    pub fn get_pending_mut(&mut self, number: Number) -> Option<&mut Pending> {
        self.pending.get_mut(&number)
    }

    /// All members, the oldest first.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (Number, &Member<W>)> {
        self.members.iter()
    }

    /// The pending id that was given out first.
    pub fn oldest_pending(&self) -> Option<Number> {
        self.pending.first_key_value().map(|(number, _)| *number)
    }

    /// Adds a member, whose id is not known yet.
    pub fn add(&mut self, member: Member<W>) -> Number {
        let number = self.list(&member.id);
        if let Some(instance) = &member.instance {
            let before = self.by_instance.insert(instance.clone(), number);
            assert!(before.is_none(), "an instance is one member");
        }
        self.supporters.add(&member.protocols);
        self.joined += usize::from(member.waits.has_joined());
        self.bytes += member.weight();
        self.members.insert(number, member);
        number
    }

    /// Adds a pending id.
    pub fn add_pending(&mut self, pending: Pending) -> Number {
        let number = self.list(&pending.id);
        self.bytes += pending.weight();
        self.pending.insert(number, pending);
        number
    }

    fn list(&mut self, id: &Arc<str>) -> Number {
        self.last += 1;
        let before = self.by_id.insert(id.clone(), self.last);
        assert!(before.is_none(), "an id is given out once");
        self.last
    }

    /// Removes a member.
    pub fn remove(&mut self, number: Number) -> Option<Member<W>> {
        let member = self.members.remove(number)?;
        self.by_id.remove(&member.id);
        if let Some(instance) = &member.instance {
            self.by_instance.remove(instance);
        }
        self.supporters.remove(&member.protocols);
        self.joined -= usize::from(member.waits.has_joined());
        self.bytes -= member.weight();
        Some(member)
    }

    /// Removes a pending id.
    pub fn remove_pending(&mut self, number: Number) -> Option<Pending> {
        let pending = self.pending.remove(&number)?;
        self.by_id.remove(&pending.id);
        self.bytes -= pending.weight();
        Some(pending)
    }

    /// Takes over what a member says anew.
    pub fn update(&mut self, number: Number, ask: &Join<'_>) {
        let member = self.members.get_mut(number).expect("it is updated because it is there");
        self.supporters.remove(&member.protocols);
        self.bytes -= member.weight();
        member.update(ask);
        self.supporters.add(&member.protocols);
        self.bytes += member.weight();
    }

    /// Gives a static member another id.
    pub fn rename(&mut self, number: Number, id: Arc<str>) {
        let member = self.members.get_mut(number).expect("it is renamed because it is there");
        self.by_id.remove(&member.id);
        let before = self.by_id.insert(id.clone(), number);
        assert!(before.is_none(), "an id is given out once");
        self.bytes = self.bytes - member.id.len() + id.len();
        member.id = id;
    }

    /// Says what a member waits for, and what it has waited for.
    pub fn set_waits(&mut self, number: Number, waits: Waits<W>) -> Waits<W> {
        let member = self.members.get_mut(number).expect("it waits because it is there");
        let before = std::mem::replace(&mut member.waits, waits);
        self.joined += usize::from(waits.has_joined());
        self.joined -= usize::from(before.has_joined());
        before
    }

    /// Gives a member its share.
    pub fn assign(&mut self, number: Number, share: Arc<[u8]>) {
        let member = self.members.get_mut(number).expect("it is given a share because it is there");
        self.bytes = self.bytes - member.assignment.len() + share.len();
        member.assignment = share;
    }

    /// Checks the invariant; for tests and the simulator.
    pub fn invariants(&self) {
        let mut counted = Supporters::default();
        self.members.values().for_each(|member| counted.add(&member.protocols));
        assert_eq!(counted, self.supporters, "protocols are counted as members announce them");
        let joined = self.members.values().filter(|member| member.waits.has_joined()).count();
        assert_eq!(joined, self.joined, "those that have joined are counted");
        let members = self.members.values().map(Member::weight).sum::<usize>();
        let pending = self.pending.values().map(Pending::weight).sum::<usize>();
        assert_eq!(members + pending, self.bytes, "bytes are what all weigh");
        let ids = self.members.iter().map(|(n, m)| (m.id.clone(), n));
        let ids: BTreeMap<_, _> = ids.chain(self.pending.iter().map(|(n, p)| (p.id.clone(), *n))).collect();
        assert_eq!(ids, self.by_id, "everybody is found by id");
        let instances = self.members.iter().filter_map(|(n, m)| Some((m.instance.clone()?, n)));
        assert_eq!(instances.collect::<BTreeMap<_, _>>(), self.by_instance, "and by instance");
        if !self.members.is_empty() {
            assert!(self.choose_protocol().is_some(), "the members have a protocol in common");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn member(id: &str, instance: Option<&str>, protocols: &[&str]) -> Member<u64> {
        let protocols = protocols.iter().map(|name| (*name, &b"meta"[..])).collect();
        Member::new(id.into(), &Join { instance, protocols, ..testing::join("g", "") })
    }

    #[test]
    fn all_lists_follow_what_happens_to_a_member() {
        let mut roster = Roster::default();
        let a = roster.add(member("a", None, &["x", "y"]));
        let b = roster.add(member("b", Some("one"), &["y"]));
        roster.invariants();
        assert_eq!((roster.find("a"), roster.instance("one")), (Some(a), Some(b)));
        assert_eq!((roster.supporters("x"), roster.supporters("y")), (1, 2));

        assert_eq!(roster.set_waits(a, Waits::Join(Some(7))), Waits::Nothing);
        assert_eq!(roster.set_waits(a, Waits::Join(None)), Waits::Join(Some(7)));
        assert!(!roster.all_joined());
        roster.set_waits(b, Waits::Join(Some(8)));
        assert!(roster.all_joined());

        roster.rename(b, "b after a restart".into());
        roster.assign(b, b"share"[..].into());
        let protocols = vec![("y", &b"longer metadata"[..])];
        roster.update(a, &Join { protocols, ..testing::join("g", "a") });
        roster.invariants();
        assert_eq!((roster.find("b"), roster.instance("one")), (None, Some(b)));
        assert_eq!(roster.supporters("x"), 0);

        assert!(roster.remove(a).is_some() && roster.remove(a).is_none());
        assert!(roster.remove(b).is_some());
        roster.invariants();
        assert_eq!((roster.len(), roster.bytes()), (0, 0));
    }

    #[test]
    fn a_pending_id_holds_up_the_generation_until_it_joins_or_goes() {
        let mut roster = Roster::<u64>::default();
        assert!(roster.all_joined());
        let first = roster.add_pending(Pending { id: "a".into(), session: Default::default() });
        roster.add_pending(Pending { id: "b".into(), session: Default::default() });
        roster.invariants();
        assert_eq!((roster.oldest_pending(), roster.find("a")), (Some(first), Some(first)));
        assert!(!roster.all_joined() && roster.get(first).is_none());
        while let Some(number) = roster.oldest_pending() {
            roster.remove_pending(number);
        }
        roster.invariants();
        assert!(roster.all_joined() && roster.bytes() == 0 && roster.find("a").is_none());
    }
}
