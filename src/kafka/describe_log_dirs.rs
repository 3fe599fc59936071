//! DescribeLogDirs, key 35, versions 1 to 4, flexible from 2: how much of which disk partitions take.
//!
//! There is one folder.

use super::message::message;
use super::wire::Text;

message! {
    /// Asks for the sizes of partitions; null: of all.
    DescribeLogDirsRequest<'a> {
        topics: Option<Vec<DescribableLogDirTopic<'a>>>;
    }

    /// Some of a topic.
    DescribableLogDirTopic<'a> {
        topic: &'a str;
        partitions: Vec<i32>;
    }

    /// Sizes, by folder.
    DescribeLogDirsResponse<'a> {
        throttle_time_ms: i32;
        [3..] error_code: i16;
        results: Vec<DescribeLogDirsResult<'a>>;
    }

    /// A folder.
    DescribeLogDirsResult<'a> {
        error_code: i16;
        log_dir: Text<'a>;
        topics: Vec<DescribeLogDirsTopic<'a>>;
        [4..] total_bytes: i64 = -1;
        [4..] usable_bytes: i64 = -1;
    }

    /// What a topic has there.
    DescribeLogDirsTopic<'a> {
        name: Text<'a>;
        partitions: Vec<DescribeLogDirsPartition>;
    }

    /// What a partition takes, in bytes.
    DescribeLogDirsPartition {
        partition_index: i32;
        partition_size: i64;
        offset_lag: i64;
        is_future_key: bool;
    }
}
