//! The one thing that members say: that they live, and what has changed. It is how they join, how they give back
//! partitions, and how they learn what to read.
//!
//! Invariant: a heartbeat that is refused changes nothing.

use std::fmt::Debug;
use std::sync::Arc;

use krappy_wire::error::ErrorCode;

use super::group::{ConsumerGroup, Due};
use super::member::{Liveness, Member, Progress};
use super::messages::{GOES_AWAY, Heard, Heartbeat, JOINS, LEAVES, Refused};
use super::pattern::Pattern;
use super::roster::Number;
use super::subscription::Subscription;
use super::topics::Topics;
use crate::groups::Turn;
use crate::groups::assign::{Assignor, Partitions};
use crate::ordered;

/// Checks what can be checked without a group.
pub(in crate::groups) fn check(ask: &Heartbeat<'_>, assignors: &[Assignor]) -> Result<(), Refused> {
    let invalid = |why: &str| Err(Refused::new(ErrorCode::InvalidRequest, why));
    let named_by_us = ask.epoch == JOINS || ask.epoch < LEAVES;
    if ask.member.is_empty() && (ask.makes_id || !named_by_us) {
        return invalid("a member must have an id");
    }
    if ask.group.is_empty() || ask.group.len() > crate::groups::MOST_NAME {
        return invalid("the name of a group has 1 to 255 bytes");
    }
    if ask.instance == Some("") || ask.rack == Some("") {
        return invalid("an instance or a rack must have a name");
    }
    match ask.epoch {
        JOINS if ask.rebalance_timeout_ms.is_none() => {
            return invalid("whoever joins has a rebalance timeout");
        }
        JOINS if ask.owned.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            return invalid("whoever joins has an empty list of partitions");
        }
        JOINS if ask.topics.is_none() && ask.pattern.is_none() => {
            return invalid("whoever joins has a subscription, if only an empty one");
        }
        GOES_AWAY if ask.instance.is_none() => return invalid("only a static member can come back"),
        ..GOES_AWAY => return invalid("no epoch is below -2"),
        _ => {}
    }
    let known = |name: &str| assignors.iter().any(|assignor| assignor.name() == name);
    if let Some(unknown) = ask.assignor.filter(|name| !known(name)) {
        let names: Vec<&str> = assignors.iter().map(|assignor| assignor.name()).collect();
        let why = format!("there is no assignor {unknown}; there are {}", names.join(", "));
        return Err(Refused::new(ErrorCode::UnsupportedAssignor, why));
    }
    Ok(())
}

impl<W: Copy + Ord + Debug> ConsumerGroup<W> {
    /// Takes a heartbeat that was checked and does not leave.
    pub fn heartbeat(
        &mut self,
        ask: &Heartbeat<'_>,
        topics: &dyn Topics,
        turn: &mut Turn<'_, W>,
    ) -> Result<Heard, Refused> {
        let found = if ask.epoch == JOINS { self.admit(ask, turn)? } else { Some(self.find_current(ask)?) };
        let before = found.map(|number| &self.roster.member(number).subscription);
        let subscription = subscription(ask, before)?;
        self.check_room(ask, found, &subscription, turn)?;

        let number = found.unwrap_or_else(|| self.add(ask, turn));
        if found.is_some() && ask.epoch == JOINS {
            self.come_back(number, ask, turn);
        }
        self.turn_newer(number);
        let changed = self.roster.member(number).subscription != subscription;
        let found = if changed { Some(subscription.find(topics)) } else { None };
        self.roster.change(number, |member| {
            member.update(ask);
            member.subscription = subscription;
            if let Some(found) = found {
                member.topics = found;
            }
        });
        if changed || self.epoch == 0 {
            self.plan(turn);
        }
        self.reconcile(number, ask.owned.as_ref(), turn.now);
        self.restart_session(number, turn);
        Ok(self.tell(number, ask, turn))
    }

