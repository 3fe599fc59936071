//! Opens a partition and reads all of it, checking on the way what every reader relies on: only whole batches with a
//! matching checksum are handed out, and their offsets rise.

use std::path::Path;
use std::sync::Arc;

use krappy::chunk::Buffers;
use krappy::disk::Disk;
use krappy::segment::{Log, LogSettings, Read, ReadError};
use krappy_wire::batch;

use crate::image::DIR;

const SETTINGS: LogSettings =
    LogSettings { segment_bytes: 1 << 20, segment_ms: 1_000, index_interval_bytes: 128 };

/// An open log and what could be read of it.
pub struct Opened {
    /// The log.
    pub log: Log,
    /// Its start offset.
    pub start: i64,
    /// Its end offset.
    pub end: i64,
    /// The batches that could be read, in order.
    pub batches: Vec<Vec<u8>>,
}

/// Opens and reads; `None` if the log refused to open.
pub fn open(disk: &Arc<dyn Disk>, clean: bool) -> Option<Opened> {
    let (log, _) = Log::open(disk, Path::new(DIR), clean, None, &SETTINGS, &mut |_| {}).ok()?;
    let (start, end) = (log.start_offset(), log.end_offset());
    assert!(start <= end && log.durable_offset() <= end);
    let batches = read_all(&log);
    Some(Opened { log, start, end, batches })
}

fn read_all(log: &Log) -> Vec<Vec<u8>> {
    let end = log.end_offset();
    let mut batches = Vec::new();
    let mut buffers = Buffers::new(1 << 20);
    let mut at = log.start_offset();
    while at < end {
        match log.read(at, end, 4 << 10, &mut buffers) {
            Ok(Read::Batches { chunk, next }) => {
                assert!(next > at, "reading moves on");
                let mut bytes = chunk.as_slice();
                while !bytes.is_empty() {
                    let (header, batch) = batch::first(bytes).expect("only whole batches are handed out");
                    assert!(header.next_offset() > at);
                    at = header.next_offset();
                    batches.push(batch.to_vec());
                    bytes = &bytes[batch.len()..];
                }
                assert_eq!(at, next);
            }
            Ok(Read::Cold(warm)) => warm.run().expect("the simulated disk is in order"),
            Ok(Read::Empty) => break,
            Err(ReadError::Corrupt { first, last }) => {
                assert!(first <= last && last >= at);
                at = last + 1;
            }
            Err(other) => panic!("offset {at} of {end}: {other:?}"),
        }
    }
    batches
}
