//! Rows: records of a compacted topic by key, as Scan and Watch send them. Also the keys that Get asks for, which are
//! packed in the same way.
//!
//! `partition i32 | offset i64 | timestamp i64 | key bytes | tail bytes`, where the tail is value and headers exactly
//! as they stand in the record batch, see [`crate::tail`].
//!
//! Invariant: [`Rows`] and [`Keys`] were walked when they were decoded, so iterating cannot fail and allocates nothing.

use crate::codec::{Malformed, Reader, Writer};
use crate::tail::Tail;

/// Bytes of a row besides its key and its tail.
pub const ROW_HEAD: usize = 4 + 8 + 8 + 4 + 4;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowRef<'a> {
    /// The partition.
    pub partition: i32,
    /// Offset of the record.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key; a compacted topic has no records without one.
    pub key: &'a [u8],
    /// Value and headers; `None` when only keys were asked for.
    pub tail: Option<Tail<'a>>,
}

impl<'a> RowRef<'a> {
    /// The value; null is a deletion, or a row that carries its key only.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.tail.as_ref().and_then(Tail::value)
    }

    /// Headers in order: name and value. Names need not be UTF-8.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        self.tail.clone().into_iter().flat_map(|tail| tail.headers())
    }
}

/// Which rows may do without a tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tails {
    /// All have one.
    Always,
    /// It is empty when only keys were asked for.
    MayBeEmpty,
}

/// Rows of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl<'a> Rows<'a> {
    /// Walks the rows, tails included, and leaves the reader behind the last one.
    pub(super) fn decode(r: &mut Reader<'a>, tails: Tails) -> Result<Self, Malformed> {
        let count = r.u32()?;
        let mut all = r.clone();
        for _ in 0..count {
            if read_row(r)?.tail.is_none() && tails == Tails::Always {
                return Err(Malformed::BadValue);
            }
        }
        Ok(Self { count, bytes: all.take(all.remaining() - r.remaining())? })
    }

    /// Appends the count and the rows.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.count);
        self.put_bytes(out);
    }

    /// Appends the rows alone.
    pub(super) fn put_bytes(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.bytes);
    }

    /// How many rows.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the rows as they travel; what they use up of a watcher's credit.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = RowRef<'a>> + use<'a> {
        let mut r = Reader::new(self.bytes);
        (0..self.count).map(move |_| read_row(&mut r).expect("walked when it was decoded"))
    }
}

fn read_row<'a>(r: &mut Reader<'a>) -> Result<RowRef<'a>, Malformed> {
    let (partition, offset, timestamp) = (r.i32()?, r.i64()?, r.i64()?);
    let key = r.bytes()?;
    let tail = match r.bytes()? {
        b"" => None,
        bytes => Some(Tail::read(bytes)?),
    };
    if partition < 0 || offset < 0 {
        return Err(Malformed::BadValue);
    }
    Ok(RowRef { partition, offset, timestamp, key, tail })
}

/// Collects rows on the broker's side.
#[derive(Debug, Default, Clone)]
pub struct RowsWriter {
    count: u32,
    bytes: Vec<u8>,
}

impl RowsWriter {
    /// An empty one with memory for so many bytes of rows.
    pub fn with_room(bytes: usize) -> Self {
        Self { count: 0, bytes: Vec::with_capacity(bytes) }
    }

    /// The bytes of the rows.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Adds one row of `ROW_HEAD + key.len() + tail.len()` bytes. The tail comes as it was stored and is not looked at;
    /// it is empty when only keys are asked for.
    pub fn push(&mut self, partition: i32, offset: i64, timestamp: i64, key: &[u8], tail: &[u8]) {
        self.count += 1;
        self.bytes.put_i32(partition);
        self.bytes.put_i64(offset);
        self.bytes.put_i64(timestamp);
        self.bytes.put_bytes(key);
        self.bytes.put_bytes(tail);
    }

    /// The rows as a reply carries them.
    pub fn rows(&self) -> Rows<'_> {
        Rows { count: self.count, bytes: &self.bytes }
    }

    /// Bytes of the rows so far.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets the rows and keeps the memory.
    pub fn clear(&mut self) {
        self.count = 0;
        self.bytes.clear();
    }
}

/// Keys of a Get: at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl<'a> Keys<'a> {
    /// Walks everything that is left; a count of 0 is refused.
    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let count = r.u32()?;
        let bytes = r.rest();
        let mut walk = Reader::new(bytes);
        for _ in 0..count {
            walk.bytes()?;
        }
        walk.end()?;
        if count == 0 { Err(Malformed::BadValue) } else { Ok(Self { count, bytes }) }
    }

    /// Appends the count and the keys.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.count);
        out.extend_from_slice(self.bytes);
    }

    /// How many keys.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The keys in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut r = Reader::new(self.bytes);
        (0..self.count).map(move |_| r.bytes().expect("walked when it was decoded"))
    }
}

/// Collects the keys of a Get on the client's side.
#[derive(Debug, Default, Clone)]
pub struct KeysWriter {
    count: u32,
    bytes: Vec<u8>,
}

impl KeysWriter {
    /// Adds one key.
    pub fn push(&mut self, key: &[u8]) {
        self.count += 1;
        self.bytes.put_bytes(key);
    }

    /// The keys as a request carries them.
    pub fn keys(&self) -> Keys<'_> {
        Keys { count: self.count, bytes: &self.bytes }
    }
}
