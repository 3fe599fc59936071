//! `krappy check --deep`: holds the view of a compacted partition against its log, key by key.
//!
//! Invariant: what the log says is folded from its segment files alone, and what the view says is read from its runs
//! alone; both only up to the offset that the view covers. Needs memory for every key, and a checksum of each value.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use krappy_wire::batch::HEADER;

use super::view;
use crate::disk::{Disk, Open};
use crate::lsm::manifest::Names;
use crate::lsm::{Access, Entry, Kind, OpenError, Run};
use crate::segment::log_name;
use crate::segment::walk::{Step, Walk};
use crate::view::Entries;

/// The newest record of each key: its offset, whether it sets or deletes the key, and a checksum of what it says.
type Newest = BTreeMap<Vec<u8>, (i64, Kind, u32)>;

/// Differences that are told; the rest is counted.
const TOLD: usize = 20;

/// Compares the view in a partition's folder, if there is one, with the log in `segments` (base offset and length)
/// from `log_start` on. A log that is damaged is compared as far as it can be read.
pub fn compare(
    disk: &dyn Disk,
    partition: &Path,
    segments: &[(i64, u64)],
    log_start: i64,
    out: &mut dyn Write,
    problems: &mut Vec<String>,
) -> io::Result<()> {
    let dir = partition.join(view::NAME);
    let tip = match Names::list(disk, &dir).and_then(|names| names.tip(disk, &dir)) {
        Ok(tip) => tip,
        Err(OpenError::Io(e)) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        // That there is none, or that it is damaged, was told before.
        Err(_) => return Ok(()),
    };
    let mut in_view = Newest::new();
    for meta in tip.runs() {
        // A run that cannot be read was told before, and says nothing here.
        let Ok(run) = Run::open(disk, &dir, meta.clone()) else { return Ok(()) };
        let mut iter = Arc::new(run).iter(Access::Blocking);
        let mut read = iter.first();
        while read.is_ok()
            && let Some(entry) = iter.entry()
        {
            note(&mut in_view, &entry);
            read = iter.next();
        }
        if read.is_err() {
            return Ok(());
        }
    }
    let in_log = fold(disk, partition, segments, log_start, tip.covered)?;
    in_view.retain(|_, (offset, ..)| *offset >= log_start);
    let keys = in_log.len();
    let differences = differences(&in_log, &in_view);
    writeln!(out, "  {}  {keys} keys of the log compared with it", view::NAME)?;
    let more = differences.len().saturating_sub(TOLD);
    problems.extend(differences.into_iter().take(TOLD));
    if more > 0 {
        problems.push(format!("{more} more keys differ"));
    }
    Ok(())
}

fn note(newest: &mut Newest, entry: &Entry<'_>) {
    let what = (entry.seq, entry.kind, crc32fast::hash(entry.value));
    match newest.get_mut(entry.key) {
        Some(known) if known.0 >= entry.seq => {}
        Some(known) => *known = what,
        None => drop(newest.insert(entry.key.to_vec(), what)),
    }
}

fn fold(
    disk: &dyn Disk,
    partition: &Path,
    segments: &[(i64, u64)],
    from: i64,
    until: i64,
) -> io::Result<Newest> {
    let mut newest = Newest::new();
    let mut entries = Entries::default();
    for &(base, len) in segments {
        let file = disk.open(&partition.join(log_name(base)), Open::Read)?;
        let mut walk = Walk::new(&*file, 0, base, len, true);
        loop {
            let at = (walk.position, walk.offset);
            let Step::Batch(header, _) = walk.step()? else { break };
            let behind = (walk.position, walk.offset);
            (walk.position, walk.offset) = at;
            let mut visit = |entry: Entry<'_>| {
                if (from..until).contains(&entry.seq) {
                    note(&mut newest, &entry);
                }
            };
            let batch = walk.batch(header.size())?;
            entries.of(&header, &batch[HEADER..], &mut visit).map_err(|e| {
                let text = format!("{} at byte {}: {e}", log_name(base), at.0);
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?;
            (walk.position, walk.offset) = behind;
        }
    }
    Ok(newest)
}

/// A deletion may be forgotten on either side once nothing is left that it hides.
fn differences(in_log: &Newest, in_view: &Newest) -> Vec<String> {
    let mut found = Vec::new();
    for (key, log) in in_log {
        match in_view.get(key) {
            Some(view) if view == log => {}
            None if log.1 == Kind::Tombstone => {}
            view => found.push(format!(
                "key {}: the log says {}, the view says {}",
                key.escape_ascii(),
                said(Some(log)),
                said(view)
            )),
        }
    }
    let extra = in_view.iter().filter(|(key, view)| view.1 == Kind::Put && !in_log.contains_key(*key));
    found.extend(extra.map(|(key, view)| {
        format!("key {}: the log says nothing, the view says {}", key.escape_ascii(), said(Some(view)))
    }));
    found
}

fn said(newest: Option<&(i64, Kind, u32)>) -> String {
    match newest {
        None => "nothing".into(),
        Some((offset, Kind::Put, crc)) => format!("offset {offset} (value with CRC-32 {crc:08x})"),
        Some((offset, Kind::Tombstone, _)) => format!("deleted at offset {offset}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_and_forgotten_deletions_are_not() {
        let newest = |all: &[(&str, i64, Kind)]| {
            let entry = |&(key, offset, kind): &(&str, i64, Kind)| (key.into(), (offset, kind, 7));
            all.iter().map(entry).collect::<Newest>()
        };
        use Kind::{Put, Tombstone};
        let log =
            newest(&[("a", 1, Put), ("b", 9, Put), ("c", 3, Put), ("d", 4, Tombstone), ("e", 5, Tombstone)]);
        let view = newest(&[("a", 1, Put), ("b", 2, Put), ("e", 6, Put), ("f", 7, Put), ("g", 8, Tombstone)]);
        assert_eq!(
            differences(&log, &view),
            [
                "key b: the log says offset 9 (value with CRC-32 00000007), the view says offset 2 (value with CRC-32 00000007)",
                "key c: the log says offset 3 (value with CRC-32 00000007), the view says nothing",
                "key e: the log says deleted at offset 5, the view says offset 6 (value with CRC-32 00000007)",
                "key f: the log says nothing, the view says offset 7 (value with CRC-32 00000007)",
            ]
        );
        assert!(differences(&log, &log).is_empty());
    }
}
