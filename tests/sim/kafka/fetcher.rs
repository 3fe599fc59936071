//! Consumers that were assigned their partitions: they ask where to begin, and then fetch, from several partitions of
//! several topics at a time, on whatever conditions.
//!
//! Invariant: a partition is read in order of its offsets, from where the last answer ended, without omissions.

use std::collections::BTreeSet;

use krappy::kafka::errors::KafkaError;
use krappy::kafka::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};
use krappy::kafka::list_offsets::ListOffsetsResponse;
use krappy::kafka::table::Answer;
use krappy_wire::batch;

use super::super::audit;
use super::super::history::Floor;
use super::super::link::{Ctx, Look};
use super::super::plan::TopicPlan;
use super::client::{FETCH, LIST_OFFSETS, Line, Program, any_version};
use super::offsets::{self, EARLIEST, LATEST};
use super::topics::Topics;

/// From this version on, topics go by their ids.
const BY_ID: i16 = 13;

/// A consumer.
pub struct Fetcher {
    number: u32,
    topics: Topics,
    partitions: Vec<Partition>,
    ops: u32,
    read: u64,
}

struct Partition {
    /// Which of the topics.
    topic: usize,
    number: i32,
    /// What it asks for where it has no position: Kafka's `auto.offset.reset`.
    reset: i64,
    position: Option<i64>,
    /// The position was reached by reading, and is no mere wish.
    has_read: bool,
    watermark: i64,
    leader_epoch: i32,
}

/// What it remembers of a request: the places of the partitions, in the order of the request, with what their answers
/// must not undercut.
pub enum Note {
    Metadata,
    Positions(Vec<(usize, i64, Floor)>),
    Records(Vec<(usize, Floor)>),
}

impl Fetcher {
    pub fn new(number: u32, plans: &[TopicPlan], ops: u32, ctx: &mut Ctx<'_>) -> Fetcher {
        let mut partitions = Vec::new();
        for (topic, plan) in plans.iter().enumerate() {
            for number in 0..plan.partitions {
                let reset = [EARLIEST, EARLIEST, LATEST, ctx.wall + 500][ctx.rng.below(4) as usize];
                partitions.push(Partition {
                    topic,
                    number,
                    reset,
                    position: None,
                    has_read: false,
                    watermark: 0,
                    leader_epoch: 0,
                });
            }
        }
        while partitions.len() > 1 && ctx.rng.below(3) == 0 {
            partitions.remove(ctx.rng.below(partitions.len() as u64) as usize);
        }
        Fetcher { number, topics: Topics::new(plans), partitions, ops, read: 0 }
    }

    fn plan(&self, place: usize) -> &TopicPlan {
        &self.topics.plans[self.partitions[place].topic]
    }

    fn floor(&self, place: usize, ctx: &mut Ctx<'_>) -> Floor {
        ctx.history.floor(self.plan(place).topic, self.partitions[place].number)
    }

    /// Asks for the positions of those that have none.
    fn ask_positions(&self, line: &mut Line<'_, Note>, ctx: &mut Ctx<'_>) {
        let without = |place: &usize| self.partitions[*place].position.is_none();
        let places: Vec<usize> = (0..self.partitions.len()).filter(without).collect();
        let version = any_version(LIST_OFFSETS, ctx.rng);
        let asked: Vec<_> = places
            .iter()
            .map(|&place| {
                let partition = &self.partitions[place];
                (self.plan(place).name, partition.number, partition.reset)
            })
            .collect();
        let epoch = self.topics.leader_epoch;
        let notes = places.iter().map(|&n| (n, self.partitions[n].reset, self.floor(n, ctx))).collect();
        line.ask(offsets::request(&asked, epoch), version, Note::Positions(notes));
    }

