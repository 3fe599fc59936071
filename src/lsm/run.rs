//! A run file, open for reading: footer, index and filter in memory, blocks read as they are needed.
//!
//! Looking for one key costs a line of the filter, a binary search of the index, one read of one block, its checksum,
//! and a binary search of its restarts.
//!
//! Invariant: what is returned comes from bytes whose seal was checked in this very read.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::access::read_exact;
use super::block::{Block, Flaw};
use super::bloom::Filter;
use super::footer::{FOOTER, Footer};
use super::index::Index;
use super::iter::RunIter;
use super::meta::run_name;
use super::seal::{SEAL, unseal};
use super::{Access, Kind, ReadError, RunMeta};
use crate::disk::{Disk, File, Open};

/// A sorted, immutable file of entries.
pub struct Run {
    meta: RunMeta,
    path: PathBuf,
    file: Arc<dyn File>,
    index: Index,
    filter: Filter,
}

impl Run {
    /// Opens `<number>.run` and reads footer, index and filter. `InvalidData` when they are damaged or are not what
    /// `meta` says.
    pub fn open(disk: &dyn Disk, dir: &Path, meta: RunMeta) -> io::Result<Run> {
        let path = dir.join(run_name(meta.number));
        let run = Run::inspect(disk, &path)?;
        if run.meta == meta {
            return Ok(run);
        }
        Err(invalid(&path, &format!("it is not the run of the manifest: {:?}, not {meta:?}", run.meta)))
    }

    /// Opens a run file of which nothing is known.
    pub fn inspect(disk: &dyn Disk, path: &Path) -> io::Result<Run> {
        let file = disk.open(path, Open::Read)?;
        let len = file.len()?;
        let footer = read_footer(&file, len)?.ok_or_else(|| invalid(path, "the footer is damaged"))?;
        let part = |name: &str, range: Range<u64>| {
            let bytes = read_part(&file, footer.number, range.clone())?;
            bytes.ok_or_else(|| invalid(path, &format!("the {name} at byte {} is damaged", range.start)))
        };
        let filter = part("filter", footer.filter..footer.index)?;
        let filter = Filter::new(&filter).ok_or_else(|| invalid(path, "the filter has no whole lines"))?;
        let index = part("index", footer.index..len - FOOTER as u64)?;
        let index = Index::parse(index, footer.filter)
            .map_err(|flaw| invalid(path, &format!("index at byte {}: {flaw}", footer.index)))?;
        let meta = RunMeta {
            number: footer.number,
            bytes: len,
            entries: footer.entries,
            tombstones: footer.tombstones,
            smallest: index.smallest().to_vec(),
            largest: index.largest().to_vec(),
            min_seq: footer.min_seq,
            max_seq: footer.max_seq,
        };
        Ok(Run { meta, path: path.to_owned(), file, index, filter })
    }

    /// What the manifest says about it.
    pub fn meta(&self) -> &RunMeta {
        &self.meta
    }

    /// Whether the key may be in here: `false` is certain.
    pub fn may_hold(&self, key: &[u8]) -> bool {
        self.meta.smallest[..] <= *key && *key <= self.meta.largest[..] && self.filter.may_hold(key)
    }

