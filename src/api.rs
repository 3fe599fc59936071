//! The vocabulary between the languages and the broker: what can be asked, what can be answered, and who is waiting.
//! No logic lives here. A language turns its bytes into a [`Request`] and a [`Reply`] into its bytes; the broker knows
//! neither bytes nor sockets.

pub mod group;
pub mod queue;

pub use crate::config::{SettingLine, SettingSource};
pub use krappy_wire::error::ErrorCode;
pub use krappy_wire::native::{After, Body, Change, Keys, Level, Op, PlainRecords, RowsWriter};

use std::sync::Arc;

use crate::chunk::Chunk;
use group::{GroupReply, GroupRequest};
use queue::{QueueReply, QueueRequest};

/// How far groups have come. Its name is Kafka's, and tools know it.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// Which records of queues are done.
pub const QUEUES_TOPIC: &str = "__queue_state";
/// The topics that belong to the broker.
pub const INTERNAL_TOPICS: [&str; 2] = [OFFSETS_TOPIC, QUEUES_TOPIC];

/// A connection. The slab key is reused, the generation is not, so a reply never reaches a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// Slab key, which is also the poll token.
    pub key: u32,
    /// Counts the connections that this process has accepted.
    pub generation: u32,
}

/// Where a reply goes: the connection, and a number that means something to its language only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplyTo {
    /// The connection.
    pub conn: ConnId,
    /// Chosen by the language when it made the request.
    pub slot: u64,
}

/// A topic, for as long as it lives. Never given to another topic in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicKey(pub u32);

/// A partition, for as long as it lives. Never given to another partition in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey(pub u32);

impl PartitionKey {
    /// The key of no partition.
    pub const NONE: PartitionKey = PartitionKey(u32::MAX);
}

/// A topic by name, by id, or by key once a registration has resolved it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicRef<'a> {
    /// By name.
    Name(&'a str),
    /// By the id that it got when it was created.
    Id([u8; 16]),
    /// By key.
    Key(TopicKey),
}

