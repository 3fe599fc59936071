//! The files of a compacted topic's view, in words and under examination: manifests and runs.
//!
//! Invariant: as for its neighbours: nothing is changed, and what a dump prints is printable ASCII. Damage here costs
//! nothing but time, because a start builds a damaged view anew from the log.

use std::io::{self, Write};
use std::path::Path;

use crate::disk::{self, Disk};
use crate::lsm::block::Cursor;
use crate::lsm::manifest::{self, Names, Unreadable};
use crate::lsm::record::Record;
use crate::lsm::{Edit, Entry, Kind, OpenError, ReadError, Run, RunMeta, Tip, run_name};

/// The folder of the view, in that of the partition.
pub const NAME: &str = "view";
/// How much of a key or value a dump shows.
const PREVIEW: usize = 64;

/// Prints a run: each block, and each entry with the byte of the file at which it begins.
pub fn dump_run(disk: &dyn Disk, path: &Path, out: &mut dyn Write) -> io::Result<()> {
    let run = match Run::inspect(disk, path) {
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            return writeln!(out, "DAMAGED: {}", printable(&e.to_string()));
        }
        other => other?,
    };
    writeln!(out, "{}  blocks {}", described(run.meta()), run.blocks())?;
    let mut scratch = Vec::new();
    for n in 0..run.blocks() {
        let range = run.block_range(n);
        writeln!(out, "position {}  block of {} bytes", range.start, range.end - range.start)?;
        match run.read_block(n, &mut scratch) {
            Ok(block) => {
                let mut cursor = Cursor::default();
                let mut found = cursor.first(&block);
                while found == Ok(true) {
                    dump_entry(range.start + cursor.start() as u64, &cursor.entry(&block), out)?;
                    found = cursor.next(&block);
                }
                if let Err(flaw) = found {
                    writeln!(out, "    DAMAGED: {flaw}")?;
                }
            }
            Err(ReadError::Io(e)) => return Err(e),
            Err(e) => writeln!(out, "    DAMAGED: {}", printable(&e.to_string()))?,
        }
    }
    Ok(())
}

fn dump_entry(position: u64, entry: &Entry<'_>, out: &mut dyn Write) -> io::Result<()> {
    let (key, value) = (preview(entry.key), preview(entry.value));
    let offset = entry.seq;
    match entry.kind {
        Kind::Put => writeln!(out, "    position {position}  offset {offset}  key {key}  value {value}"),
        Kind::Tombstone if entry.value.is_empty() => {
            writeln!(out, "    position {position}  offset {offset}  key {key}  tombstone")
        }
        Kind::Tombstone => {
            writeln!(out, "    position {position}  offset {offset}  key {key}  tombstone with {value}")
        }
    }
}

/// Prints a manifest, record by record. A copy under another name says its number itself.
pub fn dump_manifest(disk: &dyn Disk, path: &Path, out: &mut dyn Write) -> io::Result<()> {
    let bytes = disk::read_file(disk, path)?;
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let number = manifest::manifest_number(name).or(manifest::claimed_number(&bytes)).unwrap_or(0);
    writeln!(out, "manifest {number}")?;
    let mut text = Vec::new();
    let read = manifest::replay(number, &bytes, &mut |at, record| dump_record(at, record, &mut text));
    out.write_all(&text)?;
    match read {
        Ok(replayed) => match replayed.torn {
            Some(at) => writeln!(
                out,
                "position {at}  {} bytes of a record that was never finished, or is damaged",
                bytes.len() - at
            ),
            None => Ok(()),
        },
        Err(Unreadable::NotWhole(flaw)) => writeln!(out, "DAMAGED or never finished: {flaw}"),
        Err(Unreadable::Damaged(at, flaw)) => {
            writeln!(out, "position {at}  DAMAGED: {flaw}; {} bytes follow", bytes.len() - at)
        }
    }
}

