//! Unsigned numbers in as few bytes as they need: seven bits per byte, the lowest first, the top bit set on all but the
//! last (LEB128).
//!
//! Invariant: one number, one form; a longer form of a number is refused, as is one that does not fit 64 bits.

/// Bytes of the longest one.
const MOST: usize = 10;

/// Appends a number.
pub fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// The number at `at`, which moves behind it; `None` when there is none.
#[inline]
pub fn take(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let first = *bytes.get(*at)?;
    if first < 0x80 {
        *at += 1;
        return Some(u64::from(first));
    }
    take_long(bytes, at)
}

fn take_long(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut n = 0;
    for (i, byte) in bytes[*at..].iter().take(MOST).enumerate() {
        n |= u64::from(byte & 0x7f) << (7 * i);
        if *byte < 0x80 {
            let overlong = *byte == 0 || (i == MOST - 1 && *byte > 1);
            *at += i + 1;
            return (!overlong).then_some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_and_cut_ones_do_not() {
        let edges = (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit]).chain([u64::MAX]);
        for n in edges {
            let mut bytes = vec![7];
            put(&mut bytes, n);
            let mut at = 1;
            assert_eq!((take(&bytes, &mut at), at), (Some(n), bytes.len()));
            assert_eq!(take(&bytes[..bytes.len() - 1], &mut 1), None, "{n}");
        }
    }

    #[test]
    fn longer_forms_are_refused() {
        for bytes in [&[0x80, 0][..], &[0xff, 0x80, 0], &[0xff; 11], &[]] {
            assert_eq!(take(bytes, &mut 0), None, "{bytes:?}");
        }
        let most = [&[0xff; 9][..], &[1]].concat();
        assert_eq!(take(&most, &mut 0), Some(u64::MAX));
        assert_eq!(take(&[&[0xff; 9][..], &[2]].concat(), &mut 0), None, "65 bits");
    }
}
