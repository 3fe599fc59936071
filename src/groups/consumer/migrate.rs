//! How a group with members changes over from one protocol to the other, while its members read on.
//!
//! ```text
//!                     a member of the newer protocol joins
//!   classic, Stable ---------------------------------------> newer, some members classic
//!          ^                                                     |        |
//!          |        the last member of the newer one goes        |        |  the last classic member goes,
//!          +-----------------------------------------------------+        v  or joins by the newer protocol
//!            its members meet                                           newer
//! ```
//!
//! On the way up members keep what their leader gave them until the plan says otherwise. On the way down they meet for
//! the next generation, and one of them leads. Invariants: generations and epochs go on growing; a change that is
//! refused has changed nothing.

use std::fmt::Debug;
use std::sync::Arc;

use krappy_wire::error::ErrorCode;

use super::calls::is_classic;
use super::classic::there;
use super::group::ConsumerGroup;
use super::member::{Classic, Liveness, Member};
use super::messages::Refused;
use super::subscription::Subscription;
use super::topics::Topics;
use crate::groups::Turn;
use crate::groups::assign::Partitions;
use crate::groups::group::{ClassicGroup, State};
use crate::groups::kind::Kind;
use crate::groups::member::{Member as ClassicMember, Waits};
use crate::groups::subscription::{PROTOCOL_TYPE, metadata, share};
use crate::ordered;

impl<W: Copy + Ord + Debug> Kind<W> {
    /// Lets somebody into the group as one of the newer kind, which it becomes if he is let in.
    pub fn upgraded<R>(
        &mut self,
        topics: &dyn Topics,
        turn: &mut Turn<'_, W>,
        enter: impl FnOnce(&mut ConsumerGroup<W>, &mut Turn<'_, W>) -> Result<R, Refused>,
    ) -> Result<R, Refused> {
        let classic = match self {
            Kind::Consumer(group) => return enter(group, turn),
            Kind::Classic(classic) => classic,
        };
        let mut group = upgrade(classic, topics, turn)?;
        let result = enter(&mut group, turn)?;
        if group.epoch == classic.generation {
            // Whoever has come wants nothing; what the classic leader has shared out may still be no plan of ours.
            group.plan(turn);
        }
        log::info!("group {:?} changes over to the newer protocol with {} members", group.name, group.len());
        *self = Kind::Consumer(group);
        Ok(result)
    }

    /// A group of the newer kind becomes a classic one when only classic members are left; done after each event.
    pub fn downgrade(&mut self, turn: &mut Turn<'_, W>) {
        if let Kind::Consumer(group) = self
            && group.changes_back(turn)
        {
            log::info!("group {:?} changes back to the classic protocol", group.name);
            *self = Kind::Classic(downgrade(group, turn));
        }
    }
}

impl<W: Copy + Ord + Debug> ConsumerGroup<W> {
    /// Whether only classic members are left. Then the broker plans no more, so their generation is still the newest
    /// one when they are told to meet.
    pub(super) fn changes_back(&self, turn: &Turn<'_, W>) -> bool {
        self.roster.is_all_classic() && self.len() <= turn.limits.group_max_size
    }
}

/// The same group as one of the newer kind.
fn upgrade<W: Copy + Ord + Debug>(
    classic: &ClassicGroup<W>,
    topics: &dyn Topics,
    turn: &mut Turn<'_, W>,
) -> Result<ConsumerGroup<W>, Refused> {
    if &*classic.protocol_type != PROTOCOL_TYPE {
        return Err(is_classic(&classic.name));
    }
    // Only then the group knows what its members read. Whoever asks tries again soon.
    if classic.state != State::Stable {
        let why = format!("group {} is sharing out by the classic protocol: wait until it has", classic.name);
        return Err(Refused::new(ErrorCode::CoordinatorLoadInProgress, why));
    }
    let mut group = ConsumerGroup::new(classic.name.clone(), turn.limits.assignors[0], classic.has_offsets);
    group.epoch = classic.generation;
    for (_, member) in classic.roster.members() {
        take_over(&mut group, member, &classic.protocol, topics, turn)?;
    }
    Ok(group)
}

fn take_over<W: Copy + Ord + Debug>(
    group: &mut ConsumerGroup<W>,
    classic: &ClassicMember<W>,
    protocol: &str,
    topics: &dyn Topics,
    turn: &Turn<'_, W>,
) -> Result<(), Refused> {
    let said = classic.metadata(protocol);
    let said = metadata(&said).map_err(|_| is_classic(&group.name))?;
    let names = ordered::set(said.topics.iter().map(|name| Arc::from(*name)));
    let (id, client) = (classic.id.clone(), (&*classic.client_id, &*classic.client_host));
    let mut member = Member::new(id, client.0, client.1, Liveness::Heartbeats);
    member.instance = classic.instance.clone();
    member.rack = said.rack.filter(|rack| !rack.is_empty()).map(Arc::from);
    member.rebalance_timeout_ms = classic.rebalance_timeout_ms;
    member.subscription = Subscription { names, pattern: None };
    member.topics = member.subscription.find(topics);
    member.classic = Some(Classic {
        session_timeout_ms: classic.session_timeout_ms,
        protocols: classic.protocols.clone(),
    });
    (member.epoch, member.epoch_before) = (group.epoch, group.epoch);
    // A leader may have given something to two.
    let mut reads = there(&share(&classic.assignment), topics);
    reads.retain(|partition| group.roster.holder(partition).is_none());
    member.target = reads.clone();
    let number = group.roster.add(member);
    group.roster.hold(number, reads, Partitions::new());
    group.restart_session(number, turn);
    Ok(())
}

/// The same group as a classic one, whose members are to meet.
fn downgrade<W: Copy + Ord + Debug>(group: &ConsumerGroup<W>, turn: &mut Turn<'_, W>) -> ClassicGroup<W> {
    let mut classic = ClassicGroup::new(group.name.clone());
    classic.has_offsets = group.has_offsets;
    classic.generation = group.epoch;
    classic.protocol_type = PROTOCOL_TYPE.into();
    classic.state = State::Stable;
    for (_, member) in group.roster.members() {
        let own = member.classic.as_ref().expect("all of them are classic");
        let number = classic.roster.add(ClassicMember {
            id: member.id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            session_timeout_ms: own.session_timeout_ms,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            protocols: own.protocols.clone(),
            assignment: Arc::default(),
            waits: Waits::Nothing,
            session: Default::default(),
            is_new: false,
            synced: true,
        });
        classic.restart_session(number, turn.now);
        classic.leader.get_or_insert(number);
    }
    classic.protocol = classic.roster.choose_protocol().expect("nobody is let in who shares no protocol");
    classic.rebalance("the last member of the newer protocol is gone", turn);
    classic
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Room, beat, join, of_one};
    use super::super::{Heartbeat, LEAVES};
    use crate::groups::assign::{Partitions, TopicPartition};
    use crate::groups::messages::{Answer, Join, Leaver, Sync, Who};
    use crate::groups::subscription::{share, write_share};
    use crate::groups::{Limits, testing};
    use krappy_wire::error::ErrorCode;

