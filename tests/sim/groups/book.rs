//! What is known of consumer groups from the outside, and what contradicts it.
//!
//! Invariant: it is told what clients ask when they ask it, and what the server answers at the moment at which it has
//! written the answer. What it checks, for each partition that a group reads:
//!
//! * how far the group has come is what was committed last, or a later commit that nobody knows the fate of: it is
//!   never less, never more and never absent, over any end of the broker;
//! * nobody is given the partition before whoever had it has given it back, has left, or was sent away;
//! * a record below what is committed was delivered to some member, if it is still there.
//!
//! A partition has one reader at a time and all commits of a group go to one log, so commits of members are applied in
//! the order in which they are sent, if they are applied. Who moves a group from outside, or deletes it, is on another
//! connection and is heard only while there are no members: that can come about anywhere between them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::super::audit::Found;
use super::super::history::{After, Topic};

/// Names a commit of one partition, in the order in which they are sent.
pub type Wish = u64;

/// A group and the topic that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    pub name: &'static str,
    pub topic: Topic,
    pub partitions: i32,
}

/// What a member begins with where its group may have committed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// Where the group has come to.
    Committed,
    /// At an end of the log, because nothing was committed.
    Anew,
    /// It can be either.
    Either,
}

/// One partition of a group.
#[derive(Debug, Clone)]
struct Part {
    /// How far the group may have come, ever. The last is how far it is now: what was confirmed, or shown.
    values: Vec<Option<i64>>,
    /// Commits that may have been made or may still be, in order.
    open: Vec<Open>,
    /// Moves from outside that may have been made or may still be, in no order.
    outside: Vec<Outside>,
    /// Members that may read it.
    holders: BTreeSet<u32>,
    /// How many values there were when the last of them went.
    free_since: Moment,
    /// Records that were delivered to somebody, or were gone when they should have been.
    delivered: BTreeSet<i64>,
    /// Where somebody began last while nothing was committed.
    began: i64,
    /// From here on the log may hold other records than those that were delivered.
    doubtful_from: Option<i64>,
}

impl Default for Part {
    fn default() -> Part {
        Part {
            values: vec![None],
            open: Vec::new(),
            outside: Vec::new(),
            holders: BTreeSet::new(),
            free_since: 0,
            delivered: BTreeSet::new(),
            began: 0,
            doubtful_from: None,
        }
    }
}

/// Values of a partition before the last of its values at some time.
pub type Moment = usize;

#[derive(Debug, Clone, Copy)]
struct Open {
    wish: Wish,
    offset: i64,
    /// The broker that was asked is gone: it was made, or never will be.
    is_old: bool,
}

#[derive(Debug, Clone, Copy)]
struct Outside {
    wish: Wish,
    /// `None`: the group is deleted.
    offset: Option<i64>,
    is_old: bool,
}

impl Part {
    fn now(&self) -> Moment {
        self.values.len() - 1
    }

    fn committed(&self) -> Option<i64> {
        self.values[self.now()]
    }

    /// Whether an answer that was made up since then can have said so.
    fn may_be_at(&self, offset: Option<i64>, since: Moment) -> bool {
        self.values[since..].contains(&offset)
            || self.open.iter().any(|open| Some(open.offset) == offset)
            || self.outside.iter().any(|outside| outside.offset == offset)
    }

    /// Somebody was told how far the group has come, in an answer that was made up since then.
    fn told(&mut self, offset: Option<i64>, since: Moment) -> bool {
        if self.values[since..].contains(&offset) {
            if since == self.now() {
                self.forget_old();
            }
            return true;
        }
        if let Some(place) = self.open.iter().position(|open| Some(open.offset) == offset) {
            self.move_to(place);
        } else if let Some(place) = self.outside.iter().position(|outside| outside.offset == offset) {
            self.values.push(self.outside.remove(place).offset);
        } else {
            return false;
        }
        self.forget_old();
        true
    }

    /// Where the group is now was seen: what the broker before this one was asked for was made before, or never is.
    fn forget_old(&mut self) {
        self.open.retain(|open| !open.is_old);
        self.outside.retain(|outside| !outside.is_old);
    }

    /// A commit was made. Those before it may have been made as well, and have been seen by others on their way.
    fn move_to(&mut self, place: usize) {
        self.values.extend(self.open.drain(..=place).map(|open| Some(open.offset)));
    }

    fn loses(&mut self, member: u32) {
        if self.holders.remove(&member) {
            self.free_since = self.now();
        }
    }

