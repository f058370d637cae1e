//! A unit of submission: a call, a map or an imap, with its tasks and their outcomes.
//!
//! ```text
//!                 ┌──── nothing to send ────┐
//!        submit   │                         ▼    has all outcomes,          callbacks
//!   new ───────► in line ◄── something ── aside ────────────────────► over ───────────► done
//!                                                 or an error for all        have run
//! ```
//!
//! A job's state is behind a mutex that is held for a few instructions, attached to the interpreter, and never while
//! Python code can run: objects to be dropped are moved out of the critical section first.
//!
//! A job drops its function and arguments when it is over. Its handle, which a program may keep for long, then keeps
//! only the outcome. See `leavings`.
//!
//! | module | what it is |
//! |---|---|
//! | `kind` | the kinds of jobs |
//! | `ending` | the end of the job, and its callbacks |
//! | `input` | the items: their source, how far ahead they are pulled, how long they are kept |
//! | `results` | the outcomes, until they are fetched |
//! | `progress` | the progress bar |
//! | `unasked` | errors that are never asked for |
//! | `handle` | the Python object that represents a job |
//! | `leavings` | the function and arguments of a job that is over |

mod ending;
mod handle;
mod input;
mod kind;
mod leavings;
mod progress;
mod results;
mod unasked;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kettle::pool::scheduler::process::Word;
use kettle::pool::scheduler::{Completion, JobTasks, Span};
use kettle_core::wait::EventCount;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

pub(super) use ending::Callbacks;
pub(crate) use handle::PoolJob;
pub(super) use input::SpanItems;
pub(super) use kind::Kind;
pub(super) use leavings::Leavings;
pub(super) use results::Outcome;

use super::locking::lock;
use ending::Ending;
use input::Input;
use progress::Bar;
use results::Results;
use unasked::Unasked;

/// A job as its pool sees it.
pub(super) struct Job {
    pub(super) number: u64,
    /// The number under which workers know its function. It changes when the function is sent by value.
    pub(super) lesson: AtomicU64,
    pub(super) kind: Kind,
    pub(super) timeout: Option<Duration>,
    pub(super) completion: Arc<Completion>,
    pub(super) ending: Ending,
    /// Where the feeder of an imap waits for room.
    room: EventCount,
    /// Whether there are listeners. It is read without the lock, which is taken only if there are some. It is set
    /// before a listener checks whether the job is done, and read after the job was marked done.
    is_heard: AtomicBool,
    pub(super) unasked: Unasked,
    state: Mutex<State>,
}

/// What a job calls.
pub(super) enum Work {
    /// One call with these arguments.
    Call { function: Py<PyAny>, args: Py<PyAny>, kwds: Py<PyAny> },
    /// One call for each of many items, which may be tuples of arguments.
    Items { function: Py<PyAny>, unpacks: bool },
}

impl Work {
    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Call { function, args, kwds } => {
                Self::Call { function: function.clone_ref(py), args: args.clone_ref(py), kwds: kwds.clone_ref(py) }
            }
            Self::Items { function, unpacks } => Self::Items { function: function.clone_ref(py), unpacks: *unpacks },
        }
    }
}

/// See [`Job::call_of`].
pub(super) type CallOf<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>, bool);

/// What is called when a job is done or, for an imap, has something to fetch.
#[derive(Default)]
struct Listeners {
    calls: Vec<Py<PyAny>>,
    /// See [`Job::take_leave`].
    are_left: bool,
}

pub(super) struct State {
    /// None once the job is over and has dropped it.
    pub(super) work: Option<Work>,
    pub(super) tasks: JobTasks,
    pub(super) input: Input,
    results: Results,
    /// The tasks that were sent again, by value.
    resent: HashSet<u64>,
    pub(super) cancelled: bool,
    /// Whether sending is suspended: the job is being cancelled; or an imap has returned an error, and it is not known
    /// yet whether the loop that received it continues.
    pub(super) is_held: bool,
    /// The number of threads that wait for something to fetch.
    takers: u32,
    listeners: Listeners,
    bar: Option<Bar>,
}

/// What a new job is to do, and room for what comes of it.
struct Content {
    work: Work,
    tasks: JobTasks,
    input: Input,
    results: Results,
}

/// How a job is to be done.
struct Options {
    timeout: Option<Duration>,
    callbacks: Option<Callbacks>,
    bar: Option<Bar>,
}

