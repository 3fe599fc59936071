//! Takers of queues: they take single records, acknowledge, release, return, reject or forget them, ask for more time,
//! let it run out, go without a word, and come back.
//!
//! Invariant: what is given to a taker is judged at the moment at which the server has written it; what a taker
//! believes to hold is what it has received and has not asked to end.

use std::collections::BTreeMap;

use krappy_wire::error::ErrorCode;
use krappy_wire::native::{Head, QueueSettle, QueueTake, Reply, Request, Settle, TakenRecord};

use super::super::content::recognise;
use super::super::history::History;
use super::super::link::{Ctx, Link, Script};
use super::super::plan::TopicPlan;
use super::super::sabotage::Lie;
use super::super::views::Logs;
use super::book::{Given, How, Place, Queue};

const STREAM: u32 = 1;
/// Shortest and longest lock that a taker asks for, milliseconds.
const LOCKS: (u64, u64) = (20, 400);

/// A taker.
pub struct Taker {
    number: u32,
    queue: Queue,
    plan: TopicPlan,
    /// Empty: it is its stream.
    name: String,
    /// A planted bug.
    lie: Option<Lie>,
    ops: u32,
    taken: u64,
    /// It has been told something of the queue.
    knows_it: bool,
    done: bool,
    /// The stream is closed with the connection, and when the taker wants it.
    session: Session,
    /// What it believes to hold.
    holds: Vec<Place>,
    settling: BTreeMap<u32, Settling>,
    rejected: u32,
}

#[derive(Default)]
struct Session {
    /// A take that is not answered.
    taking: Option<Taking>,
    /// Correlation of a question how the queue stands.
    asking: Option<u32>,
    /// Whether the stream has taken anything.
    has_taken: bool,
    /// The server has closed the connection.
    hung_up: bool,
}

#[derive(Debug, Clone, Copy)]
struct Taking {
    correlation: u32,
    /// Nobody else is given what it is given before this time, microseconds.
    until: u64,
    /// How many takes of the queue had come to nothing when it was asked for.
    lost_takes: u32,
    /// The answer has been written.
    is_seen: bool,
}

/// A request to end deliveries that is not answered.
struct Settling {
    how: How,
    /// Each with whether somebody else has it, so that this must be refused.
    places: Vec<(Place, bool)>,
}

impl Taker {
    pub fn new(
        number: u32,
        (queue, plan): (Queue, &TopicPlan),
        lie: Option<Lie>,
        ops: u32,
        ctx: &mut Ctx<'_>,
    ) -> Taker {
        let is_named = ctx.rng.below(3) == 0;
        Taker {
            number,
            queue,
            plan: plan.clone(),
            name: if is_named { format!("taker {number}") } else { String::new() },
            lie,
            ops,
            taken: 0,
            knows_it: false,
            done: false,
            session: Session::default(),
            holds: Vec::new(),
            settling: BTreeMap::new(),
            rejected: 0,
        }
    }

    /// The stream, or the connection with it, has ended.
    fn forget(&mut self, history: &mut History) {
        let session = std::mem::take(&mut self.session);
        if session.taking.is_some_and(|taking| !taking.is_seen) {
            history.queues.answered(self.queue, true);
        }
        if self.name.is_empty() {
            self.holds.clear();
            history.queues.left(self.queue, self.number);
        }
    }

    fn take(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        let lock = LOCKS.0 + ctx.rng.below(LOCKS.1 - LOCKS.0);
        let max_wait_ms = [0, 10, 300, 5_000][ctx.rng.below(4) as usize];
        let partition = match ctx.rng.below(4) {
            0 if !ctx.quiet => ctx.rng.below(self.plan.partitions as u64) as i32,
            _ => -1,
        };
        let request = Request::QueueTake(QueueTake {
            group: self.queue.name,
            topic: self.plan.name,
            name: &self.name,
            partition,
            most: 1 + ctx.rng.below(if ctx.quiet { 50 } else { 4 }) as u32,
            max_bytes: [1, 1_000, 1_000_000][ctx.rng.below(3) as usize],
            max_wait_ms: if ctx.quiet { max_wait_ms.min(10) } else { max_wait_ms },
            lock_ms: lock as u32,
            keyed: self.queue.keyed,
        });
        let correlation = link.request(STREAM, &request);
        let until = ctx.history.time + lock * 1_000;
        let lost_takes = ctx.history.queues.asks(self.queue);
        self.session.taking = Some(Taking { correlation, until, lost_takes, is_seen: false });
        self.session.has_taken = true;
    }

