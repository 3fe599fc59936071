//! Which runs to merge next: a pure function of the tree's shape.
//!
//! A level is due when it scores 1 or more: level 0 by the number of its runs, because each of them costs every read a
//! look; a further level by its bytes against what it may hold. The highest score goes first, so a burst is moved on
//! from the level where it hurts most.
//!
//! From level 0 all runs go together, with the runs of level 1 under them. From a further level one run goes: the one
//! whose merge rewrites the fewest bytes below for each byte that it moves. Going round by key, as LevelDB does, would
//! need a memory of where it was, and writes about as much: the two differ by less than 3 % under each load of
//! `examples/lsm_levels.rs`.
//!
//! Invariant: what a plan merges contains every run of its target level that overlaps what it moves, so levels from 1
//! on stay disjoint; and it never moves a run of level 0 below an older one.

use super::LEVELS;

/// A run, as far as the choice goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunShape<'a> {
    /// Its number.
    pub number: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Its first key.
    pub smallest: &'a [u8],
    /// Its last key.
    pub largest: &'a [u8],
}

impl RunShape<'_> {
    fn overlaps(&self, other: &RunShape<'_>) -> bool {
        self.smallest <= other.largest && other.smallest <= self.largest
    }
}

/// How large the parts of a tree may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Weight at which a memtable is frozen, in bytes.
    pub memtable_bytes: usize,
    /// Runs on level 0 from which on they are merged.
    pub l0_merge: usize,
    /// Runs on level 0 from which on writers are slowed down.
    pub l0_slow: usize,
    /// Runs on level 0 from which on writers wait.
    pub l0_stop: usize,
    /// Frozen memtables; with this many, writers are slowed down, and wait when the active one is full, too.
    pub frozen_most: usize,
    /// Bytes that level 1 may hold.
    pub level_base: u64,
    /// By how much each level is larger than the one above.
    pub factor: u64,
    /// Bytes near which a merge begins a new run.
    pub run_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            memtable_bytes: 16 << 20,
            l0_merge: 4,
            l0_slow: 8,
            l0_stop: 12,
            frozen_most: 2,
            level_base: 64 << 20,
            factor: 10,
            run_bytes: 8 << 20,
        }
    }
}

/// A merge to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The level that it takes runs from; they go to the one below.
    pub level: usize,
    /// Numbers of the runs that move down, in the order of their level.
    pub moved: Vec<u64>,
    /// Numbers of the runs of the level below that overlap them, in key order. Empty: nothing has to be rewritten, the
    /// runs only change their level.
    pub under: Vec<u64>,
    /// Whether the runs that move overlap each other, so that they are rewritten even with nothing under them.
    pub overlapping: bool,
}

impl Plan {
    /// The level that the runs go to.
    pub fn target(&self) -> usize {
        self.level + 1
    }

    /// Whether the runs can change their level as they are.
    pub fn is_move(&self) -> bool {
        self.under.is_empty() && !self.overlapping
    }
}

