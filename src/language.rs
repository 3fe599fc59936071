//! What a language is to its connection: what it makes of the bytes at the front of the input, and what it is told
//! about the broker.
//!
//! Invariant: a step is taken for bytes that are whole; what it did not consume it is offered again.

use crate::api::Request;
pub use crate::config::Address;

/// The client broke the protocol in a way that its bytes cannot be trusted any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

/// What the broker tells about itself.
#[derive(Debug, Clone, Default)]
pub struct Greeting {
    /// Version of the software.
    pub software: String,
    /// Whose data it serves.
    pub cluster_id: String,
    /// The leader epoch of every partition: it grows with each start.
    pub leader_epoch: i32,
    /// The folder of all data.
    pub data_dir: String,
    /// What clients are told to connect to; absent: the address that they have reached.
    pub advertised: Option<Address>,
}

/// Both ends of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ends {
    /// The address of ours that the client has reached.
    pub reached: Address,
    /// Where it comes from, as Kafka writes it: a slash, and the address without the port.
    pub from: String,
}

/// What became of the front of the input.
#[derive(Debug)]
pub enum Step<'a> {
    /// A request for the broker. When it is taken, `consumed` bytes of input are dealt with.
    Request {
        /// Comes back with the reply.
        slot: u64,
        /// The request.
        request: Request<'a>,
        /// Bytes of input that it took; 0 when it came from a subscription or a waiting poll.
        consumed: usize,
    },
    /// One frame that asks for several things. When all are taken, `consumed` bytes of input are dealt with.
    Requests {
        /// Comes back with the first reply; the others have the numbers that follow.
        slot: u64,
        /// The requests, in order.
        requests: Vec<Request<'a>>,
        /// Bytes of input that they took.
        consumed: usize,
    },
    /// It was answered here; this many bytes are dealt with.
    Handled(usize),
    /// The frame at the front is not whole; it needs this many bytes in all.
    Partial(usize),
    /// There is nothing to parse, or the frame at the front may not begin before a reply of the broker has come.
    Nothing,
}
