//! Bytes that a client should not send, and what the broker does about each: broken framing closes the connection,
//! wrong content is answered with exactly one error and the connection stays open. After every row another client still
//! works; at the end memory and descriptors are back.

mod common;

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use common::client::{Answer, Got, any_frame, batch_of, crc32c, encode, plain, poll, prepared};
use common::{Broker, Client, TempDir, eventually, kib, os};
use krappy_wire::batch::ProducerSequence;
use krappy_wire::error::ErrorCode as E;
use krappy_wire::native::{
    Body, Change, Level, Op, PlainWriter, QueueSettle, QueueTake, Request, Settle, Start, code,
};

/// Streams that every row finds registered.
const PRODUCER: u32 = 1;
const CONSUMER: u32 = 2;
const MAX_FRAME: usize = 64 << 10;
const MAX_MESSAGE: usize = 32 << 10;

/// What must come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    /// Nothing but the end of the connection.
    Close,
    /// One error, then the end.
    ErrorThenClose(E),
    /// One error, and the connection stays open.
    Error(E),
    /// One reply with this code, and the connection stays open.
    Reply(u16),
}

/// What is sent after the streams were registered, and what must come back.
struct Row {
    what: String,
    bytes: Vec<u8>,
    want: Want,
}

fn row(what: impl Into<String>, bytes: impl Into<Vec<u8>>, want: Want) -> Row {
    Row { what: what.into(), bytes: bytes.into(), want }
}

fn framing() -> Vec<Row> {
    let ping = encode(0, 99, &Request::Ping);
    let with = |at: usize, byte: u8| {
        let mut bytes = ping.clone();
        bytes[at] = byte;
        bytes
    };
    let sized = |size: u32| [&size.to_be_bytes()[..], &ping[4..]].concat();
    let largest = MAX_FRAME as u32;
    let tls = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    let kafka = [0, 0, 0, 20, 0, 18, 0, 3, 0, 0, 0, 1, 0, 2, b'm', b'e', 0, 1, b'a', 1, b'b', 0, 0, 0];
    vec![
        row("N1 first byte of the magic is wrong", with(4, 0x4c), Want::Close),
        row("N1 second byte of the magic is wrong", with(5, 0x53), Want::Close),
        row("K1 length -1", sized(u32::MAX), Want::Close),
        row("K1 length -2^31", sized(1 << 31), Want::Close),
        row("N3 length 0", sized(0), Want::Close),
        row("K2 length 11", sized(11), Want::Close),
        row("K2 length 12, the smallest there is", ping.clone(), Want::Reply(code::PONG)),
        row("K3 length 2^31-1", sized(i32::MAX as u32), Want::Close),
        row("K4 length max, and as many bytes", publish_sized(MAX_FRAME), Want::Error(E::MessageTooLarge)),
        row("K4 length max + 1", sized(largest + 1), Want::Close),
        row("K7 HTTP", &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], Want::Close),
        row("K10 a frame inside an HTTP body", [b"POST / HTTP/1.1\r\n\r\n", &ping[..]].concat(), Want::Close),
        row("K8 TLS", tls, Want::Close),
        row("K9 Kafka", kafka, Want::Close),
        row("a good frame, then a broken one", [&ping[..], &sized(3)].concat(), Want::Reply(code::PONG)),
    ]
}

/// A publish whose size field is exactly `size`.
fn publish_sized(size: usize) -> Vec<u8> {
    let overhead = plain(PRODUCER, 99, Level::Durable, 0, b"").len() - 4;
    let bytes = plain(PRODUCER, 99, Level::Durable, 0, &vec![b'x'; size - overhead]);
    assert_eq!(bytes.len() - 4, size);
    bytes
}

