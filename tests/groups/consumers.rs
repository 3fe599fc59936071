//! A world of clients around one consumer group: good ones, which follow the rules of Kafka's clients, stubborn ones,
//! which give nothing back, and rude ones, which say whatever comes to their mind. Requests and answers take their time
//! and get lost, clients crash, freeze, restart and leave, topics come, go and grow; everything comes from one seed.
//!
//! When the trouble is over, the good ones must come to rest: everything that they want is read by one of them each,
//! evenly. Whoever comes then takes its share and nothing else moves. When they leave, nothing may be left.

use std::collections::{BTreeMap, BTreeSet};

use krappy::disk::sim::Rng;
use krappy::groups::assign::{Partitions, TopicId, TopicPartition};
use krappy::groups::consumer::{GOES_AWAY, Heard, Heartbeat, JOINS, LEAVES};
use krappy::groups::{Limits, Totals};
use krappy::time::Time;
use krappy_wire::error::ErrorCode;

use super::readers::{GROUP, Readers};

/// How long there is trouble, in milliseconds.
const TROUBLE: u64 = 180_000;
/// After this the good ones must be at rest: sessions and rebalances of others have ended, and some more.
const REST: u64 = TROUBLE + 45_000 + 60_000 + 60_000;
/// When an answer is not there after this long, it is lost.
const PATIENCE: u64 = 10_000;
const TOPICS: [&str; 4] = ["orders", "order-lines", "audit", "late"];

/// What happens to a client.
#[derive(Debug)]
enum What {
    Start,
    Beat,
    Hear(u64, Result<Heard, ErrorCode>),
    Lost(u64),
    Stopped(Partitions),
    Commit,
    Crash,
    Freeze,
    Leave,
    ChangeMind,
}

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manners {
    Good,
    /// It never stops reading what it is to give back.
    Stubborn,
    Rude,
}

#[derive(Debug)]
struct Client {
    manners: Manners,
    /// Counts its lives; what was meant for an earlier one does not reach it.
    life: u32,
    alive: bool,
    instance: Option<String>,
    id: String,
    epoch: i32,
    topics: Vec<&'static str>,
    pattern: Option<&'static str>,
    assignor: Option<&'static str>,
    rebalance_timeout: i32,
    /// The longest that it takes to notice and to stop reading.
    slow: u64,
    reads: Partitions,
    /// What it was told to read; it is on its way there.
    target: Partitions,
    /// It says everything next time, because it does not know what has arrived.
    full: bool,
    /// The request that is under way.
    request: Option<u64>,
    frozen_until: Time,
}

