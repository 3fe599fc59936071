//! The messages about consumer groups: what a member is to read, how far groups have come and who is in them, and
//! changing that from outside.
//!
//! What was never committed is -1, and an offset is always told beside the ends of its partition at that moment, so
//! that a lag is never made up from two answers.

use super::{list, put_list, read_bool};
use crate::codec::{Malformed, Reader, Writer};

/// Tells a member what it is to read from now on, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Counts these messages on a stream, from 1.
    pub number: u32,
    /// Something that it has read is not among it any more: others get that when the member has answered with Released.
    pub release: bool,
    /// Partition, and the offset of the next record that will be delivered.
    pub positions: Vec<(i32, i64)>,
}

impl Assigned {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (number, release) = (r.u32()?, read_bool(r)?);
        Ok(Assigned { number, release, positions: list(r, |r| Ok((r.i32()?, r.i64()?)))? })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.number);
        out.put_u8(u8::from(self.release));
        put_list(out, &self.positions, |out, (partition, offset)| {
            out.put_i32(*partition);
            out.put_i64(*offset);
        });
    }
}

/// Moves a group: as a member, on its stream; or from outside, when it has no members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit<'a> {
    /// The group.
    pub group: &'a str,
    /// Where to.
    pub positions: Vec<CommitAt<'a>>,
}

/// How far a group has come in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitAt<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The offset of the next record to read.
    pub offset: i64,
    /// Whatever the client wants to find again.
    pub metadata: &'a str,
}

impl<'a> Commit<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let group = r.string()?;
        let positions = list(r, |r| {
            Ok(CommitAt { topic: r.string()?, partition: r.i32()?, offset: r.i64()?, metadata: r.string()? })
        })?;
        Ok(Commit { group, positions })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_string(self.group);
        put_list(out, &self.positions, |out, at| {
            out.put_string(at.topic);
            out.put_i32(at.partition);
            out.put_i64(at.offset);
            out.put_string(at.metadata);
        });
    }
}

/// Forgets how far a group has come in some partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgetOffsets<'a> {
    /// The group.
    pub group: &'a str,
    /// Topic and partition.
    pub partitions: Vec<(&'a str, i32)>,
}

impl<'a> ForgetOffsets<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(ForgetOffsets { group: r.string()?, partitions: list(r, |r| Ok((r.string()?, r.i32()?)))? })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_string(self.group);
        put_shares(&self.partitions, out);
    }
}

/// A group in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupLine<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it is, by Kafka's names: `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable`...
    pub state: &'a str,
    /// Which kind of group it is, by Kafka's names, such as `classic`.
    pub kind: &'a str,
    /// How many members.
    pub members: u32,
    /// How many topics it has committed offsets of.
    pub topics: u32,
    /// Records that it has not read, in all partitions with a committed offset; -1 without any.
    pub lag: i64,
    /// When it last committed, in milliseconds since 1970; -1: never.
    pub last_commit: i64,
    /// Records that were deleted before it had read them, since the broker was started.
    pub lost: u64,
}

impl<'a> GroupLine<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(GroupLine {
            name: r.string()?,
            state: r.string()?,
            kind: r.string()?,
            members: r.u32()?,
            topics: r.u32()?,
            lag: r.i64()?,
            last_commit: r.i64()?,
            lost: r.u64()?,
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.put_string(self.name);
        out.put_string(self.state);
        out.put_string(self.kind);
        out.put_u32(self.members);
        out.put_u32(self.topics);
        out.put_i64(self.lag);
        out.put_i64(self.last_commit);
        out.put_u64(self.lost);
    }
}

/// Some of the groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups<'a> {
    /// By name.
    pub groups: Vec<GroupLine<'a>>,
    /// Whether there are others behind the last of them.
    pub more: bool,
}

impl<'a> Groups<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Groups { groups: list(r, GroupLine::read)?, more: read_bool(r)? })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_list(out, &self.groups, |out, line| line.put(out));
        out.put_u8(u8::from(self.more));
    }
}

