//! One client without its socket: bytes come in by [`Conn::fill`], become requests in [`Conn::next_request`], replies
//! go back by [`Conn::reply`], bytes leave by [`Conn::drain`].
//!
//! Invariants: memory of a connection <= its half-read frame + its unsent output + a record per stream; readiness is
//! state, set by events and cleared by `WouldBlock`, so a connection that stops early for fairness or backpressure
//! loses no event; a request is consumed only when the broker took it, so what is not taken waits in the input buffer
//! and, when that is full, in the client's own socket.

pub mod input;
pub mod spoken;

use std::io::{self, Read, Write};

use crate::api::Reply;
use crate::chunk::Buffers;
use crate::config::Limits;
use crate::language::{Ends, Greeting, Step, Violation};
use crate::output::Output;
use crate::time::{Now, Time};
use input::{Fill, Input};
use spoken::Spoken;

/// Unsent bytes up to which the next fetch of a subscription is issued.
const READ_AHEAD: usize = 1 << 20;

/// One client without its socket.
#[derive(Debug)]
pub struct Conn {
    ends: Ends,
    input: Input,
    output: Output,
    spoken: Spoken,
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
    pub fn new(ends: Ends, now: Now) -> Self {
        Self {
            ends,
            input: Input::default(),
            output: Output::default(),
            spoken: Spoken::Unknown,
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
            Fill::End => {
                self.ended = true;
                self.spoken.client_ended();
            }
        }
        Ok(fill)
    }

