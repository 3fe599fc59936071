//! Groups: committed offsets without members, what is wrong with a request, and the life of a group of one member.

use bytes::Bytes;
use kafka_protocol::messages::delete_groups_request::DeleteGroupsRequest;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::{NOWHERE, Run, some, text, topic_name};

const TOPIC: &str = "grouped";
/// A subscription to that topic, as consumers write it: version 0, one topic, no bytes of their own.
const SUBSCRIPTION: &[u8] = b"\0\0\0\0\0\x01\0\x07grouped\xff\xff\xff\xff";
/// The version of JoinGroup in which members are still let in at once.
const AT_ONCE: i16 = 3;

pub fn play(run: &mut Run) {
    run.topic(TOPIC, 2, &[]);
    without_members(run);
    wrong(run);
    life(run);
    forget(run);
}

fn without_members(run: &mut Run) {
    let group = |version: i16| format!("alone-v{version}");
    let at = |number, offset, words: &str| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(number)
            .with_committed_offset(offset)
            .with_committed_metadata(some(words))
    };
    run.each("two partitions, one that is not there, a topic that is not there", 2..=9, |_, version| {
        commit(
            &group(version),
            vec![(TOPIC, vec![at(1, 5, "here"), at(0, 0, ""), at(7, 1, "")]), (NOWHERE, vec![at(0, 1, "")])],
        )
    });
    run.ask("nothing", 9, commit("alone-v9", vec![]));
    run.ask(
        "more metadata than is allowed",
        9,
        commit("alone-v9", vec![(TOPIC, vec![at(0, 9, &"m".repeat(4097))])]),
    );
    run.ask(
        "null metadata",
        8,
        commit("alone-v9", vec![(TOPIC, vec![at(0, 3, "").with_committed_metadata(None)])]),
    );
    run.ask("a generation of a group that is not there", 9, {
        commit("nobody", vec![(TOPIC, vec![at(0, 1, "")])]).with_generation_id_or_member_epoch(3)
    });
    run.ask("a member of a group that is not there", 7, {
        commit("nobody", vec![(TOPIC, vec![at(0, 1, "")])])
            .with_generation_id_or_member_epoch(3)
            .with_member_id(text("stranger"))
    });

    run.each("committed, never committed, not there", 1..=9, |_, version| {
        fetch(version, &group(version.max(2)), Some(vec![(TOPIC, vec![0, 1, 7]), (NOWHERE, vec![0])]))
    });
    run.each("everything", 2..=9, |_, version| fetch(version, &group(version), None));
    run.each("nothing", [1, 9], |_, version| fetch(version, "alone-v9", Some(vec![])));
    run.each("a group that is not there", [1, 2, 7, 8, 9], |_, version| {
        fetch(version, "nobody", Some(vec![(TOPIC, vec![0])]))
    });
}

fn wrong(run: &mut Run) {
    // Kafka begins a group for whoever has no id, even if it then refuses the member.
    let good = || join("begun", "");
    run.each("no name", [0, 9], |_, _| join("", ""));
    run.each("a session of no time", [0, 9], |_, _| good().with_session_timeout_ms(0));
    run.each("a session of weeks", [0, 9], |_, _| good().with_session_timeout_ms(i32::MAX));
    run.each("a member of a group that is not there", 0..=9, |_, _| join("nobody", "stranger"));
    run.each("no protocols", [0, 9], |_, _| good().with_protocols(vec![]));
    run.each("no protocol type", [0, 9], |_, _| good().with_protocol_type(text("")));
    run.each("a member without an id", 4..=9, |_, version| join(&format!("new-v{version}"), ""));
    run.each("a group that is not there", 0..=5, |_, version| sync(version, "nobody", 1, "stranger"));
    run.each("no name", [0, 5], |_, version| sync(version, "", 1, "stranger"));
    run.ask("without protocol", 5, sync(0, "nobody", 1, "stranger"));
    run.each("a group that is not there", 0..=4, |_, _| heartbeat("nobody", 1, "stranger"));
    run.each("no name", [0, 4], |_, _| heartbeat("", 1, "stranger"));
    run.each("a group that is not there", 0..=5, |_, version| leave(version, "nobody", "stranger"));
    run.each("no name", [0, 5], |_, version| leave(version, "", "stranger"));
    run.ask("nobody", 5, LeaveGroupRequest::default().with_group_id(text("nobody").into()));
    run.each("a group that is not there", 0..=6, |_, _| describe("nobody"));
    run.each("no groups", [0, 6], |_, _| DescribeGroupsRequest::default());
    run.each("a group that is not there", 0..=2, |_, _| delete("nobody"));
    run.each("no groups", [0, 2], |_, _| DeleteGroupsRequest::default());
    run.ask("a group that is not there", 0, offset_delete("nobody", &[(TOPIC, &[0])]));
}

