//! A merge: runs of one level, and those of the next that overlap them, become new runs of the next, on a worker.
//!
//! It is done in steps of one run each, so that a worker that has more urgent things to do can do them in between. Runs
//! that overlap nothing below only change their level, which costs one line of the manifest.
//!
//! Invariant: every version that was read is written, or is hidden by one that was, or is below a floor; both sides are
//! counted by those who read and wrote. The runs that were read stay part of the tree until the last step, and their
//! files are removed only when the manifest durably names the new ones.

use std::io;
use std::ops::Bound;
use std::sync::Arc;

use super::levels::Plan;
use super::sieve::{Sieve, Tally};
use super::sources::{Source, Sources};
use super::store::{Change, Store};
use super::sweep::Sweep;
use super::version::{Version, run_of};
use super::{Access, Run, RunWriter};
use crate::disk::Disk;

/// A step ends when it has read this many times the bytes of a run, even if it has written less than one.
const READ_MOST: u64 = 4;

/// A merge that is to be done, or is half done.
pub struct Merge(Box<Work>);

/// What became of a merge after one more step.
pub enum Step {
    /// There is more to do.
    More(Merge),
    /// It was done, or has failed.
    Done(Merged),
}

/// A merge that was done, or has failed; for [`super::Tree::merged`].
pub struct Merged {
    pub(super) result: io::Result<(Change, Outcome)>,
}

/// What a merge has read, dropped and written.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) tally: Tally,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

struct Work {
    store: Store,
    plan: Plan,
    inputs: Vec<Arc<Run>>,
    /// Runs of levels below the target that hold something of the range: a tombstone may hide a version in there.
    deeper: Vec<Vec<Arc<Run>>>,
    sources: Sources<'static>,
    started: bool,
    sieve: Sieve,
    writer: Option<RunWriter>,
    outputs: Vec<Arc<Run>>,
    /// Numbers of the runs that were begun.
    begun: Vec<u64>,
    run_bytes: u64,
    sweep: Sweep,
}

impl Merge {
    pub(super) fn new(
        store: Store,
        version: &Version,
        plan: Plan,
        sieve: Sieve,
        run_bytes: u64,
        sweep: Sweep,
    ) -> Merge {
        let moved = version.pick(plan.level, &plan.moved);
        let under = version.pick(plan.target(), &plan.under);
        let sources = match plan.level {
            0 => moved.iter().map(|run| vec![run.clone()]).collect(),
            _ => vec![moved.clone()],
        };
        let sources = sources.into_iter().chain([under.clone()]).filter(|runs| !runs.is_empty());
        let sources = sources.map(|runs| Source::runs(runs, Access::Blocking)).collect();
        let inputs: Vec<_> = moved.into_iter().chain(under).collect();
        Merge(Box::new(Work {
            deeper: deeper(version, plan.target(), &inputs),
            store,
            plan,
            inputs,
            sources: Sources::new(sources, false),
            started: false,
            sieve,
            writer: None,
            outputs: Vec::new(),
            begun: Vec::new(),
            run_bytes,
            sweep,
        }))
    }

    /// No version that the merge reads or writes has a larger seq.
    pub(super) fn max_seq(&self) -> i64 {
        self.0.inputs.iter().map(|run| run.meta().max_seq).max().expect("a merge has inputs")
    }

    /// Writes at most one run; the last step makes them part of the tree. Waits for the device.
    pub fn step(mut self, disk: &dyn Disk) -> Step {
        std::mem::take(&mut self.0.sweep).run();
        match self.0.go_on(disk) {
            Ok(false) => Step::More(self),
            Ok(true) => Step::Done(Merged { result: self.0.end(disk) }),
            Err(e) => {
                self.0.discard(disk);
                Step::Done(Merged { result: Err(e) })
            }
        }
    }
}

impl Work {
    /// One step; whether everything is merged.
    fn go_on(&mut self, disk: &dyn Disk) -> io::Result<bool> {
        if self.plan.is_move() {
            return Ok(true);
        }
        if !self.started {
            self.sources.start(Bound::Unbounded)?;
            self.started = true;
        }
        let mut read = 0;
        while let Some(entry) = self.sources.entry() {
            // All versions of a key go to one run, or the runs of a level would overlap.
            if !self.sieve.is_of_key(entry.key) {
                if self.writer.as_ref().is_some_and(|writer| writer.bytes() >= self.run_bytes) {
                    self.close(disk)?;
                    return Ok(false);
                }
                if read >= READ_MOST * self.run_bytes {
                    return Ok(false);
                }
            }
            read += (entry.key.len() + entry.value.len()) as u64;
            let (store, deeper) = (&self.store, &self.deeper);
            let (writer, begun) = (&mut self.writer, &mut self.begun);
            let bottom = |key: &[u8]| deeper.iter().all(|runs| run_of(runs, key).is_none());
            self.sieve.pass(entry, bottom, &mut |kept| {
                if writer.is_none() {
                    *writer = Some(store.create(disk, begun)?);
                }
                writer.as_mut().expect("just created").add(kept)
            })?;
            self.sources.advance()?;
        }
        self.close(disk)?;
        Ok(true)
    }

    /// Ends the run that is being written, if there is one.
    fn close(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if let Some(writer) = self.writer.take() {
            let meta = writer.finish()?;
            self.outputs.push(self.store.open(disk, meta)?);
        }
        Ok(())
    }

    fn end(mut self, disk: &dyn Disk) -> io::Result<(Change, Outcome)> {
        let removed = numbers(&self.inputs);
        if self.plan.is_move() {
            let change = self.change(self.inputs.clone(), removed);
            self.store.apply(&change)?;
            return Ok((change, Outcome::default()));
        }
        let tally = self.sieve.finish();
        let sum = |runs: &[Arc<Run>]| runs.iter().map(|run| run.meta().entries).sum::<u64>();
        assert_eq!((tally.seen, tally.kept), (sum(&self.inputs), sum(&self.outputs)));
        let size = |runs: &[Arc<Run>]| runs.iter().map(|run| run.meta().bytes).sum();
        let outcome = Outcome { tally, bytes_in: size(&self.inputs), bytes_out: size(&self.outputs) };
        let change = self.change(self.outputs.clone(), removed);
        self.store.apply(&change)?;
        self.store.remove(disk, &change.removed);
        Ok((change, outcome))
    }

    fn change(&self, added: Vec<Arc<Run>>, removed: Vec<u64>) -> Change {
        let added = added.into_iter().map(|run| (self.plan.target(), run)).collect();
        Change { covered: None, horizon: self.sieve.horizon(), added, removed }
    }

    /// Removes what was written so far. The disk may be full, and nothing refers to it.
    fn discard(&self, disk: &dyn Disk) {
        self.store.remove(disk, &self.begun);
    }
}

/// Of each level below `target`, what overlaps the range of the inputs.
fn deeper(version: &Version, target: usize, inputs: &[Arc<Run>]) -> Vec<Vec<Arc<Run>>> {
    let smallest = inputs.iter().map(|run| &run.meta().smallest).min().expect("a merge has inputs");
    let largest = inputs.iter().map(|run| &run.meta().largest).max().expect("a merge has inputs");
    let overlaps = |run: &&Arc<Run>| run.meta().smallest <= *largest && *smallest <= run.meta().largest;
    let levels = version.levels()[target + 1..].iter();
    levels.map(|runs| runs.iter().filter(overlaps).cloned().collect()).collect()
}

fn numbers(runs: &[Arc<Run>]) -> Vec<u64> {
    runs.iter().map(|run| run.meta().number).collect()
}
