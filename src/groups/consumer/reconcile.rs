//! How a member gets from what it has to what it is to have, one step at a time.
//!
//! ```text
//!                     it has nothing to give back, or says that it has given it back
//!            +------------------------------------------------------------------------+
//!            |                                                                        v
//!   a new plan --> Unrevoked: it is told to stop reading --> what it was waiting for is free --> Stable
//!                  some, and keeps its epoch                  ^    it takes what is free, and the new epoch
//!                      |                                      |       |
//!                      | not in time                          +-------+ Unreleased: others still have the rest
//!                      v
//!                   it is fenced
//! ```
//!
//! Invariant: nobody may read a partition before its former reader has said that it does not read it any more, or was
//! taken for dead. So no two members ever read one partition, as long as whoever is taken for dead knows it.

use std::fmt::Debug;

use super::group::{ConsumerGroup, Due};
use super::member::Progress;
use super::roster::Number;
use crate::groups::assign::{Partitions, TopicPartition};
use crate::time::Time;

/// What a member has and is to have, apart.
struct Steps {
    /// It has them and keeps them.
    keeps: Partitions,
    /// It has them and is to have them no more.
    gives: Partitions,
    /// It is to have them, and nobody else has them.
    takes: Partitions,
    /// It is to have more, which somebody else still has.
    waits: bool,
}

impl<W: Copy + Ord + Debug> ConsumerGroup<W> {
    /// Brings a member one step nearer to its target. `owned` is what it reads, if it says so.
    pub(super) fn reconcile(&mut self, number: Number, owned: Option<&Partitions>, now: Time) {
        let member = self.roster.member(number);
        let still_reads = |these: &Partitions| owned.is_none_or(|owned| !owned.is_disjoint(these));
        match member.progress {
            Progress::Stable if member.epoch == self.epoch => return,
            Progress::Unrevoked if still_reads(&member.revoking) => return,
            _ => {}
        }
        let steps = self.steps(number);
        if !steps.gives.is_empty() && still_reads(&steps.gives) {
            self.roster.hold(number, steps.keeps, steps.gives);
            self.await_revocation(number, now);
            return;
        }
        let mut assigned = steps.keeps;
        assigned.extend(steps.takes);
        self.roster.hold(number, assigned, Partitions::new());
        let epoch = self.epoch;
        let member = self.roster.get_mut(number);
        member.revocation.clear(Due::Revocation(number), &mut self.timers);
        member.progress = if steps.waits { Progress::Unreleased } else { Progress::Stable };
        if member.epoch != epoch {
            member.epoch_before = member.epoch;
            member.epoch = epoch;
        }
    }

    /// Whether others still have something that it is to have.
    pub(super) fn waits(&self, number: Number) -> bool {
        self.steps(number).waits
    }

    fn steps(&self, number: Number) -> Steps {
        let member = self.roster.member(number);
        let has = member.assigned.iter().copied();
        let (keeps, gives) = has.partition(|partition| member.target.contains(partition));
        let is_free =
            |partition: &&TopicPartition| self.roster.holder(partition).is_none_or(|holder| holder == number);
        let missing = || member.target.difference(&member.assigned);
        let takes: Partitions = missing().filter(is_free).copied().collect();
        let waits = takes.len() < missing().count();
        Steps { keeps, gives, takes, waits }
    }

    fn await_revocation(&mut self, number: Number, now: Time) {
        let member = self.roster.get_mut(number);
        member.progress = Progress::Unrevoked;
        let at = now.plus_ms(member.rebalance_timeout_ms);
        member.revocation.set(at, Due::Revocation(number), &mut self.timers);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Room, beat, join, of_one};
    use super::super::{Heartbeat, LEAVES};
    use super::*;
    use krappy_wire::error::ErrorCode;

    const ALL: &[i32] = &[0, 1, 2, 3, 4, 5];

