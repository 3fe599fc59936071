//! What the tests of this module share: random entries in order, and runs of them on a simulated disk.

use std::path::Path;
use std::sync::Arc;

use super::{Access, Entry, Kind, ReadError, Run, RunMeta, RunWriter, tree_order};
use crate::disk::Disk;
use crate::disk::sim::{Rng, SimDisk};

/// Where the view lies.
pub const DIR: &str = "/view";

/// An entry with its own bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    pub key: Vec<u8>,
    pub seq: i64,
    pub kind: Kind,
    pub value: Vec<u8>,
}

impl Owned {
    pub fn put(key: impl Into<Vec<u8>>, seq: i64, value: impl Into<Vec<u8>>) -> Owned {
        Owned { key: key.into(), seq, kind: Kind::Put, value: value.into() }
    }

    pub fn tombstone(key: impl Into<Vec<u8>>, seq: i64) -> Owned {
        Owned { kind: Kind::Tombstone, ..Owned::put(key, seq, "") }
    }

    pub fn of(entry: Entry<'_>) -> Owned {
        Owned { key: entry.key.to_vec(), seq: entry.seq, kind: entry.kind, value: entry.value.to_vec() }
    }

    pub fn entry(&self) -> Entry<'_> {
        Entry { key: &self.key, seq: self.seq, kind: self.kind, value: &self.value }
    }
}

/// A disk with the folder of a view.
pub fn disk(seed: u64) -> (SimDisk, Arc<dyn Disk>) {
    let sim = SimDisk::new(seed);
    sim.create_dir(Path::new(DIR)).unwrap();
    sim.sync_dir(Path::new("/")).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    (sim, disk)
}

/// Keys with long and short common beginnings, prefixes of each other, the empty one; of some keys many versions.
pub fn random_entries(rng: &mut Rng, count: usize) -> Vec<Owned> {
    let mut entries: Vec<Owned> = (0..count as i64)
        .map(|seq| {
            let mut key = if rng.below(2) == 0 { b"user:0000".to_vec() } else { Vec::new() };
            key.extend((0..rng.below(5)).map(|_| b"ab\0\xff"[rng.below(4) as usize]));
            let most = if rng.below(20) == 0 { 3_000 } else { 90 };
            let value = vec![seq as u8; rng.below(most) as usize];
            let kind = if rng.below(4) == 0 { Kind::Tombstone } else { Kind::Put };
            Owned { key, seq, kind, value }
        })
        .collect();
    entries.sort_by(|a, b| tree_order(a.entry().place(), b.entry().place()));
    entries
}

pub fn write_run(disk: &dyn Disk, number: u64, entries: &[Owned]) -> RunMeta {
    let mut writer = RunWriter::create(disk, Path::new(DIR), number).unwrap();
    entries.iter().for_each(|e| writer.add(e.entry()).unwrap());
    writer.finish().unwrap()
}

pub fn open_run(disk: &dyn Disk, meta: &RunMeta) -> Arc<Run> {
    Arc::new(Run::open(disk, Path::new(DIR), meta.clone()).unwrap())
}

/// Does a read again, warming up, until it is not cold.
pub fn warmed<T>(mut read: impl FnMut() -> Result<T, ReadError>) -> Result<T, ReadError> {
    loop {
        match read() {
            Err(ReadError::Cold(warm)) => warm.run().map_err(ReadError::Io)?,
            other => return other,
        }
    }
}

/// The newest version of a key as of a sequence number, from a run.
pub fn get(run: &Run, key: &[u8], as_of: i64) -> Result<Option<Owned>, ReadError> {
    let mut scratch = Vec::new();
    let found = warmed(|| run.get(key, as_of, Access::Cached, &mut scratch))?;
    Ok(found.map(|(seq, kind, value)| Owned { key: key.to_vec(), seq, kind, value: scratch[value].to_vec() }))
}

/// The same, the slow way.
pub fn naive_get(entries: &[Owned], key: &[u8], as_of: i64) -> Option<Owned> {
    entries.iter().find(|e| e.key == key && e.seq <= as_of).cloned()
}
