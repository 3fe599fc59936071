//! The disk of the machine, through the kernel's page cache.
//!
//! Invariant: no symbolic link is followed for a name that krappy opens, files are readable by their owner only, and a
//! call that says it has written or synced everything has.

use std::fs;
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Disk, Entry, File, Kind, Map, Open, Space};
use crate::os;

/// The real file system. Paths are taken as they are, relative ones from the working directory.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let file = options(how).open(path).map_err(|e| explain_link(e, path))?;
        if !file.metadata()?.is_file() {
            return Err(refusal(path, "is not an ordinary file"));
        }
        Ok(Arc::new(RealFile(file)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                if fs::symlink_metadata(path)?.is_dir() {
                    Ok(())
                } else {
                    Err(refusal(path, "exists and is not a directory"))
                }
            }
            result => result,
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // A file may be removed by a worker between the two calls; then it is not there.
            match entry.metadata() {
                Ok(meta) => entries.push(describe(&entry, &meta)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        fs::OpenOptions::new().read(true).custom_flags(flags).open(directory(path))?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>> {
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(|e| explain_link(e, path))?;
        file.try_lock()?;
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Box::new(file))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let (free, total) = os::file_system_space(directory(path))?;
        Ok(Space { free, total })
    }
}

/// The process id that [`Disk::lock`] wrote into a lock file; `None` when the file says nothing sensible.
pub fn lock_holder(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The parent of a relative name such as `data` is the empty path, by which the kernel means nothing at all.
fn directory(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn options(how: Open) -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    // O_NONBLOCK means nothing to an ordinary file; without it, opening a named pipe would wait for its other end.
    options.read(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    match how {
        Open::Read => &mut options,
        Open::Write => options.write(true),
        Open::CreateNew => options.write(true).create_new(true),
        Open::Replace => options.write(true).create(true).truncate(true),
    };
    options
}

fn explain_link(error: io::Error, path: &Path) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ELOOP) => refusal(path, "is a symbolic link, and those are not followed"),
        _ => error,
    }
}

fn refusal(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{} {why}", path.display()))
}

fn describe(entry: &fs::DirEntry, meta: &fs::Metadata) -> Entry {
    let kind = match meta.file_type() {
        t if t.is_file() => Kind::File,
        t if t.is_dir() => Kind::Dir,
        _ => Kind::Other,
    };
    let len = if kind == Kind::File { meta.len() } else { 0 };
    Entry { name: entry.file_name().to_string_lossy().into_owned(), kind, len }
}

#[derive(Debug)]
struct RealFile(fs::File);

