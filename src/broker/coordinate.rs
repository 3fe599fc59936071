//! Consumer groups: the state machine of [`crate::groups`], and the internal topic that keeps how far each group has
//! come.
//!
//! The topic has one record for each group, topic and partition; `internal.rs` says how it is made, written and read.
//! In memory is what is durable: a commit is applied, and answered, when its records are.
//!
//! Invariants: nothing is said about offsets before all of them are loaded; commits are applied in the order of the
//! log.

use std::collections::BTreeSet;

use super::acks::OURSELVES;
use super::catalog::State;
use super::consumers::{self, Topics};
use super::expiry::EmptySince;
use super::gaps::Lost;
use super::internal::{Hold, Loading};
use super::streams::Streams;
use super::{Broker, Taken};
use crate::api::group::{
    CommitPosition, GroupDescription, GroupLine, GroupOffset, GroupReply, GroupRequest, MemberDescription,
    Who,
};
use crate::api::{
    Body, ConnId, Cursor, ErrorCode, Level, OFFSETS_TOPIC, Publish, Refusal, Reply, ReplyTo, RowsWriter,
    TopicKey, TopicRef,
};
use crate::config::Config;
use crate::groups::offsets::{Change, METADATA_MOST, Offsets, Position};
use crate::groups::{Description, Groups, Limits, Listed};
use crate::ordered::{self, Numbered};
use crate::time::{Now, Time};
use krappy_wire::native::PlainWriter;
use krappy_wire::partition::partition_for;

/// The slot of the scan that loads offsets; the others are those of commits.
const LOADING: u64 = 0;
/// The slot of the creation of the topic.
const CREATION: u64 = 1;

/// All groups, and how far they have come.
#[derive(Debug)]
pub struct Coordinator {
    pub(super) groups: Groups<ReplyTo>,
    pub(super) offsets: Offsets,
    pub(super) lost: Lost,
    pub(super) empty_since: EmptySince,
    pub(super) streams: Streams,
    state: Loading,
    /// Commits whose records are not durable yet, by slot.
    pending: Numbered<Pending>,
    next_slot: u64,
}

/// Records of the internal topic that are not durable yet.
#[derive(Debug)]
struct Pending {
    changes: Vec<Change>,
    then: Then,
}

/// Who waits for them.
#[derive(Debug)]
enum Then {
    /// Nobody.
    Nothing,
    /// Who has to be told whether it went well.
    Result(ReplyTo),
    /// Who has to be told of each item; those that were refused before are errors already.
    Each(ReplyTo, Vec<Result<(), ErrorCode>>),
}

impl Coordinator {
    /// No groups. `salt` goes into the ids of members and must be another one in each process.
    pub fn new(config: &Config, salt: [u8; 16]) -> Self {
        let limits = Limits {
            min_session_timeout_ms: config.group.min_session_timeout_ms,
            max_session_timeout_ms: config.group.max_session_timeout_ms,
            initial_rebalance_delay_ms: config.group.initial_rebalance_delay_ms,
            group_max_size: config.group.max_size,
            consumer_session_timeout_ms: config.group.consumer_session_timeout_ms,
            consumer_heartbeat_interval_ms: config.group.consumer_heartbeat_interval_ms,
            consumer_group_max_size: config.group.consumer_max_size,
            assignors: consumers::assignors(config),
            max_groups: config.group.max_groups,
            bytes: config.group.memory,
            ..Limits::default()
        };
        Self {
            groups: Groups::new(limits, u128::from_be_bytes(salt)),
            offsets: Offsets::default(),
            lost: Lost::default(),
            empty_since: EmptySince::default(),
            streams: Streams::default(),
            state: Loading::Done,
            pending: Numbered::default(),
            next_slot: CREATION + 1,
        }
    }

    /// Whether it is known how far groups have come.
    pub fn is_loaded(&self) -> bool {
        self.state == Loading::Done
    }

    /// Where a group has positions, or will have them when what is under way is durable: whoever forgets one has to
    /// forget that, too.
    fn committed<'a>(&'a self, group: &'a str) -> BTreeSet<(&'a str, i32)> {
        let pending = self.pending.values().flat_map(|pending| &pending.changes);
        let pending = pending.filter(|change| change.group == group && change.position.is_some());
        let durable = self.offsets.of_group(group).map(|(topic, number, _)| (topic, number));
        ordered::set(durable.chain(pending.map(|change| (&*change.topic, change.partition))))
    }

    /// When [`Broker::tick_groups`] has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        self.groups.next_deadline().into_iter().chain(self.state.again()).min()
    }
}

