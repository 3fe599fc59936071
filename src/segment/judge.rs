//! Judging records: which of a chunk of batches a cleaner may drop.
//!
//! Invariant: a record is dropped on evidence only. Either the view knows a newer record of its key; or the record is
//! itself the newest, a tombstone, old enough, and every batch before it in this pass could be read, so that nothing
//! older is left for it to hide. What cannot be read, has no key, or is unknown to the view is kept.
//!
//! Memory is bounded: keys of [`CHUNK_BYTES`] at the most, and of one batch more, are held at a time, and about sixty
//! bytes for each of [`CHUNK_RECORDS`] records, and of one batch more.

use std::io;
use std::ops::Range;

use krappy_wire::batch::{Header, Record};
use krappy_wire::compress;

/// Bytes of batches that are read at a time, and of keys that are held at a time, at the most, unless one batch has
/// more.
pub const CHUNK_BYTES: usize = 4 << 20;
/// Records whose keys are looked up at a time, at the most, unless one batch has more.
pub const CHUNK_RECORDS: usize = 64 << 10;

/// What the view knows of keys. The log itself knows nothing of the view.
pub trait Newest: Send {
    /// For keys sorted ascending, none twice: the offset of the newest record of each that the view's durable files
    /// know, `None` if they know none. Replaces the content of `into`.
    fn newest(&mut self, keys: &[&[u8]], into: &mut Vec<Option<i64>>) -> io::Result<()>;
    /// Every record below is in the view.
    fn covered(&self) -> i64;
}

/// What makes a tombstone old, and how far a batch may be inflated.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Wall clock, milliseconds since 1970.
    pub now_ms: i64,
    /// `delete.retention.ms`
    pub delete_retention_ms: i64,
    /// Bytes that the records of one compressed batch may have.
    pub inflate_cap: usize,
}

/// A batch in a chunk.
pub type Found = (Header, Range<usize>);

/// What becomes of a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It stays as it is.
    Whole,
    /// Some of its records stay: those whose flag is set, in order.
    Part(&'a [bool]),
    /// None of its records stays.
    Empty,
}

/// Judges chunk after chunk of one pass, in order.
pub struct Judge {
    rules: Rules,
    /// Whether everything before could be read.
    pub readable: bool,
    /// The lowest offset of a tombstone that was kept.
    pub lowest_tombstone: i64,
    keys: Vec<u8>,
    facts: Vec<Fact>,
    flags: Vec<bool>,
    spans: Vec<Span>,
    scratch: Vec<u8>,
}

/// What matters of a record.
struct Fact {
    key_from: u32,
    key_len: u32,
    offset: i64,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Value,
    Tombstone,
    OldTombstone,
    /// Kept whatever the view says.
    Keyless,
}

/// The facts of a batch.
struct Span {
    facts: Range<usize>,
    /// Everything before this batch, and the batch itself, could be read.
    readable: bool,
}

