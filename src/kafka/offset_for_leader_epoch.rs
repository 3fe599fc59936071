//! OffsetForLeaderEpoch, key 23, versions 2 to 4, flexible from 4: where a leader epoch ended.
//!
//! A consumer asks after the epoch has changed, to see whether records that it has read were cut off.

use super::message::message;
use super::wire::Text;

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
