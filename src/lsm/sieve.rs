//! Which versions of a key survive a flush or a merge.
//!
//! A version goes when a newer one of the same pass hides it from everybody: no pin lies between the two. It goes, too,
//! when the log does not hold it any more, or when it is a tombstone that has nothing left to hide.
//!
//! Invariant: what came in is what went out, was superseded, or had expired; [`Sieve::finish`] asserts it. Reads as of
//! [`Sieve::horizon`] or later, and as of any pin, see what they saw before.

use std::io;

use super::snapshot::separates;
use super::{Entry, Kind};

/// Below which seq versions may go although no newer one hides them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floors {
    /// The log has dropped every record below: a merge drops such versions wherever it meets them. One that it does not
    /// meet stays, and may be older than one that it has dropped, so **whoever reads the tree treats a version below
    /// its log start as absent**.
    pub expired_below: i64,
    /// The log holds no tombstone below, nor anything that it hides: such a tombstone goes when nothing older of its
    /// key can be left in the tree.
    pub tombstones_below: i64,
}

impl Floors {
    /// Nothing goes unless a newer version hides it.
    pub const NONE: Floors = Floors { expired_below: 0, tombstones_below: 0 };
}

/// How many versions went which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Versions read.
    pub seen: u64,
    /// Versions written.
    pub kept: u64,
    /// Versions that a newer one hides.
    pub superseded: u64,
    /// Versions below a floor.
    pub expired: u64,
}

/// The decision, version by version, in tree order.
#[derive(Debug)]
pub(super) struct Sieve {
    pins: Vec<i64>,
    floors: Floors,
    key: Vec<u8>,
    /// The version of this key that was seen last, whether it was kept or not.
    newer: Option<i64>,
    /// Tombstones of this key that go unless an older version stays: the newest first.
    waiting: Vec<(i64, Vec<u8>)>,
    tally: Tally,
    horizon: i64,
}

impl Sieve {
    /// `pins` in ascending order.
    pub(super) fn new(pins: Vec<i64>, floors: Floors) -> Sieve {
        let (key, waiting) = (Vec::new(), Vec::new());
        Sieve { pins, floors, key, newer: None, waiting, tally: Tally::default(), horizon: 0 }
    }

