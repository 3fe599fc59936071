//! Produce, but for sequences.

use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};

use super::{NO_ID, NOWHERE, Run, text, topic_name};
use crate::oracle::batch::{self, BEGUN, Record};
use crate::oracle::normal::now_ms;

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// Topic, partition and batch.
pub type Part<'a> = (&'a str, i32, Vec<u8>);

/// A request whose topics go by name or, from version 13 on, by id. Neighbours of one topic share its entry.
pub fn request(run: &Run, version: i16, acks: i16, parts: Vec<Part<'_>>) -> ProduceRequest {
    let mut topics: Vec<(&str, TopicProduceData)> = Vec::new();
    for (name, index, batch) in parts {
        let data = PartitionProduceData::default().with_index(index).with_records(Some(batch.into()));
        match topics.last_mut() {
            Some((last, topic)) if *last == name => topic.partition_data.push(data),
            _ => topics.push((name, of(run, version, name).with_partition_data(vec![data]))),
        }
    }
    let topic_data = topics.into_iter().map(|(_, topic)| topic).collect();
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(topic_data)
}

fn of(run: &Run, version: i16, name: &str) -> TopicProduceData {
    match name {
        _ if version <= 12 => TopicProduceData::default().with_name(topic_name(name)),
        NOWHERE => TopicProduceData::default().with_topic_id(NO_ID),
        _ => TopicProduceData::default().with_topic_id(run.id_of(name)),
    }
}

pub fn play(run: &mut Run) {
    for version in 3..=13 {
        run.topic(&format!("produce-v{version}"), 2, &[]);
    }
    run.each("two partitions", 3..=13, |run, version| {
        let topic = format!("produce-v{version}");
        request(run, version, -1, vec![(&topic, 0, batch::counted(3)), (&topic, 1, batch::counted(1))])
    });
    run.each("good ones and bad ones", 3..=13, |run, version| {
        let topic = format!("produce-v{version}");
        let one = || batch::counted(1);
        let bad = batch::changed(|b| b[16] = 1);
        request(
            run,
            version,
            -1,
            vec![(&topic, 0, one()), (&topic, 1, bad), (&topic, 7, one()), (NOWHERE, 0, one())],
        )
    });
    run.each("the leader is enough", [3, 13], |run, version| {
        request(run, version, 1, vec![(&format!("produce-v{version}"), 0, batch::counted(1))])
    });
    // Apart, because whether something is taken moves the offsets of what follows it.
    for topic in ["plain", "hurried", "doubled", "crossed", "transactional", "timely"] {
        run.topic(topic, 1, &[]);
    }
    acks(run);
    lists(run);
    broken(run);
    settings(run);
    times(run);
}

fn acks(run: &mut Run) {
    for acks in [2, -2, i16::MAX] {
        let asked =
            request(run, 9, acks, vec![("plain", 0, batch::counted(1)), (NOWHERE, 0, batch::counted(1))]);
        run.ask(&format!("acks {acks}"), 9, asked);
    }
    let told: Vec<(&str, Vec<Part<'_>>)> = vec![
        ("no acks", vec![("hurried", 0, batch::counted(1))]),
        ("no acks, and a topic that is not there", vec![(NOWHERE, 0, batch::counted(1))]),
        ("no acks, and a partition that is not there", vec![("hurried", 9, batch::counted(1))]),
        ("no acks, and a bad batch", vec![("hurried", 0, batch::changed(|b| b[16] = 1))]),
        (
            "no acks, one good and one bad",
            vec![("hurried", 0, batch::counted(1)), (NOWHERE, 0, batch::counted(1))],
        ),
        ("no acks and nothing", vec![]),
    ];
    for (what, parts) in told {
        let asked = request(run, 9, 0, parts);
        run.tell(what, 9, asked);
    }
}

fn lists(run: &mut Run) {
    run.each("no topics", [3, 9, 13], |run, version| request(run, version, -1, vec![]));
    run.each("no partitions", [3, 9, 13], |run, version| {
        ProduceRequest::default().with_acks(-1).with_topic_data(vec![of(run, version, "plain")])
    });
    let one = || batch::counted(1);
    for version in [9, 13] {
        let twice = request(run, version, -1, vec![("doubled", 0, one()), ("doubled", 0, one())]);
        run.ask("a partition twice", version, twice);
        let apart = request(
            run,
            version,
            -1,
            vec![("crossed", 0, one()), (NOWHERE, 0, one()), ("crossed", 0, one())],
        );
        run.ask("a topic twice, with the same partition", version, apart);
        for partition in [-1, i32::MAX] {
            let asked = request(run, version, -1, vec![("plain", partition, one())]);
            run.ask(&format!("partition {partition}"), version, asked);
        }
    }
    // Records that are null are not sent: Kafka 4.1.1 never answers them.
    let asked = request(run, 9, -1, vec![("", 0, one()), ("a/b", 0, one())]);
    run.ask("bad names", 9, asked);
    let asked = request(run, 9, -1, vec![("plain", 0, one())]).with_timeout_ms(-1);
    run.ask("a negative timeout", 9, asked);
}

