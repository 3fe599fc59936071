//! What the native language says about consumer groups to whoever asks about them.

use krappy_wire::native::{self, ForgetOffsets, Head};

use crate::api::group::{GroupDetail, GroupReply, GroupRequest, GroupSummary};
use crate::api::{ErrorCode, Refusal, Request};

pub(super) fn forget<'a>(forget: ForgetOffsets<'a>) -> Request<'a> {
    Request::Group(GroupRequest::DeleteOffsets { group: forget.group, partitions: forget.partitions })
}

/// Writes what the broker says of groups.
pub(super) fn put(head: Head, reply: GroupReply, out: &mut Vec<u8>) {
    let answer = match &reply {
        GroupReply::Result(Ok(())) => native::Reply::Ack,
        GroupReply::Each(Ok(each)) => {
            let number = |one: &Result<(), ErrorCode>| one.err().unwrap_or(ErrorCode::None).number();
            native::Reply::Each { errors: each.iter().map(number).collect() }
        }
        GroupReply::Page(groups, more) => {
            native::Reply::Groups(native::Groups { groups: groups.iter().map(line).collect(), more: *more })
        }
        GroupReply::Detail(Ok(detail)) => native::Reply::Group(info(detail)),
        GroupReply::Result(Err(code)) | GroupReply::Each(Err(code)) | GroupReply::Detail(Err(code)) => {
            return super::refuse(head, &refusal(*code), out);
        }
        _ => unreachable!("nothing else is asked in this language"),
    };
    answer.encode(head, out);
}

fn refusal(code: ErrorCode) -> Refusal {
    match code {
        ErrorCode::GroupIdNotFound => Refusal::new(code, "there is no such group"),
        ErrorCode::InvalidGroupId => Refusal::new(code, "the name of a group has 1 to 255 bytes"),
        ErrorCode::NonEmptyGroup => {
            Refusal::new(code, "the group has members").hint("stop them, and wait until their sessions end")
        }
        // What Kafka's protocol calls a member that it does not know is here somebody who is none.
        ErrorCode::UnknownMemberId => Refusal::new(ErrorCode::NonEmptyGroup, "the group has members")
            .hint("stop them, and wait until their sessions end"),
        ErrorCode::PolicyViolation => Refusal::new(code, "there are as many groups as there may be")
            .hint("delete some, or raise max.groups"),
        other => Refusal::new(other, "the group cannot do that now"),
    }
}

fn line(group: &GroupSummary) -> native::GroupLine<'_> {
    native::GroupLine {
        name: &group.group,
        state: group.state,
        kind: group.kind,
        members: group.members as u32,
        topics: group.topics as u32,
        lag: group.lag.unwrap_or(-1),
        last_commit: group.last_commit.unwrap_or(-1),
        lost: group.lost,
    }
}

fn info(detail: &GroupDetail) -> native::GroupInfo<'_> {
    let members = detail.members.iter().map(|member| native::GroupMember {
        id: &member.id,
        instance: member.instance.as_deref().unwrap_or_default(),
        client: &member.client_id,
        host: &member.client_host,
        share: member.share.iter().map(|(topic, number)| (topic.as_str(), *number)).collect(),
    });
    let positions = detail.positions.iter().map(|at| native::GroupPosition {
        topic: &at.topic,
        partition: at.partition,
        offset: at.offset.unwrap_or(-1),
        metadata: &at.metadata,
        committed_at: at.committed_at.unwrap_or(-1),
        log_start: at.log_start,
        high_watermark: at.high_watermark,
        read: at.read,
    });
    native::GroupInfo {
        line: line(&detail.summary),
        protocol: &detail.protocol,
        members: members.collect(),
        positions: positions.collect(),
    }
}
