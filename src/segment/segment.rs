//! One segment: a file of batches, and what of its index is in memory.
//!
//! The index has two parts. `hot` is the end of it, from some entry on; an active segment adds to it. Everything before
//! lies in the index file and is loaded by a worker when a reader first needs it, so an idle partition holds one entry.
//!
//! ```text
//!  entry    0 ......... first    first+1 ...... last
//!           [ in the file, loaded when needed ]
//!                       [ hot                      ]
//! ```
//!
//! Invariant: `hot` is never empty; entries rise in offset and position and none lies beyond `end` and `size`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::index::{self, Entry};
use super::names::{index_name, log_name};
use super::quarantine::Hole;
use super::survey;
use super::sync::IndexWrite;
use crate::disk::{self, Disk, File, Open};

/// A segment's file must be addressable by the index.
pub const MOST_BYTES: u64 = u32::MAX as u64;

/// One segment of a log.
pub struct Segment {
    /// Offset of its first record.
    pub base: i64,
    /// Offset after its last record.
    pub end: i64,
    /// Bytes of batches.
    pub size: u64,
    /// Largest timestamp of a record, milliseconds since 1970; `i64::MIN` if there is none.
    pub max_timestamp: i64,
    /// Wall clock of the first append that this process made, in milliseconds.
    pub first_append: Option<i64>,
    /// Its files.
    pub backing: Arc<Backing>,
    hot: Vec<Entry>,
    first: usize,
    written: usize,
    /// Its file does not have its name yet: it stays open, nothing is written beside it, and retention waits.
    pinned: bool,
}

/// The files of a segment, shared with the workers that open and load them.
pub struct Backing {
    disk: Arc<dyn Disk>,
    dir: Arc<Path>,
    base: i64,
    holes: Vec<Hole>,
    file: OnceLock<Arc<dyn File>>,
    index: OnceLock<Vec<Entry>>,
    used: AtomicBool,
    /// Shared with what was the segment's backing before files were closed.
    heir: Arc<OnceLock<Heir>>,
}

/// The cleaned segment that holds what is left of another one, and its size.
pub type Heir = (Arc<Backing>, u64);

/// Two neighbouring boundaries of a segment, the first at or before an offset, the second after it.
#[derive(Debug, Clone, Copy)]
pub struct Between {
    /// At or before.
    pub at: Entry,
    /// After, or the end of the segment.
    pub next: Entry,
}

impl Segment {
    /// An empty segment whose file has just been made.
    pub fn empty(backing: Backing) -> Self {
        Self::restored(backing, vec![Entry::START], 0, 0)
    }

    /// A segment that ends with the last entry of `hot`; `hot[0]` is entry number `first` of the index, of which the
    /// file holds `written`.
    pub fn restored(backing: Backing, hot: Vec<Entry>, first: usize, written: usize) -> Self {
        let last = *hot.last().expect("an index has at least the entry of the start");
        Self {
            base: backing.base,
            end: backing.base + i64::from(last.relative),
            size: u64::from(last.position),
            max_timestamp: last.max_timestamp,
            first_append: None,
            backing: Arc::new(backing),
            hot,
            first,
            written,
            pinned: false,
        }
    }

    /// A cleaned segment that is served before its file has its name.
    pub fn pinned(backing: Backing, entries: Vec<Entry>) -> Self {
        Self { pinned: true, ..Self::restored(backing, entries, 0, 0) }
    }

    /// Its file has its name now; how many entries were written to the index file.
    pub fn unpin(&mut self, written: Result<usize, ()>) {
        self.pinned = false;
        self.written = written.unwrap_or(0);
    }

    /// Whether its file does not have its name yet.
    pub fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// Whether no worker writes any of its files, or has to: what a sealed segment comes to be.
    pub fn is_settled(&self) -> bool {
        !self.pinned && self.written >= self.first + self.hot.len()
    }

    /// Whether a range of it is known to be damaged.
    pub fn has_holes(&self) -> bool {
        !self.backing.holes.is_empty()
    }

