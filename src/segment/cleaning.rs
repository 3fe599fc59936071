//! The cleaner against a model: random histories, and a crash at every storage call.
//!
//! Invariant: [`History::check`] holds after every clean, crash and recovery: whatever is in the log was appended just
//! so, and whatever is missing was allowed to go.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use krappy_wire::batch::{self, Builder, Header};
use krappy_wire::compress;

use super::testing::*;
use super::{Appended, CleanSettings, CleanStep, Log, LogSettings, Newest, ReadError, Recovery};
use crate::disk::Disk;
use crate::disk::sim::{Crash, Fault, Rng, SimDisk};

const HOUR: i64 = 3_600_000;
const CAP: usize = 1 << 20;

/// A record as it was appended, or as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rec {
    offset: i64,
    timestamp: i64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// What a view would know: the newest offset of each key below `covered`.
struct View {
    newest: BTreeMap<Vec<u8>, i64>,
    covered: i64,
}

impl Newest for View {
    fn newest(&mut self, keys: &[&[u8]], into: &mut Vec<Option<i64>>) -> io::Result<()> {
        assert!(keys.is_sorted_by(|a, b| a < b), "sorted, none twice");
        into.clear();
        into.extend(keys.iter().map(|key| self.newest.get(*key).copied()));
        Ok(())
    }

    fn covered(&self) -> i64 {
        self.covered
    }
}

/// A log and everything that was ever appended to it.
struct History {
    bench: Bench,
    all: Vec<Rec>,
    /// The wall clock, milliseconds since 1970.
    now: i64,
}

fn clean_settings(now: i64) -> CleanSettings {
    CleanSettings {
        now_ms: now,
        delete_retention_ms: HOUR,
        min_lag_ms: 0,
        max_lag_ms: i64::MAX,
        min_dirty_ratio: 0.0,
        // Two or three segments are joined as they are, and more once they were cleaned.
        segment_bytes: 3 * settings().segment_bytes,
        index_interval_bytes: settings().index_interval_bytes,
        inflate_cap: CAP,
        keep_headers: Arc::default(),
    }
}

impl History {
    fn new() -> Self {
        History { bench: Bench::new(), all: Vec::new(), now: 1_000 }
    }

    fn append(&mut self, codec: i16, records: &[(u64, bool)]) {
        let base = self.bench.log.end_offset();
        let mut plain = Vec::new();
        let mut builder = Builder::open(&mut plain, self.now);
        for (i, (key, has_value)) in records.iter().enumerate() {
            let rec = Rec {
                offset: base + i as i64,
                timestamp: self.now + i as i64,
                key: format!("key {key}").into_bytes(),
                value: has_value.then(|| format!("value {}", base + i as i64).into_bytes()),
            };
            let none = std::iter::empty();
            builder.push(&mut plain, rec.timestamp, Some(&rec.key), rec.value.as_deref(), none);
            self.all.push(rec);
        }
        builder.close(&mut plain, base, 0, None);
        let bytes = packed(&plain, codec);
        let header = Header::read(&bytes).unwrap();
        let appended = Appended {
            base_offset: base,
            last_offset: header.last_offset(),
            size: bytes.len() as u32,
            max_timestamp: header.max_timestamp,
        };
        let settings = LogSettings { segment_ms: u64::MAX, ..settings() };
        self.bench.log.append(&[IoSlice::new(&bytes)], &[appended], &settings, self.now).unwrap();
    }

    fn append_random(&mut self, rng: &mut Rng, keys: u64) {
        let codec = if rng.below(3) == 0 { rng.below(5) as i16 } else { 0 };
        let records: Vec<_> = (0..1 + rng.below(4)).map(|_| (rng.below(keys), rng.below(4) != 0)).collect();
        self.append(codec, &records);
        self.now += rng.below(HOUR as u64 / 20) as i64;
    }

    fn view(&self, covered: i64) -> View {
        let below = self.all.iter().filter(|r| r.offset < covered);
        View { newest: below.map(|r| (r.key.clone(), r.offset)).collect(), covered }
    }

