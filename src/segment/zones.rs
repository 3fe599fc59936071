//! Sorting out the files of a log that was not stopped cleanly: what is kept of each.
//!
//! Invariant: a file is below the mark, across it, or above it, and the three functions of these names hold all that is
//! decided about it. Bytes that are cut lie in a side file first, or are the same in a newer file.

use std::collections::VecDeque;
use std::io;

use super::index::{self, Entry};
use super::names::{index_name, log_name};
use super::recover::{Kept, Opening};
use super::survey::{self, Known, Stop, Survey};
use super::torn;
use super::walk::{Step, Walk};
use crate::disk::{File, Open};

impl Opening<'_> {
    /// Decides for each file in order what of it is kept.
    pub(super) fn sort_out(&mut self) -> io::Result<()> {
        let mut files = VecDeque::from(std::mem::take(&mut self.found.segments));
        while let Some((base, len)) = files.pop_front() {
            match base.cmp(&self.mark.durable.segment) {
                std::cmp::Ordering::Less => self.below(base, len, &mut files)?,
                std::cmp::Ordering::Equal => self.across(base, len, &mut files)?,
                std::cmp::Ordering::Greater => self.above(base, len, &mut files)?,
            }
        }
        Ok(())
    }

    /// A file that was wholly durable: its index says what it holds, or else a survey that steps over rot.
    fn below(&mut self, base: i64, len: u64, later: &mut VecDeque<(i64, u64)>) -> io::Result<()> {
        let next = later.front().map_or(i64::MAX, |(base, _)| *base);
        if let Some(kept) = self.trusted(base, len)?.filter(|k| k.end() <= next) {
            self.keep(kept);
            return Ok(());
        }
        self.report.rebuilt_indexes += 1;
        let file = self.open(base)?;
        let survey = self.solid(&*file, base, len, None, later)?;
        if survey.stop == Some(Stop::Overlap) {
            self.drop_overlap(base, &*file, survey.position, len, later)?;
        }
        self.keep_surveyed(base, &survey);
        // Bytes behind the last offset that this file can hold.
        self.cut(base, self.kept.last().expect("just kept").boundary().position)
    }

    /// The file that the mark points into.
    fn across(&mut self, base: i64, len: u64, later: &mut VecDeque<(i64, u64)>) -> io::Result<()> {
        let durable = self.mark.durable;
        if self.report.clean {
            if let Some(kept) = self.trusted(base, len)?.filter(|k| k.end() == durable.offset) {
                self.keep(kept);
                return Ok(());
            }
            self.report.rebuilt_indexes += 1;
        }
        let file = self.open(base)?;
        let position = durable.position.min(len);
        let solid = self.solid(&*file, base, position, Some(durable.offset), later)?;
        if solid.stop == Some(Stop::Overlap) {
            self.keep_surveyed(base, &solid);
            return self.drop_overlap(base, &*file, solid.position, len, later);
        }
        if len == position {
            // An earlier recovery may have cut the file here and died before that was durable.
            file.sync()?;
            self.keep_surveyed(base, &solid);
            return Ok(());
        }
        let tail = self.tail(&*file, base, (position, durable.offset), len, later)?;
        self.expected = tail.end;
        if position == 0 {
            return self.replace(base, &*file, &tail);
        }
        if tail.position > position {
            self.copy_forward(&log_name(durable.offset), &*file, position, tail.position)?;
        }
        file.truncate(position)?;
        file.sync()?;
        self.keep_surveyed(base, &solid);
        if tail.position > position {
            self.keep_surveyed(durable.offset, &tail);
        }
        Ok(())
    }

    /// A file that nothing vouches for: whole batches in sequence are kept, if it follows on what was kept before.
    fn above(&mut self, base: i64, len: u64, later: &mut VecDeque<(i64, u64)>) -> io::Result<()> {
        if base != self.expected {
            return self.set_aside(base, len);
        }
        let file = self.open(base)?;
        let tail = self.tail(&*file, base, (0, base), len, later)?;
        self.expected = tail.end;
        self.replace(base, &*file, &tail)
    }

    /// Replaces a file that holds only tail by a durable copy of what is good of it.
    fn replace(&mut self, base: i64, file: &dyn File, tail: &Survey) -> io::Result<()> {
        if tail.position > 0 {
            self.copy_forward(&log_name(base), file, 0, tail.position)?;
        } else {
            file.truncate(0)?;
            file.sync()?;
        }
        self.keep_surveyed(base, tail);
        Ok(())
    }

    fn copy_forward(&mut self, name: &str, file: &dyn File, from: u64, to: u64) -> io::Result<()> {
        torn::copy_aside(&**self.disk, self.dir, name, file, from, to)?;
        self.report.copied_bytes += to - from;
        Ok(())
    }

    /// Surveys what was durable, up to `limit`, where `end` begins; `None`: where the next file begins.
    fn solid(
        &mut self,
        file: &dyn File,
        base: i64,
        limit: u64,
        end: Option<i64>,
        later: &mut VecDeque<(i64, u64)>,
    ) -> io::Result<Survey> {
        let index = self.read_small(&index_name(base))?;
        let anchors = index.map_or(Vec::new(), |bytes| index::parse(base, &bytes).entries);
        // A file whose name says that it begins within what this one certainly holds had better prove it.
        while end.is_some_and(|end| later.front().is_some_and(|(base, _)| *base < end))
            && self.set_aside_stray(later)?
        {}
        loop {
            let next_base = later.front().map(|(base, _)| *base);
            let end = end.or(next_base).unwrap_or(self.mark.durable.offset);
            let interval = self.interval;
            let known =
                Known { base, solid: (limit, end), anchors: &anchors, next_base, verify: false, interval };
            let survey = survey::solid(file, &known)?;
            if survey.stop != Some(Stop::Overlap) || !self.set_aside_stray(later)? {
                return Ok(survey);
            }
        }
    }

    /// Surveys what was not durable, and keeps what is torn in a side file.
    fn tail(
        &mut self,
        file: &dyn File,
        base: i64,
        from: (u64, i64),
        len: u64,
        later: &mut VecDeque<(i64, u64)>,
    ) -> io::Result<Survey> {
        loop {
            let next_base = later.front().map(|(base, _)| *base);
            let survey = survey::tail(file, from, len, next_base, self.interval)?;
            match survey.stop {
                Some(Stop::Overlap) if self.set_aside_stray(later)? => continue,
                Some(Stop::Overlap) => self.keep_what_differs(base, file, survey.position, len, later)?,
                Some(Stop::Torn(_)) => self.keep_torn(base, file, survey.position, len)?,
                None => {}
            }
            return Ok(survey);
        }
    }

    /// Two files hold the same offsets. The newer one counts, if it is what its name says; else it is set aside: true.
    fn set_aside_stray(&mut self, later: &mut VecDeque<(i64, u64)>) -> io::Result<bool> {
        let (base, len) = *later.front().expect("something overlaps");
        let file = self.open(base)?;
        let begins_well = matches!(Walk::new(&*file, 0, base, len, true).step()?, Step::Batch(..));
        if !begins_well {
            later.pop_front();
            self.set_aside(base, len)?;
        }
        Ok(!begins_well)
    }

    fn drop_overlap(
        &mut self,
        base: i64,
        file: &dyn File,
        position: u64,
        len: u64,
        later: &VecDeque<(i64, u64)>,
    ) -> io::Result<()> {
        self.keep_what_differs(base, file, position, len, later)?;
        self.changed = true;
        file.truncate(position)?;
        file.sync()
    }

    /// What overlaps the next file is cut; what is not the same there goes to a side file first.
    fn keep_what_differs(
        &mut self,
        base: i64,
        file: &dyn File,
        position: u64,
        len: u64,
        later: &VecDeque<(i64, u64)>,
    ) -> io::Result<()> {
        let newer = self.open(later.front().expect("something overlaps").0)?;
        let same = torn::common_bytes(file, position, &*newer, 0, len - position)?;
        if position + same < len { self.keep_torn(base, file, position + same, len) } else { Ok(()) }
    }

    fn keep_torn(&mut self, base: i64, file: &dyn File, from: u64, to: u64) -> io::Result<()> {
        let name = torn::keep_bytes(&**self.disk, self.dir, base, file, from, to)?;
        self.note_torn(name, to - from);
        Ok(())
    }

    /// Gives a whole segment file the name of a side file.
    pub(super) fn set_aside(&mut self, base: i64, len: u64) -> io::Result<()> {
        let name = torn::keep_file(&**self.disk, self.dir, base, &log_name(base))?;
        self.note_torn(name, len);
        Ok(())
    }

    fn note_torn(&mut self, name: String, bytes: u64) {
        self.report.torn_bytes += bytes;
        self.report.side_files.push(name);
        self.changed = true;
    }

    /// A segment whose index ends with an entry for the very end of the file.
    pub(super) fn trusted(&self, base: i64, len: u64) -> io::Result<Option<Kept>> {
        let Ok(i) = self.found.indexes.binary_search_by_key(&base, |(b, _)| *b) else {
            let fresh = Kept { base, entries: vec![Entry::START], first: 0, written: 0 };
            return Ok((len == 0).then_some(fresh));
        };
        let entries = (self.found.indexes[i].1 as usize).saturating_sub(index::HEADER);
        let count = entries / index::ENTRY;
        if count == 0 || !entries.is_multiple_of(index::ENTRY) {
            return Ok(None);
        }
        let file = self.disk.open(&self.dir.join(index_name(base)), Open::Read)?;
        let mut header = [0; index::HEADER];
        let mut last = [0; index::ENTRY];
        file.read_at(0, &mut header)?;
        file.read_at((index::HEADER + (count - 1) * index::ENTRY) as u64, &mut last)?;
        let last = index::decode(base, &last).filter(|last| {
            header == index::header(base)
                && u64::from(last.position) == len
                && (count == 1) == (*last == Entry::START)
        });
        Ok(last.map(|last| Kept { base, entries: vec![last], first: count - 1, written: count }))
    }

    /// Keeps a segment with the holes that are known of it.
    fn keep(&mut self, kept: Kept) {
        let known = self.known_holes.iter().flatten();
        self.holes.extend(known.filter(|h| h.segment == kept.base));
        self.kept.push(kept);
    }

    fn keep_surveyed(&mut self, base: i64, survey: &Survey) {
        self.holes.extend_from_slice(&survey.holes);
        self.changed = true;
        self.kept.push(Kept::surveyed(base, survey));
    }

    pub(super) fn cut(&mut self, base: i64, position: u64) -> io::Result<()> {
        let file = self.open(base)?;
        let len = file.len()?;
        if len > position {
            self.keep_torn(base, &*file, position, len)?;
            file.truncate(position)?;
            file.sync()?;
        }
        Ok(())
    }
}
