//! The consumer: subscriptions with byte credit, and the positions that a reconnect resumes from.
//!
//! Invariant: a position moves only when its records are handed to the caller, and what arrives is taken only from the
//! position on; so no reconnect repeats or skips a record. Unread bytes are bounded by the credit given.

use crate::admin::checked;
use crate::client::Client;
use crate::error::Error;
use crate::inbox::Inbox;
use crate::link::{Answer, Link, Message, Route};
use crate::member::MemberBuilder;
use crate::records::{ConsumerRecord, Records};
use krappy_wire::error::ErrorCode;
use krappy_wire::native::{Head, RecordsPart, Reply, Request, Start};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Credit below this would make the broker send tiny pieces.
const LEAST_CREDIT: u32 = 64 << 10;

/// Settings of a consumer. Made by [`Client::consumer`].
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// use krappy_client::Start;
///
/// let consumer = client.consumer("orders").partition(0).start(Start::Offset(42)).build()?;
/// # Ok::<(), krappy_client::Error>(())
/// ```
pub struct ConsumerBuilder {
    client: Client,
    topic: String,
    partition: i32,
    start: Start,
    buffer_bytes: u32,
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Client, topic: String) -> Self {
        Self { client, topic, partition: -1, start: Start::Earliest, buffer_bytes: 8 << 20 }
    }

    /// Reads one partition; all of them unless set.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = partition;
        self
    }

    /// Becomes a member of a group, which shares out the partitions and remembers how far it has come. The start is
    /// then where to begin in partitions of which nothing was committed: the earliest or the latest record.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// let mut member = client.consumer("orders").group("billing").build()?;
    /// let records = member.poll(std::time::Duration::from_secs(1))?;
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn group(self, group: impl Into<String>) -> MemberBuilder {
        MemberBuilder::new(self.client, self.topic, group.into(), self.start, self.buffer_bytes)
    }

    /// Where to begin. The earliest record unless set.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Most bytes that may have arrived and not been polled. 8 MiB unless set. The broker may exceed it by one batch of
    /// each partition.
    pub fn buffer_bytes(mut self, bytes: u32) -> Self {
        self.buffer_bytes = bytes.max(LEAST_CREDIT);
        self
    }

    /// Registers with the broker and begins to receive.
    pub fn build(self) -> Result<Consumer, Error> {
        checked(&self.topic)?;
        let shared = &self.client.shared;
        let link = shared.link(Instant::now() + shared.connect_timeout())?;
        let mut consumer = Consumer {
            topic: self.topic.into(),
            inbox: Arc::default(),
            link,
            lanes: Vec::new(),
            positions: BTreeMap::new(),
            high_watermarks: BTreeMap::new(),
            later: None,
            heard: Instant::now(),
            credit: self.buffer_bytes,
            client: self.client,
        };
        let positions = consumer.open(self.partition, self.start, self.buffer_bytes)?;
        if positions.is_empty() {
            return Err(Error::unexpected("RegisterConsumer"));
        }
        consumer.positions = positions.into_iter().collect();
        Ok(consumer)
    }
}

/// Reads the records of one topic. It keeps its own position; nothing is committed at the broker.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// let mut consumer = client.consumer("orders").build()?;
/// for record in consumer.subscribe() {
///     println!("{:?}", record?.value);
/// }
/// # Ok::<(), krappy_client::Error>(())
/// ```
pub struct Consumer {
    client: Client,
    topic: Arc<str>,
    inbox: Arc<Inbox>,
    link: Arc<Link>,
    lanes: Vec<Lane>,
    /// The next offset to hand out, for each partition.
    positions: BTreeMap<i32, i64>,
    high_watermarks: BTreeMap<i32, i64>,
    /// An error that was met after records which were handed out first.
    later: Option<Error>,
    /// When the broker last sent anything here.
    heard: Instant,
    credit: u32,
}

/// A stream with a subscription: at first one for all partitions, after a break one for each.
struct Lane {
    stream: u32,
    correlation: u32,
}