    /// The next request that the client has made or that its subscriptions want. Only a publish may be left untaken; it
    /// is offered again. Everything else has changed the session already.
    pub fn next_request<'a>(
        &'a mut self,
        limits: &'a Limits,
        greeting: &'a Greeting,
    ) -> Result<Step<'a>, Violation> {
        let bytes = self.input.bytes();
        let may_fetch = self.may_fetch();
        if bytes.is_empty() && !(may_fetch && self.spoken.has_ready()) {
            return Ok(Step::Nothing);
        }
        self.spoken.step(bytes, &mut self.output, limits, greeting, &self.ends, may_fetch)
    }

    /// A frame is dealt with.
    pub fn consumed(&mut self, n: usize, now: Now) {
        if n > 0 {
            self.input.consume(n);
            self.last_request = now.time;
            // The frame that was waited for is whole; if another is half-read behind it, its time begins anew.
            self.frame_began = None;
        }
    }

    /// The frame at the front needs this many bytes in all.
    pub fn expect(&mut self, need: usize) {
        self.input.expect(need);
    }

    /// The broker took the request.
    pub fn taken(&mut self, slot: u64, consumed: usize, now: Now) {
        self.spoken.taken(slot, 1, true);
        self.consumed(consumed, now);
    }

    /// The broker took `count` of the requests of a frame, and all of them if `consumed` says how long the frame was.
    pub fn taken_some(&mut self, slot: u64, count: usize, consumed: Option<usize>, now: Now) {
        self.spoken.taken(slot, count, consumed.is_some());
        self.consumed(consumed.unwrap_or(0), now);
    }

    /// Takes a reply of the broker.
    pub fn reply(&mut self, slot: u64, reply: Reply, now: Now) {
        if self.output.unsent() == 0 {
            self.output_moved = now.time;
        }
        self.spoken.reply(slot, reply, &mut self.output);
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
        !self.spoken.is_closing()
            && !self.spoken.is_blocked()
            && self.spoken.in_flight() < limits.max_in_flight
            && self.output.unsent() < limits.output_limit
    }

    /// Whether the socket is to be read: for requests, or to learn that a client which waits has gone.
    pub fn wants_read(&self, limits: &Limits) -> bool {
        let waits = self.spoken.is_blocked() && !self.input.is_partial();
        self.readable && !self.ended && (waits || self.wants_requests(limits))
    }

    /// Whether a whole frame or a wanted fetch may be waiting to be parsed.
    pub fn has_work(&self) -> bool {
        (self.may_fetch() && self.spoken.has_ready()) || self.may_hold_frame()
    }

    fn may_hold_frame(&self) -> bool {
        self.input.is_partial() && self.input.bytes().len() >= self.input.needed()
    }

    /// Whether another fetch may be issued: what was read for this client and not sent is memory, and cold by the time
    /// it leaves.
    fn may_fetch(&self) -> bool {
        self.output.unsent() < READ_AHEAD
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
        self.spoken.close();
    }

    /// Whether nothing is left to do for a connection that has ended.
    pub fn is_finished(&self) -> bool {
        let no_more_requests = self.spoken.is_closing() || (self.ended && !self.may_hold_frame());
        no_more_requests && self.output.unsent() == 0 && self.spoken.in_flight() == 0
    }

    /// Unsent bytes.
    pub fn unsent(&self) -> usize {
        self.output.unsent()
    }

    /// Says that the broker is stopping.
    pub fn go_away(&mut self, message: &str) {
        self.spoken.go_away(message, self.output.gather());
    }

    /// Whether input has arrived that is not consumed.
    pub fn is_half_read(&self) -> bool {
        self.input.is_partial()
    }

    /// Gives up input memory beyond what is half-read.
    pub fn settle_input(&mut self, pool: &mut Buffers) {
        self.input.settle(pool);
    }

    /// Called when the turn leaves this connection alone: gives up memory, notes since when a frame is half-read.
    pub fn settle(&mut self, pool: &mut Buffers, now: Now) {
        self.input.settle(pool);
        self.output.settle();
        let short = self.input.is_partial() && self.input.bytes().len() < self.input.needed();
        let waits_for_client = short && !self.readable;
        self.frame_began = waits_for_client.then(|| self.frame_began.unwrap_or(now.time));
    }

    /// When this connection must be looked at if nothing happens: a half-read frame, a client that takes nothing, or
    /// plain idleness.
    pub fn deadline(&self, limits: &Limits) -> Time {
        let mut deadline =
            if self.spoken.is_waiting() { Time(u64::MAX) } else { self.last_request.plus_ms(limits.idle_ms) };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Level, Parts, PublishedPart, Request, TopicKey};
    use krappy_wire::native::{Body, Head, PlainWriter, Request as Native};

    const NOW: Now = Now { time: Time(5_000_000), wall: 0 };

    fn greeting() -> Greeting {
        Greeting { software: "krappy".into(), cluster_id: "c".into(), ..Greeting::default() }
    }

    fn ends() -> Ends {
        Ends::default()
    }

    /// A registration, a publish and a ping, as a client sends them in one go.
    fn conversation() -> Vec<u8> {
        let mut records = PlainWriter::default();
        records.push(-1, None, Some(b"value"), &[]);
        let publish =
            Native::Publish { acks: Level::Appended, partition: 0, body: Body::Plain(records.records()) };
        let mut bytes = Vec::new();
        for (correlation, request) in
            [(1, Native::RegisterProducer { topic: "t", idempotent: false }), (2, publish), (3, Native::Ping)]
        {
            request.encode(Head { stream: 7, correlation }, &mut bytes);
        }
        bytes
    }

    /// Feeds `bytes` in pieces of `step`; answers what the broker would; returns the slots asked for.
    fn feed(conn: &mut Conn, bytes: &[u8], step: usize) -> Vec<&'static str> {
        let (limits, greeting, mut pool) = (Limits::default(), greeting(), Buffers::new(1 << 20));
        let mut asked = Vec::new();
        for piece in bytes.chunks(step) {
            conn.fill(&mut &piece[..], &mut pool).unwrap();
            loop {
                let (slot, consumed, reply, name) = match conn.next_request(&limits, &greeting).unwrap() {
                    Step::Request { slot, request: Request::OpenProducer { .. }, consumed } => {
                        let reply = Reply::ProducerOpen {
                            topic: TopicKey(3),
                            partitions: 1,
                            producer: None,
                            max_message_bytes: 9,
                        };
                        (slot, consumed, reply, "open")
                    }
                    Step::Request { slot, request: Request::Publish(_), consumed } => {
                        let (log_append_time, log_start) = (-1, 0);
                        let part = PublishedPart {
                            partition: 0,
                            base_offset: 4,
                            count: 1,
                            log_append_time,
                            log_start,
                        };
                        let reply = Reply::Published { level: Level::Appended, parts: Parts::One(part) };
                        (slot, consumed, reply, "publish")
                    }
                    Step::Request { request, .. } => panic!("{request:?}"),
                    Step::Requests { requests, .. } => panic!("{requests:?}"),
                    Step::Handled(consumed) => {
                        conn.consumed(consumed, NOW);
                        continue;
                    }
                    Step::Partial(need) => {
                        conn.expect(need);
                        break;
                    }
                    Step::Nothing => break,
                };
                asked.push(name);
                conn.taken(slot, consumed, NOW);
                conn.reply(slot, reply, NOW);
            }
            conn.settle_input(&mut pool);
        }
        asked
    }

    fn sent(conn: &mut Conn) -> Vec<u8> {
        let (mut out, mut pool) = (Vec::new(), Buffers::new(0));
        conn.drain(&mut out, &mut pool, &mut 0, NOW).unwrap();
        out
    }

    #[test]
    fn requests_are_the_same_however_their_bytes_arrive() {
        let bytes = conversation();
        let mut whole = Conn::new(ends(), NOW);
        assert_eq!(feed(&mut whole, &bytes, bytes.len()), ["open", "publish"]);
        let expected = sent(&mut whole);
        for step in 1..bytes.len() {
            let mut conn = Conn::new(ends(), NOW);
            assert_eq!(feed(&mut conn, &bytes, step), ["open", "publish"], "{step} bytes at a time");
            assert_eq!(sent(&mut conn), expected, "{step} bytes at a time");
        }
    }

    #[test]
    fn a_client_that_has_finished_sending_gets_what_it_asked_for_before_it_is_closed() {
        let mut conn = Conn::new(ends(), NOW);
        let (mut pool, limits, greeting) = (Buffers::new(1 << 20), Limits::default(), greeting());
        conn.fill(&mut &conversation()[..], &mut pool).unwrap();
        conn.fill(&mut &b""[..], &mut pool).unwrap();
        assert!(conn.ended && !conn.is_finished(), "there are requests to be answered");
        let Step::Request { slot, consumed, .. } = conn.next_request(&limits, &greeting).unwrap() else {
            panic!("a registration was sent")
        };
        conn.taken(slot, consumed, NOW);
        assert!(!conn.is_finished(), "the registration is not answered");
    }

    #[test]
    fn a_half_read_frame_has_a_deadline_and_an_idle_connection_another() {
        let limits = Limits::default();
        let mut conn = Conn::new(ends(), NOW);
        conn.readable = false;
        assert_eq!(conn.deadline(&limits), NOW.time.plus_ms(limits.idle_ms));
        let bytes = conversation();
        feed(&mut conn, &bytes[..10], 10);
        conn.settle(&mut Buffers::new(0), NOW);
        assert_eq!(conn.deadline(&limits), NOW.time.plus_ms(limits.request_receive_ms));
        assert_eq!(conn.overdue(), "a request was begun and not finished in time");
        feed(&mut conn, &bytes[10..], 1000);
        let _ = sent(&mut conn);
        conn.settle(&mut Buffers::new(0), NOW);
        assert_eq!(conn.deadline(&limits), NOW.time.plus_ms(limits.idle_ms));
    }

    #[test]
    fn a_publish_that_is_not_taken_is_offered_again() {
        let mut conn = Conn::new(ends(), NOW);
        let (mut pool, limits, greeting) = (Buffers::new(1 << 20), Limits::default(), greeting());
        conn.fill(&mut &conversation()[..], &mut pool).unwrap();
        let Ok(Step::Request { slot, consumed, .. }) = conn.next_request(&limits, &greeting) else {
            panic!("a registration was sent")
        };
        conn.taken(slot, consumed, NOW);
        for _ in 0..2 {
            let next = conn.next_request(&limits, &greeting);
            assert!(matches!(next, Ok(Step::Request { request: Request::Publish(_), .. })));
        }
        assert!(conn.has_work());
    }

    #[test]
    fn who_speaks_nothing_that_is_known_here_is_turned_away() {
        for (bytes, word) in
            [(&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], "TLS"), (b"\0\0\0\x14\xff\xff", "neither")]
        {
            let mut conn = Conn::new(ends(), NOW);
            conn.fill(&mut &bytes[..], &mut Buffers::new(0)).unwrap();
            let violation = conn.next_request(&Limits::default(), &greeting()).unwrap_err();
            assert!(violation.0.contains(word), "{}", violation.0);
        }
    }

    #[test]
    fn a_browser_gets_a_page_and_is_closed_behind_it() {
        let mut conn = Conn::new(ends(), NOW);
        let request = b"GET / HTTP/1.1\r\n\r\n";
        assert!(feed(&mut conn, request, 1).is_empty());
        assert!(sent(&mut conn).starts_with(b"HTTP/1.1 404 "));
        assert!(conn.is_finished());
    }
}
