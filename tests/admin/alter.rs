//! Changing topics: what holds when, and what is refused.

use krappy::api::{At, Change, ErrorCode, Level, Op, Parts, Reply, Request, SettingSource, TopicRef};
use krappy::disk::sim::{Crash, Fault};
use krappy::worker::Job;

use super::desk::{Desk, add, alter, publish, record};

fn partitions(desk: &mut Desk, topic: &str) -> usize {
    desk.describe(TopicRef::Name(topic)).partitions.len()
}

#[test]
fn a_changed_setting_holds_at_once_and_after_a_start() {
    let mut desk = Desk::new(|_| {});
    desk.create("orders", 1, &[("retention.ms", "5000")]);
    assert!(matches!(
        desk.alter("orders", &[("max.message.bytes", "200"), ("retention.ms", "")]),
        Reply::Altered
    ));
    for _ in 0..2 {
        let too_large = record(1, None, &[b'x'; 300]);
        assert_eq!(desk.refusal(publish("orders", 0, &too_large)), ErrorCode::MessageTooLarge);
        let topic = desk.describe(TopicRef::Name("orders"));
        let line = |name: &str| topic.settings.iter().find(|line| line.name == name).unwrap();
        assert_eq!(line("max.message.bytes").source, SettingSource::Topic);
        assert_eq!(line("retention.ms").source, SettingSource::Default, "it is the broker's again");
        desk.restart();
    }
}

