//! A reply is refused, or is exactly what its bytes say: encoding it again gives the same bytes.
#![no_main]

use krappy_fuzz::memory;
use krappy_wire::frame::HEAD;
use krappy_wire::native::{Head, ROW_HEAD, Reply, RowRef, Scanned};
use libfuzzer_sys::fuzz_target;

/// A setting of a described topic is three empty strings, six bytes on the wire and 48 in memory, in a list that may
/// have room for twice as many. Only a client decodes replies, from the broker that it chose.
const FACTOR: usize = 16;

fuzz_target!(|input: &[u8]| {
    let Some((&code, body)) = input.split_first() else { return };
    let decoded = memory::bounded_by(FACTOR, body.len(), || Reply::decode(u16::from(code), body));
    let Ok(Some(reply)) = decoded else { return };

    let mut frame = Vec::new();
    reply.encode(Head { stream: 1, correlation: 2 }, &mut frame);
    assert_eq!(&frame[HEAD + 8..], body);
    assert_eq!(reply.code(), u16::from(code));
    if let Reply::Rows(rows) | Reply::Scanned(Scanned { rows, .. }) = &reply {
        let one = |row: RowRef<'_>| ROW_HEAD + row.key.len() + row.tail.map_or(0, |tail| tail.bytes().len());
        assert_eq!(rows.iter().map(one).sum::<usize>(), rows.size());
    }
    let longer = [body, b"x"].concat();
    assert!(Reply::decode(reply.code(), &longer).is_err(), "a byte too many was taken");
});
