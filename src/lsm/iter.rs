//! Walks a run in both directions.
//!
//! It holds a *window*, the bytes of some neighbouring blocks. After a seek that is one block; while the walk goes on,
//! each window is twice as large as the one before, up to [`AHEAD`], so that a look at a few entries stays cheap and a
//! scan makes few system calls.
//!
//! Invariant: a call that ends in `Cold` may be repeated, and `next` and `prev` have then changed nothing. A block is
//! looked into only after its seal was checked, once for each time that the walk comes to it.

use std::ops::Range;
use std::sync::Arc;

use super::access::read_exact;
use super::block::{Block, Cursor, Flaw};
use super::seal::SEAL;
use super::{Access, Entry, ReadError, Run};

/// Bytes of the largest window. Scans were as fast with twice as much, and a third slower with half.
const AHEAD: u64 = 128 << 10;
/// Bytes of the second window; the first is one block.
const SECOND: u64 = 32 << 10;

/// An iterator over the entries of a run, one step at a time.
pub struct RunIter {
    run: Arc<Run>,
    access: Access,
    window: Window,
    /// The next window is read in here, so that a read that fails spoils nothing.
    spare: Window,
    /// How much to read when the walk leaves the window.
    ahead: u64,
    /// The block in the window that was checked last, and where its content lies in there.
    checked: Option<(usize, Range<usize>)>,
    /// The block that the cursor is in; `None` past either end. If there is one, it is the checked one.
    at: Option<usize>,
    cursor: Cursor,
}

/// Bytes of neighbouring blocks.
#[derive(Default)]
struct Window {
    bytes: Vec<u8>,
    /// Where they begin in the file.
    from: u64,
    blocks: Range<usize>,
}

/// Where the walk is going, and so what a window should hold besides the wanted block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Backward,
    Nowhere,
}

impl RunIter {
    pub(super) fn new(run: Arc<Run>, access: Access) -> Self {
        RunIter {
            run,
            access,
            window: Window::default(),
            spare: Window::default(),
            ahead: SECOND,
            checked: None,
            at: None,
            cursor: Cursor::default(),
        }
    }

    /// To the first entry at or after `(key, seq)` in tree order; `i64::MAX` means the newest version of the key.
    pub fn seek(&mut self, key: &[u8], seq: i64) -> Result<(), ReadError> {
        let n = self.start((key, seq));
        if !self.enter(n, Way::Nowhere, |cursor, block| cursor.seek(block, (key, seq)))? {
            self.at = None;
            if n + 1 < self.run.blocks() {
                self.enter(n + 1, Way::Nowhere, Cursor::first)?;
            }
        }
        Ok(())
    }

