//! One page of a Scan: the newest visible record of each key in a range, of one partition or of several merged.
//!
//! Invariants: all pages of a scan are true for the same offsets, which stay pinned between them. A page is a bounded
//! piece of work: it ends when it is full, when it has looked at enough, or where something is not in memory.

use std::ops::Bound;

use super::Broker;
use super::keyed::{Stop, read_failed};
use crate::api::{Cursor, PartitionKey, Refusal, Reply, RowsWriter, Scan};
use crate::lsm::{Access, Entry, KeyRange, Kind, TreeIter, Warm};
use crate::time::Time;
use crate::view;
use crate::worker::Job;

/// Most bytes of rows in one page, so that a long scan takes many short turns.
const PAGE_BYTES: usize = 128 << 10;
/// Most keys that one page looks at, deleted ones included.
const PAGE_KEYS: usize = 8_192;
/// A page of fewer rows gets its memory as it grows.
const FEW: usize = 128;

/// A Scan, resolved.
#[derive(Debug)]
pub struct RangeRead {
    /// In order of number.
    pub parts: Vec<Part>,
    reverse: bool,
    keys_only: bool,
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    /// The partition that must show an offset first.
    pub after: Option<(PartitionKey, i64)>,
    limit: usize,
    max_bytes: usize,
    last: Option<(Vec<u8>, i32)>,
}

/// A partition in a scan.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// The partition.
    pub key: PartitionKey,
    number: i32,
    /// Absent: what is visible now.
    as_of: Option<i64>,
}

/// Rows, and where they end.
struct Page {
    rows: RowsWriter,
    end: End,
}

enum End {
    /// Of the range.
    Range,
    /// The page is full; the last key that was looked at, and its partition.
    Full(Option<(Vec<u8>, i32)>),
    /// The same, and what has to be in memory to go on.
    Cold(Option<(Vec<u8>, i32)>, Warm),
}

impl Broker {
    /// Finds the partitions of a scan.
    pub(super) fn resolve_scan(&self, scan: Scan<'_>) -> Result<RangeRead, Refusal> {
        let topic = self.compacted(scan.topic)?;
        let (true_at, last) = match scan.cursor {
            Some(cursor) => (cursor.true_at, cursor.last),
            None => (scan.as_of, None),
        };
        let part = |(key, number)| {
            let as_of = true_at.iter().find(|(n, _)| *n == number).map(|(_, offset)| *offset);
            Part { key, number, as_of }
        };
        Ok(RangeRead {
            parts: self.chosen(topic, scan.partition)?.into_iter().map(part).collect(),
            reverse: scan.reverse,
            keys_only: scan.keys_only,
            from: scan.from.to_vec(),
            to: scan.to.map(<[u8]>::to_vec),
            after: self.after(topic, scan.after)?,
            limit: if scan.limit == 0 { usize::MAX } else { scan.limit as usize },
            max_bytes: (scan.max_bytes as usize).min(PAGE_BYTES),
            last,
        })
    }

    /// The next page, with the cursor for the one after it.
    pub(super) fn read_page(&mut self, scan: &RangeRead, now: Time) -> Result<Reply, Stop> {
        let mut true_at = Vec::with_capacity(scan.parts.len());
        for part in &scan.parts {
            true_at.push((part.number, self.at(part.key, part.as_of)?.1));
        }
        let Page { rows, end } = self.collect(scan, &true_at)?;
        let last = match end {
            End::Range => return Ok(Reply::Scanned { true_at, rows, next: None }),
            End::Cold(_, warm) if rows.rows().count() == 0 => return Err(Stop::Cold(warm)),
            End::Cold(last, warm) => {
                // What the next page needs is read while this one travels.
                self.jobs.push(Job::WarmView(None, warm));
                last
            }
            End::Full(last) => last,
        };
        for (part, (_, offset)) in scan.parts.iter().zip(&true_at) {
            self.pin(part.key, *offset, now)?;
        }
        let next = Cursor { true_at: true_at.clone(), last: last.or_else(|| scan.last.clone()) };
        Ok(Reply::Scanned { true_at, rows, next: Some(next) })
    }

