//! Ordered collections that take little code: the standard library's trees and sorts are compiled for every type that
//! they hold, some 6 KB each.
//!
//! Invariant: they hold what the collection holds that they are made of.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Index;

/// Values by number, in the order of the numbers. They are boxed, so that the maps of all types share one code, and
/// that to make room for one moves pointers.
#[derive(Debug)]
pub struct Numbered<T>(BTreeMap<u64, Box<T>>);

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Numbered<T> {
    /// Puts a value in. Whether the number was free.
    pub fn insert(&mut self, number: u64, value: T) -> bool {
        self.0.insert(number, Box::new(value)).is_none()
    }

    /// Takes a value out.
    pub fn remove(&mut self, number: u64) -> Option<T> {
        self.0.remove(&number).map(|value| *value)
    }

    /// The value with this number.
    pub fn get(&self, number: u64) -> Option<&T> {
        self.0.get(&number).map(|value| &**value)
    }

    /// The value with this number, to change it.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        self.0.get_mut(&number).map(|value| &mut **value)
    }

    /// All numbers and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u64, &T)> {
        self.0.iter().map(|(number, value)| (*number, &**value))
    }

    /// All values.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &T> {
        self.0.values().map(|value| &**value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Index<u64> for Numbered<T> {
    type Output = T;

    fn index(&self, number: u64) -> &T {
        &self.0[&number]
    }
}

/// A set of these. It is filled one by one, where `collect` sorts first: that is better when there are thousands, and
/// most of what the broker collects is a dozen names.
pub fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    set.extend(items);
    set
}

/// A map of these, made as [`set`] is. The last value of a key stays.
pub fn map<K: Ord, V>(entries: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(entries);
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_values_come_in_the_order_of_their_numbers() {
        let mut named = Numbered::default();
        assert!(named.is_empty() && named.insert(7, "b") && named.insert(3, "a") && !named.insert(7, "c"));
        assert_eq!(named.iter().collect::<Vec<_>>(), [(3, &"a"), (7, &"c")]);
        assert_eq!((named.get(3), named.get(4), named[7]), (Some(&"a"), None, "c"));
        *named.get_mut(3).unwrap() = "d";
        assert_eq!((named.remove(3), named.remove(3), named.len()), (Some("d"), None, 1));
        assert_eq!(named.values().collect::<Vec<_>>(), [&"c"]);
    }

    #[test]
    fn they_hold_what_collect_would() {
        let names = ["b", "a", "b", "c"];
        assert_eq!(set(names), names.into_iter().collect());
        let entries = [("b", 1), ("a", 2), ("b", 3)];
        assert_eq!(map(entries), entries.into_iter().collect());
        assert_eq!(map(entries)["b"], 3);
    }
}
