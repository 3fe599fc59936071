//! The network: connections as pairs of byte pipes in memory, which chop, delay, fill up and break as the seed says.
//!
//! Invariant: readiness is signalled as an edge-triggered poll does, and not more often than it must be: bytes or room
//! are announced only if the server has met the end of them since the last announcement (`WouldBlock`, or a short read
//! or write). A server that forgets readiness therefore hangs here.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;

use krappy::disk::sim::{Rng, SimDisk};
use krappy::language::{Address, Ends};
use krappy::server::Stream;

/// One direction of a connection.
struct Pipe {
    /// On the way.
    flying: VecDeque<u8>,
    /// Arrived, and not read.
    here: VecDeque<u8>,
    capacity: usize,
}

impl Pipe {
    fn new(capacity: usize) -> Pipe {
        Pipe { flying: VecDeque::new(), here: VecDeque::new(), capacity }
    }

    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.flying.len() + self.here.len())
    }

    /// Lets some of what flies arrive.
    fn arrive(&mut self, rng: &mut Rng) -> bool {
        let most = self.flying.len();
        let n = if rng.below(3) == 0 { rng.below(most as u64 + 1) as usize } else { most };
        if n == most && self.here.is_empty() {
            std::mem::swap(&mut self.here, &mut self.flying);
        } else {
            self.here.extend(self.flying.drain(..n));
        }
        n > 0
    }
}

/// A connection with both of its ends.
pub struct Wire {
    to_server: Pipe,
    to_client: Pipe,
    rng: Rng,
    /// The server has read all there was, and waits to be told of more.
    starved: bool,
    /// The server has filled the pipe, and waits to be told of room.
    clogged: bool,
    /// The client sends nothing more.
    client_finished: bool,
    /// The client is gone altogether.
    client_gone: bool,
    hang_up_told: bool,
    reset: bool,
    server_gone: bool,
    /// What the server has written, as far as nobody has looked at it yet.
    tap: Vec<u8>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pipe = |p: &Pipe| (p.flying.len(), p.here.len(), p.capacity);
        f.debug_struct("Wire")
            .field("to_server", &pipe(&self.to_server))
            .field("to_client", &pipe(&self.to_client))
            .field("starved", &self.starved)
            .field("clogged", &self.clogged)
            .field("client_gone", &self.client_gone)
            .field("server_gone", &self.server_gone)
            .finish_non_exhaustive()
    }
}

/// What the poll says about a connection.
#[derive(Default)]
pub struct Event {
    pub readable: bool,
    pub writable: bool,
    pub hung_up: bool,
}

/// A connection that client, server and network share.
pub type Shared = Rc<RefCell<Wire>>;

impl Wire {
    pub fn new(seed: u64, capacity: usize) -> Wire {
        Wire {
            to_server: Pipe::new(capacity),
            to_client: Pipe::new(capacity),
            rng: Rng::new(seed),
            starved: false,
            clogged: false,
            client_finished: false,
            client_gone: false,
            hang_up_told: false,
            reset: false,
            server_gone: false,
            tap: Vec::new(),
        }
    }

    /// Time passes: bytes arrive. What the poll then says to the server, if anything.
    pub fn pass(&mut self) -> Option<Event> {
        let arrived = self.to_server.arrive(&mut self.rng);
        if self.client_gone {
            self.to_client.flying.clear();
        }
        let mut event = Event::default();
        if arrived && self.starved {
            self.starved = false;
            event.readable = true;
        }
        let ended = self.reset || (self.client_finished && self.to_server.flying.is_empty());
        if ended && !self.hang_up_told {
            self.hang_up_told = true;
            event = Event { readable: true, writable: self.reset, hung_up: true };
        }
        if self.clogged && self.to_client.room() > 0 {
            self.clogged = false;
            event.writable = true;
        }
        (event.readable || event.writable).then_some(event)
    }

    pub fn server_gone(&self) -> bool {
        self.server_gone
    }

    /// What the server has written since the last call.
    pub fn take_tap(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.tap)
    }

    /// The client writes; the count that fitted.
    pub fn client_write(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.to_server.room());
        self.to_server.flying.extend(&bytes[..n]);
        n
    }

    /// The client reads what is there, at most so much.
    pub fn client_read(&mut self, most: usize, into: &mut Vec<u8>) {
        self.to_client.arrive(&mut self.rng);
        let n = most.min(self.to_client.here.len());
        into.extend(self.to_client.here.drain(..n));
    }

    /// Whether the client will never read anything again.
    pub fn is_dry(&self) -> bool {
        let drained = self.to_client.here.is_empty() && self.to_client.flying.is_empty();
        self.reset || (self.server_gone && drained)
    }

    /// The client goes; half of the time what it sent last is lost on the way.
    pub fn client_leave(&mut self) {
        self.client_finished = true;
        self.client_gone = true;
        match self.rng.below(4) {
            0 => self.reset = true,
            1 => {
                let kept = self.rng.below(self.to_server.flying.len() as u64 + 1) as usize;
                self.to_server.flying.truncate(kept);
            }
            _ => {}
        }
    }

    /// The network breaks the connection for both.
    pub fn break_off(&mut self) {
        self.reset = true;
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let n = buf.len().min(self.to_server.here.len());
        if n == 0 {
            if self.client_finished && self.to_server.flying.is_empty() {
                return Ok(0);
            }
            self.starved = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.to_server.here.read_exact(&mut buf[..n])?;
        self.starved |= n < buf.len();
        Ok(n)
    }

    fn write(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.reset || self.client_gone {
            self.reset = true;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut room = self.to_client.room();
        if room > 0 && self.rng.below(4) == 0 {
            room = 1 + self.rng.below(room as u64) as usize;
        }
        let wanted: usize = parts.iter().map(|p| p.len()).sum();
        if room == 0 {
            self.clogged = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut written = 0;
        for part in parts {
            let n = part.len().min(room - written);
            self.to_client.flying.extend(&part[..n]);
            self.tap.extend_from_slice(&part[..n]);
            written += n;
        }
        self.clogged |= written < wanted;
        Ok(written)
    }
}

/// The server's end of a connection.
pub struct SimStream {
    wire: Shared,
    disk: SimDisk,
}

impl SimStream {
    /// A process that the disk has let die writes nothing any more, so the stream needs to know the disk.
    pub fn new(wire: &Shared, disk: &SimDisk) -> SimStream {
        SimStream { wire: Rc::clone(wire), disk: disk.clone() }
    }
}

impl Read for SimStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.wire.borrow_mut().read(buf)
    }
}

impl Write for SimStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.disk.has_crashed() {
            return Ok(parts.iter().map(|p| p.len()).sum());
        }
        self.wire.borrow_mut().write(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for SimStream {
    fn peer(&self) -> String {
        "a simulated client".into()
    }

    fn ends(&self) -> Ends {
        Ends { reached: Address { host: "127.0.0.1".into(), port: 9092 }, from: "/127.0.0.1".into() }
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.wire.borrow_mut().server_gone = true;
    }
}
