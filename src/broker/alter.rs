//! Changing a topic: its settings, and how many partitions it has.
//!
//! ```text
//!   AlterTopic       -> check -> Job::Describe       -> durable -> the settings hold        -> answer
//!   CreatePartitions -> check -> Job::AddPartitions  -> durable -> the partitions are there -> answer
//! ```
//!
//! Invariants: a change is durable before it holds and before it is answered; changes of one topic come one after the
//! other; a topic that is being deleted meanwhile stays deleted, and its folder is not removed under a change.

use std::io;

use super::admin::check_partitions;
use super::catalog::{Altered, Pending, State, Topic};
use super::views::View;
use super::{Broker, Taken};
use crate::api::{Change, ErrorCode, Op, PartitionKey, Refusal, Reply, ReplyTo, TopicKey, TopicRef};
use crate::config::{TopicOverrides, TopicSettings};
use crate::lsm::Tree;
use crate::segment::Log;
use crate::time::Now;
use crate::worker::{AddPartitions, Job};

impl Broker {
    /// Takes a change of settings, or leaves it until another change of the topic is done.
    pub(super) fn alter_topic(
        &mut self,
        to: ReplyTo,
        name: &str,
        changes: &[Change<'_>],
        replace: bool,
        validate_only: bool,
    ) -> Taken {
        let named = self.live_topic_or_why(TopicRef::Name(name));
        let planned = self.refuse_while_draining().and(named).and_then(|key| {
            let topic = self.catalog.get(key).expect("a live topic is in the catalog");
            Ok((key, changed(topic, changes, replace, &self.config.topic)?))
        });
        let (key, own) = match planned {
            Ok(planned) => planned,
            Err(refusal) => return self.refuse(to, refusal),
        };
        if self.is_changing(key) {
            return Taken::Later;
        }
        let topic = self.catalog.get(key).expect("a live topic is in the catalog");
        if validate_only || own == topic.own {
            self.acks.reply(to, Reply::Altered);
            return Taken::Yes;
        }
        let properties = topic.properties(&own, topic.partitions.len() as u32);
        self.jobs.push(Job::Describe(key, self.topics_dir().join(name), properties));
        self.begin_change(key, Pending { to, what: Altered::Settings(own) })
    }

    /// Takes a request for more partitions, or leaves it until another change of the topic is done.
    pub(super) fn create_partitions(
        &mut self,
        to: ReplyTo,
        name: &str,
        count: i32,
        validate_only: bool,
    ) -> Taken {
        let key = match self.changeable(name) {
            Ok(key) => key,
            Err(refusal) => return self.refuse(to, refusal),
        };
        if self.is_changing(key) {
            return Taken::Later;
        }
        let topic = self.catalog.get(key).expect("a live topic is in the catalog");
        let from = topic.partitions.len();
        if let Err(refusal) = more_than(from, count).and_then(|more| self.check_room(more)) {
            return self.refuse(to, refusal);
        }
        if validate_only {
            self.acks.reply(to, Reply::Altered);
            return Taken::Yes;
        }
        let properties = topic.properties(&topic.own, count as u32);
        self.jobs.push(Job::AddPartitions(AddPartitions {
            topic: key,
            dir: self.topics_dir().join(name),
            from: from as u32,
            count: count as u32,
            before: topic.properties(&topic.own, from as u32),
            properties,
            opening: self.opening(&topic.settings),
        }));
        let more = count as usize - from;
        self.creating += more;
        self.begin_change(key, Pending { to, what: Altered::Partitions(more) })
    }

    fn changeable(&self, name: &str) -> Result<TopicKey, Refusal> {
        self.refuse_while_draining()?;
        self.live_topic(TopicRef::Name(name))
    }

    /// Whether an earlier change is not done to the end: a view that was given up is part of one.
    fn is_changing(&self, key: TopicKey) -> bool {
        let topic = self.catalog.get(key).expect("a live topic is in the catalog");
        let retired = |&key: &PartitionKey| self.partition(key).is_some_and(|p| p.retired.is_some());
        topic.change.is_some() || topic.partitions.iter().any(retired)
    }

    fn begin_change(&mut self, key: TopicKey, change: Pending) -> Taken {
        self.catalog.get_mut(key).expect("a live topic is in the catalog").change = Some(change);
        Taken::Yes
    }

    /// A worker has made a change durable, or could not.
    pub(super) fn altered(&mut self, key: TopicKey, result: io::Result<Vec<(Log, Option<Tree>)>>, now: Now) {
        let topic = self.catalog.get_mut(key).expect("a topic stays while it is changed");
        let Pending { to, what } = topic.change.take().expect("one change was under way");
        if let Altered::Partitions(more) = what {
            self.creating -= more;
        }
        let gone = matches!(topic.state, State::Deleting(_));
        let name = topic.name.clone();
        match (result, what) {
            _ if gone => {
                let refusal = self.catalog.unknown(&name);
                self.refuse(to, refusal);
                self.continue_deletion(key);
            }
            (Ok(_), Altered::Settings(own)) => {
                self.take_settings(key, own, now);
                self.acks.reply(to, Reply::Altered);
            }
            (Ok(opened), Altered::Partitions(_)) => {
                let logs = opened.into_iter().map(|(log, tree)| (log, tree.map(View::new)));
                self.add_partitions(key, logs.collect());
                self.tell_groups(&name, now);
                self.acks.reply(to, Reply::Altered);
            }
            (Err(error), _) => {
                log::error!("the change of topic {name:?} could not be made durable: {error}");
                let message = format!("the change of topic {name:?} could not be made durable: {error}");
                let refusal = Refusal::new(ErrorCode::StorageError, message)
                    .hint("after the next start it may hold or not; make it again");
                self.refuse(to, refusal);
            }
        }
    }

    /// The settings hold from now on, for what is there already, too.
    fn take_settings(&mut self, key: TopicKey, own: TopicOverrides, now: Now) {
        // What was taken by the old settings is written by them.
        self.write_tails(now);
        let broker = &self.config.topic;
        let topic = self.catalog.get_mut(key).expect("a live topic is in the catalog");
        topic.settings = own.over(broker);
        topic.own = own;
        let (settings, partitions) = (topic.settings.clone(), topic.partitions.clone());
        for key in partitions {
            self.apply_settings(key, &settings);
        }
    }

    fn apply_settings(&mut self, key: PartitionKey, settings: &TopicSettings) {
        let partition =
            self.partitions[key.0 as usize].as_mut().expect("a live topic's partitions are there");
        partition.apply_settings(settings);
        if !partition.durable {
            self.unflushed -= partition.counted_unsynced(0);
        }
        match (partition.view.is_some(), settings.cleanup.compacts()) {
            (false, true) => self.make_view(key),
            (true, false) => self.give_up_view(key),
            _ => {}
        }
        // The end of the turn syncs what is due now, and wakes who sees more now.
        self.mark_dirty(key);
    }
}

/// What a topic has set for itself after these changes.
fn changed(
    topic: &Topic,
    changes: &[Change<'_>],
    replace: bool,
    broker: &TopicSettings,
) -> Result<TopicOverrides, Refusal> {
    let mut own = if replace { TopicOverrides::default() } else { topic.own.clone() };
    for Change { key, op } in changes {
        let done = match op {
            Op::Set(value) => own.set(key, value),
            Op::Unset => own.unset(key),
            Op::Append(words) | Op::Subtract(words) => {
                let settings = own.over(broker);
                own.edit(key, words, matches!(op, Op::Append(_)), &settings)
            }
        };
        done.map_err(|e| Refusal::new(ErrorCode::InvalidConfig, e))?;
    }
    Ok(own)
}

/// How many partitions are to be added to those that are there.
fn more_than(from: usize, count: i32) -> Result<usize, Refusal> {
    check_partitions(count)?;
    match (count as usize).checked_sub(from) {
        Some(more @ 1..) => Ok(more),
        _ => {
            let message = format!("the topic has {from} partitions, so it cannot have {count}");
            Err(Refusal::new(ErrorCode::InvalidPartitions, message)
                .hint("partitions can be added and not taken away"))
        }
    }
}
