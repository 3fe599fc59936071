//! What is not needed any more and is slow to throw away.
//!
//! The last handle on a removed run file makes the kernel free all its pages and blocks when it is closed, which takes
//! milliseconds for each of them, and a memtable consists of thousands of nodes. So the poll loop does not drop them.
//!
//! Invariant: when the tree lets go of a version or a memtable, a sweep still holds it.

use std::sync::Arc;

use super::{Memtable, Version};

/// Things to drop on a worker.
#[derive(Default)]
pub struct Sweep {
    pub(super) versions: Vec<Arc<Version>>,
    pub(super) tables: Vec<Arc<Memtable>>,
}

impl Sweep {
    /// Drops them. Whoever else still reads a version keeps what is in it.
    pub fn run(self) {
        drop(self);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.tables.is_empty()
    }
}
