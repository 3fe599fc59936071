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
use crate::language::{Ends, Greeting, Step, Violation};
use crate::output::Output;

/// The key of Produce.
const PRODUCE: i16 = 0;
/// The keys of Fetch, JoinGroup and SyncGroup, which wait for others than the disk.
const WAITS: [i16; 3] = [1, 11, 14];
/// Bits of a slot that number the parts of a request; the rest numbers the request.
const PART_BITS: u32 = 20;
/// Bytes of the length in front of each request.
const SIZE: usize = 4;
/// Smallest request: key, version, correlation and the length of a client id.
const SMALLEST: usize = 10;
/// No key of Kafka's is larger.
const KEY_MOST: u16 = 127;

/// The state of Kafka's language on one connection.
#[derive(Default)]
pub struct Session {
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
        f.debug_struct("Session")
            .field("owed", &self.owed.len())
            .field("first", &self.first)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Requests that are unanswered.
    pub fn in_flight(&self) -> usize {
        self.owed.len()
    }

    /// Whether the request at the front of the input must wait for an answer to leave.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// The client has finished sending. As in Kafka what may wait for long is given up with it; what else is owed is
    /// sent.
    pub fn client_ended(&mut self) {
        if self.owed.front().is_some_and(|owed| WAITS.contains(&owed.key)) {
            self.owed.clear();
            self.closing = true;
        }
    }

    /// Takes the next step with the request at the front of `input`.
    pub fn step<'a>(
        &mut self,
        input: &'a [u8],
        out: &mut Output,
        limits: &'a Limits,
        greeting: &'a Greeting,
        ends: &'a Ends,
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
            return Ok(Step::Nothing);
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
        let context = Context {
            version: header.version,
            client_id: header.client_id.unwrap_or_default(),
            client_host: &ends.from,
            address: greeting.advertised.as_ref().unwrap_or(&ends.reached),
            greeting,
            limits,
        };
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
            let State::Waiting(finish) = std::mem::replace(&mut owed.state, State::Ready(Outcome::Nothing))
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
        return Err(Violation(format!(
            "a request of {size} bytes is above socket.request.max.bytes={limit}"
        )));
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

#[cfg(test)]
mod tests {
    use super::super::api_versions::ApiVersionsRequest;
    use super::super::errors::KafkaError;
    use super::super::header;
    use super::super::metadata::MetadataRequest;
    use super::super::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
    use super::super::table::Answer;
    use super::super::wire::Records;
    use super::*;
    use crate::api::{ErrorCode, Level, Parts, PublishedPart, Refusal, Request};
    use crate::chunk::Buffers;
    use crate::language::Address;

    const PRODUCE_VERSION: i16 = 9;
    static ENDS: Ends = Ends { reached: Address { host: String::new(), port: 0 }, from: String::new() };

    fn session() -> Session {
        Session::default()
    }

    fn request<'a>(call: impl Into<Call<'a>>, version: i16, correlation_id: i32) -> Vec<u8> {
        call.into().encode(version, correlation_id, Some("test")).to_vec()
    }

    fn produce(correlation_id: i32, acks: i16, partitions: &[i32]) -> Vec<u8> {
        let one = |&index: &i32| PartitionProduceData { index, records: Records::Bytes(b"batch") };
        let partition_data = partitions.iter().map(one).collect();
        let topic_data = vec![TopicProduceData { name: "t", partition_data, ..Default::default() }];
        request(ProduceRequest { acks, topic_data, ..Default::default() }, PRODUCE_VERSION, correlation_id)
    }

    fn published(base_offset: i64) -> Reply {
        let part = PublishedPart { partition: 0, base_offset, count: 1, log_append_time: -1, log_start: 0 };
        Reply::Published { level: Level::Appended, parts: Parts::One(part) }
    }

