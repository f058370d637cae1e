//! The tasks that a worker has claimed and not begun.
//!
//! ```text
//!            claim                      next                  end
//!  pending ─────────► in a local queue ──────► being done ─────────► outcome
//!                          └──▲ steal
//! ```
//!
//! All workers of a job contend for its state. A worker therefore claims tasks for a few hundred microseconds at once,
//! and in between accesses only its own queue, in a cache line of its own. This delays no task: an idle worker can
//! steal tasks that another one has claimed and not begun.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::locking::Locking;

/// The front's data on tasks that were claimed together, such as their job.
pub trait Context {
    /// Returns the data for those of the tasks that another worker steals.
    fn for_thief(&self) -> Self;
}

impl Context for () {
    fn for_thief(&self) -> Self {}
}

/// Consecutive tasks of one job that were not begun.
#[derive(Debug)]
pub struct Claim<C, T> {
    /// See [`Context`].
    pub context: C,
    /// The number of the first task of the first chunk.
    start: u64,
    /// The number of the first task that is left.
    next: u64,
    items: VecDeque<T>,
    /// The number of tasks that stay together.
    chunk: u64,
}

/// The claim of one worker. It is aligned to two cache lines, because processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub struct LocalQueue<C, T>(Mutex<Contents<C, T>>);

#[derive(Debug)]
struct Contents<C, T> {
    claim: Option<Claim<C, T>>,
    /// Whether there is something to steal.
    is_laden: bool,
}

/// The queues of all workers that steal tasks from each other.
#[derive(Debug)]
pub struct LocalQueues<C, T> {
    all: Mutex<Vec<Arc<LocalQueue<C, T>>>>,
    /// The number of queues that have something to steal.
    laden: AtomicUsize,
}

impl<C, T> Claim<C, T> {
    /// Creates a claim of tasks numbered from `first`, with these items, in chunks of `chunk`.
    pub fn new(context: C, first: u64, items: VecDeque<T>, chunk: u32) -> Self {
        Self { context, start: first, next: first, items, chunk: u64::from(chunk.max(1)) }
    }

    /// The number of the first task that is left.
    pub fn first(&self) -> u64 {
        self.next
    }

    /// The items that are left.
    pub fn items(&self) -> &VecDeque<T> {
        &self.items
    }

    /// The number that the first task had when it was claimed.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Removes and returns the next task.
    #[inline]
    pub fn pop(&mut self) -> Option<(u64, T)> {
        let item = self.items.pop_front()?;
        self.next += 1;
        Some((self.next - 1, item))
    }

    /// Removes up to `most` tasks, and returns the number of the first.
    pub fn pop_some(&mut self, most: usize, into: &mut VecDeque<T>) -> Option<u64> {
        let len = most.min(self.items.len());
        into.extend(self.items.drain(..len));
        let first = self.next;
        self.next += len as u64;
        (len > 0).then_some(first)
    }

    /// Removes and returns the items of all tasks that are left.
    pub fn take_items(&mut self) -> VecDeque<T> {
        self.next += self.items.len() as u64;
        std::mem::take(&mut self.items)
    }

    /// The number of tasks at the front that cannot be stolen: the rest of a chunk that was begun.
    #[inline]
    fn bound(&self) -> u64 {
        if self.chunk == 1 {
            return 0;
        }
        let begun = self.next - self.start;
        begun.next_multiple_of(self.chunk) - begun
    }

    #[inline]
    fn is_laden(&self) -> bool {
        self.bound() < self.items.len() as u64
    }
}

impl<C: Context, T> Claim<C, T> {
    /// Splits off the second half of the tasks that can be stolen, in whole chunks.
    fn split(&mut self) -> Option<Self> {
        let bound = self.bound();
        let free = (self.items.len() as u64).checked_sub(bound).filter(|free| *free > 0)?;
        let stays = bound + free.div_ceil(self.chunk) / 2 * self.chunk;
        let (start, items) = (self.next + stays, self.items.split_off(stays as usize));
        Some(Self { context: self.context.for_thief(), start, next: start, items, chunk: self.chunk })
    }
}

impl<C, T> LocalQueue<C, T> {
    /// Creates an empty queue, which other workers do not know of.
    pub fn new() -> Self {
        Self(Mutex::new(Contents { claim: None, is_laden: false }))
    }
}

impl<C, T> Default for LocalQueue<C, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C, T> Default for LocalQueues<C, T> {
    fn default() -> Self {
        Self { all: Mutex::new(Vec::new()), laden: AtomicUsize::new(0) }
    }
}

impl<C, T> LocalQueues<C, T> {
    /// Adds a queue, from which other workers can steal from now on.
    pub fn add(&self, locking: impl Locking, queue: &Arc<LocalQueue<C, T>>) {
        locking.lock(&self.all).push(Arc::clone(queue));
    }

