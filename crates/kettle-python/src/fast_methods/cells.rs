//! `get_lock` of a shared cell.

use pyo3::ffi::{self, PyMethodDefPointer};
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::install::put;
use crate::fast::vectorcall::{answer, this};
use crate::memory::Cell;

pub(super) fn install(cls: &Bound<'_, PyType>) -> PyResult<()> {
    let doc = c"get_lock($self, /)\n--\n\nReturns the lock.";
    put::<Cell>(cls, "get_lock", c"get_lock", PyMethodDefPointer { PyCFunction: get_lock }, ffi::METH_NOARGS, doc)
}

unsafe extern "C" fn get_lock(slf: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`.
    unsafe {
        answer(|| match this::<Cell>(slf).lock() {
            Some(lock) => ffi::Py_NewRef(lock.as_ptr()),
            None => ffi::Py_NewRef(ffi::Py_None()),
        })
    }
}
