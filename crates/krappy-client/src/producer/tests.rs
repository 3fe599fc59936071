//! The queue against a model broker that loses answers, refuses and forgets: no record may be doubled, lost or
//! reordered, whatever happens.

use super::delivery::Delivery;
use super::queue::{Identity, Limits, Queue};
use crate::error::Error;
use crate::record::Record;
use krappy_wire::batch::{Header, Records, check, check_records};
use krappy_wire::error::ErrorCode;
use krappy_wire::native::Level;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

fn limits(idempotent: bool) -> Limits {
    Limits {
        batch_bytes: 200,
        linger: Duration::ZERO,
        delivery_timeout: Duration::from_secs(60),
        retry_pause: Duration::from_millis(10),
        idempotent,
        acks: Level::Durable,
    }
}

fn refused(code: ErrorCode) -> Error {
    Error::Refused { number: code.number(), message: String::new(), hint: String::new() }
}

/// A small deterministic generator (xorshift), so that a failing seed can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What a broker remembers of a producer in one partition.
#[derive(Default)]
struct Remembered {
    next: i32,
    /// Base sequence and base offset.
    last_five: VecDeque<(i32, i64)>,
}

#[derive(Default)]
struct ModelBroker {
    logs: [Vec<String>; 2],
    producers: HashMap<(i64, usize), Remembered>,
}

impl ModelBroker {
    fn publish(&mut self, partition: usize, bytes: &[u8]) -> Result<(i64, Level), Error> {
        let header = check(bytes).expect("the queue builds good batches");
        check_records(bytes).expect("the queue builds good records");
        if values(bytes).iter().any(|v| v.starts_with("poison")) {
            return Err(refused(ErrorCode::InvalidRecord));
        }
        let known = self.producers.entry((header.producer_id, partition)).or_default();
        if let Some(&(_, offset)) = known.last_five.iter().find(|(s, _)| *s == header.base_sequence) {
            return Ok((offset, Level::Durable));
        }
        assert!(header.base_sequence >= known.next, "older than the five that a broker knows again");
        if header.base_sequence != known.next {
            return Err(refused(ErrorCode::OutOfOrderSequence));
        }
        let offset = self.logs[partition].len() as i64;
        self.logs[partition].extend(values(bytes));
        known.next += header.record_count;
        known.last_five.push_back((header.base_sequence, offset));
        if known.last_five.len() > 5 {
            known.last_five.pop_front();
        }
        Ok((offset, Level::Durable))
    }
}

fn values(bytes: &[u8]) -> Vec<String> {
    let text = |v: &[u8]| String::from_utf8(v.to_vec()).unwrap();
    Records::new(bytes).unwrap().map(|r| text(r.unwrap().value.unwrap())).collect()
}

type Answer = Result<(i64, Level), Error>;

#[derive(PartialEq, Clone, Copy)]
enum Trouble {
    None,
    RefusesNow,
    LosesRequest,
    LosesAnswer,
}

/// Runs one history: records are pushed, requests reach the broker or not, answers come back or not, in any order
/// across partitions and with overtaking inside one.
fn history(seed: u64, poison: bool) {
    let mut dice = Dice(seed * 0x9e37_79b9 + 1);
    let mut broker = ModelBroker::default();
    let mut queue = Queue::new(limits(true), 2, Some(Identity { id: 1, epoch: 0 }));
    let mut now = Instant::now();
    let (mut identities, mut pushed) = (1, 0);
    let mut deliveries: Vec<(usize, String, Delivery)> = Vec::new();
    let mut answers: Vec<(usize, u64, Answer)> = Vec::new();
    for step in 0..4000 {
        now += Duration::from_millis(3);
        if pushed < 300 && dice.roll(2) == 0 {
            let bad = poison && dice.roll(20) == 0;
            let value = format!("{}{pushed}", if bad { "poison" } else { "v" });
            let partition = dice.roll(2) as usize;
            let record = Record::new(value.clone());
            deliveries.push((partition, value, queue.push(partition, &record, 5, now, None)));
            pushed += 1;
        }
        // Once everything is pushed, the trouble ends, so that the history can.
        let trouble = match dice.roll(12) {
            _ if step > 2000 => Trouble::None,
            0 => Trouble::RefusesNow,
            1 => Trouble::LosesRequest,
            2 => Trouble::LosesAnswer,
            _ => Trouble::None,
        };
        for out in queue.take(now).0 {
            if trouble == Trouble::LosesRequest {
                answers.push((out.partition, out.token, Err(Error::Disconnected("lost".into()))));
                continue;
            }
            let answer = match trouble {
                Trouble::RefusesNow => Err(refused(ErrorCode::Draining)),
                _ => broker.publish(out.partition, &out.bytes),
            };
            let answer = match trouble {
                Trouble::LosesAnswer => Err(Error::Disconnected("lost".into())),
                _ => answer,
            };
            answers.push((out.partition, out.token, answer));
        }
        while !answers.is_empty() && dice.roll(3) > 0 {
            let index = dice.roll(answers.len() as u64) as usize;
            let (partition, token, answer) = answers.remove(index);
            if let Some(settled) = queue.answered(partition, token, answer, now) {
                settled.tell();
            }
        }
        if queue.wants_identity() {
            identities += 1;
            queue.renew(Identity { id: identities, epoch: 0 });
        }
    }
    assert!(queue.is_empty() && queue.bytes() == 0, "seed {seed}: something was never settled");
    for (partition, log) in broker.logs.iter().enumerate() {
        let delivered: Vec<&String> = deliveries
            .iter()
            .filter(|(p, _, d)| *p == partition && d.poll().unwrap().is_ok())
            .map(|(_, v, _)| v)
            .collect();
        assert_eq!(log.iter().collect::<Vec<_>>(), delivered, "seed {seed} partition {partition}");
    }
    for (partition, value, delivery) in &deliveries {
        if let Ok(at) = delivery.poll().unwrap() {
            assert_eq!(&broker.logs[*partition][at.offset as usize], value, "seed {seed}");
        }
    }
    if !poison {
        assert!(
            deliveries.iter().all(|(_, _, d)| d.poll().unwrap().is_ok()),
            "seed {seed}: a record was given up"
        );
    }
}

