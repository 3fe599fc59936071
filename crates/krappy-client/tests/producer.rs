//! Producers against a scripted broker: batching, retries in order, bounded memory, reconnecting.

mod fake;

use fake::{Fake, script, values};
use krappy_client::{Error, ErrorCode, Level, Record};
use krappy_wire::batch::Header;
use krappy_wire::native::Request;
use std::sync::mpsc;
use std::time::Duration;

#[test]
fn a_record_is_delivered_with_partition_offset_and_level() {
    let fake = Fake::new(vec![script(|peer| {
        assert!(peer.register_producer(4, 9));
        let (head, partition, bytes) = peer.publish();
        assert_eq!(partition, 2);
        assert_eq!(Header::read(&bytes).unwrap().producer_id, 9);
        peer.published(head, partition, 41, 1);
    })]);
    let client = fake.client();
    let producer = client.producer("t").build().unwrap();
    let (tell, told) = mpsc::channel();
    let record = Record::new("x").partition(2).header("h", Some("v"));
    let delivery = producer.send_with(record, move |o| tell.send(o).unwrap()).unwrap();
    let delivered = delivery.wait().unwrap();
    assert_eq!((delivered.partition, delivered.offset, delivered.level), (2, 41, Level::Durable));
    assert_eq!(told.recv().unwrap(), Ok(delivered));
    fake.join();
}

#[test]
fn keys_choose_the_partition_as_kafkas_clients_do() {
    let fake = Fake::new(vec![script(|peer| {
        peer.register_producer(4, 9);
        let (head, partition, _) = peer.publish();
        assert_eq!(partition as u32, krappy_wire::partition::partition_for(b"foobar", 4));
        peer.published(head, partition, 0, 1);
    })]);
    let producer = fake.client().producer("t").build().unwrap();
    producer.send(Record::new("x").key("foobar")).unwrap().wait().unwrap();
    assert!(matches!(producer.send(Record::new("x").partition(4)), Err(Error::Invalid(_))));
    fake.join();
}

#[test]
fn what_was_not_answered_is_sent_again_in_order_under_the_same_numbers() {
    let fake = Fake::new(vec![
        script(|peer| {
            assert!(peer.register_producer(1, 9));
            let first = peer.publish();
            let second = peer.publish();
            assert_eq!((values(&first.2), values(&second.2)), (vec!["a".into()], vec!["b".into()]));
            // The second answer comes, the first is lost with the connection.
            peer.published(second.0, 0, 1, 1);
        }),
        script(|peer| {
            assert!(!peer.register_producer(1, 10), "the id is kept");
            let (head, _, bytes) = peer.publish();
            let header = Header::read(&bytes).unwrap();
            assert_eq!((header.producer_id, header.base_sequence), (9, 0));
            peer.published(head, 0, 0, 1);
            let (head, _, bytes) = peer.publish();
            assert_eq!(Header::read(&bytes).unwrap().base_sequence, 2);
            peer.published(head, 0, 2, 1);
        }),
    ]);
    let client = fake.client();
    let producer = client.producer("t").build().unwrap();
    let a = producer.send(Record::new("a")).unwrap();
    let b = producer.send(Record::new("b")).unwrap();
    assert_eq!((a.wait().unwrap().offset, b.wait().unwrap().offset), (0, 1));
    assert_eq!(producer.send(Record::new("c")).unwrap().wait().unwrap().offset, 2);
    producer.close().unwrap();
    fake.join();
}

#[test]
fn a_refusal_that_may_pass_is_retried_and_those_behind_it_keep_their_order() {
    let fake = Fake::new(vec![script(|peer| {
        peer.register_producer(1, 9);
        let first = peer.publish();
        let second = peer.publish();
        peer.refuse(second.0, ErrorCode::OutOfOrderSequence);
        peer.refuse(first.0, ErrorCode::StorageError);
        for expected in ["a", "b"] {
            let (head, _, bytes) = peer.publish();
            assert_eq!(values(&bytes), [expected]);
            peer.published(head, 0, i64::from(Header::read(&bytes).unwrap().base_sequence), 1);
        }
    })]);
    let producer = fake.client().producer("t").build().unwrap();
    let a = producer.send(Record::new("a")).unwrap();
    let b = producer.send(Record::new("b")).unwrap();
    assert_eq!((a.wait().unwrap().offset, b.wait().unwrap().offset), (0, 1));
    fake.join();
}

