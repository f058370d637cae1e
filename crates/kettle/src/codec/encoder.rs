//! A value to bytes.
//!
//! The format has no names and no types, only data, in the order of the fields:
//!
//! | | |
//! |---|---|
//! | `bool`, `u8`, `i8` | a byte |
//! | other integers, `char` | seven bits a byte, the lowest first; the top bit says that more follow; signed ones zigzag |
//! | floats | their bits, little-endian |
//! | strings, bytes | their length, then they |
//! | options | a byte 0, or a byte 1 and the value |
//! | enums | the number of the variant, then its fields |
//! | sequences, maps | how many elements there are, then they; an element that would take no byte takes one, so that a length is never believed beyond the bytes that are there |
//! | units | nothing |

use std::fmt::{Display, Write as _};

use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleStruct,
    SerializeTupleVariant,
};
use serde::{Serialize, Serializer};

use super::error::{DEPTH_MAX, Error};
use super::known::{self, Edge, STEP};
use super::octets;
use super::trial::{Event, Notes};
use super::varint;

/// Where the bytes go, and what is noted of the way.
pub(super) trait Sink: 'static {
    fn push(&mut self, byte: u8);
    /// So few bytes that the compiler knows how many.
    fn fixed<const N: usize>(&mut self, bytes: [u8; N]) {
        self.extend(&bytes);
    }
    fn extend(&mut self, bytes: &[u8]);
    /// Bytes that are the elements of a sequence.
    fn elements(&mut self, bytes: impl Iterator<Item = u8>) {
        for byte in bytes {
            self.note(Event::U8);
            self.push(byte);
        }
    }
    /// A number of as many bytes as it needs.
    fn varint(&mut self, number: u64);
    /// How many bytes there were so far.
    fn len(&self) -> usize;
    /// Every call of the serializer.
    fn note(&mut self, event: Event);
    /// A branch was taken.
    fn reach(&mut self, edge: Edge);
}

/// The bytes of a message, and whether it has a shape that is not known to arrive.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) bytes: Vec<u8>,
    pub(super) is_new: bool,
}

impl Sink for Written {
    #[inline]
    fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    #[inline(always)]
    fn fixed<const N: usize>(&mut self, bytes: [u8; N]) {
        if self.has_room_for(N) { self.bytes.extend_from_slice(&bytes) } else { self.fixed_without_room(bytes) }
    }

    #[inline]
    fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A copy in one piece: the compiler sees what stands behind the iterator.
    #[inline(always)]
    fn elements(&mut self, bytes: impl Iterator<Item = u8>) {
        self.bytes.extend(bytes);
    }

    #[inline(always)]
    fn varint(&mut self, number: u64) {
        if !self.has_room_for(varint::LEN_MAX) {
            self.varint_without_room(number);
        } else if number < 1 << 7 {
            self.bytes.extend_from_slice(&[number as u8]);
        } else if number < 1 << 14 {
            self.bytes.extend_from_slice(&[number as u8 | 0x80, (number >> 7) as u8]);
        } else {
            self.long_varint(number);
        }
    }

    #[inline]
    fn len(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    fn note(&mut self, _: Event) {}

    #[inline]
    fn reach(&mut self, edge: Edge) {
        if !known::is_known(edge) {
            self.is_new = true;
        }
    }
}

impl Written {
    /// Asked before each write. Growing is a function of its own, which writes as well: if it came back to do that
    /// here, all that is at hand would have to be put by for it.
    #[inline(always)]
    fn has_room_for(&self, len: usize) -> bool {
        self.bytes.capacity() - self.bytes.len() >= len
    }

    #[cold]
    #[inline(never)]
    fn fixed_without_room<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes.extend_from_slice(&bytes);
    }

    #[cold]
    #[inline(never)]
    fn varint_without_room(&mut self, number: u64) {
        self.bytes.reserve(varint::LEN_MAX);
        self.varint(number);
    }

    /// A number of three bytes and more.
    #[inline(never)]
    fn long_varint(&mut self, number: u64) {
        // The caller knows, but not the compiler.
        if !self.has_room_for(varint::LEN_MAX) {
            self.varint_without_room(number);
        } else if number >> varint::SHORT_BITS == 0 {
            let (word, len) = varint::spread_short(number as u32);
            let end = self.bytes.len() + len;
            // Four bytes, a number that the compiler knows, are quicker than as many as there are.
            self.bytes.extend_from_slice(&word.to_le_bytes());
            self.bytes.truncate(end);
        } else if number >> varint::WORD_BITS == 0 {
            let (word, len) = varint::spread(number);
            let end = self.bytes.len() + len;
            self.bytes.extend_from_slice(&word.to_le_bytes());
            self.bytes.truncate(end);
        } else {
            self.longest_varint(number);
        }
    }

