//! ConsumerGroupHeartbeat, key 68, versions 0 to 1, all flexible: how a member of a consumer group (KIP-848) joins,
//! stays and leaves, says what it reads, and learns what it is to read.
//!
//! The epoch says what it is about: 0 joins, -1 leaves, -2 leaves as a static member that comes back. What is null has
//! not changed since the last time, in both directions. From version 1 on the member makes its own id.

use std::collections::BTreeMap;

use super::errors;
use super::message::message;
use super::plan::{Context, Plan, group_error};
use super::wire::{Text, Uuid};
use crate::api::group::{ConsumerHeartbeat, GroupReply, GroupRequest, Partitions, TopicPartition};
use crate::api::{Reply, Request};

message! {
    /// Says that a member lives, and what has changed.
    ConsumerGroupHeartbeatRequest<'a> {
        group_id: &'a str;
        member_id: &'a str;
        member_epoch: i32;
        instance_id: Option<&'a str>;
        rack_id: Option<&'a str>;
        rebalance_timeout_ms: i32 = -1;
        subscribed_topic_names: Option<Vec<&'a str>>;
        [only 1..] subscribed_topic_regex: Option<&'a str>;
        server_assignor: Option<&'a str>;
        topic_partitions: Option<Vec<TopicPartitions>>;
    }

    /// Partitions of a topic, in both directions.
    TopicPartitions {
        topic_id: Uuid;
        partitions: Vec<i32>;
    }

    /// What the member is to know.
    ConsumerGroupHeartbeatResponse<'a> {
        throttle_time_ms: i32;
        error_code: i16;
        error_message: Option<Text<'a>>;
        member_id: Option<Text<'a>>;
        member_epoch: i32;
        heartbeat_interval_ms: i32;
        assignment: Option<Assignment>;
    }

    /// All that it is to read.
    Assignment {
        topic_partitions: Vec<TopicPartitions>;
    }
}

/// One question to the group.
pub fn ask<'a>(request: ConsumerGroupHeartbeatRequest<'a>, context: &Context<'a>) -> Plan<'a> {
    let heartbeat = ConsumerHeartbeat {
        group: request.group_id,
        member: request.member_id,
        epoch: request.member_epoch,
        instance: request.instance_id,
        rack: request.rack_id,
        client_id: context.client_id,
        client_host: context.client_host,
        rebalance_timeout_ms: Some(request.rebalance_timeout_ms).filter(|ms| *ms != -1),
        topics: request.subscribed_topic_names,
        pattern: request.subscribed_topic_regex,
        assignor: request.server_assignor,
        owned: request.topic_partitions.map(owned),
        makes_id: context.version >= 1,
    };
    Plan::ask(vec![Request::Group(GroupRequest::Consume(heartbeat))], answer)
}

fn owned(topics: Vec<TopicPartitions>) -> Partitions {
    let of = |topic: TopicPartitions| {
        topic.partitions.into_iter().map(move |number| TopicPartition { topic: topic.topic_id.0, number })
    };
    topics.into_iter().flat_map(of).collect()
}

fn answer(replies: Vec<Reply>) -> ConsumerGroupHeartbeatResponse<'static> {
    match replies.into_iter().next() {
        Some(Reply::Group(GroupReply::Heard(Ok(heard)))) => ConsumerGroupHeartbeatResponse {
            member_id: Some(Text::Owned(heard.member.to_string())),
            member_epoch: heard.epoch,
            heartbeat_interval_ms: heard.interval_ms as i32,
            assignment: heard.assignment.as_ref().map(assignment),
            ..Default::default()
        },
        Some(Reply::Group(GroupReply::Heard(Err(refused)))) => ConsumerGroupHeartbeatResponse {
            error_code: errors::number(refused.code),
            error_message: Some(Text::Owned(refused.why)),
            ..Default::default()
        },
        other => ConsumerGroupHeartbeatResponse { error_code: group_error(other), ..Default::default() },
    }
}

fn assignment(partitions: &Partitions) -> Assignment {
    let mut topics: BTreeMap<[u8; 16], Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(partition.topic).or_default().push(partition.number);
    }
    let topic = |(id, partitions)| TopicPartitions { topic_id: Uuid(id), partitions };
    Assignment { topic_partitions: topics.into_iter().map(topic).collect() }
}
