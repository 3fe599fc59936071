//! One partition: its log, the records of this turn that are not written yet, and who waits for what.
//!
//! Invariants: `log start <= high watermark <= log end <= next offset`. What is above the log end lies in `tail` and is
//! written before the turn ends. At most one sync is under way. Nothing above the high watermark is shown to a reader,
//! and with `flush.messages=1` nothing above the durable offset is below the high watermark, except what readers could
//! see already when that was set.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::path::PathBuf;

use krappy_wire::batch::{self, Builder, HEADER, Header};
use krappy_wire::compress;

use crate::api::{ErrorCode, Level, PlainRecords, PublishedPart, Refusal, TopicKey};
use crate::broker::acks::{AckTo, Acks};
use crate::broker::admit::{Admitted, Rules, record_size};
use crate::broker::producers::{Producers, Verdict};
use crate::broker::readers::Readers;
use crate::broker::views::View;
use crate::config::TopicSettings;
use crate::lsm::Tree;
use crate::metrics::Metrics;
use crate::segment::{AppendError, Appended, Log, LogSettings};
use crate::time::{Now, Time};

/// A prepared batch of this size or more is written straight from the input buffer instead of being gathered. Below it
/// one large write of a copy is quicker than several small writes: 4.0 against 2.2 GB/s at 64 KiB into the page cache.
const WRITE_THROUGH: usize = 256 << 10;
/// The tail is written before the turn ends when it has grown to this size.
const TAIL_MOST: usize = 1 << 20;
/// A batch that the broker makes from plain records is closed at this size.
const MERGED: usize = 128 << 10;

/// One partition.
pub struct Partition {
    /// The topic it belongs to.
    pub topic: TopicKey,
    /// Its number in the topic.
    pub number: u32,
    /// Its folder.
    pub dir: PathBuf,
    /// Its records.
    pub log: Log,
    /// Whether acks of `all` and readers wait for the disk (`flush.messages=1`).
    pub durable: bool,
    /// Its producers.
    pub producers: Producers,
    /// Whether the list of partitions to be written at the end of the turn has it.
    pub dirty: bool,
    /// Whether a sync is under way.
    pub syncing: bool,
    /// The newest record of each key, if the topic is compacted.
    pub view: Option<Box<View>>,
    /// What is left of the view of a topic that is not compacted any more.
    pub retired: Option<Retired>,
    /// Jobs under way, the sync aside, that write to its folder; it is not removed before they are done.
    pub chores: usize,
    /// When the oldest append happened that no sync has begun for, for topics that sync by `flush.ms`.
    pub unsynced_since: Option<Time>,
    /// Who reads it.
    pub readers: Readers,
    /// Readers have been shown what lies below, durable or not.
    shown: i64,
    /// Unsynced bytes that the broker's total already has.
    counted: u64,
    segments: usize,
    leader_epoch: i32,
    settings: LogSettings,
    rules: Rules,
    next_offset: i64,
    tail: Vec<u8>,
    batches: Vec<Appended>,
    open: Option<OpenBatch>,
    /// Publishers whose records are in `tail`.
    owed: Vec<Owed>,
    /// Publishers who wait for the disk, in order of offset.
    waiting: VecDeque<Owed>,
}

/// A view that is being removed.
pub enum Retired {
    /// Jobs that were begun for it are under way; its tree is closed by a worker.
    Waiting(Option<Box<Tree>>),
    /// A worker removes its files.
    Removing,
}

/// A batch of plain records that more records may join until the turn ends.
struct OpenBatch {
    builder: Builder,
    base_offset: i64,
    /// The time that all its records get, if it is the broker's.
    stamp: Option<i64>,
}

struct Owed {
    to: AckTo,
    level: Level,
    part: PublishedPart,
}

/// What is to become of a batch.
enum Judged<'b> {
    Fresh(Admitted<'b>),
    /// It went there when it first came.
    Duplicate(PublishedPart),
}

impl Owed {
    /// The offset that the high watermark must reach.
    fn until(&self) -> i64 {
        self.part.base_offset + i64::from(self.part.count)
    }
}

