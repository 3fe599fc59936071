//! Settings of one topic, under Kafka's names, and what a topic has set of its own.
//!
//! Invariant: [`TABLE`] is the only place that knows the names, bounds and meaning of topic settings. A
//! [`TopicOverrides`] holds only names of the table with values that are allowed.

use std::collections::BTreeMap;

use super::nearest::did_you_mean;
use super::value::{Bounds, Kind, Value};
use crate::ordered;

/// Settings of one topic, all of them: its own where it has set them, the broker's elsewhere.
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
    /// `retention.wait.groups`: segments that these consumer groups have not read are not deleted by age and size;
    /// sorted.
    pub retention_wait_groups: Vec<String>,
    /// `retention.wait.bytes`: and how many bytes are kept for them at the most.
    pub retention_wait_bytes: i64,
    /// `flush.messages`: 1 means an ack of `all` waits for the disk; larger is an explicit opt-out.
    pub flush_messages: u64,
    /// `flush.ms`: with `flush.messages` above 1, sync at the latest after this many milliseconds. i64::MAX is never.
    pub flush_ms: i64,
    /// `max.message.bytes`: largest record batch, in bytes.
    pub max_message_bytes: u32,
    /// `index.interval.bytes`: an index entry at most every so many bytes.
    pub index_interval_bytes: u32,
    /// `cleanup.policy`: what happens to old records.
    pub cleanup: Cleanup,
    /// `delete.retention.ms`: how long the cleaner keeps a tombstone, in milliseconds.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: younger records are not cleaned, in milliseconds.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: a partition with an uncleaned record older than this is cleaned, in milliseconds.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`, in millionths: the share of uncleaned bytes that makes cleaning worth while.
    pub min_dirty_millionths: i64,
    /// `compression.type`: how batches are packed when they are stored.
    pub compression: Compression,
    /// `message.timestamp.type` is `LogAppendTime`: records carry the broker's clock.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`: a record that is older by the broker's clock is refused; i64::MAX is never.
    pub timestamp_before_ms: i64,
    /// `message.timestamp.after.max.ms`: a record that is further in the future is refused; i64::MAX is never.
    pub timestamp_after_ms: i64,
}

/// What happens to old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// Whole segments are deleted by age and size.
    Delete,
    /// Records are removed that a newer one of the same key has replaced; the topic has a view.
    Compact,
    /// Both.
    CompactAndDelete,
}

impl Cleanup {
    const ALL: [Cleanup; 3] = [Cleanup::Delete, Cleanup::Compact, Cleanup::CompactAndDelete];
    const WORDS: &[&str] = &["delete", "compact", "compact,delete"];

    /// Whether records have keys, a view, and a cleaner.
    pub fn compacts(self) -> bool {
        self != Cleanup::Delete
    }

    /// Whether segments expire by age and size.
    pub fn deletes(self) -> bool {
        self != Cleanup::Compact
    }
}

/// How batches are packed when they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As the producer packed them.
    Producer,
    /// With this codec, by its number in the record batch; 0 is none.
    Codec(i16),
}

impl Compression {
    /// `producer`, then the codecs by their numbers.
    const WORDS: &[&str] = &["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"];

    fn from_position(n: i64) -> Self {
        if n == 0 { Compression::Producer } else { Compression::Codec(n as i16 - 1) }
    }

    fn position(self) -> i64 {
        match self {
            Compression::Producer => 0,
            Compression::Codec(codec) => i64::from(codec) + 1,
        }
    }
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            retention_ms: 7 * 24 * 3_600_000,
            retention_wait_groups: Vec::new(),
            retention_wait_bytes: 1 << 30,
            flush_messages: 1,
            flush_ms: i64::MAX,
            max_message_bytes: 1_048_588,
            index_interval_bytes: 4096,
            cleanup: Cleanup::Delete,
            delete_retention_ms: 24 * 3_600_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_dirty_millionths: 500_000,
            compression: Compression::Producer,
            log_append_time: false,
            timestamp_before_ms: i64::MAX,
            timestamp_after_ms: 3_600_000,
        }
    }
}

