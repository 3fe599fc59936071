//! Produce, key 0, versions 3 to 13, flexible from 9: record batches to append, one for each partition.
//!
//! The table says 0 to 13, as Kafka's does: old clients compress only when the broker claims the first versions, and
//! never send them. Topics go by id instead of by name from version 13 on. With `acks=0` there is no answer.
//!
//! Left out: transactions; hints at another leader, because there is no other.

use super::message::message;
use super::wire::{Records, Text, Uuid};

message! {
    /// Records to append. `acks` is 0 none, 1 the leader has it, -1 it is as safe as the topic promises.
    ProduceRequest<'a> {
        transactional_id: Option<&'a str>;
        acks: i16;
        timeout_ms: i32;
        topic_data: Vec<TopicProduceData<'a>>;
    }

    /// Those of a topic.
    TopicProduceData<'a> {
        [..=12] name: &'a str;
        [13..] topic_id: Uuid;
        partition_data: Vec<PartitionProduceData<'a>>;
    }

    /// Those of a partition: one record batch.
    PartitionProduceData<'a> {
        index: i32;
        records: Records<'a>;
    }

    /// A result for each partition.
    ProduceResponse<'a> {
        responses: Vec<TopicProduceResponse<'a>>;
        throttle_time_ms: i32;
        [only 10.., tag 0] node_endpoints: Vec<NodeEndpoint<'a>>;
    }

    /// Those of a topic.
    TopicProduceResponse<'a> {
        [..=12] name: Text<'a>;
        [13..] topic_id: Uuid;
        partition_responses: Vec<PartitionProduceResponse<'a>>;
    }

    /// That of a partition; the offset is that of the first record.
    PartitionProduceResponse<'a> {
        index: i32;
        error_code: i16;
        base_offset: i64;
        log_append_time_ms: i64 = -1;
        [5..] log_start_offset: i64 = -1;
        [8..] record_errors: Vec<BatchIndexAndErrorMessage<'a>>;
        [8..] error_message: Option<Text<'a>>;
        [only 10.., tag 0] current_leader: LeaderIdAndEpoch;
    }

    /// A record that was the reason to refuse its batch.
    BatchIndexAndErrorMessage<'a> {
        batch_index: i32;
        batch_index_error_message: Option<Text<'a>>;
    }

    /// Who leads a partition; -1: unknown.
    LeaderIdAndEpoch {
        leader_id: i32 = -1;
        leader_epoch: i32 = -1;
    }

    /// Where a leader can be reached.
    NodeEndpoint<'a> {
        node_id: i32;
        host: Text<'a>;
        port: i32;
        rack: Option<Text<'a>>;
    }
}
