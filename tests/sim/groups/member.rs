//! Members of consumer groups, in krappy's own language: they read what they are given, commit some of what they have
//! read, give back what is taken from them, go without a word, and come back.
//!
//! Invariant: a member commits only what it has received; what is told to it is judged at the moment at which the
//! server has written it, and what it does with that when it has received it.

use std::collections::BTreeMap;

use krappy_wire::error::ErrorCode;
use krappy_wire::native::{Assigned, Commit, CommitAt, Head, RecordsPart, Reply, Request, Start};

use super::super::consumer::check_part;
use super::super::history::{Floor, History};
use super::super::link::{Ctx, Link, Script};
use super::super::plan::TopicPlan;
use super::super::sabotage::Lie;
use super::super::views::Logs;
use super::book::{Begins, Group, Wish};

const STREAM: u32 = 1;

/// What all members of a group have in common.
#[derive(Clone)]
pub struct Club {
    pub group: Group,
    pub plan: TopicPlan,
    /// Where nothing was committed, they begin at the end.
    pub from_end: bool,
}

/// A member.
pub struct Member {
    number: u32,
    club: Club,
    subscribes: bool,
    /// A planted bug.
    lie: Option<Lie>,
    ops: u32,
    read: u64,
    done: bool,
    session: Session,
    /// Commits that are not answered, by correlation.
    commits: BTreeMap<u32, Vec<Committing>>,
}

/// What it is on the connection that is open now.
#[derive(Default)]
struct Session {
    /// Correlation of the registration, once it was sent.
    registered: Option<u32>,
    /// What was known when it was sent.
    floors: BTreeMap<i32, Floor>,
    /// The last number of what it was told to read; 0: nothing yet.
    told: u32,
    places: BTreeMap<i32, Place>,
    asked: Asked,
    /// What was known when it polled last.
    poll_floors: BTreeMap<i32, Floor>,
    /// It has to say that it has given something back.
    owes: Option<Owes>,
    /// What it was to read there is gone: it commits where it goes on, and begins anew.
    gaps: Vec<(i32, i64)>,
    rejoins: bool,
    /// What the server has told it to read, whether it has heard of it or not.
    shown: Vec<i32>,
    /// The server has closed the connection.
    hung_up: bool,
}

/// A partition that it reads.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The offset of the next record.
    next: i64,
    /// What it has committed, as far as it knows.
    committed: Option<i64>,
}

#[derive(Default, Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    #[default]
    Nothing,
    Poll(u32),
    Subscription {
        correlation: u32,
        credit: i64,
    },
}

/// Partitions that were taken away, under the number with which that was said.
struct Owes {
    number: u32,
    places: BTreeMap<i32, Place>,
}

#[derive(Debug, Clone, Copy)]
struct Committing {
    partition: i32,
    offset: i64,
    wish: Wish,
}

impl Member {
    pub fn new(number: u32, club: &Club, lie: Option<Lie>, ops: u32, ctx: &mut Ctx<'_>) -> Member {
        Member {
            number,
            club: club.clone(),
            subscribes: ctx.rng.below(2) == 0,
            lie,
            ops,
            read: 0,
            done: false,
            session: Session::default(),
            commits: BTreeMap::new(),
        }
    }

    fn floors(&self, ctx: &mut Ctx<'_>) -> BTreeMap<i32, Floor> {
        let Club { plan, .. } = &self.club;
        (0..plan.partitions).map(|p| (p, ctx.history.floor(plan.topic, p))).collect()
    }

    fn register(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        self.session = Session { floors: self.floors(ctx), ..Session::default() };
        let start = match ctx.rng.below(2) {
            _ if self.club.from_end => Start::Latest,
            0 => Start::Earliest,
            _ => Start::Committed,
        };
        let (topic, group) = (self.club.plan.name, self.club.group.name);
        let request = Request::RegisterConsumer { topic, group, partition: -1, start };
        self.session.registered = Some(link.request(STREAM, &request));
    }

    /// Closes the stream, to begin anew on the same connection.
    fn close_stream(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        link.request(STREAM, &Request::CloseStream);
        self.forget(ctx.history);
    }

    /// It is no member any more.
    fn forget(&mut self, history: &mut History) {
        history.groups.left(self.club.group, self.number);
        self.session = Session::default();
    }

