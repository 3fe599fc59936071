//! Writing a cleaned segment: batches that stay, batches that lose records, and empty ones in place of what is gone.
//!
//! ```text
//!  before  [ 10..12 ][ 13..13 ][ 14..19 ][ 20..22 ]
//!  after   [ 10..12 ][ 13..19, no records ][ 20..22, one record left ]
//! ```
//!
//! Invariant: the batches of the file follow on each other without a gap, as those of every segment do: a batch keeps
//! the offsets that it spans whatever it loses. So no reader has to know that a segment was cleaned, except that it may
//! meet fewer records than offsets.

use std::io::{self, IoSlice};
use std::sync::Arc;

use krappy_wire::batch::{self, BatchError, Header};
use krappy_wire::compress;

use super::index::Entry;
use super::segment::MOST_BYTES;
use crate::disk::File;

/// What is gathered before it is written.
const GATHER: usize = 256 << 10;
/// Attribute bit 3, the only one that says something about a batch without records.
const TIMESTAMP_TYPE: i16 = 0x08;

/// A segment file that is being written, and its index.
pub struct Rewrite {
    file: Arc<dyn File>,
    base: i64,
    interval: u64,
    /// Bytes in the file.
    written: u64,
    gathered: Vec<u8>,
    /// The offset after the last batch, the pending one not counted.
    end: i64,
    entries: Vec<Entry>,
    max_timestamp: i64,
    /// An empty batch that the next one may join.
    pending: Option<Header>,
}

/// What was written.
pub struct Rewritten {
    /// The file, synced.
    pub file: Arc<dyn File>,
    /// Its index, which ends with the entry for the end.
    pub entries: Vec<Entry>,
}

/// A boundary to go back to.
pub struct Place {
    position: u64,
    end: i64,
    entries: usize,
    max_timestamp: i64,
}

impl Rewrite {
    /// `file` is empty; its first batch will begin at the offset `base`. `interval`: bytes between two index entries.
    pub fn new(file: Arc<dyn File>, base: i64, interval: u32) -> Self {
        Self {
            file,
            base,
            interval: u64::from(interval),
            written: 0,
            gathered: Vec::new(),
            end: base,
            entries: vec![Entry::START],
            max_timestamp: i64::MIN,
            pending: None,
        }
    }

    /// Bytes so far.
    pub fn position(&self) -> u64 {
        self.written + self.gathered.len() as u64
    }

    /// Adds a batch as it is.
    pub fn push(&mut self, header: &Header, batch: &[u8]) -> io::Result<()> {
        self.settle()?;
        self.append(header, batch)
    }

    /// Adds a batch without records in place of this one. With `alone` it keeps its own header, else it may be joined
    /// with its neighbours.
    pub fn push_empty(&mut self, header: &Header, alone: bool) -> io::Result<()> {
        let empty = emptied(header);
        let both = self.pending.as_ref().filter(|_| !alone).and_then(|pending| joined(pending, &empty));
        if both.is_none() {
            self.settle()?;
        }
        self.pending = Some(both.unwrap_or(empty));
        if alone { self.settle() } else { Ok(()) }
    }

    /// Writes the empty batch that was still waiting for others. Called between two segments, so that each boundary
    /// between the old segments stays one between batches.
    pub fn settle(&mut self) -> io::Result<()> {
        match self.pending.take() {
            Some(empty) => self.write_empty(&empty),
            None => Ok(()),
        }
    }

    /// Where it stands.
    pub fn place(&mut self) -> io::Result<Place> {
        self.settle()?;
        Ok(Place {
            position: self.position(),
            end: self.end,
            entries: self.entries.len(),
            max_timestamp: self.max_timestamp,
        })
    }

    /// Takes back everything behind a place.
    pub fn go_back(&mut self, place: &Place) -> io::Result<()> {
        self.pending = None;
        self.flush()?;
        self.file.truncate(place.position)?;
        self.written = place.position;
        self.end = place.end;
        self.entries.truncate(place.entries);
        self.max_timestamp = place.max_timestamp;
        Ok(())
    }

    /// Writes what is left and makes it durable.
    pub fn finish(mut self) -> io::Result<Rewritten> {
        self.settle()?;
        self.flush()?;
        self.file.sync()?;
        self.boundary();
        Ok(Rewritten { file: self.file, entries: self.entries })
    }

    fn write_empty(&mut self, header: &Header) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(batch::HEADER);
        batch::with_records(header, 0, &[], &mut bytes);
        self.append(header, &bytes)
    }

    fn append(&mut self, header: &Header, batch: &[u8]) -> io::Result<()> {
        assert_eq!(header.base_offset, self.end, "batches follow on each other");
        if self.position() + batch.len() as u64 > MOST_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a cleaned segment grew past 4 GiB"));
        }
        let last = self.entries.last().expect("never empty");
        if self.position() - u64::from(last.position) >= self.interval {
            self.boundary();
        }
        self.gathered.extend_from_slice(batch);
        self.end = header.next_offset();
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        if self.gathered.len() >= GATHER { self.flush() } else { Ok(()) }
    }

    /// Adds the index entry for where it stands, unless it is there.
    fn boundary(&mut self) {
        let entry = Entry {
            relative: u32::try_from(self.end - self.base).expect("a group spans less"),
            position: u32::try_from(self.position()).expect("bounded at each append"),
            max_timestamp: self.max_timestamp,
        };
        if entry.position > self.entries.last().expect("never empty").position {
            self.entries.push(entry);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.gathered.is_empty() {
            self.file.write_at(self.written, &[IoSlice::new(&self.gathered)])?;
            self.written += self.gathered.len() as u64;
            self.gathered.clear();
        }
        Ok(())
    }
}

/// A batch with those of its records whose flag is set, packed with its own codec.
pub fn thinned(bytes: &[u8], kept: &[bool], cap: usize) -> Result<(Header, Vec<u8>), BatchError> {
    let mut header = Header::read(bytes)?;
    let (mut scratch, mut body) = (Vec::new(), Vec::new());
    let (mut count, mut newest) = (0, i64::MIN);
    for (record, _) in compress::records(bytes, cap, &mut scratch)?.zip(kept).filter(|(_, kept)| **kept) {
        let record = record?;
        body.extend_from_slice(record.encoded);
        newest = newest.max(record.timestamp);
        count += 1;
    }
    if !header.is_log_append_time() {
        header.max_timestamp = newest;
    }
    let mut packed = Vec::new();
    if header.codec() != 0 {
        compress::pack(header.codec(), &body, &mut packed)?;
        body = packed;
    }
    let mut out = Vec::with_capacity(batch::HEADER + body.len());
    batch::with_records(&header, count, &body, &mut out);
    Ok((Header::read(&out)?, out))
}

/// The header of a batch that has lost all its records.
fn emptied(header: &Header) -> Header {
    Header {
        attributes: header.attributes & TIMESTAMP_TYPE,
        record_count: 0,
        batch_length: (batch::HEADER - batch::PREFIX) as i32,
        ..*header
    }
}

/// One empty batch in place of two neighbours, if their offsets can be expressed so. It belongs to no producer any
/// more.
fn joined(first: &Header, second: &Header) -> Option<Header> {
    assert_eq!(first.next_offset(), second.base_offset, "batches follow on each other");
    let delta = i32::try_from(second.last_offset() - first.base_offset).ok()?;
    Some(Header {
        last_offset_delta: delta,
        max_timestamp: first.max_timestamp.max(second.max_timestamp),
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        ..*first
    })
}
