//! Who publishes on a condition: a record for a key whose newest record is still the one that it knows.
//!
//! Invariant: a publish that is answered stands in the log right behind the record that it expected, so of two that
//! expected the same only one has won; and a refusal names a record that was there.

use std::collections::BTreeMap;

use krappy_wire::error::ErrorCode;
use krappy_wire::native::{Head, Level, PlainWriter, PublishIf, Reply, Request};
use krappy_wire::partition::partition_for;

use super::content::{self, Id};
use super::history::{Expects, History, Sent};
use super::link::{Ctx, Link, Script};
use super::plan::{KEYS, TopicPlan};
use super::producer::push_plain;
use super::views::Logs;

const STREAM: u32 = 1;

pub struct Swapper {
    number: u32,
    plan: TopicPlan,
    ops: u32,
    next_record: u32,
    /// Correlation of the registration, once it was sent.
    registered: Option<u32>,
    open: BTreeMap<u32, Swap>,
    /// What is believed to be the newest record of each key, and whether it deletes the key.
    newest: BTreeMap<u8, (i64, bool)>,
    wins: u32,
    conflicts: u32,
}

struct Swap {
    acks: Level,
    key: u8,
    expected: Option<i64>,
    /// As others see it: one part with one record.
    parts: [(i32, Vec<Id>); 1],
}

impl Swap {
    fn id(&self) -> Id {
        self.parts[0].1[0]
    }

    fn partition(&self) -> i32 {
        self.parts[0].0
    }
}

impl Swapper {
    pub fn new(number: u32, plan: &TopicPlan, ops: u32) -> Swapper {
        Swapper {
            number,
            plan: plan.clone(),
            ops,
            next_record: 0,
            registered: None,
            open: BTreeMap::new(),
            newest: BTreeMap::new(),
            wins: 0,
            conflicts: 0,
        }
    }

    fn swap(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        // Few keys, so that swappers meet.
        let key = ctx.rng.below(KEYS.min(4)) as u8;
        let partition = partition_for(&content::key_of(key), self.plan.partitions as u32) as i32;
        let expected = match (ctx.rng.below(8), self.newest.get(&key)) {
            (0, _) => Some(ctx.rng.below(60) as i64),
            (1, _) | (_, None | Some((_, true))) => None,
            (_, Some((offset, _))) => Some(*offset),
        };
        self.next_record += 1;
        let padding = ctx.rng.below(100) as usize;
        let id = content::keyed_id(self.number, padding, ctx.rng.below(6) == 0, key, self.next_record);
        let sent = Sent {
            topic: self.plan.topic,
            partition,
            session: u64::from(self.number) << 32 | u64::from(link.serial),
            number: self.next_record,
            gapless: false,
            repeats: false,
            timestamp: ctx.wall,
            expects: expected.map_or(Expects::Nothing, Expects::Newest),
        };
        ctx.history.sent(id, sent);
        let mut writer = PlainWriter::default();
        push_plain(&mut writer, ctx.wall, id);
        let acks = if ctx.rng.below(3) == 0 { Level::Appended } else { Level::Durable };
        let named = if ctx.rng.below(2) == 0 { partition } else { -1 };
        let request =
            PublishIf { acks, partition: named, expected: expected.unwrap_or(-1), record: writer.records() };
        let correlation = link.request(STREAM, &Request::PublishIf(request));
        self.open.insert(correlation, Swap { acks, key, expected, parts: [(partition, vec![id])] });
    }

    fn won(&mut self, swap: &Swap, level: Level, offset: i64, ctx: &mut Ctx<'_>) {
        self.wins += 1;
        let durable = level == Level::Durable;
        if self.plan.promise.durable && swap.acks == Level::Durable && !durable {
            ctx.history.bad(format!("{}: wanted a durable ack, got {level:?}", self.describe()));
        }
        ctx.history.acked(self.plan.topic, swap.partition(), offset, &[swap.id()], durable);
        self.newest.insert(swap.key, (offset, content::deletes(swap.id())));
    }

