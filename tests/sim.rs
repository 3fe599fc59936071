//! The seeded simulation: the broker as it is, on a simulated disk, under simulated clients, with a history checker
//! that knows nothing of it. See `docs/TESTING.md`.

mod sim {
    pub mod admin;
    pub mod asker;
    pub mod audit;
    pub mod bench;
    pub mod churn;
    pub mod consumer;
    pub mod content;
    pub mod follower;
    pub mod groups {
        pub mod book;
        pub mod member;
        pub mod overseer;
    }
    pub mod history;
    pub mod kafka {
        pub mod asker;
        pub mod batch;
        pub mod client;
        pub mod fetcher;
        pub mod idempotent;
        pub mod offsets;
        pub mod plain;
        pub mod prank;
        pub mod produce;
        pub mod sweep;
        pub mod topics;
    }
    pub mod keyed_sweep;
    pub mod link;
    pub mod net;
    pub mod plan;
    pub mod producer;
    pub mod queues {
        pub mod book;
        pub mod letters;
        pub mod taker;
    }
    pub mod rude;
    pub mod sabotage;
    pub mod swapper;
    pub mod sweep;
    pub mod views;
    pub mod workers;
    pub mod world;
}

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use krappy::disk::sim::Crash;
use sim::kafka::prank::Prank;
use sim::keyed_sweep::{self, COMPACTED};
use sim::sabotage::Lie;
use sim::sweep::{self, PLAIN, Swept, sweep};
use sim::world::{Outcome, run, run_with};

/// Seeds of a run that is told nothing else.
const SEEDS: u64 = 2_000;
const THREADS: usize = 2;

fn env(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Runs a seed twice. A panic of the broker is a finding like any other.
fn run_twice(seed: u64) -> Result<Outcome, Vec<String>> {
    let attempt = || {
        catch_unwind(AssertUnwindSafe(|| run(seed)))
            .unwrap_or_else(|_| Err(vec!["the broker panicked".into()]))
    };
    let (first, second) = (attempt()?, attempt()?);
    if first != second {
        return Err(vec![format!("two runs differ:\n  {first:?}\n  {second:?}")]);
    }
    Ok(first)
}

fn add(sum: &mut Outcome, one: &Outcome) {
    sum.replies += one.replies;
    sum.steps += one.steps;
    sum.records += one.records;
    sum.facts += one.facts;
    sum.power_cuts += one.power_cuts;
    sum.kills += one.kills;
    sum.clean_stops += one.clean_stops;
    sum.recovery_crashes += one.recovery_crashes;
    sum.disk_errors += one.disk_errors;
    sum.breaks += one.breaks;
    sum.flushes += one.flushes;
    sum.merges += one.merges;
    sum.view_failures += one.view_failures;
    sum.not_ready += one.not_ready;
    sum.cleaned += one.cleaned;
    sum.rots += one.rots;
    sum.commits += one.commits;
    sum.rebalances += one.rebalances;
    sum.moves += one.moves;
    sum.deliveries += one.deliveries;
    sum.taken += one.taken;
    sum.acknowledged += one.acknowledged;
    sum.letters += one.letters;
}

#[test]
fn no_seed_contradicts_what_is_promised() {
    let seeds = env("KRAPPY_SIM_SEEDS").unwrap_or(SEEDS);
    let first = env("KRAPPY_SIM_FIRST").unwrap_or(1);
    let began = Instant::now();
    let next = AtomicU64::new(first);
    let work = || {
        let mut sum = Outcome::default();
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return (sum, failed);
            }
            match run_twice(seed) {
                Ok(outcome) => add(&mut sum, &outcome),
                Err(found) => failed.push((seed, found)),
            }
        }
    };
    let mut sum = Outcome::default();
    let mut failed = Vec::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            let (part, mut bad) = thread.join().expect("panics are caught");
            add(&mut sum, &part);
            failed.append(&mut bad);
        }
    });
    failed.sort();
    println!("{seeds} seeds twice in {:.1} s: {sum:?}", began.elapsed().as_secs_f64());
    for (seed, found) in failed.iter().take(20) {
        println!("seed {seed}: {}", found.join("\n    "));
        println!("  KRAPPY_SIM_SEED={seed} cargo test --test sim one_seed -- --nocapture");
    }
    assert!(failed.is_empty(), "{} of {seeds} seeds failed", failed.len());
    if seeds >= SEEDS {
        let groups = [sum.commits, sum.rebalances, sum.deliveries];
        let queues = [sum.taken, sum.acknowledged, sum.letters];
        let mut happened = groups.into_iter().chain(queues);
        let enough = happened.all(|count| count > 1_000) && sum.moves > 50;
        assert!(enough, "too little has happened: {sum:?}");
    }
}

