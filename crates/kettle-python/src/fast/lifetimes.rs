//! The end of an object's life, which may run user code.

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyFunction, PyList, PyTuple};

use super::calls;

/// The maximum number of objects to examine, each of which may hold others.
const LOOKS: u32 = 32;

/// Drops a reference.
pub(crate) fn let_go(object: Bound<'_, PyAny>) {
    calls::let_go(object);
}

/// Whether dropping this one reference is certain to run no user code: the object survives, or it is of a kind without
/// destructor, as is everything that is freed with it.
pub(crate) fn goes_quietly(object: &Bound<'_, PyAny>) -> bool {
    let mut looks = LOOKS;
    is_quiet(object, 1, &mut looks)
}

/// The same for an object that loses this many references.
fn is_quiet(object: &Bound<'_, PyAny>, references: isize, looks: &mut u32) -> bool {
    if count(object) > references || is_plain(object) {
        return true;
    }
    let Some(left) = looks.checked_sub(1) else { return false };
    *looks = left;
    // An object taken from it below has one more reference.
    if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        tuple.iter().all(|item| is_quiet(&item, 2, looks))
    } else if let Ok(list) = object.cast_exact::<PyList>() {
        list.len() <= LOOKS as usize && list.iter().all(|item| is_quiet(&item, 2, looks))
    } else if let Ok(dict) = object.cast_exact::<PyDict>() {
        dict.is_empty()
            || dict.len() <= LOOKS as usize
                && dict.iter().all(|(key, value)| is_quiet(&key, 2, looks) && is_quiet(&value, 2, looks))
    } else if let Ok(function) = object.cast_exact::<PyFunction>() {
        is_quiet_function(function, looks)
    } else if let Ok(method) = object.cast_exact::<PyCFunction>() {
        method.getattr(intern!(object.py(), "__self__")).is_ok_and(|this| is_quiet(&this, 2, looks))
    } else {
        false
    }
}

/// For a function defined inside another function: its defaults and its closure.
fn is_quiet_function(function: &Bound<'_, PyFunction>, looks: &mut u32) -> bool {
    let py = function.py();
    // Not as attributes, since reading those is reported to audit hooks.
    let part = |get: unsafe extern "C" fn(*mut ffi::PyObject) -> *mut ffi::PyObject| {
        // SAFETY: `get` is one of the three below, which want a function, and give a borrowed reference or
        // NULL.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, get(function.as_ptr())) }
    };
    let defaults = [part(ffi::PyFunction_GetDefaults), part(ffi::PyFunction_GetKwDefaults)];
    if !defaults.into_iter().flatten().all(|defaults| is_quiet(&defaults, 2, looks)) {
        return false;
    }
    let Some(closure) = part(ffi::PyFunction_GetClosure) else { return true };
    closure.cast_exact::<PyTuple>().is_ok_and(|cells| {
        cells.iter().all(|cell| {
            // Another function has it too, or its content is freed with it.
            count(&cell) > 2
                || cell.getattr(intern!(py, "cell_contents")).is_ok_and(|contents| is_quiet(&contents, 2, looks))
        })
    })
}

/// The object's reference count.
fn count(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: it is alive.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) as isize }
}

/// Whether its class was not created by a program and is unknown to the garbage collector: numbers, text, arrays.
fn is_plain(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a class is alive as long as an object of it, and its flags can be read at any time.
    let flags = unsafe { ffi::PyType_GetFlags(object.get_type_ptr()) };
    flags & (ffi::Py_TPFLAGS_HEAPTYPE | ffi::Py_TPFLAGS_HAVE_GC) == 0
}
