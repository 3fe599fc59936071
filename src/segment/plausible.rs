//! Thousands of made-up partitions, opened and read: a small fuzzer that runs with the other tests.
//!
//! Invariant: a function here asserts whatever must hold for every input, likely or not.

use std::path::Path;
use std::sync::Arc;

use super::quarantine::Hole;
use super::{Log, LogSettings, OpenError, Read, ReadError, index, mark, quarantine};
use crate::chunk::Buffers;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;

const DIR: &str = "/0";

/// Opens a partition made of these bytes, after a clean stop or not, and reads all of it; then opens it again.
///
/// The bytes are files, one after the other: a byte that says which file (its low four bits) and where its number
/// comes from, a length of two bytes, the content.
pub fn recover(bytes: &[u8]) {
    let clean = bytes.first().is_some_and(|b| b & 1 == 1);
    let sim = SimDisk::new(0);
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    disk.create_dir(Path::new(DIR)).expect("an empty disk takes a directory");
    let mut rest = bytes.get(1..).unwrap_or_default();
    while let [which, high, low, more @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(more.len());
        let (content, after) = more.split_at(len);
        sim.set_raw(&Path::new(DIR).join(file_name(*which)), content).expect("the directory is there");
        rest = after;
    }
    let Some(first) = open_and_read(&disk, clean) else { return };
    let again = open_and_read(&disk, false).expect("what was opened once can be opened again");
    assert_eq!(first.0..first.1, again.0..again.1, "the second time gives another log");
    // After a clean stop nobody looks for damage. Else the second start, which has fewer strangers among the files to
    // be misled by, may find that less is damaged, and never more.
    let within = |a: &Hole| first.2.iter().any(|b| b.first <= a.first && a.last <= b.last);
    assert!(clean || again.2.iter().all(within), "the second time finds more damage");
}

/// Which file a byte stands for: segments and indexes at a few base offsets, and the small files.
fn file_name(which: u8) -> String {
    let base = [0, 1, 2, 3, 10, 100, 1 << 31, 1 << 33][usize::from(which >> 5)];
    match which & 0x0f {
        0..=5 => super::log_name(base),
        6..=9 => super::index_name(base),
        10..=12 => mark::NAME.to_owned(),
        13 => quarantine::NAME.to_owned(),
        14 => format!("torn-{base:020}-0"),
        _ => format!("{}.tmp", super::log_name(base)),
    }
}

/// Start, end and the damaged ranges between them; `None` if the log is refused.
fn open_and_read(disk: &Arc<dyn Disk>, clean: bool) -> Option<(i64, i64, Vec<Hole>)> {
    let settings = LogSettings { segment_bytes: 4_096, segment_ms: u64::MAX, index_interval_bytes: 64 };
    let mut visited = 0;
    let opened = Log::open(disk, Path::new(DIR), clean, Some(0), &settings, &mut |_| visited += 1);
    let (log, report) = match opened {
        Ok(opened) => opened,
        Err(OpenError::Refused(_)) => return None,
        Err(OpenError::Io(e)) => panic!("the disk is well, but: {e}"),
    };
    read_all(&log);
    log.lookup_timestamp(0).run().expect("the disk is well");
    let start = log.start_offset();
    let holes = report.quarantined.into_iter().filter(|h| h.last >= start).collect();
    Some((start, log.end_offset(), holes))
}

fn read_all(log: &Log) {
    let mut buffers = Buffers::new(0);
    let mut at = log.start_offset();
    while at < log.end_offset() {
        match log.read(at, log.end_offset(), 512, &mut buffers) {
            Ok(Read::Batches { chunk, next }) => {
                assert!(next > at && !chunk.is_empty(), "a read makes progress");
                at = next;
            }
            Ok(Read::Cold(warm)) => warm.run().expect("the disk is well"),
            Ok(Read::Empty) => break,
            Err(ReadError::Corrupt { first, last }) => {
                assert!(first <= at && at <= last, "{first}..={last} holds {at}");
                at = last + 1;
            }
            Err(e) => panic!("reading at {at}: {e:?}"),
        }
    }
}

