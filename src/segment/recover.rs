//! Opening a log, whatever state its last owner left it in.
//!
//! After a clean stop the mark and the indexes say all there is to say, and only their last entries are read. Otherwise
//! the durable mark divides the files:
//!
//! ```text
//!    below the mark                       mark            above the mark
//!  [ 0.log          ][ 4711.log            |    tail ][ 5000.log    | torn ][ 6000.log ]
//!    trusted            rot is                  copied   copied       kept    kept aside
//!                       quarantined             forward  forward      aside
//! ```
//!
//! * Below the mark everything was durable once, so damage is rot: the range is quarantined and what follows it is
//!   kept.
//! * Above the mark, what is kept ends at the first bad batch. The rest goes to side files.
//! * The tail, whole batches above the mark, may be bytes that a failed sync left in memory only: the kernel then calls
//!   them clean, and no later sync writes them. So they are copied to a new file, which becomes durable for certain.
//!
//! Invariant: what is kept is a prefix of what was appended, and includes all that was durable. Each step can be
//! repeated: a crash between any two leads the next start to the same result, because the mark moves last.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use krappy_wire::batch::Header;

use super::index::{self, Entry};
use super::log::{Log, LogSettings};
use super::mark::{self, Boundary, Mark, MarkFile};
use super::quarantine::{self, Hole};
use super::segment::{Backing, Segment, index_name, log_name};
use super::survey::{self, Known, Stop, Survey};
use super::sync::{IndexWrite, remove_segment};
use super::torn;
use super::walk::{Step, Walk};
use crate::disk::{self, Disk, File, Kind, Open};

/// What opening found and did; worth a log line unless [`Recovery::is_uneventful`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The marker of a clean stop was there, and the files agreed with it.
    pub clean: bool,
    /// Both slots of the mark were bad, so the whole active segment was taken for unproven.
    pub mark_lost: bool,
    /// Bytes that were cut off and lie in side files now.
    pub torn_bytes: u64,
    /// Names of the side files that this start made.
    pub side_files: Vec<String>,
    /// Bytes of the unproven tail that were copied to a new file.
    pub copied_bytes: u64,
    /// Damaged ranges, those of earlier starts included.
    pub quarantined: Vec<Hole>,
    /// Offsets, first and last, that no file holds.
    pub gaps: Vec<(i64, i64)>,
    /// Indexes that were made anew because they were missing or damaged.
    pub rebuilt_indexes: usize,
    /// Leftovers of ours that were removed: temporary files, and segments already deleted.
    pub removed: Vec<String>,
    /// Files that are not ours, and were left alone.
    pub unknown: Vec<String>,
}

impl Recovery {
    /// Whether nothing happened that anybody would want to know.
    pub fn is_uneventful(&self) -> bool {
        let quiet = Recovery { clean: self.clean, copied_bytes: self.copied_bytes, ..Recovery::default() };
        *self == quiet
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        if self.mark_lost {
            said.push("the mark was lost, the whole active segment was checked".to_owned());
        }
        if self.torn_bytes > 0 {
            said.push(format!(
                "{} torn bytes were cut and kept in {}",
                self.torn_bytes,
                self.side_files.join(", ")
            ));
        }
        if self.copied_bytes > 0 {
            said.push(format!("{} bytes were copied to a new segment", self.copied_bytes));
        }
        for hole in &self.quarantined {
            said.push(format!("damaged range set apart: {hole:?}"));
        }
        for (first, last) in &self.gaps {
            said.push(format!("no file holds the offsets {first} to {last}"));
        }
        if self.rebuilt_indexes > 0 {
            said.push(format!("{} indexes were made anew", self.rebuilt_indexes));
        }
        for (what, names) in [("removed leftovers", &self.removed), ("left alone", &self.unknown)] {
            if !names.is_empty() {
                said.push(format!("{what}: {}", names.join(", ")));
            }
        }
        f.write_str(&said.join("; "))
    }
}

/// Why a log could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The device failed.
    Io(io::Error),
    /// Something is there that must not be touched.
    Refused(String),
}

