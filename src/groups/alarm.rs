//! A deadline that is moved often, such as that of a session, which every heartbeat moves.
//!
//! Invariant: an alarm that is set has exactly one entry in its timers, at its time or before it; one that is not set
//! has none. So moving it later costs nothing, and an entry that comes too early is put back.

use crate::time::Time;
use crate::timers::Timers;

/// One deadline, or none.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    at: Option<Time>,
    entry: Option<Time>,
}

impl Alarm {
    /// Sets or moves it.
    pub fn set<K: Ord + Copy>(&mut self, at: Time, key: K, timers: &mut Timers<K>) {
        self.at = Some(at);
        if self.entry.is_none_or(|entry| entry > at) {
            self.unlist(key, timers);
            timers.insert(at, key);
            self.entry = Some(at);
        }
    }

    /// Makes it ring never.
    pub fn clear<K: Ord + Copy>(&mut self, key: K, timers: &mut Timers<K>) {
        self.at = None;
        self.unlist(key, timers);
    }

    /// Its entry was taken out of the timers at `now`. `true`: it rings, and is set no more.
    pub fn rings<K: Ord + Copy>(&mut self, now: Time, key: K, timers: &mut Timers<K>) -> bool {
        self.entry = None;
        match self.at {
            Some(at) if at > now => {
                self.set(at, key, timers);
                false
            }
            set => {
                self.at = None;
                set.is_some()
            }
        }
    }

    /// Whether it will ring.
    pub fn is_set(&self) -> bool {
        self.at.is_some()
    }

    fn unlist<K: Ord + Copy>(&mut self, key: K, timers: &mut Timers<K>) {
        if let Some(entry) = self.entry.take() {
            timers.remove(entry, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what is due and says whether the alarm rang.
    fn rang(alarm: &mut Alarm, timers: &mut Timers<char>, now: u64) -> bool {
        let taken = timers.take_due(Time(now)).is_some();
        taken && alarm.rings(Time(now), 'a', timers)
    }

    #[test]
    fn an_alarm_that_is_moved_later_keeps_its_entry_and_rings_when_it_should() {
        let (mut alarm, mut timers) = (Alarm::default(), Timers::default());
        alarm.set(Time(10), 'a', &mut timers);
        alarm.set(Time(30), 'a', &mut timers);
        assert_eq!((timers.len(), timers.next()), (1, Some(Time(10))));
        assert!(!rang(&mut alarm, &mut timers, 10) && alarm.is_set());
        assert_eq!((timers.len(), timers.next()), (1, Some(Time(30))));
        assert!(!rang(&mut alarm, &mut timers, 29));
        assert!(rang(&mut alarm, &mut timers, 30) && !alarm.is_set() && timers.is_empty());
    }

    #[test]
    fn an_alarm_that_is_moved_earlier_rings_earlier_and_once() {
        let (mut alarm, mut timers) = (Alarm::default(), Timers::default());
        alarm.set(Time(30), 'a', &mut timers);
        alarm.set(Time(20), 'a', &mut timers);
        assert_eq!((timers.len(), timers.next()), (1, Some(Time(20))));
        assert!(rang(&mut alarm, &mut timers, 40) && !rang(&mut alarm, &mut timers, 40));
    }

    #[test]
    fn an_alarm_that_is_cleared_leaves_nothing_behind() {
        let (mut alarm, mut timers) = (Alarm::default(), Timers::default());
        alarm.set(Time(30), 'a', &mut timers);
        alarm.set(Time(50), 'a', &mut timers);
        alarm.clear('a', &mut timers);
        assert!(timers.is_empty() && !alarm.is_set() && !rang(&mut alarm, &mut timers, 60));
    }
}
