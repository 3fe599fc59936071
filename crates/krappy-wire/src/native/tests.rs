//! Every message there and back, cut short and made longer.

use super::*;
use crate::codec::Malformed;
use crate::frame::{Split, split};
use crate::tail::{Tail, put_tail};

const HEAD: Head = Head { stream: 7, correlation: 9 };

fn plain() -> PlainWriter {
    let mut w = PlainWriter::default();
    w.push(-1, Some(b"key"), Some(b"value"), &[("h", None), ("i", Some(b"x"))]);
    w.push(5, None, None, &[]);
    w
}

/// What keyed messages are made of.
struct Keyed {
    one: PlainWriter,
    keys: KeysWriter,
    rows: RowsWriter,
    bare: RowsWriter,
    taken: TakenWriter,
    tail: Vec<u8>,
}

fn keyed() -> Keyed {
    let mut one = PlainWriter::default();
    one.push(-1, Some(b"key"), None, &[("h", None)]);
    let mut keys = KeysWriter::default();
    keys.push(b"a key");
    keys.push(b"");
    let (mut tail, mut tombstone) = (Vec::new(), Vec::new());
    let headers: [(&[u8], Option<&[u8]>); 2] = [(b"h", Some(b"x")), (b"i", None)];
    put_tail(&mut tail, Some(b"value"), headers.into_iter());
    put_tail(&mut tombstone, None, std::iter::empty());
    let mut rows = RowsWriter::default();
    rows.push(1, 5, 1_000, b"k", &tail);
    rows.push(0, 6, -1, b"", &tombstone);
    assert_eq!(rows.size(), 2 * ROW_HEAD + 1 + tail.len() + tombstone.len());
    let mut bare = RowsWriter::default();
    bare.push(0, 7, 1_000, b"only the key", b"");
    let mut taken = TakenWriter::default();
    taken.push((1, 5), 1_000, 2, Some(b"k"), &tail);
    taken.push((0, 6), -1, 1, None, &tombstone);
    Keyed { one, keys, rows, bare, taken, tail }
}

fn requests<'a>(w: &'a PlainWriter, keyed: &'a Keyed) -> Vec<Request<'a>> {
    let after = After { partition: 2, offset: 9, max_wait_ms: 500 };
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
    let watch = Watch { topic: "t", partition: 1, from: b"", to: Some(b"z"), credit: 9, snapshot: true };
    vec![
        Request::Hello { version: 1, client: "me" },
        Request::RegisterProducer { topic: "t", idempotent: true },
        Request::Publish { acks: Level::Durable, partition: -1, body: Body::Plain(w.records()) },
        Request::Publish { acks: Level::None, partition: 3, body: Body::Batch(b"batch") },
        Request::RegisterConsumer { topic: "t", group: "", partition: -1, start: Start::Timestamp(5) },
        Request::Poll { max_wait_ms: 1, min_bytes: 2, max_bytes: 3 },
        Request::Subscribe { credit: 4 },
        Request::Credit { bytes: 5 },
        Request::CloseStream,
        Request::Ping,
        Request::Status,
        Request::CreateTopic { topic: "t", partitions: 3, settings: vec![("a", "b")] },
        Request::ListTopics,
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
        Request::Commit(Commit {
            group: "g",
            positions: vec![
                CommitAt { topic: "t", partition: 1, offset: 5, metadata: "" },
                CommitAt { topic: "u", partition: 0, offset: 0, metadata: "where I was" },
            ],
        }),
        Request::ForgetOffsets(ForgetOffsets { group: "g", partitions: vec![("t", 1), ("u", 0)] }),
        Request::ListGroups { after: "f", limit: 100 },
        Request::DescribeGroup { group: "g" },
        Request::DeleteGroup { group: "g" },
        Request::Released { number: 3 },
        Request::Get(Get {
            topic: "t",
            partition: -1,
            as_of: -1,
            after: After::NONE,
            explain: true,
            keys: keyed.keys.keys(),
        }),
        Request::Get(Get {
            topic: "t",
            partition: 3,
            as_of: 7,
            after,
            explain: false,
            keys: keyed.keys.keys(),
        }),
        Request::Scan(Scan {
            reverse: false,
            keys_only: true,
            to: Some(b""),
            as_of: vec![],
            cursor: b"",
            ..scan.clone()
        }),
        Request::Scan(scan),
        Request::Watch(Watch { partition: -1, snapshot: false, to: None, ..watch.clone() }),
        Request::Watch(watch),
        Request::PublishIf(PublishIf {
            acks: Level::Durable,
            partition: -1,
            expected: -1,
            record: keyed.one.records(),
        }),
    ]
    .into_iter()
    .chain(queue_requests())
    .collect()
}

