//! Queues against a scripted broker: what is asked, what becomes of it, and what a break does.

mod fake;

use fake::{Fake, Peer, script};
use krappy_client::{Error, ErrorCode, Settle};
use krappy_wire::native::{Head, QueuePart, QueueSettle, QueueTake, Reply, Request, TakenWriter};
use krappy_wire::tail::put_tail;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(10);

fn take(peer: &mut Peer, check: impl FnOnce(&QueueTake<'_>)) -> Head {
    peer.request(|head, request| {
        let Request::QueueTake(take) = request else { panic!("not a take: {request:?}") };
        check(&take);
        head
    })
}

fn give(peer: &mut Peer, head: Head, offset: i64, value: &str) {
    let mut tail = Vec::new();
    put_tail(&mut tail, Some(value.as_bytes()), [(&b"h"[..], None)].into_iter());
    let mut taken = TakenWriter::default();
    taken.push((3, offset), 8, 2, Some(b"k"), &tail);
    peer.reply(head, &Reply::Taken(taken.records()));
}

fn settle(peer: &mut Peer, on: Head, how: Settle<'_>, results: Vec<i16>) {
    let head = peer.request(|head, request| {
        let wanted = QueueSettle { group: "g", topic: "t", name: "", how, records: vec![(3, 7)] };
        assert_eq!((request, head.stream), (Request::QueueSettle(wanted), on.stream));
        head
    });
    peer.reply(head, &Reply::Settled { results });
}

fn closed(peer: &mut Peer, on: Head) {
    peer.request(|head, request| assert_eq!((request, head.stream), (Request::CloseStream, on.stream)));
}

#[test]
fn a_record_is_taken_and_ended_on_one_stream() {
    let fake = Fake::new(vec![script(|peer| {
        let head = take(peer, |take| {
            assert_eq!((take.group, take.topic, take.name, take.partition), ("g", "t", "", -1));
            assert_eq!((take.most, take.lock_ms, take.keyed), (5, 60_000, true));
            assert!(take.max_wait_ms > 0 && take.max_wait_ms <= 10_000);
        });
        give(peer, head, 7, "v");
        settle(peer, head, Settle::Extend(1_000), vec![0]);
        settle(peer, head, Settle::Release(5), vec![0]);
        settle(peer, head, Settle::Reject("why"), vec![0]);
        settle(peer, head, Settle::Return, vec![0]);
        settle(peer, head, Settle::Acknowledge, vec![121]);
        settle(peer, head, Settle::Acknowledge, vec![0, 0]);
        assert!(peer.try_request(|_, _| ()).is_none(), "the connection is given up");
    })]);
    let queue = fake.client().queue("t", "g").max_records(5).lock(Duration::from_secs(60)).keyed(true);
    let mut queue = queue.build().unwrap();
    let taken = queue.take(LONG).unwrap().remove(0);
    assert_eq!((taken.place(), taken.deliveries, taken.record.timestamp), ((3, 7), 2, 8));
    assert_eq!((taken.record.value.as_deref(), taken.record.headers.len()), (Some(&b"v"[..]), 1));
    queue.extend(&taken, Duration::from_secs(1)).unwrap();
    queue.release(&taken, Duration::from_millis(5)).unwrap();
    queue.reject(&taken, "why").unwrap();
    queue.give_back(&taken).unwrap();
    let late = queue.acknowledge(&taken).unwrap_err();
    assert_eq!(late.code(), Some(ErrorCode::InvalidRecordState));
    // Two results for one record: no broker does that, so the connection is given up.
    assert!(matches!(queue.acknowledge(&taken), Err(Error::Malformed(_))));
    fake.join();
}

#[test]
fn a_broken_connection_is_mended_and_what_was_held_is_not_held_any_more() {
    let fake = Fake::new(vec![
        script(|peer| {
            let head = take(peer, |_| ());
            give(peer, head, 7, "v");
            take(peer, |_| ());
        }),
        script(|peer| {
            let head = take(peer, |_| ());
            give(peer, head, 7, "v");
            settle(peer, head, Settle::Acknowledge, vec![0]);
            closed(peer, head);
        }),
    ]);
    let mut queue = fake.client().queue("t", "g").build().unwrap();
    assert_eq!(queue.take(LONG).unwrap().len(), 1);
    let again = queue.take(LONG).unwrap();
    queue.acknowledge(&again[0]).unwrap();
    drop(queue);
    fake.join();
}

#[test]
fn a_refusal_is_told_and_tools_see_how_a_queue_stands() {
    let fake = Fake::new(vec![script(|peer| {
        let head = take(peer, |_| ());
        peer.refuse(head, ErrorCode::UnknownTopicOrPartition);
        closed(peer, head);
        let head = peer.request(|head, request| {
            assert_eq!(request, Request::QueueDescribe { group: "g", topic: "t" });
            head
        });
        let part =
            QueuePart { partition: 1, lag: 9, oldest_holder: "ann", oldest_ms: 5, ..Default::default() };
        peer.reply(head, &Reply::QueueIs { parts: vec![part] });
        let head = peer.request(|head, request| {
            assert_eq!(request, Request::QueueRedrive { group: "g", topic: "t", most: 7 });
            head
        });
        peer.reply(head, &Reply::Redriven { moved: 3 });
    })]);
    let client = fake.client();
    let mut queue = client.queue("t", "g").build().unwrap();
    assert_eq!(queue.take(LONG).unwrap_err().code(), Some(ErrorCode::UnknownTopicOrPartition));
    drop(queue);
    let parts = client.admin().describe_queue("t", "g").unwrap();
    assert_eq!((parts[0].lag, parts[0].oldest_holder.as_str()), (9, "ann"));
    assert_eq!(parts[0].oldest, Duration::from_millis(5));
    assert_eq!(client.admin().redrive("t", "g", 7), Ok(3));
    fake.join();
}
