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
