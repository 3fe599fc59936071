//! Consumers against a scripted broker: positions, credit, reconnecting, what cannot be read.

mod fake;

use fake::{Fake, batch, script};
use krappy_client::{Client, Consumer, Error, Start};
use krappy_wire::native::Request;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(10);

fn seen(consumer: &mut Consumer) -> Vec<(i32, i64, String)> {
    let text = |v: &[u8]| String::from_utf8(v.to_vec()).unwrap();
    let records = consumer.poll(LONG).unwrap();
    records.iter().map(|r| (r.partition, r.offset, text(&r.value.unwrap()))).collect()
}

#[test]
fn records_arrive_and_their_bytes_come_back_as_credit() {
    let fake = Fake::new(vec![script(|peer| {
        let (partition, start, head) = peer.register_consumer(&[(0, 5)]);
        assert_eq!((partition, start), (-1, Start::Earliest));
        let bytes = batch(5, &["a", "b"]);
        peer.records(head, 0, 5, &bytes, 7);
        peer.request(|_, r| assert_eq!(r, Request::Credit { bytes: bytes.len() as u32 }));
    })]);
    let client = fake.client();
    let mut consumer = client.consumer("t").build().unwrap();
    assert_eq!(seen(&mut consumer), [(0, 5, "a".into()), (0, 6, "b".into())]);
    assert_eq!((consumer.positions()[&0], consumer.high_watermarks()[&0]), (7, 7));
    fake.join();
}

#[test]
fn a_reconnect_resumes_each_partition_at_its_own_position() {
    let fake = Fake::new(vec![
        script(|peer| {
            let (_, _, head) = peer.register_consumer(&[(0, 0), (1, 10)]);
            peer.records(head, 1, 10, &batch(10, &["p", "q"]), 12);
            peer.request(|_, r| assert!(matches!(r, Request::Credit { .. })));
        }),
        script(|peer| {
            let (partition, start, first) = peer.register_consumer(&[(0, 0)]);
            assert_eq!((partition, start), (0, Start::Offset(0)));
            let (partition, start, second) = peer.register_consumer(&[(1, 12)]);
            assert_eq!((partition, start), (1, Start::Offset(12)));
            // The batch begins below the position, as a stored batch may.
            peer.records(second, 1, 12, &batch(11, &["q", "r"]), 13);
            peer.records(first, 0, 0, &batch(0, &["a"]), 1);
            while peer.try_request(|_, _| ()).is_some() {}
        }),
    ]);
    let client = fake.client();
    let mut consumer = client.consumer("t").build().unwrap();
    assert_eq!(seen(&mut consumer), [(1, 10, "p".into()), (1, 11, "q".into())]);
    assert_eq!(seen(&mut consumer), [(1, 12, "r".into())]);
    assert_eq!(seen(&mut consumer), [(0, 0, "a".into())]);
    drop(consumer);
    client.close();
    fake.join();
}

#[test]
fn frames_that_were_not_polled_before_a_break_are_not_taken_twice() {
    let fake = Fake::new(vec![
        script(|peer| {
            let (_, _, head) = peer.register_consumer(&[(0, 0)]);
            peer.records(head, 0, 0, &batch(0, &["a"]), 1);
            peer.records(head, 0, 1, &batch(1, &["b"]), 2);
        }),
        script(|peer| {
            let (_, start, head) = peer.register_consumer(&[(0, 0)]);
            let Start::Offset(at) = start else { panic!("resumed at {start:?}") };
            for (offset, value) in [(0, "a"), (1, "b"), (2, "c")] {
                if offset >= at {
                    peer.records(head, 0, offset, &batch(offset, &[value]), offset + 1);
                }
            }
            while peer.try_request(|_, _| ()).is_some() {}
        }),
    ]);
    let client = fake.client();
    let mut consumer = client.consumer("t").build().unwrap();
    let mut all = Vec::new();
    while all.len() < 3 {
        all.extend(seen(&mut consumer).into_iter().map(|(_, offset, _)| offset));
    }
    assert_eq!(all, [0, 1, 2]);
    drop(consumer);
    client.close();
    fake.join();
}

