//! What the records of the simulation hold: everything follows from a record's number, so whoever reads one can tell
//! whether it is intact, and no two are alike.

/// Number of a record: client in the upper 16 bits, then 16 bits of padding length, then a count.
pub type Id = u64;

/// The number of the `count`-th record of a client, with so much padding.
pub fn id(client: u32, padding: usize, count: u32) -> Id {
    assert!(client < 1 << 16 && padding < 1 << 16);
    u64::from(client) << 48 | (padding as u64) << 32 | u64::from(count)
}

/// One record in three has no key.
pub fn key(id: Id) -> Option<Vec<u8>> {
    (!id.is_multiple_of(3)).then(|| format!("key {}", id % 11).into_bytes())
}

/// The number itself, then the padding.
pub fn value(id: Id) -> Vec<u8> {
    let padding = (id >> 32 & 0xffff) as usize;
    let mut value = id.to_be_bytes().to_vec();
    value.extend((0..padding).map(|i| (id as u8).wrapping_mul(31).wrapping_add(i as u8)));
    value
}

/// The number of a record that was read, if it is intact in every byte.
pub fn recognise(read_key: Option<&[u8]>, read_value: Option<&[u8]>) -> Option<Id> {
    let id = u64::from_be_bytes(*read_value?.first_chunk()?);
    let intact = read_value == Some(&value(id)[..]) && read_key == key(id).as_deref();
    intact.then_some(id)
}
