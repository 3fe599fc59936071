//! The Produce request of both kinds of producers, and what they read out of its answer.

use krappy::kafka::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
};
use krappy::kafka::wire::Records;

use super::super::content::Id;
use super::super::link::Look;
use super::super::plan::TopicPlan;
use super::topics::Topics;

/// From this version on, topics go by their ids.
pub const BY_ID: i16 = 13;

/// A batch on its way.
#[derive(Clone)]
pub struct Flying {
    pub partition: i32,
    pub ids: Vec<Id>,
    /// Tells its producer which one it is.
    pub token: u32,
}

/// What a producer remembers of a request.
pub enum Note {
    Metadata,
    ProducerId,
    Produce(Vec<Flying>),
}

/// A request with a batch for each of some partitions of a topic.
pub fn request<'a>(
    topics: &Topics,
    name: &'a str,
    acks: i16,
    version: i16,
    batches: &'a [(i32, Vec<u8>)],
) -> ProduceRequest<'a> {
    let one = |(index, bytes): &'a (i32, Vec<u8>)| PartitionProduceData {
        index: *index,
        records: Records::Bytes(bytes),
    };
    let mut topic =
        TopicProduceData { name, partition_data: batches.iter().map(one).collect(), ..Default::default() };
    if version >= BY_ID {
        topic.topic_id = topics.id(0);
    }
    ProduceRequest { acks, timeout_ms: 1_000, topic_data: vec![topic], ..Default::default() }
}

/// What became of each batch, in the order in which they were asked for. The error says what is wrong with the answer.
pub fn results<'r>(
    flying: &[Flying],
    told: &'r ProduceResponse<'_>,
) -> Result<Vec<&'r PartitionProduceResponse<'r>>, String> {
    let parts = told.responses.first().map_or(&[][..], |topic| &topic.partition_responses);
    let asked = flying.iter().map(|batch| batch.partition);
    if told.responses.len() != 1 || !parts.iter().map(|part| part.index).eq(asked) {
        return Err(format!("the partitions of a Produce are answered with {told:?}"));
    }
    Ok(parts.iter().collect())
}

/// What is called appended must be in the file, and what is called durable on the device.
pub fn look(plan: &TopicPlan, acks: i16, flying: &[Flying], told: &ProduceResponse<'_>, look: &mut Look<'_>) {
    let Ok(results) = results(flying, told) else { return };
    let durable = acks == -1 && plan.promise.durable;
    for (batch, part) in flying.iter().zip(results).filter(|(_, part)| part.error_code == 0) {
        let last = part.base_offset + batch.ids.len() as i64 - 1;
        let id = *batch.ids.last().expect("a batch has records");
        look.is_there((plan.name, batch.partition), plan.topic, (last, id), durable);
    }
}
