//! `message!`: what Kafka's schemas say of a message, as a Rust struct that can be read and written in every version.
//!
//! A statement lists the fields in the order in which they travel. In brackets before a field stands what is special
//! about it; a field without brackets is there in every version that we speak:
//!
//! ```text
//! message! {
//!     Example<'a> {
//!         name: &'a str;                                   in every version
//!         [1..] count: i32 = -1;                           from version 1 on; -1 where it does not travel
//!         [only ..=1, null 1..] note: Option<&'a str>;     up to version 1; may be null in version 1, not before
//!         [2.., tag 0] parts: Vec<Part>;                   tagged field 0, from version 2 on
//!     }
//! }
//! ```
//!
//! The value `Example { name: "ab", count: 5, note: Some("c"), parts: vec![] }` in version 1, and without its note in
//! version 2, which is flexible in this example:
//!
//! ```text
//! version 1   00 02 61 62   00 00 00 05   00 01 63        name, count, note
//! version 2   03 61 62      00 00 00 05   00              name, count, no tagged field: parts is empty as by default
//! ```
//!
//! What a field does in a version in which it does not travel:
//!
//! * Read, it is its default: the value after `=`, or else 0, empty or null.
//! * Written, it is left out. Where that changes what the message means, the field is marked `only`, and a value other
//!   than the default is a bug of ours that ends the process. (In Kafka's schemas these are the fields that are not
//!   `ignorable`.) The same holds for null in a version that does not allow it.
//!
//! A field whose type is an `Option` may be null in every version, unless `null` narrows that.
//!
//! A tagged field is written only when it differs from its default; when read, unknown tagged fields are skipped.

use super::wire::{Field, Layout, Malformed, Nullable, Out, Reader, Tags};

/// A struct that a `message!` statement has made.
pub trait Message<'a>: Field<'a> + Default {
    /// Its fields in the order in which they travel.
    const FIELDS: &'static [(&'static str, Shape)];
}

/// What stands in the brackets before a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The first and the last version in which it travels.
    pub versions: (i16, i16),
    /// The first and the last version in which it may be null, if its type can be null at all.
    pub null: (i16, i16),
    /// Its number, if it is a tagged field.
    pub tag: Option<u32>,
    /// Whether a value that cannot travel is a bug.
    pub only: bool,
}

impl Shape {
    /// In every version.
    pub const ALWAYS: Shape = Shape { versions: (0, i16::MAX), null: (0, i16::MAX), tag: None, only: false };

    /// Whether the field travels in this version.
    pub fn travels(&self, version: i16) -> bool {
        (self.versions.0..=self.versions.1).contains(&version)
    }

    /// Whether the field may be null in this version.
    pub fn may_be_null(&self, version: i16) -> bool {
        (self.null.0..=self.null.1).contains(&version)
    }

    /// Reads the field in its place among the others.
    pub fn read<'a, F: Field<'a>>(
        &self,
        field: &mut F,
        from: &mut Reader<'a>,
        layout: Layout,
    ) -> Result<(), Malformed> {
        if self.tag.is_none() && self.travels(layout.version) {
            *field = self.value(from, layout)?;
        }
        Ok(())
    }

    /// Reads the field if it is the tagged field with this number, and says whether it is.
    pub fn read_tagged<'a, F: Field<'a>>(
        &self,
        number: u32,
        field: &mut F,
        from: &mut Reader<'a>,
        layout: Layout,
    ) -> Result<bool, Malformed> {
        let mine = self.tag == Some(number) && self.travels(layout.version);
        if mine {
            *field = self.value(from, layout)?;
        }
        Ok(mine)
    }

    fn value<'a, F: Field<'a>>(&self, from: &mut Reader<'a>, layout: Layout) -> Result<F, Malformed> {
        let value = F::read(from, layout)?;
        if value.is_null() && !self.may_be_null(layout.version) { Err(Malformed::Null) } else { Ok(value) }
    }

    /// Writes the field in its place, or adds it to the tagged ones, or leaves it out.
    #[track_caller]
    pub fn write<'a, F: Field<'a> + PartialEq>(
        &self,
        field: F,
        default: &F,
        (out, tags): (&mut Out, &mut Tags),
        layout: Layout,
    ) {
        let version = layout.version;
        if !self.travels(version) {
            if self.only && field != *default {
                cannot_travel(version);
            }
            return;
        }
        if field.is_null() && !self.may_be_null(version) {
            may_not_be_null(version);
        }
        match self.tag {
            None => field.write(out, layout),
            Some(number) if field != *default => tags.add(number, field, layout),
            Some(_) => {}
        }
    }
}

#[cold]
#[track_caller]
fn cannot_travel(version: i16) -> ! {
    panic!("a field has a value that version {version} cannot carry");
}

#[cold]
#[track_caller]
fn may_not_be_null(version: i16) -> ! {
    panic!("a field is null in version {version}");
}

