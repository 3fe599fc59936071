//! Damages every file of a partition in every way that is cheap to enumerate, and opens it: nothing may panic, no wrong
//! byte may be served, and what cannot be served must be reported.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use krappy::chunk::Buffers;
use krappy::disk::Disk;
use krappy::disk::sim::SimDisk;
use krappy::segment::{Appended, Epochs, Log, LogSettings, OpenError, Read, ReadError, Recovery};
use krappy_wire::batch::Builder;

const DIR: &str = "/0";

fn settings() -> LogSettings {
    LogSettings { segment_bytes: 2_000, segment_ms: 1 << 40, index_interval_bytes: 300 }
}

/// A partition after a clean stop, and its batches.
struct Golden {
    sim: SimDisk,
    batches: Vec<(i64, Vec<u8>)>,
    end: i64,
    epochs: Epochs,
}

fn golden() -> Golden {
    let sim = SimDisk::new(1);
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    Log::create(&*disk, Path::new(DIR)).unwrap();
    let (mut log, _) = open(&sim, true).unwrap();
    let mut batches = Vec::new();
    for i in 0..40 {
        let (base, epoch) = (log.end_offset(), 3 + i as i32 / 15);
        log.set_epoch(epoch);
        let records = 1 + i % 3;
        let mut bytes = Vec::new();
        let mut builder = Builder::open(&mut bytes, 1_000 + base);
        for j in 0..records {
            let value = format!("a value of record {}", base + j);
            builder.push(&mut bytes, 1_000 + base, None, Some(value.as_bytes()), std::iter::empty());
        }
        builder.close(&mut bytes, base, epoch, None);
        let last_offset = base + records - 1;
        let size = bytes.len() as u32;
        let appended = Appended { base_offset: base, last_offset, size, max_timestamp: 1_000 + base };
        log.append(&[IoSlice::new(&bytes)], &[appended], &settings(), 0).unwrap();
        batches.push((base, bytes));
    }
    log.close().unwrap();
    assert_eq!(log.segment_count(), 3);
    Golden { sim, batches, end: log.end_offset(), epochs: log.epochs().clone() }
}

fn open(sim: &SimDisk, clean: bool) -> Result<(Log, Recovery), OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    Log::open(&disk, Path::new(DIR), clean, Some(0), &settings(), &mut |_| {})
}

/// What one opening of a damaged partition served.
struct Outcome {
    /// Offsets that reads failed at, and said so.
    corrupt: BTreeSet<i64>,
    /// Offsets that were not there.
    missing: BTreeSet<i64>,
    report: Recovery,
    end: i64,
    epochs: Epochs,
}

impl Outcome {
    fn lost(&self) -> usize {
        self.corrupt.len() + self.missing.len()
    }
}

impl Golden {
    /// Opens the partition on a copy of the disk that `damage` has been done to, and reads all of it.
    fn with(&self, what: &str, clean: bool, damage: impl FnOnce(&SimDisk)) -> Outcome {
        let sim = self.sim.fork();
        damage(&sim);
        let (log, report) = open(&sim, clean).unwrap_or_else(|e| panic!("{what}: {e}"));
        let mut outcome = Outcome {
            corrupt: BTreeSet::new(),
            missing: (0..self.end).collect(),
            report,
            end: log.end_offset(),
            epochs: log.epochs().clone(),
        };
        let mut buffers = Buffers::new(0);
        let mut at = log.start_offset();
        while at < log.end_offset() {
            match log.read(at, log.end_offset(), 400, &mut buffers) {
                Ok(Read::Batches { chunk, next }) => {
                    self.check(what, chunk.as_slice(), &mut outcome.missing);
                    assert!(next > at, "{what}: no progress at {at}");
                    at = next;
                }
                Ok(Read::Cold(warm)) => warm.run().unwrap(),
                Ok(Read::Empty) => break,
                Err(ReadError::Corrupt { first, last }) => {
                    assert!(first <= at && at <= last, "{what}: {first}..={last} does not hold {at}");
                    outcome.corrupt.extend((at..=last).filter(|o| outcome.missing.contains(o)));
                    outcome.missing.retain(|o| !(at..=last).contains(o));
                    at = last + 1;
                }
                Err(e) => panic!("{what}: {e:?}"),
            }
        }
        let reported = !outcome.report.is_uneventful();
        assert!(outcome.missing.is_empty() || reported, "{what}: {:?} gone without a word", outcome.missing);
        drop(log);
        let again = open(&sim, false).unwrap_or_else(|e| panic!("{what}, again: {e}"));
        assert!(again.0.end_offset() >= outcome.end, "{what}: offsets are given away twice");
        outcome
    }

