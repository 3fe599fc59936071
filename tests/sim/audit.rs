//! A second reader of the data folder: walks segment files with the batch decoder alone, without the broker's recovery,
//! indexes or marks, so that what it sees does not depend on the code under test.

use std::path::{Path, PathBuf};

use krappy::disk::sim::SimDisk;
use krappy::disk::{Disk, Kind};
use krappy_wire::batch::{self, Records};

use super::content::{Id, recognise};

/// The content of a partition's segment files.
pub struct Found {
    /// Offset of the first record.
    pub start: i64,
    /// The records from there on, without a gap.
    pub ids: Vec<Id>,
}

/// Names of the topics in a data folder.
pub fn topics(disk: &SimDisk, data: &Path) -> Vec<String> {
    let entries = disk.list(&data.join("topics")).unwrap_or_default();
    entries.into_iter().filter(|e| e.kind == Kind::Dir).map(|e| e.name).collect()
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

/// Reads all segment files of a partition; the error says what is wrong with them.
pub fn read(disk: &SimDisk, data: &Path, topic: &str, partition: i32) -> Result<Found, String> {
    let dir = data.join("topics").join(topic).join(partition.to_string());
    let mut found = Found { start: -1, ids: Vec::new() };
    for (base, path) in segments(disk, &dir) {
        let bytes = disk.raw(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let next = found.start + found.ids.len() as i64;
        if found.start < 0 || base > next {
            // Everything up to here was deleted; whether somebody asked for that is the history's business.
            found = Found { start: base, ids: Vec::new() };
        } else if base < next {
            return Err(format!("{}: begins at {base} instead of {next}", path.display()));
        }
        read_segment(&bytes, base, &mut found.ids).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if found.start < 0 { Err(format!("{}: has no segment", dir.display())) } else { Ok(found) }
}

/// Whether this record is on the device for certain; `None` if its segment is gone.
pub fn is_durable(disk: &SimDisk, data: &Path, at: (&str, i32), offset: i64, id: Id) -> Option<bool> {
    let dir = data.join("topics").join(at.0).join(at.1.to_string());
    let (base, path) = segments(disk, &dir).into_iter().rfind(|(base, _)| *base <= offset)?;
    let bytes = disk.raw_durable(&path).ok()?;
    let mut ids = Vec::new();
    // What follows the last whole batch was not synced yet.
    let _ = read_segment(&bytes, base, &mut ids);
    Some(ids.get((offset - base) as usize) == Some(&id))
}

fn segments(disk: &SimDisk, dir: &Path) -> Vec<(i64, PathBuf)> {
    let entries = disk.list(dir).unwrap_or_default();
    let base = |name: &str| name.strip_suffix(".log").and_then(|digits| digits.parse().ok());
    entries.iter().filter_map(|e| Some((base(&e.name)?, dir.join(&e.name)))).collect()
}

fn read_segment(bytes: &[u8], base: i64, ids: &mut Vec<Id>) -> Result<(), String> {
    let (mut rest, mut next) = (bytes, base);
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let (header, batch) = batch::first(rest).map_err(|e| format!("at byte {at}: {e}"))?;
        if header.base_offset != next {
            return Err(format!("at byte {at}: offset {} instead of {next}", header.base_offset));
        }
        read_batch(batch, ids).map_err(|e| format!("at byte {at}: {e}"))?;
        next = header.next_offset();
        rest = &rest[header.size()..];
    }
    Ok(())
}

/// The records of one batch.
pub fn read_batch(batch: &[u8], ids: &mut Vec<Id>) -> Result<(), String> {
    for record in Records::new(batch).map_err(|e| e.to_string())? {
        let record = record.map_err(|e| e.to_string())?;
        let id = recognise(record.key, record.value);
        ids.push(id.ok_or_else(|| format!("the record at {} is not one that was sent", record.offset))?);
    }
    Ok(())
}
