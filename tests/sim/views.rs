//! The judge of keyed answers: what the log says as of an offset, worked out from the segment files themselves, and
//! whether an answer is exactly that.
//!
//! Invariant: it is asked at the moment at which the server has written an answer, so the files hold everything that
//! the answer may be about. Segments are read as soon as they are sealed, before anybody cleans or deletes them, and
//! what was read is remembered across starts as far as a start has found it; so a record that the cleaner has taken is
//! still known, and so is what an answer as of an earlier offset must say.

use std::collections::BTreeMap;
use std::path::PathBuf;

use krappy::disk::sim::SimDisk;
use krappy_wire::batch;
use krappy_wire::compress;
use krappy_wire::native::{KeyState, Newest, RowRef};
use krappy_wire::tail::Tail;

use super::audit;
use super::content::{self, Id, recognise};
use super::history::{Floor, History};
use super::plan::TopicPlan;

/// A record of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rec {
    pub id: Id,
    pub timestamp: i64,
}

/// What is known of a partition's log.
#[derive(Debug, Default, Clone)]
struct Log {
    records: BTreeMap<i64, Rec>,
    /// Offsets of the records of each key, ascending.
    keys: BTreeMap<Vec<u8>, Vec<i64>>,
    /// Nothing is known of what was below.
    from: i64,
    /// Everything below has been read.
    next: i64,
    /// Base offset of the segment that is being read, and how far.
    at: Option<(i64, usize)>,
    /// Everything below is on the device for certain.
    durable: i64,
    /// Base offset of the youngest segment.
    youngest: i64,
}

/// The logs of all compacted topics.
pub struct Logs {
    disk: SimDisk,
    data: PathBuf,
    logs: BTreeMap<(String, i32), Log>,
    /// The manifest that the last start has left, by folder of the partition.
    manifests: BTreeMap<PathBuf, u64>,
}

/// Keys from `from` to before `to`.
#[derive(Debug, Clone, Default)]
pub struct Range {
    pub from: Vec<u8>,
    pub to: Option<Vec<u8>>,
}

impl Range {
    pub fn holds(&self, key: &[u8]) -> bool {
        key >= &self.from[..] && self.to.as_ref().is_none_or(|to| key < &to[..])
    }
}

/// A row as it was answered.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    pub key: Vec<u8>,
    /// Absent when only keys were asked for.
    pub id: Option<Id>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Row { partition, offset, timestamp, key, id } = self;
        let key = String::from_utf8_lossy(&key[..key.len().min(12)]);
        write!(f, "{id:x?} of {key:?} at {offset} of {partition}, {timestamp}")
    }
}

impl Row {
    /// Copies a row, if it is intact in every byte.
    pub fn of(row: &RowRef<'_>) -> Result<Row, String> {
        let id = match &row.tail {
            None => None,
            Some(tail) => {
                Some(recognise(Some(row.key), tail).ok_or_else(|| format!("{row:?} was not sent"))?)
            }
        };
        let RowRef { partition, offset, timestamp, .. } = *row;
        Ok(Row { partition, offset, timestamp, key: row.key.to_vec(), id })
    }

    fn is(&self, partition: i32, offset: i64, rec: Rec) -> bool {
        (self.partition, self.offset, self.timestamp) == (partition, offset, rec.timestamp)
            && self.id.is_none_or(|id| id == rec.id)
    }
}

/// What was asked of the offset that an answer is true at, and what was known when it was asked.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub floors: BTreeMap<i32, Floor>,
    /// The answer is to be as of these offsets, by partition.
    pub as_of: BTreeMap<i32, i64>,
    /// The answer is to show this offset of a partition.
    pub after: Option<(i32, i64)>,
    /// The topic was known to exist.
    pub exists: bool,
}

/// A page of a scan, or a whole snapshot.
pub struct Page<'a> {
    pub true_at: &'a [(i32, i64)],
    pub range: &'a Range,
    pub reverse: bool,
    /// The last row before it, if any: key and partition.
    pub behind: Option<(&'a [u8], i32)>,
    pub rows: &'a [Row],
    /// Nothing follows.
    pub is_last: bool,
}