/// One setting of a topic.
#[derive(Debug)]
pub struct TopicSetting {
    /// The name, Kafka's.
    pub name: &'static str,
    /// The name of the broker's setting that holds the default, if there is one: Kafka's too.
    pub broker_name: Option<&'static str>,
    /// What it holds.
    pub kind: Kind,
    /// What it does.
    pub doc: &'static str,
    pub(super) get: fn(&TopicSettings) -> Value,
    pub(super) set: fn(&mut TopicSettings, &Value),
}

fn number(value: &Value) -> i64 {
    match value {
        Value::Number(n) => *n,
        other => unreachable!("this setting is read as a number, not as {other:?}"),
    }
}

/// An entry of [`TABLE`] for a field that holds a number. The bounds of the kind fit the field.
macro_rules! number {
    ($name:literal, $broker:literal, $kind:expr, $field:ident, $doc:literal) => {
        TopicSetting {
            name: $name,
            broker_name: Some($broker),
            kind: $kind,
            doc: $doc,
            get: |s| Value::Number(s.$field as i64),
            set: |s, value| s.$field = number(value) as _,
        }
    };
}

const MOST_INT: i64 = i32::MAX as i64;

/// Every setting that a topic may have, sorted by name.
pub const TABLE: &[TopicSetting] = &[
    TopicSetting {
        name: "cleanup.policy",
        broker_name: None,
        kind: Kind::Choice(Cleanup::WORDS),
        doc: "What happens to old records: delete drops whole segments by age and size; compact keeps the newest record \
              of each key, and lets clients ask for it; compact,delete does both.",
        get: |s| Value::Number(s.cleanup as i64),
        set: |s, value| s.cleanup = Cleanup::ALL[number(value) as usize],
    },
    TopicSetting {
        name: "compression.type",
        broker_name: Some("compression.type"),
        kind: Kind::Choice(Compression::WORDS),
        doc: "How batches are stored: producer keeps each as it came; with anything else, a batch that comes otherwise \
              is unpacked and packed again before it is appended. That is done on the broker's one thread, costs many \
              times what an append does, and everybody else waits for it: let producers compress instead.",
        get: |s| Value::Number(s.compression.position()),
        set: |s, value| s.compression = Compression::from_position(number(value)),
    },
    number!(
        "delete.retention.ms",
        "log.cleaner.delete.retention.ms",
        Kind::Millis(Bounds::new(0, i64::MAX)),
        delete_retention_ms,
        "On a compacted topic: how long a tombstone stays in the log for readers to see, counted from its timestamp."
    ),
    number!(
        "flush.messages",
        "log.flush.interval.messages",
        Kind::Count(Bounds::new(1, i64::MAX)),
        flush_messages,
        "With 1, acks=all means that the records are on the disk, and readers see only records that are. A larger \
         number gives that up for speed: acks=all then means appended, and the disk is synced after this many records."
    ),
    number!(
        "flush.ms",
        "log.flush.interval.ms",
        Kind::Millis(Bounds::new(0, i64::MAX).or("never", i64::MAX)),
        flush_ms,
        "With flush.messages above 1: the longest time that appended records stay unsynced."
    ),
    number!(
        "index.interval.bytes",
        "log.index.interval.bytes",
        Kind::Bytes(Bounds::new(64, MOST_INT)),
        index_interval_bytes,
        "An index entry is written at most every so many bytes of log. Smaller finds records sooner and takes more room."
    ),
    number!(
        "max.compaction.lag.ms",
        "log.cleaner.max.compaction.lag.ms",
        Kind::Millis(Bounds::new(1, i64::MAX).or("never", i64::MAX)),
        max_compaction_lag_ms,
        "On a compacted topic: a partition is cleaned when a record that was never cleaned is older than this, whatever \
         min.cleanable.dirty.ratio says."
    ),
    number!(
        "max.message.bytes",
        "message.max.bytes",
        Kind::Bytes(Bounds::new(100, 1 << 30)),
        max_message_bytes,
        "The largest record batch, compressed as it arrives. A larger one is refused with MESSAGE_TOO_LARGE."
    ),
    number!(
        "message.timestamp.after.max.ms",
        "log.message.timestamp.after.max.ms",
        Kind::Millis(Bounds::new(0, i64::MAX).or("unlimited", i64::MAX)),
        timestamp_after_ms,
        "With CreateTime: a record whose timestamp is further ahead of the broker's clock is refused with \
         INVALID_TIMESTAMP. Of a compressed batch only the largest timestamp in its header is looked at."
    ),
    number!(
        "message.timestamp.before.max.ms",
        "log.message.timestamp.before.max.ms",
        Kind::Millis(Bounds::new(0, i64::MAX).or("unlimited", i64::MAX)),
        timestamp_before_ms,
        "With CreateTime: a record whose timestamp is further behind the broker's clock is refused with \
         INVALID_TIMESTAMP. Compressed batches are opened to see it."
    ),
    TopicSetting {
        name: "message.timestamp.type",
        broker_name: Some("log.message.timestamp.type"),
        kind: Kind::Choice(&["CreateTime", "LogAppendTime"]),
        doc: "Whose clock a record's timestamp is: the producer's, or that of the broker when it appends the record.",
        get: |s| Value::Number(i64::from(s.log_append_time)),
        set: |s, value| s.log_append_time = number(value) == 1,
    },
    number!(
        "min.cleanable.dirty.ratio",
        "log.cleaner.min.cleanable.ratio",
        Kind::Ratio,
        min_dirty_millionths,
        "On a compacted topic: a partition is cleaned when this share of its sealed bytes was never cleaned."
    ),
    number!(
        "min.compaction.lag.ms",
        "log.cleaner.min.compaction.lag.ms",
        Kind::Millis(Bounds::new(0, i64::MAX)),
        min_compaction_lag_ms,
        "On a compacted topic: a record is not removed before it is this old, even if a newer one has replaced it."
    ),
    TopicSetting {
        name: "min.insync.replicas",
        broker_name: Some("min.insync.replicas"),
        kind: Kind::Count(Bounds::new(1, 1)),
        doc: "How many copies acks=all waits for. There is one copy of each partition.",
        get: |_| Value::Number(1),
        set: |_, _| {},
    },
    number!(
        "retention.bytes",
        "log.retention.bytes",
        Kind::Bytes(Bounds::new(-1, i64::MAX).or("unlimited", -1)),
        retention_bytes,
        "The oldest segments of a partition are deleted while it holds more than this."
    ),
    number!(
        "retention.ms",
        "log.retention.ms",
        Kind::Millis(Bounds::new(-1, i64::MAX).or("unlimited", -1)),
        retention_ms,
        "Segments are deleted when their newest record is older than this."
    ),
    TopicSetting {
        name: "retention.wait.bytes",
        broker_name: None,
        kind: Kind::Bytes(Bounds::new(0, i64::MAX)),
        doc: "Most bytes of a partition that are kept for retention.wait.groups alone. Beyond it the oldest segments are \
              deleted unread.",
        get: |s| Value::Number(s.retention_wait_bytes),
        set: |s, value| s.retention_wait_bytes = number(value),
    },
    TopicSetting {
        name: "retention.wait.groups",
        broker_name: None,
        kind: Kind::Names,
        doc: "Consumer groups that retention waits for: a segment that has expired by age or size stays until each of \
              them has committed an offset behind it, or retention.wait.bytes are kept for them. A group that has \
              committed nothing is waited for too.",
        get: |s| Value::Names(s.retention_wait_groups.clone()),
        set: |s, value| match value {
            Value::Names(names) => s.retention_wait_groups.clone_from(names),
            other => unreachable!("this setting is read as names, not as {other:?}"),
        },
    },
    number!(
        "segment.bytes",
        "log.segment.bytes",
        Kind::Bytes(Bounds::new(1024, MOST_INT)),
        segment_bytes,
        "A segment is sealed, and a new one begun, before it grows past this. Deletion works on whole segments."
    ),
    number!(
        "segment.ms",
        "log.roll.ms",
        Kind::Millis(Bounds::new(1, i64::MAX)),
        segment_ms,
        "A segment is sealed when its first record is older than this, full or not."
    ),
];

