//! What `bench` can be told.

use crate::args::{Acks, parse_pair};
use crate::units::{parse_bytes, parse_duration};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// What this machine can do at best: sockets, page cache, echo round trips, fdatasync
    #[command(after_help = "Examples:
  krappyctl bench limits
  krappyctl bench limits --dir /var/lib/krappy --passes 7 --json")]
    Limits(Limits),
    /// Throughput of publishing
    #[command(after_help = "Examples:
  krappyctl bench produce --acks disk --clients 4 --duration 10s
  krappyctl bench produce --plain --size 100 --clients 64 --in-flight 16 --acks memory")]
    Produce(Produce),
    /// Throughput of reading what is stored in partition 0
    #[command(after_help = "Examples:
  krappyctl bench consume --bytes 1GiB
  krappyctl bench consume --topic orders --verify")]
    Consume(Consume),
    /// How long an ack takes: one at a time, or at a fixed rate
    #[command(after_help = "Examples:
  krappyctl bench latency --acks disk
  krappyctl bench latency --acks memory --rate 50000 --clients 16")]
    Latency(Latency),
    /// A compacted topic: load, gets, scan, watch, and what its view costs
    #[command(after_help = "Examples:
  krappyctl bench keyed --broker-pid $(pidof krappy) --pin same
  krappyctl bench keyed --records 10000000 --keys 1000000 --drop-caches")]
    Keyed(Keyed),
    /// Many idle connections and one busy one
    #[command(after_help = "Examples:
  krappyctl bench conns --idle 10000 --broker-pid $(pidof krappy)
  krappyctl bench conns --idle 1000 --json")]
    Conns(Conns),
    /// The broker beside the limits of the machine, measured in turns
    #[command(after_help = "Examples:
  krappyctl bench report
  krappyctl bench report --broker-pid $(pidof krappy) --passes 5 --json")]
    Report(Report),
    /// The other process of a limit; not for people
    #[command(hide = true)]
    Peer(Peer),
}

#[derive(Debug, Clone, Args)]
pub struct Limits {
    /// Folder for the files that are written, on the file system that is to be measured
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// Bytes moved by each pass of a throughput measurement
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = parse_bytes)]
    pub bytes: u64,
    /// Length of each pass of a round-trip measurement
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub duration: Duration,
    /// Passes of each measurement; the median is told
    #[arg(long, default_value_t = 5)]
    pub passes: usize,
    /// Put both ends of the echo on one CPU
    #[arg(long, value_enum)]
    pub pin: Option<Pin>,
    /// Touch this much memory first, so that no page is seen for the first time
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = parse_bytes)]
    pub warm: u64,
}

/// Which CPUs client and broker run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pin {
    // Both on one.
    Same,
}

#[derive(Debug, Clone, Args)]
pub struct Target {
    /// Use this topic instead of one that is made and deleted
    #[arg(long)]
    pub topic: Option<String>,
    /// Do not delete the topic afterwards
    #[arg(long)]
    pub keep: bool,
    /// Partitions of the topic that is made
    #[arg(long, default_value_t = 1)]
    pub partitions: i32,
    /// A setting of the topic that is made; may be repeated
    #[arg(short = 'c', long = "config", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub config: Vec<(String, String)>,
    /// Process id of the broker, for its memory and for --pin
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<i32>,
    /// Put client and broker (--broker-pid) on one CPU
    #[arg(long, value_enum, requires = "broker_pid")]
    pub pin: Option<Pin>,
    /// Touch this much memory first, so that no page is seen for the first time
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_bytes)]
    pub warm: u64,
}

#[derive(Debug, Clone, Args)]
pub struct Produce {
    #[command(flatten)]
    pub target: Target,
    /// Bytes of each value
    #[arg(long, value_name = "SIZE", default_value = "100", value_parser = parse_bytes)]
    pub size: u64,
    /// Bytes of each prepared batch
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = parse_bytes)]
    pub batch_bytes: u64,
    /// Send records one by one and let the broker make the batches
    #[arg(long)]
    pub plain: bool,
    /// What to wait for: nothing, the system's memory, or the disk
    #[arg(long, value_enum, default_value = "disk")]
    pub acks: Acks,
    /// Connections
    #[arg(long, default_value_t = 1)]
    pub clients: usize,
    /// Unanswered requests of each connection
    #[arg(long, default_value_t = 8)]
    pub in_flight: usize,
    /// How long; 5 s unless --msgs is given
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// How many records in all
    #[arg(long)]
    pub msgs: Option<u64>,
}

