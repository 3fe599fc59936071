//! The producer: records in, batches out, memory bounded. One thread of its own sends what lingered, retries and
//! reconnects; `queue` decides what may be sent.
//!
//! Invariant: batches of a partition are written to the socket in the order in which the queue handed them out, because
//! taking and writing happen under one lock (`sending`). Locks are taken in the order `sending`, `state`.

mod batch;
mod delivery;
mod put;
mod queue;
mod sender;
#[cfg(test)]
mod tests;

pub use delivery::{Delivered, Delivery};
pub use put::{Expected, PutIf};

use crate::admin::checked;
use crate::client::Client;
use crate::error::Error;
use crate::record::Record;
use delivery::Callback;
use krappy_wire::batch::HEADER;
use krappy_wire::native::Level;
use krappy_wire::partition::partition_for;
use put::Conditional;
use queue::{Limits, Queue};
use sender::{Sender, State};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Settings of a producer. Made by [`Client::producer`].
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// use std::time::Duration;
///
/// let producer = client
///     .producer("orders")
///     .linger(Duration::from_millis(5))
///     .batch_bytes(256 << 10)
///     .build()?;
/// # Ok::<(), krappy_client::Error>(())
/// ```
pub struct ProducerBuilder {
    client: Client,
    topic: String,
    acks: Level,
    idempotent: bool,
    batch_bytes: usize,
    buffer_bytes: usize,
    linger: Duration,
    max_block: Duration,
    delivery_timeout: Duration,
}

impl ProducerBuilder {
    pub(crate) fn new(client: Client, topic: String) -> Self {
        Self {
            client,
            topic,
            acks: Level::Durable,
            idempotent: true,
            batch_bytes: 64 << 10,
            buffer_bytes: 32 << 20,
            linger: Duration::ZERO,
            max_block: Duration::from_secs(60),
            delivery_timeout: Duration::from_secs(120),
        }
    }

    /// What to wait for. [`Level::Durable`] unless set. With [`Level::None`] nothing is answered, so nothing is
    /// retried.
    pub fn acks(mut self, level: Level) -> Self {
        self.acks = level;
        self
    }

    /// Whether retries must not double records; on unless set. Without it a retry may double a batch, and one batch at
    /// a time is on its way to each partition so that order still holds.
    pub fn idempotent(mut self, on: bool) -> Self {
        self.idempotent = on;
        self
    }

    /// A batch is sent when it reaches this many bytes. 64 KiB unless set; bounded by the topic's `max.message.bytes`.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// Most bytes of records that are not delivered yet. 32 MiB unless set. At it, [`Producer::send`] blocks.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// How long a batch may wait for more records. Zero unless set: it is sent at once while fewer than five batches of
    /// its partition are on their way, and gathers otherwise.
    pub fn linger(mut self, longest: Duration) -> Self {
        self.linger = longest;
        self
    }

    /// How long [`Producer::send`] may block on a full buffer. 60 s unless set.
    pub fn max_block(mut self, longest: Duration) -> Self {
        self.max_block = longest;
        self
    }

    /// How long a record may take to be delivered, retries included. 120 s unless set.
    pub fn delivery_timeout(mut self, longest: Duration) -> Self {
        self.delivery_timeout = longest;
        self
    }

    /// Registers with the broker, which creates the topic if that is switched on there.
    pub fn build(self) -> Result<Producer, Error> {
        checked(&self.topic)?;
        let idempotent = self.idempotent && self.acks != Level::None;
        let shared = &self.client.shared;
        let link = shared.link(Instant::now() + shared.connect_timeout())?;
        let registered = sender::register(&link, &self.topic, idempotent, shared.request_timeout())?;
        let batch_bytes = self.batch_bytes.clamp(HEADER + 1, registered.max_message_bytes);
        let limits = Limits {
            batch_bytes,
            linger: self.linger,
            delivery_timeout: self.delivery_timeout,
            retry_pause: shared.backoff(),
            idempotent,
            acks: self.acks,
        };
        let queue = Queue::new(limits, registered.partitions, registered.identity);
        let conditional = Conditional::new(self.client.clone(), self.topic.clone(), self.acks);
        let state = State::new(queue, link, registered.stream);
        let sender = Arc::new(Sender::new(self.client, self.topic, self.acks, state));
        let running = Arc::clone(&sender);
        let thread = std::thread::Builder::new()
            .name("krappy-producer".into())
            .spawn(move || running.run())
            .map_err(|e| Error::Invalid(format!("no thread for the producer: {e}")))?;
        Ok(Producer {
            sender,
            conditional,
            thread: Some(thread),
            buffer_bytes: self.buffer_bytes,
            max_block: self.max_block,
            max_record: registered.max_message_bytes - HEADER,
            eager: self.linger.is_zero(),
        })
    }
}

/// Sends records to one topic. May be shared by reference between threads.
///
/// Dropping a producer gives up what is not delivered; call [`Producer::flush`] or [`Producer::close`] first.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// use krappy_client::Record;
///
/// let producer = client.producer("orders").build()?;
/// for i in 0..1000 {
///     producer.send(Record::new(format!("event {i}")))?;
/// }
/// producer.flush()?;
/// # Ok::<(), krappy_client::Error>(())
/// ```
pub struct Producer {
    sender: Arc<Sender>,
    conditional: Conditional,
    thread: Option<JoinHandle<()>>,
    buffer_bytes: usize,
    max_block: Duration,
    max_record: usize,
    eager: bool,
}

