//! Side files: what recovery cuts off is kept, never destroyed.
//!
//! `torn-<base>-<position>` holds the bytes that lay at that position of the segment with that base offset. They go
//! when retention passes the segment. A second cut at the same place gets a number at the end.
//!
//! Invariant: a side file has its final name only when it is whole and durable, and the cut is made after that.

use std::io::{self, IoSlice};
use std::path::Path;

use crate::disk::{Disk, File, Open};

/// What is copied at a time.
const PIECE: usize = 1 << 20;
const PREFIX: &str = "torn-";

/// Whether a name is that of a side file, and the base offset of its segment.
pub fn parse_name(name: &str) -> Option<i64> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-');
    let base = parts.next()?.parse().ok()?;
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    (parts.clone().count() >= 1 && parts.all(digits)).then_some(base)
}

/// Keeps `file[from..to]`, the end of the segment at `base`; returns the side file's name. If that has been done
/// before, by a recovery that crashed, the file of that time is as good.
pub fn keep_bytes(
    disk: &dyn Disk,
    dir: &Path,
    base: i64,
    file: &dyn File,
    from: u64,
    to: u64,
) -> io::Result<String> {
    let Some(name) = free_name(disk, dir, base, from, |kept| same_bytes(file, from, to, kept))? else {
        // Its name may not be durable yet.
        disk.sync_dir(dir)?;
        return Ok(name_of(base, from, 0));
    };
    copy_aside(disk, dir, &name, file, from, to)?;
    Ok(name)
}

/// Keeps a whole segment file by giving it the name of a side file. The caller syncs the directory.
pub fn keep_file(disk: &dyn Disk, dir: &Path, base: i64, file_name: &str) -> io::Result<String> {
    let name = free_name(disk, dir, base, 0, |_| Ok(false))?.expect("no file was taken for the same");
    disk.rename(&dir.join(file_name), &dir.join(&name))?;
    Ok(name)
}

/// Copies a part of a file to a new one, whole and durable before it gets its name, which may replace the original.
pub fn copy_aside(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    file: &dyn File,
    from: u64,
    to: u64,
) -> io::Result<()> {
    let aside = dir.join(format!("{name}.tmp"));
    let copy = disk.open(&aside, Open::Replace)?;
    let mut piece = vec![0; PIECE.min((to - from) as usize)];
    let mut at = from;
    while at < to {
        let len = piece.len().min((to - at) as usize);
        let n = file.read_at(at, &mut piece[..len])?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
        }
        copy.write_at(at - from, &[IoSlice::new(&piece[..n])])?;
        at += n as u64;
    }
    copy.sync()?;
    disk.rename(&aside, &dir.join(name))?;
    disk.sync_dir(dir)
}

/// How many bytes from the two positions on are the same in both files, up to `len`.
pub fn common_bytes(a: &dyn File, a_at: u64, b: &dyn File, b_at: u64, len: u64) -> io::Result<u64> {
    let mut left = vec![0; PIECE.min(len as usize)];
    let mut right = left.clone();
    let mut same = 0;
    while same < len {
        let piece = left.len().min((len - same) as usize);
        let n = a.read_at(a_at + same, &mut left[..piece])?;
        let m = b.read_at(b_at + same, &mut right[..piece])?;
        let n = n.min(m);
        let equal = left[..n].iter().zip(&right[..n]).take_while(|(a, b)| a == b).count();
        same += equal as u64;
        if equal < piece {
            break;
        }
    }
    Ok(same)
}

/// Removes the side files of segments below the log start offset.
pub fn remove_before(disk: &dyn Disk, dir: &Path, log_start: i64) -> io::Result<()> {
    for entry in disk.list(dir)? {
        if parse_name(&entry.name).is_some_and(|base| base < log_start) {
            disk.remove_file(&dir.join(entry.name))?;
        }
    }
    Ok(())
}

fn name_of(base: i64, position: u64, again: u32) -> String {
    match again {
        0 => format!("{PREFIX}{base:020}-{position}"),
        n => format!("{PREFIX}{base:020}-{position}-{n}"),
    }
}

/// The first name for a cut that no file has; `None` if one of them is the very same cut.
fn free_name(
    disk: &dyn Disk,
    dir: &Path,
    base: i64,
    position: u64,
    same: impl Fn(&dyn File) -> io::Result<bool>,
) -> io::Result<Option<String>> {
    for again in 0.. {
        let name = name_of(base, position, again);
        match disk.open(&dir.join(&name), Open::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Some(name)),
            Err(e) => return Err(e),
            Ok(kept) if same(&*kept)? => return Ok(None),
            Ok(_) => {}
        }
    }
    unreachable!("some number is free")
}

fn same_bytes(file: &dyn File, from: u64, to: u64, kept: &dyn File) -> io::Result<bool> {
    Ok(kept.len()? == to - from && common_bytes(file, from, kept, 0, to - from)? == to - from)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::disk::sim::SimDisk;

    const DIR: &str = "/";

    fn keep(sim: &SimDisk, content: &[u8], from: u64) -> String {
        let log = PathBuf::from("/log");
        sim.set_raw(&log, content).unwrap();
        let file = sim.open(&log, Open::Read).unwrap();
        keep_bytes(sim, Path::new(DIR), 5, &*file, from, content.len() as u64).unwrap()
    }

    #[test]
    fn the_same_cut_is_kept_once_and_another_one_under_another_name() {
        let sim = SimDisk::new(1);
        assert_eq!(keep(&sim, b"good torn", 5), "torn-00000000000000000005-5");
        assert_eq!(keep(&sim, b"good torn", 5), "torn-00000000000000000005-5", "a recovery that is repeated");
        assert_eq!(sim.files().len(), 2);
        assert_eq!(keep(&sim, b"good gone", 5), "torn-00000000000000000005-5-1", "nothing is overwritten");
        assert_eq!(sim.raw(Path::new("/torn-00000000000000000005-5")).unwrap(), b"torn");
        assert_eq!(sim.raw(Path::new("/torn-00000000000000000005-5-1")).unwrap(), b"gone");
    }

    #[test]
    fn side_files_go_with_their_segment() {
        let sim = SimDisk::new(1);
        keep(&sim, b"good torn", 5);
        remove_before(&sim, Path::new(DIR), 5).unwrap();
        assert_eq!(sim.files().len(), 2);
        remove_before(&sim, Path::new(DIR), 6).unwrap();
        assert_eq!(sim.files(), [PathBuf::from("/log")]);
    }

    #[test]
    fn common_bytes_are_counted_up_to_the_first_difference_or_end() {
        let sim = SimDisk::new(1);
        for (name, content) in [("/a", &b"__abcdef"[..]), ("/b", b"abcxef"), ("/c", b"ab")] {
            sim.set_raw(Path::new(name), content).unwrap();
        }
        let [a, b, c] = ["/a", "/b", "/c"].map(|n| sim.open(Path::new(n), Open::Read).unwrap());
        assert_eq!(common_bytes(&*a, 2, &*b, 0, 6).unwrap(), 3);
        assert_eq!(common_bytes(&*a, 2, &*c, 0, 6).unwrap(), 2);
        assert_eq!(common_bytes(&*a, 2, &*a, 2, 6).unwrap(), 6);
    }
}
