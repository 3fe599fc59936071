//! Giving records out: ask the windows where to read, read there, offer what was read, answer; or wait until one of
//! that has changed.
//!
//! Invariant: a take holds nothing while it waits or reads; what it is given is decided when the records are in memory,
//! by the windows as they are then. The retry is the same function as the first try.

use krappy_wire::partition::murmur2;

use super::lanes::LaneId;
use super::walk::walk;
use super::{Errand, LONGEST_MS};
use crate::api::queue::{QueueTake, TakenWriter, Taker};
use crate::api::{ConnId, ErrorCode, Fetch, FetchedPart, PartitionKey, Refusal, Reply, ReplyTo, Want};
use crate::broker::Broker;
use crate::broker::parked::{ParkId, Parked, Waits};
use crate::groups::MOST_NAME;
use crate::groups::queue::{Ask, TakerId};
use crate::segment::ReadError;
use crate::time::Now;

/// Bytes that are read for each record that is wanted, and for all of them at least.
const READ_FOR_ONE: u32 = 16 << 10;
const READ_LEAST: u32 = 64 << 10;
/// Reads of one take that may find nothing; after that it is told that there is nothing, and may ask again.
const ROUNDS_MOST: u32 = 10_000;

/// A wish for records, resolved. Owned, because it may have to wait.
#[derive(Debug)]
pub struct Take {
    pub taker: TakerId,
    pub group: String,
    pub topic: String,
    /// Partitions and their windows, in order of their numbers.
    pub lanes: Vec<(PartitionKey, LaneId)>,
    most: u32,
    max_bytes: u32,
    lock_ms: u64,
    keyed: bool,
    rounds: u32,
}

impl Waits for Take {
    fn partitions(&self) -> impl Iterator<Item = PartitionKey> + '_ {
        self.lanes.iter().map(|(key, _)| *key)
    }
}

/// What has been given to a take so far.
struct Given {
    records: TakenWriter,
    left: u32,
    max_bytes: usize,
}

impl Given {
    fn has_room_for(&self, bytes: usize) -> bool {
        self.left > 0 && (self.records.is_empty() || self.records.size() + bytes <= self.max_bytes)
    }
}

impl Broker {
    /// First try of a take.
    pub(super) fn queue_take(&mut self, to: ReplyTo, take: &QueueTake<'_>, now: Now) {
        let limit = self.config.limits.fetch_max_wait_ms;
        let deadline = now.time.plus_ms(u64::from(take.max_wait_ms.min(limit)));
        match self.resolve_take(to.conn, take) {
            Ok(asked) => self.try_take(Parked { to, asked, deadline, reading: false }, now),
            Err(refusal) => {
                self.refuse(to, refusal);
            }
        }
    }

    fn resolve_take(&mut self, conn: ConnId, take: &QueueTake<'_>) -> Result<Take, Refusal> {
        let topic = self.check_queue(take.group, take.topic)?;
        let lock_ms = checked_ms(take.lock_ms.unwrap_or(self.config.queue.acknowledge_timeout_ms))?;
        let taker = match take.taker {
            Taker::Named(name) if name.is_empty() || name.len() > MOST_NAME => {
                let message = format!("the name of a taker has 1 to {MOST_NAME} bytes");
                return Err(Refusal::new(ErrorCode::InvalidRequest, message));
            }
            Taker::Named(name) => self.named_taker(take.group, name),
            Taker::Stream(stream) => self.queues.takers.stream(conn, stream, take.group, take.topic),
        };
        let mut lanes = Vec::new();
        // Windows can only be begun when it is known which there are; until then the partitions are waited for.
        let loaded = self.queues.state.when_done().is_ok();
        for (key, number) in self.chosen(topic, take.partition)? {
            let lane = if loaded { self.lane(take.group, topic, number, key)? } else { LaneId::MAX };
            lanes.push((key, lane));
        }
        // It will be needed; whoever is given something does not wait for it.
        let _ = self.queues_topic();
        Ok(self.take_of(taker, take, lanes, lock_ms))
    }

    fn take_of(
        &self,
        taker: TakerId,
        take: &QueueTake<'_>,
        lanes: Vec<(PartitionKey, LaneId)>,
        lock_ms: u64,
    ) -> Take {
        let most = self.config.limits.fetch_max_bytes as u32;
        Take {
            taker,
            group: take.group.to_owned(),
            topic: take.topic.to_owned(),
            lanes,
            most: take.most,
            max_bytes: take.max_bytes.clamp(1, most),
            lock_ms,
            keyed: take.keyed,
            rounds: 0,
        }
    }

    fn named_taker(&mut self, group: &str, name: &str) -> TakerId {
        let queues = &mut self.queues;
        if queues.takers.want_sweep() {
            let (lanes, takes) = (&queues.lanes, &queues.takes);
            let waits = |id| takes.iter().any(|parked| parked.asked.taker == id);
            queues.takers.sweep(|id| waits(id) || lanes.iter().any(|(_, lane)| lane.window.holds(id)));
        }
        queues.takers.named(group, name)
    }

