//! AlterConfigs, key 33, versions 0 to 2, flexible from 2: replaces all settings of topics.
//!
//! Older than IncrementalAlterConfigs, and with a trap: a setting that is not named goes back to its default.

use super::message::message;
use super::wire::Text;

message! {
    /// New settings, all of each resource.
    AlterConfigsRequest<'a> {
        resources: Vec<AlterConfigsResource<'a>>;
        validate_only: bool;
    }

    /// A resource and its new settings. Type 2 is a topic, 4 a broker.
    AlterConfigsResource<'a> {
        resource_type: i8;
        resource_name: &'a str;
        configs: Vec<AlterableConfig<'a>>;
    }

    /// A setting; null for its default.
    AlterableConfig<'a> {
        name: &'a str;
        value: Option<&'a str>;
    }

    /// A result for each resource.
    AlterConfigsResponse<'a> {
        throttle_time_ms: i32;
        responses: Vec<AlterConfigsResourceResponse<'a>>;
    }

    /// One of them.
    AlterConfigsResourceResponse<'a> {
        error_code: i16;
        error_message: Option<Text<'a>>;
        resource_type: i8;
        resource_name: Text<'a>;
    }
}
