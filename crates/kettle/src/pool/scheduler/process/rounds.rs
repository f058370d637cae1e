//! The rounds of a pool whose front runs code of the program within them.
//!
//! The lock of a round is only ever tried: a thread that finds it taken leaves the work to its holder. The code of the
//! program may be a signal handler that waits for this very pool; its thread, which holds the lock, then runs rounds
//! nested within the round. What the outer round has received and not yet handled is in the inbox, where the nested
//! rounds find it. What the outer round is handling at that moment is out of their reach, and waiting for it must be an
//! error.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;

use kettle_core::sys::process;

use super::super::locking::Locking;
use super::post::{Event, Post};
use super::words::Word;

/// See the module; `J` is the front's reference to a job.
#[derive(Debug)]
pub struct Rounds<J> {
    /// The lock of a round, and storage that is kept between rounds.
    storage: Mutex<Post<J>>,
    desktop: Mutex<Desktop<J>>,
    /// The thread that is inside a round.
    inside: AtomicU64,
    /// Set when a thread panicked in a round.
    has_panicked: AtomicBool,
}

/// What was received and not handled yet, and what is being handled, for a round and those nested in it together. Only
/// the thread that holds the lock of the round changes it.
#[derive(Debug)]
struct Desktop<J> {
    inbox: VecDeque<Batch<J>>,
    in_hand: Vec<J>,
}

/// What one collection from the workers returned.
#[derive(Debug)]
struct Batch<J> {
    events: VecDeque<Event<J>>,
    bodies: Arc<Bodies>,
}

/// The data that the events of a batch refer to.
#[derive(Debug)]
pub struct Bodies {
    /// See [`Post::bytes`].
    pub bytes: Vec<u8>,
    /// See [`Post::words`].
    pub words: Vec<Word>,
}

/// A round, which this thread runs.
#[derive(Debug)]
pub struct Inside<'r, J> {
    /// For the next collection from the workers.
    pub post: Post<J>,
    /// Where the storage is kept between rounds; `None` for a nested round.
    place: Option<MutexGuard<'r, Post<J>>>,
    rounds: &'r Rounds<J>,
}

/// While this exists, the thread is handling something that belongs to a job.
#[derive(Debug)]
pub struct InHand<'r, J> {
    rounds: &'r Rounds<J>,
}

impl<J> Default for Rounds<J> {
    fn default() -> Self {
        Self {
            storage: Mutex::default(),
            desktop: Mutex::new(Desktop { inbox: VecDeque::new(), in_hand: Vec::new() }),
            inside: AtomicU64::new(0),
            has_panicked: AtomicBool::new(false),
        }
    }
}

impl<J> Rounds<J> {
    /// Begins a round, which may be nested in another one of this thread. Returns `None` if another thread is inside
    /// one.
    pub fn enter(&self) -> Option<Inside<'_, J>> {
        let mut place = match self.storage.try_lock() {
            Ok(place) => place,
            Err(TryLockError::Poisoned(e)) => e.into_inner(),
            Err(TryLockError::WouldBlock) if self.is_inside() => {
                return Some(Inside { post: Post::default(), place: None, rounds: self });
            }
            Err(TryLockError::WouldBlock) => return None,
        };
        self.inside.store(u64::from(process::thread_id()), Ordering::SeqCst);
        Some(Inside { post: std::mem::take(&mut *place), place: Some(place), rounds: self })
    }

    /// Returns whether this thread is inside a round.
    pub fn is_inside(&self) -> bool {
        self.inside.load(Ordering::SeqCst) == u64::from(process::thread_id())
    }

    /// Returns whether a thread has panicked in a round since the last call.
    pub fn take_panic(&self) -> bool {
        self.has_panicked.swap(false, Ordering::SeqCst)
    }

    /// Marks something of a job as being handled until the result is dropped.
    pub fn take_in_hand(&self, locking: impl Locking, job: J) -> InHand<'_, J> {
        locking.lock(&self.desktop).in_hand.push(job);
        InHand { rounds: self }
    }

    /// Returns whether something is being handled that belongs to a job for which `is_meant` holds.
    pub fn has_in_hand(&self, locking: impl Locking, is_meant: impl FnMut(&J) -> bool) -> bool {
        locking.lock(&self.desktop).in_hand.iter().any(is_meant)
    }
}

