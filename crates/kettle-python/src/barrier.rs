//! `Barrier`.

use std::sync::Mutex;

use kettle_core::arena::Handle;
use kettle_core::damage;
use kettle_core::shared::Processes;
use kettle_core::stats::BarrierStatistics;
use kettle_core::sync::{self, BarrierError, Heap, Home, Turn};
use kettle_core::wait::{Deadline, EventCount};
use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::door::{deadline, wait_outside};
use crate::errors;
use crate::fast::calls;
use crate::parameters;
use crate::primitive::{self, Waitable, travels, waitable};
use crate::threads;

/// The methods that are the same wherever a barrier is stored.
macro_rules! barrier_methods {
    ($class:ty, $home:ty) => {
        #[pymethods]
        impl $class {
            /// Resets the barrier to its empty state; waiting parties get an error.
            fn reset(&self) {
                self.body.reset::<$home>();
            }

            /// Breaks the barrier: waiting and arriving parties get an error until it is reset.
            fn abort(&self) {
                self.body.abort::<$home>();
            }

            /// The number of parties that must arrive.
            #[getter]
            fn parties(&self) -> u32 {
                self.body.parties()
            }

            /// The number of parties that are waiting.
            #[getter]
            fn n_waiting(&self) -> u32 {
                self.body.waiting()
            }

            /// Whether the barrier is broken.
            #[getter]
            fn broken(&self) -> bool {
                self.body.is_broken()
            }

            fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                crate::barrier::barrier_statistics(py, &self.body.statistics())
            }
        }
    };
}
pub(crate) use barrier_methods;

/// The part of a barrier that each process has for itself.
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
        #[pyo3(from_py_with = parameters::parties)] parties: i64,
        #[pyo3(from_py_with = parameters::action)] action: Option<Py<PyAny>>,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
        name: Option<String>,
        _token: Option<&[u8]>,
    ) -> PyResult<Self> {
        let body = match _token {
            Some(token) => primitive::from_token(token)?,
            None => {
                let parties = number_of_parties(parties)?;
                Handle::new(|| sync::Barrier::new(parties)).map_err(errors::arena)?
            }
        };
        Ok(Self { body, settings: Mutex::new(Settings { action, timeout }), name })
    }

    /// Starts with `parties`, before any other thread knows the barrier.
    fn _kettle_begin(&self, #[pyo3(from_py_with = parameters::parties)] parties: i64) -> PyResult<()> {
        let (parties, before) = (number_of_parties(parties)?, self.body.parties());
        if parties == before {
            return Ok(());
        }
        if self.body.entries_beyond() == 0 {
            self.body.reinit(parties);
            if self.body.entries_beyond() == 0 {
                return Ok(());
            }
            self.body.reinit(before);
        }
        // Its list of parties has the length that was given when the object was created.
        Err(PyTypeError::new_err(format!("{parties} parties must be given to the class: it is too late in __init__()")))
    }

    /// The action and the default time-out, which travel beside the token.
    fn _kettle_configure(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = parameters::action)] action: Option<Py<PyAny>>,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
    ) {
        let settings = Settings { action, timeout };
        let mut place = self.settings.lock_py_attached(py).unwrap_or_else(|e| e.into_inner());
        let before = std::mem::replace(&mut *place, settings);
        // Dropping an action may run user code, so it is dropped after the lock is released.
        drop(place);
        drop(before);
    }

    /// Waits for the other parties. Returns the order of arrival, 0 for the first. The last party to arrive runs the
    /// action.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>) -> PyResult<u32> {
        errors::take_part()?;
        let (action, default) = {
            let s = self.settings.lock_py_attached(py).unwrap_or_else(|e| e.into_inner());
            (s.action.as_ref().map(|a| a.clone_ref(py)), s.timeout)
        };
        wait_at::<Processes>(py, &self.body, action.as_ref(), deadline(true, timeout.or(default)))
    }

    /// Arrives without waiting: None if the round before is still being ended.
    fn _kettle_arrive(slf: &Bound<'_, Self>) -> PyResult<Option<Arrival>> {
        errors::take_part()?;
        let arrival = slf.get().body.arrive::<Processes>().map_err(|e| broken(slf.py(), e))?;
        Ok(arrival.map(|a| Arrival { at: At::Arena(slf.clone().unbind()), arrival: Mutex::new(Some(a)) }))
    }
}
barrier_methods!(Barrier, Processes);
travels!(Barrier);

