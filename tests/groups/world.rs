//! A world of clients around one group: good ones, which follow the rules of Kafka's Java client, and rude ones, which
//! do not. Requests and answers take their time, clients crash, restart and leave; everything comes from one seed.
//!
//! When the rude ones are gone and nobody crashes any more, the good ones must come to rest: all in one generation,
//! each with its share, and nobody else in the group. When they leave, nothing may be left.

use std::collections::BTreeMap;

use krappy::disk::sim::Rng;
use krappy::groups::{Answer, Join, Joined, Leaver, Limits, State, Sync, Totals, Who};
use krappy::time::Time;
use krappy_wire::error::ErrorCode;

use super::witness::Witness;

const GROUP: &str = "g";
/// How long good clients crash and rude ones are rude, in milliseconds.
const TROUBLE: u64 = 180_000;
/// After this the good ones must be at rest: a session, a rebalance and the wait for a dead link, and some more.
const REST: u64 = TROUBLE + 300_000 + 2 * (60_000 + 30_000);

/// What happens to a client.
#[derive(Debug)]
enum What {
    Join,
    Sync(Option<Joined>),
    Heartbeat,
    Hear(Answer),
    Crash,
    Start,
    Leave,
    BeRude,
}

/// A client.
#[derive(Default)]
struct Client {
    rude: bool,
    /// Counts its lives; what was meant for an earlier one does not reach it.
    life: u32,
    alive: bool,
    instance: Option<String>,
    takes_id_first: bool,
    skips_assignment: bool,
    session: i32,
    rebalance: i32,
    protocols: Vec<(&'static str, Vec<u8>)>,
    /// The longest that it takes to notice and to do something.
    slow: u64,
    id: String,
    generation: i32,
    waits: Option<u64>,
    share: Option<Vec<u8>>,
}

/// The world.
pub struct World {
    pub witness: Witness,
    rng: Rng,
    clients: Vec<Client>,
    events: BTreeMap<(Time, u64), (usize, u32, What)>,
    last: u64,
    waiting: BTreeMap<u64, usize>,
    /// The longest that a request or an answer travels.
    link: u64,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let limits = Limits {
            initial_rebalance_delay_ms: [0, 500, 3_000][rng.below(3) as usize],
            group_max_size: [4, 1_000][usize::from(rng.chance(0.8))],
            pending_members: [2, 1_000][usize::from(rng.chance(0.8))],
            ..Limits::default()
        };
        let good = 1 + rng.below(limits.group_max_size.min(12) as u64) as usize;
        let rude = rng.below(4) as usize;
        let link = [1, 20, 400][rng.below(3) as usize];
        let mut world = World::empty(limits, rng, link);
        for n in 0..good + rude {
            let client = world.client(n, n >= good);
            world.clients.push(client);
            let at = world.rng.below(20_000);
            world.then(n, at, if n < good { What::Start } else { What::BeRude });
        }
        for n in 0..good {
            if world.rng.chance(0.6) {
                let at = world.rng.below(TROUBLE);
                let what = if world.rng.chance(0.5) { What::Crash } else { What::Leave };
                world.then(n, at, what);
            }
        }
        world
    }

    fn empty(limits: Limits, rng: Rng, link: u64) -> World {
        World {
            witness: Witness::new(limits, 7),
            rng,
            clients: Vec::new(),
            events: BTreeMap::new(),
            last: 0,
            waiting: BTreeMap::new(),
            link,
        }
    }

    /// This many good clients that all start within `ms`.
    pub fn crowd(size: usize, ms: u64, initial_rebalance_delay_ms: u32) -> World {
        let limits = Limits { initial_rebalance_delay_ms, ..Limits::default() };
        let mut world = World::empty(limits, Rng::new(5), 5);
        for n in 0..size {
            let client = Client {
                instance: None,
                session: 30_000,
                rebalance: 60_000,
                slow: 200,
                ..world.client(n, false)
            };
            world.clients.push(Client { takes_id_first: true, ..client });
            let at = world.rng.below(ms);
            world.then(n, at, What::Start);
        }
        world
    }

