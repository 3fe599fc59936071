//! The table of settings.
//!
//! Invariant: every field of [`Config`] that somebody may set has exactly one entry here or, for the defaults of
//! topics, in [`super::topic::TABLE`]; the bounds of an entry fit its field.

use super::topic::{self, TopicSetting};
use super::value::{Bounds, Kind, Value};
use super::{ASSIGNORS, Config};

/// One setting of the broker.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The name, with dots: Kafka's where Kafka has one.
    pub name: &'static str,
    /// Which part of the manual it stands in.
    pub group: Group,
    /// What it holds.
    pub kind: Kind,
    /// What it does and, for a limit, what happens at it.
    pub doc: &'static str,
    access: Access,
}

/// A part of the manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Where it is and how it behaves.
    Broker,
    /// What a topic has that sets nothing of its own.
    TopicDefaults,
    /// How much and how long.
    Limits,
    /// For tests; not in the manual.
    Hidden,
}

impl Group {
    /// The parts of the manual in order.
    pub const SHOWN: [Group; 3] = [Group::Broker, Group::TopicDefaults, Group::Limits];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Group::Broker => "The broker",
            Group::TopicDefaults => "Defaults of topics",
            Group::Limits => "Limits",
            Group::Hidden => "For tests",
        }
    }
}

/// How an entry finds its field.
#[derive(Debug, Clone, Copy)]
enum Access {
    Field(fn(&Config) -> Value, fn(&mut Config, Value)),
    Topic(&'static TopicSetting),
}

impl Setting {
    /// The value in a configuration.
    pub fn get(&self, config: &Config) -> Value {
        match self.access {
            Access::Field(get, _) => get(config),
            Access::Topic(setting) => (setting.get)(&config.topic),
        }
    }

    /// Puts a value, read by this entry's kind, into a configuration.
    pub fn set(&self, config: &mut Config, value: Value) {
        match self.access {
            Access::Field(_, set) => set(config, value),
            Access::Topic(setting) => (setting.set)(&mut config.topic, &value),
        }
    }

    /// The command line flag: `--data-dir`.
    pub fn flag(&self) -> String {
        format!("--{}", self.name.replace('.', "-"))
    }

