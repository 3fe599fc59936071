//! Scans: the newest visible version of each key of a range.
//!
//! Invariant: a call that ends in `Cold` has changed nothing that the same call, made again, does not set right; so a
//! reader on the poll loop lets a worker fetch the block and goes on where it was.

use std::ops::Bound;

use super::sources::{Source, Sources};
use super::{Entry, Kind, ReadError};

/// Keys between two bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// Where it begins.
    pub from: Bound<Vec<u8>>,
    /// Where it ends.
    pub to: Bound<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> KeyRange {
        KeyRange { from: Bound::Unbounded, to: Bound::Unbounded }
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> KeyRange {
        let mut after = prefix.to_vec();
        while after.pop_if(|last| *last == u8::MAX).is_some() {}
        let to = match after.last_mut() {
            Some(last) => {
                *last += 1;
                Bound::Excluded(after)
            }
            None => Bound::Unbounded,
        };
        KeyRange { from: Bound::Included(prefix.to_vec()), to }
    }

    pub(super) fn from(&self) -> Bound<&[u8]> {
        self.from.as_ref().map(Vec::as_slice)
    }

    pub(super) fn to(&self) -> Bound<&[u8]> {
        self.to.as_ref().map(Vec::as_slice)
    }

    /// Whether `key` lies beyond the bound at which a walk in this direction ends.
    fn ends_before(&self, key: &[u8], reverse: bool) -> bool {
        match if reverse { self.from() } else { self.to() } {
            Bound::Unbounded => false,
            Bound::Included(bound) => {
                if reverse {
                    key < bound
                } else {
                    key > bound
                }
            }
            Bound::Excluded(bound) => {
                if reverse {
                    key <= bound
                } else {
                    key >= bound
                }
            }
        }
    }
}

/// The newest visible version of each key of a range, in key order or its reverse; tombstones included.
pub struct TreeIter<'a> {
    sources: Sources<'a>,
    range: KeyRange,
    as_of: i64,
    reverse: bool,
    started: bool,
    /// Of the entry that was given out last, or, in reverse, of the one that is to be given out.
    held: Option<Held>,
    given: bool,
}

/// A copy of an entry. Backwards, the newest version of a key comes last, when the iterators have left the others.
#[derive(Debug, Default)]
struct Held {
    key: Vec<u8>,
    seq: i64,
    kind: Option<Kind>,
    value: Vec<u8>,
}

impl<'a> TreeIter<'a> {
    pub(super) fn new(sources: Vec<Source<'a>>, range: KeyRange, as_of: i64, reverse: bool) -> TreeIter<'a> {
        let sources = Sources::new(sources, reverse);
        TreeIter { sources, range, as_of, reverse, started: false, held: None, given: true }
    }

    /// The next one; `None` at the end. After `Cold` the same call may be made again.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        if !self.started {
            self.sources.start(if self.reverse { self.range.to() } else { self.range.from() })?;
            self.started = true;
        }
        self.sources.settle()?;
        if self.reverse { self.backward() } else { self.forward() }
    }

    /// What [`TreeIter::next`] has given last, as long as that was an entry.
    #[inline]
    pub fn entry(&self) -> Option<Entry<'_>> {
        if self.reverse { self.held.as_ref()?.entry() } else { self.sources.entry() }
    }

    /// The first version that is not too new is the newest visible one. It is left where it is until the next call,
    /// which steps over it along with all that it hides.
    fn forward(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        while let Some(entry) = self.sources.entry() {
            if self.range.ends_before(entry.key, false) {
                return Ok(None);
            }
            let hidden = self.held.as_ref().is_some_and(|last| last.key == entry.key);
            if !hidden && entry.seq <= self.as_of {
                let last = self.held.get_or_insert_default();
                last.key.clear();
                last.key.extend_from_slice(entry.key);
                return Ok(self.sources.entry());
            }
            self.sources.advance()?;
        }
        Ok(None)
    }

    /// Versions come oldest first, so the newest visible one is known when another key follows.
    fn backward(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        let held = self.held.get_or_insert_default();
        if std::mem::take(&mut self.given) {
            held.kind = None;
        }
        while let Some(entry) = self.sources.entry() {
            let another = held.kind.is_some() && held.key != entry.key;
            if another || self.range.ends_before(entry.key, true) {
                break;
            }
            if entry.seq <= self.as_of {
                held.copy(entry);
            }
            self.sources.advance()?;
        }
        self.given = true;
        Ok(held.entry())
    }
}

impl Held {
    fn copy(&mut self, entry: Entry<'_>) {
        if self.kind.is_none() {
            self.key.clear();
            self.key.extend_from_slice(entry.key);
        }
        self.seq = entry.seq;
        self.kind = Some(entry.kind);
        self.value.clear();
        self.value.extend_from_slice(entry.value);
    }

    fn entry(&self) -> Option<Entry<'_>> {
        Some(Entry { key: &self.key, seq: self.seq, kind: self.kind?, value: &self.value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range_that_ends_before_the_next_prefix() {
        let end = |prefix: &[u8]| KeyRange::prefix(prefix).to;
        assert_eq!(end(b"ab"), Bound::Excluded(b"ac".to_vec()));
        assert_eq!(end(b"a\xff\xff"), Bound::Excluded(b"b".to_vec()));
        assert_eq!(end(b"\xff"), Bound::Unbounded);
        assert_eq!(KeyRange::prefix(b"").to, Bound::Unbounded);
        assert_eq!(KeyRange::prefix(b"ab").from, Bound::Included(b"ab".to_vec()));
    }

    #[test]
    fn a_walk_ends_at_the_bound_that_lies_before_it() {
        let range = KeyRange { from: Bound::Excluded(b"b".to_vec()), to: Bound::Included(b"d".to_vec()) };
        let ends = |reverse| [b"a", b"b", b"c", b"d", b"e"].map(|key| range.ends_before(key, reverse));
        assert_eq!(ends(false), [false, false, false, false, true]);
        assert_eq!(ends(true), [true, true, false, false, false]);
        assert!(!KeyRange::all().ends_before(b"", true));
    }
}