/// Batches that are not as they should be.
fn broken(run: &mut Run) {
    let flipped = |at: usize| {
        let mut bytes = batch::counted(1);
        bytes[at] ^= 1;
        bytes
    };
    let good = batch::counted(2);
    let cut = |size: usize| good[..size].to_vec();
    let int = |n: i32| n.to_be_bytes();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a wrong checksum", flipped(20)),
        ("a flipped bit in a record", flipped(70)),
        ("no bytes", vec![]),
        ("one byte", cut(1)),
        ("half a header", cut(30)),
        ("a header alone", cut(61)),
        ("a batch that is cut short", cut(good.len() - 1)),
        ("a byte behind the batch", [&good[..], &[0]].concat()),
        ("two batches", good.repeat(2)),
        ("a batch length of 48", batch::changed(|b| b[8..12].copy_from_slice(&int(48)))),
        ("a batch length of 0", batch::changed(|b| b[8..12].copy_from_slice(&int(0)))),
        ("a batch length of -1", batch::changed(|b| b[8..12].copy_from_slice(&int(-1)))),
        ("a batch length of 2^30", batch::changed(|b| b[8..12].copy_from_slice(&int(1 << 30)))),
        ("magic 0", batch::changed(|b| b[16] = 0)),
        ("magic 1", batch::changed(|b| b[16] = 1)),
        ("magic 3", batch::changed(|b| b[16] = 3)),
        ("magic -1", batch::changed(|b| b[16] = 0xff)),
        ("two records announced", batch::changed(|b| (b[26], b[60]) = (1, 2))),
        ("a last offset delta that does not fit the count", batch::changed(|b| b[26] = 1)),
        ("a negative last offset delta", batch::changed(|b| b[23..27].copy_from_slice(&int(-1)))),
        ("no records", batch::changed(|b| b[60] = 0)),
        ("a negative count", batch::changed(|b| b[57..61].copy_from_slice(&int(-1)))),
        ("2^31-1 records", batch::changed(|b| b[57..61].copy_from_slice(&int(i32::MAX)))),
        ("a record longer than the batch", batch::changed(|b| b[61] = 0x7e)),
        ("a record shorter than its content", batch::changed(|b| b[61] = 0x10)),
        ("an offset delta that is not 0", batch::changed(|b| b[64] = 2)),
        ("a base offset of 5", batch::changed(|b| b[7] = 5)),
        ("a leader epoch of 9", batch::changed(|b| b[15] = 9)),
        ("codec 5", batch::changed(|b| b[22] = 5)),
        ("codec 7", batch::changed(|b| b[22] = 7)),
        ("gzip that is none", batch::changed(|b| b[22] = 1)),
        ("zstd that is none", batch::changed(|b| b[22] = 4)),
        ("a control batch", batch::changed(|b| b[22] = 0x20)),
        ("a transactional batch without a producer", batch::changed(|b| b[22] = 0x10)),
        ("the bit of log append time", batch::changed(|b| b[22] = 0x08)),
        ("the bit of a delete horizon", batch::changed(|b| b[22] = 0x40)),
        ("an unknown attribute", batch::changed(|b| b[21] = 0x01)),
        (
            "a largest time that is too small",
            batch::changed(|b| b[35..43].copy_from_slice(&5i64.to_be_bytes())),
        ),
        ("a producer without a sequence", batch::by(900, 0, -1)),
        ("a sequence without a producer", batch::by(-1, -1, 0)),
        ("a producer with a negative epoch", batch::by(900, -1, 0)),
    ];
    for (n, (what, bytes)) in cases.into_iter().enumerate() {
        let topic = format!("broken-{n}");
        run.topic(&topic, 1, &[]);
        run.each(what, [3, 9], |run, version| request(run, version, -1, vec![(&topic, 0, bytes.clone())]));
    }
    let asked = request(run, 9, -1, vec![("transactional", 0, batch::counted(1))]);
    let asked = asked.with_transactional_id(Some(text("t").into()));
    run.ask("a transactional id with a plain batch", 9, asked);
}