    /// Passes on to `out` what is kept. `bottom` says whether no older version of a key can be left outside this pass.
    pub(super) fn pass(
        &mut self,
        entry: Entry<'_>,
        bottom: impl FnOnce(&[u8]) -> bool,
        out: &mut impl FnMut(Entry<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.is_of_key(entry.key) {
            self.begin(entry.key);
        }
        self.tally.seen += 1;
        let newer = self.newer.replace(entry.seq);
        if entry.seq < self.floors.expired_below {
            self.tally.expired += 1;
        } else if let Some(newer) = newer.filter(|newer| !separates(&self.pins, entry.seq, *newer)) {
            self.tally.superseded += 1;
            self.horizon = self.horizon.max(newer);
        } else if entry.kind == Kind::Tombstone
            && entry.seq < self.floors.tombstones_below
            && bottom(entry.key)
        {
            self.waiting.push((entry.seq, entry.value.to_vec()));
        } else {
            for (seq, value) in self.waiting.drain(..) {
                out(Entry { key: entry.key, seq, kind: Kind::Tombstone, value: &value })?;
                self.tally.kept += 1;
            }
            out(entry)?;
            self.tally.kept += 1;
        }
        Ok(())
    }

    /// Whether the version before was one of `key`.
    pub(super) fn is_of_key(&self, key: &[u8]) -> bool {
        self.newer.is_some() && self.key == key
    }

    /// The largest seq of a version that another was dropped for.
    pub(super) fn horizon(&self) -> i64 {
        self.horizon
    }

    /// The count, when all have passed.
    pub(super) fn finish(&mut self) -> Tally {
        self.begin(&[]);
        let Tally { seen, kept, superseded, expired } = self.tally;
        assert_eq!(seen, kept + superseded + expired, "in = out + superseded + expired");
        self.tally
    }

    fn begin(&mut self, key: &[u8]) {
        self.tally.expired += self.waiting.len() as u64;
        self.waiting.clear();
        self.newer = None;
        self.key.clear();
        self.key.extend_from_slice(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUT: Kind = Kind::Put;
    const DEL: Kind = Kind::Tombstone;

    /// What is left of the versions of one key, and the sieve afterwards.
    fn left(sieve: Sieve, bottom: bool, versions: &[(i64, Kind)]) -> (Vec<i64>, Tally, i64) {
        let keyed: Vec<_> = versions.iter().map(|(seq, kind)| (&b"key"[..], *seq, *kind)).collect();
        let (kept, tally, horizon) = pass(sieve, bottom, &keyed);
        (kept.into_iter().map(|(_, seq)| seq).collect(), tally, horizon)
    }

    fn pass(mut sieve: Sieve, bottom: bool, all: &[(&[u8], i64, Kind)]) -> (Vec<(Vec<u8>, i64)>, Tally, i64) {
        let mut kept = Vec::new();
        for &(key, seq, kind) in all {
            let value = seq.to_be_bytes();
            let out = &mut |e: Entry<'_>| {
                assert_eq!(e.value, e.seq.to_be_bytes());
                kept.push((e.key.to_vec(), e.seq));
                Ok(())
            };
            sieve.pass(Entry { key, seq, kind, value: &value }, |_| bottom, out).unwrap();
        }
        let tally = sieve.finish();
        assert_eq!(kept.len() as u64, tally.kept);
        (kept, tally, sieve.horizon())
    }

    fn floors(expired_below: i64, tombstones_below: i64) -> Floors {
        Floors { expired_below, tombstones_below }
    }

    #[test]
    fn without_pins_only_the_newest_version_stays() {
        let (kept, tally, horizon) =
            left(Sieve::new(vec![], Floors::NONE), true, &[(9, PUT), (5, DEL), (2, PUT)]);
        assert_eq!((kept, tally.superseded, horizon), (vec![9], 2, 9));
    }

    #[test]
    fn a_pin_keeps_the_version_that_it_sees() {
        let sees = |pins: &[i64]| {
            left(Sieve::new(pins.to_vec(), Floors::NONE), true, &[(9, PUT), (5, PUT), (2, PUT)]).0
        };
        assert_eq!(sees(&[1]), [9], "a pin before all of them sees none");
        assert_eq!(sees(&[2]), [9, 2]);
        assert_eq!(sees(&[4]), [9, 2]);
        assert_eq!(sees(&[5]), [9, 5]);
        assert_eq!(sees(&[9]), [9]);
        assert_eq!(sees(&[3, 8]), [9, 5, 2]);
    }

    #[test]
    fn keys_do_not_hide_each_other() {
        let all = [(&b"a"[..], 9, PUT), (b"a", 3, PUT), (b"b", 4, PUT), (b"b", 2, PUT), (b"", 1, PUT)];
        let (kept, tally, horizon) = pass(Sieve::new(vec![], Floors::NONE), true, &all);
        assert_eq!(kept, [(b"a".to_vec(), 9), (b"b".to_vec(), 4), (b"".to_vec(), 1)]);
        assert_eq!((tally.seen, tally.kept, horizon), (5, 3, 9));
    }

    #[test]
    fn what_the_log_has_dropped_goes_whatever_pins_it_and_moves_no_horizon() {
        let (kept, tally, horizon) =
            left(Sieve::new(vec![3], floors(5, 0)), false, &[(9, PUT), (4, PUT), (2, PUT)]);
        assert_eq!((kept, tally.expired, tally.superseded, horizon), (vec![9], 2, 0, 0));
    }

    #[test]
    fn an_old_tombstone_goes_at_the_bottom_only() {
        let go = |bottom, below| left(Sieve::new(vec![], floors(0, below)), bottom, &[(9, DEL), (2, PUT)]).0;
        assert!(go(true, 10).is_empty());
        assert_eq!(go(true, 9), [9]);
        assert_eq!(go(false, 10), [9]);
    }

    #[test]
    fn a_tombstone_stays_with_an_older_version_that_is_pinned() {
        let versions = [(9, DEL), (7, DEL), (2, PUT)];
        assert_eq!(left(Sieve::new(vec![3, 8], floors(0, 10)), true, &versions).0, [9, 7, 2]);
        assert!(left(Sieve::new(vec![8], floors(0, 10)), true, &versions).0.is_empty());
        assert_eq!(left(Sieve::new(vec![8], floors(3, 10)), true, &versions).1.expired, 3);
    }
}
