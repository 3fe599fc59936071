//! What a partition remembers of idempotent producers (KIP-98): for each producer id its epoch and its last five
//! batches, so that a batch that is sent again is recognised and not appended again.
//!
//! Invariant: the state is a function of the log; the snapshot file is a cache of it that names the offset it covers,
//! and is believed only if its checksum holds. A batch is looked at when it is appended and when recovery walks over
//! it.

use std::collections::{BTreeMap, VecDeque};

use krappy_wire::batch::Header;
use krappy_wire::codec::{Reader, Writer};

use crate::api::{ErrorCode, Refusal};

/// Batches remembered per producer, as in Kafka: what a client may have in flight.
const REMEMBERED: usize = 5;
/// Producers remembered per partition; beyond it the ones that wrote longest ago are forgotten.
const MOST: usize = 10_000;
const MAGIC: &[u8; 4] = b"KRPP";
const FORMAT: u16 = 1;

/// What to do with a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Append it.
    Fresh,
    /// It is here already, from this offset on.
    Duplicate {
        /// Offset of its first record.
        base_offset: i64,
    },
}

/// All producers that one partition remembers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Producers {
    by_id: BTreeMap<i64, Producer>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    recent: VecDeque<Seen>,
    /// With nothing remembered: the sequence number of what was forgotten because it could not be written.
    missing: Option<i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    first: i32,
    last: i32,
    base_offset: i64,
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

    /// Notes a batch that was appended, or that recovery walked over.
    pub fn observe(&mut self, batch: &Header) {
        if batch.producer_id < 0 {
            return;
        }
        let producer = self.by_id.entry(batch.producer_id).or_default();
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

    /// Makes room for a tenth of the limit at once, so that the sort is rare.
    fn forget_oldest(&mut self) {
        let mut ages: Vec<(i64, i64)> =
            self.by_id.iter().map(|(id, p)| (p.recent.back().map_or(-1, |s| s.base_offset), *id)).collect();
        ages.sort_unstable();
        for (_, id) in &ages[..MOST / 10] {
            self.by_id.remove(id);
        }
    }

    /// The snapshot: `magic | format u16 | offset i64 | producers u32 | { id i64, epoch i16, batches u8, { first i32,
    /// last i32, base offset i64 } } | crc32 u32`. `offset` says that everything below it is in the state.
    pub fn encode(&self, offset: i64) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.put_u16(FORMAT);
        out.put_i64(offset);
        out.put_u32(self.by_id.len() as u32);
        for (id, producer) in &self.by_id {
            out.put_i64(*id);
            out.put_i16(producer.epoch);
            out.put_u8(producer.recent.len() as u8);
            for seen in &producer.recent {
                out.put_i32(seen.first);
                out.put_i32(seen.last);
                out.put_i64(seen.base_offset);
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
        let mut producers = Producers::default();
        for _ in 0..r.u32().ok()? {
            let id = r.i64().ok()?;
            let mut producer = Producer { epoch: r.i16().ok()?, ..Producer::default() };
            for _ in 0..r.u8().ok()? {
                let (first, last) = (r.i32().ok()?, r.i32().ok()?);
                producer.recent.push_back(Seen { first, last, base_offset: r.i64().ok()? });
            }
            producers.by_id.insert(id, producer);
        }
        r.end().ok()?;
        Some((producers, offset))
    }

    /// Id, epoch and last sequence number of each producer that has one, sorted by id.
    pub fn iter(&self) -> impl Iterator<Item = (i64, i16, i32)> + '_ {
        self.by_id.iter().filter_map(|(id, p)| Some((*id, p.epoch, p.recent.back()?.last)))
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
            return Ok(Verdict::Duplicate { base_offset: seen.base_offset });
        }
        let next = self.recent.back().map(|newest| sequence_after(newest.last, 1));
        let Some(expected) = next.or(self.missing) else { return Ok(Verdict::Fresh) };
        if batch.base_sequence == expected {
            return Ok(Verdict::Fresh);
        }
        // Half of the number space lies behind the expected number, as with TCP.
        let behind = expected.wrapping_sub(batch.base_sequence) & i32::MAX;
        if behind < i32::MAX / 2 {
            let message = format!(
                "sequence {} of producer {} is older than its last five batches",
                batch.base_sequence, batch.producer_id
            );
            return Err(Refusal::new(ErrorCode::DuplicateSequence, message));
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

    fn batch(epoch: i16, first: i32, count: i32, base_offset: i64) -> Header {
        Header {
            base_offset,
            batch_length: 100,
            leader_epoch: 0,
            crc: 0,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp: 0,
            max_timestamp: 0,
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
    fn the_last_five_batches_are_recognised_and_older_ones_refused() {
        let mut p = Producers::default();
        for n in 0..7 {
            let b = batch(0, n * 10, 10, i64::from(n) * 10 + 1000);
            assert_eq!(p.judge(&b), Ok(Verdict::Fresh));
            p.observe(&b);
        }
        for n in 2..7 {
            let again = p.judge(&batch(0, n * 10, 10, 0));
            assert_eq!(again, Ok(Verdict::Duplicate { base_offset: i64::from(n) * 10 + 1000 }));
        }
        assert_eq!(code(p.judge(&batch(0, 10, 10, 0))), ErrorCode::DuplicateSequence);
        assert_eq!(code(p.judge(&batch(0, 80, 10, 0))), ErrorCode::OutOfOrderSequence);
        assert_eq!(p.judge(&batch(0, 70, 1, 0)), Ok(Verdict::Fresh));
    }

    #[test]
    fn a_new_epoch_starts_at_zero_and_shuts_the_old_one_out() {
        let mut p = Producers::default();
        p.observe(&batch(3, 0, 1, 0));
        assert_eq!(code(p.judge(&batch(2, 1, 1, 0))), ErrorCode::InvalidProducerEpoch);
        assert_eq!(code(p.judge(&batch(4, 1, 1, 0))), ErrorCode::OutOfOrderSequence);
        assert_eq!(p.judge(&batch(4, 0, 1, 0)), Ok(Verdict::Fresh));
    }

    #[test]
    fn what_could_not_be_written_is_expected_again() {
        let mut p = Producers::default();
        p.observe(&batch(0, 0, 2, 10));
        p.observe(&batch(0, 2, 2, 12));
        p.retract(10);
        assert_eq!(code(p.judge(&batch(0, 4, 2, 0))), ErrorCode::OutOfOrderSequence);
        assert_eq!(p.judge(&batch(0, 0, 2, 0)), Ok(Verdict::Fresh));
        p.observe(&batch(0, 0, 2, 10));
        assert_eq!(p.judge(&batch(0, 2, 2, 0)), Ok(Verdict::Fresh));
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut p = Producers::default();
        p.observe(&batch(0, i32::MAX - 1, 3, 0));
        assert_eq!(p.judge(&batch(0, 1, 1, 0)), Ok(Verdict::Fresh));
        let again = p.judge(&batch(0, i32::MAX - 1, 3, 0));
        assert_eq!(again, Ok(Verdict::Duplicate { base_offset: 0 }));
    }

    #[test]
    fn a_snapshot_comes_back_whole_or_not_at_all() {
        let mut p = Producers::default();
        p.observe(&batch(1, 0, 5, 10));
        p.observe(&batch(1, 5, 5, 15));
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
