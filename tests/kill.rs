//! The broker is killed again and again under load. What was acknowledged as durable is there afterwards, once and in
//! order; what a consumer has seen does not change any more.

mod common;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use common::client::{Got, batch_of, plain, poll, prepared};
use common::{Broker, Client, TempDir, setting};
use krappy_wire::batch::ProducerSequence;
use krappy_wire::native::{Level, Reply, Request, Start};

const TOPIC: &str = "t";
/// Batches that may be unanswered: as many as the broker remembers of a producer.
const IN_FLIGHT: usize = 5;

/// Sends every batch until it is acknowledged, whatever happens to the broker in between.
struct Idempotent {
    name: char,
    id: Option<(i64, i16)>,
    next: i32,
    pending: VecDeque<Pending>,
    /// Record number and the offset that it was acknowledged with.
    acked: Vec<(i32, i64)>,
}

struct Pending {
    base: i32,
    count: i32,
    batch: Vec<u8>,
    correlation: u32,
}

impl Idempotent {
    fn new(name: char) -> Self {
        Self { name, id: None, next: 0, pending: VecDeque::new(), acked: Vec::new() }
    }

    /// Works until the connection ends.
    fn work(&mut self, addr: SocketAddr) {
        let Ok(mut client) = Client::try_connect(addr) else { return };
        // The id of the first registration is kept: that is what makes a second sending harmless.
        let register = Request::RegisterProducer { topic: TOPIC, idempotent: self.id.is_none() };
        let Some(answer) = client.try_call(1, &register) else { return };
        let Reply::ProducerRegistered { producer_id, producer_epoch, .. } = answer.reply() else {
            panic!("not registered: {:?}", answer.reply())
        };
        self.id.get_or_insert((producer_id, producer_epoch));
        for pending in &mut self.pending {
            pending.correlation = client.next();
            if !client.try_send(&prepared(1, pending.correlation, Level::Durable, &pending.batch)) {
                return;
            }
        }
        loop {
            while self.pending.len() < IN_FLIGHT {
                if !self.send_next(&mut client) {
                    return;
                }
            }
            let Got::Answer(answer) = client.read() else { return };
            let Reply::Published { level: Level::Durable, parts } = answer.reply() else {
                panic!("producer {}: {:?}", self.name, answer.reply())
            };
            self.acknowledged(answer.head.correlation, parts[0].base_offset);
        }
    }

    fn send_next(&mut self, client: &mut Client) -> bool {
        let count = 1 + self.next % 5;
        let values: Vec<Vec<u8>> = (self.next..self.next + count).map(|n| value(self.name, n)).collect();
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let (producer_id, epoch) = self.id.expect("registered");
        let batch =
            batch_of(&values, Some(ProducerSequence { producer_id, epoch, base_sequence: self.next }));
        let correlation = client.next();
        let frame = prepared(1, correlation, Level::Durable, &batch);
        self.pending.push_back(Pending { base: self.next, count, batch, correlation });
        self.next += count;
        client.try_send(&frame)
    }

    fn acknowledged(&mut self, correlation: u32, base_offset: i64) {
        let found = self.pending.iter().position(|p| p.correlation == correlation);
        let done = self.pending.remove(found.expect("an answer to something that was sent")).expect("found");
        self.acked.extend((0..done.count).map(|i| (done.base + i, base_offset + i64::from(i))));
    }
}

/// Sends each record once: what is not acknowledged when the broker dies may or may not be there.
struct Plain {
    name: char,
    next: i32,
    acked: Vec<(i32, i64)>,
}

impl Plain {
    fn work(&mut self, addr: SocketAddr) {
        let Ok(mut client) = Client::try_connect(addr) else { return };
        let register = Request::RegisterProducer { topic: TOPIC, idempotent: false };
        if client.try_call(1, &register).is_none() {
            return;
        }
        let mut waiting: HashMap<u32, i32> = HashMap::new();
        loop {
            while waiting.len() < IN_FLIGHT {
                let correlation = client.next();
                let frame = plain(1, correlation, Level::Durable, -1, &value(self.name, self.next));
                waiting.insert(correlation, self.next);
                self.next += 1;
                if !client.try_send(&frame) {
                    return;
                }
            }
            let Got::Answer(answer) = client.read() else { return };
            let n = waiting.remove(&answer.head.correlation).expect("an answer to something that was sent");
            self.acked.push((n, answer.published()));
        }
    }
}

/// Reads on from where it was when the broker died.
#[derive(Default)]
struct Consumer {
    seen: Vec<(i64, Vec<u8>)>,
}

impl Consumer {
    fn work(&mut self, addr: SocketAddr) {
        let Ok(mut client) = Client::try_connect(addr) else { return };
        let start = Start::Offset(self.seen.last().map_or(0, |(offset, _)| offset + 1));
        let register = Request::RegisterConsumer { topic: TOPIC, group: "", partition: 0, start };
        let Some(answer) = client.try_call(1, &register) else { return };
        assert!(matches!(answer.reply(), Reply::ConsumerRegistered { .. }), "{:?}", answer.reply());
        while let Some(answer) = client.try_call(1, &poll(1_000)) {
            self.seen.extend(answer.records());
        }
    }
}

