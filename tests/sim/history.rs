//! The history checker: what clients sent, what they were told, what was read, and whether all of it can be true at
//! once.
//!
//! Invariant: it knows nothing of the broker. It is told what happened on the wire and what lies on the disk after a
//! start, and collects contradictions in [`History::violations`]. What it checks:
//!
//! * an offset holds one value for ever, intact, which somebody sent to that partition;
//! * a value is at one offset, also if it was sent again by an idempotent producer;
//! * what was acknowledged as durable, or read from a topic whose readers see only durable records, survives
//!   everything;
//!   what was acknowledged as appended, or read from any topic, survives the death of the process;
//! * offsets are dense; the front is missing only where somebody asked for that;
//! * records of a producer lie in the order in which it sent them, without holes if it is idempotent.

use std::collections::BTreeMap;

use super::audit::Found;
use super::content::{self, Id};

/// What is promised about a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// Readers see only durable records (`flush.messages=1`).
    pub durable: bool,
    /// Old segments may leave by themselves.
    pub retention: bool,
    /// A record may leave when there is a newer one of its key.
    pub cleaned: bool,
}

impl Promise {
    /// Whether what was there may be gone without anybody's wish.
    pub fn may_lose_old(self) -> bool {
        self.retention || self.cleaned
    }
}

/// What a conditional publish expects of the newest record of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expects {
    /// It was published without a condition.
    Anything,
    /// There is none, or a deletion.
    Nothing,
    /// It is at this offset.
    Newest(i64),
}

/// A topic of the history.
pub type Topic = usize;

/// What a record was sent as.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub topic: Topic,
    pub partition: i32,
    /// Records of a session keep their order.
    pub session: u64,
    /// Place in the session.
    pub number: u32,
    /// The session is that of an idempotent producer that gives up nothing: it leaves no holes.
    pub gapless: bool,
    /// Milliseconds since 1970; -1 if the broker's clock is used.
    pub timestamp: i64,
    pub expects: Expects,
}

/// What a start found after the last one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The process died or stopped, the machine went on.
    Process,
    /// The machine lost power.
    Power,
}

/// See [`History::floor`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Floor {
    pub trimmed: i64,
    pub firm_end: i64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    id: Id,
    /// Survives a loss of power.
    firm: bool,
}

#[derive(Debug, Clone)]
struct Log {
    known: BTreeMap<i64, Known>,
    places: BTreeMap<Id, i64>,
    /// Somebody asked for everything below to be deleted.
    trim_wanted: i64,
    /// ... and was told that it is.
    trimmed: i64,
    /// An end of the log that can never be undercut.
    firm_end: i64,
}

/// All that is known.
#[derive(Debug, Default, Clone)]
pub struct History {
    topics: Vec<(String, Promise)>,
    sent: BTreeMap<Id, Sent>,
    logs: BTreeMap<(Topic, i32), Log>,
    /// Contradictions; empty as long as all is well.
    pub violations: Vec<String>,
    /// Facts that were looked at.
    pub facts: u64,
    /// Views may be unusable for a while, because the disk fails or has failed.
    pub views_may_fail: bool,
    /// The broker may be started again.
    pub boots_may_come: bool,
    /// Keyed requests that were told that the view is not ready.
    pub not_ready: u64,
    /// Print what happens.
    pub trace: bool,
}

impl History {
    /// A topic under a name that no other has or had.
    pub fn topic(&mut self, name: &str, promise: Promise) -> Topic {
        if let Some(known) = self.topics.iter().position(|(n, _)| n == name) {
            return known;
        }
        self.topics.push((name.to_owned(), promise));
        self.topics.len() - 1
    }

    pub fn promise(&self, topic: Topic) -> Promise {
        self.topics[topic].1
    }

    /// Prints a line for whoever looks at one seed.
    pub fn note(&self, line: impl FnOnce() -> String) {
        if self.trace {
            println!("{}", line());
        }
    }

    /// Notes a contradiction.
    pub fn bad(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.note(|| format!("VIOLATION {what}"));
        self.violations.push(what);
    }

    fn log(&mut self, topic: Topic, partition: i32) -> &mut Log {
        self.logs.entry((topic, partition)).or_insert_with(|| Log {
            known: BTreeMap::new(),
            places: BTreeMap::new(),
            trim_wanted: 0,
            trimmed: 0,
            firm_end: 0,
        })
    }

