//! The bytes of a whole file, read-only, as one slice.
//!
//! Invariant: the slice has the length that the file had when it was mapped, and the file is not shortened while the
//! value lives. The log keeps this: sealed segments never change, active segments only grow, and whoever cuts a file
//! (recovery) does so before anything maps it.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::ops::Deref;
use std::sync::Arc;

/// A read-only view of a file's bytes. The file may be renamed or removed while the view lives.
#[derive(Debug)]
pub struct Map(Source);

#[derive(Debug)]
enum Source {
    Kernel(memmap2::Mmap),
    Memory(Arc<[u8]>),
}

impl Map {
    /// Maps all of a real file as it is now. An empty file gives an empty slice.
    pub fn of_file(file: &fs::File) -> io::Result<Map> {
        // The kernel refuses to map nothing.
        if file.metadata()?.len() == 0 {
            return Ok(Map::of_bytes(Vec::new()));
        }
        // SAFETY: the slice is sound as long as nobody shortens the file (a read would then raise SIGBUS) and nobody
        // writes to a byte that is being read. krappy holds the lock of the data folder, files have mode 0600, and
        // within krappy only appends touch a mapped file: they write behind what readers have been told exists. Another
        // program of the same user that breaks this could as well write into our memory.
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Map(Source::Kernel(map)))
    }

    /// A view of bytes in memory, for disks that are not real.
    pub fn of_bytes(bytes: impl Into<Arc<[u8]>>) -> Map {
        Map(Source::Memory(bytes.into()))
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Kernel(map) => map,
            Source::Memory(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_memory_are_seen_as_they_are() {
        assert_eq!(&*Map::of_bytes(b"abc".to_vec()), b"abc");
        assert!(Map::of_bytes(Vec::new()).is_empty());
    }
}
