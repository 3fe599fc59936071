//! What can be asked of a group and what it answers, with borrowed questions and shared answers: the metadata of a
//! thousand members goes to their leader without being copied.

use std::sync::Arc;

use krappy_wire::error::ErrorCode;

/// A client wants to be a member of the next generation.
#[derive(Debug, Clone)]
pub struct Join<'a> {
    /// The group.
    pub group: &'a str,
    /// The id that the group gave it; empty: it has none yet.
    pub member: &'a str,
    /// `group.instance.id`: who it is across restarts, for a static member.
    pub instance: Option<&'a str>,
    /// `client.id`.
    pub client_id: &'a str,
    /// The address that it came from.
    pub client_host: &'a str,
    /// It is gone when nothing was heard of it for this long.
    pub session_timeout_ms: i32,
    /// It needs at most this long to come back when a rebalance begins. Negative: as long as its session.
    pub rebalance_timeout_ms: i32,
    /// What the group does together, such as `consumer`.
    pub protocol_type: &'a str,
    /// Ways to share out the work that it knows, the preferred one first, each with bytes for the leader.
    pub protocols: Vec<(&'a str, &'a [u8])>,
    /// Why it joins, for the log.
    pub reason: Option<&'a str>,
    /// It can be told its id before it is let in (JoinGroup from version 4 on).
    pub takes_id_first: bool,
    /// It can be told that it leads a group that is shared out already (JoinGroup from version 9 on).
    pub skips_assignment: bool,
}

/// How a member says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who<'a> {
    /// Its id.
    pub member: &'a str,
    /// Its instance id, if it is a static member and says so.
    pub instance: Option<&'a str>,
    /// The generation that it believes to be in.
    pub generation: i32,
    /// It knows that some members have an epoch in place of a generation (OffsetCommit from version 9 on).
    pub knows_epochs: bool,
}

/// A member wants its share; the leader brings everybody's.
#[derive(Debug, Clone)]
pub struct Sync<'a> {
    /// The group.
    pub group: &'a str,
    /// The member.
    pub who: Who<'a>,
    /// What it believes the group does; absent: it does not say.
    pub protocol_type: Option<&'a str>,
    /// The protocol that it believes to be chosen; absent: it does not say.
    pub protocol: Option<&'a str>,
    /// Shares by member id; only the leader's count.
    pub assignments: Vec<(&'a str, &'a [u8])>,
}

/// A member that is to leave.
#[derive(Debug, Clone, Copy)]
pub struct Leaver<'a> {
    /// Its id; empty: it is named by its instance id, as administrators do.
    pub member: &'a str,
    /// Its instance id, if it is a static member.
    pub instance: Option<&'a str>,
    /// Why, for the log.
    pub reason: Option<&'a str>,
}

/// What ends the wait of a [`Join`] or a [`Sync`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is a member of this generation.
    Joined(Joined),
    /// It is not.
    NotJoined {
        /// Why; [`ErrorCode::MemberIdRequired`] is the first half of a success.
        code: ErrorCode,
        /// The id that it is to use from now on; empty: none.
        member: Arc<str>,
    },
    /// Its share.
    Synced(Synced),
    /// It has none, and this is why.
    NotSynced(ErrorCode),
}

/// What a member is told when a generation begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Its id.
    pub member: Arc<str>,
    /// The generation.
    pub generation: i32,
    /// What the group does.
    pub protocol_type: Arc<str>,
    /// The protocol that was chosen.
    pub protocol: Arc<str>,
    /// The id of the member that shares out.
    pub leader: Arc<str>,
    /// For the leader: everybody, in the order in which they came. For all others empty.
    pub members: Vec<JoinedMember>,
    /// It leads, but everything is shared out already.
    pub skip_assignment: bool,
}

/// What the leader is told of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub id: Arc<str>,
    /// Its instance id, if it is a static member.
    pub instance: Option<Arc<str>>,
    /// What it said for the chosen protocol.
    pub metadata: Arc<[u8]>,
}

/// The share of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// What the group does.
    pub protocol_type: Arc<str>,
    /// The protocol that was chosen.
    pub protocol: Arc<str>,
    /// What the leader has given it, as the leader wrote it; empty: nothing.
    pub assignment: Arc<[u8]>,
}
