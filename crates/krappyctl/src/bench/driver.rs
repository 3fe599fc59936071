//! Pipelined load over nonblocking sockets, one thread for all connections. The echo limit and the broker are driven by
//! the same code, so that what the driver costs is in both.
//!
//! Invariant: a request's time begins when it is due, not when the socket takes it, so a stalled broker cannot hide
//! what it delayed.

use super::sys::{self, PollFd};
use crate::failure::{Failure, REFUSED};
use crate::signal;
use hdrhistogram::Histogram;
use krappy_wire::frame::{self, Split};
use krappy_wire::native::{Head, Reply, Request, code};
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the correlation stands in a frame: after size, type and stream.
const CORRELATION: usize = 12;
/// Where a Publish names its partition: after the acks that follow the correlation.
const PARTITION: usize = 17;
/// A body of at least this many bytes is sent from where it is instead of being copied.
const LARGE: usize = 8 << 10;
const READ: usize = 256 << 10;
/// Without any answer for this long, the run has failed.
const STALL: Duration = Duration::from_secs(30);

/// A request that is sent again and again with another correlation, and perhaps with more that changes.
#[derive(Clone)]
pub struct Template {
    head: Vec<u8>,
    body: Arc<Vec<u8>>,
    vary: Option<Vary>,
    expect: fn(u16, &[u8]) -> bool,
}

/// Writes what belongs to the request with this number into its frame. The same number gives the same bytes.
type Vary = Arc<dyn Fn(u64, &mut [u8])>;

impl Template {
    /// From a whole frame.
    pub fn new(frame: Vec<u8>) -> Self {
        Self { head: frame, body: Arc::default(), vary: None, expect: |_, _| true }
    }

    /// Has each request changed by `vary`, which is given its number in the run and the whole frame.
    pub fn varying(mut self, vary: impl Fn(u64, &mut [u8]) + 'static) -> Self {
        assert!(self.body.is_empty(), "a shared body stays the same");
        self.vary = Some(Arc::new(vary));
        self
    }

    /// Has the run fail at an answer, given by its code and payload, that is not what `expect` wants.
    pub fn expecting(mut self, expect: fn(u16, &[u8]) -> bool) -> Self {
        self.expect = expect;
        self
    }

    /// From a frame whose last `body` bytes may be sent from a shared place.
    pub fn with_body(mut frame: Vec<u8>, body: usize) -> Self {
        if body < LARGE {
            return Self::new(frame);
        }
        let body = frame.split_off(frame.len() - body);
        Self { body: Arc::new(body), ..Self::new(frame) }
    }

    pub fn size(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// When requests are sent.
#[derive(Clone, Copy)]
pub enum Pace {
    /// Whenever fewer than so many of a connection are unanswered.
    Closed { in_flight: usize },
    /// So many a second over all connections, whatever is unanswered.
    Open { rate: u64 },
}

/// When sending ends; what was sent is still waited for.
#[derive(Clone, Copy)]
pub struct Until {
    pub requests: u64,
    pub duration: Duration,
}

/// What a run brought.
pub struct Outcome {
    pub requests: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Nanoseconds from when a request was due to its answer.
    pub latency: Histogram<u64>,
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    pub fn percentile(&self, p: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_percentile(p))
    }
}

pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("fixed bounds are good")
}

/// One connection under load.
pub struct Conn {
    stream: TcpStream,
    /// Written into each request, which must then be a Publish.
    partition: Option<i32>,
    /// Requests not taken by the socket yet, by correlation and number in the run; of the first, `sent` bytes have
    /// left.
    queue: VecDeque<(u32, u64)>,
    sent: usize,
    input: Vec<u8>,
    /// When each unanswered request was due; the index is its correlation.
    due: Vec<Option<Instant>>,
    free: Vec<u32>,
    unanswered: usize,
}

