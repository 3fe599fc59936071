//! A flush: a frozen memtable becomes a run of level 0, on a worker.
//!
//! Invariant: the manifest says that the tree covers the memtable only when its run, file and name, is durable.

use std::io;
use std::sync::Arc;

use super::sieve::{Floors, Sieve, Tally};
use super::store::{Change, Store};
use super::sweep::Sweep;
use super::{Memtable, RunMeta};
use crate::disk::Disk;

/// A flush that is to be done.
pub struct Flush {
    pub(super) store: Store,
    pub(super) table: Arc<Memtable>,
    /// The memtable holds every record below that no older one holds.
    pub(super) upto: i64,
    pub(super) pins: Vec<i64>,
    pub(super) sweep: Sweep,
}

/// A flush that was done, or has failed; for [`super::Tree::flushed`].
pub struct Flushed {
    pub(super) result: io::Result<(Change, Tally)>,
}

impl Flush {
    /// Writes the run and makes it part of the tree. Waits for the device.
    pub fn run(mut self, disk: &dyn Disk) -> Flushed {
        let result = self.work(disk);
        self.sweep.run();
        Flushed { result }
    }

    fn work(&mut self, disk: &dyn Disk) -> io::Result<(Change, Tally)> {
        let mut change = Change { covered: Some(self.upto), ..Change::default() };
        let mut tally = Tally::default();
        if !self.table.is_empty() {
            let mut sieve = Sieve::new(std::mem::take(&mut self.pins), Floors::NONE);
            let mut begun = Vec::new();
            let written = self.write(disk, &mut sieve, &mut begun);
            // The disk may be full, and nothing refers to what was written.
            let meta = written.inspect_err(|_| self.store.remove(disk, &begun))?;
            tally = sieve.finish();
            assert_eq!((tally.seen, tally.kept), (self.table.entries(), meta.entries));
            change.horizon = sieve.horizon();
            change.added.push((0, self.store.open(disk, meta)?));
        }
        self.store.apply(&change)?;
        Ok((change, tally))
    }

    fn write(&self, disk: &dyn Disk, sieve: &mut Sieve, begun: &mut Vec<u64>) -> io::Result<RunMeta> {
        let mut writer = self.store.create(disk, begun)?;
        for entry in self.table.iter() {
            sieve.pass(entry, |_| false, &mut |kept| writer.add(kept))?;
        }
        writer.finish()
    }
}
