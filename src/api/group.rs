//! What can be asked about consumer groups, and what is answered. What members say and hear is in [`crate::groups`].

use super::Position;
pub use crate::groups::assign::{Partitions, TopicPartition};
pub use crate::groups::consumer::{
    ConsumerDescription, ConsumerMember, Heard, Heartbeat as ConsumerHeartbeat, Refused as ConsumerRefused,
    TopicShare,
};
pub use crate::groups::{Answer as MemberAnswer, Join, JoinedMember, Leaver, Sync, Who};
use krappy_wire::error::ErrorCode;
pub use krappy_wire::native::LastRead;

/// What can be asked about groups.
#[derive(Debug, Clone)]
pub enum GroupRequest<'a> {
    /// To be a member of the next generation. Answered with [`GroupReply::Member`], when the generation is there.
    Join(Join<'a>),
    /// A share. Answered with [`GroupReply::Member`], when the leader has shared out.
    Sync(Sync<'a>),
    /// To stay a member. Answered with [`GroupReply::Result`].
    Heartbeat {
        /// The group.
        group: &'a str,
        /// The member.
        who: Who<'a>,
    },
    /// To join, stay in or leave a consumer group. Answered with [`GroupReply::Heard`].
    Consume(ConsumerHeartbeat<'a>),
    /// That members go. Answered with [`GroupReply::Each`].
    Leave {
        /// The group.
        group: &'a str,
        /// Who goes.
        members: Vec<Leaver<'a>>,
    },
    /// To remember how far the group has come. Answered with [`GroupReply::Each`], when that is durable.
    Commit {
        /// The group.
        group: &'a str,
        /// Who commits. Without a generation: somebody outside the group, which must have no members then.
        who: Who<'a>,
        /// The positions.
        positions: Vec<CommitPosition<'a>>,
    },
    /// To remember how far the group of a stream has come, which is a member of it. Answered with
    /// [`GroupReply::Each`], when that is durable.
    CommitStream {
        /// Where the stream is told what it is to read.
        slot: u64,
        /// The positions.
        positions: Vec<CommitPosition<'a>>,
    },
    /// How far the group has come. Answered with [`GroupReply::Offsets`].
    Offsets {
        /// The group.
        group: &'a str,
        /// Who asks, if it is a member of a consumer group and says so.
        member: Option<&'a str>,
        /// The epoch that it is in; -1: it does not say.
        epoch: i32,
        /// Topics and numbers of partitions; absent: all that it has committed.
        partitions: Option<Vec<(&'a str, i32)>>,
    },
    /// Which groups there are. Answered with [`GroupReply::List`].
    List {
        /// Names of states in any case; empty: all.
        states: Vec<&'a str>,
        /// Names of kinds of groups in any case; empty: all.
        kinds: Vec<&'a str>,
    },
    /// That a stream becomes a member which reads one topic. Answered with [`GroupReply::Share`], at once and again
    /// whenever that changes, and at last with a refusal.
    JoinStream {
        /// The group.
        group: &'a str,
        /// What the client calls itself.
        client_id: &'a str,
        /// The topic.
        topic: &'a str,
        /// Where nothing was committed, it begins at the end and not at the beginning.
        from_end: bool,
    },
    /// What a stream reads, after it was told to read less. Answered with [`GroupReply::Result`].
    Owned {
        /// Where it is told what it is to read.
        slot: u64,
        /// The numbers of the partitions.
        partitions: Vec<i32>,
    },
    /// That a stream is a member no more. Answered with [`GroupReply::Result`].
    EndStream {
        /// Where it was told what it is to read.
        slot: u64,
    },
    /// Groups behind a name, with how far they have come. Answered with [`GroupReply::Page`].
    After {
        /// The name; empty: all groups are behind it.
        name: &'a str,
        /// Most groups of the answer; 0 is no limit but the broker's.
        limit: u32,
    },
    /// One group with how far it has come. Answered with [`GroupReply::Detail`].
    Detail(&'a str),
    /// One group in full. Answered with [`GroupReply::Description`]; a group that is not there is dead.
    Describe(&'a str),
    /// One consumer group in full. Answered with [`GroupReply::Consumer`].
    DescribeConsumer(&'a str),
    /// To forget a group that has no members. Answered with [`GroupReply::Result`], when that is durable.
    Delete(&'a str),
    /// To forget how far the group has come in some partitions. Answered with [`GroupReply::Each`], when that is
    /// durable.
    DeleteOffsets {
        /// The group.
        group: &'a str,
        /// Topics and numbers of partitions.
        partitions: Vec<(&'a str, i32)>,
    },
}

/// A position to remember.
#[derive(Debug, Clone, Copy)]
pub struct CommitPosition<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The number of the partition.
    pub partition: i32,
    /// The offset of the next record to read.
    pub offset: i64,
    /// The leader epoch of the last record that was read; -1: not said.
    pub leader_epoch: i32,
    /// Whatever the client wants to find again.
    pub metadata: &'a str,
}

/// How far a group has come in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffset {
    /// The topic.
    pub topic: String,
    /// The number of the partition.
    pub partition: i32,
    /// The offset of the next record to read; -1: never committed.
    pub offset: i64,
    /// The leader epoch that was committed with it; -1: none was.
    pub leader_epoch: i32,
    /// What the client wanted to find again.
    pub metadata: String,
}

/// A group, in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLine {
    /// Its name.
    pub group: String,
    /// What kind of protocols its members have; empty: it never had any.
    pub protocol_type: String,
    /// Its state, as Kafka calls it.
    pub state: &'static str,
    /// What kind of group it is, as Kafka calls it.
    pub kind: &'static str,
}

/// What a member that has a stream is to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Its name.
    pub member: String,
    /// All of it, and where to begin with what it does not read yet.
    pub positions: Vec<Position>,
}

/// A group in a line, with how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSummary {
    /// Its name.
    pub group: String,
    /// Its state, as Kafka calls it.
    pub state: &'static str,
    /// What kind of group it is, as Kafka calls it.
    pub kind: &'static str,
    /// How many members it has.
    pub members: usize,
    /// How many topics it has committed offsets of.
    pub topics: usize,
    /// Records that it has not read in the partitions that it has committed offsets of; absent: there are none.
    pub lag: Option<i64>,
    /// When it last committed, milliseconds since 1970.
    pub last_commit: Option<i64>,
    /// Records that were deleted before it had read them, since the broker was started.
    pub lost: u64,
}

/// A group in full, with how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDetail {
    /// It in a line.
    pub summary: GroupSummary,
    /// The protocol in use; empty: none.
    pub protocol: String,
    /// Its members.
    pub members: Vec<GroupMember>,
    /// All partitions of the topics that it has committed offsets of, or that its members read.
    pub positions: Vec<GroupPosition>,
}

/// A member of a group, and what it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub id: String,
    /// The id that it keeps for good.
    pub instance: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// Topics and numbers of the partitions that it was given.
    pub share: Vec<(String, i32)>,
}

/// How far a group has come in a partition, and how far it could have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPosition {
    /// The topic.
    pub topic: String,
    /// The number of the partition.
    pub partition: i32,
    /// The offset of the next record to read; absent: never committed.
    pub offset: Option<i64>,
    /// What the client wanted to find again.
    pub metadata: String,
    /// When that was committed, milliseconds since 1970.
    pub committed_at: Option<i64>,
    /// First offset that still exists.
    pub log_start: i64,
    /// End of what readers may see.
    pub high_watermark: i64,
    /// Where it was seen reading.
    pub read: Option<LastRead>,
}