/// What can be asked of the broker. Every request that is taken is answered exactly once.
#[derive(Debug)]
pub enum Request<'a> {
    /// Append records to one topic.
    Publish(Publish<'a>),
    /// Read records, now or when there are enough.
    Fetch(Fetch),
    /// The same, with partitions that are not resolved yet; answered with one part for each of them, in their order.
    FetchTopics(FetchTopics<'a>),
    /// Append one record if its key is as expected.
    PublishIf(PublishIf<'a>),
    /// Read the newest records of keys.
    Get(Get<'a>),
    /// Read the newest records of a range of keys.
    Scan(Scan<'a>),
    /// Resolve a compacted topic for a watcher, and keep what is visible now readable for a while.
    OpenWatch {
        /// The topic.
        topic: &'a str,
        /// One partition, or all.
        partition: Option<u32>,
    },
    /// Resolve a topic for a producer, creating it if that is switched on.
    OpenProducer {
        /// The topic.
        topic: &'a str,
        /// Whether a producer id is wanted.
        idempotent: bool,
    },
    /// Give out a producer id of its own, not tied to a topic.
    NewProducerId,
    /// Resolve a topic and a position in its partitions.
    ListOffsets {
        /// The topic.
        topic: TopicRef<'a>,
        /// One partition, or all.
        partition: Option<u32>,
        /// The leader epoch that the client believes to be current; -1: it does not say.
        leader_epoch: i32,
        /// Which offset.
        at: At,
    },
    /// Where a leader epoch ends, so that a client can tell whether what it has read is still there.
    OffsetForLeaderEpoch {
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: i32,
        /// The leader epoch that the client believes to be current; -1: it does not say.
        current: i32,
        /// The epoch that is asked for.
        epoch: i32,
    },
    /// Which idempotent producers a partition remembers.
    DescribeProducers {
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: i32,
    },
    /// Create a topic.
    CreateTopic {
        /// Its name.
        topic: &'a str,
        /// How many partitions; the broker's default if absent.
        partitions: Option<i32>,
        /// Settings by Kafka's names.
        settings: Vec<(&'a str, &'a str)>,
        /// Check everything, answer as if it had been created, and create nothing.
        validate_only: bool,
    },
    /// List all topics.
    ListTopics,
    /// Describe all topics.
    DescribeAllTopics,
    /// Describe one topic.
    DescribeTopic {
        /// The topic.
        topic: TopicRef<'a>,
        /// Create it first if it is not there, it is asked for by name and that is switched on.
        create: bool,
    },
    /// Change the settings of a topic.
    AlterTopic {
        /// The topic.
        topic: &'a str,
        /// What to change, in order.
        changes: Vec<Change<'a>>,
        /// Forget first what the topic has set so far.
        replace: bool,
        /// Check everything and change nothing.
        validate_only: bool,
    },
    /// Add partitions to a topic.
    CreatePartitions {
        /// The topic.
        topic: &'a str,
        /// How many it shall have then.
        count: i32,
        /// Check everything and change nothing.
        validate_only: bool,
    },
    /// Describe the settings of the broker.
    DescribeBroker,
    /// Delete a topic and its data.
    DeleteTopic {
        /// The topic.
        topic: TopicRef<'a>,
    },
    /// Move a partition's log start offset up.
    DeleteRecords {
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: i32,
        /// The new log start offset; -1 is the high watermark.
        offset: i64,
    },
    /// Counters and gauges.
    Status,
    /// Something about consumer groups.
    Group(GroupRequest<'a>),
    /// Something about queues.
    Queue(QueueRequest<'a>),
}

impl<'a> Request<'a> {
    /// The topic that it writes to or changes, if it does.
    pub fn changes(&self) -> Option<TopicRef<'a>> {
        match self {
            Request::Publish(publish) => Some(publish.topic),
            Request::PublishIf(publish) => Some(publish.topic),
            Request::DeleteTopic { topic } => Some(*topic),
            Request::CreateTopic { topic, .. }
            | Request::AlterTopic { topic, .. }
            | Request::CreatePartitions { topic, .. }
            | Request::DeleteRecords { topic, .. }
            | Request::OpenProducer { topic, .. } => Some(TopicRef::Name(topic)),
            _ => None,
        }
    }
}

/// Records for one topic.
#[derive(Debug)]
pub struct Publish<'a> {
    /// The topic.
    pub topic: TopicRef<'a>,
    /// The partition; absent: each record goes where its key belongs.
    pub partition: Option<i32>,
    /// What the reply waits for.
    pub acks: Level,
    /// The records.
    pub body: Body<'a>,
}

/// One record for a compacted topic, on a condition.
#[derive(Debug)]
pub struct PublishIf<'a> {
    /// The topic.
    pub topic: TopicRef<'a>,
    /// The partition; absent: the one that the key belongs to.
    pub partition: Option<i32>,
    /// What the reply waits for.
    pub acks: Level,
    /// Offset of the key's newest record; absent: the key must have none, or a deletion.
    pub expected: Option<i64>,
    /// One record, with a key.
    pub record: PlainRecords<'a>,
}

/// Keys of a compacted topic.
#[derive(Debug)]
pub struct Get<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition of all keys; absent: each key's own.
    pub partition: Option<i32>,
    /// The answer is what the log said up to and including this offset; absent: what is visible now.
    pub as_of: Option<i64>,
    /// What to wait for.
    pub after: After,
    /// Whether to say what answered.
    pub explain: bool,
    /// The keys.
    pub keys: Keys<'a>,
}

/// A range of keys of a compacted topic.
#[derive(Debug)]
pub struct Scan<'a> {
    /// The topic.
    pub topic: TopicRef<'a>,
    /// One partition; absent: all, merged in the order of their keys.
    pub partition: Option<i32>,
    /// From the largest key down.
    pub reverse: bool,
    /// Rows without values.
    pub keys_only: bool,
    /// The first key.
    pub from: &'a [u8],
    /// The first key after the range; absent: the end.
    pub to: Option<&'a [u8]>,
    /// Partitions and the offsets that the answer is to be true for; those left out: what is visible now.
    pub as_of: Vec<(i32, i64)>,
    /// What to wait for.
    pub after: After,
    /// Most rows; 0 is no limit.
    pub limit: u32,
    /// About the most bytes of rows.
    pub max_bytes: u32,
    /// Where the last page ended.
    pub cursor: Option<Cursor>,
}

/// Where a page of a scan ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The offset that all pages are true for, by number of partition.
    pub true_at: Vec<(i32, i64)>,
    /// The last key that was looked at, and its partition; absent before the first page.
    pub last: Option<(Vec<u8>, i32)>,
}

/// Which offset of a partition is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The log start offset.
    Earliest,
    /// The high watermark.
    Latest,
    /// This one, if it lies between the log start offset and the log end.
    Offset(i64),
    /// The first record at or after this many milliseconds since 1970; the high watermark if there is none.
    Timestamp(i64),
    /// The record with the largest timestamp; the high watermark if there is none.
    MaxTimestamp,
}

