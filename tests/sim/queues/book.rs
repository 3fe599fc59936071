//! What is known of queues from the outside, and what contradicts it.
//!
//! Invariant: it is told what takers ask when they ask it, and what the server answers at the moment at which it has
//! written the answer. What it checks, for each record of a group:
//!
//! * what was answered as acknowledged or rejected is never given out again, over any end of the broker, and is not
//!   acknowledged a second time;
//! * a record is held by one taker at a time, and only its holder ends a delivery;
//! * while the broker runs, each delivery has a number of its own, and one that is beyond the last is not followed by
//!   another;
//! * with keys, a record waits for the earlier ones of its key;
//! * when everything is done, each record that is in the log was acknowledged or lies among the dead letters, and what
//!   was rejected lies there for that reason.

use std::collections::{BTreeMap, BTreeSet};

use super::super::audit::Found;
use super::super::content::{self, Id};
use super::super::history::{After, Topic};
use super::letters::Letter;

/// A group and the topic that it takes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Queue {
    pub name: &'static str,
    pub topic: Topic,
    pub partitions: i32,
    /// All its takers ask for the order of keys.
    pub keyed: bool,
    /// `queue.max.delivery.attempts`.
    pub attempts: u32,
}

/// Partition and offset.
pub type Place = (i32, i64);

/// How a taker wants to end deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    Acknowledge,
    Release,
    Return,
    Reject(String),
    /// ... or not to end them before this time, microseconds.
    Extend(u64),
}

impl How {
    /// Whether the taker holds the record no more, if it is done.
    fn gives_up(&self) -> bool {
        !matches!(self, How::Extend(_))
    }
}

/// A record was given to somebody.
#[derive(Debug, Clone, Copy)]
pub struct Given {
    pub place: Place,
    pub taker: u32,
    pub deliveries: u32,
    pub id: Id,
    /// How many takes had come to nothing when it was asked for.
    pub lost_takes: u32,
    /// It is kept from others until then at least, if the taker does not give it up; microseconds.
    pub until: u64,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    by: u32,
    until: u64,
}

/// What is known of a record.
#[derive(Debug, Default, Clone)]
struct Known {
    id: Id,
    held: Option<Held>,
    /// The numbers of its deliveries since the broker was started.
    told: BTreeSet<u32>,
    /// The largest of them, ever, and how many takes of the queue had come to nothing then.
    most: u32,
    lost_takes: u32,
    /// Deliveries since then that somebody did not want to be counted.
    returns: usize,
    /// Somebody was told that it is done, or that it will be among the dead letters.
    acknowledged: bool,
    rejected: bool,
    /// Requests to give it up whose fate nobody knows: until then it is not certain that it is held by anybody.
    ending: u32,
    /// Acknowledgements whose fate nobody knows.
    open: u32,
    /// Why somebody wanted it to be among the dead letters.
    reasons: BTreeSet<String>,
}

impl Known {
    /// Whether nobody need be given it any more.
    fn may_be_done(&self, attempts: u32, takes: Takes, now: u64) -> bool {
        let is_held = self.held.is_some_and(|held| now < held.until);
        // Deliveries that nobody has seen, or that were seen late.
        let unseen = takes.lost - self.lost_takes + takes.open;
        let is_spent = self.most >= attempts && !is_held || unseen > 0 && self.most + unseen >= attempts;
        self.may_be_acknowledged() || !self.reasons.is_empty() || is_spent
    }

    fn may_be_acknowledged(&self) -> bool {
        self.acknowledged || self.open > 0
    }
}

/// Takes whose answers nobody has seen: each may have given out any record.
#[derive(Debug, Default, Clone, Copy)]
struct Takes {
    open: u32,
    /// They will never be seen.
    lost: u32,
}

/// All that is known of all queues.
#[derive(Debug, Default, Clone)]
pub struct Book {
    queues: BTreeMap<Queue, BTreeMap<Place, Known>>,
    takes: BTreeMap<Queue, Takes>,
    drained: BTreeSet<Queue>,
    /// From here on, letters may be of records that a power cut has taken.
    others_from: BTreeMap<(Topic, i32), i64>,
    /// Records that were given out.
    pub taken: u64,
    /// Acknowledgements that were confirmed.
    pub acknowledged: u64,
    /// Dead letters that were found in the end.
    pub letters: u64,
}

impl Book {
    fn known(&mut self, queue: Queue, place: Place) -> &mut Known {
        self.queues.entry(queue).or_default().entry(place).or_default()
    }

    /// Somebody asks for records. How many takes have come to nothing.
    pub fn asks(&mut self, queue: Queue) -> u32 {
        let takes = self.takes.entry(queue).or_default();
        takes.open += 1;
        takes.lost
    }