#[test]
fn all_changes_hold_or_none() {
    let mut desk = Desk::new(|_| {});
    desk.create("orders", 1, &[]);
    for (bad, code) in [
        (("retention", "5"), ErrorCode::InvalidConfig),
        (("segment.bytes", "1"), ErrorCode::InvalidConfig),
        (("min.insync.replicas", "2"), ErrorCode::InvalidConfig),
    ] {
        assert_eq!(desk.refusal(alter("orders", &[("retention.ms", "5"), bad])), code, "{bad:?}");
    }
    let request = |op, replace, validate_only| Request::AlterTopic {
        topic: "orders",
        changes: vec![Change { key: "cleanup.policy", op }],
        replace,
        validate_only,
    };
    assert!(matches!(desk.ask(request(Op::Set("compact"), false, true)), Reply::Altered));
    assert_eq!(desk.setting("orders", "cleanup.policy"), "delete", "it was only checked");
    desk.alter("orders", &[("retention.ms", "5")]);
    assert!(matches!(desk.ask(request(Op::Append("compact"), false, false)), Reply::Altered));
    assert_eq!(desk.setting("orders", "cleanup.policy"), "compact,delete");
    assert_eq!(desk.setting("orders", "retention.ms"), "5");
    assert!(matches!(desk.ask(request(Op::Subtract("delete"), true, false)), Reply::Refused(_)));
    assert!(matches!(desk.ask(request(Op::Set("compact"), true, false)), Reply::Altered));
    assert_eq!(desk.setting("orders", "retention.ms"), "604800000", "what was not named is forgotten");
    let unknown = alter("order", &[]);
    assert_eq!(desk.refusal(unknown), ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn changes_of_a_topic_come_one_after_the_other_and_are_durable_when_they_are_answered() {
    let mut desk = Desk::new(|_| {});
    desk.create("orders", 1, &[]);
    let first = desk.offer(alter("orders", &[("retention.ms", "5")])).unwrap();
    assert!(desk.offer(alter("orders", &[("retention.bytes", "6")])).is_none(), "it waits for the first");
    assert!(desk.offer(add("orders", 3)).is_none());
    assert!(desk.reply(first).is_none());
    assert_eq!(desk.describe(TopicRef::Name("orders")).partitions.len(), 1);
    assert!(desk.reply(first).is_some());
    desk.alter("orders", &[("retention.bytes", "6")]);
    desk.ask(add("orders", 3));
    desk.restart();
    assert_eq!(desk.setting("orders", "retention.ms"), "5");
    assert_eq!(desk.setting("orders", "retention.bytes"), "6");
    assert_eq!(partitions(&mut desk, "orders"), 3);
}

#[test]
fn a_topic_that_is_deleted_meanwhile_stays_deleted() {
    let mut desk = Desk::new(|_| {});
    for request in [alter("orders", &[("retention.ms", "5")]), add("orders", 3)] {
        desk.create("orders", 1, &[]);
        let change = desk.offer(request).unwrap();
        let delete = desk.offer(Request::DeleteTopic { topic: TopicRef::Name("orders") }).unwrap();
        assert!(!desk.jobs.iter().any(|job| matches!(job, Job::DeleteTopic { .. })), "its folder is in use");
        desk.work();
        let Some(Reply::Refused(refusal)) = desk.reply(change) else { panic!("there is nothing to change") };
        assert_eq!(refusal.code, ErrorCode::UnknownTopicOrPartition);
        assert!(matches!(desk.reply(delete), Some(Reply::Deleted { .. })));
        desk.restart();
        assert!(matches!(desk.ask(Request::ListTopics), Reply::Topics(lines) if lines.is_empty()));
    }
}

#[test]
fn partitions_are_added_and_never_taken_away() {
    let mut desk = Desk::new(|config| config.limits.max_partitions = 5);
    desk.create("orders", 2, &[]);
    desk.publish("orders", 1, None, b"before");
    for count in [-1, 0, 1, 2, 1001] {
        assert_eq!(desk.refusal(add("orders", count)), ErrorCode::InvalidPartitions, "{count}");
    }
    assert_eq!(desk.refusal(add("orders", 6)), ErrorCode::PolicyViolation);
    let checked = Request::CreatePartitions { topic: "orders", count: 4, validate_only: true };
    assert!(matches!(desk.ask(checked), Reply::Altered));
    assert_eq!(partitions(&mut desk, "orders"), 2);
    assert!(matches!(desk.ask(add("orders", 4)), Reply::Altered));
    for n in 0..2 {
        assert_eq!(desk.publish("orders", 3, None, b"after"), n);
        desk.restart();
    }
    assert_eq!(desk.read("orders", 1).len(), 1);
    assert_eq!(desk.read("orders", 3).len(), 2);
}

#[test]
fn a_change_that_fails_is_refused_and_can_be_made_again() {
    for n in 1..40 {
        let mut desk = Desk::new(|_| {});
        desk.create("orders", 1, &[]);
        desk.sim.fail_after(n, Fault::NoSpace);
        let added = desk.ask(add("orders", 3));
        let altered = desk.alter("orders", &[("cleanup.policy", "compact")]);
        desk.sim.fail_after(1_000_000, Fault::NoSpace);
        let failed = [&added, &altered].map(|reply| match reply {
            Reply::Refused(refusal) => {
                assert_eq!(refusal.code, ErrorCode::StorageError);
                true
            }
            _ => false,
        });
        desk.pass(31_000);
        if failed[0] {
            assert!(matches!(desk.ask(add("orders", 3)), Reply::Altered), "call {n} failed");
        }
        if failed[1] {
            assert!(matches!(desk.alter("orders", &[("cleanup.policy", "compact")]), Reply::Altered));
        }
        desk.publish("orders", 2, Some(b"k"), b"v");
        assert_eq!(desk.get("orders", 2, b"k"), Ok(Some(0)), "call {n} failed");
        desk.restart();
        assert_eq!(desk.get("orders", 2, b"k"), Ok(Some(0)));
    }
}

#[test]
fn partitions_that_are_added_after_a_sync_has_failed_survive_a_loss_of_power() {
    for n in 1.. {
        assert!(n < 100, "adding partitions makes a finite number of syncs");
        let mut desk = Desk::on_disk(n);
        desk.create("orders", 1, &[]);
        desk.sim.fail_sync(n, Fault::Io);
        if matches!(desk.ask(add("orders", 3)), Reply::Altered) {
            break;
        }
        assert!(matches!(desk.ask(add("orders", 3)), Reply::Altered), "sync {n} failed");
        desk.publish("orders", 2, Some(b"k"), b"v");
        desk.crash(Crash::LoseAll);
        assert_eq!(desk.read("orders", 2).len(), 1, "sync {n} failed");
    }
}

#[test]
fn a_topic_that_becomes_compacted_gets_its_view_from_the_log() {
    let mut desk = Desk::new(|_| {});
    desk.create("users", 1, &[]);
    for (key, value) in [(Some(&b"a"[..]), b"1"), (None, b"2"), (Some(b"b"), b"3"), (Some(b"a"), b"4")] {
        desk.publish("users", 0, key, value);
    }
    desk.publish("users", 0, Some(&vec![b'k'; 70_000]), b"a key that no view holds");
    assert_eq!(desk.get("users", 0, b"a"), Err(ErrorCode::NotCompacted));
    let slot = desk.offer(alter("users", &[("cleanup.policy", "compact")])).unwrap();
    let job = desk.jobs.remove(0);
    desk.run(job).unwrap();
    assert!(matches!(desk.reply(slot), Some(Reply::Altered)));
    assert!(desk.jobs.iter().any(|job| matches!(job, Job::OpenView { .. })), "the view is made behind it");
    desk.work();
    for round in 0..2 {
        assert_eq!(desk.get("users", 0, b"a"), Ok(Some(3)));
        assert_eq!(desk.get("users", 0, b"b"), Ok(Some(2)));
        assert_eq!(desk.refusal(publish("users", 0, &record(1, None, b"x"))), ErrorCode::InvalidRecord);
        assert_eq!(desk.read("users", 0).len(), 5 + round, "records without a key stay in the log");
        desk.publish("users", 0, Some(b"c"), b"5");
        desk.restart();
    }
}

#[test]
fn a_topic_that_ceases_to_be_compacted_loses_its_view_and_gets_another_one_later() {
    let mut desk = Desk::new(|config| config.limits.view_memtable = 4096);
    desk.create("users", 1, &[("cleanup.policy", "compact"), ("segment.bytes", "1024")]);
    for n in 0..30u8 {
        desk.publish("users", 0, Some(&[b'a' + n % 3]), &[n; 200]);
    }
    let is_of_view = |path: &std::path::PathBuf| path.components().any(|c| c.as_os_str() == "view");
    assert!(desk.sim.files().iter().any(is_of_view));
    desk.alter("users", &[("cleanup.policy", "delete")]);
    assert!(!desk.sim.files().iter().any(is_of_view), "its files are gone");
    assert_eq!(desk.get("users", 0, b"a"), Err(ErrorCode::NotCompacted));
    desk.publish("users", 0, None, b"no key");
    desk.publish("users", 0, Some(b"a"), b"newest");
    desk.restart();
    desk.alter("users", &[("cleanup.policy", "compact")]);
    assert_eq!(desk.get("users", 0, b"a"), Ok(Some(31)));
    assert_eq!(desk.get("users", 0, b"b"), Ok(Some(28)));
}

#[test]
fn a_view_is_given_up_with_any_of_its_jobs_under_way() {
    // The jobs of a busy view are held back one after the other, and come back after the change.
    for held in 0..40 {
        let mut desk = Desk::new(|config| {
            config.limits.view_memtable = 2048;
            config.cleaner_backoff_ms = 1;
        });
        desk.create("users", 1, &[("cleanup.policy", "compact"), ("segment.bytes", "1024")]);
        let mut kept = None;
        let mut seen = 0;
        for n in 0..40u8 {
            let request = record(1, Some(&[b'a' + n % 5]), &[n; 200]);
            desk.offer(publish("users", 0, &request));
            desk.now.time = desk.now.time.plus_ms(5);
            let now = desk.now;
            desk.broker().tick(now);
            desk.turn();
            while !desk.jobs.is_empty() {
                let job = desk.jobs.remove(0);
                let is_of_view =
                    matches!(job, Job::Flush(..) | Job::Merge(..) | Job::Clean(..) | Job::Swap(..));
                seen += usize::from(is_of_view);
                if is_of_view && seen == held + 1 && kept.is_none() {
                    kept = Some(job);
                } else {
                    desk.run(job).unwrap();
                }
            }
        }
        desk.alter("users", &[("cleanup.policy", "delete")]);
        if let Some(job) = kept {
            assert!(desk.offer(alter("users", &[("cleanup.policy", "compact")])).is_none(), "job {held}");
            desk.run(job).unwrap();
            desk.work();
        }
        desk.pass(1_000);
        desk.publish("users", 0, None, b"no key");
        assert!(matches!(desk.alter("users", &[("cleanup.policy", "compact")]), Reply::Altered));
        // Not all were taken: a view that waits for a job holds up its publishers.
        for _ in 0..2 {
            let log = desk.read("users", 0);
            assert!(!log.is_empty());
            for key in [&b"a"[..], b"b", b"c", b"d", b"e"] {
                let newest = log.iter().rev().find(|(_, of, _)| of.as_deref() == Some(key));
                let newest = newest.map(|(offset, ..)| *offset);
                assert_eq!(desk.get("users", 0, key), Ok(newest), "job {held}");
            }
            desk.pass(1_000);
            desk.restart();
        }
    }
}

#[test]
fn what_readers_have_seen_stays_visible_when_a_topic_begins_to_wait_for_the_disk() {
    let mut desk = Desk::new(|_| {});
    desk.create("orders", 1, &[("flush.messages", "1000")]);
    desk.publish("orders", 0, None, b"appended");
    assert_eq!(desk.position("orders", 0, At::Latest).0, 1);
    let slot = desk.offer(alter("orders", &[("flush.messages", "1")])).unwrap();
    let job = desk.jobs.remove(0);
    desk.run(job).unwrap();
    assert!(desk.reply(slot).is_some());
    assert!(desk.jobs.iter().any(|job| matches!(job, Job::Sync(..))), "it is made durable now");
    let held = std::mem::take(&mut desk.jobs);
    assert_eq!(desk.position("orders", 0, At::Latest).0, 1, "the high watermark does not go back");
    let newer = record(1, None, b"x");
    let slot = desk.offer(publish("orders", 0, &newer)).unwrap();
    let end = Request::ListOffsets {
        topic: TopicRef::Name("orders"),
        partition: Some(0),
        leader_epoch: -1,
        at: At::Latest,
    };
    let end = desk.offer(end).unwrap();
    assert!(desk.reply(end).is_none(), "a new record waits for the disk, and so does who asks for the end");
    desk.jobs.extend(held);
    desk.work();
    let Some(Reply::Published { level: Level::Durable, .. }) = desk.reply(slot) else { panic!("durable") };
    assert_eq!(desk.position("orders", 0, At::Latest).0, 2);
}

#[test]
fn who_waits_for_the_disk_is_answered_when_the_topic_ceases_to_wait() {
    let mut desk = Desk::new(|_| {});
    desk.create("orders", 1, &[]);
    let records = record(1, None, b"x");
    let first = desk.offer(publish("orders", 0, &records)).unwrap();
    let sync = std::mem::take(&mut desk.jobs);
    let second = desk.offer(publish("orders", 0, &records)).unwrap();
    desk.alter("orders", &[("flush.messages", "1000")]);
    assert_eq!(desk.position("orders", 0, At::Latest).0, 2, "everything appended is visible");
    desk.jobs.extend(sync);
    desk.work();
    for slot in [first, second] {
        let Some(Reply::Published { level, parts: Parts::One(_) }) = desk.reply(slot) else {
            panic!("both are answered")
        };
        assert_eq!(level, Level::Durable);
    }
    desk.publish("orders", 0, None, b"y");
}
