//! DeleteGroups, key 42, versions 0 to 2, flexible from 2: forgets groups that have no members, and how far they came.

use super::message::message;
use super::plan::{Plan, group_error};
use super::wire::Text;
use crate::api::Request;
use crate::api::group::GroupRequest;

message! {
    /// Names the groups.
    DeleteGroupsRequest<'a> {
        groups_names: Vec<&'a str>;
    }

    /// Whether they are forgotten.
    DeleteGroupsResponse<'a> {
        throttle_time_ms: i32;
        results: Vec<DeletableGroupResult<'a>>;
    }

    /// Whether one is.
    DeletableGroupResult<'a> {
        group_id: Text<'a>;
        error_code: i16;
    }
}

/// One question for each group.
pub fn ask<'a>(request: DeleteGroupsRequest<'a>) -> Plan<'a> {
    let names: Vec<String> = request.groups_names.iter().map(|&group| group.to_owned()).collect();
    let requests = request.groups_names.into_iter().map(|group| Request::Group(GroupRequest::Delete(group)));
    Plan::ask(requests.collect(), move |replies| {
        let results = names.into_iter().zip(replies).map(|(name, reply)| DeletableGroupResult {
            group_id: Text::Owned(name),
            error_code: group_error(Some(reply)),
        });
        DeleteGroupsResponse { results: results.collect(), ..Default::default() }
    })
}
