//! Asking a compacted topic by key: Get, what a watcher needs to begin, and how all keyed reads wait. What a Scan does
//! is in `scan.rs`.
//!
//! Invariants: an answer is true for the offset that it names and for nothing later: what is above the high watermark
//! is never shown, and what retention has dropped never either. The retry of a parked request is the same function as
//! the first try.

use std::io;

use krappy_wire::native::After;
use krappy_wire::partition::partition_for;

use super::catalog::State;
use super::parked::{ParkId, Parked, Waits};
use super::partition::Partition;
use super::scan::RangeRead;
use super::{Broker, Taken};
use crate::api::{
    ErrorCode, Get, KeyState, NewestRecord, PartitionKey, Refusal, Reply, ReplyTo, Scan, TopicKey, TopicRef,
};
use crate::lsm::{Access, Found, Kind, ReadError, Warm};
use crate::time::{Now, Time};
use crate::view;
use crate::worker::Job;

/// Most keys of one Get.
const KEYS_MOST: u32 = 1_024;

/// A keyed read, resolved. Owned, because it may have to wait.
#[derive(Debug)]
pub enum Keyed {
    /// Of single keys.
    Get {
        /// Partition, its number, and the key.
        keys: Vec<(PartitionKey, i32, Vec<u8>)>,
        /// Absent: what is visible now.
        as_of: Option<i64>,
        /// The partition that must show an offset first.
        after: Option<(PartitionKey, i64)>,
        /// Whether to say what answered.
        explain: bool,
    },
    /// Of a range.
    Scan(RangeRead),
}

impl Waits for Keyed {
    fn partitions(&self) -> impl Iterator<Item = PartitionKey> + '_ {
        let (keys, parts): (&[_], &[_]) = match self {
            Keyed::Get { keys, .. } => (keys, &[]),
            Keyed::Scan(scan) => (&[], &scan.parts),
        };
        keys.iter().map(|(key, ..)| *key).chain(parts.iter().map(|part| part.key))
    }
}

/// What a try came to.
enum Outcome {
    Answer(Reply),
    /// It may become possible: the partition has not come that far, or its view is not ready; what to say if it does
    /// not.
    NotYet(Refusal),
    Cold(Warm),
}

