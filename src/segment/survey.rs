//! Finding out what a segment file holds, without changing anything.
//!
//! Up to the *solid* boundary, which the durable mark or the next segment vouches for, damage is rot: the range is
//! noted as a [`Hole`] and the walk resumes behind it ([`solid`]). From there on damage is the end: the walk stops at
//! the first batch that is not whole, intact and in sequence ([`tail`]).
//!
//! ```text
//!  0                        solid                      end of file
//!  [ rot is stepped over    | a torn batch ends it     ]
//! ```
//!
//! Invariant: nothing is invented. Every boundary in the result lies before or behind a batch that is really there, or
//! is one that the mark, the index or the next segment's name vouches for.

use std::io;

use krappy_wire::batch::{self, Header};

use super::index::Entry;
use super::quarantine::Hole;
use super::segment::MOST_BYTES;
use super::walk::{Flaw, Step, Walk};
use crate::disk::File;

/// Bytes between two entries of an index that is rebuilt while serving.
const INTERVAL: u64 = 4096;
/// What the search for the next good batch reads at a time.
const SEARCH_WINDOW: usize = 1 << 20;

/// An index cannot express more offsets than this in one segment.
const MOST_OFFSETS: i64 = u32::MAX as i64;

/// What is known about the solid part of a file before it is surveyed.
pub struct Known<'a> {
    /// Base offset, from the file's name.
    pub base: i64,
    /// Up to this position damage is rot, and this offset begins there.
    pub solid: (u64, i64),
    /// Boundaries that an intact index names; only used to resume behind damage.
    pub anchors: &'a [Entry],
    /// The base offset of the next file, from which on that one counts.
    pub next_base: Option<i64>,
    /// Whether to check the checksums, too.
    pub verify: bool,
    /// Bytes between two index entries.
    pub interval: u64,
}

/// What a file holds.
#[derive(Debug)]
pub struct Survey {
    /// A fresh index, ending with the entry for the end of what is good.
    pub entries: Vec<Entry>,
    /// Damaged ranges.
    pub holes: Vec<Hole>,
    /// Where what is good ends, in bytes from the start of the file.
    pub position: u64,
    /// The offset after what is good.
    pub end: i64,
    /// Why it ends before the end of the file.
    pub stop: Option<Stop>,
    /// Good batches.
    pub batches: u64,
}

/// Why a survey ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// What follows is torn.
    Torn(Flaw),
    /// The next segment file counts from here.
    Overlap,
}

/// Surveys a file from its start to the solid boundary. An error is the device's.
pub fn solid(file: &dyn File, known: &Known<'_>) -> io::Result<Survey> {
    let mut surveyor = Surveyor::new(file, (0, known.base), known.interval);
    let most = known.base + MOST_OFFSETS;
    surveyor.solid_part(&Known { solid: (known.solid.0, known.solid.1.min(most)), ..*known })?;
    surveyor.boundary();
    Ok(surveyor.out)
}

/// Surveys a file from a boundary on, with checksums; `from` is a position and the offset that begins there. The index
/// in the result is that of a file which begins at this boundary.
pub fn tail(
    file: &dyn File,
    from: (u64, i64),
    limit: u64,
    next_base: Option<i64>,
    interval: u64,
) -> io::Result<Survey> {
    let mut surveyor = Surveyor::new(file, from, interval);
    surveyor.tail(limit.min(from.0 + MOST_BYTES), next_base)?;
    surveyor.boundary();
    Ok(surveyor.out)
}

/// The index of the first bytes of a file, rebuilt from its batches: `end` is known to be a boundary.
pub fn rebuild_index(file: &dyn File, base: i64, holes: &[Hole], end: Entry) -> io::Result<Vec<Entry>> {
    let anchors: Vec<_> = holes.iter().filter_map(|h| anchor_behind(h, base)).collect();
    let known = Known {
        base,
        solid: (u64::from(end.position), base + i64::from(end.relative)),
        anchors: &anchors,
        next_base: None,
        verify: false,
        interval: INTERVAL,
    };
    let mut entries = solid(file, &known)?.entries;
    entries.retain(|e| e.position < end.position);
    entries.push(end);
    Ok(entries)
}

