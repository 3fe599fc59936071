//! Idempotent producers, as the Java client is one: up to five requests in flight, each batch sent until it is
//! answered, with the sequence numbers that it got at first.
//!
//! Invariant: batches of a partition are kept in the order of their sequence numbers until they are answered or given
//! up. What was refused or lost is sent again one by one, oldest first, and nothing new before it. A new epoch, or a
//! new producer id, begins only when nothing of the partition is in flight; what is left is then numbered from 0.

use krappy::kafka::errors::KafkaError;
use krappy::kafka::init_producer_id::InitProducerIdRequest;
use krappy::kafka::produce::PartitionProduceResponse;
use krappy::kafka::table::Answer;
use krappy_wire::batch::ProducerSequence;

use super::super::content::Id;
use super::super::history::{Expects, Sent};
use super::super::link::{Ctx, Look};
use super::super::plan::TopicPlan;
use super::super::producer::any_ids;
use super::batch::{any_codec, batch};
use super::client::{INIT_PRODUCER_ID, Line, PRODUCE, Program, any_version};
use super::produce::{self, Flying, Note};
use super::topics::Topics;

/// What Kafka's brokers remember of a producer, so clients have no more in flight.
const WINDOW: usize = 5;
const ACKS: i16 = -1;

/// Producer id and epoch.
type Identity = (i64, i16);

/// An idempotent producer to all partitions of a topic.
pub struct Idempotent {
    number: u32,
    plan: TopicPlan,
    topics: Topics,
    identity: Option<Identity>,
    asked: bool,
    window: usize,
    ops: u32,
    next_record: u32,
    next_token: u32,
    partitions: Vec<Partition>,
}

/// The producer's side of a partition.
struct Partition {
    number: i32,
    /// Whose sequence numbers the batches have.
    by: Identity,
    next_sequence: i32,
    last_acked: i32,
    batches: Vec<Batch>,
    /// Records that were given out to the batches of this partition.
    given: u32,
    /// Batches were given up, whose last sequence number is before this one: nobody knows whether they arrived.
    unresolved: Option<i32>,
    /// The broker waits for numbers that never come: begin anew when nothing is in flight.
    broken: bool,
    /// Something was given up under the present producer id.
    gave_up: bool,
}

struct Batch {
    token: u32,
    sequence: i32,
    ids: Vec<Id>,
    timestamp: i64,
    codec: i16,
    in_flight: bool,
    /// It was sent before and must be sent again.
    retried: bool,
    /// It was under way on a connection that has ended.
    may_arrive: bool,
}

impl Batch {
    fn end(&self) -> i32 {
        self.sequence + self.ids.len() as i32
    }
}

impl Idempotent {
    pub fn new(number: u32, plan: &TopicPlan, ops: u32, ctx: &mut Ctx<'_>) -> Idempotent {
        let partition = |number| Partition {
            number,
            by: (-1, -1),
            next_sequence: 0,
            last_acked: -1,
            batches: Vec::new(),
            given: 0,
            unresolved: None,
            broken: false,
            gave_up: false,
        };
        Idempotent {
            number,
            plan: plan.clone(),
            topics: Topics::new(std::slice::from_ref(plan)),
            identity: None,
            asked: false,
            window: 1 + ctx.rng.below(WINDOW as u64) as usize,
            ops,
            next_record: 0,
            next_token: 0,
            partitions: (0..plan.partitions).map(partition).collect(),
        }
    }

    /// Gathers a batch of some partitions, and sends them.
    fn produce(&mut self, line: &mut Line<'_, Note>, ctx: &mut Ctx<'_>) {
        let (mut flying, mut batches) = (Vec::new(), Vec::new());
        for n in 0..self.partitions.len() {
            if ctx.rng.below(3) == 0 {
                continue;
            }
            self.partitions[n].settle(&mut self.identity, ctx);
            // Without an identity, one is asked for when what is gathered has been sent.
            let Some(identity) = self.identity else { break };
            let Some(at) = self.partitions[n].next_to_send().or_else(|| self.new_batch(n, identity, ctx))
            else {
                continue;
            };
            let partition = &mut self.partitions[n];
            let (by, number) = (partition.by, partition.number);
            let batch = &mut partition.batches[at];
            batch.in_flight = true;
            flying.push(Flying { partition: number, ids: batch.ids.clone(), token: batch.token });
            batches.push((number, batch.bytes(by)));
        }
        if !batches.is_empty() {
            let version = any_version(PRODUCE, ctx.rng);
            let request = produce::request(&self.topics, self.plan.name, ACKS, version, &batches);
            line.ask(request, version, Note::Produce(flying));
        }
    }

