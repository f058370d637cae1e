//! What Python holds of a pool of either kind.

use std::sync::Arc;

use pyo3::prelude::*;

use super::crew::Crew;
use crate::door::deadline;
use crate::parameters;

/// See the module.
#[pyclass(subclass, frozen, module = "kettle._native", name = "Crew")]
pub(crate) struct CrewHandle {
    crew: Arc<dyn Crew>,
}

impl CrewHandle {
    pub(super) fn of<C: Crew + 'static>(crew: &Arc<C>) -> PyClassInitializer<Self> {
        let crew = Arc::clone(crew);
        PyClassInitializer::from(Self { crew })
    }

    /// The crew behind this handle.
    pub(super) fn crew(&self) -> Arc<dyn Crew> {
        Arc::clone(&self.crew)
    }
}

#[pymethods]
impl CrewHandle {
    /// Of a pool that takes no more: waits until the last worker has left. False: the time is over.
    #[pyo3(signature = (timeout=None))]
    fn join(&self, py: Python<'_>, #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>) -> PyResult<bool> {
        self.crew.wait(py, self.crew.gone(), deadline(true, timeout))
    }

    /// Cancels all calls that no worker has begun, and of imaps all that no worker has.
    fn withdraw_all(&self, py: Python<'_>) -> PyResult<()> {
        self.crew.withdraw_all(py)
    }

    /// How many tasks of calls and maps have not been done.
    fn unfinished(&self, py: Python<'_>) -> u64 {
        let living = self.crew.ledger().living(py);
        living.iter().filter(|job| !job.is_iterated()).map(|job| job.unfinished(py)).sum()
    }

    /// How many jobs are not over.
    #[getter]
    fn jobs(&self) -> usize {
        self.crew.ledger().jobs()
    }

    /// "RUN", "CLOSE" or "TERMINATE".
    #[getter]
    fn state(&self) -> &'static str {
        self.crew.ledger().state_name()
    }

    /// Raises what broke the pool, if something did, or that it belongs to another process.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.crew.ledger().check(py)
    }

    /// How it is: numbers of workers, and of tasks so far.
    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (workers, busy) = self.crew.head_count(py);
        self.crew.ledger().statistics(py, workers, busy)
    }
}
