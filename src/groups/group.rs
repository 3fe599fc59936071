//! One group of the classic protocol: its state, its generation, and how one generation follows another.
//!
//! Invariants: the generation only grows; every client that waits is answered exactly once; outside of
//! [`State::Preparing`] nobody waits to join, outside of [`State::Completing`] nobody waits for a share; what holds a
//! group up has an alarm that ends it.

use std::fmt::Debug;
use std::sync::Arc;

use krappy_wire::error::ErrorCode;

use super::Turn;
use super::alarm::Alarm;
use super::limits::{LEAST_RETRY_MS, NEW_MEMBER_JOIN_MS};
use super::member::{Member, Waits};
use super::messages::{Answer, Joined, Who};
use super::roster::{Number, Roster};
use crate::time::Time;
use crate::timers::Timers;

/// Bytes that a group costs beside its members and its name, about.
const FIXED: usize = 512;

/// Where a group is between two generations. The names are Kafka's, and tools show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has no members. It is there because of its offsets, or because somebody was told an id and will come.
    Empty,
    /// It waits for its members to join the next generation.
    Preparing,
    /// The generation has begun, and its leader is sharing out.
    Completing,
    /// Everybody has a share.
    Stable,
    /// There is no such group. No group is ever in this state: it is what is told of a name that is not known.
    Dead,
}

impl State {
    /// The name by which clients know it.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Preparing => "PreparingRebalance",
            State::Completing => "CompletingRebalance",
            State::Stable => "Stable",
            State::Dead => "Dead",
        }
    }
}

/// What an alarm of a group is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// The wait for members to join.
    Joining,
    /// The wait for members to ask for their share.
    Syncing,
    /// The session of a member or of a pending id.
    Session(Number),
}

/// The first rebalance of an empty group, which waits for more members to arrive.
#[derive(Debug)]
pub(super) struct FirstRebalance {
    /// Not beyond this.
    until: Time,
    /// Somebody arrived since the wait was last begun or extended.
    pub newcomer: bool,
}

/// A group of the classic protocol.
#[derive(Debug)]
pub(super) struct ClassicGroup<W> {
    pub name: Arc<str>,
    pub state: State,
    pub generation: i32,
    /// What it does; empty: it was only ever used to keep offsets.
    pub protocol_type: Arc<str>,
    /// The protocol of this generation; empty before the first.
    pub protocol: Arc<str>,
    /// Who leads; there is one as long as there are members.
    pub leader: Option<Number>,
    pub roster: Roster<W>,
    /// Offsets are kept under its name, so it stays when it is empty.
    pub has_offsets: bool,
    pub first: Option<FirstRebalance>,
    pub joining: Alarm,
    pub syncing: Alarm,
    pub timers: Timers<Due>,
}

impl<W: Copy + Ord + Debug> ClassicGroup<W> {
    /// An empty group.
    pub fn new(name: Arc<str>) -> Self {
        Self {
            name,
            state: State::Empty,
            generation: 0,
            protocol_type: Arc::default(),
            protocol: Arc::default(),
            leader: None,
            roster: Roster::default(),
            has_offsets: false,
            first: None,
            joining: Alarm::default(),
            syncing: Alarm::default(),
            timers: Timers::default(),
        }
    }

    /// Whether nothing speaks for keeping it.
    pub fn is_over(&self) -> bool {
        self.state == State::Empty && self.roster.pending_len() == 0 && !self.has_offsets
    }

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> usize {
        FIXED + self.name.len() + self.roster.bytes()
    }

    /// Finds a member by what it says of itself. An instance that is somebody else by now is fenced.
    pub fn identify(&self, member: &str, instance: Option<&str>) -> Result<Number, ErrorCode> {
        let found = self.roster.find(member).filter(|number| self.roster.get(*number).is_some());
        if let Some(instance) = instance {
            let owner = self.roster.instance(instance).ok_or(ErrorCode::UnknownMemberId)?;
            if found != Some(owner) {
                return Err(ErrorCode::FencedInstanceId);
            }
        }
        found.ok_or(ErrorCode::UnknownMemberId)
    }

    /// The same for a member that must be of this generation; one that waits for its first is of none.
    pub fn identify_now(&self, who: Who<'_>) -> Result<Number, ErrorCode> {
        let number = self.identify(who.member, who.instance)?;
        let belongs = who.generation == self.generation && !self.roster.member(number).is_new;
        if belongs { Ok(number) } else { Err(ErrorCode::IllegalGeneration) }
    }

