//! What can be typed. Every help text ends with two examples.

use crate::bench::args::BenchCommand;
use crate::group::args::GroupCommand;
use crate::keyed::args::{Del, Find, Get, Put, Scan, Watch};
use crate::queue::args::QueueCommand;
use crate::units::{parse_bytes, parse_duration};
use clap::{Args, Parser, Subcommand, ValueEnum};
use krappy_client::Level;
use std::path::PathBuf;
use std::time::Duration;

/// Command line for krappy: topics, records, groups, health and benchmarks
#[derive(Debug, Parser)]
#[command(name = "krappyctl", version, max_term_width = 110, subcommand_required = true)]
#[command(after_help = "Examples:
  krappyctl topic create orders -p 3
  krappyctl produce orders < events.txt

stdout carries data, stderr carries talk. Exit codes: 0 done, 1 refused or bad data, 2 usage,
3 not found, 4 no connection or timed out, 10 unhealthy, 130 interrupted.")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Address of the broker
    #[arg(long, global = true, value_name = "ADDR", env = "KRAPPY_BROKER", default_value = "127.0.0.1:9092")]
    pub broker: String,
    /// Longest wait for a connection and for an answer
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// How to print; jsonl is one JSON document a line
    #[arg(long, global = true, value_enum, default_value = "table")]
    pub format: Format,
    /// Short for --format json
    #[arg(long, global = true)]
    pub json: bool,
    /// Short for --format jsonl
    #[arg(long, global = true, conflicts_with = "json")]
    pub jsonl: bool,
    /// No talk on stderr, except errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// No progress line
    #[arg(long, global = true)]
    pub no_progress: bool,
}

