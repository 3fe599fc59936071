//! One member: who it is, what it wants, what it has and what it is to have.

use std::sync::Arc;

use super::messages::{GOES_AWAY, Heartbeat};
use super::subscription::Subscription;
use crate::groups::alarm::Alarm;
use crate::groups::assign::{Assignor, Counts, Partitions};
use crate::groups::protocols::Protocol;

/// Bytes that a member costs beside its texts and partitions, about.
const FIXED: usize = 768;
/// Bytes that a partition costs wherever it is listed, and a topic, about.
const EACH_PARTITION: usize = 32;
const EACH_TOPIC: usize = 32;
const EACH_PROTOCOL: usize = 64;
/// `rebalance.timeout.ms` of whoever never said.
pub(super) const REBALANCE_TIMEOUT_MS: u64 = 5 * 60 * 1000;

/// How near a member is to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has what it was to have when it was last looked at.
    Stable,
    /// It has to give back partitions, and has not yet said that it did.
    Unrevoked,
    /// It waits for partitions that others still have.
    Unreleased,
}

/// How a member proves that it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Liveness<W> {
    /// It says so, within the session timeout.
    Heartbeats,
    /// Its stream is open. It does not ask, it is told.
    Stream(W),
}

/// What a member of the classic protocol has said beside what all say.
#[derive(Debug)]
pub(super) struct Classic {
    pub session_timeout_ms: u64,
    /// What it would tell a leader, the preferred way of sharing out first. There is at least one.
    pub protocols: Vec<Protocol>,
}

impl Classic {
    fn bytes(&self) -> usize {
        self.protocols.iter().map(|p| EACH_PROTOCOL + p.name.len() + p.metadata.len()).sum()
    }
}

/// A member. What it weighs and which partitions it holds is changed by [`super::roster::Roster`] only.
#[derive(Debug)]
pub(super) struct Member<W> {
    pub id: Arc<str>,
    pub instance: Option<Arc<str>>,
    pub rack: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub liveness: Liveness<W>,
    /// It speaks the classic protocol.
    pub classic: Option<Classic>,
    pub rebalance_timeout_ms: u64,
    pub subscription: Subscription,
    /// The topics of its subscription that are there.
    pub topics: Counts,
    /// How it would share out, if it has said so.
    pub assignor: Option<Assignor>,
    /// The epoch that it is in; [`GOES_AWAY`]: it is a static member that will come back.
    pub epoch: i32,
    /// The one before that, with which it comes if it was not told of the next.
    pub epoch_before: i32,
    pub progress: Progress,
    /// What it may read.
    pub assigned: Partitions,
    /// What it may read no more, and has not given back yet.
    pub revoking: Partitions,
    /// What it is to have.
    pub target: Partitions,
    /// What it may read has changed since it was told.
    pub untold: bool,
    /// When it is taken for dead.
    pub session: Alarm,
    /// Until when it must have given back what it is to give back, or, by the classic protocol, have taken the next
    /// step, which is to join again or to ask for its share.
    pub revocation: Alarm,
}

impl<W> Member<W> {
    /// A member that has nothing yet.
    pub fn new(id: Arc<str>, client_id: &str, client_host: &str, liveness: Liveness<W>) -> Self {
        Self {
            id,
            instance: None,
            rack: None,
            client_id: client_id.into(),
            client_host: client_host.into(),
            liveness,
            classic: None,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            subscription: Subscription::default(),
            topics: Counts::new(),
            assignor: None,
            epoch: 0,
            epoch_before: 0,
            progress: Progress::Stable,
            assigned: Partitions::new(),
            revoking: Partitions::new(),
            target: Partitions::new(),
            untold: false,
            session: Alarm::default(),
            revocation: Alarm::default(),
        }
    }

    /// Takes over what it says of itself, beside what it wants to read.
    pub fn update(&mut self, ask: &Heartbeat<'_>) {
        self.client_id = ask.client_id.into();
        self.client_host = ask.client_host.into();
        if let Some(instance) = ask.instance {
            self.instance = Some(instance.into());
        }
        if let Some(rack) = ask.rack {
            self.rack = Some(rack.into());
        }
        if let Some(ms) = ask.rebalance_timeout_ms {
            self.rebalance_timeout_ms = ms.max(0) as u64;
        }
        if let Some(assignor) = ask.assignor {
            self.assignor = Assignor::named(assignor);
        }
    }

    /// Whether it is a static member that has gone and will come back.
    pub fn is_away(&self) -> bool {
        self.epoch == GOES_AWAY
    }

    /// Bytes that it takes, about.
    pub fn weight(&self) -> usize {
        let texts = [&self.instance, &self.rack].into_iter().flatten().chain([&self.id, &self.id]);
        let texts = texts.chain([&self.client_id, &self.client_host]).map(|text| text.len()).sum::<usize>();
        let partitions = self.assigned.len() + self.revoking.len() + self.target.len();
        FIXED
            + texts
            + self.subscription.bytes()
            + self.classic.as_ref().map_or(0, Classic::bytes)
            + EACH_TOPIC * self.topics.len()
            + EACH_PARTITION * partitions
    }
}
