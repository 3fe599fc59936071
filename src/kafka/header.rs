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