impl Global {
    /// The format, with the short flags taken into account.
    pub fn format(&self) -> Format {
        match (self.json, self.jsonl) {
            (true, _) => Format::Json,
            (_, true) => Format::Jsonl,
            _ => self.format,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    // For people, without borders. Documented like this because help texts on values make every help twice as long.
    Table,
    Json,
    // One JSON document a line.
    Jsonl,
    Csv,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create, list, describe, delete and trim topics
    #[command(
        subcommand,
        visible_alias = "t",
        after_help = "Examples:
  krappyctl topic list
  krappyctl topic create orders -p 3 -c retention.ms=3600000"
    )]
    Topic(TopicCommand),
    /// List, describe, explain, move and delete consumer groups
    #[command(
        subcommand,
        visible_alias = "g",
        after_help = "Examples:
  krappyctl group list
  krappyctl group reset billing --to @-1h"
    )]
    Group(GroupCommand),
    /// Send lines of stdin or of files as records; with --jsonl, lines as `consume --jsonl` prints them
    #[command(
        visible_alias = "pub",
        after_help = "Examples:
  krappyctl produce orders < events.txt
  echo 'user-7:signed up' | krappyctl produce users -K :"
    )]
    Produce(Produce),
    /// Print records
    #[command(
        visible_alias = "sub",
        after_help = "Examples:
  krappyctl consume orders -o start -e
  krappyctl consume orders -o @-1h -f '%p@%o %k %v\\n'"
    )]
    Consume(Consume),
    /// Print the last records and go on with new ones
    #[command(after_help = "Examples:
  krappyctl tail orders
  krappyctl tail -n 100 orders payments")]
    Tail(Tail),
    /// Show one record with everything known about it
    #[command(after_help = "Examples:
  krappyctl show orders/0@42
  krappyctl show orders/0@42 --json")]
    Show(Show),
    /// Print the newest values of keys of a compacted topic
    #[command(after_help = "Examples:
  krappyctl get users user-7
  krappyctl get users user-7 user-8 --json --explain")]
    Get(Get),
    /// Write the value of a key of a compacted topic
    #[command(after_help = "Examples:
  krappyctl put users user-7 '{\"name\":\"ann\"}'
  krappyctl put users user-7 --if-offset 42 < ann.json")]
    Put(Put),
    /// Delete keys of a compacted topic
    #[command(after_help = "Examples:
  krappyctl del users user-7
  krappyctl del users user-7 user-8 --json")]
    Del(Del),
    /// Print the newest values of a range of keys of a compacted topic, in the order of keys
    #[command(after_help = "Examples:
  krappyctl scan users --prefix user-
  krappyctl scan users --from a --to n --reverse -n 10 --keys-only")]
    Scan(Scan),
    /// Print the newest values of a range of keys of a compacted topic, and then every change
    #[command(after_help = "Examples:
  krappyctl watch users --prefix user- -Z
  krappyctl watch users --until-current --jsonl > users.jsonl")]
    Watch(Watch),
    /// Print the records of a topic whose key or value contains a text
    #[command(after_help = "Examples:
  krappyctl find orders order-7
  krappyctl find orders paid --from @-1h -f '%p@%o %v\\n'")]
    Find(Find),
    /// Share out single records: take, acknowledge, release, reject, dead letters
    #[command(
        subcommand,
        visible_alias = "q",
        after_help = "Examples:
  krappyctl queue take orders -g packers -e
  krappyctl queue describe orders -g packers"
    )]
    Queue(QueueCommand),
    /// Say in one line whether the broker is well: exit 0 or 10
    #[command(after_help = "Examples:
  krappyctl health
  krappyctl health --broker 127.0.0.1:9092 --timeout 1s || echo sick")]
    Health,
    /// Print the broker's counters and gauges
    #[command(after_help = "Examples:
  krappyctl status
  krappyctl status --json")]
    Status,
    /// Measure the machine and the broker
    #[command(
        subcommand,
        after_help = "Examples:
  krappyctl bench limits
  krappyctl bench produce --acks disk --clients 4 --duration 10s"
    )]
    Bench(BenchCommand),
    /// Print a completion script for a shell
    #[command(after_help = "Examples:
  krappyctl completions bash > /etc/bash_completion.d/krappyctl
  krappyctl completions fish | source")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Create topics
    #[command(after_help = "Examples:
  krappyctl topic create orders payments -p 3
  krappyctl topic create audit -c retention.ms=-1 -c segment.bytes=67108864")]
    Create {
        /// Names
        #[arg(required = true)]
        topics: Vec<String>,
        /// How many partitions; the broker's default unless given
        #[arg(short, long)]
        partitions: Option<i32>,
        /// A setting under Kafka's name; may be repeated
        #[arg(short = 'c', long = "config", value_name = "KEY=VALUE", value_parser = parse_pair)]
        config: Vec<(String, String)>,
    },
    /// List topics
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  krappyctl topic list
  krappyctl topic list --format csv"
    )]
    List,
    /// Show partitions, offsets and settings of topics
    #[command(
        visible_alias = "info",
        after_help = "Examples:
  krappyctl topic describe orders
  krappyctl topic describe orders --json"
    )]
    Describe {
        /// Names
        #[arg(required = true)]
        topics: Vec<String>,
    },
    /// Change settings of a topic
    #[command(after_help = "Examples:
  krappyctl topic alter orders retention.ms=3d max.message.bytes=4MiB
  krappyctl topic alter orders --unset retention.ms")]
    Alter {
        /// Name
        topic: String,
        /// Settings under Kafka's names
        #[arg(value_name = "KEY=VALUE", value_parser = parse_pair, required_unless_present = "unset")]
        config: Vec<(String, String)>,
        /// A setting that the broker shall decide again; may be repeated
        #[arg(long, value_name = "KEY")]
        unset: Vec<String>,
    },
    /// Add partitions to a topic
    #[command(after_help = "Examples:
  krappyctl topic add-partitions orders 6
  krappyctl topic add-partitions orders 6 --yes")]
    AddPartitions {
        /// Name
        topic: String,
        /// How many it shall have then
        count: i32,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Delete topics and their records
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  krappyctl topic delete orders
  krappyctl topic delete orders payments --yes"
    )]
    Delete {
        /// Names
        #[arg(required = true)]
        topics: Vec<String>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Give up the oldest records of a topic
    #[command(after_help = "Examples:
  krappyctl topic trim orders -p 0 --before 1000
  krappyctl topic trim orders --before end --yes")]
    Trim {
        /// Name
        topic: String,
        /// One partition; all of them unless given
        #[arg(short, long)]
        partition: Option<i32>,
        /// First offset to keep, or `end`
        #[arg(long, value_name = "OFFSET", value_parser = parse_before)]
        before: Before,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// Up to where a topic is trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Offset(i64),
    End,
}

fn parse_before(text: &str) -> Result<Before, String> {
    match text {
        "end" => Ok(Before::End),
        _ => match text.parse() {
            Ok(n @ 0..) => Ok(Before::Offset(n)),
            _ => Err("an offset or `end`".into()),
        },
    }
}

pub fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE")?;
    Ok((key.into(), value.into()))
}

