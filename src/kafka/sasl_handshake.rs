//! SaslHandshake, key 17, versions 0 and 1, never flexible: the choice of a way to log in.
//!
//! There is none yet. As in a Kafka without SASL the answer is ILLEGAL_SASL_STATE, which tells the user of a client
//! what is wrong; a broker that does not know the request would leave him with a timeout.

use super::errors::KafkaError;
use super::message::message;
use super::plan::Plan;
use super::wire::Text;

message! {
    /// Names the mechanism that the client wants.
    SaslHandshakeRequest<'a> {
        mechanism: &'a str;
    }

    /// Names those that there are.
    SaslHandshakeResponse<'a> {
        error_code: i16;
        mechanisms: Vec<Text<'a>>;
    }
}

/// There is nothing to choose from.
pub fn ask<'a>() -> Plan<'a> {
    let error_code = KafkaError::IllegalSaslState.into();
    Plan::answer(SaslHandshakeResponse { error_code, ..Default::default() })
}