    fn owns<'a>(member: &'a str, epoch: i32, numbers: &[i32]) -> Heartbeat<'a> {
        Heartbeat { owned: Some(of_one(numbers)), ..beat(member, epoch) }
    }

    #[test]
    fn a_partition_is_given_to_the_next_when_the_last_has_said_that_it_gave_it_back() {
        let mut room = Room::new();
        room.hear(&join("a"));
        assert_eq!(room.hear(&join("b")), (2, Some(of_one(&[]))), "there is nothing to take yet");
        assert_eq!(room.hear(&beat("b", 2)), (2, None));
        assert_eq!(room.hear(&owns("a", 1, ALL)), (1, Some(of_one(&[0, 1, 2]))));
        // Until it says that it has done so, nothing moves on, however often it says something else.
        assert_eq!(room.hear(&beat("a", 1)), (1, None));
        assert_eq!(room.hear(&owns("a", 1, &[0, 1, 2, 5])), (1, None));
        assert_eq!(room.hear(&beat("b", 2)), (2, None));
        assert_eq!(room.state(), "Reconciling");
        assert_eq!(room.hear(&owns("a", 1, &[0, 1, 2])), (2, None));
        assert_eq!(room.hear(&beat("b", 2)), (2, Some(of_one(&[3, 4, 5]))));
        assert_eq!(room.state(), "Stable");
    }

    #[test]
    fn a_member_that_does_not_read_what_it_is_to_give_back_goes_on_at_once() {
        let mut room = Room::new();
        room.hear(&join("a"));
        room.hear(&join("b"));
        assert_eq!(room.hear(&owns("a", 1, &[0])), (2, Some(of_one(&[0, 1, 2]))));
        assert_eq!(room.hear(&beat("b", 2)), (2, Some(of_one(&[3, 4, 5]))));
    }

    #[test]
    fn a_member_takes_one_by_one_what_others_give_back() {
        let mut room = Room::new();
        room.stable(&["a", "b"]);
        room.hear(&join("c"));
        let (a, b) = (room.reads("a"), room.reads("b"));
        let keeps = |room: &mut Room, member: &str, (epoch, reads): (i32, Partitions)| {
            let ask = Heartbeat { owned: Some(reads), ..beat(member, epoch) };
            let kept = room.hear(&ask).1.expect("it is told what to keep");
            room.hear(&Heartbeat { owned: Some(kept), ..beat(member, epoch) })
        };
        assert_eq!(keeps(&mut room, "a", a), (3, None));
        assert_eq!(room.hear(&beat("c", 3)).1.expect("something").len(), 1);
        assert_eq!((room.hear(&beat("c", 3)), room.state()), ((3, None), "Reconciling"));
        assert_eq!(keeps(&mut room, "b", b), (3, None));
        assert_eq!(room.hear(&beat("c", 3)).1.expect("more").len(), 2);
        assert_eq!(room.state(), "Stable");
    }

    #[test]
    fn a_member_that_does_not_give_back_in_time_is_fenced() {
        let mut room = Room::new();
        room.hear(&Heartbeat { rebalance_timeout_ms: Some(10_000), ..join("a") });
        room.hear(&join("b"));
        for _ in 0..10 {
            room.hear(&owns("a", 1, ALL));
            room.hear(&beat("b", 2));
            room.pass(999);
        }
        room.hear(&owns("a", 1, ALL));
        room.pass(10);
        assert_eq!(room.ask(&owns("a", 1, ALL)), Err(ErrorCode::UnknownMemberId));
        assert_eq!(room.hear(&beat("b", 2)), (3, Some(of_one(ALL))));
        // It has given up everything, and joins anew.
        assert_eq!(room.hear(&join("a")), (4, Some(of_one(&[]))));
        assert_eq!(room.follow(&["a", "b"]).iter().map(Partitions::len).collect::<Vec<_>>(), [3, 3]);
    }

    #[test]
    fn a_member_that_has_given_back_is_not_fenced_for_it_later() {
        let mut room = Room::new();
        room.hear(&Heartbeat { rebalance_timeout_ms: Some(10_000), ..join("a") });
        room.hear(&join("b"));
        room.hear(&owns("a", 1, ALL));
        room.hear(&owns("a", 1, &[0, 1, 2]));
        room.hear(&beat("b", 2));
        room.pass(30_000);
        assert_eq!(room.hear(&beat("a", 2)), (2, None));
    }

    #[test]
    fn silence_ends_a_session_and_frees_what_the_member_had() {
        let mut room = Room::new();
        room.stable(&["a", "b"]);
        room.pass(44_999);
        room.hear(&beat("a", 2));
        room.pass(1);
        assert_eq!(room.hear(&beat("a", 2)), (3, Some(of_one(ALL))));
        assert_eq!(room.ask(&beat("b", 2)), Err(ErrorCode::UnknownMemberId));
        room.pass(45_000);
        assert_eq!(room.groups.totals(), Default::default());
    }

    #[test]
    fn a_plan_that_changes_while_a_member_gives_back_is_followed_afterwards() {
        let mut room = Room::new();
        room.hear(&join("a"));
        room.hear(&join("b"));
        room.hear(&owns("a", 1, ALL));
        room.hear(&join("c"));
        room.hear(&beat("b", LEAVES));
        // Of three, two and three members the first keeps three partitions at last.
        assert_eq!(room.epoch(), 4);
        let (epoch, keeps) = room.hear(&owns("a", 1, &[0, 1, 2]));
        let mut reads = keeps.unwrap_or_else(|| of_one(&[0, 1, 2]));
        if epoch == 1 {
            let told = room.hear(&Heartbeat { owned: Some(reads.clone()), ..beat("a", 1) });
            reads = told.1.unwrap_or(reads);
        }
        assert_eq!(room.reads("a"), (4, reads));
        let shares = room.follow(&["a", "c"]);
        assert_eq!(shares.iter().map(Partitions::len).collect::<Vec<_>>(), [3, 3]);
    }

    #[test]
    fn a_topic_that_is_made_again_under_its_name_is_another_one() {
        let mut room = Room::new();
        room.stable(&["a"]);
        room.topic("one", None);
        assert_eq!(room.hear(&owns("a", 1, ALL)), (1, Some(of_one(&[]))));
        room.topic("one", Some(([9; 16], 1)));
        let (epoch, reads) = room.hear(&owns("a", 1, &[]));
        assert_eq!((epoch, reads.expect("the new one").first().unwrap().topic), (3, [9; 16]));
    }

    #[test]
    fn a_topic_that_grows_is_shared_out_anew_and_one_that_nobody_reads_is_not() {
        let mut room = Room::new();
        room.stable(&["a", "b"]);
        room.topic("two", Some(([2; 16], 50)));
        room.topic("three", Some(([3; 16], 50)));
        assert_eq!((room.epoch(), room.state()), (2, "Stable"));
        room.topic("one", Some(([1; 16], 8)));
        assert_eq!((room.epoch(), room.state()), (3, "Reconciling"));
        let shares = room.follow(&["a", "b"]);
        assert_eq!(shares.iter().map(Partitions::len).collect::<Vec<_>>(), [4, 4]);
    }
}
