//! The ways in which an earlier broker of this kind failed, each as a test: one fast producer on a slow disk, many
//! connections opened and closed, one connection that lives long, more than a thousand consumers of one topic, and
//! registration with the first publish in one round trip.

mod common;

use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::client::{encode, plain, poll};
use common::{Broker, Client, eventually, kib, os, setting};
use krappy_wire::native::{Level, Reply, Request, Start, code};

/// How much a broker may grow while its load stays the same, bytes.
const FLAT: u64 = 4 << 20;

#[test]
fn one_producer_at_full_speed_on_a_slow_disk_neither_grows_nor_starves_anybody() {
    let seconds = setting("KRAPPY_TEST_FLOOD_SECONDS", 5);
    let unflushed: u64 = 16 << 20;
    let flags = ["--debug-sync-delay-ms=50", &format!("--unflushed-max-bytes={unflushed}")];
    let mut broker = Broker::ephemeral(&flags);
    let mut other = broker.client();
    other.produce_to(1, "other", false);
    let mut flood = broker.client();
    flood.produce_to(1, "flood", false);
    let began = Instant::now();
    let acked = AtomicU64::new(0);
    let (mut samples, mut others) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let writer = flood.stream.try_clone().expect("a socket can be shared");
        let sender = scope.spawn(move || send_until(writer, began + Duration::from_secs(seconds)));
        let acked = &acked;
        let reader = scope.spawn(move || {
            let answers = count_until_end(&mut flood, |_| {
                acked.fetch_add(1, Ordering::Relaxed);
            });
            assert!(answers.is_none_or(|code| code == code::PUBLISHED), "a publish was refused: {answers:?}");
        });
        while !sender.is_finished() {
            other.publish(1, b"meanwhile");
            others += 1;
            samples.push(broker.resident());
        }
        sender.join().expect("the sender does not fail");
        reader.join().expect("every publish is answered");
    });
    // Warm-up is the first third: caches and buffers find their size.
    let warm = *samples[samples.len() / 3..samples.len() / 2].iter().max().expect("many samples");
    let last = *samples[samples.len() / 2..].iter().max().expect("many samples");
    let acked = acked.into_inner() as usize;
    let status = other.status();
    println!(
        "flood of {seconds} s: {acked} records acknowledged, {others} publishes by another client meanwhile, resident \
         {} KiB after warm-up, {} KiB at the most later, longest turn {} us, {} syncs",
        kib(warm),
        kib(last),
        status["longest_turn_us"],
        status["syncs"]
    );
    assert!(last <= warm + FLAT, "memory grew from {warm} to {last}");
    assert!(others >= seconds, "another client got {others} publishes through");
    assert!(broker.is_running());
    assert_eq!(count_records(&mut other, "flood"), acked, "every acknowledged record is there, and no other");
}

/// Sends publishes of 64 records worth of bytes until then; then finishes the sending side.
fn send_until(mut socket: std::net::TcpStream, end: Instant) {
    use std::io::Write;
    let block: Vec<u8> = (0..64).flat_map(|i| plain(1, 1000 + i, Level::Durable, 0, &[b'f'; 1000])).collect();
    while Instant::now() < end {
        socket.write_all(&block).expect("the broker takes what it can and no more");
    }
    socket.shutdown(Shutdown::Write).expect("still open");
}

/// Reads to the end; the code of the first answer that is not a Published.
fn count_until_end(client: &mut Client, mut each: impl FnMut(u16)) -> Option<u16> {
    let mut strange = None;
    while let common::client::Got::Answer(answer) = client.read() {
        each(answer.code);
        if answer.code != code::PUBLISHED {
            strange.get_or_insert(answer.code);
        }
    }
    strange
}

fn count_records(client: &mut Client, topic: &str) -> usize {
    client.consume_from(900, topic, Start::Earliest);
    let mut count = 0;
    loop {
        let records = client.poll(900, 0);
        if records.is_empty() {
            return count;
        }
        assert_eq!(records[0].0, count as i64, "offsets continue");
        count += records.len();
    }
}

#[test]
fn ten_thousand_connections_that_come_and_go_are_gone_at_once() {
    let broker = Broker::ephemeral(&[]);
    let mut other = broker.client();
    churn(&broker, 500);
    eventually("the first ones are gone", || other.count("connections") == 1);
    let before = (broker.resident(), broker.open_files(), other.status());
    let count = setting("KRAPPY_TEST_CHURN", 10_000);
    churn(&broker, count);
    // The end of each was seen from its other side, so there is nothing to wait for.
    let status = other.status();
    let turns = status["turns"] - before.2["turns"];
    let opened = status["connections_opened"] - before.2["connections_opened"];
    println!(
        "{count} connections came and went: {opened} accepted in {turns} turns, {} open now, resident {} -> {} KiB, open \
         files {} -> {}",
        status["connections"],
        kib(before.0),
        kib(broker.resident()),
        before.1,
        broker.open_files()
    );
    assert_eq!((status["connections"], opened), (1, count as i64));
    assert!(turns <= 4 * opened, "{turns} turns for {opened} connections");
    assert_eq!(broker.open_files(), before.1);
    assert!(broker.resident() <= before.0 + (1 << 20));
}

/// Opens and closes connections, a hundred at a time, and sees the end of each.
fn churn(broker: &Broker, count: u64) {
    for _ in 0..count / 100 {
        let mut clients: Vec<Client> = (0..100).map(|_| broker.client()).collect();
        for (i, client) in clients.iter_mut().enumerate() {
            if i % 2 == 0 {
                client.send_raw(&encode(0, 1, &Request::Ping));
            }
            client.finish();
        }
        for (i, client) in clients.iter_mut().enumerate() {
            let codes: Vec<u16> = client.read_to_end().iter().map(|a| a.code).collect();
            assert_eq!(codes, if i % 2 == 0 { vec![code::PONG] } else { vec![] });
        }
    }
}