impl From<io::Error> for OpenError {
    fn from(e: io::Error) -> Self {
        OpenError::Io(e)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Io(e) => e.fmt(f),
            OpenError::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for OpenError {}

impl Log {
    /// Opens the log in a directory. `clean`: the last stop was clean (or [`Log::create`] has just run). `visit` sees
    /// the header of every batch from the one that holds the offset `walk_from` on; with `None` it sees none. May
    /// block.
    pub fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        clean: bool,
        walk_from: Option<i64>,
        settings: &LogSettings,
        visit: &mut dyn FnMut(&Header),
    ) -> Result<(Log, Recovery), OpenError> {
        let found = Found::list(&**disk, dir)?;
        let mut opening = Opening::new(disk, dir, u64::from(settings.index_interval_bytes), found);
        // 1. What an interrupted recovery or removal left behind.
        opening.remove_leftovers()?;
        // 2. What is known: the durable mark and earlier damage.
        opening.read_mark(clean)?;
        opening.read_quarantine()?;
        opening.remove_deleted()?;
        // 3. Each file in order: below the mark, across it, above it.
        opening.sort_out()?;
        // 4. A file to append to, at an offset that was never given away.
        opening.ensure_active()?;
        opening.cut_active()?;
        // 5. Caches, names, and last of all the mark.
        opening.write_indexes();
        opening.write_quarantine()?;
        let (log, report) = opening.finish()?;
        if let Some(from) = walk_from {
            log.walk_headers(from, visit)?;
        }
        Ok((log, report))
    }

    fn walk_headers(&self, from: i64, visit: &mut dyn FnMut(&Header)) -> io::Result<()> {
        for segment in self.segments_from(from) {
            let first = from.max(segment.base);
            let start = match segment.around(first) {
                Some(near) => near.at,
                None => {
                    let entries = segment.backing.load_index(segment.cold_end())?;
                    entries
                        [index::floor(entries, u32::try_from(first - segment.base).expect("in the segment"))]
                }
            };
            let offset = segment.base + i64::from(start.relative);
            let file = &**segment.backing.open_file()?;
            for (at, offset, limit) in segment.backing.runs(u64::from(start.position), offset, segment.size) {
                let mut walk = Walk::new(file, at, offset, limit, false);
                // Damage that nobody has noticed yet ends a run early; reads will report it.
                while let Step::Batch(header, _) = walk.step()? {
                    if header.next_offset() > from {
                        visit(&header);
                    }
                }
            }
        }
        Ok(())
    }
}

/// What lies in a partition's directory.
struct Found {
    /// Base offset and length of each segment file, in order.
    segments: Vec<(i64, u64)>,
    /// Base offset and length of each index file.
    indexes: Vec<(i64, u64)>,
    leftovers: Vec<String>,
    unknown: Vec<String>,
}

/// What the name of a file in a partition's directory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// The segment with this base offset.
    Log(i64),
    /// The index of that segment.
    Index(i64),
    /// The mark, the quarantine, side files, and what the layers above keep here.
    Known,
    /// A file of ours that was never finished.
    Temporary,
    /// Not ours.
    Unknown,
}

/// Names that layers above use in the same directory.
const NEIGHBOURS: [&str; 3] = ["producers", "producers.tmp", "view"];

/// Tells what a file in a partition's directory is by its name.
pub fn classify(name: &str) -> Name {
    if let Some(stem) = name.strip_suffix(".tmp")
        && !NEIGHBOURS.contains(&name)
    {
        return if classify(stem) == Name::Unknown { Name::Unknown } else { Name::Temporary };
    }
    if let Some(base) = name.strip_suffix(".log").and_then(parse_base) {
        return Name::Log(base);
    }
    if let Some(base) = name.strip_suffix(".index").and_then(parse_base) {
        return Name::Index(base);
    }
    let known = name == mark::NAME
        || name == quarantine::NAME
        || torn::parse_name(name).is_some()
        || NEIGHBOURS.contains(&name);
    if known { Name::Known } else { Name::Unknown }
}

/// Twenty digits, and not more than an offset can be.
fn parse_base(digits: &str) -> Option<i64> {
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    let base = digits.parse().ok().filter(|_| plain)?;
    (base < mark::MOST_OFFSET).then_some(base)
}

impl Found {
    fn list(disk: &dyn Disk, dir: &Path) -> Result<Found, OpenError> {
        let mut found =
            Found { segments: Vec::new(), indexes: Vec::new(), leftovers: Vec::new(), unknown: Vec::new() };
        for entry in disk.list(dir)? {
            let name = classify(&entry.name);
            let ours = name != Name::Unknown && !NEIGHBOURS.contains(&&*entry.name);
            if ours && entry.kind != Kind::File {
                let path = dir.join(&entry.name);
                return Err(OpenError::Refused(format!("{} is not an ordinary file", path.display())));
            }
            match name {
                Name::Log(_) if entry.len > u64::from(u32::MAX) => {
                    let path = dir.join(&entry.name);
                    let why = format!("{} is larger than a segment can be", path.display());
                    return Err(OpenError::Refused(why));
                }
                Name::Log(base) => found.segments.push((base, entry.len)),
                Name::Index(base) => found.indexes.push((base, entry.len)),
                Name::Temporary => found.leftovers.push(entry.name),
                Name::Known => {}
                Name::Unknown => found.unknown.push(entry.name),
            }
        }
        Ok(found)
    }
}

