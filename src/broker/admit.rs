//! What a batch must be before it is appended, and what of it is written anew: the checks that a topic's settings ask
//! for, the broker's clock, another codec.
//!
//! Invariant: what comes out holds the records that came in, in their order, under a checksum that is right. A
//! compressed batch is opened only if a setting, or the view of a compacted topic, needs to see its records; what is
//! below the header of any other is the producer's word. Unless something of it must be written anew, a batch stays
//! byte for byte as it came.

use std::borrow::Cow;

use krappy_wire::batch::{self, BatchError, Header, Records};
use krappy_wire::compress;
use krappy_wire::native::PlainRecord;

use crate::api::{ErrorCode, Refusal};
use crate::config::{Compression, TopicSettings};
use crate::view;

/// What a plain record can add to a batch besides its own bytes: varints, and a header if it opens one.
const RECORD_OVERHEAD: usize = batch::HEADER + 48;

/// What the settings of a topic say about the records that are appended to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// `max.message.bytes`: largest batch, in bytes.
    pub max_message_bytes: usize,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub log_append_time: bool,
    /// `compression.type`, unless it is `producer`.
    pub codec: Option<i16>,
    before_ms: i64,
    after_ms: i64,
}

/// A batch that may be appended. Its header has no offset yet.
#[derive(Debug)]
pub struct Admitted<'b> {
    /// The header, with the checksum of what follows.
    pub header: Header,
    /// What follows it: what the client sent, or the same records packed otherwise.
    pub body: Cow<'b, [u8]>,
}

impl Rules {
    /// Those of a topic.
    pub fn new(settings: &TopicSettings) -> Self {
        let codec = match settings.compression {
            Compression::Producer => None,
            Compression::Codec(codec) => Some(codec),
        };
        Self {
            max_message_bytes: settings.max_message_bytes as usize,
            log_append_time: settings.log_append_time,
            codec,
            before_ms: settings.timestamp_before_ms,
            after_ms: settings.timestamp_after_ms,
        }
    }

    /// The first checks of a batch: size, checksum, header. Not its records.
    pub fn check(&self, bytes: &[u8]) -> Result<Header, Refusal> {
        if bytes.len() > self.max_message_bytes {
            return Err(self.too_large(bytes.len()));
        }
        batch::check(bytes).map_err(refused)
    }

