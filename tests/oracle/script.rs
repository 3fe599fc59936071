//! The script: what both brokers are asked, from a fresh start on.
//!
//! Each file is about some APIs and makes the topics that it needs, so that it can be read alone. A name that ends in
//! `-v` and the version is made once for each version, and compared without it.

mod administration;
mod connection;
mod consumers;
mod delete_and_grow;
mod fetch;
mod groups;
mod list_offsets;
mod make_topics;
mod metadata;
mod offsets;
mod produce;
mod sequences;
mod settings;

use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::run::{Run, text, topic_name};

/// A topic that nobody makes.
const NOWHERE: &str = "nowhere";
/// An id that no topic has.
pub const NO_ID: Uuid = Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef);

/// Asks everything.
pub fn play(run: &mut Run) {
    connection::play(run);
    make_topics::play(run);
    metadata::play(run);
    delete_and_grow::play(run);
    settings::play(run);
    produce::play(run);
    sequences::play(run);
    fetch::play(run);
    list_offsets::play(run);
    offsets::play(run);
    administration::play(run);
    groups::play(run);
    consumers::play(run);
}

/// A string that may be null.
fn some(words: &str) -> Option<StrBytes> {
    Some(text(words))
}
