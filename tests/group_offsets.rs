//! What groups rely on, asked of the real broker on the wire: what was committed is there after any end of the process,
//! belongs to the topic that was meant, and is written by nobody else; whoever waits in a group is not left waiting.

mod common;

mod kafka {
    pub mod peer;
}

use common::client::Client;
use common::{Broker, TempDir};
use kafka::peer::{Peer, decoded, join_group, produce, request};
use krappy::kafka::delete_topics::DeleteTopicsRequest;
use krappy::kafka::fetch::{FetchPartition, FetchRequest, FetchTopic};
use krappy::kafka::heartbeat::HeartbeatRequest;
use krappy::kafka::metadata::{MetadataRequest, MetadataRequestTopic};
use krappy::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use krappy::kafka::offset_fetch::OffsetFetchRequest;
use krappy::kafka::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use krappy::kafka::table::Answer;
use krappy_wire::error::ErrorCode;
use krappy_wire::native::{Commit, CommitAt, ForgetOffsets, GroupLine, Reply, Request};

const GROUP: &str = "billing";
const TOPIC: &str = "orders";
const INTERNAL: &str = "__consumer_offsets";
/// No generation and no member.
const OUTSIDE: (i32, &str) = (-1, "");

/// Sends a request and looks at its answer.
fn ask<T>(peer: &mut Peer, key: i16, version: i16, bytes: &[u8], look: impl FnOnce(&Answer<'_>) -> T) -> T {
    peer.send(bytes);
    decoded(&peer.answer().expect("it is answered"), key, version, look)
}

fn position(partition_index: i32, committed_offset: i64, words: &str) -> OffsetCommitRequestPartition<'_> {
    let committed_metadata = Some(words);
    OffsetCommitRequestPartition {
        partition_index,
        committed_offset,
        committed_metadata,
        ..Default::default()
    }
}

/// Commits as a member of a generation, or from outside of the group; the errors of the partitions.
fn commit(
    peer: &mut Peer,
    partitions: Vec<OffsetCommitRequestPartition<'_>>,
    (generation, member_id): (i32, &str),
) -> Vec<i16> {
    let topics = vec![OffsetCommitRequestTopic { name: TOPIC, partitions, ..Default::default() }];
    let commit = OffsetCommitRequest {
        group_id: GROUP,
        generation_id_or_member_epoch: generation,
        member_id,
        topics,
        ..Default::default()
    };
    let bytes = request(commit, 8);
    ask(peer, 8, 8, &bytes, |answer| match answer {
        Answer::OffsetCommit(answer) => answer.topics[0].partitions.iter().map(|p| p.error_code).collect(),
        other => panic!("{other:?}"),
    })
}

/// Everything that the group has committed: partition, offset, words.
fn committed(peer: &mut Peer) -> Vec<(i32, i64, String)> {
    let bytes = request(OffsetFetchRequest { group_id: GROUP, topics: None, ..Default::default() }, 7);
    ask(peer, 9, 7, &bytes, |answer| match answer {
        Answer::OffsetFetch(answer) => {
            assert_eq!(answer.error_code, 0);
            let all = answer.topics.iter().flat_map(|topic| &topic.partitions);
            let told = |words: &Option<_>| words.as_deref().map(str::to_owned).unwrap_or_default();
            all.map(|p| (p.partition_index, p.committed_offset, told(&p.metadata))).collect()
        }
        other => panic!("{other:?}"),
    })
}

fn join(member_id: &str) -> Vec<u8> {
    join_group(GROUP, member_id, b"")
}

/// The error, the generation and the member's id of an answer to JoinGroup.
fn joined(answer: &Answer<'_>) -> (i16, i32, String) {
    match answer {
        Answer::JoinGroup(answer) => {
            (answer.error_code, answer.generation_id, answer.member_id.clone().into_owned())
        }
        other => panic!("{other:?}"),
    }
}

/// A member alone in its group, with a share that means nothing.
fn settle(peer: &mut Peer) -> (i32, String) {
    settle_with(peer, b"all")
}

