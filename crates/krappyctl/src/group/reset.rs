//! `group reset`: shows where a group would be moved and what that skips or reads again, and moves it if told to.
//!
//! Invariant: nothing is changed without `--execute`, nor while somebody is in the group; no position is moved to where
//! there are no records.

use super::args::{Reset, Target};
use super::{about, find, occupied};
use crate::failure::{Failure, NOT_FOUND, USAGE};
use crate::out::Out;
use crate::session::Session;
use crate::table::{Kind, Table};
use crate::units::grouped;
use krappy_client::{Error, GroupInfo, GroupPosition, OffsetAt, Start};
use serde_json::json;
use std::collections::BTreeMap;

/// One position, before and after.
#[derive(Debug)]
struct Move {
    at: GroupPosition,
    after: i64,
}

impl Move {
    /// From where somebody who reads on really begins.
    fn before(&self) -> Option<i64> {
        self.at
            .offset
            .map(|offset| offset.clamp(self.at.log_start, self.at.high_watermark.max(self.at.log_start)))
    }
}

pub fn run(session: &Session, args: &Reset, out: &mut Out) -> Result<(), Failure> {
    let group = find(session, &args.group)?;
    if args.execute && !group.members.is_empty() {
        return Err(occupied(&group));
    }
    let chosen = chosen(session, &group, &args.topics)?;
    if chosen.is_empty() {
        let message = format!("group {:?} has committed nothing, so there is nothing to move", args.group);
        return Err(Failure::new(NOT_FOUND, message).hint("say where with --topic TOPIC"));
    }
    let moves = plan(session, chosen, args.to)?;
    if args.execute {
        let positions: Vec<OffsetAt> = moves.iter().map(target).collect();
        session
            .admin()
            .commit_offsets(&args.group, &positions)
            .map_err(|error| about(session, &args.group, error))?;
    }
    table(&args.group, &moves).print(session.format, out)?;
    session.talk(&summary(&moves, args.execute, &group));
    Ok(())
}

fn target(planned: &Move) -> OffsetAt {
    OffsetAt { topic: planned.at.topic.clone(), partition: planned.at.partition, offset: planned.after }
}

/// The positions to move: those that the group has committed, or those of the topics that were named.
fn chosen(
    session: &Session,
    group: &GroupInfo,
    topics: &[(String, Option<i32>)],
) -> Result<Vec<GroupPosition>, Failure> {
    if topics.is_empty() {
        return Ok(group.positions.iter().filter(|at| at.offset.is_some()).cloned().collect());
    }
    let mut chosen = Vec::new();
    for (topic, only) in topics {
        let known: Vec<GroupPosition> =
            group.positions.iter().filter(|at| at.topic == *topic).cloned().collect();
        let all = if known.is_empty() { unread(session, topic)? } else { known };
        let before = chosen.len();
        chosen.extend(all.into_iter().filter(|at| only.is_none_or(|number| at.partition == number)));
        if chosen.len() == before {
            let message = format!("topic {topic:?} has no partition {}", only.unwrap_or_default());
            return Err(Failure::new(NOT_FOUND, message));
        }
    }
    Ok(chosen)
}

/// The partitions of a topic that the group has nothing to do with yet.
fn unread(session: &Session, topic: &str) -> Result<Vec<GroupPosition>, Failure> {
    let info = session.describe(topic)?;
    let position = |(number, partition): (usize, &krappy_client::PartitionInfo)| GroupPosition {
        topic: topic.to_owned(),
        partition: number as i32,
        offset: None,
        metadata: String::new(),
        committed_at: None,
        log_start: partition.log_start,
        high_watermark: partition.high_watermark,
        read: None,
    };
    Ok(info.partitions.iter().enumerate().map(position).collect())
}

