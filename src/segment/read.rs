//! Reading: from an offset to checked batches in one buffer, without waiting for the device.
//!
//! ```text
//!   index entry        from             until (never crossed)
//!        v               v                v
//!   -----[batch][batch][batch][batch][batch]-----
//!        \____________________________________/  one read_cached into one pooled buffer
//!         skipped       \_______________/        what is handed out: the ends of the chunk are moved, without a copy
//! ```
//!
//! Invariant: every batch handed out has a matching checksum and the base offset that follows from the one before it
//! (the first one: from its index entry), so a batch in the wrong place is as little served as a damaged one.

use std::io;
use std::sync::Arc;

use krappy_wire::batch::{self, Header};

use super::Log;
use super::index::Entry;
use super::segment::{Backing, Between, Segment};
use crate::chunk::{Buffers, Chunk};

/// No read asks for less: it costs the same, and a typical first batch then comes with it.
const LEAST: u64 = 16 << 10;
/// What a worker brings into memory at a time.
const WARM_PIECE: usize = 1 << 20;

/// What a read found.
pub enum Read {
    /// Whole batches, back to back.
    Batches {
        /// The batches.
        chunk: Chunk,
        /// Offset after the last of them.
        next: i64,
    },
    /// Nothing between `from` and `until`.
    Empty,
    /// The bytes are not in memory: let a worker run this, then read again.
    Cold(Warm),
}

/// Why a read failed.
#[derive(Debug)]
pub enum ReadError {
    /// Below the log start offset or above the end.
    OutOfRange,
    /// The records from `first` to `last` are damaged; reads elsewhere work.
    Corrupt {
        /// First offset that cannot be read.
        first: i64,
        /// Last offset that cannot be read.
        last: i64,
    },
    /// The device failed.
    Io(io::Error),
}

/// Brings what a read needs into memory: the open file, the index, the bytes.
pub struct Warm {
    backing: Arc<Backing>,
    job: WarmJob,
}

enum WarmJob {
    Index(Entry),
    Range(u64, u64),
}

impl Warm {
    /// Runs on a worker. An error is the device's; the retried read then reports it, too.
    pub fn run(self) -> io::Result<()> {
        let file = self.backing.open_file()?;
        match self.job {
            WarmJob::Index(end) => self.backing.load_index(end).map(|_| ()),
            WarmJob::Range(mut from, to) => {
                let mut scratch = vec![0; WARM_PIECE.min((to - from) as usize)];
                while from < to {
                    let piece = scratch.len().min((to - from) as usize);
                    match file.read_at(from, &mut scratch[..piece])? {
                        0 => break,
                        n => from += n as u64,
                    }
                }
                Ok(())
            }
        }
    }
}

impl Log {
    /// Batches from the one that holds `from` up to the offset `until`, which no batch may straddle, in about
    /// `max_bytes`; the first batch comes whole even if it is larger. A read ends at the end of a segment.
    pub fn read(
        &self,
        from: i64,
        until: i64,
        max_bytes: usize,
        buffers: &mut Buffers,
    ) -> Result<Read, ReadError> {
        if from < self.start_offset() || from > self.end_offset() {
            return Err(ReadError::OutOfRange);
        }
        let until = until.min(self.end_offset());
        let segment = self.segment_at(from);
        if from.max(segment.base) >= until {
            return Ok(Read::Empty);
        }
        // In a gap between two segments the next record is the first of the later one.
        let wanted = Wanted { from: from.max(segment.base), until, max_bytes };
        match read_segment(segment, wanted, buffers) {
            Err(ReadError::Corrupt { first, last }) => {
                Err(ReadError::Corrupt { first: first.min(from), last })
            }
            other => other,
        }
    }

    /// About how many bytes lie between two offsets, at most `most`; at least 1 if there is a record. Does no I/O:
    /// within an index interval it interpolates.
    pub fn bytes_between(&self, from: i64, until: i64, most: u64) -> u64 {
        let (from, until) = (from.max(self.start_offset()), until.min(self.end_offset()));
        if from >= until {
            return 0;
        }
        let mut sum = 0;
        for segment in self.segments_from(from) {
            if segment.base >= until || sum >= most {
                break;
            }
            sum += place(segment, until).saturating_sub(place(segment, from));
        }
        sum.clamp(1, most.max(1))
    }
}

