//! ApiVersions, key 18, versions 0 to 4, flexible from 3: what we speak. Every client begins with it.
//!
//! A request in a version that we do not know is answered in version 0 with UNSUPPORTED_VERSION and the whole table, so
//! that the client can ask again. The answer never has tagged fields in its header, whatever the version.
//!
//! The one feature that a client could ask for is `group.version` 1, Kafka's name for consumer groups (KIP-848).

use super::errors::KafkaError;
use super::message::message;
use super::plan::Plan;
use super::table::TABLE;
use super::wire::Text;

/// Kafka's feature of consumer groups.
const GROUP_VERSION: &str = "group.version";

message! {
    /// Asks what we speak, and says who is asking.
    ApiVersionsRequest<'a> {
        [3..] client_software_name: &'a str;
        [3..] client_software_version: &'a str;
    }

    /// The table.
    ApiVersionsResponse<'a> {
        error_code: i16;
        api_keys: Vec<ApiVersion>;
        [1..] throttle_time_ms: i32;
        [3.., tag 0] supported_features: Vec<SupportedFeatureKey<'a>>;
        [3.., tag 1] finalized_features_epoch: i64 = -1;
        [3.., tag 2] finalized_features: Vec<FinalizedFeatureKey<'a>>;
        [3.., tag 3] zk_migration_ready: bool;
    }

    /// A row of it.
    ApiVersion {
        api_key: i16;
        min_version: i16;
        max_version: i16;
    }

    /// A feature, and which versions of it the broker has.
    SupportedFeatureKey<'a> {
        name: Text<'a>;
        min_version: i16;
        max_version: i16;
    }

    /// A feature, and which version of it is switched on.
    FinalizedFeatureKey<'a> {
        name: Text<'a>;
        max_version_level: i16;
        min_version_level: i16;
    }
}

/// Answers from the table. What the client calls itself must look like a name, as in Kafka (KIP-511).
pub fn ask<'a>(request: &ApiVersionsRequest<'a>, version: i16) -> Plan<'a> {
    let named = [request.client_software_name, request.client_software_version].into_iter().all(is_name);
    if version >= 3 && !named {
        return Plan::answer(answer(KafkaError::InvalidRequest));
    }
    Plan::answer(with_features(answer(KafkaError::None), version))
}

/// What a client gets that asks in a version of the future.
pub fn unsupported() -> ApiVersionsResponse<'static> {
    answer(KafkaError::UnsupportedVersion)
}

fn answer(error: KafkaError) -> ApiVersionsResponse<'static> {
    let row = |api: &super::table::Api| ApiVersion {
        api_key: api.key,
        min_version: *api.claimed.start(),
        max_version: *api.claimed.end(),
    };
    let api_keys = match error {
        KafkaError::InvalidRequest => Vec::new(),
        _ => TABLE.iter().map(row).collect(),
    };
    ApiVersionsResponse { error_code: error.into(), api_keys, ..Default::default() }
}

/// Adds the features to the table. A client that speaks version 3 fails at a feature that may also be off, so it is
/// told only that it is on, as Kafka does.
fn with_features(answer: ApiVersionsResponse<'static>, version: i16) -> ApiVersionsResponse<'static> {
    let supported = SupportedFeatureKey { name: GROUP_VERSION.into(), min_version: 0, max_version: 1 };
    let on = FinalizedFeatureKey { name: GROUP_VERSION.into(), max_version_level: 1, min_version_level: 1 };
    ApiVersionsResponse {
        supported_features: if version >= 4 { vec![supported] } else { Vec::new() },
        finalized_features_epoch: 0,
        finalized_features: vec![on],
        ..answer
    }
}

/// Letters and digits, with dots and dashes between them.
fn is_name(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric();
    let inner = |b: u8| word(b) || b == b'.' || b == b'-';
    text.bytes().all(inner) && text.bytes().next().is_some_and(word) && text.bytes().last().is_some_and(word)
}
