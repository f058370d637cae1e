//! The parent's side of a pool: sends, receives and completes, for all threads that wait.
//!
//! Three locks, each held for moments with the interpreter attached and never while Python code can run: the
//! supervisor's, the list of jobs that have something to send, and each job's own. A fourth, `step`, is held for a whole
//! round, in which Python code does run; so it is only ever tried. Whoever finds it taken leaves his work to its holder.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;

use kettle::pool::engine::{Event, Fate, Lead, Limits, Post, SeatId, Span, Supervisor, Waiter, Watch, Word};
use kettle_core::arena::Block;
use kettle_core::queue::Taken;
use kettle_core::sys::process;
use kettle_core::wait::{Deadline, Stopped};
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;

use super::desk::Desk;
use super::job::{Task, Work};
use super::ledger::{CLOSED, Ledger, RUNNING, Staff, TERMINATED, count, lock};
use super::results::Outcome;
use super::tasks;
use crate::door::wait_outside;
use crate::errors;

/// What the supervisor calls a chunk: tasks of a job, from a number on.
#[derive(Clone)]
pub(super) struct Chunk {
    task: Arc<Task>,
    start: u64,
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunk").field("job", &self.task.number).field("start", &self.start).finish()
    }
}

const SIGKILL: i32 = 9;

/// So many workers in a row may end before they are ready, until there is no hope: those that ended by themselves, which
/// the next will do too. One that was killed says little: perhaps somebody kills workers at random.
const FALSE_STARTS: usize = 3;
const KILLED_STARTS: usize = 30;

pub(super) struct Inner {
    ledger: Ledger,
    supervisor: Mutex<Supervisor<Chunk>>,
    step: Mutex<Step>,
    /// Which thread is inside a round.
    stepping: AtomicU64,
    lead: Lead,
    dismissed: AtomicBool,
    /// Each worker that ended before it was ready, since the last that was, by its weight.
    false_starts: AtomicUsize,
    /// Done once a pool that takes no more has no worker left.
    gone: Arc<Waiter>,
}

#[derive(Default)]
struct Step {
    post: Post<Chunk>,
    /// Jobs whose progress bar may have to be told.
    touched: Vec<Arc<Task>>,
}

impl Staff for Inner {
    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn submit(&self, py: Python<'_>, task: &Arc<Task>, waits: bool) -> PyResult<()> {
        self.ledger.enter(py, task)?;
        if task.state(py).is_complete() {
            // A map of nothing.
            self.complete(py, task)?;
            return Ok(());
        }
        if !waits && matches!(task.work, Work::Items { .. }) && !task.is_iterated(py) {
            // There may be much to send, and whoever hands in a map has said that it does not want to wait.
            self.make_ready(py, task);
            self.lead.call_deputy(true);
            return Ok(());
        }
        self.fed(py, task)?;
        if !waits {
            self.lead.call_deputy(task.has_callbacks(py));
        }
        Ok(())
    }

    /// And leads meanwhile if nobody else does.
    fn wait(&self, py: Python<'_>, waiter: &Arc<Waiter>, deadline: Deadline) -> PyResult<bool> {
        loop {
            if waiter.is_done() {
                return Ok(true);
            }
            self.ledger.check_home()?;
            if self.is_inside_step() {
                return Err(PyRuntimeError::new_err("a pool cannot be waited for by what it calls to send its tasks"));
            }
            if self.lead.take() {
                let result = self.lead_until(py, &|| waiter.is_done(), deadline);
                self.lead.let_go(|| self.is_busy());
                if !result? {
                    return Ok(waiter.is_done());
                }
            } else {
                let watch = self.watch(py);
                let followed = wait_outside(py, deadline, |p| self.lead.follow(waiter, || watch.kick(), p))?;
                if followed == Err(Stopped::TimedOut) {
                    return Ok(waiter.is_done());
                }
            }
        }
    }

    fn make_ready(&self, py: Python<'_>, task: &Arc<Task>) {
        self.ledger.queue(py, task);
    }

    fn fed(&self, py: Python<'_>, task: &Arc<Task>) -> PyResult<()> {
        self.make_ready(py, task);
        match self.try_step() {
            Some(step) => {
                let result = self.dispatch(py);
                self.leave_step(step);
                result?;
            }
            None => self.watch(py).kick(),
        }
        if task.timeout.is_some() {
            // Who leads must know how long it may sleep.
            self.watch(py).kick();
        }
        Ok(())
    }

    fn call_deputy(&self, urgent: bool) {
        self.lead.call_deputy(urgent);
    }

