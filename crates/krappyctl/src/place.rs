//! Where to read: `-o WHERE`, `TOPIC/PARTITION` and `TOPIC/PARTITION@OFFSET`.

use crate::units::{parse_duration, parse_iso};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where a consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Start,
    End,
    Offset(i64),
    /// So many records before the end of each partition.
    Last(i64),
    /// Milliseconds since 1970.
    Time(i64),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "start, end, an offset, -N for the last N, @2026-09-01T10:00 or @-1h".to_owned();
        match text {
            "start" | "beginning" | "earliest" => return Ok(Place::Start),
            "end" | "latest" => return Ok(Place::End),
            _ => {}
        }
        if let Some(time) = text.strip_prefix('@') {
            return parse_time(time).map(Place::Time).ok_or_else(bad);
        }
        match (text.strip_prefix('-'), text.parse::<i64>()) {
            (Some(n), _) => n.parse::<u32>().map(|n| Place::Last(n.into())).map_err(|_| bad()),
            (None, Ok(n @ 0..)) => Ok(Place::Offset(n)),
            _ => Err(bad()),
        }
    }
}

/// ISO 8601, milliseconds since 1970, or a time before now such as -1h.
pub fn parse_time(text: &str) -> Option<i64> {
    if let Some(ago) = text.strip_prefix('-') {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        return Some(now.saturating_sub(parse_duration(ago).ok()?).as_millis() as i64);
    }
    text.parse::<i64>().ok().filter(|&n| n >= 0).or_else(|| parse_iso(text)).filter(|&n| n >= 0)
}

/// `TOPIC` or `TOPIC/PARTITION`. Topic names hold no slash.
pub fn topic_and_partition(text: &str) -> Result<(String, Option<i32>), String> {
    match text.split_once('/') {
        None => Ok((text.into(), None)),
        Some((topic, partition)) => match partition.parse() {
            Ok(p @ 0..) => Ok((topic.into(), Some(p))),
            _ => Err(format!("{partition:?} is not a partition number")),
        },
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordAddress {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl FromStr for RecordAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "TOPIC/PARTITION@OFFSET, such as orders/0@42".to_owned();
        let (place, offset) = text.rsplit_once('@').ok_or_else(bad)?;
        let (topic, partition) = topic_and_partition(place)?;
        let offset = offset.parse().ok().filter(|&o| o >= 0).ok_or_else(bad)?;
        Ok(Self { topic, partition: partition.ok_or_else(bad)?, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        assert_eq!("start".parse(), Ok(Place::Start));
        assert_eq!("42".parse(), Ok(Place::Offset(42)));
        assert_eq!("-10".parse(), Ok(Place::Last(10)));
        assert_eq!("@1000".parse(), Ok(Place::Time(1000)));
        assert_eq!("@1970-01-02".parse(), Ok(Place::Time(86_400_000)));
        assert!(matches!("@-1h".parse(), Ok(Place::Time(1..))));
        for bad in ["", "x", "--1", "@", "@x", "1.5", "@-x", "-"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_read() {
        let address = RecordAddress { topic: "a.b-c".into(), partition: 3, offset: 42 };
        assert_eq!("a.b-c/3@42".parse(), Ok(address));
        for bad in ["a", "a/0", "a@1", "a/x@1", "a/0@-1", "a/0@", "a/-1@1"] {
            assert!(bad.parse::<RecordAddress>().is_err(), "{bad}");
        }
    }
}
