//! A block of a run: whatever it holds, walking it forwards and backwards meets the same entries; one that passes its
//! check gives each of them to whoever looks for it.
#![no_main]

use krappy::lsm::block::{Block, Cursor, Flaw};
use krappy_fuzz::memory;
use libfuzzer_sys::fuzz_target;

/// A walk backwards goes over all entries since the last restart for each step, so it is not taken to the end.
const STEPS: usize = 200;

fuzz_target!(|input: &[u8]| {
    let Ok(block) = Block::new(input) else { return };
    let verified = memory::bounded(input.len(), || block.verify());
    let forwards =
        memory::bounded(input.len() * 4, || starts(&block, Cursor::first, Cursor::next, usize::MAX));
    let backwards = starts(&block, Cursor::last, Cursor::prev, STEPS);
    let _ = (block.find(b"", 0), block.find(b"key", 7), Cursor::default().seek(&block, (b"key", 7)));

    let Ok(entries) = verified else { return };
    let (forwards, backwards) = (forwards.expect("it is in order"), backwards.expect("it is in order"));
    assert_eq!(forwards.len() as u64, entries);
    assert!(forwards.iter().rev().zip(&backwards).all(|(a, b)| a == b));
    assert_eq!(backwards.len(), forwards.len().min(STEPS));
    find_each(&block).expect("it is in order");
});

type Go = fn(&mut Cursor, &Block<'_>) -> Result<bool, Flaw>;

fn starts(block: &Block<'_>, begin: Go, step: Go, most: usize) -> Result<Vec<usize>, Flaw> {
    let (mut cursor, mut starts) = (Cursor::default(), Vec::new());
    let mut found = begin(&mut cursor, block)?;
    while found && starts.len() < most {
        starts.push(cursor.start());
        found = step(&mut cursor, block)?;
    }
    Ok(starts)
}

fn find_each(block: &Block<'_>) -> Result<(), Flaw> {
    let (mut cursor, mut other) = (Cursor::default(), Cursor::default());
    let mut more = cursor.first(block)?;
    for _ in 0..STEPS {
        if !more {
            break;
        }
        let entry = cursor.entry(block);
        let found = block.find(entry.key, entry.seq)?.expect("it is there");
        assert_eq!((found.seq, found.kind, found.value), (entry.seq, entry.kind, cursor.value()));
        assert!(other.seek(block, entry.place())? && other.entry(block) == entry);
        more = cursor.next(block)?;
    }
    Ok(())
}
