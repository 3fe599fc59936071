//! The log of one partition: its segments in order, the last of which grows.
//!
//! The poll loop owns a `Log` and appends and reads itself, because both only touch memory and the page cache. What
//! waits for the device is handed out as a value that a worker runs: [`Sync`], [`MarkWrite`], [`Unlink`], [`Warm`],
//! [`Lookup`], and [`Clean`] and [`Swap`], whose loop's side is in `pass.rs`.
//!
//! Invariants: `start_offset ≤ end_offset` and `durable_offset ≤ end_offset`; segments are sorted by base offset, do
//! not overlap, and leave a gap only where recovery has reported one; at most one [`Sync`] is under way; after an error
//! of a sync the log is fenced for good.
//!
//! [`Unlink`]: super::Unlink
//! [`Warm`]: super::Warm
//! [`Lookup`]: super::Lookup
//! [`Clean`]: super::Clean
//! [`Swap`]: super::Swap

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use super::epochs::{EpochFile, EpochWrite, Epochs};
use super::mark::{self, Boundary, Mark, MarkFile};
use super::names::log_name;
use super::pass::Cleaning;
use super::progress::Progress;
use super::segment::{Backing, Segment};
use super::sync::{MarkWrite, Names, Sync, Synced};
use crate::disk::{Disk, File, Open};

/// Index entries and the mark are written at most once per so many bytes (and at each roll), so that they cost little;
/// it bounds what an unclean start has to verify.
const MARK_INTERVAL: u64 = 16 << 20;

/// After so many rolls and cold reads, files that nobody has used in the meantime are closed: about twice as many are
/// open beside the active one.
const OPENED: u32 = 16;

/// What decides when a segment is full, and how finely it is indexed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// `segment.bytes`: a segment does not grow past this, unless a single append is larger.
    pub segment_bytes: u64,
    /// `segment.ms`: no append goes to a segment whose first append (since the process started) is older, in
    /// milliseconds.
    pub segment_ms: u64,
    /// `index.interval.bytes`: bytes between two index entries, at least.
    pub index_interval_bytes: u32,
}

/// One batch of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Bytes of the whole batch.
    pub size: u32,
    /// Largest timestamp of a record, milliseconds since 1970.
    pub max_timestamp: i64,
}

/// Why an append failed. Nothing of it will ever be read.
#[derive(Debug)]
pub enum AppendError {
    /// The log was fenced by an earlier error.
    Fenced,
    /// The disk is full, a limit was hit, or a new segment could not be made: the log is as it was before.
    Refused(io::Error),
    /// The device failed; the log is fenced now.
    Failed(io::Error),
}

