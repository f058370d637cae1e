//! The Python object that represents a job.

use std::sync::{Arc, Weak};
use std::time::Duration;

use kettle::pool::scheduler::{Chunking, JobTasks, Outcomes, PendingTasks};
use kettle_core::wait::Scope;
use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::input::{Input, Source};
use super::progress::Bar;
use super::results::{Outcome, Results};
use super::{Callbacks, Content, Job, Kind, Options, State, Work};
use crate::door::{deadline, wait_outside};
use crate::parameters;
use crate::pool::crew::Crew;
use crate::pool::crew_handle::CrewHandle;

/// What was asked of a pool at once: a call, a map, an imap; its tasks and their outcomes.
#[pyclass(subclass, frozen, weakref, module = "kettle._native", name = "PoolJob")]
pub(crate) struct PoolJob {
    crew: Arc<dyn Crew>,
    job: Arc<Job>,
}

impl PoolJob {
    /// The object of a job of this pool.
    pub(in crate::pool) fn object<C: Crew + 'static>(
        py: Python<'_>,
        crew: &Weak<C>,
        job: &Arc<Job>,
    ) -> PyResult<Py<PyAny>> {
        let crew = crew.upgrade().ok_or_else(|| PyRuntimeError::new_err("the pool is gone"))?;
        Ok(Py::new(py, Self { crew, job: Arc::clone(job) })?.into_any())
    }
}

impl PoolJob {
    /// Sends what was held back after the loop over an imap was given an error: the loop continues.
    fn resume(&self, py: Python<'_>, note: impl FnOnce(&mut State)) -> PyResult<()> {
        let resumes = {
            let mut state = self.job.state(py);
            note(&mut state);
            self.job.is_iterated() && std::mem::take(&mut state.is_held)
        };
        if resumes { self.crew.fed(py, &self.job) } else { Ok(()) }
    }
}