fn dump_record(at: usize, record: &Record, out: &mut Vec<u8>) {
    let mut line = |text: String| {
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
    };
    match record {
        Record::Snapshot(tip) => {
            let Tip { covered, horizon, next_number, levels } = tip;
            line(format!(
                "position {at}  snapshot  covered {covered}  horizon {horizon}  next number {next_number}"
            ));
            for (level, runs) in levels.iter().enumerate() {
                runs.iter().for_each(|run| line(format!("    level {level}  {}", described(run))));
            }
        }
        Record::Edit(Edit { covered, horizon, added, removed }) => {
            let moved = |name: &str, n: &Option<i64>| n.map_or(String::new(), |n| format!("  {name} {n}"));
            line(format!("position {at}  edit{}{}", moved("covered", covered), moved("horizon", horizon)));
            added
                .iter()
                .for_each(|(level, run)| line(format!("    added to level {level}  {}", described(run))));
            removed.iter().for_each(|number| line(format!("    removed {}", run_name(*number))));
        }
    }
}

fn described(run: &RunMeta) -> String {
    format!(
        "{}  bytes {}  entries {}  tombstones {}  offsets {}..{}  keys {}..{}",
        run_name(run.number),
        run.bytes,
        run.entries,
        run.tombstones,
        run.min_seq,
        run.max_seq,
        preview(&run.smallest),
        preview(&run.largest)
    )
}

fn preview(bytes: &[u8]) -> String {
    match bytes.split_at_checked(PREVIEW) {
        Some((shown, rest)) if !rest.is_empty() => {
            format!("\"{}\"... {} bytes more", shown.escape_ascii(), rest.len())
        }
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}

/// A path may hold anything.
fn printable(text: &str) -> impl std::fmt::Display {
    text.as_bytes().escape_ascii()
}

/// Checks the view of a partition, if there is one: every manifest that a start would read, every run, every block. One
/// line about it goes to `out`, and what is damaged to `problem`.
pub fn check(
    disk: &dyn Disk,
    partition: &Path,
    out: &mut dyn Write,
    problems: &mut Vec<String>,
) -> io::Result<()> {
    if !disk.list(partition)?.iter().any(|e| e.name == NAME && e.kind == disk::Kind::Dir) {
        return Ok(());
    }
    let dir = partition.join(NAME);
    let found = Names::list(disk, &dir).and_then(|names| names.tip(disk, &dir).map(|tip| (names, tip)));
    let (names, tip) = match found {
        Ok(found) => found,
        Err(OpenError::Io(e)) => return Err(e),
        Err(OpenError::Missing) => {
            problems.push(format!("{NAME} has no manifest"));
            return Ok(());
        }
        Err(OpenError::Damaged(why)) => {
            problems.push(why);
            return Ok(());
        }
    };
    for number in names.runs.iter().filter(|number| tip.runs().all(|run| run.number != **number)) {
        writeln!(out, "  {NAME}/{} is not part of the view; the next start removes it", run_name(*number))?;
    }
    for meta in tip.runs() {
        check_run(disk, &dir, meta, problems)?;
    }
    let (entries, bytes) = tip.runs().fold((0, 0), |(n, b), run| (n + run.entries, b + run.bytes));
    let runs = tip.runs().count();
    writeln!(
        out,
        "  {NAME}  {runs} runs, {entries} entries, {bytes} bytes, covers offsets below {}",
        tip.covered
    )
}

fn check_run(disk: &dyn Disk, dir: &Path, meta: &RunMeta, problems: &mut Vec<String>) -> io::Result<()> {
    let verified = match Run::open(disk, dir, meta.clone()) {
        Ok(run) => run.verify(),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(ReadError::Corrupt(e.to_string())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(ReadError::Corrupt(format!("{} is missing", dir.join(run_name(meta.number)).display())))
        }
        Err(e) => return Err(e),
    };
    match verified {
        Ok(()) => {}
        Err(ReadError::Io(e)) => return Err(e),
        Err(e) => problems.push(e.to_string()),
    }
    Ok(())
}
