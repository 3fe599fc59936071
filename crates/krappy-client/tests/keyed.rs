//! Keyed reads and conditional writes against a scripted broker: what is asked, pages, credit, conflicts, ends.

mod fake;

use fake::{Fake, rows, script};
use krappy_client::{
    ConsumerRecord, Error, ErrorCode, Expected, GetOptions, KeyRange, Level, Newest, PutIf, Record,
    ScanOptions, WatchEvent, WatchOptions,
};
use krappy_wire::native::{self, After, KeyState, Reply, Request, RowsWriter, Scanned};
use krappy_wire::tail::{Tail, put_tail};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(10);

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Offset, key and value.
fn short(record: &ConsumerRecord) -> (i64, String, Option<String>) {
    (record.offset, text(record.key.as_ref().unwrap()), record.value.as_deref().map(text))
}

fn row(offset: i64, key: &str, value: Option<&str>) -> (i64, String, Option<String>) {
    (offset, key.into(), value.map(Into::into))
}

#[test]
fn a_get_brings_the_state_of_each_key_in_the_order_asked() {
    let fake = Fake::new(vec![script(|peer| {
        let head = peer.request(|head, request| {
            let Request::Get(get) = request else { panic!("not a get: {request:?}") };
            assert_eq!((get.topic, get.partition, get.as_of, get.explain), ("t", -1, 40, true));
            assert_eq!(get.after, After { partition: 1, offset: 39, max_wait_ms: 250 });
            assert!(get.keys.iter().eq([&b"a"[..], b"b", b"c"]));
            head
        });
        let mut tail = Vec::new();
        put_tail(&mut tail, Some(b"v"), [(&b"h"[..], Some(&b"x"[..]))].into_iter());
        let known = |newest| KeyState { partition: 1, true_at: 40, newest };
        let values = vec![
            known(native::Newest::Present { offset: 7, timestamp: 8, tail: Tail::read(&tail).unwrap() }),
            known(native::Newest::Absent),
            known(native::Newest::Deleted { offset: 9, timestamp: 10 }),
        ];
        peer.reply(head, &Reply::Values { values, explain: vec!["memtable"] });
    })]);
    let options = GetOptions {
        as_of: Some(40),
        after: Some((1, 39)),
        max_wait: Duration::from_millis(250),
        explain: true,
        ..GetOptions::default()
    };
    let got = fake.client().get("t", &["a", "b", "c"], &options).unwrap();
    let Newest::Present(record) = &got.keys[0].newest else { panic!("{:?}", got.keys[0]) };
    assert_eq!(short(record), row(7, "a", Some("v")));
    assert_eq!((record.timestamp, record.partition, record.headers.len()), (8, 1, 1));
    assert_eq!((got.keys[1].value(), got.keys[1].offset()), (None, None));
    assert_eq!((got.keys[2].value(), got.keys[2].offset(), got.keys[2].true_at), (None, Some(9), 40));
    assert_eq!(got.explain, ["memtable"]);
    fake.join();
}

#[test]
fn a_get_of_nothing_asks_nothing_and_a_refusal_comes_through() {
    let fake = Fake::new(vec![script(|peer| {
        let head = peer.request(|head, _| head);
        peer.refuse(head, ErrorCode::NotCompacted);
        let head = peer.request(|head, _| head);
        // One answer for two keys.
        let values = vec![KeyState { partition: 0, true_at: 0, newest: native::Newest::Absent }];
        peer.reply(head, &Reply::Values { values, explain: vec![] });
        assert!(peer.try_request(|_, _| ()).is_none(), "the connection is given up");
    })]);
    let client = fake.client();
    let none: [&str; 0] = [];
    assert!(client.get("t", &none, &GetOptions::default()).unwrap().keys.is_empty());
    let error = client.get("t", &["a"], &GetOptions::default()).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NotCompacted));
    assert!(!error.is_retriable());
    let error = client.get("t", &["a", "b"], &GetOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Malformed(_)), "{error}");
    fake.join();
}

