//! A taker: a stream that takes single records of a queue, and what answers requests about queues.
//!
//! Invariant: a taker waits for one take at a time, and keeps its group, topic and name for as long as it lasts,
//! because the broker knows by them what is to be given to others when it ends.

use krappy_wire::native::{self, Head, QueuePart, QueueSettle};

use crate::api::queue::{self, QueueLine, QueueReply, QueueRequest};
use crate::api::{ErrorCode, Refusal, Request};

/// A taker.
#[derive(Debug)]
pub struct Taker {
    group: String,
    topic: String,
    name: String,
    asked: Option<Asked>,
    /// Serial of its take under way.
    pub asking: Option<u64>,
}

/// A take that is not answered, without the names.
#[derive(Debug, Clone, Copy)]
struct Asked {
    correlation: u32,
    partition: Option<i32>,
    most: u32,
    max_bytes: u32,
    max_wait_ms: u32,
    lock_ms: Option<u32>,
    keyed: bool,
}

impl Taker {
    /// A taker that has not taken anything.
    pub fn new(take: &native::QueueTake<'_>) -> Self {
        Self {
            group: take.group.to_owned(),
            topic: take.topic.to_owned(),
            name: take.name.to_owned(),
            asked: None,
            asking: None,
        }
    }

    /// Notes a take.
    pub fn ask(&mut self, correlation: u32, take: &native::QueueTake<'_>) -> Result<(), Refusal> {
        let refused = |message: &str| Refusal::new(ErrorCode::InvalidRequest, message);
        if (take.group, take.topic, take.name) != (&*self.group, &*self.topic, &*self.name) {
            return Err(refused(
                "this stream takes for another group, from another topic, or by another name",
            )
            .hint("use another stream, or close this one first"));
        }
        if self.asked.is_some() {
            return Err(refused("this stream is waiting for a take already")
                .hint("wait for its reply, or use another stream"));
        }
        self.asked = Some(Asked {
            correlation,
            partition: (take.partition >= 0).then_some(take.partition),
            most: take.most,
            max_bytes: take.max_bytes,
            max_wait_ms: take.max_wait_ms,
            lock_ms: (take.lock_ms > 0).then_some(take.lock_ms),
            keyed: take.keyed,
        });
        Ok(())
    }

    /// Whether the broker is to be asked.
    pub fn wants(&self) -> bool {
        self.asked.is_some() && self.asking.is_none()
    }

    /// What it is to be asked. `number` is that of the stream.
    pub fn request(&self, number: u32) -> Request<'_> {
        let asked = self.asked.expect("somebody who wants something has asked for it");
        Request::Queue(QueueRequest::Take(queue::QueueTake {
            group: &self.group,
            topic: &self.topic,
            taker: taker(number, &self.name),
            partition: asked.partition,
            most: asked.most,
            max_bytes: asked.max_bytes,
            max_wait_ms: asked.max_wait_ms,
            lock_ms: asked.lock_ms,
            keyed: asked.keyed,
        }))
    }

    /// The broker has answered; the correlation of the take.
    pub fn answered(&mut self) -> u32 {
        self.asking = None;
        self.asked.take().expect("what was answered was asked").correlation
    }
}

fn taker<'a>(stream: u32, name: &'a str) -> queue::Taker<'a> {
    if name.is_empty() { queue::Taker::Stream(stream) } else { queue::Taker::Named(name) }
}

/// A request to end deliveries, that came on this stream.
pub(super) fn settle<'a>(stream: u32, settle: QueueSettle<'a>) -> Request<'a> {
    Request::Queue(QueueRequest::Settle(queue::QueueSettle {
        group: settle.group,
        topic: settle.topic,
        taker: taker(stream, settle.name),
        how: settle.how,
        records: settle.records,
    }))
}

/// Writes what was answered about a queue.
pub(super) fn put_queue(head: Head, reply: &QueueReply, out: &mut Vec<u8>) {
    match reply {
        QueueReply::Taken(records) => native::Reply::Taken(records.records()).encode(head, out),
        QueueReply::Settled(results) => {
            let number = |result: &Result<(), ErrorCode>| result.err().unwrap_or(ErrorCode::None).number();
            native::Reply::Settled { results: results.iter().map(number).collect() }.encode(head, out);
        }
        QueueReply::Described(lines) => {
            native::Reply::QueueIs { parts: lines.iter().map(part).collect() }.encode(head, out);
        }
        QueueReply::Redriven(moved) => native::Reply::Redriven { moved: *moved }.encode(head, out),
        QueueReply::Left => native::Reply::Ack.encode(head, out),
    }
}

fn part(line: &QueueLine) -> QueuePart<'_> {
    QueuePart {
        partition: line.partition,
        start: line.start,
        next: line.next,
        high_watermark: line.high_watermark,
        held: line.held,
        available: line.available,
        delayed: line.delayed,
        dying: line.dying,
        done_above_start: line.done_above_start,
        dead: line.dead,
        lost: line.lost,
        lag: line.lag,
        oldest_holder: &line.oldest_holder,
        oldest_ms: line.oldest_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taker_takes_for_one_group_and_one_thing_at_a_time() {
        let take = native::QueueTake {
            group: "g",
            topic: "t",
            name: "",
            partition: -1,
            most: 1,
            max_bytes: 1,
            max_wait_ms: 0,
            lock_ms: 0,
            keyed: false,
        };
        let mut taker = Taker::new(&take);
        assert!(!taker.wants());
        taker.ask(7, &take).unwrap();
        assert!(taker.wants());
        let Request::Queue(QueueRequest::Take(asked)) = taker.request(3) else { panic!("not a take") };
        assert_eq!((asked.taker, asked.partition, asked.lock_ms), (queue::Taker::Stream(3), None, None));
        taker.asking = Some(1);
        assert!(!taker.wants());
        assert_eq!(taker.ask(8, &take).unwrap_err().code, ErrorCode::InvalidRequest);
        assert_eq!(taker.answered(), 7);
        let other = native::QueueTake { topic: "u", ..take };
        assert_eq!(taker.ask(8, &other).unwrap_err().code, ErrorCode::InvalidRequest);
        taker.ask(8, &take).unwrap();
    }
}
