//! How Kafka's protocol writes its types: numbers, text, bytes, arrays, records, tagged fields.
//!
//! Invariants: a [`Reader`] borrows what it reads and never takes memory for a count that was only declared: an array
//! grows with the items that are really there, and all arrays of a message together hold at most [`MAX_ITEMS`]. Records
//! that leave as a [`Chunk`] are never copied.
//!
//! A message exists in versions, and from some version on in the *flexible* layout. The same three values, `"ab"`, null
//! and the array `[7]`, in both:
//!
//! ```text
//!           "ab" (text)        null (text)   [7] (array of i32)
//! before    00 02 61 62        ff ff         00 00 00 01  00 00 00 07      lengths are i16 or i32, -1 is null
//! flexible  03 61 62           00            02  00 00 00 07               length + 1 as a varint, 0 is null
//! ```
//!
//! In the flexible layout every struct ends with its tagged fields: how many there are, then for each its number, its
//! size and its value, all numbers varints. A reader skips those that it does not know.

use std::borrow::Cow;

use crate::chunk::Chunk;
use crate::output::Output;

/// Items that the arrays of one message may hold together. Protects memory and the turn: an item can take a hundred
/// times as much memory as it takes bytes. A request that has more is refused.
pub const MAX_ITEMS: usize = 100_000;
/// Bytes of one tagged field. Those that exist are small, so a larger one is not honest.
pub const MAX_TAGGED: usize = 128 << 10;
/// Bytes of a text: what fits the length of the older layout, so that whatever was read can be written in any version.
pub const MAX_TEXT: usize = i16::MAX as usize;

/// Text of an answer: part of the request that it answers, a constant, or its own.
pub type Text<'a> = Cow<'a, str>;

/// Bytes of an answer that mean nothing to the broker: part of the request, or its own.
pub type Bytes<'a> = Cow<'a, [u8]>;

/// Why bytes are not the message that they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The value reaches past the end of the bytes.
    Short,
    /// Null, where this version does not allow it.
    Null,
    /// A length is below -1, or a text is longer than [`MAX_TEXT`].
    Length,
    /// A text is not UTF-8.
    NotUtf8,
    /// A varint does not fit 32 bits, or is longer than it has to be.
    Varint,
    /// The arrays hold more than [`MAX_ITEMS`].
    TooMany,
    /// Tagged fields are not in ascending order, or one is larger than [`MAX_TAGGED`].
    Tagged,
    /// Bytes are left over.
    Trailing,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Malformed::Short => "a field reaches past the end of its message",
            Malformed::Null => "a field is null that may not be null in this version",
            Malformed::Length => "a length is out of range",
            Malformed::NotUtf8 => "a text is not UTF-8",
            Malformed::Varint => "a varint is too long",
            Malformed::TooMany => "the arrays of the message hold too many items",
            Malformed::Tagged => "tagged fields are out of order or too large",
            Malformed::Trailing => "bytes are left over after the last field",
        })
    }
}

impl std::error::Error for Malformed {}

/// Which of its layouts a message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Decides which fields there are.
    pub version: i16,
    /// Whether lengths are varints and structs end with tagged fields.
    pub flexible: bool,
}

/// A value that can stand in a message.
pub trait Field<'a>: Sized {
    /// Takes the value from the front.
    fn read(from: &mut Reader<'a>, layout: Layout) -> Result<Self, Malformed>;

    /// Appends the value.
    fn write(self, out: &mut Out, layout: Layout);

    /// Whether this is null.
    fn is_null(&self) -> bool {
        false
    }
}

/// A value whose length, or whose first byte, can say that it is null; `Option` makes a [`Field`] of it that may be.
pub trait Nullable<'a>: Sized {
    /// Takes the value, or null, from the front.
    fn read_nullable(from: &mut Reader<'a>, layout: Layout) -> Result<Option<Self>, Malformed>;

    /// Appends the value, or null.
    fn write_nullable(value: Option<Self>, out: &mut Out, layout: Layout);
}

