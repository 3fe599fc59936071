//! The files of a partition's directory, told by their names.
//!
//! Invariant: only names that match a pattern of ours exactly count as ours; everything else is left alone.

use std::path::Path;

use super::report::OpenError;
use super::{epochs, mark, progress, quarantine, torn};
use crate::disk::{Disk, Kind};

/// `00000000000000000042.log`
pub fn log_name(base: i64) -> String {
    format!("{base:020}.log")
}

/// `00000000000000000042.index`
pub fn index_name(base: i64) -> String {
    format!("{base:020}.index")
}

/// `00000000000000000042.log.cleaned`: a cleaned segment that is not in its place yet.
pub fn cleaned_name(base: i64) -> String {
    format!("{base:020}.log.cleaned")
}

/// What lies in a partition's directory.
pub struct Found {
    /// Base offset and length of each segment file, in order.
    pub segments: Vec<(i64, u64)>,
    /// Base offset and length of each index file.
    pub indexes: Vec<(i64, u64)>,
    /// Files of ours that were never finished.
    pub leftovers: Vec<String>,
    /// Files that are not ours.
    pub unknown: Vec<String>,
}

/// What the name of a file in a partition's directory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// The segment with this base offset.
    Log(i64),
    /// The index of that segment.
    Index(i64),
    /// The mark, the epochs, the quarantine, side files, and what the layers above keep here.
    Known,
    /// A file of ours that was never finished.
    Temporary,
    /// Not ours.
    Unknown,
}

/// Names that layers above use in the same directory.
const NEIGHBOURS: [&str; 3] = ["producers", "producers.tmp", "view"];

/// Tells what a file in a partition's directory is by its name.
pub fn classify(name: &str) -> Name {
    if let Some(stem) = name.strip_suffix(".tmp")
        && !NEIGHBOURS.contains(&name)
    {
        return if classify(stem) == Name::Unknown { Name::Unknown } else { Name::Temporary };
    }
    if let Some(base) = name.strip_suffix(".log").and_then(parse_base) {
        return Name::Log(base);
    }
    if let Some(base) = name.strip_suffix(".index").and_then(parse_base) {
        return Name::Index(base);
    }
    if let Some(Name::Log(_)) = name.strip_suffix(".cleaned").map(classify) {
        return Name::Temporary;
    }
    let known = [mark::NAME, epochs::NAME, quarantine::NAME, progress::NAME].contains(&name)
        || torn::parse_name(name).is_some()
        || NEIGHBOURS.contains(&name);
    if known { Name::Known } else { Name::Unknown }
}

/// Twenty digits, and not more than an offset can be.
fn parse_base(digits: &str) -> Option<i64> {
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    let base = digits.parse().ok().filter(|_| plain)?;
    (base < mark::MOST_OFFSET).then_some(base)
}

impl Found {
    /// Lists a directory. Refuses what bears one of our names and is not an ordinary file.
    pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Found, OpenError> {
        let mut found =
            Found { segments: Vec::new(), indexes: Vec::new(), leftovers: Vec::new(), unknown: Vec::new() };
        for entry in disk.list(dir)? {
            let name = classify(&entry.name);
            let ours = name != Name::Unknown && !NEIGHBOURS.contains(&&*entry.name);
            if ours && entry.kind != Kind::File {
                let path = dir.join(&entry.name);
                return Err(OpenError::Refused(format!("{} is not an ordinary file", path.display())));
            }
            match name {
                Name::Log(_) if entry.len > u64::from(u32::MAX) => {
                    let path = dir.join(&entry.name);
                    let why = format!("{} is larger than a segment can be", path.display());
                    return Err(OpenError::Refused(why));
                }
                Name::Log(base) => found.segments.push((base, entry.len)),
                Name::Index(base) => found.indexes.push((base, entry.len)),
                Name::Temporary => found.leftovers.push(entry.name),
                Name::Known => {}
                Name::Unknown => found.unknown.push(entry.name),
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let of = |name: &str| classify(name);
        assert_eq!(of("00000000000000000042.log"), Name::Log(42));
        assert_eq!(of(&index_name(42)), Name::Index(42));
        for known in [
            "mark",
            "epochs",
            "quarantine",
            "cleaned",
            "torn-00000000000000000042-7",
            "torn-5-7-1",
            "producers",
            "view",
        ] {
            assert_eq!(of(known), Name::Known, "{known}");
        }
        for temporary in
            ["00000000000000000042.log.tmp", "00000000000000000042.log.cleaned", "mark.tmp", "torn-5-7.tmp"]
        {
            assert_eq!(of(temporary), Name::Temporary, "{temporary}");
        }
        for unknown in [
            "42.log",
            "0000000000000000004x.log",
            "-0000000000000000042.log",
            "+0000000000000000042.log",
            "99999999999999999999.log",
            "00000000000000000042.log.bak",
            "00000000000000000042.index.cleaned",
            "42.log.cleaned",
            ".cleaned",
            "torn-5",
            "torn-5-",
            "torn-5-x",
            "notes.tmp",
            ".tmp",
            "",
        ] {
            assert_eq!(of(unknown), Name::Unknown, "{unknown}");
        }
    }
}
