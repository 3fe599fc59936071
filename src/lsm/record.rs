//! The records of a manifest: a snapshot of the tip, then edits.
//!
//! ```text
//! record                                            body
//!  0 bytes of the body, u32                          0 type u8: 1 snapshot, 2 edit
//!  4 crc32 u32 of the manifest's number (u64),       1 snapshot only: next number u64
//!    the record's position (u64), bytes 0..4,          flags u8: 1 covered follows, 2 horizon follows
//!    and the body                                      covered i64, horizon i64
//!  8 body                                              runs added u32, then for each:
//!    trace u32: of an edit that was synced               level u8, number u64, bytes u64, entries u64,
//!                                                        tombstones u64, smallest i64 and largest i64 sequence
//!                                                        number, smallest and largest key (u32 length, bytes)
//!                                                      runs removed u32, their numbers u64
//! ```
//!
//! The *trace* is the CRC-32 of number and position alone. It is written, without a sync, when the sync of the edit has
//! returned. So a last record that is bad and has a trace behind it was good once, and is damage; without one it is
//! what a crash within an append leaves, and nobody was told that it was there.
//!
//! Invariant: no count or length is believed before the bytes are there.

use super::block::Flaw;
use super::{Edit, RunMeta, Tip};

/// Bytes in front of a body.
const HEAD: usize = 8;
/// Bytes of a trace.
pub const TRACE: usize = 4;
const SNAPSHOT: u8 = 1;
const EDIT: u8 = 2;
/// Bytes of a run with two empty keys.
const SHORTEST_RUN: usize = 1 + 6 * 8 + 2 * 4;

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The whole tip.
    Snapshot(Tip),
    /// A change of it.
    Edit(Edit),
}

/// A snapshot of the tip, as it lies at `position` of the manifest with this number, without a trace.
pub fn snapshot(tip: &Tip, number: u64, position: u64) -> Vec<u8> {
    let added = |(level, runs): (usize, &Vec<RunMeta>)| {
        runs.iter().map(|run| (level as u8, run.clone())).collect::<Vec<_>>()
    };
    let edit = Edit {
        covered: Some(tip.covered),
        horizon: Some(tip.horizon),
        added: tip.levels.iter().enumerate().flat_map(added).collect(),
        removed: Vec::new(),
    };
    framed(number, position, |out| {
        out.push(SNAPSHOT);
        put(out, tip.next_number);
        put_edit(out, &edit);
    })
}

/// An edit, as it lies at `position` of the manifest with this number, without a trace.
pub fn edit(edit: &Edit, number: u64, position: u64) -> Vec<u8> {
    framed(number, position, |out| {
        out.push(EDIT);
        put_edit(out, edit);
    })
}

/// What is written behind the record at `position` when it has been synced.
pub fn trace(number: u64, position: u64) -> [u8; TRACE] {
    crc(number, position, &[]).to_be_bytes()
}

fn framed(number: u64, position: u64, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![0; HEAD];
    write(&mut out);
    let len = u32::try_from(out.len() - HEAD).expect("a record is smaller than 4 GiB");
    out[..4].copy_from_slice(&len.to_be_bytes());
    let crc = crc(number, position, &[&out[..4], &out[HEAD..]]);
    out[4..HEAD].copy_from_slice(&crc.to_be_bytes());
    out
}

fn crc(number: u64, position: u64, parts: &[&[u8]]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&number.to_be_bytes());
    crc.update(&position.to_be_bytes());
    parts.iter().for_each(|part| crc.update(part));
    crc.finalize()
}

