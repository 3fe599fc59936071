//! The window of a queue against a naive one, under random takers, crashes and a log that loses records: see
//! `tests/queues/naive.rs` for the rules said once more in the simplest way, and `tests/queues/world.rs` for what
//! happens to both.
//!
//! ```sh
//! KRAPPY_QUEUES_SEED=7 KRAPPY_QUEUES_CASES=1 cargo test --test queue_model
//! ```

#[path = "queues/naive.rs"]
mod naive;
#[path = "queues/world.rs"]
mod world;

use world::World;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn a_window_does_what_the_rules_say_whatever_happens() {
    let first = number("KRAPPY_QUEUES_SEED", 1);
    let (mut delivered, mut done, mut dead, mut crashes) = (0, 0, 0, 0);
    for seed in first..first + number("KRAPPY_QUEUES_CASES", 300) {
        println!("KRAPPY_QUEUES_SEED={seed} KRAPPY_QUEUES_CASES=1");
        let mut world = World::new(seed);
        (0..400).for_each(|_| world.step());
        world.settle();
        delivered += world.delivered;
        done += world.acknowledged;
        dead += world.dead;
        crashes += world.crashes;
    }
    println!("{delivered} deliveries, {done} acknowledged, {dead} dead, {crashes} crashes");
    assert!(delivered > 1_000 && done > 500 && dead > 50 && crashes > 50, "the world is a lively one");
}
