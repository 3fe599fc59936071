//! `bench report`: each workload beside its limit, measured in turns so that both see the same noise.

use super::args::{Consume, Latency, Limits, Pin, Produce, Report, Target};
use super::driver::Outcome;
use super::limits::Bench;
use super::stats::{median, shown};
use super::target::Workplace;
use super::{consume, latency, produce};
use crate::args::{Acks, Format, Global};
use crate::failure::Failure;
use crate::out::Out;
use crate::table::{Kind, Table};
use serde_json::json;
use std::cell::OnceCell;
use std::time::Duration;

/// A workload, the limit it is held against, and whether less is better.
struct Pair<'a> {
    name: &'static str,
    unit: &'static str,
    limit_name: &'static str,
    less_is_better: bool,
    limit: Box<dyn Fn() -> Result<f64, Failure> + 'a>,
    workload: Box<dyn Fn() -> Result<f64, Failure> + 'a>,
}

pub fn run(global: &Global, args: &Report, out: &mut Out) -> Result<(), Failure> {
    let bench = Bench::start(&args.limits)?;
    let runner = Runner { global, limits: &args.limits, broker_pid: args.broker_pid };
    let columns = [
        ("workload", Kind::Text),
        ("value", Kind::Number),
        ("unit", Kind::Text),
        ("limit", Kind::Number),
        ("ratio", Kind::Number),
        ("limit_is", Kind::Text),
    ];
    let mut table = Table::new(&columns);
    let number = |v: f64| if global.format() == Format::Table { json!(shown(v)) } else { json!(v) };
    for pair in pairs(&bench, &runner) {
        let (limit, value) = in_turns(&pair, bench.passes())?;
        let ratio = if pair.less_is_better { limit / value } else { value / limit };
        table.row(vec![
            json!(pair.name),
            number(value),
            json!(pair.unit),
            number(limit),
            number(ratio),
            json!(pair.limit_name),
        ]);
    }
    table.print(global.format(), out)
}

/// Medians of limit and workload. The first turn of both is thrown away: it meets cold caches.
fn in_turns(pair: &Pair<'_>, passes: usize) -> Result<(f64, f64), Failure> {
    let (mut limits, mut values) = (Vec::new(), Vec::new());
    for pass in 0..=passes {
        let (limit, value) = ((pair.limit)()?, (pair.workload)()?);
        if pass > 0 {
            limits.push(Ok(limit));
            values.push(Ok(value));
        }
    }
    Ok((median(limits.into_iter())?, median(values.into_iter())?))
}

struct Runner<'a> {
    global: &'a Global,
    limits: &'a Limits,
    broker_pid: Option<i32>,
}

impl Runner<'_> {
    /// A topic of its own. Where an ack comes from memory the topic leaves syncing to the system, or the figure would
    /// be that of two kinds of work.
    fn target(&self, acks: Acks, pin: Option<Pin>) -> Target {
        let config = match acks {
            Acks::Disk => Vec::new(),
            _ => vec![("flush.messages".to_owned(), i64::MAX.to_string())],
        };
        Target {
            topic: None,
            keep: false,
            partitions: 1,
            config,
            broker_pid: self.broker_pid,
            pin: pin.filter(|_| self.broker_pid.is_some()),
            warm: 0,
        }
    }

    /// Where one request is under way at a time, everything is put on one CPU: between two, each step would wait for
    /// the other to wake. Without the broker's process id it cannot be, so its limit is not either.
    fn pin(&self) -> Option<Pin> {
        self.broker_pid.map(|_| Pin::Same)
    }

    /// Prepared batches of 1 KiB records; bytes a second.
    fn batches(&self, batch_bytes: u64, in_flight: usize, acks: Acks) -> Result<f64, Failure> {
        let args = Produce {
            target: self.target(acks, None),
            size: 1000,
            batch_bytes,
            plain: false,
            acks,
            clients: 1,
            in_flight,
            duration: None,
            msgs: Some(self.limits.bytes / 1000),
        };
        let place = Workplace::prepare(self.global, &args.target)?;
        Ok(produce::publish(&place, &args)?.bytes_per_second() / 1e6)
    }

    /// One record of 100 B a request; records a second.
    fn plain(&self, clients: usize, in_flight: usize, acks: Acks) -> Result<f64, Failure> {
        let args = Produce {
            target: self.target(acks, None),
            size: 100,
            batch_bytes: 0,
            plain: true,
            acks,
            clients,
            in_flight,
            duration: Some(self.limits.duration),
            msgs: None,
        };
        let place = Workplace::prepare(self.global, &args.target)?;
        Ok(produce::publish(&place, &args)?.records_per_second())
    }

    /// Reads a topic that is filled at the first call; bytes a second.
    fn read_back(&self) -> impl Fn() -> Result<f64, Failure> {
        let args = Consume {
            target: self.target(Acks::Disk, None),
            bytes: self.limits.bytes,
            size: 1000,
            credit: 4 << 20,
            verify: false,
            passes: 1,
        };
        let filled = OnceCell::new();
        move || {
            if filled.get().is_none() {
                let place = Workplace::prepare(self.global, &args.target)?;
                consume::fill(&place, &args)?;
                // The cell was empty a line above, and this is one thread.
                let _ = filled.set(place);
            }
            let place = filled.get().expect("just filled");
            Ok(consume::read_all(place, &args)?.bytes_per_second() / 1e6)
        }
    }

    fn latency(&self, acks: Acks, pin: Option<Pin>) -> Result<Outcome, Failure> {
        let target = self.target(acks, pin);
        let args = Latency { target, size: 100, acks, rate: 0, clients: 1, duration: self.limits.duration };
        let place = Workplace::prepare(self.global, &args.target)?;
        latency::measure(&place, &args)
    }
}

