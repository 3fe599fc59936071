//! Consumer groups (KIP-848): what is wrong with a heartbeat, two members that share a topic, a static member, and
//! groups that become ones of the other kind.

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
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
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest, DescribeGroupsRequest,
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest,
};
use uuid::Uuid;

use super::{Run, some, text, topic_name};

const TOPIC: &str = "consumed";
const OTHER: &str = "consumed-too";
const GROUP: &str = "readers";

pub fn play(run: &mut Run) {
    run.topic(TOPIC, 4, &[]);
    run.topic(OTHER, 2, &[]);
    wrong(run);
    two(run);
    offsets(run);
    as_tools_see_it(run);
    other_wishes(run);
    instance(run);
    kinds(run);
}

fn wrong(run: &mut Run) {
    let good = || join("refused", "a");
    run.each("no group", 0..=1, |_, _| join("", "a"));
    run.ask("no id", 1, join("refused", ""));
    run.ask("no id in a later epoch", 0, beat("refused", "", 1));
    run.ask("no rebalance timeout", 1, good().with_rebalance_timeout_ms(-1));
    run.ask("no list of partitions", 1, good().with_topic_partitions(None));
    run.ask("partitions that are read", 1, good().with_topic_partitions(owned(Uuid::nil(), &[1])));
    run.ask("no subscription", 1, good().with_subscribed_topic_names(None));
    run.ask("an empty instance", 1, good().with_instance_id(some("")));
    run.ask("an empty rack", 1, good().with_rack_id(some("")));
    run.ask("an assignor that is not there", 1, good().with_server_assignor(some("sticky")));
    run.ask("a pattern that cannot be read", 1, good().with_subscribed_topic_regex(some("(")));
    run.ask("going away without an instance", 1, beat("refused", "a", -2));
    run.ask("an epoch below all", 1, beat("refused", "a", -3));
    run.each("a member of a group that is not there", 0..=1, |_, _| beat("nobody", "a", 3));
    run.ask("leaving a group that is not there", 1, beat("nobody", "a", -1));
    run.each("a group that is not there", 0..=1, |_, _| describe("nobody"));
    run.ask("no name", 1, describe(""));
    run.ask("no groups", 1, ConsumerGroupDescribeRequest::default());
    run.ask("a member without an id", 0, join("named", ""));
}

fn two(run: &mut Run) {
    let id = run.id_of(TOPIC);
    let reads = |member: &str, epoch, numbers: &[i32]| {
        beat(GROUP, member, epoch).with_topic_partitions(owned(id, numbers))
    };
    let all = &[0, 1, 2, 3];
    run.ask("the first joins", 1, join(GROUP, "a"));
    run.each("it says nothing new", 0..=1, |_, _| beat(GROUP, "a", 1));
    run.ask("it says what it reads", 1, reads("a", 1, all));
    run.ask("it says everything", 1, {
        join(GROUP, "a").with_member_epoch(1).with_topic_partitions(owned(id, all))
    });
    run.ask("it says what it wants again", 1, {
        beat(GROUP, "a", 1).with_subscribed_topic_names(Some(vec![topic_name(TOPIC)]))
    });
    run.ask("the second joins", 1, join(GROUP, "b"));
    run.ask("the second has nothing to read yet", 1, beat(GROUP, "b", 2));
    run.ask("the first is to give back", 1, reads("a", 1, all));
    run.ask("the first still reads some of it", 1, reads("a", 1, &[0, 1, 3]));
    run.ask("a group that is giving back", 1, describe(GROUP));
    run.ask("the first has given back", 1, reads("a", 1, &[0, 1]));
    run.ask("the second takes it", 1, beat(GROUP, "b", 2));
    run.ask("the second says what it reads", 1, reads("b", 2, &[2, 3]));
    run.ask("the epoch before, and what it may read", 1, reads("a", 1, &[1]));
    run.ask("the epoch before, and more", 1, reads("a", 1, &[0, 1, 2]));
    run.ask("the epoch before, and no word of what it reads", 1, beat(GROUP, "a", 1));
    run.ask("an epoch that is to come", 1, beat(GROUP, "a", 9));
    run.ask("a stranger", 1, beat(GROUP, "c", 2));
    run.ask("a stranger leaves", 1, beat(GROUP, "c", -1));
    run.ask("an instance that nobody is", 1, beat(GROUP, "a", 2).with_instance_id(some("nobody")));
    run.ask("it joins again", 1, join(GROUP, "a"));
}