/// The world.
pub struct World {
    pub readers: Readers,
    rng: Rng,
    clients: Vec<Client>,
    events: BTreeMap<(Time, u64), (usize, u32, What)>,
    last: u64,
    next_topic: u8,
    /// The longest that a request or an answer travels, and how many of a hundred get lost.
    link: u64,
    lossy: f64,
    /// All want the same, and want it shared out evenly.
    alike: bool,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let limits = Limits {
            consumer_heartbeat_interval_ms: [500, 5_000][rng.below(2) as usize],
            consumer_group_max_size: [8, 1_000][usize::from(rng.chance(0.8))],
            ..Limits::default()
        };
        let (link, lossy) = ([1, 20, 400][rng.below(3) as usize], [0.0, 0.05][rng.below(2) as usize]);
        let alike = rng.chance(0.6);
        let mut world = World {
            readers: Readers::new(limits),
            rng,
            clients: Vec::new(),
            events: BTreeMap::new(),
            last: 0,
            next_topic: 0,
            link,
            lossy,
            alike,
        };
        for name in &TOPICS[..3] {
            world.make(name);
        }
        let good = 1 + world.rng.below(6) as usize;
        let bad = world.rng.below(3) as usize;
        for n in 0..good + bad {
            let manners = match (n < good, world.rng.chance(0.5)) {
                (true, _) => Manners::Good,
                (false, true) => Manners::Stubborn,
                (false, false) => Manners::Rude,
            };
            world.add(manners);
            let at = world.rng.below(20_000);
            world.then(n, at, What::Start);
            world.trouble(n);
        }
        world
    }

    fn trouble(&mut self, n: usize) {
        for _ in 0..self.rng.below(4) {
            let what = match self.rng.below(5) {
                0 => What::Crash,
                1 => What::Freeze,
                2 => What::Leave,
                3 => What::ChangeMind,
                _ => What::Commit,
            };
            let at = self.rng.below(TROUBLE);
            self.then(n, at, what);
        }
    }

    /// Makes a topic, or makes it larger, or makes it again.
    fn make(&mut self, name: &str) {
        let size = 1 + self.rng.below(6) as i32;
        let grown = self.readers.topics.get(name).map(|(id, count)| (*id, count + size));
        let topic = grown.filter(|_| self.rng.chance(0.5)).unwrap_or_else(|| {
            self.next_topic += 1;
            ([self.next_topic; 16], size)
        });
        self.readers.topic(name, Some(topic));
    }

    fn add(&mut self, manners: Manners) {
        let n = self.clients.len();
        let topics = match self.alike {
            true => TOPICS[..3].to_vec(),
            false => TOPICS.iter().copied().filter(|_| self.rng.chance(0.5)).collect(),
        };
        let client = Client {
            manners,
            life: 0,
            alive: false,
            instance: self.rng.chance(0.3).then(|| format!("instance {n}")),
            id: String::new(),
            epoch: JOINS,
            topics,
            pattern: (!self.alike && self.rng.chance(0.3)).then_some("order.*"),
            assignor: (!self.alike && self.rng.chance(0.3)).then_some("range"),
            rebalance_timeout: 10_000 + self.rng.below(50_000) as i32,
            slow: [10, 1_000, 4_000][self.rng.below(3) as usize],
            reads: Partitions::new(),
            target: Partitions::new(),
            full: true,
            request: None,
            frozen_until: Time(0),
        };
        self.clients.push(client);
    }

    fn then(&mut self, n: usize, ms: u64, what: What) {
        self.last += 1;
        let at = self.readers.now.plus_ms(ms);
        self.events.insert((at, self.last), (n, self.clients[n].life, what));
    }

    /// Lets everything happen up to this moment.
    pub fn run_to(&mut self, ms: u64) {
        let until = Time(0).plus_ms(ms);
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= until) {
            let at = entry.key().0;
            let (n, life, what) = entry.remove();
            self.readers.pass_to(at);
            self.shake_topics();
            let always =
                matches!(what, What::Start | What::Crash | What::Freeze | What::Leave | What::ChangeMind);
            if always || life == self.clients[n].life {
                self.happen(n, what);
            }
        }
        self.readers.pass_to(until);
    }

    fn in_trouble(&self) -> bool {
        self.readers.now < Time(0).plus_ms(TROUBLE)
    }

    fn shake_topics(&mut self) {
        if !self.in_trouble() || !self.rng.chance(0.004) {
            return;
        }
        let name = TOPICS[self.rng.below(4) as usize];
        if self.rng.chance(0.3) {
            self.readers.topic(name, None);
        } else {
            self.make(name);
        }
    }

    fn happen(&mut self, n: usize, what: What) {
        let (now, thaws) = (self.readers.now, self.clients[n].frozen_until);
        if thaws > now && !matches!(what, What::Crash | What::Leave) {
            // It goes on where it was, as if nothing had happened.
            return self.then(n, now.until(thaws).as_millis() as u64 + 1, what);
        }
        let awaits = |request| self.clients[n].request == Some(request);
        match what {
            What::Start => self.start(n),
            What::Beat => self.beat(n),
            What::Hear(request, answer) if awaits(request) => self.hear(n, answer),
            What::Lost(request) if awaits(request) => {
                self.clients[n].request = None;
                self.clients[n].full = true;
                self.beat(n);
            }
            What::Hear(..) | What::Lost(_) => {}
            What::Stopped(target) => self.stopped(n, &target),
            What::Commit => self.commit(n),
            What::Crash => self.die(n),
            What::Freeze if self.in_trouble() => {
                let ms = 20_000 + self.rng.below(60_000);
                self.clients[n].frozen_until = self.readers.now.plus_ms(ms);
            }
            What::Freeze => {}
            What::Leave => self.leave(n, true),
            What::ChangeMind => self.change_mind(n),
        }
    }

    fn start(&mut self, n: usize) {
        if self.clients[n].alive || (self.clients[n].manners != Manners::Good && !self.in_trouble()) {
            return;
        }
        let id = format!("{n}-{}", self.rng.next_u64());
        let client = &mut self.clients[n];
        client.alive = true;
        client.id = id;
        client.epoch = JOINS;
        self.beat(n);
    }

    /// Says that it lives, unless an answer is still to come.
    fn beat(&mut self, n: usize) {
        if !self.clients[n].alive || self.clients[n].request.is_some() {
            return;
        }
        if self.clients[n].manners != Manners::Good && !self.in_trouble() {
            return self.die(n);
        }
        let (lost, late) = (self.rng.chance(self.lossy), self.rng.below(2 * self.link));
        let arrives = !lost || self.rng.chance(0.5);
        let rude = (self.clients[n].manners == Manners::Rude).then(|| self.rudeness());
        self.last += 1;
        let request = self.last;
        let client = &mut self.clients[n];
        client.request = Some(request);
        let full = std::mem::take(&mut client.full) || client.epoch == JOINS;
        if full {
            // Whatever it was on its way to, it is told again.
            client.target = client.reads.clone();
        }
        let answer = arrives.then(|| {
            let ask = self.clients[n].says(full, rude);
            let honest = self.clients[n].manners != Manners::Rude;
            self.readers.heartbeat(&ask, honest).map_err(|refused| refused.code)
        });
        match answer {
            Some(answer) if !lost => self.then(n, late, What::Hear(request, answer)),
            _ => self.then(n, PATIENCE, What::Lost(request)),
        }
    }

    /// What somebody says who does not care.
    fn rudeness(&mut self) -> Rudeness {
        let some = |rng: &mut Rng, topics: u8| -> Partitions {
            let any = |rng: &mut Rng| TopicPartition {
                topic: [rng.below(u64::from(topics) + 1) as u8; 16],
                number: rng.below(8) as i32,
            };
            (0..rng.below(6)).map(|_| any(rng)).collect()
        };
        Rudeness {
            epoch: [0, 0, 0, 0, 1, -1, 7][self.rng.below(7) as usize],
            owned: self.rng.chance(0.5).then(|| some(&mut self.rng, self.next_topic)),
            topics: self.rng.chance(0.1).then(|| vec![TOPICS[self.rng.below(4) as usize]]),
        }
    }

    fn hear(&mut self, n: usize, answer: Result<Heard, ErrorCode>) {
        self.clients[n].request = None;
        match answer {
            Ok(heard) => {
                self.clients[n].epoch = heard.epoch;
                if let Some(target) = heard.assignment {
                    self.follow(n, target);
                }
                self.then(n, u64::from(heard.interval_ms), What::Beat);
            }
            Err(code) => self.recover(n, code),
        }
    }

    /// First it stops reading what it is to give back, then it begins to read what is new.
    fn follow(&mut self, n: usize, target: Partitions) {
        let client = &mut self.clients[n];
        match client.manners {
            Manners::Rude => {}
            Manners::Stubborn => {
                let all = client.reads.union(&target).copied().collect();
                client.target = target;
                self.read(n, all);
            }
            Manners::Good => {
                client.target = target.clone();
                let ms = if client.reads.is_subset(&target) { 0 } else { self.rng.below(client.slow) };
                self.then(n, ms, What::Stopped(target));
            }
        }
    }

    fn stopped(&mut self, n: usize, target: &Partitions) {
        if self.clients[n].target == *target && self.clients[n].reads != *target {
            self.read(n, target.clone());
            self.beat(n);
        }
    }

    fn read(&mut self, n: usize, partitions: Partitions) {
        self.readers.reads(n, &self.clients[n].id, &partitions);
        self.clients[n].reads = partitions;
    }

    fn recover(&mut self, n: usize, code: ErrorCode) {
        let good = self.clients[n].manners == Manners::Good;
        let expected = [
            ErrorCode::UnknownMemberId,
            ErrorCode::FencedMemberEpoch,
            ErrorCode::UnreleasedInstanceId,
            ErrorCode::GroupMaxSizeReached,
        ];
        assert!(!good || expected.contains(&code), "a good client is told {code}");
        self.read(n, Partitions::new());
        let client = &mut self.clients[n];
        client.target = Partitions::new();
        client.epoch = JOINS;
        self.then(n, 200, What::Beat);
    }

    fn commit(&mut self, n: usize) {
        let client = &self.clients[n];
        if client.alive {
            // Whatever comes of it, the next heartbeat tells the same.
            self.readers.commit(&client.id, client.epoch).unwrap_or_default();
        }
    }

    /// It is gone without a word.
    fn die(&mut self, n: usize) {
        self.end_life(n);
        let later = self.rng.below(TROUBLE / 3);
        self.then(n, later, What::Start);
    }

    fn end_life(&mut self, n: usize) {
        self.read(n, Partitions::new());
        let client = &mut self.clients[n];
        client.life += 1;
        client.alive = false;
        client.target = Partitions::new();
        client.request = None;
        client.frozen_until = Time(0);
    }

    fn leave(&mut self, n: usize, comes_back: bool) {
        self.read(n, Partitions::new());
        let away = comes_back && self.clients[n].instance.is_some() && self.rng.chance(0.7);
        let client = &self.clients[n];
        if client.alive {
            let epoch = if away { GOES_AWAY } else { LEAVES };
            let ask = Heartbeat { epoch, ..client.says(false, None) };
            // It may have been removed already.
            let heard = self.readers.heartbeat(&ask, false);
            assert!(
                heard.is_ok_and(|heard| heard.epoch == epoch)
                    || self.readers.member_epoch(&client.id).is_none()
            );
        }
        self.end_life(n);
        if comes_back {
            let later = self.rng.below(TROUBLE / 3);
            self.then(n, later, What::Start);
        }
    }

    fn change_mind(&mut self, n: usize) {
        let topics = TOPICS.iter().copied().filter(|_| self.rng.chance(0.5)).collect();
        let client = &mut self.clients[n];
        if !self.alike {
            client.topics = topics;
            client.pattern = client.pattern.xor(Some("(order|aud).*"));
        }
        client.full = true;
        self.beat(n);
    }

    fn good(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().filter(|client| client.manners == Manners::Good)
    }

    /// All partitions that good clients want.
    fn wanted(&self) -> Partitions {
        let wants = |name: &str| self.good().any(|client| client.wants(name));
        let there = self.readers.topics.iter().filter(|(name, _)| wants(name));
        let all =
            there.flat_map(|(_, &(topic, n))| (0..n).map(move |number| TopicPartition { topic, number }));
        all.collect()
    }

    /// Why the good clients are not at rest, if they are not.
    fn restless(&self) -> Option<String> {
        let described = self.readers.groups.describe_consumer(GROUP, &self.readers.topics).ok();
        let Some(described) = described else { return Some("there is no group".into()) };
        let strangers = described.members.len() != self.good().count();
        if described.state != "Stable" || strangers {
            return Some(format!("{described:?}"));
        }
        let mut read = Partitions::new();
        for client in self.good() {
            if client.reads != client.target || Some(client.epoch) != self.readers.member_epoch(&client.id) {
                return Some(format!("{client:?}"));
            }
            assert!(client.reads.iter().all(|partition| read.insert(*partition)), "read twice");
            let topics = client.reads.iter().map(|p| p.topic).collect::<BTreeSet<TopicId>>();
            let wants =
                |id: &TopicId| self.readers.topics.iter().any(|(n, (own, _))| own == id && client.wants(n));
            assert!(topics.iter().all(wants), "{client:?} reads what it does not want");
        }
        if read != self.wanted() {
            // The last answers are still on their way.
            return Some("not everything is read".into());
        }
        let loads = || self.good().map(|client| client.reads.len());
        let even = !self.alike || loads().max() <= loads().min().map(|least| least + 1);
        assert!(even, "partitions are shared out evenly: {:?}", loads().collect::<Vec<_>>());
        None
    }

    /// Runs until everything must be at rest, and says after how many seconds without trouble it was.
    pub fn settle(&mut self) -> u64 {
        let mut restless = TROUBLE;
        for at in (TROUBLE..=REST).step_by(1_000) {
            self.run_to(at);
            if at > TROUBLE && self.restless().is_some() {
                restless = at;
            }
        }
        assert_eq!(self.restless(), None, "the good clients come to rest");
        (restless - TROUBLE) / 1_000
    }

    /// Somebody comes, and takes its share; nothing else moves.
    pub fn newcomer(&mut self) {
        if !self.alike {
            return;
        }
        let before: Vec<Partitions> = self.clients.iter().map(|client| client.reads.clone()).collect();
        let members = self.good().count() + 1;
        self.lossy = 0.0;
        self.add(Manners::Good);
        self.then(self.clients.len() - 1, 0, What::Start);
        self.run_to(REST + 60_000);
        assert_eq!(self.restless(), None, "the newcomer comes to rest");
        for (client, before) in self.clients.iter().zip(&before) {
            assert!(client.reads.is_subset(before), "nobody else takes anything");
        }
        let share = self.clients.last().expect("it was added a moment ago").reads.len();
        assert_eq!(share, self.wanted().len() / members, "it takes its share and no more");
    }

    /// Everybody leaves.
    pub fn close(&mut self) {
        for n in 0..self.clients.len() {
            self.leave(n, false);
        }
        self.run_to(REST + 120_000);
        assert_eq!(self.readers.groups.totals(), Totals::default(), "nothing is left");
        assert_eq!(self.readers.groups.next_deadline(), None);
    }
}

