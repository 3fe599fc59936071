//! ListOffsets: the question, and what its answer must agree with.

use krappy::kafka::errors::KafkaError;
use krappy::kafka::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic,
};

use super::super::history::Floor;
use super::super::link::Ctx;
use super::super::plan::TopicPlan;

/// The end of what readers may see.
pub const LATEST: i64 = -1;
/// The log start.
pub const EARLIEST: i64 = -2;
/// The record with the largest timestamp.
pub const NEWEST: i64 = -3;

/// A question for partitions by name, number and timestamp. Version 1 to 3 know no leader epoch.
pub fn request<'a>(asked: &[(&'a str, i32, i64)], leader_epoch: i32) -> ListOffsetsRequest<'a> {
    let one = |&(name, number, timestamp): &(&'a str, i32, i64)| {
        let partition =
            ListOffsetsPartition { partition_index: number, current_leader_epoch: leader_epoch, timestamp };
        ListOffsetsTopic { name, partitions: vec![partition] }
    };
    ListOffsetsRequest {
        replica_id: -1,
        topics: asked.iter().map(one).collect(),
        timeout_ms: 1_000,
        ..Default::default()
    }
}

/// What the partitions are answered with, in the order of the question.
pub fn results<'r>(
    told: &'r ListOffsetsResponse<'_>,
    count: usize,
) -> Result<Vec<&'r ListOffsetsPartitionResponse>, String> {
    let parts: Vec<_> = told.topics.iter().flat_map(|topic| &topic.partitions).collect();
    if parts.len() == count {
        Ok(parts)
    } else {
        Err(format!("{count} partitions are answered with {told:?}"))
    }
}

/// Compares an answer with the history. The offset, if there is one; the error says what cannot be.
pub fn check(
    plan: &TopicPlan,
    wanted: i64,
    floor: Floor,
    found: &ListOffsetsPartitionResponse,
    ctx: &mut Ctx<'_>,
) -> Result<Option<i64>, String> {
    let (topic, number, offset) = (plan.topic, found.partition_index, found.offset);
    let fine = [KafkaError::KafkaStorageError, KafkaError::LeaderNotAvailable].map(i16::from);
    if fine.contains(&found.error_code) {
        return Ok(None);
    }
    if found.error_code != 0 {
        return Err(format!("{wanted} of {}/{number} is answered with {found:?}", plan.name));
    }
    match wanted {
        LATEST => ctx.history.answers_end(topic, number, offset, floor),
        EARLIEST => ctx.history.starts_at(topic, number, offset, floor),
        NEWEST => {}
        timestamp => {
            let end = if offset == -1 { floor.firm_end } else { offset };
            ctx.history.looked_up(topic, number, timestamp, end);
            if offset != -1 && found.timestamp < timestamp {
                return Err(format!("{timestamp} of {}/{number} is answered with {found:?}", plan.name));
            }
        }
    }
    if offset != -1 && found.timestamp != -1 {
        ctx.history.dated(topic, number, offset, found.timestamp);
    }
    Ok((offset != -1).then_some(offset))
}
