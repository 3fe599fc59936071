//! FindCoordinator, key 10, versions 0 to 6, flexible from 3: which broker keeps a group or a transactional id.
//!
//! There is one broker, so it is the answer for every group. Left out: transactional ids and share groups.
//! Up to version 3 a request has one key, later any number.

use super::NODE;
use super::errors::KafkaError;
use super::message::message;
use super::plan::{Context, Plan};
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

/// This broker, for a group. For a transactional id, that there is none yet, which clients take for a reason to ask
/// again later.
pub fn ask<'a>(request: FindCoordinatorRequest<'a>, context: &Context<'_>) -> Plan<'a> {
    let none = match request.key_type {
        GROUP => None,
        TRANSACTION => {
            Some((KafkaError::CoordinatorNotAvailable, "this version of krappy has no transactions"))
        }
        _ => Some((KafkaError::InvalidRequest, "key types are 0 group and 1 transactional id")),
    };
    let of = |key: &str| {
        let key = Text::Owned(key.to_owned());
        if let Some((error, why)) = none {
            let (error_code, error_message) = (error.into(), Some(Text::Borrowed(why)));
            return Coordinator {
                key,
                node_id: -1,
                port: -1,
                error_code,
                error_message,
                ..Default::default()
            };
        }
        Coordinator {
            key,
            node_id: NODE,
            host: Text::Owned(context.address.host.clone()),
            port: i32::from(context.address.port),
            error_code: 0,
            error_message: Some(Text::default()),
        }
    };
    if context.version > 3 {
        let coordinators = request.coordinator_keys.iter().map(|key| of(key)).collect();
        return Plan::answer(FindCoordinatorResponse { coordinators, ..Default::default() });
    }
    let Coordinator { node_id, host, port, error_code, error_message, .. } = of(request.key);
    // Kafka has an empty text in the newer versions where nothing is wrong; older clients take null for that.
    let error_message = error_message.filter(|text| context.version >= 1 && !text.is_empty());
    Plan::answer(FindCoordinatorResponse {
        error_code,
        error_message,
        node_id,
        host,
        port,
        ..Default::default()
    })
}