    /// Cleans until there is nothing more to do; the groups that were gone through.
    fn clean(&mut self, settings: &CleanSettings, covered: i64, budget: usize) -> io::Result<usize> {
        let mut view = self.view(covered);
        let disk = self.bench.disk.clone();
        let mut groups = 0;
        while let Some(mut clean) = self.bench.log.begin_clean(settings, covered) {
            groups += 1;
            let done = loop {
                match clean.step(&*disk, &mut view, budget) {
                    CleanStep::More(more) => clean = more,
                    CleanStep::Done(done) => break done,
                }
            };
            if let Some(swap) = self.bench.log.cleaned(done)? {
                self.bench.log.swapped(swap.run(&*disk))?;
            }
        }
        Ok(groups)
    }

    /// Everything that can be read, checked for continuity.
    fn content(&mut self) -> Vec<Rec> {
        let (mut at, end) = (self.bench.log.start_offset(), self.bench.log.end_offset());
        let start = at;
        let mut found = Vec::new();
        while at < end {
            let (bytes, next) = self.bench.read(at, end, 300).unwrap().expect("something is there");
            assert!(next > at);
            found.extend(records(&bytes).into_iter().filter(|r| r.offset >= start));
            at = next;
        }
        found
    }

    /// See the invariant at the top of this file.
    fn check(&mut self, how: &str) {
        let content = self.content();
        let end = self.bench.log.end_offset();
        assert!(content.is_sorted_by_key(|r| r.offset), "{how}");
        for rec in &content {
            assert_eq!(rec, &self.all[rec.offset as usize], "{how}");
        }
        let newest = self.view(end).newest;
        let present: BTreeMap<i64, &Rec> = content.iter().map(|r| (r.offset, r)).collect();
        let start = self.bench.log.start_offset();
        for rec in self.all.iter().filter(|r| (start..end).contains(&r.offset)) {
            let is_newest = newest[&rec.key] == rec.offset;
            let old_tombstone = rec.value.is_none() && self.now - rec.timestamp > HOUR;
            if present.contains_key(&rec.offset) || !is_newest {
                continue;
            }
            assert!(old_tombstone, "{how}: the newest record of a key is gone: {rec:?}");
            let hidden = content.iter().find(|r| r.key == rec.key && r.offset < rec.offset);
            assert_eq!(hidden, None, "{how}: what {rec:?} hid has come back");
        }
        let below = self.bench.log.tombstones_below();
        for rec in content.iter().filter(|r| r.offset < below) {
            assert!(rec.value.is_some(), "{how}: a tombstone below {below}");
            let last = newest[&rec.key];
            assert!(last >= below || self.all[last as usize].value.is_some(), "{how}: hidden below {below}");
        }
    }

    /// Reads from every single offset.
    fn check_every_offset(&mut self) {
        let end = self.bench.log.end_offset();
        for at in self.bench.log.start_offset()..end {
            let (bytes, next) = self.bench.read(at, end, 1).unwrap().expect("something is there");
            let (header, _) = batch::first(&bytes).unwrap();
            assert!(header.base_offset <= at && at < header.next_offset(), "{at}");
            assert!(next > at);
        }
    }

    /// What is in the log after a pass that could clean everything below `covered`.
    fn check_nothing_is_superseded(&mut self, covered: i64, how: &str) {
        let upto = self.bench.log.cleaned_upto();
        assert!(upto > 0, "{how}");
        let newest = self.view(covered).newest;
        for rec in self.content().iter().filter(|r| r.offset < upto) {
            assert_eq!(newest[&rec.key], rec.offset, "{how}: {rec:?} was superseded");
            let old = rec.value.is_none() && self.now - rec.timestamp > HOUR;
            assert!(!old, "{how}: {rec:?} is an old tombstone");
        }
    }

    /// The same history on a copy of the disk, opened after a clean stop or not.
    fn on(&self, sim: SimDisk, clean: bool) -> (History, Recovery) {
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let (log, report) = open(&disk, clean);
        let (batches, buffers) = (Vec::new(), crate::chunk::Buffers::new(1 << 20));
        let bench = Bench { sim, disk, log, batches, buffers, wall: 0, epoch: 0 };
        (History { bench, all: self.all.clone(), now: self.now }, report)
    }
}

