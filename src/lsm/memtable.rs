//! The newest records of a tree, sorted in memory.
//!
//! A `BTreeMap` from key to the newest version of that key. What a key had before hangs behind it as a chain, so a look
//! at the newest version never pays for old ones. An insert allocates nothing for itself: a short key lies inside the
//! node of the map, values lie one after the other in a few large chunks, and older versions in one vector. That is also
//! what makes throwing a memtable away cheap.
//!
//! Invariant: the versions of a key are linked from the newest to the oldest, because every insert is newer than all
//! before it. A memtable that is shared (behind an `Arc`) does not change any more.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;

use super::{Entry, Kind};

/// Bytes that the map, its nodes filled to about two thirds, needs for a key besides the key's own.
const KEY_OVERHEAD: usize = 96;
/// Bytes that an older version needs besides its value.
const VERSION_OVERHEAD: usize = 32;
/// Longest key that lies in the map itself.
const SHORT: usize = 22;
/// No older version.
const NONE: u32 = u32::MAX;

/// Records by key, then newest first.
#[derive(Debug)]
pub struct Memtable {
    newest: BTreeMap<Key, Version>,
    older: Vec<Version>,
    values: Arena,
    entries: u64,
    weight: usize,
    min_seq: i64,
    max_seq: i64,
}

/// One version of a key. Its value lies in the arena.
#[derive(Debug, Clone, Copy)]
struct Version {
    seq: i64,
    place: Place,
    kind: Kind,
    /// Index of the next older version in [`Memtable::older`].
    older: u32,
}

impl Memtable {
    /// An empty one. It costs no memory until something is inserted.
    pub fn new() -> Memtable {
        Memtable {
            newest: BTreeMap::new(),
            older: Vec::new(),
            values: Arena::default(),
            entries: 0,
            weight: 0,
            min_seq: i64::MAX,
            max_seq: i64::MIN,
        }
    }

    /// Adds a record, whose `seq` must be above all before it.
    pub fn insert(&mut self, entry: Entry<'_>) {
        assert!(entry.seq > self.max_seq, "seq {} after {}", entry.seq, self.max_seq);
        let place = self.values.push(entry.value);
        let mut version = Version { seq: entry.seq, place, kind: entry.kind, older: NONE };
        match self.newest.entry(Key::new(entry.key)) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(version);
                self.weight += entry.key.len() + KEY_OVERHEAD;
            }
            btree_map::Entry::Occupied(mut occupied) => {
                version.older = u32::try_from(self.older.len()).expect("a memtable holds fewer records");
                self.older.push(*occupied.get());
                *occupied.get_mut() = version;
                self.weight += VERSION_OVERHEAD;
            }
        }
        self.weight += entry.value.len();
        self.entries += 1;
        self.min_seq = self.min_seq.min(entry.seq);
        self.max_seq = entry.seq;
    }

    /// The newest version of `key` with a seq of at most `as_of`.
    pub fn get(&self, key: &[u8], as_of: i64) -> Option<Entry<'_>> {
        let (key, newest) = self.newest.get_key_value(key)?;
        self.visible(key, newest, as_of)
    }

    /// The newest visible version of each key within the bounds; from both ends.
    pub fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, as_of: i64) -> Range<'_> {
        let keys = if is_empty(from, to) {
            btree_map::Range::default()
        } else {
            self.newest.range::<[u8], _>((from, to))
        };
        Range { table: self, keys, as_of }
    }

    /// Every version of every key, in tree order.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.newest.iter().flat_map(|(key, newest)| self.versions(newest).map(|v| self.entry(key, v)))
    }

    /// Bytes of keys and values, and what it costs to keep them in order.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Versions.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Whether nothing was inserted.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The lowest and the highest seq; `None` when empty.
    pub fn seqs(&self) -> Option<(i64, i64)> {
        (!self.is_empty()).then_some((self.min_seq, self.max_seq))
    }

    fn visible<'a>(&'a self, key: &'a Key, newest: &'a Version, as_of: i64) -> Option<Entry<'a>> {
        let version = self.versions(newest).find(|v| v.seq <= as_of)?;
        Some(self.entry(key, version))
    }

    fn versions<'a>(&'a self, newest: &'a Version) -> impl Iterator<Item = &'a Version> {
        std::iter::successors(Some(newest), |v| (v.older != NONE).then(|| &self.older[v.older as usize]))
    }

    fn entry<'a>(&'a self, key: &'a Key, version: &Version) -> Entry<'a> {
        let value = self.values.get(version.place);
        Entry { key: key.bytes(), seq: version.seq, kind: version.kind, value }
    }
}

