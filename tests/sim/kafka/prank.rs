//! Planted bugs of a connection that carries several requests at a time: what the history checker must notice if a
//! broker ever did it. They are made between the client and the network, where both directions can be had.

use krappy::disk::sim::Rng;

use super::client::PRODUCE;

/// What goes wrong on the way, of two Produce requests that are under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prank {
    /// The second one is appended before the first, and each answer says what became of the other.
    Requests,
    /// The second one is answered before the first.
    Answers,
    /// The answers come in order, each with what became of the other.
    Results,
}

/// Plays a prank whenever there is an opportunity.
pub struct Pranks {
    prank: Option<Prank>,
    request: Option<Vec<u8>>,
    answer: Option<Vec<u8>>,
}

/// Where the correlation id is in a request, behind its size, key and version.
const IN_REQUEST: std::ops::Range<usize> = 8..12;
/// Where it is in an answer, behind its size.
const IN_ANSWER: std::ops::Range<usize> = 4..8;

impl Pranks {
    pub fn new(prank: Option<Prank>) -> Pranks {
        Pranks { prank, request: None, answer: None }
    }

    /// The connection has ended, and what was held back with it.
    pub fn forget(&mut self) {
        (self.request, self.answer) = (None, None);
    }

    /// What is sent instead of a request.
    pub fn requests(&mut self, key: i16, mut frame: Vec<u8>) -> Vec<Vec<u8>> {
        if self.prank != Some(Prank::Requests) {
            return vec![frame];
        }
        match self.request.take() {
            None if key == PRODUCE => {
                self.request = Some(frame);
                Vec::new()
            }
            None => vec![frame],
            Some(held) if key != PRODUCE => vec![held, frame],
            Some(mut held) => {
                swap(&mut held, &mut frame, IN_REQUEST);
                vec![frame, held]
            }
        }
    }

    /// A request that was held back for one that does not come.
    pub fn release(&mut self, rng: &mut Rng) -> Option<Vec<u8>> {
        self.request.take_if(|_| rng.below(4) == 0)
    }

    /// What is read instead of an answer. `two`: another Produce is owed besides the one that it belongs to.
    pub fn answers(&mut self, two: bool, frame: &[u8]) -> Vec<Vec<u8>> {
        let mut frame = frame.to_vec();
        match (self.prank, self.answer.take()) {
            (Some(Prank::Answers), Some(held)) => vec![frame, held],
            (Some(Prank::Results), Some(mut held)) => {
                swap(&mut held, &mut frame, IN_ANSWER);
                vec![frame, held]
            }
            (Some(Prank::Answers | Prank::Results), None) if two => {
                self.answer = Some(frame);
                Vec::new()
            }
            _ => vec![frame],
        }
    }
}

/// Exchanges a part of two frames.
fn swap(one: &mut [u8], other: &mut [u8], part: std::ops::Range<usize>) {
    one[part.clone()].swap_with_slice(&mut other[part]);
}
