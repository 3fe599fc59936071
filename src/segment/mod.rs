//! The log of a partition: record batches in segment files.
//!
//! ```text
//!  start_offset            durable_offset   end_offset
//!   v                                  v     v
//!  [ 00000000000000000000.log ][ 00000000000000004711.log ....
//!    sealed: never written again  active: appends go here
//!
//!  in the same directory: 00000000000000000000.index   sparse index, a cache
//!                         mark                         what is durable, and where the log starts
//!                         epochs                       which leader epoch begins where
//!                         quarantine                   ranges found damaged, if any
//!                         cleaned                      how far the cleaner has come, on a compacted topic
//!                         torn-<base>-<position>       what recovery cut off, if anything
//! ```
//!
//! This module knows batches and files, and nothing of topics, clients or settings tables. `docs/FORMATS.md` has every
//! byte of every file.
//!
//! Read in this order: [`log`] (append, roll), [`expire`] (retention), [`read`], [`sync`] (what workers do and why it
//! is durable), [`segment`] and [`index`] (finding an offset), [`mark`] and [`epochs`], then [`recover`] with
//! [`zones`], [`settle`] and [`survey`], which is what all the rest makes possible. The cleaner of compacted topics is
//! a second story: [`clean`] (what a worker does), [`judge`] (what may go), [`rewrite`], [`pass`] (when, and which
//! segments) and [`swap`] (why a crash harms nothing).
//!
//! Invariants: what is below the durable offset survives a loss of power; bytes are never served unchecked; what
//! recovery keeps is a prefix of what was appended; what it cannot keep it sets aside and reports, and destroys
//! nothing.

mod clean;
pub mod epochs;
mod expire;
pub mod index;
mod judge;
mod log;
mod lookup;
pub mod mark;
mod names;
mod pass;
pub mod progress;
pub mod quarantine;
mod read;
mod recover;
mod replay;
mod report;
mod retrace;
mod rewrite;
#[allow(clippy::module_inception)]
mod segment;
mod settle;
pub mod survey;
mod swap;
mod sync;
pub mod torn;
pub mod walk;
mod zones;

#[cfg(test)]
mod cleaning;
#[cfg(test)]
mod plausible;
#[cfg(test)]
pub(crate) mod testing;

pub use clean::{Clean, Cleaned, Step as CleanStep, Tally};
pub use epochs::Epochs;
pub use expire::Wait;
pub use judge::Newest;
pub use log::{AppendError, Appended, Log, LogSettings};
pub use lookup::Lookup;
pub use names::{Name, classify, index_name, log_name};
pub use pass::{CleanSettings, Dirty};
pub use read::{Read, ReadError, Warm};
pub use replay::Replay;
pub use report::{OpenError, Recovery};
pub use swap::{Swap, Swapped};
pub use sync::{MarkWrite, Sync, Synced, Unlink};
