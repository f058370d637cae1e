//! A round of a pool: receives, starts workers where some are missing, sends.
//!
//! Python code runs within a round, so its lock is only ever tried: a thread that finds it taken leaves the work to its holder.
//! That code may be a signal handler which waits for this very pool, or it may call one that does: then its thread, which
//! holds the lock, goes through rounds within the round. What the outer one has received and not handled yet stands in
//! the inbox, where the inner ones find it. What it has in hand at that moment they cannot have, and who would wait for
//! that is told so.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use kettle::pool::scheduler::Completion;
use kettle::pool::scheduler::process::{Event, Post, Word};
use kettle_core::sys::process;
use kettle_core::wait::Deadline;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;

use super::{Chunk, Processes};
use crate::door::wait_outside_until_signal;
use crate::errors;
use crate::pool::job::Job;
use crate::pool::locking::lock;

/// How long a thread inside of a round sleeps at a time: a leader may use the same doorbell, and answer it.
const INNER_NAP: Duration = Duration::from_millis(2);

/// What a round works with.
#[derive(Default)]
pub(super) struct Step {
    pub(super) post: Post<Chunk>,
    /// Jobs whose progress bar may have to be told.
    pub(super) touched: Vec<Arc<Job>>,
}

/// What was received and is not handled yet, and what is in hand; of rounds within each other together. Only the thread
/// that holds the lock of the round changes it.
#[derive(Default)]
pub(super) struct Desktop {
    inbox: VecDeque<Batch>,
    in_hand: Vec<Arc<Job>>,
}

/// What one look at the workers brought.
struct Batch {
    events: VecDeque<Event<Chunk>>,
    bodies: Arc<Bodies>,
}

/// What the events of a batch refer to.
pub(super) struct Bodies {
    pub(super) bytes: Vec<u8>,
    pub(super) words: Vec<Word>,
}

/// The lock of a round, held by this thread.
pub(super) struct Stepping<'c> {
    step: Step,
    /// Where it is kept between rounds; None for a round within a round.
    place: Option<MutexGuard<'c, Step>>,
    crew: &'c Processes,
}

impl Deref for Stepping<'_> {
    type Target = Step;

    fn deref(&self) -> &Step {
        &self.step
    }
}

impl DerefMut for Stepping<'_> {
    fn deref_mut(&mut self) -> &mut Step {
        &mut self.step
    }
}

impl Drop for Stepping<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.crew.has_panicked.store(true, Ordering::SeqCst);
        }
        if let Some(place) = &mut self.place {
            **place = std::mem::take(&mut self.step);
            self.crew.stepping.store(0, Ordering::SeqCst);
        }
    }
}

/// Says, until it is dropped, that this thread has something of a job in hand.
pub(super) struct InHand<'c> {
    crew: &'c Processes,
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        // Those that the inner rounds had in hand are gone: it is the last. Dropped when the lock is free again.
        let job = self.crew.desktop.lock().unwrap_or_else(PoisonError::into_inner).in_hand.pop();
        drop(job);
    }
}

