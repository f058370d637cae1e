//! Bytes to a value: the other half of the [encoder](super::encoder), where the format is described.
//!
//! The bytes may be anything: a queue may have been received as one of other items, and any process of the session can
//! write into its memory. So every length is held against the bytes that are there before anything is done by it.

use std::slice;

use serde::de::{DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::{DEPTH_MAX, Error};
use super::octets;
use super::trial::Event;
use super::varint;

/// Sees every call of the deserializer before it reads.
pub(super) trait Watch {
    /// Whether it has to see each of them.
    const SEES_ALL: bool = true;

    fn expect(&mut self, event: Event) -> Result<(), Error>;
}

/// Nothing is to be seen.
#[derive(Debug)]
pub(super) struct Blind;

impl Watch for Blind {
    const SEES_ALL: bool = false;

    #[inline]
    fn expect(&mut self, _: Event) -> Result<(), Error> {
        Ok(())
    }
}

/// What is still to be read.
#[derive(Debug)]
pub(super) struct Decoder<'de, W> {
    rest: slice::Iter<'de, u8>,
    watch: W,
}

/// Reads one value. How deep it is does not change in a loop, so it is here, where the compiler sees that.
#[derive(Debug)]
pub(super) struct At<'a, 'de, W> {
    decoder: &'a mut Decoder<'de, W>,
    depth: usize,
}

/// Decodes a value from all of these bytes.
pub(super) fn read<'de, T: Deserialize<'de>, W: Watch>(bytes: &'de [u8], watch: W) -> Result<(T, W), Error> {
    let mut decoder = Decoder { rest: bytes.iter(), watch };
    let value = T::deserialize(At { decoder: &mut decoder, depth: 0 })?;
    match decoder.rest.len() {
        0 => Ok((value, decoder.watch)),
        n => Err(Error::new(format!("{n} bytes of the message are left over when the value is complete"))),
    }
}

impl<'de, W: Watch> Decoder<'de, W> {
    #[inline]
    fn byte(&mut self) -> Result<u8, Error> {
        self.rest.next().copied().ok_or_else(Error::ends_early)
    }

    /// Passes by so many bytes, which are there.
    #[inline(always)]
    fn advance(&mut self, len: usize) {
        // Of the two ends of an iterator this moves one, where another slice would be two words.
        if len != 0 {
            self.rest.nth(len - 1);
        }
    }

    #[inline]
    fn slice(&mut self, len: usize) -> Result<&'de [u8], Error> {
        let bytes = self.rest.as_slice().get(..len).ok_or_else(Error::ends_early)?;
        self.advance(len);
        Ok(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let bytes = *self.rest.as_slice().first_chunk().ok_or_else(Error::ends_early)?;
        self.advance(N);
        Ok(bytes)
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Error> {
        match *self.rest.as_slice() {
            [only, ..] if only < 0x80 => {
                self.advance(1);
                Ok(only.into())
            }
            [first, last, ..] if last < 0x80 => {
                self.advance(2);
                Ok(u64::from(first & 0x7f) | u64::from(last) << 7)
            }
            _ => self.long_varint(),
        }
    }

    /// A number of three bytes and more, or the end.
    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, Error> {
        let Some(word) = self.rest.as_slice().first_chunk() else { return self.last_varint() };
        let (number, len) = varint::gather(u64::from_le_bytes(*word));
        if len == 0 {
            return self.longest_varint();
        }
        self.advance(len);
        Ok(number)
    }

    /// A number of more than eight bytes.
    #[inline(never)]
    fn longest_varint(&mut self) -> Result<u64, Error> {
        let lowest = varint::gather_lowest(u64::from_le_bytes(self.array()?));
        let highest = match self.byte()? {
            low @ 0x80.. => u64::from(low & 0x7f) | u64::from(self.byte()?) << 7,
            only => only.into(),
        };
        if highest >> (u64::BITS - varint::WORD_BITS) != 0 {
            return Err(too_big());
        }
        Ok(lowest | highest << varint::WORD_BITS)
    }

    /// A number among the last bytes of a message.
    #[inline(never)]
    fn last_varint(&mut self) -> Result<u64, Error> {
        let mut number = 0;
        for shift in (0..varint::WORD_BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Error::ends_early())
    }

    fn wide_varint(&mut self) -> Result<u128, Error> {
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

    /// An element of a sequence has been read, before which there was so much: it took a byte at least.
    #[inline]
    fn end_element(&mut self, before: usize) -> Result<(), Error> {
        if self.rest.len() == before && self.byte()? != 0 {
            return Err(Error::malformed("the byte of an empty element"));
        }
        Ok(())
    }

    #[inline]
    fn end_counted(&mut self, left: usize) -> Result<(), Error> {
        self.watch.expect(Event::End)?;
        if left == 0 { Ok(()) } else { Err(Error::new("its Deserialize leaves elements of a sequence unread")) }
    }
}

impl<'a, 'de, W: Watch> At<'a, 'de, W> {
    /// One level deeper.
    #[inline]
    fn deeper(self) -> Result<Self, Error> {
        let Self { decoder, depth } = self;
        if depth < DEPTH_MAX { Ok(Self { decoder, depth: depth + 1 }) } else { Err(Error::too_deep()) }
    }

    /// The same place, for the parts of what stands here.
    #[inline]
    fn again(&mut self) -> At<'_, 'de, W> {
        At { decoder: self.decoder, depth: self.depth }
    }

    /// A struct or a tuple, behind what announces it.
    #[inline]
    fn fields<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Error> {
        let mut at = self.deeper()?;
        let value = visitor.visit_seq(Fields { at: at.again(), left: count })?;
        at.decoder.watch.expect(Event::End)?;
        Ok(value)
    }
}

#[cold]
fn too_big() -> Error {
    Error::malformed("a smaller number")
}

impl<'de, W: Watch> Deserializer<'de> for At<'_, 'de, W> {
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
        self.decoder.watch.expect(Event::Bool)?;
        match self.decoder.byte()? {
            0 => visitor.visit_bool(false),
            1 => visitor.visit_bool(true),
            _ => Err(Error::malformed("a bool")),
        }
    }

    #[inline]
    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.decoder.watch.expect(Event::I8)?;
        visitor.visit_i8(self.decoder.byte()? as i8)
    }