    /// Ends some deliveries in one way.
    fn settle(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        let count = 1 + ctx.rng.below(self.holds.len().min(3) as u64) as usize;
        let ms = ctx.rng.below(LOCKS.1) as u32;
        let how = match ctx.rng.below(20) {
            _ if ctx.quiet => How::Acknowledge,
            0..9 => How::Acknowledge,
            9..12 => How::Release,
            12 => How::Return,
            13 => {
                self.rejected += 1;
                How::Reject(format!("no good, says {} for the {}th time", self.number, self.rejected))
            }
            14 | 15 => How::Extend(ctx.history.time + u64::from(ms.max(1)) * 1_000),
            // It forgets them, and their time runs out.
            _ => {
                self.holds.truncate(self.holds.len() - count);
                return;
            }
        };
        let asked = match &how {
            How::Acknowledge => Settle::Acknowledge,
            How::Release => Settle::Release(ms),
            How::Return => Settle::Return,
            How::Reject(reason) => Settle::Reject(reason),
            How::Extend(_) => Settle::Extend(ms.max(1)),
        };
        let places: Vec<Place> = match how {
            How::Extend(_) => self.holds[..count].to_vec(),
            _ => self.holds.drain(..count).collect(),
        };
        let (group, topic, name) = (self.queue.name, self.plan.name, self.name.as_str());
        let request =
            Request::QueueSettle(QueueSettle { group, topic, name, how: asked, records: places.clone() });
        let correlation = link.request(STREAM, &request);
        // Whoever clings has asked for a release, and acts as if that had been no more than a question.
        let how = match how {
            How::Release if self.lie == Some(Lie::Clings) => How::Extend(u64::MAX),
            how => how,
        };
        let (queue, number, waits) = (self.queue, self.number, self.session.taking.is_some());
        let ends = |place| (place, ctx.history.queues.ends(queue, place, number, &how, waits));
        let places = places.into_iter().map(ends).collect();
        self.settling.insert(correlation, Settling { how, places });
    }

    fn ask(&mut self, link: &mut Link) {
        let (group, topic) = (self.queue.name, self.plan.name);
        self.session.asking = Some(link.request(0, &Request::QueueDescribe { group, topic }));
    }

    /// A record that the server has given out just now.
    fn judge_given(&self, head: Head, record: &TakenRecord<'_>, history: &mut History) -> Result<(), String> {
        let TakenRecord { partition, offset, deliveries, .. } = *record;
        let id = recognise(record.key, &record.tail)
            .ok_or_else(|| format!("the record at {offset} of {partition} was not sent"))?;
        history.read(self.plan.topic, partition, offset, id);
        // Of a stream that has been closed since, nothing is held any more.
        let taking = self.session.taking.filter(|taking| taking.correlation == head.correlation);
        let is_open = !self.name.is_empty() || !self.session.hung_up;
        let until = taking.filter(|_| is_open).map_or(0, |taking| taking.until);
        let lost_takes = taking.map_or(0, |taking| taking.lost_takes);
        let (place, taker) = ((partition, offset), self.number);
        let given = Given { place, taker, deliveries, id, lost_takes, until };
        let (time, gone_below) = (history.time, history.may_be_gone_below(self.plan.topic, partition));
        history.queues.given(self.queue, given, time, gone_below)
    }

    fn judge_settled(
        &self,
        settling: &Settling,
        results: &[i16],
        history: &mut History,
    ) -> Result<(), String> {
        let Settling { how, places } = settling;
        if places.len() != results.len() {
            return Err(format!("{places:?} are answered by {results:?}"));
        }
        for (&(place, is_others), &code) in places.iter().zip(results) {
            match ErrorCode::from_number(code) {
                Some(ErrorCode::None) if is_others => {
                    return Err(format!("{how:?} of {place:?} is done, and somebody else has it"));
                }
                Some(ErrorCode::None) => history.queues.ended(self.queue, place, self.number, how)?,
                // It may have been done all the same.
                Some(ErrorCode::CoordinatorNotAvailable) if history.disk_may_fail || history.stops => {}
                Some(ErrorCode::InvalidRecordState) => history.queues.not_ended(self.queue, place, how),
                code => return Err(format!("{how:?} of {place:?} is answered by {code:?}")),
            }
        }
        Ok(())
    }

    /// Whether everything is done, now that nobody publishes any more.
    fn judge_drained(&self, reply: &Reply<'_>, history: &mut History) {
        let Reply::QueueIs { parts } = reply else { return };
        let end = |partition| history.ends.get(&(self.plan.topic, partition)).copied();
        let is_done = parts
            .iter()
            .all(|part| part.lag == 0 && end(part.partition).is_some_and(|end| part.high_watermark >= end));
        if is_done {
            history.queues.drained(self.queue);
        }
    }

