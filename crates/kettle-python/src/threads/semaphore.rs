//! `Semaphore` and `BoundedSemaphore`.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};

use kettle_core::sync::{self, Heap};
use kettle_core::wait::{EventCount, Patience, Scope};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::{Truth, key, wait_for_thread};
use crate::door::deadline;
use crate::methods::Quick;
use crate::primitive::{Waitable, waitable};
use crate::semaphore::semaphore_statistics;

/// A number of permits for threads.
#[pyclass(subclass, frozen, name = "HeapSemaphore", module = "kettle._native")]
pub(crate) struct Semaphore {
    body: sync::Semaphore,
    bounded: AtomicBool,
}

#[pymethods]
impl Semaphore {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { body: sync::Semaphore::new(1, sync::Semaphore::MAX), bounded: AtomicBool::new(false) }
    }

    /// Begins with `value` permits; `bounded` makes a release beyond them an error. More than `Semaphore::MAX` are as
    /// good as that many.
    #[pyo3(signature = (value, bounded))]
    fn _kettle_begin(&self, value: i64, bounded: bool) -> PyResult<()> {
        if value < 0 {
            return Err(PyValueError::new_err("semaphore initial value must be >= 0"));
        }
        let value = u32::try_from(value).unwrap_or(u32::MAX).min(sync::Semaphore::MAX);
        self.bounded.store(bounded, Ordering::Relaxed);
        self.body.reinit(value, if bounded { value } else { sync::Semaphore::MAX });
        Ok(())
    }

    /// Takes a permit, waiting at most `timeout` seconds (None: for ever). Says whether it was taken.
    #[pyo3(
        signature = (blocking=Truth(true), timeout=None),
        text_signature = "($self, blocking=True, timeout=None)"
    )]
    fn acquire(&self, py: Python<'_>, blocking: Truth, timeout: Option<f64>) -> PyResult<bool> {
        if !blocking.0 && timeout.is_some() {
            return Err(PyValueError::new_err("can't specify timeout for non-blocking acquire"));
        }
        if self.take_now() {
            return Ok(true);
        }
        if !blocking.0 {
            return Ok(false);
        }
        let body = &self.body;
        Ok(wait_for_thread(py, deadline(true, timeout), |p| body.acquire::<Heap>(p))?.is_ok())
    }

    /// Gives `n` permits back.
    #[pyo3(signature = (n=1))]
    fn release(&self, n: i64) -> PyResult<()> {
        if n < 1 {
            return Err(PyValueError::new_err("n must be one or more"));
        }
        // More than fit anyway.
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        self.body.release::<Heap>(n).map_err(|_| match self.bounded.load(Ordering::Relaxed) {
            true => PyValueError::new_err("Semaphore released too many times"),
            false => PyOverflowError::new_err(format!("a semaphore has at most {} permits", sync::Semaphore::MAX)),
        })
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
        self.acquire(py, Truth(true), None)
    }

    #[pyo3(signature = (_type=None, _value=None, _traceback=None, /))]
    fn __exit__(
        &self,
        _type: Option<&Bound<'_, PyAny>>,
        _value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.release(1)
    }

    #[getter]
    fn _value(&self) -> u32 {
        self.body.value()
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        semaphore_statistics(py, &self.body.statistics())
    }
}

impl Quick for Semaphore {
    const ACQUIRE_DOC: &'static CStr = c"acquire($self, /, blocking=True, timeout=None)\n--\n\n\
        Takes a permit, waiting at most `timeout` seconds (None: for ever). Says whether it was taken.";
    const MORTAL: bool = false;
    const RELEASE_DOC: &'static CStr = c"release($self, /, n=1)\n--\n\nGives `n` permits back.";

    #[inline]
    fn take_now(&self) -> bool {
        self.body.acquire::<Heap>(&Patience::instant()).is_ok()
    }
    #[inline]
    fn give_back(&self) -> bool {
        self.body.release::<Heap>(1).is_ok()
    }
}

impl Waitable for Semaphore {
    fn scope(&self) -> Scope {
        Scope::Private
    }
    fn ready(&self) -> bool {
        self.body.value() > 0
    }
    fn events(&self) -> &EventCount {
        self.body.given()
    }
    fn call(&self) -> u32 {
        key(&self.body)
    }
}
waitable!(Semaphore);
