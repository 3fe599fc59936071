//! `queue`: single records of a topic that several share, their dead letters, and how it all stands.

pub mod args;
mod letters;
mod take;

use crate::failure::{Failure, NOT_FOUND, REFUSED, USAGE};
use crate::out::Out;
use crate::session::Session;
use crate::signal;
use crate::table::{Kind, Table};
use args::{Held, QueueCommand};
use krappy_client::{ErrorCode, QueuePartition, Settle};

/// Letters that one request puts back, so that each is answered within its time.
const AT_ONCE: u32 = 500;

pub fn run(session: &Session, command: &QueueCommand, out: &mut Out) -> Result<(), Failure> {
    signal::watch();
    match command {
        QueueCommand::Take(args) => take::run(session, args, out),
        QueueCommand::Ack(held) => settle(session, held, Settle::Acknowledge, "acknowledged"),
        QueueCommand::Release { held, delay } => {
            let ms = delay.map_or(0, |delay| u32::try_from(delay.as_millis()).unwrap_or(u32::MAX));
            settle(session, held, Settle::Release(ms), "released")
        }
        QueueCommand::Reject { held, reason } => settle(session, held, Settle::Reject(reason), "rejected"),
        QueueCommand::Dlq { topic, group } => letters::run(session, topic, group.as_deref(), out),
        QueueCommand::Redrive { topic, group, count } => redrive(session, topic, group, *count, out),
        QueueCommand::Describe { topic, group } => describe(session, topic, group, out),
    }
}

/// Ends deliveries to a named taker. All are tried; the first that is not held makes the exit code.
fn settle(session: &Session, held: &Held, how: Settle<'_>, done: &str) -> Result<(), Failure> {
    let topic = held.records[0].topic.as_str();
    if held.records.iter().any(|record| record.topic != topic) {
        return Err(Failure::new(USAGE, "records of one topic at a time"));
    }
    let places: Vec<(i32, i64)> = held.records.iter().map(|r| (r.partition, r.offset)).collect();
    let mut queue = session.client.queue(topic, held.group.as_str()).name(held.name.as_str()).build()?;
    let results = queue.settle(how, &places).map_err(|e| session.about(topic, e))?;
    let mut failed = None;
    for (record, result) in held.records.iter().zip(results) {
        let place = format!("{topic}/{}@{}", record.partition, record.offset);
        match result {
            Ok(()) => session.talk(&format!("{place} {done}")),
            Err(code) => {
                failed.get_or_insert_with(|| not_ended(&held.name, &place, code));
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

fn not_ended(name: &str, place: &str, code: ErrorCode) -> Failure {
    match code {
        ErrorCode::InvalidRecordState => {
            Failure::new(NOT_FOUND, format!("{name} does not hold {place}")).hint("its lock may have run out")
        }
        code => Failure::new(REFUSED, format!("{place}: {code}")),
    }
}

fn redrive(
    session: &Session,
    topic: &str,
    group: &str,
    count: Option<u32>,
    out: &mut Out,
) -> Result<(), Failure> {
    let (mut left, mut moved) = (count.unwrap_or(u32::MAX), 0u64);
    while left > 0 && !signal::interrupted() {
        let most = left.min(AT_ONCE);
        let now = session.admin().redrive(topic, group, most).map_err(|e| session.about(topic, e))?;
        moved += u64::from(now);
        left -= now.min(left);
        if now < most {
            break;
        }
    }
    let mut table = Table::new(&[("topic", Kind::Text), ("group", Kind::Text), ("redriven", Kind::Number)]);
    table.row(vec![topic.into(), group.into(), moved.into()]);
    table.print(session.format, out)?;
    signal::check()
}

fn describe(session: &Session, topic: &str, group: &str, out: &mut Out) -> Result<(), Failure> {
    let parts = session.admin().describe_queue(topic, group).map_err(|e| session.about(topic, e))?;
    of(&parts).print(session.format, out)
}

fn of(parts: &[QueuePartition]) -> Table {
    let numbers =
        ["start", "next", "end", "lag", "held", "available", "delayed", "done_above_start", "dying"];
    let mut columns = vec![("partition", Kind::Number)];
    columns.extend(numbers.map(|name| (name, Kind::Number)));
    columns.extend([("dead", Kind::Number), ("lost", Kind::Number)]);
    columns.extend([("oldest_holder", Kind::Text), ("oldest_ms", Kind::Number)]);
    let mut table = Table::new(&columns);
    for part in parts {
        let held = part.held > 0;
        table.row(vec![
            part.partition.into(),
            part.start.into(),
            part.next.into(),
            part.high_watermark.into(),
            part.lag.into(),
            part.held.into(),
            part.available.into(),
            part.delayed.into(),
            part.done_above_start.into(),
            part.dying.into(),
            part.dead.into(),
            part.lost.into(),
            if held { part.oldest_holder.as_str().into() } else { serde_json::Value::Null },
            if held { (part.oldest.as_millis() as u64).into() } else { serde_json::Value::Null },
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_queue_is_told_without_a_holder_that_there_is_not() {
        let busy = QueuePartition {
            partition: 1,
            start: 5,
            next: 9,
            high_watermark: 12,
            held: 2,
            lag: 5,
            oldest_holder: "ann".into(),
            oldest: std::time::Duration::from_millis(1_500),
            ..QueuePartition::default()
        };
        let idle = QueuePartition { high_watermark: 3, lag: 3, ..QueuePartition::default() };
        let objects: Vec<_> = of(&[idle, busy]).objects().collect();
        assert_eq!((&objects[0]["lag"], objects[0].get("oldest_holder")), (&json!(3), None));
        assert_eq!((&objects[1]["oldest_holder"], &objects[1]["oldest_ms"]), (&json!("ann"), &json!(1_500)));
    }
}
