//! A run file: refused, or found damaged, or it passes the check, and then each of its entries is found and no other.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use krappy::disk::sim::SimDisk;
use krappy::lsm::footer::{FOOTER, Footer};
use krappy::lsm::index::Index;
use krappy::lsm::seal::{SEAL, seal};
use krappy::lsm::{Access, ReadError, Run};
use krappy_fuzz::memory;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

const NUMBER: u64 = 42;
/// Entries that are looked for.
const STEPS: usize = 200;

fuzz_target!(|input: &[u8]| {
    let (disk, path) = (SimDisk::new(1), Path::new("/000042.run"));
    disk.set_raw(path, input).expect("the simulated disk is in order");
    let Ok(run) = memory::bounded(input.len(), || Run::inspect(&disk, path)) else { return };
    let run = Arc::new(run);
    let good = memory::bounded(input.len(), || run.verify()).is_ok();
    match walk(&run) {
        Ok(entries) => assert!(!good || entries == run.meta().entries),
        Err(e) => assert!(!good && matches!(e, ReadError::Corrupt(_)), "{e}"),
    }
    let mut backwards = run.iter(Access::Blocking);
    let mut went = backwards.seek_back(None, false);
    for _ in 0..STEPS {
        went = went.and_then(|()| backwards.prev());
    }
    assert!(!good || went.is_ok());
    if good {
        find_each(&run).expect("it has passed the check");
    }
});

fn walk(run: &Arc<Run>) -> Result<u64, ReadError> {
    let mut iter = run.iter(Access::Cached);
    iter.first()?;
    let mut entries = 0;
    while iter.entry().is_some() {
        entries += 1;
        iter.next()?;
    }
    Ok(entries)
}

fn find_each(run: &Arc<Run>) -> Result<(), ReadError> {
    let (mut iter, mut other, mut scratch) = (run.iter(Access::Cached), run.iter(Access::Cached), Vec::new());
    iter.first()?;
    for _ in 0..STEPS {
        let Some(entry) = iter.entry() else { break };
        assert!(run.may_hold(entry.key));
        let found = run.get(entry.key, entry.seq, Access::Cached, &mut scratch)?.expect("it is there");
        assert_eq!((found.0, found.1, &scratch[found.2]), (entry.seq, entry.kind, entry.value));
        other.seek(entry.key, entry.seq)?;
        assert_eq!(other.entry(), Some(entry));
        iter.next()?;
    }
    Ok(())
}

// Footer and seals are mended three times out of four, or nothing behind them would be reached.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    if !seed.is_multiple_of(4) {
        mend(&mut data[..size]);
    }
    size
});

/// Seals the parts that the footer names, and the blocks that the index names, as far as they lie in the file.
fn mend(data: &mut [u8]) -> Option<()> {
    let end = data.len().checked_sub(FOOTER)?;
    let u64_at =
        |at: usize| u64::from_be_bytes(data[end + at..end + at + 8].try_into().expect("eight bytes"));
    let footer = Footer {
        number: NUMBER,
        entries: u64_at(20),
        tombstones: u64_at(28),
        min_seq: u64_at(36).cast_signed(),
        max_seq: u64_at(44).cast_signed(),
        filter: u64_at(52),
        index: u64_at(60),
    };
    data[end..].copy_from_slice(&footer.encode());
    mend_part(data, footer.filter, footer.index)?;
    mend_part(data, footer.index, end as u64)?;
    let index = data[footer.index as usize..end - SEAL].to_vec();
    let index = Index::parse(index, footer.filter).ok()?;
    for n in 0..index.blocks() {
        let range = index.range(n);
        mend_part(data, range.start, range.end)?;
    }
    Some(())
}

fn mend_part(data: &mut [u8], from: u64, to: u64) -> Option<()> {
    let part = data.get_mut(usize::try_from(from).ok()?..usize::try_from(to).ok()?)?;
    let content = part.len().checked_sub(SEAL)?;
    let mut sealed = part[..content].to_vec();
    seal(&mut sealed, 0, NUMBER, from);
    part.copy_from_slice(&sealed);
    Some(())
}