impl Judge {
    /// `readable`: whether everything before in this pass could be read.
    pub fn new(rules: Rules, readable: bool) -> Self {
        Self {
            rules,
            readable,
            lowest_tombstone: i64::MAX,
            keys: Vec::new(),
            facts: Vec::new(),
            flags: Vec::new(),
            spans: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Judges as many of these batches as fit the bounds, from the front, at least one; returns how many. `bytes` is
    /// what the ranges count in.
    pub fn judge(&mut self, bytes: &[u8], batches: &[Found], newest: &mut dyn Newest) -> io::Result<usize> {
        self.keys.clear();
        self.facts.clear();
        self.spans.clear();
        for (header, range) in batches {
            self.gather(header, &bytes[range.clone()]);
            if self.keys.len() >= CHUNK_BYTES || self.facts.len() >= CHUNK_RECORDS {
                break;
            }
        }
        self.decide(newest)?;
        Ok(self.spans.len())
    }

    /// What becomes of the batch number `i` of those judged last.
    pub fn verdict(&self, i: usize) -> Verdict<'_> {
        let flags = &self.flags[self.spans[i].facts.clone()];
        match flags.iter().filter(|kept| **kept).count() {
            n if n == flags.len() => Verdict::Whole,
            0 => Verdict::Empty,
            _ => Verdict::Part(flags),
        }
    }

    /// Notes the records of a batch. One that cannot be read, and a control batch, have none, and so stay whole.
    fn gather(&mut self, header: &Header, batch: &[u8]) {
        let from = self.facts.len();
        if !header.is_control() {
            match compress::records(batch, self.rules.inflate_cap, &mut self.scratch) {
                Ok(records) => {
                    for record in records {
                        let record = record.expect("all of them were read");
                        let kind = kind(&self.rules, &record);
                        let key = record.key.unwrap_or_default();
                        self.facts.push(Fact {
                            key_from: u32::try_from(self.keys.len()).expect("a bounded chunk"),
                            key_len: key.len() as u32,
                            offset: record.offset,
                            kind,
                        });
                        self.keys.extend_from_slice(key);
                    }
                }
                Err(_) => self.readable = false,
            }
        }
        self.spans.push(Span { facts: from..self.facts.len(), readable: self.readable });
    }

    fn decide(&mut self, newest: &mut dyn Newest) -> io::Result<()> {
        let key = |i: u32| key(&self.keys, &self.facts[i as usize]);
        let with_key = |i: &u32| self.facts[*i as usize].kind != Kind::Keyless;
        let mut order: Vec<u32> = (0..self.facts.len() as u32).filter(with_key).collect();
        order.sort_unstable_by(|a, b| key(*a).cmp(key(*b)));
        let mut asked: Vec<&[u8]> = order.iter().map(|i| key(*i)).collect();
        asked.dedup();
        let mut found = Vec::with_capacity(asked.len());
        if !asked.is_empty() {
            newest.newest(&asked, &mut found)?;
        }
        assert_eq!(found.len(), asked.len(), "one answer for each key");
        // Which answer is that of which record.
        let mut answers = vec![None; self.facts.len()];
        let mut at = 0;
        for i in order {
            if key(i) != asked[at] {
                at += 1;
            }
            answers[i as usize] = found[at];
        }
        self.flags.clear();
        for span in &self.spans {
            for i in span.facts.clone() {
                let kept = is_kept(&self.facts[i], answers[i], span.readable);
                self.flags.push(kept);
                if kept && matches!(self.facts[i].kind, Kind::Tombstone | Kind::OldTombstone) {
                    self.lowest_tombstone = self.lowest_tombstone.min(self.facts[i].offset);
                }
            }
        }
        Ok(())
    }
}

fn is_kept(fact: &Fact, newest: Option<i64>, readable: bool) -> bool {
    match newest {
        Some(newest) if fact.kind != Kind::Keyless => {
            let superseded = newest > fact.offset;
            let expired = newest == fact.offset && fact.kind == Kind::OldTombstone && readable;
            !(superseded || expired)
        }
        _ => true,
    }
}

fn key<'k>(keys: &'k [u8], fact: &Fact) -> &'k [u8] {
    &keys[fact.key_from as usize..][..fact.key_len as usize]
}

fn kind(rules: &Rules, record: &Record<'_>) -> Kind {
    if record.key.is_none() {
        return Kind::Keyless;
    }
    if record.value.is_some() {
        return Kind::Value;
    }
    // Without a timestamp nobody knows how old it is.
    let age = rules.now_ms.saturating_sub(record.timestamp);
    let old = record.timestamp >= 0 && age > rules.delete_retention_ms;
    if old { Kind::OldTombstone } else { Kind::Tombstone }
}

#[cfg(test)]
mod tests {
    use krappy_wire::batch::{self, Builder};

    use super::*;

    const DAY: i64 = 86_400_000;

