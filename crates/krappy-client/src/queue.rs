//! Queues: single records that the members of a group take, acknowledge, release or reject one by one.
//!
//! Invariant: what was taken is told once and kept nowhere here. A queue that is dropped ends its stream, so what it
//! holds is given to others at once, unless it takes by a name.

use crate::admin::checked;
use crate::client::Client;
use crate::error::Error;
use crate::keyed::own_headers;
use crate::link::{Link, Message};
use crate::records::ConsumerRecord;
use crate::slice::Slice;
use krappy_wire::error::ErrorCode;
use krappy_wire::native::{self, QueueSettle, QueueTake, Reply, Request, Settle, TakenRecord};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Settings of a queue. Made by [`Client::queue`].
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// use std::time::Duration;
///
/// let queue = client.queue("orders", "packers").lock(Duration::from_secs(60)).keyed(true).build()?;
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Debug)]
pub struct QueueBuilder {
    client: Client,
    topic: String,
    group: String,
    name: String,
    partition: i32,
    most: u32,
    max_bytes: u32,
    lock: Duration,
    keyed: bool,
}

impl QueueBuilder {
    pub(crate) fn new(client: Client, topic: String, group: String) -> Self {
        Self {
            client,
            topic,
            group,
            name: String::new(),
            partition: -1,
            most: 100,
            max_bytes: 1 << 20,
            lock: Duration::ZERO,
            keyed: false,
        }
    }

    /// Takes by this name: deliveries last for their whole lock, also when this queue is dropped or its connection
    /// breaks, and whoever takes by the same name may end them. Without a name they end with the connection.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Takes from one partition; from all of them unless set.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = partition;
        self
    }

    /// Most records of one [`Queue::take`]. 100 unless set.
    pub fn max_records(mut self, most: u32) -> Self {
        self.most = most.max(1);
        self
    }

    /// About the most bytes of one [`Queue::take`]; a first record that is larger comes whole. 1 MiB unless set.
    pub fn max_bytes(mut self, most: u32) -> Self {
        self.max_bytes = most.max(1);
        self
    }

    /// How long a taken record is kept from others. As long as the broker is configured for, unless set.
    pub fn lock(mut self, lock: Duration) -> Self {
        self.lock = lock;
        self
    }

    /// A record is given out only when all earlier ones of its key are done. That is an order only if every taker of
    /// the group asks for it.
    pub fn keyed(mut self, keyed: bool) -> Self {
        self.keyed = keyed;
        self
    }

    /// A queue that has not taken anything yet. Nothing is asked of the broker before.
    pub fn build(self) -> Result<Queue, Error> {
        checked(&self.topic)?;
        if self.group.len() > 65_535 || self.name.len() > 65_535 {
            return Err(Error::Invalid("a name of more than 65,535 bytes".into()));
        }
        Ok(Queue { topic: self.topic.as_str().into(), settings: self, on: None })
    }
}

/// Takes single records of a topic, shared with all others that take for the same group.
///
/// A delivery is at least once: a record comes again if nobody acknowledges it in time, and goes to the topic of dead
/// letters when that has happened too often. [`QueueRecord::deliveries`] says how often it was given out.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// use std::time::Duration;
///
/// let mut queue = client.queue("orders", "packers").build()?;
/// loop {
///     for taken in queue.take(Duration::from_secs(10))? {
///         match taken.record.value.as_deref() {
///             Some(order) if order.starts_with(b"order") => queue.acknowledge(&taken)?,
///             _ => queue.reject(&taken, "not an order")?,
///         }
///     }
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), krappy_client::Error>(())
/// ```
pub struct Queue {
    settings: QueueBuilder,
    topic: Arc<str>,
    /// The connection and the stream that it takes on, once it has.
    on: Option<(Arc<Link>, u32)>,
}

/// A record that was taken.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// # let mut queue = client.queue("orders", "packers").build()?;
/// for taken in queue.take(std::time::Duration::from_secs(1))? {
///     println!("{:?}, given out {} times", taken.record.value, taken.deliveries);
/// }
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRecord {
    /// The record.
    pub record: ConsumerRecord,
    /// How often it was given out, this time among them.
    pub deliveries: u32,
}

impl QueueRecord {
    /// Partition and offset, which name it for [`Queue::settle`].
    pub fn place(&self) -> (i32, i64) {
        (self.record.partition, self.record.offset)
    }
}