    /// For somebody inside the broker: dead letters that are to be put back, all that is there now.
    pub(super) fn take_for_ourselves(&mut self, to: ReplyTo, taker: TakerId, take: &QueueTake<'_>, now: Now) {
        let resolved = self.check_queue(take.group, take.topic).and_then(|topic| {
            let mut lanes = Vec::new();
            for (key, number) in self.chosen(topic, None)? {
                lanes.push((key, self.lane(take.group, topic, number, key)?));
            }
            Ok(lanes)
        });
        match resolved {
            Ok(lanes) => {
                let lock_ms = u64::from(take.lock_ms.unwrap_or(LONGEST_MS));
                let asked = self.take_of(taker, take, lanes, lock_ms);
                self.try_take(Parked { to, asked, deadline: now.time, reading: false }, now);
            }
            Err(refusal) => {
                self.refuse(to, refusal);
            }
        }
    }

    /// First try and every retry.
    pub(super) fn try_take(&mut self, mut parked: Parked<Take>, now: Now) {
        if let Err(refusal) = self.refresh_lanes(&mut parked.asked) {
            self.refuse(parked.to, refusal);
            return;
        }
        let last_try = now.time >= parked.deadline || self.draining;
        let wants = if self.draining { Vec::new() } else { self.wants_of(&parked.asked) };
        if wants.is_empty() || parked.asked.rounds > ROUNDS_MOST {
            if last_try || !wants.is_empty() {
                self.answer_take(parked.to, TakenWriter::default());
            } else {
                self.queues.takes.park(parked);
            }
            return;
        }
        let read = parked.asked.most.saturating_mul(READ_FOR_ONE).max(READ_LEAST);
        let max_bytes = read.min(parked.asked.max_bytes.max(READ_LEAST));
        let id = self.queues.takes.park(parked);
        self.queues.takes.set_reading(id);
        let to = self.queues.errand(Errand::Read(id));
        self.fetch(
            to,
            Fetch { wants, min_bytes: 1, max_wait_ms: 0, max_bytes, every: true, group: None },
            now,
        );
    }

    /// The windows may not have been known when the take came, and the topic may be gone since.
    fn refresh_lanes(&mut self, take: &mut Take) -> Result<(), Refusal> {
        let known = |lane: &LaneId| self.queues.lanes.get(*lane).is_some();
        if take.lanes.iter().all(|(_, lane)| known(lane)) || self.queues.state.when_done().is_err() {
            return Ok(());
        }
        let topic = self.check_queue(&take.group, &take.topic)?;
        for (key, number) in self.chosen(topic, None)? {
            if let Some(place) = take.lanes.iter().position(|(known, _)| *known == key) {
                take.lanes[place].1 = self.lane(&take.group, topic, number, key)?;
            }
        }
        match take.lanes.iter().all(|(_, lane)| self.queues.lanes.get(*lane).is_some()) {
            true => Ok(()),
            false => Err(self.catalog.unknown(&take.topic)),
        }
    }

    /// Where to read for a take. Each time another partition comes first.
    fn wants_of(&mut self, take: &Take) -> Vec<Want> {
        let mut wants = Vec::new();
        for &(key, id) in &take.lanes {
            self.fit_to_log(id, key);
            let most_open = self.most_open(id);
            let Some(lane) = self.queues.lanes.get(id) else { continue };
            let Some(partition) = self.partition(key) else { continue };
            let wanted = lane.window.wanted(take.keyed, most_open);
            wants.extend(
                wanted
                    .filter(|&offset| offset < partition.high_watermark())
                    .map(|offset| Want::from(key, lane.place.partition, offset)),
            );
        }
        if !wants.is_empty() {
            let first = self.queues.turn % wants.len();
            wants.rotate_left(first);
        }
        wants
    }

    /// Tries a waiting take again. One that would only wait on stays where it is.
    pub(super) fn retry_take(&mut self, id: ParkId, now: Now) {
        let Some(parked) = self.queues.takes.get(id) else { return };
        if parked.reading {
            return;
        }
        // Looked at without being moved, so that whoever waits for longest stays first.
        let parked = self.queues.takes.take(id).expect("it was there a moment ago");
        let due = now.time >= parked.deadline || self.draining;
        let known = parked.asked.lanes.iter().all(|(_, lane)| self.queues.lanes.get(*lane).is_some());
        if !due && known && self.wants_of(&parked.asked).is_empty() {
            self.queues.takes.put_back(id, parked);
            return;
        }
        self.try_take(parked, now);
    }

    /// Records have been read for a take.
    pub(super) fn read_for_take(&mut self, id: ParkId, reply: Reply, now: Now) {
        let Reply::Fetched { parts } = reply else { unreachable!("a fetch is not answered with {reply:?}") };
        // Whoever asked may have hung up.
        if let Some(parked) = self.queues.takes.take(id) {
            self.queues.turn = self.queues.turn.wrapping_add(1);
            self.give_out(parked, &parts, now);
        }
        for chunk in parts.into_iter().filter_map(|part| part.chunk) {
            self.buffers.give_chunk(chunk);
        }
    }