impl Logs {
    pub fn new(disk: &SimDisk, data: PathBuf) -> Logs {
        Logs { disk: disk.clone(), data, logs: BTreeMap::new(), manifests: BTreeMap::new() }
    }

    /// The same knowledge of another disk.
    pub fn on(&self, disk: &SimDisk) -> Logs {
        let (data, logs, manifests) = (self.data.clone(), self.logs.clone(), self.manifests.clone());
        Logs { disk: disk.clone(), data, logs, manifests }
    }

    /// A start has found the log of a partition to end here.
    pub fn restarted(&mut self, topic: &str, partition: i32, end: i64) {
        let Some(log) = self.logs.get_mut(&(topic.to_owned(), partition)) else { return };
        log.records.split_off(&end);
        log.keys.clear();
        for (&offset, rec) in &log.records {
            log.keys.entry(content::key(rec.id).unwrap_or_default()).or_default().push(offset);
        }
        log.next = log.next.min(end);
        log.at = None;
        // What a start finds it has made durable.
        log.durable = log.next;
    }

    /// A start has opened the view of a partition. It goes on in a manifest with the next number; one that begins anew
    /// was thrown away, and a crash is no reason for that.
    pub fn view_opened(&mut self, topic: &str, partition: i32) -> Result<(), String> {
        let dir = audit::dir(&self.data, topic, partition);
        let number = audit::manifest(&self.disk, &dir);
        let before = number.and_then(|number| self.manifests.insert(dir, number));
        match (before, number) {
            (_, None) => Err(format!("{topic}/{partition}: has no view")),
            (Some(before), Some(number)) if number <= before => Err(format!(
                "{topic}/{partition}: the view was thrown away, a manifest {number} follows {before}"
            )),
            _ => Ok(()),
        }
    }

    /// Time has passed: reads what was sealed.
    pub fn catch_up(&mut self, topic: &str, partitions: i32) {
        for partition in 0..partitions {
            let (disk, log, segments) = self.open(topic, partition);
            if let [.., (youngest, _)] = segments[..] {
                log.youngest = youngest;
                // Damage is found by the audits.
                let _ = log.read(disk, &segments, youngest - 1);
            }
        }
    }

    /// All records that were seen in the files of a partition.
    pub fn seen(&self, topic: &str, partition: i32) -> Vec<(i64, Id)> {
        let log = self.logs.get(&(topic.to_owned(), partition));
        log.map_or(Vec::new(), |log| log.records.iter().map(|(offset, rec)| (*offset, rec.id)).collect())
    }

    fn open(&mut self, topic: &str, partition: i32) -> (&SimDisk, &mut Log, Vec<(i64, PathBuf)>) {
        let segments = audit::segments(&self.disk, &audit::dir(&self.data, topic, partition));
        (&self.disk, self.logs.entry((topic.to_owned(), partition)).or_default(), segments)
    }

