//! Settings and limits, each with its name, default and bounds. Placeholder: the table that drives flags, environment,
//! file, `config print` and docs belongs here.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Settings of one topic, under Kafka's names. A topic stores only what was set for it; the rest comes from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSettings {
    /// `segment.bytes`: a segment file is rolled before it grows past this.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment is rolled when its first record is older than this, in milliseconds.
    pub segment_ms: u64,
    /// `retention.bytes`: sealed segments beyond this many bytes are deleted; -1 keeps them.
    pub retention_bytes: i64,
    /// `retention.ms`: sealed segments whose newest record is older are deleted; -1 keeps them.
    pub retention_ms: i64,
    /// `flush.messages`: 1 means an ack of `all` waits for the disk; larger is an explicit opt-out.
    pub flush_messages: u64,
    /// `flush.ms`: with `flush.messages` above 1, sync at the latest after this many milliseconds. i64::MAX is never.
    pub flush_ms: i64,
    /// `max.message.bytes`: largest record batch, in bytes.
    pub max_message_bytes: u32,
    /// `index.interval.bytes`: an index entry at most every so many bytes.
    pub index_interval_bytes: u32,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            retention_ms: 7 * 24 * 3_600_000,
            flush_messages: 1,
            flush_ms: i64::MAX,
            max_message_bytes: 1_048_588,
            index_interval_bytes: 4096,
        }
    }
}

/// How long things may take and how large they may grow. Each says whom it protects and what happens at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `max.connections`: beyond it a new connection is accepted and closed at once.
    pub max_connections: usize,
    /// `socket.request.max.bytes`: largest frame; a larger one closes the connection.
    pub max_frame: u32,
    /// `queued.max.request.bytes`: bytes of half-read frames, all connections; at it a large frame is not read on.
    pub input_budget: usize,
    /// `max.in.flight`: unanswered requests of one connection; at it the connection is not read. Long polls do not count.
    pub max_in_flight: usize,
    /// `max.streams`: streams registered on one connection; at it a registration is refused.
    pub max_streams: usize,
    /// `output.limit.bytes`: unsent bytes of one connection; at it its requests are not read.
    pub output_limit: usize,
    /// `unflushed.max.bytes`: appended bytes not yet durable, all partitions; at it publishing connections are not read.
    pub unflushed_budget: u64,
    /// `fetch.max.bytes`: most bytes of one Records reply (a first batch that is larger comes whole).
    pub fetch_max_bytes: usize,
    /// `fetch.max.wait.ms`: longest long poll.
    pub fetch_max_wait_ms: u32,
    /// `request.receive.ms`: a frame that has begun must be whole after this long, or the connection is closed.
    pub request_receive_ms: u64,
    /// `connections.max.idle.ms`: a connection without requests, and without a long poll or subscription, is closed.
    pub idle_ms: u64,
    /// `write.stall.ms`: a client that takes no byte of its output for this long is closed.
    pub write_stall_ms: u64,
    /// `turn.read.bytes`: most bytes read from one connection in one turn; fairness.
    pub turn_read: usize,
    /// `max.topics`: topics; at it creation is refused.
    pub max_topics: usize,
    /// `max.partitions`: partitions, all topics; at it creation is refused.
    pub max_partitions: usize,
    /// `drain.ms`: after SIGTERM, connections have this long to take what they are owed.
    pub drain_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 20_000,
            max_frame: 16 << 20,
            input_budget: 256 << 20,
            max_in_flight: 1024,
            max_streams: 16_384,
            output_limit: 8 << 20,
            unflushed_budget: 256 << 20,
            fetch_max_bytes: 8 << 20,
            fetch_max_wait_ms: 60_000,
            request_receive_ms: 30_000,
            idle_ms: 600_000,
            write_stall_ms: 30_000,
            turn_read: 256 << 10,
            max_topics: 10_000,
            max_partitions: 20_000,
            drain_ms: 10_000,
        }
    }
}

/// Everything the broker is told at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `data.dir`.
    pub data_dir: PathBuf,
    /// `listen`: addresses; port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// `--ephemeral`: a temporary data folder that is removed at exit, and a free port.
    pub ephemeral: bool,
    /// `--allow-insecure`: without it, listening beyond loopback is refused while there is no authentication.
    pub allow_insecure: bool,
    /// `auto.create.topics.enable`.
    pub auto_create: bool,
    /// `num.partitions`: partitions of a topic that is created without a count.
    pub num_partitions: u32,
    /// `log.retention.check.interval.ms`: how often retention looks.
    pub retention_check_ms: u64,
    /// `on.fsync.error`: `exit` (true) or keep the other partitions going (false).
    pub exit_on_fsync_error: bool,
    /// Settings of topics that do not set their own.
    pub topic: TopicSettings,
    /// Bounds.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("krappy-data"),
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 9092))],
            ephemeral: false,
            allow_insecure: false,
            auto_create: true,
            num_partitions: 1,
            retention_check_ms: 300_000,
            exit_on_fsync_error: true,
            topic: TopicSettings::default(),
            limits: Limits::default(),
        }
    }
}
