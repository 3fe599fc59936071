//! `watch TOPIC`: the newest records of a range of keys, then every change until Ctrl-C, a count, or the end of the
//! snapshot.

use super::args::Watch;
use super::{RowPrinter, Shown, range};
use crate::failure::{Failure, NOT_FOUND};
use crate::out::Out;
use crate::session::Session;
use crate::signal;
use crate::units::grouped;
use krappy_client::{WatchEvent, WatchOptions, Watcher};
use serde_json::json;
use std::time::Duration;

/// How long one poll waits, so that Ctrl-C is noticed soon.
const POLL: Duration = Duration::from_millis(200);

pub fn run(session: &Session, args: &Watch, out: &mut Out) -> Result<(), Failure> {
    let printer = RowPrinter::new(session, &args.rendering, Shown::KeyAndValue)?;
    let partitions = session.describe(&args.topic)?.partitions.len();
    if let Some(p) = args.partition.filter(|&p| p < 0 || p as usize >= partitions) {
        let what = format!("{} has no partition {p}: it has {partitions}", args.topic);
        return Err(Failure::new(NOT_FOUND, what));
    }
    let options = WatchOptions {
        partition: args.partition,
        range: range(&args.keys),
        snapshot: !args.no_snapshot,
        ..WatchOptions::default()
    };
    let watcher = session.client.watch(&args.topic, options)?;
    let open_snapshots = if args.partition.is_some() { 1 } else { partitions };
    Follower { session, args, printer, open_snapshots, left: args.count.unwrap_or(u64::MAX) }
        .run(watcher, out)?;
    signal::check()
}

struct Follower<'a> {
    session: &'a Session,
    args: &'a Watch,
    printer: RowPrinter,
    /// Partitions whose snapshot has not ended.
    open_snapshots: usize,
    /// How many records may still be printed.
    left: u64,
}

impl Follower<'_> {
    fn run(&mut self, mut watcher: Watcher, out: &mut Out) -> Result<(), Failure> {
        while !self.finished() && !signal::interrupted() {
            // What has arrived is taken without waiting and shown before the next wait.
            let mut event = watcher.poll(Duration::ZERO);
            if event == Ok(None) {
                out.flush()?;
                event = watcher.poll(POLL);
            }
            if let Some(event) = event.map_err(|e| self.session.about(&self.args.topic, e))? {
                self.event(&event, out)?;
            }
        }
        out.flush()
    }

    fn finished(&self) -> bool {
        self.left == 0 || self.args.until_current && self.open_snapshots == 0
    }

    fn event(&mut self, event: &WatchEvent, out: &mut Out) -> Result<(), Failure> {
        match event {
            WatchEvent::Row(record) => {
                self.left -= 1;
                self.printer.row(record, out)
            }
            &WatchEvent::SnapshotEnd { partition, offset } => {
                self.open_snapshots = self.open_snapshots.saturating_sub(1);
                let topic = &self.args.topic;
                let at = if offset < 0 { "empty".into() } else { format!("at {}", grouped(offset.into())) };
                self.session.talk(&format!("{topic}/{partition}: current, {at}"));
                if !self.printer.envelopes() {
                    return Ok(());
                }
                let end = json!({ "topic": topic, "partition": partition, "snapshot_end": offset });
                out.line(&end.to_string())
            }
        }
    }
}
