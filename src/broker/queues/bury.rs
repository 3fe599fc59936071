//! Copying dying records to the dead letters of their topic: read some, publish them, and call them done.
//!
//! Invariant: a record is done only when its letter is durable. A crash in between leaves the record dying, so there
//! may be two letters of it, and never none.

use krappy_wire::batch::BatchError;

use super::lanes::{Lane, LaneId};
use super::letters::{Batch, Cause};
use super::walk::walk;
use super::{DEAD_LETTERS, Errand};
use crate::api::{
    Body, ErrorCode, Fetch, FetchedPart, Level, Publish, Refusal, Reply, TopicKey, TopicRef, Want,
};
use crate::broker::catalog::Then;
use crate::broker::{Broker, Taken};
use crate::ordered;
use crate::time::Now;

/// Bytes of letters that are published at once, unless one is larger.
const BATCH: usize = 512 << 10;
/// Bytes that the headers of a letter may add to the largest record.
const MORE: i64 = 64 << 10;
/// Largest `max.message.bytes` of a topic that is made here.
const LARGEST: i64 = 64 << 20;
/// When the disk or something else is busy, it is tried again after so many milliseconds ...
const SOON_MS: u64 = 20;
/// ... and when letters are refused, after so many.
const LATER_MS: u64 = 30_000;

impl Broker {
    /// Begins to copy the dying records of a window.
    pub(super) fn begin_burial(&mut self, id: LaneId, now: Now) {
        let can = |lane: &Lane| !lane.burying && lane.bury_after <= now.time;
        if self.draining || !self.queues.lanes.get(id).is_some_and(can) {
            return;
        }
        let Some(key) = self.partition_of_lane(id) else { return };
        match self.letters_topic(id) {
            Ok(Some(_)) => {}
            Ok(None) => return self.bury_again(id, SOON_MS, now),
            Err(refusal) => {
                self.complain(id, &refusal);
                return self.bury_again(id, LATER_MS, now);
            }
        }
        let lane = self.queues.lanes.get_mut(id).expect("looked up a moment ago");
        let Some((offset, ..)) = lane.window.dying().next() else { return };
        lane.burying = true;
        let wants = vec![Want::from(key, lane.place.partition, offset)];
        let to = self.queues.errand(Errand::Exhume(id));
        let max_bytes = BATCH as u32;
        self.fetch(
            to,
            Fetch { wants, min_bytes: 1, max_wait_ms: 0, max_bytes, every: true, group: None },
            now,
        );
    }

    /// Nobody begins before that.
    fn bury_again(&mut self, id: LaneId, ms: u64, now: Now) {
        if let Some(lane) = self.queues.lanes.get_mut(id) {
            lane.burying = false;
            lane.bury_after = now.time.plus_ms(ms);
            self.queues.burials.insert(lane.bury_after, id);
        }
    }

    fn complain(&self, id: LaneId, refusal: &Refusal) {
        if let Some(lane) = self.queues.lanes.get(id) {
            log::warn!("dead letters of topic {:?} wait: {}", lane.place.topic, refusal.message);
        }
    }

    /// The topic of the dead letters of a window; made if it is not there, and absent until it is.
    fn letters_topic(&mut self, id: LaneId) -> Result<Option<TopicKey>, Refusal> {
        let place = self.queues.lanes.get(id).expect("looked up a moment ago").place.clone();
        let name = place.topic.clone() + DEAD_LETTERS;
        if self.catalog.find(&name).is_some() {
            return Ok(self.live_topic(TopicRef::Name(&name)).ok());
        }
        let source = self.live_topic(TopicRef::Name(&place.topic))?;
        let source = self.catalog.get(source).expect("a live topic is in the catalog");
        let largest = source.settings.max_message_bytes as i64 + MORE;
        let partitions = source.partitions.len() as i32;
        let largest = largest.min(LARGEST).to_string();
        // Letters stay until somebody removes them, and however the broker is configured they are kept whole.
        let settings = [
            ("cleanup.policy", "delete"),
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
            ("flush.messages", "1"),
            ("max.message.bytes", largest.as_str()),
        ];
        let (topic, count) = self.plan_topic(&name, Some(partitions), &settings)?;
        let to = self.queues.errand(Errand::MakeLetters(id));
        self.begin_topic(topic, count, (to, Then::Describe));
        Ok(None)
    }

    /// The topic of dead letters was made, or could not be.
    pub(super) fn letters_made(&mut self, id: LaneId, reply: Reply, now: Now) {
        match reply {
            Reply::Refused(refusal) => {
                self.complain(id, &refusal);
                self.bury_again(id, LATER_MS, now);
            }
            _ => {
                self.queues.dying.insert(id);
            }
        }
    }

