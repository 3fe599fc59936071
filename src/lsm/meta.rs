//! What the manifest says about a run file.
//!
//! Invariant: it is written once, by the writer of the run, and the footer of the run repeats what it can, so that a
//! manifest and a file that do not belong together are told apart.

/// A run file, as the tree sees it without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunMeta {
    /// The number in its name.
    pub number: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Entries, tombstones included.
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

/// The name of the run file with this number.
pub fn run_name(number: u64) -> String {
    format!("{number:06}.run")
}
