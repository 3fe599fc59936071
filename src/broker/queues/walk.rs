//! Records one by one out of batches that were fetched.
//!
//! Invariant: a batch is checked against its checksum before anything in it is believed.

use krappy_wire::batch::{self, BatchError, Record};
use krappy_wire::compress;

/// Shows `each` the records at or above `from`, in order, until it says no. Returns where it ended: whatever lies
/// between `from` and that was shown, or is not there. `next` is the offset after the batches. What cannot be opened
/// counts as not there.
pub fn walk(
    bytes: &[u8],
    from: i64,
    next: i64,
    mut each: impl FnMut(&Record<'_>) -> bool,
) -> Result<i64, BatchError> {
    let (mut rest, mut scratch) = (bytes, Vec::new());
    while !rest.is_empty() {
        let (header, bytes) = batch::first(rest)?;
        rest = &rest[bytes.len()..];
        if header.is_control() || header.next_offset() <= from {
            continue;
        }
        let records = match compress::records(bytes, compress::MOST, &mut scratch) {
            Ok(records) => records,
            Err(error) => {
                log::warn!("records from {} on are passed by: {error}", header.base_offset);
                continue;
            }
        };
        for record in records {
            let record = record.expect("all of them were read before");
            if record.offset >= from && !each(&record) {
                return Ok(record.offset);
            }
        }
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use krappy_wire::batch::Builder;

    fn batch(base_offset: i64, values: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut builder = Builder::open(&mut bytes, 0);
        for value in values {
            builder.push(&mut bytes, 0, None, Some(value.as_bytes()), std::iter::empty());
        }
        builder.close(&mut bytes, base_offset, 1, None);
        bytes
    }

    #[test]
    fn records_are_shown_from_an_offset_on_until_no_more_are_wanted() {
        let two = [batch(5, &["a", "b"]), batch(9, &["c"])].concat();
        let shown = |from, most: usize| {
            let mut seen = Vec::new();
            let end = walk(&two, from, 12, |record| {
                let wanted = seen.len() < most;
                if wanted {
                    seen.push(record.offset);
                }
                wanted
            });
            (end.unwrap(), seen)
        };
        assert_eq!(shown(5, 9), (12, vec![5, 6, 9]));
        assert_eq!(shown(6, 9), (12, vec![6, 9]));
        assert_eq!(shown(6, 1), (9, vec![6]));
        assert_eq!(shown(10, 1), (12, vec![]));
    }

    #[test]
    fn damage_is_not_taken_for_records() {
        let mut bytes = batch(5, &["a"]);
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(walk(&bytes, 5, 6, |_| true), Err(BatchError::Crc));
    }

    #[test]
    fn what_cannot_be_opened_is_passed_by() {
        let mut header = batch::Header::read(&batch(5, &["a"])).unwrap();
        header.set_codec(1);
        let header = header.sealed(b"not gzip");
        let bytes = [&header.bytes()[..], b"not gzip", &batch(6, &["b"])].concat();
        let mut seen = Vec::new();
        assert_eq!(
            walk(&bytes, 5, 7, |r| {
                seen.push(r.offset);
                true
            }),
            Ok(7)
        );
        assert_eq!(seen, [6]);
    }
}
