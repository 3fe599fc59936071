//! How a read of a run file may wait, and what came of it.
//!
//! Invariant: with [`Access::Cached`] nothing waits for the device; what is not in memory is a [`ReadError::Cold`] that
//! carries the work with it.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::disk::File;

/// Whether a read may wait for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It may not: for the poll loop.
    Cached,
    /// It may: for workers and tools.
    Blocking,
}

/// Why a read gave no answer.
pub enum ReadError {
    /// Some of it is not in memory: let a worker run this, then make the same call again.
    Cold(Warm),
    /// The file is damaged; the text names file and byte.
    Corrupt(String),
    /// The device failed.
    Io(io::Error),
}

impl fmt::Debug for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Cold(warm) => write!(f, "Cold({}..{})", warm.from, warm.to),
            ReadError::Corrupt(why) => write!(f, "Corrupt({why:?})"),
            ReadError::Io(e) => write!(f, "Io({e:?})"),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Cold(_) => f.write_str("some of the file is not in memory"),
            ReadError::Corrupt(why) => f.write_str(why),
            ReadError::Io(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<ReadError> for io::Error {
    /// For callers that read blocking: `Cold` cannot come up there.
    fn from(e: ReadError) -> Self {
        match e {
            ReadError::Cold(_) => io::ErrorKind::WouldBlock.into(),
            ReadError::Corrupt(why) => io::Error::new(io::ErrorKind::InvalidData, why),
            ReadError::Io(e) => e,
        }
    }
}

/// Brings a range of a file into memory.
pub struct Warm {
    file: Arc<dyn File>,
    from: u64,
    to: u64,
}

impl Warm {
    /// Runs on a worker. An error is the device's; the repeated read then reports it, too.
    pub fn run(self) -> io::Result<()> {
        let mut piece = vec![0; PIECE.min((self.to - self.from) as usize)];
        let mut at = self.from;
        while at < self.to {
            let n = piece.len().min((self.to - at) as usize);
            match self.file.read_at(at, &mut piece[..n])? {
                0 => break,
                n => at += n as u64,
            }
        }
        Ok(())
    }
}

/// What [`Warm::run`] reads at a time.
const PIECE: usize = 256 << 10;

/// Fills `buf` from `at` on; `false` when the file ends before.
pub fn read_exact(file: &Arc<dyn File>, at: u64, buf: &mut [u8], access: Access) -> Result<bool, ReadError> {
    let read = match access {
        Access::Blocking => file.read_at(at, buf).map(Some),
        Access::Cached => file.read_cached(at, buf),
    };
    match read.map_err(ReadError::Io)? {
        Some(n) => Ok(n == buf.len()),
        None => {
            let warm = Warm { file: file.clone(), from: at, to: at + buf.len() as u64 };
            Err(ReadError::Cold(warm))
        }
    }
}
