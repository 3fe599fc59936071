//! A raw client of the native protocol: it sends what it is told, right or wrong, and shows what comes back.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use krappy_wire::batch::{self, Builder, ProducerSequence};
use krappy_wire::error::ErrorCode;
use krappy_wire::frame::{self, Split};
use krappy_wire::native::{Body, Head, Level, PlainWriter, Reply, Request, Start};

use super::PATIENCE;

/// One connection.
pub struct Client {
    /// Its socket.
    pub stream: TcpStream,
    input: Vec<u8>,
    start: usize,
    correlation: u32,
    /// Replies that came while another one was waited for.
    passed: VecDeque<Answer>,
}

/// A reply frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its code.
    pub code: u16,
    /// Its stream and correlation.
    pub head: Head,
    /// What follows them.
    pub body: Vec<u8>,
}

impl Answer {
    /// The reply; it must be well formed.
    pub fn reply(&self) -> Reply<'_> {
        Reply::decode(self.code, &self.body).expect("well formed").expect("a code that exists")
    }

    /// The error code, if it is an error.
    pub fn error(&self) -> Option<ErrorCode> {
        match self.reply() {
            Reply::Error { code, .. } => Some(ErrorCode::from_number(code).expect("a known error")),
            _ => None,
        }
    }

    /// Offset of the first record of a publish to one partition.
    pub fn published(&self) -> i64 {
        match self.reply() {
            Reply::Published { parts, .. } if parts.len() == 1 => parts[0].base_offset,
            other => panic!("not published: {other:?}"),
        }
    }

    /// Offset and value of every record.
    pub fn records(&self) -> Vec<(i64, Vec<u8>)> {
        let Reply::Records { parts } = self.reply() else { panic!("no records: {:?}", self.reply()) };
        let mut records = Vec::new();
        for part in parts {
            assert_eq!(part.error, 0, "partition {} could not be read", part.partition);
            let mut rest = part.batches;
            while !rest.is_empty() {
                let (header, bytes) = batch::first(rest).expect("a whole batch with a good checksum");
                for record in batch::Records::new(bytes).expect("not compressed") {
                    let record = record.expect("a good record");
                    if record.offset >= part.position {
                        records.push((record.offset, record.value.unwrap_or_default().to_vec()));
                    }
                }
                rest = &rest[header.size()..];
            }
        }
        records
    }
}

/// What a read came to.
#[derive(Debug)]
pub enum Got {
    /// A frame.
    Answer(Answer),
    /// The broker has closed the connection.
    Closed,
}

impl Client {
    /// Connects.
    pub fn connect(addr: SocketAddr) -> Self {
        Self::try_connect(addr).expect("the broker accepts connections")
    }