fn offsets(run: &mut Run) {
    let commit = |member: &str, epoch| {
        let at = OffsetCommitRequestPartition::default().with_committed_offset(7);
        let topic =
            OffsetCommitRequestTopic::default().with_name(topic_name(TOPIC)).with_partitions(vec![at]);
        OffsetCommitRequest::default()
            .with_group_id(text(GROUP).into())
            .with_member_id(text(member))
            .with_generation_id_or_member_epoch(epoch)
            .with_topics(vec![topic])
    };
    run.ask("a member in its epoch", 9, commit("a", 2));
    run.ask("a member in another epoch", 9, commit("a", 1));
    run.ask("a stranger in a consumer group", 9, commit("c", 2));
    run.ask("from outside of a consumer group", 9, commit("", -1));
    run.each("a member in its epoch, as if it were a generation", 2..=8, |_, _| commit("a", 2));
    run.ask("a member in another epoch, as if it were a generation", 8, commit("a", 1));
    run.ask("a stranger in a consumer group, with a generation", 8, commit("c", 2));
    run.ask("from outside of a consumer group, in an older version", 8, commit("", -1));
    let fetch = |member: Option<&str>, epoch| {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(topic_name(TOPIC))
            .with_partition_indexes(vec![0, 1]);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(text(GROUP).into())
            .with_member_id(member.map(text))
            .with_member_epoch(epoch)
            .with_topics(Some(vec![topic]));
        OffsetFetchRequest::default().with_groups(vec![group])
    };
    run.ask("a member in its epoch", 9, fetch(Some("a"), 2));
    run.ask("a member in another epoch", 9, fetch(Some("a"), 1));
    run.ask("a stranger in a consumer group", 9, fetch(Some("c"), 2));
    run.ask("from outside of a consumer group", 9, fetch(None, -1));
    run.each("a consumer group, without saying who asks", 1..=8, |_, version| match version {
        8.. => fetch(None, -1),
        _ => {
            let topic = OffsetFetchRequestTopic::default()
                .with_name(topic_name(TOPIC))
                .with_partition_indexes(vec![0, 1]);
            OffsetFetchRequest::default().with_group_id(text(GROUP).into()).with_topics(Some(vec![topic]))
        }
    });
}

fn as_tools_see_it(run: &mut Run) {
    run.each("a group of two", 0..=1, |_, _| describe(GROUP));
    run.each("a consumer group", 5..=6, |_, _| {
        DescribeGroupsRequest::default().with_groups(vec![text(GROUP).into()])
    });
    run.ask("consumer groups", 5, ListGroupsRequest::default().with_types_filter(vec![text("Consumer")]));
    run.ask("stable consumer groups", 5, {
        ListGroupsRequest::default()
            .with_types_filter(vec![text("consumer")])
            .with_states_filter(vec![text("STABLE")])
    });
    run.ask("a consumer group with members", 2, delete(&[GROUP]));
    run.ask("a topic that a consumer group reads", 0, {
        let partition = OffsetDeleteRequestPartition::default();
        let topic = |name| {
            OffsetDeleteRequestTopic::default()
                .with_name(topic_name(name))
                .with_partitions(vec![partition.clone()])
        };
        OffsetDeleteRequest::default()
            .with_group_id(text(GROUP).into())
            .with_topics(vec![topic(TOPIC), topic(OTHER)])
    });
    run.ask("another type in a consumer group", 9, classic_join(GROUP).with_protocol_type(text("connect")));
    run.ask("a member of a consumer group", 4, {
        HeartbeatRequest::default()
            .with_group_id(text(GROUP).into())
            .with_member_id(text("a"))
            .with_generation_id(2)
    });
    run.ask("a member of a consumer group", 5, {
        SyncGroupRequest::default()
            .with_group_id(text(GROUP).into())
            .with_member_id(text("a"))
            .with_generation_id(2)
    });
    run.ask("a stranger in a consumer group", 5, {
        let member = MemberIdentity::default().with_member_id(text("c"));
        LeaveGroupRequest::default().with_group_id(text(GROUP).into()).with_members(vec![member])
    });
}