#[test]
fn a_position_that_does_not_exist_is_told_and_a_seek_goes_on() {
    let fake = Fake::new(vec![script(|peer| {
        let (_, _, head) = peer.register_consumer(&[(0, 3)]);
        peer.out_of_range(head, 0, 3, 10);
        peer.request(|_, r| assert_eq!(r, Request::CloseStream));
        let (_, start, head) = peer.register_consumer(&[(0, 10)]);
        assert_eq!(start, Start::Offset(10));
        peer.records(head, 0, 10, &batch(10, &["x"]), 11);
        while peer.try_request(|_, _| ()).is_some() {}
    })]);
    let client = fake.client();
    let mut consumer = client.consumer("t").start(Start::Offset(3)).build().unwrap();
    let error = consumer.poll(LONG).unwrap_err();
    assert!(matches!(error, Error::Unreadable { position: 3, log_start: 10, .. }), "{error}");
    consumer.seek(0, 10).unwrap();
    assert_eq!(seen(&mut consumer), [(0, 10, "x".into())]);
    drop(consumer);
    client.close();
    fake.join();
}

#[test]
fn a_damaged_batch_never_becomes_records() {
    let fake = Fake::new(vec![
        script(|peer| {
            let (_, _, head) = peer.register_consumer(&[(0, 0)]);
            let mut bad = batch(0, &["abc"]);
            *bad.last_mut().unwrap() ^= 1;
            peer.records(head, 0, 0, &bad, 1);
            assert!(peer.try_request(|_, _| ()).is_none(), "the connection is given up");
        }),
        script(|peer| {
            let (_, _, head) = peer.register_consumer(&[(0, 0)]);
            peer.records(head, 0, 0, &batch(0, &["abc"]), 1);
            while peer.try_request(|_, _| ()).is_some() {}
        }),
    ]);
    let client = fake.client();
    let mut consumer = client.consumer("t").build().unwrap();
    assert!(matches!(consumer.poll(LONG), Err(Error::Malformed(_))));
    assert_eq!(seen(&mut consumer), [(0, 0, "abc".into())]);
    drop(consumer);
    client.close();
    fake.join();
}

#[test]
fn a_poll_without_news_is_empty_and_iteration_goes_on() {
    let fake = Fake::new(vec![script(|peer| {
        let (_, _, head) = peer.register_consumer(&[(0, 0)]);
        peer.request(|_, r| assert_eq!(r, Request::Ping));
        peer.records(head, 0, 0, &batch(0, &["a", "b"]), 2);
        while peer.try_request(|_, _| ()).is_some() {}
    })]);
    let client = fake.client();
    let mut consumer = client.consumer("t").build().unwrap();
    assert!(consumer.poll(Duration::from_millis(20)).unwrap().is_empty());
    let other = client.clone();
    let asking = std::thread::spawn(move || other.admin().ping());
    let offsets: Vec<i64> = consumer.subscribe().take(2).map(|r| r.unwrap().offset).collect();
    assert_eq!(offsets, [0, 1]);
    drop(consumer);
    client.close();
    assert!(asking.join().unwrap().is_err());
    fake.join();
}

#[test]
fn a_broker_that_gives_no_sign_of_life_is_left_for_a_new_connection() {
    let fake = Fake::new(vec![
        script(|peer| {
            peer.register_consumer(&[(0, 3)]);
            peer.request(|_, r| assert_eq!(r, Request::Ping));
            // No answer: the client gives up on this connection.
            assert!(peer.try_request(|_, _| ()).is_none());
        }),
        script(|peer| {
            let (_, start, head) = peer.register_consumer(&[(0, 3)]);
            assert_eq!(start, Start::Offset(3));
            peer.records(head, 0, 3, &batch(3, &["a"]), 4);
            while peer.try_request(|_, _| ()).is_some() {}
        }),
    ]);
    let short = Duration::from_millis(400);
    let client = Client::builder().request_timeout(short).connect(fake.address.clone()).unwrap();
    let mut consumer = client.consumer("t").build().unwrap();
    let records = loop {
        let records = consumer.poll(short).unwrap();
        if !records.is_empty() {
            break records;
        }
    };
    assert_eq!(records.iter().next().unwrap().offset, 3);
    drop(consumer);
    client.close();
    fake.join();
}