impl std::fmt::Display for AppendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AppendError::Fenced => f.write_str("the log was fenced by an earlier error"),
            AppendError::Refused(e) | AppendError::Failed(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for AppendError {}

/// The log of one partition.
pub struct Log {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: Arc<Path>,
    pub(super) segments: VecDeque<Segment>,
    pub(super) log_start: i64,
    pub(super) durable: Boundary,
    pub(super) mark: Arc<MarkFile>,
    /// The leader epoch of what is appended.
    epoch: i32,
    epochs: Arc<Epochs>,
    epoch_file: Arc<EpochFile>,
    pub(super) names: Arc<Names>,
    pub(super) cleaning: Cleaning,
    pub(super) size: u64,
    unsynced_bytes: u64,
    /// Files with appends that no sync has been asked for.
    dirty: Vec<Arc<dyn File>>,
    new_names: bool,
    pub(super) syncing: Option<Syncing>,
    /// Bytes that became durable since the mark was last written; `None` if a segment was rolled.
    unmarked: Option<u64>,
    /// Rolls and cold reads since idle files were closed.
    opened: u32,
    pub(super) fenced: bool,
}

pub(super) struct Syncing {
    bytes: u64,
    /// The first segment whose index the worker may be writing.
    pub(super) index_from: i64,
}

impl Log {
    /// Makes the directory with an empty first segment, durable: file, directory and its parent are synced. Blocks:
    /// runs on a worker. May be run again after a crash in the middle.
    pub fn create(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        disk.create_dir(dir)?;
        let path = dir.join(log_name(0));
        let file = match disk.open(&path, Open::CreateNew) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let file = disk.open(&path, Open::Write)?;
                if !file.is_empty()? {
                    return Err(e);
                }
                file
            }
            other => other?,
        };
        file.sync()?;
        mark::create(disk, dir, &Mark::empty(0))?;
        disk.sync_dir(dir)?;
        match dir.parent() {
            Some(parent) => disk.sync_dir(parent),
            None => Ok(()),
        }
    }

    /// Everything in `segments` is durable, and so is what the file of the epochs says.
    pub(super) fn restored(
        disk: Arc<dyn Disk>,
        dir: Arc<Path>,
        segments: VecDeque<Segment>,
        log_start: i64,
        mark: Arc<MarkFile>,
        epochs: Epochs,
        progress: Progress,
    ) -> Self {
        let (names, epochs) = (Arc::<Names>::default(), Arc::new(epochs));
        let said = Some(epochs.clone());
        let epoch_file = Arc::new(EpochFile::new(disk.clone(), dir.clone(), names.clone(), said));
        let active = segments.back().expect("a log has an active segment");
        let durable = boundary(active);
        let size = segments.iter().map(|s| s.size).sum();
        let log = Self {
            disk,
            dir,
            log_start: log_start.max(segments[0].base),
            durable,
            mark,
            epoch: epochs.last().unwrap_or(0),
            epochs,
            epoch_file,
            names,
            cleaning: Cleaning::restored(progress),
            size,
            segments,
            unsynced_bytes: 0,
            dirty: Vec::new(),
            new_names: false,
            syncing: None,
            unmarked: Some(0),
            opened: 0,
            fenced: false,
        };
        log.check();
        log
    }

    /// The log start offset: the first that can be read.
    pub fn start_offset(&self) -> i64 {
        self.log_start
    }

    /// The next offset to assign.
    pub fn end_offset(&self) -> i64 {
        self.active().end
    }

    /// Which leader epoch begins where.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// What is appended from now on has this leader epoch; none before was larger. Epochs that claim otherwise were
    /// read from damaged headers and are forgotten.
    pub fn set_epoch(&mut self, epoch: i32) {
        self.epoch = epoch;
        if self.epochs.last().is_some_and(|last| last > epoch) {
            Arc::make_mut(&mut self.epochs).forget_newer(epoch);
        }
    }

    /// Everything below is on disk.
    pub fn durable_offset(&self) -> i64 {
        self.durable.offset
    }

    /// Bytes of all segments.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many segments there are, the active one included.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Bytes that are not known to be durable.
    pub fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes
    }

    /// Whether an error has ended appends and syncs for good.
    pub fn fenced(&self) -> bool {
        self.fenced
    }

    /// Ends appends and syncs for good.
    pub fn fence(&mut self) {
        self.fenced = true;
    }

    /// Appends whole batches whose offsets continue at [`Log::end_offset`], rolling first when it is due. `parts`
    /// together are exactly the batches, with base offsets and leader epochs set. `wall` is the wall clock in
    /// milliseconds.
    pub fn append(
        &mut self,
        parts: &[IoSlice<'_>],
        batches: &[Appended],
        settings: &LogSettings,
        wall: i64,
    ) -> Result<(), AppendError> {
        if self.fenced {
            return Err(AppendError::Fenced);
        }
        let bytes = self.check_append(parts, batches);
        let Some(last) = batches.last() else { return Ok(()) };
        if self.roll_is_due(bytes, last.last_offset, settings, wall) {
            self.roll().map_err(AppendError::Refused)?;
        }
        if self.epochs.last() != Some(self.epoch) {
            let (offset, start) = (self.end_offset(), self.log_start);
            Arc::make_mut(&mut self.epochs).begin(self.epoch, offset, start);
        }
        let file = self.active_file();
        let was_clean = self.active_is_clean(&file);
        if let Err(e) = file.write_at(self.active().size, parts) {
            return Err(self.undo_append(&*file, e));
        }
        if was_clean {
            self.dirty.push(file);
        }
        let active = self.segments.back_mut().expect("a log has an active segment");
        active.first_append.get_or_insert(wall);
        for batch in batches {
            active.push(batch, settings.index_interval_bytes);
        }
        self.size += bytes;
        self.unsynced_bytes += bytes;
        Ok(())
    }

    /// What a worker must do to make everything appended so far durable. `None` when nothing is unsynced, a sync is
    /// under way, or the log is fenced. Index entries and the mark are included now and then, and always with `mark`.
    pub fn begin_sync(&mut self, mark: bool) -> Option<Sync> {
        if self.fenced || self.syncing.is_some() {
            return None;
        }
        let mark_is_behind = self.unmarked != Some(0);
        if self.dirty.is_empty() && !(mark && mark_is_behind) {
            return None;
        }
        let mark = mark || self.unmarked.is_none_or(|bytes| bytes + self.unsynced_bytes >= MARK_INTERVAL);
        let index: Vec<_> =
            if mark { self.segments.iter().filter_map(Segment::unwritten).collect() } else { Vec::new() };
        let index_from = index.first().map_or(i64::MAX, |w| w.base);
        self.syncing = Some(Syncing { bytes: self.unsynced_bytes, index_from });
        Some(Sync {
            dir: self.dir.clone(),
            files: std::mem::take(&mut self.dirty),
            new_names: std::mem::take(&mut self.new_names).then(|| self.names.clone()),
            target: boundary(self.active()),
            index,
            mark: mark.then(|| MarkWrite { durable: boundary(self.active()), ..self.mark_write() }),
        })
    }

    /// Whether a sync should be begun even where nobody waits for one: after each roll, as Kafka does. Recovery
    /// verifies and copies what lies above the mark, so a topic that never asks for durability must not let it fall
    /// behind by more than a segment. More often would cost such a topic a third of its speed, because a sync holds up
    /// the appends beside it.
    pub fn sync_is_due(&self) -> bool {
        self.new_names && !self.dirty.is_empty() && self.syncing.is_none() && !self.fenced
    }

    /// Takes the outcome of the sync that was under way: moves the durable offset, or fences the log for good. A file
    /// whose sync has failed must never be synced again, because the kernel then answers that all is well.
    pub fn synced(&mut self, done: Synced) -> io::Result<()> {
        let syncing = self.syncing.take().expect("one sync is under way");
        if let Err(e) = done.result {
            self.fenced = true;
            return Err(e);
        }
        assert!(done.target.offset >= self.durable.offset, "the durable offset never moves back");
        self.durable = done.target;
        self.unsynced_bytes -= syncing.bytes;
        self.unmarked = match done.marked {
            // A roll in the meantime wants the next mark.
            true if self.active().base == done.target.segment => Some(0),
            true => None,
            false => self.unmarked.map(|bytes| bytes + syncing.bytes),
        };
        for (base, written) in done.index {
            if let Some(segment) = self.segments.iter_mut().find(|s| s.base == base) {
                match written {
                    Ok(count) => segment.set_written(count),
                    Err(()) => segment.index_failed(),
                }
            }
        }
        Ok(())
    }

    /// What a worker must do to make the log start offset durable.
    pub fn begin_mark(&mut self) -> MarkWrite {
        self.mark_write()
    }

    fn mark_write(&self) -> MarkWrite {
        let epochs = EpochWrite { file: self.epoch_file.clone(), epochs: self.epochs.clone() };
        MarkWrite { mark: self.mark.clone(), epochs, durable: self.durable, log_start: self.log_start }
    }

    /// The last step of a clean stop: syncs what is unsynced, completes the index and the mark. Blocks.
    pub fn close(&mut self) -> io::Result<()> {
        assert!(self.syncing.is_none(), "the last sync has been handed back");
        assert!(!self.is_swapping(), "the last swap has been handed back");
        if self.fenced {
            return Err(io::Error::other("the log was fenced by an earlier error"));
        }
        let disk = self.disk.clone();
        // The entry for the end is what lets the next start trust the index without looking at the log.
        self.segments.back_mut().expect("a log has an active segment").push_boundary();
        self.unmarked = None;
        let sync = self.begin_sync(true).expect("the mark is always behind here");
        let done = sync.run(&*disk);
        self.synced(done)?;
        self.names.sync(&*disk, &self.dir)
    }

    /// The segment that holds an offset, or the next one if it lies in a gap.
    pub(super) fn segment_at(&self, offset: i64) -> &Segment {
        self.segments_from(offset).next().unwrap_or(self.active())
    }

    /// The segments that end after an offset.
    pub(super) fn segments_from(&self, offset: i64) -> impl Iterator<Item = &Segment> {
        let first = self.segments.partition_point(|s| s.end <= offset);
        self.segments.range(first..)
    }

    fn active(&self) -> &Segment {
        self.segments.back().expect("a log has an active segment")
    }

    fn active_file(&self) -> Arc<dyn File> {
        self.active().backing.file().expect("the active segment is open").clone()
    }

    fn active_is_clean(&self, file: &Arc<dyn File>) -> bool {
        self.dirty.last().is_none_or(|last| !Arc::ptr_eq(last, file))
    }

    fn check_append(&self, parts: &[IoSlice<'_>], batches: &[Appended]) -> u64 {
        let mut next = self.end_offset();
        let mut bytes = 0;
        for batch in batches {
            assert!(batch.base_offset == next && batch.last_offset >= next, "offsets continue at the end");
            next = batch.last_offset + 1;
            bytes += u64::from(batch.size);
        }
        let given: usize = parts.iter().map(|p| p.len()).sum();
        assert_eq!(given as u64, bytes, "the parts are exactly the batches");
        bytes
    }

    fn roll_is_due(&self, bytes: u64, last_offset: i64, settings: &LogSettings, wall: i64) -> bool {
        let active = self.active();
        let too_old = active.first_append.is_some_and(|first| {
            wall.saturating_sub(first) > i64::try_from(settings.segment_ms).unwrap_or(i64::MAX)
        });
        let too_big = active.size + bytes > settings.segment_bytes || !active.can_hold(bytes, last_offset);
        active.size > 0 && (too_old || too_big)
    }

    /// Seals the active segment and starts the next one. The new name is made durable by the next sync.
    fn roll(&mut self) -> io::Result<()> {
        let base = self.end_offset();
        let file = self.disk.open(&self.dir.join(log_name(base)), Open::CreateNew)?;
        self.segments.back_mut().expect("a log has an active segment").push_boundary();
        let backing = Backing::opened(self.disk.clone(), self.dir.clone(), base, Vec::new(), file);
        self.segments.push_back(Segment::empty(backing));
        self.new_names = true;
        self.unmarked = None;
        self.note_opened();
        Ok(())
    }

    /// Another file is open, or is about to be, because of a roll or a [`Read::Cold`](super::Read). Now and then the
    /// idle ones are closed, so that neither a busy writer nor a reader who walks through the log uses up the
    /// descriptors.
    pub fn note_opened(&mut self) {
        self.opened += 1;
        if self.opened >= OPENED {
            self.opened = 0;
            self.shed();
        }
    }

    /// After a failed write nobody knows what lies behind the last good batch. A full disk is no reason to stop for
    /// good if the file can be cut back; anything else is.
    fn undo_append(&mut self, file: &dyn File, error: io::Error) -> AppendError {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull, WriteZero};
        let no_room = matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge | WriteZero);
        if no_room && file.truncate(self.active().size).is_ok() {
            return AppendError::Refused(error);
        }
        self.fenced = true;
        AppendError::Failed(error)
    }

    /// Lets files go that nobody has used in the meantime.
    pub(super) fn shed(&mut self) {
        let last = self.segments.len() - 1;
        for (i, segment) in self.segments.iter_mut().enumerate() {
            segment.shed(i == last);
        }
    }

    /// The invariants at the top of this file.
    pub(super) fn check(&self) {
        assert!(self.log_start <= self.end_offset() && self.durable.offset <= self.end_offset());
        for (a, b) in self.segments.iter().zip(self.segments.iter().skip(1)) {
            assert!(a.base <= a.end && a.end <= b.base, "segments are sorted and do not overlap");
        }
    }
}

