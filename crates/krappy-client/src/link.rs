//! One TCP connection: requests go out under one lock, and a thread hands each reply to whoever asked for it.
//!
//! Invariant: a route is answered exactly once for `Route::Once`, and every route still open hears of the end of the
//! connection. Frames of one caller leave in the order in which it sent them.

use crate::error::Error;
use krappy_wire::frame::{self, Split};
use krappy_wire::native::{Head, Reply, Request, VERSION};
use std::collections::HashMap;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::Duration;

/// Largest reply that is waited for, bytes. Memory follows what arrives, not what a frame declares.
const LARGEST_REPLY: u32 = 1 << 30;
/// Memory set aside for a frame before its bytes arrive.
const FIRST_READ: usize = 64 << 10;

/// A whole reply frame, shared by the slices that point into it.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub code: u16,
    /// The payload: stream, correlation, body.
    pub payload: Arc<Vec<u8>>,
}

impl Message {
    /// The reply; the broker's refusal becomes an error.
    pub fn reply(&self) -> Result<Reply<'_>, Error> {
        let (_, body) = Head::read(&self.payload).map_err(Error::malformed)?;
        match Reply::decode(self.code, body).map_err(Error::malformed)? {
            Some(Reply::Error { code, message, hint }) => {
                Err(Error::Refused { number: code, message: message.into(), hint: hint.into() })
            }
            Some(reply) => Ok(reply),
            None => Err(Error::malformed(format!("no reply has the code {:#06x}", self.code))),
        }
    }
}

/// A reply, or why there will be none.
pub(crate) type Answer = Result<Message, Error>;

/// Who hears the replies to a correlation. Called on the reader thread: it must not block.
pub(crate) enum Route {
    /// The next reply, and no more.
    Once(Box<dyn FnOnce(Answer) + Send>),
    /// Every reply until it is forgotten.
    Many(Arc<dyn Fn(Answer) + Send + Sync>),
}

#[derive(Default)]
struct Routes {
    open: HashMap<u32, Route>,
    /// Why the connection ended.
    dead: Option<Error>,
    /// The broker has said that it is stopping; it still answers what it has read.
    leaving: bool,
}

/// What the broker said about itself in its greeting.
///
/// ```no_run
/// let info = krappy_client::Client::connect("127.0.0.1:9092")?.broker();
/// println!("{} serves {}", info.software, info.cluster_id);
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerInfo {
    /// Version of the broker's software.
    pub software: String,
    /// Name of the data folder's contents, for ever.
    pub cluster_id: String,
    /// Largest frame it accepts, bytes.
    pub max_frame: u32,
}

pub(crate) struct Link {
    stream: TcpStream,
    writer: Mutex<()>,
    routes: Mutex<Routes>,
    correlations: AtomicU32,
    streams: AtomicU32,
}

impl Link {
    /// Takes over a connected socket, greets the broker and starts the reader thread.
    pub fn open(
        stream: TcpStream,
        address: &str,
        client: &str,
        limit: Duration,
    ) -> Result<(Arc<Link>, BrokerInfo), Error> {
        stream.set_nodelay(true).map_err(|e| Error::broken(&e))?;
        stream.set_read_timeout(Some(limit)).map_err(|e| Error::broken(&e))?;
        stream.set_write_timeout(Some(limit)).map_err(|e| Error::broken(&e))?;
        let info = greet(&stream, address, client)?;
        stream.set_read_timeout(None).map_err(|e| Error::broken(&e))?;
        let reading = stream.try_clone().map_err(|e| Error::broken(&e))?;
        let link = Arc::new(Link {
            stream,
            writer: Mutex::new(()),
            routes: Mutex::default(),
            correlations: AtomicU32::new(1),
            streams: AtomicU32::new(1),
        });
        let reader = Arc::clone(&link);
        std::thread::Builder::new()
            .name("krappy-reader".into())
            .spawn(move || reader.read_until_end(reading))
            .map_err(|e| Error::broken(&e))?;
        Ok((link, info))
    }

    /// How long the broker may take no byte before the connection counts as broken.
    pub fn set_write_timeout(&self, limit: Duration) {
        // Refused only for zero, which leaves the limit of the greeting.
        let _ = self.stream.set_write_timeout(Some(limit));
    }

