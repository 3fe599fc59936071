//! Topics: create, open, list, describe, delete. What is asked about offsets is in `positions.rs`.
//!
//! Invariant: what is answered about a topic is durable first: a created topic's folder, a deleted topic's absence.

use krappy_wire::native::PartitionInfo;

use super::catalog::{State, Then, Topic, check_name};
use super::partition::{Partition, log_settings};
use super::views::View;
use super::{Broker, Taken};
use crate::api::{
    ErrorCode, PartitionKey, Refusal, Reply, ReplyTo, TopicDescription, TopicKey, TopicLine, TopicRef,
};
use crate::config::{TopicOverrides, TopicSettings};
use crate::lsm::Tree;
use crate::segment::Log;
use crate::time::Now;
use crate::worker::folder::Opening;
use crate::worker::{CreateTopic, Job};

impl Broker {
    pub(super) fn create_topic(
        &mut self,
        to: ReplyTo,
        name: &str,
        partitions: Option<i32>,
        settings: &[(&str, &str)],
        validate_only: bool,
    ) -> Taken {
        match self.plan_topic(name, partitions, settings) {
            Ok((topic, count)) if validate_only => {
                let partitions = vec![PartitionInfo::default(); count as usize];
                let reply = Reply::Topic(Box::new(self.description(&topic, partitions)));
                self.acks.reply(to, reply);
                Taken::Yes
            }
            Ok((topic, count)) => self.begin_topic(topic, count, (to, Then::Describe)),
            Err(refusal) => self.refuse(to, refusal),
        }
    }

    /// Checks everything; the topic as it would be, without an id, and how many partitions it would have.
    pub(super) fn plan_topic(
        &self,
        name: &str,
        partitions: Option<i32>,
        settings: &[(&str, &str)],
    ) -> Result<(Topic, u32), Refusal> {
        check_name(name)?;
        self.refuse_while_draining()?;
        if self.catalog.find(name).is_some() {
            let message = format!("topic {name:?} already exists");
            return Err(Refusal::new(ErrorCode::TopicAlreadyExists, message));
        }
        if let Some(other) = self.catalog.colliding(name) {
            let message = format!("topic {name:?} collides with {other:?}: '.' and '_' count as the same");
            return Err(Refusal::new(ErrorCode::InvalidTopic, message).hint("choose another name"));
        }
        let count = partitions.unwrap_or(self.config.num_partitions as i32);
        self.check_counts(count)?;
        self.check_room(count as usize)?;
        let mut own = TopicOverrides::default();
        for (key, value) in settings {
            own.set(key, value).map_err(|e| Refusal::new(ErrorCode::InvalidConfig, e))?;
        }
        let topic = Topic {
            name: name.to_owned(),
            id: [0; 16],
            settings: own.over(&self.config.topic),
            own,
            partitions: Vec::new(),
            state: State::Creating(Vec::new()),
            change: None,
        };
        Ok((topic, count as u32))
    }

    /// Enters a topic that was checked in the catalog and lets a worker make its folder.
    pub(super) fn begin_topic(&mut self, topic: Topic, count: u32, waiting: (ReplyTo, Then)) -> Taken {
        let topic = Topic { id: self.new_id(), state: State::Creating(vec![waiting]), ..topic };
        let properties = topic.properties(&topic.own, count);
        let opening = self.opening(&topic.settings);
        let name = topic.name.clone();
        let key = self.catalog.add(topic);
        self.creating += count as usize;
        self.jobs.push(Job::CreateTopic(CreateTopic {
            topic: key,
            topics: self.topics_dir(),
            name,
            partitions: count,
            properties,
            opening,
        }));
        Taken::Yes
    }

    /// How new partitions of a topic with these settings are opened.
    pub(super) fn opening(&self, settings: &TopicSettings) -> Opening {
        let view = settings.cleanup.compacts().then(|| self.view_options());
        Opening { settings: log_settings(settings), view }
    }

    pub(super) fn refuse_while_draining(&self) -> Result<(), Refusal> {
        if !self.draining {
            return Ok(());
        }
        Err(Refusal::new(ErrorCode::Draining, "the broker is stopping").hint("connect again later"))
    }

