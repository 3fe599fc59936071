//! What is kept of a queue on disk: one record of a compacted topic for each group, topic and partition.
//!
//! ```text
//! key     version 1 u8 | group string | topic string | partition i32
//! value   version 1 u8 | id of the topic, 16 bytes | dead u64 | lost u64 | start offset i64 | runs
//! run     kind u8 | length varint | deliveries varint, not of kind 0 | reason varint and bytes, of kind 3
//!         kind: 0 done, 1 open, 2 dying because it was delivered too often, 3 dying because it was rejected
//! ```
//!
//! Runs follow one another from the start offset to the end of the value; what comes after the last is untouched.
//! A string is a u16 length and that many bytes; varints are those of record batches. Who holds a record is not kept: a
//! start of the broker ends all deliveries, and does not count that as an attempt that failed.
//!
//! Invariant: what is read back gives every record that was not done, and none that was.

use krappy_wire::codec::{Malformed, Reader, Writer};

use super::open::{Key, Open, Status, Why};
use super::window::Window;
use super::{MOST_OPEN, MOST_REASON};

const KEY_VERSION: u8 = 1;
const VALUE_VERSION: u8 = 1;

const DONE: u8 = 0;
const OPEN: u8 = 1;
const EXHAUSTED: u8 = 2;
const REJECTED: u8 = 3;

/// Which window of which group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The number of the partition.
    pub partition: i32,
}

impl Place {
    /// The key of its record.
    pub fn key(&self) -> Vec<u8> {
        let mut key = vec![KEY_VERSION];
        key.put_string(&self.group);
        key.put_string(&self.topic);
        key.put_i32(self.partition);
        key
    }

    /// What a key says; `None` if it is none of ours.
    pub fn read(key: &[u8]) -> Option<Place> {
        let mut r = Reader::new(key);
        let mut read = || -> Result<(u8, Place), Malformed> {
            let version = r.u8()?;
            let (group, topic) = (r.string()?.to_owned(), r.string()?.to_owned());
            let place = Place { group, topic, partition: r.i32()? };
            r.end()?;
            Ok((version, place))
        };
        read().ok().filter(|(version, place)| *version == KEY_VERSION && place.partition >= 0).map(|r| r.1)
    }
}

/// The value for a window on the topic with this id.
pub fn encode(window: &Window, topic: &[u8; 16]) -> Vec<u8> {
    let mut out = vec![VALUE_VERSION];
    out.extend_from_slice(topic);
    out.put_u64(window.dead);
    out.put_u64(window.lost);
    out.put_i64(window.start());
    let mut at = window.start();
    let mut run: Option<(Kept<'_>, i64)> = None;
    for (&offset, open) in &window.open {
        let kept = Kept::of(open);
        match &mut run {
            Some((same, length)) if *same == kept && at == offset => *length += 1,
            _ => {
                put_run(run.take(), &mut out);
                put_done(offset - at, &mut out);
                run = Some((kept, 1));
            }
        }
        at = offset + 1;
    }
    put_run(run, &mut out);
    put_done(window.next() - at, &mut out);
    out
}

/// What is kept of an open record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept<'a> {
    kind: u8,
    deliveries: u32,
    reason: &'a str,
}