    /// Who it is that joins, if it is there already.
    fn admit(&self, ask: &Heartbeat<'_>, turn: &Turn<'_, W>) -> Result<Option<Number>, Refused> {
        let known = self.roster.find(ask.member);
        let Some(instance) = ask.instance else { return self.admit_new(known, turn) };
        let Some(owner) = self.roster.instance(instance) else { return self.admit_new(known, turn) };
        let member = self.roster.member(owner);
        if !member.is_away() && member.classic.is_none() && known != Some(owner) {
            let why = format!("the instance {instance} is the member {}, which has not left", member.id);
            return Err(Refused::new(ErrorCode::UnreleasedInstanceId, why));
        }
        if known.is_some_and(|known| known != owner) {
            let why = format!("the id {} is that of another member", ask.member);
            return Err(Refused::new(ErrorCode::InvalidRequest, why));
        }
        Ok(Some(owner))
    }

    fn admit_new(&self, known: Option<Number>, turn: &Turn<'_, W>) -> Result<Option<Number>, Refused> {
        if known.is_none() && self.len() >= turn.limits.consumer_group_max_size {
            let why = format!("the group has {} members, which is all that it may have", self.len());
            return Err(Refused::new(ErrorCode::GroupMaxSizeReached, why));
        }
        Ok(known)
    }

    /// The member that says this, if it is in its epoch. If it is in the one before, it was not told of the new one;
    /// that does no harm as long as it reads nothing that it may not read by now.
    fn find_current(&self, ask: &Heartbeat<'_>) -> Result<Number, Refused> {
        let number = self.identify(ask.member, ask.instance)?;
        let member = self.roster.member(number);
        let reads_what_it_may = ask.owned.as_ref().is_some_and(|owned| owned.is_subset(&member.assigned));
        if ask.epoch == member.epoch || (ask.epoch == member.epoch_before && reads_what_it_may) {
            return Ok(number);
        }
        let why = format!("the member is in epoch {} and not in {}: join again", member.epoch, ask.epoch);
        Err(Refused::new(ErrorCode::FencedMemberEpoch, why))
    }

    /// Checks that the member does not become larger than it may, and that there is room for it.
    fn check_room(
        &self,
        ask: &Heartbeat<'_>,
        found: Option<Number>,
        subscription: &Subscription,
        turn: &Turn<'_, W>,
    ) -> Result<(), Refused> {
        let texts = [ask.instance, ask.rack].into_iter().flatten().map(str::len).sum::<usize>();
        let texts = texts + ask.member.len() * 2 + ask.client_id.len() + ask.client_host.len();
        let more = texts + subscription.bytes();
        let before = found.map_or(0, |number| self.roster.member(number).weight());
        if more > turn.limits.member_bytes || more > turn.room + before {
            let why = format!("there is no room for a member of {more} bytes");
            return Err(Refused::new(ErrorCode::PolicyViolation, why));
        }
        Ok(())
    }

    fn add(&mut self, ask: &Heartbeat<'_>, turn: &mut Turn<'_, W>) -> Number {
        let id = if ask.member.is_empty() { turn.ids.make(ask.client_id) } else { ask.member.into() };
        log::info!("group {:?}: member {id:?} joins", self.name);
        self.roster.add(Member::new(id, ask.client_id, ask.client_host, Liveness::Heartbeats))
    }

    /// Whoever joins reads nothing. A static member that comes back under another id is told everything anew.
    fn come_back(&mut self, number: Number, ask: &Heartbeat<'_>, turn: &mut Turn<'_, W>) {
        let member = self.roster.member(number);
        if member.is_away() || *member.id != *ask.member {
            let id = if ask.member.is_empty() { turn.ids.make(ask.client_id) } else { ask.member.into() };
            self.replace(number, id);
        }
    }

    /// A static member is somebody else from now on, who keeps what it may read.
    pub(super) fn replace(&mut self, number: Number, id: Arc<str>) {
        log::info!("group {:?}: {:?} is back as {id:?}", self.name, self.roster.member(number).id);
        self.let_go(number);
        self.roster.change(number, |member| {
            member.id = id;
            member.epoch = 0;
            member.epoch_before = 0;
        });
    }

