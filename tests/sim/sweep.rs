//! The exhaustive part: one workload, crashed at every call that changes something, in every way; and the recovery that
//! follows, crashed at every call too.
//!
//! The broker is driven without a network: a request, the end of the turn, the jobs, the replies.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use krappy::api::{Body, ConnId, Level, Parts, Publish, Reply, ReplyTo, Request, TopicRef};
use krappy::broker::Broker;
use krappy::config::{Config, TopicSettings};
use krappy::disk::Disk;
use krappy::disk::sim::{Crash, Fault, SimDisk};
use krappy::time::{Now, Time};
use krappy::worker::Job;
use krappy_wire::batch::ProducerSequence;

use super::audit;
use super::content;
use super::history::{After, Expects, History, Promise, Sent};
use super::producer::prepared;

const NOW: Now = Now { time: Time(1), wall: 1_780_000_000_000 };
const DURABLE: &str = "durable";
const LAZY: &str = "lazy";

/// The machine went down in the middle.
pub struct Crashed;

/// A broker on a disk, with what it has been asked and has answered.
pub struct Bench {
    pub disk: SimDisk,
    broker: Option<Broker>,
    jobs: Vec<Job>,
    pub history: History,
    asked: BTreeMap<u64, Asked>,
    next: u64,
    /// Topics whose creation, and whose deletion, was confirmed.
    created: Vec<&'static str>,
    deleted: Vec<&'static str>,
    delete_asked: Vec<&'static str>,
    sequence: i32,
}

