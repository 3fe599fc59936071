//! A tree is crashed at every call by which a flush, a merge or a switch of the manifest changes the disk, in three
//! ways; then its opening is crashed in turn at each of its calls, too. What comes up is what the log says, and nothing
//! that the tree had confirmed is gone: the driver compares all of it at every opening.

use krappy::disk::sim::Crash;
use krappy::lsm::Stats;

use crate::driver::{Driver, Op};

/// The one with the most keys, of which the workload uses 160: most of them are overwritten or deleted.
const SHAPE: u16 = 2;

/// Fills the tree to its third level, with a flush and a merge under way at once and reads in between.
fn workload() -> Vec<Op> {
    let mut ops = Vec::new();
    for round in 0..30u16 {
        for i in 0..12 {
            let n = round * 12 + i;
            ops.push(if n % 5 == 3 {
                Op::Delete { key: n * 17 % 160, len: n }
            } else {
                Op::Put { key: n * 29 % 160, len: n * 7 }
            });
        }
        ops.extend([Op::Sync, Op::Freeze, Op::Flush, Op::Merge, Op::Flush, Op::Merge, Op::Flush]);
        ops.extend([Op::Merge; 9]);
        ops.push(match round % 6 {
            0 => Op::Pin { seq: round * 8 },
            1 => Op::Expire { by: 9 },
            2 => Op::Forget { by: 50 },
            3 => Op::Unpin { which: 0 },
            4 => Op::Adopt { keys: 5, newer: 2 },
            _ => Op::Scan { from: round, to: 3 },
        });
        if round % 9 == 8 {
            ops.push(Op::Reopen);
        }
    }
    ops.push(Op::Close);
    ops
}

/// Drives the workload up to a crash at the `n`th call, and stops there; `None` when it ends before.
fn fall_at(n: u64) -> Option<Driver> {
    let mut driver = Driver::new(SHAPE);
    driver.falls = true;
    driver.disk.crash_at(n);
    for op in workload() {
        driver.step(op);
        if driver.disk.has_crashed() {
            return Some(driver);
        }
    }
    driver.check();
    None
}

#[test]
fn a_crash_at_any_call_leaves_what_the_log_says() {
    let mut points = 0;
    for n in 1.. {
        let Some(driver) = fall_at(n) else { break };
        points += 1;
        let (disk, model) = driver.fall();
        for (i, how) in [Crash::KeepAll, Crash::LoseAll, Crash::Random(n)].into_iter().enumerate() {
            let down = disk.fork();
            down.crash(how);
            let before = down.calls();
            let driver = Driver::rise(SHAPE, down.fork(), model.clone(), n as u16, 0);
            let opening = driver.disk.calls() - before;
            assert!(opening > 3, "an opening switches to a fresh manifest");
            drop(driver);
            // Every call of the opening at some of the points, one of them in turn at the others.
            let again = if n % 15 == 5 * i as u64 { 1..=opening } else { 1 + n % opening..=1 + n % opening };
            for call in again {
                let driver = Driver::rise(SHAPE, down.fork(), model.clone(), n as u16, call);
                // What came up has been compared; that it works on is shown at some of the points.
                if (n + call).is_multiple_of(5) {
                    go_on(driver);
                }
            }
        }
    }
    assert!(points > 400, "{points} calls change the disk");
}

/// The tree that came up works on.
fn go_on(mut driver: Driver) {
    for op in workload().into_iter().take(24).chain([Op::Settle, Op::Check]) {
        driver.step(op);
    }
}

#[test]
fn the_workload_gets_as_far_as_it_should() {
    let mut driver = Driver::new(SHAPE);
    for op in workload() {
        driver.step(op);
    }
    let last = driver.tree().stats();
    driver.past.push(last);
    let sum = |of: fn(&Stats) -> u64| driver.past.iter().map(of).sum::<u64>();
    assert!(sum(|stats| stats.flushes) >= 30 && sum(|stats| stats.merges) > 15);
    assert!(sum(|stats| stats.superseded) > 50 && sum(|stats| stats.expired) > 5);
    assert!(driver.past.iter().any(|stats| stats.levels[3].runs > 0), "{:?}", driver.past);
}
