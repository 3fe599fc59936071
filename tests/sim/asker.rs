//! Who asks a compacted topic by key: Get of several keys, now and as of earlier offsets, and Scan page by page.
//!
//! Invariant: each answer is judged when the server has written it; what the client then receives becomes a fact of the
//! history, which must survive as long as anything that a reader was shown.

use std::collections::BTreeMap;

use krappy_wire::error::ErrorCode;
use krappy_wire::native::{After, Get, Head, KeyState, KeysWriter, Newest, Reply, Request, Scan, Scanned};
use krappy_wire::partition::partition_for;

use super::content::{self, recognise};
use super::history::History;
use super::link::{Ctx, Link, Script};
use super::plan::{KEYS, TopicPlan};
use super::views::{Logs, Page, Range, Row, Wanted};

/// A pin that keeps a scan readable ends after this long without a page, milliseconds.
const PINNED_MS: i64 = 60_000;
/// No pin keeps a scan readable.
const LAPSED: i64 = 0;
/// A correlation that no request has.
const NONE: u32 = 0;

pub struct Asker {
    number: u32,
    plan: TopicPlan,
    ops: u32,
    gets: BTreeMap<u32, AskedGet>,
    scan: Option<AskedScan>,
    /// Nothing goes wrong any more, and a last scan of everything has come to its end.
    seen_all: bool,
    quiet: bool,
    /// The largest offset that an answer was true at, by partition.
    shown: BTreeMap<i32, i64>,
    answers: u64,
}

struct AskedGet {
    keys: Vec<Vec<u8>>,
    /// -1 is each key's own.
    partition: i32,
    wanted: Wanted,
}

/// A scan, and the page of it that was asked for last.
#[derive(Clone)]
struct AskedScan {
    correlation: u32,
    partition: i32,
    range: Range,
    reverse: bool,
    keys_only: bool,
    as_of: Vec<(i32, i64)>,
    limit: u32,
    max_bytes: u32,
    wanted: Wanted,
    /// What the last page was true at, its last row, and the cursor that it returned; all as it was received.
    true_at: Vec<(i32, i64)>,
    last: Option<(Vec<u8>, i32)>,
    cursor: Vec<u8>,
    /// When the last page was asked for, and when the last one that has come, which began or renewed the pins.
    asked_at: i64,
    since: i64,
    /// It is the one that must come to its end.
    is_final: bool,
}

impl Asker {
    pub fn new(number: u32, plan: &TopicPlan, ops: u32) -> Asker {
        Asker {
            number,
            plan: plan.clone(),
            ops,
            gets: BTreeMap::new(),
            scan: None,
            seen_all: false,
            quiet: false,
            shown: BTreeMap::new(),
            answers: 0,
        }
    }

    fn wanted(&self, ctx: &mut Ctx<'_>) -> Wanted {
        let floors = (0..self.plan.partitions).map(|p| (p, ctx.history.floor(self.plan.topic, p)));
        let floors = floors.collect();
        Wanted { floors, exists: ctx.history.has_records(self.plan.topic), ..Wanted::default() }
    }

    /// Sometimes an offset that must be shown, which may be one that never comes.
    fn after(&self, wanted: &mut Wanted, ctx: &mut Ctx<'_>) -> After {
        if ctx.rng.below(6) > 0 {
            return After::NONE;
        }
        let partition = ctx.rng.below(self.plan.partitions as u64) as i32;
        let known = wanted.floors[&partition].firm_end;
        let offset = (known - 1 + ctx.rng.below(4) as i64).max(0);
        wanted.after = Some((partition, offset));
        After { partition, offset, max_wait_ms: ctx.rng.below(300) as u32 }
    }

    fn earlier(&self, partition: i32, ctx: &mut Ctx<'_>) -> i64 {
        let shown = self.shown.get(&partition).copied().unwrap_or(0);
        (shown + 1 - ctx.rng.below(30) as i64).max(0)
    }

