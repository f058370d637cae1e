//! Tasks that are given one after another, and what comes of them.
//!
//! ```text
//!   unsent ──a worker takes some──► in its hands ──they end──► outcomes ──the giver takes them──►
//! ```
//!
//! They go to and fro in chunks. Those that have a time limit travel alone, for one that is given up would take the
//! others along.

use std::any::type_name;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kettle_core::wait::Patience;

use super::chunk::Chunk;
use super::crew::{Crew, Seat};
use super::error::TaskError;
use super::job::{Job, Refusal};
use super::single::run;
use super::worker;
use crate::pool::engine::{Agenda, Chunking, Waiter};

/// No measured chunk has more tasks: by then it costs a worker next to nothing to fetch another, and what lies ready stays
/// small enough to be in the processor's caches.
const LONGEST: u32 = 4096;

/// What the one who gives the tasks waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Nothing,
    /// Outcomes that can be taken.
    Some,
    /// That fewer than so many tasks are unsent, or nothing is to be waited for; or the first failure.
    Room(u64),
}

/// In which order outcomes are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    OfTasks,
    OfArrival,
}

/// How the tasks of a flow are to be run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) timeout: Option<Duration>,
    pub(super) chunking: Chunking,
    pub(super) order: Order,
}

/// A flow as its giver sees it: whatever is done with the items.
pub(super) trait Feed<T, R>: Job {
    /// Gives it items.
    fn add(self: Arc<Self>, crew: &Arc<Crew>, items: Vec<T>);
    /// The outcomes that are there and next.
    fn take(&self) -> Option<Chunk<R>>;
    /// If there was a failure, takes all outcomes that are there, and gives the first failure of them.
    fn take_failure(&self) -> Option<TaskError>;
    /// How many items wait, and how many should, so that all workers can have long chunks.
    fn appetite(&self, crew: &Crew) -> (u64, u64);
    /// So many have no outcome.
    fn open(&self) -> u64;
    /// Waits for something.
    fn wait(self: Arc<Self>, crew: &Arc<Crew>, want: Want);
    /// Nobody wants its outcomes any more. What was not begun is not.
    fn forget(&self, crew: &Crew);
}

pub(super) struct Flow<F, T, R> {
    call: F,
    timeout: Option<Duration>,
    state: Mutex<State<T, R>>,
    waiter: Waiter,
    /// Also in the state; for those who are in the middle of a chunk.
    is_over: AtomicBool,
}

struct State<T, R> {
    agenda: Agenda,
    unsent: VecDeque<T>,
    outcomes: Outcomes<R>,
    /// So many have no outcome.
    open: u64,
    has_failure: bool,
    /// The longest chunk so far.
    longest: u32,
    is_in_line: bool,
    want: Want,
}

enum Outcomes<R> {
    /// By the number of the first task of each chunk; and that of the task whose outcome is next.
    InOrder(BTreeMap<u64, Chunk<R>>, u64),
    ByArrival(VecDeque<Chunk<R>>),
}

impl<R> Outcomes<R> {
    fn put(&mut self, start: u64, chunk: Chunk<R>) {
        match self {
            Self::InOrder(chunks, _) => _ = chunks.insert(start, chunk),
            Self::ByArrival(chunks) => chunks.push_back(chunk),
        }
    }

    fn has_next(&self) -> bool {
        match self {
            Self::InOrder(chunks, next) => chunks.first_key_value().is_some_and(|(start, _)| start == next),
            Self::ByArrival(chunks) => !chunks.is_empty(),
        }
    }

    fn take(&mut self) -> Option<Chunk<R>> {
        if !self.has_next() {
            return None;
        }
        match self {
            Self::InOrder(chunks, next) => {
                let (_, chunk) = chunks.pop_first()?;
                *next += chunk.len() as u64;
                Some(chunk)
            }
            Self::ByArrival(chunks) => chunks.pop_front(),
        }
    }

