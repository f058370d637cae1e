//! Sequences of bytes in one piece.
//!
//! serde writes and reads a `Vec<u8>` as a sequence like any other: one element at a time. In a message it stands as its
//! bytes do, so nearly all of these calls can be replaced by one copy, where it is sure what they would have done.

use std::any::type_name;
use std::fmt::{self, Display};

use serde::de::{self, Deserializer, Visitor};
use serde::ser::{self, Impossible, Serializer};
use serde::{Deserialize, Serialize, forward_to_deserialize_any};

use super::error::Error;

/// Whether a sequence of such elements, as it is iterated, consists of bytes. For each type the compiler knows.
#[inline(always)]
pub(super) fn are_elements<T>() -> bool {
    // As the iterators of slices, vectors and deques return them. The name of any other type has a path in it.
    type_name::<T>() == type_name::<&u8>()
}

/// The byte that an element writes; none if it writes anything else.
#[inline(always)]
pub(super) fn of_element<T: Serialize>(element: &T) -> Option<u8> {
    element.serialize(Byte).ok()
}

/// Reads a sequence of bytes in one piece if that is all that `V` would do: if it is serde's own visitor for `Vec<u8>`,
/// which boxed slices, `Arc<[u8]>` and `Cow<[u8]>` use as well.
#[inline(always)]
pub(super) fn read<'de, V: Visitor<'de>>(
    bytes: impl FnOnce() -> Result<&'de [u8], Error>,
) -> Option<Result<V::Value, Error>> {
    let mut value = None::<V::Value>;
    let place = castaway::cast!(&mut value, &mut Option<Vec<u8>>).ok()?;
    if type_name::<V>() != visitor() {
        return None;
    }
    match bytes() {
        Ok(bytes) => *place = Some(bytes.to_vec()),
        Err(e) => return Some(Err(e)),
    }
    value.map(Ok)
}

/// The name of the visitor by which serde reads a `Vec<u8>`. The type has no public path, so it is asked for.
fn visitor() -> &'static str {
    Vec::<u8>::deserialize(Asks).map_or_else(|Asked(name)| name, |_| "")
}

/// A serializer of bytes and of nothing else.
struct Byte;

/// A deserializer that reads nothing, and tells the visitor of a sequence.
struct Asks;

/// The answer: the name of a visitor.
#[derive(Debug)]
struct Asked(&'static str);

/// It was no byte.
#[derive(Debug)]
struct Other;

impl Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Asked {}

impl de::Error for Asked {
    fn custom<T: Display>(_: T) -> Self {
        Self("")
    }
}

impl Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is no byte")
    }
}

impl std::error::Error for Other {}

impl ser::Error for Other {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

impl<'de> Deserializer<'de> for Asks {
    type Error = Asked;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Asked> {
        Err(Asked(""))
    }

    #[inline(always)]
    fn deserialize_seq<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Asked> {
        Err(Asked(type_name::<V>()))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct tuple tuple_struct map struct enum identifier ignored_any
    }
}

macro_rules! others {
    ($($method:ident($($argument:ident: $type:ty),*) -> $ok:ty;)+) => {$(
        fn $method(self, $($argument: $type),*) -> Result<$ok, Other> {
            $(let _ = $argument;)*
            Err(Other)
        }
    )+};
}

impl Serializer for Byte {
    type Ok = u8;
    type Error = Other;
    type SerializeSeq = Impossible<u8, Other>;
    type SerializeTuple = Impossible<u8, Other>;
    type SerializeTupleStruct = Impossible<u8, Other>;
    type SerializeTupleVariant = Impossible<u8, Other>;
    type SerializeMap = Impossible<u8, Other>;
    type SerializeStruct = Impossible<u8, Other>;
    type SerializeStructVariant = Impossible<u8, Other>;

    #[inline(always)]
    fn serialize_u8(self, byte: u8) -> Result<u8, Other> {
        Ok(byte)
    }

