//! Looking at the headers of batches when a log is opened: for whoever keeps something of them, and to find out which
//! leader epoch begins where.
//!
//! Invariant: the work is bounded. Below the mark the file of the epochs is believed; without it, one header of each
//! segment is looked at, and all of those in whose course the epoch changes. Above the mark, which everything else
//! walks too, all are.

use std::io;

use krappy_wire::batch::Header;

use super::epochs::{self, Epochs};
use super::index;
use super::recover::Opening;
use super::segment::Segment;
use super::walk::{Step, Walk};

/// Shows the header of every batch from the one that holds the offset `from` on. `visit` says whether it wants more of
/// this segment.
pub(super) fn walk_headers<'s>(
    segments: impl Iterator<Item = &'s Segment>,
    from: i64,
    visit: &mut dyn FnMut(&Header) -> bool,
) -> io::Result<()> {
    for segment in segments.filter(|s| s.end > from) {
        walk_segment(segment, from, visit)?;
    }
    Ok(())
}

fn walk_segment(segment: &Segment, from: i64, visit: &mut dyn FnMut(&Header) -> bool) -> io::Result<()> {
    let first = from.max(segment.base);
    let start = match segment.around(first) {
        Some(near) => near.at,
        None => {
            let entries = segment.backing.load_index(segment.cold_end())?;
            entries[index::floor(entries, u32::try_from(first - segment.base).expect("in the segment"))]
        }
    };
    let offset = segment.base + i64::from(start.relative);
    let file = &**segment.backing.open_file()?;
    for (at, offset, limit) in segment.backing.runs(u64::from(start.position), offset, segment.size) {
        let mut walk = Walk::new(file, at, offset, limit, false);
        // Damage that nobody has noticed yet ends a run early; reads will report it.
        while let Step::Batch(header, _) = walk.step()? {
            if header.next_offset() > from && !visit(&header) {
                return Ok(());
            }
        }
    }
    Ok(())
}

impl Opening<'_> {
    /// Which leader epoch begins where. The file says so again when this returns; its name is durable before the mark
    /// is written.
    pub(super) fn epochs(&mut self, segments: &[Segment]) -> io::Result<Epochs> {
        let file = self.read_small(epochs::NAME)?;
        let said = file.as_deref().and_then(Epochs::parse);
        let end = segments.last().map_or(0, |active| active.end);
        let below = self.mark.durable.offset;
        let vouched = segments.first().is_some_and(|first| first.base < below) && !self.report.mark_lost;
        let epochs = match &said {
            Some(said) if self.report.clean => said.clone(),
            Some(said) if !self.report.mark_lost => continued(said.clone(), segments, below)?,
            None if !vouched => continued(Epochs::default(), segments, i64::MIN)?,
            _ => {
                self.report.rebuilt_epochs = file.is_some() || vouched;
                collected(segments)?
            }
        };
        let mut epochs = epochs;
        epochs.truncate(end);
        if said.unwrap_or_default() != epochs || (file.is_some() && self.report.rebuilt_epochs) {
            let path = self.dir.join(epochs::NAME);
            crate::disk::swap_file(&**self.disk, &path, epochs.format().as_bytes())?;
            self.changed = true;
        }
        Ok(epochs)
    }
}

/// What the file says of everything below the mark, and the batches of what lies above.
fn continued(mut said: Epochs, segments: &[Segment], mark: i64) -> io::Result<Epochs> {
    said.truncate(mark);
    walk_headers(segments.iter(), mark, &mut |header| {
        said.note(header.leader_epoch, header.base_offset);
        true
    })?;
    Ok(said)
}