    /// Takes note of a batch that has been written at the end, which is `size`.
    pub fn push(&mut self, batch: &super::Appended, interval: u32) {
        let last = self.hot.last().expect("never empty");
        if self.size - u64::from(last.position) >= u64::from(interval) {
            self.push_boundary();
        }
        self.size += u64::from(batch.size);
        self.end = batch.last_offset + 1;
        self.max_timestamp = self.max_timestamp.max(batch.max_timestamp);
    }

    /// The entry for the end as it is now.
    pub fn closing(&self) -> Entry {
        Entry {
            relative: u32::try_from(self.end - self.base).expect("rolled before"),
            position: u32::try_from(self.size).expect("rolled before"),
            max_timestamp: self.max_timestamp,
        }
    }

    /// Adds the entry for the end, unless it is there: a sealed segment ends with one.
    pub fn push_boundary(&mut self) {
        let closing = self.closing();
        if self.hot.last().expect("never empty").position < closing.position {
            self.hot.push(closing);
        }
    }

    /// Whether `bytes` more, up to offset `last`, stay within what the index can express.
    pub fn can_hold(&self, bytes: u64, last: i64) -> bool {
        self.size + bytes <= MOST_BYTES && last - self.base < i64::from(u32::MAX)
    }

    /// The boundaries around `offset`, which lies in this segment; `None` when the index must be loaded first.
    pub fn around(&self, offset: i64) -> Option<Between> {
        let relative = u32::try_from(offset - self.base).expect("the offset lies in the segment");
        let entries = self.entries_for(|first| relative >= first.relative)?;
        let i = index::floor(entries, relative);
        let next = entries.get(i + 1).copied().unwrap_or_else(|| self.closing());
        Some(Between { at: entries[i], next })
    }

    /// A boundary before which everything is older than `timestamp`; `None` when the index must be loaded first.
    pub fn before_timestamp(&self, timestamp: i64) -> Option<Entry> {
        let entries = self.entries_for(|first| first.max_timestamp < timestamp)?;
        Some(entries[index::floor_timestamp(entries, timestamp)])
    }

    fn entries_for(&self, in_hot: impl Fn(&Entry) -> bool) -> Option<&[Entry]> {
        self.backing.used.store(true, Ordering::Relaxed);
        if self.first == 0 || in_hot(&self.hot[0]) {
            return Some(&self.hot);
        }
        self.backing.index.get().map(Vec::as_slice)
    }

    /// Where the loaded part of the index has to end: at the first entry that is in memory anyway.
    pub fn cold_end(&self) -> Entry {
        self.hot[0]
    }

    /// The entries that the index file does not have yet.
    pub fn unwritten(&self) -> Option<IndexWrite> {
        let count = self.first + self.hot.len();
        (self.written < count && !self.pinned).then(|| IndexWrite {
            base: self.base,
            from: self.written,
            entries: self.hot[self.written - self.first..].to_vec(),
        })
    }

    /// The index file now holds this many entries.
    pub fn set_written(&mut self, count: usize) {
        self.written = count;
    }

    /// Writing the index file failed, so nobody knows what it holds: write it from the start next time. What is no
    /// longer in memory cannot be written again; then the file stays damaged until the next start rebuilds it.
    pub fn index_failed(&mut self) {
        self.written = if self.first == 0 { 0 } else { self.first + self.hot.len() };
    }

    /// Lets go of files and index entries that nobody has used since the last call.
    pub fn shed(&mut self, active: bool) {
        if self.backing.used.swap(false, Ordering::Relaxed) || self.written < self.first + self.hot.len() {
            return;
        }
        let keep = self.hot.len() - 1;
        if keep > 0 {
            self.first += keep;
            self.hot = vec![self.hot[keep]];
        }
        if self.backing.index.get().is_some() || (!active && self.backing.file.get().is_some()) {
            self.backing = Arc::new(self.backing.unloaded(active));
        }
    }

    /// The damaged range that an offset lies in.
    pub fn hole_at(&self, offset: i64) -> Option<&Hole> {
        self.backing.holes.iter().find(|h| (h.first..=h.last).contains(&offset))
    }

    /// Where the next damaged range at or after a position begins.
    pub fn next_hole(&self, position: u64) -> Option<u64> {
        self.backing.holes.iter().map(|h| h.from).find(|from| *from >= position)
    }
}