/// Reads values from the front of a message.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    /// How many items arrays may still have.
    items: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, items: MAX_ITEMS }
    }

    /// Takes exactly `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.bytes.split_at_checked(n).ok_or(Malformed::Short)?;
        self.bytes = tail;
        Ok(head)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// Fails when bytes are left over.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }

    /// Takes tagged fields. `known` is shown each number and reads the value if it knows the number; it says whether it
    /// does.
    pub fn tagged(
        &mut self,
        mut known: impl FnMut(u32, &mut Self) -> Result<bool, Malformed>,
    ) -> Result<(), Malformed> {
        let mut least = 0;
        for _ in 0..self.varint()? {
            let number = self.varint()?;
            let size = self.varint()? as usize;
            if number < least || size > MAX_TAGGED {
                return Err(Malformed::Tagged);
            }
            least = number.saturating_add(1);
            let value = self.take(size)?;
            let behind = std::mem::replace(&mut self.bytes, value);
            if known(number, self)? {
                self.end()?;
            }
            self.bytes = behind;
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.bytes.split_first_chunk::<N>().ok_or(Malformed::Short)?;
        self.bytes = tail;
        Ok(*head)
    }

    /// An unsigned number, seven bits in each byte, the lowest first. There is one way to write each number.
    #[inline(never)]
    fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let padded = byte == 0 && shift > 0;
                return u32::try_from(value).ok().filter(|_| !padded).ok_or(Malformed::Varint);
            }
        }
        Err(Malformed::Varint)
    }

    /// The length of bytes or of an array; `None` is null.
    fn length(&mut self, layout: Layout) -> Result<Option<usize>, Malformed> {
        if layout.flexible {
            return Ok((self.varint()? as usize).checked_sub(1));
        }
        length_or_null(i32::from_be_bytes(self.array()?))
    }

    /// The length of a text; `None` is null.
    fn text_length(&mut self, layout: Layout) -> Result<Option<usize>, Malformed> {
        let length = match layout.flexible {
            true => (self.varint()? as usize).checked_sub(1),
            false => length_or_null(i32::from(i16::from_be_bytes(self.array()?)))?,
        };
        if length.is_some_and(|n| n > MAX_TEXT) { Err(Malformed::Length) } else { Ok(length) }
    }
}

fn length_or_null(length: i32) -> Result<Option<usize>, Malformed> {
    if length == -1 { Ok(None) } else { usize::try_from(length).map(Some).map_err(|_| Malformed::Length) }
}

/// A message on its way out: bytes, and the chunks of records that stand between them.
#[derive(Debug, Default)]
pub struct Out {
    /// Everything but the chunks.
    pub bytes: Vec<u8>,
    /// Each stands before the byte of `bytes` with this index; in ascending order.
    pub chunks: Vec<(usize, Chunk)>,
}

impl Out {
    /// How many bytes will leave.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.chunks.iter().map(|(_, chunk)| chunk.len()).sum::<usize>()
    }

    /// Whether nothing will leave.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A message whose first four bytes will be its size; see [`Out::seal`].
    pub fn frame() -> Self {
        Self { bytes: vec![0; 4], chunks: Vec::new() }
    }

    /// Puts the size of all that follows into the first four bytes.
    pub fn seal(&mut self) {
        let size = i32::try_from(self.len() - 4).expect("an answer is shorter than 2 GiB");
        self.bytes[..4].copy_from_slice(&size.to_be_bytes());
    }

    /// Queues everything behind what the connection has to send already.
    pub fn send(self, output: &mut Output) {
        let mut sent = 0;
        for (at, chunk) in self.chunks {
            output.gather().extend_from_slice(&self.bytes[sent..at]);
            output.push_chunk(chunk);
            sent = at;
        }
        output.gather().extend_from_slice(&self.bytes[sent..]);
    }

    /// Everything in one piece, with copies of the chunks.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len());
        let mut copied = 0;
        for (at, chunk) in &self.chunks {
            all.extend_from_slice(&self.bytes[copied..*at]);
            all.extend_from_slice(chunk.as_slice());
            copied = *at;
        }
        all.extend_from_slice(&self.bytes[copied..]);
        all
    }

    /// Appends a number. A call, and not its code in every place: seventy messages are made of numbers.
    #[inline(never)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes.extend_from_slice(&bytes);
    }

    #[inline(never)]
    fn length(&mut self, length: Option<usize>, layout: Layout) {
        let length = length.map(|n| i32::try_from(n).expect("what a message holds is shorter than 2 GiB"));
        match layout.flexible {
            true => put_varint(&mut self.bytes, length.map_or(0, |n| n as u32 + 1)),
            false => self.bytes.extend_from_slice(&length.unwrap_or(-1).to_be_bytes()),
        }
    }
}

/// Tagged fields of one struct, gathered while its other fields are written, in ascending order of their numbers.
#[derive(Debug, Default)]
pub struct Tags {
    count: u32,
    fields: Vec<u8>,
}

