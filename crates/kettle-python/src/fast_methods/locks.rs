//! The fast methods of locks and semaphores, between processes and between threads.

use pyo3::ffi::{self, PyMethodDefPointer};
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::install::{ENTER_DOC, EXIT_DOC, Method, put, put_all, without_arguments};
use crate::fast::vectorcall::{answer_quickly, done, general, general_without, nothing, object, this, truth};
use crate::fast::{Exclusive, FastLock};

pub(super) fn install<T: FastLock>(cls: &Bound<'_, PyType>) -> PyResult<()> {
    let fast = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    let table: [Method; 4] = [
        ("acquire", c"acquire", PyMethodDefPointer { PyCFunctionFastWithKeywords: acquire::<T> }, fast, T::ACQUIRE_DOC),
        ("release", c"release", PyMethodDefPointer { PyCFunctionFastWithKeywords: release::<T> }, fast, T::RELEASE_DOC),
        ("__enter__", c"__enter__", PyMethodDefPointer { PyCFunction: enter::<T> }, ffi::METH_NOARGS, ENTER_DOC),
        ("__exit__", c"__exit__", PyMethodDefPointer { PyCFunctionFast: exit::<T> }, ffi::METH_FASTCALL, EXIT_DOC),
    ];
    put_all::<T>(cls, table)
}

pub(super) fn install_locked<T: Exclusive>(cls: &Bound<'_, PyType>) -> PyResult<()> {
    let doc = c"locked($self, /)\n--\n\nReturns whether a thread holds it.";
    put::<T>(cls, "locked", c"locked", PyMethodDefPointer { PyCFunctionFast: locked::<T> }, ffi::METH_FASTCALL, doc)
}

unsafe extern "C" fn acquire<T: FastLock>(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`; the arguments are those of a vectorcall.
    unsafe {
        if !kwnames.is_null() || nargs > 1 {
            return general::<T>("acquire", slf, args, nargs, kwnames);
        }
        if nargs == 1 {
            return acquire_by_one::<T>(slf, args);
        }
        answer_quickly(|| done(this::<T>(slf).try_acquire()), || general_without::<T>("acquire", slf))
    }
}

/// `acquire(False)` is also an ordinary case: a free lock can be acquired either way.
///
/// # Safety
/// The arguments are those of a call of `acquire` with one positional argument.
#[inline(never)]
unsafe fn acquire_by_one<T: FastLock>(slf: *mut ffi::PyObject, args: *const *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as the caller promises.
    unsafe {
        let quick = || {
            if ffi::PyBool_Check(*args) == 0 {
                return None;
            }
            let lock = this::<T>(slf);
            if lock.try_acquire() {
                return truth(true);
            }
            if *args == ffi::Py_False() && lock.is_simply_taken() { truth(false) } else { None }
        };
        answer_quickly(quick, || general::<T>("acquire", slf, args, 1, std::ptr::null_mut()))
    }
}

unsafe extern "C" fn release<T: FastLock>(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`; the arguments are those of a vectorcall.
    unsafe {
        if nargs != 0 || !kwnames.is_null() {
            return general::<T>("release", slf, args, nargs, kwnames);
        }
        answer_quickly(|| nothing(this::<T>(slf).try_release()), || general_without::<T>("release", slf))
    }
}

unsafe extern "C" fn enter<T: FastLock>(slf: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`.
    unsafe { answer_quickly(|| done(this::<T>(slf).try_acquire()), || general_without::<T>("__enter__", slf)) }
}

unsafe extern "C" fn exit<T: FastLock>(
    slf: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`; the arguments are those of a vectorcall.
    unsafe {
        if nargs > 3 {
            return general::<T>("__exit__", slf, args, nargs, std::ptr::null_mut());
        }
        let quick = || {
            let this = this::<T>(slf);
            nothing(this.leaves_by_itself(object(&slf)) && this.try_release())
        };
        // None of them uses the exception's arguments.
        answer_quickly(quick, || general_without::<T>("__exit__", slf))
    }
}

without_arguments! {
    locked<T: Exclusive>(lock: T), "locked" => truth(lock.is_locked());
}
