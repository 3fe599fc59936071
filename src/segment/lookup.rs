//! Finding a record by its timestamp: the first that is not older than a moment, or the newest of all.
//!
//! Invariant: every record before the answer to the first question, from the log start offset on, is older than the
//! moment; no record is newer than the answer to the second, and none before it as new. Compressed batches are opened
//! for it. One that cannot be opened stands for its first offset and its max timestamp, and a batch whose header says
//! too little about its newest record may be passed over: that header is the producer's word.

use std::cmp::Reverse;
use std::io;
use std::sync::Arc;

use krappy_wire::batch::{self, Header, Record};
use krappy_wire::compress;

use super::Log;
use super::index::{self, Entry};
use super::segment::{Backing, Segment};
use super::walk::{Step, Walk};

/// A lookup that a worker can run; it sees the log as it was when it was made.
pub struct Lookup {
    /// Absent: the newest record.
    timestamp: Option<i64>,
    /// Records from this offset on ...
    from: i64,
    /// ... to before this one.
    until: i64,
    parts: Vec<Part>,
    /// What is unpacked.
    scratch: Vec<u8>,
}

/// A stretch of a segment that may hold the answer.
#[derive(Clone)]
struct Part {
    backing: Arc<Backing>,
    base: i64,
    /// Where it begins.
    begin: Entry,
    /// The position where it ends.
    size: u64,
    /// No timestamp in it is larger, if its headers are right.
    newest: i64,
    /// Before this, nothing is as new as what is looked for, if the index must not be loaded to say so.
    start: Option<Entry>,
    /// Up to where the index has to be loaded, if so.
    cold_end: Entry,
}

/// Offset and timestamp.
type Found = Option<(i64, i64)>;

#[derive(Clone, Copy)]
enum Goal {
    AtOrAfter(i64),
    Newest,
}

impl Log {
    /// The first record at or after `timestamp`, in milliseconds since 1970.
    pub fn lookup_timestamp(&self, timestamp: i64) -> Lookup {
        let segments = self.segments_from(self.start_offset()).filter(|s| s.max_timestamp >= timestamp);
        let parts = segments.map(|s| Part::new(s, timestamp)).collect();
        self.lookup(Some(timestamp), i64::MAX, parts)
    }

    /// The first of the records with the largest timestamp, among those before the offset `until`.
    pub fn lookup_max_timestamp(&self, until: i64) -> Lookup {
        let segments = self.segments_from(self.start_offset()).filter(|s| s.base < until);
        let mut parts = Vec::new();
        for segment in segments {
            // What is newest may lie beyond `until`: the stretch up to the last boundary before that is known better.
            match segment.around(until.min(segment.end)).filter(|_| until < segment.end) {
                Some(between) => parts.extend(Part::split(segment, between.at)),
                None => parts.push(Part::new(segment, segment.max_timestamp)),
            }
        }
        self.lookup(None, until, parts)
    }

    fn lookup(&self, timestamp: Option<i64>, until: i64, parts: Vec<Part>) -> Lookup {
        Lookup { timestamp, from: self.start_offset(), until, parts, scratch: Vec::new() }
    }
}

impl Lookup {
    /// Offset and timestamp of the record, if there is one. Runs on a worker.
    pub fn run(mut self) -> io::Result<Found> {
        let parts = std::mem::take(&mut self.parts);
        match self.timestamp {
            Some(timestamp) => self.first(&parts, timestamp),
            None => self.newest(parts),
        }
    }

