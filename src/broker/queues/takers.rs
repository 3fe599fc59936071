//! Who takes: streams of connections, and names.
//!
//! Invariant: a taker has one id for as long as it may hold something, and no id is given twice.

use std::collections::BTreeMap;

use crate::api::ConnId;
use crate::groups::queue::TakerId;

/// Names are looked through for idle ones when there are at least so many.
const SWEEP_AT_LEAST: usize = 1_024;

/// All takers.
#[derive(Debug, Default)]
pub struct Takers {
    last: TakerId,
    streams: BTreeMap<(ConnId, u32), Streamer>,
    named: BTreeMap<(String, String), TakerId>,
    labels: BTreeMap<TakerId, String>,
    /// How many names there may be before they are looked through.
    sweep_at: usize,
}

/// A stream that takes: it does so for one group from one topic.
#[derive(Debug, Clone)]
pub struct Streamer {
    pub id: TakerId,
    pub group: String,
    pub topic: String,
}

impl Takers {
    /// A taker that is told to nobody.
    pub fn nameless(&mut self) -> TakerId {
        self.last += 1;
        self.last
    }

    /// The id of a stream, new or known.
    pub fn stream(&mut self, conn: ConnId, stream: u32, group: &str, topic: &str) -> TakerId {
        if let Some(known) = self.streams.get(&(conn, stream)) {
            return known.id;
        }
        let id = self.nameless();
        let streamer = Streamer { id, group: group.to_owned(), topic: topic.to_owned() };
        self.streams.insert((conn, stream), streamer);
        self.labels.insert(id, format!("connection {}, stream {stream}", conn.generation));
        id
    }

    /// The id of a name in a group, new or known.
    pub fn named(&mut self, group: &str, name: &str) -> TakerId {
        if let Some(id) = self.find_named(group, name) {
            return id;
        }
        let id = self.nameless();
        self.named.insert((group.to_owned(), name.to_owned()), id);
        self.labels.insert(id, name.to_owned());
        id
    }

    /// The id of a stream, if it has taken.
    pub fn find_stream(&self, conn: ConnId, stream: u32) -> Option<TakerId> {
        self.streams.get(&(conn, stream)).map(|known| known.id)
    }

    /// The id of a name in a group, if it may hold something.
    pub fn find_named(&self, group: &str, name: &str) -> Option<TakerId> {
        self.named.get(&(group.to_owned(), name.to_owned())).copied()
    }

    /// The streams of a connection that have taken.
    pub fn streams_of(&self, conn: ConnId) -> Vec<u32> {
        let all = self.streams.range((conn, 0)..=(conn, u32::MAX));
        all.map(|((_, stream), _)| *stream).collect()
    }

    /// Forgets a stream.
    pub fn remove_stream(&mut self, conn: ConnId, stream: u32) -> Option<Streamer> {
        let streamer = self.streams.remove(&(conn, stream))?;
        self.labels.remove(&streamer.id);
        Some(streamer)
    }

    /// What a taker is called; empty: it is not told.
    pub fn label(&self, id: TakerId) -> &str {
        self.labels.get(&id).map_or("", String::as_str)
    }

    /// Whether names should be looked through, so that they do not pile up.
    pub fn want_sweep(&self) -> bool {
        self.named.len() >= self.sweep_at.max(SWEEP_AT_LEAST)
    }

    /// Forgets the names that hold nothing and wait for nothing.
    pub fn sweep(&mut self, is_busy: impl Fn(TakerId) -> bool) {
        let labels = &mut self.labels;
        self.named.retain(|_, id| is_busy(*id) || labels.remove(id).is_none());
        self.sweep_at = 2 * self.named.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONN: ConnId = ConnId { key: 1, generation: 7 };

    #[test]
    fn a_stream_and_a_name_keep_their_ids_until_they_are_forgotten() {
        let mut takers = Takers::default();
        let stream = takers.stream(CONN, 3, "g", "t");
        let name = takers.named("g", "me");
        assert_eq!((takers.stream(CONN, 3, "g", "t"), takers.named("g", "me")), (stream, name));
        assert_ne!(takers.named("h", "me"), name, "a name belongs to its group");
        assert_eq!((takers.label(stream), takers.label(name)), ("connection 7, stream 3", "me"));
        assert_eq!(takers.streams_of(CONN), [3]);
        assert_eq!(takers.remove_stream(CONN, 3).map(|s| s.id), Some(stream));
        assert_eq!((takers.find_stream(CONN, 3), takers.label(stream)), (None, ""));
        assert_ne!(takers.stream(CONN, 3, "g", "t"), stream);
    }

    #[test]
    fn names_that_hold_nothing_are_forgotten_when_there_are_many() {
        let mut takers = Takers::default();
        for name in 0..SWEEP_AT_LEAST {
            assert!(!takers.want_sweep());
            takers.named("g", &name.to_string());
        }
        let busy = takers.named("g", "5");
        assert!(takers.want_sweep());
        takers.sweep(|id| id == busy);
        assert_eq!((takers.named.len(), takers.labels.len()), (1, 1));
        assert_eq!(takers.find_named("g", "5"), Some(busy));
    }
}
