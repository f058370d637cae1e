//! `cancel` of the handles, which an event loop of ours counts.

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::event_loop::EventLoop;
use crate::fast::handle_classes::{CLASSES, CancelMethods, Classes, is_true, put, slot};
use crate::fast::vectorcall::{answer, object_or_null};

/// Creates the classes of handles from asyncio's two, and returns the same two each time.
#[pyfunction]
pub(crate) fn handle_classes<'py>(
    handle: Bound<'py, PyType>,
    timer_handle: Bound<'py, PyType>,
) -> PyResult<(Bound<'py, PyType>, Bound<'py, PyType>)> {
    let py = handle.py();
    let cancel = CancelMethods { plain: cancel, timer: cancel_timer };
    let classes = CLASSES.get_or_try_init(py, || Classes::create(handle, &timer_handle, cancel))?;
    Ok((classes.plain.bind(py).clone(), classes.timer.bind(py).clone()))
}

unsafe extern "C" fn cancel(handle: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class.
    unsafe { answer(|| cancelled(handle, false)) }
}

unsafe extern "C" fn cancel_timer(handle: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class.
    unsafe { answer(|| cancelled(handle, true)) }
}

/// # Safety
/// The interpreter is attached, and `handle` is of one of our classes, the second one if `is_timer`, or of a subclass.
unsafe fn cancelled(handle: *mut ffi::PyObject, is_timer: bool) -> *mut ffi::PyObject {
    // SAFETY: as promised; what is put into slots are objects.
    unsafe {
        let py = Python::assume_attached();
        let Some(classes) = CLASSES.get(py) else { return ffi::Py_NewRef(ffi::Py_None()) };
        let slots = &classes.slots;
        if is_true(handle, slots.cancelled) {
            return ffi::Py_NewRef(ffi::Py_None());
        }
        let owner = Bound::from_borrowed_ptr_or_opt(py, *slot(handle, slots.event_loop));
        let native = owner.as_ref().and_then(|owner| owner.cast::<EventLoop>().ok());
        match native {
            Some(native) if !native.get().is_debug() && !cfg!(Py_GIL_DISABLED) => {
                if is_timer && is_true(handle, classes.timer_slots.scheduled) {
                    native.get().note_cancelled(py);
                }
                put(handle, slots.cancelled, ffi::Py_NewRef(ffi::Py_True()));
                put(handle, slots.callback, ffi::Py_NewRef(ffi::Py_None()));
                put(handle, slots.args, ffi::Py_NewRef(ffi::Py_None()));
                ffi::Py_NewRef(ffi::Py_None())
            }
            _ => {
                // asyncio stores a representation in this case.
                let class = if is_timer { &classes.timer } else { &classes.plain };
                let handle = Bound::from_borrowed_ptr(py, handle);
                let base = class.bind(py).getattr(intern!(py, "__base__"));
                object_or_null(py, base.and_then(|base| base.getattr(intern!(py, "cancel"))?.call1((handle,))))
            }
        }
    }
}
