//! Between the log and the view of a compacted topic: what of a record goes into the tree, how a tree is made again
//! from the log, and what it tells the cleaner.
//!
//! Invariant: the tree holds exactly what the records say: the key, the offset as sequence number, and as value the
//! timestamp followed by the end of the record (value and headers) as it stands in the batch.

use std::io;
use std::path::Path;
use std::sync::Arc;

use krappy_wire::batch::{BatchError, HEADER, Header};
use krappy_wire::compress;

use crate::disk::{Disk, remove_tree};
use crate::lsm::{self, Entry, Kind, Memtable, Options, Tree, Version};
use crate::segment::{Newest, Replay};

/// Name of the folder of the view in that of the partition.
pub const DIR: &str = "view";
/// What one step of a rebuild reads of the log at the most.
const STEP: u64 = 8 << 20;

/// Makes entries of records; keeps its buffers.
#[derive(Default)]
pub struct Entries {
    inflated: Vec<u8>,
    value: Vec<u8>,
    /// The log was told of a batch that cannot be opened.
    told: bool,
}

impl Entries {
    /// Shows each record of a batch that has a key which can be kept. The batch was checked; `body` is what follows its
    /// header.
    pub fn of(
        &mut self,
        header: &Header,
        body: &[u8],
        visit: &mut dyn FnMut(Entry<'_>),
    ) -> Result<(), BatchError> {
        for record in compress::records_in(header, body, compress::MOST, &mut self.inflated)? {
            let record = record?;
            let Some(key) = record.key.filter(|key| key.len() <= lsm::MOST_KEY) else { continue };
            self.value.clear();
            self.value.extend_from_slice(&record.timestamp.to_be_bytes());
            self.value.extend_from_slice(record.tail.bytes());
            let kind = if record.value.is_some() { Kind::Put } else { Kind::Tombstone };
            visit(Entry { key, seq: record.offset, kind, value: &self.value });
        }
        Ok(())
    }

    /// The same of a batch as it lies in the log. One that cannot be opened has none: it was appended when the topic
    /// was not compacted, and nobody looked into it.
    pub fn of_stored(&mut self, header: &Header, body: &[u8], visit: &mut dyn FnMut(Entry<'_>)) {
        if let Err(e) = self.of(header, body, visit)
            && !std::mem::replace(&mut self.told, true)
        {
            let at = header.base_offset;
            log::warn!("the batch at offset {at} and perhaps others cannot be opened for the view: {e}");
        }
    }

    /// A buffer that holds nothing of value.
    pub fn scratch(&mut self) -> &mut Vec<u8> {
        &mut self.inflated
    }
}

/// Checks that a record can be kept by its key; what is wrong, if anything.
pub fn check_key(key: Option<&[u8]>) -> Result<(), String> {
    match key {
        None => Err("has no key; a compacted topic keeps the newest record of each key".into()),
        Some(key) if key.len() > lsm::MOST_KEY => {
            Err(format!("has a key of {} bytes; a compacted topic takes up to {}", key.len(), lsm::MOST_KEY))
        }
        Some(_) => Ok(()),
    }
}

/// Timestamp and end of the record, of the value of an entry.
pub fn stored(value: &[u8]) -> (i64, &[u8]) {
    let (stamp, tail) = value.split_first_chunk().expect("a value begins with its timestamp");
    (i64::from_be_bytes(*stamp), tail)
}

/// Opens the tree in a partition's folder, or makes an empty one where there is none that can be believed; then also
/// why. `end` is the end of the log, which no tree may be ahead of; one that is known to be `damaged` is not looked at.
/// A new one knows nothing of what was said before the `durable` end: the cleaner may have taken any record that
/// another one has replaced by then. Blocks.
pub fn open(
    disk: &Arc<dyn Disk>,
    partition: &Path,
    end: i64,
    durable: i64,
    options: &Options,
    damaged: bool,
) -> io::Result<(Tree, Option<String>)> {
    let dir: Arc<Path> = partition.join(DIR).into();
    let why = match Tree::open(disk.clone(), dir.clone(), *options) {
        _ if damaged => "what its files say is not believed".into(),
        Ok(tree) if tree.covered() <= end => return Ok((tree, None)),
        Ok(tree) => format!("it covers {} records, the log has {end}", tree.covered()),
        Err(lsm::OpenError::Missing) => "it is missing".into(),
        Err(lsm::OpenError::Damaged(why)) => why,
        Err(lsm::OpenError::Io(e)) => return Err(e),
    };
    remove_tree(&**disk, &dir)?;
    Ok((Tree::create(disk.clone(), dir, *options, (durable - 1).max(0))?, Some(why)))
}

/// Fills memtables from a stretch of the log, in bounded steps.
pub struct Rebuild {
    replay: Replay,
    memtable: Memtable,
    /// A memtable of this weight is handed out.
    most: usize,
    entries: Entries,
}

/// What a step of a [`Rebuild`] came to.
pub struct Rebuilt {
    /// To go on with; absent when the end of the stretch is reached.
    pub rest: Option<Rebuild>,
    /// A memtable that holds everything up to this offset, which is handed out when it is full and at the end.
    pub memtable: Option<(Memtable, i64)>,
    /// Everything below has been read.
    pub offset: i64,
}

impl Rebuild {
    /// Will read `replay` and hand out memtables of the weight `most`.
    pub fn new(replay: Replay, most: usize) -> Self {
        Self { replay, memtable: Memtable::new(), most, entries: Entries::default() }
    }

    /// Runs on a worker.
    pub fn step(mut self) -> io::Result<Rebuilt> {
        let (memtable, entries, most) = (&mut self.memtable, &mut self.entries, self.most);
        let from = self.replay.offset();
        self.replay.step(STEP, &mut |header, batch| {
            let mut put = |entry: Entry<'_>| {
                // A batch may begin before the stretch.
                if entry.seq >= from {
                    memtable.insert(entry);
                }
            };
            entries.of_stored(header, &batch[HEADER..], &mut put);
            Ok(memtable.weight() < most)
        })?;
        let (offset, done) = (self.replay.offset(), self.replay.is_done());
        let full = done || self.memtable.weight() >= self.most;
        let memtable = full.then(|| (std::mem::take(&mut self.memtable), offset));
        Ok(Rebuilt { rest: (!done).then_some(self), memtable, offset })
    }
}

/// What the run files of a view know, for the cleaner.
pub struct Survivors(pub Arc<Version>);

impl Newest for Survivors {
    fn newest(&mut self, keys: &[&[u8]], into: &mut Vec<Option<i64>>) -> io::Result<()> {
        into.clear();
        self.0.newest(keys.iter().copied(), |_, found| into.push(found.map(|(offset, _)| offset)))?;
        Ok(())
    }

    fn covered(&self) -> i64 {
        self.0.covered()
    }
}