fn anchor_behind(hole: &Hole, base: i64) -> Option<Entry> {
    Some(Entry {
        relative: u32::try_from(hole.last + 1 - base).ok()?,
        position: u32::try_from(hole.to).ok()?,
        max_timestamp: i64::MIN,
    })
}

struct Surveyor<'a> {
    file: &'a dyn File,
    origin: (u64, i64),
    interval: u64,
    out: Survey,
    max_timestamp: i64,
    /// The batch before: where it begins and its offset.
    last: Option<(u64, i64)>,
}

impl<'a> Surveyor<'a> {
    fn new(file: &'a dyn File, origin: (u64, i64), interval: u64) -> Self {
        let out = Survey {
            entries: vec![Entry::START],
            holes: Vec::new(),
            position: origin.0,
            end: origin.1,
            stop: None,
            batches: 0,
        };
        Self { file, origin, interval, out, max_timestamp: i64::MIN, last: None }
    }

    fn solid_part(&mut self, known: &Known<'_>) -> io::Result<()> {
        while self.out.position < known.solid.0 {
            if !self.solid_run(known)? {
                return Ok(());
            }
            self.step_over(known)?;
        }
        Ok(())
    }

    /// Walks up to the next flaw; false if there is none.
    fn solid_run(&mut self, known: &Known<'_>) -> io::Result<bool> {
        let (solid, solid_offset) = known.solid;
        let mut walk = Walk::new(self.file, self.out.position, self.out.end, solid, known.verify);
        loop {
            match walk.step()? {
                Step::Batch(header, at) if self.overlaps(&header, known.next_base) => {
                    if self.batch_at(at, header.base_offset, solid, i64::MAX)?.is_none() {
                        return Ok(true);
                    }
                    self.out.stop = Some(Stop::Overlap);
                    return Ok(false);
                }
                Step::Batch(header, _) if header.next_offset() > solid_offset => return Ok(true),
                Step::Batch(header, _) => self.good(&header),
                Step::Bad(_) => return Ok(true),
                Step::End => return Ok(self.out.end != solid_offset && self.last_is_bad()?),
            }
        }
    }

    fn tail(&mut self, limit: u64, next_base: Option<i64>) -> io::Result<()> {
        let mut walk = Walk::new(self.file, self.out.position, self.out.end, limit, true);
        loop {
            match walk.step()? {
                Step::Batch(header, _) if self.overlaps(&header, next_base) => {
                    self.out.stop = Some(Stop::Overlap);
                    return Ok(());
                }
                Step::Batch(header, _) if header.next_offset() - self.origin.1 > MOST_OFFSETS => {
                    self.out.stop = Some(Stop::Torn(Flaw::Offset(header.base_offset)));
                    return Ok(());
                }
                Step::Batch(header, _) => self.good(&header),
                Step::Bad(flaw) => {
                    self.out.stop = Some(Stop::Torn(flaw));
                    return Ok(());
                }
                Step::End => return Ok(()),
            }
        }
    }

    fn overlaps(&self, header: &Header, next_base: Option<i64>) -> bool {
        next_base.is_some_and(|next| header.next_offset() > next)
    }

    fn good(&mut self, header: &Header) {
        let since = self.out.position
            - self.origin.0
            - u64::from(self.out.entries.last().expect("never empty").position);
        if since >= self.interval {
            self.boundary();
        }
        self.last = Some((self.out.position, self.out.end));
        self.out.position += header.size() as u64;
        self.out.end = header.next_offset();
        self.out.batches += 1;
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
    }

    /// Adds the entry for where the survey stands, unless there is one.
    fn boundary(&mut self) {
        let relative = u32::try_from(self.out.end - self.origin.1);
        let position = u32::try_from(self.out.position - self.origin.0);
        let (Ok(relative), Ok(position)) = (relative, position) else { return };
        let last = self.out.entries.last().expect("never empty");
        if relative > last.relative && position > last.position {
            self.out.entries.push(Entry { relative, position, max_timestamp: self.max_timestamp });
        }
    }

