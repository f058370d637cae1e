//! What workers have in hand: the tasks of a flow that they claimed and have not begun.
//!
//! ```text
//!             claim               next                   end            put
//!   unsent ───────────► in a hand ─────────► being done ───────► kept ─────────► outcomes
//!                         └──▲ steal
//! ```
//!
//! All workers of a flow want its state. So a worker goes there for a few hundred microseconds' worth of tasks at once,
//! and with their outcomes together; in between it needs nothing but its own hand, in a cache line of its own. Nor is
//! anybody held up by that: what a worker claimed and did not begin, another one may take that has nothing else to do.
//!
//! What was not begun can be seen by whoever looks first into the flow and then into all hands: what is claimed moves
//! under the lock of the hand, and what is stolen under that of all hands. The locks are taken in this order: all hands,
//! one hand, the state of the flow.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::pool::scheduler::Chunking;

/// Tasks whose length is measured are taken out of the hand in so many pieces. The fewer, the less it costs; but what has
/// been taken out cannot be stolen.
const PIECES: usize = 64;

/// One worker's. The alignment is that of two cache lines, which processors fetch together.
#[repr(align(128))]
pub(super) struct Hand<T>(Mutex<Held<T>>);

struct Held<T> {
    tasks: Claim<T>,
    /// So many are taken out at a time.
    piece: usize,
}

/// Tasks that follow each other.
pub(super) struct Claim<T> {
    /// The number of the first.
    pub(super) first: u64,
    pub(super) items: VecDeque<T>,
    pub(super) chunking: Chunking,
}

/// The hands of those who work at one flow.
pub(super) struct Hands<T>(Mutex<Vec<Arc<Hand<T>>>>);

impl<T> Claim<T> {
    fn none() -> Self {
        Self { first: 0, items: VecDeque::new(), chunking: Chunking::Measured }
    }

    /// Takes the second half away, and no chunk apart.
    fn split(&mut self) -> Self {
        let chunk = match self.chunking {
            Chunking::Fixed(len) => len as usize,
            Chunking::Measured => 1,
        };
        let stays = (self.items.len().div_ceil(chunk) / 2 * chunk).min(self.items.len());
        Self { first: self.first + stays as u64, items: self.items.split_off(stays), chunking: self.chunking }
    }
}

impl<T> Held<T> {
    fn fill(&mut self, tasks: Claim<T>) {
        self.piece = match tasks.chunking {
            Chunking::Fixed(len) => len as usize,
            Chunking::Measured => tasks.items.len().div_ceil(PIECES),
        };
        self.tasks = tasks;
    }
}

impl<T> Hand<T> {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Held { tasks: Claim::none(), piece: 0 }))
    }

    fn held(&self) -> MutexGuard<'_, Held<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes into it what `take` finds, and says how many tasks that are.
    pub(super) fn claim(&self, take: impl FnOnce() -> Option<Claim<T>>) -> usize {
        let mut held = self.held();
        let Some(tasks) = take() else { return 0 };
        held.fill(tasks);
        held.tasks.items.len()
    }

    /// Takes out what is to be done next, and gives the number of the first.
    pub(super) fn next(&self, piece: &mut VecDeque<T>) -> Option<u64> {
        let held = &mut *self.held();
        let len = held.piece.min(held.tasks.items.len());
        piece.extend(held.tasks.items.drain(..len));
        let first = held.tasks.first;
        held.tasks.first += len as u64;
        (len > 0).then_some(first)
    }

    /// Takes out all that is left.
    pub(super) fn empty(&self) -> Claim<T> {
        std::mem::replace(&mut self.held().tasks, Claim::none())
    }
}

