//! Who reads a partition, and from where: so that somebody who asks why a group stands still can be told.
//!
//! Invariant: a partition remembers at most [`MOST`] readers, those that were seen last, by names of at most
//! [`NAME_BYTES`].

use crate::api::group::LastRead;

/// Readers of a partition.
const MOST: usize = 8;
/// Bytes of the names of a reader; one that calls itself more is not remembered.
const NAME_BYTES: usize = 512;

/// Somebody who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader<'a> {
    /// A member of a group, which says so.
    Member(&'a str),
    /// A Kafka client: it says what it calls itself, and where it comes from is known.
    Client(&'a str, &'a str),
}

impl Reader<'_> {
    fn names(&self) -> (bool, &str, &str) {
        match self {
            Reader::Member(group) => (true, group, ""),
            Reader::Client(id, host) => (false, id, host),
        }
    }
}

/// Those who read one partition, whoever was seen last at the end.
#[derive(Debug, Default)]
pub struct Readers(Vec<Seen>);

#[derive(Debug)]
struct Seen {
    member: bool,
    name: Box<str>,
    host: Box<str>,
    last: LastRead,
}

impl Seen {
    fn is(&self, reader: Reader<'_>) -> bool {
        (self.member, &*self.name, &*self.host) == reader.names()
    }
}

impl Readers {
    /// Somebody asks for records from this offset on; a negative one is no place. `now` is the wall clock in
    /// milliseconds.
    pub fn note(&mut self, reader: Reader<'_>, offset: i64, now: i64) {
        if offset < 0 {
            return;
        }
        let (member, name, host) = reader.names();
        let last = match self.0.iter().position(|seen| seen.is(reader)) {
            Some(at) => {
                self.0[at..].rotate_left(1);
                &mut self.0.last_mut().expect("one was found").last
            }
            None if name.len() + host.len() > NAME_BYTES => return,
            None => {
                if self.0.len() == MOST {
                    self.0.remove(0);
                }
                let last = LastRead { offset, at: now, returned_to: -1, returns: 0, inferred: !member };
                self.0.push(Seen { member, name: name.into(), host: host.into(), last });
                return;
            }
        };
        if offset < last.offset {
            let again = offset == last.returned_to;
            last.returns = if again { last.returns.saturating_add(1) } else { 1 };
            last.returned_to = offset;
        }
        (last.offset, last.at) = (offset, now);
    }

    /// Where somebody was seen last.
    pub fn find(&self, reader: Reader<'_>) -> Option<LastRead> {
        self.0.iter().find(|seen| seen.is(reader)).map(|seen| seen.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: Reader<'_> = Reader::Member("g");

    fn at(offset: i64, at: i64, returned_to: i64, returns: u32) -> Option<LastRead> {
        Some(LastRead { offset, at, returned_to, returns, inferred: false })
    }

    #[test]
    fn a_reader_is_seen_where_it_has_asked_last() {
        let mut readers = Readers::default();
        assert_eq!(readers.find(MEMBER), None);
        readers.note(MEMBER, 5, 100);
        readers.note(MEMBER, 9, 200);
        assert_eq!(readers.find(MEMBER), at(9, 200, -1, 0));
        readers.note(Reader::Client("g", ""), 3, 300);
        assert_eq!(readers.find(MEMBER), at(9, 200, -1, 0), "a client of this name is somebody else");
        assert!(readers.find(Reader::Client("g", "")).unwrap().inferred);
    }

    #[test]
    fn returns_to_one_offset_are_counted() {
        let mut readers = Readers::default();
        for (now, offset) in [5, 9, 5, 9, 5, 9].into_iter().enumerate() {
            readers.note(MEMBER, offset, now as i64);
        }
        assert_eq!(readers.find(MEMBER), at(9, 5, 5, 2));
        readers.note(MEMBER, 7, 6);
        assert_eq!(readers.find(MEMBER), at(7, 6, 7, 1), "another offset is another story");
        readers.note(MEMBER, 7, 7);
        assert_eq!(readers.find(MEMBER), at(7, 7, 7, 1), "to wait is not to return");
        readers.note(MEMBER, -5, 8);
        assert_eq!(readers.find(MEMBER), at(7, 7, 7, 1), "there is no such offset");
    }

    #[test]
    fn those_who_were_seen_last_are_remembered() {
        let mut readers = Readers::default();
        let names: Vec<String> = (0..=MOST).map(|n| format!("c{n}")).collect();
        for (name, now) in names[..MOST].iter().chain([&names[0], &names[MOST]]).zip(0..) {
            readers.note(Reader::Client(name, "h"), 0, now);
        }
        let known: Vec<bool> =
            names.iter().map(|name| readers.find(Reader::Client(name, "h")).is_some()).collect();
        assert_eq!(known, (0..=MOST).map(|n| n != 1).collect::<Vec<_>>(), "c0 was seen again, so c1 goes");
        let long = "n".repeat(NAME_BYTES + 1);
        readers.note(Reader::Client(&long, ""), 0, 0);
        assert_eq!((readers.find(Reader::Client(&long, "")), readers.0.len()), (None, MOST));
    }
}
