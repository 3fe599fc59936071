//! Batches whose records are compressed: opening them under a bound, and packing records again.
//!
//! A compressed batch is an ordinary header and then all records as one packed block: gzip, snappy, lz4 or zstd. The
//! broker stores such a batch as it came; only who needs the keys opens it.
//!
//! Invariant: nothing is allocated because a block declares that it is large. What is unpacked grows with the bytes
//! that come out, and stops at the cap that the caller gives. Beside it, a codec's own workspace is bounded: lz4 13
//! MiB (three of its largest blocks), zstd twice the window, and no window above the cap and 8 MiB is accepted.
//!
//! Without the feature `compression` every compressed batch is answered with [`BatchError::Codec`].

#[cfg(feature = "compression")]
mod codecs;

use crate::batch::{BatchError, HEADER, Header, Records};

/// Bytes that the records of one batch may have when they are unpacked. What a client sent is not opened, by the broker
/// or by a reader, if it would become larger: this bounds what a small batch can make of itself.
pub const MOST: usize = 64 << 20;

/// The records of a batch, compressed or not. All of them are read once before: they are as many as the header says,
/// in order, and within the offsets that it spans, so the iterator yields no error. Fewer than the batch spans are
/// fine: a cleaner has taken the others.
///
/// `batch` must be whole; its checksum is taken as checked. At most `cap` bytes are unpacked, into `scratch`, whose
/// content is replaced and whose memory is used again. A batch that is not compressed is read where it lies, whatever
/// its size.
pub fn records<'s>(batch: &'s [u8], cap: usize, scratch: &'s mut Vec<u8>) -> Result<Records<'s>, BatchError> {
    let header = Header::read(batch)?;
    let packed = batch.get(HEADER..header.size()).ok_or(BatchError::Short)?;
    records_in(&header, packed, cap, scratch)
}

/// The same of a batch whose header is not in front of its records.
pub fn records_in<'s>(
    header: &Header,
    packed: &'s [u8],
    cap: usize,
    scratch: &'s mut Vec<u8>,
) -> Result<Records<'s>, BatchError> {
    let body = body(header, packed, cap, scratch)?;
    walk(header, body)?;
    Ok(Records::within(*header, body))
}

/// What follows the header, unpacked if need be; nobody has walked it.
pub fn body<'s>(
    header: &Header,
    packed: &'s [u8],
    cap: usize,
    scratch: &'s mut Vec<u8>,
) -> Result<&'s [u8], BatchError> {
    match header.codec() {
        0 => Ok(packed),
        codec => {
            unpack(codec, packed, cap, scratch)?;
            Ok(scratch)
        }
    }
}

/// Reads all records once.
fn walk(header: &Header, body: &[u8]) -> Result<(), BatchError> {
    let mut least = header.base_offset;
    let mut left = header.record_count;
    for record in Records::within(*header, body) {
        let offset = record?.offset;
        if offset < least || offset > header.last_offset() || left <= 0 {
            return Err(BatchError::Record);
        }
        least = offset + 1;
        left -= 1;
    }
    if left == 0 { Ok(()) } else { Err(BatchError::Record) }
}

/// Replaces the content of `out` by what `packed` unpacks to, at most `cap` bytes.
#[cfg(feature = "compression")]
pub fn unpack(codec: i16, packed: &[u8], cap: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
    out.clear();
    match codec {
        1 => codecs::gunzip(packed, cap, out),
        2 => codecs::unsnap(packed, cap, out),
        3 => codecs::unlz4(packed, cap, out),
        4 => codecs::unzstd(packed, cap, out),
        _ => Err(BatchError::Codec),
    }
}

/// Packs records for a batch of this codec, at the end of `out`.
#[cfg(feature = "compression")]
pub fn pack(codec: i16, records: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
    match codec {
        1 => codecs::gzip(records, out),
        2 => codecs::snap(records, out),
        3 => codecs::lz4(records, out),
        4 => codecs::zstd(records, out),
        _ => return Err(BatchError::Codec),
    }
    Ok(())
}

/// Without the feature `compression` no codec is known.
#[cfg(not(feature = "compression"))]
pub fn unpack(_codec: i16, _packed: &[u8], _cap: usize, _out: &mut Vec<u8>) -> Result<(), BatchError> {
    Err(BatchError::Codec)
}

/// Without the feature `compression` no codec is known.
#[cfg(not(feature = "compression"))]
pub fn pack(_codec: i16, _records: &[u8], _out: &mut Vec<u8>) -> Result<(), BatchError> {
    Err(BatchError::Codec)
}

#[cfg(all(test, feature = "compression"))]
mod tests {
    use super::*;
    use crate::batch::{self, Builder, with_records};

