//! The cleaner: writing a few neighbouring sealed segments anew, without the records that nobody needs any more.
//!
//! ```text
//!   begin_clean          step, step, step           cleaned              Swap::run         swapped
//!   on the loop  ------> on a worker        ------> on the loop  ------> on a worker ----> on the loop
//!   picks a group        judges chunk by chunk,     serves the new       renames it into   may forget the
//!   of segments          writes a file aside        file from now on     place, durably    open file again
//! ```
//!
//! A pass goes from the log start to an offset that is fixed when it begins, group by group; `pass.rs` has the loop's
//! side of it. Two passes differ only in what the view knows by then, so a pass that is given up harms nothing.
//!
//! Invariants: offsets never change, and a batch keeps the offsets that it spans. A segment with damage is left alone.
//! A step reads about as many bytes as its budget says, at most [`CHUNK_BYTES`], and at least one batch; so its memory
//! is bounded however many keys there are: that of [`Judge`], and twice the largest batch.
//!
//! [`Judge`]: super::judge::Judge
//! [`CHUNK_BYTES`]: super::judge::CHUNK_BYTES

use std::io;
use std::path::Path;
use std::sync::Arc;

use krappy_wire::batch::{self, BatchError, Header};

use super::judge::{CHUNK_BYTES, CHUNK_RECORDS, Found, Judge, Newest, Rules, Verdict};
use super::names::{cleaned_name, log_name};
use super::rewrite::{Place, Rewrite, Rewritten, thinned};
use crate::disk::{Disk, File, Open};

/// No step reads less: a header fits in.
const LEAST: usize = 256;

/// A job for a worker: cleans one group of segments, a step at a time.
pub struct Clean {
    dir: Arc<Path>,
    sources: Vec<Source>,
    judge: Judge,
    settings: Settings,
    /// The source that is read, and where.
    current: usize,
    position: u64,
    offset: i64,
    reading: Option<Arc<dyn File>>,
    buffer: Vec<u8>,
    output: Option<Output>,
    /// Batches before this position of the first source are known to stay.
    known_good: u64,
    tally: Tally,
}

/// What [`Clean`] has to know beside the segments.
pub(super) struct Settings {
    pub rules: Rules,
    /// `index.interval.bytes`
    pub index_interval_bytes: u32,
    /// Base offsets, ascending, of batches whose header must stay.
    pub keep_headers: Arc<[i64]>,
    /// What the view has to cover for its answers to count.
    pub upto: i64,
}

/// A segment of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    pub base: i64,
    pub end: i64,
    pub size: u64,
}

struct Output {
    rewrite: Rewrite,
    /// Where the current source begins in it.
    source_begins: Place,
}

/// What came of a step.
// A step moves the value once, for which no box is worth its allocation.
#[allow(clippy::large_enum_variant)]
pub enum Step {
    /// There is more to do.
    More(Clean),
    /// The group is done; hand this to [`super::Log::cleaned`].
    Done(Cleaned),
}

/// What came of a [`Clean`].
pub struct Cleaned {
    pub(super) sources: Vec<Source>,
    pub(super) outcome: io::Result<Outcome>,
}

/// A group that was gone through.
pub(super) struct Outcome {
    /// The new file, if anything has changed.
    pub rewritten: Option<Rewritten>,
    /// Whether everything, before and in this group, could be read.
    pub readable: bool,
    /// The lowest offset of a tombstone that was kept.
    pub lowest_tombstone: i64,
    pub tally: Tally,
}

/// What a group held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes of the batches that were gone through.
    pub bytes: u64,
    /// Records that their headers count.
    pub records: u64,
    /// Of these, records that stay.
    pub kept: u64,
}

impl Tally {
    fn add(&mut self, header: &Header, verdict: &Verdict<'_>) {
        let records = u64::from(header.record_count.max(0).cast_unsigned());
        self.bytes += header.size() as u64;
        self.records += records;
        self.kept += match verdict {
            Verdict::Whole => records,
            Verdict::Part(flags) => flags.iter().filter(|kept| **kept).count() as u64,
            Verdict::Empty => 0,
        };
    }
}