impl Partition {
    /// Puts a partition around its open log.
    pub fn new(
        topic: TopicKey,
        number: u32,
        dir: PathBuf,
        mut log: Log,
        settings: &TopicSettings,
        epoch: i32,
    ) -> Self {
        log.set_epoch(epoch);
        let mut partition = Self {
            topic,
            number,
            dir,
            durable: true,
            producers: Producers::default(),
            dirty: false,
            syncing: false,
            view: None,
            retired: None,
            chores: 0,
            unsynced_since: None,
            readers: Readers::default(),
            shown: 0,
            counted: 0,
            segments: log.segment_count(),
            leader_epoch: epoch,
            settings: log_settings(settings),
            rules: Rules::new(settings),
            next_offset: log.end_offset(),
            log,
            tail: Vec::new(),
            batches: Vec::new(),
            open: None,
            owed: Vec::new(),
            waiting: VecDeque::new(),
        };
        partition.apply_settings(settings);
        partition
    }

    /// From here on these settings hold: the one place that takes them from the topic.
    pub fn apply_settings(&mut self, settings: &TopicSettings) {
        let durable = settings.flush_messages == 1;
        if durable && !self.durable {
            self.shown = self.log.end_offset();
        }
        self.durable = durable;
        self.settings = log_settings(settings);
        self.rules = Rules::new(settings);
    }

    /// The leader epoch of what is appended now: it rises with each start of the broker.
    pub fn current_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// The leader epoch that holds at an offset: that of the record there or, at the end, of the next one.
    pub fn epoch_at(&self, offset: i64) -> i32 {
        let below = (offset < self.log.end_offset()).then(|| self.log.epochs().at(offset)).flatten();
        below.unwrap_or(self.leader_epoch)
    }

    /// Where what was appended by the end of a leader epoch ends, and the newest epoch until then; `None` if there was
    /// no such epoch.
    pub fn epoch_end(&self, epoch: i32) -> Option<(i32, i64)> {
        self.log.epochs().end_of(epoch, self.leader_epoch, self.log.end_offset())
    }

    /// Checks the leader epoch that a client believes to be current; -1 is not checked.
    pub fn check_epoch(&self, requested: i32) -> Result<(), ErrorCode> {
        match requested {
            -1 => Ok(()),
            older if older < self.leader_epoch => Err(ErrorCode::FencedLeaderEpoch),
            newer if newer > self.leader_epoch => Err(ErrorCode::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }

    /// End of what readers may see.
    pub fn high_watermark(&self) -> i64 {
        if self.durable { self.log.durable_offset().max(self.shown) } else { self.log.end_offset() }
    }

    /// The offset that the next record gets.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Whether publishers wait for the disk.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Where records went. The log start offset is filled in when that is told.
    fn part(&self, base_offset: i64, count: u32, log_append_time: Option<i64>) -> PublishedPart {
        let log_append_time = log_append_time.unwrap_or(-1);
        PublishedPart { partition: self.number as i32, base_offset, count, log_append_time, log_start: 0 }
    }

    fn stamp(&self, time: i64) -> Option<i64> {
        self.rules.log_append_time.then_some(time)
    }

    /// Takes a batch that a client prepared. It has its place in the order from here on; it is written at the end of
    /// the turn, or at once if it is large. `to` is told its fate through `acks`.
    pub fn append_batch(
        &mut self,
        to: AckTo,
        level: Level,
        bytes: &[u8],
        now: Now,
        acks: &mut Acks,
        metrics: &mut Metrics,
    ) {
        let Admitted { mut header, body } = match self.admit(bytes, now) {
            Ok(Judged::Fresh(admitted)) => admitted,
            Ok(Judged::Duplicate(part)) => {
                metrics.duplicate_batches += 1;
                return self.answer_duplicate(Owed { to, level, part }, acks);
            }
            Err(refusal) => return acks.refused(to, refusal),
        };
        self.close_open();
        (header.base_offset, header.leader_epoch) = (self.next_offset, self.leader_epoch);
        self.producers.observe(&header, now.wall);
        let part = self.part(header.base_offset, header.record_count as u32, self.stamp(now.wall));
        self.owed.push(Owed { to, level, part });
        self.push(&header);
        self.next_offset = header.next_offset();
        if header.size() >= WRITE_THROUGH {
            self.write(Some((&header, &body)), now, acks, metrics);
        } else {
            self.tail.extend_from_slice(&header.bytes());
            self.tail.extend_from_slice(&body);
        }
    }

    /// Notes a batch that will be written.
    fn push(&mut self, header: &Header) {
        self.batches.push(Appended {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            size: header.size() as u32,
            max_timestamp: header.max_timestamp,
        });
    }

    /// A batch that was sent again shares the fate of the first one, which may not be written yet.
    fn answer_duplicate(&mut self, owed: Owed, acks: &mut Acks) {
        if owed.part.base_offset >= self.log.end_offset() {
            self.owed.push(owed);
        } else {
            self.settle_or_wait(owed, acks);
        }
    }

    /// Whether a batch was appended before is asked before its records are looked at: what was taken once is not
    /// refused when it comes again.
    fn admit<'b>(&mut self, bytes: &'b [u8], now: Now) -> Result<Judged<'b>, Refusal> {
        self.refuse_if_fenced()?;
        let header = self.rules.check(bytes)?;
        if let Verdict::Duplicate { base_offset, timestamp } = self.producers.judge(&header)? {
            let part = self.part(base_offset, header.record_count as u32, self.stamp(timestamp));
            return Ok(Judged::Duplicate(part));
        }
        let (keyed, mut unpacked) = (self.view.is_some(), Vec::new());
        let scratch = self.view.as_mut().map_or(&mut unpacked, |view| view.scratch());
        self.rules.admit(header, &bytes[HEADER..], keyed, now.wall, scratch).map(Judged::Fresh)
    }

