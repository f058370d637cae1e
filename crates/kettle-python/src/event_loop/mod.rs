//! `EventLoop`: the native half of `kettle.asyncio.EventLoop`. The other half is the running Python's own loop, which
//! comes after this class in the method resolution order.
//!
//! Attributes of the Python half that both halves need (`_closed`, `_stopping`, `_debug`, `_thread_id`) are stored
//! here, as properties of those names. README.md of `kettle::event_loop` describes the states of a loop and the order
//! of a turn.
//!
//! | module | what it is |
//! |---|---|
//! | `scheduling` | callbacks: soon, later, from other threads |
//! | `readers` | callbacks for descriptors |
//! | `turn` | one turn, and its sleep |
//! | `by_parts` | the parts of a turn, for programs that make turns of their own |
//! | `stream` | the native half of a transport; `reading` and `writing` are its work |
//! | `listener` | accepting connections |
//!
//! **The lock of the parts is never held while Python runs**, and dropping a reference may run Python: handles are
//! moved out of the lock before they are dropped.

mod by_parts;
mod listener;
mod readers;
mod reading;
mod scheduling;
mod stream;
mod turn;
mod writing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use kettle::event_loop::{Epoll, Events, Inbox, Poller, Ready, Slots, Tenure, Timers};
use kettle_core::queue::local::Lock;
use kettle_core::sys::{clock, process};
use pyo3::PyTraverseError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pyclass::PyVisit;
use pyo3::types::{PyDict, PyString, PyTuple};

pub(crate) use listener::accept;
pub(crate) use stream::Stream;

use crate::errors;
use crate::fast::handle::Handle;
use crate::fast::{Attached, AttachedLock, calls};

/// The state that only the loop's own thread uses while the loop runs.
#[derive(Default)]
struct Parts {
    ready: Ready<Handle>,
    timers: Timers<Handle>,
    slots: Slots<Handle>,
    /// The file objects of descriptors that were not given as numbers, to recognise them after they were closed.
    files: Vec<(i32, Py<PyAny>)>,
    /// Created on demand, and again in a forked child.
    poller: Option<Arc<Poller>>,
    /// The buffer for the poller's events.
    events: Option<Events>,
    /// When the last poll found nothing, in nanoseconds; 0 makes the next turn poll.
    quiet_since: u64,
    /// Whether to wait with the GIL.
    tenure: Tenure,
    /// Set after an event for a descriptor that is no longer registered.
    must_renew: bool,
}

/// The native half of `kettle.asyncio.EventLoop`.
///
/// Names that begin with `_kettle_` are for that class only.
#[pyclass(subclass, frozen, module = "kettle._native")]
pub(crate) struct EventLoop {
    parts: AttachedLock<Parts>,
    inbox: Inbox<Handle>,
    is_closed: AtomicBool,
    is_debug: AtomicBool,
    is_stopping: AtomicBool,
    /// Neither closed nor in debug mode: callbacks need no checks.
    is_plain: AtomicBool,
    /// Whether `time` and `call_at` are the methods of this class.
    has_its_own_clock: AtomicBool,
    /// Whether the methods for descriptors that are called by others of the loop are those of this class and asyncio's.
    has_its_own_readers: AtomicBool,
    /// The thread that runs the loop, in Python's numbering and in the kernel's; 0 if there is none.
    thread: AtomicU64,
    kernel_thread: AtomicU32,
}

impl EventLoop {
    /// The current time, on the scale of `time.monotonic()`.
    #[inline(always)]
    pub(crate) fn clock() -> f64 {
        clock::now() as f64 / 1e9
    }

    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn is_debug(&self) -> bool {
        self.is_debug.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn has_its_own_clock(&self) -> bool {
        self.has_its_own_clock.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn has_its_own_readers(&self) -> bool {
        self.has_its_own_readers.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn lock<'a>(&'a self, py: Python<'a>) -> impl std::ops::DerefMut<Target = Parts> + use<'a> {
        self.parts.lock(py.into())
    }

    fn note_state(&self) {
        let is_plain = !self.is_closed.load(Ordering::Relaxed) && !self.is_debug();
        self.is_plain.store(is_plain, Ordering::Relaxed);
    }

    /// # Errors
    /// `RuntimeError`, as asyncio's.
    fn check_open(&self) -> PyResult<()> {
        match self.is_closed.load(Ordering::Relaxed) {
            true => Err(PyRuntimeError::new_err("Event loop is closed")),
            false => Ok(()),
        }
    }

    /// The loop's poller. A poller that was created before a fork belongs to the parent too, and is not used from then
    /// on.
    ///
    /// # Errors
    /// When descriptors have run out.
    fn poller(&self, py: Python<'_>) -> PyResult<Arc<Poller>> {
        let mut parts = self.lock(py);
        if let Some(poller) = parts.poller.as_ref().filter(|poller| !parts.must_renew && poller.is_of_this_process()) {
            return Ok(poller.clone());
        }
        // Dropped first: if the program closed its descriptors, the new poller gets their numbers.
        drop(parts.poller.take());
        let poller = Arc::new(Poller::new().map_err(errors::os)?);
        parts.slots.move_to(&poller);
        parts.must_renew = false;
        parts.quiet_since = 0;
        parts.poller = Some(poller.clone());
        Ok(poller)
    }

    /// Checks again which methods are overridden, if the attribute that was set may have changed that.
    #[inline]
    fn note_replaced(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>) -> PyResult<()> {
        match name.to_str()? {
            "time"
            | "call_at"
            | "__class__"
            | "_ensure_fd_no_transport"
            | "_add_reader"
            | "_remove_reader"
            | "_add_writer"
            | "_remove_writer" => calls::call_method(slf, intern!(slf.py(), "_look_at_overrides"), ()).map(drop),
            _ => Ok(()),
        }
    }

    /// Whether this thread runs the loop.
    #[inline(always)]
    fn is_in_its_thread(&self) -> bool {
        self.kernel_thread.load(Ordering::Relaxed) == process::thread_id()
    }
}

#[pymethods]
impl EventLoop {
    /// The parameters are for `__init__`: a subclass may have others of its own.
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "()")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            parts: AttachedLock::new(Parts::default()),
            inbox: Inbox::default(),
            is_closed: AtomicBool::new(false),
            is_debug: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            is_plain: AtomicBool::new(true),
            has_its_own_clock: AtomicBool::new(true),
            has_its_own_readers: AtomicBool::new(true),
            thread: AtomicU64::new(0),
            kernel_thread: AtomicU32::new(0),
        }
    }

