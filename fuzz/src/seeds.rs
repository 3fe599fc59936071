//! The corpus that fuzzing starts from: one small valid input for each shape, made by the encoder, so that it follows
//! the formats when they change. `cargo run --example seed` writes it; the same seeds come out every time.

use std::path::Path;

use krappy::disk::sim::{Rng, SimDisk};
use krappy::groups::queue::state::{Place, encode};
use krappy::groups::queue::{Ask, End, Window};
use krappy::kafka::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use krappy::kafka::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use krappy::kafka::fetch::{EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use krappy::kafka::fetch::{FetchableTopicResponse, PartitionData};
use krappy::kafka::metadata::{MetadataRequest, MetadataRequestTopic};
use krappy::kafka::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use krappy::kafka::table::{Answer, Call};
use krappy::kafka::wire::{Out, Records, Uuid};
use krappy::lsm::block::BlockBuilder;
use krappy::lsm::{Edit, Entry, Kind, RunMeta, RunWriter, Tip, manifest, record};
use krappy::segment::index;
use krappy::segment::mark::{Boundary, Mark};
use krappy::segment::quarantine::{self, Hole};
use krappy::time::Time;
use krappy_wire::batch::{Builder, ProducerSequence};
use krappy_wire::compress;
use krappy_wire::frame::{self, HEAD};
use krappy_wire::native::{
    After, Body, Change, Get, Head, KeyState, KeysWriter, Level, Newest, Op, PartitionInfo, PlainWriter,
    PublishIf, PublishedPart, QueuePart, QueueSettle, QueueTake, RecordsPart, Reply, Request, RowsWriter,
    Scan, Scanned, Settle, Start, TakenWriter, TopicInfo, TopicSummary, Watch,
};
use krappy_wire::tail::{Tail, put_tail};

/// One input of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// The fuzz target, which is also the folder under `corpus/`.
    pub target: &'static str,
    /// File name.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
}

/// Every seed of every target.
pub fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (target, inputs) in [
        ("frame", frames()),
        ("native_request", requests()),
        ("native_reply", replies()),
        ("kafka_request", kafka_messages()),
        ("batch", batches()),
        ("inflate", packed()),
        ("index", indexes()),
        ("mark", marks()),
        ("quarantine", quarantines()),
        ("lsm_model", histories()),
        ("group", meetings()),
        ("queue_state", queues()),
        ("segment_bytes", partitions()),
        ("segment_recover", crashes()),
        ("block", blocks()),
        ("run_file", runs()),
        ("manifest", manifests()),
    ] {
        for (i, bytes) in inputs.into_iter().enumerate() {
            seeds.push(Seed { target, name: format!("seed-{i:02}"), bytes });
        }
    }
    seeds
}

fn frames() -> Vec<Vec<u8>> {
    let mut several = Vec::new();
    for code in 1..5 {
        frame::write(&mut several, code, |out| out.extend_from_slice(&[code as u8; 12]));
    }
    let mut largest = Vec::new();
    frame::write(&mut largest, 3, |out| out.extend_from_slice(&[7; 60]));
    let mut too_large = largest.clone();
    too_large[..4].copy_from_slice(&65u32.to_be_bytes());
    let mut foreign = several.clone();
    foreign[20 + 4] = b'G';
    vec![
        several.clone(),
        several[..several.len() - 1].to_vec(),
        largest,
        too_large,
        foreign,
        vec![0, 0, 0, 11],
    ]
}

