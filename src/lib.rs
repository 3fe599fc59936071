//! krappy: an event-streaming broker in one small binary and one poll loop.
//!
//! This is the tour, in reading order. From the socket down:
//!
//! * [`reactor`] is the poll loop; [`server`] joins connections to the broker; [`conn`] is one client without its
//!   socket:
//!   [`conn::input`], and [`output`].
//! * [`native`] is the language of krappy's own clients: frames become requests, replies become frames. Its bytes are
//!   defined in the `krappy-wire` crate. [`kafka`] is the language of Kafka's clients, one file for each API, and
//!   [`http`] one page so far. What they have in common stands in [`language`].
//! * [`api`] is the vocabulary in between; [`broker`] is all state behind it: topics, partitions, publishing, fetching,
//!   and what waits.
//! * [`worker`] is the boundary with the threads that may wait for the device; [`segment`] is the log of one partition;
//!   [`lsm`] is the sorted view of a compacted one, and [`view`] what lies between the two; [`disk`] is the operating
//!   system, a simulated one, or a failing one.
//! * [`groups`] is how consumers share out partitions among themselves, or single records: state machines without
//!   sockets or disk.
//!
//! Then the bricks: [`chunk`], [`ordered`], [`timers`], [`time`], [`metrics`], [`config`], [`os`]; and around it all,
//! [`cli`], [`serve`] and `main.rs`.
//!
//! # Our own few words
//!
//! Names are Kafka's where Kafka has one. The others:
//!
//! * **turn**: one round of the poll loop: poll, read and ask, write, answer. All appends of a turn to a partition are
//!   one
//!   write.
//! * **tail**: records of this turn that are not written yet.
//! * **job**, **done**: work that may wait for the device, as a value, and its answer.
//! * **parked**: a fetch that waits for records.
//! * **durable**: an fdatasync that started after the append has returned. **Durable offset**: everything below is.
//! * **mark**: a lower bound of the durable offset, kept in a file, never ahead of the truth.
//! * **view**: the newest record of each key of a compacted partition, sorted by key; an LSM tree beside the log.
//! * **pin**: an offset at which a view stays readable, because somebody is in the middle of a scan.
//! * **fenced**: a partition under which the disk failed; it takes no records until a restart has recovered it.
//! * **stream**: one producer or consumer registration on a native connection.
//! * **window**: the records of a partition that a queue has begun to give out and is not done with.
//! * **lane**: a window and what belongs to it in the broker.
//! * **slot**: what a language gives the broker to find the place of a reply again.

pub mod api;
pub mod broker;
pub mod chunk;
pub mod cli;
pub mod config;
pub mod conn;
pub mod disk;
pub mod groups;
pub mod http;
pub mod kafka;
pub mod language;
pub mod lsm;
pub mod metrics;
pub mod native;
pub mod offline;
pub mod ordered;
pub mod os;
pub mod output;
pub mod reactor;
pub mod segment;
pub mod serve;
pub mod server;
pub mod time;
pub mod timers;
pub mod view;
pub mod worker;