    fn fetch(&self, line: &mut Line<'_, Note>, ctx: &mut Ctx<'_>) {
        let version = any_version(FETCH, ctx.rng);
        let mut places: Vec<usize> = (0..self.partitions.len()).collect();
        let first = ctx.rng.below(places.len() as u64) as usize;
        places.rotate_left(first);
        let most = [100, 1_000, 1_000_000][ctx.rng.below(3) as usize];
        let current_leader_epoch = if ctx.rng.below(2) == 0 { self.topics.leader_epoch } else { -1 };
        let one = |&place: &usize| {
            let partition = &self.partitions[place];
            let (id, name) = match version {
                BY_ID.. => (self.topics.id(partition.topic), ""),
                _ => (Default::default(), self.plan(place).name),
            };
            let wanted = FetchPartition {
                partition: partition.number,
                current_leader_epoch,
                fetch_offset: partition.position.expect("it was asked for"),
                partition_max_bytes: most,
                ..Default::default()
            };
            FetchTopic { topic: name, topic_id: id, partitions: vec![wanted] }
        };
        let max_wait_ms = [0, 10, 300, 5_000][ctx.rng.below(4) as usize];
        let request = FetchRequest {
            max_wait_ms: if ctx.quiet { max_wait_ms.min(10) } else { max_wait_ms },
            min_bytes: [0, 1, 1, 2_000][ctx.rng.below(4) as usize],
            max_bytes: [200, 5_000, 50_000_000][ctx.rng.below(3) as usize],
            isolation_level: ctx.rng.below(2) as i8,
            topics: places.iter().map(one).collect(),
            ..Default::default()
        };
        let notes = places.iter().map(|&place| (place, self.floor(place, ctx))).collect();
        line.ask(request, version, Note::Records(notes));
    }

    /// The answer to the question where to begin.
    fn positioned(
        &mut self,
        asked: &[(usize, i64, Floor)],
        told: &ListOffsetsResponse<'_>,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), String> {
        let found = offsets::results(told, asked.len())?;
        for (&(place, wanted, floor), found) in asked.iter().zip(found) {
            let partition = &mut self.partitions[place];
            let plan = &self.topics.plans[partition.topic];
            if let Some(offset) = offsets::check(plan, wanted, floor, found, ctx)? {
                partition.position = Some(offset);
            } else if found.error_code == 0 {
                // Nothing is that young: it begins at the end.
                partition.reset = LATEST;
            }
            (partition.has_read, partition.leader_epoch) = (false, 0);
        }
        Ok(())
    }

    fn fetched(
        &mut self,
        asked: &[(usize, Floor)],
        told: &FetchResponse<'_>,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), String> {
        if (told.error_code, told.session_id) != (0, 0) {
            return Err(format!("a fetch as a whole is answered with {}", told.error_code));
        }
        let parts = self.parts(asked.iter().map(|(place, _)| *place), told)?;
        for (&(place, floor), part) in asked.iter().zip(parts) {
            self.fetched_of(place, floor, part, ctx)
                .map_err(|why| format!("{}/{}: {why}", self.plan(place).name, part.partition_index))?;
        }
        Ok(())
    }

    /// The answers of the partitions, which come in the order of the request.
    fn parts<'r>(
        &self,
        places: impl Iterator<Item = usize>,
        told: &'r FetchResponse<'_>,
    ) -> Result<Vec<&'r PartitionData<'r>>, String> {
        let parts: Vec<&PartitionData<'_>> = told.responses.iter().flat_map(|t| &t.partitions).collect();
        let wanted = places.map(|place| self.partitions[place].number);
        if parts.iter().map(|part| part.partition_index).ne(wanted) {
            return Err("the partitions of the answer are not those of the request".into());
        }
        Ok(parts)
    }

    fn fetched_of(
        &mut self,
        place: usize,
        floor: Floor,
        part: &PartitionData<'_>,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), String> {
        let partition = &mut self.partitions[place];
        let plan = &self.topics.plans[partition.topic];
        let position = partition.position.expect("it was fetched from there");
        match part.error_code {
            0 => {}
            code if code == i16::from(KafkaError::OffsetOutOfRange) => {
                if partition.has_read {
                    ctx.history.out_of_range(plan.topic, partition.number, position);
                }
                (partition.position, partition.reset) = (None, EARLIEST);
                return Ok(());
            }
            code => return Err(format!("fetching from {position} is answered with {code}")),
        }
        let next = partition.take(plan, position, part, &mut self.read, ctx)?;
        let watermark = part.high_watermark;
        if next > watermark || part.last_stable_offset != watermark {
            return Err(format!("was shown records up to {next} above {watermark}"));
        }
        if watermark < partition.watermark && plan.promise.durable {
            return Err(format!("the high watermark fell from {} to {watermark}", partition.watermark));
        }
        ctx.history.ends_at(plan.topic, partition.number, watermark, floor);
        if part.log_start_offset != -1 {
            ctx.history.starts_at(plan.topic, partition.number, part.log_start_offset, floor);
        }
        partition.has_read |= next > position;
        partition.position = Some(next);
        partition.watermark = watermark;
        Ok(())
    }
}