fn queue_requests() -> Vec<Request<'static>> {
    let take = QueueTake {
        group: "g",
        topic: "t",
        name: "",
        partition: -1,
        most: 10,
        max_bytes: 1 << 20,
        max_wait_ms: 500,
        lock_ms: 0,
        keyed: true,
    };
    let hows = [
        Settle::Acknowledge,
        Settle::Release(7),
        Settle::Reject("not JSON"),
        Settle::Extend(9),
        Settle::Return,
    ];
    let settle =
        |how| QueueSettle { group: "g", topic: "t", name: "me", how, records: vec![(0, 7), (1, -1)] };
    let mut requests = vec![
        Request::QueueTake(take),
        Request::QueueTake(QueueTake { name: "me", partition: 3, keyed: false, ..take }),
        Request::QueueDescribe { group: "g", topic: "t" },
        Request::QueueRedrive { group: "g", topic: "t", most: 7 },
    ];
    requests.extend(hows.map(|how| Request::QueueSettle(settle(how))));
    requests
}

fn replies(keyed: &Keyed) -> Vec<Reply<'_>> {
    let present = Newest::Present { offset: 5, timestamp: 1_000, tail: Tail::read(&keyed.tail).unwrap() };
    let known = |newest| KeyState { partition: 1, true_at: 8, newest };
    let part = RecordsPart {
        partition: 1,
        error: 0,
        position: 2,
        next: 3,
        high_watermark: 4,
        log_start: 0,
        batches: b"abc",
    };
    let partition =
        PartitionInfo { log_start: 1, high_watermark: 2, log_end: 3, bytes: 4, segments: 5, fenced: true };
    let line = GroupLine {
        name: "g",
        state: "Stable",
        kind: "classic",
        members: 1,
        topics: 1,
        lag: 7,
        last_commit: 1_000,
        lost: 3,
    };
    let position = GroupPosition {
        topic: "t",
        partition: 1,
        offset: 5,
        metadata: "where I was",
        committed_at: 1_000,
        log_start: 0,
        high_watermark: 12,
        read: Some(LastRead { offset: 7, at: 2_000, returned_to: 5, returns: 3, inferred: true }),
    };
    vec![
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
            parts: vec![PublishedPart { partition: 0, base_offset: 1, count: 2 }],
        },
        Reply::ConsumerRegistered { member: "g_0", positions: vec![(0, 5), (1, 6)] },
        Reply::Records { parts: vec![part] },
        Reply::Ack,
        Reply::Pong,
        Reply::StatusIs { values: vec![("up", 1), ("down", -1)] },
        Reply::Topic(TopicInfo {
            name: "t",
            id: [9; 16],
            partitions: vec![partition],
            settings: vec![("a", "b", "topic")],
        }),
        Reply::Topics { topics: vec![TopicSummary { name: "t", partitions: 1, records: 2, bytes: 3 }] },
        Reply::Trimmed { log_start: 4 },
        Reply::Values {
            values: vec![
                known(present),
                known(Newest::Absent),
                known(Newest::Deleted { offset: 6, timestamp: -1 }),
            ],
            explain: vec!["memtable", "run 7"],
        },
        Reply::Scanned(Scanned {
            true_at: vec![(0, 8), (1, -1)],
            rows: keyed.rows.rows(),
            next: Some(b"cursor"),
        }),
        Reply::Scanned(Scanned { true_at: vec![], rows: keyed.bare.rows(), next: None }),
        Reply::Rows(keyed.rows.rows()),
        Reply::SnapshotEnd { partition: 1, offset: -1 },
        Reply::Conflict { partition: 1, offset: 6, deleted: true },
        Reply::Each { errors: vec![0, 3] },
        Reply::Groups(Groups {
            groups: vec![line, GroupLine { lag: -1, last_commit: -1, ..line }],
            more: true,
        }),
        Reply::Group(GroupInfo {
            line,
            protocol: "range",
            members: vec![GroupMember {
                id: "m",
                instance: "",
                client: "c",
                host: "/127.0.0.1",
                share: vec![("t", 0), ("t", 1)],
            }],
            positions: vec![position],
        }),
        Reply::Assigned(Assigned { number: 3, release: true, positions: vec![(0, 5), (2, 0)] }),
        Reply::Taken(keyed.taken.records()),
        Reply::Settled { results: vec![0, 121] },
        Reply::QueueIs {
            parts: vec![QueuePart {
                partition: 1,
                start: 5,
                dead: 6,
                oldest_holder: "me",
                ..QueuePart::default()
            }],
        },
        Reply::Redriven { moved: 3 },
        Reply::GoAway { message: "bye" },
        Reply::Error { code: 3, message: "m", hint: "h" },
    ]
}

