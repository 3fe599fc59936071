//! One client without its socket: bytes come in by [`Conn::fill`], become requests in [`Conn::next_request`], replies go
//! back by [`Conn::reply`], bytes leave by [`Conn::drain`].
//!
//! Invariants: memory of a connection <= its half-read frame + its unsent output + a record per stream; readiness is
//! state, set by events and cleared by `WouldBlock`, so a connection that stops early for fairness or backpressure loses
//! no event; a request is consumed only when the broker took it, so what is not taken waits in the input buffer and, when
//! that is full, in the client's own socket.

pub mod input;

use std::io::{self, Read, Write};

use crate::api::{Reply, Request};
use crate::chunk::Buffers;
use crate::config::Limits;
use crate::native::{Greeting, Session, Step, Violation};
use crate::output::Output;
use crate::time::{Now, Time};
use input::{Fill, Input};

/// What [`Conn::next_request`] came to.
#[derive(Debug)]
pub enum Next<'a> {
    /// A request; tell with [`Conn::taken`] if the broker took it.
    Request {
        /// Comes back with the reply.
        slot: u64,
        /// The request.
        request: Request<'a>,
        /// To be given to [`Conn::taken`].
        consumed: usize,
    },
    /// A frame was dealt with here; give this to [`Conn::consumed`].
    Handled(usize),
    /// The frame at the front needs this many bytes in all; give it to [`Conn::expect`].
    Partial(usize),
    /// There is nothing to parse.
    Nothing,
}

/// One client without its socket.
#[derive(Debug)]
pub struct Conn {
    input: Input,
    output: Output,
    session: Session,
    /// The socket may have bytes to read.
    pub readable: bool,
    /// The socket may take bytes.
    pub writable: bool,
    /// The client has finished sending, or broke the protocol: nothing more is read or parsed.
    pub ended: bool,
    /// The other side is gone: read to the end rather than stop at a short read.
    pub hung_up: bool,
    last_request: Time,
    frame_began: Option<Time>,
    output_moved: Time,
}

impl Conn {
    /// A connection that was accepted at this moment.
    pub fn new(now: Now) -> Self {
        Self {
            input: Input::default(),
            output: Output::default(),
            session: Session::default(),
            readable: true,
            writable: true,
            ended: false,
            hung_up: false,
            last_request: now.time,
            frame_began: None,
            output_moved: now.time,
        }
    }

    /// Reads once from the socket.
    pub fn fill(&mut self, stream: &mut impl Read, pool: &mut Buffers) -> io::Result<Fill> {
        let fill = self.input.fill(stream, pool)?;
        match fill {
            // A short read has emptied the socket; the next byte brings a new event. After a hang-up there is no next
            // event, so the end must be read.
            Fill::Bytes { drained, .. } => self.readable = !drained || self.hung_up,
            Fill::WouldBlock => self.readable = false,
            Fill::End => self.ended = true,
        }
        Ok(fill)
    }

