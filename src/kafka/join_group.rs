//! JoinGroup, key 11, versions 0 to 9, flexible from 6: a member enters its group, or comes back for the next
//! generation.
//!
//! The answer waits until everybody has come, or until the rebalance timeout has passed. Only the leader is told who
//! the members are. From version 4 on a member without an id is first given one, with error 79, and asks again with it.

use super::errors;
use super::message::message;
use super::plan::{Context, Plan, group_error};
use super::wire::{Bytes, Text};
use crate::api::group::{GroupReply, GroupRequest, Join, JoinedMember, MemberAnswer};
use crate::api::{Reply, Request};

message! {
    /// Asks to be a member.
    JoinGroupRequest<'a> {
        group_id: &'a str;
        session_timeout_ms: i32;
        [1..] rebalance_timeout_ms: i32 = -1;
        member_id: &'a str;
        [only 5..] group_instance_id: Option<&'a str>;
        protocol_type: &'a str;
        protocols: Vec<JoinGroupRequestProtocol<'a>>;
        [8..] reason: Option<&'a str>;
    }

    /// A way of sharing out partitions that the member can follow, the one that it likes best first.
    JoinGroupRequestProtocol<'a> {
        name: &'a str;
        metadata: &'a [u8];
    }

    /// The generation, or why there is none.
    JoinGroupResponse<'a> {
        [2..] throttle_time_ms: i32;
        error_code: i16;
        generation_id: i32 = -1;
        [7..] protocol_type: Option<Text<'a>>;
        protocol_name: Option<Text<'a>>;
        leader: Text<'a>;
        [only 9..] skip_assignment: bool;
        member_id: Text<'a>;
        members: Vec<JoinGroupResponseMember<'a>>;
    }

    /// A member, as the leader is told of it.
    JoinGroupResponseMember<'a> {
        member_id: Text<'a>;
        [5..] group_instance_id: Option<Text<'a>>;
        metadata: Bytes<'a>;
    }
}

/// One question to the group; the answer comes when the generation is there.
pub fn ask<'a>(request: JoinGroupRequest<'a>, context: &Context<'a>) -> Plan<'a> {
    let version = context.version;
    let join = Join {
        group: request.group_id,
        member: request.member_id,
        instance: request.group_instance_id,
        client_id: context.client_id,
        client_host: context.client_host,
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        protocol_type: request.protocol_type,
        protocols: request.protocols.iter().map(|p| (p.name, p.metadata)).collect(),
        reason: request.reason,
        takes_id_first: version >= 4,
        skips_assignment: version >= 9,
    };
    Plan::ask(vec![Request::Group(GroupRequest::Join(join))], move |replies| answer(replies, version))
}

fn answer(replies: Vec<Reply>, version: i16) -> JoinGroupResponse<'static> {
    // Null cannot be said before version 7.
    let protocol_name = (version < 7).then(Text::default);
    let joined = match replies.into_iter().next() {
        Some(Reply::Group(GroupReply::Member(MemberAnswer::Joined(joined)))) => joined,
        Some(Reply::Group(GroupReply::Member(MemberAnswer::NotJoined { code, member }))) => {
            let (error_code, member_id) = (errors::number(code), text(&member));
            return JoinGroupResponse { error_code, member_id, protocol_name, ..Default::default() };
        }
        other => {
            return JoinGroupResponse { error_code: group_error(other), protocol_name, ..Default::default() };
        }
    };
    JoinGroupResponse {
        throttle_time_ms: 0,
        error_code: 0,
        generation_id: joined.generation,
        protocol_type: Some(text(&joined.protocol_type)),
        protocol_name: Some(text(&joined.protocol)),
        leader: text(&joined.leader),
        skip_assignment: joined.skip_assignment,
        member_id: text(&joined.member),
        members: joined.members.iter().map(member).collect(),
    }
}

fn member(member: &JoinedMember) -> JoinGroupResponseMember<'static> {
    JoinGroupResponseMember {
        member_id: text(&member.id),
        group_instance_id: member.instance.as_deref().map(text),
        metadata: Bytes::Owned(member.metadata.to_vec()),
    }
}

fn text(text: &str) -> Text<'static> {
    Text::Owned(text.to_owned())
}
