//! The event loop's methods that are called for every callback. Each handles the ordinary case and leaves the rest to
//! PyO3's method of the same name.

use pyo3::ffi::{self, PyMethodDefPointer};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyTuple, PyType};

use super::install::put;
use crate::event_loop::EventLoop;
use crate::fast::handle::Handle;
use crate::fast::vectorcall::{answer_quickly, general, general_without, null, object, this, truth};

pub(super) fn install(cls: &Bound<'_, PyType>) -> PyResult<()> {
    let fast = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    let soon = PyMethodDefPointer { PyCFunctionFastWithKeywords: call_soon };
    let safely = PyMethodDefPointer { PyCFunctionFastWithKeywords: call_soon_threadsafe };
    let later = PyMethodDefPointer { PyCFunctionFastWithKeywords: call_later };
    let at = PyMethodDefPointer { PyCFunctionFastWithKeywords: call_at };
    let soon_doc = c"call_soon($self, /, callback, *args, context=None)\n--\n\n\
        Calls `callback(*args)` in the loop's next turn. Gives a handle that can be cancelled.";
    let safely_doc = c"call_soon_threadsafe($self, /, callback, *args, context=None)\n--\n\n\
        As `call_soon`, from any thread.";
    let later_doc = c"call_later($self, /, delay, callback, *args, context=None)\n--\n\n\
        Calls `callback(*args)` after `delay` seconds, never before. Gives a handle that can be cancelled.";
    let at_doc = c"call_at($self, /, when, callback, *args, context=None)\n--\n\n\
        Calls `callback(*args)` when `time()` is `when`, never before. Gives a handle that can be cancelled.";
    put::<EventLoop>(cls, "call_soon", c"call_soon", soon, fast, soon_doc)?;
    put::<EventLoop>(cls, "call_soon_threadsafe", c"call_soon_threadsafe", safely, fast, safely_doc)?;
    put::<EventLoop>(cls, "call_later", c"call_later", later, fast, later_doc)?;
    put::<EventLoop>(cls, "call_at", c"call_at", at, fast, at_doc)?;
    let debug = PyMethodDefPointer { PyCFunction: get_debug };
    let debug_doc = c"get_debug($self, /)\n--\n\nWhether it is in debug mode.";
    put::<EventLoop>(cls, "get_debug", c"get_debug", debug, ffi::METH_NOARGS, debug_doc)
}

/// The arguments of a scheduling call: `skipped` ones, a callback, its arguments and optionally a context.
struct Scheduled<'a> {
    first: &'a Bound<'a, PyAny>,
    callback: &'a Bound<'a, PyAny>,
    args: Bound<'a, PyTuple>,
    context: Option<&'a Bound<'a, PyAny>>,
}

impl<'a> Scheduled<'a> {
    /// Returns None if the arguments are not of this form.
    ///
    /// # Safety
    /// The arguments are those of a vectorcall that is under way.
    #[inline(always)]
    unsafe fn from(
        args: &'a *const *mut ffi::PyObject,
        nargs: ffi::Py_ssize_t,
        kwnames: *mut ffi::PyObject,
        skipped: usize,
    ) -> Option<Self> {
        // SAFETY: as promised: so many objects, and then one for each name; all stay until the call is over.
        unsafe {
            let (args, count) = (*args, nargs as usize);
            if count <= skipped {
                return None;
            }
            let py = Python::assume_attached();
            let given = |place: usize| Bound::ref_from_ptr(py, &*args.add(place).cast::<*mut ffi::PyObject>());
            let context = if kwnames.is_null() {
                None
            } else {
                if ffi::PyTuple_GET_SIZE(kwnames) != 1 || !is_context(py, ffi::PyTuple_GET_ITEM(kwnames, 0)) {
                    return None;
                }
                Some(given(count))
            };
            let rest = count - skipped - 1;
            let tuple = ffi::PyTuple_New(rest as ffi::Py_ssize_t);
            if tuple.is_null() {
                ffi::PyErr_Clear();
                return None;
            }
            for place in 0..rest {
                let arg = ffi::Py_NewRef(*args.add(skipped + 1 + place));
                ffi::PyTuple_SET_ITEM(tuple, place as ffi::Py_ssize_t, arg);
            }
            let tuple = Bound::from_owned_ptr(py, tuple).cast_into_unchecked();
            Some(Self { first: given(0), callback: given(skipped), args: tuple, context })
        }
    }
}

