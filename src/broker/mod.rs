//! All state of the broker in one value. [`Broker::handle`], [`Broker::complete`], [`Broker::tick`] and
//! [`Broker::flush`] go in; replies and jobs come out. Nothing here sleeps, reads a clock or knows a socket, so the
//! simulator runs it whole.
//!
//! Invariants: every request that is taken is answered exactly once; a reply is never ready before what it promises is
//! true; the work of one call is bounded by the request, never by how much is stored.

pub mod acks;
pub mod admin;
pub mod admit;
pub mod alter;
pub mod catalog;
pub mod clean;
pub mod consumers;
pub mod coordinate;
pub mod deferred;
mod expiry;
pub mod fetch;
mod gaps;
mod internal;
pub mod keyed;
mod lag;
pub mod open;
pub mod parked;
pub mod partition;
pub mod pins;
pub mod positions;
pub mod produce;
pub mod producers;
pub mod queues;
pub mod readers;
pub mod retain;
pub mod scan;
pub mod streams;
pub mod views;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::api::{ConnId, Fetch, PartitionKey, Reply, ReplyTo, Request};
use crate::chunk::Buffers;
use crate::config::Config;
use crate::disk::{Disk, Space};
use crate::metrics::Metrics;
use crate::time::{Now, Time};
use crate::timers::Timers;
use crate::worker::{Done, Job};
use acks::Acks;
use catalog::Catalog;
use clean::Cleaner;
use coordinate::Coordinator;
use deferred::Deferred;
use keyed::Keyed;
use open::Identity;
use parked::{ParkId, Parking};
use partition::Partition;
use pins::Pins;
use queues::Queues;

/// How often the room on the disk is looked at, milliseconds.
const SPACE_CHECK_MS: u64 = 5_000;
/// Bytes of read buffers kept between fetches.
const READ_BUFFERS: usize = 4 << 20;

/// Whether a request was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was; its reply comes, now or later.
    Yes,
    /// It was not, and nothing of it happened: offer it again after the next completion.
    Later,
}

/// Why a data folder cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The disk said no.
    Io(PathBuf, io::Error),
    /// A file does not say what it must; the text says where and how.
    Bad(PathBuf, String),
    /// Another process runs on this folder; its process id.
    InUse(PathBuf, String),
}

impl OpenError {
    fn io(path: &Path, error: io::Error) -> Self {
        OpenError::Io(path.to_path_buf(), error)
    }
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Io(path, e) if e.kind() == io::ErrorKind::StorageFull => {
                write!(f, "{}: {e}; nothing is lost: free some room and start again", path.display())
            }
            OpenError::Io(path, e) => write!(f, "{}: {e}", path.display()),
            OpenError::Bad(path, what) => write!(f, "{}: {what}", path.display()),
            OpenError::InUse(path, pid) => {
                write!(f, "{} is in use by the krappy with process id {pid}", path.display())
            }
        }
    }
}

impl std::error::Error for OpenError {}

/// The whole state.
pub struct Broker {
    config: Config,
    disk: Arc<dyn Disk>,
    _lock: Box<dyn Send>,
    identity: Identity,
    leader_epoch: i32,
    catalog: Catalog,
    /// By key. Places of deleted partitions stay empty: a key is never given twice.
    partitions: Vec<Option<Box<Partition>>>,
    live_partitions: usize,
    /// Partitions of topics whose folders are being made.
    creating: usize,
    parked: Parking<Fetch>,
    keyed: Parking<Keyed>,
    deferred: Deferred,
    coordinator: Coordinator,
    queues: Queues,
    pins: Pins,
    cleaner: Cleaner,
    /// Bytes of the active memtables of all views.
    view_memory: usize,
    next_view_retry: Time,
    lookups: positions::Lookups,
    acks: Acks,
    jobs: Vec<Job>,
    /// Jobs that were handed out and have not come back.
    under_way: usize,
    /// Partitions with something to write or sync at the end of the turn.
    dirty: Vec<PartitionKey>,
    woken: Vec<ParkId>,
    /// Buffers for tails; only partitions that are being written have one.
    spare_tails: Vec<Vec<u8>>,
    buffers: Buffers,
    /// Appended bytes that are not durable, on topics that wait for the disk.
    unflushed: u64,
    next_keyless: u32,
    next_producer: u32,
    ids: u64,
    next_retention: Time,
    next_space: Time,
    /// Less than `disk.min.free.bytes` was free when it was last looked at.
    disk_low: bool,
    flush_timers: Timers<PartitionKey>,
    draining: bool,
    fatal: Option<String>,
    /// What is counted.
    pub metrics: Metrics,
}

