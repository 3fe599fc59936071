//! The open records of one partition for one group.
//!
//! Invariant: every open record lies below `next`, and stands in each index that its status and its key ask for and in
//! no other; see [`Window::invariants`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::open::{Key, Open, Status, Why};
use super::{OPEN_COST, TakerId};
use crate::time::Time;

/// Everything below `next` that is not open is done; everything from `next` on is untouched.
#[derive(Debug, Clone, Default)]
pub struct Window {
    pub(super) next: i64,
    pub(super) open: BTreeMap<i64, Open>,
    available: BTreeSet<i64>,
    dying: BTreeSet<i64>,
    /// When something ends by itself: a delivery, or a delay.
    ends: BTreeSet<(Time, i64)>,
    held: BTreeSet<(TakerId, i64)>,
    keys: BTreeSet<(u32, i64)>,
    unknown: BTreeSet<i64>,
    /// Bytes of reasons of dying records.
    reasons: usize,
    /// Records that went to the dead letters, ever.
    pub(super) dead: u64,
    /// Records that were gone before they were done, ever.
    pub(super) lost: u64,
}

/// Who takes, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// The taker.
    pub taker: TakerId,
    /// When its deliveries end by themselves.
    pub until: Time,
    /// A record waits for earlier ones of its key.
    pub keyed: bool,
    /// How many records may be open, those that are given out now among them.
    pub most_open: usize,
}

/// How a taker ends a delivery, or keeps it from ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End<'a> {
    /// It is done.
    Acknowledge,
    /// Somebody shall have it again, from then on.
    Release(Time),
    /// Somebody shall have it again, and this delivery does not count: nobody has looked at the record.
    Return,
    /// Nobody shall have it again, for this reason.
    Reject(&'a str),
    /// The delivery ends by itself only then.
    Extend(Time),
}

/// The record is not held by who said so: its delivery has ended, or there never was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotHeld;

/// What a window comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Records that takers hold.
    pub held: usize,
    /// Open records that may be taken now.
    pub available: usize,
    /// Open records that may be taken later.
    pub delayed: usize,
    /// Records on their way to the dead letters.
    pub dying: usize,
    /// Records that were done while an earlier one was not.
    pub done_above_start: u64,
    /// Records that went to the dead letters, ever.
    pub dead: u64,
    /// Records that were gone before they were done, ever.
    pub lost: u64,
}

impl Window {
    /// Nothing below this offset matters, and nothing from it on has been touched.
    pub fn new(start: i64) -> Self {
        Self { next: start, ..Self::default() }
    }

    /// The first record that is not done.
    pub fn start(&self) -> i64 {
        self.open.keys().next().copied().unwrap_or(self.next)
    }

    /// The first record that is untouched.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// How many records are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether no record is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// About how much memory it takes, bytes.
    pub fn bytes(&self) -> usize {
        self.open.len() * OPEN_COST + self.reasons
    }

    /// The offset to read from for somebody who takes; absent: nothing could be given out, whatever the log holds.
    /// Nothing between that offset and the next one that is wanted has to be read.
    pub fn wanted(&self, keyed: bool, most_open: usize) -> Option<i64> {
        let again = if keyed { self.wanted_in_order() } else { self.available.first().copied() };
        again.or_else(|| (self.open.len() < most_open).then_some(self.next))
    }

    fn wanted_in_order(&self) -> Option<i64> {
        let unread = self.unknown.first().copied();
        let free = self.available.range(..unread.unwrap_or(i64::MAX)).find(|&&offset| !self.waits(offset));
        free.copied().or(unread)
    }

    /// Whether an earlier record of the same key is not done, or may be of the same key.
    fn waits(&self, offset: i64) -> bool {
        if self.unknown.range(..offset).next().is_some() {
            return true;
        }
        match self.open[&offset].key {
            Key::Hash(hash) => self.keys.range((hash, i64::MIN)..(hash, offset)).next().is_some(),
            Key::Absent => false,
            Key::Unknown => true,
        }
    }

