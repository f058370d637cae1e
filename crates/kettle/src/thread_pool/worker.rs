//! A worker's life, and whether one is in the middle of it.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kettle_core::wait::Patience;

use super::crew::{Crew, Seat};
use super::error::Broken;
use super::roll::Next;
use crate::process::message_of;

thread_local! {
    /// The crew that this thread works for, by its address, and its seat there.
    static HERE: RefCell<Option<(usize, Arc<Seat>)>> = const { RefCell::new(None) };
}

fn address(crew: &Arc<Crew>) -> usize {
    Arc::as_ptr(crew).addr()
}

/// The seat of this thread, if it works for this crew.
pub(super) fn seat_of(crew: &Arc<Crew>) -> Option<Arc<Seat>> {
    let seat = |here: &RefCell<Option<(usize, Arc<Seat>)>>| {
        here.borrow().as_ref().filter(|(at, _)| *at == address(crew)).map(|(_, seat)| Arc::clone(seat))
    };
    // At the end of a thread it works for none any more.
    HERE.try_with(seat).ok().flatten()
}

/// The life of a worker, who is on the roll.
pub(super) fn work(crew: &Arc<Crew>) {
    let seat = Arc::new(Seat::default());
    HERE.replace(Some((address(crew), Arc::clone(&seat))));
    if let Some(initializer) = &crew.plan.initializer {
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(initializer)) {
            crew.break_down(Broken::Initializer(message_of(&*panic).into()));
            return crew.resign(false);
        }
    }
    work_until_over(crew, &seat);
}

fn work_until_over(crew: &Arc<Crew>, seat: &Arc<Seat>) {
    let patience = Patience::forever();
    let mut me = crew.idle.searcher();
    let mut left = crew.plan.max_tasks;
    let mut was_busy = false;
    loop {
        me.look();
        match crew.next(std::mem::replace(&mut was_busy, false)) {
            Next::Leave => return crew.leave(),
            Next::Rest => me.rest(&patience.among_threads(true)),
            Next::Work(job) => {
                me.found(|| crew.has_work());
                // The panics of tasks are caught closer to them. This is for what is dropped beside a task, and for
                // wakers.
                let _ = panic::catch_unwind(AssertUnwindSafe(|| job.run(crew, seat)));
                if seat.is_written_off.load(Ordering::SeqCst) {
                    return;
                }
                was_busy = true;
                left = left.map(|tasks| tasks - 1);
                if left == Some(0) {
                    return crew.resign(true);
                }
            }
        }
    }
}
