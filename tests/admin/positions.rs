//! Questions about the end of a log: they wait for what was appended before them.

use krappy::api::{At, Body, ErrorCode, Level, PlainRecords, Publish, Reply, Request, TopicRef};
use krappy_wire::native::PlainWriter;

use super::desk::Desk;

const ORDERS: TopicRef<'_> = TopicRef::Name("orders");

/// Offers records that are acknowledged as soon as they are appended; no worker works.
fn append(desk: &mut Desk, count: usize) {
    let mut writer = PlainWriter::default();
    (0..count).for_each(|_| writer.push(1, None, Some(b"x"), &[]));
    let records: PlainRecords<'_> = writer.records();
    let publish =
        Publish { topic: ORDERS, partition: Some(0), acks: Level::Appended, body: Body::Plain(records) };
    let slot = desk.offer(Request::Publish(publish)).expect("it is taken");
    assert!(matches!(desk.reply(slot), Some(Reply::Published { level: Level::Appended, .. })));
}

fn end() -> Request<'static> {
    Request::ListOffsets { topic: ORDERS, partition: Some(0), leader_epoch: -1, at: At::Latest }
}

fn offset(reply: Option<Reply>) -> i64 {
    match reply {
        Some(Reply::Offsets { parts }) => parts[0].offset,
        other => panic!("{other:?}"),
    }
}

#[test]
fn whoever_was_told_of_an_append_finds_it_at_the_end() {
    let mut desk = Desk::new(|_| {});
    desk.create("orders", 1, &[]);
    append(&mut desk, 3);
    let first = desk.offer(end()).unwrap();
    let trim = desk.offer(Request::DeleteRecords { topic: "orders", partition: 0, offset: 2 }).unwrap();
    assert!(desk.reply(first).is_none() && desk.reply(trim).is_none(), "nothing is durable yet");
    append(&mut desk, 2);
    let second = desk.offer(end()).unwrap();
    desk.work();
    assert_eq!(offset(desk.reply(first)), 3);
    assert_eq!(offset(desk.reply(second)), 5);
    assert!(matches!(desk.reply(trim), Some(Reply::Trimmed(2))));
    let now = desk.offer(end()).unwrap();
    assert_eq!(offset(desk.reply(now)), 5, "there is nothing to wait for");
}

#[test]
fn a_record_that_is_deleted_while_it_is_looked_up_is_not_the_answer() {
    for (age, answer) in [(6, (2, 7)), (8, (3, -1))] {
        let mut desk = Desk::new(|_| {});
        desk.create("orders", 1, &[]);
        let begin = desk.now.wall;
        for age in [5, 9, 7] {
            desk.now.wall = begin + age;
            desk.publish("orders", 0, None, b"x");
        }
        let at = At::Timestamp(begin + age);
        let request = Request::ListOffsets { topic: ORDERS, partition: Some(0), leader_epoch: -1, at };
        let slot = desk.offer(request).unwrap();
        let lookup = std::mem::take(&mut desk.jobs);
        let trimmed = desk.ask(Request::DeleteRecords { topic: "orders", partition: 0, offset: 2 });
        assert!(matches!(trimmed, Reply::Trimmed(2)));
        desk.jobs.extend(lookup);
        desk.work();
        let Some(Reply::Offsets { parts }) = desk.reply(slot) else { panic!("a position") };
        let timestamp = if answer.1 == -1 { -1 } else { begin + answer.1 };
        assert_eq!((parts[0].offset, parts[0].timestamp), (answer.0, timestamp));
    }
}

#[test]
fn a_question_about_a_topic_that_is_deleted_is_answered() {
    let mut desk = Desk::new(|_| {});
    desk.create("orders", 1, &[]);
    append(&mut desk, 1);
    let waiting = desk.offer(end()).unwrap();
    assert!(desk.reply(waiting).is_none());
    desk.ask(Request::DeleteTopic { topic: ORDERS });
    assert!(desk.reply(waiting).is_some());
    assert_eq!(desk.refusal(end()), ErrorCode::UnknownTopicOrPartition);
}