    fn cancel(&self, py: Python<'_>, task: &Arc<Task>) -> PyResult<bool> {
        if task.is_over() {
            return Ok(false);
        }
        self.take_back(py, task)?;
        lock(py, &self.supervisor).cancel(|chunk| Arc::ptr_eq(&chunk.task, task));
        self.call_deputy(true);
        Ok(true)
    }

    fn recall(&self, py: Python<'_>, task: &Arc<Task>) -> bool {
        lock(py, &self.supervisor).withdraw(|chunk| Arc::ptr_eq(&chunk.task, task))
    }
}

impl Inner {
    fn watch(&self, py: Python<'_>) -> Arc<Watch> {
        lock(py, &self.supervisor).watch()
    }

    fn try_step(&self) -> Option<MutexGuard<'_, Step>> {
        let step = match self.step.try_lock() {
            Ok(step) => step,
            Err(TryLockError::Poisoned(e)) => e.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        self.stepping.store(u64::from(process::thread_id()), Ordering::SeqCst);
        Some(step)
    }

    fn leave_step(&self, step: MutexGuard<'_, Step>) {
        self.stepping.store(0, Ordering::SeqCst);
        drop(step);
    }

    fn is_inside_step(&self) -> bool {
        self.stepping.load(Ordering::SeqCst) == u64::from(process::thread_id())
    }

    /// Leads until `enough`. False: the time is over.
    fn lead_until(&self, py: Python<'_>, enough: &dyn Fn() -> bool, deadline: Deadline) -> PyResult<bool> {
        let mut ask = false;
        loop {
            py.check_signals()?;
            let watch = self.watch(py);
            let kicks = watch.kicks();
            let moved = self.round(py, ask)?;
            if enough() {
                return Ok(true);
            }
            if moved == Some(true) {
                ask = false;
                if deadline.is_past() {
                    return Ok(false);
                }
                continue;
            }
            let due = if moved.is_none() {
                // Somebody else is inside a round, and has let go of the interpreter in the middle of it.
                Deadline::after(Duration::from_micros(200))
            } else {
                lock(py, &self.supervisor).due()
            };
            let watch = self.watch(py);
            let slept = wait_outside(py, deadline, |p| match watch.spin(kicks) {
                true => Ok(false),
                false => watch.sleep(kicks, due, p).map(|()| true),
            })?;
            match slept {
                Ok(slept) => ask = slept,
                Err(_) => {
                    self.round(py, true)?;
                    return Ok(enough());
                }
            }
        }
    }

    /// One round: receives, sends, fills seats. Says whether anything happened; None if somebody else is at it.
    fn round(&self, py: Python<'_>, ask: bool) -> PyResult<Option<bool>> {
        let Some(mut step) = self.try_step() else { return Ok(None) };
        let result = self.round_inside(py, &mut step, ask);
        self.leave_step(step);
        result.map(Some)
    }

    fn round_inside(&self, py: Python<'_>, step: &mut Step, ask: bool) -> PyResult<bool> {
        let received = self.receive(py, step, ask)?;
        if let Err(e) = self.staff(py) {
            // Those that are there go on, and it is tried again; without any nothing would ever happen.
            if lock(py, &self.supervisor).tally().workers == 0 || !e.is_instance_of::<PyException>(py) {
                return Err(e);
            }
        }
        let sent = self.dispatch(py)?;
        self.wind_up(py);
        if received || sent {
            return Ok(true);
        }
        let nothing_to_send = lock(py, &self.ledger.ready).is_empty();
        Ok(nothing_to_send && lock(py, &self.supervisor).rebalance())
    }

