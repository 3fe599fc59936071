//! A scripted broker: each connection is given to a closure that reads requests and writes what it likes.
#![allow(dead_code)]

use krappy_client::{Client, ErrorCode};
use krappy_wire::batch::Builder;
use krappy_wire::frame::{self, Split};
use krappy_wire::native::{Body, Head, PublishedPart, RecordsPart, Reply, Request, RowsWriter};
use krappy_wire::tail::put_tail;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// One accepted connection.
pub struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
    whole: usize,
}

/// Listens on a free port and runs one script for each connection, in order. Then it listens no more.
pub struct Fake {
    pub address: String,
    thread: Option<JoinHandle<()>>,
}

pub type Script = Box<dyn FnOnce(&mut Peer) + Send>;

pub fn script(body: impl FnOnce(&mut Peer) + Send + 'static) -> Script {
    Box::new(body)
}

impl Fake {
    pub fn new(scripts: Vec<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let thread = std::thread::spawn(move || {
            for script in scripts {
                let (stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let mut peer = Peer { stream, input: Vec::new(), whole: 0 };
                peer.hello();
                script(&mut peer);
            }
        });
        Self { address, thread: Some(thread) }
    }

    pub fn client(&self) -> Client {
        let soon = Duration::from_millis(5);
        Client::builder().backoff(soon, soon * 4).connect(self.address.clone()).unwrap()
    }

    /// Waits for the scripts to end and passes their panics on.
    pub fn join(mut self) {
        if let Err(panic) = self.thread.take().unwrap().join() {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Peer {
    /// The next request; panics at the end of the connection.
    pub fn request<T>(&mut self, read: impl FnOnce(Head, Request<'_>) -> T) -> T {
        self.try_request(read).expect("the client sends another request")
    }

    /// The next request, or `None` at the end of the connection.
    pub fn try_request<T>(&mut self, read: impl FnOnce(Head, Request<'_>) -> T) -> Option<T> {
        self.input.drain(..self.whole);
        self.whole = 0;
        loop {
            if let Split::Whole { code, payload, consumed } = frame::split(&self.input, 1 << 26).unwrap() {
                let (head, body) = Head::read(payload).unwrap();
                let request = Request::decode(code, body).unwrap().unwrap();
                self.whole = consumed;
                return Some(read(head, request));
            }
            let mut more = [0; 65536];
            match self.stream.read(&mut more) {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.input.extend_from_slice(&more[..n]),
            }
        }
    }

    pub fn reply(&mut self, head: Head, reply: &Reply<'_>) {
        let mut out = Vec::new();
        reply.encode(head, &mut out);
        self.raw(&out);
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        // The client may have closed; what it makes of that is the test's business.
        let _ = self.stream.write_all(bytes);
    }

    pub fn refuse(&mut self, head: Head, code: ErrorCode) {
        self.reply(head, &Reply::error(code, "scripted", "none"));
    }

    fn hello(&mut self) {
        let head = self.request(|head, request| {
            assert!(matches!(request, Request::Hello { version: 1, .. }));
            head
        });
        let ok = Reply::HelloOk {
            version: 1,
            software: "fake",
            cluster_id: "c",
            max_frame: 1 << 24,
            max_in_flight: 1024,
            max_streams: 100,
        };
        self.reply(head, &ok);
    }

    /// Answers a RegisterProducer and returns whether an id was asked for.
    pub fn register_producer(&mut self, partitions: u32, id: i64) -> bool {
        let (head, idempotent) = self.request(|head, request| match request {
            Request::RegisterProducer { idempotent, .. } => (head, idempotent),
            other => panic!("not a registration: {other:?}"),
        });
        let id = if idempotent { id } else { -1 };
        let reply = Reply::ProducerRegistered {
            partitions,
            producer_id: id,
            producer_epoch: if idempotent { 0 } else { -1 },
            max_message_bytes: 1 << 20,
        };
        self.reply(head, &reply);
        idempotent
    }

    /// The next publish: head, partition and batch.
    pub fn publish(&mut self) -> (Head, i32, Vec<u8>) {
        self.request(|head, request| match request {
            Request::Publish { partition, body: Body::Batch(batch), .. } => (head, partition, batch.to_vec()),
            other => panic!("not a publish of a batch: {other:?}"),
        })
    }

    pub fn published(&mut self, head: Head, partition: i32, base_offset: i64, count: u32) {
        let parts = vec![PublishedPart { partition, base_offset, count }];
        self.reply(head, &Reply::Published { level: krappy_client::Level::Durable, parts });
    }

    /// Answers a RegisterConsumer with these positions and the Subscribe after it; returns where it asked to begin and
    /// the subscription's head.
    pub fn register_consumer(&mut self, positions: &[(i32, i64)]) -> (i32, krappy_client::Start, Head) {
        let (head, partition, start) = self.request(|head, request| match request {
            Request::RegisterConsumer { partition, start, .. } => (head, partition, start),
            other => panic!("not a registration: {other:?}"),
        });
        self.reply(head, &Reply::ConsumerRegistered { member: "", positions: positions.to_vec() });
        let head = self.request(|head, request| match request {
            Request::Subscribe { credit } if credit > 0 => head,
            other => panic!("not a subscription: {other:?}"),
        });
        (partition, start, head)
    }

    /// Takes a Watch and returns its head.
    pub fn watch(&mut self) -> Head {
        self.request(|head, request| match request {
            Request::Watch(watch) if watch.credit > 0 && head.stream > 0 => head,
            other => panic!("not a watch: {other:?}"),
        })
    }

    /// Sends records of one partition on a subscription.
    pub fn records(&mut self, head: Head, partition: i32, position: i64, batches: &[u8], next: i64) {
        let part =
            RecordsPart { partition, error: 0, position, next, high_watermark: next, log_start: 0, batches };
        self.reply(head, &Reply::Records { parts: vec![part] });
    }

    /// Says on a subscription that records of one partition are gone, from its position to the log start offset.
    pub fn out_of_range(&mut self, head: Head, partition: i32, position: i64, log_start: i64) {
        let error = ErrorCode::OffsetOutOfRange.number();
        let high_watermark = log_start + 10;
        let part = RecordsPart {
            partition,
            error,
            position,
            next: position,
            high_watermark,
            log_start,
            batches: &[],
        };
        self.reply(head, &Reply::Records { parts: vec![part] });
    }
}

/// A batch of records with these values.
pub fn batch(base_offset: i64, values: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut builder = Builder::open(&mut out, 1000);
    for value in values {
        builder.push(&mut out, 1000, None, Some(value.as_bytes()), std::iter::empty());
    }
    builder.close(&mut out, base_offset, 0, None);
    out
}

/// Rows of partition 0 with these offsets, keys and values.
pub fn rows(rows: &[(i64, &str, Option<&str>)]) -> RowsWriter {
    let mut writer = RowsWriter::default();
    for (offset, key, value) in rows {
        let mut tail = Vec::new();
        put_tail(&mut tail, value.map(str::as_bytes), [(&b"h"[..], None)].into_iter());
        writer.push(0, *offset, 1000, key.as_bytes(), &tail);
    }
    writer
}

/// The values in a batch.
pub fn values(batch: &[u8]) -> Vec<String> {
    krappy_wire::batch::check(batch).unwrap();
    krappy_wire::batch::Records::new(batch)
        .unwrap()
        .map(|r| String::from_utf8(r.unwrap().value.unwrap().to_vec()).unwrap())
        .collect()
}
