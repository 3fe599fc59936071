//! Time as a number. Only the reactor reads a clock; everything below gets [`Now`] as an argument, so the simulator can
//! make a year pass in a millisecond.

use std::time::Duration;

/// A moment on the monotonic clock: microseconds since the process started. All deadlines are kept in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// The moment `ms` milliseconds later.
    pub fn plus_ms(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms.saturating_mul(1_000)))
    }

    /// How long until `later`; zero if it has passed.
    pub fn until(self, later: Time) -> Duration {
        Duration::from_micros(later.0.saturating_sub(self.0))
    }
}

/// Both clocks, read once per turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For deadlines and ages.
    pub time: Time,
    /// Milliseconds since 1970, for timestamps and retention. May jump.
    pub wall: i64,
}
