//! Reading a stretch of the log from front to back, batch by batch, away from the poll loop.
//!
//! Invariant: batches come in order of offset, checked, each once; one that lies only partly in the stretch comes
//! whole. Ranges that are known to be damaged are passed over, and so is a segment that retention has removed in the
//! meantime; any other damage is an error.

use std::io;
use std::sync::Arc;

use krappy_wire::batch::Header;

use super::Log;
use super::segment::Backing;
use super::walk::{Step, Walk};

/// A stretch of the log as it was when this was made.
pub struct Replay {
    /// Still to be read, the next one last. Each is an undamaged run of batches in one file.
    runs: Vec<Run>,
    from: i64,
    until: i64,
}

struct Run {
    backing: Arc<Backing>,
    position: u64,
    offset: i64,
    limit: u64,
}

impl Log {
    /// The batches that hold offsets from `from` to before `until`.
    pub fn replay(&self, from: i64, until: i64) -> Replay {
        let until = until.min(self.end_offset());
        let mut runs = Vec::new();
        for segment in self.segments_from(from).filter(|s| s.base < until) {
            // Without the index in memory the whole segment is walked; a replay is mostly of all of it.
            let near = (from > segment.base).then(|| segment.around(from)).flatten();
            let (position, offset) = near.map_or((0, segment.base), |near| {
                (u64::from(near.at.position), segment.base + i64::from(near.at.relative))
            });
            for (position, offset, limit) in segment.backing.runs(position, offset, segment.size) {
                runs.push(Run { backing: segment.backing.clone(), position, offset, limit });
            }
        }
        runs.reverse();
        Replay { runs, from, until }
    }
}

impl Replay {
    /// The next offset to be read: everything in the stretch below has been visited.
    pub fn offset(&self) -> i64 {
        self.from
    }

    /// Whether there is nothing left.
    pub fn is_done(&self) -> bool {
        self.runs.is_empty()
    }

    /// Shows `visit` batch after batch until it says that it has enough, or `budget` bytes were read. Blocks.
    pub fn step(
        &mut self,
        budget: u64,
        visit: &mut dyn FnMut(&Header, &[u8]) -> io::Result<bool>,
    ) -> io::Result<()> {
        let mut left = budget;
        while left > 0
            && let Some(run) = self.runs.last_mut()
        {
            let file = match run.backing.open_file() {
                Ok(file) => file.clone(),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    self.runs.pop();
                    continue;
                }
                Err(e) => return Err(e),
            };
            let mut walk = Walk::new(&*file, run.position, run.offset, run.limit, true);
            let finished = loop {
                let at = (walk.position, walk.offset);
                let header = match walk.step()? {
                    Step::Batch(header, _) if header.base_offset < self.until => header,
                    Step::Batch(..) | Step::End => break true,
                    Step::Bad(flaw) => {
                        let text = format!("byte {} of the segment at {}: {flaw}", at.0, run.backing.base());
                        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                    }
                };
                if header.next_offset() > self.from {
                    let behind = (walk.position, walk.offset);
                    (walk.position, walk.offset) = at;
                    let more = visit(&header, walk.batch(header.size())?)?;
                    (walk.position, walk.offset) = behind;
                    self.from = header.next_offset();
                    left = left.saturating_sub(header.size() as u64);
                    if !more || left == 0 {
                        (run.position, run.offset) = behind;
                        break false;
                    }
                }
            };
            if !finished {
                return Ok(());
            }
            self.runs.pop();
        }
        if self.runs.is_empty() {
            self.from = self.from.max(self.until);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;

    #[test]
    fn a_replay_in_small_steps_shows_every_batch_once_and_in_order() {
        let mut b = Bench::new();
        (0..60).for_each(|i| b.append(1 + i % 4));
        assert!(b.log.segment_count() > 2);
        for (from, until) in [(0, b.log.end_offset()), (17, 90), (90, 90), (140, 1_000)] {
            let mut replay = b.log.replay(from, until);
            let mut seen = Vec::new();
            let mut steps = 0;
            while !replay.is_done() {
                let mut count = 0;
                replay
                    .step(300, &mut |header, bytes| {
                        seen.push((header.base_offset, bytes.to_vec()));
                        count += 1;
                        Ok(count < 3)
                    })
                    .unwrap();
                steps += 1;
                assert!(steps < 1_000);
            }
            assert_eq!(replay.offset(), until.min(b.log.end_offset()).max(from));
            let inside = |(base, bytes): &&(i64, Vec<u8>)| {
                *base < until && super::super::testing::last(*base, bytes) >= from
            };
            assert_eq!(seen, b.batches.iter().filter(inside).cloned().collect::<Vec<_>>(), "{from}..{until}");
        }
    }
}
