//! A setting as a client asks to see it: its value, what it would be otherwise, and who has set it.
//!
//! Invariant: every setting that somebody may set has one line, of its topic or of the broker, made from the same table
//! that it is read by.

use super::Config;
use super::table::{Group, Setting, settings};
use super::topic::{TABLE, TopicOverrides, TopicSetting, TopicSettings};

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingLine {
    /// Its name, Kafka's where Kafka has one.
    pub name: &'static str,
    /// The value as Kafka writes it: a number without a unit, or words.
    pub value: String,
    /// What it would be if nobody had set it.
    pub default: String,
    /// Who has set it.
    pub source: SettingSource,
    /// The type of the value, by the number that Kafka's DescribeConfigs has for it.
    pub kind: i8,
    /// What it does.
    pub doc: &'static str,
    /// Whether it holds until the broker is started with another value.
    pub read_only: bool,
}

/// Who has set a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingSource {
    /// The topic.
    Topic,
    /// Whoever started the broker.
    Broker,
    /// Nobody.
    Default,
}

impl TopicOverrides {
    /// Every setting of a topic that has set these for itself, sorted by name.
    pub fn describe(&self, broker: &TopicSettings) -> Vec<SettingLine> {
        let (own, default) = (self.over(broker), TopicSettings::default());
        let line = |s: &'static TopicSetting| {
            let plain = |settings| s.kind.plain(&(s.get)(settings));
            let source = match self.has(s.name) {
                true => SettingSource::Topic,
                false if (s.get)(broker) != (s.get)(&default) => SettingSource::Broker,
                false => SettingSource::Default,
            };
            SettingLine {
                name: s.name,
                value: plain(&own),
                default: plain(&default),
                source,
                kind: s.kind.kafka_type(),
                doc: s.doc,
                read_only: false,
            }
        };
        TABLE.iter().map(line).collect()
    }
}

impl Config {
    /// Every setting of the broker, in the order of the manual. All of them are given at start.
    pub fn describe(&self) -> Vec<SettingLine> {
        let defaults = Config::default();
        let line = |s: Setting| {
            let (value, default) = (s.get(self), s.get(&defaults));
            SettingLine {
                name: s.name,
                source: if value == default { SettingSource::Default } else { SettingSource::Broker },
                value: s.kind.plain(&value),
                default: s.kind.plain(&default),
                kind: s.kind.kafka_type(),
                doc: s.doc,
                read_only: true,
            }
        };
        settings().filter(|s| s.group != Group::Hidden).map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_has_set_what() {
        let mut own = TopicOverrides::default();
        own.set("retention.ms", "1d").unwrap();
        let broker = TopicSettings { segment_bytes: 5000, ..TopicSettings::default() };
        let shown = own.describe(&broker);
        let line = |name: &str| {
            let line = shown.iter().find(|line| line.name == name).unwrap();
            (line.value.as_str(), line.default.as_str(), line.source)
        };
        assert_eq!(line("retention.ms"), ("86400000", "604800000", SettingSource::Topic));
        assert_eq!(line("segment.bytes"), ("5000", "1073741824", SettingSource::Broker));
        assert_eq!(line("cleanup.policy"), ("delete", "delete", SettingSource::Default));
        assert_eq!(shown.len(), TABLE.len());
    }

    #[test]
    fn the_broker_describes_what_it_was_started_with() {
        let config = Config { num_partitions: 7, debug_sync_delay_ms: 9, ..Config::default() };
        let shown = config.describe();
        let of = |name: &str| shown.iter().find(|line| line.name == name);
        let partitions = of("num.partitions").unwrap();
        assert_eq!((partitions.value.as_str(), partitions.default.as_str()), ("7", "1"));
        assert_eq!((partitions.source, partitions.read_only), (SettingSource::Broker, true));
        assert_eq!(of("log.retention.ms").unwrap().source, SettingSource::Default);
        assert_eq!(of("debug.sync.delay.ms"), None, "what is for tests is not shown");
    }

    #[test]
    fn types_are_numbered_as_kafka_does() {
        let shown = TopicOverrides::default().describe(&TopicSettings::default());
        let kind = |name: &str| shown.iter().find(|line| line.name == name).unwrap().kind;
        // org.apache.kafka.clients.admin.ConfigEntry.ConfigType as DescribeConfigs numbers them.
        let (int, long, double, list) = (3, 5, 6, 7);
        assert_eq!([kind("max.message.bytes"), kind("retention.ms")], [int, long]);
        assert_eq!([kind("min.cleanable.dirty.ratio"), kind("cleanup.policy")], [double, list]);
    }
}
