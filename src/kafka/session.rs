//! Kafka's language on one connection: requests in, answers out, in the order in which they were asked for.
//!
//! Kafka's own broker finishes a request of a connection before it begins the next, and clients rely on the order of
//! answers. Here a Produce may follow a Produce that is not answered yet, because a client that keeps five in flight
//! would otherwise wait for the disk five times; everything else waits until nothing is owed.
//!
//! Invariants: an answer is encoded when all before it have been; what is owed is bounded by `max.in.flight`, and only
//! acks can wait behind one another, so what waits is small.

use std::collections::VecDeque;

use super::header::RequestHeader;
use super::plan::{Context, Finish, Outcome, Plan};
use super::table::{self, Call, Refused};
use super::wire::{Malformed, Reader};
use super::{api_versions, dispatch};
use crate::api::Reply;
use crate::config::Limits;
use crate::language::{Address, Greeting, Step, Violation};
use crate::output::Output;

/// The key of Produce.
const PRODUCE: i16 = 0;
/// Bits of a slot that number the parts of a request; the rest numbers the request.
const PART_BITS: u32 = 20;
/// Bytes of the length in front of each request.
const SIZE: usize = 4;
/// Smallest request: key, version, correlation and the length of a client id.
const SMALLEST: usize = 10;
/// No key of Kafka's is larger.
const KEY_MOST: u16 = 127;

/// The state of Kafka's language on one connection.
pub struct Session {
    reached: Address,
    /// In the order of the requests.
    owed: VecDeque<Owed>,
    /// Number of the request at the front of `owed`.
    first: u64,
    /// Of the request at the front of the input, which is at the back of `owed` already: parts that the broker took.
    begun: Option<usize>,
    blocked: bool,
    /// Set when the connection must close after what is owed.
    pub closing: bool,
}

/// An answer that is owed.
struct Owed {
    key: i16,
    version: i16,
    correlation_id: i32,
    replies: Vec<Option<Reply>>,
    missing: usize,
    state: State,
}

enum State {
    Waiting(Finish),
    Ready(Outcome),
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("owed", &self.owed.len()).field("first", &self.first).finish_non_exhaustive()
    }
}

impl Session {
    /// A session of a client that has reached this address.
    pub fn new(reached: Address) -> Self {
        Self { reached, owed: VecDeque::new(), first: 0, begun: None, blocked: false, closing: false }
    }

    /// Requests that are unanswered.
    pub fn in_flight(&self) -> usize {
        self.owed.len()
    }

