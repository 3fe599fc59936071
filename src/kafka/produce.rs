//! Produce, key 0, versions 3 to 13, flexible from 9: record batches to append, one for each partition.
//!
//! The table says 0 to 13, as Kafka's does: old clients compress only when the broker claims the first versions, and
//! never send them. Topics go by id instead of by name from version 13 on. With `acks=0` there is no answer.
//!
//! Left out: transactions; hints at another leader, because there is no other.

use super::errors::KafkaError;
use super::message::message;
use super::plan::{Named, Outcome, Plan, has_twice, refused, topic};
use super::wire::{Records, Text, Uuid};
use crate::api::{Body, Level, Parts, Publish, Reply, Request};

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

/// One publish for each partition.
pub fn ask(request: ProduceRequest<'_>) -> Plan<'_> {
    let acks = match request.acks {
        -1 => Level::Durable,
        0 => Level::None,
        1 => Level::Appended,
        _ => return refuse_all(request, KafkaError::InvalidRequiredAcks),
    };
    let all = || {
        request
            .topic_data
            .iter()
            .flat_map(|t| t.partition_data.iter().map(move |p| (t.name, t.topic_id, p.index)))
    };
    if has_twice(all()) || request.transactional_id.is_some() {
        return refuse_all(request, KafkaError::InvalidRequest);
    }
    let mut requests = Vec::new();
    let mut asked = Vec::with_capacity(request.topic_data.len());
    for data in request.topic_data.into_iter().filter(|data| !data.partition_data.is_empty()) {
        let of = topic(data.name, data.topic_id);
        let numbers: Vec<i32> = data.partition_data.iter().map(|p| p.index).collect();
        asked.push((Named::of(data.name, data.topic_id), numbers));
        for PartitionProduceData { index, records } in data.partition_data {
            let Records::Bytes(batch) = records else {
                return Plan::Close("Produce: a partition comes without records".into());
            };
            let body = Body::Batch(batch);
            requests.push(Request::Publish(Publish { topic: of, partition: Some(index), acks, body }));
        }
    }
    Plan::Ask {
        requests,
        finish: Box::new(move |replies| match acks {
            Level::None => without_acks(replies),
            _ => Outcome::Answer(answer(asked, replies).into()),
        }),
    }
}

/// The same error for each partition. Without acks there is nobody to tell it to.
fn refuse_all<'a>(request: ProduceRequest<'a>, error: KafkaError) -> Plan<'a> {
    if request.acks == 0 {
        return Plan::Close("Produce without acks was refused".into());
    }
    let part = |index| PartitionProduceResponse {
        index,
        error_code: error.into(),
        base_offset: -1,
        ..Default::default()
    };
    let one = |data: TopicProduceData<'a>| TopicProduceResponse {
        name: Text::Owned(data.name.to_owned()),
        topic_id: data.topic_id,
        partition_responses: data.partition_data.iter().map(|p| part(p.index)).collect(),
    };
    let responses = request.topic_data.into_iter().map(one).collect();
    Plan::answer(ProduceResponse { responses, ..Default::default() })
}

/// A client that waits for no answer learns of an error by losing its connection: it then looks at the topic again.
fn without_acks(replies: Vec<Reply>) -> Outcome {
    let refusal = replies.into_iter().find_map(|reply| match reply {
        Reply::Refused(refusal) => Some(refusal.message),
        _ => None,
    });
    refusal.map_or(Outcome::Nothing, |why| Outcome::Close(format!("Produce without acks was refused: {why}")))
}

fn answer(asked: Vec<(Named, Vec<i32>)>, replies: Vec<Reply>) -> ProduceResponse<'static> {
    let mut replies = replies.into_iter();
    let topic = |(named, numbers): (Named, Vec<i32>)| TopicProduceResponse {
        name: named.text(),
        topic_id: named.id,
        partition_responses: numbers.into_iter().zip(&mut replies).map(|(n, r)| part(n, r)).collect(),
    };
    ProduceResponse { responses: asked.into_iter().map(topic).collect(), ..Default::default() }
}

fn part(index: i32, reply: Reply) -> PartitionProduceResponse<'static> {
    let empty = PartitionProduceResponse { index, base_offset: -1, ..Default::default() };
    match reply {
        Reply::Published { parts: Parts::One(part), .. } => PartitionProduceResponse {
            base_offset: part.base_offset,
            log_append_time_ms: part.log_append_time,
            log_start_offset: part.log_start,
            ..empty
        },
        Reply::Refused(refusal) => {
            let (error_code, error_message) = refused(&refusal);
            let wrong = |batch_index| BatchIndexAndErrorMessage {
                batch_index,
                batch_index_error_message: error_message.clone(),
            };
            let record_errors = refusal.records.into_iter().map(wrong).collect();
            PartitionProduceResponse { error_code, error_message, record_errors, ..empty }
        }
        other => unreachable!("a publish to one partition is not answered with {other:?}"),
    }
}