fn packed(plain: &[u8], codec: i16) -> Vec<u8> {
    if codec == 0 {
        return plain.to_vec();
    }
    let mut header = Header::read(plain).unwrap();
    header.attributes |= codec;
    let (mut body, mut out) = (Vec::new(), Vec::new());
    if compress::pack(codec, &plain[batch::HEADER..], &mut body).is_err() {
        return plain.to_vec();
    }
    batch::with_records(&header, header.record_count, &body, &mut out);
    out
}

fn records(mut bytes: &[u8]) -> Vec<Rec> {
    let mut found = Vec::new();
    let mut expected = None;
    while !bytes.is_empty() {
        let (header, batch) = batch::first(bytes).unwrap();
        assert!(expected.is_none_or(|e| e == header.base_offset), "batches follow on each other");
        expected = Some(header.next_offset());
        let mut scratch = Vec::new();
        for record in compress::records(batch, CAP, &mut scratch).unwrap() {
            let record = record.unwrap();
            found.push(Rec {
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key.unwrap().to_vec(),
                value: record.value.map(<[u8]>::to_vec),
            });
        }
        bytes = &bytes[batch.len()..];
    }
    found
}

/// A history of a dozen segments, closed properly.
fn sample(seed: u64, batches: usize) -> History {
    let mut rng = Rng::new(seed);
    let mut h = History::new();
    for i in 0..batches {
        h.append_random(&mut rng, 12);
        if i % 7 == 0 {
            h.bench.sync(i % 2 == 0);
        }
    }
    h.now += 2 * HOUR;
    h.bench.log.close().unwrap();
    h
}

#[test]
fn random_histories_keep_the_newest_record_of_every_key() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut h = History::new();
        for round in 0..6 {
            for _ in 0..20 + rng.below(60) {
                let keys = 1 + rng.below(40);
                h.append_random(&mut rng, keys);
            }
            h.bench.sync(rng.below(2) == 0);
            let covered = match rng.below(3) {
                0 => rng.below(h.bench.log.end_offset() as u64) as i64,
                _ => h.bench.log.end_offset(),
            };
            let settings = CleanSettings {
                min_lag_ms: if rng.below(3) == 0 { HOUR } else { 0 },
                min_dirty_ratio: if rng.below(3) == 0 { 0.4 } else { 0.0 },
                ..clean_settings(h.now)
            };
            let budget = 1 << rng.below(20);
            let before = h.bench.log.size();
            h.clean(&settings, covered, budget).unwrap();
            assert!(h.bench.log.size() <= before + 4_000, "compressing again may cost a little");
            h.check(&format!("seed {seed} round {round}"));
            if rng.below(3) == 0 {
                let report = h.bench.reopen();
                assert!(report.is_uneventful(), "{report:?}");
            }
            if rng.below(4) == 0 {
                let to = rng.below(h.bench.log.end_offset() as u64) as i64;
                h.bench.log.trim(to);
                if let Some(unlink) = h.bench.log.expire(h.now, -1, -1, None) {
                    unlink.run(&*h.bench.disk).unwrap();
                }
            }
            h.now += rng.below(2 * HOUR as u64) as i64;
        }
        h.check_every_offset();
    }
}

#[test]
fn a_whole_pass_leaves_one_record_per_key_and_no_old_tombstone() {
    for seed in 0..20 {
        let base = sample(seed, 120);
        let (mut h, _) = base.on(base.bench.sim.fork(), true);
        let end = h.bench.log.end_offset();
        let before = h.bench.log.size();
        assert!(h.clean(&clean_settings(h.now), end, 700).unwrap() > 1);
        assert!(h.bench.log.size() < before);
        h.check("cleaned");
        h.check_nothing_is_superseded(end, "cleaned");
        h.check_every_offset();
        assert!(h.bench.log.tombstones_below() > 0);
        let reached = (h.bench.log.cleaned_upto(), h.bench.log.tombstones_below());
        let files = h.bench.sim.files();
        assert!(!files.iter().any(|f| f.to_string_lossy().ends_with(".cleaned")), "{files:?}");
        let report = h.bench.reopen();
        assert!(report.clean && report.is_uneventful(), "{report:?}");
        assert_eq!((h.bench.log.cleaned_upto(), h.bench.log.tombstones_below()), reached);
        h.check("reopened");
        assert!(h.bench.log.begin_clean(&clean_settings(h.now), end).is_none(), "nothing is dirty");
    }
}

