//! The windows that there are: one for each partition that a group takes from.
//!
//! Invariant: whoever has changed a window says so with [`Lanes::note`], which keeps the sum of memory, the timer and
//! the list of windows with dying records true.

use std::collections::{BTreeMap, BTreeSet};

use super::settle::SettlementId;
use super::{Errand, Stop};
use crate::api::queue::{QueueLine, QueueReply};
use crate::api::{ErrorCode, PartitionKey, Refusal, ReplyTo, TopicKey, TopicRef};
use crate::broker::Broker;
use crate::groups::queue::Window;
use crate::groups::queue::state::Place;
use crate::ordered::Numbered;
use crate::time::{Now, Time};
use crate::timers::Timers;

/// Names a window in this process; not used twice.
pub type LaneId = u64;

/// A window and what belongs to it.
#[derive(Debug)]
pub struct Lane {
    pub place: Place,
    /// The topic that is meant, whatever else gets its name.
    pub topic_id: [u8; 16],
    pub window: Window,
    /// A write of it is under way.
    pub writing: bool,
    /// Who waits for the next write.
    pub waiting: Vec<SettlementId>,
    /// Its dying records are being copied.
    pub burying: bool,
    /// ... and that does not begin before.
    pub bury_after: Time,
    bytes: usize,
    alarm: Option<Time>,
}

/// All windows.
#[derive(Debug, Default)]
pub struct Lanes {
    last: LaneId,
    lanes: Numbered<Lane>,
    places: BTreeMap<Place, LaneId>,
    timers: Timers<LaneId>,
    bytes: usize,
}

impl Lanes {
    /// Adds a window.
    pub fn add(&mut self, place: Place, topic_id: [u8; 16], window: Window) -> LaneId {
        self.last += 1;
        let lane = Lane {
            place: place.clone(),
            topic_id,
            window,
            writing: false,
            waiting: Vec::new(),
            burying: false,
            bury_after: Time(0),
            bytes: 0,
            alarm: None,
        };
        self.lanes.insert(self.last, lane);
        let before = self.places.insert(place, self.last);
        assert!(before.is_none(), "a place has one window");
        self.last
    }

    /// Forgets a window.
    pub fn remove(&mut self, id: LaneId) -> Option<Lane> {
        let lane = self.lanes.remove(id)?;
        self.places.remove(&lane.place);
        self.bytes -= lane.bytes;
        Some(lane)
    }

    pub fn get(&self, id: LaneId) -> Option<&Lane> {
        self.lanes.get(id)
    }

    pub fn get_mut(&mut self, id: LaneId) -> Option<&mut Lane> {
        self.lanes.get_mut(id)
    }

    pub fn find(&self, group: &str, topic: &str, partition: i32) -> Option<LaneId> {
        let place = Place { group: group.to_owned(), topic: topic.to_owned(), partition };
        self.places.get(&place).copied()
    }

