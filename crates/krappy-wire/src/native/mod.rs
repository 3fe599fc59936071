//! Every request and reply of the native language, decoded by borrowing from the frame and encoded into a `Vec`.
//! `docs/PROTOCOL.md` states the same byte by byte; a test there keeps the two together.
//!
//! Every payload begins with `stream u32 | correlation u32`. A *stream* is one producer or consumer registration on a
//! connection; the client chooses its number, so requests may follow their registration without waiting for the reply.
//! Stream 0 is the connection itself. Replies carry the correlation of their request and may overtake one another.
//!
//! Reading order: this file (codes, and what several messages share), `plain` (records one by one), `change` (of a
//! setting), `request`, `reply`, `group` (about consumer groups), then for compacted topics `rows` (records by key) and
//! `keyed` (their messages), and `queue` (single records that several take).
//!
//! Invariant: decoding allocates in proportion to the bytes given, never to a declared count.

mod change;
mod group;
mod keyed;
mod plain;
mod queue;
mod reply;
mod request;
mod rows;
#[cfg(test)]
mod tests;

pub use change::{Change, Op};
pub use group::{
    Assigned, Commit, CommitAt, ForgetOffsets, GroupInfo, GroupLine, GroupMember, GroupPosition, Groups,
    LastRead,
};
pub use keyed::{After, Get, KeyState, Newest, PublishIf, Scan, Scanned, Watch};
pub use plain::{PlainRecord, PlainRecords, PlainWriter};
pub use queue::{QueuePart, QueueSettle, QueueTake, Settle, Taken, TakenRecord, TakenWriter};
pub use reply::{
    PartitionInfo, PublishedPart, RECORDS_PART_HEAD, RecordsPart, Reply, TopicInfo, TopicSummary,
};
pub use request::{Body, MAX_SETTINGS, Request};
pub use rows::{Keys, KeysWriter, ROW_HEAD, RowRef, Rows, RowsWriter};

use crate::codec::{Malformed, Reader, Writer};

/// Version of the language spoken here.
pub const VERSION: u16 = 1;

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
    pub const ALTER_TOPIC: u16 = 0x15;
    pub const ADD_PARTITIONS: u16 = 0x16;
    // Consumer groups (0x20-0x2f); the rest is reserved.
    pub const COMMIT: u16 = 0x20;
    pub const FORGET_OFFSETS: u16 = 0x21;
    pub const LIST_GROUPS: u16 = 0x22;
    pub const DESCRIBE_GROUP: u16 = 0x23;
    pub const DELETE_GROUP: u16 = 0x24;
    pub const RELEASED: u16 = 0x25;
    // Keyed requests (0x30-0x37) and those of queues (0x38-0x3f); the rest is reserved.
    pub const GET: u16 = 0x30;
    pub const SCAN: u16 = 0x31;
    pub const WATCH: u16 = 0x32;
    pub const PUBLISH_IF: u16 = 0x33;
    pub const QUEUE_TAKE: u16 = 0x38;
    pub const QUEUE_SETTLE: u16 = 0x39;
    pub const QUEUE_DESCRIBE: u16 = 0x3a;
    pub const QUEUE_REDRIVE: u16 = 0x3b;

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
    pub const EACH: u16 = 0xa0;
    pub const GROUPS: u16 = 0xa2;
    pub const GROUP: u16 = 0xa3;
    pub const ASSIGNED: u16 = 0xa4;
    pub const ROWS: u16 = 0xb0;
    pub const SNAPSHOT_END: u16 = 0xb1;
    pub const VALUES: u16 = 0xb2;
    pub const SCANNED: u16 = 0xb3;
    pub const CONFLICT: u16 = 0xb4;
    pub const TAKEN: u16 = 0xb8;
    pub const SETTLED: u16 = 0xb9;
    pub const QUEUE_IS: u16 = 0xba;
    pub const REDRIVEN: u16 = 0xbb;
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

/// Stream and correlation, which begin every payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Which registration; 0 is the connection.
    pub stream: u32,
    /// Chosen by the client, repeated in the reply.
    pub correlation: u32,
}

impl Head {
    /// Splits a payload into its head and the rest. [`split`](crate::frame::split) has made sure that eight bytes are
    /// there.
    pub fn read(payload: &[u8]) -> Result<(Head, &[u8]), Malformed> {
        let mut r = Reader::new(payload);
        Ok((Head { stream: r.u32()?, correlation: r.u32()? }, r.rest()))
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
    /// The group's committed offset, and where there is none the log start offset (4).
    Committed,
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

fn read_bool(r: &mut Reader<'_>) -> Result<bool, Malformed> {
    match r.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed::BadValue),
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
