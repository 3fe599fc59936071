//! The four codecs, each as the clients of Kafka write it.
//!
//! Invariant: `out` never holds more than `cap` bytes when a function returns, and grows only with bytes that came out
//! of `packed`; whatever is wrong with `packed` is an error and never a panic.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockSize, FrameDecoder as Lz4Decoder, FrameEncoder as Lz4Encoder, FrameInfo};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder as ZstdDecoder};
use ruzstd::encoding::CompressionLevel;

use crate::batch::BatchError;

/// What snappy-java, and with it Kafka's own client, puts before its blocks: a magic, its version, the oldest version
/// that can read it.
const SNAPPY_JAVA: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Bytes of a block that snappy-java packs at a time.
const SNAPPY_BLOCK: usize = 32 << 10;
/// Three bytes of snappy copy at most 64.
const SNAPPY_MOST: usize = 22;
/// The largest window of zstd up to level 19. The window is declared, not needed: a client that streams declares it for
/// a handful of bytes.
const ZSTD_WINDOW: u64 = 8 << 20;

pub fn gunzip(packed: &[u8], cap: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
    read_all(MultiGzDecoder::new(packed), cap, out)
}

pub fn gzip(records: &[u8], out: &mut Vec<u8>) {
    let mut encoder = GzEncoder::new(out, Compression::default());
    encoder.write_all(records).and_then(|()| encoder.try_finish()).expect("memory takes every byte");
}

/// Either one raw block, as most clients write it, or the blocks of snappy-java.
pub fn unsnap(packed: &[u8], cap: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
    // Its versions are not compared: there has been one layout.
    let Some(mut blocks) = packed.strip_prefix(&SNAPPY_JAVA[..8]) else {
        return unsnap_block(packed, cap, out);
    };
    blocks = blocks.get(8..).ok_or(BatchError::Packed)?;
    while !blocks.is_empty() {
        let (len, rest) = blocks.split_first_chunk().ok_or(BatchError::Packed)?;
        let len = u32::from_be_bytes(*len) as usize;
        let (block, rest) = rest.split_at_checked(len).ok_or(BatchError::Packed)?;
        unsnap_block(block, cap, out)?;
        blocks = rest;
    }
    Ok(())
}

fn unsnap_block(block: &[u8], cap: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
    let len = snap::raw::decompress_len(block).map_err(|_| BatchError::Packed)?;
    // No block of so few bytes can become that large, so what it declares is a lie.
    if len > block.len() * SNAPPY_MOST {
        return Err(BatchError::Packed);
    }
    if len > cap - out.len() {
        return Err(BatchError::Inflated);
    }
    let start = out.len();
    out.resize(start + len, 0);
    let unpacked = snap::raw::Decoder::new().decompress(block, &mut out[start..]);
    if unpacked.is_ok_and(|n| n == len) { Ok(()) } else { Err(BatchError::Packed) }
}

/// In the blocks of snappy-java, which every client of Kafka reads.
pub fn snap(records: &[u8], out: &mut Vec<u8>) {
    let mut encoder = snap::raw::Encoder::new();
    out.extend_from_slice(SNAPPY_JAVA);
    for block in records.chunks(SNAPPY_BLOCK) {
        let packed = encoder.compress_vec(block).expect("a block is far below 4 GiB");
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
}

pub fn unlz4(packed: &[u8], cap: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
    read_all(Lz4Decoder::new(packed), cap, out)
}

/// Blocks of 64 KiB that do not refer to each other, without checksums, as Kafka's client writes them.
pub fn lz4(records: &[u8], out: &mut Vec<u8>) {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB);
    let mut encoder = Lz4Encoder::with_frame_info(info, out);
    encoder.write_all(records).expect("memory takes every byte");
    encoder.finish().expect("memory takes every byte");
}

pub fn unzstd(packed: &[u8], cap: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
    let mut left = packed;
    while !left.is_empty() {
        let mut frame = ZstdDecoder::new();
        frame.set_max_window_size(ZSTD_WINDOW.max(cap as u64));
        frame.init(&mut left).map_err(|_| BatchError::Packed)?;
        while !frame.is_finished() {
            // A block unpacks to 128 KiB at most, so looking after each is enough to stay near the cap.
            let block = frame.decode_blocks(&mut left, BlockDecodingStrategy::UptoBlocks(1));
            block.map_err(|_| BatchError::Packed)?;
            if frame.can_collect() > cap - out.len() {
                return Err(BatchError::Inflated);
            }
            frame.collect_to_writer(&mut *out).map_err(|_| BatchError::Packed)?;
        }
    }
    Ok(())
}

pub fn zstd(records: &[u8], out: &mut Vec<u8>) {
    ruzstd::encoding::compress(records, out, CompressionLevel::Fastest);
}

/// Reads to the end, and one byte past the cap to see that there is more.
fn read_all(from: impl Read, cap: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
    let most = (cap - out.len()) as u64;
    let read = from.take(most.saturating_add(1)).read_to_end(out);
    if out.len() > cap {
        out.truncate(cap);
        return Err(BatchError::Inflated);
    }
    read.map(|_| ()).map_err(|_| BatchError::Packed)
}