    /// A client is about to send a record.
    pub fn sent(&mut self, id: Id, sent: Sent) {
        assert!(self.sent.insert(id, sent).is_none(), "numbers of records are given once");
    }

    /// A publisher was told where its records are.
    pub fn acked(&mut self, topic: Topic, partition: i32, base: i64, ids: &[Id], durable: bool) {
        for (offset, &id) in (base..).zip(ids) {
            self.learn(topic, partition, offset, id, durable);
        }
    }

    /// A reader was given a record.
    pub fn read(&mut self, topic: Topic, partition: i32, offset: i64, id: Id) {
        let firm = self.promise(topic).durable;
        self.learn(topic, partition, offset, id, firm);
    }

    fn learn(&mut self, topic: Topic, partition: i32, offset: i64, id: Id, firm: bool) {
        self.facts += 1;
        let name = format!("{}/{partition}", self.topics[topic].0);
        self.note(|| format!("{name} {offset}: {id:x}{}", if firm { " firm" } else { "" }));
        match self.sent.get(&id) {
            None => return self.bad(format!("{name}: {id:x} at {offset} was never sent")),
            Some(sent) if (sent.topic, sent.partition) != (topic, partition) => {
                return self.bad(format!("{name}: {id:x} at {offset} was sent to another partition"));
            }
            Some(_) => {}
        }
        let log = self.log(topic, partition);
        let known = log.known.entry(offset).or_insert(Known { id, firm });
        known.firm |= firm;
        let there = known.id;
        let place = *log.places.entry(id).or_insert(offset);
        if firm {
            log.firm_end = log.firm_end.max(offset + 1);
        }
        if there != id {
            self.bad(format!("{name}: offset {offset} held {there:x} and then {id:x}"));
        } else if place != offset {
            self.bad(format!("{name}: {id:x} is at {place} and at {offset}"));
        }
    }

    /// A record lies in the files of a partition that is cleaned, and may not for long.
    pub fn saw(&mut self, topic: Topic, partition: i32, offset: i64, id: Id) {
        self.learn(topic, partition, offset, id, false);
    }

    /// Somebody asks for records below `offset` to be deleted.
    pub fn wants_trim(&mut self, topic: Topic, partition: i32, offset: i64) {
        self.note(|| format!("trim {topic}/{partition} below {offset}"));
        let log = self.log(topic, partition);
        log.trim_wanted = log.trim_wanted.max(offset);
    }

    /// ... and was told that the log starts here now.
    pub fn trimmed(&mut self, topic: Topic, partition: i32, log_start: i64) {
        let log = self.log(topic, partition);
        log.trimmed = log.trimmed.max(log_start);
    }

    /// What an answer to a question that is asked now must not undercut. Answers may be overtaken on their way, so they
    /// are judged by what was known when they were asked for.
    pub fn floor(&mut self, topic: Topic, partition: i32) -> Floor {
        let log = self.log(topic, partition);
        Floor { trimmed: log.trimmed, firm_end: log.firm_end }
    }

    /// The broker names the first offset that can be read.
    pub fn starts_at(&mut self, topic: Topic, partition: i32, log_start: i64, floor: Floor) {
        self.facts += 1;
        let retention = self.promise(topic).retention;
        let wanted = self.log(topic, partition).trim_wanted;
        let trimmed = floor.trimmed;
        let name = format!("{}/{partition}", self.topics[topic].0);
        if log_start < trimmed {
            self.bad(format!("{name}: starts at {log_start} although {trimmed} was confirmed"));
        }
        if log_start > wanted && !retention {
            self.bad(format!("{name}: starts at {log_start}, and nobody asked for more than {wanted}"));
        }
    }

    /// The broker names an end of the log that readers may see.
    pub fn ends_at(&mut self, topic: Topic, partition: i32, end: i64, floor: Floor) {
        self.facts += 1;
        let name = format!("{}/{partition}", self.topics[topic].0);
        let firm_end = floor.firm_end;
        if end < firm_end {
            self.bad(format!("{name}: ends at {end}, although {firm_end} is durable"));
        }
    }