/// A position in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The partition.
    pub partition: PartitionKey,
    /// Its number.
    pub number: i32,
    /// The offset.
    pub offset: i64,
    /// Timestamp of the record that was looked for by time, milliseconds since 1970. -1: none was looked for, or none
    /// was found, and then the offset is the high watermark.
    pub timestamp: i64,
    /// The leader epoch that holds at this offset.
    pub leader_epoch: i32,
}

/// A read of one or more partitions. Owned, because it may have to wait.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// What is wanted, at most one entry per partition.
    pub wants: Vec<Want>,
    /// Answer when this many bytes are there ...
    pub min_bytes: u32,
    /// ... or after this many milliseconds.
    pub max_wait_ms: u32,
    /// About how many bytes to answer with; a first batch that is larger comes whole.
    pub max_bytes: u32,
    /// Answer with a part for every partition, and not only for those with news.
    pub every: bool,
    /// The group that reads, if it is one.
    pub group: Option<Arc<str>>,
}

/// What a fetch wants of one partition.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// The partition.
    pub partition: PartitionKey,
    /// Its number, repeated in the answer.
    pub number: i32,
    /// The first offset wanted.
    pub offset: i64,
    /// About how many bytes of it.
    pub max_bytes: u32,
    /// Why it cannot be read, where that is known already, or [`ErrorCode::None`].
    pub error: ErrorCode,
}

impl Want {
    /// From this offset on, as much as the fetch allows.
    pub fn from(partition: PartitionKey, number: i32, offset: i64) -> Self {
        Self { partition, number, offset, max_bytes: u32::MAX, error: ErrorCode::None }
    }
}

/// A read of partitions by topic and number.
#[derive(Debug)]
pub struct FetchTopics<'a> {
    /// What is wanted, at most one entry per partition.
    pub wants: Vec<TopicWant<'a>>,
    /// Answer when this many bytes are there ...
    pub min_bytes: u32,
    /// ... or after this many milliseconds.
    pub max_wait_ms: u32,
    /// About how many bytes to answer with; a first batch that is larger comes whole.
    pub max_bytes: u32,
    /// What the client calls itself, and where it connects from.
    pub client: (&'a str, &'a str),
}

/// What a fetch wants of one partition that is not resolved yet.
#[derive(Debug, Clone, Copy)]
pub struct TopicWant<'a> {
    /// The topic.
    pub topic: TopicRef<'a>,
    /// The number of the partition.
    pub number: i32,
    /// The first offset wanted.
    pub offset: i64,
    /// About how many bytes of it.
    pub max_bytes: u32,
    /// What the client takes for the leader epoch; -1: it does not say.
    pub leader_epoch: i32,
}

/// What the broker answers.
#[cfg_attr(debug_assertions, derive(Debug))]
pub enum Reply {
    /// The records have reached `level`.
    Published {
        /// What was reached.
        level: Level,
        /// Where they went.
        parts: Parts,
    },
    /// Nothing is to be sent: a publish with `acks` none went well.
    Silent,
    /// Records, or the news that there are none.
    Fetched {
        /// One entry per partition that has records or an error; with neither anywhere, empty.
        parts: Vec<FetchedPart>,
    },
    /// The topic is open for a producer.
    ProducerOpen {
        /// For later requests.
        topic: TopicKey,
        /// How many partitions.
        partitions: u32,
        /// Producer id and epoch, if wanted.
        producer: Option<(i64, i16)>,
        /// `max.message.bytes`.
        max_message_bytes: u32,
    },
    /// Positions.
    Offsets {
        /// One entry per partition.
        parts: Vec<Position>,
    },
    /// Where a leader epoch ends.
    EpochEnd {
        /// The newest epoch up to the one that was asked for in which something was appended, or that one; -1: there
        /// was no such epoch.
        epoch: i32,
        /// The offset after its last record; -1 with epoch -1.
        end_offset: i64,
    },
    /// Producers of a partition, sorted by id.
    Producers(Vec<ProducerState>),
    /// A producer id that nobody else has.
    ProducerId {
        /// The id.
        id: i64,
        /// Its first epoch.
        epoch: i16,
    },
    /// The key is not as expected, and nothing was appended.
    Conflict {
        /// The partition that the key belongs to.
        partition: i32,
        /// Offset of the newest record of the key, if there is one.
        offset: Option<i64>,
        /// Whether that record is a deletion.
        deleted: bool,
    },
    /// What is known of keys, in the order in which they were asked for.
    Values {
        /// One for each key.
        values: Vec<KeyState>,
        /// What answered, in words.
        explain: Vec<String>,
    },
    /// A page of a scan.
    Scanned {
        /// The offset that the page is true for, by number of partition; -1: the log is empty.
        true_at: Vec<(i32, i64)>,
        /// The rows.
        rows: RowsWriter,
        /// Where the next page begins; absent: this is the last.
        next: Option<Cursor>,
    },
    /// A watcher may begin.
    WatchOpen {
        /// The topic.
        topic: TopicKey,
        /// Partition, its number, and the high watermark.
        parts: Vec<(PartitionKey, i32, i64)>,
    },
    /// One topic in full.
    Topic(Box<TopicDescription>),
    /// All topics, sorted by name.
    Topics(Vec<TopicLine>),
    /// All topics in full, sorted by name.
    AllTopics(Vec<TopicDescription>),
    /// Settings of the broker, in the order of the manual.
    Settings(Vec<SettingLine>),
    /// The change is durable and holds; or, where it was only checked, would be possible.
    Altered,
    /// The topic is gone.
    Deleted {
        /// Its name.
        name: String,
        /// Its id, never used again.
        id: [u8; 16],
    },
    /// The log start offset now.
    Trimmed(i64),
    /// Names and values.
    Status(Vec<(&'static str, i64)>),
    /// Something about consumer groups.
    Group(GroupReply),
    /// Something about queues.
    Queue(QueueReply),
    /// Refused.
    Refused(Refusal),
}

/// Which one it is. Development builds print it whole; in a release that would be 60 KB of code for the message of a
/// bug.
#[cfg(not(debug_assertions))]
impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::mem::discriminant(self).fmt(f)
    }
}

