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
    desk.create("orders", 1, &[]);
    for value in [b"first", b"later"] {
        desk.publish("orders", 0, None, value);
    }
    let (group, topic, taker) = ("packers", "orders", Taker::Stream(1));
    let (partition, lock_ms) = (None, Some(60_000));
    let take = QueueTake {
        group,
        topic,
        taker,
        partition,
        most: 2,
        max_bytes: 1_000,
        max_wait_ms: 0,
        lock_ms,
        keyed: false,
    };
    desk.ask(Request::Queue(QueueRequest::Take(take)));
    // From here on it takes a worker to read anything.
    desk.sim.cold(1.0);
    for offset in [1, 0] {
        let (how, records) = (Settle::Reject("no good"), vec![(0, offset)]);
        let settle = QueueSettle { group, topic, taker, how, records };
        desk.offer(Request::Queue(QueueRequest::Settle(settle))).expect("it is taken");
        work_but_read(&mut desk);
        pass_but_read(&mut desk);
        assert_eq!(desk.jobs.len(), 1, "the later one is being read");
    }
    desk.sim.cold(0.0);
    desk.work();
    desk.pass(60_000);
    let Reply::Queue(QueueReply::Described(lines)) =
        desk.ask(Request::Queue(QueueRequest::Describe { group, topic }))
    else {
        panic!("it is described")
    };
    assert_eq!((lines[0].dead, lines[0].lost), (2, 0), "{lines:?}");
    let letters = desk.read("orders.dlq", 0).into_iter().map(|(_, _, value)| value);
    assert_eq!(letters.collect::<Vec<_>>(), [b"later", b"first"]);
}
