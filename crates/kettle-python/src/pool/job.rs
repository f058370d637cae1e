//! What was asked for at once: a call, a map or an imap; its tasks and their outcomes.
//!
//! A job's state is behind a mutex that is held for moments, with the interpreter attached, and never while Python code
//! can run: what is dropped is carried out of it first.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use kettle::pool::engine::{Agenda, Chunking, Span, Waiter, Word};
use kettle_core::wait::{EventCount, Scope};
use pyo3::exceptions::{PyStopIteration, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyIterator, PyList};

use super::crew::Crew;
use super::ledger::Staff;
use super::results::{Outcome, Results};
use super::threads::ThreadCrew;
use crate::door::{deadline, wait_outside};

/// A job as the pool knows it.
pub(super) struct Task {
    pub(super) number: u64,
    /// The number under which workers know its function: another one once it is sent by value.
    pub(super) lesson: AtomicU64,
    pub(super) work: Work,
    pub(super) timeout: Option<Duration>,
    pub(super) waiter: Arc<Waiter>,
    callbacks: Mutex<Option<Callbacks>>,
    /// Where whoever feeds an imap waits until there is room.
    pub(super) room: EventCount,
    /// It is over: it has all outcomes that it will ever have.
    over: AtomicBool,
    state: Mutex<State>,
}

/// What is to be called.
pub(super) enum Work {
    /// Once, with these arguments.
    Call { function: Py<PyAny>, args: Py<PyAny>, kwds: Py<PyAny> },
    /// With each of many items, which may be tuples of arguments.
    Items { function: Py<PyAny>, unpacks: bool },
}

/// See [`Task::call_of`].
type CallOf<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>, bool);

/// To be called with the value, or with the error.
pub(super) struct Callbacks {
    pub(super) value: Option<Py<PyAny>>,
    pub(super) error: Option<Py<PyAny>>,
}

/// Where an imap's items come from.
pub(super) enum Source {
    /// All are there.
    Exhausted,
    /// An iterator that cannot block and runs nobody's code; whoever leads pulls from it.
    Builtin(Py<PyIterator>),
    /// A thread pulls them.
    Fed,
}

/// The items of a job.
enum Items {
    /// Of a map: all, for as long as it lasts. Of a call: none.
    List(Py<PyList>),
    /// Of an imap: those from number `done_before` on, as long as they have no outcome.
    Window { queue: VecDeque<Option<Py<PyAny>>>, done_before: u64 },
}

/// The items of a span, to be read without holding up the job.
pub(super) enum SpanItems {
    Listed(Py<PyList>, usize),
    Taken(Vec<Py<PyAny>>),
}

impl SpanItems {
    /// Item `place` of the span.
    pub(super) fn get<'py>(&self, py: Python<'py>, place: usize) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Listed(list, first) => list.bind(py).get_item(first + place),
            Self::Taken(items) => Ok(items[place].bind(py).clone()),
        }
    }
}

pub(super) struct State {
    pub(super) agenda: Agenda,
    items: Items,
    pub(super) source: Source,
    chunk: u64,
    results: Results,
    /// Tasks that have an outcome.
    pub(super) done: u64,
    failed: u64,
    /// Outcomes that were fetched from an imap.
    fetched: u64,
    /// How far an imap's items may be ahead of what was fetched; None when it does not matter any more.
    window: Option<u64>,
    pub(super) is_ready: bool,
    pub(super) was_sent: bool,
    /// The tasks that were sent again, by value.
    resent: HashSet<u64>,
    pub(super) cancelled: bool,
    /// Somebody is about to take it back: nothing of it is to be sent.
    pub(super) is_held: bool,
    listeners: Vec<Py<PyAny>>,
    /// See [`Task::take_leave`].
    is_left: bool,
    bar: Option<Bar>,
}

struct Bar {
    object: Py<PyAny>,
    done: u64,
    failed: u64,
    told_at: Option<Instant>,
}

/// How often a progress bar is told, at most.
const BAR_EVERY: Duration = Duration::from_millis(50);

