//! One run of the script on one broker: requests go out, and each answer is kept as the lines that are compared.
//!
//! Requests and answers are the types of the crate `kafka-protocol`, generated from Kafka's schemas, so nothing here
//! shares a mistake with the codec of the broker.
//!
//! Invariant: a step is asked once, and its answer is kept whatever it is; only what prepares a step is asked again
//! until it is so, because Kafka's metadata reaches its partitions a moment after its answers.

use std::fmt::Debug;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, CreateTopicsRequest, InitProducerIdRequest};
use kafka_protocol::messages::{
    ListOffsetsRequest, MetadataRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use uuid::Uuid;

use super::normal::{Known, now_ms};
use super::tree::{Lines, Tree};
use crate::common::{PATIENCE, eventually};

/// One request of the script, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// `Produce: a gap in the sequence`.
    pub name: String,
    pub version: i16,
    pub lines: Lines,
}

/// A broker, and what it has answered.
pub struct Run {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    correlation: i32,
    known: Known,
    /// In the order of the script.
    pub steps: Vec<Step>,
}

impl Run {
    /// On a broker that was started a moment ago.
    pub fn on(addr: SocketAddr) -> Self {
        let known = Known { port: addr.port(), begun: now_ms(), ..Known::default() };
        Self { addr, stream: None, correlation: 0, known, steps: Vec::new() }
    }

    /// A step: asks, and keeps the answer.
    pub fn ask<R: Request>(&mut self, name: &str, version: i16, request: R)
    where
        R::Response: Debug,
    {
        let bytes = self.encoded(version, &request);
        let lines = match self.exchange(&sized(&bytes)) {
            Some(frame) => self.lines::<R>(&frame, version),
            None => closed(),
        };
        self.keep::<R>(name, version, lines);
    }

    /// The same step in several versions.
    pub fn each<R: Request>(
        &mut self,
        name: &str,
        versions: impl IntoIterator<Item = i16>,
        mut request: impl FnMut(&Run, i16) -> R,
    ) where
        R::Response: Debug,
    {
        for version in versions {
            let request = request(self, version);
            self.ask(name, version, request);
        }
    }

    /// A step of bytes behind a header of this API, whose answer has the layout of `answer_version`.
    pub fn ask_bytes<R: Request>(&mut self, name: &str, (version, answer_version): (i16, i16), body: &[u8])
    where
        R::Response: Debug,
    {
        let mut bytes = self.header::<R>(version);
        bytes.extend_from_slice(body);
        let lines = match self.exchange(&sized(&bytes)) {
            Some(frame) => self.lines::<R>(&frame, answer_version),
            None => closed(),
        };
        self.keep::<R>(name, version, lines);
    }

    /// A step that may go without an answer: what comes first, it or the answer to another question.
    pub fn tell<R: Request>(&mut self, name: &str, version: i16, request: R)
    where
        R::Response: Debug,
    {
        let bytes = self.encoded(version, &request);
        let mut pair = sized(&bytes);
        pair.extend(sized(&self.encoded(0, &ApiVersionsRequest::default())));
        let lines = match self.exchange(&pair) {
            None => closed(),
            Some(frame) if frame.starts_with(&self.correlation.to_be_bytes()) => said("no answer"),
            Some(_) => said("an answer"),
        };
        self.stream = None;
        self.keep::<R>(name, version, lines);
    }

    fn keep<R: Request>(&mut self, name: &str, version: i16, lines: Lines) {
        let name = format!("{}: {name}", api_name::<R>());
        let again = self.steps.iter().any(|step| step.name == name && step.version == version);
        assert!(!again, "two steps are called {name:?}");
        self.steps.push(Step { name, version, lines });
    }

    fn lines<R: Request>(&self, frame: &[u8], version: i16) -> Lines
    where
        R::Response: Debug,
    {
        match decoded::<R>(frame, version) {
            Ok(answer) => {
                let tree = Tree::of(&format!("{answer:?}"));
                self.known.normalised(tree, &api_name::<R>(), version).lines()
            }
            Err(why) => said(&format!("not an answer: {why}")),
        }
    }

    /// Asks outside of the script; the answer must come.
    pub fn get<R: Request>(&mut self, version: i16, request: R) -> R::Response {
        let bytes = self.encoded(version, &request);
        let frame =
            self.exchange(&sized(&bytes)).unwrap_or_else(|| panic!("{} is not answered", api_name::<R>()));
        decoded::<R>(&frame, version).unwrap_or_else(|e| panic!("{}: {e}", api_name::<R>()))
    }

    /// Sends bytes and takes the next answer; none if the broker closes the connection.
    fn exchange(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let addr = self.addr;
        let stream = self.stream.get_or_insert_with(|| connected(addr));
        let frame = stream.write_all(bytes).ok().and_then(|()| next_frame(stream));
        if frame.is_none() {
            self.stream = None;
        }
        frame
    }

