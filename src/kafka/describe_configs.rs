//! DescribeConfigs, key 32, versions 1 to 4, flexible from 4: the settings of topics and of the broker.
//!
//! Null for the keys asks for all of them. Synonyms are where a value may come from, the one that counts first.

use super::NODE;
use super::create_topics::source;
use super::errors::KafkaError;
use super::message::message;
use super::plan::{Context, Plan, refused};
use super::wire::Text;
use crate::api::{Reply, Request, SettingLine, SettingSource, TopicRef};

message! {
    /// Asks for settings.
    DescribeConfigsRequest<'a> {
        resources: Vec<DescribeConfigsResource<'a>>;
        include_synonyms: bool;
        [only 3..] include_documentation: bool;
    }

    /// Of what, and which of them; null or none: all. Type 2 is a topic, 4 a broker.
    DescribeConfigsResource<'a> {
        resource_type: i8;
        resource_name: &'a str;
        configuration_keys: Option<Vec<&'a str>>;
    }

    /// A result for each resource.
    DescribeConfigsResponse<'a> {
        throttle_time_ms: i32;
        results: Vec<DescribeConfigsResult<'a>>;
    }

    /// One of them.
    DescribeConfigsResult<'a> {
        error_code: i16;
        error_message: Option<Text<'a>>;
        resource_type: i8;
        resource_name: Text<'a>;
        configs: Vec<DescribeConfigsResourceResult<'a>>;
    }

    /// A setting: source 1 the topic, 4 the broker, 5 the default.
    DescribeConfigsResourceResult<'a> {
        name: Text<'a>;
        value: Option<Text<'a>>;
        read_only: bool;
        config_source: i8 = -1;
        is_sensitive: bool;
        synonyms: Vec<DescribeConfigsSynonym<'a>>;
        [3..] config_type: i8;
        [3..] documentation: Option<Text<'a>>;
    }

    /// A place that its value may come from.
    DescribeConfigsSynonym<'a> {
        name: Text<'a>;
        value: Option<Text<'a>>;
        source: i8;
    }
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// What was asked of one resource.
struct Asked {
    kind: i8,
    name: String,
    /// None: all.
    keys: Option<Vec<String>>,
    /// Why it is refused before the broker is asked.
    wrong: Option<&'static str>,
}

/// How much is told of each setting.
#[derive(Clone, Copy)]
struct Detail {
    synonyms: bool,
    documentation: bool,
}

/// One description for each resource.
pub fn ask<'a>(request: DescribeConfigsRequest<'a>, _: &Context<'_>) -> Plan<'a> {
    let detail = Detail { synonyms: request.include_synonyms, documentation: request.include_documentation };
    let (mut requests, mut asked) = (Vec::new(), Vec::with_capacity(request.resources.len()));
    for resource in request.resources {
        let name = resource.resource_name;
        let question = match resource.resource_type {
            TOPIC => Ok(Request::DescribeTopic { topic: TopicRef::Name(name), create: false }),
            BROKER if name.is_empty() || name == NODE.to_string() => Ok(Request::DescribeBroker),
            BROKER => Err("there is one broker, and its number is 1"),
            _ => Err("only topics (2) and brokers (4) have settings here"),
        };
        asked.push(Asked {
            kind: resource.resource_type,
            name: name.to_owned(),
            keys: resource
                .configuration_keys
                .filter(|keys| !keys.is_empty())
                .map(|keys| keys.into_iter().map(str::to_owned).collect()),
            wrong: question.as_ref().err().copied(),
        });
        requests.extend(question.ok());
    }
    Plan::ask(requests, move |replies| {
        let mut replies = replies.into_iter();
        let results = asked.into_iter().map(|asked| {
            let reply = if asked.wrong.is_none() { replies.next() } else { None };
            described(asked, reply, detail)
        });
        DescribeConfigsResponse { results: results.collect(), ..Default::default() }
    })
}

fn described(asked: Asked, reply: Option<Reply>, detail: Detail) -> DescribeConfigsResult<'static> {
    let result = DescribeConfigsResult {
        resource_type: asked.kind,
        resource_name: Text::Owned(asked.name),
        ..Default::default()
    };
    let lines = match reply {
        Some(Reply::Topic(topic)) => topic.settings,
        Some(Reply::Settings(lines)) => lines,
        Some(Reply::Refused(refusal)) => {
            let (error_code, error_message) = refused(&refusal);
            return DescribeConfigsResult { error_code, error_message, ..result };
        }
        _ => {
            let error_message = asked.wrong.map(Text::Borrowed);
            return DescribeConfigsResult {
                error_code: KafkaError::InvalidRequest.into(),
                error_message,
                ..result
            };
        }
    };
    let wanted = |line: &SettingLine| match &asked.keys {
        Some(keys) => keys.iter().any(|key| key == line.name),
        None => true,
    };
    let configs = lines.into_iter().filter(wanted).map(|line| setting(line, detail)).collect();
    // Empty where all went well, as in Kafka, and not null.
    DescribeConfigsResult { configs, error_message: Some(Text::Borrowed("")), ..result }
}

fn setting(line: SettingLine, detail: Detail) -> DescribeConfigsResourceResult<'static> {
    let value = Some(Text::Owned(line.value.clone()));
    let mut synonyms = Vec::new();
    if detail.synonyms {
        let synonym = |value, from| DescribeConfigsSynonym {
            name: Text::Borrowed(line.name),
            value,
            source: source(from),
        };
        if line.source != SettingSource::Default {
            synonyms.push(synonym(value.clone(), line.source));
        }
        synonyms.push(synonym(Some(Text::Owned(line.default.clone())), SettingSource::Default));
    }
    DescribeConfigsResourceResult {
        name: Text::Borrowed(line.name),
        value,
        read_only: line.read_only,
        config_source: source(line.source),
        is_sensitive: false,
        synonyms,
        config_type: line.kind,
        documentation: detail.documentation.then_some(Text::Borrowed(line.doc)),
    }
}
