//! Topics by name and by key, their settings, and the text file that keeps them.
//!
//! Invariant: a name and an id map to a key exactly as long as the topic is being created, lives, or is being deleted;
//! keys are never given twice, so a stale key finds nothing rather than a stranger.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{ErrorCode, INTERNAL_TOPICS, PartitionKey, Refusal, ReplyTo, TopicKey, TopicRef};
use crate::config::nearest::nearest;
use crate::config::{TopicOverrides, TopicSettings};

/// Longest topic name, as in Kafka: a file name of 255 bytes with room for a suffix.
const NAME_MOST: usize = 249;

/// One topic.
#[derive(Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id, 16 random bytes.
    pub id: [u8; 16],
    /// What holds for it: its own settings over the broker's.
    pub settings: TopicSettings,
    /// What was set for it.
    pub own: TopicOverrides,
    /// Its partitions by number; empty while it is being created.
    pub partitions: Vec<PartitionKey>,
    /// Whether it can be used.
    pub state: State,
    /// A change that a worker is making durable. There is one at a time.
    pub change: Option<Pending>,
}

/// A change of a topic that is being made durable.
#[derive(Debug)]
pub struct Pending {
    /// Who waits for it.
    pub to: ReplyTo,
    /// What it comes to.
    pub what: Altered,
}

/// What changes.
#[derive(Debug)]
pub enum Altered {
    /// These are its own settings then.
    Settings(TopicOverrides),
    /// It gets so many more partitions.
    Partitions(usize),
}

/// Where a topic is in its life.
#[derive(Debug)]
pub enum State {
    /// Its folder is being made; these wait for it.
    Creating(Vec<(ReplyTo, Then)>),
    /// It can be used.
    Live,
    /// It is to be removed when no job of its partitions is under way; these wait for that.
    Deleting(Vec<ReplyTo>),
}

/// What a request that waits for a new topic gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Its description.
    Describe,
    /// It opened, for a producer.
    OpenProducer {
        /// Whether a producer id is wanted.
        idempotent: bool,
    },
}

/// All topics.
#[derive(Debug, Default)]
pub struct Catalog {
    names: BTreeMap<String, TopicKey>,
    ids: BTreeMap<[u8; 16], TopicKey>,
    topics: Vec<Option<Topic>>,
    /// The keys of [`INTERNAL_TOPICS`].
    internal: BTreeSet<TopicKey>,
}

impl Catalog {
    /// Adds a topic under a new key.
    pub fn add(&mut self, topic: Topic) -> TopicKey {
        let key = TopicKey(u32::try_from(self.topics.len()).expect("fewer than 4 G topics in one process"));
        self.names.insert(topic.name.clone(), key);
        self.ids.insert(topic.id, key);
        if INTERNAL_TOPICS.contains(&topic.name.as_str()) {
            self.internal.insert(key);
        }
        self.topics.push(Some(topic));
        key
    }

    /// Forgets a topic.
    pub fn remove(&mut self, key: TopicKey) -> Option<Topic> {
        let topic = self.topics.get_mut(key.0 as usize)?.take()?;
        self.names.remove(&topic.name);
        self.ids.remove(&topic.id);
        Some(topic)
    }

    /// The key of a name.
    pub fn find(&self, name: &str) -> Option<TopicKey> {
        self.names.get(name).copied()
    }

    /// Whether a topic is the broker's own, whether it is there or not.
    pub fn is_internal(&self, topic: TopicRef<'_>) -> bool {
        match topic {
            TopicRef::Name(name) => INTERNAL_TOPICS.contains(&name),
            TopicRef::Id(id) => self.ids.get(&id).is_some_and(|key| self.internal.contains(key)),
            TopicRef::Key(key) => self.internal.contains(&key),
        }
    }

    /// A topic by whatever it is called, in whatever state it is.
    pub fn resolve(&self, topic: TopicRef<'_>) -> Result<(TopicKey, &Topic), Refusal> {
        let key = match topic {
            TopicRef::Name(name) => self.find(name),
            TopicRef::Id(id) => self.ids.get(&id).copied(),
            TopicRef::Key(key) => Some(key),
        };
        let found = key.and_then(|key| Some((key, self.get(key)?)));
        found.ok_or_else(|| self.unknown_ref(topic))
    }

