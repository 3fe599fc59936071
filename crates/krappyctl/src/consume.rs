//! `consume` and `tail`: records to stdout, byte for byte.

use crate::args::{Consume, Format, Tail};
use crate::envelope;
use crate::failure::{Failure, NOT_FOUND, USAGE};
use crate::member;
use crate::out::Out;
use crate::place::{Place, topic_and_partition};
use crate::print::Print;
use crate::session::Session;
use crate::signal;
use crate::units::iso;
use krappy_client::{Consumer, ConsumerRecord, Start, TopicInfo};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long one poll waits, so that Ctrl-C is noticed soon.
pub const POLL: Duration = Duration::from_millis(200);
/// The same with several consumers, which take turns.
const SHORT_POLL: Duration = Duration::from_millis(10);

/// A consumer and where it may stop.
pub struct Source {
    pub consumer: Consumer,
    /// High watermarks as they were at the start.
    ends: BTreeMap<i32, i64>,
}

impl Source {
    /// Whether everything that was there at the start has been read.
    pub fn at_end(&self) -> bool {
        self.consumer
            .positions()
            .iter()
            .all(|(p, position)| self.ends.get(p).is_none_or(|end| position >= end))
    }

    /// Whether the record was published after the start.
    pub fn beyond_end(&self, record: &ConsumerRecord) -> bool {
        self.ends.get(&record.partition).is_some_and(|&end| record.offset >= end)
    }
}

/// Opens what is needed to read `topic` from `place` on.
pub fn open(
    session: &Session,
    topic: &str,
    partition: Option<i32>,
    place: Place,
) -> Result<Vec<Source>, Failure> {
    let info = session.describe(topic)?;
    if let Some(p) = partition.filter(|&p| p < 0 || p as usize >= info.partitions.len()) {
        let count = info.partitions.len();
        return Err(Failure::new(NOT_FOUND, format!("{topic} has no partition {p}: it has {count}")));
    }
    let start = match place {
        Place::Start => Start::Earliest,
        Place::End => Start::Latest,
        Place::Offset(n) => Start::Offset(n),
        Place::Time(t) => Start::Timestamp(t),
        Place::Last(n) => return last(session, &info, partition, n),
    };
    let mut builder = session.client.consumer(topic).start(start);
    if let Some(p) = partition {
        builder = builder.partition(p);
    }
    let consumer = builder.build().map_err(|e| session.about(topic, e))?;
    Ok(vec![Source { consumer, ends: ends(&info) }])
}

/// One consumer for each partition, `n` records before its end.
fn last(session: &Session, info: &TopicInfo, partition: Option<i32>, n: i64) -> Result<Vec<Source>, Failure> {
    let one = |p: i32| {
        let known = &info.partitions[p as usize];
        let start = Start::Offset((known.high_watermark - n).max(known.log_start));
        let consumer = session.client.consumer(info.name.as_str()).partition(p).start(start).build()?;
        Ok(Source { consumer, ends: ends(info) })
    };
    match partition {
        Some(p) => Ok(vec![one(p)?]),
        None => (0..info.partitions.len() as i32).map(one).collect(),
    }
}

fn ends(info: &TopicInfo) -> BTreeMap<i32, i64> {
    info.partitions.iter().enumerate().map(|(p, known)| (p as i32, known.high_watermark)).collect()
}

pub fn consume(session: &Session, args: &Consume, out: &mut Out) -> Result<(), Failure> {
    let usage = |reason: String| Failure::new(USAGE, reason);
    let null = if args.null { "NULL" } else { "" };
    let print = match &args.print {
        Some(format) => Print::parse(format, null).map_err(usage)?,
        None => Print::plain(args.key_delimiter.as_deref(), null),
    };
    if session.format == Format::Csv {
        return Err(usage("records have no CSV form; use --jsonl or -f".into()));
    }
    let envelopes = session.format != Format::Table;
    let left = args.count.unwrap_or(u64::MAX);
    let mut printer = Printer { print, envelopes, left, line: Vec::new() };
    if let Some(group) = &args.group {
        return member::consume(session, args, group, &mut printer, out);
    }
    let mut sources = Vec::new();
    for topic in &args.topics {
        let (topic, partition) = topic_and_partition(topic).map_err(usage)?;
        sources.extend(open(session, &topic, partition.or(args.partition), args.offset)?);
    }
    read(sources, args.exit_at_end, &mut printer, out)?;
    signal::check()
}

