//! One stream: a producer, a watcher, a taker, or a consumer with its positions and what it has asked for.
//!
//! Invariant: a consumer has asked for one thing at a time, a poll or a subscription; its positions move only by what
//! was handed to the connection, so nothing is skipped and nothing comes twice.

use std::sync::Arc;

use super::queue::Taker;
use super::watch::Watcher;
use crate::api::{ErrorCode, Fetch, FetchedPart, Position, Refusal, TopicKey, Want};
use crate::config::Limits;

/// Most bytes that one reply of a subscription carries, so that other streams get their turn.
pub const PUSH: u32 = 1 << 20;
/// Most credit that a subscription can hold.
pub const CREDIT_MOST: i64 = 1 << 40;

/// A registration on a connection.
#[derive(Debug)]
pub enum Stream {
    /// Publishes to one topic.
    Producer {
        /// Name of the topic.
        name: String,
        /// Its key, once the broker has answered the registration.
        topic: Option<TopicKey>,
        /// Correlation of the registration.
        registration: u32,
    },
    /// Reads one topic.
    Consumer(Box<Consumer>),
    /// Is sent a snapshot of a compacted topic, then every change.
    Watcher(Box<Watcher>),
    /// Takes single records of a queue.
    Taker(Box<Taker>),
}

/// A consumer.
#[derive(Debug)]
pub struct Consumer {
    positions: Vec<Want>,
    /// Correlation of the registration while the broker has not answered it.
    pub opening: Option<u32>,
    /// What it has asked for.
    pub asked: Asked,
    /// Serial of its fetch under way.
    pub fetching: Option<u64>,
    /// Which partition the next fetch begins with, so that a busy one does not starve the others.
    first: usize,
    /// What it is in its group, if it is in one.
    pub membership: Option<Membership>,
}

/// What a consumer is in its group.
#[derive(Debug)]
pub struct Membership {
    /// Where the broker tells it what it is to read.
    pub slot: u64,
    /// The group.
    pub group: Arc<str>,
    /// Correlation of the registration, and of whatever it is told.
    pub registration: u32,
    /// Whether the broker has taken the registration.
    pub taken: bool,
    /// How often it was told what it is to read.
    pub told: u32,
}

impl Membership {
    /// Of a consumer that has not been told anything.
    pub fn new(slot: u64, group: &str, registration: u32) -> Self {
        Self { slot, group: group.into(), registration, taken: false, told: 0 }
    }
}

/// What a consumer has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Nothing.
    Nothing,
    /// One reply.
    Poll {
        /// Correlation of the reply.
        correlation: u32,
        /// Longest wait, milliseconds.
        max_wait_ms: u32,
        /// Enough to answer.
        min_bytes: u32,
        /// As much as fits.
        max_bytes: u32,
    },
    /// Replies as long as there is credit.
    Subscription {
        /// Correlation of every reply.
        correlation: u32,
        /// Bytes that may still be sent; below zero when a batch was larger.
        credit: i64,
    },
}

impl Asked {
    /// The correlation that waits for a reply.
    pub fn correlation(self) -> Option<u32> {
        match self {
            Asked::Nothing => None,
            Asked::Poll { correlation, .. } | Asked::Subscription { correlation, .. } => Some(correlation),
        }
    }
}

/// What an answered fetch means for the stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Answered {
    /// Correlation of the reply.
    pub correlation: u32,
    /// Whether the client is told.
    pub tell: bool,
    /// Whether the stream wants another fetch.
    pub again: bool,
}

impl Consumer {
    /// A consumer whose registration has this correlation.
    pub fn opening(registration: u32) -> Self {
        Self {
            positions: Vec::new(),
            opening: Some(registration),
            asked: Asked::Nothing,
            fetching: None,
            first: 0,
            membership: None,
        }
    }

    /// It is to read these partitions and no others; those that it has read before go on where they are. Whether there
    /// are some that it reads no longer.
    pub fn assigned(&mut self, parts: &[Position]) -> bool {
        let before = std::mem::take(&mut self.positions);
        let known = |at: &Position| before.iter().find(|want| want.number == at.number).cloned();
        let want =
            |at: &Position| known(at).unwrap_or_else(|| Want::from(at.partition, at.number, at.offset));
        self.positions = parts.iter().map(want).collect();
        self.opening = None;
        before.iter().any(|want| !self.partitions().any(|number| number == want.number))
    }

