//! Consumer groups under observation: whoever calls them calls them here, and what they answer is held against what the
//! members do. What must not be is a panic.
//!
//! * A partition is read by one client at a time, except by one that is no member any more and does not know it.
//! * The epochs of the group and of each member grow, and whoever comes to a new one has given back what it must.
//! * Nobody waits longer for a partition than its last reader may take to give it back, or to be taken for dead.
//! * Nobody is told to read what is not there, or what it does not want.
//! * Commits are taken in the epoch of the member only.

use std::collections::BTreeMap;

use krappy::groups::assign::{Partitions, TopicId, TopicPartition};
use krappy::groups::consumer::{Heard, Heartbeat, Refused, TopicShare};
use krappy::groups::{Groups, Limits, Who};
use krappy::time::Time;
use krappy_wire::error::ErrorCode;

/// The one group.
pub const GROUP: &str = "g";

/// The longest that somebody waits who says that it lives: its last reader is silent until its session ends, or goes on
/// living and does not give back until its rebalance timeout is over; in the worst case one after the other.
const LONGEST_WAIT_MS: u64 = 45_000 + 60_000 + 15_000;

/// The group and its observer.
pub struct Readers {
    pub groups: Groups<u64>,
    pub topics: BTreeMap<String, (TopicId, i32)>,
    pub now: Time,
    /// Who reads what: the number of the client and the id that it goes by.
    reading: BTreeMap<TopicPartition, (usize, String)>,
    /// The newest epoch that each id was told.
    told: BTreeMap<String, i32>,
    epoch: i32,
    /// What members are to have and have not, and since when.
    lacking: BTreeMap<(String, TopicPartition), Time>,
    /// How often somebody began to read a partition, and how many commits were taken.
    pub moves: u64,
    pub committed: u64,
}

impl Readers {
    pub fn new(limits: Limits) -> Readers {
        Readers {
            groups: Groups::new(limits, 7),
            topics: BTreeMap::new(),
            now: Time(0),
            reading: BTreeMap::new(),
            told: BTreeMap::new(),
            epoch: 0,
            lacking: BTreeMap::new(),
            moves: 0,
            committed: 0,
        }
    }

    /// Sends a heartbeat. An honest client reads what it says that it reads.
    pub fn heartbeat(&mut self, ask: &Heartbeat<'_>, honest: bool) -> Result<Heard, Refused> {
        let before = self.member_epoch(ask.member);
        let heard = self.groups.consume(ask, &self.topics, self.now);
        self.check();
        if let Ok(heard) = &heard
            && heard.epoch > 0
        {
            let told = self.told.insert(heard.member.to_string(), heard.epoch).unwrap_or(0);
            assert!(heard.epoch >= told, "{}: epoch {} after {told}", heard.member, heard.epoch);
            assert!(ask.epoch <= heard.epoch, "{}: epoch {} after {}", heard.member, heard.epoch, ask.epoch);
            let joins = ask.epoch == 0;
            assert!(!joins || heard.assignment.is_some(), "whoever joins is told everything");
            self.check_waits(heard);
            self.check_moves_on(ask, before, heard, honest);
        }
        heard
    }

    /// Whoever was not told of its epoch says what it reads, and who comes to that of the group has nothing left to
    /// give back.
    fn check_moves_on(&self, ask: &Heartbeat<'_>, before: Option<i32>, heard: &Heard, honest: bool) {
        let was_told = before.is_none_or(|before| before == ask.epoch);
        if ask.epoch == 0 || (was_told && heard.epoch == ask.epoch) {
            return;
        }
        assert!(was_told || ask.owned.is_some(), "who comes with an old epoch says what it reads");
        let (has, _) = self.shares(&heard.member);
        if let Some(owned) = ask.owned.as_ref().filter(|_| honest && heard.epoch == self.epoch) {
            // What is gone is not told, and whoever still reads it will notice.
            let there: Partitions = owned.iter().filter(|p| self.is_there(p)).copied().collect();
            assert!(there.is_subset(&has), "{}: it moves on to epoch {}", heard.member, heard.epoch);
        }
    }

