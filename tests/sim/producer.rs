//! Publishers: plain ones, which never send a record twice, and idempotent ones, which send until they are answered.

use std::collections::{BTreeMap, VecDeque};

use krappy::disk::sim::Rng;
use krappy_wire::batch::{Builder, ProducerSequence};
use krappy_wire::error::ErrorCode;
use krappy_wire::native::{Body, Head, Level, PlainWriter, PublishedPart, Reply, Request};
use krappy_wire::partition::partition_for;

use super::content::{self, Id};
use super::history::{Expects, Sent};
use super::link::{Ctx, Link, Script};
use super::plan::{KEYS, TopicPlan};

/// Batches that an idempotent producer may have unanswered, as in Kafka.
const WINDOW: usize = 5;
const STREAM: u32 = 1;

/// How records are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Prepared,
    Idempotent,
}

/// Records of one publish by partition.
type Parts = Vec<(i32, Vec<Id>)>;

struct Publish {
    acks: Level,
    parts: Parts,
    /// Which batch of an idempotent producer.
    sequence: i32,
}

/// A publisher to one topic.
pub struct Producer {
    number: u32,
    plan: TopicPlan,
    kind: Kind,
    acks: Level,
    window: usize,
    ops: u32,
    next_record: u32,
    registered: Registered,
    open: BTreeMap<u32, Publish>,
    idempotent: Idempotent,
    refusals: u32,
}

#[derive(PartialEq, Eq)]
enum Registered {
    No,
    Asked(u32),
    Yes,
}

/// The state that an idempotent producer keeps across connections.
#[derive(Default)]
struct Idempotent {
    /// Producer id and epoch.
    by: Option<(i64, i16)>,
    /// Which producer id this is of those that this client has had.
    incarnation: u64,
    partition: i32,
    next_sequence: i32,
    /// Unanswered batches, oldest first; `sent` of them are under way.
    batches: VecDeque<Batch>,
    sent: usize,
    /// Something was refused: wait for the rest of the answers, then send again from the oldest.
    rewind: bool,
    /// Records that this incarnation has given away.
    given: u32,
}

struct Batch {
    sequence: i32,
    ids: Vec<Id>,
    timestamp: i64,
}

impl Producer {
    pub fn new(number: u32, plan: &TopicPlan, ops: u32, ctx: &mut Ctx<'_>) -> Producer {
        let rng = &mut *ctx.rng;
        let kind = [Kind::Plain, Kind::Prepared, Kind::Idempotent][rng.below(3) as usize];
        let acks = [Level::None, Level::Appended, Level::Durable, Level::Durable, Level::Durable]
            [rng.below(5) as usize];
        let partition = rng.below(plan.partitions as u64) as i32;
        Producer {
            number,
            plan: plan.clone(),
            kind,
            // Without an answer an idempotent producer would never get on.
            acks: if kind == Kind::Idempotent { acks.max(Level::Appended) } else { acks },
            window: 1 + rng.below(8) as usize,
            ops,
            next_record: 0,
            registered: Registered::No,
            open: BTreeMap::new(),
            idempotent: Idempotent { partition, ..Idempotent::default() },
            refusals: 0,
        }
    }

    /// Whether nothing that was acknowledged can ever be lost, so that an idempotent producer never has to start anew.
    fn is_safe(&self) -> bool {
        self.plan.promise.durable && self.acks == Level::Durable
    }

    fn new_ids(&mut self, ctx: &mut Ctx<'_>) -> Vec<Id> {
        any_ids(self.number, self.plan.compacted, &mut self.next_record, ctx.rng)
    }

    fn note_sent(&self, parts: &Parts, timestamp: i64, session: u64, number: u32, ctx: &mut Ctx<'_>) {
        for (partition, ids) in parts {
            for (n, &id) in ids.iter().enumerate() {
                let sent = Sent {
                    topic: self.plan.topic,
                    partition: *partition,
                    session,
                    number: if self.kind == Kind::Idempotent {
                        number + n as u32
                    } else {
                        content::count(id)
                    },
                    gapless: self.kind == Kind::Idempotent
                        && self.is_safe()
                        && !self.plan.promise.may_lose_old(),
                    repeats: false,
                    timestamp,
                    expects: Expects::Anything,
                };
                ctx.history.sent(id, sent);
            }
        }
    }

