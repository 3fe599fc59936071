//! Every request and reply of the native language, decoded by borrowing from the frame and encoded into a `Vec`.
//! `docs/PROTOCOL.md` states the same byte by byte; a test there keeps the two together.
//!
//! Every payload begins with `stream u32 | correlation u32`. A *stream* is one producer or consumer registration on a
//! connection; the client chooses its number, so requests may follow their registration without waiting for the reply.
//! Stream 0 is the connection itself. Replies carry the correlation of their request and may overtake one another.
//!
//! Invariant: decoding allocates in proportion to the bytes given, never to a declared count.

use crate::codec::{Malformed, Reader, Writer};
use crate::error::ErrorCode;
use crate::frame;

/// Version of the language spoken here.
pub const VERSION: u16 = 1;
/// Most settings of one CreateTopic; more are malformed. An empty setting is 4 bytes on the wire and 32 in memory, so
/// without a bound a large frame would cost many times its size.
pub const MAX_SETTINGS: u16 = 256;

/// Codes of requests (below 0x80) and replies (0x80 and above): the lower half of the frame type.
pub mod code {
    #![allow(missing_docs)]
    pub const HELLO: u16 = 0x01;
    pub const REGISTER_PRODUCER: u16 = 0x02;
    pub const PUBLISH: u16 = 0x03;
    pub const REGISTER_CONSUMER: u16 = 0x04;
    pub const POLL: u16 = 0x05;
    pub const SUBSCRIBE: u16 = 0x06;
    pub const CREDIT: u16 = 0x07;
    pub const CLOSE_STREAM: u16 = 0x08;
    pub const PING: u16 = 0x09;
    pub const STATUS: u16 = 0x0a;
    pub const CREATE_TOPIC: u16 = 0x10;
    pub const LIST_TOPICS: u16 = 0x11;
    pub const DESCRIBE_TOPIC: u16 = 0x12;
    pub const DELETE_TOPIC: u16 = 0x13;
    pub const DELETE_RECORDS: u16 = 0x14;
    /// Reserved: group offsets (0x20-0x2f).
    pub const COMMIT: u16 = 0x20;
    /// Reserved: keyed requests (0x30-0x3f).
    pub const GET: u16 = 0x30;
    pub const SCAN: u16 = 0x31;
    pub const WATCH: u16 = 0x32;

    pub const HELLO_OK: u16 = 0x81;
    pub const PRODUCER_REGISTERED: u16 = 0x82;
    pub const PUBLISHED: u16 = 0x83;
    pub const CONSUMER_REGISTERED: u16 = 0x84;
    pub const RECORDS: u16 = 0x85;
    pub const ACK: u16 = 0x88;
    pub const PONG: u16 = 0x89;
    pub const STATUS_IS: u16 = 0x8a;
    pub const TOPIC: u16 = 0x90;
    pub const TOPICS: u16 = 0x91;
    pub const TRIMMED: u16 = 0x94;
    /// Reserved: rows of keyed replies and the end of a snapshot.
    pub const ROW: u16 = 0xb0;
    pub const SNAPSHOT_END: u16 = 0xb1;
    pub const GO_AWAY: u16 = 0xfe;
    pub const ERROR: u16 = 0xff;
}

/// What an acknowledgement means; in a request, what the client wants to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing is promised and nothing is answered (`acks=0`).
    None,
    /// The batch has its offset and is in the segment file (`acks=1`).
    Appended,
    /// An fdatasync that started after the append has returned (`acks=all`).
    Durable,
}

impl Level {
    /// 0, 1, or 0xff for durable.
    pub fn number(self) -> u8 {
        match self {
            Level::None => 0,
            Level::Appended => 1,
            Level::Durable => 0xff,
        }
    }

    /// The reverse of [`Level::number`].
    pub fn from_number(n: u8) -> Option<Self> {
        [Level::None, Level::Appended, Level::Durable].into_iter().find(|l| l.number() == n)
    }
}

/// Where a consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The log start offset (0).
    Earliest,
    /// The high watermark (1): records published from now on.
    Latest,
    /// This offset (2).
    Offset(i64),
    /// The first record whose timestamp is at or after this, in milliseconds since 1970 (3).
    Timestamp(i64),
    /// The group's committed offset (4). Reserved.
    Committed,
}

