//! Compare and set: a record that is appended only if its key is as the caller knows it.
//!
//! It goes by a stream of its own, past the queue: it is never batched and never sent twice, because a second sending
//! would conflict with the first.

use super::delivery::Delivered;
use super::sender::register;
use crate::client::Client;
use crate::error::Error;
use crate::link::Link;
use crate::record::Record;
use krappy_wire::native::{Head, Level, PlainWriter, PublishIf, Reply, Request};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What a key must be for [`crate::Producer::put_if`] to write it.
///
/// ```
/// use krappy_client::Expected;
///
/// assert_ne!(Expected::Absent, Expected::Offset(0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Absent or deleted.
    Absent,
    /// Its newest record is the one at this offset.
    Offset(i64),
}

/// What became of [`crate::Producer::put_if`].
///
/// ```
/// use krappy_client::PutIf;
///
/// let lost = PutIf::Conflict { partition: 0, offset: Some(7), deleted: false };
/// assert!(matches!(lost, PutIf::Conflict { offset: Some(7), .. }));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutIf {
    /// The key was as expected, and the record is stored.
    Stored(Delivered),
    /// It was not, and nothing was stored.
    Conflict {
        /// The partition that the key belongs to.
        partition: i32,
        /// Offset of the newest record of the key, if it has one.
        offset: Option<i64>,
        /// Whether that record is a deletion.
        deleted: bool,
    },
}

/// A producer stream for conditional writes, registered when the first one is made.
pub(super) struct Conditional {
    client: Client,
    topic: String,
    acks: Level,
    stream: Mutex<Option<(Arc<Link>, u32)>>,
}

impl Conditional {
    pub fn new(client: Client, topic: String, acks: Level) -> Self {
        // Its answer is what a conditional write is for, so there always is one.
        Self { client, topic, acks: acks.max(Level::Appended), stream: Mutex::default() }
    }

    pub fn put(&self, record: &Record, expected: Expected, timestamp: i64) -> Result<PutIf, Error> {
        let plain = plain(record, timestamp)?;
        let request = Request::PublishIf(PublishIf {
            acks: self.acks,
            partition: record.partition.unwrap_or(-1),
            expected: match expected {
                Expected::Absent => -1,
                Expected::Offset(n @ 0..) => n,
                Expected::Offset(n) => return Err(Error::Invalid(format!("there is no offset {n}"))),
            },
            record: plain.records(),
        });
        let (link, stream) = self.registered()?;
        let message = link.call(stream, &request, self.client.shared.request_timeout())?;
        let result = message.reply().and_then(|reply| outcome(&reply));
        if let Err(error @ Error::Malformed(_)) = &result {
            link.end(error.clone());
        }
        result
    }

    fn registered(&self) -> Result<(Arc<Link>, u32), Error> {
        let mut known = self.stream.lock().expect("registering does not panic");
        if let Some((link, stream)) = known.as_ref().filter(|(link, _)| link.usable()) {
            return Ok((Arc::clone(link), *stream));
        }
        let shared = &self.client.shared;
        let link = shared.link(Instant::now() + shared.connect_timeout())?;
        let stream = register(&link, &self.topic, false, shared.request_timeout())?.stream;
        *known = Some((Arc::clone(&link), stream));
        Ok((link, stream))
    }
}

impl Drop for Conditional {
    fn drop(&mut self) {
        if let Ok(Some((link, stream))) = self.stream.get_mut().map(Option::take) {
            let correlation = link.correlation();
            // Politeness only: the broker drops the stream with the connection in any case.
            let _ = link.send(Head { stream, correlation }, &Request::CloseStream);
        }
    }
}

fn plain(record: &Record, timestamp: i64) -> Result<PlainWriter, Error> {
    if record.key.is_none() {
        return Err(Error::Invalid("a conditional record needs a key".into()));
    }
    if record.partition.is_some_and(|p| p < 0) {
        return Err(Error::Invalid("a partition below 0".into()));
    }
    if record.headers.len() > 65_535 || record.headers.iter().any(|(name, _)| name.len() > 65_535) {
        return Err(Error::Invalid("more than 65,535 headers, or bytes in the name of one".into()));
    }
    let headers: Vec<_> =
        record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
    let mut plain = PlainWriter::default();
    let timestamp = record.timestamp.unwrap_or(timestamp);
    plain.push(timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
    Ok(plain)
}

fn outcome(reply: &Reply<'_>) -> Result<PutIf, Error> {
    match reply {
        Reply::Published { level, parts } if parts.len() == 1 => Ok(PutIf::Stored(Delivered {
            partition: parts[0].partition,
            offset: parts[0].base_offset,
            level: *level,
        })),
        &Reply::Conflict { partition, offset, deleted } => {
            Ok(PutIf::Conflict { partition, offset: (offset >= 0).then_some(offset), deleted })
        }
        _ => Err(Error::unexpected("PublishIf")),
    }
}