    /// Whether the request at the front of the input must wait for an answer to leave.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Takes the next step with the request at the front of `input`.
    pub fn step<'a>(
        &mut self,
        input: &'a [u8],
        out: &mut Output,
        limits: &'a Limits,
        greeting: &'a Greeting,
    ) -> Result<Step<'a>, Violation> {
        let frame = match split(input, limits.max_frame)? {
            Ok(frame) => frame,
            Err(need) => return Ok(Step::Partial(need)),
        };
        let consumed = SIZE + frame.len();
        let mut from = Reader::new(frame);
        let header = RequestHeader::read(&mut from).map_err(|e| unreadable("a request header", e))?;
        if self.begun.is_none() && !self.may_begin(header.key) {
            self.blocked = true;
            return Ok(Step::Blocked);
        }
        let call = match Call::decode(header.key, header.version, from.rest()) {
            Ok(call) => call,
            Err(Refused::Version) if header.key == table::API_VERSIONS => {
                // In the layout of version 0, which every client can read whatever it has asked for.
                let header = RequestHeader { version: 0, ..header };
                let answer = api_versions::unsupported();
                self.owe(&header, State::Ready(Outcome::Answer(answer.into())), 0);
                self.send(out);
                return Ok(Step::Handled(consumed));
            }
            Err(refused) => return Err(refusal(&header, refused)),
        };
        let address = greeting.advertised.as_ref().unwrap_or(&self.reached);
        let context = Context { version: header.version, address, greeting, limits };
        match dispatch::ask(call, &context) {
            Plan::Close(why) => return Err(Violation(why)),
            Plan::Answer(answer) => self.owe(&header, State::Ready(Outcome::Answer(answer)), 0),
            Plan::Ask { requests, finish } if requests.is_empty() => {
                self.owe(&header, State::Ready(finish(Vec::new())), 0);
            }
            Plan::Ask { mut requests, finish } => {
                let begun = match self.begun {
                    Some(begun) => begun,
                    None => {
                        self.owe(&header, State::Waiting(finish), requests.len());
                        self.begun = Some(0);
                        0
                    }
                };
                let serial = self.first + self.owed.len() as u64 - 1;
                requests.drain(..begun);
                return Ok(Step::Requests { slot: serial << PART_BITS | begun as u64, requests, consumed });
            }
        }
        self.send(out);
        Ok(Step::Handled(consumed))
    }

    /// Whether a request may begin before everything that is owed has been answered.
    fn may_begin(&self, key: i16) -> bool {
        (key == PRODUCE && self.owed.iter().all(|owed| owed.key == PRODUCE)) || self.owed.is_empty()
    }

    fn owe(&mut self, header: &RequestHeader<'_>, state: State, parts: usize) {
        self.owed.push_back(Owed {
            key: header.key,
            version: header.version,
            correlation_id: header.correlation_id,
            replies: (0..parts).map(|_| None).collect(),
            missing: parts,
            state,
        });
    }

    /// The broker took `count` more parts of the request at the front of the input; all of them if `whole`.
    pub fn taken(&mut self, count: usize, whole: bool) {
        let begun = self.begun.expect("a request was offered");
        self.begun = if whole { None } else { Some(begun + count) };
    }

    /// Takes a reply of the broker, and sends what can be sent now.
    pub fn reply(&mut self, slot: u64, reply: Reply, out: &mut Output) {
        let place = (slot >> PART_BITS) - self.first;
        // Nothing is owed any more to who is about to be closed.
        let Some(owed) = self.owed.get_mut(place as usize) else { return };
        let part = &mut owed.replies[(slot & ((1 << PART_BITS) - 1)) as usize];
        assert!(part.replace(reply).is_none(), "a request is answered once");
        owed.missing -= 1;
        if owed.missing == 0 {
            let replies = owed.replies.drain(..).flatten().collect();
            let State::Waiting(finish) =
                std::mem::replace(&mut owed.state, State::Ready(Outcome::Nothing))
            else {
                unreachable!("it was waiting for this reply")
            };
            owed.state = State::Ready(finish(replies));
            self.send(out);
        }
    }

    /// Sends the answers that are ready and have nothing before them.
    fn send(&mut self, out: &mut Output) {
        while let Some(Owed { state: State::Ready(_), .. }) = self.owed.front() {
            let owed = self.owed.pop_front().expect("looked at a moment ago");
            self.first += 1;
            self.blocked = false;
            let State::Ready(outcome) = owed.state else { unreachable!("looked at a moment ago") };
            match outcome {
                Outcome::Nothing => {}
                Outcome::Answer(answer) => answer.encode(owed.version, owed.correlation_id).send(out),
                Outcome::Close(why) => {
                    log::info!("a connection is closed: {why}");
                    self.closing = true;
                    self.owed.clear();
                }
            }
        }
    }
}

/// The frame at the front of `input` without its length, or how many bytes it needs in all.
fn split(input: &[u8], limit: u32) -> Result<Result<&[u8], usize>, Violation> {
    let Some(size) = input.first_chunk::<SIZE>() else { return Ok(Err(SIZE)) };
    let size = i32::from_be_bytes(*size);
    if size < SMALLEST as i32 {
        return Err(Violation(format!("a request of {size} bytes cannot hold a header")));
    }
    if size as u32 > limit {
        return Err(Violation(format!("a request of {size} bytes is above socket.request.max.bytes={limit}")));
    }
    let need = SIZE + size as usize;
    Ok(input.get(SIZE..need).ok_or(need))
}

fn unreadable(what: &str, error: Malformed) -> Violation {
    Violation(format!("{what}: {error}"))
}

fn refusal(header: &RequestHeader<'_>, refused: Refused) -> Violation {
    let name = table::find(header.key).map_or("no API", |api| api.name);
    match refused {
        Refused::Key => Violation(format!("API {} is not spoken here", header.key)),
        Refused::Version => Violation(format!("version {} of {name} is not spoken here", header.version)),
        Refused::Malformed(error) => unreadable(&format!("{name} version {}", header.version), error),
    }
}

/// Whether a connection whose first request has this key speaks Kafka's language.
pub fn is_spoken(key: u16) -> bool {
    key <= KEY_MOST
}
