//! `create_task` and `create_future` of the event loop. The ordinary case calls the class directly, as asyncio's method
//! does; everything else is left to that method.

use std::ffi::{CStr, CString};

use pyo3::ffi::{self, PyMethodDefPointer};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use super::install::put_over;
use crate::event_loop::EventLoop;
use crate::fast::calls;
use crate::fast::vectorcall::{answer, answer_quickly, forward, null, object, object_or_null, this};

/// asyncio's own.
struct Standard {
    /// The class of loops.
    event_loop: Py<PyAny>,
    /// Its methods, as they were when they were first seen.
    create_task: Py<PyAny>,
    create_future: Py<PyAny>,
    /// The names in the modules that define the classes.
    tasks: Py<PyDict>,
    futures: Py<PyDict>,
    /// `("loop",)`
    keyword: Py<PyTuple>,
}

static STANDARD: PyOnceLock<Standard> = PyOnceLock::new();

/// Adds the methods to `cls`, Kettle's class of loops.
pub(super) fn install(cls: &Bound<'_, PyType>) -> PyResult<()> {
    let py = cls.py();
    let standard = STANDARD.get_or_try_init(py, || {
        let event_loop = py.import("asyncio")?.getattr("SelectorEventLoop")?;
        Ok::<_, PyErr>(Standard {
            create_task: event_loop.getattr("create_task")?.unbind(),
            create_future: event_loop.getattr("create_future")?.unbind(),
            event_loop: event_loop.unbind(),
            tasks: py.import("asyncio.tasks")?.dict().unbind(),
            futures: py.import("asyncio.futures")?.dict().unbind(),
            keyword: PyTuple::new(py, ["loop"])?.unbind(),
        })
    })?;
    let fast = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    let task = PyMethodDefPointer { PyCFunctionFastWithKeywords: create_task };
    let future = PyMethodDefPointer { PyCFunction: create_future };
    let replaced = standard.create_task.bind(py);
    put_over(cls, replaced, "create_task", c"create_task", task, fast, help(replaced)?)?;
    let replaced = standard.create_future.bind(py);
    put_over(cls, replaced, "create_future", c"create_future", future, ffi::METH_NOARGS, help(replaced)?)
}

/// The `help` text of a method of this Python's asyncio, its signature first, which depends on the version. It is needed
/// for as long as the class lives, which is until the process ends.
fn help(method: &Bound<'_, PyAny>) -> PyResult<&'static CStr> {
    let py = method.py();
    let signature: String = py.import("inspect")?.call_method1("signature", (method,))?.str()?.extract()?;
    let parameters = signature.strip_prefix("(self").unwrap_or(")");
    let name: String = method.getattr("__name__")?.extract()?;
    let doc: String = method.getattr("__doc__")?.str()?.extract()?;
    Ok(Box::leak(CString::new(format!("{name}($self, /{parameters}\n--\n\n{doc}"))?.into_boxed_c_str()))
}

impl Standard {
    /// Whether asyncio's class still has the method `known` under this name: programs replace them, to trace tasks.
    fn has(&self, py: Python<'_>, known: &Py<PyAny>, name: &Bound<'_, PyString>) -> bool {
        self.event_loop.bind(py).getattr(name).is_ok_and(|method| method.is(known))
    }

    /// `class(*args, loop=event_loop)`. Returns None if there is no such class.
    fn make<'py>(
        &self,
        names: &Py<PyDict>,
        class: &Bound<'py, PyString>,
        given: &[*mut ffi::PyObject],
    ) -> Option<PyResult<Bound<'py, PyAny>>> {
        let py = class.py();
        let class = names.bind(py).get_item(class).ok()??;
        Some(calls::call_named(&class, given, self.keyword.bind(py)))
    }
}

/// The result of a call, for C.
/// asyncio's method of this name, as it is now.
///
/// # Safety
/// The arguments are those of a vectorcall that is under way, to a method of an event loop.
#[cold]
#[inline(never)]
unsafe fn asyncios(
    name: &str,
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter is attached, since it called us; the arguments are as promised.
    unsafe {
        answer(|| {
            let py = Python::assume_attached();
            let standard = STANDARD.get(py).map(|standard| standard.event_loop.bind(py).getattr(name));
            match standard {
                Some(Ok(method)) => forward(method.as_ptr(), slf, args, nargs, kwnames),
                Some(Err(e)) => null(py, e),
                None => std::ptr::null_mut(),
            }
        })
    }
}

unsafe extern "C" fn create_task(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`; the arguments are those of a vectorcall.
    unsafe {
        let quick = || {
            if nargs != 1 || !kwnames.is_null() || !this::<EventLoop>(slf).is_plain() {
                return None;
            }
            let py = Python::assume_attached();
            let standard = STANDARD.get(py)?;
            let factory = object(&slf).getattr(intern!(py, "_task_factory")).ok()?;
            if !factory.is_none() || !standard.has(py, &standard.create_task, intern!(py, "create_task")) {
                return None;
            }
            Some(object_or_null(py, standard.make(&standard.tasks, intern!(py, "Task"), &[*args, slf])?))
        };
        answer_quickly(quick, || asyncios("create_task", slf, args, nargs, kwnames))
    }
}

unsafe extern "C" fn create_future(slf: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the descriptor checked the class of `slf`.
    unsafe {
        let quick = || {
            let py = Python::assume_attached();
            let standard = STANDARD.get(py)?;
            if !standard.has(py, &standard.create_future, intern!(py, "create_future")) {
                return None;
            }
            Some(object_or_null(py, standard.make(&standard.futures, intern!(py, "Future"), &[slf])?))
        };
        answer_quickly(quick, || asyncios("create_future", slf, std::ptr::null(), 0, std::ptr::null_mut()))
    }
}