    /// The seconds that `time.monotonic()` has.
    fn time(&self) -> f64 {
        Self::clock()
    }

    /// Whether it is in debug mode.
    fn get_debug(&self) -> bool {
        self.is_debug()
    }

    /// Whether it runs.
    fn is_running(&self) -> bool {
        self.thread.load(Ordering::Relaxed) != 0
    }

    /// Whether it was closed.
    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Ends `run_forever` after the present turn.
    fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    fn _check_closed(&self) -> PyResult<()> {
        self.check_open()
    }

    #[getter]
    fn _closed(&self) -> bool {
        self.is_closed()
    }

    #[setter(_closed)]
    fn set_closed(&self, is: bool) {
        self.is_closed.store(is, Ordering::Relaxed);
        self.note_state();
    }

    #[getter]
    fn _stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    #[setter(_stopping)]
    fn set_stopping(&self, is: bool) {
        self.is_stopping.store(is, Ordering::Relaxed);
    }

    #[getter]
    fn _debug(&self) -> bool {
        self.is_debug()
    }

    #[setter(_debug)]
    fn set_debug(&self, is: &Bound<'_, PyAny>) -> PyResult<()> {
        self.is_debug.store(is.is_truthy()?, Ordering::Relaxed);
        self.note_state();
        Ok(())
    }

    #[getter]
    fn _thread_id(&self) -> Option<u64> {
        Some(self.thread.load(Ordering::Relaxed)).filter(|thread| *thread != 0)
    }

    #[setter(_thread_id)]
    fn set_thread_id(&self, thread: Option<u64>) {
        self.thread.store(thread.unwrap_or(0), Ordering::Relaxed);
        let kernel_thread = if thread.is_some() { process::thread_id() } else { 0 };
        self.kernel_thread.store(kernel_thread, Ordering::Relaxed);
    }

    /// A program may replace the clock, or what registers descriptors, at any time: from then on it is used.
    fn __setattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        calls::set_attribute(slf, name, Some(value))?;
        Self::note_replaced(slf, name)
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>) -> PyResult<()> {
        calls::set_attribute(slf, name, None)?;
        Self::note_replaced(slf, name)
    }

    /// The timers in the order of their times: a copy, which is a heap as asyncio's is.
    #[getter]
    fn _scheduled(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.lock(py).timers.in_order().map(|handle| handle.object().clone_ref(py)).collect()
    }

    #[setter(_scheduled)]
    fn set_scheduled(&self, _scheduled: &Bound<'_, PyAny>) {}

    /// Says whether `time` and `call_at` are the methods of this class.
    fn _kettle_set_own_clock(&self, is: bool) {
        self.has_its_own_clock.store(is, Ordering::Relaxed);
    }

    /// Says whether `_ensure_fd_no_transport`, `_add_reader` and the like are those of this class and asyncio's.
    fn _kettle_set_own_readers(&self, is: bool) {
        self.has_its_own_readers.store(is, Ordering::Relaxed);
    }

    /// Never uses `epoll_pwait2` in this process, which some sandboxes end programs for.
    #[staticmethod]
    fn _kettle_avoid_nanoseconds() {
        Epoll::avoid_nanoseconds();
    }

    /// The descriptor that it waits on, which is readable when something is ready.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        self.check_open()?;
        Ok(self.poller(py)?.as_raw_fd())
    }

    /// Drops all that it has.
    fn _kettle_clear(&self, py: Python<'_>) {
        let parts = std::mem::take(&mut *self.lock(py));
        let inbox = self.inbox.take();
        drop((parts, inbox));
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let parts = self.parts.lock(Attached::by(&visit));
        let handles = parts.ready.iter().chain(parts.timers.iter()).chain(parts.slots.iter());
        handles.map(Handle::object).try_for_each(|object| visit.call(object))?;
        parts.files.iter().try_for_each(|(_, file)| visit.call(file))?;
        self.inbox.try_for_each(|handle| visit.call(handle.object()))
    }

    fn __clear__(&self, py: Python<'_>) {
        self._kettle_clear(py);
    }
}
