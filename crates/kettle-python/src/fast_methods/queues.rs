//! `put` and `get` of the queues between threads, whose ordinary case costs a tenth of the call through PyO3.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyMethodDef, PyMethodDefPointer};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PySuper, PyType};

use crate::errors;
use crate::fast::vectorcall::{answer, forward, null, object, this};
use crate::queue::thread::{NothingNow, ObjectQueue};

const FAST: i32 = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;

/// Definitions that all threads may read.
struct Table([PyMethodDef; 5]);

// SAFETY: they are never written to; the pointers are to static strings and to functions.
unsafe impl Sync for Table {}

/// For all classes, including those of users. So the definitions are static, and each exists once.
static METHODS: Table = Table([
    PyMethodDef {
        ml_name: c"put".as_ptr(),
        ml_meth: PyMethodDefPointer { PyCFunctionFastWithKeywords: put::<true> },
        ml_flags: FAST,
        ml_doc: c"put($self, /, item, block=True, timeout=None)\n--\n\n\
            Puts `item`, waiting for room at most `timeout` seconds (None: forever), or not at all if `block` is\n\
            false.\n\n\
            Raises queue.Full if there is no room (in time), ShutDown after `shutdown`."
            .as_ptr(),
    },
    PyMethodDef {
        ml_name: c"get".as_ptr(),
        ml_meth: PyMethodDefPointer { PyCFunctionFastWithKeywords: get },
        ml_flags: FAST,
        ml_doc: c"get($self, /, block=True, timeout=None)\n--\n\n\
            Returns the next item, waiting for one at most `timeout` seconds (None: forever), or not at all if\n\
            `block` is false.\n\n\
            Raises queue.Empty if there is none (in time), ShutDown after `shutdown` once the queue is empty."
            .as_ptr(),
    },
    PyMethodDef {
        ml_name: c"put_nowait".as_ptr(),
        ml_meth: PyMethodDefPointer { PyCFunctionFastWithKeywords: put::<false> },
        ml_flags: FAST,
        ml_doc: c"put_nowait($self, /, item)\n--\n\n`put(item, block=False)`.".as_ptr(),
    },
    PyMethodDef {
        ml_name: c"get_nowait".as_ptr(),
        ml_meth: PyMethodDefPointer { PyCFunction: get_nowait },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: c"get_nowait($self, /)\n--\n\n`get(block=False)`.".as_ptr(),
    },
    PyMethodDef {
        ml_name: c"task_done".as_ptr(),
        ml_meth: PyMethodDefPointer { PyCFunction: task_done },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: c"task_done($self, /)\n--\n\n\
            Marks an item that was taken as finished. Raises ValueError if called more often than items were put."
            .as_ptr(),
    },
]);

/// Adds the fast methods to `cls` where neither it nor a class before it defines one in Python. A class whose base has
/// all of them gets only the most frequently called ones: see `_kettle_follow`.
pub(super) fn install(cls: &Bound<'_, PyType>) -> PyResult<()> {
    let py = cls.py();
    let native = py.get_type::<ObjectQueue>().getattr("put")?;
    let of_a_native_class = native.get_type();
    let count = if cls.getattr("put")?.is(&native) { METHODS.0.len() } else { 2 };
    for method in &METHODS.0[..count] {
        // SAFETY: the names above are texts that stay.
        let name = unsafe { std::ffi::CStr::from_ptr(method.ml_name) };
        let name = name.to_str().map_err(|e| PyTypeError::new_err(e.to_string()))?;
        if !cls.getattr(name)?.get_type().is(&of_a_native_class) {
            continue;
        }
        // SAFETY: `cls` is a type, the definition stays and is not written to (the interpreter takes it for writable
        // only for history's sake); what comes back is a new reference or NULL with an exception set.
        let descriptor = unsafe {
            let method = std::ptr::from_ref(method).cast_mut();
            Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(cls.as_type_ptr(), method))?
        };
        cls.setattr(name, descriptor)?;
    }
    Ok(())
}

/// Puts `item` if that needs no waiting: on behalf of `put` if `WAITS`, otherwise of `put_nowait`.
///
/// # Safety
/// `slf` is an `ObjectQueue` and `item` an object, both borrowed from a call that is under way.
#[inline(always)]
unsafe fn put_now<const WAITS: bool>(slf: *mut ffi::PyObject, item: *mut ffi::PyObject) -> bool {
    // SAFETY: as promised; the interpreter is attached, since it called us.
    unsafe {
        let py = Python::assume_attached();
        let (queue, item) = (this::<ObjectQueue>(slf), Bound::from_borrowed_ptr(py, item).unbind());
        if WAITS { queue.put_unreserved(py, item) } else { queue.put_now(py, item) }.is_ok()
    }
}

/// Which class the called method belongs to.
enum Whose {
    Ours,
    Others,
    /// It was the class's own so far, and is its base's from now on. The base's method was called, with this answer.
    Base(*mut ffi::PyObject),
}

