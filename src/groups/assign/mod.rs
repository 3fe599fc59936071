//! Who gets which partitions: pure functions from what members want and what they were given before to what each of
//! them is to be given now.
//!
//! ```text
//!   three members, eight partitions, after the second one left and a third came, by `uniform`
//!
//!   before   A 0 1 2    B 3 4 5    C 6 7
//!   kept     A 0 1 2               C 6 7        what is still wanted stays where it is
//!   filled   A 0 1 2    D 3 4      C 6 7 5      what nobody has goes to whoever has least
//!   levelled A 0 1 2    D 3 4      C 6 7 5      and moves only if somebody has two more than another
//! ```
//!
//! Invariants: every partition that somebody wants is given to exactly one member that wants it; the same question has
//! the same answer; a partition stays with its member unless balance asks for it.

mod range;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};

/// The id of a topic.
pub type TopicId = [u8; 16];

/// A partition of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicId,
    /// The number of the partition.
    pub number: i32,
}

/// Partitions of any topics.
pub type Partitions = BTreeSet<TopicPartition>;

/// Topics, and how many partitions each has.
pub type Counts = BTreeMap<TopicId, i32>;

/// A member as an assignor sees it.
#[derive(Debug, Clone, Copy)]
pub struct Subscriber<'a> {
    /// The topics that it wants to read. Members agree on how many partitions a topic has.
    pub topics: &'a Counts,
    /// What it was to be given until now.
    pub before: &'a Partitions,
}

/// A way to share out partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Everybody gets as many as everybody else, and partitions move as little as possible.
    Uniform,
    /// Everybody gets the same numbers of each topic, so that records with one key in two topics meet.
    Range,
}

impl Assignor {
    /// All of them, the default one first.
    pub const ALL: [Assignor; 2] = [Assignor::Uniform, Assignor::Range];

    /// Kafka's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// What each member is to be given, in the order of the members. Who comes first is preferred where nothing else
    /// decides.
    pub fn assign(self, members: &[Subscriber<'_>]) -> Vec<Partitions> {
        let mut counts = Counts::new();
        for member in members {
            counts.extend(member.topics);
        }
        match self {
            Assignor::Uniform => uniform::assign(members, &counts),
            Assignor::Range => range::assign(members, &counts),
        }
    }
}

/// The members that want to read a topic, by their places in the list.
fn readers(members: &[Subscriber<'_>], topic: &TopicId) -> Vec<usize> {
    (0..members.len()).filter(|&place| members[place].topics.contains_key(topic)).collect()
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// The topic of this number.
    pub fn topic(number: u8) -> TopicId {
        [number; 16]
    }

    /// A group whose members come and go.
    pub struct Crew {
        pub assignor: Assignor,
        pub counts: Counts,
        pub members: Vec<(BTreeSet<TopicId>, Partitions)>,
    }

    impl Crew {
        /// With topics of these sizes, numbered from 0.
        pub fn new(assignor: Assignor, sizes: &[i32]) -> Crew {
            let counts = sizes.iter().enumerate().map(|(n, size)| (topic(n as u8), *size)).collect();
            Crew { assignor, counts, members: Vec::new() }
        }

        /// Somebody comes who wants these topics.
        pub fn join(&mut self, topics: &[u8]) {
            self.members.push((topics.iter().map(|n| topic(*n)).collect(), Partitions::new()));
            self.share_out();
        }

        /// Shares out anew, checks what must hold of any way to do it, and says how many partitions changed hands.
        pub fn share_out(&mut self) -> usize {
            let of = |topics: &BTreeSet<TopicId>| -> Counts {
                self.counts
                    .iter()
                    .filter(|(topic, _)| topics.contains(*topic))
                    .map(|(t, n)| (*t, *n))
                    .collect()
            };
            let wishes: Vec<Counts> = self.members.iter().map(|(topics, _)| of(topics)).collect();
            let members: Vec<Subscriber<'_>> = wishes
                .iter()
                .zip(&self.members)
                .map(|(topics, (_, before))| Subscriber { topics, before })
                .collect();
            let shares = self.assignor.assign(&members);
            assert_eq!(shares, self.assignor.assign(&members), "the same question has the same answer");
            let mut given = Partitions::new();
            let mut moved = 0;
            for ((topics, before), share) in self.members.iter_mut().zip(shares) {
                assert!(share.iter().all(|p| topics.contains(&p.topic)), "nobody gets what it does not want");
                assert!(share.iter().all(|p| given.insert(*p)), "a partition has one owner");
                moved += share.difference(before).count();
                *before = share;
            }
            let wanted = |topic: &TopicId| self.members.iter().any(|(topics, _)| topics.contains(topic));
            let all = self.counts.iter().filter(|(topic, _)| wanted(topic));
            let all = all.flat_map(|(&topic, &n)| (0..n).map(move |number| TopicPartition { topic, number }));
            assert_eq!(given, all.collect::<Partitions>(), "everything that is wanted is given");
            moved
        }

        /// How many partitions each member has.
        pub fn loads(&self) -> Vec<usize> {
            self.members.iter().map(|(_, share)| share.len()).collect()
        }

        /// The numbers of a topic that a member has.
        pub fn numbers(&self, member: usize, of: u8) -> Vec<i32> {
            self.members[member].1.iter().filter(|p| p.topic == topic(of)).map(|p| p.number).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignors_are_known_by_kafkas_names() {
        for assignor in Assignor::ALL {
            assert_eq!(Assignor::named(assignor.name()), Some(assignor));
        }
        assert_eq!((Assignor::named("sticky"), Assignor::named("")), (None, None));
    }

    #[test]
    fn where_nobody_is_or_nothing_is_there_nothing_is_given() {
        for assignor in Assignor::ALL {
            assert_eq!(assignor.assign(&[]), Vec::<Partitions>::new());
            let mut crew = testing::Crew::new(assignor, &[0]);
            crew.join(&[0, 7]);
            crew.join(&[]);
            assert_eq!(crew.loads(), [0, 0]);
        }
    }
}
