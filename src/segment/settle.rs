//! Finishing what a crash has left of a swap: a cleaned segment that reaches over the old ones behind it.
//!
//! ```text
//!  [ 0.log, cleaned: offsets 0..299                 ][ 300.log ...
//!                [ 100.log, old ][ 200.log, old ]
//! ```
//!
//! Below the mark's segment nothing else makes such files: a recovery that copies a tail moves the mark only after the
//! original was cut, durably. So the longer one holds what the cleaner has left of the others, and they go.
//!
//! A cleaned segment that reaches over no other one may still owe its name to a rename that is not durable, or that a
//! failed sync has doomed: then a loss of power would bring the old file back, and with it what tombstones hid that
//! have gone since. Its index is still missing then, so a cleaned segment without an index is copied, too.
//!
//! Invariants: a segment is removed only if the one before it is intact from its first to its last batch and ends
//! exactly at or behind the end of the removed one; and not before a copy of that one, which no failed sync of the
//! directory can have doomed, has its name durably. If the longer one is damaged, it is left to the survey, which cuts
//! it where the next begins: the old segments hold every record that the cleaned one does.

use std::io;

use super::names::log_name;
use super::recover::Opening;
use super::sync::remove_segment;
use super::torn;
use super::walk::{Step, Walk};

impl Opening<'_> {
    /// Removes segments whose place a cleaned one has taken. Only a process that died in the middle leaves any.
    pub(super) fn settle_cleaned(&mut self) -> io::Result<()> {
        if self.report.clean {
            return Ok(());
        }
        let mut at = 0;
        while let Some((base, len)) = self.found.segments.get(at).copied().filter(|s| self.is_below_mark(s.0))
        {
            let covered = self.covered(at, base, len)?;
            if covered > 0 || self.lacks_index_after_clean(base, len)? {
                self.copy_over_itself(base, len)?;
                self.changed = true;
                let old: Vec<_> = self.found.segments.drain(at + 1..=at + covered).collect();
                for (old, len) in old {
                    self.let_go(old, len)?;
                }
            }
            at += 1;
        }
        Ok(())
    }

    /// Removes a segment whose place was taken. One that is not intact is kept aside: a swap leaves no such file, so
    /// nobody knows what it is.
    fn let_go(&mut self, old: i64, len: u64) -> io::Result<()> {
        if self.intact_end(old, len)?.is_none() {
            self.set_aside(old, len)?;
        } else {
            self.report.removed.push(log_name(old));
        }
        remove_segment(&**self.disk, self.dir, old)?;
        self.found.indexes.retain(|(index, _)| *index != old);
        Ok(())
    }

    fn is_below_mark(&self, base: i64) -> bool {
        base < self.mark.durable.segment
    }

    /// Whether there is no index, and some batch has fewer records than it spans offsets.
    fn lacks_index_after_clean(&self, base: i64, len: u64) -> io::Result<bool> {
        if self.found.indexes.iter().any(|(index, _)| *index == base) {
            return Ok(false);
        }
        let file = self.open(base)?;
        let mut walk = Walk::new(&*file, 0, base, len, false);
        while let Step::Batch(header, _) = walk.step()? {
            if header.record_count <= header.last_offset_delta {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How many of the segments that follow number `at` lie wholly within it.
    fn covered(&self, at: usize, base: i64, len: u64) -> io::Result<usize> {
        let later = &self.found.segments[at + 1..];
        let overlaps = |end: i64| later.iter().take_while(|(next, _)| *next < end).count();
        // What a complete index says is enough to see that nothing overlaps. That something does needs the whole file.
        if let Some(kept) = self.trusted(base, len)?
            && overlaps(kept.end()) == 0
        {
            return Ok(0);
        }
        let Some(end) = self.intact_end(base, len)? else { return Ok(0) };
        let count = overlaps(end);
        let Some((last, last_len)) = count.checked_sub(1).map(|i| later[i]) else { return Ok(0) };
        if !self.is_below_mark(last) {
            return Ok(0);
        }
        let next = later.get(count).map_or(self.mark.durable.segment, |(next, _)| *next);
        let within = next == end || self.intact_end(last, last_len)?.is_some_and(|e| e <= end);
        Ok(if within { count } else { 0 })
    }

    /// The offset after the last batch, if every batch of the file is intact and follows on the one before.
    fn intact_end(&self, base: i64, len: u64) -> io::Result<Option<i64>> {
        let file = self.open(base)?;
        let mut walk = Walk::new(&*file, 0, base, len, true);
        loop {
            match walk.step()? {
                Step::Batch(..) => {}
                Step::Bad(_) => return Ok(None),
                Step::End => return Ok(Some(walk.offset)),
            }
        }
    }

    fn copy_over_itself(&mut self, base: i64, len: u64) -> io::Result<()> {
        let file = self.open(base)?;
        torn::copy_aside(&**self.disk, self.dir, &log_name(base), &*file, 0, len)?;
        self.report.copied_bytes += len;
        Ok(())
    }
}
