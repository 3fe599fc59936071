//! `krappy serve`: from settings to a running loop, what is said on the way, and the exit status at the end.
//!
//! Invariant: standard output gets exactly one line, `READY host:port`, at the moment the broker serves, and only when
//! it is no terminal; everything meant for people goes to standard error.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::broker::open::Opened;
use crate::broker::{Broker, OpenError};
use crate::config::Config;
use crate::disk::faulty::FaultyDisk;
use crate::disk::real::RealDisk;
use crate::disk::{Disk, Space};
use crate::os;
use crate::reactor::{Clock, Reactor, Stopped, bind};

/// The data folder cannot be used (sysexits.h: EX_DATAERR).
pub const EXIT_DATA: u8 = 65;
/// The address is taken (EX_UNAVAILABLE).
pub const EXIT_ADDRESS: u8 = 69;
/// The disk failed while serving (EX_IOERR).
pub const EXIT_IO: u8 = 74;

/// Serves until a signal ends it; the exit status.
pub fn serve(config: Config) -> u8 {
    let clock = Clock::start();
    start_log();
    os::raise_open_file_limit();
    let temporary = config.ephemeral.then(|| Temporary(config.data_dir.clone()));
    let listeners = match bind(&config.listen) {
        Ok(listeners) => listeners,
        Err(why) => return fail(EXIT_ADDRESS, &why),
    };
    let addresses: Vec<SocketAddr> = listeners.iter().filter_map(|l| l.local_addr().ok()).collect();
    let disk = open_disk(&config);
    let data_dir = config.data_dir.clone();
    let seed = u64::from_be_bytes(
        os::random_bytes().expect("the kernel gives random bytes")[..8].try_into().expect("8"),
    );
    let opened =
        make_parents(&data_dir).and_then(|()| Broker::open(config, Arc::clone(&disk), seed, clock.now()));
    let (broker, opened) = match opened {
        Ok(opened) => opened,
        Err(e @ OpenError::Io(..)) => return fail(EXIT_IO, &e.to_string()),
        Err(e) => return fail(EXIT_DATA, &e.to_string()),
    };
    log_recovery(&opened);
    let reactor = match Reactor::new(broker, Arc::clone(&disk), listeners, clock) {
        Ok(reactor) => reactor,
        Err(e) => return fail(EXIT_IO, &format!("the poll loop cannot be set up: {e}")),
    };
    announce(&data_dir, &opened, &addresses, disk.space(&data_dir).ok(), clock);
    let stopped = reactor.run();
    drop(temporary);
    farewell(stopped)
}

fn farewell(stopped: std::io::Result<Stopped>) -> u8 {
    match stopped {
        Ok(Stopped::Clean { connections }) => {
            log::info!("stopped: {connections} connections closed, everything is on disk");
            0
        }
        Ok(Stopped::Disk(why)) => {
            fail(EXIT_IO, &format!("{why}\n  the start after this one recovers what was acknowledged"))
        }
        Err(e) => fail(EXIT_IO, &format!("the stop was not clean: {e}")),
    }
}

fn fail(status: u8, why: &str) -> u8 {
    eprintln!("krappy: {why}");
    status
}

/// One line per event on standard error; level from `KRAPPY_LOG`, in the syntax of `env_logger`.
fn start_log() {
    let env = env_logger::Env::new().filter_or("KRAPPY_LOG", "info");
    env_logger::Builder::from_env(env).format_target(false).init();
}

fn open_disk(config: &Config) -> Arc<dyn Disk> {
    let real: Arc<dyn Disk> = Arc::new(RealDisk);
    match config.debug_sync_delay_ms {
        0 => real,
        ms => Arc::new(FaultyDisk::slow(real, Duration::from_millis(ms))),
    }
}

fn make_parents(data_dir: &Path) -> Result<(), OpenError> {
    match data_dir.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(parent) => std::fs::create_dir_all(parent).map_err(|e| OpenError::Io(parent.to_path_buf(), e)),
        None => Ok(()),
    }
}

/// The data folder of an ephemeral broker; it goes away with the value.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            log::warn!("{}: cannot be removed: {e}", self.0.display());
        }
    }
}

fn log_recovery(opened: &Opened) {
    for (dir, recovery) in &opened.recovered {
        log::warn!("{dir}: recovered: {recovery}");
    }
    for stranger in &opened.strangers {
        log::warn!("{stranger}: not made by krappy, left alone");
    }
}

fn announce(data_dir: &Path, opened: &Opened, addresses: &[SocketAddr], space: Option<Space>, clock: Clock) {
    let listening: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let state = state_of(opened, space);
    let us = clock.now().time.0;
    let took = format!("{}.{} ms", us / 1000, us % 1000 / 100);
    if std::io::stdout().is_terminal() {
        eprint!("{}", first_screen(data_dir, &state, &listening, &took));
        return;
    }
    log::info!("serving {} on {}; {state}; ready in {took}", data_dir.display(), listening.join(" "));
    let mut stdout = std::io::stdout().lock();
    // Whoever started the broker and closed its output does not want to know.
    let _ = writeln!(stdout, "READY {}", listening.first().map_or("", String::as_str))
        .and_then(|()| stdout.flush());
}

fn state_of(opened: &Opened, space: Option<Space>) -> String {
    let free = space.map_or(String::new(), |s| format!(", {} GiB free", s.free >> 30));
    if opened.new {
        return format!("new{free}");
    }
    let how = if opened.clean { "clean stop" } else { "after a crash, recovered" };
    format!("{} topics, {} records, {how}{free}", opened.topics, opened.records)
}

fn first_screen(data_dir: &Path, state: &str, listening: &[String], took: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let first = listening.first().map_or("", String::as_str);
    let broker = if first == "127.0.0.1:9092" { String::new() } else { format!(" --broker {first}") };
    format!(
        "krappy {version}  one process, one poll loop; an ack means on disk
  data     {}   {state}
  listen   {}   krappy's own clients and Kafka's (docs/KAFKA.md)
ready in {took}

try, in another terminal (krappyctl is: cargo run --release -p krappyctl --):
  echo hello | krappyctl{broker} produce greetings
  krappyctl{broker} tail greetings
open to this machine only: there are no users. Ctrl-C stops.
",
        data_dir.display(),
        listening.join(" "),
    )
}
