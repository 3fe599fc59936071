//! DescribeProducers, key 61, version 0, flexible: what a partition remembers of its idempotent producers.

use super::message::message;
use super::plan::{Named, Plan, refused};
use super::wire::{Text, Uuid};
use crate::api::{self, Reply, Request};

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

/// One question for each partition.
pub fn ask(request: DescribeProducersRequest<'_>) -> Plan<'_> {
    let (mut requests, mut asked) = (Vec::new(), Vec::with_capacity(request.topics.len()));
    for topic in request.topics {
        requests.extend(
            topic
                .partition_indexes
                .iter()
                .map(|&partition| Request::DescribeProducers { topic: topic.name, partition }),
        );
        asked.push((Named::of(topic.name, Uuid::default()), topic.partition_indexes));
    }
    Plan::ask(requests, move |replies| {
        let mut replies = replies.into_iter();
        let topics = asked.into_iter().map(|(named, numbers)| TopicResponse {
            name: named.text(),
            partitions: numbers.into_iter().zip(&mut replies).map(producers).collect(),
        });
        DescribeProducersResponse { topics: topics.collect(), ..Default::default() }
    })
}

fn producers((partition_index, reply): (i32, Reply)) -> PartitionResponse<'static> {
    let empty = PartitionResponse { partition_index, ..Default::default() };
    match reply {
        Reply::Producers(producers) => {
            PartitionResponse { active_producers: producers.into_iter().map(state).collect(), ..empty }
        }
        Reply::Refused(refusal) => {
            let (error_code, error_message) = refused(&refusal);
            PartitionResponse { error_code, error_message, ..empty }
        }
        other => unreachable!("a question for producers is not answered with {other:?}"),
    }
}

fn state(producer: api::ProducerState) -> ProducerState {
    ProducerState {
        producer_id: producer.id,
        producer_epoch: producer.epoch.into(),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp,
        coordinator_epoch: -1,
        current_txn_start_offset: producer.txn_start,
    }
}