    fn first(&mut self, parts: &[Part], timestamp: i64) -> io::Result<Found> {
        for part in parts {
            if let Some(found) = self.search(part, Goal::AtOrAfter(timestamp))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Looks where the newest record should be, and at all of a part whose newest record is out of bounds.
    fn newest(&mut self, mut parts: Vec<Part>) -> io::Result<Found> {
        parts.sort_unstable_by_key(|part| (Reverse(part.newest), part.first_offset()));
        let mut best = None;
        for part in &parts {
            if newer(best, Some((part.first_offset(), part.newest))) == best && best.is_some() {
                continue;
            }
            let found = match self.search(part, Goal::AtOrAfter(part.newest))? {
                None => self.search(part, Goal::Newest)?,
                found => found,
            };
            best = newer(best, found);
        }
        Ok(best)
    }

    fn search(&mut self, part: &Part, goal: Goal) -> io::Result<Found> {
        match self.search_in(part, goal) {
            // The file went to the cleaner while this waited for a worker. What it left over holds the answer, from its
            // start on: before this part there was none.
            Err(_) if let Some((backing, size)) = part.backing.heir() => {
                let (backing, base) = (backing.clone(), backing.base());
                let (begin, start) = (Entry::START, Some(Entry::START));
                self.search_in(&Part { backing, base, size: *size, begin, start, ..part.clone() }, goal)
            }
            other => other,
        }
    }

    fn search_in(&mut self, part: &Part, goal: Goal) -> io::Result<Found> {
        let start = match goal {
            Goal::Newest => part.begin,
            Goal::AtOrAfter(timestamp) => part.start(timestamp)?,
        };
        let file = &**part.backing.open_file()?;
        let offset = part.base + i64::from(start.relative);
        let mut found = None;
        // Damaged ranges are stepped over: what lies behind them is still the first that can be read.
        for (at, offset, limit) in part.backing.runs(u64::from(start.position), offset, part.size) {
            let mut walk = Walk::new(file, at, offset, limit, false);
            self.walk(&mut walk, goal, &mut found)?;
            if found.is_some() && matches!(goal, Goal::AtOrAfter(_)) {
                break;
            }
        }
        Ok(found)
    }

    fn walk(&mut self, walk: &mut Walk<'_>, goal: Goal, found: &mut Found) -> io::Result<()> {
        loop {
            let before = (walk.position, walk.offset);
            let Step::Batch(header, _) = walk.step()? else { return Ok(()) };
            let wanted = match goal {
                Goal::AtOrAfter(timestamp) => timestamp,
                Goal::Newest => found.map_or(i64::MIN, |(_, timestamp)| timestamp.saturating_add(1)),
            };
            if header.base_offset >= self.until {
                return Ok(());
            }
            if header.max_timestamp < wanted || header.last_offset() < self.from {
                continue;
            }
            let after = (walk.position, walk.offset);
            (walk.position, walk.offset) = before;
            *found = newer(*found, self.in_batch(&header, walk.batch(header.size())?, goal));
            (walk.position, walk.offset) = after;
            if found.is_some() && matches!(goal, Goal::AtOrAfter(_)) {
                return Ok(());
            }
        }
    }

    fn in_batch(&mut self, header: &Header, bytes: &[u8], goal: Goal) -> Found {
        let (_, batch) = batch::first(bytes).ok()?;
        let (from, until) = (self.from, self.until);
        let first_offset = header.base_offset.max(from);
        let whole_batch = (header.record_count > 0).then_some((first_offset, header.max_timestamp));
        let is_complete = header.record_count - 1 == header.last_offset_delta;
        if header.is_log_append_time() && is_complete {
            return whole_batch;
        }
        let Ok(records) = compress::records(batch, compress::MOST, &mut self.scratch) else {
            return whole_batch;
        };
        let place = |r: Record<'_>| (r.offset, r.timestamp);
        let mut places = records.flatten().map(place).filter(|(offset, _)| (from..until).contains(offset));
        match goal {
            Goal::AtOrAfter(timestamp) => places.find(|place| place.1 >= timestamp),
            Goal::Newest => places.fold(None, |best, place| newer(best, Some(place))),
        }
    }
}

/// The newer one; of two that are as new, the one with the lower offset.
fn newer(one: Found, other: Found) -> Found {
    let rank = |found: Found| found.map(|(offset, timestamp)| (timestamp, Reverse(offset)));
    if rank(other) > rank(one) { other } else { one }
}

impl Part {
    fn new(segment: &Segment, timestamp: i64) -> Self {
        Part {
            backing: segment.backing.clone(),
            base: segment.base,
            begin: Entry::START,
            size: segment.size,
            newest: segment.max_timestamp,
            start: segment.before_timestamp(timestamp),
            cold_end: segment.cold_end(),
        }
    }

    /// What lies before a boundary of a segment, and what lies behind it.
    fn split(segment: &Segment, at: Entry) -> [Self; 2] {
        let size = u64::from(at.position);
        let before = Part { size, newest: at.max_timestamp, ..Part::new(segment, at.max_timestamp) };
        [before, Part { begin: at, start: Some(at), ..Part::new(segment, segment.max_timestamp) }]
    }

    fn first_offset(&self) -> i64 {
        self.base + i64::from(self.begin.relative)
    }

    fn start(&self, timestamp: i64) -> io::Result<Entry> {
        if let Some(entry) = self.start {
            return Ok(entry);
        }
        let entries = self.backing.load_index(self.cold_end)?;
        Ok(entries[index::floor_timestamp(entries, timestamp)])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    #[test]
    fn every_timestamp_is_answered_with_the_first_record_that_is_not_older() {
        let mut b = Bench::new();
        for _ in 0..60 {
            // Records of a batch at wall, wall + 1, wall + 2.
            b.append(3);
            b.wall += 7;
        }
        b.sync(true);
        for reopened in [false, true] {
            if reopened {
                b.reopen();
            }
            for timestamp in 990..=b.wall {
                let record = |offset: i64| 1_000 + offset / 3 * 7 + offset % 3;
                let first = (0..180).find(|o| record(*o) >= timestamp);
                let found = b.log.lookup_timestamp(timestamp).run().unwrap();
                assert_eq!(found, first.map(|o| (o, record(o))), "{timestamp}");
            }
        }
        b.log.trim(100);
        assert_eq!(b.log.lookup_timestamp(0).run().unwrap().unwrap().0, 100, "nothing below the start");
    }

    #[cfg(feature = "compression")]
    #[test]
    fn compressed_batches_are_searched_to_the_record() {
        let mut b = Bench::new();
        for codec in 0..=4 {
            b.append_packed(codec, &[10, 30, 20].map(|t| t + i64::from(codec) * 100), |_| {});
        }
        for (timestamp, found) in
            [(0, (0, 10)), (11, (1, 30)), (110, (3, 110)), (311, (10, 330)), (430, (13, 430))]
        {
            assert_eq!(b.log.lookup_timestamp(timestamp).run().unwrap(), Some(found), "{timestamp}");
        }
        assert_eq!(b.log.lookup_timestamp(431).run().unwrap(), None);
        assert_eq!(b.log.lookup_max_timestamp(15).run().unwrap(), Some((13, 430)));
        assert_eq!(b.log.lookup_max_timestamp(13).run().unwrap(), Some((12, 410)));
        b.log.trim(14);
        assert_eq!(b.log.lookup_timestamp(0).run().unwrap(), Some((14, 420)));
        assert_eq!(b.log.lookup_max_timestamp(15).run().unwrap(), Some((14, 420)));
    }

    #[test]
    fn with_the_brokers_clock_the_time_of_the_batch_is_that_of_its_first_record() {
        let mut b = Bench::new();
        for codec in [0, 4] {
            b.append_packed(codec, &[10, 30, 20], |h| h.set_log_append_time(500 + i64::from(codec)));
        }
        for (timestamp, found) in [(0, Some((0, 500))), (501, Some((3, 504))), (505, None)] {
            assert_eq!(b.log.lookup_timestamp(timestamp).run().unwrap(), found, "{timestamp}");
        }
        assert_eq!(b.log.lookup_max_timestamp(6).run().unwrap(), Some((3, 504)));
    }

    #[test]
    fn a_batch_that_cannot_be_opened_is_answered_as_a_whole() {
        let mut b = Bench::new();
        b.append_packed(0, &[1_000, 1_001, 1_002], |_| {});
        b.append_packed(0, &[5_000, 5_001, 5_002, 5_003], |h| h.set_codec(4));
        assert_eq!(b.log.lookup_timestamp(5_002).run().unwrap(), Some((3, 5_003)));
        assert_eq!(b.log.lookup_max_timestamp(7).run().unwrap(), Some((3, 5_003)));
        b.log.trim(5);
        assert_eq!(b.log.lookup_timestamp(5_002).run().unwrap(), Some((5, 5_003)));
    }

    #[test]
    fn the_newest_record_is_found_wherever_the_log_begins_and_is_cut_off() {
        let mut b = Bench::new();
        assert_eq!(b.log.lookup_max_timestamp(0).run().unwrap(), None, "there is none");
        let mut seed = 7_u64;
        let mut times = Vec::new();
        for _ in 0..90 {
            let batch = [(); 3].map(|()| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 59) as i64 * 10
            });
            b.append_packed(0, &batch, |_| {});
            times.extend(batch);
        }
        assert!(b.log.segment_count() > 3);
        b.sync(true);
        for reopened in [false, true] {
            if reopened {
                b.reopen();
                (0..=40).for_each(|_| b.log.note_opened());
            }
            for until in 0..=times.len() {
                let newest = (b.log.start_offset() as usize..until).max_by_key(|o| (times[*o], -(*o as i64)));
                let found = b.log.lookup_max_timestamp(until as i64).run().unwrap();
                assert_eq!(found, newest.map(|o| (o as i64, times[o])), "before {until}");
            }
            for from in b.log.start_offset()..b.log.start_offset() + 130 {
                b.log.trim(from);
                let newest = (from as usize..times.len()).max_by_key(|o| (times[*o], -(*o as i64)));
                let found = b.log.lookup_max_timestamp(i64::MAX).run().unwrap();
                assert_eq!(found, newest.map(|o| (o as i64, times[o])), "from {from}");
            }
        }
    }

    #[test]
    fn timestamps_need_not_be_in_order() {
        let mut b = Bench::new();
        for wall in [3_000, 1_000, 2_000, 9_000, 4_000, 5_000] {
            b.wall = wall;
            (0..8).for_each(|_| b.append(1));
        }
        for (timestamp, offset) in [(0, 0), (3_000, 0), (3_001, 24), (9_000, 24)] {
            let found = b.log.lookup_timestamp(timestamp).run().unwrap();
            assert_eq!(found.map(|(o, _)| o), Some(offset), "{timestamp}");
        }
        assert_eq!(b.log.lookup_timestamp(9_001).run().unwrap(), None);
    }
}
