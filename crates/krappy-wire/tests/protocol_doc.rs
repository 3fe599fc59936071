//! Holds `docs/PROTOCOL.md` to the code. The page promises a stranger that the bytes are as it says, so every code,
//! every field table and the worked example are read out of it and compared with what this crate encodes.

use std::collections::{BTreeMap, BTreeSet};

use krappy_wire::batch::Builder;
use krappy_wire::codec::Reader;
use krappy_wire::error::ErrorCode;
use krappy_wire::frame::{HEAD, Split, split};
use krappy_wire::native::{
    After, Assigned, Body, Change, Commit, CommitAt, ForgetOffsets, Get, GroupInfo, GroupLine, GroupMember,
    GroupPosition, Groups, Head, KeyState, KeysWriter, LastRead, Level, Newest, Op, PartitionInfo,
    PlainWriter, PublishIf, PublishedPart, QueuePart, QueueSettle, QueueTake, RecordsPart, Reply, Request,
    RowsWriter, Scan, Scanned, Settle, Start, TakenWriter, TopicInfo, TopicSummary, Watch, code,
};
use krappy_wire::tail::{Tail, put_tail};

const PAGE: &str = include_str!("../../../docs/PROTOCOL.md");
const NATIVE: &str = include_str!("../src/native/mod.rs");

#[test]
fn every_message_code_is_listed_with_its_name_and_no_other_is() {
    let mut listed = BTreeSet::new();
    for row in rows_under("## The codes") {
        let kind = if row[2].contains("reply") { "reply" } else { "request" };
        assert!(listed.insert((number(&row[0]), row[1].clone())), "{} is listed twice", row[1]);
        assert_eq!(kind == "reply", number(&row[0]) >= 0x80, "{} is called a {kind}", row[1]);
    }
    assert_eq!(listed, codes_in_source(), "left: docs/PROTOCOL.md, right: native::code");
}

#[test]
fn every_error_code_is_listed_with_its_number_and_no_other_is() {
    let listed: BTreeSet<(i16, String)> = rows_under("## Error codes")
        .into_iter()
        .map(|row| (row[0].parse().expect("an error number"), row[1].clone()))
        .collect();
    let defined = ErrorCode::ALL.iter().map(|c| (c.number(), c.name().to_owned())).collect();
    assert_eq!(listed, defined, "left: docs/PROTOCOL.md, right: ErrorCode::ALL");
}

#[test]
fn every_message_has_a_section_whose_fields_read_it_to_the_last_byte() {
    let sections = sections();
    let mut described = BTreeSet::new();
    for (code, body) in every_message() {
        let section =
            sections.get(&code).unwrap_or_else(|| panic!("no section (0x{code:02x}) in docs/PROTOCOL.md"));
        let mut tables = section.iter();
        let mut r = Reader::new(&body);
        match tables.next() {
            Some(fields) => walk(fields, &mut r),
            None => assert!(body.is_empty(), "section 0x{code:02x} says that the body is empty"),
        }
        if code == code::PUBLISH && body[5] == 0 {
            let mut plain = Reader::new(&body[6..]);
            walk(tables.next().expect("a table for plain records"), &mut plain);
            assert_eq!(plain.remaining(), 0, "plain records");
        }
        assert_eq!(r.remaining(), 0, "message 0x{code:02x} is longer than its table in docs/PROTOCOL.md");
        described.insert(code);
    }
    let sections: BTreeSet<u16> = sections.into_keys().collect();
    assert_eq!(sections, described, "left: sections of the page, right: messages that exist");
}

#[test]
fn the_worked_example_is_what_the_encoder_makes() {
    let blocks = hex_blocks();
    let frames = example();
    assert_eq!(blocks.len(), frames.len(), "hex blocks in docs/PROTOCOL.md");
    for (i, (block, frame)) in blocks.iter().zip(&frames).enumerate() {
        assert!(block == frame, "hex block {i} should be\n{}", dump(frame));
    }
}

