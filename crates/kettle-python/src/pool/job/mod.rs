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
//! | `input` | the items: their source, how far ahead they are pulled, how long they are kept |
//! | `results` | the outcomes, until they are fetched |
//! | `progress` | the progress bar |
//! | `unasked` | errors that are never asked for |
//! | `handle` | the Python object that represents a job |
//! | `leavings` | the function and arguments of a job that is over |

mod handle;
mod input;
mod leavings;
mod progress;
mod results;
mod unasked;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kettle::pool::scheduler::process::Word;
use kettle::pool::scheduler::{Completion, PendingTasks, Span};
use kettle_core::wait::EventCount;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

pub(crate) use handle::PoolJob;
pub(super) use input::SpanItems;
pub(super) use leavings::Leavings;
pub(super) use results::Outcome;

use super::locking::lock;
use input::Input;
use progress::Bar;
use results::Results;
use unasked::Unasked;

/// A job as its pool sees it.
pub(super) struct Job {
    pub(super) number: u64,
    /// The number under which workers know its function. It changes when the function is sent by value.
    pub(super) lesson: AtomicU64,
    /// Whether this is a single call, not a map or an imap.
    pub(super) is_call: bool,
    /// The pool method that created a job of many items; empty for a call.
    pub(super) method: &'static str,
    pub(super) timeout: Option<Duration>,
    /// Whether this is an imap: threads may wait for any of its outcomes, not only for all of them.
    pub(super) is_iterated: bool,
    pub(super) completion: Arc<Completion>,
    callbacks: Mutex<Option<Callbacks>>,
    /// Where the feeder of an imap waits for room.
    room: EventCount,
    /// Set when the job is over: it has all the outcomes that it will ever have.
    over: AtomicBool,
    /// Whether there are listeners. It is read without the lock, which is taken only if there are some. It is set
    /// before a listener checks whether the job is done, and read after the job was marked done.
    is_heard: AtomicBool,
    unasked: Unasked,
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

/// Callbacks for the value and for the error.
pub(super) struct Callbacks {
    pub(super) value: Option<Py<PyAny>>,
    pub(super) error: Option<Py<PyAny>>,
    /// Threads that wait for a cancelled job do not wait for its callback too.
    pub(super) lets_go_of_cancelled: bool,
}

pub(super) struct State {
    /// None once the job is over and has dropped it.
    pub(super) work: Option<Work>,
    pub(super) pending: PendingTasks,
    pub(super) input: Input,
    results: Results,
    /// The number of tasks that have an outcome.
    done: u64,
    /// Whether the job is in the queue of jobs with tasks to send.
    pub(super) is_ready: bool,
    pub(super) was_sent: bool,
    /// The tasks that were sent again, by value.
    resent: HashSet<u64>,
    pub(super) cancelled: bool,
    /// Whether sending is suspended: the job is being cancelled; or an imap has returned an error, and it is not known
    /// yet whether the loop that received it continues.
    pub(super) is_held: bool,
    /// The number of threads that wait for something to fetch.
    takers: u32,
    listeners: Vec<Py<PyAny>>,
    /// See [`Job::take_leave`].
    is_left: bool,
    bar: Option<Bar>,
}

impl Job {
    /// Creates a job that no pool knows yet.
    fn new(
        number: u64,
        method: &'static str,
        work: Work,
        (pending, input, results): (PendingTasks, Input, Results),
        timeout: Option<Duration>,
        callbacks: Option<Callbacks>,
        bar: Option<Bar>,
    ) -> Self {
        Self {
            number,
            lesson: AtomicU64::new(number),
            is_call: matches!(work, Work::Call { .. }),
            method,
            timeout,
            is_iterated: results.is_iterated(),
            completion: Arc::new(Completion::default()),
            callbacks: Mutex::new(callbacks),
            room: EventCount::new(),
            over: AtomicBool::new(false),
            is_heard: AtomicBool::new(false),
            unasked: Unasked::default(),
            state: Mutex::new(State {
                work: Some(work),
                pending,
                input,
                results,
                done: 0,
                is_ready: false,
                was_sent: false,
                resent: HashSet::new(),
                cancelled: false,
                is_held: false,
                takers: 0,
                listeners: Vec::new(),
                is_left: false,
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

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Marks the job as over. Returns false if it was over already.
    pub(super) fn end(&self) -> bool {
        !self.over.swap(true, Ordering::SeqCst)
    }

    pub(super) fn take_callbacks(&self, py: Python<'_>) -> Option<Callbacks> {
        lock(py, &self.callbacks).take()
    }

    /// Sets the callbacks for the end of the job. Returns false if it is over. The end takes the callbacks after it has
    /// marked the job as over, and this function checks the mark while it holds the lock on them.
    pub(super) fn add_callbacks(&self, py: Python<'_>, callbacks: Callbacks) -> bool {
        let mut place = lock(py, &self.callbacks);
        let adds = !self.is_over();
        if adds {
            *place = Some(callbacks);
        }
        adds
    }

    pub(super) fn has_callbacks(&self, py: Python<'_>) -> bool {
        lock(py, &self.callbacks).is_some()
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
        state.is_left = state.listeners.is_empty();
        state.is_left
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
        state.pending.give_back(Span { start: index, len: 1 });
        true
    }

    /// The number of tasks that have no outcome yet.
    pub(super) fn unfinished(&self, py: Python<'_>) -> u64 {
        let state = self.state(py);
        state.pending.count() - state.done
    }

    /// Adds a listener. Returns false if it will not be called, because the job is done in a matter of microseconds.
    pub(super) fn listen(&self, py: Python<'_>, listener: Py<PyAny>) -> bool {
        let mut state = self.state(py);
        state.listeners.push(listener);
        self.is_heard.store(true, Ordering::SeqCst);
        !state.is_left
    }

    /// Takes all listeners.
    pub(super) fn take_listeners(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        if !self.is_heard.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let mut state = self.state(py);
        self.is_heard.store(false, Ordering::SeqCst);
        std::mem::take(&mut state.listeners)
    }

    /// Discards the results, which will not be fetched. Returns whether any was ever fetched.
    pub(super) fn discard_results(&self, py: Python<'_>) -> bool {
        let mut state = self.state(py);
        let results = std::mem::replace(&mut state.results, Results::Nowhere);
        let listeners = std::mem::take(&mut state.listeners);
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
        let mut dropped = Vec::new();
        let mut state = self.state(py);
        if self.is_over() {
            // The job was ended in the meantime.
            drop(state);
            drop(outcome);
            return false;
        }
        let failed = outcome.is_err();
        if let (Some(bar), true) = (&mut state.bar, failed) {
            bar.add_failed();
        }
        state.has_done(py, index, 1, &mut dropped);
        let surplus = state.results.put(py, index, outcome);
        let complete = state.is_complete();
        drop(state);
        drop((dropped, surplus));
        complete
    }

    /// Records the outcomes of consecutive tasks and empties the list. Otherwise like [`put`](Self::put).
    pub(super) fn put_all(&self, py: Python<'_>, first: u64, outcomes: &mut Vec<Outcome>) -> bool {
        let mut dropped = Vec::new();
        let mut surplus = Vec::new();
        let mut state = self.state(py);
        if self.is_over() {
            // The job was ended in the meantime.
            drop(state);
            outcomes.clear();
            return false;
        }
        state.has_done(py, first, outcomes.len() as u64, &mut dropped);
        for (index, outcome) in (first..).zip(outcomes.drain(..)) {
            if let (Some(bar), true) = (&mut state.bar, outcome.is_err()) {
                bar.add_failed();
            }
            surplus.extend(state.results.put(py, index, outcome));
        }
        let complete = state.is_complete();
        drop(state);
        drop((dropped, surplus));
        complete
    }

    /// Records the values of consecutive tasks. Otherwise like [`put`](Self::put).
    pub(super) fn put_words(&self, py: Python<'_>, first: u64, words: &[Word]) -> bool {
        let mut dropped = Vec::new();
        let mut state = self.state(py);
        if self.is_over() {
            // The job was ended in the meantime.
            return false;
        }
        state.has_done(py, first, words.len() as u64, &mut dropped);
        state.results.put_words(py, first, words);
        let complete = state.is_complete();
        drop(state);
        drop(dropped);
        complete
    }
}

impl State {
    /// Records that the tasks from `first` on have an outcome.
    fn has_done(&mut self, py: Python<'_>, first: u64, count: u64, dropped: &mut Vec<Py<PyAny>>) {
        self.done += count;
        if let Some(bar) = &mut self.bar {
            bar.add_done(count);
        }
        self.input.let_go(py, first, count, dropped);
    }

    /// Whether the job has all the outcomes that it will ever have.
    pub(super) fn is_complete(&self) -> bool {
        self.input.is_exhausted() && self.done == self.pending.count()
    }

    /// Whether a thread or a listener waits for something to fetch.
    fn is_waited_for(&self) -> bool {
        self.takers > 0 || !self.listeners.is_empty()
    }

    /// Whether there is nothing to send, and will not be unless the feeder or a returned task brings it.
    pub(super) fn is_spent(&self) -> bool {
        !self.pending.has_some() && !self.input.is_pulled()
    }
}
