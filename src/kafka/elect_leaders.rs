//! ElectLeaders, key 43, versions 0 to 2, flexible from 2: with one broker there is nothing to elect.

use super::errors::KafkaError;
use super::message::message;
use super::plan::{Context, Plan};
use super::wire::Text;
use crate::api::{Reply, Request, TopicLine, TopicRef};

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

/// Kinds of elections: of the preferred replica, and of one that may lack records.
const KINDS: std::ops::RangeInclusive<i8> = 0..=1;

/// Every partition has its leader already. Without a list every partition is meant.
pub fn ask<'a>(request: ElectLeadersRequest<'a>, _: &Context<'_>) -> Plan<'a> {
    let known = KINDS.contains(&request.election_type);
    let Some(topics) = request.topic_partitions else {
        return Plan::ask(vec![Request::ListTopics], move |replies| {
            let Some(Reply::Topics(lines)) = replies.into_iter().next() else {
                unreachable!("topics were asked for")
            };
            let all = |line: TopicLine| {
                (line.name, (0..line.partitions as i32).collect(), line.partitions as usize)
            };
            answer(known, lines.into_iter().map(all))
        });
    };
    let one =
        |t: &TopicPartitions<'a>| Request::DescribeTopic { topic: TopicRef::Name(t.topic), create: false };
    let requests = topics.iter().map(one).collect();
    let asked: Vec<(String, Vec<i32>)> =
        topics.into_iter().map(|t| (t.topic.to_owned(), t.partitions)).collect();
    Plan::ask(requests, move |replies| {
        let count = |reply: Reply| match reply {
            Reply::Topic(topic) => topic.partitions.len(),
            _ => 0,
        };
        let topics = asked.into_iter().zip(replies);
        answer(known, topics.map(|((name, numbers), reply)| (name, numbers, count(reply))))
    })
}

/// From the name of each topic, the partitions that are asked for, and how many it has.
fn answer(
    known: bool,
    topics: impl Iterator<Item = (String, Vec<i32>, usize)>,
) -> ElectLeadersResponse<'static> {
    let topic = |(name, numbers, count): (String, Vec<i32>, usize)| ReplicaElectionResult {
        topic: Text::Owned(name),
        partition_result: numbers.into_iter().map(|number| elected(known, number, count)).collect(),
    };
    let error = if known { KafkaError::None } else { KafkaError::InvalidRequest };
    ElectLeadersResponse {
        error_code: error.into(),
        replica_election_results: topics.map(topic).collect(),
        ..Default::default()
    }
}

fn elected(known: bool, partition_id: i32, count: usize) -> PartitionResult<'static> {
    let (error, why) = if !known {
        (KafkaError::InvalidRequest, "election types are 0 preferred and 1 unclean")
    } else if (0..count as i32).contains(&partition_id) {
        (KafkaError::ElectionNotNeeded, "there is one broker, which leads every partition")
    } else {
        (KafkaError::UnknownTopicOrPartition, "there is no such partition")
    };
    PartitionResult { partition_id, error_code: error.into(), error_message: Some(Text::Borrowed(why)) }
}
