//! ListOffsets.

use kafka_protocol::messages::ListOffsetsRequest;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};

use super::{NOWHERE, Run, offsets, produce, topic_name};
use crate::oracle::batch::{self, BEGUN, Record};

const EVERY: std::ops::RangeInclusive<i16> = 1..=10;

/// Topic, partition and timestamp.
type Want<'a> = (&'a str, i32, i64);

/// Neighbours of one topic share its entry.
fn request(wants: &[Want<'_>]) -> ListOffsetsRequest {
    let mut topics: Vec<ListOffsetsTopic> = Vec::new();
    for &(name, number, timestamp) in wants {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(number)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        match topics.last_mut() {
            Some(topic) if topic.name == topic_name(name) => topic.partitions.push(partition),
            _ => {
                let topic = ListOffsetsTopic::default().with_name(topic_name(name));
                topics.push(topic.with_partitions(vec![partition]));
            }
        }
    }
    ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(topics)
}

pub fn play(run: &mut Run) {
    run.topic("timed", 2, &[]);
    run.topic("untimed", 1, &[]);
    run.topic("by-arrival", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let at = |n| Record { timestamp: BEGUN + n, ..batch::plain(b"value") };
    // The largest time is not at the end.
    for times in [&[0, 10, 20][..], &[100, 500, 200], &[30, 40]] {
        let records: Vec<Record<'_>> = times.iter().map(|&n| at(n)).collect();
        fill(run, "timed", batch::of(&records, None));
    }
    fill(run, "by-arrival", batch::counted(2));
    for timestamp in [-1, -2, -3, -4, -5, -6, -7, i64::MIN] {
        run.each(&format!("timestamp {timestamp}"), EVERY, |_, _| {
            request(&[("timed", 0, timestamp), ("timed", 1, timestamp), ("by-arrival", 0, timestamp)])
        });
    }
    for n in [-1, 0, 1, 10, 20, 21, 100, 101, 500, 501] {
        run.each(&format!("{n} ms after the first"), [1, 4, 10], |_, _| request(&[("timed", 0, BEGUN + n)]));
    }
    for timestamp in [0, BEGUN, i64::MAX] {
        run.each(&format!("timestamp {timestamp} by arrival"), [1, 10], |_, _| {
            request(&[("by-arrival", 0, timestamp)])
        });
        run.each(&format!("timestamp {timestamp} of nothing"), [1, 10], |_, _| {
            request(&[("untimed", 0, timestamp)])
        });
    }
    run.each("two topics, one that is not there, a partition that is not there", EVERY, |_, _| {
        request(&[
            ("timed", 0, -1),
            ("timed", 7, -1),
            (NOWHERE, 0, -1),
            ("untimed", 0, -2),
            ("untimed", -1, -1),
        ])
    });
    run.each("bad names", [1, 10], |_, _| request(&[("", 0, -1), ("a/b", 0, -1)]));
    lists(run);
    epochs(run);
    offsets::trim(run, "timed", 4);
    run.each("the start of a log that was cut", [1, 10], |_, _| request(&[("timed", 0, -2)]));
    run.each("a time before the start of a log that was cut", [1, 10], |_, _| {
        request(&[("timed", 0, BEGUN)])
    });
    run.each("the largest time of a log that was cut", [7, 10], |_, _| request(&[("timed", 0, -3)]));
}

fn fill(run: &mut Run, topic: &str, bytes: Vec<u8>) {
    let asked = produce::request(run, 9, -1, vec![(topic, 0, bytes)]);
    let answer = run.get(9, asked);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{topic} is filled");
}

fn lists(run: &mut Run) {
    run.each("no topics", [1, 10], |_, _| request(&[]));
    run.each("no partitions", [1, 10], |_, _| {
        request(&[]).with_topics(vec![ListOffsetsTopic::default().with_name(topic_name("timed"))])
    });
    run.each("a partition twice", [1, 6, 10], |_, _| request(&[("timed", 0, -1), ("timed", 0, -2)]));
    run.each("a topic twice", [1, 6, 10], |_, _| {
        request(&[("timed", 0, -1), ("untimed", 0, -1), ("timed", 1, -1)])
    });
    run.each("only what is committed", [2, 10], |_, _| request(&[("timed", 0, -1)]).with_isolation_level(1));
    run.each("an isolation level that is none", [2, 10], |_, _| {
        request(&[("timed", 0, -1)]).with_isolation_level(2)
    });
    run.each("as a replica", [1, 10], |_, _| request(&[("timed", 0, -1)]).with_replica_id(5.into()));
    run.each("as a debugger", [1, 10], |_, _| request(&[("timed", 0, -1)]).with_replica_id((-2).into()));
}

/// The first epoch of Kafka is 0, so no client can know an earlier one.
fn epochs(run: &mut Run) {
    let epoch = run.leader_epoch();
    for (what, current) in [("the current leader epoch", epoch), ("a later leader epoch", epoch + 1)] {
        run.each(what, [4, 10], |_, _| {
            let mut asked = request(&[("timed", 0, -1), ("timed", 1, BEGUN)]);
            for partition in &mut asked.topics[0].partitions {
                partition.current_leader_epoch = current;
            }
            asked
        });
    }
}
