//! What the broker answers.

use super::rows::Tails;
use super::{
    Assigned, GroupInfo, Groups, Head, KeyState, Level, QueuePart, Rows, Scanned, Taken, code, list,
    put_list, read_bool,
};
use crate::codec::{Malformed, Reader, Writer};
use crate::error::ErrorCode;
use crate::frame;

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
    /// Answer to Get.
    Values {
        /// In the order of the keys.
        values: Vec<KeyState<'a>>,
        /// Which part of the view answered and which filters said no, in words; empty when not asked for.
        explain: Vec<&'a str>,
    },
    /// Answer to Scan.
    Scanned(Scanned<'a>),
    /// What a watcher sends: rows of the snapshot in the order of their keys in each partition; after the snapshot of a
    /// partition every record in the order of offsets, deletions with a null value.
    Rows(Rows<'a>),
    /// A watcher has sent the snapshot of a partition.
    SnapshotEnd {
        /// The partition.
        partition: i32,
        /// The snapshot was true at this offset; what follows begins with the next. -1: the log is empty.
        offset: i64,
    },
    /// Answer to PublishIf: the key is not as expected, and nothing was appended.
    Conflict {
        /// The partition that the key belongs to.
        partition: i32,
        /// Offset of the newest record of the key, or -1 if there is none.
        offset: i64,
        /// Whether that record is a deletion.
        deleted: bool,
    },
    /// Answer to Commit and ForgetOffsets: for each item of the request the number of an [`ErrorCode`].
    Each {
        /// In the order of the request; [`ErrorCode::None`]: it went well, durably.
        errors: Vec<i16>,
    },
    /// Answer to ListGroups.
    Groups(Groups<'a>),
    /// Answer to DescribeGroup.
    Group(GroupInfo<'a>),
    /// Sent to a member of a group without being asked, with the correlation of its registration.
    Assigned(Assigned),
    /// Answer to QueueTake; without records when none came in time.
    Taken(Taken<'a>),
    /// Answer to QueueSettle: for each record, in the order of the request, an error code or
    /// [`ErrorCode::None`].
    Settled {
        /// The results.
        results: Vec<i16>,
    },
    /// Answer to QueueDescribe.
    QueueIs {
        /// In order of partition number.
        parts: Vec<QueuePart<'a>>,
    },
    /// Answer to QueueRedrive.
    Redriven {
        /// How many dead letters were published again.
        moved: u32,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
            code::VALUES => Reply::Values {
                values: list(&mut r, KeyState::read)?,
                explain: list(&mut r, |r| r.string())?,
            },
            code::SCANNED => Reply::Scanned(Scanned::read(&mut r)?),
            code::ROWS => Reply::Rows(Rows::decode(&mut r, Tails::Always)?),
            code::SNAPSHOT_END => Reply::SnapshotEnd { partition: r.i32()?, offset: r.i64()? },
            code::CONFLICT => {
                Reply::Conflict { partition: r.i32()?, offset: r.i64()?, deleted: read_bool(&mut r)? }
            }
            code::EACH => Reply::Each { errors: list(&mut r, |r| r.i16())? },
            code::GROUPS => Reply::Groups(Groups::read(&mut r)?),
            code::GROUP => Reply::Group(GroupInfo::read(&mut r)?),
            code::ASSIGNED => Reply::Assigned(Assigned::read(&mut r)?),
            code::TAKEN => Reply::Taken(Taken::decode(&mut r)?),
            code::SETTLED => Reply::Settled { results: list(&mut r, |r| r.i16())? },
            code::QUEUE_IS => Reply::QueueIs { parts: list(&mut r, QueuePart::read)? },
            code::REDRIVEN => Reply::Redriven { moved: r.u32()? },
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
            Reply::Values { .. } => code::VALUES,
            Reply::Scanned(_) => code::SCANNED,
            Reply::Rows(_) => code::ROWS,
            Reply::SnapshotEnd { .. } => code::SNAPSHOT_END,
            Reply::Conflict { .. } => code::CONFLICT,
            Reply::Each { .. } => code::EACH,
            Reply::Groups(_) => code::GROUPS,
            Reply::Group(_) => code::GROUP,
            Reply::Assigned(_) => code::ASSIGNED,
            Reply::Taken(_) => code::TAKEN,
            Reply::Settled { .. } => code::SETTLED,
            Reply::QueueIs { .. } => code::QUEUE_IS,
            Reply::Redriven { .. } => code::REDRIVEN,
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
            Reply::Values { values, explain } => {
                put_list(out, values, |out, value| value.put(out));
                put_list(out, explain, |out, line| out.put_string(line));
            }
            Reply::Scanned(page) => page.put(out),
            Reply::Rows(rows) => rows.put(out),
            Reply::SnapshotEnd { partition, offset } => {
                out.put_i32(*partition);
                out.put_i64(*offset);
            }
            Reply::Conflict { partition, offset, deleted } => {
                out.put_i32(*partition);
                out.put_i64(*offset);
                out.put_u8(u8::from(*deleted));
            }
            Reply::Each { errors } => put_list(out, errors, |out, error| out.put_i16(*error)),
            Reply::Groups(page) => page.put(out),
            Reply::Group(group) => group.put(out),
            Reply::Assigned(assigned) => assigned.put(out),
            Reply::Taken(taken) => taken.put(out),
            Reply::Settled { results } => put_list(out, results, |out, code| out.put_i16(*code)),
            Reply::QueueIs { parts } => put_list(out, parts, |out, part| part.put(out)),
            Reply::Redriven { moved } => out.put_u32(*moved),
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
