//! Crashes a log at every call that changes the disk, recovers it, and compares with what was appended: everything that
//! a sync confirmed is there byte for byte, and what is there beyond is a prefix of what was appended. Then it crashes
//! the recovery at every call, too.
//!
//! The harness returns what it finds wrong instead of panicking, so that a test can plant a bug and see it caught.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use krappy::chunk::Buffers;
use krappy::disk::sim::{Crash, Fault, SimDisk};
use krappy::disk::{Disk, Entry, File, Map, Open, Space};
use krappy::segment::{Appended, Log, LogSettings, OpenError, Read, Recovery};
use krappy_wire::batch::Builder;

const DIR: &str = "/topic/0";

fn settings() -> LogSettings {
    LogSettings { segment_bytes: 1_200, segment_ms: 10_000, index_interval_bytes: 150 }
}

fn batch(base: i64, records: i32, value: usize, timestamp: i64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut builder = Builder::open(&mut out, timestamp);
    for i in 0..records {
        let value: Vec<u8> = (0..value).map(|j| (base as usize * 7 + i as usize + j) as u8).collect();
        builder.push(&mut out, timestamp, None, Some(&value), std::iter::empty());
    }
    builder.close(&mut out, base, 3, None);
    out
}

/// What must and what may be in the log.
#[derive(Clone, Default)]
struct Model {
    /// Every batch that an append was tried for, in order.
    batches: Vec<(i64, Vec<u8>)>,
    /// The offset after the last batch.
    end: i64,
    /// Everything below was confirmed by a sync.
    durable: i64,
    /// The log start offset was durably moved here.
    start: i64,
    /// The log start offset may have got here.
    most_start: i64,
}

type Verdict = Result<(), String>;

macro_rules! ensure {
    ($ok:expr, $($why:tt)*) => { if !$ok { return Err(format!($($why)*)); } };
}

fn open(disk: &Arc<dyn Disk>, clean: bool) -> Result<(Log, Recovery), OpenError> {
    Log::open(disk, Path::new(DIR), clean, None, &settings(), &mut |_| {})
}

/// The log and the model side by side.
struct Run {
    disk: Arc<dyn Disk>,
    log: Log,
    model: Model,
    wall: i64,
}

impl Run {
    fn append(&mut self, records: i32, value: usize) -> io::Result<()> {
        let base = self.log.end_offset();
        // What an append that failed may have left is overtaken by this one.
        self.model.batches.retain(|(b, _)| *b < base);
        let bytes = batch(base, records, value, self.wall);
        let last_offset = base + i64::from(records) - 1;
        self.model.end = last_offset + 1;
        self.model.batches.push((base, bytes.clone()));
        let size = bytes.len() as u32;
        let appended = Appended { base_offset: base, last_offset, size, max_timestamp: self.wall };
        let parts = [IoSlice::new(&bytes[..16]), IoSlice::new(&bytes[16..])];
        let appended = self.log.append(&parts, &[appended], &settings(), self.wall);
        appended.map_err(|e| io::Error::other(format!("{e:?}")))
    }

    fn sync(&mut self, mark: bool) -> io::Result<()> {
        let Some(sync) = self.log.begin_sync(mark) else { return Ok(()) };
        let done = sync.run(&*self.disk);
        self.log.synced(done)?;
        self.model.durable = self.log.durable_offset();
        Ok(())
    }

    /// Appends go on while a sync is under way; it confirms only what came before it.
    fn sync_late(&mut self) -> io::Result<()> {
        let Some(sync) = self.log.begin_sync(false) else { return Ok(()) };
        let covered = self.log.end_offset();
        self.append(2, 30)?;
        let done = sync.run(&*self.disk);
        self.log.synced(done)?;
        assert_eq!(self.log.durable_offset(), covered);
        self.model.durable = covered;
        Ok(())
    }

