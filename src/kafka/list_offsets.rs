//! ListOffsets, key 2, versions 1 to 10, flexible from 6: the offset of a moment.
//!
//! Negative timestamps have meanings: -1 the end, -2 and -4 the log start, -3 the record with the largest timestamp, -5
//! what is only on other storage, which is nothing.

use super::errors::KafkaError;
use super::message::message;
use super::plan::{Named, Plan, named_twice, refused};
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

/// The number of a partition and the timestamp that is looked for, or why it is not.
type Asked = (i32, Result<i64, KafkaError>);
/// The timestamp that means what lies on other storage, which is nothing: the broker is not asked.
const ON_OTHER_STORAGE: i64 = -5;

/// One lookup for each partition.
pub fn ask<'a>(request: ListOffsetsRequest<'a>, version: i16) -> Plan<'a> {
    let all =
        request.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (t.name, p.partition_index)));
    let twice = named_twice(all);
    let (mut requests, mut asked) = (Vec::new(), Vec::with_capacity(request.topics.len()));
    for topic in request.topics.iter().filter(|t| !t.partitions.is_empty()) {
        let mut partitions: Vec<Asked> = Vec::with_capacity(topic.partitions.len());
        for p in &topic.partitions {
            let at = match twice.contains(&(topic.name, p.partition_index)) {
                true => Err(KafkaError::InvalidRequest),
                false => at(p.timestamp, version),
            };
            partitions.push((p.partition_index, at.as_ref().map(|_| p.timestamp).map_err(|e| *e)));
            requests.extend(at.ok().flatten().map(|at| Request::ListOffsets {
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
fn at(timestamp: i64, version: i16) -> Result<Option<At>, KafkaError> {
    match timestamp {
        -1 => Ok(Some(At::Latest)),
        -2 => Ok(Some(At::Earliest)),
        -3 if version >= 7 => Ok(Some(At::MaxTimestamp)),
        -4 if version >= 8 => Ok(Some(At::Earliest)),
        -5 if version >= 9 => Ok(None),
        ..0 => Err(KafkaError::UnsupportedVersion),
        _ => Ok(Some(At::Timestamp(timestamp))),
    }
}

fn found(
    (partition_index, asked): Asked,
    replies: &mut impl Iterator<Item = Reply>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let nothing = ListOffsetsPartitionResponse { partition_index, ..Default::default() };
    let timestamp = match asked {
        Ok(ON_OTHER_STORAGE) => return nothing,
        Ok(timestamp) => timestamp,
        Err(error) => return ListOffsetsPartitionResponse { error_code: error.into(), ..nothing },
    };
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
