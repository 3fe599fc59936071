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
                        let kind = kind(&self.rules, header, &record);
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

fn kind(rules: &Rules, header: &Header, record: &Record<'_>) -> Kind {
    if record.key.is_none() {
        return Kind::Keyless;
    }
    if record.value.is_some() {
        return Kind::Value;
    }
    let timestamp = if header.is_log_append_time() { header.max_timestamp } else { record.timestamp };
    // Without a timestamp nobody knows how old it is.
    let old = timestamp >= 0 && rules.now_ms.saturating_sub(timestamp) > rules.delete_retention_ms;
    if old { Kind::OldTombstone } else { Kind::Tombstone }
}
