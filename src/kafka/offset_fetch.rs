//! OffsetFetch, key 9, versions 1 to 9, flexible from 6: how far groups have come.
//!
//! Null topics ask for everything, from version 2 on. From version 8 on a request is about any number of groups. A
//! partition that was never committed has offset -1 and no error, and so has every partition of a group that is not
//! there. From version 9 on a member of a consumer group says who it is, and is told if its epoch is over.

use super::errors;
use super::message::message;
use super::plan::{Plan, group_error};
use super::wire::Text;
use crate::api::group::{GroupOffset, GroupReply, GroupRequest};
use crate::api::{Reply, Request};

message! {
    /// Asks how far groups have come.
    OffsetFetchRequest<'a> {
        [only ..=7] group_id: &'a str;
        [only ..=7] topics: Option<Vec<OffsetFetchRequestTopic<'a>>>;
        [only 8..] groups: Vec<OffsetFetchRequestGroup<'a>>;
        [only 7..] require_stable: bool;
    }

    /// Partitions of a topic.
    OffsetFetchRequestTopic<'a> {
        name: &'a str;
        partition_indexes: Vec<i32>;
    }

    /// A group, and what of it; null: everything.
    OffsetFetchRequestGroup<'a> {
        group_id: &'a str;
        [9..] member_id: Option<&'a str>;
        [9..] member_epoch: i32 = -1;
        topics: Option<Vec<OffsetFetchRequestTopic<'a>>>;
    }

    /// How far they have come.
    OffsetFetchResponse<'a> {
        [3..] throttle_time_ms: i32;
        [only ..=7] topics: Vec<OffsetFetchResponseTopic<'a>>;
        [2..=7] error_code: i16;
        [only 8..] groups: Vec<OffsetFetchResponseGroup<'a>>;
    }

    /// How far in a topic.
    OffsetFetchResponseTopic<'a> {
        name: Text<'a>;
        partitions: Vec<OffsetFetchResponsePartition<'a>>;
    }

    /// How far in a partition; -1: never committed.
    OffsetFetchResponsePartition<'a> {
        partition_index: i32;
        committed_offset: i64 = -1;
        [5..] committed_leader_epoch: i32 = -1;
        metadata: Option<Text<'a>>;
        error_code: i16;
    }

    /// How far one group has come.
    OffsetFetchResponseGroup<'a> {
        group_id: Text<'a>;
        topics: Vec<OffsetFetchResponseTopic<'a>>;
        error_code: i16;
    }
}

/// One question for each group.
pub fn ask<'a>(request: OffsetFetchRequest<'a>, version: i16) -> Plan<'a> {
    if version <= 7 {
        let requests = vec![question(request.group_id, (None, -1), request.topics)];
        return Plan::ask(requests, move |replies| {
            let (error, topics) = told(replies.into_iter().next());
            // Version 1 has no place for an error of the whole but its partitions, and none arises there.
            let error_code = if version == 1 { 0 } else { error };
            OffsetFetchResponse { topics, error_code, ..Default::default() }
        });
    }
    let names: Vec<String> = request.groups.iter().map(|g| g.group_id.to_owned()).collect();
    let of = |g: OffsetFetchRequestGroup<'a>| question(g.group_id, (g.member_id, g.member_epoch), g.topics);
    let requests = request.groups.into_iter().map(of).collect();
    Plan::ask(requests, move |replies| {
        let groups = names.into_iter().zip(replies).map(|(group, reply)| {
            let (error_code, topics) = told(Some(reply));
            OffsetFetchResponseGroup { group_id: Text::Owned(group), topics, error_code }
        });
        OffsetFetchResponse { groups: groups.collect(), ..Default::default() }
    })
}

fn question<'a>(
    group: &'a str,
    (member, epoch): (Option<&'a str>, i32),
    topics: Option<Vec<OffsetFetchRequestTopic<'a>>>,
) -> Request<'a> {
    let all = |topics: Vec<OffsetFetchRequestTopic<'a>>| {
        topics.into_iter().flat_map(|t| t.partition_indexes.into_iter().map(move |p| (t.name, p))).collect()
    };
    Request::Group(GroupRequest::Offsets { group, member, epoch, partitions: topics.map(all) })
}

fn told(reply: Option<Reply>) -> (i16, Vec<OffsetFetchResponseTopic<'static>>) {
    match reply {
        Some(Reply::Group(GroupReply::Offsets(Ok(offsets)))) => (0, by_topic(offsets)),
        Some(Reply::Group(GroupReply::Offsets(Err(code)))) => (errors::number(code), Vec::new()),
        other => (group_error(other), Vec::new()),
    }
}

/// Partitions of a topic that stand one behind the other go into one entry.
fn by_topic(offsets: Vec<GroupOffset>) -> Vec<OffsetFetchResponseTopic<'static>> {
    let mut topics: Vec<OffsetFetchResponseTopic<'static>> = Vec::new();
    for offset in offsets {
        let partition = OffsetFetchResponsePartition {
            partition_index: offset.partition,
            committed_offset: offset.offset,
            committed_leader_epoch: offset.leader_epoch,
            metadata: Some(Text::Owned(offset.metadata)),
            error_code: 0,
        };
        match topics.last_mut() {
            Some(last) if last.name == offset.topic => last.partitions.push(partition),
            _ => topics.push(OffsetFetchResponseTopic {
                name: Text::Owned(offset.topic),
                partitions: vec![partition],
            }),
        }
    }
    topics
}