impl Broker {
    /// Begins to read the offsets of all groups.
    pub(super) fn load_offsets(&mut self, now: Now) {
        if self.catalog.find(OFFSETS_TOPIC).is_some() {
            self.scan_offsets(None, now);
        }
    }

    /// Takes a request about groups, or leaves it for later.
    pub(super) fn group(&mut self, to: ReplyTo, request: GroupRequest<'_>, now: Now) -> Taken {
        let taken = match self.coordinator.state.when_done() {
            Ok(()) => self.coordinate(to, request, now),
            Err(hold) => Err(hold),
        };
        self.answer_members();
        match taken {
            Ok(()) => Taken::Yes,
            Err(Hold::Later) => Taken::Later,
            Err(Hold::Refused(code)) => {
                self.refuse(to, Refusal::new(code, "offsets of groups cannot be read or written now"))
            }
        }
    }

    fn coordinate(&mut self, to: ReplyTo, request: GroupRequest<'_>, now: Now) -> Result<(), Hold> {
        let time = now.time;
        let groups = &mut self.coordinator.groups;
        let reply = match request {
            GroupRequest::Join(join) => {
                groups.join(to, &join, &Topics(&self.catalog), time);
                return Ok(());
            }
            GroupRequest::Sync(sync) => {
                groups.sync(to, &sync, &Topics(&self.catalog), time);
                return Ok(());
            }
            GroupRequest::Heartbeat { group, who } => GroupReply::Result(groups.heartbeat(group, who, time)),
            GroupRequest::Consume(heartbeat) => {
                GroupReply::Heard(groups.consume(&heartbeat, &Topics(&self.catalog), time))
            }
            GroupRequest::DescribeConsumer(group) => {
                GroupReply::Consumer(groups.describe_consumer(group, &Topics(&self.catalog)))
            }
            GroupRequest::Leave { group, members } => GroupReply::Each(groups.leave(group, &members, time)),
            GroupRequest::Commit { group, who, positions } => {
                return self.commit(to, group, who, &positions, now);
            }
            GroupRequest::CommitStream { slot, positions } => {
                return self.commit_as_stream(to, ReplyTo { slot, ..to }, &positions, now);
            }
            GroupRequest::Offsets { group, member, epoch, partitions } => {
                let may = groups.may_fetch(group, member, epoch);
                GroupReply::Offsets(may.map(|()| self.offsets_of(group, partitions)))
            }
            GroupRequest::List { states, kinds } => {
                GroupReply::List(groups.list(&states, &kinds).iter().map(line).collect())
            }
            GroupRequest::JoinStream { group, client_id, topic, from_end } => {
                return self.join_stream(to, group, client_id, (topic, from_end), time);
            }
            GroupRequest::Owned { slot, partitions } => {
                GroupReply::Result(self.stream_owns(ReplyTo { slot, ..to }, &partitions, time))
            }
            GroupRequest::EndStream { slot } => {
                let stream = ReplyTo { slot, ..to };
                self.forget_streams(stream..=stream, time);
                GroupReply::Result(Ok(()))
            }
            GroupRequest::After { name, limit } => {
                let (groups, more) = self.groups_after(name, limit);
                GroupReply::Page(groups, more)
            }
            GroupRequest::Detail(group) => GroupReply::Detail(self.group_detail(group)),
            GroupRequest::Describe(group) => {
                GroupReply::Description(described(group, &groups.describe(group)))
            }
            GroupRequest::Delete(group) => return self.delete_group(to, group, now),
            GroupRequest::DeleteOffsets { group, partitions } => {
                return self.delete_offsets(to, group, &partitions, now);
            }
        };
        self.acks.reply(to, Reply::Group(reply));
        Ok(())
    }

