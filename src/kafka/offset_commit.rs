//! OffsetCommit, key 8, versions 2 to 9, flexible from 8: a group remembers how far it has come.
//!
//! The answer comes when it is on disk. A member says its generation; from version 9 on it may be the member epoch of
//! the newer kind of group, whose members are refused before that. -1 says that a client outside the group commits,
//! which only works while it has no members.
//!
//! Left out: `retention_time_ms`. What is committed stays as long as the topic lives.

use super::message::message;
use super::plan::{Named, Plan, each};
use super::wire::{Text, Uuid};
use crate::api::group::{CommitPosition, GroupRequest, Who};
use crate::api::{ErrorCode, Reply, Request};

message! {
    /// Positions to remember.
    OffsetCommitRequest<'a> {
        group_id: &'a str;
        [only 1..] generation_id_or_member_epoch: i32 = -1;
        [1..] member_id: &'a str;
        [only 7..] group_instance_id: Option<&'a str>;
        [2..=4] retention_time_ms: i64 = -1;
        topics: Vec<OffsetCommitRequestTopic<'a>>;
    }

    /// Those of a topic.
    OffsetCommitRequestTopic<'a> {
        [only ..=9] name: &'a str;
        [only 10..] topic_id: Uuid;
        partitions: Vec<OffsetCommitRequestPartition<'a>>;
    }

    /// That of a partition: the next record to read.
    OffsetCommitRequestPartition<'a> {
        partition_index: i32;
        committed_offset: i64;
        [6..] committed_leader_epoch: i32 = -1;
        committed_metadata: Option<&'a str>;
    }

    /// Whether they are.
    OffsetCommitResponse<'a> {
        [3..] throttle_time_ms: i32;
        topics: Vec<OffsetCommitResponseTopic<'a>>;
    }

    /// Those of a topic.
    OffsetCommitResponseTopic<'a> {
        [only ..=9] name: Text<'a>;
        [only 10..] topic_id: Uuid;
        partitions: Vec<OffsetCommitResponsePartition>;
    }

    /// That of a partition.
    OffsetCommitResponsePartition {
        partition_index: i32;
        error_code: i16;
    }
}

/// One question to the group, about all partitions.
pub fn ask<'a>(request: OffsetCommitRequest<'a>, version: i16) -> Plan<'a> {
    let who = Who {
        member: request.member_id,
        instance: request.group_instance_id,
        generation: request.generation_id_or_member_epoch,
        knows_epochs: version >= 9,
    };
    let (mut positions, mut asked) = (Vec::new(), Vec::with_capacity(request.topics.len()));
    for topic in &request.topics {
        let numbers: Vec<i32> = topic.partitions.iter().map(|p| p.partition_index).collect();
        asked.push((Named::of(topic.name, Uuid::default()), numbers));
        positions.extend(topic.partitions.iter().map(|p| CommitPosition {
            topic: topic.name,
            partition: p.partition_index,
            offset: p.committed_offset,
            leader_epoch: p.committed_leader_epoch,
            metadata: p.committed_metadata.unwrap_or_default(),
        }));
    }
    let commit = GroupRequest::Commit { group: request.group_id, who, positions };
    Plan::ask(vec![Request::Group(commit)], move |replies| answer(replies, asked, version))
}

fn answer(replies: Vec<Reply>, asked: Vec<(Named, Vec<i32>)>, version: i16) -> OffsetCommitResponse<'static> {
    // There is no place for an error of the whole: each partition says it.
    let (each, all) = match each(replies) {
        Ok(each) => (each, 0),
        // Members of a group that is not there believed in a generation of it, and before version 9 are told so.
        Err(error) if version < 9 && error == ErrorCode::GroupIdNotFound.number() => {
            (Vec::new(), ErrorCode::IllegalGeneration.number())
        }
        Err(error) => (Vec::new(), error),
    };
    let mut each = each.into_iter().chain(std::iter::repeat(all));
    let topics = asked.into_iter().map(|(named, numbers)| OffsetCommitResponseTopic {
        name: named.text(),
        topic_id: named.id,
        partitions: numbers
            .into_iter()
            .zip(&mut each)
            .map(|(partition_index, error_code)| OffsetCommitResponsePartition {
                partition_index,
                error_code,
            })
            .collect(),
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}
