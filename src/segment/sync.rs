//! What a log asks of a worker: making appends durable, writing the mark, unlinking segments.
//!
//! Each value owns what it needs and names its files and positions, so it means the same whenever and wherever it runs.
//!
//! Invariant: the order in [`Sync::run`] is the durability argument. Data before names before index, epochs and mark:
//! whatever the mark says is true by the time the mark is written.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::epochs::EpochWrite;
use super::index::{self, Entry};
use super::mark::{Boundary, MarkFile};
use super::names::{index_name, log_name};
use super::segment::Backing;
use super::torn;
use crate::disk::{Disk, File, Open};

/// Makes everything appended before it was taken durable.
pub struct Sync {
    pub(super) dir: Arc<Path>,
    pub(super) files: Vec<Arc<dyn File>>,
    pub(super) new_names: Option<Arc<Names>>,
    pub(super) target: Boundary,
    pub(super) index: Vec<IndexWrite>,
    pub(super) mark: Option<MarkWrite>,
}

/// What came of a [`Sync`], to be handed to [`super::Log::synced`].
#[derive(Debug)]
pub struct Synced {
    pub(super) target: Boundary,
    pub(super) result: io::Result<()>,
    pub(super) index: Vec<(i64, Result<usize, ()>)>,
    pub(super) marked: bool,
}

/// Entries on their way to an index file.
pub struct IndexWrite {
    /// Base offset of the segment.
    pub base: i64,
    /// Number of the first entry.
    pub from: usize,
    /// The entries.
    pub entries: Vec<Entry>,
}

impl Sync {
    /// Runs on a worker. May block for as long as the device likes.
    pub fn run(self, disk: &dyn Disk) -> Synced {
        let mut done =
            Synced { target: self.target, result: Ok(()), index: Vec::new(), marked: self.mark.is_some() };
        done.result = self.make_durable(disk);
        if done.result.is_ok() {
            // The index is a cache: that it could not be written harms nobody, so the log only notes to write it again.
            let write = |w: &IndexWrite| (w.base, w.run(disk, &self.dir).map_err(|_| ()));
            done.index = self.index.iter().map(write).collect();
            if let Some(mark) = self.mark {
                done.result = mark.run();
            }
        }
        done
    }

    fn make_durable(&self, disk: &dyn Disk) -> io::Result<()> {
        for file in &self.files {
            file.sync()?;
        }
        self.new_names.as_ref().map_or(Ok(()), |names| names.sync(disk, &self.dir))
    }
}

/// The names in the directory of a log, which more than one worker may want durable.
///
/// Invariant: after one error no sync of them succeeds any more. The names that the failed one should have covered may
/// be lost, and whoever syncs next would not be told.
#[derive(Default)]
pub struct Names {
    failed: Mutex<bool>,
}

impl Names {
    /// Makes them durable.
    pub fn sync(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *failed {
            return Err(io::Error::other("an earlier sync of the directory failed"));
        }
        let synced = disk.sync_dir(dir);
        *failed = synced.is_err();
        synced
    }
}

impl IndexWrite {
    /// Writes the entries behind those that are there; the count of entries that the file then holds.
    pub fn run(&self, disk: &dyn Disk, dir: &Path) -> io::Result<usize> {
        let path = dir.join(index_name(self.base));
        let mut bytes = Vec::with_capacity(index::HEADER + self.entries.len() * index::ENTRY);
        let mut at = 0;
        let how = if self.from == 0 {
            bytes.extend_from_slice(&index::header(self.base));
            Open::Replace
        } else {
            at = (index::HEADER + self.from * index::ENTRY) as u64;
            Open::Write
        };
        for entry in &self.entries {
            bytes.extend_from_slice(&index::encode(self.base, entry));
        }
        disk.open(&path, how)?.write_at(at, &[IoSlice::new(&bytes)])?;
        Ok(self.from + self.entries.len())
    }
}

/// Writes and syncs the mark, so that a moved log start offset survives a crash.
pub struct MarkWrite {
    pub(super) mark: Arc<MarkFile>,
    pub(super) epochs: EpochWrite,
    pub(super) durable: Boundary,
    pub(super) log_start: i64,
}

impl MarkWrite {
    /// Runs on a worker. The mark does not move past an epoch that its file does not have.
    pub fn run(self) -> io::Result<()> {
        self.epochs.run()?;
        self.mark.write(self.durable, self.log_start)
    }
}

/// Removes the files of expired segments.
pub struct Unlink {
    pub(super) dir: Arc<Path>,
    pub(super) mark: MarkWrite,
    /// Held until here, so that the last close, which is what frees the blocks, happens on the worker.
    pub(super) segments: Vec<(i64, Arc<Backing>)>,
}

impl Unlink {
    /// Runs on a worker. The new log start offset is made durable first: a crash halfway then leaves files that the
    /// next start knows to be deleted, whichever of the removals survived. So the directory is not synced here: if that
    /// failed, the names of new segments would be lost with it, and the sync that waits for them would not be told.
    pub fn run(self, disk: &dyn Disk) -> io::Result<()> {
        let log_start = self.mark.log_start;
        self.mark.run()?;
        for (base, _) in &self.segments {
            remove_segment(disk, &self.dir, *base)?;
        }
        torn::remove_before(disk, &self.dir, log_start)
    }
}

/// Removes a segment's files; one that is gone already is fine.
pub fn remove_segment(disk: &dyn Disk, dir: &Path, base: i64) -> io::Result<()> {
    for name in [index_name(base), log_name(base)] {
        match disk.remove_file(&dir.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}
