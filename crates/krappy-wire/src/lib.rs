//! The bytes that travel between krappy and its native clients, and the record batch that both the wire
//! and the disk hold. No I/O, no clock, no state: slices in, values out.
//!
//! Reading order: [`codec`] (how numbers and strings are laid out), [`frame`] (where a message ends),
//! [`native`] (every request and reply), [`batch`] (the Kafka record batch v2), [`compress`] (opening and packing
//! compressed batches), [`tail`] (the end of a record), [`partition`] (which partition a key belongs to) and [`error`]
//! (what a refusal is called).
#![forbid(unsafe_code)]

pub mod batch;
pub mod codec;
pub mod compress;
pub mod error;
pub mod frame;
pub mod native;
pub mod partition;
pub mod tail;
