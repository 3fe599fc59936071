//! What the broker says about views, before and after.
//!
//! Invariant: the broker counts for all of its views together, so these figures are true only while no other compacted
//! topic is written.

use super::super::target::Workplace;
use crate::failure::Failure;
use crate::signal;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two looks at the broker.
const LOOK: Duration = Duration::from_millis(50);
/// A view that has stayed the same for so long has settled.
const QUIET: Duration = Duration::from_millis(500);

/// Counters and gauges of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures(BTreeMap<String, i64>);

impl Figures {
    pub fn of(place: &Workplace) -> Result<Self, Failure> {
        let mut values: BTreeMap<_, _> = place.admin().status()?.into_iter().collect();
        values.retain(|name, _| name.starts_with("view") || name == "gets");
        Ok(Self(values))
    }

    /// 0 for what this broker does not count.
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0) as f64
    }

    /// By how much it has grown.
    pub fn since(&self, before: &Figures, name: &str) -> f64 {
        self.get(name) - before.get(name)
    }
}

/// Waits until flushes and merges have come to rest, and returns when that was; `None` if it took too long.
pub fn settle(place: &Workplace, most: Duration) -> Result<Option<Duration>, Failure> {
    let started = Instant::now();
    let (mut last, mut since) = (Figures::of(place)?, Duration::ZERO);
    loop {
        let quiet = last.get("views_busy") == 0.0;
        if quiet && started.elapsed() - since >= QUIET {
            return Ok(Some(since));
        }
        if started.elapsed() >= most {
            return Ok(None);
        }
        signal::check()?;
        std::thread::sleep(LOOK);
        let now = Figures::of(place)?;
        if now != last {
            (last, since) = (now, started.elapsed());
        }
    }
}
