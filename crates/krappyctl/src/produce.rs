//! `produce`: one line, one record; bytes in are bytes out.

use crate::args::{Format, Produce};
use crate::envelope;
use crate::failure::{Failure, REFUSED};
use crate::progress::Progress;
use crate::session::Session;
use crate::signal;
use crate::units::{bytes, duration, grouped};
use krappy_client::{Delivered, Delivery, Level, Producer, Record};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

/// Deliveries that are remembered before the oldest is waited for.
const MOST_UNCONFIRMED: usize = 100_000;

pub fn run(session: &Session, args: &Produce) -> Result<(), Failure> {
    let producer = session
        .client
        .producer(args.topic.as_str())
        .acks(args.acks.level())
        .linger(args.linger)
        .batch_bytes(args.batch_bytes as usize)
        .delivery_timeout(Duration::from_secs(30))
        .build()
        .map_err(|e| session.about(&args.topic, e))?;
    let mut run = Run { args, envelopes: session.format != Format::Table, producer, tally: Tally::default() };
    let mut progress = Progress::new(&args.topic, total_size(&args.files), session.shows_progress());
    let result = run.inputs(&mut progress);
    let flushed = run.finish();
    progress.end();
    let written = run.tally.records;
    match result.and(flushed) {
        Ok(()) => {
            session.talk(&run.tally.summary(&args.topic));
            signal::check()
        }
        Err(failure) => Err(failure.hint(format!("{} records were written", grouped(written.into())))),
    }
}

struct Run<'a> {
    args: &'a Produce,
    envelopes: bool,
    producer: Producer,
    tally: Tally,
}

impl Run<'_> {
    fn inputs(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        if self.args.files.is_empty() {
            return self.input("", &mut io::stdin().lock(), progress);
        }
        for path in &self.args.files {
            let name = path.display().to_string();
            let file =
                File::open(path).map_err(|e| Failure::new(REFUSED, format!("cannot read {name}: {e}")))?;
            self.input(&name, &mut BufReader::with_capacity(256 << 10, file), progress)?;
        }
        Ok(())
    }

    fn input(&mut self, name: &str, from: &mut impl BufRead, progress: &mut Progress) -> Result<(), Failure> {
        let (mut line, mut number) = (Vec::new(), 0u64);
        while !signal::interrupted() {
            line.clear();
            match read_line(from, &mut line) {
                Ok(false) => return Ok(()),
                Ok(true) => number += 1,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Failure::new(REFUSED, format!("cannot read {name}: {e}"))),
            }
            let record = self.record(&line).map_err(|reason| wrong_line(name, number, &reason, &line))?;
            let delivery = self.producer.send(record).map_err(|error| match error {
                krappy_client::Error::TooLarge { .. } => wrong_line(name, number, &error.to_string(), &line),
                other => other.into(),
            })?;
            self.tally.queued(line.len() as u64 + 1, delivery)?;
            progress.at(self.tally.bytes);
        }
        Ok(())
    }

    fn record(&self, line: &[u8]) -> Result<Record, String> {
        let mut record = if self.envelopes { envelope::record(line)? } else { self.plain(line)? };
        if self.args.null && record.value.as_ref().is_some_and(Vec::is_empty) {
            record.value = None;
        }
        for (name, value) in &self.args.headers {
            record = record.header(name.as_str(), Some(value.as_str()));
        }
        record.partition = self.args.partition;
        Ok(record)
    }

    fn plain(&self, line: &[u8]) -> Result<Record, String> {
        let Some(delimiter) = &self.args.key_delimiter else {
            let key = self.args.key.as_ref().map(|k| k.clone().into_bytes());
            return Ok(Record { key, ..Record::new(line) });
        };
        let delimiter = delimiter.as_bytes();
        let at = line.windows(delimiter.len().max(1)).position(|w| w == delimiter);
        let at = at.ok_or_else(|| format!("no key delimiter {:?}", String::from_utf8_lossy(delimiter)))?;
        Ok(Record::new(&line[at + delimiter.len()..]).key(&line[..at]))
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let flushed = self.producer.flush().map_err(Failure::from);
        let confirmed = self.tally.confirm(0);
        flushed.and(confirmed)
    }
}

/// A line without its end. False when there is none left; the last line needs no end.
fn read_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    // Not `read_until`: that one starts again when Ctrl-C interrupts it.
    loop {
        let buffer = from.fill_buf()?;
        if buffer.is_empty() {
            return Ok(!line.is_empty());
        }
        match buffer.iter().position(|&b| b == b'\n') {
            Some(at) => {
                line.extend_from_slice(&buffer[..at]);
                from.consume(at + 1);
                return Ok(true);
            }
            None => {
                line.extend_from_slice(buffer);
                let n = buffer.len();
                from.consume(n);
            }
        }
    }
}

