//! ListGroups, key 16, versions 0 to 5, flexible from 3: all groups, or those in some states or of some types.
//!
//! Filters do not mind upper and lower case, and one that nobody matches is no error.

use super::message::message;
use super::plan::{Plan, group_error};
use super::wire::Text;
use crate::api::group::{GroupLine, GroupReply, GroupRequest};
use crate::api::{Reply, Request};

message! {
    /// Asks for groups; an empty filter lets everything through.
    ListGroupsRequest<'a> {
        [only 4..] states_filter: Vec<&'a str>;
        [only 5..] types_filter: Vec<&'a str>;
    }

    /// The groups.
    ListGroupsResponse<'a> {
        [1..] throttle_time_ms: i32;
        error_code: i16;
        groups: Vec<ListedGroup<'a>>;
    }

    /// A group.
    ListedGroup<'a> {
        group_id: Text<'a>;
        protocol_type: Text<'a>;
        [4..] group_state: Text<'a>;
        [5..] group_type: Text<'a>;
    }
}

/// One question.
pub fn ask<'a>(request: ListGroupsRequest<'a>) -> Plan<'a> {
    let list = GroupRequest::List { states: request.states_filter, kinds: request.types_filter };
    Plan::ask(vec![Request::Group(list)], |replies| match replies.into_iter().next() {
        Some(Reply::Group(GroupReply::List(groups))) => {
            ListGroupsResponse { groups: groups.into_iter().map(listed).collect(), ..Default::default() }
        }
        other => ListGroupsResponse { error_code: group_error(other), ..Default::default() },
    })
}

fn listed(line: GroupLine) -> ListedGroup<'static> {
    ListedGroup {
        group_id: Text::Owned(line.group),
        protocol_type: Text::Owned(line.protocol_type),
        group_state: Text::Borrowed(line.state),
        group_type: Text::Borrowed(line.kind),
    }
}