impl Processes {
    pub(super) fn try_step(&self) -> Option<Stepping<'_>> {
        let mut place = match self.step.try_lock() {
            Ok(place) => place,
            Err(TryLockError::Poisoned(e)) => e.into_inner(),
            Err(TryLockError::WouldBlock) if self.is_inside_step() => {
                return Some(Stepping { step: Step::default(), place: None, crew: self });
            }
            Err(TryLockError::WouldBlock) => return None,
        };
        self.stepping.store(u64::from(process::thread_id()), Ordering::SeqCst);
        Some(Stepping { step: std::mem::take(&mut *place), place: Some(place), crew: self })
    }

    /// Puts what the post has into the inbox.
    pub(super) fn take_in(&self, py: Python<'_>, post: &mut Post<Chunk>) {
        if post.events.is_empty() {
            return;
        }
        let bodies = Bodies { bytes: std::mem::take(&mut post.bytes), words: std::mem::take(&mut post.words) };
        let events = VecDeque::from(std::mem::take(&mut post.events));
        lock(py, &self.desktop).inbox.push_back(Batch { events, bodies: Arc::new(bodies) });
    }

    /// The next event that is to be handled, which refers to the `bodies` of its batch. What a batch was kept in that has
    /// no more is used again by the `post`.
    pub(super) fn next_event(
        &self,
        py: Python<'_>,
        post: &mut Post<Chunk>,
        bodies: &mut Option<Arc<Bodies>>,
    ) -> Option<Event<Chunk>> {
        let mut desktop = lock(py, &self.desktop);
        loop {
            let batch = desktop.inbox.front_mut()?;
            if let Some(event) = batch.events.pop_front() {
                if !bodies.as_ref().is_some_and(|same| Arc::ptr_eq(same, &batch.bodies)) {
                    *bodies = Some(Arc::clone(&batch.bodies));
                }
                return Some(event);
            }
            let Batch { events, bodies: used } = desktop.inbox.pop_front()?;
            *bodies = None;
            if let Some(Bodies { bytes, words }) = Arc::into_inner(used) {
                post.bytes = bytes;
                post.words = words;
                post.events = events.into();
            }
        }
    }

    /// Something of a job is in hand, until the result is dropped.
    pub(super) fn takes_in_hand(&self, py: Python<'_>, job: &Arc<Job>) -> InHand<'_> {
        lock(py, &self.desktop).in_hand.push(Arc::clone(job));
        InHand { crew: self }
    }

    /// Whether this thread, inside of a round, would wait for what it has in hand itself.
    fn has_in_hand(&self, py: Python<'_>, completion: &Arc<Completion>) -> bool {
        let is_for_all = Arc::ptr_eq(completion, &self.gone);
        let desktop = lock(py, &self.desktop);
        desktop.in_hand.iter().any(|job| !job.is_over() && is_for_all || Arc::ptr_eq(&job.completion, completion))
    }

    /// Waits, inside of a round, until `completion` is done. False: the time is over; or, of a pool's workers, all have left but
    /// those that this thread is about to start, which will leave as soon as they are there.
    pub(super) fn wait_inside_step(
        &self,
        py: Python<'_>,
        completion: &Arc<Completion>,
        deadline: Deadline,
    ) -> PyResult<bool> {
        loop {
            if completion.is_done() {
                return Ok(true);
            }
            if self.has_in_hand(py, completion) {
                return Err(PyRuntimeError::new_err(
                    "a signal handler, or what a pool calls to send or to rebuild an object, cannot wait for the task of \
                     which that is a part: it would wait for itself",
                ));
            }
            py.check_signals()?;
            let kicks = self.watch(py).kicks();
            let moved = self.round(py, true)?;
            let is_last = Arc::ptr_eq(completion, &self.gone) && self.is_left_to_starts(py);
            if completion.is_done() || is_last || deadline.is_past() {
                return Ok(completion.is_done());
            }
            if moved != Some(true) {
                let (watch, due) = (self.watch(py), Deadline::after(INNER_NAP));
                // However it ended, the loop looks again.
                let _ = wait_outside_until_signal(py, deadline, |p| watch.sleep(kicks, due, p));
            }
        }
    }

    /// Whether a pool that takes no more has no workers but those that are being started.
    fn is_left_to_starts(&self, py: Python<'_>) -> bool {
        !self.ledger.needs_workers()
            && lock(py, &self.supervisor).is_deserted_but_for(self.starts.load(Ordering::SeqCst))
    }

    pub(super) fn is_inside_step(&self) -> bool {
        self.stepping.load(Ordering::SeqCst) == u64::from(process::thread_id())
    }

    /// One round: receives, sends, fills seats. Says whether anything happened; None if somebody else is at it.
    pub(super) fn round(&self, py: Python<'_>, ask: bool) -> PyResult<Option<bool>> {
        let Some(mut step) = self.try_step() else { return Ok(None) };
        self.round_inside(py, &mut step, ask).map(Some)
    }

    fn round_inside(&self, py: Python<'_>, step: &mut Step, ask: bool) -> PyResult<bool> {
        if self.has_panicked.swap(false, Ordering::SeqCst) {
            // What that thread had received may be lost with it, and somebody would wait for it for ever.
            let text = "a thread panicked while it worked for this pool, and results may be lost; make a new pool";
            self.fail_all(py, PyRuntimeError::new_err(text).into_value(py).into_any())?;
        }
        let received = self.receive(py, step, ask)?;
        // Those that are to end are seen off also then.
        if !self.ledger.lifecycle.is_terminated() {
            errors::check()?;
        }
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
}
