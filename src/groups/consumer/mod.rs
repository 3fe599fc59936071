//! Groups of the newer kind, of Kafka's protocol KIP-848 (`group.protocol=consumer`): the broker shares out the
//! partitions itself, and changes what members read one by one, while all others go on reading.
//!
//! A member says what it wants to read, and with each heartbeat that it lives. The group keeps three things apart:
//!
//! * its *plan*: which partitions each member is to have. Whenever somebody comes, goes or wants something else, or a
//!   topic changes, it plans anew, and counts its plans: the group's *epoch*;
//! * what each member *may read* at this moment;
//! * in between, what a member must *give back*: nobody else gets that before the member says that it did.
//!
//! ```text
//!   the group    Empty ----------> (Assigning) -------> Reconciling -------> Stable
//!                  ^    somebody        plans at once       members follow,     |  somebody comes, goes or wants
//!                  |    joins                               one by one          |  something else: plans anew
//!                  +---- the last has left or died ------- ... <----------------+
//!
//!   a member     Stable ----> Unrevoked ----> Unreleased ----> Stable
//!                  has what      gives back       waits for what   in the epoch of the plan: only a member that says
//!                  it is to      what it is to    others give      its own epoch may commit offsets
//!                  have          have no more     back
//! ```
//!
//! `heartbeat` is how members join, stay and leave, `reconcile` how they follow the plan, `stream` is for members whose
//! stream is their heartbeat, `classic` for members of the classic protocol, which may be in the same group while it
//! changes over, and `migrate` is how it does that. `group` holds the plan, `roster` and `member` who is there and who
//! holds what, `subscription` and `pattern` what they want, `topics` what there is. How to plan is in
//! [`super::assign`].
//!
//! Invariants: a partition is read by one member at a time; the epoch of a group and those of its members only grow;
//! whoever does not do its part is removed in time: after the session timeout if it is silent, after its rebalance
//! timeout if it does not give back.

mod calls;
mod classic;
mod describe;
mod group;
mod heartbeat;
mod member;
mod messages;
mod migrate;
mod pattern;
mod reconcile;
mod roster;
mod stream;
mod subscription;
#[cfg(test)]
pub(super) mod testing;
mod topics;

pub use describe::{ConsumerDescription, ConsumerMember, TopicShare};
pub(super) use group::ConsumerGroup;
pub use messages::{GOES_AWAY, Heard, Heartbeat, JOINS, LEAVES, Push, Refused};
pub use subscription::Subscription;
pub use topics::Topics;
