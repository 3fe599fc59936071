//! InitProducerId, key 22, versions 0 to 5, flexible from 2: an id for an idempotent producer.
//!
//! Left out: transactions.

use super::errors::KafkaError;
use super::message::message;
use super::plan::Plan;
use crate::api::{Reply, Request};

message! {
    /// Asks for a producer id, or for the next epoch of one.
    InitProducerIdRequest<'a> {
        transactional_id: Option<&'a str>;
        transaction_timeout_ms: i32;
        [only 3..] producer_id: i64 = -1;
        [only 3..] producer_epoch: i16 = -1;
    }

    /// The id and the epoch.
    InitProducerIdResponse {
        throttle_time_ms: i32;
        error_code: i16;
        producer_id: i64 = -1;
        producer_epoch: i16;
    }
}

/// A new id for whoever asks, as in Kafka without a transactional id, whatever id the client had before.
pub fn ask<'a>(request: InitProducerIdRequest<'a>) -> Plan<'a> {
    if request.transactional_id.is_some() {
        let error_code = KafkaError::InvalidRequest.into();
        return Plan::answer(InitProducerIdResponse { error_code, producer_epoch: -1, ..Default::default() });
    }
    // An id and its epoch go together.
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        let error_code = KafkaError::InvalidRequest.into();
        return Plan::answer(InitProducerIdResponse { error_code, producer_epoch: -1, ..Default::default() });
    }
    Plan::ask(vec![Request::NewProducerId], |replies| match replies.into_iter().next() {
        Some(Reply::ProducerId { id, epoch }) => {
            InitProducerIdResponse { producer_id: id, producer_epoch: epoch, ..Default::default() }
        }
        other => unreachable!("a producer id is not answered with {other:?}"),
    })
}