    /// Starts workers where some are missing.
    fn staff(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            let wanted = match self.ledger.state.load(Ordering::SeqCst) {
                RUNNING => true,
                CLOSED => self.ledger.has_work(),
                _ => false,
            };
            let opened = {
                let mut supervisor = lock(py, &self.supervisor);
                if !wanted || supervisor.vacancies() == 0 || lock(py, &self.ledger.broken).is_some() {
                    return Ok(());
                }
                supervisor.open()
            };
            let (seat, desk) = opened.map_err(errors::out_of_memory)?;
            let started = self.ledger.hooks.bind(py).call_method1(intern!(py, "start"), (seat.to_bits(), Desk(desk)));
            let pid = started.and_then(|pid| pid.extract::<u32>());
            let occupied = match pid {
                Ok(pid) => lock(py, &self.supervisor).occupy(seat, pid).map_err(PyErr::from),
                Err(e) => {
                    lock(py, &self.supervisor).abandon(seat);
                    Err(e)
                }
            };
            occupied?;
        }
    }

    /// Sends what there is room for; within a step.
    fn dispatch(&self, py: Python<'_>) -> PyResult<bool> {
        let mut sent = false;
        loop {
            let (seat, size) = {
                let supervisor = lock(py, &self.supervisor);
                (supervisor.room(), supervisor.size())
            };
            let Some(seat) = seat else { return Ok(sent) };
            let Some(task) = lock(py, &self.ledger.ready).front().cloned() else { return Ok(sent) };
            let some = !task.is_over() && task.refill(py);
            self.settle(py, &task)?;
            let span = {
                let mut state = task.state(py);
                let span = if some && !state.is_held { state.agenda.take(size) } else { None };
                match span {
                    Some(_) => state.was_sent = true,
                    None => state.is_ready = false,
                }
                span
            };
            let Some(span) = span else {
                self.ledger.set_aside(py, &task);
                continue;
            };
            match self.send(py, seat, &task, span) {
                Ok(()) => sent = true,
                Err(e) if e.is_instance_of::<PyException>(py) => self.refuse(py, &task, span, e)?,
                Err(e) => {
                    // Ctrl-C, which is no error of these tasks.
                    task.state(py).agenda.give_back(span);
                    return Err(e);
                }
            }
        }
    }

    fn send(&self, py: Python<'_>, seat: SeatId, task: &Arc<Task>, span: Span) -> PyResult<()> {
        let chunk = Chunk { task: Arc::clone(task), start: span.start };
        let sent = |load: kettle::pool::engine::Load<'_>| {
            let mut supervisor = lock(py, &self.supervisor);
            supervisor.send(seat, chunk, span.len, task.timeout, load).map_err(errors::out_of_memory)
        };
        match &task.work {
            Work::Call { function, args, kwds } => {
                let triple = (function, args, kwds).into_pyobject(py)?;
                tasks::with_pickle(triple.as_any(), tasks::CALL, 0, task.is_by_value(), sent)
            }
            Work::Items { function, unpacks } => {
                let (lesson, by_value) = (task.lesson.load(Ordering::Relaxed), task.is_by_value());
                if !lock(py, &self.supervisor).knows(seat, lesson) {
                    self.teach(py, seat, lesson, by_value, function, *unpacks)?;
                }
                let items = task.items(py, span);
                tasks::with_items(py, lesson, by_value, span.len as usize, |i| items.get(py, i), sent)
            }
        }
    }

    fn teach(
        &self,
        py: Python<'_>,
        seat: SeatId,
        lesson: u64,
        by_value: bool,
        function: &Py<PyAny>,
        unpacks: bool,
    ) -> PyResult<()> {
        let over = {
            let live = lock(py, &self.ledger.live);
            let live: Vec<u64> = live.values().map(|task| task.lesson.load(Ordering::Relaxed)).collect();
            lock(py, &self.supervisor).forget(seat, |lesson| !live.contains(&lesson))
        };
        if !over.is_empty() {
            let bytes: Vec<u8> = over.iter().flat_map(|job| job.to_ne_bytes()).collect();
            tasks::with_bytes(tasks::FORGET, 0, &bytes, |load| {
                lock(py, &self.supervisor).note(seat, load).map_err(errors::out_of_memory)
            })?;
        }
        let pair = (function, unpacks).into_pyobject(py)?;
        tasks::with_pickle(pair.as_any(), tasks::JOB, lesson, by_value, |load| {
            lock(py, &self.supervisor).teach(seat, lesson, load).map_err(errors::out_of_memory)
        })
    }

    /// These tasks could not be sent. If they are several, it may be one of them: each is tried alone.
    fn refuse(&self, py: Python<'_>, task: &Arc<Task>, span: Span, e: PyErr) -> PyResult<()> {
        if span.len > 1 {
            let mut state = task.state(py);
            for i in (0..span.len).rev() {
                state.agenda.give_back(Span { start: span.start + u64::from(i), len: 1 });
            }
            return Ok(());
        }
        self.put(py, task, span.start, Err(e.into_value(py).into_any()))
    }

    /// Collects what the workers report. Says whether anything was there.
    fn receive(&self, py: Python<'_>, step: &mut Step, ask: bool) -> PyResult<bool> {
        lock(py, &self.supervisor).sweep(&mut step.post, ask);
        let received = !step.post.events.is_empty();
        let bytes = std::mem::take(&mut step.post.bytes);
        let words = std::mem::take(&mut step.post.words);
        let mut events = std::mem::take(&mut step.post.events);
        let mut result = Ok(());
        for event in events.drain(..) {
            // What one of them raises must not cost the others.
            let outcome = self.handle(py, step, event, &bytes, &words);
            result = result.and(outcome);
        }
        step.post.bytes = bytes;
        step.post.words = words;
        step.post.events = events;
        for task in step.touched.drain(..) {
            result = result.and(task.tell_bar(py, false));
        }
        result.map(|()| received)
    }

    fn handle(
        &self,
        py: Python<'_>,
        step: &mut Step,
        event: Event<Chunk>,
        bytes: &[u8],
        words: &[Word],
    ) -> PyResult<()> {
        match event {
            Event::Words { work: Chunk { task, start }, from, at } => {
                if task.is_over() {
                    return Ok(());
                }
                self.touch(py, step, &task);
                self.ledger.counts.done.fetch_add(at.len() as u64, Ordering::Relaxed);
                let complete = task.put_words(py, start + u64::from(from), &words[at])?;
                self.has_put(py, &task, complete)
            }
            Event::Outcome { work: Chunk { task, start }, task: index, taken, at, .. } => {
                if task.is_over() {
                    return Ok(());
                }
                let index = start + u64::from(index);
                if taken.tag == tasks::UNFOUND && task.resend_by_value(py, index, || self.ledger.next_number()) {
                    self.make_ready(py, &task);
                    return Ok(());
                }
                let outcome = self.outcome(py, taken, &bytes[at]);
                self.touch(py, step, &task);
                self.put(py, &task, index, outcome)
            }
            Event::Finished { work, len, took } => {
                work.task.state(py).agenda.finished(len, took);
                Ok(())
            }
            Event::Undone { work: Chunk { task, start }, from, len } => {
                if !task.is_over() && from < len {
                    let span = Span { start: start + u64::from(from), len: len - from };
                    task.state(py).agenda.give_back(span);
                    self.make_ready(py, &task);
                }
                Ok(())
            }
            Event::Note { seat, taken, at, .. } => self.told(py, seat, taken, &bytes[at]),
            Event::Ended { seat, pid, fate, early, victim } => self.ended(py, seat, pid, fate, early, victim),
        }
    }

    /// Its progress bar, if it has one, may have to be told.
    fn touch(&self, py: Python<'_>, step: &mut Step, task: &Arc<Task>) {
        if task.has_bar(py) && !step.touched.iter().any(|t| Arc::ptr_eq(t, task)) {
            step.touched.push(Arc::clone(task));
        }
    }

    fn outcome(&self, py: Python<'_>, taken: Taken<Block>, inline: &[u8]) -> Outcome {
        if matches!(taken.tag, tasks::ERROR | tasks::UNFOUND) {
            return Err(self.unpack(py, &taken, inline));
        }
        match tasks::object(py, taken, inline, 0) {
            Ok(value) => Ok(value.unbind()),
            Err(e) => Err(e.into_value(py).into_any()),
        }
    }

    fn unpack(&self, py: Python<'_>, taken: &Taken<Block>, inline: &[u8]) -> Py<PyAny> {
        let unpacked = self.ledger.hooks.bind(py).call_method1(intern!(py, "unpack"), (tasks::body(taken, inline),));
        unpacked.map_or_else(|e| e.into_value(py).into_any(), Bound::unbind)
    }

    fn told(&self, py: Python<'_>, seat: SeatId, taken: Taken<Block>, inline: &[u8]) -> PyResult<()> {
        if taken.tag == tasks::READY {
            self.false_starts.store(0, Ordering::SeqCst);
            lock(py, &self.supervisor).is_ready(seat);
            return Ok(());
        }
        let error = self.unpack(py, &taken, inline);
        self.fail_all(py, error)
    }

    fn ended(
        &self,
        py: Python<'_>,
        seat: SeatId,
        pid: u32,
        fate: Fate,
        early: bool,
        victim: Option<(Chunk, u32)>,
    ) -> PyResult<()> {
        let hooks = self.ledger.hooks.bind(py);
        // It reaps the process and says how it ended.
        let end = hooks.call_method1(intern!(py, "ended"), (seat.to_bits(), pid, fate_name(fate)))?;
        if fate == Fate::Died && early && self.ledger.state.load(Ordering::SeqCst) != TERMINATED {
            let exitcode: Option<i32> = end.getattr(intern!(py, "exitcode"))?.extract()?;
            let weight = if exitcode == Some(-SIGKILL) { 1 } else { KILLED_STARTS / FALSE_STARTS };
            if self.false_starts.fetch_add(weight, Ordering::SeqCst) + weight >= KILLED_STARTS {
                let error = hooks.call_method1(intern!(py, "false_start"), (end,))?;
                return self.fail_all(py, error.unbind());
            }
            return Ok(());
        }
        let Some((Chunk { task, start }, index)) = victim else { return Ok(()) };
        let index = start + u64::from(index);
        if task.is_over() {
            return Ok(());
        }
        let died = matches!(fate, Fate::Died | Fate::Memory);
        if died {
            count(&self.ledger.counts.died);
            if task.state(py).agenda.died(index) {
                count(&self.ledger.counts.retried);
                self.make_ready(py, &task);
                return Ok(());
            }
        }
        let (function, args, kwds, is_tuple) = task.call_of(py, index);
        let timeout = task.timeout.map(|t| t.as_secs_f64());
        if fate == Fate::TimedOut {
            count(&self.ledger.counts.timed_out);
        }
        let error = hooks.call_method1(intern!(py, "lost"), (end, function, args, kwds, is_tuple, timeout));
        self.put(py, &task, index, Err(error.map_or_else(|e| e.into_value(py).into_any(), Bound::unbind)))
    }

    /// Ends all jobs because of this error, and takes no more.
    fn fail_all(&self, py: Python<'_>, error: Py<PyAny>) -> PyResult<()> {
        self.break_with(py, error)?;
        lock(py, &self.supervisor).end_all();
        Ok(())
    }

    /// One worker more, if none is free and there are not so many yet. Says whether there may be more still.
    fn hire(&self, py: Python<'_>, most: usize) -> PyResult<bool> {
        let size = {
            let mut supervisor = lock(py, &self.supervisor);
            if supervisor.size() >= most || supervisor.has_idle() {
                return Ok(supervisor.size() < most);
            }
            supervisor.grow();
            supervisor.size()
        };
        if self.round(py, false)?.is_none() {
            self.watch(py).kick();
        }
        Ok(size < most)
    }

    /// Has the workers leave once a closed pool has nothing to do, and tells those who wait for the last of them.
    fn wind_up(&self, py: Python<'_>) {
        let state = self.ledger.state.load(Ordering::SeqCst);
        if state == RUNNING || (state == CLOSED && self.ledger.has_work()) {
            return;
        }
        let mut supervisor = lock(py, &self.supervisor);
        if state == CLOSED && !self.dismissed.swap(true, Ordering::SeqCst) {
            supervisor.dismiss();
        }
        if supervisor.is_deserted() {
            drop(supervisor);
            // Raised, it came to know frames that know the pool; and it is not asked for any more.
            let broken = lock(py, &self.ledger.broken).take();
            self.gone.finish();
            drop(broken);
        }
    }

    /// Whether there is a reason for somebody to lead.
    fn is_busy(&self) -> bool {
        self.ledger.has_work()
            || (self.ledger.state.load(Ordering::SeqCst) != RUNNING && !self.gone.is_done())
            || self.sees_off()
    }

    /// Whether a worker is to be killed if it does not go by itself.
    fn sees_off(&self) -> bool {
        self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).is_ending_some()
    }

    /// Leads when nobody else does, until the pool is over.
    fn deputise(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            let watch = self.watch(py);
            let stood_in = wait_outside(py, Deadline::NEVER, |p| {
                let p = p.no_later_than(Deadline::after(PATROL));
                match self.lead.stand_in(|| self.is_busy(), || self.gone.is_done(), &p) {
                    // Idle workers may have died: the pool shall be full when it is needed.
                    Err(_) if !watch.any_ended() => None,
                    Err(_) => Some(self.lead.take().then_some(())),
                    Ok(called) => Some(called),
                }
            })?;
            match stood_in {
                None => continue,
                Some(None) if self.gone.is_done() => return Ok(()),
                Some(None) => continue,
                Some(Some(())) => {}
            }
            let enough = || self.lead.is_wanted() || !self.is_busy();
            let led = self.lead_until(py, &enough, Deadline::NEVER);
            self.lead.let_go(|| self.is_busy());
            if let Err(e) = led {
                // No worker could be started, say: nobody else would tell those who wait.
                self.fail_all(py, e.into_value(py).into_any())?;
            }
        }
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if !self.ledger.close() {
            return Ok(());
        }
        self.lift_all(py);
        self.round(py, false)?;
        self.lead.call_deputy(false);
        self.watch(py).kick();
        Ok(())
    }

    fn terminate(&self, py: Python<'_>, at_once: bool) -> PyResult<()> {
        if !self.ledger.terminate() {
            return Ok(());
        }
        let ended = self.cancel_all(py);
        {
            let mut supervisor = lock(py, &self.supervisor);
            supervisor.end_all();
            if at_once {
                supervisor.kill_all();
            }
        }
        if self.is_inside_step() {
            // Called by something that a round runs: the round goes on to see them off.
            return ended;
        }
        self.wait(py, &self.gone, Deadline::after(TERMINATE_WITHIN))?;
        ended
    }
}

