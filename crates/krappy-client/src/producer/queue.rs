//! Which batch may be sent when, so that retries neither reorder nor double records. No I/O and no clock of its own.
//!
//! The broker takes the batches of a producer id and partition only in the order of their sequence numbers, and knows
//! its last five again. From that follow the rules kept here, for each partition:
//!
//! * Batches are sent in order of sequence, and none that is five or more behind the oldest unanswered one: answers may
//!   overtake one another, and the oldest must still be among the five when it is asked about again.
//! * After any refusal nothing is sent until the batches already on their way are answered: they followed a gap, so the
//!   broker refuses them too.
//! * A batch that was refused for good leaves a gap in the numbers; those behind it are renumbered to close it.
//! * A batch that may be stored (its answer got lost) keeps its number until it is answered. When such a batch has to
//!   be
//!   given up, or the broker has forgotten the producer, the numbers mean nothing any more: once nothing is uncertain,
//!   a new producer id starts again from 0.

use super::batch::{Batch, OpenBatch, Settled};
use super::delivery::{Callback, Delivery};
use crate::error::Error;
use crate::record::Record;
use krappy_wire::batch::ProducerSequence;
use krappy_wire::error::ErrorCode;
use krappy_wire::native::Level;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The broker knows the last five batches again, so no more may be unanswered.
const MOST_IN_FLIGHT: u64 = 5;

pub(super) struct Limits {
    pub batch_bytes: usize,
    pub linger: Duration,
    pub delivery_timeout: Duration,
    pub retry_pause: Duration,
    pub idempotent: bool,
    pub acks: Level,
}

/// A producer id and its incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub id: i64,
    pub epoch: i16,
}

/// A batch to be put on the wire now.
pub(super) struct Outgoing {
    pub partition: usize,
    /// Names this sending; the answer must bring it back.
    pub token: u64,
    pub bytes: Arc<Vec<u8>>,
}

pub(super) struct Queue {
    limits: Limits,
    lanes: Vec<Lane>,
    identity: Option<Identity>,
    /// The numbers mean nothing any more; see the top of the file.
    renew: bool,
    bytes: usize,
    tokens: u64,
    sticky: usize,
}

/// One partition.
#[derive(Default)]
struct Lane {
    open: Option<OpenBatch>,
    batches: VecDeque<Batch>,
    next_sequence: i32,
    /// Batches closed so far; gives each its ordinal.
    closed: u64,
    /// Something was refused: wait for what is on its way, then go on from the front.
    hold: bool,
    /// The number that the broker expects, after a batch was refused for good.
    expected: Option<i32>,
    /// Not before this time, after a refusal that may pass.
    pause_until: Option<Instant>,
}

impl Queue {
    pub fn new(limits: Limits, partitions: usize, identity: Option<Identity>) -> Self {
        let lanes = (0..partitions).map(|_| Lane::default()).collect();
        Self { limits, lanes, identity, renew: false, bytes: 0, tokens: 0, sticky: 0 }
    }

