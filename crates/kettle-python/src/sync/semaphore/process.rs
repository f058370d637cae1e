//! `Semaphore` and `BoundedSemaphore`.

use std::ffi::CStr;

use kettle_core::arena::{Handle, Way};
use kettle_core::shared::Processes;
use kettle_core::sync;
use kettle_core::wait::{EventCount, Line, Patience, Stopped};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::semaphore_statistics;
use crate::door::{deadline, wait_outside};
use crate::errors;
use crate::fast::FastLock;
use crate::parameters;
use crate::primitive::{self, Arrived, Picklable, Travelling, Waitable, waitable};

/// The two kinds of semaphores behind one name.
enum Permits {
    /// Permits without an owner.
    Free(Handle<sync::Semaphore>),
    /// Permits that are returned when their process dies.
    Owned(Handle<sync::OwnedPermits>),
}

/// A number of permits shared by processes.
#[pyclass(subclass, frozen, module = "kettle._native")]
pub(crate) struct Semaphore {
    permits: Permits,
    name: Option<String>,
}

fn number_of_permits(value: i64) -> PyResult<u32> {
    u32::try_from(value)
        .ok()
        .filter(|v| *v <= sync::Semaphore::MAX)
        .ok_or_else(|| PyValueError::new_err("semaphore initial value must be from 0 to 2147483647"))
}

impl Permits {
    #[inline]
    fn acquire(&self, patience: &Patience<'_>) -> Result<(), Stopped> {
        match self {
            Self::Free(s) => s.acquire::<Processes>(patience),
            Self::Owned(s) => s.acquire::<Processes>(patience),
        }
    }

    fn given(&self) -> &Line {
        match self {
            Self::Free(s) => s.given(),
            Self::Owned(s) => s.given(),
        }
    }

    fn new(value: i64, bounded: bool, robust: bool) -> PyResult<Self> {
        let value = number_of_permits(value)?;
        if robust {
            let permits = sync::OwnedPermits::new(value).map_err(|_| {
                PyValueError::new_err(format!("a robust semaphore has at most {} permits", sync::OwnedPermits::MAX))
            })?;
            return Ok(Self::Owned(Handle::new(|| permits).map_err(errors::arena)?));
        }
        let limit = if bounded { value } else { sync::Semaphore::MAX };
        Ok(Self::Free(Handle::new(|| sync::Semaphore::new(value, limit)).map_err(errors::arena)?))
    }

    fn value(&self) -> u32 {
        match self {
            Self::Free(s) => s.value(),
            Self::Owned(s) => s.value(),
        }
    }

    fn from_token(token: &[u8]) -> PyResult<Self> {
        match primitive::from_token(token) {
            Ok(free) => Ok(Self::Free(free)),
            // The token determines the kind; the first error is the better one.
            Err(e) => primitive::from_token(token).map(Self::Owned).map_err(|_| e),
        }
    }
}

#[pymethods]
impl Semaphore {
    /// `bounded` makes a release beyond the first value an error.
    #[new]
    #[pyo3(signature = (value=1, *, bounded=false, robust=false, name=None, _token=None))]
    fn new(
        #[pyo3(from_py_with = parameters::value)] value: i64,
        bounded: bool,
        robust: bool,
        name: Option<String>,
        _token: Option<&[u8]>,
    ) -> PyResult<Self> {
        let permits = match _token {
            Some(token) => Permits::from_token(token)?,
            None => Permits::new(value, bounded, robust)?,
        };
        Ok(Self { permits, name })
    }

    /// Starts with `value` permits, before any other thread knows the semaphore. Robustness was chosen at its creation.
    fn _kettle_begin(
        &self,
        #[pyo3(from_py_with = parameters::value)] value: i64,
        bounded: bool,
        robust: bool,
    ) -> PyResult<()> {
        let value = number_of_permits(value)?;
        match &self.permits {
            Permits::Free(permits) if !robust => {
                permits.reinit(value, if bounded { value } else { sync::Semaphore::MAX });
                Ok(())
            }
            Permits::Owned(permits) if robust && permits.value() == value => Ok(()),
            _ => Err(PyTypeError::new_err(
                "robust= and the number of robust permits must be given to the class: it is too late in __init__()",
            )),
        }
    }