    /// Whole batches, each as it was appended. The leader epoch is outside every checksum.
    fn check(&self, what: &str, mut bytes: &[u8], missing: &mut BTreeSet<i64>) {
        while !bytes.is_empty() {
            let base = i64::from_be_bytes(bytes[..8].try_into().unwrap());
            let (_, good) = self.batches.iter().find(|(b, _)| *b == base).expect(what);
            assert!(bytes.len() >= good.len(), "{what}: a piece of a batch");
            assert_eq!((&bytes[..12], &bytes[16..good.len()]), (&good[..12], &good[16..]), "{what}");
            bytes = &bytes[good.len()..];
            let records = i64::from(i32::from_be_bytes(good[57..61].try_into().unwrap()));
            (base..base + records).for_each(|o| assert!(missing.remove(&o), "{what}: {o} twice"));
        }
    }

    fn files(&self, ending: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let files = self.sim.files().into_iter().filter(|p| p.to_str().unwrap().ends_with(ending));
        files.map(|p| (p.clone(), self.sim.raw(&p).unwrap())).collect()
    }
}

#[test]
fn an_undamaged_partition_is_served_whole() {
    let golden = golden();
    for clean in [true, false] {
        let outcome = golden.with("undamaged", clean, |_| {});
        assert!(outcome.lost() == 0 && outcome.report.is_uneventful(), "{:?}", outcome.report);
    }
}

#[test]
fn no_damage_to_an_index_or_a_mark_hides_a_record() {
    let golden = golden();
    for (path, content) in golden.files("index").into_iter().chain(golden.files("mark")) {
        for bit in 0..content.len() as u64 * 8 {
            for clean in [true, false] {
                let what = format!("bit {bit} of {}", path.display());
                let outcome = golden.with(&what, clean, |sim| sim.flip_bit(&path, bit).unwrap());
                assert_eq!(outcome.lost(), 0, "{what}: {:?}", outcome.report);
            }
        }
        for len in (0..content.len()).step_by(7) {
            let what = format!("{} cut to {len}", path.display());
            let outcome = golden.with(&what, false, |sim| sim.set_raw(&path, &content[..len]).unwrap());
            assert_eq!(outcome.lost(), 0, "{what}: {:?}", outcome.report);
        }
    }
}

#[test]
fn no_damage_to_the_epochs_changes_what_they_say() {
    let golden = golden();
    assert_eq!(golden.epochs.iter().map(|(epoch, _)| epoch).collect::<Vec<_>>(), [3, 4, 5]);
    let files = golden.files("epochs");
    let [(path, content)] = &files[..] else { panic!("there is one") };
    for clean in [true, false] {
        for bit in 0..content.len() as u64 * 8 {
            let what = format!("bit {bit} of the epochs");
            let outcome = golden.with(&what, clean, |sim| sim.flip_bit(path, bit).unwrap());
            assert_eq!((outcome.lost(), &outcome.epochs), (0, &golden.epochs), "{what}");
            assert!(outcome.report.rebuilt_epochs, "{what}");
        }
        for len in 0..content.len() {
            let what = format!("epochs cut to {len}");
            let outcome = golden.with(&what, clean, |sim| sim.set_raw(path, &content[..len]).unwrap());
            assert_eq!((outcome.lost(), &outcome.epochs), (0, &golden.epochs), "{what}");
        }
        let outcome = golden.with("epochs removed", clean, |sim| sim.remove_file(path).unwrap());
        assert_eq!((outcome.lost(), &outcome.epochs), (0, &golden.epochs));
    }
}

#[test]
fn damage_to_a_log_costs_only_what_is_near_it_and_is_reported() {
    let golden = golden();
    for (path, content) in golden.files("log") {
        for byte in (0..content.len() as u64).step_by(16).flat_map(|b| [b, b + 9]) {
            for clean in [true, false] {
                let bit = byte * 8 + byte / 16 % 8;
                let what = format!("bit {bit} of {}", path.display());
                let outcome = golden.with(&what, clean, |sim| sim.flip_bit(&path, bit).unwrap());
                assert_eq!(outcome.missing.len(), 0, "{what}: {:?}", outcome.report);
                assert!(outcome.lost() <= 12, "{what}: {} lost", outcome.lost());
                assert_eq!(outcome.end, golden.end, "{what}");
                let epoch = batch_byte(&content, byte).is_some_and(|at| (12..16).contains(&at));
                assert!(
                    outcome.lost() > 0 || epoch || byte >= content.len() as u64,
                    "{what} was not noticed"
                );
            }
        }
    }
}