impl Queue {
    /// Takes records that nobody else in the group has, waiting up to `timeout` for the first. Empty when none came,
    /// also while the broker cannot be reached.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let mut queue = client.queue("orders", "packers").build()?;
    /// let taken = queue.take(std::time::Duration::from_secs(1))?;
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn take(&mut self, timeout: Duration) -> Result<Vec<QueueRecord>, Error> {
        let until = Instant::now() + timeout;
        loop {
            match self.try_take(until) {
                Err(error) if error.is_retriable() => {
                    // What was given out on that stream and never arrived is given to others.
                    self.leave();
                    let pause = self.settings.client.shared.backoff();
                    if Instant::now() + pause < until {
                        std::thread::sleep(pause);
                    } else if matches!(error, Error::Refused { .. }) {
                        return Err(error);
                    } else {
                        return Ok(Vec::new());
                    }
                }
                result => return result,
            }
        }
    }

    fn try_take(&mut self, until: Instant) -> Result<Vec<QueueRecord>, Error> {
        let (link, stream) = self.lane(until)?;
        let wait = until.saturating_duration_since(Instant::now());
        let settings = &self.settings;
        let take = Request::QueueTake(QueueTake {
            group: &settings.group,
            topic: &settings.topic,
            name: &settings.name,
            partition: settings.partition,
            most: settings.most,
            max_bytes: settings.max_bytes,
            max_wait_ms: millis(wait),
            lock_ms: millis(settings.lock),
            keyed: settings.keyed,
        });
        let limit = settings.client.shared.request_timeout().saturating_add(wait);
        let message = link.call(stream, &take, limit)?;
        let result = message.reply().and_then(|reply| match reply {
            Reply::Taken(taken) => Ok(taken.iter().map(|one| self.own(&message, &one)).collect()),
            _ => Err(Error::unexpected("QueueTake")),
        });
        give_up_if_malformed(&link, &result);
        result
    }

    /// The stream on the connection that there is; another one when it was made anew.
    fn lane(&mut self, until: Instant) -> Result<(Arc<Link>, u32), Error> {
        if let Some((link, stream)) = self.on.as_ref().filter(|(link, _)| link.usable()) {
            return Ok((Arc::clone(link), *stream));
        }
        let shared = &self.settings.client.shared;
        let link = shared.link(until.max(Instant::now() + shared.backoff()))?;
        let stream = link.stream_number();
        self.on = Some((Arc::clone(&link), stream));
        Ok((link, stream))
    }

    fn own(&self, message: &Message, taken: &TakenRecord<'_>) -> QueueRecord {
        let slice = |bytes: &[u8]| Slice::of(&message.payload, bytes);
        let record = ConsumerRecord {
            topic: Arc::clone(&self.topic),
            partition: taken.partition,
            offset: taken.offset,
            timestamp: taken.timestamp,
            key: taken.key.map(slice),
            value: taken.tail.value().map(slice),
            headers: own_headers(message, &taken.tail),
        };
        QueueRecord { record, deliveries: taken.deliveries }
    }

    /// The record is done: nobody in the group gets it again. Durable when this returns.
    ///
    /// Fails with [`ErrorCode::InvalidRecordState`] if the lock has run out meanwhile; somebody else may have it then.
    pub fn acknowledge(&mut self, taken: &QueueRecord) -> Result<(), Error> {
        self.settle_one(Settle::Acknowledge, taken)
    }

    /// Somebody shall have the record again, after `delay`.
    pub fn release(&mut self, taken: &QueueRecord, delay: Duration) -> Result<(), Error> {
        self.settle_one(Settle::Release(millis(delay)), taken)
    }

    /// The record goes to the dead letters, with this reason of at most 256 bytes. Durable when this returns.
    pub fn reject(&mut self, taken: &QueueRecord, reason: &str) -> Result<(), Error> {
        self.settle_one(Settle::Reject(reason), taken)
    }

    /// Keeps the record for another `lock` from now on; zero is as long as the broker is configured for.
    pub fn extend(&mut self, taken: &QueueRecord, lock: Duration) -> Result<(), Error> {
        self.settle_one(Settle::Extend(millis(lock)), taken)
    }

    /// Somebody else shall have the record, which was not looked at here: this delivery is not counted.
    pub fn give_back(&mut self, taken: &QueueRecord) -> Result<(), Error> {
        self.settle_one(Settle::Return, taken)
    }

    fn settle_one(&mut self, how: Settle<'_>, taken: &QueueRecord) -> Result<(), Error> {
        let (partition, offset) = taken.place();
        match self.settle(how, &[(partition, offset)])?[..] {
            [Ok(())] => Ok(()),
            [Err(code)] => Err(Error::Refused {
                number: code.number(),
                message: format!("{}/{partition}@{offset} is not held any more", self.topic),
                hint: "take with a longer lock, or extend it in time".into(),
            }),
            _ => Err(Error::unexpected("QueueSettle")),
        }
    }

