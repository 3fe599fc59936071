//! DescribeGroups, key 15, versions 0 to 6, flexible from 5: groups and their members.
//!
//! A group that is not there is dead; from version 6 on that is error 69, too. Left out: authorized operations, because
//! there is no authorization.

use super::message::message;
use super::plan::{Plan, group_error};
use super::wire::{Bytes, Text};
use crate::api::ErrorCode;
use crate::api::group::{GroupDescription, GroupReply, GroupRequest, MemberDescription};
use crate::api::{Reply, Request};

message! {
    /// Names the groups.
    DescribeGroupsRequest<'a> {
        groups: Vec<&'a str>;
        [only 3..] include_authorized_operations: bool;
    }

    /// The groups.
    DescribeGroupsResponse<'a> {
        [1..] throttle_time_ms: i32;
        groups: Vec<DescribedGroup<'a>>;
    }

    /// A group.
    DescribedGroup<'a> {
        error_code: i16;
        [6..] error_message: Option<Text<'a>>;
        group_id: Text<'a>;
        group_state: Text<'a>;
        protocol_type: Text<'a>;
        protocol_data: Text<'a>;
        members: Vec<DescribedGroupMember<'a>>;
        [3..] authorized_operations: i32 = i32::MIN;
    }

    /// A member.
    DescribedGroupMember<'a> {
        member_id: Text<'a>;
        [4..] group_instance_id: Option<Text<'a>>;
        client_id: Text<'a>;
        client_host: Text<'a>;
        member_metadata: Bytes<'a>;
        member_assignment: Bytes<'a>;
    }
}

/// One question for each group.
pub fn ask<'a>(request: DescribeGroupsRequest<'a>, version: i16) -> Plan<'a> {
    let names: Vec<String> = request.groups.iter().map(|&group| group.to_owned()).collect();
    let requests = request.groups.into_iter().map(|group| Request::Group(GroupRequest::Describe(group)));
    Plan::ask(requests.collect(), move |replies| {
        let groups = names.into_iter().zip(replies).map(|(name, reply)| described(name, reply, version));
        DescribeGroupsResponse { groups: groups.collect(), ..Default::default() }
    })
}

fn described(name: String, reply: Reply, version: i16) -> DescribedGroup<'static> {
    let group = match reply {
        Reply::Group(GroupReply::Description(group)) => group,
        other => {
            let error_code = group_error(Some(other));
            return DescribedGroup { error_code, group_id: Text::Owned(name), ..Default::default() };
        }
    };
    let is_missing = group.line.state == "Dead" && version >= 6;
    let GroupDescription { line, protocol, members } = group;
    DescribedGroup {
        error_code: if is_missing { ErrorCode::GroupIdNotFound.number() } else { 0 },
        error_message: is_missing.then(|| Text::Owned(format!("Group {name} not found."))),
        group_id: Text::Owned(name),
        group_state: Text::Borrowed(line.state),
        protocol_type: Text::Owned(line.protocol_type),
        protocol_data: Text::Owned(protocol),
        members: members.into_iter().map(member).collect(),
        ..Default::default()
    }
}

fn member(member: MemberDescription) -> DescribedGroupMember<'static> {
    DescribedGroupMember {
        member_id: Text::Owned(member.member),
        group_instance_id: member.instance.map(Text::Owned),
        client_id: Text::Owned(member.client_id),
        client_host: Text::Owned(member.client_host),
        member_metadata: Bytes::Owned(member.metadata),
        member_assignment: Bytes::Owned(member.assignment),
    }
}