#[test]
fn small_cleaned_segments_are_joined_from_pass_to_pass() {
    let mut h = History::new();
    for round in 0..6 {
        for _ in 0..60 {
            h.append(0, &[(round % 2, true), (7, true)]);
        }
        h.bench.sync(true);
        let end = h.bench.log.end_offset();
        h.clean(&clean_settings(h.now), end, 1 << 20).unwrap();
        h.check("cleaned");
    }
    assert!(h.bench.log.segment_count() <= 6, "{} segments", h.bench.log.segment_count());
    h.check_every_offset();
}

#[test]
fn what_is_not_old_durable_and_in_the_view_is_left_alone() {
    let base = sample(3, 120);
    let (mut h, _) = base.on(base.bench.sim.fork(), true);
    let end = h.bench.log.end_offset();
    let settings = clean_settings(h.now);
    let lag = CleanSettings { min_lag_ms: 1_000 * HOUR, ..settings.clone() };
    assert_eq!(h.bench.log.dirty(&lag, end).bytes, 0);
    assert!(h.bench.log.begin_clean(&lag, end).is_none());
    assert!(h.bench.log.begin_clean(&settings, 0).is_none(), "nothing is in the view");
    let picky = CleanSettings { min_dirty_ratio: 1.0, ..settings.clone() };
    assert!(h.bench.log.begin_clean(&picky, end).is_none());
    let late = CleanSettings { max_lag_ms: HOUR, ..picky.clone() };
    assert!(h.bench.log.dirty(&late, end).overdue && !h.bench.log.dirty(&picky, end).overdue);
    let clean = h.bench.log.begin_clean(&late, end).expect("overdue");
    assert!(h.bench.log.begin_clean(&late, end).is_none(), "one is under way");
    drop(clean);
    let (mut h, _) = base.on(base.bench.sim.fork(), true);
    let half = h.bench.log.end_offset() / 2;
    h.clean(&settings, half, 1 << 20).unwrap();
    assert!(h.bench.log.cleaned_upto() <= half);
    h.check("half");
    h.check_nothing_is_superseded(half, "half");
    h.bench.log.fence();
    assert!(h.bench.log.begin_clean(&settings, end).is_none(), "fenced");
}

#[test]
fn damage_is_left_alone_and_then_no_tombstone_goes() {
    let base = sample(5, 120);
    let segments: Vec<_> = base.bench.sim.files();
    let logs: Vec<_> = segments.iter().filter(|f| f.extension().is_some_and(|e| e == "log")).collect();
    assert!(logs.len() > 4);
    for (i, log) in logs[..logs.len() - 1].iter().enumerate() {
        let sim = base.bench.sim.fork();
        // In the first record, which its checksum covers.
        sim.flip_bit(log, 64 * 8).unwrap();
        let (mut h, _) = base.on(sim, true);
        let damaged = h.bench.sim.raw(log).unwrap();
        let end = h.bench.log.end_offset();
        h.clean(&clean_settings(h.now), end, 1 << 20).unwrap();
        assert!(h.bench.sim.raw(log).unwrap() == damaged, "segment {i} is as it was");
        assert!(h.bench.log.cleaned_upto() > 0);
        assert_eq!(h.bench.log.tombstones_below(), 0);
        // Behind the damage: a tombstone that is the newest record of its key is still there.
        let newest = h.view(end).newest;
        let base_offset: i64 = log.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        for rec in h.all.clone() {
            if rec.offset > base_offset + 20 && rec.value.is_none() && newest[&rec.key] == rec.offset {
                let (bytes, _) = h.bench.read(rec.offset, end, 1).unwrap().unwrap();
                assert!(records(&bytes).contains(&rec), "{rec:?} after damage in segment {i}");
            }
        }
        let mut damaged =
            (base_offset..base_offset + 9).map(|at| h.bench.read(at, end, 1)).filter(Result::is_err);
        assert!(
            matches!(damaged.next(), Some(Err(ReadError::Corrupt { .. }))),
            "the damage is still reported"
        );
    }
}

