//! Ending deliveries, and writing down what must be known after a crash.
//!
//! Invariant: an acknowledgement or a rejection is answered by a write of its window that began after it.

use std::collections::BTreeSet;

use krappy_wire::native::PlainWriter;
use krappy_wire::partition::partition_for;

use super::lanes::LaneId;
use super::take::checked_ms;
use super::{Errand, STATE_PARTITIONS, Stop};
use crate::api::queue::{QueueReply, QueueSettle, Settle, Taker};
use crate::api::{
    Body, ErrorCode, Level, Publish, QUEUES_TOPIC, Refusal, Reply, ReplyTo, TopicKey, TopicRef,
};
use crate::broker::{Broker, Taken};
use crate::groups::queue::state::{Place, encode};
use crate::groups::queue::{End, MOST_REASON, TakerId};
use crate::time::Now;

/// Names an answer that waits for writes.
pub type SettlementId = u64;

/// An answer that waits for writes.
#[derive(Debug)]
pub struct Settlement {
    to: ReplyTo,
    results: Vec<Result<(), ErrorCode>>,
    /// Windows that are not written yet.
    missing: usize,
    failed: Option<ErrorCode>,
}

impl Broker {
    /// Takes ends of deliveries, or leaves them for later.
    pub(super) fn queue_settle(
        &mut self,
        to: ReplyTo,
        settle: &QueueSettle<'_>,
        now: Now,
    ) -> Result<(), Stop> {
        self.refuse_while_draining()?;
        self.check_queue(settle.group, settle.topic)?;
        let how = self.checked_end(settle.how, now)?;
        self.queues.state.when_done()?;
        let taker = match settle.taker {
            Taker::Stream(stream) => self.queues.takers.find_stream(to.conn, stream),
            Taker::Named(name) => self.queues.takers.find_named(settle.group, name),
        };
        let Some(taker) = taker else {
            // Whoever has taken nothing holds nothing, and makes no topic.
            let results = vec![Err(ErrorCode::InvalidRecordState); settle.records.len()];
            self.answer_queue(to, QueueReply::Settled(results));
            return Ok(());
        };
        self.queues_topic()?;
        self.settle_as(to, taker, (settle.group, settle.topic), how, &settle.records, now);
        Ok(())
    }