fn life(run: &mut Run) {
    let group = "lively";
    let joined = run.get(AT_ONCE, join(group, ""));
    let member = joined.member_id.as_str().to_owned();
    run.each("a leader that joins again", 0..=AT_ONCE, |_, _| join(group, &member));
    let generation = run.get(AT_ONCE, join(group, &member)).generation_id;

    run.ask("while the leader shares out", 4, heartbeat(group, generation, &member));
    run.ask("another type", 9, join(group, "").with_protocol_type(text("connect")));
    run.ask("another protocol", 9, {
        let other = JoinGroupRequestProtocol::default().with_name(text("other"));
        join(group, "").with_protocols(vec![other])
    });
    run.ask("another generation", 5, sync(5, group, generation + 1, &member));
    run.ask("a stranger", 5, sync(5, group, generation, "stranger"));
    run.each("the leader", 0..=5, |_, version| {
        let share = SyncGroupRequestAssignment::default()
            .with_member_id(StrBytes::from_string(member.clone()))
            .with_assignment(Bytes::from_static(b"share"));
        sync(version, group, generation, &member).with_assignments(vec![share])
    });
    run.each("a member", 0..=4, |_, _| heartbeat(group, generation, &member));
    run.ask("another generation", 4, heartbeat(group, generation + 1, &member));
    run.ask("a stranger", 4, heartbeat(group, generation, "stranger"));

    let at = |offset| OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let position = |offset| commit(group, vec![(TOPIC, vec![at(offset)])]);
    let as_member = |request: OffsetCommitRequest, generation, member: &str| {
        request
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(StrBytes::from_string(member.to_owned()))
    };
    run.each("a member", 2..=9, |_, version| as_member(position(i64::from(version)), generation, &member));
    run.ask("a member of another generation", 9, as_member(position(77), generation + 1, &member));
    run.ask("a stranger in a group", 9, as_member(position(77), generation, "stranger"));
    run.ask("from outside of a group with members", 9, position(77));
    run.ask("what the member has committed", 9, fetch(9, group, None));

    run.each("a group of one", 0..=6, |_, _| describe(group));
    run.each("all groups that are stable", [4, 5], |_, _| {
        ListGroupsRequest::default().with_states_filter(vec![text("stable")])
    });
    run.each("all groups", 0..=3, |_, _| ListGroupsRequest::default());
    run.ask("groups of no type", 5, ListGroupsRequest::default().with_types_filter(vec![text("other")]));
    run.ask("a group with members", 2, delete(group));
    run.ask("a topic that is read", 0, offset_delete(group, &[(TOPIC, &[0]), (NOWHERE, &[0])]));
    run.ask("a stranger and the member", 5, {
        let one = |id: &str| MemberIdentity::default().with_member_id(StrBytes::from_string(id.to_owned()));
        LeaveGroupRequest::default()
            .with_group_id(text(group).into())
            .with_members(vec![one("stranger"), one(&member)])
    });
    run.ask("a group that everybody has left", 6, describe(group));
}

