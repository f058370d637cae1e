//! Integers, where raising and catching an error would cost more than the number does, or must not happen.

use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyInt;

/// The value of an integer, None if it has more than 64 bits. Makes no object, so that no garbage collection can begin
/// in here.
#[inline]
pub(crate) fn as_i64(number: &Bound<'_, PyInt>) -> Option<i64> {
    let mut overflow: c_int = 0;
    // SAFETY: it is an integer, and alive; then the only failure is that it is too long, which `overflow` tells.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(number.as_ptr(), &raw mut overflow) };
    (overflow == 0).then_some(value)
}