    /// A number of nine or ten bytes.
    #[inline(never)]
    fn longest_varint(&mut self, number: u64) {
        self.bytes.extend_from_slice(&varint::spread_lowest(number).to_le_bytes());
        self.varint(number >> varint::WORD_BITS);
    }
}

/// What stands for a type: the function that writes it in a trial. (Was it the one that writes messages, that one would
/// have to be there on its own, and the compiler would hardly ever build it into the one for the value around.)
fn type_of<T: Serialize + ?Sized>() -> u64 {
    let write: fn(&T, At<'static, Notes>) -> Result<(), Error> = T::serialize;
    write as usize as u64
}

/// Writes `value`, as part of a value of the type that `root` stands for.
pub(super) fn write<T: Serialize + ?Sized, S: Sink>(value: &T, root: u64, sink: S) -> Result<S, Error> {
    let mut sink = sink;
    let owner = type_of::<T>();
    // Values without any branch need a trial as well: the first one of each type.
    sink.reach(known::edge(root ^ owner, 0));
    value.serialize(At { sink: &mut sink, root, place: root ^ owner, owner, depth: 0 })?;
    Ok(sink)
}

/// The place of a value inside the whole. What does not change in a loop is here, and not behind the reference, so that
/// the compiler sees it.
pub(super) struct At<'e, S> {
    sink: &'e mut S,
    /// The type of the whole value.
    root: u64,
    /// Where in the whole it is, with its own type and that of the whole.
    place: u64,
    /// The type of what stands here.
    owner: u64,
    depth: usize,
}

/// A sequence, a map, a struct, a tuple, or a variant that is one, while it is written.
pub(super) struct Parts<'e, S> {
    sink: &'e mut S,
    root: u64,
    /// Of the part that comes next.
    place: u64,
    depth: usize,
    /// How many parts are still to come, as far as was said.
    left: usize,
    /// What was written before a part of a sequence.
    before: usize,
}

/// The branches, in the upper half of a word; below it stands a number.
mod branch {
    pub(super) const NONE: u64 = 1 << 32;
    pub(super) const SOME: u64 = 2 << 32;
    pub(super) const SEQ: u64 = 3 << 32;
    pub(super) const MAP: u64 = 4 << 32;
    pub(super) const FIELDS: u64 = 5 << 32;
    pub(super) const UNIT_VARIANT: u64 = 6 << 32;
    pub(super) const NEWTYPE_VARIANT: u64 = 7 << 32;
    pub(super) const VARIANT: u64 = 8 << 32;
}

/// What stands for a name: where it is.
fn name_of(name: &'static str) -> u64 {
    (name.as_ptr() as usize as u64).rotate_left(32)
}

impl<'e, S: Sink> At<'e, S> {
    #[inline]
    fn unsigned(self, number: u64, event: Event) -> Result<(), Error> {
        self.sink.note(event);
        self.sink.varint(number);
        Ok(())
    }

    #[inline]
    fn byte(self, byte: u8, event: Event) -> Result<(), Error> {
        self.sink.note(event);
        self.sink.push(byte);
        Ok(())
    }

    #[inline]
    fn slice(self, bytes: &[u8], event: Event) -> Result<(), Error> {
        self.sink.note(event);
        self.sink.varint(bytes.len() as u64);
        self.sink.extend(bytes);
        Ok(())
    }

    /// Takes a branch; says where what follows stands.
    #[inline(always)]
    fn take(&mut self, branch: u64) -> u64 {
        self.sink.reach(known::edge(self.place, branch));
        self.owner.wrapping_add(branch.wrapping_mul(known::SPREAD))
    }