/// A group in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo<'a> {
    /// It in a line.
    pub line: GroupLine<'a>,
    /// How it shares out; empty: it does not.
    pub protocol: &'a str,
    /// Who is in it.
    pub members: Vec<GroupMember<'a>>,
    /// How far it has come: all partitions of each topic that it has committed offsets of, or that its members read.
    pub positions: Vec<GroupPosition<'a>>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember<'a> {
    /// Its id.
    pub id: &'a str,
    /// `group.instance.id`; empty: it has none.
    pub instance: &'a str,
    /// What its client calls itself.
    pub client: &'a str,
    /// Where that connects from.
    pub host: &'a str,
    /// Topic and partition of what it has been given.
    pub share: Vec<(&'a str, i32)>,
}

/// How far a group has come in a partition, and how far it could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupPosition<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The offset of the next record to read; -1: nothing was committed.
    pub offset: i64,
    /// What was committed with it.
    pub metadata: &'a str,
    /// When that was, in milliseconds since 1970; -1: never.
    pub committed_at: i64,
    /// First offset that still exists.
    pub log_start: i64,
    /// End of what readers may see.
    pub high_watermark: i64,
    /// Where it was seen reading.
    pub read: Option<LastRead>,
}

/// Where somebody was seen reading a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRead {
    /// The offset from which it asked for records last.
    pub offset: i64,
    /// When that was, in milliseconds since 1970.
    pub at: i64,
    /// The offset to which it has gone back last; -1: it never has.
    pub returned_to: i64,
    /// How many times in a row it has gone back to this offset, and to no other.
    pub returns: u32,
    /// That it was this group is only likely: a fetch of Kafka names no group, so whoever has the name and the address
    /// of the member that is to read the partition is taken for it.
    pub inferred: bool,
}

impl LastRead {
    fn read(r: &mut Reader<'_>) -> Result<Option<Self>, Malformed> {
        if !read_bool(r)? {
            return Ok(None);
        }
        let (offset, at, returned_to) = (r.i64()?, r.i64()?, r.i64()?);
        Ok(Some(LastRead { offset, at, returned_to, returns: r.u32()?, inferred: read_bool(r)? }))
    }

    fn put(last: Option<Self>, out: &mut Vec<u8>) {
        out.put_u8(u8::from(last.is_some()));
        let Some(last) = last else { return };
        out.put_i64(last.offset);
        out.put_i64(last.at);
        out.put_i64(last.returned_to);
        out.put_u32(last.returns);
        out.put_u8(u8::from(last.inferred));
    }
}

impl<'a> GroupInfo<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (line, protocol) = (GroupLine::read(r)?, r.string()?);
        let members = list(r, |r| {
            Ok(GroupMember {
                id: r.string()?,
                instance: r.string()?,
                client: r.string()?,
                host: r.string()?,
                share: list(r, |r| Ok((r.string()?, r.i32()?)))?,
            })
        })?;
        let positions = list(r, |r| {
            Ok(GroupPosition {
                topic: r.string()?,
                partition: r.i32()?,
                offset: r.i64()?,
                metadata: r.string()?,
                committed_at: r.i64()?,
                log_start: r.i64()?,
                high_watermark: r.i64()?,
                read: LastRead::read(r)?,
            })
        })?;
        Ok(GroupInfo { line, protocol, members, positions })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        self.line.put(out);
        out.put_string(self.protocol);
        put_list(out, &self.members, |out, member| {
            out.put_string(member.id);
            out.put_string(member.instance);
            out.put_string(member.client);
            out.put_string(member.host);
            put_shares(&member.share, out);
        });
        put_list(out, &self.positions, |out, at| {
            out.put_string(at.topic);
            out.put_i32(at.partition);
            out.put_i64(at.offset);
            out.put_string(at.metadata);
            out.put_i64(at.committed_at);
            out.put_i64(at.log_start);
            out.put_i64(at.high_watermark);
            LastRead::put(at.read, out);
        });
    }
}

impl GroupPosition<'_> {
    /// Records that are there and were not read; `None`: nothing was committed, so nobody can tell.
    pub fn lag(&self) -> Option<i64> {
        (self.offset >= 0).then(|| (self.high_watermark - self.offset.max(self.log_start)).max(0))
    }
}

fn put_shares(shares: &[(&str, i32)], out: &mut Vec<u8>) {
    put_list(out, shares, |out, (topic, partition)| {
        out.put_string(topic);
        out.put_i32(*partition);
    });
}
