//! The manifest: the tip on disk, and every change of it.
//!
//! ```text
//! MANIFEST-000007    header: 0 magic "KRAPPYMF"  8 format u32 = 1  12 number u64  20 crc32 u32 of bytes 0..20
//!                    a snapshot of the tip, then edits: see record.rs
//! ```
//!
//! An open never goes on writing to the file that it found, because what was read from that may be what a dead process
//! wrote and never synced: it *switches* to a fresh file that begins with a snapshot. The older file is removed when
//! the fresh one and its name are durable. The same happens when the edits have outgrown the snapshot.
//!
//! Invariants: an edit is durable when [`Manifest::apply`] returns, and the names of the runs that it adds were durable
//! before it was written. At every moment one file on the device is whole, and says what the last edit that was
//! acknowledged left, or one more.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::block::Flaw;
use super::meta::run_number;
use super::record::{self, Record, TRACE};
use super::{Edit, Tip};
use crate::disk::{self, Disk, File, Kind, Open};

/// Bytes of the header.
pub const HEADER: usize = 24;
const MAGIC: &[u8; 8] = b"KRAPPYMF";
const FORMAT: u32 = 1;
/// Edits may take as much room as the snapshot before them, or this much if that is more.
const EDITS: u64 = 64 << 10;

/// Why there is no view to open. All but `Io` mean: build it anew from the log.
#[derive(Debug)]
pub enum OpenError {
    /// There is none.
    Missing,
    /// It cannot be believed; the text names file and byte.
    Damaged(String),
    /// The device failed.
    Io(io::Error),
}