    fn session(&self, link: &Link) -> u64 {
        let run =
            if self.kind == Kind::Idempotent { self.idempotent.incarnation } else { link.serial.into() };
        u64::from(self.number) << 32 | run
    }

    /// Records one by one, to the partitions of their keys or to one partition.
    fn publish_plain(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        let mut ids = self.new_ids(ctx);
        let count = self.plan.partitions as u32;
        let one = ctx.rng.below(2) == 0;
        if !one && count > 1 {
            // Where records without a key go is the broker's choice, so they are left out here.
            ids.retain(|id| content::key(*id).is_some());
        }
        let target = if one { ctx.rng.below(u64::from(count)) as i32 } else { -1 };
        let mut parts: Parts = Vec::new();
        for &id in &ids {
            let home = match content::key(id) {
                _ if one => target,
                Some(key) => partition_for(&key, count) as i32,
                None => 0,
            };
            match parts.iter_mut().find(|(p, _)| *p == home) {
                Some((_, ids)) => ids.push(id),
                None => parts.push((home, vec![id])),
            }
        }
        if ids.is_empty() {
            return;
        }
        let timestamp = if ctx.rng.below(4) == 0 { -1 } else { ctx.wall };
        self.note_sent(&parts, timestamp, self.session(link), 0, ctx);
        let mut writer = PlainWriter::default();
        for id in ids {
            push_plain(&mut writer, timestamp, id);
        }
        let body = Body::Plain(writer.records());
        let request = Request::Publish { acks: self.acks, partition: target, body };
        self.publish(link, &request, Publish { acks: self.acks, parts, sequence: 0 });
    }

    fn publish_prepared(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        let ids = self.new_ids(ctx);
        let partition = ctx.rng.below(self.plan.partitions as u64) as i32;
        let parts = vec![(partition, ids)];
        self.note_sent(&parts, ctx.wall, self.session(link), 0, ctx);
        let bytes = prepared(&parts[0].1, ctx.wall, None);
        let request = Request::Publish { acks: self.acks, partition, body: Body::Batch(&bytes) };
        self.publish(link, &request, Publish { acks: self.acks, parts, sequence: 0 });
    }

    fn publish(&mut self, link: &mut Link, request: &Request<'_>, publish: Publish) {
        let correlation = link.request(STREAM, request);
        if publish.acks != Level::None {
            self.open.insert(correlation, publish);
        }
    }

    /// Makes a new batch, or sends the next one that is not under way.
    fn act_idempotent(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        if self.idempotent.rewind {
            if !self.open.is_empty() {
                return;
            }
            self.idempotent.rewind = false;
            self.idempotent.sent = 0;
        }
        if self.idempotent.sent < self.idempotent.batches.len() {
            self.send_batch(self.idempotent.sent, link);
            self.idempotent.sent += 1;
            if ctx.rng.below(20) == 0 && !ctx.quiet {
                // Sent twice, as by a client whose clock ran out before the answer came.
                self.send_batch(self.idempotent.sent - 1, link);
            }
        } else if self.ops > 0 && !ctx.quiet && self.idempotent.batches.len() < WINDOW.min(self.window) {
            self.ops -= 1;
            let ids = self.new_ids(ctx);
            let parts = vec![(self.idempotent.partition, ids)];
            self.note_sent(&parts, ctx.wall, self.session(link), self.idempotent.given, ctx);
            let ids = parts.into_iter().next().expect("one part").1;
            self.idempotent.given += ids.len() as u32;
            let sequence = self.idempotent.next_sequence;
            self.idempotent.next_sequence += ids.len() as i32;
            self.idempotent.batches.push_back(Batch { sequence, ids, timestamp: ctx.wall });
        }
    }

    fn send_batch(&mut self, n: usize, link: &mut Link) {
        let batch = &self.idempotent.batches[n];
        let (producer_id, epoch) = self.idempotent.by.expect("a registered producer has its id");
        let by = ProducerSequence { producer_id, epoch, base_sequence: batch.sequence };
        let bytes = prepared(&batch.ids, batch.timestamp, Some(by));
        let partition = self.idempotent.partition;
        let publish = Publish {
            acks: self.acks,
            parts: vec![(partition, batch.ids.clone())],
            sequence: batch.sequence,
        };
        let request = Request::Publish { acks: self.acks, partition, body: Body::Batch(&bytes) };
        self.publish(link, &request, publish);
    }

