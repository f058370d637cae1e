//! A value to bytes that describe it.

use std::fmt::Display;

use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleStruct,
    SerializeTupleVariant,
};
use serde::{Serialize, Serializer};

use super::format as tag;
use crate::codec::{DEPTH_MAX, Error};

/// The bytes of this value.
pub(super) fn write<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    value.serialize(At { bytes: &mut bytes, depth: 0 })?;
    Ok(bytes)
}

/// Where a value is written. The same for the parts of one that has parts.
struct At<'a> {
    bytes: &'a mut Vec<u8>,
    depth: usize,
}

impl<'a> At<'a> {
    fn put(self, tag: u8, number: &[u8]) -> Result<(), Error> {
        self.bytes.push(tag);
        self.bytes.extend_from_slice(number);
        Ok(())
    }

    /// A tag, and bytes with their length.
    fn put_sized(self, tag: u8, bytes: &[u8]) -> Result<(), Error> {
        self.bytes.push(tag);
        let mut len = bytes.len();
        while len >= 0x80 {
            self.bytes.push(len as u8 | 0x80);
            len >>= 7;
        }
        self.bytes.push(len as u8);
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn again(&mut self) -> At<'_> {
        At { bytes: self.bytes, depth: self.depth }
    }

    fn deeper(self) -> Result<Self, Error> {
        if self.depth < DEPTH_MAX { Ok(Self { depth: self.depth + 1, ..self }) } else { Err(Error::too_deep()) }
    }

    /// Begins what has parts.
    fn open(self, tag: u8) -> Result<Self, Error> {
        self.bytes.push(tag);
        self.deeper()
    }

    fn close(self) -> Result<(), Error> {
        self.put(tag::END, &[])
    }

    fn variant(mut self, name: &str) -> Result<Self, Error> {
        self.again().put_sized(tag::VARIANT, name.as_bytes())?;
        Ok(self)
    }

    fn named<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        self.again().serialize_str(name)?;
        value.serialize(self.again())
    }
}

macro_rules! numbers {
    ($($method:ident($type:ty) = $tag:ident;)+) => {$(
        fn $method(self, v: $type) -> Result<(), Error> {
            self.put(tag::$tag, &v.to_le_bytes())
        }
    )+};
}

impl<'a> Serializer for At<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    numbers! {
        serialize_i8(i8) = I8;
        serialize_i16(i16) = I16;
        serialize_i32(i32) = I32;
        serialize_i64(i64) = I64;
        serialize_i128(i128) = I128;
        serialize_u8(u8) = U8;
        serialize_u16(u16) = U16;
        serialize_u32(u32) = U32;
        serialize_u64(u64) = U64;
        serialize_u128(u128) = U128;
        serialize_f32(f32) = F32;
        serialize_f64(f64) = F64;
    }

    fn serialize_bool(self, v: bool) -> Result<(), Error> {
        self.put(if v { tag::TRUE } else { tag::FALSE }, &[])
    }

    fn serialize_char(self, v: char) -> Result<(), Error> {
        self.put(tag::CHAR, &u32::from(v).to_le_bytes())
    }

    fn serialize_str(self, v: &str) -> Result<(), Error> {
        self.put_sized(tag::STR, v.as_bytes())
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), Error> {
        self.put_sized(tag::BYTES, v)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.put(tag::NONE, &[])
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self.open(tag::SOME)?)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.put(tag::UNIT, &[])
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<(), Error> {
        self.put_sized(tag::UNIT_VARIANT, name.as_bytes())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        // A type may be in itself without anything around it.
        value.serialize(self.deeper()?)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self.variant(name)?.deeper()?)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Error> {
        self.open(tag::SEQ)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Error> {
        self.open(tag::TUPLE)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        self.open(tag::TUPLE)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, name: &'static str, _: usize) -> Result<Self, Error> {
        self.variant(name)?.open(tag::TUPLE)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Error> {
        self.open(tag::MAP)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        self.open(tag::MAP)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, name: &'static str, _: usize) -> Result<Self, Error> {
        self.variant(name)?.open(tag::MAP)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.serialize_str(&value.to_string())
    }
}

macro_rules! in_order {
    ($($kind:ident :: $method:ident),+) => {$(
        impl $kind for At<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                value.serialize(self.again())
            }

            fn end(self) -> Result<(), Error> {
                self.close()
            }
        }
    )+};
}

in_order! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
}

macro_rules! by_name {
    ($($kind:ident),+) => {$(
        impl $kind for At<'_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
                self.named(name, value)
            }

            fn end(self) -> Result<(), Error> {
                self.close()
            }
        }
    )+};
}

by_name!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for At<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        key.serialize(self.again())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(self.again())
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}