    /// Whoever says that it lives does not wait for ever.
    fn check_waits(&mut self, heard: &Heard) {
        let (has, target) = self.shares(&heard.member);
        let lacks: Partitions = target.difference(&has).copied().collect();
        self.lacking.retain(|(id, partition), _| **id != *heard.member || lacks.contains(partition));
        for partition in lacks {
            let since = *self.lacking.entry((heard.member.to_string(), partition)).or_insert(self.now);
            let most = since.plus_ms(LONGEST_WAIT_MS);
            assert!(self.now < most, "{} waits for {partition:?} since {since:?}", heard.member);
        }
    }

    /// What tools are told that a member has and is to have.
    fn shares(&self, id: &str) -> (Partitions, Partitions) {
        let described = self.groups.describe_consumer(GROUP, &self.topics).expect("the group is there");
        let member = described.members.iter().find(|member| member.member == id);
        let member = member.expect("whoever is answered is a member");
        (partitions(&member.assigned), partitions(&member.target))
    }

    fn is_there(&self, partition: &TopicPartition) -> bool {
        self.topics.values().any(|(id, count)| *id == partition.topic && partition.number < *count)
    }

    /// A member commits.
    pub fn commit(&mut self, member: &str, epoch: i32) -> Result<(), ErrorCode> {
        let who = Who { member, instance: None, generation: epoch, knows_epochs: true };
        let result = self.groups.may_commit(GROUP, who, self.now);
        if result.is_ok() {
            let current = self.member_epoch(member);
            assert!(current == Some(epoch) || (epoch < 0 && self.groups.totals().members == 0));
            self.committed += 1;
        }
        result
    }

    /// The epoch of a member, if it is one.
    pub fn member_epoch(&self, id: &str) -> Option<i32> {
        let described = self.groups.describe_consumer(GROUP, &self.topics).ok()?;
        described.members.iter().find(|member| member.member == id).map(|member| member.epoch)
    }

    /// A client reads these from now on, and nothing else. Whoever still reads one of them must be no member any more.
    pub fn reads(&mut self, client: usize, id: &str, partitions: &Partitions) {
        self.reading.retain(|partition, (reader, _)| *reader != client || partitions.contains(partition));
        if self.member_epoch(id).is_none() {
            // It will learn that it is no member any more, and until then what it does cannot be helped.
            return;
        }
        for partition in partitions {
            let mine = (client, id.to_owned());
            match self.reading.insert(*partition, mine) {
                Some((reader, _)) if reader == client => {}
                Some((reader, other)) => {
                    assert!(
                        self.member_epoch(&other).is_none(),
                        "{partition:?} is read by {reader} as {other} and by {client} as {id}"
                    );
                    self.moves += 1;
                }
                None => self.moves += 1,
            }
        }
    }

    /// A topic comes, goes or grows.
    pub fn topic(&mut self, name: &str, what: Option<(TopicId, i32)>) {
        match what {
            Some(topic) => drop(self.topics.insert(name.to_owned(), topic)),
            None => drop(self.topics.remove(name)),
        }
        self.groups.topic_changed(name, &self.topics, self.now);
        self.check();
    }

    /// Lets time pass up to this moment, doing what is due when it is.
    pub fn pass_to(&mut self, until: Time) {
        while let Some(at) = self.groups.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.groups.tick(self.now);
            assert!(self.groups.next_deadline().is_none_or(|next| next > self.now), "what is due is done");
            self.check();
        }
        self.now = self.now.max(until);
    }

    fn check(&mut self) {
        self.groups.invariants();
        match self.groups.describe_consumer(GROUP, &self.topics) {
            Ok(described) => {
                assert!(described.epoch >= self.epoch, "the epoch of the group grows");
                self.epoch = described.epoch;
            }
            // A group that is over has no memory.
            Err(_) => {
                self.epoch = 0;
                self.told.clear();
            }
        }
    }
}

fn partitions(shares: &[TopicShare]) -> Partitions {
    let of = |share: &TopicShare| {
        let topic = share.id;
        share.partitions.clone().into_iter().map(move |number| TopicPartition { topic, number })
    };
    shares.iter().flat_map(of).collect()
}