impl Partition {
    /// Takes the batches of an answer; the offset to go on from.
    fn take(
        &mut self,
        plan: &TopicPlan,
        position: i64,
        part: &PartitionData<'_>,
        read: &mut u64,
        ctx: &mut Ctx<'_>,
    ) -> Result<i64, String> {
        let holes = plan.promise.cleaned;
        let mut rest = part.records.as_slice().ok_or("the records are null")?;
        let (mut next, mut end, mut records) = (position, position, Vec::new());
        while !rest.is_empty() {
            let (header, batch) = batch::first(rest).map_err(|e| format!("behind {end}: {e}"))?;
            if header.last_offset() < end || header.leader_epoch < self.leader_epoch {
                let (last, epoch) = (header.last_offset(), header.leader_epoch);
                return Err(format!("a batch up to {last} of epoch {epoch} comes behind {end}"));
            }
            (end, self.leader_epoch) = (header.next_offset(), header.leader_epoch);
            audit::read_batch(batch, &mut records)?;
            rest = &rest[header.size()..];
        }
        for (offset, id) in records {
            if offset < position {
                continue;
            }
            if offset < next || offset > next && !holes {
                return Err(format!("offset {offset} follows {next}"));
            }
            ctx.history.read(plan.topic, self.number, offset, id);
            next = offset + 1;
            *read += 1;
        }
        match holes || next == end {
            true => Ok(end),
            false => Err(format!("batches up to {end} have records up to {next}")),
        }
    }
}

impl Program for Fetcher {
    type Note = Note;

    fn act(&mut self, line: &mut Line<'_, Note>, ctx: &mut Ctx<'_>) {
        if line.in_flight() > 0 || line.is_clogged() || ctx.quiet {
            return;
        }
        if !self.topics.are_there() {
            let (request, version) = self.topics.question(ctx);
            return line.ask(request, version, Note::Metadata);
        }
        self.ops = self.ops.saturating_sub(1);
        if ctx.rng.below(60) == 0 {
            line.leave();
        } else if self.partitions.iter().any(|partition| partition.position.is_none()) {
            self.ask_positions(line, ctx);
        } else {
            self.fetch(line, ctx);
            if ctx.rng.below(30) == 0 {
                line.leave();
            }
        }
    }

    fn answer(&mut self, note: Note, answer: Answer<'_>, _line: &mut Line<'_, Note>, ctx: &mut Ctx<'_>) {
        let fine = match (note, answer) {
            (Note::Metadata, Answer::Metadata(told)) => self.topics.answered(&told),
            (Note::Positions(asked), Answer::ListOffsets(told)) => self.positioned(&asked, &told, ctx),
            (Note::Records(asked), Answer::Fetch(told)) => self.fetched(&asked, &told, ctx),
            (_, other) => Err(format!("got {other:?}")),
        };
        if let Err(why) = fine {
            ctx.history.bad(format!("{}: {why}", self.describe()));
        }
    }

    /// What readers of a durable topic are shown is on the device.
    fn look(&self, note: &Note, answer: &Answer<'_>, look: &mut Look<'_>) {
        let (Note::Records(asked), Answer::Fetch(told)) = (note, answer) else { return };
        let Ok(parts) = self.parts(asked.iter().map(|(place, _)| *place), told) else { return };
        for (&(place, _), part) in asked.iter().zip(parts) {
            let plan = self.plan(place);
            let mut rest = part.records.as_slice().unwrap_or_default();
            let mut last = None;
            while let Ok((header, batch)) = batch::first(rest) {
                (last, rest) = (Some(batch), &rest[header.size()..]);
            }
            let mut records = Vec::new();
            let readable = last.is_some_and(|batch| audit::read_batch(batch, &mut records).is_ok());
            if let (true, Some(&record)) = (readable, records.last()) {
                look.is_there((plan.name, part.partition_index), plan.topic, record, plan.promise.durable);
            }
        }
    }

    fn lost(&mut self, _unanswered: Vec<Note>, _ctx: &mut Ctx<'_>) {
        self.topics.lost();
    }

    fn finished(&self) -> bool {
        self.ops == 0
    }

    fn describe(&self) -> String {
        let of = |p: &Partition| format!("{}/{}", self.topics.plans[p.topic].name, p.number);
        let assigned: BTreeSet<String> = self.partitions.iter().map(of).collect();
        format!("Kafka fetcher {} of {assigned:?}, read {}", self.number, self.read)
    }
}
