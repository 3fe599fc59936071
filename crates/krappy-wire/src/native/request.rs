//! What a client may ask.

use super::{
    Change, Commit, ForgetOffsets, Get, Head, Level, PlainRecords, PublishIf, QueueSettle, QueueTake, Scan,
    Start, Watch, code, read_bool,
};
use crate::codec::{Malformed, Reader, Writer};
use crate::frame;

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
        /// Empty: this consumer keeps its own position. Else the group that the stream becomes a member of.
        group: &'a str,
        /// One partition, or -1 for all; in a group -1, and the group shares them out.
        partition: i32,
        /// Where to begin; in a group: where the group has committed nothing.
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
    /// Changes settings of a topic.
    AlterTopic {
        /// Its name.
        topic: &'a str,
        /// In order.
        changes: Vec<Change<'a>>,
    },
    /// Adds partitions to a topic.
    AddPartitions {
        /// Its name.
        topic: &'a str,
        /// How many it shall have then.
        count: i32,
    },
    /// Moves a group.
    Commit(Commit<'a>),
    /// Forgets how far a group has come in some partitions.
    ForgetOffsets(ForgetOffsets<'a>),
    /// Lists groups by name.
    ListGroups {
        /// Only those behind this name; empty: from the first.
        after: &'a str,
        /// Most groups of the answer; 0 is no limit but the broker's.
        limit: u32,
    },
    /// Describes one group.
    DescribeGroup {
        /// Its name.
        group: &'a str,
    },
    /// Forgets a group that has no members, and how far it has come.
    DeleteGroup {
        /// Its name.
        group: &'a str,
    },
    /// A member has stopped reading what it was told to read no longer.
    Released {
        /// The number of the message that has told it so.
        number: u32,
    },
    /// Asks for the newest records of keys. Needs no registration.
    Get(Get<'a>),
    /// Asks for the newest records of a range of keys. Needs no registration.
    Scan(Scan<'a>),
    /// Makes the stream a watcher of a range of keys, which sends as long as credit lasts.
    Watch(Watch<'a>),
    /// Appends one record on a producer stream if its key is as expected.
    PublishIf(PublishIf<'a>),
    /// Takes records of a queue. The stream becomes a taker with the first of them. One at a time on a stream.
    QueueTake(QueueTake<'a>),
    /// Ends deliveries of records of a queue.
    QueueSettle(QueueSettle<'a>),
    /// Asks how a queue stands.
    QueueDescribe {
        /// The group.
        group: &'a str,
        /// The topic.
        topic: &'a str,
    },
    /// Publishes dead letters of a queue again to the topic that they came from.
    QueueRedrive {
        /// The group.
        group: &'a str,
        /// The topic that they came from.
        topic: &'a str,
        /// Most dead letters.
        most: u32,
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

impl Body<'_> {
    /// Bytes as they travel.
    pub fn size(&self) -> usize {
        match self {
            Body::Plain(records) => records.size(),
            Body::Batch(bytes) => bytes.len(),
        }
    }
}

/// Most settings of one CreateTopic or AlterTopic; more are malformed. An empty setting is 4 bytes on the wire and 32
/// in memory, so without a bound a large frame would cost many times its size.
pub const MAX_SETTINGS: u16 = 256;

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
            code::ALTER_TOPIC => {
                Request::AlterTopic { topic: r.string()?, changes: Change::read_all(&mut r)? }
            }
            code::ADD_PARTITIONS => Request::AddPartitions { topic: r.string()?, count: r.i32()? },
            code::COMMIT => Request::Commit(Commit::read(&mut r)?),
            code::FORGET_OFFSETS => Request::ForgetOffsets(ForgetOffsets::read(&mut r)?),
            code::LIST_GROUPS => Request::ListGroups { after: r.string()?, limit: r.u32()? },
            code::DESCRIBE_GROUP => Request::DescribeGroup { group: r.string()? },
            code::DELETE_GROUP => Request::DeleteGroup { group: r.string()? },
            code::RELEASED => Request::Released { number: r.u32()? },
            code::GET => Request::Get(Get::read(&mut r)?),
            code::SCAN => Request::Scan(Scan::read(&mut r)?),
            code::WATCH => Request::Watch(Watch::read(&mut r)?),
            code::PUBLISH_IF => Request::PublishIf(PublishIf::read(&mut r)?),
            code::QUEUE_TAKE => Request::QueueTake(QueueTake::read(&mut r)?),
            code::QUEUE_SETTLE => Request::QueueSettle(QueueSettle::read(&mut r)?),
            code::QUEUE_DESCRIBE => Request::QueueDescribe { group: r.string()?, topic: r.string()? },
            code::QUEUE_REDRIVE => {
                Request::QueueRedrive { group: r.string()?, topic: r.string()?, most: r.u32()? }
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
            Request::AlterTopic { .. } => code::ALTER_TOPIC,
            Request::AddPartitions { .. } => code::ADD_PARTITIONS,
            Request::Commit(_) => code::COMMIT,
            Request::ForgetOffsets(_) => code::FORGET_OFFSETS,
            Request::ListGroups { .. } => code::LIST_GROUPS,
            Request::DescribeGroup { .. } => code::DESCRIBE_GROUP,
            Request::DeleteGroup { .. } => code::DELETE_GROUP,
            Request::Released { .. } => code::RELEASED,
            Request::Get(_) => code::GET,
            Request::Scan(_) => code::SCAN,
            Request::Watch(_) => code::WATCH,
            Request::PublishIf(_) => code::PUBLISH_IF,
            Request::QueueTake(_) => code::QUEUE_TAKE,
            Request::QueueSettle(_) => code::QUEUE_SETTLE,
            Request::QueueDescribe { .. } => code::QUEUE_DESCRIBE,
            Request::QueueRedrive { .. } => code::QUEUE_REDRIVE,
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
                        records.put(out);
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
            Request::AlterTopic { topic, changes } => {
                out.put_string(topic);
                Change::put_all(changes, out);
            }
            Request::AddPartitions { topic, count } => {
                out.put_string(topic);
                out.put_i32(*count);
            }
            Request::Commit(commit) => commit.put(out),
            Request::ForgetOffsets(forget) => forget.put(out),
            Request::ListGroups { after, limit } => {
                out.put_string(after);
                out.put_u32(*limit);
            }
            Request::DescribeGroup { group } | Request::DeleteGroup { group } => out.put_string(group),
            Request::Released { number } => out.put_u32(*number),
            Request::Get(get) => get.put(out),
            Request::Scan(scan) => scan.put(out),
            Request::Watch(watch) => watch.put(out),
            Request::PublishIf(publish) => publish.put(out),
            Request::QueueTake(take) => take.put(out),
            Request::QueueSettle(settle) => settle.put(out),
            Request::QueueDescribe { group, topic } => {
                out.put_string(group);
                out.put_string(topic);
            }
            Request::QueueRedrive { group, topic, most } => {
                out.put_string(group);
                out.put_string(topic);
                out.put_u32(*most);
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
