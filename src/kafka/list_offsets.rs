//! ListOffsets, key 2, versions 1 to 10, flexible from 6: the offset of a moment.
//!
//! Negative timestamps have meanings: -1 the end, -2 and -4 the log start, -3 the record with the largest timestamp, -5
//! what is only on other storage, which is nothing.

use super::message::message;
use super::wire::Text;

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
