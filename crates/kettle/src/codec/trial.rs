//! Whether a value arrives as it is: its sender tries that out before it sends the first value of each shape.
//!
//! A message has no names and no types in it, so what serde's derive writes and what it reads must match call by call.
//! With some attributes they do not: a field that is left out, a variant that is skipped, a type that asks what comes
//! next. The receiver would get an error, when it is too late, or another value. So
//!
//! 1. the value is written once more, and all calls are noted;
//! 2. the bytes are read, as the receiver does, and each call is compared with the one that wrote there;
//! 3. what was read is written again, and must take the same branches: the same variants, options, numbers of fields.
//!
//! What makes this rare is in [`known`].

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::decoder::{self, At, Watch};
use super::encoder::{self, Sink};
use super::error::Error;
use super::known::{self, Edge};

/// A call of a serializer, or of a deserializer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Bool,
    U8,
    I8,
    /// With so many bits.
    Unsigned(u8),
    Signed(u8),
    F32,
    F64,
    Char,
    Str,
    Bytes,
    Unit,
    None,
    Some,
    Seq,
    Map,
    /// A struct, or a tuple of any kind.
    Fields,
    /// One of its fields comes next.
    Field,
    UnitVariant,
    NewtypeVariant,
    /// One with fields.
    Variant,
    /// One whose content is not known yet. Only read.
    AnyVariant,
    /// Of a sequence, a map, a struct, a tuple, a variant with fields.
    End,
}

impl Event {
    /// Whether what was written by this call can be read by that one.
    fn is_read_by(self, wanted: Self) -> bool {
        match (self, wanted) {
            // The longer reads the shorter.
            (Self::Unsigned(is), Self::Unsigned(want)) | (Self::Signed(is), Self::Signed(want)) => is <= want,
            (Self::Str, Self::Bytes) => true,
            (is, want) => is == want,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("a bool"),
            Self::U8 => f.write_str("a u8"),
            Self::I8 => f.write_str("an i8"),
            Self::Unsigned(bits) => write!(f, "a u{bits}"),
            Self::Signed(bits) => write!(f, "an i{bits}"),
            Self::F32 => f.write_str("an f32"),
            Self::F64 => f.write_str("an f64"),
            Self::Char => f.write_str("a char"),
            Self::Str => f.write_str("a string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Unit => f.write_str("a unit"),
            Self::None | Self::Some => f.write_str("an Option"),
            Self::Seq => f.write_str("a sequence"),
            Self::Map => f.write_str("a map"),
            Self::Fields => f.write_str("a struct or tuple"),
            Self::Field => f.write_str("a further field"),
            Self::UnitVariant => f.write_str("a variant without fields"),
            Self::NewtypeVariant => f.write_str("a variant with one unnamed field"),
            Self::Variant => f.write_str("a variant with fields"),
            Self::AnyVariant => f.write_str("a variant"),
            Self::End => f.write_str("the end"),
        }
    }
}

/// Calls in a row, each with how often it was made: a million numbers are one entry.
#[derive(Debug, Default)]
struct Calls(Vec<(Event, usize)>);

impl Calls {
    fn push(&mut self, event: Event) {
        match self.0.last_mut() {
            Some((last, times)) if *last == event => *times += 1,
            _ => self.0.push((event, 1)),
        }
    }
}

/// Notes the calls and the branches, and drops the bytes.
#[derive(Debug, Default)]
pub(super) struct Notes {
    len: usize,
    calls: Calls,
    edges: HashSet<Edge>,
}

impl Sink for Notes {
    fn push(&mut self, _: u8) {
        self.len += 1;
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
    }

    fn varint(&mut self, number: u64) {
        self.len += (64 - (number | 1).leading_zeros()).div_ceil(7) as usize;
    }

    fn len(&self) -> usize {
        self.len
    }

    fn note(&mut self, event: Event) {
        self.calls.push(event);
    }