/// A group in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// In a line.
    pub line: GroupLine,
    /// The protocol in use; empty: none.
    pub protocol: String,
    /// Its members.
    pub members: Vec<MemberDescription>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub member: String,
    /// The id that it keeps for good.
    pub instance: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// Its bytes for the protocol in use.
    pub metadata: Vec<u8>,
    /// What the leader has given to it.
    pub assignment: Vec<u8>,
}

/// What is answered about groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupReply {
    /// What ends the wait of a member.
    Member(MemberAnswer),
    /// What a member of a consumer group is to know, or why it is refused.
    Heard(Result<Heard, ConsumerRefused>),
    /// It went well, or why not.
    Result(Result<(), ErrorCode>),
    /// Why nothing was done, or for each item of the request, in its order, whether it was.
    Each(Result<Vec<Result<(), ErrorCode>>, ErrorCode>),
    /// The positions: in the order of the request, or if all were asked for, by topic and number.
    Offsets(Result<Vec<GroupOffset>, ErrorCode>),
    /// Groups, by name.
    List(Vec<GroupLine>),
    /// One in full.
    Description(GroupDescription),
    /// What a stream is to read from now on.
    Share(Share),
    /// Groups by name, and whether there are others behind them.
    Page(Vec<GroupSummary>, bool),
    /// One with how far it has come, or why it cannot be told.
    Detail(Result<GroupDetail, ErrorCode>),
    /// A consumer group in full, or why there is none.
    Consumer(Result<ConsumerDescription, ConsumerRefused>),
}
