//! Record batches to send, right and wrong, and what is told of those that come back.

use krappy_wire::batch::{Builder, HEADER, ProducerSequence};
use krappy_wire::compress;

use crate::common::client::crc32c;

/// The time of the first record that a script sends; the others follow by one millisecond.
pub const BEGUN: i64 = 1_700_000_000_000;

/// One record.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// A record of this value, without a key, at [`BEGUN`].
pub fn plain(value: &[u8]) -> Record<'_> {
    Record { timestamp: BEGUN, key: None, value: Some(value) }
}

/// A batch of these records.
pub fn of(records: &[Record<'_>], by: Option<ProducerSequence>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut builder = Builder::open(&mut bytes, records.first().map_or(BEGUN, |r| r.timestamp));
    for r in records {
        builder.push(&mut bytes, r.timestamp, r.key, r.value, std::iter::empty());
    }
    builder.close(&mut bytes, 0, 0, by);
    bytes
}

/// A batch of `count` records, a millisecond apart.
pub fn counted(count: i64) -> Vec<u8> {
    let at = |n| Record { timestamp: BEGUN + n, ..plain(b"value") };
    of(&(0..count).map(at).collect::<Vec<_>>(), None)
}

/// One record of a producer.
pub fn by(producer_id: i64, epoch: i16, base_sequence: i32) -> Vec<u8> {
    of(&[plain(b"value")], Some(ProducerSequence { producer_id, epoch, base_sequence }))
}

/// One record of this key; no value: a tombstone.
pub fn keyed(key: &str, value: Option<&str>) -> Vec<u8> {
    of(&[Record { timestamp: BEGUN, key: Some(key.as_bytes()), value: value.map(str::as_bytes) }], None)
}

/// One record of this time.
pub fn at(timestamp: i64) -> Vec<u8> {
    of(&[Record { timestamp, ..plain(b"value") }], None)
}

/// Three records, compressed: 1 gzip, 2 snappy, 3 lz4, 4 zstd.
pub fn compressed(codec: i16) -> Vec<u8> {
    let whole = counted(3);
    let mut bytes = whole[..HEADER].to_vec();
    compress::pack(codec, &whole[HEADER..], &mut bytes).expect("the codec is known");
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[22] = codec as u8;
    sealed(bytes)
}

/// One record, changed by `change` and then given a good checksum.
pub fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = counted(1);
    change(&mut bytes);
    sealed(bytes)
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// What a script can know of one batch of an answer.
pub struct Told {
    /// Size, offsets, count and sequence.
    pub what: String,
    pub leader_epoch: i32,
    pub producer_id: i64,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
}

/// The batches at the front of `bytes`, and how many bytes of a batch that is cut off follow.
pub fn read(mut bytes: &[u8]) -> (Vec<Told>, usize) {
    let mut told = Vec::new();
    while bytes.len() >= HEADER {
        let size = 12 + int(bytes, 8, 4) as usize;
        let Some(batch) = bytes.get(..size) else { break };
        told.push(tell(batch));
        bytes = &bytes[size..];
    }
    (told, bytes.len())
}

fn tell(batch: &[u8]) -> Told {
    let (base, attributes) = (int(batch, 0, 8), int(batch, 21, 2));
    let good = if int(batch, 17, 4) as u32 == crc32c(&batch[21..]) { "good" } else { "BAD" };
    let what = format!(
        "offsets {base} to {}, {} records in {} bytes, magic {}, attributes {attributes}, epoch {}, sequence {}, \
         checksum {good}",
        base + int(batch, 23, 4),
        int(batch, 57, 4),
        batch.len(),
        batch[16],
        int(batch, 51, 2),
        int(batch, 53, 4),
    );
    Told {
        what,
        leader_epoch: int(batch, 12, 4) as i32,
        producer_id: int(batch, 43, 8),
        base_timestamp: int(batch, 27, 8),
        max_timestamp: int(batch, 35, 8),
    }
}

/// A signed number of this many bytes.
fn int(bytes: &[u8], at: usize, size: usize) -> i64 {
    let mut wide = [if bytes[at] & 0x80 == 0 { 0 } else { 0xff }; 8];
    wide[8 - size..].copy_from_slice(&bytes[at..at + size]);
    i64::from_be_bytes(wide)
}
