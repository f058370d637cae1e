//! A crew of threads: each takes tasks from the jobs by itself, calls them, and puts their outcomes.
//!
//! ```text
//!               takes a task                 nothing comes for some microseconds
//!   at work ◄───────────────── searching ──────────────────────────────────────► asleep
//!      └───── nothing to do ──────▲ ▲──────────────────── woken ────────────────────┘
//! ```
//!
//! Who brings work wakes a sleeper only if nobody searches, and a searcher that takes a task wakes the next if there is
//! more. So short tasks are done by one worker without anybody being woken for them, and as soon as tasks take longer
//! than it takes to wake a worker, all are at work.
//!
//! Where one thread at a time has the interpreter, it is never handed over for nothing: who waits for a job calls a
//! worker only after letting go of the interpreter, and a worker that has nothing more to do lets go of it before it
//! says that the job is over.
//!
//! A thread cannot be ended. A task that takes too long gets its outcome, a `TaskTimeout`, from the thread that watches
//! the time; its worker then belongs to the crew no more, another one is hired, and it leaves when its task ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use kettle::pool::engine::{Span, Waiter};
use kettle_core::sys::process;
use kettle_core::wait::{Deadline, EventCount, Scope, spin_until};
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::job::{SpanItems, Task, Work};
use super::ledger::{CLOSED, Ledger, RUNNING, Staff, TERMINATED, count, lock};
use super::results::Outcome;
use super::worker::{as_dict, as_tuple};
use crate::door::{deadline, wait_outside};
use crate::methods::calls;

pub(super) struct Inner {
    ledger: Ledger,
    /// How often workers were called: one that has looked for work in vain waits until this moves on.
    calls: AtomicU32,
    /// There is work of which no worker was told, since who brought it is about to wait for it.
    untold: AtomicBool,
    searching: AtomicUsize,
    asleep: EventCount,
    /// Held by whoever pulls items from an iterator, so that they keep their order.
    pulling: Mutex<()>,
    present: AtomicUsize,
    busy: AtomicUsize,
    limited: Limited,
    /// Done once a pool that takes no more has no worker left.
    gone: Arc<Waiter>,
    me: Weak<Inner>,
}

/// The running tasks that may take only so long.
#[derive(Default)]
struct Limited {
    tasks: Mutex<HashMap<u64, Running>>,
    numbers: AtomicU64,
    /// When whoever watches will look next.
    next_look: AtomicU64,
    changed: EventCount,
    is_watched: AtomicBool,
}

struct Running {
    task: Arc<Task>,
    index: u64,
    due: Deadline,
    thread: u32,
}

/// The interpreter is offered to others so often, also where the tasks are functions that never would.
const TURN: Duration = Duration::from_millis(5);

impl Staff for Inner {
    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn submit(&self, py: Python<'_>, task: &Arc<Task>, waits: bool) -> PyResult<()> {
        if task.timeout.is_some() && !self.limited.is_watched.swap(true, Ordering::SeqCst) {
            self.ledger.hooks.bind(py).call_method1(intern!(py, "watch"), (self.handle()?,))?;
        }
        self.ledger.enter(py, task)?;
        if task.state(py).is_complete() {
            // A map of nothing.
            return self.complete(py, task);
        }
        if waits {
            self.ledger.queue(py, task);
            self.untold.store(true, Ordering::SeqCst);
        } else {
            self.make_ready(py, task);
        }
        Ok(())
    }

    fn wait(&self, py: Python<'_>, waiter: &Arc<Waiter>, deadline: Deadline) -> PyResult<bool> {
        if waiter.is_done() {
            return Ok(true);
        }
        self.ledger.check_home()?;
        let waited = wait_outside(py, deadline, |patience| {
            if self.untold.swap(false, Ordering::SeqCst) {
                self.call();
            }
            waiter.wait(patience)
        })?;
        Ok(waited.is_ok() || waiter.is_done())
    }

    fn make_ready(&self, py: Python<'_>, task: &Arc<Task>) {
        self.ledger.queue(py, task);
        self.call();
    }

    fn fed(&self, py: Python<'_>, task: &Arc<Task>) -> PyResult<()> {
        self.make_ready(py, task);
        Ok(())
    }

