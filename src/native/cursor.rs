//! Where a page of a scan ended, as bytes that the client gives back unread.
//!
//! `count u32 | { partition i32 | offset i64 } | last partition i32 (-1: none) | last key`. The broker believes none of
//! it: a forged cursor reads another page of the same topic, or is refused.

use krappy_wire::codec::{Malformed, Reader, Writer};
use krappy_wire::error::ErrorCode;

use crate::api::{Cursor, Refusal};

/// Writes a cursor.
pub fn encode(cursor: &Cursor) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(cursor.true_at.len() as u32);
    for (partition, offset) in &cursor.true_at {
        out.put_i32(*partition);
        out.put_i64(*offset);
    }
    let (key, partition) = cursor.last.as_ref().map_or((&[][..], -1), |(key, n)| (key, *n));
    out.put_i32(partition);
    out.extend_from_slice(key);
    out
}

/// Reads a cursor.
pub fn decode(bytes: &[u8]) -> Result<Cursor, Refusal> {
    read(bytes).map_err(|_| {
        Refusal::new(ErrorCode::InvalidRequest, "the cursor is not one that was given out")
            .hint("begin the scan again without a cursor")
    })
}

fn read(bytes: &[u8]) -> Result<Cursor, Malformed> {
    let mut r = Reader::new(bytes);
    let mut true_at = Vec::new();
    for _ in 0..r.u32()? {
        true_at.push((r.i32()?, r.i64()?));
    }
    let partition = r.i32()?;
    let key = r.rest().to_vec();
    Ok(Cursor { true_at, last: (partition >= 0).then_some((key, partition)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_a_shorter_one_is_refused() {
        let cursors = [
            Cursor { true_at: vec![(0, -1)], last: None },
            Cursor { true_at: vec![(0, 7), (3, 1 << 40)], last: Some((b"key".to_vec(), 3)) },
            Cursor { true_at: vec![(0, 7)], last: Some((Vec::new(), 0)) },
        ];
        for cursor in cursors {
            let bytes = encode(&cursor);
            assert_eq!(decode(&bytes).unwrap(), cursor);
            let least = bytes.len() - cursor.last.as_ref().map_or(0, |(key, _)| key.len());
            for cut in 0..least {
                assert_eq!(decode(&bytes[..cut]).unwrap_err().code, ErrorCode::InvalidRequest);
            }
        }
    }
}
