//! Bytes to a value: the other half of the [encoder](super::encoder), where the format is described.
//!
//! The bytes may be anything: a queue may have been received as one of other items, and any process of the session can
//! write into its memory. So every length is held against the bytes that are there before anything is done by it.

use serde::de::{DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::{DEPTH_MAX, Error};
use super::trial::Event;

/// Sees every call of the deserializer before it reads.
pub(super) trait Watch {
    fn expect(&mut self, event: Event) -> Result<(), Error>;
}

/// Nothing is to be seen.
#[derive(Debug)]
pub(super) struct Blind;

impl Watch for Blind {
    #[inline]
    fn expect(&mut self, _: Event) -> Result<(), Error> {
        Ok(())
    }
}

/// Reads one value.
#[derive(Debug)]
pub(super) struct Decoder<'de, W> {
    rest: &'de [u8],
    depth: usize,
    watch: W,
}

/// Reads the value of which these are the bytes, all of them.
pub(super) fn read<'de, T: Deserialize<'de>, W: Watch>(bytes: &'de [u8], watch: W) -> Result<(T, W), Error> {
    let mut decoder = Decoder { rest: bytes, depth: 0, watch };
    let value = T::deserialize(&mut decoder)?;
    match decoder.rest.len() {
        0 => Ok((value, decoder.watch)),
        n => Err(Error::new(format!("{n} bytes of the message are left over when the value is complete"))),
    }
}

impl<'de, W: Watch> Decoder<'de, W> {
    #[inline]
    fn byte(&mut self) -> Result<u8, Error> {
        let (&byte, rest) = self.rest.split_first().ok_or_else(Error::ends_early)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    fn slice(&mut self, len: usize) -> Result<&'de [u8], Error> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or_else(Error::ends_early)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(Error::ends_early)?;
        self.rest = rest;
        Ok(*bytes)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Error> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(first.into());
        }
        let mut number = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            number |= bits << shift;
            if byte < 0x80 {
                return if bits << shift >> shift == bits { Ok(number) } else { Err(too_big()) };
            }
        }
        Err(too_big())
    }

    fn long_varint(&mut self) -> Result<u128, Error> {
        let mut number = 0;
        for shift in (0..128).step_by(7) {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            number |= bits << shift;
            if byte < 0x80 {
                return if bits << shift >> shift == bits { Ok(number) } else { Err(too_big()) };
            }
        }
        Err(too_big())
    }

    #[inline]
    fn unsigned<N: TryFrom<u64>>(&mut self, event: Event) -> Result<N, Error> {
        self.watch.expect(event)?;
        N::try_from(self.varint()?).map_err(|_| too_big())
    }

    #[inline]
    fn signed<N: TryFrom<i64>>(&mut self, event: Event) -> Result<N, Error> {
        self.watch.expect(event)?;
        let zigzag = self.varint()?;
        N::try_from((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)).map_err(|_| too_big())
    }

    /// As many bytes as the number before them says.
    #[inline]
    fn sized(&mut self, event: Event) -> Result<&'de [u8], Error> {
        let len = self.unsigned(event)?;
        self.slice(len)
    }

    fn str(&mut self) -> Result<&'de str, Error> {
        std::str::from_utf8(self.sized(Event::Str)?).map_err(|_| Error::malformed("text in UTF-8"))
    }

    /// How many elements follow: not more than there are bytes.
    #[inline]
    fn count(&mut self, event: Event) -> Result<usize, Error> {
        let count = self.unsigned(event)?;
        if count > self.rest.len() { Err(Error::ends_early()) } else { Ok(count) }
    }

    #[inline]
    fn deeper<R>(&mut self, read: impl FnOnce(&mut Self) -> Result<R, Error>) -> Result<R, Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Error::too_deep());
        }
        let result = read(self)?;
        self.depth -= 1;
        Ok(result)
    }

    /// A struct or a tuple, behind what announces it.
    #[inline]
    fn fields<V: Visitor<'de>>(&mut self, count: usize, visitor: V) -> Result<V::Value, Error> {
        self.deeper(|decoder| {
            let value = visitor.visit_seq(Fields { decoder, left: count })?;
            decoder.watch.expect(Event::End)?;
            Ok(value)
        })
    }

    /// Reads an element of a sequence, which takes a byte at least.
    #[inline]
    fn element<R>(&mut self, read: impl FnOnce(&mut Self) -> Result<R, Error>) -> Result<R, Error> {
        let before = self.rest.len();
        let value = read(self)?;
        if self.rest.len() == before && self.byte()? != 0 {
            return Err(Error::malformed("the byte of an empty element"));
        }
        Ok(value)
    }

    fn end_counted(&mut self, left: usize) -> Result<(), Error> {
        self.watch.expect(Event::End)?;
        if left == 0 { Ok(()) } else { Err(Error::new("its Deserialize leaves elements of a sequence unread")) }
    }
}

#[cold]
fn too_big() -> Error {
    Error::malformed("a smaller number")
}