#[test]
fn a_connection_does_not_grow_with_what_went_through_it() {
    let broker = Broker::ephemeral(&["--log-retention-bytes=1MiB", "--log-segment-bytes=1MiB"]);
    let count = setting("KRAPPY_TEST_LONG_REQUESTS", 100_000);
    let mut client = broker.client();
    client.produce_to(1, "t", false);
    let warm = count / 10;
    let mut before = 0;
    let block: Vec<u8> = (0..100).flat_map(|i| plain(1, 1 + i, Level::Appended, 0, b"one of many")).collect();
    for done in (0..count).step_by(100) {
        if done == warm {
            before = broker.resident();
        }
        client.send_raw(&block);
        for _ in 0..100 {
            client.answer().published();
        }
    }
    let after = broker.resident();
    println!("{count} requests on one connection: resident {} -> {} KiB", kib(before), kib(after));
    assert!(after <= before + (1 << 20), "memory grew from {before} to {after}");
}

#[test]
fn a_client_that_is_always_behind_costs_no_more_than_its_limit() {
    // More than the sockets hold, so that what the broker owes is never down to nothing.
    let limit: u64 = 8 << 20;
    let broker = Broker::ephemeral(&[&format!("--output-limit-bytes={limit}")]);
    let mut other = broker.client();
    other.ping();
    let before = broker.resident();
    let mut client = broker.client();
    let mut socket = client.stream.try_clone().expect("a socket can be shared");
    let count = 100_000;
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        let block = encode(0, 1, &Request::Status).repeat(100);
        for _ in 0..count / 100 {
            socket.write_all(&block).expect("the broker takes what it can and no more");
        }
    });
    let mut most = 0;
    for n in 0..count {
        assert_eq!(client.answer().code, code::STATUS_IS);
        if n % 1000 == 0 {
            most = most.max(broker.resident());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    writer.join().expect("everything was taken");
    let sent = other.count("sent_bytes");
    println!(
        "{} KiB to a client that is always behind: {} KiB more resident",
        sent / 1024,
        kib(most - before)
    );
    assert!(most <= before + 2 * limit + FLAT, "memory grew from {before} to {most}");
}

#[test]
fn fifteen_hundred_consumers_on_one_connection_all_get_a_record() {
    let broker = Broker::ephemeral(&[]);
    let mut producer = broker.client();
    producer.create_topic("t", 1, vec![]);
    producer.produce_to(1, "t", false);
    let mut client = broker.client();
    let consumers = 1_500;
    let start = Start::Latest;
    for stream in 1..=consumers {
        client.consume_from(stream, "t", start);
        client.send(stream, &poll(60_000));
    }
    eventually("all of them wait", || producer.count("parked_fetches") == i64::from(consumers));
    producer.publish(1, b"for all");
    let mut got: HashMap<u32, usize> = HashMap::new();
    for _ in 0..consumers {
        let answer = client.answer();
        assert_eq!(answer.records(), [(0, b"for all".to_vec())]);
        *got.entry(answer.head.stream).or_default() += 1;
    }
    println!("{} consumers on one connection got a record", got.len());
    assert!(got.len() == consumers as usize && got.values().all(|n| *n == 1));
    assert_eq!(producer.count("parked_fetches"), 0);
}

#[test]
fn fifteen_hundred_connections_with_a_consumer_each_all_get_a_record() {
    os::raise_open_files();
    let broker = Broker::ephemeral(&[]);
    let mut producer = broker.client();
    producer.create_topic("t", 1, vec![]);
    producer.produce_to(1, "t", false);
    let mut clients: Vec<Client> = (0..1_500).map(|_| broker.client()).collect();
    for client in &mut clients {
        client.consume_from(1, "t", Start::Latest);
        client.send(1, &Request::Subscribe { credit: 1 << 20 });
    }
    eventually("all of them wait", || producer.count("parked_fetches") == clients.len() as i64);
    for round in 0..3 {
        producer.publish(1, b"for all");
        for client in &mut clients {
            assert_eq!(client.answer().records(), [(round, b"for all".to_vec())]);
        }
    }
    println!("{} connections got 3 records each", clients.len());
    drop(clients);
    eventually("what they waited for is forgotten", || producer.count("parked_fetches") == 0);
}

#[test]
fn registration_and_first_publish_take_one_round_trip_on_a_topic_that_does_not_exist() {
    let broker = Broker::ephemeral(&["--debug-sync-delay-ms=20"]);
    for n in 0..20 {
        let topic = format!("fresh-{n}");
        let mut client = broker.client();
        let bytes = [
            encode(1, 1, &Request::RegisterProducer { topic: &topic, idempotent: n % 2 == 0 }),
            plain(1, 2, Level::Durable, -1, b"first"),
            plain(1, 3, Level::Durable, -1, b"second"),
        ];
        client.send_raw(&bytes.concat());
        assert!(matches!(client.answer_to(1).reply(), Reply::ProducerRegistered { partitions: 1, .. }));
        assert_eq!([client.answer_to(2).published(), client.answer_to(3).published()], [0, 1]);
    }
}

#[test]
fn registration_of_a_consumer_and_first_poll_take_one_round_trip() {
    let broker = Broker::ephemeral(&[]);
    let mut client = broker.client();
    client.produce_to(1, "t", false);
    client.publish(1, b"x");
    let consume = Request::RegisterConsumer { topic: "t", group: "", partition: -1, start: Start::Earliest };
    client.send_raw(&[encode(2, 50, &consume), encode(2, 51, &poll(0))].concat());
    assert_eq!(client.answer_to(51).records(), [(0, b"x".to_vec())]);
}
