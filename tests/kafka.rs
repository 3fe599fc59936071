//! What a Kafka client should not send, and what the broker does about each: what cannot be read closes the connection,
//! what can be read and is wrong is answered with Kafka's error code, and the connection stays open. After every row
//! another client still works.

mod common;

mod kafka {
    pub mod peer;
}

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::client::{batch_of, crc32c};
use common::{Broker, kib};
use kafka::peer::{self, Peer, api_versions, decoded, frame, produce, request};
use krappy::kafka::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use krappy::kafka::describe_cluster::DescribeClusterRequest;
use krappy::kafka::describe_topic_partitions::{DescribeTopicPartitionsRequest, TopicRequest};
use krappy::kafka::fetch::{FetchPartition, FetchRequest, FetchTopic};
use krappy::kafka::metadata::{MetadataRequest, MetadataRequestTopic};
use krappy::kafka::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use krappy::kafka::sasl_handshake::SaslHandshakeRequest;
use krappy::kafka::table::Answer;
use krappy::kafka::wire::Records;
use krappy_wire::batch::ProducerSequence;

const MAX_FRAME: usize = 64 << 10;
const MAX_MESSAGE: usize = 32 << 10;
/// A topic that is there, and a compacted one.
const TOPIC: &str = "orders";
const KEYED: &str = "users";

/// What must come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    /// Nothing but the end of the connection.
    Close,
    /// An answer with this error, and the connection stays open.
    Error(i16),
    /// The page for browsers, then the end.
    Page,
}

struct Row {
    what: String,
    bytes: Vec<u8>,
    want: Want,
}

fn row(what: impl Into<String>, bytes: Vec<u8>, want: Want) -> Row {
    Row { what: what.into(), bytes, want }
}

/// The error of an answer to one partition, one topic, or as a whole.
fn error_of(answer: &Answer<'_>) -> i16 {
    match answer {
        Answer::Produce(a) => a.responses[0].partition_responses[0].error_code,
        Answer::Fetch(a) if a.error_code != 0 => a.error_code,
        Answer::Fetch(a) => a.responses[0].partitions[0].error_code,
        Answer::Metadata(a) => a.topics.iter().map(|t| t.error_code).find(|e| *e != 0).unwrap_or(0),
        Answer::CreateTopics(a) => a.topics[0].error_code,
        Answer::ApiVersions(a) => a.error_code,
        Answer::SaslHandshake(a) => a.error_code,
        other => panic!("{other:?}"),
    }
}

fn framing() -> Vec<Row> {
    let good = api_versions();
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let largest = produce(TOPIC, 0, -1, &vec![0; MAX_FRAME]);
    let page = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let hidden = [b"POST / HTTP/1.1\r\n\r\n", &good[..]].concat();
    vec![
        row("K1 length -1", with(0, &[0xff; 4]), Want::Close),
        row("K1 length -2^31", with(0, &[0x80, 0, 0, 0]), Want::Close),
        row("K2 length 0", with(0, &[0; 4]), Want::Close),
        row("K2 length 9", with(0, &[0, 0, 0, 9]), Want::Close),
        row("K3 length 2^31-1", with(0, &[0x7f, 0xff, 0xff, 0xff]), Want::Close),
        row("K4 a request above the limit", largest, Want::Close),
        row("K7 HTTP", page, Want::Page),
        row("K8 TLS", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], Want::Close),
        row("K10 a request inside an HTTP body", hidden, Want::Page),
        row("K11 key -1", with(4, &[0xff, 0xff]), Want::Close),
        row("K11 key 32767", with(4, &[0x7f, 0xff]), Want::Close),
        row("K11 key 100, which nobody has", with(4, &[0, 100]), Want::Close),
        row("K13 Produce version 99", with(4, &[0, 0, 0, 99]), Want::Close),
        row("K13 Produce version 2", with(4, &[0, 0, 0, 2]), Want::Close),
        row("K14 client id of length -2", with(12, &[0xff, 0xfe]), Want::Close),
        row("K14 client id beyond the frame", with(12, &[0x7f, 0xff]), Want::Close),
        row("K24 a mechanism that is not there", sasl(), Want::Error(34)),
    ]
}

fn sasl() -> Vec<u8> {
    request(SaslHandshakeRequest { mechanism: "PLAIN" }, 1)
}