    /// Reads up to an offset, which must be in the log.
    fn read_to(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(), String> {
        if self.logs.get(&(topic.to_owned(), partition)).is_some_and(|log| offset < log.next) {
            return Ok(());
        }
        let (disk, log, segments) = self.open(topic, partition);
        log.youngest = segments.last().map_or(0, |(base, _)| *base);
        log.read(disk, &segments, offset)
    }

    /// Whether everything up to an offset is on the device.
    fn is_durable(&mut self, plan: &TopicPlan, partition: i32, offset: i64) -> bool {
        let topic = plan.name;
        let log = self.logs.get_mut(&(topic.to_owned(), partition)).expect("it has been read");
        if offset < log.durable {
            return true;
        }
        let Some(rec) = log.records.get(&offset) else { return true };
        let (at, cleaned) = ((topic, partition), plan.promise.cleaned);
        if audit::is_there(&self.disk, &self.data, at, (offset, rec.id), cleaned, true) == Some(false) {
            return false;
        }
        log.durable = offset + 1;
        true
    }

    fn log(&self, topic: &str, partition: i32) -> &Log {
        &self.logs[&(topic.to_owned(), partition)]
    }

    /// The newest record of a key up to an offset that has been read.
    fn newest(&self, topic: &str, partition: i32, key: &[u8], at: i64) -> Option<(i64, Rec)> {
        let log = self.log(topic, partition);
        let offsets = log.keys.get(key)?;
        let offset = *offsets[..offsets.partition_point(|o| *o <= at)].last()?;
        Some((offset, log.records[&offset]))
    }

    /// Whether a record may be gone because somebody wants it deleted or because it is old.
    fn may_be_gone(&self, plan: &TopicPlan, partition: i32, offset: i64, history: &mut History) -> bool {
        let old = plan.promise.retention && offset < self.log(plan.name, partition).youngest;
        old || history.may_be_trimmed(plan.topic, partition, offset)
    }

    /// Checks that an answer may be true at this offset, and reads the log up to there.
    pub fn check_true_at(
        &mut self,
        plan: &TopicPlan,
        partition: i32,
        at: i64,
        wanted: &Wanted,
        history: &mut History,
    ) -> Result<(), String> {
        history.facts += 1;
        let floor = wanted.floors.get(&partition).copied().unwrap_or_default();
        match wanted.as_of.get(&partition) {
            Some(&as_of) if as_of != at => return Err(format!("asked as of {as_of}, answered as of {at}")),
            Some(_) => {}
            None if at + 1 < floor.firm_end => {
                return Err(format!("true at {at}, although {} was durable", floor.firm_end));
            }
            None => {
                if let Some((of, offset)) = wanted.after
                    && of == partition
                    && at < offset
                {
                    return Err(format!("true at {at}, although it was to show {offset}"));
                }
            }
        }
        if at < 0 {
            // There is nothing to read, but it may be asked what is there.
            self.open(plan.name, partition);
            return Ok(());
        }
        self.read_to(plan.name, partition, at)?;
        if plan.promise.durable && !self.is_durable(plan, partition, at) {
            return Err(format!("true at {at}, which is not on the device"));
        }
        Ok(())
    }

    /// Checks what was answered about one key.
    pub fn check_key(
        &mut self,
        plan: &TopicPlan,
        key: &[u8],
        state: &KeyState<'_>,
        wanted: &Wanted,
        history: &mut History,
    ) -> Result<(), String> {
        let (partition, at) = (state.partition, state.true_at);
        self.check_true_at(plan, partition, at, wanted, history)?;
        let expected = self.newest(plan.name, partition, key, at);
        let (offset, timestamp, tail) = match &state.newest {
            Newest::Absent => {
                let gone = expected.is_none_or(|(offset, rec)| {
                    plan.promise.cleaned && content::deletes(rec.id)
                        || self.may_be_gone(plan, partition, offset, history)
                });
                return if gone { Ok(()) } else { Err(format!("absent as of {at}, there is {expected:x?}")) };
            }
            Newest::Present { offset, timestamp, tail } => (*offset, *timestamp, Some(tail)),
            Newest::Deleted { offset, timestamp } => (*offset, *timestamp, None),
        };
        let trimmed = wanted.floors.get(&partition).map_or(0, |floor| floor.trimmed);
        if offset < trimmed {
            return Err(format!("{offset} is shown, although everything below {trimmed} is deleted"));
        }
        match expected {
            None if offset < self.log(plan.name, partition).from => Ok(()),
            Some((there, rec)) if (there, rec.timestamp) == (offset, timestamp) && is(key, tail, rec.id) => {
                Ok(())
            }
            _ => Err(format!("{:?} as of {at}, there is {expected:x?}", state.newest)),
        }
    }

    /// The newest record of each key of a range, deletions left out, in the order of a scan.
    fn fold(&self, plan: &TopicPlan, page: &Page<'_>) -> Vec<(Vec<u8>, i32, i64, Rec)> {
        let mut rows = Vec::new();
        for &(partition, at) in page.true_at {
            for key in self.log(plan.name, partition).keys.keys().filter(|key| page.range.holds(key)) {
                let newest = self.newest(plan.name, partition, key, at);
                if let Some((offset, rec)) = newest.filter(|(_, rec)| !content::deletes(rec.id)) {
                    rows.push((key.clone(), partition, offset, rec));
                }
            }
        }
        rows.sort_by(|a, b| {
            let by_key = if page.reverse { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) };
            by_key.then(a.1.cmp(&b.1))
        });
        let is_behind = |key: &[u8], partition: i32| {
            page.behind.is_none_or(|(last, of)| {
                let by_key = if page.reverse { last.cmp(key) } else { key.cmp(last) };
                by_key.then(partition.cmp(&of)).is_gt()
            })
        };
        rows.retain(|(key, partition, ..)| is_behind(key, *partition));
        rows
    }