/// A request, borrowed from its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'a> {
    /// Optional greeting; the answer tells the limits.
    Hello {
        /// Version that the client speaks; the broker answers `UNSUPPORTED_VERSION` to another one and closes.
        version: u16,
        /// Who it is, for logs.
        client: &'a str,
    },
    /// Makes the stream a producer of one topic, creating the topic if that is switched on.
    RegisterProducer {
        /// The topic.
        topic: &'a str,
        /// Whether a producer id is wanted, for batches that may be retried without being doubled.
        idempotent: bool,
    },
    /// Appends records on a producer stream.
    Publish {
        /// What to wait for.
        acks: Level,
        /// The partition, or -1 for the one each key belongs to. -1 with a prepared batch is malformed, and so is
        /// anything below -1.
        partition: i32,
        /// What to append.
        body: Body<'a>,
    },
    /// Makes the stream a consumer of one topic.
    RegisterConsumer {
        /// The topic.
        topic: &'a str,
        /// Empty: this consumer keeps its own position. Other names are reserved for groups.
        group: &'a str,
        /// One partition, or -1 for all.
        partition: i32,
        /// Where to begin.
        start: Start,
    },
    /// Asks for records, waiting up to `max_wait_ms` for at least `min_bytes`. One at a time on a stream.
    Poll {
        /// Longest wait, milliseconds.
        max_wait_ms: u32,
        /// Answer as soon as this much is there.
        min_bytes: u32,
        /// Answer with about this much at the most; a first batch that is larger comes whole.
        max_bytes: u32,
    },
    /// Has records sent as they come, as long as credit lasts. A Records reply uses up as many bytes as its batches.
    Subscribe {
        /// Bytes to begin with.
        credit: u32,
    },
    /// Adds credit to a subscription. Not answered.
    Credit {
        /// Bytes to add.
        bytes: u32,
    },
    /// Ends the stream; what it had asked for and not got is dropped.
    CloseStream,
    /// Answered at once.
    Ping,
    /// Asks for counters and gauges.
    Status,
    /// Creates a topic.
    CreateTopic {
        /// Its name, by Kafka's rules.
        topic: &'a str,
        /// How many partitions, or -1 for the broker's default.
        partitions: i32,
        /// Topic settings by Kafka's names.
        settings: Vec<(&'a str, &'a str)>,
    },
    /// Lists the topics.
    ListTopics,
    /// Describes one topic.
    DescribeTopic {
        /// Its name.
        topic: &'a str,
    },
    /// Deletes a topic and its data.
    DeleteTopic {
        /// Its name.
        topic: &'a str,
    },
    /// Moves a partition's log start offset up, so that what is below can be deleted.
    DeleteRecords {
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: i32,
        /// The new log start offset; -1 is the high watermark.
        offset: i64,
    },
}

/// What a Publish appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body<'a> {
    /// Records one by one (format 0); the broker makes the batch.
    Plain(PlainRecords<'a>),
    /// One record batch v2 as the client made it (format 1); stored as it came.
    Batch(&'a [u8]),
}

/// Records of a plain Publish. Its content was walked when it was decoded, so iterating cannot fail.
///
/// `count u32 | { timestamp i64 (-1: the broker's clock) | key nullable bytes | value nullable bytes |
/// headers u16 { name string | value nullable bytes } }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainRecords<'a> {
    count: u32,
    bytes: &'a [u8],
}

/// One record of a plain Publish.
#[derive(Debug, Clone)]
pub struct PlainRecord<'a> {
    /// Milliseconds since 1970, or -1 for the broker's clock.
    pub timestamp: i64,
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// The value, or null.
    pub value: Option<&'a [u8]>,
    header_count: u16,
    headers: Reader<'a>,
}

impl<'a> PlainRecord<'a> {
    /// Headers in order: name and value.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone + use<'a> {
        let reader = self.headers.clone();
        (0..self.header_count).scan(reader, |r, _| read_plain_header(r).ok())
    }
}

fn read_plain_header<'a>(r: &mut Reader<'a>) -> Result<(&'a [u8], Option<&'a [u8]>), Malformed> {
    Ok((r.string()?.as_bytes(), r.nullable_bytes()?))
}

fn read_plain_record<'a>(r: &mut Reader<'a>) -> Result<PlainRecord<'a>, Malformed> {
    let timestamp = r.i64()?;
    let key = r.nullable_bytes()?;
    let value = r.nullable_bytes()?;
    let header_count = r.u16()?;
    let headers = r.clone();
    for _ in 0..header_count {
        read_plain_header(r)?;
    }
    Ok(PlainRecord { timestamp, key, value, header_count, headers })
}

