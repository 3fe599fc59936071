//! The Kafka record batch decoded a second time, straight from its description and as slowly as it likes: indices
//! instead of a reader, a checksum bit by bit, everything copied. It shares no line with `krappy_wire::batch`, so the
//! two agree only where both are right.

/// One record with everything it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Absolute offset.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key, or null.
    pub key: Option<Vec<u8>>,
    /// The value, or null.
    pub value: Option<Vec<u8>>,
    /// Name and value.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// What a client may send: one whole batch with a matching checksum and nothing that only a broker writes.
/// `None` is a refusal. The records are not looked at.
pub fn acceptable(batch: &[u8]) -> Option<()> {
    let size = batch.len();
    let attributes = i16_at(batch, 21)?;
    let base_offset = i64_at(batch, 0)?;
    let count = i64::from(i32_at(batch, 57)?);
    let delta = i64::from(i32_at(batch, 23)?);
    let rules = [
        i64::from(i32_at(batch, 8)?) + 12 == size as i64,
        size >= 61,
        batch[16] == 2,
        // The broker gives it one.
        base_offset == 0,
        // Bits 0-2 are the codec; the others, such as 3 for the broker's clock and 5 for control, are not a client's.
        attributes & !0b111 == 0,
        attributes & 0b111 <= 4,
        count >= 1,
        count == delta + 1,
        i32_at(batch, 17)? as u32 == crc32c(&batch[21..]),
    ];
    rules.iter().all(|&kept| kept).then_some(())
}

/// The records of an acceptable, uncompressed batch: as many as its header says, offsets rising by one. `None` is a
/// refusal.
pub fn records(batch: &[u8]) -> Option<Vec<Record>> {
    let base_offset = i64_at(batch, 0)?;
    let base_timestamp = i64_at(batch, 27)?;
    let count = i32_at(batch, 57)?;
    let mut at = 61;
    let mut all = Vec::new();
    for expected in 0..count {
        let length = varint(batch, &mut at, 32)?;
        let end = at.checked_add(usize::try_from(length).ok()?)?;
        let record = batch.get(..end)?;
        record.get(at)?;
        at += 1;
        let timestamp = base_timestamp.wrapping_add(varint(record, &mut at, 64)?);
        if varint(record, &mut at, 32)? != i64::from(expected) {
            return None;
        }
        let key = nullable(record, &mut at)?;
        let value = nullable(record, &mut at)?;
        let header_count = varint(record, &mut at, 32)?;
        if header_count < 0 {
            return None;
        }
        let mut headers = Vec::new();
        for _ in 0..header_count {
            headers.push((nullable(record, &mut at)??, nullable(record, &mut at)?));
        }
        if at != end {
            return None;
        }
        all.push(Record { offset: base_offset + i64::from(expected), timestamp, key, value, headers });
    }
    (at == batch.len()).then_some(all)
}

/// Makes length, magic and checksum true, so that a mutation reaches what lies behind them.
pub fn repair(batch: &mut [u8]) {
    if batch.len() < 61 {
        return;
    }
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// CRC-32C, one bit at a time (RFC 3720, polynomial 0x1EDC6F41, reflected).
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc(bytes, 0x82f6_3b78)
}

/// CRC-32, one bit at a time (IEEE 802.3, polynomial 0x04C11DB7, reflected).
pub fn crc32(bytes: &[u8]) -> u32 {
    crc(bytes, 0xedb8_8320)
}

fn crc(bytes: &[u8], polynomial: u32) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ polynomial } else { crc >> 1 };
        }
    }
    !crc
}

/// `Some(None)` is null; `None` is a refusal.
#[allow(clippy::option_option)]
fn nullable(bytes: &[u8], at: &mut usize) -> Option<Option<Vec<u8>>> {
    let length = varint(bytes, at, 32)?;
    if length == -1 {
        return Some(None);
    }
    let end = at.checked_add(usize::try_from(length).ok()?)?;
    let value = bytes.get(*at..end)?.to_vec();
    *at = end;
    Some(Some(value))
}

/// A zig-zag varint whose value fits `bits` bits: 5 bytes hold 32, 10 hold 64.
fn varint(bytes: &[u8], at: &mut usize, bits: u32) -> Option<i64> {
    let mut raw = 0u128;
    for i in 0..bits.div_ceil(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        raw += u128::from(byte % 128) << (7 * i);
        if byte < 128 {
            if raw >= 1 << bits {
                return None;
            }
            let half = (raw / 2) as i64;
            return Some(if raw & 1 == 0 { half } else { -1 - half });
        }
    }
    None
}

fn i16_at(bytes: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_are_the_known_ones() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn varints_are_those_of_the_protocol() {
        for (bytes, value) in [(&[0u8][..], 0), (&[1], -1), (&[2], 1), (&[0xac, 0x02], 150)] {
            assert_eq!(varint(bytes, &mut 0, 32), Some(value));
        }
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff, 0x1f], &mut 0, 32), None, "33 bits");
        assert_eq!(varint(&[0x80], &mut 0, 32), None, "cut short");
    }
}