    fn get(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        let mut wanted = self.wanted(ctx);
        // One more than there are, so that one is never there.
        let keys: Vec<_> =
            (0..1 + ctx.rng.below(5)).map(|_| content::key_of(ctx.rng.below(KEYS + 1) as u8)).collect();
        let partition = match ctx.rng.below(3) {
            0 => ctx.rng.below(self.plan.partitions as u64) as i32,
            _ => -1,
        };
        let mut as_of = -1;
        if ctx.rng.below(4) == 0 {
            as_of = self.earlier(partition.max(0), ctx);
            wanted.as_of = (0..self.plan.partitions).map(|p| (p, as_of)).collect();
        }
        let after = self.after(&mut wanted, ctx);
        let mut writer = KeysWriter::default();
        keys.iter().for_each(|key| writer.push(key));
        let explain = ctx.rng.below(10) == 0;
        let get = Get { topic: self.plan.name, partition, as_of, after, explain, keys: writer.keys() };
        let correlation = link.request(0, &Request::Get(get));
        self.gets.insert(correlation, AskedGet { keys, partition, wanted });
    }

    fn begin_scan(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        let rng = &mut *ctx.rng;
        let is_final = ctx.quiet;
        let partition = match rng.below(3) {
            0 if !is_final => rng.below(self.plan.partitions as u64) as i32,
            _ => -1,
        };
        let bound = |rng: &mut krappy::disk::sim::Rng| content::key_of(rng.below(KEYS + 1) as u8);
        let mut range = Range::default();
        if !is_final && rng.below(3) == 0 {
            range.from = bound(rng);
            range.to = (rng.below(2) == 0).then(|| bound(rng)).filter(|to| *to >= range.from);
        }
        let mut as_of = Vec::new();
        if !is_final && rng.below(4) == 0 {
            let parts = if partition >= 0 { partition..partition + 1 } else { 0..self.plan.partitions };
            as_of = parts.map(|p| (p, self.earlier(p, ctx))).collect();
        }
        let rng = &mut *ctx.rng;
        let scan = AskedScan {
            correlation: NONE,
            partition,
            range,
            reverse: rng.below(2) == 0,
            keys_only: rng.below(4) == 0,
            as_of,
            limit: [0, 1, 2, 5][rng.below(4) as usize],
            max_bytes: [1, 200, 100_000][rng.below(3) as usize],
            wanted: Wanted::default(),
            true_at: Vec::new(),
            last: None,
            cursor: Vec::new(),
            asked_at: ctx.wall,
            since: ctx.wall,
            is_final,
        };
        self.scan = Some(scan);
        self.next_page(link, ctx);
    }

    fn next_page(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        let mut wanted = self.wanted(ctx);
        let scan = self.scan.as_ref().expect("one is under way");
        let first = scan.cursor.is_empty();
        let after = if first && !scan.is_final { self.after(&mut wanted, ctx) } else { After::NONE };
        let scan = self.scan.as_mut().expect("one is under way");
        scan.asked_at = ctx.wall;
        wanted.as_of = if first { &scan.as_of } else { &scan.true_at }.iter().copied().collect();
        scan.wanted = wanted;
        let request = Scan {
            topic: self.plan.name,
            partition: scan.partition,
            reverse: scan.reverse,
            keys_only: scan.keys_only,
            from: &scan.range.from,
            to: scan.range.to.as_deref(),
            as_of: scan.as_of.clone(),
            after,
            limit: scan.limit,
            max_bytes: scan.max_bytes,
            cursor: &scan.cursor,
        };
        scan.correlation = link.request(0, &Request::Scan(request));
    }

    /// Facts that follow from an answer: what it was true at, and the record that it showed.
    fn shown(&mut self, partition: i32, at: i64, ctx: &mut Ctx<'_>) {
        ctx.history.shows(self.plan.topic, partition, at);
        let shown = self.shown.entry(partition).or_insert(at);
        *shown = at.max(*shown);
    }

