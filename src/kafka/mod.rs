//! The Kafka language: what Kafka's clients send becomes requests to the broker, and its replies become answers.
//!
//! In reading order: [`wire`] writes values, [`message`] makes structs of Kafka's schemas, [`header`] stands before
//! each message, [`table`] lists what we speak. Then a file for each API: its messages, and what we do with them, which
//! is a [`plan`]. A session keeps the order of a connection's answers.
//!
//! Invariant: nothing here keeps a request longer than its bytes; an answer leaves in the version of its request.

pub mod acls;
pub mod alter_configs;
pub mod api_versions;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_topic_partitions;
mod dispatch;
pub mod elect_leaders;
pub mod errors;
pub mod fetch;
pub mod find_coordinator;
pub mod header;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod message;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod plan;
pub mod produce;
#[cfg(test)]
mod samples;
pub mod sasl_handshake;
mod session;
pub mod sync_group;
pub mod table;
pub mod wire;

pub use session::{Session, is_spoken};

/// The number of this broker, which is the only one.
pub const NODE: i32 = 1;