    /// To the last entry with a key below `key`, or equal to it if `inclusive`; `None`: to the very last.
    pub fn seek_back(&mut self, key: Option<&[u8]>, inclusive: bool) -> Result<(), ReadError> {
        let Some(key) = key else {
            self.start((&[], 0));
            return self.enter(self.run.blocks() - 1, Way::Nowhere, Cursor::last).map(|_| ());
        };
        // All versions of the key are before the first of these places, and none is before the second.
        let place = if inclusive { (key, -1) } else { (key, i64::MAX) };
        let n = self.start(place);
        let before = |cursor: &mut Cursor, block: &Block<'_>| match cursor.seek(block, place)? {
            true => cursor.prev(block),
            false => cursor.last(block),
        };
        if !self.enter(n, Way::Nowhere, before)? {
            self.at = None;
            if n > 0 {
                self.enter(n - 1, Way::Nowhere, Cursor::last)?;
            }
        }
        Ok(())
    }

    /// To the first entry.
    pub fn first(&mut self) -> Result<(), ReadError> {
        self.start((&[], 0));
        self.enter(0, Way::Nowhere, Cursor::first).map(|_| ())
    }

    /// Where it is; `None` past either end.
    #[inline]
    pub fn entry(&self) -> Option<Entry<'_>> {
        let (_, span) = self.at.and(self.checked.as_ref())?;
        let value = self.cursor.value();
        let value = &self.window.bytes[span.start + value.start..span.start + value.end];
        Some(Entry { value, ..self.cursor.without_value() })
    }

    /// To the entry after; past the end it stays there.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<(), ReadError> {
        let Some(n) = self.at else { return Ok(()) };
        if self.enter(n, Way::Forward, Cursor::next)? {
            return Ok(());
        }
        if n + 1 == self.run.blocks() {
            self.at = None;
            return Ok(());
        }
        self.enter(n + 1, Way::Forward, Cursor::first).map(|_| ())
    }

    /// To the entry before; past the beginning it stays there.
    pub fn prev(&mut self) -> Result<(), ReadError> {
        let Some(n) = self.at else { return Ok(()) };
        if self.enter(n, Way::Backward, Cursor::prev)? {
            return Ok(());
        }
        if n == 0 {
            self.at = None;
            return Ok(());
        }
        self.enter(n - 1, Way::Backward, Cursor::last).map(|_| ())
    }

    /// Begins a search: nothing is known yet, and what follows may be a short walk.
    fn start(&mut self, place: (&[u8], i64)) -> usize {
        self.at = None;
        self.ahead = SECOND;
        self.run.index().find(place)
    }

    /// Goes to a block and moves the cursor in there; whether it found something.
    #[inline]
    fn enter(
        &mut self,
        n: usize,
        way: Way,
        go: impl FnOnce(&mut Cursor, &Block<'_>) -> Result<bool, Flaw>,
    ) -> Result<bool, ReadError> {
        let span = match &self.checked {
            Some((checked, span)) if *checked == n => span.clone(),
            _ => self.load(n, way)?,
        };
        let found = Block::new(&self.window.bytes[span]).and_then(|block| go(&mut self.cursor, &block));
        self.at = found.is_ok().then_some(n);
        found.map_err(|flaw| self.run.corrupt(n, flaw))
    }

    /// Makes the block the checked one, reading a new window if it is not in this one; where its content lies.
    #[cold]
    fn load(&mut self, n: usize, way: Way) -> Result<Range<usize>, ReadError> {
        let fresh = !self.window.blocks.contains(&n);
        if fresh {
            self.read(n, way)?;
        }
        let window = if fresh { &self.spare } else { &self.window };
        let place = self.run.block_range(n);
        let span = (place.start - window.from) as usize..(place.end - window.from) as usize;
        self.run.block(n, &window.bytes[span.clone()])?;
        if fresh {
            std::mem::swap(&mut self.window, &mut self.spare);
        }
        let span = span.start..span.end - SEAL;
        self.checked = Some((n, span.clone()));
        Ok(span)
    }

    /// Reads a window with this block into the spare one.
    fn read(&mut self, n: usize, way: Way) -> Result<(), ReadError> {
        let blocks = self.neighbours(n, way);
        let from = self.run.block_range(blocks.start).start;
        let len = (self.run.block_range(blocks.end - 1).end - from) as usize;
        let spare = &mut self.spare;
        // Shrinking and growing again would mean to fill it with zeros each time.
        if spare.bytes.len() < len {
            spare.bytes.resize(len, 0);
        }
        if !read_exact(self.run.file(), from, &mut spare.bytes[..len], self.access)? {
            return Err(self.run.corrupt(n, "the file ends within it or soon after"));
        }
        (spare.from, spare.blocks) = (from, blocks);
        if way != Way::Nowhere {
            self.ahead = (self.ahead * 2).min(AHEAD);
        }
        Ok(())
    }

    fn neighbours(&self, n: usize, way: Way) -> Range<usize> {
        let place = self.run.block_range(n);
        let mut blocks = n..n + 1;
        match way {
            Way::Nowhere => {}
            Way::Forward => {
                let fits = |b: usize| self.run.block_range(b).end - place.start <= self.ahead;
                while blocks.end < self.run.blocks() && fits(blocks.end) {
                    blocks.end += 1;
                }
            }
            Way::Backward => {
                let fits = |b: usize| place.end - self.run.block_range(b).start <= self.ahead;
                while blocks.start > 0 && fits(blocks.start - 1) {
                    blocks.start -= 1;
                }
            }
        }
        blocks
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::testing::*;
    use super::super::tree_order;
    use super::*;
    use crate::disk::sim::{Rng, SimDisk};

    fn sample(count: usize) -> (SimDisk, Arc<Run>, Vec<Owned>) {
        let (sim, disk) = disk(1);
        let entries = random_entries(&mut Rng::new(9), count);
        let run = open_run(&*disk, &write_run(&*disk, 1, &entries));
        (sim, run, entries)
    }

    fn here(iter: &RunIter) -> Option<Owned> {
        iter.entry().map(Owned::of)
    }

    #[test]
    fn a_walk_in_either_direction_meets_every_entry() {
        let (sim, run, entries) = sample(6_000);
        for cold in [0.0, 0.5] {
            sim.cold(cold);
            let mut iter = run.iter(Access::Cached);
            assert_eq!(here(&iter), None, "nowhere yet");
            warmed(|| iter.first()).unwrap();
            for expected in &entries {
                assert_eq!(iter.entry(), Some(expected.entry()));
                warmed(|| iter.next()).unwrap();
            }
            assert_eq!(here(&iter), None);
            warmed(|| iter.seek_back(None, false)).unwrap();
            for expected in entries.iter().rev() {
                assert_eq!(iter.entry(), Some(expected.entry()));
                warmed(|| iter.prev()).unwrap();
            }
            assert_eq!(here(&iter), None);
        }
    }

    #[test]
    fn seeks_find_what_a_sorted_list_says() {
        let (sim, run, entries) = sample(4_000);
        let mut rng = Rng::new(4);
        let mut iter = run.iter(Access::Cached);
        for (round, probe) in random_entries(&mut rng, 3_000).into_iter().enumerate() {
            sim.cold(if round % 2 == 0 { 0.0 } else { 0.3 });
            let seq = [i64::MAX, probe.seq, 0][rng.below(3) as usize];
            let inclusive = rng.below(2) == 0;
            let below = |e: &Owned| if inclusive { e.key <= probe.key } else { e.key < probe.key };
            let at = if rng.below(2) == 0 {
                warmed(|| iter.seek(&probe.key, seq)).unwrap();
                Some(entries.partition_point(|e| tree_order(e.entry().place(), (&probe.key, seq)).is_lt()))
            } else {
                warmed(|| iter.seek_back(Some(&probe.key), inclusive)).unwrap();
                entries.partition_point(below).checked_sub(1)
            };
            let entry = |at: Option<usize>| at.and_then(|at| entries.get(at)).cloned();
            assert_eq!(here(&iter), entry(at), "{:?} {seq} {inclusive}", probe.key);
            let Some(mut at) = at.filter(|at| *at < entries.len()) else { continue };
            for _ in 0..rng.below(300) {
                let forward = rng.below(8) < 5;
                if forward {
                    warmed(|| iter.next()).unwrap();
                } else {
                    warmed(|| iter.prev()).unwrap();
                }
                let next = if forward { Some(at + 1) } else { at.checked_sub(1) };
                assert_eq!(here(&iter), entry(next));
                match next.filter(|n| *n < entries.len()) {
                    Some(next) => at = next,
                    None => break,
                }
            }
        }
    }

    #[test]
    fn a_cold_step_leaves_the_walk_where_it_was() {
        let (sim, run, entries) = sample(3_000);
        let mut iter = run.iter(Access::Cached);
        iter.first().unwrap();
        sim.cold(1.0);
        let steps = (0..).take_while(|_| iter.next().is_ok()).count();
        assert!((1..entries.len() - 1).contains(&steps), "within the first block");
        assert!(matches!(iter.next(), Err(ReadError::Cold(_))));
        assert_eq!(iter.entry(), Some(entries[steps].entry()));
        let mut blocking = run.iter(Access::Blocking);
        blocking.first().unwrap();
        (0..entries.len() - 1).for_each(|_| blocking.next().unwrap());
        assert_eq!(blocking.entry(), entries.last().map(Owned::entry));
    }

    #[test]
    fn damage_ends_a_walk_with_an_error_and_never_early() {
        let (sim, run, entries) = sample(3_000);
        let damaged = run.blocks() / 2;
        let at = run.block_range(damaged).start;
        sim.flip_bit(&Path::new(DIR).join("000001.run"), at * 8).unwrap();
        let mut iter = run.iter(Access::Cached);
        iter.first().unwrap();
        let mut met = 0;
        let error = loop {
            assert_eq!(iter.entry(), Some(entries[met].entry()));
            met += 1;
            match iter.next() {
                Ok(()) => {}
                Err(e) => break e,
            }
        };
        assert_eq!(error.to_string(), format!("/view/000001.run: block at byte {at}: it fails its checksum"));
        assert!(iter.next().is_err(), "and again");
        iter.prev().unwrap();
        assert_eq!(iter.entry(), Some(entries[met - 2].entry()), "back is still possible");
        let last = entries.last().unwrap();
        iter.seek(&last.key, last.seq).unwrap();
        assert_eq!(iter.entry(), Some(last.entry()), "and so is what lies behind the damage");
    }
}
