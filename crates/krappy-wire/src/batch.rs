//! The Kafka record batch, format 2 (KIP-98, KIP-82): the unit that travels, that is checked and that is stored.
//!
//! ```text
//!  0 base_offset i64          23 last_offset_delta i32    53 base_sequence i32
//!  8 batch_length i32         27 base_timestamp i64       57 record_count i32
//! 12 leader_epoch i32         35 max_timestamp i64        61 records ...
//! 16 magic i8 = 2             43 producer_id i64
//! 17 crc u32 (CRC-32C)        51 producer_epoch i16
//! 21 attributes i16           `batch_length` counts what follows it: size - 12
//! ```
//!
//! Invariant: the checksum covers byte 21 to the end, so the two fields that a broker assigns, `base_offset` and
//! `leader_epoch`, can be set without touching the rest; whoever walks batches must check offsets by continuity.

use crate::codec::{Malformed, Reader, Writer, varlong_len};
use crate::tail::{Tail, nullable_len, put_nullable, put_tail, read_nullable, tail_len};

/// Bytes before the first record.
pub const HEADER: usize = 61;
/// Bytes before the ones that `batch_length` counts.
pub const PREFIX: usize = 12;
/// The first byte that the checksum covers.
const CRC_FROM: usize = 21;
const CODEC_MASK: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
const CONTROL: i16 = 0x20;

/// Why bytes are not a batch that may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchError {
    /// Fewer bytes than the header, or than the header's length field says.
    Short,
    /// The length field is below the header size.
    Length,
    /// Something follows the batch where one is allowed.
    Extra,
    /// A client has given it an offset.
    BaseOffset,
    /// Another format than 2.
    Magic(i8),
    /// The CRC-32C does not match.
    Crc,
    /// The record count is not positive, or is not `last_offset_delta + 1`.
    Count,
    /// Attribute bits that a client may not set: without a meaning, control, transactional, delete horizon.
    Attributes,
    /// A client says that the timestamps are the broker's.
    TimestampType,
    /// A codec number above zstd's.
    Codec,
    /// The records inside do not match their header.
    Record,
    /// The compressed records cannot be unpacked.
    Packed,
    /// Unpacked, the records would be larger than allowed.
    Inflated,
}

impl std::fmt::Display for BatchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BatchError::Short => f.write_str("the batch is cut short"),
            BatchError::Length => f.write_str("the batch length does not match its bytes"),
            BatchError::Extra => f.write_str("more than one batch, where exactly one is allowed"),
            BatchError::BaseOffset => f.write_str("the base offset of a batch from a client is 0"),
            BatchError::Magic(m) => write!(f, "record format {m} is not supported, only 2"),
            BatchError::Crc => f.write_str("the batch fails its CRC-32C"),
            BatchError::Count => f.write_str("the record count does not match the last offset delta"),
            BatchError::Attributes => f.write_str("the batch has attributes that a client may not set"),
            BatchError::TimestampType => {
                f.write_str("only a broker may set the timestamp type LogAppendTime")
            }
            BatchError::Codec => f.write_str("unknown compression codec, or one that this build leaves out"),
            BatchError::Record => f.write_str("the records do not match their batch header"),
            BatchError::Packed => f.write_str("the compressed records cannot be unpacked"),
            BatchError::Inflated => f.write_str("unpacked, the records are larger than allowed"),
        }
    }
}

impl std::error::Error for BatchError {}

/// The header of one batch, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes after the length field.
    pub batch_length: i32,
    /// Epoch of the broker that stored it.
    pub leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec in bits 0-2, LogAppendTime in bit 3, transactional, control, delete horizon.
    pub attributes: i16,
    /// Offset of the last record minus the base offset.
    pub last_offset_delta: i32,
    /// Milliseconds since 1970 that record timestamps are relative to.
    pub base_timestamp: i64,
    /// Largest timestamp of a record, milliseconds since 1970.
    pub max_timestamp: i64,
    /// Idempotent producer, or -1.
    pub producer_id: i64,
    /// Its incarnation, or -1.
    pub producer_epoch: i16,
    /// Sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

impl Header {
    /// Reads the header at the front of `bytes`; the records need not be there yet.
    /// The checksum is not looked at.
    pub fn read(bytes: &[u8]) -> Result<Header, BatchError> {
        let mut r = Reader::new(bytes.get(..HEADER).ok_or(BatchError::Short)?);
        Self::fields(&mut r).expect("61 bytes hold every field")
    }

