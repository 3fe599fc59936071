//! What can be typed to read and write a compacted topic by key, and to search a plain one.

use crate::args::{Acks, parse_pair};
use crate::place::Place;
use clap::Args;
use std::str::FromStr;

/// How records are printed, as in `consume`.
#[derive(Debug, Default, Args)]
pub struct Rendering {
    /// Output, with the tokens of consume: %k key, %v value, %o offset, %p partition and so on
    #[arg(short = 'f', long = "print", value_name = "FORMAT")]
    pub print: Option<String>,
    /// Print this between key and value
    #[arg(short = 'K', long, value_name = "DELIMITER", conflicts_with = "print")]
    pub key_delimiter: Option<String>,
    /// Print NULL for null
    #[arg(short = 'Z', long)]
    pub null: bool,
}

/// An offset, of a partition if it says so: `OFFSET` or `PARTITION@OFFSET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    pub partition: Option<i32>,
    pub offset: i64,
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "OFFSET or PARTITION@OFFSET, such as 42 or 0@42".to_owned();
        let (partition, offset) = match text.split_once('@') {
            None => (None, text),
            Some((partition, offset)) => {
                (Some(partition.parse().ok().filter(|&p| p >= 0).ok_or_else(bad)?), offset)
            }
        };
        Ok(Self { partition, offset: offset.parse().ok().filter(|&o| o >= 0).ok_or_else(bad)? })
    }
}

/// Which keys.
#[derive(Debug, Default, Args)]
pub struct Keys {
    /// Keys that begin with this
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["from", "to"])]
    pub prefix: Option<String>,
    /// Keys from this one on
    #[arg(long, value_name = "KEY")]
    pub from: Option<String>,
    /// Keys before this one
    #[arg(long, value_name = "KEY")]
    pub to: Option<String>,
}

#[derive(Debug, Args)]
pub struct Get {
    /// The topic
    pub topic: String,
    /// Keys
    #[arg(required = true)]
    pub keys: Vec<String>,
    /// The partition of the keys; otherwise each key's own
    #[arg(short, long)]
    pub partition: Option<i32>,
    /// The value as it was at this offset
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    pub as_of: Option<i64>,
    /// Wait until the answer includes this offset, such as that of your own put
    #[arg(long, value_name = "[PARTITION@]OFFSET")]
    pub after: Option<At>,
    /// Say on stderr which part of the view answered and which filters said no
    #[arg(long)]
    pub explain: bool,
    #[command(flatten)]
    pub rendering: Rendering,
}

#[derive(Debug, Args)]
pub struct Put {
    /// The topic
    pub topic: String,
    /// The key
    pub key: String,
    /// The value; - or nothing reads stdin to its end
    #[arg(allow_negative_numbers = true)]
    pub value: Option<String>,
    /// Only if the newest record of the key is at this offset
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    pub if_offset: Option<i64>,
    /// Only if the key is absent or deleted
    #[arg(long, conflicts_with = "if_offset")]
    pub if_absent: bool,
    #[command(flatten)]
    pub writing: Writing,
}

#[derive(Debug, Args)]
pub struct Del {
    /// The topic
    pub topic: String,
    /// Keys
    #[arg(required = true)]
    pub keys: Vec<String>,
    #[command(flatten)]
    pub writing: Writing,
}

/// How a record is written.
#[derive(Debug, Args)]
pub struct Writing {
    /// A header of the record; may be repeated
    #[arg(short = 'H', long = "header", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub headers: Vec<(String, String)>,
    /// The partition; otherwise the key decides
    #[arg(short, long)]
    pub partition: Option<i32>,
    /// What to wait for: nothing, the system's memory, or the disk
    #[arg(long, value_enum, default_value = "disk")]
    pub acks: Acks,
}

#[derive(Debug, Args)]
pub struct Scan {
    /// The topic
    pub topic: String,
    #[command(flatten)]
    pub keys: Keys,
    /// From the largest key down
    #[arg(long)]
    pub reverse: bool,
    /// Stop after this many keys
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub limit: Option<u64>,
    /// Keys without values
    #[arg(long)]
    pub keys_only: bool,
    /// One partition; otherwise all, merged in the order of keys
    #[arg(short, long)]
    pub partition: Option<i32>,
    /// The values as they were at this offset; for several partitions P@OFFSET,P@OFFSET
    #[arg(long, value_name = "[PARTITION@]OFFSET", value_delimiter = ',')]
    pub as_of: Vec<At>,
    /// Wait until the answer includes this offset, such as that of your own put
    #[arg(long, value_name = "[PARTITION@]OFFSET")]
    pub after: Option<At>,
    #[command(flatten)]
    pub rendering: Rendering,
}

#[derive(Debug, Args)]
pub struct Watch {
    /// The topic
    pub topic: String,
    #[command(flatten)]
    pub keys: Keys,
    /// Stop when the newest records of all keys have been printed
    #[arg(long)]
    pub until_current: bool,
    /// Only what is published from now on
    #[arg(long, conflicts_with = "until_current")]
    pub no_snapshot: bool,
    /// Stop after this many records
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub count: Option<u64>,
    /// One partition
    #[arg(short, long)]
    pub partition: Option<i32>,
    #[command(flatten)]
    pub rendering: Rendering,
}

#[derive(Debug, Args)]
pub struct Find {
    /// The topic
    pub topic: String,
    /// Text that the key or the value contains
    #[arg(value_name = "TEXT")]
    pub pattern: String,
    /// Where to begin: start, OFFSET, -N (the last N of each partition), @TIME or @-1h
    #[arg(long, value_name = "WHERE", default_value = "start", allow_hyphen_values = true)]
    pub from: Place,
    /// Stop after this many records
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub count: Option<u64>,
    /// One partition
    #[arg(short, long)]
    pub partition: Option<i32>,
    #[command(flatten)]
    pub rendering: Rendering,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_may_name_its_partition() {
        assert_eq!("42".parse(), Ok(At { partition: None, offset: 42 }));
        assert_eq!("3@0".parse(), Ok(At { partition: Some(3), offset: 0 }));
        for bad in ["", "@", "1@", "@1", "-1", "1@-1", "-1@1", "a@1"] {
            assert!(bad.parse::<At>().is_err(), "{bad}");
        }
    }
}
