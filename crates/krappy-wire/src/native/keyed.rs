//! The keyed messages of compacted topics: Get, Scan, Watch and PublishIf, and what answers them.
//!
//! Every answer says for which offset of its partition it is true: what the log holds up to and including that offset,
//! and nothing after it.

use super::rows::Tails;
use super::{Keys, Level, PlainRecords, Rows, list, put_list};
use crate::codec::{Malformed, Reader, Writer};
use crate::tail::Tail;

/// Read your own write: an answer waits until the view of a partition shows an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After {
    /// The partition that was written to; not looked at when there is no offset.
    pub partition: i32,
    /// The offset that must be shown, or -1 for no wait.
    pub offset: i64,
    /// Longest wait, milliseconds.
    pub max_wait_ms: u32,
}

impl After {
    /// No wait.
    pub const NONE: After = After { partition: -1, offset: -1, max_wait_ms: 0 };

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let after = After { partition: r.i32()?, offset: r.i64()?, max_wait_ms: r.u32()? };
        let valid = after.offset == -1 || after.offset >= 0 && after.partition >= 0;
        valid.then_some(after).ok_or(Malformed::BadValue)
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.put_i32(self.partition);
        out.put_i64(self.offset);
        out.put_u32(self.max_wait_ms);
    }
}

/// Asks for the newest records of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Get<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition of all keys, or -1 for the one each key belongs to.
    pub partition: i32,
    /// The answer is what the log said up to and including this offset, in each partition asked; -1: what is visible
    /// now.
    pub as_of: i64,
    /// What to wait for.
    pub after: After,
    /// Whether to say which part of the view answered.
    pub explain: bool,
    /// The keys.
    pub keys: Keys<'a>,
}

const EXPLAIN: u8 = 1;

impl<'a> Get<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let topic = r.string()?;
        let partition = or_minus_one_i32(r)?;
        let as_of = or_minus_one(r)?;
        let after = After::read(r)?;
        let explain = read_flags(r, EXPLAIN)? & EXPLAIN != 0;
        Ok(Get { topic, partition, as_of, after, explain, keys: Keys::decode(r)? })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_string(self.topic);
        out.put_i32(self.partition);
        out.put_i64(self.as_of);
        self.after.put(out);
        out.put_u8(flag(self.explain, EXPLAIN));
        self.keys.put(out);
    }
}

/// Asks for the newest records of a range of keys, deleted ones left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan<'a> {
    /// The topic.
    pub topic: &'a str,
    /// One partition, or -1 for all of them, merged in the order of their keys.
    pub partition: i32,
    /// From the largest key down.
    pub reverse: bool,
    /// Rows without their tails.
    pub keys_only: bool,
    /// First key of the range; empty is the start.
    pub from: &'a [u8],
    /// First key after the range; null is the end.
    pub to: Option<&'a [u8]>,
    /// Partition and offset: the answer is what those partitions said up to and including those offsets. Empty: what is
    /// visible now.
    pub as_of: Vec<(i32, i64)>,
    /// What to wait for.
    pub after: After,
    /// Most rows of the answer; 0 is no limit but the broker's.
    pub limit: u32,
    /// About the most bytes of rows in the answer; a first row that is larger comes whole.
    pub max_bytes: u32,
    /// Empty for the first page; else what the last page returned, with everything else as it was.
    pub cursor: &'a [u8],
}

const REVERSE: u8 = 1;
const KEYS_ONLY: u8 = 2;

impl<'a> Scan<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let topic = r.string()?;
        let partition = or_minus_one_i32(r)?;
        let flags = read_flags(r, REVERSE | KEYS_ONLY)?;
        Ok(Scan {
            topic,
            partition,
            reverse: flags & REVERSE != 0,
            keys_only: flags & KEYS_ONLY != 0,
            from: r.bytes()?,
            to: r.nullable_bytes()?,
            as_of: list(r, read_position)?,
            after: After::read(r)?,
            limit: r.u32()?,
            max_bytes: r.u32()?,
            cursor: r.bytes()?,
        })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_string(self.topic);
        out.put_i32(self.partition);
        out.put_u8(flag(self.reverse, REVERSE) | flag(self.keys_only, KEYS_ONLY));
        out.put_bytes(self.from);
        out.put_nullable_bytes(self.to);
        put_list(out, &self.as_of, put_position);
        self.after.put(out);
        out.put_u32(self.limit);
        out.put_u32(self.max_bytes);
        out.put_bytes(self.cursor);
    }
}

/// Makes the stream a watcher: a snapshot of a range of keys, then every change to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch<'a> {
    /// The topic.
    pub topic: &'a str,
    /// One partition, or -1 for all.
    pub partition: i32,
    /// First key of the range; empty is the start.
    pub from: &'a [u8],
    /// First key after the range; null is the end.
    pub to: Option<&'a [u8]>,
    /// Bytes of rows to begin with; Credit adds more.
    pub credit: u32,
    /// Whether the newest records come first; otherwise only what is published from now on.
    pub snapshot: bool,
}

const NO_SNAPSHOT: u8 = 1;

impl<'a> Watch<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Watch {
            topic: r.string()?,
            partition: or_minus_one_i32(r)?,
            from: r.bytes()?,
            to: r.nullable_bytes()?,
            credit: r.u32()?,
            snapshot: read_flags(r, NO_SNAPSHOT)? & NO_SNAPSHOT == 0,
        })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_string(self.topic);
        out.put_i32(self.partition);
        out.put_bytes(self.from);
        out.put_nullable_bytes(self.to);
        out.put_u32(self.credit);
        out.put_u8(flag(!self.snapshot, NO_SNAPSHOT));
    }
}

