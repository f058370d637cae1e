//! `Barrier`, between processes and between threads.

mod arrival;
pub(crate) mod process;
pub(crate) mod thread;

use kettle_core::stats::BarrierStatistics;
use kettle_core::sync::{self, BarrierError, Home, Turn};
use kettle_core::wait::Deadline;
use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::door::wait_outside;
use crate::errors;
use crate::fast::calls;
use crate::primitive;

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
                super::barrier_statistics(py, &self.body.statistics())
            }
        }
    };
}
use barrier_methods;

/// The number of parties as a program gives it.
///
/// # Errors
/// When there can be no barrier for so many.
pub(super) fn number_of_parties(parties: i64) -> PyResult<u32> {
    if parties < 1 {
        return Err(PyValueError::new_err("parties must be > 0"));
    }
    let most = sync::Barrier::MAX_PARTIES;
    u32::try_from(parties)
        .ok()
        .filter(|n| *n <= most)
        .ok_or_else(|| PyValueError::new_err(format!("a barrier has at most {most} parties")))
}

pub(super) fn barrier_statistics<'py>(py: Python<'py>, s: &BarrierStatistics) -> PyResult<Bound<'py, PyAny>> {
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
pub(super) fn wait_at<H: Home>(
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