fn other_wishes(run: &mut Run) {
    let (id, other) = (run.id_of(TOPIC), run.id_of(OTHER));
    run.ask("the second leaves", 1, beat(GROUP, "b", -1));
    run.ask("the second has left", 1, beat(GROUP, "b", 2));
    run.ask("the first takes over", 1, beat(GROUP, "a", 2));
    let all = owned(id, &[0, 1, 2, 3]);
    run.ask("it wants another topic", 1, {
        beat(GROUP, "a", 3)
            .with_subscribed_topic_names(Some(vec![topic_name(OTHER)]))
            .with_topic_partitions(all)
    });
    run.ask("it has given back the old one", 1, beat(GROUP, "a", 3).with_topic_partitions(Some(vec![])));
    run.ask("it reads the new one", 1, beat(GROUP, "a", 4).with_topic_partitions(owned(other, &[0, 1])));
    run.ask("it wants nothing", 1, {
        beat(GROUP, "a", 4).with_subscribed_topic_names(Some(vec![])).with_topic_partitions(Some(vec![]))
    });
    run.ask("a group that wants nothing", 1, describe(GROUP));
    run.ask("the last leaves", 1, beat(GROUP, "a", -1));
    run.ask("a consumer group that everybody has left", 1, describe(GROUP));
    run.ask("a consumer group without members", 2, delete(&[GROUP]));
    run.ask("a consumer group that was deleted", 1, describe(GROUP));
}

fn instance(run: &mut Run) {
    let group = "static-readers";
    let as_one = |request: ConsumerGroupHeartbeatRequest| request.with_instance_id(some("one"));
    run.ask("a static member joins", 1, as_one(join(group, "a")));
    run.ask("another joins as the same instance", 1, as_one(join(group, "b")));
    run.ask("another goes on as the same instance", 1, as_one(beat(group, "b", 1)));
    run.ask("a static member goes away", 1, as_one(beat(group, "a", -2)));
    run.ask("a static member that is away", 1, describe(group));
    run.ask("it goes on without having joined", 1, as_one(beat(group, "a", 1)));
    run.ask("it comes back under another id", 1, as_one(join(group, "c")));
    run.ask("its former id goes on", 1, as_one(beat(group, "a", 1)));
    run.ask("its former id leaves", 1, as_one(beat(group, "a", -1)));
    run.ask("a static member that is back", 1, describe(group));
    run.ask("its instance is sent away", 5, {
        let one = MemberIdentity::default().with_group_instance_id(some("one"));
        LeaveGroupRequest::default().with_group_id(text(group).into()).with_members(vec![one])
    });
    run.ask("a group whose instance was sent away", 1, describe(group));
}

fn kinds(run: &mut Run) {
    let group = "turned";
    let at = OffsetCommitRequestPartition::default().with_committed_offset(3);
    let topic = OffsetCommitRequestTopic::default().with_name(topic_name(TOPIC)).with_partitions(vec![at]);
    run.ask("before there is a member", 9, {
        OffsetCommitRequest::default().with_group_id(text(group).into()).with_topics(vec![topic])
    });
    run.ask("a group that only has offsets", 1, describe(group));
    run.ask("a group that only has offsets", 1, join(group, "a"));
    run.ask("it is sent away", 5, {
        let member = MemberIdentity::default().with_member_id(text("a"));
        LeaveGroupRequest::default().with_group_id(text(group).into()).with_members(vec![member])
    });
    run.ask("an empty consumer group", 3, classic_join(group));
    run.ask("a member of a classic group", 1, beat(group, "a", 1));
    run.get(3, classic_join("workers").with_protocol_type(text("connect")));
    run.ask("a classic group that does something else", 1, join("workers", "a"));
    run.get(3, classic_join("sharing"));
    run.ask("a classic group that is sharing out", 1, join("sharing", "a"));
    both(run);
}