impl Broker {
    fn empty(config: Config, disk: Arc<dyn Disk>, lock: Box<dyn Send>, seed: u64) -> Self {
        // The coordinator needs a salt that no other process has had.
        let coordinator = Coordinator::new(&config, [0; 16]);
        Self {
            config,
            disk,
            _lock: lock,
            identity: Identity { cluster_id: String::new(), boot_epoch: 0 },
            leader_epoch: 0,
            catalog: Catalog::default(),
            partitions: Vec::new(),
            live_partitions: 0,
            creating: 0,
            parked: Parking::default(),
            keyed: Parking::default(),
            deferred: Deferred::default(),
            coordinator,
            queues: Queues::default(),
            pins: Pins::default(),
            cleaner: Cleaner::default(),
            view_memory: 0,
            next_view_retry: Time(u64::MAX),
            lookups: positions::Lookups::default(),
            acks: Acks::default(),
            jobs: Vec::new(),
            under_way: 0,
            dirty: Vec::new(),
            woken: Vec::new(),
            spare_tails: Vec::new(),
            buffers: Buffers::new(READ_BUFFERS),
            unflushed: 0,
            next_keyless: 0,
            next_producer: 0,
            ids: seed,
            next_retention: Time::default(),
            next_space: Time::default(),
            disk_low: false,
            flush_timers: Timers::default(),
            draining: false,
            fatal: None,
            metrics: Metrics::default(),
        }
    }

    fn started(&mut self, now: Now) {
        self.next_retention = now.time.plus_ms(self.config.retention_check_ms.min(1_000));
        self.start_views();
        let salt = self.new_id();
        self.coordinator = Coordinator::new(&self.config, salt);
        self.load_offsets(now);
        self.load_queues(now);
        self.hear_ourselves(now);
    }

    /// Takes a request, or leaves it for later. Replies become ready now or after a completion.
    pub fn handle(&mut self, to: ReplyTo, request: Request<'_>, now: Now) -> Taken {
        if let Some(topic) = request.changes()
            && let Err(refusal) = self.refuse_internal(topic)
        {
            return self.refuse(to, refusal);
        }
        let taken = match request {
            Request::Publish(publish) => self.publish(to, &publish, now),
            Request::Fetch(fetch) => self.fetch(to, fetch, now),
            Request::FetchTopics(fetch) => self.fetch_topics(to, &fetch, now),
            Request::PublishIf(publish) => self.publish_if(to, &publish, now),
            Request::Get(get) => self.get(to, &get, now),
            Request::Scan(scan) => self.scan(to, scan, now),
            Request::OpenWatch { topic, partition } => self.open_watch(to, topic, partition, now),
            Request::OpenProducer { topic, idempotent } => self.open_producer(to, topic, idempotent),
            Request::NewProducerId => self.give_producer_id(to),
            Request::ListOffsets { topic, partition, leader_epoch, at } => {
                self.list_offsets(to, topic, partition, leader_epoch, at)
            }
            Request::OffsetForLeaderEpoch { topic, partition, current, epoch } => {
                self.epoch_end(to, topic, partition, current, epoch)
            }
            Request::DescribeProducers { topic, partition } => self.describe_producers(to, topic, partition),
            Request::CreateTopic { topic, partitions, settings, validate_only } => {
                self.create_topic(to, topic, partitions, &settings, validate_only)
            }
            Request::ListTopics => self.list_topics(to),
            Request::DescribeAllTopics => self.describe_all_topics(to),
            Request::DescribeTopic { topic, create } => self.describe_topic(to, topic, create),
            Request::AlterTopic { topic, changes, replace, validate_only } => {
                self.alter_topic(to, topic, &changes, replace, validate_only)
            }
            Request::CreatePartitions { topic, count, validate_only } => {
                self.create_partitions(to, topic, count, validate_only)
            }
            Request::DescribeBroker => self.describe_broker(to),
            Request::DeleteTopic { topic } => self.delete_topic(to, topic, now),
            Request::DeleteRecords { topic, partition, offset } => {
                self.delete_records(to, topic, partition, offset)
            }
            Request::Status => self.status(to),
            Request::Group(request) => self.group(to, request, now),
            Request::Queue(request) => self.queue(to, request, now),
        };
        self.metrics.requests += u64::from(taken == Taken::Yes);
        self.hear_ourselves(now);
        taken
    }

