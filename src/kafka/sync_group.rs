//! SyncGroup, key 14, versions 0 to 5, flexible from 4: the leader hands out what it has shared out, and every member
//! gets its part.
//!
//! The broker never looks into the bytes of an assignment.

use super::errors;
use super::message::message;
use super::plan::{Plan, group_error};
use super::wire::{Bytes, Text};
use crate::api::group::{GroupReply, GroupRequest, MemberAnswer, Sync, Who};
use crate::api::{ErrorCode, Reply, Request};

message! {
    /// Asks for the member's part; from the leader, says everybody's.
    SyncGroupRequest<'a> {
        group_id: &'a str;
        generation_id: i32;
        member_id: &'a str;
        [only 3..] group_instance_id: Option<&'a str>;
        [5..] protocol_type: Option<&'a str>;
        [5..] protocol_name: Option<&'a str>;
        assignments: Vec<SyncGroupRequestAssignment<'a>>;
    }

    /// The part of a member.
    SyncGroupRequestAssignment<'a> {
        member_id: &'a str;
        assignment: &'a [u8];
    }

    /// The part of the member that has asked.
    SyncGroupResponse<'a> {
        [1..] throttle_time_ms: i32;
        error_code: i16;
        [5..] protocol_type: Option<Text<'a>>;
        [5..] protocol_name: Option<Text<'a>>;
        assignment: Bytes<'a>;
    }
}

/// One question to the group; the answer comes when the leader has spoken. Since version 5 a request has to name the
/// protocol.
pub fn ask<'a>(request: SyncGroupRequest<'a>, version: i16) -> Plan<'a> {
    if version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        let error_code = ErrorCode::InconsistentGroupProtocol.number();
        return Plan::answer(SyncGroupResponse { error_code, ..Default::default() });
    }
    let sync = Sync {
        group: request.group_id,
        who: Who {
            member: request.member_id,
            instance: request.group_instance_id,
            generation: request.generation_id,
            knows_epochs: false,
        },
        protocol_type: request.protocol_type,
        protocol: request.protocol_name,
        assignments: request.assignments.iter().map(|a| (a.member_id, a.assignment)).collect(),
    };
    Plan::ask(vec![Request::Group(GroupRequest::Sync(sync))], answer)
}

fn answer(replies: Vec<Reply>) -> SyncGroupResponse<'static> {
    match replies.into_iter().next() {
        Some(Reply::Group(GroupReply::Member(MemberAnswer::Synced(synced)))) => SyncGroupResponse {
            throttle_time_ms: 0,
            error_code: 0,
            protocol_type: Some(Text::Owned(synced.protocol_type.to_string())),
            protocol_name: Some(Text::Owned(synced.protocol.to_string())),
            assignment: Bytes::Owned(synced.assignment.to_vec()),
        },
        Some(Reply::Group(GroupReply::Member(MemberAnswer::NotSynced(code)))) => {
            SyncGroupResponse { error_code: errors::number(code), ..Default::default() }
        }
        other => SyncGroupResponse { error_code: group_error(other), ..Default::default() },
    }
}
