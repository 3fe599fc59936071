//! ElectLeaders, key 43, versions 0 to 2, flexible from 2: with one broker there is nothing to elect.

use super::errors::KafkaError;
use super::message::message;
use super::plan::{Context, Plan};
use super::wire::Text;
use crate::api::{Reply, Request};

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

/// Every partition has its leader already.
pub fn ask<'a>(request: ElectLeadersRequest<'a>, _: &Context<'_>) -> Plan<'a> {
    let Some(topics) = request.topic_partitions else {
        return Plan::ask(vec![Request::ListTopics], |replies| {
            let Some(Reply::Topics(lines)) = replies.into_iter().next() else {
                unreachable!("topics were asked for")
            };
            answer(lines.into_iter().map(|line| (line.name, (0..line.partitions as i32).collect())))
        });
    };
    Plan::answer(answer(topics.into_iter().map(|t| (t.topic.to_owned(), t.partitions))))
}

fn answer(topics: impl Iterator<Item = (String, Vec<i32>)>) -> ElectLeadersResponse<'static> {
    let partition = |partition_id| PartitionResult {
        partition_id,
        error_code: KafkaError::ElectionNotNeeded.into(),
        error_message: Some(Text::Borrowed("there is one broker, which leads every partition")),
    };
    let topic = |(name, numbers): (String, Vec<i32>)| ReplicaElectionResult {
        topic: Text::Owned(name),
        partition_result: numbers.into_iter().map(partition).collect(),
    };
    ElectLeadersResponse { replica_election_results: topics.map(topic).collect(), ..Default::default() }
}
