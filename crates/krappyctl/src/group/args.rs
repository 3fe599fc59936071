//! What can be typed about consumer groups.

use crate::place::{parse_time, topic_and_partition};
use crate::units::parse_duration;
use clap::{Args, Subcommand};
use std::str::FromStr;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// List groups with their lag
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  krappyctl group list
  krappyctl group list --json"
    )]
    List,
    /// Show members, committed offsets and lag of groups
    #[command(
        visible_alias = "info",
        after_help = "Examples:
  krappyctl group describe billing
  krappyctl group describe billing --json"
    )]
    Describe {
        /// Names
        #[arg(required = true)]
        groups: Vec<String>,
    },
    /// Say why a group is behind, with what speaks for it and what to do next
    #[command(after_help = "Examples:
  krappyctl group why billing
  krappyctl group why billing --watch-for 10s --json")]
    Why(Why),
    /// Move a group that nobody is in; shows what it would do unless told to do it
    #[command(after_help = "Examples:
  krappyctl group reset billing --to @-1h
  krappyctl group reset billing --topic orders/0 --to +1 --execute")]
    Reset(Reset),
    /// Forget a group that nobody is in, and how far it has come
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  krappyctl group delete billing
  krappyctl group delete billing audit --yes"
    )]
    Delete {
        /// Names
        #[arg(required = true)]
        groups: Vec<String>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Write down how far a group has come; begins the group if there is none
    #[command(after_help = "Examples:
  krappyctl group commit billing orders/0@42
  krappyctl group commit billing orders/0@42 orders/1@17")]
    Commit {
        /// The group
        group: String,
        /// TOPIC/PARTITION@OFFSET, the offset being that of the next record to read
        #[arg(required = true, value_name = "TOPIC/PARTITION@OFFSET")]
        offsets: Vec<crate::place::RecordAddress>,
    },
}

#[derive(Debug, Args)]
pub struct Why {
    /// The group
    pub group: String,
    /// How long to look whether it moves
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    pub watch_for: Duration,
}

#[derive(Debug, Args)]
pub struct Reset {
    /// The group
    pub group: String,
    /// Where to: start, end, OFFSET, +N or -N from where it is, @TIME or @-1h
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    pub to: Target,
    /// A topic, or one partition of it as TOPIC/PARTITION; may be repeated; all that the group has committed unless
    /// given
    #[arg(long = "topic", value_name = "TOPIC", value_parser = topic_and_partition)]
    pub topics: Vec<(String, Option<i32>)>,
    /// Do it
    #[arg(long)]
    pub execute: bool,
}

/// Where a group is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Start,
    End,
    Offset(i64),
    /// So many records from where it is.
    By(i64),
    /// Milliseconds since 1970.
    Time(i64),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "start, end, an offset, +N or -N from where it is, @2026-09-01T10:00 or @-1h".to_owned();
        match text {
            "start" | "earliest" => return Ok(Target::Start),
            "end" | "latest" => return Ok(Target::End),
            _ => {}
        }
        if let Some(time) = text.strip_prefix('@') {
            return parse_time(time).map(Target::Time).ok_or_else(bad);
        }
        let number = text.parse::<i64>().map_err(|_| bad())?;
        Ok(if text.starts_with(['+', '-']) { Target::By(number) } else { Target::Offset(number) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_place_or_a_way_from_here() {
        assert_eq!("start".parse(), Ok(Target::Start));
        assert_eq!("latest".parse(), Ok(Target::End));
        assert_eq!("42".parse(), Ok(Target::Offset(42)));
        assert_eq!(("+1".parse(), "-10".parse()), (Ok(Target::By(1)), Ok(Target::By(-10))));
        assert_eq!("@1000".parse(), Ok(Target::Time(1000)));
        for bad in ["", "+", "-", "x", "@", "@x", "1.5", "99999999999999999999"] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
    }
}