    fn trim(&mut self, to: i64) -> io::Result<()> {
        self.log.trim(to);
        self.model.most_start = self.model.most_start.max(self.log.start_offset());
        self.log.begin_mark().run()?;
        self.model.start = self.log.start_offset();
        Ok(())
    }

    fn expire(&mut self, bytes: i64) -> io::Result<()> {
        let Some(unlink) = self.log.expire(self.wall, bytes, -1, None) else { return Ok(()) };
        self.model.most_start = self.model.most_start.max(self.log.start_offset());
        unlink.run(&*self.disk)?;
        self.model.start = self.log.start_offset();
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.log.close()?;
        self.model.durable = self.log.end_offset();
        let (log, report) = open(&self.disk, true).map_err(io::Error::other)?;
        assert!(report.clean && report.is_uneventful(), "{report:?}");
        self.log = log;
        Ok(())
    }
}

/// Everything a log does in its life, ending at the first error.
fn workload(disk: &Arc<dyn Disk>, model: &mut Model) -> io::Result<()> {
    disk.create_dir(Path::new("/topic"))?;
    disk.sync_dir(Path::new("/"))?;
    Log::create(&**disk, Path::new(DIR))?;
    let (log, _) = open(disk, true).map_err(io::Error::other)?;
    let mut run = Run { disk: disk.clone(), log, model: std::mem::take(model), wall: 1_000 };
    let result = life(&mut run);
    *model = run.model;
    result
}

fn life(run: &mut Run) -> io::Result<()> {
    run.append(3, 20)?;
    run.sync(false)?;
    for i in 0..6 {
        run.append(1 + i % 3, 100)?;
    }
    run.sync_late()?;
    run.sync(true)?;
    for i in 0..9 {
        run.append(1 + i % 2, 150)?;
    }
    run.sync(false)?;
    run.append(4, 40)?;
    run.reopen()?;
    run.append(1, 700)?;
    run.append(1, 2_000)?;
    run.sync(false)?;
    run.trim(7)?;
    run.append(2, 10)?;
    run.expire(3_000)?;
    run.wall += 20_000;
    run.append(5, 60)?;
    run.sync_late()?;
    run.append(1, 600)?;
    run.append(1, 600)?;
    run.sync(false)?;
    run.append(1, 300)
}

/// Reads the whole log, checked against the model.
fn compare(log: &Log, model: &Model) -> Verdict {
    let (start, end) = (log.start_offset(), log.end_offset());
    ensure!(end >= model.durable, "the log ends at {end}, but {} was confirmed", model.durable);
    ensure!(end <= model.end.max(model.durable), "the log ends at {end}, beyond {}", model.end);
    ensure!(start >= model.start, "the log starts at {start}, but was trimmed to {}", model.start);
    ensure!(start <= model.most_start, "the log starts at {start}, {} at most", model.most_start);
    let mut buffers = Buffers::new(0);
    let mut at = start;
    while at < end {
        match log.read(at, end, 700, &mut buffers) {
            Ok(Read::Batches { chunk, next }) => {
                let mut bytes = chunk.as_slice();
                for (base, batch) in model.batches.iter().filter(|(b, _)| *b < next) {
                    let last = base + i64::from(i32::from_be_bytes(batch[23..27].try_into().unwrap()));
                    if last >= at {
                        ensure!(bytes.starts_with(batch), "other bytes at offset {base}");
                        bytes = &bytes[batch.len()..];
                    }
                }
                ensure!(bytes.is_empty(), "{} bytes too many before {next}", bytes.len());
                at = next;
            }
            Ok(Read::Cold(warm)) => warm.run().map_err(|e| e.to_string())?,
            Ok(Read::Empty) => return Err(format!("nothing at {at}, the end is {end}")),
            Err(e) => return Err(format!("reading at {at}: {e:?}")),
        }
    }
    Ok(())
}

