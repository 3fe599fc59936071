//! The sorted view of a compacted topic's partition: the newest value of each key, in a log-structured merge tree.
//!
//! ```text
//!   view/ of a partition
//!     MANIFEST-000007     which run files count, on which level, and up to where they cover the log
//!     000042.run          a sorted, immutable file of entries
//! ```
//!
//! This module knows bytes, a sequence number and nothing of topics. The sequence number is the offset of the record in
//! the log, and the log is the only log: what the run files do not cover is replayed from it, so nothing here is synced
//! before it is in a run.
//!
//! The file side, from the bottom up: [`varint`], [`block`] (entries, prefix-compressed, under one checksum),
//! [`bloom`] (is this key surely not here?), `index` and `footer` (where the blocks are), [`writer`], [`run`] (one key)
//! and [`iter`] (many), `tip` (which runs make up the tree) and [`manifest`] (the tip, on disk).
//! `docs/FORMATS.md` has every byte of every file.
//!
//! Invariant of the files: a byte that is read back is checked before it is believed, so damage is an error and never
//! "the key is not there".

mod access;
pub mod block;
pub mod bloom;
mod flush;
pub mod footer;
pub mod index;
mod iter;
pub mod levels;
pub mod manifest;
pub mod memtable;
mod merge;
mod meta;
pub mod record;
pub mod run;
mod scan;
pub mod seal;
mod sieve;
mod snapshot;
mod sources;
mod stats;
mod store;
mod sweep;
#[cfg(test)]
pub(crate) mod testing;
mod tip;
mod tree;
mod varint;
mod verify;
mod version;
pub mod writer;

pub use access::{Access, ReadError, Warm};
pub use flush::{Flush, Flushed};
pub use iter::RunIter;
pub use levels::Options;
pub use manifest::{Manifest, OpenError};
pub use memtable::Memtable;
pub use merge::{Merge, Merged, Step};
pub use meta::{RunMeta, run_name};
pub use run::Run;
pub use scan::{KeyRange, TreeIter};
pub use sieve::Floors;
pub use stats::{LevelStats, Stats};
pub use sweep::Sweep;
pub use tip::{Edit, LEVELS, Tip};
pub use tree::{Found, Pressure, Tree};
pub use version::Version;
pub use writer::RunWriter;

use std::cmp::Ordering;

/// Bytes of the longest key that a tree takes: index and manifest hold keys, and both live in memory.
pub const MOST_KEY: usize = 64 << 10;

/// What an entry says about its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The key was deleted.
    Tombstone = 0,
    /// The key has this value.
    Put = 1,
}

/// One version of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key, possibly empty, at most [`MOST_KEY`] bytes.
    pub key: &'a [u8],
    /// The record's offset in the log; never negative.
    pub seq: i64,
    /// Whether the key was set or deleted.
    pub kind: Kind,
    /// What was stored with it; a tombstone may carry something, too.
    pub value: &'a [u8],
}

impl Entry<'_> {
    /// Where the entry stands in the order of the tree.
    pub fn place(&self) -> (&[u8], i64) {
        (self.key, self.seq)
    }
}

/// The order of the tree: by key, bytewise; among versions of a key, the newest first.
pub fn tree_order(a: (&[u8], i64), b: (&[u8], i64)) -> Ordering {
    a.0.cmp(b.0).then(b.1.cmp(&a.1))
}