/// A member alone in its group, with this share.
fn settle_with(peer: &mut Peer, assignment: &[u8]) -> (i32, String) {
    let (error, generation, member) = ask(peer, 11, 3, &join(""), joined);
    assert_eq!(error, 0);
    let assignments = vec![SyncGroupRequestAssignment { member_id: &member, assignment }];
    let sync = SyncGroupRequest {
        group_id: GROUP,
        generation_id: generation,
        member_id: &member,
        assignments,
        ..Default::default()
    };
    let share = ask(peer, 14, 3, &request(sync, 3), |answer| match answer {
        Answer::SyncGroup(answer) => (answer.error_code, answer.assignment.to_vec()),
        other => panic!("{other:?}"),
    });
    assert_eq!(share, (0, assignment.to_vec()));
    (generation, member)
}

fn heartbeat(peer: &mut Peer, generation_id: i32, member_id: &str) -> i16 {
    let beat = HeartbeatRequest { group_id: GROUP, generation_id, member_id, ..Default::default() };
    ask(peer, 12, 3, &request(beat, 3), |answer| match answer {
        Answer::Heartbeat(answer) => answer.error_code,
        other => panic!("{other:?}"),
    })
}

#[test]
fn what_was_committed_is_there_after_a_kill_and_after_a_stop() {
    let data = TempDir::new("group-offsets");
    let mut broker = Broker::on(data.path(), &["--num-partitions", "3"]);
    let mut peer = Peer::connect(broker.addr);
    peer.create(TOPIC, &[]);
    assert_eq!(commit(&mut peer, vec![position(0, 7, "first"), position(0, 9, "last")], OUTSIDE), [0, 0]);
    for round in 0..4 {
        if round % 2 == 0 {
            broker.kill();
        } else {
            assert!(broker.stop().success());
        }
        broker = Broker::on(data.path(), &[]);
        let mut peer = Peer::connect(broker.addr);
        assert_eq!(committed(&mut peer), [(0, 9 + round, "last".to_owned())], "start {round}");
        assert_eq!(commit(&mut peer, vec![position(0, 10 + round, "last")], OUTSIDE), [0]);
    }
}

#[test]
fn a_topic_that_is_made_again_begins_without_committed_offsets() {
    let data = TempDir::new("group-again");
    let mut broker = Broker::on(data.path(), &[]);
    let mut peer = Peer::connect(broker.addr);
    peer.create(TOPIC, &[]);
    assert_eq!(commit(&mut peer, vec![position(0, 7, "")], OUTSIDE), [0]);
    let delete = DeleteTopicsRequest { topic_names: vec![TOPIC], ..Default::default() };
    let deleted = ask(&mut peer, 20, 4, &request(delete, 4), |answer| match answer {
        Answer::DeleteTopics(answer) => answer.responses[0].error_code,
        other => panic!("{other:?}"),
    });
    assert_eq!(deleted, 0);
    peer.create(TOPIC, &[]);
    assert_eq!(committed(&mut peer), []);
    broker.kill();
    let broker = Broker::on(data.path(), &[]);
    assert_eq!(committed(&mut Peer::connect(broker.addr)), []);
}

#[test]
fn the_topic_of_offsets_is_told_and_written_by_the_broker_alone() {
    let broker = Broker::ephemeral(&[]);
    let mut peer = Peer::connect(broker.addr);
    peer.create(TOPIC, &[]);
    assert_eq!(commit(&mut peer, vec![position(0, 7, "")], OUTSIDE), [0]);
    let named = MetadataRequestTopic { name: Some(INTERNAL), ..Default::default() };
    let metadata = MetadataRequest { topics: Some(vec![named]), ..Default::default() };
    let told = ask(&mut peer, 3, 8, &request(metadata, 8), |answer| match answer {
        Answer::Metadata(answer) => (answer.topics[0].error_code, answer.topics[0].is_internal),
        other => panic!("{other:?}"),
    });
    assert_eq!(told, (0, true));
    let refused = ask(&mut peer, 0, 8, &produce(INTERNAL, 0, -1, b"anything"), |answer| match answer {
        Answer::Produce(answer) => answer.responses[0].partition_responses[0].error_code,
        other => panic!("{other:?}"),
    });
    let delete = DeleteTopicsRequest { topic_names: vec![INTERNAL], ..Default::default() };
    let kept = ask(&mut peer, 20, 4, &request(delete, 4), |answer| match answer {
        Answer::DeleteTopics(answer) => answer.responses[0].error_code,
        other => panic!("{other:?}"),
    });
    assert_eq!((refused, kept), (17, 17));
    assert_eq!(committed(&mut peer), [(0, 7, String::new())]);
}