#[derive(Debug, Clone, Args)]
pub struct Consume {
    #[command(flatten)]
    pub target: Target,
    /// Bytes to store first; with --topic, what is there is read
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = parse_bytes)]
    pub bytes: u64,
    /// Bytes of each value that is stored first
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = parse_bytes)]
    pub size: u64,
    /// Bytes that may be on their way at a time
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = parse_bytes)]
    pub credit: u64,
    /// Check the CRC of every batch
    #[arg(long)]
    pub verify: bool,
    /// How often everything is read; the median is told
    #[arg(long, default_value_t = 5)]
    pub passes: usize,
}

#[derive(Debug, Clone, Args)]
pub struct Latency {
    #[command(flatten)]
    pub target: Target,
    /// Bytes of each value
    #[arg(long, value_name = "SIZE", default_value = "100", value_parser = parse_bytes)]
    pub size: u64,
    /// What to wait for: nothing, the system's memory, or the disk
    #[arg(long, value_enum, default_value = "disk")]
    pub acks: Acks,
    /// Records a second in all; 0 is one at a time on each connection
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// Connections
    #[arg(long, default_value_t = 1)]
    pub clients: usize,
    /// How long
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub duration: Duration,
}

#[derive(Debug, Clone, Args)]
pub struct Keyed {
    #[command(flatten)]
    pub target: Target,
    /// Records to load; 0 measures what an earlier run has loaded (--topic, with the same --keys and --order)
    #[arg(long, default_value_t = 1_000_000)]
    pub records: u64,
    /// Different keys
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// In which order the keys come, round after round
    #[arg(long, value_enum, default_value = "random")]
    pub order: Order,
    /// Bytes of each prepared batch
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = parse_bytes)]
    pub batch_bytes: u64,
    /// Unanswered batches while loading
    #[arg(long, default_value_t = 8)]
    pub in_flight: usize,
    /// What to wait for: nothing, the system's memory, or the disk
    #[arg(long, value_enum, default_value = "memory")]
    pub acks: Acks,
    /// Connections of the runs over many
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    /// How long each run of gets, puts or pings is
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    pub duration: Duration,
    /// How long to wait at the most until the view is flushed and merged
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_duration)]
    pub settle: Duration,
    /// Measure gets and scan once more with the system's caches dropped; needs root, on the broker's machine
    #[arg(long)]
    pub drop_caches: bool,
}

/// The order of the keys within a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    Random,
    Sequential,
}

#[derive(Debug, Clone, Args)]
pub struct Conns {
    #[command(flatten)]
    pub target: Target,
    /// Idle connections
    #[arg(long, default_value_t = 1000)]
    pub idle: usize,
    /// How long the busy connection is measured, before and with the idle ones
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    pub duration: Duration,
}

#[derive(Debug, Clone, Args)]
pub struct Report {
    #[command(flatten)]
    pub limits: Limits,
    /// Process id of the broker, for --pin
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<i32>,
}

/// A process that a limit is measured against.
#[derive(Debug, Clone, Args)]
pub struct Peer {
    /// What it does with a connection
    #[arg(value_enum)]
    pub role: Role,
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// Bytes read from or written to a socket at a time
    #[arg(long, default_value_t = 262_144)]
    pub chunk: usize,
    /// Size of the file that is served
    #[arg(long, default_value_t = 0)]
    pub bytes: u64,
    /// CPU to run on
    #[arg(long)]
    pub cpu: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Socket to file, with CRC-32C of every byte
    Sink,
    /// Cached file to socket
    Source,
    /// Socket to socket, one thread and epoll
    Echo,
}