    /// The newest version of `key` with a sequence number of at most `as_of`; its value lies in `scratch` at the range
    /// returned. The filter is not asked.
    pub fn get(
        &self,
        key: &[u8],
        as_of: i64,
        access: Access,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<(i64, Kind, Range<usize>)>, ReadError> {
        let n = self.index.find((key, as_of));
        let bytes = self.read_into(n, access, scratch)?;
        let found = self.block(n, bytes)?.find(key, as_of).map_err(|flaw| self.corrupt(n, flaw))?;
        Ok(found.map(|found| (found.seq, found.kind, found.value)))
    }

    /// A block by its number, read into `scratch`, for tools: it may wait for the device.
    pub fn read_block<'a>(&self, n: usize, scratch: &'a mut Vec<u8>) -> Result<Block<'a>, ReadError> {
        let bytes = self.read_into(n, Access::Blocking, scratch)?;
        self.block(n, bytes)
    }

    /// An iterator that is nowhere yet: seek it first.
    pub fn iter(self: &Arc<Self>, access: Access) -> RunIter {
        RunIter::new(self.clone(), access)
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.index.blocks()
    }

    /// The bytes of the file that are this block.
    pub fn block_range(&self, n: usize) -> Range<u64> {
        self.index.range(n)
    }

    pub(super) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of a block, in `scratch`, which never shrinks: growing again would mean to fill it with zeros.
    fn read_into<'a>(
        &self,
        n: usize,
        access: Access,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], ReadError> {
        let at = self.index.range(n);
        let len = (at.end - at.start) as usize;
        if scratch.len() < len {
            scratch.resize(len, 0);
        }
        let bytes = &mut scratch[..len];
        match read_exact(&self.file, at.start, bytes, access)? {
            true => Ok(bytes),
            false => Err(self.corrupt(n, "the file ends within it")),
        }
    }

    /// The block in these bytes, which were read from where the `n`th block lies.
    pub(super) fn block<'a>(&self, n: usize, bytes: &'a [u8]) -> Result<Block<'a>, ReadError> {
        let content = unseal(bytes, self.meta.number, self.index.range(n).start)
            .ok_or_else(|| self.corrupt(n, "it fails its checksum"))?;
        Block::new(content).map_err(|flaw| self.corrupt(n, flaw))
    }

    pub(super) fn corrupt(&self, n: usize, flaw: Flaw) -> ReadError {
        let at = self.index.range(n).start;
        ReadError::Corrupt(format!("{}: block at byte {at}: {flaw}", self.path.display()))
    }
}

fn read_footer(file: &Arc<dyn File>, len: u64) -> io::Result<Option<Footer>> {
    let Some(at) = len.checked_sub(FOOTER as u64) else { return Ok(None) };
    let mut bytes = [0; FOOTER];
    let whole = file.read_at(at, &mut bytes)? == FOOTER;
    Ok(Footer::decode(&bytes, len).filter(|_| whole))
}

/// The content of a sealed part. Its range lies within the file, so memory is taken for bytes that are there.
fn read_part(file: &Arc<dyn File>, number: u64, range: Range<u64>) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let n = file.read_at(range.start, &mut bytes)?;
    if unseal(&bytes[..n], number, range.start).is_none() {
        return Ok(None);
    }
    bytes.truncate(n - SEAL);
    Ok(Some(bytes))
}