fn settings(run: &mut Run) {
    run.topic("small", 1, &[("max.message.bytes", "200")]);
    run.topic("keyed", 1, &[("cleanup.policy", "compact")]);
    run.topic("gzipped", 1, &[("compression.type", "gzip")]);
    run.topic("unpacked", 1, &[("compression.type", "uncompressed")]);
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("as large as it may be", "small", sized(200)),
        ("a byte too large", "small", sized(201)),
        ("a record without a key, compacted", "keyed", with_keys(&[false])),
        ("three records, the second without a key, compacted", "keyed", with_keys(&[true, false, true])),
        ("three records, two without a key, compacted", "keyed", with_keys(&[false, true, false])),
        ("a tombstone, compacted", "keyed", batch::keyed("key", None)),
        ("an empty key, compacted", "keyed", batch::keyed("", Some("v"))),
        ("an empty value, compacted", "keyed", batch::keyed("key", Some(""))),
        ("a tombstone, not compacted", "plain", batch::keyed("key", None)),
        ("a plain batch where gzip is wanted", "gzipped", batch::counted(3)),
        ("a packed batch where none is wanted", "unpacked", batch::compressed(1)),
    ];
    for (what, topic, bytes) in cases {
        run.each(what, [3, 9], |run, version| request(run, version, -1, vec![(topic, 0, bytes.clone())]));
    }
    for (codec, name) in [(1, "gzip"), (2, "snappy"), (3, "lz4"), (4, "zstd")] {
        for (what, versions) in [("early", [3, 6]), ("later", [7, 9])] {
            let topic = format!("packed-{what}-{name}");
            run.topic(&topic, 1, &[]);
            run.each(&format!("packed with {name}, {what} versions"), versions, |run, version| {
                request(run, version, -1, vec![(&topic, 0, batch::compressed(codec))])
            });
        }
        let asked = request(run, 9, -1, vec![("keyed", 0, batch::compressed(codec))]);
        run.ask(&format!("packed with {name} without keys, compacted"), 9, asked);
    }
}

/// A batch of this size.
fn sized(bytes: usize) -> Vec<u8> {
    let smallest = batch::of(&[batch::plain(&[0; 100])], None).len() - 100;
    let batch = batch::of(&[batch::plain(&vec![0; bytes - smallest])], None);
    assert_eq!(batch.len(), bytes);
    batch
}

/// A batch of records with and without keys.
fn with_keys(keys: &[bool]) -> Vec<u8> {
    let record = |&keyed: &bool| Record { key: keyed.then_some(&b"key"[..]), ..batch::plain(b"v") };
    batch::of(&keys.iter().map(record).collect::<Vec<_>>(), None)
}

fn times(run: &mut Run) {
    run.topic("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    run.each("log append time", 3..=13, |run, version| {
        request(run, version, -1, vec![("stamped", 0, batch::counted(2))])
    });
    run.each("log append time, packed", [9], |run, version| {
        request(run, version, -1, vec![("stamped", 0, batch::compressed(1))])
    });
    let bounds =
        [("message.timestamp.before.max.ms", "86400000"), ("message.timestamp.after.max.ms", "86400000")];
    run.topic("bounded", 1, &bounds);
    let now = now_ms();
    let late = Record { timestamp: now - 2 * DAY, ..batch::plain(b"v") };
    let good = Record { timestamp: now, ..late };
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("a time within bounds", "bounded", batch::at(now)),
        ("a time too early", "bounded", batch::at(now - 2 * DAY)),
        ("a time too late", "bounded", batch::at(now + 2 * DAY)),
        ("the second of three too early", "bounded", batch::of(&[good, late, good], None)),
        ("the first and the last too early", "bounded", batch::of(&[late, good, late], None)),
        ("a time two hours ahead by default", "timely", batch::at(now + DAY / 12)),
        ("a time ten minutes ahead by default", "timely", batch::at(now + DAY / 144)),
        ("no time", "timely", batch::at(-1)),
        ("a negative time", "timely", batch::at(-2)),
        ("time zero", "timely", batch::at(0)),
        (
            "falling times",
            "timely",
            batch::of(&[plain_at(BEGUN + 9), plain_at(BEGUN), plain_at(BEGUN + 5)], None),
        ),
    ];
    for (what, topic, bytes) in cases {
        run.each(what, [3, 9], |run, version| request(run, version, -1, vec![(topic, 0, bytes.clone())]));
    }
}

fn plain_at(timestamp: i64) -> Record<'static> {
    Record { timestamp, ..batch::plain(b"v") }
}