/// Bodies of Metadata and Produce, written by hand where the encoder would not.
fn bodies() -> Vec<Row> {
    let metadata = |version, body: &[u8]| frame(3, version, body);
    let name = |name: &[u8]| [&[0, 0, 0, 1, 0, name.len() as u8], name, &[1]].concat();
    vec![
        row("K15 a name that is null", metadata(4, &[0, 0, 0, 1, 0xff, 0xff, 1]), Want::Close),
        row("K15 a name that is not UTF-8", metadata(4, &name(b"\xff\xfe")), Want::Close),
        row("K15 a length of -2", metadata(4, &[0xff, 0xff, 0xff, 0xfe, 1]), Want::Close),
        row("K16 bytes behind the body", metadata(4, &[0, 0, 0, 0, 0, 1, 2, 3]), Want::Error(0)),
        row("K17 2^31-1 topics", metadata(4, &[0x7f, 0xff, 0xff, 0xff, 0, 1]), Want::Close),
        row("K18 2^32-1 topics", metadata(9, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]), Want::Close),
        row("K18 a varint of six bytes", metadata(9, &[0x80, 0x80, 0x80, 0x80, 0x80, 1]), Want::Close),
        row("K18 an overlong varint", metadata(9, &[0x81, 0x00, 0, 0, 0]), Want::Close),
        row("K20 2^31 tagged fields", metadata(9, &[1, 1, 0, 0, 0x80, 0x80, 0x80, 0x80, 8]), Want::Close),
        row("K20 a tagged field beyond the end", metadata(9, &[1, 1, 0, 0, 1, 0, 0x7f]), Want::Close),
        row("K20 tagged fields out of order", metadata(9, &[1, 1, 0, 0, 2, 5, 0, 4, 0]), Want::Close),
        row("K20 an unknown tagged field", metadata(9, &[1, 1, 0, 0, 1, 77, 2, 1, 2]), Want::Error(0)),
        row("P1 records of length -2", frame(0, 3, &records_of_length(-2)), Want::Close),
        row("P1 records beyond the body", frame(0, 3, &records_of_length(1 << 30)), Want::Close),
        row("P1 records that are null", frame(0, 3, &records_of_length(-1)), Want::Close),
    ]
}

/// Produce version 3 without a transactional id, to topic "a", partition 0.
fn records_of_length(length: i32) -> Vec<u8> {
    let head = [0xff, 0xff, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 1, 0, 0, 0, 0];
    [&head[..], &length.to_be_bytes()].concat()
}

/// A batch of one record that was changed by `change` and then given a good checksum again.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = fresh(None);
    change(&mut bytes);
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn fresh(by: Option<ProducerSequence>) -> Vec<u8> {
    batch_of(&[b"value"], by)
}

