//! Prepared batches on the running broker: what is stored of them, compressed or not, what the settings of a topic make
//! of them, and what becomes of one that is sent twice.
//!
//! Invariant: what comes back is compared with the bytes that were sent.
#![cfg(feature = "compression")]

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::client::{batch_of, prepared};
use common::{Broker, Client, TempDir, eventually};
use krappy_client::ConsumerRecord;
use krappy_wire::batch::{self, Builder, HEADER, Header, ProducerSequence};
use krappy_wire::compress;
use krappy_wire::error::ErrorCode;
use krappy_wire::native::{Level, Reply, Request, Start};

const CODECS: [i16; 5] = [0, 1, 2, 3, 4];

/// Records "<codec>-0", "<codec>-1" and "<codec>-2" with these timestamps.
fn packed(codec: i16, timestamps: [i64; 3]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut builder = Builder::open(&mut plain, timestamps[0]);
    for (i, timestamp) in timestamps.into_iter().enumerate() {
        let value = format!("{codec}-{i}");
        builder.push(&mut plain, timestamp, Some(b"k"), Some(value.as_bytes()), std::iter::empty());
    }
    builder.close(&mut plain, 0, -1, None);
    let mut header = Header::read(&plain).unwrap();
    header.set_codec(codec);
    let mut body = plain[HEADER..].to_vec();
    if codec != 0 {
        body.clear();
        compress::pack(codec, &plain[HEADER..], &mut body).unwrap();
    }
    let mut out = Vec::new();
    batch::with_records(&header, 3, &body, &mut out);
    out
}

fn send(client: &mut Client, batch: &[u8]) -> Result<i64, ErrorCode> {
    let correlation = client.next();
    client.send_raw(&prepared(1, correlation, Level::Durable, batch));
    let answer = client.answer_to(correlation);
    answer.error().map_or_else(|| Ok(answer.published()), Err)
}

/// The stored batches of partition 0 from the start on.
fn stored(client: &mut Client, topic: &str) -> Vec<Vec<u8>> {
    client.consume_from(9, topic, Start::Earliest);
    let answer = client.call(9, &Request::Poll { max_wait_ms: 0, min_bytes: 1, max_bytes: 1 << 20 });
    let Reply::Records { parts } = answer.reply() else { panic!("{:?}", answer.reply()) };
    let mut rest = parts.first().map_or(&[][..], |part| part.batches);
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let (_, one) = batch::first(rest).expect("stored batches are whole and intact");
        batches.push(one.to_vec());
        rest = &rest[one.len()..];
    }
    client.call(9, &Request::CloseStream);
    batches
}

/// What the client that others use reads, `count` records.
fn read(broker: &Broker, topic: &str, start: Start, count: usize) -> Vec<ConsumerRecord> {
    let client = krappy_client::Client::connect(broker.addr.to_string()).unwrap();
    let mut consumer = client.consumer(topic).start(start).build().unwrap();
    let mut all = Vec::new();
    eventually("the records are read", || {
        all.extend(&consumer.poll(Duration::from_millis(100)).unwrap());
        all.len() >= count
    });
    all
}

fn values(records: &[ConsumerRecord]) -> Vec<String> {
    records.iter().map(|r| String::from_utf8(r.value.as_ref().unwrap().to_vec()).unwrap()).collect()
}

fn wall() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

#[test]
fn batches_of_every_codec_are_stored_as_they_came_and_read_to_the_record() {
    let broker = Broker::ephemeral(&[]);
    let mut client = broker.client();
    client.create_topic("t", 1, vec![]);
    client.produce_to(1, "t", false);
    let sent = CODECS.map(|codec| packed(codec, [0, 2, 1].map(|t| 1_000 + 10 * i64::from(codec) + t)));
    for (i, batch) in sent.iter().enumerate() {
        assert_eq!(send(&mut client, batch), Ok(3 * i as i64));
    }
    let stored = stored(&mut client, "t");
    assert_eq!(stored.len(), sent.len());
    for (i, (stored, sent)) in stored.iter().zip(&sent).enumerate() {
        assert_eq!(Header::read(stored).unwrap().base_offset, 3 * i as i64);
        assert_eq!(stored[16..], sent[16..], "all but base offset and leader epoch");
    }
    let expected: Vec<_> = CODECS.iter().flat_map(|c| (0..3).map(move |i| format!("{c}-{i}"))).collect();
    assert_eq!(values(&read(&broker, "t", Start::Earliest, 15)), expected);
    // The record in the middle of the last batch is the first that is not older.
    let late = read(&broker, "t", Start::Timestamp(1_042), 2);
    assert_eq!((late[0].offset, late[0].timestamp), (13, 1_042));
}

