//! The messages of queues: taking single records, ending their deliveries, looking, and putting dead letters back.
//!
//! A taken record travels as `partition i32 | offset i64 | timestamp i64 | deliveries u32 | key nullable bytes | tail
//! bytes`, where the tail is value and headers exactly as they stand in the record batch, see [`crate::tail`].
//!
//! Invariant: [`Taken`] was walked when it was decoded, so iterating cannot fail and allocates nothing.

use super::{list, put_list, read_bool};
use crate::codec::{Malformed, Reader, Writer};
use crate::tail::Tail;

/// Asks for records that nobody in the group has, waiting for them if there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueTake<'a> {
    /// The group.
    pub group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// Who takes. Empty: the stream, and what it holds is given to others when it ends. A name: whoever says it, and
    /// deliveries last as long as they were asked for, whatever becomes of the stream.
    pub name: &'a str,
    /// One partition, or -1 for all.
    pub partition: i32,
    /// Most records.
    pub most: u32,
    /// About the most bytes; a first record that is larger comes whole.
    pub max_bytes: u32,
    /// Longest wait, milliseconds.
    pub max_wait_ms: u32,
    /// How long the deliveries last, milliseconds; 0: as long as the broker is configured for.
    pub lock_ms: u32,
    /// A record is given out only when all earlier ones of its key are done.
    pub keyed: bool,
}

impl<'a> QueueTake<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let take = QueueTake {
            group: r.string()?,
            topic: r.string()?,
            name: r.string()?,
            partition: r.i32()?,
            most: r.u32()?,
            max_bytes: r.u32()?,
            max_wait_ms: r.u32()?,
            lock_ms: r.u32()?,
            keyed: read_bool(r)?,
        };
        if take.partition < -1 || take.most == 0 { Err(Malformed::BadValue) } else { Ok(take) }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_string(self.group);
        out.put_string(self.topic);
        out.put_string(self.name);
        out.put_i32(self.partition);
        out.put_u32(self.most);
        out.put_u32(self.max_bytes);
        out.put_u32(self.max_wait_ms);
        out.put_u32(self.lock_ms);
        out.put_u8(u8::from(self.keyed));
    }
}

/// Ends deliveries, all in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettle<'a> {
    /// The group.
    pub group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// Who took the records, as it was said then.
    pub name: &'a str,
    /// How.
    pub how: Settle<'a>,
    /// Partition and offset of each.
    pub records: Vec<(i32, i64)>,
}

/// How a delivery ends, or does not end yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle<'a> {
    /// The record is done (0).
    Acknowledge,
    /// Somebody shall have it again (1), after so many milliseconds.
    Release(u32),
    /// It goes to the dead letters (2), for this reason.
    Reject(&'a str),
    /// The delivery lasts for so many milliseconds from now on (3); 0: as long as the broker is configured for.
    Extend(u32),
    /// Somebody shall have it again (4), and this delivery does not count, because nobody has looked at the record.
    Return,
}

impl<'a> Settle<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match (r.u8()?, r.u32()?, r.string()?) {
            (0, 0, "") => Settle::Acknowledge,
            (1, ms, "") => Settle::Release(ms),
            (2, 0, reason) => Settle::Reject(reason),
            (3, ms, "") => Settle::Extend(ms),
            (4, 0, "") => Settle::Return,
            _ => return Err(Malformed::BadValue),
        })
    }

    fn put(self, out: &mut Vec<u8>) {
        let (kind, ms, reason) = match self {
            Settle::Acknowledge => (0, 0, ""),
            Settle::Release(ms) => (1, ms, ""),
            Settle::Reject(reason) => (2, 0, reason),
            Settle::Extend(ms) => (3, ms, ""),
            Settle::Return => (4, 0, ""),
        };
        out.put_u8(kind);
        out.put_u32(ms);
        out.put_string(reason);
    }
}

impl<'a> QueueSettle<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(QueueSettle {
            group: r.string()?,
            topic: r.string()?,
            name: r.string()?,
            how: Settle::read(r)?,
            records: list(r, |r| Ok((r.i32()?, r.i64()?)))?,
        })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_string(self.group);
        out.put_string(self.topic);
        out.put_string(self.name);
        self.how.put(out);
        put_list(out, &self.records, |out, (partition, offset)| {
            out.put_i32(*partition);
            out.put_i64(*offset);
        });
    }
}

