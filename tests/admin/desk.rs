//! A broker as a value on a simulated disk, and one client that asks it one thing after the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use krappy::api::{
    After, At, Body, Change, ConnId, ErrorCode, Fetch, Get, Level, Op, PartitionKey, Parts, Publish, Reply,
    ReplyTo, Request, TopicDescription, TopicRef, Want,
};
use krappy::broker::open::Opened;
use krappy::broker::{Broker, Taken};
use krappy::config::Config;
use krappy::disk::Disk;
use krappy::disk::sim::{Crash, SimDisk};
use krappy::time::Now;
use krappy::worker::Job;
use krappy_wire::batch;
use krappy_wire::native::{KeysWriter, PlainWriter};

/// The machine has crashed in the middle of what was asked for.
#[derive(Debug)]
pub struct Crashed;

/// A broker with its disk, its workers and its clock.
pub struct Desk {
    pub sim: SimDisk,
    pub config: Config,
    pub now: Now,
    pub opened: Opened,
    /// Jobs that were handed out and not run.
    pub jobs: Vec<Job>,
    broker: Option<Broker>,
    replies: Vec<(ReplyTo, Reply)>,
    asked: u64,
}

impl Desk {
    /// With the settings that `change` makes of the usual ones.
    pub fn new(change: impl FnOnce(&mut Config)) -> Desk {
        Desk::with(1, change)
    }

    /// With the usual settings, on a disk that this seed decides about.
    pub fn on_disk(seed: u64) -> Desk {
        Desk::with(seed, |_| {})
    }