fn batches() -> Vec<Row> {
    let good = fresh(None);
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let far = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(86_400 * 365);
    let by = |epoch, base_sequence| fresh(Some(ProducerSequence { producer_id: 7, epoch, base_sequence }));
    let cases: Vec<(&str, Vec<u8>, i16)> = vec![
        ("a good batch", good.clone(), 0),
        ("P2 a batch length of 48", changed(|b| b[8..12].copy_from_slice(&48i32.to_be_bytes())), 2),
        ("P2 a batch length of 2^30", changed(|b| b[8..12].copy_from_slice(&(1i32 << 30).to_be_bytes())), 2),
        ("P3 magic 0", changed(|b| b[16] = 0), 87),
        ("P3 magic 1", changed(|b| b[16] = 1), 87),
        ("P3 magic 3", changed(|b| b[16] = 3), 87),
        ("P3 magic 127", changed(|b| b[16] = 127), 87),
        ("P4 a wrong checksum", flipped(20), 2),
        ("P4 a flipped bit in a record", flipped(good.len() - 1), 2),
        ("P5 two records announced", changed(|b| (b[26], b[60]) = (1, 2)), 87),
        ("P5 a last offset delta that does not fit the count", changed(|b| b[26] = 1), 87),
        ("P5 no records", changed(|b| b[60] = 0), 87),
        ("P6 2^31-1 records", changed(|b| b[57..61].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff])), 87),
        ("P7 a record longer than the batch", changed(|b| b[61] = 0x7e), 87),
        ("P7 an offset delta that is not 0", changed(|b| b[64] = 2), 87),
        ("P8 two batches", good.repeat(2), 87),
        ("P9 codec 5", changed(|b| b[22] = 5), 76),
        ("P9 codec 7", changed(|b| b[22] = 7), 76),
        ("P10 a control batch", changed(|b| b[22] = 0x20), 87),
        ("P10 a transactional batch", changed(|b| b[22] = 0x10), 87),
        ("P17 a timestamp a year ahead", at(far.as_millis() as i64), 32),
        ("P18 a sequence that begins anywhere", by(0, 500), 0),
        ("P18 the same once more", by(0, 500), 0),
        ("P18 a gap", by(0, 502), 45),
        ("P18 an older sequence", by(0, 3), 45),
        ("P18 a new epoch that does not begin at 0", by(2, 1), 45),
        ("P18 a new epoch", by(2, 0), 0),
        ("P18 an old epoch", by(1, 0), 47),
        ("P18 a producer id without a sequence", by(0, -1), 87),
        ("P20 a batch above max.message.bytes", batch_of(&[&[0; MAX_MESSAGE]], None), 10),
    ];
    let to = |partition| move |bytes: &Vec<u8>| produce(TOPIC, partition, -1, bytes);
    let mut rows: Vec<Row> =
        cases.into_iter().map(|(what, batch, code)| row(what, to(0)(&batch), Want::Error(code))).collect();
    rows.extend([
        row(
            "P15 a record without a key for a compacted topic",
            produce(KEYED, 0, -1, &good),
            Want::Error(87),
        ),
        row("P16 acks 2", produce(TOPIC, 0, 2, &good), Want::Error(21)),
        row("P16 acks -2", produce(TOPIC, 0, -2, &good), Want::Error(21)),
        row("acks 0 to a topic that is not there", produce("nowhere", 0, 0, &good), Want::Close),
        row("P21 partition -1", to(-1)(&good), Want::Error(3)),
        row("P21 partition 2^31-1", to(i32::MAX)(&good), Want::Error(3)),
        row("P21 a topic that is not there", produce("nowhere", 0, -1, &good), Want::Error(3)),
        row("P23 a partition twice", twice(&good), Want::Error(42)),
        row("a transactional id", transactional(&good), Want::Error(42)),
    ]);
    rows
}

/// A batch with one record of this time.
fn at(timestamp: i64) -> Vec<u8> {
    changed(|b| {
        b[27..35].copy_from_slice(&timestamp.to_be_bytes());
        b[35..43].copy_from_slice(&timestamp.to_be_bytes());
    })
}

fn twice(batch: &[u8]) -> Vec<u8> {
    let one = || PartitionProduceData { index: 0, records: Records::Bytes(batch) };
    let topic = TopicProduceData { name: TOPIC, partition_data: vec![one(), one()], ..Default::default() };
    request(ProduceRequest { acks: -1, topic_data: vec![topic], ..Default::default() }, 8)
}

fn transactional(batch: &[u8]) -> Vec<u8> {
    let one = PartitionProduceData { index: 0, records: Records::Bytes(batch) };
    let topic = TopicProduceData { name: TOPIC, partition_data: vec![one], ..Default::default() };
    let transactional_id = Some("t");
    request(ProduceRequest { transactional_id, acks: -1, topic_data: vec![topic], ..Default::default() }, 8)
}

fn fetch(change: impl FnOnce(&mut FetchRequest<'_>)) -> Vec<u8> {
    let partition = FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() };
    let topic = FetchTopic { topic: TOPIC, partitions: vec![partition], ..Default::default() };
    let mut fetch = FetchRequest { topics: vec![topic], max_bytes: 1 << 20, ..Default::default() };
    change(&mut fetch);
    request(fetch, 11)
}

