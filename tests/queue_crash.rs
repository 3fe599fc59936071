//! Queues of the broker as a value: takers that take, settle, leave and are slow, workers that work in any order, and a
//! machine that crashes at any call, on a disk that loses what was not synced.
//!
//! ```sh
//! KRAPPY_QUEUES_SEED=7 KRAPPY_QUEUES_CASES=1 cargo test --test queue_crash
//! ```

#[allow(dead_code)]
#[path = "admin/desk.rs"]
mod desk;
#[path = "queues/takers.rs"]
mod takers;

use desk::Desk;
use krappy::api::queue::{QueueReply, QueueRequest, QueueSettle, QueueTake, Settle, Taker};
use krappy::api::{Reply, Request};
use krappy::disk::sim::Crash;
use krappy::worker::Job;
use takers::{Happened, World};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn every_record_is_done_once_it_was_answered_so_and_none_is_forgotten() {
    let first = number("KRAPPY_QUEUES_SEED", 1);
    let mut all = Happened::default();
    for seed in first..first + number("KRAPPY_QUEUES_CASES", 60) {
        println!("KRAPPY_QUEUES_SEED={seed} KRAPPY_QUEUES_CASES=1");
        let mut world = World::new(seed);
        (0..300).for_each(|_| world.step());
        world.settle();
        all.add(&world.happened);
    }
    println!("{all:?}");
    assert!(all.given > 500 && all.answered > 200 && all.crashes > 50 && all.redriven > 20, "a lively world");
}

const TOPIC: &str = "orders";
const GROUP: &str = "packers";
const TAKER: Taker<'_> = Taker::Stream(1);

/// Takes all that there is; how many records.
fn take_all(desk: &mut Desk) -> u32 {
    let take = QueueTake {
        group: GROUP,
        topic: TOPIC,
        taker: TAKER,
        partition: None,
        most: 100,
        max_bytes: 1_000,
        max_wait_ms: 0,
        lock_ms: Some(60_000),
        keyed: false,
    };
    match desk.ask(Request::Queue(QueueRequest::Take(take))) {
        Reply::Queue(QueueReply::Taken(taken)) => taken.records().count(),
        other => panic!("{other:?}"),
    }
}

fn settle(how: Settle<'_>, records: Vec<(i32, i64)>) -> Request<'_> {
    let settle = QueueSettle { group: GROUP, topic: TOPIC, taker: TAKER, how, records };
    Request::Queue(QueueRequest::Settle(settle))
}

/// Time passes, and all jobs are run but those that bring records into memory.
fn pass_but_read(desk: &mut Desk) {
    desk.now.time = desk.now.time.plus_ms(1_000);
    let now = desk.now;
    desk.broker().tick(now);
    desk.turn();
    work_but_read(desk);
}

fn work_but_read(desk: &mut Desk) {
    while let Some(at) = desk.jobs.iter().position(|job| !matches!(job, Job::Warm(..))) {
        let job = desk.jobs.remove(at);
        desk.run(job).expect("no crash is planned");
    }
}

#[test]
fn a_record_that_begins_to_die_while_a_later_one_is_read_for_its_letter_has_a_letter_too() {
    let mut desk = Desk::on_disk(1);
    desk.create(TOPIC, 1, &[]);
    for value in [b"first", b"later"] {
        desk.publish(TOPIC, 0, None, value);
    }
    assert_eq!(take_all(&mut desk), 2);
    // From here on it takes a worker to read anything.
    desk.sim.cold(1.0);
    for offset in [1, 0] {
        desk.offer(settle(Settle::Reject("no good"), vec![(0, offset)])).expect("it is taken");
        work_but_read(&mut desk);
        pass_but_read(&mut desk);
        assert_eq!(desk.jobs.len(), 1, "the later one is being read");
    }
    desk.sim.cold(0.0);
    desk.work();
    desk.pass(60_000);
    let Reply::Queue(QueueReply::Described(lines)) =
        desk.ask(Request::Queue(QueueRequest::Describe { group: GROUP, topic: TOPIC }))
    else {
        panic!("it is described")
    };
    assert_eq!((lines[0].dead, lines[0].lost), (2, 0), "{lines:?}");
    let letters = desk.read("orders.dlq", 0).into_iter().map(|(_, _, value)| value);
    assert_eq!(letters.collect::<Vec<_>>(), [b"later", b"first"]);
}

#[test]
fn records_that_have_the_offsets_of_those_that_a_power_cut_has_taken_are_given_out() {
    let mut desk = Desk::on_disk(1);
    desk.create(TOPIC, 1, &[("flush.messages", "1000000")]);
    for _ in 0..2 {
        desk.publish(TOPIC, 0, None, b"lost");
    }
    assert_eq!(take_all(&mut desk), 2);
    desk.ask(settle(Settle::Acknowledge, vec![(0, 0), (0, 1)]));
    desk.crash(Crash::LoseAll);
    for _ in 0..2 {
        assert!(desk.publish(TOPIC, 0, None, b"another") < 2);
    }
    // Nothing was written about the queue since the power cut.
    desk.crash(Crash::KeepAll);
    assert_eq!(take_all(&mut desk), 2);
}
