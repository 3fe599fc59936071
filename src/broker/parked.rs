//! Every read that waits, and everything that can end its wait: data, its deadline, the disk, or the client hanging up.
//!
//! Invariant: a parked read is listed under each of its partitions, under its connection, and once among the timers, or
//! nowhere at all; something will always end it.

use std::collections::BTreeSet;

use crate::api::{ConnId, Fetch, PartitionKey, ReplyTo};
use crate::ordered::Numbered;
use crate::time::Time;
use crate::timers::Timers;

/// Name of a parked read; not used twice in one home.
pub type ParkId = u64;

/// What can be parked.
pub trait Waits {
    /// The partitions whose news may end the wait.
    fn partitions(&self) -> impl Iterator<Item = PartitionKey> + '_;
}

impl Waits for Fetch {
    fn partitions(&self) -> impl Iterator<Item = PartitionKey> + '_ {
        self.wants.iter().map(|want| want.partition)
    }
}

/// A read that waits.
#[derive(Debug)]
pub struct Parked<T> {
    /// Whom to answer.
    pub to: ReplyTo,
    /// What was asked.
    pub asked: T,
    /// When to answer with whatever is there.
    pub deadline: Time,
    /// Whether a worker is reading for it; until that ends, neither data nor the deadline does.
    pub reading: bool,
}

/// The home of all waiting reads of one kind.
#[derive(Debug)]
pub struct Parking<T> {
    next_id: ParkId,
    parked: Numbered<Parked<T>>,
    by_partition: BTreeSet<(PartitionKey, ParkId)>,
    by_conn: BTreeSet<(ConnId, ParkId)>,
    timers: Timers<ParkId>,
}

impl<T> Default for Parking<T> {
    fn default() -> Self {
        Self {
            next_id: 0,
            parked: Numbered::default(),
            by_partition: BTreeSet::new(),
            by_conn: BTreeSet::new(),
            timers: Timers::default(),
        }
    }
}

impl<T: Waits> Parking<T> {
    /// Parks a read.
    pub fn park(&mut self, parked: Parked<T>) -> ParkId {
        self.next_id += 1;
        self.put_back(self.next_id, parked);
        self.next_id
    }

    /// Ends a wait, whatever for.
    pub fn take(&mut self, id: ParkId) -> Option<Parked<T>> {
        let parked = self.parked.remove(id)?;
        for partition in parked.asked.partitions() {
            self.by_partition.remove(&(partition, id));
        }
        self.by_conn.remove(&(parked.to.conn, id));
        self.timers.remove(parked.deadline, id);
        Some(parked)
    }

    /// Parks a read again that was taken a moment ago, in the place that it had.
    pub fn put_back(&mut self, id: ParkId, parked: Parked<T>) {
        for partition in parked.asked.partitions() {
            self.by_partition.insert((partition, id));
        }
        self.by_conn.insert((parked.to.conn, id));
        self.timers.insert(parked.deadline, id);
        let free = self.parked.insert(id, parked);
        assert!(free && id <= self.next_id, "a place is taken once");
    }

    /// A parked read, to look at it.
    pub fn get(&self, id: ParkId) -> Option<&Parked<T>> {
        self.parked.get(id)
    }

    /// Marks that a worker is reading for this one.
    pub fn set_reading(&mut self, id: ParkId) {
        let parked = self.parked.get_mut(id).expect("it was parked this moment");
        parked.reading = true;
        self.timers.remove(parked.deadline, id);
    }

    /// The reads that wait on a partition, oldest first, without those that a worker reads for.
    pub fn waiting_on(&self, partition: PartitionKey, into: &mut Vec<ParkId>) {
        let all = self.by_partition.range((partition, 0)..=(partition, ParkId::MAX)).map(|(_, id)| *id);
        into.extend(all.filter(|id| !self.parked[*id].reading));
    }

    /// The reads that a connection waits for.
    pub fn of(&self, conn: ConnId) -> Vec<ParkId> {
        self.by_conn.range((conn, 0)..=(conn, ParkId::MAX)).map(|(_, id)| *id).collect()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Parked<T>> {
        self.parked.values()
    }

    /// One whose deadline has passed.
    pub fn take_due(&mut self, now: Time) -> Option<Parked<T>> {
        let id = self.timers.take_due(now)?;
        Some(self.take(id).expect("a timer belongs to a parked read"))
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Drops everything that a connection waits for.
    pub fn forget(&mut self, conn: ConnId) {
        while let Some(&(_, id)) = self.by_conn.range((conn, 0)..=(conn, ParkId::MAX)).next() {
            self.take(id);
        }
    }

    /// Everything waiting that no worker reads for; the broker is stopping.
    pub fn all_idle(&self) -> Vec<ParkId> {
        self.parked.iter().filter(|(_, p)| !p.reading).map(|(id, _)| id).collect()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.parked.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }

    /// Checks the invariant; for tests and the simulator.
    pub fn invariants(&self) {
        let on =
            |(id, p): (ParkId, &Parked<T>)| p.asked.partitions().map(|key| (key, id)).collect::<Vec<_>>();
        let wanted: BTreeSet<_> = self.parked.iter().flat_map(on).collect();
        assert_eq!(self.by_partition, wanted, "partition lists and parked reads agree");
        assert_eq!(self.by_conn.len(), self.parked.len(), "connection lists and parked reads agree");
        let idle = self.parked.values().filter(|p| !p.reading).count();
        assert_eq!(self.timers.len(), idle, "every read that no worker reads for has its timer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Want;

    fn fetch(conn: u32, partitions: &[u32], deadline: u64) -> Parked<Fetch> {
        let want = |&p: &u32| Want::from(PartitionKey(p), 0, 0);
        Parked {
            to: ReplyTo { conn: ConnId { key: conn, generation: 1 }, slot: 0 },
            asked: Fetch {
                wants: partitions.iter().map(want).collect(),
                min_bytes: 1,
                max_wait_ms: 0,
                max_bytes: 1,
                every: false,
                group: None,
            },
            deadline: Time(deadline),
            reading: false,
        }
    }

    #[test]
    fn every_way_to_end_a_wait_leaves_nothing_behind() {
        let mut parked = Parking::default();
        let a = parked.park(fetch(1, &[1, 2], 10));
        let b = parked.park(fetch(2, &[2], 20));
        let c = parked.park(fetch(1, &[3], 30));
        parked.invariants();
        let mut on_two = Vec::new();
        parked.waiting_on(PartitionKey(2), &mut on_two);
        assert_eq!(on_two, [a, b]);
        let first = parked.take(a).unwrap();
        parked.put_back(a, first);
        assert_eq!(parked.of(ConnId { key: 1, generation: 1 }), [a, c]);
        parked.set_reading(b);
        parked.invariants();
        assert_eq!(parked.take_due(Time(25)).unwrap().deadline, Time(10));
        assert!(parked.take_due(Time(25)).is_none(), "one that is read for has no deadline");
        on_two.clear();
        parked.waiting_on(PartitionKey(2), &mut on_two);
        assert!(on_two.is_empty());
        parked.forget(ConnId { key: 1, generation: 1 });
        assert!(parked.get(c).is_none());
        assert!(parked.take(b).is_some() && parked.is_empty());
        parked.invariants();
    }
}
