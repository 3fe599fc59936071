//! A Kafka client's end of a connection: requests go out, several at a time, and the answers must come in the order of
//! the requests.
//!
//! Invariant: what is owed is exactly what was asked on this connection and not answered yet, oldest first.

use std::collections::VecDeque;

use krappy::disk::sim::Rng;
use krappy::kafka::api_versions::ApiVersionsRequest;
use krappy::kafka::header;
use krappy::kafka::table::{self, Answer, Call, TABLE};
use krappy::kafka::wire::Reader;

use super::super::link::{Ctx, Link, Look, Script};
use super::prank::{Prank, Pranks};

pub const PRODUCE: i16 = 0;
pub const FETCH: i16 = 1;
pub const LIST_OFFSETS: i16 = 2;
pub const DELETE_RECORDS: i16 = 21;
pub const INIT_PRODUCER_ID: i16 = 22;

/// Bytes of the length in front of each answer.
const SIZE: usize = 4;
/// Bytes that a client leaves unsent before it waits.
const UNSENT: usize = 10_000;

/// What a client does. It is told of answers, and asked to act now and then.
pub trait Program {
    /// What it remembers of a request until the answer comes.
    type Note;

    /// Does something on an open connection, or nothing.
    fn act(&mut self, line: &mut Line<'_, Self::Note>, ctx: &mut Ctx<'_>);

    /// Takes the answer to a request.
    fn answer(
        &mut self,
        note: Self::Note,
        answer: Answer<'_>,
        line: &mut Line<'_, Self::Note>,
        ctx: &mut Ctx<'_>,
    );

    /// Looks at an answer as soon as the server has written it.
    fn look(&self, _note: &Self::Note, _answer: &Answer<'_>, _look: &mut Look<'_>) {}

    /// The connection has ended, and these requests will never be answered.
    fn lost(&mut self, unanswered: Vec<Self::Note>, ctx: &mut Ctx<'_>);

    /// Whether it has done all that it wanted.
    fn finished(&self) -> bool;

    /// Whether something of it, beside what was asked on this connection, must come to an end.
    fn must_finish(&self) -> bool {
        false
    }

    /// What it is, for failure reports.
    fn describe(&self) -> String;
}

/// A request that is not answered yet. Without a note it is the greeting.
struct Owed<N> {
    key: i16,
    version: i16,
    correlation_id: i32,
    note: Option<N>,
}

/// A client with its program.
pub struct Client<P: Program> {
    program: P,
    owed: VecDeque<Owed<P::Note>>,
    correlation_id: i32,
    /// Connections that it has greeted the broker on, by their number.
    greeted: u32,
    pranks: Pranks,
}

/// What a program sends its requests through.
pub struct Line<'a, N> {
    link: &'a mut Link,
    owed: &'a mut VecDeque<Owed<N>>,
    correlation_id: &'a mut i32,
    pranks: &'a mut Pranks,
}

impl<N> Line<'_, N> {
    /// Sends a request and remembers what it was for.
    pub fn ask<'c>(&mut self, call: impl Into<Call<'c>>, version: i16, note: N) {
        self.send(call.into(), version, Some(note), true);
    }

    /// Sends a request that is not answered.
    pub fn tell<'c>(&mut self, call: impl Into<Call<'c>>, version: i16) {
        self.send(call.into(), version, None, false);
    }

    fn send(&mut self, call: Call<'_>, version: i16, note: Option<N>, answered: bool) {
        *self.correlation_id += 1;
        let (key, correlation_id) = (call.key(), *self.correlation_id);
        let frame = call.encode(version, correlation_id, Some("simulated")).to_vec();
        if answered {
            self.owed.push_back(Owed { key, version, correlation_id, note });
        }
        for frame in self.pranks.requests(key, frame) {
            self.link.raw(&frame);
        }
    }

    /// Requests that are not answered.
    pub fn in_flight(&self) -> usize {
        self.owed.len()
    }

    /// Whether the connection still has so much to take that a client would wait.
    pub fn is_clogged(&self) -> bool {
        self.link.unsent() > UNSENT
    }

    /// Counts the connections.
    pub fn serial(&self) -> u32 {
        self.link.serial
    }

    /// Leaves; whatever is under way may be lost. The program is told so.
    pub fn leave(&mut self) {
        self.link.leave();
    }
}

impl<P: Program> Client<P> {
    pub fn new(program: P, prank: Option<Prank>) -> Client<P> {
        let pranks = Pranks::new(prank);
        Client { program, owed: VecDeque::new(), correlation_id: 0, greeted: 0, pranks }
    }

    /// Lets the program use the line, and tells it when it has left.
    fn with(
        &mut self,
        link: &mut Link,
        ctx: &mut Ctx<'_>,
        run: impl FnOnce(&mut P, &mut Line<'_, P::Note>, &mut Ctx<'_>),
    ) {
        let Client { program, owed, correlation_id, pranks, .. } = self;
        run(program, &mut Line { link, owed, correlation_id, pranks }, ctx);
        if !link.is_open() {
            self.lost(ctx);
        }
    }