impl<'de, W: Watch> Deserializer<'de> for &mut Decoder<'de, W> {
    type Error = Error;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::guessing())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::guessing())
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::guessing())
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.watch.expect(Event::Bool)?;
        match self.byte()? {
            0 => visitor.visit_bool(false),
            1 => visitor.visit_bool(true),
            _ => Err(Error::malformed("a bool")),
        }
    }

    #[inline]
    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.watch.expect(Event::I8)?;
        visitor.visit_i8(self.byte()? as i8)
    }

    #[inline]
    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i16(self.signed(Event::Signed(16))?)
    }

    #[inline]
    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i32(self.signed(Event::Signed(32))?)
    }

    #[inline]
    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(self.signed(Event::Signed(64))?)
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.watch.expect(Event::Signed(128))?;
        let zigzag = self.long_varint()?;
        visitor.visit_i128((zigzag >> 1) as i128 ^ -((zigzag & 1) as i128))
    }

    #[inline]
    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.watch.expect(Event::U8)?;
        visitor.visit_u8(self.byte()?)
    }

    #[inline]
    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u16(self.unsigned(Event::Unsigned(16))?)
    }

    #[inline]
    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u32(self.unsigned(Event::Unsigned(32))?)
    }

    #[inline]
    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.unsigned(Event::Unsigned(64))?)
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.watch.expect(Event::Unsigned(128))?;
        visitor.visit_u128(self.long_varint()?)
    }

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.watch.expect(Event::F32)?;
        visitor.visit_f32(f32::from_bits(u32::from_le_bytes(self.array()?)))
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.watch.expect(Event::F64)?;
        visitor.visit_f64(f64::from_bits(u64::from_le_bytes(self.array()?)))
    }

    #[inline]
    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let code = self.unsigned(Event::Char)?;
        visitor.visit_char(char::from_u32(code).ok_or_else(|| Error::malformed("a char"))?)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.str()?)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.str()?)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_bytes(self.sized(Event::Bytes)?)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bytes(self.sized(Event::Bytes)?)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.rest.first() {
            Some(0) => {
                self.watch.expect(Event::None)?;
                self.byte()?;
                visitor.visit_none()
            }
            Some(1) => {
                self.watch.expect(Event::Some)?;
                self.byte()?;
                self.deeper(|decoder| visitor.visit_some(decoder))
            }
            Some(_) => Err(Error::malformed("an Option")),
            None => Err(Error::ends_early()),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.watch.expect(Event::Unit)?;
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut left = self.count(Event::Seq)?;
        self.deeper(|decoder| {
            let value = visitor.visit_seq(Elements { decoder, left: &mut left })?;
            decoder.end_counted(left)?;
            Ok(value)
        })
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.watch.expect(Event::Fields)?;
        self.fields(len, visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut left = self.count(Event::Map)?;
        self.deeper(|decoder| {
            let value = visitor.visit_map(Entries { decoder, left: &mut left, before: 0 })?;
            decoder.end_counted(left)?;
            Ok(value)
        })
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }
}

/// The fields of a struct or a tuple. Derived code knows how many it reads; the names of a struct, by which they are
/// counted here, have its aliases among them.
struct Fields<'a, 'de, W> {
    decoder: &'a mut Decoder<'de, W>,
    left: usize,
}

impl<'de, W: Watch> SeqAccess<'de> for Fields<'_, 'de, W> {
    type Error = Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.decoder.watch.expect(Event::Field)?;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The elements of a sequence.
struct Elements<'a, 'de, W> {
    decoder: &'a mut Decoder<'de, W>,
    left: &'a mut usize,
}

impl<'de, W: Watch> SeqAccess<'de> for Elements<'_, 'de, W> {
    type Error = Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if *self.left == 0 {
            return Ok(None);
        }
        *self.left -= 1;
        self.decoder.element(|decoder| seed.deserialize(decoder)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(*self.left)
    }
}

/// The entries of a map.
struct Entries<'a, 'de, W> {
    decoder: &'a mut Decoder<'de, W>,
    left: &'a mut usize,
    /// How much there was before this entry.
    before: usize,
}

impl<'de, W: Watch> MapAccess<'de> for Entries<'_, 'de, W> {
    type Error = Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if *self.left == 0 {
            return Ok(None);
        }
        *self.left -= 1;
        self.before = self.decoder.rest.len();
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let value = seed.deserialize(&mut *self.decoder)?;
        if self.decoder.rest.len() == self.before && self.decoder.byte()? != 0 {
            return Err(Error::malformed("the byte of an empty element"));
        }
        Ok(value)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(*self.left)
    }
}

impl<'de, W: Watch> EnumAccess<'de> for &mut Decoder<'de, W> {
    type Error = Error;
    type Variant = Self;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let number: u32 = self.unsigned(Event::AnyVariant)?;
        let variant = seed.deserialize(IntoDeserializer::<Error>::into_deserializer(number))?;
        Ok((variant, self))
    }
}

impl<'de, W: Watch> VariantAccess<'de> for &mut Decoder<'de, W> {
    type Error = Error;

    #[inline]
    fn unit_variant(self) -> Result<(), Error> {
        self.watch.expect(Event::UnitVariant)
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        self.watch.expect(Event::NewtypeVariant)?;
        self.deeper(|decoder| seed.deserialize(decoder))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.watch.expect(Event::Variant)?;
        self.fields(len, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.watch.expect(Event::Variant)?;
        self.fields(fields.len(), visitor)
    }
}
