//! A disk that reads for real and changes nothing: what a dry run recovers on.
//!
//! Invariant: no call reaches the real disk that could change it. A file that was made here exists, accepts writes, and
//! is empty when read; recovery reads back nothing but copies. A file that was cut here has its new length, and so has
//! one that another was renamed over: what replaces a segment is a copy of its front.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, Entry, File, Map, Open, Space};

/// The disk of a dry run.
pub struct Pretend {
    real: Arc<dyn Disk>,
    changed: Arc<Mutex<Changed>>,
}

/// Files that are no longer what they are: made here, or cut to a length.
type Changed = BTreeMap<PathBuf, Change>;

#[derive(Clone, Copy)]
enum Change {
    /// With so many bytes in it.
    Made(u64),
    Cut(u64),
}

impl Pretend {
    /// Pretends on top of `real`.
    pub fn new(real: Arc<dyn Disk>) -> Self {
        Self { real, changed: Arc::default() }
    }

    fn make(&self, path: &Path) {
        lock(&self.changed).insert(path.to_owned(), Change::Made(0));
    }

    fn is_made(&self, path: &Path) -> bool {
        matches!(lock(&self.changed).get(path), Some(Change::Made(_)))
    }
}

fn lock(changed: &Mutex<Changed>) -> MutexGuard<'_, Changed> {
    changed.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk for Pretend {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        if matches!(how, Open::CreateNew | Open::Replace) {
            self.make(path);
        }
        let real = if self.is_made(path) { None } else { Some(self.real.open(path, Open::Read)?) };
        Ok(Arc::new(PretendFile { real, path: path.to_owned(), changed: self.changed.clone() }))
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.real.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let len = match lock(&self.changed).get(from) {
            Some(Change::Made(len)) => *len,
            _ => 0,
        };
        let replaces = !self.is_made(to) && self.real.open(to, Open::Read).is_ok();
        let change = if replaces { Change::Cut(len) } else { Change::Made(len) };
        lock(&self.changed).insert(to.to_owned(), change);
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
struct PretendFile {
    real: Option<Arc<dyn File>>,
    path: PathBuf,
    changed: Arc<Mutex<Changed>>,
}

impl File for PretendFile {
    fn len(&self) -> io::Result<u64> {
        let len = self.real.as_ref().map_or(Ok(0), |file| file.len())?;
        Ok(match lock(&self.changed).get(&self.path) {
            Some(Change::Cut(cut)) => len.min(*cut),
            _ => len,
        })
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.real.as_ref().map_or(Ok(0), |file| file.read_at(at, buf))
    }

    fn read_cached(&self, at: u64, buf: &mut [u8]) -> io::Result<Option<usize>> {
        self.read_at(at, buf).map(Some)
    }

    fn write_at(&self, at: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        if let Some(Change::Made(len)) = lock(&self.changed).get_mut(&self.path) {
            let end = at + parts.iter().map(|p| p.len() as u64).sum::<u64>();
            *len = (*len).max(end);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        lock(&self.changed).entry(self.path.clone()).or_insert(Change::Cut(len));
        Ok(())
    }

    fn map(&self) -> io::Result<Map> {
        match &self.real {
            Some(file) => file.map(),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