    fn give_out(&mut self, mut parked: Parked<Take>, parts: &[FetchedPart], now: Now) {
        let take = &parked.asked;
        let max_bytes = take.max_bytes as usize;
        let mut given = Given { records: TakenWriter::default(), left: take.most, max_bytes };
        for (place, part) in parts.iter().enumerate() {
            if given.left == 0 || given.records.size() >= max_bytes {
                break;
            }
            if let Err(refusal) = self.give_from(take, part, place == 0, &mut given, now) {
                if given.records.is_empty() {
                    self.refuse(parked.to, refusal);
                    return;
                }
                break;
            }
        }
        if !given.records.is_empty() {
            return self.answer_take(parked.to, given.records);
        }
        parked.asked.rounds += 1;
        self.try_take(Parked { reading: false, ..parked }, now);
    }

    /// Gives out what one partition has. `first`: this part was read whatever the others have given.
    fn give_from(
        &mut self,
        take: &Take,
        part: &FetchedPart,
        first: bool,
        given: &mut Given,
        now: Now,
    ) -> Result<(), Refusal> {
        let number = part.number;
        let lane = take
            .lanes
            .iter()
            .find(|(key, _)| self.partition(*key).is_some_and(|p| p.number as i32 == number));
        let Some(&(key, id)) = lane else { return Ok(()) };
        if self.queues.lanes.get(id).is_none() {
            return Ok(());
        }
        let result = match (part.error, &part.chunk) {
            (ErrorCode::None, Some(chunk)) => self.give_records(take, id, part, chunk.as_slice(), given, now),
            (ErrorCode::None, None) => {
                // Whatever the others have given, there is nothing between where it was read and the end.
                if first {
                    self.pass_by(id, part.position..part.high_watermark);
                }
                Ok(())
            }
            (ErrorCode::OffsetOutOfRange, _) => {
                self.fit_to_log(id, key);
                Ok(())
            }
            (ErrorCode::CorruptMessage, _) => self.pass_damage_by(id, key, part.position),
            (code, _) => Err(cannot_be_read(code, &take.topic, number)),
        };
        self.note_lane(id);
        result
    }

    fn give_records(
        &mut self,
        take: &Take,
        id: LaneId,
        part: &FetchedPart,
        bytes: &[u8],
        given: &mut Given,
        now: Now,
    ) -> Result<(), Refusal> {
        let most_open = self.most_open(id);
        let lane = self.queues.lanes.get_mut(id).expect("checked a moment ago");
        let until = now.time.plus_ms(take.lock_ms);
        let ask = Ask { taker: take.taker, until, keyed: take.keyed, most_open };
        let mut at = part.position;
        let end = walk(bytes, at, part.next, |record| {
            lane.window.missing(at..record.offset);
            at = record.offset;
            if !given.has_room_for(record.encoded.len()) || !lane.window.admits(at, most_open) {
                return false;
            }
            if let Some(deliveries) = lane.window.offer(at, record.key.map(murmur2), &ask, now.time) {
                let place = (part.number, at);
                given.records.push(place, record.timestamp, deliveries, record.key, record.tail.bytes());
                given.left -= 1;
            }
            at += 1;
            true
        });
        match end {
            Ok(end) => lane.window.missing(at..end),
            Err(error) if given.records.is_empty() => {
                log::error!("{} partition {}: {error}", take.topic, part.number);
                return Err(cannot_be_read(ErrorCode::CorruptMessage, &take.topic, part.number));
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// What cannot be there for anybody is done.
    pub(super) fn pass_by(&mut self, id: LaneId, offsets: std::ops::Range<i64>) {
        let lane = self.queues.lanes.get_mut(id).expect("the window was found before");
        lane.window.missing(offsets);
    }

    /// Passes by the damaged range that begins here.
    pub(super) fn pass_damage_by(&mut self, id: LaneId, key: PartitionKey, from: i64) -> Result<(), Refusal> {
        let partition = self.partitions[key.0 as usize].as_mut().expect("it was read a moment ago");
        let (until, number) = (partition.high_watermark(), partition.number);
        match partition.log.read(from, until, 1, &mut self.buffers) {
            Err(ReadError::Corrupt { last, .. }) => {
                log::error!("{}: {from} to {last} are lost to a queue", partition.dir.display());
                self.pass_by(id, from..last + 1);
                Ok(())
            }
            _ => {
                let topic = self.queues.lanes.get(id).map_or("", |lane| lane.place.topic.as_str());
                Err(cannot_be_read(ErrorCode::CorruptMessage, topic, number as i32))
            }
        }
    }
}

/// How long a delivery or a delay may last.
pub(super) fn checked_ms(ms: u32) -> Result<u64, Refusal> {
    if ms <= LONGEST_MS {
        return Ok(u64::from(ms));
    }
    let message = format!("{ms} ms: at most {LONGEST_MS} can be asked for");
    Err(Refusal::new(ErrorCode::InvalidRequest, message))
}

fn cannot_be_read(code: ErrorCode, topic: &str, number: i32) -> Refusal {
    Refusal::new(code, format!("partition {number} of {topic:?} cannot be read"))
}
