//! A watch: the snapshot of a range of keys, then every change to it, without a gap and without a repetition.
//!
//! Invariant: unread bytes are bounded by the credit given, which comes back as rows are handed out. A watch does not
//! outlive its connection: what was deleted in between could not be told from a second snapshot.

use super::{KeyRange, own_row, partition};
use crate::admin::checked;
use crate::client::Client;
use crate::error::Error;
use crate::inbox::Inbox;
use crate::link::{Link, Message, Route};
use crate::records::ConsumerRecord;
use krappy_wire::native::{self, Head, Reply, Request};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Credit below this would make the broker send tiny pieces.
const LEAST_CREDIT: u32 = 64 << 10;

/// What [`Client::watch`] follows. Everything, with the snapshot first, unless set.
///
/// ```
/// use krappy_client::{KeyRange, WatchOptions};
///
/// let users = WatchOptions { range: KeyRange::prefix("user-"), ..WatchOptions::default() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchOptions {
    /// The partition; `None`: all.
    pub partition: Option<i32>,
    /// The keys.
    pub range: KeyRange,
    /// Whether the newest records come first; otherwise only what is published from now on.
    pub snapshot: bool,
    /// Most bytes that may have arrived and not been taken. 8 MiB unless set. The broker may exceed it by one row.
    pub buffer_bytes: u32,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self { partition: None, range: KeyRange::default(), snapshot: true, buffer_bytes: 8 << 20 }
    }
}

/// What a watcher tells.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// # let mut watcher = client.watch("users", Default::default())?;
/// if let Some(krappy_client::WatchEvent::Row(record)) = watcher.poll(std::time::Duration::from_secs(1))? {
///     println!("{:?} is {:?} since offset {}", record.key, record.value, record.offset);
/// }
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// A record: of the snapshot in the order of keys in each partition, after it in the order of offsets. A null value
    /// is a deletion.
    Row(ConsumerRecord),
    /// The snapshot of a partition is complete.
    SnapshotEnd {
        /// The partition.
        partition: i32,
        /// The snapshot was true at this offset, and what follows begins with the next; -1: the log is empty.
        offset: i64,
    },
}

/// Follows a range of keys of a compacted topic.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// let mut watcher = client.watch("users", Default::default())?;
/// let first = watcher.events().next();
/// # Ok::<(), krappy_client::Error>(())
/// ```
pub struct Watcher {
    client: Client,
    topic: Arc<str>,
    link: Arc<Link>,
    head: Head,
    inbox: Arc<Inbox>,
    ready: VecDeque<WatchEvent>,
    /// Bytes of rows in `ready`, given back as credit when it is empty.
    owed: usize,
    /// When the broker last sent anything here.
    heard: Instant,
    ended: Option<Error>,
}

impl Watcher {
    pub(crate) fn open(client: Client, topic: &str, options: WatchOptions) -> Result<Self, Error> {
        checked(topic)?;
        let request = Request::Watch(native::Watch {
            topic,
            partition: partition(options.partition)?,
            from: &options.range.from,
            to: options.range.to.as_deref(),
            credit: options.buffer_bytes.max(LEAST_CREDIT),
            snapshot: options.snapshot,
        });
        let link = client.shared.link(Instant::now() + client.shared.connect_timeout())?;
        let head = Head { stream: link.stream_number(), correlation: link.correlation() };
        let inbox: Arc<Inbox> = Arc::default();
        link.route(head.correlation, Route::Many(Arc::new(inbox.ear(head.stream))));
        let watcher = Self {
            client,
            topic: topic.into(),
            link,
            head,
            inbox,
            ready: VecDeque::new(),
            owed: 0,
            heard: Instant::now(),
            ended: None,
        };
        watcher.link.send(head, &request)?;
        Ok(watcher)
    }

    /// Waits up to `timeout` for what comes next; `None` when nothing came.
    ///
    /// An error ends the watch and comes again at each later call: the broker's refusal, or the end of the connection
    /// ([`Error::is_retriable`]). Watch again then, and begin with nothing.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let mut watcher = client.watch("users", Default::default())?;
    /// let event = watcher.poll(std::time::Duration::from_millis(500))?;
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn poll(&mut self, timeout: Duration) -> Result<Option<WatchEvent>, Error> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if let Some(error) = &self.ended {
                return Err(error.clone());
            }
            // A connection that breaks here is told by the inbox.
            let _ = self.give_credit();
            let Some((_, answer)) = self.inbox.next(until) else {
                self.client.shared.make_sure(&self.link, &mut self.heard);
                return Ok(None);
            };
            self.heard = Instant::now();
            if let Err(error) = answer.and_then(|message| self.take(&message)) {
                if matches!(error, Error::Malformed(_)) {
                    self.link.end(error.clone());
                }
                self.ended = Some(error);
            }
        }
    }

    /// An endless iterator over events. It waits when there are none and ends after the first error.
    pub fn events(&mut self) -> impl Iterator<Item = Result<WatchEvent, Error>> {
        let mut ended = false;
        std::iter::from_fn(move || {
            while !ended {
                match self.poll(Duration::from_secs(1)) {
                    Ok(None) => {}
                    Ok(Some(event)) => return Some(Ok(event)),
                    Err(error) => {
                        ended = true;
                        return Some(Err(error));
                    }
                }
            }
            None
        })
    }

    fn take(&mut self, message: &Message) -> Result<(), Error> {
        match message.reply()? {
            Reply::Rows(rows) => {
                self.owed += rows.size();
                let topic = &self.topic;
                self.ready.extend(rows.iter().map(|row| WatchEvent::Row(own_row(message, topic, &row))));
            }
            Reply::SnapshotEnd { partition, offset } => {
                self.ready.push_back(WatchEvent::SnapshotEnd { partition, offset });
            }
            _ => return Err(Error::unexpected("Watch")),
        }
        Ok(())
    }

    fn give_credit(&mut self) -> Result<(), Error> {
        let bytes = u32::try_from(std::mem::take(&mut self.owed)).unwrap_or(u32::MAX);
        if bytes == 0 {
            return Ok(());
        }
        let correlation = self.link.correlation();
        self.link.send(Head { correlation, ..self.head }, &Request::Credit { bytes })
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.link.forget(self.head.correlation);
        let correlation = self.link.correlation();
        // On a broken connection the stream has ended anyway.
        let _ = self.link.send(Head { correlation, ..self.head }, &Request::CloseStream);
    }
}
