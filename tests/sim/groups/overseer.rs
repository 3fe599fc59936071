//! Who asks how a group stands, from outside, and at times moves it back or deletes it.
//!
//! Invariant: how far a group is said to have come is what its members have committed, or where it was moved while it
//! had none; a partition is in one share.

use std::collections::{BTreeMap, BTreeSet};

use krappy_wire::error::ErrorCode;
use krappy_wire::native::{Commit, CommitAt, GroupInfo, GroupPosition, Head, Reply, Request};

use super::super::history::History;
use super::super::link::{Ctx, Link, Script};
use super::super::views::Logs;
use super::book::{Group, Moment, Wish};

pub struct Overseer {
    group: Group,
    topic: &'static str,
    ops: u32,
    /// What was asked, by correlation.
    open: BTreeMap<u32, Asked>,
}

enum Asked {
    /// How the group stands, with how much was known of each partition then.
    State(Vec<Moment>),
    /// To move these partitions, or to forget them with the group.
    Move(Vec<(i32, Wish)>),
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

    fn ask(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        let correlation = link.request(0, &Request::DescribeGroup { group: self.group.name });
        let now = (0..self.group.partitions).map(|p| ctx.history.groups.now(self.group, p)).collect();
        self.open.insert(correlation, Asked::State(now));
    }

    /// Moves a partition of which something is known to an offset at which the group was not seen lately.
    fn move_back(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        let partition = ctx.rng.below(self.group.partitions as u64) as i32;
        let Some(committed) = ctx.history.groups.committed(self.group, partition).filter(|at| *at > 0) else {
            return self.ask(link, ctx);
        };
        let offset = ctx.rng.below(committed as u64) as i64;
        let topic = self.topic;
        let positions = vec![CommitAt { topic, partition, offset, metadata: "" }];
        let correlation = link.request(0, &Request::Commit(Commit { group: self.group.name, positions }));
        let wish = ctx.history.groups.wants_outside(self.group, partition, Some(offset));
        self.open.insert(correlation, Asked::Move(vec![(partition, wish)]));
    }

    fn delete(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        let correlation = link.request(0, &Request::DeleteGroup { group: self.group.name });
        let wish = |partition| (partition, ctx.history.groups.wants_outside(self.group, partition, None));
        let wishes = (0..self.group.partitions).map(wish).collect();
        self.open.insert(correlation, Asked::Move(wishes));
    }

    /// A group that has members is moved by nobody else, and not deleted.
    fn judge_move(&self, wishes: &[(i32, Wish)], reply: &Reply<'_>, history: &mut History) {
        let code = match reply {
            Reply::Ack => 0,
            Reply::Each { errors } => errors[0],
            Reply::Error { code, .. } => *code,
            _ => return,
        };
        // The disk has failed: a start may find it.
        if code == ErrorCode::CoordinatorNotAvailable.number() {
            return;
        }
        for &(partition, wish) in wishes {
            history.groups.answered_outside(self.group, partition, wish, code == 0);
        }
    }

    fn is_excused(&self, code: Option<ErrorCode>, moves: bool, ctx: &Ctx<'_>) -> bool {
        match code {
            Some(ErrorCode::GroupIdNotFound | ErrorCode::Draining) => true,
            Some(ErrorCode::None | ErrorCode::NonEmptyGroup) => moves,
            // The topic is not there yet.
            Some(ErrorCode::UnknownTopicOrPartition) => moves,
            Some(ErrorCode::CoordinatorLoadInProgress) => ctx.history.views_may_fail,
            Some(ErrorCode::CoordinatorNotAvailable) => ctx.history.disk_may_fail || ctx.history.stops,
            _ => false,
        }
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
            let moves = self.open.values().any(|asked| matches!(asked, Asked::Move(_)));
            match ctx.rng.below(8) {
                0 if !moves => self.move_back(link, ctx),
                1 if !moves => self.delete(link, ctx),
                _ => self.ask(link, ctx),
            }
        }
    }

    fn witness(&mut self, head: Head, reply: &Reply<'_>, _logs: &mut Logs, history: &mut History) {
        let judged = match (self.open.get(&head.correlation), reply) {
            (Some(Asked::State(since)), Reply::Group(info)) => self.judge(info, since, history),
            (Some(Asked::State(since)), Reply::Error { code, .. })
                if *code == ErrorCode::GroupIdNotFound.number() =>
            {
                self.judge_absence(since, history)
            }
            (Some(Asked::Move(wishes)), reply) => {
                self.judge_move(wishes, reply, history);
                Ok(())
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
        let asked = self.open.remove(&head.correlation);
        let moves = matches!(asked, Some(Asked::Move(_)));
        let excused = match reply {
            Reply::Group(_) => !moves,
            Reply::Ack => moves,
            Reply::Each { ref errors } => {
                moves && errors.iter().all(|&code| self.is_excused(ErrorCode::from_number(code), moves, ctx))
            }
            Reply::Error { code, .. } => self.is_excused(ErrorCode::from_number(code), moves, ctx),
            _ => false,
        };
        if asked.is_none() || !excused {
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