    /// A topic by key.
    pub fn get(&self, key: TopicKey) -> Option<&Topic> {
        self.topics.get(key.0 as usize)?.as_ref()
    }

    /// A topic by key, to change it.
    pub fn get_mut(&mut self, key: TopicKey) -> Option<&mut Topic> {
        self.topics.get_mut(key.0 as usize)?.as_mut()
    }

    /// All topics, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (TopicKey, &Topic)> {
        self.names.values().map(|&key| (key, self.get(key).expect("a name maps to a topic")))
    }

    /// How many topics there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// A name that differs from this one only in `.` and `_`, which metrics cannot tell apart (as in Kafka,
    /// `org.apache.kafka.common.internals.Topic.hasCollision`).
    pub fn colliding(&self, name: &str) -> Option<&str> {
        let alike = |(a, b): (u8, u8)| a == b || (matches!(a, b'.' | b'_') && matches!(b, b'.' | b'_'));
        let collides = |other: &&str| {
            other.len() == name.len() && *other != name && other.bytes().zip(name.bytes()).all(alike)
        };
        if !name.contains(['.', '_']) {
            return None;
        }
        self.names.keys().map(String::as_str).find(collides)
    }

    /// A refusal that says that there is no such topic, or no longer.
    pub fn unknown_ref(&self, topic: TopicRef<'_>) -> Refusal {
        match topic {
            TopicRef::Name(name) => self.unknown(name),
            TopicRef::Key(key) => self.unknown(self.get(key).map_or("(deleted)", |topic| &topic.name)),
            TopicRef::Id(id) => {
                Refusal::new(ErrorCode::UnknownTopicId, format!("no topic has the id {}", hex(&id)))
                    .hint("it may have been deleted, and created again with another id")
            }
        }
    }

    /// A refusal that names what is not there, and what might have been meant.
    pub fn unknown(&self, name: &str) -> Refusal {
        let refusal =
            Refusal::new(ErrorCode::UnknownTopicOrPartition, format!("topic {name:?} does not exist"));
        match nearest(name, self.names.keys().map(String::as_str)) {
            Some(near) => refusal.hint(format!("did you mean {near:?}?")),
            None => refusal.hint("create it first; list shows what is there"),
        }
    }
}

/// Checks a name by Kafka's rules (`org.apache.kafka.common.internals.Topic.validate`).
pub fn check_name(name: &str) -> Result<(), Refusal> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let wrong = if name.is_empty() {
        "a topic name cannot be empty"
    } else if name == "." || name == ".." {
        "a topic name cannot be \".\" or \"..\""
    } else if name.len() > NAME_MOST {
        "a topic name has at most 249 characters"
    } else if !name.bytes().all(legal) {
        "a topic name consists of letters, digits, '.', '_' and '-'"
    } else {
        return Ok(());
    };
    Err(Refusal::new(ErrorCode::InvalidTopic, wrong))
}

impl Topic {
    /// Content of `topic.properties`, with these settings of its own.
    pub fn properties(&self, own: &TopicOverrides, partitions: u32) -> String {
        let mut text = format!(
            "# written by krappy; `krappyctl topic alter` changes it\nid={}\npartitions={partitions}\n",
            hex(&self.id)
        );
        for (key, value) in own.iter() {
            text += &format!("{key}={value}\n");
        }
        text
    }
}

/// What `topic.properties` says.
#[derive(Debug, PartialEq, Eq)]
pub struct Properties {
    /// The topic's id.
    pub id: [u8; 16],
    /// How many partitions.
    pub partitions: u32,
    /// Its own settings.
    pub own: TopicOverrides,
}

impl Properties {
    /// Reads the text; the error says which line is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut id, mut partitions, mut own) = (None, None, TopicOverrides::default());
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what: &str| format!("line {}: {what}: {line:?}", number + 1);
            let (key, value) = line.split_once('=').ok_or_else(|| wrong("no '='"))?;
            match key {
                "id" => id = Some(parse_id(value).ok_or_else(|| wrong("not 32 hexadecimal digits"))?),
                "partitions" => partitions = Some(value.parse().map_err(|_| wrong("not a number"))?),
                _ => own.set(key, value).map_err(|e| wrong(&e))?,
            }
        }
        let partitions = partitions.filter(|&n| n > 0).ok_or("no partition count")?;
        Ok(Self { id: id.ok_or("no id")?, partitions, own })
    }
}