impl Default for Memtable {
    fn default() -> Memtable {
        Memtable::new()
    }
}

/// The newest visible version of each key of a range, see [`Memtable::range`].
#[derive(Debug)]
pub struct Range<'a> {
    table: &'a Memtable,
    keys: btree_map::Range<'a, Key, Version>,
    as_of: i64,
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let (table, as_of) = (self.table, self.as_of);
        self.keys.find_map(|(key, newest)| table.visible(key, newest, as_of))
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (table, as_of) = (self.table, self.as_of);
        self.keys.by_ref().rev().find_map(|(key, newest)| table.visible(key, newest, as_of))
    }
}

/// Whether no key lies within the bounds; the map does not take bounds that contradict each other.
fn is_empty(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
            from >= to
        }
    }
}

/// A key in the map: in place when it is short.
#[derive(Debug)]
enum Key {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

impl Key {
    fn new(key: &[u8]) -> Key {
        let mut bytes = [0; SHORT];
        match bytes.get_mut(..key.len()) {
            Some(room) => {
                room.copy_from_slice(key);
                Key::Short { len: key.len() as u8, bytes }
            }
            None => Key::Long(key.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Key::Short { len, bytes } => &bytes[..usize::from(*len)],
            Key::Long(bytes) => bytes,
        }
    }
}

// Compared as its bytes are, which is what looking up by bytes relies on.
impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.bytes()
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Key {}

/// Byte strings one after the other in chunks that never move. Chunks begin small, because most partitions are idle,
/// and double up to a size from which on their number does not matter.
#[derive(Debug, Default)]
struct Arena {
    chunks: Vec<Vec<u8>>,
}

/// Where a byte string lies in an [`Arena`].
#[derive(Debug, Clone, Copy)]
struct Place {
    chunk: u32,
    from: u32,
    len: u32,
}

impl Arena {
    const FIRST: usize = 4 << 10;
    const LARGEST: usize = 1 << 20;

    fn push(&mut self, bytes: &[u8]) -> Place {
        let room = self.chunks.last().map_or(0, |chunk| chunk.capacity() - chunk.len());
        if room < bytes.len() {
            let next = self.chunks.last().map_or(Arena::FIRST, |chunk| 2 * chunk.capacity());
            self.chunks.push(Vec::with_capacity(next.min(Arena::LARGEST).max(bytes.len())));
        }
        let Some(chunk) = self.chunks.last_mut() else { return Place { chunk: 0, from: 0, len: 0 } };
        let from = chunk.len();
        chunk.extend_from_slice(bytes);
        let small = |n: usize| u32::try_from(n).expect("a value is below 4 GiB");
        Place { chunk: small(self.chunks.len() - 1), from: small(from), len: small(bytes.len()) }
    }