#[test]
fn members_are_forgotten_with_the_process_and_what_they_committed_is_not() {
    let data = TempDir::new("group-members");
    let mut broker = Broker::on(data.path(), &[]);
    let mut peer = Peer::connect(broker.addr);
    peer.create(TOPIC, &[]);
    let (generation, member) = settle(&mut peer);
    assert_eq!(heartbeat(&mut peer, generation, &member), 0);
    let mut as_member =
        |generation| commit(&mut peer, vec![position(0, 5, "")], (generation, member.as_str()));
    // Of another generation: ILLEGAL_GENERATION.
    assert_eq!([generation, generation + 1].map(&mut as_member), [vec![0], vec![22]]);
    // From outside, while there are members: UNKNOWN_MEMBER_ID.
    assert_eq!(commit(&mut peer, vec![position(0, 99, "")], OUTSIDE), [25]);
    broker.kill();
    let broker = Broker::on(data.path(), &[]);
    let mut peer = Peer::connect(broker.addr);
    assert_eq!(heartbeat(&mut peer, generation, &member), 25);
    assert_eq!(committed(&mut peer), [(0, 5, String::new())]);
    settle(&mut peer);
}

#[test]
fn whoever_waits_in_a_group_is_sent_away_when_the_broker_stops() {
    let mut broker = Broker::ephemeral(&[]);
    let mut first = Peer::connect(broker.addr);
    let (generation, member) = settle(&mut first);
    // The first member does not come back, so the second one waits for it.
    let mut second = Peer::connect(broker.addr);
    second.send(&join(""));
    // REBALANCE_IN_PROGRESS.
    common::eventually("the second member has arrived", || heartbeat(&mut first, generation, &member) == 27);
    assert!(broker.stop().success());
    let frame = second.answer().expect("it is answered");
    // COORDINATOR_NOT_AVAILABLE: look for it again.
    assert_eq!(decoded(&frame, 11, 3, joined).0, 15);
}

/// Whoever is outside sees members, what they read and what is left, and cannot move or delete the group.
#[test]
fn from_outside_a_group_with_members_is_seen_and_not_changed() {
    let broker = Broker::ephemeral(&[]);
    let mut peer = Peer::connect(broker.addr);
    let mut native = broker.client();
    native.create_topic(TOPIC, 3, vec![]);
    native.produce_to(1, TOPIC, false);
    for _ in 0..5 {
        native.publish(1, b"record");
    }
    let (generation, member) = settle(&mut peer);
    assert_eq!(commit(&mut peer, vec![position(0, 2, "half way")], (generation, &member)), [0]);

    let group = native.call(0, &Request::DescribeGroup { group: GROUP });
    let Reply::Group(info) = group.reply() else { panic!("{:?}", group.reply()) };
    let line =
        GroupLine { name: GROUP, state: "Stable", kind: "classic", members: 1, topics: 1, ..info.line };
    assert_eq!(info.line, line);
    assert_eq!(
        (info.members[0].id, info.members[0].share.len()),
        (&*member, 0),
        "its share is no list of topics"
    );
    let told: Vec<_> = info.positions.iter().map(|at| (at.partition, at.offset, at.lag())).collect();
    assert_eq!((told[1], told[2]), ((1, -1, None), (2, -1, None)));
    assert_eq!((told[0].1, info.positions[0].metadata), (2, "half way"));
    assert_eq!(told[0].2, Some(info.positions[0].high_watermark - 2));

    let at = CommitAt { topic: TOPIC, partition: 0, offset: 0, metadata: "" };
    let forget = ForgetOffsets { group: GROUP, partitions: vec![(TOPIC, 0)] };
    for (request, code) in [
        (Request::Commit(Commit { group: GROUP, positions: vec![at] }), ErrorCode::NonEmptyGroup),
        (Request::DeleteGroup { group: GROUP }, ErrorCode::NonEmptyGroup),
        (Request::DescribeGroup { group: "another" }, ErrorCode::GroupIdNotFound),
        (Request::ForgetOffsets(ForgetOffsets { group: "another", ..forget }), ErrorCode::GroupIdNotFound),
    ] {
        assert_eq!(native.call(0, &request).error(), Some(code), "{request:?}");
    }
    assert_eq!(committed(&mut peer), [(0, 2, "half way".to_owned())]);
    assert_eq!(heartbeat(&mut peer, generation, &member), 0);
}

