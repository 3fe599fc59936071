//! Takers, a log, a disk and a clock around a window and its naive twin. After every step both must agree, and what a
//! taker was promised must hold.

use std::collections::BTreeSet;

use krappy::groups::queue::state::{decode, encode};
use krappy::groups::queue::{Ask, End, TakerId, Window};
use krappy::time::Time;

use super::naive::{Entry, Naive, Where};

const ID: [u8; 16] = [3; 16];
const TAKERS: u64 = 4;

/// Numbers that look random and are the same for the same seed (SplitMix64; Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// A window as it was written, and its twin at that moment.
#[derive(Clone)]
struct Saved {
    value: Vec<u8>,
    twin: Naive,
}

pub struct World {
    dice: Dice,
    window: Window,
    twin: Naive,
    now: Time,
    keyed: bool,
    durable: Saved,
    /// A write that has begun.
    writing: Option<Saved>,
    /// Records whose acknowledgement was answered: never to be seen again.
    answered: BTreeSet<i64>,
    pub delivered: u64,
    pub acknowledged: u64,
    pub dead: u64,
    pub crashes: u64,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut dice = Dice(seed);
        let most_open = [3, 10, 1_000][dice.below(3) as usize];
        let twin = Naive { attempts: 1 + dice.below(4) as u32, most_open, ..Naive::default() };
        let window = Window::new(0);
        let durable = Saved { value: encode(&window, &ID), twin: twin.clone() };
        World {
            keyed: dice.below(2) == 0,
            dice,
            window,
            twin,
            now: Time(0),
            durable,
            writing: None,
            answered: BTreeSet::new(),
            delivered: 0,
            acknowledged: 0,
            dead: 0,
            crashes: 0,
        }
    }

    pub fn step(&mut self) {
        match self.dice.below(100) {
            0..=19 => self.publish(),
            20..=44 => {
                let (taker, most) = (self.dice.below(TAKERS), self.dice.below(6) as usize);
                self.take(taker, most);
            }
            45..=79 => self.end(),
            80..=86 => {
                let ms = self.dice.below(400);
                self.pass(ms);
            }
            87 => {
                let taker = self.dice.below(TAKERS);
                self.window.gone(taker, self.twin.attempts, self.now);
                self.twin.gone(taker, self.now);
            }
            88..=90 => self.bury(),
            91..=94 => self.begin_write(),
            95..=97 => self.end_write(),
            98 => self.lose(),
            _ => self.crash(),
        }
        self.compare();
    }

    /// Everybody behaves from here on: every record must come to an end.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.twin.log.iter().all(|e| e.gone || e.place == Where::Done) {
                self.end_write();
                self.begin_write();
                self.end_write();
                self.crash();
                assert_eq!(self.window.wanted(self.keyed, 1), Some(self.window.next()), "nothing is left");
                return;
            }
            self.pass(100);
            for (offset, _) in self.take(0, 5) {
                self.acknowledge(offset, 0);
            }
            self.bury();
            self.compare();
        }
        panic!("records do not come to an end: {:?}", self.twin.log);
    }

    fn publish(&mut self) {
        for _ in 0..1 + self.dice.below(4) {
            let key = Some(self.dice.below(4) as u32).filter(|key| *key > 0);
            self.twin.log.push(Entry { key, place: Where::Untouched, deliveries: 0, gone: false });
        }
    }

    /// Takes as the broker does: reads from what is wanted, tells what is not there, and offers what is.
    fn take(&mut self, taker: TakerId, most: usize) -> Vec<(i64, u32)> {
        let (end, most_open) = (self.twin.log.len() as i64, self.twin.most_open);
        let until = self.now.plus_ms(100 + self.dice.below(300));
        let ask = Ask { taker, until, keyed: self.keyed, most_open };
        let mut taken = Vec::new();
        while let Some(from) = self.window.wanted(self.keyed, most_open)
            && from < end
            && taken.len() < most
        {
            for offset in from..end {
                let entry = self.twin.log[offset as usize];
                if entry.gone {
                    self.window.missing(offset..offset + 1);
                    continue;
                }
                if taken.len() == most || !self.window.admits(offset, most_open) {
                    break;
                }
                let got = self.window.offer(offset, entry.key, &ask, self.now);
                taken.extend(got.map(|deliveries| (offset, deliveries)));
            }
            self.window.invariants();
        }
        let wanted = self.twin.take(taker, until, most, self.keyed);
        assert_eq!(taken, wanted, "keyed: {}", self.keyed);
        for (offset, _) in &taken {
            assert!(!self.answered.contains(offset), "{offset} was acknowledged, and that was answered");
        }
        self.delivered += taken.len() as u64;
        taken
    }

    fn end(&mut self) {
        if self.twin.log.is_empty() {
            return;
        }
        // Mostly of somebody who holds it, so that something happens.
        let held = |(at, e): (usize, &Entry)| match e.place {
            Where::Held(by, _) => Some((at as i64, by)),
            _ => None,
        };
        let held: Vec<_> = self.twin.log.iter().enumerate().filter_map(held).collect();
        let (offset, taker) = match self.dice.below(5) {
            0 => (self.dice.below(self.twin.log.len() as u64 + 2) as i64, self.dice.below(TAKERS)),
            _ if held.is_empty() => return,
            _ => held[self.dice.below(held.len() as u64) as usize],
        };
        let later = self.now.plus_ms(self.dice.below(200));
        match self.dice.below(10) {
            0..=4 => self.acknowledge(offset, taker),
            5 | 6 => self.end_with(offset, taker, End::Release(later)),
            7 => self.end_with(offset, taker, End::Return),
            8 => self.end_with(offset, taker, End::Reject("it is no good")),
            _ => self.end_with(offset, taker, End::Extend(later)),
        }
    }

    fn acknowledge(&mut self, offset: i64, taker: TakerId) {
        self.end_with(offset, taker, End::Acknowledge);
    }

    fn end_with(&mut self, offset: i64, taker: TakerId, how: End<'_>) {
        let allowed = self.twin.is_held(offset, taker, self.now);
        let result = self.window.end(offset, taker, how, self.twin.attempts, self.now);
        assert_eq!(result.is_ok(), allowed, "{how:?} of {offset} by {taker}");
        if !allowed {
            return;
        }
        let entry = &mut self.twin.log[offset as usize];
        match how {
            End::Acknowledge => {
                entry.place = Where::Done;
                self.acknowledged += 1;
            }
            End::Release(from) => self.twin.give_up(offset, from, self.now),
            End::Return => (entry.place, entry.deliveries) = (Where::Available, entry.deliveries - 1),
            End::Reject(_) => entry.place = Where::Dying,
            End::Extend(to) => entry.place = Where::Held(taker, to),
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.window.tick(self.twin.attempts, self.now);
        self.twin.tick(self.now);
    }

    fn bury(&mut self) {
        let dying = self.twin.dying();
        assert!(self.window.dying().map(|(offset, ..)| offset).eq(dying.iter().copied()));
        for offset in dying {
            self.window.buried(offset);
            self.twin.log[offset as usize].place = Where::Done;
            self.dead += 1;
        }
    }

    fn begin_write(&mut self) {
        if self.writing.is_none() {
            self.writing = Some(Saved { value: encode(&self.window, &ID), twin: self.twin.clone() });
        }
    }

    /// A write has become durable, and whoever waited for it is answered.
    fn end_write(&mut self) {
        let Some(saved) = self.writing.take() else { return };
        let done = |(at, e): (usize, &Entry)| (e.place == Where::Done).then_some(at as i64);
        self.answered.extend(saved.twin.log.iter().enumerate().filter_map(done));
        self.durable = saved;
    }

    /// The broker ends at once and starts again: takers are forgotten, and so is what was not written. The log is not.
    fn crash(&mut self) {
        self.crashes += 1;
        // A write that was under way may have come to the disk, and nobody was told.
        if let Some(saved) = self.writing.take()
            && self.dice.below(2) == 0
        {
            self.durable = saved;
        }
        let (window, id) = decode(&self.durable.value).expect("what was written can be read");
        assert_eq!(id, ID);
        self.window = window;
        let log = std::mem::take(&mut self.twin.log);
        self.twin = self.durable.twin.clone().restarted();
        let known = self.twin.log.len();
        for (at, entry) in log.into_iter().enumerate() {
            if at >= known {
                self.twin.log.push(Entry { place: Where::Untouched, deliveries: 0, ..entry });
            }
            self.twin.log[at].gone |= entry.gone;
        }
    }

    /// The log loses a record, to compaction or to damage; the queue finds out when it reads there.
    fn lose(&mut self) {
        let untouched = |(at, e): (usize, &Entry)| (e.place == Where::Untouched).then_some(at);
        let at: Vec<usize> = self.twin.log.iter().enumerate().filter_map(untouched).collect();
        if !at.is_empty() && self.writing.is_none() {
            let at = at[self.dice.below(at.len() as u64) as usize];
            self.twin.log[at].gone = true;
        }
    }

    fn compare(&self) {
        self.window.invariants();
        let (counts, twin) = (self.window.counts(), &self.twin);
        assert_eq!(counts.held, twin.count(|w| matches!(w, Where::Held(..))));
        assert_eq!(counts.available, twin.count(|w| *w == Where::Available));
        assert_eq!(counts.delayed, twin.count(|w| matches!(w, Where::Delayed(_))));
        assert_eq!(counts.dying, twin.count(|w| *w == Where::Dying));
        assert!(self.window.len() <= twin.most_open || self.crashes > 0);
        let ends = twin.log.iter().filter_map(|e| match e.place {
            Where::Held(_, at) | Where::Delayed(at) => Some(at),
            _ => None,
        });
        assert_eq!(self.window.next_deadline(), ends.min());
        for offset in &self.answered {
            assert_eq!(twin.log[*offset as usize].place, Where::Done, "{offset} was answered");
        }
    }
}
