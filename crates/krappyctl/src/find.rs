//! `find TOPIC TEXT`: reads a topic up to its end as it is now and prints the records whose key or value contains the
//! text. For topics that are not compacted; those answer by key. Exit code 1 when nothing was found.

use crate::consume::{POLL, Source, open};
use crate::failure::{Failure, REFUSED, USAGE};
use crate::keyed::args::Find;
use crate::keyed::{RowPrinter, Shown};
use crate::out::Out;
use crate::place::topic_and_partition;
use crate::progress::Progress;
use crate::session::Session;
use crate::signal;
use crate::units::grouped;
use krappy_client::{ConsumerRecord, Error};

pub fn run(session: &Session, args: &Find, out: &mut Out) -> Result<(), Failure> {
    let printer = RowPrinter::new(session, &args.rendering, Shown::KeyAndValue)?;
    let (topic, partition) =
        topic_and_partition(&args.topic).map_err(|reason| Failure::new(USAGE, reason))?;
    let sources = open(session, &topic, partition.or(args.partition), args.from)?;
    let left = args.count.unwrap_or(u64::MAX);
    let text = args.pattern.as_bytes();
    let mut search = Search { text, printer, left, found: 0, searched: 0, bytes: 0, unread: 0 };
    let mut progress = Progress::new(&topic, None, session.shows_progress());
    let result = sources.into_iter().try_for_each(|source| search.source(source, &mut progress, out));
    progress.end();
    result?;
    out.flush()?;
    signal::check()?;
    if search.found == 0 {
        return Err(Failure::new(REFUSED, format!("{topic}: {}", search.summary(&args.pattern))));
    }
    session.talk(&format!("{topic}: {}", search.summary(&args.pattern)));
    Ok(())
}

struct Search<'a> {
    text: &'a [u8],
    printer: RowPrinter,
    /// How many records may still be printed.
    left: u64,
    found: u64,
    searched: u64,
    bytes: u64,
    /// Compressed batches that the client cannot open.
    unread: u64,
}

impl Search<'_> {
    fn source(&mut self, mut source: Source, progress: &mut Progress, out: &mut Out) -> Result<(), Failure> {
        while self.left > 0 && !source.at_end() && !signal::interrupted() {
            let records = match source.consumer.poll(POLL) {
                Ok(records) => records,
                Err(Error::Compressed { partition, next_offset, .. }) => {
                    self.unread += 1;
                    source.consumer.seek(partition, next_offset)?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            self.bytes += records.bytes() as u64;
            for record in records.iter().filter(|record| !source.beyond_end(record)) {
                self.record(&record, out)?;
            }
            progress.at(self.bytes);
        }
        out.flush()
    }

    fn record(&mut self, record: &ConsumerRecord, out: &mut Out) -> Result<(), Failure> {
        if self.left == 0 {
            return Ok(());
        }
        self.searched += 1;
        let holds = |part: Option<&[u8]>| part.is_some_and(|bytes| contains(bytes, self.text));
        if holds(record.key.as_deref()) || holds(record.value.as_deref()) {
            self.found += 1;
            self.left -= 1;
            self.printer.row(record, out)?;
        }
        Ok(())
    }

    fn summary(&self, pattern: &str) -> String {
        let (found, searched) = (grouped(self.found.into()), grouped(self.searched.into()));
        let found = if self.found == 0 { "none".into() } else { found };
        let mut text = format!("{found} of {searched} records contain {pattern:?}");
        if self.unread > 0 {
            let unread = grouped(self.unread.into());
            text += &format!(", {unread} compressed batches could not be opened");
        }
        text
    }
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    text.is_empty() || bytes.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_anywhere_and_in_bytes_that_are_not_text() {
        assert!(contains(b"abc", b"abc") && contains(b"abc", b"c") && contains(b"\xff\x00c", b"c"));
        assert!(contains(b"", b"") && contains(b"a", b""));
        assert!(!contains(b"abc", b"abcd") && !contains(b"abc", b"ac") && !contains(b"", b"a"));
    }
}