/// A fetch names no group, so it is the name and the address of its client that tell.
#[test]
fn a_group_of_kafkas_clients_is_seen_where_the_client_of_its_member_reads() {
    let broker = Broker::ephemeral(&[]);
    let (mut peer, mut native) = (Peer::connect(broker.addr), broker.client());
    native.create_topic(TOPIC, 2, vec![]);
    // Version 0, one topic, its name, one partition, number 0, no user data.
    let share = [b"\0\0\0\0\0\x01\0\x06orders\0\0\0\x01\0\0\0\0".as_slice(), &[0xff; 4]].concat();
    let (generation, member) = settle_with(&mut peer, &share);
    assert_eq!(commit(&mut peer, vec![position(0, 0, "")], (generation, &member)), [0]);
    native.produce_to(1, TOPIC, false);
    for _ in 0..4 {
        native.publish(1, b"record");
    }
    let mut fetch = |index, fetch_offset| {
        let partition = FetchPartition {
            partition: index,
            fetch_offset,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let topic = FetchTopic { topic: TOPIC, partitions: vec![partition], ..Default::default() };
        let fetch = FetchRequest { topics: vec![topic], max_bytes: 1 << 20, ..Default::default() };
        peer.send(&request(fetch, 11));
        peer.answer().expect("it is answered");
    };
    let mut seen = |partition: usize| {
        let group = native.call(0, &Request::DescribeGroup { group: GROUP });
        let Reply::Group(info) = group.reply() else { panic!("{:?}", group.reply()) };
        info.positions[partition]
            .read
            .map(|read| (read.offset, read.returned_to, read.returns, read.inferred))
    };
    assert_eq!(seen(0), None, "it has not read yet");
    fetch(0, 0);
    assert_eq!(seen(0), Some((0, -1, 0, true)));
    for offset in [3, 1, 3, 1, 3] {
        fetch(0, offset);
    }
    assert_eq!(seen(0), Some((3, 1, 2, true)), "it has gone back to the same record twice");
    fetch(1, 0);
    assert_eq!(seen(1), None, "the group was not given this one, so somebody else reads it");
}

#[test]
fn groups_are_listed_in_pages() {
    let broker = Broker::ephemeral(&[]);
    let mut native = broker.client();
    native.create_topic(TOPIC, 1, vec![]);
    for group in ["a", "b", "c", "d"] {
        let positions = vec![
            CommitAt { topic: TOPIC, partition: 0, offset: 0, metadata: "" },
            CommitAt { topic: "nowhere", partition: 0, offset: 0, metadata: "" },
        ];
        let answer = native.call(0, &Request::Commit(Commit { group, positions }));
        let unknown = ErrorCode::UnknownTopicOrPartition.number();
        assert_eq!(answer.reply(), Reply::Each { errors: vec![0, unknown] });
    }
    let mut page = |after, limit| {
        let answer = native.call(0, &Request::ListGroups { after, limit });
        let Reply::Groups(page) = answer.reply() else { panic!("{:?}", answer.reply()) };
        let names: Vec<_> = page.groups.iter().map(|line| (line.name.to_owned(), line.lag)).collect();
        (names, page.more)
    };
    let named = |names: &[&str]| -> Vec<_> { names.iter().map(|name| ((*name).to_owned(), 0)).collect() };
    assert_eq!(page("", 0), (named(&["a", "b", "c", "d"]), false));
    assert_eq!(page("", 3), (named(&["a", "b", "c"]), true));
    assert_eq!(page("bb", 2), (named(&["c", "d"]), false));
    assert_eq!(page("d", 2), (vec![], false));
}

/// What the broker tells of the group: its lag, and what it has lost.
fn lag_and_lost(native: &mut Client) -> (i64, u64) {
    let group = native.call(0, &Request::DescribeGroup { group: GROUP });
    let Reply::Group(info) = group.reply() else { panic!("{:?}", group.reply()) };
    (info.line.lag, info.line.lost)
}

fn commit_natively(native: &mut Client, offset: i64) {
    let positions = vec![CommitAt { topic: TOPIC, partition: 0, offset, metadata: "" }];
    let answer = native.call(0, &Request::Commit(Commit { group: GROUP, positions }));
    assert_eq!(answer.reply(), Reply::Each { errors: vec![0] });
}

#[test]
fn records_that_are_deleted_before_a_group_has_read_them_are_counted() {
    let broker = Broker::ephemeral(&[]);
    let mut native = broker.client();
    native.produce_to(1, TOPIC, false);
    for _ in 0..10 {
        native.publish(1, b"record");
    }
    commit_natively(&mut native, 4);
    let trim = |native: &mut Client, offset| {
        let answer = native.call(0, &Request::DeleteRecords { topic: TOPIC, partition: 0, offset });
        assert_eq!(answer.error(), None);
    };
    trim(&mut native, 3);
    assert_eq!(lag_and_lost(&mut native), (6, 0), "it has read all of them");
    trim(&mut native, 6);
    assert_eq!(lag_and_lost(&mut native), (4, 2));
    trim(&mut native, 9);
    assert_eq!(lag_and_lost(&mut native), (1, 5), "those that were gone before are not counted twice");
    broker.says("has not read 3 records of orders/0, offsets 6 to 8");
}

#[test]
fn retention_waits_for_the_groups_that_a_topic_names() {
    let broker = Broker::ephemeral(&["--log-retention-check-interval-ms", "20"]);
    let mut native = broker.client();
    let settings = vec![
        ("segment.bytes", "1024"),
        ("retention.bytes", "0"),
        ("retention.wait.groups", "another,billing"),
        ("retention.wait.bytes", "100000"),
    ];
    native.create_topic(TOPIC, 1, settings);
    native.produce_to(1, TOPIC, false);
    let start = |native: &mut Client| {
        let topic = native.call(0, &Request::DescribeTopic { topic: TOPIC });
        let Reply::Topic(info) = topic.reply() else { panic!("{:?}", topic.reply()) };
        info.partitions[0].log_start
    };
    commit_natively(&mut native, 0);
    let at = CommitAt { topic: TOPIC, partition: 0, offset: 10_000_000, metadata: "" };
    native.call(0, &Request::Commit(Commit { group: "another", positions: vec![at] }));
    let mut published = 0;
    while published < 50 {
        published = native.publish(1, &[7; 500]);
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(start(&mut native), 0, "one of the two has read nothing");
    commit_natively(&mut native, 30);
    common::eventually("what both have read is gone", || start(&mut native) >= 25);
    assert!(start(&mut native) <= 30 && lag_and_lost(&mut native).1 == 0, "and nothing else is");
    while native.publish(1, &[7; 500]) < 400 {}
    common::eventually("it is too much to be kept", || start(&mut native) > 30);
    common::eventually("and that is counted", || lag_and_lost(&mut native).1 > 0);
}

#[test]
fn offsets_expire_only_when_that_was_asked_for_and_nobody_is_in_the_group() {
    let flags = ["--offsets-retention-minutes", "0", "--log-retention-check-interval-ms", "20"];
    let broker = Broker::ephemeral(&flags);
    let mut peer = Peer::connect(broker.addr);
    peer.create(TOPIC, &[]);
    let (generation, member) = settle(&mut peer);
    assert_eq!(commit(&mut peer, vec![position(0, 7, "")], (generation, &member)), [0]);
    let mut native = broker.client();
    let positions = vec![CommitAt { topic: TOPIC, partition: 0, offset: 5, metadata: "" }];
    native.call(0, &Request::Commit(Commit { group: "empty", positions }));
    let gone = Some(ErrorCode::GroupIdNotFound);
    common::eventually("the offsets of a group without members expire", || {
        native.call(0, &Request::DescribeGroup { group: "empty" }).error() == gone
    });
    assert_eq!(committed(&mut peer), [(0, 7, String::new())]);
}