impl Tags {
    /// Adds a field. Its size stands before its value, so the value is written on its own first.
    pub fn add<'a>(&mut self, number: u32, value: impl Field<'a>, layout: Layout) {
        let mut alone = Out::default();
        value.write(&mut alone, layout);
        assert!(alone.chunks.is_empty(), "no tagged field holds records");
        self.count += 1;
        put_varint(&mut self.fields, number);
        put_varint(&mut self.fields, alone.bytes.len() as u32);
        self.fields.extend_from_slice(&alone.bytes);
    }

    /// Ends a struct with what was gathered.
    #[inline(never)]
    pub fn write(self, out: &mut Out) {
        put_varint(&mut out.bytes, self.count);
        out.bytes.extend_from_slice(&self.fields);
    }
}

#[inline(never)]
fn put_varint(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

macro_rules! numbers {
    ($($kind:ty)*) => {$(
        impl Field<'_> for $kind {
            fn read(from: &mut Reader<'_>, _: Layout) -> Result<Self, Malformed> {
                Ok(<$kind>::from_be_bytes(from.array()?))
            }
            fn write(self, out: &mut Out, _: Layout) {
                out.put(self.to_be_bytes());
            }
        }
    )*};
}

numbers! { i8 i16 u16 i32 u32 i64 f64 }

/// As in Kafka, everything but 0 is true.
impl Field<'_> for bool {
    fn read(from: &mut Reader<'_>, _: Layout) -> Result<Self, Malformed> {
        Ok(from.array()? != [0])
    }
    fn write(self, out: &mut Out, _: Layout) {
        out.put([self.into()]);
    }
}

/// The id of a topic or of a folder; all zeros: none.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl Field<'_> for Uuid {
    fn read(from: &mut Reader<'_>, _: Layout) -> Result<Self, Malformed> {
        Ok(Self(from.array()?))
    }
    fn write(self, out: &mut Out, _: Layout) {
        out.put(self.0);
    }
}

impl<'a, T: Nullable<'a>> Field<'a> for Option<T> {
    fn read(from: &mut Reader<'a>, layout: Layout) -> Result<Self, Malformed> {
        T::read_nullable(from, layout)
    }
    fn write(self, out: &mut Out, layout: Layout) {
        T::write_nullable(self, out, layout);
    }
    fn is_null(&self) -> bool {
        self.is_none()
    }
}

impl<'a> Nullable<'a> for &'a str {
    #[inline(never)]
    fn read_nullable(from: &mut Reader<'a>, layout: Layout) -> Result<Option<Self>, Malformed> {
        let Some(length) = from.text_length(layout)? else { return Ok(None) };
        std::str::from_utf8(from.take(length)?).map(Some).map_err(|_| Malformed::NotUtf8)
    }

    /// Text that is too long is cut: it is a message to a person, perhaps one that repeats what a client has sent.
    #[inline(never)]
    fn write_nullable(value: Option<Self>, out: &mut Out, layout: Layout) {
        let value = value.map(cut);
        match layout.flexible {
            true => out.length(value.map(str::len), layout),
            false => (value.map_or(-1, |text| text.len() as i16)).write(out, layout),
        }
        out.bytes.extend_from_slice(value.unwrap_or_default().as_bytes());
    }
}

fn cut(text: &str) -> &str {
    let most = text.len().min(MAX_TEXT);
    let end = (0..=most).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or_default()]
}

impl<'a> Nullable<'a> for Text<'a> {
    fn read_nullable(from: &mut Reader<'a>, layout: Layout) -> Result<Option<Self>, Malformed> {
        Ok(<&str>::read_nullable(from, layout)?.map(Cow::Borrowed))
    }
    fn write_nullable(value: Option<Self>, out: &mut Out, layout: Layout) {
        <&str>::write_nullable(value.as_deref(), out, layout);
    }
}

impl<'a> Nullable<'a> for Bytes<'a> {
    fn read_nullable(from: &mut Reader<'a>, layout: Layout) -> Result<Option<Self>, Malformed> {
        Ok(<&[u8]>::read_nullable(from, layout)?.map(Cow::Borrowed))
    }
    fn write_nullable(value: Option<Self>, out: &mut Out, layout: Layout) {
        <&[u8]>::write_nullable(value.as_deref(), out, layout);
    }
}