#[test]
fn with_log_append_time_records_have_the_brokers_clock() {
    let broker = Broker::ephemeral(&[]);
    let mut client = broker.client();
    client.create_topic("t", 1, vec![("message.timestamp.type", "LogAppendTime")]);
    client.produce_to(1, "t", false);
    let before = wall();
    for codec in CODECS {
        send(&mut client, &packed(codec, [5, 6, 7])).unwrap();
    }
    client.publish(1, b"plain");
    let after = wall();
    for stored in stored(&mut client, "t") {
        let header = Header::read(&stored).unwrap();
        assert!(
            header.is_log_append_time() && (before..=after).contains(&header.max_timestamp),
            "{header:?}"
        );
    }
    let records = read(&broker, "t", Start::Timestamp(before), 16);
    assert_eq!((records[0].offset, records.len()), (0, 16));
    assert!(records.iter().all(|record| (before..=after).contains(&record.timestamp)));
    assert!(records.is_sorted_by_key(|record| record.timestamp));
}

#[test]
fn a_topic_packs_what_it_is_sent_as_it_wants_it() {
    let broker = Broker::ephemeral(&[]);
    let mut client = broker.client();
    for (codec, word) in [(0, "uncompressed"), (3, "lz4"), (4, "zstd")] {
        client.create_topic(word, 1, vec![("compression.type", word)]);
        client.produce_to(1, word, false);
        for codec in CODECS {
            send(&mut client, &packed(codec, [1, 2, 3])).unwrap();
        }
        client.publish(1, b"plain");
        let codecs: Vec<_> =
            stored(&mut client, word).iter().map(|b| Header::read(b).unwrap().codec()).collect();
        assert_eq!(codecs, [codec; 6], "{word}");
        let records = read(&broker, word, Start::Earliest, 16);
        assert_eq!(
            (&values(&records)[12..], records[13].timestamp),
            (&["4-0", "4-1", "4-2", "plain"].map(String::from)[..], 2)
        );
        client.call(1, &Request::CloseStream);
    }
}

#[test]
fn timestamps_out_of_bounds_are_refused() {
    let broker = Broker::ephemeral(&[]);
    let mut client = broker.client();
    client.create_topic("t", 1, vec![("message.timestamp.before.max.ms", "60000")]);
    client.produce_to(1, "t", false);
    for codec in CODECS {
        let now = wall();
        assert_eq!(send(&mut client, &packed(codec, [now, 1_000, now])), Err(ErrorCode::InvalidTimestamp));
        assert_eq!(
            send(&mut client, &packed(codec, [now, now + 7_200_000, now])),
            Err(ErrorCode::InvalidTimestamp)
        );
        assert!(send(&mut client, &packed(codec, [now, now, now])).is_ok());
    }
    assert_eq!(stored(&mut client, "t").len(), CODECS.len());
}

/// Batch number `n` of a producer: two records.
fn numbered(by: (i64, i16), n: i32) -> Vec<u8> {
    let values = [format!("{n}a"), format!("{n}b")];
    let values = values.each_ref().map(|v| v.as_bytes());
    batch_of(&values, Some(ProducerSequence { producer_id: by.0, epoch: by.1, base_sequence: 2 * n }))
}

