//! FindCoordinator, key 10, versions 0 to 6, flexible from 3: which broker keeps a group or a transactional id.
//!
//! There is one broker, so it is always the answer. Up to version 3 a request has one key, later any number.

use super::errors::KafkaError;
use super::message::message;
use super::plan::Plan;
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

/// Key types.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const WHY: &str = "this version of krappy has neither consumer groups nor transactions";

/// Says that there is none yet, which clients take for a reason to ask again later.
pub fn ask<'a>(request: FindCoordinatorRequest<'a>, version: i16) -> Plan<'a> {
    let (error, why) = match request.key_type {
        GROUP | TRANSACTION => (KafkaError::CoordinatorNotAvailable, WHY),
        _ => (KafkaError::InvalidRequest, "key types are 0 group and 1 transactional id"),
    };
    let error_code = error.into();
    let error_message = Some(Text::Borrowed(why));
    if version <= 3 {
        let error_message = error_message.filter(|_| version >= 1);
        let node_id = -1;
        return Plan::answer(FindCoordinatorResponse {
            error_code,
            error_message,
            node_id,
            port: -1,
            ..Default::default()
        });
    }
    let one = |key: &str| Coordinator {
        key: Text::Owned(key.to_owned()),
        node_id: -1,
        port: -1,
        error_code,
        error_message: error_message.clone(),
        ..Default::default()
    };
    let coordinators = request.coordinator_keys.into_iter().map(one).collect();
    Plan::answer(FindCoordinatorResponse { coordinators, ..Default::default() })
}