impl Consumer {
    /// Waits up to `timeout` for records. Returns what has arrived, at least one frame's worth; empty when nothing
    /// came, also while the broker cannot be reached.
    ///
    /// An error about a position (see [`Error::Unreadable`], [`Error::Compressed`]) comes again at each poll until
    /// [`Consumer::seek`] moves away from it.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let mut consumer = client.consumer("orders").build()?;
    /// let records = consumer.poll(std::time::Duration::from_millis(500))?;
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn poll(&mut self, timeout: Duration) -> Result<Records, Error> {
        if let Some(error) = self.later.take() {
            return Err(error);
        }
        let until = Instant::now() + timeout;
        let mut records = Records::new(Arc::clone(&self.topic));
        loop {
            if self.lanes.is_empty() && !self.resume(until)? {
                return Ok(records);
            }
            let Some((stream, answer)) = self.inbox.next(until) else {
                self.client.shared.make_sure(&self.link, &mut self.heard);
                return Ok(records);
            };
            self.heard = Instant::now();
            if !self.lanes.iter().any(|l| l.stream == stream) {
                continue;
            }
            if let Err(error) = self.take(stream, answer, &mut records) {
                self.drop_lanes();
                match error {
                    Error::Disconnected(_) => {}
                    Error::Closed => return Err(error),
                    error if records.is_empty() => return Err(error),
                    error => self.later = Some(error),
                }
            }
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }

    /// An endless iterator over records. It waits when there are none and ends after [`Error::Closed`].
    pub fn subscribe(&mut self) -> impl Iterator<Item = Result<ConsumerRecord, Error>> {
        // Batch by batch: all records of a poll can be much more than what was sent.
        let (mut polled, mut next) = (Records::new(Arc::clone(&self.topic)), 0);
        let mut batch = Vec::new().into_iter();
        let mut closed = false;
        std::iter::from_fn(move || {
            while batch.len() == 0 && !closed {
                if let Some(records) = polled.nth_batch(next) {
                    (batch, next) = (records.into_iter(), next + 1);
                    continue;
                }
                match self.poll(Duration::from_secs(1)) {
                    Ok(records) => (polled, next) = (records, 0),
                    Err(error) => {
                        closed = error == Error::Closed;
                        return Some(Err(error));
                    }
                }
            }
            batch.next().map(Ok)
        })
    }

    /// Goes on at `offset` in one partition.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let mut consumer = client.consumer("orders").build()?;
    /// consumer.seek(0, 0)?;
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn seek(&mut self, partition: i32, offset: i64) -> Result<(), Error> {
        let position = self.positions.get_mut(&partition);
        *position.ok_or_else(|| Error::Invalid(format!("partition {partition} is not read here")))? = offset;
        self.later = None;
        self.drop_lanes();
        Ok(())
    }

    /// The next offset to be handed out, for each partition.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let consumer = client.consumer("orders").build()?;
    /// println!("{:?}", consumer.positions());
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn positions(&self) -> &BTreeMap<i32, i64> {
        &self.positions
    }

    /// The end of each partition as the broker last told it; absent until it has sent something.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let consumer = client.consumer("orders").build()?;
    /// let end = consumer.high_watermarks().get(&0);
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn high_watermarks(&self) -> &BTreeMap<i32, i64> {
        &self.high_watermarks
    }

    /// Registers a stream and subscribes on it. Both requests leave together; the positions come back first.
    fn open(&mut self, partition: i32, start: Start, credit: u32) -> Result<Vec<(i32, i64)>, Error> {
        let limit = self.client.shared.request_timeout();
        let (stream, correlation) = (self.link.stream_number(), self.link.correlation());
        let topic = Arc::clone(&self.topic);
        let register = Request::RegisterConsumer { topic: &topic, group: "", partition, start };
        let message = self.link.call(stream, &register, limit)?;
        let positions = match message.reply()? {
            Reply::ConsumerRegistered { positions, .. } => positions,
            _ => return Err(Error::unexpected("RegisterConsumer")),
        };
        self.link.route(correlation, Route::Many(Arc::new(self.inbox.ear(stream))));
        self.lanes.push(Lane { stream, correlation });
        self.link.send(Head { stream, correlation }, &Request::Subscribe { credit })?;
        Ok(positions)
    }

    /// Opens a lane for each partition at its position. False when the time ran out first.
    fn resume(&mut self, until: Instant) -> Result<bool, Error> {
        let shared = Arc::clone(&self.client.shared);
        loop {
            match shared.link(until).and_then(|link| self.resume_on(link)) {
                Ok(()) => return Ok(true),
                Err(error) if !error.is_retriable() => return Err(error),
                Err(_) if Instant::now() + shared.backoff() >= until => {
                    self.drop_lanes();
                    return Ok(false);
                }
                Err(_) => {
                    self.drop_lanes();
                    std::thread::sleep(shared.backoff());
                }
            }
        }
    }

    fn resume_on(&mut self, link: Arc<Link>) -> Result<(), Error> {
        self.link = link;
        let positions: Vec<(i32, i64)> = self.positions.iter().map(|(&p, &o)| (p, o)).collect();
        let credit = (self.credit / positions.len() as u32).max(LEAST_CREDIT);
        for (partition, position) in positions {
            self.open(partition, Start::Offset(position), credit)?;
        }
        Ok(())
    }

    fn take(&mut self, stream: u32, answer: Answer, records: &mut Records) -> Result<(), Error> {
        let message = answer?;
        let result = self.take_frame(stream, &message, records);
        if let Err(error @ Error::Malformed(_)) = &result {
            self.link.end(error.clone());
        }
        result
    }

    fn take_frame(&mut self, stream: u32, message: &Message, records: &mut Records) -> Result<(), Error> {
        let parts = match message.reply()? {
            Reply::Records { parts } => parts,
            // A broker may confirm the subscription itself.
            Reply::Ack => return Ok(()),
            _ => return Err(Error::unexpected("Subscribe")),
        };
        let mut size = 0;
        for part in &parts {
            size += part.batches.len();
            self.take_part(message, part, records)?;
        }
        if size > 0 {
            let credit = Request::Credit { bytes: u32::try_from(size).unwrap_or(u32::MAX) };
            self.link.send(Head { stream, correlation: self.link.correlation() }, &credit)?;
        }
        Ok(())
    }

    fn take_part(
        &mut self,
        message: &Message,
        part: &RecordsPart<'_>,
        records: &mut Records,
    ) -> Result<(), Error> {
        let position = self.positions.get_mut(&part.partition);
        let position =
            position.ok_or_else(|| Error::malformed("records of a partition that was not asked for"))?;
        if part.error != ErrorCode::None.number() {
            return Err(Error::Unreadable {
                number: part.error,
                partition: part.partition,
                position: *position,
                log_start: part.log_start,
                high_watermark: part.high_watermark,
            });
        }
        if part.position > *position {
            return Err(Error::malformed("records were skipped"));
        }
        self.high_watermarks.insert(part.partition, part.high_watermark);
        let (after, result) = records.add(&message.payload, part, *position);
        *position = after;
        result
    }

    /// Ends every subscription; the next poll resumes at the positions.
    fn drop_lanes(&mut self) {
        for lane in self.lanes.drain(..) {
            self.link.forget(lane.correlation);
            let head = Head { stream: lane.stream, correlation: self.link.correlation() };
            // On a broken connection the stream has ended anyway.
            let _ = self.link.send(head, &Request::CloseStream);
        }
        // The last link may still tell the old one of its end, once for each route.
        self.inbox = Arc::default();
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut f = f.debug_struct("Consumer");
        f.field("topic", &self.topic).field("positions", &self.positions).finish_non_exhaustive()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.drop_lanes();
    }
}