    /// Whether new requests may be sent.
    pub fn usable(&self) -> bool {
        let routes = self.routes();
        routes.dead.is_none() && !routes.leaving
    }

    /// A correlation that was not used before on this connection.
    pub fn correlation(&self) -> u32 {
        self.correlations.fetch_add(1, Ordering::Relaxed)
    }

    /// A stream number that was not used before on this connection.
    pub fn stream_number(&self) -> u32 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request and waits for its one answer.
    pub fn call(&self, stream: u32, request: &Request<'_>, limit: Duration) -> Answer {
        let (answer, wait) = mpsc::sync_channel(1);
        let correlation = self.correlation();
        self.route(
            correlation,
            Route::Once(Box::new(move |a| {
                // The caller may have given up waiting.
                let _ = answer.try_send(a);
            })),
        );
        self.send(Head { stream, correlation }, request)?;
        match wait.recv_timeout(limit) {
            Ok(answer) => answer,
            Err(_) => {
                self.forget(correlation);
                Err(Error::TimedOut("the broker did not answer"))
            }
        }
    }

    /// Says who hears the replies to `correlation`. On a connection that has ended, that is told at once.
    pub fn route(&self, correlation: u32, route: Route) {
        let mut routes = self.routes();
        match routes.dead.clone() {
            None => {
                routes.open.insert(correlation, route);
            }
            Some(error) => {
                drop(routes);
                answer(route, Err(error));
            }
        }
    }

    /// Drops the route of a correlation.
    pub fn forget(&self, correlation: u32) {
        self.routes().open.remove(&correlation);
    }

    /// Sends one request.
    pub fn send(&self, head: Head, request: &Request<'_>) -> Result<(), Error> {
        let mut frame = Vec::new();
        request.encode(head, &mut frame);
        self.write(&[&frame])
    }

    /// Writes pieces of frames, all of them or the connection ends.
    pub fn write(&self, pieces: &[&[u8]]) -> Result<(), Error> {
        let _one_at_a_time = self.writer.lock().expect("writing does not panic");
        if let Some(error) = self.routes().dead.clone() {
            return Err(error);
        }
        write_all(&self.stream, pieces).map_err(|e| {
            let error = Error::broken(&e);
            self.end(error.clone());
            error
        })
    }

    /// Ends the connection. The reader thread then tells every open route; a second reason is not remembered.
    pub fn end(&self, why: Error) {
        self.routes().dead.get_or_insert(why);
        // It may be closed already, which is what is wanted.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().expect("route bookkeeping does not panic")
    }

    fn read_until_end(&self, stream: TcpStream) {
        let mut input = Input::new(io::BufReader::with_capacity(FIRST_READ, stream));
        let error = loop {
            match input.next() {
                Ok(message) => self.dispatch(message),
                Err(error) => break error,
            }
        };
        self.end(error);
        let (open, why) = {
            let mut routes = self.routes();
            (std::mem::take(&mut routes.open), routes.dead.clone().expect("just set"))
        };
        for route in open.into_values() {
            answer(route, Err(why.clone()));
        }
    }

    fn dispatch(&self, message: Message) {
        let Ok((head, _)) = Head::read(&message.payload) else {
            return self.end(Error::malformed("a frame without its head"));
        };
        let mut routes = self.routes();
        if head == (Head { stream: 0, correlation: 0 }) && matches!(message.reply(), Ok(Reply::GoAway { .. }))
        {
            routes.leaving = true;
            return;
        }
        let route = match routes.open.remove(&head.correlation) {
            Some(Route::Many(sink)) => {
                routes.open.insert(head.correlation, Route::Many(Arc::clone(&sink)));
                Route::Many(sink)
            }
            Some(once) => once,
            // Whoever asked has stopped waiting.
            None => return,
        };
        drop(routes);
        answer(route, Ok(message));
    }
}

fn answer(route: Route, with: Answer) {
    match route {
        Route::Once(hear) => hear(with),
        Route::Many(hear) => hear(with),
    }
}

