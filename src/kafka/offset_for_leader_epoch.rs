//! OffsetForLeaderEpoch, key 23, versions 2 to 4, flexible from 4: where a leader epoch ended.
//!
//! A consumer asks after the epoch has changed, to see whether records that it has read were cut off.

use super::message::message;
use super::plan::{Named, Plan, refused};
use super::wire::{Text, Uuid};
use crate::api::{Reply, Request};

message! {
    /// Asks where epochs ended.
    OffsetForLeaderEpochRequest<'a> {
        [3..] replica_id: i32 = -2;
        topics: Vec<OffsetForLeaderTopic<'a>>;
    }

    /// A topic.
    OffsetForLeaderTopic<'a> {
        topic: &'a str;
        partitions: Vec<OffsetForLeaderPartition>;
    }

    /// A partition, the epoch that the client believes current, and the one that it asks for.
    OffsetForLeaderPartition {
        partition: i32;
        current_leader_epoch: i32 = -1;
        leader_epoch: i32;
    }

    /// The ends.
    OffsetForLeaderEpochResponse<'a> {
        throttle_time_ms: i32;
        topics: Vec<OffsetForLeaderTopicResult<'a>>;
    }

    /// Those of a topic.
    OffsetForLeaderTopicResult<'a> {
        topic: Text<'a>;
        partitions: Vec<EpochEndOffset>;
    }

    /// Where an epoch ended.
    EpochEndOffset {
        error_code: i16;
        partition: i32;
        leader_epoch: i32 = -1;
        end_offset: i64 = -1;
    }
}

/// One question for each partition.
pub fn ask(request: OffsetForLeaderEpochRequest<'_>) -> Plan<'_> {
    let (mut requests, mut asked) = (Vec::new(), Vec::with_capacity(request.topics.len()));
    for topic in &request.topics {
        let numbers: Vec<i32> = topic.partitions.iter().map(|p| p.partition).collect();
        asked.push((Named::of(topic.topic, Uuid::default()), numbers));
        requests.extend(topic.partitions.iter().map(|p| Request::OffsetForLeaderEpoch {
            topic: topic.topic,
            partition: p.partition,
            current: p.current_leader_epoch,
            epoch: p.leader_epoch,
        }));
    }
    Plan::ask(requests, move |replies| {
        let mut replies = replies.into_iter();
        let topics = asked.into_iter().map(|(named, numbers)| OffsetForLeaderTopicResult {
            topic: named.text(),
            partitions: numbers.into_iter().zip(&mut replies).map(end).collect(),
        });
        OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
    })
}

fn end((partition, reply): (i32, Reply)) -> EpochEndOffset {
    match reply {
        Reply::EpochEnd { epoch, end_offset } => {
            EpochEndOffset { partition, leader_epoch: epoch, end_offset, ..Default::default() }
        }
        Reply::Refused(refusal) => {
            EpochEndOffset { partition, error_code: refused(&refusal).0, ..Default::default() }
        }
        other => unreachable!("a question for an epoch is not answered with {other:?}"),
    }
}