    fn take_values(&mut self, asked: &AskedGet, values: &[KeyState<'_>], ctx: &mut Ctx<'_>) {
        self.answers += 1;
        for (key, state) in asked.keys.iter().zip(values) {
            self.shown(state.partition, state.true_at, ctx);
            if let Newest::Present { offset, tail, .. } = &state.newest
                && let Some(id) = recognise(Some(key), tail)
            {
                ctx.history.read(self.plan.topic, state.partition, *offset, id);
            }
        }
    }

    fn take_page(&mut self, page: &Scanned<'_>, link: &mut Link, ctx: &mut Ctx<'_>) {
        self.answers += 1;
        for &(partition, at) in &page.true_at {
            self.shown(partition, at, ctx);
        }
        let scan = self.scan.as_mut().expect("its page has come");
        for row in page.rows.iter() {
            scan.last = Some((row.key.to_vec(), row.partition));
            if let Ok(Row { id: Some(id), .. }) = Row::of(&row) {
                ctx.history.read(self.plan.topic, row.partition, row.offset, id);
            }
        }
        scan.true_at.clone_from(&page.true_at);
        // A pin that has ended once may not come back.
        let lapsed = !scan.cursor.is_empty() && ctx.wall - scan.since >= PINNED_MS;
        scan.since = if lapsed { LAPSED } else { scan.asked_at };
        match page.next {
            Some(cursor) => {
                scan.cursor = cursor.to_vec();
                self.next_page(link, ctx);
            }
            None => {
                self.seen_all |= scan.is_final;
                self.scan = None;
            }
        }
    }

    fn may_lose_old(&self) -> bool {
        self.plan.trims || self.plan.promise.retention
    }

    /// Whether a refusal has a reason. `since`: when a pin was last known to keep what is asked for.
    fn is_excused(&self, code: Option<ErrorCode>, wanted: &Wanted, since: i64, ctx: &Ctx<'_>) -> bool {
        let history = &*ctx.history;
        match code {
            // It does not exist yet.
            Some(ErrorCode::UnknownTopicOrPartition) => !wanted.exists,
            Some(ErrorCode::ViewNotReady) => history.views_may_fail,
            Some(ErrorCode::RequestTimedOut) => wanted.after.is_some(),
            Some(ErrorCode::OffsetOutOfRange) => {
                let floor = |p: &i32| wanted.floors.get(p).map_or(0, |floor| floor.firm_end);
                wanted.as_of.iter().any(|(p, as_of)| *as_of >= floor(p))
            }
            Some(ErrorCode::OffsetTooOld) => {
                let pinned = since != LAPSED && ctx.wall - since < PINNED_MS && !self.may_lose_old();
                let lost = history.boots_may_come || history.views_may_fail;
                !wanted.as_of.is_empty() && (!pinned || lost)
            }
            _ => false,
        }
    }

    fn refused(&mut self, head: Head, code: i16, message: &str, ctx: &mut Ctx<'_>) {
        let code = ErrorCode::from_number(code);
        let (wanted, since) = if let Some(get) = self.gets.remove(&head.correlation) {
            (get.wanted, LAPSED)
        } else if let Some(scan) = self.scan.take_if(|scan| scan.correlation == head.correlation) {
            // What is asked as of an earlier offset may be on its way out.
            let pinned = !scan.cursor.is_empty() && scan.as_of.is_empty();
            (scan.wanted, if pinned { scan.since } else { LAPSED })
        } else {
            return ctx.history.bad(format!("{}: refused nothing: {message}", self.describe()));
        };
        if code == Some(ErrorCode::ViewNotReady) {
            ctx.history.not_ready += 1;
        }
        if !self.is_excused(code, &wanted, since, ctx) {
            ctx.history.bad(format!("{}: {wanted:?} refused: {message}", self.describe()));
        }
    }

    fn judge_values(
        &self,
        asked: &AskedGet,
        values: &[KeyState<'_>],
        logs: &mut Logs,
        history: &mut History,
    ) -> Result<(), String> {
        if values.len() != asked.keys.len() {
            return Err(format!("{} keys, {} answers", asked.keys.len(), values.len()));
        }
        for (key, state) in asked.keys.iter().zip(values) {
            let home = match asked.partition {
                -1 => partition_for(key, self.plan.partitions as u32) as i32,
                partition => partition,
            };
            if state.partition != home {
                return Err(format!("partition {} answered instead of {home}", state.partition));
            }
            logs.check_key(&self.plan, key, state, &asked.wanted, history)
                .map_err(|e| format!("key {} of {home}: {e}", key.escape_ascii()))?;
        }
        Ok(())
    }

    fn judge_page(
        &self,
        scan: &AskedScan,
        page: &Scanned<'_>,
        logs: &mut Logs,
        history: &mut History,
    ) -> Result<(), String> {
        let rows = page.rows.iter().map(|row| Row::of(&row)).collect::<Result<Vec<_>, _>>()?;
        if rows.iter().any(|row| row.id.is_none() != scan.keys_only) {
            return Err("values are missing, or are there although only keys were asked for".into());
        }
        if scan.limit > 0 && rows.len() > scan.limit as usize {
            return Err(format!("{} rows, {} were asked for", rows.len(), scan.limit));
        }
        let parts = match scan.partition {
            -1 => (0..self.plan.partitions).collect(),
            partition => vec![partition],
        };
        if !page.true_at.iter().map(|(p, _)| *p).eq(parts) {
            return Err(format!("true at {:?}", page.true_at));
        }
        let page = Page {
            true_at: &page.true_at,
            range: &scan.range,
            reverse: scan.reverse,
            behind: scan.last.as_ref().map(|(key, partition)| (&key[..], *partition)),
            rows: &rows,
            is_last: page.next.is_none(),
        };
        logs.check_page(&self.plan, &page, &scan.wanted, history)
    }
}

impl Script for Asker {
    fn act(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        self.quiet = ctx.quiet;
        if self.scan.as_ref().is_some_and(|scan| scan.correlation == NONE) {
            return self.next_page(link, ctx);
        }
        if ctx.quiet {
            if self.scan.is_none() && !self.seen_all {
                self.begin_scan(link, ctx);
            }
            return;
        }
        if self.ops == 0 {
            return;
        }
        if ctx.rng.below(2) == 0 && self.gets.len() < 3 {
            self.ops -= 1;
            self.get(link, ctx);
        } else if self.scan.is_none() {
            self.ops -= 1;
            self.begin_scan(link, ctx);
        }
    }

    fn witness(&mut self, head: Head, reply: &Reply<'_>, logs: &mut Logs, history: &mut History) {
        let judged = match reply {
            Reply::Values { values, .. } => match self.gets.get(&head.correlation) {
                Some(asked) => self.judge_values(asked, values, logs, history),
                None => Ok(()),
            },
            Reply::Scanned(page) => match &self.scan {
                Some(scan) if scan.correlation == head.correlation => {
                    self.judge_page(scan, page, logs, history)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        };
        if let Err(why) = judged {
            history.bad(format!("{}: {why}", self.describe()));
        }
    }

    fn reply(&mut self, head: Head, reply: Reply<'_>, link: &mut Link, ctx: &mut Ctx<'_>) {
        ctx.history.note(|| format!("{} at {} {head:?}: {reply:?}", self.describe(), ctx.wall));
        match reply {
            Reply::Values { values, .. } => match self.gets.remove(&head.correlation) {
                Some(asked) => self.take_values(&asked, &values, ctx),
                None => ctx.history.bad(format!("{}: values for nothing", self.describe())),
            },
            Reply::Scanned(page) => match &self.scan {
                Some(scan) if scan.correlation == head.correlation => self.take_page(&page, link, ctx),
                _ => ctx.history.bad(format!("{}: a page of nothing", self.describe())),
            },
            Reply::Error { code, message, .. } => self.refused(head, code, message, ctx),
            Reply::GoAway { .. } => {}
            other => ctx.history.bad(format!("{}: got {other:?}", self.describe())),
        }
    }

    fn lost(&mut self, _ctx: &mut Ctx<'_>) {
        self.gets.clear();
        // A scan goes on with its cursor on any connection, and after a restart, too.
        self.scan.take_if(|scan| scan.cursor.is_empty());
        if let Some(scan) = &mut self.scan {
            scan.correlation = NONE;
        }
    }

    fn finished(&self) -> bool {
        self.ops == 0 && self.gets.is_empty() && self.scan.is_none() && (self.seen_all || !self.quiet)
    }

    fn must_finish(&self) -> bool {
        !self.seen_all
    }

    fn describe(&self) -> String {
        format!("asker {} of {} ({} answers)", self.number, self.plan.name, self.answers)
    }
}
