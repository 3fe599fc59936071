//! Queues: takers of one group share the single records of a partition, instead of whole partitions. What Kafka calls a
//! share group (KIP-932), without its protocol.
//!
//! ```text
//!                  taken: the count of deliveries grows
//!   available ------------------------------------------> held by a taker, until a deadline
//!     ^   ^                                                 |        |
//!     |   +-- delayed <--- released for later --------------+        | acknowledged
//!     |                                                     |        v
//!     +---- released, timed out, its taker has gone --------+       done
//!     |                                                     |        ^
//!     +---- returned: that delivery is not counted ---------+        | copied to the dead letters
//!                                                           |        |
//!           rejected, or delivered too often without an end +----> dying
//! ```
//!
//! [`Window`] holds the records of one partition that are neither done nor untouched, [`state`] is what is kept of it
//! on disk. Nothing here reads a log: whoever takes is told by [`Window::wanted`] where to read, and offers what was
//! read to [`Window::offer`].
//!
//! Invariants: a record is held by one taker at a time; only its holder may end a delivery; whatever is below the end
//! of the window and not open is done, for ever. An acknowledgement and a rejection are to be written before they are
//! answered; counts of deliveries may be older on disk than they are, so a record can be delivered more often than was
//! asked for, and never less.

mod open;
pub mod state;
mod window;

pub use open::Why;
pub use window::{Ask, Counts, End, NotHeld, Window};

/// Names a taker in this process. Whoever gives it out knows who that is.
pub type TakerId = u64;

/// Most records of one partition that may be open at a time, whatever is configured.
pub const MOST_OPEN: usize = 100_000;
/// Most bytes of the reason that comes with a rejection.
pub const MOST_REASON: usize = 256;
/// About what an open record takes in memory, bytes: its entry, and its places in the indexes beside it.
pub const OPEN_COST: usize = 256;
