//! The exhaustive part: a topic is changed again and again, and the machine crashes at every call that this makes.
//!
//! Invariant: after each crash the topic is as it was before the change that was under way or as it was to be after it,
//! every record that was acknowledged is there, and the next changes succeed.

use krappy::api::{ErrorCode, Parts, Reply, Request, TopicRef};
use krappy::disk::Disk;
use krappy::disk::sim::Crash;
use std::path::Path;

use super::desk::{Crashed, Desk, add, alter, publish, record};

const TOPIC: &str = "orders";
const KEYS: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];

/// What was answered, and what may have happened beside it.
struct Model {
    partitions: [usize; 2],
    policy: [&'static str; 2],
    /// Partition, offset and value of each acknowledged record.
    records: Vec<(u32, i64, Vec<u8>)>,
}

impl Model {
    fn publish(&mut self, desk: &mut Desk, partition: u32, key: Option<&[u8]>) -> Result<(), Crashed> {
        let value = format!("record {}", self.records.len()).into_bytes();
        let records = record(desk.now.wall, key, &value);
        match desk.try_ask(publish(TOPIC, partition as i32, &records))? {
            Reply::Published { parts: Parts::One(part), .. } => {
                self.records.push((partition, part.base_offset, value));
                Ok(())
            }
            other => panic!("answered by {other:?}"),
        }
    }

    fn add(&mut self, desk: &mut Desk, count: usize) -> Result<(), Crashed> {
        self.partitions[1] = count;
        let reply = desk.try_ask(add(TOPIC, count as i32))?;
        assert!(matches!(reply, Reply::Altered), "{reply:?}");
        self.partitions[0] = count;
        Ok(())
    }

    fn alter(&mut self, desk: &mut Desk, policy: &'static str) -> Result<(), Crashed> {
        self.policy[1] = policy;
        let reply = desk.try_ask(alter(TOPIC, &[("cleanup.policy", policy)]))?;
        assert!(matches!(reply, Reply::Altered), "{reply:?}");
        self.policy[0] = policy;
        Ok(())
    }

    fn script(&mut self, desk: &mut Desk) -> Result<(), Crashed> {
        for key in [Some(KEYS[0]), None, Some(KEYS[1]), Some(KEYS[0])] {
            self.publish(desk, 0, key)?;
        }
        self.add(desk, 3)?;
        self.publish(desk, 2, Some(KEYS[2]))?;
        self.alter(desk, "compact")?;
        self.publish(desk, 0, Some(KEYS[1]))?;
        self.add(desk, 4)?;
        self.publish(desk, 3, Some(KEYS[3]))?;
        self.alter(desk, "delete")?;
        self.publish(desk, 3, None)?;
        self.alter(desk, "compact,delete")?;
        self.publish(desk, 2, Some(KEYS[2]))
    }

    /// The topic as a start has found it; how many partitions it has.
    fn check(&self, desk: &mut Desk, what: &str) -> usize {
        let count = desk.describe(TopicRef::Name(TOPIC)).partitions.len();
        assert!(self.partitions.contains(&count), "{what}: {count} partitions, not {:?}", self.partitions);
        let policy = desk.setting(TOPIC, "cleanup.policy");
        assert!(self.policy.contains(&&*policy), "{what}: {policy}, not {:?}", self.policy);
        let dir = Path::new("/data/topics").join(TOPIC);
        let names: Vec<_> = desk.sim.list(&dir).unwrap().into_iter().map(|entry| entry.name).collect();
        let folders = names.iter().filter(|name| name.parse::<u32>().is_ok()).count();
        assert!(folders == count && desk.opened.strangers.is_empty(), "{what}: {names:?}");
        for partition in 0..count as u32 {
            let found = desk.read(TOPIC, partition);
            for (_, offset, value) in self.records.iter().filter(|(of, ..)| *of == partition) {
                let is_there = found.iter().any(|(at, _, read)| at == offset && read == value);
                assert!(is_there, "{what}: offset {offset} of partition {partition} is lost");
            }
            for key in KEYS {
                let newest = found.iter().rev().find(|(_, of, _)| of.as_deref() == Some(key));
                let wanted = match policy.contains("compact") {
                    true => Ok(newest.map(|(offset, ..)| *offset)),
                    false => Err(ErrorCode::NotCompacted),
                };
                assert_eq!(desk.get(TOPIC, partition as i32, key), wanted, "{what}: partition {partition}");
            }
        }
        count
    }

    /// Changes what a start has found.
    fn go_on(&mut self, desk: &mut Desk, count: usize) {
        let policy = if desk.setting(TOPIC, "cleanup.policy") == "delete" { "compact" } else { "delete" };
        let done = self.alter(desk, policy).and_then(|()| self.add(desk, count + 1));
        done.and_then(|()| self.publish(desk, count as u32, Some(KEYS[0]))).expect("no crash is planned");
    }
}

fn begin(seed: u64) -> (Desk, Model) {
    let mut desk = Desk::on_disk(seed);
    desk.create(TOPIC, 1, &[("segment.bytes", "1024")]);
    (desk, Model { partitions: [1; 2], policy: ["delete"; 2], records: Vec::new() })
}

#[test]
fn a_crash_at_every_call_of_a_change_leaves_the_topic_as_it_was_or_as_it_was_to_be() {
    let (mut desk, mut model) = begin(1);
    let before = desk.sim.calls();
    model.script(&mut desk).expect("no crash is planned");
    let calls = desk.sim.calls() - before;
    assert!(calls > 50, "{calls} calls are not much of a workload");
    for n in 1..=calls {
        for (w, how) in [Crash::KeepAll, Crash::LoseAll, Crash::Random(n)].into_iter().enumerate() {
            let (mut desk, mut model) = begin(n * 10 + w as u64);
            desk.sim.crash_at(n);
            assert!(model.script(&mut desk).is_err(), "call {n} is made");
            let what = format!("call {n}, {how:?}");
            desk.crash(how);
            let count = model.check(&mut desk, &what);
            model.go_on(&mut desk, count);
            desk.crash(Crash::LoseAll);
            model.check(&mut desk, &format!("{what}, and again"));
            let reply = desk.ask(Request::DeleteTopic { topic: TopicRef::Name(TOPIC) });
            assert!(matches!(reply, Reply::Deleted { .. }), "{what}: {reply:?}");
        }
    }
    println!("{calls} calls, {} crashes", calls * 3);
}