    fn published(&mut self, correlation: u32, level: Level, told: &[PublishedPart], ctx: &mut Ctx<'_>) {
        let Some(publish) = self.open.remove(&correlation) else {
            return ctx.history.bad(format!("{}: an answer to nothing, {correlation}", self.describe()));
        };
        let durable = level == Level::Durable;
        if self.plan.promise.durable && publish.acks == Level::Durable && !durable {
            ctx.history.bad(format!("{}: wanted a durable ack, got {level:?}", self.describe()));
        }
        let fits = told.len() == publish.parts.len()
            && told
                .iter()
                .zip(&publish.parts)
                .all(|(t, (p, ids))| (t.partition, t.count as usize) == (*p, ids.len()));
        if !fits {
            return ctx.history.bad(format!("{}: sent {:?}, told {told:?}", self.describe(), publish.parts));
        }
        for (part, (partition, ids)) in told.iter().zip(&publish.parts) {
            ctx.history.acked(self.plan.topic, *partition, part.base_offset, ids, durable);
        }
        if self.kind == Kind::Idempotent {
            self.batch_answered(publish.sequence);
        }
    }

    fn batch_answered(&mut self, sequence: i32) {
        let state = &mut self.idempotent;
        if let Some(n) = state.batches.iter().position(|b| b.sequence == sequence) {
            state.batches.remove(n);
            state.sent = state.sent.saturating_sub(usize::from(n < state.sent));
        }
    }

    fn refused(&mut self, correlation: u32, code: i16, message: &str, ctx: &mut Ctx<'_>) {
        let Some(publish) = self.open.remove(&correlation) else {
            // With acks none, only a refusal is answered.
            if self.acks != Level::None {
                ctx.history.bad(format!("{}: refused nothing: {message}", self.describe()));
            }
            return;
        };
        let code = ErrorCode::from_number(code);
        if self.kind != Kind::Idempotent {
            self.refusals += 1;
            return match code {
                Some(ErrorCode::StorageError | ErrorCode::Draining) => {}
                _ => ctx.history.bad(format!("{}: refused: {message}", self.describe())),
            };
        }
        let unanswered = self.idempotent.batches.iter().any(|b| b.sequence == publish.sequence);
        self.idempotent.rewind |= unanswered;
        match code {
            Some(ErrorCode::StorageError | ErrorCode::Draining) => {}
            // The batch before this one was refused; both are sent again.
            Some(ErrorCode::OutOfOrderSequence)
                if self.idempotent.batches.front().is_some_and(|b| b.sequence < publish.sequence) => {}
            Some(ErrorCode::OutOfOrderSequence) if !unanswered => {}
            Some(ErrorCode::OutOfOrderSequence) if !self.is_safe() => self.start_anew(),
            _ => {
                ctx.history.bad(format!("{}: batch {} refused: {message}", self.describe(), publish.sequence))
            }
        }
    }

    /// Acknowledged batches are gone, so the broker waits for numbers that never come: only a new producer id helps.
    /// What was not answered is given up.
    fn start_anew(&mut self) {
        let incarnation = self.idempotent.incarnation + 1;
        self.idempotent =
            Idempotent { partition: self.idempotent.partition, incarnation, ..Idempotent::default() };
        self.open.clear();
        self.registered = Registered::No;
    }
}

/// A few new records of a client, for a topic that is `compacted` or not.
pub fn any_ids(client: u32, compacted: bool, next_record: &mut u32, rng: &mut Rng) -> Vec<Id> {
    let count = 1 + rng.below(4);
    let padding = match rng.below(40) {
        0 => 5_000 + rng.below(20_000),
        1..10 => rng.below(600),
        _ => rng.below(60),
    };
    let mut id = |_| {
        *next_record += 1;
        match compacted {
            true => any_keyed(client, (padding / 2) as usize, *next_record, rng),
            false => content::id(client, padding as usize, *next_record),
        }
    };
    (0..count).map(&mut id).collect()
}

/// A record that sets one of a few keys, or deletes it.
pub fn any_keyed(client: u32, padding: usize, count: u32, rng: &mut Rng) -> Id {
    content::keyed_id(client, padding, rng.below(6) == 0, rng.below(KEYS) as u8, count)
}

