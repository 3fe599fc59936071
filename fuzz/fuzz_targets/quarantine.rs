//! The list of damaged ranges: refused, or writing it again gives the same list.
#![no_main]

use krappy::segment::quarantine;
use krappy_fuzz::{memory, naive};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|input: &[u8]| {
    let Some(holes) = memory::bounded(input.len(), || quarantine::parse(input)) else { return };
    for hole in &holes {
        assert!(hole.from < hole.to && hole.segment <= hole.first && hole.first <= hole.last);
    }
    assert_eq!(quarantine::parse(quarantine::format(&holes).as_bytes()), Some(holes));
});

// The last line, which is the checksum, is written anew three times out of four.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    let last_line = data[..size].trim_ascii_end().iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    let whole = last_line + "crc 01234567\n".len();
    if seed.is_multiple_of(4) || whole > max_size {
        return size;
    }
    let line = format!("crc {:08x}\n", naive::crc32(&data[..last_line]));
    data[last_line..whole].copy_from_slice(line.as_bytes());
    whole
});
