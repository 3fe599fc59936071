//! Where a native message ends: `size u32 | type u32 | payload`, big-endian, `size` counting what follows it.
//!
//! Invariant: [`split`] looks at eight bytes at most before it knows whether the frame may be waited for, so a stranger
//! who declares a huge or foreign frame costs nothing.

/// Upper half of every native frame type, "KR": tells the native language from Kafka and HTTP by the first bytes.
pub const MAGIC: u16 = 0x4b52;
/// Bytes of the size field.
pub const SIZE: usize = 4;
/// Bytes of size and type together.
pub const HEAD: usize = 8;
/// Smallest value of the size field: the type, and the stream and correlation that begin every payload.
pub const SMALLEST: u32 = 12;

/// The connection broke the framing and cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// The upper half of the type is not [`MAGIC`].
    NotNative,
    /// Too small to hold stream and correlation.
    TooSmall(u32),
    /// Larger than the limit given to [`split`].
    TooLarge(u32),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FrameError::NotNative => f.write_str("the frame type does not begin with 0x4b52"),
            FrameError::TooSmall(n) => write!(f, "a frame of {n} bytes cannot hold stream and correlation"),
            FrameError::TooLarge(n) => write!(f, "a frame of {n} bytes is above the limit"),
        }
    }
}

impl std::error::Error for FrameError {}

/// What the front of the input holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Split<'a> {
    /// A whole frame: the code (lower half of the type), its payload, and how many bytes to consume.
    Whole {
        /// Which message it is.
        code: u16,
        /// What follows the type.
        payload: &'a [u8],
        /// Bytes of the frame in all.
        consumed: usize,
    },
    /// Not yet; the frame needs this many bytes in all, as far as is known.
    Partial {
        /// Bytes of the frame in all; [`HEAD`] while the size itself has not arrived.
        need: usize,
    },
}

/// Looks for one frame at the front of `input`. `limit` bounds the size field.
pub fn split(input: &[u8], limit: u32) -> Result<Split<'_>, FrameError> {
    let Some(size) = input.first_chunk::<SIZE>() else {
        return Ok(Split::Partial { need: HEAD });
    };
    let size = u32::from_be_bytes(*size);
    if size < SMALLEST {
        return Err(FrameError::TooSmall(size));
    }
    if size > limit {
        return Err(FrameError::TooLarge(size));
    }
    if input.len() >= SIZE + 2 && input[SIZE..SIZE + 2] != MAGIC.to_be_bytes() {
        return Err(FrameError::NotNative);
    }
    let need = SIZE + size as usize;
    match input.get(..need) {
        None => Ok(Split::Partial { need }),
        Some(frame) => Ok(Split::Whole {
            code: u16::from_be_bytes([frame[6], frame[7]]),
            payload: &frame[HEAD..],
            consumed: need,
        }),
    }
}

/// Appends a frame whose payload `body` writes; the size is filled in afterwards.
pub fn write(out: &mut Vec<u8>, code: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let start = begin(out, code);
    body(out);
    finish(out, start, 0);
}

/// Appends the head of a frame and returns where it starts, for [`finish`].
pub fn begin(out: &mut Vec<u8>, code: u16) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; SIZE]);
    out.extend_from_slice(&MAGIC.to_be_bytes());
    out.extend_from_slice(&code.to_be_bytes());
    start
}

/// Fills in the size of the frame that starts at `start`; `more` payload bytes will be sent after `out`.
pub fn finish(out: &mut [u8], start: usize, more: usize) {
    let size = u32::try_from(out.len() - start - SIZE + more).expect("a frame is smaller than 4 GiB");
    out[start..start + SIZE].copy_from_slice(&size.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(code: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, code, |out| out.extend_from_slice(payload));
        out
    }

    #[test]
    fn a_frame_is_found_only_when_it_is_whole() {
        let bytes = frame(3, b"12345678rest");
        for cut in 0..bytes.len() {
            let need = if cut < SIZE { HEAD } else { bytes.len() };
            assert_eq!(split(&bytes[..cut], 100), Ok(Split::Partial { need }), "{cut}");
        }
        let whole = Split::Whole { code: 3, payload: b"12345678rest", consumed: bytes.len() };
        assert_eq!(split(&bytes, 100), Ok(whole));
        let two = [bytes.clone(), frame(4, b"12345678")].concat();
        assert!(matches!(split(&two, 100), Ok(Split::Whole { consumed, .. }) if consumed == bytes.len()));
    }

    #[test]
    fn limits_are_checked_at_their_edges() {
        let bytes = frame(3, &[0; 60]);
        assert!(matches!(split(&bytes, 64), Ok(Split::Whole { .. })));
        assert_eq!(split(&bytes, 63), Err(FrameError::TooLarge(64)));
        assert_eq!(split(&[0, 0, 0, 11], 64), Err(FrameError::TooSmall(11)));
        assert_eq!(split(&[0xff; 4], 64), Err(FrameError::TooLarge(u32::MAX)));
        assert_eq!(split(b"\0\0\0\x20Ka", 64), Err(FrameError::NotNative));
    }

    #[test]
    fn a_flipped_bit_in_the_head_is_another_length_another_code_or_an_error() {
        let good = frame(3, b"12345678");
        for bit in 0..HEAD * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            match split(&bad, 1 << 20) {
                Ok(Split::Whole { code, consumed, .. }) => {
                    assert!(code != 3 || consumed != good.len(), "bit {bit}")
                }
                Ok(Split::Partial { need }) => assert!(need > good.len()),
                Err(_) => {}
            }
        }
    }
}
