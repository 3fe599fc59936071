//! IncrementalAlterConfigs, key 44, versions 0 and 1, flexible from 1: changes single settings of topics.
//!
//! Operations: 0 set, 1 delete, 2 append to a list, 3 subtract from a list.

use super::message::message;
use super::wire::Text;

message! {
    /// Changes, by resource.
    IncrementalAlterConfigsRequest<'a> {
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
        config_operation: i8;
        value: Option<&'a str>;
    }

    /// A result for each resource.
    IncrementalAlterConfigsResponse<'a> {
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
