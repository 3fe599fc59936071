//! Walking the batches of a segment file one after the other.
//!
//! Invariant: a batch is yielded only if its header parses, it lies whole before the limit, and its base offset is the
//! one expected there: the batch's own checksum does not cover the base offset, so continuity is what checks it. With
//! `verify`, the checksum matches as well.

use std::io;

use krappy_wire::batch::{self, BatchError, Header};

use crate::disk::File;

/// What is read at a time where batches are small, or their content is needed.
const WINDOW: usize = 64 << 10;
/// What is read at a time where only the headers of large batches are needed.
const GLANCE: usize = 512;
/// What counts as large.
const GLANCE_FROM: usize = 4 << 10;

/// A position in a file of batches.
pub struct Walk<'a> {
    file: &'a dyn File,
    /// Where the next batch begins.
    pub position: u64,
    /// The offset it must have.
    pub offset: i64,
    limit: u64,
    verify: bool,
    window: Vec<u8>,
    window_at: u64,
    window_len: usize,
    last_size: usize,
}

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A batch, and where it begins; the walk stands behind it.
    Batch(Header, u64),
    /// What begins here is not the batch that must be here; the walk stays.
    Bad(Flaw),
    /// The limit.
    End,
}

/// Why bytes are not the batch expected there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It does not parse, is cut short, or fails its checksum.
    Batch(BatchError),
    /// It has another base offset.
    Offset(i64),
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Flaw::Batch(e) => e.fmt(f),
            Flaw::Offset(found) => write!(f, "the batch has base offset {found}, which does not follow"),
        }
    }
}

impl<'a> Walk<'a> {
    /// Walks from `position`, where the batch with base offset `offset` must begin, to `limit`.
    pub fn new(file: &'a dyn File, position: u64, offset: i64, limit: u64, verify: bool) -> Self {
        Self {
            file,
            position,
            offset,
            limit,
            verify,
            window: Vec::new(),
            window_at: 0,
            window_len: 0,
            last_size: 0,
        }
    }

    /// The next batch. An error is the device's.
    pub fn step(&mut self) -> io::Result<Step> {
        if self.position >= self.limit {
            return Ok(Step::End);
        }
        let header = match Header::read(self.bytes(batch::HEADER)?) {
            Ok(header) => header,
            Err(e) => return Ok(Step::Bad(Flaw::Batch(e))),
        };
        if header.base_offset != self.offset {
            return Ok(Step::Bad(Flaw::Offset(header.base_offset)));
        }
        if header.size() as u64 > self.limit - self.position {
            return Ok(Step::Bad(Flaw::Batch(BatchError::Short)));
        }
        if self.verify
            && let Err(e) = batch::first(self.bytes(header.size())?)
        {
            return Ok(Step::Bad(Flaw::Batch(e)));
        }
        let at = self.position;
        self.last_size = header.size();
        self.position += header.size() as u64;
        self.offset = header.next_offset();
        Ok(Step::Batch(header, at))
    }

    /// The bytes of the batch that the walk stands before, which a verifying step would read: whole if it fits the
    /// limit.
    pub fn batch(&mut self, size: usize) -> io::Result<&[u8]> {
        self.bytes(size)
    }

    /// Up to `len` bytes from the position on; fewer only at the limit or the end of the file.
    fn bytes(&mut self, len: usize) -> io::Result<&[u8]> {
        let len = usize::try_from(self.limit - self.position).map_or(len, |left| len.min(left));
        let end = self.position + len as u64;
        if self.position < self.window_at || end > self.window_at + self.window_len as u64 {
            self.fill(len)?;
        }
        let from = (self.position - self.window_at) as usize;
        Ok(&self.window[from..self.window_len.min(from + len)])
    }

    fn fill(&mut self, len: usize) -> io::Result<()> {
        let glance = !self.verify && self.last_size > GLANCE_FROM;
        let want = len.max(if glance { GLANCE } else { WINDOW });
        let left = usize::try_from(self.limit - self.position).unwrap_or(usize::MAX);
        let want = want.min(left);
        if self.window.len() < want {
            self.window.resize(want, 0);
        }
        self.window_at = self.position;
        self.window_len = 0;
        self.window_len = self.file.read_at(self.position, &mut self.window[..want])?;
        Ok(())
    }
}