    /// Checks what is in a batch whose header is good, and writes anew what the settings want otherwise. `body` follows
    /// the header; with `keyed` every record needs a key. `now` is the wall clock in milliseconds. `scratch` is for
    /// what is unpacked.
    pub fn admit<'b>(
        &self,
        mut header: Header,
        body: &'b [u8],
        keyed: bool,
        now: i64,
        scratch: &mut Vec<u8>,
    ) -> Result<Admitted<'b>, Refusal> {
        let codec = self.codec.filter(|codec| *codec != header.codec());
        let received = header;
        let mut stored = Cow::Borrowed(body);
        if header.codec() == 0 || keyed || codec.is_some() || self.looks_back() {
            let plain = compress::body(&header, body, compress::MOST, scratch).map_err(refused)?;
            header.max_timestamp = self.walk(&header, plain, keyed, now)?;
            if let Some(codec) = codec {
                header.set_codec(codec);
                stored = Cow::Owned(packed(codec, plain)?);
            }
        } else {
            self.check_time(header.max_timestamp, now)?;
        }
        if self.log_append_time {
            header.set_log_append_time(now);
        }
        if header != received {
            header = header.sealed(&stored);
        }
        match header.size() {
            size if size > self.max_message_bytes => Err(self.too_large(size)),
            _ => Ok(Admitted { header, body: stored }),
        }
    }

    /// Whether old timestamps are refused. The header tells the newest of a batch, not the oldest.
    fn looks_back(&self) -> bool {
        !self.log_append_time && self.before_ms != i64::MAX
    }

    /// Walks unpacked records: as many as the header says, with offset deltas 0, 1, 2 ... The largest timestamp.
    fn walk(&self, header: &Header, plain: &[u8], keyed: bool, now: i64) -> Result<i64, Refusal> {
        let (mut count, mut newest) = (0, i64::MIN);
        let mut wrong: Option<Refusal> = None;
        for record in Records::within(*header, plain) {
            let record = record.map_err(refused)?;
            if count == header.record_count || record.offset != header.base_offset + i64::from(count) {
                return Err(refused(BatchError::Record));
            }
            newest = newest.max(record.timestamp);
            if let Err(refusal) = self.check_record(record.key, record.timestamp, keyed, now) {
                wrong.get_or_insert(refusal).records.push(count);
            }
            count += 1;
        }
        match wrong {
            _ if count != header.record_count => Err(refused(BatchError::Record)),
            Some(refusal) => Err(refusal),
            None => Ok(newest),
        }
    }

    /// Checks a plain record. Its timestamp may be -1 for the broker's clock.
    pub fn check_plain(&self, record: &PlainRecord<'_>, keyed: bool, now: i64) -> Result<(), Refusal> {
        let size = record_size(record);
        if size > self.max_message_bytes {
            return Err(self.too_large(size));
        }
        self.check_record(record.key, record.timestamp, keyed, now)
    }

    fn check_record(&self, key: Option<&[u8]>, timestamp: i64, keyed: bool, now: i64) -> Result<(), Refusal> {
        if keyed && let Err(wrong) = view::check_key(key) {
            return Err(Refusal::new(ErrorCode::InvalidRecord, format!("a record {wrong}")));
        }
        self.check_time(timestamp, now)
    }

    /// Checks a producer's timestamp against the broker's clock; -1 is none.
    fn check_time(&self, timestamp: i64, now: i64) -> Result<(), Refusal> {
        if self.log_append_time || timestamp == -1 {
            return Ok(());
        }
        let bound = |name, ms, message| {
            Err(Refusal::new(
                ErrorCode::InvalidTimestamp,
                format!("timestamp {timestamp} is {message} {now}"),
            )
            .hint(format!("the topic has {name}={ms}, and timestamps are milliseconds since 1970")))
        };
        if self.after_ms != i64::MAX && timestamp > now.saturating_add(self.after_ms) {
            bound("message.timestamp.after.max.ms", self.after_ms, "too far ahead of the broker's clock,")
        } else if self.before_ms != i64::MAX && timestamp < now.saturating_sub(self.before_ms) {
            bound("message.timestamp.before.max.ms", self.before_ms, "too far behind the broker's clock,")
        } else {
            Ok(())
        }
    }

    fn too_large(&self, size: usize) -> Refusal {
        let limit = self.max_message_bytes;
        Refusal::new(ErrorCode::MessageTooLarge, format!("{size} bytes are above max.message.bytes={limit}"))
            .hint("send smaller batches, or raise max.message.bytes of the topic")
    }
}

/// What a record can take at the most in a batch of its own.
pub fn record_size(record: &PlainRecord<'_>) -> usize {
    let headers: usize = record.headers().map(|(n, v)| n.len() + v.map_or(0, <[u8]>::len) + 10).sum();
    RECORD_OVERHEAD + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers
}

/// The records with another codec; 0 is none.
fn packed(codec: i16, plain: &[u8]) -> Result<Vec<u8>, Refusal> {
    if codec == 0 {
        return Ok(plain.to_vec());
    }
    let mut out = Vec::new();
    compress::pack(codec, plain, &mut out).map_err(refused)?;
    Ok(out)
}

/// What Kafka calls it.
fn refused(error: BatchError) -> Refusal {
    use BatchError as E;
    let code = match error {
        E::Short | E::Length | E::Crc => ErrorCode::CorruptMessage,
        E::Codec => ErrorCode::UnsupportedCompression,
        E::TimestampType => ErrorCode::InvalidTimestamp,
        E::Magic(_)
        | E::Extra
        | E::BaseOffset
        | E::Count
        | E::Attributes
        | E::Record
        | E::Packed
        | E::Inflated => ErrorCode::InvalidRecord,
    };
    Refusal::new(code, error.to_string())
}

#[cfg(all(test, feature = "compression"))]
mod tests {
    use super::*;
    use krappy_wire::batch::Builder;

    const NOW: i64 = 1_000_000_000;
    const HOUR: i64 = 3_600_000;

    fn rules(settings: &[(&str, &str)]) -> Rules {
        let mut topic = TopicSettings::default();
        for (name, value) in settings {
            topic.set(name, value).unwrap();
        }
        Rules::new(&topic)
    }

