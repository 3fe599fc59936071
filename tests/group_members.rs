//! Streams that are members of groups, asked of the real broker on the wire: who reads what, and from where.

mod common;

use common::Broker;
use common::client::{Answer, Client};
use krappy_wire::error::ErrorCode;
use krappy_wire::native::{Commit, CommitAt, Head, Reply, Request, Start};

const TOPIC: &str = "orders";
const GROUP: &str = "billing";

fn register(start: Start) -> Request<'static> {
    Request::RegisterConsumer { topic: TOPIC, group: GROUP, partition: -1, start }
}

/// A stream that is a member.
struct Member {
    client: Client,
    stream: u32,
    registration: u32,
    name: String,
}

impl Member {
    fn join(broker: &Broker, stream: u32) -> Member {
        let mut client = broker.client();
        let registration = client.send(stream, &register(Start::Committed));
        let answer = client.answer_to(registration);
        let Reply::ConsumerRegistered { member, positions } = answer.reply() else {
            panic!("{:?}", answer.reply())
        };
        assert!(positions.is_empty());
        Member { client, stream, registration, name: member.to_owned() }
    }

    /// What it is told next about what it reads: whether it gives something back, and its positions.
    fn told(&mut self) -> (u32, bool, Vec<(i32, i64)>) {
        let answer = self.client.answer_to(self.registration);
        assert_eq!(answer.head, Head { stream: self.stream, correlation: self.registration });
        match answer.reply() {
            Reply::Assigned(told) => (told.number, told.release, told.positions),
            other => panic!("{other:?}"),
        }
    }

    fn released(&mut self, number: u32) {
        let answer = self.client.call(self.stream, &Request::Released { number });
        assert_eq!(answer.reply(), Reply::Ack);
    }

    fn commit(&mut self, partition: i32, offset: i64) -> Answer {
        let positions = vec![CommitAt { topic: TOPIC, partition, offset, metadata: "" }];
        self.client.call(self.stream, &Request::Commit(Commit { group: "", positions }))
    }

    fn close(&mut self) {
        assert_eq!(self.client.call(self.stream, &Request::CloseStream).reply(), Reply::Ack);
    }
}

/// A broker with a topic of four partitions, of which the first has ten records.
fn broker() -> Broker {
    let broker = Broker::ephemeral(&[]);
    let mut client = broker.client();
    client.create_topic(TOPIC, 4, vec![]);
    client.produce_to(1, TOPIC, false);
    for _ in 0..10 {
        client.publish(1, b"record");
    }
    broker
}

const ALL: [(i32, i64); 4] = [(0, 0), (1, 0), (2, 0), (3, 0)];

#[test]
fn members_share_partitions_and_give_back_before_others_get() {
    let broker = broker();
    let mut first = Member::join(&broker, 1);
    assert_eq!((first.name.clone().as_str(), first.told()), ("billing_0", (1, false, ALL.to_vec())));
    let mut second = Member::join(&broker, 7);
    assert_eq!((second.name.clone().as_str(), second.told()), ("billing_1", (1, false, vec![])));
    let (number, release, kept) = first.told();
    assert_eq!((number, release, kept.len()), (2, true, 2));
    second.client.ping();
    first.released(1);
    second.client.ping();
    first.released(2);
    let (number, release, given) = second.told();
    assert_eq!((number, release, given.len()), (2, false, 2), "only now, and all at once");
    let mut all = [kept.clone(), given.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, ALL);

    first.close();
    let (_, release, all) = second.told();
    assert_eq!((release, all.len()), (false, 4));
    let mut third = Member::join(&broker, 1);
    assert_eq!(third.name, "billing_0", "the lowest name that is free");
    assert_eq!(third.told().2, vec![]);
    drop(third);
    let (_, release, kept) = second.told();
    assert!(release && kept.len() == 2);
    second.released(4);
    assert_eq!(second.told().2.len(), 4, "whoever has hung up has left");
}

#[test]
fn more_members_than_partitions_wait_and_know_it() {
    let broker = broker();
    let mut members: Vec<Member> = (0..4).map(|_| Member::join(&broker, 1)).collect();
    common::eventually("each has one partition", || {
        let shares: Vec<usize> = members.iter_mut().map(follow).collect();
        shares == [1, 1, 1, 1]
    });
    let mut fifth = Member::join(&broker, 1);
    assert_eq!((fifth.name.clone().as_str(), fifth.told()), ("billing_4", (1, false, vec![])));
    // A poll waits, as one of a partition without records does.
    assert!(fifth.client.poll(1, 50).is_empty());
    members[2].close();
    assert_eq!(fifth.told().2.len(), 1);
}

/// Does what a member has been told in the meantime, and says how much it reads.
fn follow(member: &mut Member) -> usize {
    let group = member.client.call(0, &Request::DescribeGroup { group: GROUP });
    let Reply::Group(info) = group.reply() else { panic!("{:?}", group.reply()) };
    let share = info.members.iter().find(|m| m.id == member.name).map_or(0, |m| m.share.len());
    while let Some(answer) = member.client.passed_answer(member.registration) {
        if let Reply::Assigned(told) = answer.reply()
            && told.release
        {
            member.released(told.number);
        }
    }
    share
}