    /// ... and was answered, or never will be.
    pub fn answered(&mut self, queue: Queue, is_lost: bool) {
        let takes = self.takes.entry(queue).or_default();
        takes.open -= 1;
        takes.lost += u32::from(is_lost);
    }

    /// A record was given out. `now`: microseconds; those below `gone_below` may be gone by themselves.
    pub fn given(&mut self, queue: Queue, given: Given, now: u64, gone_below: i64) -> Result<(), String> {
        self.taken += 1;
        let Given { place, taker, deliveries, id, lost_takes, until } = given;
        let (attempts, name) = (queue.attempts, queue.name);
        let takes = self.takes.get(&queue).copied().unwrap_or_default();
        let records = self.queues.entry(queue).or_default();
        let known = records.entry(place).or_default();
        known.id = id;
        // An answer may have waited so long that somebody else has had the record since.
        let is_late = known.told.last().is_some_and(|last| *last > deliveries);
        if is_late && known.told.insert(deliveries) {
            return Ok(());
        }
        if known.acknowledged || known.rejected {
            return Err(format!("{place:?} was ended for good in {name}, and comes again: {known:?}"));
        }
        if let Some(held) = known.held
            && held.by != taker
            && now < held.until
            && known.ending == 0
        {
            return Err(format!("{place:?} of {name} is given to {taker} and held: {held:?}"));
        }
        let is_new = known.told.insert(deliveries);
        known.most = known.most.max(deliveries);
        known.lost_takes = known.lost_takes.max(lost_takes);
        let beyond = known.told.range(attempts..).count();
        if deliveries == 0 || (!is_new || beyond > 1) && known.returns == 0 {
            return Err(format!("{place:?} of {name} is given out for the {deliveries}th time: {known:?}"));
        }
        known.held = Some(Held { by: taker, until });
        if queue.keyed { check_order(records, queue, place, takes, (now, gone_below)) } else { Ok(()) }
    }

    /// A taker asks to end a delivery. `waits`: it may be given the record again meanwhile. Whether that must be
    /// refused, because somebody else has it.
    pub fn ends(&mut self, queue: Queue, place: Place, taker: u32, how: &How, waits: bool) -> bool {
        let known = self.known(queue, place);
        let is_others = known.held.is_some_and(|held| held.by != taker);
        match how {
            How::Acknowledge => known.open += 1,
            How::Reject(reason) => drop(known.reasons.insert(reason.clone())),
            How::Return => known.returns += 1,
            How::Release | How::Extend(_) => {}
        }
        known.ending += u32::from(how.gives_up());
        if let Some(held) = &mut known.held
            && held.by == taker
        {
            match how {
                How::Extend(until) => held.until = held.until.min(*until),
                _ => known.held = None,
            }
        }
        is_others && !waits
    }

    /// Such a request was answered: it was done.
    pub fn ended(&mut self, queue: Queue, place: Place, taker: u32, how: &How) -> Result<(), String> {
        let known = self.known(queue, place);
        let is_first = !known.acknowledged && !known.rejected;
        match how {
            How::Acknowledge => (known.acknowledged, known.open) = (true, known.open - 1),
            How::Reject(_) => known.rejected = true,
            How::Extend(until) => {
                if let Some(held) = known.held.as_mut().filter(|held| held.by == taker) {
                    held.until = *until;
                }
            }
            How::Release | How::Return => {}
        }
        if how.gives_up() {
            known.ending -= 1;
            // It may have been given to him again before, and to nobody else since.
            known.held = known.held.filter(|held| held.by != taker);
        }
        let known = known.clone();
        self.acknowledged += u64::from(*how == How::Acknowledge);
        match is_first {
            true => Ok(()),
            false => {
                Err(format!("{place:?} of {} was ended for good, and {how:?} is done: {known:?}", queue.name))
            }
        }
    }

    /// Such a request was refused: it was not done.
    pub fn not_ended(&mut self, queue: Queue, place: Place, how: &How) {
        let known = self.known(queue, place);
        match how {
            How::Acknowledge => known.open -= 1,
            How::Reject(reason) => drop(known.reasons.remove(reason)),
            _ => {}
        }
        known.ending -= u32::from(how.gives_up());
    }

    /// A taker is gone, and what it held is free.
    pub fn left(&mut self, queue: Queue, taker: u32) {
        for known in self.queues.get_mut(&queue).into_iter().flat_map(BTreeMap::values_mut) {
            known.held = known.held.filter(|held| held.by != taker);
        }
    }

    /// The broker is gone, and has forgotten who held what, and some of how often it was delivered.
    pub fn restarted(&mut self) {
        for known in self.queues.values_mut().flat_map(BTreeMap::values_mut) {
            (known.held, known.returns, known.ending) = (None, 0, 0);
            known.told.clear();
        }
    }