/// How often it is looked whether idle workers still live.
const PATROL: Duration = Duration::from_millis(200);
/// Workers that were sent SIGKILL are gone in milliseconds, unless the kernel cannot let them go.
const TERMINATE_WITHIN: Duration = Duration::from_secs(5);

/// The parent's side of a pool.
#[pyclass(frozen, module = "kettle._native", name = "PoolCrew")]
pub(crate) struct Crew {
    inner: Arc<Inner>,
}

impl Crew {
    pub(super) fn as_staff(&self) -> Arc<dyn Staff> {
        Arc::clone(&self.inner) as Arc<dyn Staff>
    }
}

#[pymethods]
impl Crew {
    #[new]
    #[pyo3(signature = (hooks, workers, *, chunks=None, memory=None))]
    fn new(hooks: Py<PyAny>, workers: usize, chunks: Option<u32>, memory: Option<u64>) -> PyResult<Self> {
        let supervisor = Supervisor::new(Limits { workers, chunks, memory })?;
        Ok(Self {
            inner: Arc::new_cyclic(|me: &Weak<Inner>| Inner {
                ledger: Ledger::new(hooks, me.clone()),
                supervisor: Mutex::new(supervisor),
                step: Mutex::new(Step::default()),
                stepping: AtomicU64::new(0),
                lead: Lead::default(),
                dismissed: AtomicBool::new(false),
                false_starts: AtomicUsize::new(0),
                gone: Arc::new(Waiter::default()),
            }),
        })
    }

