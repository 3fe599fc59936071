//! How far groups have come, and how far they could have.
//!
//! Invariant: a committed offset and the ends of its partition are looked at in one turn of the loop, so that a lag is
//! that of a moment. What was never committed has none.

use std::collections::{BTreeMap, BTreeSet};

use super::Broker;
use super::consumers::Topics;
use super::partition::Partition;
use super::readers::Reader;
use crate::api::group::{GroupDetail, GroupMember, GroupPosition, GroupSummary, LastRead, TopicShare};
use crate::api::{ErrorCode, TopicRef};
use crate::groups::offsets::Position;
use crate::groups::{Listed, share};
use crate::ordered;

/// Most groups of one page.
const PAGE: usize = 1_000;

impl Broker {
    /// Groups behind a name, and whether there are others behind them. A limit of 0 is none but the broker's.
    pub(super) fn groups_after(&self, after: &str, limit: u32) -> (Vec<GroupSummary>, bool) {
        let most = if limit == 0 { PAGE } else { PAGE.min(limit as usize) };
        let mut lines = self.coordinator.groups.after(after);
        let page = lines.by_ref().take(most).map(|listed| self.summary(&listed)).collect();
        (page, lines.next().is_some())
    }

    /// One group in full.
    pub(super) fn group_detail(&self, group: &str) -> Result<GroupDetail, ErrorCode> {
        let listed = self.coordinator.groups.line(group)?;
        let (members, protocol) = self.members_of(group);
        let read = members.iter().flat_map(|member| &member.share).map(|(topic, _)| topic.as_str());
        let topics = ordered::set(self.positions_of(group).map(|(topic, _, _)| topic).chain(read));
        let owners = owners(&members);
        let positions = topics.iter().flat_map(|topic| self.positions_in(group, topic, &owners)).collect();
        Ok(GroupDetail { summary: self.summary(&listed), protocol, members, positions })
    }

    /// Who is in a group, and how it shares out.
    fn members_of(&self, group: &str) -> (Vec<GroupMember>, String) {
        if let Ok(described) = self.coordinator.groups.describe_consumer(group, &Topics(&self.catalog)) {
            let members = described.members.into_iter().map(|member| GroupMember {
                id: member.member,
                instance: member.instance,
                client_id: member.client_id,
                client_host: member.client_host,
                share: member.assigned.iter().flat_map(numbered).collect(),
            });
            return (members.collect(), described.assignor.to_owned());
        }
        let described = self.coordinator.groups.describe(group);
        let members = described.members.iter().map(|member| GroupMember {
            id: member.member.to_owned(),
            instance: member.instance.map(str::to_owned),
            client_id: member.client_id.to_owned(),
            client_host: member.client_host.to_owned(),
            share: share(member.assignment).into_iter().map(|(topic, n)| (topic.to_owned(), n)).collect(),
        });
        (members.collect(), described.protocol.to_owned())
    }

    fn summary(&self, listed: &Listed<'_>) -> GroupSummary {
        let (mut topics, mut lag, mut last_commit) = (BTreeSet::new(), None, None);
        for (topic, number, position) in self.positions_of(listed.group) {
            topics.insert(topic);
            last_commit = last_commit.max(Some(position.timestamp));
            if let Some((start, end)) = self.readable_partition(topic, number).map(ends_of) {
                *lag.get_or_insert(0) += (end - position.offset.max(start)).max(0);
            }
        }
        GroupSummary {
            group: listed.group.to_owned(),
            state: listed.state,
            kind: listed.kind,
            members: listed.members,
            topics: topics.len(),
            lag,
            last_commit,
            lost: self.coordinator.lost.get(listed.group).copied().unwrap_or(0),
        }
    }

    /// Positions that were committed for the topics that have these names now.
    fn positions_of<'a>(&'a self, group: &'a str) -> impl Iterator<Item = (&'a str, i32, &'a Position)> {
        self.coordinator.offsets.of_group(group).filter(|(topic, _, position)| self.is_meant(topic, position))
    }

    /// All partitions of a topic.
    fn positions_in(&self, group: &str, topic: &str, owners: &Owners<'_>) -> Vec<GroupPosition> {
        let Ok(key) = self.live_topic(TopicRef::Name(topic)) else { return Vec::new() };
        let count = self.catalog.get(key).map_or(0, |found| found.partitions.len() as i32);
        let told = (0..count).filter_map(|number| {
            let partition = self.readable_partition(topic, number)?;
            let (log_start, high_watermark) = ends_of(partition);
            let found = self.coordinator.offsets.get(group, topic, number);
            let position = found.filter(|position| self.is_meant(topic, position));
            Some(GroupPosition {
                topic: topic.to_owned(),
                partition: number,
                offset: position.map(|p| p.offset),
                metadata: position.map_or_else(String::new, |p| p.metadata.to_string()),
                committed_at: position.map(|p| p.timestamp),
                log_start,
                high_watermark,
                read: last_read(partition, group, owners.get(&(topic, number))),
            })
        });
        told.collect()
    }

    fn readable_partition(&self, topic: &str, number: i32) -> Option<&Partition> {
        let key = self.live_topic(TopicRef::Name(topic)).ok()?;
        self.partition(self.partition_of(key, number).ok()?)
    }
}

/// Log start offset and high watermark.
fn ends_of(partition: &Partition) -> (i64, i64) {
    (partition.log.start_offset(), partition.high_watermark())
}

/// Who was given a partition, by topic and number.
type Owners<'a> = BTreeMap<(&'a str, i32), &'a GroupMember>;

fn owners(members: &[GroupMember]) -> Owners<'_> {
    let all = members.iter().flat_map(|member| member.share.iter().map(move |place| (place, member)));
    all.map(|((topic, number), member)| ((topic.as_str(), *number), member)).collect()
}

/// Where a group was seen reading: by itself, or else, very likely, by the client of the member that is to read there.
fn last_read(partition: &Partition, group: &str, owner: Option<&&GroupMember>) -> Option<LastRead> {
    let client = || {
        let owner = owner?;
        partition.readers.find(Reader::Client(&owner.client_id, &owner.client_host))
    };
    partition.readers.find(Reader::Member(group)).or_else(client)
}

fn numbered(share: &TopicShare) -> impl Iterator<Item = (String, i32)> {
    share.partitions.iter().map(|number| (share.name.clone(), *number))
}