    /// Takes a step; the slot of the requests and how many there are.
    fn begin(session: &mut Session, bytes: &[u8], out: &mut Output) -> Option<(u64, usize)> {
        let (limits, greeting) = (Limits::default(), Greeting::default());
        match session.step(bytes, out, &limits, &greeting, &ENDS).unwrap() {
            Step::Requests { slot, requests, consumed } => {
                assert_eq!(consumed, bytes.len());
                Some((slot, requests.len()))
            }
            Step::Handled(consumed) => {
                assert_eq!(consumed, bytes.len());
                None
            }
            other => panic!("{other:?}"),
        }
    }

    /// Begins a request that the broker takes whole; its slot.
    fn take(session: &mut Session, bytes: &[u8], out: &mut Output) -> u64 {
        let (slot, count) = begin(session, bytes, out).expect("the broker is asked");
        session.taken(count, true);
        slot
    }

    /// The correlation ids of the answers that have left.
    fn answered(out: &mut Output) -> Vec<i32> {
        let mut sent = Vec::new();
        out.drain(&mut sent, &mut Buffers::new(0), &mut 0).unwrap();
        let (mut left, mut ids) = (&sent[..], Vec::new());
        while let Some((size, rest)) = left.split_first_chunk::<4>() {
            let (frame, behind) = rest.split_at(u32::from_be_bytes(*size) as usize);
            ids.push(i32::from_be_bytes(*frame.first_chunk().unwrap()));
            left = behind;
        }
        ids
    }

    #[test]
    fn answers_leave_in_the_order_of_their_requests() {
        let (mut session, mut out) = (session(), Output::default());
        let slots: Vec<u64> = (0..3).map(|n| take(&mut session, &produce(n, -1, &[0]), &mut out)).collect();
        session.reply(slots[2], published(2), &mut out);
        session.reply(slots[1], published(1), &mut out);
        assert!(answered(&mut out).is_empty() && session.in_flight() == 3);
        session.reply(slots[0], published(0), &mut out);
        assert_eq!(answered(&mut out), [0, 1, 2]);
        assert_eq!(session.in_flight(), 0);
    }

    #[test]
    fn a_request_is_answered_when_all_its_parts_are() {
        let (mut session, mut out) = (session(), Output::default());
        let slot = take(&mut session, &produce(7, -1, &[0, 1, 2]), &mut out);
        for part in [2, 0] {
            session.reply(slot + part, published(0), &mut out);
            assert!(answered(&mut out).is_empty());
        }
        session.reply(slot + 1, published(0), &mut out);
        assert_eq!(answered(&mut out), [7]);
    }

    #[test]
    fn only_a_produce_begins_behind_a_produce() {
        let (mut session, mut out) = (session(), Output::default());
        let (limits, greeting) = (Limits::default(), Greeting::default());
        let slot = take(&mut session, &produce(1, -1, &[0]), &mut out);
        let metadata = request(MetadataRequest { topics: None, ..Default::default() }, 9, 2);
        assert!(matches!(session.step(&metadata, &mut out, &limits, &greeting, &ENDS), Ok(Step::Nothing)));
        assert!(session.is_blocked());
        session.reply(slot, published(0), &mut out);
        assert!(!session.is_blocked());
        let slot = take(&mut session, &metadata, &mut out);
        assert!(matches!(
            session.step(&produce(3, 1, &[0]), &mut out, &limits, &greeting, &ENDS),
            Ok(Step::Nothing)
        ));
        session.reply(slot, Reply::Topics(Vec::new()), &mut out);
        assert_eq!(answered(&mut out), [1, 2]);
    }

    #[test]
    fn parts_that_were_not_taken_are_offered_again_and_no_others() {
        let (mut session, mut out) = (session(), Output::default());
        let bytes = produce(1, -1, &[0, 1, 2]);
        let (slot, count) = begin(&mut session, &bytes, &mut out).unwrap();
        assert_eq!(count, 3);
        session.taken(1, false);
        session.reply(slot, published(0), &mut out);
        let (again, count) = begin(&mut session, &bytes, &mut out).unwrap();
        assert_eq!((again, count), (slot + 1, 2));
        session.taken(2, true);
        session.reply(slot + 2, published(0), &mut out);
        session.reply(slot + 1, published(0), &mut out);
        assert_eq!(answered(&mut out), [1]);
        take(&mut session, &produce(2, -1, &[0]), &mut out);
    }

