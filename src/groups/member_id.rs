//! Ids of members: the client's own name, so that people recognise it, and a number that is never given out again.
//!
//! Invariant: no id comes twice from one salt; and since every process has a salt of its own, an id from before a
//! restart names nobody after it.

use std::sync::Arc;

/// Makes ids.
#[derive(Debug)]
pub(super) struct MemberIds {
    salt: u128,
    made: u64,
}

impl MemberIds {
    /// Of this process; the salt should be random.
    pub fn new(salt: u128) -> Self {
        Self { salt, made: 0 }
    }

    /// `name-xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx`: a name, and what looks like a random UUID, as Kafka's do.
    pub fn make(&mut self, name: &str) -> Arc<str> {
        self.made += 1;
        let high = mix((self.salt >> 64) as u64 ^ mix(self.made));
        let low = mix((self.salt as u64).wrapping_add(mix(high)));
        let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0x0fff);
        let (d, e) = (low >> 48 & 0x3fff | 0x8000, low & 0xffff_ffff_ffff);
        format!("{name}-{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}").into()
    }
}

/// Spreads a number over all bits; different numbers stay different (the finisher of SplitMix64).
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_look_like_kafkas_and_none_comes_twice() {
        let mut seen = BTreeSet::new();
        for salt in [0, 1, 1 << 64, u128::MAX] {
            let mut ids = MemberIds::new(salt);
            for _ in 0..1_000 {
                let id = ids.make("my-app");
                let uuid = id.strip_prefix("my-app-").unwrap();
                let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
                assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
                assert_eq!(&uuid[14..15], "4", "{id}");
                assert!(seen.insert(id));
            }
        }
    }

    #[test]
    fn the_same_salt_makes_the_same_ids() {
        let (mut a, mut b) = (MemberIds::new(7), MemberIds::new(7));
        assert_eq!(a.make("x"), b.make("x"));
        assert_ne!(a.make("x"), MemberIds::new(7).make("x"));
    }
}