/// Whether this is the name of the keyword `context`. Tasks written in C pass a string that is not interned.
///
/// # Safety
/// `name` is a string, and the interpreter is attached.
#[inline(always)]
unsafe fn is_context(py: Python<'_>, name: *mut ffi::PyObject) -> bool {
    // SAFETY: as promised.
    name == intern!(py, "context").as_ptr()
        || unsafe { ffi::PyUnicode_CompareWithASCIIString(name, c"context".as_ptr()) == 0 }
}

unsafe extern "C" fn call_soon(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`; the arguments are those of a vectorcall.
    unsafe {
        let quick = || {
            let event_loop = this::<EventLoop>(slf);
            if !event_loop.is_plain() {
                return None;
            }
            let call = Scheduled::from(&args, nargs, kwnames, 0)?;
            let handle = Handle::new(object(&slf), call.callback, call.args, call.context).ok()?;
            Some(event_loop.make_ready(handle, Python::assume_attached()).into_ptr())
        };
        answer_quickly(quick, || general::<EventLoop>("call_soon", slf, args, nargs, kwnames))
    }
}

unsafe extern "C" fn call_soon_threadsafe(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`; the arguments are those of a vectorcall.
    unsafe {
        let quick = || {
            let event_loop = this::<EventLoop>(slf);
            if !event_loop.is_plain() {
                return None;
            }
            let py = Python::assume_attached();
            let call = Scheduled::from(&args, nargs, kwnames, 0)?;
            let handle = Handle::new(object(&slf), call.callback, call.args, call.context).ok()?;
            Some(match event_loop.hand_over(handle.clone_ref(py), py) {
                Ok(()) => handle.into_bound(py).into_ptr(),
                Err(e) => null(py, e),
            })
        };
        answer_quickly(quick, || general::<EventLoop>("call_soon_threadsafe", slf, args, nargs, kwnames))
    }
}

unsafe extern "C" fn call_later(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`; the arguments are those of a vectorcall.
    unsafe {
        let quick = || {
            let event_loop = this::<EventLoop>(slf);
            if !event_loop.is_plain() || !event_loop.has_its_own_clock() {
                return None;
            }
            let call = Scheduled::from(&args, nargs, kwnames, 1)?;
            let delay = call.first.cast_exact::<PyFloat>().ok()?.value();
            schedule(slf, EventLoop::clock() + delay, call)
        };
        answer_quickly(quick, || general::<EventLoop>("call_later", slf, args, nargs, kwnames))
    }
}

unsafe extern "C" fn call_at(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`; the arguments are those of a vectorcall.
    unsafe {
        let quick = || {
            if !this::<EventLoop>(slf).is_plain() {
                return None;
            }
            let call = Scheduled::from(&args, nargs, kwnames, 1)?;
            let when = call.first.cast_exact::<PyFloat>().ok()?.value();
            schedule(slf, when, call)
        };
        answer_quickly(quick, || general::<EventLoop>("call_at", slf, args, nargs, kwnames))
    }
}

/// # Safety
/// `slf` is an event loop.
#[inline(always)]
unsafe fn schedule(slf: *mut ffi::PyObject, when: f64, call: Scheduled<'_>) -> Option<*mut ffi::PyObject> {
    // SAFETY: as promised.
    unsafe {
        let py = Python::assume_attached();
        let time = PyFloat::new(py, when).into_any();
        let handle = Handle::timer(object(&slf), time, call.callback, call.args, call.context).ok()?;
        Some(this::<EventLoop>(slf).make_due(when, handle, py).into_ptr())
    }
}

/// asyncio calls this for each future and task that it creates.
unsafe extern "C" fn get_debug(slf: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`.
    unsafe {
        answer_quickly(|| truth(this::<EventLoop>(slf).is_debug()), || general_without::<EventLoop>("get_debug", slf))
    }
}
