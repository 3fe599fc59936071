//! Who makes the topics, deletes records, and asks what is there.

use krappy_wire::error::ErrorCode;
use krappy_wire::native::{Head, Reply, Request};

use super::link::{Ctx, Link, Script};
use super::plan::TopicPlan;

/// Makes every topic of the plan, then does odd jobs.
pub struct Admin {
    topics: Vec<TopicPlan>,
    /// Topics that are known to be there.
    made: Vec<bool>,
    open: Vec<(u32, Asked)>,
    ops: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Create(usize),
    /// It is said to exist already, which it may not quite do yet.
    Confirm(usize),
    Describe(usize),
    Trim(usize, i32),
    Other,
}

impl Admin {
    pub fn new(topics: &[TopicPlan], ops: u32) -> Admin {
        Admin { topics: topics.to_vec(), made: vec![false; topics.len()], open: Vec::new(), ops }
    }

    fn ask(&mut self, asked: Asked, request: &Request<'_>, link: &mut Link) {
        let correlation = link.request(0, request);
        self.open.push((correlation, asked));
    }

    fn create(&mut self, n: usize, link: &mut Link) {
        let plan = self.topics[n].clone();
        let settings = plan.settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let request = Request::CreateTopic { topic: plan.name, partitions: plan.partitions, settings };
        self.ask(Asked::Create(n), &request, link);
    }

    fn odd_job(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        let n = ctx.rng.below(self.topics.len() as u64) as usize;
        let plan = self.topics[n].clone();
        match ctx.rng.below(6) {
            0 | 1 => self.ask(Asked::Describe(n), &Request::DescribeTopic { topic: plan.name }, link),
            2 if plan.trims => {
                let partition = ctx.rng.below(plan.partitions as u64) as i32;
                let offset = if ctx.rng.below(10) == 0 { -1 } else { ctx.rng.below(60) as i64 };
                let wanted = if offset == -1 { i64::MAX } else { offset };
                ctx.history.wants_trim(plan.topic, partition, wanted);
                let request = Request::DeleteRecords { topic: plan.name, partition, offset };
                self.ask(Asked::Trim(n, partition), &request, link);
            }
            3 => self.ask(Asked::Other, &Request::ListTopics, link),
            4 => self.ask(Asked::Other, &Request::Status, link),
            _ => self.ask(Asked::Other, &Request::Ping, link),
        }
    }
}

impl Script for Admin {
    fn act(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        if self.open.len() >= 3 {
            return;
        }
        if let Some(n) = self.made.iter().position(|made| !made) {
            if self.open.is_empty() {
                self.create(n, link);
            }
        } else if self.ops > 0 && !ctx.quiet {
            self.ops -= 1;
            self.odd_job(link, ctx);
        }
    }

    fn reply(&mut self, head: Head, reply: Reply<'_>, link: &mut Link, ctx: &mut Ctx<'_>) {
        if let Reply::GoAway { .. } = reply {
            return;
        }
        let Some(at) = self.open.iter().position(|(c, _)| *c == head.correlation) else {
            return ctx.history.bad(format!("admin: an answer to nothing: {reply:?}"));
        };
        let (_, asked) = self.open.remove(at);
        match (asked, reply) {
            (Asked::Create(n) | Asked::Confirm(n), Reply::Topic(_)) => self.made[n] = true,
            (Asked::Create(n), Reply::Error { code, .. })
                if code == ErrorCode::TopicAlreadyExists.number() =>
            {
                let name = self.topics[n].name;
                self.ask(Asked::Confirm(n), &Request::DescribeTopic { topic: name }, link);
            }
            (Asked::Confirm(_), Reply::Error { code, .. })
                if code == ErrorCode::UnknownTopicOrPartition.number() => {}
            (Asked::Describe(n), Reply::Topic(info)) => {
                if info.partitions.len() as i32 != self.topics[n].partitions {
                    ctx.history.bad(format!("admin: {info:?} has lost partitions"));
                }
                for p in &info.partitions {
                    if ![p.log_start, p.high_watermark, p.log_end].is_sorted() {
                        ctx.history.bad(format!("admin: {p:?} is not in order"));
                    }
                }
            }
            (Asked::Trim(n, partition), Reply::Trimmed { log_start }) => {
                ctx.history.trimmed(self.topics[n].topic, partition, log_start);
            }
            (Asked::Trim(..), Reply::Error { code, .. }) if code == ErrorCode::OffsetOutOfRange.number() => {}
            (_, Reply::Error { code, .. })
                if [ErrorCode::StorageError, ErrorCode::Draining].map(ErrorCode::number).contains(&code) => {}
            (Asked::Other, Reply::Topics { .. } | Reply::StatusIs { .. } | Reply::Pong) => {}
            (asked, reply) => ctx.history.bad(format!("admin: {asked:?} was answered by {reply:?}")),
        }
    }

    fn lost(&mut self, _ctx: &mut Ctx<'_>) {
        self.open.clear();
    }

    fn finished(&self) -> bool {
        self.ops == 0 && self.open.is_empty() && self.made.iter().all(|made| *made)
    }

    fn must_finish(&self) -> bool {
        !self.open.is_empty()
    }

    fn describe(&self) -> String {
        format!("admin, waiting for {:?}", self.open)
    }
}
