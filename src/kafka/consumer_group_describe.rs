//! ConsumerGroupDescribe, key 69, versions 0 to 1, all flexible: consumer groups (KIP-848), with what each member has
//! and what it is to have.
//!
//! A group that is not there, or is a classic one, is GROUP_ID_NOT_FOUND; tools then ask DescribeGroups. Left out:
//! authorized operations, because there is no authorization.

use super::errors;
use super::message::message;
use super::plan::{Plan, group_error};
use super::wire::{Text, Uuid};
use crate::api::group::{ConsumerDescription, ConsumerMember, GroupReply, GroupRequest, TopicShare};
use crate::api::{Reply, Request};

/// A member that speaks the classic protocol, and one that speaks that of consumer groups.
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

message! {
    /// Names the groups.
    ConsumerGroupDescribeRequest<'a> {
        group_ids: Vec<&'a str>;
        include_authorized_operations: bool;
    }

    /// The groups.
    ConsumerGroupDescribeResponse<'a> {
        throttle_time_ms: i32;
        groups: Vec<DescribedGroup<'a>>;
    }

    /// A group.
    DescribedGroup<'a> {
        error_code: i16;
        error_message: Option<Text<'a>>;
        group_id: Text<'a>;
        group_state: Text<'a>;
        group_epoch: i32;
        assignment_epoch: i32;
        assignor_name: Text<'a>;
        members: Vec<Member<'a>>;
        authorized_operations: i32 = i32::MIN;
    }

    /// A member.
    Member<'a> {
        member_id: Text<'a>;
        instance_id: Option<Text<'a>>;
        rack_id: Option<Text<'a>>;
        member_epoch: i32;
        client_id: Text<'a>;
        client_host: Text<'a>;
        subscribed_topic_names: Vec<Text<'a>>;
        subscribed_topic_regex: Option<Text<'a>>;
        assignment: Assignment<'a>;
        target_assignment: Assignment<'a>;
        [1..] member_type: i8 = -1;
    }

    /// What a member has, or is to have.
    Assignment<'a> {
        topic_partitions: Vec<TopicPartitions<'a>>;
    }

    /// Of a topic.
    TopicPartitions<'a> {
        topic_id: Uuid;
        topic_name: Text<'a>;
        partitions: Vec<i32>;
    }
}

/// One question for each group.
pub fn ask<'a>(request: ConsumerGroupDescribeRequest<'a>) -> Plan<'a> {
    let names: Vec<String> = request.group_ids.iter().map(|&group| group.to_owned()).collect();
    let question = |group| Request::Group(GroupRequest::DescribeConsumer(group));
    Plan::ask(request.group_ids.into_iter().map(question).collect(), |replies| {
        let groups = names.into_iter().zip(replies).map(|(name, reply)| described(name, reply));
        ConsumerGroupDescribeResponse { groups: groups.collect(), ..Default::default() }
    })
}

fn described(name: String, reply: Reply) -> DescribedGroup<'static> {
    let group_id = Text::Owned(name);
    match reply {
        Reply::Group(GroupReply::Consumer(Ok(group))) => DescribedGroup { group_id, ..whole(group) },
        Reply::Group(GroupReply::Consumer(Err(refused))) => DescribedGroup {
            error_code: errors::number(refused.code),
            error_message: Some(Text::Owned(refused.why)),
            group_id,
            ..Default::default()
        },
        other => DescribedGroup { error_code: group_error(Some(other)), group_id, ..Default::default() },
    }
}

fn whole(group: ConsumerDescription) -> DescribedGroup<'static> {
    DescribedGroup {
        group_state: Text::Borrowed(group.state),
        group_epoch: group.epoch,
        // Whoever looks sees a plan that is made.
        assignment_epoch: group.epoch,
        assignor_name: Text::Borrowed(group.assignor),
        members: group.members.into_iter().map(member).collect(),
        ..Default::default()
    }
}

fn member(member: ConsumerMember) -> Member<'static> {
    Member {
        member_id: Text::Owned(member.member),
        instance_id: member.instance.map(Text::Owned),
        rack_id: member.rack.map(Text::Owned),
        member_epoch: member.epoch,
        client_id: Text::Owned(member.client_id),
        client_host: Text::Owned(member.client_host),
        subscribed_topic_names: member.topics.into_iter().map(Text::Owned).collect(),
        // Kafka tells an empty one where there is none.
        subscribed_topic_regex: Some(Text::Owned(member.pattern.unwrap_or_default())),
        assignment: assignment(member.assigned),
        target_assignment: assignment(member.target),
        member_type: if member.classic { CLASSIC_MEMBER } else { CONSUMER_MEMBER },
    }
}

fn assignment(shares: Vec<TopicShare>) -> Assignment<'static> {
    let topic = |share: TopicShare| TopicPartitions {
        topic_id: Uuid(share.id),
        topic_name: Text::Owned(share.name),
        partitions: share.partitions,
    };
    Assignment { topic_partitions: shares.into_iter().map(topic).collect() }
}