    /// Removes a queue whose worker is gone, and returns its contents.
    pub fn remove(&self, locking: impl Locking, queue: &Arc<LocalQueue<C, T>>) -> Option<Claim<C, T>> {
        locking.lock(&self.all).retain(|one| !Arc::ptr_eq(one, queue));
        self.clear(locking, queue)
    }

    /// Returns whether there may be something to steal.
    #[inline]
    pub fn are_laden(&self) -> bool {
        self.laden.load(Ordering::SeqCst) > 0
    }

    /// Moves what `take` finds in the state of a job into an empty queue, and returns the number of tasks.
    pub fn claim<S>(
        &self,
        locking: impl Locking,
        queue: &LocalQueue<C, T>,
        state: &Mutex<S>,
        take: impl FnOnce(MutexGuard<'_, S>) -> Option<Claim<C, T>>,
    ) -> usize {
        let (mut contents, state) = locking.lock_both(&queue.0, state);
        match take(state) {
            Some(claim) => self.fill(&mut contents, claim),
            None => 0,
        }
    }

    /// Applies `change` to the claim in a queue, if there is one.
    #[inline]
    pub fn with<R>(
        &self,
        locking: impl Locking,
        queue: &LocalQueue<C, T>,
        change: impl FnOnce(&mut Claim<C, T>) -> R,
    ) -> Option<R> {
        let contents = &mut *locking.lock(&queue.0);
        let result = contents.claim.as_mut().map(change);
        self.note(contents);
        result
    }

    /// Removes and returns the contents of a queue.
    pub fn clear(&self, locking: impl Locking, queue: &LocalQueue<C, T>) -> Option<Claim<C, T>> {
        let contents = &mut *locking.lock(&queue.0);
        let claim = contents.claim.take();
        self.note(contents);
        claim
    }

    /// Applies `change` to the claims in all queues, and returns its results.
    pub fn with_all<R>(&self, locking: impl Locking, mut change: impl FnMut(&mut Claim<C, T>) -> Option<R>) -> Vec<R> {
        let all = locking.lock(&self.all).clone();
        all.iter().filter_map(|queue| self.with(locking, queue, &mut change).flatten()).collect()
    }

    fn fill(&self, contents: &mut Contents<C, T>, claim: Claim<C, T>) -> usize {
        debug_assert!(contents.claim.is_none(), "a worker claims tasks when it has none");
        let len = claim.items.len();
        contents.claim = Some(claim);
        self.note(contents);
        len
    }

    /// Updates the count of queues that have something to steal.
    #[inline]
    fn note(&self, contents: &mut Contents<C, T>) {
        let is_laden = contents.claim.as_ref().is_some_and(Claim::is_laden);
        if std::mem::replace(&mut contents.is_laden, is_laden) != is_laden {
            match is_laden {
                true => self.laden.fetch_add(1, Ordering::SeqCst),
                false => self.laden.fetch_sub(1, Ordering::SeqCst),
            };
        }
    }
}

impl<C: Context, T> LocalQueues<C, T> {
    /// Moves half of the tasks that another worker has not begun into an empty queue, if `may_take` allows it, and
    /// returns their number.
    pub fn steal(&self, locking: impl Locking, thief: &LocalQueue<C, T>, may_take: impl Fn(&C) -> bool) -> usize {
        if !self.are_laden() {
            return 0;
        }
        let all = locking.lock(&self.all).clone();
        let stolen = all.iter().find_map(|other| {
            let contents = &mut *locking.lock(&other.0);
            let stolen = contents.claim.as_mut().filter(|claim| may_take(&claim.context))?.split();
            self.note(contents);
            stolen
        });
        stolen.map_or(0, |claim| self.fill(&mut locking.lock(&thief.0), claim))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::super::locking::Blocking;
    use super::*;

    type Queue = Arc<LocalQueue<(), u64>>;

    fn claim(first: u64, len: u64, chunk: u32) -> Claim<(), u64> {
        Claim::new((), first, (first..first + len).collect(), chunk)
    }

    fn put(queues: &LocalQueues<(), u64>, queue: &Queue, claim: Claim<(), u64>) {
        queues.claim(Blocking, queue, &Mutex::new(()), |_| Some(claim));
    }

    /// Two queues; the first is full.
    fn queues(claim: Claim<(), u64>) -> (LocalQueues<(), u64>, [Queue; 2]) {
        let (queues, two) = (LocalQueues::default(), [(); 2].map(|()| Arc::new(LocalQueue::new())));
        two.iter().for_each(|queue| queues.add(Blocking, queue));
        put(&queues, &two[0], claim);
        (queues, two)
    }

    fn steal(queues: &LocalQueues<(), u64>, thief: &Queue) -> usize {
        queues.steal(Blocking, thief, |()| true)
    }

    fn drain(queues: &LocalQueues<(), u64>, queue: &Queue, most: usize) -> Vec<Vec<u64>> {
        let piece = || {
            let mut piece = VecDeque::new();
            let first = queues.with(Blocking, queue, |claim| claim.pop_some(most, &mut piece)).flatten()?;
            assert_eq!(piece[0], first);
            Some(piece.into())
        };
        std::iter::from_fn(piece).collect()
    }

    #[test]
    fn a_thief_takes_the_second_half_in_whole_chunks() {
        let (queues, [full, thief]) = queues(claim(10, 10, 3));
        assert_eq!((queues.are_laden(), steal(&queues, &thief)), (true, 4));
        assert_eq!(drain(&queues, &full, 3), [[10, 11, 12], [13, 14, 15]]);
        assert_eq!(drain(&queues, &thief, 3), [vec![16, 17, 18], vec![19]]);
        assert_eq!((queues.are_laden(), steal(&queues, &thief)), (false, 0));
    }

    #[test]
    fn a_chunk_that_was_begun_is_not_taken_apart() {
        let (queues, [full, thief]) = queues(claim(10, 7, 3));
        assert_eq!(queues.with(Blocking, &full, Claim::pop), Some(Some((10, 10))));
        assert_eq!(steal(&queues, &thief), 1);
        assert_eq!(queues.clear(Blocking, &thief).map(|mut claim| claim.take_items().into()), Some(vec![16]));
        assert_eq!(steal(&queues, &thief), 3);
        assert_eq!(drain(&queues, &full, 9), [[11, 12]]);
        assert!(queues.are_laden(), "what the thief has can be taken in turn");
    }

    #[test]
    fn the_last_task_can_be_stolen_unless_it_was_begun() {
        let (queues, [full, thief]) = queues(claim(5, 2, 1));
        assert_eq!(queues.with(Blocking, &full, Claim::pop), Some(Some((5, 5))));
        assert_eq!(steal(&queues, &thief), 1);
        assert_eq!((drain(&queues, &full, 1).len(), drain(&queues, &thief, 1)), (0, vec![vec![6]]));
    }

    #[test]
    fn what_is_taken_is_in_one_queue_alone() {
        let (queues, [full, thief]) = queues(claim(0, 1000, 1));
        assert_eq!(steal(&queues, &thief), 500);
        let all = drain(&queues, &full, 16).into_iter().chain(drain(&queues, &thief, 16));
        assert!(all.flatten().eq(0..1000));
    }

    #[test]
    fn what_is_removed_is_not_stolen_and_what_is_taken_out_is_whole() {
        let (queues, [full, thief]) = queues(claim(0, 9, 1));
        assert_eq!(steal(&queues, &thief), 5);
        let all = queues.with_all(Blocking, |claim| Some((claim.first(), claim.take_items())));
        assert_eq!(all, [(0, (0..4).collect()), (4, (4..9).collect())]);
        assert!(!queues.are_laden());
        let left = queues.remove(Blocking, &full).map(|claim| claim.items().len());
        assert_eq!((left, queues.clear(Blocking, &thief).is_some()), (Some(0), true));
        put(&queues, &full, claim(9, 9, 1));
        assert_eq!((steal(&queues, &thief), drain(&queues, &full, 1).len()), (0, 9));
    }

    /// Workers claim from one state and steal from each other; whatever the order, each task is in one place at a time.
    #[test]
    fn every_task_is_done_once_however_it_travels() {
        const TASKS: u64 = 20_000;
        let (queues, pending) = (LocalQueues::default(), Mutex::new(0));
        let next_claim = |mut pending: MutexGuard<'_, u64>| {
            let first = *pending;
            *pending = (first + 700).min(TASKS);
            (first < TASKS).then(|| claim(first, *pending - first, 3))
        };
        let work = || {
            let (queue, mut done) = (Arc::new(LocalQueue::new()), Vec::new());
            queues.add(Blocking, &queue);
            while queues.claim(Blocking, &queue, &pending, next_claim) > 0 || steal(&queues, &queue) > 0 {
                while let Some(Some((number, item))) = queues.with(Blocking, &queue, Claim::pop) {
                    assert_eq!(number, item);
                    done.push(item);
                    if item % 64 == 0 {
                        thread::yield_now();
                    }
                }
                queues.clear(Blocking, &queue);
            }
            queues.remove(Blocking, &queue);
            done
        };
        let mut all: Vec<u64> = thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("no worker fails")).collect()
        });
        all.sort_unstable();
        assert!(all.into_iter().eq(0..TASKS));
        assert!(!queues.are_laden());
    }
}