    fn check_counts(&self, count: i32) -> Result<(), Refusal> {
        if self.catalog.len() >= self.config.limits.max_topics {
            let message = format!("there are {} topics, as many as max.topics allows", self.catalog.len());
            return Err(Refusal::new(ErrorCode::PolicyViolation, message));
        }
        check_partitions(count)
    }

    /// Whether so many more partitions are within the limit.
    pub(super) fn check_room(&self, more: usize) -> Result<(), Refusal> {
        let limit = self.config.limits.max_partitions;
        if self.live_partitions + self.creating + more <= limit {
            return Ok(());
        }
        let message = format!("{more} more partitions would be above max.partitions={limit}");
        Err(Refusal::new(ErrorCode::PolicyViolation, message))
    }

    /// The folder is there, or could not be made: tell everyone who waited.
    pub(super) fn topic_created(
        &mut self,
        key: TopicKey,
        result: std::io::Result<Vec<(Log, Option<Tree>)>>,
        now: Now,
    ) {
        let topic = self.catalog.get_mut(key).expect("a topic that is being created stays in the catalog");
        let State::Creating(waiting) = std::mem::replace(&mut topic.state, State::Live) else {
            unreachable!("a topic is created once");
        };
        match result {
            Ok(opened) => {
                self.creating -= opened.len();
                let logs = opened.into_iter().map(|(log, tree)| (log, tree.map(View::new)));
                self.add_partitions(key, logs.collect());
                let name = self.catalog.get(key).expect("it was made a moment ago").name.clone();
                self.tell_groups(&name, now);
                for (to, then) in waiting {
                    self.finish_open(to, key, then);
                }
            }
            Err(error) => {
                let topic = self.catalog.remove(key).expect("it was there a moment ago");
                log::error!("topic {:?} could not be created: {error}", topic.name);
                self.recount_creating();
                for (to, _) in waiting {
                    let message = format!("the folder of topic {:?} could not be made: {error}", topic.name);
                    self.refuse(to, Refusal::new(ErrorCode::StorageError, message));
                }
            }
        }
    }

    /// After a failed creation the count of partitions under way is not known from the logs; a failure is rare enough
    /// to let the limit be approximate until nothing is under way.
    fn recount_creating(&mut self) {
        if !self.catalog.iter().any(|(_, t)| matches!(t.state, State::Creating(_)) || t.change.is_some()) {
            self.creating = 0;
        }
    }

    /// Puts further partitions, in order, behind those that the topic has.
    pub(super) fn add_partitions(&mut self, key: TopicKey, logs: Vec<(Log, Option<View>)>) {
        let topic = self.catalog.get_mut(key).expect("the topic is in the catalog");
        let dir = self.config.data_dir.join("topics").join(&topic.name);
        for (log, view) in logs {
            let number = topic.partitions.len() as u32;
            let dir = dir.join(number.to_string());
            let mut partition = Partition::new(key, number, dir, log, &topic.settings, self.leader_epoch);
            partition.view = view.map(Box::new);
            topic.partitions.push(PartitionKey(self.partitions.len() as u32));
            self.partitions.push(Some(Box::new(partition)));
            self.live_partitions += 1;
        }
    }

    fn finish_open(&mut self, to: ReplyTo, key: TopicKey, then: Then) {
        let reply = match then {
            Then::Describe => {
                let topic = self.catalog.get(key).expect("an open topic is in the catalog");
                Reply::Topic(Box::new(self.description(topic, self.partition_infos(topic))))
            }
            Then::OpenProducer { idempotent } => self.producer_open(key, idempotent),
        };
        self.acks.reply(to, reply);
    }

    fn producer_open(&mut self, key: TopicKey, idempotent: bool) -> Reply {
        let producer = idempotent.then(|| (self.new_producer_id(), 0));
        let topic = self.catalog.get(key).expect("an open topic is in the catalog");
        Reply::ProducerOpen {
            topic: key,
            partitions: topic.partitions.len() as u32,
            producer,
            max_message_bytes: topic.settings.max_message_bytes,
        }
    }

