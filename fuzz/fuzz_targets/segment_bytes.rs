//! Whatever lies in a partition's folder, recovery opens it or refuses, and what is read afterwards are whole batches
//! that were there before. Here even the mark may lie under a checksum that is right; what is kept of an honest log is
//! the business of `segment_recover`.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use krappy::chunk::Buffers;
use krappy::disk::Disk;
use krappy::segment::{Log, LogSettings, Read, ReadError};
use krappy_fuzz::image::{self, DIR};
use krappy_wire::batch;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

const SETTINGS: LogSettings =
    LogSettings { segment_bytes: 1 << 20, segment_ms: 1_000, index_interval_bytes: 128 };

/// A longer input shows nothing new.
const LONGEST: usize = 2 << 10;

fuzz_target!(|input: &[u8]| {
    let Some((plan, files)) = image::plan(input).filter(|_| input.len() <= LONGEST) else { return };
    let disk: Arc<dyn Disk> = plan.disk(files);
    let (one, two) = plan.files(files);
    // After a clean stop the mark is believed without looking; a second start looks.
    for clean in [plan.clean, false] {
        let Some(batches) = open(&disk, clean) else { return };
        for batch in &batches {
            let is_there = |file: &[u8]| file.windows(batch.len()).any(|bytes| bytes == batch);
            assert!(is_there(one) || is_there(two), "a batch that nobody appended");
        }
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    if !seed.is_multiple_of(4) {
        image::repair(&mut data[..size]);
    }
    size
});

/// Opens the log and reads all of it; every batch must be whole and lie where its offset says.
fn open(disk: &Arc<dyn Disk>, clean: bool) -> Option<Vec<Vec<u8>>> {
    let (log, _) = Log::open(disk, Path::new(DIR), clean, None, &SETTINGS, &mut |_| {}).ok()?;
    let (start, end) = (log.start_offset(), log.end_offset());
    assert!(start <= end && log.durable_offset() <= end);
    let mut batches = Vec::new();
    let mut buffers = Buffers::new(1 << 20);
    let mut at = start;
    while at < end {
        match log.read(at, end, 4 << 10, &mut buffers) {
            Ok(Read::Batches { chunk, next }) => {
                assert!(next > at, "reading moves on");
                let mut bytes = chunk.as_slice();
                while !bytes.is_empty() {
                    let (header, batch) = batch::first(bytes).expect("only whole batches are handed out");
                    assert!(header.next_offset() > at);
                    at = header.next_offset();
                    batches.push(batch.to_vec());
                    bytes = &bytes[batch.len()..];
                }
                assert_eq!(at, next);
            }
            Ok(Read::Cold(warm)) => warm.run().expect("the simulated disk is in order"),
            Ok(Read::Empty) => break,
            Err(ReadError::Corrupt { first, last }) => {
                assert!(first <= last && last >= at);
                at = last + 1;
            }
            Err(other) => panic!("offset {at} of {start}..{end}: {other:?}"),
        }
    }
    Some(batches)
}
