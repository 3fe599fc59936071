//! Reading back all windows at the start.
//!
//! Invariant: nobody is given a record before this is done; a window whose topic is gone, or was made again, is
//! forgotten, and one that its log has fallen behind is cut.

use super::Errand;
use super::lanes::LaneId;
use crate::api::{Cursor, QUEUES_TOPIC, Reply, RowsWriter, TopicRef};
use crate::broker::Broker;
use crate::broker::internal::Loading;
use crate::groups::queue::state::{Place, decode};
use crate::time::Now;

impl Broker {
    /// Begins to read all windows.
    pub(in crate::broker) fn load_queues(&mut self, now: Now) {
        self.queues.state = Loading::Done;
        if self.catalog.find(QUEUES_TOPIC).is_some() {
            self.scan_queues(None, now);
        }
    }

    fn scan_queues(&mut self, cursor: Option<Cursor>, now: Now) {
        self.queues.state = Loading::Scanning;
        let to = self.queues.errand(Errand::Load);
        self.scan_internal(QUEUES_TOPIC, to.slot, cursor, now);
    }

    /// A page of windows has come.
    pub(super) fn loaded_queues(&mut self, reply: Reply, now: Now) {
        match reply {
            Reply::Scanned { rows, next, .. } => {
                self.take_windows(&rows);
                match next {
                    Some(cursor) => self.scan_queues(Some(cursor), now),
                    None => self.finish_loading_queues(now),
                }
            }
            Reply::Refused(refusal) => {
                log::warn!("queues cannot be read yet: {}", refusal.message);
                self.queues.state = Loading::failed(now);
                self.queues.lanes = Default::default();
            }
            other => unreachable!("a scan is not answered with {other:?}"),
        }
    }

    fn take_windows(&mut self, rows: &RowsWriter) {
        for row in rows.rows().iter() {
            let read = Place::read(row.key).and_then(|place| Some((place, decode(row.value()?)?)));
            let Some((place, (window, topic_id))) = read else {
                log::warn!("{QUEUES_TOPIC} offset {}: a record that means nothing here", row.offset);
                continue;
            };
            let id = self.queues.lanes.add(place, topic_id, window);
            self.cut_to_epoch(id, (row.partition, row.offset));
        }
    }

    /// Forgets what a window says of records that a power cut has taken since it was written there. Others may have
    /// their offsets already, so it is not the end of the log that tells, but where the epoch ended in which it was
    /// written.
    fn cut_to_epoch(&mut self, id: LaneId, (number, offset): (i32, i64)) {
        let state =
            self.live_topic(TopicRef::Name(QUEUES_TOPIC)).and_then(|key| self.partition_of(key, number));
        let (Ok(state), Some(key)) = (state, self.partition_of_lane(id)) else { return };
        let epoch = self.partition(state).map(|state| state.epoch_at(offset));
        let end = epoch.and_then(|epoch| self.partition(key)?.epoch_end(epoch));
        if let (Some((_, end)), Some(lane)) = (end, self.queues.lanes.get_mut(id)) {
            lane.window.cut(end);
        }
    }

    fn finish_loading_queues(&mut self, now: Now) {
        self.queues.state = Loading::Done;
        let ids: Vec<LaneId> = self.queues.lanes.iter().map(|(id, _)| id).collect();
        log::debug!("{} windows of queues are loaded", ids.len());
        for id in ids {
            match self.partition_of_lane(id).filter(|_| self.is_meant_by(id)) {
                Some(key) => {
                    self.fit_to_log(id, key);
                    self.note_lane(id);
                }
                None => self.forget_lane(id, now),
            }
        }
        self.queues.woken.extend(self.queues.takes.all_idle());
    }

    /// Whether the topic that a window is about is the one that has this name now.
    fn is_meant_by(&self, id: LaneId) -> bool {
        let lane = self.queues.lanes.get(id).expect("it has just been loaded");
        let topic = self.catalog.find(&lane.place.topic).and_then(|key| self.catalog.get(key));
        topic.is_some_and(|topic| topic.id == lane.topic_id)
    }
}