    #[inline(always)]
    fn parts(mut self, branch: u64, len: usize) -> Result<Parts<'e, S>, Error> {
        let place = self.take(branch);
        let depth = deeper(self.depth)?;
        Ok(Parts { sink: self.sink, root: self.root, place, depth, left: len, before: 0 })
    }

    #[inline(always)]
    fn fields(self, name: &'static str, len: usize) -> Result<Parts<'e, S>, Error> {
        self.sink.note(Event::Fields);
        self.parts(name_of(name) ^ (branch::FIELDS | len as u64), len)
    }

    #[inline(always)]
    fn variant(self, name: &'static str, number: u32, len: usize) -> Result<Parts<'e, S>, Error> {
        self.sink.note(Event::Variant);
        self.sink.varint(u64::from(number));
        self.parts(name_of(name) ^ branch::VARIANT ^ u64::from(number) ^ ((len as u64) << 40), len)
    }

    #[inline(always)]
    fn only_part<T: Serialize + ?Sized>(mut self, branch: u64, value: &T) -> Result<(), Error> {
        let place = self.take(branch).wrapping_add(STEP);
        let depth = deeper(self.depth)?;
        Parts { sink: self.sink, root: self.root, place, depth, left: 1, before: 0 }.part(value, place)
    }
}

/// A number of any length.
fn wide_varint(sink: &mut impl Sink, mut number: u128) {
    while number >= 0x80 {
        sink.push(number as u8 | 0x80);
        number >>= 7;
    }
    sink.push(number as u8);
}

/// One level deeper.
#[inline(always)]
fn deeper(depth: usize) -> Result<usize, Error> {
    if depth < DEPTH_MAX { Ok(depth + 1) } else { Err(Error::too_deep()) }
}

impl<S: Sink> Parts<'_, S> {
    /// The part at this place.
    #[inline(always)]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T, place: u64) -> Result<(), Error> {
        let (root, owner) = (self.root, type_of::<T>());
        value.serialize(At { sink: self.sink, root, place: root ^ place ^ owner, owner, depth: self.depth })
    }

    #[inline]
    fn begin_element(&mut self) {
        self.before = self.sink.len();
    }

    #[inline]
    fn end_element(&mut self) {
        if self.sink.len() == self.before {
            self.sink.push(0);
        }
        self.left = self.left.wrapping_sub(1);
    }

    /// All elements, which are bytes.
    #[inline(always)]
    fn bytes<T: Serialize>(&mut self, elements: impl Iterator<Item = T>) -> Result<(), Error> {
        let before = self.sink.len();
        let mut are_bytes = true;
        self.sink.elements(elements.map(|element| {
            octets::of_element(&element).unwrap_or_else(|| {
                are_bytes = false;
                0
            })
        }));
        self.left = self.left.wrapping_sub(self.sink.len() - before);
        if are_bytes { Ok(()) } else { Err(Error::new("its elements are no bytes")) }
    }

    #[inline]
    fn end_counted(self) -> Result<(), Error> {
        self.sink.note(Event::End);
        if self.left == 0 { Ok(()) } else { Err(Error::miscounted()) }
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.sink.note(Event::Field);
        self.place = self.place.wrapping_add(STEP);
        self.left = self.left.wrapping_sub(1);
        self.part(value, self.place)
    }

    #[inline]
    fn end_fields(self) -> Result<(), Error> {
        self.sink.note(Event::End);
        if self.left != 0 {
            // Not as many as it said: so another branch.
            self.sink.reach(known::edge(self.root ^ self.place, self.left as u64));
        }
        Ok(())
    }
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

