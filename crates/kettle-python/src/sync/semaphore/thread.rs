//! `Semaphore` and `BoundedSemaphore`.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kettle_core::sync::{self, Heap};
use kettle_core::sys::process;
use kettle_core::wait::{EventCount, Line, Patience, Scope};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::semaphore_statistics;
use crate::door::deadline;
use crate::fast::{Called, FastLock, Ours, calls, nothing_else};
use crate::parameters;
use crate::primitive::{Waitable, waitable};
use crate::sync::between_threads::{Truth, key, wait_for_thread};

/// What the end of a `with` block calls.
static RELEASE: Called = Called::new(&["release"]);

/// A number of permits for threads.
///
/// When a program accesses the number and the condition that make up the standard library's semaphore, the permits
/// *move out* into these; see `kettle.threading.Semaphore`, whose methods named `_kettle_...` take over then. Threads
/// that wait here at that time continue to wait here, and are served first.
#[pyclass(subclass, frozen, name = "HeapSemaphore", module = "kettle._native")]
pub(crate) struct Semaphore {
    body: sync::Semaphore,
    bounded: AtomicBool,
    is_outside: AtomicBool,
    inside: Count,
    ours: Ours,
}

#[pymethods]
impl Semaphore {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            body: sync::Semaphore::new(1, sync::Semaphore::MAX),
            bounded: AtomicBool::new(false),
            is_outside: AtomicBool::new(false),
            inside: Count::default(),
            ours: Ours::new(),
        }
    }

    /// Begins with `value` permits; `bounded` makes a release beyond them an error. More than `Semaphore::MAX` are as
    /// good as that many. Says whether the permits were outside before.
    #[pyo3(signature = (value, bounded))]
    fn _kettle_begin(&self, #[pyo3(from_py_with = parameters::value)] value: i64, bounded: bool) -> PyResult<bool> {
        if value < 0 {
            return Err(PyValueError::new_err("semaphore initial value must be >= 0"));
        }
        let value = u32::try_from(value).unwrap_or(u32::MAX).min(sync::Semaphore::MAX);
        self.bounded.store(bounded, Ordering::Relaxed);
        self.body.reinit(value, if bounded { value } else { sync::Semaphore::MAX });
        Ok(self.is_outside.swap(false, Ordering::SeqCst))
    }

    /// Acquires a permit, waiting at most `timeout` seconds (None: forever). Returns whether it was acquired.
    #[pyo3(
        signature = (blocking=Truth(true), timeout=None),
        text_signature = "($self, blocking=True, timeout=None)"
    )]
    fn acquire(
        slf: &Bound<'_, Self>,
        blocking: Truth,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
    ) -> PyResult<bool> {
        if !blocking.0 && timeout.is_some() {
            return Err(PyValueError::new_err("can't specify timeout for non-blocking acquire"));
        }
        let this = slf.get();
        if this.try_acquire() {
            return Ok(true);
        }
        if !blocking.0 && !this.is_outside() {
            // Succeeds even if the permit is reserved for a waiting thread.
            return Ok(this.body.acquire::<Heap>(&Patience::none()).is_ok());
        }
        // Counted before the last check of where the permits are: a thread that moves them out sets the flag first and
        // reads the count afterwards.
        let waiter = this.inside.come_in();
        if this.is_outside() {
            drop(waiter);
            return calls::call_method(slf, "_kettle_acquire", (blocking.0, timeout))?.is_truthy();
        }
        let body = &this.body;
        let taken = wait_for_thread(slf.py(), deadline(true, timeout), |p| body.acquire::<Heap>(p));
        drop(waiter);
        if this.is_outside() {
            // A permit may have been granted to this thread just when it gave up.
            calls::call_method(slf, "_kettle_settle", ())?;
        }
        Ok(taken?.is_ok())
    }

    /// Releases `n` permits.
    #[pyo3(signature = (n=1))]
    fn release(slf: &Bound<'_, Self>, #[pyo3(from_py_with = parameters::n)] n: i64) -> PyResult<()> {
        if n < 1 {
            return Err(PyValueError::new_err("n must be one or more"));
        }
        let this = slf.get();
        if this.is_outside() {
            return calls::call_method(slf, "_kettle_release", (n,)).map(drop);
        }
        // More than fit in any case.
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        this.body.release::<Heap>(n).map_err(|_| match this.bounded.load(Ordering::Relaxed) {
            true => PyValueError::new_err("Semaphore released too many times"),
            false => PyOverflowError::new_err(format!("a semaphore has at most {} permits", sync::Semaphore::MAX)),
        })?;
        if this.moved_out_meanwhile() {
            calls::call_method(slf, "_kettle_settle", ())?;
        }
        Ok(())
    }

    fn __enter__(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Self::acquire(slf, Truth(true), None)
    }

    #[pyo3(signature = (_type=None, _value=None, _traceback=None, /))]
    fn __exit__(
        slf: &Bound<'_, Self>,
        _type: Option<&Bound<'_, PyAny>>,
        _value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        if slf.get().ours.in_object(slf, &RELEASE, nothing_else) {
            return Self::release(slf, 1);
        }
        calls::call_method(slf, "release", ()).map(drop)
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        semaphore_statistics(py, &self.body.statistics())
    }

    // ------------------------------------------------------------ for the methods that take over

    /// Returns the number of permits inside.
    fn _kettle_value(&self) -> u32 {
        self.body.value()
    }

    /// Whether the permits moved out.
    fn _kettle_is_outside(&self) -> bool {
        self.is_outside()
    }

    /// Says that the permits move out; those that are here now are to be fetched by `_kettle_drain`. How many there may
    /// be is no more for this one to say.
    fn _kettle_leave(&self) {
        self.is_outside.store(true, Ordering::SeqCst);
        self.body.set_limit(sync::Semaphore::MAX);
    }

    /// Takes all permits that are here; says how many.
    fn _kettle_drain(&self) -> u32 {
        self.body.take_all()
    }

    /// How many threads wait here, as they did before the permits moved out.
    fn _kettle_inside(&self) -> u32 {
        self.inside.get()
    }

    /// Grants `n` permits to threads that wait here.
    fn _kettle_give(&self, n: u32) -> bool {
        self.body.release::<Heap>(n).is_ok()
    }

    /// Wakes `n` of the coroutines that wait for a permit, which may be outside.
    fn _kettle_ring(&self, n: u32) {
        self.body.given().notify(n, Scope::Private);
    }
}

