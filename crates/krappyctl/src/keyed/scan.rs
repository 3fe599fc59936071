//! `scan TOPIC`: the newest records of a range of keys, as they were at one moment, to stdout as they come.

use super::args::Scan;
use super::{RowPrinter, Shown, position, range};
use crate::failure::Failure;
use crate::out::Out;
use crate::session::Session;
use crate::signal;
use crate::units::grouped;
use krappy_client::ScanOptions;
use std::collections::BTreeMap;
use std::time::Duration;

pub fn run(session: &Session, args: &Scan, patience: Duration, out: &mut Out) -> Result<(), Failure> {
    let shown = if args.keys_only { Shown::Key } else { Shown::KeyAndValue };
    let mut printer = RowPrinter::new(session, &args.rendering, shown)?;
    let at = |at| position(session, &args.topic, at, args.partition, None);
    let options = ScanOptions {
        partition: args.partition,
        range: range(&args.keys),
        reverse: args.reverse,
        keys_only: args.keys_only,
        as_of: args.as_of.iter().map(|&one| at(one)).collect::<Result<_, _>>()?,
        after: args.after.map(at).transpose()?,
        max_wait: patience,
        limit: args.limit,
        ..ScanOptions::default()
    };
    let mut scan = session.client.scan(&args.topic, options)?;
    let mut count = 0u64;
    while !signal::interrupted() {
        let Some(record) = scan.next() else { break };
        printer.row(&record.map_err(|e| session.about(&args.topic, e))?, out)?;
        count += 1;
    }
    out.flush()?;
    session.talk(&summary(&args.topic, count, scan.true_at()));
    signal::check()
}

fn summary(topic: &str, count: u64, true_at: &BTreeMap<i32, i64>) -> String {
    let keys = if count == 1 { "key" } else { "keys" };
    let mut text = format!("{topic}: {} {keys}", grouped(count.into()));
    for (i, (partition, offset)) in true_at.iter().enumerate() {
        text += if i == 0 { "   true at " } else { " " };
        match offset {
            ..0 => text += &format!("{partition}@empty"),
            _ => text += &format!("{partition}@{}", grouped((*offset).into())),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_the_answer_is_true_for() {
        assert_eq!(
            summary("users", 1200, &[(0, 41_000), (1, -1)].into()),
            "users: 1,200 keys   true at 0@41,000 1@empty"
        );
        assert_eq!(summary("users", 0, &BTreeMap::new()), "users: 0 keys");
    }
}
