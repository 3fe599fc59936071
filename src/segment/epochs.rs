//! Which leader epoch holds at which offset: for each epoch in which something was appended, where it begins. A client
//! that knows the epoch of what it has read learns from it whether that is still there.
//!
//! The file is text, whole or absent:
//!
//! ```text
//! krappy epochs 1
//! 7 from 0
//! 9 from 4711
//! crc dae1e4e4
//! ```
//!
//! The last line is the CRC-32 of everything before it. What the file says is also in the header of every batch; it
//! saves a start from looking at all of them.
//!
//! Invariants: epochs and offsets rise strictly. The durable mark never passes the first batch of an epoch that the
//! file does not have: what lies above the mark, a start walks anyway. So an epoch is durable with its first record,
//! and an append costs no sync of this file.

use std::fmt::Write;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::mark::MOST_OFFSET;
use super::sync::Names;
use crate::disk::{self, Disk};

/// The file's name in the partition's directory.
pub const NAME: &str = "epochs";
const TITLE: &str = "krappy epochs 1\n";

/// Epochs and the offset at which each begins, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Epochs(Vec<(i32, i64)>);

impl Epochs {
    /// Notes that a batch at this offset has this epoch. One that would break the order is damage and is passed over.
    pub fn note(&mut self, epoch: i32, offset: i64) {
        if epoch >= 0 && self.0.last().is_none_or(|last| last.0 < epoch && last.1 < offset) {
            self.0.push((epoch, offset));
        }
    }

    /// Something is appended at this offset with this epoch, which is newer than all that was appended before. `start`
    /// is the log start offset; epochs that end below it are forgotten.
    pub(super) fn begin(&mut self, epoch: i32, offset: i64, start: i64) {
        self.0.retain(|last| last.0 < epoch && last.1 < offset);
        self.0.push((epoch, offset));
        let gone = self.0.iter().skip(1).take_while(|next| next.1 <= start).count();
        self.0.drain(..gone);
    }

    /// Forgets what begins at this offset or behind it.
    pub(super) fn truncate(&mut self, end: i64) {
        self.0.retain(|epoch| epoch.1 < end);
    }

    /// Forgets epochs that are newer than this one.
    pub(super) fn forget_newer(&mut self, epoch: i32) {
        self.0.retain(|known| known.0 <= epoch);
    }

    /// The newest.
    pub fn last(&self) -> Option<i32> {
        self.0.last().map(|last| last.0)
    }

    /// The epoch of the record at this offset; that of the first which is known, if it lies below.
    pub fn at(&self, offset: i64) -> Option<i32> {
        let next = self.0.partition_point(|epoch| epoch.1 <= offset);
        self.0.get(next.saturating_sub(1)).map(|epoch| epoch.0)
    }

    /// Where what was appended by the end of this epoch ends, and the newest epoch until then: the next epoch begins
    /// there. `current` ends at `end`, whether anything was appended in it or not. `None`: this epoch was never there.
    pub fn end_of(&self, epoch: i32, current: i32, end: i64) -> Option<(i32, i64)> {
        if epoch >= current {
            return (epoch == current).then_some((epoch, end));
        }
        let next = self.0.partition_point(|known| known.0 <= epoch);
        let ends = self.0.get(next).map_or(end, |next| next.1);
        let newest = next.checked_sub(1).map_or(epoch, |last| self.0[last].0);
        (epoch >= 0).then_some((newest, ends))
    }

    /// Epochs and where they begin.
    pub fn iter(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        self.0.iter().copied()
    }

    /// The file's content.
    pub fn format(&self) -> String {
        let mut out = TITLE.to_owned();
        for (epoch, offset) in &self.0 {
            writeln!(out, "{epoch} from {offset}").expect("writing to a string does not fail");
        }
        let crc = crc32fast::hash(out.as_bytes());
        out + &format!("crc {crc:08x}\n")
    }

    /// Reads the file; `None` if it is damaged.
    pub fn parse(bytes: &[u8]) -> Option<Epochs> {
        let text = str::from_utf8(bytes).ok()?;
        let body = &text[..text.trim_end_matches('\n').rfind('\n')? + 1];
        let crc = text[body.len()..].strip_prefix("crc ")?.strip_suffix('\n')?;
        if format!("{:08x}", crc32fast::hash(body.as_bytes())) != crc {
            return None;
        }
        let lines = body.strip_prefix(TITLE)?.lines();
        let list: Vec<_> = lines.map(parse_line).collect::<Option<_>>()?;
        list.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1).then_some(Epochs(list))
    }
}