    /// Notes the damage that begins here, or with the batch before if that turns out to be the bad one, and goes on
    /// behind.
    fn step_over(&mut self, known: &Known<'_>) -> io::Result<()> {
        if self.last_is_bad()?
            && let Some((at, offset)) = self.last.take()
        {
            (self.out.position, self.out.end) = (at, offset);
            self.out.batches -= 1;
            self.out.entries.retain(|e| u64::from(e.position) <= at);
        }
        self.boundary();
        let (from, first) = (self.out.position, self.out.end);
        let (to, next) = self.resume(from, first, known)?;
        if next > first {
            self.out.holes.push(Hole { segment: known.base, from, to, first, last: next - 1 });
        }
        (self.out.position, self.out.end) = (to, next);
        self.last = None;
        self.boundary();
        Ok(())
    }

    /// A flaw may be the fault of the batch before: its length or its last offset, which only its checksum tells.
    fn last_is_bad(&self) -> io::Result<bool> {
        let Some((at, offset)) = self.last else { return Ok(false) };
        let mut walk = Walk::new(self.file, at, offset, self.out.position, true);
        Ok(!matches!(walk.step()?, Step::Batch(..)))
    }

    /// The first boundary behind the damage at `from` where batches go on: position and offset.
    fn resume(&self, from: u64, first: i64, known: &Known<'_>) -> io::Result<(u64, i64)> {
        let mut to = known.solid;
        for anchor in known.anchors {
            let (at, offset) = (u64::from(anchor.position), known.base + i64::from(anchor.relative));
            let behind = at > from && offset > first && at < known.solid.0 && offset < known.solid.1;
            if behind && self.batch_at(at, offset, known.solid.0, known.solid.1)?.is_some() {
                to = (at, offset);
                break;
            }
        }
        Ok(self.search(from + 1, first, to)?.unwrap_or(to))
    }

    /// Looks for a batch between `from` and a boundary, byte by byte. A value may hold something that looks like a
    /// batch, so it counts only if what follows it agrees: another batch, or the boundary.
    fn search(&self, from: u64, first: i64, to: (u64, i64)) -> io::Result<Option<(u64, i64)>> {
        let mut window = vec![0; SEARCH_WINDOW.min(to.0.saturating_sub(from) as usize)];
        let mut at = from;
        while at + batch::HEADER as u64 <= to.0 {
            let len = window.len().min((to.0 - at) as usize);
            let n = self.file.read_at(at, &mut window[..len])?;
            if n < batch::HEADER {
                break;
            }
            for i in 0..=n - batch::HEADER {
                // The format byte rules out nearly every place at once.
                if window[i + 16] != 2 {
                    continue;
                }
                let Ok(header) = Header::read(&window[i..]) else { continue };
                let offset = header.base_offset;
                if offset <= first || header.next_offset() > to.1 {
                    continue;
                }
                if self.goes_on(at + i as u64, offset, to)? {
                    return Ok(Some((at + i as u64, offset)));
                }
            }
            at += (n - batch::HEADER + 1) as u64;
        }
        Ok(None)
    }

    fn goes_on(&self, at: u64, offset: i64, to: (u64, i64)) -> io::Result<bool> {
        let Some((end, next)) = self.batch_at(at, offset, to.0, to.1)? else { return Ok(false) };
        Ok((end, next) == to || self.batch_at(end, next, to.0, to.1)?.is_some())
    }

