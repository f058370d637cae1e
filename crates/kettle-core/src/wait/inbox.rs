//! What other threads hand to an event loop.
//!
//! A loop that is awake looks into its inbox in every turn, so nobody needs to wake it: only one that announced its sleep
//! is woken, and by one of those that brought something, not by all.
//!
//! ```text
//! awake ──announce(): nothing inside──► asleep ──push(): says "wake it"──► awake
//!   ▲                                     │
//!   └──────────────take()─────────────────┘
//! ```

use std::collections::VecDeque;

#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
use std::sync::{Mutex, MutexGuard};

struct State<T> {
    items: VecDeque<T>,
    is_asleep: bool,
}

/// Items in the order in which they came.
pub struct Inbox<T> {
    state: Mutex<State<T>>,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { items: VecDeque::new(), is_asleep: false }) }
    }
}

impl<T> Inbox<T> {
    /// Nothing that can fail, or run code of others, is done under this lock.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Brings one. True: the loop is asleep, and the caller is the one to wake it.
    #[must_use]
    pub fn push(&self, item: T) -> bool {
        let mut state = self.state();
        state.items.push_back(item);
        core::mem::take(&mut state.is_asleep)
    }

    /// Says whether the loop is asleep and the caller is to wake it, without bringing anything.
    #[must_use]
    pub fn call(&self) -> bool {
        core::mem::take(&mut self.state().is_asleep)
    }

    /// The loop is about to sleep. False: it must not, since there is something for it.
    #[must_use]
    pub fn announce(&self) -> bool {
        let mut state = self.state();
        state.is_asleep = state.items.is_empty();
        state.is_asleep
    }

    /// The loop is awake: takes all that came.
    pub fn take(&self) -> VecDeque<T> {
        let mut state = self.state();
        state.is_asleep = false;
        core::mem::take(&mut state.items)
    }

    /// Calls `look` with each item, for as long as it has no objections. Not at all while the inbox is in use.
    ///
    /// # Errors
    /// The first objection.
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
