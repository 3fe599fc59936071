//! A manifest: what is believed makes sense, a torn end changes nothing about it, and written again it is the same.
#![no_main]

use krappy::lsm::manifest::{self, HEADER};
use krappy::lsm::record::{self, Record, TRACE};
use krappy_fuzz::{memory, naive};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

const NUMBER: u64 = 7;
/// Bytes of a record before its body.
const HEAD: usize = 8;

/// A run with two empty keys is 57 bytes of a manifest and 96 of memory, in an edit and in two lists that grow.
const FACTOR: usize = 12;

fuzz_target!(|input: &[u8]| {
    let replay = |bytes: &[u8]| manifest::replay(NUMBER, bytes, &mut |_, _| {});
    let Ok(replayed) = memory::bounded_by(FACTOR, input.len(), || replay(input)) else { return };
    let tip = replayed.tip;
    for (level, runs) in tip.levels.iter().enumerate() {
        for run in runs {
            assert!(
                run.number < tip.next_number && run.smallest <= run.largest && run.min_seq <= run.max_seq
            );
        }
        assert!(level == 0 || runs.is_sorted_by(|a, b| a.largest < b.smallest));
    }
    if let Some(torn) = replayed.torn {
        let whole = replay(&input[..torn]).expect("what lies before the torn record is whole");
        assert_eq!((&whole.tip, whole.torn), (&tip, None));
    }
    let bytes = record::snapshot(&tip, NUMBER, 0);
    let body = record::body(&bytes, NUMBER, 0).expect("it has just been written");
    assert_eq!(record::decode(body), Ok(Record::Snapshot(tip)));
});

// Header and checksums are mended three times out of four, or nothing behind them would be reached.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    if !seed.is_multiple_of(4) && size >= HEADER {
        data[..HEADER].copy_from_slice(&manifest::header(NUMBER));
        mend_records(&mut data[..size]);
    }
    size
});

fn mend_records(data: &mut [u8]) {
    let mut at = HEADER;
    while let Some(head) = data.get(at..at + HEAD) {
        let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(body) = data.get(at + HEAD..at + HEAD + len) else { return };
        let place = [NUMBER.to_be_bytes(), (at as u64).to_be_bytes()].concat();
        let crc = naive::crc32(&[&place, &head[..4], body].concat());
        data[at + 4..at + HEAD].copy_from_slice(&crc.to_be_bytes());
        at += HEAD + len + TRACE;
    }
}