    /// Checks a page of a scan.
    pub fn check_page(
        &mut self,
        plan: &TopicPlan,
        page: &Page<'_>,
        wanted: &Wanted,
        history: &mut History,
    ) -> Result<(), String> {
        for &(partition, at) in page.true_at {
            self.check_true_at(plan, partition, at, wanted, history)
                .map_err(|e| format!("partition {partition} {e}"))?;
        }
        let expected = self.fold(plan, page);
        let mut rest = expected.iter();
        for row in page.rows {
            let trimmed = wanted.floors.get(&row.partition).map_or(0, |floor| floor.trimmed);
            if row.offset < trimmed {
                return Err(format!("{row:?} is deleted, everything below {trimmed} is"));
            }
            if self.logs.get(&(plan.name.to_owned(), row.partition)).is_some_and(|log| row.offset < log.from)
            {
                continue;
            }
            loop {
                let Some((key, partition, offset, rec)) = rest.next() else {
                    return Err(format!("{row:?} should not be there as of {:?}", page.true_at));
                };
                if row.key == *key && row.is(*partition, *offset, *rec) {
                    break;
                }
                if !self.may_be_gone(plan, *partition, *offset, history) {
                    let key = key.escape_ascii().take(12).map(char::from).collect::<String>();
                    let there = (key, partition, offset, rec);
                    return Err(format!("{row:?} comes as of {:?} instead of {there:x?}", page.true_at));
                }
            }
        }
        if page.is_last {
            for (key, partition, offset, _) in rest {
                if !self.may_be_gone(plan, *partition, *offset, history) {
                    let key = key.escape_ascii().take(12).map(char::from).collect::<String>();
                    return Err(format!(
                        "{key} at {offset} of {partition} is missing as of {:?}",
                        page.true_at
                    ));
                }
            }
        }
        Ok(())
    }

    /// Checks that a row follows `next` in a partition: it is the first of the range from there on, and shown.
    pub fn check_tail(
        &mut self,
        plan: &TopicPlan,
        range: &Range,
        next: i64,
        row: &Row,
        history: &mut History,
    ) -> Result<(), String> {
        self.check_true_at(plan, row.partition, row.offset, &Wanted::default(), history)?;
        if row.offset < next {
            return Err(format!("{row:?} comes after everything below {next} has come"));
        }
        if plan.promise.cleaned {
            // What has replaced a record that does not come any more may be anywhere behind it.
            let _ = self.read_to(plan.name, row.partition, i64::MAX);
        }
        let log = self.log(plan.name, row.partition);
        if row.offset < log.from {
            return Ok(());
        }
        let in_range = |rec: &Rec| content::key(rec.id).is_some_and(|key| range.holds(&key));
        // What the cleaner may have taken is known here, and needs not come any more.
        let may_be_cleaned = |offset: i64, rec: &Rec| {
            let newest = log.keys[&content::key(rec.id).unwrap_or_default()].last();
            plan.promise.cleaned
                && (content::deletes(rec.id) || newest.is_some_and(|newest| *newest > offset))
        };
        let mut between = log.records.range(next..=row.offset).filter(|(_, rec)| in_range(rec));
        let expected = between.find(|(offset, rec)| **offset == row.offset || !may_be_cleaned(**offset, rec));
        match expected {
            Some((&offset, &rec))
                if row.is(row.partition, offset, rec) && content::key(rec.id).as_ref() == Some(&row.key) =>
            {
                Ok(())
            }
            _ => Err(format!("{row:?} follows {next}, expected was {expected:x?}")),
        }
    }

