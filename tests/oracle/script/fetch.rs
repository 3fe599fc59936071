//! Fetch.

use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use uuid::Uuid;

use super::{NO_ID, NOWHERE, Run, produce, topic_name};
use crate::common::eventually;
use crate::oracle::batch;

/// More than any topic here holds.
const PLENTY: i32 = 1 << 20;
const EVERY: std::ops::RangeInclusive<i16> = 4..=17;

/// Topic, partition and offset.
type Want<'a> = (&'a str, i32, i64);

/// A request that waits for nothing. Neighbours of one topic share its entry.
fn request(run: &Run, version: i16, wants: &[Want<'_>]) -> FetchRequest {
    let mut topics: Vec<(&str, FetchTopic)> = Vec::new();
    for &(name, number, offset) in wants {
        let partition = FetchPartition::default()
            .with_partition(number)
            .with_fetch_offset(offset)
            .with_current_leader_epoch(-1)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(PLENTY);
        match topics.last_mut() {
            Some((last, topic)) if *last == name => topic.partitions.push(partition),
            _ => topics.push((name, of(run, version, name).with_partitions(vec![partition]))),
        }
    }
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(PLENTY)
        .with_session_epoch(-1)
        .with_topics(topics.into_iter().map(|(_, topic)| topic).collect())
}

fn of(run: &Run, version: i16, name: &str) -> FetchTopic {
    match name {
        _ if version <= 12 => FetchTopic::default().with_topic(topic_name(name)),
        NOWHERE => FetchTopic::default().with_topic_id(NO_ID),
        _ => FetchTopic::default().with_topic_id(run.id_of(name)),
    }
}

/// The first partition of a request.
fn first(request: &mut FetchRequest) -> &mut FetchPartition {
    &mut request.topics[0].partitions[0]
}

pub fn play(run: &mut Run) {
    run.topic("read", 2, &[]);
    run.topic("empty", 1, &[]);
    for (partition, count) in [(0, 3), (0, 1), (0, 2), (1, 4)] {
        fill(run, "read", partition, batch::counted(count));
    }
    await_end(run, "read", 0, 6);
    run.each("from the start", EVERY, |run, version| request(run, version, &[("read", 0, 0)]));
    run.each("two partitions, another topic, one that is not there", EVERY, |run, version| {
        request(run, version, &[("read", 0, 4), ("read", 1, 0), ("empty", 0, 0), (NOWHERE, 0, 0)])
    });
    run.each("a partition that is not there", EVERY, |run, version| {
        request(run, version, &[("read", 7, 0), ("read", -1, 0)])
    });
    for (what, offset) in [
        ("within a batch", 1),
        ("at the last record", 5),
        ("at the end", 6),
        ("behind the end", 7),
        ("far behind the end", i64::MAX),
        ("before the start", -1),
        ("far before the start", i64::MIN),
    ] {
        run.each(what, [4, 11, 17], |run, version| request(run, version, &[("read", 0, offset)]));
    }
    limits(run);
    lists(run);
    isolation(run);
    sessions(run);
    epochs(run);
    contents(run);
    trimmed(run);
}

fn fill(run: &mut Run, topic: &str, partition: i32, bytes: Vec<u8>) {
    let asked = produce::request(run, 9, -1, vec![(topic, partition, bytes)]);
    let answer = run.get(9, asked);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{topic} is filled");
}

/// Waits until readers see everything up to this offset.
fn await_end(run: &mut Run, topic: &str, partition: i32, end: i64) {
    eventually("readers see what was written", || {
        let asked = request(run, 11, &[(topic, partition, 0)]);
        run.get(11, asked).responses[0].partitions[0].high_watermark == end
    });
}

fn limits(run: &mut Run) {
    for (what, partition_bytes, bytes) in [
        ("a partition limit of 0", 0, PLENTY),
        ("a partition limit of 1", 1, PLENTY),
        ("a negative partition limit", -1, PLENTY),
        ("a partition limit of a batch and a half", 120, PLENTY),
        ("a limit of 0", PLENTY, 0),
        ("a limit of 1", PLENTY, 1),
        ("a negative limit", PLENTY, -1),
        ("a limit of a batch and a half", PLENTY, 120),
    ] {
        run.each(what, [4, 11, 17], |run, version| {
            let mut asked = request(run, version, &[("read", 0, 0), ("read", 1, 0)]).with_max_bytes(bytes);
            for partition in &mut asked.topics[0].partitions {
                partition.partition_max_bytes = partition_bytes;
            }
            asked
        });
    }
    run.each("a minimum that is there", [4, 17], |run, version| {
        request(run, version, &[("read", 0, 0)]).with_min_bytes(1).with_max_wait_ms(30_000)
    });
    run.each("a minimum that is not there, and no wait", [4, 17], |run, version| {
        request(run, version, &[("empty", 0, 0)]).with_min_bytes(1_000)
    });
    run.each("a minimum that is not there, and a wait", [4, 17], |run, version| {
        request(run, version, &[("empty", 0, 0)]).with_min_bytes(1_000).with_max_wait_ms(50)
    });
    run.each("an offset out of range does not wait", [4, 17], |run, version| {
        request(run, version, &[("empty", 0, 0), ("read", 0, 99)])
            .with_min_bytes(1_000)
            .with_max_wait_ms(30_000)
    });
    run.each("a partition that is not there, and a wait", [4, 17], |run, version| {
        request(run, version, &[("empty", 0, 0), ("read", 7, 0)]).with_min_bytes(1_000).with_max_wait_ms(50)
    });
    run.each("a negative minimum and a negative wait", [4, 17], |run, version| {
        request(run, version, &[("read", 0, 0)]).with_min_bytes(-5).with_max_wait_ms(-5)
    });
}

fn lists(run: &mut Run) {
    run.each("no topics", [4, 12, 17], |run, version| request(run, version, &[]));
    run.each("no partitions", [4, 12, 17], |run, version| {
        request(run, version, &[]).with_topics(vec![of(run, version, "read")])
    });
    run.each("a partition twice", [4, 12, 17], |run, version| {
        request(run, version, &[("read", 0, 0), ("read", 0, 4)])
    });
    run.each("a topic twice", [4, 12, 17], |run, version| {
        request(run, version, &[("read", 0, 5), ("empty", 0, 0), ("read", 1, 0)])
    });
    run.each("bad names", [4, 12], |run, version| request(run, version, &[("", 0, 0), ("a/b", 0, 0)]));
    run.ask("no id", 13, request(run, 13, &[]).with_topics(vec![nameless(Uuid::nil())]));
    run.ask("two ids that no topic has", 13, request(run, 13, &[(NOWHERE, 0, 0), (NOWHERE, 1, 0)]));
}

fn nameless(id: Uuid) -> FetchTopic {
    FetchTopic::default().with_topic_id(id).with_partitions(vec![FetchPartition::default()])
}

fn isolation(run: &mut Run) {
    for level in [1, 2, -1] {
        run.each(&format!("isolation level {level}"), [4, 5, 11, 12, 17], |run, version| {
            request(run, version, &[("read", 0, 4), ("empty", 0, 0), ("read", 7, 0)])
                .with_isolation_level(level)
        });
    }
}

fn sessions(run: &mut Run) {
    for (what, id, epoch) in [
        ("a whole request without a session", 0, -1),
        ("a session that is not there", 77, 1),
        ("the end of a session that is not there", 77, -1),
        ("a new session instead of one that is not there", 77, 0),
        ("no session and epoch 5", 0, 5),
        ("a negative session", -1, 1),
    ] {
        run.each(what, [7, 12, 17], |run, version| {
            request(run, version, &[("read", 0, 4)]).with_session_id(id).with_session_epoch(epoch)
        });
    }
    run.each("what is forgotten without a session", [7, 12], |run, version| {
        let gone = ForgottenTopic::default().with_topic(topic_name("read")).with_partitions(vec![0]);
        request(run, version, &[("read", 0, 4)]).with_forgotten_topics_data(vec![gone])
    });
    let asked = request(run, 14, &[("read", 0, 4)]).with_replica_id(5.into());
    run.ask("as a replica", 14, asked);
}

/// The first epoch of Kafka is 0, so no client can know an earlier one.
fn epochs(run: &mut Run) {
    let epoch = run.leader_epoch();
    for (what, current) in [("the current leader epoch", epoch), ("a later leader epoch", epoch + 1)] {
        run.each(what, [9, 11, 12, 17], |run, version| {
            let mut asked = request(run, version, &[("read", 0, 4)]);
            first(&mut asked).current_leader_epoch = current;
            asked
        });
    }
    for (what, last) in [("the last epoch read", epoch), ("an epoch that never was", epoch + 1)] {
        run.each(what, [12, 17], |run, version| {
            let mut asked = request(run, version, &[("read", 0, 4)]);
            first(&mut asked).last_fetched_epoch = last;
            asked
        });
    }
    run.each("the last epoch read, behind the end", [12, 17], |run, version| {
        let mut asked = request(run, version, &[("read", 0, 99)]);
        first(&mut asked).last_fetched_epoch = epoch;
        asked
    });
}

/// What was written comes back as it was, whatever it is.
fn contents(run: &mut Run) {
    run.topic("packed", 1, &[]);
    for codec in 1..=4 {
        fill(run, "packed", 0, batch::compressed(codec));
    }
    await_end(run, "packed", 0, 12);
    run.each("packed batches", [4, 9, 10, 17], |run, version| request(run, version, &[("packed", 0, 0)]));
    run.topic("restamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    fill(run, "restamped", 0, batch::counted(2));
    await_end(run, "restamped", 0, 2);
    run.each("log append time", [4, 17], |run, version| request(run, version, &[("restamped", 0, 0)]));
    run.topic("zstd", 1, &[("compression.type", "zstd")]);
    fill(run, "zstd", 0, batch::compressed(4));
    await_end(run, "zstd", 0, 3);
    run.each("a topic that packs with zstd", [4, 9, 10, 17], |run, version| {
        request(run, version, &[("zstd", 0, 0)])
    });
    let producer = run.producer("reading producer");
    run.topic("numbered-read", 1, &[]);
    fill(run, "numbered-read", 0, batch::by(producer, 0, 0));
    fill(run, "numbered-read", 0, batch::changed(|b| (b[7], b[15]) = (0, 9)));
    await_end(run, "numbered-read", 0, 2);
    run.each("sequences", [4, 17], |run, version| request(run, version, &[("numbered-read", 0, 0)]));
}

fn trimmed(run: &mut Run) {
    run.topic("short", 1, &[]);
    fill(run, "short", 0, batch::counted(4));
    fill(run, "short", 0, batch::counted(2));
    await_end(run, "short", 0, 6);
    super::offsets::trim(run, "short", 2);
    for (what, offset) in
        [("before the log start", 0), ("at the log start, within a batch", 2), ("behind the log start", 4)]
    {
        run.each(what, [4, 11, 17], |run, version| request(run, version, &[("short", 0, offset)]));
    }
}
