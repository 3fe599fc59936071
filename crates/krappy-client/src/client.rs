//! The shared handle: finds the current connection, or makes a new one with bounded backoff.
//!
//! Invariant: at most one thread is connecting at a time; the others wait for what it finds.

use crate::admin::Admin;
use crate::consumer::ConsumerBuilder;
use crate::error::Error;
use crate::keyed::{self, GetOptions, Got, Scan, ScanOptions, WatchOptions, Watcher};
use crate::link::{BrokerInfo, Link, Message};
use crate::producer::ProducerBuilder;
use crate::queue::QueueBuilder;
use krappy_wire::native::{Reply, Request};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How a client connects. Made by [`Client::builder`].
///
/// ```no_run
/// use krappy_client::Client;
/// use std::time::Duration;
///
/// let client = Client::builder()
///     .name("billing")
///     .connect_timeout(Duration::from_secs(1))
///     .connect("127.0.0.1:9092")?;
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    name: String,
    connect_timeout: Duration,
    request_timeout: Duration,
    backoff: Duration,
    max_backoff: Duration,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            name: concat!("krappy-client/", env!("CARGO_PKG_VERSION")).into(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(2),
        }
    }
}

impl ClientBuilder {
    /// Who this is, for the broker's logs.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How long one attempt to connect, greeting included, may take. 5 s unless set.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long the broker may take to answer before the connection counts as broken. 30 s unless set.
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.request_timeout = limit;
        self
    }

    /// First and longest pause between attempts to reconnect; each pause is twice the one before. 50 ms and 2 s unless
    /// set.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = first;
        self.max_backoff = longest.max(first);
        self
    }

    /// Connects, once: a broker that is not there is an error at once. Later breaks are mended by reconnecting.
    pub fn connect(self, address: impl Into<String>) -> Result<Client, Error> {
        let shared = Shared {
            settings: self,
            address: address.into(),
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        let (link, info) = shared.attempt()?;
        let mut state = shared.state();
        state.link = Some(link);
        state.info = Some(info);
        drop(state);
        Ok(Client { shared: Arc::new(shared) })
    }
}

/// A connection to a broker, shared by any number of producers and consumers in any number of threads.
///
/// ```no_run
/// use krappy_client::{Client, Record};
///
/// let client = Client::connect("127.0.0.1:9092")?;
/// let producer = client.producer("orders").build()?;
/// let delivered = producer.send(Record::new("hello"))?.wait()?;
/// println!("stored at offset {}", delivered.offset);
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    settings: ClientBuilder,
    address: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    info: Option<BrokerInfo>,
    connecting: bool,
    closed: bool,
}

impl Client {
    /// Connects with the defaults of [`ClientBuilder`].
    pub fn connect(address: impl Into<String>) -> Result<Client, Error> {
        Self::builder().connect(address)
    }

    /// Settings first, then [`ClientBuilder::connect`].
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A producer of one topic.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// let producer = client.producer("orders").acks(krappy_client::Level::Appended).build()?;
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn producer(&self, topic: impl Into<String>) -> ProducerBuilder {
        ProducerBuilder::new(self.clone(), topic.into())
    }