/// A group with members of both protocols: it changes over with the first newer one, and back when the last is gone.
fn both(run: &mut Run) {
    let group = "changing";
    let id = run.id_of(TOPIC);
    let joined = run.get(3, classic_join(group));
    let member = joined.member_id.as_str().to_owned();
    let who = || (text(group), text(&member));
    let sync = |generation: i32| {
        let all =
            b"\0\0\0\0\0\x01\0\x08consumed\0\0\0\x04\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\xff\xff\xff\xff";
        let all = SyncGroupRequestAssignment::default()
            .with_member_id(who().1)
            .with_assignment(bytes::Bytes::from_static(all));
        let (name, id) = who();
        SyncGroupRequest::default()
            .with_group_id(name.into())
            .with_member_id(id)
            .with_generation_id(generation)
            .with_assignments(vec![all])
    };
    let heartbeat = |generation: i32| {
        let (name, id) = who();
        HeartbeatRequest::default()
            .with_group_id(name.into())
            .with_member_id(id)
            .with_generation_id(generation)
    };
    let commit = |generation: i32| {
        let at = OffsetCommitRequestPartition::default().with_committed_offset(4);
        let topic =
            OffsetCommitRequestTopic::default().with_name(topic_name(TOPIC)).with_partitions(vec![at]);
        let (name, id) = who();
        OffsetCommitRequest::default()
            .with_group_id(name.into())
            .with_member_id(id)
            .with_generation_id_or_member_epoch(generation)
            .with_topics(vec![topic])
    };
    run.get(3, sync(joined.generation_id));
    run.ask("a newer member joins a classic group", 1, join(group, "b"));
    run.ask("a group of both kinds of members", 5, {
        ListGroupsRequest::default().with_types_filter(vec![text("consumer")])
    });
    run.ask("a classic member among newer ones", 7, commit(1));
    run.ask("a classic member among newer ones, of another generation", 8, commit(2));
    run.ask("a classic member among newer ones", 4, heartbeat(1));
    run.ask("a classic member among newer ones, of another generation", 4, heartbeat(2));
    run.ask("a classic member among newer ones, that has to join again", 5, sync(1));
    run.ask("a newer member by the classic protocol", 4, heartbeat(2).with_member_id(text("b")));
    run.ask("another protocol in a group of both", 3, {
        let other = JoinGroupRequestProtocol::default().with_name(text("other"));
        classic_join(group).with_protocols(vec![other])
    });
    run.ask("a classic member among newer ones", 3, classic_join(group).with_member_id(text(&member)));
    run.ask("a classic member among newer ones", 5, sync(2));
    run.ask("a classic member among newer ones, that has followed", 4, heartbeat(2));
    run.ask("the newer one takes its share", 1, beat(group, "b", 2));
    run.ask("a stable group of both", 1, beat(group, "b", 2).with_topic_partitions(owned(id, &[2, 3])));
    run.ask("the last newer member leaves", 1, beat(group, "b", -1));
    run.ask("a group that has changed back", 5, {
        ListGroupsRequest::default().with_types_filter(vec![text("classic")])
    });
    run.ask("a classic member that is to meet others", 4, heartbeat(2));
    run.ask("a classic member that meets others", 3, classic_join(group).with_member_id(text(&member)));
}

fn join(group: &str, member: &str) -> ConsumerGroupHeartbeatRequest {
    beat(group, member, 0)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![topic_name(TOPIC)]))
        .with_topic_partitions(Some(vec![]))
}

fn beat(group: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(text(group).into())
        .with_member_id(text(member))
        .with_member_epoch(epoch)
}

fn owned(topic: Uuid, numbers: &[i32]) -> Option<Vec<TopicPartitions>> {
    Some(vec![TopicPartitions::default().with_topic_id(topic).with_partitions(numbers.to_vec())])
}

fn describe(group: &str) -> ConsumerGroupDescribeRequest {
    ConsumerGroupDescribeRequest::default().with_group_ids(vec![text(group).into()])
}

fn delete(groups: &[&str]) -> DeleteGroupsRequest {
    DeleteGroupsRequest::default().with_groups_names(groups.iter().map(|group| text(group).into()).collect())
}

fn classic_join(group: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(bytes::Bytes::from_static(b"\0\0\0\0\0\x01\0\x08consumed\xff\xff\xff\xff"));
    JoinGroupRequest::default()
        .with_group_id(text(group).into())
        .with_session_timeout_ms(60_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}