impl Conn {
    /// Takes over a socket on which everything has been answered.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let (due, free) = (Vec::new(), Vec::new());
        let (queue, input) = (VecDeque::new(), Vec::new());
        Ok(Self { stream, partition: None, queue, sent: 0, input, due, free, unanswered: 0 })
    }

    /// Has every request go to this partition.
    pub fn publishing_to(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Gives the socket back, blocking again.
    pub fn into_stream(self) -> io::Result<TcpStream> {
        self.stream.set_nonblocking(false)?;
        Ok(self.stream)
    }

    fn enqueue(&mut self, number: u64, due: Instant, answered: bool) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.due.push(None);
            self.due.len() as u32 - 1
        });
        self.queue.push_back((slot, number));
        if answered {
            self.due[slot as usize] = Some(due);
            self.unanswered += 1;
        } else {
            self.free.push(slot);
        }
    }

    fn flush(&mut self, template: &Template) -> io::Result<()> {
        while !self.queue.is_empty() {
            let written = if template.body.is_empty() {
                self.write_small(template)
            } else {
                self.write_large(template)
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.advance(n, template.size()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn write_small(&mut self, template: &Template) -> io::Result<usize> {
        let most = (64 << 10) / template.size() + 1;
        let mut bytes = Vec::with_capacity(most.min(self.queue.len()) * template.size());
        for (slot, number) in self.queue.iter().take(most) {
            let at = bytes.len();
            bytes.extend_from_slice(&template.head);
            self.fill_in(&mut bytes[at..], *slot);
            if let Some(vary) = &template.vary {
                vary(*number, &mut bytes[at..]);
            }
        }
        self.stream.write(&bytes[self.sent..])
    }

    fn fill_in(&self, request: &mut [u8], slot: u32) {
        request[CORRELATION..CORRELATION + 4].copy_from_slice(&slot.to_be_bytes());
        if let Some(partition) = self.partition {
            request[PARTITION..PARTITION + 4].copy_from_slice(&partition.to_be_bytes());
        }
    }

    fn write_large(&mut self, template: &Template) -> io::Result<usize> {
        let head = |(slot, _): &(u32, u64)| {
            let mut head = template.head.clone();
            self.fill_in(&mut head, *slot);
            head
        };
        let heads: Vec<Vec<u8>> = self.queue.iter().take(16).map(head).collect();
        let mut slices: Vec<IoSlice<'_>> =
            heads.iter().flat_map(|h| [IoSlice::new(h), IoSlice::new(&template.body)]).collect();
        let mut left = &mut slices[..];
        IoSlice::advance_slices(&mut left, self.sent);
        self.stream.write_vectored(left)
    }

    fn advance(&mut self, written: usize, size: usize) {
        self.sent += written;
        while self.sent >= size {
            self.sent -= size;
            self.queue.pop_front();
        }
    }

    /// Reads what is there and records the answers in it.
    fn drain(
        &mut self,
        buffer: &mut [u8],
        template: &Template,
        latency: &mut Histogram<u64>,
    ) -> Result<u64, Failure> {
        let mut answers = 0;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(Failure::new(REFUSED, "the broker closed the connection")),
                Ok(n) => {
                    self.input.extend_from_slice(&buffer[..n]);
                    answers += self.answers(template, latency)?;
                    if n < buffer.len() {
                        return Ok(answers);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(answers),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(broken(&e)),
            }
        }
    }

    fn answers(&mut self, template: &Template, latency: &mut Histogram<u64>) -> Result<u64, Failure> {
        let now = Instant::now();
        let (mut at, mut answers) = (0, 0);
        while let Split::Whole { code, payload, consumed } =
            frame::split(&self.input[at..], u32::MAX).map_err(|e| Failure::new(REFUSED, e.to_string()))?
        {
            refuse_errors(code, payload)?;
            if !(template.expect)(code, payload) {
                return Err(Failure::new(REFUSED, "the broker gives another answer than it should"));
            }
            let (head, _) = Head::read(payload).map_err(|e| Failure::new(REFUSED, e.to_string()))?;
            let due = self.due.get_mut(head.correlation as usize).and_then(Option::take);
            let due = due.ok_or_else(|| Failure::new(REFUSED, "an answer to nothing that was asked"))?;
            latency.saturating_record((now.saturating_duration_since(due).as_nanos() as u64).max(1));
            self.free.push(head.correlation);
            self.unanswered -= 1;
            answers += 1;
            at += consumed;
        }
        self.input.drain(..at);
        Ok(answers)
    }
}

/// An error reply ends the run.
pub fn refuse_errors(code: u16, payload: &[u8]) -> Result<(), Failure> {
    if code != code::ERROR && code != code::GO_AWAY {
        return Ok(());
    }
    let reply = Head::read(payload).and_then(|(_, body)| Reply::decode(code, body));
    match reply {
        Ok(Some(Reply::Error { message, hint, .. })) => Err(Failure::new(REFUSED, message).hint(hint)),
        _ => Err(Failure::new(REFUSED, "the broker is stopping")),
    }
}

pub fn broken(error: &io::Error) -> Failure {
    Failure::new(crate::failure::NO_CONNECTION, format!("the connection broke: {error}"))
}

/// Drives all connections with one template until the end. `answered` is false for publishes without acks.
pub fn run(
    conns: &mut [Conn],
    template: &Template,
    pace: Pace,
    until: Until,
    answered: bool,
) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let (latency, last_news) = (histogram(), started);
    let mut run = Run {
        conns,
        template,
        pace,
        until,
        answered,
        started,
        last_news,
        over: false,
        sent: 0,
        next: 0,
        latency,
    };
    run.finish()?;
    let end = if answered { run.last_news } else { Instant::now() };
    Ok(Outcome { requests: run.sent, elapsed: end - started, latency: run.latency })
}

struct Run<'a> {
    conns: &'a mut [Conn],
    template: &'a Template,
    pace: Pace,
    until: Until,
    answered: bool,
    started: Instant,
    last_news: Instant,
    /// Nothing more will be due.
    over: bool,
    sent: u64,
    next: usize,
    latency: Histogram<u64>,
}

impl Run<'_> {
    fn finish(&mut self) -> Result<(), Failure> {
        sys::exact_timers();
        let mut fds: Vec<PollFd> = self.conns.iter().map(|c| sys::poll_fd(c.stream.as_raw_fd())).collect();
        let mut buffer = vec![0; READ];
        loop {
            signal::check()?;
            let wait = self.send()?;
            if self.ended() {
                return Ok(());
            }
            for (fd, conn) in fds.iter_mut().zip(&*self.conns) {
                sys::watch_output(fd, !conn.queue.is_empty());
            }
            sys::poll(&mut fds, wait).map_err(|e| broken(&e))?;
            for (fd, conn) in fds.iter().zip(&mut *self.conns) {
                if fd.revents != 0 {
                    self.last_news = Instant::now();
                }
                if sys::readable(fd) {
                    conn.drain(&mut buffer, self.template, &mut self.latency)?;
                }
            }
            if self.last_news.elapsed() > STALL {
                return Err(Failure::new(crate::failure::NO_CONNECTION, "no answer for 30 s"));
            }
        }
    }

    /// Queues what is due and writes what the sockets take; returns how long nothing will be due.
    fn send(&mut self) -> Result<Duration, Failure> {
        let now = Instant::now();
        let wait = match self.pace {
            Pace::Closed { in_flight } => self.fill(now, in_flight),
            Pace::Open { rate } => self.schedule(now, rate),
        };
        for conn in &mut *self.conns {
            conn.flush(self.template).map_err(|e| broken(&e))?;
        }
        // Without answers nothing else would say that a socket which took everything can take more.
        let hungry = !self.answered && !self.over && self.conns.iter().any(|c| c.queue.is_empty());
        let closed = matches!(self.pace, Pace::Closed { .. });
        Ok(if hungry && closed { Duration::ZERO } else { wait })
    }

    fn fill(&mut self, now: Instant, in_flight: usize) -> Duration {
        self.over |= now.duration_since(self.started) >= self.until.duration;
        for conn in &mut *self.conns {
            let busy = |c: &Conn| if self.answered { c.unanswered } else { c.queue.len() };
            while busy(conn) < in_flight && !self.over {
                conn.enqueue(self.sent, now, self.answered);
                self.sent += 1;
                self.over |= self.sent >= self.until.requests;
            }
        }
        Duration::from_millis(100)
    }

    fn schedule(&mut self, now: Instant, rate: u64) -> Duration {
        loop {
            let due = self.started + Duration::from_nanos((self.sent as f64 * 1e9 / rate as f64) as u64);
            self.over |= self.sent >= self.until.requests || due - self.started >= self.until.duration;
            if self.over {
                return Duration::from_millis(100);
            }
            if due > now {
                return due - now;
            }
            self.conns[self.next].enqueue(self.sent, due, self.answered);
            self.next = (self.next + 1) % self.conns.len();
            self.sent += 1;
        }
    }

    fn ended(&self) -> bool {
        self.over && self.conns.iter().all(|c| c.unanswered == 0 && c.queue.is_empty())
    }
}