    fn get(&self, place: Place) -> &[u8] {
        // Without any chunk, all that was ever pushed was empty.
        let Some(chunk) = self.chunks.get(place.chunk as usize) else { return &[] };
        &chunk[place.from as usize..place.from as usize + place.len as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put<'a>(key: &'a [u8], seq: i64, value: &'a [u8]) -> Entry<'a> {
        Entry { key, seq, kind: Kind::Put, value }
    }

    fn sample() -> Memtable {
        let mut table = Memtable::new();
        table.insert(put(b"b", 1, b"b1"));
        table.insert(put(b"a", 3, b""));
        table.insert(Entry { key: b"b", seq: 4, kind: Kind::Tombstone, value: b"why" });
        table.insert(put(b"c", 6, b"c6"));
        table.insert(put(b"b", 9, b"b9"));
        table
    }

    fn seqs<'a>(entries: impl Iterator<Item = Entry<'a>>) -> Vec<(&'a [u8], i64)> {
        entries.map(|e| (e.key, e.seq)).collect()
    }

    #[test]
    fn a_get_sees_the_newest_version_as_of_a_seq() {
        let table = sample();
        let seen = |as_of| table.get(b"b", as_of).map(|e| (e.seq, e.kind, e.value));
        assert_eq!(seen(0), None);
        assert_eq!(seen(3), Some((1, Kind::Put, &b"b1"[..])));
        assert_eq!(seen(8), Some((4, Kind::Tombstone, &b"why"[..])));
        assert_eq!(seen(i64::MAX), Some((9, Kind::Put, &b"b9"[..])));
        assert!(table.get(b"", i64::MAX).is_none() && table.get(b"bb", i64::MAX).is_none());
    }

    #[test]
    fn every_version_comes_by_key_and_newest_first() {
        let table = sample();
        assert_eq!(
            seqs(table.iter()),
            [(&b"a"[..], 3), (&b"b"[..], 9), (&b"b"[..], 4), (&b"b"[..], 1), (&b"c"[..], 6)]
        );
        assert_eq!((table.entries(), table.seqs()), (5, Some((1, 9))));
    }

    #[test]
    fn a_range_gives_one_version_of_a_key_from_either_end() {
        let table = sample();
        let all = (Bound::Unbounded, Bound::Unbounded);
        assert_eq!(seqs(table.range(all.0, all.1, 4)), [(&b"a"[..], 3), (&b"b"[..], 4)]);
        assert_eq!(
            seqs(table.range(all.0, all.1, 9).rev()),
            [(&b"c"[..], 6), (&b"b"[..], 9), (&b"a"[..], 3)]
        );
        let after_a = Bound::Excluded(&b"a"[..]);
        assert_eq!(seqs(table.range(after_a, Bound::Included(b"b"), 2)), [(&b"b"[..], 1)]);
        assert_eq!(seqs(table.range(after_a, Bound::Excluded(b"b"), 9)), []);
    }

    #[test]
    fn bounds_that_contradict_each_other_hold_nothing() {
        let table = sample();
        let (a, b) = (&b"a"[..], &b"b"[..]);
        for (from, to) in [
            (Bound::Included(b), Bound::Included(a)),
            (Bound::Excluded(b), Bound::Excluded(b)),
            (Bound::Included(b), Bound::Excluded(b)),
            (Bound::Excluded(b), Bound::Included(b)),
        ] {
            assert_eq!(table.range(from, to, 9).count(), 0, "{from:?} {to:?}");
        }
        assert_eq!(table.range(Bound::Included(b), Bound::Included(b), 9).count(), 1);
    }

    #[test]
    fn keys_and_values_of_every_length_come_back() {
        let mut table = Memtable::new();
        let keys: Vec<Vec<u8>> = (0..300).map(|n| vec![n as u8; n]).collect();
        let value = vec![7; 3 << 20];
        for (seq, key) in keys.iter().enumerate() {
            table.insert(put(key, seq as i64, &value[..seq * seq]));
        }
        table.insert(put(b"large", 1000, &value));
        for (seq, key) in keys.iter().enumerate() {
            let found = table.get(key, i64::MAX).unwrap();
            assert_eq!((found.key, found.seq, found.value), (&key[..], seq as i64, &value[..seq * seq]));
        }
        assert_eq!(table.get(b"large", i64::MAX).unwrap().value, value);
    }

    #[test]
    fn an_empty_value_before_all_others_stays_empty() {
        let mut table = Memtable::new();
        table.insert(put(b"a", 1, b""));
        table.insert(put(b"b", 2, b"more"));
        assert_eq!(table.get(b"a", 2).unwrap().value, b"");
    }

    #[test]
    fn the_weight_grows_with_keys_values_and_versions() {
        let mut table = Memtable::new();
        assert_eq!((table.weight(), table.seqs()), (0, None));
        table.insert(put(b"key", 1, b"12345"));
        assert_eq!(table.weight(), 3 + 5 + KEY_OVERHEAD);
        table.insert(put(b"key", 2, b"12345"));
        assert_eq!(table.weight(), 3 + 10 + KEY_OVERHEAD + VERSION_OVERHEAD);
    }

    #[test]
    #[should_panic(expected = "seq 5 after 5")]
    fn a_seq_may_not_come_twice() {
        let mut table = Memtable::new();
        table.insert(put(b"a", 5, b""));
        table.insert(put(b"b", 5, b""));
    }
}
