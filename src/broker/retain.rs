//! Retention: whole sealed segments leave from the front, by age, by size, or because the log start offset has passed
//! them; and those that are waited for stay. Idempotent producers are forgotten when they were silent for long enough.
//!
//! Invariant: a segment leaves the log before its file is unlinked, and the file is unlinked by a worker, because
//! removing a gigabyte takes the file system a while.

use super::Broker;
use crate::api::PartitionKey;
use crate::segment::Unlink;
use crate::time::Now;
use crate::worker::Job;

impl Broker {
    /// Looks at every partition, and at what groups have committed; called now and then.
    pub(super) fn retain(&mut self, now: Now) {
        for key in 0..self.partitions.len() {
            if let Some(partition) = self.partitions[key].as_mut() {
                partition.producers.expire(now.wall, self.config.producer_expiry_ms);
            }
            self.expire(PartitionKey(key as u32), now.wall, false);
        }
        self.expire_offsets(now);
    }

    /// Looks at one partition. `trimmed_only` removes what lies below the log start offset and leaves age and size
    /// alone.
    pub(super) fn expire(&mut self, key: PartitionKey, wall: i64, trimmed_only: bool) {
        let Some(partition) = self.partition(key) else { return };
        let (wait, start) = (self.awaited(partition), partition.log.start_offset());
        let Some(partition) = self.partitions[key.0 as usize].as_mut() else { return };
        let Some(topic) = self.catalog.get(partition.topic) else { return };
        let settings = &topic.settings;
        let expires = !trimmed_only && settings.cleanup.deletes();
        let (bytes, ms) = if expires { (settings.retention_bytes, settings.retention_ms) } else { (-1, -1) };
        let unlink: Option<Unlink> = partition.log.expire(wall, bytes, ms, wait);
        if let Some(unlink) = unlink {
            partition.chores += 1;
            self.jobs.push(Job::Unlink(key, unlink));
            self.count_lost(key, start);
        }
    }
}