impl Cleaned {
    /// What was gone through; zeros if the clean failed.
    pub fn tally(&self) -> Tally {
        self.outcome.as_ref().map(|o| o.tally).unwrap_or_default()
    }
}

impl Clean {
    pub(super) fn new(dir: Arc<Path>, sources: Vec<Source>, settings: Settings, readable: bool) -> Self {
        let offset = sources.first().map_or(0, |s| s.base);
        Self {
            dir,
            sources,
            judge: Judge::new(settings.rules.clone(), readable),
            settings,
            current: 0,
            position: 0,
            offset,
            reading: None,
            buffer: Vec::new(),
            output: None,
            known_good: 0,
            tally: Tally::default(),
        }
    }

    /// Does about `budget` bytes' worth of work. Runs on a worker.
    pub fn step(mut self, disk: &dyn Disk, newest: &mut dyn Newest, budget: usize) -> Step {
        match self.advance(disk, newest, budget) {
            Ok(false) => Step::More(self),
            Ok(true) => self.done(disk),
            Err(e) => self.failed(disk, e),
        }
    }

    /// True when all sources are done.
    fn advance(&mut self, disk: &dyn Disk, newest: &mut dyn Newest, budget: usize) -> io::Result<bool> {
        let Some(source) = self.sources.get(self.current).copied() else { return Ok(true) };
        if newest.covered() < self.settings.upto {
            return Err(io::Error::other("the view covers less than it did when the clean began"));
        }
        if self.position == 0 {
            self.open(disk, source)?;
        }
        if self.position < source.size {
            let budget = budget.clamp(LEAST, CHUNK_BYTES);
            let batches = self.read_chunk(source, budget);
            if batches.is_empty() {
                return self.skip_damaged(disk);
            }
            self.take(disk, newest, &batches)?;
        }
        if self.position == source.size {
            if self.offset != source.end {
                return self.skip_damaged(disk);
            }
            self.current += 1;
            self.position = 0;
        }
        Ok(self.current == self.sources.len())
    }

    /// Begins with a source. One alone is only written anew once something in it has to go.
    fn open(&mut self, disk: &dyn Disk, source: Source) -> io::Result<()> {
        self.reading = Some(disk.open(&self.dir.join(log_name(source.base)), Open::Read)?);
        if self.output.is_none() && self.sources.len() > 1 {
            self.begin_output(disk)?;
        }
        if let Some(output) = &mut self.output {
            output.source_begins = output.rewrite.place()?;
        }
        Ok(())
    }

    fn begin_output(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let base = self.sources[0].base;
        let file = disk.open(&self.dir.join(cleaned_name(base)), Open::Replace)?;
        let mut rewrite = Rewrite::new(file, base, self.settings.index_interval_bytes);
        let source_begins = rewrite.place()?;
        self.output = Some(Output { rewrite, source_begins });
        Ok(())
    }

    /// Reads whole, intact batches that follow on each other into the buffer. None: what lies here is damaged, or the
    /// device cannot read it.
    fn read_chunk(&mut self, source: Source, budget: usize) -> Vec<Found> {
        let left = usize::try_from(source.size - self.position).unwrap_or(usize::MAX);
        let mut batches = self.fill(left.min(budget));
        // The first batch may be larger than the budget.
        if let Err(BatchError::Short) = batches
            && let Ok(header) = Header::read(&self.buffer)
            && header.size() <= left
        {
            batches = self.fill(header.size());
        }
        batches.unwrap_or_default()
    }

    /// The batches in the next `len` bytes, at least one.
    fn fill(&mut self, len: usize) -> Result<Vec<Found>, BatchError> {
        let file = self.reading.as_ref().expect("opened at its start");
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
        // An error of the device makes the bytes as unreadable as damage does.
        let filled = file.read_at(self.position, &mut self.buffer[..len]).map_err(|_| BatchError::Crc)?;
        self.buffer.truncate(filled);
        let (mut batches, mut at, mut offset, mut records) = (Vec::new(), 0, self.offset, 0);
        while at < filled && records < CHUNK_RECORDS {
            match batch::first(&self.buffer[at..]) {
                Ok((header, bytes)) if header.base_offset == offset => {
                    batches.push((header, at..at + bytes.len()));
                    at += bytes.len();
                    offset = header.next_offset();
                    records += header.record_count.max(0) as usize;
                }
                _ if at > 0 => break,
                Ok(_) => return Err(BatchError::Crc),
                Err(e) => return Err(e),
            }
        }
        Ok(batches)
    }

