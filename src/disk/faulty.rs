//! A disk that is another disk, with something before every sync: a pause, as on a slow device.
//!
//! Invariant: whatever happens before a sync, the sync itself and everything else is done by the disk within, with its
//! result.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::{Disk, Entry, File, Map, Open, Space};

type Hook = Arc<dyn Fn() + Send + Sync>;

/// A disk with slow syncs. Handles keep what they were opened with.
#[derive(Clone)]
pub struct FaultyDisk {
    within: Arc<dyn Disk>,
    before_sync: Hook,
}

impl FaultyDisk {
    /// Every sync of a file or directory takes this much longer, on the thread that calls it.
    pub fn slow(within: Arc<dyn Disk>, delay: Duration) -> FaultyDisk {
        FaultyDisk::new(within, move || thread::sleep(delay))
    }

    /// Calls `before_sync` before every sync of a file or directory.
    pub fn new(within: Arc<dyn Disk>, before_sync: impl Fn() + Send + Sync + 'static) -> FaultyDisk {
        FaultyDisk { within, before_sync: Arc::new(before_sync) }
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let within = self.within.open(path, how)?;
        Ok(Arc::new(FaultyFile { within, before_sync: self.before_sync.clone() }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.within.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.within.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.within.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.within.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.within.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        (self.before_sync)();
        self.within.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>> {
        self.within.lock(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.within.space(path)
    }
}

struct FaultyFile {
    within: Arc<dyn File>,
    before_sync: Hook,
}

impl File for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.within.len()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.within.read_at(at, buf)
    }

    fn read_cached(&self, at: u64, buf: &mut [u8]) -> io::Result<Option<usize>> {
        self.within.read_cached(at, buf)
    }

    fn write_at(&self, at: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.within.write_at(at, parts)
    }

    fn sync(&self) -> io::Result<()> {
        (self.before_sync)();
        self.within.sync()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.within.truncate(len)
    }

    fn map(&self) -> io::Result<Map> {
        self.within.map()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sim::{Fault, SimDisk};
    use super::super::{read_file, replace_file};
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn every_sync_waits_and_nothing_else_does() {
        let sim = SimDisk::new(1);
        let waits = Arc::new(AtomicU32::new(0));
        let counter = waits.clone();
        let disk = FaultyDisk::new(Arc::new(sim.clone()), move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        replace_file(&disk, Path::new("/f"), b"abc").unwrap();
        assert_eq!(waits.load(Ordering::Relaxed), 2, "the file and its directory");
        assert_eq!(read_file(&disk, Path::new("/f")).unwrap(), b"abc");
        assert_eq!(sim.raw_durable(Path::new("/f")).unwrap(), b"abc");
        assert_eq!(waits.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn errors_of_the_disk_within_come_through() {
        let sim = SimDisk::new(1);
        let disk = FaultyDisk::slow(Arc::new(sim.clone()), Duration::ZERO);
        sim.fail_sync(1, Fault::Io);
        assert!(replace_file(&disk, Path::new("/f"), b"abc").is_err());
        assert!(disk.open(Path::new("/none"), Open::Read).is_err());
    }
}
