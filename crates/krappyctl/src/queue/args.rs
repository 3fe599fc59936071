//! What can be typed to work with queues.

use crate::place::RecordAddress;
use crate::units::parse_duration;
use clap::{Args, Subcommand};
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// Take records one by one: print and acknowledge them, or run a command for each
    #[command(after_help = "Examples:
  krappyctl queue take orders -g packers -e
  krappyctl queue take orders -g packers --exec './pack.sh'

With --as NAME and neither --ack nor --exec the records are printed and kept, until their lock has run out or
`queue ack`, `release` or `reject` says otherwise.")]
    Take(Take),
    /// Acknowledge records that a named taker holds
    #[command(after_help = "Examples:
  krappyctl queue ack orders/0@42 -g packers --as ann
  krappyctl queue ack orders/0@42 orders/1@7 -g packers --as ann")]
    Ack(Held),
    /// Give records that a named taker holds to somebody else
    #[command(after_help = "Examples:
  krappyctl queue release orders/0@42 -g packers --as ann
  krappyctl queue release orders/0@42 -g packers --as ann --delay 10m")]
    Release {
        #[command(flatten)]
        held: Held,
        /// Not before this has passed
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        delay: Option<Duration>,
    },
    /// Send records that a named taker holds to the dead letters
    #[command(after_help = "Examples:
  krappyctl queue reject orders/0@42 -g packers --as ann
  krappyctl queue reject orders/0@42 -g packers --as ann --reason 'no such customer'")]
    Reject {
        #[command(flatten)]
        held: Held,
        /// Why; it stands in the dead letter
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Print the dead letters of a topic: where each comes from and why
    #[command(after_help = "Examples:
  krappyctl queue dlq orders
  krappyctl queue dlq orders -g packers --jsonl")]
    Dlq {
        /// The topic that they came from
        topic: String,
        /// Those of one group
        #[arg(short, long, value_name = "GROUP")]
        group: Option<String>,
    },
    /// Publish dead letters of a group again, to the topic that they came from
    #[command(after_help = "Examples:
  krappyctl queue redrive orders -g packers
  krappyctl queue redrive orders -g packers -n 1")]
    Redrive {
        /// The topic that they came from
        topic: String,
        /// The group
        #[arg(short, long, value_name = "GROUP")]
        group: String,
        /// At most so many
        #[arg(short = 'n', long, value_name = "COUNT")]
        count: Option<u32>,
    },
    /// Show how a queue stands in each partition
    #[command(after_help = "Examples:
  krappyctl queue describe orders -g packers
  krappyctl queue describe orders -g packers --json")]
    Describe {
        /// The topic
        topic: String,
        /// The group
        #[arg(short, long, value_name = "GROUP")]
        group: String,
    },
}

#[derive(Debug, Args)]
pub struct Take {
    /// The topic, or one partition of it as TOPIC/PARTITION
    pub topic: String,
    /// The group that shares the records
    #[arg(short, long, value_name = "GROUP")]
    pub group: String,
    /// Stop after this many records
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub count: Option<u64>,
    /// Stop when there is nothing to take
    #[arg(short, long)]
    pub exit_when_empty: bool,
    /// How long a record is kept from others
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub lock: Duration,
    /// A record waits for the earlier ones of its key
    #[arg(long)]
    pub keyed: bool,
    /// Take by this name, so that what is taken stays taken when this program ends
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<String>,
    /// Print each record and acknowledge it when it is written; the default without --as
    #[arg(long, conflicts_with = "exec")]
    pub ack: bool,
    /// Run this for each record, with the value on its standard input: exit status 0 acknowledges, any other releases.
    /// KRAPPY_TOPIC, _PARTITION, _OFFSET, _KEY and _DELIVERIES are set
    #[arg(long, value_name = "COMMAND")]
    pub exec: Option<String>,
    /// Output, with the tokens of consume
    #[arg(short = 'f', long = "print", value_name = "FORMAT", conflicts_with = "exec")]
    pub print: Option<String>,
}

#[derive(Debug, Args)]
pub struct Held {
    /// TOPIC/PARTITION@OFFSET, all of one topic
    #[arg(required = true)]
    pub records: Vec<RecordAddress>,
    /// The group
    #[arg(short, long, value_name = "GROUP")]
    pub group: String,
    /// The name that they were taken by
    #[arg(long = "as", value_name = "NAME")]
    pub name: String,
}