/// Seeds that have found something, and are beyond those that every run goes through.
#[test]
fn what_was_found_once_is_not_found_again() {
    for seed in [3947, 4841] {
        assert_eq!(run_twice(seed).err(), None, "seed {seed}");
    }
}

/// Runs the seed of `KRAPPY_SIM_SEED`, or the first, and says what happened.
#[test]
fn one_seed() {
    let seed = env("KRAPPY_SIM_SEED").unwrap_or(1);
    match run_twice(seed) {
        Ok(outcome) => println!("seed {seed}: {outcome:?}"),
        Err(found) => panic!("seed {seed}:\n{}", found.join("\n")),
    }
}

/// The first of so many seeds that notices a planted bug.
fn noticed(lie: Lie, seeds: u64) -> Option<u64> {
    // An assertion of the broker notices it as well.
    let notices =
        |seed| catch_unwind(|| run_with(seed, Some(lie), None)).map_or(true, |result| result.is_err());
    (1..=seeds).find(|&seed| notices(seed))
}

#[test]
fn a_sync_that_is_not_made_is_noticed() {
    assert!(noticed(Lie::NoSync, 20).is_some());
}

#[test]
fn an_ack_of_what_was_written_after_the_sync_began_is_noticed() {
    assert!(noticed(Lie::LateWrite, 20).is_some());
}

#[test]
fn a_name_that_is_not_made_durable_is_noticed() {
    assert!(noticed(Lie::NoDirSync, 200).is_some());
}

#[test]
fn a_manifest_of_a_view_that_is_not_synced_is_noticed() {
    assert!(noticed(Lie::NoManifestSync, 100).is_some());
}

#[test]
fn a_run_file_that_is_not_synced_is_noticed() {
    assert!(noticed(Lie::NoRunSync, 100).is_some());
}

#[test]
fn a_name_in_a_view_that_is_not_made_durable_is_noticed() {
    assert!(noticed(Lie::NoViewDirSync, 100).is_some());
}

/// Whether one of so many seeds notices a planted bug, and says what it is in these words.
fn is_called(words: &str, lie: Option<Lie>, prank: Option<Prank>, seeds: u64) -> bool {
    let says = |seed| run_with(seed, lie, prank).is_err_and(|found| found[0].contains(words));
    (1..=seeds).any(says)
}

#[test]
fn an_idempotent_record_that_is_appended_twice_after_a_restart_is_noticed() {
    assert!(is_called("was sent 1 times and is at", Some(Lie::NoProducers), None, 200));
}

#[test]
fn a_producer_id_that_is_handed_out_twice_is_noticed() {
    assert!(is_called("not for the first time", Some(Lie::OldBootEpoch), None, 50));
}

#[test]
fn a_commit_that_is_confirmed_and_not_synced_is_noticed() {
    assert!(is_called("is read from", Some(Lie::NoCommitSync), None, 500));
}

#[test]
fn a_member_that_begins_one_record_too_far_is_noticed() {
    assert!(is_called("is read from", Some(Lie::CommitsAhead), None, 100));
}

#[test]
fn two_members_that_read_one_partition_are_noticed() {
    assert!(is_called("at a time", Some(Lie::Clings), None, 100));
}

#[test]
fn a_partition_that_nobody_gets_any_more_is_noticed() {
    assert!(is_called("no end", Some(Lie::Hoards), None, 100));
}

#[test]
fn an_acknowledgement_that_is_confirmed_and_not_synced_is_noticed() {
    assert!(is_called("was ended for good", Some(Lie::NoQueueSync), None, 500));
}

#[test]
fn a_record_that_no_taker_is_given_is_noticed() {
    assert!(is_called("nobody acknowledged it", Some(Lie::QueuesAhead), None, 500));
}

#[test]
fn a_dead_letter_that_is_not_synced_is_noticed() {
    assert!(is_called("nobody acknowledged it", Some(Lie::NoLetterSync), None, 500));
}