    /// Most clients ask first what the broker speaks.
    fn greet(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        self.greeted = link.serial;
        if ctx.rng.below(4) == 0 {
            return;
        }
        let version = any_version(table::API_VERSIONS, ctx.rng);
        let Client { owed, correlation_id, pranks, .. } = self;
        let call = ApiVersionsRequest { client_software_name: "simulated", client_software_version: "1" };
        Line { link, owed, correlation_id, pranks }.send(call.into(), version, None, true);
    }

    fn answered(&mut self, frame: &[u8], link: &mut Link, ctx: &mut Ctx<'_>) {
        let Some(front) = self.owed.pop_front() else {
            return ctx.history.bad(format!("{}: an answer to nothing", self.describe()));
        };
        let Owed { key, version, correlation_id, note } = front;
        let (got, answer) = match read(key, version, frame) {
            Ok(read) => read,
            Err(why) => return ctx.history.bad(format!("{}: {why}", self.describe())),
        };
        if got != correlation_id {
            let who = self.describe();
            return ctx.history.bad(format!("{who}: request {correlation_id} is answered by {got}"));
        }
        ctx.history.note(|| format!("{} on {}: {}", self.describe(), link.serial, brief(&answer)));
        match (note, answer) {
            (Some(note), answer) => self.with(link, ctx, |program, line, ctx| {
                program.answer(note, answer, line, ctx);
            }),
            (None, Answer::ApiVersions(told)) => {
                if (told.error_code, told.api_keys.len()) != (0, TABLE.len()) {
                    ctx.history.bad(format!("{}: greeted with {told:?}", self.describe()));
                }
            }
            (None, other) => ctx.history.bad(format!("{}: greeted with {other:?}", self.describe())),
        }
    }
}

/// The correlation id of an answer and what it says.
fn read(key: i16, version: i16, frame: &[u8]) -> Result<(i32, Answer<'_>), String> {
    let mut from = Reader::new(&frame[SIZE..]);
    let correlation_id = header::read_response(key, version, &mut from).map_err(|e| e.to_string())?;
    let answer = Answer::decode(key, version, from.rest())
        .map_err(|e| format!("API {key} version {version} is answered unreadably: {e:?}"))?;
    Ok((correlation_id, answer))
}

/// An answer as a trace shows it.
fn brief(answer: &Answer<'_>) -> String {
    let mut text = format!("{answer:?}");
    if let Some((at, _)) = text.char_indices().nth(600) {
        text.truncate(at);
    }
    text
}

/// One of the versions of an API.
pub fn any_version(key: i16, rng: &mut Rng) -> i16 {
    let versions = &table::find(key).expect("a key of the table").versions;
    let count = versions.end() - versions.start() + 1;
    versions.start() + rng.below(count as u64) as i16
}

impl<P: Program> Script for Client<P> {
    fn act(&mut self, link: &mut Link, ctx: &mut Ctx<'_>) {
        if let Some(held) = self.pranks.release(ctx.rng) {
            link.raw(&held);
        }
        if self.program.finished() && !self.must_finish() {
            return;
        }
        if self.greeted != link.serial {
            self.greet(link, ctx);
        }
        self.with(link, ctx, |program, line, ctx| program.act(line, ctx));
    }

    fn lost(&mut self, ctx: &mut Ctx<'_>) {
        self.pranks.forget();
        let unanswered = self.owed.drain(..).filter_map(|owed| owed.note).collect();
        self.program.lost(unanswered, ctx);
    }

    fn finished(&self) -> bool {
        self.program.finished() && self.owed.is_empty()
    }

    fn must_finish(&self) -> bool {
        self.program.must_finish() || !self.owed.is_empty()
    }

    fn describe(&self) -> String {
        format!("{}, {} in flight", self.program.describe(), self.owed.len())
    }

    fn split(&self, bytes: &[u8]) -> Result<Option<usize>, String> {
        let Some(size) = bytes.first_chunk() else { return Ok(None) };
        let size = SIZE + u32::from_be_bytes(*size) as usize;
        Ok((bytes.len() >= size).then_some(size))
    }

    fn take(&mut self, frame: &[u8], link: &mut Link, ctx: &mut Ctx<'_>) {
        let is_produce = |owed: &Owed<_>| owed.key == PRODUCE;
        let two = self.owed.len() > 1 && self.owed.iter().take(2).all(is_produce);
        for frame in self.pranks.answers(two, frame) {
            self.answered(&frame, link, ctx);
        }
    }

    fn look(&mut self, frame: &[u8], look: &mut Look<'_>) {
        // What the client has not read yet is still owed; its place tells how to read it.
        let Some(id) = frame.get(SIZE..).and_then(|rest| rest.first_chunk()) else { return };
        let id = i32::from_be_bytes(*id);
        let Some(owed) = self.owed.iter().find(|owed| owed.correlation_id == id) else { return };
        if let (Some(note), Ok((_, answer))) = (&owed.note, read(owed.key, owed.version, frame)) {
            self.program.look(note, &answer, look);
        }
    }
}
