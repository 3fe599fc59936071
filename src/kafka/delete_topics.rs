//! DeleteTopics, key 20, versions 1 to 6, flexible from 4: by name, or by id from version 6 on.

use super::message::message;
use super::plan::{Context, Named, Plan, result, topic};
use super::wire::{Text, Uuid};
use crate::api::Request;

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

/// One deletion for each topic. A topic that is deleted by its id is answered by its id.
pub fn ask<'a>(request: DeleteTopicsRequest<'a>, context: &Context<'_>) -> Plan<'a> {
    let topics: Vec<(&'a str, Uuid)> = match context.version {
        ..=5 => request.topic_names.into_iter().map(|name| (name, Uuid::default())).collect(),
        _ => request.topics.into_iter().map(|t| (t.name.unwrap_or(""), t.topic_id)).collect(),
    };
    let asked: Vec<Named> = topics.iter().map(|(name, id)| Named::of(name, *id)).collect();
    let one = |(name, id)| Request::DeleteTopic { topic: topic(name, id) };
    let version = context.version;
    Plan::ask(topics.into_iter().map(one).collect(), move |replies| {
        let told = asked.into_iter().zip(replies).map(|(named, reply)| {
            let (error_code, text) = result(&reply);
            DeletableTopicResult {
                name: (named.id == Uuid::default()).then(|| named.text()),
                topic_id: named.id,
                error_code,
                error_message: text.filter(|_| version >= 5),
            }
        });
        DeleteTopicsResponse { responses: told.collect(), ..Default::default() }
    })
}