impl<'a> Kept<'a> {
    fn of(open: &'a Open) -> Kept<'a> {
        let (kind, reason) = match &open.status {
            Status::Dying(Why::Attempts) => (EXHAUSTED, ""),
            Status::Dying(Why::Rejected(reason)) => (REJECTED, &**reason),
            _ => (OPEN, ""),
        };
        Kept { kind, deliveries: open.deliveries, reason }
    }

    fn open(self) -> Open {
        let status = match self.kind {
            EXHAUSTED => Status::Dying(Why::Attempts),
            REJECTED => Status::Dying(Why::Rejected(self.reason.into())),
            _ => Status::Available,
        };
        Open { deliveries: self.deliveries, key: Key::Unknown, status }
    }
}

fn put_done(length: i64, out: &mut Vec<u8>) {
    if length > 0 {
        out.put_u8(DONE);
        out.put_varlong(length);
    }
}

fn put_run(run: Option<(Kept<'_>, i64)>, out: &mut Vec<u8>) {
    let Some((kept, length)) = run else { return };
    out.put_u8(kept.kind);
    out.put_varlong(length);
    out.put_varlong(i64::from(kept.deliveries));
    if kept.kind == REJECTED {
        out.put_varint(kept.reason.len() as i32);
        out.extend_from_slice(kept.reason.as_bytes());
    }
}

/// The window that a value describes, and the id of its topic; `None` if it cannot be read.
pub fn decode(value: &[u8]) -> Option<(Window, [u8; 16])> {
    read(&mut Reader::new(value)).ok()
}

fn read(r: &mut Reader<'_>) -> Result<(Window, [u8; 16]), Malformed> {
    if r.u8()? != VALUE_VERSION {
        return Err(Malformed::BadValue);
    }
    let topic = r.take(16)?.try_into().expect("16 bytes");
    let (dead, lost, start) = (r.u64()?, r.u64()?, r.i64()?);
    if start < 0 {
        return Err(Malformed::BadValue);
    }
    let mut window = Window::new(start);
    (window.dead, window.lost) = (dead, lost);
    while r.remaining() > 0 {
        read_run(r, &mut window)?;
    }
    Ok((window, topic))
}

/// A run takes as much memory as it is long, so its length is checked before anything is entered.
fn read_run(r: &mut Reader<'_>, window: &mut Window) -> Result<(), Malformed> {
    let (kind, length) = (r.u8()?, r.varlong()?);
    let end = window.next.checked_add(length).filter(|_| length > 0).ok_or(Malformed::BadValue)?;
    let begin = std::mem::replace(&mut window.next, end);
    if kind == DONE {
        return Ok(());
    }
    if kind > REJECTED || length > (MOST_OPEN - window.len().min(MOST_OPEN)) as i64 {
        return Err(Malformed::BadValue);
    }
    let deliveries = u32::try_from(r.varlong()?).map_err(|_| Malformed::BadValue)?;
    let reason = if kind == REJECTED { read_reason(r)? } else { "" };
    let kept = Kept { kind, deliveries, reason };
    (begin..end).for_each(|offset| window.enter(offset, kept.open()));
    Ok(())
}

fn read_reason<'a>(r: &mut Reader<'a>) -> Result<&'a str, Malformed> {
    let size = usize::try_from(r.varint()?).map_err(|_| Malformed::BadLength)?;
    if size > MOST_REASON {
        return Err(Malformed::BadLength);
    }
    std::str::from_utf8(r.take(size)?).map_err(|_| Malformed::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::queue::{Ask, End};
    use crate::time::Time;

    const ID: [u8; 16] = [7; 16];

    fn ask(taker: u64) -> Ask {
        Ask { taker, until: Time(100), keyed: false, most_open: 1_000 }
    }

    /// Records in every status, runs of several lengths, and gaps.
    fn window() -> Window {
        let mut window = Window::new(40);
        for offset in 40..60 {
            assert_eq!(window.offer(offset, None, &ask(1), Time(0)), Some(1));
        }
        for offset in [40, 41, 45, 46, 47, 59] {
            window.end(offset, 1, End::Acknowledge, 3, Time(0)).unwrap();
        }
        window.end(48, 1, End::Reject("not JSON"), 3, Time(0)).unwrap();
        window.end(49, 1, End::Reject(""), 3, Time(0)).unwrap();
        window.end(50, 1, End::Release(Time(50)), 3, Time(0)).unwrap();
        window.end(51, 1, End::Release(Time(0)), 1, Time(0)).unwrap();
        window.end(52, 1, End::Return, 3, Time(0)).unwrap();
        (window.dead, window.lost) = (5, 1 << 40);
        window
    }

    #[test]
    fn what_is_read_back_gives_what_was_not_done_and_nothing_else() {
        let window = window();
        let (again, topic) = decode(&encode(&window, &ID)).unwrap();
        again.invariants();
        assert_eq!(topic, ID);
        assert_eq!((again.start(), again.next()), (42, 60));
        assert_eq!((again.dead, again.lost), (window.dead, window.lost));
        assert!(again.open.keys().eq(window.open.keys()));
        for (offset, open) in &again.open {
            let before = &window.open[offset];
            let status = match &before.status {
                Status::Dying(why) => Status::Dying(why.clone()),
                _ => Status::Available,
            };
            let wanted = Open { deliveries: before.deliveries, key: Key::Unknown, status };
            assert_eq!(*open, wanted, "{offset}");
        }
        assert_eq!(encode(&again, &ID), encode(&window, &ID));
    }

    #[test]
    fn after_a_start_a_record_waits_for_those_whose_keys_are_not_known_yet() {
        let mut window = Window::new(0);
        for offset in 0..3 {
            window.offer(offset, Some(7), &ask(1), Time(0));
        }
        let (mut window, _) = decode(&encode(&window, &ID)).unwrap();
        let keyed = Ask { keyed: true, ..ask(2) };
        assert_eq!(window.wanted(true, 1_000), Some(0));
        assert_eq!(window.offer(1, Some(7), &keyed, Time(0)), None, "the first may have the same key");
        assert_eq!(window.offer(0, Some(8), &keyed, Time(0)), Some(2));
        assert_eq!(window.offer(1, Some(7), &keyed, Time(0)), Some(2), "it has another one");
        assert_eq!(window.offer(2, Some(7), &keyed, Time(0)), None);
        window.invariants();
    }

    #[test]
    fn a_value_is_laid_out_as_the_manual_says() {
        let mut window = Window::new(3);
        for offset in 3..8 {
            window.offer(offset, None, &ask(1), Time(0));
        }
        window.end(4, 1, End::Acknowledge, 3, Time(0)).unwrap();
        window.end(7, 1, End::Acknowledge, 3, Time(0)).unwrap();
        window.end(6, 1, End::Reject("no"), 3, Time(0)).unwrap();
        let mut value = vec![1];
        value.extend(ID);
        value.extend([0; 16]);
        value.extend(3i64.to_be_bytes());
        // Varints are zig-zag encoded: 2 stands for 1. Open, done, open, rejected, done.
        value.extend([1, 2, 2, 0, 2, 1, 2, 2, 3, 2, 2, 4, b'n', b'o', 0, 2]);
        assert_eq!(encode(&window, &ID), value);
        let place = Place { group: "g".into(), topic: "to".into(), partition: 2 };
        assert_eq!(place.key(), b"\x01\0\x01g\0\x02to\0\0\0\x02");
        assert_eq!(Place::read(&place.key()), Some(place));
    }

    #[test]
    fn a_value_that_is_cut_ends_with_a_run_or_says_nothing() {
        let whole = encode(&window(), &ID);
        for end in 0..whole.len() {
            if let Some((window, _)) = decode(&whole[..end]) {
                window.invariants();
                assert!(window.next() < 60);
            }
        }
        let key = Place { group: "g".into(), topic: "t".into(), partition: 1 }.key();
        for end in 0..key.len() {
            assert_eq!(Place::read(&key[..end]), None);
        }
        assert_eq!(Place::read(&[&key[..], &[0]].concat()), None);
    }

    #[test]
    fn a_flipped_bit_makes_another_window_or_none_and_never_a_large_one() {
        let whole = encode(&window(), &ID);
        for bit in 0..whole.len() * 8 {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Some((window, _)) = decode(&bad) {
                window.invariants();
                assert!(window.len() <= MOST_OPEN);
            }
        }
        let mut long = encode(&Window::new(0), &ID);
        long.put_u8(OPEN);
        long.put_varlong(MOST_OPEN as i64 + 1);
        long.put_varlong(1);
        assert!(decode(&long).is_none(), "a declared length is not believed");
    }
}