#[test]
fn the_worked_example_decodes_to_what_the_text_says() {
    let blocks = hex_blocks();
    let payload = |i: usize| match split(&blocks[i], 1 << 20) {
        Ok(Split::Whole { code, payload, consumed }) if consumed == blocks[i].len() => (code, payload),
        other => panic!("hex block {i}: {other:?}"),
    };
    for i in 0..4 {
        let (code, payload) = payload(i);
        let (head, body) = Head::read(payload).unwrap();
        assert_eq!(head.correlation, i as u32 + 1);
        assert!(matches!(Request::decode(code, body), Ok(Some(_))), "hex block {i}");
        let (_, answer) = self::payload_of_reply(&blocks[i + 4]);
        assert_eq!(answer, head, "block {} answers block {i}", i + 4);
    }
    let (reply, _) = payload_of_reply(&blocks[7]);
    let Reply::Records { parts } = reply else { panic!("{reply:?}") };
    krappy_wire::batch::check(parts[0].batches).unwrap();
    krappy_wire::batch::check_records(parts[0].batches).unwrap();
}

fn payload_of_reply(frame: &[u8]) -> (Reply<'_>, Head) {
    let Ok(Split::Whole { code, payload, .. }) = split(frame, 1 << 20) else { panic!("not a frame") };
    let (head, body) = Head::read(payload).unwrap();
    (Reply::decode(code, body).unwrap().expect("a reply"), head)
}

/// The frames of the worked example, in the order of the page.
fn example() -> Vec<Vec<u8>> {
    let head = |stream, correlation| Head { stream, correlation };
    let mut records = PlainWriter::default();
    records.push(-1, Some(b"k"), Some(b"hello"), &[]);
    let mut batch = Vec::new();
    let mut builder = Builder::open(&mut batch, 1_700_000_000_000);
    builder.push(&mut batch, 1_700_000_000_000, Some(b"k"), Some(b"hello"), std::iter::empty());
    builder.close(&mut batch, 0, 1, None);

    let requests = [
        (head(1, 1), Request::RegisterProducer { topic: "greetings", idempotent: false }),
        (
            head(1, 2),
            Request::Publish { acks: Level::Durable, partition: 0, body: Body::Plain(records.records()) },
        ),
        (
            head(2, 3),
            Request::RegisterConsumer {
                topic: "greetings",
                group: "",
                partition: -1,
                start: Start::Earliest,
            },
        ),
        (head(2, 4), Request::Poll { max_wait_ms: 5_000, min_bytes: 1, max_bytes: 1 << 20 }),
    ];
    let replies = [
        (
            head(1, 1),
            Reply::ProducerRegistered {
                partitions: 1,
                producer_id: -1,
                producer_epoch: -1,
                max_message_bytes: 1_048_588,
            },
        ),
        (
            head(1, 2),
            Reply::Published {
                level: Level::Durable,
                parts: vec![PublishedPart { partition: 0, base_offset: 0, count: 1 }],
            },
        ),
        (head(2, 3), Reply::ConsumerRegistered { member: "", positions: vec![(0, 0)] }),
        (
            head(2, 4),
            Reply::Records {
                parts: vec![RecordsPart {
                    partition: 0,
                    error: 0,
                    position: 0,
                    next: 1,
                    high_watermark: 1,
                    log_start: 0,
                    batches: &batch,
                }],
            },
        ),
    ];
    let requests = requests.iter().map(|(head, request)| encoded(|out| request.encode(*head, out)));
    requests.chain(replies.iter().map(|(head, reply)| encoded(|out| reply.encode(*head, out)))).collect()
}

