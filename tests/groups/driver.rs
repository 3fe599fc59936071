//! Groups of both kinds under any sequence of calls, made of numbers: for the model test and the fuzz target. No client
//! here follows any rule; the witness says what must hold all the same, and in the end silence must leave nothing
//! behind.

use std::collections::BTreeMap;

use krappy::groups::assign::{Assignor, Partitions, TopicId, TopicPartition};
use krappy::groups::consumer::Heartbeat;
use krappy::groups::{Answer, Join, Leaver, Limits, Sync, Totals, Who};
use krappy::time::Time;

use super::witness::Witness;

const GROUPS: [&str; 3] = ["a", "b", ""];
const TOPICS: [&str; 3] = ["one", "two", "three"];
const PROTOCOLS: [&[&str]; 4] = [&["range"], &["range", "sticky"], &["sticky", "range"], &["sticky"]];
/// Longer than any session, rebalance and wait for a dead link of these clients, one after the other.
const SILENCE_MS: u64 = 20 * 60 * 1000;

/// One call. The numbers are scaled to what is possible at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Join {
        client: u16,
        how: u16,
    },
    Sync {
        client: u16,
        how: u16,
    },
    Heartbeat {
        client: u16,
        how: u16,
    },
    Commit {
        client: u16,
        how: u16,
    },
    Leave {
        client: u16,
        how: u16,
    },
    HangUp {
        client: u16,
    },
    /// An answer or an id is lost on its way.
    Forget {
        client: u16,
    },
    Pass {
        ms: u16,
    },
    /// Offsets of a group come, go, or go with it.
    Offsets {
        group: u16,
        how: u16,
    },
    /// What tools ask.
    Look {
        group: u16,
    },
    /// A heartbeat in a consumer group.
    Consume {
        client: u16,
        how: u16,
    },
    /// A stream joins a consumer group, or says what it reads.
    Stream {
        client: u16,
        how: u16,
    },
    /// A topic comes, goes or grows.
    Topic {
        topic: u16,
        how: u16,
    },
}

impl Op {
    /// The first number chooses with these weights.
    pub fn of(code: u8, a: u16, b: u16) -> Op {
        match code {
            0..=49 => Op::Join { client: a, how: b },
            50..=79 => Op::Sync { client: a, how: b },
            80..=94 => Op::Heartbeat { client: a, how: b },
            95..=109 => Op::Commit { client: a, how: b },
            110..=121 => Op::Leave { client: a, how: b },
            122..=133 => Op::HangUp { client: a },
            134..=139 => Op::Forget { client: a },
            140..=164 => Op::Pass { ms: a },
            165..=174 => Op::Offsets { group: a, how: b },
            175..=179 => Op::Look { group: a },
            180..=229 => Op::Consume { client: a, how: b },
            230..=247 => Op::Stream { client: a, how: b },
            248..=255 => Op::Topic { topic: a, how: b },
        }
    }
}

#[derive(Default, Clone)]
struct Client {
    id: String,
    generation: i32,
    waits: u64,
}

/// A member of a consumer group.
#[derive(Default, Clone)]
struct Consumer {
    epoch: i32,
    told: Partitions,
    stream: u64,
}

/// Eight clients of each kind without manners. The first four of each kind are in one group, the others in another, so
/// that groups change their kind now and then.
pub struct Driver {
    pub witness: Witness,
    clients: [Client; 8],
    consumers: [Consumer; 8],
    by_wait: BTreeMap<u64, usize>,
    topics: BTreeMap<String, (TopicId, i32)>,
}

impl Driver {
    /// `shape` chooses the limits.
    pub fn new(shape: u16) -> Driver {
        let limits = Limits {
            initial_rebalance_delay_ms: [0, 3_000][usize::from(shape % 2)],
            group_max_size: [2, 100][usize::from(shape / 2 % 2)],
            pending_members: [1, 100][usize::from(shape / 4 % 2)],
            max_groups: [1, 100][usize::from(shape / 8 % 2)],
            bytes: [6_000, 1 << 20][usize::from(shape / 16 % 2)],
            consumer_group_max_size: [2, 100][usize::from(shape / 32 % 2)],
            assignors: [Assignor::ALL.to_vec(), vec![Assignor::Range]][usize::from(shape / 64 % 2)].clone(),
            ..Limits::default()
        };
        let witness = Witness::new(limits, u128::from(shape));
        Driver {
            witness,
            clients: Default::default(),
            consumers: Default::default(),
            by_wait: BTreeMap::new(),
            topics: BTreeMap::new(),
        }
    }

