//! What is kept of a queue: whatever is read back makes sense, is not larger than allowed, and written again it is the
//! same. The first byte says whether the rest is a key.
#![no_main]

use krappy::groups::queue::MOST_OPEN;
use krappy::groups::queue::state::{Place, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&kind, bytes)) = input.split_first() else { return };
    if kind & 1 == 1 {
        if let Some(place) = Place::read(bytes) {
            assert_eq!(place.key(), bytes);
        }
        return;
    }
    let Some((window, topic)) = decode(bytes) else { return };
    window.invariants();
    assert!(window.len() <= MOST_OPEN && window.start() <= window.next());
    let written = encode(&window, &topic);
    let (again, _) = decode(&written).expect("it has just been written");
    assert_eq!(
        (again.start(), again.next(), again.counts()),
        (window.start(), window.next(), window.counts())
    );
    assert_eq!(encode(&again, &topic), written);
});
