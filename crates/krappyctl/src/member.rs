//! `consume -g GROUP`: reads as a member of a group, and commits what was printed.
//!
//! Invariant: an offset is committed after its records have left for stdout, so whoever breaks off sees some again and
//! misses none.

use crate::args::Consume;
use crate::consume::{POLL, Printer};
use crate::failure::{Failure, USAGE};
use crate::out::Out;
use crate::place::Place;
use crate::session::Session;
use crate::signal;
use krappy_client::{Error, Member, Start};
use std::collections::BTreeMap;

pub fn consume(
    session: &Session,
    args: &Consume,
    group: &str,
    printer: &mut Printer,
    out: &mut Out,
) -> Result<(), Failure> {
    let usage = |reason: &str| Failure::new(USAGE, reason);
    let [topic] = &args.topics[..] else { return Err(usage("in a group one topic is read at a time")) };
    let start = match args.offset {
        Place::Start => Start::Earliest,
        Place::End => Start::Latest,
        _ => return Err(usage("with -g, -o is start or end: where to begin if nothing was committed")),
    };
    if args.partition.is_some() || topic.contains('/') {
        return Err(usage("a group shares out partitions itself: leave out the partition"));
    }
    let builder = session.client.consumer(topic.as_str()).start(start).group(group).commit_every(None);
    let mut member = builder.build().map_err(|e| session.about(topic, e))?;
    session.talk(&format!("{topic}: member {} of group {group}", member.name()));
    while printer.left > 0 && !signal::interrupted() {
        let printed = turn(session, &mut member, printer, out)?;
        if !printed && args.exit_at_end && caught_up(session, topic, group, &member)? {
            break;
        }
    }
    member.close()?;
    signal::check()
}

/// Prints what one poll gives, and commits it. Whether there was anything.
fn turn(
    session: &Session,
    member: &mut Member,
    printer: &mut Printer,
    out: &mut Out,
) -> Result<bool, Failure> {
    let records = match member.poll(POLL) {
        Err(Error::Unreadable { partition, position, log_start, .. }) if log_start > position => {
            let gone = log_start - position;
            session.talk(&format!(
                "partition {partition}: {gone} records from {position} on were deleted unread"
            ));
            return Ok(true);
        }
        result => result?,
    };
    let mut printed: BTreeMap<i32, i64> = BTreeMap::new();
    for record in &records {
        if printer.left == 0 {
            break;
        }
        printer.print(&record, out)?;
        printed.insert(record.partition, record.offset + 1);
    }
    out.flush()?;
    let positions: Vec<(i32, i64)> = printed.into_iter().collect();
    member.commit_to(&positions)?;
    Ok(!positions.is_empty())
}

/// Whether the group has read everything, members that are still to get their share included.
fn caught_up(session: &Session, topic: &str, group: &str, member: &Member) -> Result<bool, Failure> {
    let info = session.admin().describe_group(group)?;
    let mine = |partition: i32| member.positions().get(&partition).copied();
    let done = info.positions.iter().filter(|at| at.topic == topic).all(|at| {
        at.high_watermark <= at.log_start
            || mine(at.partition).or(at.offset).unwrap_or(0) >= at.high_watermark
    });
    Ok(done)
}