/// A struct that may be null: one byte says whether it is there.
impl<'a, M: Message<'a>> Nullable<'a> for M {
    fn read_nullable(from: &mut Reader<'a>, layout: Layout) -> Result<Option<Self>, Malformed> {
        let there = i8::read(from, layout)? >= 0;
        there.then(|| M::read(from, layout)).transpose()
    }
    fn write_nullable(value: Option<Self>, out: &mut Out, layout: Layout) {
        (if value.is_some() { 1i8 } else { -1 }).write(out, layout);
        if let Some(value) = value {
            value.write(out, layout);
        }
    }
}

/// States messages; the language is described at the top of this file. The names of structs and fields are those of
/// Kafka's schemas, and a comment stands where the name does not say it.
macro_rules! message {
    // What stands in brackets becomes a `Shape`: each rule takes one part from the front.
    (@shape $shape:expr;) => { $shape };
    (@shape $shape:expr; , $($rest:tt)*) => { message!(@shape $shape; $($rest)*) };
    (@shape $shape:expr; only $($rest:tt)*) => {
        message!(@shape $crate::kafka::message::Shape { only: true, ..$shape }; $($rest)*)
    };
    (@shape $shape:expr; null $first:literal .. $($rest:tt)*) => {
        message!(@shape $crate::kafka::message::Shape { null: ($first, i16::MAX), ..$shape }; $($rest)*)
    };
    (@shape $shape:expr; tag $tag:literal $($rest:tt)*) => {
        message!(@shape $crate::kafka::message::Shape { tag: Some($tag), ..$shape }; $($rest)*)
    };
    (@shape $shape:expr; $first:literal ..= $last:literal $($rest:tt)*) => {
        message!(@shape $crate::kafka::message::Shape { versions: ($first, $last), ..$shape }; $($rest)*)
    };
    (@shape $shape:expr; $first:literal .. $($rest:tt)*) => {
        message!(@shape $crate::kafka::message::Shape { versions: ($first, i16::MAX), ..$shape }; $($rest)*)
    };
    (@shape $shape:expr; ..= $last:literal $($rest:tt)*) => {
        message!(@shape $crate::kafka::message::Shape { versions: (0, $last), ..$shape }; $($rest)*)
    };

    (@default) => { Default::default() };
    (@default $default:expr) => { $default };

    // One struct: `[<'a>]` or nothing, and the lifetime that its fields borrow from.
    (@message [$(#[$about:meta])*] $name:ident [$($generic:tt)*] $life:lifetime {$(
        $(#[$note:meta])*
        $([$($shape:tt)*])? $field:ident: $kind:ty $(= $default:expr)?;
    )*}) => {
        $(#[$about])*
        #[allow(missing_docs)]
        #[derive(Debug, PartialEq)]
        pub struct $name $($generic)* {
            $($(#[$note])* pub $field: $kind,)*
        }

        impl $($generic)* Default for $name $($generic)* {
            fn default() -> Self {
                Self { $($field: message!(@default $($default)?),)* }
            }
        }

        impl $($generic)* $crate::kafka::message::Message<$life> for $name $($generic)* {
            const FIELDS: &'static [(&'static str, $crate::kafka::message::Shape)] = &[$((
                stringify!($field),
                message!(@shape $crate::kafka::message::Shape::ALWAYS; $($($shape)*)?),
            ),)*];
        }

        impl $($generic)* $crate::kafka::wire::Field<$life> for $name $($generic)* {
            fn read(
                from: &mut $crate::kafka::wire::Reader<$life>,
                layout: $crate::kafka::wire::Layout,
            ) -> Result<Self, $crate::kafka::wire::Malformed> {
                let mut message = Self::default();
                $(message!(@shape $crate::kafka::message::Shape::ALWAYS; $($($shape)*)?)
                    .read(&mut message.$field, from, layout)?;)*
                if layout.flexible {
                    from.tagged(|number, from| Ok(false $(
                        || message!(@shape $crate::kafka::message::Shape::ALWAYS; $($($shape)*)?)
                            .read_tagged(number, &mut message.$field, from, layout)?
                    )*))?;
                }
                Ok(message)
            }

            fn write(self, out: &mut $crate::kafka::wire::Out, layout: $crate::kafka::wire::Layout) {
                // It owns nothing: to drop it would only be code, for each field.
                let default = std::mem::ManuallyDrop::new(Self::default());
                let mut tags = $crate::kafka::wire::Tags::default();
                $(message!(@shape $crate::kafka::message::Shape::ALWAYS; $($($shape)*)?)
                    .write(self.$field, &default.$field, (out, &mut tags), layout);)*
                if layout.flexible {
                    tags.write(out);
                }
            }
        }
    };

    // Any number of them, with or without a lifetime.
    () => {};
    ($(#[$about:meta])* $name:ident<$life:lifetime> { $($fields:tt)* } $($rest:tt)*) => {
        message!(@message [$(#[$about])*] $name [<$life>] $life { $($fields)* });
        message! { $($rest)* }
    };
    ($(#[$about:meta])* $name:ident { $($fields:tt)* } $($rest:tt)*) => {
        message!(@message [$(#[$about])*] $name [] '_ { $($fields)* });
        message! { $($rest)* }
    };
}

pub(crate) use message;

#[cfg(test)]
mod tests {
    use super::*;

    message! {
        Example<'a> {
            name: &'a str;
            [1..] count: i32 = -1;
            [only ..=1, null 1..] note: Option<&'a str>;
            [2.., tag 0] parts: Vec<Part>;
            [2..=3, tag 2] last: Option<Part>;
        }
        Part {
            number: i8;
        }
    }

    fn layout(version: i16) -> Layout {
        Layout { version, flexible: version >= 2 }
    }

    fn written(example: Example<'_>, version: i16) -> Vec<u8> {
        let mut out = Out::default();
        example.write(&mut out, layout(version));
        out.bytes
    }

    fn read(bytes: &[u8], version: i16) -> Result<Example<'_>, Malformed> {
        let mut from = Reader::new(bytes);
        let example = Example::read(&mut from, layout(version))?;
        from.end()?;
        Ok(example)
    }

    fn example(note: Option<&str>) -> Example<'_> {
        Example { name: "ab", count: 5, note, parts: vec![], last: None }
    }

    #[test]
    fn the_example_above_is_true() {
        let first = [0, 2, b'a', b'b', 0, 0, 0, 5, 0, 1, b'c'];
        assert_eq!(written(example(Some("c")), 1), first);
        assert_eq!(read(&first, 1), Ok(example(Some("c"))));
        let second = [3, b'a', b'b', 0, 0, 0, 5, 0];
        assert_eq!(written(example(None), 2), second);
        assert_eq!(read(&second, 2), Ok(example(None)));
    }

    #[test]
    fn a_field_that_does_not_travel_is_left_out_and_read_as_its_default() {
        let bytes = written(example(Some("c")), 0);
        assert_eq!(bytes, [0, 2, b'a', b'b', 0, 1, b'c']);
        assert_eq!(read(&bytes, 0).map(|e| e.count), Ok(-1));
        let ignored = Example { last: Some(Part { number: 7 }), ..example(None) };
        assert_eq!(written(ignored, 4), written(example(None), 4));
    }

    #[test]
    fn tagged_fields_travel_when_they_differ_from_their_default() {
        let parts = vec![Part { number: 1 }, Part { number: 2 }];
        let full =
            || Example { parts: vec![Part { number: 1 }], last: Some(Part { number: 7 }), ..example(None) };
        let bytes = written(full(), 3);
        let fields = [2, 0, 3, 2, 1, 0, 2, 3, 1, 7, 0];
        assert_eq!(bytes, [&[3, b'a', b'b', 0, 0, 0, 5], &fields[..]].concat());
        assert_eq!(read(&bytes, 3), Ok(full()));
        assert_ne!(written(Example { parts, ..example(None) }, 3), bytes);
    }

    #[test]
    fn unknown_tagged_fields_are_skipped_and_so_are_those_of_another_version() {
        let known = written(example(None), 4);
        let more = [&known[..known.len() - 1], &[2, 1, 1, 0xff, 2, 3, 1, 7, 0]].concat();
        assert_eq!(read(&more, 4), Ok(example(None)), "field 1 never was, field 2 is no more");
        assert_eq!(read(&more, 3).map(|e| e.last), Ok(Some(Part { number: 7 })));
    }

    #[test]
    fn null_is_read_in_the_versions_that_allow_it() {
        let in_version_1 = [0, 0, 0, 0, 0, 5, 0xff, 0xff];
        assert_eq!(read(&in_version_1, 1).map(|e| e.note), Ok(None));
        let in_version_0 = [0, 0, 0xff, 0xff];
        assert_eq!(read(&in_version_0, 0), Err(Malformed::Null));
    }

    #[test]
    #[should_panic(expected = "a value that version 2 cannot carry")]
    fn losing_what_matters_is_a_bug() {
        written(example(Some("c")), 2);
    }

    #[test]
    #[should_panic(expected = "null in version 0")]
    fn null_where_it_is_not_allowed_is_a_bug() {
        written(example(None), 0);
    }

    #[test]
    fn shapes_are_what_the_brackets_say() {
        let shape = |name| Example::FIELDS.iter().find(|f| f.0 == name).expect("a field").1;
        assert_eq!(shape("name"), Shape::ALWAYS);
        assert_eq!(
            shape("note"),
            Shape { versions: (0, 1), null: (1, i16::MAX), only: true, ..Shape::ALWAYS }
        );
        assert_eq!(shape("last"), Shape { versions: (2, 3), tag: Some(2), ..Shape::ALWAYS });
    }
}