    /// Membership has changed: the next generation is needed, or has what it was waiting for.
    pub fn rebalance(&mut self, why: &str, turn: &mut Turn<'_, W>) {
        match self.state {
            State::Preparing => self.end_joining_if_all_have(turn),
            State::Empty if self.roster.len() == 0 => {}
            _ => self.begin_joining(why, turn),
        }
    }

    fn begin_joining(&mut self, why: &str, turn: &mut Turn<'_, W>) {
        log::debug!("group {:?}: generation {} is over: {why}", self.name, self.generation);
        self.send_back_syncs(turn);
        self.syncing.clear(Due::Syncing, &mut self.timers);
        let was_empty = self.state == State::Empty;
        self.state = State::Preparing;
        if was_empty {
            let until = turn.now.plus_ms(self.rebalance_timeout_ms());
            self.first = Some(FirstRebalance { until, newcomer: false });
            let delay = u64::from(turn.limits.initial_rebalance_delay_ms);
            self.joining.set(turn.now.plus_ms(delay), Due::Joining, &mut self.timers);
            return;
        }
        self.joining.set(turn.now.plus_ms(self.rebalance_timeout_ms()), Due::Joining, &mut self.timers);
        self.end_joining_if_all_have(turn);
    }

    /// Shares of the generation that is over are worth nothing; who waits for one joins the next.
    fn send_back_syncs(&mut self, turn: &mut Turn<'_, W>) {
        for number in self.numbers() {
            self.roster.assign(number, Arc::default());
            if let Waits::Sync(to) = self.roster.member(number).waits {
                self.stop_waiting(number, turn);
                turn.answer(to, Answer::NotSynced(ErrorCode::RebalanceInProgress));
            }
        }
    }