    /// A worker has answered.
    pub fn complete(&mut self, done: Done, now: Now) {
        self.under_way -= 1;
        match done {
            Done::Synced(key, synced) => self.synced(key, synced, now),
            Done::Warmed(park, result) => {
                if let Err(error) = result {
                    log::warn!("a cold range could not be read ahead: {error}");
                }
                self.retry_fetch(park, now.time);
            }
            Done::Found(id, index, result) => self.found(id, index, result),
            Done::TopicCreated(key, result) => self.topic_created(key, result, now),
            Done::Described(key, result) => self.altered(key, result.map(|()| Vec::new()), now),
            Done::PartitionsAdded(key, result) => self.altered(key, result, now),
            Done::TopicDeleted(key, result) => self.topic_deleted(key, result, now),
            Done::Unlinked(key, result) | Done::Snapshotted(key, result) => {
                if let Err(error) = result {
                    log::warn!("background work on the data folder failed: {error}");
                }
                self.chore_done(key);
            }
            Done::Marked(key, result, to) => {
                self.marked(key, result, to);
                self.chore_done(key);
            }
            Done::Space(space) => self.space_seen(space),
            about_a_view => self.complete_view(about_a_view, now),
        }
        self.hear_ourselves(now);
    }

    /// A job that wrote to a partition's folder is done; its topic may be waiting for that to be removed.
    fn chore_done(&mut self, key: PartitionKey) {
        let partition = self.partitions[key.0 as usize].as_mut().expect("it stays while jobs are under way");
        partition.chores -= 1;
        let topic = partition.topic;
        self.remove_retired(key);
        self.continue_deletion(topic);
    }

    /// A sync has returned: the durable offset moves, or the partition is fenced for good.
    fn synced(&mut self, key: PartitionKey, synced: crate::segment::Synced, now: Now) {
        let Some(partition) = self.partitions[key.0 as usize].as_mut() else { return };
        let before = partition.log.durable_offset();
        partition.syncing = false;
        let result = partition.log.synced(synced);
        let left = if result.is_ok() { partition.log.unsynced_bytes() } else { 0 };
        if partition.durable {
            self.unflushed = self.unflushed - partition.counted_unsynced(left) + left;
        }
        match result {
            Ok(()) => {
                self.metrics.syncs += 1;
                self.metrics.synced_records += (partition.log.durable_offset() - before) as u64;
                partition.settle_waiting(&mut self.acks);
                let (durable, topic) = (partition.durable, partition.topic);
                if durable {
                    self.wake_fetches(key, now.time);
                    self.wake_keyed(key, now.time);
                }
                self.answer_deferred(key);
                self.advance_view(key);
                // What was appended in the meantime is due for a sync of its own, now or by `flush.ms`.
                if left > 0 {
                    self.mark_dirty(key);
                }
                self.continue_deletion(topic);
            }
            Err(error) => self.sync_failed(key, &error),
        }
    }