impl From<io::Error> for OpenError {
    fn from(e: io::Error) -> Self {
        OpenError::Io(e)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Missing => f.write_str("there is no view"),
            OpenError::Damaged(why) => f.write_str(why),
            OpenError::Io(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

/// The manifest of an open tree; workers share it.
pub struct Manifest {
    disk: Arc<dyn Disk>,
    dir: Arc<Path>,
    /// Only workers take this lock: a flush and a merge may end at once.
    state: Mutex<State>,
}

struct State {
    tip: Tip,
    journal: Journal,
    failed: bool,
}

/// The file that edits are appended to.
struct Journal {
    file: Arc<dyn File>,
    number: u64,
    /// Where the next record goes.
    end: u64,
    /// Where the edits begin.
    edits: u64,
}

impl Manifest {
    /// The manifest of an empty view, which knows nothing of what was before `horizon`, in place of any that was there;
    /// folder and file are durable when this returns.
    pub fn create(disk: Arc<dyn Disk>, dir: Arc<Path>, horizon: i64) -> io::Result<Manifest> {
        disk.create_dir(&dir)?;
        disk.sync_dir(dir.parent().expect("a view lies in a partition"))?;
        match Names::list(&*disk, &dir) {
            // Manifests go first, and the oldest of them: what remains after a crash is the newest, or no view.
            Ok(names) => names.clean(&*disk, &dir, &Tip::empty())?,
            Err(OpenError::Io(e)) => return Err(e),
            Err(_) => {}
        }
        let tip = Tip { horizon, ..Tip::empty() };
        let journal = Journal::create(&*disk, &dir, 1, &tip)?;
        Ok(Manifest { disk, dir, state: Mutex::new(State { tip, journal, failed: false }) })
    }

    /// Reads the newest manifest that is whole, goes on in a fresh one, and removes run files that are not part of it.
    pub fn open(disk: Arc<dyn Disk>, dir: Arc<Path>) -> Result<(Manifest, Tip), OpenError> {
        let names = Names::list(&*disk, &dir)?;
        let tip = names.tip(&*disk, &dir)?;
        let newest = *names.manifests.last().expect("one of them has been read");
        let journal = Journal::create(&*disk, &dir, newest + 1, &tip)?;
        names.clean(&*disk, &dir, &tip)?;
        let state = State { tip: tip.clone(), journal, failed: false };
        Ok((Manifest { disk, dir, state: Mutex::new(state) }, tip))
    }

    /// Makes an edit durable, and before it the names of the runs that it adds. After an error nobody knows what the
    /// file holds, so all later calls fail.
    pub fn apply(&self, edit: &Edit) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failed {
            return Err(io::Error::other("an earlier write of the manifest failed"));
        }
        state.failed = true;
        self.write(&mut state, edit)?;
        state.failed = false;
        Ok(())
    }

    fn write(&self, state: &mut State, edit: &Edit) -> io::Result<()> {
        let tip = state.tip.clone().with(edit.clone()).unwrap_or_else(|flaw| panic!("{flaw}: {edit:?}"));
        if !edit.added.is_empty() {
            self.disk.sync_dir(&self.dir)?;
        }
        if state.journal.is_long() {
            let older = state.journal.number;
            state.journal = Journal::create(&*self.disk, &self.dir, older + 1, &tip)?;
            self.disk.remove_file(&self.dir.join(manifest_name(older)))?;
            self.disk.sync_dir(&self.dir)?;
        } else {
            state.journal.append(edit)?;
        }
        state.tip = tip;
        Ok(())
    }
}

impl Journal {
    /// A file that begins with a snapshot; it and its name are durable when this returns.
    fn create(disk: &dyn Disk, dir: &Path, number: u64, tip: &Tip) -> io::Result<Journal> {
        let mut bytes = header(number).to_vec();
        bytes.extend(record::snapshot(tip, number, HEADER as u64));
        bytes.extend([0; TRACE]);
        let file = disk.open(&dir.join(manifest_name(number)), Open::Replace)?;
        file.write_at(0, &[IoSlice::new(&bytes)])?;
        file.sync()?;
        disk.sync_dir(dir)?;
        let end = bytes.len() as u64;
        Ok(Journal { file, number, end, edits: end })
    }

    fn append(&mut self, edit: &Edit) -> io::Result<()> {
        let bytes = record::edit(edit, self.number, self.end);
        self.file.write_at(self.end, &[IoSlice::new(&bytes)])?;
        self.file.sync()?;
        let trace = record::trace(self.number, self.end);
        let at = self.end + bytes.len() as u64;
        self.file.write_at(at, &[IoSlice::new(&trace)])?;
        self.end = at + TRACE as u64;
        Ok(())
    }

    fn is_long(&self) -> bool {
        self.end - self.edits >= self.edits.max(EDITS)
    }
}

/// Our files in a view, by their numbers, ascending.
#[derive(Debug, Default)]
pub struct Names {
    /// Manifests.
    pub manifests: Vec<u64>,
    /// Run files.
    pub runs: Vec<u64>,
}

impl Names {
    /// Lists a view. `Missing` when it holds no manifest.
    pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Names, OpenError> {
        let entries = match disk.list(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(OpenError::Missing),
            other => other?,
        };
        let mut names = Names::default();
        for entry in entries.iter().filter(|e| e.kind == Kind::File) {
            names.manifests.extend(manifest_number(&entry.name));
            names.runs.extend(run_number(&entry.name));
        }
        names.manifests.sort_unstable();
        names.runs.sort_unstable();
        if names.manifests.is_empty() { Err(OpenError::Missing) } else { Ok(names) }
    }

    /// What the newest manifest that is whole says. One that is not whole was being written when the process died, and
    /// then the older one is still there.
    pub fn tip(&self, disk: &dyn Disk, dir: &Path) -> Result<Tip, OpenError> {
        let mut first_flaw = None;
        for number in self.manifests.iter().rev() {
            let path = dir.join(manifest_name(*number));
            let bytes = disk::read_file(disk, &path)?;
            let damaged = |at, flaw| format!("{}: record at byte {at}: {flaw}", path.display());
            match replay(*number, &bytes, &mut |_, _| {}) {
                Ok(replayed) => return Ok(replayed.tip),
                Err(Unreadable::NotWhole(flaw)) => first_flaw = first_flaw.or(Some(damaged(HEADER, flaw))),
                Err(Unreadable::Damaged(at, flaw)) => return Err(OpenError::Damaged(damaged(at, flaw))),
            }
        }
        Err(first_flaw.map_or(OpenError::Missing, OpenError::Damaged))
    }

    /// Removes the manifests listed here, then the runs that are not part of the tip.
    fn clean(&self, disk: &dyn Disk, dir: &Path, tip: &Tip) -> io::Result<()> {
        for number in &self.manifests {
            disk.remove_file(&dir.join(manifest_name(*number)))?;
            disk.sync_dir(dir)?;
        }
        for number in self.runs.iter().filter(|number| tip.runs().all(|run| run.number != **number)) {
            disk.remove_file(&dir.join(super::meta::run_name(*number)))?;
        }
        disk.sync_dir(dir)
    }
}

/// The name of the manifest with this number.
pub fn manifest_name(number: u64) -> String {
    format!("MANIFEST-{number:06}")
}

/// The number in the name of a manifest; `None` for any other name.
pub fn manifest_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("MANIFEST-")?.parse().ok()?;
    (manifest_name(number) == name && number < u64::MAX).then_some(number)
}

/// What a manifest's bytes say.
#[derive(Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The tip after the last record that counts.
    pub tip: Tip,
    /// Where a record begins that was being written when the process died.
    pub torn: Option<usize>,
}