/// Adds a record to a plain publish.
pub fn push_plain(writer: &mut PlainWriter, timestamp: i64, id: Id) {
    let (value, header) = (content::value(id), content::header(id));
    let header = header.as_ref().map(|id| (content::HEADER, Some(&id[..])));
    writer.push(timestamp, content::key(id).as_deref(), value.as_deref(), header.as_slice());
}

/// One batch with these records.
pub fn prepared(ids: &[Id], timestamp: i64, by: Option<ProducerSequence>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut builder = Builder::open(&mut out, timestamp);
    for &id in ids {
        let key = content::key(id);
        let (value, header) = (content::value(id), content::header(id));
        let headers = header.iter().map(|id| (content::HEADER.as_bytes(), Some(&id[..])));
        builder.push(&mut out, timestamp, key.as_deref(), value.as_deref(), headers);
    }
    builder.close(&mut out, 0, 0, by);
    out
}

impl Script for Producer {
    fn act(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        match self.registered {
            Registered::No => {
                let idempotent = self.kind == Kind::Idempotent && self.idempotent.by.is_none();
                let request = Request::RegisterProducer { topic: self.plan.name, idempotent };
                self.registered = Registered::Asked(link.request(STREAM, &request));
            }
            // A plain producer need not wait for the answer.
            Registered::Asked(_) if self.kind == Kind::Idempotent || ctx.rng.below(4) > 0 => {}
            _ if self.kind == Kind::Idempotent => self.act_idempotent(link, ctx),
            _ if self.ops == 0 || ctx.quiet || self.open.len() >= self.window || link.unsent() > 10_000 => {}
            _ => {
                self.ops -= 1;
                match self.kind {
                    Kind::Plain => self.publish_plain(link, ctx),
                    _ => self.publish_prepared(link, ctx),
                }
            }
        }
    }

    fn reply(&mut self, head: Head, reply: Reply<'_>, link: &mut Link, ctx: &mut Ctx<'_>) {
        let batch = self.open.get(&head.correlation).map(|p| p.sequence);
        ctx.history.note(|| format!("{} on {}: {batch:?} {reply:?}", self.describe(), link.serial));
        let asked = self.registered == Registered::Asked(head.correlation);
        match reply {
            Reply::ProducerRegistered { partitions, producer_id, producer_epoch, .. } if asked => {
                self.registered = Registered::Yes;
                if partitions as i32 != self.plan.partitions {
                    ctx.history.bad(format!("{}: has {partitions} partitions", self.describe()));
                }
                if self.kind == Kind::Idempotent && self.idempotent.by.is_none() {
                    ctx.history.producer_id(producer_id);
                    self.idempotent.by = Some((producer_id, producer_epoch));
                }
            }
            Reply::Published { level, parts } => self.published(head.correlation, level, &parts, ctx),
            Reply::Error { code, message, .. } if asked => {
                // The topic is not there yet, or the broker is stopping: begin again.
                let _ = (code, message);
                link.leave();
                self.lost(ctx);
            }
            Reply::Error { .. } if self.registered != Registered::Yes => {
                self.open.remove(&head.correlation);
            }
            Reply::Error { code, message, .. } => self.refused(head.correlation, code, message, ctx),
            Reply::GoAway { .. } => {}
            other => ctx.history.bad(format!("{}: got {other:?}", self.describe())),
        }
    }

    fn lost(&mut self, _ctx: &mut Ctx<'_>) {
        self.registered = Registered::No;
        self.open.clear();
        self.idempotent.sent = 0;
        self.idempotent.rewind = false;
    }

    fn finished(&self) -> bool {
        self.ops == 0 && self.open.is_empty() && self.idempotent.batches.is_empty()
    }

    fn must_finish(&self) -> bool {
        !self.open.is_empty() || !self.idempotent.batches.is_empty()
    }

    fn topic(&self) -> Option<(&str, usize)> {
        Some((self.plan.name, self.plan.topic))
    }

    fn open_publish(&self, head: Head) -> Option<&[(i32, Vec<Id>)]> {
        self.open.get(&head.correlation).map(|p| &p.parts[..])
    }

    fn describe(&self) -> String {
        format!("producer {} ({:?}, {:?}) to {}", self.number, self.kind, self.acks, self.plan.name)
    }
}
