//! DeleteRecords, key 21, versions 0 to 2, flexible from 2: moves the log start offset; -1 moves it to the end.

use super::message::message;
use super::plan::{Named, Plan, refused};
use super::wire::{Text, Uuid};
use crate::api::{Reply, Request};

message! {
    /// Asks to delete the oldest records.
    DeleteRecordsRequest<'a> {
        topics: Vec<DeleteRecordsTopic<'a>>;
        timeout_ms: i32;
    }

    /// A topic.
    DeleteRecordsTopic<'a> {
        name: &'a str;
        partitions: Vec<DeleteRecordsPartition>;
    }

    /// A partition, and the offset before which records are deleted; -1: all.
    DeleteRecordsPartition {
        partition_index: i32;
        offset: i64;
    }

    /// The new log start offsets.
    DeleteRecordsResponse<'a> {
        throttle_time_ms: i32;
        topics: Vec<DeleteRecordsTopicResult<'a>>;
    }

    /// Those of a topic.
    DeleteRecordsTopicResult<'a> {
        name: Text<'a>;
        partitions: Vec<DeleteRecordsPartitionResult>;
    }

    /// That of a partition, or -1 and why not.
    DeleteRecordsPartitionResult {
        partition_index: i32;
        low_watermark: i64;
        error_code: i16;
    }
}

/// One move for each partition.
pub fn ask<'a>(request: DeleteRecordsRequest<'a>) -> Plan<'a> {
    let (mut requests, mut asked) = (Vec::new(), Vec::with_capacity(request.topics.len()));
    for topic in request.topics.iter().filter(|t| !t.partitions.is_empty()) {
        let numbers: Vec<i32> = topic.partitions.iter().map(|p| p.partition_index).collect();
        asked.push((Named::of(topic.name, Uuid::default()), numbers));
        requests.extend(topic.partitions.iter().map(|p| Request::DeleteRecords {
            topic: topic.name,
            partition: p.partition_index,
            offset: p.offset,
        }));
    }
    Plan::ask(requests, move |replies| {
        let mut replies = replies.into_iter();
        let topics = asked.into_iter().map(|(named, numbers)| DeleteRecordsTopicResult {
            name: named.text(),
            partitions: numbers.into_iter().zip(&mut replies).map(moved).collect(),
        });
        DeleteRecordsResponse { topics: topics.collect(), ..Default::default() }
    })
}

fn moved((partition_index, reply): (i32, Reply)) -> DeleteRecordsPartitionResult {
    let (low_watermark, error_code) = match &reply {
        Reply::Trimmed(start) => (*start, 0),
        Reply::Refused(refusal) => (-1, refused(refusal).0),
        other => unreachable!("a deletion of records is not answered with {other:?}"),
    };
    DeleteRecordsPartitionResult { partition_index, low_watermark, error_code }
}