fn wrong_line(name: &str, number: u64, reason: &str, line: &[u8]) -> Failure {
    let place = if name.is_empty() { format!("line {number}") } else { format!("{name} line {number}") };
    let text: String = String::from_utf8_lossy(line).chars().take(80).collect();
    Failure::new(REFUSED, format!("{place}: {reason}: {text}"))
}

/// Size of all files, if it is known.
fn total_size(files: &[impl AsRef<Path>]) -> Option<u64> {
    let size = |f: &Path| std::fs::metadata(f).ok().filter(|m| m.is_file()).map(|m| m.len());
    if files.is_empty() { None } else { files.iter().map(|f| size(f.as_ref())).sum() }
}

/// What was sent and what became of it.
struct Tally {
    started: Instant,
    bytes: u64,
    records: u64,
    level: Option<Level>,
    /// First and last offset, for each partition.
    offsets: BTreeMap<i32, (i64, i64)>,
    unconfirmed: VecDeque<Delivery>,
}

impl Default for Tally {
    fn default() -> Self {
        let (offsets, unconfirmed) = (BTreeMap::new(), VecDeque::new());
        Self { started: Instant::now(), bytes: 0, records: 0, level: None, offsets, unconfirmed }
    }
}

impl Tally {
    fn queued(&mut self, bytes: u64, delivery: Delivery) -> Result<(), Failure> {
        self.bytes += bytes;
        self.unconfirmed.push_back(delivery);
        self.confirm(MOST_UNCONFIRMED)
    }

    /// Waits for the oldest deliveries until `leave` are left; every outcome is counted, the first error returned.
    fn confirm(&mut self, leave: usize) -> Result<(), Failure> {
        let mut first_error = None;
        while self.unconfirmed.len() > leave {
            match self.unconfirmed.pop_front().expect("just counted").wait() {
                Ok(delivered) => self.delivered(delivered),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(()), |e| Err(e.into()))
    }

    fn delivered(&mut self, at: Delivered) {
        self.records += 1;
        self.level = Some(self.level.map_or(at.level, |l| l.min(at.level)));
        if at.offset >= 0 {
            let range = self.offsets.entry(at.partition).or_insert((at.offset, at.offset));
            *range = (range.0.min(at.offset), range.1.max(at.offset));
        }
    }

    fn summary(&self, topic: &str) -> String {
        let took = self.started.elapsed();
        let rate = grouped((self.records as f64 / took.as_secs_f64().max(1e-9)) as i128);
        let level = match self.level {
            None => "nothing sent",
            Some(Level::None) => "unconfirmed (none)",
            Some(Level::Appended) => "appended (memory)",
            Some(Level::Durable) => "durable (disk)",
        };
        let mut text = format!(
            "{topic}: {} records  {}  {}  {rate} rec/s   {level}",
            grouped(self.records.into()),
            bytes(self.bytes),
            duration(took)
        );
        for (i, (partition, (first, last))) in self.offsets.iter().enumerate() {
            text += if i == 0 { "   offsets " } else { " " };
            text += &format!("{partition}@{}..{}", grouped((*first).into()), grouped((*last).into()));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_every_byte_but_their_end() {
        let mut input = BufReader::with_capacity(3, &b"a\r\n\n\x00\xff long line\nlast"[..]);
        let mut lines = Vec::new();
        let mut line = Vec::new();
        while read_line(&mut input, &mut line).unwrap() {
            lines.push(std::mem::take(&mut line));
        }
        assert_eq!(lines, [&b"a\r"[..], b"", b"\x00\xff long line", b"last"]);
    }

    #[test]
    fn the_summary_says_what_was_reached_and_where_it_is() {
        let mut tally = Tally { bytes: 2048, ..Tally::default() };
        for (partition, offset) in [(0, 5), (0, 4), (1, 1000)] {
            tally.delivered(Delivered { partition, offset, level: Level::Durable });
        }
        let summary = tally.summary("orders");
        assert!(summary.starts_with("orders: 3 records  2.0 kB  "), "{summary}");
        assert!(summary.ends_with("durable (disk)   offsets 0@4..5 1@1,000..1,000"), "{summary}");
    }

    #[test]
    fn a_wrong_line_is_named_with_its_number_and_text() {
        let failure = wrong_line("x.txt", 17, "not JSON", b"{\"id\":1 \"x\":2}");
        assert_eq!(
            (failure.code, failure.message.as_str()),
            (1, "x.txt line 17: not JSON: {\"id\":1 \"x\":2}")
        );
    }
}
