//! Frames between the reader thread of a connection and whoever takes them, of one stream or of several.

use crate::link::Answer;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// Holds as much as the credit given allows to be on its way.
#[derive(Default)]
pub(crate) struct Inbox {
    arrived: Mutex<VecDeque<(u32, Answer)>>,
    more: Condvar,
}

impl Inbox {
    /// What the reader thread calls with the replies to `stream`.
    pub fn ear(self: &Arc<Self>, stream: u32) -> impl Fn(Answer) + Send + Sync + 'static {
        let inbox = Arc::clone(self);
        move |answer| {
            inbox.arrived.lock().expect("the inbox does not panic").push_back((stream, answer));
            inbox.more.notify_one();
        }
    }

    /// The next frame and its stream; `None` when none came in time.
    pub fn next(&self, until: Instant) -> Option<(u32, Answer)> {
        let mut arrived = self.arrived.lock().expect("the inbox does not panic");
        loop {
            if let Some(first) = arrived.pop_front() {
                return Some(first);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            arrived = self.more.wait_timeout(arrived, left).expect("the inbox does not panic").0;
        }
    }
}
