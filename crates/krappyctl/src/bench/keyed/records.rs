//! The records that the benchmarks of compacted topics load. `bench-peers` takes this very file, so that a library is
//! given the same keys and values in the same order.
//!
//! Records come in rounds: each round has every key once, so that after `keys` records all of them exist. Keys are even
//! numbers of sixteen digits; the odd ones between them do not exist.
//!
//! Invariant: everything is a pure function of the number of the record.

/// Bytes of a key.
pub const KEY: usize = 16;
/// Bytes of a value.
pub const VALUE: usize = 100;

/// A key as it is stored.
pub type Key = [u8; KEY];

/// What is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Records {
    keys: u64,
    random: bool,
}

impl Records {
    /// Of so many different keys, at least one; in random order or from the smallest to the largest.
    pub fn new(keys: u64, random: bool) -> Self {
        assert!(keys > 0, "records need a key");
        Self { keys, random }
    }

    /// The key of the record with this number.
    pub fn key(&self, number: u64) -> Key {
        let (round, place) = (number / self.keys, number % self.keys);
        key(2 * if self.random { self.shuffled(round, place) } else { place })
    }

    /// Some key that was loaded, when `loaded` records were.
    pub fn some_key(&self, number: u64, loaded: u64) -> Key {
        self.key(mix(number) % loaded.clamp(1, self.keys))
    }

    /// Some key that was not loaded and lies between those that were.
    pub fn missing_key(&self, number: u64) -> Key {
        key(2 * (mix(number) % self.keys) + 1)
    }

    /// The value of the record with this number; nothing makes it smaller.
    pub fn value(&self, number: u64) -> [u8; VALUE] {
        let mut value = [0; VALUE];
        for (i, piece) in value.chunks_mut(8).enumerate() {
            let bytes = mix(number << 4 | i as u64).to_le_bytes();
            piece.copy_from_slice(&bytes[..piece.len()]);
        }
        value
    }

    /// The place's place in this round: a Feistel network over the next even power of two, walked until it comes out
    /// below the number of keys, is a permutation of them.
    fn shuffled(&self, round: u64, mut place: u64) -> u64 {
        let half = (64 - (self.keys - 1).leading_zeros()).div_ceil(2).max(1);
        let mask = (1 << half) - 1;
        loop {
            let (mut left, mut right) = (place >> half, place & mask);
            for step in 0..3 {
                (left, right) = (right, left ^ mix(right ^ round << 34 ^ step << 32) & mask);
            }
            place = left << half | right;
            if place < self.keys {
                return place;
            }
        }
    }
}

fn key(mut number: u64) -> Key {
    let mut key = [b'0'; KEY];
    for digit in key.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    key
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): each bit depends on each.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_round_has_each_key_once_and_in_another_order() {
        for keys in [1, 2, 3, 10, 1_000, 4_096, 5_000] {
            let records = Records::new(keys, true);
            let round = |n: u64| (n * keys..(n + 1) * keys).map(|n| records.key(n)).collect::<Vec<_>>();
            let all: BTreeSet<Key> = (0..keys).map(|n| key(2 * n)).collect();
            assert_eq!(round(0).into_iter().collect::<BTreeSet<_>>(), all, "{keys} keys");
            assert_eq!(round(7).into_iter().collect::<BTreeSet<_>>(), all, "{keys} keys");
            assert!(keys < 10 || round(0) != round(1));
        }
        let ordered = Records::new(1_000, false);
        assert!((0..1_000).map(|n| ordered.key(n)).is_sorted());
    }

    #[test]
    fn keys_that_are_asked_for_are_there_or_not() {
        let records = Records::new(100, true);
        let loaded = |count: u64| (0..count).map(|n| records.key(n)).collect::<BTreeSet<_>>();
        for count in [1, 50, 100, 250] {
            let there = loaded(count);
            assert!((0..500).all(|n| there.contains(&records.some_key(n, count))));
            assert!((0..500).all(|n| !there.contains(&records.missing_key(n))));
        }
        assert_eq!(&key(1_234), b"0000000000001234");
    }
}
