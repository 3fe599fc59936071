//! The native language on one connection: frames in, broker requests out, and back.
//!
//! Streams live here, not in the broker: a consumer stream remembers its positions, so a poll is a fetch with the
//! positions filled in, and a subscription is a fetch that is issued again as long as there is credit. The broker only
//! ever sees independent requests.
//!
//! Invariants: a stream has at most one fetch under way; every request that was counted in flight is counted out by its
//! reply; a fetch whose stream has closed is answered into nothing, and still counted until then.

mod answer;
mod cursor;
mod group;
mod member;
pub mod queue;
pub mod stream;
pub mod watch;

use std::collections::{BTreeMap, HashMap, VecDeque};

use krappy_wire::codec::Malformed;
use krappy_wire::error::ErrorCode;
use krappy_wire::frame::{self, Split};
use krappy_wire::native::{self, Head, Start};

use crate::api::group::GroupRequest;
use crate::api::queue::{QueueReply, QueueRequest};
use crate::api::{At, Get, Publish, PublishIf, Refusal, Reply, Request, Scan, TopicRef};
use crate::config::Limits;
use crate::language::{Greeting, Step, Violation};
use crate::output::Output;
use answer::{put_page, put_published, put_records, put_topic, put_topics, put_values, refuse};
use queue::{Taker, put_queue};
use stream::{Asked, Consumer, Stream};
use watch::Watcher;

/// Marks the slot of a fetch, or with [`member::MEMBER`] that of a member of a group; the rest of it is a serial
/// number. Other slots are stream and correlation.
const FETCH: u64 = 1 << 63;

/// The state of the native language on one connection.
#[derive(Debug, Default)]
pub struct Session {
    streams: BTreeMap<u32, Stream>,
    /// Streams that want to issue a fetch.
    ready: VecDeque<u32>,
    /// Stream of each fetch under way; none once the stream has closed.
    fetches: HashMap<u64, Option<u32>>,
    next_fetch: u64,
    /// Stream of each slot in which a member of a group is told things.
    members: HashMap<u64, u32>,
    in_flight: usize,
    /// What the client calls itself.
    client: String,
    /// Set when the connection must close after what is owed.
    pub closing: bool,
    /// The broker is stopping and answers every fetch at once, so a subscription must not ask again.
    draining: bool,
}

impl Session {
    /// Requests that are unanswered, fetches not counted.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether anything is still to come from the broker.
    pub fn is_waiting(&self) -> bool {
        self.in_flight > 0 || !self.fetches.is_empty()
    }