    /// A reader that has read up to `position` was told that it is out of range.
    pub fn out_of_range(&mut self, topic: Topic, partition: i32, position: i64) {
        let promise = self.promise(topic);
        let log = self.log(topic, partition);
        let excused = position < log.trim_wanted || promise.retention || !promise.durable;
        if !excused {
            let name = format!("{}/{partition}", self.topics[topic].0);
            self.bad(format!("{name}: position {position} is said to be out of range"));
        }
    }

    /// A timestamp was looked up: everything before the answer is older.
    pub fn looked_up(&mut self, topic: Topic, partition: i32, timestamp: i64, found: i64) {
        self.note(|| format!("lookup {topic}/{partition} of {timestamp}: {found}"));
        let Some(log) = self.logs.get(&(topic, partition)) else { return };
        if self.promise(topic).may_lose_old() {
            // What is known and young enough may have left by itself.
            return;
        }
        let from = log.trim_wanted;
        let missed = log.known.range(from..found.max(from)).find(|(_, known)| {
            let at = self.sent[&known.id].timestamp;
            at >= timestamp
        });
        if let Some((offset, _)) = missed {
            let name = format!("{}/{partition}", self.topics[topic].0);
            let what = format!("{name}: {timestamp} is found at {found}, but {offset} is as young");
            self.bad(what);
        }
    }

    /// Readers were told that they see everything up to this offset.
    pub fn shows(&mut self, topic: Topic, partition: i32, offset: i64) {
        if self.promise(topic).durable {
            let log = self.log(topic, partition);
            log.firm_end = log.firm_end.max(offset + 1);
        }
    }

    /// Whether a record at this offset may be deleted: somebody has asked for that.
    pub fn may_be_trimmed(&mut self, topic: Topic, partition: i32, offset: i64) -> bool {
        offset < self.log(topic, partition).trim_wanted
    }

    /// What lies on the disk after a start. Everything of it has been made durable by the start, so none of it may ever
    /// be lost again.
    pub fn audit(&mut self, topic: Topic, partition: i32, found: &Found, after: After) {
        let Found { start, end, ref records } = *found;
        let Promise { retention, cleaned, .. } = self.promise(topic);
        let name = format!("{}/{partition}", self.topics[topic].0);
        self.note(|| format!("audit {name} {start}..{end} {after:?}"));
        let log = self.log(topic, partition);
        if start > log.trim_wanted && !retention {
            let wanted = log.trim_wanted;
            self.bad(format!("{name}: the log starts at {start}, nobody asked for more than {wanted}"));
        }
        let log = self.log(topic, partition);
        let gone = log.known.split_off(&end);
        log.known = log.known.split_off(&start);
        let known: Vec<_> = log.known.iter().map(|(offset, known)| (*offset, known.id)).collect();
        for (offset, known) in gone {
            self.log(topic, partition).places.remove(&known.id);
            if known.firm || after == After::Process {
                let id = known.id;
                self.bad(format!("{name}: {id:x} at {offset} is lost, the log ends at {end}"));
            }
        }
        let firm_end = self.log(topic, partition).firm_end;
        if end < firm_end {
            self.bad(format!("{name}: the log ends at {end}, although {firm_end} was durable"));
        }
        if cleaned {
            let trimmed = self.log(topic, partition).trim_wanted;
            let known: Vec<_> = known.into_iter().filter(|(offset, _)| *offset >= trimmed).collect();
            self.check_cleaned(&name, &known, records);
        }
        for &(offset, id) in records {
            self.learn(topic, partition, offset, id, true);
        }
        self.check_order(&name, start, records);
        self.check_conditions(topic, partition, start, records);
    }

    /// What was there and is not was replaced by a newer record of its key, or is a deletion of what is gone. The newer
    /// record may be such a deletion, and gone, too.
    fn check_cleaned(&mut self, name: &str, known: &[(i64, Id)], records: &[(i64, Id)]) {
        let there: BTreeMap<i64, Id> = records.iter().copied().collect();
        let mut newest = BTreeMap::new();
        let mut oldest = BTreeMap::new();
        for (offset, id) in known.iter().chain(records) {
            let newest = newest.entry(content::key(*id)).or_insert(*offset);
            *newest = *offset.max(newest);
        }
        for (offset, id) in records {
            oldest.entry(content::key(*id)).or_insert(*offset);
        }
        for (offset, id) in known.iter().filter(|(offset, _)| !there.contains_key(offset)) {
            let key = content::key(*id);
            let replaced = newest[&key] > *offset;
            let forgotten = content::deletes(*id) && oldest.get(&key).is_none_or(|oldest| oldest > offset);
            if !replaced && !forgotten {
                self.bad(format!("{name}: {id:x} at {offset} is cleaned away, and nothing replaces it"));
            }
        }
    }

