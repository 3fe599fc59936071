//! Received records: frames that were checked when they arrived, and an iterator that walks them without copying.
//!
//! Invariant: every batch in a [`Records`] is whole and intact, was unpacked and was walked, so iterating cannot fail.
//! What was unpacked is kept up to a bound; beyond it a batch is unpacked once more when its turn comes, because a
//! small frame can hold very many bytes.

use crate::error::Error;
use crate::slice::Slice;
use krappy_wire::batch::{self, HEADER, Header, Record};
use krappy_wire::compress;
use krappy_wire::native::RecordsPart;
use std::ops::Range;
use std::sync::Arc;

/// Unpacked bytes that are kept from the arrival of batches until they are walked.
const KEPT: usize = 64 << 20;

/// One record as it was read.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// # let mut consumer = client.consumer("orders").build()?;
/// for record in &consumer.poll(std::time::Duration::from_secs(1))? {
///     println!("{}/{}@{}", record.topic, record.partition, record.offset);
/// }
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key, or null.
    pub key: Option<Slice>,
    /// The value, or null.
    pub value: Option<Slice>,
    /// Name and value, in order. Names need not be UTF-8.
    pub headers: Vec<(Slice, Option<Slice>)>,
}

/// What one poll brought. Empty when nothing came in time.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// # let mut consumer = client.consumer("orders").build()?;
/// let records = consumer.poll(std::time::Duration::from_secs(1))?;
/// println!("{} records, {} bytes", records.len(), records.bytes());
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Records {
    topic: Arc<str>,
    batches: Vec<Piece>,
    count: usize,
    bytes: usize,
    /// Bytes of batches that are kept unpacked.
    unpacked: usize,
}

/// A batch, and the offset below which its records are skipped.
#[derive(Debug, Clone)]
struct Piece {
    header: Header,
    /// A frame, or what a batch in it unpacks to.
    buffer: Arc<Vec<u8>>,
    /// Where the records lie in it.
    range: Range<usize>,
    /// They are packed.
    packed: bool,
    partition: i32,
    from: i64,
}

impl Records {
    pub(crate) fn new(topic: Arc<str>) -> Self {
        Self { topic, batches: Vec::new(), count: 0, bytes: 0, unpacked: 0 }
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing came.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batches as they travelled.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The records, partition by partition as they came, in order of offset within each partition.
    pub fn iter(&self) -> Iter<'_> {
        Iter { records: self, next: 0, current: None, ready: Vec::new().into_iter() }
    }

    /// Takes the batches of a part from `from` on and returns the position after what was taken. An error concerns the
    /// batch at that position; what came before it is kept.
    pub(crate) fn add(
        &mut self,
        frame: &Arc<Vec<u8>>,
        part: &RecordsPart<'_>,
        from: i64,
    ) -> (i64, Result<(), Error>) {
        let (mut rest, mut position) = (part.batches, from);
        while !rest.is_empty() {
            match self.add_batch(frame, part.partition, rest, from) {
                Ok((size, next)) => {
                    position = position.max(next);
                    rest = &rest[size..];
                }
                Err(error) => return (position, Err(error)),
            }
        }
        (position.max(part.next), Ok(()))
    }

    fn add_batch(
        &mut self,
        frame: &Arc<Vec<u8>>,
        partition: i32,
        bytes: &[u8],
        from: i64,
    ) -> Result<(usize, i64), Error> {
        let (header, batch) = batch::first(bytes).map_err(Error::malformed)?;
        let next = header.next_offset();
        if header.is_control() || next <= from {
            return Ok((batch.len(), next));
        }
        let start = batch.as_ptr().addr() - frame.as_ptr().addr();
        let range = start + HEADER..start + batch.len();
        let (buffer, packed) = (Arc::clone(frame), header.codec() != 0);
        let mut piece = Piece { header, buffer, range, packed, partition, from };
        let unpacked = piece.unpack()?;
        let mut count = 0;
        for record in batch::Records::within(header, unpacked.bytes()) {
            // What is packed is the producer's word, which the broker need not have looked at.
            let wrong = |e| if packed { piece.unopened() } else { Error::malformed(e) };
            count += usize::from(record.map_err(wrong)?.offset >= from);
        }
        if let Some(buffer) = unpacked.buffer.filter(|buffer| self.unpacked + buffer.len() <= KEPT) {
            self.unpacked += buffer.len();
            (piece.range, piece.packed) = (0..buffer.len(), false);
            piece.buffer = buffer;
        }
        self.batches.push(piece);
        self.count += count;
        self.bytes += batch.len();
        Ok((batch.len(), next))
    }