/// The key, with the highest bit for answers, and the version, then what follows the header.
fn kafka_messages() -> Vec<Vec<u8>> {
    let batch = batches().swap_remove(0);
    let mut inputs = vec![
        kafka_call(0, ApiVersionsRequest::default()),
        kafka_call(3, ApiVersionsRequest { client_software_name: "me", client_software_version: "1" }),
        kafka_call(1, MetadataRequest::default()),
    ];
    let topics = Some(vec![MetadataRequestTopic { topic_id: Uuid([1; 16]), name: Some("orders") }]);
    inputs.push(kafka_call(13, MetadataRequest { topics, ..Default::default() }));
    for version in [3, 9, 13] {
        let partition_data = vec![PartitionProduceData { index: 0, records: Records::Bytes(&batch) }];
        let topic = TopicProduceData { name: "orders", topic_id: Uuid([1; 16]), partition_data };
        let request = ProduceRequest { acks: -1, topic_data: vec![topic], ..Default::default() };
        inputs.push(kafka_call(version, request));
    }
    for version in [4, 12, 17] {
        let partitions = vec![FetchPartition { fetch_offset: 7, ..Default::default() }];
        let topics = vec![FetchTopic { topic: "orders", topic_id: Uuid([1; 16]), partitions }];
        inputs.push(kafka_call(version, FetchRequest { topics, ..Default::default() }));
        let mut data = PartitionData { records: Records::Bytes(&batch), ..Default::default() };
        if version >= 12 {
            data.diverging_epoch = EpochEndOffset { epoch: 1, end_offset: 7 };
        }
        let topic = "orders".into();
        let responses =
            vec![FetchableTopicResponse { topic, topic_id: Uuid([1; 16]), partitions: vec![data] }];
        inputs.push(kafka_answer(version, FetchResponse { responses, ..Default::default() }));
    }
    let configuration_keys = Some(vec!["retention.ms", ""]);
    let resources =
        vec![DescribeConfigsResource { resource_type: 2, resource_name: "orders", configuration_keys }];
    inputs.push(kafka_call(4, DescribeConfigsRequest { resources, ..Default::default() }));
    let api_keys = vec![ApiVersion { api_key: 18, min_version: 0, max_version: 4 }];
    let answer = ApiVersionsResponse { api_keys, finalized_features_epoch: 1, ..Default::default() };
    inputs.push(kafka_answer(3, answer));
    // Each of these topics is three bytes here and 64 in memory.
    let responses = (0..5_000).map(|_| FetchableTopicResponse::default()).collect();
    inputs.push(kafka_answer(12, FetchResponse { responses, ..Default::default() }));
    inputs
}

fn kafka_call<'a>(version: i16, request: impl Into<Call<'a>>) -> Vec<u8> {
    let call = request.into();
    let mut out = Out { bytes: vec![call.key() as u8, version as u8], chunks: Vec::new() };
    call.write(version, &mut out);
    out.bytes
}

fn kafka_answer<'a>(version: i16, answer: impl Into<Answer<'a>>) -> Vec<u8> {
    let answer = answer.into();
    let mut out = Out { bytes: vec![answer.key() as u8 | 0x80, version as u8], chunks: Vec::new() };
    answer.write(version, &mut out);
    out.bytes
}

