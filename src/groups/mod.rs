//! Consumer groups: clients that share out work among themselves, as Kafka's classic group protocol has it.
//!
//! A group does not know what the work is. It gets its members to meet, picks a way of sharing out that all of them
//! know, tells one of them, the leader, who is there, and hands everybody the share that the leader wrote for it.
//! Members prove that they live; when one comes, goes or changes its mind, all meet again. Each such meeting is a
//! *generation*, and only members of the newest one may commit offsets.
//!
//! ```text
//!            a member joins                       all have joined, or their time is up
//!   Empty -------------------> PreparingRebalance --------------------------------> CompletingRebalance
//!     |  \ <------------------  ^   ^  joins are parked                              |  syncs are parked
//!     |     nobody is left      |   |                                                |
//!     |                         |   +---- a member joins, leaves or dies ------------+
//!     | no offsets,             |         or does not sync in time                   | the leader has
//!     | nobody expected         |                                                    | shared out
//!     v                         |     a member joins, leaves or dies,                v
//!    Dead                       +----- changes its mind, or leads and joins again -- Stable
//! ```
//!
//! `join` is the way into a generation and `sync` the way out of it; `alive` is what happens in between and at the end:
//! heartbeats, commits, leaving, sessions that end. `instance` is for static members, who restart without a meeting.
//! `group` holds the machine itself, `roster` and `member` who is in it, `protocols` what they agree on.
//!
//! Groups of the newer kind, whose partitions the broker shares out itself, are in [`consumer`]. [`Groups`] is all
//! groups by name, of both kinds: there is one space of names. An empty group goes on as one of the kind of whoever
//! joins it, and one with members becomes one of the newer kind with the first member that speaks its protocol, and a
//! classic one again when the last of these is gone.
//!
//! Invariants: every join and every sync is answered exactly once, unless its client hangs up; the generations of a
//! group only grow; no call does more work than its group is large; time comes in with each call, and whoever calls
//! [`Groups::tick`] not before [`Groups::next_deadline`] misses nothing.

mod alarm;
mod alive;
pub mod assign;
pub mod consumer;
mod describe;
mod group;
mod instance;
mod join;
mod kind;
mod limits;
mod member;
mod member_id;
mod messages;
pub mod offsets;
mod protocols;
pub mod queue;
mod roster;
mod subscription;
mod sync;
#[cfg(test)]
pub(crate) mod testing;
mod turn;

pub use describe::{Description, Listed, MemberDescription};
pub use group::State;
pub use limits::{Limits, MOST_NAME};
pub use messages::{Answer, Join, Joined, JoinedMember, Leaver, Sync, Synced, Who};
pub use subscription::{Subscribed, share};

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

use krappy_wire::error::ErrorCode;

use crate::ordered::Numbered;
use crate::time::Time;
use crate::timers::Timers;
use consumer::{Push, Topics};
use kind::Kind;
use member_id::MemberIds;
use roster::Number;
use turn::{Entry, Turn};

/// Names a group for as long as it is there; not used twice.
type Key = u64;

/// All groups. `W` is whoever waits for an answer: a value that is used once.
#[derive(Debug)]
pub struct Groups<W> {
    limits: Limits,
    ids: MemberIds,
    last: Key,
    by_name: BTreeMap<Arc<str>, Key>,
    groups: Numbered<Entry<W>>,
    /// When to look at which group.
    timers: Timers<Key>,
    /// Who waits, and as which member.
    waiting: BTreeMap<W, (Key, Number)>,
    answers: Vec<(W, Answer)>,
    pushes: Vec<(W, Push)>,
    bytes: usize,
}

/// How many there are of everything; for metrics and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Groups, with the empty ones.
    pub groups: usize,
    /// Members of all groups.
    pub members: usize,
    /// Ids that were given out and have not joined yet.
    pub pending: usize,
    /// Clients that wait for an answer, and streams.
    pub waiting: usize,
    /// Bytes of all of it, about.
    pub bytes: usize,
}