    /// The records of the batch number `n`; none when there are no more batches.
    pub(crate) fn nth_batch(&self, n: usize) -> Option<Vec<ConsumerRecord>> {
        Some(self.batches.get(n)?.open(&self.topic))
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = ConsumerRecord;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Walks [`Records`].
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// # let mut consumer = client.consumer("orders").build()?;
/// let last = consumer.poll(std::time::Duration::from_secs(1))?.iter().last();
/// # Ok::<(), krappy_client::Error>(())
/// ```
pub struct Iter<'a> {
    records: &'a Records,
    next: usize,
    current: Option<(&'a Piece, batch::Records<'a>)>,
    /// Those of a batch that was kept packed.
    ready: std::vec::IntoIter<ConsumerRecord>,
}

impl Iterator for Iter<'_> {
    type Item = ConsumerRecord;

    fn next(&mut self) -> Option<ConsumerRecord> {
        loop {
            if let Some(record) = self.ready.next() {
                return Some(record);
            }
            if let Some((piece, walk)) = &mut self.current {
                for record in walk.by_ref() {
                    let record = record.expect("walked when it arrived");
                    if record.offset >= piece.from {
                        return Some(piece.own(&piece.buffer, &self.records.topic, &record));
                    }
                }
            }
            let piece = self.records.batches.get(self.next)?;
            self.next += 1;
            if piece.packed {
                self.ready = piece.open(&self.records.topic).into_iter();
            } else {
                let walk = batch::Records::within(piece.header, &piece.buffer[piece.range.clone()]);
                self.current = Some((piece, walk));
            }
        }
    }
}

/// The records of a batch, unpacked.
struct Unpacked<'a> {
    /// What they were unpacked to; absent: they were not packed.
    buffer: Option<Arc<Vec<u8>>>,
    plain: &'a [u8],
}

impl Unpacked<'_> {
    fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(self.plain, |buffer| buffer)
    }
}