/// The low byte of the code, then the body.
fn requests() -> Vec<Vec<u8>> {
    let mut records = PlainWriter::default();
    records.push(-1, Some(b"key"), None, &[("h", None), ("i", Some(b"x"))]);
    records.push(5, None, Some(b"value"), &[]);
    let batch = batches().swap_remove(0);
    let all = [
        Request::Hello { version: 1, client: "me" },
        Request::RegisterProducer { topic: "orders", idempotent: true },
        Request::Publish { acks: Level::Durable, partition: -1, body: Body::Plain(records.records()) },
        Request::Publish { acks: Level::Appended, partition: 3, body: Body::Batch(&batch) },
        Request::RegisterConsumer { topic: "t", group: "", partition: -1, start: Start::Timestamp(5) },
        Request::RegisterConsumer { topic: "t", group: "g", partition: 0, start: Start::Latest },
        Request::Poll { max_wait_ms: 1, min_bytes: 2, max_bytes: 3 },
        Request::Subscribe { credit: 4 },
        Request::Credit { bytes: 5 },
        Request::CloseStream,
        Request::CreateTopic {
            topic: "t",
            partitions: 3,
            settings: vec![("flush.messages", "1"), ("c", "")],
        },
        Request::DescribeTopic { topic: "t" },
        Request::DeleteTopic { topic: "t" },
        Request::DeleteRecords { topic: "t", partition: 1, offset: -1 },
        Request::AlterTopic {
            topic: "t",
            changes: vec![
                Change { key: "a", op: Op::Set("b") },
                Change { key: "c", op: Op::Unset },
                Change { key: "d", op: Op::Append("e,f") },
                Change { key: "g", op: Op::Subtract("") },
            ],
        },
        Request::AddPartitions { topic: "t", count: 7 },
    ];
    let mut inputs: Vec<_> = all.iter().map(|m| input(m.code(), |out| m.encode(HEAD_OF_ALL, out))).collect();
    // Each of these settings is four bytes here and would be eight times that in memory.
    let many = vec![("", ""); 4_000];
    let greedy = Request::CreateTopic { topic: "t", partitions: 1, settings: many };
    inputs.push(input(greedy.code(), |out| greedy.encode(HEAD_OF_ALL, out)));
    inputs.extend(keyed_requests());
    inputs.extend(queue_requests());
    inputs
}

fn queue_requests() -> Vec<Vec<u8>> {
    let take = QueueTake {
        group: "g",
        topic: "t",
        name: "me",
        partition: -1,
        most: 10,
        max_bytes: 1 << 20,
        max_wait_ms: 500,
        lock_ms: 9,
        keyed: true,
    };
    let settle = |how| QueueSettle { group: "g", topic: "t", name: "", how, records: vec![(0, 7), (1, 8)] };
    let all = [
        Request::QueueTake(take),
        Request::QueueSettle(settle(Settle::Acknowledge)),
        Request::QueueSettle(settle(Settle::Release(7))),
        Request::QueueSettle(settle(Settle::Reject("not JSON"))),
        Request::QueueDescribe { group: "g", topic: "t" },
        Request::QueueRedrive { group: "g", topic: "t", most: 7 },
    ];
    all.iter().map(|m| input(m.code(), |out| m.encode(HEAD_OF_ALL, out))).collect()
}

/// Windows in several states, and a key.
fn queues() -> Vec<Vec<u8>> {
    let mut window = Window::new(3);
    let ask = Ask { taker: 1, until: Time(9), keyed: false, most_open: 100 };
    let fresh = encode(&window, &[7; 16]);
    for offset in 3..20 {
        window.offer(offset, None, &ask, Time(0));
    }
    let held = encode(&window, &[7; 16]);
    for (offset, how) in
        [(4, End::Acknowledge), (7, End::Acknowledge), (9, End::Reject("no")), (11, End::Release(Time(0)))]
    {
        window.end(offset, 1, how, 1, Time(0)).expect("it is held");
    }
    let key = Place { group: "g".into(), topic: "t".into(), partition: 2 }.key();
    let values = [fresh, held, encode(&window, &[7; 16])].map(|value| [&[0][..], &value].concat());
    values.into_iter().chain([[&[1][..], &key].concat()]).collect()
}

fn keyed_requests() -> Vec<Vec<u8>> {
    let after = After { partition: 2, offset: 9, max_wait_ms: 500 };
    let mut keys = KeysWriter::default();
    keys.push(b"a key");
    keys.push(b"");
    let mut record = PlainWriter::default();
    record.push(-1, Some(b"key"), None, &[("h", None)]);
    let keys = keys.keys();
    let scan = Scan {
        topic: "t",
        partition: -1,
        reverse: true,
        keys_only: false,
        from: b"a",
        to: None,
        as_of: vec![(0, 7), (1, -1)],
        after,
        limit: 10,
        max_bytes: 1 << 20,
        cursor: b"page two",
    };
    let watch = Watch { topic: "t", partition: -1, from: b"a", to: Some(b"b"), credit: 9, snapshot: false };
    let all = [
        Request::Get(Get { topic: "t", partition: -1, as_of: -1, after: After::NONE, explain: true, keys }),
        Request::Get(Get { topic: "t", partition: 3, as_of: 7, after, explain: false, keys }),
        Request::Scan(Scan { keys_only: true, to: Some(b"z"), as_of: vec![], cursor: b"", ..scan.clone() }),
        Request::Scan(scan),
        Request::Watch(watch),
        Request::PublishIf(PublishIf {
            acks: Level::Durable,
            partition: -1,
            expected: -1,
            record: record.records(),
        }),
    ];
    all.iter().map(|m| input(m.code(), |out| m.encode(HEAD_OF_ALL, out))).collect()
}