impl<W: Copy + Ord + Debug> Groups<W> {
    /// No groups yet. `salt` goes into the ids of members: it must be another one in each process.
    pub fn new(limits: Limits, salt: u128) -> Self {
        Self {
            limits,
            ids: MemberIds::new(salt),
            last: 0,
            by_name: BTreeMap::new(),
            groups: Numbered::default(),
            timers: Timers::default(),
            waiting: BTreeMap::new(),
            answers: Vec::new(),
            pushes: Vec::new(),
            bytes: 0,
        }
    }

    /// JoinGroup. The answer comes out of [`Self::take_answers`], perhaps at once.
    pub fn join(&mut self, to: W, ask: &Join<'_>, topics: &dyn Topics, now: Time) {
        match self.group_for(ask) {
            Ok(key) => {
                assert!(!self.waiting.contains_key(&to), "{to:?} waits already");
                self.with(key, now, |kind, turn| match kind {
                    Kind::Classic(group) => group.join(to, ask, turn),
                    Kind::Consumer(group) => group.join_classic(to, ask, topics, turn),
                });
            }
            Err(code) => self.answers.push((to, Answer::NotJoined { code, member: ask.member.into() })),
        }
    }

    /// SyncGroup. The answer comes out of [`Self::take_answers`], perhaps at once.
    pub fn sync(&mut self, to: W, ask: &Sync<'_>, topics: &dyn Topics, now: Time) {
        match self.find(ask.group) {
            Ok(key) => {
                assert!(!self.waiting.contains_key(&to), "{to:?} waits already");
                self.with(key, now, |kind, turn| match kind {
                    Kind::Classic(group) => group.sync(to, ask, turn),
                    Kind::Consumer(group) => group.sync_classic(to, ask, topics, turn),
                });
            }
            Err(code) => self.answers.push((to, Answer::NotSynced(code))),
        }
    }

    /// Heartbeat.
    pub fn heartbeat(&mut self, group: &str, who: Who<'_>, now: Time) -> Result<(), ErrorCode> {
        let key = self.find(group)?;
        self.with(key, now, |kind, turn| match kind {
            Kind::Classic(group) => group.heartbeat(who, turn.now),
            Kind::Consumer(group) => group.heartbeat_classic(who, turn),
        })
    }

    /// LeaveGroup: a result for each, in their order.
    pub fn leave(
        &mut self,
        group: &str,
        leavers: &[Leaver<'_>],
        now: Time,
    ) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
        match self.find(group) {
            Ok(key) => Ok(self.with(key, now, |kind, turn| match kind {
                Kind::Classic(group) => group.leave(leavers, turn),
                Kind::Consumer(group) => group.dismiss(leavers, turn),
            })),
            Err(ErrorCode::UnknownMemberId) => Ok(vec![Err(ErrorCode::UnknownMemberId); leavers.len()]),
            Err(code) => Err(code),
        }
    }

    /// OffsetCommit: whether it is allowed. Whoever commits to a group that is not known begins one with its first
    /// offset, see [`Self::known`]. It may have an empty name, as it may in Kafka.
    pub fn may_commit(&mut self, group: &str, who: Who<'_>, now: Time) -> Result<(), ErrorCode> {
        if group.len() > MOST_NAME {
            return Err(ErrorCode::InvalidGroupId);
        }
        match self.by_name.get(group) {
            Some(&key) => self.with(key, now, |kind, turn| match kind {
                Kind::Classic(group) => group.may_commit(who, turn.now),
                Kind::Consumer(group) => group.may_commit(who),
            }),
            None if who.generation >= 0 => Err(ErrorCode::GroupIdNotFound),
            None if self.is_full() => Err(ErrorCode::PolicyViolation),
            None => Ok(()),
        }
    }