    /// Each conditional record stands behind the one that it expected, so no two of them have met the same condition.
    fn check_conditions(&mut self, topic: Topic, partition: i32, start: i64, records: &[(i64, Id)]) {
        let Promise { retention, cleaned, .. } = self.promise(topic);
        let mut last: BTreeMap<_, (i64, Id)> = BTreeMap::new();
        for &(offset, id) in records {
            let before = last.insert(content::key(id), (offset, id));
            let Some(sent) = self.sent.get(&id) else { continue };
            let expects = sent.expects;
            let is_met = match (expects, before) {
                (Expects::Anything, _) => true,
                (Expects::Nothing, None) => true,
                (Expects::Nothing, Some((at, id))) => {
                    content::deletes(id) || retention || self.may_be_trimmed(topic, partition, at)
                }
                (Expects::Newest(expected), Some((at, _))) => {
                    expected == at || cleaned && at < expected && expected < offset
                }
                (Expects::Newest(expected), None) => expected < start || cleaned && expected < offset,
            };
            if !is_met {
                let name = &self.topics[topic].0;
                self.violations.push(format!(
                    "{name}/{partition}: {id:x} at {offset} expected {expects:?} and follows {before:x?}"
                ));
            }
        }
    }

    /// Records of a session are in order, and those of an idempotent one without holes.
    fn check_order(&mut self, name: &str, start: i64, records: &[(i64, Id)]) {
        let mut last: BTreeMap<u64, u32> = BTreeMap::new();
        for (offset, id) in records {
            let Some(sent) = self.sent.get(id) else { continue };
            let (number, session) = (sent.number, sent.session);
            let before = last.insert(session, number);
            let wrong = match before {
                Some(before) if sent.gapless => number != before + 1,
                Some(before) => number <= before,
                None => sent.gapless && start == 0 && number != 0,
            };
            if wrong {
                self.violations.push(format!(
                    "{name}: session {session:x} has its record {number} at {offset}, after {before:?}"
                ));
            }
        }
    }

    /// Whether a record of this topic is known to be somewhere.
    pub fn has_records(&self, topic: Topic) -> bool {
        self.logs.iter().any(|((t, _), log)| *t == topic && !log.known.is_empty())
    }

    /// Time has passed: whatever is known of this topic must survive a loss of power from here on.
    pub fn is_all_durable(&mut self, topic: Topic) {
        for (_, log) in self.logs.iter_mut().filter(|((t, _), _)| *t == topic) {
            log.known.values_mut().for_each(|known| known.firm = true);
        }
    }

