//! What is on the disk, compared with what was promised: after every start of the broker, and when everybody has done
//! writing.
//!
//! Invariant: what is looked at was read by [`audit`], and not by the code under test.

use super::World;
use crate::sim::history::After;
use crate::sim::queues::letters;
use crate::sim::{audit, churn};

impl World {
    /// Compares the disk with the history.
    pub(super) fn audit(&mut self, after: After) {
        let data = self.plan.config.data_dir.clone();
        self.history.stops = false;
        self.history.groups.restarted();
        self.history.queues.restarted();
        for name in audit::topics(&self.disk, &data) {
            if audit::is_internal(&name) {
                continue;
            }
            let topic = match self.plan.topics.iter().find(|t| t.name == name) {
                Some(plan) => plan.topic,
                None => {
                    let id = audit::topic_id(&self.disk, &data, &name).unwrap_or_default();
                    self.history.topic(&churn::life_name(&id), churn::promise(self.plan.compacts))
                }
            };
            let cleaned = self.history.promise(topic).cleaned;
            for partition in audit::partitions(&self.disk, &data, &name) {
                for (offset, id) in self.logs.seen(&name, partition).into_iter().filter(|_| cleaned) {
                    self.history.saw(topic, partition, offset, id);
                }
                match audit::read(&self.disk, &data, &name, partition, cleaned) {
                    Ok(found) => {
                        self.history.audit(topic, partition, &found, after);
                        self.logs.restarted(&name, partition, found.end);
                        if self.plan.topics.iter().any(|plan| plan.compacted && plan.name == name)
                            && let Err(why) = self.logs.view_opened(&name, partition)
                            && !self.rotten
                        {
                            self.history.bad(why);
                        }
                    }
                    Err(why) => self.history.bad(why),
                }
            }
        }
        self.audit_queues();
        let there = audit::topics(&self.disk, &data);
        for plan in &self.plan.topics {
            if !there.iter().any(|name| name == plan.name) && self.history.has_records(plan.topic) {
                self.history.violations.push(format!("topic {} is gone", plan.name));
            }
        }
    }

    /// Compares what is left of queues in which everything is done with the dead letters.
    fn audit_queues(&mut self) {
        let data = &self.plan.config.data_dir;
        for plan in self.plan.topics.iter().filter(|_| !self.plan.queues.is_empty() && self.quiet) {
            let judged = letters::read(&self.disk, data, plan.name).and_then(|letters| {
                (0..plan.partitions).try_for_each(|partition| {
                    let found = audit::read(&self.disk, data, plan.name, partition, plan.promise.cleaned)?;
                    let at = (plan.topic, plan.name);
                    let gone_below = self.history.may_be_gone_below(plan.topic, partition);
                    self.history.queues.finish(at, partition, &found, &letters, gone_below)
                })
            });
            if let Err(why) = judged {
                self.history.bad(why);
            }
        }
    }

    /// Nobody writes any more: this is what readers have to come to.
    pub(super) fn note_ends(&mut self) {
        let data = &self.plan.config.data_dir;
        for plan in &self.plan.topics {
            for partition in 0..plan.partitions {
                let found = audit::read(&self.disk, data, plan.name, partition, plan.promise.cleaned);
                match found {
                    Ok(found) => drop(self.history.ends.insert((plan.topic, partition), found.end)),
                    Err(why) => self.history.bad(why),
                }
            }
        }
    }
}
