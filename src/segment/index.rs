//! The sparse index of a segment: boundaries between batches, so that a read starts near its offset.
//!
//! ```text
//! header, 24 bytes                     entry, 20 bytes
//!  0 magic "KRAPPYIX"                   0 relative offset u32   (offset - base offset of the segment)
//!  8 format u32 = 1                     4 position u32          (bytes from the start of the .log file)
//! 12 base offset i64                    8 max timestamp i64     (of all batches before `position`)
//! 20 crc32 u32 of bytes 0..20          16 crc32 u32 of the base offset (8 bytes) and bytes 0..16
//! ```
//!
//! All numbers are big-endian. An entry names a boundary: the batch that begins at `position`, or the end of the file,
//! has that offset. The first entry is always the start of the file. A sealed segment ends with an entry for its very
//! end; that entry's position being the length of the file is what proves an index complete.
//!
//! Invariant: entries are written after the bytes before their position are durable. The index is a cache all the same:
//! whatever does not check out is rebuilt from the log.

/// Bytes of the header.
pub const HEADER: usize = 24;
/// Bytes of an entry.
pub const ENTRY: usize = 20;
const MAGIC: &[u8; 8] = b"KRAPPYIX";
const FORMAT: u32 = 1;

/// A boundary between two batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Offset of what begins here, relative to the segment's base offset.
    pub relative: u32,
    /// Bytes from the start of the file.
    pub position: u32,
    /// Largest timestamp before here, milliseconds since 1970; `i64::MIN` at the start.
    pub max_timestamp: i64,
}

impl Entry {
    /// The start of every segment.
    pub const START: Entry = Entry { relative: 0, position: 0, max_timestamp: i64::MIN };

    /// Whether `self` may follow `before` in an index.
    fn follows(&self, before: &Entry) -> bool {
        self.relative > before.relative
            && self.position > before.position
            && self.max_timestamp >= before.max_timestamp
    }
}

/// The header of the index of the segment with this base offset.
pub fn header(base: i64) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&FORMAT.to_be_bytes());
    out[12..20].copy_from_slice(&base.to_be_bytes());
    let crc = crc32fast::hash(&out[..20]);
    out[20..].copy_from_slice(&crc.to_be_bytes());
    out
}

/// One entry as it lies on disk. The base offset goes into the checksum, so that an entry of another segment never
/// passes.
pub fn encode(base: i64, entry: &Entry) -> [u8; ENTRY] {
    let mut out = [0; ENTRY];
    out[..4].copy_from_slice(&entry.relative.to_be_bytes());
    out[4..8].copy_from_slice(&entry.position.to_be_bytes());
    out[8..16].copy_from_slice(&entry.max_timestamp.to_be_bytes());
    let crc = checksum(base, &out[..16]);
    out[16..].copy_from_slice(&crc.to_be_bytes());
    out
}

/// The entry in these bytes, if it is intact and of this segment.
pub fn decode(base: i64, bytes: &[u8]) -> Option<Entry> {
    let bytes: &[u8; ENTRY] = bytes.try_into().ok()?;
    let u32_at = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    if u32_at(16) != checksum(base, &bytes[..16]) {
        return None;
    }
    let max_timestamp = i64::from_be_bytes(bytes[8..16].try_into().expect("eight bytes"));
    Some(Entry { relative: u32_at(0), position: u32_at(4), max_timestamp })
}

/// What could be read of an index file.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The intact entries from the start on, in order; empty if the header is bad.
    pub entries: Vec<Entry>,
    /// Why the rest was not believed, if there is a rest.
    pub damage: Option<&'static str>,
}

