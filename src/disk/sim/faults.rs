//! What goes wrong on the simulated disk, and when: a count of the calls that change something, and a plan over it.
//!
//! Invariant: the same seed and the same calls give the same faults. Every call that changes something passes
//! [`Faults::begin`] once, before it takes effect.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::io;

use super::tree::os_error;

/// An error that one call reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// EIO. A write may have left anything in its range; after a failed sync the unsynced changes are still readable
    /// and are lost at the next crash, even if a later sync succeeds.
    Io,
    /// ENOSPC. A write has left a part of its front.
    NoSpace,
}

/// What happens to the call that is about to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Go,
    Fail(Fault),
    /// The process dies before the call has had an effect.
    DieBefore,
    /// The process dies in the middle: a write has left its front.
    DieWithin,
    /// The process dies after the call has taken effect, before it returns.
    DieAfter,
}

/// The last calls that are kept for [`super::SimDisk::trace`].
const TRACE: usize = 4096;

#[derive(Debug, Clone)]
pub(super) struct Faults {
    pub(super) rng: Rng,
    pub(super) calls: u64,
    pub(super) cold: f64,
    pub(super) limit: Option<u64>,
    pub(super) dead: bool,
    syncs: u64,
    at_call: BTreeMap<u64, Fault>,
    at_sync: BTreeMap<u64, Fault>,
    die_at: Option<u64>,
    trace: VecDeque<String>,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Faults {
        Faults {
            rng: Rng::new(seed),
            calls: 0,
            cold: 0.0,
            limit: None,
            dead: false,
            syncs: 0,
            at_call: BTreeMap::new(),
            at_sync: BTreeMap::new(),
            die_at: None,
            trace: VecDeque::new(),
        }
    }

    pub(super) fn fail_call(&mut self, n: u64, fault: Fault) {
        self.at_call.insert(self.calls + n, fault);
    }

    pub(super) fn fail_sync(&mut self, n: u64, fault: Fault) {
        self.at_sync.insert(self.syncs + n, fault);
    }

    pub(super) fn die_at(&mut self, n: u64) {
        self.die_at = Some(self.calls + n);
    }

    /// The machine is up again: nothing that was planned happens any more.
    pub(super) fn clear(&mut self) {
        self.dead = false;
        self.die_at = None;
        self.at_call.clear();
        self.at_sync.clear();
    }

    /// Counts a call and says what becomes of it. A dead process makes no calls.
    pub(super) fn begin(&mut self, sync: bool, call: String) -> io::Result<Verdict> {
        self.alive()?;
        self.calls += 1;
        self.syncs += u64::from(sync);
        let verdict = self.verdict(sync);
        self.note(format!("{} {call}{}", self.calls, remark(verdict)));
        self.dead = matches!(verdict, Verdict::DieBefore | Verdict::DieWithin | Verdict::DieAfter);
        Ok(verdict)
    }

    fn verdict(&mut self, sync: bool) -> Verdict {
        if self.die_at == Some(self.calls) {
            return match self.rng.below(3) {
                0 => Verdict::DieBefore,
                1 => Verdict::DieWithin,
                _ => Verdict::DieAfter,
            };
        }
        let planned = if sync { self.at_sync.remove(&self.syncs) } else { None };
        match planned.or(self.at_call.remove(&self.calls)) {
            Some(fault) => Verdict::Fail(fault),
            None => Verdict::Go,
        }
    }

    pub(super) fn alive(&self) -> io::Result<()> {
        if self.dead { Err(crashed()) } else { Ok(()) }
    }

    fn note(&mut self, line: String) {
        if self.trace.len() == TRACE {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }

    pub(super) fn trace(&self) -> Vec<String> {
        self.trace.iter().cloned().collect()
    }
}

fn remark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Go => "",
        Verdict::Fail(Fault::Io) => "  <- EIO",
        Verdict::Fail(Fault::NoSpace) => "  <- ENOSPC",
        Verdict::DieBefore => "  <- crash before",
        Verdict::DieWithin => "  <- crash within",
        Verdict::DieAfter => "  <- crash after",
    }
}

impl Fault {
    pub(super) fn error(self) -> io::Error {
        os_error(match self {
            Fault::Io => libc::EIO,
            Fault::NoSpace => libc::ENOSPC,
        })
    }
}

/// Why a call on a crashed disk, or through a handle from before the crash, fails.
#[derive(Debug)]
struct Crashed;

impl fmt::Display for Crashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated machine has crashed")
    }
}

impl Error for Crashed {}

pub(super) fn crashed() -> io::Error {
    io::Error::other(Crashed)
}

/// Whether this error says that the simulated machine has crashed, rather than that a call has failed.
pub fn is_crashed(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Crashed>())
}

/// Numbers that look random and follow from a seed (SplitMix64, Steele and others, 2014).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 when there is none.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next_u64() % n }
    }

    /// True with this probability, from 0 to 1.
    pub fn chance(&mut self, probability: f64) -> bool {
        (self.next_u64() >> 11) as f64 / ((1u64 << 53) as f64) < probability
    }
}
