//! The poll loop: listeners, sockets, the waker of the worker threads, signals and timeouts. The only file that names
//! mio and the only one below `main` that reads a clock.
//!
//! Invariant: sockets are registered once, for both directions, edge-triggered; from then on readiness is remembered by
//! the connection. Nothing in a turn waits for a device, so the length of the longest turn is what a client can feel of
//! all others; it is published.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream, UnixStream};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::broker::Broker;
use crate::disk::Disk;
use crate::language::{Address, Ends};
use crate::os::{self, Signals};
use crate::server::{Server, Stream};
use crate::time::{Now, Time};
use crate::worker::{Done, Job, Workers};

/// Events taken from the kernel at once.
const EVENTS: usize = 1024;
/// Connections accepted in one turn, so that a flood does not keep the others waiting.
const ACCEPTS: usize = 64;
/// How often the gauges that only the system knows are read, milliseconds.
const GAUGES_MS: u64 = 1_000;
/// How long accepting pauses when file descriptors have run out, milliseconds.
const ACCEPT_PAUSE_MS: u64 = 10;
/// Worker threads: enough for a sync, a cold read and a deletion to be under way at a time.
const WORKERS: usize = 3;
/// File descriptors that are not given to connections, so that no append fails for want of one; a quarter of all where
/// there are few.
const KEPT_DESCRIPTORS: u64 = 64;
const WAKER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);
/// Listener `n` has the token `LISTENERS - n`.
const LISTENERS: usize = usize::MAX - 2;

/// How serving ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Stopped {
    /// A signal asked for it; everything is on disk and marked as clean.
    Clean {
        /// Connections that were open when the signal came.
        connections: usize,
    },
    /// The disk failed; the text says how.
    Disk(String),
}

/// The poll loop and everything that it owns.
pub struct Reactor {
    poll: Poll,
    server: Server<TcpStream>,
    workers: Workers,
    listeners: Vec<Listener>,
    signals: UnixStream,
    stopping: bool,
    clock: Clock,
    /// A connection whose descriptor is as high as this is refused.
    descriptors: u64,
    /// Given up for a moment to accept and close a connection when descriptors have run out.
    spare: Option<File>,
    /// When the gauges that only the system knows are read again.
    next_gauges: Time,
    /// No accepting before this.
    accept_pause: Option<Time>,
}

struct Listener {
    socket: TcpListener,
    /// A connection may be waiting.
    ready: bool,
}

/// Reads both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Both clocks at this moment.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { time: Time(self.started.elapsed().as_micros() as u64), wall: wall.as_millis() as i64 }
    }
}

impl Stream for TcpStream {
    fn peer(&self) -> String {
        self.peer_addr().map_or_else(|_| "(gone)".into(), |addr| addr.to_string())
    }

    fn ends(&self) -> Ends {
        match (self.local_addr(), self.peer_addr()) {
            (Ok(here), Ok(there)) => Ends {
                reached: Address { host: here.ip().to_canonical().to_string(), port: here.port() },
                from: format!("/{}", there.ip().to_canonical()),
            },
            // The connection is gone already, and whatever it asks for is told to nobody.
            _ => Ends::default(),
        }
    }
}

impl Reactor {
    /// Puts a loop around an open broker and the listeners that are bound already.
    pub fn new(
        broker: Broker,
        disk: Arc<dyn Disk>,
        listeners: Vec<std::net::TcpListener>,
        clock: Clock,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let wake = move || waker.wake().expect("the poll outlives the workers");
        let workers = Workers::start(disk, WORKERS, wake)?;
        let mut signals = UnixStream::from_std(Signals::install()?.0);
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        let mut ours = Vec::new();
        for (n, socket) in listeners.into_iter().enumerate() {
            socket.set_nonblocking(true)?;
            let mut socket = TcpListener::from_std(socket);
            poll.registry().register(&mut socket, Token(LISTENERS - n), Interest::READABLE)?;
            ours.push(Listener { socket, ready: true });
        }
        Ok(Self {
            poll,
            server: Server::new(broker),
            workers,
            listeners: ours,
            signals,
            stopping: false,
            clock,
            descriptors: connection_descriptors(os::raise_open_file_limit()),
            spare: File::open("/dev/null").ok(),
            next_gauges: Time::default(),
            accept_pause: None,
        })
    }

