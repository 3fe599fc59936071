//! Consumer groups from outside: who is in them, how far they have come, and moving them while nobody reads.

use crate::admin::Admin;
use crate::error::Error;
use krappy_wire::error::ErrorCode;
pub use krappy_wire::native::LastRead;
use krappy_wire::native::{self, Commit, CommitAt, ForgetOffsets, Reply, Request};

/// A group in a line.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// for group in client.admin().list_groups()? {
///     println!("{}: {} members, lag {:?}", group.name, group.members, group.lag);
/// }
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSummary {
    /// Its name.
    pub name: String,
    /// Where it is, by Kafka's names, such as `Stable` or `Empty`.
    pub state: String,
    /// Which kind of group it is, by Kafka's names, such as `classic`.
    pub kind: String,
    /// How many members it has.
    pub members: u32,
    /// How many topics it has committed offsets of.
    pub topics: u32,
    /// Records that it has not read in the partitions that it has committed offsets of; `None`: there are none.
    pub lag: Option<i64>,
    /// When it last committed, in milliseconds since 1970.
    pub last_commit: Option<i64>,
    /// Records that were deleted before it had read them, since the broker was started.
    pub lost: u64,
}

/// A group in full.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// let group = client.admin().describe_group("billing")?;
/// for at in &group.positions {
///     println!("{}/{}: {:?} of {}", at.topic, at.partition, at.offset, at.high_watermark);
/// }
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    /// It in a line.
    pub summary: GroupSummary,
    /// How it shares out; empty: it does not.
    pub protocol: String,
    /// Who is in it.
    pub members: Vec<GroupMember>,
    /// All partitions of each topic that it has committed offsets of, or that its members read.
    pub positions: Vec<GroupPosition>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub id: String,
    /// `group.instance.id`, if it has one.
    pub instance: Option<String>,
    /// What its client calls itself.
    pub client: String,
    /// Where that connects from.
    pub host: String,
    /// Topic and partition of what it has been given.
    pub share: Vec<(String, i32)>,
}

/// How far a group has come in a partition, and how far it could have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPosition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset of the next record to read; `None`: nothing was committed.
    pub offset: Option<i64>,
    /// What was committed with it.
    pub metadata: String,
    /// When that was, in milliseconds since 1970.
    pub committed_at: Option<i64>,
    /// First offset that still exists.
    pub log_start: i64,
    /// End of what readers may see.
    pub high_watermark: i64,
    /// Where it was seen reading; `None`: it was not, since the broker was started.
    pub read: Option<LastRead>,
}

impl GroupPosition {
    /// Records that are there and were not read; `None`: nothing was committed.
    ///
    /// ```
    /// # let at = krappy_client::GroupPosition {
    /// #     topic: "t".into(), partition: 0, offset: Some(3), metadata: String::new(), committed_at: None,
    /// #     log_start: 5, high_watermark: 12, read: None,
    /// # };
    /// // Offsets 3 and 4 are gone, so they are not waited for.
    /// assert_eq!((at.offset, at.log_start, at.high_watermark), (Some(3), 5, 12));
    /// assert_eq!(at.lag(), Some(7));
    /// ```
    pub fn lag(&self) -> Option<i64> {
        self.offset.map(|offset| (self.high_watermark - offset.max(self.log_start)).max(0))
    }
}

/// A position to commit from outside of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetAt {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset of the next record to read.
    pub offset: i64,
}

/// Groups that one request asks for.
const PAGE: u32 = 1_000;

impl Admin {
    /// Every group, sorted by name.
    pub fn list_groups(&self) -> Result<Vec<GroupSummary>, Error> {
        let mut groups: Vec<GroupSummary> = Vec::new();
        loop {
            let after = groups.last().map_or("", |last| last.name.as_str());
            let request = Request::ListGroups { after, limit: PAGE };
            let (page, more) = self.client.call(&request, |reply| match reply {
                Reply::Groups(page) => Ok((page.groups.iter().map(summary).collect::<Vec<_>>(), page.more)),
                _ => Err(Error::unexpected("ListGroups")),
            })?;
            let ended = page.is_empty() || !more;
            groups.extend(page);
            if ended {
                return Ok(groups);
            }
        }
    }

    /// One group: its members, and how far it has come.
    pub fn describe_group(&self, group: &str) -> Result<GroupInfo, Error> {
        checked(group)?;
        self.client.call(&Request::DescribeGroup { group }, |reply| match reply {
            Reply::Group(info) => Ok(GroupInfo::from_wire(&info)),
            _ => Err(Error::unexpected("DescribeGroup")),
        })
    }