/// A segment as it will be served.
struct Kept {
    base: i64,
    /// The index, or only its last entry.
    entries: Vec<Entry>,
    /// Number of the first of them.
    first: usize,
    /// Entries that the index file has.
    written: usize,
}

impl Kept {
    fn surveyed(base: i64, survey: &Survey) -> Kept {
        Kept { base, entries: survey.entries.clone(), first: 0, written: 0 }
    }

    fn last(&self) -> Entry {
        *self.entries.last().expect("never empty")
    }

    fn end(&self) -> i64 {
        self.base + i64::from(self.last().relative)
    }

    fn boundary(&self) -> Boundary {
        Boundary { segment: self.base, position: u64::from(self.last().position), offset: self.end() }
    }
}

/// A log that is being opened.
struct Opening<'a> {
    disk: &'a Arc<dyn Disk>,
    dir: &'a Path,
    interval: u64,
    found: Found,
    mark: Mark,
    /// Damaged ranges that the quarantine file knows; `None` if it is damaged.
    known_holes: Option<Vec<Hole>>,
    holes: Vec<Hole>,
    /// The offset with which the next file above the mark has to begin.
    expected: i64,
    kept: Vec<Kept>,
    /// Whether names or content changed, so that they have to be made durable.
    changed: bool,
    report: Recovery,
}

impl<'a> Opening<'a> {
    fn new(disk: &'a Arc<dyn Disk>, dir: &'a Path, interval: u64, found: Found) -> Self {
        Self {
            disk,
            dir,
            interval,
            report: Recovery { unknown: found.unknown.clone(), ..Recovery::default() },
            found,
            mark: Mark::empty(0),
            known_holes: None,
            holes: Vec::new(),
            expected: 0,
            kept: Vec::new(),
            changed: false,
        }
    }

    /// Temporary files, and indexes without a log: both only hold what is elsewhere, or was never finished.
    fn remove_leftovers(&mut self) -> io::Result<()> {
        let orphan = |(base, _): &&(i64, u64)| !self.found.segments.iter().any(|(b, _)| b == base);
        let orphans: Vec<_> = self.found.indexes.iter().filter(orphan).map(|(b, _)| index_name(*b)).collect();
        for name in std::mem::take(&mut self.found.leftovers).into_iter().chain(orphans) {
            self.disk.remove_file(&self.dir.join(&name))?;
            self.report.removed.push(name);
            self.changed = true;
        }
        Ok(())
    }

    fn read_mark(&mut self, clean: bool) -> io::Result<()> {
        let last = self.found.segments.last().copied();
        match self.read_small(mark::NAME)?.and_then(|bytes| mark::newest(&bytes)) {
            Some(mark) => self.mark = mark,
            None => {
                // Nothing vouches for the active segment. The log start is no longer known either: what was deleted
                // within the first segment comes back.
                self.report.mark_lost = true;
                self.mark = Mark::empty(last.map_or(0, |(base, _)| base));
                self.mark.log_start = self.found.segments.first().map_or(0, |(base, _)| *base);
            }
        }
        let durable = self.mark.durable;
        self.expected = durable.offset;
        // A marker of a clean stop beside a dirty tail is not believed.
        self.report.clean =
            clean && !self.report.mark_lost && last == Some((durable.segment, durable.position));
        if !self.report.clean && !self.report.mark_lost {
            // What was read may be what a dead process wrote and never synced. Segments are deleted on its word, so it
            // has to be durable first; in a new file, for the reason that tails are copied.
            let content = mark::content(&self.mark);
            disk::replace_file(&**self.disk, &self.dir.join(mark::NAME), &content)?;
        }
        Ok(())
    }

    fn read_quarantine(&mut self) -> io::Result<()> {
        self.known_holes = match self.read_small(quarantine::NAME)? {
            None => Some(Vec::new()),
            Some(bytes) => quarantine::parse(&bytes),
        };
        Ok(())
    }