#[pymethods]
impl PoolJob {
    /// `kind` is one of "call", "map", "ordered" and "unordered"; `items` is `(args, kwds)`, a list or a `range`, or
    /// an iterator.
    #[new]
    #[pyo3(signature = (crew, kind, function, items, *, unpacks=false, chunk=None, timeout=None, retries=0,
                        callback=None, error_callback=None, bar=None, window=None, is_builtin=false))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn new(
        py: Python<'_>,
        crew: &Bound<'_, CrewHandle>,
        kind: &str,
        function: Py<PyAny>,
        items: &Bound<'_, PyAny>,
        unpacks: bool,
        chunk: Option<u32>,
        #[pyo3(from_py_with = parameters::task_timeout)] timeout: Option<f64>,
        retries: u32,
        callback: Option<Py<PyAny>>,
        error_callback: Option<Py<PyAny>>,
        bar: Option<Py<PyAny>>,
        window: Option<u64>,
        is_builtin: bool,
    ) -> PyResult<Self> {
        let crew = crew.get().crew();
        // A timeout too long to represent is no limit.
        let timeout = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let pending = PendingTasks::new(chunk.map_or(Chunking::Measured, Chunking::Fixed), retries);
        let mut tasks = JobTasks::new(pending);
        let kind = Kind::of(kind, unpacks)?;
        let content = match kind {
            Kind::Call => {
                let (args, kwds) = items.extract()?;
                tasks.add(1);
                let work = Work::Call { function, args, kwds };
                Content { work, tasks, input: Input::none(py), results: Results::One(None) }
            }
            Kind::Map { unpacks } => {
                let count = items.len()?;
                tasks.add(count as u64);
                let values = PyList::new(py, [py.None()])?.as_sequence().repeat(count)?.cast_into()?.unbind();
                let results = Results::All { values, error: None };
                Content { work: Work::Items { function, unpacks }, tasks, input: Input::of_map(items)?, results }
            }
            Kind::Imap(order) => {
                let source = if is_builtin { Source::Builtin(items.try_iter()?.unbind()) } else { Source::Fed };
                let input = Input::of_source(source, u64::from(chunk.unwrap_or(1).max(1)), window);
                let results = Results::Iterated { outcomes: Outcomes::new(order), last: None };
                Content { work: Work::Items { function, unpacks }, tasks, input, results }
            }
        };
        let has_callbacks = callback.is_some() || error_callback.is_some();
        let callbacks =
            has_callbacks.then_some(Callbacks { value: callback, error: error_callback, lets_go_of_cancelled: false });
        let number = crew.ledger().next_number();
        let job = Job::new(number, kind, content, Options { timeout, callbacks, bar: bar.map(Bar::new) });
        Ok(Self { crew, job: Arc::new(job) })
    }

    /// Submits the job to the pool. If the caller does not wait for it right away, another thread has to lead.
    #[pyo3(signature = (*, waits=false))]
    fn _submit(&self, py: Python<'_>, waits: bool) -> PyResult<()> {
        if waits {
            self.job.unasked.set_asked();
        }
        self.crew.submit(py, &self.job, waits)
    }

    /// Waits until it is over; says whether it is.
    #[pyo3(signature = (timeout=None))]
    fn _wait(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
    ) -> PyResult<bool> {
        self.crew.wait(py, &self.job.completion, deadline(true, timeout))
    }

    #[getter]
    fn _is_done(&self) -> bool {
        self.job.completion.is_done()
    }

    /// Of a call or a map that is over: whether it succeeded, and the value or the exception. The program asks for it.
    fn _outcome(&self, py: Python<'_>) -> PyResult<Option<(bool, Py<PyAny>)>> {
        let Some(outcome) = self.job.whole(py) else { return Ok(None) };
        if outcome.is_err() {
            self.job.unasked.ask(py, &self.crew.ledger().hooks)?;
        }
        Ok(Some(told(outcome)))
    }

    /// The same, where the program does not ask: an error still counts as one that was never asked for.
    fn _known_outcome(&self, py: Python<'_>) -> Option<(bool, Py<PyAny>)> {
        self.job.whole(py).map(told)
    }

    /// Of an imap: the next value, or None in a tuple's place when there is none yet. Raises StopIteration at the end.
    ///
    /// After an error nothing more is sent until the next one is asked for: it may have ended the loop.
    fn _fetch(&self, py: Python<'_>) -> PyResult<Option<(bool, Py<PyAny>)>> {
        let job = &self.job;
        let (outcome, refills, notifies, has_bar) = {
            let mut state = job.state(py);
            if std::mem::take(&mut state.is_held) {
                drop(state);
                self.crew.fed(py, job)?;
                state = job.state(py);
            }
            let complete = state.is_complete();
            let Some(outcome) = state.results.fetch(complete) else {
                if !job.is_over() {
                    // Reset before the next check, so that an outcome that arrives in between is not missed.
                    job.completion.begin_again();
                    if state.results.has_next(complete) || job.is_over() {
                        job.completion.finish();
                    }
                    return Ok(None);
                }
                return Err(PyStopIteration::new_err(()));
            };
            state.input.fetched_one();
            // Even while there are results left to fetch: a pulled item that was not sent yet may need the rest of its
            // chunk.
            let roomy = !state.results.has_next(complete) || state.input.has_room_for_a_batch();
            let is_pulled = state.input.is_pulled();
            state.is_held = outcome.is_err() && !state.is_waited_for();
            let has_bar = state.bar.is_some() && outcome.is_ok();
            (outcome, is_pulled && roomy, !is_pulled && roomy, has_bar)
        };
        if refills {
            self.crew.make_ready(py, job);
        }
        if notifies {
            job.room.notify_one(Scope::Private);
        }
        if has_bar {
            job.tell_bar(py, false)?;
        }
        Ok(Some(told(outcome)))
    }

    /// Waits until an imap has something to fetch, or is over; says whether.
    #[pyo3(signature = (timeout=None))]
    fn _wait_next(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
    ) -> PyResult<bool> {
        let resumed = self.resume(py, |state| state.takers += 1);
        let waited = resumed.and_then(|()| self.crew.wait(py, &self.job.completion, deadline(true, timeout)));
        self.job.state(py).takers -= 1;
        waited
    }

    /// For the feeder of an imap: waits until there is room for an item. False: no more are wanted, or not now.
    ///
    /// Not one method that feeds it all: user code that was called from here and is still running in a daemon thread
    /// when the interpreter ends could not be unwound.
    #[pyo3(signature = (*, wait=true))]
    fn _has_room(&self, py: Python<'_>, wait: bool) -> PyResult<bool> {
        let job = &self.job;
        loop {
            if job.is_over() || !job.is_fed(py) {
                return Ok(false);
            }
            if job.has_room(py) {
                return Ok(true);
            }
            if !wait {
                return Ok(false);
            }
            let look = || {
                let over = || job.is_over() || Python::attach(|py| job.has_room(py));
                over().then_some(())
            };
            // Whatever ended the wait, the loop checks again.
            let _ = wait_outside(py, deadline(true, None), |p| job.room.wait_for(p, Scope::Private, look, || None))?;
        }
    }

    /// One more item.
    fn _push(&self, py: Python<'_>, item: Py<PyAny>) -> PyResult<()> {
        self.job.push(py, item);
        self.crew.fed(py, &self.job)
    }

    /// There are no more items; because of an error, perhaps.
    #[pyo3(signature = (error=None))]
    fn _close_input(&self, py: Python<'_>, error: Option<Py<PyAny>>) -> PyResult<()> {
        if !self.job.is_fed(py) {
            return Ok(());
        }
        self.job.close_input(py, error);
        self.crew.settle(py, &self.job)?;
        self.crew.fed(py, &self.job)
    }

    /// Takes it back: what has not begun never will, and workers in the middle of it are ended. False if it is over.
    fn _cancel(&self, py: Python<'_>) -> PyResult<bool> {
        self.crew.cancel(py, &self.job)
    }

    /// Of a call: takes it back if no worker has begun it; says whether it is cancelled.
    fn _withdraw(&self, py: Python<'_>) -> PyResult<bool> {
        self.crew.withdraw(py, &self.job)
    }

    /// How many of its tasks have no outcome yet.
    #[getter]
    fn _unfinished(&self, py: Python<'_>) -> u64 {
        self.job.unfinished(py)
    }

    /// Of a map: the values that there are, and None in the place of the others.
    #[getter]
    fn _values<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyList>> {
        let values = self.job.values(py)?.into_bound(py);
        Some(values.get_slice(0, values.len()))
    }

    /// What the pool was given to call.
    #[getter]
    fn _hooks(&self, py: Python<'_>) -> Py<PyAny> {
        self.crew.ledger().hooks.object().clone_ref(py)
    }

    #[getter]
    fn _is_cancelled(&self, py: Python<'_>) -> bool {
        self.job.state(py).cancelled
    }

    /// Whether a worker has been given some of it, and it is not over.
    #[getter]
    fn _is_running(&self, py: Python<'_>) -> bool {
        !self.job.is_over() && self.job.state(py).tasks.was_sent()
    }

    /// The results of an imap will not be fetched. If any was fetched before, its remaining input is not pulled either,
    /// and what was not sent is not done; nor if it `is_unwanted`.
    #[pyo3(signature = (*, is_unwanted=false))]
    fn _abandon(&self, py: Python<'_>, is_unwanted: bool) -> PyResult<()> {
        self.crew.abandon(py, &self.job, is_unwanted)
    }

    /// Calls `listener` without arguments, in some thread, once it is over or, of an imap, has something to fetch.
    fn _listen(&self, py: Python<'_>, listener: Py<PyAny>) -> PyResult<()> {
        self.resume(py, |_| ())?;
        if !self.job.listen(py, listener) {
            self.crew.wait(py, &self.job.completion, deadline(true, None))?;
        }
        self.crew.call_deputy(true);
        if self.job.completion.is_done() {
            self.crew.tell(py, &self.job);
        }
        Ok(())
    }

    /// Has `callback` called with its value or its error when it is over, and before threads that wait for it go on,
    /// unless it is cancelled. To go on is `_finish`. False: it is over.
    fn _call_back(&self, py: Python<'_>, callback: Py<PyAny>) -> bool {
        let (value, error) = (Some(callback.clone_ref(py)), Some(callback));
        let adds = self.job.ending.add_callbacks(py, Callbacks { value, error, lets_go_of_cancelled: true });
        if adds {
            self.crew.call_deputy(true);
        }
        adds
    }

    /// The callbacks have run.
    fn _finish(&self, py: Python<'_>) {
        self.job.completion.finish();
        self.crew.tell(py, &self.job);
    }

    // A raised error references the frames that it passed through, and one of them may reference this job.

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Until the job is over, the pool references it too.
        if Arc::strong_count(&self.job) > 1 {
            return Ok(());
        }
        // The holder of the lock is attached. So it is this thread, or one that is stopped until the collection is
        // over: none of the collector's passes examines the job, and it stays alive.
        match self.job.state.try_lock() {
            Ok(state) => {
                match &state.work {
                    Some(Work::Call { function, args, kwds }) => {
                        [function, args, kwds].into_iter().try_for_each(|object| visit.call(object))?
                    }
                    Some(Work::Items { function, .. }) => visit.call(function)?,
                    None => {}
                }
                state.results.traverse(&visit)
            }
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self, py: Python<'_>) {
        if Arc::strong_count(&self.job) == 1 {
            self.job.discard_results(py);
            let (leavings, ..) = self.job.take_leavings(py);
            leavings.let_go(py);
        }
    }
}

/// Whether the outcome is a value, and the value or the exception.
fn told(outcome: Outcome) -> (bool, Py<PyAny>) {
    match outcome {
        Ok(value) => (true, value),
        Err(e) => (false, e),
    }
}