    fn fields(r: &mut Reader<'_>) -> Result<Result<Header, BatchError>, Malformed> {
        let base_offset = r.i64()?;
        let batch_length = r.i32()?;
        let leader_epoch = r.i32()?;
        let magic = r.u8()? as i8;
        let header = Header {
            base_offset,
            batch_length,
            leader_epoch,
            crc: r.u32()?,
            attributes: r.i16()?,
            last_offset_delta: r.i32()?,
            base_timestamp: r.i64()?,
            max_timestamp: r.i64()?,
            producer_id: r.i64()?,
            producer_epoch: r.i16()?,
            base_sequence: r.i32()?,
            record_count: r.i32()?,
        };
        if magic != 2 {
            return Ok(Err(BatchError::Magic(magic)));
        }
        if batch_length < (HEADER - PREFIX) as i32 {
            return Ok(Err(BatchError::Length));
        }
        if base_offset < 0 || header.last_offset_delta < 0 || base_offset.checked_add(1 << 32).is_none() {
            return Ok(Err(BatchError::Count));
        }
        Ok(Ok(header))
    }

    /// The header as it stands in front of the records.
    pub fn bytes(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(&self.base_offset.to_be_bytes());
        out[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        out[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        out[16] = 2;
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[57..].copy_from_slice(&self.record_count.to_be_bytes());
        out
    }

    /// The header for these records, which may be packed: with their length and checksum.
    pub fn sealed(self, body: &[u8]) -> Header {
        let batch_length =
            i32::try_from(HEADER + body.len() - PREFIX).expect("a batch is smaller than 2 GiB");
        let header = Header { batch_length, ..self };
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header.bytes()[CRC_FROM..]), body);
        Header { crc, ..header }
    }

    /// Says that all records carry the broker's clock, and what it shows, in milliseconds since 1970.
    pub fn set_log_append_time(&mut self, now: i64) {
        self.attributes |= LOG_APPEND_TIME;
        self.max_timestamp = now;
    }

    /// Says how the records are packed.
    pub fn set_codec(&mut self, codec: i16) {
        self.attributes = self.attributes & !CODEC_MASK | codec;
    }

    /// Bytes of the whole batch.
    pub fn size(&self) -> usize {
        PREFIX + self.batch_length as usize
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The offset after this batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// Compression: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub fn codec(&self) -> i16 {
        self.attributes & CODEC_MASK
    }

    /// Whether all records carry the broker's clock, which is the batch's max timestamp.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    /// Whether this is a control batch (a transaction marker).
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }
}

/// The first batch in `bytes`, whole and with a matching checksum.
pub fn first(bytes: &[u8]) -> Result<(Header, &[u8]), BatchError> {
    let header = Header::read(bytes)?;
    let batch = bytes.get(..header.size()).ok_or(BatchError::Short)?;
    if crc32c::crc32c(&batch[CRC_FROM..]) != header.crc {
        return Err(BatchError::Crc);
    }
    Ok((header, batch))
}

/// Checks a batch that a client sent: exactly one, whole, intact, and nothing in it that only a broker may write.
/// The records inside are not walked; see [`check_records`]. What the checksum covers is looked at behind it, so that
/// damage on the way is called damage.
pub fn check(bytes: &[u8]) -> Result<Header, BatchError> {
    let header = Header::read(bytes)?;
    if bytes.len() > header.size() {
        return Err(BatchError::Extra);
    }
    if header.base_offset != 0 {
        return Err(BatchError::BaseOffset);
    }
    first(bytes)?;
    if header.attributes & !(CODEC_MASK | LOG_APPEND_TIME) != 0 {
        return Err(BatchError::Attributes);
    }
    if header.is_log_append_time() {
        return Err(BatchError::TimestampType);
    }
    if header.codec() > 4 {
        return Err(BatchError::Codec);
    }
    if header.record_count <= 0 || header.record_count - 1 != header.last_offset_delta {
        return Err(BatchError::Count);
    }
    Ok(header)
}

/// Walks the records of an uncompressed batch: as many as the header says, with offset deltas 0, 1, 2 ...
/// A compressed batch passes unlooked at.
pub fn check_records(batch: &[u8]) -> Result<(), BatchError> {
    let header = Header::read(batch)?;
    if header.codec() != 0 {
        return Ok(());
    }
    let mut records = Records::new(batch)?;
    for delta in 0..header.record_count {
        let record = records.next().ok_or(BatchError::Record)??;
        if record.offset != header.base_offset + i64::from(delta) {
            return Err(BatchError::Record);
        }
    }
    if records.next().is_some() { Err(BatchError::Record) } else { Ok(()) }
}

