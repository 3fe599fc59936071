//! The manifest: the tip on disk, and every change of it.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Edit, Tip};
use crate::disk::Disk;

/// Why there is no view to open. All but `Io` mean: build it anew from the log.
#[derive(Debug)]
pub enum OpenError {
    /// There is none.
    Missing,
    /// It cannot be believed; the text names file and byte.
    Damaged(String),
    /// The device failed.
    Io(io::Error),
}

impl From<io::Error> for OpenError {
    fn from(e: io::Error) -> Self {
        OpenError::Io(e)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Missing => f.write_str("there is no view"),
            OpenError::Damaged(why) => f.write_str(why),
            OpenError::Io(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

/// The manifest of an open tree; workers share it.
pub struct Manifest;

impl Manifest {
    /// The manifest of an empty view; folder and file are durable when this returns.
    pub fn create(_disk: Arc<dyn Disk>, _dir: Arc<Path>) -> io::Result<Manifest> {
        unimplemented!()
    }

    /// Reads the newest manifest that is whole, goes on in a fresh one, and removes run files that are not part of it.
    pub fn open(_disk: Arc<dyn Disk>, _dir: Arc<Path>) -> Result<(Manifest, Tip), OpenError> {
        unimplemented!()
    }

    /// Makes an edit durable, and before it the names of the runs that it adds. After an error, all later calls fail.
    pub fn apply(&self, _edit: &Edit) -> io::Result<()> {
        unimplemented!()
    }
}