fn recover(disk: &Arc<dyn Disk>, model: &Model) -> Result<(Log, Recovery), String> {
    // The topic's own directory is the broker's business.
    let topic = disk.create_dir(Path::new("/topic")).and_then(|()| disk.sync_dir(Path::new("/")));
    topic.map_err(|e| e.to_string())?;
    let (log, report) = match open(disk, false) {
        Ok(opened) => opened,
        // The partition itself was never confirmed: the broker would make it again.
        Err(OpenError::Io(e)) if e.kind() == io::ErrorKind::NotFound && model.durable == 0 => {
            Log::create(&**disk, Path::new(DIR)).map_err(|e| e.to_string())?;
            open(disk, true).map_err(|e| e.to_string())?
        }
        Err(e) => return Err(format!("cannot be opened: {e}")),
    };
    ensure!(report.quarantined.is_empty(), "false alarm: {report:?}");
    ensure!(report.gaps.is_empty(), "false alarm: {report:?}");
    ensure!(report.unknown.is_empty(), "unknown files: {report:?}");
    compare(&log, model)?;
    Ok((log, report))
}

/// Recovery has to be done once, and the log has to be as good as ever after it.
fn recovered_for_good(sim: &SimDisk, disk: &Arc<dyn Disk>, model: &Model) -> Verdict {
    let (log, _) = recover(disk, model)?;
    let (start, end) = (log.start_offset(), log.end_offset());
    drop(log);
    sim.crash(Crash::LoseAll);
    let mut model = Model { durable: end, end, ..model.clone() };
    model.batches.retain(|(base, _)| *base < end);
    let (log, report) = recover(disk, &model).map_err(|e| format!("the second time: {e}"))?;
    ensure!((log.start_offset(), log.end_offset()) == (start, end), "the second time gives another log");
    ensure!(report.copied_bytes == 0 && report.side_files.is_empty(), "the second time: {report:?}");
    let mut run = Run { disk: disk.clone(), log, model, wall: 90_000 };
    let mut go_on = || -> io::Result<()> {
        run.append(3, 50)?;
        run.append(1, 1_500)?;
        run.sync(false)
    };
    go_on().map_err(|e| e.to_string())?;
    sim.crash(Crash::LoseAll);
    recover(disk, &run.model).map_err(|e| format!("after going on: {e}"))?;
    Ok(())
}

/// How often the workload changes the disk.
fn calls(wrap: fn(SimDisk) -> Arc<dyn Disk>) -> u64 {
    let sim = SimDisk::new(0);
    workload(&wrap(sim.clone()), &mut Model::default()).unwrap();
    sim.calls()
}

/// Crashes the workload at one call.
fn crashed_at(n: u64, seed: u64, how: Crash, wrap: fn(SimDisk) -> Arc<dyn Disk>) -> (SimDisk, Model) {
    let sim = SimDisk::new(seed);
    let mut model = Model::default();
    sim.crash_at(n);
    workload(&wrap(sim.clone()), &mut model).expect_err("the machine has gone down");
    sim.crash(how);
    (sim, model)
}

fn sweep(wrap: fn(SimDisk) -> Arc<dyn Disk>) -> Verdict {
    for n in 1..=calls(wrap) {
        for seed in 0..8 {
            let how = [Crash::KeepAll, Crash::LoseAll, Crash::Random(seed)][(seed as usize).min(2)];
            let (sim, model) = crashed_at(n, seed, how, wrap);
            let disk = wrap(sim.clone());
            recovered_for_good(&sim, &disk, &model)
                .map_err(|e| format!("{e} (call {n}, {how:?}, {:?})", sim.trace().last()))?;
        }
    }
    Ok(())
}

fn plain(sim: SimDisk) -> Arc<dyn Disk> {
    Arc::new(sim)
}

#[test]
fn a_crash_at_any_call_loses_nothing_that_was_confirmed() {
    assert!(calls(plain) > 80, "the workload does enough to be worth crashing");
    sweep(plain).unwrap();
}

