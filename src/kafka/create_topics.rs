//! CreateTopics, key 19, versions 2 to 7, flexible from 5.
//!
//! -1 partitions or replicas ask for the default. The answer tells the settings from version 5 on, the id from version
//! 7 on.

use super::message::message;
use super::wire::{Text, Uuid};

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