impl<'a> PlainRecords<'a> {
    /// Walks `bytes` once; a count of 0 is refused.
    fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let count = r.u32()?;
        let bytes = r.rest();
        let mut walk = Reader::new(bytes);
        for _ in 0..count {
            let record = read_plain_record(&mut walk)?;
            if record.timestamp < -1 {
                return Err(Malformed::BadValue);
            }
        }
        walk.end()?;
        if count == 0 { Err(Malformed::BadValue) } else { Ok(Self { count, bytes }) }
    }

    /// How many records.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the records as they came.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The records in order.
    pub fn iter(&self) -> impl Iterator<Item = PlainRecord<'a>> + use<'a> {
        let mut r = Reader::new(self.bytes);
        (0..self.count).map(move |_| read_plain_record(&mut r).expect("walked when it was decoded"))
    }
}

/// Collects the records of a plain Publish on the client's side.
#[derive(Debug, Default, Clone)]
pub struct PlainWriter {
    count: u32,
    bytes: Vec<u8>,
}

impl PlainWriter {
    /// Adds one record. `timestamp` -1 asks for the broker's clock.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        self.count += 1;
        self.bytes.put_i64(timestamp);
        self.bytes.put_nullable_bytes(key);
        self.bytes.put_nullable_bytes(value);
        self.bytes.put_u16(u16::try_from(headers.len()).expect("a record has at most 65,535 headers"));
        for (name, value) in headers {
            self.bytes.put_string(name);
            self.bytes.put_nullable_bytes(*value);
        }
    }

    /// The records as a request carries them.
    pub fn records(&self) -> PlainRecords<'_> {
        PlainRecords { count: self.count, bytes: &self.bytes }
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.count = 0;
        self.bytes.clear();
    }
}

/// Stream and correlation, which begin every payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Which registration; 0 is the connection.
    pub stream: u32,
    /// Chosen by the client, repeated in the reply.
    pub correlation: u32,
}

impl Head {
    /// Splits a payload into its head and the rest. [`frame::split`] has made sure that eight bytes are there.
    pub fn read(payload: &[u8]) -> Result<(Head, &[u8]), Malformed> {
        let mut r = Reader::new(payload);
        Ok((Head { stream: r.u32()?, correlation: r.u32()? }, r.rest()))
    }
}

fn read_bool(r: &mut Reader<'_>) -> Result<bool, Malformed> {
    match r.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed::BadValue),
    }
}

impl Start {
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = r.u8()?;
        let value = r.i64()?;
        Ok(match kind {
            0 => Start::Earliest,
            1 => Start::Latest,
            2 => Start::Offset(value),
            3 => Start::Timestamp(value),
            4 => Start::Committed,
            _ => return Err(Malformed::BadValue),
        })
    }

    fn put(self, out: &mut Vec<u8>) {
        let (kind, value) = match self {
            Start::Earliest => (0, 0),
            Start::Latest => (1, 0),
            Start::Offset(o) => (2, o),
            Start::Timestamp(t) => (3, t),
            Start::Committed => (4, 0),
        };
        out.put_u8(kind);
        out.put_i64(value);
    }
}

impl<'a> Request<'a> {
    /// Decodes the body of a request frame. `Ok(None)`: no request has this code.
    pub fn decode(code: u16, body: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let mut r = Reader::new(body);
        let request = match code {
            code::HELLO => Request::Hello { version: r.u16()?, client: r.string()? },
            code::REGISTER_PRODUCER => {
                Request::RegisterProducer { topic: r.string()?, idempotent: read_bool(&mut r)? }
            }
            code::PUBLISH => {
                let acks = Level::from_number(r.u8()?).ok_or(Malformed::BadValue)?;
                let partition = r.i32()?;
                let body = match r.u8()? {
                    0 if partition >= -1 => Body::Plain(PlainRecords::decode(&mut r)?),
                    1 if partition >= 0 => Body::Batch(r.rest()),
                    _ => return Err(Malformed::BadValue),
                };
                Request::Publish { acks, partition, body }
            }
            code::REGISTER_CONSUMER => Request::RegisterConsumer {
                topic: r.string()?,
                group: r.string()?,
                partition: r.i32()?,
                start: Start::read(&mut r)?,
            },
            code::POLL => Request::Poll { max_wait_ms: r.u32()?, min_bytes: r.u32()?, max_bytes: r.u32()? },
            code::SUBSCRIBE => Request::Subscribe { credit: r.u32()? },
            code::CREDIT => Request::Credit { bytes: r.u32()? },
            code::CLOSE_STREAM => Request::CloseStream,
            code::PING => Request::Ping,
            code::STATUS => Request::Status,
            code::CREATE_TOPIC => {
                let topic = r.string()?;
                let partitions = r.i32()?;
                let count = r.u16()?;
                if count > MAX_SETTINGS {
                    return Err(Malformed::BadValue);
                }
                let mut settings = Vec::new();
                for _ in 0..count {
                    settings.push((r.string()?, r.string()?));
                }
                Request::CreateTopic { topic, partitions, settings }
            }
            code::LIST_TOPICS => Request::ListTopics,
            code::DESCRIBE_TOPIC => Request::DescribeTopic { topic: r.string()? },
            code::DELETE_TOPIC => Request::DeleteTopic { topic: r.string()? },
            code::DELETE_RECORDS => {
                Request::DeleteRecords { topic: r.string()?, partition: r.i32()?, offset: r.i64()? }
            }
            _ => return Ok(None),
        };
        r.end()?;
        Ok(Some(request))
    }

