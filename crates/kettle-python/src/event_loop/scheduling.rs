//! Callbacks: soon, later, from other threads.

use kettle::event_loop::Time;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyTuple};

use super::EventLoop;
use crate::errors;
use crate::fast::calls;
use crate::fast::handle::Handle;

impl EventLoop {
    /// Schedules the handle for the next turn, and returns it.
    #[inline(always)]
    pub(crate) fn make_ready<'py>(&self, handle: Handle, py: Python<'py>) -> Bound<'py, PyAny> {
        self.lock(py).ready.push(handle.clone_ref(py));
        handle.into_bound(py)
    }

    /// Schedules the handle for the loop time `when`, and returns it.
    #[inline(always)]
    pub(crate) fn make_due<'py>(&self, when: f64, handle: Handle, py: Python<'py>) -> Bound<'py, PyAny> {
        self.lock(py).timers.push(Time::at(when), handle.clone_ref(py));
        handle.into_bound(py)
    }

    /// Counts the cancellation of one of the loop's timers.
    #[inline(always)]
    pub(crate) fn note_cancelled(&self, py: Python<'_>) {
        self.lock(py).timers.note_cancelled();
    }

    /// Schedules the handle for the next turn, from any thread, and wakes the loop for it.
    pub(crate) fn hand_over(&self, handle: Handle, py: Python<'_>) -> PyResult<()> {
        let is_idle = !self.is_running() && !cfg!(Py_GIL_DISABLED);
        if is_idle || self.is_in_its_thread() {
            self.lock(py).ready.push(handle);
            return Ok(());
        }
        if self.inbox.push(handle) { self.wake(py) } else { Ok(()) }
    }

    /// In a forked child, the copy of a loop that was asleep is asleep in the parent only.
    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        let poller = self.lock(py).poller.clone().filter(|poller| poller.is_of_this_process());
        poller.map_or(Ok(()), |poller| poller.wake()).map_err(errors::os)
    }

    /// asyncio's checks in debug mode: the calling thread, and whether the callback can be called.
    fn check_call(slf: &Bound<'_, Self>, callback: &Bound<'_, PyAny>, method: &str, is_own: bool) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        this.check_open()?;
        if this.is_debug() {
            if is_own {
                calls::call_method(slf, intern!(py, "_check_thread"), ())?;
            }
            calls::call_method(slf, intern!(py, "_check_callback"), (callback, method))?;
        }
        Ok(())
    }

    /// In debug mode a handle records where it was created.
    pub(super) fn trace(slf: &Bound<'_, Self>, handle: Handle) -> PyResult<Handle> {
        if slf.get().is_debug() {
            let py = slf.py();
            let traceback = calls::call_method(slf, intern!(py, "_kettle_traceback"), ())?;
            handle.object().bind(py).setattr(intern!(py, "_source_traceback"), traceback)?;
        }
        Ok(handle)
    }
}

#[pymethods]
impl EventLoop {
    /// Calls `callback(*args)` in the loop's next turn. Gives a handle that can be cancelled.
    #[pyo3(signature = (callback, *args, context=None))]
    fn call_soon<'py>(
        slf: &Bound<'py, Self>,
        callback: &Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::check_call(slf, callback, "call_soon", true)?;
        let handle = Self::trace(slf, Handle::new(slf, callback, args, context)?)?;
        Ok(slf.get().make_ready(handle, slf.py()))
    }

    /// As `call_soon`, from any thread.
    #[pyo3(signature = (callback, *args, context=None))]
    fn call_soon_threadsafe<'py>(
        slf: &Bound<'py, Self>,
        callback: &Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        Self::check_call(slf, callback, "call_soon_threadsafe", false)?;
        let handle = Self::trace(slf, Handle::new(slf, callback, args, context)?)?;
        slf.get().hand_over(handle.clone_ref(py), py)?;
        Ok(handle.into_bound(py))
    }

    /// Calls `callback(*args)` after `delay` seconds, never before. Gives a handle that can be cancelled.
    #[pyo3(signature = (delay, callback, *args, context=None))]
    fn call_later<'py>(
        slf: &Bound<'py, Self>,
        delay: &Bound<'py, PyAny>,
        callback: &Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if delay.is_none() {
            return Err(PyTypeError::new_err("delay must not be None"));
        }
        if slf.get().has_its_own_clock() {
            let when = PyFloat::new(py, Self::clock()).add(delay)?;
            return Self::call_at(slf, &when, callback, args, context);
        }
        // The program has replaced the clock or the method that sets timers.
        let when = calls::call_method(slf, intern!(py, "time"), ())?.add(delay)?;
        let given = [when, callback.clone()].into_iter().chain(args.iter());
        let keywords = pyo3::types::PyDict::new(py);
        keywords.set_item(intern!(py, "context"), context)?;
        let given = PyTuple::new(py, given.collect::<Vec<_>>())?;
        calls::call_with(&slf.getattr(intern!(py, "call_at"))?, &given, &keywords)
    }

    /// Calls `callback(*args)` when `time()` is `when`, never before. Gives a handle that can be cancelled.
    #[pyo3(signature = (when, callback, *args, context=None))]
    fn call_at<'py>(
        slf: &Bound<'py, Self>,
        when: &Bound<'py, PyAny>,
        callback: &Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if when.is_none() {
            return Err(PyTypeError::new_err("when cannot be None"));
        }
        Self::check_call(slf, callback, "call_at", true)?;
        let time = when.extract::<f64>()?;
        let handle = Self::trace(slf, Handle::timer(slf, when.clone(), callback, args, context)?)?;
        Ok(slf.get().make_due(time, handle, slf.py()))
    }

    /// Has a handle run in the next turn, unless it was cancelled.
    fn _add_callback(&self, handle: Bound<'_, PyAny>) {
        let py = handle.py();
        let handle = Handle::of(handle);
        if !handle.is_cancelled(py) {
            self.lock(py).ready.push(handle);
        }
    }

    /// The same from a signal handler, which may have come while the loop is about to sleep.
    fn _add_callback_signalsafe(&self, handle: Bound<'_, PyAny>) -> PyResult<()> {
        let py = handle.py();
        let handle = Handle::of(handle);
        if handle.is_cancelled(py) {
            return Ok(());
        }
        self.hand_over(handle, py)?;
        self._write_to_self(py)
    }

    /// Wakes the loop.
    fn _write_to_self(&self, py: Python<'_>) -> PyResult<()> {
        if self.inbox.call() { self.wake(py) } else { Ok(()) }
    }

    /// A timer, which may be one of this loop's, was cancelled by asyncio's own method.
    fn _timer_handle_cancelled(&self, handle: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = handle.py();
        if handle.getattr(intern!(py, "_scheduled"))?.is_truthy()? {
            self.note_cancelled(py);
        }
        Ok(())
    }
}
