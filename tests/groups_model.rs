//! Groups among random clients, in simulated time: see `tests/groups/world.rs` for clients of which most follow the
//! rules, `tests/groups/driver.rs` for some that follow none, and `tests/groups/witness.rs` for what must hold at every
//! step. For consumer groups, whose partitions the broker shares out, these are `consumers.rs` and `readers.rs`.
//!
//! ```sh
//! KRAPPY_GROUPS_SEED=7 KRAPPY_GROUPS_CASES=5000 cargo test --test groups_model
//! ```

#[path = "groups/consumers.rs"]
mod consumers;
#[path = "groups/driver.rs"]
mod driver;
#[path = "groups/readers.rs"]
mod readers;
#[path = "groups/witness.rs"]
mod witness;
#[path = "groups/world.rs"]
mod world;

use driver::{Driver, Op};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use world::World;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn good_clients_come_to_rest_among_crashes_and_rude_ones() {
    let first = number("KRAPPY_GROUPS_SEED", 1);
    let (mut generations, mut synced, mut committed, mut longest) = (0, 0, 0, 0);
    for seed in first..first + number("KRAPPY_GROUPS_CASES", 400) {
        println!("KRAPPY_GROUPS_SEED={seed} KRAPPY_GROUPS_CASES=1");
        let mut world = World::new(seed);
        longest = longest.max(world.settle());
        world.close();
        generations += world.witness.generations;
        synced += world.witness.synced;
        committed += world.witness.committed;
    }
    println!(
        "{generations} generations, {synced} shares, {committed} commits, at rest after {longest} s at most"
    );
    assert!(generations > 100 && synced > 100 && committed > 10, "the world is a lively one");
}

#[test]
fn members_of_consumer_groups_never_read_one_partition_together_and_come_to_rest() {
    let first = number("KRAPPY_GROUPS_SEED", 1);
    let (mut moves, mut committed, mut longest) = (0, 0, 0);
    for seed in first..first + number("KRAPPY_GROUPS_CASES", 400) {
        println!("KRAPPY_GROUPS_SEED={seed} KRAPPY_GROUPS_CASES=1");
        let mut world = consumers::World::new(seed);
        longest = longest.max(world.settle());
        world.newcomer();
        world.close();
        moves += world.readers.moves;
        committed += world.readers.committed;
    }
    println!("{moves} partitions moved, {committed} commits, at rest after {longest} s at most");
    assert!(moves > 1_000 && committed > 10, "the world is a lively one");
}

#[test]
fn whatever_is_called_nobody_is_forgotten_and_silence_leaves_nothing_behind() {
    let config = ProptestConfig {
        cases: number("KRAPPY_GROUPS_CASES", 2_000) as u32,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(number("KRAPPY_GROUPS_SEED", 1)),
        max_shrink_time: 30_000,
        ..ProptestConfig::default()
    };
    let op = (any::<u8>(), any::<u16>(), any::<u16>()).prop_map(|(code, a, b)| Op::of(code, a, b));
    let ran = TestRunner::new(config).run(&(any::<u16>(), vec(op, 1..200)), |(shape, ops)| {
        let mut driver = Driver::new(shape);
        ops.iter().for_each(|op| driver.step(*op));
        driver.settle();
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn a_thousand_members_that_arrive_within_ten_seconds_make_few_generations() {
    // Without an initial delay each generation takes as long as its slowest member needs to notice the next.
    for (delay, most) in [(3_000, 2), (0, 5)] {
        let mut world = World::crowd(1_000, 10_000, delay);
        world.run_to(120_000);
        let described = world.witness.groups.describe("g");
        assert_eq!((described.state.name(), described.members.len()), ("Stable", 1_000));
        let generations = world.witness.generations;
        println!("{generations} generations with a delay of {delay} ms");
        assert!(generations <= most, "{generations} generations with a delay of {delay} ms");
    }
}