    fn client(&mut self, n: usize, rude: bool) -> Client {
        let metadata = format!("topics of {n}").into_bytes();
        let mut protocols = vec![("range", metadata.clone())];
        if self.rng.chance(0.5) {
            protocols.insert(self.rng.below(2) as usize, ("sticky", metadata));
        }
        Client {
            rude,
            instance: self.rng.chance(0.3).then(|| format!("instance {n}")),
            takes_id_first: self.rng.chance(0.7),
            skips_assignment: self.rng.chance(0.5),
            session: 6_000 + self.rng.below(24_000) as i32,
            rebalance: 10_000 + self.rng.below(50_000) as i32,
            protocols,
            slow: [10, 1_000, 4_000][self.rng.below(3) as usize],
            ..Client::default()
        }
    }

    fn then(&mut self, n: usize, ms: u64, what: What) {
        self.last += 1;
        let at = self.witness.now.plus_ms(ms);
        self.events.insert((at, self.last), (n, self.clients[n].life, what));
    }

    /// After the client has noticed, and its request has travelled.
    fn soon(&mut self, n: usize, what: What) {
        let ms = self.rng.below(self.clients[n].slow) + self.rng.below(self.link);
        self.then(n, ms, what);
    }

    /// Lets everything happen up to this moment.
    pub fn run_to(&mut self, ms: u64) {
        let until = Time(0).plus_ms(ms);
        loop {
            let next = self.events.first_key_value().map(|((at, _), _)| *at);
            let next = next.into_iter().chain(self.witness.groups.next_deadline()).min();
            let Some(next) = next.filter(|at| *at <= until) else { break };
            self.witness.pass_to(next);
            self.deliver();
            while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= next) {
                let (n, life, what) = entry.remove();
                let always = matches!(what, What::Start | What::BeRude | What::Crash | What::Leave);
                if always || life == self.clients[n].life {
                    self.happen(n, what);
                }
                self.deliver();
            }
        }
        self.witness.pass_to(until);
    }

    /// Answers travel to their clients.
    fn deliver(&mut self) {
        for (to, answer) in std::mem::take(&mut self.witness.inbox) {
            if let Some(n) = self.waiting.remove(&to).filter(|n| self.clients[*n].waits == Some(to)) {
                self.clients[n].waits = None;
                let ms = self.rng.below(self.link);
                self.then(n, ms, What::Hear(answer));
            }
        }
    }

    fn happen(&mut self, n: usize, what: What) {
        match what {
            What::Start => {
                self.clients[n].alive = true;
                self.soon(n, What::Join);
            }
            What::Join => self.join(n),
            What::Sync(told) => self.sync(n, told.as_ref()),
            What::Heartbeat => self.heartbeat(n),
            What::Hear(answer) if self.clients[n].rude => self.hear_rudely(n, answer),
            What::Hear(answer) => self.hear(n, answer),
            What::Crash => self.die(n),
            What::Leave => self.leave(n, true),
            What::BeRude => self.be_rude(n),
        }
    }

    fn wait(&mut self, n: usize, waiter: u64) {
        self.clients[n].waits = Some(waiter);
        self.waiting.insert(waiter, n);
    }

    fn join(&mut self, n: usize) {
        let client = &self.clients[n];
        let protocols =
            client.protocols.iter().map(|(name, metadata)| (*name, metadata.as_slice())).collect();
        let ask = Join {
            group: GROUP,
            member: &client.id,
            instance: client.instance.as_deref(),
            client_id: "app",
            client_host: "/10.0.0.1",
            session_timeout_ms: client.session,
            rebalance_timeout_ms: client.rebalance,
            protocol_type: "consumer",
            protocols,
            reason: None,
            takes_id_first: client.takes_id_first,
            skips_assignment: client.skips_assignment,
        };
        let waiter = self.witness.join(&ask, &BTreeMap::new());
        self.clients[n].share = None;
        self.wait(n, waiter);
    }

    fn sync(&mut self, n: usize, told: Option<&Joined>) {
        let client = &self.clients[n];
        let shares: Vec<(String, Vec<u8>)> = told
            .iter()
            .flat_map(|told| &told.members)
            .map(|m| (m.id.to_string(), format!("{} in {}", m.id, client.generation).into_bytes()))
            .collect();
        let assignments = shares.iter().map(|(id, share)| (id.as_str(), share.as_slice())).collect();
        let who = Who {
            member: &client.id,
            instance: client.instance.as_deref(),
            generation: client.generation,
            knows_epochs: true,
        };
        let ask = Sync { group: GROUP, who, protocol_type: Some("consumer"), protocol: None, assignments };
        let waiter = self.witness.sync(&ask, &BTreeMap::new());
        self.wait(n, waiter);
    }

    fn heartbeat(&mut self, n: usize) {
        let Client { id, instance, generation, session, .. } = &self.clients[n];
        let who =
            Who { member: id, instance: instance.as_deref(), generation: *generation, knows_epochs: true };
        let every = *session as u64 / 3;
        let commits = self.rng.chance(0.3);
        if commits {
            // Whatever comes of it, the heartbeat tells the same.
            self.witness.commit(GROUP, who).unwrap_or_default();
        }
        match self.witness.heartbeat(GROUP, who) {
            Ok(()) => self.then(n, every, What::Heartbeat),
            Err(code) => self.recover(n, code),
        }
    }

    /// What the Java client does when it is refused.
    fn recover(&mut self, n: usize, code: ErrorCode) {
        self.clients[n].share = None;
        match code {
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => {}
            ErrorCode::FencedInstanceId => panic!("nobody else is this instance"),
            _ => self.clients[n].id.clear(),
        }
        // It backs off for a moment, or a full group would be asked without end.
        self.then(n, 100, What::Join);
    }

    fn hear(&mut self, n: usize, answer: Answer) {
        match answer {
            Answer::Joined(told) => {
                self.clients[n].id = told.member.to_string();
                self.clients[n].generation = told.generation;
                let leads = told.leader == told.member && !told.skip_assignment;
                self.soon(n, What::Sync(leads.then_some(told)));
            }
            Answer::Synced(got) => {
                let client = &mut self.clients[n];
                client.share = Some(got.assignment.to_vec());
                let every = client.session as u64 / 3;
                self.then(n, every, What::Heartbeat);
            }
            Answer::NotJoined { code: ErrorCode::MemberIdRequired, member } => {
                self.clients[n].id = member.to_string();
                self.soon(n, What::Join);
            }
            Answer::NotJoined { code, .. } | Answer::NotSynced(code) => self.recover(n, code),
        }
    }

    /// It is gone without a word. Mostly its connection breaks, which the broker sees.
    fn die(&mut self, n: usize) {
        self.end_life(n);
        if let Some(waiter) = self.clients[n].waits.take()
            && self.rng.chance(0.7)
        {
            self.waiting.remove(&waiter);
            self.witness.hang_up(waiter);
        }
        let later = self.rng.below(TROUBLE / 3);
        self.then(n, later, What::Start);
    }

    fn end_life(&mut self, n: usize) {
        let client = &mut self.clients[n];
        client.life += 1;
        client.alive = false;
        client.id.clear();
        client.share = None;
    }

    fn leave(&mut self, n: usize, comes_back: bool) {
        let Client { id, instance, .. } = &self.clients[n];
        let leaver = Leaver { member: id, instance: instance.as_deref(), reason: Some("done") };
        if !id.is_empty() {
            self.witness.leave(GROUP, &[leaver]);
        }
        self.end_life(n);
        if let Some(waiter) = self.clients[n].waits.take() {
            self.waiting.remove(&waiter);
            self.witness.hang_up(waiter);
        }
        if comes_back {
            let later = self.rng.below(TROUBLE / 3);
            self.then(n, later, What::Start);
        }
    }

    /// One of the things that no client should do.
    fn be_rude(&mut self, n: usize) {
        if self.witness.now > Time(0).plus_ms(TROUBLE) {
            return;
        }
        let metadata = self.rng.next_u64().to_be_bytes().to_vec();
        self.clients[n].protocols = vec![("range", metadata.clone()), ("sticky", metadata)];
        match self.rng.below(9) {
            // It joins on a whim, with something else to say each time.
            0..=2 => self.join(n),
            3 => self.sync(n, None),
            4 => {
                self.clients[n].generation += self.rng.below(3) as i32 - 1;
                self.sync(n, None);
            }
            5 => {
                let client = &self.clients[n];
                let who = Who {
                    member: &client.id,
                    instance: None,
                    generation: client.generation - 1,
                    knows_epochs: true,
                };
                self.witness.heartbeat(GROUP, who).unwrap_or_default();
                self.witness.commit(GROUP, who).unwrap_or_default();
            }
            6 => self.clients[n].id.clear(),
            7 => self.leave(n, false),
            _ => {
                // It goes on living, and does not do its part.
                let client = &self.clients[n];
                let instance = client.instance.as_deref();
                let who =
                    Who { member: &client.id, instance, generation: client.generation, knows_epochs: true };
                self.witness.heartbeat(GROUP, who).unwrap_or_default();
            }
        }
        let later = self.rng.below(6_000);
        self.then(n, later, What::BeRude);
    }

    fn hear_rudely(&mut self, n: usize, answer: Answer) {
        match answer {
            Answer::Joined(told) => {
                self.clients[n].id = told.member.to_string();
                self.clients[n].generation = told.generation;
                // Sometimes it shares out, and leaves somebody out.
                if self.rng.chance(0.5) {
                    let mut told = told;
                    told.members.pop();
                    self.soon(n, What::Sync(Some(told)));
                }
            }
            Answer::NotJoined { member, .. } => self.clients[n].id = member.to_string(),
            Answer::Synced(_) | Answer::NotSynced(_) => {}
        }
    }

    /// Whether all good clients are members of one generation, each with its share, and nobody else is.
    fn at_rest(&self) -> bool {
        let good: Vec<&Client> = self.clients.iter().filter(|client| !client.rude).collect();
        let described = self.witness.groups.describe(GROUP);
        let shared = |client: &&Client| client.share.as_ref().is_some_and(|share| !share.is_empty());
        let generation = |client: &&Client| client.generation == good[0].generation;
        let known = |client: &&Client| described.members.iter().any(|member| member.member == client.id);
        described.state == State::Stable
            && described.members.len() == good.len()
            && good.iter().all(|client| client.alive && shared(client) && generation(client) && known(client))
    }

    /// Runs until everything must be at rest, and says after how many seconds without trouble it was.
    pub fn settle(&mut self) -> u64 {
        let mut restless = TROUBLE;
        for at in (TROUBLE..=REST).step_by(1_000) {
            self.run_to(at);
            if !self.at_rest() {
                restless = at;
            }
        }
        let described = self.witness.groups.describe(GROUP);
        assert!(self.at_rest(), "the good clients do not come to rest: {described:?}");
        (restless - TROUBLE) / 1_000
    }

    /// Everybody leaves.
    pub fn close(&mut self) {
        for n in 0..self.clients.len() {
            if !self.clients[n].rude {
                self.leave(n, false);
            }
        }
        // Ids that were given out to nobody are forgotten after their sessions.
        self.run_to(REST + 30_000);
        assert_eq!(self.witness.groups.totals(), Totals::default(), "nothing is left");
        assert_eq!((self.witness.groups.next_deadline(), self.witness.waiting()), (None, 0));
    }
}
