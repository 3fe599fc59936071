//! A disk that reads for real and changes nothing: what a dry run recovers on.
//!
//! Invariant: no call reaches the real disk that could change it. A file that was made or renamed here exists, accepts
//! writes, and is empty when read; recovery never reads back what it wrote.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{Disk, Entry, File, Map, Open, Space};

/// The disk of a dry run.
pub struct Pretend {
    real: Arc<dyn Disk>,
    made: Mutex<BTreeSet<PathBuf>>,
}

impl Pretend {
    /// Pretends on top of `real`.
    pub fn new(real: Arc<dyn Disk>) -> Self {
        Self { real, made: Mutex::new(BTreeSet::new()) }
    }

    fn make(&self, path: &Path) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
    }

    fn is_made(&self, path: &Path) -> bool {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }
}

impl Disk for Pretend {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        if matches!(how, Open::CreateNew | Open::Replace) {
            self.make(path);
        }
        let real = if self.is_made(path) { None } else { Some(self.real.open(path, Open::Read)?) };
        Ok(Arc::new(PretendFile(real)))
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.real.list(path)
    }

    fn rename(&self, _: &Path, to: &Path) -> io::Result<()> {
        self.make(to);
        Ok(())
    }

    fn remove_file(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>> {
        self.real.lock(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.real.space(path)
    }
}

/// A real file that is only read, or one that was made here.
struct PretendFile(Option<Arc<dyn File>>);

impl File for PretendFile {
    fn len(&self) -> io::Result<u64> {
        self.0.as_ref().map_or(Ok(0), |file| file.len())
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.as_ref().map_or(Ok(0), |file| file.read_at(at, buf))
    }

    fn read_cached(&self, at: u64, buf: &mut [u8]) -> io::Result<Option<usize>> {
        self.read_at(at, buf).map(Some)
    }

    fn write_at(&self, _: u64, _: &[IoSlice<'_>]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn map(&self) -> io::Result<Map> {
        match &self.0 {
            Some(file) => file.map(),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
