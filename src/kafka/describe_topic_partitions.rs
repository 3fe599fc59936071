//! DescribeTopicPartitions, key 75, version 0, flexible: topics page by page.
//!
//! The answer holds as many partitions as the request allows, and a cursor when there are more.

use super::NODE;
use super::errors::KafkaError;
use super::message::message;
use super::plan::{Context, ON_TOPIC, Plan, refused};
use super::wire::{Text, Uuid};
use crate::api::{INTERNAL_TOPICS, Reply, Request, TopicRef};
use crate::ordered;

message! {
    /// Asks for topics, from the cursor on; no topics: for all.
    DescribeTopicPartitionsRequest<'a> {
        topics: Vec<TopicRequest<'a>>;
        response_partition_limit: i32 = 2_000;
        cursor: Option<Cursor<'a>>;
    }

    /// One topic of them.
    TopicRequest<'a> {
        name: &'a str;
    }

    /// A place in the list of all partitions: the next one to describe.
    Cursor<'a> {
        topic_name: Text<'a>;
        partition_index: i32;
    }

    /// A page of them; a cursor says that there are more.
    DescribeTopicPartitionsResponse<'a> {
        throttle_time_ms: i32;
        topics: Vec<DescribeTopicPartitionsResponseTopic<'a>>;
        next_cursor: Option<Cursor<'a>>;
    }

    /// A topic.
    DescribeTopicPartitionsResponseTopic<'a> {
        error_code: i16;
        name: Option<Text<'a>>;
        topic_id: Uuid;
        is_internal: bool;
        partitions: Vec<DescribeTopicPartitionsResponsePartition>;
        topic_authorized_operations: i32 = i32::MIN;
    }

    /// A partition.
    DescribeTopicPartitionsResponsePartition {
        error_code: i16;
        partition_index: i32;
        leader_id: i32;
        leader_epoch: i32 = -1;
        replica_nodes: Vec<i32>;
        isr_nodes: Vec<i32>;
        eligible_leader_replicas: Option<Vec<i32>>;
        last_known_elr: Option<Vec<i32>>;
        offline_replicas: Vec<i32>;
    }
}

/// Partitions of one answer, as in Kafka (`max.request.partition.size.limit`).
const PAGE: usize = 2_000;

/// One topic on its way into a page: its name, and what it is or why not.
type Found = (String, Result<([u8; 16], usize), i16>);

/// Describes topics in the order of their names, from the cursor on, up to the limit.
pub fn ask<'a>(request: DescribeTopicPartitionsRequest<'a>, context: &Context<'_>) -> Plan<'a> {
    let epoch = context.greeting.leader_epoch;
    let limit = (request.response_partition_limit.max(1) as usize).min(PAGE);
    // A cursor names one of the topics that are asked for.
    let lost = request.cursor.as_ref().is_some_and(|cursor| {
        let asked = request.topics.iter().any(|t| t.name == &*cursor.topic_name);
        cursor.partition_index < 0 || !(asked || request.topics.is_empty())
    });
    let from = request.cursor.map(|c| (c.topic_name.into_owned(), c.partition_index.max(0) as usize));
    if request.topics.is_empty() {
        return Plan::ask(vec![Request::ListTopics], move |replies| {
            let Some(Reply::Topics(lines)) = replies.into_iter().next() else {
                unreachable!("topics were asked for")
            };
            let found = lines.into_iter().map(|line| (line.name, Ok((line.id, line.partitions as usize))));
            page(found.collect(), from, limit, epoch)
        });
    }
    let names = ordered::set(request.topics.into_iter().map(|t| t.name));
    let names: Vec<&'a str> = names.into_iter().collect();
    if lost {
        return refuse_all(&names);
    }
    let one = |name: &&'a str| Request::DescribeTopic { topic: TopicRef::Name(name), create: false };
    let owned: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Plan::ask(names.iter().map(one).collect(), move |replies| {
        let found = owned.into_iter().zip(replies).map(|(name, reply)| match reply {
            Reply::Topic(topic) => (name, Ok((topic.id, topic.partitions.len()))),
            Reply::Refused(refusal) => (name, Err(refused(&refusal).0)),
            other => unreachable!("a description is not answered with {other:?}"),
        });
        page(found.collect(), from, limit, epoch)
    })
}

fn refuse_all<'a>(names: &[&str]) -> Plan<'a> {
    let one = |name: &&str| DescribeTopicPartitionsResponseTopic {
        error_code: KafkaError::InvalidRequest.into(),
        name: Some(Text::Owned((*name).to_owned())),
        ..Default::default()
    };
    Plan::answer(DescribeTopicPartitionsResponse {
        topics: names.iter().map(one).collect(),
        ..Default::default()
    })
}

fn page(
    found: Vec<Found>,
    from: Option<(String, usize)>,
    limit: usize,
    leader_epoch: i32,
) -> DescribeTopicPartitionsResponse<'static> {
    let mut answer = DescribeTopicPartitionsResponse::default();
    let mut left = limit;
    for (name, state) in found {
        let first = match &from {
            Some((at, _)) if name < *at => continue,
            Some((at, first)) if name == *at => *first,
            _ => 0,
        };
        if left == 0 {
            answer.next_cursor =
                Some(Cursor { topic_name: Text::Owned(name), partition_index: first as i32 });
            break;
        }
        let mut topic = DescribeTopicPartitionsResponseTopic {
            name: Some(Text::Owned(name.clone())),
            is_internal: INTERNAL_TOPICS.contains(&name.as_str()),
            topic_authorized_operations: ON_TOPIC,
            ..Default::default()
        };
        match state {
            Err(error_code) => topic.error_code = error_code,
            Ok((id, count)) => {
                let end = count.min(first.saturating_add(left));
                topic.topic_id = Uuid(id);
                topic.partitions = (first..end).map(|n| partition(n as i32, leader_epoch)).collect();
                left -= topic.partitions.len();
                if end < count {
                    answer.next_cursor =
                        Some(Cursor { topic_name: Text::Owned(name), partition_index: end as i32 });
                }
            }
        }
        answer.topics.push(topic);
        if answer.next_cursor.is_some() {
            break;
        }
    }
    answer
}

fn partition(partition_index: i32, leader_epoch: i32) -> DescribeTopicPartitionsResponsePartition {
    DescribeTopicPartitionsResponsePartition {
        partition_index,
        leader_id: NODE,
        leader_epoch,
        replica_nodes: vec![NODE],
        isr_nodes: vec![NODE],
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        ..Default::default()
    }
}