/// Which byte of its batch a byte of a log is.
fn batch_byte(content: &[u8], byte: u64) -> Option<usize> {
    let mut rest = content;
    let mut at = usize::try_from(byte).ok()?;
    while !rest.is_empty() {
        let size = krappy_wire::batch::Header::read(rest).ok()?.size();
        if at < size {
            return Some(at);
        }
        at -= size;
        rest = &rest[size..];
    }
    None
}

#[test]
fn files_that_are_cut_emptied_swapped_or_removed_are_reported() {
    let golden = golden();
    let logs = golden.files("log");
    for (path, content) in &logs {
        for len in (0..content.len()).step_by(64) {
            let what = format!("{} cut to {len}", path.display());
            for clean in [true, false] {
                let outcome = golden.with(&what, clean, |sim| sim.set_raw(path, &content[..len]).unwrap());
                assert!(outcome.lost() > 0, "{what}");
                assert_eq!(outcome.end, golden.end, "{what}");
            }
        }
        for clean in [true, false] {
            let what = format!("{} removed", path.display());
            let outcome = golden.with(&what, clean, |sim| sim.remove_file(path).unwrap());
            assert!(outcome.lost() > 0 && !outcome.report.gaps.is_empty(), "{what}: {:?}", outcome.report);
            for (_, other) in logs.iter().filter(|(p, _)| p != path) {
                let what = format!("{} with other content", path.display());
                let outcome = golden.with(&what, clean, |sim| sim.set_raw(path, other).unwrap());
                assert!(outcome.lost() > 0, "{what}");
            }
        }
        for at in (0..content.len()).step_by(512) {
            let what = format!("512 zeros at {at} in {}", path.display());
            let mut bytes = content.clone();
            bytes[at..(at + 512).min(content.len())].fill(0);
            let outcome = golden.with(&what, false, |sim| sim.set_raw(path, &bytes).unwrap());
            assert!(outcome.lost() > 0 && outcome.lost() < 30, "{what}: {}", outcome.lost());
        }
    }
}

#[test]
fn strangers_in_the_directory_are_left_alone_or_refused() {
    let golden = golden();
    for name in ["notes.txt", "1.log", "00000000000000000000.log.bak", "x.tmp", "torn-x-1"] {
        let path = Path::new(DIR).join(name);
        let outcome = golden.with(name, true, |sim| sim.set_raw(&path, b"hello").unwrap());
        assert_eq!((outcome.lost(), &outcome.report.unknown[..]), (0, &[name.to_owned()][..]));
    }
    for name in ["00000000000000000999.log.tmp", "mark.tmp", "epochs.tmp", "torn-00000000000000000000-5.tmp"]
    {
        let path = Path::new(DIR).join(name);
        let outcome = golden.with(name, true, |sim| sim.set_raw(&path, b"hello").unwrap());
        assert_eq!((outcome.lost(), &outcome.report.removed[..]), (0, &[name.to_owned()][..]));
    }
    let stray = Path::new(DIR).join("00000000000000000005.log");
    for clean in [true, false] {
        let outcome = golden.with("a stray segment", clean, |sim| sim.set_raw(&stray, b"hello").unwrap());
        assert_eq!((outcome.lost(), outcome.report.side_files.len()), (0, 1), "{:?}", outcome.report);
    }
    let future = Path::new(DIR).join("00000000000000999999.log");
    let outcome = golden.with("a segment of the future", false, |sim| {
        sim.set_raw(&future, &golden.batches[0].1).unwrap();
    });
    assert_eq!((outcome.lost(), outcome.report.side_files.len()), (0, 1), "{:?}", outcome.report);
    assert_eq!(outcome.end, golden.end);
    let sim = golden.sim.fork();
    sim.create_dir(&Path::new(DIR).join("00000000000000000999.log")).unwrap();
    assert!(matches!(open(&sim, true), Err(OpenError::Refused(_))));
}
