//! What members of this kind of group say and hear.

use std::sync::Arc;

use krappy_wire::error::ErrorCode;

use crate::groups::assign::Partitions;

/// The epoch with which a member joins.
pub const JOINS: i32 = 0;
/// The epoch with which a member leaves for good.
pub const LEAVES: i32 = -1;
/// The epoch with which a static member leaves and will come back.
pub const GOES_AWAY: i32 = -2;

/// A member says that it lives, and what has changed. What it does not say is as it was.
#[derive(Debug, Clone)]
pub struct Heartbeat<'a> {
    /// The group.
    pub group: &'a str,
    /// The id that the member has made; empty: the group is to make one.
    pub member: &'a str,
    /// The epoch that the member is in, or [`JOINS`], [`LEAVES`] or [`GOES_AWAY`].
    pub epoch: i32,
    /// `group.instance.id`: who it is across restarts, for a static member.
    pub instance: Option<&'a str>,
    /// `client.rack`. It is told to whoever asks, and not used.
    pub rack: Option<&'a str>,
    /// `client.id`.
    pub client_id: &'a str,
    /// The address that it came from.
    pub client_host: &'a str,
    /// It gives back partitions within this time.
    pub rebalance_timeout_ms: Option<i32>,
    /// Names of topics that it wants to read.
    pub topics: Option<Vec<&'a str>>,
    /// A pattern that names of topics match that it wants to read; empty: no more.
    pub pattern: Option<&'a str>,
    /// `group.remote.assignor`: how partitions are to be shared out.
    pub assignor: Option<&'a str>,
    /// What it reads, or is about to.
    pub owned: Option<Partitions>,
    /// It makes its own id (ConsumerGroupHeartbeat from version 1 on).
    pub makes_id: bool,
}

/// What a member hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its id.
    pub member: Arc<str>,
    /// The epoch that it is in.
    pub epoch: i32,
    /// When it is to say something again; 0: never.
    pub interval_ms: u32,
    /// What it is to read, if that has changed or it cannot know.
    pub assignment: Option<Partitions>,
}

/// A request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why, for people.
    pub why: String,
}

impl Refused {
    pub(super) fn new(code: ErrorCode, why: impl Into<String>) -> Refused {
        Refused { code, why: why.into() }
    }
}

/// What a member that has a stream is told without being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Push {
    /// What it is to read from now on. When it has stopped reading the rest it says so.
    Assigned {
        /// Its id.
        member: Arc<str>,
        /// All of it.
        partitions: Partitions,
    },
    /// It is no member any more, because it did not stop in time, or because the broker stops.
    Fenced,
}
