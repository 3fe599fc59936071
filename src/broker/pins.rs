//! Offsets at which views stay readable for a while, because somebody is in the middle of a scan.
//!
//! Invariant: each entry is one pin in the tree of its partition; it ends when nobody has used it for [`KEEP_MS`], and
//! there are never more than [`MOST`], so a scan that was abandoned costs nothing for long.

use std::collections::BTreeMap;

use super::Broker;
use crate::api::{ErrorCode, PartitionKey, Refusal};
use crate::time::Time;

/// A scan may pause for this long between two pages, milliseconds.
pub const KEEP_MS: u64 = 60_000;
/// Most pins, all partitions; beyond it a scan that needs another page is refused.
pub const MOST: usize = 4_096;

/// All pins, by partition and offset, with the time at which they end.
#[derive(Debug, Default)]
pub struct Pins(BTreeMap<(PartitionKey, i64), Time>);

impl Broker {
    /// Keeps what a partition's view says at `offset` readable for a while from now on.
    pub(super) fn pin(&mut self, key: PartitionKey, offset: i64, now: Time) -> Result<(), Refusal> {
        let until = now.plus_ms(KEEP_MS);
        if let Some(end) = self.pins.0.get_mut(&(key, offset)) {
            *end = until;
            return Ok(());
        }
        if self.pins.0.len() >= MOST {
            let message = format!("{MOST} scans and watches are under way at different offsets");
            return Err(Refusal::new(ErrorCode::PolicyViolation, message).hint("try again in a minute"));
        }
        let tree =
            self.partitions.get_mut(key.0 as usize).and_then(|p| p.as_mut()?.view.as_mut()?.tree_mut());
        if tree.is_some_and(|tree| tree.pin(offset)) {
            self.pins.0.insert((key, offset), until);
        }
        Ok(())
    }

    /// Ends the pins that nobody has used for long; when the next one may end.
    pub(super) fn expire_pins(&mut self, now: Time) {
        let gone: Vec<_> = self.pins.0.iter().filter(|(_, end)| **end <= now).map(|(pin, _)| *pin).collect();
        for (key, offset) in gone {
            self.pins.0.remove(&(key, offset));
            let partition = self.partitions.get_mut(key.0 as usize);
            if let Some(tree) = partition.and_then(|p| p.as_mut()?.view.as_mut()?.tree_mut()) {
                tree.unpin(offset);
            }
        }
    }

    /// The tree of a partition was replaced: its pins are gone.
    pub(super) fn forget_pins(&mut self, key: PartitionKey) {
        self.pins.0.retain(|(partition, _), _| *partition != key);
    }

    /// When the first pin ends.
    pub(super) fn next_pin_end(&self) -> Option<Time> {
        self.pins.0.values().min().copied()
    }
}
