//! How a function that C calls finds its object and its arguments, answers, and leaves the rest to PyO3's method.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;
use pyo3::{PyClass, PyTypeInfo, ffi};

use crate::panics;

/// The object behind a `self` argument.
///
/// # Safety
/// `slf` is an instance of `T` or of a subclass of it, and stays for as long as the result is used.
pub(crate) unsafe fn this<'a, T: PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + Sync>(
    slf: *mut ffi::PyObject,
) -> &'a T {
    // SAFETY: the interpreter is attached, since it called us; the class was promised. The reference is that of `slf`.
    unsafe {
        let py = Python::assume_attached();
        let bound: &'a Bound<'a, PyAny> = Bound::ref_from_ptr(py, &*(&raw const slf).cast());
        let object: *const T = bound.cast_unchecked::<T>().get();
        &*object
    }
}

/// A `self` argument as PyO3 has objects.
///
/// # Safety
/// The interpreter is attached, and `slf` is an object that stays for as long as the result is used.
#[inline(always)]
pub(crate) unsafe fn object<'a>(slf: &'a *mut ffi::PyObject) -> &'a Bound<'a, PyAny> {
    // SAFETY: as promised. The reference is that of `slf`.
    unsafe { Bound::ref_from_ptr(Python::assume_attached(), &*(&raw const *slf).cast()) }
}

/// Answers a call from C. Returns NULL with an exception set if `body` panics.
///
/// # Safety
/// The interpreter is attached.
#[inline(always)]
pub(crate) unsafe fn answer(body: impl FnOnce() -> *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as the caller promises.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| unsafe { raised(payload) })
}

/// An answer that needs no general path, if there is one.
pub(crate) type Answer = Option<*mut ffi::PyObject>;

/// Answers a call from C with `quick`, or otherwise with `general`, which lets no panic out. Keeping `general` apart
/// keeps what only it needs out of the stack frame of `quick`.
///
/// # Safety
/// The interpreter is attached.
#[inline(always)]
pub(crate) unsafe fn answer_quickly(
    quick: impl FnOnce() -> Answer,
    general: impl FnOnce() -> *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    match catch_unwind(AssertUnwindSafe(quick)) {
        Ok(Some(answer)) => answer,
        Ok(None) => general(),
        // SAFETY: as the caller promises.
        Err(payload) => unsafe { raised(payload) },
    }
}

/// Kept out of line, so that its locals do not enlarge the stack frame of the function that panicked.
///
/// # Safety
/// The interpreter is attached.
#[cold]
#[inline(never)]
unsafe fn raised(payload: Box<dyn Any + Send>) -> *mut ffi::PyObject {
    // SAFETY: as the caller promises.
    panics::described(payload).restore(unsafe { Python::assume_attached() });
    std::ptr::null_mut()
}

/// True or False.
#[inline(always)]
pub(crate) fn truth(value: bool) -> Answer {
    // SAFETY: the two are immortal, or counted as any other.
    Some(unsafe { ffi::Py_NewRef(if value { ffi::Py_True() } else { ffi::Py_False() }) })
}

/// True, if the operation succeeded.
#[inline(always)]
pub(crate) fn done(is_done: bool) -> Answer {
    if is_done { truth(true) } else { None }
}

/// None, if the operation succeeded.
#[inline(always)]
pub(crate) fn nothing(is_done: bool) -> Answer {
    // SAFETY: it is immortal, or counted as any other.
    is_done.then(|| unsafe { ffi::Py_NewRef(ffi::Py_None()) })
}

/// What C gets: the object, or NULL with the exception set.
#[inline(always)]
pub(crate) fn object_or_null(py: Python<'_>, result: PyResult<Bound<'_, PyAny>>) -> *mut ffi::PyObject {
    match result {
        Ok(object) => object.into_ptr(),
        Err(e) => null(py, e),
    }
}

/// NULL, with this exception set.
pub(crate) fn null(py: Python<'_>, e: PyErr) -> *mut ffi::PyObject {
    e.restore(py);
    std::ptr::null_mut()
}

/// Calls PyO3's method of this name. Returns NULL with an exception set if it panics.
///
/// # Safety
/// The interpreter is attached. `args` is good for `nargs` objects and those that `kwnames` names, as in any
/// vectorcall.
#[cold]
#[inline(never)]
pub(crate) unsafe fn general<T: PyTypeInfo>(
    name: &str,
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter is attached, since it called us; all pointers are those of a call that is under way.
    unsafe {
        answer(|| {
            let py = Python::assume_attached();
            match T::type_object(py).getattr(name) {
                Ok(method) => forward(method.as_ptr(), slf, args, nargs, kwnames),
                Err(e) => null(py, e),
            }
        })
    }
}

/// Like the function above, without arguments.
///
/// # Safety
/// The interpreter is attached.
pub(crate) unsafe fn general_without<T: PyTypeInfo>(name: &str, slf: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as the caller promises.
    unsafe { general::<T>(name, slf, std::ptr::null(), 0, std::ptr::null_mut()) }
}

/// `method(slf, ...)` with these arguments.
///
/// # Safety
/// The interpreter is attached, `method` and `slf` are objects, and the arguments are those of a vectorcall under way.
pub(crate) unsafe fn forward(
    method: *mut ffi::PyObject,
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as promised; `kwnames` is a tuple or NULL.
    unsafe {
        let named = if kwnames.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(kwnames) };
        let given = if nargs + named == 0 { &[] } else { std::slice::from_raw_parts(args, (nargs + named) as usize) };
        let mut few = [slf; 5];
        let many: Vec<_>;
        let all = match few.get_mut(1..=given.len()) {
            Some(places) => {
                places.copy_from_slice(given);
                few.as_ptr()
            }
            None => {
                many = std::iter::once(slf).chain(given.iter().copied()).collect();
                many.as_ptr()
            }
        };
        ffi::PyObject_Vectorcall(method, all, nargs as usize + 1, kwnames)
    }
}