    /// What lies on the disk after a start: records that a power cut has taken are forgotten, and their offsets begin
    /// anew.
    pub fn audit(&mut self, (topic, durable): (Topic, bool), partition: i32, found: &Found, after: After) {
        if after == After::Power && !durable {
            for records in self.of_topic(topic) {
                records.retain(|place, _| place.0 != partition || place.1 < found.end);
            }
            let others_from = self.others_from.entry((topic, partition)).or_insert(found.end);
            *others_from = found.end.min(*others_from);
        }
    }

    fn of_topic(&mut self, topic: Topic) -> impl Iterator<Item = &mut BTreeMap<Place, Known>> {
        self.queues.iter_mut().filter(move |(queue, _)| queue.topic == topic).map(|(_, records)| records)
    }

    /// Everything of a queue is done.
    pub fn drained(&mut self, queue: Queue) {
        self.drained.insert(queue);
    }

    pub fn is_drained(&self, queue: Queue) -> bool {
        self.drained.contains(&queue)
    }

    /// What is left in the end of a partition, and of the dead letters of its topic. Records below `gone_below` may
    /// have been deleted, which a crash may have undone.
    pub fn finish(
        &mut self,
        (topic, name): (Topic, &str),
        partition: i32,
        found: &Found,
        letters: &[Letter],
        gone_below: i64,
    ) -> Result<(), String> {
        for &queue in self.drained.clone().iter().filter(|queue| queue.topic == topic) {
            let of_queue = |letter: &&Letter| {
                letter.group == queue.name && letter.topic == name && letter.partition == partition
            };
            let letters: Vec<_> = letters.iter().filter(of_queue).collect();
            self.letters += letters.len() as u64;
            let records: BTreeMap<i64, Id> = found.records.iter().copied().collect();
            let others_from = self.others_from.get(&(topic, partition)).copied().unwrap_or(i64::MAX);
            for letter in letters.iter().filter(|letter| letter.offset < others_from) {
                let known = self.known(queue, (partition, letter.offset));
                letter.check(records.get(&letter.offset).copied(), &known.reasons, queue.attempts)?;
            }
            for (&offset, _) in records.range(gone_below..) {
                let known = self.known(queue, (partition, offset));
                let has_letter = letters.iter().any(|letter| letter.offset == offset);
                if !has_letter && (known.rejected || !known.may_be_acknowledged()) {
                    return Err(format!(
                        "{name}/{partition}: {offset} is done for {}, and nobody acknowledged it: {known:?}",
                        queue.name
                    ));
                }
            }
        }
        Ok(())
    }
}