    /// Both.
    pub fn with(seed: u64, change: impl FnOnce(&mut Config)) -> Desk {
        let mut config = Config { data_dir: PathBuf::from("/data"), auto_create: false, ..Config::default() };
        change(&mut config);
        let mut desk = Desk {
            sim: SimDisk::new(seed),
            config,
            now: Now { wall: 1_700_000_000_000, ..Now::default() },
            opened: Opened::default(),
            jobs: Vec::new(),
            broker: None,
            replies: Vec::new(),
            asked: 0,
        };
        desk.start();
        desk
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.sim.clone())
    }

    pub fn broker(&mut self) -> &mut Broker {
        self.broker.as_mut().expect("it runs")
    }

    /// Starts the broker, and lets it do what it begins with.
    pub fn start(&mut self) {
        let (broker, opened) =
            Broker::open(self.config.clone(), self.disk(), 1, self.now).expect("it starts");
        self.broker = Some(broker);
        self.opened = opened;
        self.turn();
        self.work();
    }

    /// The machine ends and starts again; what the broker was doing is forgotten.
    pub fn crash(&mut self, how: Crash) {
        self.broker = None;
        self.jobs.clear();
        self.replies.clear();
        self.sim.crash(how);
        self.start();
    }

    /// Stops it cleanly and starts it again.
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// The same, with a file emptied in between.
    pub fn damage(&mut self, path: &str) {
        self.stop();
        self.sim.set_raw(Path::new(path), b"").expect("it is there");
        self.start();
    }

    fn stop(&mut self) {
        let now = self.now;
        self.broker().drain(now);
        self.broker().sync_all();
        self.turn();
        self.work();
        self.broker().close().expect("a clean stop");
        self.broker = None;
    }

    /// The end of a turn of the loop.
    pub fn turn(&mut self) {
        let now = self.now;
        let broker = self.broker.as_mut().expect("it runs");
        broker.flush(now);
        broker.take_jobs(&mut self.jobs);
        broker.take_replies(&mut self.replies);
        broker.invariants();
    }

    /// Runs all jobs, and those that follow from them.
    pub fn work(&mut self) {
        self.try_work().expect("no crash is planned");
    }

    fn try_work(&mut self) -> Result<(), Crashed> {
        while !self.jobs.is_empty() {
            let job = self.jobs.remove(0);
            self.run(job)?;
        }
        Ok(())
    }

    /// Runs one job.
    pub fn run(&mut self, job: Job) -> Result<(), Crashed> {
        let (done, now) = (job.run(&self.disk()), self.now);
        if self.sim.has_crashed() {
            return Err(Crashed);
        }
        self.broker().complete(done, now);
        self.turn();
        if self.sim.has_crashed() { Err(Crashed) } else { Ok(()) }
    }

    /// Time passes, and what it brings is done.
    pub fn pass(&mut self, ms: u64) {
        self.now = Now { time: self.now.time.plus_ms(ms), wall: self.now.wall + ms as i64 };
        let now = self.now;
        self.broker().tick(now);
        self.turn();
        self.work();
    }

    /// Offers a request. Where its reply will be, or none if it is not taken yet.
    pub fn offer(&mut self, request: Request<'_>) -> Option<u64> {
        self.asked += 1;
        let to = ReplyTo { conn: ConnId { key: 0, generation: 1 }, slot: self.asked };
        let now = self.now;
        let taken = self.broker().handle(to, request, now);
        self.turn();
        (taken == Taken::Yes).then_some(self.asked)
    }

    /// The reply to what was offered, if it has come.
    pub fn reply(&mut self, slot: u64) -> Option<Reply> {
        let at = self.replies.iter().position(|(to, _)| to.slot == slot)?;
        Some(self.replies.remove(at).1)
    }

    /// Asks, lets the workers work, and takes the answer.
    pub fn ask(&mut self, request: Request<'_>) -> Reply {
        self.try_ask(request).expect("no crash is planned")
    }

    /// The same while the machine may crash.
    pub fn try_ask(&mut self, request: Request<'_>) -> Result<Reply, Crashed> {
        let slot = self.offer(request).expect("it is taken");
        if self.sim.has_crashed() {
            return Err(Crashed);
        }
        self.try_work()?;
        Ok(self.reply(slot).expect("every request is answered"))
    }

    /// The code that a request is refused with.
    pub fn refusal(&mut self, request: Request<'_>) -> ErrorCode {
        match self.ask(request) {
            Reply::Refused(refusal) => refusal.code,
            other => panic!("answered by {other:?}"),
        }
    }

    /// Changes settings; an empty value gives one back to the broker.
    pub fn alter(&mut self, topic: &str, changes: &[(&str, &str)]) -> Reply {
        self.ask(alter(topic, changes))
    }

    /// The value of a setting of a topic.
    pub fn setting(&mut self, topic: &str, name: &str) -> String {
        let topic = self.describe(TopicRef::Name(topic));
        topic.settings.into_iter().find(|line| line.name == name).expect("there is such a setting").value
    }

    /// Everything that readers see of a partition: offset, key and value of each record.
    pub fn read(&mut self, topic: &str, partition: u32) -> Vec<(i64, Option<Vec<u8>>, Vec<u8>)> {
        let (mut records, mut offset) = (Vec::new(), self.position(topic, partition, At::Earliest).0);
        let key = self.partition(topic, partition);
        loop {
            let want = Want::from(key, partition as i32, offset);
            let fetch = Fetch {
                wants: vec![want],
                min_bytes: 0,
                max_wait_ms: 0,
                max_bytes: 1 << 20,
                every: false,
                group: None,
            };
            let Reply::Fetched { parts } = self.ask(Request::Fetch(fetch)) else { panic!("records") };
            let Some(part) = parts.into_iter().next() else { return records };
            assert_eq!(part.error, ErrorCode::None);
            let chunk = part.chunk.expect("without an error there are records");
            let mut rest = chunk.as_slice();
            while let Ok((header, bytes)) = batch::first(rest) {
                for record in batch::Records::new(bytes).expect("it is not compressed").flatten() {
                    if record.offset >= offset {
                        let value = record.value.unwrap_or_default().to_vec();
                        records.push((record.offset, record.key.map(<[u8]>::to_vec), value));
                    }
                }
                rest = &rest[header.size()..];
            }
            offset = part.next;
        }
    }

    fn partition(&mut self, topic: &str, partition: u32) -> PartitionKey {
        let (topic, at) = (TopicRef::Name(topic), At::Earliest);
        let request = Request::ListOffsets { topic, partition: Some(partition), leader_epoch: -1, at };
        match self.ask(request) {
            Reply::Offsets { parts } => parts[0].partition,
            other => panic!("answered by {other:?}"),
        }
    }

    /// Offset of the newest record of a key, if it has a value; or why that is not known.
    pub fn get(&mut self, topic: &str, partition: i32, key: &[u8]) -> Result<Option<i64>, ErrorCode> {
        let mut keys = KeysWriter::default();
        keys.push(key);
        let get = Get {
            topic,
            partition: Some(partition),
            as_of: None,
            after: After::NONE,
            explain: false,
            keys: keys.keys(),
        };
        match self.ask(Request::Get(get)) {
            Reply::Values { values, .. } => Ok(values[0].newest.as_ref().map(|newest| newest.offset)),
            Reply::Refused(refusal) => Err(refusal.code),
            other => panic!("answered by {other:?}"),
        }
    }

    pub fn create(&mut self, topic: &str, partitions: i32, settings: &[(&str, &str)]) -> TopicDescription {
        let (partitions, settings) = (Some(partitions), settings.to_vec());
        self.topic(Request::CreateTopic { topic, partitions, settings, validate_only: false })
    }

    pub fn describe(&mut self, topic: TopicRef<'_>) -> TopicDescription {
        self.topic(Request::DescribeTopic { topic, create: false })
    }

    /// The topic that a request is answered with.
    pub fn topic(&mut self, request: Request<'_>) -> TopicDescription {
        match self.ask(request) {
            Reply::Topic(topic) => *topic,
            other => panic!("answered by {other:?}"),
        }
    }

    /// Publishes a record durably; its offset.
    pub fn publish(&mut self, topic: &str, partition: i32, key: Option<&[u8]>, value: &[u8]) -> i64 {
        match self.ask(publish(topic, partition, &record(self.now.wall, key, value))) {
            Reply::Published { parts: Parts::One(part), .. } => part.base_offset,
            other => panic!("answered by {other:?}"),
        }
    }

    /// Offset, timestamp and leader epoch of a position in one partition.
    pub fn position(&mut self, topic: &str, partition: u32, at: At) -> (i64, i64, i32) {
        let topic = TopicRef::Name(topic);
        let request = Request::ListOffsets { topic, partition: Some(partition), leader_epoch: -1, at };
        match self.ask(request) {
            Reply::Offsets { parts } => (parts[0].offset, parts[0].timestamp, parts[0].leader_epoch),
            other => panic!("answered by {other:?}"),
        }
    }
}

/// A request that changes settings; an empty value gives one back to the broker.
pub fn alter<'a>(topic: &'a str, changes: &[(&'a str, &'a str)]) -> Request<'a> {
    let op = |value: &'a str| if value.is_empty() { Op::Unset } else { Op::Set(value) };
    let changes = changes.iter().map(|&(key, value)| Change { key, op: op(value) }).collect();
    Request::AlterTopic { topic, changes, replace: false, validate_only: false }
}

/// A request for more partitions.
pub fn add(topic: &str, count: i32) -> Request<'_> {
    Request::CreatePartitions { topic, count, validate_only: false }
}

/// One record with a timestamp.
pub fn record(timestamp: i64, key: Option<&[u8]>, value: &[u8]) -> PlainWriter {
    let mut writer = PlainWriter::default();
    writer.push(timestamp, key, Some(value), &[]);
    writer
}

/// A request that publishes records durably.
pub fn publish<'a>(topic: &'a str, partition: i32, records: &'a PlainWriter) -> Request<'a> {
    let body = Body::Plain(records.records());
    let topic = TopicRef::Name(topic);
    Request::Publish(Publish { topic, partition: Some(partition), acks: Level::Durable, body })
}
