//! DescribeLogDirs, key 35, versions 1 to 4, flexible from 2: how much of which disk partitions take.
//!
//! There is one folder.

use super::message::message;
use super::plan::{Context, Plan};
use super::wire::Text;
use crate::api::{Reply, Request, TopicDescription, TopicRef};

message! {
    /// Asks for the sizes of partitions; null: of all.
    DescribeLogDirsRequest<'a> {
        topics: Option<Vec<DescribableLogDirTopic<'a>>>;
    }

    /// Some of a topic.
    DescribableLogDirTopic<'a> {
        topic: &'a str;
        partitions: Vec<i32>;
    }

    /// Sizes, by folder.
    DescribeLogDirsResponse<'a> {
        throttle_time_ms: i32;
        [3..] error_code: i16;
        results: Vec<DescribeLogDirsResult<'a>>;
    }

    /// A folder.
    DescribeLogDirsResult<'a> {
        error_code: i16;
        log_dir: Text<'a>;
        topics: Vec<DescribeLogDirsTopic<'a>>;
        [4..] total_bytes: i64 = -1;
        [4..] usable_bytes: i64 = -1;
    }

    /// What a topic has there.
    DescribeLogDirsTopic<'a> {
        name: Text<'a>;
        partitions: Vec<DescribeLogDirsPartition>;
    }

    /// What a partition takes, in bytes.
    DescribeLogDirsPartition {
        partition_index: i32;
        partition_size: i64;
        offset_lag: i64;
        is_future_key: bool;
    }
}

/// Sizes of the partitions that are asked for, or of all.
pub fn ask<'a>(request: DescribeLogDirsRequest<'a>, context: &Context<'_>) -> Plan<'a> {
    let folder = context.greeting.data_dir.clone();
    let Some(topics) = request.topics else {
        return Plan::ask(vec![Request::DescribeAllTopics], move |replies| {
            let Some(Reply::AllTopics(topics)) = replies.into_iter().next() else {
                unreachable!("all topics were asked for")
            };
            answer(folder, topics.iter().map(|topic| sizes(topic, None)).collect())
        });
    };
    let wanted: Vec<Vec<i32>> = topics.iter().map(|t| t.partitions.clone()).collect();
    let one = |t: &DescribableLogDirTopic<'a>| Request::DescribeTopic {
        topic: TopicRef::Name(t.topic),
        create: false,
    };
    Plan::ask(topics.iter().map(one).collect(), move |replies| {
        let topics = replies.into_iter().zip(wanted).filter_map(|(reply, wanted)| match reply {
            Reply::Topic(topic) => Some(sizes(&topic, Some(&wanted))),
            _ => None,
        });
        answer(folder, topics.collect())
    })
}

fn answer(
    folder: String,
    mut topics: Vec<DescribeLogDirsTopic<'static>>,
) -> DescribeLogDirsResponse<'static> {
    topics.retain(|topic| !topic.partitions.is_empty());
    let result = DescribeLogDirsResult { log_dir: Text::Owned(folder), topics, ..Default::default() };
    DescribeLogDirsResponse { results: vec![result], ..Default::default() }
}

fn sizes(topic: &TopicDescription, only: Option<&[i32]>) -> DescribeLogDirsTopic<'static> {
    let all = topic.partitions.iter().enumerate().map(|(n, info)| DescribeLogDirsPartition {
        partition_index: n as i32,
        partition_size: info.bytes as i64,
        ..Default::default()
    });
    let partitions = all.filter(|p| only.is_none_or(|only| only.contains(&p.partition_index))).collect();
    DescribeLogDirsTopic { name: Text::Owned(topic.name.clone()), partitions }
}