fn plan(session: &Session, chosen: Vec<GroupPosition>, to: Target) -> Result<Vec<Move>, Failure> {
    let mut by_time: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
    if let Target::Time(time) = to {
        for at in &chosen {
            if !by_time.contains_key(&at.topic) {
                by_time.insert(at.topic.clone(), at_time(session, &at.topic, time)?);
            }
        }
    }
    let mut moves = Vec::with_capacity(chosen.len());
    for at in chosen {
        let wanted = match to {
            Target::Start => at.log_start,
            Target::End => at.high_watermark,
            Target::Offset(offset) => offset,
            Target::By(by) => {
                let Some(from) = at.offset else {
                    let message = format!("nothing was committed of {}/{}", at.topic, at.partition);
                    return Err(
                        Failure::new(USAGE, message).hint("say where to with a place, such as --to start")
                    );
                };
                from.saturating_add(by)
            }
            Target::Time(_) => by_time[&at.topic].get(&at.partition).copied().unwrap_or(at.high_watermark),
        };
        let after = wanted.clamp(at.log_start, at.high_watermark.max(at.log_start));
        moves.push(Move { at, after });
    }
    Ok(moves)
}

/// Where each partition has its first record of that time or later.
fn at_time(session: &Session, topic: &str, time: i64) -> Result<BTreeMap<i32, i64>, Failure> {
    let consumer = session.client.consumer(topic).start(Start::Timestamp(time)).build();
    Ok(consumer.map_err(|error: Error| session.about(topic, error))?.positions().clone())
}

fn table(group: &str, moves: &[Move]) -> Table {
    let mut table = Table::new(&[
        ("group", Kind::Text),
        ("topic", Kind::Text),
        ("partition", Kind::Number),
        ("before", Kind::Number),
        ("after", Kind::Number),
        ("delta", Kind::Number),
    ]);
    for planned in moves {
        table.row(vec![
            json!(group),
            json!(planned.at.topic),
            json!(planned.at.partition),
            json!(planned.at.offset),
            json!(planned.after),
            json!(planned.at.offset.map(|before| planned.after - before)),
        ]);
    }
    table
}

fn summary(moves: &[Move], done: bool, group: &GroupInfo) -> String {
    let (mut skipped, mut replayed) = (0, 0);
    for planned in moves {
        let by = planned.before().map_or(0, |before| planned.after - before);
        if by > 0 { skipped += by } else { replayed -= by }
    }
    let effect = format!("skips {} records, replays {}", grouped(skipped.into()), grouped(replayed.into()));
    match (done, group.members.is_empty()) {
        (true, _) => format!("moved: {effect}."),
        (false, true) => format!("dry run: {effect}. Add --execute to do it."),
        (false, false) => format!("dry run: {effect}. Before --execute, stop the members of the group."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: Option<i64>) -> GroupPosition {
        GroupPosition {
            topic: "t".into(),
            partition: 0,
            offset,
            metadata: String::new(),
            committed_at: None,
            log_start: 10,
            high_watermark: 30,
            read: None,
        }
    }

    #[test]
    fn what_is_skipped_and_what_is_read_again_are_records_that_exist() {
        let group = GroupInfo {
            summary: krappy_client::GroupSummary {
                name: "g".into(),
                state: "Empty".into(),
                kind: "classic".into(),
                members: 0,
                topics: 1,
                lag: None,
                last_commit: None,
                lost: 0,
            },
            protocol: String::new(),
            members: Vec::new(),
            positions: Vec::new(),
        };
        let said = |offset, after| summary(&[Move { at: at(offset), after }], false, &group);
        assert!(said(Some(20), 25).starts_with("dry run: skips 5 records, replays 0."));
        assert!(said(Some(20), 10).starts_with("dry run: skips 0 records, replays 10."));
        // Offsets 0 to 9 are gone: who stands there begins at 10.
        assert!(said(Some(0), 12).starts_with("dry run: skips 2 records, replays 0."));
        assert!(said(None, 12).starts_with("dry run: skips 0 records, replays 0."));
    }
}
