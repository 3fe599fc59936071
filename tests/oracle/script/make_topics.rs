//! CreateTopics.

use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};

use super::{Run, some, text, topic_name};

pub fn play(run: &mut Run) {
    run.topic("there", 1, &[]);
    run.topic("with.dot", 1, &[]);
    run.each("two partitions and a setting", 2..=7, |_, version| {
        one(sized(&format!("made-v{version}"), 2, 1, &[("retention.ms", "1000")]))
    });
    for version in 2..=7 {
        run.await_topic(&format!("made-v{version}"), 2);
    }
    run.each("counts by default", 4..=7, |_, version| {
        one(sized(&format!("default-v{version}"), -1, -1, &[]))
    });
    run.each("only validated", 2..=7, |_, version| {
        one(sized(&format!("valid-v{version}"), 3, 1, &[("cleanup.policy", "compact")]))
            .with_validate_only(true)
    });
    run.each("one that is there", 2..=7, |_, _| one(sized("there", 1, 1, &[])));
    run.each("one good, one bad, one that is there", [2, 5, 7], |_, version| {
        let good = sized(&format!("mixed-v{version}"), 1, 1, &[]);
        all(vec![good, sized("bad/name", 1, 1, &[]), sized("there", 1, 1, &[])])
    });
    run.each("one that is there, only validated", [7], |_, _| {
        one(sized("there", 1, 1, &[])).with_validate_only(true)
    });
    run.each("no topics", [2, 7], |_, _| all(vec![]));
    run.ask("a topic twice", 7, all(vec![sized("twice", 1, 1, &[]), sized("twice", 2, 1, &[])]));
    let twice_and_once = vec![sized("twice", 1, 1, &[]), sized("once", 1, 1, &[]), sized("twice", 1, 1, &[])];
    run.ask("a topic twice among others", 7, all(twice_and_once));
    names(run);
    counts(run);
    assignments(run);
    configurations(run);
}

fn names(run: &mut Run) {
    let longest = "x".repeat(249);
    let longer = "x".repeat(250);
    for name in
        ["", ".", "..", "a/b", "a b", "a\0b", "ä", "a:b", "a\nb", "__own", "a_b.c-d", &longest, &longer]
    {
        let shown = if name.len() > 10 { format!("{} letters", name.len()) } else { format!("{name:?}") };
        run.ask(&format!("the name {shown}"), 7, one(sized(name, 1, 1, &[])).with_validate_only(true));
    }
    run.ask("a name that another one resembles", 7, one(sized("with_dot", 1, 1, &[])));
    run.ask(
        "the name of Kafka's own topic",
        7,
        one(sized("__consumer_offsets", 1, 1, &[])).with_validate_only(true),
    );
}

fn counts(run: &mut Run) {
    for partitions in [0, -2, i32::MIN] {
        run.ask(&format!("{partitions} partitions"), 7, one(sized("few", partitions, 1, &[])));
    }
    for replicas in [0, -2, 2, 3, i16::MAX] {
        run.ask(&format!("{replicas} replicas"), 7, one(sized("few", 1, replicas, &[])));
    }
    run.ask("0 partitions and 2 replicas", 7, one(sized("few", 0, 2, &[])));
    run.ask("0 partitions and a bad setting", 7, one(sized("few", 0, 1, &[("no.such", "1")])));
    run.ask("counts by default before version 4", 3, one(sized("few", -1, -1, &[])).with_validate_only(true));
}

/// A partition and its brokers.
type Place<'a> = (i32, &'a [i32]);

fn assignments(run: &mut Run) {
    let cases: &[(&str, i32, i16, &[Place<'_>])] = &[
        ("two partitions on broker 1", -1, -1, &[(0, &[1]), (1, &[1])]),
        ("out of order", -1, -1, &[(1, &[1]), (0, &[1])]),
        ("a number is missing", -1, -1, &[(0, &[1]), (2, &[1])]),
        ("not from 0 on", -1, -1, &[(1, &[1])]),
        ("a number twice", -1, -1, &[(0, &[1]), (0, &[1])]),
        ("a broker that is not there", -1, -1, &[(0, &[2])]),
        ("a broker twice", -1, -1, &[(0, &[1, 1])]),
        ("no broker", -1, -1, &[(0, &[])]),
        ("with a count of partitions", 1, -1, &[(0, &[1])]),
        ("with a count of replicas", -1, 1, &[(0, &[1])]),
        ("with both counts", 1, 1, &[(0, &[1])]),
        ("a negative number", -1, -1, &[(-1, &[1])]),
    ];
    for (what, partitions, replicas, places) in cases {
        let place = |(number, brokers): &Place<'_>| {
            CreatableReplicaAssignment::default()
                .with_partition_index(*number)
                .with_broker_ids(brokers.iter().map(|&b| b.into()).collect())
        };
        let topic = sized("placed", *partitions, *replicas, &[]);
        let topic = topic.with_assignments(places.iter().map(place).collect());
        run.ask(&format!("assigned: {what}"), 7, one(topic).with_validate_only(true));
    }
}

fn configurations(run: &mut Run) {
    for (name, value) in [
        ("no.such", "1"),
        ("", "1"),
        ("retention.ms", "soon"),
        ("retention.ms", "-2"),
        ("retention.ms", ""),
        ("retention.ms", " 5 "),
        ("retention.ms", "99999999999999999999"),
        ("cleanup.policy", "compact,delete"),
        ("cleanup.policy", "delete, compact"),
        ("cleanup.policy", "shred"),
        ("cleanup.policy", ""),
        ("compression.type", "brotli"),
        ("compression.type", "zstd"),
        ("max.message.bytes", "-1"),
        ("segment.bytes", "10"),
        ("message.timestamp.type", "logappendtime"),
        ("message.timestamp.type", "LogAppendTime"),
        ("min.insync.replicas", "0"),
        ("min.insync.replicas", "2"),
        ("preallocate", "TRUE"),
        ("preallocate", "yes"),
        ("min.cleanable.dirty.ratio", "1.5"),
        ("unclean.leader.election.enable", "true"),
        ("flush.messages", "0"),
    ] {
        let request = one(sized("set", 1, 1, &[(name, value)])).with_validate_only(true);
        run.ask(&format!("the setting {name}={value:?}"), 7, request);
    }
    let null = CreatableTopicConfig::default().with_name(text("retention.ms")).with_value(None);
    let request = one(sized("set", 1, 1, &[]).with_configs(vec![null])).with_validate_only(true);
    run.ask("a setting that is null", 7, request);
    let same =
        one(sized("set", 1, 1, &[("retention.ms", "1"), ("retention.ms", "2")])).with_validate_only(true);
    run.ask("a setting twice", 7, same);
}

fn sized(name: &str, partitions: i32, replicas: i16, settings: &[(&str, &str)]) -> CreatableTopic {
    let config = |&(name, value): &(&str, &str)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(some(value))
    };
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
        .with_configs(settings.iter().map(config).collect())
}

fn one(topic: CreatableTopic) -> CreateTopicsRequest {
    all(vec![topic])
}

fn all(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_timeout_ms(30_000).with_topics(topics)
}
