//! Arguments and results as bodies: postcard, one after the other.
//!
//! What is read may have been written by an older program, which knew fewer of the options at the end: where a body ends before one of these, it is `None`. That
//! holds only for [`Tail`] (an argument, a field of a struct that is one, and so on), never inside of a sequence, an enum or another option, so that a body
//! which was cut off anywhere else is an error.

use postcard::Deserializer as Whole;
use serde::de::{self, Deserialize, DeserializeSeed, Visitor};
use serde::{Serialize, Serializer};

/// What can be read from a body. Serde's trait, for the sake of what the compiler says about a type that has none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand in a message",
    label = "not a type of data",
    note = "put `#[libtask::data]` on the struct or enum"
)]
pub trait Readable<'b>: Deserialize<'b> {}

#[diagnostic::do_not_recommend]
impl<'b, T: Deserialize<'b>> Readable<'b> for T {}

/// What can be written into one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand in a message",
    label = "not a type of data",
    note = "put `#[libtask::data]` on the struct or enum"
)]
pub trait Writable: Serialize {}

#[diagnostic::do_not_recommend]
impl<T: ?Sized + Serialize> Writable for T {}

/// Reads values, each from where the last one ended.
pub struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    #[inline]
    pub(crate) fn new(body: &'b [u8]) -> Reader<'b> {
        Reader { rest: body }
    }
    /// The next value.
    #[inline]
    pub fn read<T: Readable<'b>>(&mut self) -> postcard::Result<T> {
        T::deserialize(Tail { rest: &mut self.rest })
    }
    /// The next value, bytes.
    #[inline]
    pub fn read_bytes(&mut self) -> postcard::Result<Vec<u8>> {
        let bytes: &'b [u8] = self.read()?;
        Ok(bytes.to_vec())
    }
    /// Which of a `Result`'s two comes next: true is `Ok`.
    #[inline]
    pub fn read_is_ok(&mut self) -> postcard::Result<bool> {
        match self.read::<u8>()? {
            0 => Ok(true),
            1 => Ok(false),
            _ => Err(postcard::Error::DeserializeBadEnum),
        }
    }
}

/// Bytes, written at once and not one by one.
pub struct Bytes<'a>(pub &'a [u8]);

impl Serialize for Bytes<'_> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// What the end of a body may be in.
struct Tail<'r, 'b> {
    rest: &'r mut &'b [u8],
}

impl<'b> Tail<'_, 'b> {
    #[inline]
    fn whole<T>(self, read: impl FnOnce(&mut Whole<'b, postcard::de_flavors::Slice<'b>>) -> postcard::Result<T>) -> postcard::Result<T> {
        let mut whole = Whole::from_bytes(self.rest);
        let value = read(&mut whole)?;
        *self.rest = whole.finalize()?;
        Ok(value)
    }
}

macro_rules! whole {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'b>>(self, visitor: V) -> postcard::Result<V::Value> {
            self.whole(|whole| whole.$method(visitor))
        }
    )*};
}

impl<'b> de::Deserializer<'b> for Tail<'_, 'b> {
    type Error = postcard::Error;

    whole! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_seq deserialize_map deserialize_identifier deserialize_ignored_any
    }
    #[inline]
    fn deserialize_option<V: Visitor<'b>>(self, visitor: V) -> postcard::Result<V::Value> {
        if self.rest.is_empty() { visitor.visit_none() } else { self.whole(|whole| whole.deserialize_option(visitor)) }
    }
    #[inline]
    fn deserialize_unit_struct<V: Visitor<'b>>(self, name: &'static str, visitor: V) -> postcard::Result<V::Value> {
        self.whole(|whole| whole.deserialize_unit_struct(name, visitor))
    }
    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'b>>(self, _: &'static str, visitor: V) -> postcard::Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }
    #[inline]
    fn deserialize_tuple<V: Visitor<'b>>(self, len: usize, visitor: V) -> postcard::Result<V::Value> {
        visitor.visit_seq(Fields { rest: self.rest, left: len })
    }
    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'b>>(self, _: &'static str, len: usize, visitor: V) -> postcard::Result<V::Value> {
        visitor.visit_seq(Fields { rest: self.rest, left: len })
    }
    #[inline]
    fn deserialize_struct<V: Visitor<'b>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> postcard::Result<V::Value> {
        visitor.visit_seq(Fields { rest: self.rest, left: fields.len() })
    }
    #[inline]
    fn deserialize_enum<V: Visitor<'b>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> postcard::Result<V::Value> {
        self.whole(|whole| whole.deserialize_enum(name, variants, visitor))
    }
    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The fields of a struct.
struct Fields<'r, 'b> {
    rest: &'r mut &'b [u8],
    left: usize,
}

impl<'b> de::SeqAccess<'b> for Fields<'_, 'b> {
    type Error = postcard::Error;
    #[inline]
    fn next_element_seed<T: DeserializeSeed<'b>>(&mut self, seed: T) -> postcard::Result<Option<T::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(Tail { rest: self.rest }).map(Some)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Old {
        a: u32,
        b: String,
    }
    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct New {
        a: u32,
        b: String,
        c: Option<u64>,
        d: Option<Vec<Option<u8>>>,
    }

    fn read<T: for<'b> Readable<'b>>(body: &[u8]) -> postcard::Result<T> {
        Reader::new(body).read()
    }

    #[test]
    fn body_of_an_older_program_lacks_the_options_at_the_end() {
        let old = postcard::to_stdvec(&Old { a: 70_000, b: "b".into() }).unwrap();
        assert_eq!(read::<New>(&old), Ok(New { a: 70_000, b: "b".into(), c: None, d: None }));
        let mut reader = Reader::new(&[5]);
        assert_eq!((reader.read(), reader.read(), reader.read()), (Ok(5u32), Ok(None::<u8>), Ok(None::<String>)));
    }

    #[test]
    fn body_of_a_newer_program_is_read_as_far_as_it_is_known() {
        let new = postcard::to_stdvec(&New { a: 1, b: "b".into(), c: Some(2), d: Some(vec![None, Some(1)]) }).unwrap();
        assert_eq!(read::<Old>(&new), Ok(Old { a: 1, b: "b".into() }));
        assert_eq!(read::<New>(&new).unwrap().c, Some(2));
    }

    #[test]
    fn body_cut_off_at_any_byte_is_an_error_but_before_an_option_at_the_end() {
        let value = New { a: 70_000, b: "body".into(), c: Some(300), d: Some(vec![None, Some(1)]) };
        let whole = postcard::to_stdvec(&value).unwrap();
        let before_c = 3 + 5;
        let before_d = before_c + 1 + 2;
        for len in 0..whole.len() {
            let read = read::<New>(&whole[..len]);
            assert_eq!(read.is_ok(), len == before_c || len == before_d, "{len} of {} bytes: {read:?}", whole.len());
        }
        assert_eq!(read::<New>(&whole), Ok(value));
    }

    #[test]
    fn bytes_are_encoded_like_a_sequence_of_them() {
        let bytes = [1u8, 2, 200];
        assert_eq!(postcard::to_stdvec(&Bytes(&bytes)), postcard::to_stdvec(&bytes.to_vec()));
        assert_eq!(Reader::new(&postcard::to_stdvec(&bytes.to_vec()).unwrap()).read_bytes(), Ok(bytes.to_vec()));
    }
}