    #[test]
    fn without_acks_there_is_no_answer_and_an_error_ends_the_connection() {
        let (mut session, mut out) = (session(), Output::default());
        let slot = take(&mut session, &produce(1, 0, &[0]), &mut out);
        session.reply(slot, Reply::Silent, &mut out);
        assert!(answered(&mut out).is_empty() && session.in_flight() == 0 && !session.closing);
        let slot = take(&mut session, &produce(2, 0, &[0]), &mut out);
        let late = take(&mut session, &produce(3, 1, &[0]), &mut out);
        session.reply(slot, Reply::Refused(Refusal::new(ErrorCode::InvalidRecord, "x")), &mut out);
        assert!(session.closing);
        session.reply(late, published(0), &mut out);
        assert!(answered(&mut out).is_empty() && session.in_flight() == 0);
    }

    #[test]
    fn api_versions_of_the_future_is_answered_in_version_0_with_the_table() {
        let (mut session, mut out) = (session(), Output::default());
        let mut bytes = request(ApiVersionsRequest::default(), 4, 5);
        bytes[6..8].copy_from_slice(&99i16.to_be_bytes());
        assert_eq!(begin(&mut session, &bytes, &mut out), None);
        let mut sent = Vec::new();
        out.drain(&mut sent, &mut Buffers::new(0), &mut 0).unwrap();
        let mut from = Reader::new(&sent[4..]);
        assert_eq!(header::read_response(table::API_VERSIONS, 0, &mut from), Ok(5));
        let Ok(Answer::ApiVersions(answer)) = Answer::decode(table::API_VERSIONS, 0, from.rest()) else {
            panic!("an answer in version 0")
        };
        assert_eq!(answer.error_code, i16::from(KafkaError::UnsupportedVersion));
        assert_eq!(answer.api_keys.len(), table::TABLE.len());
    }

    #[test]
    fn what_cannot_be_read_ends_the_connection_and_says_why() {
        let whole = produce(1, 1, &[0]);
        let unknown = |at: usize, bytes: [u8; 2]| {
            let mut request = whole.clone();
            request[at..at + 2].copy_from_slice(&bytes);
            request
        };
        for (bytes, word) in [
            (vec![0xff; 4], "cannot hold a header"),
            ([0, 0, 0, 9].to_vec(), "cannot hold a header"),
            (i32::MAX.to_be_bytes().to_vec(), "socket.request.max.bytes"),
            (unknown(4, [0, 120]), "API 120"),
            (unknown(6, [0, 99]), "version 99 of Produce"),
            (unknown(12, [0x7f, 0xff]), "a request header"),
            (unknown(12, [0xff, 0xfe]), "a request header"),
        ] {
            let (mut session, mut out) = (session(), Output::default());
            let (limits, greeting) = (Limits::default(), Greeting::default());
            let violation = session.step(&bytes, &mut out, &limits, &greeting, &ENDS).unwrap_err();
            assert!(violation.0.contains(word), "{}", violation.0);
        }
    }

    #[test]
    fn a_request_is_taken_when_its_last_byte_is_there() {
        let whole = produce(1, 1, &[0]);
        let (limits, greeting) = (Limits::default(), Greeting::default());
        for cut in 0..whole.len() {
            let (mut session, mut out) = (session(), Output::default());
            let step = session.step(&whole[..cut], &mut out, &limits, &greeting, &ENDS);
            let need = if cut < SIZE { SIZE } else { whole.len() };
            assert!(matches!(step, Ok(Step::Partial(n)) if n == need), "{cut}: {step:?}");
        }
        let (mut session, mut out) = (session(), Output::default());
        let step = session.step(&whole, &mut out, &limits, &greeting, &ENDS).unwrap();
        let Step::Requests { requests, .. } = step else { panic!("{step:?}") };
        assert!(matches!(requests[..], [Request::Publish(_)]));
    }
}