    /// Bytes of records that are not settled.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn partitions(&self) -> usize {
        self.lanes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|l| l.open.is_none() && l.batches.is_empty())
    }

    /// Makes room for partitions that were added to the topic.
    pub fn grow(&mut self, partitions: usize) {
        while self.lanes.len() < partitions {
            self.lanes.push(Lane::default());
        }
    }

    /// The partition for records without key: the same until its batch is full.
    pub fn sticky(&self) -> usize {
        self.sticky
    }

    pub fn push(
        &mut self,
        partition: usize,
        record: &Record,
        timestamp: i64,
        now: Instant,
        callback: Option<Callback>,
    ) -> Delivery {
        let full = |open: &OpenBatch| open.size() + record.batched_size() > self.limits.batch_bytes;
        if self.lanes[partition].open.as_ref().is_some_and(full) {
            self.close(partition);
        }
        let open = self.lanes[partition].open.get_or_insert_with(|| OpenBatch::new(timestamp, now));
        let before = open.size();
        let fresh = if before == krappy_wire::batch::HEADER { before } else { 0 };
        let delivery = open.push(record, timestamp, callback);
        self.bytes += open.size() - before + fresh;
        delivery
    }

    /// Ends every batch that still takes records, and returns what a flush has to wait for.
    pub fn close_all(&mut self) -> Vec<Delivery> {
        for partition in 0..self.lanes.len() {
            self.close(partition);
        }
        self.lanes.iter().flat_map(|l| &l.batches).map(|b| b.waiting.first()).collect()
    }

    fn close(&mut self, partition: usize) {
        let lane = &mut self.lanes[partition];
        let Some(open) = lane.open.take() else { return };
        let by = self.identity.map(|i| i.sequence(lane.next_sequence));
        let batch = open.close(by, lane.closed);
        lane.closed += 1;
        lane.next_sequence = after(lane.next_sequence, batch.count);
        lane.batches.push_back(batch);
        if partition == self.sticky {
            self.sticky = (self.sticky + 1) % self.lanes.len();
        }
    }

    /// Takes what may be sent now. Batches that nobody answers for (acks none) are settled at once.
    pub fn take(&mut self, now: Instant) -> (Vec<Outgoing>, Vec<Settled>) {
        let (mut out, mut settled) = (Vec::new(), Vec::new());
        for partition in 0..self.lanes.len() {
            self.lanes[partition].release(self.identity);
            while let Some(index) = self.next_of(partition, now) {
                self.tokens += 1;
                let token = self.tokens;
                let lane = &mut self.lanes[partition];
                let batch = &mut lane.batches[index];
                out.push(Outgoing { partition, token, bytes: Arc::clone(&batch.bytes) });
                batch.sent = Some((token, now));
                if self.limits.acks == Level::None {
                    let batch = self.remove(partition, index);
                    settled.push(batch.deliver(partition as i32, -1, Level::None));
                }
            }
        }
        (out, settled)
    }

    /// Index of the batch of this partition to send next, if one may be sent.
    fn next_of(&mut self, partition: usize, now: Instant) -> Option<usize> {
        let lane = &self.lanes[partition];
        if lane.hold || lane.pause_until.is_some_and(|t| t > now) {
            return None;
        }
        let most = if self.limits.idempotent { MOST_IN_FLIGHT } else { 1 };
        let window = lane.batches.front().map_or(u64::MAX, |b| b.ordinal + most);
        if self.renew {
            // Only what may be stored is asked about again, under the old number.
            return lane.batches.iter().position(|b| b.sent.is_none() && b.uncertain);
        }
        let ready = lane.batches.iter().position(|b| b.sent.is_none());
        let ordinal = ready.map_or(lane.closed, |i| lane.batches[i].ordinal);
        if ordinal >= window {
            return None;
        }
        if ready.is_none() && lane.open.as_ref().is_some_and(|o| o.since + self.limits.linger <= now) {
            self.close(partition);
            return Some(self.lanes[partition].batches.len() - 1);
        }
        ready
    }

    /// The answer to one sending: the base offset and level, or why not. An answer to a sending that is not awaited any
    /// more is ignored.
    pub fn answered(
        &mut self,
        partition: usize,
        token: u64,
        answer: Result<(i64, Level), Error>,
        now: Instant,
    ) -> Option<Settled> {
        let lane = &mut self.lanes[partition];
        let index = lane.batches.iter().position(|b| b.sent.is_some_and(|(t, _)| t == token))?;
        match answer {
            Ok((offset, level)) => {
                lane.pause_until = None;
                Some(self.remove(partition, index).deliver(partition as i32, offset, level))
            }
            Err(error) => self.refused(partition, index, error, now),
        }
    }

    fn refused(&mut self, partition: usize, index: usize, error: Error, now: Instant) -> Option<Settled> {
        let idempotent = self.limits.idempotent;
        let lane = &mut self.lanes[partition];
        let batch = &mut lane.batches[index];
        batch.sent = None;
        lane.hold = true;
        match error.code() {
            // It follows a batch that is not settled, or was given up; it will be in order when that is mended.
            Some(ErrorCode::OutOfOrderSequence) if idempotent && (index > 0 || lane.expected.is_some()) => {
                batch.uncertain = false;
            }
            Some(
                ErrorCode::OutOfOrderSequence
                | ErrorCode::UnknownProducerId
                | ErrorCode::InvalidProducerEpoch,
            ) if idempotent => {
                batch.uncertain = false;
                lane.pause_until = Some(now + self.limits.retry_pause);
                self.renew = true;
            }
            _ if error.is_retriable() => {
                batch.uncertain |= error.code() != Some(ErrorCode::Draining);
                // A broken connection is paced by connecting again.
                if matches!(error, Error::Refused { .. }) {
                    lane.pause_until = Some(now + self.limits.retry_pause);
                }
            }
            _ => return Some(self.give_up(partition, index, error)),
        }
        None
    }

    /// Gives up batches that are older than the delivery timeout and not on their way.
    pub fn expire(&mut self, now: Instant) -> Vec<Settled> {
        let mut settled = Vec::new();
        for partition in 0..self.lanes.len() {
            let old = |since: Instant, limit: Duration| now.saturating_duration_since(since) > limit;
            let limit = self.limits.delivery_timeout;
            while let Some(index) =
                self.lanes[partition].batches.iter().position(|b| b.sent.is_none() && old(b.since, limit))
            {
                settled.push(self.give_up(
                    partition,
                    index,
                    Error::TimedOut("the record could not be delivered"),
                ));
            }
            if self.lanes[partition].open.as_ref().is_some_and(|o| old(o.since, limit)) {
                self.close(partition);
                let last = self.lanes[partition].batches.len() - 1;
                settled.push(self.give_up(
                    partition,
                    last,
                    Error::TimedOut("the record could not be delivered"),
                ));
            }
        }
        settled
    }

    fn give_up(&mut self, partition: usize, index: usize, error: Error) -> Settled {
        let batch = self.remove(partition, index);
        let lane = &mut self.lanes[partition];
        lane.hold = true;
        if self.limits.idempotent {
            if batch.uncertain {
                self.renew = true;
            } else if lane.expected.is_none_or(|e| before(batch.base_sequence, e)) {
                lane.expected = Some(batch.base_sequence);
            }
        }
        batch.fail(error)
    }

    /// Gives up everything, for a reason that concerns the whole topic.
    pub fn fail_all(&mut self, error: &Error) -> Vec<Settled> {
        let mut settled = Vec::new();
        for lane in &mut self.lanes {
            settled.extend(lane.batches.drain(..).map(|b| b.fail(error.clone())));
            settled.extend(lane.open.take().map(|o| o.fail(error.clone())));
            lane.hold = false;
        }
        self.bytes = 0;
        // Some of it may be stored, so its numbers must not be used again.
        self.renew = self.limits.idempotent;
        settled
    }

    /// Whether a new producer id is needed now: the old numbers mean nothing and nothing is uncertain.
    pub fn wants_identity(&self) -> bool {
        let quiet = |b: &Batch| b.sent.is_none() && !b.uncertain;
        self.renew && self.lanes.iter().all(|l| l.batches.iter().all(quiet))
    }

    /// Starts again from 0 under a new producer id.
    pub fn renew(&mut self, identity: Identity) {
        assert!(self.wants_identity(), "numbers are kept while a batch may be stored");
        self.identity = Some(identity);
        self.renew = false;
        for lane in &mut self.lanes {
            lane.hold = false;
            lane.expected = None;
            lane.renumber(identity, 0, 0);
        }
    }

    /// When the oldest unanswered sending was.
    pub fn oldest_sending(&self) -> Option<Instant> {
        self.lanes.iter().flat_map(|l| &l.batches).filter_map(|b| b.sent.map(|(_, at)| at)).min()
    }

    /// Whether any sending is unanswered.
    pub fn in_flight(&self) -> bool {
        self.lanes.iter().any(|l| l.in_flight() > 0)
    }

    /// When [`Queue::take`] or [`Queue::expire`] may have something to do without anything new happening.
    pub fn next_event(&self) -> Option<Instant> {
        let linger = self.limits.linger;
        let limit = self.limits.delivery_timeout;
        let of_lane = |lane: &Lane| {
            let open = lane
                .open
                .as_ref()
                .filter(|_| (lane.in_flight() as u64) < MOST_IN_FLIGHT)
                .map(|o| o.since + linger);
            let waiting = lane.batches.iter().filter(|b| b.sent.is_none()).map(|b| b.since + limit).min();
            [open, lane.pause_until.filter(|_| waiting.is_some()), waiting].into_iter().flatten().min()
        };
        self.lanes.iter().filter_map(of_lane).min()
    }

    fn remove(&mut self, partition: usize, index: usize) -> Batch {
        let batch = self.lanes[partition].batches.remove(index).expect("the index was just found");
        self.bytes = self.bytes.saturating_sub(batch.bytes.len());
        batch
    }
}

