//! What a partition remembers of idempotent producers (KIP-98): for each producer id its epoch and its last five
//! batches, so that a batch that is sent again is recognised and not appended again.
//!
//! Invariant: the state is a function of the log, but for producers that were silent for so long that they are
//! forgotten; the snapshot file is a cache of it that names the offset it covers, and is believed only if its checksum
//! holds. A batch is looked at when it is appended and when recovery walks over it.

use std::collections::{BTreeMap, VecDeque};

use krappy_wire::batch::Header;
use krappy_wire::codec::{Reader, Writer};

use crate::api::{ErrorCode, ProducerState, Refusal};

/// Batches remembered per producer, as in Kafka: what a client may have in flight.
const REMEMBERED: usize = 5;
/// Producers remembered per partition; beyond it the ones that wrote longest ago are forgotten.
const MOST: usize = 10_000;
const MAGIC: &[u8; 4] = b"KRPP";
const FORMAT: u16 = 2;

/// What to do with a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Append it.
    Fresh,
    /// It is here already, from this offset on.
    Duplicate {
        /// Offset of its first record.
        base_offset: i64,
        /// Its largest timestamp, milliseconds since 1970.
        timestamp: i64,
    },
}

/// All producers that one partition remembers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Producers {
    by_id: BTreeMap<i64, Producer>,
    /// No producer was seen before this; it may be too early.
    seen_from: i64,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    /// When it last appended, by the broker's clock in milliseconds; for what recovery found, when that was.
    seen: i64,
    recent: VecDeque<Seen>,
    /// With nothing remembered: the sequence number of what was forgotten because it could not be written.
    missing: Option<i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    first: i32,
    last: i32,
    base_offset: i64,
    /// Its largest timestamp.
    timestamp: i64,
}

/// The sequence number `n` after `from`; they wrap from `i32::MAX` to 0.
fn sequence_after(from: i32, n: i32) -> i32 {
    ((i64::from(from) + i64::from(n)) & i64::from(i32::MAX)) as i32
}

impl Producers {
    /// Judges a batch before it is appended. Batches without a producer id are always fresh.
    pub fn judge(&self, batch: &Header) -> Result<Verdict, Refusal> {
        if batch.producer_id < 0 {
            return Ok(Verdict::Fresh);
        }
        if batch.producer_epoch < 0 || batch.base_sequence < 0 {
            return Err(Refusal::new(
                ErrorCode::InvalidRecord,
                "a batch with a producer id needs an epoch and a sequence number",
            ));
        }
        let Some(producer) = self.by_id.get(&batch.producer_id) else { return Ok(Verdict::Fresh) };
        if batch.producer_epoch < producer.epoch {
            let message = format!("producer {} has a newer epoch, {}", batch.producer_id, producer.epoch);
            return Err(Refusal::new(ErrorCode::InvalidProducerEpoch, message));
        }
        if batch.producer_epoch > producer.epoch {
            return match batch.base_sequence {
                0 => Ok(Verdict::Fresh),
                n => Err(out_of_order(batch.producer_id, n, 0)),
            };
        }
        producer.judge(batch)
    }

    /// Base offsets, ascending, of the batches that are remembered: recovery reads them from their headers.
    pub fn headers(&self) -> Vec<i64> {
        let all =
            self.by_id.values().flat_map(|producer| producer.recent.iter().map(|seen| seen.base_offset));
        let mut offsets: Vec<i64> = all.collect();
        offsets.sort_unstable();
        offsets
    }