    fn encoded<R: Request>(&mut self, version: i16, request: &R) -> Vec<u8> {
        let mut bytes = self.header::<R>(version);
        let mut body = BytesMut::new();
        request.encode(&mut body, version).unwrap_or_else(|e| panic!("{} {version}: {e}", api_name::<R>()));
        bytes.extend_from_slice(&body);
        bytes
    }

    fn header<R: Request>(&mut self, version: i16) -> Vec<u8> {
        self.correlation += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("oracle")));
        let mut bytes = BytesMut::new();
        header.encode(&mut bytes, R::header_version(version)).expect("a header");
        bytes.to_vec()
    }

    /// Makes a topic, and waits until all its partitions can be asked for their offsets.
    pub fn topic(&mut self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let config = |&(name, value): &(&str, &str)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        };
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(settings.iter().map(config).collect());
        let request = CreateTopicsRequest::default().with_timeout_ms(30_000).with_topics(vec![topic]);
        let answer = self.get(7, request);
        assert_eq!(answer.topics[0].error_code, 0, "{name} is made: {:?}", answer.topics[0].error_message);
        self.await_topic(name, partitions);
    }

    /// Waits until a topic is there with so many partitions that all serve, and learns its id.
    pub fn await_topic(&mut self, name: &str, partitions: i32) {
        eventually(&format!("{name} serves"), || self.is_served(name, partitions));
    }

    fn is_served(&mut self, name: &str, partitions: i32) -> bool {
        let topic = &self.described(name).topics[0];
        if topic.error_code != 0 || topic.partitions.len() != partitions as usize {
            return false;
        }
        self.known.leader_epoch.get_or_insert(topic.partitions[0].leader_epoch);
        self.known.topics.insert(format!("{:?}", topic.topic_id), name.to_owned());
        let latest = |n| ListOffsetsPartition::default().with_partition_index(n).with_timestamp(-1);
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name(name))
            .with_partitions((0..partitions).map(latest).collect());
        let answer =
            self.get(1, ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]));
        answer.topics[0].partitions.iter().all(|p| p.error_code == 0)
    }

    /// What is known of a topic, which is not made by asking.
    pub fn described(&mut self, name: &str) -> kafka_protocol::messages::MetadataResponse {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request =
            MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
        self.get(12, request)
    }

    /// The id of a topic that was waited for.
    pub fn id_of(&self, name: &str) -> Uuid {
        let known = self.known.topics.iter().filter(|(_, topic)| *topic == name);
        let id = known.map(|(id, _)| id).next_back().unwrap_or_else(|| panic!("{name} was waited for"));
        Uuid::parse_str(id).expect("ids are kept as they are printed")
    }

    /// Whether the broker says that it has an API.
    pub fn speaks(&mut self, key: i16) -> bool {
        self.get(0, ApiVersionsRequest::default()).api_keys.iter().any(|api| api.api_key == key)
    }

    /// The leader epoch of all partitions.
    pub fn leader_epoch(&self) -> i32 {
        self.known.leader_epoch.expect("a topic was waited for")
    }

    /// A new producer id, which goes by this name.
    pub fn producer(&mut self, name: &str) -> i64 {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let mut id = -1;
        // The first one must wait until Kafka has a block of ids to give.
        eventually("there is a producer id", || {
            let answer = self.get(4, request.clone());
            id = *answer.producer_id;
            answer.error_code == 0
        });
        self.known.producers.insert(id, name.to_owned());
        id
    }
}

fn api_name<R: Request>() -> String {
    format!("{:?}", ApiKey::try_from(R::KEY).expect("a key that exists"))
}

fn decoded<R: Request>(frame: &[u8], version: i16) -> Result<R::Response, String> {
    let mut left = Bytes::copy_from_slice(frame);
    ResponseHeader::decode(&mut left, R::Response::header_version(version)).map_err(|e| e.to_string())?;
    let answer = R::Response::decode(&mut left, version).map_err(|e| e.to_string())?;
    if left.is_empty() { Ok(answer) } else { Err(format!("{} bytes are left over", left.len())) }
}

fn said(what: &str) -> Lines {
    vec![("connection".to_owned(), what.to_owned())]
}

fn closed() -> Lines {
    said("closed")
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let mut sized = (bytes.len() as u32).to_be_bytes().to_vec();
    sized.extend_from_slice(bytes);
    sized
}

fn connected(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&addr, PATIENCE).expect("the broker listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time can be set");
    stream.set_nodelay(true).expect("it is a TCP connection");
    stream
}

/// The next answer without its size, or none if the connection is closed.
fn next_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut size = [0; 4];
    let mut frame = Vec::new();
    let whole = stream.read_exact(&mut size).and_then(|()| {
        frame.resize(u32::from_be_bytes(size) as usize, 0);
        stream.read_exact(&mut frame)
    });
    match whole {
        Ok(()) => Some(frame),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("no answer and no end")
        }
        Err(_) => None,
    }
}

/// A string as the messages have it.
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// The name of a topic as the messages have it.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}