    /// Makes one call.
    pub fn step(&mut self, op: Op) {
        match op {
            Op::Join { client, how } => self.join(usize::from(client % 8), how),
            Op::Sync { client, how } => self.sync(usize::from(client % 8), how),
            Op::Heartbeat { client, how } => {
                let (group, client) = self.named(client, how);
                self.witness.heartbeat(group, who(&client, instance(how))).unwrap_or_default();
            }
            Op::Commit { client, how } => {
                let (group, client) = self.named(client, how);
                self.witness.commit(group, who(&client, instance(how))).unwrap_or_default();
            }
            Op::Leave { client, how } => {
                let (group, client) = self.named(client, how);
                let leaver = Leaver { member: &client.id, instance: instance(how), reason: None };
                self.witness.leave(group, &[leaver]);
            }
            Op::HangUp { client } => {
                let n = usize::from(client % 8);
                let stream = self.consumers[n].stream;
                self.witness.hang_up(if client.is_multiple_of(3) { stream } else { self.clients[n].waits });
            }
            Op::Forget { client } => self.clients[usize::from(client % 8)] = Client::default(),
            Op::Pass { ms } => {
                let until = self.witness.now.plus_ms(u64::from(ms % 16_000));
                self.witness.pass_to(until);
            }
            Op::Offsets { group, how } => self.offsets(GROUPS[usize::from(group % 3)], how),
            Op::Look { group } => self.look(GROUPS[usize::from(group % 3)]),
            Op::Consume { client, how } => self.consume(usize::from(client % 8), how),
            Op::Stream { client, how } => self.stream(usize::from(client % 8), how),
            Op::Topic { topic, how } => self.topic(topic, how),
        }
        self.witness.collect();
        self.deliver();
    }

    /// Nobody says anything any more.
    pub fn settle(&mut self) {
        for group in GROUPS {
            self.witness.groups.forgotten(group);
        }
        for n in 0..self.consumers.len() {
            self.witness.hang_up(self.consumers[n].stream);
        }
        self.witness.collect();
        let until = self.witness.now.plus_ms(SILENCE_MS);
        self.witness.pass_to(until);
        assert_eq!(self.witness.waiting(), 0, "everybody is answered");
        assert_eq!(self.witness.groups.totals(), Totals::default(), "nothing is left");
        assert_eq!(self.witness.groups.next_deadline(), None::<Time>);
    }

    /// A client with its group; sometimes it means another, or has an old generation in mind.
    fn named(&self, client: u16, how: u16) -> (&'static str, Client) {
        let n = usize::from(client % 8);
        let mut client = self.clients[n].clone();
        match how / 256 % 8 {
            0 => client.generation -= 1,
            1 => client.generation = -1,
            _ => {}
        }
        let group = if how % 32 == 31 { GROUPS[2] } else { GROUPS[n / 4] };
        (group, client)
    }

    fn join(&mut self, n: usize, how: u16) {
        let (group, client) = self.named(n as u16, how);
        let metadata = match how % 5 {
            0 | 1 => vec![(how >> 8) as u8; usize::from(how % 7) * 40],
            _ => [b"\0\x01\0\0\0\x01\0\x03one\xff\xff\xff\xff".to_vec(), partitions_of_one(how)].concat(),
        };
        let names = PROTOCOLS[usize::from(how / 8 % 4)];
        let ask = Join {
            group,
            member: &client.id,
            instance: instance(how),
            client_id: "app",
            client_host: "/::1",
            session_timeout_ms: 5_990 + i32::from(how % 1_000) * 20,
            rebalance_timeout_ms: [-1, 0, 10_000, 60_000][usize::from(how / 512 % 4)],
            protocol_type: if how % 64 == 63 { "connect" } else { "consumer" },
            protocols: names.iter().map(|name| (*name, metadata.as_slice())).collect(),
            reason: None,
            takes_id_first: !how.is_multiple_of(3),
            skips_assignment: !how.is_multiple_of(5),
        };
        let waits = self.witness.join(&ask, &self.topics);
        self.clients[n].waits = waits;
        self.by_wait.insert(waits, n);
    }

    fn sync(&mut self, n: usize, how: u16) {
        let (group, client) = self.named(n as u16, how);
        let share = match how % 5 {
            0 => vec![how as u8; usize::from(how % 50)],
            _ => [b"\0\x01".to_vec(), partitions_of_one(how), vec![0; 4]].concat(),
        };
        let ids: Vec<String> = self.clients.iter().map(|client| client.id.clone()).collect();
        let all = ids.iter().filter(|id| !id.is_empty()).map(|id| (id.as_str(), share.as_slice()));
        let ask = Sync {
            group,
            who: who(&client, instance(how)),
            protocol_type: how.is_multiple_of(2).then_some("consumer"),
            protocol: (how % 16 == 5).then_some("range"),
            assignments: all.collect(),
        };
        let waits = self.witness.sync(&ask, &self.topics);
        self.clients[n].waits = waits;
        self.by_wait.insert(waits, n);
    }

    fn offsets(&mut self, group: &str, how: u16) {
        match how % 4 {
            0 | 1 => self.witness.groups.known(group, if how.is_multiple_of(2) { "" } else { "consumer" }),
            2 => self.witness.groups.forgotten(group),
            _ => self.witness.groups.delete(group).unwrap_or_default(),
        }
    }