    others! {
        serialize_bool(v: bool) -> u8;
        serialize_i8(v: i8) -> u8;
        serialize_i16(v: i16) -> u8;
        serialize_i32(v: i32) -> u8;
        serialize_i64(v: i64) -> u8;
        serialize_u16(v: u16) -> u8;
        serialize_u32(v: u32) -> u8;
        serialize_u64(v: u64) -> u8;
        serialize_f32(v: f32) -> u8;
        serialize_f64(v: f64) -> u8;
        serialize_char(v: char) -> u8;
        serialize_str(v: &str) -> u8;
        serialize_bytes(v: &[u8]) -> u8;
        serialize_none() -> u8;
        serialize_unit() -> u8;
        serialize_unit_struct(name: &'static str) -> u8;
        serialize_unit_variant(name: &'static str, number: u32, variant: &'static str) -> u8;
        serialize_seq(len: Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(len: usize) -> Self::SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(
            name: &'static str, number: u32, variant: &'static str, len: usize
        ) -> Self::SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> Self::SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> Self::SerializeStruct;
        serialize_struct_variant(
            name: &'static str, number: u32, variant: &'static str, len: usize
        ) -> Self::SerializeStructVariant;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<u8, Other> {
        Err(Other)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, _: &T) -> Result<u8, Other> {
        Err(Other)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<u8, Other> {
        Err(Other)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::collections::VecDeque;

    use serde::de::SeqAccess;

    use super::*;

    /// A deserializer of the bytes `[1, 2, 3]` that reads sequences in one piece or not at all.
    struct OnlyInOnePiece;

    impl<'de> Deserializer<'de> for OnlyInOnePiece {
        type Error = Asked;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Asked> {
            Err(Asked("another type"))
        }

        fn deserialize_seq<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Asked> {
            let read = read::<V>(|| Ok(&[1, 2, 3])).ok_or(Asked("one at a time"))?;
            read.map_err(|_| Asked("an error"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct tuple tuple_struct map struct enum identifier ignored_any
        }
    }

    /// Makes a `Vec<u8>` of other elements than there are.
    struct Doubled(Vec<u8>);

    impl<'de> Deserialize<'de> for Doubled {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Doubling;
            impl<'de> Visitor<'de> for Doubling {
                type Value = Vec<u8>;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("bytes")
                }
                fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
                    let mut bytes = Vec::new();
                    while let Some(byte) = seq.next_element::<u8>()? {
                        bytes.push(2 * byte);
                    }
                    Ok(bytes)
                }
            }
            deserializer.deserialize_seq(Doubling).map(Self)
        }
    }

    #[test]
    fn vectors_of_bytes_are_read_in_one_piece_and_nothing_else() {
        assert_eq!(Vec::<u8>::deserialize(OnlyInOnePiece).unwrap(), [1, 2, 3]);
        assert_eq!(*Box::<[u8]>::deserialize(OnlyInOnePiece).unwrap(), [1, 2, 3]);
        assert_eq!(*Cow::<[u8]>::deserialize(OnlyInOnePiece).unwrap(), [1, 2, 3]);
        let others = [
            Vec::<i8>::deserialize(OnlyInOnePiece).map(drop),
            Vec::<bool>::deserialize(OnlyInOnePiece).map(drop),
            Vec::<Vec<u8>>::deserialize(OnlyInOnePiece).map(drop),
            VecDeque::<u8>::deserialize(OnlyInOnePiece).map(drop),
            Doubled::deserialize(OnlyInOnePiece).map(drop),
        ];
        for other in others {
            assert_eq!(other.unwrap_err().0, "one at a time");
        }
        assert_eq!(super::super::decode::<Doubled>(&[2, 20, 30], Vec::new()).unwrap().0, [40, 60]);
    }

    #[test]
    fn elements_are_bytes_if_they_are_of_that_type() {
        assert!(are_elements::<&u8>() && !are_elements::<&i8>() && !are_elements::<&&u8>() && !are_elements::<u8>());
        assert_eq!(of_element(&&7u8), Some(7));
        assert_eq!([of_element(&7i8), of_element(&7u16), of_element(&true), of_element(&Some(7u8))], [None; 4]);
    }
}