    fn refuse_if_fenced(&self) -> Result<(), Refusal> {
        if !self.log.fenced() {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::StorageError,
            "the disk failed under this partition, it takes no more records",
        )
        .hint(
            "look at the broker's log, mend the disk, restart the broker: it recovers what was acknowledged",
        ))
    }

    /// Takes plain records: they join the batch of this turn. `pick` says which of `records` are meant for this
    /// partition.
    pub fn append_plain<'a>(
        &mut self,
        to: AckTo,
        level: Level,
        records: &PlainRecords<'a>,
        pick: impl Fn(usize) -> bool,
        now: Now,
        acks: &mut Acks,
    ) {
        let chosen = || records.iter().enumerate().filter(|(i, _)| pick(*i)).map(|(_, record)| record);
        let keyed = self.view.is_some();
        let check = |record| self.rules.check_plain(&record, keyed, now.wall).err();
        if let Some(refusal) = self.refuse_if_fenced().err().or_else(|| chosen().find_map(check)) {
            return acks.refused(to, refusal);
        }
        let base_offset = self.next_offset;
        let mut stamp = None;
        for record in chosen() {
            let timestamp = if record.timestamp == -1 { now.wall } else { record.timestamp };
            self.make_room(record_size(&record), self.stamp(now.wall).unwrap_or(timestamp));
            let open = self.open.as_mut().expect("make_room leaves an open batch");
            stamp = stamp.or(open.stamp);
            let timestamp = open.stamp.unwrap_or(timestamp);
            open.builder.push(&mut self.tail, timestamp, record.key, record.value, record.headers());
            self.next_offset += 1;
        }
        let count = (self.next_offset - base_offset) as u32;
        self.owed.push(Owed { to, level, part: self.part(base_offset, count, stamp) });
    }

    /// Leaves an open batch that has room for a record of `size` bytes.
    fn make_room(&mut self, size: usize, timestamp: i64) {
        let limit = MERGED.min(self.rules.max_message_bytes);
        if self.open.as_ref().is_some_and(|open| open.builder.size(&self.tail) + size > limit) {
            self.close_open();
        }
        if self.open.is_none() {
            let mut builder = Builder::open(&mut self.tail, timestamp);
            let stamp = self.stamp(timestamp);
            if stamp.is_some() {
                builder.set_log_append_time();
            }
            self.open = Some(OpenBatch { builder, base_offset: self.next_offset, stamp });
        }
    }

    fn close_open(&mut self) {
        let Some(OpenBatch { builder, base_offset, .. }) = self.open.take() else { return };
        let start = builder.start();
        builder.close(&mut self.tail, base_offset, self.leader_epoch, None);
        if let Some(codec) = self.rules.codec.filter(|codec| *codec != 0) {
            self.pack_last(start, codec);
        }
        let header = Header::read(&self.tail[start..]).expect("it was closed a moment ago");
        self.push(&header);
    }

    /// Packs the batch that begins at `start` of the tail and ends with it, if this build can.
    fn pack_last(&mut self, start: usize, codec: i16) {
        let mut header = Header::read(&self.tail[start..]).expect("it was closed a moment ago");
        let mut packed = Vec::new();
        if compress::pack(codec, &self.tail[start + HEADER..], &mut packed).is_ok() {
            header.set_codec(codec);
            self.tail.truncate(start);
            batch::with_records(&header, header.record_count, &packed, &mut self.tail);
        }
    }

    /// Writes the tail before the turn ends if it has grown large, so that its size does not follow the number of
    /// clients that publish in one turn.
    pub fn bound_tail(&mut self, now: Now, acks: &mut Acks, metrics: &mut Metrics) {
        if self.tail.len() >= TAIL_MOST {
            self.write_tail(now, acks, metrics);
        }
    }

    /// Writes what this turn has gathered.
    pub fn write_tail(&mut self, now: Now, acks: &mut Acks, metrics: &mut Metrics) {
        self.close_open();
        if !self.batches.is_empty() {
            self.write(None, now, acks, metrics);
        }
    }

    /// One write for the tail and, behind it, a batch with its assigned head; then the answers that need no more than
    /// that.
    fn write(&mut self, through: Option<(&Header, &[u8])>, now: Now, acks: &mut Acks, metrics: &mut Metrics) {
        let (head, body) = through.map_or(([0; HEADER], &[][..]), |(header, body)| (header.bytes(), body));
        let parts = [IoSlice::new(&self.tail), IoSlice::new(&head), IoSlice::new(body)];
        let first = usize::from(self.tail.is_empty());
        let parts = &parts[first..if through.is_some() { 3 } else { 1 }];
        match self.log.append(parts, &self.batches, &self.settings, now.wall) {
            Ok(()) => {
                metrics.appended_batches += self.batches.len() as u64;
                metrics.appended_bytes += parts.iter().map(|p| p.len() as u64).sum::<u64>();
                self.unsynced_since.get_or_insert(now.time);
                let records = |batch: &Appended| (batch.last_offset - batch.base_offset + 1) as u64;
                metrics.appended_records += self.batches.iter().map(records).sum::<u64>();
                self.apply(through);
                for owed in std::mem::take(&mut self.owed) {
                    self.settle_or_wait(owed, acks);
                }
            }
            Err(error) => self.append_failed(&error, acks),
        }
        self.tail.clear();
        self.batches.clear();
    }

    /// Shows the view what was appended: the batches of the tail, and the one behind it.
    fn apply(&mut self, through: Option<(&Header, &[u8])>) {
        let Some(view) = &mut self.view else { return };
        let mut tail = &self.tail[..];
        while !tail.is_empty() {
            let header = Header::read(tail).expect("the tail holds whole batches");
            let (batch, rest) = tail.split_at(header.size());
            view.apply(&header, &batch[HEADER..]);
            tail = rest;
        }
        if let Some((header, body)) = through {
            view.apply(header, body);
        }
    }

    /// Nothing of this turn was appended: everyone hears so, and the producers are forgotten back to what the log
    /// holds.
    fn append_failed(&mut self, error: &AppendError, acks: &mut Acks) {
        log::error!("append to {} failed: {error}", self.dir.display());
        for owed in std::mem::take(&mut self.owed) {
            let refusal =
                Refusal::new(ErrorCode::StorageError, format!("the record could not be written: {error}"))
                    .hint("free some room or mend the disk, then send it again");
            acks.refused(owed.to, refusal);
        }
        self.next_offset = self.log.end_offset();
        self.producers.retract(self.next_offset);
        if self.log.fenced() {
            self.fail_waiting(acks);
        }
    }

    /// Answers a publisher whose records are in the file, or lets it wait for the disk.
    fn settle_or_wait(&mut self, owed: Owed, acks: &mut Acks) {
        let wait = owed.level == Level::Durable && self.durable && owed.until() > self.log.durable_offset();
        if wait {
            // A batch that was sent again waits at its own offset, not behind what came after it the first time.
            let at = self.waiting.partition_point(|other| other.until() <= owed.until());
            self.waiting.insert(at, owed);
            return;
        }
        let reached = match owed.level {
            Level::None => Level::None,
            _ if owed.until() <= self.log.durable_offset() => Level::Durable,
            _ => Level::Appended,
        };
        self.answer(owed, reached, acks);
    }

    fn answer(&self, owed: Owed, reached: Level, acks: &mut Acks) {
        let part = PublishedPart { log_start: self.log.start_offset(), ..owed.part };
        acks.published(owed.to, reached, part);
    }

    /// The durable offset has moved: answers the publishers who waited for that.
    pub fn settle_waiting(&mut self, acks: &mut Acks) {
        let durable = self.log.durable_offset();
        while self.waiting.front().is_some_and(|owed| owed.until() <= durable) {
            let owed = self.waiting.pop_front().expect("it was there a moment ago");
            self.answer(owed, Level::Durable, acks);
        }
    }

    /// The partition is fenced: nobody who waits for the disk will see it.
    pub fn fail_waiting(&mut self, acks: &mut Acks) {
        for owed in std::mem::take(&mut self.waiting) {
            let refusal =
                Refusal::new(ErrorCode::StorageError, "the disk failed before the records were durable")
                    .hint("they may or may not be there after a restart; send them again");
            acks.refused(owed.to, refusal);
        }
    }

    /// What the broker's total of unsynced bytes has of this partition; from here on it is `now`.
    pub fn counted_unsynced(&mut self, now: u64) -> u64 {
        std::mem::replace(&mut self.counted, now)
    }

    /// Whether a segment was rolled since the last call.
    pub fn take_rolled(&mut self) -> bool {
        let segments = self.log.segment_count();
        std::mem::replace(&mut self.segments, segments) < segments
    }

    /// Gives the tail a buffer, unless it has one.
    pub fn lend_tail(&mut self, spare: &mut Vec<Vec<u8>>) {
        if self.tail.capacity() == 0 {
            self.tail = spare.pop().unwrap_or_default();
        }
    }

    /// Takes the tail's buffer back when it is written, so that an idle partition holds none. A few are kept for the
    /// next turn, because fresh memory is slow to touch.
    pub fn return_tail(&mut self, spare: &mut Vec<Vec<u8>>) {
        const SPARES: usize = 8;
        let tail = std::mem::take(&mut self.tail);
        assert!(tail.is_empty(), "a tail is written before its buffer goes");
        if spare.len() < SPARES && tail.capacity() <= 2 * TAIL_MOST {
            spare.push(tail);
        }
    }
}