    /// The windows of a group on a topic.
    pub fn of(&self, group: &str, topic: &str) -> Vec<LaneId> {
        let at = |partition| Place { group: group.to_owned(), topic: topic.to_owned(), partition };
        self.places.range(at(0)..=at(i32::MAX)).map(|(_, id)| *id).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = (LaneId, &Lane)> {
        self.lanes.iter()
    }

    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// About the memory of all windows, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A window has changed. Whether it has dying records whose copying has not begun.
    pub fn note(&mut self, id: LaneId) -> bool {
        let Some(lane) = self.lanes.get_mut(id) else { return false };
        let bytes = lane.window.bytes();
        self.bytes = self.bytes - lane.bytes + bytes;
        lane.bytes = bytes;
        // A deadline that has moved later is found out when the old one rings.
        if let Some(at) = lane.window.next_deadline()
            && lane.alarm.is_none_or(|alarm| at < alarm)
        {
            lane.alarm = Some(at);
            self.timers.insert(at, id);
        }
        !lane.burying && lane.window.dying().next().is_some()
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Ends what is due in one window; which, and whether anything was.
    pub fn tick(&mut self, attempts: u32, now: Time) -> Option<(LaneId, bool)> {
        let id = self.timers.take_due(now)?;
        let Some(lane) = self.lanes.get_mut(id) else { return Some((id, false)) };
        lane.alarm = None;
        Some((id, lane.window.tick(attempts, now)))
    }

    pub fn invariants(&self) {
        assert_eq!(self.places.len(), self.lanes.len(), "every window has its place");
        let bytes: usize = self.lanes.values().map(|lane| lane.window.bytes()).sum();
        assert_eq!(self.bytes, bytes, "the sum of memory is kept");
        let alarms: BTreeSet<LaneId> =
            self.lanes.iter().filter(|(_, lane)| lane.alarm.is_some()).map(|(id, _)| id).collect();
        for (id, lane) in self.lanes.iter() {
            lane.window.invariants();
            let due = lane.window.next_deadline();
            assert!(due.is_none() || alarms.contains(&id), "whatever ends by itself has a timer");
        }
    }
}

impl Broker {
    /// The window of a group on a partition; begun at the log start offset if there is none yet.
    pub(super) fn lane(
        &mut self,
        group: &str,
        topic: TopicKey,
        number: i32,
        key: PartitionKey,
    ) -> Result<LaneId, Refusal> {
        let named = self.catalog.get(topic).expect("a live topic is in the catalog");
        let (name, topic_id) = (named.name.clone(), named.id);
        if let Some(id) = self.queues.lanes.find(group, &name, number) {
            return Ok(id);
        }
        let most = self.config.queue.max_partitions;
        if self.queues.lanes.len() >= most {
            let message =
                format!("groups take from {most} partitions, as many as queue.max.partitions allows");
            return Err(Refusal::new(ErrorCode::PolicyViolation, message));
        }
        let start = self.partition(key).map_or(0, |p| p.log.start_offset());
        let place = Place { group: group.to_owned(), topic: name, partition: number };
        Ok(self.queues.lanes.add(place, topic_id, Window::new(start)))
    }

    /// The partition of a window, if it is there.
    pub(super) fn partition_of_lane(&self, id: LaneId) -> Option<PartitionKey> {
        let place = &self.queues.lanes.get(id)?.place;
        let topic = self.live_topic(TopicRef::Name(&place.topic)).ok()?;
        self.partition_of(topic, place.partition).ok()
    }

    /// How many records of a window may be open.
    pub(super) fn most_open(&self, id: LaneId) -> usize {
        let config = &self.config.queue;
        let open = self.queues.lanes.get(id).map_or(0, |lane| lane.window.len());
        if self.queues.lanes.bytes() >= config.memory { open } else { config.max_in_flight }
    }

    /// A window has changed: keeps what depends on it true.
    pub(super) fn note_lane(&mut self, id: LaneId) {
        if self.queues.lanes.note(id) {
            self.queues.dying.insert(id);
        }
    }

    /// Records of a window may be taken that could not be before.
    pub(super) fn wake_takes_of(&mut self, id: LaneId) {
        if let Some(key) = self.partition_of_lane(id) {
            self.wake_takes(key);
        }
    }

    /// A partition shows more records, or some of it may be taken again.
    pub(in crate::broker) fn wake_takes(&mut self, key: PartitionKey) {
        if !self.queues.takes.is_empty() {
            let mut woken = Vec::new();
            self.queues.takes.waiting_on(key, &mut woken);
            self.queues.woken.extend(woken);
        }
    }

    pub(super) fn tick_lanes(&mut self, now: Now) {
        let attempts = self.config.queue.max_delivery_attempts;
        while let Some((id, any)) = self.queues.lanes.tick(attempts, now.time) {
            self.note_lane(id);
            if any {
                self.wake_takes_of(id);
            }
        }
    }

    /// A stream ends: what it waits for is answered, and what it holds is free.
    pub(super) fn leave_queue(&mut self, conn: crate::api::ConnId, stream: u32, now: Now) {
        let Some(taker) = self.queues.takers.remove_stream(conn, stream) else { return };
        for id in self.queues.takes.of(conn) {
            if self.queues.takes.get(id).is_some_and(|parked| parked.asked.taker == taker.id) {
                let parked = self.queues.takes.take(id).expect("found a moment ago");
                self.answer_queue(parked.to, QueueReply::Taken(Default::default()));
            }
        }
        let attempts = self.config.queue.max_delivery_attempts;
        for id in self.queues.lanes.of(&taker.group, &taker.topic) {
            let lane = self.queues.lanes.get_mut(id).expect("found a moment ago");
            if lane.window.gone(taker.id, attempts, now.time) {
                self.note_lane(id);
                self.wake_takes_of(id);
            }
        }
    }

    /// How a queue stands.
    pub(super) fn describe_queue(
        &mut self,
        to: ReplyTo,
        group: &str,
        topic: &str,
        now: Now,
    ) -> Result<(), Stop> {
        let key = self.check_queue(group, topic)?;
        self.queues.state.when_done()?;
        let mut lines = Vec::new();
        for (partition, number) in self.chosen(key, None)? {
            if let Some(id) = self.queues.lanes.find(group, topic, number) {
                self.fit_to_log(id, partition);
            }
            lines.push(self.queue_line(group, topic, number, partition, now));
        }
        self.answer_queue(to, QueueReply::Described(lines));
        Ok(())
    }

    /// What retention has taken is not waited for, and neither is what was lost at the end of the log.
    pub(super) fn fit_to_log(&mut self, id: LaneId, key: PartitionKey) {
        let Some(partition) = self.partition(key) else { return };
        let (start, end) = (partition.log.start_offset(), partition.log.end_offset());
        let Some(lane) = self.queues.lanes.get_mut(id) else { return };
        if lane.window.start() >= start && lane.window.next() <= end {
            return;
        }
        lane.window.cut(end);
        lane.window.trim(start);
        self.note_lane(id);
    }

    fn queue_line(&self, group: &str, topic: &str, number: i32, key: PartitionKey, now: Now) -> QueueLine {
        let partition = self.partition(key).expect("a live topic's partitions are there");
        let (log_start, high_watermark) = (partition.log.start_offset(), partition.high_watermark());
        let fresh = Window::new(log_start);
        let lane = self.queues.lanes.find(group, topic, number).and_then(|id| self.queues.lanes.get(id));
        let window = lane.map_or(&fresh, |lane| &lane.window);
        let (counts, oldest) = (window.counts(), window.oldest_holder());
        QueueLine {
            partition: number,
            start: window.start(),
            next: window.next(),
            high_watermark,
            held: counts.held as u32,
            available: counts.available as u32,
            delayed: counts.delayed as u32,
            dying: counts.dying as u32,
            done_above_start: counts.done_above_start,
            dead: counts.dead,
            lost: counts.lost,
            lag: (high_watermark - window.next()).max(0) as u64 + window.len() as u64,
            oldest_holder: oldest.map_or_else(String::new, |(id, _)| self.queues.takers.label(id).to_owned()),
            oldest_ms: oldest.map_or(0, |(_, since)| since.until(now.time).as_millis() as u64),
        }
    }

    /// Forgets all queues of a topic that is gone.
    pub(in crate::broker) fn forget_queues_of(&mut self, topic: &str, now: Now) {
        let of_topic = self.queues.lanes.iter().filter(|(_, lane)| lane.place.topic == topic);
        let ids: Vec<LaneId> = of_topic.map(|(id, _)| id).collect();
        for id in ids {
            self.forget_lane(id, now);
        }
        let of_topic = |id: &u64| self.queues.takes.get(*id).is_some_and(|p| p.asked.topic == topic);
        let waiting: Vec<u64> = self.queues.takes.all_idle().into_iter().filter(of_topic).collect();
        self.queues.woken.extend(waiting);
    }

    /// Forgets a window, on disk as well. If that cannot be written now, the next start finds that the topic is gone.
    pub(super) fn forget_lane(&mut self, id: LaneId, now: Now) {
        let lane = self.queues.lanes.remove(id).expect("only what is there is forgotten");
        self.queues.unsaved.remove(&id);
        self.queues.dying.remove(&id);
        self.settle_waiting(lane.waiting, Err(ErrorCode::UnknownTopicOrPartition));
        if let Ok(topic) = self.live_topic(TopicRef::Name(crate::api::QUEUES_TOPIC)) {
            let to = self.queues.errand(Errand::Nothing);
            if !self.write_state(to, topic, &lane.place, None, now) {
                self.queues.errands.remove(to.slot);
            }
        }
    }
}
