//! `krappy repair`: does, or only says, what opening a log after an unclean stop does.
//!
//! Invariant: it is the very same recovery that runs, so what a dry run says is what a start would do.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::partitions;
use super::pretend::Pretend;
use crate::disk::Disk;
use crate::segment::{Log, LogSettings, OpenError, Recovery};

/// What a repair came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairResult {
    /// Partitions looked at.
    pub partitions: usize,
    /// Partitions that something was, or would be, done to.
    pub changed: usize,
    /// Partitions that cannot be opened at all, or where records are lost.
    pub damaged: usize,
}

/// Recovers every partition below `dir`, with `dry_run` only in words.
pub fn repair(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    dry_run: bool,
    out: &mut dyn Write,
) -> io::Result<RepairResult> {
    let target: Arc<dyn Disk> = if dry_run { Arc::new(Pretend::new(disk.clone())) } else { disk.clone() };
    let mut result = RepairResult::default();
    for dir in partitions(&**disk, dir)? {
        result.partitions += 1;
        writeln!(out, "{}", dir.display())?;
        match open(&target, &dir) {
            Ok((mut log, report)) => {
                describe(&report, dry_run, out)?;
                result.changed += usize::from(!report.is_uneventful());
                result.damaged += usize::from(!report.quarantined.is_empty() || !report.gaps.is_empty());
                log.close()?;
            }
            Err(e) => {
                result.damaged += 1;
                writeln!(out, "  cannot be opened: {e}")?;
            }
        }
    }
    Ok(result)
}

fn open(disk: &Arc<dyn Disk>, dir: &Path) -> Result<(Log, Recovery), OpenError> {
    // Nothing is appended, so of the settings only the index interval matters.
    let settings = LogSettings { segment_bytes: 1 << 30, segment_ms: u64::MAX, index_interval_bytes: 4096 };
    Log::open(disk, dir, false, None, &settings, &mut |_| {})
}

fn describe(report: &Recovery, dry_run: bool, out: &mut dyn Write) -> io::Result<()> {
    let did = if dry_run { "would be" } else { "was" };
    if report.mark_lost {
        writeln!(out, "  both slots of the mark are bad; the active segment {did} taken for unproven")?;
    }
    if report.torn_bytes > 0 {
        writeln!(out, "  {} bytes {did} cut off into {}", report.torn_bytes, report.side_files.join(", "))?;
    }
    if report.copied_bytes > 0 {
        writeln!(out, "  {} bytes above the mark {did} copied to a new file", report.copied_bytes)?;
    }
    if report.rebuilt_indexes > 0 {
        writeln!(out, "  {} indexes {did} rebuilt", report.rebuilt_indexes)?;
    }
    if report.rebuilt_epochs {
        writeln!(out, "  the file epochs {did} made again from the batches")?;
    }
    for name in &report.removed {
        writeln!(out, "  {} {did} removed: a leftover", name.escape_debug())?;
    }
    for h in &report.quarantined {
        writeln!(
            out,
            "  offsets {}..{} are damaged: {:020}.log, bytes {}..{}; reads there fail, reads elsewhere work",
            h.first, h.last, h.segment, h.from, h.to
        )?;
    }
    for (first, last) in &report.gaps {
        writeln!(out, "  offsets {first}..{last} are in no file")?;
    }
    for name in &report.unknown {
        writeln!(out, "  {} is not ours and {did} left alone", name.escape_debug())?;
    }
    if report.is_uneventful() && report.copied_bytes == 0 {
        writeln!(out, "  nothing to repair")?;
    }
    Ok(())
}