    /// Workers need nobody to lead them.
    fn call_deputy(&self, _: bool) {}

    /// What runs goes on. A call that runs cannot be taken back; what a map or an imap has not begun can.
    fn cancel(&self, py: Python<'_>, task: &Arc<Task>) -> PyResult<bool> {
        if matches!(task.work, Work::Call { .. }) {
            return Ok(!task.is_over() && self.withdraw(py, task)?);
        }
        if task.is_over() {
            return Ok(false);
        }
        self.take_back(py, task)?;
        Ok(true)
    }

    /// What a worker has it has begun.
    fn recall(&self, _: Python<'_>, _: &Arc<Task>) -> bool {
        false
    }

    fn strike_off(&self) {
        self.ledger.outstanding.fetch_sub(1, Ordering::SeqCst);
        if self.ledger.state.load(Ordering::SeqCst) != RUNNING {
            self.call_all();
        }
    }
}

/// What comes of a span.
enum Done {
    /// Its tasks have their outcomes. Somebody waits for a job that is over now, and has not been woken yet.
    All(Option<Arc<Waiter>>),
    /// A task was given up while it ran, and its worker with it.
    GivenUp,
}

impl Inner {
    /// Calls a worker.
    fn call(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        // A searcher looks at `calls` after it has stopped to be one.
        if self.searching.load(Ordering::SeqCst) == 0 {
            self.asleep.notify_one(Scope::Private);
        }
    }

    fn call_all(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.asleep.notify_all(Scope::Private);
    }

    fn has_called_since(&self, seen: u32) -> bool {
        self.calls.load(Ordering::SeqCst) != seen
    }

    /// Whether workers are to leave.
    fn is_over(&self, py: Python<'_>) -> bool {
        match self.ledger.state.load(Ordering::SeqCst) {
            TERMINATED => true,
            CLOSED => !self.ledger.has_work(),
            _ => lock(py, &self.ledger.broken).is_some(),
        }
    }

    /// The life of a worker.
    fn work(&self, py: Python<'_>) -> PyResult<()> {
        let mut turn = Instant::now();
        let mut searches = true;
        self.searching.fetch_add(1, Ordering::SeqCst);
        let mut unfinished: Option<Arc<Waiter>> = None;
        let given_up = loop {
            let seen = self.calls.load(Ordering::SeqCst);
            let Some((task, span)) = self.next(py)? else {
                if self.is_over(py) {
                    break false;
                }
                if !std::mem::replace(&mut searches, true) {
                    self.searching.fetch_add(1, Ordering::SeqCst);
                }
                let finished = unfinished.take();
                wait_outside(py, Deadline::NEVER, |patience| {
                    if let Some(waiter) = finished {
                        waiter.finish();
                    }
                    if spin_until(|| self.has_called_since(seen)) {
                        return;
                    }
                    self.searching.fetch_sub(1, Ordering::SeqCst);
                    let look = || self.has_called_since(seen).then_some(());
                    // However it ended, the loop looks again.
                    let _ = self.asleep.wait_for(patience, Scope::Private, look, || None);
                    self.searching.fetch_add(1, Ordering::SeqCst);
                })?;
                turn = Instant::now();
                continue;
            };
            if let Some(waiter) = unfinished.take() {
                waiter.finish();
            }
            if std::mem::replace(&mut searches, false) {
                self.searching.fetch_sub(1, Ordering::SeqCst);
                if !lock(py, &self.ledger.ready).is_empty() {
                    self.call();
                }
            }
            match self.work_off(py, &task, span, &mut turn)? {
                Done::All(waiter) => unfinished = waiter,
                Done::GivenUp => break true,
            }
        };
        if searches {
            self.searching.fetch_sub(1, Ordering::SeqCst);
        }
        if let Some(waiter) = unfinished {
            waiter.finish();
        }
        if !given_up {
            self.leave();
        }
        Ok(())
    }