/// Reads an index file; what is believed of it encodes to the same bytes.
pub fn parse_index(bytes: &[u8]) {
    for base in [0, 42] {
        let parsed = index::parse(base, bytes);
        let mut again = index::header(base).to_vec();
        parsed.entries.iter().for_each(|e| again.extend_from_slice(&index::encode(base, e)));
        assert!(parsed.entries.is_empty() || bytes.starts_with(&again));
        assert!(parsed.damage.is_some() || bytes == again);
    }
}

/// Reads a mark file; a slot that is believed encodes to the same bytes, but for what is zero.
pub fn parse_mark(bytes: &[u8]) {
    for (i, slot) in mark::slots(bytes).iter().enumerate() {
        if let Some(mark) = slot {
            assert_eq!(mark.encode()[..48], bytes[i * mark::SLOT..i * mark::SLOT + 48]);
        }
    }
}

/// Reads a quarantine file; what is believed of it says the same when it is written again.
pub fn parse_quarantine(bytes: &[u8]) {
    if let Some(holes) = quarantine::parse(bytes) {
        assert_eq!(quarantine::parse(quarantine::format(&holes).as_bytes()), Some(holes));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::batch;
    use super::*;
    use crate::disk::sim::Rng;
    use mark::{Boundary, Mark};

    /// A partition as the fuzzer writes it, with the structure that random bytes would never find.
    fn plausible(rng: &mut Rng) -> Vec<u8> {
        let mut out = vec![rng.below(2) as u8];
        for _ in 0..rng.below(7) {
            let number = rng.below(8) as u8;
            let which = number << 5 | rng.below(16) as u8;
            let base = [0, 1, 2, 3, 10, 100, 1 << 31, 1 << 33][usize::from(number)];
            let mut content = match which & 0x0f {
                0..=5 => batches(rng, base),
                6..=9 => entries(rng, base),
                10..=12 => mark(rng, base).encode().to_vec(),
                13 => holes(rng, base),
                _ => vec![1, 2, 3],
            };
            if rng.below(3) == 0 && !content.is_empty() {
                let bit = rng.below(content.len() as u64 * 8) as usize;
                content[bit / 8] ^= 1 << (bit % 8);
            }
            if rng.below(4) == 0 {
                content.truncate(rng.below(content.len() as u64 + 1) as usize);
            }
            out.push(which);
            out.extend_from_slice(&(content.len() as u16).to_be_bytes());
            out.extend_from_slice(&content);
        }
        out
    }

    fn batches(rng: &mut Rng, base: i64) -> Vec<u8> {
        let mut offset = base + i64::from(rng.below(8) == 0);
        let mut out = Vec::new();
        for _ in 0..rng.below(12) {
            let records = 1 + rng.below(3) as i32;
            out.extend_from_slice(&batch(offset, records, 1_000));
            offset += i64::from(records) + i64::from(rng.below(20) == 0);
        }
        out
    }

    fn entries(rng: &mut Rng, base: i64) -> Vec<u8> {
        let mut out = index::header(base).to_vec();
        let mut entry = index::Entry::START;
        for _ in 0..rng.below(6) {
            out.extend_from_slice(&index::encode(base, &entry));
            entry.relative += 1 + rng.below(3) as u32;
            entry.position += 60 + rng.below(60) as u32;
            entry.max_timestamp = 1_000;
        }
        out
    }

    fn mark(rng: &mut Rng, base: i64) -> Mark {
        let position = rng.below(3) * rng.below(500);
        let offset = base + if position == 0 { 0 } else { rng.below(20) as i64 };
        let durable = Boundary { segment: base, position, offset };
        Mark { generation: rng.below(2), durable, log_start: rng.below(12) as i64 }
    }

    fn holes(rng: &mut Rng, base: i64) -> Vec<u8> {
        let from = rng.below(300);
        let first = base + rng.below(5) as i64;
        let hole = Hole { segment: base, from, to: from + 1 + rng.below(200), first, last: first + 2 };
        quarantine::format(&[hole]).into_bytes()
    }

    #[test]
    fn thousands_of_plausible_partitions_open_without_a_panic() {
        for seed in 0..3_000 {
            let mut rng = Rng::new(seed);
            let bytes = plausible(&mut rng);
            let opened = std::panic::catch_unwind(|| recover(&bytes));
            assert!(opened.is_ok(), "seed {seed}");
            parse_index(&bytes);
            parse_mark(&bytes);
            parse_quarantine(&bytes);
        }
    }
}
