//! Putting dead letters back: take some from the topic of dead letters, publish them to the topic that they came from,
//! acknowledge them there; again, until there are none or there were enough.
//!
//! The letters are a queue of their own, of the same group. So a letter is put back once, two who put letters back do
//! not meet, and a letter that somebody has taken and acknowledged by hand is not put back.
//!
//! Invariant: a letter is acknowledged only when the record is durable again. A crash in between leaves the letter, so
//! a record may be put back twice, and is never lost. Letters of other groups are left to them.

use std::collections::BTreeMap;

use super::letters::{Batch, origin};
use super::{DEAD_LETTERS, Errand, Stop};
use crate::api::queue::{QueueReply, QueueTake, TakenWriter, Taker};
use crate::api::{Body, ErrorCode, Level, Publish, Refusal, Reply, ReplyTo, TopicRef};
use crate::broker::{Broker, Taken};
use crate::groups::queue::{End, TakerId};
use crate::time::Now;

/// Names one request to put letters back.
pub type RedriveId = u64;

/// Letters of one step, and bytes of them.
const STEP: u32 = 500;
const STEP_BYTES: u32 = 512 << 10;
/// A step that takes longer than this is given to somebody else.
const LOCK_MS: u32 = 60_000;

/// A request to put letters back.
#[derive(Debug)]
pub struct Redrive {
    to: ReplyTo,
    group: String,
    topic: String,
    taker: TakerId,
    left: u32,
    moved: u32,
    step: Step,
}

/// How far a step has come.
#[derive(Debug)]
enum Step {
    Taking,
    /// Letters, how many of them are ours, publishes that are under way, and why one failed.
    Publishing {
        letters: Vec<(i32, i64)>,
        ours: u32,
        missing: usize,
        failed: Option<Refusal>,
    },
    /// How many of the letters are ours.
    Acknowledging(u32),
    /// What is to be said when the letters are returned.
    Returning(Refusal),
}

impl Broker {
    /// Takes a request to put letters back, or leaves it for later.
    pub(super) fn begin_redrive(
        &mut self,
        to: ReplyTo,
        group: &str,
        topic: &str,
        most: u32,
        now: Now,
    ) -> Result<(), Stop> {
        self.refuse_while_draining()?;
        self.check_queue(group, topic)?;
        self.queues.state.when_done()?;
        self.queues_topic()?;
        let letters = topic.to_owned() + DEAD_LETTERS;
        if self.catalog.find(&letters).is_none() {
            self.answer_queue(to, QueueReply::Redriven(0));
            return Ok(());
        }
        self.check_queue(group, &letters)?;
        let (id, taker) = (self.queues.next(), self.queues.takers.nameless());
        let (group, topic) = (group.to_owned(), topic.to_owned());
        let redrive = Redrive { to, group, topic, taker, left: most, moved: 0, step: Step::Taking };
        self.queues.redrives.insert(id, redrive);
        self.take_letters(id, now);
        Ok(())
    }

    fn take_letters(&mut self, id: RedriveId, now: Now) {
        let redrive = self.queues.redrives.get_mut(id).expect("it is under way");
        redrive.step = Step::Taking;
        let (most, taker) = (redrive.left.min(STEP), redrive.taker);
        if most == 0 {
            return self.finish_redrive(id, None);
        }
        let (group, letters) = (redrive.group.clone(), redrive.topic.clone() + DEAD_LETTERS);
        let take = QueueTake {
            group: &group,
            topic: &letters,
            taker: Taker::Stream(0),
            partition: None,
            most,
            max_bytes: STEP_BYTES,
            max_wait_ms: 0,
            lock_ms: Some(LOCK_MS),
            keyed: false,
        };
        let to = self.queues.errand(Errand::Redrive(id));
        self.take_for_ourselves(to, taker, &take, now);
    }

    fn finish_redrive(&mut self, id: RedriveId, failed: Option<Refusal>) {
        let redrive = self.queues.redrives.remove(id).expect("it is under way");
        match failed {
            // What was put back before is told, and the next request meets whatever is wrong.
            Some(refusal) if redrive.moved == 0 => {
                self.refuse(redrive.to, refusal);
            }
            _ => self.answer_queue(redrive.to, QueueReply::Redriven(redrive.moved)),
        }
    }

