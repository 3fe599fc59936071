//! Producers without idempotence: with acks 0, 1 or all; some send what was not answered again, and so may double it.

use std::collections::VecDeque;

use krappy::kafka::errors::KafkaError;
use krappy::kafka::produce::PartitionProduceResponse;
use krappy::kafka::table::Answer;

use super::super::content::{self, Id};
use super::super::history::{Expects, Sent};
use super::super::link::{Ctx, Look};
use super::super::plan::TopicPlan;
use super::super::producer::any_ids;
use super::batch::{any_codec, batch};
use super::client::{Line, PRODUCE, Program, any_version};
use super::produce::{self, Flying, Note};
use super::topics::Topics;

const WINDOW: u64 = 5;

/// A producer to all partitions of a topic.
pub struct Plain {
    number: u32,
    plan: TopicPlan,
    topics: Topics,
    acks: i16,
    /// Whether it sends again what was refused or not answered.
    retries: bool,
    window: usize,
    ops: u32,
    next_record: u32,
    /// What is to be sent again.
    again: VecDeque<(i32, Vec<Id>)>,
}

impl Plain {
    pub fn new(number: u32, plan: &TopicPlan, ops: u32, ctx: &mut Ctx<'_>) -> Plain {
        let acks = [-1, -1, 1, 1, 0][ctx.rng.below(5) as usize];
        Plain {
            number,
            plan: plan.clone(),
            topics: Topics::new(std::slice::from_ref(plan)),
            acks,
            retries: acks != 0 && ctx.rng.below(2) == 0,
            window: 1 + ctx.rng.below(WINDOW) as usize,
            ops,
            next_record: 0,
            again: VecDeque::new(),
        }
    }

    fn produce(&mut self, line: &mut Line<'_, Note>, ctx: &mut Ctx<'_>) {
        let mut flying: Vec<Flying> = Vec::new();
        for n in 0..self.plan.partitions {
            let Some(ids) = self.next_for(n, line.serial(), ctx) else { continue };
            flying.push(Flying { partition: n, ids, token: 0 });
        }
        if flying.is_empty() {
            return;
        }
        let wall = ctx.wall;
        let batches: Vec<_> =
            flying.iter().map(|f| (f.partition, batch(&f.ids, wall, any_codec(ctx.rng), None))).collect();
        let version = any_version(PRODUCE, ctx.rng);
        let request = produce::request(&self.topics, self.plan.name, self.acks, version, &batches);
        match self.acks {
            0 => line.tell(request, version),
            _ => line.ask(request, version, Note::Produce(flying)),
        }
    }

    /// What the next batch of a partition holds, if there is to be one.
    fn next_for(&mut self, partition: i32, connection: u32, ctx: &mut Ctx<'_>) -> Option<Vec<Id>> {
        if let Some(at) = self.again.iter().position(|(p, _)| *p == partition) {
            let (_, ids) = self.again.remove(at)?;
            ids.iter().for_each(|&id| ctx.history.sent_again(id));
            return Some(ids);
        }
        if self.ops == 0 || ctx.quiet || ctx.rng.below(3) == 0 {
            return None;
        }
        self.ops -= 1;
        let ids = any_ids(self.number, self.plan.compacted, &mut self.next_record, ctx.rng);
        for &id in &ids {
            let sent = Sent {
                topic: self.plan.topic,
                partition,
                session: u64::from(self.number) << 32 | u64::from(connection),
                number: content::count(id),
                gapless: false,
                repeats: self.retries,
                timestamp: if self.retries { -1 } else { ctx.wall },
                expects: Expects::Anything,
            };
            ctx.history.sent(id, sent);
        }
        Some(ids)
    }

    fn produced(&mut self, flying: Flying, told: &PartitionProduceResponse<'_>, ctx: &mut Ctx<'_>) {
        let fine = [KafkaError::KafkaStorageError, KafkaError::LeaderNotAvailable].map(i16::from);
        if told.error_code == 0 {
            let durable = self.acks == -1 && self.plan.promise.durable;
            ctx.history.acked(self.plan.topic, flying.partition, told.base_offset, &flying.ids, durable);
        } else if fine.contains(&told.error_code) {
            self.send_again(flying);
        } else {
            ctx.history.bad(format!("{}: refused with {told:?}", self.describe()));
        }
    }

    fn send_again(&mut self, flying: Flying) {
        if self.retries {
            self.again.push_back((flying.partition, flying.ids));
        }
    }
}

impl Program for Plain {
    type Note = Note;

    fn act(&mut self, line: &mut Line<'_, Note>, ctx: &mut Ctx<'_>) {
        if line.in_flight() >= self.window || line.is_clogged() {
            return;
        }
        if !self.topics.are_there() {
            if line.in_flight() == 0 {
                let (request, version) = self.topics.question(ctx);
                line.ask(request, version, Note::Metadata);
            }
        } else if !ctx.quiet && ctx.rng.below(120) == 0 {
            line.leave();
        } else {
            self.produce(line, ctx);
        }
    }

    fn answer(&mut self, note: Note, answer: Answer<'_>, _line: &mut Line<'_, Note>, ctx: &mut Ctx<'_>) {
        let why = match (note, answer) {
            (Note::Metadata, Answer::Metadata(told)) => self.topics.answered(&told).err(),
            (Note::Produce(flying), Answer::Produce(told)) => match produce::results(&flying, &told) {
                Ok(results) => {
                    let parts: Vec<_> = flying.iter().cloned().zip(results).collect();
                    parts.into_iter().for_each(|(flying, told)| self.produced(flying, told, ctx));
                    None
                }
                Err(why) => Some(why),
            },
            (_, other) => Some(format!("got {other:?}")),
        };
        if let Some(why) = why {
            ctx.history.bad(format!("{}: {why}", self.describe()));
        }
    }

    fn look(&self, note: &Note, answer: &Answer<'_>, look: &mut Look<'_>) {
        if let (Note::Produce(flying), Answer::Produce(told)) = (note, answer) {
            produce::look(&self.plan, self.acks, flying, told, look);
        }
    }

    fn lost(&mut self, unanswered: Vec<Note>, _ctx: &mut Ctx<'_>) {
        self.topics.lost();
        for note in unanswered {
            if let Note::Produce(flying) = note {
                flying.into_iter().for_each(|flying| self.send_again(flying));
            }
        }
    }

    fn finished(&self) -> bool {
        self.ops == 0 && self.again.is_empty()
    }

    fn must_finish(&self) -> bool {
        !self.again.is_empty()
    }

    fn describe(&self) -> String {
        let (number, name, acks) = (self.number, self.plan.name, self.acks);
        let how = if self.retries { "retrying" } else { "once" };
        format!("Kafka producer {number} to {name}, acks {acks}, {how}, {} to send again", self.again.len())
    }
}
