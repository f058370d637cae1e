//! Bytes that describe a value to that value. They may be anything, as those of any message.

use std::str;

use serde::de::value::{BorrowedStrDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::{Deserialize, Deserializer};

use super::format as tag;
use crate::codec::{DEPTH_MAX, Error};

/// The value that all of these bytes encode.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut input = Input(bytes);
    let value = T::deserialize(At { input: &mut input, depth: 0 })?;
    if input.0.is_empty() { Ok(value) } else { Err(Error::malformed("its end")) }
}

/// What is still to be read.
pub(super) struct Input<'de>(pub(super) &'de [u8]);

impl<'de> Input<'de> {
    pub(super) fn peek(&self) -> Result<u8, Error> {
        self.0.first().copied().ok_or_else(Error::ends_early)
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'de [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(Error::ends_early)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(Error::ends_early)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn tag(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    /// Bytes with their length.
    pub(super) fn sized(&mut self) -> Result<&'de [u8], Error> {
        let mut len = 0;
        for shift in (0..usize::BITS - 7).step_by(7) {
            let byte = self.tag()?;
            len |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return self.take(len);
            }
        }
        Err(Error::ends_early())
    }

    fn text(&mut self) -> Result<&'de str, Error> {
        str::from_utf8(self.sized()?).map_err(|_| Error::malformed("text in UTF-8"))
    }

    /// What has parts is over.
    fn end(&mut self) -> Result<(), Error> {
        match self.tag()? {
            tag::END => Ok(()),
            _ => Err(Error::new("its Deserialize leaves parts of a sequence or a map unread")),
        }
    }
}

/// Where a value is read.
struct At<'a, 'de> {
    input: &'a mut Input<'de>,
    depth: usize,
}

impl<'de> At<'_, 'de> {
    fn again(&mut self) -> At<'_, 'de> {
        At { input: self.input, depth: self.depth }
    }

    fn deeper(self) -> Result<Self, Error> {
        if self.depth < DEPTH_MAX { Ok(Self { depth: self.depth + 1, ..self }) } else { Err(Error::too_deep()) }
    }

    /// Passes by what says that there is a value, which does not concern who wants no option.
    fn behind_some(mut self) -> Result<Self, Error> {
        while self.input.peek()? == tag::SOME {
            self.input.tag()?;
            self = self.deeper()?;
        }
        Ok(self)
    }

    fn sequence<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut at = self.deeper()?;
        let value = visitor.visit_seq(Parts(at.again()))?;
        at.input.end()?;
        Ok(value)
    }

    fn map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut at = self.deeper()?;
        let value = visitor.visit_map(Parts(at.again()))?;
        at.input.end()?;
        Ok(value)
    }
}

/// What wants a value, and no option of one.
macro_rules! typed {
    ($($method:ident),+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.behind_some()?.deserialize_any(visitor)
        }
    )+};
}