    /// The code of this request.
    pub fn code(&self) -> u16 {
        match self {
            Request::Hello { .. } => code::HELLO,
            Request::RegisterProducer { .. } => code::REGISTER_PRODUCER,
            Request::Publish { .. } => code::PUBLISH,
            Request::RegisterConsumer { .. } => code::REGISTER_CONSUMER,
            Request::Poll { .. } => code::POLL,
            Request::Subscribe { .. } => code::SUBSCRIBE,
            Request::Credit { .. } => code::CREDIT,
            Request::CloseStream => code::CLOSE_STREAM,
            Request::Ping => code::PING,
            Request::Status => code::STATUS,
            Request::CreateTopic { .. } => code::CREATE_TOPIC,
            Request::ListTopics => code::LIST_TOPICS,
            Request::DescribeTopic { .. } => code::DESCRIBE_TOPIC,
            Request::DeleteTopic { .. } => code::DELETE_TOPIC,
            Request::DeleteRecords { .. } => code::DELETE_RECORDS,
        }
    }

    /// Appends the whole frame.
    pub fn encode(&self, head: Head, out: &mut Vec<u8>) {
        frame::write(out, self.code(), |out| {
            out.put_u32(head.stream);
            out.put_u32(head.correlation);
            self.encode_body(out);
        });
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Request::Hello { version, client } => {
                out.put_u16(*version);
                out.put_string(client);
            }
            Request::RegisterProducer { topic, idempotent } => {
                out.put_string(topic);
                out.put_u8(u8::from(*idempotent));
            }
            Request::Publish { acks, partition, body } => {
                out.put_u8(acks.number());
                out.put_i32(*partition);
                match body {
                    Body::Plain(records) => {
                        out.put_u8(0);
                        out.put_u32(records.count);
                        out.extend_from_slice(records.bytes);
                    }
                    Body::Batch(batch) => {
                        out.put_u8(1);
                        out.extend_from_slice(batch);
                    }
                }
            }
            Request::RegisterConsumer { topic, group, partition, start } => {
                out.put_string(topic);
                out.put_string(group);
                out.put_i32(*partition);
                start.put(out);
            }
            Request::Poll { max_wait_ms, min_bytes, max_bytes } => {
                out.put_u32(*max_wait_ms);
                out.put_u32(*min_bytes);
                out.put_u32(*max_bytes);
            }
            Request::Subscribe { credit } => out.put_u32(*credit),
            Request::Credit { bytes } => out.put_u32(*bytes),
            Request::CloseStream | Request::Ping | Request::Status | Request::ListTopics => {}
            Request::CreateTopic { topic, partitions, settings } => {
                out.put_string(topic);
                out.put_i32(*partitions);
                put_pairs(out, settings);
            }
            Request::DescribeTopic { topic } | Request::DeleteTopic { topic } => out.put_string(topic),
            Request::DeleteRecords { topic, partition, offset } => {
                out.put_string(topic);
                out.put_i32(*partition);
                out.put_i64(*offset);
            }
        }
    }
}

fn put_pairs(out: &mut Vec<u8>, pairs: &[(&str, &str)]) {
    out.put_u16(u16::try_from(pairs.len()).expect("at most 65,535 settings"));
    for (key, value) in pairs {
        out.put_string(key);
        out.put_string(value);
    }
}