    /// Something that a step has asked for is done.
    pub(super) fn redrive_on(&mut self, id: RedriveId, reply: Reply, now: Now) {
        let redrive = self.queues.redrives.get_mut(id).expect("it is under way");
        match (std::mem::replace(&mut redrive.step, Step::Taking), reply) {
            (Step::Taking, Reply::Queue(QueueReply::Taken(letters))) if letters.is_empty() => {
                self.finish_redrive(id, None);
            }
            (Step::Taking, Reply::Queue(QueueReply::Taken(letters))) => self.publish_again(id, &letters, now),
            (Step::Taking, Reply::Refused(refusal)) => self.finish_redrive(id, Some(refusal)),
            (Step::Publishing { letters, ours, missing, failed }, reply) => {
                let failed = match reply {
                    Reply::Refused(refusal) => Some(refusal),
                    _ => failed,
                };
                redrive.step = Step::Publishing { letters, ours, missing: missing - 1, failed };
                self.end_letters(id, now);
            }
            (Step::Acknowledging(ours), Reply::Queue(QueueReply::Settled(results))) => {
                self.count_letters(id, ours, &results, now);
            }
            (Step::Returning(refusal), _) => self.finish_redrive(id, Some(refusal)),
            (step, reply) => unreachable!("{step:?} is not answered with {reply:?}"),
        }
    }

    /// Publishes the letters of this group to the partitions that they came from.
    fn publish_again(&mut self, id: RedriveId, taken: &TakenWriter, now: Now) {
        let redrive = &self.queues.redrives[id];
        let (group, topic) = (redrive.group.clone(), redrive.topic.clone());
        let letters = taken.records().iter().map(|letter| (letter.partition, letter.offset)).collect();
        let live = self.live_topic(TopicRef::Name(&topic));
        let count = live.as_ref().map_or(1, |key| {
            self.catalog.get(*key).expect("a live topic is in the catalog").partitions.len() as i32
        });
        let (mut batches, mut ours) = (BTreeMap::new(), 0);
        for letter in taken.records().iter() {
            if let Some(partition) = origin(&letter, &group) {
                ours += 1;
                batches.entry(partition % count).or_insert_with(|| Batch::new(now.wall)).put_back(&letter);
            }
        }
        let (mut missing, mut failed) = (0, live.as_ref().err().cloned());
        for (partition, batch) in batches {
            let Ok(key) = live.as_ref() else { break };
            let bytes = batch.finish();
            let publish = Publish {
                topic: TopicRef::Key(*key),
                partition: Some(partition),
                acks: Level::Durable,
                body: Body::Batch(&bytes),
            };
            let to = self.queues.errand(Errand::Redrive(id));
            match self.publish(to, &publish, now) {
                Taken::Yes => missing += 1,
                Taken::Later => {
                    self.queues.errands.remove(to.slot);
                    let busy = Refusal::new(ErrorCode::RequestTimedOut, "too much waits for the disk");
                    failed.get_or_insert(busy.hint("try again later"));
                }
            }
        }
        let redrive = self.queues.redrives.get_mut(id).expect("it is under way");
        redrive.step = Step::Publishing { letters, ours, missing, failed };
        self.end_letters(id, now);
    }

    /// When everything is durable the letters are done. When something failed they stay.
    fn end_letters(&mut self, id: RedriveId, now: Now) {
        let redrive = self.queues.redrives.get_mut(id).expect("it is under way");
        let Step::Publishing { missing: 0, .. } = redrive.step else { return };
        let Step::Publishing { letters, ours, failed, .. } =
            std::mem::replace(&mut redrive.step, Step::Taking)
        else {
            unreachable!("looked at a moment ago")
        };
        let how = if failed.is_none() { End::Acknowledge } else { End::Return };
        redrive.step = failed.map_or(Step::Acknowledging(ours), Step::Returning);
        let (group, taker) = (redrive.group.clone(), redrive.taker);
        let topic = redrive.topic.clone() + DEAD_LETTERS;
        let to = self.queues.errand(Errand::Redrive(id));
        self.settle_as(to, taker, (&group, &topic), how, &letters, now);
    }

    fn count_letters(&mut self, id: RedriveId, ours: u32, results: &[Result<(), ErrorCode>], now: Now) {
        let redrive = self.queues.redrives.get_mut(id).expect("it is under way");
        redrive.moved += ours;
        redrive.left -= ours;
        let failed = results.iter().find_map(|result| result.err());
        match failed {
            None => self.take_letters(id, now),
            Some(code) => {
                let refusal = Refusal::new(code, "letters were put back and are still there");
                self.finish_redrive(id, Some(refusal));
            }
        }
    }
}