    const CODECS: [i16; 4] = [1, 2, 3, 4];
    const ROOM: usize = 1 << 20;

    /// Three records, of which `dropped` are left out, packed.
    fn sample(codec: i16, dropped: &[i64]) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut builder = Builder::open(&mut plain, 1_000);
        for (i, key) in [&b"a"[..], b"b", b"c"].into_iter().enumerate() {
            let headers = [(&b"h"[..], None)];
            builder.push(&mut plain, 1_000 + i as i64, Some(key), Some(&[b'v'; 90]), headers.into_iter());
        }
        builder.close(&mut plain, 42, 7, None);
        let mut header = Header::read(&plain).unwrap();
        let kept: Vec<_> = Records::new(&plain).unwrap().map(Result::unwrap).collect();
        let kept: Vec<_> = kept.iter().filter(|r| !dropped.contains(&r.offset)).collect();
        let body: Vec<u8> = kept.iter().flat_map(|r| r.encoded).copied().collect();
        header.attributes |= codec;
        let mut packed = Vec::new();
        if codec == 0 {
            packed = body;
        } else {
            pack(codec, &body, &mut packed).unwrap();
        }
        let mut out = Vec::new();
        with_records(&header, kept.len() as i32, &packed, &mut out);
        out
    }

    fn offsets(batch: &[u8]) -> Vec<i64> {
        let mut scratch = Vec::new();
        records(batch, ROOM, &mut scratch).unwrap().map(|r| r.unwrap().offset).collect()
    }

    #[test]
    fn every_codec_gives_back_what_was_packed() {
        for codec in CODECS {
            for len in [0, 1, 100, SIZE - 1, SIZE, 300_000] {
                let plain: Vec<u8> = (0..len).map(|i| (i * i / 7 % 251) as u8).collect();
                let mut packed = b"before".to_vec();
                pack(codec, &plain, &mut packed).unwrap();
                let mut out = b"something older".to_vec();
                unpack(codec, &packed[6..], len, &mut out).unwrap();
                assert!(out == plain, "codec {codec}, {len} bytes");
                let tight = unpack(codec, &packed[6..], len.saturating_sub(1), &mut out);
                assert_eq!(tight.is_err(), len > 0, "codec {codec}, {len} bytes");
            }
        }
    }
    const SIZE: usize = 64 << 10;

    #[test]
    fn a_batch_is_read_whatever_its_codec_and_with_records_missing() {
        for codec in [0, 1, 2, 3, 4] {
            let whole = sample(codec, &[]);
            assert_eq!(batch::first(&whole).unwrap().0.codec(), codec);
            assert_eq!(offsets(&whole), [42, 43, 44]);
            let thinned = sample(codec, &[42, 44]);
            let (header, _) = batch::first(&thinned).unwrap();
            assert_eq!((header.last_offset(), header.record_count), (44, 1));
            assert_eq!(offsets(&thinned), [43]);
            let mut scratch = Vec::new();
            let left = records(&thinned, ROOM, &mut scratch).unwrap().next().unwrap().unwrap();
            assert_eq!((left.timestamp, left.key), (1_001, Some(&b"b"[..])));
            assert_eq!((left.value, left.headers().count()), (Some(&[b'v'; 90][..]), 1));
        }
        assert_eq!(offsets(&sample(0, &[42, 43, 44])), []);
    }

    #[test]
    fn a_batch_whose_header_counts_otherwise_is_refused() {
        for codec in [0, 1, 2, 3, 4] {
            let good = sample(codec, &[43]);
            for count in [-1, 0, 1, 3, i32::MAX] {
                let mut bad = good.clone();
                bad[57..61].copy_from_slice(&i32::to_be_bytes(count));
                let got = records(&bad, ROOM, &mut Vec::new()).map(|_| ());
                assert_eq!(got, Err(BatchError::Record), "codec {codec}, {count}");
            }
            let mut bad = good.clone();
            bad[23..27].copy_from_slice(&1i32.to_be_bytes());
            assert!(records(&bad, ROOM, &mut Vec::new()).is_err(), "a record behind the last offset");
        }
        for unknown in [5, 6, 7] {
            let mut bad = sample(0, &[]);
            bad[22] = unknown;
            assert_eq!(records(&bad, ROOM, &mut Vec::new()).map(|_| ()), Err(BatchError::Codec));
        }
    }

    #[test]
    fn truncations_and_flipped_bits_never_panic_and_never_pass_the_cap() {
        for codec in CODECS {
            let good = sample(codec, &[]);
            let mut scratch = Vec::new();
            let cap = 400;
            assert!(records(&good, cap, &mut scratch).is_ok());
            for cut in 0..good.len() {
                assert!(records(&good[..cut], cap, &mut scratch).is_err(), "codec {codec}, {cut}");
                if let Some(packed) = good[..cut].get(HEADER..) {
                    let _ = unpack(codec, packed, cap, &mut scratch);
                    assert!(scratch.len() <= cap);
                }
            }
            for bit in HEADER * 8..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let _ = records(&bad, cap, &mut scratch).map(|all| all.map(Result::unwrap).count());
                assert!(scratch.len() <= cap);
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_near_the_cap() {
        let plain = vec![0; 16 << 20];
        for codec in CODECS {
            let mut packed = Vec::new();
            pack(codec, &plain, &mut packed).unwrap();
            assert!(packed.len() < 1 << 20, "codec {codec} makes {} bytes of it", packed.len());
            let mut out = Vec::new();
            let cap = 100_000;
            assert_eq!(unpack(codec, &packed, cap, &mut out), Err(BatchError::Inflated), "codec {codec}");
            assert!(out.len() <= cap && out.capacity() <= 4 * cap, "{} bytes taken", out.capacity());
        }
    }

    #[test]
    fn a_declared_size_is_not_believed() {
        // Snappy: 4 GiB declared, one byte there. Then a copy from before the beginning.
        for packed in [&[0xff, 0xff, 0xff, 0xff, 0x0f, 0x00][..], &[0x04, 0x0e, 0x01, 0x00]] {
            let mut out = Vec::new();
            assert_eq!(unpack(2, packed, usize::MAX, &mut out), Err(BatchError::Packed));
            assert!(out.capacity() < 100);
        }
        // zstd: a window of 3.75 TiB, a content of 2^60 bytes.
        for head in ["28b52ffd00ff", "28b52ffde00000000000000010"] {
            let mut out = Vec::new();
            assert_eq!(unpack(4, &unhex(head), ROOM, &mut out), Err(BatchError::Packed));
            assert_eq!(out.capacity(), 0);
        }
    }

    #[test]
    fn what_other_implementations_write_is_read() {
        let text: String = (0..12).map(|i| format!("krappy record {}; ", i % 3)).collect();
        for (codec, name, hex) in [
            (
                1,
                "gzip of Python's zlib",
                "1f8b0800000000000203cb2e4a2c28a854284a4dce2f4a5130b056c8461130441730421718445a00b521007acc000000",
            ),
            (
                3,
                "lz4 1.9, independent blocks, no checksum",
                "04224d1860408227000000fa026b7261707079207265636f726420303b2011001c3111001c3211000f3300735064\
                 20323b2000000000",
            ),
            (
                3,
                "lz4 1.9, dependent blocks of 4 MiB, checksum",
                "04224d186440a726000000fa026b7261707079207265636f726420303b2011001c3111003f323b20330081506420\
                 323b20000000000f14d826",
            ),
            (
                4,
                "zstd 1.5, level 19, size known, checksum",
                "28b52ffd24cc0d0100a86b7261707079207265636f726420303b2031323b20030016aba801c84df25c028bdc0eb0",
            ),
            (
                4,
                "zstd 1.5, a stream",
                "28b52ffd0058c50100f06b7261707079207265636f726420303b2031323031323031323031323b200b000011801c\
                 40184004200710061001c80184014424792e01",
            ),
        ] {
            let mut out = Vec::new();
            assert_eq!(unpack(codec, &unhex(hex), ROOM, &mut out), Ok(()), "{name}");
            assert_eq!(String::from_utf8_lossy(&out), text, "{name}");
        }
    }

    #[test]
    fn snappy_is_read_raw_and_in_the_blocks_of_snappy_java() {
        let text = "krappy record 0; ".repeat(4);
        // By hand: the length, a literal of 17 bytes, a copy of 51 bytes from 17 before.
        let block = [&[68, 16 << 2][..], b"krappy record 0; ", &[50 << 2 | 2, 17, 0]].concat();
        let mut java = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
        for _ in 0..2 {
            java.extend_from_slice(&(block.len() as u32).to_be_bytes());
            java.extend_from_slice(&block);
        }
        let mut out = Vec::new();
        unpack(2, &block, ROOM, &mut out).unwrap();
        assert_eq!(out, text.as_bytes());
        unpack(2, &java, ROOM, &mut out).unwrap();
        assert_eq!(out, text.repeat(2).as_bytes());
        assert_eq!(unpack(2, &java, 100, &mut out), Err(BatchError::Inflated), "the cap is for all blocks");
        for cut in [10, 17, 30, java.len() - 1] {
            assert_eq!(unpack(2, &java[..cut], ROOM, &mut out), Err(BatchError::Packed), "{cut}");
        }
    }

    fn unhex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }
}