    /// Nobody knows what the file holds now: no more appends, no more syncs, and by default no more broker, because a
    /// start with recovery is the only way to know.
    fn sync_failed(&mut self, key: PartitionKey, error: &io::Error) {
        let partition = self.partitions[key.0 as usize].as_mut().expect("its sync has just returned");
        let text = format!("{}: fdatasync failed: {error}", partition.dir.display());
        log::error!("{text}; the partition takes no more records");
        partition.fail_waiting(&mut self.acks);
        let topic = partition.topic;
        self.answer_deferred(key);
        if self.config.exit_on_fsync_error {
            self.fatal.get_or_insert(text);
        }
        self.continue_deletion(topic);
    }

    /// Time has passed: deadlines of fetches, retention, syncs that are due by `flush.ms`.
    pub fn tick(&mut self, now: Now) {
        self.fetch_deadlines(now.time);
        self.keyed_deadlines(now.time);
        self.expire_pins(now.time);
        self.tick_groups(now);
        self.tick_queues(now);
        self.clean_on(now);
        if now.time >= self.next_view_retry {
            self.retry_views(now);
        }
        if now.time >= self.next_retention {
            self.next_retention = now.time.plus_ms(self.config.retention_check_ms);
            self.retain(now);
        }
        if now.time >= self.next_space {
            self.next_space = now.time.plus_ms(SPACE_CHECK_MS);
            self.jobs.push(Job::Space(self.config.data_dir.clone()));
        }
        while let Some(key) = self.flush_timers.take_due(now.time) {
            match self.flush_due(key) {
                Some(due) if due > now.time => self.flush_timers.insert(due, key),
                Some(_) => self.mark_dirty(key),
                None => {}
            }
        }
        self.hear_ourselves(now);
    }

    /// Below the limit nothing is published any more, so that what must be written, such as deletions and marks, still
    /// can; a quarter above it publishing begins again, so that the state does not flicker.
    fn space_seen(&mut self, space: io::Result<Space>) {
        let limit = self.config.limits.min_free;
        let Ok(space) = space else { return };
        let low = if self.disk_low { space.free < limit + limit / 4 } else { space.free < limit };
        if low != self.disk_low {
            let what = if low { "publishing is refused" } else { "publishing goes on" };
            log::warn!("{} bytes are free on the disk: {what} (disk.min.free.bytes={limit})", space.free);
            self.disk_low = low;
        }
    }

    /// When a partition that syncs by `flush.ms` must be synced, if it has anything unsynced.
    fn flush_due(&self, key: PartitionKey) -> Option<Time> {
        let partition = self.partition(key)?;
        let flush_ms = self.catalog.get(partition.topic)?.settings.flush_ms;
        if partition.durable || flush_ms == i64::MAX || partition.log.fenced() {
            return None;
        }
        Some(partition.unsynced_since?.plus_ms(flush_ms.max(0) as u64))
    }

    /// When [`Broker::tick`] has something to do next.
    pub fn next_deadline(&self) -> Time {
        let others = [
            self.parked.next_deadline(),
            self.keyed.next_deadline(),
            self.coordinator.next_deadline(),
            self.queues.next_deadline(),
            self.next_pin_end(),
            self.cleaner.next(),
            Some(self.next_view_retry),
            self.flush_timers.next(),
        ];
        others.into_iter().flatten().fold(self.next_retention.min(self.next_space), Time::min)
    }

    /// Ends the turn: one write for each partition that gathered records, and the syncs that are due.
    pub fn flush(&mut self, now: Now) {
        self.save_queues(now);
        while !self.dirty.is_empty() {
            self.write_tails(now);
            let mut dirty = std::mem::take(&mut self.dirty);
            for key in dirty.drain(..) {
                self.after_write(key, now);
            }
            self.dirty = dirty;
            // What the broker makes of its own replies may be something to write.
            self.hear_ourselves(now);
            self.save_queues(now);
        }
    }

