//! Numbers as ctypes' simple types store them: converted on assignment as those do, and changed atomically.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use kettle_core::arena::Handle;
use kettle_core::shared::Bytes;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyFloat, PyInt};

/// The type code of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Signed(u8),
    Unsigned(u8),
    Float,
    Double,
    Char,
    Bool,
}

impl Code {
    pub(crate) fn parse(code: &str) -> PyResult<Self> {
        Ok(match code {
            "b" => Self::Signed(1),
            "h" => Self::Signed(2),
            "i" => Self::Signed(4),
            "l" | "q" => Self::Signed(8),
            "B" => Self::Unsigned(1),
            "H" => Self::Unsigned(2),
            "I" => Self::Unsigned(4),
            "L" | "Q" => Self::Unsigned(8),
            "f" => Self::Float,
            "d" => Self::Double,
            "c" => Self::Char,
            "?" => Self::Bool,
            _ => return Err(PyValueError::new_err(format!("typecode must be one of bBhHiIlLqQfdc?, not {code:?}"))),
        })
    }

    pub(crate) fn size(self) -> usize {
        match self {
            Self::Signed(size) | Self::Unsigned(size) => size.into(),
            Self::Float => 4,
            Self::Double => 8,
            Self::Char | Self::Bool => 1,
        }
    }

    pub(crate) fn is_number(self) -> bool {
        !matches!(self, Self::Char | Self::Bool)
    }

    /// The word at `offset`, unless it is outside or not aligned.
    pub(crate) fn word(self, memory: &Handle<Bytes>, offset: usize) -> Option<Word<'_>> {
        match self.size() {
            1 => memory.word(offset).map(Word::One),
            2 => memory.word(offset).map(Word::Two),
            4 => memory.word(offset).map(Word::Four),
            _ => memory.word(offset).map(Word::Eight),
        }
    }

    /// The word after `value` is assigned; the bits above its size do not matter.
    pub(crate) fn to_bits(self, value: &Bound<'_, PyAny>) -> PyResult<u64> {
        match self {
            Self::Signed(_) | Self::Unsigned(_) => integer(value),
            Self::Float => Ok(u64::from((value.extract::<f64>()? as f32).to_bits())),
            Self::Double => Ok(value.extract::<f64>()?.to_bits()),
            Self::Char => character(value),
            Self::Bool => Ok(u64::from(value.is_truthy()?)),
        }
    }

    pub(crate) fn to_object<'py>(self, py: Python<'py>, bits: u64) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self {
            Self::Signed(size) => {
                let unused = 64 - 8 * u32::from(size);
                (((bits << unused) as i64) >> unused).into_pyobject(py)?.into_any()
            }
            Self::Unsigned(_) => bits.into_pyobject(py)?.into_any(),
            Self::Float => PyFloat::new(py, f32::from_bits(bits as u32).into()).into_any(),
            Self::Double => PyFloat::new(py, f64::from_bits(bits)).into_any(),
            Self::Char => PyBytes::new(py, &[bits as u8]).into_any(),
            Self::Bool => PyBool::new(py, bits != 0).to_owned().into_any(),
        })
    }

    pub(crate) fn add(self, a: u64, b: u64) -> u64 {
        match self {
            Self::Float => u64::from((f32::from_bits(a as u32) + f32::from_bits(b as u32)).to_bits()),
            Self::Double => (f64::from_bits(a) + f64::from_bits(b)).to_bits(),
            _ => a.wrapping_add(b),
        }
    }

    /// Whether two values are equal as numbers: zero has two signs.
    pub(crate) fn equal(self, a: u64, b: u64) -> bool {
        match self {
            Self::Float => f32::from_bits(a as u32) == f32::from_bits(b as u32),
            Self::Double => f64::from_bits(a) == f64::from_bits(b),
            _ => {
                let unused = 64 - 8 * self.size() as u32;
                a << unused == b << unused
            }
        }
    }
}

/// The low 64 bits, silently, as C does.
fn integer(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    let py = value.py();
    let exact = value.cast::<PyInt>().map_err(PyErr::from);
    let index = match exact {
        Ok(int) => int.clone().into_any(),
        Err(_) => {
            static INDEX: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
            INDEX.import(py, "operator", "index")?.call1((value,))?
        }
    };
    if let Ok(small) = index.extract::<i64>() {
        return Ok(small as u64);
    }
    index.call_method1(intern!(py, "__and__"), (u64::MAX,))?.extract()
}

fn character(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    let byte = if let Ok(bytes) = value.cast::<PyBytes>() {
        <[u8; 1]>::try_from(bytes.as_bytes()).ok().map(|[byte]| byte)
    } else if let Ok(bytes) = value.cast::<PyByteArray>() {
        <[u8; 1]>::try_from(bytes.to_vec()).ok().map(|[byte]| byte)
    } else if let Ok(int) = value.cast::<PyInt>() {
        int.extract::<u8>().ok()
    } else {
        None
    };
    byte.map(u64::from).ok_or_else(|| PyTypeError::new_err("one character bytes, bytearray or integer expected"))
}

/// The location of a number in shared memory.
#[derive(Clone, Copy)]
pub(crate) enum Word<'a> {
    One(&'a AtomicU8),
    Two(&'a AtomicU16),
    Four(&'a AtomicU32),
    Eight(&'a AtomicU64),
}

macro_rules! each_size {
    ($word:expr, $atomic:ident => $body:expr) => {
        match $word {
            Word::One($atomic) => $body,
            Word::Two($atomic) => $body,
            Word::Four($atomic) => $body,
            Word::Eight($atomic) => $body,
        }
    };
}

impl Word<'_> {
    #[allow(clippy::useless_conversion)] // for one of the four sizes
    pub(crate) fn load(self) -> u64 {
        each_size!(self, atomic => atomic.load(Ordering::SeqCst).into())
    }

    pub(crate) fn store(self, bits: u64) {
        each_size!(self, atomic => atomic.store(bits as _, Ordering::SeqCst))
    }

    /// Replaces it atomically by the result of `change`. `Ok` contains the previous value; `Err` the current one, if
    /// `change` returned nothing.
    #[allow(clippy::useless_conversion)] // as above
    pub(crate) fn update(self, mut change: impl FnMut(u64) -> Option<u64>) -> Result<u64, u64> {
        each_size!(self, atomic => {
            let change = |bits| change(u64::from(bits)).map(|bits| bits as _);
            atomic.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change).map(u64::from).map_err(u64::from)
        })
    }
}
