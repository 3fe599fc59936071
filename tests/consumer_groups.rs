//! Consumer groups (KIP-848) asked of the real broker on the wire: topics that come, grow and go are shared out anew,
//! members commit in their epoch, and a start of the broker makes them join again, also beside members by the classic
//! protocol, without losing what they committed.

mod common;

mod kafka {
    pub mod peer;
}

use common::{Broker, TempDir};
use kafka::peer::{Peer, decoded, join_group, request};
use krappy::kafka::consumer_group_describe::ConsumerGroupDescribeRequest;
use krappy::kafka::consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, TopicPartitions};
use krappy::kafka::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use krappy::kafka::delete_topics::DeleteTopicsRequest;
use krappy::kafka::heartbeat::HeartbeatRequest;
use krappy::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use krappy::kafka::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup};
use krappy::kafka::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use krappy::kafka::table::Answer;

const GROUP: &str = "billing";
const TOPIC: &str = "orders";
const UNKNOWN_MEMBER: i16 = 25;
const STALE_EPOCH: i16 = 113;
const REBALANCE_IN_PROGRESS: i16 = 27;

/// What a member has heard: the error, its epoch, and what it is to read if it is told.
type Heard = (i16, i32, Option<Vec<TopicPartitions>>);

/// Sends a request and looks at its answer.
fn ask<T>(peer: &mut Peer, key: i16, version: i16, bytes: &[u8], look: impl FnOnce(&Answer<'_>) -> T) -> T {
    peer.send(bytes);
    decoded(&peer.answer().expect("it is answered"), key, version, look)
}

fn heartbeat(peer: &mut Peer, ask_it: ConsumerGroupHeartbeatRequest<'_>) -> Heard {
    ask(peer, 68, 1, &request(ask_it, 1), |answer| match answer {
        Answer::ConsumerGroupHeartbeat(heard) => {
            let copy = |topic: &TopicPartitions| TopicPartitions {
                topic_id: topic.topic_id,
                partitions: topic.partitions.clone(),
            };
            let told = heard.assignment.as_ref().map(|a| a.topic_partitions.iter().map(copy).collect());
            (heard.error_code, heard.member_epoch, told)
        }
        other => panic!("{other:?}"),
    })
}

fn join(peer: &mut Peer, member_id: &str) -> Heard {
    heartbeat(
        peer,
        ConsumerGroupHeartbeatRequest {
            group_id: GROUP,
            member_id,
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(vec![TOPIC]),
            topic_partitions: Some(vec![]),
            ..Default::default()
        },
    )
}

fn beat(peer: &mut Peer, member_id: &str, member_epoch: i32, reads: Option<Vec<TopicPartitions>>) -> Heard {
    heartbeat(
        peer,
        ConsumerGroupHeartbeatRequest {
            group_id: GROUP,
            member_id,
            member_epoch,
            topic_partitions: reads,
            ..Default::default()
        },
    )
}

/// How many partitions a member is told to read.
fn told(heard: &Heard) -> usize {
    let topics = heard.2.as_ref().expect("it is told something");
    topics.iter().map(|topic| topic.partitions.len()).sum()
}

fn commit(peer: &mut Peer, member_id: &str, epoch: i32) -> i16 {
    let partitions = vec![OffsetCommitRequestPartition { committed_offset: 7, ..Default::default() }];
    let commit = OffsetCommitRequest {
        group_id: GROUP,
        generation_id_or_member_epoch: epoch,
        member_id,
        topics: vec![OffsetCommitRequestTopic { name: TOPIC, partitions, ..Default::default() }],
        ..Default::default()
    };
    ask(peer, 8, 9, &request(commit, 9), |answer| match answer {
        Answer::OffsetCommit(answer) => answer.topics[0].partitions[0].error_code,
        other => panic!("{other:?}"),
    })
}

/// What a member that says who it is learns of committed offsets.
fn committed(peer: &mut Peer, member: &str, member_epoch: i32) -> (i16, Vec<i64>) {
    let group =
        OffsetFetchRequestGroup { group_id: GROUP, member_id: Some(member), member_epoch, topics: None };
    let fetch = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    ask(peer, 9, 9, &request(fetch, 9), |answer| match answer {
        Answer::OffsetFetch(answer) => {
            let group = &answer.groups[0];
            let all = group.topics.iter().flat_map(|topic| &topic.partitions);
            (group.error_code, all.map(|partition| partition.committed_offset).collect())
        }
        other => panic!("{other:?}"),
    })
}

/// The state of the group, and how many members it has.
fn state(peer: &mut Peer) -> (String, usize) {
    let describe = ConsumerGroupDescribeRequest { group_ids: vec![GROUP], ..Default::default() };
    ask(peer, 69, 1, &request(describe, 1), |answer| match answer {
        Answer::ConsumerGroupDescribe(answer) => {
            (answer.groups[0].group_state.clone().into_owned(), answer.groups[0].members.len())
        }
        other => panic!("{other:?}"),
    })
}

#[test]
fn topics_that_come_grow_and_go_are_shared_out_anew() {
    let data = TempDir::new("consumer-groups");
    let mut broker = Broker::on(data.path(), &["--num-partitions", "3"]);
    let mut peer = Peer::connect(broker.addr);
    let nothing = join(&mut peer, "a");
    assert_eq!((nothing.0, told(&nothing)), (0, 0), "there is no such topic yet");

    peer.create(TOPIC, &[]);
    let first = beat(&mut peer, "a", nothing.1, Some(vec![]));
    assert_eq!(told(&first), 1);

    let topics = vec![CreatePartitionsTopic { name: TOPIC, count: 5, ..Default::default() }];
    let grow = CreatePartitionsRequest { topics, timeout_ms: 30_000, ..Default::default() };
    ask(&mut peer, 37, 3, &request(grow, 3), |_| ());
    let more = beat(&mut peer, "a", first.1, first.2);
    assert_eq!(told(&more), 5);
    assert_eq!(state(&mut peer), ("Stable".to_owned(), 1));

    let delete = DeleteTopicsRequest { topic_names: vec![TOPIC], timeout_ms: 30_000, ..Default::default() };
    ask(&mut peer, 20, 5, &request(delete, 5), |_| ());
    let none = beat(&mut peer, "a", more.1, more.2);
    assert_eq!((told(&none), none.1), (0, more.1), "it gives back what is gone");
    assert_eq!(beat(&mut peer, "a", none.1, Some(vec![])).1, more.1 + 1);
    broker.kill();
}

#[test]
fn members_commit_in_their_epoch_and_join_again_after_a_start_without_losing_that() {
    let data = TempDir::new("consumer-groups");
    let mut broker = Broker::on(data.path(), &["--num-partitions", "1"]);
    let mut peer = Peer::connect(broker.addr);
    peer.create(TOPIC, &[]);
    let (_, epoch, _) = join(&mut peer, "a");
    assert_eq!((commit(&mut peer, "a", epoch), commit(&mut peer, "a", epoch + 1)), (0, STALE_EPOCH));
    assert_eq!(commit(&mut peer, "b", epoch), UNKNOWN_MEMBER);
    assert_eq!(committed(&mut peer, "a", epoch), (0, vec![7]));
    assert_eq!(committed(&mut peer, "a", epoch + 1), (STALE_EPOCH, vec![]));

    broker.kill();
    let mut broker = Broker::on(data.path(), &[]);
    let mut peer = Peer::connect(broker.addr);
    assert_eq!(beat(&mut peer, "a", epoch, None).0, UNKNOWN_MEMBER);
    assert_eq!(commit(&mut peer, "a", epoch), UNKNOWN_MEMBER);
    let again = join(&mut peer, "a");
    assert_eq!((again.0, told(&again)), (0, 1));
    assert_eq!(committed(&mut peer, "a", again.1), (0, vec![7]));
    assert_eq!(beat(&mut peer, "a", -1, None).0, 0);
    assert_eq!(state(&mut peer), ("Empty".to_owned(), 0));
    broker.kill();
}

/// A member by the classic protocol, which reads what it was given and joins again when it is told to.
struct Classic {
    member: String,
    generation: i32,
    share: usize,
}

impl Classic {
    fn join(peer: &mut Peer, member_id: &str) -> Classic {
        // Version 0, one topic, its name, nothing for the leader.
        let metadata = b"\0\0\0\0\0\x01\0\x06orders\xff\xff\xff\xff";
        let join = join_group(GROUP, member_id, metadata);
        let (member, generation, leads) = ask(peer, 11, 3, &join, |answer| match answer {
            Answer::JoinGroup(joined) => {
                assert_eq!(joined.error_code, 0);
                let leads = joined.leader == joined.member_id;
                (joined.member_id.clone().into_owned(), joined.generation_id, leads)
            }
            other => panic!("{other:?}"),
        });
        // Alone with others of its protocol somebody leads; beside members of the newer one the broker shares out.
        let all = b"\0\0\0\0\0\x01\0\x06orders\0\0\0\x02\0\0\0\0\0\0\0\x01\xff\xff\xff\xff";
        let assignment = SyncGroupRequestAssignment { member_id: &member, assignment: all };
        let sync = SyncGroupRequest {
            group_id: GROUP,
            generation_id: generation,
            member_id: &member,
            assignments: if leads { vec![assignment] } else { vec![] },
            ..Default::default()
        };
        let share = ask(peer, 14, 3, &request(sync, 3), |answer| match answer {
            Answer::SyncGroup(synced) => {
                assert_eq!(synced.error_code, 0);
                krappy::groups::share(&synced.assignment).len()
            }
            other => panic!("{other:?}"),
        });
        Classic { member, generation, share }
    }

    fn heartbeat(&self, peer: &mut Peer) -> i16 {
        let beat = HeartbeatRequest {
            group_id: GROUP,
            generation_id: self.generation,
            member_id: &self.member,
            ..Default::default()
        };
        ask(peer, 12, 3, &request(beat, 3), |answer| match answer {
            Answer::Heartbeat(answer) => answer.error_code,
            other => panic!("{other:?}"),
        })
    }

    fn follow(&mut self, peer: &mut Peer) {
        match self.heartbeat(peer) {
            0 => {}
            REBALANCE_IN_PROGRESS => *self = Classic::join(peer, &self.member),
            other => panic!("error {other}"),
        }
    }
}

/// A member by the newer protocol, which reads what it is told to.
struct Newer {
    epoch: i32,
    reads: Option<Vec<TopicPartitions>>,
}

impl Newer {
    fn join(peer: &mut Peer) -> Newer {
        let (error, epoch, reads) = join(peer, "b");
        assert_eq!(error, 0);
        Newer { epoch, reads }
    }

    fn follow(&mut self, peer: &mut Peer) {
        let reads = self.reads.iter().flatten();
        let reads =
            reads.map(|of| TopicPartitions { topic_id: of.topic_id, partitions: of.partitions.clone() });
        let reads = Some(reads.collect());
        let (error, epoch, told) = beat(peer, "b", self.epoch, reads);
        assert_eq!(error, 0);
        self.epoch = epoch;
        self.reads = told.or(self.reads.take());
    }

    fn share(&self) -> usize {
        self.reads.iter().flatten().map(|of| of.partitions.len()).sum()
    }
}

/// Lets both go on until each reads one of the two partitions.
fn settle(peer: &mut Peer, classic: &mut Classic, newer: &mut Newer) {
    common::eventually("both read one partition", || {
        classic.follow(peer);
        newer.follow(peer);
        (classic.share, newer.share()) == (1, 1)
    });
    assert_eq!(state(peer), ("Stable".to_owned(), 2));
}

#[test]
fn members_of_both_protocols_join_again_after_a_start_whoever_comes_first() {
    for newer_comes_first in [false, true] {
        let data = TempDir::new("consumer-groups");
        let mut broker = Broker::on(data.path(), &[]);
        let mut peer = Peer::connect(broker.addr);
        broker.client().create_topic(TOPIC, 2, vec![]);
        let mut classic = Classic::join(&mut peer, "");
        assert_eq!(classic.share, 2, "it is alone");
        let mut newer = Newer::join(&mut peer);
        assert_eq!(newer.share(), 0, "nothing is read by two");
        settle(&mut peer, &mut classic, &mut newer);
        assert_eq!(commit(&mut peer, "b", newer.epoch), 0);

        broker.kill();
        let mut broker = Broker::on(data.path(), &[]);
        let mut peer = Peer::connect(broker.addr);
        assert_eq!(classic.heartbeat(&mut peer), UNKNOWN_MEMBER);
        assert_eq!(beat(&mut peer, "b", newer.epoch, None).0, UNKNOWN_MEMBER);
        let (mut classic, mut newer) = if newer_comes_first {
            let newer = Newer::join(&mut peer);
            (Classic::join(&mut peer, ""), newer)
        } else {
            (Classic::join(&mut peer, ""), Newer::join(&mut peer))
        };
        settle(&mut peer, &mut classic, &mut newer);
        assert_eq!(committed(&mut peer, "b", newer.epoch), (0, vec![7]));
        broker.kill();
    }
}