fn invalid(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::MOST_KEY;
    use super::super::testing::*;
    use super::super::writer::BLOCK;
    use super::*;
    use crate::disk::sim::Rng;

    #[test]
    fn each_version_of_each_key_is_found_and_no_other() {
        let mut rng = Rng::new(1);
        let (sim, disk) = disk(1);
        sim.cold(0.5);
        for count in [1, 10, 3_000] {
            let entries = random_entries(&mut rng, count);
            let meta = write_run(&*disk, 7, &entries);
            let run = open_run(&*disk, &meta);
            assert!(count < 3_000 || run.blocks() > 10);
            for probe in entries.iter().step_by(1 + count / 500).chain(&random_entries(&mut rng, 300)) {
                for as_of in [probe.seq, probe.seq - 1, i64::MAX] {
                    let expected = naive_get(&entries, &probe.key, as_of);
                    assert_eq!(get(&run, &probe.key, as_of).unwrap(), expected);
                    assert!(expected.is_none() || run.may_hold(&probe.key));
                }
            }
        }
    }

    #[test]
    fn extreme_entries_are_kept() {
        let (_, disk) = disk(1);
        let long = |last: u8| [&[b'k'; MOST_KEY - 1][..], &[last]].concat();
        let mut entries = vec![Owned::put("", 5, ""), Owned::tombstone("", 4)];
        entries.push(Owned { value: b"of a tombstone".to_vec(), ..Owned::tombstone("a", 9) });
        // Versions of one key across many borders of blocks.
        entries.extend((0..500).rev().map(|seq| Owned::put("b", 10 + seq, vec![seq as u8; 100])));
        entries.push(Owned::put("c", 3, vec![1; 3 << 20]));
        entries.extend((0..20).map(|n| Owned::put(long(n), i64::from(n), "v")));
        let meta = write_run(&*disk, 1, &entries);
        let seqs = (meta.min_seq, meta.max_seq);
        assert_eq!((meta.entries, meta.tombstones, seqs), (entries.len() as u64, 2, (0, 509)));
        let run = open_run(&*disk, &meta);
        assert!(entries.iter().all(|e| get(&run, &e.key, e.seq).unwrap().as_ref() == Some(e)));
        assert_eq!(get(&run, b"b", 9).unwrap(), None);
        assert_eq!(get(&run, b"b", i64::MAX).unwrap().unwrap().seq, 509);
    }

    #[test]
    fn most_keys_that_are_not_there_are_denied() {
        let (_, disk) = disk(1);
        let key = |n: i64| format!("key {n:06}");
        let entries: Vec<Owned> = (0..5_000).map(|n| Owned::put(key(2 * n), n, "v")).collect();
        let run = open_run(&*disk, &write_run(&*disk, 1, &entries));
        assert!((0..5_000).all(|n| run.may_hold(key(2 * n).as_bytes())));
        let passed = (0..5_000).filter(|n| run.may_hold(key(2 * n + 1).as_bytes())).count();
        assert!(passed < 150, "{passed}");
        assert!(!run.may_hold(b"key") && !run.may_hold(b"z"), "outside the range");
    }

    #[test]
    fn a_read_from_the_poll_loop_never_waits() {
        let (sim, disk) = disk(1);
        let run = open_run(&*disk, &write_run(&*disk, 1, &[Owned::put("k", 1, "v")]));
        sim.cold(1.0);
        let mut scratch = Vec::new();
        assert!(matches!(run.get(b"k", 9, Access::Cached, &mut scratch), Err(ReadError::Cold(_))));
        assert!(run.get(b"k", 9, Access::Blocking, &mut scratch).unwrap().is_some());
    }

    #[test]
    fn a_device_error_is_reported_as_one() {
        let (sim, disk) = disk(1);
        let run = open_run(&*disk, &write_run(&*disk, 1, &[Owned::put("k", 1, "v")]));
        sim.break_range(&Path::new(DIR).join("000001.run"), 0, 4).unwrap();
        assert!(matches!(get(&run, b"k", 9), Err(ReadError::Io(_))));
    }

    #[test]
    fn a_run_that_is_not_what_the_manifest_says_is_refused() {
        let (_, disk) = disk(1);
        let meta = write_run(&*disk, 1, &[Owned::put("k", 1, "v"), Owned::tombstone("l", 2)]);
        for wrong in [
            RunMeta { bytes: meta.bytes + 1, ..meta.clone() },
            RunMeta { entries: 3, ..meta.clone() },
            RunMeta { tombstones: 0, ..meta.clone() },
            RunMeta { smallest: b"j".to_vec(), ..meta.clone() },
            RunMeta { largest: b"m".to_vec(), ..meta.clone() },
            RunMeta { min_seq: 0, ..meta.clone() },
            RunMeta { max_seq: 3, ..meta.clone() },
        ] {
            let error = Run::open(&*disk, Path::new(DIR), wrong).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        disk.rename(&Path::new(DIR).join("000001.run"), &Path::new(DIR).join("000002.run")).unwrap();
        let error = Run::open(&*disk, Path::new(DIR), RunMeta { number: 2, ..meta }).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn blocks_of_two_runs_cannot_be_exchanged() {
        let (sim, disk) = disk(1);
        let entries = random_entries(&mut Rng::new(1), 2_000);
        let metas = [1, 2].map(|number| write_run(&*disk, number, &entries));
        let run = open_run(&*disk, &metas[0]);
        let paths = [1, 2].map(|number| Path::new(DIR).join(run_name(number)));
        let other = sim.raw(&paths[1]).unwrap();
        let mut mixed = sim.raw(&paths[0]).unwrap();
        let first = run.block_range(0).end as usize;
        mixed[..first].copy_from_slice(&other[..first]);
        sim.set_raw(&paths[0], &mixed).unwrap();
        assert!(matches!(get(&run, &entries[0].key, i64::MAX), Err(ReadError::Corrupt(_))));
    }

    /// Everything that can be asked of a run: the right answers, or that it is damaged.
    fn answers(disk: &dyn Disk, meta: &RunMeta, entries: &[Owned]) -> bool {
        let run = match Run::open(disk, Path::new(DIR), meta.clone()) {
            Ok(run) => Arc::new(run),
            Err(e) => {
                assert_eq!(e.kind(), io::ErrorKind::InvalidData, "{e}");
                return false;
            }
        };
        let mut good = true;
        for n in 0..run.blocks() {
            let at = run.block_range(n).start;
            let probe = &entries[entries.len() * n / run.blocks()];
            assert!(run.may_hold(&probe.key));
            match get(&run, &probe.key, probe.seq) {
                Ok(found) => assert_eq!(found.as_ref(), Some(probe)),
                Err(ReadError::Corrupt(why)) => {
                    good = false;
                    assert!(why.starts_with("/view/000003.run: block at byte "), "{why}");
                }
                Err(e) => panic!("{e} at {at}"),
            }
        }
        let mut iter = run.iter(Access::Cached);
        let mut walk = || -> Result<(), ReadError> {
            iter.first()?;
            for expected in entries {
                assert_eq!(iter.entry(), Some(expected.entry()));
                iter.next()?;
            }
            assert_eq!(iter.entry(), None);
            Ok(())
        };
        match walk() {
            Ok(()) => good,
            Err(ReadError::Corrupt(_)) => false,
            Err(e) => panic!("{e}"),
        }
    }

    /// Flips every bit of the metadata, and every bit of every 64th byte of the blocks.
    #[test]
    fn no_damage_to_a_run_leads_to_a_wrong_answer() {
        let (sim, disk) = disk(1);
        let entries = random_entries(&mut Rng::new(5), 300);
        let meta = write_run(&*disk, 3, &entries);
        let path = Path::new(DIR).join("000003.run");
        let run = open_run(&*disk, &meta);
        let blocks = run.block_range(run.blocks() - 1).end;
        assert!(run.blocks() > 2 && blocks > 2 * BLOCK as u64);
        assert!(answers(&*disk, &meta, &entries));
        let bytes = (0..blocks).step_by(64).chain(blocks..meta.bytes);
        for bit in bytes.flat_map(|byte| byte * 8..byte * 8 + 8) {
            sim.flip_bit(&path, bit).unwrap();
            assert!(!answers(&*disk, &meta, &entries), "bit {bit} went unnoticed");
            sim.flip_bit(&path, bit).unwrap();
        }
        let good = sim.raw(&path).unwrap();
        for cut in (0..good.len()).step_by(37).chain(good.len() - 80..good.len()) {
            sim.set_raw(&path, &good[..cut]).unwrap();
            assert!(!answers(&*disk, &meta, &entries), "cut at {cut}");
        }
    }

    #[test]
    fn a_file_that_shrinks_while_it_is_open_is_damaged() {
        let (sim, disk) = disk(1);
        let entries = random_entries(&mut Rng::new(5), 300);
        let run = open_run(&*disk, &write_run(&*disk, 3, &entries));
        sim.set_raw(&Path::new(DIR).join("000003.run"), &[]).unwrap();
        assert!(matches!(get(&run, &entries[0].key, 5), Err(ReadError::Corrupt(_))));
    }
}
