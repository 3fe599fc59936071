//! What clients of a queue know: which records exist, who was given what until when, and what was answered. Nothing
//! here looks into the broker, so all of it must hold whatever the broker does.

use std::collections::{BTreeMap, BTreeSet};

use krappy::api::queue::{QueueReply, QueueRequest, QueueSettle, QueueTake, Settle, Taker};
use krappy::api::{Parts, Reply, Request};
use krappy::disk::sim::{Crash, Rng};
use krappy::time::{Now, Time};

use super::desk::{Desk, publish, record};

const TOPIC: &str = "orders";
const GROUP: &str = "packers";
const PARTITIONS: i32 = 2;
/// The first of them are streams, the others have names.
const TAKERS: u64 = 5;
const STREAMS: u64 = 3;
const NAMES: [&str; 5] = ["", "", "", "ann", "ben"];
const ATTEMPTS: u32 = 3;
/// Longest lock and longest delay of these takers, milliseconds.
const LONGEST: u64 = 400;

/// Partition and offset.
type Place = (i32, i64);

/// What has come to pass.
#[derive(Debug, Default)]
pub struct Happened {
    pub given: u64,
    pub answered: u64,
    pub crashes: u64,
    pub redriven: u64,
}

impl Happened {
    pub fn add(&mut self, other: &Happened) {
        self.given += other.given;
        self.answered += other.answered;
        self.crashes += other.crashes;
        self.redriven += other.redriven;
    }
}

/// A request to end deliveries that is not answered yet.
struct Settling {
    slot: u64,
    /// They are acknowledged or rejected.
    for_good: bool,
    places: Vec<Place>,
}

/// What was told of a record when it was given out last.
#[derive(Clone)]
struct Seen {
    key: Option<String>,
    deliveries: u32,
}

