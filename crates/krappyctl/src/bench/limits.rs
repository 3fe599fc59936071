//! `bench limits`: what this machine can do at best, against which a broker's figures mean something.

use super::args::{Limits, Pin};
use super::driver::{self, Conn, Outcome, Pace, Template, Until, broken, histogram};
use super::peer::Running;
use super::stats::{Measure, mb, median};
use super::sys::{self, Pinned};
use super::target::cannot;
use crate::failure::{Failure, REFUSED};
use crate::signal;
use krappy_wire::frame;
use krappy_wire::native::code;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// More than any pass of fdatasync gets through, at 4 KiB each.
const WRITTEN_BEFORE: u64 = 64 << 20;

/// The limits, each measured on demand so that a workload can be measured in turns with it.
pub struct Bench {
    args: Limits,
    sink_small: Running,
    sink_large: Running,
    source: Running,
    echo: Running,
    echo_same: Running,
}

impl Bench {
    /// Starts the other processes and touches memory.
    pub fn start(args: &Limits) -> Result<Self, Failure> {
        sys::warm(args.warm);
        let dir = args.dir.to_str().ok_or_else(|| Failure::new(REFUSED, "--dir is not UTF-8"))?;
        let bytes = args.bytes.to_string();
        Ok(Self {
            args: args.clone(),
            sink_small: Running::start(&["sink", "--dir", dir, "--chunk", "262144"])?,
            sink_large: Running::start(&["sink", "--dir", dir, "--chunk", "1048576"])?,
            source: Running::start(&["source", "--dir", dir, "--chunk", "1048576", "--bytes", &bytes])?,
            echo: Running::start(&["echo"])?,
            echo_same: Running::start(&["echo", "--cpu", "0"])?,
        })
    }

    /// Bytes a second from a socket through a checksum into a file, 64 KiB at a time.
    pub fn sink_64k(&self) -> Result<f64, Failure> {
        self.sunk(&self.sink_small, 64 << 10)
    }

    /// The same, 1 MiB at a time.
    pub fn sink_1m(&self) -> Result<f64, Failure> {
        self.sunk(&self.sink_large, 1 << 20)
    }

    fn sunk(&self, sink: &Running, piece: usize) -> Result<f64, Failure> {
        let mut stream = sink.connect()?;
        let block: Vec<u8> = (0..piece).map(|i| i as u8).collect();
        let pieces = self.args.bytes.div_ceil(piece as u64);
        stream.read_exact(&mut [0]).map_err(|e| broken(&e))?;
        let started = Instant::now();
        for _ in 0..pieces {
            signal::check()?;
            stream.write_all(&block).map_err(|e| broken(&e))?;
        }
        stream.shutdown(Shutdown::Write).map_err(|e| broken(&e))?;
        stream.read_exact(&mut [0; 4]).map_err(|e| broken(&e))?;
        Ok((pieces * piece as u64) as f64 / started.elapsed().as_secs_f64())
    }

    /// Bytes a second from a cached file to a client that reads.
    pub fn source(&self) -> Result<f64, Failure> {
        let mut stream = self.source.connect()?;
        let mut buffer = vec![0; 256 << 10];
        let (started, mut total) = (Instant::now(), 0);
        loop {
            match stream.read(&mut buffer).map_err(|e| broken(&e))? {
                0 => return Ok(total as f64 / started.elapsed().as_secs_f64()),
                n => total += n,
            }
        }
    }

    /// Round trips of 100 bytes, one at a time. With `pin`, both ends on one CPU.
    pub fn ping_pong(&self, pin: Option<Pin>) -> Result<Outcome, Failure> {
        let pinned = pin.map(|_| Pinned::to_one_cpu(None)).transpose().map_err(|e| cannot("pin", &e))?;
        let peer = if pinned.is_some() { &self.echo_same } else { &self.echo };
        self.echoed(peer, 1, 1)
    }

    /// Round trips of 100 bytes, 64 connections with 16 on their way each.
    pub fn echo_64x16(&self) -> Result<Outcome, Failure> {
        self.echoed(&self.echo, 64, 16)
    }

