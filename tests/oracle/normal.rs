//! What two brokers may answer differently without anybody being wrong: names that a broker gives, its address, the
//! time, words for people. Each becomes a word in angle brackets, so that what is left can be compared.
//!
//! Invariant: a value is replaced only by what it means. An id is `<id of NAME>` only if it is that topic's, a time is
//! `<now>` only if it lies within the run, and a text that is missing or empty stays so.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use uuid::Uuid;

use super::batch::{self, Told};
use super::script::NO_ID;
use super::tree::Tree;

/// What a run has learnt of its broker.
#[derive(Debug, Default)]
pub struct Known {
    /// Names of topics by their ids as they are printed.
    pub topics: BTreeMap<String, String>,
    /// Names that the script has for producer ids.
    pub producers: BTreeMap<i64, String>,
    /// The port that was reached.
    pub port: u16,
    /// The leader epoch of all partitions: a fresh broker has one.
    pub leader_epoch: Option<i32>,
    /// When the run has begun, in milliseconds.
    pub begun: i64,
}

/// Lists that Kafka fills from hash maps, so that their order means nothing: the list, and the field that sorts it.
const SORTED: &[(&str, &str)] = &[
    ("ConsumerGroupDescribe.members", "member_id"),
    ("ConsumerGroupDescribe.partitions", ""),
    ("ConsumerGroupDescribe.topic_partitions", "topic_name"),
    ("ConsumerGroupHeartbeat.partitions", ""),
    ("ConsumerGroupHeartbeat.topic_partitions", "topic_id"),
    ("CreatePartitions.results", "name"),
    ("CreateTopics.topics", "name"),
    ("DeleteGroups.results", "group_id"),
    ("DeleteRecords.partitions", "partition_index"),
    ("DeleteRecords.topics", "name"),
    ("DeleteTopics.responses", "name"),
    ("DescribeLogDirs.partitions", "partition_index"),
    ("DescribeLogDirs.topics", "name"),
    ("Fetch.partitions", "partition_index"),
    ("Fetch.responses", "topic"),
    ("ListOffsets.partitions", "partition_index"),
    ("ListOffsets.topics", "name"),
    ("Metadata.partitions", "partition_index"),
    ("Metadata.topics", "name"),
    ("OffsetCommit.partitions", "partition_index"),
    ("OffsetCommit.topics", "name"),
    ("OffsetDelete.partitions", "partition_index"),
    ("OffsetDelete.topics", "name"),
    ("OffsetFetch.partitions", "partition_index"),
    ("OffsetFetch.topics", "name"),
    ("OffsetForLeaderEpoch.partitions", "partition"),
    ("OffsetForLeaderEpoch.topics", "topic"),
    ("Produce.partition_responses", "index"),
    ("Produce.responses", "name"),
];

/// Lists whose entries are known by a name and not by their place.
const KEYED: &[(&str, &str)] = &[
    ("ApiVersions.api_keys", "api_key"),
    ("ApiVersions.supported_features", "name"),
    ("ApiVersions.finalized_features", "name"),
    ("CreateTopics.configs", "name"),
    ("DescribeConfigs.configs", "name"),
    ("ListGroups.groups", "group_id"),
];

/// The source of a setting that nobody has set.
const DEFAULT: &str = "5";

/// Fields whose text is for people.
const WORDS: &[&str] = &["error_message", "batch_index_error_message", "documentation"];
/// Bytes that members of groups write for each other.
const PRIVATE: &[&str] = &["metadata", "assignment", "member_metadata", "member_assignment"];
/// Fields that name members of groups, by ids that a broker gives.
const MEMBERS: &[&str] = &["member_id", "leader"];
/// Fields that hold a moment.
const MOMENTS: &[&str] = &["timestamp", "last_timestamp", "log_append_time_ms"];

impl Known {
    /// The answer of an API in what both brokers can say alike.
    pub fn normalised(&self, tree: Tree, api: &str, version: i16) -> Tree {
        Rules { known: self, api, suffix: format!("-v{version}") }.walk("", tree)
    }

