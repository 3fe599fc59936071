//! How large groups may grow and how long their clients may take. Each limit says whom it protects and what happens at
//! it.

use super::assign::Assignor;

/// A member that has never been given a generation may not know its own id, so it cannot prove that it lives. It is
/// told to come again after this long, or one that has vanished behind a dead link would be counted for ever.
pub(super) const NEW_MEMBER_JOIN_MS: u64 = 5 * 60 * 1000;

/// When nobody is there to lead a generation, the next look is not before this.
pub(super) const LEAST_RETRY_MS: u64 = 1_000;

/// Longest name of a group, in bytes.
pub const MOST_NAME: usize = 255;

/// The limits of all groups of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `group.min.session.timeout.ms`: a shorter session is refused, because each heartbeat costs a request.
    pub min_session_timeout_ms: u32,
    /// `group.max.session.timeout.ms`: a longer session is refused, because a dead member keeps its partitions so long.
    pub max_session_timeout_ms: u32,
    /// `group.initial.rebalance.delay.ms`: an empty group waits this long for more members after each that arrives.
    pub initial_rebalance_delay_ms: u32,
    /// `group.max.size`: members of a group; at it a newcomer is refused.
    pub group_max_size: usize,
    /// `group.consumer.session.timeout.ms`: a member of a consumer group is gone when nothing was heard of it for this
    /// long.
    pub consumer_session_timeout_ms: u32,
    /// `group.consumer.heartbeat.interval.ms`: how often it says something, as it is told.
    pub consumer_heartbeat_interval_ms: u32,
    /// `group.consumer.max.size`: members of a consumer group; at it a newcomer is refused.
    pub consumer_group_max_size: usize,
    /// `group.consumer.assignors`: ways to share out that members may ask for, the default one first. There is one.
    pub assignors: Vec<Assignor>,
    /// `max.groups`: groups, with the empty ones that have offsets; at it no group is begun.
    pub max_groups: usize,
    /// Ids of a group that were given out and have not joined yet; at it the oldest is forgotten, and its client starts
    /// again.
    pub pending_members: usize,
    /// Bytes of names and protocol metadata of one member; with more it is refused.
    pub member_bytes: usize,
    /// Protocols of one member; with more it is refused.
    pub protocols: usize,
    /// Bytes of all groups, about; at it nothing that needs more is taken.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 30 * 60 * 1000,
            initial_rebalance_delay_ms: 3_000,
            group_max_size: i32::MAX as usize,
            consumer_session_timeout_ms: 45_000,
            consumer_heartbeat_interval_ms: 5_000,
            consumer_group_max_size: i32::MAX as usize,
            assignors: Assignor::ALL.to_vec(),
            max_groups: 10_000,
            pending_members: 1_000,
            member_bytes: 1 << 20,
            protocols: 32,
            bytes: 64 << 20,
        }
    }
}
