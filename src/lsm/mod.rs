//! The sorted view of a compacted topic's partition: the newest value of each key, in a log-structured merge tree.
//!
//! ```text
//!  insert
//!    v
//!  [ active memtable ]  [ frozen ] [ frozen ]           in memory; after a crash the log is replayed to here
//!                            | flush: one run, what was superseded within the memtable is left out
//!  level 0   [ a ........ z ] [ c ........ x ]  ..      they overlap; 4 of them are merged down, all at once
//!                            | merge: in order, the newest version of a key and what pins see goes on
//!  level 1   [ a . f ] [ g . m ] [ n . z ]              disjoint runs near 8 MiB, together 64 MiB
//!                            | merge: one run and those below that it overlaps
//!  level 2   [ a b ] [ c d ] [ e g ] ..                 640 MiB, and so on by tens; the last level is the bottom
//!
//!  in the folder view/ of the partition:
//!     MANIFEST-000007     which run files count, on which level, and up to where they cover the log
//!     000042.run          a sorted, immutable file of entries
//! ```
//!
//! This module knows bytes, a sequence number and nothing of topics. The sequence number is the offset of the record in
//! the log, and the log is the only log: what the run files do not cover is replayed from it, so nothing here is synced
//! before it is in a run. A view can be deleted at any time and is built anew from the log.
//!
//! # What it costs
//!
//! *Writing.* A record is written once by its flush, about twice on its way to level 1, and on each further level about
//! six times: a merge takes one run and the ten below it, but the level is half empty on average and many versions are
//! superseded before they sink. So n levels that hold data write a record about 3 + 6 (n - 1) times at most: 3 for
//! views below 64 MiB, 9 below 700 MiB, 15 below 7 GiB. Keys that arrive in order are written once, because runs that
//! overlap nothing only change their level. `cargo run --example lsm_levels` shows it for four loads.
//!
//! *Reading.* A get looks at the memtables, at each run of level 0 and at one run of each further level. The filters
//! have 10 bits for each key and let one miss in a hundred through, so a get reads one block of 8 KiB if the key
//! exists, and mostly none if it does not. A scan reads all levels side by side.
//!
//! *Space.* A level holds a tenth of the next one, so superseded versions add a ninth to the space at most when the
//! bottom level is full, and until then they may double it. While a merge runs, its inputs are there twice.
//!
//! *Memory.* Filter and index of every open run: 10 bits and a share of an index entry, for keys of 16 and values of
//! 100 bytes 2 bytes a record. A memtable of 16 MiB, up to two more that wait to be flushed. A merge holds a window of
//! 128 KiB of each source and a quarter of a MiB to write.
//!
//! # In which order to read
//!
//! The living side: [`memtable`], `sources` and `scan` (many parts read as one), `sieve` and `snapshot` (what may be
//! dropped), [`levels`] (what to merge next), `flush` and `merge` (the jobs), `version` (the runs of a moment) and
//! `tree`, which joins them.
//!
//! The file side, from the bottom up: [`varint`], [`block`] (entries, prefix-compressed, under one checksum),
//! [`bloom`] (is this key surely not here?), `index` and `footer` (where the blocks are), [`writer`], [`run`] (one key)
//! and [`iter`] (many), `tip` (which runs make up the tree) and [`manifest`] (the tip, on disk).
//! `docs/FORMATS.md` has every byte of every file.
//!
//! Invariants: a view is what the log says, after a crash at any moment too; a merge drops only what nobody can see; a
//! byte that is read back is checked before it is believed, so damage is an error and never "the key is not there".

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
