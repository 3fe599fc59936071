//! Readers: by poll or by subscription, from any start, with little credit, and with a memory of where they were that
//! outlives their connections.

use std::collections::{BTreeMap, BTreeSet};

use krappy_wire::batch;
use krappy_wire::compress;
use krappy_wire::error::ErrorCode;
use krappy_wire::native::{Head, RecordsPart, Reply, Request, Start};

use super::content::recognise;
use super::history::Floor;
use super::link::{Ctx, Link, Script};
use super::plan::TopicPlan;

/// A reader of one topic.
pub struct Consumer {
    number: u32,
    plan: TopicPlan,
    subscribes: bool,
    start: Start,
    /// Streams of the connection that is open now.
    readers: BTreeMap<u32, Reader>,
    next_stream: u32,
    /// The next offset of each partition, and the largest high watermark that was seen, across connections.
    positions: BTreeMap<i32, i64>,
    watermarks: BTreeMap<i32, i64>,
    /// Partitions whose position was reached by reading, and is no mere wish.
    has_read: BTreeSet<i32>,
    ops: u32,
    read: u64,
}

/// One stream.
struct Reader {
    /// -1 is all.
    partition: i32,
    start: Start,
    state: State,
    positions: BTreeMap<i32, i64>,
    floors: BTreeMap<i32, Floor>,
    credit: i64,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Opening(u32),
    Idle,
    Polling(u32),
    Subscribed(u32),
    Failed,
}

impl Consumer {
    pub fn new(number: u32, plan: &TopicPlan, ops: u32, ctx: &mut Ctx<'_>) -> Consumer {
        let start = match ctx.rng.below(6) {
            0 => Start::Latest,
            1 => Start::Offset(ctx.rng.below(20) as i64),
            2 => Start::Timestamp(ctx.wall + ctx.rng.below(2_000) as i64),
            _ => Start::Earliest,
        };
        Consumer {
            number,
            plan: plan.clone(),
            subscribes: ctx.rng.below(2) == 0,
            start,
            readers: BTreeMap::new(),
            next_stream: 1,
            positions: BTreeMap::new(),
            watermarks: BTreeMap::new(),
            has_read: BTreeSet::new(),
            ops,
            read: 0,
        }
    }

    fn open(&mut self, partition: i32, start: Start, link: &mut Link, ctx: &mut Ctx<'_>) {
        let stream = self.next_stream;
        self.next_stream += 1;
        let request = Request::RegisterConsumer { topic: self.plan.name, group: "", partition, start };
        let correlation = link.request(stream, &request);
        let reader = Reader {
            partition,
            start,
            state: State::Opening(correlation),
            positions: BTreeMap::new(),
            floors: self.floors(ctx),
            credit: 0,
        };
        self.readers.insert(stream, reader);
    }

    fn floors(&self, ctx: &mut Ctx<'_>) -> BTreeMap<i32, Floor> {
        (0..self.plan.partitions).map(|p| (p, ctx.history.floor(self.plan.topic, p))).collect()
    }

    /// Registers what a new connection needs: all partitions at once, or each where it was.
    fn open_all(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        if self.positions.is_empty() {
            return self.open(-1, self.start, link, ctx);
        }
        for (partition, position) in self.positions.clone() {
            self.open(partition, Start::Offset(position), link, ctx);
        }
    }

    fn ask(&mut self, stream: u32, link: &mut Link, ctx: &mut Ctx<'_>) {
        let floors = self.floors(ctx);
        let reader = self.readers.get_mut(&stream).expect("a stream of this connection");
        let bytes = match ctx.rng.below(3) {
            0 => 1 + ctx.rng.below(200),
            1 => 1_000,
            _ => 100_000,
        } as u32;
        match reader.state {
            State::Idle if self.subscribes => {
                reader.credit = i64::from(bytes);
                let request = Request::Subscribe { credit: bytes };
                reader.state = State::Subscribed(link.request(stream, &request));
            }
            State::Idle => {
                reader.floors = floors;
                let max_wait_ms = [0, 10, 300, 10_000][ctx.rng.below(4) as usize];
                let min_bytes = [0, 1, 1, 2_000][ctx.rng.below(4) as usize];
                let max_wait_ms = if ctx.quiet { max_wait_ms.min(10) } else { max_wait_ms };
                let request = Request::Poll { max_wait_ms, min_bytes, max_bytes: bytes };
                reader.state = State::Polling(link.request(stream, &request));
            }
            State::Subscribed(_) if reader.credit <= 0 => {
                reader.credit += i64::from(bytes);
                link.request(stream, &Request::Credit { bytes });
            }
            _ => {}
        }
    }

