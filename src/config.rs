//! What the broker is told at start: settings and limits, each with its name, default, bounds and meaning.
//!
//! Invariant: [`table`] is the only place where a setting is named. Flags, environment, file, `krappy config print`,
//! the commented file and the manual all come from it, so none of them can differ from what the broker does.
//!
//! [`value`] reads and writes single values, [`topic`] holds the settings that a topic may have of its own,
//! [`mod@load`] decides which source wins, [`text`] writes it all down for people, and [`mod@line`] for clients that
//! ask.

pub mod line;
pub mod load;
pub mod nearest;
pub mod table;
pub mod text;
pub mod topic;
pub mod value;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use line::{SettingLine, SettingSource};
pub use load::{Given, Loaded, Source, load, parse_file};
pub use topic::{Cleanup, Compression, TopicOverrides, TopicSettings};
pub use value::Address;

/// How long things may take and how large they may grow. Each says whom it protects and what happens at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `max.connections`: beyond it a new connection is accepted and closed at once.
    pub max_connections: usize,
    /// `socket.request.max.bytes`: largest frame; a larger one closes the connection.
    pub max_frame: u32,
    /// `queued.max.request.bytes`: bytes of half-read frames, all connections; at it a large frame is not read on.
    pub input_budget: usize,
    /// `max.in.flight`: unanswered requests of one connection; at it the connection is not read. Long polls do not
    /// count.
    pub max_in_flight: usize,
    /// `max.streams`: streams registered on one connection; at it a registration is refused.
    pub max_streams: usize,
    /// `output.limit.bytes`: unsent bytes of one connection; at it its requests are not read.
    pub output_limit: usize,
    /// `unflushed.max.bytes`: appended bytes not yet durable, all partitions; at it publishing connections are not
    /// read.
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
    /// `disk.min.free.bytes`: free bytes on the disk below which nothing is published; 0 switches this off.
    pub min_free: u64,
    /// `view.memtable.bytes`: newest records of a compacted partition that are kept in memory; at it they are written
    /// to a run file.
    pub view_memtable: usize,
    /// `view.replay.bytes`: log that a start reads for the view of one partition before it serves; more is left to the
    /// workers.
    pub view_replay: u64,
    /// `view.memory.bytes`: the same of all partitions together; at it the largest is written to a run file.
    pub view_memory: usize,
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
            fetch_max_bytes: 1 << 20,
            fetch_max_wait_ms: 60_000,
            request_receive_ms: 30_000,
            idle_ms: 600_000,
            write_stall_ms: 30_000,
            turn_read: 256 << 10,
            max_topics: 10_000,
            max_partitions: 20_000,
            min_free: 64 << 20,
            view_memtable: 16 << 20,
            view_memory: 256 << 20,
            view_replay: 64 << 20,
            drain_ms: 10_000,
        }
    }
}

/// What `group.consumer.assignors` may be: ways to share out partitions, the default one first.
pub const ASSIGNORS: &[&str] = &["uniform,range", "range,uniform", "uniform", "range"];

/// What holds for all consumer groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`: a member that asks for less is refused.
    pub min_session_timeout_ms: u32,
    /// `group.max.session.timeout.ms`: a member that asks for more is refused.
    pub max_session_timeout_ms: u32,
    /// `group.initial.rebalance.delay.ms`: how long the first member of a group waits for others.
    pub initial_rebalance_delay_ms: u32,
    /// `group.max.size`: members of a group.
    pub max_size: usize,
    /// `group.consumer.session.timeout.ms`: a member of a consumer group that is silent for so long is removed.
    pub consumer_session_timeout_ms: u32,
    /// `group.consumer.heartbeat.interval.ms`: how often such a member is to say something.
    pub consumer_heartbeat_interval_ms: u32,
    /// `group.consumer.max.size`: members of a consumer group.
    pub consumer_max_size: usize,
    /// `group.consumer.assignors`: its place in [`ASSIGNORS`].
    pub consumer_assignors: usize,
    /// `max.groups`: groups, with those that only have offsets.
    pub max_groups: usize,
    /// `group.memory.bytes`: about the memory of all groups' members.
    pub memory: usize,
    /// `offsets.topic.num.partitions`: partitions of the internal topic, when it is made.
    pub offsets_partitions: u32,
    /// `offsets.retention.minutes`: how long offsets of a group without members are kept; -1: for ever.
    pub offsets_retention_minutes: i64,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 0,
            max_size: 10_000,
            consumer_session_timeout_ms: 45_000,
            consumer_heartbeat_interval_ms: 5_000,
            consumer_max_size: 10_000,
            consumer_assignors: 0,
            max_groups: 100_000,
            memory: 64 << 20,
            offsets_partitions: 1,
            offsets_retention_minutes: -1,
        }
    }
}

/// What holds for all queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueConfig {
    /// `queue.acknowledge.timeout.ms`: how long a taker has, unless it asks for another time.
    pub acknowledge_timeout_ms: u32,
    /// `queue.max.delivery.attempts`: a record that was delivered so often goes to the dead letters.
    pub max_delivery_attempts: u32,
    /// `queue.max.in.flight`: open records of a group in a partition.
    pub max_in_flight: usize,
    /// `queue.max.partitions`: partitions that groups take from, each counted once for each group.
    pub max_partitions: usize,
    /// `queue.memory.bytes`: about the memory of all open records.
    pub memory: usize,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            acknowledge_timeout_ms: 30_000,
            max_delivery_attempts: 5,
            max_in_flight: 2_000,
            max_partitions: 10_000,
            memory: 64 << 20,
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
    /// `advertised.listeners`: what Kafka clients are told to connect to, instead of the address that they have
    /// reached.
    pub advertised: Option<Address>,
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
    /// `log.cleaner.backoff.ms`: how often the cleaner looks for something to do.
    pub cleaner_backoff_ms: u64,
    /// `log.cleaner.io.max.bytes.per.second`: how fast it goes through segments.
    pub cleaner_rate: u64,
    /// `producer.id.expiration.ms`: a producer that has appended nothing for this long is forgotten.
    pub producer_expiry_ms: i64,
    /// `on.fsync.error`: `exit` (true) or keep the other partitions going (false).
    pub exit_on_fsync_error: bool,
    /// `debug.sync.delay.ms`: every sync takes this much longer; for tests of slow disks.
    pub debug_sync_delay_ms: u64,
    /// Consumer groups.
    pub group: GroupConfig,
    /// Queues.
    pub queue: QueueConfig,
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
            advertised: None,
            ephemeral: false,
            allow_insecure: false,
            auto_create: true,
            num_partitions: 1,
            retention_check_ms: 300_000,
            cleaner_backoff_ms: 15_000,
            cleaner_rate: 64 << 20,
            producer_expiry_ms: 24 * 3_600_000,
            exit_on_fsync_error: true,
            debug_sync_delay_ms: 0,
            group: GroupConfig::default(),
            queue: QueueConfig::default(),
            topic: TopicSettings::default(),
            limits: Limits::default(),
        }
    }
}
