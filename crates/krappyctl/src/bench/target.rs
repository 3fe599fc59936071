//! What every workload needs: a topic that is made and deleted, registered connections, requests to send.

use super::args::Target;
use super::driver::{Conn, Template, ask, broken};
use super::sys::{Pinned, warm};
use crate::args::{Acks, Global};
use crate::failure::{Failure, REFUSED};
use krappy_client::{Admin, Client};
use krappy_wire::batch::Builder;
use krappy_wire::codec::Writer;
use krappy_wire::frame;
use krappy_wire::native::{Body, Head, Level, PlainWriter, Reply, Request, code};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

/// The stream that every connection of a workload registers.
pub const STREAM: u32 = 1;

/// A topic to work on, deleted when this is dropped unless it was there before or is to be kept.
pub struct Workplace {
    pub topic: String,
    partitions: i32,
    address: String,
    admin: Admin,
    delete: bool,
    _pinned: Option<Pinned>,
}

impl Workplace {
    pub fn prepare(global: &Global, target: &Target) -> Result<Self, Failure> {
        warm(target.warm);
        let client = Client::builder().connect_timeout(global.timeout).connect(global.broker.clone())?;
        let admin = client.admin();
        let (topic, partitions, delete) = match &target.topic {
            Some(topic) => (topic.clone(), admin.describe_topic(topic)?.partitions.len() as i32, false),
            None => {
                let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
                let topic = format!("bench-{}-{nanos}", std::process::id());
                let settings: Vec<(&str, &str)> =
                    target.config.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                admin.create_topic(&topic, Some(target.partitions), &settings)?;
                (topic, target.partitions, !target.keep)
            }
        };
        let address = global.broker.clone();
        // From here on dropping it deletes the topic, also when pinning fails.
        let mut place = Self { topic, partitions, address, admin, delete, _pinned: None };
        if target.pin.is_some() {
            place._pinned = Some(Pinned::to_one_cpu(target.broker_pid).map_err(|e| cannot("pin", &e))?);
        }
        Ok(place)
    }

    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    pub fn partitions(&self) -> i32 {
        self.partitions
    }

    pub fn connect(&self) -> Result<TcpStream, Failure> {
        let stream = TcpStream::connect(&self.address).map_err(|e| broken(&e))?;
        stream.set_nodelay(true).map_err(|e| broken(&e))?;
        Ok(stream)
    }

    /// A connection whose stream is a producer of the topic.
    pub fn producer(&self) -> Result<Conn, Failure> {
        let mut stream = self.connect()?;
        let register = Request::RegisterProducer { topic: &self.topic, idempotent: false };
        ask(&mut stream, Head { stream: STREAM, correlation: 0 }, &register)?;
        Conn::new(stream).map_err(|e| broken(&e))
    }

    /// As many of them, spread over the partitions.
    pub fn producers(&self, count: usize) -> Result<Vec<Conn>, Failure> {
        (0..count).map(|i| Ok(self.producer()?.publishing_to(i as i32 % self.partitions))).collect()
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if self.delete {
            // The run has its result already; a topic left behind is told by `topic list`.
            let _ = self.admin.delete_topic(&self.topic);
        }
    }
}

pub fn cannot(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(REFUSED, format!("cannot {what}: {error}"))
}

pub fn level(acks: Acks) -> Level {
    match acks {
        Acks::None => Level::None,
        Acks::Memory => Level::Appended,
        Acks::Disk => Level::Durable,
    }
}

/// What an ack of this level says.
pub fn meaning(acks: Acks) -> &'static str {
    match acks {
        Acks::None => "no acks: sent is not stored",
        Acks::Memory => "an ack says: in the segment file, in the system's memory",
        Acks::Disk => "an ack says: on disk, an fdatasync after it has returned",
    }
}

/// A value of this size. Not all the same byte, so that nothing on the way finds it easy.
fn value(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i as u32).wrapping_mul(0x9e37_79b9).to_be_bytes()[0]).collect()
}

/// One record without a batch around it. Returns the request.
pub fn plain(acks: Acks, size: usize) -> Template {
    let mut writer = PlainWriter::default();
    writer.push(-1, None, Some(&value(size)), &[]);
    let request = Request::Publish { acks: level(acks), partition: 0, body: Body::Plain(writer.records()) };
    let mut frame = Vec::new();
    request.encode(Head { stream: STREAM, correlation: 0 }, &mut frame);
    Template::with_body(frame, if size >= 8 << 10 { size } else { 0 })
}

/// A prepared batch of up to `batch_bytes`, at least one record. Returns the request and how many records it holds.
pub fn prepared(acks: Acks, size: usize, batch_bytes: usize) -> (Template, u64) {
    let value = value(size);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    let mut batch = Vec::new();
    let mut builder = Builder::open(&mut batch, now);
    // 21 bytes bound what lengths and deltas add to a record.
    while builder.count() == 0 || batch.len() + size + 21 <= batch_bytes {
        builder.push(&mut batch, now, None, Some(&value), std::iter::empty());
    }
    let count = builder.count() as u64;
    builder.close(&mut batch, 0, -1, None);
    let mut bytes = Vec::new();
    let start = frame::begin(&mut bytes, code::PUBLISH);
    bytes.put_u32(STREAM);
    bytes.put_u32(0);
    bytes.put_u8(level(acks).number());
    bytes.put_i32(0);
    bytes.put_u8(1);
    bytes.extend_from_slice(&batch);
    frame::finish(&mut bytes, start, 0);
    (Template::with_body(bytes, batch.len()), count)
}

/// Waits until the broker has read everything that was sent on this connection before.
pub fn settle(conn: Conn) -> Result<(), Failure> {
    ping(&mut conn.into_stream().map_err(|e| broken(&e))?)
}

/// Waits for the answer to a Ping on a connection that expects no other.
pub fn ping(stream: &mut TcpStream) -> Result<(), Failure> {
    let (code, payload) = ask(stream, Head { stream: 0, correlation: 0 }, &Request::Ping)?;
    match Head::read(&payload).and_then(|(_, body)| Reply::decode(code, body)) {
        Ok(Some(Reply::Pong)) => Ok(()),
        _ => Err(Failure::new(REFUSED, "the broker answers Ping with something else")),
    }
}