impl<'a> Nullable<'a> for &'a [u8] {
    fn read_nullable(from: &mut Reader<'a>, layout: Layout) -> Result<Option<Self>, Malformed> {
        from.length(layout)?.map(|length| from.take(length)).transpose()
    }
    #[inline(never)]
    fn write_nullable(value: Option<Self>, out: &mut Out, layout: Layout) {
        out.length(value.map(<[u8]>::len), layout);
        out.bytes.extend_from_slice(value.unwrap_or_default());
    }
}

impl<'a, T: Field<'a>> Nullable<'a> for Vec<T> {
    fn read_nullable(from: &mut Reader<'a>, layout: Layout) -> Result<Option<Self>, Malformed> {
        let Some(count) = from.length(layout)? else { return Ok(None) };
        // Every item takes a byte at least.
        if count > from.bytes.len() {
            return Err(Malformed::Short);
        }
        from.items = from.items.checked_sub(count).ok_or(Malformed::TooMany)?;
        // The first push would take room for four, and most arrays have one item.
        let mut items = Vec::with_capacity(count.min(4));
        for _ in 0..count {
            items.push(T::read(from, layout)?);
        }
        Ok(Some(items))
    }

    fn write_nullable(value: Option<Self>, out: &mut Out, layout: Layout) {
        out.length(value.as_ref().map(Vec::len), layout);
        value.into_iter().flatten().for_each(|item| item.write(out, layout));
    }
}

macro_rules! never_null {
    ($([$($generic:tt)*] $kind:ty;)*) => {$(
        impl<'a, $($generic)*> Field<'a> for $kind {
            fn read(from: &mut Reader<'a>, layout: Layout) -> Result<Self, Malformed> {
                Self::read_nullable(from, layout)?.ok_or(Malformed::Null)
            }
            fn write(self, out: &mut Out, layout: Layout) {
                Self::write_nullable(Some(self), out, layout);
            }
        }
    )*};
}

never_null! {
    [] &'a str;
    [] Text<'a>;
    [] &'a [u8];
    [] Bytes<'a>;
    [T: Field<'a>] Vec<T>;
}

/// Record batches, back to back.
#[derive(Debug)]
pub enum Records<'a> {
    /// Not even an empty sequence. Some clients do not survive this in an answer.
    Null,
    /// Bytes of a message that was read, or that is being made for a test.
    Bytes(&'a [u8]),
    /// Bytes that lie elsewhere and leave from there.
    Chunk(Chunk),
}

impl Records<'_> {
    /// The bytes; `None` is null.
    pub fn as_slice(&self) -> Option<&[u8]> {
        match self {
            Records::Null => None,
            Records::Bytes(bytes) => Some(bytes),
            Records::Chunk(chunk) => Some(chunk.as_slice()),
        }
    }
}

impl Default for Records<'_> {
    fn default() -> Self {
        Records::Bytes(&[])
    }
}