    /// Whether a fetch is ready to be issued.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes the next step: a fetch that a stream wants if it `may_fetch`, or the frame at the front of `input`.
    pub fn step<'a>(
        &'a mut self,
        input: &'a [u8],
        out: &mut Vec<u8>,
        limits: &Limits,
        greeting: &Greeting,
        may_fetch: bool,
    ) -> Result<Step<'a>, Violation> {
        if may_fetch && self.has_ready() {
            // A stream that has closed or wants nothing any more leaves its number behind.
            self.ready.retain(|number| match self.streams.get(number) {
                Some(Stream::Consumer(consumer)) => consumer.wants_fetch(),
                Some(Stream::Watcher(watcher)) => watcher.wants(),
                Some(Stream::Taker(taker)) => taker.wants(),
                _ => false,
            });
            if self.has_ready() {
                let (slot, request) = self.next_fetch(limits).expect("one wants to");
                return Ok(Step::Request { slot, request, consumed: 0 });
            }
        }
        let (code, payload, consumed) = match frame::split(input, limits.max_frame) {
            Ok(Split::Whole { code, payload, consumed }) => (code, payload, consumed),
            Ok(Split::Partial { need }) => return Ok(Step::Partial(need)),
            Err(error) => return Err(Violation(error.to_string())),
        };
        let (head, body) = Head::read(payload).expect("a frame holds stream and correlation");
        match native::Request::decode(code, body) {
            Ok(Some(request)) => match self.slotted(head, request, out, limits, greeting) {
                Ok(Some((slot, request))) => Ok(Step::Request { slot, request, consumed }),
                Ok(None) => Ok(Step::Handled(consumed)),
                Err(refusal) => {
                    refuse(head, &refusal, out);
                    Ok(Step::Handled(consumed))
                }
            },
            Ok(None) => {
                refuse(head, &unknown_request(code), out);
                Ok(Step::Handled(consumed))
            }
            Err(malformed) => {
                refuse(head, &malformed_request(code, malformed), out);
                Ok(Step::Handled(consumed))
            }
        }
    }

    /// Turns one request into one for the broker, with the slot in which it is answered, or deals with it here.
    fn slotted<'a>(
        &'a mut self,
        head: Head,
        request: native::Request<'a>,
        out: &mut Vec<u8>,
        limits: &Limits,
        greeting: &Greeting,
    ) -> Result<Option<(u64, Request<'a>)>, Refusal> {
        if head.stream > u32::MAX >> 1 {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "stream numbers are below 2147483648"));
        }
        if let native::Request::RegisterConsumer { topic, group, partition, start } = request
            && !group.is_empty()
        {
            return self.register_member(head, (topic, group), partition, start, limits).map(Some);
        }
        let slot = u64::from(head.stream) << 32 | u64::from(head.correlation);
        Ok(self.request(head, request, out, limits, greeting)?.map(|request| (slot, request)))
    }

    fn request<'a>(
        &'a mut self,
        head: Head,
        request: native::Request<'a>,
        out: &mut Vec<u8>,
        limits: &Limits,
        greeting: &Greeting,
    ) -> Result<Option<Request<'a>>, Refusal> {
        use native::Request as N;
        Ok(match request {
            N::Hello { version, client } => {
                self.hello(head, version, client, out, limits, greeting)?;
                None
            }
            N::Ping => {
                native::Reply::Pong.encode(head, out);
                None
            }
            N::RegisterProducer { topic, idempotent } => {
                let stream =
                    Stream::Producer { name: topic.into(), topic: None, registration: head.correlation };
                self.register(head.stream, stream, limits)?;
                Some(Request::OpenProducer { topic, idempotent })
            }
            N::Publish { acks, partition, body } => {
                let topic = self.producer(head.stream)?;
                let partition = at_least_zero(partition);
                Some(Request::Publish(Publish { topic, partition, acks, body }))
            }
            N::RegisterConsumer { topic, group: _, partition, start } => {
                Some(self.register_consumer(head, topic, partition, start, limits)?)
            }
            N::Poll { max_wait_ms, min_bytes, max_bytes } => {
                let asked = Asked::Poll { correlation: head.correlation, max_wait_ms, min_bytes, max_bytes };
                self.ask(head.stream, asked)?;
                None
            }
            N::Subscribe { credit } => {
                let asked = Asked::Subscription { correlation: head.correlation, credit: i64::from(credit) };
                self.ask(head.stream, asked)?;
                None
            }
            N::Credit { bytes } => {
                let wants = match self.streams.get_mut(&head.stream) {
                    Some(Stream::Watcher(watcher)) => watcher.add_credit(bytes)?,
                    _ => self.consumer(head.stream)?.add_credit(bytes)?,
                };
                if wants {
                    self.ready.push_back(head.stream);
                }
                None
            }
            N::CloseStream => {
                let end = self.end_stream(head.stream)?;
                if end.is_none() {
                    native::Reply::Ack.encode(head, out);
                }
                end
            }
            N::Status => Some(Request::Status),
            N::CreateTopic { topic, partitions, settings } => {
                let partitions = (partitions != -1).then_some(partitions);
                Some(Request::CreateTopic { topic, partitions, settings, validate_only: false })
            }
            N::ListTopics => Some(Request::ListTopics),
            N::DescribeTopic { topic } => {
                Some(Request::DescribeTopic { topic: TopicRef::Name(topic), create: false })
            }
            N::DeleteTopic { topic } => Some(Request::DeleteTopic { topic: TopicRef::Name(topic) }),
            N::DeleteRecords { topic, partition, offset } => {
                Some(Request::DeleteRecords { topic, partition, offset })
            }
            N::AlterTopic { topic, changes } => {
                Some(Request::AlterTopic { topic, changes, replace: false, validate_only: false })
            }
            N::AddPartitions { topic, count } => {
                Some(Request::CreatePartitions { topic, count, validate_only: false })
            }
            N::Commit(commit) => Some(self.commit(head, commit)?),
            N::Released { number } => self.released(head, number, out)?,
            N::ForgetOffsets(forget) => Some(group::forget(forget)),
            N::ListGroups { after, limit } => {
                Some(Request::Group(GroupRequest::After { name: after, limit }))
            }
            N::DescribeGroup { group } => Some(Request::Group(GroupRequest::Detail(group))),
            N::DeleteGroup { group } => Some(Request::Group(GroupRequest::Delete(group))),
            N::PublishIf(one) => {
                let topic = self.producer(head.stream)?;
                Some(Request::PublishIf(PublishIf {
                    topic,
                    partition: at_least_zero(one.partition),
                    acks: one.acks,
                    expected: (one.expected >= 0).then_some(one.expected),
                    record: one.record,
                }))
            }
            N::Get(get) => Some(Request::Get(Get {
                topic: get.topic,
                partition: at_least_zero(get.partition),
                as_of: (get.as_of >= 0).then_some(get.as_of),
                after: get.after,
                explain: get.explain,
                keys: get.keys,
            })),
            N::Scan(scan) => Some(Request::Scan(Scan {
                topic: TopicRef::Name(scan.topic),
                partition: at_least_zero(scan.partition),
                reverse: scan.reverse,
                keys_only: scan.keys_only,
                from: scan.from,
                to: scan.to,
                as_of: scan.as_of,
                after: scan.after,
                limit: scan.limit,
                max_bytes: scan.max_bytes,
                cursor: if scan.cursor.is_empty() { None } else { Some(cursor::decode(scan.cursor)?) },
            })),
            N::Watch(watch) => {
                let (topic, partition) = (watch.topic, at_least_zero(watch.partition));
                let watcher = Watcher::opening(head.correlation, &watch);
                self.register(head.stream, Stream::Watcher(Box::new(watcher)), limits)?;
                Some(Request::OpenWatch { topic, partition: partition.map(|n| n as u32) })
            }
            N::QueueTake(take) => {
                self.take(head, &take, limits)?;
                None
            }
            N::QueueSettle(settle) => Some(queue::settle(head.stream, settle)),
            N::QueueDescribe { group, topic } => {
                Some(Request::Queue(QueueRequest::Describe { group, topic }))
            }
            N::QueueRedrive { group, topic, most } => {
                Some(Request::Queue(QueueRequest::Redrive { group, topic, most }))
            }
        })
    }

    /// The broker took the request with this slot.
    pub fn taken(&mut self, slot: u64) {
        if slot & FETCH == 0 {
            self.in_flight += 1;
        } else if slot & member::MEMBER == member::MEMBER {
            self.member_taken(slot);
        }
    }

    fn hello(
        &mut self,
        head: Head,
        version: u16,
        client: &str,
        out: &mut Vec<u8>,
        limits: &Limits,
        greeting: &Greeting,
    ) -> Result<(), Refusal> {
        if version != native::VERSION {
            self.closing = true;
            let message = format!("version {version} is not spoken here, only {}", native::VERSION);
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, message));
        }
        self.client = client.chars().take(64).collect();
        log::debug!("hello from {:?}", self.client);
        let reply = native::Reply::HelloOk {
            version,
            software: &greeting.software,
            cluster_id: &greeting.cluster_id,
            max_frame: limits.max_frame,
            max_in_flight: limits.max_in_flight as u32,
            max_streams: limits.max_streams as u32,
        };
        reply.encode(head, out);
        Ok(())
    }

    fn register(&mut self, number: u32, stream: Stream, limits: &Limits) -> Result<(), Refusal> {
        if number == 0 {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "stream 0 is the connection itself"));
        }
        if self.streams.contains_key(&number) {
            let message = format!("stream {number} is registered already");
            return Err(
                Refusal::new(ErrorCode::StreamInUse, message).hint("close it first, or take another number")
            );
        }
        if self.streams.len() + self.fetches.len() >= limits.max_streams.saturating_mul(2)
            || self.streams.len() >= limits.max_streams
        {
            let message = format!("this connection has {} streams, no more are allowed", self.streams.len());
            return Err(Refusal::new(ErrorCode::TooManyStreams, message)
                .hint("close some, or open another connection"));
        }
        self.streams.insert(number, stream);
        Ok(())
    }

    fn register_consumer<'a>(
        &mut self,
        head: Head,
        topic: &'a str,
        partition: i32,
        start: Start,
        limits: &Limits,
    ) -> Result<Request<'a>, Refusal> {
        let at = match start {
            Start::Committed => {
                let message = "a consumer without a group has committed nothing";
                return Err(
                    Refusal::new(ErrorCode::InvalidRequest, message).hint("name a group, or another start")
                );
            }
            Start::Earliest => At::Earliest,
            Start::Latest => At::Latest,
            Start::Offset(offset) => At::Offset(offset),
            Start::Timestamp(timestamp) => At::Timestamp(timestamp),
        };
        let partition = match partition {
            -1 => None,
            n => Some(
                u32::try_from(n).map_err(|_| Refusal::new(ErrorCode::InvalidRequest, "no such partition"))?,
            ),
        };
        self.register(head.stream, Stream::Consumer(Box::new(Consumer::opening(head.correlation))), limits)?;
        Ok(Request::ListOffsets { topic: TopicRef::Name(topic), partition, leader_epoch: -1, at })
    }

    fn producer(&self, number: u32) -> Result<TopicRef<'_>, Refusal> {
        match self.streams.get(&number) {
            Some(Stream::Producer { topic: Some(topic), .. }) => Ok(TopicRef::Key(*topic)),
            Some(Stream::Producer { topic: None, name, .. }) => Ok(TopicRef::Name(name)),
            Some(Stream::Consumer(_) | Stream::Watcher(_) | Stream::Taker(_)) => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("stream {number} is a consumer, it cannot publish"),
            )),
            None => Err(unknown_stream(number)),
        }
    }

    fn consumer(&mut self, number: u32) -> Result<&mut Consumer, Refusal> {
        match self.streams.get_mut(&number) {
            Some(Stream::Consumer(consumer)) => Ok(consumer),
            Some(Stream::Producer { .. }) => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("stream {number} is a producer, it cannot consume"),
            )),
            Some(Stream::Watcher(_)) => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("stream {number} is a watcher, which is sent what it watches without asking"),
            )),
            Some(Stream::Taker(_)) => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("stream {number} takes from a queue, it has no position"),
            )),
            None => Err(unknown_stream(number)),
        }
    }

    fn ask(&mut self, number: u32, asked: Asked) -> Result<(), Refusal> {
        if self.consumer(number)?.ask(asked)? {
            self.ready.push_back(number);
        }
        Ok(())
    }

    /// The stream becomes a taker with its first take.
    fn take(&mut self, head: Head, take: &native::QueueTake<'_>, limits: &Limits) -> Result<(), Refusal> {
        if !matches!(self.streams.get(&head.stream), Some(Stream::Taker(_))) {
            self.register(head.stream, Stream::Taker(Box::new(Taker::new(take))), limits)?;
        }
        let Some(Stream::Taker(taker)) = self.streams.get_mut(&head.stream) else {
            unreachable!("registered a moment ago")
        };
        taker.ask(head.correlation, take)?;
        self.ready.push_back(head.stream);
        Ok(())
    }

    /// The next read that a stream wants.
    fn next_fetch(&mut self, limits: &Limits) -> Option<(u64, Request<'_>)> {
        let number = loop {
            let number = self.ready.pop_front()?;
            match self.streams.get(&number) {
                Some(Stream::Consumer(consumer)) if consumer.wants_fetch() => break number,
                Some(Stream::Watcher(watcher)) if watcher.wants() => break number,
                Some(Stream::Taker(taker)) if taker.wants() => break number,
                _ => {}
            }
        };
        let serial = self.next_fetch;
        self.next_fetch += 1;
        self.fetches.insert(serial, Some(number));
        let request = match self.streams.get_mut(&number) {
            Some(Stream::Consumer(consumer)) => {
                let fetch = consumer.fetch(limits)?;
                consumer.fetching = Some(serial);
                Request::Fetch(fetch)
            }
            Some(Stream::Watcher(watcher)) => {
                watcher.asking = Some(serial);
                watcher.request(limits)
            }
            Some(Stream::Taker(taker)) => {
                taker.asking = Some(serial);
                taker.request(number)
            }
            _ => unreachable!("looked up a moment ago"),
        };
        Some((FETCH | serial, request))
    }

    /// Encodes a reply. Batches of records are handed to `push` between the bytes, so that they are not copied.
    pub fn reply(&mut self, slot: u64, reply: Reply, out: &mut Output) {
        if slot & member::MEMBER == member::MEMBER {
            return self.member_reply(slot, reply, out.gather());
        }
        if slot & FETCH != 0 {
            return self.fetch_reply(slot & !FETCH, reply, out);
        }
        self.in_flight -= 1;
        let head = Head { stream: (slot >> 32) as u32, correlation: slot as u32 };
        if let Reply::Scanned { true_at, rows, next } = reply {
            return put_page(head, true_at, rows, next.as_ref(), out);
        }
        let out = out.gather();
        match reply {
            Reply::Silent => {}
            Reply::Published { level, parts } => put_published(head, level, &parts, out),
            Reply::ProducerOpen { topic, partitions, producer, max_message_bytes } => {
                if let Some(Stream::Producer { topic: known, registration, .. }) =
                    self.streams.get_mut(&head.stream)
                    && *registration == head.correlation
                {
                    *known = Some(topic);
                }
                let (producer_id, producer_epoch) = producer.unwrap_or((-1, -1));
                native::Reply::ProducerRegistered {
                    partitions,
                    producer_id,
                    producer_epoch,
                    max_message_bytes,
                }
                .encode(head, out);
            }
            Reply::Offsets { parts } => {
                let positions = parts.iter().map(|at| (at.number, at.offset)).collect();
                native::Reply::ConsumerRegistered { member: "", positions }.encode(head, out);
                if let Some(Stream::Consumer(consumer)) = self.streams.get_mut(&head.stream)
                    && consumer.opening == Some(head.correlation)
                    && consumer.opened(&parts)
                {
                    self.ready.push_back(head.stream);
                }
            }
            Reply::WatchOpen { topic, parts } => {
                if let Some(Stream::Watcher(watcher)) = self.streams.get_mut(&head.stream)
                    && watcher.is_opening(head.correlation)
                    && watcher.opened(head.stream, topic, parts, out)
                {
                    self.ready.push_back(head.stream);
                }
            }
            Reply::Conflict { partition, offset, deleted } => {
                native::Reply::Conflict { partition, offset: offset.unwrap_or(-1), deleted }
                    .encode(head, out);
            }
            Reply::Values { values, explain } => put_values(head, &values, &explain, out),
            Reply::Refused(refusal) => {
                refuse(head, &refusal, out);
                self.registration_failed(head, &refusal, out);
            }
            Reply::Topic(topic) => put_topic(head, &topic, out),
            Reply::Topics(lines) => put_topics(head, &lines, out),
            Reply::Deleted { .. } | Reply::Altered => native::Reply::Ack.encode(head, out),
            Reply::Trimmed(log_start) => native::Reply::Trimmed { log_start }.encode(head, out),
            Reply::Group(reply) => group::put(head, reply, out),
            Reply::Status(values) => native::Reply::StatusIs { values }.encode(head, out),
            Reply::Queue(reply) => put_queue(head, &reply, out),
            Reply::Scanned { .. }
            | Reply::Fetched { .. }
            | Reply::ProducerId { .. }
            | Reply::Settings(_)
            | Reply::AllTopics(_)
            | Reply::EpochEnd { .. }
            | Reply::Producers(_) => {
                unreachable!("pages are written above, and nothing else is answered like this")
            }
        }
    }

    /// A stream that could not be opened is gone, and a poll that waited for it is refused too.
    fn registration_failed(&mut self, head: Head, refusal: &Refusal, out: &mut Vec<u8>) {
        let opening = match self.streams.get(&head.stream) {
            Some(Stream::Producer { topic, registration, .. }) => {
                topic.is_none() && *registration == head.correlation
            }
            Some(Stream::Consumer(consumer)) => consumer.opening == Some(head.correlation),
            Some(Stream::Watcher(watcher)) => watcher.is_opening(head.correlation),
            Some(Stream::Taker(_)) | None => false,
        };
        if !opening {
            return;
        }
        if let Some(Stream::Consumer(consumer)) = self.streams.remove(&head.stream)
            && let Some(correlation) = consumer.asked.correlation()
        {
            refuse(Head { correlation, ..head }, refusal, out);
        }
    }

    fn fetch_reply(&mut self, serial: u64, reply: Reply, out: &mut Output) {
        let stream = self.fetches.remove(&serial).expect("a fetch is known until it is answered");
        let Some(number) = stream else { return };
        let consumer = match (self.streams.get_mut(&number), &reply) {
            (Some(Stream::Consumer(consumer)), _) => consumer,
            (Some(Stream::Watcher(_)), _) => return self.watch_reply(number, reply, out.gather()),
            (Some(Stream::Taker(_)), _) => return self.take_reply(number, &reply, out.gather()),
            _ => return,
        };
        let Reply::Fetched { parts } = reply else { return };
        let bytes: usize = parts.iter().filter_map(|p| p.chunk.as_ref()).map(crate::chunk::Chunk::len).sum();
        let Some(answered) = consumer.answered(&parts, bytes) else { return };
        if answered.again && !self.draining {
            self.ready.push_back(number);
        }
        if answered.tell {
            put_records(Head { stream: number, correlation: answered.correlation }, parts, out);
        }
    }

    /// Hands a page or what was appended to a watcher. A refusal ends it, so that it is told once and not in a loop.
    fn watch_reply(&mut self, number: u32, reply: Reply, out: &mut Vec<u8>) {
        let Some(Stream::Watcher(watcher)) = self.streams.get_mut(&number) else { return };
        match watcher.answered(number, reply, out) {
            Ok(true) if !self.draining => self.ready.push_back(number),
            Ok(_) => {}
            Err(refusal) => {
                refuse(Head { stream: number, correlation: watcher.correlation() }, &refusal, out);
                self.streams.remove(&number);
            }
        }
    }

    /// Hands records to a taker, or says why there are none.
    fn take_reply(&mut self, number: u32, reply: &Reply, out: &mut Vec<u8>) {
        let Some(Stream::Taker(taker)) = self.streams.get_mut(&number) else { return };
        let head = Head { stream: number, correlation: taker.answered() };
        match reply {
            Reply::Queue(reply @ QueueReply::Taken(_)) => put_queue(head, reply, out),
            Reply::Refused(refusal) => refuse(head, refusal, out),
            other => unreachable!("a take is not answered with {other:?}"),
        }
    }

    /// Says that the broker is stopping, and ends subscriptions with what they are getting now.
    pub fn go_away(&mut self, message: &str, out: &mut Vec<u8>) {
        self.draining = true;
        self.ready.retain(|number| match self.streams.get(number) {
            Some(Stream::Consumer(consumer)) => !matches!(consumer.asked, Asked::Subscription { .. }),
            Some(Stream::Watcher(_)) => false,
            _ => true,
        });
        native::Reply::GoAway { message }.encode(Head { stream: 0, correlation: 0 }, out);
    }
}

/// A number of a partition; -1 on the wire stands for none.
fn at_least_zero(partition: i32) -> Option<i32> {
    (partition >= 0).then_some(partition)
}

fn unknown_stream(number: u32) -> Refusal {
    Refusal::new(ErrorCode::UnknownStream, format!("stream {number} is not registered on this connection"))
        .hint("register a producer or consumer under this number first")
}

fn unknown_request(code: u16) -> Refusal {
    if (0x20..0x40).contains(&code) {
        return not_available(code);
    }
    Refusal::new(ErrorCode::UnknownRequest, format!("no request has the code 0x{code:02x}"))
}

fn not_available(code: u16) -> Refusal {
    let message = format!("request 0x{code:02x} is reserved, this version of krappy does not have it");
    Refusal::new(ErrorCode::NotAvailable, message)
}

fn malformed_request(code: u16, malformed: Malformed) -> Refusal {
    Refusal::new(ErrorCode::Malformed, format!("request 0x{code:02x}: {malformed}"))
}