/// Gives a finished batch another producer and sequence number and corrects its checksum: what an idempotent producer
/// needs when a batch before this one was refused for good.
pub fn set_producer(batch: &mut [u8], by: ProducerSequence) {
    let header = Header::read(batch).expect("the batch is finished");
    let (head, body) = batch.split_at_mut(HEADER);
    let ProducerSequence { producer_id, epoch: producer_epoch, base_sequence } = by;
    let header = Header { producer_id, producer_epoch, base_sequence, ..header }.sealed(body);
    head.copy_from_slice(&header.bytes());
}

/// Writes the batch of `header` at the end of `out` with other records, as a cleaner does: `body` is what follows the
/// header, packed as the header's codec says, and holds `count` records with the offset deltas they had. Length, count
/// and checksum are set; the offsets that the batch spans, and who produced it, stay.
pub fn with_records(header: &Header, count: i32, body: &[u8], out: &mut Vec<u8>) {
    let header = Header { record_count: count, ..*header }.sealed(body);
    out.extend_from_slice(&header.bytes());
    out.extend_from_slice(body);
}

/// One record, borrowed from its batch.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// Absolute offset.
    pub offset: i64,
    /// Milliseconds since 1970: the producer's, or the broker's if its batch says so.
    pub timestamp: i64,
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// The value; null is a tombstone on a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Value and headers as they stand in the batch.
    pub tail: Tail<'a>,
    /// All of it as it lies in the batch, its length included. Whatever base offset and base timestamp say the same can
    /// hold it as it is.
    pub encoded: &'a [u8],
}

impl<'a> Record<'a> {
    /// Headers in order: name and value. Names need not be UTF-8 here.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        self.tail.headers()
    }

    /// How many headers there are.
    pub fn header_count(&self) -> usize {
        self.tail.header_count()
    }
}

/// Iterates over the records of one uncompressed batch. Ends after the first error.
pub struct Records<'a> {
    reader: Reader<'a>,
    header: Header,
    failed: bool,
}

impl<'a> Records<'a> {
    /// `batch` must be whole; its checksum is taken as checked. A compressed batch is refused.
    pub fn new(batch: &'a [u8]) -> Result<Self, BatchError> {
        let header = Header::read(batch)?;
        if header.codec() != 0 {
            return Err(BatchError::Codec);
        }
        let body = batch.get(HEADER..header.size()).ok_or(BatchError::Short)?;
        Ok(Self::within(header, body))
    }

    /// The records in `body`, which is what follows the header, unpacked.
    pub fn within(header: Header, body: &'a [u8]) -> Self {
        Self { reader: Reader::new(body), header, failed: false }
    }

    fn read(&mut self) -> Result<Record<'a>, Malformed> {
        let mut whole = self.reader.clone();
        let before = whole.remaining();
        let length = usize::try_from(self.reader.varint()?).map_err(|_| Malformed::BadLength)?;
        let mut r = Reader::new(self.reader.take(length)?);
        let encoded = whole.take(before - self.reader.remaining())?;
        let _attributes = r.u8()?;
        let produced = self.header.base_timestamp.wrapping_add(r.varlong()?);
        let timestamp = if self.header.is_log_append_time() { self.header.max_timestamp } else { produced };
        let offset = self.header.base_offset.wrapping_add(i64::from(r.varint()?));
        let key = read_nullable(&mut r)?;
        let tail = Tail::read(r.rest())?;
        Ok(Record { offset, timestamp, key, value: tail.value(), tail, encoded })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.reader.remaining() == 0 {
            return None;
        }
        let record = self.read().map_err(|_| BatchError::Record);
        self.failed = record.is_err();
        Some(record)
    }
}

/// Who produced a batch, for idempotent producers (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerSequence {
    /// Handed out by the broker, never twice.
    pub producer_id: i64,
    /// Incarnation of that id.
    pub epoch: i16,
    /// Sequence number of the batch's first record in its partition.
    pub base_sequence: i32,
}

