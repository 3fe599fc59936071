//! DeleteRecords and OffsetForLeaderEpoch.

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{DeleteRecordsRequest, OffsetForLeaderEpochRequest};

use super::{NOWHERE, Run, produce, topic_name};
use crate::oracle::batch;

pub fn play(run: &mut Run) {
    for version in 0..=2 {
        run.topic(&format!("trimmed-v{version}"), 2, &[]);
        fill(run, &format!("trimmed-v{version}"), 5);
    }
    run.topic("compacted", 1, &[("cleanup.policy", "compact")]);
    run.topic("both", 1, &[("cleanup.policy", "compact,delete")]);
    deletions(run);
    epochs(run);
}

fn fill(run: &mut Run, topic: &str, count: i64) {
    let asked = produce::request(run, 9, -1, vec![(topic, 0, batch::counted(count))]);
    let answer = run.get(9, asked);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{topic} is filled");
}

/// Moves the log start of partition 0, outside of the steps.
pub fn trim(run: &mut Run, topic: &str, offset: i64) {
    let answer = run.get(2, delete(&[(topic, 0, offset)]));
    assert_eq!(answer.topics[0].partitions[0].error_code, 0, "{topic} is cut");
}

fn delete(wants: &[(&str, i32, i64)]) -> DeleteRecordsRequest {
    let mut topics: Vec<DeleteRecordsTopic> = Vec::new();
    for &(name, number, offset) in wants {
        let partition = DeleteRecordsPartition::default().with_partition_index(number).with_offset(offset);
        match topics.last_mut() {
            Some(topic) if topic.name == topic_name(name) => topic.partitions.push(partition),
            _ => {
                let topic = DeleteRecordsTopic::default().with_name(topic_name(name));
                topics.push(topic.with_partitions(vec![partition]));
            }
        }
    }
    DeleteRecordsRequest::default().with_timeout_ms(30_000).with_topics(topics)
}

fn deletions(run: &mut Run) {
    run.each("two partitions, one that is not there, a topic that is not there", 0..=2, |_, version| {
        let topic = format!("trimmed-v{version}");
        delete(&[(&topic, 0, 2), (&topic, 1, 0), (&topic, 7, 0), (NOWHERE, 0, 0)])
    });
    for (what, offset) in [
        ("what is deleted already", 1),
        ("to the log start", 2),
        ("behind the end", 6),
        ("a negative offset", -2),
        ("to the end", 5),
        ("once more to the end", 5),
        ("all", -1),
    ] {
        run.each(what, [0, 2], |_, version| delete(&[(&format!("trimmed-v{version}"), 0, offset)]));
    }
    run.each("a compacted topic", [0, 2], |_, _| delete(&[("compacted", 0, 0)]));
    run.each("a topic that is compacted and deleted", [0, 2], |_, _| delete(&[("both", 0, 0)]));
    run.ask("no topics", 2, delete(&[]));
    run.ask(
        "no partitions",
        2,
        delete(&[]).with_topics(vec![DeleteRecordsTopic::default().with_name(topic_name("both"))]),
    );
    run.ask("a partition twice", 2, delete(&[("both", 0, 0), ("both", 0, -1)]));
    run.ask("a negative partition and a bad name", 2, delete(&[("both", -1, 0), ("a/b", 0, 0)]));
}

/// Topic, partition, the epoch that the client believes current, the epoch that it asks for.
fn end_of(wants: &[(&str, i32, i32, i32)]) -> OffsetForLeaderEpochRequest {
    let mut topics: Vec<OffsetForLeaderTopic> = Vec::new();
    for &(name, number, current, epoch) in wants {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(number)
            .with_current_leader_epoch(current)
            .with_leader_epoch(epoch);
        match topics.last_mut() {
            Some(topic) if topic.topic == topic_name(name) => topic.partitions.push(partition),
            _ => {
                let topic = OffsetForLeaderTopic::default().with_topic(topic_name(name));
                topics.push(topic.with_partitions(vec![partition]));
            }
        }
    }
    OffsetForLeaderEpochRequest::default().with_replica_id((-1).into()).with_topics(topics)
}

/// The first epoch of Kafka is 0, so no client can know an earlier one.
fn epochs(run: &mut Run) {
    run.topic("epochs", 2, &[]);
    fill(run, "epochs", 3);
    let epoch = run.leader_epoch();
    run.each("the current epoch, a topic and a partition that are not there", 2..=4, |_, _| {
        end_of(&[("epochs", 0, epoch, epoch), ("epochs", 7, epoch, epoch), (NOWHERE, 0, epoch, epoch)])
    });
    for (what, current, asked) in [
        ("without a current epoch", -1, epoch),
        ("a later epoch", epoch, epoch + 1),
        ("no epoch", epoch, -1),
        ("of a client that knows a later epoch", epoch + 1, epoch),
    ] {
        run.each(what, [2, 3, 4], |_, _| {
            end_of(&[("epochs", 0, current, asked), ("epochs", 1, current, asked)])
        });
    }
    run.each("no topics", [2, 4], |_, _| end_of(&[]));
    run.ask("a partition twice", 4, end_of(&[("epochs", 0, epoch, epoch), ("epochs", 0, epoch, -1)]));
    run.ask("a bad name", 4, end_of(&[("a/b", 0, epoch, epoch)]));
    run.each("as a replica", [3, 4], |_, _| end_of(&[("epochs", 0, epoch, epoch)]).with_replica_id(5.into()));
}