    /// Where it can be, for people.
    fn describe(&self, since: Moment) -> String {
        let open: Vec<_> = self.open.iter().map(|open| open.offset).collect();
        let outside: Vec<_> = self.outside.iter().map(|outside| outside.offset).collect();
        format!("it was at {:?}, and perhaps at one of {open:?} or {outside:?}", &self.values[since..])
    }
}

/// All that is known of all groups.
#[derive(Debug, Default, Clone)]
pub struct Book {
    parts: BTreeMap<(Group, i32), Part>,
    last: Wish,
    /// Commits that were confirmed.
    pub commits: u64,
    /// Partitions of groups that were moved from outside or forgotten, as was confirmed.
    pub moves: u64,
    /// Changes of what a member reads.
    pub rebalances: u64,
    /// Records that were delivered to members.
    pub deliveries: u64,
    /// Answers that told how far a group has come.
    pub told: u64,
}

impl Book {
    fn part(&mut self, group: Group, partition: i32) -> &mut Part {
        self.parts.entry((group, partition)).or_default()
    }

    /// A member is about to commit.
    pub fn wants(&mut self, group: Group, partition: i32, offset: i64) -> Wish {
        self.last += 1;
        let open = Open { wish: self.last, offset, is_old: false };
        self.part(group, partition).open.push(open);
        self.last
    }

    /// A commit was confirmed: it and all before it are known.
    pub fn confirmed(&mut self, group: Group, partition: i32, wish: Wish) {
        self.commits += 1;
        let part = self.part(group, partition);
        let Some(place) = part.open.iter().position(|open| open.wish == wish) else { return };
        part.move_to(place);
    }

    /// A commit was refused, and was not made.
    pub fn refused(&mut self, group: Group, partition: i32, wish: Wish) {
        self.part(group, partition).open.retain(|open| open.wish != wish);
    }

    /// Somebody who is no member is about to move a group, or to delete it: `None`.
    pub fn wants_outside(&mut self, group: Group, partition: i32, offset: Option<i64>) -> Wish {
        self.last += 1;
        let outside = Outside { wish: self.last, offset, is_old: false };
        self.part(group, partition).outside.push(outside);
        self.last
    }

    /// That was confirmed, or refused: then it was not made.
    pub fn answered_outside(&mut self, group: Group, partition: i32, wish: Wish, made: bool) {
        self.moves += u64::from(made);
        let part = self.part(group, partition);
        let Some(place) = part.outside.iter().position(|outside| outside.wish == wish) else { return };
        let outside = part.outside.remove(place);
        if made {
            part.values.push(outside.offset);
        }
    }

    /// How far a group has come, as far as is known.
    pub fn committed(&mut self, group: Group, partition: i32) -> Option<i64> {
        self.part(group, partition).committed()
    }

    /// Now, for an answer that is yet to be made up.
    pub fn now(&mut self, group: Group, partition: i32) -> Moment {
        self.part(group, partition).now()
    }

    /// Somebody who asked then was told how far a group has come; `None`: nowhere.
    pub fn told(
        &mut self,
        group: Group,
        partition: i32,
        offset: Option<i64>,
        since: Moment,
    ) -> Result<(), String> {
        self.told += 1;
        let part = self.part(group, partition);
        let before = part.describe(since);
        match part.told(offset, since) {
            true => Ok(()),
            false => Err(format!("{group:?}/{partition} is said to be at {offset:?}, but {before}")),
        }
    }

    /// A member was told to read a partition from this offset on, which it did not read before.
    pub fn given(
        &mut self,
        group: Group,
        partition: i32,
        member: u32,
        offset: i64,
    ) -> Result<Begins, String> {
        let part = self.part(group, partition);
        part.holders.insert(member);
        let since = part.free_since;
        let gone = part.outside.iter().any(|outside| outside.offset.is_none());
        let anew = gone || part.values[since..].contains(&None);
        if anew {
            part.began = offset;
        }
        match (part.may_be_at(Some(offset), since), anew) {
            (true, true) => Ok(Begins::Either),
            (false, true) => Ok(Begins::Anew),
            (true, false) => {
                part.told(Some(offset), since);
                Ok(Begins::Committed)
            }
            (false, false) => {
                let before = part.describe(since);
                Err(format!("{group:?}/{partition} is read from {offset} on, but {before}"))
            }
        }
    }

    /// A member has given back a partition.
    pub fn given_back(&mut self, group: Group, partition: i32, member: u32) {
        self.part(group, partition).loses(member);
    }

    /// A member is none any more.
    pub fn left(&mut self, group: Group, member: u32) {
        for partition in 0..group.partitions {
            self.given_back(group, partition, member);
        }
    }

