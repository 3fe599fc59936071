//! Fetch, key 1, versions 4 to 17, flexible from 12: record batches from an offset on, at once or when they arrive.
//!
//! Topics go by id instead of by name from version 13 on. A fetch session is never opened: session id 0 in the answer
//! declines it.
//!
//! Left out: fetch sessions, replicas, hints at another leader, aborted transactions.

use super::message::message;
use super::wire::{Records, Text, Uuid};

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
