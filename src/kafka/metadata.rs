//! Metadata, key 3, versions 0 to 13, flexible from 9: brokers, topics, partitions and their leaders.
//!
//! An empty list of topics asks for all of them in version 0 and for none later; null asks for all from version 1 on.
//! Topic ids are in answers from version 10 on, in requests from version 12 on.
//!
//! Left out: authorized operations, because there is no authorization; racks, because there is one broker.

use super::message::message;
use super::wire::{Text, Uuid};

message! {
    /// Asks for topics. Null: for all, as does an empty list in version 0.
    MetadataRequest<'a> {
        [null 1..] topics: Option<Vec<MetadataRequestTopic<'a>>>;
        [only 4..] allow_auto_topic_creation: bool = true;
        [only 8..=10] include_cluster_authorized_operations: bool;
        [only 8..] include_topic_authorized_operations: bool;
    }

    /// A topic by name, or by id if the name is null.
    MetadataRequestTopic<'a> {
        [10..] topic_id: Uuid;
        [null 10..] name: Option<&'a str>;
    }

    /// Brokers and topics.
    MetadataResponse<'a> {
        [3..] throttle_time_ms: i32;
        brokers: Vec<MetadataResponseBroker<'a>>;
        [2..] cluster_id: Option<Text<'a>>;
        [1..] controller_id: i32 = -1;
        topics: Vec<MetadataResponseTopic<'a>>;
        [only 8..=10] cluster_authorized_operations: i32 = i32::MIN;
        [13..] error_code: i16;
    }

    /// A broker.
    MetadataResponseBroker<'a> {
        node_id: i32;
        host: Text<'a>;
        port: i32;
        [1..] rack: Option<Text<'a>>;
    }

    /// A topic, or why it is not described.
    MetadataResponseTopic<'a> {
        error_code: i16;
        [null 12..] name: Option<Text<'a>>;
        [10..] topic_id: Uuid;
        [1..] is_internal: bool;
        partitions: Vec<MetadataResponsePartition>;
        [only 8..] topic_authorized_operations: i32 = i32::MIN;
    }

    /// A partition.
    MetadataResponsePartition {
        error_code: i16;
        partition_index: i32;
        leader_id: i32;
        [7..] leader_epoch: i32 = -1;
        replica_nodes: Vec<i32>;
        isr_nodes: Vec<i32>;
        [5..] offline_replicas: Vec<i32>;
    }
}