/// Why a manifest's bytes say nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It has no header and snapshot: writing it was never finished, or they are damaged.
    NotWhole(Flaw),
    /// The record at this byte was whole once.
    Damaged(usize, Flaw),
}

/// Reads the manifest with this number; each record that counts is shown with its position.
pub fn replay(
    number: u64,
    bytes: &[u8],
    show: &mut dyn FnMut(usize, &Record),
) -> Result<Replayed, Unreadable> {
    let not_whole = |at, flaw| match record::was_kept(bytes, number, at) {
        true => Err(Unreadable::Damaged(at, flaw)),
        false => Err(Unreadable::NotWhole(flaw)),
    };
    if bytes.get(..HEADER) != Some(&header(number)[..]) {
        return not_whole(0, "the header is cut short, damaged or that of another manifest");
    }
    let Some(first) = record::body(bytes, number, HEADER) else {
        return not_whole(HEADER, "the snapshot is cut short or damaged");
    };
    let damaged = |at| move |flaw| Unreadable::Damaged(at, flaw);
    let snapshot = record::decode(first).map_err(damaged(HEADER))?;
    show(HEADER, &snapshot);
    let Record::Snapshot(mut tip) = snapshot else {
        return Err(Unreadable::Damaged(HEADER, "the first record is no snapshot"));
    };
    let mut at = record::behind(HEADER, first);
    while at < bytes.len() {
        let Some(body) = record::body(bytes, number, at) else {
            if record::was_kept(bytes, number, at) {
                return Err(Unreadable::Damaged(at, "it fails its checksum"));
            }
            return Ok(Replayed { tip, torn: Some(at) });
        };
        let record = record::decode(body).map_err(damaged(at))?;
        show(at, &record);
        let Record::Edit(edit) = record else {
            return Err(Unreadable::Damaged(at, "a snapshot among edits"));
        };
        tip = tip.with(edit).map_err(damaged(at))?;
        at = record::behind(at, body);
    }
    Ok(Replayed { tip, torn: None })
}

/// The number that a manifest's header says it has.
pub fn claimed_number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(12..20)?.try_into().ok()?))
}