fn codes() -> Vec<Row> {
    let hello = encode(0, 99, &Request::Hello { version: 2, client: "from the future" });
    let mut rows = vec![
        row("N2 future version", hello, Want::ErrorThenClose(E::UnsupportedVersion)),
        row("N6 code 0", any_frame(0, 0, 99, b""), Want::Error(E::UnknownRequest)),
        row("N6 code 0x7f", any_frame(0x7f, 0, 99, b"abc"), Want::Error(E::UnknownRequest)),
        row("N6 code 0xffff", any_frame(0xffff, 0, 99, b""), Want::Error(E::UnknownRequest)),
        row("a reply sent as a request", any_frame(code::PONG, 0, 99, b""), Want::Error(E::UnknownRequest)),
    ];
    for reserved in [0x26, 0x2f, 0x34, 0x37, 0x3c, 0x3f] {
        let bytes = any_frame(reserved, 0, 99, b"");
        rows.push(row(format!("reserved code 0x{reserved:02x}"), bytes, Want::Error(E::NotAvailable)));
    }
    rows
}

fn every_request() -> Vec<Request<'static>> {
    vec![
        Request::Hello { version: 1, client: "me" },
        Request::RegisterProducer { topic: "t", idempotent: true },
        Request::RegisterConsumer { topic: "t", group: "", partition: -1, start: Start::Earliest },
        poll(0),
        Request::Subscribe { credit: 1 },
        Request::Credit { bytes: 1 },
        Request::CloseStream,
        Request::Ping,
        Request::Status,
        Request::CreateTopic { topic: "u", partitions: 1, settings: vec![("retention.ms", "1")] },
        Request::ListTopics,
        Request::DescribeTopic { topic: "t" },
        Request::DeleteTopic { topic: "t" },
        Request::DeleteRecords { topic: "t", partition: 0, offset: 0 },
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
        Request::QueueTake(TAKE),
        Request::QueueSettle(QueueSettle {
            group: "g",
            topic: "t",
            name: "me",
            how: Settle::Reject("no"),
            records: vec![(0, 1), (1, 2)],
        }),
        Request::QueueDescribe { group: "g", topic: "t" },
        Request::QueueRedrive { group: "g", topic: "t", most: 1 },
    ]
}

const TAKE: QueueTake<'_> = QueueTake {
    group: "g",
    topic: "t",
    name: "",
    partition: -1,
    most: 1,
    max_bytes: 1,
    max_wait_ms: 0,
    lock_ms: 0,
    keyed: false,
};

/// K13 to K16 for our own requests: every body one byte too short and one byte too long.
fn lengths() -> Vec<Row> {
    let mut rows = Vec::new();
    for request in every_request() {
        let code = request.code();
        let body = &encode(7, 99, &request)[16..];
        let longer = any_frame(code, 7, 99, &[body, &b"\0"[..]].concat());
        rows.push(row(format!("K16 trailing byte after 0x{code:02x}"), longer, Want::Error(E::Malformed)));
        if let Some(shorter) = body.len().checked_sub(1) {
            let shorter = any_frame(code, 7, 99, &body[..shorter]);
            rows.push(row(format!("0x{code:02x} cut short"), shorter, Want::Error(E::Malformed)));
        }
    }
    let whole = &plain(PRODUCER, 99, Level::Durable, 0, b"value")[16..];
    for cut in 0..whole.len() {
        let bytes = any_frame(code::PUBLISH, PRODUCER, 99, &whole[..cut]);
        rows.push(row(format!("a publish cut to {cut} bytes"), bytes, Want::Error(E::Malformed)));
    }
    let longer = any_frame(code::PUBLISH, PRODUCER, 99, &[whole, b"x"].concat());
    rows.push(row("K16 trailing byte after a publish", longer, Want::Error(E::Malformed)));
    rows
}

