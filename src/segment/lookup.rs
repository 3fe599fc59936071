//! Finding the first record at or after a timestamp.
//!
//! Invariant: everything before the answer, from the log start offset on, is older than the timestamp; within a
//! compressed batch, which is not opened here, the answer is the batch.

use std::io;
use std::sync::Arc;

use krappy_wire::batch::{self, Header, Records};

use super::Log;
use super::index::{self, Entry};
use super::segment::{Backing, Segment};
use super::walk::{Step, Walk};

/// A lookup that a worker can run; it sees the log as it was when it was made.
pub struct Lookup {
    timestamp: i64,
    log_start: i64,
    parts: Vec<Part>,
}

/// A segment that may hold the answer.
struct Part {
    backing: Arc<Backing>,
    base: i64,
    size: u64,
    start: Start,
}

enum Start {
    At(Entry),
    /// The index must be loaded, up to this entry.
    Cold(Entry),
}

impl Log {
    /// The first record at or after `timestamp`, in milliseconds since 1970.
    pub fn lookup_timestamp(&self, timestamp: i64) -> Lookup {
        let parts = self.segments_from(self.start_offset()).filter(|s| s.max_timestamp >= timestamp);
        let parts = parts.map(|s| Part::new(s, timestamp)).collect();
        Lookup { timestamp, log_start: self.start_offset(), parts }
    }

    /// The first record that has the largest timestamp.
    pub fn lookup_newest(&self) -> Lookup {
        let newest = self.segments_from(self.start_offset()).map(|s| s.max_timestamp).max();
        self.lookup_timestamp(newest.unwrap_or(i64::MIN))
    }
}

impl Lookup {
    /// Offset and timestamp of the first record that is not older, if there is one. In a compressed batch: the offset
    /// of the batch (or the log start offset, if that lies in it) and the batch's max timestamp. Runs on a worker.
    pub fn run(self) -> io::Result<Option<(i64, i64)>> {
        for part in &self.parts {
            if let Some(found) = self.search(part)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn search(&self, part: &Part) -> io::Result<Option<(i64, i64)>> {
        match self.search_in(part) {
            // The file went to the cleaner while this waited for a worker. What it left over holds the answer, from its
            // start on: before this part there was none.
            Err(_) if let Some((backing, size)) = part.backing.heir() => {
                let (backing, base) = (backing.clone(), backing.base());
                self.search_in(&Part { backing, base, size: *size, start: Start::At(Entry::START) })
            }
            other => other,
        }
    }

    fn search_in(&self, part: &Part) -> io::Result<Option<(i64, i64)>> {
        let start = match part.start {
            Start::At(entry) => entry,
            Start::Cold(end) => {
                let entries = part.backing.load_index(end)?;
                entries[index::floor_timestamp(entries, self.timestamp)]
            }
        };
        let file = &**part.backing.open_file()?;
        let offset = part.base + i64::from(start.relative);
        // Damaged ranges are stepped over: what lies behind them is still the first that can be read.
        for (at, offset, limit) in part.backing.runs(u64::from(start.position), offset, part.size) {
            let mut walk = Walk::new(file, at, offset, limit, false);
            if let Some(found) = self.walk(&mut walk)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn walk(&self, walk: &mut Walk<'_>) -> io::Result<Option<(i64, i64)>> {
        loop {
            let before = (walk.position, walk.offset);
            let Step::Batch(header, _) = walk.step()? else { return Ok(None) };
            if header.max_timestamp < self.timestamp || header.last_offset() < self.log_start {
                continue;
            }
            let after = (walk.position, walk.offset);
            (walk.position, walk.offset) = before;
            let found = self.in_batch(&header, walk.batch(header.size())?);
            (walk.position, walk.offset) = after;
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    fn in_batch(&self, header: &Header, bytes: &[u8]) -> Option<(i64, i64)> {
        let (_, batch) = batch::first(bytes).ok()?;
        let whole_batch = Some((header.base_offset.max(self.log_start), header.max_timestamp));
        if header.record_count == 0 {
            return None;
        }
        if header.codec() != 0 || header.is_log_append_time() {
            return whole_batch;
        }
        let fits = |r: &batch::Record<'_>| r.timestamp >= self.timestamp && r.offset >= self.log_start;
        let found = Records::new(batch).ok()?.flatten().find(fits)?;
        Some((found.offset, found.timestamp))
    }
}

impl Part {
    fn new(segment: &Segment, timestamp: i64) -> Self {
        let start = match segment.before_timestamp(timestamp) {
            Some(entry) => Start::At(entry),
            None => Start::Cold(segment.cold_end()),
        };
        Part { backing: segment.backing.clone(), base: segment.base, size: segment.size, start }
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::super::Appended;
    use super::super::testing::*;

    #[test]
    fn every_timestamp_is_answered_with_the_first_record_that_is_not_older() {
        let mut b = Bench::new();
        for _ in 0..60 {
            // Records of a batch at wall, wall + 1, wall + 2.
            b.append(3);
            b.wall += 7;
        }
        b.sync(true);
        for reopened in [false, true] {
            if reopened {
                b.reopen();
            }
            for timestamp in 990..=b.wall {
                let record = |offset: i64| 1_000 + offset / 3 * 7 + offset % 3;
                let first = (0..180).find(|o| record(*o) >= timestamp);
                let found = b.log.lookup_timestamp(timestamp).run().unwrap();
                assert_eq!(found, first.map(|o| (o, record(o))), "{timestamp}");
            }
        }
        b.log.trim(100);
        assert_eq!(b.log.lookup_timestamp(0).run().unwrap().unwrap().0, 100, "nothing below the start");
    }

    #[test]
    fn a_compressed_batch_is_answered_as_a_whole() {
        let mut b = Bench::new();
        b.append(3);
        let mut bytes = batch(3, 4, 5_000);
        bytes[22] |= 4;
        let crc = crc32c_of(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let appended =
            Appended { base_offset: 3, last_offset: 6, size: bytes.len() as u32, max_timestamp: 5_003 };
        b.log.append(&[IoSlice::new(&bytes)], &[appended], &settings(), 0).unwrap();
        assert_eq!(b.log.lookup_timestamp(5_002).run().unwrap(), Some((3, 5_003)));
        b.log.trim(5);
        assert_eq!(b.log.lookup_timestamp(5_002).run().unwrap(), Some((5, 5_003)));
    }

    #[test]
    fn timestamps_need_not_be_in_order() {
        let mut b = Bench::new();
        for wall in [3_000, 1_000, 2_000, 9_000, 4_000, 5_000] {
            b.wall = wall;
            (0..8).for_each(|_| b.append(1));
        }
        for (timestamp, offset) in [(0, 0), (3_000, 0), (3_001, 24), (9_000, 24)] {
            let found = b.log.lookup_timestamp(timestamp).run().unwrap();
            assert_eq!(found.map(|(o, _)| o), Some(offset), "{timestamp}");
        }
        assert_eq!(b.log.lookup_timestamp(9_001).run().unwrap(), None);
    }

    /// CRC-32C, bit by bit: the wire crate keeps its own to itself.
    fn crc32c_of(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, b| {
            (0..8).fold(crc ^ u32::from(*b), |c, _| (c >> 1) ^ if c & 1 == 1 { 0x82f6_3b78 } else { 0 })
        })
    }
}