#[test]
fn a_batch_that_inflates_too_far_stays_and_tombstones_behind_it_too() {
    if compress::pack(1, b"", &mut Vec::new()).is_err() {
        return;
    }
    let mut h = History::new();
    h.append(1, &[(1, true), (2, true)]);
    h.append(0, &[(1, false), (2, true)]);
    for i in 0..60 {
        h.append(0, &[(3 + i % 2, true)]);
    }
    h.now += 2 * HOUR;
    h.bench.sync(true);
    let end = h.bench.log.end_offset();
    let tight = CleanSettings { inflate_cap: 10, ..clean_settings(h.now) };
    h.clean(&tight, end, 1 << 20).unwrap();
    let left: Vec<_> = h.content().iter().take(4).map(|r| r.offset).collect();
    assert_eq!(left, [0, 1, 2, 3]);
    assert_eq!(h.bench.log.tombstones_below(), 0);
    for i in 0..60 {
        h.append(0, &[(3 + i % 2, true)]);
    }
    h.bench.sync(true);
    h.clean(&clean_settings(h.now), h.bench.log.end_offset(), 1 << 20).unwrap();
    let left: Vec<_> = h.content().iter().take(2).map(|r| r.offset).collect();
    assert_eq!(left[0], 3, "now it was opened, and the old tombstone went with what it hid");
    assert!(h.bench.log.tombstones_below() > 3);
    h.check("cleaned");
}

/// One more step, unless it was the last.
fn further(step: CleanStep, disk: &dyn Disk, view: &mut View) -> CleanStep {
    match step {
        CleanStep::More(clean) => clean.step(disk, view, 1),
        done => done,
    }
}

#[test]
fn retention_and_reads_go_on_while_a_clean_is_under_way() {
    for steps in [0, 1, 2, 3, 5, 8, 13, 1_000] {
        let base = sample(9, 120);
        let (mut h, _) = base.on(base.bench.sim.fork(), true);
        let end = h.bench.log.end_offset();
        let settings = clean_settings(h.now);
        let mut view = h.view(end);
        let disk = h.bench.disk.clone();
        let clean = h.bench.log.begin_clean(&settings, end).expect("dirty");
        let mut step = CleanStep::More(clean);
        for _ in 0..steps {
            step = further(step, &*disk, &mut view);
        }
        // The first segment of the group expires.
        let second = h.bench.log.segments[1].base;
        h.bench.log.trim(second);
        h.bench.log.expire(h.now, -1, -1, None).unwrap().run(&*disk).unwrap();
        let done = loop {
            match further(step, &*disk, &mut view) {
                CleanStep::Done(done) => break done,
                more => step = more,
            }
        };
        h.check("before");
        if let Some(swap) = h.bench.log.cleaned(done).expect("that is no error") {
            h.check("between");
            h.bench.log.swapped(swap.run(&*disk)).unwrap();
        }
        h.check("after");
        h.clean(&settings, end, 1 << 20).unwrap();
        h.check("then");
        h.check_nothing_is_superseded(end, "then");
        assert!(!h.bench.sim.files().iter().any(|f| f.to_string_lossy().ends_with(".cleaned")));
        assert!(h.bench.reopen().is_uneventful());
        h.check("reopened");
    }
}

