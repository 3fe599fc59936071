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

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn length(&mut self, length: Option<usize>, layout: Layout) {
        let length = length.map(|n| i32::try_from(n).expect("what a message holds is shorter than 2 GiB"));
        match layout.flexible {
            true => self.varint(length.map_or(0, |n| n as u32 + 1)),
            false => self.bytes.extend_from_slice(&length.unwrap_or(-1).to_be_bytes()),
        }
    }
}

/// Tagged fields of one struct, gathered while its other fields are written, in ascending order of their numbers.
#[derive(Debug, Default)]
pub struct Tags {
    count: u32,
    fields: Out,
}

impl Tags {
    /// Adds a field. Its size stands before its value, so the value is written on its own first.
    pub fn add<'a>(&mut self, number: u32, value: impl Field<'a>, layout: Layout) {
        let mut alone = Out::default();
        value.write(&mut alone, layout);
        assert!(alone.chunks.is_empty(), "no tagged field holds records");
        self.count += 1;
        self.fields.varint(number);
        self.fields.varint(alone.bytes.len() as u32);
        self.fields.bytes.extend_from_slice(&alone.bytes);
    }

    /// Ends a struct with what was gathered.
    pub fn write(self, out: &mut Out) {
        out.varint(self.count);
        out.bytes.extend_from_slice(&self.fields.bytes);
    }
}

macro_rules! numbers {
    ($($kind:ty)*) => {$(
        impl Field<'_> for $kind {
            fn read(from: &mut Reader<'_>, _: Layout) -> Result<Self, Malformed> {
                Ok(<$kind>::from_be_bytes(from.array()?))
            }
            fn write(self, out: &mut Out, _: Layout) {
                out.bytes.extend_from_slice(&self.to_be_bytes());
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
        out.bytes.push(self.into());
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
        out.bytes.extend_from_slice(&self.0);
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
    fn read_nullable(from: &mut Reader<'a>, layout: Layout) -> Result<Option<Self>, Malformed> {
        let Some(length) = from.text_length(layout)? else { return Ok(None) };
        std::str::from_utf8(from.take(length)?).map(Some).map_err(|_| Malformed::NotUtf8)
    }

    /// Text that is too long is cut: it is a message to a person, perhaps one that repeats what a client has sent.
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

impl<'a> Nullable<'a> for &'a [u8] {
    fn read_nullable(from: &mut Reader<'a>, layout: Layout) -> Result<Option<Self>, Malformed> {
        from.length(layout)?.map(|length| from.take(length)).transpose()
    }
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