/// A reply, borrowed from its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<'a> {
    /// Answer to Hello.
    HelloOk {
        /// Version spoken.
        version: u16,
        /// Version of the broker's software.
        software: &'a str,
        /// Name of the data folder's contents, for ever.
        cluster_id: &'a str,
        /// Largest size field accepted, bytes.
        max_frame: u32,
        /// Requests that may be unanswered at a time before the broker stops reading; polls are not counted.
        max_in_flight: u32,
        /// Streams that may be registered at a time.
        max_streams: u32,
    },
    /// Answer to RegisterProducer.
    ProducerRegistered {
        /// Partitions of the topic.
        partitions: u32,
        /// Id for idempotent batches, or -1 when none was asked for.
        producer_id: i64,
        /// Its epoch, or -1.
        producer_epoch: i16,
        /// Largest batch that the topic takes, bytes.
        max_message_bytes: u32,
    },
    /// Answer to Publish.
    Published {
        /// The level that was reached, which may be higher than asked for.
        level: Level,
        /// Where the records went: partition, offset of the first, count; in order of first use.
        parts: Vec<PublishedPart>,
    },
    /// Answer to RegisterConsumer.
    ConsumerRegistered {
        /// Name of the member in its group; empty without a group.
        member: &'a str,
        /// Partition and position, for each partition consumed.
        positions: Vec<(i32, i64)>,
    },
    /// Answer to Poll, and what a subscription sends.
    Records {
        /// One entry for each partition that has something to say.
        parts: Vec<RecordsPart<'a>>,
    },
    /// Done; nothing to add.
    Ack,
    /// Answer to Ping.
    Pong,
    /// Answer to Status: name and value.
    StatusIs {
        /// In the order of the broker's table.
        values: Vec<(&'a str, i64)>,
    },
    /// Answer to CreateTopic and DescribeTopic.
    Topic(TopicInfo<'a>),
    /// Answer to ListTopics.
    Topics {
        /// Sorted by name.
        topics: Vec<TopicSummary<'a>>,
    },
    /// Answer to DeleteRecords.
    Trimmed {
        /// The log start offset now.
        log_start: i64,
    },
    /// The broker is stopping: it finishes what it has read and closes. On stream 0, correlation 0.
    GoAway {
        /// Why.
        message: &'a str,
    },
    /// The request was refused.
    Error {
        /// Number of an [`ErrorCode`].
        code: i16,
        /// What is wrong.
        message: &'a str,
        /// What to do about it.
        hint: &'a str,
    },
}

/// Where the records of one Publish went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedPart {
    /// The partition.
    pub partition: i32,
    /// Offset of the first record.
    pub base_offset: i64,
    /// Number of records.
    pub count: u32,
}

/// Records of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordsPart<'a> {
    /// The partition.
    pub partition: i32,
    /// [`ErrorCode::None`], or why there are no records.
    pub error: i16,
    /// The position that was asked for. The first batch may begin below it: skip records with smaller offsets.
    pub position: i64,
    /// The position after these records.
    pub next: i64,
    /// End of what readers may see.
    pub high_watermark: i64,
    /// First offset that still exists.
    pub log_start: i64,
    /// Whole record batches, back to back.
    pub batches: &'a [u8],
}

/// Bytes of a [`RecordsPart`] before its batches.
pub const RECORDS_PART_HEAD: usize = 4 + 2 + 8 * 4 + 4;

impl RecordsPart<'_> {
    /// Writes everything but the batches; `size` is how many bytes of batches will follow.
    pub fn put_head(&self, out: &mut Vec<u8>, size: usize) {
        out.put_i32(self.partition);
        out.put_i16(self.error);
        out.put_i64(self.position);
        out.put_i64(self.next);
        out.put_i64(self.high_watermark);
        out.put_i64(self.log_start);
        out.put_u32(u32::try_from(size).expect("a reply is smaller than 4 GiB"));
    }
}

/// A topic in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSummary<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many partitions.
    pub partitions: u32,
    /// Offsets between log start and high watermark, all partitions.
    pub records: u64,
    /// Bytes in segment files, all partitions.
    pub bytes: u64,
}

/// A topic in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its id, 16 bytes, as in Kafka.
    pub id: [u8; 16],
    /// In order of partition number.
    pub partitions: Vec<PartitionInfo>,
    /// Setting, value, and where the value came from: `topic` or `default`.
    pub settings: Vec<(&'a str, &'a str, &'a str)>,
}

/// A partition of a described topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionInfo {
    /// First offset that still exists.
    pub log_start: i64,
    /// End of what readers may see.
    pub high_watermark: i64,
    /// End of what was appended.
    pub log_end: i64,
    /// Bytes in segment files.
    pub bytes: u64,
    /// Number of segment files.
    pub segments: u32,
    /// Whether a disk fault has stopped writes.
    pub fenced: bool,
}

