//! `bench produce`.

use super::args::Produce;
use super::driver::{self, Outcome, Pace, Until};
use super::stats::{Measure, latencies, mb};
use super::target::{Workplace, meaning, plain, prepared, settle};
use crate::args::{Acks, Global};
use crate::failure::Failure;
use std::time::{Duration, Instant};

/// What a run wrote.
pub struct Produced {
    pub outcome: Outcome,
    pub records: u64,
    /// Of values alone.
    pub bytes: u64,
    pub elapsed: Duration,
}

impl Produced {
    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64()
    }

    pub fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.elapsed.as_secs_f64()
    }
}

/// All connections publish, spread over the partitions of the workplace's topic.
pub fn publish(place: &Workplace, args: &Produce) -> Result<Produced, Failure> {
    let size = args.size as usize;
    let (template, per_request) = if args.plain {
        (plain(args.acks, size), 1)
    } else {
        prepared(args.acks, size, args.batch_bytes as usize)
    };
    let mut conns = place.producers(args.clients.max(1))?;
    let until = Until {
        requests: args.msgs.map_or(u64::MAX, |n| n.div_ceil(per_request)),
        duration: args.duration.unwrap_or(if args.msgs.is_some() {
            Duration::MAX
        } else {
            Duration::from_secs(5)
        }),
    };
    let started = Instant::now();
    let pace = Pace::Closed { in_flight: args.in_flight.max(1) };
    let outcome = driver::run(&mut conns, &template, pace, until, args.acks != Acks::None)?;
    if args.acks == Acks::None {
        // What the sockets took is not what the broker has read.
        conns.into_iter().try_for_each(settle)?;
    }
    let (records, elapsed) = (outcome.requests * per_request, started.elapsed());
    Ok(Produced { records, bytes: records * args.size, elapsed, outcome })
}

pub fn run(global: &Global, args: &Produce) -> Result<Vec<Measure>, Failure> {
    let place = Workplace::prepare(global, &args.target)?;
    let produced = publish(&place, args)?;
    let shape = if args.plain {
        format!("{} x {} in flight, one record of {} B a request", args.clients, args.in_flight, args.size)
    } else {
        format!("{} x {} in flight, batches of {} B", args.clients, args.in_flight, args.batch_bytes)
    };
    let mut measures = vec![
        Measure::new("records", produced.records_per_second(), "/s", &shape),
        mb("values", produced.bytes_per_second(), meaning(args.acks)),
        Measure::new("requests", produced.outcome.requests as f64, "", ""),
    ];
    if args.acks != Acks::None {
        measures.extend(latencies(&produced.outcome));
    }
    Ok(measures)
}