    /// Records were delivered to a member.
    pub fn delivered(&mut self, group: Group, partition: i32, offsets: &[i64]) {
        self.deliveries += offsets.len() as u64;
        self.part(group, partition).delivered.extend(offsets);
    }

    /// A member was told that these are gone.
    pub fn passed_by(&mut self, group: Group, partition: i32, offsets: Range<i64>) {
        self.part(group, partition).delivered.extend(offsets);
    }

    /// A moment is over: whatever happened in it, each partition has one reader now.
    pub fn end_of_moment(&self) -> Result<(), String> {
        for ((group, partition), part) in &self.parts {
            if part.holders.len() > 1 {
                let holders = &part.holders;
                return Err(format!("{group:?}/{partition} is read by members {holders:?} at a time"));
            }
        }
        Ok(())
    }

    /// The broker is gone, and has forgotten who its members were.
    pub fn restarted(&mut self) {
        for part in self.parts.values_mut() {
            part.holders.clear();
            part.free_since = part.now();
            part.open.iter_mut().for_each(|open| open.is_old = true);
            part.outside.iter_mut().for_each(|outside| outside.is_old = true);
        }
    }

    /// What lies on the disk after a start: whatever is committed was delivered.
    pub fn audit(&mut self, topic: Topic, partition: i32, found: &Found, after: After) -> Result<(), String> {
        let of_it = |(group, number): &(Group, i32)| group.topic == topic && *number == partition;
        for ((group, _), part) in self.parts.iter_mut().filter(|(key, _)| of_it(key)) {
            if after == After::Power && part.delivered.last().is_some_and(|last| *last >= found.end) {
                part.delivered.split_off(&found.end);
                part.doubtful_from = Some(part.doubtful_from.map_or(found.end, |from| from.min(found.end)));
            }
            let Some(committed) = part.committed() else { continue };
            let end = part.doubtful_from.map_or(committed, |from| from.min(committed));
            let must = found.records.iter().filter(|(offset, _)| (part.began..end).contains(offset));
            let missed = must.map(|(offset, _)| *offset).find(|offset| !part.delivered.contains(offset));
            if let Some(offset) = missed {
                return Err(format!(
                    "{group:?}/{partition} has come to {committed}, and {offset} was never delivered"
                ));
            }
        }
        Ok(())
    }

