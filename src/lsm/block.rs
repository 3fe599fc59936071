//! A block: neighbouring entries of a run, each without what its key shares with the one before.
//!
//! ```text
//! entry                                             block
//!  varint  bytes shared with the key before          entries, in tree order
//!  varint  bytes of the rest of the key              u32 position of each restart
//!  varint  bytes of the value, doubled, plus kind    u32 number of restarts, at least 1
//!  varint  sequence number                           (in a file, the seal follows)
//!  rest of the key, value
//! ```
//!
//! Every [`RESTART`]th entry shares nothing: at these restarts a search begins. In between, whoever looks for one key
//! never puts keys together: how much of the sought key the last entry had is enough to place the next one.
//!
//! Invariant: whatever the bytes are, no call panics or reads outside them; what cannot be an entry is a [`Flaw`]. That
//! entries are in order is the writer's promise, kept by the seal and checked by [`Block::verify`].

use std::cmp::Ordering;
use std::ops::Range;

use super::{Entry, Kind, tree_order, varint};

/// Entries from one restart to the next. Fewer would make a search a little shorter and the file larger: the key is
/// whole at each restart, and the table grows.
pub const RESTART: usize = 16;

/// Why a block cannot be read.
pub type Flaw = &'static str;

/// Puts a block together.
#[derive(Debug)]
pub struct BlockBuilder {
    bytes: Vec<u8>,
    restarts: Vec<u32>,
    entries: usize,
    interval: usize,
    last_key: Vec<u8>,
}

impl BlockBuilder {
    /// An empty block with a restart every `interval` entries.
    pub fn new(interval: usize) -> Self {
        Self { bytes: Vec::new(), restarts: Vec::new(), entries: 0, interval, last_key: Vec::new() }
    }

    /// Whether nothing has been added.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Bytes of the block as it is now.
    pub fn len(&self) -> usize {
        self.bytes.len() + 4 * (self.restarts.len() + 1)
    }

    /// Adds the entry that follows in tree order, which is for the caller to see to.
    pub fn add(&mut self, entry: &Entry<'_>) {
        let shared = if self.entries.is_multiple_of(self.interval) {
            let at = u32::try_from(self.bytes.len()).expect("a block is smaller than 4 GiB");
            self.restarts.push(at);
            0
        } else {
            common(&self.last_key, entry.key)
        };
        let seq = u64::try_from(entry.seq).expect("sequence numbers are not negative");
        let out = &mut self.bytes;
        varint::put(out, shared as u64);
        varint::put(out, (entry.key.len() - shared) as u64);
        varint::put(out, (entry.value.len() as u64) << 1 | entry.kind as u64);
        varint::put(out, seq);
        out.extend_from_slice(&entry.key[shared..]);
        out.extend_from_slice(entry.value);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&entry.key[shared..]);
        self.entries += 1;
    }

    /// Appends the block to `out`, and is empty again.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        assert!(!self.is_empty(), "a block holds at least one entry");
        out.append(&mut self.bytes);
        self.restarts.iter().for_each(|at| out.extend_from_slice(&at.to_be_bytes()));
        out.extend_from_slice(&(self.restarts.len() as u32).to_be_bytes());
        self.restarts.clear();
        self.last_key.clear();
        self.entries = 0;
    }
}

/// A block's bytes, without the seal.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    entries: &'a [u8],
    table: &'a [[u8; 4]],
}

/// What [`Block::find`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its sequence number.
    pub seq: i64,
    /// Whether it is a tombstone.
    pub kind: Kind,
    /// Where in the block its value lies.
    pub value: Range<usize>,
}

