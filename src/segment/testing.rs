//! What the tests of this module share: batches to append, and a log on a simulated disk.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use krappy_wire::batch::{Builder, HEADER, Header, with_records};
use krappy_wire::compress;

use super::{
    AppendError, Appended, CleanSettings, CleanStep, Log, LogSettings, Newest, Read, ReadError, Recovery,
};
use crate::chunk::Buffers;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;

/// Where the log lies.
pub const DIR: &str = "/0";

/// Small segments, and an index entry per few batches.
pub fn settings() -> LogSettings {
    LogSettings { segment_bytes: 2_000, segment_ms: 10_000, index_interval_bytes: 200 }
}

/// One batch of `records` records at `base`; timestamps count up from `timestamp`.
pub fn batch(base: i64, records: i32, timestamp: i64) -> Vec<u8> {
    batch_of(0, base, records, timestamp)
}

fn batch_of(epoch: i32, base: i64, records: i32, timestamp: i64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut builder = Builder::open(&mut out, timestamp);
    for i in 0..records {
        let value = format!("value {}", base + i64::from(i));
        let timestamp = timestamp + i64::from(i);
        builder.push(&mut out, timestamp, Some(b"key"), Some(value.as_bytes()), std::iter::empty());
    }
    builder.close(&mut out, base, epoch, None);
    out
}

/// A log on a simulated disk, and everything that was appended to it.
pub struct Bench {
    pub sim: SimDisk,
    pub disk: Arc<dyn Disk>,
    pub log: Log,
    pub batches: Vec<(i64, Vec<u8>)>,
    pub buffers: Buffers,
    pub wall: i64,
    /// Leader epoch of what is appended.
    pub epoch: i32,
}

pub fn open(disk: &Arc<dyn Disk>, clean: bool) -> (Log, Recovery) {
    Log::open(disk, Path::new(DIR), clean, None, &settings(), &mut |_| {}).unwrap()
}

impl Bench {
    pub fn new() -> Self {
        let sim = SimDisk::new(1);
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        Log::create(&*disk, Path::new(DIR)).unwrap();
        let (log, report) = open(&disk, true);
        assert!(report.clean && report.is_uneventful(), "{report:?}");
        Bench { sim, disk, log, batches: Vec::new(), buffers: Buffers::new(1 << 20), wall: 1_000, epoch: 0 }
    }

    pub fn try_append(&mut self, records: i32) -> Result<(), AppendError> {
        let base = self.log.end_offset();
        let bytes = batch_of(self.epoch, base, records, self.wall);
        let appended = Appended {
            base_offset: base,
            last_offset: base + i64::from(records) - 1,
            size: bytes.len() as u32,
            max_timestamp: self.wall + i64::from(records) - 1,
        };
        self.log.append(&[IoSlice::new(&bytes)], &[appended], &settings(), self.wall)?;
        self.batches.push((base, bytes));
        Ok(())
    }

    /// What is appended from now on has this leader epoch.
    pub fn epoch(&mut self, epoch: i32) {
        self.epoch = epoch;
        self.log.set_epoch(epoch);
    }

    pub fn append(&mut self, records: i32) {
        self.try_append(records).unwrap();
    }

    /// Appends records with these timestamps as one batch, packed with `codec`, that was changed in its header.
    pub fn append_packed(&mut self, codec: i16, timestamps: &[i64], change: impl FnOnce(&mut Header)) {
        let mut plain = Vec::new();
        let mut builder = Builder::open(&mut plain, timestamps[0]);
        for timestamp in timestamps {
            builder.push(&mut plain, *timestamp, None, Some(b"value"), std::iter::empty());
        }
        builder.close(&mut plain, self.log.end_offset(), 0, None);
        let mut header = Header::read(&plain).unwrap();
        header.set_codec(codec);
        change(&mut header);
        let mut packed = plain[HEADER..].to_vec();
        if codec != 0 {
            packed.clear();
            // Without its codecs a build cannot open what it has not packed.
            if compress::pack(codec, &plain[HEADER..], &mut packed).is_err() {
                packed.push(0);
            }
        }
        let mut bytes = Vec::new();
        with_records(&header, header.record_count, &packed, &mut bytes);
        let appended = Appended {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            size: bytes.len() as u32,
            max_timestamp: header.max_timestamp,
        };
        self.log.append(&[IoSlice::new(&bytes)], &[appended], &settings(), 0).unwrap();
    }

    pub fn sync(&mut self, mark: bool) {
        if let Some(sync) = self.log.begin_sync(mark) {
            let done = sync.run(&*self.disk);
            self.log.synced(done).unwrap();
        }
    }

    /// Closes the log properly and opens it again.
    pub fn reopen(&mut self) -> Recovery {
        self.log.close().unwrap();
        let (log, report) = open(&self.disk, true);
        self.log = log;
        report
    }

    /// Reads, warming up as often as it takes.
    pub fn read(
        &mut self,
        from: i64,
        until: i64,
        max_bytes: usize,
    ) -> Result<Option<(Vec<u8>, i64)>, ReadError> {
        loop {
            match self.log.read(from, until, max_bytes, &mut self.buffers)? {
                Read::Batches { chunk, next } => return Ok(Some((chunk.as_slice().to_vec(), next))),
                Read::Empty => return Ok(None),
                Read::Cold(warm) => warm.run().map_err(ReadError::Io)?,
            }
        }
    }

    /// Reads everything from the start offset to the end, and compares with what was appended.
    pub fn check_all(&mut self) {
        let mut at = self.log.start_offset();
        let end = self.log.end_offset();
        while at < end {
            let (bytes, next) = self.read(at, end, 500).unwrap().expect("something is there");
            let expected: Vec<_> =
                self.batches.iter().filter(|(b, bytes)| *b < next && last(*b, bytes) >= at).collect();
            assert_eq!(bytes, expected.iter().flat_map(|(_, b)| b.clone()).collect::<Vec<_>>(), "from {at}");
            at = next;
        }
    }
}

/// Cleans whatever can be cleaned.
pub fn clean(bench: &mut Bench, newest: &mut dyn Newest) {
    let settings = CleanSettings {
        now_ms: bench.wall,
        delete_retention_ms: 0,
        min_lag_ms: 0,
        max_lag_ms: i64::MAX,
        min_dirty_ratio: 0.0,
        segment_bytes: 10 * settings().segment_bytes,
        index_interval_bytes: settings().index_interval_bytes,
        inflate_cap: 1 << 20,
        keep_headers: Arc::default(),
    };
    let covered = bench.log.end_offset();
    while let Some(clean) = bench.log.begin_clean(&settings, covered) {
        let mut step = CleanStep::More(clean);
        let done = loop {
            step = match step {
                CleanStep::More(clean) => clean.step(&*bench.disk, newest, 1 << 20),
                CleanStep::Done(done) => break done,
            };
        };
        if let Some(swap) = bench.log.cleaned(done).unwrap() {
            bench.log.swapped(swap.run(&*bench.disk)).unwrap();
        }
    }
}

/// Offset of the last record of a batch.
pub fn last(base: i64, bytes: &[u8]) -> i64 {
    base + i64::from(i32::from_be_bytes(bytes[23..27].try_into().unwrap()))
}
