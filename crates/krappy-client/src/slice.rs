//! A piece of a received frame that keeps the frame alive, so that keys and values are not copied.

use std::sync::Arc;

/// Bytes inside a shared buffer. Dereferences to `[u8]`; cloning counts a reference and copies nothing.
///
/// A slice keeps its whole frame in memory (up to some MiB). Copy it out with `to_vec` to hold on to a few bytes for
/// long.
///
/// ```
/// use krappy_client::Slice;
///
/// let slice = Slice::from(b"hello".to_vec());
/// assert_eq!(&slice[1..3], b"el");
/// assert_eq!(slice, slice.clone());
/// ```
#[derive(Clone)]
pub struct Slice {
    buffer: Arc<Vec<u8>>,
    start: usize,
    end: usize,
}

impl Slice {
    /// `part` must lie inside `buffer`.
    pub(crate) fn of(buffer: &Arc<Vec<u8>>, part: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(buffer.as_ptr().addr());
        assert!(
            start <= buffer.len() && part.len() <= buffer.len() - start,
            "a slice lies inside its buffer"
        );
        Self { buffer: Arc::clone(buffer), start, end: start + part.len() }
    }
}

impl std::ops::Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for Slice {
    fn from(bytes: Vec<u8>) -> Self {
        let end = bytes.len();
        Self { buffer: Arc::new(bytes), start: 0, end }
    }
}

impl PartialEq for Slice {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Slice {}

impl PartialEq<[u8]> for Slice {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl<const N: usize> PartialEq<[u8; N]> for Slice {
    fn eq(&self, other: &[u8; N]) -> bool {
        **self == *other
    }
}

impl std::fmt::Debug for Slice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_outlives_the_handle_to_its_buffer() {
        let buffer = Arc::new(b"0123456789".to_vec());
        let middle = Slice::of(&buffer, &buffer[3..6]);
        let empty_at_end = Slice::of(&buffer, &buffer[10..]);
        drop(buffer);
        assert_eq!(middle, *b"345");
        assert!(empty_at_end.is_empty());
        assert_eq!(format!("{middle:?}"), "b\"345\"");
    }

    #[test]
    #[should_panic(expected = "inside its buffer")]
    fn a_slice_of_something_else_is_a_bug() {
        let buffer = Arc::new(vec![0; 4]);
        Slice::of(&buffer, &[1, 2, 3]);
    }
}
