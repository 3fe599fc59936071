//! `queue take`: records of a queue to stdout, or to a command each.
//!
//! Invariant: a record is acknowledged only after its line was written, or its command has ended well; whatever was
//! taken and not looked at goes back uncounted.

use super::args::Take;
use crate::args::Format;
use crate::envelope;
use crate::failure::{Failure, REFUSED, USAGE};
use crate::out::Out;
use crate::place::topic_and_partition;
use crate::print::Print;
use crate::session::Session;
use crate::signal;
use krappy_client::{Queue, QueueRecord, Settle};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long one take waits, so that Ctrl-C is noticed soon.
const WAIT: Duration = Duration::from_millis(200);
/// How often a running command is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// Most records of one take.
const AT_ONCE: u32 = 100;

/// What is done with a record.
enum Work {
    /// Print it, and acknowledge it or not.
    Print { print: Print, envelopes: bool, acknowledge: bool },
    /// Run this for it.
    Exec(String),
}

pub fn run(session: &Session, args: &Take, out: &mut Out) -> Result<(), Failure> {
    let usage = |reason: String| Failure::new(USAGE, reason);
    if session.format == Format::Csv {
        return Err(usage("records have no CSV form; use --jsonl or -f".into()));
    }
    let (topic, partition) = topic_and_partition(&args.topic).map_err(usage)?;
    let keeps = args.name.is_some() && !args.ack;
    let work = match &args.exec {
        Some(command) => Work::Exec(command.clone()),
        None => Work::Print {
            print: match &args.print {
                Some(format) => Print::parse(format, "").map_err(usage)?,
                // Whoever keeps records has to name them later.
                None if keeps => Print::parse("%t/%p@%o\\t%v\\n", "").map_err(usage)?,
                None => Print::plain(None, ""),
            },
            envelopes: session.format != Format::Table,
            acknowledge: !keeps,
        },
    };
    let mut builder = session.client.queue(topic.as_str(), args.group.as_str());
    builder = builder.lock(args.lock).keyed(args.keyed);
    if let Some(name) = &args.name {
        builder = builder.name(name.as_str());
    }
    if let Some(partition) = partition {
        builder = builder.partition(partition);
    }
    // A command takes its time, so nothing waits for it locked.
    let at_once = if args.exec.is_some() { 1 } else { AT_ONCE };
    let most = args.count.map_or(at_once, |count| at_once.min(u32::try_from(count).unwrap_or(at_once)));
    let queue = builder.max_records(most).build()?;
    let mut taking =
        Taking { session, queue, args, topic, work, left: args.count.unwrap_or(u64::MAX), failed: 0 };
    taking.run(out)?;
    signal::check()?;
    match taking.failed {
        0 => Ok(()),
        n => Err(Failure::new(
            REFUSED,
            format!(
                "the command failed {n} times; a record that it failed for comes again, or is a dead letter: \
                 krappyctl queue dlq {}",
                taking.topic
            ),
        )),
    }
}

struct Taking<'a> {
    session: &'a Session,
    queue: Queue,
    args: &'a Take,
    topic: String,
    work: Work,
    /// How many records may still be taken.
    left: u64,
    /// How often the command failed.
    failed: u64,
}

impl Taking<'_> {
    fn run(&mut self, out: &mut Out) -> Result<(), Failure> {
        while self.left > 0 && !signal::interrupted() {
            let taken = self.queue.take(WAIT).map_err(|e| self.session.about(&self.topic, e))?;
            if taken.is_empty() && self.args.exit_when_empty {
                return Ok(());
            }
            let (now, later) =
                taken.split_at(taken.len().min(usize::try_from(self.left).unwrap_or(usize::MAX)));
            if !later.is_empty() {
                self.queue.settle(Settle::Return, &places(later))?;
            }
            self.left -= now.len() as u64;
            self.work_on(now, out)?;
        }
        Ok(())
    }

    fn work_on(&mut self, taken: &[QueueRecord], out: &mut Out) -> Result<(), Failure> {
        match &self.work {
            Work::Exec(command) => {
                let command = command.clone();
                taken.iter().try_for_each(|one| self.exec(&command, one))
            }
            Work::Print { print, envelopes, acknowledge } => {
                let mut lines = Vec::new();
                for one in taken {
                    match envelopes {
                        true => lines.extend_from_slice(format!("{}\n", as_json(one)).as_bytes()),
                        false => print.render(&one.record, &mut lines),
                    }
                }
                if let Err(failure) = out.bytes(&lines).and_then(|()| out.flush()) {
                    // Nobody has read them, so somebody else shall have them. If that fails their locks run out.
                    let _ = self.queue.settle(Settle::Return, &places(taken));
                    return Err(failure);
                }
                if *acknowledge && !taken.is_empty() {
                    self.settle(Settle::Acknowledge, taken)
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Ends deliveries; one that had ended before is told, because somebody else has the record now.
    fn settle(&mut self, how: Settle<'_>, taken: &[QueueRecord]) -> Result<(), Failure> {
        let results = self.queue.settle(how, &places(taken))?;
        for (one, result) in taken.iter().zip(results) {
            if let Err(code) = result {
                let (partition, offset) = one.place();
                self.session.talk(&format!("{}/{partition}@{offset}: {code}", self.topic));
            }
        }
        Ok(())
    }

    fn exec(&mut self, command: &str, one: &QueueRecord) -> Result<(), Failure> {
        let how = match self.run_command(command, one)? {
            true => Settle::Acknowledge,
            false => {
                self.failed += 1;
                Settle::Release(0)
            }
        };
        self.settle(how, std::slice::from_ref(one))
    }

    /// Whether the command has ended well. The record stays locked for as long as it runs.
    fn run_command(&mut self, command: &str, one: &QueueRecord) -> Result<bool, Failure> {
        let record = &one.record;
        let failed = |e: std::io::Error| Failure::new(REFUSED, format!("cannot run {command:?}: {e}"));
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command).stdin(Stdio::piped());
        shell.env("KRAPPY_TOPIC", &*record.topic);
        shell.env("KRAPPY_PARTITION", record.partition.to_string());
        shell.env("KRAPPY_OFFSET", record.offset.to_string());
        shell.env("KRAPPY_DELIVERIES", one.deliveries.to_string());
        // A variable cannot hold a zero byte; such a key is left out.
        if let Some(key) = record.key.as_deref().filter(|key| !key.contains(&0)) {
            shell.env("KRAPPY_KEY", OsStr::from_bytes(key));
        }
        let mut child = shell.spawn().map_err(failed)?;
        let mut input = child.stdin.take().expect("it was asked for");
        let value = record.value.as_deref().unwrap_or_default().to_vec();
        // It may not read its input, and it may read it slowly.
        let feeder = std::thread::spawn(move || drop(input.write_all(&value)));
        let mut locked = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                break status;
            }
            if locked.elapsed() > self.args.lock / 3 {
                // If it is too late for that, the end of the command will say so.
                let _ = self.queue.extend(one, self.args.lock);
                locked = Instant::now();
            }
            std::thread::sleep(LOOK);
        };
        drop(feeder.join());
        Ok(status.success())
    }
}

fn places(taken: &[QueueRecord]) -> Vec<(i32, i64)> {
    taken.iter().map(QueueRecord::place).collect()
}

/// The envelope of the record, and how often it was given out.
fn as_json(one: &QueueRecord) -> Value {
    let mut document = envelope::of(&one.record);
    document["deliveries"] = json!(one.deliveries);
    document
}
