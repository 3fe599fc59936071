//! Groups under any sequence of calls, made of numbers: for the model test and the fuzz target. No client here follows
//! any rule; the witness says what must hold all the same, and in the end silence must leave nothing behind.

use std::collections::BTreeMap;

use krappy::groups::{Answer, Join, Leaver, Limits, Sync, Totals, Who};
use krappy::time::Time;

use super::witness::Witness;

const GROUPS: [&str; 3] = ["a", "b", ""];
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
}

impl Op {
    /// The first number chooses with these weights.
    pub fn of(code: u8, a: u16, b: u16) -> Op {
        match code {
            0..=79 => Op::Join { client: a, how: b },
            80..=129 => Op::Sync { client: a, how: b },
            130..=154 => Op::Heartbeat { client: a, how: b },
            155..=179 => Op::Commit { client: a, how: b },
            180..=191 => Op::Leave { client: a, how: b },
            192..=203 => Op::HangUp { client: a },
            204..=209 => Op::Forget { client: a },
            210..=239 => Op::Pass { ms: a },
            240..=247 => Op::Offsets { group: a, how: b },
            248..=255 => Op::Look { group: a },
        }
    }
}

#[derive(Default, Clone)]
struct Client {
    id: String,
    generation: i32,
    waits: u64,
}

/// Eight clients without manners.
pub struct Driver {
    pub witness: Witness,
    clients: [Client; 8],
    by_wait: BTreeMap<u64, usize>,
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
            ..Limits::default()
        };
        let witness = Witness::new(limits, u128::from(shape));
        Driver { witness, clients: Default::default(), by_wait: BTreeMap::new() }
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
                let waits = self.clients[usize::from(client % 8)].waits;
                self.witness.hang_up(waits);
            }
            Op::Forget { client } => self.clients[usize::from(client % 8)] = Client::default(),
            Op::Pass { ms } => {
                let until = self.witness.now.plus_ms(u64::from(ms % 16_000));
                self.witness.pass_to(until);
            }
            Op::Offsets { group, how } => self.offsets(GROUPS[usize::from(group % 3)], how),
            Op::Look { group } => self.look(GROUPS[usize::from(group % 3)]),
        }
        self.witness.collect();
        self.deliver();
    }

    /// Nobody says anything any more.
    pub fn settle(&mut self) {
        for group in GROUPS {
            self.witness.groups.forgotten(group);
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
        let metadata = vec![(how >> 8) as u8; usize::from(how % 7) * 40];
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
        let waits = self.witness.join(&ask);
        self.clients[n].waits = waits;
        self.by_wait.insert(waits, n);
    }

    fn sync(&mut self, n: usize, how: u16) {
        let (group, client) = self.named(n as u16, how);
        let share = vec![how as u8; usize::from(how % 50)];
        let ids: Vec<String> = self.clients.iter().map(|client| client.id.clone()).collect();
        let all = ids.iter().filter(|id| !id.is_empty()).map(|id| (id.as_str(), share.as_slice()));
        let ask = Sync {
            group,
            who: who(&client, instance(how)),
            protocol_type: how.is_multiple_of(2).then_some("consumer"),
            protocol: (how % 16 == 5).then_some("range"),
            assignments: all.collect(),
        };
        let waits = self.witness.sync(&ask);
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
        drop(self.witness.groups.subscribed_topics(group));
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

fn who<'a>(client: &'a Client, instance: Option<&'a str>) -> Who<'a> {
    Who { member: &client.id, instance, generation: client.generation }
}

fn instance(how: u16) -> Option<&'static str> {
    [None, None, None, Some("one"), Some("two")][usize::from(how / 32 % 5)]
}