    #[inline]
    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i16(self.decoder.signed(Event::Signed(16))?)
    }

    #[inline]
    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i32(self.decoder.signed(Event::Signed(32))?)
    }

    #[inline]
    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(self.decoder.signed(Event::Signed(64))?)
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.decoder.watch.expect(Event::Signed(128))?;
        let zigzag = self.decoder.wide_varint()?;
        visitor.visit_i128((zigzag >> 1) as i128 ^ -((zigzag & 1) as i128))
    }

    #[inline]
    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.decoder.watch.expect(Event::U8)?;
        visitor.visit_u8(self.decoder.byte()?)
    }

    #[inline]
    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u16(self.decoder.unsigned(Event::Unsigned(16))?)
    }

    #[inline]
    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u32(self.decoder.unsigned(Event::Unsigned(32))?)
    }

    #[inline]
    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.decoder.unsigned(Event::Unsigned(64))?)
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.decoder.watch.expect(Event::Unsigned(128))?;
        visitor.visit_u128(self.decoder.wide_varint()?)
    }

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.decoder.watch.expect(Event::F32)?;
        visitor.visit_f32(f32::from_bits(u32::from_le_bytes(self.decoder.array()?)))
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.decoder.watch.expect(Event::F64)?;
        visitor.visit_f64(f64::from_bits(u64::from_le_bytes(self.decoder.array()?)))
    }

    #[inline]
    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let code = self.decoder.unsigned(Event::Char)?;
        visitor.visit_char(char::from_u32(code).ok_or_else(|| Error::malformed("a char"))?)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.decoder.str()?)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.decoder.str()?)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_bytes(self.decoder.sized(Event::Bytes)?)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bytes(self.decoder.sized(Event::Bytes)?)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.decoder.rest.as_slice().first() {
            Some(0) => {
                self.decoder.watch.expect(Event::None)?;
                self.decoder.byte()?;
                visitor.visit_none()
            }
            Some(1) => {
                self.decoder.watch.expect(Event::Some)?;
                self.decoder.byte()?;
                visitor.visit_some(self.deeper()?)
            }
            Some(_) => Err(Error::malformed("an Option")),
            None => Err(Error::ends_early()),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.decoder.watch.expect(Event::Unit)?;
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
        if !W::SEES_ALL && self.depth < DEPTH_MAX {
            if let Some(value) = octets::read::<V>(|| self.decoder.sized(Event::Seq)) {
                return value;
            }
        }
        let mut left = self.decoder.count(Event::Seq)?;
        let mut at = self.deeper()?;
        let value = visitor.visit_seq(Elements { at: at.again(), left: &mut left })?;
        at.decoder.end_counted(left)?;
        Ok(value)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.decoder.watch.expect(Event::Fields)?;
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
        let mut left = self.decoder.count(Event::Map)?;
        let mut at = self.deeper()?;
        let value = visitor.visit_map(Entries { at: at.again(), left: &mut left, before: 0 })?;
        at.decoder.end_counted(left)?;
        Ok(value)
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
    at: At<'a, 'de, W>,
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
        self.at.decoder.watch.expect(Event::Field)?;
        seed.deserialize(self.at.again()).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The elements of a sequence.
struct Elements<'a, 'de, W> {
    at: At<'a, 'de, W>,
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
        let before = self.at.decoder.rest.len();
        let value = seed.deserialize(self.at.again())?;
        self.at.decoder.end_element(before)?;
        Ok(Some(value))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(*self.left)
    }
}

/// The entries of a map.
struct Entries<'a, 'de, W> {
    at: At<'a, 'de, W>,
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
        self.before = self.at.decoder.rest.len();
        seed.deserialize(self.at.again()).map(Some)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let value = seed.deserialize(self.at.again())?;
        self.at.decoder.end_element(self.before)?;
        Ok(value)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(*self.left)
    }
}

impl<'de, W: Watch> EnumAccess<'de> for At<'_, 'de, W> {
    type Error = Error;
    type Variant = Self;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let number: u32 = self.decoder.unsigned(Event::AnyVariant)?;
        let variant = seed.deserialize(IntoDeserializer::<Error>::into_deserializer(number))?;
        Ok((variant, self))
    }
}

impl<'de, W: Watch> VariantAccess<'de> for At<'_, 'de, W> {
    type Error = Error;

    #[inline]
    fn unit_variant(self) -> Result<(), Error> {
        self.decoder.watch.expect(Event::UnitVariant)
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        self.decoder.watch.expect(Event::NewtypeVariant)?;
        seed.deserialize(self.deeper()?)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.decoder.watch.expect(Event::Variant)?;
        self.fields(len, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.decoder.watch.expect(Event::Variant)?;
        self.fields(fields.len(), visitor)
    }
}
