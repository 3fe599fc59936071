//! ElectLeaders, key 43, versions 0 to 2, flexible from 2: with one broker there is nothing to elect.

use super::message::message;
use super::wire::Text;

message! {
    /// Asks for elections; null: in all partitions.
    ElectLeadersRequest<'a> {
        [only 1..] election_type: i8;
        topic_partitions: Option<Vec<TopicPartitions<'a>>>;
        timeout_ms: i32 = 60_000;
    }

    /// Partitions of a topic.
    TopicPartitions<'a> {
        topic: &'a str;
        partitions: Vec<i32>;
    }

    /// A result for each partition.
    ElectLeadersResponse<'a> {
        throttle_time_ms: i32;
        [only 1..] error_code: i16;
        replica_election_results: Vec<ReplicaElectionResult<'a>>;
    }

    /// Those of a topic.
    ReplicaElectionResult<'a> {
        topic: Text<'a>;
        partition_result: Vec<PartitionResult<'a>>;
    }

    /// That of a partition.
    PartitionResult<'a> {
        partition_id: i32;
        error_code: i16;
        error_message: Option<Text<'a>>;
    }
}