/// Writes one uncompressed batch at the end of a buffer, record by record.
///
/// The buffer is passed to each call rather than owned, so that the broker can build straight into the bytes it is
/// about to write, and a client into the frame it is about to send.
#[derive(Debug)]
pub struct Builder {
    start: usize,
    count: i32,
    attributes: i16,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl Builder {
    /// Reserves the header at the end of `out`. `base_timestamp` is what record timestamps are relative to.
    pub fn open(out: &mut Vec<u8>, base_timestamp: i64) -> Self {
        let start = out.len();
        out.resize(start + HEADER, 0);
        Self { start, count: 0, attributes: 0, base_timestamp, max_timestamp: i64::MIN }
    }

    /// Appends one record; headers are encoded as they come.
    #[inline]
    pub fn push<'h>(
        &mut self,
        out: &mut Vec<u8>,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone,
    ) {
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let length = 1
            + varlong_len(timestamp_delta)
            + varlong_len(i64::from(self.count))
            + nullable_len(key)
            + tail_len(value, headers.clone());
        out.put_varlong(length as i64);
        out.put_u8(0);
        out.put_varlong(timestamp_delta);
        out.put_varint(self.count);
        put_nullable(out, key);
        put_tail(out, value, headers);
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
    }

    /// Says that the timestamps are the broker's; all that are pushed should be the base timestamp.
    pub fn set_log_append_time(&mut self) {
        self.attributes |= LOG_APPEND_TIME;
    }

    /// Records so far.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Bytes so far, header included.
    pub fn size(&self, out: &[u8]) -> usize {
        out.len() - self.start
    }

