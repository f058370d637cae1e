//! The main loop of a worker, and whether the current thread is one.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kettle_core::wait::Patience;

use super::error::Broken;
use super::roster::Next;
use super::workers::{WorkerSlot, Workers};
use crate::panic::message_of;

thread_local! {
    /// The address of the pool that this thread works for, and its slot there.
    static HERE: RefCell<Option<(usize, Arc<WorkerSlot>)>> = const { RefCell::new(None) };
}

fn address(workers: &Arc<Workers>) -> usize {
    Arc::as_ptr(workers).addr()
}

/// The slot of this thread, if it works for this pool.
pub(super) fn slot_of(workers: &Arc<Workers>) -> Option<Arc<WorkerSlot>> {
    let slot = |here: &RefCell<Option<(usize, Arc<WorkerSlot>)>>| {
        here.borrow().as_ref().filter(|(at, _)| *at == address(workers)).map(|(_, slot)| Arc::clone(slot))
    };
    // While thread-local values are destroyed, the thread no longer works for a pool.
    HERE.try_with(slot).ok().flatten()
}

/// The main function of a worker, which is already on the roster.
pub(super) fn work(workers: &Arc<Workers>) {
    let slot = Arc::new(WorkerSlot::default());
    HERE.replace(Some((address(workers), Arc::clone(&slot))));
    if let Some(initializer) = &workers.options.initializer {
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(initializer)) {
            workers.break_down(Broken::Initializer(message_of(&*panic).into()));
            return workers.exit(false);
        }
    }
    work_until_over(workers, &slot);
}

fn work_until_over(workers: &Arc<Workers>, slot: &Arc<WorkerSlot>) {
    let patience = Patience::forever();
    let mut me = workers.idle.searcher();
    let mut left = workers.options.max_tasks;
    let mut was_busy = false;
    loop {
        me.look();
        match workers.next(std::mem::replace(&mut was_busy, false)) {
            Next::Leave => return workers.leave(),
            Next::Rest => me.rest(&patience.among_threads(true)),
            Next::Work(job) => {
                me.found(|| workers.has_work());
                // Panics of tasks are caught where the tasks are run. This one catches panics of wakers and of values
                // that are dropped.
                let _ = panic::catch_unwind(AssertUnwindSafe(|| job.run(workers, slot)));
                if slot.is_abandoned.load(Ordering::SeqCst) {
                    return;
                }
                was_busy = true;
                left = left.map(|tasks| tasks - 1);
                if left == Some(0) {
                    return workers.exit(true);
                }
            }
        }
    }
}