    fn checked_end<'a>(&self, how: Settle<'a>, now: Now) -> Result<End<'a>, Refusal> {
        Ok(match how {
            Settle::Acknowledge => End::Acknowledge,
            Settle::Return => End::Return,
            Settle::Release(ms) => End::Release(now.time.plus_ms(checked_ms(ms)?)),
            Settle::Extend(0) => {
                End::Extend(now.time.plus_ms(u64::from(self.config.queue.acknowledge_timeout_ms)))
            }
            Settle::Extend(ms) => End::Extend(now.time.plus_ms(checked_ms(ms)?)),
            Settle::Reject(reason) if reason.len() <= MOST_REASON => End::Reject(reason),
            Settle::Reject(_) => {
                let message = format!("a reason has at most {MOST_REASON} bytes");
                return Err(Refusal::new(ErrorCode::InvalidRequest, message));
            }
        })
    }

    /// Ends deliveries of a taker, and answers when what must be durable is.
    pub(super) fn settle_as(
        &mut self,
        to: ReplyTo,
        taker: TakerId,
        (group, topic): (&str, &str),
        how: End<'_>,
        records: &[(i32, i64)],
        now: Now,
    ) {
        let attempts = self.config.queue.max_delivery_attempts;
        let mut changed = BTreeSet::new();
        let mut results = Vec::with_capacity(records.len());
        for &(partition, offset) in records {
            let lane = self.queues.lanes.find(group, topic, partition);
            let ended = lane.and_then(|id| {
                let window = &mut self.queues.lanes.get_mut(id).expect("found a moment ago").window;
                window.end(offset, taker, how, attempts, now.time).ok()?;
                Some(id)
            });
            changed.extend(ended);
            results.push(ended.map(|_| ()).ok_or(ErrorCode::InvalidRecordState));
        }
        for &id in &changed {
            self.note_lane(id);
            self.wake_takes_of(id);
        }
        let ended = results.iter().filter(|result| result.is_ok()).count() as u64;
        match how {
            End::Acknowledge => self.metrics.queue_acknowledged += ended,
            End::Reject(_) => {}
            _ => return self.answer_queue(to, QueueReply::Settled(results)),
        }
        self.answer_when_written(to, results, &changed);
    }

    fn answer_when_written(
        &mut self,
        to: ReplyTo,
        results: Vec<Result<(), ErrorCode>>,
        changed: &BTreeSet<LaneId>,
    ) {
        if changed.is_empty() {
            return self.answer_queue(to, QueueReply::Settled(results));
        }
        let id = self.queues.next();
        for &lane in changed {
            self.queues.unsaved.insert(lane);
            self.queues.lanes.get_mut(lane).expect("it has just changed").waiting.push(id);
        }
        let settlement = Settlement { to, results, missing: changed.len(), failed: None };
        self.queues.settlements.insert(id, settlement);
    }

    /// Writes the windows that have to be, each once however much has happened to it in this turn.
    pub(in crate::broker) fn save_queues(&mut self, now: Now) {
        if self.queues.unsaved.is_empty() {
            return;
        }
        let Ok(topic) = self.live_topic(TopicRef::Name(QUEUES_TOPIC)) else { return };
        for id in self.queues.unsaved.clone() {
            let lane = self.queues.lanes.get(id).expect("what is unsaved is there");
            if lane.writing {
                continue;
            }
            let (place, value) = (lane.place.clone(), encode(&lane.window, &lane.topic_id));
            let to = self.queues.errand(Errand::Nothing);
            if !self.write_state(to, topic, &place, Some(&value), now) {
                // It is offered again when something has come back from the disk.
                self.queues.errands.remove(to.slot);
                return;
            }
            self.queues.unsaved.remove(&id);
            let lane = self.queues.lanes.get_mut(id).expect("it was there a moment ago");
            lane.writing = true;
            let waiting = std::mem::take(&mut lane.waiting);
            self.queues.errands.insert(to.slot, Errand::Write(id, waiting));
        }
    }

    /// Publishes the state of a window, or that it is forgotten. `false`: not now.
    pub(super) fn write_state(
        &mut self,
        to: ReplyTo,
        topic: TopicKey,
        place: &Place,
        value: Option<&[u8]>,
        now: Now,
    ) -> bool {
        let mut records = PlainWriter::default();
        records.push(now.wall, Some(&place.key()), value, &[]);
        let publish = Publish {
            topic: TopicRef::Key(topic),
            partition: Some(partition_for(place.group.as_bytes(), STATE_PARTITIONS) as i32),
            acks: Level::Durable,
            body: Body::Plain(records.records()),
        };
        self.publish(to, &publish, now) == Taken::Yes
    }

    /// A write of a window has ended.
    pub(super) fn window_written(&mut self, id: LaneId, waiting: Vec<SettlementId>, reply: Reply) {
        if let Some(lane) = self.queues.lanes.get_mut(id) {
            lane.writing = false;
        }
        let result = match reply {
            Reply::Published { .. } => Ok(()),
            Reply::Refused(refusal) => {
                log::warn!("{QUEUES_TOPIC} takes no state: {}", refusal.message);
                Err(ErrorCode::CoordinatorNotAvailable)
            }
            other => unreachable!("a publish is not answered with {other:?}"),
        };
        self.settle_waiting(waiting, result);
    }

    /// One of the writes that these wait for has ended.
    pub(super) fn settle_waiting(&mut self, waiting: Vec<SettlementId>, result: Result<(), ErrorCode>) {
        for id in waiting {
            let settlement = self.queues.settlements.get_mut(id).expect("it waits for this write");
            settlement.missing -= 1;
            settlement.failed = settlement.failed.or(result.err());
            if settlement.missing > 0 {
                continue;
            }
            let Settlement { to, results, failed, .. } =
                self.queues.settlements.remove(id).expect("it was there a moment ago");
            // Which of the windows failed is not told: what is said to have failed may have been done all the same.
            let results = results.into_iter().map(|one| one.and(failed.map_or(Ok(()), Err))).collect();
            self.answer_queue(to, QueueReply::Settled(results));
        }
    }
}
