//! DescribeConfigs, key 32, versions 1 to 4, flexible from 4: the settings of topics and of the broker.
//!
//! Null for the keys asks for all of them. Synonyms are where a value may come from, the one that counts first.

use super::message::message;
use super::wire::Text;

message! {
    /// Asks for settings.
    DescribeConfigsRequest<'a> {
        resources: Vec<DescribeConfigsResource<'a>>;
        include_synonyms: bool;
        [only 3..] include_documentation: bool;
    }

    /// Of what, and which of them; null: all. Type 2 is a topic, 4 a broker.
    DescribeConfigsResource<'a> {
        resource_type: i8;
        resource_name: &'a str;
        configuration_keys: Option<Vec<&'a str>>;
    }

    /// A result for each resource.
    DescribeConfigsResponse<'a> {
        throttle_time_ms: i32;
        results: Vec<DescribeConfigsResult<'a>>;
    }

    /// One of them.
    DescribeConfigsResult<'a> {
        error_code: i16;
        error_message: Option<Text<'a>>;
        resource_type: i8;
        resource_name: Text<'a>;
        configs: Vec<DescribeConfigsResourceResult<'a>>;
    }

    /// A setting: source 1 the topic, 4 the broker, 5 the default.
    DescribeConfigsResourceResult<'a> {
        name: Text<'a>;
        value: Option<Text<'a>>;
        read_only: bool;
        config_source: i8 = -1;
        is_sensitive: bool;
        synonyms: Vec<DescribeConfigsSynonym<'a>>;
        [3..] config_type: i8;
        [3..] documentation: Option<Text<'a>>;
    }

    /// A place that its value may come from.
    DescribeConfigsSynonym<'a> {
        name: Text<'a>;
        value: Option<Text<'a>>;
        source: i8;
    }
}
