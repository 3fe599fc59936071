//! `bench consume`: how fast what is stored comes back, by a subscription on one connection.

use super::args::{Consume, Produce};
use super::driver::{ask, broken, read_frame, refuse_errors};
use super::produce::publish;
use super::stats::{Measure, mb, median};
use super::target::{STREAM, Workplace};
use crate::args::{Acks, Global};
use crate::failure::{Failure, REFUSED};
use crate::signal;
use krappy_wire::batch::{Header, first};
use krappy_wire::native::{Head, Reply, Request, Start};
use std::cell::Cell;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What one pass over partition 0 brought.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    pub records: u64,
    /// Of batches as they travel.
    pub bytes: u64,
    pub elapsed: Duration,
}

impl Pass {
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.elapsed.as_secs_f64()
    }
}

/// Fills the topic, unless it is somebody's own.
pub fn fill(place: &Workplace, args: &Consume) -> Result<(), Failure> {
    if args.target.topic.is_some() {
        return Ok(());
    }
    let produce = Produce {
        target: args.target.clone(),
        size: args.size,
        batch_bytes: 256 << 10,
        plain: false,
        acks: Acks::Disk,
        clients: 1,
        in_flight: 4,
        duration: None,
        msgs: Some(args.bytes.div_ceil(args.size.max(1))),
    };
    publish(place, &produce).map(|_| ())
}

/// Reads partition 0 from its start to its end as it is now.
pub fn read_all(place: &Workplace, args: &Consume) -> Result<Pass, Failure> {
    let end = place.admin().describe_topic(&place.topic)?.partitions[0].high_watermark;
    let mut stream = place.connect()?;
    let head = Head { stream: STREAM, correlation: 1 };
    let register =
        Request::RegisterConsumer { topic: &place.topic, group: "", partition: 0, start: Start::Earliest };
    ask(&mut stream, head, &register)?;
    let credit = args.credit.clamp(1 << 10, 1 << 30) as u32;
    let mut owed = 0;
    send(&mut stream, head, &Request::Subscribe { credit })?;
    let (mut pass, mut payload) = (Pass { records: 0, bytes: 0, elapsed: Duration::ZERO }, Vec::new());
    let (started, mut position) = (Instant::now(), 0);
    while position < end {
        signal::check()?;
        let code = read_frame(&mut stream, &mut payload)?;
        refuse_errors(code, &payload)?;
        let before = pass.bytes;
        position = take(&payload, code, args.verify, &mut pass)?;
        owed += (pass.bytes - before) as u32;
        if owed >= credit / 4 {
            send(&mut stream, head, &Request::Credit { bytes: std::mem::take(&mut owed) })?;
        }
    }
    pass.elapsed = started.elapsed();
    Ok(pass)
}

fn send(stream: &mut TcpStream, head: Head, request: &Request<'_>) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    request.encode(head, &mut bytes);
    stream.write_all(&bytes).map_err(|e| broken(&e))
}

/// Counts what a Records reply holds and returns the position after it.
fn take(payload: &[u8], code: u16, verify: bool, pass: &mut Pass) -> Result<i64, Failure> {
    let bad = |what: String| Failure::new(REFUSED, what);
    let (_, body) = Head::read(payload).map_err(|e| bad(e.to_string()))?;
    let Ok(Some(Reply::Records { parts })) = Reply::decode(code, body) else {
        return Err(bad("the broker answers Subscribe with something else".into()));
    };
    let part = parts.first().ok_or_else(|| bad("a Records reply without a part".into()))?;
    if part.error != 0 {
        return Err(bad(format!("reading offset {} fails with error {}", part.position, part.error)));
    }
    let mut rest = part.batches;
    while !rest.is_empty() {
        let header = if verify { first(rest).map(|(h, _)| h) } else { Header::read(rest) };
        let header = header.map_err(|e| bad(format!("offset {}: {e}", part.position)))?;
        pass.records += header.record_count as u64;
        rest = rest.get(header.size()..).ok_or_else(|| bad("a batch that is cut".into()))?;
    }
    pass.bytes += part.batches.len() as u64;
    Ok(part.next)
}

pub fn run(global: &Global, args: &Consume) -> Result<Vec<Measure>, Failure> {
    let place = Workplace::prepare(global, &args.target)?;
    fill(&place, args)?;
    let records = Cell::new(0.0);
    let rate = median((0..args.passes.max(1)).map(|_| {
        let pass = read_all(&place, args)?;
        records.set(pass.records as f64 / pass.elapsed.as_secs_f64());
        Ok(pass.bytes_per_second())
    }))?;
    let note = format!(
        "subscription with {} B of credit, {}",
        args.credit,
        if args.verify { "every CRC checked" } else { "CRC not checked" }
    );
    Ok(vec![mb("batches", rate, &note), Measure::new("records", records.get(), "/s", "of the last pass")])
}