    /// Whether a group has committed all that there is.
    pub fn is_at_end(&self, group: Group, ends: &BTreeMap<(Topic, i32), i64>) -> bool {
        (0..group.partitions).all(|partition| {
            let end = ends.get(&(group.topic, partition));
            let part = self.parts.get(&(group, partition));
            end.is_some() && part.and_then(Part::committed).as_ref() == end
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Group = Group { name: "g", topic: 0, partitions: 1 };

    /// A group that has read and committed the first five records.
    fn book() -> Book {
        let mut book = Book::default();
        assert_eq!(book.given(GROUP, 0, 1, 0), Ok(Begins::Anew));
        book.delivered(GROUP, 0, &[0, 1, 2, 3, 4]);
        commit(&mut book, 5);
        book
    }

    fn commit(book: &mut Book, offset: i64) {
        let wish = book.wants(GROUP, 0, offset);
        book.confirmed(GROUP, 0, wish);
    }

    /// Somebody who asks now is told this.
    fn told(book: &mut Book, offset: Option<i64>) -> Result<(), String> {
        let now = book.now(GROUP, 0);
        book.told(GROUP, 0, offset, now)
    }

    /// Member 1 goes and another one comes.
    fn next_reader(book: &mut Book, offset: i64) -> Result<Begins, String> {
        book.left(GROUP, 1);
        book.given(GROUP, 0, 2, offset)
    }

    fn found(count: u64) -> Found {
        Found { start: 0, end: count as i64, records: (0..count).map(|n| (n as i64, n)).collect() }
    }

    #[test]
    fn a_group_goes_on_where_it_has_committed() {
        assert_eq!(next_reader(&mut book(), 5), Ok(Begins::Committed));
        for wrong in [0, 4, 6] {
            assert!(next_reader(&mut book(), wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_commit_whose_fate_nobody_knows_may_have_been_made_or_not_and_what_was_seen_stays() {
        let story = |first: i64, second: i64| {
            let mut book = book();
            book.wants(GROUP, 0, 7);
            book.wants(GROUP, 0, 9);
            book.restarted();
            next_reader(&mut book, first)?;
            book.left(GROUP, 2);
            book.given(GROUP, 0, 3, second)
        };
        for offset in [5, 7, 9] {
            assert_eq!(story(offset, offset), Ok(Begins::Committed));
        }
        for (first, second) in [(5, 7), (7, 5), (9, 7), (7, 9), (6, 6), (8, 8), (10, 10)] {
            assert!(story(first, second).is_err(), "{first}, then {second}");
        }
    }

    #[test]
    fn what_was_confirmed_is_never_forgotten_and_what_was_refused_never_made() {
        let mut book = book();
        book.restarted();
        assert!(told(&mut book, None).is_err());
        assert!(told(&mut book, Some(0)).is_err());
        let wish = book.wants(GROUP, 0, 8);
        book.refused(GROUP, 0, wish);
        assert!(told(&mut book, Some(8)).is_err());
        assert!(told(&mut book, Some(5)).is_ok());
    }

    #[test]
    fn a_move_from_outside_may_come_anywhere_between_the_commits_of_members() {
        let mut book = book();
        let back = book.wants_outside(GROUP, 0, Some(2));
        book.left(GROUP, 1);
        assert_eq!(book.clone().given(GROUP, 0, 2, 5), Ok(Begins::Committed), "it was not made yet");
        assert!(book.clone().given(GROUP, 0, 2, 3).is_err());
        assert_eq!(book.given(GROUP, 0, 2, 2), Ok(Begins::Committed));
        commit(&mut book, 4);
        book.answered_outside(GROUP, 0, back, true);
        assert_eq!(book.committed(GROUP, 0), Some(4), "it was made before");
        let refused = book.wants_outside(GROUP, 0, Some(1));
        book.answered_outside(GROUP, 0, refused, false);
        assert!(told(&mut book, Some(1)).is_err());
    }

    #[test]
    fn a_group_that_was_deleted_begins_anew_and_not_before() {
        let mut book = book();
        book.left(GROUP, 1);
        let gone = book.wants_outside(GROUP, 0, None);
        assert_eq!(book.clone().given(GROUP, 0, 2, 0), Ok(Begins::Anew));
        book.answered_outside(GROUP, 0, gone, true);
        assert!(told(&mut book, Some(5)).is_err());
        assert!(told(&mut book, None).is_ok());
        assert_eq!(book.given(GROUP, 0, 2, 0), Ok(Begins::Anew));
    }

    #[test]
    fn what_was_never_committed_is_told_as_such() {
        let mut book = Book::default();
        assert_eq!(book.given(GROUP, 0, 1, 3), Ok(Begins::Anew));
        assert!(told(&mut book, None).is_ok());
        assert!(told(&mut book, Some(0)).is_err());
        book.wants(GROUP, 0, 3);
        assert_eq!(next_reader(&mut book, 3), Ok(Begins::Either));
        assert!(told(&mut book, None).is_ok(), "it was not made yet");
    }

    #[test]
    fn an_answer_may_be_older_than_the_moment_at_which_it_is_written_and_not_than_its_question() {
        let mut book = book();
        let before = book.now(GROUP, 0);
        book.wants(GROUP, 0, 6);
        commit(&mut book, 7);
        for offset in [5, 6, 7] {
            assert!(book.told(GROUP, 0, Some(offset), before).is_ok());
        }
        assert!(told(&mut book, Some(5)).is_err());
        assert!(next_reader(&mut book, 5).is_err());
    }

    #[test]
    fn two_readers_of_a_partition_are_noticed_unless_the_first_has_left() {
        let mut book = book();
        book.given(GROUP, 0, 2, 5).unwrap();
        assert!(book.clone().end_of_moment().is_err());
        book.left(GROUP, 1);
        assert!(book.end_of_moment().is_ok());
    }

    #[test]
    fn a_record_that_is_passed_over_is_noticed_if_it_is_still_there() {
        let mut book = book();
        commit(&mut book, 7);
        assert!(book.clone().audit(0, 0, &found(5), After::Process).is_ok());
        assert!(book.clone().audit(0, 0, &found(6), After::Process).is_err());
        book.delivered(GROUP, 0, &[5, 6]);
        assert!(book.audit(0, 0, &found(9), After::Process).is_ok());
    }

    #[test]
    fn records_above_what_a_power_cut_has_taken_are_others() {
        let mut book = book();
        assert!(book.audit(0, 0, &found(3), After::Power).is_ok());
        assert!(book.audit(0, 0, &found(9), After::Process).is_ok());
        commit(&mut book, 3);
        assert!(!book.is_at_end(GROUP, &BTreeMap::new()));
        assert!(book.is_at_end(GROUP, &BTreeMap::from([((0, 0), 3)])));
    }
}