    /// Whether a record at this offset could become open.
    pub fn admits(&self, offset: i64, most_open: usize) -> bool {
        offset < self.next || self.open.len() < most_open
    }

    /// A record was read, at or above what was wanted, in the order of offsets, and is admitted. If it is given out:
    /// how often it was, this time among them.
    pub fn offer(&mut self, offset: i64, key: Option<u32>, ask: &Ask, now: Time) -> Option<u32> {
        assert!(self.admits(offset, ask.most_open), "whoever offers asks first whether there is room");
        let known = key.map_or(Key::Absent, Key::Hash);
        if offset >= self.next {
            self.next = offset + 1;
            self.enter(offset, Open { deliveries: 0, key: known, status: Status::Available });
        }
        let open = self.open.get(&offset)?;
        if open.key == Key::Unknown {
            self.change(offset, |open| open.key = known);
        }
        let free = self.available.contains(&offset) && !(ask.keyed && self.waits(offset));
        free.then(|| self.hold(offset, ask, now))
    }

    fn hold(&mut self, offset: i64, ask: &Ask, now: Time) -> u32 {
        self.change(offset, |open| {
            open.deliveries = open.deliveries.saturating_add(1);
            open.status = Status::Held { by: ask.taker, since: now, until: ask.until };
        });
        self.open[&offset].deliveries
    }

    /// The log has no record at these offsets, or none that anybody can read. They were passed by while reading on from
    /// what was wanted, so none below them is untouched.
    pub fn missing(&mut self, offsets: Range<i64>) {
        if offsets.is_empty() {
            return;
        }
        self.lost += self.leave_all(offsets.clone()) as u64;
        if offsets.contains(&self.next) {
            self.next = offsets.end;
        }
    }

    /// The log begins there now: what was below is gone.
    pub fn trim(&mut self, log_start: i64) {
        let untouched = log_start.saturating_sub(self.next).max(0);
        let open = self.leave_all(i64::MIN..log_start);
        self.lost += open as u64 + untouched as u64;
        self.next = self.next.max(log_start);
    }

    /// The log ends there: what was above was lost with the machine, on a topic that does not wait for the disk, and
    /// these offsets will be given to other records.
    pub fn cut(&mut self, log_end: i64) {
        self.leave_all(log_end..i64::MAX);
        self.next = self.next.min(log_end);
    }

    /// A taker ends a delivery. `attempts`: how often a record may be delivered.
    pub fn end(
        &mut self,
        offset: i64,
        taker: TakerId,
        how: End<'_>,
        attempts: u32,
        now: Time,
    ) -> Result<(), NotHeld> {
        let held = match self.open.get(&offset) {
            Some(Open { status: Status::Held { by, until, .. }, .. }) => *by == taker && *until > now,
            _ => false,
        };
        if !held {
            return Err(NotHeld);
        }
        match how {
            End::Acknowledge => {
                self.leave(offset);
            }
            End::Release(from) => self.give_up(offset, from, attempts, now),
            End::Return => self.change(offset, |open| {
                open.deliveries -= 1;
                open.status = Status::Available;
            }),
            End::Reject(reason) => {
                let why = Why::Rejected(reason.into());
                self.change(offset, |open| open.status = Status::Dying(why));
            }
            End::Extend(to) => self.change(offset, |open| match &mut open.status {
                Status::Held { until, .. } => *until = to,
                other => unreachable!("{other:?} is not held"),
            }),
        }
        Ok(())
    }

    /// A delivery has come to nothing.
    fn give_up(&mut self, offset: i64, from: Time, attempts: u32, now: Time) {
        self.change(offset, |open| {
            open.status = if open.deliveries >= attempts {
                Status::Dying(Why::Attempts)
            } else if from > now {
                Status::Delayed(from)
            } else {
                Status::Available
            };
        });
    }

