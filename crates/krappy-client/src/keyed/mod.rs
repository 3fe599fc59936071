//! Reading a compacted topic by key: what is asked for, and the newest record of one key or of several.
//!
//! Invariant: every answer says for which offset of its partition it is true. Rows were walked when they arrived, so
//! taking them apart cannot fail; keys and values point into the frame they came in.

mod scan;
mod watch;

pub use scan::{Scan, ScanOptions};
pub use watch::{WatchEvent, WatchOptions, Watcher};

use crate::admin::checked;
use crate::client::Client;
use crate::error::Error;
use crate::link::Message;
use crate::records::ConsumerRecord;
use crate::slice::Slice;
use krappy_wire::native::{self, After, KeysWriter, Reply, Request, RowRef};
use krappy_wire::tail::Tail;
use std::sync::Arc;
use std::time::Duration;

/// A range of keys, compared byte by byte.
///
/// ```
/// use krappy_client::KeyRange;
///
/// assert_eq!(KeyRange::prefix("user-").to.as_deref(), Some(&b"user."[..]));
/// assert_eq!(KeyRange::default(), KeyRange::prefix(""));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key; empty is the start.
    pub from: Vec<u8>,
    /// The first key after the range; `None` is the end.
    pub to: Option<Vec<u8>>,
}

impl KeyRange {
    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let from = prefix.into();
        // The first key beyond all of them: no byte comes after 0xff, so the one before it is raised instead.
        let to = from.iter().rposition(|&byte| byte < 0xff).map(|last| {
            let mut to = from[..=last].to_vec();
            to[last] += 1;
            to
        });
        Self { from, to }
    }

    /// Keys from the first to before the second.
    pub fn between(from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) -> Self {
        Self { from: from.into(), to: Some(to.into()) }
    }
}

/// How keys are read by [`Client::get`].
///
/// ```
/// use krappy_client::GetOptions;
///
/// let as_it_was = GetOptions { as_of: Some(1_000), ..GetOptions::default() };
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GetOptions {
    /// The partition of all keys; `None`: each key's own.
    pub partition: Option<i32>,
    /// What the log said up to and including this offset; `None`: what is visible now.
    pub as_of: Option<i64>,
    /// Partition and offset that the answer must include, such as those of one's own write.
    pub after: Option<(i32, i64)>,
    /// How long to wait for that, at the most.
    pub max_wait: Duration,
    /// Whether the broker is to say which part of its view answered.
    pub explain: bool,
}

/// What [`Client::get`] brought.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// let got = client.get("users", &["user-7", "user-8"], &Default::default())?;
/// println!("{} of {} exist", got.keys.iter().filter(|key| key.value().is_some()).count(), got.keys.len());
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// One for each key, in the order in which they were asked for.
    pub keys: Vec<KeyState>,
    /// Which part of the view answered and which filters said no, in words; empty unless asked for.
    pub explain: Vec<String>,
}

/// What is known of one key.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// let state = client.get("users", &["user-7"], &Default::default())?.keys.remove(0);
/// println!("partition {}, true at {}: {:?}", state.partition, state.true_at, state.newest);
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState {
    /// The partition that the key belongs to.
    pub partition: i32,
    /// The answer is what the log said up to and including this offset; -1: the log is empty.
    pub true_at: i64,
    /// Its newest record.
    pub newest: Newest,
}

impl KeyState {
    /// The value, if the key is there.
    pub fn value(&self) -> Option<&[u8]> {
        match &self.newest {
            Newest::Present(record) => record.value.as_deref(),
            _ => None,
        }
    }

    /// Offset of the newest record, deletions included.
    pub fn offset(&self) -> Option<i64> {
        match &self.newest {
            Newest::Absent => None,
            Newest::Present(record) => Some(record.offset),
            Newest::Deleted { offset, .. } => Some(*offset),
        }
    }
}

/// The newest record of a key.
///
/// ```
/// use krappy_client::Newest;
///
/// assert_ne!(Newest::Absent, Newest::Deleted { offset: 7, timestamp: 0 });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Newest {
    /// There is none.
    Absent,
    /// A record with a value.
    Present(ConsumerRecord),
    /// The key was deleted, and the deletion is still remembered.
    Deleted {
        /// Offset of the deletion.
        offset: i64,
        /// Milliseconds since 1970.
        timestamp: i64,
    },
}