fn replies() -> Vec<Vec<u8>> {
    let batch = batches().swap_remove(0);
    let part = RecordsPart {
        partition: 1,
        error: 0,
        position: 2,
        next: 3,
        high_watermark: 4,
        log_start: 0,
        batches: &batch,
    };
    let partition =
        PartitionInfo { log_start: 1, high_watermark: 2, log_end: 3, bytes: 4, segments: 5, fenced: true };
    let topic = TopicInfo {
        name: "t",
        id: [9; 16],
        partitions: vec![partition; 2],
        settings: vec![("a", "b", "topic"), ("c", "d", "default")],
    };
    let all = [
        Reply::HelloOk {
            version: 1,
            software: "s",
            cluster_id: "c",
            max_frame: 1,
            max_in_flight: 2,
            max_streams: 3,
        },
        Reply::ProducerRegistered { partitions: 1, producer_id: 2, producer_epoch: 3, max_message_bytes: 4 },
        Reply::Published {
            level: Level::Appended,
            parts: vec![PublishedPart { partition: 0, base_offset: 1, count: 2 }; 2],
        },
        Reply::ConsumerRegistered { member: "g_0", positions: vec![(0, 5), (1, 6)] },
        Reply::Records { parts: vec![part; 2] },
        Reply::Ack,
        Reply::StatusIs { values: vec![("up", 1), ("down", -1)] },
        Reply::Topic(topic),
        Reply::Topics { topics: vec![TopicSummary { name: "t", partitions: 1, records: 2, bytes: 3 }; 2] },
        Reply::Trimmed { log_start: 4 },
        Reply::GoAway { message: "bye" },
        Reply::Error { code: 3, message: "m", hint: "h" },
    ];
    let mut inputs: Vec<_> = all.iter().map(|m| input(m.code(), |out| m.encode(HEAD_OF_ALL, out))).collect();
    inputs.extend(keyed_replies());
    inputs.extend(queue_replies());
    inputs
}

fn queue_replies() -> Vec<Vec<u8>> {
    let mut tail = Vec::new();
    put_tail(&mut tail, Some(b"value"), std::iter::empty());
    let mut taken = TakenWriter::default();
    taken.push((1, 5), 1_000, 2, Some(b"k"), &tail);
    taken.push((0, 6), -1, 1, None, &tail);
    let all = [
        Reply::Taken(taken.records()),
        Reply::Settled { results: vec![0, 121] },
        Reply::QueueIs { parts: vec![QueuePart { oldest_holder: "me", ..QueuePart::default() }; 2] },
        Reply::Redriven { moved: 3 },
    ];
    all.iter().map(|m| input(m.code(), |out| m.encode(HEAD_OF_ALL, out))).collect()
}

