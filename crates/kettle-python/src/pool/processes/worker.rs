//! The child's loop: receive, begin, call, report.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use kettle::pool::scheduler::process::{self, Assignment, Chunk, Load};
use kettle_core::arena::{Block, Names};
use kettle_core::queue::{GetError, Taken};
use kettle_core::wait::{Deadline, Patience};
use pyo3::call::PyCallArgs;
use pyo3::exceptions::{PyAttributeError, PyKeyboardInterrupt, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::desk::Desk;
use crate::door::wait_outside_in_slices;
use crate::errors;
use crate::pickle;
use crate::pool::arguments::{as_dict, as_tuple};
use crate::pool::tasks;

/// A worker process's side of a pool.
#[pyclass(frozen, module = "kettle._native", name = "PoolWorker")]
pub(crate) struct Worker {
    /// Moved out while it runs.
    desk: Mutex<Option<process::Worker>>,
    /// Encodes an exception as bytes.
    pack_error: Py<PyAny>,
    /// Encodes a result that could not be pickled, and the exception that pickling it raised.
    pack_unsendable: Py<PyAny>,
}

/// How often an idle worker checks for signals that arrived just before it fell asleep.
const SLICE: Duration = Duration::from_millis(200);

#[pymethods]
impl Worker {
    #[new]
    fn new(desk: &Desk, pack_error: Py<PyAny>, pack_unsendable: Py<PyAny>) -> Self {
        Self { desk: Mutex::new(Some(process::Worker::new(desk.0.clone()))), pack_error, pack_unsendable }
    }

    /// Says that the initializer begins.
    fn prepare(&self) -> PyResult<()> {
        // If this is refused, the process is about to be killed anyway.
        self.with_desk(|desk| {
            let _ = desk.prepare();
            Ok(())
        })
    }

    /// Says that tasks may come.
    fn ready(&self) -> PyResult<()> {
        self.with_desk(|desk| send(desk.note(Load::inline(tasks::READY, &[]))))
    }

    /// Says that this worker cannot be used, since this was raised.
    fn refuse(&self, py: Python<'_>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let (packed, names) = packed(self.pack_error.bind(py), (error,))?;
        self.with_desk(|desk| {
            tasks::with_bytes_and_names(tasks::REFUSED, 0, &packed, &names, |load| send(desk.note(load)))
        })
    }

    /// Works until there is nothing more to do.
    fn run(&self, py: Python<'_>) -> PyResult<()> {
        let desk = lock(&self.desk).take().ok_or_else(|| PyRuntimeError::new_err("this worker runs already"))?;
        Loop { desk, worker: self, jobs: HashMap::new() }.run(py)
    }
}

impl Worker {
    fn with_desk<T>(&self, f: impl FnOnce(&mut process::Worker) -> PyResult<T>) -> PyResult<T> {
        let mut desk = lock(&self.desk);
        f(desk.as_mut().ok_or_else(|| PyRuntimeError::new_err("this worker runs already"))?)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// The bytes that `pack` returns, and the handles in them.
fn packed<'py>(pack: &Bound<'py, PyAny>, args: impl PyCallArgs<'py>) -> PyResult<(Vec<u8>, Names)> {
    pickle::for_a_message(|| pack.call1(args)?.extract())
}

fn send(result: Result<(), kettle::OutOfMemory>) -> PyResult<()> {
    result.map_err(errors::out_of_memory)
}

/// What all items of a job share: the function, and whether an item is a tuple of arguments for it. Or the reason why
/// the function could not be rebuilt.
type Common = Result<(Py<PyAny>, bool), PyErr>;

struct Loop<'w> {
    desk: process::Worker,
    worker: &'w Worker,
    jobs: HashMap<u64, Common>,
}

impl Loop<'_> {
    fn run(mut self, py: Python<'_>) -> PyResult<()> {
        let mut bytes = Vec::new();
        while let Some(assignment) = self.next(py, &mut bytes)? {
            match assignment {
                Assignment::Leave => break,
                Assignment::Note { taken, word } => self.learn(py, taken, word, &bytes)?,
                Assignment::Chunk { chunk, taken, word } => {
                    if !self.work(py, chunk, taken, word, &bytes)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// An idle worker ignores Ctrl-C: if it is meant for the pool, the parent ends the workers.
    fn next(&mut self, py: Python<'_>, bytes: &mut Vec<u8>) -> PyResult<Option<Assignment>> {
        let next = self.wait(py, bytes)?;
        // It may have arrived just before the task, which it must not interrupt.
        match py.check_signals() {
            Err(e) if !e.is_instance_of::<PyKeyboardInterrupt>(py) => Err(e),
            _ => Ok(next),
        }
    }

    fn wait(&mut self, py: Python<'_>, bytes: &mut Vec<u8>) -> PyResult<Option<Assignment>> {
        loop {
            match self.desk.next(bytes, &Patience::instant()) {
                Ok(assignment) => return Ok(Some(assignment)),
                // In a damaged session there is nothing to do; the parent detects the damage too.
                Err(GetError::ShutDown | GetError::Damaged) => return Ok(None),
                Err(GetError::Empty | GetError::Interrupted) => {}
                Err(GetError::Exhausted(e)) => return Err(errors::exhausted(e)),
            }
            let desk = &mut self.desk;
            match wait_outside_in_slices(py, Deadline::NEVER, SLICE, |p| desk.next(bytes, p)) {
                Ok(Ok(assignment)) => return Ok(Some(assignment)),
                // A second call, without waiting, returns the reason.
                Ok(Err(_)) => {}
                Err(e) if e.is_instance_of::<PyKeyboardInterrupt>(py) => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn learn(&mut self, py: Python<'_>, taken: Taken<Block>, word: u64, bytes: &[u8]) -> PyResult<()> {
        match tasks::base(taken.tag) {
            tasks::JOB => {
                let common = tasks::object(py, taken, bytes, tasks::JOB).and_then(|pair| pair.extract());
                self.jobs.insert(word, common);
            }
            tasks::FORGET => {
                for number in tasks::body(&taken, bytes).chunks_exact(size_of::<u64>()) {
                    let number = number.try_into().map_or(0, u64::from_ne_bytes);
                    self.jobs.remove(&number);
                }
            }
            tag => return Err(PyRuntimeError::new_err(format!("a note of an unknown kind ({tag})"))),
        }
        Ok(())
    }

    /// Runs the tasks of a chunk in order. Returns false if this process is about to be killed.
    fn work(&mut self, py: Python<'_>, chunk: Chunk, taken: Taken<Block>, job: u64, bytes: &[u8]) -> PyResult<bool> {
        // Rebuilding items may run user code, which may end this process. So a task counts as begun before that. With
        // several items, it would not be known which one is the cause, so none counts as begun.
        let opens = tasks::base(taken.tag) == tasks::ITEMS && chunk.len > 1;
        if !(if opens { self.desk.open(chunk) } else { self.desk.begin(chunk, 0) }) {
            return Ok(false);
        }
        match tasks::base(taken.tag) {
            tasks::CALL => {
                let call = tasks::object(py, taken, bytes, tasks::CALL).map_err(|e| Failure::of_rebuilding(py, e));
                self.report(py, chunk, 0, call.and_then(|triple| call_it(triple).map_err(Failure::Raised)))?;
                Ok(true)
            }
            tasks::RANGE => {
                let numbers = tasks::Progression::read(tasks::body(&taken, bytes))?;
                self.each(py, chunk, job, |i| numbers.get(py, i.into()))
            }
            tasks::WORDS => {
                let body = tasks::body(&taken, bytes);
                let mut words = body;
                self.each(py, chunk, job, |_| tasks::read_word(py, &mut words))
            }
            tasks::ITEMS => {
                match tasks::object(py, taken, bytes, tasks::ITEMS).and_then(|l| Ok(l.cast_into::<PyList>()?)) {
                    Ok(_) if opens && !self.desk.begin(chunk, 0) => Ok(false),
                    // Each item is dropped when its task is done.
                    Ok(items) => self.each(py, chunk, job, |i| {
                        let item = items.get_item(i as usize)?;
                        items.set_item(i as usize, py.None())?;
                        Ok(item)
                    }),
                    Err(e) if opens && !is_unfound(py, &e) => self.leave_to_be_tried_alone(chunk),
                    Err(e) => self.each(py, chunk, job, |_| Err(e.clone_ref(py))),
                }
            }
            tasks::ITEM => {
                let mut item = Some(tasks::object(py, taken, bytes, tasks::ITEM));
                self.each(py, chunk, job, |_| item.take().unwrap_or_else(|| Err(unknown(tasks::ITEM))))
            }
            tag => self.each(py, chunk, job, |_| Err(unknown(tag))),
        }
    }

    /// Reports that one of these tasks has an item that cannot be rebuilt, and that it is not known which.
    fn leave_to_be_tried_alone(&mut self, chunk: Chunk) -> PyResult<bool> {
        for i in 0..chunk.len {
            send(self.desk.report(chunk, i, Load::inline(tasks::APART, &[])))?;
        }
        Ok(true)
    }

    /// Runs the tasks of a chunk, the first of which counts as begun.
    fn each<'py>(
        &mut self,
        py: Python<'py>,
        chunk: Chunk,
        job: u64,
        mut item: impl FnMut(u32) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<bool> {
        let function = match self.jobs.get(&job) {
            Some(Ok((function, unpacks))) => Ok((function.bind(py).clone(), *unpacks)),
            Some(Err(e)) => Err(e.clone_ref(py)),
            None => Err(PyRuntimeError::new_err("items of a job that this worker does not know")),
        };
        for i in 0..chunk.len {
            if i > 0 && !self.desk.begin(chunk, i) {
                return Ok(false);
            }
            let result = match (&function, item(i)) {
                (Ok((function, false)), Ok(item)) => function.call1((item,)).map_err(Failure::Raised),
                (Ok((function, true)), Ok(item)) => {
                    as_tuple(item).and_then(|args| function.call1(args)).map_err(Failure::Raised)
                }
                (Err(e), _) => Err(Failure::of_rebuilding(py, e.clone_ref(py))),
                (_, Err(e)) => Err(Failure::of_rebuilding(py, e)),
            };
            self.report(py, chunk, i, result)?;
        }
        Ok(true)
    }

    /// Reports a result, or the reason why it could not be sent.
    fn report<'py>(
        &mut self,
        py: Python<'py>,
        chunk: Chunk,
        index: u32,
        result: Result<Bound<'py, PyAny>, Failure>,
    ) -> PyResult<()> {
        let mut tag = tasks::ERROR;
        let (packed, names) = match result {
            Ok(value) => {
                if tasks::word_of(&value).is_some_and(|word| self.desk.report_word(chunk, index, word)) {
                    return Ok(());
                }
                let sent = tasks::with_object(&value, 0, 0, |load| send(self.desk.report(chunk, index, load)));
                match sent {
                    Ok(()) => return Ok(()),
                    Err(e) => packed(self.worker.pack_unsendable.bind(py), (e.into_value(py), value))?,
                }
            }
            Err(failure) => {
                if matches!(failure, Failure::Unfound(_)) {
                    tag = tasks::UNFOUND;
                }
                let (Failure::Raised(e) | Failure::Unfound(e)) = failure;
                packed(self.worker.pack_error.bind(py), (e.into_value(py),))?
            }
        };
        tasks::with_bytes_and_names(tag, 0, &packed, &names, |load| send(self.desk.report(chunk, index, load)))
    }
}

/// Why a task has no result.
enum Failure {
    /// The task raised this.
    Raised(PyErr),
    /// The task was not begun: a name of the program's main module does not exist in this process, or not yet.
    Unfound(PyErr),
}

impl Failure {
    fn of_rebuilding(py: Python<'_>, e: PyErr) -> Self {
        if is_unfound(py, &e) { Self::Unfound(e) } else { Self::Raised(e) }
    }
}

/// Whether the error states that a name of the main module was not found.
fn is_unfound(py: Python<'_>, e: &PyErr) -> bool {
    let is_of_main = || e.value(py).str().is_ok_and(|text| text.to_string_lossy().contains("_main__"));
    e.is_instance_of::<PyAttributeError>(py) && is_of_main()
}

fn unknown(tag: u8) -> PyErr {
    PyRuntimeError::new_err(format!("a chunk of an unknown kind ({tag})"))
}

fn call_it(triple: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let (function, args, kwds): (Bound<'_, PyAny>, Bound<'_, PyAny>, Bound<'_, PyAny>) = triple.extract()?;
    drop(triple);
    function.call(as_tuple(args)?, Some(&as_dict(kwds)?))
}
