//! The broker without a network: a request, the end of the turn, the jobs, the replies, all of it step by step, so that
//! a workload can be crashed at every call that changes something.
//!
//! Invariant: what is asked, answered and found after a start goes to the history, as in the whole simulation.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use krappy::api::{Body, ConnId, ErrorCode, Level, Parts, Publish, Reply, ReplyTo, Request, TopicRef};
use krappy::broker::Broker;
use krappy::config::{Config, Limits, TopicSettings};
use krappy::disk::Disk;
use krappy::disk::sim::{Crash, SimDisk};
use krappy::time::{Now, Time};
use krappy::worker::Job;
use krappy_wire::batch::ProducerSequence;

use super::audit;
use super::content;
use super::history::{After, Expects, History, Promise, Sent, Topic};
use super::plan::TopicPlan;
use super::producer::prepared;
use super::sabotage::{Lie, LyingDisk};
use super::views::Logs;

/// When a bench begins.
pub const NOW: Now = Now { time: Time(1), wall: 1_780_000_000_000 };
pub const DURABLE: &str = "durable";
pub const LAZY: &str = "lazy";
/// A compacted topic that is cleaned.
pub const KEYED: &str = "keyed";
/// A compacted topic that is not synced.
pub const KEYED_LAZY: &str = "keyed-lazy";
/// The place of a name is its number in the history.
const TOPICS: [&str; 4] = [DURABLE, LAZY, KEYED, KEYED_LAZY];
/// Weight of a memtable of a view.
const MEMTABLE: usize = 600;

fn number(name: &str) -> Topic {
    TOPICS.iter().position(|topic| *topic == name).expect("one of the four")
}

pub fn is_compacted(name: &str) -> bool {
    [KEYED, KEYED_LAZY].contains(&name)
}

fn promise(name: &str) -> Promise {
    let durable = [DURABLE, KEYED].contains(&name);
    Promise { durable, retention: false, cleaned: name == KEYED }
}

fn settings(name: &str) -> Vec<(&'static str, &'static str)> {
    match name {
        LAZY => vec![("flush.messages", "1000")],
        KEYED => vec![
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.1"),
            ("delete.retention.ms", "0"),
        ],
        KEYED_LAZY => vec![
            ("cleanup.policy", "compact"),
            ("min.compaction.lag.ms", "9223372036854775807"),
            ("flush.messages", "1000"),
        ],
        _ => Vec::new(),
    }
}

/// The machine went down in the middle.
pub struct Crashed;

/// A broker on a disk, with what it has been asked and has answered.
pub struct Bench {
    pub disk: SimDisk,
    pub broker: Option<Broker>,
    pub jobs: Vec<Job>,
    pub history: History,
    pub logs: Logs,
    pub now: Now,
    /// What the broker's disk does wrong, if anything.
    pub lie: Option<Lie>,
    /// The disk may fail, and refusals for that reason are fine.
    pub faulty: bool,
    asked: BTreeMap<u64, Asked>,
    answers: BTreeMap<u64, Reply>,
    pub next: u64,
    /// Topics whose creation, and whose deletion, was confirmed.
    pub created: Vec<&'static str>,
    pub deleted: Vec<&'static str>,
    delete_asked: Vec<&'static str>,
    pub sequence: i32,
    /// Flushes and merges of views, records that were cleaned away, and views that broke.
    pub flushes: u64,
    pub merges: u64,
    pub cleaned: u64,
    pub broken: u64,
    /// Manifests of views that were followed by another one while the broker ran.
    pub switches: u64,
}

