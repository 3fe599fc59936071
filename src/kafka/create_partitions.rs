//! CreatePartitions, key 37, versions 0 to 3, flexible from 2: makes the partitions of a topic more numerous.

use super::NODE;
use super::errors::KafkaError;
use super::message::message;
use super::plan::{Plan, result};
use super::wire::Text;
use crate::api::Request;

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

/// Why a topic is refused before the broker is asked.
type Wrong = (KafkaError, &'static str);

/// One change for each topic that makes sense.
pub fn ask(request: CreatePartitionsRequest<'_>) -> Plan<'_> {
    let names: Vec<&str> = request.topics.iter().map(|t| t.name).collect();
    let (mut requests, mut asked): (_, Vec<(String, Option<Wrong>)>) =
        (Vec::new(), Vec::with_capacity(names.len()));
    for topic in &request.topics {
        let wrong = if names.iter().filter(|name| **name == topic.name).count() > 1 {
            if asked.iter().any(|(name, _)| name == topic.name) {
                // One result tells of both.
                continue;
            }
            Some((KafkaError::InvalidRequest, "the request names this topic twice"))
        } else {
            misplaced(topic)
        };
        asked.push((topic.name.to_owned(), wrong));
        if wrong.is_none() {
            let validate_only = request.validate_only;
            requests.push(Request::CreatePartitions { topic: topic.name, count: topic.count, validate_only });
        }
    }
    Plan::ask(requests, move |replies| {
        let mut replies = replies.into_iter();
        let results = asked.into_iter().map(|(name, wrong)| {
            let (error_code, error_message) = match wrong {
                Some((error, why)) => (error.into(), Some(Text::Borrowed(why))),
                None => result(&replies.next().expect("one reply for each request")),
            };
            CreatePartitionsTopicResult { name: Text::Owned(name), error_code, error_message }
        });
        CreatePartitionsResponse { results: results.collect(), ..Default::default() }
    })
}

/// A client that places replicas itself can place them here only.
fn misplaced(topic: &CreatePartitionsTopic<'_>) -> Option<Wrong> {
    let assignments = topic.assignments.as_ref()?;
    let elsewhere = assignments.iter().any(|a| a.broker_ids != [NODE]);
    elsewhere
        .then_some((KafkaError::InvalidReplicaAssignment, "each partition has its one replica on broker 1"))
}
