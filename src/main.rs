//! krappy.
fn main() {}
