//! Metadata, key 3, versions 0 to 13, flexible from 9: brokers, topics, partitions and their leaders.
//!
//! An empty list of topics asks for all of them in version 0 and for none later; null asks for all from version 1 on.
//! Topic ids are in answers from version 10 on, in requests from version 12 on.
//!
//! Left out: racks, because there is one broker.

use super::NODE;
use super::errors::KafkaError;
use super::message::message;
use super::plan::{Context, Named, ON_CLUSTER, ON_TOPIC, Plan, allowed, refused, topic};
use super::wire::{Text, Uuid};
use crate::api::{INTERNAL_TOPICS, Reply, Request};

message! {
    /// Asks for topics. Null: for all, as does an empty list in version 0.
    MetadataRequest<'a> {
        [null 1..] topics: Option<Vec<MetadataRequestTopic<'a>>>;
        [only 4..] allow_auto_topic_creation: bool = true;
        [only 8..=10] include_cluster_authorized_operations: bool;
        [only 8..] include_topic_authorized_operations: bool;
    }

    /// A topic by name, or by id if the name is null.
    MetadataRequestTopic<'a> {
        [10..] topic_id: Uuid;
        [null 10..] name: Option<&'a str>;
    }

    /// Brokers and topics.
    MetadataResponse<'a> {
        [3..] throttle_time_ms: i32;
        brokers: Vec<MetadataResponseBroker<'a>>;
        [2..] cluster_id: Option<Text<'a>>;
        [1..] controller_id: i32 = -1;
        topics: Vec<MetadataResponseTopic<'a>>;
        [only 8..=10] cluster_authorized_operations: i32 = i32::MIN;
        [13..] error_code: i16;
    }

    /// A broker.
    MetadataResponseBroker<'a> {
        node_id: i32;
        host: Text<'a>;
        port: i32;
        [1..] rack: Option<Text<'a>>;
    }

    /// A topic, or why it is not described.
    MetadataResponseTopic<'a> {
        error_code: i16;
        [null 12..] name: Option<Text<'a>>;
        [10..] topic_id: Uuid;
        [1..] is_internal: bool;
        partitions: Vec<MetadataResponsePartition>;
        [only 8..] topic_authorized_operations: i32 = i32::MIN;
    }

    /// A partition.
    MetadataResponsePartition {
        error_code: i16;
        partition_index: i32;
        leader_id: i32;
        [7..] leader_epoch: i32 = -1;
        replica_nodes: Vec<i32>;
        isr_nodes: Vec<i32>;
        [5..] offline_replicas: Vec<i32>;
    }
}

/// Describes topics by name or id, creating those that are missing if that is allowed, or all of them.
pub fn ask<'a>(request: MetadataRequest<'a>, context: &Context<'_>) -> Plan<'a> {
    let about = about(context, &request);
    let create = request.allow_auto_topic_creation;
    let topics = match request.topics {
        Some(topics) if !(topics.is_empty() && context.version == 0) => topics,
        _ => return Plan::ask(vec![Request::ListTopics], |replies| with_all(about, replies)),
    };
    // Ids are read from version 10 on, and mean something from version 12 on.
    let unclear = |t: &MetadataRequestTopic<'_>| match t.name {
        None => t.topic_id == Uuid::default() || context.version < 12,
        Some(_) => t.topic_id != Uuid::default() && context.version < 12,
    };
    if topics.iter().any(unclear) {
        return refuse_all(topics);
    }
    let named = |t: &MetadataRequestTopic<'_>| Named::of(t.name.unwrap_or(""), t.topic_id);
    let names: Vec<Named> = topics.iter().map(named).collect();
    let one = |t: MetadataRequestTopic<'a>| Request::DescribeTopic {
        topic: topic(t.name.unwrap_or(""), t.topic_id),
        create,
    };
    Plan::ask(topics.into_iter().map(one).collect(), move |replies| {
        let topics = names.into_iter().zip(replies).map(|(named, reply)| described(named, reply, &about));
        MetadataResponse { topics: topics.collect(), ..about.answer }
    })
}

/// A topic is named by an id before version 12, or not at all: as in Kafka all are refused, and no broker is told.
fn refuse_all<'a>(topics: Vec<MetadataRequestTopic<'a>>) -> Plan<'a> {
    let one = |t: MetadataRequestTopic<'a>| MetadataResponseTopic {
        error_code: KafkaError::InvalidRequest.into(),
        name: Some(Text::Owned(t.name.unwrap_or("").to_owned())),
        topic_id: t.topic_id,
        ..Default::default()
    };
    let topics = topics.into_iter().map(one).collect();
    Plan::answer(MetadataResponse { topics, ..Default::default() })
}

/// What an answer tells besides its topics, and what it tells of each of them.
struct About {
    answer: MetadataResponse<'static>,
    /// Of every partition.
    leader_epoch: i32,
    /// What may be done with each topic.
    operations: i32,
}

fn about(context: &Context<'_>, request: &MetadataRequest<'_>) -> About {
    let broker = MetadataResponseBroker {
        node_id: NODE,
        host: Text::Owned(context.address.host.clone()),
        port: context.address.port.into(),
        rack: None,
    };
    let answer = MetadataResponse {
        brokers: vec![broker],
        cluster_id: Some(Text::Owned(context.greeting.cluster_id.clone())),
        controller_id: NODE,
        cluster_authorized_operations: allowed(request.include_cluster_authorized_operations, ON_CLUSTER),
        ..Default::default()
    };
    About {
        answer,
        leader_epoch: context.greeting.leader_epoch,
        operations: allowed(request.include_topic_authorized_operations, ON_TOPIC),
    }
}

fn with_all(about: About, replies: Vec<Reply>) -> MetadataResponse<'static> {
    let Some(Reply::Topics(lines)) = replies.into_iter().next() else {
        unreachable!("topics were asked for")
    };
    let topics = lines.into_iter().map(|line| MetadataResponseTopic {
        is_internal: INTERNAL_TOPICS.contains(&line.name.as_str()),
        name: Some(Text::Owned(line.name)),
        topic_id: Uuid(line.id),
        partitions: partitions(line.partitions as usize, about.leader_epoch),
        topic_authorized_operations: about.operations,
        ..Default::default()
    });
    MetadataResponse { topics: topics.collect(), ..about.answer }
}

fn described(named: Named, reply: Reply, about: &About) -> MetadataResponseTopic<'static> {
    match reply {
        Reply::Topic(topic) => MetadataResponseTopic {
            partitions: partitions(topic.partitions.len(), about.leader_epoch),
            topic_authorized_operations: about.operations,
            is_internal: INTERNAL_TOPICS.contains(&topic.name.as_str()),
            name: Some(Text::Owned(topic.name)),
            topic_id: Uuid(topic.id),
            ..Default::default()
        },
        Reply::Refused(refusal) => MetadataResponseTopic {
            error_code: refused(&refusal).0,
            // A topic that is known by its id alone has no name to be told.
            name: (named.id == Uuid::default()).then(|| named.text()),
            topic_id: named.id,
            ..Default::default()
        },
        _ => {
            MetadataResponseTopic { error_code: KafkaError::UnknownServerError.into(), ..Default::default() }
        }
    }
}

/// All on this broker.
fn partitions(count: usize, leader_epoch: i32) -> Vec<MetadataResponsePartition> {
    let one = |number| MetadataResponsePartition {
        partition_index: number,
        leader_id: NODE,
        leader_epoch,
        replica_nodes: vec![NODE],
        isr_nodes: vec![NODE],
        ..Default::default()
    };
    (0..count as i32).map(one).collect()
}
