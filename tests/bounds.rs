//! What the broker holds, and what it does at the limits: idle connections, readers that do not read, requests that
//! arrive in part, and descriptors that run out.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::client::{encode, plain};
use common::{Broker, Client, eventually, kib, os, setting};
use krappy_wire::native::{Level, Request, Start, code};

/// The most memory of the broker that an idle connection may take, bytes.
const IDLE: u64 = 2 << 10;

#[test]
fn ten_thousand_idle_connections_take_two_kibibytes_each_at_the_most() {
    let wanted = setting("KRAPPY_TEST_IDLE", 10_000);
    let possible = os::raise_open_files().saturating_sub(2_000);
    let count = wanted.min(possible);
    if count < wanted {
        println!("the limit of open files allows only {count} of {wanted} connections");
    }
    let broker = Broker::ephemeral(&[]);
    let mut other = broker.client();
    other.create_topic("t", 1, vec![]);
    other.produce_to(1, "t", false);
    other.publish(1, b"x");
    let before = (broker.resident(), broker.open_files());
    // Half of them have never said anything, half have done some work before they became idle.
    let mut idle: Vec<TcpStream> = Vec::new();
    for n in 0..count {
        let mut client = broker.client();
        if n % 2 == 0 {
            client.send_plain(9, Level::Durable, &[0; 2000]);
            client.ping();
        }
        idle.push(client.stream);
    }
    eventually("all are connected", || other.count("connections") == count as i64 + 1);
    let grown = broker.resident() - before.0;
    let cpu = broker.cpu();
    sleep(Duration::from_millis(300));
    let spent = broker.cpu() - cpu;
    println!(
        "{count} idle connections: {} KiB, {} bytes each; {} ms of processor time in 300 ms of idling",
        kib(grown),
        grown / count,
        spent.as_millis()
    );
    assert!(grown <= IDLE * count, "{} bytes each", grown / count);
    assert!(spent <= Duration::from_millis(150), "an idle broker spins");
    other.publish(1, b"still here");
    drop(idle);
    eventually("all are gone", || other.count("connections") == 1);
    assert_eq!(broker.open_files(), before.1);
}

#[test]
fn clients_that_send_together_do_not_take_a_buffer_each() {
    let broker = Broker::ephemeral(&[]);
    let mut clients: Vec<Client> = (0..1_000).map(|_| broker.client()).collect();
    let request = encode(0, 1, &Request::Hello { version: 1, client: &"c".repeat(20_000) });
    clients[0].ping();
    let before = broker.resident();
    let mut most = 0;
    for _ in 0..3 {
        // While it stands still everything arrives, so that one turn has it all.
        os::signal(broker.pid(), libc::SIGSTOP);
        clients.iter_mut().for_each(|client| client.send_raw(&request));
        os::signal(broker.pid(), libc::SIGCONT);
        for client in &mut clients {
            assert_eq!(client.answer().code, code::HELLO_OK);
        }
        most = most.max(broker.resident());
    }
    println!("{} clients sent 20 KB at once: {} KiB more resident", clients.len(), kib(most - before));
    assert!(most <= before + (6 << 20), "memory grew from {before} to {most}");
}

/// Publishes records of `size` bytes until told to stop, many at a time; how many were acknowledged.
fn produce(mut client: Client, topic: &str, size: usize, until: &dyn Fn(u64) -> bool) -> u64 {
    client.produce_to(1, topic, false);
    let block: Vec<u8> =
        (0..32).flat_map(|i| plain(1, 100 + i, Level::Appended, 0, &vec![b'p'; size])).collect();
    let mut acked = 0;
    while !until(acked) {
        client.send_raw(&block);
        for _ in 0..32 {
            client.answer().published();
            acked += 1;
        }
    }
    acked
}

