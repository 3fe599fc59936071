//! What the manifest says about a run file, and the file's name.
//!
//! Invariant: it is written once, by the writer of the run, and the run repeats all of it in its footer and index, so
//! that a manifest and a file that do not belong together are told apart.

use super::MOST_KEY;
use super::block::Flaw;

/// A run file, as the tree sees it without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunMeta {
    /// The number in its name.
    pub number: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Entries, tombstones included; at least one.
    pub entries: u64,
    /// How many of them are tombstones.
    pub tombstones: u64,
    /// The first key.
    pub smallest: Vec<u8>,
    /// The last key.
    pub largest: Vec<u8>,
    /// The smallest sequence number.
    pub min_seq: i64,
    /// The largest sequence number.
    pub max_seq: i64,
}

impl RunMeta {
    /// Whether it makes sense.
    pub fn check(&self) -> Result<(), Flaw> {
        let keys = self.smallest <= self.largest && self.smallest.len().max(self.largest.len()) <= MOST_KEY;
        let seqs = (0..=self.max_seq).contains(&self.min_seq) && self.max_seq < i64::MAX;
        let counts = self.entries > 0 && self.tombstones <= self.entries;
        if keys && seqs && counts { Ok(()) } else { Err("what it says about a run contradicts itself") }
    }
}

/// The name of the run file with this number.
pub fn run_name(number: u64) -> String {
    format!("{number:06}.run")
}

/// The number in the name of a run file; `None` for any other name.
pub fn run_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".run")?.parse().ok()?;
    (run_name(number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_the_number_in_one_way_only() {
        assert_eq!((run_name(42), run_name(1 << 40)), ("000042.run".into(), "1099511627776.run".into()));
        assert_eq!((run_number("000042.run"), run_number("1099511627776.run")), (Some(42), Some(1 << 40)));
        for name in ["42.run", "0000042.run", "+00042.run", "000042.run.tmp", "x.run", ".run", "000042"] {
            assert_eq!(run_number(name), None, "{name}");
        }
    }
}