#[derive(Clone)]
enum Asked {
    Create(&'static str),
    Delete(&'static str),
    Publish(&'static str, i32, Vec<u64>),
    Trim(&'static str),
}

fn config() -> Config {
    let topic = TopicSettings { segment_bytes: 1024, index_interval_bytes: 64, ..TopicSettings::default() };
    Config { data_dir: PathBuf::from("/data"), auto_create: false, topic, ..Config::default() }
}

impl Bench {
    pub fn new(seed: u64) -> Bench {
        let mut history = History::default();
        history.topic(DURABLE, Promise { durable: true, retention: false, cleaned: false });
        history.topic(LAZY, Promise { durable: false, retention: false, cleaned: false });
        Bench::on(SimDisk::new(seed), history)
    }

    fn on(disk: SimDisk, history: History) -> Bench {
        Bench {
            disk,
            broker: None,
            jobs: Vec::new(),
            history,
            asked: BTreeMap::new(),
            next: 0,
            created: Vec::new(),
            deleted: Vec::new(),
            delete_asked: Vec::new(),
            sequence: 0,
        }
    }

    /// The same state on a disk of its own, with the broker down.
    fn fork(&self) -> Bench {
        let mut fork = Bench::on(self.disk.fork(), self.history.clone());
        fork.next = self.next;
        fork.created.clone_from(&self.created);
        fork.deleted.clone_from(&self.deleted);
        fork.delete_asked.clone_from(&self.delete_asked);
        fork
    }

    pub fn open(&mut self) -> Result<(), Crashed> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let opened = Broker::open(config(), disk, 1, NOW);
        if self.disk.has_crashed() {
            return Err(Crashed);
        }
        match opened {
            Ok((broker, _)) => self.broker = Some(broker),
            Err(e) => self.history.bad(format!("does not start: {e}")),
        }
        Ok(())
    }

    pub fn crash(&mut self, how: Crash) {
        self.broker = None;
        self.jobs.clear();
        self.asked.clear();
        self.disk.crash(how);
    }

    /// Compares the disk with the history after a start.
    pub fn audit(&mut self, after: After) {
        let data = config().data_dir;
        let there = audit::topics(&self.disk, &data);
        for &name in &self.created {
            if !there.iter().any(|t| t == name) && !self.delete_asked.contains(&name) {
                self.history.bad(format!("topic {name} was created and is gone"));
            }
        }
        for &name in &self.deleted {
            if there.iter().any(|t| t == name) {
                self.history.bad(format!("topic {name} was deleted and is there"));
            }
        }
        for name in [DURABLE, LAZY].into_iter().filter(|name| there.iter().any(|t| t == name)) {
            let topic = usize::from(name == LAZY);
            for partition in audit::partitions(&self.disk, &data, name) {
                match audit::read(&self.disk, &data, name, partition, false) {
                    Ok(found) => self.history.audit(topic, partition, &found, after),
                    Err(why) => self.history.bad(why),
                }
            }
        }
    }

    fn ask(&mut self, asked: Asked, request: Request<'_>) -> Result<(), Crashed> {
        self.next += 1;
        self.asked.insert(self.next, asked);
        let to = ReplyTo { conn: ConnId { key: 0, generation: 1 }, slot: self.next };
        let broker = self.broker.as_mut().expect("open");
        broker.handle(to, request, NOW);
        broker.flush(NOW);
        broker.take_jobs(&mut self.jobs);
        self.listen()
    }

    fn listen(&mut self) -> Result<(), Crashed> {
        if self.disk.has_crashed() {
            return Err(Crashed);
        }
        let broker = self.broker.as_mut().expect("open");
        broker.invariants();
        let mut replies = Vec::new();
        broker.take_replies(&mut replies);
        for (to, reply) in replies {
            let asked = self.asked.remove(&to.slot).expect("every request is answered once");
            match (asked, reply) {
                (Asked::Create(name), Reply::Topic(_)) => self.created.push(name),
                (Asked::Delete(name), Reply::Deleted) => self.deleted.push(name),
                (
                    Asked::Publish(name, partition, ids),
                    Reply::Published { level, parts: Parts::One(part) },
                ) => {
                    let topic = usize::from(name == LAZY);
                    let durable = level == Level::Durable;
                    self.history.acked(topic, partition, part.base_offset, &ids, durable);
                }
                (Asked::Trim(name), Reply::Trimmed(start)) => {
                    self.history.trimmed(usize::from(name == LAZY), 0, start);
                }
                (_, other) => self.history.bad(format!("answered by {other:?}")),
            }
        }
        Ok(())
    }

    /// Runs all jobs, and those that follow from them.
    fn work(&mut self) -> Result<(), Crashed> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        while !self.jobs.is_empty() {
            for job in std::mem::take(&mut self.jobs) {
                let done = job.run(&disk);
                if self.disk.has_crashed() {
                    return Err(Crashed);
                }
                let broker = self.broker.as_mut().expect("open");
                broker.complete(done, NOW);
                broker.flush(NOW);
                broker.take_jobs(&mut self.jobs);
                self.listen()?;
            }
        }
        Ok(())
    }

    fn create(&mut self, name: &'static str, partitions: i32) -> Result<(), Crashed> {
        let settings = if name == LAZY { vec![("flush.messages", "1000")] } else { Vec::new() };
        let request = Request::CreateTopic { topic: name, partitions: Some(partitions), settings };
        self.ask(Asked::Create(name), request)
    }

    fn publish(&mut self, name: &'static str, partition: i32, acks: Level) -> Result<(), Crashed> {
        let topic = usize::from(name == LAZY);
        let first = self.next as u32 * 10;
        let ids: Vec<u64> = (0..2).map(|n| content::id(1, 150, first + n)).collect();
        for (n, &id) in ids.iter().enumerate() {
            let session = (topic as u64) << 8 | partition as u64;
            let number = first + n as u32;
            let timestamp = NOW.wall;
            let expects = Expects::Anything;
            let sent = Sent { topic, partition, session, number, gapless: false, timestamp, expects };
            self.history.sent(id, sent);
        }
        let by = (name == DURABLE).then(|| {
            let base_sequence = self.sequence;
            self.sequence += ids.len() as i32;
            ProducerSequence { producer_id: 7, epoch: 0, base_sequence }
        });
        let bytes = prepared(&ids, NOW.wall, by);
        let publish = Publish {
            topic: TopicRef::Name(name),
            partition: Some(partition),
            acks,
            body: Body::Batch(&bytes),
        };
        self.ask(Asked::Publish(name, partition, ids), Request::Publish(publish))
    }

    fn trim(&mut self, name: &'static str, offset: i64) -> Result<(), Crashed> {
        self.history.wants_trim(usize::from(name == LAZY), 0, offset);
        self.ask(Asked::Trim(name), Request::DeleteRecords { topic: name, partition: 0, offset })
    }

    fn delete(&mut self, name: &'static str) -> Result<(), Crashed> {
        self.delete_asked.push(name);
        self.ask(Asked::Delete(name), Request::DeleteTopic { topic: name })
    }

    fn stop(&mut self) -> Result<(), Crashed> {
        let broker = self.broker.as_mut().expect("open");
        broker.drain(NOW);
        broker.sync_all();
        broker.take_jobs(&mut self.jobs);
        self.work()?;
        let closed = self.broker.as_mut().expect("open").close();
        if self.disk.has_crashed() {
            return Err(Crashed);
        }
        if let Err(e) = closed {
            self.history.bad(format!("a stop was not clean: {e}"));
        }
        self.broker = None;
        Ok(())
    }

    /// The workload: create, publish to two topics until segments roll, delete records, delete a topic, stop, start.
    pub fn script(&mut self) -> Result<(), Crashed> {
        self.open()?;
        self.create(DURABLE, 1)?;
        self.create(LAZY, 2)?;
        self.work()?;
        for n in 0..9 {
            self.publish(DURABLE, 0, if n % 4 == 3 { Level::Appended } else { Level::Durable })?;
            self.publish(LAZY, n % 2, Level::Durable)?;
            if n % 3 == 2 {
                self.work()?;
            }
        }
        self.trim(DURABLE, 7)?;
        self.publish(DURABLE, 0, Level::Durable)?;
        self.work()?;
        self.stop()?;
        self.open()?;
        self.publish(DURABLE, 0, Level::Durable)?;
        self.publish(LAZY, 1, Level::Durable)?;
        self.work()?;
        self.delete(LAZY)?;
        self.publish(DURABLE, 0, Level::Durable)?;
        self.work()?;
        self.stop()
    }

    /// Starts again after a crash, checks, goes on a little, and loses power for a last time.
    pub fn go_on(&mut self, after: After) -> Result<(), Crashed> {
        self.open()?;
        self.audit(after);
        if self.broker.is_none() || !self.created.contains(&DURABLE) {
            return Ok(());
        }
        self.sequence = 0;
        let fresh = self.next as i32 + 1;
        // A producer of its own, because the old one may have lost what it was not told to be there.
        self.publish_by(1_000 + i64::from(fresh))?;
        self.work()?;
        self.crash(Crash::LoseAll);
        self.open()?;
        self.audit(After::Power);
        Ok(())
    }

    fn publish_by(&mut self, producer_id: i64) -> Result<(), Crashed> {
        let id = content::id(2, 10, self.next as u32);
        let number = self.next as u32;
        let (session, timestamp, expects) = (99, 0, Expects::Anything);
        let sent = Sent { topic: 0, partition: 0, session, number, gapless: false, timestamp, expects };
        self.history.sent(id, sent);
        self.send_one(id, ProducerSequence { producer_id, epoch: 0, base_sequence: 0 })
    }

    fn send_one(&mut self, id: u64, by: ProducerSequence) -> Result<(), Crashed> {
        let bytes = prepared(&[id], NOW.wall, Some(by));
        let publish = Publish {
            topic: TopicRef::Name(DURABLE),
            partition: Some(0),
            acks: Level::Durable,
            body: Body::Batch(&bytes),
        };
        self.ask(Asked::Publish(DURABLE, 0, vec![id]), Request::Publish(publish))
    }

    /// Takes out the jobs that write to a partition's folder beside its segments, as if workers were slow with them.
    fn hold_back_chores(&mut self) -> Vec<Job> {
        let is_chore = |job: &mut Job| matches!(job, Job::Snapshot(..) | Job::Unlink(..) | Job::Mark(..));
        self.jobs.extract_if(.., is_chore).collect()
    }
}

/// A broker with a topic in which segments have been rolled, and the jobs that this has caused, not run.
fn with_chores() -> (Bench, Vec<Job>) {
    let mut bench = Bench::new(1);
    let mut prepare = || {
        bench.open()?;
        bench.create(DURABLE, 1)?;
        bench.work()?;
        let mut chores = Vec::new();
        for _ in 0..6 {
            bench.publish(DURABLE, 0, Level::Durable)?;
            chores.append(&mut bench.hold_back_chores());
            bench.work()?;
        }
        bench.trim(DURABLE, 5)?;
        chores.append(&mut bench.hold_back_chores());
        Ok::<_, Crashed>(chores)
    };
    let Ok(chores) = prepare() else { unreachable!("no crash is planned") };
    assert!(chores.len() > 1);
    (bench, chores)
}

/// A job names its files by path, so a topic's folder stays until the last one has come back.
pub fn a_folder_is_removed_after_the_jobs_that_write_to_it() -> Vec<String> {
    let (mut bench, chores) = with_chores();
    let check = || {
        bench.delete(DURABLE)?;
        let removed = bench.jobs.iter().any(|job| matches!(job, Job::DeleteTopic { .. }));
        if removed {
            bench.history.bad("the folder is removed while jobs that write to it are under way");
        }
        bench.jobs.extend(chores);
        bench.work()?;
        if !bench.deleted.contains(&DURABLE) {
            bench.history.bad("the topic is not removed when they are done");
        }
        Ok::<_, Crashed>(())
    };
    assert!(check().is_ok(), "no crash is planned");
    bench.history.violations
}

/// What is written when a broker stops is the last word.
pub fn a_broker_is_busy_while_jobs_are_under_way() -> bool {
    let (mut bench, chores) = with_chores();
    let is_idle = |bench: &Bench| bench.broker.as_ref().expect("open").is_idle();
    let busy = !is_idle(&bench);
    bench.jobs.extend(chores);
    assert!(bench.work().is_ok(), "no crash is planned");
    busy && is_idle(&bench)
}

/// A batch that is sent again before the original is written: if that fails, both are refused.
pub fn a_batch_sent_twice_has_one_fate() -> Vec<String> {
    let mut bench = Bench::new(1);
    let ready = bench.open().is_ok() && bench.create(DURABLE, 1).is_ok() && bench.work().is_ok();
    assert!(ready, "no crash is planned");
    let by = ProducerSequence { producer_id: 77, epoch: 0, base_sequence: 0 };
    let bytes = prepared(&[content::id(3, 10, 1)], NOW.wall, Some(by));
    let broker = bench.broker.as_mut().expect("open");
    bench.disk.fail_after(1, Fault::NoSpace);
    for (slot, acks) in [(1, Level::Durable), (2, Level::Durable), (3, Level::Appended)] {
        let (topic, body) = (TopicRef::Name(DURABLE), Body::Batch(&bytes));
        let publish = Publish { topic, partition: Some(0), acks, body };
        let to = ReplyTo { conn: ConnId { key: 0, generation: 1 }, slot };
        broker.handle(to, Request::Publish(publish), NOW);
    }
    broker.flush(NOW);
    let mut replies = Vec::new();
    broker.take_replies(&mut replies);
    assert_eq!(replies.len(), 3, "every request is answered");
    let refused = |reply: &Reply| matches!(reply, Reply::Refused(_));
    replies.iter().filter(|(_, reply)| !refused(reply)).map(|(_, reply)| format!("{reply:?}")).collect()
}

/// A producers file may cover records that a power cut takes back. Once others have taken their offsets, it must not be
/// believed for them.
pub fn a_producers_file_of_lost_records_is_forgotten() -> Vec<String> {
    let mut bench = Bench::new(1);
    let id = |n| content::id(3, 10, n);
    let by = |n| ProducerSequence { producer_id: 77, epoch: 0, base_sequence: n };
    let mut check = || {
        bench.open()?;
        bench.create(DURABLE, 1)?;
        bench.work()?;
        for _ in 0..3 {
            bench.publish(DURABLE, 0, Level::Durable)?;
        }
        bench.jobs.retain(|job| matches!(job, Job::Snapshot(..)));
        bench.work()?;
        // The file system may write the names of a folder before anybody asks for it.
        let synced = bench.disk.sync_dir(&config().data_dir.join("topics").join(DURABLE).join("0"));
        assert!(synced.is_ok(), "no fault is planned");
        bench.crash(Crash::LoseAll);
        bench.open()?;
        bench.audit(After::Power);
        for n in 0..8 {
            let number = n as u32;
            let (session, timestamp, expects) = (98, 0, Expects::Anything);
            let sent = Sent { topic: 0, partition: 0, session, number, gapless: true, timestamp, expects };
            bench.history.sent(id(number), sent);
            bench.send_one(id(number), by(n))?;
        }
        bench.work()?;
        bench.crash(Crash::KeepAll);
        bench.open()?;
        bench.audit(After::Process);
        bench.send_one(id(3), by(3))?;
        bench.work()
    };
    assert!(check().is_ok(), "no crash is planned");
    bench.history.violations
}

fn after(how: Crash) -> After {
    if how == Crash::KeepAll { After::Process } else { After::Power }
}

/// What the sweep went through, and what it found.
#[derive(Debug, Default)]
pub struct Swept {
    pub calls: u64,
    pub crashes: u64,
    pub second_crashes: u64,
    pub found: Vec<String>,
}

/// Crashes the workload at every call in every way of `ways`, and the recovery of every `sample`-th of them too.
pub fn sweep(ways: &[Crash], sample: u64) -> Swept {
    let mut swept = Swept::default();
    let mut whole = Bench::new(0);
    assert!(whole.script().is_ok(), "nothing goes wrong without a crash");
    swept.found.append(&mut whole.history.violations);
    swept.calls = whole.disk.calls();
    for n in 1..=swept.calls {
        for (w, &how) in ways.iter().enumerate() {
            let mut bench = Bench::new(n * 100 + w as u64);
            bench.disk.crash_at(n);
            assert!(bench.script().is_err(), "call {n} is made");
            bench.crash(how);
            swept.crashes += 1;
            if (n + w as u64).is_multiple_of(sample) {
                swept.second_crashes += crash_again(&bench, how, ways, &mut swept.found);
            }
            let _ = bench.go_on(after(how));
            let label = |what: String| format!("crash at call {n}, {how:?}: {what}");
            swept.found.extend(bench.history.violations.drain(..).map(label));
        }
    }
    swept
}

/// Crashes the recovery at each of its calls, and lets a third start find what is left.
fn crash_again(bench: &Bench, first: Crash, ways: &[Crash], found: &mut Vec<String>) -> u64 {
    for m in 1.. {
        let how = ways[m as usize % ways.len()];
        let mut again = bench.fork();
        again.disk.crash_at(m);
        if again.open().is_ok() {
            return m - 1;
        }
        again.crash(how);
        let worst = if after(first) == After::Power { After::Power } else { after(how) };
        let _ = again.go_on(worst);
        let label = |what: String| format!("crash {first:?}, then at call {m} of the start, {how:?}: {what}");
        found.extend(again.history.violations.drain(..).map(label));
    }
    unreachable!("a start makes a finite number of calls")
}