    fn take_all(&mut self) -> Vec<Chunk<R>> {
        match self {
            Self::InOrder(chunks, _) => std::mem::take(chunks).into_values().collect(),
            Self::ByArrival(chunks) => std::mem::take(chunks).into(),
        }
    }
}

impl<T, R> State<T, R> {
    fn is_satisfied(&self) -> bool {
        match self.want {
            Want::Nothing => false,
            Want::Some => self.outcomes.has_next(),
            Want::Room(low) => self.open == 0 || self.has_failure || self.agenda.unsent() < low,
        }
    }

    /// The number of the first that is unsent, and all of them. None will be sent.
    fn take_unsent(&mut self) -> (u64, VecDeque<T>) {
        let start = self.agenda.count() - self.agenda.unsent();
        self.agenda.clear();
        (start, std::mem::take(&mut self.unsent))
    }
}

impl<F, T, R> Flow<F, T, R> {
    pub(super) fn new(call: F, terms: Terms) -> Self {
        let chunking = if terms.timeout.is_some() { Chunking::Fixed(1) } else { terms.chunking };
        let outcomes = match terms.order {
            Order::OfTasks => Outcomes::InOrder(BTreeMap::new(), 0),
            Order::OfArrival => Outcomes::ByArrival(VecDeque::new()),
        };
        let state = State {
            agenda: Agenda::new(chunking, 0).at_most(LONGEST),
            unsent: VecDeque::new(),
            outcomes,
            open: 0,
            has_failure: false,
            longest: 0,
            is_in_line: false,
            want: Want::Nothing,
        };
        let (waiter, is_over) = (Waiter::default(), AtomicBool::new(false));
        Self { call, timeout: terms.timeout, state: Mutex::new(state), waiter, is_over }
    }

    fn state(&self) -> MutexGuard<'_, State<T, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, state: &State<T, R>) {
        if state.is_satisfied() {
            self.waiter.finish();
        }
    }

    /// The outcomes of the tasks from `start` on.
    fn put(&self, crew: &Crew, start: u64, chunk: Chunk<R>, took: Duration) {
        let failures = chunk.failures().len();
        crew.counts.settle(&crew.counts.done, (chunk.len() - failures) as u64);
        chunk.failures().for_each(|failure| crew.counts.settle(crew.counts.of(failure), 1));
        let len = chunk.len();
        let mut state = self.state();
        state.agenda.finished(len as u32, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        state.open -= len as u64;
        state.has_failure |= failures > 0;
        state.outcomes.put(start, chunk);
        self.tell(&state);
    }

    /// Some tasks: the number of the first, and the items.
    fn take_some(&self, crew: &Crew, is_from_line: bool) -> Option<(u64, Vec<T>, bool)> {
        let mut state = self.state();
        let span = state.agenda.take(crew.plan.size);
        let goes_on = is_from_line && state.agenda.has_some();
        if is_from_line {
            state.is_in_line = goes_on;
        }
        let span = span?;
        state.longest = state.longest.max(span.len);
        let items = state.unsent.drain(..span.len as usize).collect();
        self.tell(&state);
        Some((span.start, items, goes_on))
    }
}

impl<F, T, R> Flow<F, T, R>
where
    F: Fn(T) -> R + Send + Sync + 'static,
    T: Send + 'static,
    R: Send + 'static,
{
    fn do_some(self: &Arc<Self>, crew: &Arc<Crew>, seat: &Arc<Seat>, start: u64, items: Vec<T>) {
        let len = items.len();
        let mut outcomes = Chunk::with_capacity(len);
        let begun = Instant::now();
        for (number, item) in (start..).zip(items) {
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            if crew.is_terminated() {
                outcomes.push(Err(TaskError::Cancelled { task: type_name::<F>() }));
                continue;
            }
            let limit = self.timeout.map(|timeout| {
                let job: Arc<dyn Job> = Arc::clone(self) as Arc<dyn Job>;
                crew.limits.begin(job, number, timeout, seat)
            });
            let outcome = run(|| (self.call)(item));
            if limit.is_some_and(|limit| !crew.limits.end(limit)) {
                return;
            }
            outcomes.push(outcome);
        }
        let left = (len - outcomes.len()) as u64;
        crew.counts.settle(&crew.counts.cancelled, left);
        self.put(crew, start, outcomes, begun.elapsed());
    }
}

