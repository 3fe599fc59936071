//! The library `fjall` under the load of `krappyctl bench keyed`: the same keys and values in the same order, called in
//! this process, so without a socket between.
//!
//! It is set as suits it here: nothing is compressed, as values cannot be made smaller and the broker does not try
//! either; its cache holds everything, as the system's does for the broker; writes go to its journal without a sync, as
//! with acks from memory. The rest is its default.
//!
//! Invariant: what is timed is what the broker's benchmark times: making the records, writing them, until the last is
//! accepted; and what is read is looked at.

#[allow(dead_code)]
#[path = "../../crates/krappyctl/src/bench/keyed/records.rs"]
mod records;

use fjall::config::CompressionPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use records::{KEY, Records, VALUE};
use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Records that are written as one, about as many as the broker's benchmark puts into a batch.
const BATCH: u64 = 512;
/// Bytes of the library's cache.
const CACHE: u64 = 1 << 30;
/// A tree that has stayed the same for so long has settled.
const QUIET: Duration = Duration::from_millis(500);
/// And if it does not, this was long enough.
const SETTLE: Duration = Duration::from_secs(120);
/// How often everything is read.
const PASSES: usize = 5;

type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: krappy-bench-peers FOLDER [--records N] [--keys N] [--sequential] [--seconds N]
FOLDER is made, and must not be there before.";

struct Args {
    folder: PathBuf,
    records: u64,
    keys: u64,
    random: bool,
    /// How long each run of gets is.
    duration: Duration,
}

fn main() -> Outcome<()> {
    let args = parse(std::env::args().skip(1)).ok_or(USAGE)?;
    std::fs::create_dir(&args.folder)?;
    let records = Records::new(args.keys, args.random);
    let db = Database::builder(&args.folder).cache_size(CACHE).open()?;
    let options =
        || KeyspaceCreateOptions::default().data_block_compression_policy(CompressionPolicy::disabled());
    let keyspace = db.keyspace("records", options)?;
    load(&args, &records, &db, &keyspace)?;
    gets(&args, &records, &keyspace)?;
    scan(&keyspace)?;
    print("memory after", resident()? as f64 / 1e6, "MB");
    Ok(())
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Args> {
    let folder = words.next().filter(|word| !word.starts_with('-'))?.into();
    let duration = Duration::from_secs(2);
    let mut args = Args { folder, records: 1_000_000, keys: 100_000, random: true, duration };
    while let Some(word) = words.next() {
        let mut number = || words.next()?.parse::<u64>().ok().filter(|n| *n > 0);
        match &word[..] {
            "--records" => args.records = number()?,
            "--keys" => args.keys = number()?,
            "--seconds" => args.duration = Duration::from_secs(number()?),
            "--sequential" => args.random = false,
            _ => return None,
        }
    }
    Some(args)
}

/// One figure, as a line of JSON in the form of `krappyctl --json`.
fn print(measure: &str, value: f64, unit: &str) {
    println!("{{\"measure\":\"{measure}\",\"value\":{value},\"unit\":\"{unit}\"}}");
}

fn load(args: &Args, records: &Records, db: &Database, keyspace: &Keyspace) -> Outcome<()> {
    let started = Instant::now();
    for first in (0..args.records).step_by(BATCH as usize) {
        let mut batch = db.batch();
        for number in first..args.records.min(first + BATCH) {
            batch.insert(keyspace, records.key(number), records.value(number));
        }
        batch.commit()?;
    }
    let elapsed = started.elapsed().as_secs_f64();
    let bytes = (args.records * (KEY + VALUE) as u64) as f64;
    print("load", args.records as f64 / elapsed, "/s");
    print("load bytes", bytes / elapsed / 1e6, "MB/s");
    print("settled after", settle(db, keyspace).as_secs_f64(), "s");
    print("memory loaded", resident()? as f64 / 1e6, "MB");
    print("view", keyspace.disk_space() as f64 / 1e6, "MB");
    print("folder", size(&args.folder)? as f64 / 1e6, "MB");
    Ok(())
}

/// Waits until nothing is flushed or compacted any more; when that was.
fn settle(db: &Database, keyspace: &Keyspace) -> Duration {
    let shape = || (db.compactions_completed(), keyspace.table_count(), keyspace.disk_space());
    let busy = || db.active_compactions() > 0 || db.outstanding_flushes() > 0;
    let (started, mut last, mut since) = (Instant::now(), shape(), Duration::ZERO);
    while started.elapsed() < SETTLE && (busy() || started.elapsed() - since < QUIET) {
        std::thread::sleep(Duration::from_millis(50));
        let now = shape();
        if now != last || busy() {
            (last, since) = (now, started.elapsed());
        }
    }
    since
}

fn gets(args: &Args, records: &Records, keyspace: &Keyspace) -> Outcome<()> {
    timed("get hit", args.duration, |n| {
        let value = keyspace.get(records.some_key(n, args.records))?.ok_or("a key is missing")?;
        Ok(black_box(value.len()) == VALUE)
    })?;
    timed("get miss", args.duration, |n| Ok(keyspace.get(records.missing_key(n))?.is_none()))
}

/// One call after the other.
fn timed(name: &str, duration: Duration, get: impl Fn(u64) -> Outcome<bool>) -> Outcome<()> {
    let (started, mut nanos) = (Instant::now(), Vec::new());
    while started.elapsed() < duration {
        let asked = Instant::now();
        if !get(nanos.len() as u64)? {
            return Err(format!("{name}: another answer than it should be").into());
        }
        nanos.push(asked.elapsed().as_nanos() as u64);
    }
    let rate = nanos.len() as f64 / started.elapsed().as_secs_f64();
    nanos.sort_unstable();
    let us = |p: usize| nanos[(nanos.len() - 1) * p / 100] as f64 / 1e3;
    print(&format!("{name} p50"), us(50), "us");
    print(&format!("{name} p99"), us(99), "us");
    print(&format!("{name} rate"), rate, "/s");
    Ok(())
}

/// The middle one of several passes over everything.
fn scan(keyspace: &Keyspace) -> Outcome<()> {
    let mut passes = (0..PASSES).map(|_| pass(keyspace)).collect::<Outcome<Vec<_>>>()?;
    passes.sort_by_key(|(elapsed, ..)| *elapsed);
    let (elapsed, rows, bytes) = passes[PASSES / 2];
    let elapsed = elapsed.as_secs_f64();
    print("scan", rows as f64 / elapsed, "rows/s");
    print("scan bytes", bytes as f64 / elapsed / 1e6, "MB/s");
    print("scan time", elapsed * 1e3, "ms");
    Ok(())
}

/// How long it took to read all rows, how many there are, and how many bytes.
fn pass(keyspace: &Keyspace) -> Outcome<(Duration, u64, u64)> {
    let (started, mut rows, mut bytes, mut seen) = (Instant::now(), 0, 0, 0);
    for row in keyspace.iter() {
        let (key, value) = row.into_inner()?;
        rows += 1;
        bytes += (key.len() + value.len()) as u64;
        seen ^= value.last().unwrap_or(&0);
    }
    black_box(seen);
    Ok((started.elapsed(), rows, bytes))
}

/// Bytes of all files in a folder.
fn size(folder: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() { size(&entry.path())? } else { meta.len() };
    }
    Ok(sum)
}

/// Resident memory of this process, bytes.
fn resident() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}