#[test]
fn a_forgotten_producer_starts_again_under_a_new_id() {
    let fake = Fake::new(vec![script(|peer| {
        peer.register_producer(1, 9);
        let (head, _, _) = peer.publish();
        peer.refuse(head, ErrorCode::UnknownProducerId);
        assert!(peer.register_producer(1, 10));
        peer.request(|_, request| assert_eq!(request, Request::CloseStream));
        let (head, _, bytes) = peer.publish();
        let header = Header::read(&bytes).unwrap();
        assert_eq!((header.producer_id, header.base_sequence), (10, 0));
        peer.published(head, 0, 5, 1);
    })]);
    let producer = fake.client().producer("t").build().unwrap();
    assert_eq!(producer.send(Record::new("a")).unwrap().wait().unwrap().offset, 5);
    fake.join();
}

#[test]
fn a_full_buffer_blocks_until_there_is_room_or_time_runs_out() {
    let (go, wait) = mpsc::channel::<()>();
    let fake = Fake::new(vec![script(move |peer| {
        peer.register_producer(1, 9);
        wait.recv().unwrap();
        let mut offset = 0;
        while offset < 3 {
            let (head, _, bytes) = peer.publish();
            let count = values(&bytes).len();
            peer.published(head, 0, offset, count as u32);
            offset += count as i64;
        }
    })]);
    let client = fake.client();
    let short = Duration::from_millis(100);
    let producer = client.producer("t").buffer_bytes(2500).max_block(short).build().unwrap();
    let first: Vec<_> = (0..2).map(|_| producer.send(Record::new([b'x'; 1000])).unwrap()).collect();
    assert_eq!(producer.send(Record::new([b'x'; 1000])).unwrap_err(), Error::BufferFull { limit: 2500 });
    assert!(producer.buffered_bytes() <= 2500);
    assert!(matches!(producer.send(Record::new([b'x'; 5000])), Err(Error::TooLarge { .. })));
    go.send(()).unwrap();
    first.iter().for_each(|d| assert!(d.wait().is_ok()));
    producer.send(Record::new([b'x'; 1000])).unwrap().wait().unwrap();
    assert_eq!(producer.buffered_bytes(), 0);
    fake.join();
}

#[test]
fn a_refusal_for_good_is_told_and_the_next_record_closes_the_gap() {
    let fake = Fake::new(vec![script(|peer| {
        peer.register_producer(1, 9);
        let (head, _, _) = peer.publish();
        peer.refuse(head, ErrorCode::InvalidRecord);
        let (head, _, bytes) = peer.publish();
        assert_eq!(Header::read(&bytes).unwrap().base_sequence, 0);
        peer.published(head, 0, 0, 1);
    })]);
    let producer = fake.client().producer("t").build().unwrap();
    let bad = producer.send(Record::new("bad")).unwrap().wait().unwrap_err();
    assert_eq!(bad.code(), Some(ErrorCode::InvalidRecord));
    producer.send(Record::new("good")).unwrap().wait().unwrap();
    fake.join();
}

#[test]
fn without_acks_a_refusal_is_told_by_a_later_call() {
    let fake = Fake::new(vec![script(|peer| {
        assert!(!peer.register_producer(1, 9), "sequence numbers need answers");
        let (head, _, _) = peer.publish();
        peer.refuse(head, ErrorCode::MessageTooLarge);
        // Whatever comes next, until the client is done.
        while peer.try_request(|_, _| ()).is_some() {}
    })]);
    let client = fake.client();
    let producer = client.producer("t").acks(Level::None).build().unwrap();
    assert_eq!(producer.send(Record::new("x")).unwrap().wait().unwrap().offset, -1);
    let refusal = loop {
        if let Err(error) = producer.flush() {
            break error;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert_eq!(refusal.code(), Some(ErrorCode::MessageTooLarge));
    drop(producer);
    client.close();
    fake.join();
}

#[test]
fn dropping_a_producer_fails_what_was_not_delivered() {
    let fake = Fake::new(vec![script(|peer| {
        peer.register_producer(1, 9);
        while peer.try_request(|_, _| ()).is_some() {}
    })]);
    let client = fake.client();
    let producer = client.producer("t").linger(Duration::from_secs(60)).build().unwrap();
    let delivery = producer.send(Record::new("x")).unwrap();
    drop(producer);
    assert_eq!(delivery.wait(), Err(Error::Closed));
    client.close();
    fake.join();
}

#[test]
fn a_panicking_callback_harms_nobody_else() {
    let fake = Fake::new(vec![script(|peer| {
        peer.register_producer(1, 9);
        for offset in 0..2 {
            let (head, _, _) = peer.publish();
            peer.published(head, 0, offset, 1);
        }
    })]);
    let producer = fake.client().producer("t").build().unwrap();
    let first = producer.send_with(Record::new("a"), |_| panic!("on purpose")).unwrap();
    assert_eq!(first.wait().unwrap().offset, 0);
    assert_eq!(producer.send(Record::new("b")).unwrap().wait().unwrap().offset, 1);
    fake.join();
}
