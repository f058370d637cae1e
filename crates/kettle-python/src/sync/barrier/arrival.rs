//! The arrival of a coroutine at a barrier.

use std::sync::Mutex;

use kettle_core::damage;
use kettle_core::shared::Processes;
use kettle_core::sync::{self, Heap, Home};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use super::{broken, process, thread};
use crate::errors;

/// One party's arrival, for coroutines. Given up by `leave`, or when it is dropped: then the barrier breaks.
#[pyclass(frozen, module = "kettle._native")]
pub(super) struct Arrival {
    at: At,
    arrival: Mutex<Option<sync::Arrival>>,
}

/// The barrier, kept alive while a party is arriving.
enum At {
    Arena(Py<process::Barrier>),
    Heap(Py<thread::Barrier>),
}

impl Arrival {
    /// At a barrier for processes.
    pub(super) fn at_arena(barrier: &Bound<'_, process::Barrier>) -> PyResult<Option<Self>> {
        let arrival = barrier.get().body().arrive::<Processes>().map_err(|e| broken(barrier.py(), e))?;
        Ok(arrival.map(|a| Self { at: At::Arena(barrier.clone().unbind()), arrival: Mutex::new(Some(a)) }))
    }

    /// At a barrier for threads.
    pub(super) fn at_heap(barrier: &Bound<'_, thread::Barrier>) -> PyResult<Option<Self>> {
        let arrival = barrier.get().body().arrive::<Heap>().map_err(|e| broken(barrier.py(), e))?;
        Ok(arrival.map(|a| Self { at: At::Heap(barrier.clone().unbind()), arrival: Mutex::new(Some(a)) }))
    }

    fn with<T>(&self, py: Python<'_>, f: impl FnOnce(&mut Option<sync::Arrival>) -> T) -> T {
        f(&mut self.arrival.lock_py_attached(py).unwrap_or_else(|e| e.into_inner()))
    }

    fn poll_at<H: Home>(&self, py: Python<'_>, body: &sync::Barrier, nap: bool) -> PyResult<Option<u32>> {
        self.with(py, |slot| {
            let Some(arrival) = slot.as_ref() else { return Ok(None) };
            if damage::is_marked(H::SCOPE) {
                return Err(errors::session_damaged());
            }
            if nap {
                body.find_dead::<H>();
            }
            let Some(result) = body.poll(arrival) else { return Ok(None) };
            body.leave::<H>(arrival);
            *slot = None;
            result.map(Some).map_err(|e| broken(py, e))
        })
    }

    fn finish_at<H: Home>(&self, py: Python<'_>, body: &sync::Barrier, well: bool) -> PyResult<Option<u32>> {
        let Some(arrival) = self.with(py, Option::take) else { return Ok(None) };
        let duty = body.last::<H>(arrival);
        if well { duty.done().map(Some).map_err(|e| broken(py, e)) } else { Ok(None) }
    }

    fn leave_at<H: Home>(&self, py: Python<'_>, body: &sync::Barrier) {
        if let Some(arrival) = self.with(py, Option::take) {
            body.leave::<H>(&arrival);
            body.abort::<H>();
        }
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
        match &self.at {
            At::Arena(barrier) => self.poll_at::<Processes>(py, barrier.get().body(), nap),
            At::Heap(barrier) => self.poll_at::<Heap>(py, barrier.get().body(), nap),
        }
    }

    /// The last one's action went well (lets all through and gives its number) or not (breaks the barrier).
    fn finish(&self, py: Python<'_>, well: bool) -> PyResult<Option<u32>> {
        match &self.at {
            At::Arena(barrier) => self.finish_at::<Processes>(py, barrier.get().body(), well),
            At::Heap(barrier) => self.finish_at::<Heap>(py, barrier.get().body(), well),
        }
    }

    /// Gives up waiting, which breaks the barrier.
    fn leave(&self, py: Python<'_>) {
        match &self.at {
            At::Arena(barrier) => self.leave_at::<Processes>(py, barrier.get().body()),
            At::Heap(barrier) => self.leave_at::<Heap>(py, barrier.get().body()),
        }
    }
}
