//! A small blocking client for krappy.