/// Set when the kernel or the file system turned out not to know RWF_NOWAIT; from then on reads are plain.
static NO_CACHED_READS: AtomicBool = AtomicBool::new(false);

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(&mut buf[done..], at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn read_cached(&self, at: u64, buf: &mut [u8]) -> io::Result<Option<usize>> {
        if NO_CACHED_READS.load(Ordering::Relaxed) {
            return self.read_at(at, buf).map(Some);
        }
        match os::pread_cached(&self.0, buf, at) {
            Ok(n) if n == buf.len() || at + n as u64 >= self.len()? => Ok(Some(n)),
            Ok(_) => Ok(None),
            Err(e) => match e.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR) => Ok(None),
                Some(libc::EOPNOTSUPP | libc::ENOSYS) => {
                    NO_CACHED_READS.store(true, Ordering::Relaxed);
                    self.read_at(at, buf).map(Some)
                }
                _ => Err(e),
            },
        }
    }

    fn write_at(&self, at: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        match parts {
            [] => Ok(()),
            [one] => self.0.write_all_at(one, at),
            many => write_parts(many.to_vec(), at, |parts, at| os::pwritev(&self.0, parts, at)),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn map(&self) -> io::Result<Map> {
        Map::of_file(&self.0)
    }
}

/// Calls `write` until every part is written: it may write less than offered, and take fewer parts than there are.
fn write_parts(
    mut parts: Vec<IoSlice<'_>>,
    mut at: u64,
    mut write: impl FnMut(&[IoSlice<'_>], u64) -> io::Result<usize>,
) -> io::Result<()> {
    let mut left = &mut parts[..];
    // Empty parts go first: a call that is offered nothing writes nothing, which otherwise means a full disk.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match write(left, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                at += n as u64;
                IoSlice::advance_slices(&mut left, n);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    /// A folder of one test, removed with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("krappy-disk-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            RealDisk.create_dir(&path).unwrap();
            Folder(path)
        }

        fn file(&self, name: &str, content: &[u8]) -> Arc<dyn File> {
            let file = RealDisk.open(&self.0.join(name), Open::Replace).unwrap();
            file.write_at(0, &[IoSlice::new(content)]).unwrap();
            file
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_written_is_read_back_in_every_way() {
        let folder = Folder::new("read");
        let file = folder.file("f", b"hello world");
        let mut buf = [0; 32];
        assert_eq!(file.read_at(6, &mut buf).unwrap(), 5);
        assert_eq!(&buf[..5], b"world");
        assert_eq!(file.read_cached(0, &mut buf[..5]).unwrap(), Some(5));
        assert_eq!(&buf[..5], b"hello");
        assert_eq!(
            file.read_cached(6, &mut buf).unwrap(),
            Some(5),
            "the end of the file is not a cache miss"
        );
        assert_eq!(file.read_at(100, &mut buf).unwrap(), 0);
        assert_eq!(&*file.map().unwrap(), b"hello world");
        file.sync().unwrap();
        RealDisk.sync_dir(&folder.0).unwrap();
    }

    #[test]
    fn many_parts_arrive_in_order_even_beyond_what_the_kernel_takes_at_once() {
        let folder = Folder::new("parts");
        let file = folder.file("f", b"");
        let pieces: Vec<Vec<u8>> = (0..2500u32).map(|i| vec![i as u8; (i % 3) as usize]).collect();
        let parts: Vec<IoSlice> = pieces.iter().map(|p| IoSlice::new(p)).collect();
        file.write_at(7, &parts).unwrap();
        let map = file.map().unwrap();
        assert_eq!((&map[..7], &map[7..]), (&[0; 7][..], &pieces.concat()[..]));
    }

    #[test]
    fn short_and_interrupted_writes_are_continued() {
        let (a, b) = ([1u8; 10], [2u8; 10]);
        let parts = vec![IoSlice::new(&[]), IoSlice::new(&a), IoSlice::new(&[]), IoSlice::new(&b)];
        let (mut out, mut calls) = (Vec::new(), 0);
        write_parts(parts, 0, |parts, at| {
            calls += 1;
            assert_eq!(at, out.len() as u64);
            if calls % 2 == 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let n = parts[0].len().min(3);
            out.extend_from_slice(&parts[0][..n]);
            Ok(n)
        })
        .unwrap();
        assert_eq!(out, [a, b].concat());
        let error = write_parts(vec![IoSlice::new(&a)], 0, |_, _| Ok(0)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }

    #[test]
    fn opening_respects_what_exists() {
        let folder = Folder::new("open");
        let path = folder.0.join("f");
        let kind = |how| RealDisk.open(&path, how).err().map(|e| e.kind());
        assert_eq!(kind(Open::Read), Some(io::ErrorKind::NotFound));
        assert_eq!(kind(Open::Write), Some(io::ErrorKind::NotFound));
        assert_eq!(kind(Open::CreateNew), None);
        assert_eq!(kind(Open::CreateNew), Some(io::ErrorKind::AlreadyExists));
        folder.file("f", b"abc");
        assert_eq!(RealDisk.open(&path, Open::Write).unwrap().len().unwrap(), 3);
        assert!(RealDisk.open(&path, Open::Replace).unwrap().is_empty().unwrap());
        assert!(RealDisk.open(&folder.0, Open::Read).is_err(), "a directory is not a file");
    }

    #[test]
    fn links_and_pipes_are_refused_and_listed_as_other() {
        let folder = Folder::new("links");
        folder.file("target", b"secret");
        let link = folder.0.join("link");
        symlink(folder.0.join("target"), &link).unwrap();
        symlink(&folder.0, folder.0.join("loop")).unwrap();
        for how in [Open::Read, Open::Write, Open::CreateNew, Open::Replace] {
            assert!(RealDisk.open(&link, how).is_err(), "{how:?}");
        }
        assert!(RealDisk.lock(&link).is_err());
        assert!(RealDisk.create_dir(&folder.0.join("loop")).is_err());
        assert!(RealDisk.sync_dir(&folder.0.join("loop")).is_err());
        let kinds: Vec<_> =
            RealDisk.list(&folder.0).unwrap().into_iter().map(|e| (e.name, e.kind, e.len)).collect();
        let expected = [("link", Kind::Other, 0), ("loop", Kind::Other, 0), ("target", Kind::File, 6)]
            .map(|(n, k, l)| (n.into(), k, l));
        assert_eq!(kinds, expected);
    }

    #[test]
    fn only_the_owner_may_look() {
        let folder = Folder::new("mode");
        folder.file("f", b"");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.0), mode(&folder.0.join("f"))), (0o700, 0o600));
    }

    #[test]
    fn names_change_as_told() {
        let folder = Folder::new("names");
        let at = |name: &str| folder.0.join(name);
        folder.file("a", b"new");
        folder.file("b", b"old");
        RealDisk.rename(&at("a"), &at("b")).unwrap();
        assert_eq!(super::super::read_file(&RealDisk, &at("b")).unwrap(), b"new");
        RealDisk.create_dir(&at("d")).unwrap();
        RealDisk.create_dir(&at("d")).unwrap();
        assert!(RealDisk.create_dir(&at("b")).is_err(), "there is a file of that name");
        assert!(RealDisk.remove_file(&at("d")).is_err());
        RealDisk.remove_dir(&at("d")).unwrap();
        RealDisk.remove_file(&at("b")).unwrap();
        assert!(RealDisk.list(&folder.0).unwrap().is_empty());
        super::super::replace_file(&RealDisk, &at("c"), b"whole").unwrap();
        assert_eq!(RealDisk.list(&folder.0).unwrap().len(), 1);
    }

    #[test]
    fn a_lock_is_held_once_and_names_its_holder() {
        let folder = Folder::new("lock");
        let path = folder.0.join("lock");
        assert_eq!(lock_holder(&path), None);
        let held = RealDisk.lock(&path).unwrap();
        assert_eq!(lock_holder(&path), Some(std::process::id()));
        assert_eq!(RealDisk.lock(&path).err().map(|e| e.kind()), Some(io::ErrorKind::WouldBlock));
        assert_eq!(lock_holder(&path), Some(std::process::id()), "the loser leaves the content alone");
        drop(held);
        assert!(RealDisk.lock(&path).is_ok());
    }

    #[test]
    fn a_file_is_cut_extended_and_mapped_when_empty() {
        let folder = Folder::new("cut");
        let file = folder.file("f", b"abcdef");
        file.truncate(2).unwrap();
        file.truncate(4).unwrap();
        assert_eq!(&*file.map().unwrap(), b"ab\0\0");
        file.truncate(0).unwrap();
        assert!(file.map().unwrap().is_empty());
        assert!(RealDisk.space(&folder.0).unwrap().total > 0);
    }
}
