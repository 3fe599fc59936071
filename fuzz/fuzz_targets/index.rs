//! An index file: what is believed of it is a prefix of what lies there, in order, and writing it again gives the
//! bytes.
#![no_main]

use krappy::segment::index::{self, ENTRY, Entry, HEADER};
use krappy_fuzz::memory;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

const BASE: i64 = 4711;

fuzz_target!(|input: &[u8]| {
    let parsed = memory::bounded(input.len(), || index::parse(BASE, input));
    if parsed.entries.is_empty() {
        assert!(parsed.damage.is_some() || input.len() == HEADER);
        return;
    }
    let mut again = index::header(BASE).to_vec();
    for entry in &parsed.entries {
        again.extend_from_slice(&index::encode(BASE, entry));
    }
    assert_eq!(again, input[..again.len()]);
    assert_eq!(parsed.damage.is_none(), again.len() == input.len());
    assert_eq!(parsed.entries[0], Entry::START);
    assert!(parsed.entries.is_sorted_by_key(|e| (e.relative, e.position)));
    for (i, entry) in parsed.entries.iter().enumerate() {
        assert_eq!(index::floor(&parsed.entries, entry.relative), i);
        assert!(index::floor_timestamp(&parsed.entries, entry.max_timestamp) <= i);
    }
});

// Checksums are mended three times out of four, or nothing behind them would be reached.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    if !seed.is_multiple_of(4) && size >= HEADER {
        data[..HEADER].copy_from_slice(&index::header(BASE));
        for entry in data[HEADER..size].as_chunks_mut::<ENTRY>().0 {
            let u32_at = |at: usize| u32::from_be_bytes(entry[at..at + 4].try_into().expect("four bytes"));
            let max_timestamp = i64::from_be_bytes(entry[8..16].try_into().expect("eight bytes"));
            let whole = Entry { relative: u32_at(0), position: u32_at(4), max_timestamp };
            *entry = index::encode(BASE, &whole);
        }
    }
    size
});
