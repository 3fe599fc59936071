//! Checks a run file from the first block to the last: all that readers take for granted, and all that it says of
//! itself.
//!
//! Invariant: a run that passes gives the right answer to every question, and the error names the first byte that is
//! wrong.

use super::block::{Block, Cursor, Flaw};
use super::{Entry, Kind, ReadError, Run, tree_order};

impl Run {
    /// Reads every block, waiting for the device, and holds it against index, filter and footer.
    pub fn verify(&self) -> Result<(), ReadError> {
        let mut seen = Seen { seqs: (i64::MAX, i64::MIN), ..Seen::default() };
        let mut scratch = Vec::new();
        for n in 0..self.blocks() {
            let block = self.read_block(n, &mut scratch)?;
            block
                .verify()
                .and_then(|_| self.compare(n, &block, &mut seen))
                .map_err(|flaw| self.corrupt(n, flaw))?;
        }
        let meta = self.meta();
        let counts = (seen.entries, seen.tombstones) == (meta.entries, meta.tombstones);
        let keys = (&seen.first, &seen.last.0) == (&meta.smallest, &meta.largest);
        if counts && keys && seen.seqs == (meta.min_seq, meta.max_seq) {
            return Ok(());
        }
        let at = self.block_range(self.blocks() - 1).end;
        Err(ReadError::Corrupt(format!(
            "{}: what lies behind byte {at} says other things than the blocks before it",
            self.path().display()
        )))
    }

    fn compare(&self, n: usize, block: &Block<'_>, seen: &mut Seen) -> Result<(), Flaw> {
        let mut cursor = Cursor::default();
        let mut found = cursor.first(block)?;
        while found {
            let entry = cursor.entry(block);
            if seen.entries > 0 && tree_order((&seen.last.0, seen.last.1), entry.place()).is_ge() {
                return Err("its first entry belongs before the block before it");
            }
            if self.index().find(entry.place()) != n {
                return Err("the index looks for one of its entries elsewhere");
            }
            if !self.may_hold(entry.key) {
                return Err("the filter or the range denies one of its keys");
            }
            seen.add(&entry);
            found = cursor.next(block)?;
        }
        Ok(())
    }
}

/// What the blocks so far held.
#[derive(Default)]
struct Seen {
    entries: u64,
    tombstones: u64,
    first: Vec<u8>,
    last: (Vec<u8>, i64),
    seqs: (i64, i64),
}

impl Seen {
    fn add(&mut self, entry: &Entry<'_>) {
        if self.entries == 0 {
            self.first = entry.key.to_vec();
        }
        self.entries += 1;
        self.tombstones += u64::from(entry.kind == Kind::Tombstone);
        self.last.0.clear();
        self.last.0.extend_from_slice(entry.key);
        self.last.1 = entry.seq;
        self.seqs = (self.seqs.0.min(entry.seq), self.seqs.1.max(entry.seq));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::seal::{SEAL, seal};
    use super::super::testing::*;
    use crate::disk::sim::Rng;

    #[test]
    fn a_good_run_passes_and_a_flipped_bit_in_any_block_is_named() {
        let (sim, disk) = disk(1);
        let run = open_run(&*disk, &write_run(&*disk, 1, &random_entries(&mut Rng::new(1), 1_000)));
        run.verify().unwrap();
        for n in 0..run.blocks() {
            let bit = (run.block_range(n).end - 1) * 8;
            sim.flip_bit(&Path::new(DIR).join("000001.run"), bit).unwrap();
            let says = format!("block at byte {}: it fails its checksum", run.block_range(n).start);
            assert!(run.verify().unwrap_err().to_string().ends_with(&says));
            sim.flip_bit(&Path::new(DIR).join("000001.run"), bit).unwrap();
        }
    }

    #[test]
    fn a_block_with_a_good_checksum_that_does_not_fit_the_rest_is_noticed() {
        let (sim, disk) = disk(1);
        let entries: Vec<Owned> =
            (0..20).map(|n| Owned::put(format!("key {n:02}"), n, vec![7; 2_000])).collect();
        let run = open_run(&*disk, &write_run(&*disk, 1, &entries));
        let path = Path::new(DIR).join("000001.run");
        let good = sim.raw(&path).unwrap();
        let second = run.block_range(1);
        let (from, to) = (second.start as usize, second.end as usize - SEAL);
        // Bytes of the first entry: three lengths (the third in two bytes, with the kind), sequence number, key.
        for (byte, value, says) in [
            (2, 0xa0, "says other things"),
            (5 + 4, b'9', "the index looks for one of its entries elsewhere"),
            (5 + 4, b'.', "belongs before the block before it"),
            (5 + 5, b'0', "belongs before the block before it"),
        ] {
            let mut content = good[from..to].to_vec();
            content[byte] = value;
            seal(&mut content, 0, 1, second.start);
            let bad = [&good[..from], &content, &good[second.end as usize..]].concat();
            sim.set_raw(&path, &bad).unwrap();
            let error = run.verify().err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(says), "{error}, not {says}");
        }
    }
}
