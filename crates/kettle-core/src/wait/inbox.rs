//! Items that other threads hand to an event loop.
//!
//! A running loop checks its inbox in every turn and need not be woken. Only a loop that announced its sleep is woken,
//! and only by the first thread that pushes an item, not by all.
//!
//! ```text
//! awake ──announce(): nothing inside──► asleep ──push(): says "wake it"──► awake
//!   ▲                                     │
//!   └──────────────take()─────────────────┘
//! ```

use std::collections::VecDeque;

use crate::atomics::{AtomicBool, Ordering};

#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
use std::sync::{Mutex, MutexGuard};

struct State<T> {
    items: VecDeque<T>,
    is_asleep: bool,
}

/// A queue of items in order of arrival.
pub struct Inbox<T> {
    state: Mutex<State<T>>,
    /// Whether there may be items, or the loop may be asleep: set under the lock, and read without it. A loop that misses
    /// an item sees it in its next turn, or when it announces its sleep.
    is_worth_a_look: AtomicBool,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State { items: VecDeque::new(), is_asleep: false }),
            is_worth_a_look: AtomicBool::new(false),
        }
    }
}

impl<T> Inbox<T> {
    /// Nothing that can fail or run foreign code is done under this lock.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Adds an item. Returns true if the loop is asleep and the caller has to wake it.
    #[must_use]
    pub fn push(&self, item: T) -> bool {
        let mut state = self.state();
        state.items.push_back(item);
        self.is_worth_a_look.store(true, Ordering::Relaxed);
        core::mem::take(&mut state.is_asleep)
    }

    /// Returns whether the loop is asleep and the caller has to wake it, without adding an item.
    #[must_use]
    pub fn call(&self) -> bool {
        core::mem::take(&mut self.state().is_asleep)
    }

    /// Announces that the loop is about to sleep. Returns false if it must not, because there are items.
    #[must_use]
    pub fn announce(&self) -> bool {
        let mut state = self.state();
        state.is_asleep = state.items.is_empty();
        self.is_worth_a_look.store(true, Ordering::Relaxed);
        state.is_asleep
    }

    /// Takes all items. The loop is awake from now on.
    #[inline(always)]
    pub fn take(&self) -> VecDeque<T> {
        match self.is_worth_a_look.load(Ordering::Relaxed) {
            true => self.take_all(),
            false => VecDeque::new(),
        }
    }

    fn take_all(&self) -> VecDeque<T> {
        let mut state = self.state();
        self.is_worth_a_look.store(false, Ordering::Relaxed);
        state.is_asleep = false;
        core::mem::take(&mut state.items)
    }

    /// Calls `look` with each item until one call fails. Does nothing while the inbox is in use.
    ///
    /// # Errors
    /// The first error of `look`.
    #[cfg(not(loom))]
    pub fn try_for_each<E>(&self, look: impl FnMut(&T) -> Result<(), E>) -> Result<(), E> {
        self.state.try_lock().map_or(Ok(()), |state| state.items.iter().try_for_each(look))
    }
}

impl<T> core::fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}
