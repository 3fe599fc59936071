//! Questions about the end of a partition that wait until what was appended before them can be seen.
//!
//! Somebody who was told that a record is appended, and not that it is durable, expects to find it when asking for the
//! end of the log; but nothing is shown that is not durable. So the question waits for the sync that is under way.
//!
//! Invariant: a question waits for an offset that a sync will reach, and is answered when it has, or when none will:
//! the partition was fenced, is gone, or could not write what had been gathered.

use std::collections::BTreeMap;

use super::Broker;
use crate::api::{At, PartitionKey, ReplyTo};

/// What waits, by the partition and the offset that it waits for.
#[derive(Debug, Default)]
pub struct Deferred {
    next: u64,
    waiting: BTreeMap<(PartitionKey, i64, u64), (ReplyTo, Question)>,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Question {
    /// Which offset this is.
    Position(At),
    /// To move the log start offset.
    Trim(i64),
}

impl Broker {
    /// Lets a question wait if something that was appended before it cannot be seen yet. `false`: there is nothing to
    /// wait for.
    pub(super) fn defer(&mut self, to: ReplyTo, key: PartitionKey, question: Question) -> bool {
        let partition = self.partition(key).expect("found a moment ago");
        let until = partition.next_offset();
        if partition.log.fenced() || partition.high_watermark() >= until || !partition.durable {
            return false;
        }
        // Nobody may have asked for a sync yet: the topic may have begun to wait for the disk just now.
        self.mark_dirty(key);
        self.deferred.next += 1;
        self.deferred.waiting.insert((key, until, self.deferred.next), (to, question));
        true
    }

    /// Answers what need not wait any more.
    pub(super) fn answer_deferred(&mut self, key: PartitionKey) {
        let all = (key, 0, 0)..=(key, i64::MAX, u64::MAX);
        while let Some((&place, _)) = self.deferred.waiting.range(all.clone()).next() {
            let waits = self.partition(key).is_some_and(|p| {
                !p.log.fenced() && p.durable && p.high_watermark() < place.1.min(p.next_offset())
            });
            if waits {
                return;
            }
            let (to, question) = self.deferred.waiting.remove(&place).expect("found a moment ago");
            match question {
                Question::Position(at) => self.tell_position(to, key, at),
                Question::Trim(offset) => self.trim(to, key, offset),
            }
        }
    }
}
