//! SaslHandshake, key 17, versions 0 and 1, never flexible: the choice of a way to log in.
//!
//! There is none yet. As in a Kafka without SASL the answer is ILLEGAL_SASL_STATE, which tells the user of a client
//! what is wrong; a broker that does not know the request would leave him with a timeout.

use super::message::message;
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