    /// A worker is not there any more.
    fn leave(&self) {
        if self.present.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.wind_up();
        }
    }

    /// Tells those who wait for the last worker, if a pool that takes no more has none.
    fn wind_up(&self) {
        if self.present.load(Ordering::SeqCst) == 0 && self.ledger.state.load(Ordering::SeqCst) != RUNNING {
            self.gone.finish();
            self.limited.changed.notify_all(Scope::Private);
        }
    }

    /// What is to be done next.
    fn next(&self, py: Python<'_>) -> PyResult<Option<(Arc<Task>, Span)>> {
        loop {
            let Some(task) = lock(py, &self.ledger.ready).front().cloned() else { return Ok(None) };
            if let Some(span) = self.take(py, &task) {
                return Ok(Some((task, span)));
            }
            if !task.is_over() && task.is_pulled(py) {
                let refilled = {
                    let _pulling = lock(py, &self.pulling);
                    task.refill(py)
                };
                self.settle(py, &task)?;
                if refilled {
                    continue;
                }
            }
            let was_ready = {
                let mut state = task.state(py);
                (state.is_held || !state.agenda.has_some()) && std::mem::take(&mut state.is_ready)
            };
            if was_ready {
                self.ledger.set_aside(py, &task);
            }
        }
    }

    /// Some tasks of a job, and no more than one if it may be given up in the middle of it.
    fn take(&self, py: Python<'_>, task: &Arc<Task>) -> Option<Span> {
        let mut state = task.state(py);
        if state.is_held {
            return None;
        }
        let mut span = state.agenda.take(self.present.load(Ordering::Relaxed))?;
        if task.timeout.is_some() && span.len > 1 {
            state.agenda.give_back(Span { start: span.start + 1, len: span.len - 1 });
            span.len = 1;
        }
        state.was_sent = true;
        let is_spent = !state.agenda.has_some() && !state.is_pulled();
        if is_spent && std::mem::take(&mut state.is_ready) {
            drop(state);
            self.ledger.set_aside(py, task);
        }
        Some(span)
    }

    fn work_off(&self, py: Python<'_>, task: &Arc<Task>, span: Span, turn: &mut Instant) -> PyResult<Done> {
        let items = match task.work {
            Work::Call { .. } => SpanItems::Taken(Vec::new()),
            Work::Items { .. } => task.items(py, span),
        };
        let begun = Instant::now();
        let mut now = begun;
        let mut unfinished = None;
        for place in 0..span.len {
            if task.is_over() {
                // It was cancelled.
                break;
            }
            if now - *turn > TURN {
                py.detach(|| ());
                *turn = Instant::now();
            }
            let index = span.start + u64::from(place);
            let number = task.timeout.map(|timeout| self.limited.begin(py, task, index, timeout));
            self.busy.fetch_add(1, Ordering::Relaxed);
            let outcome = self.outcome(py, task, &items, place);
            if number.is_some_and(|number| !self.limited.end(py, number)) {
                return Ok(Done::GivenUp);
            }
            self.busy.fetch_sub(1, Ordering::Relaxed);
            now = Instant::now();
            if place + 1 == span.len {
                task.state(py).agenda.finished(span.len, u64::try_from((now - begun).as_nanos()).unwrap_or(u64::MAX));
            }
            if task.is_over() {
                break;
            }
            let counts = &self.ledger.counts;
            count(if outcome.is_ok() { &counts.done } else { &counts.failed });
            if !task.put(py, index, outcome) {
                self.has_put(py, task, false)?;
            } else if task.end() && self.conclude(py, task)? {
                self.strike_off();
                if task.take_leave(py) {
                    unfinished = Some(Arc::clone(&task.waiter));
                } else {
                    task.waiter.finish();
                    self.tell(py, task);
                }
            }
        }
        task.tell_bar(py, false)?;
        Ok(Done::All(unfinished))
    }

    /// Does one task.
    fn outcome(&self, py: Python<'_>, task: &Task, items: &SpanItems, place: u32) -> Outcome {
        let result = match &task.work {
            Work::Call { function, args, kwds } => as_tuple(args.bind(py).clone()).and_then(|args| {
                let kwds = as_dict(kwds.bind(py).clone())?;
                calls::call_with(function.bind(py), &args, &kwds)
            }),
            Work::Items { function, unpacks } => items.get(py, place as usize).and_then(|item| match unpacks {
                false => calls::call_one(function.bind(py), &item),
                true => calls::call_with(function.bind(py), &as_tuple(item)?, &PyDict::new(py)),
            }),
        };
        match result {
            Ok(value) => Ok(value.unbind()),
            Err(e) if e.is_instance_of::<PyException>(py) => Err(e.into_value(py).into_any()),
            Err(e) => {
                // What would end the program, were it raised there.
                let raised = self.ledger.hooks.bind(py).call_method1(intern!(py, "raised"), (e.into_value(py),));
                Err(raised.map_or_else(|e| e.into_value(py).into_any(), Bound::unbind))
            }
        }
    }

    /// For Python.
    fn handle(&self) -> PyResult<ThreadCrew> {
        let inner = self.me.upgrade().ok_or_else(|| PyRuntimeError::new_err("the pool is gone"))?;
        Ok(ThreadCrew { inner })
    }

    /// One more worker, which is about to start. False: the crew takes no more.
    fn expect(&self) -> bool {
        self.present.fetch_add(1, Ordering::SeqCst);
        let is_wanted = match self.ledger.state.load(Ordering::SeqCst) {
            TERMINATED => false,
            CLOSED => self.ledger.has_work(),
            _ => true,
        };
        if !is_wanted {
            self.leave();
        }
        is_wanted
    }

    fn start(&self, py: Python<'_>) -> PyResult<()> {
        if self.expect() {
            let started = self.ledger.hooks.bind(py).call_method1(intern!(py, "start"), (self.handle()?,));
            started.map(drop).inspect_err(|_| self.leave())
        } else {
            Ok(())
        }
    }

    /// Gives up on tasks that take too long, until the crew is gone.
    fn watch(&self, py: Python<'_>) -> PyResult<()> {
        while !self.gone.is_done() {
            let next = self.limited.next_due(py);
            let _ = wait_outside(py, Deadline::NEVER, |patience| {
                let look = || {
                    let is_sooner = self.limited.next_look.load(Ordering::SeqCst) < next.as_nanos();
                    (is_sooner || self.gone.is_done()).then_some(())
                };
                self.limited.changed.wait_for(&patience.no_later_than(next), Scope::Private, look, || None)
            })?;
            for late in self.limited.late(py) {
                self.busy.fetch_sub(1, Ordering::Relaxed);
                self.give_up_on(py, &late)?;
                self.start(py)?;
                self.leave();
            }
        }
        Ok(())
    }

    fn give_up_on(&self, py: Python<'_>, late: &Running) -> PyResult<()> {
        let task = &late.task;
        if task.is_over() {
            return Ok(());
        }
        count(&self.ledger.counts.timed_out);
        let (function, args, kwds, is_tuple) = task.call_of(py, late.index);
        let timeout = task.timeout.map(|t| t.as_secs_f64());
        let hooks = self.ledger.hooks.bind(py);
        let error = hooks.call_method1(intern!(py, "late"), (late.thread, function, args, kwds, is_tuple, timeout));
        self.put(py, task, late.index, Err(error.map_or_else(|e| e.into_value(py).into_any(), Bound::unbind)))
    }
}

