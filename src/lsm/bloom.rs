//! A Bloom filter: whether a key is surely not in a run, from one cache line.
//!
//! ```text
//! line   64 bytes, 512 bits; as many lines as give each key ten bits, at least one
//! key -> 64-bit hash -> its upper half picks the line; stirred once more it gives six times nine bits, each the number
//!                       of a bit in that line: bit n is bit n % 8 of byte n / 8
//! ```
//!
//! All bits of a key lie in one line, so a question costs one miss of the processor's cache and not six. The price is
//! that lines fill unevenly: about 1.0 % of the keys that are not there look as if they were, instead of 0.8 %.
//!
//! Invariant: a key that was added is never denied.

/// Bits for each key.
const BITS_PER_KEY: usize = 10;
/// Bits that a key sets.
const PROBES: usize = 6;
const LINE: usize = 64;

/// Gathers the keys of a run.
#[derive(Debug, Default)]
pub struct FilterBuilder {
    hashes: Vec<u64>,
}

impl FilterBuilder {
    /// Adds a key.
    pub fn add(&mut self, key: &[u8]) {
        self.hashes.push(hash(key));
    }

    /// Appends the lines to `out`.
    pub fn finish(&self, out: &mut Vec<u8>) {
        let lines = (self.hashes.len() * BITS_PER_KEY).div_ceil(LINE * 8).max(1);
        let from = out.len();
        out.resize(from + lines * LINE, 0);
        let lines = out[from..].as_chunks_mut::<LINE>().0;
        for hash in &self.hashes {
            let line = &mut lines[line_of(*hash, lines.len())];
            probes(*hash).for_each(|(byte, bit)| line[byte] |= bit);
        }
    }
}

/// A filter in memory.
#[derive(Debug)]
pub struct Filter {
    lines: Vec<Line>,
}

/// Aligned, so that a line of the filter is a line of the processor's cache.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line([u8; LINE]);

impl Filter {
    /// Reads the lines; `None` when they are not whole, or none.
    pub fn new(bytes: &[u8]) -> Option<Filter> {
        let (lines, rest) = bytes.as_chunks::<LINE>();
        let whole = rest.is_empty() && !lines.is_empty();
        whole.then(|| Filter { lines: lines.iter().map(|line| Line(*line)).collect() })
    }

    /// `false`: the key was not added.
    pub fn may_hold(&self, key: &[u8]) -> bool {
        let hash = hash(key);
        let Line(line) = &self.lines[line_of(hash, self.lines.len())];
        probes(hash).all(|(byte, bit)| line[byte] & bit != 0)
    }
}

fn line_of(hash: u64, lines: usize) -> usize {
    ((u128::from(hash) * lines as u128) >> 64) as usize
}

fn probes(hash: u64) -> impl Iterator<Item = (usize, u8)> {
    let bits = fold(hash, STIR);
    (0..PROBES).map(move |i| {
        let n = (bits >> (9 * i)) as usize % (LINE * 8);
        (n / 8, 1 << (n % 8))
    })
}

/// Two large odd numbers with about as many ones as zeros: the first digits of pi, the second made odd.
const MIX: u64 = 0x243f_6a88_85a3_08d3;
const STIR: u64 = 0x1319_8a2e_0370_7345;

/// A 64-bit hash of a key: eight bytes at a time, big-endian, the last ones filled up with zeros, each mixed in by a
/// multiplication whose two halves are folded together (as wyhash does), and the length, which tells zeros at the end
/// from none. It is part of the file format.
fn hash(key: &[u8]) -> u64 {
    let (words, rest) = key.as_chunks::<8>();
    let mut h = fold(key.len() as u64 ^ STIR, MIX);
    for word in words {
        h = fold(h ^ u64::from_be_bytes(*word), MIX);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        h = fold(h ^ u64::from_be_bytes(last), MIX);
    }
    fold(h, STIR)
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter<K: AsRef<[u8]>>(keys: impl Iterator<Item = K>) -> Filter {
        let mut builder = FilterBuilder::default();
        keys.for_each(|k| builder.add(k.as_ref()));
        let mut bytes = Vec::new();
        builder.finish(&mut bytes);
        Filter::new(&bytes).unwrap()
    }

    #[test]
    fn keys_that_are_there_are_never_denied_and_few_others_pass() {
        type Shape = (&'static str, fn(u64) -> Vec<u8>);
        let shapes: [Shape; 4] = [
            ("counted", |n| format!("user:{n:011}").into_bytes()),
            ("binary", |n| n.to_be_bytes().to_vec()),
            ("little-endian", |n| [&[0; 8][..], &n.to_le_bytes()].concat()),
            ("long", |n| [&[b'x'; 100][..], n.to_string().as_bytes(), &[b'y'; 50]].concat()),
        ];
        for (shape, key) in shapes {
            let filter = filter((0..20_000).map(key));
            assert!((0..20_000).all(|n| filter.may_hold(&key(n))), "{shape}");
            let wrong = (20_000..120_000).filter(|n| filter.may_hold(&key(*n))).count();
            assert!(wrong < 2_000, "{shape}: {wrong} of 100000");
        }
    }

    #[test]
    fn keys_that_differ_in_zeros_at_the_end_differ() {
        let hashes: std::collections::BTreeSet<u64> = (0..100).map(|n| hash(&vec![0; n])).collect();
        assert_eq!(hashes.len(), 100);
    }

    #[test]
    fn the_hash_is_part_of_the_format_and_stays() {
        let hashes = [&b""[..], b"a", b"12345678", b"0123456789abcdef!"].map(hash);
        assert_eq!(
            hashes,
            [0xd2e5_8e8e_f90d_912f, 0xa441_ccf5_9f0e_7672, 0x21bc_2561_2f3a_7b3a, 0x50bd_a4fa_4b7d_5ab9]
        );
    }

    #[test]
    fn an_empty_filter_denies_and_lines_must_be_whole() {
        assert!(!filter(std::iter::empty::<&[u8]>()).may_hold(b"a"));
        for len in [0, 1, 63, 65] {
            assert!(Filter::new(&vec![0; len]).is_none());
        }
    }
}
