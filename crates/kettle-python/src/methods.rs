//! Hand-written methods for the hottest calls; together with `buffers`, the only `unsafe` code of this crate.
//!
//! PyO3's methods are safe in every case and pay some nanoseconds for that, more than an uncontended lock costs. So
//! `acquire()`, `release()` and the entry and exit of a `with` block first go through a function of this module, which
//! handles the ordinary case and leaves everything else to PyO3's method of the same name.
//!
//! The interpreter also has a fast path for methods of an object's own class, as opposed to those of a base class. So
//! these methods are added to the Python classes themselves, by the decorator [`quicken`].
//!
//! The contents of a dict can be [inspected](glances) without writing to them. Integers ([`numbers`]) and descriptor
//! numbers ([`descriptors`]) are converted here, too.

mod attached;
pub(crate) mod calls;
pub(crate) mod descriptors;
pub(crate) mod forks;
mod frames;
mod futures;
mod glances;
pub(crate) mod handle;
pub(crate) mod handle_classes;
pub(crate) mod lifetimes;
mod making;
pub(crate) mod numbers;
mod objects;
mod ours;
mod scheduling;
pub(crate) mod scopes;
pub(crate) mod sockets;
mod spare;
pub(crate) mod streams;
mod threads;

use std::any::Any;
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyMethodDef, PyMethodDefPointer};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};
use pyo3::{PyClass, PyTypeInfo};

pub(crate) use attached::{Attached, AttachedLock};
pub(crate) use frames::Site;
pub(crate) use glances::Glance;
pub(crate) use making::LockMaker;
pub(crate) use ours::{Called, Ours, is_layout_known, learn_layout, nothing_else};
pub(crate) use threads::Exclusive;

use crate::event_loop::EventLoop;
use crate::lock::{Lock, RLock};
use crate::memory::Cell;
use crate::objects::ObjectQueue;
use crate::panics;
use crate::primitive::Waitable;
use crate::semaphore::Semaphore;

/// A lock or similar primitive, in its ordinary case.
pub(crate) trait Quick:
    PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + PyTypeInfo + Sync + Waitable
{
    /// The `help` text of `acquire`, its signature first.
    const ACQUIRE_DOC: &'static CStr =
        c"acquire($self, /, block=True, timeout=None)\n--\n\nAcquires it, waiting at most `timeout` seconds.";
    /// The `help` text of `release`.
    const RELEASE_DOC: &'static CStr = c"release($self, /)\n--\n\nReleases it.";

    /// Whether its holder may have died. A caller that does not wait is told of that as well.
    const MORTAL: bool = true;

    /// Acquires it if that needs no waiting.
    fn take_now(&self) -> bool;
    /// Releases it. Returns false if that is an error.
    fn give_back(&self) -> bool;

    /// Whether a failed `acquire(False)` simply returns False, with nothing else to do.
    #[inline]
    fn is_simply_taken(&self) -> bool {
        !Self::MORTAL && self.line().is_none_or(|line| line.admits(None, || 0))
    }
    /// Whether the end of a `with` block may release it without calling `object.release()`. `object` is this primitive.
    #[inline]
    fn leaves_by_itself(&self, _object: &Bound<'_, PyAny>) -> bool {
        true
    }
}

/// Adds the fast methods to `cls`, a subclass of one of ours, where it does not define its own.
#[pyfunction]
pub(crate) fn quicken<'py>(cls: Bound<'py, PyType>) -> PyResult<Bound<'py, PyType>> {
    if cls.is_subclass_of::<Lock>()? {
        install::<Lock>(&cls)?;
    } else if cls.is_subclass_of::<RLock>()? {
        install::<RLock>(&cls)?;
    } else if cls.is_subclass_of::<Semaphore>()? {
        install::<Semaphore>(&cls)?;
    } else if cls.is_subclass_of::<EventLoop>()? {
        scheduling::install(&cls)?;
        futures::install(&cls)?;
    } else if cls.is_subclass_of::<ObjectQueue>()? {
        objects::install(&cls)?;
        making::install::<ObjectQueue>(&cls);
    } else if cls.is_subclass_of::<Cell>()? {
        let doc = c"get_lock($self, /)\n--\n\nReturns the lock.";
        put::<Cell>(
            &cls,
            "get_lock",
            c"get_lock",
            PyMethodDefPointer { PyCFunction: get_lock },
            ffi::METH_NOARGS,
            doc,
        )?;
    } else if !threads::install(&cls)? {
        return Err(PyTypeError::new_err(format!("{} has nothing to quicken", cls.repr()?)));
    }
    Ok(cls)
}

fn install<T: Quick>(cls: &Bound<'_, PyType>) -> PyResult<()> {
    let fast = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    let table: [Method; 4] = [
        ("acquire", c"acquire", PyMethodDefPointer { PyCFunctionFastWithKeywords: acquire::<T> }, fast, T::ACQUIRE_DOC),
        ("release", c"release", PyMethodDefPointer { PyCFunctionFastWithKeywords: release::<T> }, fast, T::RELEASE_DOC),
        ("__enter__", c"__enter__", PyMethodDefPointer { PyCFunction: enter::<T> }, ffi::METH_NOARGS, ENTER_DOC),
        ("__exit__", c"__exit__", PyMethodDefPointer { PyCFunctionFast: exit::<T> }, ffi::METH_FASTCALL, EXIT_DOC),
    ];
    put_all::<T>(cls, table)
}

