//! What came of opening a log: a report, or why it could not be opened.
//!
//! Invariant: whatever a start cut, copied, set apart or found missing is in the report; nothing happens silently.

use std::fmt;
use std::io;

use super::quarantine::Hole;

/// What opening found and did; worth a log line unless [`Recovery::is_uneventful`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The marker of a clean stop was there, and the files agreed with it.
    pub clean: bool,
    /// Both slots of the mark were bad, so the whole active segment was taken for unproven.
    pub mark_lost: bool,
    /// Bytes that were cut off and lie in side files now.
    pub torn_bytes: u64,
    /// Names of the side files that this start made.
    pub side_files: Vec<String>,
    /// Bytes of the unproven tail that were copied to a new file.
    pub copied_bytes: u64,
    /// Damaged ranges, those of earlier starts included.
    pub quarantined: Vec<Hole>,
    /// Offsets, first and last, that no file holds.
    pub gaps: Vec<(i64, i64)>,
    /// Indexes that were made anew because they were missing or damaged.
    pub rebuilt_indexes: usize,
    /// Which leader epoch begins where was collected from the batches, because the file that says so was missing or
    /// damaged.
    pub rebuilt_epochs: bool,
    /// Leftovers of ours that were removed: temporary files, and segments already deleted.
    pub removed: Vec<String>,
    /// Files that are not ours, and were left alone.
    pub unknown: Vec<String>,
}

impl Recovery {
    /// Whether nothing happened that anybody would want to know.
    pub fn is_uneventful(&self) -> bool {
        let quiet = Recovery { clean: self.clean, copied_bytes: self.copied_bytes, ..Recovery::default() };
        *self == quiet
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        if self.mark_lost {
            said.push("the mark was lost, the whole active segment was checked".to_owned());
        }
        if self.torn_bytes > 0 {
            said.push(format!(
                "{} torn bytes were cut and kept in {}",
                self.torn_bytes,
                self.side_files.join(", ")
            ));
        }
        if self.copied_bytes > 0 {
            said.push(format!("{} bytes were copied to a new segment", self.copied_bytes));
        }
        for hole in &self.quarantined {
            said.push(format!("damaged range set apart: {hole:?}"));
        }
        for (first, last) in &self.gaps {
            said.push(format!("no file holds the offsets {first} to {last}"));
        }
        if self.rebuilt_indexes > 0 {
            said.push(format!("{} indexes were made anew", self.rebuilt_indexes));
        }
        if self.rebuilt_epochs {
            said.push("the leader epochs were collected from the batches".to_owned());
        }
        for (what, names) in [("removed leftovers", &self.removed), ("left alone", &self.unknown)] {
            if !names.is_empty() {
                said.push(format!("{what}: {}", names.join(", ")));
            }
        }
        f.write_str(&said.join("; "))
    }
}

/// Why a log could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The device failed.
    Io(io::Error),
    /// Something is there that must not be touched.
    Refused(String),
}

impl From<io::Error> for OpenError {
    fn from(e: io::Error) -> Self {
        OpenError::Io(e)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Io(e) => e.fmt(f),
            OpenError::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for OpenError {}
