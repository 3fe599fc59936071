//! Putting a cleaned segment in the place of those that it was made from.
//!
//! The steps, with a group of A, B and C, whose cleaned file is A':
//!
//! ```text
//!  0. the mark is written: it points behind the group        4. remove B and C, with their indexes
//!  1. remove A.index                                         5. write the new A.index
//!  2. sync the directory                                     6. write how far the cleaner has come
//!  3. rename A' over A, sync the directory
//! ```
//!
//! Why a crash between any two of them, and any part of what was not synced, leaves the same log:
//!
//! * A' was synced before, so wherever it has the name A, it is whole.
//! * Before 3 is durable, A, B and C are all there under their names, and only the index of A may be missing, which is
//!   a cache. That A' may lie beside them as `.cleaned` is nothing to a start but a leftover.
//! * The old index of A never lies beside A': its removal is durable before the rename begins.
//! * Once 3 is durable, A' alone holds all that is left of the group. Of B and C any part may still be there. A start
//!   sees that A' reaches over them and removes them ([`settle`]); before, it copies A' to a new file, because what it
//!   sees may be a rename that is not durable yet, and must be before B and C go. For the same reason it copies a
//!   cleaned file that has no index yet and nothing to reach over.
//! * The mark on disk never names A, B or C, so no start looks into them for the end of what is durable.
//!
//! Invariant: nothing of the group is removed before the file that replaces it has its name durably. After an error
//! nobody knows which names are durable, so the log is fenced, as after a failed sync.
//!
//! [`settle`]: super::settle

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::index::Entry;
use super::names::{cleaned_name, index_name, log_name};
use super::progress::{self, Progress};
use super::sync::{IndexWrite, MarkWrite, Names, remove_segment};
use crate::disk::{self, Disk};

/// What a worker must do after a clean.
pub struct Swap {
    pub(super) dir: Arc<Path>,
    pub(super) names: Arc<Names>,
    pub(super) what: What,
    /// Written last, at the end of a pass.
    pub(super) progress: Option<Progress>,
}

/// What becomes of the cleaned file.
pub(super) enum What {
    /// There is none.
    Nothing,
    /// The segments that it was made from have gone in the meantime: it goes, too.
    Discard { base: i64 },
    /// It takes their place. `bases` of the group, in order; the first is its own.
    Replace { bases: Vec<i64>, mark: MarkWrite, index: Vec<Entry> },
}

/// What came of a [`Swap`], to be handed to [`super::Log::swapped`].
#[derive(Debug)]
pub struct Swapped {
    /// How many entries the new index file has.
    pub(super) index: Result<usize, ()>,
    pub(super) result: io::Result<()>,
}

impl Swap {
    /// Runs on a worker.
    pub fn run(self, disk: &dyn Disk) -> Swapped {
        let mut done = Swapped { index: Err(()), result: Ok(()) };
        match self.what {
            What::Nothing => {}
            What::Discard { base } => {
                // If it stays, the next start removes it.
                let _ = disk.remove_file(&self.dir.join(cleaned_name(base)));
            }
            What::Replace { bases, mark, index } => {
                done.result = replace(disk, &self.dir, &self.names, &bases, mark);
                if done.result.is_ok() {
                    // A cache, as always.
                    let write = IndexWrite { base: bases[0], from: 0, entries: index };
                    done.index = write.run(disk, &self.dir).map_err(|_| ());
                }
            }
        }
        if let (Ok(()), Some(progress)) = (&done.result, self.progress) {
            // Without it the next pass after a restart has more to look at, and that is all.
            let _ = disk::swap_file(disk, &self.dir.join(progress::NAME), &progress.encode());
        }
        done
    }
}

fn replace(disk: &dyn Disk, dir: &Path, names: &Names, bases: &[i64], mark: MarkWrite) -> io::Result<()> {
    mark.run()?;
    remove_if_there(disk, &dir.join(index_name(bases[0])))?;
    names.sync(disk, dir)?;
    disk.rename(&dir.join(cleaned_name(bases[0])), &dir.join(log_name(bases[0])))?;
    names.sync(disk, dir)?;
    bases[1..].iter().try_for_each(|base| remove_segment(disk, dir, *base))
}

fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