    fn look(&mut self, group: &str) {
        let described = self.witness.groups.describe(group);
        let listed = self.witness.groups.list(&[described.state.name()], &["classic"]);
        let known = listed.iter().any(|listed| listed.group == group);
        assert_eq!(known, described.state.name() != "Dead", "a list and a description agree");
        let consumer = self.witness.groups.describe_consumer(group, &self.topics).is_ok();
        let listed = self.witness.groups.list(&[], &["consumer"]);
        assert_eq!(
            listed.iter().any(|listed| listed.group == group),
            consumer,
            "so do those of the other kind"
        );
        assert!(!consumer || described.state.name() == "Dead", "a group is of one kind");
        drop(self.witness.groups.subscribed_topics(group));
    }

    fn consume(&mut self, n: usize, how: u16) {
        let epoch = match how % 16 {
            0..=6 => self.consumers[n].epoch,
            7..=10 => 0,
            11 => -1,
            12 => -2,
            13 => self.consumers[n].epoch - 1,
            _ => self.consumers[n].epoch + 1,
        };
        let owned = match how / 16 % 4 {
            _ if epoch == 0 => Some(Partitions::new()),
            0 => None,
            1 => Some(Partitions::new()),
            2 => Some(partitions(how)),
            _ => Some(self.consumers[n].told.clone()),
        };
        let id = format!("member {n}");
        let ask = Heartbeat {
            group: if how % 64 == 63 { GROUPS[2] } else { GROUPS[n / 4] },
            member: if how.is_multiple_of(31) { "" } else { &id },
            epoch,
            instance: [None, None, Some("one"), Some("two")][usize::from(how / 64 % 4)],
            rack: how.is_multiple_of(7).then_some("r"),
            client_id: "app",
            client_host: "/::1",
            rebalance_timeout_ms: (epoch == 0 || how.is_multiple_of(5)).then_some(i32::from(how % 600) * 100),
            topics: (epoch == 0 || how.is_multiple_of(3))
                .then(|| TOPICS[..usize::from(how / 256 % 4)].to_vec()),
            pattern: [None, Some(""), Some("o.*"), Some("(a|b"), Some("[^x]{3,}")]
                [usize::from(how / 1024 % 5)],
            assignor: [None, None, Some("range"), Some("uniform"), Some("x")][usize::from(how / 4096 % 5)],
            owned,
            makes_id: !how.is_multiple_of(2),
        };
        if let Ok(heard) = self.witness.consume(&ask, &self.topics) {
            self.consumers[n].epoch = heard.epoch.max(0);
            self.consumers[n].told = heard.assignment.unwrap_or_default();
        }
    }

    fn stream(&mut self, n: usize, how: u16) {
        let stream = self.consumers[n].stream;
        if self.witness.has_stream(stream) {
            let owned = if how.is_multiple_of(2) { partitions(how) } else { self.witness.told(stream) };
            return self.witness.owned(stream, &owned);
        }
        let topic = TOPICS[usize::from(how % 3)];
        self.consumers[n].stream = self.witness.join_stream(GROUPS[n / 4], topic, &self.topics);
    }

    fn topic(&mut self, topic: u16, how: u16) {
        let name = TOPICS[usize::from(topic % 3)];
        // No two topics have one id.
        let id = [(topic % 3 * 80 + how % 80) as u8; 16];
        match (how / 80 % 3, self.topics.get_mut(name)) {
            (0, Some(topic)) => topic.1 += 1,
            (1, Some(_)) => drop(self.topics.remove(name)),
            _ => drop(self.topics.insert(name.to_owned(), (id, i32::from(how % 7)))),
        }
        self.witness.groups.topic_changed(name, &self.topics, self.witness.now);
    }

    fn deliver(&mut self) {
        for (to, answer) in std::mem::take(&mut self.witness.inbox) {
            let Some(n) = self.by_wait.remove(&to) else { continue };
            match answer {
                Answer::Joined(told) => {
                    self.clients[n].id = told.member.to_string();
                    self.clients[n].generation = told.generation;
                }
                Answer::NotJoined { member, .. } => self.clients[n].id = member.to_string(),
                Answer::Synced(_) | Answer::NotSynced(_) => {}
            }
        }
    }
}

/// None or some partitions of a topic, as classic members and their leaders write it.
fn partitions_of_one(how: u16) -> Vec<u8> {
    let count = how / 16 % 4;
    let numbers = (0..count).flat_map(|n| i32::from((how >> 6) % 5 + n).to_be_bytes());
    let head = [&b"\0\0\0\x01\0\x03one\0\0\0"[..], &[count as u8]].concat();
    head.into_iter().chain(numbers).collect()
}

/// Some partitions, of topics that are there and of others.
fn partitions(how: u16) -> Partitions {
    let [a, b] = how.to_be_bytes();
    (0..3).map(|n| TopicPartition { topic: [a; 16], number: i32::from(b % 5) + n }).collect()
}

fn who<'a>(client: &'a Client, instance: Option<&'a str>) -> Who<'a> {
    Who { member: &client.id, instance, generation: client.generation, knows_epochs: true }
}

fn instance(how: u16) -> Option<&'static str> {
    [None, None, None, Some("one"), Some("two")][usize::from(how / 32 % 5)]
}
