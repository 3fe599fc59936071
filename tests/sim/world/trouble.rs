//! What goes wrong in a simulation: crashes, disk errors, bits that rot, and ends of the broker from outside.
//!
//! Invariant: in a quiet phase nothing does, and each start of the broker before it comes to an end.

use std::path::PathBuf;

use krappy::disk::sim::{Crash, Fault, SimDisk};

use super::World;

/// How a start of the broker is ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Clean,
    Kill,
    PowerCut,
}

impl World {
    pub(super) fn faults_left(&self) -> bool {
        self.plan.faults && !self.quiet && self.boots < self.plan.boots
    }

    /// Decides how this start of the broker will end.
    pub(super) fn plan_trouble(&mut self) {
        // A crash that was planned for the start and did not come is called off.
        self.disk.crash_at(u64::MAX / 2);
        self.ends_in = None;
        self.history.views_may_fail = self.rotten;
        self.history.disk_may_fail = false;
        self.rots_in = None;
        self.history.boots_may_come = self.plan.faults;
        if !self.faults_left() {
            return;
        }
        let calls = 1 + self.rng.below(250);
        let steps = 1 + self.rng.below(800) as u32;
        let trouble = self.rng.below(10);
        // A disk error may be found late, and a view that it has broken comes back after half a minute.
        self.history.disk_may_fail = matches!(trouble, 4..=6);
        self.history.views_may_fail |= self.history.disk_may_fail;
        if self.plan.compacts && self.rng.below(4) == 0 {
            self.rots_in = Some(self.rng.below(300) as u32);
        }
        match trouble {
            0..4 => self.disk.crash_at(calls),
            4 => self.fail(|disk, n| disk.fail_sync(n, Fault::Io), calls / 3 + 1),
            5 => self.fail(|disk, n| disk.fail_after(n, Fault::NoSpace), calls),
            6 => self.fail(|disk, n| disk.fail_after(n, Fault::Io), calls),
            7 => self.ends_in = Some((steps, End::Clean)),
            8 => self.ends_in = Some((steps, End::Kill)),
            _ => self.ends_in = Some((steps, End::PowerCut)),
        }
        // Whatever else happens, the next start comes.
        self.ends_in = self.ends_in.or(Some((1_000, End::PowerCut)));
    }

    fn fail(&mut self, plan: impl Fn(&SimDisk, u64), n: u64) {
        self.outcome.disk_errors += 1;
        plan(&self.disk, n);
    }

    /// A bit of a view's files changes by itself.
    pub(super) fn rot(&mut self) {
        if self.rots_in.take_if(|steps| *steps == 0).is_none() {
            self.rots_in = self.rots_in.map(|steps| steps - 1);
            return;
        }
        let is_view = |path: &PathBuf| path.parent().is_some_and(|dir| dir.ends_with("view"));
        let files: Vec<_> = self.disk.files().into_iter().filter(is_view).collect();
        let Some(path) = files.get(self.rng.below(files.len().max(1) as u64) as usize) else { return };
        let bits = 8 * self.disk.raw(path).expect("it was listed").len() as u64;
        let bit = self.rng.below(bits.max(1));
        self.history.note(|| format!("ROT of {} at byte {}", path.display(), bit / 8));
        self.disk.flip_bit(path, bit).expect("it was listed");
        (self.rotten, self.history.views_may_fail) = (true, true);
        self.outcome.rots += 1;
    }

    pub(super) fn come_to_an_end(&mut self) {
        let Some((steps, end)) = self.ends_in else { return };
        if steps > 0 {
            self.ends_in = Some((steps - 1, end));
            return;
        }
        self.ends_in = None;
        match end {
            End::Clean => self.stop(false),
            End::Kill => self.restart(Some(Crash::KeepAll)),
            End::PowerCut if self.rng.below(2) == 0 => self.restart(Some(Crash::LoseAll)),
            End::PowerCut => {
                let seed = self.rng.next_u64();
                self.restart(Some(Crash::Random(seed)));
            }
        }
    }
}
