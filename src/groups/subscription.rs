//! The topics that consumers have subscribed to, and the partitions that they were given: what the broker reads in the
//! bytes that are otherwise between them and their leader, to tell people about it.
//!
//! The formats are those of Kafka's `ConsumerProtocolSubscription`: a version (`i16`), a count of topics (`i32`), each
//! an `i16` length and a name, and more that depends on the version; and of its `ConsumerProtocolAssignment`: a
//! version, a count of topics, each a name, a count of partitions (`i32`) and their numbers, and more. All versions
//! begin so.

use std::collections::BTreeSet;

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
    let (_version, mut share) = (reader.i16()?, Vec::new());
    for _ in 0..reader.i32()?.max(0) {
        let topic = reader.string()?;
        for _ in 0..reader.i32()?.max(0) {
            share.push((topic, reader.i32()?));
        }
    }
    Ok(share)
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