fn hex(id: &[u8; 16]) -> String {
    id.iter().map(|b| format!("{b:02x}")).collect()
}

fn parse_id(hex: &str) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    if hex.len() != 32 || !hex.is_ascii() {
        return None;
    }
    for (i, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules_at_their_edges() {
        for good in ["a", "A.b_c-9", "...", &"x".repeat(249)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let bad =
            ["", ".", "..", "a/b", "../x", "a b", "ä", "a\0", "a\nb", "%2e%2e", "\u{202e}", &"x".repeat(250)];
        for bad in bad {
            assert_eq!(check_name(bad).unwrap_err().code, ErrorCode::InvalidTopic, "{bad:?}");
        }
    }

    #[test]
    fn properties_come_back_and_damage_is_named() {
        let mut own = TopicOverrides::default();
        own.set("retention.ms", "5").unwrap();
        let topic = Topic {
            name: "t".into(),
            id: [0xab; 16],
            settings: TopicSettings::default(),
            own,
            partitions: Vec::new(),
            state: State::Live,
            change: None,
        };
        let text = topic.properties(&topic.own, 3);
        let read = Properties::parse(&text).unwrap();
        assert_eq!(read, Properties { id: [0xab; 16], partitions: 3, own: topic.own });
        for (text, error) in [
            ("partitions=1", "no id"),
            ("id=00", "line 1: not 32 hexadecimal digits: \"id=00\""),
            ("\npartitions=x", "line 2: not a number: \"partitions=x\""),
            ("what", "line 1: no '=': \"what\""),
            (&format!("id={}\npartitions=0", "0".repeat(32)), "no partition count"),
        ] {
            assert_eq!(Properties::parse(text).unwrap_err(), error);
        }
    }

    fn topic(name: &str, id: u8) -> Topic {
        Topic {
            name: name.into(),
            id: [id; 16],
            settings: TopicSettings::default(),
            own: TopicOverrides::default(),
            partitions: Vec::new(),
            state: State::Live,
            change: None,
        }
    }

    #[test]
    fn a_key_is_never_given_twice() {
        let mut catalog = Catalog::default();
        let first = catalog.add(topic("orders", 1));
        catalog.remove(first);
        let second = catalog.add(topic("orders", 2));
        assert!(first != second && catalog.get(first).is_none());
        assert_eq!(catalog.unknown("order").hint, "did you mean \"orders\"?");
    }

    #[test]
    fn a_topic_is_found_by_name_id_and_key_as_long_as_it_is_there() {
        let mut catalog = Catalog::default();
        let key = catalog.add(topic("orders", 1));
        let refs = [TopicRef::Name("orders"), TopicRef::Id([1; 16]), TopicRef::Key(key)];
        for topic in refs {
            assert_eq!(catalog.resolve(topic).map(|(key, _)| key), Ok(key), "{topic:?}");
        }
        catalog.remove(key);
        catalog.add(topic("orders", 2));
        let code = |topic| catalog.resolve(topic).map(|(key, _)| key).map_err(|e| e.code);
        assert_eq!(code(TopicRef::Id([1; 16])), Err(ErrorCode::UnknownTopicId), "another life, another id");
        assert_eq!(code(TopicRef::Key(key)), Err(ErrorCode::UnknownTopicOrPartition));
        assert_eq!(code(TopicRef::Name("payments")), Err(ErrorCode::UnknownTopicOrPartition));
    }

    #[test]
    fn names_that_differ_in_dots_and_underscores_only_collide() {
        let mut catalog = Catalog::default();
        catalog.add(topic("a.b_c", 1));
        for (name, collides) in
            [("a_b.c", true), ("a.b.c", true), ("a.b_c", false), ("a-b_c", false), ("a.b_cc", false)]
        {
            assert_eq!(catalog.colliding(name).is_some(), collides, "{name}");
        }
    }
}
