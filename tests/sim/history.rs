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
//! * records of a producer lie in the order in which it sent them, without holes if it is idempotent, except for those
//!   whose failure it was told;
//! * a record that was sent again by a producer that is not idempotent is there at most as often as it was sent;
//! * a producer id is handed out once.

use std::collections::{BTreeMap, BTreeSet};

use super::audit::Found;
use super::content::{self, Id};
use super::groups::book::{Book, Group};
use super::queues;

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
    /// The session is that of an idempotent producer: it leaves no holes but where it was told so.
    pub gapless: bool,
    /// Nothing recognises the record when it is sent again: it may be there as often as it was sent, in any order.
    pub repeats: bool,
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
    /// The end of what was acknowledged at all since the last start.
    pub acked_end: i64,
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
    /// Where each record is. Only those that repeat have several places.
    places: BTreeMap<Id, BTreeSet<i64>>,
    /// Somebody asked for everything below to be deleted.
    trim_wanted: i64,
    /// ... and was told that it is.
    trimmed: i64,
    /// An end of the log that can never be undercut.
    firm_end: i64,
    /// An end of the log that cannot be undercut before the next start.
    acked_end: i64,
}

/// All that is known.
#[derive(Debug, Default, Clone)]
pub struct History {
    topics: Vec<(String, Promise)>,
    sent: BTreeMap<Id, Sent>,
    /// How often a record was sent beyond the first time.
    resent: BTreeMap<Id, usize>,
    /// Session and number of records that their producer was told to have failed, or that may stand anywhere.
    excused: BTreeSet<(u64, u32)>,
    producer_ids: BTreeSet<i64>,
    logs: BTreeMap<(Topic, i32), Log>,
    /// What is known of consumer groups.
    pub groups: Book,
    /// What is known of queues.
    pub queues: queues::book::Book,
    /// Virtual time, microseconds.
    pub time: u64,
    /// Where logs have ended when all who write had finished.
    pub ends: BTreeMap<(Topic, i32), i64>,
    /// Contradictions; empty as long as all is well.
    pub violations: Vec<String>,
    /// Facts that were looked at.
    pub facts: u64,
    /// Views may be unusable for a while, because the disk fails or has failed.
    pub views_may_fail: bool,
    /// The disk may fail before the next start: then nothing that is asked waits for it.
    pub disk_may_fail: bool,
    /// The broker stops: what it is to write for somebody may be refused, and somebody who is sent away may not hear of
    /// it any more.
    pub stops: bool,
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
            acked_end: 0,
        })
    }

    /// A client is about to send a record.
    pub fn sent(&mut self, id: Id, sent: Sent) {
        assert!(self.sent.insert(id, sent).is_none(), "numbers of records are given once");
    }

    /// ... and does so again.
    pub fn sent_again(&mut self, id: Id) {
        *self.resent.entry(id).or_default() += 1;
    }

    /// A producer gave a record up and was told that it failed: it may be there or not.
    pub fn gave_up(&mut self, id: Id) {
        let Sent { session, number, .. } = self.sent[&id];
        self.note(|| format!("gave up {id:x}"));
        self.excused.insert((session, number));
    }

    /// An idempotent producer sends a record under another sequence number although its first copy may arrive, too.
    pub fn may_repeat(&mut self, id: Id) {
        self.gave_up(id);
        self.sent_again(id);
        self.sent.get_mut(&id).expect("it was sent").repeats = true;
    }

    /// A producer id was handed out.
    pub fn producer_id(&mut self, id: i64) {
        self.facts += 1;
        if id < 0 || !self.producer_ids.insert(id) {
            self.bad(format!("producer id {id} is handed out, not for the first time"));
        }
    }

    /// A publisher was told where its records are.
    pub fn acked(&mut self, topic: Topic, partition: i32, base: i64, ids: &[Id], durable: bool) {
        let log = self.log(topic, partition);
        log.acked_end = log.acked_end.max(base + ids.len() as i64);
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
        let copies = match self.sent.get(&id) {
            None => return self.bad(format!("{name}: {id:x} at {offset} was never sent")),
            Some(sent) if (sent.topic, sent.partition) != (topic, partition) => {
                return self.bad(format!("{name}: {id:x} at {offset} was sent to another partition"));
            }
            Some(sent) if sent.repeats => 1 + self.resent.get(&id).copied().unwrap_or_default(),
            Some(_) => 1,
        };
        let log = self.log(topic, partition);
        let known = log.known.entry(offset).or_insert(Known { id, firm });
        known.firm |= firm;
        let there = known.id;
        if firm {
            log.firm_end = log.firm_end.max(offset + 1);
        }
        if there != id {
            return self.bad(format!("{name}: offset {offset} held {there:x} and then {id:x}"));
        }
        let places = log.places.entry(id).or_default();
        places.insert(offset);
        if places.len() > copies {
            let places = format!("{places:?}");
            self.bad(format!("{name}: {id:x} was sent {copies} times and is at {places}"));
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
        Floor { trimmed: log.trimmed, firm_end: log.firm_end, acked_end: log.acked_end }
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

    /// The broker was asked where the log ends: what was acknowledged before is below, durable or not.
    pub fn answers_end(&mut self, topic: Topic, partition: i32, end: i64, floor: Floor) {
        self.ends_at(topic, partition, end, floor);
        if end < floor.acked_end && !self.disk_may_fail {
            let (name, acked) = (&self.topics[topic].0, floor.acked_end);
            let what =
                format!("{name}/{partition}: is said to end at {end}, although {acked} was acknowledged");
            self.bad(what);
        }
    }

    /// The record at this offset is said to have this timestamp.
    pub fn dated(&mut self, topic: Topic, partition: i32, offset: i64, timestamp: i64) {
        self.facts += 1;
        let known = self.log(topic, partition).known.get(&offset).copied();
        let Some(sent) = known.and_then(|known| self.sent.get(&known.id)) else { return };
        if sent.timestamp != -1 && sent.timestamp != timestamp {
            let (name, is) = (&self.topics[topic].0, sent.timestamp);
            let what = format!("{name}/{partition}: {offset} is said to be of {timestamp}, it is of {is}");
            self.bad(what);
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

    /// Records below this offset may be gone, because somebody has asked for that or by themselves; those of a topic
    /// that is cleaned in any place.
    pub fn may_be_gone_below(&mut self, topic: Topic, partition: i32) -> i64 {
        match self.promise(topic).may_lose_old() {
            true => i64::MAX,
            false => self.log(topic, partition).trim_wanted,
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
        let kept = log.known.split_off(&start);
        // Nobody remembers the batches of what was deleted: sent again, it is appended again.
        for (offset, known) in std::mem::replace(&mut log.known, kept) {
            if let Some(places) = log.places.get_mut(&known.id) {
                places.remove(&offset);
            }
        }
        let known: Vec<_> = log.known.iter().map(|(offset, known)| (*offset, known.id)).collect();
        self.log(topic, partition).acked_end = end;
        for (offset, known) in gone {
            if let Some(places) = self.log(topic, partition).places.get_mut(&known.id) {
                places.remove(&offset);
            }
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
        let durable = self.promise(topic).durable;
        self.queues.audit((topic, durable), partition, found, after);
        if let Err(why) = self.groups.audit(topic, partition, found, after) {
            self.bad(why);
        }
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
            let Some(sent) = self.sent.get(id).filter(|sent| !sent.repeats) else { continue };
            let (number, session) = (sent.number, sent.session);
            let before = last.insert(session, number);
            let from = before.map_or(if start == 0 { 0 } else { number }, |before| before + 1);
            let hole = (from..number).any(|n| !self.excused.contains(&(session, n)));
            if number < from || sent.gapless && hole {
                self.violations.push(format!(
                    "{name}: session {session:x} has its record {number} at {offset}, after {before:?}"
                ));
            }
        }
    }

    /// Whether a group has committed all that was written.
    pub fn is_at_end(&self, group: Group) -> bool {
        self.groups.is_at_end(group, &self.ends)
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
            h.sent(
                id,
                Sent { topic, partition: 0, session: 1, number, gapless, repeats: false, timestamp, expects },
            );
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
        let sent = Sent {
            topic: 0,
            partition: 0,
            session,
            number,
            gapless: false,
            repeats: false,
            timestamp: 100,
            expects,
        };
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
    fn what_a_producer_was_told_to_have_failed_may_be_missing_and_nothing_else() {
        let story = |given_up: &[Id], there: &[Id]| {
            verdict(DURABLE, true, |h| {
                given_up.iter().for_each(|&id| h.gave_up(id));
                audit(h, 0, there, After::Power);
            })
        };
        assert_eq!(story(&[1, 2], &[0, 3]), 0);
        assert_eq!(story(&[0, 1, 2], &[3]), 0);
        assert_eq!(story(&[1, 2], &[0, 1, 3]), 0);
        assert_eq!(story(&[1], &[0, 3]), 1);
        assert_eq!(story(&[1], &[0, 2, 1]), 1);
    }

    #[test]
    fn a_record_that_repeats_is_there_at_most_as_often_as_it_was_sent() {
        let story = |times: usize, there: &[Id]| {
            verdict(DURABLE, false, |h| {
                h.may_repeat(1);
                (2..times).for_each(|_| h.sent_again(1));
                audit(h, 0, there, After::Power);
            })
        };
        assert_eq!(story(2, &[1, 0, 1]), 0);
        assert_eq!(story(3, &[1, 0, 1, 1]), 0);
        assert_eq!(story(2, &[1, 0, 1, 1]), 1);
        assert_eq!(story(2, &[1, 0, 0]), 2);
    }

    #[test]
    fn answers_that_name_the_wrong_place_number_or_time_are_found() {
        let bad: [Bad; 6] = [
            ("a duplicate is answered with another offset than the first copy", DURABLE, true, |h| {
                h.acked(0, 0, 0, &[0, 1], true);
                h.acked(0, 0, 2, &[0, 1], true);
            }),
            ("a batch is answered with the offset of another", LAZY, false, |h| {
                h.acked(0, 0, 2, &[0, 1], false);
                h.acked(0, 0, 0, &[2, 3], false);
                audit(h, 0, &[0, 1, 2, 3], After::Process);
            }),
            ("a producer id is handed out twice", DURABLE, false, |h| {
                h.producer_id(7);
                h.producer_id(8);
                h.producer_id(7);
            }),
            ("no producer id is handed out", DURABLE, false, |h| h.producer_id(-1)),
            ("the end that is asked for lies below an appended ack", DURABLE, false, |h| {
                h.acked(0, 0, 0, &[0, 1], false);
                let floor = h.floor(0, 0);
                h.answers_end(0, 0, 1, floor);
            }),
            ("a record is said to be of another time", DURABLE, false, |h| {
                h.acked(0, 0, 0, &[0], true);
                h.dated(0, 0, 0, 101);
            }),
        ];
        for (name, promise, gapless, tell) in bad {
            assert!(verdict(promise, gapless, tell) > 0, "not found: {name}");
        }
    }

    #[test]
    fn what_was_deleted_before_a_start_may_be_sent_again() {
        let again = |deleted: i64| {
            verdict(DURABLE, false, |h| {
                h.acked(0, 0, 0, &[0, 1], true);
                h.wants_trim(0, 0, 2);
                audit_holes(
                    h,
                    deleted,
                    &(deleted..2).map(|n| (n, n as Id)).collect::<Vec<_>>(),
                    2,
                    After::Power,
                );
                h.acked(0, 0, 2, &[1], true);
            })
        };
        assert_eq!((again(2), again(1)), (0, 1));
    }

    #[test]
    fn what_was_acknowledged_before_a_start_may_be_above_the_end_after_it() {
        let lost = |h: &mut History| {
            h.acked(0, 0, 0, &[0, 1], false);
            audit(h, 0, &[0], After::Power);
            let floor = h.floor(0, 0);
            h.answers_end(0, 0, 1, floor);
            h.dated(0, 0, 0, 100);
        };
        assert_eq!(verdict(LAZY, false, lost), 0);
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
