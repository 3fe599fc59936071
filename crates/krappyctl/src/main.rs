//! Command line for krappy.
fn main() {}
