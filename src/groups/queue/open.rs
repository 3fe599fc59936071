//! One record that is open: delivered at least once or passed by, and not done.

use super::TakerId;
use crate::time::Time;

/// An open record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Open {
    /// How often it was delivered.
    pub deliveries: u32,
    pub key: Key,
    pub status: Status,
}

/// What is known of the key of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// It was open at the start of the process, and has not been read since.
    Unknown,
    /// It has none, so nobody waits for it and it waits for nobody.
    Absent,
    /// Its hash. Two keys of one hash wait for each other without need, which is slow and not wrong.
    Hash(u32),
}

/// Where an open record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    Available,
    /// Available from then on.
    Delayed(Time),
    Held {
        by: TakerId,
        since: Time,
        until: Time,
    },
    /// To be copied to the dead letters.
    Dying(Why),
}

/// Why a record goes to the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It was delivered as often as it may be, and nobody acknowledged it.
    Attempts,
    /// A taker rejected it, for this reason.
    Rejected(Box<str>),
}

impl Why {
    /// As the dead letter tells it.
    pub fn words(&self) -> &str {
        match self {
            Why::Attempts => "delivered as often as allowed and not acknowledged",
            Why::Rejected(reason) if reason.is_empty() => "rejected",
            Why::Rejected(reason) => reason,
        }
    }

    /// Bytes beside the open record itself.
    pub(super) fn size(&self) -> usize {
        match self {
            Why::Attempts => 0,
            Why::Rejected(reason) => reason.len(),
        }
    }
}
