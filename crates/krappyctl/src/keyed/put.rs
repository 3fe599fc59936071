//! `put TOPIC KEY [VALUE]` and `del TOPIC KEY..`: a new value or none, also on the condition that nobody was faster.

use super::args::{Del, Put, Writing};
use crate::failure::{Failure, REFUSED};
use crate::out::Out;
use crate::session::Session;
use crate::table::{Kind, Table};
use krappy_client::{Delivered, Expected, Level, Producer, PutIf, Record};
use serde_json::{Value, json};
use std::io::{self, Read};

pub fn put(session: &Session, args: &Put, out: &mut Out) -> Result<(), Failure> {
    compacted(session, &args.topic)?;
    let record = Record { value: Some(value(args)?), ..record(&args.key, &args.writing) };
    let producer = producer(session, &args.topic, &args.writing)?;
    let expected = match (args.if_offset, args.if_absent) {
        (Some(offset), _) => Some(Expected::Offset(offset)),
        (None, true) => Some(Expected::Absent),
        (None, false) => None,
    };
    let at = match expected {
        None => producer.send(record)?.wait()?,
        Some(expected) => match producer.put_if(record, expected)? {
            PutIf::Stored(at) => at,
            PutIf::Conflict { offset, deleted, .. } => {
                return Err(conflict(&args.topic, &args.key, offset, deleted));
            }
        },
    };
    let mut table = table();
    table.row(row(&args.key, at));
    table.print(session.format, out)
}

pub fn del(session: &Session, args: &Del, out: &mut Out) -> Result<(), Failure> {
    compacted(session, &args.topic)?;
    let producer = producer(session, &args.topic, &args.writing)?;
    let deletions = args.keys.iter().map(|key| producer.send(record(key, &args.writing)));
    let deletions = deletions.collect::<Result<Vec<_>, _>>()?;
    let mut table = table();
    let mut first_failure = None;
    for (key, deletion) in args.keys.iter().zip(&deletions) {
        match deletion.wait() {
            Ok(at) => table.row(row(key, at)),
            Err(error) => {
                table.row(vec![json!(key), Value::Null, Value::Null, json!("refused")]);
                first_failure.get_or_insert(Failure::from(error));
            }
        }
    }
    table.print(session.format, out)?;
    first_failure.map_or(Ok(()), Err)
}

/// A topic of another kind would take the record and never find it by its key; one that does not exist might be created
/// on the way.
fn compacted(session: &Session, topic: &str) -> Result<(), Failure> {
    let info = session.describe(topic)?;
    let policy = info.settings.iter().find(|s| s.name == "cleanup.policy");
    if policy.is_some_and(|s| s.value.split(',').any(|p| p.trim() == "compact")) {
        return Ok(());
    }
    Err(Failure::new(REFUSED, format!("{topic} is not compacted: its records are not found by key"))
        .hint("create it with -c cleanup.policy=compact, or use: krappyctl produce"))
}

fn producer(session: &Session, topic: &str, writing: &Writing) -> Result<Producer, Failure> {
    let producer = session.client.producer(topic).acks(writing.acks.level());
    producer.build().map_err(|e| session.about(topic, e))
}

/// A record without a value.
fn record(key: &str, writing: &Writing) -> Record {
    let record = Record { partition: writing.partition, ..Record::tombstone(key) };
    writing.headers.iter().fold(record, |record, (name, value)| record.header(name, Some(value.as_str())))
}

/// The value as it was typed, or stdin byte for byte.
fn value(args: &Put) -> Result<Vec<u8>, Failure> {
    match args.value.as_deref() {
        Some("-") | None => {
            let mut bytes = Vec::new();
            io::stdin()
                .read_to_end(&mut bytes)
                .map_err(|e| Failure::new(REFUSED, format!("cannot read standard input: {e}")))?;
            Ok(bytes)
        }
        Some(text) => Ok(text.into()),
    }
}

fn table() -> Table {
    Table::new(&[
        ("key", Kind::Text),
        ("partition", Kind::Number),
        ("offset", Kind::Number),
        ("status", Kind::Text),
    ])
}

/// One line of the table. An offset that was not waited for is not known.
fn row(key: &str, at: Delivered) -> Vec<Value> {
    let offset = if at.offset < 0 { Value::Null } else { json!(at.offset) };
    let status = match at.level {
        Level::None => "unconfirmed",
        Level::Appended => "appended",
        Level::Durable => "durable",
    };
    vec![json!(key), json!(at.partition), offset, json!(status)]
}

fn conflict(topic: &str, key: &str, offset: Option<i64>, deleted: bool) -> Failure {
    let what = match (offset, deleted) {
        (None, _) => format!("{topic} has no key {key:?}: nothing was written"),
        (Some(offset), true) => {
            format!("{topic} key {key:?} was deleted at offset {offset}: nothing was written")
        }
        (Some(offset), false) => format!("{topic} key {key:?} is at offset {offset}: nothing was written"),
    };
    let hint = match offset {
        Some(_) if !deleted => "read it, and write with --if-offset and the offset you have seen",
        _ => "write it with --if-absent",
    };
    Failure::new(REFUSED, what).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_says_what_is_there_and_how_to_go_on() {
        let there = conflict("users", "u1", Some(42), false);
        assert_eq!(there.code, REFUSED);
        assert_eq!(there.message, "users key \"u1\" is at offset 42: nothing was written");
        assert!(there.hint.contains("--if-offset"));
        assert!(conflict("users", "u1", Some(42), true).hint.contains("--if-absent"));
        assert!(conflict("users", "u1", None, false).message.contains("has no key"));
    }

    #[test]
    fn an_offset_that_was_not_waited_for_is_not_shown() {
        let at = |offset, level| Delivered { partition: 1, offset, level };
        assert_eq!(row("k", at(-1, Level::None))[2], Value::Null);
        assert_eq!(row("k", at(7, Level::Durable))[2..], [json!(7), json!("durable")]);
    }
}
