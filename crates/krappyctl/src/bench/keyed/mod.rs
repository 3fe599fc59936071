//! `bench keyed`: a compacted topic is loaded, its view comes to rest, and then everything is read that can be read.

mod figures;
mod load;
mod reads;
mod records;

use super::args::{Keyed, Order, Target};
use super::driver::{self, Conn, Outcome, Pace, Template, Until, broken};
use super::stats::{Measure, mb};
use super::sys::{self, Pinned};
use super::target::{STREAM, Workplace, cannot, meaning};
use crate::args::{Acks, Global};
use crate::failure::{Failure, USAGE};
use figures::{Figures, settle};
use krappy_wire::native::{Head, Request};
use reads::Pass;
use records::{KEY, Records, VALUE};

/// How often everything is read.
const PASSES: usize = 5;

pub fn run(global: &Global, args: &Keyed) -> Result<Vec<Measure>, Failure> {
    if args.drop_caches {
        sys::drop_caches().map_err(|e| {
            Failure::new(USAGE, format!("cannot drop the system's caches: {e}"))
                .hint("run as root on the broker's machine, or leave --drop-caches out")
        })?;
    }
    if args.records == 0 && args.target.topic.is_none() {
        return Err(Failure::new(USAGE, "nothing is loaded and there is no topic")
            .hint("name one that was kept with --topic, or give --records"));
    }
    let place = Workplace::prepare(global, &target(args))?;
    let records = Records::new(args.keys, args.order == Order::Random);
    let loaded = if args.records == 0 { args.keys } else { args.records };
    let mut bench = Bench { place, args, records, loaded, measures: Vec::new() };
    bench.memory("memory before")?;
    bench.load()?;
    bench.warm_reads()?;
    bench.cold_reads()?;
    bench.puts()?;
    bench.memory("memory after")?;
    Ok(bench.measures)
}

/// The topic that is made is compacted; the cleaner leaves it alone for a day, and where acks come from memory it
/// leaves syncing to the system, or the figures would be those of two kinds of work. Only single runs are pinned, not
/// the load with its workers.
fn target(args: &Keyed) -> Target {
    let mut target = args.target.clone();
    let mut set = |name: &str, value: String| {
        if !target.config.iter().any(|(known, _)| known == name) {
            target.config.push((name.into(), value));
        }
    };
    set("cleanup.policy", "compact".into());
    set("min.compaction.lag.ms", "86400000".into());
    if args.acks != Acks::Disk {
        set("flush.messages", i64::MAX.to_string());
    }
    target.pin = None;
    target
}

struct Bench<'a> {
    place: Workplace,
    args: &'a Keyed,
    records: Records,
    /// How many records are there, as far as keys are concerned.
    loaded: u64,
    measures: Vec<Measure>,
}