    /// Makes a new batch where that is possible; its place.
    fn new_batch(&mut self, n: usize, identity: Identity, ctx: &mut Ctx<'_>) -> Option<usize> {
        let partition = &mut self.partitions[n];
        let many = partition.batches.len() >= WINDOW;
        if self.ops == 0 || ctx.quiet || many || !partition.takes_new(identity) {
            return None;
        }
        self.ops -= 1;
        self.next_token += 1;
        let ids = any_ids(self.number, self.plan.compacted, &mut self.next_record, ctx.rng);
        let partition = &mut self.partitions[n];
        let first = partition.given;
        partition.given += ids.len() as u32;
        let promise = self.plan.promise;
        for (number, &id) in (first..).zip(&ids) {
            let sent = Sent {
                topic: self.plan.topic,
                partition: partition.number,
                session: u64::from(self.number) << 32 | partition.number as u64,
                number,
                gapless: promise.durable && !promise.may_lose_old(),
                repeats: false,
                timestamp: ctx.wall,
                expects: Expects::Anything,
            };
            ctx.history.sent(id, sent);
        }
        let sequence = partition.next_sequence;
        partition.next_sequence += ids.len() as i32;
        partition.batches.push(Batch {
            token: self.next_token,
            sequence,
            ids,
            timestamp: ctx.wall,
            codec: any_codec(ctx.rng),
            in_flight: false,
            retried: false,
            may_arrive: false,
        });
        Some(partition.batches.len() - 1)
    }

    fn produced(&mut self, flying: &Flying, told: &PartitionProduceResponse<'_>, ctx: &mut Ctx<'_>) {
        let partition = &mut self.partitions[flying.partition as usize];
        let at = partition.batches.iter().position(|batch| batch.token == flying.token);
        if told.error_code == 0 {
            let durable = self.plan.promise.durable;
            ctx.history.acked(self.plan.topic, flying.partition, told.base_offset, &flying.ids, durable);
            if let Some(at) = at {
                let batch = partition.batches.remove(at);
                partition.last_acked = partition.last_acked.max(batch.end() - 1);
            }
            return;
        }
        // What was given up is not waited for.
        let Some(at) = at else { return };
        if let Err(why) = partition.refused(at, told.error_code, &self.plan) {
            let why = format!("{}: partition {}: {why}, {told:?}", self.describe(), flying.partition);
            ctx.history.bad(why);
        }
    }

    /// Time is up for the oldest batch of a partition.
    fn give_up(&mut self, ctx: &mut Ctx<'_>) {
        let n = ctx.rng.below(self.partitions.len() as u64) as usize;
        self.partitions[n].give_up(ctx);
    }
}

impl Partition {
    fn flies(&self) -> bool {
        self.batches.iter().any(|batch| batch.in_flight)
    }

    /// The place of a batch that is to be sent again: only the oldest is, the others wait for its answer.
    fn next_to_send(&self) -> Option<usize> {
        let waits = self.batches.first().is_some_and(|batch| !batch.in_flight);
        (waits && !self.broken).then_some(0)
    }

    /// Whether a batch with the next sequence number may be made. With a new identity the numbers begin anew, once all
    /// that had the old one is answered.
    fn takes_new(&mut self, identity: Identity) -> bool {
        let waits = self.broken || self.unresolved.is_some() || self.batches.iter().any(|b| b.retried);
        if waits || (self.by != identity && !self.batches.is_empty()) {
            return false;
        }
        if self.by != identity {
            self.begin_anew(identity);
        }
        true
    }

    /// Numbers what is left from 0 on.
    fn begin_anew(&mut self, identity: Identity) {
        self.gave_up &= self.by.0 == identity.0;
        (self.by, self.next_sequence, self.last_acked) = (identity, 0, -1);
        (self.broken, self.unresolved) = (false, None);
        for batch in &mut self.batches {
            batch.sequence = self.next_sequence;
            self.next_sequence += batch.ids.len() as i32;
        }
    }

    /// With nothing in flight, it is known what to do about what was given up or refused.
    fn settle(&mut self, identity: &mut Option<Identity>, ctx: &mut Ctx<'_>) {
        let Some(of_producer) = identity.as_mut() else { return };
        if self.flies() {
            return;
        }
        if self.unresolved.is_some() && self.batches.is_empty() {
            // Either what came behind it was taken, or nobody knows.
            self.broken |= self.last_acked + 1 != self.next_sequence;
            self.unresolved = None;
        }
        if !self.broken {
            return;
        }
        if self.gave_up {
            // The first copy of what has got stuck behind it may still arrive, and under its old number.
            for batch in self.batches.iter().filter(|batch| batch.may_arrive) {
                batch.ids.iter().for_each(|&id| ctx.history.may_repeat(id));
            }
        }
        if self.by == *of_producer {
            // What was given up may arrive late, and only an epoch keeps it out.
            if !self.gave_up && ctx.rng.below(3) == 0 {
                *identity = None;
                return;
            }
            of_producer.1 += 1;
        }
        let anew = *of_producer;
        self.begin_anew(anew);
    }