    /// Offsets are kept under this name, so there is such a group, with or without members. The protocol type is what
    /// was remembered of it; empty: nothing.
    pub fn known(&mut self, group: &str, protocol_type: &str) {
        let key = self.by_name.get(group).copied().unwrap_or_else(|| self.begin(group));
        let kind = &mut self.entry(key).kind;
        *kind.has_offsets() = true;
        if let Kind::Classic(group) = kind
            && group.roster.len() == 0
            && group.protocol_type.is_empty()
        {
            group.protocol_type = protocol_type.into();
        }
    }

    /// No offsets are kept under this name any more.
    pub fn forgotten(&mut self, group: &str) {
        if let Some(&key) = self.by_name.get(group) {
            *self.entry(key).kind.has_offsets() = false;
            self.settle(key);
        }
    }

    /// DeleteGroups: whether it is allowed.
    pub fn may_delete(&self, group: &str) -> Result<(), ErrorCode> {
        let is_empty = self.groups[self.look(group)?].kind.is_empty();
        if is_empty { Ok(()) } else { Err(ErrorCode::NonEmptyGroup) }
    }

    /// DeleteGroups: the group is gone, and so are the ids that it has given out. Its offsets are the caller's to
    /// delete.
    pub fn delete(&mut self, group: &str) -> Result<(), ErrorCode> {
        self.may_delete(group)?;
        let key = self.by_name[group];
        self.end(key);
        Ok(())
    }

