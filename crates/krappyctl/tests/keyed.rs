//! The keyed commands as a shell sees them, against a scripted broker: what they ask, what they print, how they exit.

#[path = "../../krappy-client/tests/fake/mod.rs"]
mod fake;

use fake::{Fake, Peer, rows, script};
use krappy_client::ErrorCode;
use krappy_wire::native::{
    After, KeyState, Newest, PartitionInfo, Reply, Request, RowsWriter, Scanned, TopicInfo,
};
use krappy_wire::tail::{Tail, put_tail};
use std::io::Write;
use std::process::{Command, Output, Stdio};

fn ctl(fake: &Fake, args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_krappyctl"))
        .args(args)
        .env("KRAPPY_BROKER", &fake.address)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may not read its input, which is closed in any case.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Answers a DescribeTopic.
fn describe(peer: &mut Peer, partitions: usize, policy: &str) {
    let head = peer.request(|head, request| {
        assert_eq!(request, Request::DescribeTopic { topic: "users" });
        head
    });
    let partition =
        PartitionInfo { log_start: 0, high_watermark: 9, log_end: 9, bytes: 1, segments: 1, fenced: false };
    let info = TopicInfo {
        name: "users",
        id: [7; 16],
        partitions: vec![partition; partitions],
        settings: vec![("cleanup.policy", policy, "topic")],
    };
    peer.reply(head, &Reply::Topic(info));
}

/// Answers a Get of two keys: the first is there, the second was deleted.
fn get(peer: &mut Peer, after: After) {
    let head = peer.request(|head, request| {
        let Request::Get(get) = request else { panic!("not a get: {request:?}") };
        assert_eq!(get.after, after);
        head
    });
    let mut tail = Vec::new();
    put_tail(&mut tail, Some(b"ann"), std::iter::empty());
    let values = [
        Newest::Present { offset: 7, timestamp: 0, tail: Tail::read(&tail).unwrap() },
        Newest::Deleted { offset: 8, timestamp: 0 },
    ]
    .map(|newest| KeyState { partition: 0, true_at: 9, newest });
    peer.reply(head, &Reply::Values { values: values.to_vec(), explain: vec!["u1: memtable"] });
}

#[test]
fn get_prints_what_is_there_and_says_what_is_not() {
    let fake = Fake::new(vec![
        script(|peer| get(peer, After::NONE)),
        script(|peer| get(peer, After { partition: 0, offset: 7, max_wait_ms: 5000 })),
    ]);
    let table = ctl(&fake, &["get", "users", "u1", "u2"], b"");
    assert_eq!(text(&table.stdout), "u1\tann\n");
    let said = text(&table.stderr);
    assert!(said.contains("no key \"u2\": deleted at 0@8"), "{said}");
    assert_eq!(table.status.code(), Some(3));

    let json = ctl(&fake, &["get", "users", "u1", "u2", "--json", "--explain", "--after", "0@7"], b"");
    let first = r#"{"topic":"users","partition":0,"offset":7,"ts":"1970-01-01T00:00:00.000Z","key":"u1","value":"ann","headers":[],"state":"present","true_at":9}"#;
    let lines: Vec<&str> = text(&json.stdout).lines().collect();
    assert_eq!((lines[0], lines.len()), (first, 2));
    assert!(lines[1].contains(r#""state":"deleted""#) && !lines[1].contains("value"), "{}", lines[1]);
    assert!(text(&json.stderr).contains("u1: memtable"));
    fake.join();
}

#[test]
fn a_topic_that_is_not_compacted_is_refused_with_what_to_do() {
    let fake = Fake::new(vec![
        script(|peer| {
            let head = peer.request(|head, _| head);
            peer.refuse(head, ErrorCode::NotCompacted);
        }),
        script(|peer| describe(peer, 1, "delete")),
    ]);
    for args in [&["scan", "users"][..], &["put", "users", "u1", "ann"]] {
        let output = ctl(&fake, args, b"");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).contains("create it with -c cleanup.policy=compact"), "{args:?}");
        assert!(output.stdout.is_empty());
    }
    fake.join();
}

#[test]
fn put_reads_its_value_from_stdin_and_writes_on_a_condition() {
    let stored = |peer: &mut Peer, expected: i64, value: &'static [u8]| {
        describe(peer, 1, "compact,delete");
        peer.register_producer(1, 9);
        peer.register_producer(1, 10);
        peer.request(|head, request| {
            let Request::PublishIf(put) = request else { panic!("not a put: {request:?}") };
            let record = put.record.iter().next().unwrap();
            assert_eq!((put.expected, record.key, record.value), (expected, Some(&b"u1"[..]), Some(value)));
            head
        })
    };
    let fake = Fake::new(vec![
        script(move |peer| {
            let head = stored(peer, 41, b"ann\n\xff");
            peer.published(head, 0, 42, 1);
            while peer.try_request(|_, _| ()).is_some() {}
        }),
        script(move |peer| {
            let head = stored(peer, -1, b"bob");
            peer.reply(head, &Reply::Conflict { partition: 0, offset: 42, deleted: false });
            while peer.try_request(|_, _| ()).is_some() {}
        }),
    ]);
    let won = ctl(&fake, &["put", "users", "u1", "-", "--if-offset", "41", "--jsonl"], b"ann\n\xff");
    assert_eq!(text(&won.stdout), "{\"key\":\"u1\",\"partition\":0,\"offset\":42,\"status\":\"durable\"}\n");
    let lost = ctl(&fake, &["put", "users", "u1", "bob", "--if-absent"], b"");
    assert_eq!(lost.status.code(), Some(1));
    let said = text(&lost.stderr);
    assert!(said.contains("is at offset 42") && said.contains("--if-offset"), "{said}");
    fake.join();
}