impl Piece {
    fn unpack(&self) -> Result<Unpacked<'_>, Error> {
        let bytes = &self.buffer[self.range.clone()];
        if !self.packed {
            return Ok(Unpacked { buffer: None, plain: bytes });
        }
        let mut out = Vec::new();
        match compress::unpack(self.header.codec(), bytes, compress::MOST, &mut out) {
            Ok(()) => Ok(Unpacked { buffer: Some(Arc::new(out)), plain: &[] }),
            Err(_) => Err(self.unopened()),
        }
    }

    fn unopened(&self) -> Error {
        Error::Compressed {
            codec: self.header.codec(),
            partition: self.partition,
            offset: self.header.base_offset,
            next_offset: self.header.next_offset(),
        }
    }

    /// All records that are wanted.
    fn open(&self, topic: &Arc<str>) -> Vec<ConsumerRecord> {
        let unpacked = self.unpack().expect("unpacked when it arrived");
        let buffer = unpacked.buffer.as_ref().unwrap_or(&self.buffer);
        let records = batch::Records::within(self.header, unpacked.bytes());
        let records = records.map(|record| record.expect("walked when it arrived"));
        let wanted = records.filter(|record| record.offset >= self.from);
        wanted.map(|record| self.own(buffer, topic, &record)).collect()
    }

    fn own(&self, buffer: &Arc<Vec<u8>>, topic: &Arc<str>, record: &Record<'_>) -> ConsumerRecord {
        let slice = |bytes: &[u8]| Slice::of(buffer, bytes);
        ConsumerRecord {
            topic: Arc::clone(topic),
            partition: self.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(slice),
            value: record.value.map(slice),
            headers: record.headers().map(|(name, value)| (slice(name), value.map(slice))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use krappy_wire::batch::{self, Builder};

    fn batch(base: i64, values: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut b = Builder::open(&mut out, 7);
        for value in values {
            let headers = [(&b"h"[..], None)];
            b.push(&mut out, 7, None, Some(value.as_bytes()), headers.into_iter());
        }
        b.close(&mut out, base, 0, None);
        out
    }

    fn add(bytes: Vec<u8>, from: i64) -> (Records, i64, Result<(), Error>) {
        let frame = Arc::new(bytes);
        let part = RecordsPart {
            partition: 3,
            error: 0,
            position: from,
            next: from,
            high_watermark: 100,
            log_start: 0,
            batches: &frame,
        };
        let mut records = Records::new("t".into());
        let (position, result) = records.add(&frame, &part, from);
        (records, position, result)
    }

    #[test]
    fn records_below_the_position_are_skipped() {
        let (records, position, result) = add([batch(0, &["a", "b", "c"]), batch(3, &["d"])].concat(), 2);
        result.unwrap();
        let seen: Vec<_> = records.iter().map(|r| (r.offset, r.value.unwrap().to_vec())).collect();
        assert_eq!(seen, [(2, b"c".to_vec()), (3, b"d".to_vec())]);
        assert_eq!((records.len(), position), (2, 4));
        assert_eq!(records.iter().next().unwrap().headers.len(), 1);
    }

    #[test]
    fn a_position_moves_over_batches_that_were_cleaned() {
        let whole = batch(0, &["a", "b", "c"]);
        let (header, _) = batch::first(&whole).unwrap();
        let kept = batch::Records::new(&whole).unwrap().nth(1).unwrap().unwrap();
        let (mut thinned, mut empty) = (Vec::new(), Vec::new());
        batch::with_records(&header, 1, kept.encoded, &mut thinned);
        let gone = batch::Header { base_offset: 3, last_offset_delta: 96, ..header };
        batch::with_records(&gone, 0, &[], &mut empty);
        let (records, position, result) = add([thinned, empty.clone()].concat(), 0);
        result.unwrap();
        let seen: Vec<_> = records.iter().map(|r| (r.offset, r.value.unwrap().to_vec())).collect();
        assert_eq!((seen, records.len(), position), (vec![(1, b"b".to_vec())], 1, 100));
        let (records, position, result) = add(empty, 50);
        assert!(result.is_ok() && records.is_empty() && position == 100);
    }

    #[test]
    fn what_precedes_a_batch_that_cannot_be_opened_is_kept() {
        let not_zstd = packed(4, 1, |_| b"not zstd".to_vec());
        let (records, position, result) = add([batch(0, &["a"]), not_zstd].concat(), 0);
        assert_eq!((records.len(), position), (1, 1));
        assert_eq!(result, Err(Error::Compressed { codec: 4, partition: 3, offset: 1, next_offset: 3 }));
    }

    /// The batch of "x" and "y", its records packed by `pack`.
    fn packed(codec: i16, base: i64, pack: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let plain = batch(base, &["x", "y"]);
        let mut header = Header::read(&plain).unwrap();
        header.set_codec(codec);
        let mut out = Vec::new();
        batch::with_records(&header, 2, &pack(&plain[HEADER..]), &mut out);
        out
    }

    #[cfg(feature = "compression")]
    #[test]
    fn compressed_batches_are_opened_and_many_are_not_kept_open() {
        let values = |records: &Records| {
            records.iter().map(|r| (r.offset, r.value.unwrap().to_vec(), r.headers.len())).collect::<Vec<_>>()
        };
        for codec in 1..=4 {
            let pack = |plain: &[u8]| {
                let mut out = Vec::new();
                compress::pack(codec, plain, &mut out).unwrap();
                out
            };
            let bytes = [batch(0, &["a"]), packed(codec, 1, pack), batch(3, &["b"])].concat();
            let (records, position, result) = add(bytes.clone(), 2);
            result.unwrap();
            let expected = [(2, b"y".to_vec(), 1), (3, b"b".to_vec(), 1)];
            assert_eq!((values(&records), records.len(), position), (expected.to_vec(), 2, 4));

            let frame = Arc::new(bytes);
            let mut full = Records { unpacked: KEPT, ..Records::new("t".into()) };
            let (size, _) = full.add_batch(&frame, 3, &frame, 0).unwrap();
            full.add_batch(&frame, 3, &frame[size..], 2).unwrap();
            assert!(full.batches.last().unwrap().packed);
            assert_eq!(values(&full).last(), Some(&(2, b"y".to_vec(), 1)));
            let last = full.nth_batch(full.batches.len() - 1).unwrap();
            assert_eq!((last.len(), last[0].offset), (1, 2));
        }
    }

    #[test]
    fn damage_and_truncation_are_errors_and_never_records() {
        let good = batch(0, &["a", "b"]);
        for cut in 1..good.len() {
            let (records, _, result) = add(good[..cut].to_vec(), 0);
            assert!(result.is_err() && records.is_empty(), "cut at {cut}");
        }
        for bit in 16 * 8..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let (records, _, result) = add(bad, 0);
            assert!(result.is_err() && records.is_empty(), "bit {bit}");
        }
    }
}