impl<'a> Reply<'a> {
    /// Decodes the body of a reply frame. `Ok(None)`: no reply has this code.
    pub fn decode(code: u16, body: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let mut r = Reader::new(body);
        let reply = match code {
            code::HELLO_OK => Reply::HelloOk {
                version: r.u16()?,
                software: r.string()?,
                cluster_id: r.string()?,
                max_frame: r.u32()?,
                max_in_flight: r.u32()?,
                max_streams: r.u32()?,
            },
            code::PRODUCER_REGISTERED => Reply::ProducerRegistered {
                partitions: r.u32()?,
                producer_id: r.i64()?,
                producer_epoch: r.i16()?,
                max_message_bytes: r.u32()?,
            },
            code::PUBLISHED => Reply::Published {
                level: Level::from_number(r.u8()?).ok_or(Malformed::BadValue)?,
                parts: list(&mut r, |r| {
                    Ok(PublishedPart { partition: r.i32()?, base_offset: r.i64()?, count: r.u32()? })
                })?,
            },
            code::CONSUMER_REGISTERED => Reply::ConsumerRegistered {
                member: r.string()?,
                positions: list(&mut r, |r| Ok((r.i32()?, r.i64()?)))?,
            },
            code::RECORDS => Reply::Records {
                parts: list(&mut r, |r| {
                    Ok(RecordsPart {
                        partition: r.i32()?,
                        error: r.i16()?,
                        position: r.i64()?,
                        next: r.i64()?,
                        high_watermark: r.i64()?,
                        log_start: r.i64()?,
                        batches: r.bytes()?,
                    })
                })?,
            },
            code::ACK => Reply::Ack,
            code::PONG => Reply::Pong,
            code::STATUS_IS => Reply::StatusIs { values: list(&mut r, |r| Ok((r.string()?, r.i64()?)))? },
            code::TOPIC => Reply::Topic(TopicInfo {
                name: r.string()?,
                id: r.take(16)?.try_into().expect("16 bytes"),
                partitions: list(&mut r, |r| {
                    Ok(PartitionInfo {
                        log_start: r.i64()?,
                        high_watermark: r.i64()?,
                        log_end: r.i64()?,
                        bytes: r.u64()?,
                        segments: r.u32()?,
                        fenced: read_bool(r)?,
                    })
                })?,
                settings: list(&mut r, |r| Ok((r.string()?, r.string()?, r.string()?)))?,
            }),
            code::TOPICS => Reply::Topics {
                topics: list(&mut r, |r| {
                    Ok(TopicSummary {
                        name: r.string()?,
                        partitions: r.u32()?,
                        records: r.u64()?,
                        bytes: r.u64()?,
                    })
                })?,
            },
            code::TRIMMED => Reply::Trimmed { log_start: r.i64()? },
            code::GO_AWAY => Reply::GoAway { message: r.string()? },
            code::ERROR => Reply::Error { code: r.i16()?, message: r.string()?, hint: r.string()? },
            _ => return Ok(None),
        };
        r.end()?;
        Ok(Some(reply))
    }

    /// The code of this reply.
    pub fn code(&self) -> u16 {
        match self {
            Reply::HelloOk { .. } => code::HELLO_OK,
            Reply::ProducerRegistered { .. } => code::PRODUCER_REGISTERED,
            Reply::Published { .. } => code::PUBLISHED,
            Reply::ConsumerRegistered { .. } => code::CONSUMER_REGISTERED,
            Reply::Records { .. } => code::RECORDS,
            Reply::Ack => code::ACK,
            Reply::Pong => code::PONG,
            Reply::StatusIs { .. } => code::STATUS_IS,
            Reply::Topic(_) => code::TOPIC,
            Reply::Topics { .. } => code::TOPICS,
            Reply::Trimmed { .. } => code::TRIMMED,
            Reply::GoAway { .. } => code::GO_AWAY,
            Reply::Error { .. } => code::ERROR,
        }
    }

