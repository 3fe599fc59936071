//! `krappy check`: verifies every batch, index, mark and view of a data folder.
//!
//! Invariant: it opens files for reading only. What it calls damaged, a start or a reader would run into as well.

use std::io::{self, Write};
use std::path::Path;

use krappy_wire::batch::{BatchError, Header};
use krappy_wire::compress;

use super::{deep, partitions, view};
use crate::disk::{self, Disk, File, Kind, Open};
use crate::segment::index::{self, Entry};
use crate::segment::mark::{self, Mark};
use crate::segment::survey::{self, Known};
use crate::segment::walk::{Step, Walk};
use crate::segment::{Epochs, Name, classify, epochs, index_name, log_name, progress, quarantine};

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckResult {
    /// Partitions looked at.
    pub partitions: usize,
    /// Segment files.
    pub files: usize,
    /// Intact batches.
    pub batches: u64,
    /// Records that their headers count.
    pub records: u64,
    /// Bytes of segment files.
    pub bytes: u64,
    /// Lines that began with `DAMAGED`.
    pub problems: usize,
}

impl CheckResult {
    /// 0 if all is well, else 1.
    pub fn exit_code(&self) -> i32 {
        i32::from(self.problems > 0)
    }
}

/// Checks every partition below `dir`, writing one line per segment file and one per problem. With `deep`, the views of
/// compacted partitions are compared with their logs.
pub fn check(disk: &dyn Disk, dir: &Path, deep: bool, out: &mut dyn Write) -> io::Result<CheckResult> {
    let mut result = CheckResult::default();
    for dir in partitions(disk, dir)? {
        result.partitions += 1;
        writeln!(out, "{}", dir.display())?;
        let mut checker = Checker { disk, dir: &dir, out: &mut *out, result: &mut result };
        checker.partition(deep)?;
    }
    let CheckResult { partitions, files, batches, records, bytes, problems } = result;
    writeln!(
        out,
        "{partitions} partitions, {files} segment files, {batches} batches, {records} records, {bytes} bytes: {}",
        if problems == 0 { "all good".to_owned() } else { format!("{problems} PROBLEMS") }
    )?;
    Ok(result)
}

struct Checker<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    out: &'a mut dyn Write,
    result: &'a mut CheckResult,
}