    fn registered(&mut self, stream: u32, positions: &[(i32, i64)], ctx: &mut Ctx<'_>) {
        let topic = self.plan.topic;
        let me = self.describe();
        let Some(reader) = self.readers.get_mut(&stream) else {
            return ctx.history.bad(format!("{me}: stream {stream} was not asked for"));
        };
        reader.state = State::Idle;
        for &(partition, position) in positions {
            let floor = reader.floors[&partition];
            match reader.start {
                Start::Earliest => ctx.history.starts_at(topic, partition, position, floor),
                Start::Latest => ctx.history.ends_at(topic, partition, position, floor),
                Start::Offset(wanted) if wanted != position => {
                    ctx.history.bad(format!("{me}: wanted to start at {wanted}, starts at {position}"));
                }
                Start::Timestamp(at) => ctx.history.looked_up(topic, partition, at, position),
                _ => {}
            }
            reader.positions.insert(partition, position);
            self.positions.insert(partition, position);
        }
    }

    fn records(&mut self, head: Head, parts: &[RecordsPart<'_>], link: &mut Link, ctx: &mut Ctx<'_>) {
        let me = self.describe();
        let Some(reader) = self.readers.get_mut(&head.stream) else {
            return ctx.history.bad(format!("{me}: records for stream {}", head.stream));
        };
        match reader.state {
            State::Polling(c) if c == head.correlation => reader.state = State::Idle,
            State::Subscribed(c) if c == head.correlation => {}
            _ => ctx.history.bad(format!("{me}: records for nothing, {head:?} {:?}", reader.state)),
        }
        let mut lost = Vec::new();
        for part in parts {
            let position = reader.positions.get(&part.partition).copied();
            if position != Some(part.position) {
                let was = part.position;
                ctx.history.bad(format!("{me}: read from {was} of {}, not {position:?}", part.partition));
                continue;
            }
            reader.credit -= part.batches.len() as i64;
            match check_part(&self.plan, part, ctx) {
                Ok(offsets) => self.read += offsets.len() as u64,
                Err(why) => ctx.history.bad(format!("{me}: {why}")),
            }
            match ErrorCode::from_number(part.error) {
                Some(ErrorCode::None) => {}
                Some(ErrorCode::OffsetOutOfRange) => lost.push(part.partition),
                other => ctx.history.bad(format!("{me}: {other:?} at {}", part.position)),
            }
            reader.positions.insert(part.partition, part.next);
            self.positions.insert(part.partition, part.next);
            if !part.batches.is_empty() {
                self.has_read.insert(part.partition);
            }
            if let State::Idle = reader.state {
                let floor = reader.floors[&part.partition];
                ctx.history.ends_at(self.plan.topic, part.partition, part.high_watermark, floor);
                ctx.history.starts_at(self.plan.topic, part.partition, part.log_start, floor);
            }
            let watermark = self.watermarks.entry(part.partition).or_insert(0);
            if part.high_watermark < *watermark && self.plan.promise.durable {
                ctx.history.bad(format!("{me}: the high watermark fell from {watermark}"));
            }
            *watermark = part.high_watermark.max(*watermark);
        }
        if !lost.is_empty() {
            self.start_over(head.stream, &lost, link, ctx);
        }
    }

    /// Positions of a stream are out of range: those partitions are read from the beginning again.
    fn start_over(&mut self, stream: u32, lost: &[i32], link: &mut Link, ctx: &mut Ctx<'_>) {
        let reader = self.readers.remove(&stream).expect("records came for it");
        link.request(stream, &Request::CloseStream);
        for (partition, position) in reader.positions {
            let start = match lost.contains(&partition) {
                true => {
                    if self.has_read.contains(&partition) {
                        ctx.history.out_of_range(self.plan.topic, partition, position);
                    }
                    Start::Earliest
                }
                false => Start::Offset(position),
            };
            self.open(partition, start, link, ctx);
        }
    }

    fn refused(&mut self, head: Head, code: i16, message: &str, link: &mut Link, ctx: &mut Ctx<'_>) {
        let me = self.describe();
        let topic = self.plan.topic;
        let Some(reader) = self.readers.get_mut(&head.stream) else { return };
        let code = ErrorCode::from_number(code);
        let was = std::mem::replace(&mut reader.state, State::Failed);
        match (was, code) {
            (State::Opening(_), Some(ErrorCode::OffsetOutOfRange)) => {
                let partition = reader.partition;
                if let (Start::Offset(position), true) = (reader.start, self.has_read.contains(&partition)) {
                    ctx.history.out_of_range(topic, partition, position);
                }
                self.readers.remove(&head.stream);
                link.request(head.stream, &Request::CloseStream);
                self.open(partition, Start::Earliest, link, ctx);
            }
            (State::Opening(_), Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::Draining)) => {
                link.leave();
                self.lost(ctx);
            }
            // A subscription ended while its credit was on the way.
            (State::Idle, Some(ErrorCode::InvalidRequest)) => {}
            (was, _) => ctx.history.bad(format!("{me}: in {was:?} refused: {message}")),
        }
    }
}