/// One of every message, with every list filled and every optional value both ways: code and body.
fn every_message() -> Vec<(u16, Vec<u8>)> {
    let mut records = PlainWriter::default();
    records.push(-1, Some(b"key"), None, &[("h", None), ("i", Some(b"x"))]);
    records.push(5, None, Some(b"value"), &[]);
    let requests = [
        Request::Hello { version: 1, client: "me" },
        Request::RegisterProducer { topic: "t", idempotent: true },
        Request::Publish { acks: Level::Appended, partition: -1, body: Body::Plain(records.records()) },
        Request::Publish { acks: Level::None, partition: 3, body: Body::Batch(b"batch") },
        Request::RegisterConsumer { topic: "t", group: "g", partition: -1, start: Start::Timestamp(5) },
        Request::Poll { max_wait_ms: 1, min_bytes: 2, max_bytes: 3 },
        Request::Subscribe { credit: 4 },
        Request::Credit { bytes: 5 },
        Request::CloseStream,
        Request::Ping,
        Request::Status,
        Request::CreateTopic { topic: "t", partitions: 3, settings: vec![("a", "b"), ("c", "")] },
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
    ];
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
    let topic = TopicInfo {
        name: "t",
        id: [9; 16],
        partitions: vec![partition; 2],
        settings: vec![("a", "b", "topic"), ("c", "d", "default")],
    };
    let replies = [
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
        Reply::Pong,
        Reply::StatusIs { values: vec![("up", 1), ("down", -1)] },
        Reply::Topic(topic),
        Reply::Topics { topics: vec![TopicSummary { name: "t", partitions: 1, records: 2, bytes: 3 }; 2] },
        Reply::Trimmed { log_start: 4 },
        Reply::GoAway { message: "bye" },
        Reply::Error { code: 3, message: "m", hint: "h" },
    ];
    let head = Head { stream: 1, correlation: 2 };
    let body = |frame: Vec<u8>| frame[HEAD + 8..].to_vec();
    let requests = requests.iter().map(|m| (m.code(), body(encoded(|out| m.encode(head, out)))));
    let replies = replies.iter().map(|m| (m.code(), body(encoded(|out| m.encode(head, out)))));
    requests
        .chain(replies)
        .chain(every_keyed_message())
        .chain(every_message_of_queues())
        .chain(every_message_of_groups())
        .collect()
}

/// The same for the messages of compacted topics.
fn every_keyed_message() -> Vec<(u16, Vec<u8>)> {
    let after = After { partition: 2, offset: 9, max_wait_ms: 500 };
    let mut keys = KeysWriter::default();
    keys.push(b"a key");
    keys.push(b"");
    let mut record = PlainWriter::default();
    record.push(-1, Some(b"key"), None, &[("h", None), ("i", Some(b"x"))]);
    let scan = Scan {
        topic: "t",
        partition: -1,
        reverse: true,
        keys_only: true,
        from: b"a",
        to: None,
        as_of: vec![(0, 7), (1, -1)],
        after: After::NONE,
        limit: 10,
        max_bytes: 1 << 20,
        cursor: b"page two",
    };
    let requests = [
        Request::Get(Get { topic: "t", partition: 1, as_of: -1, after, explain: true, keys: keys.keys() }),
        Request::Scan(Scan { to: Some(b"z"), ..scan.clone() }),
        Request::Scan(scan),
        Request::Watch(Watch { topic: "t", partition: 1, from: b"", to: None, credit: 9, snapshot: false }),
        Request::PublishIf(PublishIf {
            acks: Level::Appended,
            partition: -1,
            expected: 5,
            record: record.records(),
        }),
    ];
    let mut tail = Vec::new();
    put_tail(&mut tail, Some(b"value"), std::iter::empty());
    let mut rows = RowsWriter::default();
    rows.push(1, 5, 1_000, b"k", &tail);
    rows.push(0, 6, -1, b"", &tail);
    let present = Newest::Present { offset: 5, timestamp: 6, tail: Tail::read(&tail).unwrap() };
    let values = [present, Newest::Absent, Newest::Deleted { offset: 5, timestamp: 6 }]
        .map(|newest| KeyState { partition: 1, true_at: 8, newest });
    let replies = [
        Reply::Values { values: values.to_vec(), explain: vec!["memtable", ""] },
        Reply::Scanned(Scanned { true_at: vec![(0, 8), (1, -1)], rows: rows.rows(), next: Some(b"c") }),
        Reply::Rows(rows.rows()),
        Reply::SnapshotEnd { partition: 1, offset: 8 },
        Reply::Conflict { partition: 1, offset: 6, deleted: true },
    ];
    let head = Head { stream: 1, correlation: 2 };
    let body = |frame: Vec<u8>| frame[HEAD + 8..].to_vec();
    let requests = requests.iter().map(|m| (m.code(), body(encoded(|out| m.encode(head, out)))));
    requests.chain(replies.iter().map(|m| (m.code(), body(encoded(|out| m.encode(head, out)))))).collect()
}

