//! A topic that is created, written, trimmed, changed, read, deleted and created again under the same name, by one
//! client.
//!
//! Each life of the topic has its own entry in the history, under the id that the broker gave it, so that anything that
//! leaks from one life into the next contradicts something.

use krappy_wire::batch::ProducerSequence;
use krappy_wire::error::ErrorCode;
use krappy_wire::native::{Body, Change, Head, Level, Op, Reply, Request, Start, TopicInfo};

use super::content::{self, Id};
use super::history::{Expects, Promise, Sent, Topic};
use super::link::{Ctx, Link, Script};
use super::producer::{any_keyed, prepared};

/// The topic's name.
pub const NAME: &str = "churn";
const PARTITION: i32 = 0;

/// What is promised of it.
pub fn promise(compacted: bool) -> Promise {
    Promise { durable: true, retention: true, cleaned: compacted }
}

/// The name of a life in the history.
pub fn life_name(id: &str) -> String {
    format!("{NAME} {id}")
}

pub struct Churn {
    number: u32,
    compacted: bool,
    lives: u32,
    /// Requests that it may still make.
    ops: u32,
    /// Publishes that are left in this life.
    publishes: u32,
    life: Option<Topic>,
    /// Partitions that this life is known to have.
    partitions: i32,
    /// Changes that were asked for.
    changes: u32,
    deleted: Vec<Topic>,
    step: Step,
    waits_for: Option<u32>,
    stream: u32,
    producer: Option<(i64, i16)>,
    sequence: i32,
    next_record: u32,
    session: u64,
    position: i64,
    end: i64,
    under_way: Vec<Id>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Look,
    Create,
    Register,
    Publish,
    Trim,
    Alter,
    AddPartition,
    Subscribe,
    Read,
    Delete,
}

impl Churn {
    pub fn new(number: u32, compacted: bool, lives: u32, ops: u32) -> Churn {
        Churn {
            number,
            compacted,
            lives,
            ops,
            publishes: 0,
            life: None,
            partitions: 0,
            changes: 0,
            deleted: Vec::new(),
            step: Step::Look,
            waits_for: None,
            stream: 0,
            producer: None,
            sequence: 0,
            next_record: 0,
            session: u64::from(number) << 32,
            position: 0,
            end: 0,
            under_way: Vec::new(),
        }
    }

    fn publish(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) -> u32 {
        let life = self.life.expect("publishes go to a life");
        let padding = ctx.rng.below(300) as usize;
        let count = 1 + ctx.rng.below(3);
        let ids: Vec<Id> = (0..count)
            .map(|_| {
                self.next_record += 1;
                match self.compacted {
                    true => any_keyed(self.number, padding, self.next_record, ctx.rng),
                    false => content::id(self.number, padding, self.next_record),
                }
            })
            .collect();
        for &id in &ids {
            let sent = Sent {
                topic: life,
                partition: PARTITION,
                session: self.session,
                number: content::count(id),
                gapless: false,
                repeats: false,
                timestamp: ctx.wall,
                expects: Expects::Anything,
            };
            ctx.history.sent(id, sent);
        }
        let (producer_id, epoch) = self.producer.expect("registered");
        let by = ProducerSequence { producer_id, epoch, base_sequence: self.sequence };
        let bytes = prepared(&ids, ctx.wall, Some(by));
        self.sequence += ids.len() as i32;
        self.under_way = ids;
        let acks = if ctx.rng.below(3) == 0 { Level::Appended } else { Level::Durable };
        link.request(self.stream, &Request::Publish { acks, partition: PARTITION, body: Body::Batch(&bytes) })
    }