    /// Moves a group that has no members, all positions or, if one of them is refused, those before and after it.
    /// Durable when it returns. Begins the group if there is none.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// use krappy_client::OffsetAt;
    ///
    /// let at = OffsetAt { topic: "orders".into(), partition: 0, offset: 42 };
    /// client.admin().commit_offsets("billing", &[at])?;
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn commit_offsets(&self, group: &str, positions: &[OffsetAt]) -> Result<(), Error> {
        checked(group)?;
        let mut wire = Vec::with_capacity(positions.len());
        for at in positions {
            wire.push(CommitAt {
                topic: &at.topic,
                partition: at.partition,
                offset: at.offset,
                metadata: "",
            });
        }
        let errors = self.client.call(&Request::Commit(Commit { group, positions: wire }), each)?;
        first_error(&errors, positions.iter().map(|at| (at.topic.as_str(), at.partition)))
    }

    /// Forgets how far a group has come in some partitions, which no member of it reads. Durable when it returns.
    pub fn forget_offsets(&self, group: &str, partitions: &[(&str, i32)]) -> Result<(), Error> {
        checked(group)?;
        let request = Request::ForgetOffsets(ForgetOffsets { group, partitions: partitions.to_vec() });
        let errors = self.client.call(&request, each)?;
        first_error(&errors, partitions.iter().copied())
    }

    /// Forgets a group that has no members, and how far it has come. Durable when it returns.
    pub fn delete_group(&self, group: &str) -> Result<(), Error> {
        checked(group)?;
        self.client.call(&Request::DeleteGroup { group }, |reply| match reply {
            Reply::Ack => Ok(()),
            _ => Err(Error::unexpected("DeleteGroup")),
        })
    }
}

impl GroupInfo {
    fn from_wire(info: &native::GroupInfo<'_>) -> Self {
        let member = |member: &native::GroupMember<'_>| GroupMember {
            id: member.id.into(),
            instance: (!member.instance.is_empty()).then(|| member.instance.into()),
            client: member.client.into(),
            host: member.host.into(),
            share: member.share.iter().map(|&(topic, number)| (topic.into(), number)).collect(),
        };
        let position = |at: &native::GroupPosition<'_>| GroupPosition {
            topic: at.topic.into(),
            partition: at.partition,
            offset: present(at.offset),
            metadata: at.metadata.into(),
            committed_at: present(at.committed_at),
            log_start: at.log_start,
            high_watermark: at.high_watermark,
            read: at.read,
        };
        Self {
            summary: summary(&info.line),
            protocol: info.protocol.into(),
            members: info.members.iter().map(member).collect(),
            positions: info.positions.iter().map(position).collect(),
        }
    }
}

fn summary(line: &native::GroupLine<'_>) -> GroupSummary {
    GroupSummary {
        name: line.name.into(),
        state: line.state.into(),
        kind: line.kind.into(),
        members: line.members,
        topics: line.topics,
        lag: present(line.lag),
        last_commit: present(line.last_commit),
        lost: line.lost,
    }
}

/// -1 is how the protocol says that there is none.
fn present(n: i64) -> Option<i64> {
    (n >= 0).then_some(n)
}

/// The names of groups are shorter, but that is the broker's to judge.
fn checked(group: &str) -> Result<(), Error> {
    match group.len() {
        1..=65_535 => Ok(()),
        n => Err(Error::Invalid(format!("a group name of {n} bytes"))),
    }
}

fn each(reply: Reply<'_>) -> Result<Vec<i16>, Error> {
    match reply {
        Reply::Each { errors } => Ok(errors),
        _ => Err(Error::unexpected("a change of a group")),
    }
}

/// The first partition that was refused, as an error.
fn first_error<'a>(errors: &[i16], partitions: impl Iterator<Item = (&'a str, i32)>) -> Result<(), Error> {
    let mut refused =
        errors.iter().zip(partitions).filter(|(number, _)| **number != ErrorCode::None.number());
    match refused.next() {
        None => Ok(()),
        Some((&number, (topic, partition))) => {
            let name =
                ErrorCode::from_number(number).map_or_else(|| number.to_string(), |code| format!("{code:?}"));
            let message = format!("{topic}/{partition} was refused: {name}");
            Err(Error::Refused { number, message, hint: String::new() })
        }
    }
}
