//! Every message there and back, cut short and made longer.

use super::*;
use crate::codec::Malformed;
use crate::frame::{Split, split};

const HEAD: Head = Head { stream: 7, correlation: 9 };

fn plain() -> PlainWriter {
    let mut w = PlainWriter::default();
    w.push(-1, Some(b"key"), Some(b"value"), &[("h", None), ("i", Some(b"x"))]);
    w.push(5, None, None, &[]);
    w
}

fn requests(w: &PlainWriter) -> Vec<Request<'_>> {
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
    ]
}

fn replies() -> Vec<Reply<'static>> {
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
    let w = plain();
    for request in requests(&w) {
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
    for reply in replies() {
        let mut frame = Vec::new();
        reply.encode(HEAD, &mut frame);
        let (code, bytes) = body(&frame);
        assert_eq!(Reply::decode(code, bytes), Ok(Some(reply.clone())));
        for cut in 0..bytes.len() {
            assert!(Reply::decode(code, &bytes[..cut]).is_err(), "{reply:?} cut at {cut}");
        }
    }
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