impl Limited {
    fn begin(&self, py: Python<'_>, task: &Arc<Task>, index: u64, timeout: Duration) -> u64 {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let due = Deadline::after(timeout);
        lock(py, &self.tasks)
            .insert(number, Running { task: Arc::clone(task), index, due, thread: process::thread_id() });
        if due.as_nanos() < self.next_look.fetch_min(due.as_nanos(), Ordering::SeqCst) {
            self.changed.notify_all(Scope::Private);
        }
        number
    }

    /// Says whether the task had not been given up.
    fn end(&self, py: Python<'_>, number: u64) -> bool {
        let ended = lock(py, &self.tasks).remove(&number);
        ended.is_some()
    }

    /// When to look next. What begins later and is due sooner says so.
    fn next_due(&self, py: Python<'_>) -> Deadline {
        let tasks = lock(py, &self.tasks);
        let next = tasks.values().map(|running| running.due).min().unwrap_or(Deadline::NEVER);
        self.next_look.store(next.as_nanos(), Ordering::SeqCst);
        next
    }

    /// Takes those whose time is over.
    fn late(&self, py: Python<'_>) -> Vec<Running> {
        let mut tasks = lock(py, &self.tasks);
        let late: Vec<u64> = tasks.iter().filter(|(_, r)| r.due.is_past()).map(|(number, _)| *number).collect();
        late.iter().filter_map(|number| tasks.remove(number)).collect()
    }
}