#[test]
fn del_writes_a_tombstone_for_each_key() {
    let fake = Fake::new(vec![script(|peer| {
        describe(peer, 1, "compact");
        peer.register_producer(1, 9);
        let mut offset = 0;
        while offset < 2 {
            let (head, partition, bytes) = peer.publish();
            let records: Vec<_> =
                krappy_wire::batch::Records::new(&bytes).unwrap().map(Result::unwrap).collect();
            assert!(records.iter().all(|r| r.key.is_some() && r.value.is_none()));
            peer.published(head, partition, offset, records.len() as u32);
            offset += records.len() as i64;
        }
        while peer.try_request(|_, _| ()).is_some() {}
    })]);
    let output = ctl(&fake, &["del", "users", "u1", "u2", "--format", "csv"], b"");
    assert_eq!(text(&output.stdout), "key,partition,offset,status\nu1,0,0,durable\nu2,0,1,durable\n");
    fake.join();
}

/// Answers a Scan of keys that begin with `u`.
fn scan(peer: &mut Peer, rows: &RowsWriter, keys_only: bool) {
    let head = peer.request(|head, request| {
        let Request::Scan(scan) = request else { panic!("not a scan: {request:?}") };
        assert_eq!((scan.from, scan.to, scan.keys_only), (&b"u"[..], Some(&b"v"[..]), keys_only));
        assert_eq!((scan.limit, scan.reverse), (2, true));
        head
    });
    let page = Scanned { true_at: vec![(0, 1234)], rows: rows.rows(), next: None };
    peer.reply(head, &Reply::Scanned(page));
}

#[test]
fn scan_prints_rows_and_says_what_they_are_true_for() {
    let fake = Fake::new(vec![
        script(|peer| scan(peer, &rows(&[(2, "u2", Some("bob")), (1, "u1", Some("ann"))]), false)),
        script(|peer| {
            let mut bare = RowsWriter::default();
            bare.push(0, 2, 0, b"u2", b"");
            scan(peer, &bare, true);
        }),
    ]);
    let range = ["scan", "users", "--prefix", "u", "--reverse", "-n", "2"];
    let table = ctl(&fake, &range, b"");
    assert_eq!(text(&table.stdout), "u2\tbob\nu1\tann\n");
    assert_eq!(text(&table.stderr), "users: 2 keys   true at 0@1,234\n");
    let json = ctl(&fake, &[&range[..], &["--keys-only", "--jsonl"]].concat(), b"");
    assert_eq!(
        text(&json.stdout),
        "{\"topic\":\"users\",\"partition\":0,\"offset\":2,\"ts\":\"1970-01-01T00:00:00.000Z\",\"key\":\"u2\"}\n"
    );
    fake.join();
}

#[test]
fn watch_ends_when_every_partition_is_current_or_goes_on_to_its_count() {
    let snapshot = |peer: &mut Peer| {
        describe(peer, 2, "compact");
        let head = peer.watch();
        peer.reply(head, &Reply::Rows(rows(&[(5, "u1", Some("ann"))]).rows()));
        peer.reply(head, &Reply::SnapshotEnd { partition: 0, offset: 6 });
        peer.reply(head, &Reply::SnapshotEnd { partition: 1, offset: -1 });
        head
    };
    let fake = Fake::new(vec![
        script(move |peer| {
            snapshot(peer);
            while peer.try_request(|_, _| ()).is_some() {}
        }),
        script(move |peer| {
            let head = snapshot(peer);
            peer.reply(head, &Reply::Rows(rows(&[(7, "u1", None), (8, "u9", None)]).rows()));
            while peer.try_request(|_, _| ()).is_some() {}
        }),
    ]);
    let current = ctl(&fake, &["watch", "users", "--until-current"], b"");
    assert_eq!(current.status.code(), Some(0));
    assert_eq!(text(&current.stdout), "u1\tann\n");
    assert_eq!(text(&current.stderr), "users/0: current, at 6\nusers/1: current, empty\n");
    let counted = ctl(&fake, &["watch", "users", "-n", "2", "--jsonl", "-q"], b"");
    let lines: Vec<&str> = text(&counted.stdout).lines().collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[1], r#"{"topic":"users","partition":0,"snapshot_end":6}"#);
    assert!(lines[3].contains(r#""offset":7"#) && lines[3].contains(r#""value":null"#), "{}", lines[3]);
    assert!(counted.stderr.is_empty());
    fake.join();
}

#[test]
fn an_offset_of_a_topic_with_several_partitions_must_name_one() {
    let fake = Fake::new(vec![script(|peer| describe(peer, 3, "compact"))]);
    let output = ctl(&fake, &["scan", "users", "--as-of", "7"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("such as 0@7"), "{}", text(&output.stderr));
    fake.join();
}