fn keyed_replies() -> Vec<Vec<u8>> {
    let (mut tail, mut tombstone) = (Vec::new(), Vec::new());
    let headers = [(&b"h"[..], Some(&b"x"[..])), (b"null", None)];
    put_tail(&mut tail, Some(b"value"), headers.into_iter());
    put_tail(&mut tombstone, None, std::iter::empty());
    let (mut rows, mut bare) = (RowsWriter::default(), RowsWriter::default());
    rows.push(1, 5, 1_000, b"k", &tail);
    rows.push(0, 6, -1, b"", &tombstone);
    bare.push(0, 7, 1_000, b"only the key", b"");
    let present = Newest::Present { offset: 5, timestamp: 6, tail: Tail::read(&tail).expect("just made") };
    let values = [present, Newest::Absent, Newest::Deleted { offset: 5, timestamp: 6 }]
        .map(|newest| KeyState { partition: 1, true_at: 8, newest });
    let all = [
        Reply::Values { values: values.to_vec(), explain: vec!["memtable", "run 7"] },
        Reply::Scanned(Scanned { true_at: vec![(0, 8), (1, -1)], rows: rows.rows(), next: Some(b"c") }),
        Reply::Scanned(Scanned { true_at: vec![], rows: bare.rows(), next: None }),
        Reply::Rows(rows.rows()),
        Reply::SnapshotEnd { partition: 1, offset: 8 },
        Reply::Conflict { partition: 1, offset: 6, deleted: true },
    ];
    all.iter().map(|m| input(m.code(), |out| m.encode(HEAD_OF_ALL, out))).collect()
}

const HEAD_OF_ALL: Head = Head { stream: 1, correlation: 2 };

fn input(code: u16, encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = Vec::new();
    encode(&mut frame);
    [&[code as u8], &frame[HEAD + 8..]].concat()
}

/// A few batches; the first is small and plain.
pub fn batches() -> Vec<Vec<u8>> {
    let by = ProducerSequence { producer_id: 7, epoch: 1, base_sequence: 40 };
    let one = batch(0, None, |b, out| b.push(out, 1_000, Some(b"k"), Some(b"v"), std::iter::empty()));
    let several = batch(0, Some(by), |b, out| {
        let headers = [(&b"h"[..], Some(&b"x"[..])), (b"null", None)];
        b.push(out, 1_500, Some(b"k2"), None, headers.into_iter());
        b.push(out, 900, None, Some(b""), std::iter::empty());
        b.push(out, i64::MAX, None, None, std::iter::empty());
    });
    let many = batch(0, None, |b, out| {
        (0..70).for_each(|i| b.push(out, 1_000 + i, None, Some(&[i as u8; 9]), std::iter::empty()));
    });
    let mut compressed = one.clone();
    compressed[22] = 4;
    crate::naive::repair(&mut compressed);
    let mut control = one.clone();
    control[22] = 0x20;
    crate::naive::repair(&mut control);
    vec![one, several, many, compressed, control]
}

/// The codec, then what it packed: nothing, a little, and much of the same.
fn packed() -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    for codec in 1..=4 {
        for plain in [&b""[..], b"krappy krappy krappy record", &[7; 200_000]] {
            let mut input = vec![codec as u8];
            compress::pack(codec, plain, &mut input).expect("a known codec");
            inputs.push(input);
        }
    }
    inputs
}

fn indexes() -> Vec<Vec<u8>> {
    let entry = |n: u32| index::Entry { relative: n * 7, position: n * 4_100, max_timestamp: i64::from(n) };
    let entries = [index::Entry::START, entry(1), entry(2), entry(9)];
    let bytes: Vec<u8> = entries.iter().flat_map(|e| index::encode(4711, e)).collect();
    let whole = [&index::header(4711)[..], &bytes].concat();
    vec![whole[..index::HEADER].to_vec(), whole[..whole.len() - 1].to_vec(), whole]
}

fn marks() -> Vec<Vec<u8>> {
    let durable = Boundary { segment: 4711, position: 900, offset: 4800 };
    let mark = |generation| Mark { generation, durable, log_start: 12 };
    vec![
        Mark::empty(0).encode().to_vec(),
        [mark(6).encode(), mark(7).encode()].concat(),
        [[0; 512], mark(1).encode()].concat(),
    ]
}