fn reads_and_topics() -> Vec<Row> {
    let from = |offset| fetch(|f| f.topics[0].partitions[0].fetch_offset = offset);
    let epoch = |epoch| fetch(|f| f.topics[0].partitions[0].current_leader_epoch = epoch);
    let create = |name, num_partitions, replication_factor, configs| {
        let topic =
            CreatableTopic { name, num_partitions, replication_factor, configs, ..Default::default() };
        request(CreateTopicsRequest { topics: vec![topic], ..Default::default() }, 4)
    };
    let config = |name, value| vec![CreatableTopicConfig { name, value: Some(value) }];
    let mut rows = vec![
        row("F1 max_bytes -1", fetch(|f| f.max_bytes = -1), Want::Error(0)),
        row("F2 offset -5", from(-5), Want::Error(1)),
        row("F2 an offset beyond the end", from(1 << 40), Want::Error(1)),
        row("F3 a partition twice", fetch(|f| f.topics.push(again())), Want::Error(42)),
        row("F4 the largest limits", fetch(|f| (f.max_wait_ms, f.min_bytes) = (i32::MAX, 1)), Want::Error(0)),
        row("F5 a session", fetch(|f| (f.session_id, f.session_epoch) = (5, 1)), Want::Error(70)),
        row("F6 a replica", fetch(|f| f.replica_id = 3), Want::Close),
        row("F7 a newer epoch", epoch(1 << 20), Want::Error(75)),
        row("F7 an older epoch", epoch(0), Want::Error(74)),
        row("F9 no partitions", create("f9", 0, 1, vec![]), Want::Error(37)),
        row("F9 a million partitions", create("f9", 1_000_000, 1, vec![]), Want::Error(37)),
        row("F9 three replicas", create("f9", 1, 3, vec![]), Want::Error(38)),
        row("a topic that is there", create(TOPIC, 1, 1, vec![]), Want::Error(36)),
        row("a setting that is none", create("f9", 1, 1, config("no.such", "1")), Want::Error(40)),
        row("a value that is none", create("f9", 1, 1, config("retention.ms", "soon")), Want::Error(40)),
    ];
    let longest = "x".repeat(250);
    for name in ["..", ".", "../x", "a/b", "", &longest, "a\0b", "a\nb", "\u{202e}", "%2e%2e"] {
        rows.push(row(format!("P22 creating {name:?}"), create(name, 1, 1, vec![]), Want::Error(17)));
        let topic = MetadataRequestTopic { name: Some(name), ..Default::default() };
        let ask = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
        rows.push(row(format!("P22 asking for {name:?}"), request(ask, 5), Want::Error(17)));
    }
    rows
}

fn again() -> FetchTopic<'static> {
    FetchTopic { topic: TOPIC, partitions: vec![FetchPartition::default()], ..Default::default() }
}

/// Sends a row; what is wrong with what came back, if anything.
fn wrong(broker: &Broker, row: &Row) -> Option<String> {
    let mut peer = Peer::connect(broker.addr);
    peer.send(&row.bytes);
    match row.want {
        Want::Close => (!peer.is_closed()).then(|| format!("{}: it is not closed", row.what)),
        Want::Page => {
            let text = peer.rest();
            (!text.starts_with(b"HTTP/1.1 404 ")).then(|| format!("{}: no page", row.what))
        }
        Want::Error(code) => {
            let Some(frame) = peer.answer() else { return Some(format!("{}: closed", row.what)) };
            let (key, version) = (row.bytes[5].into(), row.bytes[7].into());
            let got = decoded(&frame, key, version, error_of);
            let alive = peer.is_alive();
            (got != code || !alive)
                .then(|| format!("{}: error {got} instead of {code}, alive {alive}", row.what))
        }
    }
}

#[test]
fn every_bad_request_has_its_answer_and_leaves_nothing_behind() {
    let frame = format!("--socket-request-max-bytes={MAX_FRAME}");
    let message = format!("--message-max-bytes={MAX_MESSAGE}");
    let mut broker = Broker::ephemeral(&[&frame, &message, "--auto-create-topics-enable=false"]);
    let mut peer = Peer::connect(broker.addr);
    peer.create(TOPIC, &[]);
    peer.create(KEYED, &[("cleanup.policy", "compact")]);
    let rows: Vec<Row> = [framing(), bodies(), batches(), reads_and_topics()].into_iter().flatten().collect();
    let mut bad = Vec::new();
    let mut baseline = None;
    for row in &rows {
        bad.extend(wrong(&broker, row));
        assert!(Peer::connect(broker.addr).is_alive(), "after {}", row.what);
        baseline.get_or_insert_with(|| (broker.resident(), broker.open_files()));
    }
    let (before, files) = baseline.expect("there are rows");
    let resident = broker.resident();
    println!("{} rows, {} wrong, resident {} -> {} KiB", rows.len(), bad.len(), kib(before), kib(resident));
    assert!(bad.is_empty(), "wrong answers:\n{}", bad.join("\n"));
    common::eventually("descriptors are given back", || broker.open_files() <= files);
    assert!(broker.is_running());
}

