//! Planted bugs: disks that lie about durability in the ways in which a broker can get it wrong. The simulation must
//! notice each of them.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use krappy::disk::{Disk, Entry, File, Map, Open, Space};
use krappy_wire::batch::{self, Builder, Header, Records};

/// Where the offset is in the record of a commit, behind the version.
const IN_COMMIT: Range<usize> = 2..10;
/// Where the start offset is in the record of a queue, behind the version, the id of the topic and two counts.
const IN_QUEUE: Range<usize> = 33..41;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Syncs of segments are reported as done without having been made.
    NoSync,
    /// A sync covers what was written before the last write, and is taken for covering that one too.
    LateWrite,
    /// Names in partition folders are never made durable.
    NoDirSync,
    /// Syncs of the manifests of views are reported as done without having been made.
    NoManifestSync,
    /// Syncs of run files likewise.
    NoRunSync,
    /// Names in the folders of views are never made durable.
    NoViewDirSync,
    /// Batches are written without their producers' numbers, and so is the file of the producers: a start has nothing
    /// to rebuild the sequence state from.
    NoProducers,
    /// The boot epoch is not written again after the first start.
    OldBootEpoch,
    /// Syncs of how far groups have come are reported as done without having been made.
    NoCommitSync,
    /// How far groups have come is written down as one record further.
    CommitsAhead,
    /// Syncs of what queues have done are reported as done without having been made.
    NoQueueSync,
    /// What queues have done is written down one record further.
    QueuesAhead,
    /// Syncs of dead letters are reported as done without having been made.
    NoLetterSync,
    /// Not the disk lies, but members of groups and takers: they say that they have given something back, and go on as
    /// if they had not.
    Clings,
    /// They do not give back what is taken from them, and read no more, as if a rebalance never ended.
    Hoards,
}

impl Lie {
    /// Whether it is about a file of this name.
    fn concerns(self, path: &Path) -> bool {
        let is = |extension: &str| path.extension().is_some_and(|e| e == extension);
        match self {
            Lie::NoSync | Lie::LateWrite => is("log"),
            Lie::NoCommitSync | Lie::CommitsAhead => is("log") && of_topic(path, "__consumer_offsets"),
            Lie::NoQueueSync | Lie::QueuesAhead => is("log") && of_topic(path, "__queue_state"),
            Lie::NoLetterSync => {
                let topic = path.ancestors().nth(2);
                is("log") && topic.is_some_and(|topic| topic.extension().is_some_and(|e| e == "dlq"))
            }
            Lie::NoManifestSync => {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST-"))
            }
            Lie::NoRunSync => is("run"),
            Lie::NoProducers => is("log") || path.ends_with("producers.tmp"),
            Lie::NoDirSync | Lie::NoViewDirSync | Lie::OldBootEpoch | Lie::Clings | Lie::Hoards => false,
        }
    }
}

/// Whether a file of a partition is one of this topic.
fn of_topic(path: &Path, topic: &str) -> bool {
    path.ancestors().nth(2).is_some_and(|dir| dir.ends_with(topic))
}

/// A disk that lies.
pub struct LyingDisk {
    pub within: Arc<dyn Disk>,
    pub lie: Lie,
}

