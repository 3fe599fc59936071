//! A broker as a value on a simulated disk, and one client that asks it one thing after the other.

use std::path::PathBuf;
use std::sync::Arc;

use krappy::api::{
    At, Body, ConnId, ErrorCode, Level, Parts, Publish, Reply, ReplyTo, Request, TopicDescription, TopicRef,
};
use krappy::broker::open::Opened;
use krappy::broker::{Broker, Taken};
use krappy::config::Config;
use krappy::disk::Disk;
use krappy::disk::sim::SimDisk;
use krappy::time::Now;
use krappy::worker::Job;
use krappy_wire::native::PlainWriter;

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
        let mut config = Config { data_dir: PathBuf::from("/data"), auto_create: false, ..Config::default() };
        change(&mut config);
        let mut desk = Desk {
            sim: SimDisk::new(1),
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

    /// Stops it cleanly and starts it again.
    pub fn restart(&mut self) {
        let now = self.now;
        self.broker().drain(now);
        self.broker().sync_all();
        self.turn();
        self.work();
        self.broker().close().expect("a clean stop");
        self.broker = None;
        self.start();
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
        while !self.jobs.is_empty() {
            let job = self.jobs.remove(0);
            self.run(job);
        }
    }

    /// Runs one job.
    pub fn run(&mut self, job: Job) {
        let (done, now) = (job.run(&self.disk()), self.now);
        self.broker().complete(done, now);
        self.turn();
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
        let slot = self.offer(request).expect("it is taken");
        self.work();
        self.reply(slot).expect("every request is answered")
    }

    /// The code that a request is refused with.
    pub fn refusal(&mut self, request: Request<'_>) -> ErrorCode {
        match self.ask(request) {
            Reply::Refused(refusal) => refusal.code,
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