    /// The environment variable: `KRAPPY_DATA_DIR`.
    pub fn variable(&self) -> String {
        format!("KRAPPY_{}", self.name.replace('.', "_").to_uppercase())
    }
}

/// Every setting, in the order of the manual.
pub fn settings() -> impl Iterator<Item = Setting> {
    let topics = topic::TABLE.iter().filter_map(|s| {
        let (kind, doc, access) = (s.kind, s.doc, Access::Topic(s));
        s.broker_name.map(|name| Setting { name, group: Group::TopicDefaults, kind, doc, access })
    });
    BROKER.iter().copied().chain(topics).chain(LIMITS.iter().copied()).chain(HIDDEN.iter().copied())
}

/// The setting of this name.
pub fn find(name: &str) -> Option<Setting> {
    settings().find(|s| s.name == name)
}

fn number(value: Value) -> i64 {
    match value {
        Value::Number(n) => n,
        other => panic!("a number was expected, not {other:?}"),
    }
}

fn yes(value: Value) -> bool {
    match value {
        Value::Flag(yes) => yes,
        other => panic!("true or false was expected, not {other:?}"),
    }
}

macro_rules! flag {
    ($name:literal, $field:ident, $doc:literal) => {
        Setting {
            name: $name,
            group: Group::Broker,
            kind: Kind::Flag,
            doc: $doc,
            access: Access::Field(|c| Value::Flag(c.$field), |c, v| c.$field = yes(v)),
        }
    };
}

macro_rules! amount {
    ($name:literal, $group:ident, $kind:expr, $($field:ident).+, $doc:literal) => {
        Setting {
            name: $name,
            group: Group::$group,
            kind: $kind,
            doc: $doc,
            access: Access::Field(
                |c| Value::Number(c.$($field).+ as i64),
                |c, v| c.$($field).+ = number(v) as _,
            ),
        }
    };
}

const fn count(least: i64, most: i64) -> Kind {
    Kind::Count(Bounds::new(least, most))
}

const fn bytes(least: i64, most: i64) -> Kind {
    Kind::Bytes(Bounds::new(least, most))
}

const fn millis(least: i64, most: i64) -> Kind {
    Kind::Millis(Bounds::new(least, most))
}

const KIB: i64 = 1 << 10;
const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;
const TIB: i64 = 1 << 40;
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;

const BROKER: &[Setting] = &[
    Setting {
        name: "data.dir",
        group: Group::Broker,
        kind: Kind::Path,
        doc: "The folder that holds all data. It is created if it does not exist; only one broker may use it at a time.",
        access: Access::Field(
            |c| Value::Path(c.data_dir.clone()),
            |c, v| match v {
                Value::Path(path) => c.data_dir = path,
                other => panic!("a path was expected, not {other:?}"),
            },
        ),
    },
    Setting {
        name: "listen",
        group: Group::Broker,
        kind: Kind::Addresses,
        doc: "Addresses to listen on, separated by commas. Port 0 lets the system choose. Any address that other \
              machines can reach needs allow.insecure, because there is no authentication.",
        access: Access::Field(
            |c| Value::Addresses(c.listen.clone()),
            |c, v| match v {
                Value::Addresses(list) => c.listen = list,
                other => panic!("addresses were expected, not {other:?}"),
            },
        ),
    },
    Setting {
        name: "advertised.listeners",
        group: Group::Broker,
        kind: Kind::Endpoint,
        doc: "The one host:port that Kafka clients are told to connect to. Without it they are told the address that they \
              have reached, which is right unless something between them and the broker translates addresses.",
        access: Access::Field(
            |c| Value::Endpoint(c.advertised.clone()),
            |c, v| match v {
                Value::Endpoint(address) => c.advertised = address,
                other => panic!("a host with a port was expected, not {other:?}"),
            },
        ),
    },
    flag!(
        "ephemeral",
        ephemeral,
        "Use a temporary data folder that is removed at exit and, unless listen is set, a free port. For trying out and \
         for tests."
    ),
    flag!(
        "allow.insecure",
        allow_insecure,
        "Allow listening beyond this machine although everybody who can connect can then read, write and delete everything."
    ),
    flag!(
        "auto.create.topics.enable",
        auto_create,
        "Create a topic when a client asks for one that does not exist. Off, such clients get an error."
    ),
    amount!(
        "num.partitions",
        Broker,
        count(1, 10_000),
        num_partitions,
        "Partitions of a topic that is created without saying how many."
    ),
    amount!(
        "log.retention.check.interval.ms",
        Broker,
        millis(1, 24 * HOUR),
        retention_check_ms,
        "How often the broker looks for segments that are old enough, or too many, to be deleted."
    ),
    amount!(
        "log.cleaner.backoff.ms",
        Broker,
        millis(1, HOUR),
        cleaner_backoff_ms,
        "How often the cleaner looks for a compacted partition that has enough to clean."
    ),
    amount!(
        "log.cleaner.io.max.bytes.per.second",
        Broker,
        bytes(64 * KIB, TIB),
        cleaner_rate,
        "How fast the cleaner goes through segments, so that it leaves the disk to others."
    ),
    amount!(
        "producer.id.expiration.ms",
        Broker,
        millis(1, i32::MAX as i64),
        producer_expiry_ms,
        "An idempotent producer that has appended nothing to a partition for this long is forgotten there: what it sends \
         again after that is appended again."
    ),
    amount!(
        "group.min.session.timeout.ms",
        Broker,
        millis(1, 1_800 * SECOND),
        group.min_session_timeout_ms,
        "The shortest session.timeout.ms that a member of a consumer group may ask for."
    ),
    amount!(
        "group.max.session.timeout.ms",
        Broker,
        millis(1, i32::MAX as i64),
        group.max_session_timeout_ms,
        "The longest session.timeout.ms that a member of a consumer group may ask for."
    ),
    amount!(
        "group.initial.rebalance.delay.ms",
        Broker,
        millis(0, HOUR),
        group.initial_rebalance_delay_ms,
        "How long the first members of an empty consumer group wait for others before partitions are shared out."
    ),
    amount!(
        "group.consumer.session.timeout.ms",
        Broker,
        millis(1, i32::MAX as i64),
        group.consumer_session_timeout_ms,
        "A member of a consumer group with group.protocol=consumer that says nothing for this long is removed."
    ),
    amount!(
        "group.consumer.heartbeat.interval.ms",
        Broker,
        millis(1, i32::MAX as i64),
        group.consumer_heartbeat_interval_ms,
        "How often such a member is told to say something. A rebalance takes a few times as long."
    ),
    Setting {
        name: "group.consumer.assignors",
        group: Group::Broker,
        kind: Kind::Choice(ASSIGNORS),
        doc: "How the broker shares out partitions among such members: the default, and what else they may ask for. \
              uniform gives everybody as many and moves few; range gives everybody the same numbers of each topic.",
        access: Access::Field(
            |c| Value::Number(c.group.consumer_assignors as i64),
            |c, v| c.group.consumer_assignors = number(v) as usize,
        ),
    },
    amount!(
        "offsets.retention.minutes",
        Broker,
        Kind::Count(Bounds::new(-1, i32::MAX as i64).or("never", -1)),
        group.offsets_retention_minutes,
        "How many minutes the committed offsets of a consumer group are kept after its last member and its last commit. \
         Kafka forgets them after a week; here they stay unless this is set."
    ),
    amount!(
        "offsets.topic.num.partitions",
        Broker,
        count(1, 10_000),
        group.offsets_partitions,
        "Partitions of __consumer_offsets, the internal topic of committed offsets, when it is made. With one, all groups \
         share each sync."
    ),
    amount!(
        "queue.acknowledge.timeout.ms",
        Broker,
        millis(1, HOUR),
        queue.acknowledge_timeout_ms,
        "How long somebody who takes a record from a queue has to acknowledge it, unless the request says otherwise. \
         After it the record is given to somebody else."
    ),
    amount!(
        "queue.max.delivery.attempts",
        Broker,
        count(1, 1_000),
        queue.max_delivery_attempts,
        "A record of a queue that was delivered so often and never acknowledged goes to the dead letters."
    ),
    Setting {
        name: "on.fsync.error",
        group: Group::Broker,
        kind: Kind::Choice(&["exit", "offline"]),
        doc: "What happens when the disk fails to sync. exit stops the broker with status 74, so that the start that \
              follows recovers from what is really on the disk; offline takes the partition out of service and keeps the \
              others going. Neither ever syncs again and calls it a success.",
        access: Access::Field(
            |c| Value::Number(i64::from(!c.exit_on_fsync_error)),
            |c, v| c.exit_on_fsync_error = number(v) == 0,
        ),
    },
];

const LIMITS: &[Setting] = &[
    amount!(
        "max.connections",
        Limits,
        count(1, 1_000_000),
        limits.max_connections,
        "Connections open at once. Protects the other connections. Beyond it a new connection is accepted and closed."
    ),
    amount!(
        "socket.request.max.bytes",
        Limits,
        bytes(KIB, GIB),
        limits.max_frame,
        "The largest request. Protects memory. A larger one closes its connection."
    ),
    amount!(
        "queued.max.request.bytes",
        Limits,
        bytes(KIB, TIB),
        limits.input_budget,
        "Bytes of requests that have arrived in part, all connections together. Protects memory. At it a large request \
         is not read on until others are whole."
    ),
    amount!(
        "max.in.flight",
        Limits,
        count(1, 65_536),
        limits.max_in_flight,
        "Requests of one connection that are not answered yet, long polls aside. Protects the other connections. At it \
         the connection is not read."
    ),
    amount!(
        "max.streams",
        Limits,
        count(1, 1_000_000),
        limits.max_streams,
        "Producers and consumers registered on one native connection. Protects memory. At it a registration is refused."
    ),
    amount!(
        "output.limit.bytes",
        Limits,
        bytes(64 * KIB, GIB),
        limits.output_limit,
        "Bytes that wait for one client to read them. Protects memory from slow readers. At it no more requests of the \
         client are read."
    ),
    amount!(
        "unflushed.max.bytes",
        Limits,
        bytes(64 * KIB, TIB),
        limits.unflushed_budget,
        "Bytes appended and not yet on the disk, all partitions together. Protects memory from a slow disk. At it \
         publishing connections are not read."
    ),
    amount!(
        "fetch.max.bytes",
        Limits,
        bytes(KIB, GIB),
        limits.fetch_max_bytes,
        "The most bytes of one answer with records. A first batch that is larger is sent whole."
    ),
    amount!(
        "fetch.max.wait.ms",
        Limits,
        millis(1, HOUR),
        limits.fetch_max_wait_ms,
        "The longest time that a client may wait for records in one request. Longer wishes are shortened to it."
    ),
    amount!(
        "request.receive.ms",
        Limits,
        millis(1, HOUR),
        limits.request_receive_ms,
        "A request that has begun to arrive must be whole after this long. Protects from clients that stop half-way. \
         After it the connection is closed."
    ),
    amount!(
        "connections.max.idle.ms",
        Limits,
        millis(1, 30 * 24 * HOUR),
        limits.idle_ms,
        "A connection that has sent nothing for this long, and waits for nothing, is closed."
    ),
    amount!(
        "write.stall.ms",
        Limits,
        millis(1, HOUR),
        limits.write_stall_ms,
        "A client that takes nothing of what waits for it for this long is disconnected."
    ),
    amount!(
        "turn.read.bytes",
        Limits,
        bytes(4 * KIB, 64 * MIB),
        limits.turn_read,
        "The most bytes read from one connection before the others have their turn."
    ),
    amount!(
        "max.topics",
        Limits,
        count(1, 1_000_000),
        limits.max_topics,
        "Topics. Protects memory and start-up time. At it creation is refused with POLICY_VIOLATION."
    ),
    amount!(
        "group.max.size",
        Limits,
        count(1, 1_000_000),
        group.max_size,
        "Members of one consumer group. Protects the time that a rebalance takes. At it a new member is refused with \
         GROUP_MAX_SIZE_REACHED."
    ),
    amount!(
        "group.consumer.max.size",
        Limits,
        count(1, 1_000_000),
        group.consumer_max_size,
        "Members of one consumer group with group.protocol=consumer. Protects the time that sharing out takes. At it a \
         new member is refused with GROUP_MAX_SIZE_REACHED."
    ),
    amount!(
        "max.groups",
        Limits,
        count(1, 10_000_000),
        group.max_groups,
        "Consumer groups, with those that have offsets and no members. Protects memory. At it a new group is refused \
         with POLICY_VIOLATION."
    ),
    amount!(
        "group.memory.bytes",
        Limits,
        bytes(MIB, GIB),
        group.memory,
        "What all members of consumer groups have told about themselves and were given. Protects memory. At it new \
         members are refused with POLICY_VIOLATION."
    ),
    amount!(
        "queue.max.in.flight",
        Limits,
        count(1, 100_000),
        queue.max_in_flight,
        "Records of a partition that a group has begun to take and not done with. Protects memory. At it no others are \
         given out, until some are done."
    ),
    amount!(
        "queue.max.partitions",
        Limits,
        count(1, 1_000_000),
        queue.max_partitions,
        "Partitions that groups take single records from, each counted once for each group. Protects memory. At it a \
         group that begins is refused with POLICY_VIOLATION."
    ),
    amount!(
        "queue.memory.bytes",
        Limits,
        bytes(MIB, GIB),
        queue.memory,
        "What is remembered of single records of all queues together. Protects memory. At it only records that were \
         given out before are given out, until some are done."
    ),
    amount!(
        "max.partitions",
        Limits,
        count(1, 1_000_000),
        limits.max_partitions,
        "Partitions of all topics together. Protects open files and memory. At it creation is refused with \
         POLICY_VIOLATION."
    ),
    amount!(
        "disk.min.free.bytes",
        Limits,
        bytes(0, TIB),
        limits.min_free,
        "Free bytes on the disk of the data folder. Protects what must still be written, such as deletions. Below it \
         nothing is published, until there is a quarter more again. 0 switches this off."
    ),
    amount!(
        "view.memtable.bytes",
        Limits,
        bytes(64 * KIB, GIB),
        limits.view_memtable,
        "Each partition of a compacted topic keeps its newest records in memory up to this size; then they are written \
         to a sorted file."
    ),
    amount!(
        "view.replay.bytes",
        Limits,
        bytes(0, TIB),
        limits.view_replay,
        "A start reads this much log for the view of a partition before anything is served; when there is more, workers \
         read it afterwards, and until then requests by key are told to come back."
    ),
    amount!(
        "view.memory.bytes",
        Limits,
        bytes(64 * KIB, TIB),
        limits.view_memory,
        "The newest records of all compacted partitions together are kept in memory up to this size; at it the partition \
         with the most is written to a sorted file."
    ),
    amount!(
        "drain.ms",
        Limits,
        millis(0, HOUR),
        limits.drain_ms,
        "After SIGTERM, clients have this long to take what they are owed before the broker exits."
    ),
];

const HIDDEN: &[Setting] = &[amount!(
    "debug.sync.delay.ms",
    Hidden,
    millis(0, HOUR),
    debug_sync_delay_ms,
    "Every sync of a file or folder takes this much longer, as on a slow disk."
)];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_flags_and_variables_are_unique() {
        let names: Vec<_> = settings().map(|s| s.name).collect();
        let flags: BTreeSet<_> = settings().map(|s| s.flag()).collect();
        let variables: BTreeSet<_> = settings().map(|s| s.variable()).collect();
        assert_eq!((flags.len(), variables.len()), (names.len(), names.len()));
        let setting = find("log.segment.bytes").unwrap();
        assert_eq!(
            (setting.flag(), setting.variable()),
            ("--log-segment-bytes".into(), "KRAPPY_LOG_SEGMENT_BYTES".into())
        );
    }

