//! Tasks that may take only so long, and the thread that watches them.
//!
//! A thread cannot be ended. A task that takes too long gets its outcome from the watch; its worker is written off, and
//! another one hired.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use kettle_core::wait::{Deadline, EventCount, Patience, Scope};

use super::crew::{Crew, Seat};
use super::job::Job;

/// The limited tasks that run now.
#[derive(Default)]
pub(super) struct Limits {
    running: Mutex<Running>,
    /// How often the watch is to look although nothing is due.
    looks: AtomicU64,
    changed: EventCount,
}

#[derive(Default)]
struct Running {
    tasks: BTreeMap<Limit, Task>,
    next: u64,
    is_watched: bool,
}

/// When a task is due, and a number that is its own.
pub(super) type Limit = (Deadline, u64);

struct Task {
    job: Arc<dyn Job>,
    number: u64,
    seat: Arc<Seat>,
}

impl Limits {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task `number` of a job begins.
    pub(super) fn begin(&self, job: Arc<dyn Job>, number: u64, timeout: Duration, seat: &Arc<Seat>) -> Limit {
        let mut running = self.running();
        running.next += 1;
        let limit = (Deadline::after(timeout), running.next);
        running.tasks.insert(limit, Task { job, number, seat: Arc::clone(seat) });
        let is_first = running.tasks.first_key_value().is_some_and(|(first, _)| *first == limit);
        drop(running);
        if is_first {
            self.look();
        }
        limit
    }

    /// It has ended. False: it had been given up before.
    pub(super) fn end(&self, limit: Limit) -> bool {
        self.running().tasks.remove(&limit).is_some()
    }

    /// Has the watch look.
    pub(super) fn look(&self) {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_all(Scope::Private);
    }

    /// Takes a task that is late, and says whether its worker is to be written off: not twice, should it be in the middle
    /// of several, one of which waits for another.
    fn late(&self) -> Option<(Task, bool)> {
        let mut running = self.running();
        let first = running.tasks.first_entry().filter(|first| first.key().0.is_past())?;
        let task = first.remove();
        let is_first = !task.seat.is_written_off.swap(true, Ordering::SeqCst);
        Some((task, is_first))
    }

    fn due(&self) -> Deadline {
        self.running().tasks.first_key_value().map_or(Deadline::NEVER, |((due, _), _)| *due)
    }
}

impl Crew {
    /// Has somebody watch the limits.
    pub(super) fn keep_limits(self: &Arc<Self>) -> io::Result<()> {
        let mut running = self.limits.running();
        if !running.is_watched {
            let crew = Arc::clone(self);
            thread::Builder::new().name(format!("{}-watch", self.plan.name)).spawn(move || crew.watch())?;
            running.is_watched = true;
        }
        Ok(())
    }

    /// The life of the watch: until the pool is over.
    fn watch(self: Arc<Self>) {
        let limits = &self.limits;
        loop {
            let seen = limits.looks.load(Ordering::SeqCst);
            while let Some((task, is_first)) = limits.late() {
                task.job.give_up(&self, task.number);
                if is_first {
                    self.write_off(&task.seat);
                }
            }
            {
                let mut running = limits.running();
                if self.gone.is_done() && running.tasks.is_empty() {
                    running.is_watched = false;
                    return;
                }
            }
            let patience = Patience::until(limits.due());
            let look = || (limits.looks.load(Ordering::SeqCst) != seen).then_some(());
            // Whether it is due or something changed: look again.
            let _ = limits.changed.wait_for(&patience.among_threads(false), Scope::Private, look, || None);
        }
    }
}
