//! DeleteTopics, CreatePartitions, ElectLeaders and ListPartitionReassignments.

use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::{
    CreatePartitionsRequest, DeleteTopicsRequest, ElectLeadersRequest, ListPartitionReassignmentsRequest,
};
use uuid::Uuid;

use super::{NO_ID, NOWHERE, Run, topic_name};
use crate::common::eventually;

pub fn play(run: &mut Run) {
    deletions(run);
    partitions(run);
    elections(run);
    reassignments(run);
}

fn deletions(run: &mut Run) {
    for version in 1..=6 {
        run.topic(&format!("gone-v{version}"), 1, &[]);
    }
    run.each("one topic, one that is not there, one whose name is bad", 1..=6, |_, version| {
        let gone = format!("gone-v{version}");
        by_names(version, &[&gone, NOWHERE, "a/b"])
    });
    eventually("the topics are gone", || {
        (1..=6).all(|version| run.described(&format!("gone-v{version}")).topics[0].error_code != 0)
    });
    run.each("one that is gone", [1, 5, 6], |_, version| by_names(version, &[&format!("gone-v{version}")]));
    run.each("no topics", [1, 6], |_, version| by_names(version, &[]));
    run.each("an empty name", [5, 6], |_, version| by_names(version, &[""]));
    run.each("a topic that is not there, twice", [5, 6], |_, version| by_names(version, &[NOWHERE, NOWHERE]));
    run.topic("gone", 1, &[]);
    let id = run.id_of("gone");
    run.ask("an id that no topic has", 6, by_states(&[(None, NO_ID)]));
    run.ask("neither a name nor an id", 6, by_states(&[(None, Uuid::nil())]));
    run.ask("a name and its id", 6, by_states(&[(Some("gone"), id)]));
    run.ask("an id twice", 6, by_states(&[(None, id), (None, id)]));
    run.ask("a topic twice", 6, by_names(6, &["gone", "gone"]));
    run.ask("by its id", 6, by_states(&[(None, id)]));
    eventually("the topic is gone", || run.described("gone").topics[0].error_code != 0);
    run.ask("by the id of one that is gone", 6, by_states(&[(None, id)]));
    run.topic("gone-twice", 1, &[]);
    let id = run.id_of("gone-twice");
    run.ask("a name, and its id for itself", 6, by_states(&[(Some("gone-twice"), Uuid::nil()), (None, id)]));
}

fn by_names(version: i16, names: &[&str]) -> DeleteTopicsRequest {
    let request = DeleteTopicsRequest::default().with_timeout_ms(30_000);
    if version <= 5 {
        return request.with_topic_names(names.iter().map(|name| topic_name(name)).collect());
    }
    let topic = |name: &&str| DeleteTopicState::default().with_name(Some(topic_name(name)));
    request.with_topics(names.iter().map(topic).collect())
}

fn by_states(states: &[(Option<&str>, Uuid)]) -> DeleteTopicsRequest {
    let state = |&(name, id): &(Option<&str>, Uuid)| {
        DeleteTopicState::default().with_name(name.map(topic_name)).with_topic_id(id)
    };
    DeleteTopicsRequest::default().with_timeout_ms(30_000).with_topics(states.iter().map(state).collect())
}

fn partitions(run: &mut Run) {
    for version in 0..=3 {
        run.topic(&format!("grows-v{version}"), 1, &[]);
    }
    run.each("one to three, one that is not there", 0..=3, |_, version| {
        let grows = format!("grows-v{version}");
        grow(vec![to(&grows, 3), to(NOWHERE, 3)])
    });
    for version in 0..=3 {
        run.await_topic(&format!("grows-v{version}"), 3);
    }
    run.each("no topics", [0, 3], |_, _| grow(vec![]));
    for count in [3, 2, 0, -1] {
        run.ask(&format!("three to {count}"), 3, grow(vec![to("grows-v3", count)]));
    }
    run.ask("only validated", 3, grow(vec![to("grows-v3", 4)]).with_validate_only(true));
    run.ask("only validated and wrong", 3, grow(vec![to("grows-v3", 1)]).with_validate_only(true));
    run.ask("a topic twice", 3, grow(vec![to("grows-v3", 4), to("grows-v3", 5)]));
    run.ask(
        "a topic twice among others",
        3,
        grow(vec![to("grows-v3", 4), to(NOWHERE, 2), to("grows-v3", 5)]),
    );
    run.ask("a bad name", 3, grow(vec![to("a/b", 4)]));
    let cases: &[(&str, &[&[i32]])] = &[
        ("on broker 1", &[&[1]]),
        ("more places than partitions", &[&[1], &[1]]),
        ("no places", &[]),
        ("on a broker that is not there", &[&[7]]),
        ("on no broker", &[&[]]),
        ("on a broker twice", &[&[1, 1]]),
    ];
    for (what, places) in cases {
        let place = |brokers: &&[i32]| {
            CreatePartitionsAssignment::default().with_broker_ids(brokers.iter().map(|&b| b.into()).collect())
        };
        let topic = to("grows-v3", 4).with_assignments(Some(places.iter().map(place).collect()));
        run.ask(&format!("placed {what}"), 3, grow(vec![topic]).with_validate_only(true));
    }
}

fn to(name: &str, count: i32) -> CreatePartitionsTopic {
    CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(count).with_assignments(None)
}

fn grow(topics: Vec<CreatePartitionsTopic>) -> CreatePartitionsRequest {
    CreatePartitionsRequest::default().with_timeout_ms(30_000).with_topics(topics)
}

fn elections(run: &mut Run) {
    run.topic("led", 2, &[]);
    let of = |name: &str, partitions: &[i32]| {
        TopicPartitions::default().with_topic(topic_name(name)).with_partitions(partitions.to_vec())
    };
    let elect = |topics| ElectLeadersRequest::default().with_timeout_ms(30_000).with_topic_partitions(topics);
    run.each("partitions of a topic", 0..=2, |_, _| elect(Some(vec![of("led", &[0, 1])])));
    run.each("a partition that is not there", 0..=2, |_, _| elect(Some(vec![of("led", &[7])])));
    run.each("a topic that is not there", [0, 2], |_, _| elect(Some(vec![of(NOWHERE, &[0])])));
    run.ask("no topics", 2, elect(Some(vec![])));
    run.ask("no partitions", 2, elect(Some(vec![of("led", &[])])));
    run.ask("unclean", 2, elect(Some(vec![of("led", &[0])])).with_election_type(1));
    run.ask("of a kind that is not there", 2, elect(Some(vec![of("led", &[0])])).with_election_type(2));
}

fn reassignments(run: &mut Run) {
    let of = |name: &str, numbers: &[i32]| {
        ListPartitionReassignmentsTopics::default()
            .with_name(topic_name(name))
            .with_partition_indexes(numbers.to_vec())
    };
    let ask =
        |topics| ListPartitionReassignmentsRequest::default().with_timeout_ms(30_000).with_topics(topics);
    run.ask("all", 0, ask(None));
    run.ask("a topic, and one that is not there", 0, ask(Some(vec![of("led", &[0, 7]), of(NOWHERE, &[0])])));
    run.ask("no topics", 0, ask(Some(vec![])));
}