    /// Answers a request for a producer id that is not tied to a topic.
    pub(super) fn give_producer_id(&mut self, to: ReplyTo) -> Taken {
        let reply = Reply::ProducerId { id: self.new_producer_id(), epoch: 0 };
        self.acks.reply(to, reply);
        Taken::Yes
    }

    pub(super) fn open_producer(&mut self, to: ReplyTo, name: &str, idempotent: bool) -> Taken {
        self.open_or_create(to, name, Then::OpenProducer { idempotent })
    }

    /// Answers when the topic is there; creates it if it is not and that is switched on.
    fn open_or_create(&mut self, to: ReplyTo, name: &str, then: Then) -> Taken {
        if let Some(key) = self.catalog.find(name) {
            match &mut self.catalog.get_mut(key).expect("a name maps to a topic").state {
                State::Creating(waiting) => waiting.push((to, then)),
                State::Live => self.finish_open(to, key, then),
                State::Deleting(_) => {
                    let refusal = self.catalog.unknown(name);
                    return self.refuse(to, refusal);
                }
            }
            return Taken::Yes;
        }
        if !self.config.auto_create {
            // A name that no topic can have is worth saying more about than that there is none.
            let refusal = check_name(name).err().unwrap_or_else(|| self.catalog.unknown(name));
            return self.refuse(to, refusal);
        }
        match self.plan_topic(name, None, &[]) {
            Ok((topic, count)) => self.begin_topic(topic, count, (to, then)),
            Err(refusal) => self.refuse(to, refusal),
        }
    }

    pub(super) fn list_topics(&mut self, to: ReplyTo) -> Taken {
        let lines = self.catalog.iter().filter(|(_, t)| matches!(t.state, State::Live)).map(|(_, topic)| {
            let mut line = TopicLine {
                name: topic.name.clone(),
                id: topic.id,
                partitions: topic.partitions.len() as u32,
                records: 0,
                bytes: 0,
            };
            for p in topic.partitions.iter().filter_map(|&key| self.partition(key)) {
                line.records += (p.high_watermark() - p.log.start_offset()).max(0) as u64;
                line.bytes += p.log.size();
            }
            line
        });
        let reply = Reply::Topics(lines.collect());
        self.acks.reply(to, reply);
        Taken::Yes
    }

    pub(super) fn describe_all_topics(&mut self, to: ReplyTo) -> Taken {
        let live = self.catalog.iter().filter(|(_, t)| matches!(t.state, State::Live));
        let reply = Reply::AllTopics(
            live.map(|(_, topic)| self.description(topic, self.partition_infos(topic))).collect(),
        );
        self.acks.reply(to, reply);
        Taken::Yes
    }

    pub(super) fn describe_topic(&mut self, to: ReplyTo, topic: TopicRef<'_>, create: bool) -> Taken {
        if let (TopicRef::Name(name), true) = (topic, create) {
            return self.open_or_create(to, name, Then::Describe);
        }
        match self.live_topic_or_why(topic) {
            Ok(key) => self.finish_open(to, key, Then::Describe),
            Err(refusal) => return self.refuse(to, refusal),
        }
        Taken::Yes
    }

    pub(super) fn describe_broker(&mut self, to: ReplyTo) -> Taken {
        self.acks.reply(to, Reply::Settings(self.config.describe()));
        Taken::Yes
    }

    /// A topic that can be used.
    pub(super) fn live_topic(&self, topic: TopicRef<'_>) -> Result<TopicKey, Refusal> {
        let (key, found) = self.catalog.resolve(topic)?;
        match found.state {
            State::Live => Ok(key),
            State::Creating(_) => {
                let message = format!("topic {:?} is being created", found.name);
                let code = self.catalog.unknown_ref(topic).code;
                Err(Refusal::new(code, message).hint("try again in a moment"))
            }
            State::Deleting(_) => Err(self.catalog.unknown_ref(topic)),
        }
    }

    /// The same; a name that no topic can have is worth saying more about than that there is none.
    pub(super) fn live_topic_or_why(&self, topic: TopicRef<'_>) -> Result<TopicKey, Refusal> {
        self.live_topic(topic).map_err(|refusal| match topic {
            TopicRef::Name(name) => check_name(name).err().unwrap_or(refusal),
            _ => refusal,
        })
    }