/// One part of a Records reply: whole batches without a gap, from its position to its end, and nothing that readers
/// must not see. The offsets of its records.
pub fn check_part(plan: &TopicPlan, part: &RecordsPart<'_>, ctx: &mut Ctx<'_>) -> Result<Vec<i64>, String> {
    let mut offsets = Vec::new();
    let holes = plan.promise.cleaned;
    if part.next > part.high_watermark.max(part.position) {
        return Err(format!("was shown records up to {} above {}", part.next, part.high_watermark));
    }
    let (mut rest, mut next) = (part.batches, part.position);
    while !rest.is_empty() {
        let (header, batch) = batch::first(rest).map_err(|e| format!("behind {next}: {e}"))?;
        let mut scratch = Vec::new();
        let records = compress::records(batch, compress::MOST, &mut scratch);
        for record in records.map_err(|e| e.to_string())? {
            let record = record.map_err(|e| e.to_string())?;
            if record.offset < part.position {
                continue;
            }
            if record.offset < next || record.offset > next && !holes {
                return Err(format!("offset {} follows {next}", record.offset));
            }
            let id = recognise(record.key, &record.tail)
                .ok_or_else(|| format!("the record at {next} is not one that was sent"))?;
            ctx.history.read(plan.topic, part.partition, record.offset, id);
            next = record.offset + 1;
            offsets.push(record.offset);
        }
        rest = &rest[header.size()..];
    }
    if next == part.next || holes && next < part.next {
        Ok(offsets)
    } else {
        Err(format!("told to go on at {}, read up to {next}", part.next))
    }
}

impl Script for Consumer {
    fn act(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        if self.finished() || ctx.quiet {
            return;
        }
        if self.readers.is_empty() {
            self.ops -= 1;
            return self.open_all(link, ctx);
        }
        if ctx.rng.below(60) == 0 {
            link.leave();
            return self.lost(ctx);
        }
        let nth = ctx.rng.below(self.readers.len() as u64) as usize;
        let stream = *self.readers.keys().nth(nth).expect("counted");
        if self.readers[&stream].state == State::Idle {
            self.ops -= 1;
        }
        self.ask(stream, link, ctx);
    }

    fn reply(&mut self, head: Head, reply: Reply<'_>, link: &mut Link, ctx: &mut Ctx<'_>) {
        match reply {
            Reply::ConsumerRegistered { positions, .. } => self.registered(head.stream, &positions, ctx),
            Reply::Records { parts } => self.records(head, &parts, link, ctx),
            Reply::Error { code, message, .. } => self.refused(head, code, message, link, ctx),
            Reply::Ack | Reply::GoAway { .. } => {}
            other => ctx.history.bad(format!("{}: got {other:?}", self.describe())),
        }
    }

    fn lost(&mut self, _ctx: &mut Ctx<'_>) {
        self.readers.clear();
        self.next_stream = 1;
    }

    fn finished(&self) -> bool {
        self.ops == 0
    }

    fn describe(&self) -> String {
        let how = if self.subscribes { "subscribes" } else { "polls" };
        format!(
            "consumer {} of {} ({how} from {:?}, read {})",
            self.number, self.plan.name, self.start, self.read
        )
    }
}
