//! Answers that are owed to publishers, and the ones that are ready to be sent.
//!
//! Invariant: every publish that was taken gets one reply. One that went to several partitions is counted here until
//! the last of them has spoken; the first refusal among them is the reply.

use std::collections::VecDeque;

use slab::Slab;

use crate::api::{ConnId, Level, Parts, PublishedPart, Refusal, Reply, ReplyTo};

/// The connection on which the broker talks to itself: its requests are answered like a client's.
pub const OURSELVES: ConnId = ConnId { key: u32::MAX, generation: u32::MAX };

/// To whom the fate of an append is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckTo {
    /// Straight to the client.
    Client(ReplyTo),
    /// To the n-th part of a publish that went to several partitions.
    Group {
        /// Which publish.
        group: usize,
        /// Which of its parts.
        part: usize,
    },
}

/// Replies ready to be sent, and publishes that wait for more than one partition.
#[derive(Debug, Default)]
pub struct Acks {
    ready: Vec<(ReplyTo, Reply)>,
    /// Replies to [`OURSELVES`].
    own: VecDeque<(u64, Reply)>,
    groups: Slab<Group>,
}

#[derive(Debug)]
struct Group {
    to: ReplyTo,
    level: Level,
    missing: usize,
    parts: Vec<PublishedPart>,
    refused: Option<Refusal>,
}

impl Acks {
    /// A reply that is ready.
    pub fn reply(&mut self, to: ReplyTo, reply: Reply) {
        match to.conn {
            OURSELVES => self.own.push_back((to.slot, reply)),
            _ => self.ready.push((to, reply)),
        }
    }

    /// Begins a publish to several partitions; each of `parts` will be reported by [`Acks::published`] or
    /// [`Acks::refused`].
    pub fn group(&mut self, to: ReplyTo, parts: usize) -> usize {
        let empty =
            PublishedPart { partition: 0, base_offset: 0, count: 0, log_append_time: -1, log_start: 0 };
        let group =
            Group { to, level: Level::Durable, missing: parts, parts: vec![empty; parts], refused: None };
        self.groups.insert(group)
    }

    /// An append reached `level`.
    pub fn published(&mut self, to: AckTo, level: Level, part: PublishedPart) {
        match to {
            AckTo::Client(to) => self.reply(to, published(level, Parts::One(part))),
            AckTo::Group { group, part: index } => {
                let state = &mut self.groups[group];
                state.parts[index] = part;
                state.level = state.level.min(level);
                self.part_done(group);
            }
        }
    }

    /// An append was refused.
    pub fn refused(&mut self, to: AckTo, refusal: Refusal) {
        match to {
            AckTo::Client(to) => self.reply(to, Reply::Refused(refusal)),
            AckTo::Group { group, .. } => {
                self.groups[group].refused.get_or_insert(refusal);
                self.part_done(group);
            }
        }
    }

    fn part_done(&mut self, group: usize) {
        self.groups[group].missing -= 1;
        if self.groups[group].missing == 0 {
            let Group { to, level, parts, refused, .. } = self.groups.remove(group);
            let reply = match refused {
                Some(refusal) => Reply::Refused(refusal),
                None => published(level, Parts::Many(parts)),
            };
            self.reply(to, reply);
        }
    }

    /// Takes the next reply to the broker itself: its slot, and what it is.
    pub fn take_own(&mut self) -> Option<(u64, Reply)> {
        self.own.pop_front()
    }

    /// Takes the replies that are ready.
    pub fn take_ready(&mut self, into: &mut Vec<(ReplyTo, Reply)>) {
        into.append(&mut self.ready);
    }

    /// Whether replies are ready.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}

fn published(level: Level, parts: Parts) -> Reply {
    if level == Level::None { Reply::Silent } else { Reply::Published { level, parts } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ConnId, ErrorCode};

    fn part(partition: i32) -> PublishedPart {
        PublishedPart { partition, base_offset: 7, count: 1, log_append_time: -1, log_start: 0 }
    }

    #[test]
    fn a_publish_to_several_partitions_is_answered_once_at_its_lowest_level() {
        let to = ReplyTo { conn: ConnId { key: 0, generation: 1 }, slot: 5 };
        let mut acks = Acks::default();
        let group = acks.group(to, 2);
        acks.published(AckTo::Group { group, part: 1 }, Level::Durable, part(1));
        assert!(!acks.is_ready());
        acks.published(AckTo::Group { group, part: 0 }, Level::Appended, part(0));
        let mut ready = Vec::new();
        acks.take_ready(&mut ready);
        let [(got_to, Reply::Published { level: Level::Appended, parts: Parts::Many(parts) })] = &ready[..]
        else {
            panic!("{ready:?}")
        };
        assert_eq!((*got_to, parts), (to, &vec![part(0), part(1)]));
    }

    #[test]
    fn one_refused_part_refuses_the_whole() {
        let to = ReplyTo { conn: ConnId { key: 0, generation: 1 }, slot: 5 };
        let mut acks = Acks::default();
        let group = acks.group(to, 2);
        acks.refused(AckTo::Group { group, part: 0 }, Refusal::new(ErrorCode::StorageError, "x"));
        acks.published(AckTo::Group { group, part: 1 }, Level::Durable, part(1));
        let mut ready = Vec::new();
        acks.take_ready(&mut ready);
        assert!(matches!(&ready[..], [(_, Reply::Refused(r))] if r.code == ErrorCode::StorageError));
    }
}
