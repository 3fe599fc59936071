//! DeleteTopics, key 20, versions 1 to 6, flexible from 4: by name, or by id from version 6 on.

use super::message::message;
use super::wire::{Text, Uuid};

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
