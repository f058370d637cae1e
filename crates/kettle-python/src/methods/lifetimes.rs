//! The end of an object's life, which may run code of the program.

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyFunction, PyList, PyTuple};

use super::calls;

/// So many objects are looked at, each of which may have others.
const LOOKS: u32 = 32;

/// Lets go of it.
pub(crate) fn let_go(object: Bound<'_, PyAny>) {
    calls::let_go(object);
}

/// Whether to let go of this one reference runs no code of the program for sure: the object stays, or it is one of those
/// that have no destructor, and so has all that goes with it.
pub(crate) fn goes_quietly(object: &Bound<'_, PyAny>) -> bool {
    let mut looks = LOOKS;
    is_quiet(object, 1, &mut looks)
}

/// The same of an object of whose references so many are to go.
fn is_quiet(object: &Bound<'_, PyAny>, references: isize, looks: &mut u32) -> bool {
    if count(object) > references || is_plain(object) {
        return true;
    }
    let Some(left) = looks.checked_sub(1) else { return false };
    *looks = left;
    // What is taken out of it below has one reference more.
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

/// Of a function made in a function: its defaults, and what it has of that one's variables.
fn is_quiet_function(function: &Bound<'_, PyFunction>, looks: &mut u32) -> bool {
    let py = function.py();
    // Not as attributes: a look at those is reported to audit hooks.
    let part = |get: unsafe extern "C" fn(*mut ffi::PyObject) -> *mut ffi::PyObject| {
        // SAFETY: `get` is one of the three below, each of which wants a function, and gives a borrowed reference or NULL.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, get(function.as_ptr())) }
    };
    let defaults = [part(ffi::PyFunction_GetDefaults), part(ffi::PyFunction_GetKwDefaults)];
    if !defaults.into_iter().flatten().all(|defaults| is_quiet(&defaults, 2, looks)) {
        return false;
    }
    let Some(closure) = part(ffi::PyFunction_GetClosure) else { return true };
    closure.cast_exact::<PyTuple>().is_ok_and(|cells| {
        cells.iter().all(|cell| {
            // Another function has it too, or what is in it goes with it.
            count(&cell) > 2
                || cell.getattr(intern!(py, "cell_contents")).is_ok_and(|contents| is_quiet(&contents, 2, looks))
        })
    })
}

/// How many references there are to it.
fn count(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: it is alive.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) as isize }
}

/// Whether its class was not made by a program, and has nothing to do with the garbage collector: numbers, text, arrays.
fn is_plain(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a class is alive as long as an object of it, and its flags can be read at any time.
    let flags = unsafe { ffi::PyType_GetFlags(object.get_type_ptr()) };
    flags & (ffi::Py_TPFLAGS_HEAPTYPE | ffi::Py_TPFLAGS_HAVE_GC) == 0
}