    /// How many records are known to be somewhere.
    pub fn known(&self) -> usize {
        self.logs.values().map(|log| log.known.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURABLE: Promise = Promise { durable: true, retention: false, cleaned: false };
    const LAZY: Promise = Promise { durable: false, retention: false, cleaned: false };
    const CLEANED: Promise = Promise { durable: true, retention: false, cleaned: true };

    /// A topic with ten sent records, one session, ids 0 to 9.
    fn history(promise: Promise, gapless: bool) -> History {
        let mut h = History::default();
        let topic = h.topic("t", promise);
        for id in 0..10 {
            let number = id as u32;
            let timestamp = 100 + id as i64;
            let expects = Expects::Anything;
            h.sent(id, Sent { topic, partition: 0, session: 1, number, gapless, timestamp, expects });
        }
        h
    }

    /// A start finds these records, the first of them at `start`.
    fn audit(h: &mut History, start: i64, ids: &[Id], after: After) {
        let records: Vec<_> = (start..).zip(ids.iter().copied()).collect();
        audit_holes(h, start, &records, start + ids.len() as i64, after);
    }

    fn audit_holes(h: &mut History, start: i64, records: &[(i64, Id)], end: i64, after: After) {
        h.audit(0, 0, &Found { start, end, records: records.to_vec() }, after);
    }

    /// A record with a key, sent on a condition.
    fn keyed(h: &mut History, key: u8, deletes: bool, count: u32, expects: Expects) -> Id {
        let id = content::keyed_id(7, 0, deletes, key, count);
        let (session, number) = (7, count);
        let sent = Sent { topic: 0, partition: 0, session, number, gapless: false, timestamp: 100, expects };
        h.sent(id, sent);
        id
    }

    fn verdict(promise: Promise, gapless: bool, tell: impl FnOnce(&mut History)) -> usize {
        let mut h = history(promise, gapless);
        tell(&mut h);
        h.violations.len()
    }

    #[test]
    fn a_good_history_has_no_violation() {
        let good = |h: &mut History| {
            h.acked(0, 0, 0, &[0, 1], true);
            h.acked(0, 0, 2, &[2], false);
            h.read(0, 0, 0, 0);
            audit(h, 0, &[0, 1], After::Power);
            h.acked(0, 0, 2, &[3], true);
            h.wants_trim(0, 0, 2);
            h.trimmed(0, 0, 2);
            let floor = h.floor(0, 0);
            h.starts_at(0, 0, 2, floor);
            h.ends_at(0, 0, 3, floor);
            h.looked_up(0, 0, 103, 2);
            audit(h, 2, &[3, 4], After::Process);
            h.out_of_range(0, 0, 1);
        };
        assert_eq!(verdict(DURABLE, false, good), 0);
    }

    #[test]
    fn a_record_is_cleaned_away_only_when_another_replaces_it() {
        let story = |there: &[usize]| {
            verdict(CLEANED, false, |h| {
                // Two values of a key, a value and its deletion, and one more value.
                let keys = [(1, false), (1, false), (2, false), (2, true), (3, false)];
                let ids: Vec<_> = (0..)
                    .zip(keys)
                    .map(|(n, (key, deletes))| keyed(h, key, deletes, n, Expects::Anything))
                    .collect();
                h.acked(0, 0, 0, &ids, true);
                let records: Vec<_> = there.iter().map(|&n| (n as i64, ids[n])).collect();
                audit_holes(h, 0, &records, 5, After::Power);
            })
        };
        for good in [&[0, 1, 2, 3, 4][..], &[1, 2, 3, 4], &[1, 3, 4], &[1, 4]] {
            assert_eq!(story(good), 0, "{good:?}");
        }
        for bad in [&[0, 2, 3, 4][..], &[0, 1, 2, 3], &[0, 1, 2, 4], &[]] {
            assert!(story(bad) > 0, "{bad:?}");
        }
    }

    #[test]
    fn of_two_that_met_the_same_condition_one_is_a_contradiction() {
        let story = |expects: [Expects; 3]| {
            verdict(DURABLE, false, |h| {
                let ids: Vec<_> =
                    (0..).zip(expects).map(|(n, expects)| keyed(h, 1, n == 1, n, expects)).collect();
                audit(h, 0, &ids, After::Power);
            })
        };
        use Expects::{Anything, Newest, Nothing};
        assert_eq!(story([Nothing, Newest(0), Nothing]), 0);
        assert_eq!(story([Nothing, Anything, Newest(1)]), 0);
        assert_eq!(story([Nothing, Newest(0), Newest(0)]), 1);
        assert_eq!(story([Nothing, Nothing, Nothing]), 1);
        assert_eq!(story([Newest(0), Newest(0), Newest(1)]), 1);
    }

    type Bad = (&'static str, Promise, bool, fn(&mut History));

    #[test]
    fn every_kind_of_bad_history_is_found() {
        let bad: [Bad; 24] = [
            ("a durable ack is lost to a power cut", DURABLE, false, |h| {
                h.acked(0, 0, 0, &[0, 1], true);
                audit(h, 0, &[0], After::Power);
            }),
            ("a durable ack is lost to the death of the process", DURABLE, false, |h| {
                h.acked(0, 0, 0, &[0], true);
                audit(h, 0, &[], After::Process);
            }),
            ("an appended ack is lost to the death of the process", LAZY, false, |h| {
                h.acked(0, 0, 0, &[0], false);
                audit(h, 0, &[], After::Process);
            }),
            ("what a reader saw of a durable topic is lost", DURABLE, false, |h| {
                h.read(0, 0, 0, 0);
                audit(h, 0, &[], After::Power);
            }),
            ("what a reader saw of a durable topic is replaced", DURABLE, false, |h| {
                h.read(0, 0, 0, 0);
                audit(h, 0, &[1], After::Power);
            }),
            ("what a start recovered is lost by the next", LAZY, false, |h| {
                audit(h, 0, &[0, 1], After::Power);
                audit(h, 0, &[0], After::Power);
            }),
            ("one offset holds two values", LAZY, false, |h| {
                h.read(0, 0, 0, 0);
                h.read(0, 0, 0, 1);
            }),
            ("an ack contradicts what was read", DURABLE, false, |h| {
                h.read(0, 0, 3, 0);
                h.acked(0, 0, 3, &[1], true);
            }),
            ("one value is at two offsets", DURABLE, false, |h| {
                h.acked(0, 0, 0, &[0], true);
                h.read(0, 0, 1, 0);
            }),
            ("one value is at two offsets of the disk", LAZY, false, |h| {
                audit(h, 0, &[0, 0], After::Process);
            }),
            ("a value appears that nobody sent", DURABLE, false, |h| h.read(0, 0, 0, 99)),
            ("a value appears in another partition", DURABLE, false, |h| h.read(0, 1, 0, 0)),
            ("the front is missing without a wish", DURABLE, false, |h| {
                audit(h, 1, &[1], After::Process);
            }),
            ("more of the front is missing than was wished", DURABLE, false, |h| {
                h.wants_trim(0, 0, 2);
                audit(h, 3, &[3], After::Process);
            }),
            ("the start is said to be further than was wished", DURABLE, false, |h| {
                h.wants_trim(0, 0, 2);
                h.starts_at(0, 0, 3, Floor::default());
            }),
            ("a confirmed deletion is undone", DURABLE, false, |h| {
                h.wants_trim(0, 0, 2);
                h.trimmed(0, 0, 2);
                let floor = h.floor(0, 0);
                h.starts_at(0, 0, 1, floor);
            }),
            ("the order of a producer is reversed", LAZY, false, |h| {
                audit(h, 0, &[1, 0], After::Process);
            }),
            ("an idempotent producer has a hole", LAZY, true, |h| {
                audit(h, 0, &[0, 2], After::Process);
            }),
            ("an idempotent producer begins in the middle", LAZY, true, |h| {
                audit(h, 0, &[1], After::Process);
            }),
            ("the high watermark falls below what is durable", DURABLE, false, |h| {
                h.acked(0, 0, 0, &[0, 1], true);
                let floor = h.floor(0, 0);
                h.ends_at(0, 0, 1, floor);
            }),
            ("a reader is thrown out for no reason", DURABLE, false, |h| h.out_of_range(0, 0, 1)),
            ("a reader above what was deleted is thrown out", DURABLE, false, |h| {
                h.wants_trim(0, 0, 2);
                h.out_of_range(0, 0, 2);
            }),
            ("a lookup by time skips a record", DURABLE, false, |h| {
                h.acked(0, 0, 0, &[0, 1, 2], true);
                h.looked_up(0, 0, 101, 2);
            }),
            ("an offset moves although a reader has seen it", LAZY, false, |h| {
                h.read(0, 0, 0, 0);
                audit(h, 0, &[1, 0], After::Process);
            }),
        ];
        for (name, promise, gapless, tell) in bad {
            assert!(verdict(promise, gapless, tell) > 0, "not found: {name}");
        }
    }

    #[test]
    fn what_was_only_appended_may_be_lost_to_a_power_cut_and_sent_again() {
        let lost = |h: &mut History| {
            h.acked(0, 0, 0, &[0, 1], false);
            h.read(0, 0, 1, 1);
            audit(h, 0, &[0], After::Power);
            h.acked(0, 0, 1, &[2], false);
            h.acked(0, 0, 2, &[1], false);
        };
        assert_eq!(verdict(LAZY, false, lost), 0);
    }
}
