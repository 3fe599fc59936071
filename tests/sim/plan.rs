//! What a seed decides before the first step: topics, limits, clients, and how often what goes wrong.

use std::path::PathBuf;

use krappy::config::{Config, Limits, TopicSettings};
use krappy::disk::sim::Rng;

use super::history::{History, Promise, Topic};

/// Keys of the records of a compacted topic.
pub const KEYS: u64 = 12;

/// A topic that is made at the beginning and stays.
#[derive(Clone)]
pub struct TopicPlan {
    pub name: &'static str,
    pub partitions: i32,
    pub settings: Vec<(&'static str, String)>,
    pub promise: Promise,
    /// Whether it keeps a view by key.
    pub compacted: bool,
    /// `flush.ms`, if the topic syncs by time.
    pub flush_ms: Option<u64>,
    /// Whether somebody deletes records.
    pub trims: bool,
    /// Its number in the history.
    pub topic: Topic,
}

/// Everything that a seed decides in advance.
pub struct Plan {
    pub topics: Vec<TopicPlan>,
    pub config: Config,
    /// Whether anything goes wrong at all; one seed in four is left in peace.
    pub faults: bool,
    /// Starts of the broker, at most.
    pub boots: u32,
    pub workers: usize,
    pub slowest_job: u64,
    /// Probability that a read finds its bytes not in memory.
    pub cold: f64,
    /// One step in so many breaks a connection; 0 is never.
    pub breaks: u64,
    /// Largest capacity of a pipe, bytes.
    pub pipe: u64,
    pub producers: u32,
    pub consumers: u32,
    pub rude: u32,
    /// Whether there are compacted topics.
    pub compacts: bool,
    /// Clients that ask by key, that watch, and that publish on conditions.
    pub askers: u32,
    pub followers: u32,
    pub swappers: u32,
    /// Kafka clients.
    pub kafka: KafkaPlan,
    /// Consumer groups.
    pub groups: Vec<GroupPlan>,
    /// Queues.
    pub queues: Vec<QueuePlan>,
    /// Operations of each client.
    pub ops: u32,
}

/// How many Kafka clients of each kind there are. One seed in seven has some.
#[derive(Default)]
pub struct KafkaPlan {
    pub idempotent: u32,
    pub plain: u32,
    pub fetchers: u32,
    pub askers: u32,
}

impl KafkaPlan {
    fn new(seed: u64) -> KafkaPlan {
        if !seed.is_multiple_of(7) {
            return KafkaPlan::default();
        }
        let rng = &mut Rng::new(seed ^ 0x006b_6166_6b61);
        KafkaPlan {
            idempotent: 1 + rng.below(2) as u32,
            plain: rng.below(3) as u32,
            fetchers: 1 + rng.below(2) as u32,
            askers: rng.below(2) as u32,
        }
    }
}

/// A consumer group. One seed in five has one or two.
pub struct GroupPlan {
    pub name: &'static str,
    pub members: u32,
    /// Where nothing was committed, its members begin at the end.
    pub from_end: bool,
}

impl GroupPlan {
    fn all(seed: u64) -> Vec<GroupPlan> {
        let rng = &mut Rng::new(seed ^ 0x6772_6f75_7073);
        if rng.below(5) > 0 {
            return Vec::new();
        }
        let names = ["readers", "others"].into_iter().take(1 + rng.below(2) as usize);
        let group = |name| GroupPlan { name, members: 1 + rng.below(3) as u32, from_end: rng.below(5) == 0 };
        names.map(group).collect()
    }
}

/// A group that takes from a queue. One seed in five has one or two.
pub struct QueuePlan {
    pub name: &'static str,
    pub takers: u32,
    /// They ask for the order of keys.
    pub keyed: bool,
}

impl QueuePlan {
    /// All of them. What holds for all goes into the configuration of the broker.
    fn all(seed: u64, config: &mut Config) -> Vec<QueuePlan> {
        let rng = &mut Rng::new(seed ^ 0x7175_6575_6573);
        if rng.below(5) > 0 {
            return Vec::new();
        }
        config.queue.max_delivery_attempts = 2 + rng.below(4) as u32;
        config.queue.max_in_flight = [3, 20, 2_000][rng.below(3) as usize];
        let names = ["packers", "readers"].into_iter().take(1 + rng.below(2) as usize);
        let queue = |name| QueuePlan { name, takers: 1 + rng.below(3) as u32, keyed: rng.below(3) == 0 };
        names.map(queue).collect()
    }
}

impl Plan {
    pub fn new(seed: u64, history: &mut History) -> Plan {
        let rng = &mut Rng::new(seed ^ 0x706c_616e);
        let faults = !seed.is_multiple_of(4);
        // One seed in five has compacted topics. What they need beyond the others comes from numbers of its own.
        let keyed = &mut Rng::new(seed ^ 0x6b65_7973);
        let compacts = seed.is_multiple_of(5);
        let topics =
            (0..1 + rng.below(3)).map(|n| topic(n as usize, compacts, rng, keyed, history)).collect();
        let mut config = config(rng);
        let queues = QueuePlan::all(seed, &mut config);
        let mut count = |least, more| if compacts { least + keyed.below(more) as u32 } else { 0 };
        let (askers, followers, swappers) = (count(1, 2), count(1, 2), count(0, 3));
        if compacts {
            config.limits.view_memtable = [300, 1_000, 3_000, 20_000][keyed.below(4) as usize];
            config.cleaner_backoff_ms = 1 + keyed.below(200);
        }
        Plan {
            topics,
            config,
            compacts,
            askers,
            followers,
            swappers,
            faults,
            boots: if faults { 2 + rng.below(4) as u32 } else { 1 },
            workers: 1 + rng.below(4) as usize,
            slowest_job: [2, 20, 100][rng.below(3) as usize],
            cold: [0.0, 0.0, 0.2][rng.below(3) as usize],
            breaks: if faults { [0, 100, 400][rng.below(3) as usize] } else { 0 },
            pipe: [200, 2_000, 100_000][rng.below(3) as usize],
            producers: 1 + rng.below(4) as u32,
            consumers: 1 + rng.below(3) as u32,
            rude: rng.below(3) as u32,
            kafka: KafkaPlan::new(seed),
            groups: GroupPlan::all(seed),
            queues,
            ops: 10 + rng.below(40) as u32,
        }
    }
}

fn topic(n: usize, compacts: bool, rng: &mut Rng, keyed: &mut Rng, history: &mut History) -> TopicPlan {
    let name = ["first", "second", "third"][n];
    let mut settings = vec![
        ("segment.bytes", (1024 << rng.below(4)).to_string()),
        ("index.interval.bytes", (64 << rng.below(6)).to_string()),
    ];
    let durable = rng.below(5) < 3;
    let mut flush_ms = None;
    if !durable {
        settings.push(("flush.messages", [2, 10, 1_000_000][rng.below(3) as usize].to_string()));
        if rng.below(2) == 0 {
            let ms = 1 + rng.below(50);
            settings.push(("flush.ms", ms.to_string()));
            flush_ms = Some(ms);
        }
    }
    let retention = rng.below(4) == 0;
    if retention {
        settings.push(("retention.bytes", (2_000 + rng.below(6_000)).to_string()));
    }
    // The first topic of such a seed always, the others often.
    let compacted = compacts && (n == 0 || keyed.below(3) > 0);
    let cleaned = compacted && keyed.below(2) == 0;
    if compacted {
        let policy = if retention { "compact,delete" } else { "compact" };
        settings.push(("cleanup.policy", policy.into()));
        if cleaned {
            settings.push(("min.cleanable.dirty.ratio", "0.1".into()));
            settings.push(("delete.retention.ms", [0, 100, 86_400_000][keyed.below(3) as usize].to_string()));
        } else {
            settings.push(("min.compaction.lag.ms", i64::MAX.to_string()));
        }
    }
    let promise = Promise { durable, retention, cleaned };
    TopicPlan {
        name,
        partitions: [1, 1, 2, 3][rng.below(4) as usize],
        settings,
        promise,
        compacted,
        flush_ms,
        // Only topics from which old records may go let somebody delete them.
        trims: rng.below(3) == 0 && (!compacted || retention),
        topic: history.topic(name, promise),
    }
}

fn config(rng: &mut Rng) -> Config {
    let mut limits = Limits {
        max_in_flight: [2, 8, 1024][rng.below(3) as usize],
        output_limit: [64, 2_000, 8 << 20][rng.below(3) as usize],
        unflushed_budget: [1, 3_000, 256 << 20][rng.below(3) as usize],
        input_budget: [5_000, 256 << 20][rng.below(2) as usize],
        fetch_max_bytes: [300, 5_000, 1 << 20][rng.below(3) as usize],
        fetch_max_wait_ms: [50, 5_000][rng.below(2) as usize],
        turn_read: [100, 256 << 10][rng.below(2) as usize],
        drain_ms: 200,
        ..Limits::default()
    };
    if rng.below(4) == 0 {
        limits.idle_ms = 2_000;
        limits.request_receive_ms = 1_000;
        limits.write_stall_ms = 1_000;
    }
    Config {
        data_dir: PathBuf::from("/data"),
        auto_create: false,
        retention_check_ms: 20 + rng.below(200),
        exit_on_fsync_error: rng.below(2) == 0,
        topic: TopicSettings { retention_ms: -1, ..TopicSettings::default() },
        limits,
        ..Config::default()
    }
}
