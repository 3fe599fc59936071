//! Access control lists: DescribeAcls (key 29), CreateAcls (key 30), DeleteAcls (key 31), versions 1 to 3, flexible
//! from 2.
//!
//! There is no authorization, and as in a Kafka without an authorizer all three answer SECURITY_DISABLED, which tools
//! such as MirrorMaker expect. The numbers of resource types, patterns, operations and permissions are Kafka's.

use super::errors::KafkaError;
use super::message::message;
use super::plan::Plan;
use super::wire::Text;

/// What a client may do with a topic: everything, as in a Kafka without an authorizer. Bits have the numbers of
/// operations: read 3, write 4, create 5, delete 6, alter 7, describe 8, describe settings 10, alter them 11.
pub const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;

/// What a client may do with the cluster: everything again. Create 5, alter 7, describe 8, act as a broker 9, describe
/// settings 10, alter them 11, write idempotently 12.
pub const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// In the place of operations, if they were not asked for.
pub const NOT_ASKED: i32 = i32::MIN;

message! {
    /// Asks for the entries that a filter lets through.
    DescribeAclsRequest<'a> {
        resource_type_filter: i8;
        resource_name_filter: Option<&'a str>;
        pattern_type_filter: i8 = 3;
        principal_filter: Option<&'a str>;
        host_filter: Option<&'a str>;
        operation: i8;
        permission_type: i8;
    }

    /// Entries, by the resource that they protect.
    DescribeAclsResponse<'a> {
        throttle_time_ms: i32;
        error_code: i16;
        error_message: Option<Text<'a>>;
        resources: Vec<DescribeAclsResource<'a>>;
    }

    /// A resource and its entries.
    DescribeAclsResource<'a> {
        resource_type: i8;
        resource_name: Text<'a>;
        pattern_type: i8 = 3;
        acls: Vec<AclDescription<'a>>;
    }

    /// Who may do what, or may not.
    AclDescription<'a> {
        principal: Text<'a>;
        host: Text<'a>;
        operation: i8;
        permission_type: i8;
    }

    /// Asks for new entries.
    CreateAclsRequest<'a> {
        creations: Vec<AclCreation<'a>>;
    }

    /// One of them.
    AclCreation<'a> {
        resource_type: i8;
        resource_name: &'a str;
        resource_pattern_type: i8 = 3;
        principal: &'a str;
        host: &'a str;
        operation: i8;
        permission_type: i8;
    }

    /// A result for each entry, in the order of the request.
    CreateAclsResponse<'a> {
        throttle_time_ms: i32;
        results: Vec<AclCreationResult<'a>>;
    }

    /// One of them.
    AclCreationResult<'a> {
        error_code: i16;
        error_message: Option<Text<'a>>;
    }

    /// Asks to delete the entries that filters let through.
    DeleteAclsRequest<'a> {
        filters: Vec<DeleteAclsFilter<'a>>;
    }

    /// One of them.
    DeleteAclsFilter<'a> {
        resource_type_filter: i8;
        resource_name_filter: Option<&'a str>;
        pattern_type_filter: i8 = 3;
        principal_filter: Option<&'a str>;
        host_filter: Option<&'a str>;
        operation: i8;
        permission_type: i8;
    }

    /// A result for each filter, in the order of the request.
    DeleteAclsResponse<'a> {
        throttle_time_ms: i32;
        filter_results: Vec<DeleteAclsFilterResult<'a>>;
    }

    /// One of them.
    DeleteAclsFilterResult<'a> {
        error_code: i16;
        error_message: Option<Text<'a>>;
        matching_acls: Vec<DeleteAclsMatchingAcl<'a>>;
    }

    /// An entry that was deleted.
    DeleteAclsMatchingAcl<'a> {
        error_code: i16;
        error_message: Option<Text<'a>>;
        resource_type: i8;
        resource_name: Text<'a>;
        pattern_type: i8 = 3;
        principal: Text<'a>;
        host: Text<'a>;
        operation: i8;
        permission_type: i8;
    }
}

const DISABLED: i16 = KafkaError::SecurityDisabled as i16;

fn why() -> Option<Text<'static>> {
    Some(Text::Borrowed("there is no authorization, so there are no access control lists"))
}

/// Lists nothing.
pub fn describe<'a>() -> Plan<'a> {
    Plan::answer(DescribeAclsResponse { error_code: DISABLED, error_message: why(), ..Default::default() })
}

/// Creates nothing, and says so for each entry.
pub fn create<'a>(request: &CreateAclsRequest<'a>) -> Plan<'a> {
    let one = |_: &AclCreation<'_>| AclCreationResult { error_code: DISABLED, error_message: why() };
    let results = request.creations.iter().map(one).collect();
    Plan::answer(CreateAclsResponse { results, ..Default::default() })
}

/// Deletes nothing, and says so for each filter.
pub fn delete<'a>(request: &DeleteAclsRequest<'a>) -> Plan<'a> {
    let one = |_: &DeleteAclsFilter<'_>| DeleteAclsFilterResult {
        error_code: DISABLED,
        error_message: why(),
        ..Default::default()
    };
    let filter_results = request.filters.iter().map(one).collect();
    Plan::answer(DeleteAclsResponse { filter_results, ..Default::default() })
}
