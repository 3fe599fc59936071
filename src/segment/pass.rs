//! The loop's side of the cleaner: when a pass begins, which segments come next, and what becomes of the result.
//!
//! ```text
//!  log start           progress.upto         pass.upto        durable, covered, old enough
//!   v                        v                    v                    v
//!  [ sealed ][ sealed ][ sealed ][ sealed ][ sealed ][ sealed ][ active ...
//!    cleaned by an earlier pass  |  dirty              not yet
//!              ^ pass.next
//! ```
//!
//! Invariants: at most one [`Clean`] or [`Swap`] is under way. The offset at which a pass ends is fixed when it begins,
//! and the view covers all of it by then: so a tombstone that a pass drops hides nothing that the same pass has kept.

use std::io;
use std::sync::Arc;

use super::Log;
use super::clean::{Clean, Cleaned, Outcome, Settings, Source};
use super::judge::Rules;
use super::progress::Progress;
use super::rewrite::Rewritten;
use super::segment::{Backing, Segment};
use super::swap::{Swap, Swapped, What};

/// What decides whether and how a log is cleaned, under Kafka's names.
#[derive(Debug, Clone)]
pub struct CleanSettings {
    /// Wall clock, milliseconds since 1970.
    pub now_ms: i64,
    /// `delete.retention.ms`: a tombstone stays at least this long after its timestamp.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: segments with a record younger than this are left alone; 0 is none.
    pub min_lag_ms: i64,
    /// `max.compaction.lag.ms`: a segment that has waited longer is cleaned whatever the dirty ratio is.
    pub max_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`: a pass begins when more of the bytes than this are dirty.
    pub min_dirty_ratio: f64,
    /// `segment.bytes`: neighbouring segments are joined as long as they are not larger together.
    pub segment_bytes: u64,
    /// `index.interval.bytes`: bytes between two index entries, at least.
    pub index_interval_bytes: u32,
    /// Bytes that the records of one compressed batch may have; a batch with more stays as it is.
    pub inflate_cap: usize,
    /// Base offsets, ascending, of batches whose header stays even if all their records go: those by which idempotent
    /// producers are recognised.
    pub keep_headers: Arc<[i64]>,
}

/// How much there is to clean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dirty {
    /// Bytes of segments that could be cleaned and have not been.
    pub bytes: u64,
    /// Their share in the bytes of all segments that could be cleaned, from 0 to 1.
    pub ratio: f64,
    /// `max.compaction.lag.ms` has passed for the oldest of them.
    pub overdue: bool,
}

/// What a log knows of its cleaning.
#[derive(Default)]
pub(super) struct Cleaning {
    pub progress: Progress,
    pass: Option<Pass>,
    busy: Busy,
}

/// A pass from the log start on.
struct Pass {
    /// The next segment to look at begins here or behind.
    next: i64,
    /// Where the pass ends.
    upto: i64,
    /// Whether everything so far could be read.
    readable: bool,
    /// The lowest offset of a tombstone that was kept.
    lowest_tombstone: i64,
}

#[derive(Default)]
enum Busy {
    #[default]
    No,
    Cleaning,
    /// With the segment that is being put in place, and what the pass has reached if this is its end.
    Swapping {
        base: Option<i64>,
        progress: Option<Progress>,
    },
}

impl Cleaning {
    /// What an earlier process has reached.
    pub fn restored(progress: Progress) -> Self {
        Self { progress, ..Self::default() }
    }
}

impl Log {
    /// How much a pass would find to do. `covered`: every record below is in the view's durable files.
    pub fn dirty(&self, settings: &CleanSettings, covered: i64) -> Dirty {
        let segments = self.cleanable(settings, covered);
        let is_dirty = |s: &&Segment| s.end > self.cleaning.progress.upto;
        let sum = |segments: &mut dyn Iterator<Item = &Segment>| segments.map(|s| s.size).sum::<u64>();
        let (all, bytes) =
            (sum(&mut segments.iter().copied()), sum(&mut segments.iter().copied().filter(is_dirty)));
        let first = segments.iter().position(is_dirty).filter(|_| bytes > 0);
        let overdue = first.is_some_and(|first| {
            let before = first.checked_sub(1).map(|i| segments[i].max_timestamp);
            let waited = settings.now_ms.saturating_sub(begun(segments[first], before));
            waited > settings.max_lag_ms
        });
        Dirty { bytes, ratio: bytes as f64 / all.max(1) as f64, overdue }
    }

    /// The next group of segments to clean, for a worker. `None` when there is nothing to do, a clean or swap is under
    /// way, or the log is fenced. A pass that has begun goes on whatever the dirty ratio is.
    pub fn begin_clean(&mut self, settings: &CleanSettings, covered: i64) -> Option<Clean> {
        if self.fenced() || !matches!(self.cleaning.busy, Busy::No) {
            return None;
        }
        if self.cleaning.pass.is_none() {
            let dirty = self.dirty(settings, covered);
            if dirty.bytes == 0 || !(dirty.overdue || dirty.ratio > settings.min_dirty_ratio) {
                return None;
            }
            let upto = self.cleanable(settings, covered).last().expect("something is dirty").end;
            let next = self.segments[0].base;
            self.cleaning.pass = Some(Pass { next, upto, readable: true, lowest_tombstone: i64::MAX });
        }
        let sources = self.next_group(settings.segment_bytes);
        let pass = self.cleaning.pass.as_ref().expect("begun above");
        let settings = Settings {
            rules: Rules {
                now_ms: settings.now_ms,
                delete_retention_ms: settings.delete_retention_ms,
                inflate_cap: settings.inflate_cap,
            },
            index_interval_bytes: settings.index_interval_bytes,
            keep_headers: settings.keep_headers.clone(),
            upto: pass.upto,
        };
        self.cleaning.busy = Busy::Cleaning;
        Some(Clean::new(self.dir.clone(), sources, settings, pass.readable))
    }

    /// Takes the outcome of the clean that was under way. From now on the log reads the cleaned file; what is returned
    /// puts it in its place on disk. `None`: nothing is to be done. An error ends the pass and nothing else; a later
    /// one begins at the front again.
    pub fn cleaned(&mut self, done: Cleaned) -> io::Result<Option<Swap>> {
        assert!(matches!(self.cleaning.busy, Busy::Cleaning), "one clean is under way");
        self.cleaning.busy = Busy::No;
        let intact = self.position_of(&done.sources);
        let outcome = match done.outcome {
            Ok(outcome) => outcome,
            // Retention was faster.
            Err(_) if intact.is_none() => return Ok(None),
            Err(e) => {
                self.cleaning.pass = None;
                return Err(e);
            }
        };
        let Outcome { rewritten, readable, lowest_tombstone, .. } = outcome;
        let what = match (rewritten, intact) {
            (Some(rewritten), Some(at)) => self.replace(at, &done.sources, rewritten),
            (Some(_), None) => What::Discard { base: done.sources[0].base },
            (None, _) => What::Nothing,
        };
        let progress = match what {
            // What is left of the group comes again.
            What::Discard { .. } => None,
            _ => self.advance(done.sources.last(), readable, lowest_tombstone),
        };
        Ok(self.hand_out(what, progress))
    }

    /// The clean that was under way was dropped, and its pass ends.
    pub fn give_up_clean(&mut self) {
        assert!(matches!(self.cleaning.busy, Busy::Cleaning), "one clean is under way");
        self.cleaning.busy = Busy::No;
        self.cleaning.pass = None;
    }

    /// Takes the outcome of the swap that was under way. After an error the log is fenced for good: nobody knows which
    /// names are durable. A start sorts it out.
    pub fn swapped(&mut self, done: Swapped) -> io::Result<()> {
        let Busy::Swapping { base, progress } = std::mem::take(&mut self.cleaning.busy) else {
            panic!("one swap is under way");
        };
        if let Err(e) = done.result {
            self.fence();
            return Err(e);
        }
        if let Some(segment) = self.segments.iter_mut().find(|s| Some(s.base) == base) {
            segment.unpin(done.index);
        }
        if let Some(progress) = progress {
            self.cleaning.progress = progress;
        }
        Ok(())
    }

    /// Whether a clean or swap is under way.
    pub fn is_cleaning(&self) -> bool {
        !matches!(self.cleaning.busy, Busy::No)
    }

    /// Whether a swap is under way: its outcome has to be handed back before the log is closed. A clean may be dropped
    /// then; what it has written is removed by the next start.
    pub fn is_swapping(&self) -> bool {
        matches!(self.cleaning.busy, Busy::Swapping { .. })
    }

    /// The end of the last whole pass, durably in place: of two records of a key below, the older one is gone, unless
    /// it could not be read.
    pub fn cleaned_upto(&self) -> i64 {
        self.cleaning.progress.upto
    }

    /// Below this offset the log holds, durably, no tombstone; and nothing that a tombstone below it has ever hidden.
    /// So the view may forget every tombstone below: nothing can come back. It moves at the end of a pass in which
    /// everything could be read, up to the end of the pass or the first tombstone that was kept.
    pub fn tombstones_below(&self) -> i64 {
        self.cleaning.progress.tombstones_below
    }

    /// The segments at the front that may be cleaned: sealed and durable before the segment that the next mark will
    /// name, with all of their index on disk, in the view, and old enough.
    fn cleanable(&self, settings: &CleanSettings, covered: i64) -> Vec<&Segment> {
        let youngest = settings.now_ms.saturating_sub(settings.min_lag_ms);
        let may = |s: &&Segment| {
            s.base < self.durable.segment
                && s.end <= covered.min(self.durable.offset)
                && s.is_settled()
                && (settings.min_lag_ms <= 0 || s.max_timestamp <= youngest)
        };
        self.segments.iter().take_while(may).collect()
    }

    /// Neighbours without a gap, together not larger than a segment, or one alone. Damaged segments are passed over;
    /// empty at the end of the pass.
    fn next_group(&mut self, segment_bytes: u64) -> Vec<Source> {
        let pass = self.cleaning.pass.as_mut().expect("a pass is under way");
        let first = self.segments.partition_point(|s| s.base < pass.next);
        let mut group: Vec<Source> = Vec::new();
        let mut bytes = 0;
        for segment in self.segments.range(first..).take_while(|s| s.end <= pass.upto) {
            if segment.has_holes() || !segment.is_settled() {
                if !group.is_empty() {
                    break;
                }
                pass.readable = false;
                continue;
            }
            bytes += segment.size;
            let fits = group.first().zip(group.last()).is_none_or(|(first, last)| {
                last.end == segment.base
                    && bytes <= segment_bytes
                    && segment.end - first.base < i64::from(u32::MAX)
            });
            if !fits {
                break;
            }
            group.push(Source { base: segment.base, end: segment.end, size: segment.size });
        }
        group
    }

    /// Where the sources lie among the segments, if all of them are still there.
    fn position_of(&self, sources: &[Source]) -> Option<usize> {
        let at = self.segments.binary_search_by_key(&sources.first()?.base, |s| s.base).ok()?;
        let there =
            self.segments.range(at..).zip(sources).filter(|(a, b)| a.base == b.base && a.end == b.end);
        (there.count() == sources.len()).then_some(at)
    }

    /// Serves the cleaned file from now on.
    fn replace(&mut self, at: usize, sources: &[Source], rewritten: Rewritten) -> What {
        let base = sources[0].base;
        let backing = Backing::opened(self.disk.clone(), self.dir.clone(), base, Vec::new(), rewritten.file);
        let index = rewritten.entries.clone();
        let new = Segment::pinned(backing, rewritten.entries);
        assert_eq!(new.end, sources.last().expect("not empty").end, "offsets never change");
        self.size += new.size;
        for old in self.segments.drain(at..at + sources.len()) {
            self.size -= old.size;
            old.backing.retire(&new);
        }
        self.segments.insert(at, new);
        self.check();
        let bases = sources.iter().map(|s| s.base).collect();
        What::Replace { bases, mark: self.begin_mark(), index }
    }

    fn hand_out(&mut self, what: What, progress: Option<Progress>) -> Option<Swap> {
        let base = match &what {
            What::Nothing if progress.is_none() => return None,
            What::Replace { bases, .. } => Some(bases[0]),
            _ => None,
        };
        self.cleaning.busy = Busy::Swapping { base, progress };
        Some(Swap { dir: self.dir.clone(), names: self.names.clone(), what, progress })
    }

    /// Notes a group that was gone through; what the pass has reached if it was the last.
    fn advance(&mut self, last: Option<&Source>, readable: bool, lowest_tombstone: i64) -> Option<Progress> {
        let pass = self.cleaning.pass.as_mut().expect("a pass is under way");
        pass.next = last.map_or(pass.upto, |last| last.end);
        pass.readable &= readable;
        pass.lowest_tombstone = pass.lowest_tombstone.min(lowest_tombstone);
        if pass.next < pass.upto {
            return None;
        }
        let before = self.cleaning.progress;
        let below = if pass.readable { pass.lowest_tombstone.min(pass.upto) } else { 0 };
        let progress = Progress {
            upto: pass.upto.max(before.upto),
            tombstones_below: below.max(before.tombstones_below),
        };
        self.cleaning.pass = None;
        Some(progress)
    }
}

/// About when the first record of a segment came, milliseconds since 1970, and not later: that is when its wait began.
fn begun(segment: &Segment, before: Option<i64>) -> i64 {
    let known = segment.first_append.or(before).unwrap_or(segment.max_timestamp);
    known.min(segment.max_timestamp)
}