/// The same for the messages of queues.
fn every_message_of_queues() -> Vec<(u16, Vec<u8>)> {
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
    let settle = QueueSettle {
        group: "g",
        topic: "t",
        name: "",
        how: Settle::Reject("not JSON"),
        records: vec![(0, 7), (1, 8)],
    };
    let requests = [
        Request::QueueTake(take),
        Request::QueueSettle(settle),
        Request::QueueDescribe { group: "g", topic: "t" },
        Request::QueueRedrive { group: "g", topic: "t", most: 7 },
    ];
    let mut tail = Vec::new();
    put_tail(&mut tail, Some(b"value"), std::iter::empty());
    let mut taken = TakenWriter::default();
    taken.push((1, 5), 1_000, 2, Some(b"k"), &tail);
    taken.push((0, 6), -1, 1, None, &tail);
    let replies = [
        Reply::Taken(taken.records()),
        Reply::Settled { results: vec![0, 121] },
        Reply::QueueIs { parts: vec![QueuePart { oldest_holder: "me", ..QueuePart::default() }; 2] },
        Reply::Redriven { moved: 3 },
    ];
    let head = Head { stream: 1, correlation: 2 };
    let body = |frame: Vec<u8>| frame[HEAD + 8..].to_vec();
    let requests = requests.iter().map(|m| (m.code(), body(encoded(|out| m.encode(head, out)))));
    requests.chain(replies.iter().map(|m| (m.code(), body(encoded(|out| m.encode(head, out)))))).collect()
}

