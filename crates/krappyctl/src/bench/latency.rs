//! `bench latency`: one record a request, one at a time or at a fixed rate.

use super::args::Latency;
use super::driver::{self, Outcome, Pace, Until};
use super::stats::{Measure, latencies};
use super::target::{Workplace, meaning, plain};
use crate::args::{Acks, Global};
use crate::failure::{Failure, USAGE};

pub fn measure(place: &Workplace, args: &Latency) -> Result<Outcome, Failure> {
    if args.acks == Acks::None {
        return Err(Failure::new(USAGE, "without acks there is nothing to wait for"));
    }
    let mut conns = place.producers(args.clients.max(1))?;
    let pace = match args.rate {
        0 => Pace::Closed { in_flight: 1 },
        rate => Pace::Open { rate },
    };
    let until = Until { requests: u64::MAX, duration: args.duration };
    driver::run(&mut conns, &plain(args.acks, args.size as usize), pace, until, true)
}

pub fn run(global: &Global, args: &Latency) -> Result<Vec<Measure>, Failure> {
    let place = Workplace::prepare(global, &args.target)?;
    let outcome = measure(&place, args)?;
    let pace = match args.rate {
        0 => format!("closed loop of {}: latency hides queueing", args.clients),
        rate => format!("open loop at {rate}/s, counted from when each was due"),
    };
    let mut measures = vec![Measure::new("records", outcome.rate(), "/s", &pace)];
    measures.extend(latencies(&outcome));
    measures[1].note = meaning(args.acks).into();
    Ok(measures)
}