/// Reads a whole index file; stops at the first entry that is damaged or out of order.
pub fn parse(base: i64, bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed { entries: Vec::new(), damage: None };
    if bytes.get(..HEADER) != Some(&header(base)[..]) {
        parsed.damage = Some("the header is damaged or belongs to another segment");
        return parsed;
    }
    let (entries, rest) = bytes[HEADER..].as_chunks::<ENTRY>();
    parsed.entries.reserve_exact(entries.len());
    for bytes in entries {
        let Some(entry) = decode(base, bytes) else {
            parsed.damage = Some("an entry fails its checksum");
            return parsed;
        };
        let in_order = match parsed.entries.last() {
            None => entry == Entry::START,
            Some(last) => entry.follows(last),
        };
        if !in_order {
            parsed.damage = Some("an entry is out of order");
            return parsed;
        }
        parsed.entries.push(entry);
    }
    if !rest.is_empty() {
        parsed.damage = Some("the last entry is cut short");
    }
    parsed
}

/// The last entry at or before a relative offset. `entries` begins at or before it.
pub fn floor(entries: &[Entry], relative: u32) -> usize {
    let after = entries.partition_point(|e| e.relative <= relative);
    after.checked_sub(1).expect("the entries begin at or before the offset")
}

/// The last entry before which everything is older than `timestamp`: what looks for it starts there.
pub fn floor_timestamp(entries: &[Entry], timestamp: i64) -> usize {
    entries.partition_point(|e| e.max_timestamp < timestamp).saturating_sub(1)
}

fn checksum(base: i64, bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&base.to_be_bytes());
    crc.update(bytes);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Vec<Entry>, Vec<u8>) {
        let entry = |relative, position, max_timestamp| Entry { relative, position, max_timestamp };
        let entries = vec![Entry::START, entry(5, 400, 1_000), entry(9, 900, 1_000), entry(30, 1_700, 2_000)];
        let mut bytes = header(77).to_vec();
        entries.iter().for_each(|e| bytes.extend_from_slice(&encode(77, e)));
        (entries, bytes)
    }

    #[test]
    fn an_index_reads_back() {
        let (entries, bytes) = sample();
        assert_eq!(parse(77, &bytes), Parsed { entries, damage: None });
    }

    #[test]
    fn the_index_of_another_segment_is_refused() {
        let (_, mut bytes) = sample();
        assert!(parse(78, &bytes).entries.is_empty());
        bytes[..HEADER].copy_from_slice(&header(78));
        assert!(parse(78, &bytes).entries.is_empty(), "even under the right header");
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_what_comes_before_it_is_kept() {
        let (entries, good) = sample();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let parsed = parse(77, &bad);
            let intact = (bit / 8).checked_sub(HEADER).map_or(0, |at| at / ENTRY);
            assert!(parsed.damage.is_some(), "bit {bit}");
            assert_eq!(parsed.entries, entries[..intact], "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_keeps_the_whole_entries() {
        let (entries, good) = sample();
        for cut in 0..good.len() {
            let parsed = parse(77, &good[..cut]);
            let whole = cut.checked_sub(HEADER).map_or(0, |at| at / ENTRY);
            assert_eq!(parsed.entries, entries[..whole], "{cut}");
            let between = cut < HEADER || !(cut - HEADER).is_multiple_of(ENTRY);
            assert_eq!(parsed.damage.is_some(), between, "{cut}");
        }
    }

    #[test]
    fn swapped_or_repeated_entries_are_out_of_order() {
        let (_, good) = sample();
        let mut swapped = good.clone();
        swapped[HEADER + ENTRY..HEADER + 3 * ENTRY].rotate_left(ENTRY);
        assert_eq!(parse(77, &swapped).entries.len(), 2);
        let mut repeated = good;
        repeated.extend_from_within(HEADER + 3 * ENTRY..);
        assert_eq!(parse(77, &repeated).damage, Some("an entry is out of order"));
    }

    #[test]
    fn the_floor_is_the_last_entry_at_or_before() {
        let (entries, _) = sample();
        let found: Vec<_> = [0, 4, 5, 8, 9, 29, 30, 1_000].map(|r| floor(&entries, r)).into();
        assert_eq!(found, [0, 0, 1, 1, 2, 2, 3, 3]);
        let found: Vec<_> = [0, 1_000, 1_001, 2_000, 2_001].map(|t| floor_timestamp(&entries, t)).into();
        assert_eq!(found, [0, 0, 2, 2, 3]);
    }
}
