//! Who watches a compacted topic: a snapshot of a range, then every record of it, on little credit.
//!
//! Invariant: frames are judged in the order in which the server has written them: the snapshot is the log as of its
//! end, what follows is each later record once and in order, and nothing comes without credit.

use std::collections::BTreeMap;

use krappy_wire::error::ErrorCode;
use krappy_wire::native::{Head, Reply, Request, Rows, Watch};

use super::content;
use super::history::History;
use super::link::{Ctx, Link, Script};
use super::plan::{KEYS, TopicPlan};
use super::views::{Logs, Page, Range, Row, Wanted};

pub struct Follower {
    number: u32,
    plan: TopicPlan,
    ops: u32,
    next_stream: u32,
    /// Watches of this connection by correlation, those that were closed included.
    watches: BTreeMap<u32, Watching>,
    /// Stream and correlation of the one that is open.
    open: Option<(u32, u32)>,
    quiet: bool,
    /// In the quiet, one that began there has seen everything.
    seen_all: bool,
    rows: u64,
}

struct Watching {
    partition: i32,
    range: Range,
    snapshot: bool,
    wanted: Wanted,
    /// It began when nothing could go wrong any more.
    is_final: bool,
    /// Bytes that the server may send, and has sent.
    given: u64,
    used: u64,
    /// Bytes that have been received.
    received: u64,
    rows: Vec<Row>,
    /// Ends of the snapshots, by partition.
    ends: BTreeMap<i32, i64>,
    /// After the snapshot: the first offset that was not passed, by partition.
    next: BTreeMap<i32, i64>,
}

impl Follower {
    pub fn new(number: u32, plan: &TopicPlan, ops: u32) -> Follower {
        Follower {
            number,
            plan: plan.clone(),
            ops,
            next_stream: 0,
            watches: BTreeMap::new(),
            open: None,
            quiet: false,
            seen_all: false,
            rows: 0,
        }
    }

    fn begin(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        let floors = (0..self.plan.partitions).map(|p| (p, ctx.history.floor(self.plan.topic, p)));
        let (floors, exists) = (floors.collect(), ctx.history.has_records(self.plan.topic));
        let wanted = Wanted { floors, exists, ..Wanted::default() };
        let rng = &mut *ctx.rng;
        let partition = match rng.below(3) {
            0 if !ctx.quiet => rng.below(self.plan.partitions as u64) as i32,
            _ => -1,
        };
        let mut range = Range::default();
        if rng.below(3) == 0 {
            range.from = content::key_of(rng.below(KEYS) as u8);
            let to = content::key_of(rng.below(KEYS + 1) as u8);
            range.to = Some(to).filter(|to| *to > range.from);
        }
        let credit = [0, 1, 100, 3_000][rng.below(4) as usize];
        let snapshot = rng.below(5) > 0;
        self.next_stream += 1;
        let request = Watch {
            topic: self.plan.name,
            partition,
            from: &range.from,
            to: range.to.as_deref(),
            credit,
            snapshot,
        };
        let correlation = link.request(self.next_stream, &Request::Watch(request));
        let watching = Watching {
            partition,
            range,
            snapshot,
            wanted,
            is_final: ctx.quiet,
            given: credit.into(),
            used: 0,
            received: 0,
            rows: Vec::new(),
            ends: BTreeMap::new(),
            next: BTreeMap::new(),
        };
        self.watches.insert(correlation, watching);
        self.open = Some((self.next_stream, correlation));
    }

    fn go_on(&mut self, stream: u32, correlation: u32, link: &mut Link, ctx: &mut Ctx<'_>) {
        let watching = self.watches.get_mut(&correlation).expect("the open one is known");
        if !ctx.quiet && ctx.rng.below(80) == 0 {
            self.open = None;
            link.request(stream, &Request::CloseStream);
        } else if watching.received >= watching.given {
            let bytes = [1, 60, 500, 20_000][ctx.rng.below(4) as usize];
            watching.given += u64::from(bytes);
            link.request(stream, &Request::Credit { bytes });
        }
    }

    fn judge_rows(
        plan: &TopicPlan,
        watching: &mut Watching,
        rows: &Rows<'_>,
        logs: &mut Logs,
        history: &mut History,
    ) -> Result<(), String> {
        if watching.used >= watching.given {
            return Err(format!("{} bytes without credit", rows.size()));
        }
        watching.used += rows.size() as u64;
        for row in rows.iter() {
            let row = Row::of(&row)?;
            if !watching.range.holds(&row.key) {
                return Err(format!("{row:x?} is out of its range"));
            }
            match watching.next.get_mut(&row.partition) {
                None => watching.rows.push(row),
                Some(next) => {
                    logs.check_tail(plan, &watching.range, *next, &row, history)?;
                    *next = row.offset + 1;
                }
            }
        }
        Ok(())
    }