fn boundary(segment: &Segment) -> Boundary {
    Boundary { segment: segment.base, position: segment.size, offset: segment.end }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::testing::*;
    use super::super::{Lookup, Unlink, Warm};
    use super::*;
    use crate::disk::sim::{Crash, Fault};

    #[test]
    fn what_workers_get_can_go_to_a_worker() {
        fn is_send<T: Send + 'static>() {}
        is_send::<(Sync, Synced, MarkWrite, Unlink, Warm, Lookup, Log)>();
    }

    #[test]
    fn what_is_appended_is_read_from_every_offset() {
        let mut b = Bench::new();
        for i in 0..60 {
            b.append(1 + i % 4);
        }
        assert!(b.log.segment_count() > 3, "rolled by size");
        b.sync(false);
        assert_eq!(b.log.durable_offset(), b.log.end_offset());
        let end = b.log.end_offset();
        for from in 0..end {
            let (bytes, next) = b.read(from, end, 1).unwrap().unwrap();
            let (base, batch) = b.batches.iter().rfind(|(base, _)| *base <= from).unwrap();
            assert_eq!((&bytes, next), (batch, last(*base, batch) + 1), "from {from}");
        }
        assert!(b.read(end, end, 1).unwrap().is_none());
        assert!(b.read(end + 1, end + 1, 1).is_err());
        b.check_all();
    }

    #[test]
    fn a_clean_stop_is_trusted_and_reads_the_same() {
        let mut b = Bench::new();
        for round in 0..5 {
            for i in 0..13 {
                b.append(1 + i % 3);
            }
            let report = b.reopen();
            assert!(report.clean && report.is_uneventful(), "round {round}: {report:?}");
            b.check_all();
        }
    }

    #[test]
    fn a_clean_start_changes_nothing() {
        let mut b = Bench::new();
        (0..40).for_each(|_| b.append(2));
        b.log.close().unwrap();
        let before = b.sim.calls();
        assert!(open(&b.disk, true).1.clean);
        assert_eq!(b.sim.calls(), before);
    }

    #[test]
    fn after_a_loss_of_power_the_durable_prefix_is_there() {
        for how in [Crash::KeepAll, Crash::LoseAll, Crash::Random(7)] {
            let mut b = Bench::new();
            for i in 0..40 {
                b.append(1 + i % 4);
            }
            b.sync(false);
            let durable = b.log.durable_offset();
            for _ in 0..10 {
                b.append(2);
            }
            b.sim.crash(how);
            let (log, report) = open(&b.disk, false);
            b.log = log;
            assert!(!report.clean);
            assert!(b.log.end_offset() >= durable, "{how:?}");
            b.batches.retain(|(base, _)| *base < b.log.end_offset());
            b.check_all();
        }
    }

    #[test]
    fn a_sync_covers_what_was_appended_before_it_began() {
        let mut b = Bench::new();
        assert!(b.log.begin_sync(false).is_none(), "nothing is unsynced");
        b.append(2);
        let sync = b.log.begin_sync(false).unwrap();
        let late = b.log.unsynced_bytes();
        b.append(3);
        assert!(b.log.begin_sync(false).is_none(), "one is under way");
        b.log.synced(sync.run(&*b.disk)).unwrap();
        assert_eq!((b.log.durable_offset(), b.log.end_offset()), (2, 5));
        assert_eq!(b.log.unsynced_bytes(), b.log.size() - late);
        b.sync(false);
        assert_eq!((b.log.durable_offset(), b.log.unsynced_bytes()), (5, 0));
        assert!(b.log.begin_sync(true).is_some(), "the mark is behind");
    }

    #[test]
    fn the_mark_is_written_at_a_roll_and_not_at_every_sync() {
        let mut b = Bench::new();
        let end_on_disk = |b: &Bench| {
            let bytes = b.sim.raw_durable(&Path::new(DIR).join("mark")).unwrap();
            mark::newest(&bytes).unwrap().durable.offset
        };
        b.append(1);
        b.sync(false);
        assert_eq!(end_on_disk(&b), 0);
        while b.log.segment_count() == 1 {
            assert!(!b.log.sync_is_due());
            b.append(1);
        }
        assert!(b.log.sync_is_due());
        b.sync(false);
        assert_eq!(end_on_disk(&b), b.log.end_offset());
        b.append(1);
        b.sync(true);
        assert_eq!(end_on_disk(&b), b.log.end_offset());
    }

    #[test]
    fn a_failed_sync_fences_the_log_for_good() {
        let mut b = Bench::new();
        b.append(1);
        b.sync(false);
        b.append(1);
        b.sim.fail_sync(1, Fault::Io);
        let done = b.log.begin_sync(false).unwrap().run(&*b.disk);
        assert!(b.log.synced(done).is_err());
        assert!(b.log.fenced() && b.log.begin_sync(true).is_none());
        assert_eq!(b.log.durable_offset(), 1, "the durable offset stays");
        assert!(matches!(b.try_append(1), Err(AppendError::Fenced)));
        assert!(b.log.close().is_err(), "no clean stop after that");
        assert!(b.read(0, 1, 1).unwrap().is_some(), "what is durable is still served");
    }

    #[test]
    fn a_full_disk_refuses_an_append_and_harms_nothing() {
        let mut b = Bench::new();
        b.append(3);
        let size = b.log.size();
        b.sim.fail_after(1, Fault::NoSpace);
        assert!(matches!(b.try_append(2), Err(AppendError::Refused(_))));
        assert_eq!((b.log.size(), b.log.end_offset(), b.log.fenced()), (size, 3, false));
        let log = Path::new(DIR).join(log_name(0));
        assert_eq!(b.sim.raw(&log).unwrap().len() as u64, size, "half a batch is cut off again");
        b.append(2);
        b.sync(false);
        b.check_all();
    }

    #[test]
    fn a_failing_device_fences_the_log() {
        let mut b = Bench::new();
        b.append(3);
        b.sim.fail_after(1, Fault::Io);
        assert!(matches!(b.try_append(2), Err(AppendError::Failed(_))));
        assert!(b.log.fenced());
    }

    #[test]
    fn a_segment_is_rolled_when_its_first_append_is_old() {
        let mut b = Bench::new();
        b.append(1);
        b.wall += 10_000;
        b.append(1);
        assert_eq!(b.log.segment_count(), 1);
        b.wall += 1;
        b.append(1);
        assert_eq!(b.log.segment_count(), 2);
        b.check_all();
    }

    #[test]
    fn every_header_from_an_offset_on_is_visited() {
        let mut b = Bench::new();
        for i in 0..40 {
            b.append(1 + i % 3);
        }
        b.log.close().unwrap();
        for from in 0..b.log.end_offset() {
            let mut seen = Vec::new();
            let mut visit = |h: &krappy_wire::batch::Header| seen.push(h.base_offset);
            Log::open(&b.disk, Path::new(DIR), true, Some(from), &settings(), &mut visit).unwrap();
            let expected: Vec<_> = b
                .batches
                .iter()
                .filter(|(base, bytes)| last(*base, bytes) >= from)
                .map(|(b, _)| *b)
                .collect();
            assert_eq!(seen, expected, "from {from}");
        }
    }

    #[test]
    fn unused_segments_let_go_of_their_index() {
        let mut b = Bench::new();
        (0..80).for_each(|_| b.append(2));
        b.sync(true);
        b.check_all();
        // Once to see that they were used, once to see that they were not.
        assert!(b.log.expire(0, -1, -1, None).is_none());
        assert!(b.log.expire(0, -1, -1, None).is_none());
        let sealed = &b.log.segments[0];
        assert!(sealed.backing.file().is_none() && sealed.around(5).is_none(), "nothing is in memory");
        b.check_all();
        assert!(b.log.segments[0].around(5).is_some());
        b.append(1);
        b.sync(true);
        assert!(b.reopen().is_uneventful());
        b.check_all();
    }
}
