//! `bench conns`: what idle connections cost, in the broker's memory and in the latency of a busy one.

use super::args::{Conns, Latency};
use super::driver::Outcome;
use super::latency::measure;
use super::stats::Measure;
use super::sys;
use super::target::{Workplace, cannot, settle};
use crate::args::{Acks, Global};
use crate::failure::{Failure, USAGE};
use std::time::Duration;

/// What was measured, alone and beside the idle connections.
struct Compared {
    alone: Outcome,
    among: Outcome,
    /// Resident memory of the broker, bytes, if its process is known.
    before: Option<u64>,
    after: Option<u64>,
}

pub fn run(global: &Global, args: &Conns) -> Result<Vec<Measure>, Failure> {
    let limit = sys::raise_file_limit();
    if args.idle as u64 + 64 > limit {
        return Err(Failure::new(
            USAGE,
            format!("{} connections are above the limit of {limit} files", args.idle),
        ));
    }
    let compared = compare(&Workplace::prepare(global, &args.target)?, args)?;
    let us = |d: Duration| d.as_secs_f64() * 1e6;
    let beside = format!("beside {} idle connections", args.idle);
    let (alone, among) = (&compared.alone, &compared.among);
    let mut measures = vec![
        Measure::new("p50 alone", us(alone.percentile(50.0)), "us", "one record at a time, acks from memory"),
        Measure::new("p50", us(among.percentile(50.0)), "us", &beside),
        Measure::new("p99 alone", us(alone.percentile(99.0)), "us", ""),
        Measure::new("p99", us(among.percentile(99.0)), "us", &beside),
    ];
    if let (Some(before), Some(after)) = (compared.before, compared.after) {
        let each = after.saturating_sub(before) as f64 / args.idle.max(1) as f64;
        measures.push(Measure::new(
            "memory of an idle connection",
            each,
            "B",
            "growth of the broker's memory",
        ));
        measures.push(Measure::new("broker memory", after as f64 / 1e6, "MB", "resident, with all of them"));
    }
    Ok(measures)
}

fn compare(place: &Workplace, args: &Conns) -> Result<Compared, Failure> {
    let busy = Latency {
        target: args.target.clone(),
        size: 100,
        acks: Acks::Memory,
        rate: 0,
        clients: 1,
        duration: args.duration,
    };
    let pid = args.target.broker_pid;
    let resident = || pid.map(sys::resident).transpose().map_err(|e| cannot("read the broker's memory", &e));
    let alone = measure(place, &busy)?;
    let before = resident()?;
    let idle = (0..args.idle).map(|_| place.connect()).collect::<Result<Vec<_>, _>>()?;
    // The broker has accepted them all when it answers one that came after them.
    settle(place.producer()?)?;
    let after = resident()?;
    let among = measure(place, &busy)?;
    drop(idle);
    Ok(Compared { alone, among, before, after })
}
