//! The disk as the broker sees it: two small traits, so that the real one, the simulated one and a failing one are
//! interchangeable.
//!
//! Invariant: nothing written is durable before [`File::sync`] has returned, and no name (new, renamed or removed) is
//! durable before [`Disk::sync_dir`] of its directory has. Whoever needs durability calls both; no implementation may
//! promise more, and the simulated one takes back everything else at a crash.

pub mod faulty;
pub mod map;
pub mod real;
pub mod sim;

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

pub use map::Map;

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// Must exist; only read.
    Read,
    /// Must exist; read and write.
    Write,
    /// Must not exist; read and write.
    CreateNew,
    /// Emptied if it exists, created if not; read and write.
    Replace,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name; names that are not UTF-8 come with replacement characters, and cannot be opened.
    pub name: String,
    /// What it is. Symbolic links are never followed.
    pub kind: Kind,
    /// Bytes, for a file.
    pub len: u64,
}

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An ordinary file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link, socket or anything else that krappy never makes.
    Other,
}

/// Room on the file system that holds a path, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What an ordinary user may still write.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

/// Names and directories.
pub trait Disk: Send + Sync {
    /// Opens a file; symbolic links are refused.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;
    /// Creates one directory; its parent must exist. An existing directory is fine.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Everything in a directory, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// Renames within one file system, replacing a file of the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes an exclusive lock that ends with the value or the process. `WouldBlock`: somebody else holds it; the
    /// file's content, written by [`Disk::lock`] itself, is the holder's process id.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>>;
    /// Room on the file system of `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// One open file. Offsets and lengths in bytes.
pub trait File: Send + Sync {
    /// The length now.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file holds nothing.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads from `at` until `buf` is full or the file ends; the count read. May wait for the device.
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// As [`File::read_at`], but never waits for the device: `None` when some of it is not in memory.
    fn read_cached(&self, at: u64, buf: &mut [u8]) -> io::Result<Option<usize>>;
    /// Writes all parts, one after the other, from `at` on. On an error, nobody knows what the range holds.
    fn write_at(&self, at: u64, parts: &[IoSlice<'_>]) -> io::Result<()>;
    /// fdatasync: content and length are durable when this returns. An error is final: never sync this file again.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file, or extends it with zeros.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// The whole content as it is now, read-only. For files that nobody shortens any more.
    fn map(&self) -> io::Result<Map>;
}

/// Reads a whole small file.
pub fn read_file(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Open::Read)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).expect("a file fits the address space")];
    let n = file.read_at(0, &mut bytes)?;
    bytes.truncate(n);
    Ok(bytes)
}

/// Removes a folder with everything in it; fine if it is not there. Only ever called on folders under our own prefixes.
pub fn remove_tree(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let entries = match disk.list(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let path = path.join(&entry.name);
        match entry.kind {
            Kind::Dir => remove_tree(disk, &path)?,
            _ => disk.remove_file(&path)?,
        }
    }
    disk.remove_dir(path)
}

/// Replaces a small file so that a crash leaves the old content or the new one, whole: write aside, sync, rename, sync
/// the directory.
pub fn replace_file(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    swap_file(disk, path, content)?;
    disk.sync_dir(path.parent().expect("a file lies in a directory"))
}

/// As [`replace_file`], but after a crash it may be the old content although this has returned. For caches beside files
/// that matter: a sync of their directory that fails here would be a failure of those, and go unnoticed.
pub fn swap_file(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".tmp");
    let aside = Path::new(&aside);
    let file = disk.open(aside, Open::Replace)?;
    file.write_at(0, &[IoSlice::new(content)])?;
    file.sync()?;
    disk.rename(aside, path)
}