impl Job {
    /// Creates a job that no pool knows yet.
    fn new(
        number: u64,
        kind: Kind,
        Content { work, tasks, input, results }: Content,
        Options { timeout, callbacks, bar }: Options,
    ) -> Self {
        Self {
            number,
            lesson: AtomicU64::new(number),
            kind,
            timeout,
            completion: Arc::new(Completion::default()),
            ending: Ending::new(callbacks),
            room: EventCount::new(),
            is_heard: AtomicBool::new(false),
            unasked: Unasked::default(),
            state: Mutex::new(State {
                work: Some(work),
                tasks,
                input,
                results,
                resent: HashSet::new(),
                cancelled: false,
                is_held: false,
                takers: 0,
                listeners: Listeners::default(),
                bar,
            }),
        }
    }

    pub(super) fn state(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        lock(py, &self.state)
    }

    /// For callers that take another lock together with this one.
    pub(super) fn mutex(&self) -> &Mutex<State> {
        &self.state
    }

    /// What the job calls; None once it has been dropped.
    pub(super) fn work(&self, py: Python<'_>) -> Option<Work> {
        self.state(py).work.as_ref().map(|work| work.clone_ref(py))
    }

    /// Whether this is a single call, not a map or an imap.
    pub(super) fn is_call(&self) -> bool {
        self.kind == Kind::Call
    }

