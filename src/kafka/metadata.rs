//! Metadata, key 3, versions 0 to 13, flexible from 9: brokers, topics, partitions and their leaders.
//!
//! An empty list of topics asks for all of them in version 0 and for none later; null asks for all from version 1 on.
//! Topic ids are in answers from version 10 on, in requests from version 12 on.
//!
//! Left out: racks, because there is one broker.

use super::NODE;
use super::acls::{CLUSTER_OPERATIONS, NOT_ASKED, TOPIC_OPERATIONS};
use super::errors::KafkaError;
use super::message::message;
use super::plan::{Context, Named, Plan, refused, topic};
use super::wire::{Text, Uuid};
use crate::api::{Reply, Request};

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
        [only 8..=10] cluster_authorized_operations: i32 = NOT_ASKED;
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
        [only 8..] topic_authorized_operations: i32 = NOT_ASKED;
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
    let about = about(&request, context);
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
        return Plan::Close("Metadata: a topic is named by an id before version 12, or not at all".into());
    }
    let named = |t: &MetadataRequestTopic<'_>| Named::of(t.name.unwrap_or(""), t.topic_id);
    let names: Vec<Named> = topics.iter().map(named).collect();
    let one = |t: MetadataRequestTopic<'a>| Request::DescribeTopic {
        topic: topic(t.name.unwrap_or(""), t.topic_id),
        create,
    };
    Plan::ask(topics.into_iter().map(one).collect(), move |replies| {
        let topics = names.into_iter().zip(replies).map(|(named, reply)| about.described(named, reply));
        MetadataResponse { topics: topics.collect(), ..about.answer }
    })
}

/// What an answer says besides its topics, and what it says of each of them.
struct About {
    answer: MetadataResponse<'static>,
    leader_epoch: i32,
    topic_operations: i32,
}

fn about(request: &MetadataRequest<'_>, context: &Context<'_>) -> About {
    let broker = MetadataResponseBroker {
        node_id: NODE,
        host: Text::Owned(context.address.host.clone()),
        port: context.address.port.into(),
        rack: None,
    };
    let asked = |asked: bool, operations| if asked { operations } else { NOT_ASKED };
    let answer = MetadataResponse {
        brokers: vec![broker],
        cluster_id: Some(Text::Owned(context.greeting.cluster_id.clone())),
        controller_id: NODE,
        cluster_authorized_operations: asked(
            request.include_cluster_authorized_operations,
            CLUSTER_OPERATIONS,
        ),
        ..Default::default()
    };
    let topic_operations = asked(request.include_topic_authorized_operations, TOPIC_OPERATIONS);
    About { answer, leader_epoch: context.greeting.leader_epoch, topic_operations }
}

fn with_all(about: About, replies: Vec<Reply>) -> MetadataResponse<'static> {
    let Some(Reply::Topics(lines)) = replies.into_iter().next() else {
        unreachable!("topics were asked for")
    };
    let topics = lines.into_iter().map(|line| MetadataResponseTopic {
        name: Some(Text::Owned(line.name)),
        topic_id: Uuid(line.id),
        partitions: partitions(line.partitions as usize, about.leader_epoch),
        topic_authorized_operations: about.topic_operations,
        ..Default::default()
    });
    MetadataResponse { topics: topics.collect(), ..about.answer }
}

impl About {
    fn described(&self, named: Named, reply: Reply) -> MetadataResponseTopic<'static> {
        let topic = match reply {
            Reply::Topic(topic) => MetadataResponseTopic {
                partitions: partitions(topic.partitions.len(), self.leader_epoch),
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
            _ => MetadataResponseTopic {
                error_code: KafkaError::UnknownServerError.into(),
                ..Default::default()
            },
        };
        MetadataResponseTopic { topic_authorized_operations: self.topic_operations, ..topic }
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
