//! A disk in memory that forgets what was not synced, and fails when told to.
//!
//! Invariant: whatever POSIX leaves open is decided by the seed, and by nothing else: the same calls on the same seed
//! give the same content, faults and [`SimDisk::state_hash`]. It is meant for one thread at a time.
//!
//! `tree.rs` holds names, `content.rs` the bytes of a file, `faults.rs` the plan of what goes wrong; here they meet the
//! traits.

mod content;
mod faults;
mod tree;

use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use faults::{Fault, Rng, is_crashed};
use faults::{Faults, Verdict, crashed};
use tree::{Id, Tree, os_error};

use super::{Disk, Entry, File, Map, Open, Space};

/// How the machine goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process dies. What it wrote stays readable, and stays as little durable as it was.
    KeepAll,
    /// Power fails, and nothing that was not synced has reached the device.
    LoseAll,
    /// Power fails, and each unsynced write, length and name has reached the device or not, in any combination; writes
    /// may be torn between sectors of 512 bytes, or leave their length with zeros for content.
    Random(u64),
}

/// A simulated disk; a clone is another handle on the same one.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Clone)]
struct State {
    tree: Tree,
    faults: Faults,
    /// Counts crashes: a handle or lock from before the last one is void.
    boot: u64,
    locks: Vec<(Id, u64)>,
    bad: Vec<(Id, u64, u64)>,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk::of(State {
            tree: Tree::new(),
            faults: Faults::new(seed),
            boot: 0,
            locks: Vec::new(),
            bad: Vec::new(),
        })
    }

    fn of(state: State) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(state)))
    }

    /// A disk of its own with the same content and plan, without handles and locks: for trying several crashes on one
    /// state.
    pub fn fork(&self) -> SimDisk {
        let mut state = self.state().clone();
        state.boot += 1;
        state.locks.clear();
        state.tree.crash(Crash::KeepAll);
        SimDisk::of(state)
    }

    /// Takes the machine down and up again. Handles and locks from before are void, planned faults are forgotten.
    pub fn crash(&self, how: Crash) {
        let mut state = self.state();
        state.tree.crash(how);
        state.faults.clear();
        state.boot += 1;
        state.locks.clear();
    }

    /// The `n`-th call from now that changes something (1 is the next) fails once.
    pub fn fail_after(&self, n: u64, fault: Fault) {
        self.state().faults.fail_call(n, fault);
    }

    /// The `n`-th sync of a file or directory from now (1 is the next) fails once.
    pub fn fail_sync(&self, n: u64, fault: Fault) {
        self.state().faults.fail_sync(n, fault);
    }

    /// At the `n`-th call from now that changes something, the process dies: before it, after it, or within a write.
    /// Every call from then on fails with an error that [`is_crashed`] recognises, until [`SimDisk::crash`].
    pub fn crash_at(&self, n: u64) {
        self.state().faults.die_at(n);
    }

    /// Whether a crash that was planned has come.
    pub fn has_crashed(&self) -> bool {
        self.state().faults.dead
    }

    /// Files may hold this many bytes together; `None` is no limit.
    pub fn space_limit(&self, bytes: Option<u64>) {
        self.state().faults.limit = bytes;
    }

    /// From now on [`File::read_cached`] answers `None` with this probability, from 0 to 1.
    pub fn cold(&self, probability: f64) {
        self.state().faults.cold = probability;
    }

    /// Reads of the bytes `from..to` of this file fail with EIO from now on.
    pub fn break_range(&self, path: &Path, from: u64, to: u64) -> io::Result<()> {
        let mut state = self.state();
        let id = state.tree.find_file(path)?;
        state.bad.push((id, from, to));
        Ok(())
    }

    /// How many calls that change something have been made.
    pub fn calls(&self) -> u64 {
        self.state().faults.calls
    }

    /// The last few thousand calls that change something, one line each.
    pub fn trace(&self) -> Vec<String> {
        self.state().faults.trace()
    }

    /// A number that differs, in all likelihood, when anything visible or durable differs.
    pub fn state_hash(&self) -> u64 {
        self.state().tree.hash()
    }

    /// The paths of all files, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().tree.files().into_iter().map(|(path, _)| path).collect()
    }

    /// What the running process would read from a file.
    pub fn raw(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        Ok(state.tree.file(state.tree.find_file(path)?).visible().to_vec())
    }

    /// What is certain to be on the device of a file that has this name now.
    pub fn raw_durable(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        Ok(state.tree.file(state.tree.find_file(path)?).durable().to_vec())
    }

    /// Replaces the content of a file, durably, without a call being counted; creates it if need be.
    pub fn set_raw(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let id = match state.tree.find_file(path) {
            Ok(id) => id,
            Err(_) => {
                let id = state.tree.create_file(path)?;
                state.tree.sync_dir(path.parent().unwrap_or(Path::new("/")))?;
                id
            }
        };
        state.tree.file_mut(id).sync();
        state.tree.file_mut(id).tamper(|bytes| *bytes = content.to_vec());
        Ok(())
    }

    /// Flips one bit of a file, counted from the first bit of its first byte: rot.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        let mut state = self.state();
        let id = state.tree.find_file(path)?;
        state.tree.file_mut(id).tamper(|bytes| {
            if let Some(byte) = bytes.get_mut((bit / 8) as usize) {
                *byte ^= 1 << (bit % 8);
            }
        });
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere must not hide its message behind this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call that changes names.
    fn change<T>(&self, call: String, apply: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        match state.faults.begin(false, call)? {
            Verdict::Go => apply(&mut state),
            Verdict::Fail(fault) => Err(fault.error()),
            Verdict::DieBefore | Verdict::DieWithin => Err(crashed()),
            Verdict::DieAfter => {
                // Its own failure does not matter any more.
                let _ = apply(&mut state);
                Err(crashed())
            }
        }
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("SimDisk").field("calls", &state.faults.calls).field("boot", &state.boot).finish()
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let open = |state: &mut State| {
            let id = match (how, state.tree.find_file(path)) {
                (Open::CreateNew, Ok(_)) => return Err(os_error(libc::EEXIST)),
                (Open::Replace, Ok(id)) => {
                    state.tree.file_mut(id).resize(0);
                    id
                }
                (Open::Replace | Open::CreateNew, Err(e)) if e.kind() == io::ErrorKind::NotFound => {
                    state.tree.create_file(path)?
                }
                (_, found) => found?,
            };
            state.tree.file_mut(id).opened();
            Ok((id, state.boot))
        };
        let (id, boot) = match how {
            Open::Read | Open::Write => {
                let mut state = self.state();
                state.faults.alive()?;
                open(&mut state)?
            }
            Open::CreateNew | Open::Replace => self.change(format!("{how:?} {}", path.display()), open)?,
        };
        Ok(Arc::new(SimFile { disk: self.clone(), id, boot, name: path.to_owned() }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change(format!("create_dir {}", path.display()), |state| state.tree.create_dir(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state();
        state.faults.alive()?;
        state.tree.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let call = format!("rename {} {}", from.display(), to.display());
        self.change(call, |state| state.tree.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(format!("remove_file {}", path.display()), |state| state.tree.remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change(format!("remove_dir {}", path.display()), |state| state.tree.remove_dir(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        match state.faults.begin(true, format!("sync_dir {}", path.display()))? {
            Verdict::Go => state.tree.sync_dir(path),
            Verdict::Fail(fault) => {
                state.tree.doom_dir(path)?;
                Err(fault.error())
            }
            Verdict::DieAfter => {
                let _ = state.tree.sync_dir(path);
                Err(crashed())
            }
            Verdict::DieBefore | Verdict::DieWithin => Err(crashed()),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>> {
        let mut state = self.state();
        state.faults.alive()?;
        let id = match state.tree.find_file(path) {
            Ok(id) => id,
            Err(_) => state.tree.create_file(path)?,
        };
        let boot = state.boot;
        if state.locks.contains(&(id, boot)) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.tree.file_mut(id).resize(0);
        state.tree.file_mut(id).write(0, b"1\n".to_vec());
        state.locks.push((id, boot));
        Ok(Box::new(SimLock { disk: self.clone(), key: (id, boot) }))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let state = self.state();
        state.faults.alive()?;
        state.tree.find(path)?;
        let total = state.faults.limit.unwrap_or(1 << 40);
        Ok(Space { free: total.saturating_sub(state.tree.used()), total })
    }
}

struct SimLock {
    disk: SimDisk,
    key: (Id, u64),
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locks.retain(|held| *held != self.key);
    }
}

struct SimFile {
    disk: SimDisk,
    id: Id,
    boot: u64,
    name: PathBuf,
}

impl SimFile {
    /// The state, if the machine has not crashed since this file was opened.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        state.faults.alive()?;
        if state.boot == self.boot { Ok(state) } else { Err(crashed()) }
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.tree.file(self.id).visible().len() as u64)
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.state()?.read(self.id, at, buf)
    }

    fn read_cached(&self, at: u64, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let mut state = self.state()?;
        let cold = state.faults.cold;
        if cold > 0.0 && state.faults.rng.chance(cold) {
            return Ok(None);
        }
        state.read(self.id, at, buf).map(Some)
    }

    fn write_at(&self, at: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let mut state = self.state()?;
        let call = format!("write {} {at}+{}", self.name.display(), bytes.len());
        let verdict = state.faults.begin(false, call)?;
        state.write(self.id, at, bytes, verdict)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state()?;
        match state.faults.begin(true, format!("sync {}", self.name.display()))? {
            Verdict::Go => {
                state.tree.file_mut(self.id).sync();
                Ok(())
            }
            Verdict::Fail(fault) => {
                state.tree.file_mut(self.id).doom();
                Err(fault.error())
            }
            Verdict::DieAfter => {
                state.tree.file_mut(self.id).sync();
                Err(crashed())
            }
            Verdict::DieBefore | Verdict::DieWithin => Err(crashed()),
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let verdict = state.faults.begin(false, format!("truncate {} {len}", self.name.display()))?;
        let growth = len.saturating_sub(state.tree.file(self.id).visible().len() as u64);
        match verdict {
            Verdict::Fail(fault) => return Err(fault.error()),
            Verdict::DieBefore | Verdict::DieWithin => return Err(crashed()),
            Verdict::Go if growth > state.room() => return Err(os_error(libc::ENOSPC)),
            Verdict::Go | Verdict::DieAfter => state.tree.file_mut(self.id).resize(len),
        }
        state.faults.alive()
    }

    fn map(&self) -> io::Result<Map> {
        let state = self.state()?;
        state.check_range(self.id, 0, u64::MAX)?;
        Ok(Map::of_bytes(state.tree.file(self.id).visible().to_vec()))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.boot == self.boot {
            state.tree.file_mut(self.id).closed();
        }
    }
}

impl State {
    fn read(&self, id: Id, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.check_range(id, at, at.saturating_add(buf.len() as u64))?;
        let content = self.tree.file(id).visible();
        let from = content.len().min(usize::try_from(at).unwrap_or(usize::MAX));
        let n = buf.len().min(content.len() - from);
        buf[..n].copy_from_slice(&content[from..from + n]);
        Ok(n)
    }

    fn check_range(&self, id: Id, from: u64, to: u64) -> io::Result<()> {
        let hit = self.bad.iter().any(|&(bad, start, end)| bad == id && start < to && from < end);
        if hit { Err(os_error(libc::EIO)) } else { Ok(()) }
    }

    fn write(&mut self, id: Id, at: u64, mut bytes: Vec<u8>, verdict: Verdict) -> io::Result<()> {
        let some = self.faults.rng.below(bytes.len() as u64) as usize;
        let (keep, result) = match verdict {
            Verdict::Go => (bytes.len(), Ok(())),
            Verdict::DieAfter => (bytes.len(), Err(crashed())),
            Verdict::DieWithin => (some, Err(crashed())),
            Verdict::DieBefore => (0, Err(crashed())),
            Verdict::Fail(fault) => (some, Err(fault.error())),
        };
        bytes.truncate(keep);
        let end = at + bytes.len() as u64;
        let growth = end.saturating_sub(self.tree.file(id).visible().len() as u64);
        let missing = growth.saturating_sub(self.room()) as usize;
        bytes.truncate(bytes.len().saturating_sub(missing));
        if !bytes.is_empty() {
            self.tree.file_mut(id).write(at, bytes);
        }
        if missing > 0 && result.is_ok() { Err(os_error(libc::ENOSPC)) } else { result }
    }

    /// Bytes that files may still grow by.
    fn room(&self) -> u64 {
        self.faults.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.tree.used()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{read_file, replace_file};
    use std::collections::BTreeSet;

    const F: &str = "/d/f";

    /// A disk with the durable directory `/d`.
    fn disk() -> SimDisk {
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new("/d")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk
    }

    fn write(file: &Arc<dyn File>, at: u64, bytes: &[u8]) -> io::Result<()> {
        file.write_at(at, &[IoSlice::new(bytes)])
    }

    /// A disk with a durable, open file `/d/f` of this content.
    fn with_file(content: &[u8]) -> (SimDisk, Arc<dyn File>) {
        let disk = disk();
        let file = disk.open(Path::new(F), Open::CreateNew).unwrap();
        write(&file, 0, content).unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        (disk, file)
    }

    fn content(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
        read_file(disk, Path::new(path)).ok()
    }

    /// What each of many crashes leaves of `path`.
    fn outcomes(disk: &SimDisk, path: &str) -> BTreeSet<Option<Vec<u8>>> {
        let one = |seed| {
            let fork = disk.fork();
            fork.crash(Crash::Random(seed));
            content(&fork, path)
        };
        (0..200).map(one).collect()
    }

    #[test]
    fn what_was_synced_survives_every_crash() {
        let (disk, _file) = with_file(b"abc");
        assert_eq!(outcomes(&disk, F), BTreeSet::from([Some(b"abc".to_vec())]));
        disk.crash(Crash::LoseAll);
        assert_eq!(content(&disk, F).unwrap(), b"abc");
    }

    #[test]
    fn an_unsynced_append_is_kept_lost_torn_or_zeros() {
        let (disk, file) = with_file(b"");
        write(&file, 0, &[7; 1024]).unwrap();
        let seen = outcomes(&disk, F);
        let half = [[7; 512], [0; 512]].concat();
        let other_half = [[0; 512], [7; 512]].concat();
        for expected in [vec![], vec![7; 1024], vec![0; 1024], half, other_half, vec![7; 512]] {
            assert!(seen.contains(&Some(expected.clone())), "no crash left {} bytes so", expected.len());
        }
        disk.crash(Crash::LoseAll);
        assert_eq!(content(&disk, F).unwrap(), b"");
    }

    #[test]
    fn unsynced_writes_may_survive_out_of_order() {
        let (disk, file) = with_file(&[0; 2]);
        write(&file, 0, b"1").unwrap();
        write(&file, 1, b"2").unwrap();
        let expected = [&[0, 0], b"1\0", b"\x002", b"12"].map(|bytes| Some(bytes.to_vec()));
        assert_eq!(outcomes(&disk, F), BTreeSet::from(expected));
    }

    #[test]
    fn a_write_within_a_sector_is_never_torn() {
        let (disk, file) = with_file(&[0; 512]);
        write(&file, 100, &[7; 300]).unwrap();
        for left in outcomes(&disk, F) {
            let left = left.unwrap();
            assert!(left[100..400] == [0; 300] || left[100..400] == [7; 300]);
        }
    }

    #[test]
    fn an_unsynced_cut_may_be_taken_back() {
        let (disk, file) = with_file(b"abc");
        file.truncate(1).unwrap();
        assert_eq!(outcomes(&disk, F), BTreeSet::from([Some(b"abc".to_vec()), Some(b"a".to_vec())]));
        file.sync().unwrap();
        assert_eq!(outcomes(&disk, F), BTreeSet::from([Some(b"a".to_vec())]));
    }

    #[test]
    fn a_synced_file_without_a_synced_name_may_vanish() {
        let disk = disk();
        let file = disk.open(Path::new(F), Open::CreateNew).unwrap();
        write(&file, 0, b"abc").unwrap();
        file.sync().unwrap();
        assert_eq!(outcomes(&disk, F), BTreeSet::from([None, Some(b"abc".to_vec())]));
        disk.sync_dir(Path::new("/d")).unwrap();
        assert_eq!(outcomes(&disk, F), BTreeSet::from([Some(b"abc".to_vec())]));
        disk.remove_file(Path::new(F)).unwrap();
        assert_eq!(outcomes(&disk, F), BTreeSet::from([None, Some(b"abc".to_vec())]));
    }

    #[test]
    fn a_directory_is_lost_with_what_it_holds() {
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new("/d")).unwrap();
        let file = disk.open(Path::new(F), Open::CreateNew).unwrap();
        write(&file, 0, b"abc").unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.crash(Crash::LoseAll);
        assert!(disk.list(Path::new("/")).unwrap().is_empty());
        assert!(disk.list(Path::new("/d")).is_err());
    }

    #[test]
    fn a_rename_leaves_the_old_file_or_the_new_one() {
        let (disk, _file) = with_file(b"old");
        let new = disk.open(Path::new("/d/new"), Open::CreateNew).unwrap();
        write(&new, 0, b"new").unwrap();
        new.sync().unwrap();
        disk.rename(Path::new("/d/new"), Path::new(F)).unwrap();
        assert_eq!(outcomes(&disk, F), BTreeSet::from([Some(b"old".to_vec()), Some(b"new".to_vec())]));
        disk.sync_dir(Path::new("/d")).unwrap();
        assert_eq!(outcomes(&disk, F), BTreeSet::from([Some(b"new".to_vec())]));
        assert_eq!(outcomes(&disk, "/d/new"), BTreeSet::from([None]));
    }

    #[test]
    fn a_rename_without_a_sync_of_the_content_may_leave_an_empty_file() {
        let (disk, _file) = with_file(b"old");
        let new = disk.open(Path::new("/d/new"), Open::CreateNew).unwrap();
        write(&new, 0, b"new").unwrap();
        disk.rename(Path::new("/d/new"), Path::new(F)).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        assert!(outcomes(&disk, F).contains(&Some(Vec::new())));
    }

    #[test]
    fn replacing_a_file_is_whole_at_every_crash_point() {
        for n in 1.. {
            let (disk, _file) = with_file(b"old");
            disk.crash_at(n);
            let done = replace_file(&disk, Path::new(F), b"newer");
            for left in outcomes(&disk, F) {
                let left = left.unwrap();
                assert!(left == b"newer" || (done.is_err() && left == b"old"), "call {n} left {left:?}");
            }
            match done {
                Ok(()) => return assert!(n > 4, "the sweep went through every call"),
                Err(e) => assert!(is_crashed(&e) && disk.has_crashed()),
            }
        }
    }

    #[test]
    fn after_a_failed_sync_a_later_one_succeeds_and_the_data_is_lost_all_the_same() {
        let (disk, file) = with_file(b"abc");
        write(&file, 3, b"def").unwrap();
        disk.fail_sync(1, Fault::Io);
        assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(libc::EIO));
        assert_eq!(content(&disk, F).unwrap(), b"abcdef", "readable from the cache");
        file.sync().unwrap();
        disk.crash(Crash::KeepAll);
        assert_eq!(content(&disk, F).unwrap(), b"abcdef", "also after the process died");
        disk.open(Path::new(F), Open::Write).unwrap().sync().unwrap();
        assert_eq!(outcomes(&disk, F), BTreeSet::from([Some(b"abc".to_vec())]));
    }

    #[test]
    fn after_a_failed_sync_of_a_directory_its_names_are_lost() {
        let disk = disk();
        disk.open(Path::new(F), Open::CreateNew).unwrap();
        disk.fail_sync(1, Fault::Io);
        assert!(disk.sync_dir(Path::new("/d")).is_err());
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.open(Path::new("/d/g"), Open::CreateNew).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        assert_eq!(disk.list(Path::new("/d")).unwrap().len(), 2);
        assert_eq!(outcomes(&disk, F), BTreeSet::from([None]));
        assert_eq!(outcomes(&disk, "/d/g"), BTreeSet::from([Some(vec![])]));
    }

    #[test]
    fn the_death_of_the_process_keeps_what_was_written_but_does_not_make_it_durable() {
        let (disk, file) = with_file(b"");
        write(&file, 0, b"abc").unwrap();
        disk.crash(Crash::KeepAll);
        assert_eq!(content(&disk, F).unwrap(), b"abc");
        assert_eq!(disk.raw_durable(Path::new(F)).unwrap(), b"");
        disk.crash(Crash::LoseAll);
        assert_eq!(content(&disk, F).unwrap(), b"");
    }

    #[test]
    fn handles_and_locks_end_with_the_crash() {
        let (disk, file) = with_file(b"abc");
        let _lock = disk.lock(Path::new("/d/lock")).unwrap();
        let error = disk.lock(Path::new("/d/lock")).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        disk.crash(Crash::KeepAll);
        assert!(is_crashed(&file.len().unwrap_err()) && is_crashed(&write(&file, 0, b"x").unwrap_err()));
        let held = disk.lock(Path::new("/d/lock")).unwrap();
        drop(held);
        assert!(disk.lock(Path::new("/d/lock")).is_ok());
        assert!(!is_crashed(&io::ErrorKind::NotFound.into()));
    }

    #[test]
    fn a_full_disk_leaves_the_front_of_a_write() {
        let (disk, file) = with_file(b"abc");
        disk.space_limit(Some(5));
        assert_eq!(disk.space(Path::new("/d")).unwrap(), Space { free: 2, total: 5 });
        assert_eq!(write(&file, 3, b"defg").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(content(&disk, F).unwrap(), b"abcde");
        write(&file, 0, b"ABCDE").unwrap();
        assert!(file.truncate(6).is_err());
        file.truncate(3).unwrap();
        disk.space_limit(None);
        write(&file, 3, b"defg").unwrap();
    }

    #[test]
    fn planned_faults_hit_the_call_they_are_planned_for_once() {
        let (disk, file) = with_file(b"");
        disk.fail_after(2, Fault::NoSpace);
        disk.fail_after(3, Fault::Io);
        write(&file, 0, b"abc").unwrap();
        assert_eq!(write(&file, 3, b"def").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(b"abcdef".starts_with(&content(&disk, F).unwrap()[..]));
        let before = disk.calls();
        assert!(disk.rename(Path::new(F), Path::new("/d/g")).is_err());
        disk.rename(Path::new(F), Path::new("/d/g")).unwrap();
        assert_eq!(disk.calls(), before + 2);
        let trace = disk.trace();
        assert!(trace[trace.len() - 2].ends_with("rename /d/f /d/g  <- EIO"), "{trace:?}");
    }

    #[test]
    fn a_planned_crash_stops_everything_until_the_machine_is_up_again() {
        let mut left = BTreeSet::new();
        for seed in 0..40 {
            let (disk, file) = with_file(b"");
            disk.state().faults.rng = Rng::new(seed);
            disk.crash_at(1);
            assert!(is_crashed(&write(&file, 0, b"abcdefgh").unwrap_err()));
            assert!(is_crashed(&disk.list(Path::new("/")).unwrap_err()));
            assert!(is_crashed(&file.read_at(0, &mut [0]).unwrap_err()));
            disk.crash(Crash::KeepAll);
            left.insert(content(&disk, F).unwrap().len());
        }
        assert!(
            left.contains(&0) && left.contains(&8) && left.len() > 2,
            "before, after and within: {left:?}"
        );
    }

    #[test]
    fn rot_and_bad_sectors_are_seen_by_readers() {
        let (disk, file) = with_file(b"abc");
        disk.flip_bit(Path::new(F), 8).unwrap();
        assert_eq!(
            (content(&disk, F).unwrap(), disk.raw(Path::new(F)).unwrap()),
            (b"acc".to_vec(), b"acc".to_vec())
        );
        disk.break_range(Path::new(F), 1, 2).unwrap();
        assert_eq!(file.read_at(0, &mut [0; 1]).unwrap(), 1);
        assert_eq!(file.read_at(0, &mut [0; 2]).unwrap_err().raw_os_error(), Some(libc::EIO));
        assert!(file.map().is_err());
        disk.set_raw(Path::new("/d/g"), b"made").unwrap();
        disk.crash(Crash::LoseAll);
        assert_eq!(content(&disk, "/d/g").unwrap(), b"made");
        assert_eq!(disk.files(), [PathBuf::from("/d/f"), PathBuf::from("/d/g")]);
    }

    #[test]
    fn a_cold_file_answers_none_at_times() {
        let (disk, file) = with_file(b"abc");
        assert_eq!(file.read_cached(0, &mut [0; 9]).unwrap(), Some(3));
        disk.cold(0.5);
        let cold = (0..100).filter(|_| file.read_cached(0, &mut [0; 9]).unwrap().is_none()).count();
        assert!((20..80).contains(&cold), "{cold}");
        assert_eq!(file.read_at(1, &mut [0; 9]).unwrap(), 2);
    }

    #[test]
    fn a_removed_file_stays_readable_through_its_handle_and_then_goes() {
        let (disk, file) = with_file(b"abc");
        disk.remove_file(Path::new(F)).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        assert_eq!(&*file.map().unwrap(), b"abc");
        drop(file);
        let with_garbage = disk.state_hash();
        disk.sync_dir(Path::new("/d")).unwrap();
        assert_ne!(disk.state_hash(), with_garbage, "nothing leads to it any more");
    }

    #[test]
    fn names_follow_the_rules_of_posix() {
        let (disk, _file) = with_file(b"abc");
        let number = |result: io::Result<()>| result.unwrap_err().raw_os_error().unwrap();
        let open = |path: &str, how| disk.open(Path::new(path), how).map(drop);
        let (d, f) = (Path::new("/d"), Path::new(F));
        assert_eq!(number(open("/d/none", Open::Write)), libc::ENOENT);
        assert_eq!(number(open("/none/f", Open::CreateNew)), libc::ENOENT);
        assert_eq!(number(open(F, Open::CreateNew)), libc::EEXIST);
        assert_eq!(number(open("/d", Open::Read)), libc::EISDIR);
        assert_eq!(number(open("/d/f/g", Open::CreateNew)), libc::ENOTDIR);
        assert_eq!(number(open("/d/../x", Open::CreateNew)), libc::EINVAL);
        assert_eq!(number(disk.create_dir(f)), libc::ENOTDIR);
        assert_eq!(number(disk.remove_dir(d)), libc::ENOTEMPTY);
        assert_eq!(number(disk.remove_file(d)), libc::EISDIR);
        assert_eq!(number(disk.rename(f, d)), libc::EISDIR);
        assert_eq!(number(disk.rename(d, f)), libc::EINVAL, "a directory cannot move into itself");
        assert_eq!(number(disk.rename(d, Path::new("/none/d"))), libc::ENOENT);
        disk.create_dir(d).unwrap();
        disk.remove_file(f).unwrap();
        disk.remove_dir(d).unwrap();
        assert!(disk.list(Path::new("/")).unwrap().is_empty());
    }

    /// Any call on a few names in two directories; most fail, for good reasons.
    fn random_call(disk: &SimDisk, rng: &mut Rng) {
        let any = |rng: &mut Rng| {
            let names = ["/a", "/b", "/a/x", "/a/y", "/b/x", "/b/y", "/b/c", "/b/c/x"];
            Path::new(names[rng.below(names.len() as u64) as usize])
        };
        let path = any(rng);
        let _ = match rng.below(9) {
            0 | 1 => disk.create_dir(path),
            2 => disk.rename(path, any(rng)),
            3 => disk.remove_file(path),
            4 => disk.remove_dir(path),
            5 => disk.sync_dir(path),
            n => match disk.open(path, if n < 8 { Open::CreateNew } else { Open::Write }) {
                Ok(file) if rng.below(2) == 0 => file.sync(),
                Ok(file) => write(&file, rng.below(99), &[n as u8; 700]),
                Err(e) => Err(e),
            },
        };
    }

    fn sync_all(disk: &SimDisk, dir: &Path) {
        disk.sync_dir(dir).unwrap();
        for entry in disk.list(dir).unwrap() {
            let path = dir.join(&entry.name);
            match entry.kind {
                crate::disk::Kind::Dir => sync_all(disk, &path),
                _ => disk.open(&path, Open::Write).unwrap().sync().unwrap(),
            }
        }
    }

    #[test]
    fn after_any_calls_and_crashes_syncing_everything_makes_everything_durable() {
        for seed in 0..300 {
            let (disk, mut rng) = (SimDisk::new(seed), Rng::new(seed));
            for _ in 0..rng.below(80) {
                random_call(&disk, &mut rng);
                if rng.below(30) == 0 {
                    disk.crash(Crash::Random(rng.next_u64()));
                }
            }
            sync_all(&disk, Path::new("/"));
            let image = || disk.files().into_iter().map(|f| (disk.raw(&f).unwrap(), f)).collect::<Vec<_>>();
            let before = image();
            disk.crash(if seed % 2 == 0 { Crash::LoseAll } else { Crash::Random(seed) });
            assert_eq!(image(), before, "seed {seed}:\n{}", disk.trace().join("\n"));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_disk() {
        let run = |seed: u64| {
            let disk = SimDisk::new(seed);
            let mut rng = Rng::new(seed);
            disk.create_dir(Path::new("/d")).unwrap();
            disk.crash_at(40);
            let mut hashes = Vec::new();
            for step in 0..50 {
                let path = PathBuf::from(format!("/d/{}", rng.below(4)));
                if let Ok(file) =
                    disk.open(&path, if rng.below(2) == 0 { Open::Replace } else { Open::Write })
                {
                    let _ = write(&file, rng.below(600), &vec![step; rng.below(2000) as usize]);
                    let _ = if rng.below(3) == 0 { file.sync() } else { disk.sync_dir(Path::new("/d")) };
                }
                hashes.push(disk.state_hash());
            }
            disk.crash(Crash::Random(seed));
            hashes.push(disk.state_hash());
            hashes
        };
        for seed in 0..20 {
            assert_eq!(run(seed), run(seed));
        }
        assert_ne!(run(1), run(2));
    }
}