    /// The partitions that it reads.
    pub fn partitions(&self) -> impl Iterator<Item = i32> {
        self.positions.iter().map(|want| want.number)
    }

    /// They, and the next offset of each.
    pub fn positions(&self) -> impl Iterator<Item = (i32, i64)> {
        self.positions.iter().map(|want| (want.number, want.offset))
    }

    /// The broker has answered the registration. Whether a fetch is wanted now.
    pub fn opened(&mut self, parts: &[Position]) -> bool {
        let want = |at: &Position| Want::from(at.partition, at.number, at.offset);
        self.positions = parts.iter().map(want).collect();
        self.opening = None;
        self.wants_fetch()
    }

    /// Notes a poll or a subscription. Whether a fetch is wanted now.
    pub fn ask(&mut self, asked: Asked) -> Result<bool, Refusal> {
        match self.asked {
            Asked::Nothing => {}
            Asked::Poll { .. } => {
                return Err(Refusal::new(
                    ErrorCode::InvalidRequest,
                    "this stream is waiting for a poll already",
                )
                .hint("wait for its reply, or use another stream"));
            }
            Asked::Subscription { .. } => {
                return Err(Refusal::new(
                    ErrorCode::InvalidRequest,
                    "this stream has a subscription already",
                )
                .hint("add credit to it, or use another stream"));
            }
        }
        self.asked = asked;
        Ok(self.wants_fetch())
    }

