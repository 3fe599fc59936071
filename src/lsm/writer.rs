//! Writes a run file: blocks as they fill, then what finds them.
//!
//! ```text
//! block ... block | filter | index | footer         each block, the filter and the index end with their seal
//! ```
//!
//! Invariant: a run that [`RunWriter::finish`] has returned is on the device, whole; before that, the file ends without
//! a footer and nothing refers to it.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use super::block::BlockBuilder;
use super::bloom::FilterBuilder;
use super::footer::Footer;
use super::index::IndexBuilder;
use super::meta::run_name;
use super::seal::seal;
use super::{Entry, Kind, MOST_KEY, RunMeta, block, tree_order};
use crate::disk::{Disk, File, Open};

/// A block is closed when it has become this large. Measured with a million entries of 16 and 100 bytes in the page
/// cache, on one of two busy CPUs: with blocks of 4, 8 and 16 KiB, looking up a key costs 3.2, 3.9 and 5.4 microseconds
/// and a scan does 16.2, 16.3 and 17.0 million entries a second, while index and table take 3, 2 and 1.5 % of the file.
/// Half a microsecond is lost in what a request costs; memory for an index twice as long is not.
pub const BLOCK: usize = 8 << 10;
/// How much is gathered for one write.
const GATHER: usize = 256 << 10;

/// A run file under construction.
pub struct RunWriter {
    file: Arc<dyn File>,
    number: u64,
    block: BlockBuilder,
    filter: FilterBuilder,
    index: IndexBuilder,
    /// Sealed and not written yet; it will lie at `written`.
    pending: Vec<u8>,
    written: u64,
    entries: u64,
    tombstones: u64,
    smallest: Vec<u8>,
    last: (Vec<u8>, i64),
    seqs: (i64, i64),
}

impl RunWriter {
    /// Begins `<number>.run`; one that a crash has left is overwritten.
    pub fn create(disk: &dyn Disk, dir: &Path, number: u64) -> io::Result<Self> {
        let file = disk.open(&dir.join(run_name(number)), Open::Replace)?;
        Ok(RunWriter {
            file,
            number,
            block: BlockBuilder::new(block::RESTART),
            filter: FilterBuilder::default(),
            index: IndexBuilder::default(),
            pending: Vec::new(),
            written: 0,
            entries: 0,
            tombstones: 0,
            smallest: Vec::new(),
            last: (Vec::new(), i64::MAX),
            seqs: (i64::MAX, 0),
        })
    }

    /// Adds the entry that follows in tree order.
    pub fn add(&mut self, entry: Entry<'_>) -> io::Result<()> {
        assert!(entry.key.len() <= MOST_KEY, "a key of {} bytes", entry.key.len());
        assert!((0..i64::MAX).contains(&entry.seq), "sequence number {}", entry.seq);
        if self.entries == 0 {
            self.smallest = entry.key.to_vec();
            self.index.first(entry.key);
            self.filter.add(entry.key);
        } else {
            let last = (&self.last.0[..], self.last.1);
            assert!(tree_order(last, entry.place()).is_lt(), "entries are added in tree order");
            if last.0 != entry.key {
                self.filter.add(entry.key);
            }
            if self.block.is_empty() {
                self.index.block(last, entry.key, self.written + self.pending.len() as u64);
            }
        }
        self.block.add(&entry);
        self.count(&entry);
        if self.block.len() >= BLOCK { self.close_block() } else { Ok(()) }
    }

    /// Bytes of entries so far; filter, index and footer are not in it.
    pub fn bytes(&self) -> u64 {
        let open = if self.block.is_empty() { 0 } else { self.block.len() };
        self.written + (self.pending.len() + open) as u64
    }

    /// Writes what finds the entries, of which there is at least one, and syncs the file. Its name is durable when the
    /// directory has been synced.
    pub fn finish(mut self) -> io::Result<RunMeta> {
        assert!(self.entries > 0, "a run holds at least one entry");
        if !self.block.is_empty() {
            self.close_block()?;
        }
        let filter = self.end();
        self.append_sealed(|writer, out| writer.filter.finish(out));
        let index = self.end();
        let last = (&self.last.0[..], self.last.1);
        let mut bytes = Vec::new();
        std::mem::take(&mut self.index).finish(last, filter, &mut bytes);
        self.append_sealed(|_, out| out.append(&mut bytes));
        let footer = Footer {
            number: self.number,
            entries: self.entries,
            tombstones: self.tombstones,
            min_seq: self.seqs.0,
            max_seq: self.seqs.1,
            filter,
            index,
        };
        self.pending.extend_from_slice(&footer.encode());
        self.write()?;
        self.file.sync()?;
        Ok(self.meta())
    }

    fn meta(self) -> RunMeta {
        RunMeta {
            number: self.number,
            bytes: self.written,
            entries: self.entries,
            tombstones: self.tombstones,
            smallest: self.smallest,
            largest: self.last.0,
            min_seq: self.seqs.0,
            max_seq: self.seqs.1,
        }
    }

    fn count(&mut self, entry: &Entry<'_>) {
        self.entries += 1;
        self.tombstones += u64::from(entry.kind == Kind::Tombstone);
        self.last.0.clear();
        self.last.0.extend_from_slice(entry.key);
        self.last.1 = entry.seq;
        self.seqs = (self.seqs.0.min(entry.seq), self.seqs.1.max(entry.seq));
    }

    fn close_block(&mut self) -> io::Result<()> {
        self.append_sealed(|writer, out| writer.block.finish(out));
        if self.pending.len() >= GATHER { self.write() } else { Ok(()) }
    }

    fn append_sealed(&mut self, write: impl FnOnce(&mut Self, &mut Vec<u8>)) {
        let mut out = std::mem::take(&mut self.pending);
        let from = out.len();
        let position = self.written + from as u64;
        write(self, &mut out);
        seal(&mut out, from, self.number, position);
        self.pending = out;
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_at(self.written, &[IoSlice::new(&self.pending)])?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn end(&self) -> u64 {
        self.written + self.pending.len() as u64
    }
}