/// Answers one page and returns what was asked for: limit and cursor.
fn page(peer: &mut fake::Peer, rows: &RowsWriter, next: Option<&[u8]>) -> (u32, Vec<u8>) {
    let (head, limit, cursor) = peer.request(|head, request| {
        let Request::Scan(scan) = request else { panic!("not a scan: {request:?}") };
        assert_eq!((scan.from, scan.to, scan.reverse), (&b"user-"[..], Some(&b"user."[..]), true));
        (head, scan.limit, scan.cursor.to_vec())
    });
    peer.reply(head, &Reply::Scanned(Scanned { true_at: vec![(0, 9)], rows: rows.rows(), next }));
    (limit, cursor)
}

fn users(limit: Option<u64>) -> ScanOptions {
    ScanOptions { range: KeyRange::prefix("user-"), reverse: true, limit, ..ScanOptions::default() }
}

#[test]
fn a_scan_goes_from_page_to_page_until_there_is_no_cursor() {
    let fake = Fake::new(vec![script(|peer| {
        let all = [(3, "user-3", Some("c")), (1, "user-2", Some("b")), (2, "user-1", Some("a"))];
        assert_eq!(page(peer, &rows(&all[..2]), Some(b"2")), (0, vec![]));
        // A page may be empty and still not be the last one.
        assert_eq!(page(peer, &rows(&[]), Some(b"1")), (0, b"2".to_vec()));
        assert_eq!(page(peer, &rows(&all[2..]), None), (0, b"1".to_vec()));
        assert!(peer.try_request(|_, _| ()).is_none(), "nothing is asked for after the last page");
    })]);
    let client = fake.client();
    let mut scan = client.scan("t", users(None)).unwrap();
    assert!(scan.true_at().is_empty());
    let seen: Vec<_> = scan.by_ref().map(|record| short(&record.unwrap())).collect();
    assert_eq!(seen, [row(3, "user-3", Some("c")), row(1, "user-2", Some("b")), row(2, "user-1", Some("a"))]);
    assert_eq!(scan.true_at()[&0], 9);
    assert!(scan.next().is_none());
    drop((scan, client));
    fake.join();
}

#[test]
fn a_scan_stops_at_its_limit_and_after_an_error() {
    let fake = Fake::new(vec![script(|peer| {
        let three = [(3, "user-3", None), (1, "user-2", None), (2, "user-1", None)];
        assert_eq!(page(peer, &rows(&three), Some(b"next")).0, 2);
        page(peer, &rows(&three[..1]), Some(b"next"));
        let head = peer.request(|head, _| head);
        peer.refuse(head, ErrorCode::OffsetTooOld);
        page(peer, &rows(&three[..1]), Some(b""));
    })]);
    let client = fake.client();
    assert_eq!(client.scan("t", users(Some(2))).unwrap().map(Result::unwrap).count(), 2);
    assert_eq!(client.scan("t", users(Some(0))).unwrap().count(), 0);
    let mut scan = client.scan("t", users(None)).unwrap();
    assert!(scan.next().unwrap().is_ok());
    assert_eq!(scan.next().unwrap().unwrap_err().code(), Some(ErrorCode::OffsetTooOld));
    assert!(scan.next().is_none());
    let endless = client.scan("t", users(None)).unwrap().next().unwrap();
    assert!(matches!(endless, Err(Error::Malformed(_))), "a cursor that begins again");
    fake.join();
}

#[test]
fn a_watch_shows_the_snapshot_its_end_and_the_changes_and_gives_credit_back() {
    let fake = Fake::new(vec![script(|peer| {
        let head = peer.watch();
        let snapshot = rows(&[(5, "a", Some("1")), (2, "b", Some("2"))]);
        peer.reply(head, &Reply::Rows(snapshot.rows()));
        peer.reply(head, &Reply::SnapshotEnd { partition: 0, offset: 6 });
        peer.reply(head, &Reply::Rows(rows(&[(7, "b", None)]).rows()));
        let credit = |h: native::Head, r: Request<'_>| match r {
            Request::Credit { bytes } if h.stream == head.stream => bytes as usize,
            other => panic!("not credit for the watch: {other:?}"),
        };
        assert_eq!(peer.request(credit), snapshot.size());
        assert_eq!(peer.request(credit), rows(&[(7, "b", None)]).size());
        peer.request(|h, r| assert_eq!((h.stream, r), (head.stream, Request::CloseStream)));
    })]);
    let client = fake.client();
    let mut watcher = client.watch("t", WatchOptions::default()).unwrap();
    let mut next = || watcher.poll(LONG).unwrap().unwrap();
    let record = |event| match event {
        WatchEvent::Row(record) => short(&record),
        other => panic!("not a row: {other:?}"),
    };
    assert_eq!(record(next()), row(5, "a", Some("1")));
    assert_eq!(record(next()), row(2, "b", Some("2")));
    assert_eq!(next(), WatchEvent::SnapshotEnd { partition: 0, offset: 6 });
    assert_eq!(record(next()), row(7, "b", None));
    assert_eq!(watcher.poll(Duration::ZERO), Ok(None));
    drop(watcher);
    fake.join();
}