impl<'de> Deserializer<'de> for At<'_, 'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let input = &mut *self.input;
        match input.tag()? {
            tag::UNIT => visitor.visit_unit(),
            tag::FALSE => visitor.visit_bool(false),
            tag::TRUE => visitor.visit_bool(true),
            tag::U8 => visitor.visit_u8(u8::from_le_bytes(input.array()?)),
            tag::U16 => visitor.visit_u16(u16::from_le_bytes(input.array()?)),
            tag::U32 => visitor.visit_u32(u32::from_le_bytes(input.array()?)),
            tag::U64 => visitor.visit_u64(u64::from_le_bytes(input.array()?)),
            tag::U128 => visitor.visit_u128(u128::from_le_bytes(input.array()?)),
            tag::I8 => visitor.visit_i8(i8::from_le_bytes(input.array()?)),
            tag::I16 => visitor.visit_i16(i16::from_le_bytes(input.array()?)),
            tag::I32 => visitor.visit_i32(i32::from_le_bytes(input.array()?)),
            tag::I64 => visitor.visit_i64(i64::from_le_bytes(input.array()?)),
            tag::I128 => visitor.visit_i128(i128::from_le_bytes(input.array()?)),
            tag::F32 => visitor.visit_f32(f32::from_le_bytes(input.array()?)),
            tag::F64 => visitor.visit_f64(f64::from_le_bytes(input.array()?)),
            tag::CHAR => {
                let code = u32::from_le_bytes(input.array()?);
                visitor.visit_char(char::from_u32(code).ok_or_else(|| Error::malformed("a char"))?)
            }
            tag::STR => visitor.visit_borrowed_str(input.text()?),
            tag::BYTES => visitor.visit_borrowed_bytes(input.sized()?),
            tag::NONE => visitor.visit_none(),
            tag::SOME => visitor.visit_some(self.deeper()?),
            tag::SEQ | tag::TUPLE => self.sequence(visitor),
            tag::MAP => self.map(visitor),
            // For who does not know that an enum is there: as others, such as JSON, have it.
            tag::UNIT_VARIANT => visitor.visit_borrowed_str(input.text()?),
            tag::VARIANT => {
                let name = input.text()?;
                visitor.visit_map(Variant { name: Some(name), at: self.deeper()? })
            }
            _ => Err(Error::malformed("a value")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.input.peek()? {
            tag::NONE | tag::UNIT => {
                self.input.tag()?;
                visitor.visit_none()
            }
            tag::SOME => {
                self.input.tag()?;
                visitor.visit_some(self.deeper()?)
            }
            _ => visitor.visit_some(self.deeper()?),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let at = self.behind_some()?;
        if at.input.peek()? == tag::NONE {
            at.input.tag()?;
            return visitor.visit_unit();
        }
        at.deserialize_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self.deeper()?)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let at = self.behind_some()?;
        if at.input.peek()? == tag::BYTES {
            at.input.tag()?;
            let bytes = at.input.sized()?.iter().copied();
            return visitor.visit_seq(SeqDeserializer::<_, Error>::new(bytes));
        }
        at.deserialize_any(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.behind_some()?.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let at = self.behind_some()?;
        match at.input.tag()? {
            tag::UNIT_VARIANT | tag::STR => visitor.visit_enum(at.input.text()?.into_deserializer()),
            tag::VARIANT => {
                let name = at.input.text()?;
                visitor.visit_enum(Variant { name: Some(name), at: at.deeper()? })
            }
            // As what knows of no enums writes one.
            tag::MAP => {
                let mut at = at.deeper()?;
                if at.input.tag()? != tag::STR {
                    return Err(Error::malformed("the name of a variant"));
                }
                let name = at.input.text()?;
                let value = visitor.visit_enum(Variant { name: Some(name), at: at.again() })?;
                at.input.end()?;
                Ok(value)
            }
            _ => Err(Error::malformed("an enum")),
        }
    }

    /// By calls as the rest is read, so that nothing is believed here either.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    typed! {
        deserialize_bool, deserialize_i8, deserialize_i16, deserialize_i32, deserialize_i64, deserialize_i128,
        deserialize_u8, deserialize_u16, deserialize_u32, deserialize_u64, deserialize_u128, deserialize_f32,
        deserialize_f64, deserialize_char, deserialize_str, deserialize_string, deserialize_bytes,
        deserialize_byte_buf, deserialize_map, deserialize_identifier
    }
}

/// The elements of a sequence, or the entries of a map.
struct Parts<'a, 'de>(At<'a, 'de>);

impl<'de> Parts<'_, 'de> {
    fn next<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        match self.0.input.peek()? {
            tag::END => Ok(None),
            _ => seed.deserialize(self.0.again()).map(Some),
        }
    }
}

impl<'de> SeqAccess<'de> for Parts<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.next(seed)
    }
}

impl<'de> MapAccess<'de> for Parts<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.next(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.0.again())
    }
}

/// A variant with something in it. Its name was read already.
struct Variant<'a, 'de> {
    name: Option<&'de str>,
    at: At<'a, 'de>,
}

/// As a map of one entry.
impl<'de> MapAccess<'de> for Variant<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.name.take().map(|name| seed.deserialize(BorrowedStrDeserializer::new(name))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.at.again())
    }
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name = BorrowedStrDeserializer::new(self.name.unwrap_or_default());
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        <()>::deserialize(self.at)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.at)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.at.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.at.behind_some()?.deserialize_any(visitor)
    }
}