/// Why a try ended early.
pub(super) enum Stop {
    Refused(Refusal),
    NotYet(Refusal),
    Cold(Warm),
    /// The view of this partition cannot be read.
    Failed(PartitionKey, io::Error),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl Broker {
    /// Takes a Get.
    pub(super) fn get(&mut self, to: ReplyTo, get: &Get<'_>, now: Now) -> Taken {
        match self.resolve_get(get) {
            Ok(keyed) => self.first_try(to, keyed, get.after.max_wait_ms, now),
            Err(refusal) => self.refuse(to, refusal),
        }
    }

    /// Takes a Scan.
    pub(super) fn scan(&mut self, to: ReplyTo, scan: Scan<'_>, now: Now) -> Taken {
        let wait = scan.after.max_wait_ms;
        match self.resolve_scan(scan) {
            Ok(scan) => self.first_try(to, Keyed::Scan(scan), wait, now),
            Err(refusal) => self.refuse(to, refusal),
        }
    }

    /// Resolves a compacted topic for a watcher, and pins what is visible now for its snapshot.
    pub(super) fn open_watch(&mut self, to: ReplyTo, topic: &str, partition: Option<u32>, now: Now) -> Taken {
        match self.begin_watch(topic, partition, now.time) {
            Ok(reply) => {
                self.acks.reply(to, reply);
                Taken::Yes
            }
            Err(refusal) => self.refuse(to, refusal),
        }
    }

    fn begin_watch(&mut self, topic: &str, partition: Option<u32>, now: Time) -> Result<Reply, Refusal> {
        let key = self.compacted(TopicRef::Name(topic))?;
        let number = partition.map(|n| n as i32);
        let mut parts = Vec::new();
        for (partition, number) in self.chosen(key, number)? {
            let high_watermark = self.view_of(partition)?.high_watermark();
            self.pin(partition, high_watermark - 1, now)?;
            parts.push((partition, number, high_watermark));
        }
        Ok(Reply::WatchOpen { topic: key, parts })
    }

    /// A live, compacted topic.
    pub(super) fn compacted(&self, topic: TopicRef<'_>) -> Result<TopicKey, Refusal> {
        let (key, found) = self.catalog.resolve(topic)?;
        if !matches!(found.state, State::Live) {
            return Err(self.catalog.unknown_ref(topic));
        }
        if found.settings.cleanup.compacts() {
            return Ok(key);
        }
        let message = format!("topic {:?} is not compacted, so it has no view to ask by key", found.name);
        Err(Refusal::new(ErrorCode::NotCompacted, message)
            .hint("make a topic with cleanup.policy=compact, or read this one from its start"))
    }

    pub(super) fn after(
        &self,
        topic: TopicKey,
        after: After,
    ) -> Result<Option<(PartitionKey, i64)>, Refusal> {
        if after.offset < 0 {
            return Ok(None);
        }
        let chosen = self.chosen(topic, Some(after.partition))?;
        Ok(Some((chosen[0].0, after.offset)))
    }

    fn resolve_get(&self, get: &Get<'_>) -> Result<Keyed, Refusal> {
        let topic = self.compacted(TopicRef::Name(get.topic))?;
        if get.keys.count() > KEYS_MOST {
            let message = format!("{} keys in one request, {KEYS_MOST} are allowed", get.keys.count());
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        let homes = self.chosen(topic, get.partition)?;
        let home = |key: &[u8]| match get.partition {
            Some(_) => homes[0],
            None => homes[partition_for(key, homes.len() as u32) as usize],
        };
        let resolve = |key: &[u8]| {
            let (partition, number) = home(key);
            (partition, number, key.to_vec())
        };
        Ok(Keyed::Get {
            keys: get.keys.iter().map(resolve).collect(),
            as_of: get.as_of,
            after: self.after(topic, get.after)?,
            explain: get.explain,
        })
    }

    fn first_try(&mut self, to: ReplyTo, asked: Keyed, max_wait_ms: u32, now: Now) -> Taken {
        let wait = max_wait_ms.min(self.config.limits.fetch_max_wait_ms);
        let deadline = now.time.plus_ms(u64::from(wait));
        self.try_keyed(Parked { to, asked, deadline, reading: false }, now.time);
        Taken::Yes
    }

    /// First try and every retry.
    fn try_keyed(&mut self, parked: Parked<Keyed>, now: Time) {
        let last_try = now >= parked.deadline || self.draining;
        match self.evaluate_keyed(&parked.asked, now) {
            Outcome::Answer(reply) => self.acks.reply(parked.to, reply),
            Outcome::NotYet(refusal) if last_try => {
                self.refuse(parked.to, refusal);
            }
            Outcome::NotYet(_) => {
                self.keyed.park(parked);
            }
            Outcome::Cold(warm) => {
                self.metrics.view_cold_reads += 1;
                let id = self.keyed.park(parked);
                self.keyed.set_reading(id);
                self.jobs.push(Job::WarmView(Some(id), warm));
            }
        }
    }

    /// Tries a parked request again.
    pub(super) fn retry_keyed(&mut self, id: ParkId, now: Time) {
        if let Some(parked) = self.keyed.take(id) {
            self.try_keyed(Parked { reading: false, ..parked }, now);
        }
    }

    /// A partition shows more, or its view has become ready.
    pub(super) fn wake_keyed(&mut self, key: PartitionKey, now: Time) {
        if self.keyed.is_empty() {
            return;
        }
        let mut woken = std::mem::take(&mut self.woken);
        self.keyed.waiting_on(key, &mut woken);
        for id in woken.drain(..) {
            self.retry_keyed(id, now);
        }
        self.woken = woken;
    }

    /// Answers the requests whose deadline has passed.
    pub(super) fn keyed_deadlines(&mut self, now: Time) {
        while let Some(parked) = self.keyed.take_due(now) {
            self.try_keyed(parked, now);
        }
    }

    fn evaluate_keyed(&mut self, asked: &Keyed, now: Time) -> Outcome {
        let result = match asked {
            Keyed::Get { keys, as_of, after, explain } => self.wait_for(*after).and_then(|()| {
                self.metrics.gets += 1;
                self.read_keys(keys, *as_of, *explain)
            }),
            Keyed::Scan(scan) => self.wait_for(scan.after).and_then(|()| {
                self.metrics.scan_pages += 1;
                self.read_page(scan, now)
            }),
        };
        match result {
            Ok(reply) => Outcome::Answer(reply),
            Err(Stop::Refused(refusal)) => {
                self.metrics.refusals += 1;
                Outcome::Answer(Reply::Refused(refusal))
            }
            Err(Stop::NotYet(refusal)) => Outcome::NotYet(refusal),
            Err(Stop::Cold(warm)) => Outcome::Cold(warm),
            Err(Stop::Failed(key, error)) => {
                self.break_view(key, &error, now);
                let live = self.view_of(key).err();
                Outcome::NotYet(live.expect("a view that was broken a moment ago answers nobody"))
            }
        }
    }

    fn wait_for(&self, after: Option<(PartitionKey, i64)>) -> Result<(), Stop> {
        let Some((key, offset)) = after else { return Ok(()) };
        let shown = self.partition(key).ok_or_else(gone)?.high_watermark() - 1;
        if shown >= offset {
            return Ok(());
        }
        let message = format!("the partition shows offset {shown} and has not come to {offset} in time");
        Err(Stop::NotYet(Refusal::new(ErrorCode::RequestTimedOut, message)))
    }

    /// A partition whose view can be asked.
    pub(super) fn view_of(&self, key: PartitionKey) -> Result<&Partition, Refusal> {
        let partition = self.partition(key).ok_or_else(gone)?;
        let no_longer = || Refusal::new(ErrorCode::NotCompacted, "the topic is not compacted any more");
        partition.view.as_ref().ok_or_else(no_longer)?.live()?;
        Ok(partition)
    }

    /// The partition, and the offset that an answer is true for.
    pub(super) fn at(&self, key: PartitionKey, as_of: Option<i64>) -> Result<(&Partition, i64), Stop> {
        let partition = self.view_of(key).map_err(|refusal| match refusal.code {
            ErrorCode::ViewNotReady => Stop::NotYet(refusal),
            _ => Stop::Refused(refusal),
        })?;
        let shown = partition.high_watermark() - 1;
        let Some(at) = as_of else { return Ok((partition, shown)) };
        if at > shown {
            let message = format!("the partition shows up to offset {shown}, not {at}");
            return Err(Stop::Refused(Refusal::new(ErrorCode::OffsetOutOfRange, message)));
        }
        let tree = partition.view.as_ref().and_then(|v| v.tree()).expect("checked above");
        let known = at < 0 || tree.readable_at(at);
        if !known || at + 1 < partition.log.start_offset() {
            let oldest = tree.horizon().max(partition.log.start_offset() - 1);
            let message =
                format!("what the view said at offset {at} is not known any more, at {oldest} it is");
            return Err(Stop::Refused(Refusal::new(ErrorCode::OffsetTooOld, message).hint(
                "older values of a key are kept until they are merged away, or while a scan needs them",
            )));
        }
        Ok((partition, at))
    }

    /// Offset of the newest record of a key, visible or not, and whether it deletes the key.
    pub(super) fn newest_of(&self, key: PartitionKey, bytes: &[u8]) -> Result<Option<(i64, bool)>, Stop> {
        let partition = self.view_of(key)?;
        let tree = partition.view.as_ref().and_then(|v| v.tree()).expect("checked above");
        let mut found = Found::default();
        let there =
            tree.get(bytes, i64::MAX, Access::Cached, &mut found, None).map_err(|e| read_failed(key, e))?;
        let is_left = there && found.seq >= partition.log.start_offset();
        Ok(is_left.then_some((found.seq, found.kind == Kind::Tombstone)))
    }

    fn read_keys(
        &self,
        keys: &[(PartitionKey, i32, Vec<u8>)],
        as_of: Option<i64>,
        explain: bool,
    ) -> Result<Reply, Stop> {
        let mut trace = Vec::new();
        let mut values = Vec::with_capacity(keys.len());
        let mut found = Found::default();
        for (key, number, bytes) in keys {
            let (partition, at) = self.at(*key, as_of)?;
            let tree = partition.view.as_ref().and_then(|v| v.tree()).expect("checked above");
            if explain && keys.len() > 1 {
                trace.push(format!("key {}:", bytes.escape_ascii()));
            }
            let there = tree
                .get(bytes, at, Access::Cached, &mut found, explain.then_some(&mut trace))
                .map_err(|e| read_failed(*key, e))?;
            let newest = (there && found.seq >= partition.log.start_offset()).then(|| newest(&found));
            values.push(KeyState { partition: *number, true_at: at, newest });
        }
        Ok(Reply::Values { values, explain: trace })
    }
}

fn newest(found: &Found) -> NewestRecord {
    let (timestamp, tail) = view::stored(&found.value);
    let deleted = found.kind == Kind::Tombstone;
    let tail = if deleted { Vec::new() } else { tail.to_vec() };
    NewestRecord { offset: found.seq, timestamp, deleted, tail }
}

fn gone() -> Refusal {
    Refusal::new(ErrorCode::UnknownTopicOrPartition, "the topic is being deleted")
}

pub(super) fn read_failed(of: PartitionKey, error: ReadError) -> Stop {
    match error {
        ReadError::Cold(warm) => Stop::Cold(warm),
        error => Stop::Failed(of, error.into()),
    }
}
