//! ListPartitionReassignments, key 46, version 0, flexible: replicas that are moving, which is never the case here.

use super::message::message;
use super::plan::Plan;
use super::wire::Text;

message! {
    /// Asks what is moving; null: anywhere.
    ListPartitionReassignmentsRequest<'a> {
        timeout_ms: i32 = 60_000;
        topics: Option<Vec<ListPartitionReassignmentsTopics<'a>>>;
    }

    /// Partitions of a topic.
    ListPartitionReassignmentsTopics<'a> {
        name: &'a str;
        partition_indexes: Vec<i32>;
    }

    /// What is moving.
    ListPartitionReassignmentsResponse<'a> {
        throttle_time_ms: i32;
        error_code: i16;
        error_message: Option<Text<'a>>;
        topics: Vec<OngoingTopicReassignment<'a>>;
    }

    /// What of a topic is.
    OngoingTopicReassignment<'a> {
        name: Text<'a>;
        partitions: Vec<OngoingPartitionReassignment>;
    }

    /// A partition, and between which brokers.
    OngoingPartitionReassignment {
        partition_index: i32;
        replicas: Vec<i32>;
        adding_replicas: Vec<i32>;
        removing_replicas: Vec<i32>;
    }
}

/// Nothing moves.
pub fn ask<'a>() -> Plan<'a> {
    Plan::answer(ListPartitionReassignmentsResponse::default())
}
