//! What stands before every request and every answer.
//!
//! ```text
//! request   key i16 | version i16 | correlation id i32 | client id text | tagged fields, if the version is flexible
//! answer    correlation id i32 | tagged fields, if the version is flexible
//! ```
//!
//! Two exceptions: the client id keeps its length of two bytes in flexible versions, too; and an answer to ApiVersions
//! never has tagged fields here, because a client reads it before it knows which versions we speak.

use super::table::{self, API_VERSIONS};
use super::wire::{Field, Layout, Malformed, Out, Reader, Tags};

/// The header of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// Which API.
    pub key: i16,
    /// Which version of it.
    pub version: i16,
    /// Chosen by the client; the answer repeats it.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<&'a str>,
}

/// Numbers and the client id do not depend on the version.
const PLAIN: Layout = Layout { version: 0, flexible: false };

impl<'a> RequestHeader<'a> {
    /// Takes the header from the front of a request. For a key that we do not know, the tagged fields, if there are
    /// any, stay with the body, which nobody can read anyway.
    pub fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        let header = Self {
            key: i16::read(from, PLAIN)?,
            version: i16::read(from, PLAIN)?,
            correlation_id: i32::read(from, PLAIN)?,
            client_id: Option::read(from, PLAIN)?,
        };
        if table::is_flexible(header.key, header.version) {
            from.tagged(|_, _| Ok(false))?;
        }
        Ok(header)
    }

    /// Appends the header.
    pub fn write(self, out: &mut Out) {
        self.key.write(out, PLAIN);
        self.version.write(out, PLAIN);
        self.correlation_id.write(out, PLAIN);
        self.client_id.write(out, PLAIN);
        if table::is_flexible(self.key, self.version) {
            Tags::default().write(out);
        }
    }
}

/// Takes the header from the front of an answer to this API in this version; returns the correlation id.
pub fn read_response(key: i16, version: i16, from: &mut Reader<'_>) -> Result<i32, Malformed> {
    let correlation_id = i32::read(from, PLAIN)?;
    if key != API_VERSIONS && table::is_flexible(key, version) {
        from.tagged(|_, _| Ok(false))?;
    }
    Ok(correlation_id)
}

/// Appends the header of an answer to this API in this version.
pub fn write_response(key: i16, version: i16, correlation_id: i32, out: &mut Out) {
    correlation_id.write(out, PLAIN);
    if key != API_VERSIONS && table::is_flexible(key, version) {
        Tags::default().write(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<(RequestHeader<'_>, &[u8]), Malformed> {
        let mut from = Reader::new(bytes);
        let header = RequestHeader::read(&mut from)?;
        Ok((header, from.rest()))
    }

    #[test]
    fn a_flexible_request_has_tagged_fields_behind_its_client_id() {
        let header = |key, version| RequestHeader { key, version, correlation_id: 7, client_id: Some("me") };
        // Metadata is flexible from version 9 on. One tagged field that nobody knows.
        let flexible = [0, 3, 0, 9, 0, 0, 0, 7, 0, 2, b'm', b'e', 1, 5, 1, 0xff, b'!'];
        assert_eq!(read(&flexible), Ok((header(3, 9), &b"!"[..])));
        let old = [0, 3, 0, 8, 0, 0, 0, 7, 0, 2, b'm', b'e', b'!'];
        assert_eq!(read(&old), Ok((header(3, 8), &b"!"[..])));
        let unknown = [0x70, 3, 0, 9, 0, 0, 0, 7, 0, 2, b'm', b'e', b'!'];
        assert_eq!(read(&unknown), Ok((header(0x7003, 9), &b"!"[..])));
        for cut in 0..16 {
            assert_eq!(read(&flexible[..cut]), Err(Malformed::Short), "{cut} bytes");
        }
        let length_of_minus_two = [0, 3, 0, 9, 0, 0, 0, 7, 0xff, 0xfe];
        assert_eq!(read(&length_of_minus_two), Err(Malformed::Length));
    }

    #[test]
    fn an_answer_to_api_versions_has_the_old_header_in_every_version() {
        for (key, version, expected) in
            [(3, 8, &[0, 0, 0, 7][..]), (3, 9, &[0, 0, 0, 7, 0]), (18, 4, &[0, 0, 0, 7])]
        {
            let mut out = Out::default();
            write_response(key, version, 7, &mut out);
            assert_eq!(out.bytes, expected);
            let mut from = Reader::new(expected);
            assert_eq!((read_response(key, version, &mut from), from.end()), (Ok(7), Ok(())));
        }
    }
}
