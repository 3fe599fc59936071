//! How far groups have come: in memory by group, topic and partition, and on disk as records of a compacted topic.
//!
//! The records are those of Kafka's own `__consumer_offsets` (its schemas OffsetCommitKey and OffsetCommitValue), so
//! that tools which know that topic can read this one:
//!
//! ```text
//! key     version 1 i16 | group text | topic text | partition i32
//! value   version 4 i16 | offset i64 | leader epoch i32 | metadata compact text | commit timestamp i64
//!         | tagged fields: 0, 16 bytes: the id of the topic
//! ```
//!
//! A text has its length before it in an i16, a compact text its length plus one in a varint. A key without a value
//! says that the position is forgotten.
//!
//! Invariant: absent is absent. A position that was committed for another topic of the same name is never given out:
//! the id of the topic is part of it.

use std::collections::BTreeMap;

/// `offset.metadata.max.bytes`: most bytes that a client may leave with an offset.
pub const METADATA_MOST: usize = 4096;

const KEY_VERSION: i16 = 1;
const VALUE_VERSION: i16 = 4;
/// The number of the tagged field that holds the id of the topic, and its size.
const TOPIC_ID: [u8; 2] = [0, 16];

/// How far a group has come in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The offset of the next record to read.
    pub offset: i64,
    /// The leader epoch of the last record that was read; -1: not said.
    pub leader_epoch: i32,
    /// Whatever the client wants to find again.
    pub metadata: Box<str>,
    /// When it was committed, milliseconds since 1970.
    pub timestamp: i64,
    /// The id of the topic that is meant.
    pub topic_id: [u8; 16],
}

/// What became of a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The number of the partition.
    pub partition: i32,
    /// The position; absent: forgotten.
    pub position: Option<Position>,
}

/// The positions of one group, by topic and number: sorted, because a tree keeps room for eleven of everything, and
/// most groups have one topic with a few partitions.
type OfGroup = Vec<(Box<str>, Vec<(i32, Position)>)>;

/// The positions of all groups.
#[derive(Debug, Default)]
pub struct Offsets {
    groups: BTreeMap<Box<str>, OfGroup>,
    count: usize,
}

impl Offsets {
    /// Lets a change hold.
    pub fn apply(&mut self, change: Change) {
        match change.position {
            Some(position) => self.put(&change.group, &change.topic, change.partition, position),
            None => self.remove(&change.group, &change.topic, change.partition),
        }
    }

    fn put(&mut self, group: &str, topic: &str, partition: i32, position: Position) {
        if !self.groups.contains_key(group) {
            self.groups.insert(group.into(), Vec::new());
        }
        let topics = self.groups.get_mut(group).expect("it is there now");
        let at = find_topic(topics, topic).unwrap_or_else(|at| {
            insert(topics, at, (topic.into(), Vec::new()));
            at
        });
        let partitions = &mut topics[at].1;
        match find_partition(partitions, partition) {
            Ok(at) => partitions[at].1 = position,
            Err(at) => {
                insert(partitions, at, (partition, position));
                self.count += 1;
            }
        }
    }

    fn remove(&mut self, group: &str, topic: &str, partition: i32) {
        let Some(topics) = self.groups.get_mut(group) else { return };
        let Ok(at) = find_topic(topics, topic) else { return };
        let partitions = &mut topics[at].1;
        if let Ok(at) = find_partition(partitions, partition) {
            partitions.remove(at);
            self.count -= 1;
        }
        if partitions.is_empty() {
            topics.remove(at);
        }
        if topics.is_empty() {
            self.groups.remove(group);
        }
    }

    /// How far a group has come in a partition.
    pub fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&Position> {
        let topics = self.groups.get(group)?;
        let partitions = &topics[find_topic(topics, topic).ok()?].1;
        Some(&partitions[find_partition(partitions, partition).ok()?].1)
    }