impl Task {
    pub(super) fn state(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        self.state.lock_py_attached(py).unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Marks it over; false if it was.
    pub(super) fn end(&self) -> bool {
        !self.over.swap(true, Ordering::SeqCst)
    }

    pub(super) fn take_callbacks(&self, py: Python<'_>) -> Option<Callbacks> {
        self.callbacks.lock_py_attached(py).unwrap_or_else(|e| e.into_inner()).take()
    }

    pub(super) fn has_callbacks(&self, py: Python<'_>) -> bool {
        self.callbacks.lock_py_attached(py).unwrap_or_else(|e| e.into_inner()).is_some()
    }

    /// The outcome of a call or a map as a whole.
    pub(super) fn whole(&self, py: Python<'_>) -> Option<Outcome> {
        self.state(py).results.whole(py)
    }

    /// Ends it with this error in the place of the outcomes that it does not have; false if it is over.
    pub(super) fn fail(&self, py: Python<'_>, error: Py<PyAny>) -> bool {
        let mut state = self.state(py);
        if !self.end() {
            return false;
        }
        let surplus = state.results.fail(error);
        drop(state);
        drop(surplus);
        true
    }

    /// Whether whoever works for it pulls its items.
    pub(super) fn is_pulled(&self, py: Python<'_>) -> bool {
        self.state(py).is_pulled()
    }

    /// It is over, and those who wait for it are about to be told, by a thread that will tell nobody else: false if
    /// somebody else listens already.
    pub(super) fn take_leave(&self, py: Python<'_>) -> bool {
        let mut state = self.state(py);
        state.is_left = state.listeners.is_empty();
        state.is_left
    }

    /// Whether what it has of the main module is sent by value.
    pub(super) fn is_by_value(&self) -> bool {
        self.lesson.load(Ordering::Relaxed) != self.number
    }

    /// A worker did not find a name that this task needs: it is sent again, by value. False: that was done already.
    pub(super) fn resend_by_value(&self, py: Python<'_>, index: u64, next_number: impl FnOnce() -> u64) -> bool {
        let mut state = self.state(py);
        if !state.resent.insert(index) {
            return false;
        }
        if !self.is_by_value() {
            self.lesson.store(next_number(), Ordering::Relaxed);
        }
        state.agenda.give_back(Span { start: index, len: 1 });
        true
    }

    pub(super) fn is_iterated(&self, py: Python<'_>) -> bool {
        matches!(self.state(py).results, Results::Ordered { .. } | Results::Unordered { .. } | Results::Nowhere)
    }

    /// What task `index` calls, for its error: the function, what it is called with, the keywords, and whether the second
    /// is a tuple of arguments.
    pub(super) fn call_of<'py>(&self, py: Python<'py>, index: u64) -> CallOf<'py> {
        match &self.work {
            Work::Call { function, args, kwds } => {
                (function.bind(py).clone(), args.bind(py).clone(), kwds.bind(py).clone(), true)
            }
            Work::Items { function, unpacks } => {
                let item = self.items(py, Span { start: index, len: 1 }).get(py, 0);
                let item = item.unwrap_or_else(|_| py.None().into_bound(py));
                (function.bind(py).clone(), item, PyDict::new(py).into_any(), *unpacks)
            }
        }
    }

    /// Puts the outcome of a task. Says whether the job has all of them now.
    pub(super) fn put(&self, py: Python<'_>, index: u64, outcome: Outcome) -> bool {
        let mut dropped = Vec::new();
        let mut state = self.state(py);
        if self.is_over() {
            // It was ended meanwhile.
            drop(state);
            drop(outcome);
            return false;
        }
        let failed = outcome.is_err();
        state.failed += u64::from(failed);
        if let (Some(bar), true) = (&mut state.bar, failed) {
            bar.failed += 1;
        }
        state.let_go(index, 1, &mut dropped);
        let surplus = state.results.put(py, index, outcome);
        let complete = state.is_complete();
        drop(state);
        drop((dropped, surplus));
        complete
    }

    /// Puts the values of tasks that follow each other; as [`put`](Self::put).
    pub(super) fn put_words(&self, py: Python<'_>, first: u64, words: &[Word]) -> PyResult<bool> {
        let mut dropped = Vec::new();
        let mut state = self.state(py);
        if self.is_over() {
            // It was ended meanwhile.
            return Ok(false);
        }
        state.let_go(first, words.len() as u64, &mut dropped);
        let put = state.results.put_words(py, first, words);
        let complete = state.is_complete();
        drop(state);
        drop(dropped);
        put.map(|()| complete)
    }

    /// The items of a span.
    pub(super) fn items(&self, py: Python<'_>, span: Span) -> SpanItems {
        match &self.state(py).items {
            Items::List(list) => SpanItems::Listed(list.clone_ref(py), span.start as usize),
            Items::Window { queue, done_before } => {
                let first = (span.start - done_before) as usize;
                let item = |place: usize| {
                    queue.get(place).and_then(|i| i.as_ref()).map_or_else(|| py.None(), |i| i.clone_ref(py))
                };
                SpanItems::Taken((first..first + span.len as usize).map(item).collect())
            }
        }
    }

    /// Pulls what there is room for, if whoever leads may. Says whether there is something to send now.
    pub(super) fn refill(&self, py: Python<'_>) -> bool {
        let iterator = {
            let state = self.state(py);
            match &state.source {
                Source::Builtin(iterator) if !state.agenda.has_some() => iterator.clone_ref(py),
                _ => return state.agenda.has_some(),
            }
        };
        let mut iterator = iterator.into_bound(py);
        let room = self.state(py).room();
        for _ in 0..room.min(1024) {
            match iterator.next() {
                Some(Ok(item)) => self.push(py, item.unbind()),
                Some(Err(e)) => {
                    self.close_input(py, Some(e.into_value(py).into_any()));
                    break;
                }
                None => {
                    self.close_input(py, None);
                    break;
                }
            }
        }
        self.state(py).agenda.has_some()
    }

    /// One more item of an imap.
    pub(super) fn push(&self, py: Python<'_>, item: Py<PyAny>) {
        let mut state = self.state(py);
        if let Items::Window { queue, .. } = &mut state.items {
            queue.push_back(Some(item));
        }
        let (total, sent) = (state.pulled(), state.agenda.count());
        if total - sent >= state.chunk {
            let whole = (total - sent) / state.chunk * state.chunk;
            state.agenda.extend(whole);
        }
    }

    /// There are no more items; because of an error, perhaps, which then stands behind the last whole chunk.
    pub(super) fn close_input(&self, py: Python<'_>, error: Option<Py<PyAny>>) {
        let mut state = self.state(py);
        state.source = Source::Exhausted;
        let rest = state.pulled() - state.agenda.count();
        let mut dropped = Vec::new();
        let mut surplus = None;
        if let Some(error) = error {
            if let Items::Window { queue, .. } = &mut state.items {
                let whole = queue.len() - (rest as usize).min(queue.len());
                dropped.extend(queue.split_off(whole));
            }
            let count = state.agenda.count();
            surplus = state.results.put_input_error(py, count, error);
            state.failed += 1;
            self.waiter.finish();
        } else {
            state.agenda.extend(rest);
        }
        drop(state);
        drop((dropped, surplus));
    }

    /// How many of its tasks have no outcome yet.
    pub(super) fn unfinished(&self, py: Python<'_>) -> u64 {
        let state = self.state(py);
        state.agenda.count() - state.done
    }

    /// Whether a thread feeds it still.
    pub(super) fn is_fed(&self, py: Python<'_>) -> bool {
        matches!(self.state(py).source, Source::Fed)
    }

    /// How many more items may be pulled now.
    pub(super) fn has_room(&self, py: Python<'_>) -> u64 {
        self.state(py).room()
    }

    /// The throttle is lifted.
    pub(super) fn lift(&self, py: Python<'_>) {
        self.state(py).window = None;
        self.room.notify_all(Scope::Private);
    }

    /// Nothing of it is to be sent any more.
    pub(super) fn clear(&self, py: Python<'_>) {
        let (items, iterator) = {
            let mut state = self.state(py);
            state.agenda.clear();
            let source = std::mem::replace(&mut state.source, Source::Exhausted);
            let items = match &mut state.items {
                Items::List(_) => VecDeque::new(),
                Items::Window { queue, done_before } => {
                    *done_before += queue.len() as u64;
                    std::mem::take(queue)
                }
            };
            (items, source)
        };
        drop((items, iterator));
        self.room.notify_all(Scope::Private);
    }

    /// Those who asked to be told, and a bar if it is time.
    pub(super) fn take_listeners(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        std::mem::take(&mut self.state(py).listeners)
    }

    /// Tells the progress bar, if there is one and it is time.
    pub(super) fn tell_bar(&self, py: Python<'_>, is_last: bool) -> PyResult<()> {
        let (object, done, failed) = {
            let mut state = self.state(py);
            let Some(bar) = &mut state.bar else { return Ok(()) };
            let now = Instant::now();
            if !is_last && bar.told_at.is_some_and(|at| now - at < BAR_EVERY) {
                return Ok(());
            }
            bar.told_at = Some(now);
            let told = (bar.object.clone_ref(py), std::mem::take(&mut bar.done), std::mem::take(&mut bar.failed));
            if is_last {
                state.bar = None;
            }
            told
        };
        object.call_method1(py, "update", (done, failed))?;
        if is_last {
            object.call_method0(py, "close")?;
        }
        Ok(())
    }

    pub(super) fn has_bar(&self, py: Python<'_>) -> bool {
        self.state(py).bar.is_some()
    }
}