    /// Asks for records.
    fn ask(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        let bytes = [1 + ctx.rng.below(200), 1_000, 100_000][ctx.rng.below(3) as usize] as u32;
        match &mut self.session.asked {
            asked @ Asked::Nothing if self.subscribes => {
                let correlation = link.request(STREAM, &Request::Subscribe { credit: bytes });
                *asked = Asked::Subscription { correlation, credit: i64::from(bytes) };
            }
            Asked::Nothing => {
                let max_wait_ms = [0, 10, 300, 10_000][ctx.rng.below(4) as usize];
                let min_bytes = [0, 1, 1, 2_000][ctx.rng.below(4) as usize];
                let max_wait_ms = if ctx.quiet { max_wait_ms.min(10) } else { max_wait_ms };
                self.session.poll_floors = self.floors(ctx);
                let poll = Request::Poll { max_wait_ms, min_bytes, max_bytes: bytes };
                self.session.asked = Asked::Poll(link.request(STREAM, &poll));
            }
            Asked::Subscription { credit, .. } if *credit <= 0 => {
                *credit += i64::from(bytes);
                link.request(STREAM, &Request::Credit { bytes });
            }
            _ => {}
        }
    }

    /// Commits how far it has come, in some of its partitions.
    fn commit(&mut self, all: bool, link: &mut Link, ctx: &mut Ctx<'_>) {
        let mut positions = Vec::new();
        for (&partition, place) in &self.session.places {
            let behind = place.committed.is_none_or(|committed| committed < place.next);
            if behind && (all || ctx.rng.below(3) > 0) {
                let from = place.committed.unwrap_or(place.next);
                // Not everything that has arrived has been dealt with.
                let some = ctx.rng.below((place.next - from).max(0) as u64 + 1) as i64;
                positions.push((partition, if all || some == 0 { place.next } else { from + some }));
            }
        }
        self.send_commit(&positions, link, ctx);
    }

    fn send_commit(&mut self, positions: &[(i32, i64)], link: &mut Link, ctx: &mut Ctx<'_>) {
        if positions.is_empty() {
            return;
        }
        let Club { group, plan, .. } = &self.club;
        let at = |&(partition, offset)| CommitAt { topic: plan.name, partition, offset, metadata: "so far" };
        // A member may leave out the name of its group.
        let name = if ctx.rng.below(2) == 0 { group.name } else { "" };
        let request = Request::Commit(Commit { group: name, positions: positions.iter().map(at).collect() });
        let correlation = link.request(STREAM, &request);
        let committing = |&(partition, offset)| Committing {
            partition,
            offset,
            wish: ctx.history.groups.wants(*group, partition, offset),
        };
        let wishes = positions.iter().map(committing).collect();
        self.commits.insert(correlation, wishes);
    }

    /// Commits what it has read of partitions that it is to give back, and then says that it does not read them.
    fn give_back(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        if !self.commits.is_empty() || self.lie == Some(Lie::Hoards) {
            return;
        }
        let owes = self.session.owes.as_ref().expect("it owes something");
        let behind = |place: &Place| place.committed.is_some_and(|committed| committed < place.next);
        let left: Vec<_> = owes
            .places
            .iter()
            .filter(|(_, place)| behind(place))
            .map(|(p, place)| (*p, place.next))
            .collect();
        if !left.is_empty() && ctx.rng.below(4) > 0 {
            return self.send_commit(&left, link, ctx);
        }
        let Owes { number, places } = self.session.owes.take().expect("looked at a moment ago");
        link.request(STREAM, &Request::Released { number });
        if self.lie != Some(Lie::Clings) {
            for &partition in places.keys() {
                ctx.history.groups.given_back(self.club.group, partition, self.number);
            }
        }
    }

    /// What it was to read is gone: the group goes on where the log begins now.
    fn step_over(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        if !self.commits.is_empty() {
            return;
        }
        let gaps = std::mem::take(&mut self.session.gaps);
        match gaps.is_empty() {
            true => self.close_stream(link, ctx),
            false => self.send_commit(&gaps, link, ctx),
        }
    }

    /// It was told what to read from now on.
    fn assigned(&mut self, told: &Assigned, ctx: &mut Ctx<'_>) {
        let me = self.describe();
        let session = &mut self.session;
        if told.number != session.told + 1 {
            ctx.history.bad(format!("{me}: {told:?} follows number {}", session.told));
        }
        session.told = told.number;
        let mut before = std::mem::take(&mut session.places);
        for &(partition, offset) in &told.positions {
            let kept = before.remove(&partition);
            if let Some(place) = kept
                && place.next != offset
            {
                ctx.history.bad(format!("{me}: is at {} of {partition}, and told {offset}", place.next));
            }
            let place = kept.unwrap_or(Place { next: offset, committed: None });
            session.places.insert(partition, place);
        }
        if told.release == before.is_empty() {
            ctx.history.bad(format!("{me}: {told:?} takes {:?} away", before.keys()));
        }
        if told.release {
            let mut places = session.owes.take().map_or(BTreeMap::new(), |owes| owes.places);
            places.extend(before);
            session.owes = Some(Owes { number: told.number, places });
        }
    }