#[test]
fn a_record_that_two_takers_hold_is_noticed() {
    assert!(is_called("and held", Some(Lie::Clings), None, 500));
}

#[test]
fn produce_requests_that_overtake_one_another_are_noticed() {
    assert!(is_called("is taken for", None, Some(Prank::Requests), 50));
}

#[test]
fn answers_that_overtake_one_another_are_noticed() {
    assert!(is_called("is answered by", None, Some(Prank::Answers), 50));
}

#[test]
fn an_answer_with_the_offset_of_another_batch_is_noticed() {
    assert!(is_called(" held ", None, Some(Prank::Results), 50));
}

#[test]
fn a_crash_at_every_call_of_a_workload_and_of_its_recovery_loses_nothing_that_was_promised() {
    let began = Instant::now();
    let ways = [Crash::KeepAll, Crash::LoseAll, Crash::Random(1), Crash::Random(2), Crash::Random(3)];
    report(&sweep(PLAIN, &ways, 23), began);
}

#[test]
fn a_crash_at_every_call_breaks_no_promise_to_kafka_clients() {
    let began = Instant::now();
    let swept = sim::kafka::sweep::crash_at_every_call(5);
    assert!(swept.calls > 100 && swept.second_crashes > 20, "the workload is too small: {swept:?}");
    report(&swept, began);
}

#[test]
fn a_crash_at_every_call_that_changes_a_compacted_topic_leaves_a_view_that_says_what_the_log_says() {
    let began = Instant::now();
    let ways = [Crash::KeepAll, Crash::LoseAll, Crash::Random(1)];
    let swept = sweep(COMPACTED, &ways, 61);
    let [flushes, merges, cleaned, switches] = swept.background;
    println!("{flushes} flushes, {merges} merges, {cleaned} records cleaned, {switches} manifests switched");
    assert!(flushes > 8 && merges > 1 && cleaned > 8 && switches > 0, "the workload is too small to be one");
    report(&swept, began);
}

#[test]
fn a_view_comes_back_after_any_call_has_failed() {
    let began = Instant::now();
    let swept = keyed_sweep::fail_at_every_call();
    println!("{} views broke", swept.broken);
    assert!(swept.broken > 0, "no view has noticed");
    report(&swept, began);
}

#[test]
fn a_view_that_is_made_again_knows_what_it_does_not_know_any_more() {
    assert_eq!(keyed_sweep::a_view_made_again_from_a_cleaned_log(), [""; 0]);
}

#[test]
fn a_view_that_fails_again_while_it_is_made_again_is_made_from_the_whole_log() {
    assert_eq!(keyed_sweep::a_view_is_made_again_twice(), [""; 0]);
}

#[test]
fn a_view_that_was_flushed_before_its_log_was_durable_is_noticed() {
    assert_eq!(keyed_sweep::a_flush_before_the_log_is_durable(None), [""; 0]);
    assert!(!keyed_sweep::a_flush_before_the_log_is_durable(Some(Lie::NoSync)).is_empty());
}

fn report(swept: &Swept, began: Instant) {
    println!(
        "{} calls, {} crashes, {} second crashes in {:.1} s",
        swept.calls,
        swept.crashes,
        swept.second_crashes,
        began.elapsed().as_secs_f64()
    );
    assert!(
        swept.found.is_empty(),
        "{} found:\n{}",
        swept.found.len(),
        swept.found[..swept.found.len().min(20)].join("\n")
    );
}

#[test]
fn a_topic_is_removed_after_the_jobs_that_write_to_its_folder() {
    assert_eq!(sweep::a_folder_is_removed_after_the_jobs_that_write_to_it(), [""; 0]);
}

#[test]
fn a_stop_is_not_clean_while_a_job_is_under_way() {
    assert!(sweep::a_broker_is_busy_while_jobs_are_under_way());
}

#[test]
fn a_producer_is_recognised_where_a_power_cut_took_back_what_another_had_written() {
    assert_eq!(sweep::a_producers_file_of_lost_records_is_forgotten(), [""; 0]);
}

#[test]
fn a_batch_that_is_sent_again_before_the_original_is_written_shares_its_fate() {
    assert_eq!(sweep::a_batch_sent_twice_has_one_fate(), [""; 0]);
}
