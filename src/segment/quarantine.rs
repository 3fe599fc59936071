//! Ranges of a log that are damaged below the durable mark: kept where they are, never served, always reported.
//!
//! The file is text, so that whoever finds a partition damaged can read what is wrong with `cat`:
//!
//! ```text
//! krappy quarantine 1
//! 00000000000000004711.log bytes 4096..8192 offsets 4800..4899
//! crc 89abcdef
//! ```
//!
//! Byte ranges exclude their end, offset ranges include it. The last line is the CRC-32 of everything before it.
//!
//! Invariant: the file only saves the next start from finding the damage again. If it is lost, reads still fail at the
//! damage, because every batch is checked when it is read.

use std::fmt::Write;

/// The file's name in the partition's directory.
pub const NAME: &str = "quarantine";
const TITLE: &str = "krappy quarantine 1\n";

/// One damaged range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// Base offset of the segment it lies in.
    pub segment: i64,
    /// First damaged byte in the segment's file.
    pub from: u64,
    /// End of the damaged bytes.
    pub to: u64,
    /// First offset that cannot be read.
    pub first: i64,
    /// Last offset that cannot be read.
    pub last: i64,
}

/// The file's content.
pub fn format(holes: &[Hole]) -> String {
    let mut out = TITLE.to_owned();
    for h in holes {
        writeln!(out, "{:020}.log bytes {}..{} offsets {}..{}", h.segment, h.from, h.to, h.first, h.last)
            .expect("writing to a string does not fail");
    }
    let crc = crc32fast::hash(out.as_bytes());
    out + &format!("crc {crc:08x}\n")
}

/// Reads the file; `None` if it is damaged.
pub fn parse(bytes: &[u8]) -> Option<Vec<Hole>> {
    let text = str::from_utf8(bytes).ok()?;
    let body = &text[..text.trim_end_matches('\n').rfind('\n')? + 1];
    let crc = text[body.len()..].strip_prefix("crc ")?.strip_suffix('\n')?;
    if format!("{:08x}", crc32fast::hash(body.as_bytes())) != crc {
        return None;
    }
    body.strip_prefix(TITLE)?.lines().map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Hole> {
    let (name, rest) = line.split_once(".log bytes ")?;
    let (bytes, offsets) = rest.split_once(" offsets ")?;
    let (from, to) = bytes.split_once("..")?;
    let (first, last) = offsets.split_once("..")?;
    let hole = Hole {
        segment: name.parse().ok()?,
        from: from.parse().ok()?,
        to: to.parse().ok()?,
        first: first.parse().ok()?,
        last: last.parse().ok()?,
    };
    let sane =
        hole.from < hole.to && hole.segment >= 0 && hole.first >= hole.segment && hole.last >= hole.first;
    sane.then_some(hole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Hole> {
        vec![
            Hole { segment: 0, from: 100, to: 200, first: 3, last: 3 },
            Hole { segment: 4711, from: 0, to: 8192, first: 4711, last: 4899 },
        ]
    }

    #[test]
    fn the_file_reads_back_and_reads_well() {
        let text = format(&sample());
        assert_eq!(parse(text.as_bytes()), Some(sample()));
        assert_eq!(text.lines().nth(2), Some("00000000000000004711.log bytes 0..8192 offsets 4711..4899"));
        assert_eq!(parse(format(&[]).as_bytes()), Some(Vec::new()));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let good = format(&sample()).into_bytes();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&bad), None, "bit {bit}");
        }
        for cut in 0..good.len() {
            assert_eq!(parse(&good[..cut]), None, "{cut}");
        }
    }
}
