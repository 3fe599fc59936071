//! Which way of sharing out the work a group takes: one that every member knows, and among those the one that most
//! members would rather have.
//!
//! Invariant: a name is counted once for each member that knows it.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A protocol as a member announces it. The metadata is for the leader; nobody else looks into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Protocol {
    pub name: Arc<str>,
    pub metadata: Arc<[u8]>,
}

/// The protocols of a member, the preferred one first. Of a name that comes twice the first counts.
pub(super) fn announced(protocols: &[(&str, &[u8])]) -> Vec<Protocol> {
    let mut kept: Vec<Protocol> = Vec::new();
    for (name, metadata) in protocols {
        if !kept.iter().any(|protocol| &*protocol.name == *name) {
            kept.push(Protocol { name: (*name).into(), metadata: (*metadata).into() });
        }
    }
    kept
}

/// How many members know each protocol.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Supporters(BTreeMap<Arc<str>, usize>);

impl Supporters {
    /// A member came, with these.
    pub fn add(&mut self, protocols: &[Protocol]) {
        for protocol in protocols {
            *self.0.entry(protocol.name.clone()).or_default() += 1;
        }
    }

    /// A member went, with these.
    pub fn remove(&mut self, protocols: &[Protocol]) {
        for protocol in protocols {
            let count = self.0.get_mut(&protocol.name).expect("it was counted when the member came");
            *count -= 1;
            if *count == 0 {
                self.0.remove(&protocol.name);
            }
        }
    }

    /// How many know it.
    pub fn count(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// What `members` choose: each votes for the first on its list that all know. The first vote decides a draw.
    pub fn choose<'a>(&self, members: impl ExactSizeIterator<Item = &'a [Protocol]>) -> Option<Arc<str>> {
        let everybody = members.len();
        let known_to_all = |protocol: &&Protocol| self.count(&protocol.name) == everybody;
        let mut votes: Vec<(&Arc<str>, usize)> = Vec::new();
        for vote in members.filter_map(|protocols| protocols.iter().find(known_to_all)) {
            match votes.iter_mut().find(|(name, _)| *name == &vote.name) {
                Some((_, count)) => *count += 1,
                None => votes.push((&vote.name, 1)),
            }
        }
        let most = votes.iter().map(|(_, count)| *count).max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(lists: &[&[&str]]) -> Option<String> {
        let lists: Vec<Vec<Protocol>> = lists
            .iter()
            .map(|list| announced(&list.iter().map(|name| (*name, &b""[..])).collect::<Vec<_>>()))
            .collect();
        let mut supporters = Supporters::default();
        lists.iter().for_each(|list| supporters.add(list));
        let chosen = supporters.choose(lists.iter().map(Vec::as_slice)).map(|name| name.to_string());
        lists.iter().for_each(|list| supporters.remove(list));
        assert_eq!(supporters, Supporters::default());
        chosen
    }

    #[test]
    fn the_protocol_is_one_that_all_know_and_most_prefer() {
        assert_eq!(
            chosen(&[&["range", "sticky"], &["sticky", "range"], &["sticky", "range"]]).unwrap(),
            "sticky"
        );
        // Most would rather have `new`, but one does not know it.
        assert_eq!(chosen(&[&["new", "old"], &["new", "old"], &["old"]]).unwrap(), "old");
        assert_eq!(chosen(&[&["a", "b"], &["b", "a"]]).unwrap(), "a");
        assert_eq!(chosen(&[&["a"], &["b"]]), None);
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn of_a_protocol_that_is_announced_twice_the_first_counts() {
        let kept = announced(&[("a", b"1"), ("b", b"2"), ("a", b"3")]);
        let names: Vec<(&str, &[u8])> = kept.iter().map(|p| (&*p.name, &*p.metadata)).collect();
        assert_eq!(names, [("a", &b"1"[..]), ("b", &b"2"[..])]);
        assert_eq!(chosen(&[&["a", "b", "a"], &["b", "a"]]).unwrap(), "a");
    }
}
