//! `get TOPIC KEY..`: the newest values of keys. Keys that are not there are told on stderr, and make the exit code 3.

use super::args::Get;
use super::{RowPrinter, Shown, position};
use crate::envelope;
use crate::failure::{Failure, NOT_FOUND};
use crate::out::{Out, talk};
use crate::session::Session;
use crate::units::iso;
use krappy_client::{GetOptions, KeyState, Newest};
use serde_json::{Value, json};
use std::time::Duration;

pub fn run(session: &Session, args: &Get, patience: Duration, out: &mut Out) -> Result<(), Failure> {
    let shown = if args.keys.len() == 1 { Shown::Value } else { Shown::KeyAndValue };
    let mut printer = RowPrinter::new(session, &args.rendering, shown)?;
    let only = if let [key] = &args.keys[..] { Some(key.as_str()) } else { None };
    let after = args.after.map(|at| position(session, &args.topic, at, args.partition, only)).transpose()?;
    let options = GetOptions {
        partition: args.partition,
        as_of: args.as_of,
        after,
        max_wait: patience,
        explain: args.explain,
    };
    let got =
        session.client.get(&args.topic, &args.keys, &options).map_err(|e| session.about(&args.topic, e))?;
    for (key, state) in args.keys.iter().zip(&got.keys) {
        match &state.newest {
            _ if printer.envelopes() => out.line(&as_json(&args.topic, key, state).to_string())?,
            Newest::Present(record) => printer.row(record, out)?,
            _ => {}
        }
    }
    out.flush()?;
    got.explain.iter().for_each(|line| talk(line));
    let missing = args.keys.iter().zip(&got.keys).find_map(|(key, state)| missing(&args.topic, key, state));
    missing.map_or(Ok(()), Err)
}

/// The envelope of the record, or as much of it as there is, with what the answer says about itself.
fn as_json(topic: &str, key: &str, state: &KeyState) -> Value {
    let (mut document, name) = match &state.newest {
        Newest::Present(record) => (envelope::of(record), "present"),
        Newest::Absent => (json!({ "topic": topic, "partition": state.partition, "key": key }), "absent"),
        Newest::Deleted { offset, timestamp } => (
            json!({
                "topic": topic,
                "partition": state.partition,
                "offset": offset,
                "ts": iso(*timestamp),
                "key": key,
            }),
            "deleted",
        ),
    };
    document["state"] = json!(name);
    document["true_at"] = json!(state.true_at);
    document
}

/// Why there is no value.
fn missing(topic: &str, key: &str, state: &KeyState) -> Option<Failure> {
    let (partition, true_at) = (state.partition, state.true_at);
    let what = match &state.newest {
        Newest::Present(_) => return None,
        Newest::Deleted { offset, timestamp } => {
            format!("{topic} has no key {key:?}: deleted at {partition}@{offset}, {}", iso(*timestamp))
        }
        Newest::Absent if true_at < 0 => {
            format!("{topic} has no key {key:?}: partition {partition} is empty")
        }
        Newest::Absent => format!("{topic} has no key {key:?} (true at {partition}@{true_at})"),
    };
    Some(Failure::new(NOT_FOUND, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_key_is_told_apart_from_a_deleted_one() {
        let state = |newest| KeyState { partition: 2, true_at: 41, newest };
        let deleted = state(Newest::Deleted { offset: 7, timestamp: 0 });
        let failure = missing("users", "u1", &deleted).unwrap();
        assert_eq!(failure.code, NOT_FOUND);
        assert_eq!(failure.message, "users has no key \"u1\": deleted at 2@7, 1970-01-01T00:00:00.000Z");
        assert_eq!(
            as_json("users", "u1", &deleted).to_string(),
            r#"{"topic":"users","partition":2,"offset":7,"ts":"1970-01-01T00:00:00.000Z","key":"u1","state":"deleted","true_at":41}"#
        );
        let absent = state(Newest::Absent);
        assert_eq!(
            missing("users", "u1", &absent).unwrap().message,
            "users has no key \"u1\" (true at 2@41)"
        );
        assert_eq!(
            as_json("users", "u1", &absent).to_string(),
            r#"{"topic":"users","partition":2,"key":"u1","state":"absent","true_at":41}"#
        );
    }
}