/// Topic settings of Kafka that are refused, each with the reason that the error gives.
pub const REFUSED: &[(&str, &str)] = &[
    ("compression.gzip.level", "there is one level for each codec"),
    ("compression.lz4.level", "there is one level for each codec"),
    ("compression.zstd.level", "there is one level for each codec"),
    ("file.delete.delay.ms", "files are deleted as soon as nobody reads them"),
    ("follower.replication.throttled.replicas", "there is one copy of each partition and no replication"),
    ("leader.replication.throttled.replicas", "there is one copy of each partition and no replication"),
    ("local.retention.bytes", "there is no remote storage"),
    ("local.retention.ms", "there is no remote storage"),
    ("message.downconversion.enable", "batches are only kept and sent in the current format"),
    ("message.format.version", "batches are only kept and sent in the current format"),
    (
        "message.timestamp.difference.max.ms",
        "it has become message.timestamp.before.max.ms and message.timestamp.after.max.ms",
    ),
    ("preallocate", "how segment files grow is not a choice of the topic"),
    ("remote.storage.enable", "there is no remote storage"),
    ("segment.index.bytes", "indexes grow as they need to"),
    ("segment.jitter.ms", "segments are sealed at their time, without a random delay"),
    ("unclean.leader.election.enable", "there is one copy of each partition and no election"),
];

