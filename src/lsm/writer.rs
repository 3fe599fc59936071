//! Writes a run file, entry by entry.

use std::io;
use std::path::Path;

use super::{Entry, RunMeta};
use crate::disk::Disk;

/// A run file under construction.
pub struct RunWriter;

impl RunWriter {
    /// Begins `<number>.run`; one that a crash has left is overwritten.
    pub fn create(_disk: &dyn Disk, _dir: &Path, _number: u64) -> io::Result<Self> {
        unimplemented!()
    }

    /// Adds the entry that follows in tree order.
    pub fn add(&mut self, _entry: Entry<'_>) -> io::Result<()> {
        unimplemented!()
    }

    /// Bytes of blocks so far.
    pub fn bytes(&self) -> u64 {
        unimplemented!()
    }

    /// Writes what finds the entries and syncs the file. Its name is durable when the directory has been synced.
    pub fn finish(self) -> io::Result<RunMeta> {
        unimplemented!()
    }
}
