//! The tree against a model: random writes, flushes, merges, pins, reads as of a seq, scans both ways, reopenings,
//! crashes and failing disks. See `tests/lsm/driver.rs`.
//!
//! ```sh
//! KRAPPY_LSM_SEED=7 KRAPPY_LSM_CASES=50000 cargo test --test lsm_model
//! ```

#[path = "lsm/driver.rs"]
mod driver;

use driver::{Driver, Op};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngSeed, TestRunner};

fn number(name: &str, otherwise: u32) -> u32 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// The same cases each time, unless asked otherwise.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases: number("KRAPPY_LSM_CASES", cases),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(number("KRAPPY_LSM_SEED", 1).into()),
        max_shrink_time: 30_000,
        ..ProptestConfig::default()
    }
}

fn ops() -> impl Strategy<Value = Op> {
    (any::<u8>(), any::<u16>(), any::<u16>()).prop_map(|(code, a, b)| Op::of(code, a, b))
}

fn run(shape: u16, ops: &[Op]) -> Driver {
    let mut driver = Driver::new(shape);
    for op in ops {
        driver.step(*op);
    }
    driver.step(Op::Settle);
    driver.step(Op::Check);
    driver
}

#[test]
fn many_short_histories_are_what_the_log_says() {
    let strategy = (any::<u16>(), vec(ops(), 1..160));
    let ran = TestRunner::new(config(2_000)).run(&strategy, |(shape, ops)| {
        run(shape, &ops);
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn a_few_long_histories_are_what_the_log_says() {
    let strategy = (any::<u16>(), vec(ops(), 500..1_000));
    let ran = TestRunner::new(config(60)).run(&strategy, |(shape, ops)| {
        run(shape, &ops);
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn the_histories_reach_every_part_of_the_tree() {
    let mut runner = TestRunner::new(config(1));
    let (mut deepest, mut superseded, mut expired, mut merges, mut moves) = (0, 0, 0, 0, 0);
    for shape in 0..8 {
        let ops = vec(ops(), 700).new_tree(&mut runner).unwrap().current();
        let mut driver = run(shape, &ops);
        let stats = driver.tree().stats();
        deepest = deepest.max(stats.levels.iter().rposition(|level| level.runs > 0).unwrap_or(0));
        superseded += stats.superseded;
        expired += stats.expired;
        merges += stats.merges;
        moves += stats.moves;
    }
    let reached = (deepest, superseded, expired, merges, moves);
    assert!(deepest >= 3 && superseded > 0 && expired > 0 && merges > 0 && moves > 0, "{reached:?}");
}
