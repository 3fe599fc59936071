//! ListOffsets, key 2, versions 1 to 10, flexible from 6: the offset of a moment.
//!
//! Negative timestamps have meanings: -1 the end, -2 and -4 the log start, -3 the record with the largest timestamp, -5
//! what is only on other storage, which is nothing.

use super::errors::KafkaError;
use super::message::message;
use super::plan::{Named, Plan, has_twice, refused};
use super::wire::{Text, Uuid};
use crate::api::{At, Reply, Request, TopicRef};

message! {
    /// Asks for offsets. Isolation level 1 means: only what is committed.
    ListOffsetsRequest<'a> {
        replica_id: i32;
        [only 2..] isolation_level: i8;
        topics: Vec<ListOffsetsTopic<'a>>;
        [10..] timeout_ms: i32;
    }

    /// A topic.
    ListOffsetsTopic<'a> {
        name: &'a str;
        partitions: Vec<ListOffsetsPartition>;
    }

    /// A partition, and the timestamp that is looked for.
    ListOffsetsPartition {
        partition_index: i32;
        [4..] current_leader_epoch: i32 = -1;
        timestamp: i64;
    }

    /// The offsets.
    ListOffsetsResponse<'a> {
        [2..] throttle_time_ms: i32;
        topics: Vec<ListOffsetsTopicResponse<'a>>;
    }

    /// Those of a topic.
    ListOffsetsTopicResponse<'a> {
        name: Text<'a>;
        partitions: Vec<ListOffsetsPartitionResponse>;
    }

    /// That of a partition; -1: no record is that young.
    ListOffsetsPartitionResponse {
        partition_index: i32;
        error_code: i16;
        timestamp: i64 = -1;
        offset: i64 = -1;
        [only 4..] leader_epoch: i32 = -1;
    }
}

/// What a partition is asked for, by number; `None`: there is nothing to ask the broker.
type Asked = (i32, Option<i64>);

/// One lookup for each partition.
pub fn ask<'a>(request: ListOffsetsRequest<'a>, version: i16) -> Plan<'a> {
    let all =
        || request.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (t.name, p.partition_index)));
    if has_twice(all()) {
        return Plan::Close("ListOffsets: a partition is asked for twice".into());
    }
    let (mut requests, mut asked) = (Vec::new(), Vec::with_capacity(request.topics.len()));
    for topic in &request.topics {
        let mut partitions: Vec<Asked> = Vec::with_capacity(topic.partitions.len());
        for p in &topic.partitions {
            let at = at(p.timestamp);
            partitions.push((p.partition_index, at.map(|_| p.timestamp)));
            requests.extend(at.map(|at| Request::ListOffsets {
                topic: TopicRef::Name(topic.name),
                // A number below 0 becomes one that no partition has.
                partition: Some(p.partition_index as u32),
                leader_epoch: p.current_leader_epoch,
                at,
            }));
        }
        asked.push((Named::of(topic.name, Uuid::default()), partitions));
    }
    Plan::ask(requests, move |replies| {
        let mut replies = replies.into_iter();
        let topics = asked.into_iter().map(|(named, partitions)| ListOffsetsTopicResponse {
            name: named.text(),
            partitions: partitions.into_iter().map(|asked| found(asked, &mut replies, version)).collect(),
        });
        ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
    })
}

/// What a timestamp means; `None`: what lies on other storage, which is nothing.
fn at(timestamp: i64) -> Option<At> {
    match timestamp {
        -1 => Some(At::Latest),
        -2 | -4 => Some(At::Earliest),
        -3 => Some(At::MaxTimestamp),
        ..0 => None,
        _ => Some(At::Timestamp(timestamp)),
    }
}

fn found(
    (partition_index, timestamp): Asked,
    replies: &mut impl Iterator<Item = Reply>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let nothing = ListOffsetsPartitionResponse { partition_index, ..Default::default() };
    let Some(timestamp) = timestamp else { return nothing };
    match replies.next() {
        Some(Reply::Offsets { parts }) => {
            let position = parts[0];
            // By time there is an offset only if there is such a record.
            let by_time = timestamp >= 0 || timestamp == -3;
            if by_time && position.timestamp == -1 {
                return nothing;
            }
            ListOffsetsPartitionResponse {
                offset: position.offset,
                timestamp: position.timestamp,
                leader_epoch: if version >= 4 { position.leader_epoch } else { -1 },
                ..nothing
            }
        }
        Some(Reply::Refused(refusal)) => {
            ListOffsetsPartitionResponse { error_code: refused(&refusal).0, ..nothing }
        }
        _ => ListOffsetsPartitionResponse { error_code: KafkaError::UnknownServerError.into(), ..nothing },
    }
}
