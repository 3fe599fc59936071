//! OffsetDelete, key 47, version 0: forgets how far a group has come in topics that none of its members reads.

use super::message::message;
use super::plan::{Named, Plan, each};
use super::wire::{Text, Uuid};
use crate::api::group::GroupRequest;
use crate::api::{Reply, Request};

message! {
    /// Names the partitions.
    OffsetDeleteRequest<'a> {
        group_id: &'a str;
        topics: Vec<OffsetDeleteRequestTopic<'a>>;
    }

    /// Those of a topic.
    OffsetDeleteRequestTopic<'a> {
        name: &'a str;
        partitions: Vec<OffsetDeleteRequestPartition>;
    }

    /// One.
    OffsetDeleteRequestPartition {
        partition_index: i32;
    }

    /// Whether they are forgotten.
    OffsetDeleteResponse<'a> {
        error_code: i16;
        throttle_time_ms: i32;
        topics: Vec<OffsetDeleteResponseTopic<'a>>;
    }

    /// Those of a topic.
    OffsetDeleteResponseTopic<'a> {
        name: Text<'a>;
        partitions: Vec<OffsetDeleteResponsePartition>;
    }

    /// One.
    OffsetDeleteResponsePartition {
        partition_index: i32;
        error_code: i16;
    }
}

/// One question to the group, about all partitions.
pub fn ask<'a>(request: OffsetDeleteRequest<'a>) -> Plan<'a> {
    let (mut partitions, mut asked) = (Vec::new(), Vec::with_capacity(request.topics.len()));
    for topic in &request.topics {
        let numbers: Vec<i32> = topic.partitions.iter().map(|p| p.partition_index).collect();
        partitions.extend(numbers.iter().map(|&number| (topic.name, number)));
        asked.push((Named::of(topic.name, Uuid::default()), numbers));
    }
    let forget = GroupRequest::DeleteOffsets { group: request.group_id, partitions };
    Plan::ask(vec![Request::Group(forget)], move |replies| answer(replies, asked))
}

fn answer(replies: Vec<Reply>, asked: Vec<(Named, Vec<i32>)>) -> OffsetDeleteResponse<'static> {
    let mut each = match each(replies) {
        Ok(each) => each.into_iter(),
        Err(error_code) => return OffsetDeleteResponse { error_code, ..Default::default() },
    };
    let topics = asked.into_iter().map(|(named, numbers)| OffsetDeleteResponseTopic {
        name: named.text(),
        partitions: numbers
            .into_iter()
            .zip(&mut each)
            .map(|(partition_index, error_code)| OffsetDeleteResponsePartition {
                partition_index,
                error_code,
            })
            .collect(),
    });
    OffsetDeleteResponse { topics: topics.collect(), ..Default::default() }
}