    /// A taker has gone. Its deliveries have ended, and they count: a record that kills whoever takes it must not do so
    /// for ever. Whether it held anything.
    pub fn gone(&mut self, taker: TakerId, attempts: u32, now: Time) -> bool {
        let of_taker = self.held.range((taker, i64::MIN)..=(taker, i64::MAX));
        let offsets: Vec<i64> = of_taker.map(|(_, offset)| *offset).collect();
        for &offset in &offsets {
            self.give_up(offset, now, attempts, now);
        }
        !offsets.is_empty()
    }

    /// Ends what is due. Whether anything was.
    pub fn tick(&mut self, attempts: u32, now: Time) -> bool {
        let mut any = false;
        while let Some(&(at, offset)) = self.ends.first()
            && at <= now
        {
            any = true;
            self.give_up_or_begin(offset, attempts, now);
        }
        any
    }

    fn give_up_or_begin(&mut self, offset: i64, attempts: u32, now: Time) {
        match self.open[&offset].status {
            Status::Delayed(_) => self.change(offset, |open| open.status = Status::Available),
            _ => self.give_up(offset, now, attempts, now),
        }
    }

    /// When [`Self::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// Records on their way to the dead letters, in order: offset, deliveries, reason.
    pub fn dying(&self) -> impl Iterator<Item = (i64, u32, &Why)> {
        self.dying.iter().map(|offset| match &self.open[offset] {
            Open { deliveries, status: Status::Dying(why), .. } => (*offset, *deliveries, why),
            other => unreachable!("{other:?} is not dying"),
        })
    }

    /// A record that was dying is among the dead letters.
    pub fn buried(&mut self, offset: i64) {
        if self.dying.contains(&offset) {
            self.leave(offset);
            self.dead += 1;
        }
    }

    /// The delivery that has gone on for longest: its taker, and since when.
    pub fn oldest_holder(&self) -> Option<(TakerId, Time)> {
        let held = self.held.iter().map(|(taker, offset)| match self.open[offset].status {
            Status::Held { since, .. } => (*taker, since),
            ref other => unreachable!("{other:?} is not held"),
        });
        held.min_by_key(|(_, since)| *since)
    }

    /// Whether a taker holds anything here.
    pub fn holds(&self, taker: TakerId) -> bool {
        self.held.range((taker, i64::MIN)..=(taker, i64::MAX)).next().is_some()
    }

    /// What it comes to.
    pub fn counts(&self) -> Counts {
        let (held, available, dying) = (self.held.len(), self.available.len(), self.dying.len());
        Counts {
            held,
            available,
            delayed: self.open.len() - held - available - dying,
            dying,
            done_above_start: (self.next - self.start()) as u64 - self.open.len() as u64,
            dead: self.dead,
            lost: self.lost,
        }
    }

    /// Adds an open record and enters it in its indexes.
    pub(super) fn enter(&mut self, offset: i64, open: Open) {
        match &open.status {
            Status::Available => {
                self.available.insert(offset);
            }
            Status::Delayed(at) => {
                self.ends.insert((*at, offset));
            }
            Status::Held { by, until, .. } => {
                self.ends.insert((*until, offset));
                self.held.insert((*by, offset));
            }
            Status::Dying(why) => {
                self.dying.insert(offset);
                self.reasons += why.size();
            }
        }
        match open.key {
            Key::Unknown => {
                self.unknown.insert(offset);
            }
            Key::Hash(hash) => {
                self.keys.insert((hash, offset));
            }
            Key::Absent => {}
        }
        self.open.insert(offset, open);
    }

    /// Takes open records out of all indexes; how many.
    fn leave_all(&mut self, offsets: Range<i64>) -> usize {
        let gone: Vec<i64> = self.open.range(offsets).map(|(offset, _)| *offset).collect();
        for &offset in &gone {
            self.leave(offset);
        }
        gone.len()
    }