fn counts() -> Vec<Row> {
    let publish = |records: &[u8]| {
        any_frame(code::PUBLISH, PRODUCER, 99, &[&[255, 0, 0, 0, 0, 0][..], records].concat())
    };
    // One record: the broker's clock, no key, a value of one byte, then its number of headers.
    let record = [&[255; 8][..], &[255; 4], &[0, 0, 0, 1, b'v']].concat();
    let one = |rest: &[u8]| publish(&[&[0, 0, 0, 1][..], &record, rest].concat());
    let with_key = |length: u32| publish(&[&[0, 0, 0, 1][..], &[255; 8], &length.to_be_bytes()].concat());
    let create = |body: &[u8]| any_frame(code::CREATE_TOPIC, 0, 99, body);
    let malformed = Want::Error(E::Malformed);
    vec![
        row("one record without headers is fine", one(&[0, 0]), Want::Reply(code::PUBLISHED)),
        row("K17 2^32-1 records", publish(&[255; 4]), malformed),
        row("K17 2^32-1 records, one there", publish(&[&[255; 4][..], &record, &[0, 0]].concat()), malformed),
        row("no records", publish(&[0; 4]), malformed),
        row("K17 65535 headers", one(&[255, 255]), malformed),
        row("K19 a header with a value of 2^31-1", one(&[0, 1, 0, 0, 127, 255, 255, 255]), malformed),
        row("a key of 2^31-1 bytes", with_key(i32::MAX as u32), malformed),
        row("a key of -2 bytes", with_key(-2i32 as u32), malformed),
        row(
            "a timestamp of -2",
            publish(&[&[0, 0, 0, 1][..], &(-2i64).to_be_bytes(), &[255; 8], &[0; 2]].concat()),
            malformed,
        ),
        row("acks 7", any_frame(code::PUBLISH, PRODUCER, 99, &[7, 0, 0, 0, 0, 0]), malformed),
        row("format 9", any_frame(code::PUBLISH, PRODUCER, 99, &[1, 0, 0, 0, 0, 9]), malformed),
        row("K17 65535 settings", create(&[0, 1, b'u', 0, 0, 0, 1, 255, 255]), malformed),
        row("a topic name of 65535 bytes", create(&[255, 255, b'u']), malformed),
        row("K15 a topic name that is not UTF-8", create(&[0, 2, 0xff, 0xfe, 0, 0, 0, 1, 0, 0]), malformed),
        row("a bool of 2", any_frame(code::REGISTER_PRODUCER, 7, 99, &[0, 1, b't', 2]), malformed),
        row(
            "start 9",
            any_frame(
                code::REGISTER_CONSUMER,
                7,
                99,
                &[&[0, 1, b't', 0, 0, 0, 0, 0, 0, 9][..], &[0; 8]].concat(),
            ),
            malformed,
        ),
    ]
}

fn names() -> Vec<Row> {
    let long = "n".repeat(250);
    let names = [
        ".",
        "..",
        "../x",
        "a/b",
        "",
        &long,
        "a\0b",
        "a\nb",
        "\u{202e}exe",
        "%2e%2e",
        "a b",
        "+creating-x",
        "caf\u{e9}",
        "\"><img src=x>",
        "/etc/passwd",
        "C:\\x",
    ];
    let mut rows = Vec::new();
    for name in names {
        let shown: String = name.escape_debug().take(20).collect();
        let create = Request::CreateTopic { topic: name, partitions: 1, settings: vec![] };
        rows.push(row(format!("create {shown:?}"), encode(0, 99, &create), Want::Error(E::InvalidTopic)));
        let open = Request::RegisterProducer { topic: name, idempotent: false };
        rows.push(row(format!("produce to {shown:?}"), encode(7, 99, &open), Want::Error(E::InvalidTopic)));
        let describe = Request::DescribeTopic { topic: name };
        rows.push(row(format!("describe {shown:?}"), encode(0, 99, &describe), Want::Error(E::InvalidTopic)));
    }
    let settings = |settings| encode(0, 99, &Request::CreateTopic { topic: "u", partitions: 1, settings });
    let partitions = |n| encode(0, 99, &Request::CreateTopic { topic: "u", partitions: n, settings: vec![] });
    rows.extend([
        row("a setting that does not exist", settings(vec![("no.such", "1")]), Want::Error(E::InvalidConfig)),
        row(
            "a setting out of bounds",
            settings(vec![("segment.bytes", "-5")]),
            Want::Error(E::InvalidConfig),
        ),
        row("0 partitions", partitions(0), Want::Error(E::InvalidPartitions)),
        row("-2 partitions", partitions(-2), Want::Error(E::InvalidPartitions)),
        row("2^31-1 partitions", partitions(i32::MAX), Want::Error(E::InvalidPartitions)),
    ]);
    rows
}

