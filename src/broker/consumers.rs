//! What consumer groups, whose partitions the broker shares out itself, need of the broker: to know which topics there
//! are, and to be told when one changes.

use super::Broker;
use super::catalog::{Catalog, State};
use crate::api::TopicRef;
use crate::config::{ASSIGNORS, Config};
use crate::groups::assign::{Assignor, TopicId};
use crate::groups::consumer;
use crate::time::Now;

/// The topics of the catalog that can be read, as groups see them.
pub(super) struct Topics<'a>(pub &'a Catalog);

impl consumer::Topics for Topics<'_> {
    fn find(&self, name: &str) -> Option<(TopicId, i32)> {
        let topic = self.0.get(self.0.find(name)?)?;
        matches!(topic.state, State::Live).then_some((topic.id, topic.partitions.len() as i32))
    }

    fn name(&self, id: &TopicId) -> Option<&str> {
        self.0.resolve(TopicRef::Id(*id)).ok().map(|(_, topic)| topic.name.as_str())
    }

    fn each(&self, visit: &mut dyn FnMut(&str, TopicId, i32)) {
        for (key, topic) in self.0.iter() {
            if matches!(topic.state, State::Live) && !self.0.is_internal(TopicRef::Key(key)) {
                visit(&topic.name, topic.id, topic.partitions.len() as i32);
            }
        }
    }
}

/// The ways to share out that members may ask for, the default one first.
pub(super) fn assignors(config: &Config) -> Vec<Assignor> {
    let names = ASSIGNORS[config.group.consumer_assignors].split(',');
    names.map(|name| Assignor::named(name).expect("the setting names what there is")).collect()
}

impl Broker {
    /// A topic was made, was deleted or has more partitions: groups that read it share out anew.
    pub(super) fn tell_groups(&mut self, topic: &str, now: Now) {
        self.coordinator.groups.topic_changed(topic, &Topics(&self.catalog), now.time);
        self.answer_members();
    }
}
