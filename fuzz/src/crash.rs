//! A partition that was written honestly, and what a crash and rot then did to it: batches, a true mark, a torn end,
//! and a few damaged bytes. Unlike [`crate::image`], it is known what recovery must keep.
//!
//! ```text
//! 0 flags u8             bit 0: there is a mark        3 first batch of the second segment u8; 0: there is none
//!                        bit 1: there are indexes      4 bytes of garbage behind the last batch u8
//! 1 batches u8           up to 12                      5 damages u8, up to 7, then four bytes each:
//! 2 durable batches u8                                   file u8, position u16, flipped bits u8
//! 6.. sizes of the values of the batches, over and over
//! ```

use std::path::Path;
use std::sync::Arc;

use krappy::disk::Disk;
use krappy::disk::sim::SimDisk;
use krappy::segment::index::{self, Entry};
use krappy::segment::mark::{Boundary, Mark};
use krappy::segment::{index_name, log_name};
use krappy_wire::batch::Builder;

use crate::image::DIR;

/// A batch as it was appended.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Offset of its first record.
    pub base: i64,
    /// The offset after its last.
    pub next: i64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether a byte of it was changed that a checksum or the order of offsets protects.
    pub damaged: bool,
    at: (usize, usize),
}

/// The partition after the crash.
#[derive(Debug)]
pub struct Crashed {
    /// Every batch that was appended, in order.
    pub batches: Vec<Batch>,
    /// How many of them were durable.
    pub durable: usize,
    /// Whether the mark still says so.
    pub marked: bool,
    segments: Vec<(i64, Vec<u8>)>,
    indexes: Vec<Vec<u8>>,
    mark: Vec<u8>,
}

/// Reads an input; `None` if it is too short.
pub fn parse(input: &[u8]) -> Option<Crashed> {
    let (head, rest) = input.split_first_chunk::<6>()?;
    let count = usize::from(head[1]) % 13;
    let durable = usize::from(head[2]) % (count + 1);
    let second = usize::from(head[3]) % (count + 1);
    let damages = usize::from(head[5]) % 8;
    let (damages, sizes) = rest.split_at_checked(damages * 4)?;

    let mut crashed = Crashed {
        batches: Vec::new(),
        durable,
        marked: head[0] & 1 != 0,
        segments: vec![(0, Vec::new())],
        indexes: vec![vec![]],
        mark: Vec::new(),
    };
    let mut boundary = Boundary { segment: 0, position: 0, offset: 0 };
    for n in 0..count {
        if second == n && n > 0 {
            crashed.roll();
        }
        crashed.append(n, sizes);
        if n + 1 == durable {
            let (base, file) = crashed.segments.last().expect("there is a segment");
            boundary = Boundary { segment: *base, position: file.len() as u64, offset: crashed.end() };
        }
    }
    crashed.index(head[0] & 2 != 0);
    if crashed.marked {
        let mark = Mark { generation: 1, durable: boundary, log_start: 0 };
        crashed.mark = [[0; 512], mark.encode()].concat();
    }
    let last = &mut crashed.segments.last_mut().expect("there is a segment").1;
    last.extend((0..head[4]).map(|n| n.wrapping_mul(37)));
    damages.as_chunks::<4>().0.iter().for_each(|&damage| crashed.damage(damage));
    crashed.assess();
    Some(crashed)
}

impl Crashed {
    /// The offset after the last batch that was appended.
    pub fn end(&self) -> i64 {
        self.batches.last().map_or(0, |b| b.next)
    }

    /// Whether a segment begins with this batch.
    pub fn begins_segment(&self, n: usize) -> bool {
        self.batches.get(n).is_some_and(|b| b.at.1 == 0)
    }

    fn roll(&mut self) {
        self.segments.push((self.end(), Vec::new()));
        self.indexes.push(vec![]);
    }

    fn append(&mut self, n: usize, sizes: &[u8]) {
        let base = self.end();
        let size = usize::from(*sizes.get(n % sizes.len().max(1)).unwrap_or(&9));
        let mut bytes = Vec::new();
        let mut builder = Builder::open(&mut bytes, 1_000);
        for _ in 0..1 + n % 3 {
            builder.push(&mut bytes, 1_000 + n as i64, None, Some(&vec![n as u8; size]), std::iter::empty());
        }
        let next = base + i64::from(builder.count());
        builder.close(&mut bytes, base, 1, None);
        let segment = self.segments.len() - 1;
        let file = &mut self.segments[segment].1;
        self.batches.push(Batch {
            base,
            next,
            bytes: bytes.clone(),
            damaged: false,
            at: (segment, file.len()),
        });
        file.extend_from_slice(&bytes);
    }

    /// Entries for every durable boundary, as a sync writes them.
    fn index(&mut self, wanted: bool) {
        if !wanted {
            return;
        }
        for (segment, (base, _)) in self.segments.iter().enumerate() {
            let mut bytes = index::header(*base).to_vec();
            bytes.extend_from_slice(&index::encode(*base, &Entry::START));
            for batch in self.batches[..self.durable].iter().filter(|b| b.at.0 == segment) {
                let entry = Entry {
                    relative: (batch.next - base) as u32,
                    position: (batch.at.1 + batch.bytes.len()) as u32,
                    max_timestamp: 1_000 + self.durable as i64,
                };
                bytes.extend_from_slice(&index::encode(*base, &entry));
            }
            self.indexes[segment] = bytes;
        }
    }

    fn damage(&mut self, [file, high, low, bits]: [u8; 4]) {
        let segments = self.segments.len();
        let which = usize::from(file) % (2 * segments + 1);
        let target = match which {
            n if n < segments => &mut self.segments[n].1,
            n if n < 2 * segments => &mut self.indexes[n - segments],
            _ => &mut self.mark,
        };
        if target.is_empty() || bits == 0 {
            return;
        }
        let at = usize::from(u16::from_be_bytes([high, low])) % target.len();
        target[at] ^= bits;
    }

    /// Compares each batch with what is left of it. The leader epoch is outside of the checksum, because a broker may
    /// write it, so whatever stands there is right.
    fn assess(&mut self) {
        for batch in &mut self.batches {
            let file = &self.segments[batch.at.0].1;
            let left = &file[batch.at.1..][..batch.bytes.len()];
            batch.bytes[12..16].copy_from_slice(&left[12..16]);
            batch.damaged = batch.bytes != left;
        }
        self.marked &= self.mark.get(512..).is_some_and(|slot| Mark::decode(slot).is_some());
    }

    /// A disk that holds what is left.
    pub fn disk(&self) -> Arc<SimDisk> {
        let disk = SimDisk::new(1);
        let dir = Path::new(DIR);
        disk.create_dir(dir).expect("an empty disk takes a folder");
        disk.sync_dir(Path::new("/")).expect("the root can be synced");
        let put =
            |name: &str, bytes: &[u8]| disk.set_raw(&dir.join(name), bytes).expect("a folder takes a file");
        for ((base, file), index) in self.segments.iter().zip(&self.indexes) {
            put(&log_name(*base), file);
            if !index.is_empty() {
                put(&index_name(*base), index);
            }
        }
        if !self.mark.is_empty() {
            put("mark", &self.mark);
        }
        Arc::new(disk)
    }
}