impl State {
    /// The tasks from `first` on have an outcome: their items are not needed any more.
    fn let_go(&mut self, first: u64, count: u64, dropped: &mut Vec<Py<PyAny>>) {
        self.done += count;
        if let Some(bar) = &mut self.bar {
            bar.done += count;
        }
        let Items::Window { queue, done_before } = &mut self.items else { return };
        if let Some(place) = first.checked_sub(*done_before).map(|i| i as usize) {
            let end = queue.len().min(place.saturating_add(count as usize));
            dropped.extend(queue.range_mut(place.min(end)..end).filter_map(Option::take));
        }
        while let Some(None) = queue.front() {
            queue.pop_front();
            *done_before += 1;
        }
    }

    /// Items pulled so far.
    fn pulled(&self) -> u64 {
        match &self.items {
            Items::List(_) => self.agenda.count(),
            Items::Window { queue, done_before } => done_before + queue.len() as u64,
        }
    }

    /// Whether whoever works for it pulls its items.
    pub(super) fn is_pulled(&self) -> bool {
        matches!(self.source, Source::Builtin(_))
    }

    fn room(&self) -> u64 {
        match self.window {
            Some(window) => window.saturating_sub(self.pulled() - self.fetched),
            None => u64::MAX,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(self.source, Source::Exhausted) && self.done == self.agenda.count()
    }
}

/// What Python holds of a job.
#[pyclass(subclass, frozen, weakref, module = "kettle._native", name = "PoolJob")]
pub(crate) struct Job {
    crew: Arc<dyn Staff>,
    task: Arc<Task>,
}

#[pymethods]
impl Job {
    /// `kind` is one of "call", "map", "ordered" and "unordered"; `items` is `(args, kwds)`, a list or an iterator.
    #[new]
    #[pyo3(signature = (crew, kind, function, items, *, unpacks=false, chunk=None, timeout=None, retries=0,
                        callback=None, error_callback=None, bar=None, window=None, is_builtin=false))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn new(
        py: Python<'_>,
        crew: &Bound<'_, PyAny>,
        kind: &str,
        function: Py<PyAny>,
        items: &Bound<'_, PyAny>,
        unpacks: bool,
        chunk: Option<u32>,
        timeout: Option<f64>,
        retries: u32,
        callback: Option<Py<PyAny>>,
        error_callback: Option<Py<PyAny>>,
        bar: Option<Py<PyAny>>,
        window: Option<u64>,
        is_builtin: bool,
    ) -> PyResult<Self> {
        let crew = staff(crew)?;
        let timeout = timeout.map(Duration::try_from_secs_f64).transpose();
        let timeout = timeout.map_err(|e| PyValueError::new_err(format!("task_timeout: {e}")))?;
        let mut agenda = Agenda::new(chunk.map_or(Chunking::Measured, Chunking::Fixed), retries);
        let mut source = Source::Exhausted;
        let (work, items, results) = match kind {
            "call" => {
                let (args, kwds) = items.extract()?;
                agenda.extend(1);
                let none = Items::List(PyList::empty(py).unbind());
                (Work::Call { function, args, kwds }, none, Results::One(None))
            }
            "map" => {
                let items = items.cast::<PyList>()?;
                agenda.extend(items.len() as u64);
                let values = PyList::new(py, (0..items.len()).map(|_| py.None()))?.unbind();
                let results = Results::All { values, error: None };
                (Work::Items { function, unpacks }, Items::List(items.clone().unbind()), results)
            }
            "ordered" | "unordered" => {
                source = if is_builtin { Source::Builtin(items.try_iter()?.unbind()) } else { Source::Fed };
                let results = match kind {
                    "ordered" => Results::Ordered { fetched: 0, waiting: VecDeque::new() },
                    _ => Results::Unordered { waiting: VecDeque::new(), last: None },
                };
                let window = Items::Window { queue: VecDeque::new(), done_before: 0 };
                (Work::Items { function, unpacks }, window, results)
            }
            _ => return Err(PyValueError::new_err(format!("no such kind of job: {kind}"))),
        };
        let has_callbacks = callback.is_some() || error_callback.is_some();
        let callbacks = has_callbacks.then_some(Callbacks { value: callback, error: error_callback });
        let number = crew.ledger().next_number();
        let task = Arc::new(Task {
            number,
            lesson: AtomicU64::new(number),
            work,
            timeout,
            waiter: Arc::new(Waiter::default()),
            callbacks: Mutex::new(callbacks),
            room: EventCount::new(),
            over: AtomicBool::new(false),
            state: Mutex::new(State {
                agenda,
                items,
                source,
                chunk: u64::from(chunk.unwrap_or(1).max(1)),
                results,
                done: 0,
                failed: 0,
                fetched: 0,
                window,
                is_ready: false,
                was_sent: false,
                resent: HashSet::new(),
                cancelled: false,
                is_held: false,
                listeners: Vec::new(),
                is_left: false,
                bar: bar.map(|object| Bar { object, done: 0, failed: 0, told_at: None }),
            }),
        });
        Ok(Self { crew, task })
    }

    /// Hands the job to the pool. Whoever does not wait for it says so: somebody else must lead then.
    #[pyo3(signature = (*, waits=false))]
    fn _submit(&self, py: Python<'_>, waits: bool) -> PyResult<()> {
        self.crew.submit(py, &self.task, waits)
    }

    /// Waits until it is over; says whether it is.
    #[pyo3(signature = (timeout=None))]
    fn _wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.crew.wait(py, &self.task.waiter, deadline(true, timeout))
    }

    #[getter]
    fn _is_done(&self) -> bool {
        self.task.waiter.is_done()
    }

    /// Of a call or a map that is over: whether it succeeded, and the value or the exception.
    fn _outcome(&self, py: Python<'_>) -> Option<(bool, Py<PyAny>)> {
        Some(match self.task.state(py).results.whole(py)? {
            Ok(value) => (true, value),
            Err(e) => (false, e),
        })
    }

    /// Of an imap: the next value, or None in a tuple's place when there is none yet. Raises StopIteration at the end.
    fn _fetch(&self, py: Python<'_>) -> PyResult<Option<(bool, Py<PyAny>)>> {
        let task = &self.task;
        let (outcome, refills, notifies) = {
            let mut state = task.state(py);
            let complete = state.is_complete();
            let Some(outcome) = state.results.fetch(complete) else {
                if !task.is_over() {
                    // Before the next look, so that what comes in between is not overlooked.
                    task.waiter.begin_again();
                    if state.results.has_next(complete) || task.is_over() {
                        task.waiter.finish();
                    }
                    return Ok(None);
                }
                return Err(PyStopIteration::new_err(()));
            };
            state.fetched += 1;
            // In batches, or the feeder would be woken for every item; but before nothing is left to be fetched: what was
            // pulled and not sent yet may be waiting for the rest of its chunk.
            let roomy =
                !state.results.has_next(complete) || state.window.is_none_or(|window| 2 * state.room() >= window);
            let builtin = matches!(state.source, Source::Builtin(_));
            (outcome, builtin && roomy, !builtin && roomy)
        };
        if refills {
            self.crew.make_ready(py, task);
        }
        if notifies {
            task.room.notify_one(Scope::Private);
        }
        Ok(Some(match outcome {
            Ok(value) => (true, value),
            Err(e) => (false, e),
        }))
    }

    /// Waits until an imap has something to fetch, or is over; says whether.
    #[pyo3(signature = (timeout=None))]
    fn _wait_next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.crew.wait(py, &self.task.waiter, deadline(true, timeout))
    }

    /// For whoever feeds an imap: waits until there is room for an item. False: no more are wanted, or not now.
    ///
    /// Not one method that feeds it all: user code that was called from here and is still running in a daemon thread
    /// when the interpreter ends could not be unwound.
    #[pyo3(signature = (*, wait=true))]
    fn _has_room(&self, py: Python<'_>, wait: bool) -> PyResult<bool> {
        let task = &self.task;
        loop {
            if task.is_over() || !task.is_fed(py) {
                return Ok(false);
            }
            if task.has_room(py) > 0 {
                return Ok(true);
            }
            if !wait {
                return Ok(false);
            }
            let look = || {
                let over = || task.is_over() || Python::attach(|py| task.has_room(py) > 0);
                over().then_some(())
            };
            // However it ended, the loop looks again.
            let _ = wait_outside(py, deadline(true, None), |p| task.room.wait_for(p, Scope::Private, look, || None))?;
        }
    }

    /// One more item.
    fn _push(&self, py: Python<'_>, item: Py<PyAny>) -> PyResult<()> {
        self.task.push(py, item);
        self.crew.fed(py, &self.task)
    }

    /// There are no more items; because of an error, perhaps.
    #[pyo3(signature = (error=None))]
    fn _close_input(&self, py: Python<'_>, error: Option<Py<PyAny>>) -> PyResult<()> {
        if !self.task.is_fed(py) {
            return Ok(());
        }
        self.task.close_input(py, error);
        self.crew.settle(py, &self.task)?;
        self.crew.fed(py, &self.task)
    }

    /// Takes it back: what has not begun never will, and workers in the middle of it are ended. False if it is over.
    fn _cancel(&self, py: Python<'_>) -> PyResult<bool> {
        self.crew.cancel(py, &self.task)
    }

    /// Of a call: takes it back if no worker has begun it; says whether it is cancelled.
    fn _withdraw(&self, py: Python<'_>) -> PyResult<bool> {
        self.crew.withdraw(py, &self.task)
    }

    /// What the pool was given to call.
    #[getter]
    fn _hooks(&self, py: Python<'_>) -> Py<PyAny> {
        self.crew.ledger().hooks.clone_ref(py)
    }

    #[getter]
    fn _is_cancelled(&self, py: Python<'_>) -> bool {
        self.task.state(py).cancelled
    }

    /// Whether a worker has been given some of it, and it is not over.
    #[getter]
    fn _is_running(&self, py: Python<'_>) -> bool {
        !self.task.is_over() && self.task.state(py).was_sent
    }

    /// Nobody will fetch the results of an imap. If somebody did, its remaining input is not pulled either, and what was
    /// not sent is not done; nor if it `is_unwanted`.
    #[pyo3(signature = (*, is_unwanted=false))]
    fn _abandon(&self, py: Python<'_>, is_unwanted: bool) -> PyResult<()> {
        self.crew.abandon(py, &self.task, is_unwanted)
    }

    /// Calls `listener` without arguments, in some thread, once it is over or, of an imap, has something to fetch.
    fn _listen(&self, py: Python<'_>, listener: Py<PyAny>) -> PyResult<()> {
        let is_left = {
            let mut state = self.task.state(py);
            state.listeners.push(listener);
            state.is_left
        };
        if is_left {
            // It is a matter of microseconds.
            self.crew.wait(py, &self.task.waiter, deadline(true, None))?;
        }
        self.crew.call_deputy(true);
        if self.task.waiter.is_done() {
            self.crew.tell(py, &self.task);
        }
        Ok(())
    }

    /// The callbacks have run.
    fn _finish(&self, py: Python<'_>) {
        self.task.waiter.finish();
        self.crew.tell(py, &self.task);
    }

    // An error that was raised knows the frames that it passed, and one of them may well know this job.

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Before it is over, the pool has it as well.
        if Arc::strong_count(&self.task) > 1 {
            return Ok(());
        }
        match &self.task.work {
            Work::Call { function, args, kwds } => {
                [function, args, kwds].into_iter().try_for_each(|o| visit.call(o))?
            }
            Work::Items { function, .. } => visit.call(function)?,
        }
        // Nobody can be inside: whoever is has the interpreter.
        match self.task.state.try_lock() {
            Ok(state) => state.results.traverse(&visit),
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self, py: Python<'_>) {
        if Arc::strong_count(&self.task) == 1 {
            drop(self.task.state(py).discard_results());
        }
    }
}

/// The crew behind what Python calls one.
fn staff(crew: &Bound<'_, PyAny>) -> PyResult<Arc<dyn Staff>> {
    if let Ok(threads) = crew.cast::<ThreadCrew>() {
        return Ok(threads.get().as_staff());
    }
    Ok(crew.cast::<Crew>()?.get().as_staff())
}

impl Job {
    pub(super) fn of(crew: Arc<dyn Staff>, task: &Arc<Task>) -> Self {
        Self { crew, task: Arc::clone(task) }
    }
}

impl State {
    /// Somebody fetched from it.
    pub(super) fn was_fetched(&self) -> bool {
        self.fetched > 0
    }

    pub(super) fn discard_results(&mut self) -> Results {
        std::mem::replace(&mut self.results, Results::Nowhere)
    }

    pub(super) fn forget_listeners(&mut self) -> Vec<Py<PyAny>> {
        std::mem::take(&mut self.listeners)
    }
}