fn streams() -> Vec<Row> {
    let register = |stream| encode(stream, 99, &Request::RegisterProducer { topic: "t", idempotent: false });
    let consume = |group, partition, start| {
        encode(7, 99, &Request::RegisterConsumer { topic: "t", group, partition, start })
    };
    let waiting = encode(CONSUMER, 98, &poll(60_000));
    let credit = encode(CONSUMER, 99, &Request::Credit { bytes: u32::MAX });
    // 2^40 is the most that a subscription holds: 256 times 2^32-1 is below, one more is above.
    let subscribed = encode(CONSUMER, 98, &Request::Subscribe { credit: u32::MAX });
    let invalid = Want::Error(E::InvalidRequest);
    vec![
        row("N4 poll on an unknown stream", encode(7, 99, &poll(0)), Want::Error(E::UnknownStream)),
        row(
            "N4 publish on an unknown stream",
            plain(7, 99, Level::Durable, 0, b"x"),
            Want::Error(E::UnknownStream),
        ),
        row("N4 an error even for acks 0", plain(7, 99, Level::None, 0, b"x"), Want::Error(E::UnknownStream)),
        row(
            "N9 close of an unknown stream",
            encode(7, 99, &Request::CloseStream),
            Want::Error(E::UnknownStream),
        ),
        row("N4 a producer under a taken number", register(PRODUCER), Want::Error(E::StreamInUse)),
        row("N4 a producer under a consumer's number", register(CONSUMER), Want::Error(E::StreamInUse)),
        row("stream 0", register(0), invalid),
        row("stream 2^31", register(1 << 31), invalid),
        row("publish on a consumer", plain(CONSUMER, 99, Level::Durable, 0, b"x"), invalid),
        row("poll on a producer", encode(PRODUCER, 99, &poll(0)), invalid),
        row("N9 credit without a subscription", credit.clone(), invalid),
        row("a second poll", [&waiting[..], &encode(CONSUMER, 99, &poll(0))].concat(), invalid),
        row(
            "subscribing during a poll",
            [&waiting[..], &encode(CONSUMER, 99, &Request::Subscribe { credit: 1 })].concat(),
            invalid,
        ),
        row(
            "a poll during a subscription",
            [&subscribed[..], &encode(CONSUMER, 99, &poll(0))].concat(),
            invalid,
        ),
        row("N5 credit beyond what is held", [&subscribed[..], &credit.repeat(256)].concat(), invalid),
        row("one partition in a group", consume("g", 0, Start::Earliest), invalid),
        row("an offset in a group", consume("g", -1, Start::Offset(0)), invalid),
        row("a committed position without a group", consume("", -1, Start::Committed), invalid),
        row(
            "a consumer of partition 1",
            consume("", 1, Start::Earliest),
            Want::Error(E::UnknownTopicOrPartition),
        ),
        row("a consumer of partition -2", consume("", -2, Start::Earliest), invalid),
        row("a consumer from -5", consume("", -1, Start::Offset(-5)), Want::Error(E::OffsetOutOfRange)),
        row(
            "a consumer from 2^63-1",
            consume("", -1, Start::Offset(i64::MAX)),
            Want::Error(E::OffsetOutOfRange),
        ),
        row(
            "publish to partition 1",
            plain(PRODUCER, 99, Level::Durable, 1, b"x"),
            Want::Error(E::UnknownTopicOrPartition),
        ),
        row(
            "publish to partition 2^31-1",
            plain(PRODUCER, 99, Level::Durable, i32::MAX, b"x"),
            Want::Error(E::UnknownTopicOrPartition),
        ),
        row(
            "publish to partition -2",
            plain(PRODUCER, 99, Level::Durable, -2, b"x"),
            Want::Error(E::Malformed),
        ),
        row("deleting records of partition 1", delete_records(1, 0), Want::Error(E::UnknownTopicOrPartition)),
        row(
            "deleting records of partition -1",
            delete_records(-1, 0),
            Want::Error(E::UnknownTopicOrPartition),
        ),
        row("deleting records up to 2^62", delete_records(0, 1 << 62), Want::Error(E::OffsetOutOfRange)),
        row("deleting records up to -2", delete_records(0, -2), Want::Error(E::OffsetOutOfRange)),
        row("a take on a producer", take(PRODUCER, TAKE), Want::Error(E::StreamInUse)),
        row("a take on stream 0", take(0, TAKE), invalid),
        row("a take of nothing", take(9, QueueTake { most: 0, ..TAKE }), Want::Error(E::Malformed)),
        row(
            "a take from partition -2",
            take(9, QueueTake { partition: -2, ..TAKE }),
            Want::Error(E::Malformed),
        ),
        row(
            "a take from partition 1",
            take(9, QueueTake { partition: 1, ..TAKE }),
            Want::Error(E::UnknownTopicOrPartition),
        ),
        row("a take for 49 days", take(9, QueueTake { lock_ms: u32::MAX, ..TAKE }), invalid),
        row("ending what was never taken", settle(0), Want::Reply(code::SETTLED)),
        row("ending in a way that there is not", settle(9), Want::Error(E::Malformed)),
    ]
}