fn forget(run: &mut Run) {
    run.ask("committed, never committed, not there", 0, {
        offset_delete("alone-v9", &[(TOPIC, &[1, 7]), (NOWHERE, &[0])])
    });
    run.ask("what is left", 9, fetch(9, "alone-v9", None));
    run.each("groups without members", 0..=2, |_, version| {
        let again = StrBytes::from_string(format!("alone-v{}", version + 2));
        DeleteGroupsRequest::default().with_groups_names(vec![again.into(), text("nobody").into()])
    });
    run.ask("what is left of a group that was deleted", 9, fetch(9, "alone-v2", None));
}

fn commit(group: &str, topics: Vec<(&str, Vec<OffsetCommitRequestPartition>)>) -> OffsetCommitRequest {
    let of = |(name, partitions)| {
        OffsetCommitRequestTopic::default().with_name(topic_name(name)).with_partitions(partitions)
    };
    OffsetCommitRequest::default()
        .with_group_id(StrBytes::from_string(group.to_owned()).into())
        .with_topics(topics.into_iter().map(of).collect())
}

fn fetch(version: i16, group: &str, topics: Option<Vec<(&str, Vec<i32>)>>) -> OffsetFetchRequest {
    let group = StrBytes::from_string(group.to_owned());
    if version <= 7 {
        let of = |(name, numbers)| {
            OffsetFetchRequestTopic::default().with_name(topic_name(name)).with_partition_indexes(numbers)
        };
        let topics = topics.map(|topics| topics.into_iter().map(of).collect());
        return OffsetFetchRequest::default().with_group_id(group.into()).with_topics(topics);
    }
    let of = |(name, numbers)| {
        OffsetFetchRequestTopics::default().with_name(topic_name(name)).with_partition_indexes(numbers)
    };
    let topics = topics.map(|topics| topics.into_iter().map(of).collect());
    let one = OffsetFetchRequestGroup::default().with_group_id(group.into()).with_topics(topics);
    OffsetFetchRequest::default().with_groups(vec![one])
}

fn join(group: &str, member: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(SUBSCRIPTION));
    JoinGroupRequest::default()
        .with_group_id(StrBytes::from_string(group.to_owned()).into())
        .with_member_id(StrBytes::from_string(member.to_owned()))
        .with_session_timeout_ms(60_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

fn sync(version: i16, group: &str, generation: i32, member: &str) -> SyncGroupRequest {
    let request = SyncGroupRequest::default()
        .with_group_id(StrBytes::from_string(group.to_owned()).into())
        .with_generation_id(generation)
        .with_member_id(StrBytes::from_string(member.to_owned()));
    if version < 5 {
        return request;
    }
    request.with_protocol_type(some("consumer")).with_protocol_name(some("range"))
}

fn heartbeat(group: &str, generation: i32, member: &str) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(StrBytes::from_string(group.to_owned()).into())
        .with_generation_id(generation)
        .with_member_id(StrBytes::from_string(member.to_owned()))
}

fn leave(version: i16, group: &str, member: &str) -> LeaveGroupRequest {
    let request = LeaveGroupRequest::default().with_group_id(StrBytes::from_string(group.to_owned()).into());
    let member = StrBytes::from_string(member.to_owned());
    if version <= 2 {
        return request.with_member_id(member);
    }
    request.with_members(vec![MemberIdentity::default().with_member_id(member)])
}

fn describe(group: &str) -> DescribeGroupsRequest {
    DescribeGroupsRequest::default().with_groups(vec![StrBytes::from_string(group.to_owned()).into()])
}

fn delete(group: &str) -> DeleteGroupsRequest {
    DeleteGroupsRequest::default().with_groups_names(vec![StrBytes::from_string(group.to_owned()).into()])
}

fn offset_delete(group: &str, topics: &[(&str, &[i32])]) -> OffsetDeleteRequest {
    let partition = |&number: &i32| OffsetDeleteRequestPartition::default().with_partition_index(number);
    let of = |(name, numbers): &(&str, &[i32])| {
        OffsetDeleteRequestTopic::default()
            .with_name(topic_name(name))
            .with_partitions(numbers.iter().map(partition).collect())
    };
    OffsetDeleteRequest::default()
        .with_group_id(StrBytes::from_string(group.to_owned()).into())
        .with_topics(topics.iter().map(of).collect())
}