#[test]
fn a_segment_is_read_and_kept_between_the_clean_and_the_swap() {
    let base = sample(11, 100);
    let (mut h, _) = base.on(base.bench.sim.fork(), true);
    let (end, disk) = (h.bench.log.end_offset(), h.bench.disk.clone());
    let mut view = h.view(end);
    let old_lookups: Vec<_> =
        [0, h.now].map(|t| (t, h.bench.log.lookup_timestamp(t), h.bench.log.lookup_timestamp(t))).into();
    let clean = h.bench.log.begin_clean(&clean_settings(h.now), end).unwrap();
    let mut step = CleanStep::More(clean);
    let done = loop {
        match further(step, &*disk, &mut view) {
            CleanStep::Done(done) => break done,
            more => step = more,
        }
    };
    assert!(done.tally().kept < done.tally().records);
    let swap = h.bench.log.cleaned(done).unwrap().expect("something has gone");
    h.bench.log.trim(end);
    assert!(
        h.bench.log.expire(h.now, 0, 0, None).is_none(),
        "it cannot be removed by a name it does not have"
    );
    (0..40).for_each(|_| h.bench.log.note_opened());
    h.append(0, &[(0, true)]);
    h.bench.sync(true);
    let swapped = swap.run(&*disk);
    h.append(0, &[(0, true)]);
    h.bench.log.swapped(swapped).unwrap();
    h.bench.sync(true);
    // Lookups that waited all the while see what is left.
    for (timestamp, one, two) in old_lookups {
        let found = one.run().unwrap();
        assert_eq!(found, two.run().unwrap());
        assert_eq!(found.is_some(), timestamp == 0);
    }
    assert!(h.bench.log.expire(h.now, 0, 0, None).is_some(), "and now it can");
}

#[test]
fn headers_by_which_producers_are_known_stay() {
    for kept in [false, true] {
        let mut h = History::new();
        for _ in 0..80 {
            h.append(0, &[(1, true)]);
        }
        h.bench.sync(true);
        let keep_headers: Arc<[i64]> = if kept { [5, 6].into() } else { [].into() };
        let settings = CleanSettings { keep_headers, ..clean_settings(h.now) };
        h.clean(&settings, h.bench.log.end_offset(), 1 << 20).unwrap();
        h.check("cleaned");
        let mut headers = Vec::new();
        let mut visit = |header: &Header| headers.push((header.base_offset, header.last_offset()));
        h.bench.log.close().unwrap();
        Log::open(&h.bench.disk, Path::new(DIR), true, Some(0), &super::testing::settings(), &mut visit)
            .unwrap();
        assert_eq!(headers.contains(&(5, 5)) && headers.contains(&(6, 6)), kept, "{headers:?}");
        assert_eq!(headers[0].0, 0);
    }
}

#[test]
fn timestamps_are_looked_up_among_what_is_left() {
    let mut rng = Rng::new(4);
    let mut h = History::new();
    for _ in 0..150 {
        h.append(0, &[(rng.below(9), rng.below(3) != 0), (rng.below(90), true)]);
        h.now += 10;
    }
    h.bench.sync(true);
    h.now += 2 * HOUR;
    h.clean(&clean_settings(h.now), h.bench.log.end_offset(), 1 << 20).unwrap();
    let left = h.content();
    assert!(left.len() < h.all.len() / 2);
    for reopened in [false, true] {
        if reopened {
            h.bench.reopen();
        }
        for timestamp in 900..1_000 + 1_510 {
            let expected = left.iter().find(|r| r.timestamp >= timestamp).map(|r| (r.offset, r.timestamp));
            assert_eq!(h.bench.log.lookup_timestamp(timestamp).run().unwrap(), expected, "{timestamp}");
        }
        let newest = left.iter().max_by_key(|r| (r.timestamp, -r.offset)).map(|r| (r.offset, r.timestamp));
        let end = h.bench.log.end_offset();
        assert_eq!(h.bench.log.lookup_max_timestamp(end).run().unwrap(), newest);
    }
}

/// Cleans with a crash at call `n`; whether it came.
fn clean_with_crash(base: &History, n: u64) -> (SimDisk, bool) {
    let sim = base.bench.sim.fork();
    let (mut h, report) = base.on(sim.clone(), true);
    assert!(report.clean);
    let end = h.bench.log.end_offset();
    sim.crash_at(n);
    let result = h.clean(&clean_settings(h.now), end, 900);
    assert_eq!(result.is_err() || sim.has_crashed(), sim.has_crashed(), "{result:?}");
    (sim.clone(), sim.has_crashed())
}

