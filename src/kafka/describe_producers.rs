//! DescribeProducers, key 61, version 0, flexible: what a partition remembers of its idempotent producers.

use super::message::message;
use super::wire::Text;

message! {
    /// Asks who has produced to partitions.
    DescribeProducersRequest<'a> {
        topics: Vec<TopicRequest<'a>>;
    }

    /// One topic of them.
    TopicRequest<'a> {
        name: &'a str;
        partition_indexes: Vec<i32>;
    }

    /// The producers.
    DescribeProducersResponse<'a> {
        throttle_time_ms: i32;
        topics: Vec<TopicResponse<'a>>;
    }

    /// Those of a topic.
    TopicResponse<'a> {
        name: Text<'a>;
        partitions: Vec<PartitionResponse<'a>>;
    }

    /// Those of a partition.
    PartitionResponse<'a> {
        partition_index: i32;
        error_code: i16;
        error_message: Option<Text<'a>>;
        active_producers: Vec<ProducerState>;
    }

    /// A producer, and the last that came from it.
    ProducerState {
        producer_id: i64;
        producer_epoch: i32;
        last_sequence: i32 = -1;
        last_timestamp: i64 = -1;
        coordinator_epoch: i32;
        current_txn_start_offset: i64 = -1;
    }
}