fn us(outcome: &Outcome, percentile: f64) -> f64 {
    outcome.percentile(percentile).as_secs_f64() * 1e6
}

/// Round trips, durability, throughput: what leaves most for the system to write back comes last.
fn pairs<'a>(bench: &'a Bench, runner: &'a Runner<'a>) -> Vec<Pair<'a>> {
    let mut pairs = round_trips(bench, runner);
    pairs.extend(durability(bench, runner));
    pairs.extend(throughput(bench, runner));
    pairs
}

fn pair<'a>(
    (name, unit, limit_name): (&'static str, &'static str, &'static str),
    limit: impl Fn() -> Result<f64, Failure> + 'a,
    workload: impl Fn() -> Result<f64, Failure> + 'a,
) -> Pair<'a> {
    let (limit, workload) = (Box::new(limit), Box::new(workload));
    // Of the units here only times are better when smaller.
    Pair { name, unit, limit_name, less_is_better: unit == "us", limit, workload }
}

fn throughput<'a>(bench: &'a Bench, runner: &'a Runner<'a>) -> Vec<Pair<'a>> {
    vec![
        pair(
            ("publish, 64 KiB batches, 8 in flight, acks from memory", "MB/s", "socket to file, 64 KiB"),
            || Ok(bench.sink_64k()? / 1e6),
            || runner.batches(64 << 10, 8, Acks::Memory),
        ),
        pair(
            ("publish, 1 MB batches, 4 in flight, acks from memory", "MB/s", "socket to file, 1 MiB"),
            || Ok(bench.sink_1m()? / 1e6),
            || runner.batches(1_000_000, 4, Acks::Memory),
        ),
        pair(
            ("publish, 1 MB batches, 4 in flight, acks from disk", "MB/s", "socket to file, 1 MiB, no sync"),
            || Ok(bench.sink_1m()? / 1e6),
            || runner.batches(1_000_000, 4, Acks::Disk),
        ),
        pair(
            ("read back, subscription with 4 MiB of credit", "MB/s", "cached file to socket"),
            || Ok(bench.source()? / 1e6),
            runner.read_back(),
        ),
    ]
}

fn round_trips<'a>(bench: &'a Bench, runner: &'a Runner<'a>) -> Vec<Pair<'a>> {
    let pin = runner.pin();
    vec![
        pair(
            ("publish one at a time, 100 B, acks from memory", "/s", "echo, one at a time"),
            move || Ok(bench.ping_pong(pin)?.rate()),
            move || Ok(runner.latency(Acks::Memory, pin)?.rate()),
        ),
        pair(
            ("publish one at a time, 100 B, acks from memory, p50", "us", "echo, one at a time, p50"),
            move || Ok(us(&bench.ping_pong(pin)?, 50.0)),
            move || Ok(us(&runner.latency(Acks::Memory, pin)?, 50.0)),
        ),
        pair(
            ("publish one at a time, 100 B, acks from memory, p99", "us", "echo, one at a time, p99"),
            move || Ok(us(&bench.ping_pong(pin)?, 99.0)),
            move || Ok(us(&runner.latency(Acks::Memory, pin)?, 99.0)),
        ),
        pair(
            ("publish, 64 x 16 in flight, 100 B, acks from memory", "/s", "echo, 64 x 16"),
            || Ok(bench.echo_64x16()?.rate()),
            || runner.plain(64, 16, Acks::Memory),
        ),
    ]
}

fn durability<'a>(bench: &'a Bench, runner: &'a Runner<'a>) -> Vec<Pair<'a>> {
    let pin = runner.pin();
    vec![
        pair(
            ("publish one at a time, 100 B, acks from disk, p50", "us", "fdatasync after 4 KiB, p50"),
            move || Ok(us(&bench.sync(pin)?, 50.0)),
            move || Ok(us(&runner.latency(Acks::Disk, pin)?, 50.0)),
        ),
        pair(
            ("publish, 64 x 16 in flight, 100 B, acks from disk", "/s", "1024 records for each fdatasync"),
            || Ok(bench.sync(None)?.rate() * 1024.0),
            || runner.plain(64, 16, Acks::Disk),
        ),
    ]
}

/// What `bench report` takes at the least, for the line that is said before it starts.
pub fn expected(args: &Report) -> Duration {
    args.limits.duration * 12 * (args.limits.passes as u32 + 1)
}