/// What the batches say: epochs rise, so a segment is only walked if the next one begins in another epoch than it does
/// itself, or if there is no next one.
fn collected(segments: &[Segment]) -> io::Result<Epochs> {
    let mut epochs = Epochs::default();
    let mut firsts = Vec::with_capacity(segments.len());
    for segment in segments {
        let mut first = None;
        walk_headers([segment].into_iter(), segment.base, &mut |header| {
            first = Some(header.leader_epoch);
            false
        })?;
        firsts.push(first);
    }
    for (i, segment) in segments.iter().enumerate() {
        if let (Some(first), Some(Some(next))) = (firsts[i], firsts.get(i + 1))
            && first == *next
        {
            epochs.note(first, segment.base);
            continue;
        }
        walk_headers([segment].into_iter(), segment.base, &mut |header| {
            epochs.note(header.leader_epoch, header.base_offset);
            true
        })?;
    }
    Ok(epochs)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::testing::*;
    use super::*;
    use crate::disk::Disk;
    use crate::disk::sim::Crash;

    /// A log with three epochs, each over a few segments.
    fn three_epochs() -> Bench {
        let mut bench = Bench::new();
        for epoch in [3, 4, 7] {
            bench.epoch(epoch);
            (0..30).for_each(|_| bench.append(2));
            bench.sync(false);
        }
        bench
    }

    fn all(bench: &Bench) -> Vec<(i32, i64)> {
        bench.log.epochs().iter().collect()
    }

    #[test]
    fn epochs_are_the_same_after_any_start() {
        let mut bench = three_epochs();
        let known = [(3, 0), (4, 60), (7, 120)];
        assert_eq!(all(&bench), known);
        for how in [Crash::KeepAll, Crash::LoseAll, Crash::Random(3)] {
            let sim = bench.sim.fork();
            sim.crash(how);
            let disk: std::sync::Arc<dyn Disk> = std::sync::Arc::new(sim);
            let (log, report) = open(&disk, false);
            assert_eq!(log.epochs().iter().collect::<Vec<_>>(), known, "{how:?}");
            assert!(!report.rebuilt_epochs, "{report}");
        }
        assert!(bench.reopen().is_uneventful());
        assert_eq!(all(&bench), known);
    }

    #[test]
    fn a_file_that_is_missing_or_damaged_is_made_again_from_the_batches() {
        let file = Path::new(DIR).join(epochs::NAME);
        for clean in [true, false] {
            for damage in 0..3 {
                let mut bench = three_epochs();
                let known = all(&bench);
                bench.log.close().unwrap();
                match damage {
                    0 => bench.disk.remove_file(&file).unwrap(),
                    1 => bench.sim.flip_bit(&file, 150).unwrap(),
                    _ => bench.sim.set_raw(&file, b"").unwrap(),
                }
                let (log, report) = open(&bench.disk, clean);
                assert_eq!(log.epochs().iter().collect::<Vec<_>>(), known);
                assert!(report.rebuilt_epochs && !report.is_uneventful(), "{report}");
                drop(log);
                bench.sim.crash(Crash::LoseAll);
                let (log, report) = open(&bench.disk, false);
                assert_eq!(log.epochs().iter().collect::<Vec<_>>(), known);
                assert!(!report.rebuilt_epochs, "the file is there again");
            }
        }
    }

    #[test]
    fn an_epoch_whose_records_are_lost_is_lost_with_them() {
        let mut bench = three_epochs();
        bench.sync(true);
        bench.epoch(9);
        bench.append(1);
        assert_eq!(bench.log.epochs().last(), Some(9));
        bench.sim.crash(Crash::LoseAll);
        let (mut log, _) = open(&bench.disk, false);
        assert_eq!(log.epochs().last(), Some(7));
        log.set_epoch(11);
        bench.log = log;
        bench.epoch = 11;
        bench.batches.retain(|(base, _)| *base < 180);
        bench.append(1);
        assert_eq!(bench.log.epochs().end_of(9, 11, 181), Some((7, 180)), "epoch 9 ended before it began");
        bench.check_all();
    }

    #[test]
    fn the_mark_does_not_pass_an_epoch_that_its_file_does_not_have() {
        for n in 1..60 {
            let mut bench = three_epochs();
            bench.epoch(8);
            bench.sim.crash_at(n);
            for _ in 0..30 {
                if bench.try_append(2).is_err() {
                    break;
                }
                let Some(sync) = bench.log.begin_sync(false) else { break };
                if bench.log.synced(sync.run(&*bench.disk)).is_err() {
                    break;
                }
            }
            let durable = bench.log.durable_offset();
            bench.sim.crash(Crash::Random(n));
            let (log, report) = open(&bench.disk, false);
            assert!(!report.rebuilt_epochs, "crash at {n}: {report}");
            assert_eq!(log.epochs().at(179), Some(7), "crash at {n}");
            if durable > 180 {
                assert_eq!(log.epochs().at(180), Some(8), "crash at {n}");
            }
        }
    }

    #[test]
    fn a_full_disk_costs_the_file_and_no_more() {
        let mut bench = three_epochs();
        bench.sync(true);
        bench.epoch(8);
        bench.append(1);
        let sync = bench.log.begin_sync(true).unwrap();
        // Its only other call that takes room is none: the segment is written, the mark has its place.
        bench.sim.space_limit(Some(0));
        bench.log.synced(sync.run(&*bench.disk)).unwrap();
        bench.sim.space_limit(None);
        assert_eq!(bench.log.durable_offset(), 181);
        bench.sim.crash(Crash::LoseAll);
        let (log, _) = open(&bench.disk, false);
        assert_eq!(log.epochs().iter().last(), Some((8, 180)));
    }
}
