//! Which language a connection speaks: told by its first bytes, then fixed.
//!
//! Invariant: native frames carry "KR" where a Kafka request has its API key, and no HTTP method read as a length is
//! within any limit, so six bytes tell all of them apart; nothing is consumed to find out.

use krappy_wire::frame;

use crate::api::Reply;
use crate::config::Limits;
use crate::language::{Ends, Greeting, Step, Violation};
use crate::output::Output;
use crate::{http, kafka, native};

/// Bytes that tell the language: a length, and what follows it.
const TELLING: usize = 6;

/// What a connection speaks.
#[derive(Debug)]
pub enum Spoken {
    /// Too few bytes have come.
    Unknown,
    /// The language of krappy's own clients.
    Native(Box<native::Session>),
    /// Kafka's.
    Kafka(Box<kafka::Session>),
    /// HTTP, in a few words.
    Http(http::Session),
}

impl Spoken {
    /// Takes the next step; the first one finds out what is spoken.
    pub fn step<'a>(
        &'a mut self,
        input: &'a [u8],
        out: &mut Output,
        limits: &'a Limits,
        greeting: &'a Greeting,
        ends: &'a Ends,
        may_fetch: bool,
    ) -> Result<Step<'a>, Violation> {
        if let Spoken::Unknown = self {
            match listen(input)? {
                Some(told) => *self = told,
                None => return Ok(Step::Partial(TELLING)),
            }
        }
        match self {
            Spoken::Unknown => unreachable!("it was told a moment ago"),
            Spoken::Native(session) => session.step(input, out.gather(), limits, greeting, may_fetch),
            Spoken::Kafka(session) => session.step(input, out, limits, greeting, ends),
            Spoken::Http(session) => session.step(input, out.gather()),
        }
    }

    /// The broker took `count` requests, from this slot on, and all that the frame asks for if `whole`.
    pub fn taken(&mut self, slot: u64, count: usize, whole: bool) {
        match self {
            Spoken::Native(session) => session.taken(slot),
            Spoken::Kafka(session) => session.taken(count, whole),
            Spoken::Unknown | Spoken::Http(_) => unreachable!("they ask the broker for nothing"),
        }
    }

    /// Encodes a reply.
    pub fn reply(&mut self, slot: u64, reply: Reply, out: &mut Output) {
        match self {
            Spoken::Native(session) => session.reply(slot, reply, out),
            Spoken::Kafka(session) => session.reply(slot, reply, out),
            Spoken::Unknown | Spoken::Http(_) => unreachable!("they ask the broker for nothing"),
        }
    }

    /// Requests that are unanswered; native fetches are not counted.
    pub fn in_flight(&self) -> usize {
        match self {
            Spoken::Native(session) => session.in_flight(),
            Spoken::Kafka(session) => session.in_flight(),
            Spoken::Unknown | Spoken::Http(_) => 0,
        }
    }

    /// Whether anything is still to come from the broker.
    pub fn is_waiting(&self) -> bool {
        match self {
            Spoken::Native(session) => session.is_waiting(),
            Spoken::Kafka(session) => session.in_flight() > 0,
            Spoken::Unknown | Spoken::Http(_) => false,
        }
    }

    /// Whether the frame at the front must wait for a reply.
    pub fn is_blocked(&self) -> bool {
        matches!(self, Spoken::Kafka(session) if session.is_blocked())
    }

    /// Whether a fetch is ready to be issued.
    pub fn has_ready(&self) -> bool {
        matches!(self, Spoken::Native(session) if session.has_ready())
    }

    /// Whether nothing more is to be parsed.
    pub fn is_closing(&self) -> bool {
        match self {
            Spoken::Unknown => false,
            Spoken::Native(session) => session.closing,
            Spoken::Kafka(session) => session.closing,
            Spoken::Http(session) => session.closing,
        }
    }

    /// The client has finished sending.
    pub fn client_ended(&mut self) {
        if let Spoken::Kafka(session) = self {
            session.client_ended();
        }
    }

    /// Nothing more is parsed; what is owed is still sent.
    pub fn close(&mut self) {
        match self {
            Spoken::Unknown => *self = Spoken::Http(http::Session { closing: true }),
            Spoken::Native(session) => session.closing = true,
            Spoken::Kafka(session) => session.closing = true,
            Spoken::Http(session) => session.closing = true,
        }
    }

    /// Says that the broker is stopping, in the language that has a word for it.
    pub fn go_away(&mut self, message: &str, out: &mut Vec<u8>) {
        if let Spoken::Native(session) = self {
            session.go_away(message, out);
        }
    }
}

/// What is spoken; `None`: more must come.
fn listen(input: &[u8]) -> Result<Option<Spoken>, Violation> {
    if http::is_spoken(input) {
        return Ok(Some(Spoken::Http(http::Session::default())));
    }
    if input.starts_with(&[0x16, 0x03]) {
        return Err(Violation("this looks like TLS, which this port does not speak".into()));
    }
    let Some(&[_, _, _, _, high, low]) = input.first_chunk::<TELLING>() else { return Ok(None) };
    match u16::from_be_bytes([high, low]) {
        frame::MAGIC => Ok(Some(Spoken::Native(Box::default()))),
        key if kafka::is_spoken(key) => Ok(Some(Spoken::Kafka(Box::default()))),
        _ => Err(Violation("this is neither a krappy client nor a Kafka client nor HTTP".into())),
    }
}