fn write_all(mut stream: &TcpStream, pieces: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|p| IoSlice::new(p)).collect();
    let mut left = &mut slices[..];
    // Removes pieces that are empty from the start on.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match stream.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut left, n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Says Hello and understands who answers.
fn greet(stream: &TcpStream, address: &str, client: &str) -> Result<BrokerInfo, Error> {
    let mut hello = Vec::new();
    Request::Hello { version: VERSION, client }.encode(Head { stream: 0, correlation: 0 }, &mut hello);
    write_all(stream, &[&hello]).map_err(|e| Error::broken(&e))?;
    let not_krappy = |reason: String| Error::NotKrappy { address: address.into(), reason };
    let mut first = [0; 4];
    let mut reading = stream;
    reading.read_exact(&mut first).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::TimedOut("the broker did not greet"),
        // A broker that is just being stopped does this as well, so it may be tried again.
        _ => Error::Disconnected(format!("{address} closed the connection without a greeting")),
    })?;
    if &first == b"HTTP" {
        return Err(not_krappy("that port speaks HTTP".into()));
    }
    let mut input = Input::new(io::Cursor::new(first).chain(reading));
    let message = input.next().map_err(|e| match e {
        Error::Malformed(what) => not_krappy(what),
        other => other,
    })?;
    match message.reply()? {
        Reply::HelloOk { software, cluster_id, max_frame, .. } => {
            Ok(BrokerInfo { software: software.into(), cluster_id: cluster_id.into(), max_frame })
        }
        _ => Err(not_krappy("it answers the greeting with something else".into())),
    }
}

/// Cuts a byte stream into frames. Reads no byte beyond the frame it returns, so that the stream can be handed on.
struct Input<R> {
    from: R,
}

impl<R: Read> Input<R> {
    fn new(from: R) -> Self {
        Self { from }
    }

    fn next(&mut self) -> Result<Message, Error> {
        let mut head = [0; frame::HEAD];
        self.from.read_exact(&mut head).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => Error::Disconnected("the broker closed the connection".into()),
            _ => Error::broken(&e),
        })?;
        let need = match frame::split(&head, LARGEST_REPLY).map_err(Error::malformed)? {
            Split::Partial { need } => need - frame::HEAD,
            Split::Whole { .. } => unreachable!("the smallest frame is longer than its head"),
        };
        let mut payload = Vec::with_capacity(need.min(FIRST_READ));
        let got =
            (&mut self.from).take(need as u64).read_to_end(&mut payload).map_err(|e| Error::broken(&e))?;
        if got < need {
            return Err(Error::Disconnected("the connection ended inside a frame".into()));
        }
        let code = u16::from_be_bytes([head[6], head[7]]);
        Ok(Message { code, payload: Arc::new(payload) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pong() -> Vec<u8> {
        let mut out = Vec::new();
        Reply::Pong.encode(Head { stream: 0, correlation: 7 }, &mut out);
        out
    }

    #[test]
    fn frames_are_cut_and_the_end_is_told_apart_from_damage() {
        let two = [pong(), pong()].concat();
        let mut input = Input::new(&two[..]);
        assert_eq!(input.next().unwrap().reply(), Ok(Reply::Pong));
        assert_eq!(input.next().unwrap().reply(), Ok(Reply::Pong));
        assert!(matches!(input.next(), Err(Error::Disconnected(_))));
        for cut in 0..pong().len() {
            assert!(matches!(Input::new(&pong()[..cut]).next(), Err(Error::Disconnected(_))), "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_is_another_message_or_an_error_and_never_a_panic() {
        for bit in 0..pong().len() * 8 {
            let mut bad = pong();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(message) = Input::new(&bad[..]).next() {
                let head = Head::read(&message.payload).unwrap().0;
                assert!(message.reply() != Ok(Reply::Pong) || head != Head { stream: 0, correlation: 7 });
            }
        }
    }

    #[test]
    fn a_declared_gigabyte_costs_only_what_arrives() {
        let mut huge = pong();
        huge[..4].copy_from_slice(&(1u32 << 30).to_be_bytes());
        assert!(matches!(Input::new(&huge[..]).next(), Err(Error::Disconnected(_))));
        huge[..4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(Input::new(&huge[..]).next(), Err(Error::Malformed(_))));
    }
}