/// Worker threads, and what they are to do.
#[pyclass(frozen, module = "kettle._native", name = "ThreadCrew")]
pub(crate) struct ThreadCrew {
    inner: Arc<Inner>,
}

impl ThreadCrew {
    pub(super) fn as_staff(&self) -> Arc<dyn Staff> {
        Arc::clone(&self.inner) as Arc<dyn Staff>
    }
}

#[pymethods]
impl ThreadCrew {
    #[new]
    fn new(hooks: Py<PyAny>) -> Self {
        let inner = Arc::new_cyclic(|me: &Weak<Inner>| Inner {
            ledger: Ledger::new(hooks, me.clone()),
            calls: AtomicU32::new(0),
            untold: AtomicBool::new(false),
            searching: AtomicUsize::new(0),
            asleep: EventCount::new(),
            pulling: Mutex::new(()),
            present: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            limited: Limited::default(),
            gone: Arc::new(Waiter::default()),
            me: me.clone(),
        });
        Self { inner }
    }

    /// Starts one worker more.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        self.inner.start(py)
    }

    /// Starts one worker more, if none is free for one task more and there are not so many yet.
    fn hire(&self, py: Python<'_>, most: usize) -> PyResult<()> {
        let inner = &self.inner;
        let present = inner.present.load(Ordering::SeqCst);
        let free = present.saturating_sub(inner.busy.load(Ordering::SeqCst));
        if present < most && free <= lock(py, &inner.ledger.ready).len() {
            return inner.start(py);
        }
        Ok(())
    }

    /// Works until there will be nothing more to do: for a thread that was started.
    fn work(&self, py: Python<'_>) -> PyResult<()> {
        self.inner.work(py)
    }

    /// A worker could not begin, because of this error.
    fn refuse(&self, py: Python<'_>, error: Py<PyAny>) -> PyResult<()> {
        let broken = self.inner.break_with(py, error);
        self.inner.call_all();
        self.inner.leave();
        broken
    }

    /// Gives up on tasks that take too long, until the pool is over: for a thread of its own.
    fn watch(&self, py: Python<'_>) -> PyResult<()> {
        self.inner.watch(py)
    }

    /// No more jobs are taken in; the workers leave when those that are there are done.
    fn close(&self, py: Python<'_>) {
        let inner = &self.inner;
        if inner.ledger.close() {
            inner.lift_all(py);
            inner.call_all();
            inner.wind_up();
        }
    }

    /// Ends all jobs; the workers leave when the tasks that they are at have ended.
    fn terminate(&self, py: Python<'_>) -> PyResult<()> {
        let inner = &self.inner;
        if !inner.ledger.terminate() {
            return Ok(());
        }
        let cancelled = inner.cancel_all(py);
        inner.call_all();
        inner.wind_up();
        cancelled
    }

    /// Of a pool that takes no more: waits until the last worker has left. False: the time is over.
    #[pyo3(signature = (timeout=None))]
    fn join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.inner.wait(py, &self.inner.gone, deadline(true, timeout))
    }

    /// Cancels all that no worker has begun.
    fn withdraw_all(&self, py: Python<'_>) -> PyResult<()> {
        self.inner.withdraw_all(py)
    }

    /// "RUN", "CLOSE" or "TERMINATE".
    #[getter]
    fn state(&self) -> &'static str {
        self.inner.ledger.state_name()
    }

    /// Raises what broke the pool, if something did, or that it belongs to another process.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.inner.ledger.check(py)
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let of = |counter: &AtomicUsize| counter.load(Ordering::Relaxed) as u64;
        self.inner.ledger.statistics(py, of(&self.inner.present), of(&self.inner.busy))
    }
}
