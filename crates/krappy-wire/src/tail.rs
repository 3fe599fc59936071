//! The end of a record, after its key: value and headers. The view of a compacted topic stores it, and keyed replies
//! carry it, exactly as it stands in the record batch, so it is encoded once, by whoever made the batch.
//!
//! `value length varint (-1: null) | value | header count varint | { name length varint | name | value length varint |
//! value }`
//!
//! Invariant: a [`Tail`] was walked to its last byte when it was read, so what it gives cannot fail.

use crate::codec::{Malformed, Reader, Writer, varlong_len};

/// Value and headers of a record, borrowed from the bytes that hold them.
#[derive(Debug, Clone)]
pub struct Tail<'a> {
    bytes: &'a [u8],
    value: Option<&'a [u8]>,
    headers: Reader<'a>,
    header_count: usize,
}

impl<'a> Tail<'a> {
    /// Walks `bytes`, which must end with the last header.
    #[inline]
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let value = read_nullable(&mut r)?;
        let header_count = usize::try_from(r.varint()?).map_err(|_| Malformed::BadLength)?;
        let headers = r.clone();
        for _ in 0..header_count {
            read_header(&mut r)?;
        }
        r.end()?;
        Ok(Self { bytes, value, headers, header_count })
    }

    /// The bytes that were read.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The value; null is a tombstone on a compacted topic.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// How many headers there are.
    pub fn header_count(&self) -> usize {
        self.header_count
    }

    /// Headers in order: name and value. Names need not be UTF-8 here.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone + use<'a> {
        let reader = self.headers.clone();
        (0..self.header_count).scan(reader, |r, _| read_header(r).ok())
    }
}

impl PartialEq for Tail<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Tail<'_> {}

/// Appends a tail.
#[inline]
pub fn put_tail<'h>(
    out: &mut Vec<u8>,
    value: Option<&[u8]>,
    headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone,
) {
    put_nullable(out, value);
    out.put_varlong(headers.clone().count() as i64);
    for (name, value) in headers {
        put_nullable(out, Some(name));
        put_nullable(out, value);
    }
}

/// How many bytes [`put_tail`] writes.
#[inline]
pub fn tail_len<'h>(
    value: Option<&[u8]>,
    headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>,
) -> usize {
    let (mut count, mut length) = (0, nullable_len(value));
    for (name, value) in headers {
        count += 1;
        length += nullable_len(Some(name)) + nullable_len(value);
    }
    length + varlong_len(count)
}

/// A varint length, -1 for null, and that many bytes: keys, values and the parts of headers.
#[inline]
pub(crate) fn read_nullable<'a>(r: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Malformed> {
    match r.varint()? {
        -1 => Ok(None),
        n => Ok(Some(r.take(usize::try_from(n).map_err(|_| Malformed::BadLength)?)?)),
    }
}

fn read_header<'a>(r: &mut Reader<'a>) -> Result<(&'a [u8], Option<&'a [u8]>), Malformed> {
    let name = read_nullable(r)?.ok_or(Malformed::BadLength)?;
    Ok((name, read_nullable(r)?))
}

pub(crate) fn nullable_len(v: Option<&[u8]>) -> usize {
    match v {
        None => 1,
        Some(v) => varlong_len(v.len() as i64) + v.len(),
    }
}

pub(crate) fn put_nullable(out: &mut Vec<u8>, v: Option<&[u8]>) {
    match v {
        None => out.put_varint(-1),
        Some(v) => {
            out.put_varlong(v.len() as i64);
            out.extend_from_slice(v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: [(&[u8], Option<&[u8]>); 2] = [(b"h", Some(b"x")), (b"null", None)];

    fn tails() -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for value in [None, Some(&b""[..]), Some(b"value")] {
            for headers in [&HEADERS[..0], &HEADERS] {
                let mut out = Vec::new();
                put_tail(&mut out, value, headers.iter().copied());
                assert_eq!(out.len(), tail_len(value, headers.iter().copied()));
                let tail = Tail::read(&out).unwrap();
                assert_eq!((tail.value(), tail.header_count()), (value, headers.len()));
                assert!(tail.headers().eq(headers.iter().copied()));
                all.push(out);
            }
        }
        all
    }

    #[test]
    fn a_tail_reads_back_and_no_shorter_or_longer_one_is_taken() {
        for bytes in tails() {
            for cut in 0..bytes.len() {
                assert!(Tail::read(&bytes[..cut]).is_err(), "{bytes:?} cut at {cut}");
            }
            assert_eq!(Tail::read(&[&bytes[..], b"x"].concat()), Err(Malformed::Trailing));
        }
    }

    #[test]
    fn a_flipped_bit_never_reaches_outside_the_tail() {
        for good in tails() {
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                if let Ok(tail) = Tail::read(&bad) {
                    let names: usize = tail.headers().map(|(n, v)| n.len() + v.map_or(0, <[u8]>::len)).sum();
                    assert!(tail.value().map_or(0, <[u8]>::len) + names < bad.len(), "bit {bit}");
                    assert_eq!(tail.headers().count(), tail.header_count());
                }
            }
        }
    }

    #[test]
    fn counts_and_lengths_that_cannot_be_are_refused() {
        assert_eq!(Tail::read(&[3]), Err(Malformed::BadLength), "a value of -2 bytes");
        assert_eq!(Tail::read(&[0, 1]), Err(Malformed::BadLength), "-1 headers");
        assert_eq!(Tail::read(&[0, 2, 1, 0]), Err(Malformed::BadLength), "a header without a name");
        assert_eq!(Tail::read(&[0, 0xfe, 0xff, 0xff, 0xff, 0x0f]), Err(Malformed::Short), "2^31-1 headers");
    }
}
