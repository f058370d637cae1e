//! A job of many tasks, which are added one after another, and their outcomes.
//!
//! ```text
//!   unsent ──a worker claims some──► in its queue ──they end──► outcomes ──the giver takes them──►
//! ```
//!
//! A worker claims one chunk or, if no outcome is visible before all have arrived, many chunks. In the latter case the
//! other workers see those that it has not begun, and [steal](LocalQueues::steal) from them. Tasks with a time limit
//! are claimed one at a time, because a task that is given up would take the rest of its claim along.
//!
//! The job is in the line for workers as long as it may have tasks that have not begun. A worker takes it out of the
//! line, looks for tasks, and puts it back if there are more.

use std::any::type_name;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use kettle_core::wait::Patience;

use super::chunk::Chunk;
use super::error::{TaskError, count_of};
use super::job::{Job, Refusal};
use super::result_buffer::ResultBuffer;
use super::single::run;
use super::timeouts::Limited;
use super::worker;
use super::workers::{WorkerSlot, Workers};
use crate::pool::scheduler::thread::{self, LocalQueues};
use crate::pool::scheduler::{Blocking, Chunking, Completion, JobTasks, Locking, Order, PendingTasks, Want};

/// The maximum number of tasks in a measured chunk. At this length the cost of fetching the next chunk is negligible,
/// and the queued items still fit into the processor's caches.
const LONGEST: u32 = 4096;

/// The number of pieces in which measured tasks are taken out of the local queue. Fewer pieces cost less, but tasks
/// that were taken out cannot be stolen.
const PIECES: usize = 64;

type Claim<T> = thread::Claim<(), T>;
type LocalQueue<T> = thread::LocalQueue<(), T>;

/// How the tasks of a job are to be run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) timeout: Option<Duration>,
    pub(super) chunking: Chunking,
    pub(super) order: Order,
    /// Outcomes are used only once all have arrived, so a worker may claim many chunks and deliver their outcomes
    /// together.
    pub(super) in_one: bool,
}

/// A job as its submitter sees it, independent of the closure.
pub(super) trait MapHandle<T, R>: Job {
    /// Adds items.
    fn add(self: Arc<Self>, workers: &Arc<Workers>, items: Vec<T>);
    /// Takes the next outcomes, if they are there.
    fn take(&self) -> Option<Chunk<R>>;
    /// If there was a failure, takes all outcomes that are there and returns the first failure among them.
    fn take_failure(&self) -> Option<TaskError>;
    /// Returns how many items are unsent, and how many should be, so that all workers can have long chunks.
    fn demand(&self, workers: &Workers) -> (u64, u64);
    /// The number of tasks without an outcome.
    fn open(&self) -> u64;
    /// Waits for what is wanted.
    fn wait(self: Arc<Self>, workers: &Arc<Workers>, want: Want);
    /// Records that the outcomes are no longer wanted. Tasks that have not begun are not run.
    fn forget(&self, workers: &Workers);
}

pub(super) struct MapJob<F, T, R> {
    call: F,
    timeout: Option<Duration>,
    chunking: Chunking,
    in_one: bool,
    state: Mutex<State<T, R>>,
    queues: LocalQueues<(), T>,
    completion: Completion,
    /// The outcomes are no longer wanted. Also read by workers in the middle of a chunk.
    is_over: AtomicBool,
}

struct State<T, R> {
    tasks: JobTasks,
    unsent: VecDeque<T>,
    outcomes: ResultBuffer<R>,
    want: Want,
}

impl<T, R> State<T, R> {
    fn is_satisfied(&self) -> bool {
        self.tasks.satisfy(self.want, || self.outcomes.has_next())
    }

    /// Removes all unsent tasks, and returns them with the number of the first.
    fn take_unsent(&mut self) -> (u64, VecDeque<T>) {
        let pending = &mut self.tasks.pending;
        let first = pending.count() - pending.unsent();
        pending.clear();
        (first, std::mem::take(&mut self.unsent))
    }
}