/// The class that defines the `put` and `get` with this name.
///
/// # Safety
/// `slf` is an `ObjectQueue`, and the arguments are those of a vectorcall that is under way.
#[inline(always)]
unsafe fn whose(
    name: &str,
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> Whose {
    // SAFETY: as promised; the interpreter is attached, since it called us.
    unsafe {
        if this::<ObjectQueue>(slf).is_class_known(object(&slf)) {
            return Whose::Ours;
        }
        look_whose(name, slf, args, nargs, kwnames)
    }
}

/// # Safety
/// As of [`whose`].
#[cold]
unsafe fn look_whose(
    name: &str,
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> Whose {
    // SAFETY: as promised; the interpreter is attached, since it called us. What the call gives is a new reference, or
    // NULL with an exception set.
    unsafe {
        let (py, queue) = (Python::assume_attached(), object(&slf));
        let method = || match ObjectQueue::follow(queue)? {
            Some(class) => PySuper::new(&class, queue)?.getattr(name).map(Some),
            None => Ok(None),
        };
        match method() {
            Ok(None) if this::<ObjectQueue>(slf).keeps_no_house(queue) => Whose::Ours,
            Ok(None) => Whose::Others,
            Ok(Some(method)) => Whose::Base(ffi::PyObject_Vectorcall(method.as_ptr(), args, nargs as usize, kwnames)),
            Err(e) => Whose::Base(null(py, e)),
        }
    }
}

/// PyO3's method of the same name as a fast one, which handles all cases.
struct General {
    name: &'static str,
    method: PyOnceLock<Py<PyAny>>,
}

impl General {
    const fn new(name: &'static str) -> Self {
        Self { name, method: PyOnceLock::new() }
    }

    /// Calls it.
    ///
    /// # Safety
    /// The arguments are those of a vectorcall that is under way.
    unsafe fn call(
        &self,
        slf: *mut ffi::PyObject,
        args: *const *mut ffi::PyObject,
        nargs: ffi::Py_ssize_t,
        kwnames: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject {
        // SAFETY: the interpreter is attached, since it called us; the arguments are as promised.
        unsafe {
            let py = Python::assume_attached();
            let method =
                self.method.get_or_try_init(py, || py.get_type::<ObjectQueue>().getattr(self.name).map(Into::into));
            let method = match method {
                Ok(method) => method,
                Err(e) => return null(py, e),
            };
            forward(method.as_ptr(), slf, args, nargs, kwnames)
        }
    }
}

static PUT: General = General::new("put");
static PUT_NOWAIT: General = General::new("put_nowait");
static GET: General = General::new("get");
static GET_NOWAIT: General = General::new("get_nowait");
static TASK_DONE: General = General::new("task_done");

/// `put`, and `put_nowait`, which does not wait.
unsafe extern "C" fn put<const WAITS: bool>(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`; the arguments are those of a vectorcall.
    unsafe {
        answer(|| {
            let is_ours = if WAITS {
                match whose("put", slf, args, nargs, kwnames) {
                    Whose::Base(answer) => return answer,
                    Whose::Ours => true,
                    Whose::Others => false,
                }
            } else {
                this::<ObjectQueue>(slf).is_called_directly(object(&slf))
            };
            if nargs == 1 && kwnames.is_null() && is_ours && put_now::<WAITS>(slf, *args) {
                return ffi::Py_NewRef(ffi::Py_None());
            }
            let general = if WAITS { &PUT } else { &PUT_NOWAIT };
            general.call(slf, args, nargs, kwnames)
        })
    }
}

unsafe extern "C" fn get(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`; the arguments are those of a vectorcall.
    unsafe {
        answer(|| {
            let is_ours = match whose("get", slf, args, nargs, kwnames) {
                Whose::Base(answer) => return answer,
                Whose::Ours => true,
                Whose::Others => false,
            };
            if nargs == 0 && kwnames.is_null() && is_ours {
                if let Some(item) = this::<ObjectQueue>(slf).take_unreserved(Python::assume_attached()) {
                    return item.into_ptr();
                }
            }
            GET.call(slf, args, nargs, kwnames)
        })
    }
}

unsafe extern "C" fn get_nowait(slf: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`.
    unsafe {
        answer(|| {
            let py = Python::assume_attached();
            if !this::<ObjectQueue>(slf).is_called_directly(object(&slf)) {
                return GET_NOWAIT.call(slf, std::ptr::null(), 0, std::ptr::null_mut());
            }
            match this::<ObjectQueue>(slf).take_now(py) {
                Ok(item) => return item.into_ptr(),
                // Programs poll, so this is an ordinary case too.
                Err(NothingNow::Empty) => {
                    if let Ok(class) = errors::empty_class(py) {
                        ffi::PyErr_SetNone(class.as_ptr());
                        return std::ptr::null_mut();
                    }
                }
                Err(NothingNow::Otherwise) => {}
            }
            GET_NOWAIT.call(slf, std::ptr::null(), 0, std::ptr::null_mut())
        })
    }
}

unsafe extern "C" fn task_done(slf: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`.
    unsafe {
        answer(|| {
            if this::<ObjectQueue>(slf).one_done(Python::assume_attached()) {
                return ffi::Py_NewRef(ffi::Py_None());
            }
            TASK_DONE.call(slf, std::ptr::null(), 0, std::ptr::null_mut())
        })
    }
}