    /// The error says why the broker must not answer so.
    fn refused(&mut self, at: usize, code: i16, plan: &TopicPlan) -> Result<(), String> {
        let batch = &mut self.batches[at];
        (batch.in_flight, batch.retried) = (false, true);
        let (sequence, is_next) = (batch.sequence, batch.sequence == self.last_acked + 1);
        let retriable = [KafkaError::KafkaStorageError, KafkaError::LeaderNotAvailable].map(i16::from);
        if retriable.contains(&code) {
            return Ok(());
        }
        if code != i16::from(KafkaError::OutOfOrderSequenceNumber) || is_next && plan.promise.durable {
            return Err(format!("sequence {sequence} is refused, {} was the last", self.last_acked));
        }
        // Otherwise one before it was refused, or is on its way again: then this one is in order soon.
        self.broken |= is_next || self.unresolved == Some(sequence);
        Ok(())
    }

    /// The connection has ended: what was in flight is sent again.
    fn lost(&mut self) {
        for batch in self.batches.iter_mut().filter(|batch| batch.in_flight) {
            batch.in_flight = false;
            (batch.retried, batch.may_arrive) = (true, true);
        }
    }

    fn give_up(&mut self, ctx: &mut Ctx<'_>) {
        if !self.batches.first().is_some_and(|batch| batch.retried && !batch.in_flight) {
            return;
        }
        let batch = self.batches.remove(0);
        batch.ids.iter().for_each(|&id| ctx.history.gave_up(id));
        self.gave_up = true;
        self.unresolved = Some(batch.end());
    }
}

impl Batch {
    fn bytes(&self, by: Identity) -> Vec<u8> {
        let by = ProducerSequence { producer_id: by.0, epoch: by.1, base_sequence: self.sequence };
        batch(&self.ids, self.timestamp, self.codec, Some(by))
    }
}

impl Program for Idempotent {
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
        } else if self.identity.is_none() {
            if !self.asked {
                self.asked = true;
                let version = any_version(INIT_PRODUCER_ID, ctx.rng);
                line.ask(InitProducerIdRequest::default(), version, Note::ProducerId);
            }
        } else if !ctx.quiet && ctx.rng.below(120) == 0 {
            line.leave();
        } else {
            if !ctx.quiet && ctx.rng.below(20) == 0 {
                self.give_up(ctx);
            }
            self.produce(line, ctx);
        }
    }

    fn answer(&mut self, note: Note, answer: Answer<'_>, _line: &mut Line<'_, Note>, ctx: &mut Ctx<'_>) {
        let why = match (note, answer) {
            (Note::Metadata, Answer::Metadata(told)) => self.topics.answered(&told).err(),
            (Note::ProducerId, Answer::InitProducerId(told)) => {
                self.asked = false;
                self.identity = (told.error_code == 0).then_some((told.producer_id, told.producer_epoch));
                (told.error_code != 0).then(|| format!("{told:?}"))
            }
            (Note::Produce(flying), Answer::Produce(told)) => match produce::results(&flying, &told) {
                Ok(results) => {
                    flying.iter().zip(results).for_each(|(flying, told)| self.produced(flying, told, ctx));
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
        match (note, answer) {
            (Note::Produce(flying), Answer::Produce(told)) => {
                produce::look(&self.plan, ACKS, flying, told, look);
            }
            (Note::ProducerId, Answer::InitProducerId(told)) => look.history.producer_id(told.producer_id),
            _ => {}
        }
    }

    fn lost(&mut self, _unanswered: Vec<Note>, _ctx: &mut Ctx<'_>) {
        self.topics.lost();
        self.asked = false;
        self.partitions.iter_mut().for_each(Partition::lost);
    }

    fn finished(&self) -> bool {
        self.ops == 0 && !self.must_finish()
    }

    fn must_finish(&self) -> bool {
        self.partitions.iter().any(|partition| !partition.batches.is_empty())
    }

    fn describe(&self) -> String {
        let (number, name) = (self.number, self.plan.name);
        let open: Vec<_> = self.partitions.iter().map(|p| p.batches.len()).collect();
        format!("idempotent Kafka producer {number} to {name}, {:?}, {open:?} batches open", self.identity)
    }
}