/// The method's name, its name for C, its function and calling convention, and its `help` text.
type Method = (&'static str, &'static CStr, PyMethodDefPointer, i32, &'static CStr);

const ENTER_DOC: &CStr = c"__enter__($self, /)\n--\n\n";
const EXIT_DOC: &CStr = c"__exit__($self, _type=None, _value=None, _traceback=None, /)\n--\n\n";

fn put_all<T: PyTypeInfo>(cls: &Bound<'_, PyType>, table: [Method; 4]) -> PyResult<()> {
    table.into_iter().try_for_each(|(name, c_name, call, flags, doc)| put::<T>(cls, name, c_name, call, flags, doc))
}

/// Adds one method to `cls`, unless `cls` or a class between it and `T` defines its own.
fn put<T: PyTypeInfo>(
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
fn put_over(
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
fn define(
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

/// The object behind a `self` argument.
///
/// # Safety
/// `slf` is an instance of `T` or of a subclass of it, and stays for as long as the result is used.
unsafe fn this<'a, T: PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + Sync>(slf: *mut ffi::PyObject) -> &'a T {
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
unsafe fn object<'a>(slf: &'a *mut ffi::PyObject) -> &'a Bound<'a, PyAny> {
    // SAFETY: as promised. The reference is that of `slf`.
    unsafe { Bound::ref_from_ptr(Python::assume_attached(), &*(&raw const *slf).cast()) }
}

/// Answers a call from C. Returns NULL with an exception set if `body` panics.
///
/// # Safety
/// The interpreter is attached.
#[inline(always)]
unsafe fn answer(body: impl FnOnce() -> *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as the caller promises.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| unsafe { raised(payload) })
}

/// An answer that needs no general path, if there is one.
type Answer = Option<*mut ffi::PyObject>;

/// Answers a call from C with `quick`, or otherwise with `general`, which lets no panic out. Keeping `general` apart
/// keeps what only it needs out of the stack frame of `quick`.
///
/// # Safety
/// The interpreter is attached.
#[inline(always)]
unsafe fn answer_quickly(
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
fn truth(value: bool) -> Answer {
    // SAFETY: the two are immortal, or counted as any other.
    Some(unsafe { ffi::Py_NewRef(if value { ffi::Py_True() } else { ffi::Py_False() }) })
}

/// True, if the operation succeeded.
#[inline(always)]
fn done(is_done: bool) -> Answer {
    if is_done { truth(true) } else { None }
}

/// None, if the operation succeeded.
#[inline(always)]
fn nothing(is_done: bool) -> Answer {
    // SAFETY: it is immortal, or counted as any other.
    is_done.then(|| unsafe { ffi::Py_NewRef(ffi::Py_None()) })
}

/// What C gets: the object, or NULL with the exception set.
#[inline(always)]
fn object_or_null(py: Python<'_>, result: PyResult<Bound<'_, PyAny>>) -> *mut ffi::PyObject {
    match result {
        Ok(object) => object.into_ptr(),
        Err(e) => null(py, e),
    }
}

/// NULL, with this exception set.
fn null(py: Python<'_>, e: PyErr) -> *mut ffi::PyObject {
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
unsafe fn general<T: PyTypeInfo>(
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
unsafe fn general_without<T: PyTypeInfo>(name: &str, slf: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as the caller promises.
    unsafe { general::<T>(name, slf, std::ptr::null(), 0, std::ptr::null_mut()) }
}

/// `method(slf, ...)` with these arguments.
///
/// # Safety
/// The interpreter is attached, `method` and `slf` are objects, and the arguments are those of a vectorcall under way.
unsafe fn forward(
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

unsafe extern "C" fn acquire<T: Quick>(
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
        answer_quickly(|| done(this::<T>(slf).take_now()), || general_without::<T>("acquire", slf))
    }
}

/// `acquire(False)` is also an ordinary case: a free lock can be acquired either way.
///
/// # Safety
/// The arguments are those of a call of `acquire` with one positional argument.
#[inline(never)]
unsafe fn acquire_by_one<T: Quick>(slf: *mut ffi::PyObject, args: *const *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as the caller promises.
    unsafe {
        let quick = || {
            if ffi::PyBool_Check(*args) == 0 {
                return None;
            }
            let lock = this::<T>(slf);
            if lock.take_now() {
                return truth(true);
            }
            if *args == ffi::Py_False() && lock.is_simply_taken() { truth(false) } else { None }
        };
        answer_quickly(quick, || general::<T>("acquire", slf, args, 1, std::ptr::null_mut()))
    }
}

unsafe extern "C" fn release<T: Quick>(
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
        answer_quickly(|| nothing(this::<T>(slf).give_back()), || general_without::<T>("release", slf))
    }
}

unsafe extern "C" fn enter<T: Quick>(slf: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`.
    unsafe { answer_quickly(|| done(this::<T>(slf).take_now()), || general_without::<T>("__enter__", slf)) }
}

unsafe extern "C" fn exit<T: Quick>(
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
            nothing(this.leaves_by_itself(object(&slf)) && this.give_back())
        };
        // None of them uses the exception's arguments.
        answer_quickly(quick, || general_without::<T>("__exit__", slf))
    }
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