impl Lane {
    fn in_flight(&self) -> usize {
        self.batches.iter().filter(|b| b.sent.is_some()).count()
    }

    /// Lifts the hold when nothing is on its way, closing the gap that a refused batch left.
    fn release(&mut self, identity: Option<Identity>) {
        if !self.hold || self.in_flight() > 0 {
            return;
        }
        self.hold = false;
        if let (Some(identity), Some(expected)) = (identity, self.expected.take()) {
            // What comes after the gap cannot be stored, whatever its answer would have been.
            let first = self.batches.iter().position(|b| !before(b.base_sequence, expected));
            self.renumber(identity, first.unwrap_or(self.batches.len()), expected);
        }
    }

    /// Numbers the batches from index `first` on, beginning with `next`.
    fn renumber(&mut self, identity: Identity, first: usize, mut next: i32) {
        for batch in self.batches.iter_mut().skip(first) {
            batch.uncertain = false;
            batch.renumber(identity.sequence(next));
            next = after(next, batch.count);
        }
        self.next_sequence = next;
    }
}

impl Identity {
    fn sequence(self, base_sequence: i32) -> ProducerSequence {
        ProducerSequence { producer_id: self.id, epoch: self.epoch, base_sequence }
    }
}

/// Sequence numbers wrap to 0 after `i32::MAX`, as in Kafka's `DefaultRecordBatch.incrementSequence`.
fn after(sequence: i32, count: u32) -> i32 {
    ((i64::from(sequence) + i64::from(count)) & 0x7fff_ffff) as i32
}

/// Whether sequence number `a` comes before `b`, the shorter way around.
fn before(a: i32, b: i32) -> bool {
    a != b && (i64::from(b) - i64::from(a)) & 0x7fff_ffff < 1 << 30
}