impl Checker<'_> {
    fn partition(&mut self, deep: bool) -> io::Result<()> {
        let segments = self.list()?;
        let mark = self.mark(&segments)?;
        self.quarantine()?;
        self.progress()?;
        self.epochs()?;
        let mut expected = mark.map(|m| m.log_start);
        for (i, &(base, len)) in segments.iter().enumerate() {
            let next = segments.get(i + 1).map(|(base, _)| *base);
            if let Some(expected) = expected.filter(|e| base > *e) {
                self.problem(&format!("offsets {expected}..{} are in no file", base - 1))?;
            }
            let end = self.segment(base, len, next, mark)?;
            if let Some(next) = next.filter(|next| end > *next) {
                self.problem(&format!("{} overlaps {}", log_name(base), log_name(next)))?;
            }
            expected = Some(end.max(expected.unwrap_or(0)));
        }
        let log_start = mark.map_or(0, |mark| mark.log_start);
        self.view(deep.then_some((&segments[..], log_start)))
    }

    fn view(&mut self, against: Option<(&[(i64, u64)], i64)>) -> io::Result<()> {
        let mut problems = Vec::new();
        view::check(self.disk, self.dir, self.out, &mut problems)?;
        if let Some((segments, log_start)) = against {
            deep::compare(self.disk, self.dir, segments, log_start, self.out, &mut problems)?;
        }
        for what in problems {
            self.problem(&format!("{what}; the next start builds the view anew from the log"))?;
        }
        Ok(())
    }

    fn list(&mut self) -> io::Result<Vec<(i64, u64)>> {
        let mut segments = Vec::new();
        for entry in self.disk.list(self.dir)? {
            let shown = entry.name.escape_debug();
            match classify(&entry.name) {
                Name::Unknown => writeln!(self.out, "  {shown} is not ours")?,
                Name::Temporary => {
                    writeln!(self.out, "  {shown} was left by a crash; the next start removes it")?
                }
                Name::Log(_) | Name::Index(_) if entry.kind != Kind::File => {
                    self.problem(&format!("{shown} is not an ordinary file"))?;
                }
                Name::Log(base) => segments.push((base, entry.len)),
                Name::Index(_) | Name::Known => {}
            }
        }
        Ok(segments)
    }

    fn mark(&mut self, segments: &[(i64, u64)]) -> io::Result<Option<Mark>> {
        let bytes = match disk::read_file(self.disk, &self.dir.join(mark::NAME)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.problem("the mark is missing")?;
                return Ok(None);
            }
            other => other?,
        };
        for (i, slot) in mark::slots(&bytes).iter().enumerate() {
            let used =
                bytes.get(i * mark::SLOT..(i + 1) * mark::SLOT).is_some_and(|s| s.iter().any(|b| *b != 0));
            if slot.is_none() && used {
                self.problem(&format!("slot {i} of the mark is damaged"))?;
            }
        }
        let Some(mark) = mark::newest(&bytes) else {
            self.problem("no slot of the mark is intact")?;
            return Ok(None);
        };
        let durable = mark.durable;
        let len = segments.iter().find(|(base, _)| *base == durable.segment).map(|(_, len)| *len);
        if len.is_none_or(|len| len < durable.position) {
            let name = log_name(durable.segment);
            self.problem(&format!("the mark says byte {} of {name}, which is not there", durable.position))?;
        }
        Ok(Some(mark))
    }

    fn quarantine(&mut self) -> io::Result<()> {
        match disk::read_file(self.disk, &self.dir.join(quarantine::NAME)) {
            Ok(bytes) if quarantine::parse(&bytes).is_none() => {
                self.problem("the quarantine file is damaged")
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    fn epochs(&mut self) -> io::Result<()> {
        match disk::read_file(self.disk, &self.dir.join(epochs::NAME)) {
            Ok(bytes) if Epochs::parse(&bytes).is_none() => {
                self.problem("the file epochs is damaged; the next start makes it again from the batches")
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    fn progress(&mut self) -> io::Result<()> {
        match disk::read_file(self.disk, &self.dir.join(progress::NAME)) {
            Ok(bytes) if progress::Progress::decode(&bytes).is_none() => {
                self.problem("the file cleaned is damaged; the next pass of the cleaner looks at everything")
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Checks one segment with its index; the offset after its last good batch.
    fn segment(&mut self, base: i64, len: u64, next: Option<i64>, mark: Option<Mark>) -> io::Result<i64> {
        let file = self.disk.open(&self.dir.join(log_name(base)), Open::Read)?;
        let parsed = self.read_index(base)?;
        let durable = mark.map(|m| m.durable).filter(|d| d.segment == base && d.position <= len);
        // What is below the mark or before another segment has to be whole; what is above may be torn.
        let solid = match (durable, next) {
            (Some(d), _) => (d.position, d.offset),
            (None, Some(next)) => (len, next),
            (None, None) => (0, base),
        };
        let known = Known { base, solid, anchors: &parsed, next_base: None, verify: true, interval: 4096 };
        let below = survey::solid(&*file, &known)?;
        for hole in &below.holes {
            let flaw = flaw_at(&*file, hole.from, hole.first, len)?;
            self.problem(&format!(
                "{} at byte {}, offset {}: {flaw}; good again from byte {}, offset {}",
                log_name(base),
                hole.from,
                hole.first,
                hole.to,
                hole.last + 1
            ))?;
        }
        let mut end = below.end;
        if solid.0 < len {
            let above = survey::tail(&*file, solid, len, None, 4096)?;
            if above.position < len {
                let flaw = flaw_at(&*file, above.position, above.end, len)?;
                self.problem(&format!(
                    "{} at byte {}, offset {}: {flaw}; above the mark, so the next start cuts it off",
                    log_name(base),
                    above.position,
                    above.end
                ))?;
            }
            end = above.end;
        }
        self.count(&*file, base, len, &parsed)?;
        Ok(end)
    }

    fn read_index(&mut self, base: i64) -> io::Result<Vec<Entry>> {
        match disk::read_file(self.disk, &self.dir.join(index_name(base))) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                writeln!(self.out, "  {} is missing; the next start rebuilds it", index_name(base))?;
                Ok(Vec::new())
            }
            Err(e) => Err(e),
            Ok(bytes) => {
                let parsed = index::parse(base, &bytes);
                if let Some(why) = parsed.damage {
                    self.problem(&format!("{}: {why}; the next start rebuilds it", index_name(base)))?;
                }
                Ok(parsed.entries)
            }
        }
    }

    /// Counts the good batches up to the first bad one, and holds the index against them.
    fn count(&mut self, file: &dyn File, base: i64, len: u64, entries: &[Entry]) -> io::Result<()> {
        let mut walk = Walk::new(file, 0, base, len, true);
        let mut entries = entries.iter().peekable();
        let (mut batches, mut records) = (0, 0);
        let mut unopened = Unopened::default();
        loop {
            let here = (walk.position, walk.offset - base);
            while let Some(e) = entries.next_if(|e| u64::from(e.position) <= here.0) {
                if (u64::from(e.position), i64::from(e.relative)) != here {
                    let name = index_name(base);
                    self.problem(&format!("{name}: no batch begins at byte {}", e.position))?;
                }
            }
            let before = (walk.position, walk.offset);
            let Step::Batch(header, _) = walk.step()? else { break };
            if header.codec() != 0 {
                let behind = (walk.position, walk.offset);
                (walk.position, walk.offset) = before;
                unopened.look(&header, walk.batch(header.size())?);
                (walk.position, walk.offset) = behind;
            }
            batches += 1;
            records += u64::from(header.record_count.max(0).cast_unsigned());
        }
        let (last, end) = (walk.offset - 1, walk.position);
        let rest = if end < len { format!(", then {} bytes more", len - end) } else { String::new() };
        writeln!(
            self.out,
            "  {}  {batches} batches, {records} records, offsets {base}..{last}, {end} bytes{rest}",
            log_name(base)
        )?;
        if let Some((offset, why)) = unopened.first {
            let count = unopened.count;
            writeln!(
                self.out,
                "    {count} compressed batches cannot be opened, as their producers sent them; the first at offset \
                 {offset}: {why}"
            )?;
        }
        self.result.files += 1;
        self.result.batches += batches;
        self.result.records += records;
        self.result.bytes += len;
        Ok(())
    }

    fn problem(&mut self, what: &str) -> io::Result<()> {
        self.result.problems += 1;
        writeln!(self.out, "  DAMAGED {what}")
    }
}

/// Compressed batches that are intact and yet cannot be opened. The broker stores what it has not opened, so that is no
/// damage; readers have to pass over them.
#[derive(Default)]
struct Unopened {
    count: u64,
    first: Option<(i64, BatchError)>,
    unpacked: Vec<u8>,
}

impl Unopened {
    fn look(&mut self, header: &Header, batch: &[u8]) {
        if let Err(why) = compress::records(batch, compress::MOST, &mut self.unpacked) {
            self.count += 1;
            self.first.get_or_insert((header.base_offset, why));
        }
    }
}

fn flaw_at(file: &dyn File, position: u64, offset: i64, len: u64) -> io::Result<String> {
    Ok(match Walk::new(file, position, offset, len, true).step()? {
        Step::Bad(flaw) => flaw.to_string(),
        _ => "the batch does not fit what surrounds it".to_owned(),
    })
}
