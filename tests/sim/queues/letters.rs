//! Dead letters as they lie on the disk, read by the batch decoder alone.

use std::collections::BTreeSet;
use std::path::Path;

use krappy::disk::sim::SimDisk;
use krappy_wire::batch::{self, Record};
use krappy_wire::compress;

use super::super::audit;
use super::super::content::{self, Id};

/// What is added to the name of a topic for its dead letters.
const SUFFIX: &str = ".dlq";
/// The headers that a letter has beside those of its record.
const OWN: &str = "__dlq.errors.";
/// The reason of a record that nobody has rejected.
pub const SPENT: &str = "delivered as often as allowed and not acknowledged";

/// A dead letter.
#[derive(Debug, Clone)]
pub struct Letter {
    pub group: String,
    /// Where it comes from.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub deliveries: u32,
    pub reason: String,
    /// The record, if it is intact in every byte.
    pub id: Option<Id>,
}

/// All dead letters of a topic.
pub fn read(disk: &SimDisk, data: &Path, topic: &str) -> Result<Vec<Letter>, String> {
    let name = topic.to_owned() + SUFFIX;
    let mut letters = Vec::new();
    for partition in audit::partitions(disk, data, &name) {
        for (_, path) in audit::segments(disk, &audit::dir(data, &name, partition)) {
            let bytes = disk.raw(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            read_segment(&bytes, &mut letters).map_err(|e| format!("{}: {e}", path.display()))?;
        }
    }
    Ok(letters)
}

fn read_segment(mut bytes: &[u8], letters: &mut Vec<Letter>) -> Result<(), String> {
    while !bytes.is_empty() {
        let (header, batch) = batch::first(bytes).map_err(|e| e.to_string())?;
        let mut scratch = Vec::new();
        for record in compress::records(batch, compress::MOST, &mut scratch).map_err(|e| e.to_string())? {
            let record = record.map_err(|e| e.to_string())?;
            let letter = Letter::of(&record);
            letters.push(letter.ok_or_else(|| format!("the record at {} is no letter", record.offset))?);
        }
        bytes = &bytes[header.size()..];
    }
    Ok(())
}

impl Letter {
    fn of(record: &Record<'_>) -> Option<Letter> {
        let text = |name: &str| {
            let name = format!("{OWN}{name}");
            let (_, value) = record.headers().find(|(header, _)| *header == name.as_bytes())?;
            String::from_utf8(value?.to_vec()).ok()
        };
        Some(Letter {
            group: text("group")?,
            topic: text("topic")?,
            partition: text("partition")?.parse().ok()?,
            offset: text("offset")?.parse().ok()?,
            deliveries: text("delivery.count")?.parse().ok()?,
            reason: text("message")?,
            id: recognise(record),
        })
    }

    /// Compares a letter with the record that it is said to be of, if that is still there, and with the reasons for
    /// which somebody wanted it dead.
    pub fn check(&self, record: Option<Id>, reasons: &BTreeSet<String>, attempts: u32) -> Result<(), String> {
        let is_due = match self.reason == SPENT {
            true => self.deliveries >= attempts,
            false => self.deliveries > 0 && reasons.contains(&self.reason),
        };
        let is_same = self.id.is_some() && record.is_none_or(|record| Some(record) == self.id);
        match is_due && is_same {
            true => Ok(()),
            false => Err(format!("{self:x?} is of {record:x?}, which somebody rejected for {reasons:?}")),
        }
    }
}

/// The number of the record that a letter holds, if it is intact beside the headers of the letter.
fn recognise(record: &Record<'_>) -> Option<Id> {
    let is_own = |name: &[u8]| name.starts_with(OWN.as_bytes());
    let mut theirs = record.headers().filter(|(name, _)| !is_own(name));
    let holds_it = theirs.next().map_or(record.value, |(_, value)| value);
    let id = u64::from_be_bytes(*holds_it?.first_chunk()?);
    let intact = record.value == content::value(id).as_deref() && record.key == content::key(id).as_deref();
    (intact && theirs.next().is_none()).then_some(id)
}
