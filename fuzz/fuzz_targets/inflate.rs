//! Packed records: whatever they are, they unpack within the cap, in little memory, or not at all; and what unpacked is
//! the same after it has been packed again.
#![no_main]

use krappy_fuzz::memory;
use krappy_wire::compress;
use libfuzzer_sys::fuzz_target;

const CAP: usize = 256 << 10;
/// What the codecs may need beside the output: three blocks of lz4 of 4 MiB and a little, or twice a window of zstd.
const WORKSPACE: usize = 20 << 20;

fuzz_target!(|input: &[u8]| {
    let [codec, packed @ ..] = input else { return };
    // The first byte of a seed is the number of a codec; others are folded onto them.
    let codec = i16::from(codec % 5);
    let mut out = Vec::new();
    let room = packed.len() + (WORKSPACE + 2 * CAP) / memory::FACTOR;
    let unpacked = memory::bounded(room, || compress::unpack(codec, packed, CAP, &mut out));
    assert!(out.len() <= CAP);
    if unpacked.is_err() {
        return;
    }
    let (mut again, mut same) = (Vec::new(), Vec::new());
    compress::pack(codec, &out, &mut again).expect("a known codec");
    compress::unpack(codec, &again, CAP, &mut same).expect("what was packed unpacks");
    assert!(same == out);
});
