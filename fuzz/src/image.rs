//! Bytes as the files of a partition, for recovery to open. What the mark and the index claim need not be true.
//!
//! ```text
//! 0 flags u8          bit 0: the last stop was clean      1 second base u16     9 position of the mark u16
//!                     bit 1: there is a mark              3 first length u16   11 the two segment files
//!                     bit 2: there is an index            5 durable offset u16
//!                     bit 3: there is a second segment    7 log start u16
//! ```
//!
//! The mark and the index are made whole here, because what they claim is what matters; their own damage has targets of
//! its own.

use std::path::Path;
use std::sync::Arc;

use krappy::disk::Disk;
use krappy::disk::sim::SimDisk;
use krappy::segment::index::{self, Entry};
use krappy::segment::mark::{Boundary, Mark};
use krappy::segment::{index_name, log_name};

/// Where the partition lies on the simulated disk.
pub const DIR: &str = "/0";
/// Bytes before the segment files.
pub const HEAD: usize = 11;

/// What the head of an input says.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The last stop was clean.
    pub clean: bool,
    /// Base offset of the second segment, if there is one.
    pub second: Option<i64>,
    mark: Option<Mark>,
    index: bool,
    split: usize,
}

/// Reads the head; the rest is the segment files.
pub fn plan(input: &[u8]) -> Option<(Plan, &[u8])> {
    let (head, files) = input.split_at_checked(HEAD)?;
    let u16_at = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let second = (head[0] & 8 != 0).then(|| i64::from(u16_at(1)).max(1));
    let split = if second.is_some() { usize::from(u16_at(3)).min(files.len()) } else { files.len() };
    let durable = Boundary { segment: 0, position: u64::from(u16_at(9)), offset: i64::from(u16_at(5)) };
    let mark = Mark { generation: 1, durable, log_start: i64::from(u16_at(7)) };
    let mark = (head[0] & 2 != 0).then_some(mark);
    Some((Plan { clean: head[0] & 1 != 0, second, mark, index: head[0] & 4 != 0, split }, files))
}

impl Plan {
    /// The content of the two segment files.
    pub fn files<'a>(&self, files: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        files.split_at(self.split)
    }

    /// A disk that holds the partition, durably.
    pub fn disk(&self, files: &[u8]) -> Arc<SimDisk> {
        let disk = SimDisk::new(1);
        let dir = Path::new(DIR);
        disk.create_dir(dir).expect("an empty disk takes a folder");
        disk.sync_dir(Path::new("/")).expect("the root can be synced");
        let put =
            |name: &str, bytes: &[u8]| disk.set_raw(&dir.join(name), bytes).expect("a folder takes a file");
        let (first, second) = self.files(files);
        put(&log_name(0), first);
        if self.index {
            let mut bytes = index::header(0).to_vec();
            bytes.extend_from_slice(&index::encode(0, &Entry::START));
            if let Some(mark) = self.mark.filter(|mark| mark.durable.position > 0 && mark.durable.offset > 0)
            {
                let position = mark.durable.position as u32;
                let entry = Entry { relative: mark.durable.offset as u32, position, max_timestamp: 0 };
                bytes.extend_from_slice(&index::encode(0, &entry));
            }
            put(&index_name(0), &bytes);
        }
        if let Some(base) = self.second {
            put(&log_name(base), second);
        }
        if let Some(mark) = self.mark {
            put("mark", &[[0; 512], mark.encode()].concat());
        }
        Arc::new(disk)
    }
}

/// Makes the lengths and checksums of the batches in the files true, one after the other, as far as their lengths go.
pub fn repair(input: &mut [u8]) {
    let Some((plan, files)) = plan(input) else { return };
    let (first, second) = plan.files(files);
    let lengths = [first.len(), second.len()];
    let mut at = HEAD;
    for (length, base) in lengths.into_iter().zip([0, plan.second.unwrap_or(0)]) {
        repair_batches(&mut input[at..at + length], base);
        at += length;
    }
}

fn repair_batches(mut file: &mut [u8], mut offset: i64) {
    while file.len() >= krappy_wire::batch::HEADER {
        let length = u32::from_be_bytes(file[8..12].try_into().expect("four bytes")) as usize + 12;
        let size = if (61..=file.len()).contains(&length) { length } else { file.len() };
        let (batch, rest) = file.split_at_mut(size);
        batch[..8].copy_from_slice(&offset.to_be_bytes());
        crate::naive::repair(batch);
        let delta = i32::from_be_bytes(batch[23..27].try_into().expect("four bytes"));
        offset = offset.saturating_add(i64::from(delta)).saturating_add(1).max(0);
        file = rest;
    }
}
