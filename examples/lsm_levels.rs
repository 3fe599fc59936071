//! What `levels.rs` does to a tree over a long load, without a disk: prints the tree's shape and what it costs.
//!
//! ```sh
//! cargo run --example lsm_levels
//! ```
//!
//! A run is here a sorted list of keys with a sequence number, all entries are equally large, and a merge happens at
//! once. The sizes are a 256th of the real ones, their proportions the same. The same program prints the same figures.

use std::collections::{BTreeMap, HashMap};

use krappy::lsm::LEVELS;
use krappy::lsm::levels::{self, Options, RunShape};

/// Bytes of an entry: a key of 16 bytes, a value of 100, and what a block adds.
const ENTRY: u64 = 128;
const RECORDS: u64 = 1_000_000;
const KEYS: u64 = 500_000;

fn main() {
    println!(
        "{RECORDS} records of {ENTRY} bytes; memtable 64 KiB, level 1 256 KiB, runs 32 KiB, factor 10\n"
    );
    report("uniform over 500,000 keys", 1, |rng, _| (rng.below(KEYS), true));
    report("skewed: 90 % of the writes to 1 % of 500,000 keys", 2, |rng, _| {
        let hot = rng.below(10) < 9;
        (if hot { 97 * rng.below(5_000) } else { rng.below(KEYS) }, true)
    });
    report("sequential: every key once", 3, |_, i| (i, true));
    report("delete-heavy: half of the writes delete, over 500,000 keys", 4, |rng, _| {
        (rng.below(KEYS), rng.below(2) == 0)
    });
}

/// Runs one load and prints what became of the tree.
fn report(name: &str, seed: u64, mut load: impl FnMut(&mut Rng, u64) -> (u64, bool)) {
    let mut tree = Tree::default();
    let mut rng = Rng(seed);
    for i in 0..RECORDS {
        let (key, put) = load(&mut rng, i);
        tree.insert(key as u32, put);
    }
    println!("{name}");
    for (level, runs) in tree.levels.iter().enumerate().filter(|(_, runs)| !runs.is_empty()) {
        let entries: usize = runs.iter().map(|r| r.entries.len()).sum();
        println!("  level {level}: {:5} runs {:8} entries {:7.1} MiB", runs.len(), entries, mib(entries));
    }
    let stored: usize = tree.levels.iter().flatten().map(|r| r.entries.len()).sum();
    let reads = tree.levels[0].len() + tree.levels[1..].iter().filter(|runs| !runs.is_empty()).count();
    println!(
        "  write amplification {:5.2}  (entries written to runs, for each one inserted)",
        tree.write_amp()
    );
    println!(
        "  space amplification {:5.2}  (entries stored, for each live key)",
        stored as f64 / tree.live() as f64
    );
    println!("  read amplification  {reads:5}  (runs whose filter a get asks, at most)");
    println!(
        "  {} flushes, {} merges, {} moves; largest merge {:.1} MiB, most runs on level 0: {}\n",
        tree.flushes,
        tree.merges,
        tree.moves,
        mib(tree.largest),
        tree.most_l0
    );
}

fn mib(entries: usize) -> f64 {
    entries as f64 * ENTRY as f64 / f64::from(1 << 20)
}

#[derive(Debug, Clone, Copy)]
struct Version {
    key: u32,
    put: bool,
}

struct Run {
    number: u64,
    smallest: [u8; 4],
    largest: [u8; 4],
    entries: Vec<Version>,
}

impl Run {
    fn shape(&self) -> RunShape<'_> {
        let bytes = self.entries.len() as u64 * ENTRY;
        RunShape { number: self.number, bytes, smallest: &self.smallest, largest: &self.largest }
    }
}

/// A tree of lists. A source lists its keys once each, because nothing pins old versions here.
#[derive(Default)]
struct Tree {
    active: BTreeMap<u32, bool>,
    levels: Vec<Vec<Run>>,
    live: HashMap<u32, bool>,
    next_number: u64,
    inserted: usize,
    unflushed: usize,
    written: usize,
    flushes: u64,
    merges: u64,
    moves: u64,
    largest: usize,
    most_l0: usize,
}

impl Tree {
    fn options() -> Options {
        Options { memtable_bytes: 64 << 10, level_base: 256 << 10, run_bytes: 32 << 10, ..Options::default() }
    }

    fn insert(&mut self, key: u32, put: bool) {
        self.active.insert(key, put);
        self.live.insert(key, put);
        self.inserted += 1;
        self.unflushed += 1;
        // Versions that hide each other weigh, too, until the flush drops them.
        if self.unflushed as u64 * ENTRY >= Tree::options().memtable_bytes as u64 {
            self.unflushed = 0;
            self.flush();
            while self.merge() {}
        }
    }

    fn flush(&mut self) {
        let entries = std::mem::take(&mut self.active).into_iter().map(|(key, put)| Version { key, put });
        let run = self.run(entries.collect());
        self.levels.resize_with(LEVELS, Vec::new);
        self.levels[0].insert(0, run);
        self.most_l0 = self.most_l0.max(self.levels[0].len());
        self.flushes += 1;
    }

    /// One merge, if the tree wants one.
    fn merge(&mut self) -> bool {
        let Some(plan) = levels::next(&self.shape(), &Tree::options()) else { return false };
        let target = plan.target();
        let moved = self.take(plan.level, &plan.moved);
        let under = self.take(target, &plan.under);
        if plan.is_move() {
            self.moves += 1;
            self.levels[target].extend(moved);
        } else {
            self.merges += 1;
            let bottom = self.levels[target + 1..].iter().all(Vec::is_empty);
            let merged = newest(under.into_iter().chain(moved.into_iter().rev()), bottom);
            self.largest = self.largest.max(merged.len());
            for part in merged.chunks((Tree::options().run_bytes / ENTRY) as usize) {
                let run = self.run(part.to_vec());
                self.levels[target].push(run);
            }
        }
        self.levels[target].sort_by_key(|run| run.smallest);
        assert!(self.levels[target].is_sorted_by(|a, b| a.largest < b.smallest), "runs overlap");
        true
    }

    fn shape(&self) -> Vec<Vec<RunShape<'_>>> {
        self.levels.iter().map(|runs| runs.iter().map(Run::shape).collect()).collect()
    }

    fn take(&mut self, level: usize, numbers: &[u64]) -> Vec<Run> {
        self.levels[level].extract_if(.., |run| numbers.contains(&run.number)).collect()
    }

    fn run(&mut self, entries: Vec<Version>) -> Run {
        self.written += entries.len();
        self.next_number += 1;
        let key = |at: usize| entries[at].key.to_be_bytes();
        Run { number: self.next_number, smallest: key(0), largest: key(entries.len() - 1), entries }
    }

    fn write_amp(&self) -> f64 {
        self.written as f64 / self.inserted as f64
    }

    fn live(&self) -> usize {
        self.live.values().filter(|put| **put).count()
    }
}

/// The newest version of each key; `runs` come from the oldest to the newest. Tombstones go at the bottom.
fn newest(runs: impl Iterator<Item = Run>, bottom: bool) -> Vec<Version> {
    let mut all: Vec<Version> = Vec::new();
    runs.for_each(|run| all.extend(run.entries));
    // Stable, so of a key the newest is the last.
    all.sort_by_key(|version| version.key);
    let mut kept: Vec<Version> = Vec::with_capacity(all.len());
    for version in all {
        kept.pop_if(|last| last.key == version.key);
        kept.push(version);
    }
    kept.retain(|version| version.put || !bottom);
    kept
}

/// A small generator (xorshift64*), so that the figures are the same everywhere.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % n
    }
}