/// Where a publish went. Nearly always one partition, which then costs no allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parts {
    /// One partition.
    One(PublishedPart),
    /// Several, in order of first use.
    Many(Vec<PublishedPart>),
}

/// Where a publish went in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedPart {
    /// The number of the partition.
    pub partition: i32,
    /// Offset of the first record.
    pub base_offset: i64,
    /// How many records.
    pub count: u32,
    /// The time that all of them got, milliseconds since 1970; -1 if they keep their own.
    pub log_append_time: i64,
    /// The log start offset now.
    pub log_start: i64,
}

/// What a partition remembers of an idempotent producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerState {
    /// Its id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence number of its last record; -1: none is remembered.
    pub last_sequence: i32,
    /// Largest timestamp of its last batch, milliseconds since 1970; -1: none is remembered.
    pub last_timestamp: i64,
    /// First offset of its open transaction; -1: there is none.
    pub txn_start: i64,
}

/// A refusal, in words that say what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What it is called.
    pub code: ErrorCode,
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// Of a publish: which records of its batch are wrong, counted from 0. Empty: the refusal is about all of it.
    pub records: Vec<i32>,
}

impl Refusal {
    /// A refusal without a hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: String::new(), records: Vec::new() }
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Says which records are wrong.
    pub fn records(mut self, records: Vec<i32>) -> Self {
        self.records = records;
        self
    }
}

/// What a fetch got from one partition.
#[derive(Debug)]
pub struct FetchedPart {
    /// The partition's number.
    pub number: i32,
    /// Why there are no records, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The offset that was asked for.
    pub position: i64,
    /// The offset after what is returned.
    pub next: i64,
    /// End of what readers may see.
    pub high_watermark: i64,
    /// First offset that still exists.
    pub log_start: i64,
    /// Whole batches.
    pub chunk: Option<Chunk>,
}

/// What is known of a key.
#[derive(Debug)]
pub struct KeyState {
    /// The number of its partition.
    pub partition: i32,
    /// The answer is what the log said up to and including this offset; -1: the log is empty.
    pub true_at: i64,
    /// Its newest record; absent: there is none.
    pub newest: Option<NewestRecord>,
}

/// The newest record of a key.
#[derive(Debug)]
pub struct NewestRecord {
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Whether it deletes the key.
    pub deleted: bool,
    /// Value and headers as they stand in a batch.
    pub tail: Vec<u8>,
}

/// One topic in full.
#[derive(Debug, Clone)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: [u8; 16],
    /// By number.
    pub partitions: Vec<krappy_wire::native::PartitionInfo>,
    /// All of them, sorted by name.
    pub settings: Vec<SettingLine>,
}

/// One topic in a list.
#[derive(Debug, Clone)]
pub struct TopicLine {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: [u8; 16],
    /// How many partitions.
    pub partitions: u32,
    /// Offsets between log start and high watermark.
    pub records: u64,
    /// Bytes in segment files.
    pub bytes: u64,
}
