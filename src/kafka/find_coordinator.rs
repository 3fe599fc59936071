//! FindCoordinator, key 10, versions 0 to 6, flexible from 3: which broker keeps a group or a transactional id.
//!
//! There is one broker, so it is always the answer. Up to version 3 a request has one key, later any number.

use super::message::message;
use super::wire::Text;

message! {
    /// Asks for the broker of a group (key type 0) or a transactional id (1).
    FindCoordinatorRequest<'a> {
        [only ..=3] key: &'a str;
        [only 1..] key_type: i8;
        [only 4..] coordinator_keys: Vec<&'a str>;
    }

    /// The broker, up to version 3; later a broker for each key.
    FindCoordinatorResponse<'a> {
        [1..] throttle_time_ms: i32;
        [only ..=3] error_code: i16;
        [1..=3] error_message: Option<Text<'a>>;
        [only ..=3] node_id: i32;
        [only ..=3] host: Text<'a>;
        [only ..=3] port: i32;
        [only 4..] coordinators: Vec<Coordinator<'a>>;
    }

    /// That of one key.
    Coordinator<'a> {
        key: Text<'a>;
        node_id: i32;
        host: Text<'a>;
        port: i32;
        error_code: i16;
        error_message: Option<Text<'a>>;
    }
}
