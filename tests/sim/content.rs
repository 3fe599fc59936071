//! What the records of the simulation hold: everything follows from a record's number, so whoever reads one can tell
//! whether it is intact, and no two are alike.
//!
//! Those for compacted topics always have a key, which is a part of the number, and may be deletions. The number is in
//! a header as well, because a deletion has no value to hold it.

use krappy_wire::tail::Tail;

/// Number of a record: client in the upper 16 bits, then 16 bits of padding length, then a count. In a keyed one the
/// two upper bits of the padding say so, and the upper 8 bits of the count are the number of the key.
pub type Id = u64;

const KEYED: u64 = 1 << 47;
const DELETES: u64 = 1 << 46;
const PADDING: u64 = 0x3fff;
/// Name of the header of a keyed record.
pub const HEADER: &str = "id";

/// Keys from this number on are long.
pub const LONG: u8 = 200;
const LONG_KEY: usize = 20_000;

/// The number of the `count`-th record of a client, with so much padding.
pub fn id(client: u32, padding: usize, count: u32) -> Id {
    assert!(client < 1 << 16 && padding < 1 << 15);
    u64::from(client) << 48 | (padding as u64) << 32 | u64::from(count)
}

/// The number of a client's `count`-th record for compacted topics, which sets a key or deletes it.
pub fn keyed_id(client: u32, padding: usize, deletes: bool, key: u8, count: u32) -> Id {
    assert!(client < 1 << 16 && padding as u64 <= PADDING && count < 1 << 24);
    let kind = KEYED | if deletes { DELETES } else { 0 };
    u64::from(client) << 48 | kind | (padding as u64) << 32 | u64::from(key) << 24 | u64::from(count)
}

fn is_keyed(id: Id) -> bool {
    id & KEYED != 0
}

/// Whether a record deletes its key.
pub fn deletes(id: Id) -> bool {
    is_keyed(id) && id & DELETES != 0
}

/// Which of its client's records it is.
pub fn count(id: Id) -> u32 {
    if is_keyed(id) { id as u32 & 0xff_ffff } else { id as u32 }
}

/// The key with this number. The first one is empty.
pub fn key_of(number: u8) -> Vec<u8> {
    match number {
        0 => Vec::new(),
        LONG.. => [&[number][..], &[b'k'; LONG_KEY]].concat(),
        _ => format!("key {number:02}").into_bytes(),
    }
}

/// One record in three has no key, if it is not for a compacted topic.
pub fn key(id: Id) -> Option<Vec<u8>> {
    if is_keyed(id) {
        return Some(key_of((id >> 24) as u8));
    }
    (!id.is_multiple_of(3)).then(|| format!("key {}", id % 11).into_bytes())
}

/// The number itself, then the padding; nothing in a deletion.
pub fn value(id: Id) -> Option<Vec<u8>> {
    if deletes(id) {
        return None;
    }
    let padding = (id >> 32 & if is_keyed(id) { PADDING } else { 0x7fff }) as usize;
    let mut value = id.to_be_bytes().to_vec();
    value.extend((0..padding).map(|i| (id as u8).wrapping_mul(31).wrapping_add(i as u8)));
    Some(value)
}

/// The value of its header, if it has one.
pub fn header(id: Id) -> Option<[u8; 8]> {
    is_keyed(id).then(|| id.to_be_bytes())
}

/// The number of a record that was read, if it is intact in every byte.
pub fn recognise(read_key: Option<&[u8]>, tail: &Tail<'_>) -> Option<Id> {
    let holds_it = tail.headers().next().map_or(tail.value(), |(_, value)| value);
    let id = u64::from_be_bytes(*holds_it?.first_chunk()?);
    let intact = tail.value() == value(id).as_deref()
        && read_key == key(id).as_deref()
        && tail.headers().map(|(name, _)| name).eq(header(id).map(|_| HEADER.as_bytes()));
    intact.then_some(id)
}