    /// Where the intact batch that begins here ends, if there is one.
    fn batch_at(&self, at: u64, offset: i64, limit: u64, most: i64) -> io::Result<Option<(u64, i64)>> {
        let mut walk = Walk::new(self.file, at, offset, limit, true);
        match walk.step()? {
            Step::Batch(header, _) if header.next_offset() <= most => Ok(Some((walk.position, walk.offset))),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use krappy_wire::batch::Builder;

    use super::super::testing::batch;
    use super::*;
    use crate::disk::sim::SimDisk;
    use crate::disk::{Disk, Open};

    fn file(content: &[u8]) -> Arc<dyn File> {
        let sim = SimDisk::new(1);
        sim.set_raw(Path::new("/f"), content).unwrap();
        sim.open(Path::new("/f"), Open::Read).unwrap()
    }

    fn known(solid: (u64, i64), anchors: &[Entry]) -> Known<'_> {
        Known { base: 0, solid, anchors, next_base: None, verify: true, interval: 1 }
    }

    /// Ten batches of two records; where each begins, and the end.
    fn ten() -> (Vec<u8>, Vec<u64>) {
        let mut bytes = Vec::new();
        let mut starts = vec![0];
        for i in 0..10 {
            bytes.extend_from_slice(&batch(2 * i, 2, 1_000));
            starts.push(bytes.len() as u64);
        }
        (bytes, starts)
    }

    #[test]
    fn a_good_file_gives_every_boundary() {
        let (bytes, starts) = ten();
        for survey in [
            solid(&*file(&bytes), &known((starts[10], 20), &[])).unwrap(),
            tail(&*file(&bytes), (0, 0), starts[10], None, 1).unwrap(),
        ] {
            let positions: Vec<_> = survey.entries.iter().map(|e| u64::from(e.position)).collect();
            assert_eq!((positions, survey.end, survey.batches), (starts.clone(), 20, 10));
            assert!(survey.holes.is_empty() && survey.stop.is_none());
        }
    }

    #[test]
    fn rot_is_stepped_over_with_or_without_an_index() {
        let (good, starts) = ten();
        let anchor = Entry { relative: 14, position: starts[7] as u32, max_timestamp: 0 };
        // The second record of a batch, its length field, its base offset, its last offset delta.
        for at in [90, 8, 7, 26] {
            for anchors in [&[][..], &[anchor]] {
                let mut bytes = good.clone();
                bytes[starts[4] as usize + at] ^= 1;
                let survey = solid(&*file(&bytes), &known((starts[10], 20), anchors)).unwrap();
                let hole = Hole { segment: 0, from: starts[4], to: starts[5], first: 8, last: 9 };
                assert_eq!((survey.holes, survey.end, survey.batches), (vec![hole], 20, 9), "byte {at}");
            }
        }
    }

    #[test]
    fn a_tail_ends_at_the_first_bad_batch_even_if_good_ones_follow() {
        let (mut bytes, starts) = ten();
        bytes[starts[4] as usize + 90] ^= 1;
        let survey = tail(&*file(&bytes), (starts[2], 4), starts[10], None, 1).unwrap();
        assert_eq!((survey.position, survey.end, survey.batches), (starts[4], 8, 2));
        assert_eq!(survey.stop, Some(Stop::Torn(Flaw::Batch(batch::BatchError::Crc))));
        assert_eq!(survey.entries[1].position, (starts[3] - starts[2]) as u32, "counted from where it began");
    }

    #[test]
    fn both_parts_end_where_the_next_file_begins() {
        let (bytes, starts) = ten();
        for next in [12, 13] {
            let survey = tail(&*file(&bytes), (0, 0), starts[10], Some(next), 1).unwrap();
            assert_eq!((survey.end, survey.stop), (12, Some(Stop::Overlap)));
            let known = Known { next_base: Some(next), ..known((starts[10], 20), &[]) };
            let survey = solid(&*file(&bytes), &known).unwrap();
            assert_eq!((survey.end, survey.position, survey.stop), (12, starts[6], Some(Stop::Overlap)));
        }
    }

    #[test]
    fn a_batch_inside_a_value_is_not_taken_for_what_follows_damage() {
        let mut bytes = batch(0, 1, 1_000);
        let second = bytes.len();
        let mut builder = Builder::open(&mut bytes, 0);
        let nested = batch(3, 1, 1_000);
        builder.push(&mut bytes, 0, None, Some(&nested), std::iter::empty());
        builder.push(&mut bytes, 0, None, Some(b"more"), std::iter::empty());
        builder.close(&mut bytes, 1, 0, None);
        let third = bytes.len();
        bytes.extend_from_slice(&batch(3, 1, 2_000));
        bytes.extend_from_slice(&batch(4, 1, 2_000));
        let end = bytes.len() as u64;
        bytes[third - 1] ^= 1;
        let survey = solid(&*file(&bytes), &known((end, 5), &[])).unwrap();
        let hole = Hole { segment: 0, from: second as u64, to: third as u64, first: 1, last: 2 };
        assert_eq!((survey.holes, survey.end), (vec![hole], 5));
    }
}
