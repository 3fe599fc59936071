//! A global allocator that counts, so that a target fails when an input of a few bytes makes the code take much memory.
//!
//! Invariant: counting is on only inside [`bounded`], so what libFuzzer itself allocates is not blamed on the input.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};

/// Live bytes an input may cost for each of its own bytes.
pub const FACTOR: usize = 4;
/// Live bytes that any input may cost.
pub const FLOOR: usize = 64 << 10;

static COUNTING: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is handed to the system's allocator unchanged; the counters only watch.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: `at` came from `alloc` or `realloc` above, that is, from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: as in `dealloc`.
        unsafe { System.realloc(at, layout, size) }
    }
}

fn count(change: isize) {
    if COUNTING.load(Relaxed) {
        let live = LIVE.fetch_add(change, Relaxed) + change;
        PEAK.fetch_max(live, Relaxed);
    }
}

/// Runs `work` and fails when it ever holds more than `FACTOR * input + FLOOR` bytes.
pub fn bounded<T>(input: usize, work: impl FnOnce() -> T) -> T {
    bounded_by(FACTOR, input, work)
}

/// As [`bounded`] with another factor, for which the target gives a reason.
pub fn bounded_by<T>(factor: usize, input: usize, work: impl FnOnce() -> T) -> T {
    LIVE.store(0, Relaxed);
    PEAK.store(0, Relaxed);
    COUNTING.store(true, Relaxed);
    let result = work();
    COUNTING.store(false, Relaxed);
    let peak = PEAK.load(Relaxed).max(0) as usize;
    let most = factor * input + FLOOR;
    assert!(peak <= most, "an input of {input} bytes cost {peak} bytes of memory, {most} are allowed");
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_costs_too_much_fails_and_a_modest_one_does_not() {
        // Other tests allocate meanwhile, hence the distance from the edge.
        bounded(100, || drop(vec![0u8; FLOOR / 4]));
        let greedy = std::panic::catch_unwind(|| bounded(100, || drop(vec![0u8; FLOOR * 64])));
        assert!(greedy.is_err());
    }
}
