//! Groups of this kind as tools see them.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::group::ConsumerGroup;
use super::topics::Topics;
use crate::groups::assign::{Partitions, TopicId};
use crate::groups::subscription::Subscribed;

/// A group in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerDescription {
    /// Where it is, by Kafka's name.
    pub state: &'static str,
    /// Counts its plans.
    pub epoch: i32,
    /// How the partitions are shared out, by Kafka's name.
    pub assignor: &'static str,
    /// Its members, the oldest first.
    pub members: Vec<ConsumerMember>,
}

/// A member in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerMember {
    /// Its id.
    pub member: String,
    /// Its instance id, if it is a static member.
    pub instance: Option<String>,
    /// `client.rack`.
    pub rack: Option<String>,
    /// It speaks the classic protocol.
    pub classic: bool,
    /// The epoch that it is in.
    pub epoch: i32,
    /// `client.id`.
    pub client_id: String,
    /// The address that it came from.
    pub client_host: String,
    /// The topics that it names.
    pub topics: Vec<String>,
    /// The pattern of topics that it names.
    pub pattern: Option<String>,
    /// What it may read.
    pub assigned: Vec<TopicShare>,
    /// What it is to have.
    pub target: Vec<TopicShare>,
}

/// Partitions of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicShare {
    /// The name of the topic.
    pub name: String,
    /// Its id.
    pub id: TopicId,
    /// The numbers of the partitions, in order.
    pub partitions: Vec<i32>,
}

impl<W: Copy + Ord + Debug> ConsumerGroup<W> {
    /// It in full.
    pub fn describe(&self, topics: &dyn Topics) -> ConsumerDescription {
        let members = self.roster.members().map(|(_, member)| ConsumerMember {
            member: member.id.to_string(),
            instance: member.instance.as_deref().map(str::to_owned),
            rack: member.rack.as_deref().map(str::to_owned),
            classic: member.classic.is_some(),
            epoch: member.epoch,
            client_id: member.client_id.to_string(),
            client_host: member.client_host.to_string(),
            topics: member.subscription.names.iter().map(|name| name.to_string()).collect(),
            pattern: member.subscription.pattern.as_ref().map(|pattern| pattern.text().to_owned()),
            assigned: by_topic(&member.assigned, topics),
            target: by_topic(&member.target, topics),
        });
        ConsumerDescription {
            state: self.state().name(),
            epoch: self.epoch,
            assignor: self.assignor.name(),
            members: members.collect(),
        }
    }

    /// What its members want to read.
    pub fn subscribed(&self) -> Subscribed<'_> {
        Subscribed::By(self.roster.members().map(|(_, member)| &member.subscription).collect())
    }
}

/// Partitions topic by topic. Those of topics that are gone have no name and are not told.
fn by_topic(partitions: &Partitions, topics: &dyn Topics) -> Vec<TopicShare> {
    let mut shares: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        shares.entry(partition.topic).or_default().push(partition.number);
    }
    let named = |(id, partitions)| {
        let name = topics.name(&id)?.to_owned();
        Some(TopicShare { name, id, partitions })
    };
    shares.into_iter().filter_map(named).collect()
}
