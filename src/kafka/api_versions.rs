//! ApiVersions, key 18, versions 0 to 4, flexible from 3: what we speak. Every client begins with it.
//!
//! A request in a version that we do not know is answered in version 0 with UNSUPPORTED_VERSION and the whole table, so
//! that the client can ask again. The answer never has tagged fields in its header, whatever the version.
//!
//! Left out: supported and finalized features, because we have none that a client could use.

use super::message::message;
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