    /// Notes a batch that was appended, or that recovery walked over. `now` is the wall clock in milliseconds.
    pub fn observe(&mut self, batch: &Header, now: i64) {
        if batch.producer_id < 0 {
            return;
        }
        self.seen_from = if self.by_id.is_empty() { now } else { self.seen_from.min(now) };
        let producer = self.by_id.entry(batch.producer_id).or_default();
        producer.seen = now;
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.recent.clear();
        }
        producer.missing = None;
        if producer.recent.len() == REMEMBERED {
            producer.recent.pop_front();
        }
        producer.recent.push_back(Seen {
            first: batch.base_sequence,
            last: sequence_after(batch.base_sequence, batch.last_offset_delta),
            base_offset: batch.base_offset,
            timestamp: batch.max_timestamp,
        });
        if self.by_id.len() > MOST {
            self.forget_oldest();
        }
    }

    /// Forgets batches from `offset` on: they were observed, and then could not be written. The next batch must be the
    /// first of them again, or what the client sent behind it would overtake it.
    pub fn retract(&mut self, offset: i64) {
        for producer in self.by_id.values_mut() {
            let first = producer.recent.iter().find(|seen| seen.base_offset >= offset).map(|seen| seen.first);
            producer.recent.retain(|seen| seen.base_offset < offset);
            producer.missing = first.or(producer.missing);
        }
    }

    /// Forgets the producers that have appended nothing for `expiry` milliseconds. Mostly this is one comparison.
    pub fn expire(&mut self, now: i64, expiry: i64) {
        let first_kept = now.saturating_sub(expiry).saturating_add(1);
        if self.by_id.is_empty() || self.seen_from >= first_kept {
            return;
        }
        self.by_id.retain(|_, producer| producer.seen >= first_kept);
        self.seen_from = self.by_id.values().map(|producer| producer.seen).min().unwrap_or(now);
    }

    /// The producers, in order of their ids.
    pub fn states(&self) -> impl Iterator<Item = ProducerState> {
        self.by_id.iter().map(|(&id, producer)| {
            let newest = producer.recent.back();
            ProducerState {
                id,
                epoch: producer.epoch,
                last_sequence: newest.map_or(-1, |seen| seen.last),
                last_timestamp: newest.map_or(-1, |seen| seen.timestamp),
                txn_start: -1,
            }
        })
    }

    /// Makes room for a tenth of the limit at once, so that the sort is rare.
    fn forget_oldest(&mut self) {
        let mut ages: Vec<(i64, i64)> =
            self.by_id.iter().map(|(id, p)| (p.recent.back().map_or(-1, |s| s.base_offset), *id)).collect();
        ages.sort_unstable();
        for (_, id) in &ages[..MOST / 10] {
            self.by_id.remove(id);
        }
    }

    /// The snapshot: `magic | format u16 | offset i64 | producers u32 | { id i64, epoch i16, seen i64, batches u8, {
    /// first i32, last i32, base offset i64, timestamp i64 } } | crc32 u32`. `offset` says that everything below it is
    /// in the state.
    pub fn encode(&self, offset: i64) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.put_u16(FORMAT);
        out.put_i64(offset);
        out.put_u32(self.by_id.len() as u32);
        for (id, producer) in &self.by_id {
            out.put_i64(*id);
            out.put_i16(producer.epoch);
            out.put_i64(producer.seen);
            out.put_u8(producer.recent.len() as u8);
            for seen in &producer.recent {
                out.put_i32(seen.first);
                out.put_i32(seen.last);
                out.put_i64(seen.base_offset);
                out.put_i64(seen.timestamp);
            }
        }
        let crc = crc32fast::hash(&out);
        out.put_u32(crc);
        out
    }

    /// Reads a snapshot; `None` when it is damaged in any way.
    pub fn decode(bytes: &[u8]) -> Option<(Self, i64)> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return None;
        }
        let mut r = Reader::new(body.strip_prefix(MAGIC)?);
        if r.u16().ok()? != FORMAT {
            return None;
        }
        let offset = r.i64().ok()?;
        let mut producers = Producers { by_id: BTreeMap::new(), seen_from: i64::MAX };
        for _ in 0..r.u32().ok()? {
            let id = r.i64().ok()?;
            let (epoch, seen) = (r.i16().ok()?, r.i64().ok()?);
            producers.seen_from = producers.seen_from.min(seen);
            let mut producer = Producer { epoch, seen, ..Producer::default() };
            for _ in 0..r.u8().ok()? {
                let (first, last) = (r.i32().ok()?, r.i32().ok()?);
                let (base_offset, timestamp) = (r.i64().ok()?, r.i64().ok()?);
                producer.recent.push_back(Seen { first, last, base_offset, timestamp });
            }
            producers.by_id.insert(id, producer);
        }
        r.end().ok()?;
        Some((producers, offset))
    }

    /// Whether anything is remembered.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

