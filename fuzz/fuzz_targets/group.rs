//! Calls of consumer groups, made of bytes, under the witness that the tests use, too.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/groups/driver.rs"]
mod driver;
#[allow(dead_code)]
#[path = "../../tests/groups/witness.rs"]
mod witness;

use driver::{Driver, Op};
use libfuzzer_sys::{Corpus, fuzz_target};

/// Bytes of one call.
const OP: usize = 5;
/// A longer history shows nothing new.
const MOST: usize = 400;

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((shape, rest)) = input.split_first_chunk() else { return Corpus::Reject };
    if rest.len() > MOST * OP {
        return Corpus::Reject;
    }
    let mut driver = Driver::new(u16::from_be_bytes(*shape));
    for &[code, a, b, c, d] in rest.as_chunks::<OP>().0 {
        driver.step(Op::of(code, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])));
    }
    driver.settle();
    Corpus::Keep
});
