//! DeleteTopics, key 20, versions 1 to 6, flexible from 4: by name, or by id from version 6 on.

use std::collections::BTreeSet;

use super::errors::KafkaError;
use super::message::message;
use super::plan::{self, Context, Plan, named_twice, topic};
use super::wire::{Text, Uuid};
use crate::api::{Reply, Request};

message! {
    /// Asks to delete topics.
    DeleteTopicsRequest<'a> {
        [only 6..] topics: Vec<DeleteTopicState<'a>>;
        [..=5] topic_names: Vec<&'a str>;
        timeout_ms: i32;
    }

    /// A topic by name, or by id if the name is null.
    DeleteTopicState<'a> {
        name: Option<&'a str>;
        topic_id: Uuid;
    }

    /// A result for each topic.
    DeleteTopicsResponse<'a> {
        throttle_time_ms: i32;
        responses: Vec<DeletableTopicResult<'a>>;
    }

    /// One of them.
    DeletableTopicResult<'a> {
        [null 6..] name: Option<Text<'a>>;
        [6..] topic_id: Uuid;
        error_code: i16;
        [5..] error_message: Option<Text<'a>>;
    }
}

/// Why a topic is refused before the broker is asked.
type Wrong = (KafkaError, &'static str);

/// One deletion for each topic that is named once, and in one way.
pub fn ask<'a>(request: DeleteTopicsRequest<'a>, context: &Context<'_>) -> Plan<'a> {
    let version = context.version;
    let topics: Vec<(Option<&'a str>, Uuid)> = match version {
        ..=5 => request.topic_names.into_iter().map(|name| (Some(name), Uuid::default())).collect(),
        _ => request.topics.into_iter().map(|t| (t.name, t.topic_id)).collect(),
    };
    let twice = named_twice(topics.iter().map(|(name, id)| (*name, id.0)));
    let (mut requests, mut asked) = (Vec::new(), Vec::with_capacity(topics.len()));
    let mut told = BTreeSet::new();
    for (name, id) in topics {
        let wrong = wrong(name, id, twice.contains(&(name, id.0)));
        if wrong.is_none() {
            requests.push(Request::DeleteTopic { topic: topic(name.unwrap_or(""), id) });
        }
        // One result tells of all that name the same topic.
        if told.insert((name, id.0)) {
            asked.push((name.map(str::to_owned), id, wrong));
        }
    }
    Plan::ask(requests, move |replies| {
        let mut replies = replies.into_iter();
        let results = asked.into_iter().map(|(name, id, wrong)| match wrong {
            Some((error, why)) => result(name, id, error.into(), Some(Text::Borrowed(why)), version),
            None => deleted(name, id, replies.next().expect("one reply for each request"), version),
        });
        DeleteTopicsResponse { responses: results.collect(), ..Default::default() }
    })
}

fn wrong(name: Option<&str>, id: Uuid, twice: bool) -> Option<Wrong> {
    match (name, id == Uuid::default()) {
        (Some(_), false) => Some((KafkaError::InvalidRequest, "a topic goes by its name or by its id")),
        (None, true) => Some((KafkaError::InvalidRequest, "neither a name nor an id")),
        _ if twice => Some((KafkaError::InvalidRequest, "the request names this topic twice")),
        _ => None,
    }
}

/// A topic that is gone is told by its name and by its id, however it was named.
fn deleted(name: Option<String>, id: Uuid, reply: Reply, version: i16) -> DeletableTopicResult<'static> {
    match reply {
        Reply::Deleted { name, id } => result(Some(name), Uuid(id), 0, None, version),
        other => {
            let (error_code, text) = plan::result(&other);
            result(name, id, error_code, text, version)
        }
    }
}

fn result(
    name: Option<String>,
    topic_id: Uuid,
    error_code: i16,
    text: Option<Text<'static>>,
    version: i16,
) -> DeletableTopicResult<'static> {
    let error_message = text.filter(|_| version >= 5);
    DeletableTopicResult { name: name.map(Text::Owned), topic_id, error_code, error_message }
}
