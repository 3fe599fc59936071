//! How far the cleaner has come: a small file, so that a restart does not take every record for uncleaned.
//!
//! ```text
//!  0 magic "KRAPPYCL"     12 upto i64               28 crc32 u32 of bytes 0..28
//!  8 format u32 = 1       20 tombstones below i64
//! ```
//!
//! Invariant: the file is written after the segments that it tells of are in place, and never ahead of them. It is a
//! cache: without it the next pass looks at everything again.

use std::io;
use std::path::Path;

use crate::disk::{self, Disk};

/// The file's name in the partition's directory.
pub const NAME: &str = "cleaned";
const MAGIC: &[u8; 8] = b"KRAPPYCL";
const FORMAT: u32 = 1;
const BYTES: usize = 32;

/// What the last whole pass of the cleaner has reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The pass went from the log start to here: of two records of a key below, the older one is gone, unless it could
    /// not be read.
    pub upto: i64,
    /// Below here the log holds no tombstone, and nothing that one which was removed has hidden.
    pub tombstones_below: i64,
}

impl Progress {
    /// The file's content.
    pub fn encode(&self) -> [u8; BYTES] {
        let mut out = [0; BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&FORMAT.to_be_bytes());
        out[12..20].copy_from_slice(&self.upto.to_be_bytes());
        out[20..28].copy_from_slice(&self.tombstones_below.to_be_bytes());
        let crc = crc32fast::hash(&out[..28]);
        out[28..].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads the file; `None` if it is damaged or makes no sense.
    pub fn decode(bytes: &[u8]) -> Option<Progress> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let i64_at = |at: usize| i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let progress = Progress { upto: i64_at(12), tombstones_below: i64_at(20) };
        let mut same = progress.encode() == *bytes;
        same &= 0 <= progress.tombstones_below && progress.tombstones_below <= progress.upto;
        same.then_some(progress)
    }

    /// What the file in this directory says; nothing, if it is not there or damaged, or claims to know what the log,
    /// which ends at `end`, does not hold.
    pub fn read(disk: &dyn Disk, dir: &Path, end: i64) -> io::Result<Progress> {
        match disk::read_file(disk, &dir.join(NAME)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Progress::default()),
            Err(e) => Err(e),
            Ok(bytes) => Ok(Progress::decode(&bytes).filter(|p| p.upto <= end).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let progress = Progress { upto: 4_711, tombstones_below: 815 };
        let good = progress.encode();
        assert_eq!(Progress::decode(&good), Some(progress));
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Progress::decode(&bad), None, "bit {bit}");
        }
        for cut in 0..good.len() {
            assert_eq!(Progress::decode(&good[..cut]), None, "{cut}");
        }
        let nonsense = Progress { upto: 5, tombstones_below: 6 };
        assert_eq!(Progress::decode(&nonsense.encode()), None);
    }

    #[test]
    fn a_file_that_knows_more_than_the_log_holds_is_not_believed() {
        let sim = crate::disk::sim::SimDisk::new(1);
        let dir = Path::new("/");
        assert_eq!(Progress::read(&sim, dir, 100).unwrap(), Progress::default());
        let progress = Progress { upto: 50, tombstones_below: 20 };
        sim.set_raw(&dir.join(NAME), &progress.encode()).unwrap();
        assert_eq!(Progress::read(&sim, dir, 50).unwrap(), progress);
        assert_eq!(Progress::read(&sim, dir, 49).unwrap(), Progress::default());
    }
}
