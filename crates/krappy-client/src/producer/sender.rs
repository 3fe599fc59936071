//! The producer's thread and its dealings with the connection: registering, sending, hearing answers.

use super::batch::Settled;
use super::queue::{Identity, Outgoing, Queue};
use crate::client::Client;
use crate::error::Error;
use crate::link::{Answer, Link, Route};
use krappy_wire::codec::Writer;
use krappy_wire::frame;
use krappy_wire::native::{Head, Level, Reply, Request, code};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The thread looks around at least this often, so that timeouts are noticed.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
/// Between attempts to get a usable connection, beyond the pauses that connecting makes itself.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

pub(super) struct Sender {
    client: Client,
    topic: String,
    acks: Level,
    sending: Mutex<()>,
    state: Mutex<State>,
    /// Something to send, an answer, or the end.
    work: Condvar,
    /// Memory was freed.
    room: Condvar,
}

pub(super) struct State {
    pub queue: Queue,
    /// The first refusal of a batch that nobody waits for (acks none); told by the next call.
    pub refusal: Option<Error>,
    link: Arc<Link>,
    stream: u32,
    /// Where refusals of unanswered publishes arrive.
    unanswered: u32,
    stopping: bool,
    /// Set when something happened since the thread last looked.
    woken: bool,
}

impl State {
    pub fn new(queue: Queue, link: Arc<Link>, stream: u32) -> Self {
        Self { queue, refusal: None, link, stream, unanswered: 0, stopping: false, woken: false }
    }
}

/// What registering a producer stream brought.
pub(super) struct Registered {
    pub stream: u32,
    pub partitions: usize,
    pub identity: Option<Identity>,
    pub max_message_bytes: usize,
}

pub(super) fn register(
    link: &Link,
    topic: &str,
    idempotent: bool,
    limit: Duration,
) -> Result<Registered, Error> {
    let stream = link.stream_number();
    let message = link.call(stream, &Request::RegisterProducer { topic, idempotent }, limit)?;
    match message.reply()? {
        Reply::ProducerRegistered { partitions, producer_id, producer_epoch, max_message_bytes }
            if partitions > 0 && max_message_bytes > 1024 && (!idempotent || producer_id >= 0) =>
        {
            Ok(Registered {
                stream,
                partitions: partitions as usize,
                identity: idempotent.then_some(Identity { id: producer_id, epoch: producer_epoch }),
                max_message_bytes: max_message_bytes as usize,
            })
        }
        _ => {
            let error = Error::unexpected("RegisterProducer");
            link.end(error.clone());
            Err(error)
        }
    }
}

