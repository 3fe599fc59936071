//! A reader over a slice and a writer over a `Vec`, big-endian, for the native protocol and record batches.
//!
//! Invariant: a `Reader` never looks past its slice and never allocates; a declared length is only ever
//! compared with the bytes that are really there.

/// Why bytes could not be read as the value that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The value reaches past the end of the bytes.
    Short,
    /// A length is negative where null is not allowed, or below -1.
    BadLength,
    /// A string is not UTF-8.
    NotUtf8,
    /// A varint is longer than its type allows.
    BadVarint,
    /// An enumeration or flag has a value that the protocol does not define.
    BadValue,
    /// Bytes are left over after the last field.
    Trailing,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Malformed::Short => "a field reaches past the end of its message",
            Malformed::BadLength => "a length is out of range",
            Malformed::NotUtf8 => "a string is not UTF-8",
            Malformed::BadVarint => "a varint is too long",
            Malformed::BadValue => "a field has an undefined value",
            Malformed::Trailing => "bytes are left over after the last field",
        })
    }
}

impl std::error::Error for Malformed {}

/// Reads values from the front of a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Takes exactly `n` bytes.
    #[inline]
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.bytes.split_at_checked(n).ok_or(Malformed::Short)?;
        self.bytes = tail;
        Ok(head)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.bytes.split_first_chunk::<N>().ok_or(Malformed::Short)?;
        self.bytes = tail;
        Ok(*head)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Two bytes, signed.
    #[inline]
    pub fn i16(&mut self) -> Result<i16, Malformed> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// Four bytes.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Four bytes, signed.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Eight bytes.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Eight bytes, signed.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A `u16` length and that many bytes of UTF-8.
    pub fn string(&mut self) -> Result<&'a str, Malformed> {
        let n = self.u16()?;
        std::str::from_utf8(self.take(n as usize)?).map_err(|_| Malformed::NotUtf8)
    }

    /// A `u32` length and that many bytes.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let n = self.u32()?;
        self.take(n as usize)
    }

    /// An `i32` length, -1 for null, and that many bytes.
    #[inline]
    pub fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.i32()? {
            -1 => Ok(None),
            n => Ok(Some(self.take(usize::try_from(n).map_err(|_| Malformed::BadLength)?)?)),
        }
    }

    /// A zig-zag varint of at most five bytes, as records use it.
    #[inline]
    pub fn varint(&mut self) -> Result<i32, Malformed> {
        let raw = self.unsigned_varint(5)?;
        let raw = u32::try_from(raw).map_err(|_| Malformed::BadVarint)?;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    /// A zig-zag varint of at most ten bytes, as records use it.
    #[inline]
    pub fn varlong(&mut self) -> Result<i64, Malformed> {
        let raw = self.unsigned_varint(10)?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    #[inline]
    fn unsigned_varint(&mut self, most: usize) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for i in 0..most {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            // The tenth byte of a varlong has room for one bit.
            if i == 9 && part > 1 {
                return Err(Malformed::BadVarint);
            }
            value |= part << (7 * i);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::BadVarint)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// Fails when bytes are left over.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }
}

/// Appends values to a `Vec`; the mirror of [`Reader`].
pub trait Writer {
    /// One byte.
    fn put_u8(&mut self, v: u8);
    /// Two bytes.
    fn put_u16(&mut self, v: u16);
    /// Two bytes, signed.
    fn put_i16(&mut self, v: i16);
    /// Four bytes.
    fn put_u32(&mut self, v: u32);
    /// Four bytes, signed.
    fn put_i32(&mut self, v: i32);
    /// Eight bytes.
    fn put_u64(&mut self, v: u64);
    /// Eight bytes, signed.
    fn put_i64(&mut self, v: i64);
    /// A `u16` length and the string. Longer than 65,535 bytes is a bug of the caller.
    fn put_string(&mut self, v: &str);
    /// A `u32` length and the bytes.
    fn put_bytes(&mut self, v: &[u8]);
    /// An `i32` length, -1 for null, and the bytes.
    fn put_nullable_bytes(&mut self, v: Option<&[u8]>);
    /// A zig-zag varint.
    fn put_varint(&mut self, v: i32);
    /// A zig-zag varint of 64 bits.
    fn put_varlong(&mut self, v: i64);
}

impl Writer for Vec<u8> {
    #[inline]
    fn put_u8(&mut self, v: u8) {
        self.push(v);
    }
    #[inline]
    fn put_u16(&mut self, v: u16) {
        self.extend_from_slice(&v.to_be_bytes());
    }
    #[inline]
    fn put_i16(&mut self, v: i16) {
        self.extend_from_slice(&v.to_be_bytes());
    }
    #[inline]
    fn put_u32(&mut self, v: u32) {
        self.extend_from_slice(&v.to_be_bytes());
    }
    #[inline]
    fn put_i32(&mut self, v: i32) {
        self.extend_from_slice(&v.to_be_bytes());
    }
    #[inline]
    fn put_u64(&mut self, v: u64) {
        self.extend_from_slice(&v.to_be_bytes());
    }
    #[inline]
    fn put_i64(&mut self, v: i64) {
        self.extend_from_slice(&v.to_be_bytes());
    }
    fn put_string(&mut self, v: &str) {
        let n = u16::try_from(v.len()).expect("a protocol string is at most 65,535 bytes");
        self.put_u16(n);
        self.extend_from_slice(v.as_bytes());
    }
    fn put_bytes(&mut self, v: &[u8]) {
        let n = u32::try_from(v.len()).expect("protocol bytes are at most 4 GiB");
        self.put_u32(n);
        self.extend_from_slice(v);
    }
    fn put_nullable_bytes(&mut self, v: Option<&[u8]>) {
        match v {
            None => self.put_i32(-1),
            Some(v) => {
                self.put_i32(i32::try_from(v.len()).expect("nullable bytes are at most 2 GiB"));
                self.extend_from_slice(v);
            }
        }
    }
    #[inline]
    fn put_varint(&mut self, v: i32) {
        self.put_varlong(i64::from(v));
    }
    #[inline]
    fn put_varlong(&mut self, v: i64) {
        let mut raw = ((v << 1) ^ (v >> 63)) as u64;
        while raw >= 0x80 {
            self.push(raw as u8 | 0x80);
            raw >>= 7;
        }
        self.push(raw as u8);
    }
}

/// How many bytes [`Writer::put_varlong`] writes for `v`.
#[inline]
pub fn varlong_len(v: i64) -> usize {
    let raw = ((v << 1) ^ (v >> 63)) as u64;
    ((64 - (raw | 1).leading_zeros()) as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_and_know_their_length() {
        let edges =
            [0, 1, -1, 63, 64, -64, -65, 8191, 8192, i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN];
        for v in edges {
            let mut out = Vec::new();
            out.put_varlong(v);
            assert_eq!(out.len(), varlong_len(v), "{v}");
            let mut r = Reader::new(&out);
            assert_eq!(r.varlong(), Ok(v));
            assert_eq!(r.end(), Ok(()));
            if let Ok(v) = i32::try_from(v) {
                assert_eq!(Reader::new(&out).varint(), Ok(v));
            }
            for cut in 0..out.len() {
                assert_eq!(Reader::new(&out[..cut]).varlong(), Err(Malformed::Short));
            }
        }
    }

    #[test]
    fn overlong_varints_are_refused() {
        assert_eq!(Reader::new(&[0x80; 5]).varint(), Err(Malformed::BadVarint));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x7f]).varint(), Err(Malformed::BadVarint));
        assert_eq!(Reader::new(&[0xff; 11]).varlong(), Err(Malformed::BadVarint));
        let mut two_in_the_tenth = [0x80; 10];
        two_in_the_tenth[9] = 2;
        assert_eq!(Reader::new(&two_in_the_tenth).varlong(), Err(Malformed::BadVarint));
    }

    #[test]
    fn lengths_are_checked_against_what_is_there() {
        assert_eq!(Reader::new(&[0xff, 0xff, b'a']).string(), Err(Malformed::Short));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 1]).bytes(), Err(Malformed::Short));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xfe]).nullable_bytes(), Err(Malformed::BadLength));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff]).nullable_bytes(), Ok(None));
        assert_eq!(Reader::new(&[0, 1, 0xff]).string(), Err(Malformed::NotUtf8));
    }
}