impl Bench<'_> {
    fn tell(&mut self, name: &str, value: f64, unit: &'static str, note: &str) {
        self.measures.push(Measure::new(name, value, unit, note));
    }

    fn memory(&mut self, name: &str) -> Result<(), Failure> {
        if let Some(pid) = self.args.target.broker_pid {
            let resident = sys::resident(pid).map_err(|e| cannot("read the broker's memory", &e))?;
            self.tell(name, resident as f64 / 1e6, "MB", "the broker's, resident");
        }
        Ok(())
    }

    fn load(&mut self) -> Result<(), Failure> {
        if self.args.records == 0 {
            return Ok(());
        }
        let before = Figures::of(&self.place)?;
        let elapsed = load::load(&self.place, self.args, &self.records)?;
        let rested = settle(&self.place, self.args.settle)?;
        let seconds = elapsed.as_secs_f64();
        let bytes = self.args.records as f64 * (KEY + VALUE) as f64;
        self.tell("load", self.args.records as f64 / seconds, "/s", meaning(self.args.acks));
        self.measures.push(mb("load bytes", bytes / seconds, "of keys and values"));
        let note =
            if rested.is_some() { "until flushes and merges had come to rest" } else { "and not at rest" };
        self.tell("settled after", rested.unwrap_or(self.args.settle).as_secs_f64(), "s", note);
        self.sizes(&before, bytes)?;
        self.memory("memory loaded")
    }

    fn sizes(&mut self, before: &Figures, bytes: f64) -> Result<(), Failure> {
        let after = Figures::of(&self.place)?;
        let log: u64 =
            self.place.admin().describe_topic(&self.place.topic)?.partitions.iter().map(|p| p.bytes).sum();
        let view = after.since(before, "view_bytes");
        let live = (self.args.records.min(self.args.keys) * (KEY + VALUE) as u64) as f64;
        let written =
            after.since(before, "view_flushed_bytes") + after.since(before, "view_merged_out_bytes");
        self.tell("log", log as f64 / 1e6, "MB", "segment files");
        self.tell("view", view / 1e6, "MB", &format!("{} run files", after.since(before, "view_runs")));
        self.tell(
            "memtables",
            after.since(before, "view_memtable_bytes") / 1e6,
            "MB",
            "not in run files yet",
        );
        self.tell("space amplification", view / live, "x", "run files to newest keys and values");
        self.tell(
            "write amplification",
            written / bytes,
            "x",
            "flushed and merged to loaded, without the log",
        );
        Ok(())
    }

    /// Single gets beside pings, then scan and watch.
    fn warm_reads(&mut self) -> Result<(), Failure> {
        let before = Figures::of(&self.place)?;
        let (hit, miss, ping) = (self.hit(), self.miss(), ping());
        let many = self.args.clients;
        for clients in [1, many] {
            for (name, template) in [("ping", &ping), ("get hit", &hit), ("get miss", &miss)] {
                let outcome = self.closed(clients, template)?;
                self.timed(&format!("{name}, {clients} conn"), &outcome);
            }
        }
        let after = Figures::of(&self.place)?;
        let per_get = |name: &str| after.since(&before, name) / after.since(&before, "gets").max(1.0);
        self.tell("blocks per get", per_get("view_run_looks"), "", "hits and misses; none from a memtable");
        self.tell("runs spared per get", per_get("view_filter_hits"), "", "by their filters");
        self.tell("runs in vain per get", per_get("view_filter_misses"), "", "the filter said maybe");
        self.passes("scan", reads::scan)?;
        self.passes("watch", reads::watch)
    }

    fn cold_reads(&mut self) -> Result<(), Failure> {
        if !self.args.drop_caches {
            return Ok(());
        }
        for (name, template, clients) in [
            ("cold get hit", self.hit(), 1),
            ("cold get hit", self.hit(), self.args.clients),
            ("cold get miss", self.miss(), 1),
        ] {
            forget()?;
            let outcome = self.closed(clients, &template)?;
            self.timed(&format!("{name}, {clients} conn"), &outcome);
        }
        forget()?;
        self.pass("cold scan", reads::scan(&self.place)?);
        Ok(())
    }

    /// The last of all, because they change what is in the view.
    fn puts(&mut self) -> Result<(), Failure> {
        if self.args.acks == Acks::None {
            return Ok(());
        }
        let template = reads::put(self.args.acks, self.records, self.loaded);
        let outcome = self.drive(vec![self.place.producer()?], &template)?;
        self.timed("put, 1 conn", &outcome);
        Ok(())
    }

    fn hit(&self) -> Template {
        reads::get_hit(&self.place.topic, self.records, self.loaded)
    }

    fn miss(&self) -> Template {
        reads::get_miss(&self.place.topic, self.records)
    }

    /// One request under way on each of so many connections.
    fn closed(&self, clients: usize, template: &Template) -> Result<Outcome, Failure> {
        let connect = |_| Conn::new(self.place.connect()?).map_err(|e| broken(&e));
        self.drive((0..clients.max(1)).map(connect).collect::<Result<_, _>>()?, template)
    }

    fn drive(&self, mut conns: Vec<Conn>, template: &Template) -> Result<Outcome, Failure> {
        let target = &self.args.target;
        let pinned = target.pin.filter(|_| conns.len() == 1).map(|_| Pinned::to_one_cpu(target.broker_pid));
        let _pinned = pinned.transpose().map_err(|e| cannot("pin", &e))?;
        let until = Until { requests: u64::MAX, duration: self.args.duration };
        driver::run(&mut conns, template, Pace::Closed { in_flight: 1 }, until, true)
    }

    fn timed(&mut self, name: &str, outcome: &Outcome) {
        let us = |p: f64| outcome.percentile(p).as_secs_f64() * 1e6;
        self.tell(&format!("{name} p50"), us(50.0), "us", "");
        self.tell(&format!("{name} p99"), us(99.0), "us", "");
        self.tell(&format!("{name} rate"), outcome.rate(), "/s", "");
    }

    /// The middle one of several, because one takes less than a second and anything may come in between.
    fn passes(&mut self, name: &str, read: fn(&Workplace) -> Result<Pass, Failure>) -> Result<(), Failure> {
        let mut passes = (0..PASSES).map(|_| read(&self.place)).collect::<Result<Vec<_>, _>>()?;
        passes.sort_by_key(|pass| pass.elapsed);
        self.pass(name, passes[PASSES / 2]);
        Ok(())
    }

    fn pass(&mut self, name: &str, pass: Pass) {
        let seconds = pass.elapsed.as_secs_f64();
        self.tell(name, pass.rows as f64 / seconds, "rows/s", &format!("{} rows", pass.rows));
        self.measures.push(mb(&format!("{name} bytes"), pass.bytes as f64 / seconds, "of keys and values"));
        self.tell(&format!("{name} time"), seconds * 1e3, "ms", "");
    }
}

fn ping() -> Template {
    let mut frame = Vec::new();
    Request::Ping.encode(Head { stream: STREAM, correlation: 0 }, &mut frame);
    Template::new(frame)
}

fn forget() -> Result<(), Failure> {
    sys::drop_caches().map_err(|e| cannot("drop the system's caches", &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_by_hand_stays() {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            args: Keyed,
        }
        let config = |line: &[&str]| target(&Line::parse_from(line).args).config;
        let value = |line: &[&str], name: &str| {
            let mut values = config(line).into_iter().filter(|(known, _)| known == name);
            (values.next().map(|(_, value)| value), values.count())
        };
        assert_eq!(value(&["x"], "cleanup.policy"), (Some("compact".into()), 0));
        let both = ["x", "-c", "cleanup.policy=compact,delete"];
        assert_eq!(value(&both, "cleanup.policy"), (Some("compact,delete".into()), 0));
        assert_eq!(value(&["x"], "flush.messages"), (Some(i64::MAX.to_string()), 0));
        assert_eq!(value(&["x", "--acks", "disk"], "flush.messages"), (None, 0));
    }
}
