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
/// more, but to one leader epoch: a consumer takes that of the last batch for the epoch of its position, and asks later
/// whether that epoch reached so far.
fn joined(first: &Header, second: &Header) -> Option<Header> {
    assert_eq!(first.next_offset(), second.base_offset, "batches follow on each other");
    if first.leader_epoch != second.leader_epoch {
        return None;
    }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use krappy_wire::batch::Records;

    use super::super::testing::batch;
    use super::*;
    use crate::disk::sim::SimDisk;
    use crate::disk::{Disk, Open};

    fn begin(sim: &SimDisk, base: i64) -> Rewrite {
        Rewrite::new(sim.open(Path::new("/f"), Open::Replace).unwrap(), base, 1)
    }

    /// Base offset, last offset and record count of every batch in the file; all of them are intact.
    fn batches(sim: &SimDisk) -> Vec<(i64, i64, i32)> {
        let bytes = sim.raw(Path::new("/f")).unwrap();
        let (mut at, mut found) = (0, Vec::new());
        while at < bytes.len() {
            let (header, batch) = batch::first(&bytes[at..]).unwrap();
            found.push((header.base_offset, header.last_offset(), header.record_count));
            at += batch.len();
        }
        found
    }

    fn header(base: i64, last_offset_delta: i32) -> Header {
        Header { last_offset_delta, ..Header::read(&batch(base, 1, 1_000)).unwrap() }
    }

    #[test]
    fn empty_neighbours_become_one_batch_unless_one_has_to_stay_alone() {
        let sim = SimDisk::new(1);
        let mut out = begin(&sim, 10);
        let whole = batch(10, 3, 1_000);
        out.push(&Header::read(&whole).unwrap(), &whole).unwrap();
        for (base, alone) in [(13, false), (15, false), (17, true), (19, false), (21, false)] {
            out.push_empty(&header(base, 1), alone).unwrap();
        }
        let done = out.finish().unwrap();
        assert_eq!(batches(&sim), [(10, 12, 3), (13, 16, 0), (17, 18, 0), (19, 22, 0)]);
        let entries: Vec<_> = done.entries.iter().map(|e| e.relative).collect();
        assert_eq!(entries, [0, 3, 7, 9, 13]);
        let durable = sim.raw_durable(Path::new("/f")).unwrap();
        assert_eq!(durable.len() as u32, done.entries[4].position);
    }

    #[test]
    fn no_batch_spans_more_offsets_than_its_header_can_say() {
        let sim = SimDisk::new(1);
        let mut out = begin(&sim, 0);
        out.push_empty(&header(0, i32::MAX - 1), false).unwrap();
        out.push_empty(&header(i64::from(i32::MAX), 0), false).unwrap();
        out.push_empty(&header(i64::from(i32::MAX) + 1, 0), false).unwrap();
        out.finish().unwrap();
        let most = i64::from(i32::MAX);
        assert_eq!(batches(&sim), [(0, most, 0), (most + 1, most + 1, 0)]);
    }

    #[test]
    fn a_joined_batch_is_as_young_as_its_youngest_part_and_nobodys() {
        let by = Header { producer_id: 7, producer_epoch: 1, base_sequence: 5, ..header(0, 0) };
        let second = Header { base_offset: 1, max_timestamp: 9_000, attributes: 4 | 8, ..by };
        let both = joined(&emptied(&by), &emptied(&second)).unwrap();
        assert_eq!((both.max_timestamp, both.producer_id, both.base_sequence), (9_000, -1, -1));
        let alone = emptied(&second);
        assert_eq!((alone.producer_id, alone.attributes, alone.size()), (7, 8, batch::HEADER));
    }

    #[test]
    fn empty_batches_of_different_leader_epochs_stay_apart() {
        let sim = SimDisk::new(1);
        let mut out = begin(&sim, 0);
        for (base, leader_epoch) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3)] {
            out.push_empty(&Header { leader_epoch, ..header(base, 0) }, false).unwrap();
        }
        out.finish().unwrap();
        assert_eq!(batches(&sim), [(0, 1, 0), (2, 3, 0), (4, 4, 0)]);
    }

    #[test]
    fn going_back_leaves_what_was_there_before() {
        let sim = SimDisk::new(1);
        let mut out = begin(&sim, 0);
        out.push_empty(&header(0, 4), false).unwrap();
        let place = out.place().unwrap();
        let late = batch(5, 2, 5_000);
        out.push(&Header::read(&late).unwrap(), &late).unwrap();
        out.push_empty(&header(7, 0), false).unwrap();
        out.go_back(&place).unwrap();
        let done = out.finish().unwrap();
        assert_eq!(batches(&sim), [(0, 4, 0)]);
        assert_eq!((done.entries.len(), done.entries[1].max_timestamp), (2, 1_000));
    }

    #[test]
    fn a_thinned_batch_keeps_its_span_and_what_is_left_of_its_records() {
        let whole = batch(10, 4, 1_000);
        let (header, bytes) = thinned(&whole, &[false, true, true, false], 1 << 20).unwrap();
        assert_eq!((header.base_offset, header.last_offset(), header.record_count), (10, 13, 2));
        assert_eq!((header.base_timestamp, header.max_timestamp), (1_000, 1_002));
        let (_, same) = batch::first(&bytes).unwrap();
        let left: Vec<_> = Records::new(same).unwrap().map(|r| r.unwrap()).collect();
        assert_eq!(
            left.iter().map(|r| (r.offset, r.timestamp)).collect::<Vec<_>>(),
            [(11, 1_001), (12, 1_002)]
        );
        assert_eq!(left[0].value, Some(&b"value 11"[..]));
    }
}
