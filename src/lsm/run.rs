//! A run file, open for reading.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::{Access, Entry, Kind, ReadError, RunMeta};
use crate::disk::Disk;

/// A sorted, immutable file of entries.
pub struct Run;

impl Run {
    /// Opens `<number>.run` and reads footer, index and filter. `InvalidData` when they are damaged or are not what
    /// `meta` says.
    pub fn open(_disk: &dyn Disk, _dir: &Path, _meta: RunMeta) -> io::Result<Run> {
        unimplemented!()
    }

    /// What the manifest says about it.
    pub fn meta(&self) -> &RunMeta {
        unimplemented!()
    }

    /// Whether the key may be in here: `false` is certain.
    pub fn may_hold(&self, _key: &[u8]) -> bool {
        unimplemented!()
    }

    /// The newest version of `key` with a sequence number of at most `as_of`; its value lies in `scratch` at the range
    /// returned.
    pub fn get(
        &self,
        _key: &[u8],
        _as_of: i64,
        _access: Access,
        _scratch: &mut Vec<u8>,
    ) -> Result<Option<(i64, Kind, Range<usize>)>, ReadError> {
        unimplemented!()
    }

    /// An iterator that is nowhere yet: seek it first.
    pub fn iter(self: &Arc<Self>, _access: Access) -> RunIter {
        unimplemented!()
    }
}

/// Walks a run in both directions. A call that ends in an error leaves it where it was; after `Cold`, repeat the call.
pub struct RunIter;

impl RunIter {
    /// To the first entry at or after `(key, seq)` in tree order; `i64::MAX` means the first version of the key.
    pub fn seek(&mut self, _key: &[u8], _seq: i64) -> Result<(), ReadError> {
        unimplemented!()
    }

    /// To the last entry with a key below `key`, or equal to it if `inclusive`; `None`: to the very last.
    pub fn seek_back(&mut self, _key: Option<&[u8]>, _inclusive: bool) -> Result<(), ReadError> {
        unimplemented!()
    }

    /// To the first entry.
    pub fn first(&mut self) -> Result<(), ReadError> {
        unimplemented!()
    }

    /// Where it is; `None` past either end.
    pub fn entry(&self) -> Option<Entry<'_>> {
        unimplemented!()
    }

    /// To the entry after; past the end it stays there.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<(), ReadError> {
        unimplemented!()
    }

    /// To the entry before; past the beginning it stays there.
    pub fn prev(&mut self) -> Result<(), ReadError> {
        unimplemented!()
    }
}
