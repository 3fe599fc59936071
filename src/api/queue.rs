//! What can be asked about queues, and what is answered. What a queue is stands in [`crate::groups::queue`].

use krappy_wire::error::ErrorCode;
pub use krappy_wire::native::{Settle, TakenWriter};

/// What can be asked about queues.
#[derive(Debug, Clone)]
pub enum QueueRequest<'a> {
    /// Records that nobody in the group has. Answered with [`QueueReply::Taken`], now or when there are some. It is
    /// always taken by the broker, never left for later.
    Take(QueueTake<'a>),
    /// To end deliveries. Answered with [`QueueReply::Settled`], when what must be durable is.
    Settle(QueueSettle<'a>),
    /// How a queue stands. Answered with [`QueueReply::Described`].
    Describe {
        /// The group.
        group: &'a str,
        /// The topic.
        topic: &'a str,
    },
    /// To publish dead letters again. Answered with [`QueueReply::Redriven`], when they are durable.
    Redrive {
        /// The group.
        group: &'a str,
        /// The topic that they came from.
        topic: &'a str,
        /// Most dead letters.
        most: u32,
    },
    /// The stream has ended, and with it the deliveries to it. Answered with [`QueueReply::Left`], at once.
    Leave {
        /// The stream, on the connection that asks.
        stream: u32,
    },
}

/// Who takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taker<'a> {
    /// A stream of the connection that asks, for as long as it lasts.
    Stream(u32),
    /// Whoever says this name.
    Named(&'a str),
}

/// A wish for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueTake<'a> {
    /// The group.
    pub group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// Who takes.
    pub taker: Taker<'a>,
    /// One partition, or all.
    pub partition: Option<i32>,
    /// Most records; at least one.
    pub most: u32,
    /// About the most bytes of records.
    pub max_bytes: u32,
    /// Longest wait, milliseconds.
    pub max_wait_ms: u32,
    /// How long the deliveries last, milliseconds; absent: as configured.
    pub lock_ms: Option<u32>,
    /// A record waits for the earlier ones of its key.
    pub keyed: bool,
}

/// Ends of deliveries.
#[derive(Debug, Clone)]
pub struct QueueSettle<'a> {
    /// The group.
    pub group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// Who took the records.
    pub taker: Taker<'a>,
    /// How the deliveries end.
    pub how: Settle<'a>,
    /// Partition and offset of each.
    pub records: Vec<(i32, i64)>,
}

/// What is answered about queues.
#[derive(Debug, Clone)]
pub enum QueueReply {
    /// Records; none when none came in time.
    Taken(TakenWriter),
    /// For each record, in the order of the request.
    Settled(Vec<Result<(), ErrorCode>>),
    /// In order of partition number.
    Described(Vec<QueueLine>),
    /// How many dead letters were published again.
    Redriven(u32),
    /// The stream is forgotten.
    Left,
}

/// A queue in one partition. The fields are those of [`krappy_wire::native::QueuePart`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct QueueLine {
    pub partition: i32,
    pub start: i64,
    pub next: i64,
    pub high_watermark: i64,
    pub held: u32,
    pub available: u32,
    pub delayed: u32,
    pub dying: u32,
    pub done_above_start: u64,
    pub dead: u64,
    pub lost: u64,
    pub lag: u64,
    pub oldest_holder: String,
    pub oldest_ms: u64,
}