    /// The whole request was refused.
    fn refused(&self, code: i16, message: &str, ctx: &mut Ctx<'_>) {
        let history = &mut *ctx.history;
        let excused = match ErrorCode::from_number(code) {
            // The topic is not there yet, or the broker stops.
            Some(ErrorCode::UnknownTopicOrPartition) => !self.knows_it,
            Some(ErrorCode::Draining) => true,
            Some(ErrorCode::CoordinatorNotAvailable) => history.disk_may_fail || history.stops,
            Some(ErrorCode::StorageError) => history.disk_may_fail,
            Some(ErrorCode::CoordinatorLoadInProgress) => history.views_may_fail,
            _ => false,
        };
        if !excused {
            history.bad(format!("{}: refused: {message}", self.describe()));
        }
    }
}

impl Script for Taker {
    fn act(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        self.done = ctx.quiet && ctx.history.queues.is_drained(self.queue);
        if self.done || self.ops == 0 && !ctx.quiet || link.unsent() > 10_000 {
            return;
        }
        self.ops = self.ops.saturating_sub(1);
        match ctx.rng.below(60) {
            0 if !ctx.quiet => {
                link.leave();
                self.lost(ctx);
            }
            1 if !ctx.quiet && self.session.has_taken => {
                link.request(STREAM, &Request::CloseStream);
                self.forget(ctx.history);
            }
            2..6 if self.session.asking.is_none() => self.ask(link),
            6..36 if !self.holds.is_empty() && self.settling.len() < 4 => self.settle(link, ctx),
            _ if self.session.taking.is_none() && self.holds.len() < 8 => self.take(link, ctx),
            _ => {}
        }
    }

    fn witness(&mut self, head: Head, reply: &Reply<'_>, _logs: &mut Logs, history: &mut History) {
        let judged = match reply {
            Reply::Taken(taken) => {
                taken.iter().try_for_each(|record| self.judge_given(head, &record, history))
            }
            Reply::Settled { results } => match self.settling.get(&head.correlation) {
                Some(settling) => self.judge_settled(settling, results, history),
                None => Ok(()),
            },
            _ => Ok(()),
        };
        self.judge_drained(reply, history);
        if let Some(taking) = self.session.taking.as_mut().filter(|t| t.correlation == head.correlation) {
            taking.is_seen = true;
            history.queues.answered(self.queue, false);
        }
        if let Err(why) = judged {
            history.bad(format!("{}: {why}", self.describe()));
        }
    }

    fn reply(&mut self, head: Head, reply: Reply<'_>, _link: &mut Link, ctx: &mut Ctx<'_>) {
        ctx.history.note(|| format!("{} {head:?}: {reply:?}", self.describe()));
        let settling = self.settling.remove(&head.correlation).is_some();
        let is_asked = self.session.asking.take_if(|asking| *asking == head.correlation).is_some();
        let is_take = |taking: &mut Taking| taking.correlation == head.correlation;
        let is_taken = self.session.taking.take_if(is_take).is_some();
        match reply {
            Reply::Taken(taken) if is_taken => {
                self.taken += u64::from(taken.count());
                self.knows_it = true;
                self.holds.extend(taken.iter().map(|record| (record.partition, record.offset)));
            }
            Reply::Settled { .. } if settling => {}
            Reply::QueueIs { .. } if is_asked => {}
            Reply::Error { code, message, .. } => self.refused(code, message, ctx),
            // Of a stream that was closed before.
            Reply::Taken(_) | Reply::QueueIs { .. } | Reply::Ack | Reply::GoAway { .. } => {}
            other => ctx.history.bad(format!("{}: got {other:?}", self.describe())),
        }
    }

    fn lost(&mut self, ctx: &mut Ctx<'_>) {
        self.forget(ctx.history);
        self.settling.clear();
    }

    fn hung_up(&mut self, history: &mut History) {
        self.session.hung_up = true;
        if self.name.is_empty() {
            history.queues.left(self.queue, self.number);
        }
    }

    fn finished(&self) -> bool {
        self.ops == 0
    }

    fn must_finish(&self) -> bool {
        !self.done
    }

    fn is_last(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        let Taker { number, queue, name, plan, taken, .. } = self;
        format!("taker {number} {name:?} of {} from {} (took {taken})", queue.name, plan.name)
    }
}