/// The number of parties as a program gives it.
///
/// # Errors
/// When there can be no barrier for so many.
pub(crate) fn number_of_parties(parties: i64) -> PyResult<u32> {
    if parties < 1 {
        return Err(PyValueError::new_err("parties must be > 0"));
    }
    let most = sync::Barrier::MAX_PARTIES;
    u32::try_from(parties)
        .ok()
        .filter(|n| *n <= most)
        .ok_or_else(|| PyValueError::new_err(format!("a barrier has at most {most} parties")))
}

pub(crate) fn barrier_statistics<'py>(py: Python<'py>, s: &BarrierStatistics) -> PyResult<Bound<'py, PyAny>> {
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

/// `Barrier.wait`, wherever the barrier is stored.
pub(crate) fn wait_at<H: Home>(
    py: Python<'_>,
    body: &sync::Barrier,
    action: Option<&Py<PyAny>>,
    deadline: Deadline,
) -> PyResult<u32> {
    let turn = wait_outside(py, deadline, |p| body.wait::<H>(p))?;
    match turn.map_err(|e| broken(py, e))? {
        Turn::Through(index) => Ok(index),
        Turn::Last(duty) => {
            // If this raises, the unfulfilled duty is dropped, which breaks the barrier for all parties.
            if let Some(action) = action {
                calls::call(action.bind(py))?;
            }
            duty.done().map_err(|e| broken(py, e))
        }
    }
}

fn broken(py: Python<'_>, e: BarrierError) -> PyErr {
    match e {
        BarrierError::Broken => errors::broken_barrier(py),
        BarrierError::Damaged => errors::session_damaged(),
        BarrierError::Unmapped(text) => PyMemoryError::new_err(text),
        BarrierError::NoPart => errors::no_part(),
        // The signal handler's exception replaces this one.
        BarrierError::Interrupted => PyRuntimeError::new_err("interrupted"),
    }
}

/// One party's arrival, for coroutines. Given up by `leave`, or when it is dropped: then the barrier breaks.
#[pyclass(frozen, module = "kettle._native")]
pub(crate) struct Arrival {
    at: At,
    arrival: Mutex<Option<sync::Arrival>>,
}

/// The barrier, kept alive while a party is arriving.
enum At {
    Arena(Py<Barrier>),
    Heap(Py<threads::barrier::Barrier>),
}

impl Arrival {
    /// At a barrier for threads.
    pub(crate) fn at_heap(barrier: &Bound<'_, threads::barrier::Barrier>) -> PyResult<Option<Self>> {
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
            At::Arena(barrier) => self.poll_at::<Processes>(py, &barrier.get().body, nap),
            At::Heap(barrier) => self.poll_at::<Heap>(py, barrier.get().body(), nap),
        }
    }

    /// The last one's action went well (lets all through and gives its number) or not (breaks the barrier).
    fn finish(&self, py: Python<'_>, well: bool) -> PyResult<Option<u32>> {
        match &self.at {
            At::Arena(barrier) => self.finish_at::<Processes>(py, &barrier.get().body, well),
            At::Heap(barrier) => self.finish_at::<Heap>(py, barrier.get().body(), well),
        }
    }

    /// Gives up waiting, which breaks the barrier.
    fn leave(&self, py: Python<'_>) {
        match &self.at {
            At::Arena(barrier) => self.leave_at::<Processes>(py, &barrier.get().body),
            At::Heap(barrier) => self.leave_at::<Heap>(py, barrier.get().body()),
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