/// Consumers with all the credit in the world that never read.
fn never_reading(broker: &Broker, topic: &str, count: usize) -> Vec<Client> {
    let consumer = |_| {
        let mut client = broker.client();
        client.consume_from(1, topic, Start::Earliest);
        client.send(1, &Request::Subscribe { credit: u32::MAX });
        client
    };
    (0..count).map(consumer).collect()
}

#[test]
fn a_consumer_that_never_reads_costs_its_limit_and_nobody_else_anything() {
    let readers = 4;
    let limit: u64 = 1 << 20;
    let flags = ["--output-limit-bytes=1MiB", "--fetch-max-bytes=1MiB", "--log-segment-bytes=64MiB"];
    let broker = Broker::ephemeral(&flags);
    let mut other = broker.client();
    other.create_topic("t", 1, vec![]);
    other.produce_to(1, "t", false);
    let mut budget = 0;
    let stop = AtomicBool::new(false);
    let (mut most, mut meanwhile) = (0, 0);
    let publisher = broker.client();
    let acked = std::thread::scope(|scope| {
        // Warm-up: the same load without the readers.
        produce(broker.client(), "t", 10_000, &|acked| acked >= 2_000);
        let _stuck = never_reading(&broker, "t", readers);
        // A reply is at most what a fetch may hold, and comes on top of what was below the limit.
        budget += broker.resident() + readers as u64 * 2 * limit + (8 << 20);
        let producer = scope.spawn(|| produce(publisher, "t", 10_000, &|_| stop.load(Ordering::Relaxed)));
        let end = Instant::now() + Duration::from_secs(setting("KRAPPY_TEST_STUCK_SECONDS", 3));
        while Instant::now() < end {
            other.publish(1, b"meanwhile");
            meanwhile += 1;
            most = most.max(broker.resident());
        }
        stop.store(true, Ordering::Relaxed);
        producer.join().expect("the producer goes on")
    });
    println!(
        "{readers} readers that never read: {acked} records of 10 KB published, {meanwhile} by another client, {} KiB \
         resident at the most, budget {} KiB",
        kib(most),
        kib(budget)
    );
    assert!(most <= budget, "{most} bytes, budget {budget}");
    assert!(meanwhile > 10 && acked > 1_000);
}

#[test]
fn slow_readers_do_not_slow_producers_down() {
    let count = 5_000;
    let turns = |readers: usize| {
        let broker = Broker::ephemeral(&["--output-limit-bytes=256KiB", "--write-stall-ms=1h"]);
        let mut other = broker.client();
        other.create_topic("t", 1, vec![]);
        let mut slow = never_reading(&broker, "t", readers);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // They take a little now and then: never stalled, always behind.
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for client in &mut slow {
                        let _ = client.stream.read(&mut [0; 1024]);
                    }
                    sleep(Duration::from_millis(5));
                }
            });
            let acked = produce(broker.client(), "t", 2_000, &|acked| acked >= count);
            stop.store(true, Ordering::Relaxed);
            assert!(acked >= count);
        });
        let status = other.status();
        assert_eq!(status["backpressure_pauses"], 0, "no publish was left waiting");
        (status["turns"], status["appended_records"])
    };
    let (without, with) = (turns(0), turns(8));
    println!(
        "{} records without slow readers ({} turns), {} with 8 of them ({} turns)",
        without.1, without.0, with.1, with.0
    );
    assert_eq!(without.1, with.1, "the producer finishes the same count");
}

