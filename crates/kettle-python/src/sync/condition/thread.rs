//! `Condition`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use kettle_core::sync::{self, Growing, Heap, Waiter};
use kettle_core::wait::Door;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit, intern};

use super::condition_statistics;
use crate::deadlock::Numbered;
use crate::door::deadline;
use crate::fast::{Called, FastLock, Ours, calls, nothing_else};
use crate::parameters;
use crate::sync::between_threads::{key, wait_for_thread};
use crate::sync::lock::thread::{Lock, RLock};

/// What `notify_all` calls.
static NOTIFY: Called = Called::new(&["notify"]);
/// What `wait` and `notify` call; see `_kettle_is_different`.
static WAYS: Called = Called::new(&[]);

/// The waiters of a condition, and the lock that goes with it.
///
/// When a program accesses the standard library's list of waiters, or releases and acquires the lock by methods of its
/// own, later waiters wait in such a list; see `kettle.threading.Condition`, whose methods named `_kettle_...` take
/// over.
#[pyclass(subclass, frozen, name = "HeapCondition", module = "kettle._native")]
pub(crate) struct Condition {
    body: sync::Condition<Growing>,
    guard: OnceLock<Guard>,
    is_outside: AtomicBool,
    /// Whether `notify` is ours.
    ours: Ours,
    /// Whether the methods that release and acquire the lock are ours.
    ways: Ours,
}

/// The lock.
enum Guard {
    Lock(Py<Lock>),
    RLock(Py<RLock>),
    /// Anything with `acquire` and `release`: a subclass of ours, another library's, the standard library's.
    Foreign(Py<PyAny>),
}

/// What has to be saved to restore the lock after a wait.
enum Saved {
    Lock,
    RLock(u32),
    Foreign(Option<Py<PyAny>>),
}

impl Guard {
    /// Whether the caller may wait and notify. For a plain lock it is only known that some thread holds it.
    fn is_owned(&self, py: Python<'_>) -> PyResult<bool> {
        match self {
            Self::Lock(lock) => Ok(lock.get().locked()),
            Self::RLock(lock) => Ok(lock.get()._is_owned()),
            Self::Foreign(lock) => {
                let lock = lock.bind(py);
                if let Some(is_owned) = lock.getattr_opt(intern!(py, "_is_owned"))? {
                    return is_owned.call0()?.is_truthy();
                }
                let taken = lock.call_method1(intern!(py, "acquire"), (false,))?.is_truthy()?;
                if taken {
                    lock.call_method0(intern!(py, "release"))?;
                }
                Ok(!taken)
            }
        }
    }

    fn let_go(&self, py: Python<'_>) -> PyResult<Saved> {
        match self {
            Self::Lock(lock) => lock.get().release().map(|()| Saved::Lock),
            Self::RLock(lock) => lock.get().release_all().map(Saved::RLock),
            Self::Foreign(lock) => {
                let lock = lock.bind(py);
                if let Some(release_save) = lock.getattr_opt(intern!(py, "_release_save"))? {
                    return Ok(Saved::Foreign(Some(release_save.call0()?.unbind())));
                }
                lock.call_method0(intern!(py, "release"))?;
                Ok(Saved::Foreign(None))
            }
        }
    }

    fn take_back(&self, py: Python<'_>, saved: Saved) -> PyResult<()> {
        match (self, saved) {
            (Self::Lock(lock), _) => Lock::take_surely(lock.bind(py)),
            (Self::RLock(lock), Saved::RLock(depth)) => RLock::_acquire_restore(lock.bind(py), (depth, 0)),
            (Self::RLock(lock), _) => RLock::_acquire_restore(lock.bind(py), (1, 0)),
            (Self::Foreign(lock), Saved::Foreign(Some(state))) => {
                calls::call_method(lock.bind(py), "_acquire_restore", (state,)).map(drop)
            }
            (Self::Foreign(lock), _) => calls::call_method(lock.bind(py), "acquire", ()).map(drop),
        }
    }

    fn object(&self) -> &Py<PyAny> {
        match self {
            Self::Lock(lock) => lock.as_any(),
            Self::RLock(lock) => lock.as_any(),
            Self::Foreign(lock) => lock,
        }
    }
}

impl Condition {
    /// The number of the lock that the end of a `with` block on this condition releases, if that is one of ours.
    pub(crate) fn number(&self) -> Option<u64> {
        match self.guard.get()? {
            Guard::Lock(lock) => Some(lock.get().number()),
            Guard::RLock(lock) => Some(lock.get().number()),
            Guard::Foreign(_) => None,
        }
    }
}