    /// Acquires a permit, waiting at most `timeout` seconds (None: forever), or not at all if `block` is false. Returns
    /// whether it was acquired.
    #[pyo3(signature = (block=true, timeout=None))]
    fn acquire(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = parameters::truth)] block: bool,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
    ) -> PyResult<bool> {
        if self.try_acquire() {
            return Ok(true);
        }
        errors::check()?;
        if !block {
            // Succeeds even if the permit is reserved for a waiting thread.
            return Ok(self.permits.acquire(&Patience::none()).is_ok());
        }
        let permits = &self.permits;
        let got = wait_outside(py, deadline(block, timeout), |p| permits.acquire(p))?;
        errors::in_time(got)
    }

    /// Releases `n` permits. Raises ValueError if a bounded semaphore would exceed its initial value.
    #[pyo3(signature = (n=1))]
    fn release(&self, #[pyo3(from_py_with = parameters::n)] n: i64) -> PyResult<()> {
        let n =
            u32::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| PyValueError::new_err("n must be one or more"))?;
        let too_often = || errors::unless_damaged(PyValueError::new_err("semaphore or lock released too many times"));
        match &self.permits {
            Permits::Free(s) => s.release::<Processes>(n).map_err(|_| too_often()),
            Permits::Owned(s) => (0..n).try_for_each(|_| s.release::<Processes>()).map_err(|_| too_often()),
        }
    }

    /// Returns the number of available permits.
    fn get_value(&self) -> PyResult<u32> {
        errors::check()?;
        Ok(self.permits.value())
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
        self.acquire(py, true, None)
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

    fn _is_zero(&self) -> bool {
        self.permits.value() == 0
    }

    #[getter]
    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let s = match &self.permits {
            Permits::Free(s) => s.statistics(),
            Permits::Owned(s) => s.statistics(),
        };
        semaphore_statistics(py, &s)
    }

    fn _kettle_token(slf: &Bound<'_, Self>) -> Travelling {
        Travelling::new(slf)
    }

    #[classmethod]
    #[pyo3(signature = (token, name=None))]
    fn _kettle_from_token(cls: &Bound<'_, PyType>, token: Arrived, name: Option<String>) -> PyResult<Py<PyAny>> {
        primitive::rebuild::<Self>(cls, token.as_bytes(), name)
    }
}

impl Picklable for Semaphore {
    fn names(&self, way: Way) -> Vec<u8> {
        let token = match &self.permits {
            Permits::Free(s) => s.token_by(way),
            Permits::Owned(s) => s.token_by(way),
        };
        token.to_bytes().to_vec()
    }
}

impl FastLock for Semaphore {
    const RELEASE_DOC: &'static CStr = c"release($self, /, n=1)\n--\n\nReleases `n` permits.";

    #[inline(always)]
    fn try_acquire(&self) -> bool {
        match &self.permits {
            Permits::Free(s) => s.try_acquire_now::<Processes>(),
            Permits::Owned(s) => s.acquire::<Processes>(&Patience::instant()).is_ok(),
        }
    }
    #[inline(always)]
    fn try_release(&self) -> bool {
        match &self.permits {
            Permits::Free(s) => s.release::<Processes>(1).is_ok(),
            Permits::Owned(s) => s.release::<Processes>().is_ok(),
        }
    }
}

impl Waitable for Semaphore {
    fn ready(&self) -> bool {
        self.available() > 0
    }
    fn available(&self) -> u32 {
        self.permits.value()
    }
    fn events(&self) -> &EventCount {
        self.permits.given().events()
    }
    fn line(&self) -> Option<&Line> {
        Some(self.permits.given())
    }
    fn call(&self) -> u32 {
        match &self.permits {
            Permits::Free(s) => primitive::key(s),
            Permits::Owned(s) => primitive::key(s),
        }
    }
}
waitable!(Semaphore);