    /// Where the batch begins in its buffer.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Largest record timestamp so far.
    pub fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// Fills in the header and returns the batch's size. A batch without records is a bug of the caller.
    pub fn close(
        self,
        out: &mut [u8],
        base_offset: i64,
        leader_epoch: i32,
        by: Option<ProducerSequence>,
    ) -> usize {
        assert!(self.count > 0, "a batch holds at least one record");
        let by = by.unwrap_or(ProducerSequence { producer_id: -1, epoch: -1, base_sequence: -1 });
        let (head, body) = out[self.start..].split_at_mut(HEADER);
        let header = Header {
            base_offset,
            batch_length: 0,
            leader_epoch,
            crc: 0,
            attributes: self.attributes,
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: by.producer_id,
            producer_epoch: by.epoch,
            base_sequence: by.base_sequence,
            record_count: self.count,
        }
        .sealed(body);
        head.copy_from_slice(&header.bytes());
        header.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three records: a plain one, a tombstone with headers, an empty value without key.
    fn sample() -> Vec<u8> {
        sample_at(0)
    }

    fn sample_at(base_offset: i64) -> Vec<u8> {
        let mut out = b"before".to_vec();
        let mut b = Builder::open(&mut out, 1_000);
        b.push(&mut out, 1_000, Some(b"k1"), Some(b"v1"), std::iter::empty());
        let headers = [(&b"h"[..], Some(&b"x"[..])), (b"null", None)];
        b.push(&mut out, 1_500, Some(b"k2"), None, headers.into_iter());
        b.push(&mut out, 900, None, Some(b""), std::iter::empty());
        let size = b.close(&mut out, base_offset, 7, None);
        assert_eq!(size, out.len() - 6);
        out.split_off(6)
    }

    #[test]
    fn a_built_batch_reads_back() {
        let bytes = sample_at(42);
        let (header, whole) = first(&bytes).unwrap();
        assert_eq!(whole, bytes);
        assert_eq!((header.base_offset, header.next_offset(), header.leader_epoch), (42, 45, 7));
        assert_eq!((header.base_timestamp, header.max_timestamp), (1_000, 1_500));
        check_records(&bytes).unwrap();
        let records: Vec<_> = Records::new(&bytes).unwrap().map(Result::unwrap).collect();
        assert_eq!(records.len(), 3);
        assert_eq!((records[0].offset, records[0].timestamp), (42, 1_000));
        assert_eq!((records[0].key, records[0].value), (Some(&b"k1"[..]), Some(&b"v1"[..])));
        assert_eq!(records[1].value, None);
        assert_eq!(records[0].tail.bytes(), b"\x04v1\x00");
        assert_eq!(records[1].tail.bytes(), b"\x01\x04\x02h\x02x\x08null\x01");
        let headers: Vec<_> = records[1].headers().collect();
        assert_eq!(headers, [(&b"h"[..], Some(&b"x"[..])), (&b"null"[..], None)]);
        assert_eq!((records[2].key, records[2].value, records[2].timestamp), (None, Some(&b""[..]), 900));
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720 B.4: the check value of CRC-32C.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn every_flipped_bit_is_noticed_except_where_a_broker_writes() {
        let good = sample();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let assigned = bit / 8 < 8 || (12..16).contains(&(bit / 8));
            assert!(assigned || first(&bad).is_err(), "bit {bit}");
            assert!((12..16).contains(&(bit / 8)) || check(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_is_short() {
        let good = sample();
        for cut in 0..good.len() {
            assert_eq!(first(&good[..cut]), Err(BatchError::Short), "{cut}");
        }
        let mut long = good.clone();
        long.push(0);
        assert_eq!(check(&long), Err(BatchError::Extra));
        assert_eq!(check(&[sample(), sample()].concat()), Err(BatchError::Extra));
    }

    #[test]
    fn a_header_is_written_as_it_was_read() {
        let bytes = sample_at(42);
        let header = Header::read(&bytes).unwrap();
        assert_eq!(header.bytes(), bytes[..HEADER]);
        assert_eq!(header.sealed(&bytes[HEADER..]), header);
    }

    #[test]
    fn assigning_an_offset_keeps_the_checksum() {
        let mut bytes = sample();
        let header = Header { base_offset: 1_000_000, leader_epoch: 9, ..Header::read(&bytes).unwrap() };
        bytes[..HEADER].copy_from_slice(&header.bytes());
        assert_eq!(first(&bytes).unwrap().0, header);
        assert_eq!(check(&bytes), Err(BatchError::BaseOffset));
    }

    #[test]
    fn with_the_brokers_clock_every_record_has_the_time_of_the_batch() {
        let mut bytes = sample();
        let mut header = Header::read(&bytes).unwrap();
        header.set_log_append_time(7_777);
        let head = header.sealed(&bytes[HEADER..]).bytes();
        bytes[..HEADER].copy_from_slice(&head);
        let (header, _) = first(&bytes).unwrap();
        assert!(header.is_log_append_time() && check(&bytes) == Err(BatchError::TimestampType));
        assert_eq!((header.base_timestamp, header.max_timestamp), (1_000, 7_777));
        let times: Vec<_> = Records::new(&bytes).unwrap().map(|r| r.unwrap().timestamp).collect();
        assert_eq!(times, [7_777; 3]);
    }

    #[test]
    fn another_producer_can_be_written_into_a_finished_batch() {
        let mut bytes = sample();
        set_producer(&mut bytes, ProducerSequence { producer_id: 5, epoch: 6, base_sequence: 7 });
        let header = check(&bytes).unwrap();
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (5, 6, 7));
        check_records(&bytes).unwrap();
    }

    #[test]
    fn what_only_a_broker_may_write_is_refused() {
        let refuse = |at: usize, value: &[u8]| {
            let mut bytes = sample();
            bytes[at..at + value.len()].copy_from_slice(value);
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
            check(&bytes).and_then(|_| check_records(&bytes)).unwrap_err()
        };
        assert_eq!(refuse(16, &[1]), BatchError::Magic(1));
        assert_eq!(refuse(8, &48i32.to_be_bytes()), BatchError::Length);
        assert_eq!(refuse(21, &0x20i16.to_be_bytes()), BatchError::Attributes);
        assert_eq!(refuse(21, &0x10i16.to_be_bytes()), BatchError::Attributes);
        assert_eq!(refuse(21, &0x40i16.to_be_bytes()), BatchError::Attributes);
        assert_eq!(refuse(21, &0x80i16.to_be_bytes()), BatchError::Attributes);
        assert_eq!(refuse(21, &0x08i16.to_be_bytes()), BatchError::TimestampType);
        assert_eq!(refuse(0, &1i64.to_be_bytes()), BatchError::BaseOffset);
        assert_eq!(refuse(21, &5i16.to_be_bytes()), BatchError::Codec);
        assert_eq!(refuse(57, &0i32.to_be_bytes()), BatchError::Count);
        assert_eq!(refuse(57, &i32::MAX.to_be_bytes()), BatchError::Count);
        let four = [4i32.to_be_bytes()].concat();
        let mut bytes = sample();
        bytes[23..27].copy_from_slice(&3i32.to_be_bytes());
        bytes[57..61].copy_from_slice(&four);
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        assert!(check(&bytes).is_ok());
        assert_eq!(check_records(&bytes), Err(BatchError::Record));
    }
}