    /// Judges the batches in the buffer and writes what stays of them.
    fn take(&mut self, disk: &dyn Disk, newest: &mut dyn Newest, batches: &[Found]) -> io::Result<()> {
        let known = self.current == 0 && self.position < self.known_good;
        let judged = match known {
            true => batches
                .iter()
                .take_while(|(_, at)| self.position + (at.start as u64) < self.known_good)
                .count(),
            false => self.judge.judge(&self.buffer, batches, newest)?,
        };
        let batches = &batches[..judged];
        let changed = !known && (0..judged).any(|i| self.judge.verdict(i) != Verdict::Whole);
        if changed && self.output.is_none() {
            return self.start_over(disk);
        }
        for (i, (header, at)) in batches.iter().enumerate() {
            let verdict = if known { Verdict::Whole } else { self.judge.verdict(i) };
            let bytes = &self.buffer[at.clone()];
            self.tally.add(header, &verdict);
            if let Some(output) = &mut self.output {
                write(&mut output.rewrite, &self.settings, header, bytes, verdict)?;
            }
        }
        let (header, at) = batches.last().expect("at least one is judged");
        self.position += at.end as u64;
        self.offset = header.next_offset();
        Ok(())
    }

    /// The first record that has to go was found. What lies before it is copied, and this chunk judged once more.
    fn start_over(&mut self, disk: &dyn Disk) -> io::Result<()> {
        self.begin_output(disk)?;
        self.known_good = self.position;
        self.position = 0;
        self.offset = self.sources[0].base;
        self.tally = Tally::default();
        Ok(())
    }

    /// The current source is damaged: the group ends before it. If it is the first, it is left as it is, and what it
    /// may hide is not forgotten.
    fn skip_damaged(&mut self, disk: &dyn Disk) -> io::Result<bool> {
        if self.current == 0 {
            self.sources.truncate(1);
            self.judge.readable = false;
            self.drop_output(disk);
        } else {
            let output = self.output.as_mut().expect("a group of several is always written");
            output.rewrite.go_back(&output.source_begins)?;
            self.sources.truncate(self.current);
        }
        Ok(true)
    }

    fn done(mut self, disk: &dyn Disk) -> Step {
        let rewritten = match self.output.take().map(|output| output.rewrite.finish()).transpose() {
            Ok(rewritten) => rewritten,
            Err(e) => return self.failed(disk, e),
        };
        let outcome = Outcome {
            rewritten,
            readable: self.judge.readable,
            lowest_tombstone: self.judge.lowest_tombstone,
            tally: self.tally,
        };
        Step::Done(Cleaned { sources: self.sources, outcome: Ok(outcome) })
    }

    fn failed(mut self, disk: &dyn Disk, error: io::Error) -> Step {
        self.drop_output(disk);
        Step::Done(Cleaned { sources: self.sources, outcome: Err(error) })
    }

    /// A file that was begun in vain. If it cannot be removed, the next start does it.
    fn drop_output(&mut self, disk: &dyn Disk) {
        let begun = self.output.take().is_some();
        if begun && let Some(first) = self.sources.first() {
            let _ = disk.remove_file(&self.dir.join(cleaned_name(first.base)));
        }
    }
}

fn write(
    out: &mut Rewrite,
    settings: &Settings,
    header: &Header,
    bytes: &[u8],
    verdict: Verdict<'_>,
) -> io::Result<()> {
    let alone = settings.keep_headers.binary_search(&header.base_offset).is_ok();
    match verdict {
        Verdict::Whole if header.record_count == 0 && !header.is_control() => out.push_empty(header, alone),
        Verdict::Whole => out.push(header, bytes),
        Verdict::Empty => out.push_empty(header, alone),
        Verdict::Part(flags) => {
            let (header, bytes) =
                thinned(bytes, flags, settings.rules.inflate_cap).map_err(io::Error::other)?;
            out.push(&header, &bytes)
        }
    }
}