#[test]
fn a_refused_watch_and_a_broken_one_end_with_their_reason() {
    let fake = Fake::new(vec![script(|peer| {
        let head = peer.watch();
        peer.refuse(head, ErrorCode::ViewNotReady);
        peer.request(|_, r| assert_eq!(r, Request::CloseStream));
        let head = peer.watch();
        peer.reply(head, &Reply::Rows(rows(&[(1, "a", Some("1"))]).rows()));
    })]);
    let client = fake.client();
    let mut watcher = client.watch("t", WatchOptions::default()).unwrap();
    let error = watcher.poll(LONG).unwrap_err();
    assert!(error.code() == Some(ErrorCode::ViewNotReady) && error.is_retriable());
    assert_eq!(watcher.poll(LONG), Err(error));
    drop(watcher);
    let mut watcher = client.watch("t", WatchOptions::default()).unwrap();
    let events: Vec<_> = watcher.events().collect();
    assert!(matches!(events[..], [Ok(WatchEvent::Row(_)), Err(Error::Disconnected(_))]), "{events:?}");
    drop(watcher);
    fake.join();
}

#[test]
fn a_conditional_put_is_stored_or_told_what_is_there() {
    let fake = Fake::new(vec![script(|peer| {
        peer.register_producer(1, 9);
        // The stream of its own is registered once.
        assert!(!peer.register_producer(1, 10), "without an id: it is never sent twice");
        let expect = |peer: &mut fake::Peer, expected: i64| {
            peer.request(|head, request| {
                let Request::PublishIf(put) = request else { panic!("not a put: {request:?}") };
                assert_eq!((put.acks, put.partition, put.expected), (Level::Durable, -1, expected));
                let record = put.record.iter().next().unwrap();
                assert_eq!((record.key, record.value), (Some(&b"k"[..]), Some(&b"v"[..])));
                assert!(record.timestamp > 0 && record.headers().count() == 1);
                head
            })
        };
        let head = expect(peer, -1);
        peer.published(head, 2, 41, 1);
        let head = expect(peer, 7);
        peer.reply(head, &Reply::Conflict { partition: 2, offset: 41, deleted: false });
        while peer.try_request(|_, _| ()).is_some() {}
    })]);
    let client = fake.client();
    let producer = client.producer("t").build().unwrap();
    let put = |expected| producer.put_if(Record::new("v").key("k").header("h", Some("x")), expected).unwrap();
    let PutIf::Stored(at) = put(Expected::Absent) else { panic!("not stored") };
    assert_eq!((at.partition, at.offset, at.level), (2, 41, Level::Durable));
    let taken = put(Expected::Offset(7));
    assert_eq!(taken, PutIf::Conflict { partition: 2, offset: Some(41), deleted: false });
    let keyless = producer.put_if(Record::new("v"), Expected::Absent);
    assert!(matches!(keyless, Err(Error::Invalid(_))), "{keyless:?}");
    drop((producer, client));
    fake.join();
}

#[test]
fn put_and_delete_are_records_with_a_key() {
    let fake = Fake::new(vec![script(|peer| {
        peer.register_producer(1, 9);
        for value in [Some(&b"v"[..]), None] {
            let (head, partition, bytes) = peer.publish();
            let record = krappy_wire::batch::Records::new(&bytes).unwrap().next().unwrap().unwrap();
            assert_eq!((record.key, record.value), (Some(&b"k"[..]), value));
            peer.published(head, partition, 0, 1);
        }
    })]);
    let producer = fake.client().producer("t").build().unwrap();
    producer.put("k", "v").unwrap().wait().unwrap();
    producer.delete("k").unwrap().wait().unwrap();
    fake.join();
}