/// The header of the manifest with this number.
pub fn header(number: u64) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&FORMAT.to_be_bytes());
    out[12..20].copy_from_slice(&number.to_be_bytes());
    let crc = crc32fast::hash(&out[..20]);
    out[20..].copy_from_slice(&crc.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, DIR, Owned, write_run};
    use super::super::{Run, RunMeta};
    use super::*;
    use crate::disk::sim::{Crash, SimDisk, is_crashed};

    fn view() -> Arc<Path> {
        Path::new(DIR).into()
    }

    fn create(disk: &Arc<dyn Disk>) -> io::Result<Manifest> {
        Manifest::create(disk.clone(), view(), 0)
    }

    fn open(disk: &Arc<dyn Disk>) -> Result<(Manifest, Tip), OpenError> {
        Manifest::open(disk.clone(), view())
    }

    fn names(disk: &dyn Disk) -> Vec<String> {
        disk.list(Path::new(DIR)).unwrap().into_iter().map(|e| e.name).collect()
    }

    /// A run of one entry. Long keys make long edits, and so the manifest switches files after a few of them.
    fn make_run(disk: &dyn Disk, number: u64) -> io::Result<RunMeta> {
        let mut writer = super::super::RunWriter::create(disk, Path::new(DIR), number)?;
        let key = [&number.to_be_bytes()[..], &[b'k'; 9_000]].concat();
        writer.add(Owned::put(key, number as i64, "value").entry())?;
        writer.finish()
    }

    /// The edit that a flush makes, or, every third time, a merge of the last three runs.
    fn next_edit(disk: &dyn Disk, tip: &Tip) -> io::Result<Edit> {
        let run = make_run(disk, tip.next_number)?;
        let (covered, horizon) = (Some(tip.covered + 10), None);
        if tip.levels[0].len() < 3 {
            return Ok(Edit { covered, horizon, added: vec![(0, run)], removed: vec![] });
        }
        let removed = tip.levels[0].iter().map(|run| run.number).collect();
        Ok(Edit { covered, horizon: Some(tip.covered), added: vec![(1, run)], removed })
    }

    /// Edits a view until an error comes or `edits` have been made; the tip after each that was acknowledged, and the
    /// one after the edit that was not.
    fn edit(disk: &Arc<dyn Disk>, manifest: &Manifest, tips: &mut Vec<Tip>, edits: usize) -> Option<Tip> {
        for _ in 0..edits {
            let tip = tips.last().unwrap().clone();
            let edit = next_edit(&**disk, &tip).ok()?;
            let next = tip.with(edit.clone()).unwrap();
            if manifest.apply(&edit).is_err() {
                return Some(next);
            }
            tips.push(next);
        }
        None
    }

    fn check_runs(disk: &dyn Disk, tip: &Tip) {
        for run in tip.runs() {
            Run::open(disk, Path::new(DIR), run.clone()).unwrap();
        }
    }

    #[test]
    fn a_view_reads_back_after_each_edit() {
        let (_, disk) = testing::disk(1);
        let manifest = create(&disk).unwrap();
        let mut tips = vec![Tip::empty()];
        for n in 0..30 {
            assert_eq!(edit(&disk, &manifest, &mut tips, 1), None);
            let names = Names::list(&*disk, Path::new(DIR)).unwrap();
            assert_eq!(names.tip(&*disk, Path::new(DIR)).unwrap(), tips[n + 1]);
            assert_eq!(names.manifests.len(), 1);
        }
        let manifest_file = names(&*disk).pop().unwrap();
        assert!(manifest_file.as_str() > "MANIFEST-000003", "it has switched: {manifest_file}");
        let (manifest, tip) = open(&disk).unwrap();
        assert_eq!(&tip, tips.last().unwrap());
        check_runs(&*disk, &tip);
        assert_eq!(edit(&disk, &manifest, &mut tips, 5), None);
        assert_eq!(&open(&disk).unwrap().1, tips.last().unwrap());
    }

    #[test]
    fn an_open_removes_what_is_ours_and_not_needed() {
        let (sim, disk) = testing::disk(1);
        let manifest = create(&disk).unwrap();
        edit(&disk, &manifest, &mut vec![Tip::empty()], 2);
        write_run(&*disk, 77, &[Owned::put("k", 1, "v")]);
        for name in ["MANIFEST-000009", "notes", "1.run"] {
            sim.set_raw(&Path::new(DIR).join(name), b"KRAPPYMF, begun").unwrap();
        }
        open(&disk).unwrap();
        assert_eq!(names(&*disk), ["000001.run", "000002.run", "1.run", "MANIFEST-000010", "notes"]);
    }

    #[test]
    fn a_view_that_is_not_there_is_missing_and_one_made_anew_is_empty() {
        let (_, disk) = testing::disk(1);
        assert!(matches!(open(&disk), Err(OpenError::Missing)));
        disk.remove_dir(Path::new(DIR)).unwrap();
        assert!(matches!(open(&disk), Err(OpenError::Missing)));
        let manifest = create(&disk).unwrap();
        edit(&disk, &manifest, &mut vec![Tip::empty()], 12);
        create(&disk).unwrap();
        assert_eq!(names(&*disk), ["MANIFEST-000001"]);
        assert_eq!(open(&disk).unwrap().1, Tip::empty());
    }

    #[test]
    fn after_an_error_nothing_is_written_any_more() {
        let (sim, disk) = testing::disk(1);
        let manifest = create(&disk).unwrap();
        sim.fail_sync(1, crate::disk::sim::Fault::Io);
        let edit = Edit { covered: Some(1), ..Edit::default() };
        assert!(manifest.apply(&edit).is_err());
        let before = sim.calls();
        assert!(manifest.apply(&edit).is_err(), "the disk is well again, but who knows");
        assert_eq!(sim.calls(), before);
    }

    /// What a start may find: the last tip that was acknowledged, or the one that was being written.
    fn check_found(tip: &Tip, tips: &[Tip], unsure: Option<&Tip>, context: &str) {
        assert!(tips.last() == Some(tip) || unsure == Some(tip), "{context}: {tip:?}");
    }

    #[test]
    fn a_crash_at_any_call_leaves_the_last_edit_or_the_one_under_way_and_so_does_another_one() {
        let mut crashes = 0;
        for n in 1.. {
            let (sim, disk) = testing::disk(n);
            sim.crash_at(n);
            let mut tips = vec![Tip::empty()];
            let manifest = create(&disk);
            let unsure = manifest.as_ref().ok().and_then(|manifest| edit(&disk, manifest, &mut tips, 9));
            if !sim.has_crashed() {
                break;
            }
            crashes += 1;
            for how in [Crash::KeepAll, Crash::LoseAll, Crash::Random(n), Crash::Random(n + 1_000)] {
                let fork = SimDisk::fork(&sim);
                fork.crash(how);
                let disk: Arc<dyn Disk> = Arc::new(fork.clone());
                let context = format!("crash at call {n}, {how:?}");
                crash_again(&disk, &fork, &tips, unsure.as_ref(), manifest.is_ok(), &context);
            }
        }
        assert!(crashes > 50, "{crashes}");
    }

    /// Opens after a crash, with another crash at each call of that.
    fn crash_again(
        disk: &Arc<dyn Disk>,
        sim: &SimDisk,
        tips: &[Tip],
        unsure: Option<&Tip>,
        created: bool,
        context: &str,
    ) {
        for m in 1.. {
            let fork = sim.fork();
            let disk: Arc<dyn Disk> = Arc::new(fork.clone());
            fork.crash_at(m);
            if !matches!(open(&disk), Err(OpenError::Io(e)) if is_crashed(&e)) {
                break;
            }
            fork.crash(Crash::Random(m));
            match open(&disk) {
                Ok((_, tip)) => check_found(&tip, tips, unsure, &format!("{context}, then at {m}")),
                Err(e) => assert!(!created, "{context}, then at {m}: {e}"),
            }
        }
        match open(disk) {
            Ok((_, tip)) => {
                check_found(&tip, tips, unsure, context);
                check_runs(&**disk, &tip);
            }
            Err(OpenError::Io(e)) => panic!("{context}: {e}"),
            Err(_) => assert!(!created, "{context}"),
        }
    }

    /// A manifest with a snapshot of three runs and some edits, and the tip after each record.
    fn golden() -> (Vec<u8>, Vec<Tip>) {
        let (sim, disk) = testing::disk(1);
        let mut tips = vec![Tip::empty()];
        let short = |number: u64| {
            write_run(&*disk, number, &[Owned::put(format!("key {number}"), number as i64, "value")])
        };
        let manifest = create(&disk).unwrap();
        for number in 1..4 {
            manifest.apply(&Edit { added: vec![(0, short(number))], ..Edit::default() }).unwrap();
        }
        let (manifest, tip) = open(&disk).unwrap();
        tips[0] = tip;
        for edit in [
            Edit { covered: Some(4), added: vec![(0, short(4))], ..Edit::default() },
            Edit { horizon: Some(3), added: vec![(1, short(5))], removed: vec![1, 2], ..Edit::default() },
            Edit { covered: Some(6), ..Edit::default() },
        ] {
            manifest.apply(&edit).unwrap();
            tips.push(tips.last().unwrap().clone().with(edit).unwrap());
        }
        (sim.raw(&Path::new(DIR).join("MANIFEST-000002")).unwrap(), tips)
    }

    fn tip_of(bytes: &[u8]) -> Result<Tip, Unreadable> {
        replay(2, bytes, &mut |_, _| {}).map(|replayed| replayed.tip)
    }

    #[test]
    fn no_flipped_bit_leads_to_another_tip() {
        let (good, tips) = golden();
        assert_eq!(tip_of(&good).as_ref(), Ok(tips.last().unwrap()));
        let mut silent = 0;
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(tip) = tip_of(&bad) {
                assert_eq!(&tip, tips.last().unwrap(), "bit {bit}");
                silent += 1;
            }
        }
        assert_eq!(
            silent,
            4 * 8 * TRACE,
            "only traces can change unnoticed, one at a time, and they say nothing"
        );
        let (sim, disk) = testing::disk(1);
        for bit in [0, HEADER * 8 + 100, good.len() * 8 - 100] {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1;
            sim.set_raw(&Path::new(DIR).join("MANIFEST-000002"), &bad).unwrap();
            let Err(OpenError::Damaged(why)) = open(&disk) else { panic!("bit {bit}") };
            assert!(why.starts_with("/view/MANIFEST-000002: record at byte "), "{why}");
        }
    }

    #[test]
    fn every_truncation_leaves_the_whole_records() {
        let (good, tips) = golden();
        let mut starts = Vec::new();
        replay(2, &good, &mut |at, _| starts.push(at)).unwrap();
        let ends: Vec<usize> = starts[1..].iter().copied().chain([good.len()]).map(|at| at - TRACE).collect();
        for cut in 0..good.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            match (tip_of(&good[..cut]), whole) {
                (Err(Unreadable::NotWhole(_)), 0) => {}
                (found, _) => assert_eq!(found.as_ref(), Ok(&tips[whole - 1]), "{cut}"),
            }
        }
    }

    #[test]
    fn a_last_record_that_is_bad_is_torn_only_if_it_was_never_synced() {
        let (good, tips) = golden();
        let mut last = 0;
        replay(2, &good, &mut |at, _| last = at).unwrap();
        let untraced = &good[..good.len() - TRACE];
        for bit in last * 8..untraced.len() * 8 {
            let mut torn = untraced.to_vec();
            torn[bit / 8] ^= 1 << (bit % 8);
            let expected = Replayed { tip: tips[2].clone(), torn: Some(last) };
            assert_eq!(replay(2, &torn, &mut |_, _| {}), Ok(expected), "bit {bit}");
            torn.extend_from_slice(&good[good.len() - TRACE..]);
            assert!(
                matches!(replay(2, &torn, &mut |_, _| {}), Err(Unreadable::Damaged(at, _)) if at == last)
            );
        }
    }

    #[test]
    fn a_newer_manifest_that_was_never_finished_gives_way_to_the_older_one() {
        let (good, tips) = golden();
        let (sim, disk) = testing::disk(1);
        let mut newer = header(3).to_vec();
        newer.extend(record::snapshot(&Tip::empty(), 3, HEADER as u64));
        for cut in 0..newer.len() {
            let sim = sim.fork();
            sim.set_raw(&Path::new(DIR).join("MANIFEST-000002"), &good).unwrap();
            sim.set_raw(&Path::new(DIR).join("MANIFEST-000003"), &newer[..cut]).unwrap();
            let disk: Arc<dyn Disk> = Arc::new(sim);
            assert_eq!(&open(&disk).unwrap().1, tips.last().unwrap());
            assert_eq!(names(&*disk), ["MANIFEST-000004"]);
        }
        sim.set_raw(&Path::new(DIR).join("MANIFEST-000003"), &newer).unwrap();
        assert_eq!(open(&disk).unwrap().1, Tip::empty());
    }
}