    /// A member that speaks the newer protocol, whatever it spoke before.
    fn turn_newer(&mut self, number: Number) {
        if self.roster.member(number).classic.is_none() {
            return;
        }
        self.roster.change(number, |member| member.classic = None);
        let member = self.roster.get_mut(number);
        if member.progress != Progress::Unrevoked {
            member.revocation.clear(Due::Revocation(number), &mut self.timers);
        }
    }

    /// What the member hears, and from then on knows.
    fn tell(&mut self, number: Number, ask: &Heartbeat<'_>, turn: &Turn<'_, W>) -> Heard {
        let news = self.news(number);
        let member = self.roster.member(number);
        let says_everything = ask.rebalance_timeout_ms.is_some()
            && (ask.topics.is_some() || ask.pattern.is_some())
            && ask.owned.is_some();
        let told = news.or_else(|| (ask.epoch == JOINS || says_everything).then(|| member.assigned.clone()));
        Heard {
            member: member.id.clone(),
            epoch: member.epoch,
            interval_ms: turn.limits.consumer_heartbeat_interval_ms,
            assignment: told,
        }
    }

    /// What has changed for a member since it was told, which it is now.
    pub(super) fn news(&mut self, number: Number) -> Option<Partitions> {
        let member = self.roster.get_mut(number);
        std::mem::take(&mut member.untold).then(|| member.assigned.clone())
    }

    /// Takes a heartbeat that was checked and leaves, for good or for a while.
    pub fn leave(&mut self, ask: &Heartbeat<'_>, turn: &mut Turn<'_, W>) -> Result<Heard, Refused> {
        let number = self.identify(ask.member, ask.instance)?;
        if ask.epoch == GOES_AWAY {
            self.go_away(number);
        } else {
            self.remove(number, "it leaves", turn);
        }
        Ok(Heard { member: ask.member.into(), epoch: ask.epoch, interval_ms: 0, assignment: None })
    }

    /// A static member stops, and what it may read is kept for it until its session ends.
    fn go_away(&mut self, number: Number) {
        self.turn_newer(number);
        self.let_go(number);
        let member = self.roster.get_mut(number);
        member.epoch = GOES_AWAY;
        member.epoch_before = GOES_AWAY;
        log::info!("group {:?}: member {:?} goes away", self.name, member.id);
    }

    /// The process of a member is gone, so it has given back whatever it was to give back.
    fn let_go(&mut self, number: Number) {
        let assigned = self.roster.member(number).assigned.clone();
        self.roster.hold(number, assigned, Partitions::new());
        let member = self.roster.get_mut(number);
        member.progress = Progress::Stable;
        member.revocation.clear(Due::Revocation(number), &mut self.timers);
    }
}

