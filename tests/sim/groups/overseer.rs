//! Who asks how a group stands, from outside.
//!
//! Invariant: how far a group is said to have come is what its members have committed; a partition is in one share.

use std::collections::{BTreeMap, BTreeSet};

use krappy_wire::error::ErrorCode;
use krappy_wire::native::{GroupInfo, GroupPosition, Head, Reply, Request};

use super::super::history::History;
use super::super::link::{Ctx, Link, Script};
use super::super::views::Logs;
use super::book::{Group, Moment};

pub struct Overseer {
    group: Group,
    topic: &'static str,
    ops: u32,
    /// Correlations, with how much was known of each partition when they were sent.
    open: BTreeMap<u32, Vec<Moment>>,
}

impl Overseer {
    pub fn new(group: Group, topic: &'static str, ops: u32) -> Overseer {
        Overseer { group, topic, ops, open: BTreeMap::new() }
    }

    fn judge(&self, info: &GroupInfo<'_>, since: &[Moment], history: &mut History) -> Result<(), String> {
        let mut shared_out = BTreeSet::new();
        for (topic, partition) in info.members.iter().flat_map(|member| &member.share) {
            if *topic != self.topic || !shared_out.insert(*partition) {
                return Err(format!("{topic}/{partition} is shared out twice, or not of this group"));
            }
        }
        for (partition, &since) in (0..).zip(since) {
            let of_it = |at: &&GroupPosition<'_>| (at.topic, at.partition) == (self.topic, partition);
            let offset = info.positions.iter().find(of_it).map_or(-1, |at| at.offset);
            history.groups.told(self.group, partition, (offset >= 0).then_some(offset), since)?;
        }
        Ok(())
    }

    /// Nobody knows such a group: nothing was committed.
    fn judge_absence(&self, since: &[Moment], history: &mut History) -> Result<(), String> {
        let mut parts = (0..).zip(since);
        parts.try_for_each(|(partition, &since)| history.groups.told(self.group, partition, None, since))
    }
}

impl Script for Overseer {
    fn act(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        if self.ops > 0 && !ctx.quiet && self.open.len() < 2 && ctx.rng.below(3) == 0 {
            self.ops -= 1;
            let correlation = link.request(0, &Request::DescribeGroup { group: self.group.name });
            let now = (0..self.group.partitions).map(|p| ctx.history.groups.now(self.group, p)).collect();
            self.open.insert(correlation, now);
        }
    }

    fn witness(&mut self, head: Head, reply: &Reply<'_>, _logs: &mut Logs, history: &mut History) {
        let Some(since) = self.open.get(&head.correlation) else { return };
        let judged = match reply {
            Reply::Group(info) => self.judge(info, since, history),
            Reply::Error { code, .. } if *code == ErrorCode::GroupIdNotFound.number() => {
                self.judge_absence(since, history)
            }
            _ => Ok(()),
        };
        if let Err(why) = judged {
            history.bad(format!("{}: {why}", self.describe()));
        }
    }

    fn reply(&mut self, head: Head, reply: Reply<'_>, _link: &mut Link, ctx: &mut Ctx<'_>) {
        ctx.history.note(|| format!("{}: {reply:?}", self.describe()));
        if let Reply::GoAway { .. } = reply {
            return;
        }
        let was_asked = self.open.remove(&head.correlation).is_some();
        let excused = match reply {
            Reply::Group(_) => true,
            Reply::Error { code, .. } => match ErrorCode::from_number(code) {
                Some(ErrorCode::GroupIdNotFound | ErrorCode::Draining) => true,
                Some(ErrorCode::CoordinatorLoadInProgress) => ctx.history.views_may_fail,
                _ => false,
            },
            _ => false,
        };
        if !was_asked || !excused {
            ctx.history.bad(format!("{}: got {reply:?}", self.describe()));
        }
    }

    fn lost(&mut self, _ctx: &mut Ctx<'_>) {
        self.open.clear();
    }

    fn finished(&self) -> bool {
        self.ops == 0 && self.open.is_empty()
    }

    fn must_finish(&self) -> bool {
        !self.open.is_empty()
    }

    fn describe(&self) -> String {
        format!("overseer of {}", self.group.name)
    }
}
