//! The durable mark: a promise on disk that everything before a place in the log has been synced.
//!
//! ```text
//! slot, 512 bytes; two of them, at 0 and 512. The slot of generation g is g % 2.
//!   0 magic "KRAPPYMK"        24 position u64        (in the segment's .log file)
//!   8 generation u64          32 durable end i64     (the offset that begins at that position)
//!  16 segment i64             40 log start i64       (records below were deleted)
//!     (its base offset)       48 zeros ... 508 crc32 u32 of bytes 0..508
//! ```
//!
//! Invariants: the mark is never ahead of the truth, because it is written after the sync that it reports has returned.
//! One slot is always whole: a write goes to the older slot and is synced before the next write begins.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{Disk, Open};

/// The file's name in the partition's directory.
pub const NAME: &str = "mark";
/// Bytes of a slot: a sector, which a device writes whole or not at all.
pub const SLOT: usize = 512;
const MAGIC: &[u8; 8] = b"KRAPPYMK";
const CRC_AT: usize = SLOT - 4;
/// No log ever gets here; below it, sums of offsets do not overflow.
pub const MOST_OFFSET: i64 = 1 << 62;

/// A boundary between two batches, anywhere in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boundary {
    /// Base offset of the segment.
    pub segment: i64,
    /// Bytes from the start of its file.
    pub position: u64,
    /// The offset that begins there.
    pub offset: i64,
}

/// What a slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Counts the writes.
    pub generation: u64,
    /// Everything before it is durable.
    pub durable: Boundary,
    /// Records below it were deleted.
    pub log_start: i64,
}

impl Mark {
    /// The mark of a log that begins at `base` and is empty.
    pub fn empty(base: i64) -> Mark {
        let durable = Boundary { segment: base, position: 0, offset: base };
        Mark { generation: 0, durable, log_start: base }
    }

    /// The slot's bytes.
    pub fn encode(&self) -> [u8; SLOT] {
        let mut out = [0; SLOT];
        out[..8].copy_from_slice(MAGIC);
        out[8..16].copy_from_slice(&self.generation.to_be_bytes());
        out[16..24].copy_from_slice(&self.durable.segment.to_be_bytes());
        out[24..32].copy_from_slice(&self.durable.position.to_be_bytes());
        out[32..40].copy_from_slice(&self.durable.offset.to_be_bytes());
        out[40..48].copy_from_slice(&self.log_start.to_be_bytes());
        let crc = crc32fast::hash(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// The mark in one slot, if it is intact and makes sense.
    pub fn decode(slot: &[u8]) -> Option<Mark> {
        let slot: &[u8; SLOT] = slot.try_into().ok()?;
        let crc = u32::from_be_bytes(slot[CRC_AT..].try_into().expect("four bytes"));
        if &slot[..8] != MAGIC || crc != crc32fast::hash(&slot[..CRC_AT]) {
            return None;
        }
        let u64_at = |at: usize| u64::from_be_bytes(slot[at..at + 8].try_into().expect("eight bytes"));
        let i64_at = |at: usize| u64_at(at).cast_signed();
        let durable = Boundary { segment: i64_at(16), position: u64_at(24), offset: i64_at(32) };
        let mark = Mark { generation: u64_at(8), durable, log_start: i64_at(40) };
        let offset = 0..MOST_OFFSET;
        let sane = offset.contains(&durable.segment)
            && (durable.segment..MOST_OFFSET).contains(&durable.offset)
            && offset.contains(&mark.log_start)
            && mark.generation < u64::MAX
            && (durable.position > 0 || durable.offset == durable.segment)
            && durable.position <= u64::from(u32::MAX)
            && durable.offset - durable.segment <= i64::from(u32::MAX);
        sane.then_some(mark)
    }
}

/// The slots of a mark file, in order; `None` for a slot that is damaged or missing.
pub fn slots(bytes: &[u8]) -> [Option<Mark>; 2] {
    [bytes.get(..SLOT), bytes.get(SLOT..2 * SLOT)].map(|slot| Mark::decode(slot?))
}

/// The newest intact mark of a file.
pub fn newest(bytes: &[u8]) -> Option<Mark> {
    slots(bytes).into_iter().flatten().max_by_key(|m| m.generation)
}

/// The mark file of a log, written by whatever worker has something to report.
pub struct MarkFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Only workers take this lock: two of them may have something to report at once.
    state: Mutex<State>,
}

struct State {
    last: Mark,
    failed: bool,
}

impl MarkFile {
    /// The mark file of a partition whose newest mark is `last`.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, last: Mark) -> Self {
        Self { disk, path: dir.join(NAME), state: Mutex::new(State { last, failed: false }) }
    }

    /// Writes and syncs a mark. Neither part of it ever moves back. After an error nothing is written any more, because
    /// nobody knows what the slot holds.
    pub fn write(&self, durable: Boundary, log_start: i64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failed {
            return Err(io::Error::other("an earlier write of the durable mark failed"));
        }
        let last = &state.last;
        let mark = Mark {
            generation: last.generation + 1,
            durable: if durable.offset >= last.durable.offset { durable } else { last.durable },
            log_start: log_start.max(last.log_start),
        };
        let written = write_slot(&*self.disk, &self.path, &mark);
        match written {
            Ok(()) => state.last = mark,
            Err(_) => state.failed = true,
        }
        written
    }
}

