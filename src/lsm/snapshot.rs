//! Snapshots: offsets that readers hold on to.
//!
//! Invariant: what a pin sees when it is taken, it sees until it is let go. So a pin is refused where a version that it
//! would need may be gone, or may be about to go in a flush or merge that began without it.

use std::collections::BTreeMap;

/// Pinned seqs, counted.
#[derive(Debug, Default)]
pub(super) struct Pins {
    counts: BTreeMap<i64, usize>,
}

impl Pins {
    /// Pins `seq` once more. Below `exact` only one that is pinned already can be.
    pub(super) fn pin(&mut self, seq: i64, exact: i64) -> bool {
        let allowed = seq >= exact || self.holds(seq);
        if allowed {
            *self.counts.entry(seq).or_default() += 1;
        }
        allowed
    }

    /// Lets go once; what is not pinned is an error of the caller.
    pub(super) fn unpin(&mut self, seq: i64) {
        let count = self.counts.get_mut(&seq).unwrap_or_else(|| panic!("{seq} is not pinned"));
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&seq);
        }
    }

    pub(super) fn holds(&self, seq: i64) -> bool {
        self.counts.contains_key(&seq)
    }

    /// All of them, ascending.
    pub(super) fn list(&self) -> Vec<i64> {
        self.counts.keys().copied().collect()
    }
}

/// Whether one of the ascending `pins` sees the version at `older` and not the one at `newer`.
pub(super) fn separates(pins: &[i64], older: i64, newer: i64) -> bool {
    pins.get(pins.partition_point(|pin| *pin < older)).is_some_and(|pin| *pin < newer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seq_is_pinned_until_it_was_let_go_as_often() {
        let mut pins = Pins::default();
        assert!(pins.pin(7, 7) && pins.pin(9, 7) && pins.pin(7, 8));
        pins.unpin(7);
        assert_eq!(pins.list(), [7, 9]);
        pins.unpin(7);
        assert_eq!(pins.list(), [9]);
        assert!(!pins.pin(7, 8), "what it saw may be gone by now");
    }

    #[test]
    #[should_panic(expected = "3 is not pinned")]
    fn letting_go_of_what_was_never_held_is_an_error() {
        Pins::default().unpin(3);
    }

    #[test]
    fn a_pin_separates_versions_when_it_sees_the_older_one_only() {
        let pins = [3, 8];
        assert!(separates(&pins, 3, 4) && separates(&pins, 1, 5) && separates(&pins, 8, 9));
        assert!(!separates(&pins, 1, 3) && !separates(&pins, 4, 8) && !separates(&pins, 9, 20));
        assert!(!separates(&[], 0, i64::MAX));
    }
}
