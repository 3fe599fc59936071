//! Compacted topics by key: `get`, `put`, `del`, `scan` and `watch`, and what they share: ranges of keys, offsets that
//! belong to a partition, and rows printed as `consume` prints records.

pub mod args;
pub mod get;
pub mod put;
pub mod scan;
pub mod watch;

use crate::args::Format;
use crate::envelope;
use crate::failure::{Failure, USAGE};
use crate::out::Out;
use crate::print::Print;
use crate::session::Session;
use args::{At, Keys, Rendering};
use krappy_client::{ConsumerRecord, KeyRange};
use krappy_wire::partition::partition_for;
use serde_json::Value;

/// What a row shows unless the user says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The value, for a command that was given the key.
    Value,
    /// Key, a tab, value.
    KeyAndValue,
    /// The key alone; nothing else is known.
    Key,
}

/// Prints records as lines or as envelopes.
pub struct RowPrinter {
    print: Print,
    envelopes: bool,
    shown: Shown,
    buffer: Vec<u8>,
}

impl RowPrinter {
    pub fn new(session: &Session, rendering: &Rendering, shown: Shown) -> Result<Self, Failure> {
        let usage = |reason: String| Failure::new(USAGE, reason);
        if session.format == Format::Csv {
            return Err(usage("records have no CSV form; use --jsonl or -f".into()));
        }
        let null = if rendering.null { "NULL" } else { "" };
        let print = match (&rendering.print, rendering.key_delimiter.as_deref(), shown) {
            (Some(format), _, _) => Print::parse(format, null).map_err(usage)?,
            (None, _, Shown::Key) => Print::parse("%k\\n", null).map_err(usage)?,
            (None, None, Shown::Value) => Print::plain(None, null),
            (None, delimiter, _) => Print::plain(delimiter.or(Some("\t")), null),
        };
        Ok(Self { print, envelopes: session.format != Format::Table, shown, buffer: Vec::new() })
    }

    /// Whether rows are JSON.
    pub fn envelopes(&self) -> bool {
        self.envelopes
    }

    pub fn row(&mut self, record: &ConsumerRecord, out: &mut Out) -> Result<(), Failure> {
        if self.envelopes {
            return out.line(&self.envelope(record).to_string());
        }
        self.buffer.clear();
        self.print.render(record, &mut self.buffer);
        out.bytes(&self.buffer)
    }

    /// What is not known is left out, so that it cannot be taken for null.
    fn envelope(&self, record: &ConsumerRecord) -> Value {
        let mut envelope = envelope::of(record);
        if let (Shown::Key, Some(fields)) = (self.shown, envelope.as_object_mut()) {
            fields.shift_remove("value");
            fields.shift_remove("headers");
        }
        envelope
    }
}

/// The range that was asked for.
fn range(keys: &Keys) -> KeyRange {
    match &keys.prefix {
        Some(prefix) => KeyRange::prefix(prefix.as_str()),
        None => KeyRange {
            from: keys.from.clone().unwrap_or_default().into_bytes(),
            to: keys.to.clone().map(String::into_bytes),
        },
    }
}

/// Partition and offset: the partition that is named, or that all of this is about, or that the one key belongs to.
fn position(
    session: &Session,
    topic: &str,
    at: At,
    partition: Option<i32>,
    key: Option<&str>,
) -> Result<(i32, i64), Failure> {
    if let Some(partition) = at.partition.or(partition) {
        return Ok((partition, at.offset));
    }
    match (session.describe(topic)?.partitions.len(), key) {
        (1, _) => Ok((0, at.offset)),
        (count, Some(key)) => Ok((partition_for(key.as_bytes(), count as u32) as i32, at.offset)),
        (count, None) => {
            let what = format!("{topic} has {count} partitions: offset {} of which one?", at.offset);
            Err(Failure::new(USAGE, what).hint(format!("name it, such as 0@{}", at.offset)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_prefix_or_two_ends() {
        let keys = |prefix: Option<&str>, from: Option<&str>, to: Option<&str>| Keys {
            prefix: prefix.map(Into::into),
            from: from.map(Into::into),
            to: to.map(Into::into),
        };
        assert_eq!(range(&keys(Some("a"), None, None)), KeyRange::between("a", "b"));
        assert_eq!(range(&keys(None, Some("a"), Some("c"))), KeyRange::between("a", "c"));
        assert_eq!(range(&keys(None, None, None)), KeyRange::default());
    }
}
