//! The last bytes of a run file.
//!
//! ```text
//!  0 magic "KRAPPYRN"          36 smallest sequence number i64
//!  8 format u32 = 1            44 largest sequence number i64
//! 12 number of the run u64     52 position of the filter u64   (the blocks end there)
//! 20 entries u64               60 position of the index u64    (the filter ends there)
//! 28 tombstones u64            68 crc32 u32 of bytes 0..68     (the index ends where the footer begins)
//! ```
//!
//! Invariant: it is written last, so a file that was cut short or never finished does not end with one.

/// Bytes of a footer.
pub const FOOTER: usize = 72;
const MAGIC: &[u8; 8] = b"KRAPPYRN";
const FORMAT: u32 = 1;
const CRC_AT: usize = FOOTER - 4;

/// What the footer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// The number in the file's name.
    pub number: u64,
    /// Entries, tombstones included.
    pub entries: u64,
    /// How many of them are tombstones.
    pub tombstones: u64,
    /// The smallest sequence number.
    pub min_seq: i64,
    /// The largest sequence number.
    pub max_seq: i64,
    /// Where the blocks end and the filter begins.
    pub filter: u64,
    /// Where the filter ends and the index begins.
    pub index: u64,
}

impl Footer {
    /// The footer as it lies on disk.
    pub fn encode(&self) -> [u8; FOOTER] {
        let mut out = [0; FOOTER];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&FORMAT.to_be_bytes());
        let numbers = [
            self.number,
            self.entries,
            self.tombstones,
            self.min_seq.cast_unsigned(),
            self.max_seq.cast_unsigned(),
            self.filter,
            self.index,
        ];
        for (n, to) in numbers.iter().zip(out[12..CRC_AT].as_chunks_mut::<8>().0) {
            *to = n.to_be_bytes();
        }
        let crc = crc32fast::hash(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// The footer at the end of a file of `len` bytes, if it is intact and the parts that it names lie in the file.
    pub fn decode(bytes: &[u8; FOOTER], len: u64) -> Option<Footer> {
        let u32_at = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        if &bytes[..8] != MAGIC || u32_at(8) != FORMAT || u32_at(CRC_AT) != crc32fast::hash(&bytes[..CRC_AT])
        {
            return None;
        }
        let u64_at = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let footer = Footer {
            number: u64_at(12),
            entries: u64_at(20),
            tombstones: u64_at(28),
            min_seq: u64_at(36).cast_signed(),
            max_seq: u64_at(44).cast_signed(),
            filter: u64_at(52),
            index: u64_at(60),
        };
        let sane = footer.tombstones <= footer.entries
            && (0..=footer.max_seq).contains(&footer.min_seq)
            && footer.filter <= footer.index
            && len.checked_sub(FOOTER as u64).is_some_and(|end| footer.index <= end);
        sane.then_some(footer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Footer =
        Footer { number: 42, entries: 9, tombstones: 3, min_seq: 5, max_seq: 70, filter: 100, index: 200 };

    #[test]
    fn a_footer_reads_back_and_every_flipped_bit_spoils_it() {
        let bytes = GOOD.encode();
        assert_eq!(Footer::decode(&bytes, 300), Some(GOOD));
        for bit in 0..FOOTER * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Footer::decode(&bad, 300), None, "bit {bit}");
        }
    }

    #[test]
    fn parts_outside_the_file_and_numbers_that_contradict_are_refused() {
        assert_eq!(Footer::decode(&GOOD.encode(), 271), None, "the index would begin in the footer");
        assert_eq!(Footer::decode(&GOOD.encode(), 71), None);
        for bad in [
            Footer { tombstones: 10, ..GOOD },
            Footer { min_seq: -1, ..GOOD },
            Footer { min_seq: 71, ..GOOD },
            Footer { filter: 201, ..GOOD },
            Footer { index: u64::MAX, ..GOOD },
        ] {
            assert_eq!(Footer::decode(&bad.encode(), 300), None, "{bad:?}");
        }
    }
}
