//! Whatever lies in a partition's folder, recovery opens it or refuses, and what is read afterwards are whole batches
//! that were there before. Here even the mark may lie under a checksum that is right; what is kept of an honest log is
//! the business of `segment_recover`.
#![no_main]

use std::sync::Arc;

use krappy::disk::Disk;
use krappy_fuzz::image;
use krappy_fuzz::reread::open;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

/// A longer input shows nothing new.
const LONGEST: usize = 2 << 10;

fuzz_target!(|input: &[u8]| {
    let Some((plan, files)) = image::plan(input).filter(|_| input.len() <= LONGEST) else { return };
    let disk: Arc<dyn Disk> = plan.disk(files);
    let (one, two) = plan.files(files);
    // After a clean stop the mark is believed without looking; a second start looks.
    for clean in [plan.clean, false] {
        let Some(opened) = open(&disk, clean) else { return };
        for batch in &opened.batches {
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
