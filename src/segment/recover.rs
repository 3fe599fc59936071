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

use std::io;
use std::path::Path;
use std::sync::Arc;

use krappy_wire::batch::Header;

use super::index::Entry;
use super::log::{Log, LogSettings};
use super::mark::{self, Boundary, Mark, MarkFile};
use super::names::{Found, index_name, log_name};
use super::progress::Progress;
use super::quarantine::{self, Hole};
use super::report::{OpenError, Recovery};
use super::retrace::walk_headers;
use super::segment::{Backing, Segment};
use super::survey::Survey;
use super::sync::{IndexWrite, remove_segment};
use crate::disk::{self, Disk, File, Open};

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
        opening.settle_cleaned()?;
        opening.remove_deleted()?;
        // 3. Each file in order: below the mark, across it, above it.
        opening.sort_out()?;
        // 4. A file to append to, at an offset that was never given away.
        opening.ensure_active()?;
        opening.cut_active()?;
        // 5. Caches, epochs, names, and last of all the mark.
        opening.write_indexes();
        opening.write_quarantine()?;
        let (log, report) = opening.finish()?;
        if let Some(from) = walk_from {
            let mut visit = |header: &Header| {
                visit(header);
                true
            };
            walk_headers(log.segments_from(from), from, &mut visit)?;
        }
        Ok((log, report))
    }
}

/// A segment as it will be served.
pub(super) struct Kept {
    pub(super) base: i64,
    /// The index, or only its last entry.
    pub(super) entries: Vec<Entry>,
    /// Number of the first of them.
    pub(super) first: usize,
    /// Entries that the index file has.
    pub(super) written: usize,
}

impl Kept {
    pub(super) fn surveyed(base: i64, survey: &Survey) -> Kept {
        Kept { base, entries: survey.entries.clone(), first: 0, written: 0 }
    }

    pub(super) fn last(&self) -> Entry {
        *self.entries.last().expect("never empty")
    }

    pub(super) fn end(&self) -> i64 {
        self.base + i64::from(self.last().relative)
    }

    pub(super) fn boundary(&self) -> Boundary {
        Boundary { segment: self.base, position: u64::from(self.last().position), offset: self.end() }
    }
}

/// A log that is being opened.
pub(super) struct Opening<'a> {
    pub(super) disk: &'a Arc<dyn Disk>,
    pub(super) dir: &'a Path,
    pub(super) interval: u64,
    pub(super) found: Found,
    pub(super) mark: Mark,
    /// Damaged ranges that the quarantine file knows; `None` if it is damaged.
    pub(super) known_holes: Option<Vec<Hole>>,
    pub(super) holes: Vec<Hole>,
    /// The offset with which the next file above the mark has to begin.
    pub(super) expected: i64,
    pub(super) kept: Vec<Kept>,
    /// Whether names or content changed, so that they have to be made durable.
    pub(super) changed: bool,
    pub(super) report: Recovery,
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

    pub(super) fn read_small(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
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

    pub(super) fn open(&self, base: i64) -> io::Result<Arc<dyn File>> {
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
        let segments = self.segments(durable.segment)?;
        let epochs = self.epochs(&segments)?;
        let mark = self.write_mark(durable, log_start)?;
        let dir: Arc<Path> = self.dir.into();
        let progress = Progress::read(&**self.disk, &dir, durable.offset)?;
        let (disk, mark) = (self.disk.clone(), Arc::new(mark));
        let log = Log::restored(disk, dir, segments.into(), log_start, mark, epochs, progress);
        Ok((log, self.report))
    }

    fn segments(&mut self, active: i64) -> io::Result<Vec<Segment>> {
        let dir: Arc<Path> = self.dir.into();
        let mut segments = Vec::with_capacity(self.kept.len());
        for kept in std::mem::take(&mut self.kept) {
            let holes = self.holes.iter().filter(|h| h.segment == kept.base).copied().collect();
            let disk = self.disk.clone();
            let backing = if kept.base == active {
                Backing::opened(disk, dir.clone(), kept.base, holes, self.open(active)?)
            } else {
                Backing::new(disk, dir.clone(), kept.base, holes)
            };
            segments.push(Segment::restored(backing, kept.entries, kept.first, kept.written));
        }
        Ok(segments)
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
