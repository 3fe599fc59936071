//! Bytes on their way out, and the buffers that they live in.
//!
//! Invariant: a buffer from [`Buffers`] is initialised to its full length once, when it is first made; whoever takes
//! one gives it back, and the pool keeps a bounded amount. Fresh memory is slow to touch, so reuse is what makes reads
//! fast.

use std::sync::Arc;

use crate::disk::Map;

/// A run of bytes with one owner: a buffer from the pool, or a piece of a mapped file.
#[derive(Debug)]
pub enum Chunk {
    /// `bytes[from..to]`; the buffer goes back to the pool when it has been sent.
    Owned {
        /// The buffer, longer than what counts.
        bytes: Vec<u8>,
        /// First byte that counts.
        from: usize,
        /// End of what counts.
        to: usize,
    },
    /// `map[from..to]`.
    Mapped {
        /// The mapped file.
        map: Arc<Map>,
        /// First byte that counts.
        from: usize,
        /// End of what counts.
        to: usize,
    },
}

impl Chunk {
    /// The bytes that count.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Chunk::Owned { bytes, from, to } => &bytes[*from..*to],
            Chunk::Mapped { map, from, to } => &map[*from..*to],
        }
    }

    /// How many bytes count.
    pub fn len(&self) -> usize {
        match self {
            Chunk::Owned { from, to, .. } | Chunk::Mapped { from, to, .. } => to - from,
        }
    }

    /// Whether nothing counts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops the first `n` bytes.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len(), "advance past the end of a chunk");
        match self {
            Chunk::Owned { from, .. } | Chunk::Mapped { from, .. } => *from += n,
        }
    }
}

/// Reusable buffers, a bounded amount of them.
#[derive(Debug)]
pub struct Buffers {
    free: Vec<Vec<u8>>,
    kept: usize,
    most: usize,
}

impl Buffers {
    /// Keeps at most `most` bytes of buffers that nobody uses.
    pub fn new(most: usize) -> Self {
        Self { free: Vec::new(), kept: 0, most }
    }

    /// A buffer of at least `len` bytes, all initialised, content arbitrary. The smallest one that is long enough, so
    /// that a small need does not carry off a large buffer.
    pub fn take(&mut self, len: usize) -> Vec<u8> {
        let fitting =
            self.free.iter().enumerate().filter(|(_, b)| b.len() >= len).min_by_key(|(_, b)| b.len());
        match fitting.map(|(i, _)| i) {
            Some(i) => {
                let bytes = self.free.swap_remove(i);
                self.kept -= bytes.len();
                bytes
            }
            None => vec![0; len],
        }
    }

    /// A buffer of at least `len` bytes if one is kept; never a new one.
    pub fn take_kept(&mut self, len: usize) -> Option<Vec<u8>> {
        self.free.iter().any(|b| b.len() >= len).then(|| self.take(len))
    }

    /// Takes a buffer back; dropped when the pool is full or the buffer is too small to be worth a place.
    pub fn give(&mut self, bytes: Vec<u8>) {
        const WORTH_KEEPING: usize = 16 << 10;
        if bytes.len() >= WORTH_KEEPING && self.kept + bytes.len() <= self.most {
            self.kept += bytes.len();
            self.free.push(bytes);
        }
    }

    /// Takes back the buffer of a chunk that has been sent.
    pub fn give_chunk(&mut self, chunk: Chunk) {
        if let Chunk::Owned { bytes, .. } = chunk {
            self.give(bytes);
        }
    }

    /// Bytes that lie unused in the pool.
    pub fn kept(&self) -> usize {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_up_to_the_limit() {
        let mut pool = Buffers::new(100 << 10);
        let a = pool.take(64 << 10);
        let b = pool.take(64 << 10);
        pool.give(a);
        pool.give(b);
        assert_eq!(pool.kept(), 64 << 10);
        pool.give(vec![0; 20 << 10]);
        assert_eq!(pool.take(1).len(), 20 << 10, "the smallest that fits");
        assert_eq!(pool.take(1).len(), 64 << 10);
        assert_eq!((pool.kept(), pool.take_kept(1), pool.take(1).len()), (0, None, 1));
    }

    #[test]
    fn a_chunk_shrinks_from_the_front() {
        let mut chunk = Chunk::Owned { bytes: b"_hello_".to_vec(), from: 1, to: 6 };
        chunk.advance(2);
        assert_eq!((chunk.as_slice(), chunk.len()), (&b"llo"[..], 3));
    }
}