    /// The next request that the client has made or that its subscriptions want.
    pub fn next_request(&mut self, limits: &Limits, greeting: &Greeting) -> Result<Next<'_>, Violation> {
        let bytes = self.input.bytes();
        if bytes.is_empty() && !self.session.has_ready() {
            return Ok(Next::Nothing);
        }
        Ok(match self.session.step(bytes, self.output.gather(), limits, greeting)? {
            Step::Request { slot, request, consumed } => Next::Request { slot, request, consumed },
            Step::Handled(consumed) => Next::Handled(consumed),
            Step::Partial(need) => Next::Partial(need),
        })
    }

    /// A frame is dealt with.
    pub fn consumed(&mut self, n: usize, now: Now) {
        if n > 0 {
            self.input.consume(n);
            self.last_request = now.time;
        }
    }

    /// The frame at the front needs this many bytes in all.
    pub fn expect(&mut self, need: usize) {
        self.input.expect(need);
    }

    /// The broker took the request.
    pub fn taken(&mut self, slot: u64, consumed: usize, now: Now) {
        self.session.taken(slot);
        self.consumed(consumed, now);
    }

    /// Takes a reply of the broker.
    pub fn reply(&mut self, slot: u64, reply: Reply, now: Now) {
        if self.output.unsent() == 0 {
            self.output_moved = now.time;
        }
        self.session.reply(slot, reply, &mut self.output);
    }

    /// Writes as much as the socket takes.
    pub fn drain(
        &mut self,
        stream: &mut impl Write,
        chunks: &mut Buffers,
        written: &mut u64,
        now: Now,
    ) -> io::Result<()> {
        let before = self.output.unsent();
        self.writable = self.output.drain(stream, chunks, written)?;
        if self.output.unsent() < before {
            self.output_moved = now.time;
        }
        Ok(())
    }

    /// Whether requests may be taken from this connection now.
    pub fn wants_requests(&self, limits: &Limits) -> bool {
        !self.session.closing
            && self.session.in_flight() < limits.max_in_flight
            && self.output.unsent() < limits.output_limit
    }

    /// Whether the socket is to be read.
    pub fn wants_read(&self, limits: &Limits) -> bool {
        self.readable && !self.ended && self.wants_requests(limits)
    }

    /// Whether a whole frame or a wanted fetch may be waiting to be parsed.
    pub fn has_work(&self) -> bool {
        let arrived = self.input.bytes().len();
        self.session.has_ready() || (arrived > 0 && arrived >= self.input.needed())
    }

    /// Bytes that must be reserved before the half-read frame may be read on.
    pub fn wants_reserved(&self) -> usize {
        self.input.wants_reserved()
    }

    /// The reservation was granted.
    pub fn reserve(&mut self, n: usize) {
        self.input.reserve(n);
    }

    /// Bytes that are reserved.
    pub fn reserved(&self) -> usize {
        self.input.reserved()
    }

    /// Gives up all that is reserved; returns how much.
    pub fn give_up(&mut self) -> usize {
        self.input.give_up()
    }

    /// Gives up what is reserved and not needed; returns how much.
    pub fn release(&mut self) -> usize {
        self.input.release()
    }

    /// The protocol was broken, or the client is done: nothing more is parsed, what is owed is still sent.
    pub fn end(&mut self) {
        self.ended = true;
        self.session.closing = true;
    }

    /// Whether nothing is left to do for a connection that has ended.
    pub fn is_finished(&self) -> bool {
        let no_more_requests = self.ended || self.session.closing;
        no_more_requests && self.output.unsent() == 0 && self.session.in_flight() == 0
    }

    /// Unsent bytes.
    pub fn unsent(&self) -> usize {
        self.output.unsent()
    }

    /// Bytes of input memory held.
    pub fn input_held(&self) -> usize {
        self.input.held()
    }

    /// Says that the broker is stopping.
    pub fn go_away(&mut self, message: &str) {
        self.session.go_away(message, self.output.gather());
    }

    /// Called when the turn leaves this connection alone: gives up memory, notes since when a frame is half-read.
    pub fn settle(&mut self, pool: &mut Buffers, now: Now) {
        self.input.settle(pool);
        self.output.settle();
        let waits_for_client = self.input.bytes().len() < self.input.needed() && !self.readable;
        self.frame_began = waits_for_client.then(|| self.frame_began.unwrap_or(now.time));
    }

    /// When this connection must be looked at if nothing happens: a half-read frame, a client that takes nothing, or
    /// plain idleness.
    pub fn deadline(&self, limits: &Limits) -> Time {
        let mut deadline = if self.session.is_waiting() {
            Time(u64::MAX)
        } else {
            self.last_request.plus_ms(limits.idle_ms)
        };
        if let Some(began) = self.frame_began {
            deadline = deadline.min(began.plus_ms(limits.request_receive_ms));
        }
        if self.output.unsent() > 0 {
            deadline = deadline.min(self.output_moved.plus_ms(limits.write_stall_ms));
        }
        deadline
    }

    /// Which deadline has passed, in words.
    pub fn overdue(&self) -> &'static str {
        if self.output.unsent() > 0 {
            "it takes none of what it asked for"
        } else if self.frame_began.is_some() {
            "a request was begun and not finished in time"
        } else {
            "it was idle for too long"
        }
    }

    /// The connection is going away: gives back its buffers; returns the reservation it held.
    pub fn dismantle(mut self, pool: &mut Buffers, chunks: &mut Buffers) -> usize {
        self.output.clear(chunks);
        let unread = self.input.bytes().len();
        self.input.consume(unread);
        let reserved = self.input.release();
        self.input.settle(pool);
        reserved
    }
}