#[test]
fn a_group_is_seen_where_its_members_read() {
    let broker = broker();
    let mut member = Member::join(&broker, 1);
    assert_eq!(member.told().2, ALL);
    let mut outside = broker.client();
    let mut seen = || {
        let group = outside.call(0, &Request::DescribeGroup { group: GROUP });
        let Reply::Group(info) = group.reply() else { panic!("{:?}", group.reply()) };
        info.positions[0].read.map(|read| (read.offset, read.returned_to, read.inferred))
    };
    assert_eq!(seen(), None);
    assert_eq!(member.client.poll(1, 0).len(), 10);
    assert_eq!(seen(), Some((0, -1, false)), "it has asked for the first record");
    assert!(member.client.poll(1, 0).is_empty());
    assert_eq!(seen(), Some((10, -1, false)), "and for the one behind the last");
    let mut stranger = broker.client();
    stranger.consume_from(1, TOPIC, Start::Earliest);
    stranger.poll(1, 0);
    assert_eq!(seen(), Some((10, -1, false)), "who is not in the group does not count");
    // Nothing was committed, so the next member begins again.
    drop(member);
    let mut next = Member::join(&broker, 1);
    while next.told().2.len() < ALL.len() {}
    assert_eq!(next.client.poll(1, 0).len(), 10);
    assert_eq!(seen(), Some((0, 0, false)), "the group has gone back");
}

#[test]
fn a_member_reads_from_where_the_group_has_committed() {
    let broker = broker();
    let mut member = Member::join(&broker, 1);
    member.told();
    let read = member.client.poll(1, 1_000);
    assert_eq!(read.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert_eq!(member.commit(0, 4).reply(), Reply::Each { errors: vec![0] });
    let outside = Commit { group: GROUP, positions: vec![] };
    let mut stranger = broker.client();
    assert_eq!(stranger.call(0, &Request::Commit(outside)).error(), Some(ErrorCode::NonEmptyGroup));
    member.close();

    let mut next = Member::join(&broker, 1);
    assert_eq!(next.told().2[0], (0, 4));
    assert_eq!(next.client.poll(1, 1_000)[0].0, 4, "what was not committed comes again");
}

#[test]
fn a_member_commits_after_shares_have_changed_and_after_others_have_come_that_change_nothing_for_it() {
    let broker = broker();
    let mut members = vec![Member::join(&broker, 1)];
    members[0].told();
    for _ in 0..5 {
        members.push(Member::join(&broker, 1));
        common::eventually("nobody has to give back anything", || {
            let before: Vec<usize> = members.iter_mut().map(follow).collect();
            before == members.iter_mut().map(follow).collect::<Vec<_>>()
        });
        for member in &mut members {
            let committed = member.commit(0, 1);
            assert_eq!(committed.reply(), Reply::Each { errors: vec![0] }, "{}", member.name);
        }
    }
}

#[test]
fn wrong_registrations_are_refused_and_leave_no_stream() {
    let broker = broker();
    let mut client = broker.client();
    let of = |topic, group, partition, start| Request::RegisterConsumer { topic, group, partition, start };
    let long = "x".repeat(256);
    for (request, code) in [
        (of(TOPIC, GROUP, 0, Start::Committed), ErrorCode::InvalidRequest),
        (of(TOPIC, GROUP, -1, Start::Offset(3)), ErrorCode::InvalidRequest),
        (of(TOPIC, "", -1, Start::Committed), ErrorCode::InvalidRequest),
        (of("nowhere", GROUP, -1, Start::Committed), ErrorCode::UnknownTopicOrPartition),
        (of(TOPIC, &long, -1, Start::Committed), ErrorCode::InvalidGroupId),
    ] {
        assert_eq!(client.call(1, &request).error(), Some(code), "{request:?}");
        assert_eq!(client.call(1, &Request::CloseStream).error(), Some(ErrorCode::UnknownStream));
    }
    let released = client.call(1, &Request::Released { number: 1 });
    assert_eq!(released.error(), Some(ErrorCode::UnknownStream));
    // Whoever was a member once must not believe that it has committed.
    let at = CommitAt { topic: TOPIC, partition: 0, offset: 1, metadata: "" };
    let committed = client.call(1, &Request::Commit(Commit { group: "", positions: vec![at] }));
    assert_eq!(committed.error(), Some(ErrorCode::UnknownStream));
    client.consume_from(1, TOPIC, Start::Earliest);
    let released = client.call(1, &Request::Released { number: 1 });
    assert_eq!(released.error(), Some(ErrorCode::InvalidRequest));
}

#[test]
fn a_member_without_a_commit_begins_where_it_says() {
    let broker = broker();
    let mut client = broker.client();
    let registration = client.send(1, &register(Start::Latest));
    client.answer_to(registration);
    let answer = client.answer_to(registration);
    let Reply::Assigned(told) = answer.reply() else { panic!("{:?}", answer.reply()) };
    assert_eq!(told.positions[0], (0, 10));
}
