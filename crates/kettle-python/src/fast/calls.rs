//! Calls of Python code from which a thread may not return.
//!
//! While the interpreter ends, up to Python 3.13, a daemon thread that wants to continue in Python is forced to unwind
//! its stack immediately, and Rust aborts the process for that. PyO3 handles this where a thread returns from waiting,
//! but not where it calls Python code that runs for long or waits. A thread that ends inside one of these calls is
//! instead suspended for the short time that the process still exists.

use std::ffi::c_int;
use std::hint::black_box;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyString, PyTuple};

/// Defines functions of the interpreter from which a thread may unwind.
///
/// PyO3 declares some of them, too, as never unwinding, and the compiler has one declaration of each in the end. If it saw
/// which function is called, it could leave out what is to happen while unwinding.
macro_rules! unwinding {
    ($(fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        $(
            /// # Safety
            /// As for the function itself.
            #[allow(non_snake_case)]
            #[inline(always)]
            unsafe fn $name($($arg: $type),*) $(-> $result)? {
                unsafe extern "C-unwind" {
                    fn $name($($arg: $type),*) $(-> $result)?;
                }
                let function: unsafe extern "C-unwind" fn($($type),*) $(-> $result)? = $name;
                // SAFETY: it is this function, for which the caller promises what it requires.
                unsafe { black_box(function)($($arg),*) }
            }
        )*
    };
}

unwinding! {
    fn PyObject_VectorcallDict(
        callable: *mut ffi::PyObject,
        args: *const *mut ffi::PyObject,
        count: usize,
        kwds: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
    fn PyObject_Vectorcall(
        callable: *mut ffi::PyObject,
        args: *const *mut ffi::PyObject,
        count: usize,
        names: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
    fn PyObject_VectorcallMethod(
        name: *mut ffi::PyObject,
        args: *const *mut ffi::PyObject,
        count: usize,
        names: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
    fn PyObject_CallObject(callable: *mut ffi::PyObject, args: *mut ffi::PyObject) -> *mut ffi::PyObject;
    fn PyObject_GenericSetAttr(
        object: *mut ffi::PyObject,
        name: *mut ffi::PyObject,
        value: *mut ffi::PyObject,
    ) -> c_int;
    fn PyObject_RichCompareBool(a: *mut ffi::PyObject, b: *mut ffi::PyObject, operation: c_int) -> c_int;
    fn PyIter_Next(iterator: *mut ffi::PyObject) -> *mut ffi::PyObject;
    fn Py_DecRef(object: *mut ffi::PyObject);
}

/// Stops the forced unwinding of a thread that the interpreter ends.
struct StandStill;

impl Drop for StandStill {
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}

/// Runs `call`, which calls Python and has nothing to drop.
fn outlived<R>(call: impl FnOnce() -> R) -> R {
    let guard = StandStill;
    let result = call();
    std::mem::forget(guard);
    result
}

/// `callable(*args, **kwds)`.
fn vectorcall<'py>(
    callable: &Bound<'py, PyAny>,
    args: &[*mut ffi::PyObject],
    kwds: *mut ffi::PyObject,
) -> PyResult<Bound<'py, PyAny>> {
    // PyO3's call functions cannot be used: they are declared as never unwinding, and the compiler relies on that.
    let (this, first, count) = (callable.as_ptr(), args.as_ptr(), args.len());
    // SAFETY: all are alive; `kwds` is a dict or NULL; what comes back is a new reference or NULL with an exception
    // set.
    unsafe {
        Bound::from_owned_ptr_or_err(callable.py(), outlived(|| PyObject_VectorcallDict(this, first, count, kwds)))
    }
}

/// `callable(*args)`; a new reference, or NULL with an exception set.
///
/// # Safety
/// All are alive, `args` is good for `count` objects without its flag, and with the flag for one place before them.
#[inline(always)]
pub(super) unsafe fn vectorcall_raw(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
) -> *mut ffi::PyObject {
    // SAFETY: as promised.
    outlived(|| unsafe { PyObject_Vectorcall(callable, args, count, std::ptr::null_mut()) })
}

/// `callable()`.
pub(crate) fn call<'py>(callable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    vectorcall(callable, &[], std::ptr::null_mut())
}

/// `callable(arg)`.
pub(crate) fn call_one<'py>(callable: &Bound<'py, PyAny>, arg: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    vectorcall(callable, &[arg.as_ptr()], std::ptr::null_mut())
}

