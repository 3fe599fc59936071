//! What the tests of this module share: groups, topics, a clock, and members that know what they were told.

use std::collections::BTreeMap;

use krappy_wire::error::ErrorCode;

use super::*;
use crate::groups::assign::{Partitions, TopicId, TopicPartition};
use crate::groups::{Groups, Limits};
use crate::time::Time;

/// The id of the topic of this number.
pub fn id(number: u8) -> TopicId {
    [number; 16]
}

/// Partitions of topic 1.
pub fn of_one(numbers: &[i32]) -> Partitions {
    numbers.iter().map(|&number| TopicPartition { topic: id(1), number }).collect()
}

/// A join of a plain member, of the group `g` and the topic `one`.
pub fn join(member: &str) -> Heartbeat<'_> {
    Heartbeat {
        rebalance_timeout_ms: Some(60_000),
        topics: Some(vec!["one"]),
        owned: Some(Partitions::new()),
        ..beat(member, JOINS)
    }
}

/// A heartbeat that says nothing else.
pub fn beat(member: &str, epoch: i32) -> Heartbeat<'_> {
    Heartbeat {
        group: "g",
        member,
        epoch,
        instance: None,
        rack: None,
        client_id: "app",
        client_host: "/127.0.0.1",
        rebalance_timeout_ms: None,
        topics: None,
        pattern: None,
        assignor: None,
        owned: None,
        makes_id: true,
    }
}

/// Groups that read topics of which `one` and `two` are there, and a clock.
pub struct Room {
    pub groups: Groups<u32>,
    pub topics: BTreeMap<String, (TopicId, i32)>,
    pub now: Time,
}

impl Room {
    pub fn new() -> Room {
        Room::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Room {
        let topics = [("one", (id(1), 6)), ("two", (id(2), 2))];
        let topics = topics.map(|(name, topic)| (name.to_owned(), topic)).into();
        Room { groups: Groups::new(limits, 1), topics, now: Time(0) }
    }

    /// Sends a heartbeat.
    pub fn ask(&mut self, ask: &Heartbeat<'_>) -> Result<Heard, ErrorCode> {
        let heard = self.groups.consume(ask, &self.topics, self.now);
        self.groups.invariants();
        heard.map_err(|refused| {
            assert!(!refused.why.is_empty(), "a refusal says why");
            refused.code
        })
    }

    /// Sends one that is taken: the epoch, and what the member is told to read, if it is told.
    #[track_caller]
    pub fn hear(&mut self, ask: &Heartbeat<'_>) -> (i32, Option<Partitions>) {
        let heard = self.ask(ask).expect("a heartbeat that is taken");
        (heard.epoch, heard.assignment)
    }

    /// Members join one after the other and follow until all are there; what each reads.
    pub fn stable(&mut self, members: &[&str]) -> Vec<Partitions> {
        for member in members {
            self.hear(&join(member));
        }
        self.follow(members)
    }

    /// Members do as they are told until all are there; what each reads then.
    #[track_caller]
    pub fn follow(&mut self, members: &[&str]) -> Vec<Partitions> {
        for _ in 0..10 {
            for member in members {
                let (epoch, reads) = self.reads(member);
                self.hear(&Heartbeat { owned: Some(reads), ..beat(member, epoch) });
            }
            if self.state() == "Stable" {
                return members.iter().map(|member| self.reads(member).1).collect();
            }
        }
        panic!("the group does not come to rest");
    }

    /// The epoch of a member and what it may read.
    pub fn reads(&self, member: &str) -> (i32, Partitions) {
        let described = self.groups.describe_consumer("g", &self.topics).expect("the group is there");
        let found = described.members.into_iter().find(|found| found.member == member).expect("a member");
        let shares = found.assigned.iter();
        let all =
            shares.flat_map(|s| s.partitions.iter().map(|&number| TopicPartition { topic: s.id, number }));
        (found.epoch, all.collect())
    }

    pub fn state(&self) -> &'static str {
        self.groups.describe_consumer("g", &self.topics).map_or("Dead", |described| described.state)
    }

    pub fn epoch(&self) -> i32 {
        self.groups.describe_consumer("g", &self.topics).expect("the group is there").epoch
    }

    /// Lets time pass, doing what is due when it is.
    pub fn pass(&mut self, ms: u64) {
        let until = self.now.plus_ms(ms);
        while let Some(at) = self.groups.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.groups.tick(self.now);
            self.groups.invariants();
        }
        self.now = until;
    }

    /// A topic is made, grows or goes.
    pub fn topic(&mut self, name: &str, what: Option<(TopicId, i32)>) {
        match what {
            Some(topic) => drop(self.topics.insert(name.to_owned(), topic)),
            None => drop(self.topics.remove(name)),
        }
        self.groups.topic_changed(name, &self.topics, self.now);
        self.groups.invariants();
    }
}
