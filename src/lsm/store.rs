//! What a flush and a merge share: where runs are written, what numbers they get, and how a change becomes durable.
//!
//! Invariant: a number is given out once in the life of a process, and a run is part of the tree only when the manifest
//! says so durably. Until then its file is an orphan that the next opening removes.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::meta::run_name;
use super::{Edit, Manifest, Run, RunMeta, RunWriter};
use crate::disk::Disk;

/// The folder of a tree, for workers.
#[derive(Clone)]
pub(super) struct Store {
    dir: Arc<Path>,
    manifest: Arc<Manifest>,
    next_number: Arc<AtomicU64>,
    /// As the manifest has it. A flush and a merge may end in either order, and it must not move back.
    horizon: Arc<Mutex<i64>>,
}

/// What a flush or a merge does to the runs of a tree. It can be applied before or after the change of another job:
/// a flush adds to level 0 only, and a merge removes what it has read.
#[derive(Default)]
pub(super) struct Change {
    pub(super) covered: Option<i64>,
    pub(super) horizon: i64,
    pub(super) added: Vec<(usize, Arc<Run>)>,
    pub(super) removed: Vec<u64>,
}

impl Store {
    pub(super) fn new(dir: Arc<Path>, manifest: Manifest, next_number: u64, horizon: i64) -> Store {
        let next_number = Arc::new(AtomicU64::new(next_number));
        Store { dir, manifest: Arc::new(manifest), next_number, horizon: Arc::new(Mutex::new(horizon)) }
    }

    /// A new run file with a new number, which is pushed to `numbers` even when the file cannot be created.
    pub(super) fn create(&self, disk: &dyn Disk, numbers: &mut Vec<u64>) -> io::Result<RunWriter> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        numbers.push(number);
        RunWriter::create(disk, &self.dir, number)
    }

    pub(super) fn open(&self, disk: &dyn Disk, meta: RunMeta) -> io::Result<Arc<Run>> {
        Ok(Arc::new(Run::open(disk, &self.dir, meta)?))
    }

    /// Makes a change durable. After an error nobody knows whether it is, and every later call fails.
    pub(super) fn apply(&self, change: &Change) -> io::Result<()> {
        let mut horizon = self.horizon.lock().unwrap_or_else(PoisonError::into_inner);
        *horizon = change.horizon.max(*horizon);
        self.manifest.apply(&Edit {
            covered: change.covered,
            horizon: Some(*horizon),
            added: change.added.iter().map(|(level, run)| (*level as u8, run.meta().clone())).collect(),
            removed: change.removed.clone(),
        })
    }

    /// Removes run files that are not, or not any more, part of the tree. Readers that have them open go on reading.
    /// What cannot be removed is left to the next opening.
    pub(super) fn remove(&self, disk: &dyn Disk, numbers: &[u64]) {
        for number in numbers {
            let _ = disk.remove_file(&self.dir.join(run_name(*number)));
        }
    }
}
