//! Reading: answer now, or park until there is enough.
//!
//! Invariant: the retry is the same function as the first try; at the deadline it may not park again. A fetch that
//! meets a range which is not in memory parks too, while a worker reads it, and comes back through the same door.

use super::parked::{ParkId, Parked};
use super::{Broker, Taken};
use crate::api::{ErrorCode, Fetch, FetchedPart, Reply, ReplyTo, Want};
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
        self.try_fetch(Parked { to, asked: fetch, deadline, reading: false }, now.time);
        Taken::Yes
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
        let mut available = 0;
        let mut parts = Vec::new();
        for want in &fetch.wants {
            match self.partition(want.partition) {
                None => parts.push(failed(want, ErrorCode::UnknownTopicOrPartition)),
                Some(p) if out_of_range(p, want.offset) => {
                    parts.push(part(p, want, ErrorCode::OffsetOutOfRange));
                }
                Some(p) => {
                    let most = u64::from(fetch.max_bytes);
                    available += p.log.bytes_between(want.offset, p.high_watermark(), most);
                }
            }
        }
        if !parts.is_empty() {
            return Outcome::Answer(parts);
        }
        if available < u64::from(fetch.min_bytes) && !last_try {
            return Outcome::NotEnough;
        }
        if available == 0 {
            return Outcome::Answer(parts);
        }
        self.read_all(fetch)
    }

    fn read_all(&mut self, fetch: &Fetch) -> Outcome {
        let mut parts = Vec::new();
        let mut left = fetch.max_bytes as usize;
        for want in &fetch.wants {
            let Some(partition) = self.partitions.get(want.partition.0 as usize).and_then(Option::as_ref)
            else {
                continue;
            };
            let until = partition.high_watermark();
            match partition.log.read(want.offset, until, left, &mut self.buffers) {
                Ok(Read::Batches { chunk, next }) => {
                    left = left.saturating_sub(chunk.len());
                    parts.push(FetchedPart {
                        next,
                        chunk: Some(chunk),
                        ..part(partition, want, ErrorCode::None)
                    });
                }
                Ok(Read::Empty) => {}
                // What other partitions gave is worth more now than this one later.
                Ok(Read::Cold(_)) if !parts.is_empty() => {}
                Ok(Read::Cold(warm)) => {
                    if let Some(partition) = self.partitions[want.partition.0 as usize].as_mut() {
                        partition.log.note_opened();
                    }
                    return Outcome::Cold(warm);
                }
                Err(error) => parts.push(part(partition, want, read_error(partition, &error))),
            }
            if left == 0 {
                break;
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
            let Some(p) = self.partition(want.partition) else { return true };
            if out_of_range(p, want.offset) {
                return true;
            }
            available += p.log.bytes_between(want.offset, p.high_watermark(), u64::from(fetch.max_bytes));
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
