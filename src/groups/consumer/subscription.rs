//! What a member wants to read: topics by name, and by a pattern.
//!
//! Invariant: it is what the member has said, whether there are such topics or not. What is there is found anew
//! whenever a topic comes, goes or grows.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::pattern::Pattern;
use super::topics::Topics;
use crate::groups::assign::Counts;
use crate::ordered;

/// Bytes that a name costs beside its letters, about.
const EACH_NAME: usize = 48;

/// What a member wants to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscription {
    /// These.
    pub names: BTreeSet<Arc<str>>,
    /// And all that match this.
    pub pattern: Option<Pattern>,
}

impl Subscription {
    /// The topics that are there, with their partitions.
    pub fn find(&self, topics: &dyn Topics) -> Counts {
        let mut found: Counts = ordered::map(self.names.iter().filter_map(|name| topics.find(name)));
        if let Some(pattern) = &self.pattern {
            topics.each(&mut |name, id, count| {
                if pattern.matches(name) {
                    found.insert(id, count);
                }
            });
        }
        found
    }

    /// Whether a topic of this name is wanted.
    pub fn includes(&self, name: &str) -> bool {
        self.names.contains(name) || self.pattern.as_ref().is_some_and(|pattern| pattern.matches(name))
    }

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> usize {
        let names = self.names.iter().map(|name| EACH_NAME + name.len()).sum::<usize>();
        names + self.pattern.as_ref().map_or(0, Pattern::bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn topics_are_found_by_name_and_by_pattern_and_those_that_are_missing_are_not() {
        let topics: BTreeMap<String, _> = [("a", 1), ("b1", 2), ("b2", 3), ("c", 4)]
            .map(|(name, n)| (name.to_owned(), ([n as u8; 16], n)))
            .into();
        let both = Subscription {
            names: ["a".into(), "missing".into(), "b1".into()].into(),
            pattern: Some(Pattern::new("b.").unwrap()),
        };
        assert_eq!(both.find(&topics), Counts::from([([1; 16], 1), ([2; 16], 2), ([3; 16], 3)]));
        assert!(both.includes("missing") && both.includes("b9") && !both.includes("c"));
        assert!(both.bytes() > Subscription { pattern: None, ..both.clone() }.bytes());
        assert_eq!(Subscription::default().find(&topics), Counts::new());
    }
}