fn take(stream: u32, take: QueueTake<'_>) -> Vec<u8> {
    encode(stream, 99, &Request::QueueTake(take))
}

/// Ends the delivery of a record; `how` is put where the way of ending stands.
fn settle(how: u8) -> Vec<u8> {
    let settle =
        QueueSettle { group: "g", topic: "t", name: "", how: Settle::Acknowledge, records: vec![(0, 1)] };
    let mut bytes = encode(9, 99, &Request::QueueSettle(settle));
    // Behind the head of the frame and three strings.
    bytes[16 + 3 + 3 + 2] = how;
    bytes
}

fn delete_records(partition: i32, offset: i64) -> Vec<u8> {
    encode(0, 99, &Request::DeleteRecords { topic: "t", partition, offset })
}

/// A batch of one record that was changed by `change` and then given a good checksum again.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = batch_of(&[b"value"], None);
    change(&mut bytes);
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn batches() -> Vec<Row> {
    let good = batch_of(&[b"value"], None);
    let broken = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let big = vec![b'x'; MAX_MESSAGE];
    let sequence = |epoch, base_sequence| {
        batch_of(&[b"v"], Some(ProducerSequence { producer_id: 1 << 40, epoch, base_sequence }))
    };
    let cases: Vec<(&str, Vec<u8>, Want)> = vec![
        ("a good batch", good.clone(), Want::Reply(code::PUBLISHED)),
        ("N8 a flipped bit in a record", broken(good.len() - 2), Want::Error(E::CorruptMessage)),
        ("N8 a flipped bit in the checksum", broken(17), Want::Error(E::CorruptMessage)),
        ("a length one too small", broken(11), Want::Error(E::InvalidRecord)),
        ("no bytes at all", vec![], Want::Error(E::CorruptMessage)),
        ("60 bytes", good[..60].to_vec(), Want::Error(E::CorruptMessage)),
        ("a batch cut short", good[..good.len() - 1].to_vec(), Want::Error(E::CorruptMessage)),
        ("K16 a byte behind the batch", [&good[..], b"x"].concat(), Want::Error(E::InvalidRecord)),
        ("two batches", good.repeat(2), Want::Error(E::InvalidRecord)),
        (
            "a length of 2^31-1",
            changed(|b| b[8..12].copy_from_slice(&i32::MAX.to_be_bytes())),
            Want::Error(E::CorruptMessage),
        ),
        ("a length of -1", changed(|b| b[8..12].copy_from_slice(&[255; 4])), Want::Error(E::CorruptMessage)),
        ("magic 0", changed(|b| b[16] = 0), Want::Error(E::InvalidRecord)),
        ("magic 1", changed(|b| b[16] = 1), Want::Error(E::InvalidRecord)),
        ("magic 3", changed(|b| b[16] = 3), Want::Error(E::InvalidRecord)),
        ("2 records announced, 1 there", changed(|b| (b[26], b[60]) = (1, 2)), Want::Error(E::InvalidRecord)),
        (
            "2^31-1 records announced",
            changed(|b| b[57..61].copy_from_slice(&i32::MAX.to_be_bytes())),
            Want::Error(E::InvalidRecord),
        ),
        ("no records", changed(|b| b[60] = 0), Want::Error(E::InvalidRecord)),
        (
            "a last offset delta of -1",
            changed(|b| b[23..27].copy_from_slice(&[255; 4])),
            Want::Error(E::InvalidRecord),
        ),
        ("an offset delta that is not 0", changed(|b| b[64] = 2), Want::Error(E::InvalidRecord)),
        ("a record longer than the batch", changed(|b| b[61] = 0x7e), Want::Error(E::InvalidRecord)),
        ("codec 5", changed(|b| b[22] = 5), Want::Error(E::UnsupportedCompression)),
        ("a control batch", changed(|b| b[22] = 0x20), Want::Error(E::InvalidRecord)),
        ("a transactional batch", changed(|b| b[22] = 0x10), Want::Error(E::InvalidRecord)),
        ("an attribute without a meaning", changed(|b| b[21] = 0x80), Want::Error(E::InvalidRecord)),
        ("a batch above max.message.bytes", batch_of(&[&big], None), Want::Error(E::MessageTooLarge)),
        ("a producer id without an epoch", sequence(-1, 0), Want::Error(E::InvalidRecord)),
        ("a producer id without a sequence number", sequence(0, -1), Want::Error(E::InvalidRecord)),
    ];
    let mut rows: Vec<Row> = cases
        .into_iter()
        .map(|(what, batch, want)| row(what, prepared(PRODUCER, 99, Level::Durable, &batch), want))
        .collect();
    let anywhere = Request::Publish { acks: Level::Durable, partition: -1, body: Body::Batch(&good) };
    rows.push(row("a batch without a partition", encode(PRODUCER, 99, &anywhere), Want::Error(E::Malformed)));
    let mut records = PlainWriter::default();
    records.push(-1, Some(b"k"), Some(b"small"), &[]);
    records.push(-1, None, Some(&big), &[]);
    let mixed = Request::Publish { acks: Level::Durable, partition: 0, body: Body::Plain(records.records()) };
    rows.push(row(
        "a record above max.message.bytes",
        encode(PRODUCER, 99, &mixed),
        Want::Error(E::MessageTooLarge),
    ));
    rows
}