    fn partition_infos(&self, topic: &Topic) -> Vec<PartitionInfo> {
        let info = |p: &Partition| PartitionInfo {
            log_start: p.log.start_offset(),
            high_watermark: p.high_watermark(),
            log_end: p.log.end_offset(),
            bytes: p.log.size(),
            segments: p.log.segment_count() as u32,
            fenced: p.log.fenced(),
        };
        topic.partitions.iter().filter_map(|&key| self.partition(key)).map(info).collect()
    }

    fn description(&self, topic: &Topic, partitions: Vec<PartitionInfo>) -> TopicDescription {
        TopicDescription {
            name: topic.name.clone(),
            id: topic.id,
            partitions,
            settings: topic.own.describe(&self.config.topic),
        }
    }

    pub(super) fn delete_topic(&mut self, to: ReplyTo, topic: TopicRef<'_>, now: Now) -> Taken {
        let key = match self.live_topic(topic) {
            Ok(key) => key,
            Err(refusal) => return self.refuse(to, refusal),
        };
        self.write_tails(now);
        let topic = self.catalog.get_mut(key).expect("a live topic is in the catalog");
        topic.state = State::Deleting(vec![to]);
        let partitions = topic.partitions.clone();
        for &partition in &partitions {
            let p =
                self.partitions[partition.0 as usize].as_mut().expect("a live topic's partitions are there");
            p.log.fence();
            p.fail_waiting(&mut self.acks);
        }
        for partition in partitions {
            self.answer_deferred(partition);
            self.wake_fetches(partition, now.time);
        }
        self.continue_deletion(key);
        Taken::Yes
    }

    /// Removes the topic's partitions as soon as no job of theirs is under way, then its folder. A job names its files
    /// by path: one that came later would write into the folder of a new topic of the same name.
    pub(super) fn continue_deletion(&mut self, key: TopicKey) {
        let Some(topic) = self.catalog.get_mut(key) else { return };
        if !matches!(topic.state, State::Deleting(_)) {
            return;
        }
        let busy = |p: &PartitionKey| {
            self.partitions[p.0 as usize].as_ref().is_some_and(|p| p.syncing || p.chores > 0)
        };
        if topic.partitions.iter().any(busy) || topic.partitions.is_empty() || topic.change.is_some() {
            return;
        }
        let name = topic.name.clone();
        for partition in std::mem::take(&mut topic.partitions) {
            self.forget_view(partition);
            if let Some(mut gone) = self.partitions[partition.0 as usize].take() {
                self.unflushed -= gone.counted_unsynced(0);
            }
            self.live_partitions -= 1;
        }
        self.jobs.push(Job::DeleteTopic { topic: key, topics: self.topics_dir(), name });
    }

    pub(super) fn topic_deleted(&mut self, key: TopicKey, result: std::io::Result<()>, now: Now) {
        let topic = self.catalog.remove(key).expect("a topic that is being deleted stays in the catalog");
        let State::Deleting(waiting) = topic.state else {
            unreachable!("only a topic being deleted is removed")
        };
        if let Err(error) = &result {
            log::error!("the folder of deleted topic {:?} could not be removed: {error}", topic.name);
        }
        self.forget_topic(&topic.name, now);
        self.tell_groups(&topic.name, now);
        self.forget_queues_of(&topic.name, now);
        for to in waiting {
            match &result {
                Ok(()) => self.acks.reply(to, Reply::Deleted { name: topic.name.clone(), id: topic.id }),
                Err(error) => {
                    let message =
                        format!("the folder of topic {:?} could not be removed: {error}", topic.name);
                    self.refuse(to, Refusal::new(ErrorCode::StorageError, message));
                }
            }
        }
    }
}

/// Checks how many partitions a topic may have.
pub(super) fn check_partitions(count: i32) -> Result<(), Refusal> {
    if (1..=1000).contains(&count) {
        return Ok(());
    }
    let message = format!("{count} partitions: 1 to 1000 are allowed");
    Err(Refusal::new(ErrorCode::InvalidPartitions, message))
}