#[test]
fn lost_requests_lost_answers_and_refusals_neither_double_nor_lose_nor_reorder() {
    for seed in 1..=300 {
        history(seed, false);
    }
}

#[test]
fn a_batch_refused_for_good_takes_nothing_else_with_it() {
    for seed in 1..=300 {
        history(seed, true);
    }
}

#[test]
fn at_most_five_batches_are_on_their_way_and_more_records_gather() {
    let now = Instant::now();
    let mut queue = Queue::new(limits(true), 1, Some(Identity { id: 1, epoch: 0 }));
    for i in 0..100 {
        queue.push(0, &Record::new(format!("{i}")), 5, now, None);
        queue.take(now);
    }
    assert!(queue.take(now).0.is_empty() && queue.in_flight());
    let mut tokens = 1..;
    let settled = queue.answered(0, tokens.next().unwrap(), Ok((0, Level::Durable)), now).unwrap();
    settled.tell();
    let next = queue.take(now).0;
    assert_eq!(next.len(), 1);
    assert!(Header::read(&next[0].bytes).unwrap().record_count > 1);
}

#[test]
fn without_idempotence_one_batch_at_a_time_keeps_the_order() {
    let now = Instant::now();
    let mut queue = Queue::new(limits(false), 1, None);
    for i in 0..3 {
        queue.push(0, &Record::new(format!("{i}")), 5, now, None);
        queue.close_all();
    }
    let first = queue.take(now).0;
    assert_eq!(first.len(), 1);
    assert!(queue.answered(0, first[0].token, Err(Error::Disconnected("x".into())), now).is_none());
    let again = queue.take(now).0;
    assert_eq!(values(&again[0].bytes), ["0"]);
}

#[test]
fn a_record_that_may_be_stored_is_never_given_a_new_number() {
    let now = Instant::now();
    let mut queue = Queue::new(limits(true), 1, Some(Identity { id: 1, epoch: 0 }));
    let lost = queue.push(0, &Record::new("a"), 5, now, None);
    let out = queue.take(now).0;
    queue.answered(0, out[0].token, Err(Error::Disconnected("x".into())), now);
    let late = now + Duration::from_secs(61);
    for settled in queue.expire(late) {
        settled.tell();
    }
    assert!(matches!(lost.poll(), Some(Err(Error::TimedOut(_)))));
    queue.push(0, &Record::new("b"), 5, late, None);
    assert!(queue.take(late).0.is_empty(), "the old numbers mean nothing any more");
    assert!(queue.wants_identity());
    queue.renew(Identity { id: 2, epoch: 0 });
    let header = Header::read(&queue.take(late).0[0].bytes).unwrap();
    assert_eq!((header.producer_id, header.base_sequence), (2, 0));
}

#[test]
fn the_whole_topic_failing_settles_everything_and_frees_the_memory() {
    let now = Instant::now();
    let mut queue = Queue::new(limits(true), 2, Some(Identity { id: 1, epoch: 0 }));
    let all: Vec<_> = (0..20).map(|i| queue.push(i % 2, &Record::new("x"), 5, now, None)).collect();
    queue.take(now);
    for settled in queue.fail_all(&Error::Closed) {
        settled.tell();
    }
    assert!(all.iter().all(|d| d.poll() == Some(Err(Error::Closed))));
    assert!(queue.is_empty() && queue.bytes() == 0);
}