/// The next merge that the tree needs, if any. `shape` has the runs of each level: level 0 newest first, others by key.
pub fn next(shape: &[Vec<RunShape<'_>>], options: &Options) -> Option<Plan> {
    let scores = (0..shape.len().min(LEVELS - 1)).map(|level| (score(&shape[level], level, options), level));
    // Of equal scores the last one seen wins, and that is the highest level: it is read most often.
    let (_, level) = scores.rev().filter(|(score, _)| *score >= 1.0).max_by(|a, b| a.0.total_cmp(&b.0))?;
    let below = shape.get(level + 1).map_or(&[][..], Vec::as_slice);
    Some(if level == 0 { all_of_level_0(&shape[0], below) } else { cheapest(level, &shape[level], below) })
}

/// Bytes that a level from 1 on may hold.
pub fn capacity(level: usize, options: &Options) -> u64 {
    options.level_base.saturating_mul(options.factor.saturating_pow(level as u32 - 1))
}

fn score(runs: &[RunShape<'_>], level: usize, options: &Options) -> f64 {
    match level {
        0 => runs.len() as f64 / options.l0_merge as f64,
        _ => runs.iter().map(|r| r.bytes).sum::<u64>() as f64 / capacity(level, options) as f64,
    }
}

/// Everything on level 0. What lies between two of its runs on level 1 comes along: a merged run may span it.
fn all_of_level_0(runs: &[RunShape<'_>], below: &[RunShape<'_>]) -> Plan {
    let smallest = runs.iter().map(|r| r.smallest).min().expect("the level is due");
    let largest = runs.iter().map(|r| r.largest).max().expect("the level is due");
    let hull = RunShape { number: 0, bytes: 0, smallest, largest };
    let overlapping = runs.iter().enumerate().any(|(i, a)| runs[i + 1..].iter().any(|b| a.overlaps(b)));
    let touched: Vec<_> = below.iter().filter(|b| runs.iter().any(|r| r.overlaps(b))).collect();
    let under = if overlapping || !touched.is_empty() { under(below, &hull) } else { &[] };
    Plan { level: 0, moved: numbers(runs), under: numbers(under), overlapping }
}

/// The run with the fewest bytes below it for each byte of its own; of equal ones the first by key.
fn cheapest(level: usize, runs: &[RunShape<'_>], below: &[RunShape<'_>]) -> Plan {
    let cost = |run: &RunShape<'_>| {
        under(below, run).iter().map(|b| b.bytes).sum::<u64>() as f64 / run.bytes.max(1) as f64
    };
    let cheaper = |a: &&RunShape<'_>, b: &&RunShape<'_>| cost(a).total_cmp(&cost(b));
    let run = runs.iter().min_by(cheaper).expect("the level is due");
    Plan { level, moved: vec![run.number], under: numbers(under(below, run)), overlapping: false }
}

/// The runs of a disjoint level that overlap `run`.
fn under<'s, 'k>(below: &'s [RunShape<'k>], run: &RunShape<'_>) -> &'s [RunShape<'k>] {
    let from = below.partition_point(|b| b.largest < run.smallest);
    let to = below.partition_point(|b| b.smallest <= run.largest);
    &below[from..to]
}

fn numbers(runs: &[RunShape<'_>]) -> Vec<u64> {
    runs.iter().map(|r| r.number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u64, keys: &'static [u8; 2], bytes: u64) -> RunShape<'static> {
        RunShape { number, bytes, smallest: &keys[..1], largest: &keys[1..] }
    }

    fn options() -> Options {
        Options { l0_merge: 2, level_base: 100, factor: 10, run_bytes: 50, ..Options::default() }
    }

    #[test]
    fn a_small_tree_is_left_alone() {
        assert_eq!(next(&[], &options()), None);
        assert_eq!(next(&vec![vec![]; LEVELS], &options()), None);
        let shape = [vec![run(1, b"az", 1_000)], vec![run(2, b"az", 99)], vec![run(3, b"az", 999)]];
        assert_eq!(next(&shape, &options()), None);
    }

    #[test]
    fn level_0_goes_as_a_whole_with_all_that_lies_within_its_hull() {
        let shape = [
            vec![run(9, b"xz", 1), run(8, b"ac", 1)],
            vec![run(1, b"bc", 9), run(2, b"mn", 9), run(3, b"zz", 9)],
        ];
        let plan = next(&shape, &options()).unwrap();
        assert_eq!((plan.level, plan.target(), plan.is_move()), (0, 1, false));
        assert_eq!((plan.moved, plan.under), (vec![9, 8], vec![1, 2, 3]));
    }

    #[test]
    fn runs_that_overlap_nothing_only_change_their_level() {
        let shape = [vec![run(9, b"xz", 1), run(8, b"uw", 1)], vec![run(1, b"bc", 9), run(2, b"vv", 0)]];
        assert!(!next(&shape, &options()).unwrap().is_move(), "one lies under");
        let shape = [vec![run(9, b"xz", 1), run(8, b"ux", 1)], vec![run(1, b"bc", 9)]];
        assert!(!next(&shape, &options()).unwrap().is_move(), "they overlap each other");
        let shape = [vec![run(9, b"xz", 1), run(8, b"ac", 1)], vec![run(1, b"mn", 9)]];
        let plan = next(&shape, &options()).unwrap();
        assert!(plan.is_move() && plan.under.is_empty(), "what lies between them stays there: {plan:?}");
    }

    #[test]
    fn a_full_level_sends_down_the_run_that_rewrites_least() {
        let shape = [
            vec![],
            vec![run(1, b"ac", 50), run(2, b"dd", 40), run(3, b"ez", 50)],
            vec![run(4, b"ab", 90), run(5, b"cd", 30), run(6, b"ef", 100)],
        ];
        let plan = next(&shape, &options()).unwrap();
        assert_eq!((plan.level, plan.moved, plan.under), (1, vec![2], vec![5]));
    }

    #[test]
    fn the_level_that_is_fullest_for_its_size_goes_first() {
        let full = |l0: usize, l1, l2| {
            let newest = (0..l0).map(|i| run(10 + i as u64, b"az", 1)).collect();
            let shape = [newest, vec![run(1, b"az", l1)], vec![run(2, b"az", l2)]];
            next(&shape, &options()).map(|plan| plan.level)
        };
        assert_eq!(full(2, 100, 1_000), Some(0), "of equals the highest");
        assert_eq!(full(2, 150, 1_000), Some(1));
        assert_eq!(full(3, 150, 1_600), Some(2));
        assert_eq!(full(1, 99, 1_000), Some(2));
    }

    #[test]
    fn the_last_level_takes_everything_and_sends_nothing_on() {
        let mut shape = vec![vec![]; LEVELS];
        shape[LEVELS - 1] = vec![run(1, b"az", u64::MAX)];
        assert_eq!(next(&shape, &options()), None);
        assert_eq!(capacity(LEVELS - 1, &Options { level_base: u64::MAX / 2, ..options() }), u64::MAX);
    }
}
