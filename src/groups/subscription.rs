//! The topics that consumers have subscribed to, and the partitions that they were given: what the broker reads in the
//! bytes that are otherwise between them and their leader, to tell people about it, and to share out itself where
//! members of both protocols are in one group.
//!
//! The formats are those of Kafka's `ConsumerProtocolSubscription`: a version (`i16`), a count of topics (`i32`), each
//! an `i16` length and a name, bytes for the leader (an `i32` length, -1 for none), from version 1 on the partitions
//! that the member has, from 2 on the generation (`i32`) in which it got them, from 3 on its rack (an `i16` length, -1
//! for none, and a name); and of its `ConsumerProtocolAssignment`: a version, partitions, and bytes for the member.
//! Partitions are a count of topics (`i32`), each a name, a count (`i32`) and the numbers (`i32`). All versions begin
//! so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::consumer::Subscription;
use krappy_wire::codec::{Malformed, Reader};

/// The protocol type of groups whose metadata has this format.
pub(super) const PROTOCOL_TYPE: &str = "consumer";

/// The topics that a group reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscribed<'a> {
    /// These.
    To(BTreeSet<&'a str>),
    /// A member has metadata of another format: it may be any.
    Unknown,
    /// What members have told the broker.
    By(Vec<&'a Subscription>),
}

impl<'a> Subscribed<'a> {
    pub(super) fn of(metadata: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut topics = BTreeSet::new();
        for bytes in metadata {
            if read(bytes, &mut topics).is_err() {
                return Subscribed::Unknown;
            }
        }
        Subscribed::To(topics)
    }

    /// Whether somebody may be reading it.
    pub fn contains(&self, topic: &str) -> bool {
        match self {
            Subscribed::To(topics) => topics.contains(topic),
            Subscribed::Unknown => true,
            Subscribed::By(members) => members.iter().any(|subscription| subscription.includes(topic)),
        }
    }
}

/// Topics and partitions of what a member was given; empty if it is written in another way.
pub fn share(assignment: &[u8]) -> Vec<(&str, i32)> {
    read_share(assignment).unwrap_or_default()
}

fn read_share(assignment: &[u8]) -> Result<Vec<(&str, i32)>, Malformed> {
    let mut reader = Reader::new(assignment);
    let _version = reader.i16()?;
    partitions(&mut reader)
}

fn partitions<'a>(reader: &mut Reader<'a>) -> Result<Vec<(&'a str, i32)>, Malformed> {
    let mut share = Vec::new();
    for _ in 0..reader.i32()?.max(0) {
        let topic = reader.string()?;
        for _ in 0..reader.i32()?.max(0) {
            share.push((topic, reader.i32()?));
        }
    }
    Ok(share)
}

/// The last version of an assignment.
const LAST_ASSIGNMENT: i16 = 3;

/// Writes down what a member is given, in the version in which it speaks itself.
pub(super) fn write_share(version: i16, topics: &BTreeMap<&str, Vec<i32>>) -> Arc<[u8]> {
    let mut bytes = version.clamp(0, LAST_ASSIGNMENT).to_be_bytes().to_vec();
    bytes.extend((topics.len() as i32).to_be_bytes());
    for (topic, numbers) in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
        bytes.extend((numbers.len() as i32).to_be_bytes());
        numbers.iter().for_each(|number| bytes.extend(number.to_be_bytes()));
    }
    let no_bytes_for_the_member: i32 = -1;
    bytes.extend(no_bytes_for_the_member.to_be_bytes());
    bytes.into()
}

/// What a member of the classic protocol says to its leader.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Metadata<'a> {
    /// The version in which it speaks.
    pub version: i16,
    /// The topics that it wants to read.
    pub topics: Vec<&'a str>,
    /// What it reads, and goes on reading until it is told otherwise.
    pub owned: Vec<(&'a str, i32)>,
    /// `client.rack`.
    pub rack: Option<&'a str>,
}