    /// Knows what it is told, and how it was asked.
    struct Known(Vec<(&'static [u8], i64)>, usize);

    impl Newest for Known {
        fn newest(&mut self, keys: &[&[u8]], into: &mut Vec<Option<i64>>) -> io::Result<()> {
            assert!(keys.is_sorted_by(|a, b| a < b));
            self.1 += 1;
            into.clear();
            into.extend(keys.iter().map(|k| self.0.iter().find(|(key, _)| key == k).map(|(_, n)| *n)));
            Ok(())
        }

        fn covered(&self) -> i64 {
            i64::MAX
        }
    }

    fn rules() -> Rules {
        Rules { now_ms: 10 * DAY, delete_retention_ms: DAY, inflate_cap: 1 << 20 }
    }

    /// Key, whether it has a value, timestamp.
    type Rec = (Option<&'static [u8]>, bool, i64);

    fn batch(base: i64, attributes: i16, records: &[Rec]) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut builder = Builder::open(&mut plain, 0);
        for (key, has_value, timestamp) in records {
            builder.push(&mut plain, *timestamp, *key, has_value.then_some(b"v"), std::iter::empty());
        }
        builder.close(&mut plain, base, 0, None);
        let mut header = Header::read(&plain).unwrap();
        header.attributes |= attributes;
        let mut out = Vec::new();
        batch::with_records(&header, records.len() as i32, &plain[batch::HEADER..], &mut out);
        out
    }

    /// What is kept of these batches.
    fn kept(judge: &mut Judge, batches: &[Vec<u8>], known: &[(&'static [u8], i64)]) -> Vec<Vec<bool>> {
        let bytes = batches.concat();
        let (mut found, mut at) = (Vec::new(), 0);
        for batch in batches {
            found.push((Header::read(batch).unwrap(), at..at + batch.len()));
            at += batch.len();
        }
        let judged = judge.judge(&bytes, &found, &mut Known(known.to_vec(), 0)).unwrap();
        assert_eq!(judged, batches.len());
        let flags = |i: usize| match judge.verdict(i) {
            Verdict::Whole => vec![true; found[i].0.record_count as usize],
            Verdict::Empty => vec![false; found[i].0.record_count as usize],
            Verdict::Part(flags) => flags.to_vec(),
        };
        (0..judged).map(flags).collect()
    }

    const A: Option<&[u8]> = Some(b"a");
    const B: Option<&[u8]> = Some(b"b");

    #[test]
    fn a_record_goes_when_a_newer_one_of_its_key_is_known() {
        let mut judge = Judge::new(rules(), true);
        let batches = [batch(5, 0, &[(A, true, 0), (B, true, 0), (A, true, 0)])];
        for (known, expected) in [
            (&[][..], [true, true, true]),
            (&[(b"a", 7), (b"b", 6)], [false, true, true]),
            (&[(b"a", 9), (b"b", 6)], [false, true, false]),
            (&[(b"a", 9), (b"b", 100)], [false, false, false]),
            (&[(b"a", 4)], [true, true, true]),
        ] {
            let known: Vec<_> = known.iter().map(|(k, n)| (&k[..], *n)).collect();
            assert_eq!(kept(&mut judge, &batches, &known), [expected], "{known:?}");
        }
    }

    #[test]
    fn a_tombstone_goes_when_it_is_old_and_everything_before_it_was_read() {
        let old = 9 * DAY - 1;
        let timed = |timestamp| [batch(5, 0, &[(A, false, timestamp)])];
        for (timestamp, goes) in [(old, true), (9 * DAY, false), (20 * DAY, false), (-1, false)] {
            let mut judge = Judge::new(rules(), true);
            assert_eq!(kept(&mut judge, &timed(timestamp), &[(b"a", 5)]), [[!goes]], "{timestamp}");
            assert_eq!(judge.lowest_tombstone, if goes { i64::MAX } else { 5 });
        }
        let mut judge = Judge::new(rules(), false);
        assert_eq!(kept(&mut judge, &timed(old), &[(b"a", 5)]), [[true]]);
        assert_eq!(kept(&mut judge, &timed(old), &[(b"a", 6)]), [[false]], "superseded all the same");
        let mut judge = Judge::new(rules(), true);
        assert_eq!(kept(&mut judge, &timed(old), &[]), [[true]], "the view does not know it");
        let mut unreadable = batch(5, 0, &[(B, true, 0)]);
        unreadable[60] = 2;
        let batches = [timed(old)[0].clone(), unreadable, batch(6, 0, &[(A, false, old)])];
        let both = kept(&mut Judge::new(rules(), true), &batches[..1], &[(b"a", 5)]);
        assert_eq!(both, [[false]]);
        let mut judge = Judge::new(rules(), true);
        let flags = kept(&mut judge, &batches[1..], &[(b"a", 6)]);
        assert_eq!((&flags[1], judge.readable), (&vec![true], false), "behind what could not be read");
    }

    #[test]
    fn with_the_brokers_clock_the_batch_says_how_old_a_tombstone_is() {
        let mut judge = Judge::new(rules(), true);
        let records = [(A, false, 0), (B, true, 10 * DAY)];
        let own = [batch(5, 0, &records)];
        let brokers = [batch(5, 8, &records)];
        assert_eq!(kept(&mut judge, &own, &[(b"a", 5)]), [[false, true]]);
        assert_eq!(kept(&mut judge, &brokers, &[(b"a", 5)]), [[true, true]]);
    }

    #[test]
    fn records_without_a_key_and_control_batches_stay() {
        let mut judge = Judge::new(rules(), true);
        let keyless = batch(5, 0, &[(None, true, 0), (None, false, 0), (Some(b""), true, 0)]);
        let control = batch(8, 0x20, &[(A, true, 0)]);
        let known: [(&[u8], i64); 2] = [(b"", 100), (b"a", 100)];
        assert_eq!(kept(&mut judge, &[keyless, control], &known), [vec![true, true, false], vec![true]]);
    }

    #[test]
    fn a_chunk_is_bounded_and_its_keys_are_asked_for_once() {
        let records = vec![(A, true, 0); CHUNK_RECORDS / 2];
        let batches: Vec<_> = (0..3).map(|i| batch(i * records.len() as i64, 0, &records)).collect();
        let (bytes, len) = (batches.concat(), batches[0].len());
        let found: Vec<_> = batches
            .iter()
            .enumerate()
            .map(|(i, b)| (Header::read(b).unwrap(), i * len..(i + 1) * len))
            .collect();
        let mut known = Known(vec![(b"a", 7)], 0);
        let mut judge = Judge::new(rules(), true);
        assert_eq!(judge.judge(&bytes, &found, &mut known).unwrap(), 2);
        assert_eq!(known.1, 1);
        assert!(matches!(judge.verdict(0), Verdict::Part(_)) && judge.verdict(1) == Verdict::Whole);
        assert_eq!(judge.judge(&bytes, &found[2..], &mut known).unwrap(), 1);
    }
}