impl<F, T, R> MapJob<F, T, R> {
    pub(super) fn new(call: F, terms: Terms) -> Self {
        let Terms { timeout, order, .. } = terms;
        let chunking = if timeout.is_some() { Chunking::Fixed(1) } else { terms.chunking };
        let state = State {
            tasks: JobTasks::new(PendingTasks::new(chunking, 0).at_most(LONGEST)),
            unsent: VecDeque::new(),
            outcomes: ResultBuffer::new(order),
            want: Want::Nothing,
        };
        Self {
            call,
            timeout,
            chunking,
            in_one: terms.in_one && timeout.is_none(),
            state: Mutex::new(state),
            queues: LocalQueues::default(),
            completion: Completion::default(),
            is_over: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T, R>> {
        Blocking.lock(&self.state)
    }

    fn tell(&self, state: &State<T, R>) {
        if state.is_satisfied() {
            self.completion.finish();
        }
    }

    /// Returns whether no further task is to begin.
    fn is_over(&self, workers: &Workers) -> bool {
        self.is_over.load(Ordering::Relaxed) || workers.is_over()
    }

    /// Stores the outcomes of the tasks from `first` on.
    fn put(&self, workers: &Workers, first: u64, chunk: Chunk<R>, took: Duration) {
        if chunk.len() == 0 {
            return;
        }
        let failures = chunk.failures().len();
        workers.counts.settle(&workers.counts.done, (chunk.len() - failures) as u64);
        chunk.failures().for_each(|failure| workers.counts.settle(count_of(&workers.counts, failure), 1));
        let len = chunk.len();
        let mut state = self.state();
        state.tasks.pending.finished(len as u32, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        state.tasks.settle(len as u64);
        if failures > 0 {
            state.tasks.fail();
        }
        state.outcomes.put(first, chunk);
        self.tell(&state);
    }

    /// Moves tasks into an empty queue: unsent ones, or otherwise half of those that another worker has not begun.
    /// Returns their number.
    fn claim(&self, workers: &Workers, queue: &LocalQueue<T>, is_from_line: bool) -> usize {
        let claimed = self.queues.claim(Blocking, queue, &self.state, |mut state| {
            if is_from_line {
                state.tasks.leave_line();
            }
            let (workers, pending) = (workers.options.size, &mut state.tasks.pending);
            let span = if self.in_one { pending.claim(workers) } else { pending.take(workers) }?;
            state.tasks.sends(span);
            let items = state.unsent.drain(..span.len as usize).collect();
            self.tell(&state);
            Some(Claim::new((), span.start, items, state.tasks.pending.chunk()))
        });
        if claimed > 0 { claimed } else { self.queues.steal(Blocking, queue, |()| true) }
    }

    /// Removes all tasks that have not begun, and returns them in runs, each with the number of its first task.
    fn take_back(&self, mut state: MutexGuard<'_, State<T, R>>) -> Vec<(u64, VecDeque<T>)> {
        let unsent = state.take_unsent();
        drop(state);
        let mut taken = self.queues.with_all(Blocking, |claim| Some((claim.first(), claim.take_items())));
        taken.push(unsent);
        taken
    }
}

impl<F, T, R> MapJob<F, T, R>
where
    F: Fn(T) -> R + Send + Sync + 'static,
    T: Send + 'static,
    R: Send + 'static,
{
    /// Calls another worker if there is something for it and none was called yet.
    fn share(self: &Arc<Self>, workers: &Arc<Workers>) {
        let is_laden = self.in_one && self.queues.are_laden();
        let goes_on = {
            let mut state = self.state();
            (is_laden || state.tasks.pending.has_some()) && state.tasks.enter_line()
        };
        if goes_on {
            workers.requeue(Arc::clone(self) as Arc<dyn Job>);
        }
    }

    /// Runs some of the tasks that have not begun; returns whether there were any.
    fn do_some(self: &Arc<Self>, workers: &Arc<Workers>, slot: &Arc<WorkerSlot>, is_from_line: bool) -> bool {
        let queue = Arc::new(LocalQueue::new());
        if self.in_one {
            self.queues.add(Blocking, &queue);
        }
        let claimed = self.claim(workers, &queue, is_from_line);
        let not_done = self.work_off(workers, slot, &queue, claimed);
        if self.in_one {
            self.queues.remove(Blocking, &queue);
        }
        // Dropping this may run code of the program.
        drop(not_done);
        claimed > 0
    }

    /// Runs the tasks in a queue. Returns those that are no longer to be run.
    fn work_off(
        self: &Arc<Self>,
        workers: &Arc<Workers>,
        slot: &Arc<WorkerSlot>,
        queue: &LocalQueue<T>,
        claimed: usize,
    ) -> VecDeque<T> {
        let (mut piece, mut not_done) = (VecDeque::new(), VecDeque::new());
        let len = match self.chunking {
            Chunking::Fixed(len) => len as usize,
            Chunking::Measured => claimed.div_ceil(PIECES),
        };
        let take =
            |piece: &mut VecDeque<T>| self.queues.with(Blocking, queue, |claim| claim.pop_some(len, piece)).flatten();
        let mut next = take(&mut piece);
        if claimed > 0 {
            self.share(workers);
        }
        let mut begun = Instant::now();
        let mut kept = (next.unwrap_or_default(), Chunk::with_capacity(claimed));
        while let Some(number) = next {
            let outcomes = &mut kept.1;
            match self.timeout {
                None => self.do_piece(workers, &mut piece, outcomes),
                Some(timeout) => {
                    let job = Arc::clone(self) as Arc<dyn Job>;
                    let limited = Limited { job, number, slot: Arc::clone(slot) };
                    let limit = workers.timeouts.begin(Blocking, timeout, limited);
                    self.do_piece(workers, &mut piece, outcomes);
                    if !workers.timeouts.end(Blocking, limit) {
                        break;
                    }
                }
            }
            if self.is_over.load(Ordering::Relaxed) {
                piece.extend(self.queues.with(Blocking, queue, Claim::take_items).unwrap_or_default());
                workers.counts.settle(&workers.counts.cancelled, piece.len() as u64);
            } else {
                // Tasks are left only if the pool was terminated.
                let cancelled = || Err(TaskError::Cancelled { task: type_name::<F>() });
                piece.iter().for_each(|_| outcomes.push(cancelled()));
            }
            not_done.append(&mut piece);
            next = take(&mut piece);
            if next.is_none() || !self.in_one || outcomes.failures().len() > 0 {
                let following = (kept.0 + outcomes.len() as u64, Chunk::with_capacity(0));
                let (first, outcomes) = std::mem::replace(&mut kept, following);
                let now = Instant::now();
                self.put(workers, first, outcomes, now - begun);
                begun = now;
            }
        }
        not_done
    }

    /// Runs tasks one after another, and leaves those that are no longer to begin.
    fn do_piece(&self, workers: &Workers, piece: &mut VecDeque<T>, outcomes: &mut Chunk<R>) {
        while !piece.is_empty() && !self.is_over(workers) {
            let until_one_panics = run(|| {
                while !self.is_over(workers) {
                    let Some(item) = piece.pop_front() else { break };
                    outcomes.push(Ok((self.call)(item)));
                }
            });
            if let Err(panic) = until_one_panics {
                outcomes.push(Err(panic));
            }
        }
    }
}

impl<F, T, R> Job for MapJob<F, T, R>
where
    F: Fn(T) -> R + Send + Sync + 'static,
    T: Send + 'static,
    R: Send + 'static,
{
    fn run(self: Arc<Self>, workers: &Arc<Workers>, slot: &Arc<WorkerSlot>) {
        self.do_some(workers, slot, true);
    }

    fn refuse(&self, workers: &Workers, why: &Refusal) {
        let mut state = self.state();
        // The job is no longer in the line, so tasks that are added later are refused when they are added.
        state.tasks.leave_line();
        let refused = self.take_back(state);
        for (first, items) in &refused {
            let mut chunk = Chunk::with_capacity(0);
            items.iter().for_each(|_| chunk.push(Err(why.of(type_name::<F>()))));
            self.put(workers, *first, chunk, Duration::ZERO);
        }
    }

    fn give_up(&self, workers: &Workers, number: u64) {
        let timeout = self.timeout.unwrap_or_default();
        let mut chunk = Chunk::with_capacity(0);
        chunk.push(Err(TaskError::TimedOut { task: type_name::<F>(), timeout }));
        self.put(workers, number, chunk, timeout);
    }
}

impl<F, T, R> MapHandle<T, R> for MapJob<F, T, R>
where
    F: Fn(T) -> R + Send + Sync + 'static,
    T: Send + 'static,
    R: Send + 'static,
{
    fn add(self: Arc<Self>, workers: &Arc<Workers>, items: Vec<T>) {
        if items.is_empty() {
            return;
        }
        let count = items.len() as u64;
        workers.counts.queued.fetch_add(count, Ordering::Relaxed);
        let enters = {
            let mut state = self.state();
            state.tasks.add(count);
            state.unsent.extend(items);
            state.tasks.enter_line()
        };
        if enters {
            workers.requeue(self);
        }
    }

    fn take(&self) -> Option<Chunk<R>> {
        self.state().outcomes.take()
    }

    fn take_failure(&self) -> Option<TaskError> {
        let chunks = {
            let mut state = self.state();
            if state.tasks.has_failure() { state.outcomes.take_all() } else { Vec::new() }
        };
        chunks.into_iter().find_map(Chunk::first_failure)
    }

    fn demand(&self, workers: &Workers) -> (u64, u64) {
        let state = self.state();
        (state.tasks.pending.unsent(), state.tasks.demand(workers.options.size))
    }

    fn open(&self) -> u64 {
        self.state().tasks.open()
    }

    fn wait(self: Arc<Self>, workers: &Arc<Workers>, want: Want) {
        loop {
            {
                let mut state = self.state();
                state.want = want;
                if state.is_satisfied() {
                    return;
                }
                self.completion.begin_again();
            }
            // A task of this pool runs the tasks that have not begun itself.
            let helps = worker::slot_of(workers).is_some_and(|slot| self.do_some(workers, &slot, false));
            if !helps {
                break;
            }
        }
        // A wait without a limit does not time out.
        let _ = workers.wait(&self.completion, &Patience::forever());
    }

    fn forget(&self, workers: &Workers) {
        self.is_over.store(true, Ordering::Relaxed);
        let forgotten = self.take_back(self.state());
        let count = forgotten.iter().map(|(_, items)| items.len() as u64).sum();
        workers.counts.settle(&workers.counts.cancelled, count);
    }
}