    /// Whether a watcher that has seen everything below `next` has seen all of its range.
    pub fn is_at_end(&mut self, plan: &TopicPlan, partition: i32, range: &Range, next: i64) -> bool {
        // To the end of the files, wherever that is.
        let _ = self.read_to(plan.name, partition, i64::MAX);
        let log = self.log(plan.name, partition);
        let in_range = |rec: &Rec| content::key(rec.id).is_some_and(|key| range.holds(&key));
        !log.records.range(next.min(log.next)..).any(|(_, rec)| in_range(rec))
    }

    /// Checks that a conditional publish that was answered with this offset found what it expected.
    pub fn check_won(
        &mut self,
        plan: &TopicPlan,
        partition: i32,
        offset: i64,
        id: Id,
        expected: Option<i64>,
        history: &mut History,
    ) -> Result<(), String> {
        history.facts += 1;
        self.read_to(plan.name, partition, offset)?;
        let key = content::key(id).expect("a keyed record");
        let log = self.log(plan.name, partition);
        if log.records.get(&offset).is_some_and(|rec| rec.id != id) {
            return Err(format!("{id:x} is not at {offset}"));
        }
        let before = self.newest(plan.name, partition, &key, offset - 1);
        let met = match (expected, before) {
            (Some(expected), Some((at, _))) => expected == at,
            (Some(expected), None) => expected < log.from,
            (None, None) => true,
            (None, Some((at, rec))) => {
                content::deletes(rec.id) || self.may_be_gone(plan, partition, at, history)
            }
        };
        if met {
            Ok(())
        } else {
            Err(format!("won at {offset} expecting {expected:?}, there was {before:x?}"))
        }
    }

    /// Checks that a conditional publish for `key` was refused for a reason.
    pub fn check_conflict(
        &mut self,
        plan: &TopicPlan,
        partition: i32,
        key: &[u8],
        expected: Option<i64>,
        found: Option<(i64, bool)>,
        history: &mut History,
    ) -> Result<(), String> {
        history.facts += 1;
        let Some((offset, deleted)) = found else {
            return if expected.is_some() {
                Ok(())
            } else {
                Err("expected nothing, and there is nothing".into())
            };
        };
        if expected == Some(offset) || expected.is_none() && deleted {
            return Err(format!("expected {expected:?}, and that is what is there: {found:?}"));
        }
        self.read_to(plan.name, partition, offset)?;
        let log = self.log(plan.name, partition);
        let is_it =
            |rec: &Rec| content::key(rec.id).as_deref() == Some(key) && content::deletes(rec.id) == deleted;
        let there = log.records.get(&offset);
        if offset < log.from || there.is_some_and(is_it) {
            return Ok(());
        }
        Err(format!("{found:?} is said to be the newest of {}, there is {there:x?}", key.escape_ascii()))
    }
}

/// Whether key and tail are those of a record; without a tail it must be a deletion.
fn is(key: &[u8], tail: Option<&Tail<'_>>, id: Id) -> bool {
    match tail {
        Some(tail) => recognise(Some(key), tail) == Some(id) && !content::deletes(id),
        None => content::key(id).as_deref() == Some(key) && content::deletes(id),
    }
}

impl Log {
    /// Reads on up to `offset`, which must be there. What follows the batch that holds it need not be a part of the
    /// log.
    fn read(&mut self, disk: &SimDisk, segments: &[(i64, PathBuf)], offset: i64) -> Result<(), String> {
        while self.next <= offset {
            let first = segments.first().ok_or("has no segment")?.0;
            if self.next < first {
                (self.from, self.next) = (first, first);
            }
            let n = segments.partition_point(|(base, _)| *base <= self.next) - 1;
            let (base, path) = &segments[n];
            let position = self.at.filter(|(of, _)| of == base).map_or(0, |(_, position)| position);
            let bytes = disk.raw(path).map_err(|e| format!("{}: {e}", path.display()))?;
            let read = self.read_segment(*base, &bytes, position, offset);
            if self.next > offset {
                break;
            }
            match segments.get(n + 1) {
                // A cleaned segment may have lost its last records.
                Some((base, _)) => self.next = *base,
                None => {
                    return Err(format!("{offset} is not in the log, which ends at {}: {read:?}", self.next));
                }
            }
        }
        Ok(())
    }