impl<F, T, R> Job for Flow<F, T, R>
where
    F: Fn(T) -> R + Send + Sync + 'static,
    T: Send + 'static,
    R: Send + 'static,
{
    fn run(self: Arc<Self>, crew: &Arc<Crew>, seat: &Arc<Seat>) {
        let Some((start, items, goes_on)) = self.take_some(crew, true) else { return };
        if goes_on {
            crew.go_on(Arc::clone(&self) as Arc<dyn Job>);
        }
        self.do_some(crew, seat, start, items);
    }

    fn refuse(&self, crew: &Crew, why: &Refusal) {
        let (start, items) = {
            let mut state = self.state();
            // It does not stand there any more, so what comes later finds out by itself.
            state.is_in_line = false;
            state.take_unsent()
        };
        let mut chunk = Chunk::with_capacity(0);
        items.iter().for_each(|_| chunk.push(Err(why.of(type_name::<F>()))));
        if chunk.len() > 0 {
            self.put(crew, start, chunk, Duration::ZERO);
        }
    }

    fn give_up(&self, crew: &Crew, number: u64) {
        let timeout = self.timeout.unwrap_or_default();
        let mut chunk = Chunk::with_capacity(0);
        chunk.push(Err(TaskError::TimedOut { task: type_name::<F>(), timeout }));
        self.put(crew, number, chunk, timeout);
    }
}

impl<F, T, R> Feed<T, R> for Flow<F, T, R>
where
    F: Fn(T) -> R + Send + Sync + 'static,
    T: Send + 'static,
    R: Send + 'static,
{
    fn add(self: Arc<Self>, crew: &Arc<Crew>, items: Vec<T>) {
        if items.is_empty() {
            return;
        }
        let count = items.len() as u64;
        crew.counts.queued.fetch_add(count, Ordering::Relaxed);
        let was_in_line = {
            let mut state = self.state();
            state.open += count;
            state.agenda.extend(count);
            state.unsent.extend(items);
            std::mem::replace(&mut state.is_in_line, true)
        };
        if !was_in_line {
            crew.go_on(self);
        }
    }

    fn take(&self) -> Option<Chunk<R>> {
        self.state().outcomes.take()
    }

    fn take_failure(&self) -> Option<TaskError> {
        let chunks = {
            let mut state = self.state();
            if state.has_failure { state.outcomes.take_all() } else { Vec::new() }
        };
        chunks.into_iter().find_map(Chunk::first_failure)
    }

    fn appetite(&self, crew: &Crew) -> (u64, u64) {
        let state = self.state();
        (state.agenda.unsent(), 4 * crew.plan.size as u64 * u64::from(state.longest))
    }

    fn open(&self) -> u64 {
        self.state().open
    }

    fn wait(self: Arc<Self>, crew: &Arc<Crew>, want: Want) {
        loop {
            {
                let mut state = self.state();
                state.want = want;
                if state.is_satisfied() {
                    return;
                }
                self.waiter.begin_again();
            }
            // A task of this pool does itself what nobody has begun.
            let some = worker::seat_of(crew).and_then(|seat| Some((seat, self.take_some(crew, false)?)));
            let Some((seat, (start, items, _))) = some else { break };
            self.do_some(crew, &seat, start, items);
        }
        // Who waits without a limit is not told that the time is over.
        let _ = crew.wait(&self.waiter, &Patience::forever());
    }

    fn forget(&self, crew: &Crew) {
        self.is_over.store(true, Ordering::Relaxed);
        let (_, items) = self.state().take_unsent();
        crew.counts.settle(&crew.counts.cancelled, items.len() as u64);
    }
}