#[test]
fn after_a_kill_the_last_five_batches_are_known_and_nothing_else_is_taken_for_one() {
    let data = TempDir::new("batches");
    let mut broker = Broker::on(data.path(), &[]);
    let mut client = broker.client();
    client.create_topic("t", 1, vec![("segment.bytes", "1024")]);
    let by = client.produce_to(1, "t", true);
    for n in 0..8 {
        assert_eq!(send(&mut client, &numbered(by, n)), Ok(2 * i64::from(n)));
    }
    for start in 0..2 {
        for n in 3..8 {
            assert_eq!(send(&mut client, &numbered(by, n)), Ok(2 * i64::from(n)), "start {start}");
        }
        for n in [0, 2, 9] {
            assert_eq!(
                send(&mut client, &numbered(by, n)),
                Err(ErrorCode::OutOfOrderSequence),
                "start {start}"
            );
        }
        assert_eq!(send(&mut client, &numbered((by.0, by.1 - 1), 8)), Err(ErrorCode::InvalidRecord));
        broker.kill();
        broker = Broker::on(data.path(), &[]);
        client = broker.client();
        client.produce_to(1, "t", false);
    }
    assert_eq!(send(&mut client, &numbered(by, 8)), Ok(16));
    // A new epoch begins at 0 and shuts the old one out.
    let next = (by.0, by.1 + 1);
    assert_eq!(send(&mut client, &numbered(next, 9)), Err(ErrorCode::OutOfOrderSequence));
    assert_eq!(send(&mut client, &numbered(next, 0)), Ok(18));
    assert_eq!(send(&mut client, &numbered(by, 9)), Err(ErrorCode::InvalidProducerEpoch));
    // Nothing is known of this one: it may begin anywhere.
    assert_eq!(send(&mut client, &numbered((by.0 + 1, 0), 500)), Ok(20));
    assert_eq!(client.read_all(2, "t").len(), 22);
}

#[test]
fn a_producer_that_was_silent_for_long_enough_is_forgotten() {
    let flags = ["--producer-id-expiration-ms", "50", "--log-retention-check-interval-ms", "10"];
    let broker = Broker::ephemeral(&flags);
    let mut client = broker.client();
    client.create_topic("t", 1, vec![]);
    let by = client.produce_to(1, "t", true);
    assert_eq!(send(&mut client, &numbered(by, 7)), Ok(0));
    eventually("the producer is forgotten", || send(&mut client, &numbered(by, 7)).unwrap() > 0);
}

#[test]
fn after_cleaning_and_a_kill_the_last_five_batches_are_known() {
    let data = TempDir::new("batches");
    // The cleaner goes by the run files of the view, so that has to write some.
    let flags = ["--log-cleaner-backoff-ms", "5", "--view-memtable-bytes", "64KiB"];
    let mut broker = Broker::on(data.path(), &flags);
    let mut client = broker.client();
    let settings =
        vec![("cleanup.policy", "compact"), ("segment.bytes", "8192"), ("min.cleanable.dirty.ratio", "0")];
    client.create_topic("t", 1, settings);
    let by = client.produce_to(1, "t", true);
    let keyed = |n: i32, by: Option<(i64, i16)>| {
        let mut bytes = Vec::new();
        let mut builder = Builder::open(&mut bytes, 1_000);
        builder.push(&mut bytes, 1_000, Some(b"key"), Some(&[b'v'; 3000]), std::iter::empty());
        let by = by.map(|(producer_id, epoch)| ProducerSequence { producer_id, epoch, base_sequence: n });
        builder.close(&mut bytes, 0, -1, by);
        bytes
    };
    for n in 0..5 {
        assert_eq!(send(&mut client, &keyed(n, Some(by))), Ok(i64::from(n)));
    }
    // A few more, until everything of the producer lies in sealed segments and has been replaced.
    let mut end = 5;
    eventually("its records are cleaned away", || {
        assert_eq!(send(&mut client, &keyed(0, None)), Ok(end));
        end += 1;
        client.count("cleaned_records") >= 5
    });
    broker.kill();
    let broker = Broker::on(data.path(), &flags);
    let mut client = broker.client();
    client.produce_to(1, "t", false);
    for n in 0..5 {
        assert_eq!(send(&mut client, &keyed(n, Some(by))), Ok(i64::from(n)));
    }
    assert_eq!(send(&mut client, &keyed(7, Some(by))), Err(ErrorCode::OutOfOrderSequence));
    assert_eq!(send(&mut client, &keyed(5, Some(by))), Ok(end));
}