    fn collect(&self, scan: &RangeRead, true_at: &[(i32, i64)]) -> Result<Page, Stop> {
        // A page that is small, or asked for with a small limit, is not worth the memory of a full one.
        let room = if scan.limit < FEW { 0 } else { scan.max_bytes + scan.max_bytes / 8 };
        let mut rows = RowsWriter::with_room(room);
        let mut merge = Merge { heads: Vec::with_capacity(scan.parts.len()), reverse: scan.reverse };
        for (part, (_, at)) in scan.parts.iter().zip(true_at) {
            let partition = self.view_of(part.key)?;
            let tree = partition.view.as_ref().and_then(|v| v.tree()).expect("checked above");
            let iter = tree.iter(&scan.rest_of(part.number), *at, scan.reverse, Access::Cached);
            merge.heads.push(Head::new(part, partition.log.start_offset(), iter));
        }
        let mut last = None;
        for looked_at in 0.. {
            let head = match merge.next() {
                Ok(Some(head)) => head,
                Ok(None) => break,
                Err(Stop::Cold(warm)) => return Ok(Page { rows, end: End::Cold(last, warm) }),
                Err(stop) => return Err(stop),
            };
            let count = rows.rows().count() as usize;
            if looked_at >= PAGE_KEYS || rows.size() >= scan.max_bytes || count >= scan.limit {
                return Ok(Page { rows, end: End::Full(last) });
            }
            let entry = head.entry();
            if entry.kind == Kind::Put && entry.seq >= head.log_start {
                let (timestamp, tail) = view::stored(entry.value);
                let tail = if scan.keys_only { &[] } else { tail };
                rows.push(head.number, entry.seq, timestamp, entry.key, tail);
            }
            let (key, number) = last.get_or_insert_with(|| (Vec::new(), 0));
            key.clear();
            key.extend_from_slice(entry.key);
            *number = head.number;
            head.place = Place::Before;
        }
        Ok(Page { rows, end: End::Range })
    }
}

impl RangeRead {
    /// The range that is left of a partition: a page ends between two partitions that may hold the same key. It may be
    /// the wrong way round, with a forged cursor, and then holds nothing.
    fn rest_of(&self, number: i32) -> KeyRange {
        let mut range = KeyRange {
            from: Bound::Included(self.from.clone()),
            to: self.to.clone().map_or(Bound::Unbounded, Bound::Excluded),
        };
        if let Some((key, at)) = &self.last {
            let rest =
                if number <= *at { Bound::Excluded(key.clone()) } else { Bound::Included(key.clone()) };
            *(if self.reverse { &mut range.to } else { &mut range.from }) = rest;
        }
        range
    }
}

/// The entries of several partitions, merged by key, then by number of partition.
struct Merge<'a> {
    heads: Vec<Head<'a>>,
    reverse: bool,
}

/// One partition in a merge. Its entry that comes next is left where it lies, in a block or a memtable.
struct Head<'a> {
    number: i32,
    of: PartitionKey,
    /// Records below are gone.
    log_start: i64,
    iter: TreeIter<'a>,
    place: Place,
}

/// Where the iterator of a [`Head`] is.
#[derive(PartialEq)]
enum Place {
    /// On an entry that was handed out, or at the start.
    Before,
    /// On the entry that comes next.
    At,
    /// Behind the last entry.
    End,
}

impl<'a> Head<'a> {
    fn new(part: &Part, log_start: i64, iter: TreeIter<'a>) -> Self {
        Self { number: part.number, of: part.key, log_start, iter, place: Place::Before }
    }

    fn fill(&mut self) -> Result<(), Stop> {
        if self.place == Place::Before {
            let next = self.iter.next().map_err(|e| read_failed(self.of, e))?;
            self.place = if next.is_some() { Place::At } else { Place::End };
        }
        Ok(())
    }

    fn entry(&self) -> Entry<'_> {
        self.iter.entry().expect("it stands on the entry that comes next")
    }
}

impl<'a> Merge<'a> {
    fn next(&mut self) -> Result<Option<&mut Head<'a>>, Stop> {
        for head in &mut self.heads {
            head.fill()?;
        }
        let reverse = self.reverse;
        Ok(self.heads.iter_mut().filter(|head| head.place == Place::At).min_by(|a, b| {
            let by_key = a.entry().key.cmp(b.entry().key);
            if reverse { by_key.reverse() } else { by_key }.then(a.number.cmp(&b.number))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(from: &[u8], to: Option<&[u8]>, reverse: bool, last: Option<(&[u8], i32)>) -> RangeRead {
        RangeRead {
            parts: Vec::new(),
            reverse,
            keys_only: false,
            from: from.to_vec(),
            to: to.map(<[u8]>::to_vec),
            after: None,
            limit: 1,
            max_bytes: 1,
            last: last.map(|(key, number)| (key.to_vec(), number)),
        }
    }

    #[test]
    fn a_page_goes_on_behind_the_last_key_of_each_partition() {
        let forward = scan(b"a", Some(b"x"), false, Some((b"k", 1)));
        let from = |number| forward.rest_of(number).from;
        assert_eq!((from(1), from(2)), (Bound::Excluded(b"k".to_vec()), Bound::Included(b"k".to_vec())));
        let backward = scan(b"a", Some(b"x"), true, Some((b"k", 1)));
        let to = |number| backward.rest_of(number).to;
        assert_eq!((to(1), to(2)), (Bound::Excluded(b"k".to_vec()), Bound::Included(b"k".to_vec())));
    }
}
