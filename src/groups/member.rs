//! One member of a group: who it is, what it can do, what it was given, and what it waits for.

use std::sync::Arc;

use super::alarm::Alarm;
use super::messages::{Join, JoinedMember};
use super::protocols::{Protocol, announced};

/// Bytes that a member or a pending id costs beside its texts, about.
const FIXED: usize = 512;
const EACH_PROTOCOL: usize = 64;

/// Bytes that a member would take that says this, about.
pub(super) fn weight_of(ask: &Join<'_>) -> usize {
    // The id begins with one of the names.
    let names = ask.client_id.len() * 2 + ask.client_host.len() + ask.instance.map_or(0, str::len) * 2;
    let protocols = ask.protocols.iter().map(|(name, metadata)| EACH_PROTOCOL + name.len() + metadata.len());
    FIXED + names + protocols.sum::<usize>()
}

/// A member. What it weighs is changed by [`super::roster::Roster`] only, which keeps the sum.
#[derive(Debug)]
pub(super) struct Member<W> {
    pub id: Arc<str>,
    pub instance: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub session_timeout_ms: u64,
    pub rebalance_timeout_ms: u64,
    pub protocols: Vec<Protocol>,
    pub assignment: Arc<[u8]>,
    pub waits: Waits<W>,
    /// When it is taken for dead; not set while a client waits for it.
    pub session: Alarm,
    /// It was in no generation yet, so its client may not know its id.
    pub is_new: bool,
    /// It has asked for its share of this generation.
    pub synced: bool,
}

/// What a member waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits<W> {
    /// For nothing.
    Nothing,
    /// It has joined the next generation, which has not begun. Without a client: that has hung up since.
    Join(Option<W>),
    /// For the leader to share out.
    Sync(W),
}

impl<W: Copy> Waits<W> {
    /// Whether it is counted for the next generation.
    pub fn has_joined(&self) -> bool {
        matches!(self, Waits::Join(_))
    }

    /// The client that has to be answered.
    pub fn client(&self) -> Option<W> {
        match *self {
            Waits::Nothing | Waits::Join(None) => None,
            Waits::Join(Some(to)) | Waits::Sync(to) => Some(to),
        }
    }
}

impl<W: Copy> Member<W> {
    pub fn new(id: Arc<str>, ask: &Join<'_>) -> Self {
        let mut member = Self {
            id,
            instance: ask.instance.map(Into::into),
            client_id: ask.client_id.into(),
            client_host: ask.client_host.into(),
            session_timeout_ms: 0,
            rebalance_timeout_ms: 0,
            protocols: Vec::new(),
            assignment: Arc::default(),
            waits: Waits::Nothing,
            session: Alarm::default(),
            is_new: true,
            synced: false,
        };
        member.update(ask);
        member
    }

    /// Takes over what a member may say anew each time it joins.
    pub fn update(&mut self, ask: &Join<'_>) {
        let session = ask.session_timeout_ms.max(0) as u64;
        self.session_timeout_ms = session;
        // Version 0 of JoinGroup has no rebalance timeout.
        self.rebalance_timeout_ms = u64::try_from(ask.rebalance_timeout_ms).unwrap_or(session);
        self.protocols = announced(&ask.protocols);
    }

    /// Whether it announces what it has announced before, in the same order.
    pub fn says_the_same(&self, ask: &Join<'_>) -> bool {
        let said = self.protocols.iter().map(|p| (&*p.name, &*p.metadata));
        said.eq(ask.protocols.iter().copied())
    }

    /// What it said for a protocol; empty if it does not know it.
    pub fn metadata(&self, protocol: &str) -> Arc<[u8]> {
        let known = self.protocols.iter().find(|known| &*known.name == protocol);
        known.map(|known| known.metadata.clone()).unwrap_or_default()
    }

    /// It as its leader sees it.
    pub fn introduce(&self, protocol: &str) -> JoinedMember {
        JoinedMember {
            id: self.id.clone(),
            instance: self.instance.clone(),
            metadata: self.metadata(protocol),
        }
    }

    /// Bytes that it takes, about.
    pub fn weight(&self) -> usize {
        let names = self.id.len() + self.client_id.len() + self.client_host.len();
        let instance = self.instance.as_ref().map_or(0, |id| id.len());
        let protocols = self.protocols.iter().map(|p| EACH_PROTOCOL + p.name.len() + p.metadata.len());
        FIXED + names + instance + protocols.sum::<usize>() + self.assignment.len()
    }
}

/// An id that was given out, and whose client has not come back with it yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub id: Arc<str>,
    /// When it is forgotten.
    pub session: Alarm,
}

impl Pending {
    /// Bytes that it takes, about.
    pub fn weight(&self) -> usize {
        FIXED + self.id.len()
    }
}