/// Asks something on a blocking socket and reads the answer: its code and payload.
pub fn ask(stream: &mut TcpStream, head: Head, request: &Request<'_>) -> Result<(u16, Vec<u8>), Failure> {
    let mut frame = Vec::new();
    request.encode(head, &mut frame);
    stream.write_all(&frame).map_err(|e| broken(&e))?;
    let mut payload = Vec::new();
    let code = read_frame(stream, &mut payload)?;
    refuse_errors(code, &payload)?;
    Ok((code, payload))
}

/// Reads one frame into `payload`, whose memory is used again; returns its code.
pub fn read_frame(stream: &mut TcpStream, payload: &mut Vec<u8>) -> Result<u16, Failure> {
    let mut head = [0; frame::HEAD];
    stream.read_exact(&mut head).map_err(|e| broken(&e))?;
    let need = match frame::split(&head, u32::MAX).map_err(|e| Failure::new(REFUSED, e.to_string()))? {
        Split::Partial { need } => need - frame::HEAD,
        Split::Whole { .. } => unreachable!("the smallest frame is longer than its head"),
    };
    // Grown once and then kept; a broker under test is trusted with its own sizes.
    payload.resize(need, 0);
    stream.read_exact(payload).map_err(|e| broken(&e))?;
    Ok(u16::from_be_bytes([head[6], head[7]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Echoes whatever comes on `connections` connections.
    fn echo(connections: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        for _ in 0..connections {
            let listener = listener.try_clone().unwrap();
            std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = [0; 65536];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    stream.write_all(&buffer[..n]).unwrap();
                }
            });
        }
        address
    }

    fn driven(body: usize, pace: Pace, requests: u64) -> Outcome {
        let address = echo(3);
        let connect = || Conn::new(TcpStream::connect(&address).unwrap()).unwrap();
        let mut conns: Vec<Conn> = (0..3).map(|_| connect()).collect();
        let mut bytes = Vec::new();
        frame::write(&mut bytes, code::PONG, |out| out.resize(out.len() + 8 + body, 7));
        let until = Until { requests, duration: Duration::from_secs(20) };
        run(&mut conns, &Template::with_body(bytes, body), pace, until, true).unwrap()
    }

    #[test]
    fn every_request_is_sent_and_answered_once() {
        for body in [0, 100, LARGE, 300_000] {
            let outcome = driven(body, Pace::Closed { in_flight: 4 }, 101);
            assert_eq!((outcome.requests, outcome.latency.len()), (101, 101), "{body}");
        }
        assert_eq!(driven(10, Pace::Open { rate: 10_000 }, 50).latency.len(), 50);
    }

    #[test]
    fn requests_differ_by_their_number_and_answers_are_looked_at() {
        let run = |expect: fn(u16, &[u8]) -> bool| {
            let mut conns = [Conn::new(TcpStream::connect(echo(1)).unwrap()).unwrap()];
            let mut bytes = Vec::new();
            frame::write(&mut bytes, code::PONG, |out| out.resize(out.len() + 16, 0));
            let number = |n: u64, frame: &mut [u8]| frame[16..].copy_from_slice(&n.to_be_bytes());
            let template = Template::new(bytes).varying(number).expecting(expect);
            let until = Until { requests: 300, duration: Duration::from_secs(20) };
            run(&mut conns, &template, Pace::Closed { in_flight: 7 }, until, true).map(|o| o.requests)
        };
        assert_eq!(
            run(|code, payload| code == code::PONG && payload[8..15] == [0; 7]).unwrap_err().code,
            REFUSED
        );
        assert_eq!(run(|_, payload| u64::from_be_bytes(payload[8..].try_into().unwrap()) < 300), Ok(300));
    }

    #[test]
    fn an_error_reply_ends_the_run_with_the_brokers_words() {
        let mut bytes = Vec::new();
        let head = Head { stream: 0, correlation: 0 };
        Reply::error(krappy_wire::error::ErrorCode::MessageTooLarge, "too big", "smaller")
            .encode(head, &mut bytes);
        let Split::Whole { code, payload, .. } = frame::split(&bytes, 1000).unwrap() else {
            panic!("partial")
        };
        assert_eq!(refuse_errors(code, payload), Err(Failure::new(REFUSED, "too big").hint("smaller")));
    }
}
