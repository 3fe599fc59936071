//! A small blocking client for krappy, over `std::net`, without an async runtime and without dependencies beyond the
//! wire format.
//!
//! A [`Client`] is one TCP connection that any number of threads share; it mends itself. A [`Producer`] gathers records
//! into batches, retries without doubling them and says for each when it is on disk. A [`Consumer`] reads records
//! without copying them and resumes at its own position; a
//! [`Member`] shares a topic with the others of its group. [`Admin`] creates, lists, describes, trims and deletes
//! topics, and looks after consumer groups.
//! On compacted topics [`Client::get`], [`Client::scan`] and [`Client::watch`] read the newest records of keys, and
//! [`Producer::put_if`] writes one if nobody else has. A [`Queue`] takes single records that several share.
//!
//! Reading order: `link` (frames in and out of one socket), `client` (reconnecting), `producer::queue` (which batch may
//! be sent when, the heart of exactly-once retries), `producer` (threads and memory around it), `consumer`, `keyed`,
//! `queue`.
//!
//! ```no_run
//! use krappy_client::{Client, Record, Start};
//! use std::time::Duration;
//!
//! let client = Client::connect("127.0.0.1:9092")?;
//!
//! let producer = client.producer("orders").build()?;
//! producer.send(Record::new("paid").key("order-7"))?;
//! producer.flush()?;
//!
//! let mut consumer = client.consumer("orders").start(Start::Earliest).build()?;
//! for record in &consumer.poll(Duration::from_secs(1))? {
//!     println!("{}@{}: {:?}", record.partition, record.offset, record.value);
//! }
//! # Ok::<(), krappy_client::Error>(())
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod admin;
mod client;
mod consumer;
mod error;
mod groups;
mod inbox;
mod keyed;
mod link;
mod member;
mod producer;
mod queue;
mod record;
mod records;
mod slice;

pub use admin::{Admin, Setting, TopicInfo, TopicSummary};
pub use client::{Client, ClientBuilder};
pub use consumer::{Consumer, ConsumerBuilder};
pub use error::Error;
pub use groups::{GroupInfo, GroupMember, GroupPosition, GroupSummary, LastRead, OffsetAt};
pub use keyed::{
    GetOptions, Got, KeyRange, KeyState, Newest, Scan, ScanOptions, WatchEvent, WatchOptions, Watcher,
};
pub use krappy_wire::error::ErrorCode;
pub use krappy_wire::native::{Level, PartitionInfo, Settle, Start};
pub use link::BrokerInfo;
pub use member::{Member, MemberBuilder};
pub use producer::{Delivered, Delivery, Expected, Producer, ProducerBuilder, PutIf};
pub use queue::{Queue, QueueBuilder, QueuePartition, QueueRecord};
pub use record::Record;
pub use records::{ConsumerRecord, Iter, Records};
pub use slice::Slice;
