//! An honest log after a crash and some rot. Recovery keeps the undamaged batches below the mark and the undamaged
//! beginning of what lies above it, nothing else; and doing it again changes nothing.
#![no_main]

use std::sync::Arc;

use krappy::disk::Disk;
use krappy_fuzz::crash::{self, Crashed};
use krappy_fuzz::reread::open;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(crashed) = crash::parse(input) else { return };
    let disk: Arc<dyn Disk> = crashed.disk();
    let first = open(&disk, false).expect("an honest log opens, however damaged");

    // Without the mark nothing is known to have been durable, so all that can be asked for is the undamaged beginning.
    let durable = if crashed.marked { crashed.durable } else { 0 };
    let above = crashed.batches[durable..].iter().take_while(|b| !b.damaged).count();
    let kept = durable + above;
    for (n, batch) in crashed.batches[..kept].iter().enumerate() {
        let served = first.batches.contains(&batch.bytes);
        assert!(
            served || batch.damaged || may_be_set_apart(&crashed, n, durable),
            "{n}: a good batch is lost"
        );
    }
    let known = |bytes: &[u8]| crashed.batches.iter().any(|b| b.bytes == bytes && !b.damaged);
    assert!(first.batches.iter().all(|b| known(b)), "a batch is served that nobody appended");
    if crashed.marked {
        let end = crashed.batches[..kept].last().map_or(0, |b| b.next);
        assert_eq!((first.start, first.end), (0, end));
        assert!(first.batches.len() <= kept, "something is served from behind the first torn batch");
    }

    let mut again = open(&disk, false).expect("what was opened once opens again");
    assert_eq!((first.start, first.end, &first.batches), (again.start, again.end, &again.batches));
    again.log.close().expect("the simulated disk is in order");
    drop(again);
    let clean = open(&disk, true).expect("what was closed opens");
    assert_eq!((first.start, first.end, first.batches), (clean.start, clean.end, clean.batches));
});

/// Behind damage, a batch alone proves nothing, because the value of a record may look like one: it counts only if what
/// follows it agrees. So one between two damaged ones may be set apart with them, when no index tells where it begins.
fn may_be_set_apart(crashed: &Crashed, n: usize, durable: usize) -> bool {
    let damaged = |n: usize| crashed.batches[n].damaged;
    let goes_on = n + 1 == durable || crashed.begins_segment(n + 1) || !damaged(n + 1);
    n < durable && n > 0 && !crashed.begins_segment(n) && damaged(n - 1) && !goes_on
}