impl Disk for LyingDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let within = self.within.open(path, how)?;
        if !self.lie.concerns(path) {
            return Ok(within);
        }
        Ok(Arc::new(LyingFile { within, lie: self.lie, held: Mutex::new(None) }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.within.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.within.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.lie == Lie::OldBootEpoch && to.ends_with("format") && self.within.open(to, Open::Read).is_ok()
        {
            return self.within.remove_file(from);
        }
        self.within.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.within.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.within.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let of_partition = path.file_name().is_some_and(|n| n.to_string_lossy().parse::<u32>().is_ok());
        let is_forgotten = match self.lie {
            Lie::NoDirSync => of_partition,
            Lie::NoViewDirSync => path.ends_with("view"),
            _ => false,
        };
        if is_forgotten { Ok(()) } else { self.within.sync_dir(path) }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>> {
        self.within.lock(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.within.space(path)
    }
}

struct LyingFile {
    within: Arc<dyn File>,
    lie: Lie,
    /// The last write, if it has not been passed on.
    held: Mutex<Option<(u64, Vec<u8>)>>,
}

impl LyingFile {
    fn pass_on(&self) -> io::Result<()> {
        match self.held.lock().unwrap().take() {
            Some((at, bytes)) => self.within.write_at(at, &[IoSlice::new(&bytes)]),
            None => Ok(()),
        }
    }
}

impl File for LyingFile {
    fn len(&self) -> io::Result<u64> {
        self.pass_on()?;
        self.within.len()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.pass_on()?;
        self.within.read_at(at, buf)
    }

    fn read_cached(&self, at: u64, buf: &mut [u8]) -> io::Result<Option<usize>> {
        self.pass_on()?;
        self.within.read_cached(at, buf)
    }

    fn write_at(&self, at: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.pass_on()?;
        let all = || parts.iter().flat_map(|p| p.to_vec()).collect::<Vec<_>>();
        let instead = match self.lie {
            Lie::NoProducers => Some(without_producers(&all())),
            Lie::CommitsAhead => Some(one_further(&all(), IN_COMMIT)),
            Lie::QueuesAhead => Some(one_further(&all(), IN_QUEUE)),
            _ => None,
        };
        if let Some(bytes) = instead {
            return self.within.write_at(at, &[IoSlice::new(&bytes)]);
        }
        if self.lie != Lie::LateWrite {
            return self.within.write_at(at, parts);
        }
        *self.held.lock().unwrap() = Some((at, parts.iter().flat_map(|p| p.to_vec()).collect()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        match self.lie {
            Lie::LateWrite => {
                self.within.sync()?;
                self.pass_on()
            }
            Lie::NoProducers | Lie::CommitsAhead | Lie::QueuesAhead => self.within.sync(),
            _ => Ok(()),
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.pass_on()?;
        self.within.truncate(len)
    }

    fn map(&self) -> io::Result<Map> {
        self.pass_on()?;
        self.within.map()
    }
}

/// Batches as if nobody had numbered them; what is no batch is blanked.
fn without_producers(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Ok((header, batch)) = batch::first(bytes) {
        let body = &batch[batch::HEADER..];
        let bare = Header { producer_id: -1, producer_epoch: -1, base_sequence: -1, ..header }.sealed(body);
        out.extend_from_slice(&bare.bytes());
        out.extend_from_slice(body);
        bytes = &bytes[header.size()..];
    }
    out.resize(out.len() + bytes.len(), 0);
    out
}

/// Batches of the broker's own records, each of which names an offset there, and now the next one.
fn one_further(mut bytes: &[u8], there: Range<usize>) -> Vec<u8> {
    let mut out = Vec::new();
    while let Ok((header, batch)) = batch::first(bytes) {
        let mut builder = Builder::open(&mut out, header.base_timestamp);
        for record in Records::new(batch).expect("the broker does not compress them") {
            let record = record.expect("the broker writes whole records");
            let mut value = record.value.map(<[u8]>::to_vec);
            if let Some(offset) = value.as_mut().and_then(|value| value.get_mut(there.clone())) {
                let further = i64::from_be_bytes((&*offset).try_into().expect("eight bytes")) + 1;
                offset.copy_from_slice(&further.to_be_bytes());
            }
            let headers = std::iter::empty::<(&[u8], Option<&[u8]>)>();
            builder.push(&mut out, record.timestamp, record.key, value.as_deref(), headers);
        }
        builder.close(&mut out, header.base_offset, header.leader_epoch, None);
        bytes = &bytes[header.size()..];
    }
    out.extend_from_slice(bytes);
    out
}