    #[test]
    fn defaults_are_within_their_bounds() {
        for setting in settings() {
            let shown = setting.kind.show(&setting.get(&Config::default()));
            assert_eq!(setting.kind.parse(&shown), Ok(setting.get(&Config::default())), "{}", setting.name);
        }
    }

    #[test]
    fn the_bounds_of_every_number_are_kept_and_fit_its_field() {
        for setting in settings() {
            let (Kind::Count(b) | Kind::Bytes(b) | Kind::Millis(b)) = setting.kind else { continue };
            for n in [b.least, (b.least + 1).min(b.most), (b.most - 1).max(b.least), b.most] {
                let mut config = Config::default();
                let value = setting.kind.parse(&n.to_string()).unwrap();
                setting.set(&mut config, value.clone());
                assert_eq!(setting.get(&config), value, "{} = {n}", setting.name);
            }
            for n in [b.least.checked_sub(1), b.most.checked_add(1)].into_iter().flatten() {
                assert!(
                    setting.kind.parse(&n.to_string()).unwrap_err().contains("must be"),
                    "{}",
                    setting.name
                );
            }
        }
    }

    #[test]
    fn each_entry_changes_its_own_field_only() {
        // There is nothing else that this one could be.
        for setting in settings().filter(|s| s.name != "min.insync.replicas") {
            let mut config = Config::default();
            let other = match (setting.kind, setting.get(&config)) {
                (_, Value::Flag(yes)) => Value::Flag(!yes),
                (Kind::Choice(_), Value::Number(n)) => Value::Number(1 - n),
                (_, Value::Number(n)) => Value::Number(if n == i64::MAX { n - 1 } else { n + 1 }),
                (_, Value::Path(_)) => Value::Path("/elsewhere".into()),
                (_, Value::Addresses(_)) => Value::Addresses(Vec::new()),
                (_, Value::Endpoint(_)) => {
                    Value::Endpoint(Some(crate::config::Address { host: "h".into(), port: 1 }))
                }
                (_, Value::Names(_)) => Value::Names(vec!["a".into()]),
            };
            setting.set(&mut config, other);
            let changed: Vec<_> =
                settings().filter(|s| s.get(&config) != s.get(&Config::default())).map(|s| s.name).collect();
            assert_eq!(changed, [setting.name]);
        }
    }
}