fn body(frame: &[u8]) -> (u16, &[u8]) {
    let Split::Whole { code, payload, consumed } = split(frame, 1 << 20).unwrap() else { panic!("partial") };
    assert_eq!(consumed, frame.len());
    let (head, body) = Head::read(payload).unwrap();
    assert_eq!(head, HEAD);
    (code, body)
}

#[test]
fn every_request_round_trips_and_no_truncation_or_extension_does() {
    let (w, keyed) = (plain(), keyed());
    for request in requests(&w, &keyed) {
        let mut frame = Vec::new();
        request.encode(HEAD, &mut frame);
        let (code, bytes) = body(&frame);
        assert_eq!(Request::decode(code, bytes), Ok(Some(request.clone())));
        // A prepared batch is whatever is left, so its end is the batch's own business.
        if matches!(request, Request::Publish { body: Body::Batch(_), .. }) {
            continue;
        }
        for cut in 0..bytes.len() {
            assert!(Request::decode(code, &bytes[..cut]).is_err(), "{request:?} cut at {cut}");
        }
        let long = [bytes, b"x"].concat();
        assert!(Request::decode(code, &long).is_err(), "{request:?} with a byte more");
    }
}

#[test]
fn every_reply_round_trips() {
    let keyed = keyed();
    for reply in replies(&keyed) {
        let mut frame = Vec::new();
        reply.encode(HEAD, &mut frame);
        let (code, bytes) = body(&frame);
        assert_eq!(Reply::decode(code, bytes), Ok(Some(reply.clone())));
        for cut in 0..bytes.len() {
            assert!(Reply::decode(code, &bytes[..cut]).is_err(), "{reply:?} cut at {cut}");
        }
    }
}

/// Either a flipped bit is refused, or the message is another one, and exactly the one that its bytes say.
#[test]
fn a_flipped_bit_is_refused_or_makes_another_message() {
    let (w, keyed) = (plain(), keyed());
    let bodies = requests(&w, &keyed).into_iter().map(|m| encoded(|out| m.encode(HEAD, out)));
    for frame in bodies.chain(replies(&keyed).into_iter().map(|m| encoded(|out| m.encode(HEAD, out)))) {
        let (code, good) = body(&frame);
        for bit in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            let again = match (Request::decode(code, &bad), Reply::decode(code, &bad)) {
                // The value of a start that needs none is not looked at.
                (Ok(Some(Request::RegisterConsumer { .. })), _) => continue,
                (Ok(Some(request)), _) => encoded(|out| request.encode(HEAD, out)),
                (_, Ok(Some(reply))) => encoded(|out| reply.encode(HEAD, out)),
                _ => continue,
            };
            assert_eq!(body(&again), (code, &bad[..]), "code 0x{code:02x} bit {bit}");
        }
    }
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

#[test]
fn rows_and_keys_come_back_in_order() {
    let keyed = keyed();
    let rows: Vec<_> = keyed.rows.rows().iter().collect();
    assert_eq!((rows[0].partition, rows[0].offset, rows[0].timestamp, rows[0].key), (1, 5, 1_000, &b"k"[..]));
    assert_eq!((rows[0].value(), rows[0].headers().count()), (Some(&b"value"[..]), 2));
    assert_eq!(rows[0].tail.as_ref().unwrap().bytes(), keyed.tail);
    assert!(rows[1].tail.is_some() && rows[1].value().is_none());
    assert_eq!(keyed.bare.rows().iter().next().unwrap().tail, None);
    assert!(keyed.keys.keys().iter().eq([&b"a key"[..], b""]));
}

#[test]
fn taken_records_come_back_in_order() {
    let keyed = keyed();
    let taken: Vec<_> = keyed.taken.records().iter().collect();
    assert_eq!((taken[0].offset, taken[0].deliveries, taken[0].key), (5, 2, Some(&b"k"[..])));
    assert_eq!((taken[1].key, taken[1].tail.value()), (None, None));
    let mut rotten = TakenWriter::default();
    rotten.push((0, 1), 1, 1, None, b"\x02");
    let frame = encoded(|out| Reply::Taken(rotten.records()).encode(HEAD, out));
    assert_eq!(Reply::decode(code::TAKEN, body(&frame).1), Err(Malformed::Short));
}

