//! One batch on its way: the bytes as the broker will store them, and who waits for it.

use super::delivery::{Callback, Delivered, Delivery, Fate, Outcome, of_index};
use crate::error::Error;
use crate::record::Record;
use krappy_wire::batch::{Builder, ProducerSequence, set_producer};
use krappy_wire::native::Level;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// A batch that still takes records.
pub(super) struct OpenBatch {
    bytes: Vec<u8>,
    builder: Builder,
    waiting: Waiting,
    pub since: Instant,
}

/// A batch that is complete, from its first sending to its last answer.
pub(super) struct Batch {
    /// Shared with the thread that is writing it to the socket.
    pub bytes: Arc<Vec<u8>>,
    pub count: u32,
    /// How many batches of its partition came before it.
    pub ordinal: u64,
    /// Sequence number of its first record; -1 without idempotence.
    pub base_sequence: i32,
    pub waiting: Waiting,
    pub since: Instant,
    /// Set while an answer is awaited: which sending, and when it was.
    pub sent: Option<(u64, Instant)>,
    /// An earlier sending was not answered, or not clearly: the batch may be stored already.
    pub uncertain: bool,
}

/// Who waits for a batch.
pub(super) struct Waiting {
    fate: Arc<Fate>,
    callbacks: Vec<(u32, Callback)>,
}

/// A batch whose outcome is known; told outside every lock.
pub(super) struct Settled {
    pub waiting: Waiting,
    pub outcome: Outcome,
}

impl Settled {
    pub fn tell(self) {
        let Waiting { fate, callbacks } = self.waiting;
        fate.settle(self.outcome.clone());
        for (index, callback) in callbacks {
            let outcome = of_index(self.outcome.clone(), index);
            // A panic there was printed there; it must not take the thread that serves everybody else with it.
            let _ = catch_unwind(AssertUnwindSafe(move || callback(outcome)));
        }
    }
}

impl Waiting {
    /// The delivery of the batch's first record.
    pub fn first(&self) -> Delivery {
        Delivery { fate: Arc::clone(&self.fate), index: 0 }
    }
}

impl OpenBatch {
    pub fn new(timestamp: i64, now: Instant) -> Self {
        let mut bytes = Vec::new();
        let builder = Builder::open(&mut bytes, timestamp);
        let waiting = Waiting { fate: Arc::default(), callbacks: Vec::new() };
        Self { bytes, builder, waiting, since: now }
    }

    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    pub fn push(&mut self, record: &Record, timestamp: i64, callback: Option<Callback>) -> Delivery {
        let index = self.builder.count() as u32;
        let headers = record.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref()));
        let timestamp = record.timestamp.unwrap_or(timestamp);
        self.builder.push(
            &mut self.bytes,
            timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            headers,
        );
        self.waiting.callbacks.extend(callback.map(|c| (index, c)));
        Delivery { fate: Arc::clone(&self.waiting.fate), index }
    }

    pub fn close(mut self, by: Option<ProducerSequence>, ordinal: u64) -> Batch {
        let count = self.builder.count() as u32;
        self.builder.close(&mut self.bytes, 0, -1, by);
        Batch {
            bytes: Arc::new(self.bytes),
            count,
            ordinal,
            base_sequence: by.map_or(-1, |by| by.base_sequence),
            waiting: self.waiting,
            since: self.since,
            sent: None,
            uncertain: false,
        }
    }

    pub fn fail(self, error: Error) -> Settled {
        Settled { waiting: self.waiting, outcome: Err(error) }
    }
}

impl Batch {
    /// Gives the batch another place in the sequence. It must be certain that it is not stored.
    pub fn renumber(&mut self, by: ProducerSequence) {
        assert!(!self.uncertain && self.sent.is_none(), "a batch that may be stored keeps its number");
        self.base_sequence = by.base_sequence;
        // Copies only if the socket writer has not yet let go of an earlier sending.
        let bytes: &mut Vec<u8> = Arc::make_mut(&mut self.bytes);
        set_producer(bytes, by);
    }

    pub fn deliver(self, partition: i32, offset: i64, level: Level) -> Settled {
        Settled { waiting: self.waiting, outcome: Ok(Delivered { partition, offset, level }) }
    }

    pub fn fail(self, error: Error) -> Settled {
        Settled { waiting: self.waiting, outcome: Err(error) }
    }
}