    fn echoed(&self, peer: &Running, connections: usize, in_flight: usize) -> Result<Outcome, Failure> {
        let connect = || Conn::new(peer.connect()?).map_err(|e| broken(&e));
        let mut conns = (0..connections).map(|_| connect()).collect::<Result<Vec<_>, _>>()?;
        let mut bytes = Vec::new();
        frame::write(&mut bytes, code::PONG, |out| out.resize(100, 0));
        let until = Until { requests: u64::MAX, duration: self.args.duration };
        driver::run(&mut conns, &Template::new(bytes), Pace::Closed { in_flight }, until, true)
    }

    /// Latency of fdatasync after 4 KiB were appended to a growing file. With `pin`, on one CPU.
    pub fn sync(&self, pin: Option<Pin>) -> Result<Outcome, Failure> {
        let _pinned = pin.map(|_| Pinned::to_one_cpu(None)).transpose().map_err(|e| cannot("pin", &e))?;
        self.synced(0)
    }

    /// The same in a file whose blocks were written before, so that no journal commit is needed.
    pub fn sync_in_place(&self) -> Result<Outcome, Failure> {
        self.synced(WRITTEN_BEFORE)
    }

    fn synced(&self, written_before: u64) -> Result<Outcome, Failure> {
        let path = self.args.dir.join(format!("krappyctl-sync-{}.tmp", std::process::id()));
        let result = synced(&path, self.args.duration, written_before);
        // Made just now; that it is gone already is as good.
        let _ = std::fs::remove_file(&path);
        result.map_err(|e| cannot("sync a file", &e))
    }

    pub fn passes(&self) -> usize {
        self.args.passes.max(1)
    }
}

fn synced(path: &std::path::Path, duration: Duration, written_before: u64) -> std::io::Result<Outcome> {
    let mut file = File::create(path)?;
    for _ in 0..written_before.div_ceil(1 << 20) {
        file.write_all(&[0x5a; 1 << 20])?;
    }
    file.sync_all()?;
    file.rewind()?;
    let (block, mut latency, started) = ([0x5a; 4096], histogram(), Instant::now());
    let mut requests = 0;
    while started.elapsed() < duration {
        file.write_all(&block)?;
        let before = Instant::now();
        file.sync_data()?;
        latency.saturating_record(before.elapsed().as_nanos() as u64);
        requests += 1;
    }
    Ok(Outcome { requests, elapsed: started.elapsed(), latency })
}

/// Every limit, medians of several passes after one that is thrown away.
pub fn run(args: &Limits) -> Result<Vec<Measure>, Failure> {
    let bench = Bench::start(args)?;
    let median_of = |measure: &dyn Fn() -> Result<f64, Failure>| -> Result<f64, Failure> {
        measure()?;
        median((0..bench.passes()).map(|_| measure()))
    };
    let us = |o: &Outcome, p: f64| o.percentile(p).as_secs_f64() * 1e6;
    let same = Some(Pin::Same);
    let pinned = if args.pin.is_some() { "one CPU" } else { "free" };
    Ok(vec![
        mb(
            "socket to file, 64 KiB writes",
            median_of(&|| bench.sink_64k())?,
            "read 256 KiB, CRC-32C, pwrite",
        ),
        mb("socket to file, 1 MiB writes", median_of(&|| bench.sink_1m())?, "read 1 MiB, CRC-32C, pwrite"),
        mb("cached file to socket", median_of(&|| bench.source())?, "pread and write 1 MiB"),
        Measure::new(
            "echo, one at a time",
            median_of(&|| Ok(bench.ping_pong(args.pin)?.rate()))?,
            "/s",
            pinned,
        ),
        Measure::new(
            "echo, one at a time",
            median_of(&|| Ok(bench.ping_pong(same)?.rate()))?,
            "/s",
            "one CPU",
        ),
        Measure::new("echo p50", median_of(&|| Ok(us(&bench.ping_pong(same)?, 50.0)))?, "us", "one CPU"),
        Measure::new(
            "echo, 64 x 16 pipelined",
            median_of(&|| Ok(bench.echo_64x16()?.rate()))?,
            "/s",
            "100 B",
        ),
        Measure::new("fdatasync p50", median_of(&|| Ok(us(&bench.sync(None)?, 50.0)))?, "us", "4 KiB append"),
        Measure::new("fdatasync p99", median_of(&|| Ok(us(&bench.sync(None)?, 99.0)))?, "us", "4 KiB append"),
        Measure::new(
            "fdatasync in place p50",
            median_of(&|| Ok(us(&bench.sync_in_place()?, 50.0)))?,
            "us",
            "4 KiB over blocks that were written before",
        ),
    ])
}