#[test]
fn without_descriptors_old_clients_are_served_new_ones_refused_and_later_accepted_again() {
    let broker = Broker::with_few_files(64, &["--log-segment-bytes=16KiB"]);
    let mut other = broker.client();
    other.produce_to(1, "t", false);
    let mut accepted: Vec<Client> = Vec::new();
    let mut refused = 0;
    while refused < 20 {
        // Whether it was accepted shows in an answer: a connection in the backlog looks open, too.
        let mut client = broker.client();
        let _ = client.stream.write_all(&encode(0, 1, &Request::Ping));
        match client.read() {
            common::client::Got::Answer(_) => accepted.push(client),
            common::client::Got::Closed => refused += 1,
        }
        assert!(accepted.len() < 64, "the limit holds");
        other.publish(1, b"served");
    }
    // Some wait unaccepted while nothing can be done for them.
    let waiting: Vec<TcpStream> = (0..30).filter_map(|_| TcpStream::connect(broker.addr).ok()).collect();
    let cpu = broker.cpu();
    let before = other.count("turns");
    sleep(Duration::from_millis(500));
    let (turns, spent) = (other.count("turns") - before, broker.cpu() - cpu);
    println!(
        "64 descriptors: {} accepted, {} refused; {turns} turns and {} ms of processor time in 500 ms at the limit",
        accepted.len(),
        other.count("connections_refused"),
        spent.as_millis()
    );
    assert!(spent < Duration::from_millis(250), "it spins: {spent:?}");
    accepted.iter_mut().for_each(Client::ping);
    // The log keeps its own share: no append fails because connections have taken every descriptor.
    let published = (0..20).filter(|_| other.publish(1, &[0; 5_000]) > 0).count();
    println!("{published} records in new segments meanwhile, {} open files", broker.open_files());
    drop((accepted, waiting));
    eventually("new clients are accepted again", || {
        let mut client = broker.client();
        let sent = client.stream.write_all(&encode(0, 1, &Request::Ping));
        sent.is_ok() && matches!(client.read(), common::client::Got::Answer(_))
    });
}

#[test]
fn more_connections_than_allowed_are_closed_and_the_others_stay() {
    let broker = Broker::ephemeral(&["--max-connections=10"]);
    let mut clients: Vec<Client> = (0..10).map(|_| broker.client()).collect();
    clients.iter_mut().for_each(Client::ping);
    for _ in 0..50 {
        assert!(broker.client().read_to_end().is_empty());
    }
    clients.iter_mut().for_each(Client::ping);
    assert_eq!(clients[0].count("connections_refused"), 50);
    clients.pop();
    eventually("there is room for one", || {
        let mut client = broker.client();
        let sent = client.stream.write_all(&encode(0, 1, &Request::Ping));
        sent.is_ok() && matches!(client.read(), common::client::Got::Answer(_))
    });
}

#[test]
fn half_read_frames_of_many_clients_stay_within_the_budget_and_all_become_whole() {
    let (count, size) = (40, 900_000);
    let budget: u64 = 4 << 20;
    let broker = Broker::ephemeral(&[
        "--socket-request-max-bytes=1100000",
        &format!("--queued-max-request-bytes={budget}"),
    ]);
    let mut other = broker.client();
    other.create_topic("t", 1, vec![]);
    other.ping();
    let before = broker.resident();
    let mut clients: Vec<Client> = (0..count).map(|_| broker.client()).collect();
    let frame = plain(1, 7, Level::Durable, 0, &vec![b'h'; size]);
    for client in &mut clients {
        client.produce_to(1, "t", false);
        client.stream.set_nonblocking(true).expect("a socket");
    }
    // A piece for each in turn, so that all frames are half-read at the same time.
    let mut sent = vec![0; count];
    let (mut most, mut reserved) = (0, 0);
    let began = Instant::now();
    while sent.iter().any(|n| *n < frame.len()) {
        for (client, sent) in clients.iter_mut().zip(&mut sent) {
            let piece = &frame[*sent..frame.len().min(*sent + 50_000)];
            match client.stream.write(piece) {
                Ok(n) => *sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => panic!("{e}"),
            }
        }
        most = most.max(broker.resident());
        reserved = reserved.max(other.count("input_bytes"));
        assert!(began.elapsed() < common::PATIENCE, "the frames never became whole: {sent:?}");
    }
    for client in &mut clients {
        client.stream.set_nonblocking(false).expect("a socket");
        client.answer_to(7).published();
    }
    println!(
        "{count} half-read frames of {size} bytes: {} KiB reserved and {} KiB more resident at the most, budget {} KiB",
        reserved / 1024,
        kib(most - before),
        kib(budget)
    );
    assert!(reserved > 0 && reserved as u64 <= budget, "{reserved} bytes reserved");
    // Buffers grow by doubling, and one pool of 4 MiB is kept on either side.
    assert!(most <= before + 2 * budget + (8 << 20), "memory grew from {before} to {most}");
    assert_eq!(other.count("input_bytes"), 0);
}