/// A queue in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueuePart<'a> {
    /// The partition.
    pub partition: i32,
    /// The first record that is not done.
    pub start: i64,
    /// The first record that was never given to anybody.
    pub next: i64,
    /// End of what readers may see.
    pub high_watermark: i64,
    /// Records that takers hold.
    pub held: u32,
    /// Records that were open before and may be taken again.
    pub available: u32,
    /// Records that may be taken again later.
    pub delayed: u32,
    /// Records on their way to the dead letters.
    pub dying: u32,
    /// Offsets that are done above the first record that is not.
    pub done_above_start: u64,
    /// Records that went to the dead letters, ever.
    pub dead: u64,
    /// Records that retention, compaction or damage took before they were done, ever.
    pub lost: u64,
    /// Records that are not done, as far as offsets tell.
    pub lag: u64,
    /// Whose delivery has gone on for longest; empty: nobody's.
    pub oldest_holder: &'a str,
    /// For how long it has gone on, milliseconds.
    pub oldest_ms: u64,
}

impl<'a> QueuePart<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(QueuePart {
            partition: r.i32()?,
            start: r.i64()?,
            next: r.i64()?,
            high_watermark: r.i64()?,
            held: r.u32()?,
            available: r.u32()?,
            delayed: r.u32()?,
            dying: r.u32()?,
            done_above_start: r.u64()?,
            dead: r.u64()?,
            lost: r.u64()?,
            lag: r.u64()?,
            oldest_holder: r.string()?,
            oldest_ms: r.u64()?,
        })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_i32(self.partition);
        out.put_i64(self.start);
        out.put_i64(self.next);
        out.put_i64(self.high_watermark);
        out.put_u32(self.held);
        out.put_u32(self.available);
        out.put_u32(self.delayed);
        out.put_u32(self.dying);
        out.put_u64(self.done_above_start);
        out.put_u64(self.dead);
        out.put_u64(self.lost);
        out.put_u64(self.lag);
        out.put_string(self.oldest_holder);
        out.put_u64(self.oldest_ms);
    }
}

/// One taken record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenRecord<'a> {
    /// The partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// How often it was given out, this time among them.
    pub deliveries: u32,
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// Value and headers.
    pub tail: Tail<'a>,
}

/// Taken records as they travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl<'a> Taken<'a> {
    /// Walks the records, tails included, and leaves the reader behind the last one.
    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let count = r.u32()?;
        let mut all = r.clone();
        for _ in 0..count {
            read_taken(r)?;
        }
        Ok(Self { count, bytes: all.take(all.remaining() - r.remaining())? })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.count);
        out.extend_from_slice(self.bytes);
    }

    /// How many records.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The records in order.
    pub fn iter(&self) -> impl Iterator<Item = TakenRecord<'a>> + use<'a> {
        let mut r = Reader::new(self.bytes);
        (0..self.count).map(move |_| read_taken(&mut r).expect("walked when it was decoded"))
    }
}

fn read_taken<'a>(r: &mut Reader<'a>) -> Result<TakenRecord<'a>, Malformed> {
    let (partition, offset, timestamp, deliveries) = (r.i32()?, r.i64()?, r.i64()?, r.u32()?);
    let (key, tail) = (r.nullable_bytes()?, Tail::read(r.bytes()?)?);
    if partition < 0 || offset < 0 {
        return Err(Malformed::BadValue);
    }
    Ok(TakenRecord { partition, offset, timestamp, deliveries, key, tail })
}

/// Collects taken records on the broker's side.
#[derive(Debug, Default, Clone)]
pub struct TakenWriter {
    count: u32,
    bytes: Vec<u8>,
}

impl TakenWriter {
    /// Adds one record; its tail comes as it stands in a batch that was walked.
    pub fn push(
        &mut self,
        (partition, offset): (i32, i64),
        timestamp: i64,
        deliveries: u32,
        key: Option<&[u8]>,
        tail: &[u8],
    ) {
        self.count += 1;
        self.bytes.put_i32(partition);
        self.bytes.put_i64(offset);
        self.bytes.put_i64(timestamp);
        self.bytes.put_u32(deliveries);
        self.bytes.put_nullable_bytes(key);
        self.bytes.put_bytes(tail);
    }

    /// The records as a reply carries them.
    pub fn records(&self) -> Taken<'_> {
        Taken { count: self.count, bytes: &self.bytes }
    }

    /// Bytes so far.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}
