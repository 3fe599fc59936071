//! What can be done with a data folder while no broker runs: check it, repair it, look into its files.
//!
//! Invariant: [`check()`] and [`dump()`] change nothing, and neither does [`repair()`] with `dry_run`. All three take a
//! data folder, or any folder below it that holds a partition.

mod check;
mod deep;
mod dump;
mod pretend;
mod repair;
mod view;

use std::io;
use std::path::{Path, PathBuf};

pub use check::{CheckResult, check};
pub use dump::dump;
pub use repair::{RepairResult, repair};

use crate::disk::{Disk, Kind};

/// How far below the given folder partitions are looked for: `data/topics/<topic>/<partition>`.
const DEPTH: usize = 3;

/// The folders that hold a partition, in order.
fn partitions(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(disk, dir, DEPTH, &mut found)?;
    Ok(found)
}

fn collect(disk: &dyn Disk, dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = disk.list(dir)?;
    let is_log = |name: &str| Path::new(name).extension().is_some_and(|e| e == "log");
    if entries.iter().any(|e| e.kind == Kind::File && (e.name == "mark" || is_log(&e.name))) {
        found.push(dir.to_owned());
        return Ok(());
    }
    for entry in entries.iter().filter(|e| e.kind == Kind::Dir && depth > 0) {
        collect(disk, &dir.join(&entry.name), depth - 1, found)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::sim::Crash;
    use crate::lsm::{Edit, Entry, Kind, Manifest, RunWriter};
    use crate::segment::Newest;
    use crate::segment::testing::{Bench, DIR};

    fn stopped() -> Bench {
        let mut bench = Bench::new();
        for i in 0..40 {
            bench.append(1 + i % 3);
        }
        bench.log.close().unwrap();
        bench
    }

    fn checked(bench: &Bench) -> (CheckResult, String) {
        let before = bench.sim.state_hash();
        let mut out = Vec::new();
        let result = check(&*bench.disk, Path::new("/"), false, &mut out).unwrap();
        assert_eq!(bench.sim.state_hash(), before, "a check changes nothing");
        (result, String::from_utf8(out).unwrap())
    }

    fn repaired(bench: &Bench, dry_run: bool) -> (RepairResult, String) {
        let mut out = Vec::new();
        let result = repair(&bench.disk, Path::new(DIR), dry_run, &mut out).unwrap();
        (result, String::from_utf8(out).unwrap())
    }

    fn dumped(bench: &Bench, path: &Path) -> String {
        let mut out = Vec::new();
        dump(&*bench.disk, path, true, &mut out).unwrap();
        assert!(out.iter().all(|b| *b == b'\n' || (b' '..=b'~').contains(b)), "printable ASCII");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_good_folder_passes_and_everything_is_counted() {
        let bench = stopped();
        let (result, text) = checked(&bench);
        assert_eq!((result.problems, result.partitions, result.batches, result.exit_code()), (0, 1, 40, 0));
        assert_eq!(result.records as i64, bench.log.end_offset());
        assert_eq!((result.bytes, result.files), (bench.log.size(), bench.log.segment_count()));
        assert!(text.ends_with("all good\n"), "{text}");
    }

    #[test]
    fn damage_is_named_with_file_byte_and_offset() {
        let bench = stopped();
        let (base, batch) = &bench.batches[3];
        let at: usize = bench.batches[..3].iter().map(|(_, b)| b.len()).sum();
        let log = Path::new(DIR).join("00000000000000000000.log");
        bench.sim.flip_bit(&log, (at + batch.len() - 1) as u64 * 8).unwrap();
        let (result, text) = checked(&bench);
        assert_eq!((result.problems, result.exit_code()), (1, 1), "{text}");
        let line = format!("DAMAGED 00000000000000000000.log at byte {at}, offset {base}: the batch fails");
        assert!(text.contains(&line), "{text}");
    }

    #[cfg(feature = "compression")]
    #[test]
    fn compressed_batches_are_opened_and_one_that_cannot_be_is_no_damage() {
        let mut bench = Bench::new();
        bench.append_packed(1, &[1_000, 2_000], |_| {});
        bench.append_packed(0, &[3_000], |header| header.set_codec(4));
        bench.append_packed(2, &[4_000, 5_000], |header| header.set_log_append_time(6_000));
        bench.log.close().unwrap();
        let (result, text) = checked(&bench);
        assert_eq!((result.problems, result.records), (0, 5), "{text}");
        assert!(text.contains("1 compressed batches cannot be opened"), "{text}");
        assert!(text.contains("the first at offset 2: "), "{text}");
        let text = dumped(&bench, &Path::new(DIR).join("00000000000000000000.log"));
        assert!(text.contains("offset 1  timestamp 2000  key null  value \"value\""), "{text}");
        assert!(text.contains("the records cannot be shown"), "{text}");
        assert!(text.contains("LogAppendTime") && text.contains("offset 3  timestamp 6000"), "{text}");
    }

    #[test]
    fn every_kind_of_file_is_checked() {
        for (name, bit, says) in [
            ("mark", 100, "slot 0 of the mark is damaged"),
            ("epochs", 150, "the file epochs is damaged"),
            ("00000000000000000000.index", 300, "00000000000000000000.index: an entry fails its checksum"),
        ] {
            let bench = stopped();
            bench.sim.flip_bit(&Path::new(DIR).join(name), bit).unwrap();
            let (result, text) = checked(&bench);
            assert!(result.exit_code() == 1 && text.contains(says), "{text}");
        }
        let bench = stopped();
        bench.disk.remove_file(&Path::new(DIR).join("00000000000000000000.log")).unwrap();
        assert!(checked(&bench).1.contains("are in no file"));
    }

    #[test]
    fn a_dry_run_says_what_a_repair_does_and_changes_nothing() {
        let mut bench = Bench::new();
        for i in 0..30 {
            bench.append(1 + i % 3);
        }
        bench.sync(true);
        (0..4).for_each(|_| bench.append(2));
        bench.sim.crash(Crash::KeepAll);
        let active =
            bench.sim.files().into_iter().rfind(|p| p.extension().is_some_and(|e| e == "log")).unwrap();
        let len = bench.sim.raw(&active).unwrap().len() as u64;
        bench.sim.flip_bit(&active, len * 8 - 1).unwrap();
        assert!(checked(&bench).1.contains("so the next start cuts it off"));

        let before = bench.sim.state_hash();
        let (planned, plan) = repaired(&bench, true);
        assert_eq!(bench.sim.state_hash(), before);
        let (done, text) = repaired(&bench, false);
        assert_eq!((&planned, plan.replace("would be", "was")), (&done, text));
        assert_eq!((done.partitions, done.changed, done.damaged), (1, 1, 0), "{plan}");
        assert!(plan.contains("would be cut off into torn-"), "{plan}");

        assert_eq!(checked(&bench).0.problems, 0);
        assert!(repaired(&bench, true).1.contains("nothing to repair"));
    }

    #[test]
    fn a_dump_shows_every_batch_record_entry_and_slot() {
        let bench = stopped();
        let log = dumped(&bench, &Path::new(DIR).join("00000000000000000000.log"));
        assert!(log.contains("offsets 1..2  records 2 "), "{log}");
        assert!(log.contains("    offset 2  timestamp 1001  key \"key\"  value \"value 2\"\n"), "{log}");
        let index = dumped(&bench, &Path::new(DIR).join("00000000000000000000.index"));
        assert!(index.starts_with("offset 0  position 0  max timestamp before -\n"), "{index}");
        let mark = dumped(&bench, &Path::new(DIR).join("mark"));
        let end = format!("offset {}  log start 0", bench.log.end_offset());
        assert!(mark.contains(&end), "{mark}");
        assert_eq!(dumped(&bench, &Path::new(DIR).join("epochs")), "leader epoch 0  from offset 0\n");
    }

    /// A partition with a view, as a flush and a move to the next level leave it.
    fn with_view() -> Bench {
        let bench = stopped();
        let dir: Arc<Path> = Path::new(DIR).join("view").into();
        let manifest = Manifest::create(bench.disk.clone(), dir.clone(), 0).unwrap();
        let mut writer = RunWriter::create(&*bench.disk, &dir, 1).unwrap();
        let put = |key, seq, value| Entry { key, seq, kind: Kind::Put, value };
        writer.add(put(b"\x1b[31mred", 7, &[b'v'; 100])).unwrap();
        writer.add(put(b"key", 4, b"")).unwrap();
        writer.add(Entry { kind: Kind::Tombstone, ..put(b"key", 2, b"") }).unwrap();
        let run = writer.finish().unwrap();
        let edit = Edit { covered: Some(8), added: vec![(0, run.clone())], ..Edit::default() };
        manifest.apply(&edit).unwrap();
        manifest.apply(&Edit { removed: vec![1], added: vec![(1, run)], ..Edit::default() }).unwrap();
        bench
    }

    /// A log whose segments were cleaned, with nothing left of most batches.
    fn cleaned() -> Bench {
        struct Last(i64);
        impl Newest for Last {
            fn newest(&mut self, keys: &[&[u8]], into: &mut Vec<Option<i64>>) -> io::Result<()> {
                *into = vec![Some(self.0); keys.len()];
                Ok(())
            }
            fn covered(&self) -> i64 {
                i64::MAX
            }
        }
        let mut bench = stopped();
        let last = bench.log.end_offset() - 1;
        bench.reopen();
        crate::segment::testing::clean(&mut bench, &mut Last(last));
        bench.log.close().unwrap();
        bench
    }

    #[test]
    fn a_view_is_checked_with_its_partition() {
        let bench = with_view();
        let (result, text) = checked(&bench);
        assert!(result.problems == 0 && text.contains("  view  1 runs, 3 entries, "), "{text}");
        let view = Path::new(DIR).join("view");
        bench.sim.flip_bit(&view.join("000001.run"), 80).unwrap();
        let (result, text) = checked(&bench);
        assert!(result.problems == 1 && text.contains("000001.run: block at byte 0: it fails"), "{text}");
        for (name, says) in [("000001.run", "000001.run is missing"), ("MANIFEST-000001", "has no manifest")]
        {
            bench.disk.remove_file(&view.join(name)).unwrap();
            let (result, text) = checked(&bench);
            assert!(result.problems == 1 && text.contains(says), "{text}");
        }
    }

    #[test]
    fn a_view_is_dumped_entry_by_entry_and_edit_by_edit() {
        let bench = with_view();
        let view = Path::new(DIR).join("view");
        let run = dumped(&bench, &view.join("000001.run"));
        let line = |text: &str, line: &str| assert!(text.lines().any(|l| l == line), "{text}");
        let value = "v".repeat(64);
        let red = "\"\\x1b[31mred\"";
        line(&run, &format!("    position 0  offset 7  key {red}  value \"{value}\"... 36 bytes more"));
        line(&run, "    position 120  offset 2  key \"key\"  tombstone");
        let manifest = dumped(&bench, &view.join("MANIFEST-000001"));
        line(&manifest, "position 24  snapshot  covered 0  horizon 0  next number 1");
        line(&manifest, "    removed 000001.run");
        let added = "    added to level 0  000001.run  bytes ";
        assert!(manifest.contains("  edit  covered 8\n") && manifest.contains(added), "{manifest}");
    }

    #[test]
    fn a_cleaned_folder_passes_and_is_dumped() {
        let bench = cleaned();
        let (result, text) = checked(&bench);
        assert_eq!(result.problems, 0, "{text}");
        assert!((result.records as i64) < bench.log.end_offset() && result.records > 0, "{text}");
        let log = dumped(&bench, &Path::new(DIR).join("00000000000000000000.log"));
        assert!(
            log.starts_with("position 0  offsets 0..") && log.contains("  records 0  bytes 61  "),
            "{log}"
        );
        let reached = dumped(&bench, &Path::new(DIR).join("cleaned"));
        assert!(reached.starts_with("cleaned up to offset "), "{reached}");
        bench.sim.flip_bit(&Path::new(DIR).join("cleaned"), 99).unwrap();
        let (result, text) = checked(&bench);
        assert!(result.problems == 1 && text.contains("the file cleaned is damaged"), "{text}");
    }

    #[test]
    fn an_interrupted_swap_is_repaired_and_a_dry_run_says_so() {
        let before = stopped();
        let after = cleaned();
        let first = Path::new(DIR).join("00000000000000000000.log");
        let joined = after.sim.raw(&first).unwrap();
        let sim = before.sim.fork();
        sim.set_raw(&first, &joined).unwrap();
        sim.set_raw(&Path::new(DIR).join("00000000000000000000.index"), b"").unwrap();
        let bench = Bench { disk: std::sync::Arc::new(sim.clone()), sim, ..before };
        let state = bench.sim.state_hash();
        let (planned, plan) = repaired(&bench, true);
        assert_eq!(bench.sim.state_hash(), state);
        let (done, text) = repaired(&bench, false);
        assert_eq!((&planned, plan.replace("would be", "was")), (&done, text));
        assert_eq!((done.changed, done.damaged), (1, 0), "{plan}");
        assert_eq!(checked(&bench).0.problems, 0);
    }

    #[test]
    fn damaged_files_are_dumped_as_far_as_they_go() {
        let bench = with_view();
        for path in bench.sim.files() {
            let good = bench.sim.raw(&path).unwrap();
            for bit in (0..good.len() as u64 * 8).step_by(5) {
                bench.sim.flip_bit(&path, bit).unwrap();
                dumped(&bench, &path);
                bench.sim.flip_bit(&path, bit).unwrap();
            }
            bench.sim.set_raw(&path, &good[..good.len() - 6]).unwrap();
            assert!(dumped(&bench, &path).contains("amaged") || dumped(&bench, &path).contains("DAMAGED"));
            bench.sim.set_raw(&path, &good).unwrap();
        }
    }
}