    /// Serves until a signal or a failed disk ends it.
    pub fn run(mut self) -> io::Result<Stopped> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.stopping {
            if let Some(why) = self.server.broker().fatal() {
                let why = why.to_owned();
                self.finish(&mut events, true)?;
                return Ok(Stopped::Disk(why));
            }
            self.turn(&mut events)?;
        }
        let connections = self.server.connections();
        self.finish(&mut events, false)?;
        Ok(Stopped::Clean { connections })
    }

    /// One turn: poll, note who is ready, let the server work, hand jobs to the workers.
    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = self.timeout();
        self.turn_within(events, timeout)
    }

    fn turn_within(&mut self, events: &mut Events, timeout: Duration) -> io::Result<()> {
        match self.poll.poll(events, Some(timeout)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let began = self.clock.now();
        let mut done: Vec<Done> = Vec::new();
        for event in events.iter() {
            match event.token() {
                WAKER => self.workers.take_done(&mut done),
                SIGNALS => self.read_signals(),
                Token(n) if n > LISTENERS - self.listeners.len() => {
                    self.listeners[LISTENERS - n].ready = true
                }
                token => self.note(token, event),
            }
        }
        for done in done {
            self.server.complete(done, began);
        }
        self.accept(began);
        if self.server.next_deadline() <= began.time {
            self.server.tick(began);
        }
        if began.time >= self.next_gauges {
            self.next_gauges = began.time.plus_ms(GAUGES_MS);
            let metrics = &mut self.server.broker_mut().metrics;
            metrics.uptime_ms = began.time.0 / 1_000;
            metrics.resident_bytes = os::resident_bytes();
        }
        self.server.turn(began);
        self.hand_out_jobs();
        let metrics = &mut self.server.broker_mut().metrics;
        metrics.turns += 1;
        metrics.longest_turn_us = metrics.longest_turn_us.max(self.clock.now().time.0 - began.time.0);
        Ok(())
    }

    fn timeout(&self) -> Duration {
        let now = self.clock.now().time;
        let accepting = self.accept_pause.is_none() && self.listeners.iter().any(|l| l.ready);
        if self.server.has_work() || accepting {
            return Duration::ZERO;
        }
        let deadline = self.server.next_deadline().min(self.accept_pause.unwrap_or(Time(u64::MAX)));
        // A microsecond more, so that the deadline has passed when the poll returns.
        now.until(deadline) + Duration::from_micros(1)
    }

    fn note(&mut self, token: Token, event: &Event) {
        let hung_up = event.is_read_closed() || event.is_write_closed() || event.is_error();
        self.server.ready(token.0 as u32, event.is_readable(), event.is_writable(), hung_up);
    }

    fn read_signals(&mut self) {
        let mut bytes = [0; 16];
        // The handler itself ends the process at the second signal; here the first one is all that matters.
        while matches!(self.signals.read(&mut bytes), Ok(n) if n > 0) {
            self.stopping = true;
        }
    }

    fn hand_out_jobs(&mut self) {
        let mut jobs: Vec<Job> = Vec::new();
        self.server.take_jobs(&mut jobs);
        if !jobs.is_empty() {
            self.workers.give(jobs);
        }
    }

    /// Accepts what waits, a bounded number at a time.
    fn accept(&mut self, now: Now) {
        if self.accept_pause.is_some_and(|until| until > now.time) {
            return;
        }
        self.accept_pause = None;
        for n in 0..self.listeners.len() {
            for _ in 0..ACCEPTS {
                if !self.listeners[n].ready {
                    break;
                }
                match self.listeners[n].socket.accept() {
                    Ok((stream, peer)) => self.welcome(stream, peer, now),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.listeners[n].ready = false,
                    Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                        self.turn_away(n, now);
                        return;
                    }
                    // The client was gone before it was accepted.
                    Err(_) => {}
                }
            }
        }
    }

    fn welcome(&mut self, mut stream: TcpStream, peer: SocketAddr, now: Now) {
        // The kernel gives the lowest number that is free, so the number tells how many are in use.
        let scarce = stream.as_raw_fd() as u64 >= self.descriptors;
        if scarce || !self.server.has_room() {
            let why = if scarce { "file descriptors are running out" } else { "max.connections is reached" };
            log::debug!("a connection from {peer} is refused: {why}");
            return self.server.refused_connection();
        }
        let token = Token(self.server.next_key() as usize);
        let both = Interest::READABLE | Interest::WRITABLE;
        let registered =
            stream.set_nodelay(true).and_then(|()| self.poll.registry().register(&mut stream, token, both));
        match registered {
            Ok(()) => {
                self.server.accept(stream, now);
            }
            Err(e) => log::warn!("a connection from {peer} could not be registered: {e}"),
        }
    }

    /// Descriptors have run out: with the spare one, the waiting connection is accepted and closed, so that it is not
    /// left hanging; then accepting pauses. The listener's readiness is remembered, so it does not go deaf.
    fn turn_away(&mut self, n: usize, now: Now) {
        self.spare = None;
        let refused = self.listeners[n].socket.accept().is_ok();
        self.spare = File::open("/dev/null").ok();
        if refused {
            self.server.refused_connection();
        }
        self.accept_pause = Some(now.time.plus_ms(ACCEPT_PAUSE_MS));
    }

    /// Stops: everyone gets what is owed, everything is synced, and only then the clean marker is written. `failed`:
    /// the disk is not to be trusted, so the marker is not written at all.
    fn finish(&mut self, events: &mut Events, failed: bool) -> io::Result<()> {
        self.listeners.clear();
        let now = self.clock.now();
        let deadline = now.time.plus_ms(self.server.broker().config().limits.drain_ms);
        self.server.drain(now);
        loop {
            let now = self.clock.now();
            let drained = self.server.connections() == 0 || now.time >= deadline;
            if drained {
                self.server.broker_mut().flush(now);
                self.server.broker_mut().sync_all();
                self.hand_out_jobs();
                if self.server.broker().is_idle() || failed {
                    break;
                }
            }
            // While something is owed there are events; this only bounds the wait for clients that take nothing.
            let longest = Duration::from_millis(10);
            let timeout = self.timeout().min(longest);
            self.turn_within(events, timeout)?;
        }
        if failed {
            return Ok(());
        }
        // No job may write behind the back of the files that are written now.
        self.workers.finish();
        self.server.broker_mut().close()
    }
}

/// How many of the descriptors connections may take.
fn connection_descriptors(limit: u64) -> u64 {
    limit - KEPT_DESCRIPTORS.min(limit / 4)
}

/// Binds the listeners. The error names the address and says what to do.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<std::net::TcpListener>, String> {
    let bind = |addr: &SocketAddr| {
        std::net::TcpListener::bind(addr).map_err(|e| match e.kind() {
            io::ErrorKind::AddrInUse => format!(
                "{addr} is in use by another process. Use --listen {}:{} or --listen {}:0",
                addr.ip(),
                addr.port().wrapping_add(100),
                addr.ip()
            ),
            _ => format!("cannot listen on {addr}: {e}"),
        })
    };
    addresses.iter().map(bind).collect()
}