    /// Adds credit. Whether a fetch is wanted now.
    pub fn add_credit(&mut self, bytes: u32) -> Result<bool, Refusal> {
        let Asked::Subscription { credit, .. } = &mut self.asked else {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "this stream has no subscription to add credit to",
            ));
        };
        let had = *credit;
        *credit += i64::from(bytes);
        if *credit > CREDIT_MOST {
            *credit = had;
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "that is more credit than a subscription can hold",
            ));
        }
        Ok(had <= 0 && self.wants_fetch())
    }

    /// Whether a fetch is wanted now.
    pub fn wants_fetch(&self) -> bool {
        let asks = match self.asked {
            Asked::Nothing => false,
            Asked::Poll { .. } => true,
            Asked::Subscription { credit, .. } => credit > 0,
        };
        asks && self.opening.is_none() && self.fetching.is_none()
    }

    /// The fetch that is wanted now, if one is.
    pub fn fetch(&mut self, limits: &Limits) -> Option<Fetch> {
        if !self.wants_fetch() {
            return None;
        }
        let mut wants = self.positions.clone();
        if !wants.is_empty() {
            self.first %= wants.len();
            wants.rotate_left(self.first);
            self.first += 1;
        }
        let group = self.membership.as_ref().map(|membership| membership.group.clone());
        Some(match self.asked {
            Asked::Nothing => return None,
            Asked::Poll { max_wait_ms, min_bytes, max_bytes, .. } => {
                Fetch { wants, min_bytes, max_wait_ms, max_bytes, every: false, group }
            }
            Asked::Subscription { credit, .. } => Fetch {
                wants,
                min_bytes: 1,
                max_wait_ms: limits.fetch_max_wait_ms,
                max_bytes: u32::try_from(credit).unwrap_or(PUSH).min(PUSH),
                every: false,
                group,
            },
        })
    }

    /// A fetch was answered: moves the positions and says what to do with the answer. An error ends a subscription, so
    /// that it is told once and not in a loop.
    pub fn answered(&mut self, parts: &[FetchedPart], bytes: usize) -> Option<Answered> {
        self.fetching = None;
        for part in parts {
            let position = self.positions.iter_mut().find(|p| p.number == part.number);
            position.expect("an answer is about a partition that was asked for").offset = part.next;
        }
        let failed = parts.iter().any(|part| part.error != ErrorCode::None);
        match &mut self.asked {
            Asked::Nothing => None,
            Asked::Poll { correlation, .. } => {
                let correlation = *correlation;
                self.asked = Asked::Nothing;
                Some(Answered { correlation, tell: true, again: false })
            }
            Asked::Subscription { correlation, credit } => {
                *credit -= bytes as i64;
                let answered = Answered {
                    correlation: *correlation,
                    tell: !parts.is_empty(),
                    again: !failed && *credit > 0,
                };
                if failed {
                    self.asked = Asked::Nothing;
                }
                Some(answered)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PartitionKey;

    fn consumer(asked: Asked) -> Consumer {
        let mut consumer = Consumer::opening(1);
        assert_eq!(consumer.ask(asked), Ok(false), "nothing is fetched before the registration is answered");
        assert!(consumer.opened(&[position(5, 0, 10), position(6, 1, 20)]));
        consumer
    }

    fn position(key: u32, number: i32, offset: i64) -> Position {
        Position { partition: PartitionKey(key), number, offset, timestamp: -1, leader_epoch: 1 }
    }

    fn part(number: i32, next: i64, error: ErrorCode) -> FetchedPart {
        FetchedPart { number, error, position: 0, next, high_watermark: 0, log_start: 0, chunk: None }
    }

    #[test]
    fn a_subscription_fetches_as_long_as_it_has_credit() {
        let mut consumer = consumer(Asked::Subscription { correlation: 9, credit: 100 });
        let fetch = consumer.fetch(&Limits::default()).unwrap();
        assert_eq!((fetch.max_bytes, fetch.wants.len()), (100, 2));
        consumer.fetching = Some(1);
        assert!(consumer.fetch(&Limits::default()).is_none(), "one fetch at a time");
        let answered = consumer.answered(&[part(1, 25, ErrorCode::None)], 70).unwrap();
        assert_eq!(answered, Answered { correlation: 9, tell: true, again: true });
        let fetch = consumer.fetch(&Limits::default()).unwrap();
        assert_eq!((fetch.max_bytes, fetch.wants[0].offset), (30, 25), "the other partition comes first now");
        consumer.fetching = Some(2);
        assert!(
            !consumer.answered(&[part(0, 15, ErrorCode::None)], 50).unwrap().again,
            "a large batch overdraws"
        );
        assert_eq!(consumer.add_credit(10), Ok(false));
        assert_eq!(consumer.add_credit(11), Ok(true));
    }

    #[test]
    fn an_error_ends_a_subscription_after_telling_it() {
        let mut consumer = consumer(Asked::Subscription { correlation: 9, credit: 100 });
        consumer.fetching = Some(1);
        let answered = consumer.answered(&[part(0, 10, ErrorCode::OffsetOutOfRange)], 0).unwrap();
        assert_eq!(answered, Answered { correlation: 9, tell: true, again: false });
        assert_eq!(consumer.asked, Asked::Nothing);
    }

    #[test]
    fn what_is_kept_goes_on_where_it_was_and_what_is_new_begins_where_the_group_says() {
        let mut consumer = consumer(Asked::Subscription { correlation: 9, credit: 100 });
        consumer.fetching = Some(1);
        consumer.answered(&[part(1, 25, ErrorCode::None)], 70);
        assert!(!consumer.assigned(&[position(5, 0, 0), position(6, 1, 0), position(7, 2, 30)]));
        assert!(consumer.positions().eq([(0, 10), (1, 25), (2, 30)]));
        assert!(consumer.assigned(&[position(6, 1, 0), position(8, 3, 40)]));
        assert!(consumer.positions().eq([(1, 25), (3, 40)]));
        assert!(!consumer.assigned(&[position(6, 1, 0), position(5, 0, 50), position(8, 3, 0)]));
        assert!(consumer.positions().eq([(1, 25), (0, 50), (3, 40)]), "what comes back is new");
        assert!(consumer.assigned(&[]) && consumer.positions().count() == 0);
    }

    #[test]
    fn a_stream_asks_for_one_thing_at_a_time() {
        let poll = Asked::Poll { correlation: 2, max_wait_ms: 0, min_bytes: 0, max_bytes: 1 };
        let mut consumer = consumer(poll);
        assert_eq!(consumer.ask(poll).unwrap_err().code, ErrorCode::InvalidRequest);
        assert_eq!(consumer.add_credit(1).unwrap_err().code, ErrorCode::InvalidRequest);
        consumer.fetching = Some(1);
        assert!(consumer.answered(&[], 0).unwrap().tell, "a poll is told even that there is nothing");
        assert_eq!(consumer.ask(poll), Ok(true));
    }
}