    /// Takes an open record out of all indexes.
    fn leave(&mut self, offset: i64) -> Open {
        let open = self.open.remove(&offset).expect("only an open record leaves");
        match &open.status {
            Status::Available => {
                self.available.remove(&offset);
            }
            Status::Delayed(at) => {
                self.ends.remove(&(*at, offset));
            }
            Status::Held { by, until, .. } => {
                self.ends.remove(&(*until, offset));
                self.held.remove(&(*by, offset));
            }
            Status::Dying(why) => {
                self.dying.remove(&offset);
                self.reasons -= why.size();
            }
        }
        match open.key {
            Key::Unknown => {
                self.unknown.remove(&offset);
            }
            Key::Hash(hash) => {
                self.keys.remove(&(hash, offset));
            }
            Key::Absent => {}
        }
        open
    }

    fn change(&mut self, offset: i64, change: impl FnOnce(&mut Open)) {
        let mut open = self.leave(offset);
        change(&mut open);
        self.enter(offset, open);
    }

    /// Checks what must hold; for tests and the simulator.
    pub fn invariants(&self) {
        let mut again = Window { next: self.next, dead: self.dead, lost: self.lost, ..Window::default() };
        for (&offset, open) in &self.open {
            assert!(offset < self.next, "an open record lies below the end");
            again.enter(offset, open.clone());
        }
        let indexes = |w: &Window| (w.available.clone(), w.dying.clone(), w.ends.clone(), w.held.clone());
        assert_eq!(indexes(self), indexes(&again), "indexes and open records agree");
        assert_eq!((&self.keys, &self.unknown, self.reasons), (&again.keys, &again.unknown, again.reasons));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTEMPTS: u32 = 3;
    const LOCK: u64 = 1_000;

    /// A window over a log of records, most of which have keys.
    struct Room {
        window: Window,
        now: Time,
        keys: Vec<Option<u32>>,
        most_open: usize,
    }

    impl Room {
        fn new(keys: &[Option<u32>]) -> Room {
            Room { window: Window::new(0), now: Time(0), keys: keys.to_vec(), most_open: 100 }
        }

        fn plain(records: usize) -> Room {
            Room::new(&vec![None; records])
        }

        /// Takes as a broker does it: reads from what is wanted on, and offers what it finds.
        fn take(&mut self, taker: TakerId, most: usize, keyed: bool) -> Vec<(i64, u32)> {
            let until = self.now.plus_ms(LOCK);
            let ask = Ask { taker, until, keyed, most_open: self.most_open };
            let mut taken = Vec::new();
            while let Some(from) = self.window.wanted(keyed, self.most_open)
                && from < self.keys.len() as i64
                && taken.len() < most
            {
                for offset in from..self.keys.len() as i64 {
                    if taken.len() == most || !self.window.admits(offset, self.most_open) {
                        break;
                    }
                    let got = self.window.offer(offset, self.keys[offset as usize], &ask, self.now);
                    taken.extend(got.map(|deliveries| (offset, deliveries)));
                }
                self.window.invariants();
            }
            taken
        }

        fn end(&mut self, offset: i64, taker: TakerId, how: End<'_>) -> Result<(), NotHeld> {
            let result = self.window.end(offset, taker, how, ATTEMPTS, self.now);
            self.window.invariants();
            result
        }

        fn pass(&mut self, ms: u64) {
            self.now = self.now.plus_ms(ms);
            self.window.tick(ATTEMPTS, self.now);
            self.window.invariants();
        }

        fn dying(&self) -> Vec<(i64, u32, String)> {
            self.window.dying().map(|(at, count, why)| (at, count, why.words().to_owned())).collect()
        }
    }

    #[test]
    fn a_record_is_given_to_one_taker_and_only_that_one_may_end_it() {
        let mut room = Room::plain(3);
        assert_eq!(room.take(1, 2, false), [(0, 1), (1, 1)]);
        assert_eq!(room.take(2, 2, false), [(2, 1)]);
        assert_eq!(room.take(3, 2, false), []);
        assert_eq!(room.end(0, 2, End::Acknowledge), Err(NotHeld));
        assert_eq!(room.end(0, 1, End::Acknowledge), Ok(()));
        assert_eq!(room.end(0, 1, End::Acknowledge), Err(NotHeld), "once is enough");
        assert_eq!(room.end(7, 1, End::Acknowledge), Err(NotHeld), "nobody was given that");
        assert_eq!((room.window.start(), room.window.next()), (1, 3));
    }

    #[test]
    fn acknowledgements_out_of_order_leave_the_start_where_it_is() {
        let mut room = Room::plain(3);
        room.take(1, 3, false);
        room.end(2, 1, End::Acknowledge).unwrap();
        room.end(1, 1, End::Acknowledge).unwrap();
        assert_eq!((room.window.start(), room.window.counts().done_above_start), (0, 2));
        room.end(0, 1, End::Acknowledge).unwrap();
        assert_eq!((room.window.start(), room.window.len()), (3, 0));
    }

    #[test]
    fn a_released_record_comes_again_and_is_counted() {
        let mut room = Room::plain(1);
        room.take(1, 1, false);
        room.end(0, 1, End::Release(room.now)).unwrap();
        assert_eq!(room.take(2, 1, false), [(0, 2)]);
        room.end(0, 2, End::Release(room.now.plus_ms(50))).unwrap();
        assert_eq!(room.take(2, 1, false), [], "not before its delay");
        assert_eq!(room.window.counts().delayed, 1);
        room.pass(50);
        assert_eq!(room.take(2, 1, false), [(0, 3)]);
    }

    #[test]
    fn a_returned_record_comes_again_and_is_not_counted() {
        let mut room = Room::plain(1);
        for _ in 0..10 {
            assert_eq!(room.take(1, 1, false), [(0, 1)]);
            room.end(0, 1, End::Return).unwrap();
        }
        assert!(room.dying().is_empty());
    }

    #[test]
    fn a_delivery_that_is_not_ended_in_time_ends_by_itself() {
        let mut room = Room::plain(1);
        room.take(1, 1, false);
        assert_eq!(room.window.next_deadline(), Some(room.now.plus_ms(LOCK)));
        room.pass(LOCK - 1);
        assert_eq!(room.take(2, 1, false), []);
        room.now = room.now.plus_ms(1);
        assert_eq!(room.end(0, 1, End::Acknowledge), Err(NotHeld), "also when nobody has looked yet");
        room.pass(0);
        assert_eq!(room.take(2, 1, false), [(0, 2)]);
        assert_eq!(room.end(0, 1, End::Acknowledge), Err(NotHeld));
    }

    #[test]
    fn a_delivery_can_be_made_longer() {
        let mut room = Room::plain(1);
        room.take(1, 1, false);
        room.pass(LOCK / 2);
        room.end(0, 1, End::Extend(room.now.plus_ms(LOCK))).unwrap();
        room.pass(LOCK - 1);
        assert_eq!(room.end(0, 1, End::Acknowledge), Ok(()));
    }

    #[test]
    fn what_is_delivered_too_often_dies_and_is_not_given_out_again() {
        let mut room = Room::plain(2);
        room.take(1, 2, false);
        room.end(1, 1, End::Acknowledge).unwrap();
        room.end(0, 1, End::Release(room.now)).unwrap();
        room.take(1, 1, false);
        room.pass(LOCK);
        room.take(1, 1, false);
        assert!(room.window.gone(1, ATTEMPTS, room.now), "a taker that has gone has used up an attempt");
        assert_eq!(room.dying(), [(0, 3, "delivered as often as allowed and not acknowledged".into())]);
        assert_eq!(room.take(1, 1, false), []);
        room.window.buried(0);
        room.window.buried(0);
        assert_eq!((room.window.start(), room.window.counts().dead), (2, 1));
    }

    #[test]
    fn a_rejected_record_dies_with_its_reason() {
        let mut room = Room::plain(1);
        room.take(1, 1, false);
        room.end(0, 1, End::Reject("not JSON")).unwrap();
        assert_eq!(room.dying(), [(0, 1, "not JSON".into())]);
        assert_eq!(room.window.bytes(), OPEN_COST + 8);
        assert_eq!(room.end(0, 1, End::Acknowledge), Err(NotHeld));
        room.window.buried(0);
        assert_eq!(room.window.bytes(), 0);
    }

    #[test]
    fn what_a_taker_held_is_free_as_soon_as_it_has_gone() {
        let mut room = Room::plain(3);
        room.take(1, 2, false);
        room.take(2, 1, false);
        assert!(room.window.holds(1) && room.window.gone(1, ATTEMPTS, room.now));
        assert!(!room.window.holds(1) && !room.window.gone(1, ATTEMPTS, room.now));
        assert_eq!(room.take(3, 9, false), [(0, 2), (1, 2)]);
        assert_eq!(room.window.oldest_holder(), Some((2, Time(0))));
    }

    #[test]
    fn a_record_waits_for_the_earlier_ones_of_its_key() {
        let (a, b) = (Some(1), Some(2));
        let mut room = Room::new(&[a, a, b, None, a, b]);
        assert_eq!(room.take(1, 9, true), [(0, 1), (2, 1), (3, 1)]);
        assert_eq!(room.take(2, 9, true), []);
        room.end(2, 1, End::Release(room.now)).unwrap();
        assert_eq!(room.take(2, 9, true), [(2, 2)], "the earlier one comes again first");
        room.end(0, 1, End::Acknowledge).unwrap();
        assert_eq!(room.take(2, 9, true), [(1, 1)]);
        room.end(1, 2, End::Reject("")).unwrap();
        assert_eq!(room.take(2, 9, true), [], "until it lies among the dead letters");
        room.window.buried(1);
        assert_eq!(room.take(2, 9, true), [(4, 1)]);
    }

    #[test]
    fn who_does_not_ask_for_order_does_not_wait_for_it() {
        let mut room = Room::new(&[Some(1), Some(1)]);
        assert_eq!(room.take(1, 9, false), [(0, 1), (1, 1)]);
    }

    #[test]
    fn no_more_than_so_many_records_are_open() {
        let mut room = Room::plain(10);
        room.most_open = 4;
        assert_eq!(room.take(1, 9, false).len(), 4);
        assert_eq!(room.window.wanted(false, 4), None);
        room.end(3, 1, End::Acknowledge).unwrap();
        assert_eq!(room.take(2, 9, false), [(4, 1)]);
        room.end(0, 1, End::Release(room.now)).unwrap();
        assert_eq!(room.take(2, 9, false), [(0, 2)], "what is open already is given out all the same");
    }

    #[test]
    fn offsets_without_a_record_are_done() {
        let mut window = Window::new(0);
        let ask = Ask { taker: 1, until: Time(9), keyed: false, most_open: 9 };
        window.missing(0..4);
        assert_eq!((window.next(), window.counts().lost), (4, 0));
        assert_eq!(window.offer(4, None, &ask, Time(0)), Some(1));
        assert_eq!(window.offer(8, None, &ask, Time(0)), Some(1), "nothing lies between");
        assert_eq!((window.start(), window.next(), window.len()), (4, 9, 2));
        window.missing(8..9);
        window.missing(20..30);
        window.missing(9..9);
        assert_eq!(
            (window.next(), window.len(), window.counts().lost),
            (9, 1, 1),
            "compacted away meanwhile"
        );
        window.invariants();
    }

    #[test]
    fn what_retention_takes_is_counted_as_lost() {
        let mut room = Room::plain(10);
        room.take(1, 4, false);
        room.end(0, 1, End::Acknowledge).unwrap();
        room.window.trim(3);
        assert_eq!((room.window.start(), room.window.counts().lost), (3, 2));
        room.window.trim(7);
        assert_eq!((room.window.start(), room.window.next(), room.window.counts().lost), (7, 7, 6));
        room.window.trim(5);
        assert_eq!(room.window.next(), 7);
        room.window.cut(6);
        assert_eq!((room.window.start(), room.window.next()), (6, 6));
        room.window.invariants();
    }
}