fn find(key: &str) -> Result<&'static TopicSetting, String> {
    if let Some(setting) = TABLE.iter().find(|s| s.name == key) {
        return Ok(setting);
    }
    if let Some((_, why)) = REFUSED.iter().find(|(name, _)| *name == key) {
        return Err(format!("{key} cannot be set: {why}"));
    }
    Err(format!("{key} is not a setting of a topic{}", did_you_mean(key, TABLE.iter().map(|s| s.name))))
}

fn parse(key: &str, value: &str) -> Result<(&'static TopicSetting, Value), String> {
    let setting = find(key)?;
    let value = match setting.kind {
        Kind::Choice(_) => sorted_list(value),
        _ => value.to_owned(),
    };
    let reason = if key == "min.insync.replicas" { " (there is one copy of each partition)" } else { "" };
    let value = setting.kind.parse(&value).map_err(|why| format!("{key}: {why}{reason}"))?;
    Ok((setting, value))
}

/// Kafka takes the policies of `cleanup.policy` in any order, with spaces.
fn sorted_list(value: &str) -> String {
    let words: Vec<&str> = ordered::set(value.split(',').map(str::trim)).into_iter().collect();
    words.join(",")
}

impl TopicSettings {
    /// The names of all settings, sorted.
    pub const KEYS: &'static [&'static str] = &{
        let mut names = [""; TABLE.len()];
        let mut i = 0;
        while i < TABLE.len() {
            names[i] = TABLE[i].name;
            i += 1;
        }
        names
    };

    /// Sets one by its name, from text. The error is for the client: it names the nearest setting, or the bounds.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let (setting, value) = parse(key, value)?;
        (setting.set)(self, &value);
        Ok(())
    }

    /// The value of one as Kafka writes it: a number without a unit, or a word. `None`: no such setting.
    pub fn get(&self, key: &str) -> Option<String> {
        TABLE.iter().find(|s| s.name == key).map(|s| s.kind.plain(&(s.get)(self)))
    }
}