    /// Connects, or says why not.
    pub fn try_connect(addr: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: Vec::new(), start: 0, correlation: 0, passed: VecDeque::new() })
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker takes bytes");
    }

    /// The next correlation.
    pub fn next(&mut self) -> u32 {
        self.correlation += 1;
        self.correlation
    }

    /// Sends a request; its correlation.
    pub fn send(&mut self, stream: u32, request: &Request<'_>) -> u32 {
        let correlation = self.next();
        let bytes = encode(stream, correlation, request);
        self.send_raw(&bytes);
        correlation
    }

    /// Sends a request and waits for its reply.
    pub fn call(&mut self, stream: u32, request: &Request<'_>) -> Answer {
        let correlation = self.send(stream, request);
        self.answer_to(correlation)
    }

    /// The same; nothing if the connection ends first, as it does when the broker is killed.
    pub fn try_call(&mut self, stream: u32, request: &Request<'_>) -> Option<Answer> {
        let correlation = self.next();
        if !self.try_send(&encode(stream, correlation, request)) {
            return None;
        }
        loop {
            match self.read() {
                Got::Answer(answer) if answer.head.correlation == correlation => return Some(answer),
                Got::Answer(answer) => self.passed.push_back(answer),
                Got::Closed => return None,
            }
        }
    }

    /// Sends bytes as they are; whether the connection took them.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Waits for the reply to one request; others are kept for [`Client::answer`].
    pub fn answer_to(&mut self, correlation: u32) -> Answer {
        if let Some(i) = self.passed.iter().position(|a| a.head.correlation == correlation) {
            return self.passed.remove(i).expect("just found");
        }
        loop {
            let answer = self.read_answer();
            if answer.head.correlation == correlation {
                return answer;
            }
            self.passed.push_back(answer);
        }
    }

    /// A reply to one request that came while another one was waited for.
    pub fn passed_answer(&mut self, correlation: u32) -> Option<Answer> {
        let i = self.passed.iter().position(|a| a.head.correlation == correlation)?;
        self.passed.remove(i)
    }

    /// The next reply, whatever it answers.
    pub fn answer(&mut self) -> Answer {
        self.passed.pop_front().unwrap_or_else(|| self.read_answer())
    }

    fn read_answer(&mut self) -> Answer {
        match self.read() {
            Got::Answer(answer) => answer,
            Got::Closed => panic!("the broker closed the connection instead of answering"),
        }
    }

    /// The next frame or the end.
    pub fn read(&mut self) -> Got {
        loop {
            let split =
                frame::split(&self.input[self.start..], u32::MAX).expect("the broker keeps the framing");
            if let Split::Whole { code, payload, consumed } = split {
                let (head, body) = Head::read(payload).expect("a frame has a head");
                let answer = Answer { code, head, body: body.to_vec() };
                self.start += consumed;
                return Got::Answer(answer);
            }
            self.input.drain(..self.start);
            self.start = 0;
            let mut bytes = [0; 64 << 10];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Got::Closed,
                Ok(n) => self.input.extend_from_slice(&bytes[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return Got::Closed;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => panic!("no answer and no end: {e}"),
            }
        }
    }

    /// Reads to the end; the frames before it.
    pub fn read_to_end(&mut self) -> Vec<Answer> {
        let mut answers: Vec<Answer> = self.passed.drain(..).collect();
        while let Got::Answer(answer) = self.read() {
            answers.push(answer);
        }
        answers
    }

    /// Says that nothing more will be sent.
    pub fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).expect("an open connection");
    }

    /// Asks for a sign of life.
    pub fn ping(&mut self) {
        assert_eq!(self.call(0, &Request::Ping).reply(), Reply::Pong);
    }

    /// Counters and gauges.
    pub fn status(&mut self) -> HashMap<String, i64> {
        let answer = self.call(0, &Request::Status);
        let Reply::StatusIs { values } = answer.reply() else { panic!("no status: {:?}", answer.reply()) };
        values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// One of them.
    pub fn count(&mut self, name: &str) -> i64 {
        self.status()[name]
    }

    /// Creates a topic.
    pub fn create_topic(&mut self, topic: &str, partitions: i32, settings: Vec<(&str, &str)>) {
        let answer = self.call(0, &Request::CreateTopic { topic, partitions, settings });
        assert!(matches!(answer.reply(), Reply::Topic(_)), "{:?}", answer.reply());
    }

    /// Registers a producer; its producer id and epoch.
    pub fn produce_to(&mut self, stream: u32, topic: &str, idempotent: bool) -> (i64, i16) {
        let answer = self.call(stream, &Request::RegisterProducer { topic, idempotent });
        match answer.reply() {
            Reply::ProducerRegistered { producer_id, producer_epoch, .. } => (producer_id, producer_epoch),
            other => panic!("not registered: {other:?}"),
        }
    }

    /// Registers a consumer of all partitions.
    pub fn consume_from(&mut self, stream: u32, topic: &str, start: Start) {
        let answer = self.call(stream, &Request::RegisterConsumer { topic, group: "", partition: -1, start });
        assert!(matches!(answer.reply(), Reply::ConsumerRegistered { .. }), "{:?}", answer.reply());
    }

    /// Publishes one record and waits until it is durable; its offset.
    pub fn publish(&mut self, stream: u32, value: &[u8]) -> i64 {
        let correlation = self.send_plain(stream, Level::Durable, value);
        self.answer_to(correlation).published()
    }

    /// Sends one record to partition 0.
    pub fn send_plain(&mut self, stream: u32, acks: Level, value: &[u8]) -> u32 {
        let correlation = self.next();
        let bytes = plain(stream, correlation, acks, 0, value);
        self.send_raw(&bytes);
        correlation
    }

    /// Polls once.
    pub fn poll(&mut self, stream: u32, max_wait_ms: u32) -> Vec<(i64, Vec<u8>)> {
        self.call(stream, &poll(max_wait_ms)).records()
    }

    /// Everything that a topic of one partition holds.
    pub fn read_all(&mut self, stream: u32, topic: &str) -> Vec<(i64, Vec<u8>)> {
        self.consume_from(stream, topic, Start::Earliest);
        let mut all = Vec::new();
        loop {
            let records = self.poll(stream, 0);
            if records.is_empty() {
                self.call(stream, &Request::CloseStream);
                return all;
            }
            all.extend(records);
        }
    }
}

/// A whole request frame.
pub fn encode(stream: u32, correlation: u32, request: &Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.encode(Head { stream, correlation }, &mut bytes);
    bytes
}

/// A frame with any code and body.
pub fn any_frame(code: u16, stream: u32, correlation: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, code, |out| {
        out.extend_from_slice(&stream.to_be_bytes());
        out.extend_from_slice(&correlation.to_be_bytes());
        out.extend_from_slice(body);
    });
    bytes
}

/// A poll for anything.
pub fn poll(max_wait_ms: u32) -> Request<'static> {
    Request::Poll { max_wait_ms, min_bytes: 1, max_bytes: 1 << 20 }
}

/// A publish of one plain record.
pub fn plain(stream: u32, correlation: u32, acks: Level, partition: i32, value: &[u8]) -> Vec<u8> {
    let mut records = PlainWriter::default();
    records.push(-1, None, Some(value), &[]);
    encode(stream, correlation, &Request::Publish { acks, partition, body: Body::Plain(records.records()) })
}

/// A publish of one prepared batch.
pub fn prepared(stream: u32, correlation: u32, acks: Level, batch: &[u8]) -> Vec<u8> {
    encode(stream, correlation, &Request::Publish { acks, partition: 0, body: Body::Batch(batch) })
}

/// The checksum of a batch, over what follows it: CRC-32C, bit by bit, so that it can be given to bytes that are no
/// batch.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let shift = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| shift(crc)))
}

/// A batch with these values.
pub fn batch_of(values: &[&[u8]], by: Option<ProducerSequence>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut builder = Builder::open(&mut bytes, 1_000);
    for value in values {
        builder.push(&mut bytes, 1_000, None, Some(value), std::iter::empty());
    }
    builder.close(&mut bytes, 0, 0, by);
    bytes
}