fn read(
    mut sources: Vec<Source>,
    stop_at_end: bool,
    printer: &mut Printer,
    out: &mut Out,
) -> Result<(), Failure> {
    while printer.left > 0 && !signal::interrupted() {
        if stop_at_end {
            sources.retain(|s| !s.at_end());
        }
        let wait = match sources.len() {
            0 => return Ok(()),
            1 => POLL,
            _ => SHORT_POLL,
        };
        for source in &mut sources {
            for record in &source.consumer.poll(wait)? {
                if printer.left > 0 && !(stop_at_end && source.beyond_end(&record)) {
                    printer.print(&record, out)?;
                }
            }
            out.flush()?;
        }
    }
    Ok(())
}

/// Prints records, a number of them.
pub struct Printer {
    print: Print,
    envelopes: bool,
    /// How many records may still be printed.
    pub left: u64,
    /// Room for one of them.
    line: Vec<u8>,
}

impl Printer {
    pub fn print(&mut self, record: &ConsumerRecord, out: &mut Out) -> Result<(), Failure> {
        self.line.clear();
        render(record, self.envelopes, &self.print, &mut self.line);
        self.left -= 1;
        out.bytes(&self.line)
    }
}

fn render(record: &ConsumerRecord, envelopes: bool, print: &Print, buffer: &mut Vec<u8>) {
    if envelopes {
        buffer.extend_from_slice(envelope::of(record).to_string().as_bytes());
        buffer.push(b'\n');
    } else {
        print.render(record, buffer);
    }
}

pub fn tail(session: &Session, args: &Tail, out: &mut Out) -> Result<(), Failure> {
    let several = args.topics.len() > 1;
    let colour = several
        && std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let labels: Vec<String> =
        args.topics.iter().enumerate().map(|(i, t)| label(t, i, several, colour)).collect();
    let mut sources: Vec<(usize, Source)> = Vec::new();
    for (i, topic) in args.topics.iter().enumerate() {
        let opened = open(session, topic, None, Place::Last(args.count as i64))?;
        sources.extend(opened.into_iter().map(|s| (i, s)));
    }
    let mut printer = TailPrinter { session, labels, print: Print::plain(None, "") };
    printer.last(&mut sources, args, out)?;
    while !signal::interrupted() {
        let wait = if sources.len() == 1 { POLL } else { SHORT_POLL };
        for (topic, source) in &mut sources {
            for record in &source.consumer.poll(wait)? {
                printer.line(*topic, &record, out)?;
            }
            out.flush()?;
        }
    }
    signal::check()
}

/// What stands before each line when there are several topics.
fn label(topic: &str, index: usize, several: bool, colour: bool) -> String {
    match (several, colour) {
        (false, _) => String::new(),
        (true, false) => format!("{topic}: "),
        // Six colours that read on dark and light: red, green, yellow, blue, magenta, cyan.
        (true, true) => format!("\x1b[{}m{topic}\x1b[0m: ", 31 + index % 6),
    }
}

struct TailPrinter<'a> {
    session: &'a Session,
    labels: Vec<String>,
    print: Print,
}

impl TailPrinter<'_> {
    fn line(&mut self, topic: usize, record: &ConsumerRecord, out: &mut Out) -> Result<(), Failure> {
        let mut line = self.labels[topic].clone().into_bytes();
        render(record, self.session.format != Format::Table, &self.print, &mut line);
        out.bytes(&line)
    }

    /// The newest records of each topic that were there at the start, oldest first, and then that it is caught up.
    fn last(&mut self, sources: &mut [(usize, Source)], args: &Tail, out: &mut Out) -> Result<(), Failure> {
        let mut old: Vec<(usize, ConsumerRecord)> = Vec::new();
        let mut new: Vec<(usize, ConsumerRecord)> = Vec::new();
        for (topic, source) in sources.iter_mut() {
            while !source.at_end() && !signal::interrupted() {
                for record in &source.consumer.poll(POLL)? {
                    if source.beyond_end(&record) { &mut new } else { &mut old }.push((*topic, record));
                }
            }
        }
        for (topic, name) in args.topics.iter().enumerate() {
            let mut of_topic: Vec<&ConsumerRecord> =
                old.iter().filter(|(t, _)| *t == topic).map(|(_, r)| r).collect();
            of_topic.sort_by_key(|r| (r.timestamp, r.partition, r.offset));
            for record in of_topic.iter().skip(of_topic.len().saturating_sub(args.count)) {
                self.line(topic, record, out)?;
            }
            out.flush()?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
            self.session.talk(&format!("{name}: caught up at {}", iso(now)));
        }
        new.iter().try_for_each(|(topic, record)| self.line(*topic, record, out))?;
        out.flush()
    }
}
