//! Bytes on their way out.
//!
//! Invariant: bytes leave in the order in which they were put; `unsent` is the sum of what is queued. Small replies are
//! gathered in one buffer, records stay in the chunk that they were read into and leave by a vectored write.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use crate::chunk::{Buffers, Chunk};

/// Parts of one vectored write.
const PARTS: usize = 64;
/// A gathering buffer larger than this is not kept by an idle connection.
const KEPT: usize = 256;
/// A gathering buffer that has grown to this size is queued, and another one begun: one that grew on would take twice
/// the memory of what a slow client has not taken, and be copied to do so.
const GATHERED: usize = 64 << 10;

/// The output side of one connection.
#[derive(Debug, Default)]
pub struct Output {
    queue: VecDeque<Piece>,
    /// Gathered after everything in `queue`; `tail_sent` bytes of it have left.
    tail: Vec<u8>,
    tail_sent: usize,
    queued: usize,
}

#[derive(Debug)]
enum Piece {
    Small { bytes: Vec<u8>, sent: usize },
    Chunk(Chunk),
}

impl Piece {
    fn as_slice(&self) -> &[u8] {
        match self {
            Piece::Small { bytes, sent } => &bytes[*sent..],
            Piece::Chunk(chunk) => chunk.as_slice(),
        }
    }

    fn advance(&mut self, n: usize) {
        match self {
            Piece::Small { sent, .. } => *sent += n,
            Piece::Chunk(chunk) => chunk.advance(n),
        }
    }
}

impl Output {
    /// The buffer that small replies are appended to.
    pub fn gather(&mut self) -> &mut Vec<u8> {
        if self.tail.len() >= GATHERED {
            self.queue_tail();
        }
        if self.tail.capacity() == 0 {
            // A buffer that doubles from 8 bytes is moved six times by the replies of one turn.
            self.tail.reserve(KEPT);
        }
        &mut self.tail
    }

    /// Queues a chunk behind everything put so far.
    pub fn push_chunk(&mut self, chunk: Chunk) {
        self.queue_tail();
        self.queued += chunk.len();
        self.queue.push_back(Piece::Chunk(chunk));
    }

    fn queue_tail(&mut self) {
        if self.tail.len() > self.tail_sent {
            self.queued += self.tail.len() - self.tail_sent;
            let bytes = std::mem::take(&mut self.tail);
            self.queue.push_back(Piece::Small { bytes, sent: std::mem::take(&mut self.tail_sent) });
        }
    }

    /// Bytes that have not left.
    pub fn unsent(&self) -> usize {
        self.queued + self.tail.len() - self.tail_sent
    }