/// Roughly where an offset begins in a segment's file.
fn place(segment: &Segment, offset: i64) -> u64 {
    if offset <= segment.base {
        return 0;
    }
    if offset >= segment.end {
        return segment.size;
    }
    // Without the index in memory, take the whole segment for one interval.
    let near =
        segment.around(offset).unwrap_or_else(|| Between { at: Entry::START, next: segment.closing() });
    let (at, next) = (near.at, near.next);
    let into = (offset - segment.base) as u64 - u64::from(at.relative);
    let bytes = u64::from(next.position - at.position);
    u64::from(at.position) + bytes * into / u64::from(next.relative - at.relative).max(1)
}

#[derive(Clone, Copy)]
struct Wanted {
    from: i64,
    until: i64,
    max_bytes: usize,
}

fn read_segment(segment: &Segment, wanted: Wanted, buffers: &mut Buffers) -> Result<Read, ReadError> {
    if let Some(hole) = segment.hole_at(wanted.from) {
        return Err(ReadError::Corrupt { first: hole.first, last: hole.last });
    }
    let Some(near) = segment.around(wanted.from) else {
        let job = WarmJob::Index(segment.cold_end());
        return Ok(Read::Cold(Warm { backing: segment.backing.clone(), job }));
    };
    let at = u64::from(near.at.position);
    let limit = segment.next_hole(at).unwrap_or(segment.size);
    let exact = segment.base + i64::from(near.at.relative) == wanted.from;
    // The wanted batch begins before the next entry, so this much reaches `max_bytes` of wanted batches.
    let before = if exact { 0 } else { u64::from(near.next.position) - at };
    let mut len = (before + (wanted.max_bytes as u64).max(LEAST)).min(limit - at);
    loop {
        let warm = || {
            let job = WarmJob::Range(at, at + len);
            Ok(Read::Cold(Warm { backing: segment.backing.clone(), job }))
        };
        let Some(file) = segment.backing.file() else { return warm() };
        let mut bytes = buffers.take(len as usize);
        let filled = match file.read_cached(at, &mut bytes[..len as usize]) {
            Ok(Some(n)) => n,
            Ok(None) => {
                buffers.give(bytes);
                return warm();
            }
            Err(e) => {
                buffers.give(bytes);
                return Err(ReadError::Io(e));
            }
        };
        let cut = cut(&bytes[..filled], segment.base + i64::from(near.at.relative), wanted);
        let left = limit - at;
        match cut {
            Cut::Batches { from, to, next } => {
                return Ok(Read::Batches { chunk: Chunk::Owned { bytes, from, to }, next });
            }
            Cut::Longer(need) if need as u64 <= left && need as u64 > len => {
                buffers.give(bytes);
                len = need as u64;
            }
            Cut::Longer(_) | Cut::Damaged { .. } => {
                let (first, last) = damaged(&cut, &bytes[..filled], segment, near, wanted);
                buffers.give(bytes);
                return Err(ReadError::Corrupt { first, last });
            }
        }
    }
}

/// Which part of a buffer is handed out.
enum Cut {
    Batches {
        from: usize,
        to: usize,
        next: i64,
    },
    /// The first wanted batch needs a buffer of this length.
    Longer(usize),
    /// At this place, where a batch with this base offset should begin, is none.
    Damaged {
        at: usize,
        expected: i64,
    },
}

fn cut(bytes: &[u8], mut expected: i64, wanted: Wanted) -> Cut {
    let mut at = 0;
    // Up to the batch that holds the wanted offset, headers suffice: what they say is confirmed by that batch's offset.
    loop {
        let header = match Header::read(&bytes[at..]) {
            Err(batch::BatchError::Short) => return Cut::Longer(at + batch::HEADER),
            Ok(header) if header.base_offset == expected => header,
            _ => return Cut::Damaged { at, expected },
        };
        if at + header.size() > bytes.len() {
            return Cut::Longer(at + header.size());
        }
        if header.next_offset() > wanted.from {
            break;
        }
        at += header.size();
        expected = header.next_offset();
    }
    let from = at;
    while expected < wanted.until {
        match batch::first(&bytes[at..]) {
            Ok((header, batch)) if header.base_offset == expected => {
                if at > from && at + batch.len() - from > wanted.max_bytes {
                    break;
                }
                at += batch.len();
                expected = header.next_offset();
            }
            // Only the first batch has to come; the next read starts with the one that is cut off or damaged here.
            _ if at > from => break,
            _ => return Cut::Damaged { at, expected },
        }
    }
    Cut::Batches { from, to: at, next: expected }
}