#[test]
fn keyed_messages_that_contradict_themselves_are_malformed() {
    let keyed = keyed();
    let get = Get {
        topic: "t",
        partition: -1,
        as_of: -1,
        after: After::NONE,
        explain: false,
        keys: keyed.keys.keys(),
    };
    let refused = |get: &Get<'_>| {
        let frame = encoded(|out| Request::Get(get.clone()).encode(HEAD, out));
        assert_eq!(Request::decode(code::GET, body(&frame).1), Err(Malformed::BadValue), "{get:?}");
    };
    refused(&Get { partition: -2, ..get.clone() });
    refused(&Get { as_of: -2, ..get.clone() });
    refused(&Get { after: After { offset: -2, ..After::NONE }, ..get.clone() });
    refused(&Get { after: After { offset: 5, ..After::NONE }, ..get.clone() });
    refused(&Get { keys: KeysWriter::default().keys(), ..get.clone() });

    let if_absent = |acks, expected, record: &PlainWriter| {
        let publish = PublishIf { acks, partition: 0, expected, record: record.records() };
        let frame = encoded(|out| Request::PublishIf(publish).encode(HEAD, out));
        Request::decode(code::PUBLISH_IF, body(&frame).1).map(|_| ())
    };
    let mut keyless = PlainWriter::default();
    keyless.push(-1, None, None, &[]);
    assert_eq!(if_absent(Level::Appended, -1, &keyed.one), Ok(()));
    assert_eq!(if_absent(Level::None, -1, &keyed.one), Err(Malformed::BadValue));
    assert_eq!(if_absent(Level::Appended, -2, &keyed.one), Err(Malformed::BadValue));
    assert_eq!(if_absent(Level::Appended, -1, &keyless), Err(Malformed::BadValue));
    assert_eq!(if_absent(Level::Appended, -1, &plain()), Err(Malformed::BadValue));

    // A watcher must not take a row without a tail for a deletion.
    let frame = encoded(|out| Reply::Rows(keyed.bare.rows()).encode(HEAD, out));
    assert_eq!(Reply::decode(code::ROWS, body(&frame).1), Err(Malformed::BadValue));
    let mut rotten = RowsWriter::default();
    rotten.push(0, 1, 1, b"k", b"\x02");
    let frame = encoded(|out| Reply::Rows(rotten.rows()).encode(HEAD, out));
    assert_eq!(Reply::decode(code::ROWS, body(&frame).1), Err(Malformed::Short));
    assert_eq!(Reply::decode(code::ROWS, &[0xff; 4]), Err(Malformed::Short));
}

#[test]
fn plain_records_come_back_in_order() {
    let w = plain();
    let records: Vec<_> = w.records().iter().collect();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].headers().count(), 2);
    assert_eq!(records[0].headers().nth(1), Some((&b"i"[..], Some(&b"x"[..]))));
    assert_eq!((records[1].timestamp, records[1].key), (5, None));
}

#[test]
fn a_topic_takes_a_bounded_number_of_settings() {
    let decode = |count| {
        let request = Request::CreateTopic { topic: "t", partitions: 1, settings: vec![("", ""); count] };
        let mut frame = Vec::new();
        request.encode(HEAD, &mut frame);
        Request::decode(code::CREATE_TOPIC, body(&frame).1).map(|_| ())
    };
    assert_eq!(decode(usize::from(MAX_SETTINGS)), Ok(()));
    assert_eq!(decode(usize::from(MAX_SETTINGS) + 1), Err(Malformed::BadValue));
}

#[test]
fn undefined_values_are_malformed() {
    let bad = |code, bytes: &[u8]| Request::decode(code, bytes).unwrap_err();
    assert_eq!(bad(code::PUBLISH, &[2, 0, 0, 0, 0, 1, 9]), Malformed::BadValue);
    assert_eq!(bad(code::PUBLISH, &[1, 0xff, 0xff, 0xff, 0xff, 1, 9]), Malformed::BadValue);
    assert_eq!(bad(code::PUBLISH, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Malformed::BadValue);
    assert_eq!(bad(code::PUBLISH, &[1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), Malformed::Short);
    assert_eq!(bad(code::REGISTER_PRODUCER, &[0, 1, b't', 2]), Malformed::BadValue);
    assert_eq!(Request::decode(0x7777, &[]), Ok(None));
}
