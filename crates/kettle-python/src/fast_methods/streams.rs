//! The methods of a transport that are called for every event, put into its Python class. They find the native half in a
//! slot of the object.

use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyMethodDefPointer};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use super::install::define;
use crate::event_loop::Stream;
use crate::fast::handle_classes::{offset, slot};
use crate::fast::vectorcall::{answer, null, object};

/// The offset of the slot in an object, in bytes.
static SLOT: PyOnceLock<isize> = PyOnceLock::new();

/// Adds the methods to the class of transports, which defines the slot `_kettle_stream`.
#[pyfunction]
pub(crate) fn stream_transport<'py>(cls: Bound<'py, PyType>) -> PyResult<Bound<'py, PyType>> {
    let at = offset(&cls, "_kettle_stream")?;
    if *SLOT.get_or_init(cls.py(), || at) != at {
        return Err(PyTypeError::new_err("there is another class of transports"));
    }
    let add = |name, call, flags, doc: &'static CStr| define(&cls, name, call, flags, doc);
    let one = |call| PyMethodDefPointer { PyCFunctionFastWithKeywords: call };
    let none = |call| PyMethodDefPointer { PyCFunction: call };
    let (fast, nothing) = (ffi::METH_FASTCALL | ffi::METH_KEYWORDS, ffi::METH_NOARGS);
    let write_doc = c"write($self, /, data)\n--\n\nSends data, at once or when the socket accepts it.";
    let pieces_doc = c"writelines($self, /, list_of_data)\n--\n\nSends several pieces, as `write` does.";
    let closing_doc = c"is_closing($self, /)\n--\n\nReturns whether it is closed or will be.";
    let unsent_doc = c"get_write_buffer_size($self, /)\n--\n\nReturns how many bytes wait to be sent.";
    add(c"write", one(write), fast, write_doc)?;
    add(c"writelines", one(write_lines), fast, pieces_doc)?;
    add(c"_read_ready", none(read_ready), nothing, c"_read_ready($self, /)\n--\n\nReads what has come.")?;
    add(c"_kettle_write_ready", none(write_ready), nothing, c"_kettle_write_ready($self, /)\n--\n\nSends what waits.")?;
    add(c"is_closing", none(is_closing), nothing, closing_doc)?;
    add(c"get_write_buffer_size", none(unsent), nothing, unsent_doc)?;
    Ok(cls)
}

/// Answers a call with what `body` does with the native half of the transport.
///
/// # Safety
/// The interpreter is attached, and `slf` is an object of the class of transports that stays for the call.
#[inline(always)]
unsafe fn with_stream<'a>(
    slf: &'a *mut ffi::PyObject,
    body: impl FnOnce(&'a Bound<'a, PyAny>, &Stream) -> PyResult<*mut ffi::PyObject>,
) -> *mut ffi::PyObject {
    // SAFETY: as promised; the class has the slot, which is empty or contains an object.
    unsafe {
        answer(|| {
            let transport = object(slf);
            let py = transport.py();
            let content = SLOT.get(py).map_or(std::ptr::null_mut(), |at| *slot(*slf, *at));
            // A reference of its own, since Python code may run.
            let stream = Bound::from_borrowed_ptr_or_opt(py, content);
            let answered = match stream.as_ref().map(|stream| stream.cast::<Stream>()) {
                Some(Ok(stream)) => body(transport, stream.get()),
                _ => Err(PyTypeError::new_err("the transport was not initialized")),
            };
            answered.unwrap_or_else(|e| null(py, e))
        })
    }
}

fn none() -> *mut ffi::PyObject {
    // SAFETY: it is immortal, or counted as any other; only calls from the interpreter come here.
    unsafe { ffi::Py_NewRef(ffi::Py_None()) }
}

/// The argument of a method that has one, which is called `name`.
///
/// # Safety
/// The arguments are those of a vectorcall that is under way.
#[inline(always)]
unsafe fn only<'a>(
    name: &str,
    args: &'a *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> PyResult<&'a Bound<'a, PyAny>> {
    // SAFETY: as promised: so many objects, and then one for each name.
    unsafe {
        let is_named = || {
            let names = Bound::from_borrowed_ptr_or_opt(Python::assume_attached(), kwnames);
            names.is_some_and(|names| names.eq((name,)).unwrap_or(false))
        };
        if (nargs == 1 && kwnames.is_null()) || (nargs == 0 && is_named()) {
            return Ok(object(&**args));
        }
    }
    Err(PyTypeError::new_err(format!("expected one argument, '{name}'")))
}

unsafe extern "C" fn write(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`; the arguments are those of a vectorcall.
    unsafe {
        with_stream(&slf, |transport, stream| {
            stream.write(transport, only("data", &args, nargs, kwnames)?).map(|()| none())
        })
    }
}

unsafe extern "C" fn write_lines(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`; the arguments are those of a vectorcall.
    unsafe {
        with_stream(&slf, |transport, stream| {
            stream.write_lines(transport, only("list_of_data", &args, nargs, kwnames)?).map(|()| none())
        })
    }
}

unsafe extern "C" fn read_ready(slf: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`.
    unsafe { with_stream(&slf, |transport, stream| stream.read_ready(transport).map(|()| none())) }
}

unsafe extern "C" fn write_ready(slf: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`.
    unsafe { with_stream(&slf, |transport, stream| stream.write_ready(transport).map(|()| none())) }
}

unsafe extern "C" fn is_closing(slf: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`.
    unsafe {
        with_stream(&slf, |transport, stream| {
            let is = stream.is_closing(transport.py());
            Ok(ffi::Py_NewRef(if is { ffi::Py_True() } else { ffi::Py_False() }))
        })
    }
}

unsafe extern "C" fn unsent(slf: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`.
    unsafe {
        with_stream(&slf, |transport, stream| {
            Ok(stream.unsent(transport.py()).into_pyobject(transport.py())?.into_any().into_ptr())
        })
    }
}
