//! A group of either kind, as far as it makes no difference which.

use std::fmt::Debug;
use std::sync::Arc;

use super::Turn;
use super::consumer::ConsumerGroup;
use super::describe::Listed;
use super::group::{ClassicGroup, State};
use super::subscription::{self, Subscribed};
use crate::time::Time;
use krappy_wire::error::ErrorCode;

/// A group.
#[derive(Debug)]
pub(super) enum Kind<W> {
    /// Its members share out among themselves.
    Classic(ClassicGroup<W>),
    /// The broker shares out among its members.
    Consumer(ConsumerGroup<W>),
}

impl<W: Copy + Ord + Debug> Kind<W> {
    /// The consumer group that this was found to be.
    pub fn consumer(&mut self) -> &mut ConsumerGroup<W> {
        match self {
            Kind::Consumer(group) => group,
            Kind::Classic(group) => panic!("{:?} is no consumer group", group.name),
        }
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Kind::Classic(group) => &group.name,
            Kind::Consumer(group) => &group.name,
        }
    }

    /// How many members.
    pub fn len(&self) -> usize {
        match self {
            Kind::Classic(group) => group.roster.len(),
            Kind::Consumer(group) => group.len(),
        }
    }

    /// How many ids were given out and have not joined.
    pub fn pending_len(&self) -> usize {
        match self {
            Kind::Classic(group) => group.roster.pending_len(),
            Kind::Consumer(_) => 0,
        }
    }

    /// Whether it has no members, so that it may be deleted, or go on as a group of the other kind.
    pub fn is_empty(&self) -> bool {
        match self {
            Kind::Classic(group) => group.state == State::Empty,
            Kind::Consumer(group) => group.len() == 0,
        }
    }

    /// Whether nothing speaks for keeping it.
    pub fn is_over(&self) -> bool {
        match self {
            Kind::Classic(group) => group.is_over(),
            Kind::Consumer(group) => group.is_over(),
        }
    }

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> usize {
        match self {
            Kind::Classic(group) => group.bytes(),
            Kind::Consumer(group) => group.bytes(),
        }
    }

    /// When it has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        match self {
            Kind::Classic(group) => group.timers.next(),
            Kind::Consumer(group) => group.timers.next(),
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, turn: &mut Turn<'_, W>) {
        match self {
            Kind::Classic(group) => group.tick(turn),
            Kind::Consumer(group) => group.tick(turn),
        }
    }

    /// The client of a member has hung up.
    pub fn gone(&mut self, number: u64, turn: &mut Turn<'_, W>) {
        match self {
            Kind::Classic(group) => group.gone(number, turn),
            Kind::Consumer(group) => group.gone(number, turn),
        }
    }

    /// Whether offsets are kept under its name.
    pub fn has_offsets(&mut self) -> &mut bool {
        match self {
            Kind::Classic(group) => &mut group.has_offsets,
            Kind::Consumer(group) => &mut group.has_offsets,
        }
    }

    /// It as a line.
    pub fn listed(&self) -> Listed<'_> {
        match self {
            Kind::Classic(group) => group.listed(),
            Kind::Consumer(group) => Listed {
                group: &group.name,
                protocol_type: subscription::PROTOCOL_TYPE,
                state: group.state().name(),
                kind: "consumer",
                members: group.len(),
            },
        }
    }

    /// The topics whose offsets must stay because somebody reads there.
    pub fn subscribed(&self) -> Result<Subscribed<'_>, ErrorCode> {
        match self {
            Kind::Classic(group) => group.subscribed(),
            Kind::Consumer(group) => Ok(group.subscribed()),
        }
    }

    /// Who waits for an answer, or listens, and as which member.
    pub fn waiting(&self) -> Vec<(W, u64)> {
        match self {
            Kind::Classic(group) => {
                let members = group.roster.members();
                members.filter_map(|(number, member)| Some((member.waits.client()?, number))).collect()
            }
            Kind::Consumer(group) => group.streams(),
        }
    }

    /// Checks what its own kind promises; for tests and the simulator.
    pub fn invariants(&self) {
        match self {
            Kind::Classic(group) => group.invariants(),
            Kind::Consumer(group) => group.invariants(),
        }
    }
}