/// The offsets that a damaged batch makes unreadable: its own if the batch behind it confirms its header, else up to
/// the next boundary that the index knows.
fn damaged(cut: &Cut, bytes: &[u8], segment: &Segment, near: Between, wanted: Wanted) -> (i64, i64) {
    let next_entry = segment.base + i64::from(near.next.relative);
    let Cut::Damaged { at, expected } = *cut else {
        return (wanted.from, next_entry.max(wanted.from + 1) - 1);
    };
    let confirmed = |h: &Header| {
        let behind = bytes.get(at + h.size()..).map(Header::read);
        matches!(behind, Some(Ok(b)) if b.base_offset == h.next_offset())
    };
    match Header::read(&bytes[at..]) {
        Ok(h) if h.base_offset == expected && h.next_offset() > wanted.from && confirmed(&h) => {
            (expected, h.last_offset())
        }
        _ => (expected, next_entry.max(wanted.from + 1) - 1),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_read_keeps_to_max_bytes_and_until() {
        let mut b = Bench::new();
        (0..9).for_each(|_| b.append(2));
        let one = b.batches[0].1.len();
        for (from, until, max_bytes, next) in [
            (0, 18, 3 * one, 6),
            (0, 18, 3 * one - 1, 4),
            (0, 18, 0, 2),
            (1, 18, one, 2),
            (0, 4, 1 << 20, 4),
            (5, 18, 2 * one, 8),
        ] {
            let (bytes, got) = b.read(from, until, max_bytes).unwrap().unwrap();
            assert_eq!(got, next, "from {from} until {until}, {max_bytes} bytes");
            assert!(bytes.len() <= max_bytes.max(one));
        }
    }

    #[test]
    fn a_first_batch_larger_than_asked_for_comes_whole() {
        let mut b = Bench::new();
        b.append(1);
        b.append(3_000);
        b.append(1);
        let large = b.batches[1].1.len();
        assert!(large as u64 > 2 * LEAST);
        for from in [1, 2, 3_000] {
            let (bytes, next) = b.read(from, b.log.end_offset(), 1).unwrap().unwrap();
            assert_eq!((bytes.len(), next), (large, 3_001), "from {from}");
        }
    }

    #[test]
    fn a_cold_read_works_after_warming() {
        let mut b = Bench::new();
        (0..60).for_each(|_| b.append(2));
        b.reopen();
        b.sim.cold(0.5);
        b.check_all();
        b.sim.cold(1.0);
        let read = b.log.read(0, 10, 100, &mut b.buffers).unwrap();
        assert!(matches!(read, Read::Cold(_)));
    }

    #[test]
    fn a_damaged_batch_fails_alone() {
        let mut b = Bench::new();
        (0..9).for_each(|_| b.append(2));
        let at: usize = b.batches[..4].iter().map(|(_, bytes)| bytes.len()).sum();
        let log = Path::new(DIR).join("00000000000000000000.log");
        b.sim.flip_bit(&log, (at as u64 + 70) * 8).unwrap();
        for from in [8, 9] {
            let Err(ReadError::Corrupt { first, last }) = b.read(from, 18, 1_000) else { panic!("served") };
            assert_eq!((first, last), (8, 9));
        }
        assert_eq!(b.read(0, 18, 1_000).unwrap().unwrap().1, 8, "up to the damage");
        assert_eq!(b.read(10, 18, 1_000).unwrap().unwrap().1, 18, "behind it");
    }

    #[test]
    fn a_device_error_is_reported_as_one() {
        let mut b = Bench::new();
        (0..9).for_each(|_| b.append(2));
        b.sim.break_range(&Path::new(DIR).join("00000000000000000000.log"), 0, 10).unwrap();
        assert!(matches!(b.read(0, 2, 1), Err(ReadError::Io(_))));
        b.append(1);
        assert!(!b.log.fenced(), "a failed read does not stop appends");
    }

    #[test]
    fn bytes_between_is_close_and_never_zero_before_a_record() {
        let mut b = Bench::new();
        (0..80).for_each(|_| b.append(2));
        let end = b.log.end_offset();
        let size = b.log.size();
        assert_eq!(b.log.bytes_between(0, end, u64::MAX), size);
        assert_eq!(b.log.bytes_between(0, end, 500), 500);
        assert_eq!(b.log.bytes_between(end, end, 500), 0);
        for from in 0..end {
            let exact: usize = b.batches.iter().filter(|(base, _)| *base >= from).map(|(_, b)| b.len()).sum();
            let about = b.log.bytes_between(from, end, u64::MAX);
            assert!(about >= 1 && about.abs_diff(exact as u64) <= 400, "from {from}: {about}, {exact}");
        }
    }
}