/// The same for the messages about groups.
fn every_message_of_groups() -> Vec<(u16, Vec<u8>)> {
    let at = CommitAt { topic: "t", partition: 1, offset: 5, metadata: "where I was" };
    let requests = [
        Request::Commit(Commit { group: "g", positions: vec![at; 2] }),
        Request::ForgetOffsets(ForgetOffsets { group: "g", partitions: vec![("t", 1), ("u", 0)] }),
        Request::ListGroups { after: "f", limit: 100 },
        Request::DescribeGroup { group: "g" },
        Request::DeleteGroup { group: "g" },
        Request::Released { number: 3 },
    ];
    let line = GroupLine {
        name: "g",
        state: "Stable",
        kind: "consumer",
        members: 1,
        topics: 1,
        lag: 7,
        last_commit: 1_000,
        lost: 3,
    };
    let share = vec![("t", 0), ("t", 1)];
    let member = GroupMember { id: "m", instance: "", client: "c", host: "/127.0.0.1", share };
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
    let replies = [
        Reply::Each { errors: vec![0, 3] },
        Reply::Groups(Groups { groups: vec![line; 2], more: true }),
        Reply::Group(GroupInfo {
            line,
            protocol: "range",
            members: vec![member.clone(), member],
            positions: vec![position; 2],
        }),
        Reply::Assigned(Assigned { number: 3, release: true, positions: vec![(0, 5), (2, 0)] }),
    ];
    let head = Head { stream: 1, correlation: 2 };
    let body = |frame: Vec<u8>| frame[HEAD + 8..].to_vec();
    let requests = requests.iter().map(|m| (m.code(), body(encoded(|out| m.encode(head, out)))));
    requests.chain(replies.iter().map(|m| (m.code(), body(encoded(|out| m.encode(head, out)))))).collect()
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

/// Reads a message by its table: a list's count is followed by the rows one dash deeper, once for each item, and so is
/// a bool, if it is 1.
fn walk(fields: &[Field], r: &mut Reader<'_>) {
    let mut i = 0;
    while i < fields.len() {
        let field = &fields[i];
        let items = fields[i + 1..].iter().take_while(|f| f.depth > field.depth).count();
        read_field(field, &fields[i + 1..i + 1 + items], r);
        i += 1 + items;
    }
}

fn read_field(field: &Field, items: &[Field], r: &mut Reader<'_>) {
    let count = match field.kind.as_str() {
        "u8" => r.u8().map(|_| 0),
        "bool" => r.u8().map(|v| {
            assert!(v < 2, "{}", field.name);
            u32::from(v)
        }),
        "u16" | "i16" => r.u16().map(|_| 0),
        "u32" | "i32" => r.u32().map(|_| 0),
        "u64" | "i64" => r.u64().map(|_| 0),
        "string" => r.string().map(|_| 0),
        "bytes" => r.bytes().map(|_| 0),
        "nullable bytes" => r.nullable_bytes().map(|_| 0),
        "16 bytes" => r.take(16).map(|_| 0),
        "rest" => {
            r.rest();
            Ok(0)
        }
        "list" => r.u32(),
        "short list" => r.u16().map(u32::from),
        other => panic!("docs/PROTOCOL.md gives {} the type {other}, which is none", field.name),
    };
    for _ in 0..count.unwrap_or_else(|e| panic!("{}: {e}", field.name)) {
        walk(items, r);
    }
}

#[derive(Debug)]
struct Field {
    depth: usize,
    name: String,
    kind: String,
}

/// The field tables of every `### Name (0x..)` section, by code.
fn sections() -> BTreeMap<u16, Vec<Vec<Field>>> {
    let mut sections: BTreeMap<u16, Vec<Vec<Field>>> = BTreeMap::new();
    let mut current = None;
    let mut in_table = false;
    for line in PAGE.lines() {
        if line.starts_with('#') {
            current = line.strip_prefix("### ").and_then(|h| h.rsplit_once('(')).map(|(_, c)| {
                let code = number(c.trim_end_matches(')'));
                assert!(sections.insert(code, Vec::new()).is_none(), "two sections for 0x{code:02x}");
                code
            });
        }
        let Some(tables) = current.and_then(|c| sections.get_mut(&c)) else { continue };
        if line.starts_with("| Field | Type |") {
            tables.push(Vec::new());
            in_table = true;
        } else if !line.starts_with('|') {
            in_table = false;
        } else if in_table && !line.starts_with("|---") {
            let cells = cells(line);
            let name = cells[0].trim_start_matches("- ");
            let depth = (cells[0].len() - name.len()) / 2;
            tables.last_mut().expect("a table was begun").push(Field {
                depth,
                name: name.to_owned(),
                kind: cells[1].clone(),
            });
        }
    }
    sections
}

/// The rows of the first table after a heading, without its head.
fn rows_under(heading: &str) -> Vec<Vec<String>> {
    let (_, after) = PAGE.split_once(&format!("\n{heading}\n")).expect("the heading exists");
    let table = after.lines().skip_while(|l| !l.starts_with('|')).take_while(|l| l.starts_with('|'));
    table.skip(2).map(cells).collect()
}

fn cells(row: &str) -> Vec<String> {
    row.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect()
}

fn number(text: &str) -> u16 {
    u16::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_else(|_| panic!("{text} is no code"))
}

/// The constants of `native::code`, read from its source: Rust cannot list them.
fn codes_in_source() -> BTreeSet<(u16, String)> {
    let (_, module) = NATIVE.split_once("pub mod code {").expect("the module exists");
    let (module, _) = module.split_once("\n}\n").expect("the module ends");
    let constants = module.lines().filter_map(|l| l.trim().strip_prefix("pub const "));
    constants
        .map(|c| {
            let (name, value) = c.split_once(": u16 = ").expect("codes are u16");
            (number(value.trim_end_matches(';')), name.to_owned())
        })
        .collect()
}

/// The bytes of every block fenced as `hex`; what follows a semicolon is a comment.
fn hex_blocks() -> Vec<Vec<u8>> {
    let fenced = PAGE.split("```hex\n").skip(1).map(|b| b.split_once("```").expect("a block ends").0);
    fenced
        .map(|block| {
            let digits = block.lines().flat_map(|l| l.split(';').next().unwrap_or("").split_whitespace());
            digits.map(|d| u8::from_str_radix(d, 16).unwrap_or_else(|_| panic!("{d} is no byte"))).collect()
        })
        .collect()
}

fn dump(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).map(|c| c.iter().map(|b| format!("{b:02x} ")).collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}