/// What the member wants from now on: what it does not say is as it was.
fn subscription(ask: &Heartbeat<'_>, before: Option<&Subscription>) -> Result<Subscription, Refused> {
    let mut wanted = before.cloned().unwrap_or_default();
    if let Some(names) = &ask.topics {
        wanted.names = ordered::set(names.iter().map(|name| Arc::from(*name)));
    }
    match ask.pattern {
        None => {}
        Some("") => wanted.pattern = None,
        Some(text) if wanted.pattern.as_ref().is_some_and(|pattern| pattern.text() == text) => {}
        Some(text) => {
            let invalid = |why| {
                let why = format!("the pattern {text:?} cannot be used: {why}");
                Refused::new(ErrorCode::InvalidRegularExpression, why)
            };
            wanted.pattern = Some(Pattern::new(text).map_err(invalid)?);
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Room, beat, id, join, of_one};
    use super::*;
    use crate::groups::Limits;
    use crate::groups::assign::TopicPartition;

    #[test]
    fn the_first_member_is_given_everything_at_once() {
        let mut room = Room::new();
        let heard = room.ask(&join("a")).unwrap();
        assert_eq!((&*heard.member, heard.epoch, heard.interval_ms), ("a", 1, 5_000));
        assert_eq!(heard.assignment, Some(of_one(&[0, 1, 2, 3, 4, 5])));
        assert_eq!((room.state(), room.epoch()), ("Stable", 1));
    }

    #[test]
    fn what_has_not_changed_is_not_told_again_unless_the_member_says_everything() {
        let mut room = Room::new();
        let (epoch, everything) = room.hear(&join("a"));
        assert_eq!(room.hear(&beat("a", epoch)), (1, None));
        let owned = everything.clone();
        assert_eq!(room.hear(&Heartbeat { owned: owned.clone(), ..beat("a", epoch) }), (1, None));
        let full = Heartbeat { epoch, owned, ..join("a") };
        assert_eq!(room.hear(&full), (1, everything.clone()));
        // Whoever joins again is told again, and stays in its epoch.
        assert_eq!(room.hear(&join("a")), (1, everything));
    }

    #[test]
    fn a_heartbeat_that_contradicts_itself_is_refused() {
        let mut room = Room::new();
        let refused = [
            Heartbeat { member: "", ..join("a") },
            Heartbeat { group: "", ..join("a") },
            Heartbeat { instance: Some(""), ..join("a") },
            Heartbeat { rack: Some(""), ..join("a") },
            Heartbeat { rebalance_timeout_ms: None, ..join("a") },
            Heartbeat { owned: None, ..join("a") },
            Heartbeat { owned: Some(of_one(&[1])), ..join("a") },
            Heartbeat { topics: None, ..join("a") },
            Heartbeat { epoch: GOES_AWAY, ..join("a") },
            Heartbeat { epoch: -3, ..join("a") },
            Heartbeat { member: "", makes_id: false, ..beat("", 1) },
        ];
        for ask in refused {
            assert_eq!(room.ask(&ask), Err(ErrorCode::InvalidRequest), "{ask:?}");
        }
        let other = Heartbeat { assignor: Some("sticky"), ..join("a") };
        assert_eq!(room.ask(&other), Err(ErrorCode::UnsupportedAssignor));
        let pattern = Heartbeat { pattern: Some("("), ..join("a") };
        assert_eq!(room.ask(&pattern), Err(ErrorCode::InvalidRegularExpression));
        assert_eq!(room.groups.totals(), Default::default(), "nobody has begun a group");
    }

    #[test]
    fn a_member_that_makes_no_id_is_given_one() {
        let mut room = Room::new();
        let heard = room.ask(&Heartbeat { member: "", makes_id: false, ..join("") }).unwrap();
        assert!(heard.member.starts_with("app-"), "{}", heard.member);
        assert_eq!(room.hear(&beat(&heard.member, 1)), (1, None));
    }

    #[test]
    fn strangers_and_members_of_other_epochs_are_told_to_join_again() {
        let mut room = Room::new();
        assert_eq!(room.ask(&beat("a", 1)), Err(ErrorCode::UnknownMemberId));
        assert_eq!(room.ask(&beat("a", LEAVES)), Err(ErrorCode::GroupIdNotFound));
        room.stable(&["a"]);
        assert_eq!(room.ask(&beat("b", 1)), Err(ErrorCode::UnknownMemberId));
        assert_eq!(room.ask(&beat("a", 2)), Err(ErrorCode::FencedMemberEpoch));
        assert_eq!(room.hear(&beat("a", 1)), (1, None));
    }

    #[test]
    fn a_member_that_was_not_told_of_its_epoch_may_come_with_the_one_before() {
        let mut room = Room::new();
        room.hear(&join("a"));
        room.hear(&join("b"));
        let owned = Some(of_one(&[0, 1, 2]));
        // It gives back, and the answer, which tells of epoch 2, is lost.
        room.hear(&Heartbeat { owned: Some(of_one(&[0, 1, 2, 3, 4, 5])), ..beat("a", 1) });
        assert_eq!(room.hear(&Heartbeat { owned: owned.clone(), ..beat("a", 1) }).0, 2);
        assert_eq!(room.ask(&beat("a", 1)), Err(ErrorCode::FencedMemberEpoch), "nobody knows what it reads");
        let reads_more = Heartbeat { owned: Some(of_one(&[0, 5])), ..beat("a", 1) };
        assert_eq!(room.ask(&reads_more), Err(ErrorCode::FencedMemberEpoch));
        assert_eq!(room.hear(&Heartbeat { owned, ..beat("a", 1) }).0, 2);
        assert_eq!(room.ask(&beat("a", 3)), Err(ErrorCode::FencedMemberEpoch));
    }

    #[test]
    fn a_member_may_want_something_else_and_nothing_at_all() {
        let mut room = Room::new();
        room.stable(&["a"]);
        let all = of_one(&[0, 1, 2, 3, 4, 5]);
        let two: Partitions = [0, 1].map(|number| TopicPartition { topic: id(2), number }).into();
        let ask = Heartbeat { topics: Some(vec!["two"]), owned: Some(all.clone()), ..beat("a", 1) };
        assert_eq!(room.hear(&ask), (1, Some(Partitions::new())), "first it gives back");
        assert_eq!(room.hear(&Heartbeat { owned: Some(all), ..beat("a", 1) }), (1, None));
        assert_eq!(
            room.hear(&Heartbeat { owned: Some(Partitions::new()), ..beat("a", 1) }),
            (2, Some(two.clone()))
        );
        // The same said again is nothing new.
        assert_eq!(room.hear(&Heartbeat { topics: Some(vec!["two"]), ..beat("a", 2) }), (2, None));
        let ask = Heartbeat { topics: Some(vec![]), owned: Some(Partitions::new()), ..beat("a", 2) };
        assert_eq!(room.hear(&ask), (3, Some(Partitions::new())));
        assert_eq!(room.state(), "Stable");
    }

    #[test]
    fn a_pattern_is_a_subscription_to_all_topics_that_match_it() {
        let mut room = Room::new();
        let ask = Heartbeat { topics: None, pattern: Some("o.*"), ..join("a") };
        assert_eq!(room.hear(&ask), (1, Some(of_one(&[0, 1, 2, 3, 4, 5]))));
        room.topic("other", Some((id(3), 1)));
        let (epoch, reads) = room.hear(&beat("a", 1));
        assert_eq!((epoch, reads.map(|reads| reads.len())), (2, Some(7)));
        let ask = Heartbeat { pattern: Some(""), topics: Some(vec!["two"]), ..beat("a", 2) };
        room.hear(&ask);
        assert_eq!(room.follow(&["a"])[0].len(), 2);
    }

    #[test]
    fn a_member_that_leaves_is_gone_at_once() {
        let mut room = Room::new();
        room.stable(&["a", "b"]);
        let heard = room.ask(&beat("b", LEAVES)).unwrap();
        assert_eq!((&*heard.member, heard.epoch, heard.interval_ms, heard.assignment), ("b", -1, 0, None));
        assert_eq!(room.follow(&["a"]), [of_one(&[0, 1, 2, 3, 4, 5])]);
        assert_eq!(room.ask(&beat("b", LEAVES)), Err(ErrorCode::UnknownMemberId));
        room.hear(&beat("a", LEAVES));
        assert_eq!(room.groups.totals(), Default::default());
        assert_eq!(room.groups.next_deadline(), None);
    }

    fn instance<'a>(ask: Heartbeat<'a>, instance: &'a str) -> Heartbeat<'a> {
        Heartbeat { instance: Some(instance), ..ask }
    }

    #[test]
    fn a_static_member_that_restarts_gets_its_partitions_again_and_nothing_else_changes() {
        let mut room = Room::new();
        room.hear(&instance(join("a"), "one"));
        room.hear(&join("b"));
        let before = room.hear(&instance(Heartbeat { owned: Some(of_one(&[])), ..beat("a", 1) }, "one"));
        let other = room.hear(&beat("b", 2));
        assert_eq!((before.0, other.0, room.state()), (2, 2, "Stable"));
        assert_eq!(room.ask(&instance(beat("a", GOES_AWAY), "one")).unwrap().epoch, GOES_AWAY);
        assert_eq!(room.hear(&beat("b", 2)), (2, None), "what it had is kept for it");
        assert_eq!(room.state(), "Reconciling");
        let mut ask = instance(join("a2"), "one");
        assert_eq!(room.hear(&ask), before);
        assert_eq!((room.epoch(), room.state()), (2, "Stable"));
        // Its former life is over.
        assert_eq!(room.ask(&instance(beat("a", 2), "one")), Err(ErrorCode::FencedInstanceId));
        assert_eq!(room.ask(&beat("a", 2)), Err(ErrorCode::UnknownMemberId));
        ask.member = "a3";
        assert_eq!(room.ask(&ask), Err(ErrorCode::UnreleasedInstanceId));
    }

    #[test]
    fn a_static_member_that_goes_away_and_stays_away_is_removed_when_its_session_ends() {
        let mut room = Room::new();
        room.hear(&instance(join("a"), "one"));
        room.hear(&instance(beat("a", GOES_AWAY), "one"));
        assert_eq!(room.ask(&instance(beat("a", 1), "one")), Err(ErrorCode::FencedMemberEpoch));
        room.pass(44_999);
        assert_eq!(room.groups.totals().members, 1);
        room.pass(1);
        assert_eq!(room.groups.totals(), Default::default());
    }

    #[test]
    fn a_static_member_that_leaves_for_good_is_gone_at_once() {
        let mut room = Room::new();
        room.hear(&instance(join("a"), "one"));
        assert_eq!(room.ask(&instance(beat("b", LEAVES), "one")), Err(ErrorCode::FencedInstanceId));
        assert_eq!(room.ask(&instance(beat("a", LEAVES), "two")), Err(ErrorCode::UnknownMemberId));
        room.hear(&instance(beat("a", LEAVES), "one"));
        assert_eq!(room.groups.totals(), Default::default());
    }

    #[test]
    fn a_static_member_may_not_take_the_id_of_another() {
        let mut room = Room::new();
        room.hear(&instance(join("a"), "one"));
        room.hear(&join("b"));
        room.hear(&instance(beat("a", GOES_AWAY), "one"));
        assert_eq!(room.ask(&instance(join("b"), "one")), Err(ErrorCode::InvalidRequest));
    }

    #[test]
    fn a_full_group_takes_no_new_members_and_keeps_those_that_it_has() {
        let mut room = Room::with(Limits { consumer_group_max_size: 2, ..Limits::default() });
        room.hear(&instance(join("a"), "one"));
        room.hear(&join("b"));
        assert_eq!(room.ask(&join("c")), Err(ErrorCode::GroupMaxSizeReached));
        room.hear(&join("b"));
        room.hear(&instance(beat("a", GOES_AWAY), "one"));
        room.hear(&instance(join("c"), "one"));
    }

    #[test]
    fn members_are_no_larger_than_they_may_be_and_leave_room_for_others() {
        let long = "x".repeat(5_000);
        let large = Heartbeat { topics: Some(vec![&long]), ..join("a") };
        let mut room = Room::with(Limits { member_bytes: 4_000, ..Limits::default() });
        assert_eq!(room.ask(&large), Err(ErrorCode::PolicyViolation));
        room.hear(&join("a"));
        let grows = Heartbeat { topics: Some(vec![&long]), ..beat("a", 1) };
        assert_eq!(room.ask(&grows), Err(ErrorCode::PolicyViolation));
        assert_eq!(room.hear(&beat("a", 1)), (1, None), "a refused heartbeat changes nothing");
        let mut room = Room::with(Limits { bytes: 4_000, ..Limits::default() });
        assert_eq!(room.ask(&large), Err(ErrorCode::PolicyViolation));
    }
}
