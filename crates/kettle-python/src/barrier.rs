//! `Barrier`.

use std::sync::Mutex;

use kettle_core::arena::Handle;
use kettle_core::shared::Processes;
use kettle_core::sync::{self, BarrierError, Turn};
use kettle_core::wait::EventCount;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::door::{deadline, wait_outside};
use crate::errors;
use crate::primitive::{self, Waitable, travels, waitable};

/// What each process has for itself.
struct Settings {
    action: Option<Py<PyAny>>,
    timeout: Option<f64>,
}

/// A place where a fixed number of parties wait for each other.
#[pyclass(subclass, frozen, module = "kettle._native")]
pub(crate) struct Barrier {
    body: Handle<sync::Barrier>,
    settings: Mutex<Settings>,
    name: Option<String>,
}

#[pymethods]
impl Barrier {
    #[new]
    #[pyo3(signature = (parties=1, action=None, timeout=None, *, name=None, _token=None))]
    fn new(
        parties: i64,
        action: Option<Py<PyAny>>,
        timeout: Option<f64>,
        name: Option<String>,
        _token: Option<&[u8]>,
    ) -> PyResult<Self> {
        let body = match _token {
            Some(token) => primitive::from_token(token)?,
            None => {
                let parties = u32::try_from(parties)
                    .ok()
                    .filter(|n| (1..=sync::Barrier::MAX_PARTIES).contains(n))
                    .ok_or_else(|| PyValueError::new_err("parties must be > 0"))?;
                Handle::new(|| sync::Barrier::new(parties)).map_err(errors::arena)?
            }
        };
        Ok(Self { body, settings: Mutex::new(Settings { action, timeout }), name })
    }

    /// The action and the default time-out, which travel beside the token.
    fn _configure(&self, py: Python<'_>, action: Option<Py<PyAny>>, timeout: Option<f64>) {
        *self.settings.lock_py_attached(py).unwrap_or_else(|e| e.into_inner()) = Settings { action, timeout };
    }

    /// Waits for the other parties; the number says who came when, 0 first. The last to come runs the action.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<u32> {
        let (action, default) = {
            let s = self.settings.lock_py_attached(py).unwrap_or_else(|e| e.into_inner());
            (s.action.as_ref().map(|a| a.clone_ref(py)), s.timeout)
        };
        let body = &self.body;
        let turn = wait_outside(py, deadline(true, timeout.or(default)), |p| body.wait::<Processes>(p))?;
        match turn.map_err(|e| broken(py, e))? {
            Turn::Through(index) => Ok(index),
            Turn::Last(duty) => {
                // If this raises, the duty is dropped undone, which breaks the barrier for all.
                if let Some(action) = action {
                    action.call0(py)?;
                }
                duty.done().map_err(|e| broken(py, e))
            }
        }
    }

    /// Arrives without waiting: None if the round before is still being ended.
    fn _arrive(slf: &Bound<'_, Self>) -> PyResult<Option<Arrival>> {
        let this = slf.get();
        let arrival = this.body.arrive::<Processes>().map_err(|e| broken(slf.py(), e))?;
        Ok(arrival.map(|a| Arrival { barrier: slf.clone().unbind(), arrival: Mutex::new(Some(a)) }))
    }

    fn reset(&self) {
        self.body.reset::<Processes>();
    }

    fn abort(&self) {
        self.body.abort::<Processes>();
    }

    #[getter]
    fn parties(&self) -> u32 {
        self.body.parties()
    }

    #[getter]
    fn n_waiting(&self) -> u32 {
        self.body.waiting()
    }

    #[getter]
    fn broken(&self) -> bool {
        self.body.is_broken()
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let s = self.body.statistics();
        primitive::record(
            py,
            "BarrierStatistics",
            &[
                ("parties", s.parties.into()),
                ("waiting", s.waiting.into()),
                ("broken", s.broken.into()),
                ("rounds", s.rounds.into()),
            ],
        )
    }
}
travels!(Barrier);

fn broken(py: Python<'_>, e: BarrierError) -> PyErr {
    match e {
        BarrierError::Broken => errors::broken_barrier(py),
        // The signal handler's exception takes its place.
        BarrierError::Interrupted => PyRuntimeError::new_err("interrupted"),
    }
}

/// One party's arrival, for those who await it. Given up by `leave`, or when it is dropped: then the barrier breaks.
#[pyclass(frozen, module = "kettle._native")]
pub(crate) struct Arrival {
    barrier: Py<Barrier>,
    arrival: Mutex<Option<sync::Arrival>>,
}

impl Arrival {
    fn with<T>(&self, py: Python<'_>, f: impl FnOnce(&mut Option<sync::Arrival>) -> T) -> T {
        f(&mut self.arrival.lock_py_attached(py).unwrap_or_else(|e| e.into_inner()))
    }
}

#[pymethods]
impl Arrival {
    /// Whether this one completed its round: then `finish` is its duty.
    #[getter]
    fn is_last(&self, py: Python<'_>) -> bool {
        self.with(py, |a| a.as_ref().is_some_and(sync::Arrival::is_last))
    }

    /// The number of this party once the round is over, None before; raises BrokenBarrierError. Also asks, when
    /// `nap` is true, whether one of the parties has died.
    #[pyo3(signature = (nap=false))]
    fn poll(&self, py: Python<'_>, nap: bool) -> PyResult<Option<u32>> {
        let body = &self.barrier.get().body;
        self.with(py, |slot| {
            let Some(arrival) = slot.as_ref() else { return Ok(None) };
            if nap {
                body.find_dead::<Processes>();
            }
            let Some(result) = body.poll(arrival) else { return Ok(None) };
            body.leave(arrival);
            *slot = None;
            result.map(Some).map_err(|e| broken(py, e))
        })
    }

    /// The last one's action went well (lets all through and gives its number) or not (breaks the barrier).
    fn finish(&self, py: Python<'_>, well: bool) -> PyResult<Option<u32>> {
        let body = &self.barrier.get().body;
        let Some(arrival) = self.with(py, Option::take) else { return Ok(None) };
        let duty = body.last::<Processes>(arrival);
        if well { duty.done().map(Some).map_err(|e| broken(py, e)) } else { Ok(None) }
    }

    /// Gives up waiting, which breaks the barrier.
    fn leave(&self, py: Python<'_>) {
        let body = &self.barrier.get().body;
        if let Some(arrival) = self.with(py, Option::take) {
            body.leave(&arrival);
            body.abort::<Processes>();
        }
    }
}

impl Waitable for Barrier {
    fn ready(&self) -> bool {
        self.body.is_broken() || self.body.waiting() + 1 >= self.body.parties()
    }
    fn events(&self) -> &EventCount {
        self.body.changed()
    }
    fn call(&self) -> u32 {
        primitive::key(&self.body)
    }
}
waitable!(Barrier);
