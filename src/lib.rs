//! krappy: an event-streaming broker in one small binary and one poll loop.

pub mod chunk;
pub mod config;
pub mod disk;
pub mod offline;
pub mod os;
pub mod segment;
pub mod time;