fn quarantines() -> Vec<Vec<u8>> {
    let hole = |n: i64| Hole { segment: 4711, from: 4096, to: 8192, first: 4711 + n, last: 4800 + n };
    let lists: [&[Hole]; 3] = [&[], &[hole(0)], &[hole(0), hole(100)]];
    lists.map(|holes| quarantine::format(holes).into_bytes()).to_vec()
}

/// What the tree is like, then operations of five bytes.
fn histories() -> Vec<Vec<u8>> {
    let history = |shape: u8| {
        let mut rng = Rng::new(u64::from(shape));
        let mut bytes = vec![0, shape];
        bytes.extend((0..150 * 5).map(|_| rng.below(256) as u8));
        bytes
    };
    (0..4).map(history).collect()
}

/// The shape, then five bytes for each call.
fn meetings() -> Vec<Vec<u8>> {
    let meeting = |shape: u8| {
        let mut rng = Rng::new(u64::from(shape));
        let mut bytes = vec![0, shape];
        bytes.extend((0..100 * 5).map(|_| rng.below(256) as u8));
        bytes
    };
    // One of each kind of limits, then none.
    [0b011_1110, 0b011_1101, 0b011_1011, 0b011_0111, 0b010_1111, 0b001_1111, 0b111_1111, 0b011_1111]
        .map(meeting)
        .into()
}

/// See [`crate::image`] for what the eleven bytes in front mean.
fn partitions() -> Vec<Vec<u8>> {
    let log: Vec<Vec<u8>> = (0..4)
        .map(|base| {
            batch(base, None, |b, out| b.push(out, 1_000, Some(b"k"), Some(b"v"), std::iter::empty()))
        })
        .collect();
    let size = log[0].len() as u16;
    let image = |flags: u8, second: u16, first: u16, durable: u16, position: u16, files: &[u8]| {
        let numbers = [second, first, durable, 0, position];
        [&[flags][..], &numbers.map(u16::to_be_bytes).concat(), files].concat()
    };
    let whole = log.concat();
    let torn = &whole[..whole.len() - 5];
    let rotten = [&log[0][..], &[0xff; 80], &log[2], &log[3]].concat();
    vec![
        image(0, 0, 0, 0, 0, &[]),
        image(0, 0, 0, 0, 0, &whole),
        image(1 | 2 | 4, 0, 0, 4, size * 4, &whole),
        image(2, 0, 0, 2, size * 2, torn),
        image(2 | 4, 0, 0, 4, size * 4, &rotten),
        image(2 | 8, 2, size * 2, 2, size * 2, &whole),
        image(2 | 8, 3, size * 2, 1, size, torn),
    ]
}

/// See [`crate::crash`] for what the bytes mean.
fn crashes() -> Vec<Vec<u8>> {
    vec![
        vec![0, 0, 0, 0, 0, 0],
        vec![3, 6, 6, 0, 0, 0, 9, 40],
        vec![3, 6, 3, 0, 70, 0, 9, 40],
        vec![3, 8, 5, 4, 10, 0, 9, 40, 200],
        vec![3, 8, 6, 3, 0, 2, 0, 0, 90, 1, 1, 0, 70, 4, 9],
        vec![3, 8, 2, 5, 0, 1, 0, 1, 0, 8, 30],
        vec![2, 8, 4, 4, 20, 1, 1, 0, 9, 1, 30],
    ]
}

/// A few entries in order: versions of a key, a tombstone, keys that share their beginnings, and the empty one.
fn entries() -> Vec<Entry<'static>> {
    let put = |key, seq, value| Entry { key, seq, kind: Kind::Put, value };
    let tombstone = |key, seq| Entry { kind: Kind::Tombstone, ..put(key, seq, b"") };
    vec![
        put(b"", 3, b"of the empty key"),
        put(b"apple", 300, b"red"),
        tombstone(b"apple", 4),
        put(b"apple", 0, b"green"),
        put(b"apples", 70_000, &[b'x'; 100]),
        tombstone(b"b\0", 9),
        put(b"key", 7, b""),
    ]
}