#[derive(Clone)]
pub enum Asked {
    Create(&'static str),
    Delete(&'static str),
    Publish(&'static str, i32, Vec<u64>),
    Trim(&'static str),
    /// A publish of one record that expects its key's newest record at this offset, or none.
    Swap(&'static str, u64, Option<i64>),
    /// Whoever asks takes the answer.
    Question,
}

pub fn config() -> Config {
    let topic = TopicSettings { segment_bytes: 1024, index_interval_bytes: 64, ..TopicSettings::default() };
    let limits = Limits { view_memtable: MEMTABLE, ..Limits::default() };
    Config {
        data_dir: PathBuf::from("/data"),
        auto_create: false,
        cleaner_backoff_ms: 10,
        topic,
        limits,
        ..Config::default()
    }
}

impl Bench {
    pub fn new(seed: u64) -> Bench {
        let mut history = History::default();
        for name in TOPICS {
            history.topic(name, promise(name));
        }
        let disk = SimDisk::new(seed);
        let logs = Logs::new(&disk, config().data_dir);
        Bench::on(disk, history, logs)
    }

    fn on(disk: SimDisk, history: History, logs: Logs) -> Bench {
        Bench {
            disk,
            broker: None,
            jobs: Vec::new(),
            history,
            logs,
            now: NOW,
            lie: None,
            faulty: false,
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            next: 0,
            created: Vec::new(),
            deleted: Vec::new(),
            delete_asked: Vec::new(),
            sequence: 0,
            flushes: 0,
            merges: 0,
            cleaned: 0,
            broken: 0,
            switches: 0,
        }
    }

    /// The same state on a disk of its own, with the broker down.
    pub fn fork(&self) -> Bench {
        let disk = self.disk.fork();
        let logs = self.logs.on(&disk);
        let mut fork = Bench::on(disk, self.history.clone(), logs);
        fork.now = self.now;
        fork.faulty = self.faulty;
        fork.next = self.next;
        fork.sequence = self.sequence;
        fork.created.clone_from(&self.created);
        fork.deleted.clone_from(&self.deleted);
        fork.delete_asked.clone_from(&self.delete_asked);
        fork
    }

    /// The disk as the broker sees it.
    fn broker_disk(&self) -> Arc<dyn Disk> {
        let within: Arc<dyn Disk> = Arc::new(self.disk.clone());
        match self.lie {
            Some(lie) => Arc::new(LyingDisk { within, lie }),
            None => within,
        }
    }

    pub fn open(&mut self) -> Result<(), Crashed> {
        let opened = Broker::open(config(), self.broker_disk(), 1, self.now);
        if self.disk.has_crashed() {
            return Err(Crashed);
        }
        match opened {
            Ok((broker, _)) => self.broker = Some(broker),
            Err(e) => self.history.bad(format!("does not start: {e}")),
        }
        Ok(())
    }

    /// Adds up what the broker has counted.
    pub fn count(&mut self) {
        let metrics = &self.broker.as_ref().expect("open").metrics;
        self.flushes += metrics.view_flushes;
        self.merges += metrics.view_merges;
        self.cleaned += metrics.cleaned_records;
        self.broken += metrics.view_failures;
    }

    /// Whether the broker has given up.
    pub fn is_over(&self) -> bool {
        self.broker.as_ref().is_none_or(|broker| broker.fatal().is_some())
    }

    pub fn crash(&mut self, how: Crash) {
        self.broker = None;
        self.jobs.clear();
        self.asked.clear();
        self.answers.clear();
        self.disk.crash(how);
    }

    /// Whether a topic has its folder.
    pub fn has(&self, name: &str) -> bool {
        audit::topics(&self.disk, &config().data_dir).iter().any(|topic| topic == name)
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
        for name in TOPICS.into_iter().filter(|name| !there.iter().any(|t| t == name)) {
            if self.history.has_records(number(name)) && !self.delete_asked.contains(&name) {
                self.history.bad(format!("topic {name} had records and is gone"));
            }
        }
        for name in TOPICS.into_iter().filter(|name| there.iter().any(|t| t == name)) {
            for partition in audit::partitions(&self.disk, &data, name) {
                self.audit_partition(name, partition, after);
            }
            if is_compacted(name) {
                self.view_opened(name);
            }
        }
    }

    /// Compares the log of a partition with the history.
    pub fn audit_partition(&mut self, name: &str, partition: i32, after: After) {
        let (topic, cleaned) = (number(name), promise(name).cleaned);
        for (offset, id) in self.logs.seen(name, partition).into_iter().filter(|_| cleaned) {
            self.history.saw(topic, partition, offset, id);
        }
        match audit::read(&self.disk, &config().data_dir, name, partition, cleaned) {
            Ok(found) => {
                self.history.audit(topic, partition, &found, after);
                self.logs.restarted(name, partition, found.end);
            }
            Err(why) => self.history.bad(why),
        }
    }

    fn view_opened(&mut self, name: &str) {
        if let Err(why) = self.logs.view_opened(name, 0) {
            self.history.bad(why);
        }
    }

    pub fn ask(&mut self, asked: Asked, request: Request<'_>) -> Result<(), Crashed> {
        self.next += 1;
        self.asked.insert(self.next, asked);
        let to = ReplyTo { conn: ConnId { key: 0, generation: 1 }, slot: self.next };
        let broker = self.broker.as_mut().expect("open");
        broker.handle(to, request, self.now);
        broker.flush(self.now);
        broker.take_jobs(&mut self.jobs);
        self.listen()
    }

    fn listen(&mut self) -> Result<(), Crashed> {
        if self.disk.has_crashed() {
            return Err(Crashed);
        }
        let broker = self.broker.as_mut().expect("open");
        broker.invariants();
        for name in self.created.iter().filter(|name| is_compacted(name)) {
            self.logs.catch_up(name, 1);
        }
        let mut replies = Vec::new();
        broker.take_replies(&mut replies);
        for (to, reply) in replies {
            let asked = self.asked.remove(&to.slot).expect("every request is answered once");
            match (asked, reply) {
                (Asked::Create(name), Reply::Topic(_)) => {
                    self.created.push(name);
                    if is_compacted(name) {
                        self.view_opened(name);
                    }
                }
                (Asked::Delete(name), Reply::Deleted { .. }) => self.deleted.push(name),
                (
                    Asked::Publish(name, partition, ids),
                    Reply::Published { level, parts: Parts::One(part) },
                ) => {
                    let topic = number(name);
                    let durable = level == Level::Durable;
                    self.history.acked(topic, partition, part.base_offset, &ids, durable);
                }
                (Asked::Trim(name), Reply::Trimmed(start)) => {
                    self.history.trimmed(number(name), 0, start);
                }
                (Asked::Swap(name, id, expected), Reply::Published { level, parts: Parts::One(part) }) => {
                    let durable = level == Level::Durable;
                    self.history.acked(number(name), 0, part.base_offset, &[id], durable);
                    let plan = plan(name);
                    let offset = part.base_offset;
                    let won = self.logs.check_won(&plan, 0, offset, id, expected, &mut self.history);
                    won.unwrap_or_else(|why| self.history.bad(why));
                }
                (Asked::Swap(name, id, expected), Reply::Conflict { offset, deleted, .. }) => {
                    let (plan, key) = (plan(name), content::key(id).expect("it has one"));
                    let found = offset.map(|offset| (offset, deleted));
                    let lost = self.logs.check_conflict(&plan, 0, &key, expected, found, &mut self.history);
                    lost.unwrap_or_else(|why| self.history.bad(why));
                }
                (Asked::Question, reply) => {
                    self.answers.insert(to.slot, reply);
                }
                (_, Reply::Refused(refusal)) if self.faulty && is_of_the_disk(refusal.code) => {}
                (_, other) => self.history.bad(format!("answered by {other:?}")),
            }
        }
        Ok(())
    }

    /// Runs all jobs, and those that follow from them.
    pub fn work(&mut self) -> Result<(), Crashed> {
        while !self.jobs.is_empty() {
            self.work_once()?;
        }
        Ok(())
    }

    fn work_once(&mut self) -> Result<(), Crashed> {
        let disk = self.broker_disk();
        for job in std::mem::take(&mut self.jobs) {
            let done = job.run(&disk);
            if self.disk.has_crashed() {
                return Err(Crashed);
            }
            let broker = self.broker.as_mut().expect("open");
            broker.complete(done, self.now);
            broker.flush(self.now);
            broker.take_jobs(&mut self.jobs);
            self.listen()?;
        }
        Ok(())
    }

    /// Asks something and waits for the answer.
    pub fn question(&mut self, request: Request<'_>) -> Result<Reply, Crashed> {
        self.ask(Asked::Question, request)?;
        let slot = self.next;
        self.work()?;
        Ok(self.answers.remove(&slot).expect("every request is answered"))
    }

    /// As [`Bench::work`], but takes out the jobs that are to be held back.
    pub fn work_but(&mut self, mut hold: impl FnMut(&Job) -> bool) -> Result<Vec<Job>, Crashed> {
        let mut held = Vec::new();
        while !self.jobs.is_empty() {
            let mut all = std::mem::take(&mut self.jobs);
            held.extend(all.extract_if(.., |job| hold(job)));
            let mut rest = all.into_iter();
            self.jobs.extend(rest.next());
            let later: Vec<_> = rest.collect();
            self.work_once()?;
            self.jobs.extend(later);
        }
        Ok(held)
    }

    /// Time passes, and what it brings is done.
    pub fn pass_time(&mut self, ms: u64) -> Result<(), Crashed> {
        self.pass_jobs(ms)?;
        self.work()
    }

    /// Time passes; what it brings is left to be done.
    pub fn pass_jobs(&mut self, ms: u64) -> Result<(), Crashed> {
        self.now = Now { time: self.now.time.plus_ms(ms), wall: self.now.wall + ms as i64 };
        let broker = self.broker.as_mut().expect("open");
        broker.tick(self.now);
        broker.flush(self.now);
        broker.take_jobs(&mut self.jobs);
        self.listen()
    }

    pub fn create(&mut self, name: &'static str, partitions: i32) -> Result<(), Crashed> {
        let settings = settings(name);
        let request = Request::CreateTopic {
            topic: name,
            partitions: Some(partitions),
            settings,
            validate_only: false,
        };
        self.ask(Asked::Create(name), request)
    }

    pub fn publish(&mut self, name: &'static str, partition: i32, acks: Level) -> Result<(), Crashed> {
        let topic = number(name);
        let first = self.next as u32 * 10;
        let ids: Vec<u64> = (0..2).map(|n| content::id(1, 150, first + n)).collect();
        for (n, &id) in ids.iter().enumerate() {
            let session = (topic as u64) << 8 | partition as u64;
            let number = first + n as u32;
            let timestamp = NOW.wall;
            let expects = Expects::Anything;
            let sent = Sent {
                topic,
                partition,
                session,
                number,
                gapless: false,
                repeats: false,
                timestamp,
                expects,
            };
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

    pub fn trim(&mut self, name: &'static str, offset: i64) -> Result<(), Crashed> {
        self.history.wants_trim(number(name), 0, offset);
        self.ask(Asked::Trim(name), Request::DeleteRecords { topic: name, partition: 0, offset })
    }

    pub fn delete(&mut self, name: &'static str) -> Result<(), Crashed> {
        self.delete_asked.push(name);
        self.ask(Asked::Delete(name), Request::DeleteTopic { topic: TopicRef::Name(name) })
    }

    pub fn stop(&mut self) -> Result<(), Crashed> {
        self.count();
        let broker = self.broker.as_mut().expect("open");
        broker.drain(self.now);
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

    /// Publishes one record to the durable topic as a batch of a producer.
    pub fn send_one(&mut self, id: u64, by: ProducerSequence) -> Result<(), Crashed> {
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
    pub fn hold_back_chores(&mut self) -> Vec<Job> {
        let is_chore = |job: &mut Job| matches!(job, Job::Snapshot(..) | Job::Unlink(..) | Job::Mark(..));
        self.jobs.extract_if(.., is_chore).collect()
    }
}

/// What is known of a topic in advance.
pub fn plan(name: &'static str) -> TopicPlan {
    TopicPlan {
        name,
        partitions: 1,
        settings: Vec::new(),
        promise: promise(name),
        compacted: is_compacted(name),
        flush_ms: None,
        trims: false,
        topic: number(name),
    }
}

fn is_of_the_disk(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::StorageError | ErrorCode::ViewNotReady | ErrorCode::Draining)
}
