//! A scan: page after page, each asked for when the one before is used up.
//!
//! Invariant: all pages are true for the same offsets, so a scan sees each key once and as it was at one moment,
//! however long the caller takes.

use super::{KeyRange, after, offset, own_row, partition};
use crate::admin::checked;
use crate::client::Client;
use crate::error::Error;
use crate::link::Message;
use crate::records::ConsumerRecord;
use krappy_wire::native::{self, Reply, Request};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What [`Client::scan`] reads. Everything, from the smallest key up, unless set.
///
/// ```
/// use krappy_client::{KeyRange, ScanOptions};
///
/// let last = ScanOptions { range: KeyRange::prefix("user-"), reverse: true, limit: Some(1), ..Default::default() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanOptions {
    /// The partition; `None`: all, merged in the order of keys.
    pub partition: Option<i32>,
    /// The keys.
    pub range: KeyRange,
    /// From the largest key down.
    pub reverse: bool,
    /// Without values and headers.
    pub keys_only: bool,
    /// Partition and offset: what those partitions said up to and including those offsets; empty: what is visible now.
    pub as_of: Vec<(i32, i64)>,
    /// Partition and offset that the answer must include, such as those of one's own write.
    pub after: Option<(i32, i64)>,
    /// How long to wait for that, at the most.
    pub max_wait: Duration,
    /// Most records in all.
    pub limit: Option<u64>,
    /// About the most bytes that are fetched at a time. 1 MiB unless set.
    pub page_bytes: u32,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            partition: None,
            range: KeyRange::default(),
            reverse: false,
            keys_only: false,
            as_of: Vec::new(),
            after: None,
            max_wait: Duration::ZERO,
            limit: None,
            page_bytes: 1 << 20,
        }
    }
}

/// Iterates over the newest records of a range of keys. Ends after the first error.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// let count = client.scan("users", Default::default())?.filter(|record| record.is_ok()).count();
/// # Ok::<(), krappy_client::Error>(())
/// ```
pub struct Scan {
    client: Client,
    topic: Arc<str>,
    options: ScanOptions,
    partition: i32,
    page: VecDeque<ConsumerRecord>,
    true_at: BTreeMap<i32, i64>,
    /// How many records may still be returned.
    left: u64,
    cursor: Cursor,
}

enum Cursor {
    /// What asks for the next page; empty for the first.
    More(Vec<u8>),
    End,
}

impl Scan {
    pub(crate) fn new(client: Client, topic: &str, options: ScanOptions) -> Result<Self, Error> {
        checked(topic)?;
        after(options.after, options.max_wait)?;
        for &(number, at) in &options.as_of {
            partition(Some(number))?;
            // -1 is what an empty partition is true at.
            offset(at.saturating_add(1))?;
        }
        Ok(Self {
            client,
            topic: topic.into(),
            partition: partition(options.partition)?,
            page: VecDeque::new(),
            true_at: BTreeMap::new(),
            left: options.limit.unwrap_or(u64::MAX),
            cursor: Cursor::More(Vec::new()),
            options,
        })
    }

    /// For each partition, the offset up to and including which the log was read; -1: it is empty. Empty before the
    /// first record was taken.
    pub fn true_at(&self) -> &BTreeMap<i32, i64> {
        &self.true_at
    }

    fn fetch(&mut self, cursor: &[u8]) -> Result<(), Error> {
        let options = &self.options;
        let request = Request::Scan(native::Scan {
            topic: &self.topic,
            partition: self.partition,
            reverse: options.reverse,
            keys_only: options.keys_only,
            from: &options.range.from,
            to: options.range.to.as_deref(),
            as_of: options.as_of.clone(),
            after: after(options.after, options.max_wait)?,
            // The same on every page, as the protocol wants it; what is too much is cut off here.
            limit: options.limit.map_or(0, |limit| u32::try_from(limit).unwrap_or(u32::MAX)),
            max_bytes: options.page_bytes,
            cursor,
        });
        let (page, true_at, topic) = (&mut self.page, &mut self.true_at, &self.topic);
        let mut take = |message: &Message, scanned: native::Scanned<'_>| {
            page.extend(scanned.rows.iter().map(|row| own_row(message, topic, &row)));
            *true_at = scanned.true_at.into_iter().collect();
            scanned.next.map_or(Cursor::End, |next| Cursor::More(next.to_vec()))
        };
        let next = self.client.call_patiently(&request, options.max_wait, |message, reply| match reply {
            // Asked for with an empty cursor, the first page would come again and again.
            Reply::Scanned(scanned) if scanned.next != Some(b"") => Ok(take(message, scanned)),
            _ => Err(Error::unexpected("Scan")),
        })?;
        self.cursor = next;
        Ok(())
    }
}

impl Iterator for Scan {
    type Item = Result<ConsumerRecord, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.page.is_empty() && self.left > 0 {
            // An error leaves it at the end.
            let Cursor::More(cursor) = std::mem::replace(&mut self.cursor, Cursor::End) else { break };
            if let Err(error) = self.fetch(&cursor) {
                return Some(Err(error));
            }
        }
        self.left = self.left.checked_sub(1)?;
        self.page.pop_front().map(Ok)
    }
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut f = f.debug_struct("Scan");
        f.field("topic", &self.topic).field("options", &self.options).finish_non_exhaustive()
    }
}
