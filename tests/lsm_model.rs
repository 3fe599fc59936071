//! The tree against a model: random writes, flushes, merges, pins, reads as of a seq, scans both ways, reopenings,
//! crashes and failing disks. See `tests/lsm/driver.rs`.
//!
//! ```sh
//! KRAPPY_LSM_SEED=7 KRAPPY_LSM_CASES=50000 cargo test --test lsm_model
//! ```

#[path = "lsm/crash.rs"]
mod crash;
#[path = "lsm/driver.rs"]
mod driver;

use driver::{Driver, Op};
use krappy::lsm::Stats;
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
    let mut past = Vec::new();
    for shape in 0..12 {
        let ops = vec(ops(), 900).new_tree(&mut runner).unwrap().current();
        let mut driver = run(shape, &ops);
        past.append(&mut driver.past);
        past.push(driver.tree().stats());
    }
    let deepest = |stats: &Stats| stats.levels.iter().rposition(|level| level.runs > 0);
    assert!(past.iter().filter_map(deepest).max() >= Some(3));
    let sum = |of: fn(&Stats) -> u64| past.iter().map(of).sum::<u64>();
    assert!(sum(|stats| stats.superseded) > 1_000 && sum(|stats| stats.expired) > 100);
    assert!(sum(|stats| stats.merges) > 100 && sum(|stats| stats.moves) > 10);
    assert!(sum(|stats| stats.filter_hits) > 100);
}