    /// Ends the deliveries of several records in the same way, by partition and offset: a result for each. One call for
    /// many costs the broker one write.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let mut queue = client.queue("orders", "packers").build()?;
    /// let taken = queue.take(std::time::Duration::from_secs(1))?;
    /// let places: Vec<_> = taken.iter().map(|one| one.place()).collect();
    /// queue.settle(krappy_client::Settle::Acknowledge, &places)?;
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn settle(
        &mut self,
        how: Settle<'_>,
        places: &[(i32, i64)],
    ) -> Result<Vec<Result<(), ErrorCode>>, Error> {
        let shared = Arc::clone(&self.settings.client.shared);
        let limit = shared.request_timeout();
        let (link, stream) = self.lane(Instant::now() + shared.connect_timeout())?;
        let settle = Request::QueueSettle(QueueSettle {
            group: &self.settings.group,
            topic: &self.settings.topic,
            name: &self.settings.name,
            how,
            records: places.to_vec(),
        });
        let message = link.call(stream, &settle, limit)?;
        let result = message.reply().and_then(|reply| match reply {
            Reply::Settled { results } if results.len() == places.len() => {
                Ok(results.iter().map(|&number| of(number)).collect())
            }
            _ => Err(Error::unexpected("QueueSettle")),
        });
        give_up_if_malformed(&link, &result);
        result
    }

    /// Ends the stream, if there is one.
    fn leave(&mut self) {
        if let Some((link, stream)) = self.on.take() {
            let head = native::Head { stream, correlation: link.correlation() };
            // On a broken connection the stream has ended anyway.
            let _ = link.send(head, &Request::CloseStream);
        }
    }
}

fn give_up_if_malformed<T>(link: &Link, result: &Result<T, Error>) {
    if let Err(error @ Error::Malformed(_)) = result {
        link.end(error.clone());
    }
}

fn of(number: i16) -> Result<(), ErrorCode> {
    match ErrorCode::from_number(number).unwrap_or(ErrorCode::Unknown) {
        ErrorCode::None => Ok(()),
        code => Err(code),
    }
}

/// Whole milliseconds, at least one unless there is none at all.
fn millis(time: Duration) -> u32 {
    let ms = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    if time.is_zero() { 0 } else { ms.max(1) }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Queue").field(&self.settings).finish()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.leave();
    }
}

/// How a queue stands in one partition.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// for part in client.admin().describe_queue("orders", "packers")? {
///     println!("partition {}: {} to do, {} held, {} dead", part.partition, part.lag, part.held, part.dead);
/// }
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueuePartition {
    /// The partition.
    pub partition: i32,
    /// The first record that is not done.
    pub start: i64,
    /// The first record that was never given to anybody.
    pub next: i64,
    /// End of what readers may see.
    pub high_watermark: i64,
    /// Records that takers hold.
    pub held: u32,
    /// Records that were open before and may be taken again.
    pub available: u32,
    /// Records that may be taken again later.
    pub delayed: u32,
    /// Records on their way to the dead letters.
    pub dying: u32,
    /// Offsets that are done while an earlier record is not.
    pub done_above_start: u64,
    /// Records that went to the dead letters, ever.
    pub dead: u64,
    /// Records that retention, compaction or damage took before they were done, ever.
    pub lost: u64,
    /// Records that are not done, as far as offsets tell.
    pub lag: u64,
    /// Whose delivery has gone on for longest; empty: nobody's.
    pub oldest_holder: String,
    /// For how long.
    pub oldest: Duration,
}

impl QueuePartition {
    fn from_wire(part: &native::QueuePart<'_>) -> Self {
        Self {
            partition: part.partition,
            start: part.start,
            next: part.next,
            high_watermark: part.high_watermark,
            held: part.held,
            available: part.available,
            delayed: part.delayed,
            dying: part.dying,
            done_above_start: part.done_above_start,
            dead: part.dead,
            lost: part.lost,
            lag: part.lag,
            oldest_holder: part.oldest_holder.to_owned(),
            oldest: Duration::from_millis(part.oldest_ms),
        }
    }
}

pub(crate) fn describe(client: &Client, topic: &str, group: &str) -> Result<Vec<QueuePartition>, Error> {
    checked(topic)?;
    client.call(&Request::QueueDescribe { group, topic }, |reply| match reply {
        Reply::QueueIs { parts } => Ok(parts.iter().map(QueuePartition::from_wire).collect()),
        _ => Err(Error::unexpected("QueueDescribe")),
    })
}

pub(crate) fn redrive(client: &Client, topic: &str, group: &str, most: u32) -> Result<u32, Error> {
    checked(topic)?;
    client.call(&Request::QueueRedrive { group, topic, most }, |reply| match reply {
        Reply::Redriven { moved } => Ok(moved),
        _ => Err(Error::unexpected("QueueRedrive")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_there_is_never_none() {
        assert_eq!(millis(Duration::ZERO), 0);
        assert_eq!(millis(Duration::from_micros(1)), 1);
        assert_eq!(millis(Duration::from_millis(1_500)), 1_500);
        assert_eq!(millis(Duration::MAX), u32::MAX);
    }
}