    /// Starts the workers that are missing. Raises what starting one of them raised.
    fn staff(&self, py: Python<'_>) -> PyResult<()> {
        let inner = &self.inner;
        let Some(mut step) = inner.try_step() else { return Ok(()) };
        let staffed = inner.receive(py, &mut step, true).and_then(|_| inner.staff(py));
        inner.leave_step(step);
        staffed
    }

    /// Leads when nobody else does, until the pool is over: for a thread of its own.
    fn deputise(&self, py: Python<'_>) -> PyResult<()> {
        self.inner.deputise(py)
    }

    /// No more jobs are taken in; the workers leave when those that are there are done.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.inner.close(py)
    }

    /// Ends all workers, and with them all jobs; `at_once`: without asking them first.
    #[pyo3(signature = (*, at_once=false))]
    fn terminate(&self, py: Python<'_>, at_once: bool) -> PyResult<()> {
        self.inner.terminate(py, at_once)
    }

    /// Of a pool that takes no more: waits until the last worker has left. False: the time is over.
    #[pyo3(signature = (timeout=None))]
    fn join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let inner = &self.inner;
        inner.ledger.check_home()?;
        inner.wait(py, &inner.gone, crate::door::deadline(true, timeout))
    }

    /// Starts one worker more, if none is free and there are not so many yet. Says whether there may be more still.
    fn hire(&self, py: Python<'_>, most: usize) -> PyResult<bool> {
        self.inner.hire(py, most)
    }

    /// Cancels all calls that no worker has begun, and of imaps all that was not sent to one.
    fn withdraw_all(&self, py: Python<'_>) -> PyResult<()> {
        self.inner.withdraw_all(py)
    }

    /// Ends all workers; others take their place. What they were at is over, what they had not begun is done by others.
    fn kill_workers(&self, py: Python<'_>) {
        lock(py, &self.inner.supervisor).end_all();
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
        let tally = lock(py, &self.inner.supervisor).tally();
        self.inner.ledger.statistics(py, tally.workers as u64, tally.busy as u64)
    }
}

fn fate_name(fate: Fate) -> &'static str {
    match fate {
        Fate::Died => "died",
        Fate::TimedOut => "timeout",
        Fate::Cancelled => "cancelled",
        Fate::Memory => "memory",
    }
}