fn value(name: char, n: i32) -> Vec<u8> {
    format!("{name}{n}:{}", "~".repeat(n as usize % 700)).into_bytes()
}

fn parse(value: &[u8]) -> (char, i32) {
    let text = std::str::from_utf8(value).expect("our own values");
    let (head, _) = text.split_once(':').expect("our own values");
    (head.chars().next().expect("a name"), head[1..].parse().expect("a number"))
}

/// Numbers that look random and come again with the same seed.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kills_under_load() {
    let cycles = setting("KRAPPY_TEST_KILL_CYCLES", 30);
    let seed = setting("KRAPPY_TEST_KILL_SEED", u64::from(std::process::id()));
    println!("seed {seed}");
    let data = TempDir::new("kill");
    // Small segments, so that kills hit rolls, too.
    let flags = ["--log-segment-bytes=256KiB"];
    let mut state = seed;
    let mut producers = [Idempotent::new('a'), Idempotent::new('b')];
    let mut plain = Plain { name: 'p', next: 0, acked: Vec::new() };
    let mut consumer = Consumer::default();
    let mut broker = Broker::on(data.path(), &flags);
    broker.client().create_topic(TOPIC, 1, vec![]);
    for cycle in 0..cycles {
        let (addr, life) = (broker.addr, Duration::from_millis(5 + random(&mut state) % 150));
        std::thread::scope(|scope| {
            for producer in &mut producers {
                scope.spawn(|| producer.work(addr));
            }
            scope.spawn(|| plain.work(addr));
            scope.spawn(|| consumer.work(addr));
            sleep(life);
            broker.kill();
        });
        // Every other life has a slow disk, so that much is appended and not yet durable when it ends.
        let slow = format!("--debug-sync-delay-ms={}", cycle % 2 * 20);
        broker = Broker::on(data.path(), &[&flags[..], &[&slow]].concat());
    }
    let log = broker.client().read_all(1, TOPIC);
    let verdict = Verdict::of(&log, &producers, &plain);
    println!(
        "{cycles} kills: {} records acknowledged, {} in the log, {} lost, {} doubled, {} out of order, {} seen by the \
         consumer; {} segments",
        verdict.acked,
        log.len(),
        verdict.lost,
        verdict.doubled,
        verdict.disordered,
        consumer.seen.len(),
        segments(data.path())
    );
    assert_eq!((verdict.lost, verdict.doubled, verdict.disordered), (0, 0, 0), "seed {seed}");
    assert!(verdict.acked as u64 > cycles * 10, "hardly any load: {} acknowledged", verdict.acked);
    assert_eq!(log[..consumer.seen.len()], consumer.seen, "what was seen is what is there; seed {seed}");
    for producer in &producers {
        let there = numbers(&log, producer.name);
        assert!(there.iter().enumerate().all(|(i, n)| *n == i as i32), "no gap in {}", producer.name);
    }
    assert!(broker.stop().success());
    let broker = Broker::on(data.path(), &flags);
    broker.says("clean stop");
    assert_eq!(broker.client().read_all(1, TOPIC), log, "a clean restart changes nothing");
}

fn numbers(log: &[(i64, Vec<u8>)], name: char) -> Vec<i32> {
    log.iter().map(|(_, value)| parse(value)).filter(|(n, _)| *n == name).map(|(_, n)| n).collect()
}

fn segments(data: &std::path::Path) -> usize {
    let names = std::fs::read_dir(data.join("topics").join(TOPIC).join("0")).expect("the partition's folder");
    names.filter(|e| e.as_ref().is_ok_and(|e| e.path().extension().is_some_and(|x| x == "log"))).count()
}

/// What became of the records.
struct Verdict {
    acked: usize,
    lost: usize,
    doubled: usize,
    disordered: usize,
}

impl Verdict {
    fn of(log: &[(i64, Vec<u8>)], producers: &[Idempotent], plain: &Plain) -> Self {
        let at: HashMap<i64, &[u8]> = log.iter().map(|(offset, value)| (*offset, &value[..])).collect();
        let promised = producers.iter().map(|p| (p.name, &p.acked)).chain([(plain.name, &plain.acked)]);
        let mut verdict = Verdict { acked: 0, lost: 0, doubled: 0, disordered: 0 };
        for (name, acked) in promised {
            verdict.acked += acked.len();
            let kept = |(n, offset): &&(i32, i64)| at.get(offset).copied() == Some(&value(name, *n)[..]);
            verdict.lost += acked.len() - acked.iter().filter(kept).count();
            let numbers = numbers(log, name);
            verdict.doubled += numbers.len() - numbers.iter().collect::<HashSet<_>>().len();
            verdict.disordered += numbers.windows(2).filter(|pair| pair[0] > pair[1]).count();
        }
        verdict
    }
}