#[test]
fn one_slow_sender_does_not_hold_up_those_for_whom_there_is_room() {
    let broker = Broker::ephemeral(&[
        "--socket-request-max-bytes=1100000",
        "--queued-max-request-bytes=1100000",
        "--request-receive-ms=1h",
    ]);
    let mut other = broker.client();
    other.create_topic("t", 1, vec![]);
    let client = || {
        let mut client = broker.client();
        client.produce_to(1, "t", false);
        client
    };
    let (mut first, mut slow) = (client(), client());
    let mut others: Vec<Client> = (0..5).map(|_| client()).collect();
    let large = plain(1, 7, Level::Durable, 0, &vec![b'l'; 1_000_000]);
    let small = plain(1, 7, Level::Durable, 0, &vec![b's'; 200_000]);
    first.send_raw(&large[..500_000]);
    arrived(&mut other, 500_000);
    first.send_raw(&large[500_000..900_000]);
    eventually("the large frame has its place", || other.count("input_bytes") >= 1_000_000);
    for client in others.iter_mut().chain([&mut slow]) {
        client.send_raw(&small[..50_000]);
    }
    arrived(&mut other, 900_000 + 6 * 50_000);
    // Now all of them want to be read on, the slow one first, and there is no place.
    slow.send_raw(&small[50_000..100_000]);
    other.ping();
    for client in &mut others {
        client.send_raw(&small[50_000..]);
        other.ping();
    }
    drop(others.remove(0));
    first.send_raw(&large[900_000..]);
    first.answer_to(7).published();
    for client in &mut others {
        client.answer_to(7).published();
    }
    slow.send_raw(&small[100_000..]);
    slow.answer_to(7).published();
}

/// Waits until the broker has read this much of large requests.
fn arrived(other: &mut Client, least: i64) {
    eventually(&format!("{least} bytes have arrived"), || other.count("received_bytes") >= least);
}

#[test]
fn segments_that_are_full_do_not_use_up_the_descriptors() {
    let broker = Broker::with_few_files(128, &["--log-segment-bytes=16KiB"]);
    let mut client = broker.client();
    client.produce_to(1, "t", false);
    for n in 0..500 {
        assert_eq!(client.publish(1, &[0; 10_000]), n);
    }
    println!("500 segments, {} open files", broker.open_files());
    assert_eq!(client.read_all(2, "t").len(), 500);
    assert_eq!(client.publish(1, b"and on"), 500);
}

#[test]
fn idle_connections_are_closed_and_waiting_ones_are_not() {
    let broker = Broker::ephemeral(&["--connections-max-idle-ms=300ms"]);
    let mut producer = broker.client();
    producer.create_topic("t", 1, vec![]);
    let mut waiting: Vec<Client> = (0..2).map(|_| broker.client()).collect();
    for (client, request) in
        waiting.iter_mut().zip([common::client::poll(60_000), Request::Subscribe { credit: 9 }])
    {
        client.consume_from(1, "t", Start::Latest);
        client.send(1, &request);
    }
    let mut idle = broker.client();
    idle.ping();
    assert!(idle.read_to_end().is_empty(), "idleness ends it");
    // The producer was idle for as long, too.
    let mut producer = broker.client();
    producer.produce_to(1, "t", false);
    producer.publish(1, b"x");
    for client in &mut waiting {
        assert_eq!(client.answer().records(), [(0, b"x".to_vec())]);
    }
}
