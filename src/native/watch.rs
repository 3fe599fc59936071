//! A watcher: the newest record of each key in a range as of one offset, then every record of the range after it.
//!
//! ```text
//!   WATCH -> OpenWatch (pins S = what is visible now)
//!         -> Scan page, page, ...            ROWS, ROWS, ...     as of S
//!         -> (no page left)                  SNAPSHOT_END S      one for each partition
//!         -> Fetch from S + 1, again, ...    ROWS, ...           as the log goes on
//! ```
//!
//! Invariant: what is sent after the end of a snapshot begins with the record behind the offset that the snapshot was
//! true for, so nothing is missed and nothing comes twice. At most one request is under way, and none without credit.

use krappy_wire::batch;
use krappy_wire::compress;
use krappy_wire::native::{self, Head, Watch};

use super::stream::{CREDIT_MOST, PUSH};
use crate::api::{
    After, Cursor, ErrorCode, Fetch, FetchedPart, PartitionKey, Refusal, Reply, Request, RowsWriter, Scan,
    TopicKey, TopicRef, Want,
};
use crate::config::Limits;

/// A watcher.
#[derive(Debug)]
pub struct Watcher {
    correlation: u32,
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    partition: Option<i32>,
    snapshot: bool,
    credit: i64,
    phase: Phase,
    /// Serial of its request under way.
    pub asking: Option<u64>,
}

#[derive(Debug)]
enum Phase {
    Opening,
    Snapshot(TopicKey, Cursor, Vec<Want>),
    Tail(Vec<Want>),
}

impl Watcher {
    /// A watcher whose registration has this correlation, which all it is sent will carry.
    pub fn opening(correlation: u32, watch: &Watch<'_>) -> Self {
        Self {
            correlation,
            from: watch.from.to_vec(),
            to: watch.to.map(<[u8]>::to_vec),
            partition: (watch.partition >= 0).then_some(watch.partition),
            snapshot: watch.snapshot,
            credit: i64::from(watch.credit),
            phase: Phase::Opening,
            asking: None,
        }
    }

    /// Correlation of everything that it is sent.
    pub fn correlation(&self) -> u32 {
        self.correlation
    }

    /// Whether the broker has not answered the registration with this correlation.
    pub fn is_opening(&self, correlation: u32) -> bool {
        matches!(self.phase, Phase::Opening) && self.correlation == correlation
    }

    /// The broker has answered the registration of this stream: what is visible now ends before these high watermarks.
    /// Whether a request is wanted.
    pub fn opened(
        &mut self,
        number: u32,
        topic: TopicKey,
        parts: Vec<(PartitionKey, i32, i64)>,
        out: &mut Vec<u8>,
    ) -> bool {
        let true_at: Vec<_> = parts.iter().map(|&(_, number, end)| (number, end - 1)).collect();
        let want = |(partition, number, offset)| Want::from(partition, number, offset);
        let wants = parts.into_iter().map(want).collect();
        self.phase = match self.snapshot {
            true => Phase::Snapshot(topic, Cursor { true_at, last: None }, wants),
            false => {
                self.end_snapshot(number, &true_at, out);
                Phase::Tail(wants)
            }
        };
        self.wants()
    }

    /// Adds credit. Whether a request is wanted now.
    pub fn add_credit(&mut self, bytes: u32) -> Result<bool, Refusal> {
        let had = self.credit;
        if had + i64::from(bytes) > CREDIT_MOST {
            let message = "that is more credit than a watcher can hold";
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        self.credit += i64::from(bytes);
        Ok(had <= 0 && self.wants())
    }

    /// Whether it wants to ask for more.
    pub fn wants(&self) -> bool {
        self.credit > 0 && self.asking.is_none() && !matches!(self.phase, Phase::Opening)
    }

    /// The request that it wants.
    pub fn request(&mut self, limits: &Limits) -> Request<'_> {
        let max_bytes = u32::try_from(self.credit).unwrap_or(PUSH).min(PUSH);
        match &mut self.phase {
            Phase::Opening => unreachable!("nothing is wanted before it is open"),
            Phase::Snapshot(topic, cursor, _) => Request::Scan(Scan {
                topic: TopicRef::Key(*topic),
                partition: self.partition,
                reverse: false,
                keys_only: false,
                from: &self.from,
                to: self.to.as_deref(),
                as_of: Vec::new(),
                after: After::NONE,
                limit: 0,
                max_bytes,
                cursor: Some(cursor.clone()),
            }),
            Phase::Tail(wants) => {
                // The next time another partition comes first, so that a busy one does not starve the others.
                wants.rotate_left(1);
                Request::Fetch(Fetch {
                    wants: wants.clone(),
                    min_bytes: 1,
                    max_wait_ms: limits.fetch_max_wait_ms,
                    max_bytes,
                    every: false,
                    group: None,
                })
            }
        }
    }