/// A record is given out: earlier ones of its key are done.
fn check_order(
    records: &BTreeMap<Place, Known>,
    queue: Queue,
    place: Place,
    takes: Takes,
    (now, gone_below): (u64, i64),
) -> Result<(), String> {
    let Some(key) = content::key(records[&place].id) else { return Ok(()) };
    let earlier = records.range((place.0, gone_below.min(place.1))..place);
    for (other, known) in earlier.filter(|(_, known)| known.most > 0) {
        let is_same = content::key(known.id).as_ref() == Some(&key);
        if is_same && !known.may_be_done(queue.attempts, takes, now) {
            return Err(format!("{place:?} of {} does not wait for {other:?}: {known:?}", queue.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: Queue = Queue { name: "q", topic: 0, partitions: 1, keyed: false, attempts: 3 };
    const PLACE: Place = (0, 4);

    fn given(taker: u32, deliveries: u32) -> Given {
        Given { place: PLACE, taker, deliveries, id: 4, lost_takes: 0, until: 100 }
    }

    fn give(book: &mut Book, given: Given, now: u64) -> Result<(), String> {
        book.given(QUEUE, given, now, 0)
    }

    /// A record that taker 1 was given, for the first time and until 100.
    fn book() -> Book {
        let mut book = Book::default();
        give(&mut book, given(1, 1), 0).unwrap();
        book
    }

    fn end(book: &mut Book, taker: u32, how: &How) -> Result<(), String> {
        book.ends(QUEUE, PLACE, taker, how, false);
        book.ended(QUEUE, PLACE, taker, how)
    }

    fn letter(reason: &str, deliveries: u32) -> Letter {
        let (group, topic, reason) = ("q".into(), "t".into(), reason.into());
        Letter { group, topic, partition: 0, offset: 4, deliveries, reason, id: Some(4) }
    }

    fn found() -> Found {
        Found { start: 4, end: 5, records: vec![(4, 4)] }
    }

    #[test]
    fn what_was_ended_for_good_does_not_come_again_and_is_not_ended_again() {
        for how in [How::Acknowledge, How::Reject("bad".into())] {
            let mut book = book();
            end(&mut book, 1, &how).unwrap();
            assert!(end(&mut book.clone(), 1, &How::Acknowledge).is_err());
            book.restarted();
            assert!(give(&mut book, given(2, 1), 500).is_err(), "{how:?}");
        }
    }

    #[test]
    fn an_acknowledgement_that_was_not_answered_may_be_forgotten() {
        let mut book = book();
        book.ends(QUEUE, PLACE, 1, &How::Acknowledge, false);
        book.restarted();
        give(&mut book, given(2, 1), 500).unwrap();
        end(&mut book, 2, &How::Acknowledge).unwrap();
    }

    #[test]
    fn a_record_is_held_by_one_taker_until_its_time_is_up_or_it_has_gone_or_given_it_up() {
        let mut time_is_up = book();
        assert!(give(&mut time_is_up.clone(), given(2, 2), 99).is_err());
        assert!(give(&mut time_is_up, given(2, 2), 100).is_ok());
        let mut gone = book();
        gone.left(QUEUE, 1);
        assert!(give(&mut gone, given(2, 2), 1).is_ok());
        let mut released = book();
        released.ends(QUEUE, PLACE, 1, &How::Release, false);
        assert!(give(&mut released, given(2, 2), 1).is_ok());
        let mut extended = book();
        end(&mut extended, 1, &How::Extend(300)).unwrap();
        assert!(give(&mut extended, given(2, 2), 299).is_err());
    }

    #[test]
    fn who_does_not_hold_a_record_is_refused() {
        let mut book = book();
        assert!(!book.clone().ends(QUEUE, PLACE, 1, &How::Acknowledge, false));
        give(&mut book, given(2, 2), 100).unwrap();
        assert!(book.clone().ends(QUEUE, PLACE, 1, &How::Acknowledge, false));
        assert!(!book.ends(QUEUE, PLACE, 1, &How::Acknowledge, true), "it may be given it again");
    }

    #[test]
    fn deliveries_are_counted_and_end() {
        let again = |counts: &[u32]| {
            let mut book = book();
            counts.iter().try_for_each(|count| give(&mut book, given(2, *count), 1_000))
        };
        assert!(again(&[2, 3]).is_ok());
        assert!(again(&[2, 2]).is_err());
        assert!(again(&[1]).is_err());
        assert!(again(&[2, 3, 4]).is_err());
        assert!(again(&[3, 2]).is_ok(), "an answer was late");
        let mut book = book();
        book.ends(QUEUE, PLACE, 1, &How::Return, false);
        assert!(give(&mut book, given(2, 1), 1).is_ok());
    }

    #[test]
    fn with_keys_a_record_waits_for_the_earlier_ones_of_its_key() {
        let queue = Queue { keyed: true, ..QUEUE };
        let id = |count| content::keyed_id(1, 0, false, 7, count);
        let give = |book: &mut Book, offset: i64, now: u64| {
            let place = (0, offset);
            book.given(queue, Given { place, id: id(offset as u32), ..given(1, 1) }, now, 0)
        };
        let mut book = Book::default();
        give(&mut book, 1, 0).unwrap();
        assert!(give(&mut book.clone(), 2, 500).is_err());
        book.ends(queue, (0, 1), 1, &How::Acknowledge, false);
        assert!(give(&mut book, 2, 0).is_ok());
    }

    #[test]
    fn in_the_end_each_record_was_acknowledged_or_is_a_dead_letter() {
        let finish = |change: fn(&mut Book), letters: &[Letter]| {
            let mut book = book();
            change(&mut book);
            book.drained(QUEUE);
            book.finish((0, "t"), 0, &found(), letters, 0)
        };
        let acknowledge = |book: &mut Book| end(book, 1, &How::Acknowledge).unwrap();
        let reject = |book: &mut Book| end(book, 1, &How::Reject("bad".into())).unwrap();
        assert!(finish(acknowledge, &[]).is_ok());
        assert!(finish(|_| (), &[]).is_err());
        assert!(finish(reject, &[]).is_err());
        assert!(finish(reject, &[letter("bad", 1), letter("bad", 1)]).is_ok());
        assert!(finish(reject, &[letter("worse", 1)]).is_err());
        assert!(finish(|_| (), &[letter(super::super::letters::SPENT, 3)]).is_ok());
        assert!(finish(|_| (), &[letter(super::super::letters::SPENT, 2)]).is_err());
        assert!(finish(|_| (), &[Letter { id: Some(9), ..letter("bad", 3) }]).is_err());
    }

    #[test]
    fn what_a_power_cut_has_taken_begins_anew() {
        let mut book = book();
        end(&mut book, 1, &How::Acknowledge).unwrap();
        book.restarted();
        let lost = Found { start: 0, end: 4, records: Vec::new() };
        book.audit((0, false), 0, &lost, After::Power);
        assert!(give(&mut book, given(2, 1), 0).is_ok());
    }
}