    /// The broker has described the topic: which life is it?
    fn lives_as(&mut self, info: &TopicInfo<'_>, ctx: &mut Ctx<'_>) {
        let id: String = info.id.iter().map(|b| format!("{b:02x}")).collect();
        let life = ctx.history.topic(&life_name(&id), promise(self.compacted));
        if self.deleted.contains(&life) {
            ctx.history.bad(format!("churn: {id} lives again after it was deleted"));
        }
        let partitions = info.partitions.len() as i32;
        if self.life == Some(life) && partitions < self.partitions {
            ctx.history.bad(format!("churn: {id} has {partitions} of {} partitions", self.partitions));
        }
        self.partitions = partitions;
        self.life = Some(life);
        self.step = Step::Register;
        self.publishes = 2 + ctx.rng.below(12) as u32;
    }

    /// Changes how the log is kept. One that is compacted may cease to be, and become it again.
    fn alter(&mut self, link: &mut Link) -> u32 {
        self.changes += 1;
        let odd = self.changes % 2 == 1;
        let (key, value) = match (self.changes % 3, self.compacted) {
            (0, _) => ("segment.bytes", if odd { "1024" } else { "2048" }),
            (_, true) => ("cleanup.policy", if odd { "delete" } else { "compact,delete" }),
            (_, false) => ("retention.bytes", if odd { "4000" } else { "3000" }),
        };
        let changes = vec![Change { key, op: Op::Set(value) }];
        link.request(0, &Request::AlterTopic { topic: NAME, changes })
    }

    fn new_stream(&mut self) {
        self.stream += 1;
    }

    fn answered(&mut self, reply: Reply<'_>, ctx: &mut Ctx<'_>) {
        let step = self.step;
        match (step, reply) {
            (Step::Look | Step::Create, Reply::Topic(info)) => self.lives_as(&info, ctx),
            (Step::Look, Reply::Error { code, .. })
                if code == ErrorCode::UnknownTopicOrPartition.number() =>
            {
                self.step = Step::Create;
            }
            (Step::Register, Reply::ProducerRegistered { producer_id, producer_epoch, .. }) => {
                ctx.history.producer_id(producer_id);
                self.producer = Some((producer_id, producer_epoch));
                self.sequence = 0;
                self.session += 1;
                self.step = Step::Publish;
            }
            (Step::Publish, Reply::Published { level, parts }) => {
                let life = self.life.expect("published to a life");
                let ids = std::mem::take(&mut self.under_way);
                ctx.history.acked(life, PARTITION, parts[0].base_offset, &ids, level == Level::Durable);
                self.end = parts[0].base_offset + ids.len() as i64;
                self.publishes = self.publishes.saturating_sub(1);
                if self.publishes == 0 {
                    self.step = if ctx.rng.below(3) == 0 { Step::Delete } else { Step::Subscribe };
                } else {
                    self.step = match ctx.rng.below(6) {
                        0 => Step::Trim,
                        1 if self.changes.is_multiple_of(3) && self.partitions < 4 => Step::AddPartition,
                        1 => Step::Alter,
                        _ => Step::Publish,
                    };
                }
            }
            (Step::Trim, Reply::Trimmed { .. }) | (Step::Alter, Reply::Ack) => self.step = Step::Publish,
            (Step::AddPartition, Reply::Ack) => {
                self.partitions += 1;
                self.step = Step::Publish;
            }
            (Step::Subscribe, Reply::ConsumerRegistered { positions, .. }) => {
                self.position = positions[0].1;
                self.step = Step::Read;
            }
            (Step::Read, Reply::Records { parts }) => self.read(&parts, ctx),
            (Step::Delete, Reply::Ack) => {
                self.deleted.extend(self.life.take());
                self.lives -= 1;
                self.step = Step::Look;
            }
            (step, Reply::Error { code, message, .. }) => {
                let code = ErrorCode::from_number(code);
                let passing = [ErrorCode::StorageError, ErrorCode::Draining, ErrorCode::OffsetOutOfRange];
                // A topic that is just being made, for a connection that was lost, neither exists nor does not.
                let half_made = (step, code) == (Step::Create, Some(ErrorCode::TopicAlreadyExists));
                // The one that was asked for on a connection that was lost is there.
                let is_there = (step, code) == (Step::AddPartition, Some(ErrorCode::InvalidPartitions));
                if !half_made && !is_there && !code.is_some_and(|code| passing.contains(&code)) {
                    ctx.history.bad(format!("churn: {step:?} was refused: {message}"));
                }
                self.step = Step::Look;
            }
            (step, reply) => ctx.history.bad(format!("churn: {step:?} was answered by {reply:?}")),
        }
    }