impl Producer {
    fn judge(&self, batch: &Header) -> Result<Verdict, Refusal> {
        let last = sequence_after(batch.base_sequence, batch.last_offset_delta);
        let same = |seen: &&Seen| seen.first == batch.base_sequence && seen.last == last;
        if let Some(seen) = self.recent.iter().find(same) {
            let Seen { base_offset, timestamp, .. } = *seen;
            return Ok(Verdict::Duplicate { base_offset, timestamp });
        }
        let next = self.recent.back().map(|newest| sequence_after(newest.last, 1));
        let Some(expected) = next.or(self.missing) else { return Ok(Verdict::Fresh) };
        if batch.base_sequence == expected {
            return Ok(Verdict::Fresh);
        }
        Err(out_of_order(batch.producer_id, batch.base_sequence, expected))
    }
}

fn out_of_order(producer: i64, got: i32, expected: i32) -> Refusal {
    let message = format!("producer {producer} sent sequence {got}, expected {expected}");
    Refusal::new(ErrorCode::OutOfOrderSequence, message)
        .hint("an earlier batch was refused or lost: start a new producer")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn batch(epoch: i16, first: i32, count: i32, base_offset: i64) -> Header {
        Header {
            base_offset,
            batch_length: 100,
            leader_epoch: 0,
            crc: 0,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp: 0,
            max_timestamp: 77,
            producer_id: 9,
            producer_epoch: epoch,
            base_sequence: first,
            record_count: count,
        }
    }

    fn code(verdict: Result<Verdict, Refusal>) -> ErrorCode {
        verdict.unwrap_err().code
    }

    #[test]
    fn the_last_five_batches_are_recognised_and_older_ones_are_out_of_order() {
        let mut p = Producers::default();
        for n in 0..7 {
            let b = batch(0, n * 10, 10, i64::from(n) * 10 + 1000);
            assert_eq!(p.judge(&b), Ok(Verdict::Fresh));
            p.observe(&b, NOW);
        }
        for n in 2..7 {
            let again = p.judge(&batch(0, n * 10, 10, 0));
            assert_eq!(
                again,
                Ok(Verdict::Duplicate { base_offset: i64::from(n) * 10 + 1000, timestamp: 77 })
            );
        }
        assert_eq!(code(p.judge(&batch(0, 10, 10, 0))), ErrorCode::OutOfOrderSequence);
        assert_eq!(code(p.judge(&batch(0, 80, 10, 0))), ErrorCode::OutOfOrderSequence);
        assert_eq!(p.judge(&batch(0, 70, 1, 0)), Ok(Verdict::Fresh));
        // The same first sequence number and another last one is another batch.
        assert_eq!(code(p.judge(&batch(0, 60, 9, 0))), ErrorCode::OutOfOrderSequence);
        assert_eq!(code(p.judge(&batch(0, 65, 5, 0))), ErrorCode::OutOfOrderSequence);
    }

    #[test]
    fn a_producer_that_is_not_known_may_begin_with_any_sequence_number() {
        let mut p = Producers::default();
        for (id, first) in [(1, 0), (2, 5), (3, i32::MAX)] {
            let b = Header { producer_id: id, ..batch(7, first, 1, 0) };
            assert_eq!(p.judge(&b), Ok(Verdict::Fresh));
            p.observe(&b, NOW);
        }
        for (epoch, first) in [(-1, 0), (0, -1)] {
            assert_eq!(code(p.judge(&batch(epoch, first, 1, 0))), ErrorCode::InvalidRecord);
        }
    }

    #[test]
    fn a_producer_is_forgotten_when_it_was_silent_for_long_enough() {
        let mut p = Producers::default();
        let of = |id, first| Header { producer_id: id, ..batch(0, first, 1, 0) };
        p.observe(&of(1, 0), NOW);
        p.observe(&of(2, 0), NOW + 5);
        p.observe(&of(1, 1), NOW + 8);
        let ids = |p: &Producers| p.states().map(|state| state.id).collect::<Vec<_>>();
        p.expire(NOW + 14, 10);
        assert_eq!(ids(&p), [1, 2]);
        p.expire(NOW + 15, 10);
        assert_eq!(ids(&p), [1]);
        let (mut back, _) = Producers::decode(&p.encode(0)).unwrap();
        back.expire(NOW + 17, 10);
        assert_eq!(back, p);
        back.expire(NOW + 18, 10);
        assert!(back.is_empty());
        assert_eq!(back.judge(&of(1, 77)), Ok(Verdict::Fresh));
    }

    #[test]
    fn what_is_known_of_producers_can_be_listed() {
        let mut p = Producers::default();
        p.observe(&batch(3, i32::MAX, 2, 50), NOW);
        let state = |last_sequence, last_timestamp| ProducerState {
            id: 9,
            epoch: 3,
            last_sequence,
            last_timestamp,
            txn_start: -1,
        };
        assert_eq!(p.states().collect::<Vec<_>>(), [state(0, 77)]);
        p.retract(50);
        assert_eq!(p.states().collect::<Vec<_>>(), [state(-1, -1)]);
    }

    #[test]
    fn a_new_epoch_starts_at_zero_and_shuts_the_old_one_out() {
        let mut p = Producers::default();
        p.observe(&batch(3, 0, 1, 0), NOW);
        assert_eq!(code(p.judge(&batch(2, 1, 1, 0))), ErrorCode::InvalidProducerEpoch);
        assert_eq!(code(p.judge(&batch(4, 1, 1, 0))), ErrorCode::OutOfOrderSequence);
        assert_eq!(p.judge(&batch(4, 0, 1, 0)), Ok(Verdict::Fresh));
    }

    #[test]
    fn what_could_not_be_written_is_expected_again() {
        let mut p = Producers::default();
        p.observe(&batch(0, 0, 2, 10), NOW);
        p.observe(&batch(0, 2, 2, 12), NOW);
        p.retract(10);
        assert_eq!(code(p.judge(&batch(0, 4, 2, 0))), ErrorCode::OutOfOrderSequence);
        assert_eq!(p.judge(&batch(0, 0, 2, 0)), Ok(Verdict::Fresh));
        p.observe(&batch(0, 0, 2, 10), NOW);
        assert_eq!(p.judge(&batch(0, 2, 2, 0)), Ok(Verdict::Fresh));
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut p = Producers::default();
        p.observe(&batch(0, i32::MAX - 1, 3, 0), NOW);
        assert_eq!(p.judge(&batch(0, 1, 1, 0)), Ok(Verdict::Fresh));
        let again = p.judge(&batch(0, i32::MAX - 1, 3, 0));
        assert_eq!(again, Ok(Verdict::Duplicate { base_offset: 0, timestamp: 77 }));
    }

    #[test]
    fn a_snapshot_comes_back_whole_or_not_at_all() {
        let mut p = Producers::default();
        p.observe(&batch(1, 0, 5, 10), NOW);
        p.observe(&batch(1, 5, 5, 15), NOW);
        let bytes = p.encode(20);
        assert_eq!(Producers::decode(&bytes), Some((p, 20)));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Producers::decode(&bad), None, "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert_eq!(Producers::decode(&bytes[..cut]), None);
        }
    }
}