    /// A moment, unless it lies within the run.
    fn moment(&self, at: i64) -> String {
        let now = now_ms();
        if (self.begun - 1_000..=now + 1_000).contains(&at) { "<now>".to_owned() } else { at.to_string() }
    }

    fn epoch(&self, epoch: i32) -> String {
        if Some(epoch) == self.leader_epoch { "<epoch>".to_owned() } else { epoch.to_string() }
    }

    fn producer(&self, id: i64) -> String {
        match self.producers.get(&id) {
            Some(name) => format!("<{name}>"),
            None if id < 0 => id.to_string(),
            None => "<a producer>".to_owned(),
        }
    }

    fn batch(&self, told: &Told) -> Tree {
        Tree::Leaf(format!(
            "{}, times {} to {}, leader epoch {}, producer {}",
            told.what,
            self.moment(told.base_timestamp),
            self.moment(told.max_timestamp),
            self.epoch(told.leader_epoch),
            self.producer(told.producer_id),
        ))
    }

    fn batches(&self, bytes: &[u8]) -> Tree {
        let (told, left) = batch::read(bytes);
        let mut items: Vec<Tree> = told.iter().map(|told| self.batch(told)).collect();
        if left > 0 {
            items.push(Tree::Leaf(format!("{left} bytes of a batch")));
        }
        Tree::List(items)
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("it is after 1970").as_millis() as i64
}

struct Rules<'a> {
    known: &'a Known,
    api: &'a str,
    /// What names of things end with that a script makes once for each version.
    suffix: String,
}

impl Rules<'_> {
    fn walk(&self, name: &str, tree: Tree) -> Tree {
        match tree {
            Tree::Leaf(text) => Tree::Leaf(self.leaf(name, text)),
            Tree::Bytes(bytes) if PRIVATE.contains(&name) => {
                Tree::Leaf(format!("{:?}", bytes.escape_ascii().to_string()))
            }
            Tree::Bytes(bytes) => self.known.batches(&bytes),
            tree if tree.is_unknown() => Tree::Leaf("(all -1)".to_owned()),
            Tree::List(items) => {
                self.list(name, items.into_iter().map(|item| self.walk(name, item)).collect())
            }
            Tree::Fields(fields) => {
                let walked = |(field, tree): (String, Tree)| (field.clone(), self.walk(&field, tree));
                Tree::Fields(fields.into_iter().map(walked).collect())
            }
            Tree::Named(_) => unreachable!("names are given here"),
        }
    }

    fn list(&self, name: &str, mut items: Vec<Tree>) -> Tree {
        let path = format!("{}.{name}", self.api);
        let by =
            |field: &str, item: &Tree| item.field(field).and_then(Tree::leaf).unwrap_or_default().to_owned();
        if let Some((_, field)) = SORTED.iter().find(|(list, _)| *list == path) {
            items.sort_by_key(|item| (by(field, item), item.clone()));
        }
        match KEYED.iter().find(|(list, _)| *list == path) {
            Some((_, field)) if !items.is_empty() => {
                let named = |item: Tree| (by(field, &item).trim_matches('"').to_owned(), item);
                let mut named: Vec<(String, Tree)> = items.into_iter().map(named).collect();
                named.sort();
                Tree::Named(self.without_defaults(named))
            }
            _ => Tree::List(items),
        }
    }

    /// CreateTopics tells every setting of a new topic; those that have their defaults are compared where
    /// DescribeConfigs tells them.
    fn without_defaults(&self, mut named: Vec<(String, Tree)>) -> Vec<(String, Tree)> {
        let is_default = |tree: &Tree| tree.field("config_source").and_then(Tree::leaf) == Some(DEFAULT);
        if self.api == "CreateTopics" && named.iter().any(|(_, tree)| is_default(tree)) {
            named.retain(|(_, tree)| !is_default(tree));
            named.push(("others".to_owned(), Tree::Leaf("(at their defaults)".to_owned())));
        }
        named
    }

    fn leaf(&self, name: &str, text: String) -> String {
        let known = self.known;
        let number = text.parse::<i64>();
        match (name, number) {
            ("error_code", Ok(code)) => error(code as i16),
            ("topic_config_error_code", Ok(code)) => error(code as i16),
            ("producer_id", Ok(id)) => known.producer(id),
            ("leader_epoch", Ok(epoch)) => known.epoch(epoch as i32),
            ("finalized_features_epoch", Ok(0..)) => "<a number>".to_owned(),
            ("session_id", Ok(1..)) => "<a session>".to_owned(),
            ("port", Ok(port)) if port == i64::from(known.port) => "<port>".to_owned(),
            ("total_bytes" | "usable_bytes", Ok(1..)) => "<bytes>".to_owned(),
            (_, Ok(at)) if MOMENTS.contains(&name) => known.moment(at),
            ("topic_id", Err(_)) => match known.topics.get(&text) {
                Some(topic) => self.shortened(format!("<id of {topic}>")),
                None if Uuid::parse_str(&text).is_ok_and(|id| ![Uuid::nil(), NO_ID].contains(&id)) => {
                    "<an id>".to_owned()
                }
                None => text,
            },
            (_, Err(_)) if MEMBERS.contains(&name) && is_given(&text) => "<a member>".to_owned(),
            ("cluster_id", Err(_)) if is_words(&text) => "<cluster>".to_owned(),
            ("log_dir", Err(_)) if is_words(&text) => "<folder>".to_owned(),
            (_, Err(_)) if WORDS.contains(&name) && is_words(&text) => "<text>".to_owned(),
            _ => self.shortened(text),
        }
    }

    /// `"made-v7"` becomes `"made-v*"`, so that the answers of all versions can be the same.
    fn shortened(&self, text: String) -> String {
        for end in ['"', '>'] {
            if let Some(stem) = text.strip_suffix(end).and_then(|text| text.strip_suffix(&self.suffix)) {
                return format!("{stem}-v*{end}");
            }
        }
        text
    }
}