fn flags() -> Vec<String> {
    [
        "--max-streams=8",
        &format!("--socket-request-max-bytes={MAX_FRAME}"),
        &format!("--message-max-bytes={MAX_MESSAGE}"),
        "--fetch-max-wait-ms=5m",
    ]
    .map(String::from)
    .to_vec()
}

/// A connection with both streams.
fn prepared_client(broker: &Broker) -> Client {
    let mut client = broker.client();
    client.produce_to(PRODUCER, "t", false);
    client.consume_from(CONSUMER, "t", Start::Latest);
    client
}

/// Sends a row's bytes; why the answer is not the right one.
fn play(broker: &Broker, row: &Row) -> Result<(), String> {
    let mut client = prepared_client(broker);
    // A broker that has closed already need not take the rest.
    let _ = client.stream.write_all(&row.bytes);
    let first = match (row.want, client.read()) {
        (Want::Close, Got::Closed) => return Ok(()),
        (_, Got::Closed) => return Err("closed without an answer".into()),
        (_, Got::Answer(answer)) => answer,
    };
    if first.head.correlation != 99 {
        return Err(format!("an answer to {:?}", first.head));
    }
    let got = match (row.want, first.error()) {
        (Want::Error(want) | Want::ErrorThenClose(want), Some(code)) => code == want,
        (Want::Reply(want), None) => first.code == want,
        _ => false,
    };
    if !got {
        return Err(format!("answered {:?}", first.reply()));
    }
    match row.want {
        Want::ErrorThenClose(_) => match client.read() {
            Got::Closed => Ok(()),
            Got::Answer(answer) => Err(format!("and then {:?}", answer.reply())),
        },
        _ if row.what.contains("then a broken one") => match client.read() {
            Got::Closed => Ok(()),
            Got::Answer(answer) => Err(format!("and then {:?}", answer.reply())),
        },
        _ => stays_open(&mut client),
    }
}

fn stays_open(client: &mut Client) -> Result<(), String> {
    client.send_raw(&encode(0, 77, &Request::Ping));
    match client.read() {
        Got::Answer(Answer { code: code::PONG, head, .. }) if head.correlation == 77 => Ok(()),
        Got::Answer(answer) => Err(format!("and then {:?}", answer.reply())),
        Got::Closed => Err("and then it was closed".into()),
    }
}