    /// Whether this is an imap.
    #[inline]
    pub(super) fn is_iterated(&self) -> bool {
        matches!(self.kind, Kind::Imap(_))
    }

    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.ending.is_over()
    }

    /// Marks the job as over. Returns false if it was over already.
    pub(super) fn end(&self) -> bool {
        self.ending.end()
    }

    /// The outcome of a call or a map as a whole.
    pub(super) fn whole(&self, py: Python<'_>) -> Option<Outcome> {
        self.state(py).results.whole(py)
    }

    /// The list that receives the values of a map.
    pub(super) fn values(&self, py: Python<'_>) -> Option<Py<PyList>> {
        self.state(py).results.values(py)
    }

    /// Ends the job with this error in place of its missing outcomes. Returns false if it is over.
    pub(super) fn fail(&self, py: Python<'_>, error: Py<PyAny>) -> bool {
        self.end_with(py, error, false)
    }

    /// Like [`fail`](Self::fail), for a job that is cancelled.
    pub(super) fn cancel(&self, py: Python<'_>, error: Py<PyAny>) -> bool {
        self.end_with(py, error, true)
    }

    fn end_with(&self, py: Python<'_>, error: Py<PyAny>, cancelled: bool) -> bool {
        let mut state = self.state(py);
        if !self.end() {
            return false;
        }
        state.cancelled |= cancelled;
        let surplus = state.results.fail(error);
        drop(state);
        drop(surplus);
        true
    }

    /// Called when the job is over, by a thread that is about to wake the waiting threads and will call no listeners.
    /// Returns false if there is a listener already.
    pub(super) fn take_leave(&self, py: Python<'_>) -> bool {
        let mut state = self.state(py);
        state.listeners.are_left = state.listeners.calls.is_empty();
        state.listeners.are_left
    }

    /// Whether the job's definitions from the main module are sent by value.
    pub(super) fn is_by_value(&self) -> bool {
        self.lesson.load(Ordering::Relaxed) != self.number
    }

    /// Queues a task again, by value, after a worker did not find a name that it needs. Returns false if that was done
    /// before.
    pub(super) fn resend_by_value(&self, py: Python<'_>, index: u64, next_number: impl FnOnce() -> u64) -> bool {
        let mut state = self.state(py);
        if !state.resent.insert(index) {
            return false;
        }
        if !self.is_by_value() {
            self.lesson.store(next_number(), Ordering::Relaxed);
        }
        state.tasks.pending.give_back(Span { start: index, len: 1 });
        true
    }

    /// The number of tasks that have no outcome yet.
    pub(super) fn unfinished(&self, py: Python<'_>) -> u64 {
        self.state(py).tasks.open()
    }

    /// Adds a listener. Returns false if it will not be called, because the job is done in a matter of microseconds.
    pub(super) fn listen(&self, py: Python<'_>, listener: Py<PyAny>) -> bool {
        let mut state = self.state(py);
        state.listeners.calls.push(listener);
        self.is_heard.store(true, Ordering::SeqCst);
        !state.listeners.are_left
    }

    /// Takes all listeners.
    pub(super) fn take_listeners(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        if !self.is_heard.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let mut state = self.state(py);
        self.is_heard.store(false, Ordering::SeqCst);
        std::mem::take(&mut state.listeners.calls)
    }

    /// Discards the results, which will not be fetched. Returns whether any was ever fetched.
    pub(super) fn discard_results(&self, py: Python<'_>) -> bool {
        let mut state = self.state(py);
        let results = std::mem::replace(&mut state.results, Results::Nowhere);
        let listeners = std::mem::take(&mut state.listeners.calls);
        let was_fetched = state.input.was_fetched();
        drop(state);
        drop((results, listeners));
        was_fetched
    }

    /// What task `index` calls, for its error: the function, its argument or arguments, the keywords, and whether the
    /// second is a tuple of arguments. None if the job is over and has dropped them.
    pub(super) fn call_of<'py>(&self, py: Python<'py>, index: u64) -> Option<CallOf<'py>> {
        Some(match self.work(py)? {
            Work::Call { function, args, kwds } => {
                (function.into_bound(py), args.into_bound(py), kwds.into_bound(py), true)
            }
            Work::Items { function, unpacks } => {
                let item = self.items(py, Span { start: index, len: 1 }).get(py, 0);
                let item = item.unwrap_or_else(|_| py.None().into_bound(py));
                (function.into_bound(py), item, PyDict::new(py).into_any(), unpacks)
            }
        })
    }

    /// Records the outcome of a task. Returns whether the job has all its outcomes now.
    pub(super) fn put(&self, py: Python<'_>, index: u64, outcome: Outcome) -> bool {
        self.record(py, index, 1, |state| state.put(py, index, outcome))
    }

    /// Records the outcomes of consecutive tasks and empties the list. Otherwise like [`put`](Self::put).
    pub(super) fn put_all(&self, py: Python<'_>, first: u64, outcomes: &mut Vec<Outcome>) -> bool {
        let complete = self.record(py, first, outcomes.len() as u64, |state| {
            let mut surplus = Vec::new();
            for (index, outcome) in (first..).zip(outcomes.drain(..)) {
                surplus.extend(state.put(py, index, outcome));
            }
            surplus
        });
        outcomes.clear();
        complete
    }

    /// Records the values of consecutive tasks. Otherwise like [`put`](Self::put).
    pub(super) fn put_words(&self, py: Python<'_>, first: u64, words: &[Word]) -> bool {
        self.record(py, first, words.len() as u64, |state| state.results.put_words(py, first, words))
    }

    /// Records that consecutive tasks have the outcomes that `put` adds to the state, unless the job was ended in the
    /// meantime. `put` returns the objects that are no longer needed.
    #[inline]
    fn record<S>(&self, py: Python<'_>, first: u64, count: u64, put: impl FnOnce(&mut State) -> S) -> bool {
        let mut dropped = Vec::new();
        let mut state = self.state(py);
        if self.is_over() {
            return false;
        }
        state.tasks.settle(count);
        if let Some(bar) = &mut state.bar {
            bar.add_done(count);
        }
        state.input.let_go(py, first, count, &mut dropped);
        let surplus = put(&mut state);
        let complete = state.is_complete();
        drop(state);
        drop((dropped, surplus));
        complete
    }
}

impl State {
    /// Adds the outcome of a task. Returns objects that are no longer needed.
    #[inline]
    fn put(&mut self, py: Python<'_>, index: u64, outcome: Outcome) -> Option<Outcome> {
        if let (Some(bar), true) = (&mut self.bar, outcome.is_err()) {
            bar.add_failed();
        }
        self.results.put(py, index, outcome)
    }

    /// Whether the job has all the outcomes that it will ever have.
    pub(super) fn is_complete(&self) -> bool {
        self.input.is_exhausted() && self.tasks.open() == 0
    }

    /// Whether a thread or a listener waits for something to fetch.
    fn is_waited_for(&self) -> bool {
        self.takers > 0 || !self.listeners.calls.is_empty()
    }

    /// Whether there is nothing to send, and will not be unless the feeder or a returned task brings it.
    pub(super) fn is_spent(&self) -> bool {
        !self.tasks.pending.has_some() && !self.input.is_pulled()
    }
}
