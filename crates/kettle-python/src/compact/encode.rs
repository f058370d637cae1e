//! Encoding an object to bytes, in one pass.

use std::cell::RefCell;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::seen::{Place, Seen};
use super::{
    BYTES_1, DEPTH_MAX, DICT_1, END, FALSE, FLOAT, INT_1, INT_4, INT_8, INT_16, KEY, KEY_MAX, LEN_MAX, LIST_1, NONE,
    REMEMBERED, SAME, STR_1, TRUE, TUPLE_1,
};
use crate::fast::numbers;

/// An encoded object.
pub(crate) struct Compact(Option<Box<Encoder>>);

thread_local! {
    /// The thread's encoder while it is not in use.
    static ENCODER: RefCell<Option<Box<Encoder>>> = const { RefCell::new(None) };
}

impl Compact {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |encoder| &encoder.bytes)
    }
}

impl Drop for Compact {
    fn drop(&mut self) {
        // At the end of a thread the slot may be gone already.
        let _ = ENCODER.try_with(|place| place.replace(self.0.take()));
    }
}

/// Encodes a dict, a list or a tuple. Returns None if pickle has to do it.
pub(crate) fn encode(obj: &Bound<'_, PyAny>) -> Option<Compact> {
    if cfg!(Py_GIL_DISABLED) || !(is::<PyDict>(obj) || is::<PyList>(obj) || is::<PyTuple>(obj)) {
        return None;
    }
    let mut compact = Compact(Some(ENCODER.try_with(RefCell::take).ok().flatten().unwrap_or_default()));
    compact.0.as_mut()?.attempt(obj)?;
    Some(compact)
}

fn is<T: pyo3::type_object::PyTypeInfo>(obj: &Bound<'_, PyAny>) -> bool {
    T::is_exact_type_of(obj)
}

/// After this many consecutive failures, only one in [`SELDOM`] attempts is made: what a thread sends resembles what it
/// sent before.
const FAILURES: u8 = 4;
const SELDOM: u8 = 8;

struct Encoder {
    bytes: Vec<u8>,
    seen: Seen,
    /// Consecutive failures.
    failures: u8,
    /// Attempts that were skipped.
    left_out: u8,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { bytes: Vec::with_capacity(256), seen: Seen::new(), failures: 0, left_out: 0 }
    }
}

impl Encoder {
    /// Writes a message. Returns None if pickle has to do it.
    fn attempt(&mut self, obj: &Bound<'_, PyAny>) -> Option<()> {
        if self.failures == FAILURES && self.left_out < SELDOM - 1 {
            self.left_out += 1;
            return None;
        }
        self.left_out = 0;
        self.bytes.clear();
        self.seen.clear();
        let written = self.write(obj, 0);
        self.bytes.push(END);
        self.failures = if written.is_some() { 0 } else { FAILURES.min(self.failures + 1) };
        written
    }

    /// Writes an object at this depth. Returns None if the attempt has failed.
    fn write(&mut self, obj: &Bound<'_, PyAny>, depth: usize) -> Option<()> {
        self.expect(1)?;
        if let Ok(s) = obj.cast_exact::<PyString>() {
            self.write_str(s, STR_1)
        } else if let Ok(i) = obj.cast_exact::<PyInt>() {
            self.write_int(i)
        } else if let Ok(f) = obj.cast_exact::<PyFloat>() {
            self.step(FLOAT, f.value().to_ne_bytes());
            Some(())
        } else if obj.is_none() {
            self.bytes.push(NONE);
            Some(())
        } else if let Ok(b) = obj.cast_exact::<PyBool>() {
            self.bytes.push(if b.is_true() { TRUE } else { FALSE });
            Some(())
        } else if let Ok(b) = obj.cast_exact::<PyBytes>() {
            let place = self.seen.meet(b.as_ptr() as usize, self.here())?;
            if self.is_new(place)? { self.write_text(BYTES_1, b.as_bytes()) } else { Some(()) }
        } else {
            self.write_container(obj, depth)
        }
    }

