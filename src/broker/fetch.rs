//! Reading: answer now, or park until there is enough.
//!
//! Invariant: the retry is the same function as the first try; at the deadline it may not park again. A fetch that
//! meets a range which is not in memory parks too, while a worker reads it, and comes back through the same door.

use super::parked::{ParkId, Parked};
use super::readers::Reader;
use super::{Broker, Taken};
use crate::api::{ErrorCode, Fetch, FetchTopics, FetchedPart, PartitionKey, Reply, ReplyTo, TopicRef, Want};
use crate::broker::partition::Partition;
use crate::segment::{Read, ReadError, Warm};
use crate::time::{Now, Time};
use crate::worker::Job;

/// What a try came to.
enum Outcome {
    Answer(Vec<FetchedPart>),
    NotEnough,
    Cold(Warm),
}

impl Broker {
    /// First try of a fetch.
    pub(super) fn fetch(&mut self, to: ReplyTo, mut fetch: Fetch, now: Now) -> Taken {
        let limits = &self.config.limits;
        fetch.max_wait_ms = fetch.max_wait_ms.min(limits.fetch_max_wait_ms);
        fetch.max_bytes = fetch.max_bytes.clamp(1, limits.fetch_max_bytes as u32);
        fetch.min_bytes = fetch.min_bytes.min(fetch.max_bytes);
        let deadline = now.time.plus_ms(u64::from(fetch.max_wait_ms));
        if let Some(group) = &fetch.group {
            self.note_reader(Reader::Member(group), &fetch.wants, now);
        }
        self.try_fetch(Parked { to, asked: fetch, deadline, reading: false }, now.time);
        Taken::Yes
    }

    /// Resolves the partitions, then fetches.
    pub(super) fn fetch_topics(&mut self, to: ReplyTo, fetch: &FetchTopics<'_>, now: Now) -> Taken {
        let wants = fetch.wants.iter().map(|want| {
            let found = self.readable(want.topic, want.number, want.leader_epoch);
            Want {
                partition: *found.as_ref().unwrap_or(&PartitionKey::NONE),
                number: want.number,
                offset: want.offset,
                max_bytes: want.max_bytes,
                error: found.err().unwrap_or(ErrorCode::None),
            }
        });
        let client = fetch.client;
        let fetch = Fetch {
            wants: wants.collect(),
            min_bytes: fetch.min_bytes,
            max_wait_ms: fetch.max_wait_ms,
            max_bytes: fetch.max_bytes,
            every: true,
            group: None,
        };
        self.note_reader(Reader::Client(client.0, client.1), &fetch.wants, now);
        self.fetch(to, fetch, now)
    }

    fn note_reader(&mut self, reader: Reader<'_>, wants: &[Want], now: Now) {
        for want in wants {
            if let Some(Some(partition)) = self.partitions.get_mut(want.partition.0 as usize) {
                partition.readers.note(reader, want.offset, now.wall);
            }
        }
    }

    /// A partition, if a client that takes this for its leader epoch may read it.
    fn readable(&self, topic: TopicRef<'_>, number: i32, epoch: i32) -> Result<PartitionKey, ErrorCode> {
        let topic = self.live_topic(topic).map_err(|refusal| refusal.code)?;
        let key = self.partition_of(topic, number).map_err(|refusal| refusal.code)?;
        self.partition(key).expect("a live topic's partitions are there").check_epoch(epoch)?;
        Ok(key)
    }

    /// First try and every retry.
    fn try_fetch(&mut self, parked: Parked<Fetch>, now: Time) {
        let last_try = now >= parked.deadline || self.draining;
        match self.evaluate(&parked.asked, last_try) {
            Outcome::Answer(parts) => self.answer_fetch(parked.to, parts),
            Outcome::NotEnough => {
                self.parked.park(parked);
            }
            Outcome::Cold(warm) => {
                self.metrics.cold_reads += 1;
                let id = self.parked.park(parked);
                self.parked.set_reading(id);
                self.jobs.push(Job::Warm(id, warm));
            }
        }
    }

    fn answer_fetch(&mut self, to: ReplyTo, parts: Vec<FetchedPart>) {
        self.metrics.fetches += 1;
        let bytes = parts.iter().filter_map(|p| p.chunk.as_ref()).map(|c| c.len() as u64).sum::<u64>();
        self.metrics.fetched_bytes += bytes;
        self.acks.reply(to, Reply::Fetched { parts });
    }

    /// Measures, then reads. An error in any partition is news enough to answer with.
    fn evaluate(&mut self, fetch: &Fetch, last_try: bool) -> Outcome {
        let (mut available, mut failed) = (0, false);
        for want in &fetch.wants {
            match self.look(want) {
                Ok(p) => {
                    let most = u64::from(fetch.max_bytes.min(want.max_bytes));
                    available += p.log.bytes_between(want.offset, p.high_watermark(), most);
                }
                Err(_) => failed = true,
            }
        }
        if failed && !fetch.every {
            return Outcome::Answer(fetch.wants.iter().filter_map(|want| self.look(want).err()).collect());
        }
        // Kafka answers a fetch of nothing at once; a member of a group that was given nothing waits.
        let nothing_wanted = fetch.every && fetch.wants.is_empty();
        if !failed && !last_try && !nothing_wanted && available < u64::from(fetch.min_bytes) {
            return Outcome::NotEnough;
        }
        if available == 0 && !fetch.every {
            return Outcome::Answer(Vec::new());
        }
        self.read_all(fetch)
    }

