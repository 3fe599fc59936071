//! Deadlines in order.
//!
//! Invariant: a key may stand in more than once; whoever takes a due key asks its owner whether it is really due. That
//! makes moving a deadline later free, which is what happens to nearly all of them.

use std::collections::BTreeSet;

use crate::time::Time;

/// A set of deadlines, each with a key.
#[derive(Debug)]
pub struct Timers<K> {
    entries: BTreeSet<(Time, K)>,
}

impl<K: Ord + Copy> Default for Timers<K> {
    fn default() -> Self {
        Self { entries: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> Timers<K> {
    /// Adds a deadline.
    pub fn insert(&mut self, at: Time, key: K) {
        self.entries.insert((at, key));
    }

    /// Removes a deadline that was added with exactly these values.
    pub fn remove(&mut self, at: Time, key: K) {
        self.entries.remove(&(at, key));
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Time> {
        self.entries.first().map(|(at, _)| *at)
    }

    /// Takes the earliest key whose deadline is not after `now`.
    pub fn take_due(&mut self, now: Time) -> Option<K> {
        let &(at, key) = self.entries.first()?;
        if at > now {
            return None;
        }
        self.entries.pop_first();
        Some(key)
    }

    /// How many deadlines are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_keys_come_in_order_and_no_others() {
        let mut timers = Timers::default();
        timers.insert(Time(30), 'c');
        timers.insert(Time(10), 'a');
        timers.insert(Time(20), 'b');
        timers.remove(Time(20), 'b');
        assert_eq!(timers.next(), Some(Time(10)));
        assert_eq!(timers.take_due(Time(9)), None);
        assert_eq!(timers.take_due(Time(30)), Some('a'));
        assert_eq!(timers.take_due(Time(30)), Some('c'));
        assert!(timers.take_due(Time(30)).is_none() && timers.is_empty());
    }
}
