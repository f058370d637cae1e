//! The fast methods of events and conditions between threads.

use pyo3::ffi::{self, PyMethodDefPointer};
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::install::{ENTER_DOC, EXIT_DOC, Method, put_all, without_arguments};
use crate::fast::vectorcall::{answer_quickly, done, general, general_without, nothing, object, this, truth};
use crate::sync::condition::thread::Condition;
use crate::sync::event::thread::Event;

pub(super) fn install_event(cls: &Bound<'_, PyType>) -> PyResult<()> {
    let is_set_doc = c"is_set($self, /)\n--\n\nReturns whether the event is set.";
    let set_doc = c"set($self, /)\n--\n\nSets the event, and wakes all waiters.";
    let clear_doc = c"clear($self, /)\n--\n\nClears the event.";
    let wait_doc = c"wait($self, /, timeout=None)\n--\n\n\
        Waits until the event is set, at most `timeout` seconds (None: forever). Returns whether it was set.";
    let positional = ffi::METH_FASTCALL;
    let fast = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    let table: [Method; 4] = [
        ("is_set", c"is_set", PyMethodDefPointer { PyCFunctionFast: is_set }, positional, is_set_doc),
        ("set", c"set", PyMethodDefPointer { PyCFunctionFast: set }, positional, set_doc),
        ("clear", c"clear", PyMethodDefPointer { PyCFunctionFast: clear }, positional, clear_doc),
        ("wait", c"wait", PyMethodDefPointer { PyCFunctionFastWithKeywords: wait }, fast, wait_doc),
    ];
    put_all::<Event>(cls, table)
}

pub(super) fn install_condition(cls: &Bound<'_, PyType>) -> PyResult<()> {
    let notify_doc = c"notify($self, /, n=1)\n--\n\nWakes up to `n` waiters, the longest waiting first.";
    let all_doc = c"notify_all($self, /)\n--\n\nWakes all waiters.";
    let fast = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    let table: [Method; 4] = [
        ("notify", c"notify", PyMethodDefPointer { PyCFunctionFastWithKeywords: notify }, fast, notify_doc),
        ("notify_all", c"notify_all", PyMethodDefPointer { PyCFunctionFast: notify_all }, ffi::METH_FASTCALL, all_doc),
        ("__enter__", c"__enter__", PyMethodDefPointer { PyCFunction: enter_guard }, ffi::METH_NOARGS, ENTER_DOC),
        ("__exit__", c"__exit__", PyMethodDefPointer { PyCFunctionFast: exit_guard }, ffi::METH_FASTCALL, EXIT_DOC),
    ];
    put_all::<Condition>(cls, table)
}

without_arguments! {
    is_set(event: Event), "is_set" => truth(event.is_set());
    set(event: Event), "set" => nothing(event.set_now());
    clear(event: Event), "clear" => nothing(event.clear_now());
}

unsafe extern "C" fn wait(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`; the arguments are those of a vectorcall.
    unsafe {
        if nargs != 0 || !kwnames.is_null() {
            return general::<Event>("wait", slf, args, nargs, kwnames);
        }
        answer_quickly(|| done(this::<Event>(slf).is_set()), || general_without::<Event>("wait", slf))
    }
}

unsafe extern "C" fn notify(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`; the arguments are those of a vectorcall.
    unsafe {
        if nargs != 0 || !kwnames.is_null() {
            return general::<Condition>("notify", slf, args, nargs, kwnames);
        }
        let quick = || nothing(this::<Condition>(slf).notify_now(object(&slf), 1));
        answer_quickly(quick, || general_without::<Condition>("notify", slf))
    }
}

unsafe extern "C" fn notify_all(
    slf: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`; the arguments are those of a vectorcall.
    unsafe {
        if nargs != 0 {
            return general::<Condition>("notify_all", slf, args, nargs, std::ptr::null_mut());
        }
        let quick = || {
            let (condition, object) = (this::<Condition>(slf), object(&slf));
            nothing(condition.notifies_by_itself(object) && condition.notify_now(object, u32::MAX))
        };
        answer_quickly(quick, || general_without::<Condition>("notify_all", slf))
    }
}

unsafe extern "C" fn enter_guard(slf: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`.
    unsafe {
        let quick = || done(this::<Condition>(slf).try_enter());
        answer_quickly(quick, || general_without::<Condition>("__enter__", slf))
    }
}

unsafe extern "C" fn exit_guard(
    slf: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`; the arguments are those of a vectorcall.
    unsafe {
        let quick = || nothing(this::<Condition>(slf).try_release());
        answer_quickly(quick, || general::<Condition>("__exit__", slf, args, nargs, std::ptr::null_mut()))
    }
}
