//! Records as a plain Publish carries them: one after the other, each with all its fields.
//!
//! Invariant: a [`PlainRecords`] was walked to its last byte when it was decoded, so iterating cannot fail.

use crate::codec::{Malformed, Reader, Writer};

/// Records of a plain Publish. Its content was walked when it was decoded, so iterating cannot fail.
///
/// `count u32 | { timestamp i64 (-1: the broker's clock) | key nullable bytes | value nullable bytes |
/// headers u16 { name string | value nullable bytes } }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainRecords<'a> {
    count: u32,
    bytes: &'a [u8],
}

/// One record of a plain Publish.
#[derive(Debug, Clone)]
pub struct PlainRecord<'a> {
    /// Milliseconds since 1970, or -1 for the broker's clock.
    pub timestamp: i64,
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// The value, or null.
    pub value: Option<&'a [u8]>,
    header_count: u16,
    headers: Reader<'a>,
}

impl<'a> PlainRecord<'a> {
    /// Headers in order: name and value.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone + use<'a> {
        let reader = self.headers.clone();
        (0..self.header_count).scan(reader, |r, _| read_plain_header(r).ok())
    }
}

fn read_plain_header<'a>(r: &mut Reader<'a>) -> Result<(&'a [u8], Option<&'a [u8]>), Malformed> {
    Ok((r.string()?.as_bytes(), r.nullable_bytes()?))
}

fn read_plain_record<'a>(r: &mut Reader<'a>) -> Result<PlainRecord<'a>, Malformed> {
    let timestamp = r.i64()?;
    let key = r.nullable_bytes()?;
    let value = r.nullable_bytes()?;
    let header_count = r.u16()?;
    let headers = r.clone();
    for _ in 0..header_count {
        read_plain_header(r)?;
    }
    Ok(PlainRecord { timestamp, key, value, header_count, headers })
}

impl<'a> PlainRecords<'a> {
    /// Walks `bytes` once; a count of 0 is refused.
    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let count = r.u32()?;
        let bytes = r.rest();
        let mut walk = Reader::new(bytes);
        for _ in 0..count {
            let record = read_plain_record(&mut walk)?;
            if record.timestamp < -1 {
                return Err(Malformed::BadValue);
            }
        }
        walk.end()?;
        if count == 0 { Err(Malformed::BadValue) } else { Ok(Self { count, bytes }) }
    }

    /// Appends the count and the records.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.count);
        out.extend_from_slice(self.bytes);
    }

    /// How many records.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the records as they came.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The records in order.
    pub fn iter(&self) -> impl Iterator<Item = PlainRecord<'a>> + use<'a> {
        let mut r = Reader::new(self.bytes);
        (0..self.count).map(move |_| read_plain_record(&mut r).expect("walked when it was decoded"))
    }
}

/// Collects the records of a plain Publish on the client's side.
#[derive(Debug, Default, Clone)]
pub struct PlainWriter {
    count: u32,
    bytes: Vec<u8>,
}

impl PlainWriter {
    /// Adds one record. `timestamp` -1 asks for the broker's clock.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        self.count += 1;
        self.bytes.put_i64(timestamp);
        self.bytes.put_nullable_bytes(key);
        self.bytes.put_nullable_bytes(value);
        self.bytes.put_u16(u16::try_from(headers.len()).expect("a record has at most 65,535 headers"));
        for (name, value) in headers {
            self.bytes.put_string(name);
            self.bytes.put_nullable_bytes(*value);
        }
    }

    /// The records as a request carries them.
    pub fn records(&self) -> PlainRecords<'_> {
        PlainRecords { count: self.count, bytes: &self.bytes }
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.count = 0;
        self.bytes.clear();
    }
}