#[pymethods]
impl Condition {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            body: sync::Condition::growing(),
            guard: OnceLock::new(),
            is_outside: AtomicBool::new(false),
            ours: Ours::new(),
            ways: Ours::new(),
        }
    }

    /// Sets the condition's lock, once. `plain`: its class is one of Kettle's, not a subclass that overrides methods.
    fn _kettle_begin(&self, lock: Bound<'_, PyAny>, plain: bool) -> PyResult<()> {
        let guard = match (lock.cast::<Lock>(), lock.cast::<RLock>()) {
            (Ok(lock), _) if plain => Guard::Lock(lock.clone().unbind()),
            (_, Ok(lock)) if plain => Guard::RLock(lock.clone().unbind()),
            _ => Guard::Foreign(lock.unbind()),
        };
        self.guard.set(guard).map_err(|_| PyRuntimeError::new_err("this condition has its lock already"))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.guard.get().map_or(Ok(()), |guard| visit.call(guard.object()))
    }

    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        calls::call_method(self.guard()?.object().bind(py), "__enter__", ())
    }

    #[pyo3(signature = (*exc))]
    fn __exit__<'py>(&self, exc: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        let py = exc.py();
        self.guard()?.object().bind(py).call_method1(intern!(py, "__exit__"), exc)
    }

    /// Whether the caller holds the lock.
    fn _kettle_is_owned(&self, py: Python<'_>) -> PyResult<bool> {
        self.guard()?.is_owned(py)
    }

    /// Releases the lock and waits to be notified, at most `timeout` seconds (None: forever); then acquires the lock
    /// again. Returns whether it was notified.
    #[pyo3(signature = (timeout=None))]
    fn wait(slf: &Bound<'_, Self>, #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>) -> PyResult<bool> {
        let (py, this) = (slf.py(), slf.get());
        Self::look_for_ways(slf)?;
        if this.is_outside() {
            return calls::call_method(slf, "_kettle_wait", (timeout,))?.is_truthy();
        }
        let notified = this.wait_inside(py, timeout)?;
        if !notified && this.is_outside() {
            calls::call_method(slf, "_kettle_gave_up", ())?;
        }
        Ok(notified)
    }

    /// Wakes up to `n` waiters, the longest waiting first.
    #[pyo3(signature = (n=1))]
    fn notify(slf: &Bound<'_, Self>, #[pyo3(from_py_with = parameters::n)] n: i64) -> PyResult<()> {
        let this = slf.get();
        Self::look_for_ways(slf)?;
        if this.is_outside() {
            return calls::call_method(slf, "_kettle_notify", (n,)).map(drop);
        }
        if !this.guard()?.is_owned(slf.py())? {
            return Err(PyRuntimeError::new_err("cannot notify on un-acquired lock"));
        }
        this.body.notify::<Heap>(u32::try_from(n.max(0)).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Wakes all waiters.
    fn notify_all(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        if !this.is_outside() && this.notifies_by_itself(slf) {
            return Self::notify(slf, i64::MAX);
        }
        let waiting = calls::call_method(slf, "_kettle_count", ())?;
        calls::call_method(slf, "notify", (waiting,)).map(drop)
    }

    /// Makes later waiters wait outside.
    fn _kettle_leave(&self) {
        self.is_outside.store(true, Ordering::SeqCst);
    }

    /// Whether they do.
    fn _kettle_is_outside(&self) -> bool {
        self.is_outside()
    }

    /// Wakes up to `n` threads that wait here, the oldest first; returns how many.
    fn _kettle_wake(&self, n: u32) -> u32 {
        self.body.notify::<Heap>(n)
    }

    /// Frees the lock and forgets all waiters, in a forked child.
    fn _at_fork_reinit(&self, py: Python<'_>) -> PyResult<()> {
        self.guard()?.object().call_method0(py, intern!(py, "_at_fork_reinit"))?;
        self.body.reinit();
        Ok(())
    }

    /// Registers a waiter, under the lock; returns its ticket.
    fn _kettle_enroll(&self) -> PyResult<u32> {
        self.enrol().map(Waiter::index)
    }

    /// Asks that the doorbell `door` be rung when the ticket is granted.
    fn _kettle_leave_door(&self, ticket: u32, door: u64) {
        if let Some(door) = Door::from_bits(door) {
            self.body.leave_door(Waiter::from_index(ticket), door.calling(self._kettle_key()));
        }
    }

    /// Returns whether the ticket was granted, and if so uses it.
    fn _kettle_poll(&self, ticket: u32) -> bool {
        self.body.poll::<Heap>(Waiter::from_index(ticket))
    }

    /// Gives the ticket up; a notification that came meanwhile goes to the next waiter.
    fn _kettle_withdraw(&self, ticket: u32) {
        self.body.withdraw::<Heap>(Waiter::from_index(ticket));
    }

    fn _kettle_waiting(&self) -> u32 {
        self.body.waiting()
    }

    #[getter]
    fn _kettle_key(&self) -> u32 {
        key(&self.body)
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        condition_statistics(py, &self.body.statistics())
    }
}

/// Whether a class enters and exits, and releases and acquires its lock, by our methods.
pub(in crate::sync) fn has_our_ways(class: &Bound<'_, PyType>) -> PyResult<bool> {
    Ok(!class.call_method0(intern!(class.py(), "_kettle_is_different"))?.is_truthy()?)
}

impl Condition {
    #[inline]
    fn is_outside(&self) -> bool {
        self.is_outside.load(Ordering::SeqCst)
    }

    /// Whether the class releases and acquires the lock by our methods. `object` is this condition.
    #[inline(always)]
    fn has_our_ways(&self, object: &Bound<'_, PyAny>) -> bool {
        self.ways.in_class(object, &WAYS, has_our_ways)
    }

    /// Makes the waiters move out if the class has such methods of its own.
    fn look_for_ways(slf: &Bound<'_, Self>) -> PyResult<()> {
        if !slf.get().has_our_ways(slf) && !slf.get().is_outside() {
            calls::call_method(slf, "_kettle_take_methods", ())?;
        }
        Ok(())
    }

    /// Whether `notify_all` works without calling `object.notify()`. `object` is this condition.
    #[inline(always)]
    pub(crate) fn notifies_by_itself(&self, object: &Bound<'_, PyAny>) -> bool {
        self.ours.in_object(object, &NOTIFY, nothing_else)
    }

    fn wait_inside(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let guard = self.guard()?;
        if !guard.is_owned(py)? {
            return Err(PyRuntimeError::new_err("cannot wait on un-acquired lock"));
        }
        let deadline = deadline(true, timeout);
        let waiter = self.enrol()?;
        let saved = match guard.let_go(py) {
            Ok(saved) => saved,
            Err(e) => {
                self.body.withdraw::<Heap>(waiter);
                return Err(e);
            }
        };
        let body = &self.body;
        let notified = wait_for_thread(py, deadline, |p| body.wait::<Heap>(waiter, p)).map(|r| r.is_ok());
        let again = guard.take_back(py, saved);
        if again.is_err() && matches!(notified, Ok(true)) {
            // This call raises, so it cannot act on the notification; another waiter gets it.
            self.body.notify::<Heap>(1);
        }
        notified.and_then(|notified| again.map(|()| notified))
    }

    fn guard(&self) -> PyResult<&Guard> {
        self.guard.get().ok_or_else(|| PyRuntimeError::new_err("Condition.__init__() was not called"))
    }

    fn enrol(&self) -> PyResult<Waiter> {
        self.body.enrol::<Heap>().map_err(|_| PyRuntimeError::new_err("too many threads wait on this condition"))
    }

    /// The ordinary case of `__enter__`.
    #[inline(always)]
    pub(crate) fn try_enter(&self) -> bool {
        match self.guard.get() {
            Some(Guard::Lock(lock)) => lock.get().try_acquire(),
            Some(Guard::RLock(lock)) => lock.get().try_acquire(),
            _ => false,
        }
    }

    /// The ordinary case of `__exit__`.
    #[inline(always)]
    pub(crate) fn try_release(&self) -> bool {
        match self.guard.get() {
            Some(Guard::Lock(lock)) => lock.get().try_release(),
            Some(Guard::RLock(lock)) => lock.get().try_release(),
            _ => false,
        }
    }

    /// The ordinary case of `notify(count)`. `object` is this condition.
    #[inline(always)]
    pub(crate) fn notify_now(&self, object: &Bound<'_, PyAny>, count: u32) -> bool {
        let owned = match self.guard.get() {
            Some(Guard::Lock(lock)) => lock.get().locked(),
            Some(Guard::RLock(lock)) => lock.get()._is_owned(),
            _ => false,
        };
        let is_ordinary = owned && !self.is_outside() && self.has_our_ways(object);
        if is_ordinary {
            self.body.notify::<Heap>(count);
        }
        is_ordinary
    }
}