    fn write_tails(&mut self, now: Now) {
        for key in &self.dirty {
            if let Some(partition) = self.partitions[key.0 as usize].as_mut() {
                partition.write_tail(now, &mut self.acks, &mut self.metrics);
            }
        }
    }

    fn after_write(&mut self, key: PartitionKey, now: Now) {
        let Some(partition) = self.partitions[key.0 as usize].as_mut() else { return };
        partition.dirty = false;
        partition.return_tail(&mut self.spare_tails);
        if partition.take_rolled() && !partition.producers.is_empty() {
            let bytes = partition.producers.encode(partition.log.end_offset());
            partition.chores += 1;
            self.jobs.push(Job::Snapshot(key, partition.dir.join(open::PRODUCERS_FILE), bytes));
        }
        if partition.log.fenced() {
            self.unflushed -= partition.counted_unsynced(0);
            self.answer_deferred(key);
            if self.config.exit_on_fsync_error && !self.is_deleting(key) {
                self.fatal.get_or_insert_with(|| "a partition was fenced by a disk fault".into());
            }
            return;
        }
        if partition.durable {
            let unsynced = partition.log.unsynced_bytes();
            self.unflushed = self.unflushed + unsynced - partition.counted_unsynced(unsynced);
            self.begin_sync(key);
            // What waits for records that could not be written waits for nothing.
            self.answer_deferred(key);
            self.advance_view(key);
            return;
        }
        match self.flush_due(key) {
            Some(due) if due <= now.time => self.begin_sync(key),
            Some(due) => self.flush_timers.insert(due, key),
            None => {}
        }
        if self.has_many_unsynced(key) {
            self.begin_sync(key);
        }
        self.answer_deferred(key);
        self.advance_view(key);
        self.wake_fetches(key, now.time);
        self.wake_keyed(key, now.time);
    }

    fn is_deleting(&self, key: PartitionKey) -> bool {
        let topic = self.partition(key).and_then(|p| self.catalog.get(p.topic));
        topic.is_none_or(|topic| matches!(topic.state, catalog::State::Deleting(_)))
    }

    fn has_many_unsynced(&self, key: PartitionKey) -> bool {
        let Some(partition) = self.partition(key) else { return false };
        let Some(topic) = self.catalog.get(partition.topic) else { return false };
        let unsynced = (partition.log.end_offset() - partition.log.durable_offset()) as u64;
        // Who waits for the disk asked when every record was synced at once, and is owed it.
        if partition.has_waiting() {
            return true;
        }
        // A topic that never asks for a sync gets one now and then, so that the mark moves and a start after a crash
        // does not have to prove the whole log.
        unsynced >= topic.settings.flush_messages || partition.log.sync_is_due()
    }

    fn begin_sync(&mut self, key: PartitionKey) {
        let partition = self.partitions[key.0 as usize].as_mut().expect("a partition that was just written");
        if partition.syncing {
            return;
        }
        if let Some(sync) = partition.log.begin_sync(false) {
            partition.syncing = true;
            partition.unsynced_since = None;
            self.jobs.push(Job::Sync(key, sync));
        }
    }

    fn mark_dirty(&mut self, key: PartitionKey) {
        let partition = self.partitions[key.0 as usize].as_mut().expect("only a live partition is written");
        if !partition.dirty {
            partition.dirty = true;
            partition.lend_tail(&mut self.spare_tails);
            self.dirty.push(key);
        }
    }

    fn partition(&self, key: PartitionKey) -> Option<&Partition> {
        self.partitions.get(key.0 as usize)?.as_deref()
    }

    /// The connection is gone: drops what it waits for. Publishes that were taken stay taken.
    pub fn forget(&mut self, conn: ConnId, now: Now) {
        self.parked.forget(conn);
        self.keyed.forget(conn);
        self.forget_waiting(conn, now);
        self.forget_takers(conn, now);
        self.hear_ourselves(now);
    }

    /// Takes the replies that are ready.
    pub fn take_replies(&mut self, into: &mut Vec<(ReplyTo, Reply)>) {
        self.acks.take_ready(into);
    }

