//! Sequences of idempotent producers: Produce, InitProducerId and DescribeProducers.

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::{DescribeProducersRequest, InitProducerIdRequest};

use super::{NOWHERE, Run, produce, text, topic_name};
use crate::oracle::batch;

const VERSION: i16 = 9;

pub fn play(run: &mut Run) {
    run.topic("numbered", 2, &[]);
    let producer = run.producer("first producer");
    // What is asked in turn: a name for it, the epoch and the first sequence number.
    let turns = [
        ("the first batch", 0, 0),
        ("the same once more", 0, 0),
        ("the next one", 0, 1),
        ("a gap", 0, 3),
        ("what was behind the gap, after it", 0, 3),
        ("the one before the last once more", 0, 0),
        ("the third", 0, 2),
        ("the fourth", 0, 3),
        ("the fifth", 0, 4),
        ("the sixth", 0, 5),
        ("one of the last five", 0, 1),
        ("one before the last five", 0, 0),
        ("a new epoch that does not begin at 0", 1, 6),
        ("a new epoch", 1, 0),
        ("the new epoch once more", 1, 0),
        ("the old epoch", 0, 6),
        ("an epoch further on", 5, 0),
        ("a negative sequence", 5, -2),
    ];
    for (what, epoch, sequence) in turns {
        send(run, what, 0, batch::by(producer, epoch, sequence));
    }
    others(run);
    described(run);
    ids(run);
}

fn send(run: &mut Run, what: &str, partition: i32, batch: Vec<u8>) {
    let asked = produce::request(run, VERSION, -1, vec![("numbered", partition, batch)]);
    run.ask(what, VERSION, asked);
}

fn others(run: &mut Run) {
    let second = run.producer("second producer");
    send(run, "a producer that begins at 5", 1, batch::by(second, 0, 5));
    send(run, "its next", 1, batch::by(second, 0, 6));
    let third = run.producer("third producer");
    send(run, "a producer that begins in epoch 3", 1, batch::by(third, 3, 0));
    send(run, "an epoch before its first", 1, batch::by(third, 2, 0));
    let fourth = run.producer("fourth producer");
    send(run, "the largest sequence", 1, batch::by(fourth, 0, i32::MAX));
    send(run, "what follows the largest sequence", 1, batch::by(fourth, 0, 0));
    send(run, "a producer id that nobody was given", 1, batch::by(999_000, 0, 0));
    for (what, epoch, sequence) in [("no acks and a gap", 0, 9), ("no acks and the same once more", 0, 6)] {
        let bytes = batch::by(second, epoch, sequence);
        let asked = produce::request(run, VERSION, 0, vec![("numbered", 1, bytes)]);
        run.tell(what, VERSION, asked);
    }
}

fn described(run: &mut Run) {
    run.topic("unnumbered", 1, &[]);
    let of = |name: &str, numbers: &[i32]| {
        TopicRequest::default().with_name(topic_name(name)).with_partition_indexes(numbers.to_vec())
    };
    let ask = |topics| DescribeProducersRequest::default().with_topics(topics);
    run.ask("of one producer", 0, ask(vec![of("numbered", &[0])]));
    run.ask("of none", 0, ask(vec![of("unnumbered", &[0])]));
    run.ask("a partition that is not there", 0, ask(vec![of("numbered", &[7, -1])]));
    run.ask("a topic that is not there, and a bad name", 0, ask(vec![of(NOWHERE, &[0]), of("a/b", &[0])]));
    run.ask("a partition twice", 0, ask(vec![of("unnumbered", &[0, 0])]));
    run.ask("no topics", 0, ask(vec![]));
    run.ask("no partitions", 0, ask(vec![of("numbered", &[])]));
}

fn ids(run: &mut Run) {
    let init = |id: i64, epoch| {
        InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id(id.into())
            .with_producer_epoch(epoch)
    };
    run.each("a new id", 0..=5, |_, _| init(-1, -1));
    run.each("with a timeout of 0", [0, 5], |_, _| init(-1, -1).with_transaction_timeout_ms(0));
    run.each("the next epoch of an id that nobody was given", 3..=5, |_, _| init(999_000, 3));
    run.ask("an id without an epoch", 4, init(7, -1));
    run.ask("an epoch without an id", 4, init(-1, 3));
    run.each("an empty transactional id", 0..=5, |_, _| {
        init(-1, -1).with_transactional_id(Some(text("").into())).with_transaction_timeout_ms(60_000)
    });
}
