//! A mark file: the newest whole slot wins, and a mark that is believed makes sense.
#![no_main]

use krappy::segment::mark::{self, MOST_OFFSET, Mark, SLOT};
use krappy_fuzz::memory;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|input: &[u8]| {
    let newest = memory::bounded(input.len(), || mark::newest(input));
    let slots = mark::slots(input);
    for found in slots.iter().flatten() {
        assert_eq!(Mark::decode(&found.encode()), Some(*found));
        assert!((0..MOST_OFFSET).contains(&found.log_start));
        assert!((0..MOST_OFFSET).contains(&found.durable.segment));
        assert!((found.durable.segment..MOST_OFFSET).contains(&found.durable.offset));
        assert!(newest.is_some_and(|n| n.generation >= found.generation));
    }
    assert_eq!(newest.is_none(), slots == [None, None]);
    if let Some(newest) = newest {
        assert!(slots.contains(&Some(newest)));
    }
});

// Checksums are mended three times out of four, or nothing behind them would be reached.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    if !seed.is_multiple_of(4) {
        for slot in data[..size].as_chunks_mut::<SLOT>().0 {
            slot[..8].copy_from_slice(b"KRAPPYMK");
            let crc = krappy_fuzz::naive::crc32(&slot[..SLOT - 4]);
            slot[SLOT - 4..].copy_from_slice(&crc.to_be_bytes());
        }
    }
    size
});