    /// A snapshot is judged as a whole, when all partitions have come to its end.
    fn judge_end(
        plan: &TopicPlan,
        watching: &mut Watching,
        partition: i32,
        offset: i64,
        logs: &mut Logs,
        history: &mut History,
    ) -> Result<(), String> {
        if watching.ends.insert(partition, offset).is_some() {
            return Err(format!("the snapshot of partition {partition} has two ends"));
        }
        let parts = match watching.partition {
            -1 => (0..plan.partitions).collect(),
            partition => vec![partition],
        };
        if !watching.ends.keys().eq(parts.iter()) {
            return if parts.contains(&partition) {
                Ok(())
            } else {
                Err(format!("ends partition {partition}"))
            };
        }
        let true_at: Vec<_> = watching.ends.iter().map(|(p, at)| (*p, *at)).collect();
        watching.next = true_at.iter().map(|(p, at)| (*p, at + 1)).collect();
        let rows = std::mem::take(&mut watching.rows);
        if !watching.snapshot {
            for &(partition, at) in &true_at {
                logs.check_true_at(plan, partition, at, &watching.wanted, history)?;
            }
            return if rows.is_empty() {
                Ok(())
            } else {
                Err(format!("asked for no snapshot, got {rows:?}"))
            };
        }
        let page = Page {
            true_at: &true_at,
            range: &watching.range,
            reverse: false,
            behind: None,
            rows: &rows,
            is_last: true,
        };
        logs.check_page(plan, &page, &watching.wanted, history)
    }

    fn ended(&mut self, head: Head, code: i16, message: &str, ctx: &mut Ctx<'_>) {
        let code = ErrorCode::from_number(code);
        let closed = self.open != Some((head.stream, head.correlation));
        let history = &mut *ctx.history;
        let excused = match code {
            // Credit and the end of the watch have met on their way.
            Some(ErrorCode::UnknownStream) => closed,
            Some(ErrorCode::UnknownTopicOrPartition) => {
                self.watches.get(&head.correlation).is_none_or(|watching| !watching.wanted.exists)
            }
            Some(ErrorCode::ViewNotReady) => history.views_may_fail,
            Some(ErrorCode::OffsetOutOfRange) => self.plan.trims || self.plan.promise.retention,
            Some(ErrorCode::OffsetTooOld) => true,
            // The fetch of a partition that has failed.
            Some(ErrorCode::StorageError) => history.views_may_fail,
            _ => false,
        };
        history.not_ready += u64::from(code == Some(ErrorCode::ViewNotReady));
        if !excused {
            history.bad(format!("{}: ended by {code:?}: {message}", self.describe()));
        }
        if !closed {
            self.open = None;
        }
    }
}

impl Script for Follower {
    fn act(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        self.quiet = ctx.quiet;
        match self.open {
            Some((stream, correlation)) => {
                if ctx.quiet && !self.watches[&correlation].is_final {
                    self.open = None;
                    link.request(stream, &Request::CloseStream);
                } else {
                    self.go_on(stream, correlation, link, ctx);
                }
            }
            None if ctx.quiet && !self.seen_all => self.begin(link, ctx),
            None if !ctx.quiet && self.ops > 0 => {
                self.ops -= 1;
                self.begin(link, ctx);
            }
            None => {}
        }
    }

    fn witness(&mut self, head: Head, reply: &Reply<'_>, logs: &mut Logs, history: &mut History) {
        let Some(watching) = self.watches.get_mut(&head.correlation) else { return };
        let judged = match reply {
            Reply::Rows(rows) => Follower::judge_rows(&self.plan, watching, rows, logs, history),
            Reply::SnapshotEnd { partition, offset } => {
                Follower::judge_end(&self.plan, watching, *partition, *offset, logs, history)
            }
            _ => Ok(()),
        };
        if let Err(why) = judged {
            history.bad(format!("{}: {why}", self.describe()));
        }
    }

    fn look_at_logs(&mut self, logs: &mut Logs) {
        let Some((_, correlation)) = self.open else { return };
        let watching = &self.watches[&correlation];
        let at_end = !watching.next.is_empty()
            && watching
                .next
                .iter()
                .all(|(&partition, &next)| logs.is_at_end(&self.plan, partition, &watching.range, next));
        self.seen_all |= watching.is_final && at_end;
    }

    fn reply(&mut self, head: Head, reply: Reply<'_>, _link: &mut Link, ctx: &mut Ctx<'_>) {
        ctx.history.note(|| format!("{} {head:?}: {reply:?}", self.describe()));
        match reply {
            Reply::Rows(rows) => {
                let Some(watching) = self.watches.get_mut(&head.correlation) else {
                    return ctx.history.bad(format!("{}: rows for {head:?}", self.describe()));
                };
                watching.received += rows.size() as u64;
                self.rows += u64::from(rows.count());
                for row in rows.iter() {
                    if let Ok(Row { id: Some(id), partition, offset, .. }) = Row::of(&row) {
                        ctx.history.read(self.plan.topic, partition, offset, id);
                    }
                }
            }
            Reply::SnapshotEnd { partition, offset } => {
                ctx.history.shows(self.plan.topic, partition, offset);
            }
            Reply::Error { code, message, .. } => self.ended(head, code, message, ctx),
            Reply::Ack | Reply::GoAway { .. } => {}
            other => ctx.history.bad(format!("{}: got {other:?}", self.describe())),
        }
    }

    fn lost(&mut self, _ctx: &mut Ctx<'_>) {
        self.watches.clear();
        self.open = None;
    }

    fn finished(&self) -> bool {
        self.ops == 0 && (self.seen_all || !self.quiet)
    }

    fn must_finish(&self) -> bool {
        !self.seen_all
    }

    fn describe(&self) -> String {
        format!("follower {} of {} ({} rows)", self.number, self.plan.name, self.rows)
    }
}