    /// Appends the whole frame. The broker sends Records through [`RecordsPart::put_head`] instead, so that batches are
    /// not copied.
    pub fn encode(&self, head: Head, out: &mut Vec<u8>) {
        frame::write(out, self.code(), |out| {
            out.put_u32(head.stream);
            out.put_u32(head.correlation);
            self.encode_body(out);
        });
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Reply::HelloOk { version, software, cluster_id, max_frame, max_in_flight, max_streams } => {
                out.put_u16(*version);
                out.put_string(software);
                out.put_string(cluster_id);
                out.put_u32(*max_frame);
                out.put_u32(*max_in_flight);
                out.put_u32(*max_streams);
            }
            Reply::ProducerRegistered { partitions, producer_id, producer_epoch, max_message_bytes } => {
                out.put_u32(*partitions);
                out.put_i64(*producer_id);
                out.put_i16(*producer_epoch);
                out.put_u32(*max_message_bytes);
            }
            Reply::Published { level, parts } => {
                out.put_u8(level.number());
                put_list(out, parts, |out, p| {
                    out.put_i32(p.partition);
                    out.put_i64(p.base_offset);
                    out.put_u32(p.count);
                });
            }
            Reply::ConsumerRegistered { member, positions } => {
                out.put_string(member);
                put_list(out, positions, |out, (partition, offset)| {
                    out.put_i32(*partition);
                    out.put_i64(*offset);
                });
            }
            Reply::Records { parts } => put_list(out, parts, |out, p| {
                p.put_head(out, p.batches.len());
                out.extend_from_slice(p.batches);
            }),
            Reply::Ack | Reply::Pong => {}
            Reply::StatusIs { values } => put_list(out, values, |out, (name, value)| {
                out.put_string(name);
                out.put_i64(*value);
            }),
            Reply::Topic(t) => {
                out.put_string(t.name);
                out.extend_from_slice(&t.id);
                put_list(out, &t.partitions, |out, p| {
                    out.put_i64(p.log_start);
                    out.put_i64(p.high_watermark);
                    out.put_i64(p.log_end);
                    out.put_u64(p.bytes);
                    out.put_u32(p.segments);
                    out.put_u8(u8::from(p.fenced));
                });
                put_list(out, &t.settings, |out, (key, value, source)| {
                    out.put_string(key);
                    out.put_string(value);
                    out.put_string(source);
                });
            }
            Reply::Topics { topics } => put_list(out, topics, |out, t| {
                out.put_string(t.name);
                out.put_u32(t.partitions);
                out.put_u64(t.records);
                out.put_u64(t.bytes);
            }),
            Reply::Trimmed { log_start } => out.put_i64(*log_start),
            Reply::GoAway { message } => out.put_string(message),
            Reply::Error { code, message, hint } => {
                out.put_i16(*code);
                out.put_string(message);
                out.put_string(hint);
            }
        }
    }

    /// An error reply for `code`.
    pub fn error(code: ErrorCode, message: &'a str, hint: &'a str) -> Self {
        Reply::Error { code: code.number(), message, hint }
    }
}

fn list<'a, T>(
    r: &mut Reader<'a>,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let mut items = Vec::new();
    for _ in 0..r.u32()? {
        items.push(item(r)?);
    }
    Ok(items)
}