/// Whether the id of a member ends with what makes it unique, or is nothing else, which Kafka writes in 22 letters.
fn is_given(text: &str) -> bool {
    let text = text.trim_matches('"');
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.len() == 22 && text.chars().all(letter) {
        return true;
    }
    let end = text.len().checked_sub(36).and_then(|at| text.get(at..));
    end.is_some_and(|end| Uuid::parse_str(end).is_ok())
}

fn is_words(text: &str) -> bool {
    text.starts_with('"') && text.len() > 2
}

/// The number of an error, and its name.
fn error(code: i16) -> String {
    match ResponseError::try_from_code(code) {
        None => "0".to_owned(),
        Some(error) => format!("{code} {error:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let topics = [("id-1".to_owned(), "made-v7".to_owned())].into();
        Known { topics, port: 9092, leader_epoch: Some(4), begun: now_ms(), ..Known::default() }
    }

    #[test]
    fn only_what_a_value_means_is_replaced() {
        let now = now_ms();
        let printed = format!(
            r#"A {{ topic_id: id-1, other: B {{ topic_id: id-2 }}, port: 9092, leader_epoch: 4, error_code: 3,
            error_message: None, timestamp: {now}, partitions: [C {{ leader_epoch: 5, timestamp: 17, port: 1 }}],
            documentation: Some("words"), cluster_id: "" }}"#
        );
        let lines = known().normalised(Tree::of(&printed.replace('\n', " ")), "A", 7).lines();
        let values: Vec<&str> = lines.iter().map(|(_, value)| value.as_str()).collect();
        let expected = [
            "<id of made-v*>",
            "id-2",
            "<port>",
            "<epoch>",
            "3 UnknownTopicOrPartition",
            "null",
            "<now>",
            "5",
            "17",
            "1",
            "<text>",
            "\"\"",
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn lists_without_an_order_are_sorted_and_no_others() {
        let printed = r#"A { topics: [T { name: "b", topics: [2, 1] }, T { name: "a", topics: [] }] }"#;
        let first = |api| known().normalised(Tree::of(printed), api, 1).lines()[0].clone();
        assert_eq!(first("Metadata"), ("topics[0].name".to_owned(), "\"a\"".to_owned()));
        assert_eq!(first("DescribeProducers"), ("topics[0].name".to_owned(), "\"b\"".to_owned()));
    }
}