    /// Records with these timestamps, the second one without a key, packed with `codec`.
    fn batch_of(codec: i16, timestamps: &[i64]) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut builder = Builder::open(&mut plain, timestamps[0]);
        for (i, timestamp) in timestamps.iter().enumerate() {
            let key = (i != 1).then_some(&b"key"[..]);
            builder.push(&mut plain, *timestamp, key, Some(&[b'v'; 200]), std::iter::empty());
        }
        let by = batch::ProducerSequence { producer_id: 7, epoch: 1, base_sequence: 30 };
        builder.close(&mut plain, 0, -1, Some(by));
        let mut header = Header::read(&plain).unwrap();
        header.set_codec(codec);
        let mut out = Vec::new();
        let body = packed(codec, &plain[batch::HEADER..]).unwrap();
        batch::with_records(&header, header.record_count, &body, &mut out);
        out
    }

    fn changed(bytes: &[u8], change: impl FnOnce(&mut Header)) -> Vec<u8> {
        let mut header = Header::read(bytes).unwrap();
        change(&mut header);
        let header = header.sealed(&bytes[batch::HEADER..]);
        [&header.bytes()[..], &bytes[batch::HEADER..]].concat()
    }

    /// What is stored of a batch.
    fn admit(rules: &Rules, bytes: &[u8], keyed: bool) -> Result<Vec<u8>, Refusal> {
        let header = rules.check(bytes)?;
        let admitted = rules.admit(header, &bytes[batch::HEADER..], keyed, NOW, &mut Vec::new())?;
        let stored = [&admitted.header.bytes()[..], &admitted.body].concat();
        assert_eq!(batch::first(&stored).unwrap(), (admitted.header, &stored[..]), "it is whole and intact");
        Ok(stored)
    }

    fn times(stored: &[u8]) -> Vec<i64> {
        let mut scratch = Vec::new();
        let records = compress::records(stored, compress::MOST, &mut scratch).unwrap();
        records.map(|record| record.unwrap().timestamp).collect()
    }

    fn code(result: Result<Vec<u8>, Refusal>) -> (ErrorCode, Vec<i32>) {
        let refusal = result.unwrap_err();
        (refusal.code, refusal.records)
    }

    #[test]
    fn a_good_batch_is_stored_as_it_came_whatever_its_codec() {
        for codec in [0, 1, 2, 3, 4] {
            let bytes = batch_of(codec, &[NOW, NOW - 5, -1]);
            assert_eq!(admit(&rules(&[]), &bytes, false), Ok(bytes));
        }
    }

    #[test]
    fn nothing_below_the_header_of_a_compressed_batch_is_looked_at_unless_a_setting_asks() {
        let good = batch_of(4, &[NOW, NOW]);
        let header = Header::read(&good).unwrap();
        let mut bad = Vec::new();
        batch::with_records(&header, 2, b"not zstd", &mut bad);
        assert_eq!(admit(&rules(&[]), &bad, false), Ok(bad.clone()));
        let time = admit(&rules(&[("message.timestamp.type", "LogAppendTime")]), &bad, false).unwrap();
        assert_eq!(time[batch::HEADER..], bad[batch::HEADER..]);
        let invalid = (ErrorCode::InvalidRecord, vec![]);
        assert_eq!(code(admit(&rules(&[]), &bad, true)), invalid);
        assert_eq!(code(admit(&rules(&[("compression.type", "gzip")]), &bad, false)), invalid);
        assert_eq!(code(admit(&rules(&[("message.timestamp.before.max.ms", "5")]), &bad, false)), invalid);
        assert_eq!(admit(&rules(&[("compression.type", "zstd")]), &bad, false), Ok(bad));
    }

    #[test]
    fn what_is_wrong_with_a_batch_is_called_as_kafka_calls_it() {
        let good = batch_of(0, &[NOW]);
        let rules = rules(&[("max.message.bytes", "400")]);
        let is = |bytes: &[u8], expected| assert_eq!(code(admit(&rules, bytes, false)), (expected, vec![]));
        is(&batch_of(0, &[NOW, NOW, NOW]), ErrorCode::MessageTooLarge);
        is(&[good.clone(), vec![0]].concat(), ErrorCode::InvalidRecord);
        is(&good[..good.len() - 1], ErrorCode::CorruptMessage);
        let mut flipped = good.clone();
        flipped[100] ^= 1;
        is(&flipped, ErrorCode::CorruptMessage);
        flipped[16] = 1;
        is(&flipped, ErrorCode::InvalidRecord);
        is(&changed(&good, |h| h.base_offset = 1), ErrorCode::InvalidRecord);
        is(&changed(&good, |h| h.attributes = 5), ErrorCode::UnsupportedCompression);
        is(&changed(&good, |h| h.attributes = 8), ErrorCode::InvalidTimestamp);
        is(&changed(&good, |h| h.attributes = 0x20), ErrorCode::InvalidRecord);
        is(&changed(&good, |h| h.record_count = 2), ErrorCode::InvalidRecord);
        let two = |h: &mut Header| (h.record_count, h.last_offset_delta) = (2, 1);
        is(&changed(&good, two), ErrorCode::InvalidRecord);
    }

    #[test]
    fn timestamps_have_bounds_and_each_record_outside_is_named() {
        let (soon, late, old) = (NOW + HOUR, NOW + HOUR + 1, NOW - HOUR - 1);
        let both = rules(&[("message.timestamp.before.max.ms", "1h")]);
        for codec in [0, 4] {
            let bytes = batch_of(codec, &[soon, -1, NOW - HOUR]);
            assert_eq!(admit(&both, &bytes, false), Ok(bytes));
            let wrong = code(admit(&both, &batch_of(codec, &[NOW, late, NOW, old]), false));
            assert_eq!(wrong, (ErrorCode::InvalidTimestamp, vec![1, 3]));
        }
        let default = rules(&[]);
        assert_eq!(
            code(admit(&default, &batch_of(0, &[late]), false)),
            (ErrorCode::InvalidTimestamp, vec![0])
        );
        assert_eq!(
            code(admit(&default, &batch_of(4, &[late]), false)),
            (ErrorCode::InvalidTimestamp, vec![])
        );
        let none = rules(&[("message.timestamp.after.max.ms", "unlimited")]);
        for timestamp in [late, old, i64::MAX, i64::MIN] {
            assert!(admit(&none, &batch_of(0, &[timestamp]), false).is_ok());
            let time = rules(&[("message.timestamp.type", "LogAppendTime")]);
            assert!(admit(&time, &batch_of(0, &[timestamp]), false).is_ok());
        }
    }

    #[test]
    fn a_compacted_topic_names_every_record_without_a_key() {
        for codec in [0, 1, 2, 3, 4] {
            let bytes = batch_of(codec, &[NOW]);
            assert_eq!(admit(&rules(&[]), &bytes, true), Ok(bytes));
            let wrong = code(admit(&rules(&[]), &batch_of(codec, &[NOW, NOW, NOW]), true));
            assert_eq!(wrong, (ErrorCode::InvalidRecord, vec![1]));
        }
    }

    #[test]
    fn with_the_brokers_clock_the_batch_says_so_and_its_records_stay_as_they_are() {
        let rules = rules(&[("message.timestamp.type", "LogAppendTime")]);
        for codec in [0, 1, 2, 3, 4] {
            let bytes = batch_of(codec, &[5, 6, 7]);
            let stored = admit(&rules, &bytes, false).unwrap();
            assert_eq!(stored[batch::HEADER..], bytes[batch::HEADER..]);
            let header = Header::read(&stored).unwrap();
            assert!(header.is_log_append_time());
            assert_eq!((header.codec(), header.base_timestamp, header.max_timestamp), (codec, 5, NOW));
            assert_eq!(times(&stored), [NOW; 3]);
        }
    }

    #[test]
    fn a_batch_is_packed_as_the_topic_wants_it_and_stays_its_producers() {
        let words = ["uncompressed", "gzip", "snappy", "lz4", "zstd"];
        for (wanted, word) in words.into_iter().enumerate() {
            let rules = rules(&[("compression.type", word)]);
            for codec in 0..5 {
                let bytes = batch_of(codec, &[NOW, NOW - 1, NOW + 1]);
                let stored = admit(&rules, &bytes, false).unwrap();
                assert!(stored == bytes || i64::from(codec) != wanted as i64);
                let header = Header::read(&stored).unwrap();
                assert_eq!(i64::from(header.codec()), wanted as i64);
                let producer = (header.producer_id, header.producer_epoch, header.base_sequence);
                assert_eq!((producer, header.record_count), ((7, 1, 30), 3));
                assert_eq!(times(&stored), [NOW, NOW - 1, NOW + 1]);
            }
        }
        let small = rules(&[("compression.type", "uncompressed"), ("max.message.bytes", "500")]);
        let bytes = batch_of(1, &[NOW; 9]);
        assert_eq!(code(admit(&small, &bytes, false)), (ErrorCode::MessageTooLarge, vec![]));
    }

    #[test]
    fn a_largest_timestamp_that_is_wrong_is_set_right_where_the_records_are_seen() {
        let lying = changed(&batch_of(0, &[NOW, NOW + 3, NOW]), |h| h.max_timestamp = NOW - 9);
        let stored = admit(&rules(&[]), &lying, false).unwrap();
        assert_eq!(Header::read(&stored).unwrap().max_timestamp, NOW + 3);
        let packed = changed(&batch_of(4, &[NOW, NOW + 3, NOW]), |h| h.max_timestamp = NOW - 9);
        assert_eq!(admit(&rules(&[]), &packed, false), Ok(packed));
    }
}