    fn records(&mut self, head: Head, parts: &[RecordsPart<'_>], ctx: &mut Ctx<'_>) {
        let me = self.describe();
        let Club { group, plan, .. } = &self.club;
        let session = &mut self.session;
        let polled = match session.asked {
            Asked::Poll(c) if c == head.correlation => {
                session.asked = Asked::Nothing;
                true
            }
            Asked::Subscription { correlation, .. } if correlation == head.correlation => false,
            asked => return ctx.history.bad(format!("{me}: records for {head:?}, {asked:?}")),
        };
        for part in parts {
            if let Asked::Subscription { credit, .. } = &mut session.asked {
                *credit -= part.batches.len() as i64;
            }
            let Some(place) = session.places.get_mut(&part.partition) else {
                ctx.history.bad(format!("{me}: records of {}, which it does not read", part.partition));
                continue;
            };
            if place.next != part.position {
                let (next, was) = (place.next, part.position);
                ctx.history.bad(format!("{me}: is at {next} of {}, read from {was}", part.partition));
                continue;
            }
            match check_part(plan, part, ctx) {
                Ok(offsets) => {
                    self.read += offsets.len() as u64;
                    ctx.history.groups.delivered(*group, part.partition, &offsets);
                }
                Err(why) => ctx.history.bad(format!("{me}: {why}")),
            }
            place.next = part.next;
            match ErrorCode::from_number(part.error) {
                Some(ErrorCode::None) => {}
                Some(ErrorCode::OffsetOutOfRange) => {
                    ctx.history.out_of_range(plan.topic, part.partition, part.position);
                    ctx.history.groups.passed_by(*group, part.partition, part.position..part.log_start);
                    session.gaps.push((part.partition, part.log_start));
                    session.rejoins = true;
                    session.asked = Asked::Nothing;
                }
                other => ctx.history.bad(format!("{me}: {other:?} at {}", part.position)),
            }
            if polled {
                let floor = session.poll_floors[&part.partition];
                ctx.history.ends_at(plan.topic, part.partition, part.high_watermark, floor);
                ctx.history.starts_at(plan.topic, part.partition, part.log_start, floor);
            }
        }
    }

    /// A commit was answered, partition by partition.
    fn committed(&mut self, commits: Vec<Committing>, errors: &[i16], ctx: &mut Ctx<'_>) {
        let me = self.describe();
        if commits.len() != errors.len() {
            ctx.history.bad(format!("{me}: {commits:?} are answered by {errors:?}"));
        }
        for (committing, &code) in commits.iter().zip(errors) {
            let Committing { partition, offset, .. } = *committing;
            match ErrorCode::from_number(code) {
                Some(ErrorCode::None) => {
                    let owed = self.session.owes.as_mut().and_then(|owes| owes.places.get_mut(&partition));
                    if let Some(place) = self.session.places.get_mut(&partition).or(owed) {
                        place.committed = Some(offset);
                    }
                }
                code => self.refused(code, "a commit", &me, ctx),
            }
        }
    }

    fn refused(&self, code: Option<ErrorCode>, message: &str, me: &str, ctx: &mut Ctx<'_>) {
        let history = &mut *ctx.history;
        let excused = match code {
            Some(ErrorCode::CoordinatorNotAvailable) => history.disk_may_fail || history.stops,
            Some(ErrorCode::CoordinatorLoadInProgress) => history.views_may_fail,
            Some(ErrorCode::Draining) => true,
            _ => false,
        };
        if !excused {
            history.bad(format!("{me}: {message} is refused: {code:?}"));
        }
    }

    /// The registration was refused, or the member was sent away.
    fn sent_away(&mut self, head: Head, code: i16, message: &str, link: &mut Link, ctx: &mut Ctx<'_>) {
        let me = self.describe();
        let registers = self.session.told == 0 && self.session.registered == Some(head.correlation);
        match ErrorCode::from_number(code) {
            // The topic is not there yet.
            Some(ErrorCode::UnknownTopicOrPartition) if registers => {}
            // The broker stops.
            Some(ErrorCode::FencedMemberEpoch) => {}
            code => self.refused(code, message, &me, ctx),
        }
        link.leave();
        self.lost(ctx);
    }

    /// Whether something new that it is told to read begins where it must.
    fn judge_given(&mut self, positions: &[(i32, i64)], history: &mut History) {
        let Club { group, plan, from_end } = &self.club;
        for &(partition, offset) in positions {
            if self.session.shown.contains(&partition) {
                continue;
            }
            match history.groups.given(*group, partition, self.number, offset) {
                Ok(Begins::Anew) => {
                    let floor = self.session.floors[&partition];
                    match from_end {
                        true => history.ends_at(plan.topic, partition, offset, floor),
                        false => history.starts_at(plan.topic, partition, offset, floor),
                    }
                }
                Ok(Begins::Committed | Begins::Either) => {}
                Err(why) => history.bad(format!("{}: {why}", self.describe())),
            }
        }
        history.groups.rebalances += 1;
        self.session.shown = positions.iter().map(|(partition, _)| *partition).collect();
    }

    fn judge_commits(&mut self, head: Head, errors: &[i16], history: &mut History) {
        for (committing, &code) in self.commits.get(&head.correlation).into_iter().flatten().zip(errors) {
            let (group, Committing { partition, wish, .. }) = (self.club.group, *committing);
            match ErrorCode::from_number(code) {
                Some(ErrorCode::None) => history.groups.confirmed(group, partition, wish),
                // The disk has failed: a start may find it.
                Some(ErrorCode::CoordinatorNotAvailable) => {}
                _ => history.groups.refused(group, partition, wish),
            }
        }
    }
}

impl Script for Member {
    fn act(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        self.done = ctx.quiet && ctx.history.is_at_end(self.club.group);
        let idle = self.done || self.ops == 0 && !ctx.quiet;
        if self.session.registered.is_none() {
            if !idle {
                self.ops = self.ops.saturating_sub(1);
                self.register(link, ctx);
            }
            return;
        }
        if self.session.told == 0 {
            return;
        }
        if self.session.owes.is_some() {
            return self.give_back(link, ctx);
        }
        if self.session.rejoins {
            return self.step_over(link, ctx);
        }
        if idle {
            return;
        }
        self.ops = self.ops.saturating_sub(1);
        match ctx.rng.below(80) {
            0 if !ctx.quiet => {
                link.leave();
                self.lost(ctx);
            }
            1 if !ctx.quiet => self.close_stream(link, ctx),
            2..20 if self.commits.len() < 3 => self.commit(false, link, ctx),
            20..30 if ctx.quiet && self.commits.is_empty() => self.commit(true, link, ctx),
            _ => self.ask(link, ctx),
        }
    }

