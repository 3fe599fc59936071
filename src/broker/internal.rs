//! Topics that the broker keeps for itself, in which it remembers what its clients have told it.
//!
//! Such a topic is compacted, and is written and read as a client would do it: the broker publishes to itself and scans
//! itself, and the replies to [`OURSELVES`] come back to [`Broker::hear_ourselves`], by the slot that was given here.
//!
//! Invariants: nothing of such a topic may be unsynced when it counts, whatever holds for other topics; a client cannot
//! write to it.

use super::acks::OURSELVES;
use super::catalog::{State, Then};
use super::{Broker, queues};
use crate::api::{After, Cursor, ErrorCode, Refusal, ReplyTo, Scan, TopicKey, TopicRef};
use crate::time::{Now, Time};

/// How such a topic is made.
const SETTINGS: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("flush.messages", "1"),
    ("compression.type", "producer"),
    ("segment.bytes", "104857600"),
    ("max.message.bytes", "16777216"),
];
/// Bytes of one page of the scan that loads a topic.
const PAGE: u32 = 128 << 10;
/// A view that is being made again may take a while.
const LOAD_WAIT_MS: u32 = 60_000;
/// After a scan that was refused, the next begins after so many milliseconds.
const LOAD_AGAIN_MS: u64 = 1_000;

/// Whether what a topic holds is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loading {
    /// A page is under way.
    Scanning,
    /// The topic could not be read; it is tried again then.
    Failed(Time),
    /// All of it is.
    Done,
}

impl Loading {
    /// The topic could not be read now.
    pub fn failed(now: Now) -> Loading {
        Loading::Failed(now.time.plus_ms(LOAD_AGAIN_MS))
    }

    /// When to try again.
    pub fn again(self) -> Option<Time> {
        if let Loading::Failed(at) = self { Some(at) } else { None }
    }

    /// It is in memory, or will be soon, or something is wrong.
    pub fn when_done(self) -> Result<(), Hold> {
        match self {
            Loading::Done => Ok(()),
            Loading::Scanning => Err(Hold::Later),
            Loading::Failed(_) => Err(Hold::Refused(ErrorCode::CoordinatorLoadInProgress)),
        }
    }
}

/// Why a request is not answered now.
pub(super) enum Hold {
    Later,
    Refused(ErrorCode),
}

impl Broker {
    /// An internal topic, made if need be; `slot` is told that it was.
    pub(super) fn internal_topic(
        &mut self,
        name: &str,
        partitions: u32,
        slot: u64,
    ) -> Result<TopicKey, Hold> {
        match self.catalog.resolve(TopicRef::Name(name)) {
            Ok((key, topic)) if matches!(topic.state, State::Live) => return Ok(key),
            Ok(_) => return Err(Hold::Later),
            Err(_) => {}
        }
        match self.plan_topic(name, Some(partitions as i32), SETTINGS) {
            Ok((topic, count)) => {
                self.begin_topic(topic, count, (ReplyTo { conn: OURSELVES, slot }, Then::Describe));
                Err(Hold::Later)
            }
            Err(refusal) => {
                log::warn!("{name} cannot be made: {}", refusal.message);
                Err(Hold::Refused(ErrorCode::CoordinatorNotAvailable))
            }
        }
    }

    /// Asks for a page of all that an internal topic holds.
    pub(super) fn scan_internal(&mut self, name: &str, slot: u64, cursor: Option<Cursor>, now: Now) {
        let scan = Scan {
            topic: TopicRef::Name(name),
            partition: None,
            reverse: false,
            keys_only: false,
            from: &[],
            to: None,
            as_of: Vec::new(),
            after: After { partition: 0, offset: -1, max_wait_ms: LOAD_WAIT_MS },
            limit: 0,
            max_bytes: PAGE,
            cursor,
        };
        self.scan(ReplyTo { conn: OURSELVES, slot }, scan, now);
    }

    /// Takes the replies to what the broker has asked itself, and goes on with what they make possible.
    pub(super) fn hear_ourselves(&mut self, now: Now) {
        loop {
            while let Some((slot, reply)) = self.acks.take_own() {
                match slot {
                    queues::FIRST_SLOT.. => self.told_queues(slot, reply, now),
                    _ => self.told(slot, reply, now),
                }
            }
            if !self.work_on_queues(now) {
                return;
            }
        }
    }

    /// Refuses to let a client change an internal topic.
    pub(super) fn refuse_internal(&self, topic: TopicRef<'_>) -> Result<(), Refusal> {
        if !self.catalog.is_internal(topic) {
            return Ok(());
        }
        let name = match topic {
            TopicRef::Name(name) => name,
            topic => self.catalog.resolve(topic).map_or("the topic", |(_, topic)| topic.name.as_str()),
        };
        let message = format!("{name} belongs to the broker, which keeps what groups have told it there");
        Err(Refusal::new(ErrorCode::InvalidTopic, message).hint("read it, and leave writing to the broker"))
    }
}