fn parse_line(line: &str) -> Option<(i32, i64)> {
    let (epoch, offset) = line.split_once(" from ")?;
    let (epoch, offset) = (epoch.parse().ok()?, offset.parse().ok()?);
    (epoch >= 0 && (0..MOST_OFFSET).contains(&offset)).then_some((epoch, offset))
}

/// The file, written by whatever worker is about to move the mark.
pub(super) struct EpochFile {
    disk: Arc<dyn Disk>,
    dir: Arc<Path>,
    names: Arc<Names>,
    /// What the file says; `None` when there is none, or nobody knows. Only workers take this lock.
    says: Mutex<Option<Arc<Epochs>>>,
}

/// Epochs on their way to their file.
pub(super) struct EpochWrite {
    pub file: Arc<EpochFile>,
    pub epochs: Arc<Epochs>,
}

impl EpochFile {
    pub fn new(disk: Arc<dyn Disk>, dir: Arc<Path>, names: Arc<Names>, says: Option<Arc<Epochs>>) -> Self {
        Self { disk, dir, names, says: Mutex::new(says) }
    }
}

impl EpochWrite {
    /// Runs on a worker before the mark is written. When it has returned, the file says this durably, or there is none:
    /// a start then looks at the batches. So a full disk does not keep the mark from moving.
    pub fn run(&self) -> io::Result<()> {
        let EpochFile { disk, dir, names, says } = &*self.file;
        let mut says = says.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = |epochs: &Epochs| epochs.0.last().map(|last| last.1);
        // Another worker may have brought more than this one knows of: each epoch begins behind all before it.
        if says.as_ref().is_some_and(|said| begins(said) >= begins(&self.epochs)) {
            return Ok(());
        }
        *says = None;
        let path = dir.join(NAME);
        match disk::swap_file(&**disk, &path, self.epochs.format().as_bytes()) {
            Ok(()) => *says = Some(self.epochs.clone()),
            Err(error) => {
                log::warn!("{}: cannot be written: {error}", path.display());
                match disk.remove_file(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
        }
        names.sync(&**disk, dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Epochs {
        Epochs(vec![(3, 0), (5, 100), (9, 4711)])
    }

    #[test]
    fn the_file_reads_back_and_reads_well() {
        let text = sample().format();
        assert_eq!(Epochs::parse(text.as_bytes()), Some(sample()));
        assert_eq!(text.lines().nth(2), Some("5 from 100"));
        assert_eq!(Epochs::parse(Epochs::default().format().as_bytes()), Some(Epochs::default()));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let good = sample().format().into_bytes();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Epochs::parse(&bad), None, "bit {bit}");
        }
        for cut in 0..good.len() {
            assert_eq!(Epochs::parse(&good[..cut]), None, "{cut}");
        }
        for nonsense in [vec![(5, 0), (3, 100)], vec![(3, 100), (5, 100)], vec![(-1, 0)], vec![(1, -1)]] {
            assert_eq!(Epochs::parse(Epochs(nonsense).format().as_bytes()), None);
        }
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_begins() {
        let epochs = sample();
        // As OffsetForLeaderEpoch of Kafka answers (`LeaderEpochFileCache.endOffsetFor`).
        for (asked, answer) in [
            (0, Some((0, 0))),
            (3, Some((3, 100))),
            (4, Some((3, 100))),
            (5, Some((5, 4711))),
            (9, Some((9, 5000))),
            (10, Some((9, 5000))),
            (11, Some((11, 5000))),
            (12, None),
            (-1, None),
        ] {
            assert_eq!(epochs.end_of(asked, 11, 5000), answer, "epoch {asked}");
        }
        assert_eq!(Epochs::default().end_of(2, 2, 0), Some((2, 0)));
    }

    #[test]
    fn every_offset_has_the_epoch_that_began_last() {
        let mut epochs = sample();
        for (offset, epoch) in [(0, 3), (99, 3), (100, 5), (4711, 9), (1 << 40, 9)] {
            assert_eq!(epochs.at(offset), Some(epoch));
        }
        assert_eq!(Epochs::default().at(0), None);
        epochs.begin(10, 5000, 200);
        assert_eq!(
            epochs.0,
            [(5, 100), (9, 4711), (10, 5000)],
            "what ended below the log start is forgotten"
        );
        epochs.begin(11, 5000, 200);
        assert_eq!(epochs.0, [(5, 100), (9, 4711), (11, 5000)], "nothing was appended in epoch 10");
        epochs.truncate(4711);
        assert_eq!(epochs.0, [(5, 100)]);
        for damage in [(4, 200), (5, 200), (6, 100), (-7, 300)] {
            epochs.note(damage.0, damage.1);
        }
        epochs.note(6, 200);
        assert_eq!(epochs.0, [(5, 100), (6, 200)]);
    }
}