    fn read(&mut self, parts: &[krappy_wire::native::RecordsPart<'_>], ctx: &mut Ctx<'_>) {
        let life = self.life.expect("reads a life");
        for part in parts {
            let mut records = Vec::new();
            let mut rest = part.batches;
            while let Ok((header, batch)) = krappy_wire::batch::first(rest) {
                if let Err(why) = super::audit::read_batch(batch, &mut records) {
                    ctx.history.bad(format!("churn: {why}"));
                }
                rest = &rest[header.size()..];
            }
            for (offset, id) in records {
                ctx.history.read(life, PARTITION, offset, id);
            }
            if part.error == ErrorCode::OffsetOutOfRange.number() {
                self.step = Step::Subscribe;
            }
            self.position = part.next;
        }
        if self.step == Step::Read && (parts.is_empty() || self.position >= self.end) {
            self.step = Step::Delete;
        }
    }
}

impl Script for Churn {
    fn act(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        if self.waits_for.is_some() || self.finished() || ctx.quiet {
            return;
        }
        self.ops -= 1;
        let correlation = match self.step {
            Step::Look => link.request(0, &Request::DescribeTopic { topic: NAME }),
            Step::Create => {
                let mut settings = vec![("segment.bytes", "1024"), ("retention.bytes", "3000")];
                if self.compacted {
                    settings.push(("cleanup.policy", "compact,delete"));
                }
                link.request(0, &Request::CreateTopic { topic: NAME, partitions: 1, settings })
            }
            Step::Register => {
                self.new_stream();
                link.request(self.stream, &Request::RegisterProducer { topic: NAME, idempotent: true })
            }
            Step::Publish => self.publish(link, ctx),
            Step::Trim => {
                let offset = ctx.rng.below(self.end as u64 + 1) as i64;
                link.request(0, &Request::DeleteRecords { topic: NAME, partition: PARTITION, offset })
            }
            Step::Alter => self.alter(link),
            Step::AddPartition => {
                self.changes += 1;
                link.request(0, &Request::AddPartitions { topic: NAME, count: self.partitions + 1 })
            }
            Step::Subscribe => {
                self.new_stream();
                let request = Request::RegisterConsumer {
                    topic: NAME,
                    group: "",
                    partition: -1,
                    start: Start::Earliest,
                };
                link.request(self.stream, &request)
            }
            Step::Read => {
                let request = Request::Poll { max_wait_ms: 10, min_bytes: 1, max_bytes: 2_000 };
                link.request(self.stream, &request)
            }
            Step::Delete => link.request(0, &Request::DeleteTopic { topic: NAME }),
        };
        self.waits_for = Some(correlation);
    }

    fn reply(&mut self, head: Head, reply: Reply<'_>, _link: &mut Link, ctx: &mut Ctx<'_>) {
        match reply {
            Reply::GoAway { .. } => {}
            reply if self.waits_for == Some(head.correlation) => {
                self.waits_for = None;
                self.answered(reply, ctx);
            }
            other => ctx.history.bad(format!("churn: in {:?} got {other:?} for {head:?}", self.step)),
        }
    }

    fn lost(&mut self, _ctx: &mut Ctx<'_>) {
        self.waits_for = None;
        self.step = Step::Look;
        self.under_way.clear();
    }

    fn finished(&self) -> bool {
        self.lives == 0 || self.ops == 0
    }

    fn must_finish(&self) -> bool {
        self.waits_for.is_some()
    }

    fn topic(&self) -> Option<(&str, usize)> {
        Some((NAME, self.life?))
    }

    fn describe(&self) -> String {
        format!("churn in {:?}", self.step)
    }
}