/// The content of a mark file with one slot in use.
pub fn content(mark: &Mark) -> [u8; 2 * SLOT] {
    let mut content = [0; 2 * SLOT];
    let at = slot_position(mark);
    content[at..at + SLOT].copy_from_slice(&mark.encode());
    content
}

/// Makes the mark file anew: for a new partition, and where recovery found both slots bad. Its name is durable when the
/// caller has synced the directory.
pub fn create(disk: &dyn Disk, dir: &Path, mark: &Mark) -> io::Result<()> {
    let file = disk.open(&dir.join(NAME), Open::Replace)?;
    file.write_at(0, &[IoSlice::new(&content(mark))])?;
    file.sync()
}

fn write_slot(disk: &dyn Disk, path: &Path, mark: &Mark) -> io::Result<()> {
    let file = disk.open(path, Open::Write)?;
    file.write_at(slot_position(mark) as u64, &[IoSlice::new(&mark.encode())])?;
    file.sync()
}

fn slot_position(mark: &Mark) -> usize {
    if mark.generation.is_multiple_of(2) { 0 } else { SLOT }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::{Crash, SimDisk};

    fn mark(generation: u64, position: u64, offset: i64) -> Mark {
        Mark { generation, durable: Boundary { segment: 100, position, offset }, log_start: 42 }
    }

    #[test]
    fn a_mark_reads_back() {
        let mark = mark(7, 4_096, 250);
        assert_eq!(Mark::decode(&mark.encode()), Some(mark));
        assert_eq!(slots(&content(&mark)), [None, Some(mark)]);
    }

    #[test]
    fn every_flipped_bit_spoils_its_slot_and_the_other_one_counts() {
        let (older, newer) = (mark(6, 10, 101), mark(7, 4_096, 250));
        let good = [older.encode(), newer.encode()].concat();
        assert_eq!(newest(&good), Some(newer));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(newest(&bad), Some(if bit / 8 < SLOT { newer } else { older }), "bit {bit}");
        }
        for cut in 0..good.len() {
            assert_eq!(newest(&good[..cut]), (cut >= SLOT).then_some(older), "{cut}");
        }
    }

    #[test]
    fn nonsense_with_a_good_checksum_is_no_mark() {
        let good = mark(7, 4_096, 250);
        let durable = good.durable;
        for bad in [
            Mark { log_start: -1, ..good },
            Mark { durable: Boundary { offset: 99, ..durable }, ..good },
            Mark { durable: Boundary { segment: -1, ..durable }, ..good },
            Mark { durable: Boundary { offset: i64::MAX, ..durable }, ..good },
            Mark { durable: Boundary { position: 0, ..durable }, ..good },
            Mark { durable: Boundary { position: 1 << 32, ..durable }, ..good },
            Mark { durable: Boundary { offset: 1 << 40, ..durable }, ..good },
            Mark { generation: u64::MAX, ..good },
        ] {
            assert_eq!(Mark::decode(&bad.encode()), None, "{bad:?}");
        }
    }

    #[test]
    fn neither_part_of_a_mark_moves_back_and_a_crash_leaves_one_slot_whole() {
        for n in 1..=8 {
            let sim = SimDisk::new(n);
            let disk: Arc<dyn Disk> = Arc::new(sim.clone());
            create(&*disk, Path::new("/"), &mark(1, 10, 101)).unwrap();
            disk.sync_dir(Path::new("/")).unwrap();
            let file = MarkFile::new(disk.clone(), Path::new("/"), mark(1, 10, 101));
            sim.crash_at(n);
            let boundary = |position, offset| Boundary { segment: 100, position, offset };
            let writes = [(boundary(20, 102), 50), (boundary(15, 101), 40), (boundary(30, 103), 60)];
            let written = writes.iter().take_while(|(b, start)| file.write(*b, *start).is_ok()).count();
            sim.crash(Crash::Random(n));
            let bytes = crate::disk::read_file(&*disk, Path::new("/mark")).unwrap();
            let found = newest(&bytes).expect("one slot is whole");
            let least = [(101, 42), (102, 50), (102, 50), (103, 60)][written];
            assert!((found.durable.offset, found.log_start) >= least, "{found:?} after {written}");
        }
    }

    #[test]
    fn after_an_error_the_mark_is_not_written_again() {
        let sim = SimDisk::new(1);
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        create(&*disk, Path::new("/"), &Mark::empty(0)).unwrap();
        let file = MarkFile::new(disk, Path::new("/"), Mark::empty(0));
        sim.fail_sync(1, crate::disk::sim::Fault::Io);
        assert!(file.write(Mark::empty(0).durable, 0).is_err());
        assert!(file.write(Mark::empty(0).durable, 0).is_err(), "the disk is well again, but who knows");
    }
}