    /// Writes until everything has left (`true`) or the socket takes no more (`false`). Sent chunks go to `chunks`.
    /// `written` counts the bytes that left.
    pub fn drain(
        &mut self,
        stream: &mut impl Write,
        chunks: &mut Buffers,
        written: &mut u64,
    ) -> io::Result<bool> {
        while self.unsent() > 0 {
            let sent = self.write_once(stream);
            match sent {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    *written += n as u64;
                    self.advance(n, chunks);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    fn write_once(&self, stream: &mut impl Write) -> io::Result<usize> {
        let tail = &self.tail[self.tail_sent..];
        if self.queue.is_empty() {
            return stream.write(tail);
        }
        let mut parts = [IoSlice::new(&[]); PARTS];
        let mut count = 0;
        let all = self.queue.iter().map(Piece::as_slice).chain([tail]);
        for (part, bytes) in parts.iter_mut().zip(all) {
            *part = IoSlice::new(bytes);
            count += 1;
        }
        stream.write_vectored(&parts[..count])
    }

    fn advance(&mut self, mut n: usize, chunks: &mut Buffers) {
        while let Some(piece) = self.queue.front_mut() {
            let left = piece.as_slice().len();
            let step = left.min(n);
            piece.advance(step);
            n -= step;
            self.queued -= step;
            if step < left {
                return;
            }
            if let Some(Piece::Chunk(chunk)) = self.queue.pop_front() {
                chunks.give_chunk(chunk);
            }
        }
        self.tail_sent += n;
        assert!(self.tail_sent <= self.tail.len(), "sent more than was queued");
        // Moving fewer bytes than have been sent costs little; without it, what a client that is always behind has read
        // would stay here as long as it lives.
        if self.tail_sent >= self.tail.len() - self.tail_sent {
            self.tail.drain(..self.tail_sent);
            self.tail_sent = 0;
        }
    }

    /// Called when nothing is to be sent for now: gives up memory that an idle connection should not hold.
    pub fn settle(&mut self) {
        if self.unsent() == 0 && self.tail.capacity() > KEPT {
            self.tail = Vec::new();
        }
        if self.queue.is_empty() && self.queue.capacity() > 0 {
            self.queue = VecDeque::new();
        }
    }

    /// Gives every unsent chunk back; the connection is closing.
    pub fn clear(&mut self, chunks: &mut Buffers) {
        for piece in self.queue.drain(..) {
            if let Piece::Chunk(chunk) = piece {
                chunks.give_chunk(chunk);
            }
        }
        self.queued = 0;
        self.tail.clear();
        self.tail_sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `step` bytes at a time, then says WouldBlock once.
    struct Slow {
        taken: Vec<u8>,
        step: usize,
        blocked: bool,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }
        fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
            self.blocked = !self.blocked;
            if self.blocked {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let bytes = parts.iter().flat_map(|p| p.iter().copied()).take(self.step);
            let before = self.taken.len();
            self.taken.extend(bytes);
            Ok(self.taken.len() - before)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bytes_leave_in_order_at_every_step_size() {
        for step in 1..40 {
            let mut output = Output::default();
            let mut pool = Buffers::new(1 << 20);
            output.gather().extend_from_slice(b"head-");
            output.push_chunk(Chunk::Owned { bytes: b"(chunk one)".to_vec(), from: 1, to: 10 });
            output.push_chunk(Chunk::Owned { bytes: b"two".to_vec(), from: 0, to: 3 });
            output.gather().extend_from_slice(b"-tail");
            assert_eq!(output.unsent(), 22);
            let mut slow = Slow { taken: Vec::new(), step, blocked: false };
            let mut written = 0;
            while !output.drain(&mut slow, &mut pool, &mut written).unwrap() {
                assert_eq!(output.unsent(), 22 - slow.taken.len());
            }
            assert_eq!(slow.taken, b"head-chunk onetwo-tail", "step {step}");
            assert_eq!((written, output.unsent()), (22, 0));
        }
    }

    #[test]
    fn what_was_sent_takes_no_room_although_the_output_is_never_empty() {
        let mut output = Output::default();
        let mut pool = Buffers::new(1 << 20);
        output.gather().extend_from_slice(&[1; 500]);
        for _ in 0..1_000 {
            output.gather().extend_from_slice(&[2; 100]);
            output.advance(100, &mut pool);
            assert_eq!(output.unsent(), 500);
            assert!(output.tail.len() <= 1_100, "{} bytes kept", output.tail.len());
        }
    }

    #[test]
    fn what_a_slow_client_has_not_taken_costs_little_more_than_its_bytes() {
        let mut output = Output::default();
        let mut pool = Buffers::new(0);
        let mut taken = Vec::new();
        for n in 0..40_000u32 {
            output.gather().extend_from_slice(&[n as u8; 100]);
            if n % 4 == 0 {
                let before = taken.len();
                let mut slow = Slow { taken: std::mem::take(&mut taken), step: 300, blocked: true };
                output.drain(&mut slow, &mut pool, &mut 0).unwrap();
                taken = slow.taken;
                assert_eq!(taken.len(), before + 300.min(taken.len() - before));
            }
            let held: usize = output.tail.capacity()
                + output
                    .queue
                    .iter()
                    .map(|p| if let Piece::Small { bytes, .. } = p { bytes.capacity() } else { 0 })
                    .sum::<usize>();
            assert!(held <= 2 * output.unsent() + 4 * GATHERED, "{held} bytes for {}", output.unsent());
        }
        assert!(output.unsent() > 10 * GATHERED);
        let mut rest = Slow { taken, step: usize::MAX, blocked: true };
        while !output.drain(&mut rest, &mut pool, &mut 0).unwrap() {}
        assert!(rest.taken.chunks(100).enumerate().all(|(n, bytes)| bytes == [n as u8; 100]));
    }

    #[test]
    fn a_closing_connection_gives_its_chunks_back() {
        let mut output = Output::default();
        let mut pool = Buffers::new(1 << 20);
        output.push_chunk(Chunk::Owned { bytes: vec![0; 64 << 10], from: 0, to: 9 });
        output.clear(&mut pool);
        assert_eq!((output.unsent(), pool.kept()), (0, 64 << 10));
    }
}
