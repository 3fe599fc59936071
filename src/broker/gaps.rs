//! What retention and deletions take from consumer groups: whom retention waits for, and how much was gone before it
//! was read.
//!
//! Invariant: whenever a log start offset moves, every group that stood before it is told of in the log, and the
//! records that it has not read are counted.

use std::collections::BTreeMap;

use super::Broker;
use super::partition::Partition;
use crate::api::PartitionKey;
use crate::segment::Wait;

/// Records that were deleted before a group had read them, since the start, by group.
pub(super) type Lost = BTreeMap<String, u64>;

impl Broker {
    /// Whom retention of a partition waits for. As long as nobody knows how far groups have come: for all of them.
    pub(super) fn awaited(&self, partition: &Partition) -> Option<Wait> {
        let topic = self.catalog.get(partition.topic)?;
        let groups = &topic.settings.retention_wait_groups;
        if groups.is_empty() {
            return None;
        }
        let committed = |group: &String| {
            let position = self.coordinator.offsets.get(group, &topic.name, partition.number as i32);
            position
                .filter(|at| self.coordinator.is_loaded() && self.is_meant(&topic.name, at))
                .map_or(0, |at| at.offset)
        };
        let offset = groups.iter().map(committed).min().expect("there are groups");
        Some(Wait { offset, bytes: topic.settings.retention_wait_bytes as u64 })
    }

    /// The log start offset of a partition has moved from here, or may have.
    pub(super) fn count_lost(&mut self, key: PartitionKey, before: i64) {
        let Some(partition) = self.partition(key) else { return };
        let Some(topic) = self.catalog.get(partition.topic) else { return };
        let (number, now) = (partition.number as i32, partition.log.start_offset());
        if now <= before {
            return;
        }
        let stood = self.coordinator.offsets.in_topic(&topic.name);
        let behind =
            stood.filter(|(_, n, at)| *n == number && at.offset < now && self.is_meant(&topic.name, at));
        let lost: Vec<(String, i64)> =
            behind.map(|(group, _, at)| (group.to_owned(), at.offset.max(before))).collect();
        let name = topic.name.clone();
        for (group, from) in lost {
            let count = now - from;
            log::warn!(
                "group {group:?} has not read {count} records of {name}/{number}, offsets {from} to {}: deleted",
                now - 1
            );
            *self.coordinator.lost.entry(group).or_default() += count as u64;
        }
    }
}