impl<J> Inside<'_, J> {
    /// Whether this round is nested in another one of this thread.
    pub fn is_nested(&self) -> bool {
        self.place.is_none()
    }

    /// Moves the events of the post to the inbox.
    pub fn take_in(&mut self, locking: impl Locking) {
        let post = &mut self.post;
        if post.events.is_empty() {
            return;
        }
        let bodies = Bodies { bytes: std::mem::take(&mut post.bytes), words: std::mem::take(&mut post.words) };
        let events = VecDeque::from(std::mem::take(&mut post.events));
        locking.lock(&self.rounds.desktop).inbox.push_back(Batch { events, bodies: Arc::new(bodies) });
    }

    /// Takes the next event to handle, which refers to the `bodies` of its batch. The buffers of an exhausted batch go
    /// back to the post for reuse.
    pub fn next_event(&mut self, locking: impl Locking, bodies: &mut Option<Arc<Bodies>>) -> Option<Event<J>> {
        let mut desktop = locking.lock(&self.rounds.desktop);
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
                let post = &mut self.post;
                (post.bytes, post.words, post.events) = (bytes, words, events.into());
            }
        }
    }
}

impl<J> Drop for Inside<'_, J> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.rounds.has_panicked.store(true, Ordering::SeqCst);
        }
        if let Some(place) = &mut self.place {
            **place = std::mem::take(&mut self.post);
            self.rounds.inside.store(0, Ordering::SeqCst);
        }
    }
}

impl<J> Drop for InHand<'_, J> {
    fn drop(&mut self) {
        // The entries of nested rounds are gone, so this one is the last. It is dropped after the lock is released.
        let job = self.rounds.desktop.lock().unwrap_or_else(PoisonError::into_inner).in_hand.pop();
        drop(job);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::locking::Blocking;
    use super::*;

    fn finished(job: u32) -> Event<u32> {
        Event::Finished { job, len: 1, took: 0 }
    }

    fn job_of(event: Option<Event<u32>>) -> Option<u32> {
        event.map(|event| match event {
            Event::Finished { job, .. } => job,
            other => panic!("an event that was not put: {other:?}"),
        })
    }

    #[test]
    fn a_nested_round_goes_on_with_what_the_outer_one_has_received() {
        let rounds = Rounds::default();
        let mut outer = rounds.enter().expect("no thread is inside");
        outer.post.events.extend([1, 2, 3].map(finished));
        outer.take_in(Blocking);
        let mut bodies = None;
        assert_eq!(job_of(outer.next_event(Blocking, &mut bodies)), Some(1));
        let in_hand = rounds.take_in_hand(Blocking, 1);
        {
            let mut nested = rounds.enter().expect("this thread is inside");
            nested.post.events.push(finished(4));
            nested.take_in(Blocking);
            assert!(rounds.has_in_hand(Blocking, |job| *job == 1) && !rounds.has_in_hand(Blocking, |job| *job == 2));
            let mut bodies = None;
            let all: Vec<_> = std::iter::from_fn(|| job_of(nested.next_event(Blocking, &mut bodies))).collect();
            assert_eq!(all, [2, 3, 4]);
        }
        drop(in_hand);
        assert!(rounds.is_inside() && !rounds.has_in_hand(Blocking, |_| true));
        assert!(outer.next_event(Blocking, &mut bodies).is_none());
        drop(outer);
        assert!(!rounds.is_inside());
    }

    #[test]
    fn one_thread_at_a_time_is_inside_and_a_panic_there_is_noted() {
        let rounds = Rounds::<u32>::default();
        let outer = rounds.enter();
        thread::scope(|scope| {
            let other = scope.spawn(|| rounds.enter().is_none() && !rounds.is_inside());
            assert!(other.join().expect("it does not panic"));
        });
        drop(outer);
        assert!(!rounds.take_panic());
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                let _inside = rounds.enter();
                std::panic::resume_unwind(Box::new("a round fails"));
            });
            assert!(other.join().is_err());
        });
        assert!(rounds.take_panic() && !rounds.take_panic() && rounds.enter().is_some());
    }
}
