//! Bytes that have arrived and are not yet understood.
//!
//! Invariant: `start <= end <= buf.len()`. While nothing is half-read the buffer is empty and owned by the pool, so an
//! idle connection holds no memory here; a half-read frame holds at most its own size, and more than
//! [`UNRESERVED`] only after that size was reserved from the budget of all connections.

use std::io::{self, Read};

use crate::chunk::Buffers;

/// What one read asks the kernel for; measured to be where loopback reads stop getting faster.
pub const READ: usize = 256 << 10;
/// A half-read frame up to this size needs no reservation.
pub const UNRESERVED: usize = 4 << 10;

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Fill {
    /// This many bytes; `drained` tells that the socket had fewer than were asked for.
    Bytes {
        /// How many.
        count: usize,
        /// Whether the kernel's buffer is empty now.
        drained: bool,
    },
    /// Nothing for now.
    WouldBlock,
    /// The client has finished sending.
    End,
}

/// The input side of one connection.
#[derive(Debug, Default)]
pub struct Input {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes that the frame at the front needs in all, as far as is known; 0 when nothing is half-read.
    need: usize,
    reserved: usize,
    /// Bytes of the last frame, if it was larger than [`READ`]: the next one is probably as large.
    last_large: usize,
}

impl Input {
    /// What has arrived and is not consumed.
    pub fn bytes(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// Drops `n` bytes from the front; the frame there is dealt with.
    pub fn consume(&mut self, n: usize) {
        self.start += n;
        self.need = 0;
        self.last_large = if n > READ { n } else { 0 };
        assert!(self.start <= self.end, "consumed more than has arrived");
    }

    /// Notes how many bytes the frame at the front needs in all.
    pub fn expect(&mut self, need: usize) {
        self.need = need;
    }

    /// Bytes that the frame at the front needs in all, as far as is known.
    pub fn needed(&self) -> usize {
        self.need
    }

    /// Whether a frame has begun and is not whole.
    pub fn is_partial(&self) -> bool {
        self.start < self.end
    }

    /// What must be added to the reservation before the frame at the front may be read on.
    pub fn wants_reserved(&self) -> usize {
        if self.need > UNRESERVED { self.need.saturating_sub(self.reserved) } else { 0 }
    }

    /// Adds to the reservation.
    pub fn reserve(&mut self, n: usize) {
        self.reserved += n;
    }

    /// Bytes that are reserved.
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    /// Gives up all that is reserved; returns how much.
    pub fn give_up(&mut self) -> usize {
        std::mem::take(&mut self.reserved)
    }

    /// Gives up what is reserved beyond the need of the frame at the front; returns how much.
    pub fn release(&mut self) -> usize {
        let keep = if self.need > UNRESERVED { self.need.min(self.reserved) } else { 0 };
        std::mem::replace(&mut self.reserved, keep) - keep
    }

    /// Bytes of memory held.
    pub fn held(&self) -> usize {
        self.buf.len()
    }

    /// Reads once.
    pub fn fill(&mut self, stream: &mut impl Read, pool: &mut Buffers) -> io::Result<Fill> {
        self.make_room(pool);
        let room = &mut self.buf[self.end..];
        let asked = room.len();
        match stream.read(room) {
            Ok(0) => Ok(Fill::End),
            Ok(count) => {
                self.end += count;
                Ok(Fill::Bytes { count, drained: count < asked })
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Fill::WouldBlock),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Fill::Bytes { count: 0, drained: false }),
            Err(e) => Err(e),
        }
    }

    /// Makes sure that there is room behind `end`: a pooled buffer for ordinary reading, a growing one for a large
    /// frame. It at most doubles what has arrived, so a declared length alone costs nothing.
    fn make_room(&mut self, pool: &mut Buffers) {
        let have = self.end - self.start;
        // After a large frame a large buffer is taken at once if one lies idle: that saves copying, and takes no memory
        // that is not there.
        if self.buf.is_empty()
            && self.last_large > 0
            && let Some(bytes) = pool.take_kept(self.last_large)
        {
            self.buf = bytes;
        }
        let wanted = if self.need > READ { self.need.min((2 * have).max(READ)) } else { READ };
        if self.buf.len() < wanted {
            let mut larger = pool.take(wanted);
            larger[..have].copy_from_slice(&self.buf[self.start..self.end]);
            pool.give(std::mem::replace(&mut self.buf, larger));
            (self.start, self.end) = (0, have);
        } else if self.start > 0 && (self.buf.len() - self.end < READ / 2 || have == 0) {
            self.buf.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, have);
        }
    }

    /// Called when the connection will not be read for now: an empty buffer goes back to the pool, a small rest moves
    /// to memory of its own size.
    pub fn settle(&mut self, pool: &mut Buffers) {
        let have = self.end - self.start;
        if have == 0 {
            pool.give(std::mem::take(&mut self.buf));
            (self.start, self.end) = (0, 0);
            return;
        }
        // A large frame keeps the buffer that its reservation pays for, or every pause of the client would cost a copy.
        if self.buf.len() > 2 * have.max(self.reserved) {
            let own = self.bytes().to_vec();
            pool.give(std::mem::replace(&mut self.buf, own));
            (self.start, self.end) = (0, have);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_holds_nothing_and_a_rest_holds_its_size() {
        let mut pool = Buffers::new(1 << 20);
        let mut input = Input::default();
        let sent = vec![7u8; 1000];
        let got = input.fill(&mut &sent[..], &mut pool).unwrap();
        assert_eq!(got, Fill::Bytes { count: 1000, drained: true });
        assert_eq!(input.held(), READ);
        input.consume(990);
        input.settle(&mut pool);
        assert_eq!((input.bytes(), input.held()), (&[7u8; 10][..], 10));
        input.fill(&mut &sent[..5], &mut pool).unwrap();
        assert_eq!(input.bytes(), [7; 15]);
        input.consume(15);
        input.settle(&mut pool);
        assert_eq!((input.held(), pool.kept()), (0, READ));
    }

    #[test]
    fn a_large_frame_grows_with_what_arrives_not_with_what_is_declared() {
        let mut pool = Buffers::new(1 << 20);
        let mut input = Input::default();
        let sent = vec![1u8; 8 << 20];
        let mut source = &sent[..];
        input.expect(8 << 20);
        let mut largest_step = 0;
        while input.bytes().len() < sent.len() {
            let before = input.bytes().len();
            input.fill(&mut source, &mut pool).unwrap();
            assert!(input.held() <= (2 * before).max(READ), "{} held for {before} arrived", input.held());
            largest_step = largest_step.max(input.bytes().len() - before);
        }
        assert_eq!(input.bytes(), &sent[..]);
        assert!(largest_step >= READ);
    }

    #[test]
    fn reservations_follow_the_frame_at_the_front() {
        let mut input = Input::default();
        assert_eq!(input.wants_reserved(), 0);
        input.expect(UNRESERVED);
        assert_eq!(input.wants_reserved(), 0);
        input.expect(1 << 20);
        assert_eq!(input.wants_reserved(), 1 << 20);
        input.reserve(1 << 20);
        assert_eq!((input.wants_reserved(), input.release()), (0, 0));
        input.consume(0);
        assert_eq!(input.release(), 1 << 20);
    }
}