impl<T> Hands<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Hand<T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Others may take from this one.
    pub(super) fn show(&self, hand: &Arc<Hand<T>>) {
        self.all().push(Arc::clone(hand));
    }

    /// It is gone.
    pub(super) fn hide(&self, hand: &Arc<Hand<T>>) {
        self.all().retain(|one| !Arc::ptr_eq(one, hand));
    }

    /// Whether there is something to steal.
    pub(super) fn are_laden(&self) -> bool {
        self.all().iter().any(|hand| !hand.held().tasks.items.is_empty())
    }

    /// Takes half of what another worker has not begun into this empty one, and says how many tasks that are.
    pub(super) fn steal(&self, hand: &Hand<T>) -> usize {
        let all = self.all();
        let loot = all.iter().map(|other| other.held().tasks.split()).find(|loot| !loot.items.is_empty());
        hand.claim(|| loot)
    }

    /// Takes all that was not begun.
    pub(super) fn empty(&self) -> Vec<Claim<T>> {
        self.all().iter().map(|hand| hand.empty()).filter(|tasks| !tasks.items.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(first: u64, len: u64, chunking: Chunking) -> Claim<u64> {
        Claim { first, items: (first..first + len).collect(), chunking }
    }

    /// Two hands, of which the first is full.
    fn hands(tasks: Claim<u64>) -> (Hands<u64>, [Arc<Hand<u64>>; 2]) {
        let (hands, two) = (Hands::new(), [(); 2].map(|()| Arc::new(Hand::new())));
        two.iter().for_each(|hand| hands.show(hand));
        two[0].claim(|| Some(tasks));
        (hands, two)
    }

    fn drain(hand: &Hand<u64>) -> Vec<Vec<u64>> {
        let piece = || {
            let mut piece = VecDeque::new();
            let first = hand.next(&mut piece)?;
            assert_eq!(piece[0], first);
            Some(piece.into())
        };
        std::iter::from_fn(piece).collect()
    }

    #[test]
    fn a_thief_takes_the_second_half_in_whole_chunks() {
        let (hands, [full, thief]) = hands(claim(10, 10, Chunking::Fixed(3)));
        assert_eq!((hands.are_laden(), hands.steal(&thief)), (true, 4));
        assert_eq!(drain(&full), [[10, 11, 12], [13, 14, 15]]);
        assert_eq!(drain(&thief), [vec![16, 17, 18], vec![19]]);
        assert_eq!((hands.are_laden(), hands.steal(&thief)), (false, 0));
    }

    #[test]
    fn the_last_task_can_be_stolen_unless_it_was_begun() {
        for chunking in [Chunking::Measured, Chunking::Fixed(1)] {
            let (hands, [full, thief]) = hands(claim(5, 2, chunking));
            assert_eq!(full.next(&mut VecDeque::new()), Some(5));
            assert_eq!(hands.steal(&thief), 1);
            assert_eq!((full.next(&mut VecDeque::new()), drain(&thief)), (None, vec![vec![6]]));
        }
    }

    #[test]
    fn measured_tasks_are_taken_out_in_pieces() {
        let (hands, [full, thief]) = hands(claim(0, 1000, Chunking::Measured));
        assert_eq!(hands.steal(&thief), 500);
        let pieces = drain(&full);
        assert!(pieces.iter().all(|piece| piece.len() <= 16), "{pieces:?}");
        assert!(pieces.into_iter().chain(drain(&thief)).flatten().eq(0..1000));
    }

    #[test]
    fn what_is_hidden_is_not_stolen_and_what_is_emptied_is_whole() {
        let (hands, [full, thief]) = hands(claim(0, 9, Chunking::Fixed(1)));
        assert_eq!(hands.steal(&thief), 5);
        let all: Vec<_> = hands.empty().into_iter().map(|tasks| (tasks.first, tasks.items)).collect();
        assert_eq!(all, [(0, (0..4).collect()), (4, (4..9).collect())]);
        full.claim(|| Some(claim(9, 9, Chunking::Measured)));
        hands.hide(&full);
        assert_eq!((hands.steal(&thief), drain(&full).len()), (0, 9));
    }
}