#[test]
fn a_crash_at_any_call_of_the_recovery_loses_nothing_either() {
    let ways = [Crash::KeepAll, Crash::LoseAll, Crash::Random(5)];
    for n in 1..=calls(plain) {
        for (seed, how) in [Crash::KeepAll, Crash::Random(5)].into_iter().enumerate() {
            let (sim, model) = crashed_at(n, seed as u64, how, plain);
            let trial = sim.fork();
            let before = trial.calls();
            recover(&plain(trial.clone()), &model).unwrap();
            for m in 1..=trial.calls() - before {
                // Every pair of calls once; the ways to go down take turns.
                let again = ways[(n + m) as usize % ways.len()];
                let sim = sim.fork();
                sim.crash_at(m);
                let disk = plain(sim.clone());
                assert!(recover(&disk, &model).is_err(), "the machine has gone down");
                sim.crash(again);
                recovered_for_good(&sim, &disk, &model)
                    .unwrap_or_else(|e| panic!("{e} (call {n}, {how:?}, then {m}, {again:?})"));
            }
        }
    }
}

#[test]
fn a_clean_stop_survives_a_loss_of_power() {
    for how in [Crash::LoseAll, Crash::Random(1), Crash::Random(2), Crash::Random(3)] {
        let sim = SimDisk::new(3);
        let disk = plain(sim.clone());
        let mut model = Model::default();
        workload(&disk, &mut model).unwrap();
        let (mut log, _) = recover(&disk, &model).unwrap();
        log.close().unwrap();
        sim.crash(how);
        model.durable = model.end;
        let (log, _) = open(&disk, true).unwrap();
        compare(&log, &model).unwrap();
    }
}

#[test]
fn after_any_failed_sync_a_restart_makes_certain_of_what_it_serves() {
    let mut failed = 0;
    for n in 1.. {
        let sim = SimDisk::new(n);
        let disk = plain(sim.clone());
        let mut model = Model::default();
        sim.fail_sync(n, Fault::Io);
        // A file that can be made again, such as that of the epochs, stops nothing when it cannot be synced.
        let went_on = workload(&disk, &mut model).is_ok();
        if !sim.trace().iter().any(|call| call.ends_with("EIO")) {
            assert!(went_on);
            break;
        }
        // A name whose directory could not be synced cannot be made certain of by anything.
        if sim.trace().iter().any(|call| call.contains("sync_dir") && call.ends_with("EIO")) {
            continue;
        }
        failed += 1;
        // The process stops. What was never written is still readable, and no later sync of the same file would write
        // it.
        sim.crash(Crash::KeepAll);
        recovered_for_good(&sim, &disk, &model).unwrap_or_else(|e| panic!("{e} (sync {n})"));
    }
    assert!(failed > 20, "the workload syncs often");
}

/// A disk whose segment files say that they are synced without being it: what a log does whose durable offset moves
/// without the sync having run.
struct Lying(SimDisk);

struct LyingFile {
    file: Arc<dyn File>,
    lies: bool,
}

impl Disk for Lying {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let lies = path.extension().is_some_and(|e| e == "log");
        Ok(Arc::new(LyingFile { file: self.0.open(path, how)?, lies }))
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.0.list(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>> {
        self.0.lock(path)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        self.0.space(path)
    }
}

impl File for LyingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(at, buf)
    }
    fn read_cached(&self, at: u64, buf: &mut [u8]) -> io::Result<Option<usize>> {
        self.file.read_cached(at, buf)
    }
    fn write_at(&self, at: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.file.write_at(at, parts)
    }
    fn sync(&self) -> io::Result<()> {
        if self.lies { Ok(()) } else { self.file.sync() }
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
    fn map(&self) -> io::Result<Map> {
        self.file.map()
    }
}

#[test]
fn the_harness_notices_a_sync_that_does_nothing() {
    sweep(|sim| Arc::new(Lying(sim))).expect_err("records that were confirmed are gone");
}