impl<'e, S: Sink> Serializer for At<'e, S> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Parts<'e, S>;
    type SerializeTuple = Parts<'e, S>;
    type SerializeTupleStruct = Parts<'e, S>;
    type SerializeTupleVariant = Parts<'e, S>;
    type SerializeMap = Parts<'e, S>;
    type SerializeStruct = Parts<'e, S>;
    type SerializeStructVariant = Parts<'e, S>;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, v: bool) -> Result<(), Error> {
        self.byte(v.into(), Event::Bool)
    }

    #[inline]
    fn serialize_i8(self, v: i8) -> Result<(), Error> {
        self.byte(v as u8, Event::I8)
    }

    #[inline]
    fn serialize_i16(self, v: i16) -> Result<(), Error> {
        self.unsigned(zigzag(v.into()), Event::Signed(16))
    }

    #[inline]
    fn serialize_i32(self, v: i32) -> Result<(), Error> {
        self.unsigned(zigzag(v.into()), Event::Signed(32))
    }

    #[inline]
    fn serialize_i64(self, v: i64) -> Result<(), Error> {
        self.unsigned(zigzag(v), Event::Signed(64))
    }

    fn serialize_i128(self, v: i128) -> Result<(), Error> {
        self.sink.note(Event::Signed(128));
        wide_varint(self.sink, ((v << 1) ^ (v >> 127)) as u128);
        Ok(())
    }

    #[inline]
    fn serialize_u8(self, v: u8) -> Result<(), Error> {
        self.byte(v, Event::U8)
    }

    #[inline]
    fn serialize_u16(self, v: u16) -> Result<(), Error> {
        self.unsigned(v.into(), Event::Unsigned(16))
    }

    #[inline]
    fn serialize_u32(self, v: u32) -> Result<(), Error> {
        self.unsigned(v.into(), Event::Unsigned(32))
    }

    #[inline]
    fn serialize_u64(self, v: u64) -> Result<(), Error> {
        self.unsigned(v, Event::Unsigned(64))
    }

    fn serialize_u128(self, v: u128) -> Result<(), Error> {
        self.sink.note(Event::Unsigned(128));
        wide_varint(self.sink, v);
        Ok(())
    }

    #[inline]
    fn serialize_f32(self, v: f32) -> Result<(), Error> {
        self.sink.note(Event::F32);
        self.sink.fixed(v.to_bits().to_le_bytes());
        Ok(())
    }

    #[inline(always)]
    fn serialize_f64(self, v: f64) -> Result<(), Error> {
        self.sink.note(Event::F64);
        self.sink.fixed(v.to_bits().to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_char(self, v: char) -> Result<(), Error> {
        self.unsigned(u32::from(v).into(), Event::Char)
    }

    #[inline]
    fn serialize_str(self, v: &str) -> Result<(), Error> {
        self.slice(v.as_bytes(), Event::Str)
    }

    #[inline]
    fn serialize_bytes(self, v: &[u8]) -> Result<(), Error> {
        self.slice(v, Event::Bytes)
    }

    #[inline(always)]
    fn serialize_none(mut self) -> Result<(), Error> {
        self.take(branch::NONE);
        self.byte(0, Event::None)
    }

    #[inline(always)]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.sink.note(Event::Some);
        self.sink.push(1);
        self.only_part(branch::SOME, value)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Error> {
        self.sink.note(Event::Unit);
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    #[inline(always)]
    fn serialize_unit_variant(mut self, name: &'static str, number: u32, _: &'static str) -> Result<(), Error> {
        self.take(name_of(name) ^ (branch::UNIT_VARIANT | u64::from(number)));
        self.unsigned(number.into(), Event::UnitVariant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    #[inline(always)]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        number: u32,
        _variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.sink.note(Event::NewtypeVariant);
        self.sink.varint(number.into());
        self.only_part(name_of(name) ^ (branch::NEWTYPE_VARIANT | u64::from(number)), value)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        let len = len.ok_or_else(Error::without_length)?;
        self.sink.note(Event::Seq);
        self.sink.varint(len as u64);
        let mut parts = self.parts(branch::SEQ | u64::from(len != 0), len)?;
        parts.place = parts.place.wrapping_add(STEP);
        Ok(parts)
    }

    #[inline]
    fn collect_seq<I: IntoIterator<Item: Serialize>>(self, elements: I) -> Result<(), Error> {
        let mut elements = elements.into_iter();
        let len = match elements.size_hint() {
            (least, Some(most)) if least == most => Some(least),
            _ => None,
        };
        let mut parts = self.serialize_seq(len)?;
        if octets::are_elements::<I::Item>() {
            parts.bytes(elements)?;
        } else {
            elements.try_for_each(|element| SerializeSeq::serialize_element(&mut parts, &element))?;
        }
        SerializeSeq::end(parts)
    }

    #[inline(always)]
    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, Error> {
        self.sink.note(Event::Fields);
        self.parts(branch::FIELDS | len as u64, len)
    }

    #[inline]
    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeTupleStruct, Error> {
        self.fields(name, len)
    }

    #[inline(always)]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        number: u32,
        _variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        self.variant(name, number, len)
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, Error> {
        let len = len.ok_or_else(Error::without_length)?;
        self.sink.note(Event::Map);
        self.sink.varint(len as u64);
        let mut parts = self.parts(branch::MAP | u64::from(len != 0), len)?;
        parts.place = parts.place.wrapping_add(STEP);
        Ok(parts)
    }

    #[inline(always)]
    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, Error> {
        self.fields(name, len)
    }

    #[inline(always)]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        number: u32,
        _variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        self.variant(name, number, len)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        let mut text = String::new();
        write!(text, "{value}").map_err(|_| Error::new("its Display fails"))?;
        self.serialize_str(&text)
    }
}

impl<S: Sink> SerializeSeq for Parts<'_, S> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.begin_element();
        self.part(value, self.place)?;
        self.end_element();
        Ok(())
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        self.end_counted()
    }
}

impl<S: Sink> SerializeMap for Parts<'_, S> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.begin_element();
        self.part(key, self.place)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.part(value, self.place.wrapping_add(STEP))?;
        self.end_element();
        Ok(())
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        self.end_counted()
    }
}

impl<S: Sink> SerializeTuple for Parts<'_, S> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.field(value)
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        self.end_fields()
    }
}

/// What is named after its type, or its variant: all the same.
macro_rules! fields {
    ($($kind:ident),+) => {$(
        impl<S: Sink> $kind for Parts<'_, S> {
            type Ok = ();
            type Error = Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.field(value)
            }

            #[inline]
            fn end(self) -> Result<(), Error> {
                self.end_fields()
            }
        }
    )+};
    (named: $($kind:ident),+) => {$(
        impl<S: Sink> $kind for Parts<'_, S> {
            type Ok = ();
            type Error = Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), Error> {
                self.field(value)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), Error> {
                Err(Error::skipped(name))
            }

            #[inline]
            fn end(self) -> Result<(), Error> {
                self.end_fields()
            }
        }
    )+};
}

fields!(SerializeTupleStruct, SerializeTupleVariant);
fields!(named: SerializeStruct, SerializeStructVariant);
