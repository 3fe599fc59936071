//! What a Kafka client knows of topics: it asks with Metadata until they are there, and again on each connection.
//!
//! Invariant: a topic that was seen stays, with its id and its partitions.

use krappy::kafka::errors::KafkaError;
use krappy::kafka::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use krappy::kafka::wire::Uuid;

use super::super::link::Ctx;
use super::super::plan::TopicPlan;

/// From this version on, answers hold the ids of topics.
const WITH_IDS: i16 = 10;
/// From this version on, topics can be asked for by their ids.
const BY_IDS: i16 = 12;
const LAST: i16 = 13;

/// What is known of some topics.
pub struct Topics {
    pub plans: Vec<TopicPlan>,
    /// The id of each, once it was seen.
    ids: Vec<Option<Uuid>>,
    /// The leader epoch that this connection was told.
    pub leader_epoch: i32,
    /// Whether this connection has found all of them.
    found: bool,
}

impl Topics {
    pub fn new(plans: &[TopicPlan]) -> Topics {
        Topics { plans: plans.to_vec(), ids: vec![None; plans.len()], leader_epoch: -1, found: false }
    }

    /// The connection has ended.
    pub fn lost(&mut self) {
        self.found = false;
    }

    /// Whether requests can go to these topics.
    pub fn are_there(&self) -> bool {
        self.found
    }

    /// The id of a topic that was seen.
    pub fn id(&self, n: usize) -> Uuid {
        self.ids[n].expect("it was seen")
    }

    /// A question for all of them, and its version.
    pub fn question(&self, ctx: &mut Ctx<'_>) -> (MetadataRequest<'static>, i16) {
        let version = WITH_IDS + ctx.rng.below((LAST - WITH_IDS + 1) as u64) as i16;
        let by_ids = version >= BY_IDS && ctx.rng.below(2) == 0;
        let one = |(plan, id): (&TopicPlan, &Option<Uuid>)| match id {
            Some(id) if by_ids => MetadataRequestTopic { topic_id: *id, name: None },
            _ => MetadataRequestTopic { name: Some(plan.name), ..Default::default() },
        };
        let topics = match ctx.rng.below(4) {
            0 => None,
            _ => Some(self.plans.iter().zip(&self.ids).map(one).collect()),
        };
        (MetadataRequest { topics, allow_auto_topic_creation: false, ..Default::default() }, version)
    }

    /// The answer to it. The error says what cannot be.
    pub fn answered(&mut self, told: &MetadataResponse<'_>) -> Result<(), String> {
        if told.brokers.len() != 1 || told.controller_id != krappy::kafka::NODE {
            return Err(format!("brokers {:?}, controller {}", told.brokers, told.controller_id));
        }
        self.found = true;
        for (plan, known) in self.plans.iter().zip(&mut self.ids) {
            let topic = told.topics.iter().find(|t| {
                t.name.as_deref() == Some(plan.name) || t.name.is_none() && Some(t.topic_id) == *known
            });
            let Some(topic) = topic.filter(|topic| topic.error_code == 0) else {
                let code = topic.map(|topic| topic.error_code);
                let missing = KafkaError::UnknownTopicOrPartition as i16;
                let draining = KafkaError::LeaderNotAvailable as i16;
                if code != Some(draining) && (known.is_some() || code.is_some_and(|code| code != missing)) {
                    return Err(format!("{} was {known:?} and is answered with {topic:?}", plan.name));
                }
                self.found = false;
                continue;
            };
            if topic.partitions.len() as i32 != plan.partitions
                || known.is_some_and(|id| id != topic.topic_id)
            {
                return Err(format!("{} was {known:?} and is {topic:?}", plan.name));
            }
            *known = Some(topic.topic_id);
            self.leader_epoch = topic.partitions[0].leader_epoch;
        }
        Ok(())
    }
}
