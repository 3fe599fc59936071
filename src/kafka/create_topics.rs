//! CreateTopics, key 19, versions 2 to 7, flexible from 5.
//!
//! -1 partitions or replicas ask for the default. The answer tells the settings from version 5 on, the id from version
//! 7 on.

use super::NODE;
use super::errors::{self, KafkaError};
use super::message::message;
use super::plan::{Context, Plan, refused};
use super::wire::{Text, Uuid};
use crate::api::{Reply, Request, SettingSource, TopicDescription};
use crate::ordered;

message! {
    /// Asks for new topics.
    CreateTopicsRequest<'a> {
        topics: Vec<CreatableTopic<'a>>;
        timeout_ms: i32 = 60_000;
        validate_only: bool;
    }

    /// One of them. -1 partitions or replicas: the default.
    CreatableTopic<'a> {
        name: &'a str;
        num_partitions: i32;
        replication_factor: i16;
        assignments: Vec<CreatableReplicaAssignment>;
        configs: Vec<CreatableTopicConfig<'a>>;
    }

    /// The replicas of one partition, chosen by the client.
    CreatableReplicaAssignment {
        partition_index: i32;
        broker_ids: Vec<i32>;
    }

    /// A setting.
    CreatableTopicConfig<'a> {
        name: &'a str;
        value: Option<&'a str>;
    }

    /// A result for each topic.
    CreateTopicsResponse<'a> {
        throttle_time_ms: i32;
        topics: Vec<CreatableTopicResult<'a>>;
    }

    /// One of them.
    CreatableTopicResult<'a> {
        name: Text<'a>;
        [7..] topic_id: Uuid;
        error_code: i16;
        error_message: Option<Text<'a>>;
        [5.., tag 0] topic_config_error_code: i16;
        [5..] num_partitions: i32 = -1;
        [5..] replication_factor: i16 = -1;
        [5..] configs: Option<Vec<CreatableTopicConfigs<'a>>>;
    }

    /// A setting that the new topic has.
    CreatableTopicConfigs<'a> {
        name: Text<'a>;
        value: Option<Text<'a>>;
        read_only: bool;
        config_source: i8 = -1;
        is_sensitive: bool;
    }
}

/// Why a topic is refused before the broker is asked.
type Wrong = (KafkaError, &'static str);

/// One creation for each topic that makes sense.
pub fn ask<'a>(request: CreateTopicsRequest<'a>, context: &Context<'_>) -> Plan<'a> {
    let names: Vec<&str> = request.topics.iter().map(|t| t.name).collect();
    let twice = |name: &str| names.iter().filter(|other| **other == name).count() > 1;
    let (mut requests, mut asked): (_, Vec<(String, Option<Wrong>)>) =
        (Vec::new(), Vec::with_capacity(names.len()));
    for topic in request.topics {
        let wanted = if !twice(topic.name) {
            valued(&topic).and_then(|()| partitions(&topic))
        } else if asked.iter().any(|(name, _)| name == topic.name) {
            // One result tells of both.
            continue;
        } else {
            Err((KafkaError::InvalidRequest, "the request names this topic twice"))
        };
        asked.push((topic.name.to_owned(), wanted.err()));
        requests.extend(wanted.ok().map(|partitions| Request::CreateTopic {
            topic: topic.name,
            partitions,
            settings: topic.configs.iter().filter_map(|c| Some((c.name, c.value?))).collect(),
            validate_only: request.validate_only,
        }));
    }
    let version = context.version;
    Plan::ask(requests, move |replies| {
        let mut replies = replies.into_iter();
        let topics = asked.into_iter().map(|(name, wrong)| match wrong {
            Some((error, why)) => refusal(name, error.into(), Some(Text::Borrowed(why)), version),
            None => created(name, replies.next(), version),
        });
        CreateTopicsResponse { topics: topics.collect(), ..Default::default() }
    })
}

/// Every setting must have a value.
fn valued(topic: &CreatableTopic<'_>) -> Result<(), Wrong> {
    match topic.configs.iter().any(|c| c.value.is_none()) {
        true => Err((KafkaError::InvalidConfig, "null is not a value")),
        false => Ok(()),
    }
}

/// How many partitions are wanted; `None`: the default. The client may place replicas itself, if it places one of each
/// partition here.
fn partitions(topic: &CreatableTopic<'_>) -> Result<Option<i32>, Wrong> {
    if topic.assignments.is_empty() {
        return match (topic.num_partitions, topic.replication_factor) {
            (_, ..=-2 | 0 | 2..) => Err((
                KafkaError::InvalidReplicationFactor,
                "there is one broker, so the replication factor is 1",
            )),
            (-1, _) => Ok(None),
            (count, _) => Ok(Some(count)),
        };
    }
    if topic.num_partitions != -1 || topic.replication_factor != -1 {
        let why = "with an assignment of replicas, partitions and replication factor must be -1";
        return Err((KafkaError::InvalidRequest, why));
    }
    let numbers = ordered::set(topic.assignments.iter().map(|a| a.partition_index));
    let consecutive = numbers.iter().copied().eq(0..topic.assignments.len() as i32);
    if !consecutive || topic.assignments.iter().any(|a| a.broker_ids != [NODE]) {
        let why = "an assignment numbers partitions from 0 on, and each has its one replica on broker 1";
        return Err((KafkaError::InvalidReplicaAssignment, why));
    }
    Ok(Some(numbers.len() as i32))
}

/// In Kafka, too, the settings of a topic that was not created are none rather than unknown.
fn refusal(
    name: String,
    error_code: i16,
    error_message: Option<Text<'static>>,
    version: i16,
) -> CreatableTopicResult<'static> {
    let configs = (version >= 5).then(Vec::new);
    CreatableTopicResult { name: Text::Owned(name), error_code, error_message, configs, ..Default::default() }
}

fn created(name: String, reply: Option<Reply>, version: i16) -> CreatableTopicResult<'static> {
    match reply {
        Some(Reply::Topic(topic)) => CreatableTopicResult {
            name: Text::Owned(name),
            topic_id: Uuid(topic.id),
            num_partitions: topic.partitions.len() as i32,
            replication_factor: 1,
            configs: (version >= 5).then(|| configs(&topic)),
            ..Default::default()
        },
        Some(Reply::Refused(refused_by_broker)) => {
            let (error_code, text) = refused(&refused_by_broker);
            refusal(name, error_code, text, version)
        }
        _ => refusal(name, errors::number(crate::api::ErrorCode::Unknown), None, version),
    }
}

fn configs(topic: &TopicDescription) -> Vec<CreatableTopicConfigs<'static>> {
    let one = |line: &crate::api::SettingLine| CreatableTopicConfigs {
        name: Text::Borrowed(line.name),
        value: Some(Text::Owned(line.value.clone())),
        read_only: line.read_only,
        config_source: source(line.source),
        is_sensitive: false,
    };
    topic.settings.iter().map(one).collect()
}

/// Kafka's numbers for where a value comes from.
pub fn source(source: SettingSource) -> i8 {
    match source {
        SettingSource::Topic => 1,
        SettingSource::Broker => 4,
        SettingSource::Default => 5,
    }
}
