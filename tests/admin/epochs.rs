//! Leader epochs: what clients learn from them about records that are gone. And the producers that a partition
//! remembers.

use krappy::api::{At, Body, ErrorCode, Level, ProducerState, Publish, Reply, Request, TopicRef};
use krappy::disk::sim::Crash;
use krappy_wire::batch::{Builder, ProducerSequence};

use super::desk::Desk;

fn ask(current: i32, epoch: i32) -> Request<'static> {
    Request::OffsetForLeaderEpoch { topic: "orders", partition: 0, current, epoch }
}

fn end_of(desk: &mut Desk, epoch: i32) -> (i32, i64) {
    match desk.ask(ask(-1, epoch)) {
        Reply::EpochEnd { epoch, end_offset } => (epoch, end_offset),
        other => panic!("answered by {other:?}"),
    }
}

#[test]
fn each_start_that_appends_begins_an_epoch() {
    let mut desk = Desk::new(|_| {});
    desk.create("orders", 1, &[]);
    assert_eq!(end_of(&mut desk, 1), (1, 0), "nothing was appended yet");
    for start in 1..=5 {
        // The third does not append.
        let records = if start == 3 { 0 } else { 2 };
        for _ in 0..records {
            desk.publish("orders", 0, None, b"x");
        }
        desk.restart();
    }
    for current in 6..10 {
        let mut ends = vec![(0, 0), (1, 2), (2, 4), (2, 4), (4, 6), (5, 8)];
        ends.extend((6..current).map(|_| (5, 8)));
        ends.extend([(current, 8), (-1, -1)]);
        for (epoch, end) in ends.into_iter().enumerate() {
            assert_eq!(end_of(&mut desk, epoch as i32), end, "epoch {epoch} of {current}");
        }
        for (at, epoch) in [(At::Earliest, 1), (At::Offset(3), 2), (At::Offset(5), 4), (At::Latest, current)]
        {
            assert_eq!(desk.position("orders", 0, at).2, epoch, "{at:?}");
        }
        assert_eq!(desk.refusal(ask(current - 1, 1)), ErrorCode::FencedLeaderEpoch);
        assert_eq!(desk.refusal(ask(current + 1, 1)), ErrorCode::UnknownLeaderEpoch);
        assert!(matches!(desk.ask(ask(current, 1)), Reply::EpochEnd { epoch: 1, end_offset: 2 }));
        match current {
            // From here on as in a folder of a version that did not keep them.
            7 => desk.damage("/data/topics/orders/0/epochs"),
            8 => desk.crash(Crash::LoseAll),
            _ => desk.restart(),
        }
    }
    let other = Request::OffsetForLeaderEpoch { topic: "orders", partition: 1, current: -1, epoch: 1 };
    assert_eq!(desk.refusal(other), ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn a_client_learns_that_what_it_has_read_is_lost() {
    let mut desk = Desk::new(|_| {});
    desk.create("orders", 1, &[("flush.messages", "1000000")]);
    desk.publish("orders", 0, None, b"kept");
    desk.restart();
    for _ in 0..3 {
        desk.publish("orders", 0, None, b"lost");
    }
    let (position, _, epoch) = desk.position("orders", 0, At::Offset(3));
    assert_eq!((position, epoch), (3, 2), "a reader has come this far");
    desk.crash(Crash::LoseAll);
    for _ in 0..5 {
        desk.publish("orders", 0, None, b"others");
    }
    assert_eq!(end_of(&mut desk, epoch), (1, 1), "what it has read ended before its position");
    assert_eq!(desk.position("orders", 0, At::Offset(3)).2, 3);
}

#[test]
fn the_producers_of_a_partition_are_described() {
    let mut desk = Desk::new(|_| {});
    desk.create("orders", 1, &[]);
    for (producer_id, epoch, base_sequence) in [(9, 0, 0), (4, 2, 0), (9, 0, 3)] {
        let mut bytes = Vec::new();
        let mut builder = Builder::open(&mut bytes, 5);
        (0..3).for_each(|_| builder.push(&mut bytes, 5, None, Some(b"x"), std::iter::empty()));
        builder.close(&mut bytes, 0, 0, Some(ProducerSequence { producer_id, epoch, base_sequence }));
        let (topic, body) = (TopicRef::Name("orders"), Body::Batch(&bytes));
        let publish = Publish { topic, partition: Some(0), acks: Level::Durable, body };
        assert!(matches!(desk.ask(Request::Publish(publish)), Reply::Published { .. }));
    }
    let state = |id, epoch, last_sequence| ProducerState {
        id,
        epoch,
        last_sequence,
        last_timestamp: 5,
        txn_start: -1,
    };
    for _ in 0..2 {
        let request = Request::DescribeProducers { topic: "orders", partition: 0 };
        let Reply::Producers(producers) = desk.ask(request) else { panic!("producers") };
        assert_eq!(producers, [state(4, 2, 2), state(9, 0, 5)]);
        desk.restart();
    }
}
