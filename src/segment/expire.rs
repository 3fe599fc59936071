//! Retention: which segments leave the front of a log, and when.
//!
//! Invariants: the active segment stays, and so does what is not durable; the log start offset moves up only, and
//! segments go only from the front.

use super::log::Log;
use super::sync::Unlink;

/// Somebody whom retention waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// The offset of the next record that they will read.
    pub offset: i64,
    /// Most bytes of expired segments that are kept for them.
    pub bytes: u64,
}

impl Log {
    /// Drops segments from the front that lie wholly below the log start offset, or that retention no longer wants: as
    /// long as `retention_bytes` remain without them, or when their newest record is more than `retention_ms` old; -1
    /// keeps them. A segment whose records carry no timestamp does not expire by time. What has expired and is waited
    /// for stays. Returns what a worker has to unlink.
    pub fn expire(
        &mut self,
        wall: i64,
        retention_bytes: i64,
        retention_ms: i64,
        wait: Option<Wait>,
    ) -> Option<Unlink> {
        self.shed();
        if self.fenced {
            return None;
        }
        let mut gone = Vec::new();
        let (mut expired, mut overdue) = self.expired(wall, retention_bytes, retention_ms);
        while expired > 0 && self.front_may_go() {
            let front = &self.segments[0];
            let below_start = front.end <= self.log_start;
            if !below_start && wait.is_some_and(|wait| front.end > wait.offset && overdue <= wait.bytes) {
                break;
            }
            let segment = self.segments.pop_front().expect("checked");
            self.size -= segment.size;
            (expired, overdue) = (expired - 1, overdue - segment.size);
            gone.push((segment.base, segment.backing));
        }
        if gone.is_empty() {
            return None;
        }
        self.log_start = self.log_start.max(self.segments[0].base);
        Some(Unlink { dir: self.dir.clone(), mark: self.begin_mark(), segments: gone })
    }

    /// Moves the log start offset up, in memory. [`Log::begin_mark`] makes it durable.
    pub fn trim(&mut self, to: i64) {
        self.log_start = self.log_start.max(to.min(self.end_offset()));
    }

    /// The active segment stays, what is not durable stays, and so does one whose index or name a worker may be
    /// writing.
    fn front_may_go(&self) -> bool {
        let front = &self.segments[0];
        let index_in_use = self.syncing.as_ref().is_some_and(|s| s.index_from <= front.base);
        self.segments.len() > 1 && front.end <= self.durable.offset && !index_in_use && !front.is_pinned()
    }

    /// How many segments from the front lie below the log start offset or are not wanted by retention, and their bytes.
    fn expired(&self, wall: i64, retention_bytes: i64, retention_ms: i64) -> (usize, u64) {
        let (mut count, mut bytes) = (0, 0);
        for segment in self.segments.iter().take(self.segments.len() - 1) {
            let rest = self.size - bytes - segment.size;
            let too_much = u64::try_from(retention_bytes).is_ok_and(|keep| rest >= keep);
            let too_old = retention_ms >= 0
                && segment.max_timestamp >= 0
                && wall.saturating_sub(segment.max_timestamp) > retention_ms;
            if segment.end > self.log_start && !too_much && !too_old {
                break;
            }
            (count, bytes) = (count + 1, bytes + segment.size);
        }
        (count, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::disk::sim::Crash;

    #[test]
    fn retention_by_bytes_keeps_at_least_that_many() {
        let mut b = Bench::new();
        (0..80).for_each(|_| b.append(2));
        assert!(b.log.expire(0, 3_000, -1, None).is_none(), "what is not durable does not expire");
        b.sync(false);
        assert!(b.log.expire(0, -1, -1, None).is_none());
        let files = b.sim.files().len();
        b.log.expire(0, 3_000, -1, None).unwrap().run(&*b.disk).unwrap();
        assert!((3_000..6_000).contains(&b.log.size()), "{}", b.log.size());
        assert!(b.log.start_offset() > 0 && b.sim.files().len() < files);
        assert!(matches!(b.read(0, 1, 1), Err(super::super::ReadError::OutOfRange)));
        b.check_all();
        let start = b.log.start_offset();
        assert!(b.reopen().is_uneventful());
        assert_eq!(b.log.start_offset(), start);
        b.log.expire(0, 0, -1, None).unwrap().run(&*b.disk).unwrap();
        assert_eq!(b.log.segment_count(), 1, "the active segment stays");
    }

    #[test]
    fn what_somebody_has_not_read_stays_until_it_is_too_much() {
        let mut b = Bench::new();
        (0..240).for_each(|_| b.append(2));
        b.sync(false);
        let all = b.log.size();
        let wait = |offset, bytes| Some(Wait { offset, bytes });
        assert!(b.log.expire(0, 0, -1, wait(0, u64::MAX)).is_none(), "nothing was read");
        let read = b.log.segments[1].end;
        b.log.expire(0, 0, -1, wait(read, u64::MAX)).unwrap().run(&*b.disk).unwrap();
        assert_eq!(b.log.start_offset(), read, "what was read goes");
        b.log.expire(0, 0, -1, wait(read, all / 4)).unwrap().run(&*b.disk).unwrap();
        let kept = b.log.size() - b.log.segments.back().unwrap().size;
        assert!((1..=all / 4).contains(&kept), "{kept} of {all} bytes are kept for them");
        b.log.trim(b.log.end_offset());
        b.log.expire(0, -1, -1, wait(0, u64::MAX)).unwrap().run(&*b.disk).unwrap();
        assert_eq!(b.log.segment_count(), 1, "nobody is waited for below the log start offset");
        b.check_all();
    }

    #[test]
    fn retention_by_time_looks_at_the_newest_record_of_a_segment() {
        let mut b = Bench::new();
        for _ in 0..80 {
            b.append(1);
            b.wall += 10;
        }
        b.sync(false);
        let unlink = b.log.expire(b.wall, -1, 300, None).unwrap();
        unlink.run(&*b.disk).unwrap();
        let oldest = b.wall - 300;
        let timestamp = |offset: i64| 1_000 + 10 * offset;
        assert!(timestamp(b.log.start_offset() - 1) < oldest, "what is gone was old");
        assert!(timestamp(b.log.segments[1].base - 1) >= oldest, "a segment goes when all of it is old");
        b.check_all();
    }

    #[test]
    fn trimming_moves_the_start_at_once_and_durably_with_the_mark() {
        let mut b = Bench::new();
        (0..60).for_each(|_| b.append(3));
        b.sync(true);
        b.log.trim(50);
        assert_eq!(b.log.start_offset(), 50);
        b.log.trim(20);
        assert_eq!(b.log.start_offset(), 50, "it never moves back");
        assert!(b.read(49, 60, 1).is_err());
        b.log.begin_mark().run().unwrap();
        b.sim.crash(Crash::LoseAll);
        b.log = open(&b.disk, false).0;
        assert_eq!(b.log.start_offset(), 50);
        b.check_all();
        b.log.trim(120);
        let count = b.log.segment_count();
        b.log.expire(0, -1, -1, None).unwrap().run(&*b.disk).unwrap();
        assert!(b.log.segment_count() < count, "segments below the start go without any retention");
        b.log.trim(i64::MAX);
        assert_eq!(b.log.start_offset(), b.log.end_offset());
    }
}