/// How many threads of this process wait here, or are about to: the number, and above it the process. A forked child
/// has none of its parent's threads.
#[derive(Default)]
struct Count(AtomicU64);

impl Count {
    /// The word for none in this process.
    fn none() -> u64 {
        u64::from(process::id()) << 32
    }

    fn get(&self) -> u32 {
        let none = Self::none();
        let word = self.0.load(Ordering::SeqCst);
        if word >> 32 == none >> 32 { word as u32 } else { 0 }
    }

    fn change(&self, by: impl Fn(u64) -> u64) {
        let none = Self::none();
        let changed = |word: u64| Some(by(if word >> 32 == none >> 32 { word } else { none }));
        // The closure never refuses.
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, changed);
    }

    fn come_in(&self) -> Inside<'_> {
        self.change(|word| word + 1);
        Inside(self, process::id())
    }
}

/// A thread that waits here, or is about to.
struct Inside<'a>(&'a Count, u32);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if self.1 == process::id() {
            self.0.change(|word| word - 1);
        }
    }
}

impl Semaphore {
    #[inline]
    fn is_outside(&self) -> bool {
        self.is_outside.load(Ordering::SeqCst)
    }

    /// Whether the permits moved out after this thread saw that they had not. With a GIL another thread cannot do that
    /// in between. Without one, either the thread that moves them out finds the permit released here, or this returns
    /// true.
    #[inline]
    fn moved_out_meanwhile(&self) -> bool {
        cfg!(Py_GIL_DISABLED) && self.is_outside()
    }
}

impl FastLock for Semaphore {
    const ACQUIRE_DOC: &'static CStr = c"acquire($self, /, blocking=True, timeout=None)\n--\n\n\
        Acquires a permit, waiting at most `timeout` seconds (None: forever). Returns whether it was acquired.";
    const HOLDER_CAN_DIE: bool = false;
    const RELEASE_DOC: &'static CStr = c"release($self, /, n=1)\n--\n\nReleases `n` permits.";

    #[inline(always)]
    fn try_acquire(&self) -> bool {
        // After all others have moved out, the permits here belong to the threads that wait here.
        !self.is_outside() && self.body.try_acquire_now::<Heap>()
    }
    #[inline(always)]
    fn try_release(&self) -> bool {
        let is_given = !self.is_outside() && self.body.release::<Heap>(1).is_ok();
        // If so, the permit is released outside instead, unless a thread waiting here has acquired it by now.
        is_given && !(self.moved_out_meanwhile() && self.body.acquire::<Heap>(&Patience::none()).is_ok())
    }
    #[inline]
    fn is_simply_taken(&self) -> bool {
        !self.is_outside() && self.body.given().admits(None, || self.available())
    }
    #[inline(always)]
    fn leaves_by_itself(&self, object: &Bound<'_, PyAny>) -> bool {
        self.ours.in_object(object, &RELEASE, nothing_else)
    }
}

impl Waitable for Semaphore {
    fn scope(&self) -> Scope {
        Scope::Private
    }
    fn ready(&self) -> bool {
        self.available() > 0
    }
    fn available(&self) -> u32 {
        self.body.value()
    }
    fn events(&self) -> &EventCount {
        self.body.given().events()
    }
    fn line(&self) -> Option<&Line> {
        Some(self.body.given())
    }
    fn call(&self) -> u32 {
        key(&self.body)
    }
}
waitable!(Semaphore);
