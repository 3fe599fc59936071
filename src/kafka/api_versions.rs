//! ApiVersions, key 18, versions 0 to 4, flexible from 3: what we speak. Every client begins with it.
//!
//! A request in a version that we do not know is answered in version 0 with UNSUPPORTED_VERSION and the whole table, so
//! that the client can ask again. The answer never has tagged fields in its header, whatever the version.
//!
//! Left out: supported and finalized features, because we have none that a client could use.

use super::errors::KafkaError;
use super::message::message;
use super::plan::Plan;
use super::table::TABLE;
use super::wire::Text;

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
    let error = if version >= 3 && !named { KafkaError::InvalidRequest } else { KafkaError::None };
    Plan::answer(answer(error))
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

/// Letters and digits, with dots and dashes between them.
fn is_name(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric();
    let inner = |b: u8| word(b) || b == b'.' || b == b'-';
    text.bytes().all(inner) && text.bytes().next().is_some_and(word) && text.bytes().last().is_some_and(word)
}