/// What a producer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    None,
    // In the segment file, in the system's memory.
    Memory,
    // An fdatasync after it has returned.
    Disk,
}

impl Acks {
    pub fn level(self) -> Level {
        match self {
            Acks::None => Level::None,
            Acks::Memory => Level::Appended,
            Acks::Disk => Level::Durable,
        }
    }
}

#[derive(Debug, Args)]
pub struct Produce {
    /// The topic; created by the broker if that is switched on there
    pub topic: String,
    /// Files to read; stdin unless given
    pub files: Vec<PathBuf>,
    /// Each line is key, this delimiter, value
    #[arg(short = 'K', long, value_name = "DELIMITER")]
    pub key_delimiter: Option<String>,
    /// The key of every record
    #[arg(short, long, conflicts_with = "key_delimiter")]
    pub key: Option<String>,
    /// A header of every record; may be repeated
    #[arg(short = 'H', long = "header", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub headers: Vec<(String, String)>,
    /// An empty value becomes null (a tombstone)
    #[arg(short = 'Z', long)]
    pub null: bool,
    /// The partition; otherwise the key decides
    #[arg(short, long)]
    pub partition: Option<i32>,
    /// What to wait for: nothing, the system's memory, or the disk
    #[arg(long, value_enum, default_value = "disk")]
    pub acks: Acks,
    /// How long a batch waits for more lines
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = parse_duration)]
    pub linger: Duration,
    /// Size of a batch
    #[arg(long, value_name = "SIZE", default_value = "256KiB", value_parser = parse_bytes)]
    pub batch_bytes: u64,
}

#[derive(Debug, Args)]
pub struct Consume {
    /// Topics, or one partition of a topic as TOPIC/PARTITION
    #[arg(required = true)]
    pub topics: Vec<String>,
    /// Where to begin: start, end, OFFSET, -N (the last N of each partition), @TIME or @-1h
    #[arg(short, long, value_name = "WHERE", default_value = "end", allow_hyphen_values = true)]
    pub offset: crate::place::Place,
    /// Stop after this many records
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub count: Option<u64>,
    /// Stop at the end as it is now
    #[arg(short, long)]
    pub exit_at_end: bool,
    /// One partition
    #[arg(short, long)]
    pub partition: Option<i32>,
    /// Read as a member of this group, and commit what was printed; -o is then where to begin if nothing was committed
    #[arg(short, long)]
    pub group: Option<String>,
    /// Output: %t topic, %p partition, %o offset, %k key, %v value, %h headers, %d time, %T time in ms, %K and %V
    /// (or %S) sizes, %v{hex} %v{base64} %v{json}, %% and \n \t \xNN
    #[arg(short = 'f', long = "print", value_name = "FORMAT")]
    pub print: Option<String>,
    /// Print the key and this before each value
    #[arg(short = 'K', long, value_name = "DELIMITER", conflicts_with = "print")]
    pub key_delimiter: Option<String>,
    /// Print NULL for null
    #[arg(short = 'Z', long)]
    pub null: bool,
}

#[derive(Debug, Args)]
pub struct Tail {
    /// Topics
    #[arg(required = true)]
    pub topics: Vec<String>,
    /// How many records to begin with
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    pub count: usize,
}

#[derive(Debug, Args)]
pub struct Show {
    /// TOPIC/PARTITION@OFFSET
    pub record: crate::place::RecordAddress,
}