    /// A consumer of one topic.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// let consumer = client.consumer("orders").start(krappy_client::Start::Earliest).build()?;
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn consumer(&self, topic: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone(), topic.into())
    }

    /// A queue: takes single records of a topic, shared with everybody who takes for the same group.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// let mut queue = client.queue("orders", "packers").build()?;
    /// for taken in queue.take(std::time::Duration::from_secs(1))? {
    ///     queue.acknowledge(&taken)?;
    /// }
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn queue(&self, topic: impl Into<String>, group: impl Into<String>) -> QueueBuilder {
        QueueBuilder::new(self.clone(), topic.into(), group.into())
    }

    /// Topics and the broker's state.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// for topic in client.admin().list_topics()? {
    ///     println!("{}", topic.name);
    /// }
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// The newest records of keys of a compacted topic, in the order of the keys.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// use krappy_client::GetOptions;
    ///
    /// let got = client.get("users", &["user-7"], &GetOptions::default())?;
    /// println!("{:?}, true at offset {}", got.keys[0].value(), got.keys[0].true_at);
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn get(&self, topic: &str, keys: &[impl AsRef<[u8]>], options: &GetOptions) -> Result<Got, Error> {
        keyed::get(self, topic, keys, options)
    }

    /// The newest records of a range of keys of a compacted topic, in the order of the keys. Deleted keys are left out.
    /// Nothing is asked for before the first record is taken.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// use krappy_client::{KeyRange, ScanOptions};
    ///
    /// let users = ScanOptions { range: KeyRange::prefix("user-"), ..ScanOptions::default() };
    /// for record in client.scan("users", users)? {
    ///     println!("{:?}", record?.key);
    /// }
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn scan(&self, topic: &str, options: ScanOptions) -> Result<Scan, Error> {
        Scan::new(self.clone(), topic, options)
    }

    /// The newest records of a range of keys of a compacted topic, and then every change to them.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// use krappy_client::{WatchEvent, WatchOptions};
    ///
    /// for event in client.watch("users", WatchOptions::default())?.events() {
    ///     match event? {
    ///         WatchEvent::Row(record) => println!("{:?} is {:?}", record.key, record.value),
    ///         WatchEvent::SnapshotEnd { partition, offset } => println!("{partition} was read at {offset}"),
    ///     }
    /// }
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn watch(&self, topic: &str, options: WatchOptions) -> Result<Watcher, Error> {
        Watcher::open(self.clone(), topic, options)
    }

    /// What the broker said about itself when it was last connected to.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// println!("krappy {}", client.broker().software);
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn broker(&self) -> BrokerInfo {
        self.shared.state().info.clone().expect("set before a client exists")
    }

    /// Ends the connection for every producer and consumer on it. What was not delivered fails with [`Error::Closed`];
    /// flush producers first.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// client.close();
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn close(&self) {
        self.shared.close();
    }

    /// Sends a request on the connection's own stream and decodes the answer.
    pub(crate) fn call<T>(
        &self,
        request: &Request<'_>,
        decode: impl FnOnce(Reply<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.call_patiently(request, Duration::ZERO, |_, reply| decode(reply))
    }

    /// The same for a request that the broker may hold back for up to `patience`, decoded with the frame at hand.
    pub(crate) fn call_patiently<T>(
        &self,
        request: &Request<'_>,
        patience: Duration,
        decode: impl FnOnce(&Message, Reply<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let link = self.shared.link(Instant::now() + self.shared.settings.connect_timeout)?;
        let limit = self.shared.settings.request_timeout.saturating_add(patience);
        let message = link.call(0, request, limit)?;
        let result = message.reply().and_then(|reply| decode(&message, reply));
        if let Err(error @ Error::Malformed(_)) = &result {
            link.end(error.clone());
        }
        result
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn request_timeout(&self) -> Duration {
        self.settings.request_timeout
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.settings.connect_timeout
    }

    pub(crate) fn backoff(&self) -> Duration {
        self.settings.backoff
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Asks for a sign of life when none came for long: a broker whose machine has vanished says nothing either.
    pub(crate) fn make_sure(&self, link: &Link, heard: &mut Instant) {
        let limit = self.request_timeout();
        if heard.elapsed() < limit {
            return;
        }
        *heard = Instant::now();
        if link.call(0, &Request::Ping, limit).is_err() {
            link.end(Error::Disconnected("the broker gives no sign of life".into()));
        }
    }

    /// A connection that takes requests, made anew when there is none, with backoff until `deadline`.
    pub(crate) fn link(&self, deadline: Instant) -> Result<Arc<Link>, Error> {
        let mut pause = self.settings.backoff;
        loop {
            if let Some(link) = self.current_or_turn(deadline)? {
                return Ok(link);
            }
            // It is this thread's turn to connect.
            let attempt = self.attempt();
            let mut state = self.state();
            state.connecting = false;
            self.changed.notify_all();
            match attempt {
                Ok((link, info)) => {
                    if state.closed {
                        link.end(Error::Closed);
                        return Err(Error::Closed);
                    }
                    state.info = Some(info);
                    state.link = Some(Arc::clone(&link));
                    return Ok(link);
                }
                Err(error) if Instant::now() + pause > deadline || !error.is_retriable() => {
                    return Err(error);
                }
                Err(_) => {
                    // Woken early by a close, or by another thread that has connected.
                    drop(self.changed.wait_timeout(state, pause).expect("state bookkeeping does not panic"));
                    pause = (pause * 2).min(self.settings.max_backoff);
                }
            }
        }
    }

    /// The connection if there is one; `None` when this thread is to make it.
    fn current_or_turn(&self, deadline: Instant) -> Result<Option<Arc<Link>>, Error> {
        let mut state = self.state();
        loop {
            if state.closed {
                return Err(Error::Closed);
            }
            if let Some(link) = state.link.as_ref().filter(|l| l.usable()) {
                return Ok(Some(Arc::clone(link)));
            }
            if !state.connecting {
                state.connecting = true;
                return Ok(None);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::TimedOut("no connection to the broker"));
            }
            state = self.changed.wait_timeout(state, left).expect("state bookkeeping does not panic").0;
        }
    }

    fn attempt(&self) -> Result<(Arc<Link>, BrokerInfo), Error> {
        let failed = |e: std::io::Error| Error::Connect {
            address: self.address.clone(),
            kind: e.kind(),
            reason: plain_reason(&e),
        };
        let addresses: Vec<SocketAddr> = self.address.to_socket_addrs().map_err(failed)?.collect();
        let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, self.settings.connect_timeout) {
                Ok(stream) => {
                    let (link, info) = Link::open(
                        stream,
                        &self.address,
                        &self.settings.name,
                        self.settings.connect_timeout,
                    )?;
                    link.set_write_timeout(self.settings.request_timeout);
                    return Ok((link, info));
                }
                Err(e) => last = e,
            }
        }
        Err(failed(last))
    }

    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        if let Some(link) = state.link.take() {
            link.end(Error::Closed);
        }
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("state bookkeeping does not panic")
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

/// "connection refused" rather than "Connection refused (os error 111)".
fn plain_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_shown_without_its_number() {
        let refused = std::io::Error::from_raw_os_error(111);
        assert_eq!(plain_reason(&refused), "connection refused");
        let own = std::io::Error::other("No such thing");
        assert_eq!(plain_reason(&own), "no such thing");
    }
}
