//! The index of a run: where each block begins, and which keys can only lie behind that place.
//!
//! It is a block itself, in which every entry is a restart, so that it is searched as it lies on disk. For each block
//! of the run it has a *fence* and, as value, the block's position (u64): all entries of the block come after the fence
//! in tree order, all entries before the block do not. A closing entry has the place of the last entry of the run and
//! the position behind the last block.
//!
//! A fence is as short as it can be: between the keys `apple` and `banana` it is `b`, with the largest sequence number,
//! which no entry has. Between two versions of one key it is the place of the newer one. So the search for one version
//! of one key looks into one block.
//!
//! Invariant: an index that has been parsed has at least one block; fences and positions rise.

use std::ops::Range;

use super::block::{Block, BlockBuilder, Flaw, common};
use super::{Entry, Kind};

/// Puts an index together.
#[derive(Debug)]
pub struct IndexBuilder(BlockBuilder);

impl Default for IndexBuilder {
    fn default() -> Self {
        IndexBuilder(BlockBuilder::new(1))
    }
}

impl IndexBuilder {
    /// Adds the first block, which begins with this key.
    pub fn first(&mut self, key: &[u8]) {
        self.add(key, i64::MAX, 0);
    }

    /// Adds a block at `position` that begins with `next`, behind one that ends with `last`.
    pub fn block(&mut self, last: (&[u8], i64), next: &[u8], position: u64) {
        if last.0 == next {
            self.add(last.0, last.1, position);
        } else {
            self.add(&next[..=common(last.0, next)], i64::MAX, position);
        }
    }

    /// Adds the end, and appends the index to `out`.
    pub fn finish(mut self, last: (&[u8], i64), position: u64, out: &mut Vec<u8>) {
        self.add(last.0, last.1, position);
        self.0.finish(out);
    }

    fn add(&mut self, key: &[u8], seq: i64, position: u64) {
        self.0.add(&Entry { key, seq, kind: Kind::Put, value: &position.to_be_bytes() });
    }
}

/// An index in memory.
#[derive(Debug)]
pub struct Index {
    bytes: Vec<u8>,
    blocks: usize,
}

impl Index {
    /// Checks an index, which ends where the blocks do: at `end`.
    pub fn parse(bytes: Vec<u8>, end: u64) -> Result<Index, Flaw> {
        let block = Block::new(&bytes)?;
        let entries = block.verify()? as usize;
        if entries != block.restarts() || entries < 2 {
            return Err("it has no block, or an entry that is no restart");
        }
        let mut before = None;
        for n in 0..entries {
            let here = position(&block.at_restart(n)?)?;
            if before.map_or(here != 0, |before| before >= here) {
                return Err("its positions do not rise from 0");
            }
            before = Some(here);
        }
        if before != Some(end) {
            return Err("its blocks do not end where the filter begins");
        }
        Ok(Index { blocks: entries - 1, bytes })
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// The bytes of a block.
    pub fn range(&self, block: usize) -> Range<u64> {
        assert!(block < self.blocks, "block {block} of {}", self.blocks);
        let at = |n| position(&self.entry(n)).expect("checked by parse");
        at(block)..at(block + 1)
    }

    /// The block in which an entry at this place would be. The first entry at or after the place is in there, or it is
    /// the first of the block behind; in that case it is of another key.
    pub fn find(&self, place: (&[u8], i64)) -> usize {
        // The largest number stands for "the newest version there is", and must not be mistaken for a fence.
        let place = (place.0, place.1.min(i64::MAX - 1));
        let fences = self.block().restarts_before(place).expect("checked by parse");
        fences.saturating_sub(1).min(self.blocks - 1)
    }

    /// The first key of the run.
    pub fn smallest(&self) -> &[u8] {
        self.entry(0).key
    }

    /// The last key of the run.
    pub fn largest(&self) -> &[u8] {
        self.entry(self.blocks).key
    }

    fn entry(&self, n: usize) -> Entry<'_> {
        self.block().at_restart(n).expect("checked by parse")
    }

    fn block(&self) -> Block<'_> {
        Block::new(&self.bytes).expect("checked by parse")
    }
}

fn position(entry: &Entry<'_>) -> Result<u64, Flaw> {
    let bytes = entry.value.try_into().map_err(|_| "a position is not eight bytes")?;
    Ok(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut builder = IndexBuilder::default();
        builder.first(b"apple");
        builder.block((b"apple", 70), b"banana", 100);
        builder.block((b"banana", 9), b"banana", 200);
        builder.block((b"banana", 5), b"bananas", 300);
        let mut out = Vec::new();
        builder.finish((b"cherry", 8), 400, &mut out);
        out
    }

    #[test]
    fn a_search_leads_to_the_only_block_that_can_hold_the_place() {
        let index = Index::parse(sample(), 400).unwrap();
        assert_eq!((index.blocks(), index.smallest(), index.largest()), (4, &b"apple"[..], &b"cherry"[..]));
        assert_eq!((index.range(0), index.range(3)), (0..100, 300..400));
        for (key, seq, block) in [
            ("", 5, 0),
            ("apple", i64::MAX, 0),
            ("azure", i64::MAX, 0),
            ("b", i64::MAX, 1),
            ("banana", i64::MAX, 1),
            ("banana", 9, 1),
            ("banana", 8, 2),
            ("banana", 0, 2),
            ("bananas", i64::MAX, 3),
            ("zoo", 0, 3),
        ] {
            assert_eq!(index.find((key.as_bytes(), seq)), block, "{key} {seq}");
        }
    }

    #[test]
    fn fences_are_as_short_as_they_can_be() {
        let long = [b'k'; 5_000];
        let mut builder = IndexBuilder::default();
        builder.first(b"a");
        builder.block((b"a", 1), &long, 100);
        let mut out = Vec::new();
        builder.finish((b"l", 1), 200, &mut out);
        assert!(out.len() < 100);
        assert_eq!(Index::parse(out, 200).unwrap().find((b"b", 1)), 0);
    }

    #[test]
    fn nonsense_is_refused_and_nothing_panics() {
        let good = sample();
        assert!(Index::parse(good.clone(), 401).is_err(), "the blocks end elsewhere");
        for cut in 0..good.len() {
            assert!(Index::parse(good[..cut].to_vec(), 400).is_err());
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(index) = Index::parse(bad, 400) {
                (0..index.blocks()).for_each(|n| assert!(index.range(n).end <= 400));
                assert!(index.find((b"banana", 7)) < index.blocks());
            }
        }
    }
}
