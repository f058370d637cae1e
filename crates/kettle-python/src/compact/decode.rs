//! Decoding bytes to an object, with a stack and a loop.

use std::cell::RefCell;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyList, PyString, PyTuple};

use super::keys::Keys;
use super::{
    BYTES_1, BYTES_4, DICT_1, DICT_4, END, FALSE, FLOAT, INT_1, INT_4, INT_8, INT_16, KEY, LIST_1, LIST_4, NONE,
    REMEMBERED, SAME, STR_1, STR_4, TRUE, TUPLE_1, TUPLE_4,
};
use crate::buffers::new_bytes;

thread_local! {
    /// Moved out while in use: creating a container may start the garbage collector, and thereby user code.
    static DECODER: RefCell<Option<Box<Decoder>>> = const { RefCell::new(None) };
}

/// More capacity than this is not kept for the next message.
const STACK_KEPT: usize = 4096;

/// The object of a message.
pub(crate) fn decode<'py>(py: Python<'py>, message: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let kept = DECODER.try_with(RefCell::take).ok().flatten();
    let mut decoder = kept.unwrap_or_else(|| Box::new(Decoder::new()));
    let result = decoder.run(py, message);
    decoder.stack.clear();
    decoder.remembered.clear();
    decoder.stack.shrink_to(STACK_KEPT);
    let _ = DECODER.try_with(|place| place.replace(Some(decoder)));
    result
}

struct Decoder {
    stack: Vec<Py<PyAny>>,
    /// The objects that later steps ask for, and the positions of the steps that pushed them, in order.
    remembered: Vec<(usize, Py<PyAny>)>,
    keys: Keys,
}

impl Decoder {
    fn new() -> Self {
        Self { stack: Vec::new(), remembered: Vec::new(), keys: Keys::new() }
    }

    fn run<'py>(&mut self, py: Python<'py>, message: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        let mut rest = Rest(message);
        loop {
            let at = message.len() - rest.0.len();
            let [step] = rest.array()?;
            if step == END {
                break;
            }
            let made = self.step(py, step & !REMEMBERED, &mut rest)?;
            if step & REMEMBERED != 0 {
                self.remembered.push((at, made.clone().unbind()));
            }
            self.stack.push(made.unbind());
        }
        match self.stack.pop() {
            Some(object) if self.stack.is_empty() && rest.0.is_empty() => Ok(object.into_bound(py)),
            _ => Err(torn()),
        }
    }

    fn step<'py>(&mut self, py: Python<'py>, step: u8, rest: &mut Rest<'_>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match step {
            KEY => {
                let len = rest.short()?;
                self.keys.get(py, rest.take(len)?)?.into_any()
            }
            STR_1 | STR_4 => {
                let len = rest.len(step == STR_1)?;
                PyString::from_bytes(py, rest.take(len)?)?.into_any()
            }
            INT_1 => i8::from_ne_bytes(rest.array()?).into_pyobject(py)?.into_any(),
            INT_4 => i32::from_ne_bytes(rest.array()?).into_pyobject(py)?.into_any(),
            INT_8 => i64::from_ne_bytes(rest.array()?).into_pyobject(py)?.into_any(),
            INT_16 => i128::from_ne_bytes(rest.array()?).into_pyobject(py)?.into_any(),
            FLOAT => PyFloat::new(py, f64::from_ne_bytes(rest.array()?)).into_any(),
            NONE => py.None().into_bound(py),
            TRUE | FALSE => PyBool::new(py, step == TRUE).to_owned().into_any(),
            DICT_1 | DICT_4 => {
                let len = rest.len(step == DICT_1)?;
                let at = self.below(len.checked_mul(2).ok_or_else(torn)?)?;
                let dict = PyDict::new(py);
                let mut both = self.stack.drain(at..);
                while let (Some(key), Some(value)) = (both.next(), both.next()) {
                    dict.set_item(key.into_bound(py), value.into_bound(py))?;
                }
                dict.into_any()
            }
            LIST_1 | LIST_4 => {
                let at = self.below(rest.len(step == LIST_1)?)?;
                PyList::new(py, self.stack.drain(at..))?.into_any()
            }
            TUPLE_1 | TUPLE_4 => {
                let at = self.below(rest.len(step == TUPLE_1)?)?;
                PyTuple::new(py, self.stack.drain(at..))?.into_any()
            }
            SAME => {
                let at = u32::from_ne_bytes(rest.array()?) as usize;
                let found = self.remembered.binary_search_by_key(&at, |(at, _)| *at).map_err(|_| torn())?;
                self.remembered[found].1.bind(py).clone()
            }
            BYTES_1 | BYTES_4 => {
                let len = rest.len(step == BYTES_1)?;
                new_bytes(py, rest.take(len)?)?.into_any()
            }
            _ => return Err(torn()),
        })
    }

    /// The index of the first of the topmost `len` objects.
    fn below(&self, len: usize) -> PyResult<usize> {
        self.stack.len().checked_sub(len).ok_or_else(torn)
    }
}

/// The unread rest of the message.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> PyResult<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(torn)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> PyResult<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(torn)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn short(&mut self) -> PyResult<usize> {
        Ok(u8::from_ne_bytes(self.array()?).into())
    }

    fn len(&mut self, short: bool) -> PyResult<usize> {
        if short { self.short() } else { Ok(u32::from_ne_bytes(self.array()?) as usize) }
    }
}

#[cold]
fn torn() -> PyErr {
    PyValueError::new_err("a message is torn")
}