fn put_list<T>(out: &mut Vec<u8>, items: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    out.put_u32(u32::try_from(items.len()).expect("a list has fewer than 4 G items"));
    for item in items {
        put(out, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Split, split};

    const HEAD: Head = Head { stream: 7, correlation: 9 };

    fn plain() -> PlainWriter {
        let mut w = PlainWriter::default();
        w.push(-1, Some(b"key"), Some(b"value"), &[("h", None), ("i", Some(b"x"))]);
        w.push(5, None, None, &[]);
        w
    }

    fn requests(w: &PlainWriter) -> Vec<Request<'_>> {
        vec![
            Request::Hello { version: 1, client: "me" },
            Request::RegisterProducer { topic: "t", idempotent: true },
            Request::Publish { acks: Level::Durable, partition: -1, body: Body::Plain(w.records()) },
            Request::Publish { acks: Level::None, partition: 3, body: Body::Batch(b"batch") },
            Request::RegisterConsumer { topic: "t", group: "", partition: -1, start: Start::Timestamp(5) },
            Request::Poll { max_wait_ms: 1, min_bytes: 2, max_bytes: 3 },
            Request::Subscribe { credit: 4 },
            Request::Credit { bytes: 5 },
            Request::CloseStream,
            Request::Ping,
            Request::Status,
            Request::CreateTopic { topic: "t", partitions: 3, settings: vec![("a", "b")] },
            Request::ListTopics,
            Request::DescribeTopic { topic: "t" },
            Request::DeleteTopic { topic: "t" },
            Request::DeleteRecords { topic: "t", partition: 1, offset: -1 },
        ]
    }

    fn replies() -> Vec<Reply<'static>> {
        let part = RecordsPart {
            partition: 1,
            error: 0,
            position: 2,
            next: 3,
            high_watermark: 4,
            log_start: 0,
            batches: b"abc",
        };
        let partition = PartitionInfo {
            log_start: 1,
            high_watermark: 2,
            log_end: 3,
            bytes: 4,
            segments: 5,
            fenced: true,
        };
        vec![
            Reply::HelloOk {
                version: 1,
                software: "s",
                cluster_id: "c",
                max_frame: 1,
                max_in_flight: 2,
                max_streams: 3,
            },
            Reply::ProducerRegistered {
                partitions: 1,
                producer_id: 2,
                producer_epoch: 3,
                max_message_bytes: 4,
            },
            Reply::Published {
                level: Level::Appended,
                parts: vec![PublishedPart { partition: 0, base_offset: 1, count: 2 }],
            },
            Reply::ConsumerRegistered { member: "g_0", positions: vec![(0, 5), (1, 6)] },
            Reply::Records { parts: vec![part] },
            Reply::Ack,
            Reply::Pong,
            Reply::StatusIs { values: vec![("up", 1), ("down", -1)] },
            Reply::Topic(TopicInfo {
                name: "t",
                id: [9; 16],
                partitions: vec![partition],
                settings: vec![("a", "b", "topic")],
            }),
            Reply::Topics { topics: vec![TopicSummary { name: "t", partitions: 1, records: 2, bytes: 3 }] },
            Reply::Trimmed { log_start: 4 },
            Reply::GoAway { message: "bye" },
            Reply::Error { code: 3, message: "m", hint: "h" },
        ]
    }

    fn body(frame: &[u8]) -> (u16, &[u8]) {
        let Split::Whole { code, payload, consumed } = split(frame, 1 << 20).unwrap() else {
            panic!("partial")
        };
        assert_eq!(consumed, frame.len());
        let (head, body) = Head::read(payload).unwrap();
        assert_eq!(head, HEAD);
        (code, body)
    }

    #[test]
    fn every_request_round_trips_and_no_truncation_or_extension_does() {
        let w = plain();
        for request in requests(&w) {
            let mut frame = Vec::new();
            request.encode(HEAD, &mut frame);
            let (code, bytes) = body(&frame);
            assert_eq!(Request::decode(code, bytes), Ok(Some(request.clone())));
            // A prepared batch is whatever is left, so its end is the batch's own business.
            if matches!(request, Request::Publish { body: Body::Batch(_), .. }) {
                continue;
            }
            for cut in 0..bytes.len() {
                assert!(Request::decode(code, &bytes[..cut]).is_err(), "{request:?} cut at {cut}");
            }
            let long = [bytes, b"x"].concat();
            assert!(Request::decode(code, &long).is_err(), "{request:?} with a byte more");
        }
    }

    #[test]
    fn every_reply_round_trips() {
        for reply in replies() {
            let mut frame = Vec::new();
            reply.encode(HEAD, &mut frame);
            let (code, bytes) = body(&frame);
            assert_eq!(Reply::decode(code, bytes), Ok(Some(reply.clone())));
            for cut in 0..bytes.len() {
                assert!(Reply::decode(code, &bytes[..cut]).is_err(), "{reply:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn plain_records_come_back_in_order() {
        let w = plain();
        let records: Vec<_> = w.records().iter().collect();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].headers().count(), 2);
        assert_eq!(records[0].headers().nth(1), Some((&b"i"[..], Some(&b"x"[..]))));
        assert_eq!((records[1].timestamp, records[1].key), (5, None));
    }

    #[test]
    fn a_topic_takes_a_bounded_number_of_settings() {
        let decode = |count| {
            let request = Request::CreateTopic { topic: "t", partitions: 1, settings: vec![("", ""); count] };
            let mut frame = Vec::new();
            request.encode(HEAD, &mut frame);
            Request::decode(code::CREATE_TOPIC, body(&frame).1).map(|_| ())
        };
        assert_eq!(decode(usize::from(MAX_SETTINGS)), Ok(()));
        assert_eq!(decode(usize::from(MAX_SETTINGS) + 1), Err(Malformed::BadValue));
    }

    #[test]
    fn undefined_values_are_malformed() {
        let bad = |code, bytes: &[u8]| Request::decode(code, bytes).unwrap_err();
        assert_eq!(bad(code::PUBLISH, &[2, 0, 0, 0, 0, 1, 9]), Malformed::BadValue);
        assert_eq!(bad(code::PUBLISH, &[1, 0xff, 0xff, 0xff, 0xff, 1, 9]), Malformed::BadValue);
        assert_eq!(bad(code::PUBLISH, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Malformed::BadValue);
        assert_eq!(bad(code::PUBLISH, &[1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), Malformed::Short);
        assert_eq!(bad(code::REGISTER_PRODUCER, &[0, 1, b't', 2]), Malformed::BadValue);
        assert_eq!(Request::decode(0x7777, &[]), Ok(None));
    }
}