    fn refused(&mut self, code: i16, message: &str, ctx: &mut Ctx<'_>) {
        match ErrorCode::from_number(code) {
            Some(ErrorCode::StorageError | ErrorCode::Draining) => {}
            Some(ErrorCode::ViewNotReady) if ctx.history.views_may_fail => ctx.history.not_ready += 1,
            _ => ctx.history.bad(format!("{}: refused: {message}", self.describe())),
        }
    }
}

impl Script for Swapper {
    fn act(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        if self.registered.is_none() {
            let request = Request::RegisterProducer { topic: self.plan.name, idempotent: false };
            self.registered = Some(link.request(STREAM, &request));
        } else if self.ops > 0 && !ctx.quiet && self.open.len() < 3 && link.unsent() < 10_000 {
            self.ops -= 1;
            self.swap(link, ctx);
        }
    }

    fn witness(&mut self, head: Head, reply: &Reply<'_>, logs: &mut Logs, history: &mut History) {
        let Some(swap) = self.open.get(&head.correlation) else { return };
        let (plan, partition, key) = (&self.plan, swap.partition(), content::key_of(swap.key));
        let judged = match reply {
            Reply::Published { parts, .. } => {
                logs.check_won(plan, partition, parts[0].base_offset, swap.id(), swap.expected, history)
            }
            Reply::Conflict { partition: of, .. } if *of != partition => {
                Err(format!("refused by partition {of} instead of {partition}"))
            }
            Reply::Conflict { offset, deleted, .. } => {
                let found = (*offset >= 0).then_some((*offset, *deleted));
                logs.check_conflict(plan, partition, &key, swap.expected, found, history)
            }
            _ => Ok(()),
        };
        if let Err(why) = judged {
            history.bad(format!("{}: {why}", self.describe()));
        }
    }

    fn reply(&mut self, head: Head, reply: Reply<'_>, link: &mut Link, ctx: &mut Ctx<'_>) {
        ctx.history.note(|| format!("{} {head:?}: {reply:?}", self.describe()));
        let swap = self.open.remove(&head.correlation);
        match (reply, swap) {
            (Reply::ProducerRegistered { .. }, None) => {}
            (Reply::Published { level, parts }, Some(swap)) => {
                self.won(&swap, level, parts[0].base_offset, ctx);
            }
            (Reply::Conflict { offset, deleted, .. }, Some(swap)) => {
                self.conflicts += 1;
                match offset {
                    -1 => self.newest.remove(&swap.key),
                    _ => self.newest.insert(swap.key, (offset, deleted)),
                };
            }
            (Reply::Error { .. }, None) if self.registered == Some(head.correlation) => {
                // The topic is not there yet, or the broker is stopping: begin again.
                link.leave();
                self.lost(ctx);
            }
            (Reply::Error { code, message, .. }, Some(_)) => self.refused(code, message, ctx),
            (Reply::GoAway { .. }, None) => {}
            (other, _) => ctx.history.bad(format!("{}: got {other:?}", self.describe())),
        }
    }

    fn lost(&mut self, _ctx: &mut Ctx<'_>) {
        self.registered = None;
        self.open.clear();
    }

    fn finished(&self) -> bool {
        self.ops == 0 && self.open.is_empty()
    }

    fn must_finish(&self) -> bool {
        !self.open.is_empty()
    }

    fn topic(&self) -> Option<(&str, usize)> {
        Some((self.plan.name, self.plan.topic))
    }

    fn open_publish(&self, head: Head) -> Option<&[(i32, Vec<Id>)]> {
        self.open.get(&head.correlation).map(|swap| &swap.parts[..])
    }

    fn describe(&self) -> String {
        let Swapper { number, wins, conflicts, .. } = self;
        format!("swapper {number} of {} ({wins} won, {conflicts} conflicts)", self.plan.name)
    }
}
