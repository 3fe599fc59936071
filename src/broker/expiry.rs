//! Committed offsets that expire, where somebody has asked for that with `offsets.retention.minutes`.
//!
//! Invariant: offsets of a group that has members never expire; the time without members counts from when the broker
//! first saw it, so a start begins it anew.

use std::collections::BTreeMap;

use super::Broker;
use super::coordinate::forgotten;
use crate::groups::offsets::Change;
use crate::time::Now;

/// Since when groups have no members, in milliseconds since 1970, as far as somebody has looked.
pub(super) type EmptySince = BTreeMap<String, i64>;

impl Broker {
    /// Forgets the offsets of groups that have had no members and no commit for long enough; called now and then.
    pub(super) fn expire_offsets(&mut self, now: Now) {
        let Ok(minutes) = u64::try_from(self.config.group.offsets_retention_minutes) else { return };
        if !self.coordinator.is_loaded() {
            return;
        }
        let before = now.wall.saturating_sub_unsigned(minutes.saturating_mul(60_000));
        let empty: Vec<String> =
            self.coordinator.groups.list(&["Empty"], &[]).iter().map(|line| line.group.to_owned()).collect();
        let known = std::mem::take(&mut self.coordinator.empty_since);
        let since = |group: String| {
            let since = known.get(&group).copied().unwrap_or(now.wall);
            (group, since)
        };
        self.coordinator.empty_since = empty.into_iter().map(since).collect();
        let expired = self.coordinator.empty_since.iter().filter(|(_, since)| **since <= before);
        let expired = expired.flat_map(|(group, _)| {
            let positions = self.coordinator.offsets.of_group(group);
            positions
                .filter(|(_, _, at)| at.timestamp <= before)
                .map(move |(topic, n, _)| forgotten(group, topic, n))
        });
        let expired: Vec<Change> = expired.collect();
        for change in &expired {
            log::info!(
                "group {:?}: its offset of {}/{} expires",
                change.group,
                change.topic,
                change.partition
            );
        }
        self.drop_offsets(expired, now);
    }
}
