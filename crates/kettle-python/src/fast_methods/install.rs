//! How methods written by hand come into a Python class.

use std::ffi::CStr;

use pyo3::PyTypeInfo;
use pyo3::ffi::{self, PyMethodDef, PyMethodDefPointer};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

/// The method's name, its name for C, its function and calling convention, and its `help` text.
pub(super) type Method = (&'static str, &'static CStr, PyMethodDefPointer, i32, &'static CStr);

pub(super) const ENTER_DOC: &CStr = c"__enter__($self, /)\n--\n\n";
pub(super) const EXIT_DOC: &CStr = c"__exit__($self, _type=None, _value=None, _traceback=None, /)\n--\n\n";

pub(super) fn put_all<T: PyTypeInfo>(cls: &Bound<'_, PyType>, table: [Method; 4]) -> PyResult<()> {
    table.into_iter().try_for_each(|(name, c_name, call, flags, doc)| put::<T>(cls, name, c_name, call, flags, doc))
}

/// Adds one method to `cls`, unless `cls` or a class between it and `T` defines its own.
pub(super) fn put<T: PyTypeInfo>(
    cls: &Bound<'_, PyType>,
    name: &str,
    c_name: &'static CStr,
    call: PyMethodDefPointer,
    flags: i32,
    doc: &'static CStr,
) -> PyResult<()> {
    put_over(cls, &T::type_object(cls.py()).getattr(name)?, name, c_name, call, flags, doc)
}

/// Adds one method to `cls`, if what it has under this name is `replaced`.
pub(super) fn put_over(
    cls: &Bound<'_, PyType>,
    replaced: &Bound<'_, PyAny>,
    name: &str,
    c_name: &'static CStr,
    call: PyMethodDefPointer,
    flags: i32,
    doc: &'static CStr,
) -> PyResult<()> {
    if !cls.getattr(name)?.is(replaced) {
        return Ok(());
    }
    define(cls, c_name, call, flags, doc)
}

/// Adds one method to `cls`, in place of what it inherits.
pub(super) fn define(
    cls: &Bound<'_, PyType>,
    c_name: &'static CStr,
    call: PyMethodDefPointer,
    flags: i32,
    doc: &'static CStr,
) -> PyResult<()> {
    // The descriptor refers to its definition for as long as the class lives, which is until the process ends.
    let def = Box::leak(Box::new(PyMethodDef {
        ml_name: c_name.as_ptr(),
        ml_meth: call,
        ml_flags: flags,
        ml_doc: doc.as_ptr(),
    }));
    // SAFETY: `cls` is a type and `def` stays; what comes back is a new reference or NULL with an exception set.
    let method = unsafe { Bound::from_owned_ptr_or_err(cls.py(), ffi::PyDescr_NewMethod(cls.as_type_ptr(), def))? };
    cls.setattr(PyString::intern(cls.py(), &c_name.to_string_lossy()), method)
}

/// Functions for methods without arguments. What cannot be answered at once, including a wrong call, is left to PyO3's
/// method of that name.
macro_rules! without_arguments {
    ($($function:ident$(<$t:ident: $bound:path>)?($this:ident: $class:ty), $name:literal => $answer:expr;)*) => {$(
        unsafe extern "C" fn $function$(<$t: $bound>)?(
            slf: *mut ffi::PyObject,
            args: *mut *mut ffi::PyObject,
            nargs: ffi::Py_ssize_t,
        ) -> *mut ffi::PyObject {
            // SAFETY: the descriptor checked the class of `slf`; the arguments are those of a vectorcall.
            unsafe {
                if nargs != 0 {
                    return general::<$class>($name, slf, args, nargs, std::ptr::null_mut());
                }
                let quick = || {
                    let $this = this::<$class>(slf);
                    $answer
                };
                answer_quickly(quick, || general_without::<$class>($name, slf))
            }
        }
    )*};
}
pub(super) use without_arguments;
