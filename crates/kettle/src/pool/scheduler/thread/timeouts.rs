//! Tasks that may take only so long, and the thread that watches them.
//!
//! ```text
//!            its time is over               its task ends
//!  running ───────────────────► given up ─────────────────► (its worker leaves)
//!     └── ends in time ──► (its worker goes on)
//! ```
//!
//! A thread cannot be ended. A task that takes too long gets its outcome from the watchdog; its worker is written off, and
//! another one takes its place.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kettle_core::wait::{Deadline, EventCount, Patience, Scope};

use super::super::locking::Locking;

/// The limited tasks that run now; `T` is what a front knows of one.
#[derive(Debug)]
pub struct Timeouts<T> {
    running: Mutex<Running<T>>,
    /// How often the watchdog is to look although nothing is due.
    looks: AtomicU64,
    changed: EventCount,
}

#[derive(Debug)]
struct Running<T> {
    tasks: BTreeMap<TimeLimit, T>,
    begun: u64,
    is_watched: bool,
}

/// When a task is due, and a number that is its own.
pub type TimeLimit = (Deadline, u64);

impl<T> Default for Timeouts<T> {
    fn default() -> Self {
        let running = Mutex::new(Running { tasks: BTreeMap::new(), begun: 0, is_watched: false });
        Self { running, looks: AtomicU64::new(0), changed: EventCount::new() }
    }
}

impl<T: Send> Timeouts<T> {
    /// Starts the watchdog by `start`, unless there is one.
    ///
    /// # Errors
    /// Those of `start`.
    pub fn watch<E>(&self, locking: impl Locking, start: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let is_watched = std::mem::replace(&mut locking.lock(&self.running).is_watched, true);
        if is_watched {
            return Ok(());
        }
        start().inspect_err(|_| locking.lock(&self.running).is_watched = false)
    }

    /// A task begins, which may take so long.
    pub fn begin(&self, locking: impl Locking, timeout: Duration, task: T) -> TimeLimit {
        let mut running = locking.lock(&self.running);
        running.begun += 1;
        let limit = (Deadline::after(timeout), running.begun);
        running.tasks.insert(limit, task);
        let is_first = running.tasks.first_key_value().is_some_and(|(first, _)| *first == limit);
        drop(running);
        if is_first {
            self.look();
        }
        limit
    }

    /// It has ended. False: it had been given up before.
    pub fn end(&self, locking: impl Locking, limit: TimeLimit) -> bool {
        let task = locking.lock(&self.running).tasks.remove(&limit);
        task.is_some()
    }

    /// Has the watchdog look.
    pub fn look(&self) {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_all(Scope::Private);
    }

    /// For the watchdog: waits until a task is late, and takes it; with what `seize` returns, which runs while that task
    /// cannot end. None: no task runs, and the pool `is_over`.
    pub fn next_late<R>(
        &self,
        locking: impl Locking,
        is_over: impl Fn() -> bool,
        seize: impl Fn(&T) -> R,
    ) -> Option<(T, R)> {
        loop {
            let seen = self.looks.load(Ordering::SeqCst);
            let due = {
                let mut running = locking.lock(&self.running);
                match running.tasks.first_entry() {
                    Some(first) if first.key().0.is_past() => {
                        let seized = seize(first.get());
                        return Some((first.remove(), seized));
                    }
                    Some(first) => first.key().0,
                    None if is_over() => {
                        running.is_watched = false;
                        return None;
                    }
                    None => Deadline::NEVER,
                }
            };
            locking.wait_detached(|| {
                let patience = Patience::until(due);
                let look = || (self.looks.load(Ordering::SeqCst) != seen).then_some(());
                // Whether it is due or something changed: look again.
                let _ = self.changed.wait_for(&patience.among_threads(false), Scope::Private, look, || None);
            });
        }
    }
}