    /// Dying records were read: publishes as many of them as there are.
    pub(super) fn exhumed(&mut self, id: LaneId, reply: Reply, now: Now) {
        let Reply::Fetched { parts } = reply else { unreachable!("a fetch is not answered with {reply:?}") };
        if self.queues.lanes.get(id).is_some() {
            let part = parts.first().expect("one partition was asked for");
            let under_way = self.make_letters(id, part, now);
            let lane = self.queues.lanes.get_mut(id).expect("looked up a moment ago");
            lane.burying = under_way;
            self.note_lane(id);
        }
        for chunk in parts.into_iter().filter_map(|part| part.chunk) {
            self.buffers.give_chunk(chunk);
        }
    }

    /// Whether letters are under way. If not, the window has changed, or it is tried again later.
    fn make_letters(&mut self, id: LaneId, part: &FetchedPart, now: Now) -> bool {
        let Some(key) = self.partition_of_lane(id) else { return false };
        match (part.error, &part.chunk) {
            (ErrorCode::None, Some(chunk)) => {
                return self.publish_letters(id, part, chunk.as_slice(), now);
            }
            (ErrorCode::None, None) => self.pass_by(id, part.position..part.high_watermark),
            (ErrorCode::OffsetOutOfRange, _) => self.fit_to_log(id, key),
            (ErrorCode::CorruptMessage, _) if self.pass_damage_by(id, key, part.position).is_ok() => {}
            (code, _) => {
                self.complain(id, &Refusal::new(code, "they cannot be read"));
                self.bury_again(id, LATER_MS, now);
            }
        }
        false
    }

    fn publish_letters(&mut self, id: LaneId, part: &FetchedPart, bytes: &[u8], now: Now) -> bool {
        let Ok(Some(topic)) = self.letters_topic(id) else {
            self.bury_again(id, SOON_MS, now);
            return false;
        };
        let letters = self.catalog.get(topic).expect("a live topic is in the catalog");
        let (count, most) = (letters.partitions.len() as i32, letters.settings.max_message_bytes as usize);
        let lane = self.queues.lanes.get_mut(id).expect("looked up by the caller");
        let (batch, offsets, end) = match collect(lane, part, bytes, BATCH.min(most), now) {
            Ok(collected) => collected,
            Err(error) => {
                self.complain(id, &Refusal::new(ErrorCode::CorruptMessage, error.to_string()));
                self.bury_again(id, LATER_MS, now);
                return false;
            }
        };
        // What was dying between those that were found is not in the log any more. Nothing was read before them: what
        // has begun to die there meanwhile has its turn.
        let read = part.position..end;
        let gone = lane.window.dying().map(|(offset, ..)| offset);
        let gone: Vec<i64> =
            gone.filter(|offset| read.contains(offset) && !offsets.contains(offset)).collect();
        gone.into_iter().for_each(|offset| lane.window.missing(offset..offset + 1));
        if batch.is_empty() {
            return false;
        }
        let number = lane.place.partition % count;
        let bytes = batch.finish();
        let publish = Publish {
            topic: TopicRef::Key(topic),
            partition: Some(number),
            acks: Level::Durable,
            body: Body::Batch(&bytes),
        };
        let to = self.queues.errand(Errand::Bury(id, offsets));
        if self.publish(to, &publish, now) == Taken::Later {
            self.queues.errands.remove(to.slot);
            self.bury_again(id, SOON_MS, now);
            return false;
        }
        true
    }

    /// Letters are durable, or were refused.
    pub(super) fn buried(&mut self, id: LaneId, offsets: &[i64], reply: Reply, now: Now) {
        if self.queues.lanes.get(id).is_none() {
            return;
        }
        match reply {
            Reply::Published { .. } => {
                let lane = self.queues.lanes.get_mut(id).expect("looked up a moment ago");
                offsets.iter().for_each(|&offset| lane.window.buried(offset));
                lane.burying = false;
                self.metrics.queue_dead_letters += offsets.len() as u64;
                self.queues.unsaved.insert(id);
                self.note_lane(id);
                self.wake_takes_of(id);
            }
            Reply::Refused(refusal) => {
                self.complain(id, &refusal);
                self.bury_again(id, LATER_MS, now);
            }
            other => unreachable!("a publish is not answered with {other:?}"),
        }
    }
}

/// Letters of the dying records among these, their offsets, and up to where was looked.
fn collect(
    lane: &Lane,
    part: &FetchedPart,
    bytes: &[u8],
    most: usize,
    now: Now,
) -> Result<(Batch, Vec<i64>, i64), BatchError> {
    let dying =
        ordered::map(lane.window.dying().map(|(offset, deliveries, why)| (offset, (deliveries, why))));
    let (mut batch, mut offsets) = (Batch::new(now.wall), Vec::new());
    let end = walk(bytes, part.position, part.next, |record| {
        let Some(&(deliveries, why)) = dying.get(&record.offset) else { return true };
        let fits = batch.is_empty() || batch.size() + record.encoded.len() + MORE as usize <= most;
        if fits {
            let (group, topic) = (lane.place.group.as_str(), lane.place.topic.as_str());
            let partition = lane.place.partition;
            batch.bury(record, &Cause { group, topic, partition, deliveries, message: why.words() });
            offsets.push(record.offset);
        }
        fits
    })?;
    Ok((batch, offsets, end))
}
