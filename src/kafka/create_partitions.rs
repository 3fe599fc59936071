//! CreatePartitions, key 37, versions 0 to 3, flexible from 2: makes the partitions of a topic more numerous.

use super::message::message;
use super::wire::Text;

message! {
    /// Asks for more partitions.
    CreatePartitionsRequest<'a> {
        topics: Vec<CreatePartitionsTopic<'a>>;
        timeout_ms: i32;
        validate_only: bool;
    }

    /// A topic, and how many partitions it shall have in all.
    CreatePartitionsTopic<'a> {
        name: &'a str;
        count: i32;
        assignments: Option<Vec<CreatePartitionsAssignment>>;
    }

    /// The replicas of one new partition.
    CreatePartitionsAssignment {
        broker_ids: Vec<i32>;
    }

    /// A result for each topic.
    CreatePartitionsResponse<'a> {
        throttle_time_ms: i32;
        results: Vec<CreatePartitionsTopicResult<'a>>;
    }

    /// One of them.
    CreatePartitionsTopicResult<'a> {
        name: Text<'a>;
        error_code: i16;
        error_message: Option<Text<'a>>;
    }
}