fn blocks() -> Vec<Vec<u8>> {
    let build = |entries: &[Entry<'_>], interval| {
        let (mut builder, mut out) = (BlockBuilder::new(interval), Vec::new());
        entries.iter().for_each(|entry| builder.add(entry));
        builder.finish(&mut out);
        out
    };
    vec![build(&entries()[..1], 16), build(&entries(), 16), build(&entries(), 2), build(&entries(), 1)]
}

/// Runs of number 42: of one entry, of a few, and of several blocks.
fn runs() -> Vec<Vec<u8>> {
    let values = [[1; 5_000], [2; 5_000]];
    let mut large = entries();
    large.extend((0..4).map(|n| Entry {
        key: b"large",
        seq: 9 - n,
        kind: Kind::Put,
        value: &values[n as usize % 2][..3_000],
    }));
    [&entries()[..1], &entries(), &large]
        .map(|entries| {
            let disk = SimDisk::new(1);
            let mut writer = RunWriter::create(&disk, Path::new("/"), 42).expect("the disk is in order");
            entries.iter().for_each(|entry| writer.add(*entry).expect("the disk is in order"));
            writer.finish().expect("the disk is in order");
            disk.raw(Path::new("/000042.run")).expect("it has just been written")
        })
        .to_vec()
}

/// Manifests of number 7: empty, with a snapshot of runs, with edits, and with a torn one.
fn manifests() -> Vec<Vec<u8>> {
    let run = |number: u64, smallest: &[u8], largest: &[u8]| RunMeta {
        number,
        bytes: 1_000,
        entries: 9,
        tombstones: 2,
        smallest: smallest.to_vec(),
        largest: largest.to_vec(),
        min_seq: 3,
        max_seq: 3 + number as i64,
    };
    let added = vec![(0, run(1, b"", b"z")), (0, run(2, b"a", b"b")), (1, run(3, b"key", b"key"))];
    let first = Edit { covered: Some(7), added, ..Edit::default() };
    let tip = Tip::empty().with(first).expect("it makes sense");
    let merge = Edit {
        horizon: Some(5),
        added: vec![(1, run(4, b"", b"b"))],
        removed: vec![1, 2],
        ..Edit::default()
    };
    let begin = |tip: &Tip| {
        let header = manifest::header(7).to_vec();
        [header, record::snapshot(tip, 7, manifest::HEADER as u64), vec![0; record::TRACE]].concat()
    };
    let mut edited = begin(&tip);
    for edit in [&merge, &Edit { covered: Some(20), ..Edit::default() }] {
        let at = edited.len() as u64;
        edited.extend(record::edit(edit, 7, at));
        edited.extend(record::trace(7, at));
    }
    let torn = edited[..edited.len() - record::TRACE - 3].to_vec();
    vec![begin(&Tip::empty()), begin(&tip), edited, torn]
}

fn batch(base: i64, by: Option<ProducerSequence>, fill: impl FnOnce(&mut Builder, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut builder = Builder::open(&mut out, 1_000);
    fill(&mut builder, &mut out);
    builder.close(&mut out, base, 1, by);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_corpus_holds_every_seed() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        for seed in all() {
            let path = corpus.join(seed.target).join(&seed.name);
            let committed = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert!(committed == seed.bytes, "{} is out of date: scripts/fuzz-seed.sh", path.display());
        }
    }

    #[test]
    fn the_naive_decoder_takes_the_seeds_that_are_batches() {
        let taken: Vec<_> = batches().iter().map(|b| crate::naive::acceptable(b).is_some()).collect();
        assert_eq!(taken, [true, true, true, true, false]);
        let records: Vec<_> =
            batches()[..3].iter().map(|b| crate::naive::records(b).unwrap().len()).collect();
        assert_eq!(records, [1, 3, 70]);
    }
}