pub struct World {
    desk: Desk,
    dice: Rng,
    keyed: bool,
    /// A crash is planned.
    doomed: bool,
    published: u64,
    /// Values whose publish was answered.
    values: BTreeSet<String>,
    seen: BTreeMap<Place, Seen>,
    value_at: BTreeMap<Place, String>,
    held: BTreeMap<Place, (u64, Time)>,
    settling: Vec<Settling>,
    /// Somebody has asked to end these for good, answered or not.
    maybe_done: BTreeSet<Place>,
    /// Somebody has acknowledged these, and may not have lived to hear the answer.
    acknowledged: BTreeSet<Place>,
    /// These were ended for good, and that was answered: nobody is given them again.
    answered: BTreeSet<Place>,
    pub happened: Happened,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut dice = Rng::new(seed);
        let in_flight = [3, 2_000][dice.below(2) as usize];
        let mut desk = Desk::with(seed, |config| {
            config.queue.max_delivery_attempts = ATTEMPTS;
            config.queue.max_in_flight = in_flight;
        });
        desk.create(TOPIC, PARTITIONS, &[]);
        World {
            keyed: dice.below(2) == 0,
            desk,
            dice,
            doomed: false,
            published: 0,
            values: BTreeSet::new(),
            seen: BTreeMap::new(),
            value_at: BTreeMap::new(),
            held: BTreeMap::new(),
            settling: Vec::new(),
            maybe_done: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            answered: BTreeSet::new(),
            happened: Happened::default(),
        }
    }

    pub fn step(&mut self) {
        match self.dice.below(100) {
            0..=17 => self.publish(),
            18..=44 => {
                let (taker, most) = (self.dice.below(TAKERS), 1 + self.dice.below(4) as u32);
                self.take(taker, most);
            }
            45..=74 => self.end(),
            75..=84 => self.work(),
            85..=90 => self.pass(),
            91..=92 => self.leave(),
            93..=94 => self.redrive(),
            95..=97 => {
                // Somewhere in what comes next.
                let calls = 1 + self.dice.below(40);
                self.desk.sim.crash_at(calls);
                self.doomed = true;
            }
            98 => self.crash(),
            // A clean stop is one that nothing comes between.
            _ if self.doomed => self.crash(),
            _ => {
                self.finish_work();
                self.desk.restart();
                self.forget();
            }
        }
        self.listen();
    }

    /// Everybody behaves from here on: every record that was published must be done.
    pub fn settle(&mut self) {
        self.crash();
        // What has died in one round is put back in the next.
        let mut quiet = 0;
        for _ in 0..2_000 {
            self.desk.now = Now {
                time: self.desk.now.time.plus_ms(LONGEST + 1),
                wall: self.desk.now.wall + LONGEST as i64,
            };
            self.desk.pass(1);
            let moved = self.happened.redriven;
            self.redrive();
            let given = self.take(0, 100);
            if !given.is_empty() {
                self.ask_to_end(0, Settle::Acknowledge, given);
                self.finish_work();
                quiet = 0;
            } else if self.open() == 0 && self.happened.redriven == moved {
                quiet += 1;
            }
            if quiet == 3 {
                break;
            }
        }
        let done =
            self.acknowledged.iter().filter_map(|place| self.value_at.get(place)).collect::<BTreeSet<_>>();
        let forgotten: Vec<_> = self.values.iter().filter(|value| !done.contains(value)).collect();
        assert!(forgotten.is_empty(), "never acknowledged: {forgotten:?}");
        self.desk.crash(Crash::LoseAll);
        self.forget();
        assert_eq!(self.take(0, 100), [], "what was answered comes again");
    }

    /// Records that are not done, and dead letters that are on their way.
    fn open(&mut self) -> u64 {
        match self.ask(Request::Queue(QueueRequest::Describe { group: GROUP, topic: TOPIC })) {
            Some(Reply::Queue(QueueReply::Described(lines))) => lines.iter().map(|line| line.lag).sum(),
            other => panic!("{other:?}"),
        }
    }

    fn publish(&mut self) {
        let value = format!("order {}", self.published);
        self.published += 1;
        let key = ["a", "b", "c"].get(self.dice.below(4) as usize).map(|key| key.to_string());
        let partition = self.dice.below(PARTITIONS as u64) as i32;
        let records = record(self.desk.now.wall, key.as_ref().map(|key| key.as_bytes()), value.as_bytes());
        if let Some(Reply::Published { parts: Parts::One(part), .. }) =
            self.ask(publish(TOPIC, partition, &records))
        {
            let place = (partition, part.base_offset);
            self.seen.insert(place, Seen { key, deliveries: 0 });
            self.value_at.insert(place, value.clone());
            self.values.insert(value);
        }
    }

    fn take(&mut self, taker: u64, most: u32) -> Vec<Place> {
        let lock = 50 + self.dice.below(LONGEST - 50) as u32;
        let take = QueueTake {
            group: GROUP,
            topic: TOPIC,
            taker: who(taker),
            partition: None,
            most,
            max_bytes: 1 << 20,
            max_wait_ms: 0,
            lock_ms: Some(lock),
            keyed: self.keyed,
        };
        let Some(reply) = self.ask(Request::Queue(QueueRequest::Take(take))) else { return Vec::new() };
        let Reply::Queue(QueueReply::Taken(taken)) = reply else { panic!("{reply:?}") };
        let mut given = Vec::new();
        for one in taken.records().iter() {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let (place, key) = ((one.partition, one.offset), one.key.map(text));
            self.check_given(place, key.as_deref());
            let value = text(one.tail.value().unwrap());
            let before = self.value_at.insert(place, value.clone());
            assert!(before.is_none_or(|before| before == value), "{place:?} has become another record");
            self.seen.insert(place, Seen { key, deliveries: one.deliveries });
            self.held.insert(place, (taker, self.desk.now.time.plus_ms(u64::from(lock))));
            given.push(place);
        }
        self.happened.given += given.len() as u64;
        given
    }

    /// Whether a record may be given out now.
    fn check_given(&self, place: Place, key: Option<&str>) {
        assert!(!self.answered.contains(&place), "{place:?} was ended for good, and that was answered");
        let now = self.desk.now.time;
        let is_held = |place: &Place| self.held.get(place).is_some_and(|(_, until)| *until > now);
        assert!(!is_held(&place), "{place:?} is held by {:?}", self.held[&place]);
        if !self.keyed || key.is_none() {
            return;
        }
        let same = self.seen.range((place.0, 0)..(place.0, i64::MAX));
        for (other, seen) in same.filter(|(other, seen)| **other != place && seen.key.as_deref() == key) {
            assert!(!is_held(other), "{place:?} is given out while {other:?} of the same key is held");
            let may_be_done = self.maybe_done.contains(other) || seen.deliveries >= ATTEMPTS;
            assert!(*other > place || may_be_done, "{place:?} is given out before {other:?} of the same key");
        }
    }

    fn end(&mut self) {
        let Some((&first, &(taker, _))) = self.held.iter().nth(self.dice.below(4) as usize) else { return };
        let mine = self.held.iter().filter(|(_, (by, _))| *by == taker).map(|(place, _)| *place);
        let places = if self.dice.below(3) == 0 { mine.collect() } else { vec![first] };
        let ms = self.dice.below(LONGEST) as u32;
        let how = match self.dice.below(10) {
            0..=4 => Settle::Acknowledge,
            5 | 6 => Settle::Release(ms),
            7 => Settle::Reject("no good"),
            8 => Settle::Extend(ms.max(1)),
            _ => Settle::Return,
        };
        self.ask_to_end(taker, how, places);
    }

    /// Asks to end deliveries. The answer is not waited for.
    fn ask_to_end(&mut self, taker: u64, how: Settle<'_>, places: Vec<Place>) {
        let settle =
            QueueSettle { group: GROUP, topic: TOPIC, taker: who(taker), how, records: places.clone() };
        // From here on it may be so, whatever becomes of the answer.
        let for_good = matches!(how, Settle::Acknowledge | Settle::Reject(_));
        if for_good {
            self.maybe_done.extend(&places);
        }
        if how == Settle::Acknowledge {
            self.acknowledged.extend(&places);
        }
        let Some(slot) = self.offer(Request::Queue(QueueRequest::Settle(settle))) else { return };
        let now = self.desk.now.time;
        for place in &places {
            match how {
                Settle::Extend(ms) => {
                    let until = &mut self.held.get_mut(place).expect("it is held").1;
                    if *until > now {
                        *until = now.plus_ms(u64::from(ms));
                    }
                }
                _ => drop(self.held.remove(place)),
            }
        }
        self.settling.push(Settling { slot, for_good, places });
    }

    /// Hears what was answered meanwhile.
    fn listen(&mut self) {
        if self.desk.sim.has_crashed() {
            return self.crash();
        }
        for settling in std::mem::take(&mut self.settling) {
            match self.desk.reply(settling.slot) {
                None => self.settling.push(settling),
                Some(Reply::Queue(QueueReply::Settled(results))) if settling.for_good => {
                    let done = settling.places.iter().zip(&results).filter(|(_, result)| result.is_ok());
                    let done: Vec<Place> = done.map(|(place, _)| *place).collect();
                    self.happened.answered += done.len() as u64;
                    self.answered.extend(done);
                }
                Some(Reply::Queue(QueueReply::Settled(_)) | Reply::Refused(_)) => {}
                Some(other) => panic!("{other:?}"),
            }
        }
    }

    fn leave(&mut self) {
        let stream = self.dice.below(STREAMS);
        self.ask(Request::Queue(QueueRequest::Leave { stream: stream as u32 }));
        self.held.retain(|_, (by, _)| *by != stream);
    }

    fn redrive(&mut self) {
        let most = 1 + self.dice.below(10) as u32;
        let redrive = QueueRequest::Redrive { group: GROUP, topic: TOPIC, most };
        match self.ask(Request::Queue(redrive)) {
            Some(Reply::Queue(QueueReply::Redriven(moved))) => {
                assert!(moved <= most);
                self.happened.redriven += u64::from(moved);
            }
            None | Some(Reply::Refused(_)) => {}
            Some(other) => panic!("{other:?}"),
        }
    }

    /// Time passes.
    fn pass(&mut self) {
        let ms = self.dice.below(LONGEST);
        let now = Now { time: self.desk.now.time.plus_ms(ms), wall: self.desk.now.wall + ms as i64 };
        self.desk.now = now;
        self.desk.broker().tick(now);
        self.desk.turn();
    }

    /// Any of the jobs is run.
    fn work(&mut self) {
        if !self.desk.jobs.is_empty() && !self.desk.sim.has_crashed() {
            let at = self.dice.below(self.desk.jobs.len() as u64) as usize;
            let job = self.desk.jobs.remove(at);
            // Whether it has crashed in that is looked at by everybody who asks for work.
            let _ = self.desk.run(job);
        }
    }

    fn finish_work(&mut self) {
        while !self.desk.jobs.is_empty() && !self.desk.sim.has_crashed() {
            self.work();
        }
        self.listen();
    }

    /// Offers a request until it is taken. Nothing if the machine crashes meanwhile.
    fn offer(&mut self, request: Request<'_>) -> Option<u64> {
        for _ in 0..1_000 {
            let slot = self.desk.offer(again(&request));
            if self.desk.sim.has_crashed() {
                self.crash();
                return None;
            }
            if slot.is_some() {
                return slot;
            }
            self.work();
        }
        panic!("it is never taken: {request:?}");
    }

    /// Asks, and lets workers work in any order until it is answered.
    fn ask(&mut self, request: Request<'_>) -> Option<Reply> {
        let slot = self.offer(request)?;
        for _ in 0..10_000 {
            if let Some(reply) = self.desk.reply(slot) {
                return Some(reply);
            }
            self.work();
            if self.desk.sim.has_crashed() {
                self.crash();
                return None;
            }
        }
        panic!("it is never answered");
    }

    fn crash(&mut self) {
        let how = match self.dice.below(3) {
            0 => Crash::KeepAll,
            1 => Crash::LoseAll,
            _ => Crash::Random(self.dice.below(1 << 20)),
        };
        self.desk.crash(how);
        self.doomed = false;
        self.happened.crashes += 1;
        self.forget();
    }

    /// The broker has forgotten who holds what, and so have those who waited for it.
    fn forget(&mut self) {
        self.held.clear();
        self.settling.clear();
        // How often a record was delivered may be forgotten, too, but not a record that is dead.
    }
}

fn who(taker: u64) -> Taker<'static> {
    match NAMES[taker as usize] {
        "" => Taker::Stream(taker as u32),
        name => Taker::Named(name),
    }
}

/// The same request once more.
fn again<'a>(request: &Request<'a>) -> Request<'a> {
    match request {
        Request::Queue(request) => Request::Queue(request.clone()),
        Request::Publish(publish) => Request::Publish(krappy::api::Publish {
            topic: publish.topic,
            partition: publish.partition,
            acks: publish.acks,
            body: publish.body.clone(),
        }),
        other => panic!("nobody here asks for {other:?}"),
    }
}