    /// The partition that is wanted, or what is to be said instead of its records.
    fn look(&self, want: &Want) -> Result<&Partition, FetchedPart> {
        let unknown = |error| failed(want, error);
        if want.error != ErrorCode::None {
            return Err(unknown(want.error));
        }
        let partition = self.partition(want.partition).ok_or(unknown(ErrorCode::UnknownTopicOrPartition))?;
        if out_of_range(partition, want.offset) {
            return Err(part(partition, want, ErrorCode::OffsetOutOfRange));
        }
        Ok(partition)
    }

    fn read_all(&mut self, fetch: &Fetch) -> Outcome {
        let mut parts = Vec::new();
        let (mut left, mut found) = (fetch.max_bytes as usize, false);
        for want in &fetch.wants {
            let partition = match self.look(want) {
                Ok(partition) if left > 0 => partition,
                Ok(partition) => {
                    if !fetch.every {
                        break;
                    }
                    parts.push(part(partition, want, ErrorCode::None));
                    continue;
                }
                Err(instead) => {
                    parts.push(instead);
                    continue;
                }
            };
            let (until, most) = (partition.high_watermark(), left.min(want.max_bytes as usize));
            let mut told = part(partition, want, ErrorCode::None);
            let partition =
                self.partitions[want.partition.0 as usize].as_mut().expect("it was there a moment ago");
            match partition.log.read(want.offset, until, most, &mut self.buffers) {
                Ok(Read::Batches { chunk, next }) => {
                    left = left.saturating_sub(chunk.len());
                    found = true;
                    told.next = next;
                    told.chunk = Some(chunk);
                }
                // What other partitions gave is worth more now than this one later.
                Ok(Read::Cold(_)) if found => {}
                Ok(Read::Cold(warm)) => {
                    partition.log.note_opened();
                    return Outcome::Cold(warm);
                }
                Ok(Read::Empty) => {}
                Err(error) => told.error = read_error(partition, &error),
            }
            if fetch.every || told.chunk.is_some() || told.error != ErrorCode::None {
                parts.push(told);
            }
        }
        Outcome::Answer(parts)
    }

    /// Records have become visible: tries the fetches that wait on this partition.
    pub(super) fn wake_fetches(&mut self, key: crate::api::PartitionKey, now: Time) {
        let mut woken = std::mem::take(&mut self.woken);
        self.parked.waiting_on(key, &mut woken);
        for id in woken.drain(..) {
            self.retry_fetch(id, now);
        }
        self.woken = woken;
        self.wake_takes(key);
    }

    /// Tries a parked fetch again. One that would only wait on stays where it is.
    pub(super) fn retry_fetch(&mut self, id: ParkId, now: Time) {
        let Some(parked) = self.parked.get(id) else { return };
        let due = now >= parked.deadline || self.draining;
        if !due && !parked.reading && !self.has_enough(&parked.asked) {
            return;
        }
        let parked = self.parked.take(id).expect("it was there a moment ago");
        self.try_fetch(Parked { reading: false, ..parked }, now);
    }

    fn has_enough(&self, fetch: &Fetch) -> bool {
        let mut available = 0;
        for want in &fetch.wants {
            let Ok(p) = self.look(want) else { return true };
            let most = u64::from(fetch.max_bytes.min(want.max_bytes));
            available += p.log.bytes_between(want.offset, p.high_watermark(), most);
        }
        available >= u64::from(fetch.min_bytes)
    }

    /// Answers the fetches whose deadline has passed.
    pub(super) fn fetch_deadlines(&mut self, now: Time) {
        while let Some(parked) = self.parked.take_due(now) {
            self.try_fetch(parked, now);
        }
    }
}

fn out_of_range(partition: &Partition, offset: i64) -> bool {
    offset < partition.log.start_offset() || offset > partition.log.end_offset()
}

fn part(partition: &Partition, want: &Want, error: ErrorCode) -> FetchedPart {
    FetchedPart {
        number: want.number,
        error,
        position: want.offset,
        next: want.offset,
        high_watermark: partition.high_watermark(),
        log_start: partition.log.start_offset(),
        chunk: None,
    }
}

fn failed(want: &Want, error: ErrorCode) -> FetchedPart {
    FetchedPart {
        number: want.number,
        error,
        position: want.offset,
        next: want.offset,
        high_watermark: -1,
        log_start: -1,
        chunk: None,
    }
}

fn read_error(partition: &Partition, error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange => ErrorCode::OffsetOutOfRange,
        ReadError::Corrupt { first, last } => {
            log::error!("{}: records {first} to {last} are damaged and not served", partition.dir.display());
            ErrorCode::CorruptMessage
        }
        ReadError::Io(error) => {
            log::error!("{}: cannot be read: {error}", partition.dir.display());
            ErrorCode::StorageError
        }
    }
}