    fn read_small(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match disk::read_file(&**self.disk, &self.dir.join(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// Segments wholly below the log start offset: their removal was interrupted.
    fn remove_deleted(&mut self) -> io::Result<()> {
        let log_start = self.mark.log_start;
        while let [(base, _), (next, _), ..] = self.found.segments[..] {
            if next > log_start || base >= self.mark.durable.segment {
                break;
            }
            remove_segment(&**self.disk, self.dir, base)?;
            self.found.segments.remove(0);
            self.report.removed.push(log_name(base));
            self.changed = true;
        }
        Ok(())
    }

    fn sort_out(&mut self) -> io::Result<()> {
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

    fn set_aside(&mut self, base: i64, len: u64) -> io::Result<()> {
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
    fn trusted(&self, base: i64, len: u64) -> io::Result<Option<Kept>> {
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

    fn open(&self, base: i64) -> io::Result<Arc<dyn File>> {
        self.disk.open(&self.dir.join(log_name(base)), Open::Write)
    }

    /// Offsets that were given away once are not given away again, even if their records are gone.
    fn ensure_active(&mut self) -> io::Result<()> {
        let floor = self.mark.durable.offset.max(self.mark.log_start);
        if self.kept.last().is_none_or(|last| last.end() < floor) {
            let file = self.disk.open(&self.dir.join(log_name(floor)), Open::CreateNew)?;
            file.sync()?;
            self.changed = true;
            self.kept.push(Kept { base: floor, entries: vec![Entry::START], first: 0, written: 0 });
        }
        Ok(())
    }

    /// The next append goes to the end of what is kept, and the file must end there.
    fn cut_active(&mut self) -> io::Result<()> {
        let active = self.kept.last().expect("there is an active segment").boundary();
        self.cut(active.segment, active.position)
    }

    fn cut(&mut self, base: i64, position: u64) -> io::Result<()> {
        let file = self.open(base)?;
        let len = file.len()?;
        if len > position {
            self.keep_torn(base, &*file, position, len)?;
            file.truncate(position)?;
            file.sync()?;
        }
        Ok(())
    }

    /// An index that cannot be written is only a slower start next time.
    fn write_indexes(&mut self) {
        for kept in &mut self.kept {
            if kept.written == 0 {
                let write = IndexWrite { base: kept.base, from: 0, entries: kept.entries.clone() };
                kept.written = write.run(&**self.disk, self.dir).unwrap_or(0);
            }
        }
    }

    fn write_quarantine(&mut self) -> io::Result<()> {
        self.report.quarantined = self.holes.clone();
        if self.known_holes.as_ref() == Some(&self.holes) {
            return Ok(());
        }
        let content = quarantine::format(&self.holes);
        disk::replace_file(&**self.disk, &self.dir.join(quarantine::NAME), content.as_bytes())
    }

    fn finish(mut self) -> io::Result<(Log, Recovery)> {
        self.report_gaps();
        let durable = self.kept.last().expect("there is an active segment").boundary();
        let log_start = self.mark.log_start.max(self.kept[0].base);
        let mark = self.write_mark(durable, log_start)?;
        let dir: Arc<Path> = self.dir.into();
        let active = self.open(durable.segment)?;
        let mut segments = VecDeque::with_capacity(self.kept.len());
        for kept in self.kept {
            let holes = self.holes.iter().filter(|h| h.segment == kept.base).copied().collect();
            let disk = self.disk.clone();
            let backing = if kept.base == durable.segment {
                Backing::opened(disk, dir.clone(), kept.base, holes, active.clone())
            } else {
                Backing::new(disk, dir.clone(), kept.base, holes)
            };
            segments.push_back(Segment::restored(backing, kept.entries, kept.first, kept.written));
        }
        let log = Log::restored(self.disk.clone(), dir, segments, log_start, Arc::new(mark));
        Ok((log, self.report))
    }

    fn report_gaps(&mut self) {
        let mut expected = self.mark.log_start;
        for kept in &self.kept {
            if kept.base > expected {
                self.report.gaps.push((expected, kept.base - 1));
            }
            expected = kept.end().max(self.mark.log_start);
        }
    }

    /// The mark comes last: once it says that a tail is durable, no later start would repeat an unfinished step.
    fn write_mark(&self, durable: Boundary, log_start: i64) -> io::Result<MarkFile> {
        let disk = self.disk;
        if !self.report.clean || self.changed {
            disk.sync_dir(self.dir)?;
            // The partition itself may have been made by a process that died before it could sync its name.
            self.dir.parent().map_or(Ok(()), |parent| disk.sync_dir(parent))?;
        }
        if self.report.mark_lost {
            let mark = Mark { generation: 1, durable, log_start };
            mark::create(&**disk, self.dir, &mark)?;
            disk.sync_dir(self.dir)?;
            return Ok(MarkFile::new(disk.clone(), self.dir, mark));
        }
        let mark = MarkFile::new(disk.clone(), self.dir, self.mark);
        if durable != self.mark.durable || log_start != self.mark.log_start || !self.report.clean {
            mark.write(durable, log_start)?;
        }
        Ok(mark)
    }
}