#[test]
fn every_bad_input_has_its_answer_and_leaves_nothing_behind() {
    let data = TempDir::new("bad-input");
    let flags = flags();
    let broker = Broker::on(data.path(), &flags.iter().map(String::as_str).collect::<Vec<_>>());
    let mut other = broker.client();
    other.create_topic("t", 1, vec![]);
    other.produce_to(1, "t", false);
    let rows: Vec<Row> = [framing(), codes(), lengths(), counts(), names(), streams(), batches()]
        .into_iter()
        .flatten()
        .collect();
    let mut wrong = Vec::new();
    let mut baseline = (0, 0);
    // The first round warms the allocator up; what the second one adds is what stays.
    for round in 0..2 {
        for row in &rows {
            if let Err(why) = play(&broker, row) {
                wrong.push(format!("{}: wanted {:?}, {why}", row.what, row.want));
            }
            other.ping();
            other.publish(1, b"still here");
        }
        eventually("only one connection is left", || other.count("connections") == 1);
        if round == 0 {
            baseline = (broker.resident(), broker.open_files());
        }
    }
    let (resident, files) = (broker.resident(), broker.open_files());
    println!(
        "bad input: {} rows, {} wrong answers, resident {} -> {} KiB, open files {} -> {files}",
        rows.len(),
        wrong.len(),
        kib(baseline.0),
        kib(resident),
        baseline.1
    );
    assert!(wrong.is_empty(), "wrong answers:\n{}", wrong.join("\n"));
    assert_eq!(files, baseline.1, "descriptors");
    assert!(resident <= baseline.0 + (1 << 20), "memory: {} -> {resident}", baseline.0);
    let mut topics: Vec<_> = std::fs::read_dir(data.path().join("topics"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    topics.sort();
    assert_eq!(topics, ["t"], "no name has left a trace on the disk");
}

#[test]
fn a_topic_name_of_249_characters_is_the_longest() {
    let broker = Broker::ephemeral(&[]);
    let mut client = broker.client();
    client.create_topic(&"n".repeat(249), 1, vec![]);
    client.produce_to(1, &"n".repeat(249), false);
    assert_eq!(client.publish(1, b"x"), 0);
}

#[test]
fn a_stream_too_many_is_refused_and_a_closed_one_makes_room() {
    let broker = Broker::ephemeral(&["--max-streams=8"]);
    let mut client = broker.client();
    client.create_topic("t", 1, vec![]);
    for stream in 1..=8 {
        client.consume_from(stream, "t", Start::Earliest);
    }
    for _ in 0..100 {
        let consume =
            Request::RegisterConsumer { topic: "t", group: "", partition: -1, start: Start::Earliest };
        assert_eq!(client.call(9, &consume).error(), Some(E::TooManyStreams));
    }
    client.call(3, &Request::CloseStream);
    client.consume_from(9, "t", Start::Earliest);
}

#[test]
fn a_declared_length_costs_no_memory() {
    let broker = Broker::ephemeral(&["--socket-request-max-bytes=1GiB", "--queued-max-request-bytes=1TiB"]);
    let mut other = broker.client();
    other.ping();
    let before = broker.resident();
    let mut clients: Vec<Client> = (0..20).map(|_| broker.client()).collect();
    for client in &mut clients {
        let mut bytes = encode(0, 1, &Request::Ping);
        bytes[..4].copy_from_slice(&(1u32 << 30).to_be_bytes());
        client.send_raw(&bytes);
        client.send_raw(&[0; 1000]);
    }
    eventually("all of it has arrived", || other.count("received_bytes") >= 20 * 1016);
    let grown = broker.resident().saturating_sub(before);
    println!("20 GiB declared, 20 KiB sent: resident grew by {} KiB", kib(grown));
    assert!(grown < 8 << 20, "{grown} bytes for 20 KiB");
}

/// How a client leaves in the middle of a frame.
#[derive(Debug, Clone, Copy)]
enum Leaves {
    Fin,
    Reset,
}

#[test]
fn a_frame_that_ends_with_its_connection_is_not_applied() {
    let broker = Broker::ephemeral(&[]);
    let mut other = broker.client();
    other.create_topic("t", 1, vec![]);
    let whole = plain(PRODUCER, 99, Level::Durable, 0, b"half a record");
    let mut cases = 0;
    for leaves in [Leaves::Fin, Leaves::Reset] {
        for cut in 1..whole.len() {
            let mut client = broker.client();
            client.produce_to(PRODUCER, "t", false);
            client.send_raw(&whole[..cut]);
            match leaves {
                Leaves::Fin => {
                    client.finish();
                    assert!(client.read_to_end().is_empty(), "{leaves:?} after {cut} bytes is not answered");
                }
                Leaves::Reset => os::reset(client.stream),
            }
            cases += 1;
        }
    }
    eventually("the connections are gone", || other.count("connections") == 1);
    assert!(other.read_all(5, "t").is_empty(), "nothing was applied");
    println!("{cases} half frames, none applied");
}

#[test]
fn a_request_that_is_whole_before_the_end_is_still_answered() {
    let broker = Broker::ephemeral(&[]);
    let mut client = broker.client();
    client.produce_to(1, "t", false);
    client.send_plain(1, Level::Durable, b"last words");
    client.finish();
    let answers = client.read_to_end();
    assert_eq!(answers.iter().map(Answer::published).collect::<Vec<_>>(), [0]);
}

#[test]
fn silence_in_the_middle_of_a_frame_closes_its_connection_and_no_other() {
    let broker = Broker::ephemeral(&["--request-receive-ms=300ms"]);
    let mut other = broker.client();
    let whole = encode(0, 99, &Request::Hello { version: 1, client: "slow" });
    let cuts = [1, 3, 4, 5, 8, 16, whole.len() - 1];
    let mut silent: Vec<Client> = cuts.iter().map(|_| broker.client()).collect();
    for (client, cut) in silent.iter_mut().zip(cuts) {
        client.send_raw(&whole[..cut]);
    }
    for (client, cut) in silent.iter_mut().zip(cuts) {
        assert!(client.read_to_end().is_empty(), "silence after {cut} bytes");
    }
    assert_eq!(other.count("closed_timeout"), cuts.len() as i64);
    other.ping();
}

#[test]
fn a_drip_of_bytes_does_not_extend_the_time_of_a_frame() {
    let broker = Broker::ephemeral(&["--request-receive-ms=300ms"]);
    let mut other = broker.client();
    let mut client = broker.client();
    let whole = encode(0, 99, &Request::Hello { version: 1, client: &"d".repeat(60_000) });
    let mut sent = 0;
    for byte in whole.chunks(1) {
        if client.stream.write_all(byte).is_err() {
            break;
        }
        sent += 1;
        sleep(Duration::from_millis(5));
        if other.count("closed_timeout") == 1 {
            break;
        }
    }
    println!("a drip of {sent} bytes was cut off");
    assert!(sent < whole.len(), "the drip was never cut off");
    assert!(client.read_to_end().is_empty());
}

#[test]
fn a_busy_client_whose_writes_end_inside_frames_is_not_taken_for_a_slow_one() {
    let broker = Broker::ephemeral(&["--request-receive-ms=500ms"]);
    let mut client = broker.client();
    let ping = encode(0, 99, &Request::Ping);
    client.send_raw(&ping[..9]);
    // Every frame is whole soon after it began, but the connection always ends in a half one.
    for _ in 0..30 {
        sleep(Duration::from_millis(50));
        client.send_raw(&ping[9..]);
        client.send_raw(&ping[..9]);
        assert!(matches!(client.read(), Got::Answer(a) if a.code == code::PONG), "the connection is open");
    }
}

#[test]
fn ten_thousand_requests_whose_answers_are_never_read_cost_little_and_end() {
    let broker =
        Broker::ephemeral(&["--write-stall-ms=500ms", "--output-limit-bytes=64KiB", "--max-in-flight=64"]);
    let mut other = broker.client();
    other.ping();
    let before = broker.resident();
    let mut client = broker.client();
    client.send_raw(&encode(0, 99, &Request::Status).repeat(10_000));
    eventually("the client that does not read is closed", || other.count("closed_timeout") == 1);
    let grown = broker.resident().saturating_sub(before);
    let requests = other.count("requests");
    println!("10,000 requests unread: {requests} were taken, resident grew by {} KiB", kib(grown));
    assert!(requests < 10_000, "reading went on past the limit: {requests}");
    assert!(grown < 4 << 20, "{grown} bytes");
    assert_eq!(other.count("connections"), 1);
}