    /// OffsetDelete: the topics whose offsets must stay because members read them.
    pub fn subscribed_topics(&self, group: &str) -> Result<Subscribed<'_>, ErrorCode> {
        self.groups[self.look(group)?].kind.subscribed()
    }

    /// ListGroups, sorted by name. Filters are names of states and of kinds of groups in any case; an empty filter lets
    /// everything through.
    pub fn list(&self, states: &[&str], kinds: &[&str]) -> Vec<Listed<'_>> {
        let has = |filter: &[&str], name: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
        };
        let all = self.by_name.values().map(|key| self.groups[*key].kind.listed());
        all.filter(|group| has(states, group.state) && has(kinds, group.kind)).collect()
    }

    /// Groups behind a name, sorted by name.
    pub fn after(&self, name: &str) -> impl Iterator<Item = Listed<'_>> {
        let behind = self.by_name.range::<str, _>((Bound::Excluded(name), Bound::Unbounded));
        behind.map(|(_, key)| self.groups[*key].kind.listed())
    }

    /// One group as a line.
    pub fn line(&self, group: &str) -> Result<Listed<'_>, ErrorCode> {
        Ok(self.groups[self.look(group)?].kind.listed())
    }

    /// DescribeGroups. It knows classic groups only: any other is dead.
    pub fn describe(&self, group: &str) -> Description<'_> {
        match self.by_name.get(group).map(|key| &self.groups[*key].kind) {
            Some(Kind::Classic(group)) => group.describe(),
            Some(Kind::Consumer(_)) | None => Description::DEAD,
        }
    }

    /// Clients have hung up: those that wait and lie in this range. They are not answered any more; the members that
    /// they spoke for stay until their sessions end, or go at once if the client was their stream.
    pub fn gone(&mut self, range: RangeInclusive<W>, now: Time) {
        while let Some((&to, &(key, number))) = self.waiting.range(range.clone()).next() {
            self.waiting.remove(&to);
            self.with(key, now, |kind, turn| kind.gone(number, turn));
        }
    }

    /// Answers everybody who waits with this code, and tells streams that they are members no more, because the broker
    /// stops.
    pub fn send_away(&mut self, code: ErrorCode, now: Time) {
        while let Some((&to, &(key, number))) = self.waiting.iter().next() {
            self.waiting.remove(&to);
            let answer = self.with(key, now, |kind, turn| {
                let answer = match kind {
                    Kind::Classic(group) => Some(group.told_away(number, code)),
                    Kind::Consumer(_) => None,
                };
                kind.gone(number, turn);
                answer
            });
            match answer {
                Some(answer) => self.answers.push((to, answer)),
                None => self.pushes.push((to, Push::Fenced)),
            }
        }
    }

    /// When [`Self::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Time) {
        while let Some(key) = self.timers.take_due(now) {
            let Self { groups, timers, .. } = self;
            if groups.get_mut(key).expect("a timer belongs to a group").next.rings(now, key, timers) {
                self.with(key, now, |kind, turn| kind.tick(turn));
            }
        }
    }

    /// Answers to joins and syncs since the last call, in the order in which they were given.
    pub fn take_answers(&mut self) -> Vec<(W, Answer)> {
        std::mem::take(&mut self.answers)
    }

    /// What streams are told since the last call, in the order in which it happened.
    pub fn take_pushes(&mut self) -> Vec<(W, Push)> {
        std::mem::take(&mut self.pushes)
    }

    /// How many there are of everything.
    pub fn totals(&self) -> Totals {
        let kinds = || self.groups.values().map(|entry| &entry.kind);
        Totals {
            groups: self.groups.len(),
            members: kinds().map(Kind::len).sum(),
            pending: kinds().map(Kind::pending_len).sum(),
            waiting: self.waiting.len(),
            bytes: self.bytes,
        }
    }

    /// The group that somebody may join, begun if need be.
    fn group_for(&mut self, ask: &Join<'_>) -> Result<Key, ErrorCode> {
        let found = self.find(ask.group);
        let (least, most) = (self.limits.min_session_timeout_ms, self.limits.max_session_timeout_ms);
        match found {
            Err(ErrorCode::InvalidGroupId) => found,
            _ if !(i64::from(least)..=i64::from(most)).contains(&i64::from(ask.session_timeout_ms)) => {
                Err(ErrorCode::InvalidSessionTimeout)
            }
            Ok(key) if !self.is_empty_consumer(key) => Ok(key),
            // Whoever has no id may begin a classic group, also under the name of an empty one of the newer kind.
            _ if !ask.member.is_empty() => Err(ErrorCode::UnknownMemberId),
            Ok(key) => {
                self.convert(key);
                Ok(key)
            }
            Err(_) if self.is_full() => Err(ErrorCode::PolicyViolation),
            Err(_) => Ok(self.begin(ask.group)),
        }
    }

    fn is_empty_consumer(&self, key: Key) -> bool {
        matches!(&self.groups[key].kind, Kind::Consumer(group) if group.len() == 0)
    }

    /// A group by a name that members may use.
    fn find(&self, group: &str) -> Result<Key, ErrorCode> {
        if group.is_empty() || group.len() > MOST_NAME {
            return Err(ErrorCode::InvalidGroupId);
        }
        self.by_name.get(group).copied().ok_or(ErrorCode::UnknownMemberId)
    }

    /// A group by the name that a tool gives.
    fn look(&self, group: &str) -> Result<Key, ErrorCode> {
        self.by_name.get(group).copied().ok_or(ErrorCode::GroupIdNotFound)
    }

    fn entry(&mut self, key: Key) -> &mut Entry<W> {
        self.groups.get_mut(key).expect("the group was found a moment ago")
    }

    fn is_full(&self) -> bool {
        self.groups.len() >= self.limits.max_groups || self.bytes >= self.limits.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Room, join, no_topics, who};
    use super::*;

    #[test]
    fn names_of_groups_have_one_to_255_bytes() {
        let mut room = Room::new();
        for (name, code) in [
            (String::new(), ErrorCode::InvalidGroupId),
            ("x".repeat(256), ErrorCode::InvalidGroupId),
            ("x".repeat(255), ErrorCode::MemberIdRequired),
            ("\u{7}\n".into(), ErrorCode::MemberIdRequired),
        ] {
            let client = room.join(join(&name, ""));
            assert_eq!(room.not_joined(client).0, code, "{name:?}");
        }
        let long = "x".repeat(256);
        assert_eq!(room.groups.may_commit(&long, who("", -1), room.now), Err(ErrorCode::InvalidGroupId));
    }

    #[test]
    fn session_timeouts_outside_the_bounds_are_refused() {
        let mut room = Room::new();
        for (session_timeout_ms, code) in [
            (5_999, ErrorCode::InvalidSessionTimeout),
            (6_000, ErrorCode::MemberIdRequired),
            (1_800_000, ErrorCode::MemberIdRequired),
            (1_800_001, ErrorCode::InvalidSessionTimeout),
            (0, ErrorCode::InvalidSessionTimeout),
            (-1, ErrorCode::InvalidSessionTimeout),
            (i32::MAX, ErrorCode::InvalidSessionTimeout),
        ] {
            let client = room.join(Join { session_timeout_ms, ..join("g", "") });
            assert_eq!(room.not_joined(client).0, code, "{session_timeout_ms}");
        }
    }

    #[test]
    fn at_the_limit_of_groups_none_is_begun() {
        let mut room = Room::with(Limits { max_groups: 1, ..Limits::default() });
        room.groups.known("a", "");
        let client = room.join(join("g", ""));
        assert_eq!(room.not_joined(client).0, ErrorCode::PolicyViolation);
        assert_eq!(room.groups.may_commit("g", who("", -1), room.now), Err(ErrorCode::PolicyViolation));
        assert_eq!(room.groups.may_commit("a", who("", -1), room.now), Ok(()));
        room.groups.forgotten("a");
        room.id();
    }

    #[test]
    fn an_empty_group_stays_as_long_as_it_has_offsets() {
        let mut room = Room::new();
        let ids = room.stable(1);
        room.groups.known("g", "");
        room.leave(&ids[0]).unwrap();
        let listed = room.groups.list(&[], &[]);
        assert_eq!((listed[0].state, listed[0].protocol_type), ("Empty", "consumer"));
        room.groups.forgotten("g");
        assert_eq!(room.groups.totals(), Totals::default());
        room.groups.forgotten("g");
    }

    #[test]
    fn what_was_remembered_of_a_group_does_not_override_what_its_members_do() {
        let mut room = Room::new();
        room.groups.known("a", "connect");
        room.groups.known("a", "");
        assert_eq!(room.groups.describe("a").protocol_type, "connect");
        room.stable(1);
        room.groups.known("g", "connect");
        assert_eq!(room.groups.describe("g").protocol_type, "consumer");
    }

    #[test]
    fn only_an_empty_group_can_be_deleted() {
        let mut room = Room::new();
        assert_eq!(room.groups.delete("g"), Err(ErrorCode::GroupIdNotFound));
        let ids = room.stable(1);
        room.groups.known("g", "");
        assert_eq!(room.groups.delete("g"), Err(ErrorCode::NonEmptyGroup));
        room.leave(&ids[0]).unwrap();
        let pending = room.id();
        assert_eq!((room.groups.may_delete("g"), room.groups.delete("g")), (Ok(()), Ok(())));
        assert_eq!((room.groups.totals(), room.groups.next_deadline()), (Totals::default(), None));
        let client = room.join(join("g", &pending));
        assert_eq!(room.not_joined(client).0, ErrorCode::UnknownMemberId);
    }

    #[test]
    fn groups_do_not_disturb_each_other() {
        let mut room = Room::new();
        let ids = room.stable(2);
        let client = room.join(Join { takes_id_first: false, ..join("other", "") });
        room.pass(0);
        assert_eq!(room.joined(client).generation, 1);
        assert_eq!(room.heartbeat(&ids[0], 1), Ok(()));
        assert_eq!(room.groups.totals(), Totals { groups: 2, members: 3, ..room.groups.totals() });
    }

    #[test]
    #[should_panic(expected = "waits already")]
    fn a_client_waits_once() {
        let mut room = Room::with(Limits::default());
        let ask = Join { takes_id_first: false, ..join("g", "") };
        room.groups.join(7, &ask, &no_topics(), room.now);
        room.groups.join(7, &ask, &no_topics(), room.now);
    }
}