impl Producer {
    /// Queues a record and returns at once, unless the memory is full. The outcome is told by the [`Delivery`].
    pub fn send(&self, record: Record) -> Result<Delivery, Error> {
        self.enqueue(&record, None)
    }

    /// Like [`Producer::send`], with a function that is called once with the outcome, on a thread of the client. It
    /// must not block and must not send.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let producer = client.producer("orders").build()?;
    /// producer.send_with(krappy_client::Record::new("paid"), |outcome| {
    ///     if let Err(error) = outcome {
    ///         eprintln!("not delivered: {error}");
    ///     }
    /// })?;
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn send_with(
        &self,
        record: Record,
        told: impl FnOnce(Result<Delivered, Error>) + Send + 'static,
    ) -> Result<Delivery, Error> {
        self.enqueue(&record, Some(Box::new(told)))
    }

    /// Queues a value for a key; on a compacted topic it becomes the key's newest.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let producer = client.producer("users").build()?;
    /// let delivered = producer.put("user-7", "ann")?.wait()?;
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn put(&self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Result<Delivery, Error> {
        self.send(Record::new(value).key(key))
    }

    /// Queues a record without a value, which deletes the key on a compacted topic.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let producer = client.producer("users").build()?;
    /// producer.delete("user-7")?.wait()?;
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn delete(&self, key: impl Into<Vec<u8>>) -> Result<Delivery, Error> {
        self.send(Record::tombstone(key))
    }

    /// Stores a record of a compacted topic only if its key is as expected, and waits for the answer. It is sent at
    /// once, before what is still queued, and never twice: after [`Error::Disconnected`] or [`Error::TimedOut`] it may
    /// be stored or not, which [`Client::get`] tells.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let producer = client.producer("users").build()?;
    /// use krappy_client::{Expected, PutIf, Record};
    ///
    /// match producer.put_if(Record::new("ann").key("user-7"), Expected::Absent)? {
    ///     PutIf::Stored(at) => println!("stored at {}", at.offset),
    ///     PutIf::Conflict { offset, .. } => println!("somebody was here before: {offset:?}"),
    /// }
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn put_if(&self, record: Record, expected: Expected) -> Result<PutIf, Error> {
        self.check(&record)?;
        self.conditional.put(&record, expected, now_ms())
    }

    /// Sends everything that was queued before this call and waits for the outcome; the first error, if any.
    pub fn flush(&self) -> Result<(), Error> {
        let waiting = self.sender.state().queue.close_all();
        self.sender.nudge();
        let first_error = waiting.into_iter().filter_map(|d| d.wait().err()).next();
        match self.sender.state().refusal.take().or(first_error) {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// Flushes and ends.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let producer = client.producer("orders").build()?;
    /// producer.close()?;
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn close(self) -> Result<(), Error> {
        self.flush()
    }

    /// How many partitions the topic has.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let producer = client.producer("orders").build()?;
    /// println!("{} partitions", producer.partitions());
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn partitions(&self) -> usize {
        self.sender.state().queue.partitions()
    }

    /// Bytes of records that are not delivered yet.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let producer = client.producer("orders").build()?;
    /// assert_eq!(producer.buffered_bytes(), 0);
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn buffered_bytes(&self) -> usize {
        self.sender.state().queue.bytes()
    }

    fn enqueue(&self, record: &Record, callback: Option<Callback>) -> Result<Delivery, Error> {
        self.check(record)?;
        let mut state =
            self.sender.wait_for_room(HEADER + record.batched_size(), self.buffer_bytes, self.max_block)?;
        if let Some(refusal) = state.refusal.take() {
            return Err(refusal);
        }
        let partition = choose(record, &state.queue)?;
        let delivery = state.queue.push(partition, record, now_ms(), Instant::now(), callback);
        drop(state);
        // Only a new batch changes what there is to do: one that is open already waits for its linger or for an answer,
        // and both wake the thread by themselves.
        if delivery.index == 0 {
            if self.eager { self.sender.nudge() } else { self.sender.wake() }
        }
        Ok(delivery)
    }

    fn check(&self, record: &Record) -> Result<(), Error> {
        let size = record.batched_size();
        let limit = self.max_record.min(self.buffer_bytes.saturating_sub(HEADER));
        if size > limit {
            return Err(Error::TooLarge { size, limit });
        }
        match record.timestamp {
            Some(..0) => Err(Error::Invalid("a timestamp before 1970".into())),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("buffered_bytes", &self.buffered_bytes()).finish_non_exhaustive()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.sender.stop();
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}

/// The given partition, else the key's, else the one whose batch is being filled.
fn choose(record: &Record, queue: &Queue) -> Result<usize, Error> {
    let count = queue.partitions();
    match (record.partition, &record.key) {
        (Some(p), _) => usize::try_from(p)
            .ok()
            .filter(|&p| p < count)
            .ok_or_else(|| Error::Invalid(format!("there is no partition {p}: the topic has {count}"))),
        (None, Some(key)) => Ok(partition_for(key, count as u32) as usize),
        (None, None) => Ok(queue.sticky()),
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}