impl Sender {
    pub fn new(client: Client, topic: String, acks: Level, state: State) -> Self {
        Self {
            client,
            topic,
            acks,
            sending: Mutex::new(()),
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Condvar::new(),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("producer bookkeeping does not panic")
    }

    /// Waits until `size` more bytes fit below `limit`.
    pub fn wait_for_room(
        &self,
        size: usize,
        limit: usize,
        longest: Duration,
    ) -> Result<MutexGuard<'_, State>, Error> {
        let until = Instant::now() + longest;
        let mut state = self.state();
        while state.queue.bytes() + size > limit {
            if state.stopping || self.client.shared.is_closed() {
                return Err(Error::Closed);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::BufferFull { limit });
            }
            state.woken = true;
            self.work.notify_one();
            state = self.room.wait_timeout(state, left).expect("producer bookkeeping does not panic").0;
        }
        if state.stopping || self.client.shared.is_closed() { Err(Error::Closed) } else { Ok(state) }
    }

    /// Has the thread look at the queue.
    pub fn wake(&self) {
        let mut state = self.state();
        if !state.woken {
            state.woken = true;
            self.work.notify_one();
        }
    }

    /// Sends from this thread if nobody else is sending, which saves waking the other one; else wakes it.
    pub fn nudge(self: &Arc<Self>) {
        match self.sending.try_lock() {
            Ok(_sending) if self.state().link.usable() => self.send_ready(),
            _ => self.wake(),
        }
    }

    /// Ends the thread; what is not delivered fails.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopping = true;
        state.woken = true;
        self.work.notify_one();
    }

    /// The thread.
    pub fn run(self: &Arc<Self>) {
        loop {
            self.sleep();
            let expired = self.state().queue.expire(Instant::now());
            self.tell(expired);
            if self.state().stopping || self.client.shared.is_closed() {
                return self.wind_up();
            }
            if let Err(error) = self.connect().and_then(|()| self.renew()) {
                if !error.is_retriable() {
                    let failed = self.state().queue.fail_all(&error);
                    self.tell(failed);
                }
                std::thread::sleep(PAUSE_AFTER_FAILURE);
                continue;
            }
            let _sending = self.sending.lock().expect("sending does not panic");
            self.send_ready();
        }
    }

    fn sleep(&self) {
        let mut state = self.state();
        if !state.woken {
            let now = Instant::now();
            let next = state.queue.next_event().map_or(LONGEST_SLEEP, |t| t.saturating_duration_since(now));
            let pause = next.clamp(SHORTEST_SLEEP, LONGEST_SLEEP);
            state = self.work.wait_timeout(state, pause).expect("producer bookkeeping does not panic").0;
        }
        state.woken = false;
    }

    fn wind_up(&self) {
        let (failed, link, stream) = {
            let mut state = self.state();
            state.stopping = true;
            (state.queue.fail_all(&Error::Closed), Arc::clone(&state.link), state.stream)
        };
        self.tell(failed);
        let correlation = link.correlation();
        // Politeness only: the broker drops the stream with the connection in any case.
        let _ = link.send(Head { stream, correlation }, &Request::CloseStream);
    }

    /// Makes sure of a connection with this producer registered on it, when there is anything to send.
    fn connect(&self) -> Result<(), Error> {
        let limit = self.client.shared.request_timeout();
        let (link, in_flight, idle) = {
            let state = self.state();
            let late = state.queue.oldest_sending().is_some_and(|t| t.elapsed() > limit);
            if late {
                state.link.end(Error::Disconnected("the broker did not answer in time".into()));
            }
            (Arc::clone(&state.link), state.queue.in_flight(), state.queue.is_empty())
        };
        if link.usable() || idle {
            return Ok(());
        }
        if in_flight {
            // The old connection still owes answers, or the news that it has ended.
            return Err(Error::Disconnected("the broker is stopping".into()));
        }
        let link = self.client.shared.link(Instant::now() + LONGEST_SLEEP)?;
        let registered = register(&link, &self.topic, false, limit)?;
        let mut state = self.state();
        state.queue.grow(registered.partitions);
        state.link = link;
        state.stream = registered.stream;
        state.unanswered = 0;
        Ok(())
    }

    /// Asks for a new producer id when the old one's sequence numbers mean nothing any more.
    fn renew(&self) -> Result<(), Error> {
        let link = {
            let state = self.state();
            if !state.queue.wants_identity() || state.queue.is_empty() {
                return Ok(());
            }
            Arc::clone(&state.link)
        };
        let registered = register(&link, &self.topic, true, self.client.shared.request_timeout())?;
        let identity = registered.identity.expect("an idempotent registration brings an id");
        let mut state = self.state();
        let correlation = link.correlation();
        // The stream was only needed for its id.
        let _ = link.send(Head { stream: registered.stream, correlation }, &Request::CloseStream);
        state.queue.renew(identity);
        Ok(())
    }

    /// Takes what may be sent and writes it. The caller holds `sending`.
    fn send_ready(self: &Arc<Self>) {
        let (outgoing, settled, link, stream, unanswered) = {
            let mut state = self.state();
            if !state.link.usable() {
                return;
            }
            let (outgoing, settled) = state.queue.take(Instant::now());
            let unanswered = if self.acks == Level::None { self.unanswered(&mut state) } else { 0 };
            (outgoing, settled, Arc::clone(&state.link), state.stream, unanswered)
        };
        let heads: Vec<Vec<u8>> = outgoing
            .iter()
            .map(|out| {
                let correlation = if self.acks == Level::None { unanswered } else { self.route(&link, out) };
                publish_head(Head { stream, correlation }, self.acks, out)
            })
            .collect();
        let pieces: Vec<&[u8]> =
            heads.iter().zip(&outgoing).flat_map(|(head, out)| [&head[..], &out.bytes[..]]).collect();
        let written = if pieces.is_empty() { Ok(()) } else { link.write(&pieces) };
        match written {
            Err(error) if self.acks == Level::None => {
                self.tell(
                    settled.into_iter().map(|s| Settled { outcome: Err(error.clone()), ..s }).collect(),
                );
            }
            // Otherwise every route hears of the end of the connection.
            _ => self.tell(settled),
        }
    }

    /// Has the answer to this sending come back to the queue.
    fn route(self: &Arc<Self>, link: &Arc<Link>, out: &Outgoing) -> u32 {
        let correlation = link.correlation();
        let (this, on) = (Arc::clone(self), Arc::clone(link));
        let (partition, token) = (out.partition, out.token);
        let hear = move |answer: Answer| {
            let answer = answer.and_then(|m| published(&m.reply()?, partition));
            if let Err(error @ Error::Malformed(_)) = &answer {
                on.end(error.clone());
            }
            this.answered(partition, token, answer.map_err(as_broken));
        };
        link.route(correlation, Route::Once(Box::new(hear)));
        correlation
    }

    /// The correlation of publishes that are answered only when they fail.
    fn unanswered(self: &Arc<Self>, state: &mut State) -> u32 {
        if state.unanswered == 0 {
            state.unanswered = state.link.correlation();
            let this = Arc::downgrade(self);
            let hear = move |answer: Answer| {
                let refusal = answer.and_then(|m| m.reply().map(|_| ())).err();
                if let (Some(this), Some(error @ Error::Refused { .. })) = (this.upgrade(), refusal) {
                    this.state().refusal.get_or_insert(error);
                }
            };
            // On a connection that has ended it is called at once, with nothing that needs the state's lock.
            state.link.route(state.unanswered, Route::Many(Arc::new(hear)));
        }
        state.unanswered
    }

    fn answered(&self, partition: usize, token: u64, answer: Result<(i64, Level), Error>) {
        let settled = self.state().queue.answered(partition, token, answer, Instant::now());
        self.tell(settled.into_iter().collect());
        self.wake();
    }

    fn tell(&self, settled: Vec<Settled>) {
        if !settled.is_empty() {
            self.room.notify_all();
        }
        settled.into_iter().for_each(Settled::tell);
    }
}

fn publish_head(head: Head, acks: Level, out: &Outgoing) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(frame::HEAD + 14);
    let start = frame::begin(&mut bytes, code::PUBLISH);
    bytes.put_u32(head.stream);
    bytes.put_u32(head.correlation);
    bytes.put_u8(acks.number());
    bytes.put_i32(out.partition as i32);
    bytes.put_u8(1);
    frame::finish(&mut bytes, start, out.bytes.len());
    bytes
}

/// The base offset and level of a Published reply to one batch.
fn published(reply: &Reply<'_>, partition: usize) -> Result<(i64, Level), Error> {
    match reply {
        Reply::Published { level, parts } if parts.len() == 1 && parts[0].partition == partition as i32 => {
            Ok((parts[0].base_offset, *level))
        }
        _ => Err(Error::unexpected("Publish")),
    }
}

/// A reply that cannot be understood leaves open what became of the batch, as a broken connection does.
fn as_broken(error: Error) -> Error {
    match error {
        Error::Malformed(what) => Error::Disconnected(what),
        other => other,
    }
}
