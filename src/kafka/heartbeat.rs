//! Heartbeat, key 12, versions 0 to 4, flexible from 4: a member says that it lives, and learns whether to join again.

use super::message::message;
use super::plan::{Plan, group_error};
use crate::api::Request;
use crate::api::group::{GroupRequest, Who};

message! {
    /// Says that a member lives.
    HeartbeatRequest<'a> {
        group_id: &'a str;
        generation_id: i32;
        member_id: &'a str;
        [only 3..] group_instance_id: Option<&'a str>;
    }

    /// Whether it is still one; 27: a rebalance has begun.
    HeartbeatResponse {
        [1..] throttle_time_ms: i32;
        error_code: i16;
    }
}

/// One question to the group.
pub fn ask<'a>(request: HeartbeatRequest<'a>) -> Plan<'a> {
    let who = Who {
        member: request.member_id,
        instance: request.group_instance_id,
        generation: request.generation_id,
        knows_epochs: false,
    };
    let heartbeat = GroupRequest::Heartbeat { group: request.group_id, who };
    Plan::ask(vec![Request::Group(heartbeat)], |replies| HeartbeatResponse {
        error_code: group_error(replies.into_iter().next()),
        ..Default::default()
    })
}