/// Appends one record if its key is as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishIf<'a> {
    /// What to wait for; never [`Level::None`], because the answer is what the request is for.
    pub acks: Level,
    /// The partition, or -1 for the one the key belongs to.
    pub partition: i32,
    /// Offset of the key's newest record; -1: the key must be absent or deleted.
    pub expected: i64,
    /// One record, with a key.
    pub record: PlainRecords<'a>,
}

impl<'a> PublishIf<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let acks = Level::from_number(r.u8()?).filter(|&l| l != Level::None).ok_or(Malformed::BadValue)?;
        let partition = or_minus_one_i32(r)?;
        let expected = or_minus_one(r)?;
        let record = PlainRecords::decode(r)?;
        if record.count() != 1 || record.iter().any(|one| one.key.is_none()) {
            return Err(Malformed::BadValue);
        }
        Ok(PublishIf { acks, partition, expected, record })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(self.acks.number());
        out.put_i32(self.partition);
        out.put_i64(self.expected);
        self.record.put(out);
    }
}

/// What is known of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState<'a> {
    /// The partition that the key belongs to.
    pub partition: i32,
    /// The answer is what the log said up to and including this offset; -1: the log is empty.
    pub true_at: i64,
    /// Its newest record.
    pub newest: Newest<'a>,
}

/// The newest record of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Newest<'a> {
    /// There is none (0).
    Absent,
    /// A record with a value (1).
    Present {
        /// Its offset.
        offset: i64,
        /// Milliseconds since 1970.
        timestamp: i64,
        /// Value and headers.
        tail: Tail<'a>,
    },
    /// A record without one (2): the key was deleted and the deletion is still remembered.
    Deleted {
        /// Its offset.
        offset: i64,
        /// Milliseconds since 1970.
        timestamp: i64,
    },
}

impl<'a> KeyState<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (partition, true_at, state) = (r.i32()?, or_minus_one(r)?, r.u8()?);
        let (offset, timestamp, tail) = (or_minus_one(r)?, r.i64()?, r.bytes()?);
        let newest = match (state, offset, timestamp, tail) {
            (0, -1, -1, b"") => Newest::Absent,
            (1, 0.., _, _) => Newest::Present { offset, timestamp, tail: Tail::read(tail)? },
            (2, 0.., _, b"") => Newest::Deleted { offset, timestamp },
            _ => return Err(Malformed::BadValue),
        };
        let without_value = matches!(&newest, Newest::Present { tail, .. } if tail.value().is_none());
        if without_value { Err(Malformed::BadValue) } else { Ok(KeyState { partition, true_at, newest }) }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let (state, offset, timestamp, tail) = match &self.newest {
            Newest::Absent => (0, -1, -1, &b""[..]),
            Newest::Present { offset, timestamp, tail } => (1, *offset, *timestamp, tail.bytes()),
            Newest::Deleted { offset, timestamp } => (2, *offset, *timestamp, &b""[..]),
        };
        out.put_i32(self.partition);
        out.put_i64(self.true_at);
        out.put_u8(state);
        out.put_i64(offset);
        out.put_i64(timestamp);
        out.put_bytes(tail);
    }
}

/// One page of a Scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned<'a> {
    /// Partition and offset: the page is what those partitions said up to and including those offsets; -1: the log is
    /// empty. All pages of a scan are true for the same offsets.
    pub true_at: Vec<(i32, i64)>,
    /// In the order of their keys, or the reverse.
    pub rows: Rows<'a>,
    /// The cursor that asks for the next page; null: this is the last one.
    pub next: Option<&'a [u8]>,
}

impl<'a> Scanned<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let true_at = list(r, read_position)?;
        Ok(Scanned { true_at, rows: Rows::decode(r, Tails::MayBeEmpty)?, next: r.nullable_bytes()? })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        self.put_head(out);
        self.rows.put_bytes(out);
        self.put_next(out);
    }

    /// What stands before the bytes of the rows, for whoever sends those without copying them.
    pub fn put_head(&self, out: &mut Vec<u8>) {
        put_list(out, &self.true_at, put_position);
        out.put_u32(self.rows.count());
    }

    /// What stands behind them.
    pub fn put_next(&self, out: &mut Vec<u8>) {
        out.put_nullable_bytes(self.next);
    }
}

fn read_position(r: &mut Reader<'_>) -> Result<(i32, i64), Malformed> {
    match (r.i32()?, or_minus_one(r)?) {
        (partition @ 0.., offset) => Ok((partition, offset)),
        _ => Err(Malformed::BadValue),
    }
}

fn put_position(out: &mut Vec<u8>, &(partition, offset): &(i32, i64)) {
    out.put_i32(partition);
    out.put_i64(offset);
}

/// An offset, or -1.
fn or_minus_one(r: &mut Reader<'_>) -> Result<i64, Malformed> {
    Some(r.i64()?).filter(|&n| n >= -1).ok_or(Malformed::BadValue)
}

/// A partition, or -1.
fn or_minus_one_i32(r: &mut Reader<'_>) -> Result<i32, Malformed> {
    Some(r.i32()?).filter(|&n| n >= -1).ok_or(Malformed::BadValue)
}

/// A byte of flags of which only `known` ones may be set.
fn read_flags(r: &mut Reader<'_>, known: u8) -> Result<u8, Malformed> {
    Some(r.u8()?).filter(|flags| flags & !known == 0).ok_or(Malformed::BadValue)
}

fn flag(on: bool, bit: u8) -> u8 {
    if on { bit } else { 0 }
}