    fn reach(&mut self, edge: Edge) {
        self.edges.insert(edge);
    }
}

/// Compares the calls of a deserializer with those that wrote.
struct Comparison {
    rest: std::vec::IntoIter<(Event, usize)>,
    next: Option<(Event, usize)>,
    /// Bytes are read as a sequence of numbers.
    is_inside_bytes: bool,
}

impl Comparison {
    fn with(calls: Calls) -> Self {
        let mut rest = calls.0.into_iter();
        Self { next: rest.next(), rest, is_inside_bytes: false }
    }

    fn next(&self) -> Option<Event> {
        self.next.map(|(event, _)| event)
    }

    fn advance(&mut self) {
        match &mut self.next {
            Some((_, times)) if *times > 1 => *times -= 1,
            next => *next = self.rest.next(),
        }
    }
}

impl Comparison {
    /// Passes by a sequence of bytes, which stands in the message as bytes do; false if it has something else in it.
    fn pass_sequence_of_bytes(&mut self) -> bool {
        self.advance();
        while self.next() == Some(Event::U8) {
            self.next = self.rest.next();
        }
        let is_of_bytes = self.next() == Some(Event::End);
        self.advance();
        is_of_bytes
    }
}

impl Watch for Comparison {
    fn expect(&mut self, wanted: Event) -> Result<(), Error> {
        match (self.next(), wanted) {
            (_, Event::U8) if self.is_inside_bytes => Ok(()),
            (_, Event::End) if self.is_inside_bytes => {
                self.is_inside_bytes = false;
                Ok(())
            }
            (Some(Event::Bytes), Event::Seq) => {
                self.is_inside_bytes = true;
                self.advance();
                Ok(())
            }
            (Some(Event::Seq), Event::Bytes) if self.pass_sequence_of_bytes() => Ok(()),
            // What it has is compared in a moment.
            (Some(Event::UnitVariant | Event::NewtypeVariant | Event::Variant), Event::AnyVariant) => Ok(()),
            (Some(written), _) if written.is_read_by(wanted) => {
                self.advance();
                Ok(())
            }
            (Some(Event::End), Event::Field) => Err(mismatch("reads a field that its Serialize did not write")),
            (Some(Event::Field), Event::End) => Err(mismatch("does not read a field that its Serialize wrote")),
            (written, _) => {
                let written = written.unwrap_or(Event::End);
                Err(mismatch(&format!("reads {wanted} where its Serialize wrote {written}")))
            }
        }
    }
}

#[cold]
fn mismatch(what: &str) -> Error {
    Error::new(format!(
        "its Deserialize {what}; the two must make the same calls in the same order; send it as a kettle::Described, \
         or remove attributes such as skip_serializing, skip_serializing_if and skip_deserializing"
    ))
}

/// What stands for `T` as the type of a whole value: the functions that write and read it.
pub(super) fn root_of<T: Serialize + DeserializeOwned>() -> u64 {
    let read: fn(At<'static, 'static, Comparison>) -> Result<T, Error> = T::deserialize;
    (read as usize as u64).wrapping_mul(known::SPREAD)
}

/// Tries whether `value`, encoded as these bytes, arrives.
pub(super) fn arrives<T: Serialize + DeserializeOwned>(value: &T, bytes: &[u8]) -> Result<(), Error> {
    let root = root_of::<T>();
    let Notes { calls, edges, .. } = encoder::write(value, root, Notes::default())?;
    let (arrived, comparison) = decoder::read::<T, _>(bytes, Comparison::with(calls))?;
    if let Some(event) = comparison.next() {
        return Err(Error::new(format!("its Serialize wrote {event} that its Deserialize does not read")));
    }
    super::begin_again();
    let again = encoder::write(&arrived, root, Notes::default())?;
    if again.edges != edges {
        return Err(Error::new(
            "its Deserialize makes another value of what its Serialize writes (a variant that is skipped before \
             others does this: put it last, or send the value as a kettle::Described)",
        ));
    }
    known::learn(&edges);
    Ok(())
}
