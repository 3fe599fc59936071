//! Creating, describing and deleting topics, and looking up positions.

use super::desk::Desk;
use krappy::api::{At, ErrorCode, Reply, Request, SettingSource, TopicRef};

fn by_name(topic: &str) -> TopicRef<'_> {
    TopicRef::Name(topic)
}

#[test]
fn a_topic_is_named_by_its_id_as_long_as_it_lives() {
    let mut desk = Desk::new(|_| {});
    let id = desk.create("orders", 2, &[]).id;
    assert_eq!(desk.describe(TopicRef::Id(id)).name, "orders");
    let listed = match desk.ask(Request::ListTopics) {
        Reply::Topics(lines) => lines[0].id,
        other => panic!("{other:?}"),
    };
    assert_eq!(listed, id);
    desk.restart();
    assert_eq!(desk.describe(TopicRef::Id(id)).partitions.len(), 2, "the id is kept");

    assert!(matches!(desk.ask(Request::DeleteTopic { topic: TopicRef::Id(id) }), Reply::Deleted { .. }));
    let other = desk.create("orders", 2, &[]).id;
    assert_ne!(other, id, "another life, another id");
    let gone = |topic| Request::DescribeTopic { topic, create: false };
    assert_eq!(desk.refusal(gone(TopicRef::Id(id))), ErrorCode::UnknownTopicId);
    assert_eq!(desk.refusal(gone(by_name("order"))), ErrorCode::UnknownTopicOrPartition);
    let delete = Request::DeleteTopic { topic: TopicRef::Id(id) };
    assert_eq!(desk.refusal(delete), ErrorCode::UnknownTopicId);
}

#[test]
fn a_description_makes_the_topic_where_that_is_switched_on() {
    let mut off = Desk::new(|_| {});
    let describe = |topic, create| Request::DescribeTopic { topic, create };
    assert_eq!(off.refusal(describe(by_name("orders"), true)), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(off.refusal(describe(by_name("or/ders"), true)), ErrorCode::InvalidTopic);

    let mut on = Desk::new(|config| (config.auto_create, config.num_partitions) = (true, 3));
    assert_eq!(on.refusal(describe(by_name("orders"), false)), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(on.refusal(describe(TopicRef::Id([7; 16]), true)), ErrorCode::UnknownTopicId);
    let first = on.offer(describe(by_name("orders"), true)).unwrap();
    let second = on.offer(describe(by_name("orders"), true)).unwrap();
    assert!(on.reply(first).is_none(), "the answer waits until the topic is there");
    on.work();
    for slot in [first, second] {
        let Some(Reply::Topic(topic)) = on.reply(slot) else { panic!("both are answered") };
        assert_eq!(topic.partitions.len(), 3);
    }
    assert_eq!(on.refusal(describe(by_name("or/ders"), true)), ErrorCode::InvalidTopic);
}

#[test]
fn a_creation_that_is_only_checked_creates_nothing() {
    let mut desk = Desk::new(|_| {});
    let create = |topic, partitions, settings: &[(&'static str, &'static str)]| Request::CreateTopic {
        topic,
        partitions,
        settings: settings.to_vec(),
        validate_only: true,
    };
    let planned = desk.topic(create("orders", Some(3), &[("retention.ms", "5")]));
    assert_eq!((planned.partitions.len(), planned.id), (3, [0; 16]));
    let line = planned.settings.iter().find(|line| line.name == "retention.ms").unwrap();
    assert_eq!((line.value.as_str(), line.source), ("5", SettingSource::Topic));
    for (request, code) in [
        (create("or/ders", None, &[]), ErrorCode::InvalidTopic),
        (create("orders", Some(0), &[]), ErrorCode::InvalidPartitions),
        (create("orders", None, &[("retention", "5")]), ErrorCode::InvalidConfig),
    ] {
        assert_eq!(desk.refusal(request), code);
    }
    assert!(matches!(desk.ask(Request::ListTopics), Reply::Topics(lines) if lines.is_empty()));
    desk.create("orders", 1, &[]);
    assert_eq!(desk.refusal(create("orders", None, &[])), ErrorCode::TopicAlreadyExists);
}

#[test]
fn a_name_that_collides_with_another_is_refused() {
    let mut desk = Desk::new(|config| config.auto_create = true);
    desk.create("a.b", 1, &[]);
    let create =
        |topic| Request::CreateTopic { topic, partitions: None, settings: vec![], validate_only: false };
    assert_eq!(desk.refusal(create("a_b")), ErrorCode::InvalidTopic);
    assert_eq!(desk.refusal(create("a.b")), ErrorCode::TopicAlreadyExists);
    let describe = Request::DescribeTopic { topic: by_name("a_b"), create: true };
    assert_eq!(desk.refusal(describe), ErrorCode::InvalidTopic);
    desk.create("a-b", 1, &[]);
}

#[test]
fn a_producer_id_is_given_once_also_across_starts() {
    let mut desk = Desk::new(|_| {});
    let mut ids = Vec::new();
    for _ in 0..3 {
        for _ in 0..2 {
            let Reply::ProducerId { id, epoch: 0 } = desk.ask(Request::NewProducerId) else {
                panic!("an id")
            };
            ids.push(id);
        }
        desk.restart();
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

#[test]
fn positions_come_with_timestamp_and_epoch() {
    let mut desk = Desk::new(|_| {});
    let id = desk.create("orders", 1, &[]).id;
    assert_eq!(desk.position("orders", 0, At::MaxTimestamp), (0, -1, 1), "there is none");
    let begin = desk.now.wall;
    for (n, age) in [5, 9, 7].into_iter().enumerate() {
        desk.now.wall = begin + age;
        assert_eq!(desk.publish("orders", 0, None, b"x"), n as i64);
    }
    for (at, offset, timestamp) in [
        (At::Earliest, 0, -1),
        (At::Latest, 3, -1),
        (At::Offset(2), 2, -1),
        (At::Timestamp(begin), 0, begin + 5),
        (At::Timestamp(begin + 6), 1, begin + 9),
        (At::Timestamp(begin + 10), 3, -1),
        (At::MaxTimestamp, 1, begin + 9),
    ] {
        let (found, when, _) = desk.position("orders", 0, at);
        assert_eq!((found, when), (offset, timestamp), "{at:?}");
    }
    let topic = TopicRef::Id(id);
    let list =
        |leader_epoch| Request::ListOffsets { topic, partition: Some(0), leader_epoch, at: At::Latest };
    assert!(matches!(desk.ask(list(1)), Reply::Offsets { .. }));
    assert_eq!(desk.refusal(list(2)), ErrorCode::UnknownLeaderEpoch);
    desk.restart();
    assert_eq!(desk.refusal(list(1)), ErrorCode::FencedLeaderEpoch);
    assert_eq!(desk.position("orders", 0, At::Latest).2, 2);
    let unknown = TopicRef::Id([9; 16]);
    let request = Request::ListOffsets { topic: unknown, partition: None, leader_epoch: -1, at: At::Latest };
    assert_eq!(desk.refusal(request), ErrorCode::UnknownTopicId);
}

#[test]
fn the_broker_describes_itself() {
    let mut desk = Desk::new(|config| config.num_partitions = 5);
    let Reply::Settings(lines) = desk.ask(Request::DescribeBroker) else { panic!("settings") };
    let line = lines.iter().find(|line| line.name == "num.partitions").unwrap();
    assert_eq!((line.value.as_str(), line.default.as_str(), line.read_only), ("5", "1", true));
}
