//! Tasks with a time limit, and the watchdog, the thread that enforces it.
//!
//! ```text
//!            its time is over               its task ends
//!  running ───────────────────► given up ─────────────────► (its worker leaves)
//!     └── ends in time ──► (its worker goes on)
//! ```
//!
//! A thread cannot be ended from outside. The watchdog sets the outcome of a task that takes too long; its worker no
//! longer belongs to the pool, and is replaced.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kettle_core::wait::{Deadline, EventCount, Patience, Scope};

use super::super::locking::Locking;

/// The running tasks with a time limit; `T` is the front's data on one.
#[derive(Debug)]
pub struct Timeouts<T> {
    running: Mutex<Running<T>>,
    /// The number of requests to look although nothing is due.
    looks: AtomicU64,
    changed: EventCount,
}

#[derive(Debug)]
struct Running<T> {
    tasks: BTreeMap<TimeLimit, T>,
    begun: u64,
    is_watched: bool,
}

/// The deadline of a task, and a unique number.
pub type TimeLimit = (Deadline, u64);

impl<T> Default for Timeouts<T> {
    fn default() -> Self {
        let running = Mutex::new(Running { tasks: BTreeMap::new(), begun: 0, is_watched: false });
        Self { running, looks: AtomicU64::new(0), changed: EventCount::new() }
    }
}

impl<T: Send> Timeouts<T> {
    /// Starts the watchdog with `start`, unless there is one.
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

    /// Registers a task that begins now and may take `timeout`.
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

    /// Removes a task that has ended. Returns false if it had been given up before.
    pub fn end(&self, locking: impl Locking, limit: TimeLimit) -> bool {
        let task = locking.lock(&self.running).tasks.remove(&limit);
        task.is_some()
    }

    /// Makes the watchdog look again.
    pub fn look(&self) {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_all(Scope::Private);
    }

    /// For the watchdog: waits until a task is late and removes it. Returns the task with the result of `seize`, which
    /// runs while the task cannot end; or `None` if no task is running and the pool `is_over`.
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
                // The loop looks again in any case, whether a task is due or something changed.
                let _ = self.changed.wait_for(&patience.among_threads(false), Scope::Private, look, || None);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::super::super::locking::Blocking;
    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);

    #[test]
    fn a_late_task_is_taken_once_and_one_that_ends_in_time_is_not() {
        let (timeouts, is_over) = (Timeouts::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            let watchdog = scope.spawn(|| {
                let is_over = || is_over.load(Ordering::SeqCst);
                std::iter::from_fn(|| timeouts.next_late(Blocking, is_over, |task| task % 2)).collect::<Vec<_>>()
            });
            let ends = timeouts.begin(Blocking, NEVER, 1);
            // Due before the other one, so the watchdog must be notified.
            let late = timeouts.begin(Blocking, Duration::ZERO, 2);
            while timeouts.running.lock().is_ok_and(|running| running.tasks.contains_key(&late)) {
                thread::yield_now();
            }
            assert!(!timeouts.end(Blocking, late), "it was given up");
            is_over.store(true, Ordering::SeqCst);
            timeouts.look();
            // The watchdog stays as long as a task is running.
            assert!(timeouts.end(Blocking, ends));
            timeouts.look();
            assert_eq!(watchdog.join().expect("it does not fail"), [(2, 0)]);
        });
    }

    #[test]
    fn one_watchdog_is_started_and_another_one_if_that_failed() {
        let (timeouts, mut starts) = (Timeouts::<()>::default(), Vec::new());
        for result in [Err("no thread"), Ok(()), Err("a second one")] {
            let watched = timeouts.watch(Blocking, || {
                starts.push(result);
                result
            });
            assert_eq!(watched.is_err(), starts.last() == Some(&Err("no thread")));
        }
        assert_eq!(starts, [Err("no thread"), Ok(())]);
    }
}
