//! Fetch, key 1, versions 4 to 17, flexible from 12: record batches from an offset on, at once or when they arrive.
//!
//! Topics go by id instead of by name from version 13 on. A fetch session is never opened: session id 0 in the answer
//! declines it.
//!
//! Left out: fetch sessions, replicas, hints at another leader, aborted transactions.

use super::errors::{self, KafkaError};
use super::message::message;
use super::plan::{Context, Named, Plan, has_twice};
use super::wire::{Records, Text, Uuid};
use crate::api::{ErrorCode, FetchTopics, FetchedPart, Reply, Request, TopicRef, TopicWant};

message! {
    /// Asks for records. It may wait `max_wait_ms` for `min_bytes` of them.
    FetchRequest<'a> {
        [12.., tag 0] cluster_id: Option<&'a str>;
        [only ..=14] replica_id: i32 = -1;
        [only 15.., tag 1] replica_state: ReplicaState;
        max_wait_ms: i32;
        min_bytes: i32;
        max_bytes: i32 = i32::MAX;
        isolation_level: i8;
        [7..] session_id: i32;
        [7..] session_epoch: i32 = -1;
        topics: Vec<FetchTopic<'a>>;
        [only 7..] forgotten_topics_data: Vec<ForgottenTopic<'a>>;
        [11..] rack_id: &'a str;
    }

    /// Which replica asks. A consumer is none: -1.
    ReplicaState {
        replica_id: i32 = -1;
        replica_epoch: i64 = -1;
    }

    /// A topic.
    FetchTopic<'a> {
        [..=12] topic: &'a str;
        [13..] topic_id: Uuid;
        partitions: Vec<FetchPartition>;
    }

    /// A partition, and the offset to begin at.
    FetchPartition {
        partition: i32;
        [9..] current_leader_epoch: i32 = -1;
        fetch_offset: i64;
        [only 12..] last_fetched_epoch: i32 = -1;
        [5..] log_start_offset: i64 = -1;
        partition_max_bytes: i32;
        [17.., tag 0] replica_directory_id: Uuid;
    }

    /// Partitions that leave a fetch session.
    ForgottenTopic<'a> {
        [..=12] topic: &'a str;
        [13..] topic_id: Uuid;
        partitions: Vec<i32>;
    }

    /// Records, partition by partition.
    FetchResponse<'a> {
        throttle_time_ms: i32;
        [7..] error_code: i16;
        [only 7..] session_id: i32;
        responses: Vec<FetchableTopicResponse<'a>>;
        [only 16.., tag 0] node_endpoints: Vec<NodeEndpoint<'a>>;
    }

    /// Those of a topic.
    FetchableTopicResponse<'a> {
        [..=12] topic: Text<'a>;
        [13..] topic_id: Uuid;
        partitions: Vec<PartitionData<'a>>;
    }

    /// Those of a partition, and how far it reaches.
    PartitionData<'a> {
        partition_index: i32;
        error_code: i16;
        high_watermark: i64;
        last_stable_offset: i64 = -1;
        [5..] log_start_offset: i64 = -1;
        [only 12.., tag 0] diverging_epoch: EpochEndOffset;
        [only 12.., tag 1] current_leader: LeaderIdAndEpoch;
        [only 12.., tag 2] snapshot_id: SnapshotId;
        aborted_transactions: Option<Vec<AbortedTransaction>>;
        [only 11..] preferred_read_replica: i32 = -1;
        records: Records<'a>;
    }

    /// Where an epoch ended.
    EpochEndOffset {
        epoch: i32 = -1;
        end_offset: i64 = -1;
    }

    /// Who leads a partition; -1: unknown.
    LeaderIdAndEpoch {
        leader_id: i32 = -1;
        leader_epoch: i32 = -1;
    }

    /// A snapshot of a metadata log.
    SnapshotId {
        end_offset: i64 = -1;
        epoch: i32 = -1;
    }

    /// A producer whose records from an offset on are void.
    AbortedTransaction {
        producer_id: i64;
        first_offset: i64;
    }

    /// Where a leader can be reached.
    NodeEndpoint<'a> {
        node_id: i32;
        host: Text<'a>;
        port: i32;
        rack: Option<Text<'a>>;
    }
}

