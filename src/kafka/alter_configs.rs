//! AlterConfigs, key 33, versions 0 to 2, flexible from 2: replaces all settings of topics.
//!
//! Older than IncrementalAlterConfigs, and with a trap: a setting that is not named goes back to its default.

use super::incremental_alter_configs::{NULL, SETTING_TWICE, TWICE, unchangeable};
use super::message::message;
use super::plan::{Plan, named_twice, result};
use super::wire::Text;
use crate::api::{Change, Op, Request};

message! {
    /// New settings, all of each resource.
    AlterConfigsRequest<'a> {
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
        value: Option<&'a str>;
    }

    /// A result for each resource.
    AlterConfigsResponse<'a> {
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

/// One change for each resource: all settings at once.
pub fn ask<'a>(request: AlterConfigsRequest<'a>) -> Plan<'a> {
    let twice = named_twice(request.resources.iter().map(|r| (r.resource_type, r.resource_name)));
    let (mut requests, mut asked) = (Vec::new(), Vec::with_capacity(request.resources.len()));
    for resource in request.resources {
        let wrong = match resource.resource_type {
            _ if twice.contains(&(resource.resource_type, resource.resource_name)) => Some(TWICE),
            TOPIC if resource.configs.iter().any(|c| c.value.is_none()) => Some(NULL),
            TOPIC if !named_twice(resource.configs.iter().map(|c| c.name)).is_empty() => Some(SETTING_TWICE),
            TOPIC => None,
            other => Some(unchangeable(other, resource.resource_name)),
        };
        asked.push((resource.resource_type, resource.resource_name.to_owned(), wrong));
        let change =
            |c: &AlterableConfig<'a>| Change { key: c.name, op: Op::Set(c.value.unwrap_or_default()) };
        if wrong.is_none() {
            requests.push(Request::AlterTopic {
                topic: resource.resource_name,
                changes: resource.configs.iter().map(change).collect(),
                replace: true,
                validate_only: request.validate_only,
            });
        }
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
        AlterConfigsResponse { responses: responses.collect(), ..Default::default() }
    })
}