/// The part of a topic's settings that its logs need.
pub fn log_settings(settings: &TopicSettings) -> LogSettings {
    // Only sealed segments are cleaned.
    let soonest = if settings.cleanup.compacts() { settings.max_compaction_lag_ms as u64 } else { u64::MAX };
    LogSettings {
        segment_bytes: settings.segment_bytes,
        segment_ms: settings.segment_ms.min(soonest),
        index_interval_bytes: settings.index_interval_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::sync::Arc;

    use krappy_wire::batch::Records;
    use krappy_wire::native::PlainWriter;

    use crate::api::{ConnId, Parts, Reply, ReplyTo};
    use crate::chunk::Buffers;
    use crate::disk::Disk;
    use crate::disk::sim::SimDisk;
    use crate::segment::Read;

    const NOW: Now = Now { time: Time(0), wall: 1_000 };
    const VALUE: usize = 1_000;

    /// One partition on a simulated disk, within one turn of the loop.
    struct Turn {
        disk: Arc<dyn Disk>,
        partition: Partition,
        acks: Acks,
        metrics: Metrics,
        /// Replies in the order in which they came: slot, level and where the record went.
        replies: Vec<(u64, Level, PublishedPart)>,
    }

    impl Turn {
        fn begin() -> Self {
            let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
            let (dir, settings) = (Path::new("/0"), TopicSettings::default());
            Log::create(&*disk, dir).unwrap();
            let (log, _) = Log::open(&disk, dir, true, None, &log_settings(&settings), &mut |_| {}).unwrap();
            let partition = Partition::new(TopicKey(0), 0, dir.into(), log, &settings, 1);
            let (acks, metrics) = (Acks::default(), Metrics::default());
            Turn { disk, partition, acks, metrics, replies: Vec::new() }
        }

        /// One publish of one record by a client of its own, as the broker passes it on.
        fn publish(&mut self, client: u32, level: Level) {
            let conn = ConnId { key: client, generation: 1 };
            let to = AckTo::Client(ReplyTo { conn, slot: client.into() });
            let value = [client as u8; VALUE];
            let Turn { partition, acks, metrics, .. } = self;
            if client.is_multiple_of(7) {
                let mut bytes = Vec::new();
                let mut builder = Builder::open(&mut bytes, NOW.wall);
                builder.push(&mut bytes, NOW.wall, None, Some(&value), std::iter::empty());
                builder.close(&mut bytes, 0, -1, None);
                partition.append_batch(to, level, &bytes, NOW, acks, metrics);
            } else {
                let mut plain = PlainWriter::default();
                plain.push(-1, None, Some(&value), &[]);
                partition.append_plain(to, level, &plain.records(), |_| true, NOW, acks);
            }
            partition.bound_tail(NOW, acks, metrics);
            self.hear();
        }

        fn hear(&mut self) {
            let mut ready = Vec::new();
            self.acks.take_ready(&mut ready);
            for (to, reply) in ready {
                let Reply::Published { level, parts: Parts::One(part) } = reply else { panic!("{reply:?}") };
                self.replies.push((to.slot, level, part));
            }
        }

        fn end(&mut self) {
            self.partition.write_tail(NOW, &mut self.acks, &mut self.metrics);
            self.hear();
        }

        fn sync(&mut self) {
            let sync = self.partition.log.begin_sync(false).expect("something is unsynced");
            let done = sync.run(&*self.disk);
            self.partition.log.synced(done).unwrap();
            self.partition.settle_waiting(&mut self.acks);
            self.hear();
        }

        /// First byte of each value in the log, in the order of offsets.
        fn stored(&self) -> Vec<u8> {
            let (log, mut buffers) = (&self.partition.log, Buffers::new(4 << 20));
            let (mut at, mut values) = (log.start_offset(), Vec::new());
            while at < log.end_offset() {
                let (chunk, next) = match log.read(at, log.end_offset(), 1 << 20, &mut buffers).unwrap() {
                    Read::Batches { chunk, next } => (chunk, next),
                    Read::Cold(warm) => {
                        warm.run().unwrap();
                        continue;
                    }
                    Read::Empty => panic!("nothing at {at}"),
                };
                let mut rest = chunk.as_slice();
                while !rest.is_empty() {
                    let (_, one) = batch::first(rest).unwrap();
                    for record in Records::new(one).unwrap().map(Result::unwrap) {
                        assert_eq!(record.offset, values.len() as i64);
                        values.push(record.value.unwrap()[0]);
                    }
                    rest = &rest[one.len()..];
                }
                at = next;
            }
            values
        }
    }

    #[test]
    fn many_small_publishes_in_one_turn_are_written_as_soon_as_the_tail_has_a_mebibyte() {
        let mut turn = Turn::begin();
        let clients = (5 * TAIL_MOST / 2 / VALUE) as u32;
        let (mut writes, mut gathered) = (0, 0);
        for client in 0..clients {
            let level = if client.is_multiple_of(2) { Level::Appended } else { Level::Durable };
            let before = turn.partition.log.end_offset();
            turn.publish(client, level);
            let tail = turn.partition.tail.len();
            assert!(tail < TAIL_MOST, "client {client} leaves {tail} bytes behind");
            if turn.partition.log.end_offset() == before {
                assert!(tail > gathered, "client {client} is gathered");
            } else {
                // The record that reaches the bound is written with all that was gathered before it, and no earlier.
                assert!(gathered + 2 * VALUE >= TAIL_MOST, "written at {gathered} bytes already");
                assert_eq!((turn.partition.log.end_offset(), tail), (i64::from(client) + 1, 0));
                writes += 1;
            }
            gathered = tail;
        }
        assert_eq!(writes, 2);
        assert!(
            turn.partition.log.end_offset() < i64::from(clients),
            "the rest waits for the end of the turn"
        );

        turn.end();
        assert_eq!(turn.partition.log.end_offset(), i64::from(clients));
        assert_eq!(turn.metrics.appended_records, clients.into());
        assert!(turn.replies.iter().all(|&(client, level, _)| client % 2 == 0 && level == Level::Appended));
        turn.sync();
        assert!(!turn.partition.has_waiting());

        turn.replies.sort_by_key(|reply| reply.0);
        let expected = (0..u64::from(clients)).map(|client| {
            let level = if client % 2 == 0 { Level::Appended } else { Level::Durable };
            let (base_offset, log_append_time) = (client as i64, -1);
            (
                client,
                level,
                PublishedPart { partition: 0, base_offset, count: 1, log_append_time, log_start: 0 },
            )
        });
        assert!(turn.replies.iter().copied().eq(expected), "everybody is answered once, with its own offset");
        assert_eq!(turn.stored(), (0..clients).map(|client| client as u8).collect::<Vec<_>>());
    }

    #[test]
    fn a_batch_that_is_sent_again_is_answered_with_its_first_offset_when_that_is_durable() {
        let mut turn = Turn::begin();
        let batch = |sequence| {
            let mut bytes = Vec::new();
            let mut builder = Builder::open(&mut bytes, NOW.wall);
            builder.push(&mut bytes, NOW.wall, None, Some(&[1]), std::iter::empty());
            let by = batch::ProducerSequence { producer_id: 9, epoch: 0, base_sequence: sequence };
            builder.close(&mut bytes, 0, -1, Some(by));
            bytes
        };
        let mut slot = 0;
        let mut send = |turn: &mut Turn, sequence, level| {
            let to = ReplyTo { conn: ConnId { key: 1, generation: 1 }, slot };
            slot += 1;
            let Turn { partition, acks, metrics, .. } = turn;
            partition.append_batch(AckTo::Client(to), level, &batch(sequence), NOW, acks, metrics);
            turn.hear();
        };
        let of = |turn: &Turn| turn.replies.iter().map(|r| (r.0, r.1, r.2.base_offset)).collect::<Vec<_>>();
        // Sent again in the same turn, before it is written; then when it is written; then when it is durable.
        send(&mut turn, 0, Level::Durable);
        send(&mut turn, 1, Level::Appended);
        send(&mut turn, 0, Level::Appended);
        assert_eq!(of(&turn), []);
        turn.end();
        assert_eq!(of(&turn), [(1, Level::Appended, 1), (2, Level::Appended, 0)]);
        send(&mut turn, 0, Level::Durable);
        send(&mut turn, 1, Level::Durable);
        assert_eq!(turn.replies.len(), 2);
        turn.sync();
        let durable = [(0, Level::Durable, 0), (3, Level::Durable, 0), (4, Level::Durable, 1)];
        assert_eq!(of(&turn)[2..], durable);
        send(&mut turn, 0, Level::Durable);
        assert_eq!(of(&turn)[5..], [(5, Level::Durable, 0)]);
        assert_eq!((turn.partition.next_offset, turn.metrics.duplicate_batches), (2, 4));
    }

    #[test]
    fn a_reply_tells_the_brokers_clock_and_the_log_start_offset() {
        let mut turn = Turn::begin();
        turn.publish(1, Level::Appended);
        turn.end();
        turn.partition.log.trim(1);
        turn.partition.rules.log_append_time = true;
        turn.publish(2, Level::Appended);
        turn.publish(7, Level::Appended);
        turn.end();
        let told: Vec<_> = turn.replies.iter().map(|r| (r.2.log_append_time, r.2.log_start)).collect();
        assert_eq!(told, [(-1, 0), (NOW.wall, 1), (NOW.wall, 1)]);
    }

    #[test]
    fn a_tail_below_the_bound_waits_for_the_end_of_the_turn() {
        let mut turn = Turn::begin();
        turn.publish(1, Level::Appended);
        assert_eq!((turn.partition.log.end_offset(), turn.replies.len()), (0, 0));
        turn.end();
        assert_eq!((turn.partition.log.end_offset(), turn.replies.len()), (1, 1));
    }
}
