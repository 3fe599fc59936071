//! What groups may know of topics. They ask whoever calls them, and never the broker.

use crate::groups::assign::TopicId;

/// The topics that clients may read at this moment.
pub trait Topics {
    /// Its id, and how many partitions it has; absent: there is no such topic.
    fn find(&self, name: &str) -> Option<(TopicId, i32)>;

    /// Its name; absent: there is no such topic.
    fn name(&self, id: &TopicId) -> Option<&str>;

    /// Shows all topics that a pattern may match; none that belongs to the broker.
    fn each(&self, visit: &mut dyn FnMut(&str, TopicId, i32));
}

/// Topics by name: for tests and simulations.
impl Topics for std::collections::BTreeMap<String, (TopicId, i32)> {
    fn find(&self, name: &str) -> Option<(TopicId, i32)> {
        self.get(name).copied()
    }

    fn name(&self, id: &TopicId) -> Option<&str> {
        self.iter().find(|(_, (own, _))| own == id).map(|(name, _)| name.as_str())
    }

    fn each(&self, visit: &mut dyn FnMut(&str, TopicId, i32)) {
        self.iter().for_each(|(name, (id, count))| visit(name, *id, *count));
    }
}
