//! A round of a pool: receives outcomes, starts missing workers, sends tasks.
//!
//! Python code runs within a round, so its lock is only ever tried: a thread that finds it taken leaves the work to the
//! holder. That code may be a signal handler that waits for this very pool, or may call one that does; its thread,
//! which holds the lock, then runs rounds nested within the round. What the outer round has received and not yet
//! handled is in the inbox, where the nested rounds find it. What the outer round is handling at that moment is out of
//! their reach, and waiting for it is an error.

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

/// The poll interval of a wait inside a round: a leader may use the same doorbell and consume its ring.
const INNER_NAP: Duration = Duration::from_millis(2);

/// The working storage of a round.
#[derive(Default)]
pub(super) struct Step {
    pub(super) post: Post<Chunk>,
    /// Jobs whose progress bar may need an update.
    pub(super) touched: Vec<Arc<Job>>,
}

/// What was received and not handled yet, and what is being handled, for a round and those nested in it together. Only
/// the thread that holds the lock of the round changes it.
#[derive(Default)]
pub(super) struct Desktop {
    inbox: VecDeque<Batch>,
    in_hand: Vec<Arc<Job>>,
}

/// What one collection from the workers returned.
struct Batch {
    events: VecDeque<Event<Chunk>>,
    bodies: Arc<Bodies>,
}

/// The data that the events of a batch refer to.
pub(super) struct Bodies {
    pub(super) bytes: Vec<u8>,
    pub(super) words: Vec<Word>,
}

/// The lock of a round, held by this thread.
pub(super) struct Stepping<'c> {
    step: Step,
    /// Where the storage is kept between rounds; None for a nested round.
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

/// While this exists, the thread is handling something that belongs to a job.
pub(super) struct InHand<'c> {
    crew: &'c Processes,
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        // The entries of nested rounds are gone, so this one is the last. It is dropped after the lock is released.
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

    /// Moves the events of the post to the inbox.
    pub(super) fn take_in(&self, py: Python<'_>, post: &mut Post<Chunk>) {
        if post.events.is_empty() {
            return;
        }
        let bodies = Bodies { bytes: std::mem::take(&mut post.bytes), words: std::mem::take(&mut post.words) };
        let events = VecDeque::from(std::mem::take(&mut post.events));
        lock(py, &self.desktop).inbox.push_back(Batch { events, bodies: Arc::new(bodies) });
    }

    /// The next event to handle, which refers to the `bodies` of its batch. The buffers of an exhausted batch go back
    /// to the `post` for reuse.
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

    /// Marks something of a job as being handled until the result is dropped.
    pub(super) fn takes_in_hand(&self, py: Python<'_>, job: &Arc<Job>) -> InHand<'_> {
        lock(py, &self.desktop).in_hand.push(Arc::clone(job));
        InHand { crew: self }
    }

    /// Whether this thread, inside a round, would wait for something that it is handling itself.
    fn has_in_hand(&self, py: Python<'_>, completion: &Arc<Completion>) -> bool {
        let is_for_all = Arc::ptr_eq(completion, &self.gone);
        let desktop = lock(py, &self.desktop);
        desktop.in_hand.iter().any(|job| !job.is_over() && is_for_all || Arc::ptr_eq(&job.completion, completion))
    }

    /// Waits, inside a round, until `completion` is done. Returns false on timeout. When waiting for the pool's
    /// workers, also returns false once only those are left that this thread is about to start, which leave as soon as
    /// they run.
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
                // Whatever ended the wait, the loop checks again.
                let _ = wait_outside_until_signal(py, deadline, |p| watch.sleep(kicks, due, p));
            }
        }
    }

    /// Whether a pool that accepts no more jobs has no workers except those that are being started.
    fn is_left_to_starts(&self, py: Python<'_>) -> bool {
        !self.ledger.needs_workers()
            && lock(py, &self.supervisor).is_deserted_but_for(self.starts.load(Ordering::SeqCst))
    }

    pub(super) fn is_inside_step(&self) -> bool {
        self.stepping.load(Ordering::SeqCst) == u64::from(process::thread_id())
    }

    /// Runs one round: receives, starts workers, sends. Returns whether anything happened, or None if another thread is
    /// inside a round.
    pub(super) fn round(&self, py: Python<'_>, ask: bool) -> PyResult<Option<bool>> {
        let Some(mut step) = self.try_step() else { return Ok(None) };
        self.round_inside(py, &mut step, ask).map(Some)
    }

    fn round_inside(&self, py: Python<'_>, step: &mut Step, ask: bool) -> PyResult<bool> {
        if self.has_panicked.swap(false, Ordering::SeqCst) {
            // What that thread had received may be lost with it, and a thread would wait for it for ever.
            let text = "a thread panicked while it worked for this pool, and results may be lost; make a new pool";
            self.fail_all(py, PyRuntimeError::new_err(text).into_value(py).into_any())?;
        }
        let received = self.receive(py, step, ask)?;
        // A terminated pool goes on in any case, to see its workers end.
        if !self.ledger.lifecycle.is_terminated() {
            errors::check()?;
        }
        if let Err(e) = self.staff(py) {
            // The remaining workers continue, and the start is retried. Without any worker nothing would ever happen.
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
