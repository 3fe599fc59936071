//! A second reader of the data folder: walks segment files with the batch decoder alone, without the broker's recovery,
//! indexes or marks, so that what it sees does not depend on the code under test.

use std::path::{Path, PathBuf};

use krappy::disk::sim::SimDisk;
use krappy::disk::{Disk, Kind};
use krappy_wire::batch;
use krappy_wire::compress;

use super::content::{Id, recognise};

/// The content of a partition's segment files.
pub struct Found {
    /// Offset of the first record.
    pub start: i64,
    /// The offset after the last one.
    pub end: i64,
    /// The records in between, with their offsets.
    pub records: Vec<(i64, Id)>,
}

/// Names of the topics in a data folder.
pub fn topics(disk: &SimDisk, data: &Path) -> Vec<String> {
    let entries = disk.list(&data.join("topics")).unwrap_or_default();
    entries.into_iter().filter(|e| e.kind == Kind::Dir).map(|e| e.name).collect()
}

/// Whether the broker keeps a topic for itself, or makes it of the records of another.
pub fn is_internal(name: &str) -> bool {
    name.starts_with("__") || name.ends_with(".dlq")
}

/// The `id=` line of a topic's properties.
pub fn topic_id(disk: &SimDisk, data: &Path, topic: &str) -> Option<String> {
    let text = disk.raw(&data.join("topics").join(topic).join("topic.properties")).ok()?;
    let text = String::from_utf8(text).ok()?;
    text.lines().find_map(|line| line.strip_prefix("id=").map(str::to_owned))
}

/// The partitions of a topic, by number.
pub fn partitions(disk: &SimDisk, data: &Path, topic: &str) -> Vec<i32> {
    let entries = disk.list(&data.join("topics").join(topic)).unwrap_or_default();
    let mut numbers: Vec<i32> = entries.iter().filter_map(|e| e.name.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// Folder of a partition.
pub fn dir(data: &Path, topic: &str, partition: i32) -> PathBuf {
    data.join("topics").join(topic).join(partition.to_string())
}

/// Reads all segment files of a partition, which has holes only if it is `cleaned`; the error says what is wrong with
/// them.
pub fn read(
    disk: &SimDisk,
    data: &Path,
    topic: &str,
    partition: i32,
    cleaned: bool,
) -> Result<Found, String> {
    let dir = dir(data, topic, partition);
    let mut found = Found { start: -1, end: -1, records: Vec::new() };
    for (base, path) in segments(disk, &dir) {
        let bytes = disk.raw(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        if found.start < 0 || base > found.end && !cleaned {
            // Everything up to here was deleted; whether somebody asked for that is the history's business.
            found = Found { start: base, end: base, records: Vec::new() };
        } else if base < found.end {
            return Err(format!("{}: begins at {base} instead of {}", path.display(), found.end));
        }
        found.end = base;
        read_segment(&bytes, cleaned, &mut found).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if found.start < 0 { Err(format!("{}: has no segment", dir.display())) } else { Ok(found) }
}

/// Whether this record is in its file or, if it is to be `durable`, on the device for certain; `None` if its segment is
/// gone, or it was cleaned away.
pub fn is_there(
    disk: &SimDisk,
    data: &Path,
    at: (&str, i32),
    (offset, id): (i64, Id),
    cleaned: bool,
    durable: bool,
) -> Option<bool> {
    let segments = segments(disk, &dir(data, at.0, at.1));
    let (_, path) = segments.iter().rfind(|(base, _)| *base <= offset)?;
    if durable && holds(&disk.raw_durable(path).ok()?, offset, id) == Some(true) {
        return Some(true);
    }
    // Old segments may be removed in any order.
    let is_last = segments.last().is_some_and(|(base, _)| *base <= offset);
    match holds(&disk.raw(path).ok()?, offset, id) {
        Some(true) => Some(!durable),
        None if !is_last => None,
        _ if cleaned => None,
        _ => Some(false),
    }
}

/// Whether a segment file has this record; `None` if its whole batches end before.
fn holds(mut bytes: &[u8], offset: i64, id: Id) -> Option<bool> {
    // What follows the last whole batch was not synced yet.
    while let Ok((header, batch)) = batch::first(bytes) {
        if header.last_offset() >= offset {
            let mut records = Vec::new();
            return Some(read_batch(batch, &mut records).is_ok() && records.contains(&(offset, id)));
        }
        bytes = &bytes[header.size()..];
    }
    None
}

/// The largest number of a manifest in a partition's view, if it has one.
pub fn manifest(disk: &SimDisk, dir: &Path) -> Option<u64> {
    let entries = disk.list(&dir.join("view")).unwrap_or_default();
    entries.iter().filter_map(|e| e.name.strip_prefix("MANIFEST-")?.parse().ok()).max()
}

/// Base offset and path of each segment file, ascending.
pub fn segments(disk: &SimDisk, dir: &Path) -> Vec<(i64, PathBuf)> {
    let entries = disk.list(dir).unwrap_or_default();
    let base = |name: &str| name.strip_suffix(".log").and_then(|digits| digits.parse().ok());
    entries.iter().filter_map(|e| Some((base(&e.name)?, dir.join(&e.name)))).collect()
}

fn read_segment(bytes: &[u8], cleaned: bool, found: &mut Found) -> Result<(), String> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let (header, batch) = batch::first(rest).map_err(|e| format!("at byte {at}: {e}"))?;
        if header.base_offset < found.end || header.base_offset > found.end && !cleaned {
            return Err(format!("at byte {at}: offset {} instead of {}", header.base_offset, found.end));
        }
        read_batch(batch, &mut found.records).map_err(|e| format!("at byte {at}: {e}"))?;
        found.end = header.next_offset();
        rest = &rest[header.size()..];
    }
    Ok(())
}

/// The records of one batch, with their offsets.
pub fn read_batch(batch: &[u8], records: &mut Vec<(i64, Id)>) -> Result<(), String> {
    let mut scratch = Vec::new();
    for record in compress::records(batch, compress::MOST, &mut scratch).map_err(|e| e.to_string())? {
        let record = record.map_err(|e| e.to_string())?;
        let id = recognise(record.key, &record.tail)
            .ok_or_else(|| format!("the record at {} is not one that was sent", record.offset))?;
        records.push((record.offset, id));
    }
    Ok(())
}
