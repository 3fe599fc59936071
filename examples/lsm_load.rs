//! Loads a tree with random records and reads them back, on the real disk and on one thread, so that each part's own
//! cost shows.
//!
//! ```sh
//! cargo run --release --example lsm_load -- [RECORDS] [KEYS] [FOLDER]
//! ```

use std::error::Error;
use std::ops::AddAssign;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use krappy::disk::Disk;
use krappy::disk::real::RealDisk;
use krappy::lsm::{Access, Entry, Floors, Found, KeyRange, Kind, Options, Stats, Step, Tree};

const VALUE: usize = 100;
/// Of a key, in bytes.
const KEY: u64 = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let records: u64 = args.next().map_or(Ok(2_000_000), |text| text.parse())?;
    let keys: u64 = args.next().map_or(Ok(records), |text| text.parse())?;
    let folder = args.next().map_or_else(std::env::temp_dir, Into::into);
    let folder = folder.join(format!("krappy-lsm-load-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let ran = run(&folder, records, keys);
    std::fs::remove_dir_all(&folder)?;
    ran
}

fn run(folder: &Path, records: u64, keys: u64) -> Result<(), Box<dyn Error>> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let tree = Tree::create(disk.clone(), Arc::from(folder.join("view")), Options::default(), 0)?;
    let mut load = Load { tree, disk, rng: Rng(1), end: 0, time: Time::default() };
    load.fill(records, keys)?;
    load.report(records);
    load.read(keys);
    load.tree.close(load.end)?;
    Ok(())
}

#[derive(Default)]
struct Time {
    insert: Duration,
    flush: Duration,
    flush_most: Duration,
    taken_most: Duration,
    merge: Duration,
    step_most: Duration,
}

struct Load {
    tree: Tree,
    disk: Arc<dyn Disk>,
    rng: Rng,
    end: i64,
    time: Time,
}

impl Load {
    fn fill(&mut self, records: u64, keys: u64) -> Result<(), Box<dyn Error>> {
        let mut value = [0; VALUE];
        let mut begun = Instant::now();
        for _ in 0..records {
            self.rng.fill(&mut value);
            let key = key(self.rng.next() % keys);
            self.tree.insert(Entry { key: &key, seq: self.end, kind: Kind::Put, value: &value });
            self.end += 1;
            if self.tree.is_full() {
                self.time.insert += begun.elapsed();
                self.flush_and_merge()?;
                begun = Instant::now();
            }
        }
        self.time.insert += begun.elapsed();
        self.flush_and_merge()
    }

    fn flush_and_merge(&mut self) -> Result<(), Box<dyn Error>> {
        let mut sum = Duration::ZERO;
        self.tree.freeze(self.end);
        while let Some(flush) = self.tree.begin_flush(self.end) {
            let done = timed(&mut self.time.flush, &mut self.time.flush_most, || flush.run(&*self.disk));
            timed(&mut sum, &mut self.time.taken_most, || self.tree.flushed(done))?;
        }
        while let Some(mut merge) = self.tree.begin_merge(Floors::NONE) {
            let done = loop {
                match timed(&mut self.time.merge, &mut self.time.step_most, || merge.step(&*self.disk)) {
                    Step::More(more) => merge = more,
                    Step::Done(done) => break done,
                }
            };
            timed(&mut sum, &mut self.time.taken_most, || self.tree.merged(done))?;
        }
        Ok(())
    }

    fn report(&self, records: u64) {
        let (stats, time) = (self.tree.stats(), &self.time);
        let rate = |time: Duration| records as f64 / time.as_secs_f64() / 1e6;
        let user = records * (KEY + VALUE as u64);
        println!("{records} records of {KEY}+{VALUE} bytes");
        println!("  insert {:6.2} M/s", rate(time.insert));
        println!("  flush  {:6.2} M/s, longest {:.0?}", rate(time.flush), time.flush_most);
        println!("  merge  {:6.2} M/s, longest step {:.0?}", rate(time.merge), time.step_most);
        println!("  all    {:6.2} M/s", rate(time.insert + time.flush + time.merge));
        println!("  longest hand-over on the loop {:.0?}", time.taken_most);
        let merged = mib(stats.merged_out_bytes) / time.merge.as_secs_f64();
        println!("  merges wrote {:.0} MiB, {merged:.0} MiB/s", mib(stats.merged_out_bytes));
        println!("  write amplification {:.2}", written(&stats) as f64 / user as f64);
        for (level, figures) in stats.levels.iter().enumerate().filter(|(_, figures)| figures.runs > 0) {
            println!("  level {level}: {} runs, {:.1} MiB", figures.runs, mib(figures.bytes));
        }
    }

    fn read(&mut self, keys: u64) {
        let reads = 200_000;
        let mut found = Found::default();
        for (name, offset) in [("hits", 0), ("misses", 1 << 40)] {
            let (mut is_found, begun) = (0, Instant::now());
            for _ in 0..reads {
                let key = key(self.rng.next() % keys + offset);
                let got = self.tree.get(&key, i64::MAX, Access::Blocking, &mut found, None);
                is_found += u64::from(got.expect("reads succeed"));
            }
            println!("  get, {name}: {:.2?} each, {is_found} of {reads} found", begun.elapsed() / reads);
        }
        for reverse in [false, true] {
            let (mut entries, mut bytes, begun) = (0, 0, Instant::now());
            let mut iter = self.tree.iter(&KeyRange::all(), i64::MAX, reverse, Access::Blocking);
            while let Some(entry) = iter.next().expect("reads succeed") {
                entries += 1;
                bytes += (entry.key.len() + entry.value.len()) as u64;
            }
            let seconds = begun.elapsed().as_secs_f64();
            let way = if reverse { "backward" } else { "forward" };
            let rate = entries as f64 / seconds / 1e6;
            println!("  scan {way}: {entries} keys, {rate:.2} M/s, {:.0} MiB/s", mib(bytes) / seconds);
        }
    }
}

fn timed<T>(sum: &mut Duration, most: &mut Duration, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    sum.add_assign(begun.elapsed());
    *most = begun.elapsed().max(*most);
    result
}

fn written(stats: &Stats) -> u64 {
    stats.flushed_bytes + stats.merged_out_bytes
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Spread over the key space, so that neighbours in time are none in order.
fn key(n: u64) -> [u8; KEY as usize] {
    let text = format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    text.into_bytes().try_into().expect("sixteen digits")
}

/// A small generator (xorshift64*).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Half random, so that it resembles values that people store.
    fn fill(&mut self, value: &mut [u8; VALUE]) {
        for part in value[..VALUE / 2].chunks_mut(8) {
            part.copy_from_slice(&self.next().to_be_bytes()[..part.len()]);
        }
    }
}