impl Backing {
    /// The files of the segment at `base`, not opened yet.
    pub fn new(disk: Arc<dyn Disk>, dir: Arc<Path>, base: i64, holes: Vec<Hole>) -> Self {
        Self {
            disk,
            dir,
            base,
            holes,
            file: OnceLock::new(),
            index: OnceLock::new(),
            used: AtomicBool::new(false),
            heir: Arc::default(),
        }
    }

    /// As [`Backing::new`], with the file already open.
    pub fn opened(
        disk: Arc<dyn Disk>,
        dir: Arc<Path>,
        base: i64,
        holes: Vec<Hole>,
        file: Arc<dyn File>,
    ) -> Self {
        let backing = Self::new(disk, dir, base, holes);
        backing.file.set(file).ok().expect("the cell is new");
        backing
    }

    fn unloaded(&self, keep_file: bool) -> Self {
        let mut fresh = Self::new(self.disk.clone(), self.dir.clone(), self.base, self.holes.clone());
        fresh.heir = self.heir.clone();
        if keep_file && let Some(file) = self.file.get() {
            fresh.file.set(file.clone()).ok().expect("the cell is new");
        }
        fresh
    }

    /// Base offset of the segment.
    pub fn base(&self) -> i64 {
        self.base
    }

    /// The file, if it is open.
    pub fn file(&self) -> Option<&Arc<dyn File>> {
        self.file.get()
    }

    /// The file, opened if it is not. May block: for workers, and before serving.
    pub fn open_file(&self) -> io::Result<&Arc<dyn File>> {
        if self.file.get().is_none() {
            let file = self.disk.open(&self.path(&log_name(self.base)), Open::Read)?;
            // The cleaned file may have had the name already.
            if self.heir.get().is_some() {
                return Err(io::Error::other("the segment was cleaned in the meantime"));
            }
            // Another worker may have been faster; its file is as good.
            let _ = self.file.set(file);
        }
        Ok(self.file.get().expect("just set"))
    }

    /// A cleaned segment has taken the place of this one. Whoever still reads this one reads the file that is open, or
    /// turns to the heir.
    pub fn retire(&self, heir: &Segment) {
        let _ = self.heir.set((heir.backing.clone(), heir.size));
    }

    /// The cleaned segment to read instead, once there is one, if the file of this one is not open.
    pub fn heir(&self) -> Option<&Heir> {
        self.heir.get().filter(|_| self.file.get().is_none())
    }

    /// Loads the index up to and including the entry `end`, from the index file if that is believable, else from the
    /// log. May block: for workers.
    pub fn load_index(&self, end: Entry) -> io::Result<&[Entry]> {
        if self.index.get().is_none() {
            // Once the segment was cleaned, the file of this name may be that of its heir.
            let entries = match self.read_index(end).filter(|_| self.heir.get().is_none()) {
                Some(entries) => entries,
                None => survey::rebuild_index(&**self.open_file()?, self.base, &self.holes, end)?,
            };
            let _ = self.index.set(entries);
        }
        Ok(self.index.get().expect("just set"))
    }

    /// The index file's entries up to `end`, if they are all intact and get there.
    fn read_index(&self, end: Entry) -> Option<Vec<Entry>> {
        let bytes = disk::read_file(&*self.disk, &self.path(&index_name(self.base))).ok()?;
        let mut entries = index::parse(self.base, &bytes).entries;
        let found = entries.binary_search_by_key(&end.position, |e| e.position).ok()?;
        entries.truncate(found + 1);
        (entries[found] == end).then_some(entries)
    }

    /// The undamaged runs from a boundary to `size`: where each begins, with which offset, and where it ends.
    pub fn runs(&self, mut position: u64, mut offset: i64, size: u64) -> Vec<(u64, i64, u64)> {
        let mut runs = Vec::new();
        for hole in self.holes.iter().filter(|h| h.from < size) {
            if hole.to <= position {
                continue;
            }
            if hole.from > position {
                runs.push((position, offset, hole.from));
            }
            (position, offset) = (hole.to, hole.last + 1);
        }
        if position < size {
            runs.push((position, offset, size));
        }
        runs
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}
