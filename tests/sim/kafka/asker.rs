//! Who asks a Kafka broker this and that: where logs begin and end, what topics there are, for records to be deleted,
//! for producer ids that nobody uses.

use krappy::kafka::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use krappy::kafka::errors::KafkaError;
use krappy::kafka::init_producer_id::InitProducerIdRequest;
use krappy::kafka::list_offsets::ListOffsetsResponse;
use krappy::kafka::table::Answer;

use super::super::history::Floor;
use super::super::link::{Ctx, Look};
use super::super::plan::TopicPlan;
use super::client::{DELETE_RECORDS, INIT_PRODUCER_ID, LIST_OFFSETS, Line, Program, any_version};
use super::offsets::{self, EARLIEST, LATEST, NEWEST};
use super::topics::Topics;

const WINDOW: usize = 3;

/// A client that asks.
pub struct Asker {
    topics: Topics,
    ops: u32,
    began: i64,
}

/// The first version of ListOffsets in which the newest record can be asked for.
const NEWEST_SINCE: i16 = 7;

/// What it remembers of a request.
pub enum Note {
    Metadata,
    ProducerId,
    /// Topic, timestamp, and what the answer must not undercut, for each partition.
    Offsets(Vec<(usize, i64, Floor)>),
    /// Topic and partition.
    Delete(usize, i32),
}

impl Asker {
    pub fn new(plans: &[TopicPlan], ops: u32, ctx: &mut Ctx<'_>) -> Asker {
        Asker { topics: Topics::new(plans), ops, began: ctx.wall }
    }

    fn ask_offsets(&self, line: &mut Line<'_, Note>, ctx: &mut Ctx<'_>) {
        let (mut asked, mut notes) = (Vec::new(), Vec::new());
        for (n, plan) in self.topics.plans.iter().enumerate() {
            for number in 0..plan.partitions {
                let past = ctx.wall - self.began + 1;
                let moment = self.began + ctx.rng.below(past as u64) as i64;
                let timestamp = [LATEST, LATEST, EARLIEST, NEWEST, moment][ctx.rng.below(5) as usize];
                asked.push((plan.name, number, timestamp));
                notes.push((n, timestamp, ctx.history.floor(plan.topic, number)));
            }
        }
        let request = offsets::request(&asked, self.topics.leader_epoch);
        line.ask(request, any_version(LIST_OFFSETS, ctx.rng).max(NEWEST_SINCE), Note::Offsets(notes));
    }

    fn delete(&self, n: usize, line: &mut Line<'_, Note>, ctx: &mut Ctx<'_>) {
        let plan = &self.topics.plans[n];
        let number = ctx.rng.below(plan.partitions as u64) as i32;
        let offset = if ctx.rng.below(10) == 0 { -1 } else { ctx.rng.below(60) as i64 };
        let wanted = if offset == -1 { i64::MAX } else { offset };
        ctx.history.wants_trim(plan.topic, number, wanted);
        let partition = DeleteRecordsPartition { partition_index: number, offset };
        let topics = vec![DeleteRecordsTopic { name: plan.name, partitions: vec![partition] }];
        let request = DeleteRecordsRequest { topics, timeout_ms: 1_000 };
        line.ask(request, any_version(DELETE_RECORDS, ctx.rng), Note::Delete(n, number));
    }

    fn deleted(
        &self,
        n: usize,
        number: i32,
        told: &DeleteRecordsResponse<'_>,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), String> {
        let fine =
            [KafkaError::OffsetOutOfRange, KafkaError::KafkaStorageError, KafkaError::LeaderNotAvailable];
        let part = told.topics.first().and_then(|topic| topic.partitions.first());
        match part.map(|part| part.error_code) {
            Some(0) => {
                let start = part.map_or(0, |part| part.low_watermark);
                ctx.history.trimmed(self.topics.plans[n].topic, number, start);
                Ok(())
            }
            Some(code) if fine.map(i16::from).contains(&code) => Ok(()),
            _ => Err(format!("a deletion is answered with {told:?}")),
        }
    }

    fn found(
        &self,
        asked: &[(usize, i64, Floor)],
        told: &ListOffsetsResponse<'_>,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), String> {
        for (&(n, wanted, floor), found) in asked.iter().zip(offsets::results(told, asked.len())?) {
            offsets::check(&self.topics.plans[n], wanted, floor, found, ctx)?;
        }
        Ok(())
    }
}

impl Program for Asker {
    type Note = Note;

    fn act(&mut self, line: &mut Line<'_, Note>, ctx: &mut Ctx<'_>) {
        if ctx.quiet || self.ops == 0 || line.in_flight() >= WINDOW || line.is_clogged() {
            return;
        }
        if !self.topics.are_there() {
            if line.in_flight() == 0 {
                let (request, version) = self.topics.question(ctx);
                line.ask(request, version, Note::Metadata);
            }
            return;
        }
        self.ops -= 1;
        let n = ctx.rng.below(self.topics.plans.len() as u64) as usize;
        match ctx.rng.below(8) {
            0 if self.topics.plans[n].trims => self.delete(n, line, ctx),
            0 | 1 => {
                let (request, version) = self.topics.question(ctx);
                line.ask(request, version, Note::Metadata);
            }
            2 => {
                let version = any_version(INIT_PRODUCER_ID, ctx.rng);
                line.ask(InitProducerIdRequest::default(), version, Note::ProducerId);
            }
            _ => self.ask_offsets(line, ctx),
        }
    }

    fn answer(&mut self, note: Note, answer: Answer<'_>, _line: &mut Line<'_, Note>, ctx: &mut Ctx<'_>) {
        let fine = match (note, answer) {
            (Note::Metadata, Answer::Metadata(told)) => self.topics.answered(&told),
            (Note::ProducerId, Answer::InitProducerId(told)) if told.error_code == 0 => Ok(()),
            (Note::Offsets(asked), Answer::ListOffsets(told)) => self.found(&asked, &told, ctx),
            (Note::Delete(n, number), Answer::DeleteRecords(told)) => self.deleted(n, number, &told, ctx),
            (_, other) => Err(format!("got {other:?}")),
        };
        if let Err(why) = fine {
            ctx.history.bad(format!("{}: {why}", self.describe()));
        }
    }

    fn look(&self, note: &Note, answer: &Answer<'_>, look: &mut Look<'_>) {
        if let (Note::ProducerId, Answer::InitProducerId(told)) = (note, answer) {
            look.history.producer_id(told.producer_id);
        }
    }

    fn lost(&mut self, _unanswered: Vec<Note>, _ctx: &mut Ctx<'_>) {
        self.topics.lost();
    }

    fn finished(&self) -> bool {
        self.ops == 0
    }

    fn describe(&self) -> String {
        "Kafka asker".into()
    }
}
