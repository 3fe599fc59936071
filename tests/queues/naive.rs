//! The rules of a queue, said in the simplest way: one entry for each record of the log, and every question answered by
//! walking all of them.

use krappy::groups::queue::TakerId;
use krappy::time::Time;

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    Untouched,
    Available,
    Delayed(Time),
    Held(TakerId, Time),
    Dying,
    Done,
}

/// A record of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub key: Option<u32>,
    pub place: Where,
    pub deliveries: u32,
    /// The log has lost it.
    pub gone: bool,
}

/// A queue over a log that begins at offset 0.
#[derive(Debug, Clone, Default)]
pub struct Naive {
    pub log: Vec<Entry>,
    pub attempts: u32,
    pub most_open: usize,
}

impl Naive {
    pub fn open(&self) -> usize {
        self.log.iter().filter(|e| !matches!(e.place, Where::Untouched | Where::Done)).count()
    }

    /// Offsets and counts that a taker gets.
    pub fn take(&mut self, by: TakerId, until: Time, most: usize, keyed: bool) -> Vec<(i64, u32)> {
        let mut taken = Vec::new();
        for at in 0..self.log.len() {
            let entry = self.log[at];
            if taken.len() == most || entry.gone {
                continue;
            }
            if entry.place == Where::Untouched {
                if self.open() >= self.most_open {
                    break;
                }
                self.log[at].place = Where::Available;
            }
            if self.log[at].place == Where::Available && !(keyed && self.waits(at)) {
                self.log[at].place = Where::Held(by, until);
                self.log[at].deliveries += 1;
                taken.push((at as i64, self.log[at].deliveries));
            }
        }
        taken
    }

    fn waits(&self, at: usize) -> bool {
        let key = self.log[at].key;
        key.is_some() && self.log[..at].iter().any(|e| e.key == key && !e.gone && e.place != Where::Done)
    }

    pub fn is_held(&self, offset: i64, by: TakerId, now: Time) -> bool {
        let entry = self.log.get(offset as usize);
        entry.is_some_and(|e| matches!(e.place, Where::Held(who, until) if who == by && until > now))
    }

    /// A delivery has come to nothing.
    pub fn give_up(&mut self, offset: i64, from: Time, now: Time) {
        let (attempts, entry) = (self.attempts, &mut self.log[offset as usize]);
        entry.place = match entry.deliveries {
            n if n >= attempts => Where::Dying,
            _ if from > now => Where::Delayed(from),
            _ => Where::Available,
        };
    }

    pub fn tick(&mut self, now: Time) {
        for offset in 0..self.log.len() {
            match self.log[offset].place {
                Where::Held(_, until) if until <= now => self.give_up(offset as i64, now, now),
                Where::Delayed(from) if from <= now => self.log[offset].place = Where::Available,
                _ => {}
            }
        }
    }

    pub fn gone(&mut self, by: TakerId, now: Time) {
        for offset in 0..self.log.len() {
            if matches!(self.log[offset].place, Where::Held(who, _) if who == by) {
                self.give_up(offset as i64, now, now);
            }
        }
    }

    /// What a start of the broker makes of it.
    pub fn restarted(mut self) -> Naive {
        for entry in &mut self.log {
            if matches!(entry.place, Where::Held(..) | Where::Delayed(_)) {
                entry.place = Where::Available;
            }
        }
        self
    }

    pub fn dying(&self) -> Vec<i64> {
        (0..self.log.len() as i64).filter(|at| self.log[*at as usize].place == Where::Dying).collect()
    }

    pub fn count(&self, place: impl Fn(&Where) -> bool) -> usize {
        self.log.iter().filter(|entry| place(&entry.place)).count()
    }
}