    /// All positions of a group, by topic and number.
    pub fn of_group(&self, group: &str) -> impl Iterator<Item = (&str, i32, &Position)> {
        let topics = self.groups.get(group).into_iter().flatten();
        topics.flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(number, at)| (&**topic, *number, at))
        })
    }

    /// All positions in a topic: group and number.
    pub fn in_topic(&self, topic: &str) -> impl Iterator<Item = (&str, i32, &Position)> {
        self.groups.iter().flat_map(move |(group, topics)| {
            let partitions = find_topic(topics, topic).map_or(&[][..], |at| &topics[at].1);
            partitions.iter().map(move |(number, at)| (&**group, *number, at))
        })
    }

    /// Everything, to look for what is no longer meant: group, topic, number.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, i32, &Position)> {
        self.groups.keys().flat_map(|group| {
            self.of_group(group).map(move |(topic, number, at)| (&**group, topic, number, at))
        })
    }

    /// The names of all groups that have positions.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(|name| &**name)
    }

    /// Whether a group has positions.
    pub fn has(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    /// How many positions there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

fn find_topic(topics: &OfGroup, topic: &str) -> Result<usize, usize> {
    topics.binary_search_by(|(name, _)| (**name).cmp(topic))
}

fn find_partition(partitions: &[(i32, Position)], partition: i32) -> Result<usize, usize> {
    partitions.binary_search_by_key(&partition, |(number, _)| *number)
}

/// Inserts, and makes room for no more than the first.
fn insert<T>(into: &mut Vec<T>, at: usize, item: T) {
    if into.is_empty() {
        into.reserve_exact(1);
    }
    into.insert(at, item);
}

impl Change {
    /// The key of its record.
    pub fn key(&self) -> Vec<u8> {
        let mut key = KEY_VERSION.to_be_bytes().to_vec();
        for text in [&self.group, &self.topic] {
            let size = i16::try_from(text.len()).expect("names of groups and topics are checked to be short");
            key.extend(size.to_be_bytes());
            key.extend(text.as_bytes());
        }
        key.extend(self.partition.to_be_bytes());
        key
    }

    /// The value of its record; absent: the record is a tombstone.
    pub fn value(&self) -> Option<Vec<u8>> {
        let position = self.position.as_ref()?;
        let mut value = VALUE_VERSION.to_be_bytes().to_vec();
        value.extend(position.offset.to_be_bytes());
        value.extend(position.leader_epoch.to_be_bytes());
        put_varint(&mut value, position.metadata.len() as u32 + 1);
        value.extend(position.metadata.as_bytes());
        value.extend(position.timestamp.to_be_bytes());
        // One tagged field.
        value.push(1);
        value.extend(TOPIC_ID);
        value.extend(position.topic_id);
        Some(value)
    }

    /// What a record says; `None` if it is no record of ours. One with a value that cannot be read says nothing.
    pub fn read(key: &[u8], value: Option<&[u8]>) -> Option<Change> {
        let mut from = Bytes(key);
        if i16::from_be_bytes(from.array()?) != KEY_VERSION {
            return None;
        }
        let (group, topic) = (from.text()?, from.text()?);
        let partition = i32::from_be_bytes(from.array()?);
        let position = match value {
            Some(value) => Some(read_value(value)?),
            None => None,
        };
        from.0.is_empty().then_some(Change { group, topic, partition, position })
    }
}

fn read_value(value: &[u8]) -> Option<Position> {
    let mut from = Bytes(value);
    if i16::from_be_bytes(from.array()?) != VALUE_VERSION {
        return None;
    }
    let offset = i64::from_be_bytes(from.array()?);
    let leader_epoch = i32::from_be_bytes(from.array()?);
    let size = from.varint()?.checked_sub(1)?;
    let metadata = std::str::from_utf8(from.take(size as usize)?).ok()?.into();
    let timestamp = i64::from_be_bytes(from.array()?);
    let one_field = from.array()? == [1] && from.array()? == TOPIC_ID;
    let topic_id = from.array()?;
    (one_field && from.0.is_empty()).then_some(Position {
        offset,
        leader_epoch,
        metadata,
        timestamp,
        topic_id,
    })
}

fn put_varint(into: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// Bytes that are still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn text(&mut self) -> Option<String> {
        let size = usize::try_from(i16::from_be_bytes(self.array()?)).ok()?;
        String::from_utf8(self.take(size)?.to_vec()).ok()
    }

    fn varint(&mut self) -> Option<u32> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let [byte] = self.array()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(offset: i64) -> Position {
        Position { offset, leader_epoch: 3, metadata: "where I was".into(), timestamp: 5, topic_id: [7; 16] }
    }

    fn change(group: &str, topic: &str, partition: i32, position: Option<Position>) -> Change {
        Change { group: group.into(), topic: topic.into(), partition, position }
    }

    #[test]
    fn a_record_says_what_was_committed() {
        let long = Position { metadata: "m".repeat(METADATA_MOST).into(), ..position(i64::MAX) };
        for position in [Some(position(42)), Some(long), None] {
            let change = change("billing", "orders", 3, position);
            assert_eq!(Change::read(&change.key(), change.value().as_deref()), Some(change));
        }
    }

    #[test]
    fn the_record_is_laid_out_as_kafka_does_it() {
        let change = change("g", "to", 2, Some(Position { metadata: "m".into(), ..position(258) }));
        assert_eq!(change.key(), b"\0\x01\0\x01g\0\x02to\0\0\0\x02");
        let mut value = b"\0\x04\0\0\0\0\0\0\x01\x02\0\0\0\x03\x02m\0\0\0\0\0\0\0\x05\x01\0\x10".to_vec();
        value.extend([7; 16]);
        assert_eq!(change.value(), Some(value));
    }

    #[test]
    fn a_record_that_is_cut_or_longer_or_of_another_kind_says_nothing() {
        let whole = change("g", "t", 1, Some(position(9)));
        let (key, value) = (whole.key(), whole.value().unwrap());
        for end in 0..key.len() {
            assert_eq!(Change::read(&key[..end], Some(&value)), None);
        }
        for end in 0..value.len() {
            assert_eq!(Change::read(&key, Some(&value[..end])), None);
        }
        assert_eq!(Change::read(&[&key[..], &[0]].concat(), Some(&value)), None);
        assert_eq!(Change::read(&key, Some(&[&value[..], &[0]].concat())), None);
        let group_metadata = [&[0, 2][..], &key[2..]].concat();
        assert_eq!(Change::read(&group_metadata, Some(&value)), None);
    }

    #[test]
    fn what_was_never_committed_or_was_forgotten_is_absent() {
        let mut offsets = Offsets::default();
        assert!(offsets.get("g", "t", 0).is_none() && offsets.is_empty());
        offsets.apply(change("g", "t", 0, Some(position(1))));
        offsets.apply(change("g", "t", 0, Some(position(2))));
        offsets.apply(change("g", "u", 1, Some(position(3))));
        assert_eq!((offsets.get("g", "t", 0), offsets.len()), (Some(&position(2)), 2));
        offsets.apply(change("g", "t", 0, None));
        offsets.apply(change("g", "t", 0, None));
        offsets.apply(change("nobody", "t", 0, None));
        assert_eq!((offsets.get("g", "t", 0), offsets.len()), (None, 1));
        offsets.apply(change("g", "u", 1, None));
        assert!(offsets.is_empty() && !offsets.has("g"));
    }

    #[test]
    fn positions_are_found_by_group_and_by_topic() {
        let mut offsets = Offsets::default();
        for (group, topic, partition) in [("a", "t", 1), ("a", "t", 0), ("b", "t", 0), ("b", "s", 5)] {
            offsets.apply(change(group, topic, partition, Some(position(1))));
        }
        let of = |group| offsets.of_group(group).map(|(t, n, _)| (t, n)).collect::<Vec<_>>();
        assert_eq!((of("a"), of("b"), of("c")), (vec![("t", 0), ("t", 1)], vec![("s", 5), ("t", 0)], vec![]));
        let inside: Vec<_> = offsets.in_topic("t").map(|(g, n, _)| (g, n)).collect();
        assert_eq!(inside, [("a", 0), ("a", 1), ("b", 0)]);
        assert_eq!((offsets.iter().count(), offsets.groups().collect::<Vec<_>>()), (4, vec!["a", "b"]));
    }
}