impl PartialEq for Records<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<'a> Field<'a> for Records<'a> {
    fn read(from: &mut Reader<'a>, layout: Layout) -> Result<Self, Malformed> {
        Ok(<&[u8]>::read_nullable(from, layout)?.map_or(Records::Null, Records::Bytes))
    }

    fn write(self, out: &mut Out, layout: Layout) {
        match self {
            Records::Chunk(chunk) => {
                out.length(Some(chunk.len()), layout);
                out.chunks.push((out.bytes.len(), chunk));
            }
            bytes => <&[u8]>::write_nullable(bytes.as_slice(), out, layout),
        }
    }

    fn is_null(&self) -> bool {
        matches!(self, Records::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Layout = Layout { version: 0, flexible: false };
    const FLEXIBLE: Layout = Layout { version: 1, flexible: true };

    fn written<'a>(value: impl Field<'a>, layout: Layout) -> Vec<u8> {
        let mut out = Out::default();
        value.write(&mut out, layout);
        out.to_vec()
    }

    fn read<'a, F: Field<'a>>(bytes: &'a [u8], layout: Layout) -> Result<F, Malformed> {
        let mut from = Reader::new(bytes);
        let value = F::read(&mut from, layout)?;
        from.end()?;
        Ok(value)
    }

    #[track_caller]
    fn travels<'a, F: Field<'a> + Clone + PartialEq + std::fmt::Debug>(
        value: F,
        layout: Layout,
        bytes: &'a [u8],
    ) {
        assert_eq!(written(value.clone(), layout), bytes);
        assert_eq!(read(bytes, layout), Ok(value));
        for cut in 0..bytes.len() {
            assert_eq!(read::<F>(&bytes[..cut], layout).err(), Some(Malformed::Short), "{cut} bytes");
        }
    }

    #[test]
    fn values_travel_as_the_drawing_shows() {
        travels("ab", OLD, &[0, 2, b'a', b'b']);
        travels("ab", FLEXIBLE, &[3, b'a', b'b']);
        travels(None::<&str>, OLD, &[0xff, 0xff]);
        travels(None::<&str>, FLEXIBLE, &[0]);
        travels(vec![7i32], OLD, &[0, 0, 0, 1, 0, 0, 0, 7]);
        travels(vec![7i32], FLEXIBLE, &[2, 0, 0, 0, 7]);
        travels(None::<Vec<i32>>, OLD, &[0xff; 4]);
        travels(Some(vec![Some(Text::from("x")), None]), FLEXIBLE, &[3, 2, b'x', 0]);
        travels(&b"ab"[..], OLD, &[0, 0, 0, 2, b'a', b'b']);
        travels(None::<&[u8]>, FLEXIBLE, &[0]);
    }

    #[test]
    fn numbers_are_big_endian_and_look_the_same_in_both_layouts() {
        for layout in [OLD, FLEXIBLE] {
            travels(-2i8, layout, &[0xfe]);
            travels(-2i16, layout, &[0xff, 0xfe]);
            travels(65_534u16, layout, &[0xff, 0xfe]);
            travels(0x0102_0304i32, layout, &[1, 2, 3, 4]);
            travels(0xf102_0304u32, layout, &[0xf1, 2, 3, 4]);
            travels(-1i64, layout, &[0xff; 8]);
            travels(1.0f64, layout, &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
            travels(true, layout, &[1]);
            travels(Uuid([9; 16]), layout, &[9; 16]);
            assert_eq!(read(&[0x80], layout), Ok(true), "as Kafka reads it");
        }
    }

    #[test]
    fn there_is_one_way_to_write_a_varint() {
        let varint = |bytes: &[u8]| Reader::new(bytes).varint();
        let grows =
            [0, 1, 127, 128, 16_383, 16_384, (1 << 21) - 1, 1 << 21, (1 << 28) - 1, 1 << 28, u32::MAX];
        for (value, length) in grows.into_iter().zip([1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]) {
            let mut out = Out::default();
            put_varint(&mut out.bytes, value);
            assert_eq!((varint(&out.bytes), out.len()), (Ok(value), length));
        }
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(Malformed::Varint), "33 bits");
        assert_eq!(varint(&[0x81, 0x80, 0x80, 0x80, 0x80, 0]), Err(Malformed::Varint), "six bytes");
        assert_eq!(varint(&[0x81, 0]), Err(Malformed::Varint), "a byte more than it takes");
        assert_eq!(varint(&[0x81]), Err(Malformed::Short));
    }

    #[test]
    fn text_that_is_null_or_too_long_or_not_utf8_is_refused() {
        assert_eq!(read::<&str>(&[0xff, 0xff], OLD), Err(Malformed::Null));
        assert_eq!(read::<&str>(&[0], FLEXIBLE), Err(Malformed::Null));
        assert_eq!(read::<Option<&str>>(&[0xff, 0xfe], OLD), Err(Malformed::Length));
        assert_eq!(read::<&[u8]>(&[0x80, 0, 0, 0], OLD), Err(Malformed::Length));
        assert_eq!(read::<Text<'_>>(&[0, 1, 0xff], OLD), Err(Malformed::NotUtf8));
        let mut longest = Out::default();
        put_varint(&mut longest.bytes, MAX_TEXT as u32 + 1);
        longest.bytes.extend(vec![b'x'; MAX_TEXT]);
        assert_eq!(read::<&str>(&longest.bytes, FLEXIBLE).map(str::len), Ok(MAX_TEXT));
        let mut longer = Out::default();
        put_varint(&mut longer.bytes, MAX_TEXT as u32 + 2);
        longer.bytes.extend(vec![b'x'; MAX_TEXT + 1]);
        assert_eq!(read::<&str>(&longer.bytes, FLEXIBLE), Err(Malformed::Length));
    }

    #[test]
    fn text_that_is_too_long_to_be_written_is_cut_between_characters() {
        let text = "ß".repeat(MAX_TEXT);
        for layout in [OLD, FLEXIBLE] {
            let bytes = written(text.as_str(), layout);
            assert_eq!(read::<&str>(&bytes, layout), Ok(&text[..MAX_TEXT - 1]));
        }
    }

    #[test]
    fn an_array_takes_no_memory_for_items_that_are_not_there() {
        assert_eq!(read::<Vec<i64>>(&[0x7f, 0xff, 0xff, 0xff, 1, 2], OLD), Err(Malformed::Short));
        assert_eq!(read::<Vec<i64>>(&[0xff, 0xff, 0xff, 0xff, 0xf, 1, 2], FLEXIBLE), Err(Malformed::Short));
        assert_eq!(read::<Vec<i64>>(&[0xff; 4], OLD), Err(Malformed::Null));
        assert_eq!(read::<Vec<i64>>(&[0xff, 0xff, 0xff, 0xfe], OLD), Err(Malformed::Length));
    }

    #[test]
    fn all_arrays_of_a_message_share_one_budget() {
        let inner = written(vec![1i8; 999], OLD);
        let outer = |items: u32| [&items.to_be_bytes(), inner.repeat(items as usize).as_slice()].concat();
        assert_eq!(read::<Vec<Vec<i8>>>(&outer(100), OLD).map(|all| all.len()), Ok(100));
        assert_eq!(read::<Vec<Vec<i8>>>(&outer(101), OLD), Err(Malformed::TooMany));
        let flat = [&(MAX_ITEMS as u32 + 1).to_be_bytes(), vec![0; MAX_ITEMS + 1].as_slice()].concat();
        assert_eq!(read::<Vec<i8>>(&flat, OLD), Err(Malformed::TooMany));
    }

    #[test]
    fn tagged_fields_are_skipped_or_read_but_must_be_in_order_and_of_their_size() {
        let sum = |bytes: &[u8]| {
            let (mut from, mut sum) = (Reader::new(bytes), 0);
            from.tagged(|number, from| {
                if number == 2 {
                    sum += i16::read(from, FLEXIBLE)?;
                }
                Ok(number == 2)
            })?;
            Ok((sum, from.rest().len()))
        };
        assert_eq!(sum(&[0, 9]), Ok((0, 1)));
        assert_eq!(sum(&[3, 0, 1, 0xff, 2, 2, 0, 5, 7, 0, 9, 9]), Ok((5, 2)));
        assert_eq!(sum(&[1, 2, 3, 0, 5, 0]), Err(Malformed::Trailing), "a byte more than the field");
        assert_eq!(sum(&[1, 2, 1, 0, 5]), Err(Malformed::Short), "not beyond the size");
        assert_eq!(sum(&[2, 2, 2, 0, 5, 2, 2, 0, 5]), Err(Malformed::Tagged), "twice");
        assert_eq!(sum(&[2, 5, 0, 2, 2, 0, 5]), Err(Malformed::Tagged), "descending");
        assert_eq!(
            sum(&[0xff, 0xff, 0xff, 0xff, 0xf, 0, 0]),
            Err(Malformed::Short),
            "many that are not there"
        );
        let mut large = vec![1, 9, 0x81, 0x80, 8];
        large.extend(vec![0; MAX_TAGGED + 1]);
        assert_eq!(sum(&large), Err(Malformed::Tagged));
        large[2..5].copy_from_slice(&[0x80, 0x80, 8]);
        assert_eq!(sum(&large), Ok((0, 1)));
    }

    #[test]
    fn records_leave_from_where_they_are_between_the_other_bytes() {
        let chunk =
            |bytes: &[u8]| Records::Chunk(Chunk::Owned { bytes: bytes.to_vec(), from: 1, to: bytes.len() });
        let mut out = Out::frame();
        chunk(b"-first").write(&mut out, OLD);
        1i8.write(&mut out, OLD);
        chunk(b"-second").write(&mut out, FLEXIBLE);
        Records::Null.write(&mut out, OLD);
        Records::default().write(&mut out, FLEXIBLE);
        out.seal();
        assert_eq!(out.chunks.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [8, 10]);

        let expected = b"\0\0\0\x16\0\0\0\x05first\x01\x07second\xff\xff\xff\xff\x01";
        assert_eq!((out.to_vec().as_slice(), out.len()), (&expected[..], expected.len()));
        let mut output = Output::default();
        out.send(&mut output);
        let (mut sent, mut written) = (Vec::new(), 0);
        let mut pool = crate::chunk::Buffers::new(0);
        output.drain(&mut sent, &mut pool, &mut written).expect("a Vec takes everything");
        assert_eq!(sent, expected);
    }
}
