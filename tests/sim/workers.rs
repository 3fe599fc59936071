//! The worker threads without threads: jobs start in order, as many at a time as there are workers, take effect at a
//! moment that the seed chooses, and are reported at a later one.

use std::collections::VecDeque;
use std::sync::Arc;

use krappy::disk::Disk;
use krappy::disk::sim::Rng;
use krappy::worker::{Done, Job};

/// Jobs that wait and jobs under way.
pub struct Workers {
    queue: VecDeque<Job>,
    running: Vec<Running>,
    count: usize,
    /// How many turns a job may take, at most.
    slowest: u64,
    rng: Rng,
}

enum Running {
    /// Takes effect in so many turns.
    Waiting(u64, Job),
    /// Is reported in so many turns.
    Ran(u64, Done),
}

impl Workers {
    pub fn new(seed: u64, count: usize, slowest: u64) -> Workers {
        Workers { queue: VecDeque::new(), running: Vec::new(), count, slowest, rng: Rng::new(seed) }
    }

    pub fn give(&mut self, jobs: Vec<Job>) {
        self.queue.extend(jobs);
    }

    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty()
    }

    /// A turn passes. What is reported.
    pub fn pass(&mut self, disk: &Arc<dyn Disk>) -> Vec<Done> {
        while self.running.len() < self.count
            && let Some(job) = self.queue.pop_front()
        {
            let delay = self.delay();
            self.running.push(Running::Waiting(delay, job));
        }
        let mut done = Vec::new();
        for running in std::mem::take(&mut self.running) {
            match running {
                Running::Waiting(0, job) => {
                    let result = job.run(disk);
                    let delay = self.delay();
                    self.running.push(Running::Ran(delay, result));
                }
                Running::Waiting(n, job) => self.running.push(Running::Waiting(n - 1, job)),
                Running::Ran(0, result) => done.push(result),
                Running::Ran(n, result) => self.running.push(Running::Ran(n - 1, result)),
            }
        }
        done
    }

    fn delay(&mut self) -> u64 {
        match self.rng.below(8) {
            0 => self.rng.below(self.slowest + 1),
            _ => self.rng.below(3),
        }
    }
}
