//! Queues on the real broker, on the wire: who gets what, what comes again and what does not, also over kills; where
//! dead letters go and how they come back.

mod common;

use common::client::Answer;
use common::{Broker, Client, TempDir, eventually};
use krappy_wire::batch::{HEADER, Header};
use krappy_wire::compress;
use krappy_wire::error::ErrorCode;
use krappy_wire::native::{
    Body, Level, PlainWriter, QueuePart, QueueSettle, QueueTake, Reply, Request, Settle,
};
use std::collections::BTreeSet;

const TOPIC: &str = "orders";
const LETTERS: &str = "orders.dlq";
const GROUP: &str = "packers";
/// The stream of everybody who takes here, and the one of who publishes.
const TAKER: u32 = 7;
const PRODUCER: u32 = 1;

/// What a test has to know of a taken record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Got {
    partition: i32,
    offset: i64,
    deliveries: u32,
    value: String,
    headers: Vec<(String, String)>,
}

fn take(name: &'static str, most: u32) -> QueueTake<'static> {
    QueueTake {
        group: GROUP,
        topic: TOPIC,
        name,
        partition: -1,
        most,
        max_bytes: 1 << 20,
        max_wait_ms: 0,
        lock_ms: 60_000,
        keyed: false,
    }
}

fn records(answer: &Answer) -> Vec<Got> {
    let Reply::Taken(taken) = answer.reply() else { panic!("nothing was taken: {:?}", answer.reply()) };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let got = taken.iter().map(|one| Got {
        partition: one.partition,
        offset: one.offset,
        deliveries: one.deliveries,
        value: text(one.tail.value().unwrap_or_default()),
        headers: one.tail.headers().map(|(n, v)| (text(n), text(v.unwrap_or_default()))).collect(),
    });
    got.collect()
}

fn taken(client: &mut Client, take: QueueTake<'_>) -> Vec<Got> {
    records(&client.call(TAKER, &Request::QueueTake(take)))
}

fn values(got: &[Got]) -> Vec<(&str, u32)> {
    got.iter().map(|one| (one.value.as_str(), one.deliveries)).collect()
}

fn settle_as(client: &mut Client, name: &str, how: Settle<'_>, places: &[(i32, i64)]) -> Vec<i16> {
    let settle = QueueSettle { group: GROUP, topic: TOPIC, name, how, records: places.to_vec() };
    let answer = client.call(TAKER, &Request::QueueSettle(settle));
    let Reply::Settled { results } = answer.reply() else { panic!("not settled: {:?}", answer.reply()) };
    results
}

fn settle(client: &mut Client, how: Settle<'_>, got: &[Got]) {
    let places: Vec<_> = got.iter().map(|one| (one.partition, one.offset)).collect();
    assert_eq!(settle_as(client, "", how, &places), vec![0; got.len()]);
}

fn publish(client: &mut Client, records: &[(Option<&str>, &str)]) {
    let mut writer = PlainWriter::default();
    for (key, value) in records {
        writer.push(-1, key.map(str::as_bytes), Some(value.as_bytes()), &[("h", Some(b"x"))]);
    }
    let body = Body::Plain(writer.records());
    let answer = client.call(PRODUCER, &Request::Publish { acks: Level::Durable, partition: -1, body });
    assert!(matches!(answer.reply(), Reply::Published { .. }), "{:?}", answer.reply());
}

/// A broker with a topic, and somebody who has published these.
fn orders(broker: &Broker, partitions: i32, values: &[&str]) -> Client {
    let mut client = broker.client();
    client.create_topic(TOPIC, partitions, vec![]);
    client.produce_to(PRODUCER, TOPIC, false);
    if !values.is_empty() {
        publish(&mut client, &values.iter().map(|value| (None, *value)).collect::<Vec<_>>());
    }
    client
}

fn part(client: &mut Client, look: impl Fn(&QueuePart<'_>) -> u64) -> u64 {
    let answer = client.call(0, &Request::QueueDescribe { group: GROUP, topic: TOPIC });
    let Reply::QueueIs { parts } = answer.reply() else { panic!("{:?}", answer.reply()) };
    parts.iter().map(look).sum()
}

fn redrive(client: &mut Client, group: &str, most: u32) -> u32 {
    let answer = client.call(0, &Request::QueueRedrive { group, topic: TOPIC, most });
    let Reply::Redriven { moved } = answer.reply() else { panic!("{:?}", answer.reply()) };
    moved
}

#[test]
fn two_takers_share_a_partition_and_no_record() {
    let broker = Broker::ephemeral(&[]);
    let mut ann = orders(&broker, 1, &["a", "b", "c", "d"]);
    let mut ben = broker.client();
    let first = taken(&mut ann, take("", 2));
    let second = taken(&mut ben, take("", 9));
    assert_eq!(values(&first), [("a", 1), ("b", 1)]);
    assert_eq!(values(&second), [("c", 1), ("d", 1)]);
    // INVALID_RECORD_STATE: ben does not hold what ann does.
    assert_eq!(
        settle_as(&mut ben, "", Settle::Acknowledge, &[(0, 0), (0, 2), (0, 2), (5, 0)]),
        [121, 0, 121, 121]
    );
    settle(&mut ann, Settle::Release(0), &first[..1]);
    assert_eq!(values(&taken(&mut ben, take("", 9))), [("a", 2)]);
    assert_eq!(part(&mut ann, |part| u64::from(part.held)), 3);
}

#[test]
fn what_was_acknowledged_does_not_come_again_after_a_kill_and_everything_else_does() {
    let data = TempDir::new("queue-kill");
    let mut broker = Broker::on(data.path(), &[]);
    let all: BTreeSet<String> = (0..40).map(|n| format!("order {n}")).collect();
    let mut client = orders(&broker, 2, &all.iter().map(String::as_str).collect::<Vec<_>>());
    let mut done = BTreeSet::new();
    for round in 0..6 {
        let got = taken(&mut client, take("", 10));
        for one in &got {
            assert!(!done.contains(&one.value), "{} was acknowledged", one.value);
        }
        // Every other one; some are left to the end of the process.
        let ended: Vec<Got> = got.iter().step_by(2).cloned().collect();
        settle(&mut client, Settle::Acknowledge, &ended);
        done.extend(ended.into_iter().map(|one| one.value));
        if round % 3 == 2 {
            assert!(broker.stop().success());
        } else {
            broker.kill();
        }
        broker = Broker::on(data.path(), &[]);
        client = broker.client();
    }
    let mut rest = BTreeSet::new();
    loop {
        let got = taken(&mut client, take("", 100));
        if got.is_empty() {
            break;
        }
        settle(&mut client, Settle::Acknowledge, &got);
        rest.extend(got.into_iter().map(|one| one.value));
    }
    assert!(done.is_disjoint(&rest));
    assert_eq!(&done | &rest, all);
    assert_eq!(part(&mut client, |part| part.lag), 0);
}

#[test]
fn what_a_taker_held_is_free_when_its_stream_or_its_connection_ends() {
    let broker = Broker::ephemeral(&[]);
    let mut watcher = orders(&broker, 1, &["a", "b"]);
    let mut ann = broker.client();
    assert_eq!(taken(&mut ann, take("", 1)).len(), 1);
    assert_eq!(ann.call(TAKER, &Request::CloseStream).reply(), Reply::Ack);
    assert_eq!(values(&taken(&mut watcher, take("", 9))), [("a", 2), ("b", 1)]);
    settle_as(&mut watcher, "", Settle::Return, &[(0, 0), (0, 1)]);
    assert_eq!(
        values(&taken(&mut ann, take("", 9))),
        [("a", 2), ("b", 1)],
        "what is returned is not counted"
    );
    drop(ann);
    let waits = QueueTake { max_wait_ms: 60_000, ..take("", 9) };
    assert_eq!(values(&taken(&mut watcher, waits)), [("a", 3), ("b", 2)]);
}

#[test]
fn a_named_taker_keeps_its_records_beyond_its_connection() {
    let broker = Broker::ephemeral(&[]);
    let mut other = orders(&broker, 1, &["a", "b"]);
    let mut ann = broker.client();
    assert_eq!(taken(&mut ann, take("ann", 1)).len(), 1);
    drop(ann);
    assert_eq!(values(&taken(&mut other, take("", 9))), [("b", 1)]);
    let mut ann = broker.client();
    assert_eq!(settle_as(&mut other, "ben", Settle::Acknowledge, &[(0, 0)]), [121]);
    assert_eq!(settle_as(&mut ann, "ann", Settle::Extend(0), &[(0, 0)]), [0]);
    assert_eq!(settle_as(&mut ann, "ann", Settle::Acknowledge, &[(0, 0)]), [0]);
    assert_eq!(part(&mut other, |part| part.start as u64), 1);
}

#[test]
fn a_take_waits_for_what_is_published_released_or_timed_out() {
    let broker = Broker::ephemeral(&[]);
    let mut ann = orders(&broker, 3, &[]);
    let mut ben = broker.client();
    let waits = QueueTake { max_wait_ms: 60_000, ..take("", 9) };
    let waiting = ben.send(TAKER, &Request::QueueTake(waits));
    ben.ping();
    publish(&mut ann, &[(Some("k"), "a")]);
    let got = records(&ben.answer_to(waiting));
    assert_eq!(values(&got), [("a", 1)]);
    let waiting = ann.send(TAKER, &Request::QueueTake(QueueTake { lock_ms: 50, ..waits }));
    ann.ping();
    settle(&mut ben, Settle::Release(20), &got);
    assert_eq!(values(&records(&ann.answer_to(waiting))), [("a", 2)]);
    // Ann does nothing with it until its time is up.
    assert_eq!(values(&taken(&mut ben, waits)), [("a", 3)]);
}

#[test]
fn a_take_that_waits_is_answered_when_the_broker_stops() {
    let mut broker = Broker::ephemeral(&[]);
    let mut client = orders(&broker, 1, &[]);
    let waiting = client.send(TAKER, &Request::QueueTake(QueueTake { max_wait_ms: 60_000, ..take("", 9) }));
    client.ping();
    assert!(broker.stop().success());
    let answers = client.read_to_end();
    let answer = answers.iter().find(|answer| answer.head.correlation == waiting).expect("it is answered");
    assert_eq!(records(answer), []);
}

#[test]
fn records_of_one_key_come_one_after_the_other() {
    let broker = Broker::ephemeral(&[]);
    let mut ann = orders(&broker, 1, &[]);
    publish(
        &mut ann,
        &[(Some("a"), "a1"), (Some("a"), "a2"), (Some("b"), "b1"), (None, "x"), (Some("b"), "b2")],
    );
    let keyed = |most| QueueTake { keyed: true, ..take("", most) };
    let got = taken(&mut ann, keyed(9));
    assert_eq!(values(&got), [("a1", 1), ("b1", 1), ("x", 1)]);
    assert_eq!(taken(&mut ann, keyed(9)), []);
    settle(&mut ann, Settle::Acknowledge, &got[..1]);
    assert_eq!(values(&taken(&mut ann, keyed(9))), [("a2", 1)]);
    settle(&mut ann, Settle::Release(0), &got[1..2]);
    assert_eq!(values(&taken(&mut ann, keyed(9))), [("b1", 2)], "the same again, and not the next");
}

#[test]
fn records_of_a_compressed_batch_are_taken_one_by_one() {
    let broker = Broker::ephemeral(&[]);
    let mut client = orders(&broker, 1, &[]);
    let plain = common::client::batch_of(&[b"a", b"b", b"c"], None);
    let mut packed = Vec::new();
    compress::pack(1, &plain[HEADER..], &mut packed).expect("gzip is built in");
    let mut header = Header::read(&plain).unwrap();
    header.set_codec(1);
    let batch = [&header.sealed(&packed).bytes()[..], &packed].concat();
    let correlation = client.next();
    client.send_raw(&common::client::prepared(PRODUCER, correlation, Level::Durable, &batch));
    assert_eq!(client.answer_to(correlation).published(), 0);
    assert_eq!(values(&taken(&mut client, take("", 2))), [("a", 1), ("b", 1)]);
    assert_eq!(values(&taken(&mut client, take("", 2))), [("c", 1)]);
}

#[test]
fn what_is_rejected_or_delivered_too_often_lies_among_the_dead_letters_also_after_a_kill() {
    let data = TempDir::new("queue-letters");
    let flags = ["--queue-max-delivery-attempts", "2"];
    let mut broker = Broker::on(data.path(), &flags);
    let mut client = orders(&broker, 1, &["good", "bad", "slow"]);
    let got = taken(&mut client, take("", 9));
    settle(&mut client, Settle::Acknowledge, &got[..1]);
    settle(&mut client, Settle::Reject("not an order"), &got[1..2]);
    settle(&mut client, Settle::Release(0), &got[2..]);
    broker.kill();
    broker = Broker::on(data.path(), &flags);
    let mut client = broker.client();
    // How often a record was delivered is written with whatever has to be.
    let mut left = 4;
    while part(&mut client, |part| part.dead) < 2 {
        let got = taken(&mut client, QueueTake { max_wait_ms: 50, ..take("", 9) });
        assert!(got.iter().all(|one| one.value == "slow"), "{got:?}");
        if !got.is_empty() {
            assert!(left > 0, "it is delivered again and again");
            left -= 1;
            settle(&mut client, Settle::Release(0), &got);
        }
    }
    assert_eq!(part(&mut client, |part| part.lag), 0);
    client.consume_from(99, LETTERS, krappy_wire::native::Start::Earliest);
    let mut letters = Vec::new();
    eventually("both letters are there", || {
        letters.extend(client.poll(99, 100).into_iter().map(|(_, value)| value));
        letters.len() >= 2
    });
    letters.sort();
    letters.dedup();
    assert_eq!(letters, [b"bad".to_vec(), b"slow".to_vec()]);
}

#[test]
fn a_dead_letter_says_where_it_comes_from_and_is_put_back_once() {
    let data = TempDir::new("queue-redrive");
    let mut broker = Broker::on(data.path(), &[]);
    let mut client = orders(&broker, 3, &[]);
    publish(&mut client, &[(Some("k"), "bad")]);
    let got = taken(&mut client, take("", 9));
    let partition = got[0].partition;
    settle(&mut client, Settle::Reject("no such customer"), &got);
    eventually("it is dead", || part(&mut client, |part| part.dead) == 1);

    // The letters of one group are not those of another.
    assert_eq!(redrive(&mut client, "others", 9), 0);
    let letter = taken(&mut broker.client(), QueueTake { topic: LETTERS, group: "lookers", ..take("", 9) });
    let said = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let number = partition.to_string();
    assert_eq!(letter[0].partition, partition);
    assert_eq!(
        letter[0].headers,
        [
            said("h", "x"),
            said("__dlq.errors.topic", TOPIC),
            said("__dlq.errors.partition", &number),
            said("__dlq.errors.offset", "0"),
            said("__dlq.errors.group", GROUP),
            said("__dlq.errors.delivery.count", "1"),
            said("__dlq.errors.message", "no such customer"),
        ]
    );

    assert_eq!(redrive(&mut client, GROUP, 9), 1);
    assert_eq!(redrive(&mut client, GROUP, 9), 0);
    broker.kill();
    broker = Broker::on(data.path(), &[]);
    let mut client = broker.client();
    assert_eq!(redrive(&mut client, GROUP, 9), 0);
    let back = taken(&mut client, take("", 9));
    assert_eq!((values(&back), back[0].partition), (vec![("bad", 1)], partition));
    assert_eq!(back[0].headers, [said("h", "x"), said("__dlq.redrives", "1")]);
}

#[test]
fn no_more_records_are_open_than_allowed_and_what_is_asked_for_has_bounds() {
    let broker = Broker::ephemeral(&["--queue-max-in-flight", "3"]);
    let mut client = orders(&broker, 1, &["a", "b", "c", "d"]);
    let got = taken(&mut client, take("", 9));
    assert_eq!(values(&got), [("a", 1), ("b", 1), ("c", 1)]);
    assert_eq!(taken(&mut client, take("", 9)), []);
    settle(&mut client, Settle::Acknowledge, &got[1..2]);
    assert_eq!(values(&taken(&mut client, take("", 9))), [("d", 1)]);

    let mut stream = 100;
    let mut refused = |request: Request<'_>| {
        stream += 1;
        client.call(stream, &request).error()
    };
    let long = "r".repeat(257);
    let settle = |how| {
        Request::QueueSettle(QueueSettle { group: GROUP, topic: TOPIC, name: "", how, records: vec![(0, 0)] })
    };
    for (request, code) in [
        (Request::QueueTake(QueueTake { group: "", ..take("", 1) }), ErrorCode::InvalidGroupId),
        (Request::QueueTake(QueueTake { topic: "order", ..take("", 1) }), ErrorCode::UnknownTopicOrPartition),
        (Request::QueueTake(QueueTake { topic: "__queue_state", ..take("", 1) }), ErrorCode::InvalidTopic),
        (Request::QueueTake(QueueTake { partition: 1, ..take("", 1) }), ErrorCode::UnknownTopicOrPartition),
        (Request::QueueTake(QueueTake { lock_ms: 3_600_001, ..take("", 1) }), ErrorCode::InvalidRequest),
        (settle(Settle::Release(3_600_001)), ErrorCode::InvalidRequest),
        (settle(Settle::Reject(&long)), ErrorCode::InvalidRequest),
        (Request::RegisterProducer { topic: "__queue_state", idempotent: false }, ErrorCode::InvalidTopic),
        (Request::DeleteTopic { topic: "__queue_state" }, ErrorCode::InvalidTopic),
    ] {
        assert_eq!(refused(request.clone()), Some(code), "{request:?}");
    }
    let waits = Request::QueueTake(QueueTake { max_wait_ms: 60_000, ..take("", 1) });
    client.send(TAKER, &waits);
    assert_eq!(client.call(TAKER, &waits).error(), Some(ErrorCode::InvalidRequest), "one at a time");
}

#[test]
fn what_retention_takes_is_told_and_a_topic_that_is_made_again_begins_anew() {
    let data = TempDir::new("queue-again");
    let mut broker = Broker::on(data.path(), &[]);
    let mut client = orders(&broker, 1, &["a", "b", "c"]);
    let got = taken(&mut client, take("", 1));
    let trim = Request::DeleteRecords { topic: TOPIC, partition: 0, offset: 2 };
    assert_eq!(client.call(0, &trim).reply(), Reply::Trimmed { log_start: 2 });
    assert_eq!(values(&taken(&mut client, take("", 9))), [("c", 1)]);
    assert_eq!(part(&mut client, |part| part.lost), 2);
    assert_eq!(settle_as(&mut client, "", Settle::Acknowledge, &[(0, got[0].offset), (0, 2)]), [121, 0]);

    assert_eq!(client.call(0, &Request::DeleteTopic { topic: TOPIC }).reply(), Reply::Ack);
    let mut client = orders(&broker, 1, &["new"]);
    assert_eq!(values(&taken(&mut client, take("", 9))), [("new", 1)]);
    broker.kill();
    broker = Broker::on(data.path(), &[]);
    assert_eq!(values(&taken(&mut broker.client(), take("", 9))), [("new", 1)]);
}
