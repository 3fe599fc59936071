//! LeaveGroup, key 13, versions 0 to 5, flexible from 4: members go, and the others share out anew.
//!
//! Up to version 2 a request is about the member that sends it; later about a list, which an administrator may send.

use super::message::message;
use super::plan::{Plan, each};
use super::wire::Text;
use crate::api::group::{GroupRequest, Leaver};
use crate::api::{Reply, Request};

message! {
    /// Names who goes.
    LeaveGroupRequest<'a> {
        group_id: &'a str;
        [only ..=2] member_id: &'a str;
        [only 3..] members: Vec<MemberIdentity<'a>>;
    }

    /// A member that goes. A static one may be named by its instance alone.
    MemberIdentity<'a> {
        member_id: &'a str;
        group_instance_id: Option<&'a str>;
        [5..] reason: Option<&'a str>;
    }

    /// Whether they have gone.
    LeaveGroupResponse<'a> {
        [1..] throttle_time_ms: i32;
        error_code: i16;
        [only 3..] members: Vec<MemberResponse<'a>>;
    }

    /// Whether one has.
    MemberResponse<'a> {
        member_id: Text<'a>;
        group_instance_id: Option<Text<'a>>;
        error_code: i16;
    }
}

/// One question to the group.
pub fn ask<'a>(request: LeaveGroupRequest<'a>, version: i16) -> Plan<'a> {
    let members = match version {
        ..=2 => vec![Leaver { member: request.member_id, instance: None, reason: None }],
        _ => request
            .members
            .iter()
            .map(|m| Leaver { member: m.member_id, instance: m.group_instance_id, reason: m.reason })
            .collect(),
    };
    let owned = |m: &MemberIdentity<'_>| MemberResponse {
        member_id: Text::Owned(m.member_id.to_owned()),
        group_instance_id: m.group_instance_id.map(|id| Text::Owned(id.to_owned())),
        error_code: 0,
    };
    let named: Vec<_> = request.members.iter().map(owned).collect();
    let leave = GroupRequest::Leave { group: request.group_id, members };
    Plan::ask(vec![Request::Group(leave)], move |replies| answer(replies, named, version))
}

fn answer(
    replies: Vec<Reply>,
    named: Vec<MemberResponse<'static>>,
    version: i16,
) -> LeaveGroupResponse<'static> {
    match each(replies) {
        // Before there were lists, the one member's result was that of the whole.
        Ok(each) if version <= 2 => LeaveGroupResponse { error_code: each[0], ..Default::default() },
        Ok(each) => {
            let members =
                named.into_iter().zip(each).map(|(m, error_code)| MemberResponse { error_code, ..m });
            LeaveGroupResponse { members: members.collect(), ..Default::default() }
        }
        Err(error_code) => LeaveGroupResponse { error_code, ..Default::default() },
    }
}