    fn write_container(&mut self, obj: &Bound<'_, PyAny>, depth: usize) -> Option<()> {
        let address = obj.as_ptr() as usize;
        let place = self.seen.open(address)?;
        if !self.is_new(place)? {
            return Some(());
        }
        if depth == DEPTH_MAX {
            return None;
        }
        let (step, len) = if let Ok(dict) = obj.cast_exact::<PyDict>() {
            // Each element takes at least one byte.
            self.expect(dict.len())?;
            for (key, value) in dict {
                match key.cast_exact::<PyString>() {
                    Ok(key) => self.write_str(key, KEY)?,
                    Err(_) => self.write(&key, depth + 1)?,
                }
                self.write(&value, depth + 1)?;
            }
            (DICT_1, dict.len())
        } else if let Ok(list) = obj.cast_exact::<PyList>() {
            self.expect(list.len())?;
            for item in list {
                self.write(&item, depth + 1)?;
            }
            (LIST_1, list.len())
        } else {
            let tuple = obj.cast_exact::<PyTuple>().ok()?;
            self.expect(tuple.len())?;
            for item in tuple.iter_borrowed() {
                self.write(&item, depth + 1)?;
            }
            (TUPLE_1, tuple.len())
        };
        self.seen.close(address, self.here());
        self.write_len(step, len);
        Some(())
    }

    fn write_int(&mut self, i: &Bound<'_, PyInt>) -> Option<()> {
        // Not with `extract`, which raises an error for an int that is too long, and an error is an object.
        let Some(word) = numbers::as_i64(i) else {
            self.step(INT_16, numbers::as_i128(i)?.to_ne_bytes());
            return Some(());
        };
        if let Ok(byte) = i8::try_from(word) {
            self.step(INT_1, byte.to_ne_bytes());
        } else if let Ok(half) = i32::try_from(word) {
            self.step(INT_4, half.to_ne_bytes());
        } else {
            self.step(INT_8, word.to_ne_bytes());
        }
        Some(())
    }

    fn write_str(&mut self, s: &Bound<'_, PyString>, step: u8) -> Option<()> {
        let place = self.seen.meet(s.as_ptr() as usize, self.here())?;
        if !self.is_new(place)? {
            return Some(());
        }
        // Lone surrogates have no UTF-8 encoding; pickle can send them. The error ends the attempt.
        let text = s.to_str().ok()?.as_bytes();
        self.write_text(if text.len() <= KEY_MAX { step } else { STR_1 }, text)
    }

    /// `step` is the one for short values.
    fn write_text(&mut self, step: u8, text: &[u8]) -> Option<()> {
        self.expect(text.len())?;
        self.write_len(step, text.len());
        self.bytes.extend_from_slice(text);
        Some(())
    }

    /// Whether the object is met for the first time and has to be written now. Otherwise a reference to it has been
    /// written.
    fn is_new(&mut self, place: Place) -> Option<bool> {
        match place {
            Place::New => Some(true),
            Place::At(at) => {
                self.bytes[at as usize] |= REMEMBERED;
                self.step(SAME, at.to_ne_bytes());
                Some(false)
            }
            Place::Open => None,
        }
    }

    /// Returns None if this many more bytes are too many.
    fn expect(&self, bytes: usize) -> Option<()> {
        (self.bytes.len() + bytes <= LEN_MAX).then_some(())
    }

    fn here(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn step<const N: usize>(&mut self, step: u8, operand: [u8; N]) {
        self.bytes.push(step);
        self.bytes.extend_from_slice(&operand);
    }

    /// Writes a step with a length: `step`, or the one after it if the length needs more than a byte.
    fn write_len(&mut self, step: u8, len: usize) {
        match u8::try_from(len) {
            Ok(len) => self.step(step, [len]),
            Err(_) => self.step(step + 1, (len as u32).to_ne_bytes()),
        }
    }
}