/// Reads what a member says to its leader.
pub(super) fn metadata(bytes: &[u8]) -> Result<Metadata<'_>, Malformed> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    let count = reader.i32()?;
    if version < 0 || count < 0 {
        return Err(Malformed::BadLength);
    }
    let mut said = Metadata { version, topics: Vec::new(), owned: Vec::new(), rack: None };
    for _ in 0..count {
        said.topics.push(reader.string()?);
    }
    reader.nullable_bytes()?;
    // Some clients call it version 1 and end here.
    if version >= 1 && reader.remaining() > 0 {
        said.owned = partitions(&mut reader)?;
        if version >= 2 {
            reader.i32()?;
        }
        if version >= 3
            && let Ok(length) = usize::try_from(reader.i16()?)
        {
            let rack = std::str::from_utf8(reader.take(length)?);
            said.rack = Some(rack.map_err(|_| Malformed::NotUtf8)?);
        }
    }
    Ok(said)
}

fn read<'a>(bytes: &'a [u8], into: &mut BTreeSet<&'a str>) -> Result<(), Malformed> {
    let mut reader = Reader::new(bytes);
    let _version = reader.i16()?;
    let count = reader.i32()?;
    if count < 0 {
        return Err(Malformed::BadLength);
    }
    for _ in 0..count {
        into.insert(reader.string()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_whatever_follows_them() {
        let one = b"\0\0\0\0\0\x01\0\x06orders";
        let two = b"\0\x03\0\0\0\x02\0\x01a\0\x01b\xff\xff\xff\xff and more";
        let subscribed = Subscribed::of([&one[..], two].into_iter());
        assert_eq!(subscribed, Subscribed::To(["a", "b", "orders"].into()));
        assert!(subscribed.contains("a") && !subscribed.contains("c"));
        assert!(!Subscribed::of(std::iter::empty()).contains("a"));
    }

    #[test]
    fn what_a_member_says_to_its_leader_is_read_in_each_version() {
        let zero = b"\0\0\0\0\0\x01\0\x01a\xff\xff\xff\xff";
        let plain = Metadata { version: 0, topics: vec!["a"], owned: vec![], rack: None };
        assert_eq!(metadata(zero), Ok(plain));
        let mut bytes = b"\0\x03\0\0\0\x01\0\x01a\0\0\0\x02xy".to_vec();
        bytes.extend(b"\0\0\0\x01\0\x01b\0\0\0\x02\0\0\0\x07\0\0\0\x08\0\0\0\x05\0\x02r1");
        let whole =
            Metadata { version: 3, topics: vec!["a"], owned: vec![("b", 7), ("b", 8)], rack: Some("r1") };
        assert_eq!(metadata(&bytes), Ok(whole));
        for cut in [0, 5, 8, 14, 20, bytes.len() - 1] {
            assert!(metadata(&bytes[..cut]).is_err(), "{cut}");
        }
        bytes[1] = 2;
        assert_eq!(metadata(&bytes).unwrap().rack, None);
        let ends_early = b"\0\x01\0\0\0\0\xff\xff\xff\xff";
        assert_eq!(metadata(ends_early).unwrap().owned, []);
        assert!(metadata(b"\xff\xff\0\0\0\0\xff\xff\xff\xff").is_err());
    }

    #[test]
    fn a_share_that_is_written_is_read_again() {
        let bytes = write_share(9, &[("a", vec![1, 2]), ("b", vec![0])].into());
        assert_eq!(share(&bytes), [("a", 1), ("a", 2), ("b", 0)]);
        assert_eq!((&bytes[..2], &bytes[bytes.len() - 4..]), (&[0, 3][..], &[0xff; 4][..]));
    }

    #[test]
    fn what_is_not_a_subscription_may_be_one_to_any_topic() {
        for bytes in [
            &b""[..],
            b"\0\0\0\0\0",
            b"\0\0\xff\xff\xff\xff",
            b"\0\0\x7f\xff\xff\xff\0\x01a",
            b"\0\0\0\0\0\x01\0\x01\xff",
        ] {
            let subscribed = Subscribed::of([b"\0\0\0\0\0\0", bytes].into_iter());
            assert!(subscribed == Subscribed::Unknown && subscribed.contains("a"), "{bytes:?}");
        }
    }
}