#[test]
fn a_client_that_goes_away_while_it_waits_is_noticed() {
    let broker = Broker::ephemeral(&["--fetch-max-wait-ms=1h"]);
    let mut peer = Peer::connect(broker.addr);
    peer.create(TOPIC, &[]);
    let files = broker.open_files();
    let mut waiting = Peer::connect(broker.addr);
    waiting.send(&fetch(|f| (f.max_wait_ms, f.min_bytes) = (i32::MAX, 1)));
    assert!(waiting.is_alive_without_asking());
    drop(waiting);
    common::eventually("its connection is closed", || broker.open_files() <= files);
}

#[test]
fn requests_are_the_same_however_their_bytes_arrive() {
    let broker = Broker::ephemeral(&[]);
    let mut peer = Peer::connect(broker.addr);
    peer.create(TOPIC, &[]);
    let bytes = [api_versions(), produce(TOPIC, 0, -1, &fresh(None)), fetch(|_| {})].concat();
    let mut slow = Peer::connect(broker.addr);
    for byte in &bytes {
        slow.send(std::slice::from_ref(byte));
    }
    for key in [18, 0, 1] {
        let frame = slow.answer().expect("each is answered");
        let version = if key == 18 {
            3
        } else if key == 0 {
            8
        } else {
            11
        };
        assert_eq!(decoded(&frame, key, version, error_of), 0, "{key}");
    }
}

#[test]
fn every_request_of_the_table_is_answered_in_every_version() {
    let broker = Broker::ephemeral(&[]);
    for api in krappy::kafka::table::TABLE {
        for version in api.versions.clone() {
            let mut peer = Peer::connect(broker.addr);
            peer.send(&request(peer::sample(api.key, version), version));
            let frame = peer.answer().unwrap_or_else(|| panic!("{} {version} is not answered", api.name));
            decoded(&frame, api.key, version, |_| 0);
        }
    }
}

/// What a client may do, of the one topic or of the cluster that an answer describes.
fn operations_of(answer: &Answer<'_>) -> Vec<i32> {
    match answer {
        Answer::Metadata(a) => vec![a.cluster_authorized_operations, a.topics[0].topic_authorized_operations],
        Answer::DescribeCluster(a) => vec![a.cluster_authorized_operations],
        Answer::DescribeTopicPartitions(a) => vec![a.topics[0].topic_authorized_operations],
        other => panic!("{other:?}"),
    }
}

/// As in a Kafka without an authorizer, whose numbers these are. librdkafka's tests noticed that we said nothing.
#[test]
fn who_asks_what_it_may_do_is_told_everything() {
    const CLUSTER: i32 = 8096;
    const TOPIC: i32 = 3576;
    let broker = Broker::ephemeral(&[]);
    let mut peer = Peer::connect(broker.addr);
    peer.create("t", &[]);
    for (asks, cluster, topic) in [(false, i32::MIN, i32::MIN), (true, CLUSTER, TOPIC)] {
        let metadata = |by_name: bool, of_cluster: bool| MetadataRequest {
            topics: by_name.then(|| vec![MetadataRequestTopic { name: Some("t"), ..Default::default() }]),
            include_cluster_authorized_operations: asks && of_cluster,
            include_topic_authorized_operations: asks,
            ..Default::default()
        };
        let who =
            DescribeClusterRequest { include_cluster_authorized_operations: asks, ..Default::default() };
        let pages =
            DescribeTopicPartitionsRequest { topics: vec![TopicRequest { name: "t" }], ..Default::default() };
        for (bytes, key, version, told) in [
            (request(metadata(true, true), 8), 3, 8, vec![cluster, topic]),
            (request(metadata(false, true), 10), 3, 10, vec![cluster, topic]),
            // Since version 11, DescribeCluster is there for that.
            (request(metadata(true, false), 12), 3, 12, vec![i32::MIN, topic]),
            (request(who, 0), 60, 0, vec![cluster]),
            // Here nobody has to ask.
            (request(pages, 0), 75, 0, vec![TOPIC]),
        ] {
            peer.send(&bytes);
            let frame = peer.answer().expect("it is answered");
            assert_eq!(decoded(&frame, key, version, operations_of), told, "{key} {version}, asks: {asks}");
        }
    }
}