/// The first version in which topics go by id.
const FIRST_WITH_IDS: i16 = 13;

/// One read of all partitions, answered at once or later.
pub fn ask<'a>(request: FetchRequest<'a>, context: &Context<'a>) -> Plan<'a> {
    if request.replica_id >= 0 || request.replica_state.replica_id >= 0 {
        return Plan::Close("Fetch: a replica asks, and there is no replication".into());
    }
    // Epoch -1 ends a session and 0 begins one: both are whole requests, whatever session they name.
    if !matches!(request.session_epoch, -1 | 0) {
        return refuse(KafkaError::FetchSessionIdNotFound);
    }
    let all = || {
        request
            .topics
            .iter()
            .flat_map(|t| t.partitions.iter().map(move |p| (t.topic, t.topic_id, p.partition)))
    };
    if has_twice(all()) {
        return refuse(KafkaError::InvalidRequest);
    }
    let (mut wants, mut asked) = (Vec::new(), Vec::with_capacity(request.topics.len()));
    // A topic without partitions has no place in the answer: librdkafka takes that for a damaged one.
    for of in request.topics.iter().filter(|of| !of.partitions.is_empty()) {
        asked.push((Named::of(of.topic, of.topic_id), of.partitions.len()));
        let by_id = context.version >= FIRST_WITH_IDS;
        wants.extend(of.partitions.iter().map(|p| TopicWant {
            topic: if by_id { TopicRef::Id(of.topic_id.0) } else { TopicRef::Name(of.topic) },
            number: p.partition,
            offset: p.fetch_offset,
            max_bytes: at_least_zero(p.partition_max_bytes),
            leader_epoch: p.current_leader_epoch,
        }));
    }
    let fetch = FetchTopics {
        wants,
        min_bytes: at_least_zero(request.min_bytes),
        max_wait_ms: at_least_zero(request.max_wait_ms),
        max_bytes: at_least_zero(request.max_bytes),
        client: (context.client_id, context.client_host),
    };
    let committed = request.isolation_level == 1;
    Plan::ask(vec![Request::FetchTopics(fetch)], move |replies| answer(asked, replies, committed))
}

fn at_least_zero(n: i32) -> u32 {
    n.max(0) as u32
}

fn refuse<'a>(error: KafkaError) -> Plan<'a> {
    Plan::answer(FetchResponse { error_code: error.into(), ..Default::default() })
}

fn answer(asked: Vec<(Named, usize)>, replies: Vec<Reply>, committed: bool) -> FetchResponse<'static> {
    let Some(Reply::Fetched { parts }) = replies.into_iter().next() else {
        unreachable!("a fetch is answered with parts")
    };
    let mut parts = parts.into_iter();
    let topic = |(named, count): (Named, usize)| FetchableTopicResponse {
        topic: named.text(),
        topic_id: named.id,
        partitions: parts.by_ref().take(count).map(|part| data(part, committed)).collect(),
    };
    FetchResponse { responses: asked.into_iter().map(topic).collect(), ..Default::default() }
}

/// What one partition has. Without transactions everything that may be seen is committed.
fn data(part: FetchedPart, committed: bool) -> PartitionData<'static> {
    let known = |offset| if part.error == ErrorCode::None { offset } else { -1 };
    PartitionData {
        partition_index: part.number,
        error_code: errors::number(part.error),
        high_watermark: known(part.high_watermark),
        last_stable_offset: known(part.high_watermark),
        log_start_offset: known(part.log_start),
        // Kafka has none of a partition that is not there, and tells nothing of them to readers that do not ask.
        aborted_transactions: (committed || is_unknown(part.error)).then(Vec::new),
        // Not null where there is nothing: librdkafka takes that for a damaged answer.
        records: part.chunk.map_or(Records::Bytes(&[]), Records::Chunk),
        ..Default::default()
    }
}

fn is_unknown(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId)
}
