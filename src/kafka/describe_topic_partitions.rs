//! DescribeTopicPartitions, key 75, version 0, flexible: topics page by page.
//!
//! The answer holds as many partitions as the request allows, and a cursor when there are more.

use super::message::message;
use super::wire::{Text, Uuid};

message! {
    /// Asks for topics, from the cursor on; no topics: for all.
    DescribeTopicPartitionsRequest<'a> {
        topics: Vec<TopicRequest<'a>>;
        response_partition_limit: i32 = 2_000;
        cursor: Option<Cursor<'a>>;
    }

    /// One topic of them.
    TopicRequest<'a> {
        name: &'a str;
    }

    /// A place in the list of all partitions: the next one to describe.
    Cursor<'a> {
        topic_name: Text<'a>;
        partition_index: i32;
    }

    /// A page of them; a cursor says that there are more.
    DescribeTopicPartitionsResponse<'a> {
        throttle_time_ms: i32;
        topics: Vec<DescribeTopicPartitionsResponseTopic<'a>>;
        next_cursor: Option<Cursor<'a>>;
    }

    /// A topic.
    DescribeTopicPartitionsResponseTopic<'a> {
        error_code: i16;
        name: Option<Text<'a>>;
        topic_id: Uuid;
        is_internal: bool;
        partitions: Vec<DescribeTopicPartitionsResponsePartition>;
        topic_authorized_operations: i32 = i32::MIN;
    }

    /// A partition.
    DescribeTopicPartitionsResponsePartition {
        error_code: i16;
        partition_index: i32;
        leader_id: i32;
        leader_epoch: i32 = -1;
        replica_nodes: Vec<i32>;
        isr_nodes: Vec<i32>;
        eligible_leader_replicas: Option<Vec<i32>>;
        last_known_elr: Option<Vec<i32>>;
        offline_replicas: Vec<i32>;
    }
}
