//! `Event`.

use std::sync::atomic::{AtomicBool, Ordering};

use kettle_core::sync::{self, Heap};
use kettle_core::wait::{EventCount, Scope};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::event_statistics;
use crate::door::deadline;
use crate::fast::calls;
use crate::parameters;
use crate::primitive::{Waitable, waitable};
use crate::sync::between_threads::{key, set_name, wait_for_thread};

/// A flag for threads.
///
/// The flag is always here. When a program accesses the condition that belongs to it in the standard library, later
/// waiters wait on that condition; see `kettle.threading.Event`, whose methods named `_kettle_...` take over.
#[pyclass(subclass, frozen, name = "HeapEvent", module = "kettle._native")]
pub(crate) struct Event {
    body: sync::Event,
    is_outside: AtomicBool,
}

#[pymethods]
impl Event {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(*, name=None)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { body: sync::Event::new(), is_outside: AtomicBool::new(false) }
    }

    #[pyo3(signature = (*args, name=None))]
    fn __init__(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, name: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        parameters::no_positional("Event", args)?;
        let this = slf.get();
        this.body.clear();
        if this.is_outside.swap(false, Ordering::SeqCst) {
            calls::call_method(slf, "_kettle_forget", ())?;
        }
        set_name(slf, name)
    }

    /// Returns whether the event is set.
    pub(crate) fn is_set(&self) -> bool {
        self.body.is_set()
    }

    /// Sets the event, and wakes all waiters.
    fn set(slf: &Bound<'_, Self>) -> PyResult<()> {
        if slf.get().set_now() { Ok(()) } else { calls::call_method(slf, "_kettle_set", ()).map(drop) }
    }

    /// Clears the event.
    fn clear(slf: &Bound<'_, Self>) -> PyResult<()> {
        if slf.get().clear_now() { Ok(()) } else { calls::call_method(slf, "_kettle_clear", ()).map(drop) }
    }

    /// Waits until the event is set, at most `timeout` seconds (None: forever). Returns whether it was set.
    #[pyo3(signature = (timeout=None))]
    fn wait(slf: &Bound<'_, Self>, #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>) -> PyResult<bool> {
        let this = slf.get();
        if this.is_set() {
            return Ok(true);
        }
        if this.is_outside() {
            return calls::call_method(slf, "_kettle_wait", (timeout,))?.is_truthy();
        }
        let body = &this.body;
        Ok(wait_for_thread(slf.py(), deadline(true, timeout), |p| body.wait::<Heap>(p))?.is_ok())
    }

    /// Makes later waiters wait outside.
    fn _kettle_leave(&self) {
        self.is_outside.store(true, Ordering::SeqCst);
    }

    /// Whether they do.
    fn _kettle_is_outside(&self) -> bool {
        self.is_outside()
    }

    /// Sets or clears the flag, and wakes threads that wait inside.
    fn _kettle_put(&self, flag: bool) {
        if flag {
            self.body.set::<Heap>();
        } else {
            self.body.clear();
        }
    }

    /// Forgets all waiters, in a forked child.
    fn _at_fork_reinit(&self) {
        self.body.reinit();
    }

    /// A number that changes whenever the event is set or cleared.
    fn _kettle_version(&self) -> u32 {
        self.body.version()
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        event_statistics(py, &self.body.statistics())
    }
}

impl Event {
    #[inline]
    fn is_outside(&self) -> bool {
        self.is_outside.load(Ordering::SeqCst)
    }

    /// The ordinary case of `set`.
    #[inline]
    pub(crate) fn set_now(&self) -> bool {
        let is_ordinary = !self.is_outside();
        if is_ordinary {
            self.body.set::<Heap>();
        }
        // Without a GIL another thread may start to wait outside meanwhile.
        is_ordinary && !(cfg!(Py_GIL_DISABLED) && self.is_outside())
    }

    /// The ordinary case of `clear`.
    #[inline]
    pub(crate) fn clear_now(&self) -> bool {
        let is_ordinary = !self.is_outside();
        if is_ordinary {
            self.body.clear();
        }
        is_ordinary
    }
}

impl Waitable for Event {
    fn scope(&self) -> Scope {
        Scope::Private
    }
    fn ready(&self) -> bool {
        self.is_set()
    }
    fn events(&self) -> &EventCount {
        self.body.changed()
    }
    fn call(&self) -> u32 {
        key(&self.body)
    }
}
waitable!(Event);