    fn read_segment(
        &mut self,
        base: i64,
        bytes: &[u8],
        mut position: usize,
        offset: i64,
    ) -> Result<(), String> {
        while position < bytes.len() && self.next <= offset {
            let (header, batch) = batch::first(&bytes[position..]).map_err(|e| e.to_string())?;
            position += header.size();
            if header.base_offset < self.next {
                continue;
            }
            let mut scratch = Vec::new();
            let records = compress::records(batch, compress::MOST, &mut scratch);
            for record in records.map_err(|e| e.to_string())? {
                let record = record.map_err(|e| e.to_string())?;
                let id = recognise(record.key, &record.tail).ok_or("a record that nobody sent")?;
                let rec = Rec { id, timestamp: record.timestamp };
                self.records.insert(record.offset, rec);
                self.keys.entry(record.key.unwrap_or_default().to_vec()).or_default().push(record.offset);
            }
            self.next = header.next_offset();
            self.at = Some((base, position));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{KEYED, plan};
    use super::super::producer::prepared;
    use super::*;

    use krappy::disk::{Disk, Open};
    use krappy_wire::tail::put_tail;
    use std::io::IoSlice;
    use std::path::Path;

    /// Keys of the records of the log, and whether they delete them.
    const LOG: [(u8, bool); 6] = [(1, false), (2, false), (1, false), (2, true), (3, false), (1, false)];

    fn id(offset: usize) -> Id {
        content::keyed_id(1, 5, LOG[offset].1, LOG[offset].0, offset as u32)
    }

    /// A log of six batches, the last of which is not on the device.
    fn logs() -> Logs {
        let disk = SimDisk::new(1);
        let data = Path::new("/data");
        let dir = audit::dir(data, KEYED, 0);
        for dir in dir.ancestors().collect::<Vec<_>>().into_iter().rev().skip(1) {
            disk.create_dir(dir).unwrap();
        }
        let file = disk.open(&dir.join("00000000000000000000.log"), Open::CreateNew).unwrap();
        let mut at = 0;
        for offset in 0..LOG.len() {
            let mut bytes = prepared(&[id(offset)], 100, None);
            bytes[..8].copy_from_slice(&(offset as i64).to_be_bytes());
            file.write_at(at, &[IoSlice::new(&bytes)]).unwrap();
            at += bytes.len() as u64;
            if offset + 2 == LOG.len() {
                file.sync().unwrap();
            }
        }
        Logs::new(&disk, data.to_owned())
    }

    fn history() -> History {
        let mut history = History::default();
        for n in 0..=plan(KEYED).topic {
            history.topic(&format!("topic {n}"), plan(KEYED).promise);
        }
        history
    }

    fn wanted(firm_end: i64, as_of: Option<i64>) -> Wanted {
        let floors = [(0, Floor { firm_end, ..Floor::default() })].into();
        Wanted { floors, as_of: as_of.map(|at| (0, at)).into_iter().collect(), ..Wanted::default() }
    }

    fn tail_of(offset: usize) -> Vec<u8> {
        let (mut tail, header) = (Vec::new(), content::header(id(offset)).unwrap());
        let headers = [(content::HEADER.as_bytes(), Some(&header[..]))];
        put_tail(&mut tail, content::value(id(offset)).as_deref(), headers.into_iter());
        tail
    }

    /// Whether an answer about a key passes: what it was true at, and the offset of the record that it shows.
    fn get(key: u8, true_at: i64, shown: Option<usize>, wanted: &Wanted) -> bool {
        let tail = shown.map_or(Vec::new(), tail_of);
        let newest = match shown {
            None => Newest::Absent,
            Some(n) if LOG[n].1 => Newest::Deleted { offset: n as i64, timestamp: 100 },
            Some(n) => Newest::Present { offset: n as i64, timestamp: 100, tail: Tail::read(&tail).unwrap() },
        };
        let state = KeyState { partition: 0, true_at, newest };
        let key = content::key_of(key);
        logs().check_key(&plan(KEYED), &key, &state, wanted, &mut history()).is_ok()
    }

    #[test]
    fn an_answer_about_a_key_is_what_the_log_says_at_its_offset() {
        let now = wanted(3, None);
        assert!(get(1, 2, Some(2), &now) && get(1, 4, Some(2), &now) && get(2, 4, Some(3), &now));
        assert!(get(3, 3, None, &now) && get(9, 4, None, &now));
        assert!(get(1, 0, Some(0), &wanted(3, Some(0))) && get(3, -1, None, &wanted(0, None)));
        assert!(!get(1, 1, Some(0), &now), "older than what was durable when it was asked");
        assert!(!get(1, 3, Some(2), &wanted(3, Some(2))), "not as of the offset that was asked for");
        assert!(!get(1, 4, Some(0), &now), "not the newest");
        assert!(!get(1, 4, None, &now), "left out");
        assert!(!get(2, 4, Some(1), &now), "it was deleted");
        assert!(!get(1, 5, Some(5), &now), "it is not on the device");
        assert!(!get(1, 9, Some(5), &now), "it is not in the log");
        assert!(!get(3, 3, Some(4), &now), "it came later");
        assert!(!get(2, 4, Some(2), &now), "it belongs to another key");
    }

    /// Whether a page passes: the offsets of its rows.
    fn page(true_at: i64, reverse: bool, behind: Option<u8>, rows: &[usize], is_last: bool) -> bool {
        let row = |&n: &usize| Row {
            partition: 0,
            offset: n as i64,
            timestamp: 100,
            key: content::key(id(n)).unwrap(),
            id: Some(id(n)),
        };
        let rows: Vec<_> = rows.iter().map(row).collect();
        let behind = behind.map(content::key_of);
        let page = Page {
            true_at: &[(0, true_at)],
            range: &Range::default(),
            reverse,
            behind: behind.as_ref().map(|key| (&key[..], 0)),
            rows: &rows,
            is_last,
        };
        logs().check_page(&plan(KEYED), &page, &wanted(0, None), &mut history()).is_ok()
    }

    #[test]
    fn a_page_is_what_the_log_says_in_its_order_and_whole() {
        assert!(page(4, false, None, &[2, 4], true) && page(4, true, None, &[4, 2], true));
        assert!(page(2, false, None, &[2, 1], true) && page(2, false, None, &[2], false));
        assert!(page(4, false, Some(1), &[4], true) && page(4, true, Some(3), &[2], true));
        assert!(page(-1, false, None, &[], true));
        assert!(!page(4, false, None, &[2], true), "the last page lacks a row");
        assert!(!page(4, false, None, &[4], false), "a row is left out");
        assert!(!page(4, false, None, &[4, 2], true), "in the wrong order");
        assert!(!page(4, false, None, &[2, 2, 4], true), "a row comes twice");
        assert!(!page(4, false, None, &[2, 3, 4], true), "a deletion is shown");
        assert!(!page(4, false, None, &[0, 4], true), "an older value is shown");
        assert!(!page(4, false, Some(1), &[2, 4], true), "a row of the page before comes again");
        assert!(!page(5, false, None, &[5, 4], true), "it is not on the device");
    }

    #[test]
    fn a_watcher_gets_every_record_and_the_winner_of_a_condition_follows_what_it_expected() {
        let plan = plan(KEYED);
        let row = |n: usize| Row {
            partition: 0,
            offset: n as i64,
            timestamp: 100,
            key: content::key(id(n)).unwrap(),
            id: Some(id(n)),
        };
        let range = Range { from: content::key_of(2), to: None };
        let follows =
            |next: i64, n: usize| logs().check_tail(&plan, &range, next, &row(n), &mut history()).is_ok();
        assert!(follows(0, 1) && follows(2, 3) && follows(4, 4));
        assert!(follows(0, 3), "what was replaced may have been cleaned away");
        assert!(!follows(4, 3), "it was there before");
        assert!(!follows(4, 5), "a record of the range is left out, and none of its key follows");
        let won = |offset: usize, expected: Option<i64>| {
            logs().check_won(&plan, 0, offset as i64, id(offset), expected, &mut history()).is_ok()
        };
        assert!(won(2, Some(0)) && won(0, None) && won(5, Some(2)));
        assert!(!won(5, Some(0)) && !won(2, None) && !won(3, Some(3)));
    }
}