    /// Whether replies are ready.
    pub fn has_replies(&self) -> bool {
        self.acks.is_ready()
    }

    /// Whether something is to be written or answered in this turn.
    pub fn has_more_to_do(&self) -> bool {
        !self.dirty.is_empty() || self.acks.is_ready()
    }

    /// Takes the jobs to be run.
    pub fn take_jobs(&mut self, into: &mut Vec<Job>) {
        self.under_way += self.jobs.len();
        into.append(&mut self.jobs);
    }

    /// Where chunks of sent replies go back to.
    pub fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    /// What the broker was told at start.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Begins to stop: waiting fetches are answered with what is there, and no new publish is taken.
    pub fn drain(&mut self, now: Now) {
        self.draining = true;
        self.send_members_away(now);
        self.send_takers_away(now);
        for id in self.parked.all_idle() {
            self.retry_fetch(id, now.time);
        }
        for id in self.keyed.all_idle() {
            self.retry_keyed(id, now.time);
        }
    }

    /// Whether nothing is on its way to the disk and nobody waits for it. No job is left that could write behind the
    /// back of a clean stop.
    pub fn is_idle(&self) -> bool {
        let busy = |p: &Partition| p.syncing || p.dirty || p.has_waiting();
        let jobs = self.under_way + self.jobs.len();
        jobs == 0
            && !self.partitions.iter().flatten().any(|p| busy(p))
            && self.parked.is_empty()
            && self.keyed.is_empty()
            && self.queues.is_idle()
    }

    /// Asks for a last sync of every partition that has something unsynced; part of a clean stop.
    pub fn sync_all(&mut self) {
        for key in 0..self.partitions.len() {
            if self.partitions[key].as_ref().is_some_and(|p| !p.log.fenced()) {
                self.begin_sync(PartitionKey(key as u32));
            }
        }
    }

    /// Why the process must end, if it must.
    pub fn fatal(&self) -> Option<&str> {
        self.fatal.as_deref()
    }

    /// Sixteen bytes that no other topic or folder has, from the seed given at start.
    fn new_id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        for half in id.chunks_mut(8) {
            // SplitMix64 (Steele, Lea, Flood 2014): every seed gives a sequence without repetition.
            self.ids = self.ids.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.ids;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            half.copy_from_slice(&(z ^ (z >> 31)).to_be_bytes());
        }
        id
    }

    /// A producer id that was never handed out: the boot epoch, which is durable before the first request, above a
    /// count.
    fn new_producer_id(&mut self) -> i64 {
        let id = i64::from(self.identity.boot_epoch) << 32 | i64::from(self.next_producer);
        self.next_producer = self.next_producer.checked_add(1).expect("fewer than 4 G producers in one run");
        id
    }

    fn topics_dir(&self) -> PathBuf {
        self.config.data_dir.join("topics")
    }

    fn status(&mut self, to: ReplyTo) -> Taken {
        let fenced = self.partitions.iter().flatten().filter(|p| p.log.fenced()).count();
        self.metrics.topics = self.catalog.len() as u64;
        self.metrics.partitions = self.live_partitions as u64;
        self.metrics.fenced_partitions = fenced as u64;
        self.metrics.unflushed_bytes = self.unflushed;
        self.metrics.parked_fetches = self.parked.len() as u64;
        self.measure_views();
        let list = self.metrics.list();
        self.acks.reply(to, Reply::Status(list));
        Taken::Yes
    }

    /// Checks what must hold between turns; for tests and the simulator.
    pub fn invariants(&self) {
        self.parked.invariants();
        self.keyed.invariants();
        self.queues.invariants();
        for p in self.partitions.iter().flatten() {
            let chain = [p.log.start_offset(), p.high_watermark(), p.log.end_offset()];
            assert!(chain.is_sorted(), "log start, high watermark and log end are in order: {chain:?}");
        }
        assert!(self.dirty.is_empty(), "a turn ends with everything written");
    }
}
