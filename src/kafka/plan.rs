//! What a request comes to: an answer at once, or questions to the broker whose replies become the answer.
//!
//! Invariant: an API is one function from a request to a [`Plan`]; what it must remember until the replies come is in
//! the closure that it leaves behind, and owned by it.

use krappy_wire::error::ErrorCode;

use super::errors;
use super::table::Answer;
use super::wire::{Text, Uuid};
use crate::api::group::GroupReply;
use crate::api::{Refusal, Reply, Request, TopicRef};
use crate::config::Limits;
use crate::language::{Address, Greeting};
use crate::ordered;

/// What a request comes to.
pub enum Plan<'a> {
    /// It can be answered without the broker.
    Answer(Answer<'static>),
    /// The broker is asked.
    Ask {
        /// What it is asked, in order.
        requests: Vec<Request<'a>>,
        /// Makes an answer of the replies, which come in the same order.
        finish: Finish,
    },
    /// Kafka closes the connection at such a request.
    Close(String),
}

/// Makes an answer of the broker's replies.
pub type Finish = Box<dyn FnOnce(Vec<Reply>) -> Outcome + Send>;

/// What the replies come to.
pub enum Outcome {
    /// An answer.
    Answer(Answer<'static>),
    /// A Produce without acks went well, and nobody waits for an answer.
    Nothing,
    /// One did not, and closing the connection is the only way to say so.
    Close(String),
}

impl<'a> Plan<'a> {
    /// An answer at once.
    pub fn answer(answer: impl Into<Answer<'static>>) -> Self {
        Plan::Answer(answer.into())
    }

    /// Asks the broker.
    pub fn ask<T: Into<Answer<'static>>>(
        requests: Vec<Request<'a>>,
        finish: impl FnOnce(Vec<Reply>) -> T + Send + 'static,
    ) -> Self {
        Plan::Ask { requests, finish: Box::new(move |replies| Outcome::Answer(finish(replies).into())) }
    }
}

/// What a request may want to know besides itself.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Version of the request.
    pub version: i16,
    /// What the client calls itself.
    pub client_id: &'a str,
    /// Where the client connects from.
    pub client_host: &'a str,
    /// Where clients are to connect to.
    pub address: &'a Address,
    /// About the broker.
    pub greeting: &'a Greeting,
    /// Bounds.
    pub limits: &'a Limits,
}

/// A topic as a client names it: by name, or by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Empty where the id counts.
    pub name: String,
    /// All zeros where the name counts.
    pub id: Uuid,
}

impl Named {
    /// What stands in the two fields of a request, of which one is used.
    pub fn of(name: &str, id: Uuid) -> Self {
        Self { name: name.to_owned(), id }
    }

    /// The name as an answer carries it.
    pub fn text(&self) -> Text<'static> {
        Text::Owned(self.name.clone())
    }
}

/// The topic that two fields of a request mean, of which one is used.
pub fn topic<'a>(name: &'a str, id: Uuid) -> TopicRef<'a> {
    if id == Uuid::default() { TopicRef::Name(name) } else { TopicRef::Id(id.0) }
}

/// The number and the words of a refusal.
pub fn refused(refusal: &Refusal) -> (i16, Option<Text<'static>>) {
    let text = match (refusal.message.as_str(), refusal.hint.as_str()) {
        ("", _) => return (errors::number(refusal.code), None),
        (message, "") => message.to_owned(),
        (message, hint) => format!("{message}; {hint}"),
    };
    (errors::number(refusal.code), Some(Text::Owned(text)))
}

/// The number and the words of a reply that says no more than whether it went well.
pub fn result(reply: &Reply) -> (i16, Option<Text<'static>>) {
    match reply {
        Reply::Refused(refusal) => refused(refusal),
        _ => (ErrorCode::None.number(), None),
    }
}

/// The number of a reply about a group that says no more than whether it went well.
pub fn group_error(reply: Option<Reply>) -> i16 {
    match reply {
        Some(Reply::Group(GroupReply::Result(Ok(())))) => 0,
        Some(Reply::Group(GroupReply::Result(Err(code)))) => errors::number(code),
        Some(Reply::Refused(refusal)) => refused(&refusal).0,
        other => unreachable!("a question about a group is not answered with {other:?}"),
    }
}

/// The numbers of a reply about a group that speaks of each item of the request, or the number for the whole.
pub fn each(replies: Vec<Reply>) -> Result<Vec<i16>, i16> {
    let number = |result: Result<(), ErrorCode>| result.err().map_or(0, errors::number);
    match replies.into_iter().next() {
        Some(Reply::Group(GroupReply::Each(Ok(each)))) => Ok(each.into_iter().map(number).collect()),
        Some(Reply::Group(GroupReply::Each(Err(code)))) => Err(errors::number(code)),
        other => Err(group_error(other)),
    }
}

/// What can be done with a cluster: a bit for each of Kafka's numbers of operations (create 5, alter 7, describe 8,
/// cluster action 9, describe settings 10, alter settings 11, idempotent write 12).
pub const ON_CLUSTER: i32 = 0x1fa0;
/// What can be done with a topic (read 3, write 4, create 5, delete 6, alter 7, describe 8, describe settings 10, alter
/// settings 11).
pub const ON_TOPIC: i32 = 0x0df8;

/// The operations that a client may do, which are all, because there is no authorization; if it has asked for them.
pub fn allowed(asked: bool, all: i32) -> i32 {
    if asked { all } else { i32::MIN }
}

/// What a list names more than once.
pub fn named_twice<T: Ord + Copy>(items: impl IntoIterator<Item = T>) -> std::collections::BTreeSet<T> {
    let mut seen = std::collections::BTreeSet::new();
    ordered::set(items.into_iter().filter(|item| !seen.insert(*item)))
}

/// Whether a list names something twice.
pub fn has_twice<T: Ord>(items: impl IntoIterator<Item = T>) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    items.into_iter().any(|item| !seen.insert(item))
}