impl<'a> Block<'a> {
    /// Splits the bytes into entries and table.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, Flaw> {
        const SHORT: Flaw = "it is too short for its table of restarts";
        let (rest, count) = bytes.split_last_chunk::<4>().ok_or(SHORT)?;
        let table = (u32::from_be_bytes(*count) as usize).checked_mul(4).ok_or(SHORT)?;
        let (entries, table) = rest.split_at_checked(rest.len().wrapping_sub(table)).ok_or(SHORT)?;
        let table = table.as_chunks::<4>().0;
        if table.is_empty() { Err("it has no restart") } else { Ok(Block { entries, table }) }
    }

    /// The entry at or after `(key, seq)` in tree order, if it is of that key: its newest version that is not newer.
    pub fn find(&self, key: &[u8], seq: i64) -> Result<Option<Found>, Flaw> {
        let mut at = self.restart(self.restarts_before((key, seq))?.saturating_sub(1))?;
        // How many bytes the last entry's key has in common with the sought one, which comes after it.
        let mut matched = 0;
        while at < self.entries.len() {
            let head = self.head(at)?;
            at = head.end;
            // Sharing more with the entry before than that had of the sought key, this one is smaller for the same
            // byte.
            if head.shared > matched {
                continue;
            }
            let rest = &self.entries[head.rest.clone()];
            match rest.cmp(&key[head.shared..]) {
                Ordering::Less => matched = head.shared + common(rest, &key[head.shared..]),
                Ordering::Equal if head.seq > seq => matched = key.len(),
                Ordering::Equal => {
                    return Ok(Some(Found { seq: head.seq, kind: head.kind, value: head.value() }));
                }
                Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Number of restarts.
    pub fn restarts(&self) -> usize {
        self.table.len()
    }

    /// The entry at a restart; its key is whole.
    pub fn at_restart(&self, n: usize) -> Result<Entry<'a>, Flaw> {
        let head = self.head(self.restart(n)?)?;
        if head.shared != 0 {
            return Err("a restart shares bytes with the key before it");
        }
        let value = &self.entries[head.value()];
        Ok(Entry { key: &self.entries[head.rest], seq: head.seq, kind: head.kind, value })
    }

    /// How many restarts come before this place in tree order.
    pub fn restarts_before(&self, place: (&[u8], i64)) -> Result<usize, Flaw> {
        let (mut low, mut high) = (0, self.table.len());
        while low < high {
            let middle = low.midpoint(high);
            match tree_order(self.at_restart(middle)?.place(), place) {
                Ordering::Less => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// Checks all that readers take for granted: entries fill the block, are in order, and restarts stand where the
    /// table says. The number of entries.
    pub fn verify(&self) -> Result<u64, Flaw> {
        let mut cursor = Cursor::default();
        let mut before: Option<(Vec<u8>, i64)> = None;
        let (mut entries, mut restarts) = (0, 0);
        if self.table[0] != [0; 4] {
            return Err("its first entry is no restart, so no search would find it");
        }
        let mut found = cursor.first(self)?;
        while found {
            let entry = cursor.entry(self);
            if before.as_ref().is_some_and(|(k, s)| tree_order((k, *s), entry.place()).is_ge()) {
                return Err("entries are out of order");
            }
            if self.table.get(restarts).is_some_and(|at| u32::from_be_bytes(*at) as usize == cursor.start) {
                self.at_restart(restarts)?;
                restarts += 1;
            }
            before = Some((entry.key.to_vec(), entry.seq));
            entries += 1;
            found = cursor.next(self)?;
        }
        if restarts == self.table.len() { Ok(entries) } else { Err("no entry begins at a restart") }
    }

    fn restart(&self, n: usize) -> Result<usize, Flaw> {
        let at = u32::from_be_bytes(self.table[n]) as usize;
        if at < self.entries.len() { Ok(at) } else { Err("a restart lies outside the entries") }
    }

    /// Reads the entry at `at`, without putting its key together.
    #[inline]
    fn head(&self, mut at: usize) -> Result<Head, Flaw> {
        const FLAW: Flaw = "an entry is cut short or overlong";
        let bytes = self.entries;
        let mut number = || varint::take(bytes, &mut at).ok_or(FLAW);
        let (shared, rest, value, seq) = (number()?, number()?, number()?, number()?);
        let left = (bytes.len() - at) as u64;
        // Each part is compared by itself, so that their sum cannot overflow.
        if rest > left || value >> 1 > left - rest {
            return Err(FLAW);
        }
        let kind = if value & 1 == 0 { Kind::Tombstone } else { Kind::Put };
        let seq = i64::try_from(seq).map_err(|_| "a sequence number is out of range")?;
        let shared = usize::try_from(shared).map_err(|_| FLAW)?;
        let rest = at..at + rest as usize;
        Ok(Head { shared, seq, kind, end: rest.end + (value >> 1) as usize, rest })
    }
}

struct Head {
    shared: usize,
    seq: i64,
    kind: Kind,
    /// Where the rest of the key lies; the value follows.
    rest: Range<usize>,
    /// Where the next entry begins.
    end: usize,
}

impl Head {
    fn value(&self) -> Range<usize> {
        self.rest.end..self.end
    }
}

/// A place in a block. It does not hold on to the block, so each call is given it again; after a [`Flaw`], or when a
/// call has found nothing, the place is void until the next search.
#[derive(Debug)]
pub struct Cursor {
    start: usize,
    end: usize,
    key: Vec<u8>,
    seq: i64,
    kind: Kind,
    value: Range<usize>,
}

impl Default for Cursor {
    fn default() -> Self {
        Cursor { start: 0, end: 0, key: Vec::new(), seq: 0, kind: Kind::Put, value: 0..0 }
    }
}

impl Cursor {
    /// The entry here.
    #[inline]
    pub fn entry<'a>(&'a self, block: &Block<'a>) -> Entry<'a> {
        Entry { value: &block.entries[self.value.clone()], ..self.without_value() }
    }

    /// The entry here, but for its value.
    pub fn without_value(&self) -> Entry<'_> {
        Entry { key: &self.key, seq: self.seq, kind: self.kind, value: &[] }
    }

    /// Where in the block the value of the entry lies.
    pub fn value(&self) -> Range<usize> {
        self.value.clone()
    }

    /// Where in the block the entry begins.
    pub fn start(&self) -> usize {
        self.start
    }

    /// To the first entry; whether there is one.
    pub fn first(&mut self, block: &Block<'_>) -> Result<bool, Flaw> {
        self.step(block, 0)
    }

    /// To the last entry.
    pub fn last(&mut self, block: &Block<'_>) -> Result<bool, Flaw> {
        self.before(block, block.entries.len())
    }

    /// To the first entry at or after this place in tree order.
    pub fn seek(&mut self, block: &Block<'_>, place: (&[u8], i64)) -> Result<bool, Flaw> {
        let restart = block.restarts_before(place)?.saturating_sub(1);
        let mut found = self.step(block, block.restart(restart)?)?;
        while found && tree_order((&self.key, self.seq), place).is_lt() {
            found = self.next(block)?;
        }
        Ok(found)
    }

    /// To the entry after.
    #[inline]
    pub fn next(&mut self, block: &Block<'_>) -> Result<bool, Flaw> {
        self.step(block, self.end)
    }

    /// To the entry before.
    pub fn prev(&mut self, block: &Block<'_>) -> Result<bool, Flaw> {
        self.before(block, self.start)
    }

    /// To the last entry that begins before `end`. Keys can only be put together forwards, so this walks from the
    /// restart before.
    fn before(&mut self, block: &Block<'_>, end: usize) -> Result<bool, Flaw> {
        let restarts = block.table.partition_point(|at| (u32::from_be_bytes(*at) as usize) < end);
        let Some(restart) = restarts.checked_sub(1) else { return Ok(false) };
        let mut found = self.step(block, block.restart(restart)?)?;
        while found && self.end < end {
            found = self.step(block, self.end)?;
        }
        Ok(found)
    }

    /// Reads the entry at `at`, which is a restart or follows the entry here.
    #[inline]
    fn step(&mut self, block: &Block<'_>, at: usize) -> Result<bool, Flaw> {
        if at >= block.entries.len() {
            return Ok(false);
        }
        let head = block.head(at)?;
        if head.shared > self.key.len() {
            return Err("an entry shares more than the key before it has");
        }
        self.key.truncate(head.shared);
        self.key.extend_from_slice(&block.entries[head.rest.clone()]);
        (self.start, self.end, self.seq, self.kind) = (at, head.end, head.seq, head.kind);
        self.value = head.value();
        Ok(true)
    }
}

/// How many bytes two keys have in common at their beginning.
pub fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Owned, naive_get, random_entries};
    use super::*;
    use crate::disk::sim::Rng;

    fn build(entries: &[Owned], interval: usize) -> Vec<u8> {
        let mut builder = BlockBuilder::new(interval);
        entries.iter().for_each(|e| builder.add(&e.entry()));
        let (len, mut out) = (builder.len(), Vec::new());
        builder.finish(&mut out);
        assert_eq!(out.len(), len);
        out
    }

    fn forwards(block: &Block<'_>) -> Result<Vec<Owned>, Flaw> {
        let (mut cursor, mut all) = (Cursor::default(), Vec::new());
        let mut found = cursor.first(block)?;
        while found {
            all.push(Owned::of(cursor.entry(block)));
            found = cursor.next(block)?;
        }
        Ok(all)
    }

    fn backwards(block: &Block<'_>) -> Result<Vec<Owned>, Flaw> {
        let (mut cursor, mut all) = (Cursor::default(), Vec::new());
        let mut found = cursor.last(block)?;
        while found {
            all.push(Owned::of(cursor.entry(block)));
            found = cursor.prev(block)?;
        }
        all.reverse();
        Ok(all)
    }

    #[test]
    fn an_entry_before_the_first_restart_fails_the_check() {
        let mut builder = BlockBuilder::new(1);
        for key in [&b"a"[..], b"b"] {
            builder.add(&Entry { key, seq: 1, kind: Kind::Put, value: b"v" });
        }
        let mut bytes = Vec::new();
        builder.finish(&mut bytes);
        assert_eq!(Block::new(&bytes).unwrap().verify(), Ok(2));
        // The table loses its first restart.
        let table = bytes.len() - 12;
        bytes.drain(table..table + 4);
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&1u32.to_be_bytes());
        assert!(Block::new(&bytes).unwrap().verify().unwrap_err().contains("first entry"));
    }

    #[test]
    fn entries_read_back_in_both_directions() {
        let mut rng = Rng::new(1);
        for count in [1, 2, 15, 16, 17, 100] {
            for interval in [1, 2, RESTART] {
                let entries = random_entries(&mut rng, count);
                let bytes = build(&entries, interval);
                let block = Block::new(&bytes).unwrap();
                assert_eq!(forwards(&block).unwrap(), entries);
                assert_eq!(backwards(&block).unwrap(), entries);
                assert_eq!(block.verify(), Ok(count as u64));
            }
        }
    }

    #[test]
    fn a_search_finds_what_a_walk_finds() {
        let mut rng = Rng::new(2);
        for round in 0..60 {
            let entries = random_entries(&mut rng, 1 + round * 2);
            let bytes = build(&entries, [1, 3, RESTART][round % 3]);
            let block = Block::new(&bytes).unwrap();
            for probe in random_entries(&mut rng, 60) {
                let seq = [probe.seq, 0, i64::MAX][rng.below(3) as usize];
                let place = (&probe.key[..], seq);
                let found = block.find(&probe.key, seq).unwrap();
                let found = found.map(|f| (f.seq, f.kind, bytes[f.value].to_vec()));
                let expected = naive_get(&entries, &probe.key, seq).map(|e| (e.seq, e.kind, e.value));
                assert_eq!(found, expected, "{place:?}");

                let mut cursor = Cursor::default();
                let found = cursor.seek(&block, place).unwrap().then(|| Owned::of(cursor.entry(&block)));
                let expected = entries.iter().find(|e| tree_order(e.entry().place(), place).is_ge());
                assert_eq!(found.as_ref(), expected, "{place:?}");
            }
        }
    }

    #[test]
    fn neighbours_share_their_beginnings() {
        let entries: Vec<Owned> =
            (0..100).map(|n| Owned::put(format!("a-long-common-beginning-{n:03}"), n, "")).collect();
        assert!(build(&entries, RESTART).len() * 2 < build(&entries, 1).len());
    }

    #[test]
    fn whatever_the_bytes_are_nothing_panics() {
        let mut rng = Rng::new(3);
        let good = build(&random_entries(&mut rng, 40), 4);
        let look = |bytes: &[u8]| {
            let Ok(block) = Block::new(bytes) else { return false };
            let (all, back) = (forwards(&block), backwards(&block));
            for key in [&b""[..], b"user:0000a", b"\xff\xff"] {
                let _ = block.find(key, 20);
                let _ = Cursor::default().seek(&block, (key, 20));
            }
            match block.verify() {
                Ok(n) => assert!(all.unwrap().len() as u64 == n && back.unwrap().len() as u64 == n),
                Err(_) => return false,
            }
            true
        };
        assert!(look(&good));
        (0..good.len()).for_each(|cut| assert!(!look(&good[..cut]), "cut at {cut}"));
        let mut unnoticed = 0;
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            unnoticed += usize::from(look(&bad));
        }
        assert!(unnoticed > 0, "values and numbers may be anything: only the seal knows");
        for _ in 0..3_000 {
            let mut bad = good.clone();
            (0..1 + rng.below(4)).for_each(|_| {
                let at = rng.below(bad.len() as u64) as usize;
                bad[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5) as usize];
            });
            look(&bad);
        }
    }
}
