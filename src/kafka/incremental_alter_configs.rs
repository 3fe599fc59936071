//! IncrementalAlterConfigs, key 44, versions 0 and 1, flexible from 1: changes single settings of topics.
//!
//! Operations: 0 set, 1 delete, 2 append to a list, 3 subtract from a list.

use super::NODE;
use super::errors::KafkaError;
use super::message::message;
use super::plan::{Plan, named_twice, result};
use super::wire::Text;
use crate::api::{Change, Op, Request};

message! {
    /// Changes, by resource.
    IncrementalAlterConfigsRequest<'a> {
        resources: Vec<AlterConfigsResource<'a>>;
        validate_only: bool;
    }

    /// A resource and its new settings. Type 2 is a topic, 4 a broker.
    AlterConfigsResource<'a> {
        resource_type: i8;
        resource_name: &'a str;
        configs: Vec<AlterableConfig<'a>>;
    }

    /// A setting; null for its default.
    AlterableConfig<'a> {
        name: &'a str;
        config_operation: i8;
        value: Option<&'a str>;
    }

    /// A result for each resource.
    IncrementalAlterConfigsResponse<'a> {
        throttle_time_ms: i32;
        responses: Vec<AlterConfigsResourceResponse<'a>>;
    }

    /// One of them.
    AlterConfigsResourceResponse<'a> {
        error_code: i16;
        error_message: Option<Text<'a>>;
        resource_type: i8;
        resource_name: Text<'a>;
    }
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Why a resource is refused before the broker is asked.
pub type Wrong = (KafkaError, &'static str);

/// One change for each resource that has settings which can be changed.
pub fn ask(request: IncrementalAlterConfigsRequest<'_>) -> Plan<'_> {
    let twice = named_twice(request.resources.iter().map(|r| (r.resource_type, r.resource_name)));
    let (mut requests, mut asked) = (Vec::new(), Vec::with_capacity(request.resources.len()));
    for resource in request.resources {
        let changes: Result<Vec<Change<'_>>, Wrong> = match resource.resource_type {
            _ if twice.contains(&(resource.resource_type, resource.resource_name)) => Err(TWICE),
            TOPIC if !named_twice(resource.configs.iter().map(|c| c.name)).is_empty() => Err(SETTING_TWICE),
            TOPIC => resource.configs.iter().map(change).collect(),
            other => Err(unchangeable(other, resource.resource_name)),
        };
        let wrong = changes.as_ref().err().copied();
        asked.push((resource.resource_type, resource.resource_name.to_owned(), wrong));
        requests.extend(changes.ok().map(|changes| Request::AlterTopic {
            topic: resource.resource_name,
            changes,
            replace: false,
            validate_only: request.validate_only,
        }));
    }
    Plan::ask(requests, move |replies| {
        let mut replies = replies.into_iter();
        let responses = asked.into_iter().map(|(resource_type, name, wrong)| {
            let (error_code, error_message) = match wrong {
                Some((error, why)) => (error.into(), Some(Text::Borrowed(why))),
                None => result(&replies.next().expect("one reply for each request")),
            };
            let resource_name = Text::Owned(name);
            AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
        });
        IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() }
    })
}

/// The request names the resource more than once.
pub const TWICE: Wrong = (KafkaError::InvalidRequest, "the request names this resource twice");
/// It names one of its settings more than once.
pub const SETTING_TWICE: Wrong = (KafkaError::InvalidRequest, "the request names a setting twice");
/// It gives one of them no value.
pub const NULL: Wrong = (KafkaError::InvalidRequest, "null is not a value; delete the setting instead");

/// What is no topic cannot be changed while the broker runs.
pub fn unchangeable(resource_type: i8, name: &str) -> Wrong {
    match resource_type {
        BROKER if name.is_empty() || name == NODE.to_string() => {
            (KafkaError::InvalidConfig, "settings of the broker are given at its start")
        }
        BROKER => (KafkaError::InvalidRequest, "there is one broker, and its number is 1"),
        _ => (KafkaError::InvalidRequest, "only topics (2) have settings that can be changed"),
    }
}

fn change<'a>(config: &AlterableConfig<'a>) -> Result<Change<'a>, Wrong> {
    let op = match (config.config_operation, config.value) {
        (0, Some(value)) => Op::Set(value),
        (1, _) => Op::Unset,
        (2, Some(value)) => Op::Append(value),
        (3, Some(value)) => Op::Subtract(value),
        (0 | 2 | 3, None) => return Err(NULL),
        _ => {
            return Err((
                KafkaError::InvalidRequest,
                "operations are 0 set, 1 delete, 2 append and 3 subtract",
            ));
        }
    };
    Ok(Change { key: config.name, op })
}
