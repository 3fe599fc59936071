//! DeleteRecords, key 21, versions 0 to 2, flexible from 2: moves the log start offset; -1 moves it to the end.

use super::message::message;
use super::wire::Text;

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