    fn witness(&mut self, head: Head, reply: &Reply<'_>, _logs: &mut Logs, history: &mut History) {
        let of_member = self.session.registered == Some(head.correlation);
        match reply {
            Reply::Assigned(told) if of_member && !self.session.hung_up => {
                self.judge_given(&told.positions, history);
            }
            Reply::Error { .. } if of_member => history.groups.left(self.club.group, self.number),
            Reply::Each { errors } => self.judge_commits(head, errors, history),
            Reply::Error { code, .. } => {
                let count = self.commits.get(&head.correlation).map_or(0, Vec::len);
                self.judge_commits(head, &vec![*code; count], history);
            }
            _ => {}
        }
    }

    fn reply(&mut self, head: Head, reply: Reply<'_>, link: &mut Link, ctx: &mut Ctx<'_>) {
        ctx.history.note(|| format!("{} {head:?}: {reply:?}", self.describe()));
        let commits = self.commits.remove(&head.correlation);
        // What the stream was that was closed before.
        let is_old = self.session.registered.is_none_or(|registered| head.correlation < registered);
        match (reply, commits) {
            (Reply::Each { errors }, Some(commits)) => self.committed(commits, &errors, ctx),
            // The stream was closed behind the commit, or the member was sent away before it.
            (Reply::Error { .. }, Some(_)) if is_old => {}
            (Reply::Error { code, message, .. }, Some(_)) => {
                self.refused(ErrorCode::from_number(code), message, &self.describe(), ctx);
            }
            (Reply::GoAway { .. } | Reply::Ack, None) => {}
            _ if is_old => {}
            (Reply::ConsumerRegistered { .. }, None) => {}
            (Reply::Assigned(told), None) => self.assigned(&told, ctx),
            (Reply::Records { parts }, None) => self.records(head, &parts, ctx),
            (Reply::Error { code, message, .. }, None) => self.sent_away(head, code, message, link, ctx),
            (other, _) => ctx.history.bad(format!("{}: got {other:?}", self.describe())),
        }
    }

    fn lost(&mut self, ctx: &mut Ctx<'_>) {
        self.forget(ctx.history);
        self.commits.clear();
    }

    fn hung_up(&mut self, history: &mut History) {
        self.session.hung_up = true;
        history.groups.left(self.club.group, self.number);
    }

    fn finished(&self) -> bool {
        self.ops == 0
    }

    fn must_finish(&self) -> bool {
        !self.done
    }

    fn is_last(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        let how = if self.subscribes { "subscribes" } else { "polls" };
        let Member { number, club, read, .. } = self;
        format!("member {number} of {} on {} ({how}, read {read})", club.group.name, club.plan.name)
    }
}