    /// Its request was answered: writes what the client is sent. Whether it wants to ask again. A refusal is its end.
    pub fn answered(&mut self, number: u32, reply: Reply, out: &mut Vec<u8>) -> Result<bool, Refusal> {
        self.asking = None;
        let head = Head { stream: number, correlation: self.correlation };
        match reply {
            Reply::Scanned { true_at, rows, next } => {
                self.send(head, &rows, out);
                self.snapshot_goes_on(head, &true_at, next, out);
            }
            Reply::Fetched { parts } => {
                let mut rows = RowsWriter::default();
                for part in &parts {
                    self.pass_on(part, &mut rows)?;
                }
                self.send(head, &rows, out);
            }
            Reply::Refused(refusal) => return Err(refusal),
            other => unreachable!("a watcher does not ask for {other:?}"),
        }
        Ok(self.wants())
    }

    fn send(&mut self, head: Head, rows: &RowsWriter, out: &mut Vec<u8>) {
        if rows.rows().count() > 0 {
            self.credit -= rows.size() as i64;
            native::Reply::Rows(rows.rows()).encode(head, out);
        }
    }

    fn snapshot_goes_on(
        &mut self,
        head: Head,
        true_at: &[(i32, i64)],
        next: Option<Cursor>,
        out: &mut Vec<u8>,
    ) {
        let Phase::Snapshot(_, cursor, wants) = &mut self.phase else {
            unreachable!("pages are only asked for in a snapshot")
        };
        match next {
            Some(next) => *cursor = next,
            None => {
                self.phase = Phase::Tail(std::mem::take(wants));
                self.end_snapshot(head.stream, true_at, out);
            }
        }
    }

    /// Says for each partition where the snapshot, which may have been left out, ends and the rest begins.
    fn end_snapshot(&self, number: u32, true_at: &[(i32, i64)], out: &mut Vec<u8>) {
        let head = Head { stream: number, correlation: self.correlation };
        for &(partition, offset) in true_at {
            native::Reply::SnapshotEnd { partition, offset }.encode(head, out);
        }
    }

    /// Adds the records of a fetched part that are new and in the range.
    fn pass_on(&mut self, part: &FetchedPart, rows: &mut RowsWriter) -> Result<(), Refusal> {
        if part.error != ErrorCode::None {
            let message =
                format!("partition {} cannot be watched from offset {}", part.number, part.position);
            return Err(Refusal::new(part.error, message).hint("watch again: it begins with a new snapshot"));
        }
        let mut left = part.chunk.as_ref().map_or(&[][..], |chunk| chunk.as_slice());
        let mut inflated = Vec::new();
        while !left.is_empty() {
            let (header, bytes) = batch::first(left).expect("what is fetched was checked");
            // One that cannot be opened was appended when the topic was not compacted: no key can be told.
            let records = compress::records(bytes, compress::MOST, &mut inflated);
            for record in records.into_iter().flatten().map_while(Result::ok) {
                if let Some(key) = record.key
                    && record.offset >= part.position
                    && self.covers(key)
                {
                    rows.push(part.number, record.offset, record.timestamp, key, record.tail.bytes());
                }
            }
            left = &left[header.size()..];
        }
        let Phase::Tail(wants) = &mut self.phase else { unreachable!("only the tail is fetched") };
        let want = wants.iter_mut().find(|want| want.number == part.number);
        want.expect("an answer is about a partition that was asked for").offset = part.next;
        Ok(())
    }

    fn covers(&self, key: &[u8]) -> bool {
        key >= &self.from[..] && self.to.as_deref().is_none_or(|to| key < to)
    }
}
