//! `create_task` and `create_future` of the event loop. The ordinary case calls the class directly, as asyncio's method
//! does; everything else is left to that method.

use std::ffi::{CStr, CString};
use std::ptr;

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
    /// `("loop",)`; the same with `"name"`, with `"context"`, and with both.
    keywords: [Py<PyTuple>; 4],
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
            keywords: [
                PyTuple::new(py, ["loop"])?.unbind(),
                PyTuple::new(py, ["loop", "name"])?.unbind(),
                PyTuple::new(py, ["loop", "context"])?.unbind(),
                PyTuple::new(py, ["loop", "name", "context"])?.unbind(),
            ],
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

    /// `class(*given)`, the last ones by the keywords. Returns None if there is no such class.
    fn make<'py>(
        &self,
        names: &Py<PyDict>,
        class: &Bound<'py, PyString>,
        given: &[*mut ffi::PyObject],
        keywords: &Py<PyTuple>,
    ) -> Option<PyResult<Bound<'py, PyAny>>> {
        let py = class.py();
        let class = names.bind(py).get_item(class).ok()??;
        Some(calls::call_named(&class, given, keywords.bind(py)))
    }

    /// The keywords for a task whose creation got the keywords `given`, which are a name, a context, or both, in this
    /// order. Returns None if they are others.
    ///
    /// # Safety
    /// `given` is a tuple of strings or NULL.
    #[inline(always)]
    unsafe fn keywords(&self, py: Python<'_>, given: *mut ffi::PyObject) -> Option<&Py<PyTuple>> {
        // SAFETY: as promised; no item is asked for that is not there.
        unsafe {
            let is = |place, known: &Bound<'_, PyString>| ffi::PyTuple_GET_ITEM(given, place) == known.as_ptr();
            let (name, context) = (intern!(py, "name"), intern!(py, "context"));
            let count = if given.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(given) };
            match count {
                0 => Some(&self.keywords[0]),
                1 if is(0, name) => Some(&self.keywords[1]),
                1 if is(0, context) => Some(&self.keywords[2]),
                2 if is(0, name) && is(1, context) => Some(&self.keywords[3]),
                _ => None,
            }
        }
    }
}

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
                None => ptr::null_mut(),
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
            if nargs != 1 || !this::<EventLoop>(slf).is_plain() {
                return None;
            }
            let py = Python::assume_attached();
            let standard = STANDARD.get(py)?;
            let keywords = standard.keywords(py, kwnames)?;
            let factory = object(&slf).getattr(intern!(py, "_task_factory")).ok()?;
            if !factory.is_none() || !standard.has(py, &standard.create_task, intern!(py, "create_task")) {
                return None;
            }
            let named = keywords.bind(py).len() - 1;
            let mut given = [*args, slf, slf, slf];
            ptr::copy_nonoverlapping(args.add(1), given.as_mut_ptr().add(2), named);
            let given = &given[..2 + named];
            Some(object_or_null(py, standard.make(&standard.tasks, intern!(py, "Task"), given, keywords)?))
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
            Some(object_or_null(
                py,
                standard.make(&standard.futures, intern!(py, "Future"), &[slf], &standard.keywords[0])?,
            ))
        };
        answer_quickly(quick, || asyncios("create_future", slf, ptr::null(), 0, ptr::null_mut()))
    }
}
