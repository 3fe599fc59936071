//! `krappy dump`: a file of a partition in words, one line per batch, entry or slot.
//!
//! Invariant: whatever the bytes are, the output is printable ASCII, so that a terminal never interprets a record.

use std::io::{self, Write};
use std::path::Path;

use krappy_wire::batch::{self, BatchError, Header, Record};
use krappy_wire::compress;

use super::view;
use crate::disk::{self, Disk, File, Open};
use crate::segment::{Epochs, Name, classify, epochs, index, mark, progress};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// Prints a `.log`, `.index`, `mark`, `epochs`, `cleaned` or `torn-` file, or a `.run` or `MANIFEST-` of a view; with
/// `records`, each record of a batch as well.
pub fn dump(disk: &dyn Disk, path: &Path, records: bool, out: &mut dyn Write) -> io::Result<()> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    match classify(name) {
        Name::Index(base) => dump_index(base, &disk::read_file(disk, path)?, out),
        _ if name.ends_with(".run") => view::dump_run(disk, path, out),
        _ if name.starts_with("MANIFEST-") => view::dump_manifest(disk, path, out),
        _ if name == mark::NAME => dump_mark(&disk::read_file(disk, path)?, out),
        _ if name == epochs::NAME => dump_epochs(&disk::read_file(disk, path)?, out),
        _ if name == progress::NAME => dump_progress(&disk::read_file(disk, path)?, out),
        // Side files and copies with another name are batches, too.
        _ => dump_log(&*disk.open(path, Open::Read)?, records, out),
    }
}

fn dump_index(base: i64, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let parsed = index::parse(base, bytes);
    for e in &parsed.entries {
        let offset = base + i64::from(e.relative);
        let newest = if e.max_timestamp == i64::MIN { "-".to_owned() } else { e.max_timestamp.to_string() };
        writeln!(out, "offset {offset}  position {}  max timestamp before {newest}", e.position)?;
    }
    match parsed.damage {
        Some(why) => writeln!(out, "DAMAGED after {} entries: {why}", parsed.entries.len()),
        None => Ok(()),
    }
}

fn dump_mark(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    for (i, slot) in mark::slots(bytes).iter().enumerate() {
        match slot {
            None => writeln!(out, "slot {i}: empty or damaged")?,
            Some(m) => writeln!(
                out,
                "slot {i}: generation {}  durable to byte {} of {:020}.log, offset {}  log start {}",
                m.generation, m.durable.position, m.durable.segment, m.durable.offset, m.log_start
            )?,
        }
    }
    Ok(())
}

fn dump_epochs(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let Some(epochs) = Epochs::parse(bytes) else { return writeln!(out, "damaged") };
    epochs.iter().try_for_each(|(epoch, offset)| writeln!(out, "leader epoch {epoch}  from offset {offset}"))
}

fn dump_progress(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    match progress::Progress::decode(bytes) {
        None => writeln!(out, "damaged"),
        Some(p) => {
            writeln!(out, "cleaned up to offset {}  no tombstones below {}", p.upto, p.tombstones_below)
        }
    }
}

fn dump_log(file: &dyn File, records: bool, out: &mut dyn Write) -> io::Result<()> {
    let len = file.len()?;
    let mut at = 0;
    while at < len {
        let mut head = [0; batch::HEADER];
        let n = file.read_at(at, &mut head)?;
        let header = match Header::read(&head[..n]) {
            Ok(header) if header.size() as u64 <= len - at => header,
            Ok(_) => return bad(at, len, BatchError::Short, out),
            Err(e) => return bad(at, len, e, out),
        };
        let mut bytes = vec![0; header.size()];
        let n = file.read_at(at, &mut bytes)?;
        let intact = batch::first(&bytes[..n]).map(|_| ());
        dump_batch(at, &header, intact, out)?;
        if records && intact.is_ok() {
            dump_records(&bytes, out)?;
        }
        at += header.size() as u64;
    }
    Ok(())
}

fn bad(at: u64, len: u64, why: BatchError, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "position {at}  DAMAGED: {why}; {} bytes follow", len - at)
}

fn dump_batch(at: u64, h: &Header, intact: Result<(), BatchError>, out: &mut dyn Write) -> io::Result<()> {
    let codec = usize::try_from(h.codec()).ok().and_then(|c| CODECS.get(c)).unwrap_or(&"unknown");
    let kind = if h.is_control() { "  control" } else { "" };
    let clock = if h.is_log_append_time() { "  LogAppendTime" } else { "" };
    let damage = intact.err().map_or(String::new(), |e| format!("  DAMAGED: {e}"));
    writeln!(
        out,
        "position {at}  offsets {}..{}  records {}  bytes {}  codec {codec}  timestamps {}..{}  \
         producer {} epoch {} sequence {}  leader epoch {}  crc {:08x}{clock}{kind}{damage}",
        h.base_offset,
        h.last_offset(),
        h.record_count,
        h.size(),
        h.base_timestamp,
        h.max_timestamp,
        h.producer_id,
        h.producer_epoch,
        h.base_sequence,
        h.leader_epoch,
        h.crc
    )
}

fn dump_records(batch: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let mut unpacked = Vec::new();
    match compress::records(batch, compress::MOST, &mut unpacked) {
        Ok(mut records) => records.try_for_each(|r| dump_record(&r.expect("all of them were read"), out)),
        Err(e) => writeln!(out, "    the records cannot be shown: {e}"),
    }
}

fn dump_record(r: &Record<'_>, out: &mut dyn Write) -> io::Result<()> {
    write!(
        out,
        "    offset {}  timestamp {}  key {}  value {}",
        r.offset,
        r.timestamp,
        quoted(r.key),
        quoted(r.value)
    )?;
    for (name, value) in r.headers() {
        write!(out, "  {}: {}", name.escape_ascii(), quoted(value))?;
    }
    writeln!(out)
}

fn quoted(bytes: Option<&[u8]>) -> String {
    bytes.map_or("null".to_owned(), |b| format!("\"{}\"", b.escape_ascii()))
}