    /// Checks who commits, and writes what can be kept.
    fn commit(
        &mut self,
        to: ReplyTo,
        group: &str,
        who: Who<'_>,
        positions: &[CommitPosition<'_>],
        now: Now,
    ) -> Result<(), Hold> {
        let topic = self.offsets_topic()?;
        if let Err(code) = self.coordinator.groups.may_commit(group, who, now.time) {
            self.acks.reply(to, Reply::Group(GroupReply::Each(Err(code))));
            return Ok(());
        }
        self.write_commit(to, topic, group, positions, now)
    }

    /// The same for a member that is a stream. It needs no epoch: as long as it is a member, nobody else is given what
    /// it reads before it has said that it does not read it any more.
    fn commit_as_stream(
        &mut self,
        to: ReplyTo,
        stream: ReplyTo,
        positions: &[CommitPosition<'_>],
        now: Now,
    ) -> Result<(), Hold> {
        let topic = self.offsets_topic()?;
        let Some(group) = self.group_of_stream(stream) else {
            self.acks.reply(to, Reply::Group(GroupReply::Each(Err(ErrorCode::FencedMemberEpoch))));
            return Ok(());
        };
        self.write_commit(to, topic, &group, positions, now)
    }

    fn write_commit(
        &mut self,
        to: ReplyTo,
        topic: TopicKey,
        group: &str,
        positions: &[CommitPosition<'_>],
        now: Now,
    ) -> Result<(), Hold> {
        let (mut changes, mut results) =
            (Vec::with_capacity(positions.len()), Vec::with_capacity(positions.len()));
        for position in positions {
            let checked = self.check_position(position);
            results.push(checked.map(|_| ()));
            changes.extend(checked.ok().map(|topic_id| Change {
                group: group.to_owned(),
                topic: position.topic.to_owned(),
                partition: position.partition,
                position: Some(Position {
                    offset: position.offset,
                    leader_epoch: position.leader_epoch,
                    metadata: position.metadata.into(),
                    timestamp: now.wall,
                    topic_id,
                }),
            }));
        }
        self.write_changes(topic, Pending { changes, then: Then::Each(to, results) }, now)
    }

    /// Whether a position can be remembered; the id of its topic.
    fn check_position(&self, position: &CommitPosition<'_>) -> Result<[u8; 16], ErrorCode> {
        let key = self.live_topic(TopicRef::Name(position.topic)).map_err(|refusal| refusal.code)?;
        self.partition_of(key, position.partition).map_err(|refusal| refusal.code)?;
        if position.metadata.len() > METADATA_MOST {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        // What was never committed is told as -1, so nobody may commit that.
        if position.offset < 0 {
            return Err(ErrorCode::InvalidRequest);
        }
        Ok(self.catalog.get(key).expect("a live topic is in the catalog").id)
    }

    fn offsets_of(&self, group: &str, partitions: Option<Vec<(&str, i32)>>) -> Vec<GroupOffset> {
        let told = |topic: &str, partition: i32, position: Option<&Position>| GroupOffset {
            topic: topic.to_owned(),
            partition,
            offset: position.map_or(-1, |p| p.offset),
            leader_epoch: position.map_or(-1, |p| p.leader_epoch),
            metadata: position.map_or_else(String::new, |p| p.metadata.to_string()),
        };
        let offsets = &self.coordinator.offsets;
        match partitions {
            Some(asked) => {
                let find =
                    |topic, number| offsets.get(group, topic, number).filter(|p| self.is_meant(topic, p));
                asked.into_iter().map(|(topic, number)| told(topic, number, find(topic, number))).collect()
            }
            None => {
                let all = offsets.of_group(group).filter(|(topic, _, p)| self.is_meant(topic, p));
                all.map(|(topic, number, position)| told(topic, number, Some(position))).collect()
            }
        }
    }

    /// Whether a position was committed for the topic that has this name now.
    pub(super) fn is_meant(&self, topic: &str, position: &Position) -> bool {
        let found = self.catalog.find(topic).and_then(|key| self.catalog.get(key));
        found.is_some_and(|topic| topic.id == position.topic_id && matches!(topic.state, State::Live))
    }

    fn delete_group(&mut self, to: ReplyTo, group: &str, now: Now) -> Result<(), Hold> {
        if let Err(code) = self.coordinator.groups.may_delete(group) {
            self.acks.reply(to, Reply::Group(GroupReply::Result(Err(code))));
            return Ok(());
        }
        let topic = self.offsets_topic()?;
        let forget = |(topic, partition): &(&str, i32)| forgotten(group, topic, *partition);
        let changes = self.coordinator.committed(group).iter().map(forget).collect();
        self.write_changes(topic, Pending { changes, then: Then::Result(to) }, now)?;
        // Whoever joins from here on joins another group. It is seen until it is durably gone: a crash may bring it
        // back.
        self.coordinator.groups.delete(group).expect("it could be deleted a moment ago");
        if self.coordinator.offsets.has(group) {
            self.coordinator.groups.known(group, "");
        }
        Ok(())
    }

    fn delete_offsets(
        &mut self,
        to: ReplyTo,
        group: &str,
        partitions: &[(&str, i32)],
        now: Now,
    ) -> Result<(), Hold> {
        let topic = self.offsets_topic()?;
        let subscribed = match self.coordinator.groups.subscribed_topics(group) {
            Ok(subscribed) => subscribed,
            Err(code) => {
                self.acks.reply(to, Reply::Group(GroupReply::Each(Err(code))));
                return Ok(());
            }
        };
        let check = |&(topic, number): &(&str, i32)| {
            let key = self.live_topic(TopicRef::Name(topic)).map_err(|refusal| refusal.code)?;
            self.partition_of(key, number).map_err(|refusal| refusal.code)?;
            if subscribed.contains(topic) { Err(ErrorCode::GroupSubscribedToTopic) } else { Ok(()) }
        };
        let results: Vec<_> = partitions.iter().map(check).collect();
        let committed = self.coordinator.committed(group);
        let changes = partitions
            .iter()
            .zip(&results)
            .filter(|(position, result)| result.is_ok() && committed.contains(position))
            .map(|((topic, number), _)| forgotten(group, topic, *number))
            .collect();
        self.write_changes(topic, Pending { changes, then: Then::Each(to, results) }, now)
    }

    /// Forgets all positions in a topic that is gone. If that cannot be written now, it is found at the next start: the
    /// positions are not given out meanwhile, because they name the topic by its id.
    pub(super) fn forget_topic(&mut self, name: &str, now: Now) {
        let stale = self.coordinator.offsets.in_topic(name).filter(|(_, _, p)| !self.is_meant(name, p));
        let changes: Vec<Change> = stale.map(|(group, number, _)| forgotten(group, name, number)).collect();
        self.drop_offsets(changes, now);
    }

    pub(super) fn drop_offsets(&mut self, changes: Vec<Change>, now: Now) {
        if !changes.is_empty()
            && let Ok(topic) = self.live_topic(TopicRef::Name(OFFSETS_TOPIC))
        {
            let _ = self.write_changes(topic, Pending { changes, then: Then::Nothing }, now);
        }
    }

    fn offsets_topic(&mut self) -> Result<TopicKey, Hold> {
        self.internal_topic(OFFSETS_TOPIC, self.config.group.offsets_partitions, CREATION)
    }

    /// Publishes changes to the internal topic. They hold when they are durable.
    fn write_changes(&mut self, topic: TopicKey, pending: Pending, now: Now) -> Result<(), Hold> {
        let Some(first) = pending.changes.first() else {
            self.settle_pending(pending, Ok(()));
            return Ok(());
        };
        let count = self.catalog.get(topic).expect("a live topic is in the catalog").partitions.len() as u32;
        let home = partition_for(first.group.as_bytes(), count) as i32;
        let mut records = PlainWriter::default();
        for change in &pending.changes {
            records.push(now.wall, Some(&change.key()), change.value().as_deref(), &[]);
        }
        let slot = self.coordinator.next_slot;
        let publish = Publish {
            topic: TopicRef::Key(topic),
            partition: Some(home),
            acks: Level::Durable,
            body: Body::Plain(records.records()),
        };
        match self.publish(ReplyTo { conn: OURSELVES, slot }, &publish, now) {
            Taken::Yes => {
                self.coordinator.next_slot += 1;
                self.coordinator.pending.insert(slot, pending);
                Ok(())
            }
            Taken::Later => Err(Hold::Later),
        }
    }

    /// Takes a reply to what the broker has asked itself.
    pub(super) fn told(&mut self, slot: u64, reply: Reply, now: Now) {
        match (slot, reply) {
            (LOADING, reply) => self.loaded(reply, now),
            (CREATION, Reply::Refused(refusal)) => log::error!("{OFFSETS_TOPIC}: {}", refusal.message),
            (CREATION, _) => {}
            (slot, reply) => {
                let pending = self.coordinator.pending.remove(slot).expect("a commit is answered once");
                let result = match reply {
                    Reply::Published { .. } => Ok(()),
                    Reply::Refused(refusal) => {
                        log::warn!("{OFFSETS_TOPIC} takes no offsets: {}", refusal.message);
                        Err(ErrorCode::CoordinatorNotAvailable)
                    }
                    other => unreachable!("a publish is not answered with {other:?}"),
                };
                self.settle_pending(pending, result);
            }
        }
        self.answer_members();
    }

    /// Changes are durable, or are not and never will be.
    fn settle_pending(&mut self, pending: Pending, result: Result<(), ErrorCode>) {
        for change in pending.changes {
            let group = change.group.clone();
            if result.is_ok() {
                self.coordinator.offsets.apply(change);
            }
            match self.coordinator.offsets.has(&group) {
                true => self.coordinator.groups.known(&group, ""),
                false => {
                    self.coordinator.lost.remove(&group);
                    self.coordinator.groups.forgotten(&group);
                }
            }
        }
        let (to, reply) = match pending.then {
            Then::Nothing => return,
            Then::Result(to) => (to, GroupReply::Result(result)),
            Then::Each(to, each) => {
                (to, GroupReply::Each(Ok(each.into_iter().map(|one| one.and(result)).collect())))
            }
        };
        self.acks.reply(to, Reply::Group(reply));
    }

    fn scan_offsets(&mut self, cursor: Option<Cursor>, now: Now) {
        self.coordinator.state = Loading::Scanning;
        self.scan_internal(OFFSETS_TOPIC, LOADING, cursor, now);
    }

    /// A page of offsets has come.
    fn loaded(&mut self, reply: Reply, now: Now) {
        match reply {
            Reply::Scanned { rows, next, .. } => {
                self.take_page(&rows);
                match next {
                    Some(cursor) => self.scan_offsets(Some(cursor), now),
                    None => self.finish_loading(now),
                }
            }
            Reply::Refused(refusal) => {
                log::warn!("offsets of groups cannot be read yet: {}", refusal.message);
                self.coordinator.state = Loading::failed(now);
            }
            other => unreachable!("a scan is not answered with {other:?}"),
        }
    }

    fn take_page(&mut self, rows: &RowsWriter) {
        for row in rows.rows().iter() {
            match Change::read(row.key, row.value()) {
                Some(change) => self.coordinator.offsets.apply(change),
                None => log::warn!("{OFFSETS_TOPIC} offset {}: a record that means nothing here", row.offset),
            }
        }
    }

    fn finish_loading(&mut self, now: Now) {
        self.coordinator.state = Loading::Done;
        let stale = self.coordinator.offsets.iter().filter(|(_, topic, _, p)| !self.is_meant(topic, p));
        let stale: Vec<Change> = stale.map(|(group, topic, n, _)| forgotten(group, topic, n)).collect();
        for group in self.coordinator.offsets.groups() {
            self.coordinator.groups.known(group, "");
        }
        log::debug!("{} offsets of groups are loaded", self.coordinator.offsets.len());
        self.drop_offsets(stale, now);
    }

    /// Time has passed.
    pub(super) fn tick_groups(&mut self, now: Now) {
        if matches!(self.coordinator.state, Loading::Failed(at) if at <= now.time) {
            self.coordinator.offsets = Offsets::default();
            self.scan_offsets(None, now);
        }
        self.coordinator.groups.tick(now.time);
        self.answer_members();
    }

    /// A connection is gone, and with it whoever waited on it.
    pub(super) fn forget_waiting(&mut self, conn: ConnId, now: Now) {
        let all = ReplyTo { conn, slot: 0 }..=ReplyTo { conn, slot: u64::MAX };
        self.forget_streams(all, now.time);
        self.answer_members();
    }

    /// The broker stops: members look for it again later.
    pub(super) fn send_members_away(&mut self, now: Now) {
        self.coordinator.groups.send_away(ErrorCode::CoordinatorNotAvailable, now.time);
        self.answer_members();
    }

    pub(super) fn answer_members(&mut self) {
        for (to, answer) in self.coordinator.groups.take_answers() {
            self.acks.reply(to, Reply::Group(GroupReply::Member(answer)));
        }
        self.tell_streams();
    }
}

/// A position that is to be forgotten.
pub(super) fn forgotten(group: &str, topic: &str, partition: i32) -> Change {
    Change { group: group.to_owned(), topic: topic.to_owned(), partition, position: None }
}

fn line(listed: &Listed<'_>) -> GroupLine {
    GroupLine {
        group: listed.group.to_owned(),
        protocol_type: listed.protocol_type.to_owned(),
        state: listed.state,
        kind: listed.kind,
    }
}

fn described(group: &str, description: &Description<'_>) -> GroupDescription {
    let members = description.members.iter().map(|member| MemberDescription {
        member: member.member.to_owned(),
        instance: member.instance.map(str::to_owned),
        client_id: member.client_id.to_owned(),
        client_host: member.client_host.to_owned(),
        metadata: member.metadata.to_vec(),
        assignment: member.assignment.to_vec(),
    });
    GroupDescription {
        line: GroupLine {
            group: group.to_owned(),
            protocol_type: description.protocol_type.to_owned(),
            state: description.state.name(),
            kind: "classic",
        },
        protocol: description.protocol.to_owned(),
        members: members.collect(),
    }
}
