//! Metadata and DescribeTopicPartitions.

use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{DescribeTopicPartitionsRequest, MetadataRequest};
use uuid::Uuid;

use super::{NO_ID, NOWHERE, Run, topic_name};

pub fn play(run: &mut Run) {
    run.topic("meta-a", 1, &[]);
    run.topic("meta-b", 3, &[]);
    run.each("two topics, one that is not there and a bad name", 0..=13, |_, version| {
        let quiet =
            MetadataRequest::default().with_topics(Some(named(&["meta-b", NOWHERE, "meta-a", "a/b"])));
        // Before version 4 whoever asks creates.
        if version >= 4 { quiet.with_allow_auto_topic_creation(false) } else { bad_names(quiet) }
    });
    run.each("no topics", 1..=13, |_, _| MetadataRequest::default().with_topics(Some(vec![])));
    run.each("a topic twice", [5, 12], |_, _| quiet(named(&["meta-a", "meta-a"])));
    run.each("an empty name", [5, 12], |_, _| quiet(named(&[""])));
    run.each("a topic by its id", 12..=13, |run, _| quiet(vec![by_id(run.id_of("meta-b"))]));
    run.each("an id that no topic has", 12..=13, |_, _| quiet(vec![by_id(NO_ID)]));
    run.each("ids of a topic and of none", 12..=13, |run, _| {
        quiet(vec![by_id(run.id_of("meta-b")), by_id(NO_ID)])
    });
    run.each("a name and its id", [12], |run, _| {
        quiet(vec![by_id(run.id_of("meta-b")).with_name(Some(topic_name("meta-b")))])
    });
    run.each("the name of one topic and the id of another", [12], |run, _| {
        quiet(vec![by_id(run.id_of("meta-b")).with_name(Some(topic_name("meta-a")))])
    });
    run.each("neither a name nor an id", [12], |_, _| quiet(vec![by_id(Uuid::nil())]));
    run.each("an id before ids count", [10, 11], |run, _| quiet(vec![by_id(run.id_of("meta-b"))]));
    run.each("a name with an id before ids count", [10, 11], |run, _| {
        quiet(vec![by_id(run.id_of("meta-b")).with_name(Some(topic_name("meta-b")))])
    });
    run.each("what may be done", [8, 10], |_, _| {
        quiet(named(&["meta-a"]))
            .with_include_cluster_authorized_operations(true)
            .with_include_topic_authorized_operations(true)
    });
    pages(run);
}

/// Before version 4 asking for a topic creates it, except for one whose name is bad.
fn bad_names(request: MetadataRequest) -> MetadataRequest {
    request.with_topics(Some(named(&["meta-b", "a/b", "meta-a"])))
}

fn pages(run: &mut Run) {
    run.ask("all of two topics", 0, listed(&["meta-b", "meta-a"], 100));
    run.ask("one that is not there, and a bad name", 0, listed(&["meta-b", NOWHERE, "a/b", "meta-a"], 100));
    run.ask("a topic twice", 0, listed(&["meta-b", "meta-b"], 100));
    for limit in [1, 2, 3, 4, 0, -1] {
        run.ask(&format!("pages of {limit}"), 0, listed(&["meta-a", "meta-b"], limit));
    }
    for (what, topic, partition) in [
        ("within a topic", "meta-b", 1),
        ("at its last partition", "meta-b", 2),
        ("behind its last partition", "meta-b", 3),
        ("at the first topic", "meta-a", 0),
        ("at a topic that is not asked for", "meta-aa", 0),
        ("behind all topics", "zzz", 0),
        ("at a negative partition", "meta-b", -1),
    ] {
        let cursor = Cursor::default().with_topic_name(topic_name(topic)).with_partition_index(partition);
        run.ask(&format!("from {what} on"), 0, listed(&["meta-a", "meta-b"], 2).with_cursor(Some(cursor)));
    }
    let cursor = Cursor::default().with_topic_name(topic_name(NOWHERE)).with_partition_index(0);
    run.ask("from a topic on that is not there", 0, listed(&[NOWHERE, "zzz"], 2).with_cursor(Some(cursor)));
}

fn listed(names: &[&str], limit: i32) -> DescribeTopicPartitionsRequest {
    let topics = names.iter().map(|name| TopicRequest::default().with_name(topic_name(name))).collect();
    DescribeTopicPartitionsRequest::default().with_topics(topics).with_response_partition_limit(limit)
}

fn named(names: &[&str]) -> Vec<MetadataRequestTopic> {
    names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name)))).collect()
}

fn by_id(id: Uuid) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(None).with_topic_id(id)
}

/// Asks without creating anything.
fn quiet(topics: Vec<MetadataRequestTopic>) -> MetadataRequest {
    MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false)
}