    const ALL: &[i32] = &[0, 1, 2, 3, 4, 5];

    fn room() -> Room {
        Room::with(Limits { initial_rebalance_delay_ms: 0, ..Limits::default() })
    }

    /// What a reader of topic `one` says to its leader.
    fn said(owned: &[i32]) -> Vec<u8> {
        let mut bytes = b"\0\x01\0\0\0\x01\0\x03one\xff\xff\xff\xff".to_vec();
        let shares = write_share(1, &[("one", owned.to_vec())].into());
        bytes.extend(&shares[2..shares.len() - 4]);
        bytes
    }

    fn who(member: &str, generation: i32) -> Who<'_> {
        Who { knows_epochs: false, ..testing::who(member, generation) }
    }

    /// A join by the classic protocol: the id and the generation, which the member leads if it is told so.
    fn joins(room: &mut Room, ask: Join<'_>, owned: &[i32]) -> Result<(String, i32, bool), ErrorCode> {
        let said = said(owned);
        let ask = Join { takes_id_first: false, protocols: vec![("range", &said)], ..ask };
        room.groups.join(1, &ask, &room.topics, room.now);
        room.groups.invariants();
        room.pass(0);
        match room.groups.take_answers().pop() {
            Some((_, Answer::Joined(told))) => {
                Ok((told.member.to_string(), told.generation, told.leader == told.member))
            }
            Some((_, Answer::NotJoined { code, .. })) => Err(code),
            other => panic!("a join is answered, not with {other:?}"),
        }
    }

    /// What it is given; a leader gives everything to itself.
    fn syncs(room: &mut Room, member: &str, generation: i32) -> Result<Partitions, ErrorCode> {
        let everything = write_share(1, &[("one", ALL.to_vec())].into());
        let assignments = vec![(member, &*everything)];
        let who = who(member, generation);
        let ask = Sync { group: "g", who, protocol_type: None, protocol: Some("range"), assignments };
        room.groups.sync(2, &ask, &room.topics, room.now);
        room.groups.invariants();
        match room.groups.take_answers().pop() {
            Some((_, Answer::Synced(synced))) => {
                Ok(of_one(&share(&synced.assignment).iter().map(|(_, number)| *number).collect::<Vec<_>>()))
            }
            Some((_, Answer::NotSynced(code))) => Err(code),
            other => panic!("a sync is answered, not with {other:?}"),
        }
    }

    fn lives(room: &mut Room, member: &str, generation: i32) -> Result<(), ErrorCode> {
        let result = room.groups.heartbeat("g", who(member, generation), room.now);
        room.groups.invariants();
        result
    }

    fn kind(room: &Room) -> &'static str {
        room.groups.list(&[], &[])[0].kind
    }

    /// A classic group of one member that reads everything; its id.
    fn classic(room: &mut Room) -> String {
        let (id, generation, leads) = joins(room, testing::join("g", ""), &[]).unwrap();
        assert!(leads && generation == 1);
        assert_eq!(syncs(room, &id, 1), Ok(of_one(ALL)));
        id
    }

    #[test]
    fn a_classic_member_reads_on_while_a_newer_one_comes_and_goes() {
        let mut room = room();
        let a = classic(&mut room);
        assert_eq!(room.hear(&join("b")), (2, Some(of_one(&[]))), "everything is read by the other");
        assert_eq!((kind(&room), room.groups.totals().members), ("consumer", 2));
        let described = room.groups.describe_consumer("g", &room.topics).unwrap();
        assert_eq!(described.members.iter().map(|m| m.classic).collect::<Vec<_>>(), [true, false]);
        assert_eq!(room.groups.may_commit("g", who(&a, 1), room.now), Ok(()));

        // It is to give back half of it, keeps its generation meanwhile, and gets the next one when it has.
        assert_eq!(lives(&mut room, &a, 1), Err(ErrorCode::RebalanceInProgress));
        assert_eq!(joins(&mut room, testing::join("g", &a), ALL), Ok((a.clone(), 1, false)));
        assert_eq!(syncs(&mut room, &a, 1), Ok(of_one(&[0, 1, 2])));
        assert_eq!(room.hear(&beat("b", 2)), (2, None), "it may be reading still");
        assert_eq!(lives(&mut room, &a, 1), Err(ErrorCode::RebalanceInProgress));
        assert_eq!(joins(&mut room, testing::join("g", &a), &[0, 1, 2]), Ok((a.clone(), 2, false)));
        assert_eq!(syncs(&mut room, &a, 2), Ok(of_one(&[0, 1, 2])));
        assert_eq!(room.hear(&beat("b", 2)), (2, Some(of_one(&[3, 4, 5]))));
        assert_eq!((lives(&mut room, &a, 2), room.state()), (Ok(()), "Stable"));
        assert_eq!(room.groups.may_commit("g", who(&a, 1), room.now), Err(ErrorCode::IllegalGeneration));

        room.hear(&beat("b", LEAVES));
        assert_eq!(kind(&room), "classic");
        assert_eq!(lives(&mut room, &a, 2), Err(ErrorCode::RebalanceInProgress));
        assert_eq!(joins(&mut room, testing::join("g", &a), &[0, 1, 2]), Ok((a.clone(), 3, true)));
        assert_eq!(syncs(&mut room, &a, 3), Ok(of_one(ALL)));
    }

    #[test]
    fn a_classic_member_that_gives_back_everything_before_it_joins_follows_in_one_step() {
        let mut room = room();
        let a = classic(&mut room);
        room.hear(&join("b"));
        assert_eq!(joins(&mut room, testing::join("g", &a), &[]), Ok((a.clone(), 2, false)));
        assert_eq!(syncs(&mut room, &a, 2), Ok(of_one(&[0, 1, 2])));
        assert_eq!(room.hear(&beat("b", 2)), (2, Some(of_one(&[3, 4, 5]))));
    }

    #[test]
    fn a_classic_member_that_waits_is_told_when_what_it_waits_for_is_free() {
        let mut room = room();
        room.hear(&join("b"));
        let (a, generation, leads) = joins(&mut room, testing::join("g", ""), &[]).unwrap();
        assert_eq!((generation, leads, syncs(&mut room, &a, 2)), (2, false, Ok(of_one(&[]))));
        assert_eq!(lives(&mut room, &a, 2), Ok(()));
        room.hear(&Heartbeat { owned: Some(of_one(ALL)), ..beat("b", 1) });
        room.hear(&Heartbeat { owned: Some(of_one(&[0, 1, 2])), ..beat("b", 1) });
        assert_eq!(lives(&mut room, &a, 2), Err(ErrorCode::RebalanceInProgress));
        joins(&mut room, testing::join("g", &a), &[]).unwrap();
        assert_eq!(syncs(&mut room, &a, 2), Ok(of_one(&[3, 4, 5])));
    }

    #[test]
    fn a_group_that_is_sharing_out_changes_over_when_it_has() {
        let mut room = room();
        let (a, ..) = joins(&mut room, testing::join("g", ""), &[]).unwrap();
        assert_eq!(room.ask(&join("b")), Err(ErrorCode::CoordinatorLoadInProgress));
        assert_eq!(kind(&room), "classic");
        syncs(&mut room, &a, 1).unwrap();
        let wrong = Heartbeat { pattern: Some("("), ..join("b") };
        assert_eq!(room.ask(&wrong), Err(ErrorCode::InvalidRegularExpression));
        assert_eq!((kind(&room), lives(&mut room, &a, 1)), ("classic", Ok(())), "nothing has changed");
        room.hear(&join("b"));
        assert_eq!(kind(&room), "consumer");
    }

    #[test]
    fn a_classic_member_that_does_not_do_its_part_is_removed_however_often_it_says_that_it_lives() {
        let mut room = room();
        let a = classic(&mut room);
        room.hear(&join("b"));
        for _ in 0..7 {
            lives(&mut room, &a, 1).unwrap_or_default();
            room.hear(&beat("b", 2));
            room.pass(9_000);
        }
        assert_eq!(lives(&mut room, &a, 1), Err(ErrorCode::UnknownMemberId));
        assert_eq!(room.hear(&beat("b", 2)), (3, Some(of_one(ALL))));
    }

    #[test]
    fn a_classic_member_is_removed_when_it_is_silent_for_its_own_session_or_leaves() {
        let mut room = room();
        let a = classic(&mut room);
        room.hear(&join("b"));
        room.pass(9_999);
        assert_eq!(room.groups.totals().members, 2);
        room.pass(1);
        assert_eq!(lives(&mut room, &a, 1), Err(ErrorCode::UnknownMemberId));
        let (c, ..) = joins(&mut room, testing::join("g", "c"), &[]).unwrap();
        assert_eq!(c, "c", "an id that was given out before is as good as any");
        let leaver = Leaver { member: &c, instance: None, reason: None };
        assert_eq!(room.groups.leave("g", &[leaver], room.now), Ok(vec![Ok(())]));
        assert_eq!((kind(&room), room.groups.totals().members), ("consumer", 1));
    }

    #[test]
    fn a_static_member_restarts_with_the_other_protocol_and_keeps_what_it_had() {
        let mut room = room();
        let one = |member| Join { instance: Some("one"), ..testing::join("g", member) };
        let newer = |ask| Heartbeat { instance: Some("one"), ..ask };
        let (a, ..) = joins(&mut room, one(""), &[]).unwrap();
        syncs(&mut room, &a, 1).unwrap();
        room.hear(&join("b"));
        let (epoch, reads) = room.hear(&newer(join("a2")));
        assert_eq!((epoch, reads), (2, Some(of_one(&[0, 1, 2]))));
        assert_eq!(lives(&mut room, &a, 1), Err(ErrorCode::UnknownMemberId));
        assert_eq!(room.hear(&beat("b", 2)), (2, Some(of_one(&[3, 4, 5]))));
        // And back, without having left.
        let (again, generation, _) = joins(&mut room, one(""), &[]).unwrap();
        assert_eq!((generation, syncs(&mut room, &again, 2)), (2, Ok(of_one(&[0, 1, 2]))));
        assert_eq!(room.ask(&newer(beat("a2", 2))), Err(ErrorCode::FencedInstanceId));
        assert_eq!(joins(&mut room, one("a2"), &[]), Err(ErrorCode::FencedInstanceId));
        let stranger = Join { instance: Some("two"), ..testing::join("g", "x") };
        assert_eq!(joins(&mut room, stranger, &[]), Err(ErrorCode::UnknownMemberId));
        assert_eq!(room.hear(&beat("b", 2)), (2, None), "nobody else has noticed");
    }

    #[test]
    fn only_consumers_that_share_a_protocol_join_a_group_of_both() {
        let mut room = room();
        classic(&mut room);
        room.hear(&join("b"));
        let connect = Join { protocol_type: "connect", ..testing::join("g", "") };
        assert_eq!(joins(&mut room, connect, &[]), Err(ErrorCode::InconsistentGroupProtocol));
        let said = said(&[]);
        let other = Join { protocols: vec![("sticky", &said)], ..testing::join("g", "") };
        room.groups.join(1, &other, &room.topics, room.now);
        let code = ErrorCode::InconsistentGroupProtocol;
        assert_eq!(room.groups.take_answers(), [(1, Answer::NotJoined { code, member: "".into() })]);
        let fits = Join { protocols: vec![("sticky", &said), ("range", &said)], ..testing::join("g", "") };
        room.groups.join(1, &fits, &room.topics, room.now);
        let answers = room.groups.take_answers();
        assert!(matches!(&answers[..], [(1, Answer::NotJoined { code: ErrorCode::MemberIdRequired, .. })]));
    }

    /// A member that does as it is told, by either protocol.
    #[derive(Default)]
    struct Reader {
        id: String,
        newer: bool,
        /// By the classic protocol: it gives back only what it must.
        cooperative: bool,
        epoch: i32,
        reads: Partitions,
    }

    impl Reader {
        fn owned(&self) -> Vec<i32> {
            self.reads.iter().map(|partition: &TopicPartition| partition.number).collect()
        }

        fn turn(&mut self, room: &mut Room) {
            if self.newer { self.beat(room) } else { self.live(room) }
        }

        fn beat(&mut self, room: &mut Room) {
            let id = self.id.clone();
            let ask = match self.epoch {
                0 => join(&id),
                epoch => Heartbeat { owned: Some(self.reads.clone()), ..beat(&id, epoch) },
            };
            match room.ask(&ask) {
                Ok(heard) => {
                    self.epoch = heard.epoch;
                    self.reads = heard.assignment.unwrap_or(std::mem::take(&mut self.reads));
                }
                Err(ErrorCode::CoordinatorLoadInProgress) => {}
                Err(_) => (self.epoch, self.reads) = (0, Partitions::new()),
            }
        }

        fn live(&mut self, room: &mut Room) {
            if self.epoch > 0 && lives(room, &self.id, self.epoch).is_ok() {
                return;
            }
            if !self.cooperative {
                self.reads.clear();
            }
            let id = self.id.clone();
            let said = said(&self.owned());
            let ask = Join {
                takes_id_first: false,
                protocols: vec![("range", &said)],
                rebalance_timeout_ms: 10_000,
                ..testing::join("g", &id)
            };
            room.groups.join(1, &ask, &room.topics, room.now);
            match room.groups.take_answers().pop() {
                Some((_, Answer::Joined(told))) => {
                    (self.id, self.epoch) = (told.member.to_string(), told.generation);
                    // Of a classic group that is left there is one member, which gives everything to itself.
                    match syncs(room, &self.id.clone(), self.epoch) {
                        Ok(reads) => self.reads = reads,
                        Err(_) => self.epoch = 0,
                    }
                }
                _ => (self.id, self.epoch, self.reads) = (String::new(), 0, Partitions::new()),
            }
        }
    }

    #[test]
    fn no_partition_has_two_readers_however_members_of_both_protocols_come_and_go() {
        for seed in 0..200_u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut below = |most: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % most
            };
            let mut room = room();
            // One that stays and speaks the newer protocol, so that no classic leader has to share out.
            let mut readers = vec![Reader { id: "n".into(), newer: true, ..Reader::default() }];
            for step in 0..60 {
                match below(8) {
                    0 if step < 40 && readers.len() < 6 => readers.push(Reader {
                        newer: below(2) == 0,
                        cooperative: below(2) == 0,
                        id: String::new(),
                        ..Reader::default()
                    }),
                    1 if step < 40 && readers.len() > 1 => {
                        // It dies, and what it reads is its own until its session ends.
                        let place = 1 + below(readers.len() as u64 - 1) as usize;
                        readers.remove(place);
                    }
                    _ => {}
                }
                for (number, reader) in readers.iter_mut().enumerate() {
                    if reader.newer && reader.id.is_empty() {
                        reader.id = format!("n{seed}-{step}-{number}");
                    }
                    reader.turn(&mut room);
                }
                let mut read = Partitions::new();
                for partition in readers.iter().flat_map(|reader| &reader.reads) {
                    assert!(
                        read.insert(*partition),
                        "seed {seed}, step {step}: {partition:?} has two readers"
                    );
                }
                room.pass(1_000);
            }
            for _ in 0..60 {
                readers.iter_mut().for_each(|reader| reader.turn(&mut room));
                room.pass(1_000);
            }
            let all: Partitions = readers.iter().flat_map(|reader| reader.reads.clone()).collect();
            assert_eq!((all, room.state()), (of_one(ALL), "Stable"), "seed {seed}: all is read at last");
        }
    }
}