#[test]
fn a_crash_at_any_storage_call_of_a_clean_loses_nothing() {
    let mut settled = 0;
    for seed in 21..24 {
        let base = sample(seed, 100);
        for n in 1.. {
            let (sim, crashed) = clean_with_crash(&base, n);
            if !crashed {
                assert!(n > 25, "only {n} calls");
                break;
            }
            for how in [Crash::KeepAll, Crash::LoseAll, Crash::Random(n), Crash::Random(n + 1_000)] {
                let sim = sim.fork();
                sim.crash(how);
                settled += recover_with_crashes(&base, &sim, &format!("seed {seed}, call {n}, {how:?}"));
            }
        }
    }
    assert!(settled > 10, "old segments lay behind a cleaned one {settled} times");
}

/// Recovers, with a crash at every call of the recovery, and once without; then the clean can be done again. How often
/// old segments were still there.
fn recover_with_crashes(base: &History, sim: &SimDisk, how: &str) -> usize {
    let mut settled = 0;
    for m in 1.. {
        let sim = sim.fork();
        sim.crash_at(m);
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let opened = Log::open(&disk, Path::new(DIR), false, None, &settings(), &mut |_| {});
        let crashed = sim.has_crashed();
        drop(opened);
        if crashed {
            sim.crash(if m % 2 == 0 { Crash::LoseAll } else { Crash::Random(m) });
        } else {
            sim.crash(Crash::KeepAll);
        }
        let (mut h, report) = base.on(sim, false);
        assert!(report.quarantined.is_empty() && report.gaps.is_empty(), "{how}, then {m}: {report:?}");
        assert_eq!(report.torn_bytes, 0, "{how}, then {m}: {report:?}");
        settled += usize::from(report.removed.iter().any(|name| name.ends_with(".log")));
        assert_eq!(h.bench.log.end_offset(), h.all.len() as i64, "{how}, then {m}");
        h.check(&format!("{how}, then {m}"));
        if !crashed {
            h.check_every_offset();
            let end = h.bench.log.end_offset();
            h.clean(&clean_settings(h.now), end, 1 << 20).unwrap();
            h.check(&format!("{how}, cleaned again"));
            h.check_nothing_is_superseded(end, how);
            return settled;
        }
    }
    unreachable!("some recovery is not interrupted")
}

#[test]
fn a_sync_that_fails_during_a_swap_fences_the_log_and_a_later_power_cut_loses_nothing() {
    let base = sample(22, 150);
    // Each segment alone, and several at a time.
    for segments in [1, 3] {
        let segment_bytes = segments * settings().segment_bytes;
        let settings = CleanSettings { segment_bytes, ..clean_settings(base.now) };
        let failed = (1..).take_while(|n| fail_sync(&base, &settings, *n)).count();
        assert!(failed > 8, "only {failed} syncs");
    }
}

/// Fails sync number `n` of a clean, and looks at what a restart and then a power cut make of it; false if there are
/// not so many.
fn fail_sync(base: &History, settings: &CleanSettings, n: u64) -> bool {
    let sim = base.bench.sim.fork();
    let (mut h, _) = base.on(sim.clone(), true);
    sim.fail_sync(n, Fault::Io);
    let end = h.bench.log.end_offset();
    // The last sync is that of a cache.
    let Err(_) = h.clean(settings, end, 1 << 20) else { return false };
    h.check("still served");
    drop(h);
    sim.crash(Crash::KeepAll);
    for clean_again in [false, true] {
        let how = format!("sync {n} failed, restarted, cleaned again: {clean_again}");
        let sim = sim.fork();
        let (mut h, report) = base.on(sim.clone(), false);
        assert!(report.gaps.is_empty() && report.quarantined.is_empty(), "{how}: {report:?}");
        h.check(&how);
        // What goes now must not leave the power cut anything older to bring back.
        if clean_again {
            h.clean(settings, end, 1 << 20).unwrap();
            h.check_nothing_is_superseded(end, &how);
        }
        sim.crash(Crash::LoseAll);
        let (mut h, report) = base.on(sim, false);
        assert!(report.gaps.is_empty() && report.quarantined.is_empty(), "{how}: {report:?}");
        assert_eq!(h.bench.log.end_offset(), end);
        h.check(&format!("{how}, power cut"));
    }
    true
}