fn put(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(&n.to_be_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn put_edit(out: &mut Vec<u8>, edit: &Edit) {
    out.push(u8::from(edit.covered.is_some()) | u8::from(edit.horizon.is_some()) << 1);
    for n in [edit.covered, edit.horizon].into_iter().flatten() {
        put(out, n.cast_unsigned());
    }
    out.extend_from_slice(&(edit.added.len() as u32).to_be_bytes());
    for (level, run) in &edit.added {
        out.push(*level);
        let seqs = [run.min_seq.cast_unsigned(), run.max_seq.cast_unsigned()];
        [run.number, run.bytes, run.entries, run.tombstones].iter().chain(&seqs).for_each(|n| put(out, *n));
        put_bytes(out, &run.smallest);
        put_bytes(out, &run.largest);
    }
    out.extend_from_slice(&(edit.removed.len() as u32).to_be_bytes());
    edit.removed.iter().for_each(|number| put(out, *number));
}

/// The body of the record at `position`, if it is intact.
pub fn body(bytes: &[u8], number: u64, position: usize) -> Option<&[u8]> {
    let (head, rest) = bytes.get(position..)?.split_first_chunk::<HEAD>()?;
    let (len, expected) = head.split_at(4);
    let (len, expected) = (len.try_into().expect("four bytes"), expected.try_into().expect("four bytes"));
    let body = rest.get(..u32::from_be_bytes(len) as usize)?;
    let intact = crc(number, position as u64, &[&len, body]) == u32::from_be_bytes(expected);
    (intact && !body.is_empty()).then_some(body)
}

/// Where the record behind one with this body begins.
pub fn behind(position: usize, body: &[u8]) -> usize {
    position + HEAD + body.len() + TRACE
}

/// Whether the bad record at `position` was there, whole, before: it left its trace, or others follow it.
pub fn was_kept(bytes: &[u8], number: u64, position: usize) -> bool {
    let trace = trace(number, position as u64);
    let traced = bytes[position..].windows(TRACE).any(|window| window == trace);
    traced || (position + 1..bytes.len()).any(|at| body(bytes, number, at).is_some())
}

/// Reads a body.
pub fn decode(body: &[u8]) -> Result<Record, Flaw> {
    let mut fields = Fields(body);
    let record = match fields.array().ok_or(SHORT)? {
        [SNAPSHOT] => {
            let next_number = fields.u64().ok_or(SHORT)?;
            let edit = fields.edit().ok_or(SHORT)?;
            let mut tip = Tip::empty().with(edit)?;
            if tip.next_number > next_number {
                return Err("the next number has been given already");
            }
            tip.next_number = next_number;
            Record::Snapshot(tip)
        }
        [EDIT] => Record::Edit(fields.edit().ok_or(SHORT)?),
        _ => return Err("the type of a record is unknown"),
    };
    if fields.0.is_empty() { Ok(record) } else { Err("a record is longer than what it says") }
}

const SHORT: Flaw = "a record is shorter than what it says";

/// What is left of a body.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn edit(&mut self) -> Option<Edit> {
        let [flags] = self.array()?;
        let mut optional = |bit: u8| match flags & bit {
            0 => Some(None),
            _ => self.u64().map(|n| Some(n.cast_signed())),
        };
        let (covered, horizon) = (optional(1)?, optional(2)?);
        let count = self.u32()?;
        let mut added = Vec::with_capacity(count.min(self.0.len() / SHORTEST_RUN));
        for _ in 0..count {
            added.push(self.run()?);
        }
        let count = self.u32()?;
        let mut removed = Vec::with_capacity(count.min(self.0.len() / 8));
        for _ in 0..count {
            removed.push(self.u64()?);
        }
        (flags < 4).then_some(Edit { covered, horizon, added, removed })
    }

    fn run(&mut self) -> Option<(u8, RunMeta)> {
        let [level] = self.array()?;
        let mut run = RunMeta {
            number: self.u64()?,
            bytes: self.u64()?,
            entries: self.u64()?,
            tombstones: self.u64()?,
            min_seq: self.u64()?.cast_signed(),
            max_seq: self.u64()?.cast_signed(),
            smallest: Vec::new(),
            largest: Vec::new(),
        };
        run.smallest = self.bytes()?;
        run.largest = self.bytes()?;
        Some((level, run))
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let len = self.u32()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes.to_vec())
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn u32(&mut self) -> Option<usize> {
        self.array().map(|bytes| u32::from_be_bytes(bytes) as usize)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Edit {
        let run = |number: u64, key: &[u8]| RunMeta {
            number,
            bytes: 1_000,
            entries: 9,
            tombstones: 2,
            smallest: key.to_vec(),
            largest: [key, b"z"].concat(),
            min_seq: 3,
            max_seq: 30,
        };
        Edit {
            covered: Some(31),
            horizon: Some(29),
            added: vec![(0, run(4, b"")), (3, run(5, b"key"))],
            removed: vec![],
        }
    }

    #[test]
    fn records_read_back() {
        let tip = Tip { next_number: 9, ..Tip::empty().with(sample()).unwrap() };
        let edits =
            [Edit::default(), sample(), Edit { removed: vec![1, 2], horizon: Some(5), ..Edit::default() }];
        let mut expected = vec![Record::Snapshot(tip.clone())];
        let mut bytes = vec![7; 3];
        bytes.extend(snapshot(&tip, 8, 3));
        for change in edits {
            bytes.extend([0; TRACE]);
            let at = bytes.len() as u64;
            bytes.extend(edit(&change, 8, at));
            expected.push(Record::Edit(change));
        }
        let mut at = 3;
        for record in expected {
            let body = body(&bytes, 8, at).unwrap();
            assert_eq!(decode(body), Ok(record));
            at = behind(at, body);
        }
        assert_eq!(at, bytes.len() + TRACE);
    }

    #[test]
    fn a_record_counts_whole_and_in_its_place_only() {
        let good = edit(&sample(), 8, 0);
        assert!(body(&good, 8, 0).is_some() && body(&good, 9, 0).is_none());
        assert!(body(&[&[0], &good[..]].concat(), 8, 1).is_none(), "it was written at 0");
        assert!((0..good.len()).all(|cut| body(&good[..cut], 8, 0).is_none()));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(body(&bad, 8, 0).is_none(), "bit {bit}");
            assert!(!was_kept(&bad, 8, 0));
            assert!(was_kept(&[&bad[..], &trace(8, 0)].concat(), 8, 0));
        }
    }

    #[test]
    fn bodies_that_contradict_themselves_are_refused_and_nothing_panics() {
        let tip = Tip::empty().with(sample()).unwrap();
        for good in [snapshot(&tip, 8, 0), edit(&sample(), 8, 0)] {
            let good = &good[HEAD..];
            assert!(decode(good).is_ok());
            (0..good.len()).for_each(|cut| assert!(decode(&good[..cut]).is_err(), "{cut}"));
            assert!(decode(&[good, &[0]].concat()).is_err());
            for byte in 0..good.len() {
                for value in [0, 1, 7, 0x7f, 0xff] {
                    let mut bad = good.to_vec();
                    bad[byte] = value;
                    let _ = decode(&bad);
                }
            }
        }
        let mut early = Tip { next_number: 5, ..tip };
        assert!(decode(&snapshot(&early, 8, 0)[HEAD..]).is_err(), "5 is in use");
        early.next_number = 6;
        assert!(decode(&snapshot(&early, 8, 0)[HEAD..]).is_ok());
    }
}