pub(crate) fn get(
    client: &Client,
    topic: &str,
    keys: &[impl AsRef<[u8]>],
    options: &GetOptions,
) -> Result<Got, Error> {
    checked(topic)?;
    if keys.is_empty() {
        return Ok(Got { keys: Vec::new(), explain: Vec::new() });
    }
    let mut asked = KeysWriter::default();
    keys.iter().for_each(|key| asked.push(key.as_ref()));
    let request = Request::Get(native::Get {
        topic,
        partition: partition(options.partition)?,
        as_of: options.as_of.map_or(Ok(-1), offset)?,
        after: after(options.after, options.max_wait)?,
        explain: options.explain,
        keys: asked.keys(),
    });
    let topic: Arc<str> = topic.into();
    client.call_patiently(&request, options.max_wait, |message, reply| match reply {
        Reply::Values { values, explain } if values.len() == keys.len() => Ok(Got {
            keys: keys.iter().zip(&values).map(|(k, v)| own_state(message, &topic, k.as_ref(), v)).collect(),
            explain: explain.iter().map(|&line| line.to_owned()).collect(),
        }),
        _ => Err(Error::unexpected("Get")),
    })
}

fn own_state(message: &Message, topic: &Arc<str>, key: &[u8], state: &native::KeyState<'_>) -> KeyState {
    let newest = match &state.newest {
        native::Newest::Absent => Newest::Absent,
        &native::Newest::Deleted { offset, timestamp } => Newest::Deleted { offset, timestamp },
        native::Newest::Present { offset, timestamp, tail } => Newest::Present(ConsumerRecord {
            topic: Arc::clone(topic),
            partition: state.partition,
            offset: *offset,
            timestamp: *timestamp,
            key: Some(Slice::from(key.to_vec())),
            value: tail.value().map(|value| Slice::of(&message.payload, value)),
            headers: own_headers(message, tail),
        }),
    };
    KeyState { partition: state.partition, true_at: state.true_at, newest }
}

/// The record of a row, without copying key and value.
fn own_row(message: &Message, topic: &Arc<str>, row: &RowRef<'_>) -> ConsumerRecord {
    ConsumerRecord {
        topic: Arc::clone(topic),
        partition: row.partition,
        offset: row.offset,
        timestamp: row.timestamp,
        key: Some(Slice::of(&message.payload, row.key)),
        value: row.value().map(|value| Slice::of(&message.payload, value)),
        headers: row.tail.as_ref().map_or_else(Vec::new, |tail| own_headers(message, tail)),
    }
}

pub(crate) fn own_headers(message: &Message, tail: &Tail<'_>) -> Vec<(Slice, Option<Slice>)> {
    let slice = |bytes: &[u8]| Slice::of(&message.payload, bytes);
    tail.headers().map(|(name, value)| (slice(name), value.map(slice))).collect()
}

/// As requests carry it. A number that a request cannot carry is the caller's mistake, not the broker's to name.
fn partition(number: Option<i32>) -> Result<i32, Error> {
    match number {
        None => Ok(-1),
        Some(n @ 0..) => Ok(n),
        Some(n) => Err(Error::Invalid(format!("there is no partition {n}"))),
    }
}

fn offset(number: i64) -> Result<i64, Error> {
    if number >= 0 { Ok(number) } else { Err(Error::Invalid(format!("there is no offset {number}"))) }
}

fn after(position: Option<(i32, i64)>, max_wait: Duration) -> Result<After, Error> {
    let Some((number, at)) = position else { return Ok(After::NONE) };
    let max_wait_ms = u32::try_from(max_wait.as_millis()).unwrap_or(u32::MAX);
    Ok(After { partition: partition(Some(number))?, offset: offset(at)?, max_wait_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_first_key_beyond_it() {
        assert_eq!(KeyRange::prefix(*b"a\xff").to.as_deref(), Some(&b"b"[..]));
        assert_eq!(KeyRange::prefix(*b"a\xfe\xff\xff").to.as_deref(), Some(&b"a\xff"[..]));
        assert_eq!(KeyRange::prefix(*b"\xff\xff").to, None);
        let inside = |range: &KeyRange, key: &[u8]| {
            *range.from <= *key && range.to.as_deref().is_none_or(|to| key < to)
        };
        let range = KeyRange::prefix("user-");
        for key in [&b"user-"[..], b"user-7", b"user-\xff\xff\xff"] {
            assert!(inside(&range, key));
        }
        assert!(!inside(&range, b"user") && !inside(&range, b"user."));
    }

    #[test]
    fn numbers_that_no_request_can_carry_are_refused_here() {
        assert_eq!((partition(None), partition(Some(3))), (Ok(-1), Ok(3)));
        assert!(matches!(partition(Some(-1)), Err(Error::Invalid(_))));
        assert!(matches!(after(Some((0, -1)), Duration::ZERO), Err(Error::Invalid(_))));
        let waits = after(Some((1, 2)), Duration::from_secs(u64::MAX)).unwrap();
        assert_eq!((waits.partition, waits.offset, waits.max_wait_ms), (1, 2, u32::MAX));
    }
}