/// What somebody says who does not care.
struct Rudeness {
    epoch: i32,
    owned: Option<Partitions>,
    topics: Option<Vec<&'static str>>,
}

impl Client {
    fn wants(&self, name: &str) -> bool {
        let matches = match self.pattern {
            Some("order.*") => name.starts_with("order"),
            Some(_) => name.starts_with("order") || name.starts_with("aud"),
            None => false,
        };
        matches || self.topics.contains(&name)
    }

    /// Its heartbeat. What it reads it says when it says everything, and when it has followed.
    fn says(&self, full: bool, rude: Option<Rudeness>) -> Heartbeat<'_> {
        let has_followed = self.reads == self.target || self.manners == Manners::Stubborn;
        let mut ask = Heartbeat {
            group: GROUP,
            member: &self.id,
            epoch: self.epoch,
            instance: self.instance.as_deref(),
            rack: None,
            client_id: "app",
            client_host: "/10.0.0.1",
            rebalance_timeout_ms: full.then_some(self.rebalance_timeout),
            topics: full.then(|| self.topics.clone()),
            pattern: full.then(|| self.pattern.unwrap_or_default()),
            assignor: self.assignor.filter(|_| full),
            owned: (full || has_followed).then(|| self.reads.clone()),
            makes_id: true,
        };
        if let Some(rude) = rude {
            ask.epoch += rude.epoch;
            ask.owned = rude.owned.or(ask.owned);
            ask.topics = rude.topics.or(ask.topics);
        }
        ask
    }
}