/// What one topic has set for itself. It is what `topic.properties` keeps; everything else follows the broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicOverrides(BTreeMap<&'static str, Value>);

impl TopicOverrides {
    /// Sets one by its name, from text; errors as of [`TopicSettings::set`].
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let (setting, value) = parse(key, value)?;
        self.0.insert(setting.name, value);
        Ok(())
    }

    /// Forgets one, so that the broker's holds again.
    pub fn unset(&mut self, key: &str) -> Result<(), String> {
        self.0.remove(find(key)?.name);
        Ok(())
    }

    /// Adds words to the list that holds now, or takes some away; `settings` are those that hold now. An error if it is
    /// no list, or of the value that comes of it.
    pub fn edit(
        &mut self,
        key: &str,
        words: &str,
        add: bool,
        settings: &TopicSettings,
    ) -> Result<(), String> {
        let setting = find(key)?;
        let is_list = match setting.kind {
            Kind::Choice(words) => words.iter().any(|word| word.contains(',')),
            kind => matches!(kind, Kind::Names),
        };
        if !is_list {
            return Err(format!("{key} is not a list, so nothing is added to it or taken away"));
        }
        let holds = settings.get(setting.name).expect("it is in the table");
        let change: Vec<&str> = words.split(',').map(str::trim).collect();
        let mut list: Vec<&str> = holds.split(',').filter(|word| add || !change.contains(word)).collect();
        list.extend(change.iter().filter(|_| add));
        self.set(key, &list.join(","))
    }

    /// Names and values as Kafka writes them, sorted: the lines of `topic.properties`.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        TABLE.iter().filter_map(|s| self.0.get(s.name).map(|value| (s.name, s.kind.plain(value))))
    }

    /// All settings of the topic: the broker's, with these in their place.
    pub fn over(&self, broker: &TopicSettings) -> TopicSettings {
        let mut settings = broker.clone();
        for setting in TABLE {
            if let Some(value) = self.0.get(setting.name) {
                (setting.set)(&mut settings, value);
            }
        }
        settings
    }

    /// Whether it has set this one.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted_and_disjoint() {
        assert!(TopicSettings::KEYS.is_sorted() && REFUSED.is_sorted());
        assert!(REFUSED.iter().all(|(name, _)| !TopicSettings::KEYS.contains(name)));
    }

    #[test]
    fn every_setting_is_set_and_read_by_its_name() {
        for key in TopicSettings::KEYS.iter().filter(|key| **key != "min.insync.replicas") {
            let mut settings = TopicSettings::default();
            let value = match *key {
                "cleanup.policy" => "compact,delete",
                "compression.type" => "lz4",
                "message.timestamp.type" => "LogAppendTime",
                "min.cleanable.dirty.ratio" => "0.25",
                "retention.wait.groups" => "audit,billing",
                _ => "7777",
            };
            settings.set(key, value).unwrap();
            assert_eq!(settings.get(key).as_deref(), Some(value));
            let changed =
                TopicSettings::KEYS.iter().filter(|k| settings.get(k) != TopicSettings::default().get(k));
            assert_eq!(changed.count(), 1, "{key} changes itself only");
        }
    }

    #[test]
    fn policies_come_in_any_order() {
        let mut settings = TopicSettings::default();
        for (text, policy) in [
            ("delete", Cleanup::Delete),
            (" compact", Cleanup::Compact),
            ("delete, compact", Cleanup::CompactAndDelete),
            ("compact,delete,compact", Cleanup::CompactAndDelete),
        ] {
            settings.set("cleanup.policy", text).unwrap();
            assert_eq!(settings.cleanup, policy, "{text}");
        }
    }

    #[test]
    fn codecs_have_the_numbers_of_the_record_batch() {
        let mut settings = TopicSettings::default();
        assert_eq!(settings.compression, Compression::Producer);
        for (codec, word) in ["uncompressed", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
            settings.set("compression.type", word).unwrap();
            assert_eq!(settings.compression, Compression::Codec(codec as i16));
            assert_eq!(settings.get("compression.type").as_deref(), Some(word));
        }
    }

    #[test]
    fn the_bounds_of_every_number_are_kept() {
        for setting in TABLE {
            let (Kind::Count(b) | Kind::Bytes(b) | Kind::Millis(b)) = setting.kind else { continue };
            let mut settings = TopicSettings::default();
            for n in [b.least, b.most] {
                settings.set(setting.name, &n.to_string()).unwrap();
                assert_eq!(
                    settings.get(setting.name),
                    Some(n.to_string()),
                    "{} fits its field",
                    setting.name
                );
            }
            for n in [b.least.checked_sub(1), b.most.checked_add(1)].into_iter().flatten() {
                let error = settings.set(setting.name, &n.to_string()).unwrap_err();
                assert!(error.contains("must be"), "{error}");
            }
        }
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let mut settings = TopicSettings::default();
        let mut error = |key: &str, value: &str| settings.set(key, value).unwrap_err();
        assert_eq!(
            error("retention.msec", "1"),
            "retention.msec is not a setting of a topic, did you mean retention.ms?"
        );
        assert!(error("cleanup.policy", "burn").ends_with("one of delete, compact, compact,delete"));
        assert!(error("cleanup.policy", "compact,burn").contains("burn"));
        assert!(error("min.cleanable.dirty.ratio", "1.5").ends_with("a number from 0 to 1, such as 0.5"));
        assert!(error("min.insync.replicas", "2").contains("one copy"));
        assert!(error("zookeeper", "2").ends_with("is not a setting of a topic"));
    }

    #[test]
    fn a_topic_keeps_what_it_set_and_follows_the_broker_in_the_rest() {
        let mut own = TopicOverrides::default();
        own.set("retention.ms", "1d").unwrap();
        own.set("segment.bytes", "1MiB").unwrap();
        own.unset("segment.bytes").unwrap();
        assert!(own.set("segment.bytes", "1").is_err() && own.unset("nothing").is_err());
        assert_eq!(own.iter().collect::<Vec<_>>(), [("retention.ms", "86400000".to_owned())]);

        let broker = TopicSettings { segment_bytes: 5000, ..TopicSettings::default() };
        let all = own.over(&broker);
        assert_eq!((all.retention_ms, all.segment_bytes), (86_400_000, 5000));
    }

    #[test]
    fn words_are_added_to_lists_and_taken_away() {
        let (mut own, broker) = (TopicOverrides::default(), TopicSettings::default());
        let mut edit = |key: &str, words: &str, add| {
            let now = own.over(&broker);
            own.edit(key, words, add, &now).map(|()| own.over(&broker).cleanup)
        };
        assert_eq!(edit("cleanup.policy", "compact", true), Ok(Cleanup::CompactAndDelete));
        assert_eq!(edit("cleanup.policy", "compact", true), Ok(Cleanup::CompactAndDelete));
        assert_eq!(edit("cleanup.policy", "delete", false), Ok(Cleanup::Compact));
        assert!(edit("cleanup.policy", "compact", false).unwrap_err().contains("one of delete"));
        assert!(edit("cleanup.policy", "burn", true).unwrap_err().contains("burn"));
        assert!(edit("retention.wait.groups", "audit", true).is_ok());
        assert!(edit("retention.wait.groups", "billing", true).is_ok());
        assert!(edit("retention.wait.groups", "audit", false).is_ok());
        assert!(edit("retention.ms", "5", true).unwrap_err().contains("not a list"));
        assert!(edit("nothing", "5", true).is_err());
        assert_eq!(own.over(&broker).retention_wait_groups, ["billing"]);
    }
}