    /// The longest that any member needs to come back.
    fn rebalance_timeout_ms(&self) -> u64 {
        self.roster.members().map(|(_, member)| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    fn end_joining_if_all_have(&mut self, turn: &mut Turn<'_, W>) {
        // The first rebalance is there to wait for those that nobody knows of yet.
        let waits_for_more = self.first.is_some() && self.roster.len() > 0;
        if self.roster.len() == 0 || (self.roster.all_joined() && !waits_for_more) {
            self.end_joining(turn);
        }
    }

    /// The wait for members is over, or is extended because more are arriving at a group that was empty.
    pub fn joining_is_due(&mut self, turn: &mut Turn<'_, W>) {
        let delay = u64::from(turn.limits.initial_rebalance_delay_ms);
        if let Some(first) = &mut self.first
            && first.newcomer
            && delay > 0
            && turn.now < first.until
        {
            first.newcomer = false;
            let next = turn.now.plus_ms(delay).min(first.until);
            self.joining.set(next, Due::Joining, &mut self.timers);
            return;
        }
        self.end_joining(turn);
    }

    /// Begins the generation of those that have joined, and of the static members, which may come back later.
    fn end_joining(&mut self, turn: &mut Turn<'_, W>) {
        self.first = None;
        self.joining.clear(Due::Joining, &mut self.timers);
        let late = |number: &Number| {
            let member = self.roster.member(*number);
            !member.waits.has_joined() && member.instance.is_none()
        };
        for number in self.numbers().into_iter().filter(late).collect::<Vec<_>>() {
            self.remove(number, "it has not joined in time", turn);
        }
        if self.roster.len() == 0 {
            self.become_empty();
        } else if self.elect() {
            self.begin_generation(turn);
        } else {
            // All clients are gone. Either one comes back, or their sessions end.
            let later = self.rebalance_timeout_ms().max(LEAST_RETRY_MS);
            self.joining.set(turn.now.plus_ms(later), Due::Joining, &mut self.timers);
        }
    }

    fn become_empty(&mut self) {
        self.generation += 1;
        self.state = State::Empty;
        self.protocol = Arc::default();
        self.leader = None;
        log::info!("group {:?} is empty", self.name);
    }

    /// Leaves the lead where it is, or gives it to the oldest member whose client is there to take it.
    fn elect(&mut self) -> bool {
        let can = |number: Number| matches!(self.roster.member(number).waits, Waits::Join(Some(_)));
        if !self.leader.is_some_and(can) {
            match self.roster.members().map(|(number, _)| number).find(|number| can(*number)) {
                Some(number) => self.leader = Some(number),
                None => return false,
            }
        }
        true
    }

    fn begin_generation(&mut self, turn: &mut Turn<'_, W>) {
        self.generation += 1;
        self.state = State::Completing;
        self.protocol = self.roster.choose_protocol().expect("nobody is let in who shares no protocol");
        self.syncing.set(turn.now.plus_ms(self.rebalance_timeout_ms()), Due::Syncing, &mut self.timers);
        for number in self.numbers() {
            let client = self.stop_waiting(number, turn);
            let member = self.roster.get_mut(number).expect("it is one of the members");
            member.is_new = false;
            member.synced = false;
            if let Some(to) = client {
                turn.answer(to, Answer::Joined(self.told(number)));
            }
        }
        let (members, leader) = (self.roster.len(), &self.told_leader());
        let (name, generation, protocol) = (&self.name, self.generation, &self.protocol);
        log::info!(
            "group {name:?}: generation {generation}, {members} members, {protocol:?}, led by {leader:?}"
        );
    }

    /// What a member is told of this generation.
    pub fn told(&self, number: Number) -> Joined {
        let leads = self.leader == Some(number) && self.state == State::Completing;
        let introduce = |(_, member): (_, &Member<W>)| member.introduce(&self.protocol);
        Joined {
            member: self.roster.member(number).id.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.told_leader(),
            members: if leads { self.roster.members().map(introduce).collect() } else { Vec::new() },
            skip_assignment: false,
        }
    }

    /// The id of the leader.
    pub fn told_leader(&self) -> Arc<str> {
        self.roster.member(self.leader.expect("whoever has members has a leader")).id.clone()
    }

    /// Lets a client wait for the next generation. If another one waits as the same member, it is sent back.
    pub fn wait_to_join(&mut self, number: Number, to: W, turn: &mut Turn<'_, W>) {
        let before = self.roster.set_waits(number, Waits::Join(Some(to)));
        turn.parked(to, number);
        self.refuse(number, before, ErrorCode::RebalanceInProgress, turn);
        let member = self.roster.get_mut(number).expect("it waits because it is there");
        if member.is_new {
            member.session.set(turn.now.plus_ms(NEW_MEMBER_JOIN_MS), Due::Session(number), &mut self.timers);
        } else {
            member.session.clear(Due::Session(number), &mut self.timers);
        }
    }

    /// The same for a share.
    pub fn wait_for_share(&mut self, number: Number, to: W, turn: &mut Turn<'_, W>) {
        let before = self.roster.set_waits(number, Waits::Sync(to));
        turn.parked(to, number);
        self.refuse(number, before, ErrorCode::RebalanceInProgress, turn);
        let member = self.roster.get_mut(number).expect("it waits because it is there");
        member.session.clear(Due::Session(number), &mut self.timers);
    }

    /// Answers what a member has waited for until now, whatever that was.
    pub fn refuse(&self, number: Number, before: Waits<W>, code: ErrorCode, turn: &mut Turn<'_, W>) {
        let answer = match before {
            Waits::Sync(_) => Answer::NotSynced(code),
            _ => Answer::NotJoined { code, member: self.roster.member(number).id.clone() },
        };
        if let Some(to) = before.client() {
            turn.answer(to, answer);
        }
    }

    /// Nothing holds a member any more: its session begins anew. The client, if one waits, is the caller's to answer.
    pub fn stop_waiting(&mut self, number: Number, turn: &Turn<'_, W>) -> Option<W> {
        let before = self.roster.set_waits(number, Waits::Nothing);
        self.restart_session(number, turn.now);
        before.client()
    }

    /// A sign of life.
    pub fn restart_session(&mut self, number: Number, now: Time) {
        let member = self.roster.get_mut(number).expect("it lives because it is there");
        if member.waits.client().is_none() {
            let at = now.plus_ms(member.session_timeout_ms);
            member.session.set(at, Due::Session(number), &mut self.timers);
        }
    }

    /// Removes a member; whoever waits as it is told that nobody knows it.
    pub fn remove(&mut self, number: Number, why: &str, turn: &mut Turn<'_, W>) {
        let Some(mut member) = self.roster.remove(number) else { return };
        member.session.clear(Due::Session(number), &mut self.timers);
        log::info!("group {:?}: member {:?} is removed: {why}", self.name, member.id);
        match member.waits {
            Waits::Nothing | Waits::Join(None) => {}
            Waits::Join(Some(to)) => {
                turn.answer(
                    to,
                    Answer::NotJoined { code: ErrorCode::UnknownMemberId, member: Arc::default() },
                );
            }
            Waits::Sync(to) => turn.answer(to, Answer::NotSynced(ErrorCode::UnknownMemberId)),
        }
        if self.leader == Some(number) {
            self.leader = self.roster.members().next().map(|(oldest, _)| oldest);
        }
    }

    /// Forgets a pending id.
    pub fn remove_pending(&mut self, number: Number) {
        if let Some(mut pending) = self.roster.remove_pending(number) {
            pending.session.clear(Due::Session(number), &mut self.timers);
        }
    }

    /// The members of this moment, to go through them while they change.
    pub fn numbers(&self) -> Vec<Number> {
        self.roster.members().map(|(number, _)| number).collect()
    }

    /// Checks what the head of this file promises; for tests and the simulator.
    pub fn invariants(&self) {
        self.roster.invariants();
        let members = self.roster.len();
        assert_eq!(self.leader.is_some(), members > 0, "whoever has members has a leader");
        assert!(self.leader.is_none_or(|leader| self.roster.get(leader).is_some()), "who is a member");
        assert_eq!(self.state == State::Preparing, self.joining.is_set(), "preparing ends");
        assert!(self.first.is_none() || self.state == State::Preparing, "the first rebalance is one");
        assert_eq!(self.state == State::Empty, members == 0, "empty is without members");
        for (_, member) in self.roster.members() {
            match member.waits {
                Waits::Nothing => assert!(member.session.is_set(), "a session ends"),
                Waits::Join(None) => assert!(self.state == State::Preparing && member.session.is_set()),
                Waits::Join(Some(_)) => {
                    assert_eq!((self.state, member.session.is_set()), (State::Preparing, member.is_new));
                }
                Waits::Sync(_) => {
                    assert_eq!((self.state, member.session.is_set()), (State::Completing, false));
                }
            }
        }
        let late = self.roster.members().any(|(_, member)| !member.synced);
        let shares = matches!(self.state, State::Completing | State::Stable);
        assert_eq!(self.syncing.is_set(), shares && late, "the wait for syncs ends");
        assert!(self.timers.len() <= 2 + members + self.roster.pending_len(), "an alarm has one entry");
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Room, join, who};
    use super::super::{Join, Limits};
    use super::*;

    #[test]
    fn the_first_rebalance_waits_for_more_members_while_they_arrive() {
        let mut room = Room::with(Limits::default());
        let first = room.id();
        let first = room.join(join("g", &first));
        room.pass(2_000);
        let second = room.id();
        let second = room.join(join("g", &second));
        // The first wait is extended because somebody has come meanwhile, the second is not.
        room.pass(3_999);
        assert!(room.waits(first) && room.waits(second));
        room.pass(1);
        assert_eq!((room.joined(first).members.len(), room.joined(second).generation), (2, 1));
    }

    #[test]
    fn the_first_rebalance_waits_no_longer_than_the_rebalance_timeout() {
        let mut room = Room::with(Limits::default());
        let mut clients = Vec::new();
        for _ in 0..10 {
            let id = room.id();
            clients.push(room.join(Join { rebalance_timeout_ms: 10_000, ..join("g", &id) }));
            room.pass(1_000);
        }
        assert!(clients.iter().all(|client| !room.waits(*client)));
        assert_eq!(room.joined(clients[0]).members.len(), 10);
    }

    #[test]
    fn the_first_rebalance_ends_when_everybody_has_left_again() {
        let mut room = Room::with(Limits::default());
        room.groups.known("g", "");
        let id = room.id();
        let client = room.join(join("g", &id));
        room.leave(&id).unwrap();
        assert_eq!(room.not_joined(client), (ErrorCode::UnknownMemberId, String::new()));
        assert_eq!((room.state(), room.groups.next_deadline()), (State::Empty, None));
    }

    #[test]
    fn a_later_rebalance_waits_for_all_members_and_no_longer() {
        let mut room = Room::new();
        let ids = room.stable(3);
        let clients = [room.join(join("g", &ids[0])), room.join(join("g", &ids[1]))];
        assert!(clients.iter().all(|client| room.waits(*client)));
        let last = room.join(join("g", &ids[2]));
        assert_eq!(room.joined(clients[0]).members.len(), 3);
        assert_eq!((room.joined(clients[1]).generation, room.joined(last).generation), (2, 2));
    }

    #[test]
    fn a_rebalance_waits_for_an_id_that_was_given_out() {
        let mut room = Room::new();
        let ids = room.stable(1);
        let id = room.id();
        let client = room.join(join("g", &ids[0]));
        assert!(room.waits(client));
        room.pass(10_000);
        assert_eq!(room.joined(client).members.len(), 1);
        let client = room.join(join("g", &id));
        assert_eq!(room.not_joined(client).0, ErrorCode::UnknownMemberId);
    }

    #[test]
    fn whoever_has_not_joined_when_the_longest_rebalance_timeout_is_over_is_removed() {
        let mut room = Room::new();
        let ids: Vec<String> = (0..2).map(|_| room.id()).collect();
        let ask = |n: usize| {
            let rebalance_timeout_ms = [5_000, 7_000][n];
            Join { rebalance_timeout_ms, session_timeout_ms: 60_000, ..join("g", &ids[n]) }
        };
        let clients = [room.join(ask(0)), room.join(ask(1))];
        room.pass(0);
        clients.iter().for_each(|client| drop(room.joined(*client)));
        let shares = room.sync(who(&ids[0], 1), &[]);
        room.sync(who(&ids[1], 1), &[]);
        room.share(shares);
        let client = room.join(ask(0));
        room.pass(6_999);
        assert!(room.waits(client));
        room.pass(1);
        assert_eq!(room.joined(client).members.len(), 1);
        assert_eq!(room.heartbeat(&ids[1], 2), Err(ErrorCode::UnknownMemberId));
    }

    #[test]
    fn the_first_to_join_leads_and_keeps_the_lead_while_it_stays() {
        let mut room = Room::new();
        let ids = room.stable(3);
        // The others are faster this time.
        let clients =
            [2, 1, 0].map(|n| room.join(Join { protocols: vec![("range", b"new")], ..join("g", &ids[n]) }));
        for client in clients {
            assert_eq!(&*room.joined(client).leader, ids[0]);
        }
    }

    #[test]
    fn only_the_leader_is_told_who_is_there_and_what_they_said() {
        let mut room = Room::new();
        let ids = [room.id(), room.id()];
        let ask = |n: usize, metadata| Join {
            protocols: vec![("sticky", b"other"), ("range", metadata)],
            ..join("g", &ids[n])
        };
        let first = room.join(Join { protocols: vec![("range", b"first")], ..ask(0, b"") });
        let second = room.join(ask(1, b"second"));
        room.pass(0);
        let told = room.joined(first);
        let members: Vec<(&str, &[u8])> = told.members.iter().map(|m| (&*m.id, &*m.metadata)).collect();
        assert_eq!(members, [(&*ids[0], &b"first"[..]), (&*ids[1], b"second")]);
        assert_eq!(
            (&*told.protocol, &*told.protocol_type, told.skip_assignment),
            ("range", "consumer", false)
        );
        assert!(room.joined(second).members.is_empty());
    }

    #[test]
    fn when_the_leader_does_not_come_back_the_oldest_that_does_leads() {
        let mut room = Room::new();
        let ids = room.stable(3);
        room.leave(&ids[0]).unwrap();
        let clients = [2, 1].map(|n| room.join(join("g", &ids[n])));
        for client in clients {
            assert_eq!(&*room.joined(client).leader, ids[1]);
        }
    }

    #[test]
    fn the_lead_is_not_given_to_a_member_whose_client_has_hung_up() {
        let mut room = Room::new();
        let ids = room.stable(3);
        let leader = room.join(join("g", &ids[0]));
        let second = room.join(join("g", &ids[1]));
        room.groups.gone(leader..=second, room.now);
        let third = room.join(join("g", &ids[2]));
        let told = room.joined(third);
        assert_eq!((&*told.leader, told.members.len()), (&*ids[2], 3));
        assert!(room.waits(leader) && room.waits(second), "nobody is there to be told");
    }

    #[test]
    fn when_all_clients_have_hung_up_the_generation_waits_for_one_to_come_back() {
        let mut room = Room::new();
        let ids = room.stable(3);
        let clients = [0, 1].map(|n: usize| room.join(join("g", &ids[n])));
        room.groups.gone(clients[0]..=clients[1], room.now);
        room.leave(&ids[2]).unwrap();
        room.pass(5_000);
        assert_eq!(room.state(), State::Preparing);
        let client = room.join(join("g", &ids[1]));
        let told = room.joined(client);
        assert_eq!((&*told.leader, told.members.len()), (&*ids[1], 2));
    }

    #[test]
    fn when_all_clients_have_hung_up_and_none_comes_back_the_group_ends() {
        let mut room = Room::new();
        let ids = room.stable(2);
        let client = room.join(join("g", &ids[0]));
        room.groups.gone(client..=client, room.now);
        room.leave(&ids[1]).unwrap();
        room.pass(9_999);
        assert_eq!(room.state(), State::Preparing);
        room.pass(1);
        assert_eq!(room.groups.totals(), Default::default());
    }

    #[test]
    fn the_generation_grows_also_when_a_group_becomes_empty() {
        let mut room = Room::new();
        room.groups.known("g", "");
        let ids = room.stable(1);
        room.leave(&ids[0]).unwrap();
        assert_eq!(room.state(), State::Empty);
        let id = room.id();
        let client = room.join(join("g", &id));
        room.pass(0);
        assert_eq!(room.joined(client).generation, 3);
    }
}