/// `callable(*args, **kwds)`.
pub(crate) fn call_with<'py>(
    callable: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwds: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let given: Vec<_> = args.iter_borrowed().map(|arg| arg.as_ptr()).collect();
    vectorcall(callable, &given, kwds.as_ptr())
}

/// `callable(*args)`.
pub(crate) fn call_all<'py>(callable: &Bound<'py, PyAny>, args: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
    let (this, given) = (callable.as_ptr(), args.as_ptr());
    // SAFETY: both are alive; what comes back is a new reference or NULL with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(callable.py(), outlived(|| PyObject_CallObject(this, given))) }
}

/// `object.name(*args)`.
pub(crate) fn call_method<'py>(
    object: &Bound<'py, PyAny>,
    name: impl IntoPyObject<'py, Target = PyString>,
    args: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error: Into<PyErr>>,
) -> PyResult<Bound<'py, PyAny>> {
    call_all(&object.getattr(name)?, &args.into_pyobject(object.py()).map_err(Into::into)?)
}

/// `object.name(arg)`, without making the bound method or a tuple.
#[inline(always)]
pub(crate) fn call_method_one<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    arg: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    // The called function may use the place before the first argument.
    let mut args = [std::ptr::null_mut(), object.as_ptr(), arg.as_ptr()];
    let (name, first) = (name.as_ptr(), args.as_mut_ptr());
    // SAFETY: all are alive; what comes back is a new reference or NULL with an exception set.
    unsafe {
        let count = 2 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
        let call = || PyObject_VectorcallMethod(name, first.add(1), count, std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(object.py(), outlived(call))
    }
}

/// Drops a reference, which may run a destructor.
pub(crate) fn let_go(object: Bound<'_, PyAny>) {
    let this = object.into_ptr();
    // SAFETY: the caller gave up this reference, and is attached to the interpreter.
    outlived(|| unsafe { Py_DecRef(this) });
}

/// `object.name = value`, or `del object.name` if there is none, for a class without a `__setattr__` in Python.
pub(crate) fn set_attribute(
    object: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let value = value.map_or(std::ptr::null_mut(), Bound::as_ptr);
    let (this, name) = (object.as_ptr(), name.as_ptr());
    // SAFETY: the objects are alive, and the name is a string; NULL stands for the deletion.
    match unsafe { outlived(|| PyObject_GenericSetAttr(this, name, value)) } {
        0 => Ok(()),
        _ => Err(PyErr::fetch(object.py())),
    }
}

/// `object.name(*args, keyword=value)`.
pub(crate) fn call_keyword<'py>(
    object: &Bound<'py, PyAny>,
    name: &str,
    args: &[Bound<'py, PyAny>],
    keyword: &str,
    value: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let kwds = PyDict::new(object.py());
    kwds.set_item(keyword, value)?;
    let given: Vec<_> = args.iter().map(|arg| arg.as_ptr()).collect();
    vectorcall(&object.getattr(name)?, &given, kwds.as_ptr())
}

/// `a < b`.
pub(crate) fn is_less(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> PyResult<bool> {
    let (left, right) = (a.as_ptr(), b.as_ptr());
    // SAFETY: both are alive.
    match unsafe { outlived(|| PyObject_RichCompareBool(left, right, ffi::Py_LT)) } {
        -1 => Err(PyErr::fetch(a.py())),
        answer => Ok(answer != 0),
    }
}

/// `next(iterator)`, None at its end.
pub(crate) fn next<'py>(iterator: &Bound<'py, PyIterator>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = iterator.py();
    let this = iterator.as_ptr();
    // SAFETY: it is an iterator, and alive; what comes back is a new reference, or NULL with or without an exception.
    let item = unsafe { Bound::from_owned_ptr_or_opt(py, outlived(|| PyIter_Next(this))) };
    match item {
        None => PyErr::take(py).map_or(Ok(None), Err),
        item => Ok(item),
    }
}

/// `callable(*given)`; the last arguments are passed under these names. All are borrowed.
#[inline(always)]
pub(crate) fn call_named<'py>(
    callable: &Bound<'py, PyAny>,
    given: &[*mut ffi::PyObject],
    names: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let (this, first, names) = (callable.as_ptr(), given.as_ptr(), names.as_ptr());
    // SAFETY: the callers pass objects that are alive; there are so many positional ones, and one for each name; what comes
    // back is a new reference or NULL with an exception set.
    unsafe {
        let positional = given.len() - ffi::PyTuple_GET_SIZE(names) as usize;
        let made = outlived(|| PyObject_Vectorcall(this, first, positional, names));
        Bound::from_owned_ptr_or_err(callable.py(), made)
    }
}
