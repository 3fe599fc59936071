//! InitProducerId, key 22, versions 0 to 5, flexible from 2: an id for an idempotent producer.
//!
//! Left out: transactions.

use super::message::message;

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
