//! Integer conversions for places where raising and catching an error would be too expensive, or is not allowed.

use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyInt;

/// The value of an integer, or None if it needs more than 64 bits. This creates no object and raises nothing, so that
/// no garbage collection can start here.
#[inline]
pub(crate) fn as_i64(number: &Bound<'_, PyInt>) -> Option<i64> {
    let mut overflow: c_int = 0;
    // SAFETY: it is an integer, and alive; then the only failure is that it is too long, which `overflow` tells.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(number.as_ptr(), &raw mut overflow) };
    (overflow == 0).then_some(value)
}

/// The value of an integer, or None if it needs more than 128 bits (or memory is exhausted). Like [`as_i64`], this
/// creates no object that the garbage collector tracks: the upper half is an integer again, and integers are not
/// tracked.
pub(crate) fn as_i128(number: &Bound<'_, PyInt>) -> Option<i128> {
    if let Some(short) = as_i64(number) {
        return Some(short.into());
    }
    let py = number.py();
    // SAFETY: both operands are integers, with no subclass involved, so that no Python code runs; what comes back
    // is a new reference, or NULL with MemoryError set, which is taken away. The mask is defined for every integer.
    unsafe {
        let places = Bound::from_owned_ptr_or_opt(py, ffi::PyLong_FromLong(64))?;
        let upper = Bound::from_owned_ptr_or_opt(py, ffi::PyNumber_Rshift(number.as_ptr(), places.as_ptr()));
        let Some(upper) = upper else {
            ffi::PyErr_Clear();
            return None;
        };
        let upper = as_i64(upper.cast_unchecked::<PyInt>())?;
        let lower = ffi::PyLong_AsUnsignedLongLongMask(number.as_ptr());
        Some(i128::from(upper) << 64 | i128::from(lower))
    }
}
